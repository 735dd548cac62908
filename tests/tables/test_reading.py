"""Reading: what people really have in files, and what is said about each fault."""

from __future__ import annotations

import csv
import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid, TableNotFound, TableUnreadable
from fullcircle.tables.reading import describe, locate, read
from fullcircle.types.table import Table

GOOD = "age,town,paid\n31,Bern,1.5\n45,Genève,\n28,Chur,3.25\n"


def written(folder: Path, content: str | bytes, name: str = "data.csv") -> str:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return name


def read_text(folder: Path, content: str | bytes, **more: Any) -> Any:
    return read(Table(written(folder, content), **more), folder=folder)


def test_a_plain_csv(tmp_path: Path) -> None:
    frame = read_text(tmp_path, GOOD)
    assert list(frame.columns) == ["age", "town", "paid"]
    assert frame["age"].dtype == np.int64
    assert frame["paid"].dtype == np.float64
    assert frame["town"].tolist() == ["Bern", "Genève", "Chur"]
    assert frame["paid"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    "data",
    [
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(),
        GOOD.rstrip("\n").encode(),
        (GOOD + "\n\n").encode(),
        (GOOD + "   \n").encode(),
        GOOD.replace("Bern", '"Bern"').encode(),
    ],
    ids=["windows", "old mac", "bom", "windows bom", "no last line end", "blank lines", "spaces", "quotes"],
)
def test_the_same_table_in_other_spellings(tmp_path: Path, data: bytes) -> None:
    expected = read_text(tmp_path, GOOD)
    pd.testing.assert_frame_equal(read_text(tmp_path, data), expected)


FAULTS: dict[str, tuple[str | bytes, str, str]] = {
    # what is in the file, what the error says, what it received
    "too many fields": ("a,b\n1,2\n3,4,5\n6,7\n", "broken row in line 3", "3 fields: 3,4,5"),
    "every row too long": ("a,b\n1,2,3\n4,5,6\n", "broken row in line 2", "3 fields"),
    "too few fields": ("a,b\n1,2\n3\n", "broken row in line 3", "1 fields: 3"),
    "after a field of two lines": ('a,b\n"x\ny",2\n3\n', "broken row in line 4", "1 fields"),
    "after blank lines": ("a,b\n\n\n1,2\n3\n", "broken row in line 5", "1 fields"),
    "windows line ends": ("a,b\r\n1,2\r\n3,4,5\r\n", "broken row in line 3", "3 fields"),
    "an open quote": ('a,b\n1,2\n3,"4\n5,6\n', "begins in line 3", '3,"4'),
    "a quote inside": ('a,b\n1,"x"y\n', "begins in line 2", '1,"x"y'),
    "a name twice": ("a,b,a\n1,2,3\n", "column name twice", "'a'"),
    "empty": ("", "is empty", "0 bytes"),
    "blank": ("\n \n", "is empty", "3 bytes"),
    "a bom only": (b"\xef\xbb\xbf", "is empty", "3 bytes"),
    "latin 1": ("a,b\n1,2\n3,Genève\n".encode("latin-1"), "not UTF-8", "0xe8 in line 3"),
    "utf 16": ("a,b\n1,2\n".encode("utf-16"), "not UTF-8", "0xff in line 1"),
    "utf 16 unmarked": ("a,b\n1,2\n".encode("utf-16-le"), "not a text file", "line 1"),
    "semicolons": ("a;b\n1,5;2\n", "separated by semicolons", "a;b"),
    "tabs": ("a\tb\n1\t2\n", "separated by tabs", "a\tb"),
    "numbers and a word": (
        "n,x\n1,1\n2,2\nmany,3\n4,4\n",
        "'n' of data.csv holds values of mixed",
        "'many' in line 4",
    ),
    "a header only": ("a,b\n", "no rows", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_refused_with_the_place_and_the_way_out(tmp_path: Path, fault: str) -> None:
    content, says, received = FAULTS[fault]
    with pytest.raises((TableUnreadable, DataUnfit)) as caught:
        read_text(tmp_path, content)
    assert says in caught.value.what
    assert received in (caught.value.received or "")
    assert caught.value.allowed
    assert caught.value.next_step
    assert "data.csv" in caught.value.what


@pytest.mark.parametrize(
    "values",
    [
        ["A1", "2", "A3", "4", "A5", "B6", "7"],  # codes, about half of them numbers
        ["2011-01-01", "2011-01-02"],
        ["1", "2", "", "NA"],
        ["x", "y", "7"],
        [str(n) for n in range(70)] + [f"PC {n}" for n in range(30)],  # ticket numbers
    ],
)
def test_a_column_of_text_with_some_numbers_is_left_alone(tmp_path: Path, values: list[str]) -> None:
    frame = read_text(tmp_path, "v,w\n" + "".join(f"{value},1\n" for value in values))
    assert len(frame) == len(values)


def test_mixed_types_name_examples_with_their_lines(tmp_path: Path) -> None:
    rows = [str(n) for n in range(200)]
    rows[10], rows[50], rows[51], rows[90] = "unknown", "?", "unknown", "n/k"
    with pytest.raises(TableUnreadable) as caught:
        read_text(tmp_path, "a,b\n" + "".join(f"1,{row}\n" for row in rows))
    received = caught.value.received or ""
    assert received == "196 numbers and 4 texts: 'unknown' in line 12, '?' in line 52, 'n/k' in line 92"


def test_mixed_types_may_be_mended_in_prepare_or_lie_in_a_column_nobody_asked_for(tmp_path: Path) -> None:
    content = "n,x\n1,1\n2,2\nmany,3\n"
    frame = read_text(tmp_path, content, prepare=lambda f: f.assign(n=pd.to_numeric(f["n"], errors="coerce")))
    assert frame["n"].isna().tolist() == [False, False, True]
    coded = read_text(tmp_path, content, prepare=lambda f: f.astype({"n": "category"}))
    assert coded["n"].tolist() == ["1", "2", "many"]
    table = Table(written(tmp_path, content))
    assert len(read(table, folder=tmp_path, columns=["x"])) == 3
    with pytest.raises(TableUnreadable):
        read(table, folder=tmp_path, columns=["n"])


def test_mixed_python_objects_in_a_frame_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable) as caught:
        read(Table(pd.DataFrame({"a": [1, "two", 3.0]})), folder=tmp_path)
    assert "'two' (str, value 2)" in (caught.value.received or "")
    mixed_numbers = read(Table(pd.DataFrame({"a": pd.Series([1, 2.5, None], dtype=object)})), folder=tmp_path)
    assert len(mixed_numbers) == 3


def test_columns_that_are_said_to_be_text_are_read_as_they_are_written(tmp_path: Path) -> None:
    content = "zip,month,account,size\n00109,01,7,1\n12043,12,,2\n,,0x,3\n"
    plain = read_text(tmp_path, content.replace("0x", "8"))
    assert plain["zip"].tolist()[:2] == [109, 12043]
    assert plain["month"].tolist()[:2] == [1, 12], "nobody said that it is text"
    frame = read_text(tmp_path, content, text=["zip", "account"])
    assert frame["zip"].tolist()[:2] == ["00109", "12043"]
    assert frame["zip"].isna().tolist() == [False, False, True]
    assert frame["month"].tolist()[:2] == [1, 12]
    assert frame["account"].dropna().tolist() == ["7", "0x"], "no mixture: it was said to be text"
    assert frame["size"].tolist() == [1, 2, 3]
    told = read_text(
        tmp_path, "zip,size\n00109,1\n", text="zip", prepare=lambda frame: frame.assign(area=frame["zip"].str[:2])
    )
    assert told["area"].tolist() == ["00"], "it is text before prepare"


def test_text_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnMissing, match="no column 'town', which is declared as text") as missing:
        read_text(tmp_path, "zip,size\n00109,1\n", text=["town"])
    assert missing.value.received == "zip, size"
    frame = pd.DataFrame({"zip": [109, 12043], "code": ["007", None], "kind": pd.Categorical(["01", "02"])})
    frame.to_parquet(tmp_path / "data.parquet")
    for source in (frame, "data.parquet"):
        found = read(Table(source, text=["code", "kind"]), folder=tmp_path)
        assert found["code"].tolist()[0] == "007"
        with pytest.raises(TableUnreadable, match=r"'zip' of .* is declared as text and is none") as refused:
            read(Table(source, text=["zip"]), folder=tmp_path)
        assert refused.value.received == "int64"
    twice = pd.DataFrame([["007", "008"]], columns=["code", "code"])
    with pytest.raises(TableUnreadable, match="has a column name twice"):
        read(Table(twice, text=["code"]), folder=tmp_path)
    for wrong in (7, [7], [""]):
        with pytest.raises(ProjectInvalid, match="a column in the text of a Table is not a name"):
            Table("data.csv", text=wrong)  # type: ignore[arg-type]


def test_an_index_that_was_written_along_gets_a_name(tmp_path: Path) -> None:
    frame = read_text(tmp_path, ",a\n0,5\n1,6\n")
    assert list(frame.columns) == ["Unnamed: 0", "a"]
    assert frame["a"].tolist() == [5, 6]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_numbers_come_back_with_the_same_bits(tmp_path: Path, values: list[float]) -> None:
    frame = read_text(tmp_path, "x,y\n" + "".join(f"{value!r},0\n" for value in values))
    assert frame["x"].astype(float).tolist() == values


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_text_that_pandas_writes_is_read(tmp_path: Path, values: list[str]) -> None:
    safe = ["t" + value for value in values]
    pd.DataFrame({"t": safe, "n": 1}).to_csv(tmp_path / "data.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    assert read(Table("data.csv"), folder=tmp_path)["t"].tolist() == safe


def test_parquet_pandas_polars_and_arrow_give_the_same_frame(tmp_path: Path) -> None:
    arrow = pa.table(
        {
            "n": pa.array([1, 2, None], pa.int64()),
            "i": pa.array([1, 2, 3], pa.int32()),
            "t": ["a", "ü", None],
            "b": [True, False, True],
            "d": [datetime.date(2020, 1, day) for day in (1, 2, 3)],
            "m": [decimal.Decimal("1.25"), decimal.Decimal("2.50"), None],
        }
    )
    pq.write_table(arrow, tmp_path / "t.parquet")
    pq.write_table(arrow, tmp_path / "t.PQ")
    polars_frame = pl.from_arrow(arrow)
    assert isinstance(polars_frame, pl.DataFrame)
    sources = ["t.parquet", tmp_path / "t.PQ", arrow, arrow.to_batches()[0], polars_frame, polars_frame.lazy()]
    frames = [read(Table(source), folder=tmp_path) for source in sources]
    for frame in frames:
        assert frame["n"].isna().tolist() == [False, False, True]
        assert frame["n"].dtype == np.float64
        assert frame["t"].tolist()[:2] == ["a", "ü"]
        assert frame["b"].dtype == np.bool_
        assert frame["d"].dtype.kind == "M"
        assert frame["m"].tolist()[:2] == [1.25, 2.5]
        assert frame["i"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    pd.testing.assert_frame_equal(frames[0], frames[2])
    pd.testing.assert_frame_equal(read(Table(frames[0]), folder=tmp_path), frames[0])


def test_polars_categories_stay_categories(tmp_path: Path) -> None:
    frame = read(Table(pl.DataFrame({"c": ["x", "y", "x"]}, schema={"c": pl.Categorical})), folder=tmp_path)
    assert isinstance(frame["c"].dtype, pd.CategoricalDtype)
    assert frame["c"].tolist() == ["x", "y", "x"]


def test_the_users_frame_is_not_changed(tmp_path: Path) -> None:
    mine = pd.DataFrame({"a": [1, 2], "when": ["2020-01-02", "2020-01-01"]}, index=[7, 9])
    kept = mine.copy()

    def prepare(frame: Any) -> Any:
        frame["b"] = 1
        return frame

    frame = read(Table(mine, time="when", prepare=prepare), folder=tmp_path)
    pd.testing.assert_frame_equal(mine, kept)
    assert frame.index.tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_broken_parquet_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableUnreadable) as caught:
        read(Table(written(tmp_path, content, "x.parquet")), folder=tmp_path)
    assert caught.value.next_step


def test_a_parquet_file_cut_short_or_with_a_name_twice(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    written(tmp_path, whole[: len(whole) // 2], "half.parquet")
    with pytest.raises(TableUnreadable, match="not a whole Parquet file"):
        read(Table("half.parquet"), folder=tmp_path)
    with pytest.raises(TableUnreadable, match="name twice"):
        read(Table(pa.table([[1], [2]], names=["a", "a"])), folder=tmp_path)


@pytest.mark.parametrize(("name", "says"), [("x.xlsx", "of a kind"), ("x", "of a kind"), ("x.csv.gz", "of a kind")])
def test_an_unknown_ending(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(TableUnreadable, match=says) as caught:
        read(Table(written(tmp_path, "a\n1\n", name)), folder=tmp_path)
    assert caught.value.allowed == ".csv, .parquet, .pq"


def test_a_folder_an_odd_object_and_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "sub.csv").mkdir()
    for source, says in (
        ("sub.csv", "is a folder"),
        ({"a": [1]}, "of a kind that is not read"),
        (pd.DataFrame(np.ones((2, 2))), "not text"),
    ):
        with pytest.raises(TableUnreadable, match=says) as caught:
            read(Table(source), folder=tmp_path)
        assert caught.value.next_step


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / written(tmp_path, GOOD)).chmod(0)
    with pytest.raises(TableUnreadable, match="cannot be read"):
        read(Table("data.csv"), folder=tmp_path)


def test_a_missing_file_says_where_it_looked_and_gives_the_hint(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound) as caught:
        read(Table("hour.csv", hint="get it from the library"), folder=tmp_path)
    assert caught.value.received == str(tmp_path / "hour.csv")
    assert caught.value.next_step == "get it from the library"


def test_a_name_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "h.csv").write_text(GOOD)
    table = Table("${MY_DATA}/h.csv", hint="set MY_DATA")
    monkeypatch.delenv("MY_DATA", raising=False)
    with pytest.raises(TableNotFound, match="MY_DATA, which is not set") as caught:
        locate(table, folder=tmp_path)
    assert caught.value.next_step == "set MY_DATA"
    assert locate(table, folder=tmp_path, paths={"MY_DATA": "other"}) == tmp_path / "other" / "h.csv"
    monkeypatch.setenv("MY_DATA", str(tmp_path / "other"))
    assert len(read(table, folder=Path("/"), paths={"MY_DATA": "wrong"})) == 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_DATA", "other")
    assert locate(table, folder=tmp_path / "other") == tmp_path / "other" / "h.csv"


def _raises(frame: Any) -> Any:
    return frame["agee"]


def test_a_prepare_that_raises_or_returns_nothing(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="raised KeyError") as caught:
        read_text(tmp_path, GOOD, prepare=_raises)
    assert 'return frame["agee"]' in (caught.value.received or "")
    assert "test_reading.py" in (caught.value.received or "")
    with pytest.raises(TableUnreadable, match="raised TypeError"):
        read_text(tmp_path, GOOD, prepare=lambda: None)
    with pytest.raises(TableUnreadable, match="raised TypeError"):
        read_text(tmp_path, GOOD, prepare=int)
    with pytest.raises(TableUnreadable, match="did not return a frame"):
        read_text(tmp_path, GOOD, prepare=lambda frame: None)
    with pytest.raises(KeyboardInterrupt):
        read_text(tmp_path, GOOD, prepare=_interrupted)


def _interrupted(frame: Any) -> Any:
    raise KeyboardInterrupt


TIMES = "t,x\n2020-01-03 06:00:00,3\n2020-01-01,1\n2020-01-02T00:00:00Z,2\n"


def test_time_is_parsed_and_bounded(tmp_path: Path) -> None:
    frame = read_text(tmp_path, TIMES, time="t")
    assert str(frame["t"].dtype) == "datetime64[ns]"
    assert frame["t"].tolist()[0] == pd.Timestamp("2020-01-03 06:00")
    assert read_text(tmp_path, TIMES, time="t", since="2020-01-02")["x"].tolist() == [3, 2]
    assert read_text(tmp_path, TIMES, time="t", until="2020-01-02")["x"].tolist() == [1]
    assert read_text(tmp_path, TIMES, time="t", since="2020-01-02T01:00:00+01:00", until="2020-01-03")[
        "x"
    ].tolist() == [2]
    with pytest.raises(DataUnfit, match="no rows from 2021-01-01 on and before 2022-01-01"):
        read_text(tmp_path, TIMES, time="t", since="2021-01-01", until="2022-01-01")
    with pytest.raises(ProjectInvalid, match="since of a Table is not a time"):
        read_text(tmp_path, TIMES, time="t", since="last week")


def test_time_with_a_zone_becomes_utc(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": pd.to_datetime(["2020-07-01 12:00"]).tz_localize("Europe/Zurich")})
    assert read(Table(frame, time="t"), folder=tmp_path)["t"].tolist() == [pd.Timestamp("2020-07-01 10:00")]


def test_a_time_column_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ColumnMissing, match="no column 'when'") as missing:
        read_text(tmp_path, TIMES, time="when")
    assert missing.value.received == "t, x"
    with pytest.raises(TableUnreadable, match="holds numbers") as numbers:
        read_text(tmp_path, TIMES, time="x")
    assert numbers.value.next_step
    for bad in ("", "03/04/2020", "soon"):
        with pytest.raises(TableUnreadable, match="1 values of the time column 't'") as caught:
            read_text(tmp_path, TIMES + f"{bad},4\n", time="t")
        assert "in row 4" in (caught.value.received or "")
    with pytest.raises(TableUnreadable, match=r"1 values|out of range"):
        read_text(tmp_path, "t,x\n9999-01-01,1\n", time="t")


def test_what_a_table_is_called() -> None:
    assert describe(Table("data/hour.csv")) == "hour.csv"
    assert describe(Table(pd.DataFrame())) == "the pandas DataFrame"
