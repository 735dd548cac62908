"""The words of an alarm: what, how sure, what to do. Plain text, without any markup."""

from __future__ import annotations

from collections.abc import Sequence

from fullcircle.monitoring.engine import SHARES
from fullcircle.types.durations import per_year
from fullcircle.types.monitoring import Alarm, Kind, Suspect
from fullcircle.types.project import Monitor

SHOWN = 5  # suspects named in a text
LONGEST = 200  # characters of what is said of one
_WHAT: dict[Kind, str] = {
    "drift": "what comes in, or goes out, is not as the reference was",
    "risk": "the model is wrong by more than on the reference: the losses on rows with a known outcome grew",
    "estimate": "the model itself expects to be wrong by more than on the reference; this is an estimate, "
    "no outcomes have shown it yet",
}
_TITLES: dict[Kind, str] = {"drift": "drift", "risk": "the losses grew", "estimate": "the expected losses grew"}


def what(kind: Kind, suspects: Sequence[Suspect]) -> str:
    """What happened, and to which columns; those that are merely likeliest are called so."""
    certain = [each for each in suspects if each.certain]
    likeliest = [each for each in suspects if not each.certain]
    parts = [_WHAT[kind]]
    if certain:
        parts.append("moved: " + _named(certain))
    if likeliest:
        parts.append("merely the likeliest: " + _named(likeliest))
    return "; ".join(parts)


def _named(suspects: Sequence[Suspect]) -> str:
    names = [_line(each.feature) for each in suspects]
    told = [_line(each.guess or each.text) for each in suspects]
    named = [f"{name} ({text})" if text else name for name, text in zip(names, told, strict=True)]
    more = len(named) - SHOWN
    return ", ".join(named[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _line(text: str) -> str:
    """A text of the data on one line, so that no name of a column can pass for a line of the message."""
    return plain(text)[:LONGEST]


def plain(text: str) -> str:
    """A text without line breaks and without what steers a terminal or the direction of a text."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def sure(kind: Kind, monitor: Monitor) -> str:
    """What the budget says of chance: the one figure that holds for every alarm of a kind.

    A detector that starts anew after each alarm, at the level c, alarms by chance at most T / c times in T batches on
    average, and c is set so that this is the kind's share of the budget. How likely it is that this one alarm is
    chance cannot be said: that depends on how often things really change.
    """
    budget = per_year(monitor.false_alerts) * SHARES[kind]
    return (
        f"where nothing changed, chance alone raises such an alarm at most once in {_years(1 / budget)} on average "
        f"(the budget is {plain(monitor.false_alerts)} for all alarms, {SHARES[kind]:g} of it for {kind}); this "
        f"holds with probability {monitor.confidence:g} over the draw of the reference"
    )


def _years(years: float) -> str:
    if years < 1:
        return f"{years * 365.25:.3g} days"
    return "a year" if years == 1 else f"{years:.3g} years"


def advice(kind: Kind, suspects: Sequence[Suspect], model: str) -> str:
    """What to do about it, by what is known of the columns."""
    steps = []
    guessed = [_line(each.feature) for each in suspects if each.guess]
    unseen = [_line(each.feature) for each in suspects if "categor" in each.text and not each.guess]
    if guessed:
        steps.append(f"ask where {', '.join(guessed[:SHOWN])} comes from whether a unit or a format changed there")
    if unseen:
        steps.append(f"see whether the new categories of {', '.join(unseen[:SHOWN])} belong in the contract")
    if kind == "drift":
        steps.append("look at the page; where the change is meant to stay, retrain (fullcircle retrain PROJECT)")
        steps.append("where it does no harm, give the column a tolerance")
    else:
        if kind == "estimate":
            steps.append("get outcomes for recent rows, which will show whether it is so")
        steps.append("retrain on recent rows (fullcircle retrain PROJECT)")
        steps.append(f"where a new version brought it, go back (fullcircle rollback {model})")
    return "; ".join(steps)


def title(alarm: Alarm, event: str) -> str:
    """One line: how urgent, which model, what."""
    mark = {"resolved": "resolved", "still": f"{alarm.severity}, still open"}.get(event, alarm.severity)
    return plain(f"[{mark}] {alarm.model} version {alarm.version}: {_TITLES[alarm.kind]}")


def _count(batches: int) -> str:
    return "1 batch" if batches == 1 else f"{batches} batches"


def body(alarm: Alarm, event: str, beside: Sequence[Alarm], *, champion: int | None = None) -> str:
    """All that is known of an alarm, a line for each thing. ``champion`` is the version that took its place."""
    lines = [f"What: {alarm.text}.", f"Since: {alarm.since}, seen {alarm.opened}, in {_count(alarm.batches)}."]
    if event == "resolved":
        ended = f"It has ended by itself at {alarm.resolved}: nothing is away from the reference any more."
        if champion is not None:
            ended = f"It has ended: version {alarm.version} is no longer the champion, version {champion} is."
        lines.insert(0, ended)
    else:
        lines.append(f"How sure: {alarm.sure}.")
        if alarm.cost is not None:
            lines.append(f"What it probably costs: {alarm.cost:,.2f} {alarm.currency}".rstrip() + " a day.")
        lines.append(f"What to do: {alarm.advice}.")
        lines += [
            f"Open beside it: {each.id} ({_TITLES[each.kind]}), which may be of the same cause." for each in beside
        ]
        lines.append(f"Acknowledge: fullcircle alarms ack PROJECT {alarm.id} --reason WHY")
    if alarm.acknowledged_by:
        lines.append(f"Acknowledged by: {alarm.acknowledged_by}.")
    if alarm.link:
        lines.append(f"Page: {alarm.link}")
    return "\n".join(plain(line) for line in [*lines, f"Alarm {alarm.id}"])
