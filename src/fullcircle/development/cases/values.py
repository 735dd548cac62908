"""The values worth trying in one column: all that fit only just, and one of every way in which a value can be wrong.

What is expected here is written down a second time, apart from the code that judges rows: a test that asked that code
what to expect would find nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fullcircle.types.contract import Column

Reason = Literal["", "missing", "unseen", "outside", "wrong_type"]

EXACT = 2**53
HUGE = 1e308
HALF = "half \ud800 character"
"""Text with a lone surrogate: Python can hold it, UTF-8 cannot."""
_TWENTY_DIGITS = 12345678901234567891
_MOST_CATEGORIES = 20
_EPOCH = datetime(1970, 1, 1)
_FIRST, _LAST = datetime(1677, 9, 23), datetime(2262, 4, 10)


@dataclass(frozen=True)
class Trial:
    """A value to try. ``reason`` says how it misfits, "" where it fits.

    ``like`` is another way to write the same value, where there is one: it has to get the same answer. ``huge``
    values are so far out that the arithmetic of a sound model may end on them.
    """

    what: str
    value: object
    reason: Reason = ""
    like: object = None
    huge: bool = False


def trials(column: Column) -> Iterator[Trial]:
    """The values to try in this column, each with what has to be said of it."""
    missing: Reason = "" if column.nullable else "missing"
    yield Trial("null", None, missing)
    yield Trial("NaN", math.nan, missing)
    yield Trial("a list", [1], "wrong_type")
    yield Trial("an object", {"a": {"b": 1}}, "wrong_type")
    match column.kind:
        case "number":
            yield from _number(column)
        case "integer":
            yield from _integer(column)
        case "boolean":
            yield from _boolean()
        case "category":
            yield from _category(column)
        case "text":
            yield from _text()
        case "time":
            yield from _time(column)


def _of(reason: Reason, **named: object) -> Iterator[Trial]:
    for what, value in named.items():
        yield Trial(what.replace("_", " "), value, reason)


def _no_number() -> Iterator[Trial]:
    yield from _of("wrong_type", true=True, the_text_3="3", half_a_character=HALF)
    yield from _of("wrong_type", infinity=math.inf, minus_infinity=-math.inf)
    yield from _of("wrong_type", a_whole_number_of_20_digits=_TWENTY_DIGITS)


def _range(column: Column, value: float) -> Reason:
    """Outside of the hard range, or not. Python compares whole numbers and floats exactly."""
    too_low = column.low is not None and value < column.low
    too_high = column.high is not None and value > column.high
    return "outside" if too_low or too_high else ""


def _number(column: Column) -> Iterator[Trial]:
    yield from _no_number()
    yield Trial("2**53 + 1", EXACT + 1, "wrong_type")
    for what, end, away in (("low", column.low, -math.inf), ("high", column.high, math.inf)):
        if end is None:
            continue
        yield Trial(f"exactly at the {what} end", end, _range(column, end), huge=abs(end) >= HUGE)
        beyond = math.nextafter(end, away)
        if math.isfinite(beyond):
            yield Trial(f"just beyond the {what} end", beyond, "outside", huge=abs(end) >= HUGE)
    yield Trial("1e308", HUGE, _range(column, HUGE), huge=True)
    yield Trial("-1e308", -HUGE, _range(column, -HUGE), huge=True)


def _integer(column: Column) -> Iterator[Trial]:
    yield from _no_number()
    yield from _of("wrong_type", a_half=3.5)
    yield Trial("1e308", HUGE, "wrong_type")
    yield Trial("-1e308", -HUGE, "wrong_type")
    # A column that may be missing is a column of floats, which do not hold this number.
    floats = column.nullable or "flag" in (column.missing, column.wrong_type)
    yield Trial("2**53 + 1", EXACT + 1, "wrong_type" if floats else _range(column, EXACT + 1), huge=True)
    ends = [("low", column.low, math.ceil, -1), ("high", column.high, math.floor, 1)]
    for what, end, inward, away in ends:
        if end is None or abs(end) >= EXACT:
            continue
        whole = inward(end)
        yield Trial(f"exactly at the {what} end", whole, _range(column, whole))
        yield Trial(f"at the {what} end, written with a point", float(whole), _range(column, whole), like=whole)
        yield Trial(f"just beyond the {what} end", whole + away, _range(column, whole + away))


def _boolean() -> Iterator[Trial]:
    yield from _of("", true=True, false=False)
    yield Trial("1", 1, "wrong_type")
    yield Trial("0.0", 0.0, "wrong_type")
    yield Trial("the text true", "true", "wrong_type")


def _category(column: Column) -> Iterator[Trial]:
    step = -(-len(column.categories) // _MOST_CATEGORIES) or 1
    for place, name in enumerate(column.categories[::step]):
        yield Trial(f"known category {place * step + 1}", name)
    first = column.categories[0] if column.categories else "a"
    strange = {
        "an empty text": "",
        "a known category in other case": first.swapcase(),
        "a known category and a space": first + " ",
        "a category that nobody saw": "never seen before",
        "half a character": HALF,
    }
    for what, name in strange.items():
        if name not in column.categories:
            yield Trial(what, name, "unseen")
    yield from _of("wrong_type", true=True, a_number=3, a_float=1.5)


def _text() -> Iterator[Trial]:
    yield Trial("an empty text", "")
    yield Trial("text of many scripts", "naïve 漢字 🙂")
    yield from _of("wrong_type", true=True, a_number=3, half_a_character=HALF)


def _time(column: Column) -> Iterator[Trial]:
    yield from _of("wrong_type", true=True, a_number=3, an_empty_text="", half_a_character=HALF)
    yield from _of("wrong_type", day_month_year="01/02/2020", words="yesterday", no_such_day="2020-02-30")
    yield Trial("a time beyond 2262", "9999-12-31T00:00:00", "wrong_type")
    for what, end, inward, away in (("low", column.low, math.ceil, -1), ("high", column.high, math.floor, 1)):
        if end is None:
            continue
        for name, seconds in (("exactly at", inward(end)), ("just beyond", inward(end) + away)):
            moment = _moment(seconds)
            if moment is not None:
                written = moment.isoformat()
                reason = _range(column, seconds)
                yield Trial(f"{name} the {what} end", written, reason)
                yield Trial(f"{name} the {what} end, with a zone", f"{written}+00:00", reason, like=written)


def _moment(seconds: int) -> datetime | None:
    try:
        found = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return found if _FIRST <= found <= _LAST else None
