"""Aggregates over windows: one kernel, called with many questions in training and with one in serving.

Events are in order of key, then (e, a, s). A question is a stretch of events (its key's) and a last moment t: an event
counts from its v on, until a correction of it is visible, and while its e is in (t - window, t]. A window that is open
on the right is the same question asked a nanosecond earlier. Sums add the values of a window in this order, by the
same numpy loop whatever else is asked at the same time, so an answer has the same bits alone and among a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import DataUnfit

FOREVER = 2**63 - 1
CHUNK = 4_000_000  # events looked at in one go: bounds memory
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """Values of one column, one an event, and which of them are not null (None: all)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Events:
    """Events in order: event time, visible from, visible until (excluded), and their columns."""

    e: Ints
    v: Ints
    until: Ints
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Answers:
    """One answer a question. For first and last ``values`` are places of events, -1 where there is none."""

    values: NDArray[Any]
    present: NDArray[np.bool_]


def corrected(group: Ints, e: Ints, a: Ints, s: Ints) -> Ints:
    """Until when each event counts: the first moment at which a row of the same group with a greater (a, s) is visible.

    ``group`` numbers the identities (key and id together). Shapes (n,).
    """
    size = len(group)
    order = np.lexsort((s, a, group))
    groups, soonest = group[order], np.maximum(e, a)[order]
    follows = np.zeros(size, dtype=bool)
    follows[:-1] = groups[:-1] == groups[1:]
    step = 1
    while step < size and (alike := groups[:-step] == groups[step:]).any():
        soonest[:-step] = np.where(alike, np.minimum(soonest[:-step], soonest[step:]), soonest[:-step])
        step *= 2
    until = np.full(size, FOREVER, dtype=np.int64)
    later = np.append(soonest[1:], FOREVER) if size else until
    until[order] = np.where(follows, later, FOREVER)
    return until


def aggregate(
    events: Events, starts: Ints, ends: Ints, t: Ints, how: str, column: str | None, window: int
) -> Answers:
    """Answer the questions (starts, ends, t), each of shape (n,): ``how`` over ``window`` nanoseconds.

    Raises DataUnfit where a sum of integers does not fit 64 bits.
    """
    parts = [
        _reduced(how, None if column is None else events.columns[column], places, counts)
        for places, counts in _windows(events, starts, ends, t, window)
    ]
    if not parts:
        parts = [_reduced(how, None if column is None else events.columns[column], starts[:0], starts[:0])]
    return Answers(np.concatenate([part.values for part in parts]), np.concatenate([part.present for part in parts]))


def _windows(events: Events, starts: Ints, ends: Ints, t: Ints, window: int) -> Iterator[tuple[Ints, Ints]]:
    """For a stretch of questions at a time: the places of the events that count, and how many each question has."""
    # A window that reaches before the beginning of time begins there.
    since = np.where(t < window - FOREVER, -FOREVER, t - window)
    low = _bisect(events.e, starts, ends, since)
    high = _bisect(events.e, low, ends, t)
    sizes = high - low
    total = np.cumsum(sizes)
    done = 0
    while done < len(t):
        begun = int(total[done - 1]) if done else 0
        upto = max(done + 1, int(np.searchsorted(total, begun + CHUNK, side="right")))
        chosen = slice(done, upto)
        question = np.repeat(np.arange(upto - done), sizes[chosen])
        offsets = np.cumsum(sizes[chosen]) - sizes[chosen]
        places = np.arange(len(question)) - np.repeat(offsets, sizes[chosen]) + np.repeat(low[chosen], sizes[chosen])
        moment = t[chosen][question]
        counts = (events.v[places] <= moment) & (events.until[places] > moment)
        yield places[counts], np.bincount(question[counts], minlength=upto - done)
        done = upto


def _bisect(e: Ints, starts: Ints, ends: Ints, moments: Ints) -> Ints:
    """For each stretch of ``e`` the first place whose event is later than the moment."""
    low, high = starts.copy(), ends.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (e[np.where(open_, middle, 0)] <= moments)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


def _reduced(how: str, column: Column | None, places: Ints, counts: Ints) -> Answers:
    """Reduce the events at ``places``, which belong to the questions by ``counts``."""
    everyone = np.ones(len(counts), dtype=bool)
    if column is not None and column.valid is not None:
        good = column.valid[places]
        question = np.repeat(np.arange(len(counts)), counts)[good]
        places, counts = places[good], np.bincount(question, minlength=len(counts))
    if how == "count":
        return Answers(counts.astype(np.int64), everyone)
    filled = counts > 0
    offsets = (np.cumsum(counts) - counts)[filled]
    if how in ("first", "last"):
        chosen = np.full(len(counts), -1, dtype=np.int64)
        chosen[filled] = places[offsets if how == "first" else offsets + counts[filled] - 1]
        return Answers(chosen, filled)
    assert column is not None
    values = column.values[places]
    if how in ("min", "max"):
        return Answers(_spread(_extreme(how, values, offsets), filled), filled)
    sums = _spread(_sums(values, offsets, counts[filled]), filled)
    if how == "sum":
        return Answers(sums, everyone)
    return Answers(sums / np.maximum(counts, 1).astype(np.float64), filled)


def _spread(found: NDArray[Any], filled: NDArray[np.bool_]) -> NDArray[Any]:
    spread = np.zeros(len(filled), dtype=found.dtype)
    spread[filled] = found
    return spread


def _extreme(how: str, values: NDArray[Any], offsets: Ints) -> NDArray[Any]:
    if not len(offsets):
        return values[:0]
    with np.errstate(invalid="ignore"):  # NaN is a value, and the extreme of any window that has it
        return (np.minimum if how == "min" else np.maximum).reduceat(values, offsets)


def _sums(values: NDArray[Any], offsets: Ints, counts: Ints) -> NDArray[Any]:
    if values.dtype.kind == "f":
        with np.errstate(all="ignore"):  # infinities and their difference are values like others
            wide = values.astype(np.float64)
            return np.add.reduceat(wide, offsets) if len(offsets) else wide[:0]
    whole = values.astype(np.int64)
    if not len(offsets):
        return whole[:0]
    largest = np.maximum.reduceat(np.abs(values.astype(np.float64)), offsets) * counts
    if (largest >= 2.0**62).any():
        _check_exact(values, offsets, counts)
    return np.add.reduceat(whole, offsets)


def _check_exact(values: NDArray[Any], offsets: Ints, counts: Ints) -> None:
    for offset, count in zip(offsets.tolist(), counts.tolist(), strict=True):
        total = sum(values[offset : offset + count].tolist())
        if not -(2**63) <= total < 2**63:
            raise DataUnfit(
                "a sum of integers does not fit 64 bits",
                received=str(total),
                next_step="make the column a float, or sum over a shorter window",
            )
