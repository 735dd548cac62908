"""A made-up lender: who asks for a loan, and who does not pay it back. Drawn from a seed, so the truth is known.

The log-odds of a default are -2.4 + 0.9 x late payments of the last 90 days (at most 3) + 3 x the instalment over the
monthly income (at most 0.8) - 0.25 x the balance in thousands + a weight by the kind of employer. Purpose plays no
part. In the course of the drift the weights go from ``BEFORE`` to ``AFTER``: what was learned is wrong, and can be
learned again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BEGIN = datetime(2025, 1, 6, tzinfo=UTC)
"""When the model begins to answer: a Monday."""
WEEK = timedelta(days=7)
EMPLOYERS = ("public", "private", "self-employed", "none")
BEFORE = (-1.2, -0.2, 0.8, 1.8)
AFTER = (2.2, 0.4, -1.5, -1.5)
PURPOSES = ("car", "home", "education", "other")
FEATURES = ("amount", "term_months", "income", "balance", "late_90d", "employer", "purpose")


@dataclass(frozen=True)
class Troubles:
    """What goes wrong, by the week in which it begins; None for never. The drift takes ``drift_weeks``.

    A unit bug: for ``cents_weeks`` amounts are sent in cents. A new category: a fifth call their purpose "solar".
    """

    cents: int | None = 6
    cents_weeks: int = 1
    solar: int | None = 10
    drift: int | None = 13
    drift_weeks: int = 4

    def told(self, week: int) -> str:
        """What begins or ends in a week, in words; "" for nothing."""
        said = {
            self.cents: "somebody deploys a change: amounts are sent in cents",
            None if self.cents is None else self.cents + self.cents_weeks: "amounts are sent in euros again",
            self.solar: 'a new purpose is offered: "solar"',
            self.drift: "times begin to change: from week to week, who employs somebody means something else",
        }
        return said.get(week, "")


@dataclass(frozen=True)
class Application:
    """One request: what is sent, when, and the label with the moment at which it becomes known."""

    at: datetime
    row: dict[str, Any]
    defaulted: int
    known: datetime


@dataclass(frozen=True)
class World:
    """What happens, week by week: ``per_week`` applications a week, the same for a seed whatever is asked first."""

    seed: int = 9
    per_week: int = 500
    troubles: Troubles = field(default_factory=Troubles)

    def history(self, weeks: int) -> pd.DataFrame:
        """The applications of so many weeks before ``BEGIN``, whose labels are all known, as a table."""
        import pandas as pd

        made = [one for week in range(-weeks, 0) for one in self.week(week)]
        return pd.DataFrame(
            [{"applied_at": one.at.replace(tzinfo=None), **one.row, "defaulted": one.defaulted} for one in made]
        )

    def week(self, week: int) -> Iterator[Application]:
        """The applications of a week in order of time; 0 is the first that the model answers."""
        import numpy as np

        rng = np.random.default_rng([self.seed, week + 10_000])
        n = self.per_week
        amount = np.clip(np.round(rng.lognormal(np.log(6000), 0.7, n), -2), 500, 40_000)
        term = rng.choice([12, 24, 36, 48, 60], n)
        income = np.round(rng.lognormal(np.log(2500), 0.35, n), 2)
        balance = np.round(rng.normal(1500, 1300, n), 2)
        late = np.minimum(rng.poisson(0.5, n), 3)
        employer = rng.choice(4, n, p=[0.25, 0.45, 0.2, 0.1])
        purpose = rng.choice(PURPOSES, n, p=[0.35, 0.3, 0.1, 0.25]).astype(object)
        part = self._drifted(week)
        weights = (1 - part) * np.array(BEFORE) + part * np.array(AFTER)
        odds = -2.4 + 0.9 * late + 3 * np.minimum(amount / term / income, 0.8) - 0.25 * balance / 1000
        defaulted = rng.random(n) < 1 / (1 + np.exp(-(odds + weights[employer])))
        seconds = np.sort(rng.integers(0, int(WEEK.total_seconds()), n))
        waits = rng.uniform(7, 13, n)
        solar = rng.random(n) < 0.2
        if self._since(self.troubles.solar, week):
            purpose[solar] = "solar"
        if self._since(self.troubles.cents, week) and not self._mended(week):
            amount = amount * 100
        for place in range(n):
            at = BEGIN + week * WEEK + timedelta(seconds=int(seconds[place]))
            row = {
                "amount": float(amount[place]),
                "term_months": int(term[place]),
                "income": float(income[place]),
                "balance": float(balance[place]),
                "late_90d": int(late[place]),
                "employer": EMPLOYERS[employer[place]],
                "purpose": str(purpose[place]),
            }
            yield Application(at, row, int(defaulted[place]), at + timedelta(days=float(waits[place])))

    def _drifted(self, week: int) -> float:
        """How much of the drift has happened, from 0 to 1."""
        begin = self.troubles.drift
        return 0.0 if begin is None else min(max((week + 0.5 - begin) / self.troubles.drift_weeks, 0.0), 1.0)

    def _mended(self, week: int) -> bool:
        return self.troubles.cents is not None and week >= self.troubles.cents + self.troubles.cents_weeks

    @staticmethod
    def _since(begin: int | None, week: int) -> bool:
        return begin is not None and week >= begin
