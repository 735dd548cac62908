"""Batches of a rare kind: a stream of known truth, in which nothing changes and some days are unlike others.

The reference holds so few of these days, or none, that no design effect learned from it can know how far they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fullcircle.monitoring.batches import Batch
from fullcircle.monitoring.engine import Watch
from fullcircle.stats.dependence import Counted, learn
from fullcircle.types.monitoring import Dependence, FeatureProfile, Profile
from fullcircle.types.project import Monitor

DAILY = Monitor(window="1d", false_alerts="1 per year")
DAYS, YEAR, ROWS = 63, 365, 1000
USUAL = np.array([0.6, 0.25, 0.1, 0.03, 0.02])
STRANGE = np.array([0.25, 0.15, 0.08, 0.02, 0.5])  # a day on which a dormitory was asked
NONE = Batch.empty(())


@dataclass(frozen=True)
class Day:
    """What the engine asks of a batch."""

    table: Mapping[str, np.ndarray]

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.table)

    def counts(self, name: str) -> np.ndarray:
        return self.table[name]

    def outside(self, _name: str) -> int:
        return 0


class World:
    """Days of 4 columns: their mix varies a little from day to day, and three of them are unlike on a rare day."""

    def __init__(self, seed: int, rare: float, names: str = "abcd") -> None:
        self.generator, self.rare, self.names = np.random.default_rng(seed), rare, names

    def day(self) -> Day:
        strange = self.generator.random() < self.rare
        table = {}
        for name in self.names:
            shares = STRANGE if strange and name != "d" else USUAL
            table[name] = np.append(self.generator.multinomial(ROWS, self.generator.dirichlet(1000 * shares)), [0, 0])
        return Day(table)

    def profile(self) -> tuple[Profile, Dependence]:
        """Learned from 63 days, as from rows with times."""
        days = [self.day() for _ in range(DAYS)]
        counts = {name: np.array([each.table[name] for each in days]) for name in self.names}
        known = learn([Counted(name, False, each) for name, each in counts.items()], np.arange(DAYS), 86_400.0)
        features = tuple(
            FeatureProfile(
                name=name, kind="category", categories=tuple("vwxyz"), counts=tuple(each.sum(axis=0).tolist())
            )
            for name, each in counts.items()
        )
        return Profile(features=features, rows=DAYS * ROWS, dependence=known), known


def alarms(watch: Watch, world: World, days: int = YEAR) -> int:
    return sum(watch.step(world.day(), NONE, phase=day % 7)[0].fired for day in range(days))


def test_days_of_a_rare_kind_keep_the_budget_that_design_effects_alone_break() -> None:
    """4 monitors with references of their own, a year each; 2 % of all days are strange: some 7 in a year."""
    found, without = 0, 0
    for seed in range(4):
        profile, known = World(seed, 0.02).profile()
        assert known.unseen == pytest.approx(1 - 0.05 ** (1 / DAYS))
        alone = replace(profile, dependence=replace(known, unseen=0.0))
        found += alarms(Watch(profile, DAILY), World(100 + seed, 0.02))
        without += alarms(Watch(alone, DAILY), World(100 + seed, 0.02))
    assert without > 2 * 4
    assert found == 0


def test_a_kind_that_never_came_in_the_reference_is_no_change_while_it_is_rare() -> None:
    profile, known = World(3, 0.0).profile()
    alone = replace(profile, dependence=replace(known, unseen=0.0))
    assert alarms(Watch(alone, DAILY), World(4, 0.02)) > 2
    assert alarms(Watch(profile, DAILY), World(4, 0.02)) == 0


def test_a_change_that_stays_is_found_in_days_and_no_single_day_is_an_alarm() -> None:
    profile, _ = World(5, 0.02).profile()
    watch, world = Watch(profile, DAILY), World(6, 0.0)
    assert alarms(watch, world, 20) == 0
    world.rare = 1.0
    fired = [watch.step(world.day(), NONE)[0].fired for _ in range(8)]
    assert not any(fired[:3])
    assert any(fired)
    (suspects,) = [watch.step(world.day(), NONE)[0].suspects]
    assert {each.feature for each in suspects} <= {"a", "b", "c"}


def test_where_rows_are_independent_one_day_is_enough() -> None:
    """Batches that vary as independent rows do are no sample of their own: nothing is taken off."""
    generator = np.random.default_rng(7)
    counts = np.append(generator.multinomial(ROWS, USUAL, DAYS), np.zeros((DAYS, 2), dtype=np.int64), axis=1)
    known = learn([Counted("a", False, counts)], np.arange(DAYS), 86_400.0)
    assert known.unseen == 0
    feature = FeatureProfile(
        name="a", kind="category", categories=tuple("vwxyz"), counts=tuple(counts.sum(axis=0).tolist())
    )
    watch = Watch(Profile(features=(feature,), rows=DAYS * ROWS, dependence=known), DAILY)
    moved = Day({"a": np.append(generator.multinomial(ROWS, STRANGE), [0, 0])})
    assert "a batch of another kind is a change" in watch.notes[0]
    assert watch.step(moved, NONE)[0].fired


def test_the_note_says_how_rare_and_how_much() -> None:
    profile, _ = World(5, 0.02).profile()
    (note,) = Watch(profile, DAILY).notes
    assert "up to 4.64% of all batches may be of kinds that never came among them" in note
    assert "multiplies evidence by at most 3.97" in note
    weekly = Watch(profile, replace(DAILY, window="7d"))
    assert "cannot calibrate for dependence yet" in weekly.notes[0]
    assert weekly.step(Day({"a": np.array([0, 0, 0, 0, ROWS, 0, 0])}), NONE)[0].fired, "nothing is learned of weeks"
