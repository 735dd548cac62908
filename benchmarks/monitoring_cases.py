"""What the simulation of monitoring draws: laws of columns, monitors in which nothing changes, and changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter
from scipy.special import ndtr

from fullcircle.monitoring.profiles import frozen
from fullcircle.stats.dependence import Counted as Hung
from fullcircle.stats.dependence import learn
from fullcircle.types.monitoring import Dependence, FeatureProfile, Kind, Role
from fullcircle.types.project import Monitor

Floats = NDArray[np.float64]
MONITOR = Monitor(window="1h", false_alerts="1 per year")
YEAR = 8766
WEEK = 168
_ROLES: dict[Kind, Role] = {"drift": "input", "risk": "loss", "estimate": "estimate"}


@dataclass(frozen=True, kw_only=True)
class Law:
    """What the values of a column are drawn from: ``draw`` n values, ``upto`` the chance of at most x.

    With ``shares`` it is a column of categories instead; the rest of them, up to 1, is one never seen before.
    """

    draw: Callable[[np.random.Generator, int], Floats] = lambda generator, n: generator.normal(size=n)
    upto: Callable[[Floats], Floats] = ndtr
    missing: float = 0.0
    shares: tuple[float, ...] = ()

    def moved(self, by: float = 0.0, times: float = 1.0) -> Law:
        """The law of ``times`` x value + ``by``."""
        draw, upto = self.draw, self.upto
        return replace(self, draw=lambda g, n: draw(g, n) * times + by, upto=lambda x: upto((x - by) / times))

    def frozen(self, name: str, generator: np.random.Generator, m: int, role: Role = "input") -> FeatureProfile:
        """The profile of m reference rows."""
        if self.shares:
            known = [each * (1 - self.missing) for each in (*self.shares, max(0.0, 1 - sum(self.shares)))]
            counts = generator.multinomial(m, [*known, self.missing]).tolist()
            names = tuple(f"c{place}" for place in range(len(self.shares)))
            return FeatureProfile(name=name, kind="category", categories=names, counts=tuple(counts), role=role)
        values = self.draw(generator, m)
        if self.missing:
            values = np.where(generator.random(m) < self.missing, math.nan, values)
        return frozen(name, values, role=role)

    def chances(self, feature: FeatureProfile, width: int) -> Floats:
        """The true chances of ``width`` + 2 cells: below the range, bins, padding, above it, other, missing."""
        found = np.zeros(width + 2)
        if feature.kind == "category":
            found[1 : len(self.shares) + 1] = self.shares
            found[-2] = max(0.0, 1 - sum(self.shares))
        else:
            inner = np.diff(self.upto(np.array(feature.edges)), prepend=0.0, append=1.0)
            found[1 : len(inner) + 1] = inner
            if feature.low is not None and feature.high is not None:
                ends = self.upto(np.array([np.nextafter(feature.low, -math.inf), feature.high]))
                found[0], found[-3] = ends[0], 1 - ends[1]
                found[1] -= found[0]
                found[len(inner)] -= found[-3]
        found = np.maximum(found, 0.0)
        found *= (1 - self.missing) / found.sum()
        found[-1] += self.missing
        return found


def _poisson(x: Floats) -> Floats:
    return np.asarray(stats.poisson.cdf(x, 2.0))


def _zeros(x: Floats) -> Floats:
    return np.asarray(np.where(x < 0, 0.0, 0.6 + 0.4 * -np.expm1(-np.maximum(x, 0.0))))


def _flag(share: float) -> Law:
    return Law(
        draw=lambda generator, n: (generator.random(n) < share).astype(float),
        upto=lambda x: np.asarray((x >= 0) * (1 - share) + (x >= 1) * share),
    )


def _beta(b: float) -> Law:
    return Law(draw=lambda g, n: g.beta(1, b, n), upto=lambda x: np.asarray(stats.beta.cdf(x, 1, b)))


NORMAL = Law()
KINDS_OF_COLUMNS = (
    NORMAL,
    Law(draw=lambda g, n: g.poisson(2.0, n).astype(float), upto=_poisson),
    Law(draw=lambda g, n: np.where(g.random(n) < 0.6, 0.0, g.exponential(size=n)), upto=_zeros),
    _flag(0.03),
    Law(missing=0.1),
    Law(draw=lambda g, n: np.round(g.normal(size=n) * 2) / 2, upto=lambda x: ndtr(np.floor(x * 2) / 2 + 0.25)),
    Law(shares=tuple((1 / np.arange(1, 13) ** 1.5 / (1 / np.arange(1, 13) ** 1.5).sum()).tolist())),
    Law(shares=(0.6, 0.3988, 0.001)),
    Law(draw=lambda g, n: g.exponential(size=n) ** 2, upto=lambda x: -np.expm1(-np.sqrt(np.maximum(x, 0.0)))),
    Law(shares=(0.5, 0.5), missing=0.002),
)  # fmt: skip
"""Smooth, tied, mostly zero, a rare flag, with missing values, rounded, categories of which some are rare."""
# Losses: wrong in a fifth of the rows; a Brier-like loss. The second law of each is 5 % worse on average.
WRONG = (_flag(0.2), _flag(0.2 * (1 + MONITOR.worse_by)))
BRIER = (_beta(4.0), _beta(5 / (1 + MONITOR.worse_by) - 1))


def hours(
    features: Sequence[FeatureProfile], chances: Floats, rows: int, generator: np.random.Generator, steps: int
) -> Iterator[tuple[Floats, Floats]]:
    """The counts (F, C) of ``steps`` batches of ``rows`` rows, and how many are outside the reference's range."""
    last = np.array([len(feature.counts) - 3 for feature in features])
    places = np.arange(len(features))
    for _ in range(steps):
        drawn = generator.multinomial(rows, chances).astype(np.float64)
        counts = np.concatenate([drawn[:, 1:-3], drawn[:, -2:]], axis=1)
        counts[:, 0] += drawn[:, 0]
        counts[places, last] += drawn[:, -3]
        yield counts, drawn[:, 0] + drawn[:, -3]


class Drawn(NamedTuple):
    """Monitors side by side: columns, the dependence learned, then (F, C) counts and (F,) outside by the hour."""

    features: Sequence[FeatureProfile]
    dependence: Dependence | None
    hours: Iterator[tuple[Floats, Floats]]


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """A case in which nothing changes: ``years`` monitors of ``columns`` columns, ``laws`` one after the other.

    With ``later`` laws the traffic is drawn from these: losses that grew by just what is allowed.
    """

    name: str
    years: int
    columns: int = 10
    laws: tuple[Law, ...] = (NORMAL,)
    later: tuple[Law, ...] = ()
    reference: int = 10_000
    rows: int = 1000
    kind: Kind = "drift"
    steps: int = YEAR

    def drawn(self, monitors: int, seed: int) -> Drawn:
        """So many monitors, the same each time for a seed."""
        generator = np.random.default_rng(seed)
        laws = list(islice(cycle(self.laws), self.columns)) * monitors
        role = _ROLES[self.kind]
        features = [law.frozen(f"x{at}", generator, self.reference, role) for at, law in enumerate(laws)]
        after = list(islice(cycle(self.later or self.laws), self.columns)) * monitors
        width = max(len(feature.counts) for feature in features)
        chances = np.array([law.chances(one, width) for law, one in zip(after, features, strict=True)])
        return Drawn(features, None, hours(features, chances, self.rows, generator, self.steps))


@dataclass(frozen=True, kw_only=True)
class Hanging:
    """A case in which rows hang together: row by row, 8 weeks of reference, then ``years`` monitors for a year each.

    ``follow`` correlates a row with the next; ``clusters`` rows follow each other that share half their variance;
    the mean of an hour has a standard deviation of ``drifts`` and a correlation of 0.5 with the next; ``daily`` is
    how far the mean goes up and down in a day. ``learned`` False takes rows for independent all the same.
    """

    name: str
    years: int
    follow: float = 0.0
    clusters: int = 1
    drifts: float = 0.0
    daily: float = 0.0
    columns: int = 10
    rows: int = 240
    learned: bool = True
    kind: Kind = "drift"
    steps: int = YEAR

    def drawn(self, monitors: int, seed: int) -> Drawn:
        """So many monitors, the same each time for a seed. Each column is learned from by itself, as it always is."""
        seeds = np.random.SeedSequence(seed).generate_state(self.columns * monitors).tolist()
        sources = [_Rows(self, one) for one in seeds]
        features, counted = [], []
        for place, source in enumerate(sources):
            weeks = [source.week() for _ in range(8)]
            features.append(frozen(f"x{place}", np.concatenate(weeks).ravel()))
            counted.append(np.concatenate([_in_bins(week, features[-1])[0] for week in weeks]))
        named = [Hung(feature.name, True, counts) for feature, counts in zip(features, counted, strict=True)]
        known = learn(named, np.arange(8 * WEEK), 3600.0) if self.learned else None
        return Drawn(features, known, self._hours(sources, features))

    def _hours(self, sources: Sequence[_Rows], features: Sequence[FeatureProfile]) -> Iterator[tuple[Floats, Floats]]:
        width = max(len(feature.counts) for feature in features)
        for begun in range(0, self.steps, WEEK):
            week = [_in_bins(source.week(), feature) for source, feature in zip(sources, features, strict=True)]
            counts = np.stack([_wide(each, width) for each, _ in week], axis=1).astype(np.float64)
            outside = np.stack([each for _, each in week], axis=1).astype(np.float64)
            yield from zip(counts[: self.steps - begun], outside[: self.steps - begun], strict=True)


class _Rows:
    """One column's rows, week by week, going on where the last week ended."""

    def __init__(self, case: Hanging, seed: int) -> None:
        self.case, self.generator, self.state = case, np.random.default_rng(seed), 0.0
        self.mean = 0.0

    def week(self) -> Floats:
        """A week (hours, rows) of values."""
        case, shape = self.case, (WEEK, self.case.rows)
        values = self.generator.normal(size=shape)
        if case.follow:
            start = np.array([case.follow * self.state])
            moved = values.ravel() * math.sqrt(1 - case.follow**2)
            followed = lfilter([1.0], [1.0, -case.follow], moved, zi=start)[0]
            self.state, values = float(followed[-1]), followed.reshape(shape)
        if case.clusters > 1:
            shared = self.generator.normal(size=(WEEK, case.rows // case.clusters)) * math.sqrt(0.5)
            values = values * math.sqrt(0.5) + np.repeat(shared, case.clusters, axis=1)
        if case.drifts:
            steps = self.generator.normal(size=WEEK) * case.drifts * math.sqrt(0.75)
            means = lfilter([1.0], [1.0, -0.5], steps, zi=np.array([0.5 * self.mean]))[0]
            self.mean, values = float(means[-1]), values + means[:, None]
        return values + case.daily * np.sin(2 * math.pi * np.arange(WEEK) / 24)[:, None]


def _in_bins(values: Floats, feature: FeatureProfile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts (hours, K + 2) and how many are outside the reference's range (hours,), of values (hours, rows)."""
    cells = len(feature.counts)
    places = np.searchsorted(np.array(feature.edges), values.ravel(), side="left").reshape(values.shape)
    flat = (places + cells * np.arange(len(values))[:, None]).ravel()
    counts = np.bincount(flat, minlength=cells * len(values)).reshape(len(values), cells)
    low, high = feature.low or 0.0, feature.high or 0.0
    return counts, ((values < low) | (values > high)).sum(axis=1)


def _wide(counts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Counts (hours, K + 2) with padding before the last two cells."""
    found = np.zeros((len(counts), width), dtype=np.int64)
    found[:, : counts.shape[1] - 2], found[:, -2:] = counts[:, :-2], counts[:, -2:]
    return found


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change in the first column after a day, from ``before`` to ``after``, and how soon it shall be found."""

    name: str
    before: Law
    after: Law
    median: float
    tenth: float
    columns: int = 20
    reference: int = 10_000
    rows: int = 1000
    quiet: int = 24
    most: int = 200


_FIVE = (0.4, 0.3, 0.2, 0.06, 0.04)
# A model that adds two inputs of correlation 0.8: where that becomes -0.8 the answers spread a third as far.
_FLIPPED = math.sqrt((2 - 2 * 0.8) / (2 + 2 * 0.8))
CHANGES = (
    Change(name="0.1 sd", before=NORMAL, after=NORMAL.moved(by=0.1), median=25, tenth=45),
    Change(name="0.25 sd", before=NORMAL, after=NORMAL.moved(by=0.25), median=3, tenth=5),
    Change(name="0.5 sd", before=NORMAL, after=NORMAL.moved(by=0.5), median=2, tenth=3),
    Change(name="5 % missing", before=NORMAL, after=replace(NORMAL, missing=0.05), median=2, tenth=3),
    Change(
        name="a new category, 1 %", before=Law(shares=_FIVE), after=Law(shares=tuple(s * 0.99 for s in _FIVE)),
        median=2, tenth=3,
    ),
    Change(
        name="a correlation flip, seen through the prediction", before=NORMAL, after=NORMAL.moved(times=_FLIPPED),
        median=2, tenth=3,
    ),
)  # fmt: skip


def quiet_cases(scale: float) -> tuple[Quiet | Hanging, ...]:
    """All cases without a change; ``scale`` is of their years."""

    def years(most: int) -> int:
        return max(1, round(most * scale))

    grown: tuple[tuple[str, Kind, tuple[Law, ...]], ...] = (
        ("losses", "risk", WRONG),
        ("expected losses", "estimate", BRIER),
    )
    small = tuple(
        Quiet(name=f"10 columns of all kinds, reference {m}", years=years(12), reference=m, laws=KINDS_OF_COLUMNS)
        for m in (50, 200, 1000)
    )
    return (
        Quiet(name="10 columns", years=years(40)),
        Quiet(name="100 columns", years=years(6), columns=100),
        Quiet(name="1000 columns", years=years(4), columns=1000),
        Quiet(name="10 columns of all kinds", years=years(24), laws=KINDS_OF_COLUMNS),
        *small,
        *(
            Quiet(
                name=f"{name} worse by just what is allowed, reference {m}", years=years(40), columns=1, kind=kind,
                laws=laws[:1], later=laws[1:], reference=m,
            )
            for name, kind, laws in grown
            for m in (200, 2000)
        ),
        Hanging(name="rows AR(0.5), 8 weeks", years=years(12), follow=0.5),
        Hanging(name="clusters of 8 rows, 8 weeks", years=years(12), clusters=8),
        Hanging(name="hourly means AR(0.5), 8 weeks", years=years(12), drifts=0.05),
        Hanging(name="another mix at each hour of the day, 8 weeks", years=years(12), daily=0.5),
    )  # fmt: skip
