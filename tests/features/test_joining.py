"""The join of frames: right in every library, the labels as they were, and every bad input told what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from features.cases import ARROW, ASKED_AT, AVAILABLE_AT, EVENT_TIME, Case, cases, examples, named_cases, plain
from features.replay import same
from fullcircle import features as ft
from fullcircle.errors import (
    ColumnMissing,
    DataUnfit,
    EngineFailed,
    FeatureInvalid,
    FullcircleError,
    PluginUnknown,
    ProjectInvalid,
    TableNotFound,
    TableUnreadable,
)
from fullcircle.features import definitions, joining, pieces
from rights import files_allowed

NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def into_pandas(table: pa.Table) -> pd.DataFrame:
    """Arrow's own way makes floats of integers in lists with gaps."""
    frame = table.to_pandas(types_mapper=NULLABLE.get)
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    return frame.assign(**{name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in lists})


INTO: Mapping[str, Callable[[pa.Table], Any]] = {
    "pandas": into_pandas,
    "polars": pl.from_arrow,
    "arrow": lambda table: table,
    "duckdb": duckdb.from_arrow,
}
RESULT = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.Table,
    "duckdb": duckdb.DuckDBPyRelation,
}
MANY = 2**53 + 1


@pytest.fixture(autouse=True, scope="module")
def _spans_in_nanoseconds() -> Iterator[None]:
    """Cases have spans that nobody can write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            joining, "nanos", lambda text: int(text[:-2]) if text.endswith("ns") else definitions.nanos(text)
        )
        yield


def as_arrow(frame: Any) -> pa.Table:
    if isinstance(frame, pd.DataFrame):
        return pa.Table.from_pandas(frame, preserve_index=False)
    return frame.to_arrow_table() if isinstance(frame, duckdb.DuckDBPyRelation) else pa.table(frame)


def ask(case: Case, labels: Any, rows: Any, **more: Any) -> Any:
    options: dict[str, Any] = {
        "on": list(case.keys),
        "time": ASKED_AT,
        "rows_time": EVENT_TIME,
        "available": AVAILABLE_AT,
        "closed": case.closed,
        "max_age": None if case.max_age is None else f"{case.max_age}ns",
        "columns": list(case.columns),
        "status": True,
    }
    return ft.join(labels, rows, **(options | more))


def times(column: Any) -> list[Any]:
    """The values of a column; times as nanoseconds, whatever unit and zone a library gave them."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    return list(column.to_pylist())


def check(case: Case, got: pa.Table, *, nan_is_missing: bool = False) -> None:
    """Every value and every status is the replay's; before them stand the labels."""
    labels = case.arrow_labels()
    added = [part for column in case.columns for part in (column, f"{column}__status")]
    assert got.column_names == [*labels.column_names, *added]
    for name in labels.column_names:
        assert times(got.column(name)) == times(labels.column(name)), name
    for column, kind in case.columns.items():
        values = plain(kind, got.column(column).combine_chunks().cast(ARROW[kind]))
        states = got.column(f"{column}__status").to_pylist()
        for place, (status, value) in enumerate(case.expected("latest", column)):
            if nan_is_missing and isinstance(value, float) and np.isnan(value):
                status, value = "null", None
            assert states[place] == status, (column, case.labels[place])
            assert same(values[place], value), (column, case.labels[place])


def prove(case: Case) -> None:
    labels, rows = case.arrow_labels(), pa.concat_tables(case.arrow_rows())
    for library, into in INTO.items():
        got = ask(case, into(labels), into(rows))
        assert isinstance(got, RESULT[library])
        check(case, as_arrow(got), nan_is_missing=library == "pandas")


@pytest.mark.parametrize("name", sorted(named_cases()))
def test_every_known_trap_in_every_library(name: str) -> None:
    prove(named_cases()[name])


@examples(40)
@given(cases())
def test_drawn_cases_in_every_library(case: Case) -> None:
    prove(case)


def alike(one: pa.Table, two: pa.Table) -> None:
    assert one.column_names == two.column_names
    for name in two.column_names:
        assert one.column(name).type == two.column(name).type
        assert repr(one.column(name).to_pylist()) == repr(two.column(name).to_pylist())


@pytest.mark.parametrize("name", sorted(named_cases()))
def test_paths_frames_and_pieces_answer_alike(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = named_cases()[name]
    labels, rows = case.arrow_labels(), pa.concat_tables(case.arrow_rows())
    folder = tmp_path / "rows"
    folder.mkdir()
    for place, batch in enumerate(case.arrow_rows()):
        pq.write_table(batch, folder / f"{place}.parquet", row_group_size=1)
    pq.write_table(labels, tmp_path / "labels.parquet", row_group_size=2)
    whole = ask(case, labels, rows)
    check(case, whole)
    monkeypatch.setattr(pieces, "PIECE", 1)
    for given_labels, given_rows in [(labels, rows), (tmp_path / "labels.parquet", str(folder)), (labels, folder)]:
        found = ask(case, given_labels, given_rows, out=tmp_path / "out.parquet")
        assert found == tmp_path / "out.parquet"
        alike(pq.read_table(found), whole)
        in_memory = ask(case, given_labels, given_rows)
        assert isinstance(in_memory, pa.Table)
        alike(in_memory, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.parquet", "out.parquet", "rows"]


# --- types and labels ---------------------------------------------------------------------------------


def day(number: int) -> dt.datetime:
    return dt.datetime(2025, 1, number)


@pytest.fixture
def labels() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "note": ["x", None, "z", "w"],
            "k": [2, 1, 1, 3],
            "group": pd.Categorical(["b", "a", None, "a"], categories=["c", "b", "a"], ordered=True),
            "t": [day(9), day(3), day(1), day(9)],
            "small": np.array([1, 2, 3, 4], dtype="int8"),
            "span": pd.to_timedelta([1, 2, None, 4], unit="s"),
        },
        index=pd.MultiIndex.from_tuples([("u", 1), ("u", 1), ("v", 2), ("a", 0)], names=["who", "which"]),
    )
    frame.columns.name = "columns"
    return frame


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "k": [1, 1, 2],
            "t": [day(2), day(4), day(5)],
            "n": pd.array([MANY, 7, None], dtype="Int64"),
            "flag": pd.array([True, False, None], dtype="boolean"),
            "u": np.array([250, 251, 252], dtype="uint8"),
            "x": [0.5, 1.5, np.nan],
            "s": ["a", "b", None],
            "when": [day(1), day(2), day(3)],
        }
    )


def join(labels: Any, rows: Any, **more: Any) -> Any:
    return ft.join(labels, rows, **({"on": "k", "time": "t", "as_of": "event"} | more))


def test_labels_of_pandas_keep_index_types_and_order(labels: pd.DataFrame, rows: pd.DataFrame) -> None:
    before, before_rows = labels.copy(deep=True), rows.copy(deep=True)
    got = join(labels, rows)
    pd.testing.assert_frame_equal(labels, before)
    pd.testing.assert_frame_equal(rows, before_rows)
    pd.testing.assert_frame_equal(got[list(labels.columns)], before, check_names=False)
    assert list(got.columns) == [*labels.columns, "n", "flag", "u", "x", "s", "when"]


def test_integers_and_booleans_with_gaps_stay_exact_in_pandas(labels: pd.DataFrame, rows: pd.DataFrame) -> None:
    got = join(labels, rows)
    assert got["n"].dtype == pd.Int64Dtype()
    assert got["n"].tolist() == [pd.NA, MANY, pd.NA, pd.NA]
    assert got["flag"].dtype == pd.BooleanDtype()
    assert got["flag"].tolist() == [pd.NA, True, pd.NA, pd.NA]
    assert got["u"].dtype == pd.UInt8Dtype()
    assert got["u"].tolist() == [252, 250, pd.NA, pd.NA]
    assert got["x"].dtype == np.float64
    assert got["when"].dtype.kind == "M"


def test_without_gaps_pandas_has_plain_types(labels: pd.DataFrame, rows: pd.DataFrame) -> None:
    got = join(labels.iloc[[1]], rows)
    assert got["n"].dtype == np.int64
    assert got["n"].tolist() == [MANY]
    assert got["flag"].dtype == np.bool_
    assert got["u"].dtype == np.uint8


def test_lists_with_gaps_stay_exact_in_pandas(labels: pd.DataFrame) -> None:
    rows = pa.table({"k": [1, 3], "t": [day(1), day(2)], "l": pa.array([[MANY, None], [1]], pa.list_(pa.int64()))})
    got = join(labels, rows, on="k")["l"].tolist()
    assert got[1] == [MANY, None]
    assert all(type(value) is int for value in got[1][:1])


def test_labels_of_polars_keep_their_types(labels: pd.DataFrame, rows: pd.DataFrame) -> None:
    enum = pl.Enum(["c", "b", "a"])
    frame = pl.DataFrame(
        {
            "k": pl.Series([2, 1, 3], dtype=pl.Int16),
            "e": pl.Series(["a", None, "b"], dtype=enum),
            "c": pl.Series(["a", None, "b"], dtype=pl.Categorical),
            "t": [day(9), day(3), day(9)],
            "d": [dt.timedelta(1), None, dt.timedelta(2)],
            "o": [{"a": 1}, None, {"a": 2}],
        }
    )
    got = join(frame, pl.from_pandas(rows))
    assert got.select(frame.columns).equals(frame)
    assert got.schema["e"] == enum
    assert got.schema["c"] == frame.schema["c"]
    assert got.schema["k"] == pl.Int16
    assert got["n"].to_list() == [None, MANY, None]
    assert got["n"].dtype == pl.Int64


def test_a_lazy_frame_is_collected(rows: pd.DataFrame) -> None:
    lazy = pl.LazyFrame({"k": [1], "t": [day(3)]}).with_columns(z=pl.col("k") + 1)
    got = join(lazy, pl.from_pandas(rows).lazy(), columns=["n"])
    assert isinstance(got, pl.DataFrame)
    assert got.rows() == [(1, day(3), 2, MANY)]


def test_labels_of_arrow_keep_their_types_and_their_file_does(
    labels: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(labels, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "labels.parquet")
    in_memory, from_file = join(table, rows), join(tmp_path / "labels.parquet", rows)
    for name in table.column_names:
        assert in_memory.schema.field(name).type == table.schema.field(name).type
        assert in_memory.column(name).equals(table.column(name))
    assert (
        from_file.select(["note", "group", "n"]).to_pydict() == in_memory.select(["note", "group", "n"]).to_pydict()
    )
    assert pa.types.is_dictionary(from_file.schema.field("group").type)


def test_written_from_pandas_the_file_has_the_columns_of_the_frame(
    labels: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 3)
    path = join(labels, rows, out=str(tmp_path / "out.parquet"), status=True)
    assert isinstance(path, Path)
    in_memory = join(labels, rows, status=True)
    read = pq.read_table(path)
    assert read.column_names == list(in_memory.columns)
    assert read.column("n").to_pylist() == [None, MANY, None, None]
    assert read.column("n__status").to_pylist() == in_memory["n__status"].tolist()
    assert read.column("group").to_pylist() == ["b", "a", None, "a"]


def test_what_stood_where_the_result_is_written_is_replaced_at_the_end_only(
    labels: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path
) -> None:
    own = tmp_path / "labels.parquet"
    pq.write_table(pa.Table.from_pandas(labels, preserve_index=False), own)
    join(own, rows, columns="n", out=own)
    assert pq.read_table(own).column("n").to_pylist() == [None, MANY, None, None]
    with pytest.raises(FeatureInvalid):
        join(own, rows, columns="n", out=own)
    assert pq.read_table(own).column("n").to_pylist() == [None, MANY, None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.parquet"]


# --- what can be said ---------------------------------------------------------------------------------


def test_columns_and_prefix(labels: pd.DataFrame, rows: pd.DataFrame) -> None:
    got = join(labels, rows, columns=["x", "n"], prefix="last_", status=True)
    assert list(got.columns)[len(labels.columns) :] == ["last_x", "last_x__status", "last_n", "last_n__status"]
    assert got["last_n__status"].tolist() == ["null", "present", "missing", "missing"]
    assert join(labels, rows, columns="t", prefix="row_")["row_t"].tolist()[1] == day(2)
    assert list(join(labels, rows, columns=[]).columns) == list(labels.columns)
    pq_free = join(pa.Table.from_pandas(labels, preserve_index=False), rows, columns=[])
    assert pq_free.num_rows == 4


def test_open_on_the_right_what_becomes_known_at_the_time_is_left_out() -> None:
    labels = pa.table({"k": [1, 1], "t": pa.array([10, 11], pa.timestamp("ns"))})
    rows = pa.table({"k": [1], "t": pa.array([10], pa.timestamp("ns")), "x": [5]})
    assert join(labels, rows)["x"].to_pylist() == [5, 5]
    assert join(labels, rows, closed="left")["x"].to_pylist() == [None, 5]


def test_delay_moves_when_a_row_is_known_and_not_how_old_it_is() -> None:
    labels = pa.table({"k": [1] * 4, "t": [day(2), day(3), day(4), day(5)]})
    rows = pa.table({"k": [1], "t": [day(1)], "a": [day(2)], "x": [5]})
    assert join(labels, rows, as_of=None, delay="2d", columns="x")["x"].to_pylist() == [None, 5, 5, 5]
    assert join(labels, rows, delay="1d", columns="x")["x"].to_pylist() == [5, 5, 5, 5]
    known = join(labels, rows, as_of=None, available="a", delay="1d", columns="x", max_age="3d", status=True)
    assert known["x__status"].to_pylist() == ["missing", "present", "present", "expired"]


def test_a_row_that_is_never_known_stays_unknown_however_long_the_delay() -> None:
    last = pa.array([2**63 - 1], pa.timestamp("ns"))
    labels = pa.table({"k": [1], "t": [day(1)]})
    rows = pa.table({"k": [1], "t": [day(1)], "a": last, "x": [5]})
    assert join(labels, rows, as_of=None, available="a", delay="1d")["x"].to_pylist() == [None]


def test_times_of_all_units_and_zones_are_one_time() -> None:
    moment = dt.datetime(2025, 7, 1, 12)
    zoned = pd.Series([pd.Timestamp(moment, tz="UTC").tz_convert("Asia/Tokyo")]).astype("datetime64[ms, Asia/Tokyo]")
    forms: list[Any] = [
        pa.array([moment], pa.timestamp(unit, zone)) for unit in ("s", "us", "ns") for zone in ("", "UTC")
    ]
    forms += [pa.array([moment], pa.timestamp("us", "Europe/Berlin")), pa.array(zoned)]
    for one in forms:
        for two in forms:
            labels = pa.table({"k": [1], "t": one})
            later = pa.table({"k": [1], "t": pc.add(two, pa.scalar(1, pa.duration("s"))), "x": [5]})
            same_time = pa.table({"k": [1], "t": two, "x": [5]})
            assert join(labels, same_time)["x"].to_pylist() == [5], (one.type, two.type)
            assert join(labels, later)["x"].to_pylist() == [None], (one.type, two.type)


def test_days_are_times_at_midnight() -> None:
    labels = pa.table({"k": [1, 1], "t": [dt.date(2025, 1, 2), dt.date(2025, 1, 1)]})
    rows = pa.table({"k": [1], "t": pa.array([day(2)], pa.timestamp("us")), "x": [5]})
    assert join(labels, rows)["x"].to_pylist() == [5, None]


def test_before_1970_and_at_the_ends_of_time() -> None:
    ends = [1 - 2**63, -1, 0, 2**63 - 1]
    labels = pa.table({"k": [1] * 4, "t": pa.array(ends, pa.timestamp("ns"))})
    rows = pa.table({"k": [1] * 4, "t": pa.array(ends, pa.timestamp("ns")), "x": [0, 1, 2, 3]})
    assert join(labels, rows, max_age="1d")["x"].to_pylist() == [0, 1, 2, 3]
    assert join(labels, rows, closed="left", columns="x", status=True)["x__status"].to_pylist() == [
        "missing",
        *["present"] * 3,
    ]


@pytest.mark.parametrize("library", sorted(INTO))
def test_no_labels_and_no_rows(library: str, tmp_path: Path) -> None:
    into = INTO[library]
    table = pa.table({"k": [1], "t": pa.array([day(1)], pa.timestamp("us")), "x": pa.array([5], pa.int64())})
    none = join(into(table.select(["k", "t"]).slice(0, 0)), into(table), status=True)
    assert as_arrow(none).num_rows == 0
    assert as_arrow(none).column_names == ["k", "t", "x", "x__status"]
    empty = as_arrow(join(into(table.select(["k", "t"])), into(table.slice(0, 0)), status=True))
    assert (empty["x"].to_pylist(), empty["x__status"].to_pylist()) == ([None], ["missing"])
    assert empty.schema.field("x").type == pa.int64()
    path = join(into(table.select(["k", "t"]).slice(0, 0)), into(table), out=tmp_path / "out.parquet")
    assert pq.read_table(path).schema.names == ["k", "t", "x"]


def test_empty_files(tmp_path: Path) -> None:
    table = pa.table({"k": [1], "t": [day(1)], "x": [5]})
    for name, part in [("labels", table.select(["k", "t"])), ("rows", table)]:
        pq.write_table(part.slice(0, 0), tmp_path / f"{name}.parquet")
    assert join(tmp_path / "labels.parquet", table).column_names == ["k", "t", "x"]
    written = join(tmp_path / "labels.parquet", tmp_path / "rows.parquet", out=tmp_path / "out.parquet")
    assert pq.read_table(written).num_rows == 0
    assert join(table.select(["k", "t"]), tmp_path / "rows.parquet")["x"].to_pylist() == [None]


def test_with_little_memory_the_answers_are_the_same() -> None:
    rng = np.random.default_rng(3)
    seconds = rng.integers(0, 10**6, 60_000)
    rows = pa.table({"k": rng.integers(0, 500, 60_000), "t": pa.array(seconds, pa.timestamp("s")), "x": seconds})
    labels = pa.table(
        {"k": rng.integers(0, 500, 5_000), "t": pa.array(rng.integers(0, 10**6, 5_000), pa.timestamp("s"))}
    )
    assert join(labels, rows, memory="100MB").equals(join(labels, rows))


def test_many_small_files_do_not_have_to_be_open_at_once(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    for place in range(150):
        pq.write_table(pa.table({"k": [place], "t": [day(1)], "x": [place]}), tmp_path / f"{place:03d}.parquet")
    labels = pa.table({"k": list(range(150)), "t": [day(2)] * 150})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_allowed(60), hard))
    try:
        got = join(labels, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert got["x"].to_pylist() == list(range(150))


def test_a_folder_of_files_of_which_some_lack_a_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": [1], "t": [day(1)], "x": [5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"k": [2], "t": [day(1)]}), tmp_path / "b.parquet")
    labels = pa.table({"k": [1, 2], "t": [day(2), day(2)]})
    assert join(labels, tmp_path)["x"].to_pylist() == [5, None]


# --- what is wrong ------------------------------------------------------------------------------------

GOOD = pa.table({"k": pa.array([1, 2], pa.int64()), "t": pa.array([day(1), day(2)], pa.timestamp("us"))})
ROWS = GOOD.append_column("x", pa.array([1, 2]))


def put(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def refused(kind: type[FullcircleError], *parts: str, labels: Any = GOOD, rows: Any = ROWS, **more: Any) -> None:
    """The join raises this, and its text says what was received, what is allowed and what to do, and these parts."""
    with pytest.raises(kind) as caught:
        join(labels, rows, **more)
    assert type(caught.value) is kind
    for part in (*parts, "received: ", "allowed: ", "next: "):
        assert part in str(caught.value), (part, str(caught.value))


BOTH_SIDES = pytest.mark.parametrize("side", ["labels", "rows"])


@BOTH_SIDES
@pytest.mark.parametrize("name", ["k", "t"])
def test_a_missing_key_or_time_column(side: str, name: str, tmp_path: Path) -> None:
    table = (GOOD if side == "labels" else ROWS).append_column("other", pa.array([1, 2])).drop_columns([name])
    refused(ColumnMissing, name, f"the {side}", "other", **{side: table})
    pq.write_table(table, tmp_path / "table.parquet")
    refused(ColumnMissing, name, f"the {side}", "other", **{side: tmp_path / "table.parquet"})


@BOTH_SIDES
@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array(["2025-01-01", "2025-01-02"]), "string"),
        (pa.array([1735689600, 1735776000]), "int64"),
        (pa.array([1.5, 2.5]), "double"),
        (pa.array([day(1), None], pa.timestamp("us")), "1 of 2"),
        (pa.array([day(1), dt.datetime(9999, 1, 1)], pa.timestamp("us")), "microseconds since 1970"),
        (pa.array([day(1), dt.datetime(1600, 1, 1)], pa.timestamp("s")), "1678"),
        (pa.array([dt.date(2025, 1, 1), dt.date(9999, 1, 1)]), "days since 1970"),
        (pa.array([-(2**63), 0], pa.timestamp("ns")), "1678"),
    ],
)
def test_times_that_are_none(side: str, column: Any, told: str) -> None:
    refused(DataUnfit, told, "'t'", f"the {side}", **{side: put(GOOD if side == "labels" else ROWS, "t", column)})


def test_times_of_availability_that_are_none() -> None:
    rows = ROWS.append_column("a", pa.array(["x", "y"]))
    refused(DataUnfit, "'a'", rows=rows, as_of=None, available="a")
    refused(ColumnMissing, "gone", rows=rows, as_of=None, available="gone")


@BOTH_SIDES
@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array([1, None]), "1 of 2 rows"),
        (pa.array([1.0, 2.0]), "Int64"),
        (pa.array([[1], [2]]), "list"),
        (pa.array([b"a", b"b"]), "binary"),
        (pa.array([2**63, 1], pa.uint64()), str(2**63)),
    ],
)
def test_keys_that_are_none(side: str, column: Any, told: str) -> None:
    refused(DataUnfit, told, "'k'", f"the {side}", **{side: put(GOOD if side == "labels" else ROWS, "k", column)})


def test_a_key_of_integers_with_gaps_in_pandas_is_told_how_to_stay_one() -> None:
    frame = pd.DataFrame({"k": [1, None], "t": [day(1), day(2)]})
    refused(DataUnfit, "astype('Int64')", labels=frame)


def test_a_column_of_a_type_that_no_feature_can_have() -> None:
    refused(FeatureInvalid, "duration", "'x'", rows=put(ROWS, "x", pa.array([dt.timedelta(1), None])))
    refused(FeatureInvalid, "null", "'k'", labels=put(GOOD, "k", pa.nulls(2)))


@pytest.mark.parametrize(
    "other", [pa.array(["1", "2"]), pa.array([True, False]), pa.array([dt.date(2025, 1, 1)] * 2)]
)
def test_keys_of_different_types(other: Any) -> None:
    refused(DataUnfit, "int64", str(other.type).removesuffix("[day]"), rows=put(ROWS, "k", other))
    refused(DataUnfit, "int64", str(other.type).removesuffix("[day]"), labels=put(GOOD, "k", other))


def test_column_names_that_are_there_twice() -> None:
    twice = pa.table([*ROWS.columns, ROWS.column("x")], names=["k", "t", "x", "x"])
    refused(TableUnreadable, "'x'", rows=twice)
    refused(TableUnreadable, "'x'", labels=twice)
    frame = pd.DataFrame([[1, day(1), 1, 2]], columns=["k", "t", "x", "x"])
    refused(TableUnreadable, "'x'", rows=frame)
    refused(TableUnreadable, "'x'", labels=frame)
    refused(TableUnreadable, "5", labels=pd.DataFrame({"k": [1], "t": [day(1)], 5: [1]}))


def test_names_of_features_that_are_there_already_or_twice() -> None:
    refused(FeatureInvalid, "x", "prefix", labels=GOOD.append_column("x", pa.array([1, 2])))
    refused(FeatureInvalid, "x", columns=["x", "x"])
    refused(FeatureInvalid, "p_x", labels=GOOD.append_column("p_x", pa.array([1, 2])), prefix="p_")
    refused(FeatureInvalid, "x__status", labels=GOOD.append_column("x__status", pa.array([1, 2])), status=True)
    refused(FeatureInvalid, "x__status", rows=ROWS.append_column("x__status", pa.array([1, 2])), status=True)
    assert join(GOOD.append_column("x__status", pa.array([1, 2])), ROWS)["x"].to_pylist() == [1, 2]


def test_a_column_that_is_unknown() -> None:
    refused(ColumnMissing, "received: y", "k, t, x", columns=["x", "y"])


def test_when_rows_became_available_has_to_be_said_once() -> None:
    refused(FeatureInvalid, "delay", "available", 'as_of="event"', as_of=None)
    refused(FeatureInvalid, "twice", "'t'", available="t", as_of="event")
    refused(FeatureInvalid, "'yesterday'", '"event"', as_of="yesterday")


def test_key_and_time_have_to_be_different_columns() -> None:
    refused(FeatureInvalid, "[]", on=[])
    refused(FeatureInvalid, "['k', 'k']", on=["k", "k"])
    refused(FeatureInvalid, "['k', 't']", on=["k", "t"])


def test_words_that_are_unknown() -> None:
    refused(FeatureInvalid, "'both'", '"left"', closed="both")
    refused(FeatureInvalid, "'lots'", "500MB", memory="lots")
    refused(FeatureInvalid, "''", "500MB", memory="")
    refused(ProjectInvalid, "'soon'", delay="soon")
    refused(ProjectInvalid, "'old'", max_age="old")
    refused(PluginUnknown, "abacus", engine="abacus")


def test_too_little_memory_is_told_by_the_engine() -> None:
    with pytest.raises(EngineFailed, match="DuckDB"):
        join(GOOD, ROWS, memory="1B")


@BOTH_SIDES
def test_paths_that_are_not_there_or_hold_no_table(side: str, tmp_path: Path) -> None:
    refused(TableNotFound, str(tmp_path / "gone.parquet"), **{side: tmp_path / "gone.parquet"})
    text = tmp_path / "text.parquet"
    text.write_text("k,t,x\n1,2025-01-01,5\n")
    refused(TableUnreadable, str(text), **{side: str(text)})
    (tmp_path / "empty").mkdir()
    kind = TableNotFound if side == "rows" else TableUnreadable
    refused(kind, str(tmp_path / "empty"), **{side: tmp_path / "empty"})


@BOTH_SIDES
def test_a_torn_or_altered_file(side: str, tmp_path: Path) -> None:
    table = pa.table({"k": list(range(5000)), "t": pa.array(range(5000), pa.timestamp("s")), "x": list(range(5000))})
    path = tmp_path / "table.parquet"
    pq.write_table(table.select(["k", "t"]) if side == "labels" else table, path, use_dictionary=False)
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], whole[:-1], b"", whole[:4] + bytes(3000) + whole[3004:]):
        path.write_bytes(torn)
        refused(TableUnreadable, str(path), **{side: path})
    path.write_bytes(whole)
    join(path if side == "labels" else GOOD, path if side == "rows" else ROWS)


def test_a_folder_of_files_of_different_types(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "a.parquet")
    pq.write_table(put(ROWS, "x", pa.array(["one", "two"])), tmp_path / "b.parquet")
    refused(TableUnreadable, "b.parquet", rows=tmp_path, labels=put(GOOD, "t", pa.array([day(3), day(3)])))


@BOTH_SIDES
@pytest.mark.parametrize("thing", [None, 5, [1, 2], {"k": [1]}, np.zeros(3), object()])
def test_an_object_of_no_known_kind(side: str, thing: Any) -> None:
    refused(TableUnreadable, type(thing).__name__, "polars", **{side: thing})


@BOTH_SIDES
@pytest.mark.parametrize("values", [[1, "x"], [2**70, 1], [object(), None], [1j, 2j]])
def test_columns_of_pandas_of_no_one_type(side: str, values: list[Any]) -> None:
    frame = pd.DataFrame({"k": [1, 2], "t": [day(1), day(2)], "x": pd.Series(values)})
    refused(TableUnreadable, f"the {side}", **{side: frame})


def test_a_relation_that_cannot_be_computed() -> None:
    broken = duckdb.sql("select cast(v as int) as k, timestamp '2025-01-01' as t from (values ('x')) s(v)")
    refused(TableUnreadable, "Conversion Error", labels=broken)


def test_a_result_that_cannot_be_written(tmp_path: Path) -> None:
    refused(TableUnreadable, str(tmp_path / "no" / "out.parquet"), out=tmp_path / "no" / "out.parquet")
    (tmp_path / "folder").mkdir()
    refused(TableUnreadable, str(tmp_path / "folder"), out=tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
