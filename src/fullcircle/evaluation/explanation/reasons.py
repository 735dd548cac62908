"""Why the model answered a row as it did, in sentences for the person affected.

A sentence per value, strongest first, from Shapley values (see ``shapley``). They tell what the model did with the
values of this row beside usual ones, not what would happen in the world if a value were another.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fullcircle.evaluation import words
from fullcircle.evaluation.check import absent
from fullcircle.evaluation.explanation.shapley import OTHERS, Explanation
from fullcircle.types.contract import Column, Value

MOST = 4
NONE = "No single value stands out in this answer."
# A value that moves the answer by less than this share of all movement is no reason.
_SHARE = 0.05
# Nor is one below what the sentence shows: of the answer in numbers, and in points of probability.
_PART = 0.0005
_POINTS = 0.05
_LONGEST = 40
# Not from the calendar module, which follows the locale of the process.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True)
class Answer:
    """What the answer is about: its ``unit``, the ``label``'s column, the ``classes`` in the model's order."""

    task: Literal["regression", "classification"]
    label: str = ""
    unit: str = ""
    classes: Sequence[Value] = ()


def reasons(
    explanation: Explanation,
    position: int,
    row: Mapping[str, Any],
    columns: Mapping[str, Column],
    answer: Answer,
) -> tuple[str, ...]:
    """Up to four sentences on one row of an explanation, strongest reason first; at least one sentence.

    ``row`` holds the values as the person gave them, ``columns`` the names, units and kinds to tell them by. A
    private column is named, its value is not. Left out are values that moved the answer by less than a twentieth of
    all movement, by less than the sentence would show, or by less than twice the error of the estimate.
    """
    values = explanation.values[position].tolist()
    errors = explanation.errors[position].tolist()
    base = float(explanation.base[position])
    least = _least(answer, base, float(explanation.answers[position]), math.fsum(abs(value) for value in values))
    told = [
        (name, value)
        for name, value, error in zip(explanation.names, values, errors, strict=True)
        if name != OTHERS and abs(value) >= max(least, 2.0 * error) and value
    ]
    told.sort(key=lambda each: -abs(each[1]))
    outcome = _outcome(answer, int(explanation.outcomes[position]))
    found: list[str] = []
    for name, value in told[:MOST]:
        usual = f" (from {_level(answer, base)}, the average of a sample)" if not found else ""
        verb = "raises" if value > 0 else "lowers"
        given = _given(name, row, columns.get(name))
        found.append(f"{given} {verb} {outcome} by {_amount(answer, abs(value))}{usual}.")
    return tuple(found) or (NONE,)


def answered(explanation: Explanation, position: int, answer: Answer) -> str:
    """The answer itself: ``152 EUR``, or ``yes 83 %``."""
    value = float(explanation.answers[position])
    if answer.task == "regression":
        return _level(answer, value)
    return f"{said(answer.classes[int(explanation.outcomes[position])])} {_level(answer, value)}"


def readable(name: str, column: Column | None = None) -> str:
    """A column's display name: its label, else its name with blanks between words; a capital at the start."""
    said = column.label.strip() if column is not None else ""
    if not said:
        parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", name)
        said = re.sub(r"[_\s]+", " ", parted).strip() or name
    word = said.split()[0] if said.split() else said
    # A word like pH or eGFR is written as it is.
    return said[:1].upper() + said[1:] if word.islower() else said


def said(value: Any, column: Column | None = None) -> str:
    """A value as people read it: thousands parted, yes and no, dates in words, the unit behind numbers."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[s]")
    plain = value.item() if isinstance(value, np.generic) else value
    kind = column.kind if column is not None else ""
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if kind == "time" or isinstance(plain, datetime.date):
        return _moment(plain)
    if isinstance(plain, int | float) and kind not in ("category", "text"):
        return _figure(plain, column.unit if column is not None else "")
    return _cut(str(plain))


def _given(name: str, row: Mapping[str, Any], column: Column | None) -> str:
    """The start of the sentence: the column, and its value where it may be told."""
    title = readable(name, column)
    if column is not None and column.private:
        return title
    value = row.get(name)
    if bool(absent(np.array([value], dtype=object)).any()):
        return f"{title} is not given, which"
    told = said(value, column)
    with_unit = column is not None and bool(column.unit) and told.endswith(f" {column.unit}")
    return f"{title} of {told}" if with_unit else f"{title} ({told})"


def _figure(value: float, unit: str) -> str:
    """A number with its unit; without one four digits are not parted, as they may be a year."""
    if not unit and float(value).is_integer() and 1000 <= abs(value) < 10_000:
        return f"{value:.0f}"
    return f"{words.number(value)}{f' {unit}' if unit else ''}"


def _outcome(answer: Answer, position: int) -> str:
    if answer.task == "regression":
        return "the answer"
    name = answer.classes[position]
    about = f"{readable(answer.label)} being " if answer.label and not isinstance(name, str) else ""
    return f"the probability of {about}{said(name)}"


def _level(answer: Answer, value: float) -> str:
    """The usual answer: ``152 EUR`` or ``30 %``."""
    if answer.task == "classification":
        if value < 0.001:
            return "less than 0.1 %"
        return "more than 99.9 %" if value > 0.999 else f"{_short(value * 100.0)} %"
    return f"{_short(value)}{f' {answer.unit}' if answer.unit else ''}"


def _amount(answer: Answer, value: float) -> str:
    """By how much: ``23.4 EUR`` or ``12 points``."""
    if answer.task == "classification":
        number = _points(value)
        return f"{number} point{'' if number == '1' else 's'}"
    return f"{_short(value)}{f' {answer.unit}' if answer.unit else ''}"


def _least(answer: Answer, base: float, own: float, moved: float) -> float:
    """The smallest value that is a reason."""
    shown = _POINTS / 100.0 if answer.task == "classification" else _PART * max(abs(base), abs(own))
    return max(_SHARE * moved, shown)


def _points(value: float) -> str:
    points = value * 100.0
    return f"{points:.0f}" if points >= 9.95 else f"{points:.1f}".removesuffix(".0")


def _short(value: float) -> str:
    """Three significant digits, thousands whole and parted."""
    return words.number(value) if abs(value) >= 1000 else f"{float(f'{value:.3g}'):g}"


def _moment(value: Any) -> str:
    """``3 March 2024``, with the time of the day where there is one; text that is no time as it is."""
    try:
        moment = datetime.datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
    except (ValueError, AttributeError):
        return _cut(str(value))
    day = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else day


def _cut(text: str) -> str:
    """On one line, and not longer than a sentence bears."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
