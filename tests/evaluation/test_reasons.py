"""Sentences for a person affected: true to the values, at most four, and never a private value."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.evaluation.explanation.reasons import NONE, Answer, answered, readable, reasons, said
from fullcircle.evaluation.explanation.shapley import OTHERS, Explanation
from fullcircle.types.contract import Column

REGRESSION = Answer(task="regression")
LOAN = Answer(task="classification", label="granted", classes=("no", "yes"))


def _explained(values: dict[str, float], *, base: float = 0.3, outcome: int = 1, errors: Any = None) -> Explanation:
    moved = np.array([list(values.values())])
    return Explanation(
        names=tuple(values),
        base=np.array([base]),
        values=moved,
        answers=np.array([base + moved.sum()]),
        errors=np.zeros(moved.shape) if errors is None else np.array([errors]),
        outcomes=np.array([outcome]),
    )


def _one(value: Any, column: Column, moved: float = 23.4, answer: Answer = REGRESSION, base: float = 152.0) -> str:
    (sentence,) = reasons(
        _explained({column.name: moved}, base=base), 0, {column.name: value}, {column.name: column}, answer
    )
    return sentence


BMI = Column(name="bmi", kind="number", label="body mass index", unit="kg/m²")
INCOME = Column(name="income", kind="integer", unit="EUR")


def test_a_number_is_told_with_its_unit() -> None:
    assert (
        _one(32.1, BMI)
        == "Body mass index of 32.1 kg/m² raises the answer by 23.4 (from 152, the average of a sample)."
    )
    in_money = Answer(task="regression", unit="EUR")
    assert _one(1200, INCOME, -1234.5, in_money, 15000.0) == (
        "Income of 1 200 EUR lowers the answer by 1 234 EUR (from 15 000 EUR, the average of a sample)."
    )


def test_a_probability_is_told_in_points() -> None:
    assert _one(np.int64(1200), INCOME, -0.1204, LOAN, 0.3) == (
        "Income of 1 200 EUR lowers the probability of yes by 12 points (from 30 %, the average of a sample)."
    )
    assert "by 1 point (" in _one(1200, INCOME, 0.01, LOAN, 0.3)
    assert "by 1.2 points" in _one(1200, INCOME, 0.0119, LOAN, 0.3)
    assert "by 10 points" in _one(1200, INCOME, 0.0996, LOAN, 0.3)


@pytest.mark.parametrize("gone", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_a_missing_value_is_said_to_be_missing(gone: Any) -> None:
    assert _one(gone, INCOME, -0.12, LOAN, 0.3) == (
        "Income is not given, which lowers the probability of yes by 12 points (from 30 %, the average of a sample)."
    )


@pytest.mark.parametrize(
    ("value", "column", "start"),
    [
        (True, Column(name="smoker", kind="boolean"), "Smoker (yes) raises"),
        (np.bool_(False), Column(name="smoker", kind="boolean"), "Smoker (no) raises"),
        ("a  b\nc", Column(name="job_title", kind="category"), "Job title (a b c) raises"),
        ("3", Column(name="grade", kind="category", unit="points"), "Grade (3) raises"),
        ("x" * 60, Column(name="note", kind="text"), f"Note ({'x' * 39}…) raises"),
        ("2024-03-03", Column(name="firstVisit", kind="time"), "First Visit (3 March 2024) raises"),
        (pd.Timestamp("2024-03-03 14:05"), Column(name="at", kind="time"), "At (3 March 2024, 14:05) raises"),
        (
            np.datetime64("2024-12-31T00:00:00.000000000"),
            Column(name="at", kind="time"),
            "At (31 December 2024) raises",
        ),
        (datetime.date(2024, 1, 5), Column(name="at", kind="time"), "At (5 January 2024) raises"),
        ("soon", Column(name="at", kind="time"), "At (soon) raises"),
        (1998, Column(name="year_built", kind="integer"), "Year built (1998) raises"),
        (12345.0, Column(name="steps", kind="number"), "Steps (12 345) raises"),
        (7.1, Column(name="ph", kind="number", label="pH of the soil"), "pH of the soil (7.1) raises"),
        (7.1, Column(name="_", kind="number"), "_ (7.1) raises"),
    ],
)
def test_every_kind_of_value_has_its_words(value: Any, column: Column, start: str) -> None:
    assert _one(value, column).startswith(start)


def test_a_column_that_nobody_described_is_told_all_the_same() -> None:
    found = reasons(_explained({"numRooms": 5.0}, base=10.0), 0, {"numRooms": 3}, {}, REGRESSION)
    assert found == ("Num Rooms (3) raises the answer by 5 (from 10, the average of a sample).",)
    assert reasons(_explained({"a": 5.0}, base=10.0), 0, {}, {}, REGRESSION)[0].startswith("A is not given, which")


@pytest.mark.parametrize(
    ("classes", "outcome", "told"),
    [
        ((False, True), 1, "the probability of Granted being yes by"),
        ((0, 1), 1, "the probability of Granted being 1 by"),
        (("a", "b", "c"), 2, "the probability of c by"),
    ],
)
def test_the_class_is_named(classes: tuple[Any, ...], outcome: int, told: str) -> None:
    about = Answer(task="classification", label="granted", classes=classes)
    found = reasons(_explained({"x": 0.2}, outcome=outcome), 0, {"x": 1.5}, {}, about)
    assert told in found[0]


def test_the_strongest_four_come_first_and_the_negligible_are_left_out() -> None:
    values = {"a": 0.01, "b": -0.2, "c": 0.1, "d": 0.05, "e": 0.04, "f": -0.06}
    found = reasons(_explained(values), 0, dict.fromkeys(values, 1.5), {}, LOAN)
    assert [sentence[0] for sentence in found] == ["B", "C", "F", "D"]
    assert [("average of a sample" in sentence) for sentence in found] == [True, False, False, False]
    small = reasons(_explained({"a": 1.0, "b": 0.049}), 0, {"a": 1, "b": 1}, {}, REGRESSION)
    assert len(small) == 1, "less than a twentieth of all movement"
    assert len(reasons(_explained({"a": 1.0, "b": 0.06}), 0, {"a": 1, "b": 1}, {}, REGRESSION)) == 2


def test_where_nothing_stands_out_that_is_said() -> None:
    even = {f"x{number}": 0.01 * (-1) ** number for number in range(30)}
    assert reasons(_explained(even), 0, dict.fromkeys(even, 1.0), {}, LOAN) == (NONE,)
    assert reasons(_explained({"a": 0.0}), 0, {"a": 1}, {}, REGRESSION) == (NONE,)
    assert reasons(_explained({"a": 0.0004}), 0, {"a": 1}, {}, LOAN) == (NONE,), "0 points"
    assert reasons(_explained({"a": 1e-9}, base=152.0), 0, {"a": 1}, {}, REGRESSION) == (NONE,)
    assert reasons(_explained({"a": 0.2}, errors=[0.11]), 0, {"a": 1}, {}, LOAN) == (NONE,), "perhaps the other way"
    assert reasons(_explained({OTHERS: 0.2}), 0, {}, {}, LOAN) == (NONE,)
    assert NONE.endswith(".")


def test_the_answer_itself_in_words() -> None:
    assert answered(_explained({"a": 11.3}, base=152.0), 0, Answer(task="regression", unit="EUR")) == "163 EUR"
    assert answered(_explained({"a": 0.53}, base=0.3), 0, LOAN) == "yes 83 %"


def test_names_and_values_for_people() -> None:
    assert readable("total_bill_EUR") == "Total bill EUR"
    assert readable("x", Column(name="x", kind="number", label=" eGFR ")) == "eGFR"
    assert said(1234.5678, INCOME) == "1 235 EUR"
    assert said(0.00012345) == "0.0001234"


NAMES = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=10, unique=True)
MOVES = st.floats(-1.0, 1.0, allow_subnormal=False)
# Digits never occur in what these values are moved by, so that finding one means that it was quoted.
SECRET = "Zanzibar"


@settings(max_examples=150, deadline=None)
@given(st.data(), NAMES, st.sampled_from([REGRESSION, LOAN]))
def test_the_law_of_reasons(data: st.DataObject, names: list[str], answer: Answer) -> None:
    values = {name: data.draw(MOVES) for name in names}
    private = {name: data.draw(st.booleans()) for name in names}
    columns = {name: Column(name=name, kind="text", private=private[name]) for name in names}
    row = {name: SECRET if private[name] else data.draw(st.sampled_from(["open", None])) for name in names}
    explanation = _explained(values)
    found = reasons(explanation, 0, row, columns, answer)
    assert 1 <= len(found) <= 4
    assert found == reasons(explanation, 0, row, columns, answer)
    assert not any(SECRET in sentence for sentence in found)
    assert all(re.fullmatch(r"[A-Z].*\.", sentence) for sentence in found)
    assert not any(re.search(r"by 0( |\.$)", sentence) for sentence in found)
    if found == (NONE,):
        return
    order = [sentence[0].lower() for sentence in found]
    sizes = [abs(values[name]) for name in order]
    assert sizes == sorted(sizes, reverse=True)
    assert (
        min(sizes) >= max([abs(values[name]) for name in names if name not in order], default=0.0) or len(found) < 4
    )
    for name, sentence in zip(order, found, strict=True):
        assert ("raises" in sentence) == (values[name] > 0)
        assert ("lowers" in sentence) == (values[name] < 0)
        assert ("not given" in sentence) == (row[name] is None and not private[name])
