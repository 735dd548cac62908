"""Contracts learned from training rows, held against the runtime that will use them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.development.contract import learn
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid
from fullcircle.runtimes.contracts import examine, rows_of, to_frame
from fullcircle.runtimes.values import EXACT
from fullcircle.types.contract import Column, Contract
from fullcircle.types.project import Inputs

N = 40


def _learn(values: Any, inputs: Inputs | None = None) -> Column:
    frame = pd.DataFrame({"x": values})
    frame["y"] = np.arange(len(frame), dtype=float)
    (column,) = learn(frame, features=["x"], label="y", task="regression", inputs=inputs).columns
    return column


def _classes(labels: Any) -> Contract:
    frame = pd.DataFrame({"x": range(len(labels)), "y": labels})
    return learn(frame, features=["x"], label="y", task="classification")


KINDS: Mapping[str, tuple[Any, str, bool]] = {
    "bool": ([True, False] * 20, "boolean", False),
    "bool with gaps": ([True, None] * 20, "boolean", True),
    "nullable bool": (pd.array([True, None] * 20, dtype="boolean"), "boolean", True),
    "int": (range(N), "integer", False),
    "small int": (np.arange(N, dtype="uint8"), "integer", False),
    "nullable int": (pd.array([1, None] * 20, dtype="Int64"), "integer", True),
    "ints as objects": (pd.Series(list(range(N)), dtype=object), "integer", False),
    "float": (np.linspace(0, 1, N), "number", False),
    "whole floats with gaps": ([1.0, math.nan] * 20, "number", True),
    "ints and floats": (pd.Series([1, 2.5] * 20, dtype=object), "number", False),
    "few texts": (["a", "b"] * 20, "category", False),
    "few texts with gaps": (["a", None] * 20, "category", True),
    "many texts": ([f"t{n}" for n in range(N)], "text", False),
    "categorical": (pd.Categorical(["a", "b"] * 20), "category", False),
    "categorical of everything": (pd.Categorical([f"t{n}" for n in range(N)]), "category", False),
    "categorical of numbers": (pd.Categorical([1, 2] * 20), "category", False),
    "times": (pd.date_range("2020", periods=N), "time", False),
    "times with a zone": (pd.date_range("2020", periods=N, tz="Europe/Berlin"), "time", False),
    "dates": ([dt.date(2020, 1, 1 + n % 28) for n in range(N)], "time", False),
    "times with gaps": ([pd.Timestamp("2020"), pd.NaT] * 20, "time", True),
}


@pytest.mark.parametrize("case", KINDS)
def test_the_kind_is_told_from_the_values(case: str) -> None:
    values, kind, nullable = KINDS[case]
    column = _learn(values)
    assert (column.kind, column.nullable) == (kind, nullable)


@pytest.mark.parametrize("case", KINDS)
def test_training_rows_fit_their_own_contract(case: str) -> None:
    """The law of the learned contract: what it was learned from is ok, and its fill is a value it accepts."""
    frame = pd.DataFrame({"x": KINDS[case][0]})
    frame["y"] = 1.0
    contract = learn(frame, features=["x"], label="y", task="regression")
    verdicts = [examine(contract, row) for row in rows_of(frame, contract)]
    assert {verdict.status for verdict, _ in verdicts} == {"ok"}
    assert len(to_frame(contract, [values for _, values in verdicts])) == len(frame)
    (column,) = contract.columns
    assert column.fill is not None
    assert examine(contract, {"x": column.fill})[0].status == "ok"
    assert msgspec.json.decode(msgspec.json.encode(contract), type=Contract) == contract


@pytest.mark.parametrize(
    ("values", "received"),
    [
        ([None] * N, "only missing values"),
        ([math.nan] * N, "only missing values"),
        ([[1, 2]] * N, "list"),
        ([{"a": 1}] * N, "dict"),
        (["a", 1] * 20, "int and str"),
        ([b"a", b"b"] * 20, "bytes"),
        ([Decimal("1.5")] * N, "Decimal"),
        ([1 + 2j] * N, "complex"),
        (pd.to_timedelta(range(N), unit="h"), "Timedelta"),
        (pd.period_range("2020", periods=N, freq="D"), "Period"),
        ([1.0, math.inf] * 20, "inf"),
        ([10**20] * N, "too large"),
        (np.full(N, 2**64 - 1, dtype="uint64"), "too large"),
        ([dt.datetime(9999, 12, 31)] * N, "9999"),
    ],
)
def test_a_column_of_no_type_is_refused_by_name(values: Any, received: str) -> None:
    with pytest.raises(DataUnfit, match="column 'x'") as caught:
        _learn(pd.Series(values))
    assert received in str(caught.value.received)
    assert caught.value.next_step


def test_examples_of_a_private_column_are_not_shown() -> None:
    private = Inputs(columns={"x": {"private": True}})
    with pytest.raises(DataUnfit) as open_:
        _learn(["secret-1", 7] * 20)
    with pytest.raises(DataUnfit) as kept:
        _learn(["secret-1", 7] * 20, private)
    assert "secret-1" in str(open_.value)
    assert "secret-1" not in str(kept.value)


class TestRange:
    def test_a_tenth_of_the_span_is_added(self) -> None:
        column = _learn(np.linspace(-10.0, 10.0, 201))
        assert (column.low, column.high) == (-12.0, 12.0)
        assert column.usual_low == pytest.approx(-9.8)
        assert column.usual_high == pytest.approx(9.8)
        assert column.fill == pytest.approx(0.0)

    def test_it_never_crosses_zero_from_above(self) -> None:
        assert _learn(np.linspace(0.5, 100.0, N)).low == 0.0
        assert _learn(range(N)).low == 0.0
        assert _learn(np.linspace(-0.5, 100.0, N)).low == pytest.approx(-10.55)

    def test_integers_are_rounded_outward(self) -> None:
        column = _learn([13, 14, 15, 28] * 10)
        assert (column.low, column.high) == (11.0, 30.0)
        assert column.fill == 14
        assert isinstance(column.fill, int)

    def test_a_constant_is_its_own_range(self) -> None:
        assert (_learn([5.0] * N).low, _learn([5.0] * N).high) == (5.0, 5.0)

    def test_enormous_numbers_do_not_overflow(self) -> None:
        column = _learn([-1.7e308, 1.7e308] * 20)
        assert column.low == -1.7e308
        assert column.high == 1.7e308

    @given(st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=30))
    def test_every_training_integer_is_inside(self, values: list[int]) -> None:
        column = _learn(values)
        assert column.low is not None
        assert column.high is not None
        assert column.low <= min(values) <= max(values) <= column.high
        assert (column.low < 0) == (min(values) < 0 or (column.low < 0 <= min(values)))
        assert isinstance(column.fill, int)

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
    def test_every_training_number_is_inside(self, values: list[float]) -> None:
        column = _learn(pd.Series(values, dtype=float))
        assert column.low is not None
        assert column.high is not None
        assert column.low <= min(values) <= max(values) <= column.high
        if min(values) >= 0:
            assert column.low >= 0

    def test_a_time_has_no_range_of_its_own(self) -> None:
        column = _learn(pd.date_range("2020", periods=N))
        assert (column.low, column.high, column.fill) == (None, None, "2020-01-20T00:00:00")


class TestCategories:
    def test_text_is_sorted_and_declared_order_is_kept(self) -> None:
        assert _learn(["b", "a", "b", "b"] * 10).categories == ("a", "b")
        declared = pd.Categorical(["b", "a"] * 20, categories=["b", "never", "a"])
        assert _learn(declared).categories == ("b", "a")

    def test_numbers_are_named_as_the_runtime_names_them(self) -> None:
        assert _learn(pd.Categorical([2.0, 1.0] * 20)).categories == ("1", "2")

    def test_a_hundred_are_categories_and_one_more_is_text(self) -> None:
        assert _learn([f"c{n % 100}" for n in range(300)]).kind == "category"
        assert _learn([f"c{n % 101}" for n in range(303)]).kind == "text"

    def test_half_as_many_values_as_rows_are_text(self) -> None:
        assert _learn(["a", "b", "c", "d"]).kind == "text"
        assert _learn(["a", "b", "a", "b"]).kind == "text"
        assert _learn(["a", "b", "a", "b", "a"]).kind == "category"

    def test_the_fill_is_the_most_frequent_and_the_first_of_equals(self) -> None:
        assert _learn(["b", "a", "b", "b"] * 10).fill == "b"
        assert _learn(["b", "a"] * 20).fill == "a"
        assert _learn([True, False, True, True] * 10).fill is True


class TestOverrides:
    def test_policies_come_from_inputs_and_columns(self) -> None:
        inputs = Inputs(missing="impute", unseen="fallback", columns={"x": {"missing": "flag", "outside": "reject"}})
        column = _learn(range(N), inputs)
        assert (column.missing, column.unseen, column.outside, column.wrong_type) == (
            "flag",
            "fallback",
            "reject",
            "reject",
        )

    def test_what_is_declared_wins_over_what_was_learned(self) -> None:
        declared = {"label": "Body mass index", "unit": "kg/m²", "private": True, "nullable": True}
        column = _learn(np.linspace(20, 40, N), Inputs(columns={"x": {**declared, "low": 10, "high": 80}}))
        assert (column.label, column.unit, column.private, column.nullable) == tuple(declared.values())
        assert (column.low, column.high) == (10.0, 80.0)
        assert isinstance(column.low, float)

    def test_a_range_can_be_lifted(self) -> None:
        column = _learn(range(N), Inputs(columns={"x": {"high": None}}))
        assert column.high is None
        assert column.low == 0.0

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("private", "yes"),
            ("nullable", 1),
            ("label", 3),
            ("unit", None),
            ("low", "ten"),
            ("high", math.inf),
            ("high", True),
            ("high", -5),
        ],
    )
    def test_an_override_of_the_wrong_type_is_refused(self, key: str, value: Any) -> None:
        with pytest.raises(ProjectInvalid, match=rf"inputs.columns\['x'\]\['{key}'\]"):
            _learn(range(N), Inputs(columns={"x": {key: value}}))

    def test_a_range_of_text_is_refused(self) -> None:
        with pytest.raises(ProjectInvalid, match="does not fit") as caught:
            _learn(["a", "b"] * 20, Inputs(columns={"x": {"low": 1}}))
        assert "category" in str(caught.value.allowed)

    def test_never_missing_and_missing_is_refused(self) -> None:
        with pytest.raises(DataUnfit, match="never missing") as caught:
            _learn([1.0, None] * 20, Inputs(columns={"x": {"nullable": False}}))
        assert "20 of 40 rows" in str(caught.value.received)

    def test_integers_that_would_be_rounded_are_refused(self) -> None:
        large = pd.array([2**60 + 1, None] * 20, dtype="Int64")
        with pytest.raises(DataUnfit, match="too large to stay exact"):
            _learn(large)
        with pytest.raises(DataUnfit, match="too large to stay exact"):
            _learn([2**60 + 1] * N, Inputs(missing="flag"))
        assert _learn([2**60 + 1] * N).kind == "integer"


class TestLabel:
    def test_regression_has_the_mean_as_prior(self) -> None:
        frame = pd.DataFrame({"x": range(4), "y": [1.0, 2.0, 3.0, 6.0]})
        contract = learn(frame, features=["x"], label="y", task="regression")
        assert (contract.prior, contract.classes, contract.label, contract.task) == (3.0, (), "y", "regression")
        assert contract.unknown == "reject"

    @pytest.mark.parametrize(
        ("labels", "classes", "prior"),
        [
            (["n", "j", "j"], ("j", "n"), "j"),
            ([True, False, False], (False, True), False),
            ([2, 0, 1, 2], (0, 1, 2), 2),
            (np.array([1.0, 0.0, 1.0]), (0.0, 1.0), 1.0),
            (pd.Categorical(["lo", "hi", "hi"], categories=["lo", "hi"]), ("hi", "lo"), "hi"),
        ],
    )
    def test_classes_are_plain_and_sorted(self, labels: Any, classes: tuple[Any, ...], prior: Any) -> None:
        contract = _classes(labels)
        assert contract.classes == classes
        assert [type(value) for value in contract.classes] == [type(value) for value in classes]
        assert contract.prior == prior
        assert type(contract.prior) is type(prior)

    def test_a_missing_label_is_refused(self) -> None:
        with pytest.raises(DataUnfit, match="label is missing"):
            _classes(["a", None, "b"])
        frame = pd.DataFrame({"x": range(4), "y": [math.nan] * 4})
        with pytest.raises(DataUnfit, match="no finite mean"):
            learn(frame, features=["x"], label="y", task="regression")

    def test_a_class_that_is_no_value_is_refused(self) -> None:
        with pytest.raises(DataUnfit, match="class label"):
            _classes(list(pd.date_range("2020", periods=4)))


def test_columns_keep_the_order_of_features() -> None:
    frame = pd.DataFrame({"a": range(4), "b": range(4), "y": range(4)})
    assert learn(frame, features=["b", "a"], label="y", task="regression").names == ("b", "a")


def test_absent_columns_and_rows_are_refused() -> None:
    frame = pd.DataFrame({"a": range(4), "y": range(4)})
    with pytest.raises(ColumnMissing) as caught:
        learn(frame, features=["a", "b"], label="z", task="regression")
    assert caught.value.received == "b, z"
    with pytest.raises(DataUnfit, match="no training rows"):
        learn(frame[:0], features=["a"], label="y", task="regression")


class TestBorders:
    def test_never_missing_may_be_declared_of_a_column_without_gaps(self) -> None:
        assert _learn(range(N), Inputs(columns={"x": {"nullable": False}})).nullable is False
        assert _learn(range(N), Inputs(columns={"x": {"nullable": True}})).nullable is True

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_largest_exact_integer_may_stand_beside_a_gap(self, sign: int) -> None:
        fits = pd.array([sign * EXACT, None] * 20, dtype="Int64")
        assert _learn(fits).kind == "integer"
        with pytest.raises(DataUnfit, match="too large to stay exact"):
            _learn(pd.array([sign * (EXACT + 1), None] * 20, dtype="Int64"))
        assert _learn([sign * (EXACT + 1)] * N).kind == "integer", "without gaps nothing is rounded"

    @pytest.mark.parametrize("given", [{"low": 0.0}, {"high": 9e9}, {"low": 5.0, "high": 5.0}])
    def test_a_time_may_have_a_range_on_either_side(self, given: dict[str, float]) -> None:
        column = _learn(pd.date_range("2020", periods=N), Inputs(columns={"x": given}))
        assert (column.low, column.high) == (given.get("low"), given.get("high"))

    def test_a_range_of_one_value_is_a_range(self) -> None:
        column = _learn([5.0] * N, Inputs(columns={"x": {"low": 5, "high": 5}}))
        assert (column.low, column.high) == (5.0, 5.0)
        with pytest.raises(ProjectInvalid, match="does not fit") as caught:
            _learn([5.0] * N, Inputs(columns={"x": {"low": 5.1, "high": 5}}))
        assert "low not above high" in (caught.value.allowed or "")

    @pytest.mark.parametrize(
        ("values", "fill"),
        [
            ([1.5, 2.5, 3.5], 2.5),
            ([1, 2, 3], 2),
            ([1.0, 2.0], 1.0),
            ([True, False], True),
            ([True, False, False], False),
        ],
    )
    def test_the_fill_is_a_value_of_the_columns_own_kind(self, values: list[Any], fill: Any) -> None:
        found = _learn(values).fill
        assert found == fill
        assert type(found) is type(fill)
