"""A challenger has to be no worse on fresh and on frozen rows; worse on frozen ones only where the world moved."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.retraining.challenge import Moved, allowance, everywhere, judge, moved, verdict
from fullcircle.retraining.worth import Level, level
from fullcircle.types.loop import Difference
from retraining.worlds import Linear, Scene, World, flipped, scene


def of(on: Any, difference: float, half: float = 0.005, allowed: float = 0.01, champion: float = 0.2) -> Difference:
    low, high = difference - half, difference + half
    return judge(on, "brier", 500, champion, champion - difference, difference, low, high, allowed=allowed)


@pytest.mark.parametrize(
    ("difference", "half", "passed", "said"),
    [
        (0.02, 0.005, True, "better"),
        (0.001, 0.005, True, "not worse"),
        (-0.009, 0.005, True, "not worse"),
        (-0.011, 0.005, False, "worse on"),
        (-0.011, 0.02, False, "worse, though that may be chance"),
        (0.02, 0.06, False, "too few rows to tell"),
        (math.nan, 0.01, False, "cannot be compared"),
        (0.02, math.nan, False, "cannot be compared"),
    ],
)
def test_not_worse_and_enough_rows_to_tell(difference: float, half: float, passed: bool, said: str) -> None:
    found = of("frozen", difference, half)
    assert (found.passed, found.text.startswith(said)) == (passed, True)


@given(steps=st.lists(st.floats(0, 0.05), max_size=40))
def test_many_small_steps_down_come_to_no_more_than_one(steps: list[float]) -> None:
    first = merit = -0.2
    for step in steps:
        if step <= allowance(0.05, first, merit):
            merit -= step
    assert merit >= first - 0.05 * 0.2 - 1e-12


def test_both_have_to_pass() -> None:
    good, bad = of("fresh", 0.01), of("frozen", -0.05)
    assert verdict(good, of("frozen", 0.0), changed=False)[0]
    assert verdict(good, None, changed=False)[0]
    assert verdict(None, of("frozen", 0.0), changed=True) == (False, "no fresh rows to compare the two on")
    assert not verdict(of("fresh", -0.05), of("frozen", 0.0), changed=True)[0]
    passed, why = verdict(good, bad, changed=False)
    assert not passed
    assert "a person must look" in why
    assert "0.25 against 0.2 of the champion" in why


def test_a_moved_world_excuses_frozen_rows_only_where_fresh_ones_are_clearly_better() -> None:
    bad = of("frozen", -0.05)
    passed, why = verdict(of("fresh", 0.01), bad, changed=True)
    assert passed
    assert "the world has moved" in why
    assert not verdict(of("fresh", 0.004), bad, changed=True)[0]


class Case:
    """A challenger that learned from some of a scene's new rows, compared on the latest quarter of them."""

    def __init__(self, of: Scene) -> None:
        cut = int(0.75 * len(of.new))
        held = np.isfinite(of.known.loss)
        features, label = of.new.features, np.asarray(of.new.label)
        challenger = Linear(features[:cut], label[:cut], of.new.task)
        fresh = features[cut:].reset_index(drop=True)
        self.features, self.source = fresh, None if of.new.source is None else of.new.source[cut:]
        self.gain = of.new.loss[cut:] - challenger.losses(fresh, label[cut:])
        frozen, answers = of.known.features[held], np.asarray(of.known.label)[held]
        self.frozen_gain = of.known.loss[held] - challenger.losses(frozen, answers)
        self.reference = level(of.known.loss)
        self.batches = [level(part) for part in np.array_split(of.new.loss, 8)]
        self.fresh, self.frozen = self.difference("fresh", self.gain), self.difference("frozen", self.frozen_gain)

    def difference(self, on: Any, gain: np.ndarray) -> Difference:
        of, usual = level(gain), self.reference.mean
        low, high = of.mean - 1.96 * of.error, of.mean + 1.96 * of.error
        return judge(on, "loss", of.rows, usual, usual - of.mean, of.mean, low, high, allowed=0.05 * usual)

    def moved(self, quarantined: float = 0.0, **changes: Any) -> Moved:
        """Whether the world moved here."""
        given = {"reference": self.reference, "batches": self.batches, "quarantined": quarantined, **changes}
        return moved(self.features, self.gain, self.source, **given)


HONEST = [World(level=1.5, weights=(-1.0, 1.0, -0.5)), World(task="regression", times=1.65)]


@pytest.mark.parametrize("later", HONEST, ids=["concept", "level"])
def test_a_world_that_moved_lets_a_better_challenger_pass(later: World) -> None:
    passed = []
    for seed in range(4):
        case = Case(scene(seed, world=World(task=later.task), later=later, new=3000))
        assert not case.frozen.passed, "an honest model of the new world answers the old one worse"
        passed.append(verdict(case.fresh, case.frozen, changed=case.moved().changed)[0])
    assert sum(passed) == 4


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_poisoned_slice_is_no_new_world(task: str) -> None:
    for seed in range(3):
        start = scene(seed, world=World(task=task), new=3000)
        rng = np.random.default_rng(seed)
        rows = (start.new.features["region"] == "north").to_numpy() & (rng.random(3000) < 0.9)
        case = Case(start.with_new(start.new.features, flipped(start.new.label, rows, task, rng), start.new.source))
        found = case.moved()
        assert not found.changed
        assert not verdict(case.fresh, case.frozen, changed=found.changed)[0]


def test_a_poisoned_minority_of_sources_is_no_new_world() -> None:
    start = scene(1, new=3000)
    rows = np.isin(start.new.source.astype(str), ["s0", "s1", "s2"])
    label = flipped(start.new.label, rows, "classification", np.random.default_rng(0))
    found = Case(start.with_new(start.new.features, label, start.new.source)).moved()
    assert not found.changed
    assert "sources" in found.text


def test_each_condition_can_say_no() -> None:
    case = Case(scene(2, later=HONEST[0], new=3000))
    assert case.moved().changed
    assert "quarantine kept 3.0%" in case.moved(quarantined=0.03).text
    assert "quarantine" in case.moved(quarantined=math.nan).text
    burst = [case.reference] * 6 + case.batches[:1]
    assert "losses grew in 1 of the latest 6 batches" in case.moved(batches=burst).text
    assert "losses grew in 0 of the latest 0 batches" in case.moved(batches=[]).text
    assert "of the latest 2 batches" in case.moved(batches=case.batches[:2]).text
    huge = [replace(each, mean=each.mean + 50.0) for each in case.batches]
    assert "wins back less than 10%" in case.moved(batches=huge).text
    case.gain = np.where(np.arange(len(case.gain)) < len(case.gain) / 2, case.gain, -0.01)
    assert "later half" in case.moved().text


def test_no_rows_are_no_evidence() -> None:
    case = Case(scene(2, later=HONEST[0], new=3000))
    nothing = moved(case.features.iloc[:0], [], None, reference=case.reference, batches=case.batches, quarantined=0.0)
    assert not nothing.changed


def test_routine_challengers_are_seldom_blocked() -> None:
    blocked = []
    for seed in range(12):
        start = scene(seed, new=1500)
        known, new, cut = start.known, start.new, 1100
        learned = ~np.isfinite(known.loss)
        rows = pd.concat([known.features[learned], new.features[:cut]], ignore_index=True)
        challenger = Linear(rows, np.concatenate([known.label[learned], new.label[:cut]]), "classification")
        case = Case(start)
        case.gain = new.loss[cut:] - challenger.losses(new.features[cut:], new.label[cut:])
        held = ~learned
        case.frozen_gain = known.loss[held] - challenger.losses(known.features[held], known.label[held])
        fresh, frozen = case.difference("fresh", case.gain), case.difference("frozen", case.frozen_gain)
        blocked.append(not verdict(fresh, frozen, changed=False)[0])
    assert sum(blocked) <= 1


def test_a_level_of_one_row_is_no_batch() -> None:
    case = Case(scene(2, later=HONEST[0], new=3000))
    thin = [Level(0.9, math.nan, math.nan, 1)] * 6
    assert not case.moved(batches=thin).changed


def slices_of(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"age": rng.integers(18, 80, n), "flag": rng.random(n) < 0.4, "region": rng.choice(list("nsew"), n)}
    )


def learned_there(seed: int, rows: int, worse: float) -> Difference:
    """A challenger that is ``worse`` on frozen rows of old people with a flag, and better on such fresh ones."""
    rng = np.random.default_rng(seed)
    frozen, fresh = slices_of(rng, rows), slices_of(rng, rows // 2)
    there, late = (((each["age"] > 55) & each["flag"]).to_numpy() for each in (frozen, fresh))
    before = rng.beta(1, 4, rows)
    after = before + rng.normal(0, 0.1, rows) + np.where(there, worse, -0.01)
    gain = rng.normal(0, 0.1, rows // 2) + np.where(late, 2 * abs(worse), 0.0)
    return everywhere(of("frozen", 0.0), frozen, before, after, fresh, gain, tolerance=0.05)


def test_worse_in_one_place_of_the_frozen_rows_is_for_a_person() -> None:
    found = learned_there(0, 6000, 0.04)
    assert not found.passed
    assert "of these rows: age " in found.text
    assert "flag True" in found.text
    assert not verdict(of("fresh", 0.01), found, changed=False)[0]
    assert verdict(of("fresh", 0.01), found, changed=True)[0]
    assert learned_there(0, 6000, 0.0).passed


def test_no_worse_than_is_allowed_in_a_place_is_seldom_called_worse() -> None:
    # The champion's loss is 0.2: exactly the tolerance of it is allowed.
    assert sum(not learned_there(seed, 2000, 0.01).passed for seed in range(100)) <= 4


def test_places_are_not_asked_for_what_failed_or_without_rows() -> None:
    rng = np.random.default_rng(0)
    frozen, fresh = slices_of(rng, 500), slices_of(rng, 40)
    failed = of("frozen", -0.05)
    assert everywhere(failed, frozen, [0.0] * 500, [0.9] * 500, frozen, [0.1] * 500, tolerance=0.05) is failed
    passed = of("frozen", 0.0)
    assert everywhere(passed, frozen, [0.0] * 500, [0.9] * 500, fresh, [0.1] * 40, tolerance=0.05) is passed
    nothing = [math.nan] * 500
    assert everywhere(passed, frozen, nothing, nothing, frozen, [0.1] * 500, tolerance=0.05).passed
