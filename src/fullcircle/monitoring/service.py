"""How the service of a model was: requests, failures, latency and saturation, from the lines beside the log."""

from __future__ import annotations

import math
from functools import reduce

from fullcircle.stats.intervals import proportion
from fullcircle.tables.requests import SECONDS, Counted, Histogram
from fullcircle.types.report import Finding, Measure

SHARES = (("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99), ("latency_max", 1.0))
_ANSWERED = (200, 422)  # by the model, or by its contract: the rest was refused, mostly at once
_EXACT = "counted"


def measures(counted: Counted) -> tuple[Measure, ...]:
    """The figures of one stretch. Without requests only what is known: how many there were, and saturation.

    ``requests_failed`` and ``failed_share`` are by status: all from 400 on (what Application Insights calls failed),
    "4xx" the caller's, of which 422 means that every row was rejected, "5xx" ours. Latencies, in seconds, are those
    of requests that were answered (200 and 422); of a percentile ``low`` and ``high`` are the bounds of the bucket
    that holds it, not of chance, and ``value`` is the upper one. Where it is beyond the last bucket, ``value`` is
    the lower bound and ``high`` None.
    """
    by_status = {status: found.count for status, found in counted.requests.items()}
    total = sum(by_status.values())
    classes = {"": 400, "4xx": 400, "5xx": 500}
    failed = {
        group: sum(
            n for status, n in by_status.items() if status >= low and (not group or status // 100 == low // 100)
        )
        for group, low in classes.items()
    }
    rows = sum(counted.verdicts.values())
    found = [_count("requests", total, total)]
    found += [_count("requests", n, total, group=str(status)) for status, n in sorted(by_status.items())]
    found += [_count("requests_failed", n, total, group=group) for group, n in failed.items()]
    found += [_count("requests_refused", n, total, group=reason) for reason, n in sorted(counted.reasons.items())]
    if total:
        found += [_share("failed_share", n, total, group=group) for group, n in failed.items()]
    found += _latencies(answered(counted))
    found.append(_count("rows_requested", rows, rows, unit="rows"))
    if rows:
        found += [_share("verdict_share", n, rows, group=verdict) for verdict, n in counted.verdicts.items() if n]
    found.append(_count("rows_failed", counted.failed, rows, unit="rows"))
    found.append(_count("rows_lost", counted.lost, rows, unit="rows"))
    return (*found, *_saturation(counted))


def answered(counted: Counted) -> Histogram:
    """How long the requests took that were answered, by the model or with "all rows rejected"."""
    known = [found for status, found in counted.requests.items() if status in _ANSWERED]
    return reduce(Histogram.__add__, known, Histogram())


def finding(counted: Counted, unnamed: Counted | None = None, *, batch_rows: int = 0) -> Finding:
    """M005: what the service did in a window. ``unnamed`` are the requests that named no model that is served.

    A warning where anything failed on our side, or where most requests were refused as the caller's fault: the lower
    bound of their share (Wilson, 95 %) is above a half, so that one call with a mistake is none. Good only where
    somebody got an answer.

    ``batch_rows`` are rows of the window that were scored in batch: they came by no request.
    """
    total = sum(found.count for found in counted.requests.values())
    failed = sum(found.count for status, found in counted.requests.items() if status >= 400)
    ours = sum(found.count for status, found in counted.requests.items() if status >= 500)
    if not counted.lines:
        text = "No server wrote down requests for this model in this time."
    elif not total:
        text = f"No request came in {counted.seconds / 3600:.1f} hours of its workers."
    else:
        text = f"Of {total:,} requests {failed:,} failed{_reasons(counted)}."
        found = answered(counted)
        if found.count:
            mean = 1000 * found.seconds / found.count
            text += f" Answers took {mean:.3g} ms on average, 99 % of them {_at_most(found)}."
        text += f" The queue was at {100 * counted.fullest:.0f} % of its bound at most"
        text += f", the model busy for {100 * counted.busy / counted.seconds:.0f} % of the time."
    if counted.lost:
        text += f" {counted.lost:,} rows were answered and not logged."
    if counted.torn:
        text += f" {counted.torn} lines could not be read: so many minutes are missing."
    if batch_rows:
        text += f" {batch_rows:,} rows were scored in batch and belong to no request."
    others = sum(found.count for status, found in (unnamed or Counted()).requests.items() if status >= 400)
    if others:
        text += f" {others:,} more were refused before it was known which model they asked."
    refused = total > 0 and (proportion(failed, total).low or 0.0) > 0.5
    if refused:
        text += " Most requests get no prediction: look at what callers send."
    bad = ours or counted.lost or counted.torn or refused
    good = counted.requests.get(200, Histogram()).count > 0
    return Finding(
        check="service",
        code="M005",
        title="Requests",
        severity="warning" if bad else "good" if good else "info",
        text=text,
        measures=measures(counted),
    )


def _reasons(counted: Counted) -> str:
    rejected = counted.requests.get(422, Histogram()).count
    told = [*counted.reasons.items(), *([("all rows rejected", rejected)] if rejected else [])]
    return "".join(
        [": ", ", ".join(f"{n:,} {reason}" for reason, n in sorted(told, key=lambda one: -one[1])[:4])]
        if told
        else []
    )


def _at_most(found: Histogram) -> str:
    low, high = found.quantile(0.99)
    return f"at most {1000 * high:.3g} ms" if math.isfinite(high) else f"beyond {low:g} s"


def _count(name: str, n: int, total: int, *, group: str = "", unit: str = "requests") -> Measure:
    return Measure(
        name=name, value=float(n), low=float(n), high=float(n), n=total, unit=unit, method=_EXACT, group=group
    )


def _share(name: str, k: int, n: int, *, group: str) -> Measure:
    found = proportion(k, n)
    return Measure(name=name, value=found.value, low=found.low, high=found.high, n=n, method="Wilson", group=group)


def _latencies(found: Histogram) -> list[Measure]:
    if not found.count:
        return []
    mean, n = found.seconds / found.count, found.count
    measured = [Measure(name="latency_mean", value=mean, low=mean, high=mean, n=n, unit="s", method=_EXACT)]
    for name, share in SHARES:
        low, high = found.quantile(share)
        known = high <= SECONDS[-1]
        method = "bounds of its bucket" if known else "beyond the last bucket"
        value, top = (high, high) if known else (low, None)
        measured.append(Measure(name=name, value=value, low=low, high=top, n=n, unit="s", method=method))
    return measured


def _saturation(counted: Counted) -> list[Measure]:
    """Shares of 0 to 1, as far as a server was there."""
    if not counted.seconds:
        return []
    shares = (
        ("busy_share", counted.busy / counted.seconds, "seconds of the model, over those of its workers"),
        ("busiest_share", counted.busiest, "the busiest minute of a worker"),
        ("queue_share", counted.fullest, "the most requests that waited at a time, over their bound"),
    )
    return [Measure(name=name, value=value, n=counted.lines, method=method) for name, value, method in shares]
