"""Parts of a result: each alone, and joined into what one writing would have made."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.deployment.parts import content, join
from fullcircle.errors import TableUnreadable

TEXTS = st.text(st.sampled_from('a",\r\n é'), max_size=6)


def cells(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def joined(folder: Path, name: str, *pieces: dict[str, Any]) -> Path:
    suffix = Path(name).suffix
    places = []
    for number, piece in enumerate(pieces):
        places.append(folder / f"{number}.part")
        places[-1].write_bytes(content(suffix, piece))
    join(folder / name, list(pieces[0]), places)
    return folder / name


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=5))
def test_text_and_numbers_come_back_from_csv(rows: list[tuple[str, float]]) -> None:
    texts, numbers = [text for text, _ in rows], [number for _, number in rows]
    found = cells(content(".csv", {"t": pa.array(texts), "n": pa.array(numbers)}))
    assert [(text, float(number)) for text, number in found] == rows


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array([1.5, float("nan"), None]), ["1.5", "", ""]),
        (pa.array([0.1, None], pa.float32()), ["0.1", ""]),
        (pa.array([True, None]), ["true", ""]),
        (pa.array(["a", None]).dictionary_encode(), ["a", ""]),
        (pa.array([date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.array([datetime(2026, 1, 2, 3)]), ["2026-01-02 03:00:00"]),
        (pa.array([datetime(2026, 1, 2, 3, 0, 0, 5)]), ["2026-01-02 03:00:00.000005"]),
        (pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)]), ["2026-01-02 03:00:00Z"]),
        (pa.array([Decimal("1.50")]), ["1.50"]),
        (pa.array([[1, None]]), ["[1,null]"]),
        (pa.array([None, None]), ["", ""]),
        ([1, "x", None, {"a": 1}], ["1", "x", "", '{"a":1}']),
        ([1, 2.5], ["1", "2.5"]),
        ([2**70], [str(2**70)]),
    ],
)
def test_a_column_as_csv_shows_it(column: Any, shown: list[str]) -> None:
    numbers = pa.array(range(len(column)))
    assert cells(content(".csv", {"n": numbers, "c": column})) == [[str(n), one] for n, one in enumerate(shown)]


def test_json_lines_keep_the_keys_of_each_row() -> None:
    rows: list[dict[str, Any]] = [{"b": 1}, {"a": {"x": [None]}}]
    answers = {"row": pa.array([0, 1]), "prediction": pa.array([1.5, None])}
    found = [json.loads(line) for line in content(".jsonl", answers, rows).splitlines()]
    assert found == [{"b": 1, "row": 0, "prediction": 1.5}, {"a": {"x": [None]}, "row": 1, "prediction": None}]
    assert list(found[0]) == ["b", "row", "prediction"]
    odd = {"a": [Decimal("1.5"), datetime(2026, 1, 2), b"\1", float("nan")]}
    lines = [json.loads(line)["a"] for line in content(".jsonl", odd).splitlines()]
    assert lines == [1.5, "2026-01-02T00:00:00", "AQ==", None]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_parts_become_one_file_that_replaces_what_was_there(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    pieces = [
        {"n": pa.array([1, 2]), 't,"': pa.array(["a", "b,"])},
        {"n": pa.array([3]), 't,"': pa.array([None], pa.string())},
    ]
    path = joined(tmp_path, name, *pieces)
    if path.suffix == ".csv":
        assert cells(path.read_bytes()) == [["n", 't,"'], ["1", "a"], ["2", "b,"], ["3", ""]]
    elif path.suffix == ".jsonl":
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2, 3]
    else:
        assert pq.read_table(path).to_pydict() == {"n": [1, 2, 3], 't,"': ["a", "b,", None]}
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_parquet_has_room_for_what_all_parts_hold(tmp_path: Path) -> None:
    pieces = [
        {"late": [None], "number": [1], "name": pa.array(["a"]).dictionary_encode(), "never": [None]},
        {"late": ["x"], "number": [2.5], "name": pa.array(["b"]).dictionary_encode(), "never": [None]},
    ]
    found = pq.read_table(joined(tmp_path, "out.parquet", *pieces))
    assert found.to_pydict() == {
        "late": [None, "x"],
        "number": [1.0, 2.5],
        "name": ["a", "b"],
        "never": [None, None],
    }
    assert [str(field.type) for field in found.schema] == ["string", "double", "string", "string"]


def test_parquet_refuses_what_has_no_type_in_common(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="mixes types"):
        content(".parquet", {"a": [1, "x"]})
    with pytest.raises(TableUnreadable, match="mixes types") as caught:
        joined(tmp_path, "out.parquet", {"a": [1]}, {"a": ["x"]})
    assert ".jsonl" in str(caught.value.next_step)
    assert not (tmp_path / "out.parquet").exists()


def test_large_row_groups_are_made_of_small_parts(tmp_path: Path) -> None:
    path = joined(tmp_path, "out.parquet", *({"n": pa.array(range(n * 60_000, (n + 1) * 60_000))} for n in range(3)))
    found = pq.ParquetFile(path).metadata
    assert [found.row_group(place).num_rows for place in range(found.num_row_groups)] == [120_000, 60_000]
    assert pq.read_table(path)["n"].to_pylist() == list(range(180_000))
