"""The judgement of rows: strict, total, by policy; and one frame for training and scoring."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import context_of, examine, rows_of, to_frame
from fullcircle.runtimes.values import may_be_missing, read
from fullcircle.types.contract import KINDS, POLICIES, Column, Contract, Policy, Status

STATUS: dict[Policy, Status] = {
    "impute": "imputed",
    "flag": "flagged",
    "fallback": "fallback",
    "reject": "rejected",
}
ORDER: list[Status] = ["ok", "imputed", "flagged", "fallback", "rejected"]
FINE = {"number": 1.5, "integer": 3, "boolean": True, "category": "a", "text": "hello", "time": "2011-01-01T05:00:00"}


def contract(*columns: Column, **fields: Any) -> Contract:
    return Contract(columns=columns, label="y", task="regression", **fields)


def one(kind: Any, value: object, **fields: Any) -> tuple[str, object]:
    """The first reason against a value in a column of this kind (or "ok"), and the value that is left."""
    column = Column(name="x", kind=kind, categories=("a", "b"), **fields)
    verdict, values = examine(contract(column), {"x": value})
    return (verdict.problems[0].reason if verdict.problems else "ok"), values["x"]


class Level(IntEnum):
    LOW = 1


GOOD = [
    ("number", 1.5, 1.5),
    ("number", 3, 3.0),
    ("number", -0.0, -0.0),
    ("number", 5e-324, 5e-324),
    ("number", np.float32(0.5), 0.5),
    ("number", np.int64(7), 7.0),
    ("number", 2**60, float(2**60)),
    ("integer", 3, 3),
    ("integer", 3.0, 3),
    ("integer", 2**53 + 1, 2**53 + 1),
    ("integer", -(2**63), -(2**63)),
    ("integer", np.uint8(4), 4),
    ("integer", Level.LOW, 1),
    ("boolean", False, False),
    ("boolean", np.bool_(True), True),
    ("category", "a", "a"),
    ("category", np.str_("b"), "b"),
    ("text", "", ""),
    ("text", "naïve 🦉", "naïve 🦉"),
    ("time", "2011-01-01", "2011-01-01T00:00:00"),
    ("time", "2011-01-01T05:00:00Z", "2011-01-01T05:00:00"),
    ("time", "2011-01-01T05:00:00.5+02:00", "2011-01-01T03:00:00.500000"),
    ("time", datetime(2011, 1, 1, 5, tzinfo=UTC), "2011-01-01T05:00:00"),
    ("time", date(2011, 1, 1), "2011-01-01T00:00:00"),
    ("time", pd.Timestamp("2011-01-01 05:00"), "2011-01-01T05:00:00"),
    ("time", np.datetime64("2011-01-01T05:00"), "2011-01-01T05:00:00"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), GOOD)
def test_a_fitting_value_becomes_the_plain_one(kind: str, value: object, expected: object) -> None:
    reason, found = one(kind, value)
    assert reason == "ok"
    assert found == expected
    assert type(found) is type(expected)


WRONG = [
    ("number", True),
    ("number", "3"),
    ("number", math.inf),
    ("number", -math.inf),
    ("number", 2**53 + 1),
    ("number", 12345678901234567890),
    ("number", 10**400),
    ("number", [1.0]),
    ("number", np.longdouble(1.0)),
    ("number", 1j),
    ("integer", True),
    ("integer", "3"),
    ("integer", 30.9),
    ("integer", 1e19),
    ("integer", 2**63),
    ("integer", 10**5000),
    ("integer", math.inf),
    ("boolean", 1),
    ("boolean", 0.0),
    ("boolean", "true"),
    ("category", 1),
    ("category", True),
    ("category", ["a"]),
    ("text", 5),
    ("text", b"bytes"),
    ("text", "\ud800"),
    ("text", {"a": 1}),
    ("time", 1293840000),
    ("time", "yesterday"),
    ("time", "2011-13-01"),
    ("time", "2011-02-30"),
    ("time", ""),
    ("time", "0001-01-01T00:00:00+14:00"),
    ("time", "9999-12-31T23:59:59-14:00"),
    ("time", "1500-01-01"),
    ("time", timedelta(1)),
]


def kind_of(value: object) -> str:
    """A name for a case: some values have no text."""
    return value[:12] if isinstance(value, str) and value.isascii() else type(value).__name__


@pytest.mark.parametrize(("kind", "value"), WRONG, ids=kind_of)
def test_nothing_is_coerced(kind: str, value: object) -> None:
    assert one(kind, value) == ("wrong_type", None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value", [None, math.nan, np.float64("nan"), pd.NA, pd.NaT, np.datetime64("NaT")], ids=kind_of
)
def test_missing_has_many_names(kind: str, value: object) -> None:
    assert one(kind, value) == ("missing", None)
    assert one(kind, value, nullable=True) == ("ok", None)


def test_a_column_that_is_not_there_is_missing() -> None:
    verdict, values = examine(contract(Column(name="x", kind="number")), {})
    assert (verdict.status, verdict.problems[0].reason, values) == ("rejected", "missing", {"x": None})


@pytest.mark.parametrize("value", ["c", "A", "a ", "", "á"])
def test_a_category_is_known_exactly_or_not_at_all(value: str) -> None:
    assert one("category", value) == ("unseen", None)


def test_the_range_is_closed_and_exact() -> None:
    assert [one("number", value, low=0.0, high=10.0)[0] for value in (0, 10, -1e-9, 10.000001)] == [
        "ok",
        "ok",
        "outside",
        "outside",
    ]
    large = float(2**53)
    assert one("integer", 2**53 + 1, high=large) == ("outside", 2**53 + 1)
    assert one("integer", 2**53, high=large)[0] == "ok"
    assert one("time", "1969-12-31T23:59:59", low=0.0)[0] == "outside"
    assert one("time", "1970-01-01", low=0.0)[0] == "ok"


def test_each_policy_does_what_it_says() -> None:
    column = Column(name="x", kind="number", high=10.0, fill=4.0)
    for policy in POLICIES:
        verdict, values = examine(contract(replace(column, outside=policy), prior=1.0), {"x": 99.0})
        assert verdict.status == STATUS[policy]
        assert verdict.problems[0].action == policy
        assert values["x"] == (4.0 if policy == "impute" else 99.0)
    for flagged, value in ((replace(column, missing="flag"), None), (replace(column, wrong_type="flag"), "a")):
        verdict, values = examine(contract(flagged), {"x": value})
        assert (verdict.status, values["x"]) == ("flagged", None)
    unseen = Column(name="x", kind="category", categories=("a",), fill="a", unseen="impute")
    assert examine(contract(unseen), {"x": "q"})[1] == {"x": "a"}


def test_what_cannot_be_done_is_a_rejection() -> None:
    for fill in (None, "text", math.nan, math.inf, True):
        verdict, _ = examine(contract(Column(name="x", kind="number", missing="impute", fill=fill)), {})
        assert verdict.status == "rejected"
        assert "nothing to impute" in verdict.problems[0].text
    verdict, _ = examine(contract(Column(name="x", kind="number", missing="fallback")), {})
    assert verdict.status == "rejected"
    assert "no prior" in verdict.problems[0].text


def test_unknown_columns_are_rejected_or_ignored_and_counted_briefly() -> None:
    row = {"x": 1.0, **{f"extra{number}": 1 for number in range(500)}}
    for policy, status in (("reject", "rejected"), ("flag", "flagged"), ("fallback", "fallback")):
        verdict, values = examine(contract(Column(name="x", kind="number"), unknown=policy, prior=2.5), row)
        assert verdict.status == status
        assert values == {"x": 1.0}
        assert len(verdict.problems) == 10
        assert "490 more" in verdict.problems[-1].text
    verdict, _ = examine(
        contract(Column(name="x", kind="number")), {"x": 1.0, "y" * 10**6: 1, ("t",): 2, "\ud800": 3}
    )
    assert all(len(problem.column) <= 100 for problem in verdict.problems)
    assert "".join(problem.column for problem in verdict.problems).encode()


def test_an_unknown_column_is_not_left_to_a_fallback_that_has_nothing_to_say() -> None:
    verdict, _ = examine(contract(Column(name="x", kind="number"), unknown="fallback"), {"x": 1.0, "y": 2})
    assert verdict.status == "rejected"
    assert "no prior" in verdict.problems[0].text
    assert examine(contract(Column(name="x", kind="number"), unknown="fallback"), {"x": 1.0})[0].status == "ok"


def test_context_columns_are_known_and_kept_for_the_log() -> None:
    terms = contract(Column(name="x", kind="number"), context=("when", "group", "odd", "absent"))
    row = {"x": 1.0, "when": datetime(2011, 1, 1), "group": "f", "odd": [1]}
    assert examine(terms, row)[0].status == "ok"
    assert context_of(terms, row) == {"when": "2011-01-01T00:00:00", "group": "f", "odd": None}
    hostile = {"when": math.inf, "group": "\ud800", "odd": 10**400, "absent": "x" * 10**6}
    assert context_of(terms, hostile) == dict.fromkeys(hostile)
    assert context_of(terms, 5) is None
    assert context_of(contract(), row) is None


@pytest.mark.parametrize("row", [None, 5, "text", [1, 2], object(), 10**5000, math.nan], ids=kind_of)
def test_what_is_no_row_is_rejected(row: object) -> None:
    verdict, values = examine(contract(Column(name="x", kind="number", private=True)), row)
    assert verdict.status == "rejected"
    assert values == {"x": None}
    assert len(verdict.problems[0].text) < 200


SECRET = "8f3a-secret"  # what no message may show


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_value_is_never_quoted(kind: Any) -> None:
    column = Column(name="x", kind=kind, categories=("a",), private=True, low=0.0, high=1.0)
    for value in (SECRET, [SECRET], {"a": SECRET}, 424242.5, 424242, "2424-02-02"):
        for problem in examine(contract(column), {"x": value})[0].problems:
            assert SECRET not in problem.text
            assert "4242" not in problem.text
            assert "2424" not in problem.text


# --- laws, over generated contracts and rows ---------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d", "größe", "x y", ""])
CATEGORIES = st.lists(st.sampled_from(["a", "b", "c", "", "ü", "1"]), unique=True, max_size=5).map(tuple)
ACTIONS = st.sampled_from(POLICIES)
BOUND = st.none() | st.floats(-1e6, 1e6)
HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a", "b", "1", "\ud800", "2011-01-01", "2011-01-01T00:00:00Z", 10**5000, -(2**63), 2**53 + 1]),
    st.datetimes(),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=13)))),
    st.dates(),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.decimals(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
    st.sampled_from(
        [pd.NA, pd.NaT, np.nan, np.float32(1.5), np.int8(3), np.bool_(True), np.datetime64("2011-01-01")]
    ),
    st.builds(object),
)


def columns() -> st.SearchStrategy[Column]:
    return st.builds(
        Column,
        name=NAMES,
        kind=st.sampled_from(KINDS),
        nullable=st.booleans(),
        categories=CATEGORIES,
        low=BOUND,
        high=BOUND,
        fill=st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.sampled_from(["a", "2011-01-01"]),
        private=st.booleans(),
        missing=ACTIONS,
        unseen=ACTIONS,
        outside=ACTIONS,
        wrong_type=ACTIONS,
    )


def contracts() -> st.SearchStrategy[Contract]:
    return st.builds(
        Contract,
        columns=st.lists(columns(), max_size=5, unique_by=lambda column: column.name).map(tuple),
        label=st.just("y"),
        task=st.just("regression"),
        unknown=st.sampled_from(["reject", "flag", "fallback"]),
        prior=st.none() | st.floats(-5, 5),
        context=st.sampled_from([(), ("a", "t")]),
    )


ROWS = st.lists(st.dictionaries(NAMES | st.text(max_size=3), HOSTILE, max_size=7), max_size=4)
DTYPES = {"number": "float64", "text": "object", "time": "datetime64[ns]", "category": "category"}


def expected_dtype(column: Column) -> str:
    if column.kind in DTYPES:
        return DTYPES[column.kind]
    if column.nullable or column.missing == "flag" or column.wrong_type == "flag":
        return "float64"
    return "int64" if column.kind == "integer" else "bool"


@settings(max_examples=150, deadline=None)
@given(contracts(), ROWS)
def test_every_row_gets_a_verdict_and_every_frame_its_types(terms: Contract, rows: list[dict[str, Any]]) -> None:
    judged = [examine(terms, row) for row in rows]
    for verdict, values in judged:
        worst = max((STATUS[problem.action] for problem in verdict.problems), key=ORDER.index, default="ok")
        assert verdict.status == worst
        assert tuple(values) == terms.names
    seen = [values for verdict, values in judged if verdict.status not in ("rejected", "fallback")]
    frame = to_frame(terms, seen)
    assert list(frame.columns) == list(terms.names)
    assert len(frame) == len(seen)
    for column in terms.columns:
        assert str(frame[column.name].dtype) == expected_dtype(column)
        if column.kind == "category":
            assert tuple(frame[column.name].cat.categories) == column.categories
        gone = [values[column.name] is None for values in seen]
        assert frame[column.name].isna().tolist() == gone
    for values, row in zip(seen, rows_of(frame, terms), strict=True):
        again, once_more = examine(replace(terms, columns=tuple(map(_lenient, terms.columns))), row)
        assert again.status == "ok", again
        assert once_more == values


def _lenient(column: Column) -> Column:
    """The same column, taking what a policy has let through: missing values, and what is outside."""
    return replace(column, nullable=True, low=None, high=None)


@settings(max_examples=150, deadline=None)
@given(columns(), HOSTILE)
def test_a_value_that_is_kept_is_kept_again(column: Column, value: object) -> None:
    """Reading is a projection: what it gives is read as itself."""
    found, misfit = read(column, value)
    if found is not None:
        assert read(column, found) == (found, misfit)
    assert misfit is None or misfit.reason == "outside" or found is None


def test_a_frame_refuses_what_was_rejected() -> None:
    for kind in ("integer", "boolean"):
        with pytest.raises(DataUnfit, match="'x'"):
            to_frame(contract(Column(name="x", kind=kind)), [{"x": None}])


def test_rows_of_a_frame_are_plain() -> None:
    terms = contract(
        Column(name="count", kind="integer"),
        Column(name="size", kind="number", nullable=True),
        Column(name="season", kind="category", categories=("1", "2")),
        Column(name="when", kind="time"),
        Column(name="holiday", kind="boolean"),
        Column(name="note", kind="text", nullable=True),
        context=("group",),
    )
    frame = pd.DataFrame(
        {
            "note": pd.Series(["x", None], dtype=object),
            "season": [1.0, 2.0],
            "count": np.array([1, 2], dtype=np.int8),
            "size": np.array([0.5, np.nan], dtype=np.float32),
            "when": pd.to_datetime(["2011-01-01 00:00:00.00", "2011-01-02 03:04:05.25"]),
            "holiday": [True, False],
            "group": ["f", "m"],
            "other": [1, 2],
        }
    )
    rows = rows_of(frame, terms)
    assert rows[1] == {
        "note": None,
        "season": "2",
        "count": 2,
        "size": None,
        "when": "2011-01-02T03:04:05.250000",
        "holiday": False,
        "group": "m",
    }
    assert {type(value) for value in rows[0].values()} == {str, int, float, bool}
    assert [examine(terms, row)[0].status for row in rows] == ["ok", "ok"]
    assert [examine(terms, row)[0].status for row in rows_of(frame, terms, others=True)] == ["rejected"] * 2
    assert rows_of(frame[["other"]], terms) == [{}, {}]
    assert may_be_missing(terms.columns[1])


def test_booleans_come_back_from_floats_and_from_nothing_else() -> None:
    terms = contract(Column(name="x", kind="boolean", nullable=True))
    assert rows_of(pd.DataFrame({"x": [1.0, np.nan, 0.0]}), terms) == [{"x": True}, {"x": None}, {"x": False}]
    assert rows_of(pd.DataFrame({"x": [1, 0]}), terms) == [{"x": 1}, {"x": 0}]
    assert rows_of(pd.DataFrame({"x": [1.0, 2.0]}), terms) == [{"x": 1.0}, {"x": 2.0}]
