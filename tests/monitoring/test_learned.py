"""Bets learned from the last batches: what they remember, and what they may pay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.monitoring.detector import Counted, Floats, Reference
from fullcircle.monitoring.detectors.learned import Learned, LearnedPlan

CELLS = 6
COUNTS = np.array([400.0, 300, 200, 100, 0, 50])
HALF_LIVES = (1.0, 8.0, 48.0)


def plan_of(*rows: Floats, **more: Any) -> LearnedPlan:
    counts = np.array(rows or [COUNTS], dtype=float)
    size = len(counts)
    no, none = np.zeros(size, dtype=np.bool_), np.zeros(size)
    given: dict[str, Any] = {
        "counts": counts,
        "pooled": counts,
        "used": np.ones(counts.shape, dtype=np.bool_),
        "ordered": no,
        "ranged": no,
        "losses": no,
        "values": np.zeros(counts.shape),
        "growth": none,
        "delta": np.full(size, 0.01),
        "tolerance": none,
    }
    return Learned().plan(Reference(**{**given, **more}), share=1.0)


def lot(*rows: Any) -> Counted:
    counts = np.array(rows, dtype=float)
    return Counted(counts=counts, outside=np.zeros(len(counts)))


def after(plan: LearnedPlan, batch: Counted, times: int) -> Floats:
    memory = plan.start()
    for _ in range(times):
        memory = plan.learn(batch, memory)
    return memory


ODD = [100, 400, 100, 100, 0, 50]


def test_weights_sum_to_one_where_there_is_something_to_learn() -> None:
    none, one = np.zeros(CELLS), np.eye(CELLS)[0] * 900
    used = np.ones((4, CELLS), dtype=np.bool_)
    used[2, 1:] = False
    plan = plan_of(COUNTS, none, one, COUNTS, used=used, losses=np.array([False, False, False, True]))
    # An empty reference, a column of one cell, and a loss are not bet on.
    assert plan.weights.sum(axis=1) == pytest.approx([1.0, 0.0, 0.0, 0.0])
    assert len({*plan.weights[0].tolist()}) == 1
    assert np.isfinite(plan.judge(lot(ODD, ODD, ODD, ODD), after(plan, lot(ODD, ODD, ODD, ODD), 3))).all()


def test_without_a_memory_no_bet_wins() -> None:
    plan = plan_of()
    for batch in (COUNTS, ODD, np.eye(CELLS)[4] * 100):
        assert (plan.judge(lot(batch), plan.start()) <= 1e-9).all()


def test_what_was_seen_before_pays_and_its_opposite_costs() -> None:
    plan = plan_of(COUNTS * 10)
    memory = after(plan, lot(ODD), 4)
    assert plan.judge(lot(ODD), memory).max() > 30
    assert plan.judge(lot(COUNTS), memory).max() < 0


@pytest.mark.parametrize("batches", [1, 2, 9])
def test_older_batches_fade_by_their_half_life(batches: int) -> None:
    plan = plan_of()
    seen, hoped = after(plan, lot(ODD), batches).reshape(2, len(HALF_LIVES), CELLS)
    for place, half_life in enumerate(HALF_LIVES):
        times = sum(0.5 ** (age / half_life) for age in range(batches))
        np.testing.assert_allclose(seen[place], np.array(ODD) * times)
        np.testing.assert_allclose(hoped[place], COUNTS / COUNTS.sum() * sum(ODD) * times)


def test_the_short_memory_forgets_first() -> None:
    """Long after a change is over only the longest half-life still bets on it."""
    plan = plan_of(COUNTS * 10)
    memory = after(plan, lot(ODD), 60)
    for _ in range(8):
        memory = plan.learn(lot(COUNTS), memory)
    won = plan.judge(lot(ODD), memory)[0].reshape(len(HALF_LIVES), 2)
    assert won[2].max() > won[1].max() > won[0].max()


@given(st.lists(st.lists(st.integers(0, 80), min_size=CELLS, max_size=CELLS), min_size=1, max_size=5))
@settings(max_examples=40)
def test_columns_without_rows_stay_as_they_were(story: list[list[int]]) -> None:
    plan, alone = plan_of(COUNTS, COUNTS[::-1]), plan_of(COUNTS)
    memory, single = after(plan, lot(ODD, ODD), 2), after(alone, lot(ODD), 2)
    kept = memory[1].copy()
    for counts in story:
        batch = lot(counts, [0] * CELLS)
        np.testing.assert_allclose(plan.judge(batch, memory)[0], alone.judge(lot(counts), single)[0], atol=1e-9)
        assert not plan.judge(batch, memory)[1].any()
        memory, single = plan.learn(batch, memory), alone.learn(lot(counts), single)
    assert np.array_equal(memory[1], kept)
    np.testing.assert_allclose(memory[0], single[0])


def test_learning_gives_a_new_array() -> None:
    plan = plan_of()
    memory = plan.start()
    assert plan.learn(lot([0] * CELLS), memory) is not memory
    plan.learn(lot(ODD), memory)
    assert not memory.any()


@pytest.mark.parametrize("rows", [100.0, 1000.0, 1e5])
def test_no_reference_that_the_sample_leaves_possible_pays(rows: float) -> None:
    """Shares p with m KL(sample, p) of at most the radius: E_p b <= s, for p drawn around the sample."""
    plan = plan_of(COUNTS / COUNTS.sum() * rows)
    memory = after(plan, lot(ODD), 5)
    paid = np.stack([np.exp(plan.judge(lot(cell), memory)[0]) for cell in np.eye(CELLS)])
    shares, depth = COUNTS / COUNTS.sum(), plan.depth[0]
    generator, tried = np.random.default_rng(1), 0
    for p in generator.dirichlet(shares * rows + 0.1, 400):
        with np.errstate(divide="ignore"):
            far = float(np.sum(np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0) / p), 0.0)))
        if far <= depth:
            tried += 1
            assert (p @ paid <= 1 + 1e-9).all()
    assert tried > 100


def test_a_larger_reference_is_bet_against_at_better_odds() -> None:
    depths, won = [], []
    for rows in (100.0, 1000.0, 10_000.0):
        plan = plan_of(COUNTS / COUNTS.sum() * rows)
        depths.append(float(plan.depth[0]))
        won.append(float(plan.judge(lot(ODD), after(plan, lot(ODD), 5)).max()))
    assert depths == sorted(depths, reverse=True)
    assert won == sorted(won)


def test_tolerance_makes_bets_dearer_and_only_in_its_column() -> None:
    batch, before = lot(ODD, ODD), np.inf
    plain = plan_of(COUNTS * 10, COUNTS * 10)
    untouched = plain.judge(batch, after(plain, batch, 4))[0]
    for bits in (0.0, 0.001, 0.01, 0.1):
        plan = plan_of(COUNTS * 10, COUNTS * 10, tolerance=np.array([0.0, bits]))
        now = plan.judge(batch, after(plan, batch, 4))
        np.testing.assert_array_equal(now[0], untouched)
        assert now[1].max() < before
        before = float(now[1].max())


def test_padding_changes_no_bet() -> None:
    wide = [*COUNTS[:-2], 0, 0, 0, *COUNTS[-2:]]
    used = np.array([[True] * 4 + [False] * 3 + [True] * 2])
    odd = [*ODD[:-2], 0, 0, 0, *ODD[-2:]]
    narrow, padded = plan_of(), plan_of(np.array(wide), used=used)
    assert padded.depth == pytest.approx(narrow.depth)
    np.testing.assert_allclose(
        padded.judge(lot(odd), after(padded, lot(odd), 3)),
        narrow.judge(lot(ODD), after(narrow, lot(ODD), 3)),
        atol=1e-6,
    )
