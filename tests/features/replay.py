"""What every feature has to be at every moment: a brute-force replay, written to be read and not to be fast.

The law. A table holds rows: a key, event time ``e``, available-at ``a``, sequence ``s``, values. Times are integers
of nanoseconds since 1970 UTC; ``s`` follows the order of appending, and no two rows share one.

- A row is visible from ``v = max(e, a)``: asked at T it is seen when ``v <= T``, or ``v < T`` for ``closed="left"``.
- Rows are in the order of ``(e, a, s)``, wherever and whenever they were stored.
- The latest value of a key is that of its last visible row: "missing" when there is none, "expired" when that row
  has ``e < T - max_age``, "null" when its value is null, else "present". An older row never steps in.
- An aggregate takes the visible rows of the key. Where the table has an id, only the row of greatest ``(a, s)`` of
  each id counts: a correction replaces, also when it moves the event out of the window. Of these, the window keeps
  the rows with ``T - w < e <= T``, or ``T - w <= e < T`` for ``closed="left"``. Nulls are left out; NaN is a value.
- sum and count of nothing are zero and "present"; everything else of nothing is "missing".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[Any, ...]
Answer = tuple[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a feature table. ``id`` is None in a table without id columns."""

    key: Key
    e: int
    a: int
    s: int
    values: dict[str, Any]
    id: tuple[Any, ...] | None = None

    @property
    def v(self) -> int:
        """From when on it is visible."""
        return max(self.e, self.a)

    @property
    def order(self) -> tuple[int, int, int]:
        """Where it stands among the rows of its key."""
        return self.e, self.a, self.s


def latest(
    rows: Iterable[Row], key: Key, at: int, column: str, max_age: int | None = None, closed: str = "right"
) -> Answer:
    """Status and value of the last visible row of the key."""
    seen = visible(rows, key, at, closed)
    if not seen:
        return "missing", None
    row = seen[-1]
    if max_age is not None and row.e < at - max_age:
        return "expired", None
    value = row.values[column]
    return ("null", None) if value is None else ("present", value)


def aggregate(
    rows: Iterable[Row],
    key: Key,
    at: int,
    how: str,
    column: str | None,
    window: int,
    closed: str = "right",
    zero: float = 0,
) -> Answer:
    """Status and value of an aggregate. ``zero`` is the sum of nothing: 0 for integers and booleans, 0.0 for floats.

    A sum or mean of floats is rounded once, where a kernel rounds at each step: compare it with ``near``.
    """
    inside = in_window(rows, key, at, window, closed)
    if column is None:
        assert how == "count", f"{how} needs a column"
        return "present", len(inside)
    values = [row.values[column] for row in inside if row.values[column] is not None]
    if how == "count":
        return "present", len(values)
    if how == "sum":
        return "present", total(values) if values else zero
    if not values:
        return "missing", None
    if how == "mean":
        return "present", float(total(values)) / len(values)
    if how in ("min", "max"):
        return "present", extreme(how, values)
    return "present", {"first": values[0], "last": values[-1]}[how]


def visible(rows: Iterable[Row], key: Key, at: int, closed: str = "right") -> list[Row]:
    """The rows of the key that are seen at this time, in their order."""
    seen = [row for row in rows if row.key == key and (row.v <= at if closed == "right" else row.v < at)]
    return sorted(seen, key=lambda row: row.order)


def in_window(rows: Iterable[Row], key: Key, at: int, window: int, closed: str = "right") -> list[Row]:
    """The rows that an aggregate at this time is made of, in their order."""
    start = at - window
    counting = corrected(visible(rows, key, at, closed))
    return [row for row in counting if (start < row.e <= at if closed == "right" else start <= row.e < at)]


def corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows of one key without those that another row of the same id replaces."""
    return [
        row
        for row in rows
        if row.id is None or not any(other.id == row.id and (other.a, other.s) > (row.a, row.s) for other in rows)
    ]


def total(values: Sequence[Any]) -> Any:
    """The exact sum of integers or booleans; the sum of floats, rounded once and never -0.0."""
    if not isinstance(values[0], float):
        return sum(values)
    if all(math.isfinite(value) for value in values):
        return math.fsum(values) + 0.0
    return sum(value for value in values if not math.isfinite(value))


def extreme(how: str, values: Sequence[Any]) -> Any:
    """The smallest or largest value, of 0.0 and -0.0 the first in order; NaN if there is one."""
    for value in values:
        if isinstance(value, float) and math.isnan(value):
            return value
    return min(values) if how == "min" else max(values)


def same(got: Any, wanted: Any) -> bool:
    """Whether two values are one, bit for bit: NaN is NaN, 0.0 is neither -0.0 nor 0 nor False."""
    return type(got) is type(wanted) and repr(got) == repr(wanted)


def near(got: float, wanted: float, values: Sequence[float], how: str = "sum") -> bool:
    """Whether a sum or mean of these few floats is right up to the rounding of each addition."""
    if not math.isfinite(wanted):
        return same(got, wanted)
    slack = 2.0**-49 * math.fsum(abs(value) for value in values)
    return abs(got - wanted) <= (slack / len(values) if how == "mean" else slack) + 5e-324
