"""``python -m benchmarks.experiments_aa [RUNS]``: how often experiments in which nothing differs find something.

Everybody looks after every row (every event), for as long as a run lasts. The peer is what is done without such
mathematics: a z-test of the same data after each row, from the 100th on. Power is the chance to have found a stated
effect by the planned size. One row a case; the goal of a false verdict is alpha and two Monte-Carlo errors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, table, write
from fullcircle.stats import bandits, mixtures, planning, randomised, sequences

ALPHA, RUNS, LENGTH = 0.05, 2000, 3000
GOAL = -math.log(ALPHA)
_CELLS = 200_000  # rows of all runs held in memory at once
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


class World(NamedTuple):
    """Values of rows: how they are drawn, their standard deviation, and the effect whose power is asked for.

    ``raised`` draws those of the second arm under the effect, ``second`` is their standard deviation; None where the
    effect is added to every row.
    """

    name: str
    draw: Draw
    spread: float
    effect: float = 0.0
    share: float = 0.5
    raised: Draw | None = None
    second: float | None = None


class Found(NamedTuple):
    """Shares of runs with a verdict: ours and the z-test's at any row, and the median row of ours."""

    ours: float
    naive: float = math.nan
    median: float = math.nan


def _coin(rate: float) -> Draw:
    return lambda generator, size: (generator.random(size) < rate).astype(float)


def _money(rate: float) -> Draw:
    """Few rows pay, lognormal with sigma 1.5 around a median of 100: at one in 20 the skewness is about 45."""
    return lambda g, size: (g.random(size) < rate) * g.lognormal(math.log(100.0), 1.5, size)


def _paid(rate: float) -> tuple[float, float]:
    """Mean and standard deviation of the money of a row."""
    mean = rate * 100.0 * math.exp(1.125)
    return mean, math.sqrt(rate * 100.0**2 * math.exp(4.5) - mean**2)


PAID, TWICE = _paid(0.05), _paid(0.1)
WORLDS = (
    World("proportion 10 %", _coin(0.1), 0.3, 0.04, raised=_coin(0.14), second=0.347),
    World("proportion 1 %, one row in five", _coin(0.01), 0.0995, 0.02, 0.2, _coin(0.03), 0.1706),
    World("mean, normal", lambda g, s: g.normal(size=s), 1.0, 0.15),
    World("mean, exponential, one row in five", lambda g, s: g.exponential(size=s), 1.0, 0.2, 0.2),
    World("money, one row in 20 pays", _money(0.05), PAID[1], PAID[0], raised=_money(0.1), second=TWICE[1]),
    World("money, one row in ten to the challenger", _money(0.05), PAID[1], PAID[0], 0.1, _money(0.1), TWICE[1]),
    World("no variance at all (Cauchy)", lambda g, s: g.standard_cauchy(s), 10.0),
)


def _chunks(runs: int, length: int) -> list[int]:
    step = max(1, _CELLS // length)
    return [min(step, runs - start) for start in range(0, runs, step)]


def of_world(world: World, runs: int, length: int, effect: float = 0.0, seed: int = 0) -> Found:
    """Verdicts on a world in which the second arm's mean is ``effect`` higher, by ``World.raised`` or row by row."""
    generator = np.random.default_rng(seed)
    scale = randomised.scale(world.spread, length, world.share, ALPHA)
    first, naive = [], 0
    for size in _chunks(runs, length):
        y = world.draw(generator, (size, length))
        second = generator.random(y.shape) < world.share
        if effect:
            higher = world.raised(generator, y.shape) if world.raised else y + effect
            y = np.where(second, higher, y)
        ours = randomised.log_evidence(randomised.trail(y, second, world.share), scale) >= GOAL
        first.append(np.where(ours.any(axis=1), ours.argmax(axis=1) + 1.0, np.inf))
        naive += int(_z_test(y, second).any(axis=1).sum())
    each = np.concatenate(first)
    return Found(float(np.isfinite(each).mean()), naive / runs, float(np.median(each)))


def _z_test(y: Floats, second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the z-test of two means says "different" at 5 %, from the 100th row on."""

    def moments(chosen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        count = np.maximum(np.cumsum(chosen, axis=1), 1)
        mean = np.cumsum(y * chosen, axis=1) / count
        return mean, (np.cumsum(y * y * chosen, axis=1) / count - mean**2) / count

    (a, of_a), (b, of_b) = moments(second), moments(~second)
    found = np.abs(a - b) > 1.959964 * np.sqrt(np.maximum(of_a + of_b, 1e-300))
    found[:, :100] = False
    return np.asarray(found)


def delayed(runs: int, length: int, *, effect: float = 0.0, lost: float = 0.2, seed: int = 1) -> tuple[Found, float]:
    """Labels that come late, a hit sooner than a miss, some never; with the share of runs that distrust the labels.

    A row counts from when it had its time (600 rows), or when its label came if that is later. ``lost`` of the second
    arm's labels never come, and a fifth of the first arm's.
    """
    generator, due = np.random.default_rng(seed), 600
    first, naive, distrusted = [], 0, 0
    scale = randomised.scale(0.3, length, 0.5, ALPHA)
    for size in _chunks(runs, length):
        second = generator.random((size, length)) < 0.5
        y = (generator.random(second.shape) < 0.1 + effect * second).astype(float)
        arrives = generator.exponential(np.where(y > 0, 150.0, 400.0))
        arrives[generator.random(second.shape) < np.where(second, lost, 0.2)] = np.inf
        came = np.maximum(arrives, due) + np.arange(length)
        order = np.argsort(came, axis=1, kind="stable")
        kept = np.take_along_axis(came, order, axis=1) < length + due
        values = np.where(kept, np.take_along_axis(y, order, axis=1), 0.0)
        arms = np.take_along_axis(second, order, axis=1)
        ours = (randomised.log_evidence(randomised.trail(values, arms, 0.5), scale) >= GOAL) & kept
        first.append(np.where(ours.any(axis=1), ours.argmax(axis=1) + 1.0, np.inf))
        naive += int((_z_test(values, arms) & kept).any(axis=1).sum())
        # By when rows of each arm came to count, and by when those had their time that had no label in it.
        counts = np.minimum(np.ceil(came - due), length).astype(np.intp)
        none_yet = np.where(arrives > due, np.arange(length), length)
        given, missing = (
            np.stack([_by_moment(at, arm, length) for arm in (~second, second)], axis=-1) for at in (counts, none_yet)
        )
        distrust = mixtures.off_coverage(given, missing, [0.5, 0.5], length) >= -math.log(0.01)
        distrusted += int(distrust.any(axis=1).sum())
    each = np.concatenate(first)
    return Found(float(np.isfinite(each).mean()), naive / runs, float(np.median(each))), distrusted / runs


def _by_moment(at: NDArray[Any], arm: NDArray[Any], length: int) -> NDArray[Any]:
    """How many rows of an arm there are by each of ``length`` moments, of which each row came ``at`` one or later."""
    found = np.zeros((len(at), length + 1))
    np.add.at(found, (np.arange(len(at))[:, None], at), arm)
    return np.cumsum(found[:, :length], axis=1)


def paired(runs: int, length: int, *, effect: float = 0.0, seed: int = 2) -> Found:
    """A shadow: skewed differences row by row (an exponential law less its mean), the asymptotic sequence."""
    generator = np.random.default_rng(seed)
    first = []
    from scipy.special import ndtr, stdtrit

    n = np.arange(1.0, length + 1)
    z = sequences.multiplier(sequences.best(ALPHA) * n / length, ALPHA)
    student = -stdtrit(np.maximum(n - 1, 1), ndtr(-z))
    for size in _chunks(runs, length):
        d = generator.exponential(size=(size, length)) - 1.0 + effect
        mean, square, cube = (np.cumsum(d**power, axis=1) / n for power in (1, 2, 3))
        variance = np.maximum(square - mean**2, 1e-30)
        skew = (cube - 3 * mean * square + 2 * mean**3) / variance**1.5 / np.sqrt(n)
        error = np.sqrt(variance / np.maximum(n - 1, 1))
        ours = (np.abs(mean) >= student * error) & (np.abs(skew) * z**3 <= 3.0) & (n > 1)
        first.append(np.where(ours.any(axis=1), ours.argmax(axis=1) + 1.0, np.inf))
    each = np.concatenate(first)
    return Found(float(np.isfinite(each).mean()), median=float(np.median(each)))


def by_entity(runs: int, length: int, *, effect: float = 0.0, looks: int = 40, seed: int = 3) -> Found:
    """Rows of entities that come back and keep their arm and their level; a look at every fortieth part of the rows.

    The peer is the z-test that takes rows for independent, at the same looks.
    """
    generator = np.random.default_rng(seed)
    ends = np.linspace(length / looks, length, looks).astype(int)
    ours = naive = 0
    for _ in range(runs):
        entity = np.floor(length / 5 * generator.random(length) ** 2).astype(int)
        second = generator.random(length) < 0.5
        level = generator.exponential(size=length)
        y = (level + effect * second)[entity] + generator.normal(size=length)
        seen = [_of_entities(entity[:end], second, y[:end], length) for end in ends]
        ours += any(told for told, _ in seen)
        naive += any(told for _, told in seen[2:])
    return Found(ours / runs, naive / runs)


SPREAD = 1.8
"""The standard deviation of an entity's influence in such rows of the past: some have many, most have few."""


def _of_entities(entity: NDArray[Any], second: NDArray[np.bool_], y: Floats, length: int) -> tuple[bool, bool]:
    sums, rows = np.bincount(entity, y), np.bincount(entity)
    arm, there = second[: rows.size], rows > 0
    a, b = (sequences.ratio(sums[there & chosen], rows[there & chosen]) for chosen in (arm, ~arm))
    planned = length / 5 / 4  # of both arms: n m / (n + m)
    ours = sequences.log_evidence(sequences.difference(a, b), planned, ALPHA, spread=SPREAD) >= GOAL
    return ours, bool(_z_test(y[None, :], second[entity][None, :])[0, -1])


def returning(
    runs: int, *, spread: float | None = 1.0, entities: int = 500, looks: int = 60, most: float = 1e5, seed: int = 8
) -> float:
    """The share of runs that find something in a fixed set of entities that differ in nothing, and come for ever.

    An entity has from 1 to ``most`` rows of variance 1 at the ``looks``. ``spread`` is the planned standard deviation
    of an entity, None to go by the number of entities alone.
    """
    generator, wrong = np.random.default_rng(seed), 0
    times = np.unique(np.geomspace(1, most, looks).astype(int))
    for _ in range(runs):
        arm = generator.random(entities) < 0.5
        sums, before = np.zeros(entities), 0
        for rows in times:
            sums += generator.normal(0.0, math.sqrt(rows - before), entities)
            before = rows
            a, b = (sequences.mean(sums[chosen] / rows) for chosen in (arm, ~arm))
            found = sequences.difference(a, b)
            if sequences.log_evidence(found, entities / 4, ALPHA, spread=spread) >= GOAL:
                wrong += 1
                break
    return wrong / runs


def trending(runs: int, length: int, *, climb: float = 2.0, seed: int = 9) -> Found:
    """Shares that a pooled mean teaches, in a world that gets better: two rows a request, the asymptotic sequence.

    Looked at after each tenth part; the peer takes all rows of an arm together, whatever its share was then.
    """
    generator, step = np.random.default_rng(seed), length // 10
    ours = naive = 0
    for _ in range(runs):
        y = generator.normal(size=(10 * step, 2)) + climb * np.arange(10 * step)[:, None] / (10 * step)
        second, share = np.zeros(len(y), dtype=bool), np.full(len(y), 0.5)
        told = [False, False]
        for start in range(0, 10 * step, step):
            if start:
                means = [y[:start][second[:start] == arm].mean() for arm in (False, True)]
                share[start : start + step] = 0.9 if means[1] > means[0] else 0.1
            end = start + step
            second[start:end] = generator.random(step) < share[start:end]
            parts = [
                _two_arms(y[:end][share[:end] == one], second[:end][share[:end] == one]) for one in (0.1, 0.5, 0.9)
            ]
            for place, found in enumerate((sequences.together(parts), _two_arms(y[:end], second[:end]))):
                told[place] |= sequences.log_evidence(found, length / 4, ALPHA) >= GOAL
        ours += told[0]
        naive += told[1]
    return Found(ours / runs, naive / runs)


def _two_arms(y: Floats, second: NDArray[np.bool_]) -> sequences.Estimate:
    a, b = (sequences.ratio(y[chosen].sum(axis=1), np.full(int(chosen.sum()), 2.0)) for chosen in (second, ~second))
    return sequences.difference(a, b)


def learned(runs: int, length: int, *, seed: int = 4) -> Found:
    """Shares by Thompson sampling, moved every tenth part of the rows, a tenth at least for each arm."""
    generator = np.random.default_rng(seed)
    block, scale = length // 10, randomised.scale(1.0, length, 0.5, ALPHA)
    y, second = generator.normal(size=(runs, 10 * block)), np.zeros((runs, 10 * block), dtype=bool)
    share = np.full(y.shape, 0.5)
    for run in range(runs):
        for start in range(0, 10 * block, block):
            if start:
                arms = [y[run, :start][second[run, :start] == arm] for arm in (False, True)]
                chance = bandits.best_of_means([a.mean() for a in arms], [1.0 / math.sqrt(a.size) for a in arms])
                share[run, start : start + block] = bandits.floored(chance, 0.1)[1]
            span = slice(start, start + block)
            second[run, span] = generator.random(block) < share[run, span]
    told, naive = 0, 0
    for start in range(0, runs, step := max(1, _CELLS // length)):
        part = slice(start, start + step)
        trail = randomised.trail(y[part], second[part], share[part])
        told += int((randomised.log_evidence(trail, scale) >= GOAL).any(axis=1).sum())
        naive += int(_z_test(y[part], second[part]).any(axis=1).sum())
    return Found(told / runs, naive / runs)


def mismatch(runs: int, length: int, share: float, seed: int = 5) -> Found:
    """The sample ratio at 50 % claimed and ``share`` true, looked at after every entity, at level 1 %."""
    generator, found = np.random.default_rng(seed), 0
    for size in _chunks(runs, length):
        second = np.cumsum(generator.random((size, length)) < share, axis=1)
        counts = np.stack([np.arange(1, length + 1) - second, second], axis=-1)
        found += int((mixtures.off_shares(counts, [0.5, 0.5], length) >= -math.log(0.01)).any(axis=1).sum())
    return Found(found / runs)


def guarded(runs: int, length: int, rate: float, *, seed: int = 6) -> tuple[Found, Found]:
    """Guardrails on failures of ``rate`` in the challenger: above 2 %, and above a champion that has 2 %."""
    generator, above, beside = np.random.default_rng(seed), 0, 0
    for size in _chunks(runs, length):
        ours, other = (np.cumsum(generator.random((size, length)) < each, axis=1) for each in (rate, 0.02))
        rows = np.arange(1, length + 1)
        above += int((mixtures.above(ours, rows, 0.02, length, ALPHA) >= GOAL).any(axis=1).sum())
        told = mixtures.above_other(ours, other, 0.5, 0.04 * length, alpha=ALPHA)
        beside += int((told >= GOAL).any(axis=1).sum())
    return Found(above / runs), Found(beside / runs)


def beside(runs: int, length: int, rate: float = 0.03, *, seed: int = 10) -> Found:
    """The guardrail on twice the champion's rate, at that very rate, where the share went from a half to 90 %.

    The peer judges all events by the first share.
    """
    generator, ours, naive = np.random.default_rng(seed), 0, 0
    share = np.where(np.arange(length) < length // 10, 0.5, 0.9)
    sizes = max(1.0, rate * length / 3)
    for size in _chunks(runs, length):
        second = generator.random((size, length)) < share
        event = generator.random(second.shape) < np.where(second, 2.0 * rate, rate)
        total = np.zeros(second.shape)
        for one in (0.5, 0.9):
            hits, others = (np.cumsum(event & chosen & (share == one), axis=1) for chosen in (second, ~second))
            total += mixtures.above_other(hits, others, one, sizes, times=2.0, alpha=ALPHA)
        ours += int((total >= GOAL).any(axis=1).sum())
        hits, others = (np.cumsum(event & chosen, axis=1) for chosen in (second, ~second))
        naive += int(
            (mixtures.above_other(hits, others, 0.5, sizes, times=2.0, alpha=ALPHA) >= GOAL).any(axis=1).sum()
        )
    return Found(ours / runs, naive / runs)


def rows(runs: int = RUNS, length: int = LENGTH) -> list[Row]:
    """False verdicts and power of every case."""
    late, wary = delayed(runs, length)
    known, _ = delayed(runs, length, effect=0.06)
    _, uneven = delayed(runs, length, lost=0.35)
    found = [_false("labels late, a hit sooner", late, runs), _power("labels late, +6 points", known, 0.8)]
    found += [_false("labels distrusted, one in five lost", Found(wary), runs, 0.01)]
    found += [_power("labels distrusted, 35 % lost beside 20 %", Found(uneven), 0.9)]
    for world in WORLDS:
        found.append(_false(world.name, of_world(world, runs, length), runs))
        if world.effect:
            found.append(_planned(world, runs))
    found += [_false("shadow, skewed differences", paired(runs, length), runs)]
    found += [_power("shadow, 0.1 deviations", paired(runs, length, effect=0.1), 0.8)]
    found += [_false("entities that come back", by_entity(runs, length), runs)]
    found += [_power("entities, 0.7 deviations", by_entity(runs, length, effect=0.7), 0.8)]
    some = min(runs, 400)
    back = Found(returning(some), returning(some, spread=None))
    found += [_false("entities that come back for ever", back, some, peer="by units alone")]
    found += [_false("learned shares and a trend", trending(some, length), some, peer="all rows together")]
    moved = beside(some, length)
    found += [_false("guardrail at twice the champion, share moved", moved, some, peer="by the first share")]
    found += [_false("shares by Thompson sampling", learned(runs, length), runs)]
    found += [_false("sample ratio 50 %", mismatch(runs, length, 0.5), runs, 0.01)]
    found += [_power("sample ratio 52 %, 10 000 entities", mismatch(min(runs, 500), 10_000, 0.52), 0.5)]
    cases = (("limit", "champion"), guarded(runs, length // 2, 0.02), guarded(min(runs, 500), length, 0.04))
    for name, held, broken in zip(*cases, strict=True):
        found += [_false(f"guardrail at the {name}", held, runs), _power(f"guardrail, twice the {name}", broken, 0.8)]
    return found


def _planned(world: World, runs: int) -> Row:
    """The power at the planned size, and the median row beside what planning said."""
    noise = planning.two_arms(world.spread, world.share, second=world.second)
    size = math.ceil(planning.size(world.effect, noise, ALPHA))
    likely = planning.likely(world.effect, noise, size, ALPHA)
    known = of_world(world, min(runs, max(100, 4_000_000 // size)), size, world.effect, seed=7)
    what = f"{world.name}: {world.effect:.3g} more, {size} rows (median {known.median:.0f}, likely {likely:.0f})"
    return _power(what, known, 0.8)


def _false(what: str, found: Found, runs: int, level: float = ALPHA, *, peer: str = "z-test, peeking") -> Row:
    goal = level + 2.0 * math.sqrt(level * (1.0 - level) / runs)
    naive = None if math.isnan(found.naive) else found.naive
    return Row(what=f"false: {what}", unit="runs", ours=found.ours, goal=goal, peer=naive, peer_name=peer)


def _power(what: str, found: Found, goal: float) -> Row:
    return Row(what=f"power: {what}", unit="runs", ours=found.ours, goal=goal, at_least=True)


if __name__ == "__main__":
    told = rows(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
    print(table(told))
    print(f"written to {write('experiments_aa', told)}")
    sys.exit(0 if all(row.met for row in told) else 1)
