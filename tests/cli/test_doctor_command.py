"""``fullcircle doctor`` at its door: a line for each check, the next step, JSON, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import circles
from circles import UNTIMED
from fullcircle.cli import app

PROJECT = UNTIMED.replace(
    "    arrivals={", '    requires={"token": {"kind": "secret", "at": "HOUSES_TOKEN"}},\n    arrivals={'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WORKSPACE", "CONFIG", "ENVIRONMENTS"):
        monkeypatch.setenv(f"FULLCIRCLE_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("FULLCIRCLE_PORT", "0")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HOUSES_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    circles.write_project(tmp_path / "houses", PROJECT)
    return tmp_path


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_of_this_machine(folder: Path) -> None:
    found = ask()
    assert found.exit_code == 0, found.output
    assert "0 failed" in found.output
    assert "uv is there" in found.output
    assert not (folder / "workspace").exists()


def test_of_a_project_whose_secret_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask("houses")
    assert found.exit_code == 1
    assert "FAILED" in found.output
    assert "HOUSES_TOKEN is not set" in found.output
    assert "next: set HOUSES_TOKEN" in found.output
    monkeypatch.setenv("HOUSES_TOKEN", "geheim")
    found = ask("houses")
    assert found.exit_code == 0, found.output
    assert "geheim" not in found.output


def test_as_json(folder: Path) -> None:
    found = ask("houses", "--json")
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["about"] == "houses"
    (token,) = [one for one in told["checks"] if one["name"] == "token"]
    assert (token["kind"], token["status"]) == ("secret", "failed")
    assert {"what", "received", "allowed", "next_step", "seconds"} <= token.keys()


@pytest.mark.parametrize("name", ["no-such-project", "houses/no.py"])
def test_wrong_use(folder: Path, name: str) -> None:
    found = ask(name, "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["code"] == "project_not_found"
