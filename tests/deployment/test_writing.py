"""Files written piece by piece: what stands in them, exactly, and that they are whole or not there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.deployment.writing import writer_for
from fullcircle.errors import TableUnreadable


def _write(path: Path, *frames: pd.DataFrame) -> Path:
    with writer_for(path) as writer:
        for frame in frames:
            writer.write(frame)
        writer.finish()
    return path


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=_no_constant) for line in path.read_text(encoding="utf-8").splitlines()]


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


class TestJsonLines:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (None, None),
            (float("nan"), None),
            (pd.NaT, None),
            (1.5, 1.5),
            (np.float64(0.1), 0.1),
            (np.int64(2**53 + 1), 2**53 + 1),
            (np.bool_(True), True),
            ("ä\n", "ä\n"),
            (pd.Timestamp("2026-01-01 06:00"), "2026-01-01T06:00:00"),
            ([1, "a"], [1, "a"]),
            ({"a": None}, {"a": None}),
            (complex(1, 2), "(1+2j)"),
        ],
    )
    def test_a_value_stands_as_json_has_it(self, value: Any, written: Any, tmp_path: Path) -> None:
        frame = pd.DataFrame({"a": pd.Series([value], dtype=object)})
        assert _lines(_write(tmp_path / "out.jsonl", frame)) == [{"a": written}]

    def test_gaps_of_every_column_are_null(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {
                "number": [1.5, np.nan],
                "whole": pd.array([1, None], dtype="Int64"),
                "time": pd.to_datetime(["2026-01-01", None]),
                "kind": pd.Categorical(["a", None]),
                "text": ["a", None],
            }
        )
        first, second = _lines(_write(tmp_path / "out.jsonl", frame))
        assert first == {"number": 1.5, "whole": 1, "time": "2026-01-01T00:00:00", "kind": "a", "text": "a"}
        assert second == dict.fromkeys(first)

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5), st.integers(1, 5))
    @settings(max_examples=25, deadline=None)
    def test_numbers_keep_their_bits_in_whatever_pieces(
        self, tmp_path_factory: pytest.TempPathFactory, values: list[float], size: int
    ) -> None:
        pieces = [pd.DataFrame({"x": values[start : start + size]}) for start in range(0, len(values), size)]
        folder = tmp_path_factory.mktemp("bits")
        assert [row["x"] for row in _lines(_write(folder / "out.jsonl", *pieces))] == values
        text = _write(folder / "out.csv", *pieces).read_text(encoding="utf-8").splitlines()
        assert text[0] == "x"
        assert [float(line) for line in text[1:]] == values
        assert pq.read_table(_write(folder / "out.parquet", *pieces))["x"].to_pylist() == values


class TestParquet:
    def test_a_column_that_stays_empty_is_text(self, tmp_path: Path) -> None:
        empty = pd.DataFrame({"a": [1], "problems": pd.Series([None], dtype=object)})
        table = pq.read_table(_write(tmp_path / "out.parquet", empty))
        assert str(table.schema.field("problems").type) == "string"
        assert table["problems"].to_pylist() == [None]

    def test_categories_of_two_pieces_are_one_column_of_text(self, tmp_path: Path) -> None:
        pieces = [pd.DataFrame({"sex": pd.Categorical(values)}) for values in (["f", "m"], ["m", "x"])]
        table = pq.read_table(_write(tmp_path / "out.parquet", *pieces))
        assert table["sex"].to_pylist() == ["f", "m", "m", "x"]
        assert "dictionary" not in str(table.schema.field("sex").type)

    def test_a_column_gets_its_type_late(self, tmp_path: Path) -> None:
        first = pd.DataFrame({"x": pd.Series([None, None], dtype=object)})
        table = pq.read_table(_write(tmp_path / "out.parquet", first, pd.DataFrame({"x": [1.5]})))
        assert table["x"].to_pylist() == [None, None, 1.5]

    @pytest.mark.parametrize("second", [pd.Series(["a"]), pd.Series([pd.Timestamp("2026")])])
    def test_types_that_cannot_be_one_are_refused(self, second: Any, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="mixes types") as caught:
            _write(tmp_path / "out.parquet", pd.DataFrame({"x": [1.5]}), pd.DataFrame({"x": second}))
        assert ".jsonl" in (caught.value.next_step or "")
        assert list(tmp_path.iterdir()) == []


class TestFile:
    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".CSV"])
    def test_it_has_its_name_only_when_it_is_whole(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"out{suffix}"
        path.write_text("before", encoding="utf-8")
        with writer_for(path) as writer:
            writer.write(pd.DataFrame({"a": [1]}))
            assert path.read_text(encoding="utf-8") == "before"
        assert path.read_text(encoding="utf-8") == "before"
        assert list(tmp_path.iterdir()) == [path]
        _write(path, pd.DataFrame({"a": [1]}))
        assert path.read_bytes() != b"before"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("mask", [0o022, 0o077])
    def test_others_may_read_it_as_the_user_wants(self, mask: int, tmp_path: Path) -> None:
        before = os.umask(mask)
        try:
            path = _write(tmp_path / "out.csv", pd.DataFrame({"a": [1]}))
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    @pytest.mark.parametrize("name", ["out", "out.xlsx", "out.csv.gz", ".csv"])
    def test_another_form_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="cannot be told from its name") as caught:
            writer_for(tmp_path / name)
        assert caught.value.allowed == ".csv, .parquet, .jsonl"

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="cannot be written there") as caught:
            writer_for(tmp_path / "gone" / "out.csv")
        assert caught.value.received == str(tmp_path / "gone" / "out.csv")
        assert caught.value.next_step
