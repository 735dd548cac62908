"""The offline engine on DuckDB does what every engine must; and what is its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fullcircle.errors import EngineFailed
from fullcircle.features.engine import OfflineEngine, find_engine
from fullcircle.testing.engines import CASES, Case, OfflineEngineSuite, Row, drawn, many


class TestDuckDBEngine(OfflineEngineSuite):
    @pytest.fixture
    def engine(self) -> OfflineEngine:
        return find_engine("duckdb")


def test_the_suite_answers_by_hand_what_a_person_would() -> None:
    assert CASES["a late row never hides a newer event"].positions() == [0, 1]
    assert CASES["a late row never hides a newer event"].maxima() == [True, True, False]
    assert CASES["a row of the future waits for its event"].positions() == [-1, 1, 1, 0]
    case = Case([Row((1,), 10, 10, 7), Row((1,), 10, 10, 9)], [((1,), 10)])
    assert (case.positions(), case.maxima()) == ([1], [False, True])


def test_the_large_cases_of_the_suite_are_right_where_they_are_small() -> None:
    labels, rows, found, kept = many(60, 3)
    case = Case(
        [Row((key,), e, a, s) for key, e, a, s in zip(*rows.to_pydict().values(), strict=True)],
        [((key,), t) for key, t in zip(*labels.slice(0, 500).to_pydict().values(), strict=True)],
    )
    assert found[:500].tolist() == case.positions()
    assert kept.tolist() == case.maxima()


def test_drawn_cases_are_the_same_each_time_and_meet_ties() -> None:
    cases = [drawn(seed) for seed in range(60)]
    assert cases == [drawn(seed) for seed in range(60)]
    assert sum(len({row.order[:2] for row in case.rows}) < len(case.rows) for case in cases) > 20


def test_a_disk_that_cannot_hold_what_spills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    labels, rows, _, _ = many(500_000, 50_000)
    with pytest.raises(EngineFailed, match="memory"):
        find_engine("duckdb").positions(labels, rows, memory="2MB")
    assert list(tmp_path.iterdir()) == []
