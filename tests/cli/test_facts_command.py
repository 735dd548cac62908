"""``fullcircle facts``: who did what, and when, out of the ledger."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fullcircle.cli import app
from fullcircle.flows.session import opened


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("FULLCIRCLE_ACTOR", "ada")
    return tmp_path / "workspace"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["facts", *arguments])


def kinds(*arguments: str) -> list[str]:
    return [each["kind"] for each in json.loads(run(*arguments, "--json").stdout)]


@pytest.fixture
def written(workspace: Path) -> None:
    for arguments in (
        ["key", "create", "shop", "--role", "scorer"],
        ["key", "create", "desk", "--role", "viewer"],
        ["key", "revoke", "shop"],
    ):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    with opened() as session:
        session.record("run.finished", model="houses", run="ab" * 32)
        session.record("run.finished", model="loans", run="cd" * 32)


def test_it_says_who_did_what_and_when(written: None) -> None:
    shown = run("key.revoked")
    assert shown.exit_code == 0
    (line,) = [line for line in shown.stdout.splitlines() if "key.revoked" in line]
    assert "ada" in line
    found: Any = json.loads(run("key.revoked", "--json").stdout)[0]
    assert str(found["seq"]) in line
    assert found["time"][:10] in line
    assert (found["actor"], found["body"]["name"]) == ("ada", "shop")


def test_by_kind_model_and_time_the_latest_last(written: None) -> None:
    whole = kinds()
    assert whole == ["ledger.created", "key.created", "key.created", "key.revoked", "run.finished", "run.finished"]
    assert kinds("key") == whole[1:4]
    assert kinds("--model", "loans") == ["run.finished"]
    assert kinds("--last", "2") == whole[-2:]
    assert kinds("run", "--model", "nobody") == []
    assert run("--model", "nobody").stdout == "no such facts\n"
    third = json.loads(run("--json").stdout)[3]["time"]
    assert kinds("--since", third) == whole[3:]
    assert kinds("--since", "2999-01-01") == []
    assert "abababababab" in run("--model", "houses").stdout
    assert "ababababababa" not in run("--model", "houses").stdout, "a digest by its first twelve places"


def test_as_many_as_wanted(written: None) -> None:
    with opened() as session:
        for number in range(60):
            session.record("run.finished", model="houses", run=f"{number:064x}")
    assert len(kinds()) == 50
    assert len(kinds("--all")) == 66
    assert len(kinds("--last", "55")) == 55


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys",), "key.revoked"),
        (("--last", "0"), "1 or more"),
        (("--all", "--last", "3"), "one of them"),
        (("--since", "yesterday"), "ISO 8601"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], said: str, written: None) -> None:
    found = run(*arguments)
    assert found.exit_code == 2
    assert said in found.stderr
    assert found.stdout == ""


def test_without_a_workspace_it_says_so_and_makes_none(workspace: Path) -> None:
    found = run()
    assert found.exit_code == 2
    assert "next:" in found.stderr
    assert not workspace.exists()


def test_a_fact_that_was_altered_is_not_printed(workspace: Path, written: None) -> None:
    with sqlite3.connect(workspace / "ledger.db") as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE fullcircle_facts SET actor = 'eve' WHERE seq = 2")
    database.close()
    found = run()
    assert found.exit_code != 0
    assert "eve" not in found.stdout
