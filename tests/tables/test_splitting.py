"""Splitting: laws that hold for any table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.tables.snapshots import row_keys
from fullcircle.tables.splitting import Mask, split


def patients(n: int = 400, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "ill": rng.choice(["no", "yes", "perhaps"], n, p=[0.7, 0.25, 0.05]),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="h"),
        }
    )


def drawn(frame: Any, **more: Any) -> Mask:
    options: dict[str, Any] = {"label": "ill", "task": "classification", "time": None, "share": 0.25, "seed": 0}
    return split(frame, **(options | more))


def test_each_class_gives_its_share() -> None:
    frame = patients()
    test = drawn(frame)
    assert test.dtype == np.bool_
    for _, rows in frame.groupby("ill"):
        assert test[rows.index].sum() == round(0.25 * len(rows))


def test_regression_draws_the_exact_share() -> None:
    assert drawn(patients(), label="x", task="regression", share=0.3).sum() == 120


def test_a_seed_decides_and_the_order_of_rows_and_columns_does_not() -> None:
    frame = patients()
    test = drawn(frame)
    assert (drawn(frame) == test).all()
    assert 0.1 < (drawn(frame, seed=1) & test).sum() / test.sum() < 0.45
    order = np.random.default_rng(3).permutation(len(frame))
    assert (drawn(frame.iloc[order][["when", "ill", "x"]]) == test[order]).all()


def test_the_draw_does_not_favour_any_rows() -> None:
    frame = pd.DataFrame({"x": np.arange(3000.0), "y": 0.0})
    means = [
        frame["x"][split(frame, label="y", task="regression", time=None, share=0.2, seed=s)].mean() for s in range(40)
    ]
    assert np.mean(means) == pytest.approx(1499.5, abs=4 * 866 / np.sqrt(600 * 40))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=2, max_size=60), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_equal_rows_stay_on_one_side(rows: list[tuple[int, int]], seed: int) -> None:
    frame = pd.DataFrame(rows, columns=["x", "y"])
    for task in ("classification", "regression"):
        try:
            test = split(frame, label="y", task=task, time=None, share=0.3, seed=seed)
        except DataUnfit:
            assert frame.drop_duplicates().shape[0] == 1
            continue
        sides = frame.assign(test=test).groupby(["x", "y"])["test"].nunique()
        assert (sides == 1).all()
        assert 0 < test.sum() < len(frame)


def test_with_time_the_latest_rows_are_the_test() -> None:
    frame = patients()
    test = drawn(frame, time="when")
    assert frame["when"][test].min() > frame["when"][~test].max()
    assert test.sum() == pytest.approx(100, abs=3)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.floats(0.05, 0.5))
@settings(max_examples=80, deadline=None)
def test_rows_of_one_moment_stay_together(hours: list[int], share: float) -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(hours, unit="h"), "y": range(len(hours))})
    if len(set(hours)) == 1:
        with pytest.raises(DataUnfit, match="cannot be split"):
            split(frame, label="y", task="regression", time="when", share=share, seed=0)
        return
    test = split(frame, label="y", task="regression", time="when", share=share, seed=0)
    assert frame["when"][test].min() > frame["when"][~test].max()


@pytest.mark.parametrize("time", [None, "when"])
def test_what_the_champion_learned_is_never_a_test_row(time: str | None) -> None:
    first = patients(300)
    learned = frozenset(row_keys(first)[~drawn(first, time=time)].tolist())
    later = pd.concat([patients(200, seed=5), first], ignore_index=True)
    keys = row_keys(later)
    test = drawn(later, time=time, keep_training=learned)
    assert not set(keys[test].tolist()) & learned
    assert test.sum() == pytest.approx(125, abs=3)
    assert (~test & ~np.isin(keys, np.array(list(learned), dtype=np.uint64))).any()


@pytest.mark.parametrize("time", [None, "when"])
def test_where_all_rows_must_stay_training_rows_it_is_said(time: str | None) -> None:
    frame = patients(50)
    with pytest.raises(DataUnfit) as caught:
        drawn(frame, time=time, keep_training=frozenset(row_keys(frame).tolist()))
    assert "50 of them must stay" in (caught.value.received or "")
    assert caught.value.next_step


def test_one_row_a_missing_column_and_rare_classes() -> None:
    with pytest.raises(DataUnfit):
        drawn(patients(1))
    with pytest.raises(ColumnMissing, match="'sick'"):
        drawn(patients(5), label="sick")
    with pytest.raises(ColumnMissing, match="'at'"):
        drawn(patients(5), time="at")
    rare = pd.DataFrame({"x": range(4), "ill": ["a", "b", "c", None]})
    assert drawn(rare).sum() == 1


def test_a_row_that_fills_most_of_the_table_does_not_hide_the_rest() -> None:
    frame = pd.DataFrame({"x": [7] * 60 + list(range(100, 140)), "y": 1})
    for seed in range(5):
        test = split(frame, label="y", task="regression", time=None, share=0.25, seed=seed)
        assert test.sum() == 25
        assert not test[:60].any()


@pytest.mark.parametrize(("time", "said"), [(None, "on either side"), ("when", "on either side, of different times")])
def test_the_refusal_says_what_is_needed(time: str | None, said: str) -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-01"] * 6), "ill": ["no"] * 6, "x": [1.0] * 6})
    with pytest.raises(DataUnfit) as caught:
        drawn(frame, time=time)
    assert (caught.value.allowed or "").endswith(said)
    assert "6 rows, 0 of them" in (caught.value.received or "")


def test_new_rows_of_one_moment_are_the_test_when_the_champion_knows_the_rest() -> None:
    old = pd.DataFrame({"when": pd.to_datetime(range(30), unit="h"), "ill": "no", "x": range(30)})
    new = pd.DataFrame({"when": pd.to_datetime([100] * 5, unit="h"), "ill": "no", "x": range(100, 105)})
    frame = pd.concat([old, new], ignore_index=True)
    test = drawn(frame, time="when", keep_training=frozenset(row_keys(old).tolist()))
    assert np.flatnonzero(test).tolist() == [30, 31, 32, 33, 34]


@pytest.mark.parametrize("time", [None, "when"])
def test_a_small_share_still_keeps_one_row(time: str | None) -> None:
    frame = patients(10)
    frame["when"] = pd.to_datetime(range(10), unit="h")
    test = drawn(frame, time=time, task="regression", label="x", share=0.01)
    assert test.sum() == 1
    if time:
        assert np.flatnonzero(test).tolist() == [9]


@given(st.integers(2, 60), st.sampled_from([0.05, 0.1, 0.25, 0.5]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_share_is_kept_to_the_row_where_all_rows_differ(rows: int, share: float, seed: int) -> None:
    frame = pd.DataFrame({"x": np.arange(float(rows)), "when": pd.to_datetime(range(rows), unit="D")})
    for time in (None, "when"):
        test = split(frame, label="x", task="regression", time=time, share=share, seed=seed)
        assert test.sum() == max(1, round(share * rows))


@given(st.integers(0, 20), st.integers(0, 20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_row_that_was_learned_from_stays_learned_when_rows_are_added(old: int, new: int, timed: bool) -> None:
    frame = patients(old + new + 2)
    known = frozenset(row_keys(frame.iloc[:old]).tolist())
    test = drawn(frame, time="when" if timed else None, keep_training=known)
    assert not test[:old].any()
    assert test.any()


def test_a_time_with_a_class_needs_no_share_of_each_class() -> None:
    # With time the order decides; classes are not balanced behind its back.
    frame = pd.DataFrame({"when": pd.to_datetime(range(40), unit="h"), "ill": ["no"] * 30 + ["yes"] * 10, "x": 0.0})
    assert set(frame["ill"][drawn(frame, time="when")]) == {"yes"}


def test_missing_labels_are_a_class_of_their_own() -> None:
    frame = pd.DataFrame({"x": range(80), "ill": ["no"] * 40 + [None] * 40})
    test = drawn(frame)
    assert (test[:40].sum(), test[40:].sum()) == (10, 10)
