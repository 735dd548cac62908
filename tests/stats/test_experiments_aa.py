"""A short version of ``benchmarks.experiments_aa``: what finds nothing where there is nothing, and something else."""

from __future__ import annotations

import math

import pytest

from laws.sizes import ROOT

RUNS, LENGTH = 200, 600
MOST = 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)  # alpha and two Monte-Carlo errors


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("place", range(7))
def test_looking_after_every_row_finds_no_difference_that_is_not_there(place: int) -> None:
    from benchmarks.experiments_aa import WORLDS, of_world

    assert len(WORLDS) == 7
    found = of_world(WORLDS[place], RUNS, LENGTH)
    assert found.ours <= MOST
    # The z-test on the same rows; with equal arms and heavy tails it needs more rows than these to go wrong.
    assert found.naive > (found.ours if place in (4, 6) else MOST)


def test_late_labels_deceive_nobody_and_labels_that_get_lost_in_one_arm_are_told() -> None:
    from benchmarks.experiments_aa import delayed

    found, distrusted = delayed(RUNS, LENGTH)
    assert found.ours <= MOST < found.naive
    assert distrusted <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / RUNS)
    _, told = delayed(50, 3 * LENGTH, lost=0.4)
    assert told > 0.9


def test_shadows_entities_and_learned_shares_keep_alpha_too() -> None:
    from benchmarks.experiments_aa import by_entity, learned, paired

    assert paired(RUNS, LENGTH).ours <= MOST
    assert learned(RUNS, LENGTH).ours <= MOST
    entities = by_entity(RUNS // 2, LENGTH, looks=15)
    assert entities.ours <= MOST < entities.naive


def test_entities_that_come_back_for_ever_do_not_outwit_the_clock() -> None:
    from benchmarks.experiments_aa import returning

    assert max(returning(40, spread=spread, entities=200, looks=40) for spread in (1.0, 0.01)) <= 0.1
    assert returning(5, spread=1.0, entities=200, looks=3, most=2.0) == 0.0


def test_a_trend_is_no_difference_and_moved_shares_are_no_harm() -> None:
    from benchmarks.experiments_aa import beside, trending

    found = trending(RUNS // 4, LENGTH)
    assert found.ours <= MOST < found.naive
    moved = beside(RUNS, LENGTH)
    assert moved.ours <= MOST < moved.naive


def test_a_difference_that_is_there_is_found() -> None:
    from benchmarks.experiments_aa import WORLDS, _planned, delayed, paired

    assert all(_planned(WORLDS[place], 60).met for place in (0, 2))
    assert delayed(RUNS, 3 * LENGTH, effect=0.1)[0].ours > 0.8
    assert paired(RUNS, LENGTH, effect=0.3).ours > 0.8


def test_shares_and_guardrails_are_seen_and_no_sooner_than_they_may() -> None:
    from benchmarks.experiments_aa import guarded, mismatch

    assert mismatch(RUNS, LENGTH, 0.5).ours <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / RUNS)
    assert mismatch(RUNS, LENGTH, 0.65).ours > 0.9
    assert max(each.ours for each in guarded(RUNS // 2, LENGTH // 2, 0.02)) <= MOST
    assert min(each.ours for each in guarded(RUNS // 10, LENGTH, 0.1)) > 0.9


def test_the_rows_say_what_they_are() -> None:
    from benchmarks.experiments_aa import Found, _false, _power

    row = _false("x", Found(0.04, 0.3), 2000)
    assert row.met
    assert row.goal == pytest.approx(0.05 + 2 * 0.00487, abs=1e-4)
    assert not _false("x", Found(0.07), 2000).met
    assert _false("x", Found(0.07), 2000).peer is None
    assert not _power("x", Found(0.7), 0.8).met
