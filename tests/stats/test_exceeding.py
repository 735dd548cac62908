"""Evidence that things go wrong too often: its law, at any time one looks, and how soon it speaks."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.stats.exceeding import evidence

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
