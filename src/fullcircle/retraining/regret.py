"""Has the champion done worse than the version before it would have, on the same labelled rows?

One may look after every row and for ever. With paired differences d of losses in [0, 1] (the champion's less the
other's, so -1 <= d <= 1), S their sum and V the sum of their squares, exp(x S - psi(x) V) with psi(x) = -ln(1 - x) -
x is for 0 <= x < 1 at most a product of terms with mean 1, as long as the rows so far had a mean of at most 0 (Fan,
Grama & Liu 2015; Howard, Ramdas, McAuliffe & Sekhon 2021, theorem 4; the bets of Waudby-Smith & Ramdas 2024 with
their sums). So is an average over several x, and by Ville's inequality it ever reaches 1/c with a chance of at most
c. The rows need not be independent nor alike: what is tested is the average of what was to be expected of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit

CHANCE = 0.01
"""How likely a champion that is no worse is ever taken back."""
_BETS = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.6, 0.9])
_PSI = -np.log1p(-_BETS) - _BETS
_USUAL, _MOST = 0.2, 2.0  # a usual spread of differences of losses, and so many spreads are as good as more


@dataclass(frozen=True)
class Regret:
    """What is known of a champion's losses less those of the version before: ``rows`` pairs so far.

    ``total`` is the sum of the differences, ``squares`` that of their squares. Adding rows in another order, or in
    parts, gives the same but for rounding.
    """

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, champion: ArrayLike, before: ArrayLike) -> Regret:
        """With the losses (n,) in [0, 1] of both versions on n more rows. Rows where either is NaN are left out."""
        own, other = np.asarray(champion, dtype=float).ravel(), np.asarray(before, dtype=float).ravel()
        if own.size != other.size:
            raise _unfit(f"{own.size} and {other.size} losses", "losses of both versions on the same rows")
        told = ~(np.isnan(own) | np.isnan(other))
        own, other = own[told], other[told]
        if own.size and (min(own.min(), other.min()) < 0.0 or max(own.max(), other.max()) > 1.0):
            raise _unfit("a loss below 0 or above 1", "losses between 0 and 1")
        apart = own - other
        return Regret(self.rows + apart.size, self.total + math.fsum(apart), self.squares + math.fsum(apart * apart))

    @property
    def mean(self) -> float:
        """How much more a row cost under the champion; NaN without rows."""
        return self.total / self.rows if self.rows else math.nan

    @property
    def evidence(self) -> float:
        """The natural logarithm of the e-value that the champion is worse."""
        return _log_wealth(self.total, self.squares)

    def worse(self, chance: float = CHANCE) -> bool:
        """Whether the champion is worse, beyond ``chance`` of ever saying so of one that is not."""
        return self.evidence >= -math.log(chance)

    def interval(self, chance: float = CHANCE) -> tuple[float, float]:
        """Bounds of the mean difference, each wrong at any time with at most ``chance``; (-1, 1) without rows."""
        if not self.rows:
            return -1.0, 1.0
        low = _bound(self.total, self.squares, self.rows, chance)
        return low, -_bound(-self.total, self.squares, self.rows, chance)

    def text(self, before: int, chance: float = CHANCE) -> str:
        """It in a sentence, with the version that it is compared with."""
        if not self.rows:
            return f"no labelled row yet that version {before} could answer too"
        low, high = self.interval(chance)
        said = "worse" if self.worse(chance) else "not shown to be worse"
        return (
            f"{said} than version {before} on {self.rows:,} labelled rows: loss {self.mean:+.4f} a row "
            f"({low:+.4f} to {high:+.4f}, at most {chance:.0%} wrong at each end however often one looks)"
        )

    def state(self) -> dict[str, float]:
        """For JSON; ``of`` reads it again."""
        return {"rows": self.rows, "total": self.total, "squares": self.squares}

    @staticmethod
    def of(state: Mapping[str, float]) -> Regret:
        """What ``state`` wrote."""
        return Regret(int(state["rows"]), float(state["total"]), float(state["squares"]))


def noticed(worse: float, spread: float, chance: float = CHANCE) -> float:
    """About how many rows it takes until a champion that is ``worse`` a row is taken back; infinite where it is not.

    ``spread`` is the standard deviation of the differences, in the same unit. It is ln(bets/chance) over the best
    bet's gain a row, for losses that differ by about a fifth; 2 ln(1/chance) (spread/worse)² would be the least.
    """
    if not worse > 0.0:
        return math.inf
    usual = _USUAL * min(worse / spread, _MOST) if spread > 0.0 else _USUAL * _MOST
    gained = float((_BETS * usual - _PSI * (_USUAL * _USUAL + usual * usual)).max())
    return math.log(_BETS.size / chance) / gained if gained > 0.0 else math.inf


def _log_wealth(total: float, squares: float) -> float:
    """The logarithm of the average over the bets."""
    logs: NDArray[np.float64] = _BETS * total - _PSI * squares
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))


def _bound(total: float, squares: float, rows: int, chance: float) -> float:
    """The largest mean m that is refuted from above: rows of mean m would not have come so high."""
    needed = -math.log(chance)
    low, high = -1.0, 1.0
    if _log_wealth(total + rows, squares) < needed:
        return -1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_wealth(total - rows * middle, squares) >= needed else (low, middle)
    return low


def _unfit(received: str, allowed: str) -> DataUnfit:
    return DataUnfit(
        "two versions cannot be compared on these losses",
        received=received,
        allowed=allowed,
        next_step="this is a defect of the caller: please report it",
    )
