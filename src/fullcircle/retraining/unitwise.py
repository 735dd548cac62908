"""New rows in other units than the known ones: all of them, a part, or those of a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import is_number, numbers
from fullcircle.stats import unit_shifts
from fullcircle.stats.units import unit_shift

Array = NDArray[Any]
_POINTS = np.linspace(0, 1, 101)
_MOST = 20_000
_WORSE = 2.5  # standard errors that a part in other units, or all rows, must be worse answered by
_SOURCES = 50
_LEAST_MOVE = 0.02
_ALL = 0.95
_APART = 0.97  # of the known rows that would leave the usual range with the mistake


class Mistaken(NamedTuple):
    """A column that came in other units: ``text`` such as "bmi looks multiplied by 10", and its rows (n,).

    ``apart`` says whether it is less than half of the rows, all of which can be told from the others.
    """

    column: str
    text: str
    inside: NDArray[np.bool_]
    apart: bool


def mistaken(known: Any, new: Any, excess: Array | None) -> list[Mistaken]:
    """The columns in other units, in all rows or a part; ``excess`` (n,) is how much worse each row was answered.

    What a strict look names is believed. What only ``stats.unit_shifts`` names, which chance does in about 1 of 100
    drifting columns, is believed where exactly one column has it and the champion answers those rows worse.
    """
    found, likely = [], []
    for name, before, now in _columns(known, new):
        if not _moved(before, now):
            continue
        strict = unit_shift(_thin(before), _thin(now))
        if strict is not None:
            found.append(_found(name, strict.description, strict.share, before, now, (strict.factor, strict.offset)))
            continue
        for each in unit_shifts.find(np.quantile(before, _POINTS), now)[:1]:
            change = (each.mistake.factor, each.mistake.offset)
            one = _found(name, f"looks {each.mistake.text}", each.share, before, now, change)
            if excess is not None and _worse(excess, one.inside):
                likely.append(one)
    return found or (likely if len(likely) == 1 else [])


def of_sources(known: Any, new: Any, source: Array) -> dict[str, str]:
    """The sources (text) that send a column in other units, with what it looks like; of the 50 with most rows."""
    found: dict[str, str] = {}
    names, counts = np.unique(source.astype(str), return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")[:_SOURCES]].tolist()
    if len(names) < 2:
        return found
    for name, before, now in _columns(known, new):
        low, middle, high = np.quantile(before, [0.25, 0.5, 0.75])
        for each in chosen:
            own = now[source == each] if each not in found else now[:0]
            if own[np.isfinite(own)].size < 30 or abs(float(np.nanmedian(own)) - middle) < (high - low) / 2:
                continue
            shift = unit_shift(_thin(before), own)
            if shift is not None:
                found[each] = f"{name} {shift.description}"
    return found


def _columns(known: Any, new: Any) -> Sequence[tuple[str, Array, Array]]:
    found = []
    for name in new.columns:
        if name not in known.columns or not (is_number(known[name]) and is_number(new[name])):
            continue
        before, now = numbers(known[name]), numbers(new[name])
        before = before[np.isfinite(before)]
        if before.size >= 30 and np.unique(before[:1000]).size > 2:
            found.append((str(name), before, now))
    return found


def _moved(before: Array, now: Array) -> bool:
    """Whether a column moved at all: a mistake in a twentieth of the rows moves their shares by as much."""
    points = np.quantile(_thin(before), _POINTS[1:-1:5])
    sorted_now = np.sort(_thin(now[np.isfinite(now)]))
    sorted_before = np.sort(_thin(before))
    gaps = [np.searchsorted(each, points, side="right") / max(1, each.size) for each in (sorted_now, sorted_before)]
    return bool(np.abs(gaps[0] - gaps[1]).max() > _LEAST_MOVE)


def _found(name: str, text: str, share: float, before: Array, now: Array, change: tuple[float, float]) -> Mistaken:
    """The mistake with its rows: all, or those beyond nearly all known values that are usual once it is undone."""
    if share >= _ALL:
        return Mistaken(name, f"{name} {text}", np.ones(len(now), dtype=bool), False)
    factor, offset = change
    low, high = np.quantile(before, [0.005, 0.995])
    undone = (now - offset) / factor
    inside = ((now < low) | (now > high)) & (undone >= before.min()) & (undone <= before.max())
    done = before * factor + offset
    apart = float(((done < low) | (done > high)).mean()) >= _APART and inside.mean() < 0.5
    return Mistaken(name, f"{name} {text} in {share:.0%} of the rows", inside, bool(apart))


def _worse(excess: Array, inside: NDArray[np.bool_]) -> bool:
    """Whether those rows were answered worse than the others (where all are inside: than used to be)."""
    told = np.isfinite(excess)
    own, others = excess[told & inside], excess[told & ~inside]
    if own.size < 20:
        return False
    level = float(others.mean()) if others.size >= 20 else 0.0
    return bool(own.mean() - level > _WORSE * own.std() / np.sqrt(own.size))


def _thin(values: Array) -> Array:
    return values[:: max(1, len(values) // _MOST)]
