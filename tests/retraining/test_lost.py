"""Labels of one class that were lost are told from a world that moved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.retraining.lost import Lost, found, rarer
from fullcircle.retraining.noise import Answers


def _answers(seed: int, *, level: float = 0.0, slope: float = 1.0, lost: float = 0.0, kept: int = 1) -> Answers:
    """What an honest model says, and labels of which those of the class ``kept`` were lost with that chance."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, (2, 2000))
    chance = 1 / (1 + np.exp(-odds))
    known = (rng.random(2000) < chance[0]).astype(float)
    new = (rng.random(2000) < 1 / (1 + np.exp(-(level + slope * odds[1])))).astype(float)
    gone = (new == kept) & (rng.random(2000) < lost)
    new = np.where(gone, 1 - new, new)
    places = np.arange(2000)
    return Answers(places, chance[0][:, None], known[:, None], places, chance[1][:, None], new[:, None])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kept", [0, 1])
def test_lost_labels_are_found_with_their_share(share: float, kept: int) -> None:
    for seed in range(3):
        one = found(_answers(seed, lost=share, kept=kept))
        assert one is not None
        assert one.share == pytest.approx(share, abs=0.08)
        assert one.other == (kept == 0)


def test_a_class_that_no_longer_comes_is_found() -> None:
    assert found(_answers(0, lost=1.0)) == Lost(1.0, 0, False)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(-1.2, 1.2), slope=st.floats(0.2, 1.6))
def test_a_shift_of_log_odds_is_not_lost_labels(seed: int, level: float, slope: float) -> None:
    assert found(_answers(seed, level=level, slope=slope)) is None


def test_few_rows_tell_nothing() -> None:
    many = _answers(0, lost=0.5)
    short = Answers(many.old, many.said_known, many.known, many.now[:200], many.said_new[:200], many.new[:200])
    assert found(short) is None


def test_a_class_that_hardly_comes_is_worth_a_look() -> None:
    known = np.array(["a"] * 90 + ["b"] * 8 + ["c"] * 2)
    assert not rarer(known, known)
    assert not rarer(known, known[:98]), "c was rare before"
    assert rarer(known, known[:90])
    assert not rarer(known, known[:0])
    assert not rarer(known[:0], known)
