"""Approving at the command line: what is asked for, what is said, and the exit codes."""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import circles
from children import surrounding
from fullcircle.cli import app

REASON = "[/] it is [red]better[/red]"


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What a further turn says, of a version that waits since the first."""
    folder = tmp_path_factory.mktemp("approve")
    circles.copy(tmp_path_factory, circles.WAITING, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**surrounding(folder), "COLUMNS": "250", "FULLCIRCLE_ACTOR": "anna"}.items():
            patch.setenv(name, value)
        yield _invoke("run", "houses", "--stop")


def test_a_run_that_waits_is_done_and_says_how_to_go_on(ran: Result) -> None:
    assert ran.exit_code == 0, ran.output
    said = _words(ran.stdout)
    asked = 'fullcircle approve houses --version 1 --reason "..."'
    assert f"hold: houses all gates passed, waiting for approval: {asked}" in said
    assert f"next: {asked} fullcircle promote houses --version 1" in said
    assert "1 (waits)" in _words(_invoke("status").stdout)


def test_promoting_is_refused_with_what_to_do(ran: Result) -> None:
    found = _invoke("promote", "houses")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("error (approval_missing): version 1 of houses has to be approved by a person")
    assert "fullcircle approve houses --version 1" in found.stderr


@pytest.mark.parametrize("reason", [[], ["--reason", " "], ["--reason", "..."], ["--reason", "x" * 501]])
def test_a_reason_is_needed(ran: Result, reason: list[str]) -> None:
    found = _invoke("approve", "houses", "--version", "1", *reason)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "reason" in found.stderr


def test_a_version_that_is_not_there(ran: Result) -> None:
    found = _invoke("approve", "houses", "--version", "9", "--reason", REASON, "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["code"] == "version_not_found"


def test_approve_says_who_and_what_comes_next(ran: Result) -> None:
    found = _invoke("approve", "houses/project.py", "--reason", REASON)
    assert found.exit_code == 0, found.output
    first, second, third = found.stdout.splitlines()
    login = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert first.startswith(f"approved: houses version 1, by anna, login {login} (fact ")
    assert second == REASON
    assert third == "next: fullcircle promote houses --version 1"
    assert "(waits)" not in _invoke("status").stdout
    again = _invoke("approve", "houses", "--version", "1", "--reason", REASON, "--json")
    assert again.exit_code == 2
    assert json.loads(again.stdout)["error"]["code"] == "state_conflict"


def test_then_it_is_promoted_and_why_tells_who_approved(ran: Result) -> None:
    assert _invoke("promote", "houses").exit_code == 0
    _invoke("score", "houses", "houses/houses.csv", "--out", "answers.jsonl")
    first = json.loads(Path("answers.jsonl").read_text().splitlines()[0])["prediction_id"]
    said = _words(_invoke("why", first).stdout)
    assert "version.approved fact" in said
    assert "by anna at 20" in said
    assert REASON in said
    told = json.loads(_invoke("why", first, "--json").stdout)
    (fact,) = told["approvals"]
    assert (fact["actor"], fact["body"]["reason"]) == ("anna", REASON)
    assert told["reasons"] or told["reasons_note"]
    assert (told["reasons"] or [told["reasons_note"]])[0] in said
    assert _invoke("audit").exit_code == 0
