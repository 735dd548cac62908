"""How far estimates were off where labels came, carried on to where none came yet: a local level model.

What the model's probabilities mean drifts slowly with the world, which no estimate without labels can see. Once
labels come, the misses of scored batches tell. A miss is taken as r = b + noise of the band, with b a random walk
that begins at 0 on the reference (Harvey 1989, ch. 2; Kalman 1960). How fast it walks is not known: the answers for
a grid of speeds are mixed by how well each foretold the misses so far. The next band is moved by the mean of b and
widened by its variance, so that bands hold at their stated rate also where the world moves slowly; after a jump the
first batches miss, and the finding says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullcircle.types.report import Measure

Z = 1.959964
# Steps of the walk from batch to batch, as shares of the variance of a band.
_SPEEDS = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A scored batch: realised less estimated, the standard error of the unmoved band, and its number in time."""

    batch: int
    off: float
    error: float


def miss(batch: int, estimated: Measure, realised: Measure) -> Miss | None:
    """The miss of an estimate that nothing was added to; None where one of the two cannot be told."""
    if estimated.low is None or estimated.high is None or estimated.value is None or realised.value is None:
        return None
    return Miss(
        batch=batch,
        off=realised.value - estimated.value,
        error=max((estimated.high - estimated.low) / (2 * Z), 1e-12),
    )


def moved(estimated: Measure, batch: int, misses: Sequence[Miss]) -> Measure:
    """The estimate of a batch, moved and widened by what is known from the misses of earlier ones.

    Those of this batch and later ones are not looked at; without any it is returned as it is. Shares stay in [0, 1].
    """
    known = sorted((each for each in misses if each.batch < batch), key=lambda each: each.batch)
    if estimated.value is None or estimated.low is None or estimated.high is None or not known:
        return estimated
    unit = float(np.mean([each.error**2 for each in known]))
    mean, variance = np.zeros(len(_SPEEDS)), np.zeros(len(_SPEEDS))
    likely = np.zeros(len(_SPEEDS))
    last = known[0].batch - 1
    for each in known:
        variance = variance + _SPEEDS * unit * (each.batch - last)
        spread = variance + each.error**2
        likely += -0.5 * (np.log(spread) + (each.off - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance, last = mean + gain * (each.off - mean), variance * (1 - gain), each.batch
    variance = variance + _SPEEDS * unit * (batch - last)
    weights = np.exp(likely - likely.max())
    weights /= weights.sum()
    shift = float(weights @ mean)
    extra = float(weights @ (variance + (mean - shift) ** 2))
    scale = math.sqrt(((estimated.high - estimated.low) / (2 * Z)) ** 2 + extra) * Z
    centre = estimated.value + shift
    bound = 1.0 if estimated.low >= 0.0 and estimated.high <= 1.0 and estimated.better == "higher" else math.inf
    least = 0.0 if estimated.low >= 0.0 else -math.inf
    value, low, high = (min(max(each, least), bound) for each in (centre, centre - scale, centre + scale))
    return replace(
        estimated,
        value=value,
        low=low,
        high=high,
        method=f"{estimated.method}, moved by what {len(known)} labelled batches were off",
    )
