"""Verdicts from arrays: how often they are false at all looks together, and what each of their parts goes by."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.flows import verdicts
from fullcircle.flows.exposed import Exposed
from fullcircle.stats import randomised
from fullcircle.types.experiments import Arm, Guardrail, Metric, Plan

BEGIN = 1_800_000_000.0
DAY = 86_400.0
PLAN = Plan(
    model="m",
    metric=Metric(name="value_per_row", kind="mean", unit="EUR"),
    arms=(Arm(version=1, share=0.5), Arm(version=2, share=0.5)),
    effect=0.5,
    spread=1.0,
    rows=240,
    likely_rows=150,
    rows_a_day=100.0,
    days=2.4,
    likely_days=1.5,
)


def rows(seed: int, number: int = 400, *, gain: float = 0.0, share: float = 0.5, **changes: Any) -> Exposed:
    """Rows a minute apart; the second version's values are ``gain`` higher."""
    rng = np.random.default_rng(seed)
    second = rng.random(number) < share
    begun = np.asarray(BEGIN + 60.0 * np.arange(number), dtype=np.float64)
    found = Exposed(
        at=begun,
        arrived=np.asarray(begun + 1.0, dtype=np.float64),
        second=second,
        share=np.full(number, share),
        unit=np.arange(number),
        values={"value_per_row": rng.exponential(1.0, number) + gain * second},
        events={},
        lost=np.zeros(number, dtype=bool),
    )
    return replace(found, **changes)


def at(found: Exposed, look: int) -> float:
    """The moment after so many rows."""
    return float(found.at[look - 1] + 2.0)


def end(found: Exposed) -> float:
    return at(found, found.rows)


class TestFalseVerdicts:
    def test_peeking_finds_nothing_where_nothing_differs(self) -> None:
        """20 experiments, each looked at 60 times: at an alpha of 5 % more than 4 are wrong in 1 of 400 cases."""
        wrong = 0
        for seed in range(20):
            found = rows(seed, 300)
            looks = verdicts.looks(PLAN, found, end(found), False)
            wrong += any((each.difference.low or -1) > 0 or (each.difference.high or 1) < 0 for each in looks)
        assert wrong <= 4

    def test_the_looks_that_are_drawn_are_the_verdicts_of_their_time(self) -> None:
        found = rows(3, 200, gain=0.6)
        looks = verdicts.looks(PLAN, found, end(found), False)
        for look in (looks[5], looks[30], looks[-1]):
            then = verdicts.verdict(PLAN, found, at(found, look.rows), False)
            assert then.difference == look.difference

    def test_an_effect_as_large_as_planned_is_mostly_known_by_the_planned_size(self) -> None:
        known = 0
        for seed in range(8):
            found = rows(seed, PLAN.rows, gain=PLAN.effect * 1.0)
            looks = verdicts.looks(PLAN, found, end(found), False)
            known += any((each.difference.low or -1) > 0 for each in looks)
        assert known >= 5  # 80 % is promised at a spread of 1, and this law's is 1


class TestTheDifference:
    def test_it_is_the_randomised_sequence_of_rows_that_came_alone(self) -> None:
        found = rows(1, 250, gain=0.4)
        verdict = verdicts.verdict(PLAN, found, end(found), False)
        trail = randomised.trail(found.values["value_per_row"], found.second, found.share)
        scale = randomised.scale(1.0, 240, 0.5, 0.05)
        low, high = randomised.interval(trail.at(-1), scale, 0.05)[1:]
        assert (verdict.difference.low, verdict.difference.high) == (low, high)
        assert verdict.chance == pytest.approx(min(1, math.exp(-float(randomised.log_evidence(trail.at(-1), scale)))))

    def test_of_rows_that_hang_together_the_bounds_are_wider(self) -> None:
        rng = np.random.default_rng(5)
        number, together = 600, 6
        unit = np.arange(number) // together
        second = (rng.random(number // together) < 0.5)[unit]
        values = rng.normal(0, 1, number // together)[unit]  # rows of a unit are all alike
        found = rows(0, number, second=second, unit=unit, values={"value_per_row": values})
        alone = replace(found, unit=np.arange(number))
        plan = replace(PLAN, rows=600)
        wide, narrow = (
            verdicts.verdict(replace(plan, rows_a_unit=size), each, end(found), False).difference
            for each, size in ((found, 6.0), (alone, 1.0))
        )
        assert wide.low is not None
        assert wide.high is not None
        assert narrow.low is not None
        assert narrow.high is not None
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)

    def test_nothing_is_known_of_no_rows_and_of_one_arm(self) -> None:
        nothing = rows(0, 0)
        verdict = verdicts.verdict(PLAN, nothing, BEGIN, False)
        assert (verdict.standing, verdict.state, verdict.chance) == ("undecided", "running", 1.0)
        assert verdicts.looks(PLAN, nothing, BEGIN, False) == ()
        assert (verdict.difference.value, verdict.rows_left) == (None, PLAN.likely_rows)
        few = rows(0, 3, second=np.zeros(3, dtype=bool))
        verdict = verdicts.verdict(PLAN, few, end(few), False)
        assert verdict.difference.low is None
        assert verdict.standing == "undecided"

    @given(unit=st.sampled_from([0.01, 1.0, 1000.0]), origin=st.sampled_from([-1e4, 0.0, 37.0]))
    @settings(max_examples=9, deadline=None)
    def test_neither_unit_nor_origin_of_the_values_changes_the_verdict(self, unit: float, origin: float) -> None:
        found = rows(2, 200, gain=0.6)
        other = replace(found, values={"value_per_row": found.values["value_per_row"] * unit + origin})
        plan = replace(PLAN, effect=PLAN.effect * unit, spread=PLAN.spread * unit)
        one = verdicts.verdict(PLAN, found, end(found), False)
        two = verdicts.verdict(plan, other, end(found), False)
        assert one.standing == two.standing
        assert two.chance == pytest.approx(one.chance, rel=1e-4)
        assert one.difference.low is not None
        assert two.difference.low == pytest.approx(one.difference.low * unit, rel=1e-4, abs=1e-6 * unit)

    @given(day=st.floats(0.0, 0.2))
    @settings(max_examples=15, deadline=None)
    def test_what_is_not_there_yet_changes_nothing(self, day: float) -> None:
        """A later row, or a later label, is not known at an earlier look."""
        found = rows(4, 300, gain=0.3)
        moment = BEGIN + day * DAY
        future = found.arrived > moment
        changed = found.values["value_per_row"] + 100.0 * future
        one = verdicts.verdict(PLAN, found, moment, False)
        two = verdicts.verdict(PLAN, replace(found, values={"value_per_row": changed}), moment, False)
        assert one.difference == two.difference
        assert [each.labelled for each in one.arms] == [each.labelled for each in two.arms]

    def test_money_a_day_is_the_difference_times_the_rows_a_day(self) -> None:
        found = rows(2, 240, gain=0.9)
        verdict = verdicts.verdict(PLAN, found, end(found), False)
        assert verdict.a_day is not None
        for name in ("value", "low", "high"):
            assert getattr(verdict.a_day, name) == pytest.approx(100 * getattr(verdict.difference, name))
        assert verdicts.verdict(replace(PLAN, rows_a_day=0.0), found, end(found), False).a_day is None

    def test_what_is_left_shrinks_as_rows_come(self) -> None:
        found = rows(9, 400, gain=0.2)
        left = [verdicts.verdict(PLAN, found, at(found, look), False).rows_left for look in (60, 120, 160)]
        known = [each for each in left if each is not None]
        assert known
        assert all(each >= 1 for each in known)
        verdict = verdicts.verdict(PLAN, found, at(found, 60), False)
        assert verdict.days_left == pytest.approx((verdict.rows_left or 0) / 100.0)


class TestTrust:
    def test_a_fair_split_is_trusted_at_any_share(self) -> None:
        for seed, share in enumerate((0.1, 0.3, 0.5, 0.9)):
            found = rows(seed, 500, share=share)
            plan = replace(PLAN, arms=(Arm(version=1, share=1 - share), Arm(version=2, share=share)))
            verdict = verdicts.verdict(plan, found, end(found), False)
            assert all(each.holds for each in verdict.trust), share

    def test_shares_that_were_moved_are_judged_by_their_own_time(self) -> None:
        first, last = rows(1, 300, share=0.2), rows(2, 300, share=0.8)
        both = Exposed(
            at=np.concatenate([first.at, last.at + 300 * 60.0]),
            arrived=np.concatenate([first.arrived, last.arrived + 300 * 60.0]),
            second=np.concatenate([first.second, last.second]),
            share=np.concatenate([first.share, last.share]),
            unit=np.arange(600),
            values={"value_per_row": np.concatenate([each.values["value_per_row"] for each in (first, last)])},
            events={},
            lost=np.zeros(600, dtype=bool),
        )
        assert verdicts.verdict(PLAN, both, end(both), False).trust[0].holds
        swapped = replace(both, share=1.0 - both.share)
        assert not verdicts.verdict(PLAN, swapped, end(both), False).trust[0].holds

    def test_an_entity_counts_once_however_many_rows_it_has(self) -> None:
        """One busy entity with half of all rows is no unfair split."""
        found = rows(6, 400)
        unit = np.where(np.arange(400) % 2 == 0, 0, np.arange(400))
        second = np.where(unit == 0, True, found.second)
        busy = replace(found, unit=unit, second=second)
        plan = replace(PLAN, metric=replace(PLAN.metric, kind="ratio", entity=("customer",)))
        verdict = verdicts.verdict(plan, busy, end(busy), False)
        assert verdict.trust[0].holds
        assert "of 201 entities" in verdict.trust[0].text
        as_rows = replace(busy, unit=np.arange(400))
        assert not verdicts.verdict(PLAN, as_rows, end(busy), False).trust[0].holds

    def test_untrusted_is_never_decided(self) -> None:
        found = rows(7, 500, gain=2.0, share=0.3)
        verdict = verdicts.verdict(PLAN, replace(found, share=np.full(500, 0.5)), end(found), False)
        assert (verdict.state, verdict.standing) == ("untrusted", "undecided")
        assert verdict.difference.low is not None  # the figures are there to be looked at
        assert verdict.rows_left is None


class TestGuardrails:
    def judged(self, rail: Guardrail, found: Exposed, paired: bool = False) -> bool:
        verdict = verdicts.verdict(replace(PLAN, guardrails=(rail,)), found, end(found), paired)
        return verdict.guardrails[0].holds

    def happening(self, rate: float, other: float, seed: int = 0, together: int = 1) -> Exposed:
        found = rows(seed, 1000)
        unit = np.arange(1000) // together
        second = found.second[unit * together]
        happened = np.random.default_rng(seed + 1).random(1000)[unit * together] < np.where(second, rate, other)
        return replace(found, unit=unit, second=second, events={"failed": happened})

    @pytest.mark.parametrize(("rate", "holds"), [(0.0, True), (0.02, True), (0.05, True), (0.2, False)])
    def test_a_rate_breaks_where_it_is_above_the_limit(self, rate: float, holds: bool) -> None:
        rail = Guardrail(name="failed", kind="rate", limit=0.05)
        assert self.judged(rail, self.happening(rate, 0.0)) is holds

    @pytest.mark.parametrize(
        ("rate", "other", "holds"), [(0.1, 0.1, True), (0.2, 0.1, True), (0.5, 0.1, False), (0.2, 0.0, False)]
    )
    def test_times_are_beside_the_champion(self, rate: float, other: float, holds: bool) -> None:
        rail = Guardrail(name="failed", kind="times", limit=2.0)
        assert self.judged(rail, self.happening(rate, other)) is holds

    def test_ten_rows_of_one_request_have_one_cause(self) -> None:
        rail = Guardrail(name="failed", kind="rate", limit=0.05)
        burst = self.happening(0.0, 0.0, together=50)
        first = int(np.flatnonzero(burst.second)[0])
        happened = burst.unit == burst.unit[first]
        assert happened.sum() == 50
        assert self.judged(rail, replace(burst, events={"failed": happened}))
        spread = np.zeros(1000, dtype=bool)
        spread[np.flatnonzero(burst.second)[::9]] = True
        assert not self.judged(rail, replace(burst, unit=np.arange(1000), events={"failed": spread}))

    def test_a_margin_is_of_the_side_that_is_bad(self) -> None:
        rail = Guardrail(name="mae", kind="margin", limit=0.2, better="down")
        for gain, holds in ((-0.6, True), (0.0, True), (0.6, False)):
            found = rows(8, 900)
            mae = np.random.default_rng(1).normal(3.0, 1.0, 900) + gain * found.second
            found = replace(found, values={**found.values, "mae": mae})
            assert self.judged(rail, found) is holds, gain
            assert self.judged(replace(rail, better="up"), found) is (gain > -0.6)


class TestPairs:
    def shadow(self, seed: int, number: int = 300, gain: float = 0.2) -> Exposed:
        found = rows(seed, number)
        values = np.random.default_rng(seed).normal(gain, 0.3, number)
        return replace(found, second=np.zeros(number, dtype=bool), values={"value_per_row": values})

    def test_they_are_known_from_few_rows(self) -> None:
        plan = replace(PLAN, metric=replace(PLAN.metric, kind="paired"), spread=0.3, rows=60)
        found = self.shadow(0)
        verdict = verdicts.verdict(plan, found, end(found), True)
        assert verdict.standing == "better"
        assert [each.rows for each in verdict.arms] == [300, 300]
        assert [each.value for each in verdict.arms] == [None, None]

    def test_holes_of_more_than_a_hundredth_are_not_believed(self) -> None:
        plan = replace(PLAN, metric=replace(PLAN.metric, kind="paired"))
        found = self.shadow(1)
        for lost, holds in ((3, True), (4, False)):
            holes = np.arange(300) < lost
            holed = replace(found, lost=holes, arrived=np.where(holes, np.nan, found.arrived))
            verdict = verdicts.verdict(plan, holed, end(found), True)
            assert verdict.trust[0].holds is holds
            assert (verdict.state == "untrusted") is not holds


class TestLearning:
    PLAN = replace(PLAN, floor=0.1)

    def test_the_share_is_the_chance_to_be_better_within_the_floor(self) -> None:
        far = verdicts.shares(self.PLAN, rows(1, 400, gain=2.0), BEGIN + DAY)
        assert far == pytest.approx((0.1, 0.9), abs=1e-6)
        near = verdicts.shares(self.PLAN, rows(1, 400), BEGIN + DAY)
        assert near is not None
        assert sum(near) == pytest.approx(1.0)
        assert 0.1 < near[1] < 0.9
        down = replace(self.PLAN, metric=replace(PLAN.metric, better="down"))
        assert verdicts.shares(down, rows(1, 400, gain=2.0), BEGIN + DAY) == pytest.approx((0.9, 0.1), abs=1e-6)

    def test_the_same_rows_teach_the_same(self) -> None:
        assert verdicts.shares(self.PLAN, rows(3), BEGIN + DAY) == verdicts.shares(self.PLAN, rows(3), BEGIN + DAY)

    def test_nothing_is_learned_from_few_rows_equal_ones_or_in_a_fixed_split(self) -> None:
        assert verdicts.shares(self.PLAN, rows(1, 40), BEGIN + DAY) is None
        equal = rows(1, 400, values={"value_per_row": np.ones(400)})
        assert verdicts.shares(self.PLAN, equal, BEGIN + DAY) is None
        assert verdicts.shares(PLAN, rows(1, 400), BEGIN + DAY) is None

    def test_regret_is_what_the_worse_arm_cost(self) -> None:
        found = rows(5, 1000, gain=1.0, share=0.25)
        plan = replace(self.PLAN, arms=(Arm(version=1, share=0.75), Arm(version=2, share=0.25)))
        verdict = verdicts.verdict(plan, found, end(found), False)
        assert verdict.regret is not None
        assert verdict.regret.value == pytest.approx(0.75, abs=0.15)
        assert verdicts.verdict(PLAN, found, end(found), False).regret is None
