"""Columns that an alarm named: since when they are away, how far they are, and when they count as back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fullcircle.monitoring.away import BACK, Since, suspects
from fullcircle.monitoring.columns import Columns
from fullcircle.monitoring.detector import Flags, Floats
from fullcircle.stats import distances
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.project import Monitor

SHARES = np.array([[0.4, 0.4, 0.1, 0.05, 0.05]] * 3)
CHANGED = np.array([[0.05, 0.05, 0.1, 0.4, 0.4]] * 3)
NOTHING = np.zeros((3, 5))
NOBODY, ALL = np.zeros(3, dtype=np.bool_), np.ones(3, dtype=np.bool_)
lots = arrays(np.int64, (3, 5), elements=st.integers(0, 60)).map(lambda each: each.astype(float))
flags = arrays(np.bool_, 3)
stories = st.lists(st.tuples(lots, flags, flags, flags), min_size=1, max_size=5)


def _named(since: Since, which: Flags, certain: Flags = NOBODY, own: float = 9.0, raw: Floats = NOTHING) -> None:
    since.leave(which, certain, np.full(3, own), raw)


def _away(rows: float = 100.0) -> Since:
    """All three columns are away after one batch of the changed shares."""
    since = Since.start((3, 5))
    since.step(CHANGED * rows, CHANGED * rows, SHARES, NOBODY)
    _named(since, ALL)
    return since


def _live(since: Since, story: list[tuple[Floats, Flags, Flags, Flags]]) -> list[tuple[int, ...]]:
    found = []
    for counts, quiet, named, certain in story:
        found.append(since.step(counts, counts / 2, SHARES, quiet))
        if named.any():
            _named(since, named, certain, own=float(counts.sum()))
    return found


def test_nothing_is_away_at_the_start() -> None:
    since = Since.start((3, 5))
    assert not since.away.any()
    assert since.step(SHARES * 1000, SHARES * 1000, SHARES, NOBODY) == ()
    assert not since.back.any()  # nobody is away, so nothing speaks for a return
    assert since.age.tolist() == [1, 1, 1]


def test_the_onset_is_the_batch_after_the_last_quiet_one() -> None:
    since, lot = Since.start((3, 5)), np.full((3, 5), 2.0)
    for quiet in ([1, 1, 0], [1, 0, 0], [0, 0, 0]):
        since.step(lot, lot, SHARES, np.array(quiet, dtype=np.bool_))
    assert since.age.tolist() == [1, 2, 3]
    assert since.seen[:, 0].tolist() == [2.0, 4.0, 6.0]


def test_a_quiet_batch_moves_no_onset_of_a_column_that_is_away() -> None:
    since = _away()
    since.step(CHANGED * 100, CHANGED * 100, SHARES, ALL)
    assert since.age.tolist() == [2, 2, 2]
    np.testing.assert_allclose(since.seen, CHANGED * 200)


def test_a_batch_without_rows_changes_nothing() -> None:
    since = _away()
    before = since.state()
    for quiet in (NOBODY, ALL):
        assert since.step(np.zeros((3, 5)), np.zeros((3, 5)), SHARES, quiet) == ()
    assert since.state() == before


@given(lots, st.floats(0.01, 1.0))
@settings(max_examples=40)
def test_what_speaks_for_a_return_is_the_likelihood_ratio_over_the_effect(counts: Floats, part: float) -> None:
    since, smooth = _away(), CHANGED * 100 + 0.5
    changed = smooth / smooth.sum(axis=1, keepdims=True)
    told = [
        sum(part * float(n) * math.log(p / q) for n, p, q in zip(*row, strict=True))
        for row in zip(counts, SHARES, changed, strict=True)
    ]
    home = since.step(counts, counts * part, SHARES, ALL)
    assert all((place in home) == (each >= BACK) for place, each in enumerate(told) if abs(each - BACK) > 1e-3)
    for place, each in enumerate(told):
        assert since.back[place] == pytest.approx(0.0 if place in home else max(0.0, each), rel=1e-4, abs=1e-3)


def test_a_column_that_stays_changed_does_not_come_back() -> None:
    """At most once in 1000 batches, since each restart of the test must win 1000 to 1."""
    generator, since = np.random.default_rng(3), _away(400.0)
    returned = [
        since.step(counts, counts, SHARES, ALL)
        for counts in generator.multinomial(30, CHANGED[0], (300, 3)).astype(float)
    ]
    assert not any(returned)
    assert since.away.all()
    assert (since.back <= BACK).all()


def test_a_long_change_does_not_delay_the_return() -> None:
    """What spoke against it is forgotten: 500 bad batches cost no more than one."""
    waited = []
    for batches in (1, 500):
        since = _away()
        for _ in range(batches):
            since.step(CHANGED * 50, CHANGED * 50, SHARES, ALL)
        waited.append(next(n for n in range(1, 50) if since.step(SHARES * 5, SHARES * 5, SHARES, ALL)))
    assert waited[0] == waited[1] <= 5


def test_only_the_column_that_returned_begins_anew() -> None:
    since, lot = _away(), CHANGED * 50
    lot[1] = SHARES[1] * 50
    assert since.step(lot, lot, SHARES, ALL) == (1,)
    assert since.away.tolist() == [True, False, True]
    assert (since.seen[1].sum(), since.age[1], since.changed[1].sum(), since.back[1]) == (0, 0, 0, 0)
    assert since.age[[0, 2]].tolist() == [2, 2]
    # The next batch is not held against what was left behind.
    since.step(SHARES * 50, SHARES * 50, SHARES, NOBODY)
    assert since.back[1] == 0.0
    assert since.age[1] == 1


def test_what_is_unlike_the_alarm_and_the_reference_stays_away_and_its_test_begins_anew() -> None:
    since = _away()
    assert since.step(SHARES * 40, SHARES * 40, SHARES, NOBODY) == ()
    assert since.away.all()
    assert not since.back.any()
    assert since.step(SHARES * 2, SHARES * 2, SHARES, NOBODY) == ()
    assert since.back.all(), "too little to ask of it to be quiet"
    assert since.step(SHARES * 40, SHARES * 40, SHARES, ALL) == (0, 1, 2)


def test_a_column_that_was_quiet_until_it_was_named_is_tested_against_the_batch_that_named_it() -> None:
    since, lot = Since.start((3, 5)), CHANGED * 100
    since.step(lot, lot, SHARES, ALL)
    _named(since, np.array([False, True, False]), raw=lot)
    np.testing.assert_allclose(since.changed[1], (lot[1] + 0.5) / 102.5)
    assert (since.seen.sum(axis=1).tolist(), since.age.tolist()) == ([0, 100, 0], [0, 1, 0])


def test_a_second_alarm_keeps_what_the_first_one_saw() -> None:
    since = Since.start((3, 5))
    since.step(CHANGED * 100, CHANGED * 100, SHARES, NOBODY)
    first, second = np.array([True, False, False]), np.array([True, True, False])
    _named(since, first, certain=NOBODY, own=9.0)
    kept = since.changed[0].copy()
    since.step(SHARES * 2, SHARES * 2, SHARES, NOBODY)
    spoke = since.back[0]
    _named(since, second, certain=first, own=4.0)
    assert np.array_equal(since.changed[0], kept)
    assert since.back[0] == spoke > 0
    assert since.own.tolist() == [9.0, 4.0, 0.0]
    assert since.certain.tolist() == [True, False, False]  # what was doubtful may become certain
    assert since.away.tolist() == [True, True, False]
    assert not since.changed[2].any()


def test_certain_are_only_columns_that_are_named() -> None:
    since = Since.start((3, 5))
    _named(since, np.array([True, False, False]), certain=ALL)
    assert since.certain.tolist() == [True, False, False]
    np.testing.assert_allclose(since.changed[0], 0.2)  # nothing was seen: every cell alike


@given(stories, st.integers(0, 5))
@settings(max_examples=25)
def test_a_restart_goes_on_as_if_nothing_had_been(story: list[tuple[Floats, Flags, Flags, Flags]], cut: int) -> None:
    whole, first, second = (Since.start((3, 5)) for _ in range(3))
    returned = _live(whole, story)
    before = _live(first, story[:cut])
    assert second.restore(first.state())
    assert before + _live(second, story[cut:]) == returned
    assert second.state() == whole.state()


@given(stories)
@settings(max_examples=25)
def test_what_holds_after_any_story(story: list[tuple[Floats, Flags, Flags, Flags]]) -> None:
    since = Since.start((3, 5))
    for batch in story:
        was = since.away.copy()
        (home,) = _live(since, [batch])
        assert all(was[place] for place in home)
        assert not (since.certain & ~since.away).any()
        assert not since.back[~since.away].any() or home
        np.testing.assert_allclose(since.changed[since.away].sum(axis=1), 1.0, rtol=1e-6)
        assert (since.age <= len(story)).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept[:-1],
        lambda kept: [*kept, b""],
        lambda kept: [kept[0][:-4], *kept[1:]],
        lambda kept: [*kept[:4], kept[4] + b"\0\0\0\0", *kept[5:]],
        lambda kept: [*kept[:-1], b""],
    ],
    ids=["an array less", "one more", "a count less", "an age more", "no flags"],
)
def test_a_state_that_does_not_fit_is_left_alone(damage: Any) -> None:
    since = _away()
    before = since.state()
    assert not Since.restore(since, damage(_away(7.0).state()))
    assert since.state() == before


def test_the_state_of_other_columns_does_not_fit() -> None:
    assert not Since.start((2, 5)).restore(_away().state())
    assert not Since.start((3, 6)).restore(_away().state())


def test_arrays_are_not_shared_with_the_state() -> None:
    """Bytes of frombuffer cannot be written: a return after a restart would raise."""
    since = Since.start((3, 5))
    assert since.restore(_away().state())
    assert since.step(SHARES * 100, SHARES * 100, SHARES, ALL) == (0, 1, 2)
    assert since.age.tolist() == [0, 0, 0]


def _columns(*names: str) -> Columns:
    counts = (400, 400, 100, 50, 50)
    features = tuple(
        FeatureProfile(name=name, kind="category", categories=("a", "b", "c"), counts=counts) for name in names
    )
    return Columns(features, Profile(features=features, rows=1000), Monitor(), len(names))


def test_suspects_come_strongest_first_and_then_by_name() -> None:
    since, columns = _away(), _columns("z", "b", "a")
    since.own[:] = 3.0, 5.0, 5.0
    since.certain[:] = True, False, True
    found = suspects(since, columns)
    assert [each.feature for each in found] == ["a", "b", "z"]
    assert [each.evidence for each in found] == [5.0, 5.0, 3.0]
    assert [each.certain for each in found] == [True, False, True]
    told = distances.compare(np.array([[400, 400, 100, 50, 50]]), CHANGED[:1] * 100)
    for each in found:
        assert (each.distance, each.low, each.high) == pytest.approx((told.js[0], told.js_low[0], told.js_high[0]))
        assert 0.2 < each.distance < 1


def test_only_columns_that_are_away_are_suspects() -> None:
    since, columns = Since.start((3, 5)), _columns("z", "b", "a")
    assert suspects(since, columns) == ()
    _named(since, np.array([False, True, False]))
    (only,) = suspects(since, columns)
    # Named before it had a row: no distance can be told, and none is made up.
    assert (only.feature, only.distance, only.low, only.high) == ("b", 0.0, 0.0, 0.0)
