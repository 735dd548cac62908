"""Two runs side by side, the model card of one, and a project's report in its three faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

import circles
import fullcircle as fc
from fullcircle.errors import (
    DataUnfit,
    ProjectInvalid,
    RunNotFound,
    TableNotFound,
    VersionNotFound,
)
from fullcircle.flows.compare import card, compare
from fullcircle.flows.pages import decode_report
from fullcircle.settings import Settings
from fullcircle.types.report import Report

PROJECT = circles.UNTIMED.replace(
    'name="houses",',
    'name="houses", purpose="Cost of *new* houses.", '
    'limits="Not for castles.", protected=["area"], serving=fc.Serving(requests_per_day=100), ',
)


@dataclass(frozen=True)
class Trained:
    """A workspace with two runs: a poor one first, then a good one."""

    project: Path
    settings: Settings
    poor: fc.train
    good: fc.train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("compare")
    project = circles.write_project(folder / "houses", PROJECT)
    settings = circles.settings(folder)
    poor = fc.train(project, settings=settings, params={"learning_rate": "0.005"})
    return Trained(project, settings, poor, fc.train(project, settings=settings))


class TestCompare:
    def test_the_better_run_is_better_on_the_same_rows(self, runs: Trained) -> None:
        found = compare(runs.poor.run, runs.good.run, settings=runs.settings)
        (gain,) = [each for each in found.improvement if each.name == "improvement_mae"]
        poor, good = (trained.report.measure("mae") for trained in (runs.poor, runs.good))
        assert gain.value == pytest.approx(poor.value - good.value)
        assert gain.low is not None
        assert gain.low > 0
        assert gain.n == runs.good.test_rows
        (row,) = [row for row in found.rows if (row.name, row.group) == ("mae", "")]
        assert row.standing == "better"
        assert (row.first, row.second) == (poor, good)
        assert any("100 test rows" in note for note in found.notes)

    def test_turned_round_it_is_worse(self, runs: Trained) -> None:
        found = compare(runs.good.run, runs.poor.run, settings=runs.settings)
        (row,) = [row for row in found.rows if (row.name, row.group) == ("mae", "")]
        assert row.standing == "worse"
        lost = [gain.value for gain in found.improvement if gain.name in ("improvement_mae", "improvement_rmse")]
        assert len(lost) == 2
        assert all(value is not None and value < 0 for value in lost)

    def test_with_itself_nothing_differs(self, runs: Trained) -> None:
        found = compare(runs.good.run, runs.good.run, settings=runs.settings)
        assert {gain.value for gain in found.improvement} == {0.0}
        assert not [row for row in found.rows if row.standing in ("better", "worse")]

    def test_it_is_written_as_a_page_and_as_json(self, runs: Trained, tmp_path: Path) -> None:
        out = [tmp_path / "side.html", tmp_path / "side.json"]
        found = compare(runs.poor.run[:8], runs.good.run[:8], out=out, settings=runs.settings)
        assert "mae" in out[0].read_text()
        assert msgspec.json.decode(out[1].read_bytes(), type=type(found)) == found

    def test_a_file_is_compared_without_asking_a_model(self, runs: Trained, tmp_path: Path) -> None:
        path = tmp_path / "report.json"
        path.write_bytes(msgspec.json.encode(runs.poor.report))
        found = compare(str(path), runs.good.run, settings=runs.settings)
        assert found.first == "report.json"
        assert not found.improvement
        assert any("holds no model" in note for note in found.notes)

    @pytest.mark.parametrize(
        ("what", "error"),
        [
            ("houses@1", VersionNotFound),
            ("houses@one", VersionNotFound),
            ("nothing", RunNotFound),
            ("no.json", TableNotFound),
            ("other@2", VersionNotFound),
        ],
    )
    def test_what_is_not_there_is_named(self, runs: Trained, what: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            compare(what, runs.good.run, settings=runs.settings)

    def test_a_file_that_is_no_report_is_refused(self, runs: Trained, tmp_path: Path) -> None:
        path = tmp_path / "other.json"
        path.write_text('{"a": 1}')
        with pytest.raises(DataUnfit):
            compare(str(path), runs.good.run, settings=runs.settings)

    def test_a_card_is_no_comparison(self, runs: Trained, tmp_path: Path) -> None:
        with pytest.raises(ProjectInvalid):
            compare(runs.poor.run, runs.good.run, out=tmp_path / "side.md", settings=runs.settings)


class TestCard:
    def test_of_a_run_holds_purpose_data_figures_and_limits(self, runs: Trained, tmp_path: Path) -> None:
        out = tmp_path / "card.md"
        text = card(runs.good.run, out=out, settings=runs.settings)
        assert out.read_text(encoding="utf-8") == text
        for wanted in ("Not for castles", "houses.csv", "mae", "area=south", runs.good.run[:12]):
            assert wanted in text, wanted
        assert "*new*" not in text  # a user's asterisks are no emphasis

    def test_needs_a_markdown_file(self, runs: Trained, tmp_path: Path) -> None:
        with pytest.raises(ProjectInvalid):
            card(runs.good.run, out=tmp_path / "card.html", settings=runs.settings)


class TestReport:
    def test_a_run_keeps_its_three_faces_in_the_workspace_and_in_mlflow(self, runs: Trained) -> None:
        folder = Path(runs.settings["workspace"]) / "reports" / f"houses-{runs.good.run[:12]}"
        assert sorted(path.name for path in folder.iterdir()) == ["card.md", "report.html", "report.json"]
        assert decode_report((folder / "report.json").read_bytes()) == runs.good.report
        kept = {path.name for path in Path(runs.settings["workspace"]).rglob("artifacts/*") if path.is_file()}
        assert {"card.md", "report.html", "report.json"} <= kept

    def test_it_says_what_the_model_is_and_where_it_comes_from(self, runs: Trained) -> None:
        about = runs.good.report.about
        assert about is not None
        assert about.algorithm == "HistGradientBoostingRegressor"
        assert (about.purpose, about.limits) == ("Cost of *new* houses.", "Not for castles.")
        assert about.source == "houses.csv"
        assert about.protected == ("area",)
        assert about.train_rows == runs.good.train_rows
        assert about.run == runs.good.run

    def test_only_the_checks_that_the_project_names_are_made(self, runs: Trained) -> None:
        made = {finding.check for finding in runs.good.report.findings}
        assert made == {"quality", "value", "fairness", "serving"}

    def test_evaluated_again_it_says_the_same_and_is_written_where_asked(self, runs: Trained, tmp_path: Path) -> None:
        out = [tmp_path / "r.json", tmp_path / "r.html", tmp_path / "r.md"]
        again = fc.evaluate(runs.project, run=runs.good.run, out=out, settings=runs.settings)
        for name in ("mae", "value_per_row", "bias"):
            assert again.measure(name) == runs.good.report.measure(name)
        assert decode_report(out[0].read_bytes()) == again
        assert out[1].read_text().startswith("<!doctype html>")
        assert out[2].read_text().startswith("# ")

    def test_a_project_takes_no_rows_of_its_caller(self, runs: Trained) -> None:
        with pytest.raises(ProjectInvalid, match="brings its own rows"):
            fc.evaluate(runs.project, pd.DataFrame({"a": [1]}), [1], settings=runs.settings)


def test_rows_answered_by_the_fallback_are_not_the_models(tmp_path: Path) -> None:
    text = circles.PLAIN.replace(
        'name="houses",',
        'name="houses", inputs=fc.Inputs(columns={"heat": {"high": 22.0, "outside": "fallback"}}),',
    )
    project = circles.write_project(tmp_path / "houses", text)
    trained = fc.train(project, settings=circles.settings(tmp_path))
    holes = [note for note in trained.report.notes if "fallback" in note]
    assert len(holes) == 1
    left_out = int(holes[0].split()[0])
    assert 0 < left_out < trained.test_rows
    assert trained.report.rows == trained.test_rows - left_out
    assert np.isfinite(trained.report.measure("mae").value)


def test_the_noun_has_one_json_that_can_be_read_back(runs: Trained) -> None:
    written = msgspec.json.encode(runs.good.report)
    assert msgspec.json.decode(written, type=Report) == runs.good.report
    assert msgspec.json.decode(written)["format"] == 1
