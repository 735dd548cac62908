"""What a rehearsal says in the end: hindsight, and in sentences how the shipped loop did beside the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import shorten

from fullcircle.flows.rehearsal import scoring
from fullcircle.flows.rehearsal.history import History
from fullcircle.flows.rehearsal.policies import CALENDAR, HINDSIGHT, NEVER, SHIPPED
from fullcircle.flows.rehearsal.running import Result
from fullcircle.flows.rehearsal.scoring import Measuring, Sums
from fullcircle.monitoring.grid import iso
from fullcircle.types.loop import Played, Policy, Told

_CLOSE = 0.005  # of a metric: what is nearer is as good


def hindsight(
    results: Sequence[Result],
    history: History,
    bounds: Sequence[tuple[int, int]],
    until: int,
    how: Measuring,
    home: Path,
) -> Policy:
    """In every window the best version that any policy had made when it began.

    By what its answers earned where the project says so, else by the main metric. Nobody can know it beforehand.
    """
    versions = sorted({(made.at, made.name) for result in results for made in result.versions})
    sums, windows = Sums(how), []
    since = bounds[0][0] if bounds else until
    rows = sum(len(part.times) for part in history.between(since, until))
    found = {name: scoring.read_answers(home / "answers" / name) for _, name in versions}
    starts = {name: rows - len(answers.values) for name, answers in found.items()}
    for each in scoring.windows(history, bounds, until, how.project.label):
        best: tuple[float, int, str] | None = None
        for number, (at, name) in enumerate(versions):
            if at > each.start or starts[name] > each.first:
                continue
            place = each.first - starts[name]
            told = scoring.cut(found[name], place, place + len(each.labels))
            merit = _merit(how, Sums(how).add(each.labels, each.known, told))
            if best is None or merit > best[0]:
                best = merit, number, name
        assert best is not None  # noqa: S101 - the first version is older than all that is played
        place = each.first - starts[best[2]]
        told = scoring.cut(found[best[2]], place, place + len(each.labels))
        labelled, metric, value = sums.add(each.labels, each.known, told)
        windows.append(
            Played(
                since=iso(each.start),
                until=iso(min(each.stop, until)),
                rows=len(each.labels),
                labelled=labelled,
                version=best[1] + 1,
                metric=metric,
                value=value,
            )
        )
    value = sums.value
    earned = None if value is None else value * sums.rows
    return Policy(name=HINDSIGHT, windows=tuple(windows), metric=sums.metric, value=value, earned=earned)


def _merit(how: Measuring, found: tuple[int, float | None, float | None]) -> float:
    _, metric, value = found
    if value is not None:
        return value
    return -float("inf") if metric is None else how.metric.merit(metric)


def sentences(policies: Sequence[Policy], how: Measuring, currency: str) -> tuple[str, ...]:
    """Whether the shipped loop did at least as well as never retraining and as the calendar, and why not."""
    return tuple(_sentences({policy.name: policy for policy in policies}, how, currency))


def _sentences(known: dict[str, Policy], how: Measuring, currency: str) -> Iterator[str]:
    shipped, never, calendar = (known[name] for name in (SHIPPED, NEVER, CALENDAR))
    if shipped.metric is None:
        yield "No label ever came for a row that was played, so nothing can be said about the answers."
        return
    for other, called in ((never, "never retraining"), (calendar, "retraining every 30 days")):
        yield _beside(shipped, other, called, how, currency)
    yield (
        f"It retrained {_times(shipped.trained)}, the calendar {_times(calendar.trained)}; "
        f"promoted {_times(shipped.promoted)} against {_times(calendar.promoted)}."
    )
    best = known.get(HINDSIGHT)
    if best is not None and best.metric is not None:
        yield f"The best version of each window, which nobody knows beforehand, had {_figures(best, how, currency)}."
    better = [one for one in known.values() if one.changes and one.name not in (NEVER, CALENDAR)]
    better = [one for one in better if _ahead(one, shipped, how) > 0]
    for one in sorted(better, key=lambda one: -_ahead(one, shipped, how)):
        yield f"{one.name} did better: {_figures(one, how, currency)}, with {_times(one.trained, 'training')}."


def _beside(shipped: Policy, other: Policy, called: str, how: Measuring, currency: str) -> str:
    ahead = _ahead(shipped, other, how)
    size = max(abs(other.metric or 0.0), abs(shipped.metric or 0.0), 1e-12)
    same = abs((shipped.metric or 0.0) - (other.metric or 0.0)) <= _CLOSE * size
    word = "as well as" if same else "better than" if ahead > 0 else "worse than"
    text = f"The shipped loop did {word} {called}: {_figures(shipped, how, currency)} against "
    text += _figures(other, how, currency)
    if same or ahead > 0:
        return f"{text}."
    return f"{text}. {_why(shipped, other)}"


def _why(shipped: Policy, other: Policy) -> str:
    """Why the shipped loop fell behind, as far as its own story tells."""
    held = [each for each in shipped.told if each.kind == "hold"]
    if other.promoted > shipped.promoted and held:
        return f"It held {_times(len(held))} what the other promoted; the last time because: {_held(held[-1])}"
    if other.promoted > shipped.promoted:
        first = next((each for each in shipped.told if each.kind == "alarm"), None)
        if first is None:
            return "No alarm asked for a retraining; retrain.schedule or retrain.rows would have."
        return f"Its first alarm came on {first.at[:10]}; the calendar waits for none."
    if shipped.promoted > other.promoted:
        return "Models that were promoted did worse afterwards than on the rows that they were judged by."
    return "It promoted as often, at other moments."


def _held(told: Told) -> str:
    """Why something was held, without what asked for it."""
    asked = "" if told.step is None or told.step.trigger is None else told.step.trigger.reason
    return shorten(told.text.split(asked, 1)[-1].strip("; ") if asked else told.text, 400, placeholder=" ...")


def _ahead(one: Policy, other: Policy, how: Measuring) -> float:
    """By how much one did better, in merit of the main metric."""
    if one.metric is None or other.metric is None:
        return 0.0
    return how.metric.merit(one.metric) - how.metric.merit(other.metric)


def _figures(policy: Policy, how: Measuring, currency: str) -> str:
    text = f"{how.metric.name} {policy.metric:.4g}" if policy.metric is not None else f"no {how.metric.name}"
    if policy.earned is not None:
        text += f", {policy.earned:,.0f} {currency or 'earned'}".rstrip()
    return text


def _times(count: int, what: str = "") -> str:
    if what:
        return f"{count} {what}{'' if count == 1 else 's'}"
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")
