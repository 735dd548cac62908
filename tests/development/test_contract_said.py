"""What a person says of a column wins over what was learned, and has to fit the training rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.development.contract import learn, study
from fullcircle.errors import DataUnfit, ProjectInvalid
from fullcircle.runtimes.contracts import examine, rows_of, to_frame
from fullcircle.types.contract import Column, Contract
from fullcircle.types.project import Inputs

N = 40
ZIPS = [10115, 1067, 80331, 10115] * 10


def _study(values: Any, **given: Any) -> tuple[Contract, Any]:
    frame = pd.DataFrame({"x": values})
    frame["y"] = np.arange(len(frame), dtype=float)
    found = study(frame, features=["x"], label="y", task="regression", inputs=Inputs(columns={"x": given}))
    return found.contract, found.facts["x"]


def _learn(values: Any, **given: Any) -> Column:
    (column,) = _study(values, **given)[0].columns
    return column


def _statuses(values: Any, **given: Any) -> set[str]:
    """The verdicts on the training rows by their own contract, and the frame they make."""
    frame = pd.DataFrame({"x": values})
    contract, _ = _study(values, **given)
    judged = [examine(contract, row) for row in rows_of(frame, contract)]
    assert len(to_frame(contract, [row for _, row in judged])) == len(frame)
    return {verdict.status for verdict, _ in judged}


FITTING = [
    (ZIPS, "category"),
    ([1.0, 2.0] * 20, "integer"),
    (pd.Series([1.0, math.nan, 0.0, 1.0] * 10), "boolean"),
    (range(N), "number"),
    (["2011-01-01", "2011-02-01T10:00:00.5Z"] * 20, "time"),
    (["a", "b"] * 20, "text"),
    ([f"name {number}" for number in range(N)], "category"),
    ([True, False] * 20, "category"),
    (pd.Series(["a", 1, 2.5, True] * 10, dtype=object), "category"),
    (pd.date_range("2020", periods=N), "category"),
]


@pytest.mark.parametrize(("values", "kind"), FITTING)
def test_a_declared_type_is_what_rows_are_read_as(values: Any, kind: Any) -> None:
    column = _learn(values, type=kind)
    assert column.kind == kind
    assert _statuses(values, type=kind) == {"ok"}
    assert examine(_study(values, type=kind)[0], {"x": column.fill})[0].status == "ok"


def test_zip_codes_are_categories_in_the_order_of_numbers() -> None:
    column = _learn(ZIPS, type="category")
    assert column.categories == ("1067", "10115", "80331")
    assert (column.fill, column.how, column.low) == ("10115", "most_frequent", None)


@pytest.mark.parametrize(
    ("values", "kind", "received", "advice"),
    [
        (["a", "1"] * 20, "integer", "40 of 40 values; the first: expected a whole number, got text: 'a'", "mend"),
        (
            [1.0, 2.5] * 20,
            "integer",
            "20 of 40 values; the first: expected a whole number, got a number: 2.5",
            "mend",
        ),
        ([1, 0] * 20, "boolean", "expected true or false", 'frame["x"]'.replace('"', "'") + ".astype(bool)"),
        ([1, 2] * 20, "text", "expected text", "astype(str)"),
        (["soon", "later"] * 20, "time", "ISO 8601", "to_datetime"),
        ([20110101, 20110102] * 20, "time", "a whole number", "to_datetime"),
        ([True, False] * 20, "number", "expected a number, got true or false", "mend"),
    ],
)
def test_a_declared_type_that_the_data_contradict_is_refused(
    values: Any, kind: Any, received: str, advice: str
) -> None:
    with pytest.raises(DataUnfit, match=f"'x' is declared as {kind}") as caught:
        _learn(values, type=kind)
    assert received in str(caught.value.received)
    assert advice in str(caught.value.next_step)
    with pytest.raises(DataUnfit) as quiet:
        _learn(values, type=kind, private=True)
    assert "the first" not in str(quiet.value)


def test_a_column_without_values_has_no_type_even_where_one_is_declared() -> None:
    with pytest.raises(DataUnfit, match="holds no value"):
        _learn([None] * N, type="number")


def test_integers_of_a_declared_type_stay_exact() -> None:
    large = pd.Series([2.0**60, None] * 20)
    with pytest.raises(DataUnfit, match="is declared as integer"):
        _learn(large, type="integer")
    with pytest.raises(DataUnfit, match="too large to stay exact"):
        _learn(pd.array([2**60, None] * 20, dtype="Int64"), type="integer")


class TestFill:
    @pytest.mark.parametrize(
        ("values", "how", "fill"),
        [
            ([1.0, 2.0, 2.0, 7.0], "median", 2.0),
            ([1.0, 2.0, 2.0, 7.0], "mean", 3.0),
            ([1.0, 7.0, 7.0, 2.0], "most_frequent", 7.0),
            ([3, 3, 9], "most_frequent", 3),
            (["b", "a", "b", "c", "b", "b"], "most_frequent", "b"),
            (pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02"]), "most_frequent", "2020-01-02T00:00:00"),
        ],
    )
    def test_it_is_found_in_the_way_that_was_asked_for(self, values: Any, how: str, fill: Any) -> None:
        column = _learn(values, how=how)
        assert (column.fill, column.how) == (fill, how)
        assert type(column.fill) is type(fill)

    @pytest.mark.parametrize(
        ("values", "how", "kind"),
        [(range(N), "mean", "integer"), (["a", "b"] * 20, "median", "category"), ([True, False], "mean", "boolean")],
    )
    def test_a_way_that_the_kind_has_not_is_refused(self, values: Any, how: str, kind: str) -> None:
        with pytest.raises(ProjectInvalid, match=r"\['how'\] does not fit") as caught:
            _learn(values, how=how)
        assert kind in str(caught.value.allowed)

    def test_the_way_it_was_found_is_always_recorded(self) -> None:
        for values, how in (
            (range(N), "median"),
            (["a", "b"] * 20, "most_frequent"),
            ([f"t{n}" for n in range(N)], "constant"),
        ):
            assert _learn(values).how == how

    def test_a_mean_that_no_float_holds_is_refused(self) -> None:
        with pytest.raises(DataUnfit, match="no mean"):
            _learn([1.7e308] * N, how="mean")

    @pytest.mark.parametrize(
        ("values", "given", "fill"),
        [
            (np.linspace(0, 1, N), 1, 1.0),
            (range(N), 7.0, 7),
            (["a", "b"] * 20, "b", "b"),
            ([True, False] * 20, False, False),
            (pd.date_range("2020", periods=N), "2020-01-03", "2020-01-03T00:00:00"),
        ],
    )
    def test_a_constant_is_a_value_of_the_column(self, values: Any, given: Any, fill: Any) -> None:
        column = _learn(values, fill=given)
        assert (column.fill, column.how) == (fill, "constant")
        assert type(column.fill) is type(fill)

    @pytest.mark.parametrize(
        ("values", "given", "told"),
        [
            (range(N), 7.5, "whole number"),
            (range(N), 10**6, "outside"),
            (["a", "b"] * 20, "z", "none of the 2 known categories"),
            ([True, False] * 20, "yes", "true or false"),
        ],
    )
    def test_a_constant_that_no_row_could_have_is_refused(self, values: Any, given: Any, told: str) -> None:
        with pytest.raises(ProjectInvalid, match=r"\['fill'\] does not fit") as caught:
            _learn(values, fill=given)
        assert told in str(caught.value.allowed)


class TestCategories:
    def test_more_may_be_listed_than_were_seen_in_an_order_of_ones_own(self) -> None:
        assert _learn(["b", "a"] * 20, categories=["z", "b", "a"]).categories == ("z", "b", "a")

    def test_all_that_were_seen_have_to_be_listed(self) -> None:
        with pytest.raises(DataUnfit, match="not among those declared") as caught:
            _learn(["b", "a", "c"] * 20, categories=["a"])
        assert caught.value.received == "'b', 'c'"
        with pytest.raises(DataUnfit) as quiet:
            _learn(["b", "a", "c"] * 20, categories=["a"], private=True)
        assert quiet.value.received == "2 others"

    def test_a_column_of_another_kind_has_none(self) -> None:
        with pytest.raises(ProjectInvalid, match=r"\['categories'\] does not fit") as caught:
            _learn(range(N), categories=["1"])
        assert "integer" in str(caught.value.allowed)
        assert _learn(range(3), type="category", categories=["2", "1", "0"]).categories == ("2", "1", "0")


class TestUsual:
    def test_it_may_be_said_also_of_a_private_column(self) -> None:
        column = _learn(np.linspace(0, 1, N), usual_low=0.25, usual_high=1, private=True)
        assert (column.usual_low, column.usual_high) == (0.25, 1.0)

    def test_its_ends_are_in_order_and_of_numbers(self) -> None:
        with pytest.raises(ProjectInvalid, match="usual_low") as caught:
            _learn(range(N), usual_low=5, usual_high=4)
        assert "usual_low not above usual_high" in str(caught.value.allowed)
        with pytest.raises(ProjectInvalid, match="usual_high"):
            _learn(pd.date_range("2020", periods=N), usual_high=4)


def test_a_hashed_column_is_private() -> None:
    column = _learn(range(N), hashed=True)
    assert (column.private, column.hashed, column.usual_low) == (True, True, None)
    assert Column(name="x", kind="text", hashed=True).private


def test_facts_are_what_the_rows_alone_told() -> None:
    contract, facts = _study(range(N), low=-100, high=None, unit="km", fill=3, usual_low=1)
    assert (contract.columns[0].low, contract.columns[0].high, contract.columns[0].fill) == (-100.0, None, 3)
    assert (facts["low"], facts["high"], facts["usual_low"], facts["fill"], facts["how"]) == (
        0.0,
        43.0,
        0.0,
        19,
        "median",
    )
    assert facts["kind"] == "integer"


def test_the_label_has_the_name_and_unit_that_were_said() -> None:
    frame = pd.DataFrame({"x": range(4), "y": [1.0, 2.0, 3.0, 6.0]})
    inputs = Inputs(label_name="progression", label_unit="points", unknown="fallback")
    contract = learn(frame, features=["x"], label="y", task="regression", inputs=inputs)
    assert (contract.label_name, contract.label_unit, contract.label_shown) == ("progression", "points", "points")
    assert contract.unknown == "fallback"
    plain = learn(frame, features=["x"], label="y", task="regression")
    assert plain.label_shown == "y"


def test_limits_have_twelve_digits_and_never_leave_a_training_value_out() -> None:
    column = _learn([13.4, 80.6, 19.0, 1 / 3] * 10)
    assert (column.low, column.high) == (0.0, 88.6266666667)
    tight = [1e9 + 1e-6, 1e9 + 2e-6] * 20
    column = _learn(tight)
    assert column.low is not None
    assert column.high is not None
    assert column.low <= min(tight) <= max(tight) <= column.high
