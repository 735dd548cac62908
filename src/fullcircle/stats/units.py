"""Whether numbers came in another unit than those of a reference: ten times too large, or in degrees Fahrenheit.

A unit mistake and an ordinary drift are told apart by conditions, all of which must hold: the current values lie far
from the reference, they lie on it once the change is undone, no other known change fits better, their spread has
changed by the same factor as their middle, and so have the steps between them where they are whole numbers; for small
factors the middle has moved further than a drift does.
In doubt the answer is None. Distances are those of Kolmogorov (the largest difference between two distribution
functions): they need no unit and do not mind heavy tails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.stats.bins import as_numbers

Array = NDArray[Any]

FEWEST = 30  # rows, below which nothing is said
_MOST = 4000  # sorted values kept of each side: more hardly sharpen a distance
_DISTINCT = 5  # different values other than zero that a reference needs
_CHANCE = 1.36  # Kolmogorov's 95 % point: times the root of 1/n + 1/m it is what chance makes of a distance
_LARGE = math.log(8.0)  # factors beyond 8 are rarely what the world does by itself
_SMALL = math.log(2.0)
_MOVED = 4.5  # spreads that the middle must move for a factor below 8: drifts move it by three
_NOISE = 1.3  # standard error of the log of a spread, times the root of n: that of an exponential law
_SMALLEST_SHARE = 0.04
_OUTSIDE = 10  # rows
_LIKELIER = 0.05  # what a power of ten may fit worse than another factor: it is the commonest mistake


@dataclass(frozen=True)
class UnitShift:
    """Current values look like ``factor * x + offset`` of what they should be, in ``share`` of the rows.

    ``description`` goes on where the name of a column ends: "looks multiplied by 10".
    """

    factor: float
    offset: float
    description: str
    share: float


@dataclass(frozen=True)
class _Change:
    factor: float
    offset: float
    description: str

    @property
    def logarithm(self) -> float:
        """Of the factor: how many times wider values become."""
        return math.log(self.factor)

    @property
    def decimal(self) -> bool:
        return self.offset == 0.0 and math.log10(self.factor).is_integer()

    def undone(self, values: Array) -> Array:
        return np.asarray((values - self.offset) / self.factor)

    def done(self, values: Array) -> Array:
        return np.asarray(values * self.factor + self.offset)


_FACTORS = (
    (10.0, "10", ""),
    (100.0, "100", ""),
    (1000.0, "1000", ""),
    (1e6, "1 000 000", ""),
    (24.0, "24", "days and hours"),
    (60.0, "60", "hours and minutes, or minutes and seconds"),
    (3600.0, "3600", "hours and seconds"),
    (2.54, "2.54", "inches and centimetres"),
    (1 / 0.45359237, "2.2046", "kilograms and pounds"),
    (1.609344, "1.609", "miles and kilometres"),
    (1 / 0.3048, "3.281", "metres and feet"),
)
_AFFINE = (
    _Change(1.8, 32.0, "looks like degrees Fahrenheit instead of Celsius"),
    _Change(1 / 1.8, -32.0 / 1.8, "looks like degrees Celsius instead of Fahrenheit"),
    _Change(1.0, 273.15, "looks like kelvins instead of degrees Celsius"),
    _Change(1.0, -273.15, "looks like degrees Celsius instead of kelvins"),
)


def unit_shift(reference: ArrayLike, current: ArrayLike) -> UnitShift | None:
    """The change of unit that ``current`` (n,) underwent against ``reference`` (m,), in all its rows or 5 % and more.

    None where there is none, where it cannot be told from an ordinary drift, or where one side has fewer than 30
    finite values. Powers of ten, times, lengths, weights and temperatures are known. Zeros tell nothing about a
    factor and are left out. Values are numbers, None or NaN where missing.
    """
    known, seen = _sorted(reference), _sorted(current)
    sides = [(_factors(), known[known != 0.0], seen[seen != 0.0]), (_AFFINE, known, seen)]
    sides = [(changes, _sample(a), _sample(b)) for changes, a, b in sides if min(a.size, b.size) >= FEWEST]
    pairs = [(changes, _Lot(a), _Lot(b)) for changes, a, b in sides if np.unique(a).size >= _DISTINCT]
    whole, part = (
        [each for changes, a, b in pairs for each in explain(changes, a, b)] for explain in (_whole, _part)
    )
    if not whole and not part:
        return None
    best, _, share = min(whole or part, key=lambda each: each[1] - (_LIKELIER if each[0].decimal else 0.0))
    # Where most rows are changed, all of them fit too; the rows that are not changed tell better how many are.
    shares = [told for change, _, told in part if change == best and told < 0.95]
    return UnitShift(best.factor, best.offset, best.description, shares[0] if shares else share)


def _factors() -> tuple[_Change, ...]:
    told = [(factor, name, f" ({which})" if which else "") for factor, name, which in _FACTORS]
    up = [_Change(factor, 0.0, f"looks multiplied by {name}{which}") for factor, name, which in told]
    down = [_Change(1 / factor, 0.0, f"looks divided by {name}{which}") for factor, name, which in told]
    return (*up, *down)


def _sorted(values: ArrayLike) -> Array:
    array = as_numbers(values)
    return np.sort(array[np.isfinite(array)])


def _sample(ranked: Array) -> Array:
    """At most 4000 of the sorted values, evenly spread over their ranks."""
    if ranked.size <= _MOST:
        return ranked
    return ranked[np.linspace(0, ranked.size - 1, _MOST).round().astype(np.intp)]


class _Lot:
    """Sorted values (n,) with their median and spread, and the distance of others from them."""

    def __init__(self, ranked: Array) -> None:
        self.ranked = ranked
        self.size = int(ranked.size)
        low, middle, high = np.quantile(ranked, (0.05, 0.5, 0.95))
        self.middle = float(middle)
        # Far values must not make the spread, and few different values must not make it jump.
        self.spread = float(np.clip(ranked, low, high).std())
        self._both_signs = bool(ranked[0] < 0.0 < ranked[-1])

    @cached_property
    def grid(self) -> float:
        """The step that all values are multiples of, as whole numbers are of 1; 0 where there is none."""
        distinct = np.unique(np.abs(self.ranked))
        if distinct.size < 2 or distinct.size > 0.8 * self.size:
            return 0.0
        step = float(np.diff(distinct).min())
        return step if _on(distinct, step) == 1.0 else 0.0

    @cached_property
    def _laws(self) -> tuple[tuple[Array, Array], ...]:
        lots = (self.ranked, np.sort(np.abs(self.ranked))) if self._both_signs else (self.ranked,)
        return tuple((points := _between(each), np.searchsorted(each, points) / self.size) for each in lots)

    def distance(self, ranked: Array) -> float:
        """Kolmogorov's distance, also of the absolute values where this lot has both signs: the larger of the two.

        It is taken between the values of this lot, not at them: values that were rounded before or after a change
        still fit.
        """
        found = 0.0
        for place, (points, law) in enumerate(self._laws):
            other = np.sort(np.abs(ranked)) if place else ranked
            found = max(found, float(np.abs(law - np.searchsorted(other, points) / ranked.size).max()))
        return found


def _on(values: Array, step: float) -> float:
    """The share of values that are multiples of the step."""
    times = values / step
    return float((np.abs(times - np.round(times)) < 1e-3).mean())


def _plausible(change: _Change, reference: _Lot, values: Array) -> bool:
    """Whether the steps between the values have changed too: ten times a whole number ends in a zero.

    A count that grew tenfold does not, and a tenth of a whole number is none. Other factors are often rounded.
    """
    step = reference.grid
    larger = max(change.factor, 1 / change.factor)
    if not step or change.offset or abs(larger - round(larger)) > 1e-9:
        return True
    return _on(change.undone(values), step) >= 0.95 and (change.factor > 1 or _on(values, step) < 0.9)


def _between(ranked: Array) -> Array:
    """Points between the distinct values, and one beyond each end."""
    distinct = np.unique(ranked)
    if distinct.size == 1:
        return np.array([math.nextafter(distinct[0], -math.inf), math.nextafter(distinct[0], math.inf)])
    first, last = (distinct[1] - distinct[0]) / 2, (distinct[-1] - distinct[-2]) / 2
    return np.concatenate([[distinct[0] - first], (distinct[1:] + distinct[:-1]) / 2, [distinct[-1] + last]])


def _noise(first: int, second: int) -> float:
    return math.sqrt(1 / first + 1 / second)


def _whole(changes: Sequence[_Change], reference: _Lot, current: _Lot) -> Iterator[tuple[_Change, float, float]]:
    """The changes that explain all rows, with the distance that is left."""
    if reference.spread <= 0.0 or current.spread <= 0.0:
        return
    noise = _noise(reference.size, current.size)
    before = reference.distance(current.ranked)
    wider = math.log(current.spread / reference.spread)
    moved = abs(current.middle - reference.middle)
    smaller = min(reference.spread, current.spread)
    for change in changes:
        size = abs(change.logarithm)
        if before < (0.5 if size >= _LARGE else 0.75):
            continue
        if size == 0.0 and abs(change.offset) < 6.0 * reference.spread:
            continue  # a shift alone is what drifts do too, but not so far
        if size > 0.0 and (abs(wider - change.logarithm) > size / 4 or size < 3.0 * _NOISE * noise):
            continue
        if not _plausible(change, reference, current.ranked):
            continue
        if size < _LARGE and moved < _MOVED * (reference.spread if size < _SMALL else smaller):
            continue
        after = reference.distance(change.undone(current.ranked))
        if after <= min((0.15 if size >= _LARGE else 0.05) + _CHANCE * noise, before / 2):
            yield change, after, 1.0


def _part(changes: Sequence[_Change], reference: _Lot, current: _Lot) -> Iterator[tuple[_Change, float, float]]:
    """The changes that explain the rows outside the reference's range, with what is left and the share of rows.

    The others must look like the reference. Of a small factor too many rows stay inside to tell it from a long tail.
    """
    low, high = float(reference.ranked[0]), float(reference.ranked[-1])
    outside = (current.ranked < low) | (current.ranked > high)
    out, inside = current.ranked[outside], current.ranked[~outside]
    if out.size < _OUTSIDE or inside.size < FEWEST:
        return
    rest = reference.distance(inside) - 0.05 - _CHANCE * _noise(reference.size, inside.size)
    far = float(np.median(np.maximum(low - out, out - high)))
    for change in changes:
        if abs(change.logarithm) < _LARGE and (change.offset == 0.0 or far < 2.0 * reference.spread):
            continue
        if not _plausible(change, reference, out):
            continue
        changed = change.done(reference.ranked)
        leaves = (changed < low) | (changed > high)
        leaving = float(leaves.mean())
        if leaving < 0.6:
            continue
        share = min(1.0, out.size / current.size / leaving)
        # Changed rows that stayed inside are among the others.
        if share < _SMALLEST_SHARE or rest > share * (1.0 - leaving):
            continue
        back, expected = _Lot(change.undone(out)), _Lot(reference.ranked[leaves])
        within = float(((back.ranked >= low) & (back.ranked <= high)).mean())
        fit = expected.distance(back.ranked)
        # Values that all lie beside each other would fit a narrow piece of anything.
        wide = back.spread > 0.4 * expected.spread > 0.0
        if wide and within >= 0.95 and fit <= min(0.35, 0.05 + _CHANCE * _noise(expected.size, back.size)):
            yield change, fit, share
