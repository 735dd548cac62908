"""Rows that are there several times, exactly or but for a tiny jitter, where honest rows hardly ever repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining.coding import is_number, numbers

Array = NDArray[Any]
MOST_REPEATS = 0.01
"""Where more of the known rows than this repeat another one, a copy cannot be told from a repeat."""
_MORE = 0.005  # repeats beyond those of the known rows, as a share
_GRIDS = (0.02, 0.004, 0.0008)  # steps of the coarse grids, in spreads
_SHIFTS = 3
_COLUMNS = 12
_LABEL = " label"
_RARELY = 0.5  # different values a row, above which a number hardly repeats
_MOST = 200_000


def exact(known: Any, new: Any, known_label: Array, label: Array) -> NDArray[np.bool_]:
    """Which of the new rows (n,) repeat an earlier or a known one in all features and label, if that is unusual."""
    import pandas as pd

    keys = _keys(known, new, 0.0, None)
    return _unusual([_mixed(keys, _bits(pd.Series(known_label), pd.Series(label), 0.0, 0.0))], len(known))


def near(known: Any, new: Any, known_label: Array, label: Array, seed: int) -> NDArray[np.bool_]:
    """Which of the new rows (n,) lie within a tiny step of an earlier one in features and label, if that is unusual.

    Rows are compared on grids that are drawn from the seed, the coarsest on which the known rows do not repeat.
    """
    if not any(is_number(new[name]) and new[name].nunique() > 20 for name in new.columns if name in known.columns):
        return np.zeros(len(new), dtype=bool)
    import pandas as pd

    moved = _off_grid(known, new)
    known = known.assign(**{_LABEL: pd.Series(known_label, index=known.index)})
    new = new.assign(**{_LABEL: pd.Series(label, index=new.index)})
    for step in _GRIDS:
        generator = np.random.default_rng(seed)
        shifts = generator.random((_SHIFTS if len(new) <= _MOST else 1, len(new.columns)))
        keys = [_keys(known, new, step, shift) for shift in shifts[:1]]
        if _repeats(keys[0][: len(known)], len(new)) <= MOST_REPEATS:
            keys += [_keys(known, new, step, shift) for shift in shifts[1:]]
            return _unusual(keys, len(known)) & moved
    return np.zeros(len(new), dtype=bool)


def _off_grid(known: Any, new: Any) -> NDArray[np.bool_]:
    """Which new rows have a number that no known row has, of a column whose numbers repeat; all, where one's do not.

    Hours and tenths of degrees come close to each other by themselves; what was moved a little is beside them.
    """
    off = np.zeros(len(new), dtype=bool)
    for name in new.columns:
        if name not in known.columns or not (is_number(known[name]) and is_number(new[name])):
            continue
        values = np.unique(numbers(known[name]))
        if len(values) > _RARELY * len(known):
            return np.ones(len(new), dtype=bool)
        off |= ~np.isin(numbers(new[name]), values)
    return off


def _unusual(keys: list[Array], known: int) -> NDArray[np.bool_]:
    """The repeats on any of the grids, if there are more than the known rows make one expect."""
    n = len(keys[0]) - known
    repeated = np.zeros(n, dtype=bool)
    for each in keys:
        usual = _repeats(each[:known], n)
        if usual > MOST_REPEATS:
            return np.zeros(n, dtype=bool)
        # The known rows come first: a new row that is one of them repeats it.
        again = _again(each)[known:]
        chance = 4.0 * np.sqrt(max(usual, 1.0 / n) / n) if n else 0.0
        if n and again.mean() > max(2.0 * usual, usual + _MORE) + chance:
            repeated |= again
    return repeated


def _repeats(keys: Array, rows: int) -> float:
    """The share of repeats among as many of the latest known rows as there are new ones."""
    if not len(keys) or not rows:
        return 0.0
    part = keys[-rows:]
    return 1.0 - len(np.unique(part)) / len(part)


def _again(keys: Array) -> NDArray[np.bool_]:
    """Which keys were there before."""
    again = np.ones(len(keys), dtype=bool)
    again[np.unique(keys, return_index=True)[1]] = False
    return again


def _keys(known: Any, new: Any, step: float, shift: Array | None) -> Array:
    """One number for each row, known ones first: the same for the same values (or, with a step, for near ones)."""
    keys = np.zeros(len(known) + len(new), dtype=np.uint64)
    names = [name for name in new.columns if name in known.columns]
    if shift is not None:
        # A dozen columns tell rows apart, and each one more can break a copy in two at the border of a cell.
        names = sorted(names, key=lambda name: (name != _LABEL, -int(new[name].iloc[:5000].nunique())))[:_COLUMNS]
    for place, name in enumerate(names):
        keys = _mixed(keys, _bits(known[name], new[name], step, 0.0 if shift is None else float(shift[place])))
    return keys


def _bits(known: Any, new: Any, step: float, shift: float) -> Array:
    if not (is_number(known) and is_number(new)):
        import pandas as pd

        codes, _ = pd.factorize(pd.concat([known.astype(object), new.astype(object)], ignore_index=True))
        return np.asarray(codes.astype(np.int64).view(np.uint64))
    values = np.concatenate([numbers(known), numbers(new)])
    if step:
        told = values[: len(known)][np.isfinite(values[: len(known)])]
        low, high = np.quantile(told, [0.1, 0.9]) if told.size else (0.0, 0.0)
        width = step * (float(high - low) or float(told.std() if told.size else 1.0) or 1.0)
        values = np.floor(values / width + shift)
    values = values + 0.0  # -0.0 is 0.0
    values[np.isnan(values)] = np.nan
    return np.ascontiguousarray(values).view(np.uint64)


def _mixed(keys: Array, more: Array) -> Array:
    """A hash of two 64-bit numbers (the finaliser of splitmix64, Steele et al. 2014)."""
    mixed = keys * np.uint64(0x9E3779B97F4A7C15) + more
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
