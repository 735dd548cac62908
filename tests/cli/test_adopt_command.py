"""The command ``adopt``: what it refuses, how it says so, and that nothing is left behind."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge
from typer.testing import CliRunner, Result

from fullcircle.cli import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a pickle and a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    frame = pd.DataFrame({"a": range(30), "b": [n % 7 for n in range(30)], "y": [3.0 * n for n in range(30)]})
    frame.to_csv("sample.csv", index=False)
    model = Ridge().fit(frame[["a", "b"]], frame["y"])
    skops.io.dump(model, "model.skops")
    Path("model.pkl").write_bytes(pickle.dumps(model))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["adopt", *arguments])


@pytest.mark.parametrize(
    ("model", "label", "words", "next_step"),
    [
        ("model.skops", "z", "the label is no column", "--label COLUMN"),
        ("model.skops", "a", "the label is a column that the model was trained on", "--label COLUMN"),
        ("model.pkl", "y", "runs code that its file chooses", "--allow-pickle"),
        ("other.skops", "y", "there is no such model", "check the path"),
        ("sample.csv", "y", "cannot be told from its name", "one of these forms"),
    ],
)
def test_a_refusal_is_one_object_with_the_next_step(
    folder: Path, model: str, label: str, words: str, next_step: str
) -> None:
    done = run(model, "--data", "sample.csv", "--label", label, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert words in json.dumps(error)
    assert next_step in json.dumps(error)
    assert not (folder / "model").exists()


def test_a_share_that_is_none_and_a_table_that_is_not_there_are_refused(folder: Path) -> None:
    assert run("model.skops", "--data", "sample.csv", "--label", "y", "--test-share", "0.9").exit_code == 2
    done = run("model.skops", "--data", "none.csv", "--label", "y", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["code"] == "table_not_found"
    assert not (folder / "model").exists()


def test_a_folder_of_this_name_is_left_alone(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "note.txt").write_text("mine")
    done = run("model.skops", "--data", "sample.csv", "--label", "y", "--name", "mine")
    assert done.exit_code == 2
    assert "not overwritten" in done.stderr
    assert (folder / "mine" / "note.txt").read_text() == "mine"


def test_the_help_says_what_may_be_adopted() -> None:
    shown = run("--help").stdout
    assert "models:/NAME/3" in shown
    assert "--allow-pickle" in shown
