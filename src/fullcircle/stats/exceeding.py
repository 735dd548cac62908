"""Evidence, valid at any time one looks, that things go wrong more often than a share of the times.

A mixture of likelihood ratios (Robbins 1970): for each of a few larger shares q the product of q/p for what went
wrong and (1-q)/(1-p) for what did not is a supermartingale while things go wrong with a chance of at most p, whatever
came before. So is their mean, and by Ville's inequality it ever reaches 1/alpha with a chance of at most alpha.
"""

from __future__ import annotations

import math
from functools import lru_cache

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
