"""Benchmarks measure what they say. Nothing is timed here."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from laws.sizes import ROOT


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_each_benchmark_has_rows_and_helpers_are_none() -> None:
    from importlib import import_module

    from benchmarks.rows import ROOT as FOUND

    assert FOUND == ROOT
    for name in ("features", "start"):
        assert callable(import_module(f"benchmarks.{name}").rows)


def test_the_data_of_features_are_the_same_each_time() -> None:
    from benchmarks.peers.data import feature_rows, label_rows

    rows = feature_rows(1000, 100, columns=3)
    assert rows.equals(feature_rows(1000, 100, columns=3))
    assert not rows.equals(feature_rows(1000, 100, columns=3, seed=5))
    assert rows.column_names == ["user_id", "event_timestamp", "created", "f0", "f1", "f2"]
    assert label_rows(100, 10).equals(label_rows(100, 10))


def test_each_user_has_one_row_where_that_is_asked_for() -> None:
    from benchmarks.peers.data import feature_rows

    assert sorted(feature_rows(50, 50, each=True).column("user_id").to_pylist()) == list(range(50))


def test_large_files_have_the_rows_asked_for(tmp_path: Path) -> None:
    from benchmarks.peers.data import large

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        large(1000, tmp_path / name)
    for name in ("labels", "rows"):
        one, two = (pq.read_table(tmp_path / place / f"{name}.parquet") for place in ("one", "two"))
        assert one.num_rows == 1000
        assert one.sort_by([(column, "ascending") for column in one.column_names]).equals(
            two.sort_by([(column, "ascending") for column in two.column_names])
        )


def test_medians_leave_out_the_first_round_and_programs_take_turns() -> None:
    from benchmarks.peers.talking import interleaved

    asked: list[str] = []

    def program(name: str, first: float) -> float:
        asked.append(name)
        return first if asked.count(name) == 1 else float(asked.count(name))

    found = interleaved({"a": lambda: program("a", 100.0), "b": lambda: program("b", -100.0)}, times=3)
    assert found == {"a": 3.0, "b": 3.0}
    assert asked == ["a", "b"] * 4


def test_times_of_cases_keep_their_order_in_microseconds() -> None:
    from benchmarks.peers.compare import microseconds

    second = 10**9
    moments = [-second - 1, -second, -1, 0, 1, 1000, second - 1, second, second + 1, 86_400 * second]
    found = [microseconds(moment) for moment in moments]
    assert found == sorted(set(found))
    assert found[-1] == 86_400 * 10**6
    assert microseconds(second + 1) - microseconds(second) == microseconds(1) == 1


@pytest.mark.parametrize(
    ("got", "wanted", "told"),
    [
        ([], None, "row lost, null in the law"),
        ([], 1, "row lost, a value in the law"),
        ([1, 1], 1, "row repeated"),
        ([1.0], 1, ""),
        ([9007199254740992.0], 9007199254740993, "other value"),
        ([None], float("nan"), "NaN and null mixed up"),
        ([None], 1, "null for a value"),
        ([1], None, "value for null"),
        ([0.0], -0.0, "other value"),
        ([None], None, ""),
    ],
)
def test_answers_of_feast_are_compared_fairly(got: list[object], wanted: object, told: str) -> None:
    from benchmarks.peers.judging import difference

    assert difference(got, wanted) == told


def test_drawn_cases_for_feast_are_the_same_each_time() -> None:
    from benchmarks.peers.compare import drawn_cases

    assert drawn_cases(5) == drawn_cases(5)
    assert "features.cases" in sys.modules
