"""Alarms per year at a budget of one where nothing changed, and how soon changes are found: simulated from counts.

For BENCH: ``rows(scale) -> list[Row]`` runs everything (about 4 minutes on two quiet cores at a scale of 1; years and
runs are in proportion to ``scale``); ``python -m benchmarks.monitoring calibration`` prints it.

Each monitor gets a reference of its own, drawn anew, whose quantile edges are frozen on the same rows as in
production. Of what comes after only counts are drawn, from the true chances of the cells. ``Lot`` runs many monitors
side by side through the plans that ``engine.Watch`` makes; it is ``Watch`` but for one thing: a column that an alarm
named is away for good, where ``Watch`` takes it back when it looks like the reference again. A batch is an hour, a
monitor lives a year.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import cycle, islice
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter
from scipy.special import ndtr

from benchmarks.monitoring_streams import SCALE, explained
from benchmarks.rows import Row, table
from fullcircle.monitoring import engine
from fullcircle.monitoring.columns import Columns
from fullcircle.monitoring.detector import Counted
from fullcircle.monitoring.profiles import frozen
from fullcircle.stats import evidence
from fullcircle.stats.dependence import Counted as Hung
from fullcircle.stats.dependence import learn
from fullcircle.types.monitoring import Dependence, FeatureProfile, Kind, Profile, Role
from fullcircle.types.project import Monitor

Floats = NDArray[np.float64]
MONITOR = Monitor(window="1h", false_alerts="1 per year")
YEAR = 8766
WEEK = 168
TOGETHER = 400  # columns that are stepped at once: what is made of them stays in the cache
_ROLES: dict[Kind, Role] = {"drift": "input", "risk": "loss", "estimate": "estimate"}
SEED = 20261127


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


class Lot:
    """``groups`` monitors of as many columns each, side by side."""

    def __init__(
        self, features: Sequence[FeatureProfile], groups: int, kind: Kind, dependence: Dependence | None = None
    ) -> None:
        profile = Profile(features=tuple(features), rows=0, dependence=dependence)
        columns = Columns(features, profile, MONITOR, len(features) // groups)
        self._leg = engine._Leg(kind, columns, engine._registered(), engine.threshold(MONITOR, kind))
        self._weights, self._memory, self._line = self._leg.weights, self._leg.memory, math.exp(self._leg.line)
        self.width, self.groups = columns.width, groups
        self._each = len(features) // groups
        self.level = np.zeros(self._weights.shape)
        self.away = np.zeros(len(self.level), dtype=np.bool_)

    def step(self, counts: Floats, outside: Floats, phase: int = 0) -> NDArray[np.bool_]:
        """Counts (F, C) and outside (F,) of an hour; which monitors (groups,) raise an alarm."""
        effects = self._leg.columns.effects_of(counts)
        batch = Counted(counts=counts / effects[:, None], outside=outside / effects)
        plans = self._leg._plans(phase)
        judged = [plan.judge(batch, kept) for plan, kept in zip(plans, self._memory, strict=True)]
        self._memory = [plan.learn(batch, kept) for plan, kept in zip(plans, self._memory, strict=True)]
        e = np.exp(np.minimum(np.concatenate(judged, axis=1), 300.0))
        self.level = e * (1 + np.minimum(self.level, 1e100))
        self.level[self.away] = 0.0
        fired = self.now() >= self._line
        for group in np.flatnonzero(fired):
            self._fire(slice(group * self._each, (group + 1) * self._each))
        return fired

    def now(self) -> Floats:
        """The averaged e-detector of each monitor, (groups,)."""
        return np.asarray(self._own().reshape(self.groups, -1).mean(axis=1))

    def _own(self) -> Floats:
        return np.asarray(np.einsum("fl,fl->f", self.level, self._weights))

    def _fire(self, where: slice) -> None:
        own = np.log(np.maximum(self._own()[where], 1e-300))
        named = evidence.passing(own, math.log(self._line))
        self.away[where] |= named if named.any() else own == own.max()
        self.level[where] = 0.0


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


def quiet_alarms(case: Quiet, monitors: int, seed: int) -> int:
    """How many alarms ``monitors`` monitors raise in ``steps`` hours each."""
    generator = np.random.default_rng(seed)
    laws = list(islice(cycle(case.laws), case.columns)) * monitors
    features = [law.frozen(f"x{at}", generator, case.reference, _ROLES[case.kind]) for at, law in enumerate(laws)]
    lot = Lot(features, monitors, case.kind)
    after = list(islice(cycle(case.later or case.laws), case.columns)) * monitors
    chances = np.array([law.chances(one, lot.width) for law, one in zip(after, features, strict=True)])
    return sum(int(lot.step(*hour).sum()) for hour in hours(features, chances, case.rows, generator, case.steps))


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
    steps: int = YEAR


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


def hanging_alarms(case: Hanging, monitors: int, seed: int) -> int:
    """How many alarms ``monitors`` monitors raise in ``steps`` hours each."""
    return sum(_hanging_alarms(case, seed + place) for place in range(monitors))


def _hanging_alarms(case: Hanging, seed: int) -> int:
    seeds = np.random.SeedSequence(seed).generate_state(case.columns).tolist()
    sources = [_Rows(case, one) for one in seeds]
    features, counted = [], []
    for place, source in enumerate(sources):
        weeks = [source.week() for _ in range(8)]
        features.append(frozen(f"x{place}", np.concatenate(weeks).ravel()))
        counted.append(np.concatenate([_in_bins(week, features[-1])[0] for week in weeks]))
    named = [Hung(feature.name, True, counts) for feature, counts in zip(features, counted, strict=True)]
    known = learn(named, np.arange(8 * WEEK), 3600.0) if case.learned else None
    lot, found = Lot(features, 1, "drift", known), 0
    for begun in range(0, case.steps, WEEK):
        week = [_in_bins(source.week(), feature) for source, feature in zip(sources, features, strict=True)]
        counts = np.stack([_wide(each, lot.width) for each, _ in week], axis=1).astype(np.float64)
        outside = np.stack([each for _, each in week], axis=1).astype(np.float64)
        for hour in range(min(WEEK, case.steps - begun)):
            found += int(lot.step(counts[hour], outside[hour], hour)[0])
    return found


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


def delays(change: Change, runs: int, seed: int) -> list[float]:
    """In how many batches each of ``runs`` monitors raised an alarm after the change, infinity where none did."""
    generator = np.random.default_rng(seed)
    laws = [change.before, *[NORMAL] * (change.columns - 1)] * runs
    features = [law.frozen(f"x{place}", generator, change.reference) for place, law in enumerate(laws)]
    lot = Lot(features, runs, "drift")
    chances = np.array([law.chances(one, lot.width) for law, one in zip(laws, features, strict=True)])
    for hour in hours(features, chances, change.rows, generator, change.quiet):
        lot.step(*hour)
    for place in range(0, len(laws), change.columns):
        chances[place] = change.after.chances(features[place], lot.width)
    found = np.full(runs, math.inf)
    for after, hour in enumerate(hours(features, chances, change.rows, generator, change.most), 1):
        fired = lot.step(*hour)
        found[fired & np.isinf(found)] = after
        if np.isfinite(found).all():
            break
    return found.tolist()


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
        Quiet(name=f"10 columns of all kinds, reference {m}", years=years(8), reference=m, laws=KINDS_OF_COLUMNS)
        for m in (50, 200, 1000)
    )
    return (
        Quiet(name="10 columns", years=years(24)),
        Quiet(name="100 columns", years=years(4), columns=100),
        Quiet(name="1000 columns", years=years(1), columns=1000),
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
        Hanging(name="rows AR(0.5), 8 weeks", years=years(6), follow=0.5),
        Hanging(name="clusters of 8 rows, 8 weeks", years=years(6), clusters=8),
        Hanging(name="hourly means AR(0.5), 8 weeks", years=years(6), drifts=0.05),
        Hanging(name="another mix at each hour of the day, 8 weeks", years=years(3), daily=0.5),
    )  # fmt: skip


def rows(scale: float = SCALE, workers: int = 2) -> list[Row]:
    """False alarms of all quiet cases, then the delays of all changes (200 runs at a scale of 1)."""
    cases, runs = quiet_cases(scale), max(10, round(200 * scale))
    # Processes get the place of a case: laws are functions, and do not travel.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            [pool.submit(_alarms, scale, place, n, seed) for n, seed in _parts(case)]
            for place, case in enumerate(cases)
        ]
        waits = [
            [pool.submit(_delays, place, n, SEED + part) for part, n in enumerate(_split(runs, 20))]
            for place in range(len(CHANGES))
        ]
        found = [_told(case, sum(job.result() for job in of)) for case, of in zip(cases, jobs, strict=True)]
        for change, of_change in zip(CHANGES, waits, strict=True):
            found += _waited(change, [each for wait in of_change for each in wait.result()])
    return found


def _alarms(scale: float, place: int, monitors: int, seed: int) -> int:
    case = quiet_cases(scale)[place]
    return quiet_alarms(case, monitors, seed) if isinstance(case, Quiet) else hanging_alarms(case, monitors, seed)


def _delays(place: int, runs: int, seed: int) -> list[float]:
    return delays(CHANGES[place], runs, seed + 1000 * place)


def _parts(case: Quiet | Hanging) -> list[tuple[int, int]]:
    """How many monitors each job has, and its seed."""
    most = max(1, TOGETHER // case.columns) if isinstance(case, Quiet) else 1
    start = int.from_bytes(blake2b(case.name.encode(), digest_size=4).digest(), "big")
    return [(n, start + 1000 * part) for part, n in enumerate(_split(case.years, min(most, -(-case.years // 2))))]


def _split(total: int, most: int) -> list[int]:
    return [min(most, total - begun) for begun in range(0, total, most)]


def _told(case: Quiet | Hanging, alarms: int) -> Row:
    """The rate beside the highest that chance explains at the kind's share of the budget."""
    share = engine.SHARES[case.kind if isinstance(case, Quiet) else "drift"]
    years = case.years * case.steps / YEAR
    most = float(stats.chi2.ppf(0.95, 2 * alarms + 2)) / 2 / years
    what = f"{case.name}: false alarms, {alarms} in {years:.3g} years, with 95 % at most {most:.3g} a year"
    return Row(what=what, unit="a year", ours=alarms / years, goal=explained(share, years))


def _waited(change: Change, found: list[float]) -> list[Row]:
    what = f"{change.name} in 1 of {change.columns} columns, {len(found)} runs: batches of {change.rows} rows"
    return [
        Row(
            what=f"{what} to the alarm, {name}",
            unit="batches",
            ours=float(np.quantile(found, at, method="higher")),
            goal=goal,
        )
        for name, at, goal in (("median", 0.5, change.median), ("9 of 10", 0.9, change.tenth))
    ]


if __name__ == "__main__":
    print(table(rows()))
