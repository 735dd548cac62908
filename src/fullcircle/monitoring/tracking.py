"""What scored batches teach of the next band: how far estimates were off, and how often bands missed.

What the model's probabilities mean drifts slowly with the world, which no estimate without labels can see. Once
labels come, the misses of scored batches tell, in two ways.

Where the band lies: a miss is taken as r = b + noise of the band, with b a random walk that begins at 0 on the
reference (Harvey 1989, ch. 2; Kalman 1960). How fast it walks is not known: the answers for a grid of speeds are
mixed by how well each foretold the misses so far. The band is moved by the mean of b, its variance is added.

How wide it is: q standard errors on either side, with q the normal law's 1.96 at first. Each batch that is scored
says whether the band that was given for it, from what was known then, missed: q rises by STEP * 0.95 after a miss and
falls by STEP * 0.05 after a hit. That is adaptive conformal inference (Gibbs and Candes 2021) in its later form,
quantile tracking (Angelopoulos, Candes and Tibshirani 2023, prop. 1): the sum of (miss - 0.05) over T batches is the
change of q over STEP, so the share of misses is 5 % but for (largest miss in standard errors + STEP) / (STEP * T),
whatever the world does, and q never has to be infinite as the first form's can. Labels that come d batches late add
at most d steps to that change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullcircle.types.report import Measure

Z = 1.959964
RATE = 0.05
"""The share of bands that may miss."""
STEP = 0.3
"""Standard errors. 0.1 follows too slowly for 41 batches, 0.5 makes bands of a still world 6 % too wide."""
# Steps of the walk from batch to batch, as shares of the variance of a band.
_SPEEDS = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A scored batch: realised less estimated, and the standard error of the band that nothing was added to."""

    off: float
    error: float


def miss(estimated: Measure, realised: Measure) -> Miss | None:
    """The miss of an estimate that nothing was added to; None where one of the two cannot be told."""
    if estimated.low is None or estimated.high is None or estimated.value is None or realised.value is None:
        return None
    return Miss(off=realised.value - estimated.value, error=_error(estimated.low, estimated.high))


class Track:
    """One metric of one version, batch by batch in time: ask for the band, then teach what has come.

    Batches have numbers, in time; those without labels are simply not taught. The same order gives the same bands.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.scored = 0
        self.width = Z
        self._mean = np.zeros(len(_SPEEDS))
        self._variance = np.zeros(len(_SPEEDS))
        self._likely = np.zeros(len(_SPEEDS))
        self._exact = 0.0
        self._last = 0

    def learn(self, batch: int, came: Miss, *, held: bool) -> None:
        """Take in a scored batch, later than those before, and whether the band that was given for it held."""
        self._exact += came.error**-2
        self.scored += 1
        before = self._ahead(batch) if self.scored > 1 else _SPEEDS * self._unit
        spread = before + came.error**2
        self._likely += -0.5 * (np.log(spread) + (came.off - self._mean) ** 2 / spread)
        gain = before / spread
        self._mean, self._variance = self._mean + gain * (came.off - self._mean), before * (1 - gain)
        self._last = batch
        self.width += STEP * ((not held) - RATE)

    def band(self, batch: int, error: float) -> tuple[float, float]:
        """How far the estimate of a batch is to be moved, and half the width of its band, given its own error."""
        if not self.scored:
            return 0.0, Z * error
        weights = np.exp(self._likely - self._likely.max())
        weights /= weights.sum()
        shift = float(weights @ self._mean)
        extra = float(weights @ (self._ahead(batch) + (self._mean - shift) ** 2))
        return shift, max(0.0, self.width) * math.sqrt(error**2 + extra)

    def holds(self, batch: int, came: Miss) -> bool:
        """Whether the band of a batch, as it is given now, holds what came."""
        shift, half = self.band(batch, came.error)
        return abs(came.off - shift) <= half

    def moved(self, batch: int, estimated: Measure) -> Measure:
        """The estimate of a batch with the band that is known by now. Shares stay in [0, 1]."""
        if estimated.value is None or estimated.low is None or estimated.high is None or not self.scored:
            return estimated
        shift, half = self.band(batch, _error(estimated.low, estimated.high))
        centre = estimated.value + shift
        bound = 1.0 if estimated.low >= 0.0 and estimated.high <= 1.0 and estimated.better == "higher" else math.inf
        least = 0.0 if estimated.low >= 0.0 else -math.inf
        value, low, high = (min(max(each, least), bound) for each in (centre, centre - half, centre + half))
        return replace(
            estimated,
            value=value,
            low=low,
            high=high,
            method=f"{estimated.method}; moved and widened by what {self.scored} labelled batches were off",
        )

    def _ahead(self, batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(self._variance + _SPEEDS * self._unit * max(0, batch - self._last))

    @property
    def _unit(self) -> float:
        """The variance of a usual band: the harmonic mean, so that a batch with few labels changes it little."""
        return self.scored / self._exact


def follow(
    estimates: Sequence[Measure | None], misses: Sequence[Miss | None], known: Sequence[int]
) -> tuple[list[Measure | None], list[bool | None]]:
    """The estimates of batches in time as they were given then, and which of the given bands held what came.

    ``misses`` has None where a batch is not scored; ``known[j]``, which never falls, is how many of the first
    batches had their labels due when batch j was judged, at most j. None is given for an estimate that is None.
    """
    track, held, given, taught = Track(), list[bool | None](), list[Measure | None](), 0
    for place, (estimate, came, due) in enumerate(zip(estimates, misses, known, strict=True)):
        while taught < min(due, place):
            earlier = misses[taught]
            if earlier is not None:
                track.learn(taught, earlier, held=bool(held[taught]))
            taught += 1
        given.append(None if estimate is None else track.moved(place, estimate))
        held.append(None if came is None else track.holds(place, came))
    return given, held


def _error(low: float, high: float) -> float:
    return max((high - low) / (2 * Z), 1e-12)
