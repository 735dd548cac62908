"""Sums of numbers that add up exactly, whatever is counted first: a mean and a deviation that merge.

A number is rounded to a grid of whole steps from an anchor. A step is a power of two, at most 1/2048 of the range of
the reference, so sums of steps and of their squares are whole numbers: they are exact, and so is every total of them.
Whole numbers of a range up to 2048 lie on the grid themselves.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STEPS = 12  # 2**12 = 4096 of them make at least half the range
# What lies further from the anchor counts as that far: a hundred times the range, or a little more. The squares of
# a block of 2**14 values then add up to at most 2**52, which a float holds exactly.
FARTHEST = 2.0**19


class Grid(NamedTuple):
    """Where a column's steps are counted from, and how long one is: values are ``anchor`` + whole * ``step``."""

    anchor: float
    step: float


class Sums(NamedTuple):
    """How many numbers, the sum of their steps, and that of the squares of these. Exact."""

    n: int = 0
    first: int = 0
    second: int = 0

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(self.n + other.n, self.first + other.first, self.second + other.second)


def grid(low: float, high: float) -> Grid:
    """The grid of a column whose reference values lie from ``low`` to ``high``, both finite."""
    size = high / 2 - low / 2 or math.ldexp(abs(low) or 1.0, -1)
    exponent = max(math.frexp(size)[1] - _STEPS, -1000)
    return Grid(low, math.ldexp(1.0, exponent))


def sums(values: NDArray[np.float64], of: Grid) -> Sums:
    """The sums of at most 2**14 values (n,), none of them NaN."""
    with np.errstate(over="ignore"):
        # In steps first: the difference of two numbers may be larger than any number.
        steps = np.multiply(values, 1.0 / of.step)
        steps -= of.anchor / of.step
    np.rint(steps, out=steps)
    np.clip(steps, -FARTHEST, FARTHEST, out=steps)
    return Sums(values.size, int(steps.sum()), int(steps.dot(steps)))


def mean(of: Sums, on: Grid) -> float | None:
    """The mean of what was summed, None of nothing."""
    return _number(on.anchor / on.step + of.first / of.n, on) if of.n else None


def deviation(of: Sums, on: Grid) -> float | None:
    """The standard deviation of what was summed (divided by n), None of nothing."""
    if not of.n:
        return None
    # Whole numbers, so nothing is lost to the difference of two large ones.
    return _number(math.sqrt(of.second * of.n - of.first * of.first) / of.n, on)


def _number(steps: float, on: Grid) -> float:
    """So many steps as a number; one beyond the largest number (far values of a huge range) is that."""
    return max(-sys.float_info.max, min(sys.float_info.max, steps * on.step))
