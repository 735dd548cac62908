"""Aggregates over windows: one kernel, called with many questions in training and with one in serving.

Events are in order of key, then (e, a, s). A question is a stretch of events (its key's) and a last moment t: an
event counts from its v on, until a correction of it is visible, and while its e is in (t - window, t]. A window that
is open on the right is the same question asked a nanosecond earlier. A sum begins at zero and adds the values of its
window in this order, one after the other, as float64 or as whole numbers. Of floats, zero is 0.0 and NaN is one NaN,
whatever a processor makes of several. So an answer has the same bits alone and among a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import DataUnfit

FOREVER = 2**63 - 1
_BEFORE = -(2**63)  # a nanosecond before the first moment that an event may have
CHUNK = 4_000_000  # events looked at in one go: bounds memory
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """Values of one column, one an event, and which of them are not null (None: all)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Events:
    """Events in order: event time, the first and the last moment at which they count, and their columns."""

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
    """The last moment at which each event counts: then a row of its group with a greater (a, s) becomes visible.

    ``group`` numbers the identities (key and id together). Shapes (n,); no time is below 1 - 2**63.
    """
    size = len(group)
    order = np.lexsort((s, a, group))
    groups, soonest = group[order], np.maximum(e, a)[order]
    follows = groups[:-1] == groups[1:]
    step = 1
    while step < size and (alike := groups[:-step] == groups[step:]).any():
        soonest[:-step] = np.where(alike, np.minimum(soonest[:-step], soonest[step:]), soonest[:-step])
        step *= 2
    until = np.full(size, FOREVER, dtype=np.int64)
    until[order[:-1][follows]] = soonest[1:][follows] - 1
    return until


def aggregate(
    events: Events, starts: Ints, ends: Ints, t: Ints, how: str, column: str | None, window: int
) -> Answers:
    """Answer the questions (starts, ends, t), each of shape (n,): ``how`` over ``window`` nanoseconds.

    Raises DataUnfit where a sum of integers does not fit 64 bits.
    """
    return aggregates(events, starts, ends, t, [(how, column)], window)[0]


def aggregates(
    events: Events, starts: Ints, ends: Ints, t: Ints, wanted: Sequence[tuple[str, str | None]], window: int
) -> list[Answers]:
    """As ``aggregate``, for several pairs of how and column over one window, which is looked for once."""
    none = starts[:0]
    parts: list[list[Answers]] = [[] for _ in wanted]
    for places, counts in _windows(events, starts, ends, t, window) if len(t) else [(none, none)]:
        for part, (how, column) in zip(parts, wanted, strict=True):
            part.append(reduced(how, None if column is None else events.columns[column], places, counts))
    return [part[0] if len(part) == 1 else _joined(part) for part in parts]


def window_of(e: Ints, v: Ints, until: Ints, t: int, window: int) -> tuple[Ints, Ints]:
    """One question to all of these events: the places of those that count, and how many. For ``reduced``."""
    low, high = np.searchsorted(e, (max(t - window, _BEFORE), t), side="right").tolist()
    counts = (v[low:high] <= t) & (until[low:high] >= t)
    places = np.flatnonzero(counts) + low
    return places, np.array([len(places)])


def _joined(parts: list[Answers]) -> Answers:
    return Answers(np.concatenate([part.values for part in parts]), np.concatenate([part.present for part in parts]))


def _windows(events: Events, starts: Ints, ends: Ints, t: Ints, window: int) -> Iterator[tuple[Ints, Ints]]:
    """For a stretch of questions at a time: the places of the events that count, and how many each question has."""
    # A window that reaches before the beginning of time begins there.
    since = np.where(t < window + _BEFORE, _BEFORE, t - window)
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
        counts = (events.v[places] <= moment) & (events.until[places] >= moment)
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


def reduced(how: str, column: Column | None, places: Ints, counts: Ints) -> Answers:
    """Reduce the events at ``places``: the first ``counts[0]`` belong to the first question, and so on."""
    if column is not None and column.valid is not None:
        good = column.valid[places]
        question = np.repeat(np.arange(len(counts)), counts)[good]
        places, counts = places[good], np.bincount(question, minlength=len(counts))
    everyone = np.ones(len(counts), dtype=bool)
    if how == "count" or column is None:
        return Answers(counts.astype(np.int64), everyone)
    filled = counts > 0
    sizes = counts[filled]
    offsets = np.cumsum(sizes) - sizes
    if how in ("first", "last"):
        chosen = np.full(len(counts), -1, dtype=np.int64)
        chosen[filled] = places[offsets if how == "first" else offsets + sizes - 1]
        return Answers(chosen, filled)
    values = column.values[places]
    if how in ("min", "max"):
        return Answers(_spread(_extreme(how, values, offsets), filled), filled)
    sums = _spread(_sums(values, offsets, sizes), filled)
    if how == "sum":
        return Answers(sums, everyone)
    return Answers(sums / np.maximum(counts, 1).astype(np.float64), filled)


def _spread(found: NDArray[Any], filled: NDArray[np.bool_]) -> NDArray[Any]:
    spread = np.zeros(len(filled), dtype=found.dtype)
    spread[filled] = found
    return spread


def _extreme(how: str, values: NDArray[Any], offsets: Ints) -> NDArray[Any]:
    floats = values.dtype.kind == "f"
    values = values.astype(np.float64) if floats else values
    if not len(offsets):
        return values
    with np.errstate(invalid="ignore"):  # NaN is a value, and the extreme of any window that has it
        found: NDArray[Any] = (np.minimum if how == "min" else np.maximum).reduceat(values, offsets)
    return _one_zero(found) if floats else found


def _one_zero(found: NDArray[Any]) -> NDArray[Any]:
    found = found + 0.0
    found[np.isnan(found)] = np.nan
    return found


def _sums(values: NDArray[Any], offsets: Ints, counts: Ints) -> NDArray[Any]:
    if values.dtype.kind == "f":
        question = np.repeat(np.arange(len(counts)), counts)
        return _one_zero(np.bincount(question, weights=values.astype(np.float64), minlength=len(counts)))
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
                next_step="make the column a float, or sum over a shorter window",
            )
