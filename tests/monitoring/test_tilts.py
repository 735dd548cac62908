"""The fixed dictionary of bets: what each column may be bet on, and what tolerance and padding do to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from fullcircle.monitoring.detector import Counted, Floats, Reference
from fullcircle.monitoring.detectors.tilts import Tilts, TiltsPlan, scores
from fullcircle.stats import bets

CELLS = 8
COUNTS = np.array([100.0, 120, 90, 110, 100, 80, 0, 20])


def reference(*rows: Floats, **more: Any) -> Reference:
    """Columns of numbers with a range, unless ``more`` says otherwise."""
    counts = np.array(rows or [COUNTS], dtype=float)
    size = len(counts)
    given: dict[str, Any] = {
        "counts": counts,
        "pooled": counts,
        "used": np.ones(counts.shape, dtype=np.bool_),
        "ordered": np.ones(size, dtype=np.bool_),
        "ranged": np.ones(size, dtype=np.bool_),
        "losses": np.zeros(size, dtype=np.bool_),
        "values": np.zeros(counts.shape),
        "growth": np.zeros(size),
        "delta": np.full(size, 0.01),
        "tolerance": np.zeros(size),
    }
    return Reference(**{**given, **more})


def plan_of(*rows: Floats, **more: Any) -> TiltsPlan:
    return Tilts().plan(reference(*rows, **more), share=1.0)


def judged(plan: TiltsPlan, counts: Any, outside: float = 0.0) -> Floats:
    table = np.atleast_2d(np.asarray(counts, dtype=float))
    return plan.judge(Counted(counts=table, outside=np.full(len(table), outside)), plan.start())


def best(plan: TiltsPlan, counts: Any, outside: float = 0.0) -> float:
    """The log e-value of the average of all bets of the first column."""
    log_e, weights = judged(plan, counts, outside)[0], plan.weights[0]
    return float(np.logaddexp.reduce(log_e[weights > 0] + np.log(weights[weights > 0])))


YES, NO = np.array([True]), np.array([False])


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ordered": NO, "ranged": NO},
        {"ranged": NO},
        {"losses": YES, "values": np.linspace(0, 1, CELLS)[None]},
        {"tolerance": np.array([0.02])},
        {"delta": np.array([1e-9])},
    ],
    ids=["numbers", "categories", "no range", "losses", "tolerance", "hardly a chance"],
)
def test_weights_sum_to_one(more: dict[str, Any]) -> None:
    plan = plan_of(**more)
    assert (plan.weights >= 0).all()
    assert plan.weights.sum() == pytest.approx(1.0)
    assert judged(plan, COUNTS).shape == plan.weights.shape
    assert np.isfinite(judged(plan, COUNTS * 1e6)).all()


def test_categories_are_bet_on_by_cell_only() -> None:
    plan = plan_of(ordered=NO, ranged=NO)
    places = plan.smooth.shape[1]
    assert not plan.weights[0, :places].any()
    assert plan.weights[0, places : places + plan.cells.weights.shape[1]].sum() == pytest.approx(1.0)


def test_a_column_that_was_never_seen_is_not_bet_on() -> None:
    plan = plan_of(np.zeros(CELLS), COUNTS, losses=np.array([True, False]))
    assert plan.weights.sum(axis=1) == pytest.approx([0.0, 1.0])
    assert np.isfinite(judged(plan, np.stack([COUNTS, COUNTS]))).all()


@pytest.mark.parametrize(
    ("counts", "outside"),
    [
        ([0, 0, 0, 0, 300, 300, 0, 20], 0.0),
        ([300, 300, 0, 0, 0, 0, 0, 20], 0.0),
        ([0, 0, 300, 300, 0, 0, 0, 20], 0.0),
        ([300, 0, 0, 0, 0, 300, 0, 20], 0.0),
        ([90, 110, 85, 100, 90, 75, 0, 70], 0.0),
        ([90, 110, 85, 100, 90, 75, 40, 20], 0.0),
        ([100, 120, 90, 110, 100, 80, 0, 20], 30.0),
        ([50, 120, 140, 110, 100, 80, 0, 20], 0.0),
    ],
    ids=["up", "down", "narrower", "wider", "missing", "never seen", "out of range", "one cell"],
)
def test_each_shape_of_change_pays(counts: list[float], outside: float) -> None:
    plan = plan_of(COUNTS * 10)
    assert best(plan, COUNTS) < 0
    assert best(plan, counts, outside) > 3


def test_the_reference_itself_pays_nothing() -> None:
    log_e = judged(plan_of(), COUNTS)[0]
    assert (log_e[plan_of().weights[0] > 0] < 0).all()


@given(
    st.lists(st.integers(0, 300), min_size=CELLS, max_size=CELLS),
    st.lists(st.integers(0, 300), min_size=CELLS, max_size=CELLS),
)
@settings(max_examples=25)
def test_two_batches_pay_what_their_sum_pays(first: list[int], second: list[int]) -> None:
    """Bets are fixed, so log e is linear in the counts."""
    plan, a, b = plan_of(), np.array(first), np.array(second)
    np.testing.assert_allclose(judged(plan, a) + judged(plan, b), judged(plan, a + b), atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"ordered": NO, "ranged": NO}], ids=["numbers", "categories"])
def test_tolerance_makes_every_change_cheaper(more: dict[str, Any]) -> None:
    changed, before = [60, 80, 90, 110, 140, 120, 10, 30], np.inf
    for bits in (0.0, 0.001, 0.01, 0.1, 0.5):
        now = best(plan_of(COUNTS * 10, **more, tolerance=np.array([bits])), changed, outside=9.0)
        assert now < before
        before = now
    assert before < 0


def test_where_two_means_are_bounded_each_has_half_the_chance() -> None:
    """Of a column with a tolerance the mean and the square of each smooth bet are bounded: both have to hold."""
    none, hardly = plan_of(), plan_of(tolerance=np.array([1e-18]))
    half = Tilts().plan(reference(), share=0.5)
    smooth = none.weights[:, : none.price.shape[1]] > 0
    assert (hardly.price[smooth] >= half.price[smooth] - 1e-9).all()
    assert (hardly.price[smooth] > none.price[smooth]).all()


def test_tolerance_is_of_the_whole_column_where_most_of_it_is_missing() -> None:
    """A law within the tolerance, most of whose few values are out of range, pays nothing on average."""
    counts = np.array([1000.0, 1000, 1000, 1000, 1000, 1000, 0, 194_000])
    plan, bits = plan_of(counts, tolerance=np.array([0.01])), 0.01
    chances = np.append(counts / counts.sum(), 0.0)  # the last: out of range, counted in the first cell
    away = 0.6 * float(bets.tolerant_share(0.0, bits, up=True))
    chances[:6] *= 1 - away / chances[:6].sum()
    chances[-1] = away
    assert jensenshannon(np.append(counts / counts.sum(), 0.0), chances, base=2) ** 2 < bits
    means = sum(
        chance * np.exp(judged(plan, np.eye(CELLS)[cell % CELLS], float(cell == CELLS)))
        for cell, chance in enumerate(chances)
    )
    assert means.max() <= 1 + 1e-9


def test_tolerance_of_one_column_leaves_the_others() -> None:
    alone = plan_of(COUNTS * 10, COUNTS)
    beside = plan_of(COUNTS * 10, COUNTS, tolerance=np.array([0.0, 0.05]))
    batch = np.stack([COUNTS[::-1], COUNTS])
    assert np.array_equal(judged(alone, batch)[0], judged(beside, batch)[0])
    assert not np.array_equal(judged(alone, batch)[1], judged(beside, batch)[1])


def test_padding_is_never_bet_on() -> None:
    """The same column in a wider table: each bet pays the same, and cells of padding have no weight."""
    wide = np.concatenate([COUNTS[:-2], [0.0] * 4, COUNTS[-2:]])
    used = np.array([[*[True] * 6, *[False] * 4, True, True]])
    narrow, padded = plan_of(), plan_of(wide, used=used)
    assert padded.weights.sum() == pytest.approx(1.0)
    assert np.count_nonzero(padded.weights) == np.count_nonzero(narrow.weights)
    batch = COUNTS[::-1].copy()
    wide_batch = np.concatenate([batch[:-2], [0.0] * 4, batch[-2:]])
    assert best(padded, wide_batch, 3.0) == pytest.approx(best(narrow, batch, 3.0), abs=1e-9)


def test_scores_ascend_and_are_of_bins_only() -> None:
    found = scores(reference())[0]
    assert (np.diff(found[:-2]) > 0).all()
    assert not found[-2:].any()
    assert abs(found[:-2].mean()) < 0.2


def test_only_growth_of_a_loss_pays() -> None:
    values = np.append(np.linspace(0.05, 0.9, CELLS - 2), [0.0, 0.0])[None]
    more: dict[str, Any] = {"losses": YES, "values": values}
    plan = plan_of(COUNTS * 10, **more)
    worse, better = [20, 40, 60, 120, 160, 200, 0, 0], [200, 160, 120, 60, 40, 20, 0, 0]
    assert best(plan, worse) > 5
    assert best(plan, better) < 0
    # Losses that cannot be told are no harm, however many there are.
    assert best(plan, [0, 0, 0, 0, 0, 0, 0, 500]) == pytest.approx(0.0, abs=1e-9)
    grown = plan_of(COUNTS * 10, **more, growth=np.array([1.0]))
    assert best(grown, worse) < best(plan, worse)


def test_a_column_without_rows_pays_nothing_beside_one_with() -> None:
    plan = plan_of(COUNTS, COUNTS)
    log_e = judged(plan, np.stack([np.zeros(CELLS), COUNTS]))
    assert not log_e[0].any()
    assert log_e[1].any()
    memory = plan.learn(Counted(counts=np.stack([COUNTS, COUNTS]), outside=np.zeros(2)), plan.start())
    assert memory.shape == (2, 0)


def test_less_trust_in_the_bounds_costs() -> None:
    """A smaller share of the chance makes every bound wider, so every bet dearer."""
    dear, cheap = (Tilts().plan(reference(), share=share) for share in (0.01, 1.0))
    assert (judged(dear, COUNTS) <= judged(cheap, COUNTS) + 1e-9).mean() > 0.9
    assert best(dear, COUNTS[::-1]) < best(cheap, COUNTS[::-1])
