"""Evidence that things go wrong too often: its law, at any time one looks, and how soon it speaks."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.stats.exceeding import Evidence, evidence

SHARES = st.floats(0.001, 0.5)


@given(share=SHARES, less=st.floats(0.0, 1.0), count=st.integers(0, 40))
def test_its_mean_is_one_at_the_allowed_share_and_less_below(share: float, less: float, count: int) -> None:
    def mean(chance: float) -> float:
        terms = (
            comb(count, bad) * chance**bad * (1 - chance) ** (count - bad) * math.exp(evidence(bad, count, share))
            for bad in range(count + 1)
        )
        return sum(terms)

    assert mean(share) == pytest.approx(1.0, rel=1e-9)
    assert mean(share * less) <= 1 + 1e-9


@given(share=SHARES, count=st.integers(1, 10_000), data=st.data())
def test_more_failures_are_more_evidence_and_more_successes_less(
    share: float, count: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, count - 1))
    assert evidence(bad + 1, count, share) > evidence(bad, count, share)
    assert evidence(bad, count + 1, share) < evidence(bad, count, share)


def test_nothing_is_no_evidence_and_nonsense_is_refused() -> None:
    assert evidence(0, 0, 0.01) == 0.0
    for bad, count, share in ((1, 0, 0.01), (-1, 3, 0.01), (0, 3, 0.0), (0, 3, 1.0), (0, 3, math.nan)):
        with pytest.raises(ValueError, match="no such counts"):
            evidence(bad, count, share)


def test_whoever_looks_after_every_event_is_rarely_wrong() -> None:
    """At the allowed share itself, 400 runs of 5,000 events at the level 5 %: 20 alarms expected at most."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        places = np.flatnonzero(rng.random(5000) < 0.01)
        alarms += any(evidence(bad + 1, int(at) + 1, 0.01) > math.log(20) for bad, at in enumerate(places))
    assert alarms <= 20 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_two_failures_in_a_row_are_enough_at_a_thousand_to_one() -> None:
    assert evidence(1, 1, 0.01) < math.log(1000) < evidence(2, 2, 0.01)


class TestEvidenceOfWhatBeginsLate:
    @given(gaps=st.lists(st.floats(0, 200), max_size=4), share=st.floats(0.05, 0.4))
    def test_its_mean_after_one_more_event_is_what_it_was(self, gaps: list[float], share: float) -> None:
        """The law: at the allowed share, whatever came before, the next value is as large as this one on average."""
        found = Evidence(share)
        now = 1.0
        for gap in gaps:
            now = found.after(gap)
            found.take(gap)
        mean = sum(share * (1 - share) ** well * found.after(well) for well in range(2000))
        assert mean == pytest.approx(now, rel=1e-6)

    @given(share=st.floats(0.05, 0.4), less=st.floats(0.1, 1.0))
    def test_things_that_go_wrong_less_often_make_it_smaller_on_average(self, share: float, less: float) -> None:
        chance = share * less
        mean = sum(chance * (1 - chance) ** well * Evidence(share).after(well) for well in range(3000))
        assert mean <= 1 + 1e-6

    def test_whoever_looks_after_every_event_is_rarely_wrong(self) -> None:
        """At the allowed share itself, 300 runs of 150 failures at the level 5 %."""
        rng = np.random.default_rng(12)
        alarms = 0
        for _ in range(300):
            found = Evidence(0.01)
            for gap in rng.geometric(0.01, 150) - 1:
                if found.after(gap) >= 20:
                    alarms += 1
                    break
                found.take(gap)
        assert alarms <= 15 + 3 * math.sqrt(300 * 0.05 * 0.95)

    @pytest.mark.parametrize(("before", "needed"), [(0, 2), (100, 4), (1000, 4), (36_000, 4), (10_000_000, 4)])
    def test_what_went_well_before_hides_nothing(self, before: int, needed: int) -> None:
        found, gap, count = Evidence(0.01), before, 1
        while found.after(gap) < 1000:
            found.take(gap)
            gap, count = 0, count + 1
        assert count == needed

    def test_it_says_what_the_plain_one_says_of_what_goes_wrong_from_the_start(self) -> None:
        """But for what the later tests cost: half of the weight, at most."""
        found = Evidence(0.01)
        for bad, gap in enumerate([3, 0, 7, 20, 1], start=1):
            count = sum([3, 0, 7, 20, 1][:bad]) + bad
            value = found.after(gap)
            found.take(gap)
            assert math.log(value) >= evidence(bad, count, 0.01) - math.log(2)

    @given(wells=st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
    def test_it_stays_a_number(self, wells: list[float]) -> None:
        found = Evidence(0.01)
        for well in wells:
            assert found.after(well) > 0
            found.take(well)

    def test_nonsense_is_refused(self) -> None:
        for share in (0.0, 1.0, math.nan, -0.5):
            with pytest.raises(ValueError, match="no such share"):
                Evidence(share)
