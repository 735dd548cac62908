"""Kinds of columns at their borders: the last value that still fits, and the first that does not."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.development.kinds import LARGEST_INTEGER, MOST_CATEGORIES, kind_of
from fullcircle.errors import DataUnfit


def _series(*values: Any) -> pd.Series[Any]:
    return pd.Series(list(values), name="x", dtype=object)


def _refused(series: Any, what: str, *, private: bool = False) -> DataUnfit:
    with pytest.raises(DataUnfit, match=what) as caught:
        kind_of(series, private=private)
    assert caught.value.allowed == "numbers, true and false, text, categories, or times"
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("value", [LARGEST_INTEGER, -LARGEST_INTEGER, 0])
def test_the_largest_integers_fit(value: int) -> None:
    assert kind_of(_series(value, 1)) == "integer"
    assert kind_of(pd.Series([value, 1], name="x")) == "integer"


@pytest.mark.parametrize("value", [LARGEST_INTEGER + 1, -LARGEST_INTEGER - 1, 10**30, -(10**30)])
def test_larger_ones_do_not(value: int) -> None:
    error = _refused(_series(value, 1), "beyond 64 bits")
    assert "make it text" in (error.next_step or "")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_on_either_side_is_refused(value: float) -> None:
    _refused(pd.Series([1.5, value], name="x"), "holds infinity")
    _refused(_series(1, value), "holds infinity")
    assert kind_of(pd.Series([1.5, 1.7976931348623157e308, -1.7976931348623157e308], name="x")) == "number"


@pytest.mark.parametrize(("year", "fits"), [(1677, False), (1678, True), (2261, True), (2262, False)])
def test_times_fit_into_nanoseconds(year: int, fits: bool) -> None:
    series = _series(dt.datetime(year, 6, 1), dt.datetime(2020, 1, 1))
    if fits:
        assert kind_of(series) == "time"
    else:
        assert str(year) in (_refused(series, "times that cannot be stored").received or "")


@pytest.mark.parametrize(("distinct", "kind"), [(MOST_CATEGORIES, "category"), (MOST_CATEGORIES + 1, "text")])
def test_a_hundred_categories_are_the_most(distinct: int, kind: str) -> None:
    assert kind_of(pd.Series([f"t{n % distinct}" for n in range(500)])) == kind


@given(st.integers(1, 40), st.integers(1, 120))
def test_text_repeats_where_it_is_a_category(distinct: int, rows: int) -> None:
    values = [f"t{n % distinct}" for n in range(rows)]
    expected = "category" if len(set(values)) < rows / 2 else "text"
    assert kind_of(pd.Series(values, name="x")) == expected


@given(st.lists(st.integers(-9, 9) | st.none(), min_size=1).filter(lambda values: any(v is not None for v in values)))
def test_gaps_do_not_change_what_a_column_is(values: list[int | None]) -> None:
    present = [value for value in values if value is not None]
    assert kind_of(_series(*values)) == kind_of(_series(*present)) == "integer"


@pytest.mark.parametrize(
    ("series", "advice"),
    [
        (pd.Series(pd.to_timedelta([1, 2], unit="h"), name="x"), "frame['x'].dt.total_seconds()"),
        (pd.Series(pd.period_range("2020", periods=2, freq="D"), name="x"), "frame['x'].dt.to_timestamp()"),
        (_series(b"a", b"b"), "frame['x'].str.decode"),
        (_series("a", 1), "one type in prepare"),
        (_series([1], [2]), "leave it out of features"),
    ],
)
def test_the_advice_fits_the_type_and_names_the_column(series: Any, advice: str) -> None:
    assert advice in (_refused(series, "column 'x' has no type").next_step or "")


def test_an_example_of_each_type_is_shown_and_none_of_a_private_column() -> None:
    mixed = _series(*["secret"] * 3, 7, 8.5, True, (1,))
    shown = _refused(mixed, "has no type").received or ""
    for part in ("'secret'", "7", "8.5"):
        assert part in shown
    kept = _refused(mixed, "has no type", private=True).received or ""
    assert "secret" not in kept
    assert "bool and float and int and str" in kept


def test_a_long_example_is_cut() -> None:
    shown = _refused(_series("a" * 500, 1), "has no type").received or ""
    assert len(shown) < 120


def test_nothing_at_all_says_so() -> None:
    for empty in (pd.Series([], name="x", dtype=float), _series(None, None), pd.Series([np.nan], name="x")):
        assert _refused(empty, "holds no value at all").received == "only missing values"
