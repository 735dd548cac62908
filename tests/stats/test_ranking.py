"""Areas under curves, what each row pulls, and the curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.stats import influence, ranking

SEEDS = st.integers(0, 2**32 - 1)
AREAS: dict[str, Any] = {
    "roc_auc": (ranking.roc_auc, reference.roc_auc_score),
    "average_precision": (ranking.average_precision, reference.average_precision_score),
}


def _drawn(seed: int, rows: int, levels: int) -> tuple[Any, Any, Any]:
    """Scores (of few levels where that is not 0), which rows are positive, and weights."""
    generator = np.random.default_rng(seed)
    positive = generator.random(rows) < 0.4
    positive[:2] = [True, False]
    scores = generator.normal(size=rows) + positive
    if levels:
        scores = np.round(scores * levels) / levels
    return scores, positive, generator.exponential(size=rows) + 0.01


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(0, 3), st.booleans(), st.sampled_from(sorted(AREAS)))
def test_areas_are_scikit_learns(seed: int, rows: int, levels: int, weighted: bool, name: str) -> None:
    scores, positive, weights = _drawn(seed, rows, levels)
    area, known = AREAS[name]
    weights = weights if weighted else None
    found = area(scores, positive, weights)
    assert found.value == pytest.approx(known(positive, scores, sample_weight=weights), rel=1e-12, abs=1e-12)
    assert influence.average(found.influence, weights) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", sorted(AREAS))
@pytest.mark.parametrize("levels", [0, 1])
def test_influence_values_are_derivatives(name: str, levels: int) -> None:
    scores, positive, weights = _drawn(0, 30, levels)
    area = AREAS[name][0]
    found = area(scores, positive, weights)
    for row in range(30):
        heavier = weights.copy()
        heavier[row] += 1e-6 * weights.sum()
        slope = (area(scores, positive, heavier).value - found.value) / 1e-6
        assert slope == pytest.approx(found.influence[row], abs=1e-4 * np.abs(found.influence).max())


def test_the_error_of_an_area_is_delongs() -> None:
    """Of placements: each positive row among the others, each other among the positive (DeLong et al. 1988)."""
    scores, positive, _ = _drawn(1, 80, 2)
    ones, others = scores[positive], scores[~positive]
    wins = (ones[:, None] > others[None, :]) + 0.5 * (ones[:, None] == others[None, :])
    delong = wins.mean(axis=1).var(ddof=1) / len(ones) + wins.mean(axis=0).var(ddof=1) / len(others)
    found = ranking.roc_auc(scores, positive)
    assert influence.error(found.influence) == pytest.approx(math.sqrt(delong), rel=0.01)


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2))
def test_the_area_turns_with_the_scores_and_keeps_with_their_order(seed: int, levels: int) -> None:
    scores, positive, weights = _drawn(seed, 25, levels)
    plain = ranking.roc_auc(scores, positive, weights).value
    assert ranking.roc_auc(-scores, positive, weights).value == pytest.approx(1.0 - plain)
    assert ranking.roc_auc(np.exp(scores), positive, weights).value == pytest.approx(plain)
    assert ranking.roc_auc(scores, ~positive, weights).value == pytest.approx(1.0 - plain)


@pytest.mark.parametrize("area", [ranking.roc_auc, ranking.average_precision])
def test_rows_of_one_kind_or_none_have_no_area(area: Any) -> None:
    scores = np.array([0.1, 0.2, 0.3])
    for positive in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        found = area(scores, positive)
        assert math.isnan(found.value)
        assert np.isnan(found.influence).all()
    assert math.isnan(area(np.empty(0), np.empty(0, dtype=bool)).value)
    # Rows of no weight are not there.
    assert math.isnan(area(scores, np.array([True, False, False]), np.array([0.0, 1.0, 1.0])).value)


def test_a_constant_score_sorts_nothing() -> None:
    positive = np.arange(10) < 3
    assert ranking.roc_auc(np.full(10, 0.5), positive).value == 0.5
    assert ranking.average_precision(np.full(10, 0.5), positive).value == pytest.approx(0.3)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(0, 2))
def test_curves_are_scikit_learns(seed: int, rows: int, levels: int) -> None:
    scores, positive, _ = _drawn(seed, rows, levels)
    curve = ranking.curves(scores, positive)
    taken, found, _ = reference.roc_curve(positive, scores, drop_intermediate=False)
    precision, recall, _ = reference.precision_recall_curve(positive, scores)
    assert curve["taken"] == pytest.approx(taken[1:])
    assert curve["found"] == pytest.approx(found[1:])
    known = dict(zip(recall[::-1].tolist(), precision[::-1].tolist(), strict=True))
    assert {round(each, 9) for each in curve["found"].tolist()} == {round(each, 9) for each in known} - {
        0.0 if curve["found"][0] > 0 else -1.0
    }
    assert ((curve["precision"] >= 0.0) & (curve["precision"] <= 1.0)).all()


def test_long_curves_are_thinned_and_keep_their_ends_and_shape() -> None:
    scores, positive, _ = _drawn(3, 20_000, 0)
    curve, whole = ranking.curves(scores, positive), ranking.curves(scores, positive, points=10**6)
    assert 150 <= len(curve["found"]) <= 200
    assert (curve["found"][-1], curve["taken"][-1]) == (1.0, 1.0)
    areas = []
    for each in (curve, whole):
        along, up = np.r_[0.0, each["taken"]], np.r_[0.0, each["found"]]
        areas.append(float(np.sum(np.diff(along) * (up[1:] + up[:-1]) / 2.0)))
    assert areas[0] == pytest.approx(areas[1], abs=1e-3)
    for name in curve:
        assert set(curve[name].tolist()) <= set(whole[name].tolist())


def test_no_curve_of_one_kind() -> None:
    for positive in (np.ones(4, dtype=bool), np.zeros(4, dtype=bool)):
        assert all(len(each) == 0 for each in ranking.curves(np.arange(4.0), positive).values())
    assert all(len(each) == 0 for each in ranking.curves(np.empty(0), np.empty(0, dtype=bool)).values())
