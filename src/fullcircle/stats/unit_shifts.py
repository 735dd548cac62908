"""Which well-known mistake of units explains a window of numbers, if one does.

For each mistake g, what is looked for is a share w of the rows so that the window is distributed as (1-w) reference +
w g(reference): one upstream system may have changed and others not. The share is the least-squares one, the fit the
largest difference that is left between the distribution functions. A mistake is named only where it leaves no more
than chance and the reference's quantiles leave (Kolmogorov 1933), where a plain shift and spread of the reference do
not explain the window better, and where the reference tells it from a spread about its own middle at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FEWEST = 20
"""With fewer values nothing is named."""
MOST = 20_000
"""Of more values an evenly spaced sample of the sorted ones is enough."""
_GRID_ERROR = 0.025  # a quantile function known at 33 places is off by no more than about this
_CHANCE = 1.63  # the 99 % point of sqrt(n) times Kolmogorov's distance
_MOST_LEFT, _MOST_SLACK = 0.16, 0.12  # few rows say less, and do not make anything fit
_LEAST_SHARE = 0.05
_LEAST_MOVE = 0.04
_HUGE = 1e300  # no unit makes such a number, and a factor of it would be none
_CLOSE = 0.03  # how near a factor has to be to the one that fits best


@dataclass(frozen=True)
class Mistake:
    """Values became ``factor`` * x + ``offset``. ``text`` follows "looks": "multiplied by 10"."""

    text: str
    factor: float
    offset: float = 0.0


@dataclass(frozen=True)
class Found:
    """A mistake that explains the window: in which share of its rows, and what difference it leaves (0 to 1)."""

    mistake: Mistake
    share: float
    left: float


def _both(factor: float, name: str, why: str = "") -> list[Mistake]:
    added = f" ({why})" if why else ""
    return [
        Mistake(f"multiplied by {name}{added}", factor),
        Mistake(f"divided by {name}{added}", 1 / factor),
    ]


# Powers of ten: a slipped point, percent, thousands, metric prefixes. Then customary units, times, temperatures.
MISTAKES: tuple[Mistake, ...] = (
    *_both(10.0, "10"),
    *_both(100.0, "100"),
    *_both(1000.0, "1000"),
    *_both(1e6, "1000000"),
    *_both(2.54, "2.54", "inches and centimetres"),
    *_both(12.0, "12", "months and years, or inches and feet"),
    *_both(0.3048, "0.3048", "feet and metres"),
    *_both(0.45359237, "0.45359237", "pounds and kilograms"),
    *_both(28.349523125, "28.3495", "ounces and grams"),
    *_both(1.609344, "1.609344", "miles and kilometres"),
    *_both(3.6, "3.6", "metres a second and kilometres an hour"),
    *_both(60.0, "60", "seconds, minutes and hours"),
    *_both(3600.0, "3600", "seconds and hours"),
    *_both(24.0, "24", "hours and days"),
    *_both(7.0, "7", "days and weeks"),
    *_both(365.25, "365.25", "days and years"),
    Mistake("turned from Celsius into Fahrenheit (1.8 x + 32)", 1.8, 32.0),
    Mistake("turned from Fahrenheit into Celsius ((x - 32) / 1.8)", 1 / 1.8, -32.0 / 1.8),
    Mistake("turned from Celsius into Kelvin (x + 273.15)", 1.0, 273.15),
    Mistake("turned from Kelvin into Celsius (x - 273.15)", 1.0, -273.15),
    Mistake("of the other sign", -1.0),
)


def find(quantiles: ArrayLike, values: ArrayLike) -> tuple[Found, ...]:
    """The mistakes that explain ``values`` (n,) against the reference, best first; none where nothing known does.

    ``quantiles`` are the reference's at evenly spaced shares, the smallest and the largest value included. Several
    are returned where they explain the window alike. Values that are not finite, or beyond 1e300, are left out.
    """
    reference = np.asarray(quantiles, dtype=np.float64)
    window = np.sort(np.asarray(values, dtype=np.float64).ravel())
    window = window[np.abs(window) < _HUGE]
    known = reference.size >= 3 and np.abs(reference).max() < _HUGE and reference[0] != reference[-1]
    if window.size < FEWEST or not known:
        return ()
    count = window.size
    if count > MOST:
        window = window[np.linspace(0, count - 1, MOST).astype(np.int64)]
    noise = min(_GRID_ERROR + _CHANCE / math.sqrt(count), _MOST_LEFT)
    found = [each for mistake in MISTAKES if (each := _explained(reference, window, mistake, noise)) is not None]
    found.sort(key=lambda each: each.left)
    alike = [each for each in found if each.left <= found[0].left + noise / 4]
    return tuple(alike) if len(alike) <= 3 else ()


def _explained(reference: Floats, window: Floats, mistake: Mistake, noise: float) -> Found | None:
    mistaken = np.sort(mistake.factor * reference + mistake.offset)
    if np.abs(_share_up_to(reference, mistaken) - np.linspace(0, 1, reference.size)).max() < 2 * _LEAST_MOVE:
        return None  # the mistake would hardly move this column
    points = np.concatenate([reference, mistaken])
    before, after, now = (
        _share_up_to(reference, points),
        _share_up_to(mistaken, points),
        np.searchsorted(window, points, side="right") / window.size,
    )
    step, moved = after - before, now - before
    share = float(np.clip(step.dot(moved) / step.dot(step), 0.0, 1.0))
    left = float(np.abs(moved - share * step).max())
    gained = float(np.abs(moved).max())
    if share < _LEAST_SHARE or left > noise or gained < _LEAST_MOVE + noise or left > gained / 3:
        return None
    if share > 1 - max(_LEAST_SHARE, noise):
        return Found(mistake, 1.0, left) if _told_apart(reference, window, mistake) else None
    return Found(mistake, share, left) if _apart(reference, mistaken) else None


def _told_apart(reference: Floats, window: Floats, mistake: Mistake) -> bool:
    """Whether shift and spread, each on its own, are what the mistake makes of the reference."""
    size = reference.size
    old = reference[[size // 4, size // 2, size - 1 - size // 4]]
    new = np.quantile(window, [0.25, 0.5, 0.75])
    spread, unit = float(old[2] - old[0]), abs(mistake.factor)
    if spread <= 0:
        return unit >= 5 or unit <= 0.2 or mistake.factor < 0 or mistake.offset != 0
    # What sampling does to the quartiles of a window of n rows, in units of its own spread.
    slack = min(_CLOSE + 2.5 / math.sqrt(window.size), _MOST_SLACK)
    if abs((new[2] - new[0]) / spread / unit - 1) > 2 * slack:
        return False
    expected = mistake.factor * float(old[1]) + mistake.offset
    if abs(float(new[1]) - expected) > slack * unit * spread:
        return False
    # A middle near zero moves by no factor: then a spread of another cause looks the same, unless it is a huge one.
    told = abs(expected - float(old[1])) > spread * max(1.0, unit) / 2
    return told or (unit >= 5 or unit <= 0.2)


def _apart(reference: Floats, mistaken: Floats) -> bool:
    """Whether rows with the mistake stand apart from those without: else a mixture is a matter of taste."""
    size = reference.size
    shares = _share_up_to(reference, mistaken[size // 10 : size - size // 10])
    return bool(np.all((shares <= 0.02) | (shares >= 0.98)))


def _share_up_to(quantiles: Floats, points: Floats) -> Floats:
    """The distribution function of evenly spaced quantiles at points: straight in between, and a step at a tie."""
    last = quantiles.size - 1
    place = np.searchsorted(quantiles, points, side="right") - 1
    inside = np.clip(place, 0, last - 1)
    low, width = quantiles[inside], quantiles[inside + 1] - quantiles[inside]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(width > 0, (points - low) / width, 1.0)
    shares = (inside + np.clip(part, 0.0, 1.0)) / last
    return np.where(place < 0, 0.0, np.where(place >= last, 1.0, shares))
