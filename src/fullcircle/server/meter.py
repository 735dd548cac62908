"""What one worker counts: requests, rows, verdicts, refusals and how long requests took.

Plain integers that one event loop increments, once a batch, and that any thread may read (``snapshot``). A figure
read while a batch is being counted may lack a part of that batch; none is ever counted twice or lost.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from fullcircle.server import addresses
from fullcircle.tables.requests import SECONDS as SECONDS
from fullcircle.types.contract import STATUSES

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
"""Upper bounds, included, of the buckets of rows in a batch."""
PREDICT, ROUTES = addresses.PREDICT.template, addresses.TEMPLATES
REASONS: Mapping[str, int] = {
    "overload": 503, "draining": 503, "not_ready": 503, "log": 503, "lookup": 503, "breaker": 503, "defect": 503,
    "too_large": 413, "invalid": 400, "media_type": 415, "slow": 408, "method": 405, "not_found": 404,
    "not_served": 404, "host": 421, "rate": 429, "unauthorized": 401, "forbidden": 403,
}  # fmt: skip
"""Why a request was refused, and the status that says so. Any other reason is counted as "other"."""
OTHER = addresses.OTHER
KEPT = 32  # versions of one model that are counted apart; the one that was current longest ago is forgotten
SHOWN = 16  # versions of one model that are shown: fewer than kept, so that workers forget only what nobody shows
MODELS = 256  # names that are counted apart
_MIN = ("start",)  # of these gauges the workers' smallest counts, of all others the sum


class Snapshot(msgspec.Struct, kw_only=True):
    """What was counted until now. Keys are a name and its labels, joined by tabs (``labels`` takes them apart).

    ``counts`` only grow. ``histograms`` hold the count of each bucket, then the sum of what was observed.
    ``gauges`` are as they are now. ``seen`` tells when a version of a model became current, in Unix seconds.
    """

    counts: dict[str, float] = {}
    histograms: dict[str, list[float]] = {}
    gauges: dict[str, float] = {}
    seen: dict[str, float] = {}


class _Series:
    """One version of one model."""

    __slots__ = (
        *("batches", "busy", "failed", "lost", "neither", "reasons", "refused", "seconds", "seen", "verdicts"),
        "waiting",
    )

    def __init__(self) -> None:
        self.seen = time.time()
        self.seconds: list[float] = [0] * (len(SECONDS) + 2)  # requests that were answered with 200
        self.refused: list[float] = [0] * (len(SECONDS) + 2)  # requests whose rows were all rejected: 422
        self.batches: list[float] = [0] * (len(ROWS) + 2)
        self.verdicts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self.reasons: dict[str, int] = {}
        self.failed = self.lost = self.neither = 0
        self.busy = 0.0
        self.waiting = 0


class Meter:
    """Counts for one worker. Every method but ``snapshot`` is called by the thread of the event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that were taken and are not answered yet."""
        self.queues: dict[str, int] = {}
        """Requests that are with each model and count against the bound."""
        self.bound = 0
        """Requests that may be with one model at a time, as far as that is known."""
        self._series: dict[tuple[str, int], _Series] = {}
        self._current: dict[str, int] = {}
        self._open: dict[str, bool] = {}
        self._needs: Mapping[tuple[str, str], bool] = {}
        self._requests: dict[tuple[str, int, str, int], list[float]] = {}
        self._refused: dict[str, int] = {}
        self._swaps: dict[str, int] = {}
        self._begun = time.time()

    def answered(
        self,
        model: str,
        version: int,
        verdicts: Mapping[str, int],
        rows: int,
        seconds: Sequence[float],
        rejected: Sequence[float] = (),
        busy: float = 0.0,
        waiting: int = 0,
    ) -> None:
        """One batch was answered: how many rows got which verdict, and how long each of its requests took.

        ``rejected`` are the seconds of those requests that were answered with 422, as all their rows were rejected.
        ``busy`` are the seconds that the model computed, ``waiting`` how many requests were with it then.
        """
        series = self._series.get((model, version))
        if series is None:
            series = self._fresh(model, version)
        found = series.seconds
        for one in seconds:
            found[bisect_left(SECONDS, one)] += 1
        found[-1] += sum(seconds)
        if rejected:
            _observe(series.refused, SECONDS, rejected)
        batches = series.batches
        batches[bisect_left(ROWS, rows)] += 1
        batches[-1] += rows
        known = series.verdicts
        for status, count in verdicts.items():
            known[status] += count
        series.busy += busy
        if waiting > series.waiting:
            series.waiting = waiting

    def observed(self, route: str, status: int, seconds: float, model: str = "", version: int = 0) -> None:
        """Any other request was answered. ``route`` is one of ROUTES; what is not is counted as "other"."""
        route = route if route in ROUTES else OTHER
        status = status if 100 <= status < 600 else 500
        if model and (model, version) not in self._series:
            self._fresh(model, version)
        key = (route, status, model, version)
        _observe(self._requests.setdefault(key, [0] * (len(SECONDS) + 2)), SECONDS, (seconds,))

    def refused(
        self,
        reason: str,
        status: int | None = None,
        route: str = PREDICT,
        seconds: float = 0.0,
        model: str = "",
        version: int = 0,
    ) -> None:
        """A request was refused. ``reason`` is one of REASONS, which also know the usual ``status``.

        ``model`` and ``version`` are those that it asked, where they are served.
        """
        reason = reason if reason in REASONS else OTHER
        self._refused[reason] = self._refused.get(reason, 0) + 1
        self.observed(route, REASONS.get(reason, 400) if status is None else status, seconds, model, version)
        if model:
            known = self._series[(model, version)].reasons
            known[reason] = known.get(reason, 0) + 1

    def queued(self, model: str, more: int) -> None:
        """So many requests more, or less, are with the model."""
        self.queues[model] = self.queues.get(model, 0) + more

    def worked(self, model: str, version: int, seconds: float = 0.0, waiting: int = 0) -> None:
        """The model computed for so many seconds, or so many requests were with it at a time."""
        series = self._series.get((model, version)) or self._fresh(model, version)
        series.busy += seconds
        series.waiting = max(series.waiting, waiting)

    def fullest(self) -> dict[tuple[str, int], int]:
        """The most requests that were with each version at a time since this was asked last. For one thread.

        One that arrives between reading and forgetting may be missed; none is told twice.
        """
        found = {}
        for key, series in self._series.copy().items():
            if series.waiting:
                found[key], series.waiting = series.waiting, 0
        return found

    def failed(self, model: str, version: int, rows: int = 1) -> None:
        """The model could not answer these rows: it raised, gave no number, or its breaker is open."""
        (self._series.get((model, version)) or self._fresh(model, version)).failed += rows

    def lost(self, model: str, version: int, rows: int) -> None:
        """Rows were answered and could not be written to the prediction log."""
        (self._series.get((model, version)) or self._fresh(model, version)).lost += rows

    def neither(self, model: str, version: int, rows: int) -> None:
        """The version left rows unanswered that the champion beside it would have left unanswered too."""
        (self._series.get((model, version)) or self._fresh(model, version)).neither += rows

    def swapped(self, model: str, version: int) -> None:
        """From now on this version answers for the model."""
        if self._current.get(model) not in (None, version):
            self._swaps[model] = self._swaps.get(model, 0) + 1
        self._current[model] = version
        series = self._series.pop((model, version), None) or _Series()
        series.seen = time.time()
        self._keep(model, version, series)

    def removed(self, model: str) -> None:
        """The model is no longer served."""
        self._current.pop(model, None)
        self._open.pop(model, None)

    def breaker(self, model: str, is_open: bool) -> None:
        """Whether the model is asked (closed), or known not to answer at the moment (open)."""
        self._open[model] = is_open

    def needs(self, unmet: Mapping[tuple[str, str], bool]) -> None:
        """Of each need, by its name and kind, whether its last check failed. Any thread may say so."""
        self._needs = unmet

    def snapshot(self) -> Snapshot:
        """A copy of all that was counted, with what the process uses. May be called by any thread."""
        # A copy of a dict is made at one go; a list of its items is not: the collector of garbage may come between.
        found = Snapshot(gauges={"in_flight": self.in_flight, **process(self._begun)})
        found.gauges["bound"] = self.bound
        found.counts["cpu"] = round(time.process_time(), 2)
        for (model, version), series in self._series.copy().items():
            ends = f"{model}\t{version}"
            found.seen[ends] = series.seen
            found.counts |= {f"verdicts\t{status}\t{ends}": count for status, count in series.verdicts.copy().items()}
            found.counts |= {f"failed\t{ends}": series.failed, f"lost\t{ends}": series.lost}
            if series.neither:
                found.counts[f"neither\t{ends}"] = series.neither
            found.counts[f"busy\t{ends}"] = series.busy
            found.counts |= {f"reasons\t{reason}\t{ends}": count for reason, count in series.reasons.copy().items()}
            found.histograms[f"batches\t{ends}"] = list(series.batches)
            for status, seconds in ((200, series.seconds), (422, series.refused)):
                if any(seconds):
                    found.histograms[f"requests\t{PREDICT}\t{status}\t{ends}"] = list(seconds)
        for (route, status, model, version), seconds in self._requests.copy().items():
            key = f"requests\t{route}\t{status}\t{model}\t{version or ''}"
            found.histograms[key] = _sum(found.histograms.get(key, []), list(seconds))
        found.counts |= {f"refused\t{reason}": count for reason, count in self._refused.copy().items()}
        found.counts |= {f"swaps\t{model}": count for model, count in self._swaps.copy().items()}
        found.gauges |= {f"current\t{model}\t{version}": 1 for model, version in self._current.copy().items()}
        queues = {**dict.fromkeys(self._current.copy(), 0), **self.queues}
        found.gauges |= {f"queue\t{model}": n for model, n in queues.items() if n or model in self._current}
        found.gauges |= {f"breaker\t{model}": int(is_open) for model, is_open in self._open.copy().items()}
        found.gauges |= {f"unmet\t{name}\t{kind}": int(failed) for (name, kind), failed in self._needs.items()}
        return found

    def _fresh(self, model: str, version: int) -> _Series:
        self._keep(model, version, series := _Series())
        return series

    def _keep(self, model: str, version: int, series: _Series) -> None:
        """Add the series at the end; forget the first versions of a model that has too many, or the first model."""
        self._series[(model, version)] = series
        versions = [one for one in self._series if one[0] == model]
        models = dict.fromkeys(name for name, _ in self._series)
        gone = set(versions[:-KEPT]) | {one for one in self._series if one[0] in list(models)[:-MODELS]}
        for one in gone:
            del self._series[one]
        if gone:
            self._requests = {key: found for key, found in self._requests.items() if key[2:] not in gone}


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The snapshots of several workers as one, by addition. Shows the last SHOWN versions of each model."""
    found = Snapshot()
    for one in snapshots:
        for key, count in one.counts.items():
            found.counts[key] = found.counts.get(key, 0) + count
        for key, values in one.histograms.items():
            found.histograms[key] = _sum(found.histograms.get(key, []), values)
        for key, value in one.gauges.items():
            known = found.gauges.get(key)
            found.gauges[key] = value if known is None else min(known, value) if key in _MIN else known + value
        for key, moment in one.seen.items():
            found.seen[key] = max(found.seen.get(key, 0.0), moment)
    gone = _old(found.seen)
    found.counts = {key: value for key, value in found.counts.items() if not _ends(key, gone)}
    found.histograms = {key: value for key, value in found.histograms.items() if not _ends(key, gone)}
    found.seen = {key: value for key, value in found.seen.items() if key not in gone}
    return found


def labels(key: str) -> tuple[str, tuple[str, ...]]:
    """The name of a figure, and the values of its labels."""
    name, *rest = key.split("\t")
    return name, tuple(rest)


def process(begun: float) -> dict[str, float]:
    """What this process uses, as far as the system tells: resident bytes, open files, since when, one worker."""
    found: dict[str, float] = {"workers": 1, "start": round(begun, 2)}
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        found["rss"] = pages * os.sysconf("SC_PAGE_SIZE")
        found["files"] = len(os.listdir("/proc/self/fd")) - 1  # the listing itself holds one
    except OSError:  # not Linux: the figures are left out rather than guessed
        return found
    return found


def _observe(found: list[float], bounds: Sequence[float], values: Sequence[float]) -> None:
    for value in values:
        found[bisect_left(bounds, value)] += 1
    found[-1] += sum(values)


def _sum(a: list[float], b: list[float]) -> list[float]:
    """Element by element; histograms of another version's buckets are not mixed with ours."""
    return [x + y for x, y in zip(a, b, strict=True)] if len(a) == len(b) else list(a or b)


def _old(seen: Mapping[str, float]) -> set[str]:
    """The versions, and all versions of the models, that were current longest ago and are too many."""
    by_model: dict[str, list[tuple[float, str]]] = {}
    for key, moment in seen.items():
        by_model.setdefault(key.partition("\t")[0], []).append((moment, key))
    late = sorted((sorted(found) for found in by_model.values()), key=lambda found: found[-1])[-MODELS:]
    shown = {key for found in late for _, key in found[-SHOWN:]}
    return seen.keys() - shown


def _ends(key: str, gone: set[str]) -> bool:
    return bool(gone) and "\t".join(key.rsplit("\t", 2)[-2:]) in gone
