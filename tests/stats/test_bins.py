"""Bins: every value falls in one, counts merge by addition, and atoms stay apart."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.stats.bins import as_numbers, count_categories, count_numbers, quantile_edges

anything = st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5)), max_size=60)
words = st.sampled_from(["a", "b", "c", "nan", ""])


@given(anything, st.integers(1, 12))
def test_edges_are_distinct_ascending_and_not_too_many(values: list[float | None], bins: int) -> None:
    edges = quantile_edges(values, bins)  # type: ignore[arg-type]  # None among numbers is meant
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert edges.size <= bins
    assert json.loads(json.dumps(edges.tolist())) == edges.tolist()


@given(anything, anything, anything)
def test_every_value_is_counted_once_and_counts_add_up(
    reference: list[float | None], first: list[float | None], second: list[float | None]
) -> None:
    edges = quantile_edges(reference)  # type: ignore[arg-type]
    one, two, both = (count_numbers(v, edges) for v in (first, second, first + second))  # type: ignore[arg-type]
    assert one.sum() == len(first)
    assert len(one) == len(edges) + 3
    assert (one + two == both).all()
    assert one[-2] == 0


def test_a_smooth_column_falls_in_bins_of_equal_share() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    counts = count_numbers(values, quantile_edges(values))
    assert counts[:10].tolist() == [1000] * 10
    assert counts[10:].tolist() == [0, 0]


def test_a_bin_holds_its_upper_edge() -> None:
    counts = count_numbers([1.0, 1.5, 2.0, 2.5, math.inf, -math.inf, math.nan], [1.0, 2.0])
    assert counts.tolist() == [2, 2, 2, 0, 1]


@pytest.mark.parametrize(
    ("reference", "moved"),
    [([5.0] * 50, [4.0]), ([5.0] * 50, [6.0]), ([0.0] * 60 + [1.0] * 40, [-1.0]), ([0, 1] * 20, [2])],
)
def test_a_value_beyond_those_of_a_constant_or_a_flag_has_a_bin_of_its_own(
    reference: list[float], moved: list[float]
) -> None:
    edges = quantile_edges(reference)
    before, after = count_numbers(reference, edges), count_numbers(moved, edges)
    assert (before * after).sum() == 0


def test_few_distinct_values_get_a_bin_each() -> None:
    values = np.repeat([1, 2, 3, 4], 25)
    counts = count_numbers(values, quantile_edges(values))
    assert sorted(counts.tolist()) == [0, 0, 0, 0, 25, 25, 25, 25]


def test_without_a_finite_value_there_is_one_bin() -> None:
    edges = quantile_edges([math.nan, math.inf])
    assert edges.size == 0
    assert count_numbers([1.0, math.nan], edges).tolist() == [1, 0, 1]


def test_numbers_come_from_booleans_integers_and_pandas() -> None:
    assert as_numbers([True, False]).tolist() == [1.0, 0.0]
    frame = pd.DataFrame(
        {"n": pd.array([1, None, 3], dtype="Int64"), "b": pd.array([True, None, False], dtype="boolean")}
    )
    assert count_numbers(frame["n"].to_numpy(dtype=object), [2.0]).tolist() == [1, 1, 0, 1]
    assert count_numbers(frame["b"].to_numpy(dtype=object), [0.0]).tolist() == [1, 1, 0, 1]


@given(st.lists(st.one_of(st.none(), words)), st.lists(words))
def test_category_counts_add_up(first: list[str | None], second: list[str]) -> None:
    known = ("a", "b", "nan")
    one, two = count_categories(first, known), count_categories(second, known)
    assert one.tolist() == [
        first.count("a"),
        first.count("b"),
        first.count("nan"),
        first.count("c") + first.count(""),
        first.count(None),
    ]
    assert (one + two == count_categories([*first, *second], known)).all()


def test_missing_in_every_spelling_and_values_that_are_not_text() -> None:
    values = np.array([None, math.nan, pd.NA, pd.NaT, "1", 1, True, "NaT"], dtype=object)
    assert count_categories(values, ("1", "True")).tolist() == [2, 1, 1, 4]


@pytest.mark.parametrize("dtype", ["str", "object", "category", "string"])
def test_categories_come_from_any_pandas_column(dtype: str) -> None:
    column = pd.Series(["a", "b", None, "a"], dtype=object).astype(dtype)
    if dtype == "str" and not isinstance(column.dtype, pd.StringDtype):
        column = pd.Series(["a", "b", None, "a"])  # pandas 2: astype(str) would spell None out
    assert count_categories(column.to_numpy(dtype=object), ("a",)).tolist() == [2, 1, 1]


def test_the_smallest_number_there_is_leaves_no_infinite_edge() -> None:
    smallest = -1.7976931348623157e308
    edges = quantile_edges([smallest] * 9 + [0.0])
    assert edges.tolist() == [smallest], "JSON cannot carry infinity"
    assert count_numbers([smallest, 0.0], edges).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("bins", [1, 0])
def test_one_bin_needs_no_edge(bins: int) -> None:
    assert quantile_edges([1.0, 2.0, 3.0], bins).size == 0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.integers(2, 12))
def test_no_bin_of_distinct_values_is_much_fuller_than_its_share(values: list[float], bins: int) -> None:
    distinct = sorted(set(values))
    counts = count_numbers(distinct, quantile_edges(distinct, bins))
    assert counts.max() <= math.ceil(len(distinct) / bins) + 1
    assert counts[-2:].tolist() == [0, 0]


@given(st.lists(words), st.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(values: list[str], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert (count_categories(values, ("a", "b")) == count_categories(shuffled, ("a", "b"))).all()
