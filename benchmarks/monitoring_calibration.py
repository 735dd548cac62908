"""False alarms a year at a budget of one where nothing changed, and how soon changes are found: simulated.

Each monitor gets a reference of its own, drawn anew, whose quantile edges are frozen on the same rows as in
production. Of what comes after only counts are drawn, from the true chances of the cells. A batch is an hour, a
monitor lives a year. ``Lot`` runs many monitors side by side through the plans that ``engine.Watch`` makes, up to
their first alarms; monitors that raised one are run again, on the same counts, by ``Watch`` as it is shipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring_cases import (
    CHANGES,
    MONITOR,
    NORMAL,
    YEAR,
    Change,
    Floats,
    Hanging,
    Quiet,
    hours,
    quiet_cases,
)
from benchmarks.monitoring_streams import SCALE, at_most, one_thread
from benchmarks.rows import Row
from fullcircle.monitoring import engine
from fullcircle.monitoring.batches import Batch
from fullcircle.monitoring.columns import Columns
from fullcircle.monitoring.detector import Counted
from fullcircle.monitoring.engine import Watch
from fullcircle.stats import evidence
from fullcircle.types.monitoring import Dependence, FeatureProfile, Kind, Profile

BUDGET = 1.0
TOGETHER = 400  # columns that are stepped at once: what is made of them stays in the cache
SEED = 20261127


class Lot:
    """``groups`` monitors of as many columns each, side by side.

    What an alarm named stays away here, where ``Watch`` takes it back: alarms after a first are not counted by this.
    """

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
        log_e = evidence.insured(np.concatenate(judged, axis=1), self._leg.columns.unseen)
        e = np.exp(np.minimum(log_e, 300.0))
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


class _Hour:
    """The columns of one monitor in one hour, as the engine asks for them."""

    def __init__(self, features: Sequence[FeatureProfile], counts: Floats, outside: Floats) -> None:
        self.features = tuple(feature.name for feature in features)
        self._sizes = {feature.name: len(feature.counts) for feature in features}
        self._counts = dict(zip(self.features, counts, strict=True))
        self._outside = dict(zip(self.features, outside.tolist(), strict=True))

    def counts(self, name: str) -> Floats:
        wide = self._counts[name]
        return np.concatenate([wide[: self._sizes[name] - 2], wide[-2:]])

    def outside(self, name: str) -> int:
        return int(self._outside[name])


def false_alarms(case: Quiet | Hanging, monitors: int, seed: int) -> int:
    """How many alarms ``monitors`` monitors raise in ``steps`` hours each."""
    drawn = case.drawn(monitors, seed)
    lot, fired = Lot(drawn.features, monitors, case.kind, drawn.dependence), np.zeros(monitors, dtype=np.bool_)
    for at, hour in enumerate(drawn.hours):
        fired |= lot.step(*hour, at)
    return _watched(case, monitors, seed, np.flatnonzero(fired).tolist()) if fired.any() else 0


def _watched(case: Quiet | Hanging, monitors: int, seed: int, which: Sequence[int]) -> int:
    """The alarms of some of the monitors, as ``Watch`` raises them on the very same counts."""
    drawn, nothing, found = case.drawn(monitors, seed), Batch.empty(()), 0
    places = [slice(group * case.columns, (group + 1) * case.columns) for group in which]
    own = [drawn.features[place] for place in places]
    watches = [Watch(Profile(features=tuple(each), rows=0, dependence=drawn.dependence), MONITOR) for each in own]
    for at, (counts, outside) in enumerate(drawn.hours):
        for watch, features, place in zip(watches, own, places, strict=True):
            hour = _Hour(features, counts[place], outside[place])
            # Losses are of rows whose label came.
            batch, labelled = (nothing, hour) if case.kind == "risk" else (hour, nothing)
            found += sum(each.fired for each in watch.step(batch, labelled, phase=at))
    return found


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


def rows(scale: float = SCALE, workers: int = 2) -> list[Row]:
    """False alarms of all quiet cases, then the delays of all changes (200 runs at a scale of 1)."""
    cases, runs = quiet_cases(scale), max(10, round(200 * scale))
    # Processes get the place of a case: laws are functions, and do not travel. The longest jobs come first.
    order = sorted(range(len(cases)), key=lambda place: -cases[place].columns)
    with one_thread(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {
            place: [pool.submit(_alarms, scale, place, n, seed) for n, seed in _parts(cases[place])]
            for place in order
        }
        waits = [
            [pool.submit(_delays, place, n, SEED + part) for part, n in enumerate(_split(runs, 20))]
            for place in range(len(CHANGES))
        ]
        found = [_told(case, sum(job.result() for job in jobs[place])) for place, case in enumerate(cases)]
        for change, of_change in zip(CHANGES, waits, strict=True):
            found += _waited(change, [each for wait in of_change for each in wait.result()])
    return found


def _alarms(scale: float, place: int, monitors: int, seed: int) -> int:
    return false_alarms(quiet_cases(scale)[place], monitors, seed)


def _delays(place: int, runs: int, seed: int) -> list[float]:
    return delays(CHANGES[place], runs, seed + 1000 * place)


def _parts(case: Quiet | Hanging) -> list[tuple[int, int]]:
    """How many monitors each job has, and its seed."""
    most = max(1, TOGETHER // case.columns) if isinstance(case, Quiet) else 4
    start = int.from_bytes(blake2b(case.name.encode(), digest_size=4).digest(), "big")
    return [(n, start + 1000 * part) for part, n in enumerate(_split(case.years, min(most, -(-case.years // 2))))]


def _split(total: int, most: int) -> list[int]:
    return [min(most, total - begun) for begun in range(0, total, most)]


def _told(case: Quiet | Hanging, alarms: int) -> Row:
    """The highest yearly rate that so many alarms leave possible (95 %, exact for a Poisson count): at most 1."""
    years = case.years * case.steps / YEAR
    what = f"{case.name}: false alarms, {alarms} in {years:.3g} years, with 95 % a year at most"
    return Row(what=what, unit="alarms", ours=at_most(alarms, years), goal=BUDGET)


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
