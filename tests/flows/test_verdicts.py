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
from fullcircle.stats import mixtures, randomised
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
        uneven=np.zeros(number, dtype=bool),
        loose=np.zeros(number, dtype=bool),
    )
    return replace(found, **changes)


def taken(found: Exposed, places: Any) -> Exposed:
    """Some of the rows, or some of them several times."""
    return Exposed(
        at=found.at[places],
        arrived=found.arrived[places],
        second=found.second[places],
        share=found.share[places],
        unit=found.unit[places],
        values={name: each[places] for name, each in found.values.items()},
        events={name: each[places] for name, each in found.events.items()},
        lost=found.lost[places],
        uneven=found.uneven[places],
        loose=found.loose[places],
    )


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

    def test_of_rows_that_came_together_the_first_counts_and_the_bounds_stay_exact(self) -> None:
        """A request of two rows among many changes neither the kind of the sequence nor what is drawn of the past."""
        found = rows(1, 250, gain=0.4)
        unit = np.where(np.arange(250) == 31, 30, np.arange(250))
        second = np.where(unit == 30, found.second[30], found.second)
        values = {"value_per_row": np.where(np.arange(250) == 31, 1e6, found.values["value_per_row"])}
        both = replace(found, unit=unit, second=second, values=values)
        without = taken(found, [place for place in range(250) if place != 31])
        one, other = (verdicts.verdict(PLAN, each, end(found), False) for each in (both, without))
        assert one.difference == other.difference
        assert [each.value for each in one.arms] == [each.value for each in other.arms]
        assert sum(each.labelled for each in one.arms) == sum(each.labelled for each in other.arms) + 1
        drawn = [verdicts.looks(PLAN, each, end(found), False) for each in (both, without)]
        assert drawn[0] == drawn[1]

    def test_which_row_of_a_request_counts_hangs_on_when_it_counts_and_on_nothing_else(self) -> None:
        found = rows(2, 200, gain=0.4)
        unit = np.arange(200) // 4
        second = found.second[unit * 4]
        last = np.arange(200) % 4 == 3
        late = replace(found, unit=unit, second=second, arrived=np.where(last, found.arrived, found.arrived + DAY))
        early = verdicts.verdict(PLAN, late, end(found), False)
        told = randomised.trail(late.values["value_per_row"][last], second[last], late.share[last])
        scale = randomised.scale(1.0, 240, 0.5, 0.05)
        assert early.difference.high == pytest.approx(randomised.interval(told.at(-1), scale, 0.05).high)
        assert verdicts.verdict(PLAN, late, end(found) + DAY, False).difference == early.difference

    def test_rows_count_in_the_order_in_which_they_come_to_count(self) -> None:
        found = rows(6, 200, gain=0.5)
        late = replace(found, arrived=found.at + np.random.default_rng(6).exponential(7200.0, 200))
        order = np.argsort(late.arrived)
        moment = float(np.sort(late.arrived)[149])
        told = verdicts.verdict(PLAN, late, moment, False).difference
        known = taken(late, order[:150])
        trail = randomised.trail(known.values["value_per_row"], known.second, known.share)
        scale = randomised.scale(1.0, 240, 0.5, 0.05)
        assert (told.low, told.high) == pytest.approx(randomised.interval(trail.at(-1), scale, 0.05)[1:])
        then = verdicts.looks(PLAN, late, end(late) + DAY, False)[30]
        so_far = taken(late, order[: then.rows])
        assert 90 < then.rows < 120
        trail = randomised.trail(so_far.values["value_per_row"], so_far.second, so_far.share)
        assert then.difference.low == pytest.approx(randomised.interval(trail.at(-1), scale, 0.05).low)

    def test_of_rows_that_hang_together_the_bounds_are_wider(self) -> None:
        rng = np.random.default_rng(5)
        number, together = 600, 6
        unit = np.arange(number) // together
        second = (rng.random(number // together) < 0.5)[unit]
        values = rng.normal(0, 1, number // together)[unit]  # rows of a unit are all alike
        found = rows(0, number, second=second, unit=unit, values={"value_per_row": values})
        alone = replace(found, unit=np.arange(number))
        plan = replace(PLAN, rows=600)
        ratio = replace(plan, metric=replace(PLAN.metric, kind="ratio"), rows_a_unit=6.0)
        wide, narrow = (
            verdicts.verdict(by, each, end(found), False).difference for by, each in ((ratio, found), (plan, alone))
        )
        assert wide.low is not None
        assert wide.high is not None
        assert narrow.low is not None
        assert narrow.high is not None
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)

    def test_entities_that_come_back_are_on_the_clock_of_information_too(self) -> None:
        """They know far more than was planned for: the error is small, so the bounds are wider in errors."""
        number = 4000
        rng = np.random.default_rng(7)
        unit = np.arange(number) % 100
        second = (rng.random(100) < 0.5)[unit]
        values = rng.normal(0, 1, number)
        found = rows(0, number, second=second, unit=unit, values={"value_per_row": values, "mae": values})
        metric = replace(PLAN.metric, kind="ratio", entity=("customer",))
        plan = replace(PLAN, metric=metric, rows=100, spread=4.0)
        rail = Guardrail(name="value_per_row", kind="margin", limit=0.01)
        bounds, chances = [], []
        for each in (plan, replace(plan, metric=replace(metric, entity=()))):
            told = verdicts.verdict(replace(each, guardrails=(rail,)), found, end(found), False)
            assert told.difference.low is not None
            assert told.difference.high is not None
            bounds.append(told.difference.high - told.difference.low)
            chances.append(told.chance)
        assert bounds[0] > 1.1 * bounds[1]
        assert chances[0] >= chances[1]

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
        fifth = verdicts.verdict(replace(PLAN, valued=0.2), found, at(found, 60), False)
        assert fifth.rows_left == verdict.rows_left
        assert fifth.days_left == pytest.approx((verdict.rows_left or 0) / 20.0)
        assert fifth.a_day == verdict.a_day  # money is made by every row, whether it gets a label or not

    def test_what_is_left_counts_rows_of_requests_where_they_come_together(self) -> None:
        found = rows(9, 60, gain=0.2)
        twice = taken(found, np.repeat(np.arange(60), 2))
        one, two = (verdicts.verdict(PLAN, each, end(found), False).rows_left for each in (found, twice))
        assert one is not None
        assert two == pytest.approx(2 * one, abs=1)

    @pytest.mark.parametrize("kind", ["mean", "ratio", "paired"])
    @pytest.mark.parametrize("gain", [0.0, 0.1, 0.2])
    def test_what_is_left_is_till_the_bounds_are_narrow_enough_beside_what_is_seen(
        self, kind: Any, gain: float
    ) -> None:
        """A width as large as the effect is not enough where a difference is seen. Widths shrink as 1 / sqrt(n)."""
        plan, paired = replace(PLAN, metric=replace(PLAN.metric, kind=kind), effect=0.3), kind == "paired"
        fits = 0
        for seed in range(3):
            found = rows(seed, 1200, gain=gain)
            if paired:
                values = np.random.default_rng(seed).normal(gain, 2.0, 1200)
                found = replace(found, second=np.zeros(1200, dtype=bool), values={"value_per_row": values})
            for place in range(60, 1200, 60):
                told = verdicts.verdict(plan, found, at(found, place), paired)
                low, high = told.difference.low, told.difference.high
                if told.standing != "undecided" or low is None or high is None:
                    continue
                half, middle = (high - low) / 2, abs(high + low) / 2
                shrunk = half / max(plan.effect - middle, middle)
                assert shrunk > 1.0
                assert told.rows_left is not None
                assert 0.7 < told.rows_left / max(place * (shrunk**2 - 1), 1.0) < 2.0
                fits += half < plan.effect
        assert fits, "the case that was told as one more row did not come"

    def test_it_is_sooner_known_that_nothing_is_there_than_how_much_a_trifle_is(self) -> None:
        found = rows(3, 1200, gain=0.1)
        verdict = verdicts.verdict(PLAN, found, at(found, 500), False)
        assert verdict.standing == "undecided"
        assert verdict.rows_left is not None
        assert verdict.rows_left < 700, "a difference of 0.1 would take 20 times the plan"


class TestEntities:
    METRIC = replace(PLAN.metric, kind="ratio", entity=("customer",))

    def of(self, entities: int, loose: int, number: int = 1000) -> Exposed:
        """Rows of so many entities by turns, and the last ``loose`` rows without one."""
        unit = np.where(
            np.arange(number) < number - loose, np.arange(number) % entities, entities + np.arange(number)
        )
        second = np.random.default_rng(3).random(entities + number) < 0.5
        return rows(3, number, unit=unit, second=second[unit], loose=np.arange(number) >= number - loose)

    def told(self, found: Exposed) -> Any:
        return verdicts.verdict(replace(PLAN, metric=self.METRIC), found, end(found), False)

    def test_they_are_counted_beside_the_rows_that_have_none(self) -> None:
        verdict = self.told(self.of(40, 400))
        assert (verdict.entities, verdict.loose) == (40, 400)
        assert "of 440 entities, and requests without one, went to" in verdict.trust[0].text
        verdict = self.told(self.of(40, 0))
        assert (verdict.entities, verdict.loose) == (40, 0)
        assert "of 40 entities went to" in verdict.trust[0].text
        assert verdicts.verdict(PLAN, rows(1), end(rows(1)), False).entities is None

    @pytest.mark.parametrize("second", [False, True])
    def test_of_two_nobody_says_when_it_will_be_known(self, second: bool) -> None:
        found = self.of(2, 0)
        verdict = self.told(replace(found, second=(found.unit == 1) & second))
        assert (verdict.standing, verdict.rows_left, verdict.days_left) == ("undecided", None, None)
        few = self.told(taken(self.of(2, 0), np.arange(20)))
        assert few.rows_left is not None, "twenty rows do not tell that no more will come"


class TestLateLabels:
    """One second is waited, by the plan; every label comes after an hour."""

    PLAN = replace(PLAN, label_delay_days=1 / DAY, rows=1000)

    def late(self, **more: Any) -> Exposed:
        found = rows(3, 1500, **more)
        return replace(found, arrived=found.at + 3600.0)

    def coverage(self, plan: Plan, found: Exposed, moment: float) -> Any:
        return verdicts.verdict(plan, found, moment, False).trust[-1]

    def test_a_delay_that_was_too_short_is_said_and_no_coverage_claimed(self) -> None:
        found = self.late()
        told = self.coverage(self.PLAN, found, end(found) + 3600)
        assert told.holds
        assert "1,500 of 1,500 values came after the 1 minute of the plan, too short a time" in told.text
        assert "with a value so far: 100.0% of version 1, 100.0% of version 2" in told.text
        assert "label_delay" in told.text
        assert " 0.0%" not in told.text
        soon = replace(found, arrived=np.where(np.arange(1500) % 5 < 4, found.at + 0.5, found.arrived))
        told = self.coverage(self.PLAN, soon, end(found) + 3600)
        assert told.text.startswith("rows that had their time and got a value within it: ")

    @pytest.mark.parametrize("delay", [0.0, 1 / DAY])
    def test_labels_that_come_in_one_arm_only_are_seen_however_late(self, delay: float) -> None:
        plan, found = replace(self.PLAN, label_delay_days=delay), self.late()
        gone = replace(found, arrived=np.where(found.second & (np.arange(1500) % 3 == 0), np.nan, found.arrived))
        slow = replace(found, arrived=found.arrived + np.where(found.second, 36_000.0, 0.0))
        for unfair, moment in ((gone, end(found) + 3600), (slow, float(found.at[700]))):
            assert self.coverage(plan, found, moment).holds
            verdict = verdicts.verdict(plan, unfair, moment, False)
            assert verdict.trust[0].holds, "the rows were dealt well"
            assert not verdict.trust[-1].holds
            assert (verdict.state, verdict.standing) == ("untrusted", "undecided")

    def test_what_nobody_knows_is_not_claimed(self) -> None:
        plan, found = replace(self.PLAN, label_delay_days=0.0), self.late()
        told = self.coverage(plan, found, float(found.at[700]))
        assert told.text.startswith("with a value so far, as nobody knows how long labels take: 9")
        assert self.coverage(plan, found, BEGIN - 1.0).text.endswith("none yet")

    @pytest.mark.parametrize("delay", [0.0, 0.5 / 24, 1 / 24])
    def test_late_labels_that_come_alike_are_hardly_ever_distrusted(self, delay: float) -> None:
        """20 experiments with labels after an hour on average, 30 looks at each: at 1 % more than 2 in 1 of 1000."""
        wrong = 0
        for seed in range(20):
            found, rng = rows(seed, 600), np.random.default_rng(seed + 100)
            found = replace(found, arrived=found.at + rng.exponential(3600.0, 600))
            looks = (
                self.coverage(replace(PLAN, label_delay_days=delay), found, at(found, n)) for n in range(20, 601, 20)
            )
            wrong += not all(each.holds for each in looks)
        assert wrong <= 2


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
            uneven=np.zeros(600, dtype=bool),
            loose=np.zeros(600, dtype=bool),
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

    def test_beside_the_champion_each_share_is_judged_by_its_own_time(self) -> None:
        """Thompson moved the share from 50 % to 90 %. At equal rates that is no harm, at many times it is."""
        for rate, broken in ((0.03, range(2)), (0.5, range(9, 11))):
            found = 0
            for seed in range(10):
                rng, share = np.random.default_rng(seed), np.where(np.arange(2000) < 300, 0.5, 0.9)
                second = rng.random(2000) < share
                happened = rng.random(2000) < np.where(second, rate, 0.03)
                moved = replace(rows(seed, 2000), share=share, second=second, events={"failed": happened})
                found += not self.judged(Guardrail(name="failed", kind="times", limit=2.0), moved)
            assert found in broken, rate

    def test_a_request_that_failed_in_half_is_half_a_failure_in_both_arms(self) -> None:
        """100 requests of two rows in each arm; with rates that are alike the evidence is that of equal counts."""
        unit = np.arange(400) // 2
        second = unit % 2 == 0
        half = (np.arange(400) % 2 == 0) & (unit < 60)
        found = replace(rows(0, 400), unit=unit, second=second)
        plan = replace(PLAN, guardrails=(Guardrail(name="failed", kind="times", limit=1.0),))
        (warrant,) = verdicts.verdict(plan, replace(found, events={"failed": half}), end(found), False).guardrails
        assert warrant.text == "failed: 30 of 200 rows, 30 of 200 of the champion, at most 1 times as often"
        assert warrant.chance == 1.0
        only = replace(found, events={"failed": half & second})
        (alone,) = verdicts.verdict(plan, only, end(found), False).guardrails
        # 30 halves are 15 events, all of them the version's: as much as 15 whole requests that failed.
        sizes = PLAN.rows * 0.01
        assert alone.chance == pytest.approx(math.exp(-float(mixtures.above_other(15, 0, 0.5, sizes, alpha=0.05))))

    def test_an_arm_of_which_nothing_is_there_breaks_nothing(self) -> None:
        rails = (
            Guardrail(name="failed", kind="rate", limit=0.1),
            Guardrail(name="failed", kind="times", limit=2.0),
            Guardrail(name="mae", kind="margin", limit=0.1, better="down"),
        )
        for number, second in ((0, False), (3, False), (3, True)):
            found = rows(0, number, second=np.full(number, second), events={"failed": np.ones(number, dtype=bool)})
            found = replace(found, values={**found.values, "mae": np.full(number, np.nan)})
            told = verdicts.verdict(replace(PLAN, guardrails=rails), found, BEGIN + DAY, False).guardrails
            assert all(each.holds for each in told)
            assert "nothing known" in told[2].text

    def test_a_margin_is_of_values_that_there_are(self) -> None:
        """A metric of probabilities has none where a fallback answered: these rows are left out."""
        found = rows(8, 900)
        mae = np.random.default_rng(1).normal(3.0, 1.0, 900) + 0.6 * found.second
        rail = Guardrail(name="mae", kind="margin", limit=0.2, better="down")
        holes = np.where(np.arange(900) % 50 == 0, np.nan, mae)
        assert not self.judged(rail, replace(found, values={**found.values, "mae": holes}))

    def test_a_margin_is_of_the_side_that_is_bad(self) -> None:
        rail = Guardrail(name="mae", kind="margin", limit=0.2, better="down")
        for gain, holds in ((-0.6, True), (0.0, True), (0.6, False)):
            found = rows(8, 900)
            mae = np.random.default_rng(1).normal(3.0, 1.0, 900) + gain * found.second
            found = replace(found, values={**found.values, "mae": mae})
            assert self.judged(rail, found) is holds, gain
            assert self.judged(replace(rail, better="up"), found) is (gain > -0.6)


class TestPairs:
    PLAN = replace(PLAN, metric=replace(PLAN.metric, kind="paired"), spread=0.3, rows=60)

    def shadow(self, seed: int, number: int = 300, gain: float = 0.2) -> Exposed:
        found = rows(seed, number)
        values = np.random.default_rng(seed).normal(gain, 0.3, number)
        return replace(found, second=np.zeros(number, dtype=bool), values={"value_per_row": values})

    def test_they_are_known_from_few_rows(self) -> None:
        found = self.shadow(0)
        verdict = verdicts.verdict(self.PLAN, found, end(found), True)
        assert verdict.standing == "better"
        assert [each.rows for each in verdict.arms] == [300, 300]
        assert [each.value for each in verdict.arms] == [None, None]

    def test_holes_of_more_than_a_hundredth_are_not_believed(self) -> None:
        plan = self.PLAN
        found = self.shadow(1)
        for lost, holds in ((3, True), (4, False)):
            holes = (np.arange(300) >= 50) & (np.arange(300) < 50 + lost)
            holed = replace(found, lost=holes, arrived=np.where(holes, np.nan, found.arrived))
            verdict = verdicts.verdict(plan, holed, end(found), True)
            assert verdict.trust[0].holds is holds
            assert (verdict.state == "untrusted") is not holds

    def test_who_answers_only_what_is_easy_is_not_believed(self) -> None:
        """The shadow rejects the hard rows, or the champion does: on the others the shadow is better, as planted."""
        for uneven, holds in ((0.0, True), (0.005, True), (0.3, False)):
            found = self.shadow(4)
            hard = np.random.default_rng(4).random(300) < uneven
            partly = replace(found, uneven=hard, arrived=np.where(hard, np.nan, found.arrived))
            verdict = verdicts.verdict(self.PLAN, partly, end(found), True)
            assert verdict.trust[0].holds is holds
            assert (verdict.standing == "better") is holds
        assert f"0 of 300 rows have no copy, {hard.sum()} a value of one version only" in verdict.trust[0].text

    def test_before_its_first_copy_it_was_not_there_yet(self) -> None:
        found = self.shadow(2)
        for before, later, holds in ((0, 3, True), (60, 0, True), (60, 2, True), (60, 3, False)):
            holes = (np.arange(300) < before) | ((np.arange(300) >= 100) & (np.arange(300) < 100 + later))
            holed = replace(found, lost=holes, arrived=np.where(holes, np.nan, found.arrived))
            verdict = verdicts.verdict(self.PLAN, holed, end(found), True)
            assert verdict.trust[0].holds is holds
            assert f"{later} of {300 - before} rows have no copy" in verdict.trust[0].text

    def test_one_that_never_came_is_not_believed_once_rows_had_their_time(self) -> None:
        found = replace(self.shadow(2), lost=np.ones(300, dtype=bool), arrived=np.full(300, np.nan))
        late = replace(self.PLAN, label_delay_days=1.0)
        assert verdicts.verdict(late, found, BEGIN + DAY / 2, True).state == "running"
        verdict = verdicts.verdict(late, found, BEGIN + 2 * DAY, True)
        assert verdict.state == "untrusted"
        assert "300 of 300 rows have no copy" in verdict.trust[0].text

    def test_what_it_has_no_copy_of_does_not_thin_out_what_it_does_wrong(self) -> None:
        rail = Guardrail(name="rejected", kind="rate", limit=0.1)
        holes = np.arange(300) < 200
        happened = (np.arange(300) % 3 == 0) & ~holes
        found = replace(self.shadow(2), lost=holes, events={"rejected": happened})
        (warrant,) = verdicts.verdict(replace(self.PLAN, guardrails=(rail,)), found, end(found), True).guardrails
        assert f"rejected: {happened.sum()} of 100 rows" in warrant.text
        assert not warrant.holds


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

    def trending(self, seed: int, number: int = 1500, *, climb: float = 2.0) -> Exposed:
        """Requests of two rows of a world that gets better, dealt by shares that were learned ten times."""
        rng, step = np.random.default_rng(seed), number // 10
        share, second = np.full(number, 0.5), np.zeros(number, dtype=bool)
        values = rng.normal(size=(number, 2)) + climb * np.arange(number)[:, None] / number
        for start in range(0, number, step):
            if start:
                arms = [values[:start][second[:start] == arm].mean() for arm in (False, True)]
                share[start : start + step] = 0.9 if arms[1] > arms[0] else 0.1  # as a pooled mean would have it
            second[start : start + step] = rng.random(step) < share[start : start + step]
        twice = np.repeat(np.arange(number), 2)
        found = {"value_per_row": values.ravel(), "mae": values.ravel()}
        dealt = replace(rows(seed, 2 * number), unit=twice, second=second[twice], values=found)
        return replace(dealt, share=share[twice])

    def test_a_trend_in_time_is_no_difference_where_shares_moved_meanwhile(self) -> None:
        """Who got most rows late has the higher mean of all; within each share nobody has. 1 in 20 may be wrong."""
        rail = Guardrail(name="mae", kind="margin", limit=0.1, better="down")
        ratio = replace(self.PLAN, metric=replace(PLAN.metric, kind="ratio"), rows=3000, rows_a_unit=2.0)
        wrong = 0
        for seed in range(10):
            found = self.trending(seed)
            pooled = [found.values["mae"][found.second == arm].mean() for arm in (False, True)]
            assert abs(pooled[1] - pooled[0]) > 0.15, "the trap is not set"
            looks = verdicts.looks(ratio, found, end(found), False)
            broken = (
                not verdicts.verdict(replace(ratio, guardrails=(rail,)), found, end(found), False).guardrails[0].holds
            )
            wrong += broken or any(
                (each.difference.low or -1) > 0 or (each.difference.high or 1) < 0 for each in looks
            )
            next_shares = verdicts.shares(ratio, found, end(found))
            assert next_shares is not None
        assert wrong <= 2

    def test_each_share_that_was_in_force_has_its_part_in_the_difference(self) -> None:
        """300 rows at a half and 100 at 90 %, weighed by n m / (n + m)."""
        found = rows(3, 400, gain=0.5)
        share = np.where(np.arange(400) < 300, 0.5, 0.9)
        second = np.random.default_rng(3).random(400) < share
        values = found.values["value_per_row"] + np.where(second & (share == 0.9), 3.0, 0.0)
        moved = replace(found, share=share, second=second, values={"value_per_row": values})
        ratio = replace(PLAN, metric=replace(PLAN.metric, kind="ratio"))
        told = verdicts.verdict(ratio, moved, end(found), False).difference
        parts = []
        for one in (0.5, 0.9):
            ours, theirs = values[(share == one) & second], values[(share == one) & ~second]
            units = len(ours) * len(theirs) / (len(ours) + len(theirs))
            parts.append((units, float(ours.mean() - theirs.mean())))
        assert told.value == pytest.approx(sum(w * d for w, d in parts) / sum(w for w, _ in parts))

    def test_regret_takes_the_first_row_of_each_request(self) -> None:
        found = rows(5, 300, gain=1.0)
        again = taken(found, np.repeat(np.arange(300), 3))
        values = again.values["value_per_row"] * np.where(np.arange(900) % 3 == 0, 1.0, -50.0)
        ratio = replace(self.PLAN, metric=replace(PLAN.metric, kind="ratio"), rows_a_unit=3.0, rows=720)
        several = replace(again, values={"value_per_row": values})
        one = verdicts.verdict(self.PLAN, found, end(found), False).regret
        three = verdicts.verdict(ratio, several, end(found), False).regret
        assert one is not None
        assert one == three

    def test_regret_is_what_the_worse_arm_cost(self) -> None:
        found = rows(5, 1000, gain=1.0, share=0.25)
        plan = replace(self.PLAN, arms=(Arm(version=1, share=0.75), Arm(version=2, share=0.25)))
        verdict = verdicts.verdict(plan, found, end(found), False)
        assert verdict.regret is not None
        assert verdict.regret.value == pytest.approx(0.75, abs=0.15)
        assert verdicts.verdict(PLAN, found, end(found), False).regret is None
