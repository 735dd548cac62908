"""What a column looks like, and which one is the label, the time, or an identifier: table by table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.development.kinds import MOST_CATEGORIES, kind_of
from fullcircle.exploration.columns import Column, id_name, label_of, look_at, names_rows, task_of, time_of

N = 60

LOOKS: Mapping[str, tuple[Any, str]] = {
    "whole": (range(N), "whole numbers"),
    "whole as floats": (np.arange(float(N)), "whole numbers"),
    "small whole": (np.arange(N, dtype="int8"), "whole numbers"),
    "nullable whole": (pd.array([1, None] * 30, dtype="Int64"), "whole numbers"),
    "floats": (np.linspace(0.0, 1.0, N), "numbers"),
    "floats with gaps": ([0.5, None] * 30, "numbers"),
    "infinity": ([1.0, np.inf] * 30, "nothing usable"),
    "minus infinity": ([1.0, -np.inf] * 30, "nothing usable"),
    "complex": (np.full(N, 1j), "nothing usable"),
    "bool": ([True, False] * 30, "yes or no"),
    "nullable bool": (pd.array([True, None] * 30, dtype="boolean"), "yes or no"),
    "bool objects with gaps": (pd.Series([True, None] * 30, dtype=object), "yes or no"),
    "few words": (["a", "b"] * 30, "categories"),
    "few words with gaps": (["a", None] * 30, "categories"),
    "many words": ([f"t{n}" for n in range(N)], "text"),
    "half as many words as rows": ([f"t{n // 2}" for n in range(N)], "text"),
    "one less than half": ([f"t{max(1, n // 2)}" for n in range(N)], "categories"),
    "a hundred words": ([f"t{n % 100}" for n in range(300)], "categories"),
    "a hundred and one words": ([f"t{n % 101}" for n in range(300)], "text"),
    "categorical": (pd.Categorical(["a", "b"] * 30), "categories"),
    "categorical of many": (pd.Categorical([f"t{n}" for n in range(101)]), "text"),
    "categorical of numbers": (pd.Categorical([1, 2] * 30), "categories"),
    "times": (pd.date_range("2020", periods=N), "times"),
    "times with a zone": (pd.date_range("2020", periods=N, tz="Europe/Berlin"), "times"),
    "dates": ([dt.date(2020, 1, 1 + n % 28) for n in range(N)], "times"),
    "dates as text": ([f"2020-01-{1 + n % 28:02d}" for n in range(N)], "times"),
    "moments as text": ([f"2020-01-{1 + n % 28:02d}T06:00:00Z" for n in range(N)], "times"),
    "like dates, and one is none": (["2020-01-01"] * 59 + ["2020-13-45"], "categories"),
    "dates in another order": ([f"{1 + n % 28:02d}/01/2020" for n in range(N)], "categories"),
    "nothing": ([None] * N, "nothing usable"),
    "lists": ([[1]] * N, "nothing usable"),
    "bytes": ([b"a", b"b"] * 30, "nothing usable"),
    "decimals": ([Decimal("1.5")] * N, "nothing usable"),
    "a mixture": (["a", 1] * 30, "nothing usable"),
}


@pytest.mark.parametrize("case", LOOKS)
def test_a_column_looks_as_it_is(case: str) -> None:
    values, look = LOOKS[case]
    assert look_at(pd.Series(values, name="x")).look == look


def test_a_look_counts_values_and_gaps() -> None:
    assert look_at(pd.Series([1, 1, 2, None], name="x")) == Column("x", "whole numbers", 2, 4, 0.25)
    assert look_at(pd.Series([], name="x", dtype=float)) == Column("x", "nothing usable", 0, 0, 0.0)


@given(st.integers(1, 120), st.integers(1, 240))
def test_categories_are_told_as_the_contract_tells_them(distinct: int, rows: int) -> None:
    # What is proposed as a category must be one in production, or the file would not run unchanged.
    series = pd.Series([f"t{n % distinct}" for n in range(rows)], name="x")
    assert (look_at(series).look == "categories") is (kind_of(series) == "category")
    assert MOST_CATEGORIES == 100


@pytest.mark.parametrize(
    ("look", "distinct", "usable"),
    [
        ("numbers", 2, True),
        ("numbers", 1, False),
        ("whole numbers", 9, True),
        ("yes or no", 2, True),
        ("categories", 3, True),
        ("text", 50, False),
        ("times", 50, False),
        ("nothing usable", 0, False),
    ],
)
def test_what_can_be_learned_from(look: Any, distinct: int, usable: bool) -> None:
    assert Column("x", look, distinct, 60, 0.0).usable is usable


def _columns(*names: str, look: Any = "numbers", distinct: int = 30) -> list[Column]:
    return [Column(name, look, distinct, 60, 0.0) for name in names]


class TestLabel:
    @pytest.mark.parametrize(
        ("names", "label"),
        [
            (("a", "target", "b"), "target"),
            (("churn", "price", "b"), "churn"),
            (("price", "cnt", "b"), "cnt"),
            (("Sale Price", "b"), "Sale Price"),
            (("IS-FRAUD", "b"), "IS-FRAUD"),
            ((" Default ", "b"), " Default "),
            (("y", "b"), "y"),
            (("x", "y", "z", "b"), "b"),
            (("target_id", "a", "b"), "b"),
            (("outcomes", "a", "b"), "b"),
        ],
    )
    def test_the_surest_name_wins(self, names: tuple[str, ...], label: str) -> None:
        found = label_of(_columns(*names))
        assert found is not None
        assert found[0].name == label
        assert (found[1] == "its name says so") is (label != "b")

    def test_else_it_is_the_last_that_can_be_predicted(self) -> None:
        found = label_of([*_columns("a", "b"), *_columns("note", look="text"), *_columns("same", distinct=1)])
        assert found == (_columns("b")[0], "it is the last column that can be predicted")
        assert label_of(_columns("a", "b")) == (_columns("b")[0], "it is the last column")

    def test_where_none_can_be_there_is_none(self) -> None:
        assert label_of([]) is None
        assert label_of([*_columns("id"), *_columns("note", look="text")]) is None


class TestTask:
    @pytest.mark.parametrize(
        ("name", "look", "distinct", "task"),
        [
            ("x", "categories", 3, "classification"),
            ("x", "yes or no", 2, "classification"),
            ("x", "whole numbers", 2, "classification"),
            ("x", "whole numbers", 3, "regression"),
            ("x", "numbers", 2, "regression"),
            ("class", "whole numbers", 10, "classification"),
            ("species.code", "whole numbers", 3, "classification"),
            ("The Class", "whole numbers", 3, "classification"),
            ("class", "whole numbers", 11, "regression"),
            ("class", "numbers", 3, "regression"),
            ("classes", "whole numbers", 3, "regression"),
        ],
    )
    def test_it_follows_from_the_values_and_the_name(self, name: str, look: Any, distinct: int, task: str) -> None:
        found, why = task_of(Column(name, look, distinct, 60, 0.0))
        assert found == task
        assert why.startswith("the label ")

    def test_the_reason_is_true(self) -> None:
        assert task_of(Column("x", "categories", 3, 60, 0.0))[1] == "the label has 3 classes"
        assert task_of(Column("x", "whole numbers", 2, 60, 0.0))[1] == "the label has two values"
        assert "10 whole values" in task_of(Column("class", "whole numbers", 10, 60, 0.0))[1]
        assert task_of(Column("x", "numbers", 11, 60, 0.0))[1] == "the label is a number with many values"
        assert task_of(Column("x", "numbers", 10, 60, 0.0))[1] == "the label is a number"


class TestTime:
    def _time(self, **columns: Any) -> str | None:
        frame = pd.DataFrame(columns)
        found = time_of(frame, [look_at(frame[name]) for name in frame.columns])
        return None if found is None else found[0].name

    ORDERED = pd.date_range("2020", periods=N)
    MIXED = ORDERED[np.random.default_rng(0).permutation(N)]

    def test_dates_in_the_order_of_the_rows_say_when(self) -> None:
        assert self._time(x=self.ORDERED) == "x"
        assert self._time(created=self.MIXED, x=self.ORDERED) == "x"

    @pytest.mark.parametrize("name", ["time", "Order Date", "created_at", "dt", "day", "started", "ts", "timestamp"])
    def test_else_a_name_must(self, name: str) -> None:
        assert self._time(**{name: self.MIXED}) == name

    @pytest.mark.parametrize("name", ["x", "holiday_kind2", "attribute", "bedts"])
    def test_and_others_do_not(self, name: str) -> None:
        assert self._time(**{name: self.MIXED}) == (name if name == "holiday_kind2" else None)

    @pytest.mark.parametrize("name", ["birth_date", "DOB", "expiry_time", "due_date", "updated_at", "last_modified"])
    def test_a_date_that_is_no_event_is_none(self, name: str) -> None:
        assert self._time(**{name: self.ORDERED}) is None

    def test_it_holds_a_date_in_every_row_and_not_always_the_same(self) -> None:
        gap = self.ORDERED.to_series().reset_index(drop=True).mask(pd.Series(range(N)) == 3)
        assert self._time(time=gap) is None
        assert self._time(time=[pd.Timestamp("2020")] * N) is None
        assert self._time(time=range(N)) is None


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "ID",
        "customer_id",
        "CustomerID",
        "customerId",
        "order-id",
        "row id",
        "uuid",
        "Unnamed: 0",
        "index",
        "key",
    ],
)
def test_names_of_identifiers(name: str) -> None:
    assert id_name(name)
    assert id_name(f" {name} ")


@pytest.mark.parametrize("name", ["paid", "width", "humid", "idle", "keys", "rows", "grid", "David", "solid"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert not id_name(name)


class TestNamesRows:
    def _why(self, values: Any) -> str:
        series = pd.Series(values, name="x")
        return names_rows(series, look_at(series))

    def test_text_that_never_repeats_names_the_row(self) -> None:
        assert "every value occurs once" in self._why([f"t{n}" for n in range(N)])
        assert self._why([f"t{n}" for n in range(N - 1)] + ["t0"]) == ""

    @pytest.mark.parametrize("values", [range(N), range(0, 10 * N, 10), range(N, 0, -1)])
    def test_whole_numbers_in_order_count_the_rows(self, values: Any) -> None:
        assert "only go up or down" in self._why(values)

    def test_a_shuffled_count_is_one_too(self) -> None:
        shuffled = np.random.default_rng(0).permutation(N)
        assert "each whole number of a range once" in self._why(shuffled)
        assert self._why(shuffled * 10) == "", "a number that happens to be unique may mean something"

    def test_numbers_with_a_point_or_that_repeat_do_not(self) -> None:
        assert self._why(np.linspace(0.0, 1.0, N)) == ""
        assert self._why([1, 2, 3, 3]) == ""
        assert self._why([7]) == ""
