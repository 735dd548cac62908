"""Whole columns: what they call plainly right is what examine calls ok, with the same bits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.runtimes.columns import Columns, Documents, Typed, Written, of_database, written
from fullcircle.runtimes.contracts import examine, rows_of
from fullcircle.runtimes.encoding import LOOK, Encoder
from fullcircle.types.contract import Column, Contract

KINDS = ("number", "integer", "boolean", "category")
NAMES = ("1", "2.5", "blue", "True", "NA", "01")


@st.composite
def contracts(draw: Any) -> Contract:
    columns = []
    for place, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))):
        low = draw(st.none() | st.integers(-5, 0)) if kind in ("number", "integer") else None
        columns.append(
            Column(
                name=f"c{place}",
                kind=kind,
                nullable=draw(st.booleans()),
                low=low,
                high=draw(st.none() | st.integers(1, 50)) if kind in ("number", "integer") else None,
                categories=tuple(draw(st.lists(st.sampled_from(NAMES), unique=True))) if kind == "category" else (),
                missing=draw(st.sampled_from(("reject", "flag"))),
                wrong_type=draw(st.sampled_from(("reject", "flag"))),
            )
        )
    return Contract(columns=tuple(columns), label="y", task="regression", prior=1.0)


NUMBERS = st.floats(allow_nan=False) | st.integers(-60, 60) | st.sampled_from([0.0, -0.0, 2**53, 2**53 + 1, -(2**63)])
VALUES = NUMBERS | st.none() | st.booleans() | st.sampled_from(NAMES) | st.sampled_from([10**30, "x", [1], {"a": 1}])


def _agrees(contract: Contract, columns: Columns, rows: list[dict[str, Any]]) -> None:
    """What is clean is ok, and stands for the same bits; what is ok and exact is mostly clean."""
    encoder = Encoder(contract)
    matrix = columns.matrix(encoder)
    assert matrix.shape == (len(rows), len(contract.columns))
    assert matrix.flags.c_contiguous
    clean = encoder.clean(matrix)
    for place, row in enumerate(rows):
        verdict, values = examine(contract, row)
        if clean[place]:
            assert verdict.status == "ok", (row, matrix[place])
            assert encoder.matrix([values]).tobytes() == matrix[place : place + 1].tobytes(), (row, matrix[place])
        elif verdict.status == "ok":
            odd = [value for value in values.values() if isinstance(value, int | float) and abs(value) >= 2**53]
            zero = [value for value in values.values() if value == 0]
            assert odd or zero, (row, matrix[place])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_documents_are_judged_as_examine_does(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    row = st.fixed_dictionaries({}, optional=dict.fromkeys((*contract.names, "other"), VALUES))
    rows = data.draw(st.lists(row, max_size=8))
    known = [{name: value for name, value in one.items() if name != "other"} for one in rows]
    _agrees(contract, Documents(rows), known)
    assert Documents(rows).dicts(contract) == known


ARRAYS = {
    "int": (pa.int64(), st.integers(-60, 60) | st.sampled_from([2**53 - 1, -(2**62)])),
    "byte": (pa.int8(), st.integers(-9, 9)),
    "float": (pa.float64(), st.floats() | st.integers(-9, 9).map(float) | st.sampled_from([-0.0, 1.0])),
    "single": (pa.float32(), st.floats(width=32) | st.integers(0, 9).map(float)),
    "truth": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.sampled_from([*NAMES, "", "x"])),
    "codes": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from([*NAMES, "x"])),
    "decimal": (pa.decimal128(9, 2), st.integers(-900, 900).map(lambda cents: Decimal(cents) / 100)),
    "nothing": (pa.null(), st.none()),
    "day": (pa.timestamp("us"), st.datetimes()),
}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_typed_columns_are_judged_as_a_frame_is_row_by_row(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    count = data.draw(st.integers(0, 6))
    arrays = {}
    for name in contract.names:
        kind, values = ARRAYS[data.draw(st.sampled_from(sorted(ARRAYS)))]
        cells = data.draw(st.lists(values | st.none(), min_size=count, max_size=count))
        arrays[name] = pa.array(cells, type=kind)
    typed = Typed(arrays, count)
    rows = typed.dicts(contract)
    _agrees(contract, typed, rows)
    assert typed.dicts(contract, list(range(count))[::-1]) == rows[::-1]
    # And that is what a frame of the same table says, but for whole numbers that pandas keeps as floats.
    # pandas says of a column of floats whether it is one of truths; here each cell says it.
    nearest = {
        name: pa.array([None if one is None else float(one) for one in array.to_pylist()], pa.float64())
        for name, array in arrays.items()
        if pa.types.is_decimal(array.type)
    }
    table = pa.table({**arrays, **nearest})
    truths = {column.name for column in contract.columns if column.kind == "boolean"}
    for ours, theirs in zip(rows, rows_of(table.to_pandas(date_as_object=False), contract), strict=True):
        same = [name for name in ours if name not in truths]
        expected = examine(contract, {**theirs, **{name: ours[name] for name in truths & ours.keys()}})
        found = examine(contract, ours)
        if all(abs(value) < 2**53 for value in ours.values() if isinstance(value, int)):
            assert [found[1][name] for name in same] == [expected[1][name] for name in same]
            assert found[0].status == expected[0].status


ODD = (
    """NA nan NAN Nan 1 01 1.0 -0 -0.0 +3 1_0 0x1 inf 1e3 1e400 true True tRue 9007199254740993 1,5 .5 5. blue x ٣"""
)
TEXTS = st.one_of(
    st.sampled_from(["", " 3", "3 ", "1" * 500, *ODD.split()]),
    st.floats().map(str),
    st.integers(-60, 60).map(str),
)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_written_columns_are_judged_as_their_cells(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    count = data.draw(st.integers(0, 6))
    cells = {name: data.draw(st.lists(TEXTS, min_size=count, max_size=count)) for name in contract.names}
    columns = Written({name: pa.array(texts, pa.string()) for name, texts in cells.items()}, count)
    rows = [
        {column.name: written(column, cells[column.name][place]) for column in contract.columns}
        for place in range(count)
    ]
    assert columns.dicts(contract) == rows
    _agrees(contract, columns, rows)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "1.5", 1.5),
        ("number", "1e3", 1000.0),
        ("number", " 3\t", 3),
        ("number", "+.5", 0.5),
        ("number", "9007199254740993", 9007199254740993),
        ("number", "1_000", "1_000"),
        ("number", "0x10", "0x10"),
        ("number", "inf", "inf"),
        ("number", "1,5", "1,5"),
        ("number", "٣", "٣"),
        ("number", "true", True),
        ("integer", "007", 7),
        ("integer", "3.0", 3.0),
        ("boolean", "True", True),
        ("boolean", "false", False),
        ("boolean", "1", 1),
        ("boolean", "yes", "yes"),
        ("category", "1", "1"),
        ("category", "1.0", "1"),
        ("category", "02", "2"),
        ("category", "TRUE", "True"),
        ("category", "NA", "NA"),
        ("category", "null", None),
        ("category", "3.0", "3.0"),
        ("text", "007", "007"),
        ("text", "NA", None),
        ("time", "2026-01-01", "2026-01-01"),
    ],
)
def test_a_cell_of_text_says_what_the_column_makes_of_it(kind: Any, text: str, value: object) -> None:
    found = written(Column(name="a", kind=kind, categories=("1", "2", "True", "NA")), text)
    assert (type(found), found) == (type(value), value)


def test_a_whole_table_of_a_million_cells_is_read_at_once_and_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.normal(size=3000) * 10.0 ** rng.integers(-300, 15, 3000), [0.1, 1 / 3, 5e-324]])
    contract = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression")
    columns = Written({"a": pa.array([repr(one) for one in numbers.tolist()])}, len(numbers))
    encoder = Encoder(contract)
    matrix = columns.matrix(encoder)
    assert matrix[:, 0].tobytes() == numbers.tobytes()
    assert encoder.clean(matrix).all()


def test_one_odd_cell_costs_only_its_own_row() -> None:
    contract = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression")
    texts = [str(one / 7) for one in range(1, 1000)]
    texts[500] = "n.a."
    matrix = Written({"a": pa.array(texts)}, len(texts)).matrix(Encoder(contract))
    assert (matrix[:, 0] == LOOK).sum() == 1
    assert matrix[500, 0] == LOOK


def test_context_is_what_the_log_gets() -> None:
    contract = Contract(
        columns=(Column(name="a", kind="number"),), label="y", task="regression", context=("at", "who", "none")
    )
    cells = {
        "a": pa.array(["1"] * 3),
        "at": pa.array(["2026-01-01", "NA", "3"]),
        "who": pa.array(["007", "7", "1.50"]),
    }
    found = Written(cells, 3).contexts(contract)
    assert found == [{"at": "2026-01-01", "who": "007"}, {"at": None, "who": 7}, {"at": 3, "who": 1.5}]
    days = pa.array([pd.Timestamp("2026-01-01 06:00"), None])
    typed = Typed({"a": pa.array([1, 2]), "at": days, "who": pa.array([Decimal("1.5"), None])}, 2)
    assert typed.contexts(contract) == [{"at": "2026-01-01T06:00:00", "who": 1.5}, {"at": None, "who": None}]
    assert Documents([{"who": 1, "a": 2}, {}]).contexts(contract) == [{"who": 1}, {}]
    assert [row.keys() for row in Written(cells, 3).dicts(contract, [1])] == [{"a", "at", "who"}]


def test_a_database_has_numbers_for_truths_and_names() -> None:
    columns = (
        Column(name="member", kind="boolean"),
        Column(name="area", kind="category", categories=("1", "2")),
        Column(name="age", kind="integer"),
    )
    contract = Contract(columns=columns, label="y", task="regression")
    rows: list[dict[str, Any]] = [{"member": 1, "area": 2.0, "age": 1}, {"member": 2, "area": None, "age": True}]
    assert of_database(contract, rows).dicts(contract) == [
        {"member": True, "area": "2", "age": 1},
        {"member": 2, "area": None, "age": True},
    ]
