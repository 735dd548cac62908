"""The door of every command: what escapes from within ends with the right words and the right exit code."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import fullcircle.flows.answered  # noqa: F401 - loaded later it would keep what a test puts in the place of evaluate
from fullcircle.cli import app, door
from fullcircle.errors import GateFailed


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _flow(patch: pytest.MonkeyPatch, name: str, ending: BaseException | object) -> None:
    """Let a flow raise this error, or return this result."""

    def flow(*_: object, **__: object) -> object:
        if isinstance(ending, BaseException):
            raise ending
        return ending

    patch.setattr(importlib.import_module(f"fullcircle.flows.{name}"), name, flow)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("WORKSPACE", "CONFIG"):
        monkeypatch.setenv(f"FULLCIRCLE_{name}", str(tmp_path / name.lower()))
    return tmp_path


@pytest.mark.parametrize("name", ["train", "retrain", "evaluate"])
def test_what_nobody_expected_is_no_gate_that_said_no(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _flow(monkeypatch, name, ZeroDivisionError("[/] by zero"))
    found = _invoke(name, "houses")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "Traceback (most recent call last)" in found.stderr
    assert "error (unexpected): ZeroDivisionError: [/] by zero\n" in found.stderr
    assert "this is a defect of fullcircle or of the project's code" in found.stderr
    assert "next: " in found.stderr


def test_what_nobody_expected_is_one_json_object_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    _flow(monkeypatch, "train", KeyError("é"))
    found = _invoke("train", "houses", "--json")
    assert found.exit_code == 2
    error = json.loads(found.stdout)["error"]
    assert (error["code"], error["message"]) == ("unexpected", "KeyError: 'é'")
    assert "defect of fullcircle" in error["next"]
    assert "Traceback (most recent call last)" in found.stderr


def test_a_real_process_ends_with_2(folder: Path) -> None:
    program = (
        "from fullcircle.cli import app\n"
        "from fullcircle.flows import status\n"
        "def broken(**_): raise RuntimeError('broken')\n"
        "status.status = broken\n"
        "app(['status'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("Traceback") == 1


def test_a_gate_that_says_no_and_an_interrupt_stay_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    for ending, code in ((GateFailed("no"), 1), (KeyboardInterrupt(), 130)):
        _flow(monkeypatch, "train", ending)
        found = _invoke("train", "houses")
        assert found.exit_code == code
        assert "Traceback" not in found.stderr


def test_a_reader_that_went_away_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError), door.door(False):
        raise BrokenPipeError
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_reopen_ends_with_1_where_its_gates_said_no(passed: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _flow(monkeypatch, "reopen", SimpleNamespace(report=SimpleNamespace(passed=passed)))
    monkeypatch.setattr("fullcircle.cli.commands.show", lambda *_: None)
    assert _invoke("reopen", "abc").exit_code == code


@pytest.mark.parametrize("name", ["promote", "rollback"])
@pytest.mark.parametrize("reason", ["x" * 501, "half a letter \ud83d"], ids=["too long", "no text"])
def test_a_reason_that_the_ledger_cannot_hold_is_wrong_use_and_no_defect(name: str, reason: str) -> None:
    found = _invoke(name, "houses", "--json", "--reason", reason)
    assert found.exit_code == 2
    error: dict[str, Any] = json.loads(found.stdout)["error"]
    assert error["code"] == "setting_invalid"
    assert (error["received"], error["allowed"]) == (
        f"{len(reason)} characters",
        "at most 500 characters of valid text",
    )
    assert "defect" not in error["next"]


@pytest.mark.parametrize("name", ["promote", "rollback"])
def test_a_reason_of_500_characters_goes_on_to_the_flow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    def flow(*_: object, reason: str, **__: object) -> None:
        heard.append(reason)

    monkeypatch.setattr(f"fullcircle.flows.promote.{name}", flow)
    monkeypatch.setattr("fullcircle.cli.commands.show", lambda *_: None)
    assert _invoke(name, "houses", "--reason", "é" * 500).exit_code == 0
    assert heard == ["é" * 500]


@pytest.mark.parametrize(
    ("error", "word"), [(None, "done"), (ValueError("x"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_the_last_step_on_a_terminal_says_how_it_ended(
    error: BaseException | None, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def work() -> None:
        with door.listening(False) as told:
            told.step("fit", "houses")
            told.step("evaluate", "houses")
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    said = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "done fit" in said
    assert f"{word} evaluate" in said
    assert [one for one in ("done", "failed", "stopped") if f"{one} evaluate" in said] == [word]
