"""docs/loop-figures.md says what was measured; the benchmark of the loop compares as it says. Nothing is timed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fullcircle.development.loading import load
from fullcircle.tables.reading import read
from laws.sizes import ROOT


@pytest.fixture(autouse=True, scope="module")
def _root() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        import benchmarks.loop_figures  # noqa: F401  # stays imported


def _found(metric: str, higher: bool, **figures: tuple[float, float | None, int]) -> Mapping[str, Any]:
    """What a rehearsal came to: metric, earned and trainings of each policy."""
    names = {"shipped": "shipped", "never": "never", "calendar": "schedule 30d"}
    policies = {
        names[name]: {"metric": value, "earned": earned, "trained": trained}
        for name, (value, earned, trained) in figures.items()
    }
    return {"metric": metric, "higher_is_better": higher, "currency": "EUR", "policies": policies}


def test_the_page_of_figures_is_that_of_the_result_file() -> None:
    from benchmarks.loop_figures import PAGE, RESULT
    from benchmarks.monitoring_figures import renewed

    page, found = PAGE.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8"))
    assert renewed(page, found) == page, "python -m benchmarks.loop_figures"
    assert all(row["what"].replace("|", "") in page for row in found["rows"])


def test_the_page_has_a_table_for_every_part_and_the_benchmark_is_found_by_its_name() -> None:
    from benchmarks.__main__ import NAMES
    from benchmarks.loop import PARTS, main
    from benchmarks.loop_figures import PAGE

    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- from the result file: {part} -->" in page and f"`{part}`" in page for part in PARTS)
    assert "loop" in NAMES
    assert not [name for name in NAMES if name.startswith("loop_")]
    assert main(["nothing"]) == 2


def test_the_shipped_loop_is_held_to_the_better_of_the_two_in_the_direction_of_the_metric() -> None:
    from benchmarks.loop import beside

    less = _found("mae", False, shipped=(70.2, 500.0, 5), never=(83.0, 400.0, 0), calendar=(70.0, 501.0, 14))
    metric, trained, earned = beside("x", less)
    assert (metric.peer, metric.peer_name, metric.met) == (70.0, "schedule 30d", True)
    assert (trained.ours, trained.goal, trained.met) == (5, 13, True)
    assert (earned.peer, earned.unit, earned.met) == (501.0, "EUR", True)
    worse = _found("mae", False, shipped=(70.4, 490.0, 14), never=(83.0, 400.0, 0), calendar=(70.0, 501.0, 14))
    assert [row.met for row in beside("x", worse)] == [False, False, False]


def test_where_more_is_better_the_best_is_the_highest_and_without_money_nothing_is_said_of_it() -> None:
    from benchmarks.loop import beside

    more = _found("roc_auc", True, shipped=(0.899, None, 1), never=(0.9, None, 0), calendar=(0.89, None, 12))
    metric, trained = beside("x", more)
    assert (metric.peer, metric.peer_name, metric.at_least, metric.met) == (0.9, "never", True, True)
    assert trained.met
    worse = _found("roc_auc", True, shipped=(0.89, None, 1), never=(0.9, None, 0), calendar=(0.89, None, 12))
    assert not beside("x", worse)[0].met


def test_losses_may_be_no_larger_than_half_a_percent_more() -> None:
    from benchmarks.loop import beside

    found = _found("mae", False, shipped=(1.0, -100.4, 1), never=(1.0, -100.0, 0), calendar=(1.0, -200.0, 12))
    assert beside("x", found)[2].met
    found = _found("mae", False, shipped=(1.0, -100.6, 1), never=(1.0, -100.0, 0), calendar=(1.0, -200.0, 12))
    assert not beside("x", found)[2].met


def _told(*events: tuple[str, str, str]) -> list[Mapping[str, Any]]:
    return [{"at": at, "kind": kind, "suspects": [name] if name else []} for at, kind, name in events]


def test_the_lenders_verdicts_are_held_against_what_its_simulator_knows() -> None:
    from benchmarks.loop import against_the_truth, shown

    truth = shown()
    assert truth.cents_from == "2025-03-03"
    good = _told(
        ("2025-03-10T00:01:00Z", "alarm", "amount"),
        ("2025-04-07T00:01:00Z", "alarm", "purpose"),
        ("2025-08-25T00:01:00Z", "promote", ""),
    )
    assert all(row.met for row in against_the_truth(good, truth))
    bad = _told(
        ("2025-02-10T00:01:00Z", "alarm", "amount"),
        ("2025-03-10T00:01:00Z", "promote", ""),
        ("2025-06-02T00:01:00Z", "alarm", "purpose"),
        ("2025-06-09T00:01:00Z", "rollback", ""),
    )
    found = against_the_truth(bad, truth)
    assert [row.met for row in found] == [False, False, False, True, False]
    assert not any(row.met for row in against_the_truth([], truth)[1:4]), "what never came is no success"


def test_history_is_halved_and_doubled_with_times_that_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd
    from benchmarks import loop

    days = pd.date_range("2011-01-01", "2012-12-31", freq="D").strftime("%Y-%m-%d")
    rides = pd.DataFrame({"dteday": days, "hr": 5, "weathersit": 1, "workingday": 1, "temp": 0.5, "hum": 0.4})
    rides.assign(windspeed=0.1, cnt=range(len(days))).to_csv(tmp_path / "all.csv", index=False)
    monkeypatch.setattr(loop, "BIKE", tmp_path / "all.csv")
    counts = {}
    for name in ("half", "whole", "twice"):
        csv, folder = loop.lengthened(tmp_path / name, name)
        monkeypatch.setenv("BIKE_HOUR", str(csv))
        source = load(folder)
        rows = read(source.project.history, folder=source.folder)
        assert rows["started_at"].is_unique
        counts[name] = len(rows)
    assert counts == {"half": 365, "whole": 731, "twice": 1462}


def test_a_part_that_fails_is_a_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import loop

    def breaks(folder: Path) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(loop, "PARTS", {"bikes": breaks})
    monkeypatch.setattr(loop, "NEED", {"bikes": tmp_path})
    (row,) = loop.measured("bikes", tmp_path)
    assert "out of luck" in row.what
    assert not row.met
    monkeypatch.setattr(loop, "NEED", {"bikes": tmp_path / "absent.csv"})
    (row,) = loop.measured("bikes", tmp_path)
    assert "there is no absent.csv" in row.what


def test_the_defaults_are_those_of_the_decision_on_them() -> None:
    """Decision 0036: whoever changes one measures the examples anew and says so there."""
    from fullcircle.types.project import Retrain

    usual = Retrain()
    assert (tuple(usual.triggers), usual.schedule, usual.rows) == (("harm", "drift"), "", 0)
    assert (usual.cooldown, usual.cost, usual.horizon, usual.learn_from) == ("0s", 0.0, "30d", "")
