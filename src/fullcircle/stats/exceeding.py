"""Evidence, valid at any time one looks, that things go wrong more often than a share of the times.

A mixture of likelihood ratios (Robbins 1970): for each of a few larger shares q the product of q/p for what went
wrong and (1-q)/(1-p) for what did not is a supermartingale while things go wrong with a chance of at most p, whatever
came before. So is their mean, and by Ville's inequality it ever reaches 1/alpha with a chance of at most alpha.
"""

from __future__ import annotations

import math
from functools import lru_cache

_LARGEST = 1e300  # of an e-value: a smaller one is never wrong
_MOST = 0.99  # the largest share that is thought of: a share of 1 could not survive one success


def evidence(bad: int, count: int, share: float) -> float:
    """The natural logarithm of the e-value that ``bad`` of ``count`` are too many for a chance of at most ``share``.

    0.0 before the first; above ``log(1 / alpha)`` it is known at the level alpha. Raises ValueError for counts or a
    share that cannot be.
    """
    if not 0 <= bad <= count or not 0 < share < _MOST:
        raise ValueError("there are no such counts, or no such share")
    terms = [bad * up + (count - bad) * down for up, down in _ratios(share)]
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms) / len(terms))


@lru_cache(maxsize=32)
def _ratios(share: float) -> tuple[tuple[float, float], ...]:
    """For twice the share, four times and so on: the logarithms of its ratio where it went wrong, and where not."""
    found = []
    other = 2 * share
    while other < _MOST:
        found.append(other)
        other *= 2
    found.append(_MOST)
    return tuple((math.log(each / share), math.log((1 - each) / (1 - share))) for each in found)


class Evidence:
    """The same for what may begin to go wrong at any time: what went well before hides nothing.

    One test begins at once and one after each event that went wrong, with weights 1/2, 1/6, 1/12 and so on, which sum
    to one: 1 / (k (k + 1)). Each begins at a time that does not look ahead, so their weighted mean is a
    supermartingale too, and Ville's inequality holds for it. It costs the logarithm of k (k + 1) beside a test that
    began at the right moment, however long that took to come.
    """

    def __init__(self, share: float) -> None:
        """For a chance of at most ``share``. Raises ValueError where it cannot be."""
        if not 0 < share < _MOST:
            raise ValueError("there is no such share")
        self._ratios = _ratios(share)
        self._begun = [0.5] * len(self._ratios)  # of each larger share: the sum of the tests that have begun
        self._events = 0

    def after(self, well: float) -> float:
        """The e-value (at least 0, at first 1) if something went wrong now, after so many times that it did not.

        Those since the last event that was taken; a fraction where they count by less.
        """
        return sum(self._grown(well)) / len(self._ratios) + 1 / (self._events + 2)

    def take(self, well: float) -> None:
        """It did go wrong, and that is settled: a test begins after it."""
        self._events += 1
        weight = 1 / ((self._events + 1) * (self._events + 2))
        self._begun = [each + weight for each in self._grown(well)]

    def _grown(self, well: float) -> list[float]:
        ratios = (math.exp(well * down + up) for up, down in self._ratios)
        return [min(each * ratio, _LARGEST) for each, ratio in zip(self._begun, ratios, strict=True)]
