"""The matrix of a contract's rows: laws that tie it to ``examine`` and ``to_frame``, and its edges one by one."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import examine, rows_of, to_frame
from fullcircle.runtimes.encoding import LOOK, Encoder
from fullcircle.runtimes.values import may_be_missing
from fullcircle.types.contract import Column, Contract

EXACT = 2**53
KINDS: tuple[Any, ...] = ("number", "integer", "boolean", "category")
WORDS = ("", "a", "b", "1", "ß", "nan", "None")
POLICIES = ("reject", "flag", "impute")


@st.composite
def _columns(draw: Any, name: str) -> Column:
    kind = draw(st.sampled_from(KINDS))
    measured = kind in ("number", "integer")
    words = tuple(draw(st.lists(st.sampled_from(WORDS), unique=True, max_size=5))) if kind == "category" else ()
    fills = {"number": 0.5, "integer": 2, "boolean": True, "category": words[0] if words else None}
    return Column(
        name=name,
        kind=kind,
        nullable=draw(st.booleans()),
        low=draw(st.none() | st.sampled_from([-(2.0**60), -7.0, -1.5, 0.0])) if measured else None,
        high=draw(st.none() | st.sampled_from([0.0, 1.5, 8.0, 2.0**60])) if measured else None,
        categories=words,
        fill=draw(st.none() | st.just(fills[kind])),
        missing=draw(st.sampled_from(POLICIES)),
        unseen=draw(st.sampled_from(POLICIES)),
        outside=draw(st.sampled_from(POLICIES)),
        wrong_type=draw(st.sampled_from(POLICIES)),
    )


@st.composite
def _contracts(draw: Any) -> Contract:
    count = draw(st.integers(1, 4))
    return Contract(
        columns=tuple(draw(_columns(f"c{place}")) for place in range(count)), label="y", task="regression", prior=0.0
    )


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 1.5, -1.5, 8.0, float(EXACT), float(EXACT + 2), 1e308, -1e308]
)
WHOLE = st.integers(-12, 12) | st.sampled_from([EXACT, -EXACT, EXACT + 1, 2**63 - 1, -(2**63)])
RIGHT = {
    "number": NUMBERS,
    "integer": WHOLE,
    "boolean": st.booleans(),
    "category": st.sampled_from([*WORDS, "never seen"]),
}
WRONG = st.none() | st.sampled_from([math.nan, math.inf, -math.inf, "x", 10**400, [1], {}])


@st.composite
def _rows(draw: Any, contract: Contract, most: int = 6) -> list[dict[str, Any]]:
    """Rows that mostly fit: right values, now and then a missing or a wrong one, or a column that is not there."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        row = {}
        for column in contract.columns:
            how = draw(st.sampled_from(("right", "right", "right", "wrong", "absent")))
            if how != "absent":
                row[column.name] = draw(RIGHT[column.kind] if how == "right" else WRONG)
        found.append(row)
    return found


def _answered(contract: Contract, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The values of the rows that may reach a model."""
    judged = [examine(contract, row) for row in rows]
    return [values for verdict, values in judged if verdict.status in ("ok", "imputed", "flagged")]


def _exact(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose whole numbers a float tells apart."""
    return [row for row in rows if not any(type(value) is int and abs(value) > EXACT for value in row.values())]


def _typed(rows: list[dict[str, Any]]) -> list[list[tuple[str, type, Any]]]:
    """Values with their types, a zero with its sign."""
    return [
        [(name, type(value), value.hex() if isinstance(value, float) else value) for name, value in row.items()]
        for row in rows
    ]


@settings(max_examples=35, deadline=None)
@given(data=st.data())
def test_values_come_back_from_a_matrix_as_examine_gave_them(data: st.DataObject) -> None:
    contract = data.draw(_contracts())
    encoder = Encoder(contract)
    rows = _exact(_answered(contract, data.draw(_rows(contract))))
    matrix = encoder.matrix(rows)
    assert matrix.shape == (len(rows), len(contract.columns))
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    assert not np.isinf(matrix).any()
    assert _typed(encoder.values(matrix)) == _typed(rows)
    by_column = encoder.columns(matrix)
    assert [list(row.values()) for row in rows] == [list(row) for row in zip(*by_column, strict=True)]
    assert encoder.matrix(encoder.values(matrix)).tobytes() == matrix.tobytes()


@settings(max_examples=35, deadline=None)
@given(data=st.data())
def test_a_frame_of_a_matrix_is_the_frame_of_its_rows(data: st.DataObject) -> None:
    contract = data.draw(_contracts())
    encoder = Encoder(contract)
    rows = _exact(_answered(contract, data.draw(_rows(contract))))
    found, expected = encoder.frame(encoder.matrix(rows)), to_frame(contract, rows)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert [found[name].dtype for name in found] == [expected[name].dtype for name in expected]
    for name in contract.names:
        if found[name].dtype == np.float64:
            assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes()
    assert rows_of(found, contract) == rows


@settings(max_examples=35, deadline=None)
@given(data=st.data())
def test_clean_rows_are_ok_and_ok_rows_are_clean_but_for_large_numbers(data: st.DataObject) -> None:
    contract = data.draw(_contracts())
    encoder = Encoder(contract)
    for row in data.draw(_rows(contract)):
        verdict, values = examine(contract, row)
        if verdict.status in ("rejected", "fallback"):
            continue
        matrix = encoder.matrix([values])
        clean = bool(encoder.clean(matrix)[0])
        again, same = examine(contract, values)
        large = any(isinstance(value, int | float) and abs(value) >= EXACT for value in values.values())
        if clean:
            assert again.status == "ok"
            assert not large
            assert _typed([same]) == _typed(encoder.values(matrix))
        elif not large:
            assert again.status != "ok"


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rows_are_judged_without_their_neighbours(data: st.DataObject) -> None:
    contract = data.draw(_contracts())
    encoder = Encoder(contract)
    cells = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, math.nan, LOOK, math.inf, 1e17])
    count = data.draw(st.integers(0, 5))
    matrix = np.array([[data.draw(cells) for _ in contract.columns] for _ in range(count)], dtype=np.float64).reshape(
        count, len(contract.columns)
    )
    clean = encoder.clean(matrix)
    assert clean.dtype == np.bool_
    assert clean.shape == (count,)
    assert clean.tolist() == [bool(encoder.clean(matrix[row : row + 1])[0]) for row in range(count)]
    assert encoder.all_clean(matrix) == all(clean.tolist())
    assert encoder.all_clean(matrix[clean])
    assert not clean[np.isinf(matrix).any(axis=1)].any()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_both_frames_refuse_what_no_dtype_can_hold(data: st.DataObject) -> None:
    """Rows that nobody judged: each kind of value, or None, in every column."""
    contract = data.draw(_contracts())
    small = {"number": NUMBERS, "integer": st.integers(-9, 9), "boolean": st.booleans()}
    rows = [
        {
            column.name: data.draw(st.none() | small.get(column.kind, st.sampled_from([*WORDS, "never seen"])))
            for column in contract.columns
        }
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    encoder = Encoder(contract)
    strict = [column for column in contract.columns if column.kind in ("integer", "boolean")]
    strict = [column for column in strict if not may_be_missing(column)]
    lacking = [column.name for column in strict if any(row[column.name] is None for row in rows)]
    if lacking:
        with pytest.raises(DataUnfit, match=lacking[0]):
            to_frame(contract, rows)
        with pytest.raises(DataUnfit, match=lacking[0]):
            encoder.frame(encoder.matrix(rows))
    else:
        pd.testing.assert_frame_equal(encoder.frame(encoder.matrix(rows)), to_frame(contract, rows), check_exact=True)


def _one(kind: Any, **fields: Any) -> Encoder:
    return Encoder(Contract(columns=(Column(name="x", kind=kind, **fields),), label="y", task="regression"))


EDGES: dict[str, tuple[Encoder, float, bool]] = {
    "a number": (_one("number"), 1.5, True),
    "a denormal number": (_one("number", low=0.0), 5e-324, True),
    "a zero with a sign at the bound": (_one("number", low=0.0), -0.0, True),
    "just below the bound": (_one("number", low=0.0), -5e-324, False),
    "at the upper bound": (_one("number", high=1.5), 1.5, True),
    "just above the bound": (_one("number", high=1.5), math.nextafter(1.5, 2), False),
    "the largest exact number": (_one("number"), float(EXACT - 1), True),
    "what a larger whole number is rounded to": (_one("number"), float(EXACT + 1), False),
    "the same of a bound": (_one("integer", low=0, high=2**53), float(EXACT), False),
    "the smallest exact number": (_one("integer"), -float(EXACT - 1), True),
    "what a smaller whole number is rounded to": (_one("integer"), -float(EXACT), False),
    "within a bound that is not exact": (_one("number", high=2.0**60), 2.0**54, False),
    "missing": (_one("number"), math.nan, False),
    "missing where it may be": (_one("number", nullable=True), math.nan, True),
    "missing that is only flagged": (_one("number", missing="flag"), math.nan, False),
    "infinite": (_one("number", nullable=True), math.inf, False),
    "a look": (_one("number", nullable=True), LOOK, False),
    "a look at a boolean": (_one("boolean", nullable=True), LOOK, False),
    "true": (_one("boolean"), 1.0, True),
    "false": (_one("boolean"), 0.0, True),
    "a boolean of two": (_one("boolean"), 2.0, False),
    "the first category": (_one("category", categories=("a", "b")), 0.0, True),
    "the last category": (_one("category", categories=("a", "b")), 1.0, True),
    "a category too many": (_one("category", categories=("a", "b")), 2.0, False),
    "a category before the first": (_one("category", categories=("a", "b")), -1.0, False),
    "a category of none": (_one("category"), 0.0, False),
    "no category of none": (_one("category", nullable=True), math.nan, True),
    "an unseen one where none may be missing": (_one("category", categories=("a",)), math.nan, False),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_what_is_clean(name: str) -> None:
    encoder, cell, clean = EDGES[name]
    matrix = np.array([[cell], [cell]])
    assert encoder.clean(matrix).tolist() == [clean, clean]
    assert encoder.all_clean(matrix) == clean


PLAIN: dict[str, tuple[Encoder, list[Any], list[Any]]] = {
    "numbers": (_one("number"), [1.5, -0.0, None], [1.5, -0.0, None]),
    "whole numbers": (_one("integer"), [3, 0, None, -EXACT], [3, 0, None, -EXACT]),
    "a whole number as a float": (_one("integer"), [3.0], [3]),
    "booleans": (_one("boolean"), [True, False, None], [True, False, None]),
    "categories": (_one("category", categories=("b", "a")), ["a", "b", None], ["a", "b", None]),
    "unseen ones": (_one("category", categories=("b", "a")), ["c", "A", "a "], [None, None, None]),
    "what is no text": (_one("category", categories=("1", "True")), [1, True, 1.0], [None, None, None]),
    "no category at all": (_one("category"), ["a", ""], [None, None]),
    "the empty word": (_one("category", categories=("",)), ["", None], ["", None]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_values_of_each_kind(name: str) -> None:
    encoder, values, expected = PLAIN[name]
    found = [row["x"] for row in encoder.values(encoder.matrix([{"x": value} for value in values]))]
    assert _typed([{"x": value} for value in found]) == _typed([{"x": value} for value in expected])
    assert encoder.columns(encoder.matrix([{"x": value} for value in values])) == [found]


def test_no_row_and_absent_columns() -> None:
    contract = Contract(
        columns=(Column(name="n", kind="number"), Column(name="c", kind="category", categories=("a",))),
        label="y",
        task="regression",
    )
    encoder = Encoder(contract)
    none = encoder.matrix([])
    assert none.shape == (0, 2)
    assert encoder.values(none) == []
    assert encoder.columns(none) == [[], []]
    assert encoder.clean(none).tolist() == []
    assert encoder.all_clean(none)
    assert encoder.frame(none).dtypes.tolist() == to_frame(contract, []).dtypes.tolist()
    assert np.isnan(encoder.matrix([{}, {"other": 1}])).all()


@pytest.mark.parametrize(("kind", "encodable"), [*((kind, True) for kind in KINDS), ("text", False), ("time", False)])
def test_text_and_times_do_not_stand_in_a_matrix(kind: Any, encodable: bool) -> None:
    assert _one(kind).encodable is encodable
    assert Encoder(Contract(columns=(), label="y", task="regression")).encodable


def test_codes_are_the_places_in_the_contract() -> None:
    columns = (Column(name="c", kind="category", categories=("z", "a", "m")), Column(name="n", kind="number"))
    assert Encoder(Contract(columns=columns, label="y", task="regression")).codes == (
        {"z": 0.0, "a": 1.0, "m": 2.0},
        None,
    )


def test_a_frame_shares_nothing_with_its_matrix() -> None:
    """A model that writes into its frame must not change the row that is logged."""
    contract = Contract(
        columns=tuple(Column(name=kind, kind=kind, nullable=True, categories=("a", "b")) for kind in KINDS),
        label="y",
        task="regression",
    )
    encoder = Encoder(contract)
    matrix = encoder.matrix([{"number": 1.0, "integer": 2, "boolean": True, "category": "b"}] * 3)
    before = matrix.tobytes()
    frame = encoder.frame(matrix)
    frame.loc[:, ["number", "integer", "boolean"]] = 7.0
    frame.loc[:, "category"] = "a"
    assert matrix.tobytes() == before
    matrix.setflags(write=False)
    pd.testing.assert_frame_equal(encoder.frame(matrix), encoder.frame(matrix.copy()))
    pd.testing.assert_frame_equal(encoder.frame(np.asfortranarray(matrix)), encoder.frame(matrix))
    assert encoder.values(np.asfortranarray(matrix)) == encoder.values(matrix)


@pytest.mark.parametrize("kind", ["integer", "boolean"])
@pytest.mark.parametrize("cell", [math.nan, LOOK, math.inf])
def test_a_frame_never_makes_a_number_up(kind: Any, cell: float) -> None:
    with pytest.raises(DataUnfit, match="'x' has a missing value"):
        _one(kind).frame(np.array([[1.0], [cell]]))
    lenient = _one(kind, missing="flag").frame(np.array([[1.0], [math.nan]]))
    assert lenient["x"].dtype == np.float64


def test_threads_share_an_encoder() -> None:
    encoder = _one("category", categories=tuple(f"v{place}" for place in range(50)))
    rows = [{"x": f"v{place % 60}"} for place in range(240)]
    expected = encoder.matrix(rows).tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: encoder.matrix(rows).tobytes(), range(12))) == {expected}
