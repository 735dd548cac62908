"""Sources: the same stretches every time, in bounded memory, and what is broken is refused with its line."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.deployment.csvfile import Checked
from fullcircle.deployment.queries import Query
from fullcircle.deployment.sources import LONGEST, Source, columns, documents, file_source
from fullcircle.errors import TableNotFound, TableUnreadable
from fullcircle.types.contract import Column, Contract

CONTRACT = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression")


def table(source: Source, rows: int = 2) -> list[dict[str, Any]]:
    """All rows, read through stretches."""
    found: list[dict[str, Any]] = []
    for stretch in source.stretches(rows):
        assert stretch.first == len(found)
        _, carried, own = columns(stretch, CONTRACT)
        lists = [one if isinstance(one, list) else one.to_pylist() for one in carried.values()]
        found += (
            own
            if own is not None
            else [dict(zip(carried, values, strict=True)) for values in zip(*lists, strict=True)]
        )
        assert len(found) == stretch.first + stretch.rows
    return found


def written(folder: Path, content: bytes, name: str = "in.csv") -> Source:
    (folder / name).write_bytes(content)
    return file_source(folder / name)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,2\n3,4\n5,6\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]),
        (b"\xef\xbb\xbfa,b\n1,2", [{"a": "1", "b": "2"}]),
        (b"a,b\r\n1,2\r\n\r\n3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b"a,b\r1,2\r3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b'a,b\n"p""q","l1\nl2"\n', [{"a": 'p"q', "b": "l1\nl2"}]),
        (b'a,b\nx"y, 2 \n', [{"a": 'x"y', "b": " 2 "}]),
        (b'a,b\n"",NA\n', [{"a": "", "b": "NA"}]),
        (b"a\n1\n\n  \n2\n", [{"a": "1"}, {"a": "2"}]),
        (b",b\n1,2\n", [{"Unnamed: 0": "1", "b": "2"}]),
        (b'"a\nz",b\n1,2\n', [{"a\nz": "1", "b": "2"}]),
        (b"\n\na,b\n1,2\n", [{"a": "1", "b": "2"}]),
        (b"a,b\n", []),
    ],
)
def test_a_csv_is_text_in_columns(tmp_path: Path, content: bytes, rows: list[Any]) -> None:
    source = written(tmp_path, content)
    assert table(source) == rows
    assert source.names() == (list(rows[0]) if rows else ["a", "b"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n \n", "is empty"),
        (b"a;b\n1;2\n", "separated by semicolons"),
        (b"a,a\n1,2\n", "a column name twice"),
        (b"a,b\n1\n", "broken row in line 2"),
        (b'a,b\n"q\nq",2\n1,2,3\n', "broken row in line 4"),
        (b'a,b\n1,2\n"x"y,2\n', "broken row that begins in line 3"),
        (b'a,b\n"xy","2\n3,4\n', "broken row that begins in line 2"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b"a,b\n1,\0\n", "a zero byte in line 2"),
        (b'"a,b\n1,2\n', "broken header"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    source = written(tmp_path, content)
    with pytest.raises(TableUnreadable, match=words) as caught:
        table(source)
    assert caught.value.next_step


PIECES = st.lists(st.sampled_from(['"', '"', "a", ",", "\n", "b", "\r\n"]), max_size=30).map("".join)


@settings(max_examples=150, deadline=None)
@given(PIECES, st.integers(1, 9))
def test_quotes_are_checked_as_the_strict_reader_of_python_does(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "quotes.csv"
    path.write_bytes(text.encode())
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
        sound = True
    except csv.Error:
        sound = False
    with path.open("rb") as file:
        checked = Checked(file, path)
        try:
            while checked.read(size):
                pass
        except TableUnreadable:
            assert not sound
        else:
            assert sound


def test_parquet_is_cut_across_row_groups_and_read_again_the_same(tmp_path: Path) -> None:
    found = pa.table({"a": range(25), "s": pa.array(list("xy" * 12 + "z")).dictionary_encode()})
    pq.write_table(found, tmp_path / "in.parquet", row_group_size=7)
    source = file_source(tmp_path / "in.parquet")
    assert [(one.first, one.rows) for one in source.stretches(10)] == [(0, 10), (10, 10), (20, 5)]
    assert [one.data.to_pybytes() for one in source.stretches(10)] == [
        one.data.to_pybytes() for one in source.stretches(10)
    ]
    assert table(source, 10) == found.to_pylist()
    assert source.names() == ["a", "s"]
    assert [round(one.share, 2) for one in source.stretches(10)] == [0.4, 0.8, 1.0]
    for content in (b"", b"PAR1 is not enough", (tmp_path / "in.parquet").read_bytes()[:-9]):
        with pytest.raises(TableUnreadable, match="not a whole Parquet file"):
            written(tmp_path, content, "broken.parquet").names()


def test_json_lines_are_read_as_the_server_reads(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": {"c": [1, "x:y"]}}, {"a": None}, {"z": "ä\n"}]
    text = "\n\n".join(json.dumps(row) for row in rows)
    source = written(tmp_path, text.encode(), "in.ndjson")
    assert table(source) == rows
    assert source.names() == ["a", "b", "z"]
    assert [(one.first, one.rows, one.line) for one in source.stretches(2)] == [(0, 2, 1), (2, 1, 4)]
    assert table(written(tmp_path, b"\n \n", "none.jsonl")) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1]", "no JSON object, but a list"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"a": {"b": 1, "b": 2}}', "a key occurs twice"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1e999}', "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": ' + b"[" * 5000, "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
    ],
)
def test_a_broken_line_is_refused_with_its_number(line: bytes, words: str) -> None:
    with pytest.raises(TableUnreadable, match=f"^line 7: .*{words}"):
        documents(b'{"a": 1}\n\n' + line, 5)


def test_a_line_is_not_longer_than_it_may_be(tmp_path: Path) -> None:
    source = written(tmp_path, b'{"a": 1}\n' + b" " * (LONGEST + 1), "in.jsonl")
    with pytest.raises(TableUnreadable, match="line 2: the line is too long"):
        table(source)


def test_a_query_streams_what_a_database_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute("create table rows (a real, b blob, c)")
        database.executemany(
            "insert into rows values (?, ?, ?)", [(1.5, b"\1\2", "x"), (None, None, 3), (2, b"", None)]
        )
    database.close()
    source = Query("SELECT a, b, c FROM rows", url)
    assert table(source) == [
        {"a": 1.5, "b": "0102", "c": "x"},
        {"a": None, "b": None, "c": 3},
        {"a": 2.0, "b": "", "c": None},
    ]
    assert source.names() == ["a", "b", "c"]
    assert Query("SELECT a FROM rows WHERE 0", url).names() == ["a"]
    assert table(Query("SELECT a FROM rows WHERE 0", url)) == []
    with pytest.raises(TableUnreadable, match="two columns the same name"):
        table(Query("SELECT a, b AS a FROM rows", url))
    with pytest.raises(TableUnreadable, match="cannot be run: no such table"):
        table(Query("SELECT a FROM others", url))
    with pytest.raises(TableUnreadable, match="not the URL of a database"):
        Query("SELECT 1", "rows.db")
    with pytest.raises(TableUnreadable, match="cannot be run"):
        table(Query("SELECT 1", "nobody://host/x"))


def test_a_query_is_known_without_its_password() -> None:
    source = Query("SELECT 1", "postgresql://me:secret@host/x")
    assert "secret" not in str(source.identity)
    assert source.identity["query"] == "SELECT 1"
    assert not source.steady


def test_values_of_other_types_come_as_every_process_can_read_them() -> None:
    from fullcircle.deployment.queries import _plain

    given = [Decimal("0.57"), date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), memoryview(b"\1"), 2**70, True]
    assert [_plain(one) for one in given] == [
        0.57,
        "2026-01-01",
        "2026-01-01T00:00:00+00:00",
        "01",
        str(2**70),
        True,
    ]


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound, match="no such file"):
        file_source(tmp_path / "none.csv")
    for name in ("in.xlsx", "in"):
        with pytest.raises(TableUnreadable, match="of a kind that is not read"):
            written(tmp_path, b"a", name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableUnreadable, match="not read"):
        file_source(tmp_path / "folder.csv")
