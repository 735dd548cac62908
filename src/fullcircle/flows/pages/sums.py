"""The sums of a decision as a page shows them: like a receipt, line by line, with what is left at the bottom."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.flows.pages.words import figure
from fullcircle.types.loop import Difference, Step, Worth

if TYPE_CHECKING:
    from jinja2 import Environment

CAUSE_WORDS = {
    "harm": "harm",
    "drift": "drift",
    "schedule": "the calendar",
    "rows": "enough new labelled rows",
    "hand": "asked for by hand",
}
UNKNOWN = "unknown"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TIME = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)?")
_WHY = 160  # letters of the reason that stand under the pointer


@dataclass(frozen=True)
class Line:
    """One line of a receipt: what, how it came about, the amount, and whether that is what is left."""

    what: str
    how: str
    amount: str
    last: bool = False


@dataclass(frozen=True)
class Receipt:
    """The sums before or after a training: a title, the lines, the sentence, and a colour's name."""

    title: str
    lines: tuple[Line, ...]
    text: str
    tone: str


def known(env: Environment) -> None:
    """Teach an environment what templates/steps.html asks for."""
    env.filters.update(sentence=sentence, dated=dated)
    env.globals.update(receipts=receipts, judged=judged, amount=amount, causes=CAUSE_WORDS)


def receipts(step: Step) -> list[Receipt]:
    """What a retraining was expected to be worth, and what it was measured to be."""
    return [receipt(each) for each in (step.expected, step.measured) if each is not None]


def receipt(worth: Worth) -> Receipt:
    """The sums of one figure of worth."""
    unit = worth.unit
    how = f"{amount(worth.per_row)} a row ({span(worth.low, worth.high)}) × {figure(float(round(worth.rows)))} rows"
    gain, cost, risk = (_beside(each, worth) for each in (worth.gain, -worth.cost, -worth.risk))
    lines = (
        Line("better answers" if worth.gain >= 0 else "worse answers", how, amount(gain, signed=True)),
        Line("training", "", amount(cost, signed=True)),
        Line("risk of being worse", "", amount(risk, signed=True)),
        Line(f"left in {worth.horizon}", "", amount(worth.net, unit, signed=True), last=True),
    )
    title = "Measured, after training" if worth.measured else "Expected, before training"
    tone = "" if not math.isfinite(worth.net) else "good" if worth.net > 0 else "bad"
    return Receipt(title, lines, worth.text, tone)


def _beside(value: float, worth: Worth) -> float:
    """An amount without the digits that are nothing beside the greatest of the receipt."""
    most = max((abs(each) for each in (worth.gain, worth.cost, worth.risk) if math.isfinite(each)), default=0.0)
    return round(value, 5 - math.floor(math.log10(most))) if most and math.isfinite(value) else value


def amount(value: float | None, unit: str = "", *, signed: bool = False) -> str:
    """An amount with its unit, with a sign where asked for; a word where it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    value = value or 0.0  # no minus before nothing
    sign = "+" if signed and value > 0 else ""
    return f"{sign}{figure(float(value))}{f' {unit}' if unit else ''}"


def span(low: float, high: float) -> str:
    """The ends of a 95 % interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "95 % interval unknown"
    return f"95 %: {figure(float(low))} to {figure(float(high))}"


def sentence(text: str) -> str:
    """With a capital letter first and a full stop last."""
    text = text.strip()
    return text if not text else text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def dated(text: str) -> str:
    """With days as a person writes them, where a text holds UTC times (ISO 8601)."""
    return _TIME.sub(lambda found: f"{int(found[3])} {_MONTHS[int(found[2]) - 1]} {found[1]}", text)


def cut(text: str, most: int) -> str:
    """Not longer than that, cut between words."""
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0]}…"


def judged(found: Difference) -> tuple[str, str]:
    """How a comparison ended: a colour's name and a word."""
    if found.passed:
        return ("good", "better" if found.low > 0 else "not worse")
    return ("bad", "worse" if found.high < 0 else "perhaps worse")


def in_short(step: Step) -> str:
    """Why and with which sums, in two lines or three: what stands under the pointer."""
    lines = []
    if step.trigger is not None:
        lines.append(cut(f"Why: {dated(step.trigger.reason)}", _WHY))
    for each in (step.expected, step.measured):
        if each is not None:
            word = "Measured" if each.measured else "Expected"
            left = amount(each.net, each.unit, signed=True)
            sums = f"{amount(each.gain, signed=True)} − {amount(each.cost)} − {amount(each.risk)}"
            lines.append(f"{word}: {left} in {each.horizon} ({sums})")
    return "\n".join(lines)
