"""Frames in and out: what comes back is what went in, in every library and every type."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from features.cases import KINDS, VALUES, arrow, plain
from features.replay import same
from fullcircle import features as ft
from fullcircle.errors import DataUnfit, FeatureInvalid, TableUnreadable
from fullcircle.features import frames
from fullcircle.features.kinds import arrow_type, kind_of
from fullcircle.settings import load

AT = dt.datetime(2025, 1, 1)


def through(column: Any, library: str) -> Any:
    """A column of values through a join whose labels are of this library, as Arrow again."""
    size = len(column)
    rows = pa.table({"k": list(range(size)), "t": [AT] * size, "x": column})
    labels: Any = rows.select(["k", "t"])
    labels = {"pandas": pa.Table.to_pandas, "polars": pl.from_arrow, "duckdb": duckdb.from_arrow}[library](labels)
    got = ft.join(labels, rows, on="k", time="t", as_of="event")
    if library == "pandas":
        return pa.Table.from_pandas(got[["x"]], preserve_index=False).column("x")
    return (got.to_arrow_table() if library == "duckdb" else pa.table(got)).column("x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
@pytest.mark.parametrize("gaps", [False, True])
def test_values_of_every_kind_come_back_exactly(kind: str, library: str, gaps: bool) -> None:
    wanted = [*VALUES[kind], *([None] if gaps else [])]
    if library == "pandas" and kind == "float64":
        wanted = [value for value in wanted if value is not None and not np.isnan(value)]
    column = arrow(kind, wanted)
    found = plain(kind, through(column, library).cast(column.type).combine_chunks())
    assert all(same(one, two) for one, two in zip(found, wanted, strict=True)), found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("int8", "int8"),
        ("uint64", "uint64"),
        ("float", "float32"),
        ("double", "float64"),
        ("bool", "bool"),
        ("string", "text"),
        ("large_string", "text"),
        ("string_view", "text"),
        ("binary", "bytes"),
        ("date32", "date"),
        ("date64", "date"),
    ],
)
def test_kinds_of_types_and_back(name: str, kind: str) -> None:
    types = {"float": pa.float32(), "double": pa.float64(), "bool": pa.bool_()}
    found = kind_of(types.get(name) or getattr(pa, name)(), "x")
    assert found == kind
    assert kind_of(arrow_type(found), "x") == kind


@pytest.mark.parametrize(
    "kind",
    [
        "time[s]",
        "time[ns]",
        "time[us,UTC]",
        "time[ms,Europe/Berlin]",
        "decimal(38,10)",
        "decimal(5,-2)",
        "list<text>",
    ],
)
def test_kinds_with_parts_and_back(kind: str) -> None:
    assert kind_of(arrow_type(kind), "x") == kind
    assert kind_of(arrow_type(f"list<{kind}>"), "x") == f"list<{kind}>"


@pytest.mark.parametrize(
    "bad",
    [pa.null(), pa.float16(), pa.duration("s"), pa.struct([]), pa.decimal256(50, 2), pa.time64("us"), pa.binary(3)],
)
def test_types_that_no_feature_can_have_are_refused_by_name(bad: Any) -> None:
    for one in (bad, pa.list_(bad)):
        with pytest.raises(FeatureInvalid, match="'x'") as caught:
            kind_of(one, "x")
        assert str(bad) in str(caught.value)
        assert caught.value.allowed
        assert caught.value.next_step


def test_a_kind_that_is_none_is_refused() -> None:
    for text in ("", "int", "time[h]", "list<>", "decimal(1)"):
        with pytest.raises(FeatureInvalid):
            arrow_type(text)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1, -1], pa.timestamp("s")), [10**9, -(10**9)]),
        (pa.array([1, -1], pa.timestamp("ms", "Asia/Tokyo")), [10**6, -(10**6)]),
        (pa.array([1, -1], pa.timestamp("us", "+05:30")), [1000, -1000]),
        (pa.array([2**63 - 1, 1 - 2**63], pa.timestamp("ns")), [2**63 - 1, 1 - 2**63]),
        (pa.array([1, -1], pa.int32()).cast(pa.date32()), [86_400 * 10**9, -86_400 * 10**9]),
        (pa.array([dt.date(1970, 1, 2)], pa.date64()), [86_400 * 10**9]),
        (pa.array([], pa.timestamp("us")), []),
        (pa.array([9_223_372_036], pa.timestamp("s")), [9_223_372_036 * 10**9]),
    ],
)
def test_times_as_nanoseconds(column: Any, wanted: list[int]) -> None:
    for form in (column, pa.chunked_array([column.slice(0, 1), column.slice(1)])):
        found = frames.nanoseconds(form, "t", "it")
        assert found.dtype == np.int64
        assert found.tolist() == wanted


@pytest.mark.parametrize("seconds", [9_223_372_037, -9_223_372_037])
def test_times_beyond_64_bits_of_nanoseconds_say_what_they_were(seconds: int) -> None:
    with pytest.raises(DataUnfit, match="out of range") as caught:
        frames.nanoseconds(pa.array([seconds], pa.timestamp("s")), "t", "it")
    assert str(seconds) in str(caught.value.received)


def test_nan_in_pandas_is_a_gap_and_elsewhere_a_value() -> None:
    values = [1.0, float("nan")]
    assert frames.to_arrow(pd.DataFrame({"x": values}), "it")[0].column("x").null_count == 1
    for frame in (pl.DataFrame({"x": values}), pa.table({"x": values}), duckdb.from_arrow(pa.table({"x": values}))):
        assert frames.to_arrow(frame, "it")[0].column("x").null_count == 0


def test_any_table_that_speaks_arrow_is_read() -> None:
    class Stranger:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.table({"x": [1]}).__arrow_c_stream__(requested_schema)

    table, library = frames.to_arrow(Stranger(), "it")
    assert (table.to_pydict(), library) == ({"x": [1]}, "arrow")
    batch, _ = frames.to_arrow(pa.record_batch({"x": [1]}), "it")
    assert batch.to_pydict() == {"x": [1]}


def test_what_pandas_gets_back_has_its_own_types() -> None:
    table = pa.table(
        {
            "n": pa.array([1, None], pa.uint16()),
            "b": [True, None],
            "f": [1.5, None],
            "d": [Decimal("1.10"), None],
            "day": [dt.date(2025, 1, 1), None],
            "when": pa.array([1, None], pa.timestamp("us", "UTC")),
            "s": ["a", None],
            "l": pa.array([[1, 2], None], pa.list_(pa.int64())),
            "g": pa.array([[True, None], None], pa.list_(pa.bool_())),
            "h": pa.array([[0.5, None], None], pa.list_(pa.float64())),
        }
    )
    found = frames.to_pandas(table)
    assert [str(found[name].dtype) for name in ("n", "b", "f", "when")] == [
        "UInt16",
        "boolean",
        "float64",
        "datetime64[us, UTC]",
    ]
    assert found["day"].tolist()[0] == pd.Timestamp("2025-01-01")
    assert found["d"].tolist() == [Decimal("1.10"), None]
    assert found["l"].tolist()[0].tolist() == [1, 2]
    assert found["g"].tolist()[0] == [True, None]
    assert found["h"].tolist()[0].tolist()[0] == 0.5
    assert list(found.index) == [0, 1]


def test_what_is_of_no_kind_is_refused() -> None:
    with pytest.raises(TableUnreadable, match="rows") as caught:
        frames.to_arrow(object(), "the rows")
    assert "object" in str(caught.value)
    assert "polars" in str(caught.value)


@pytest.mark.parametrize("library", ["pandas", "polars", "lazy", "arrow", "duckdb"])
def test_rows_that_are_asked_for_as_a_frame_come_back_as_they_were(library: str, tmp_path: Path) -> None:
    table = ft.FeatureTable(name="events", key="k", time="t", as_of="event")
    view = ft.FeatureView(name="v", tables=[table], features=[table.latest("x")])
    frame = pd.DataFrame(
        {
            "note": pd.Categorical(["b", None], categories=["c", "b"]),
            "k": np.array([2, 1], dtype="int8"),
            "x__status": ["old", "old"],
        },
        index=pd.Index(["one", "two"], name="row"),
    )
    asked: Any = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    lazy = pl.DataFrame(asked).lazy()
    asked = {
        "pandas": frame,
        "polars": pl.DataFrame(asked),
        "lazy": lazy,
        "arrow": asked,
        "duckdb": duckdb.from_arrow(asked),
    }[library]
    with ft.Store.open(load({"workspace": "ws", "config": "config", "actor": "tester"}, tmp_path)) as store:
        store.append(table, pa.table({"k": [1], "t": [AT], "x": [2**53 + 1]}))
        got = store.get(view, asked, at=AT, status=True)
    if library == "pandas":
        pd.testing.assert_frame_equal(got[["note", "k"]], frame[["note", "k"]])
        assert got["x"].tolist() == [pd.NA, 2**53 + 1]
        assert got["x"].dtype == pd.Int64Dtype()
    plain_got = pa.table(got) if library != "duckdb" else got.to_arrow_table()
    assert [name for name in plain_got.column_names if name != "row"] == ["note", "k", "x", "x__status"]
    assert plain_got.column("x").to_pylist() == [None, 2**53 + 1]
    assert plain_got.column("x__status").to_pylist() == ["missing", "present"]
    assert plain_got.column("note").to_pylist() == ["b", None]


def test_text_of_any_form_is_taken_everywhere(tmp_path: Path) -> None:
    """Polars hands text, and the words of its categories, over in a form that few of Arrow's functions take."""
    table = ft.FeatureTable(name="events", key="k", time="t", as_of="event")
    view = ft.FeatureView(name="v", tables=[table], features=[table.latest("c"), table.last("s", "1h")])
    frame = pl.DataFrame(
        {
            "k": pl.Series(["a", "b"], dtype=pl.Categorical),
            "t": [AT, AT],
            "c": pl.Series(["x", None], dtype=pl.Enum(["y", "x"])),
            "s": ["s" * 100, None],
        }
    )
    labels = frame.select("k", pl.col("t").alias("asked_at"), pl.col("c").alias("mine"))
    with ft.Store.open(load({"workspace": "ws", "config": "config", "actor": "tester"}, tmp_path)) as store:
        store.append(table, frame)
        store.append(table, frame.with_columns(pl.col("k", "c").cast(pl.String)))
        views = pa.table(labels)
        assert pa.types.is_string_view(views.schema.field("mine").type.value_type)
        for one in (labels, views):
            got = store.train(view, one).frame
            assert pa.table(got).column("c").to_pylist() == ["x", None]
            assert pa.table(got).column("s_last_1h").to_pylist() == ["s" * 100, None]
        assert store.train(view, labels).frame.select(labels.columns).equals(labels)
    rows = frame.select("k", "t", pl.col("s", "c"))
    got = ft.join(frame.select("k", "t"), rows, on="k", time="t", as_of="event")
    assert got["c"].to_list() == ["x", None]
