"""The commands around the log: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import circles
from fullcircle.cli import app
from fullcircle.flows import log
from fullcircle.ledger.workspace import Workspace
from fullcircle.tables.predictions import PredictionLog, append_outcomes
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A workspace with ten logged predictions of one closed segment: their ids."""
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(log, "SMALLEST", 1000)
    with Workspace.open(circles.settings(tmp_path)) as workspace:
        folder = workspace.predictions
    rows = [
        Prediction(value=float(n), verdict=Verdict(status="ok"), model="houses", inputs={"heat": n, "pad": "x" * 50})
        for n in range(10)
    ]
    with PredictionLog(folder) as made:
        done = [one.id for one in made.append(rows)]
    append_outcomes(folder, "houses", [Outcome(prediction_id=one, value=1) for one in done])
    return done


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def read(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_log_shows_what_there_is_and_settles_when_asked(ids: list[str]) -> None:
    (model,) = read("log")["models"]
    assert (model["model"], model["segments"], model["compacted"], model["rows"]) == ("houses", 1, 0, 10)
    assert read("log")["settled"] is None
    shown = run("log", "--settle").stdout
    assert "1 segments noted as closed, 1 compacted (10 rows)" in shown
    row = next(line for line in run("log").stdout.splitlines() if line.startswith("houses"))
    assert row.split()[1] == "10"
    assert row.split()[3:8] == ["1", "0", "1", "0", "0"]
    assert run("audit").exit_code == 0


def test_erase_says_what_it_did(ids: list[str]) -> None:
    done = run("erase", "houses", "--id", ids[0], "--id", ids[1], "--reason", "request 17")
    assert done.exit_code == 0
    assert "2 rows of 1 segments and 2 outcomes erased" in done.stdout
    again = run("erase", "houses", "--id", ids[0], "--reason", "request 17")
    assert "1 were erased before" in again.stdout
    assert read("erase", "houses", "--where", "heat=7", "--reason", "request 18")["rows"] == 1
    assert run("audit").exit_code == 0


def test_erase_ends_with_one_where_rows_wait(ids: list[str], tmp_path: Path) -> None:
    row = Prediction(value=1.0, verdict=Verdict(status="ok"), model="houses")
    with PredictionLog(tmp_path / "workspace" / "predictions") as still:
        (one,) = still.append([row])
        done = run("erase", "houses", "--id", one.id, "--reason", "request 17")
        assert done.exit_code == 1
        assert "1 rows are in segments that are still written to" in done.stdout
        assert "give the same command again after" in done.stdout
    assert run("erase", "houses", "--id", one.id, "--reason", "request 17").exit_code == 0


@pytest.mark.parametrize("wrong", ["heat", "=7", "heat="])
def test_a_where_that_cannot_be_read_is_refused(ids: list[str], wrong: str) -> None:
    done = run("erase", "houses", "--where", wrong, "--reason", "request 17")
    assert done.exit_code == 2
    assert "COLUMN=VALUE" in done.stderr


def test_erase_needs_a_reason_and_something_to_erase(ids: list[str]) -> None:
    assert run("erase", "houses", "--id", ids[0]).exit_code == 2
    assert run("erase", "houses", "--reason", "request 17").exit_code == 2
    (model,) = read("log")["models"]
    assert model["rows"] == 10
