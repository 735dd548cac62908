"""The commands around issuers of tokens: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fullcircle.cli import app

WHOLE = ("--audience", "us", "--keys", "https://i/keys", "--role", "ml-team=engineer", "--role", "apps=scorer")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "workspace"


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "250"}).invoke(app, list(arguments))


def read(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_the_first_one_says_what_it_means_for_everybody(workspace: Path) -> None:
    first = run("issuer", "add", "https://i", *WHOLE, "--rate", "100/s", "--body", "100kB")
    assert (first.exit_code, first.stdout.strip()) == (0, "issuer https://i, for us, RS256")
    assert "every server of this workspace asks for a key or a token" in first.stderr
    second = run("issuer", "add", "https://j", *WHOLE, "--algorithm", "ES256", "--claim", "groups")
    assert "from now on" not in second.stderr
    assert [one["issuer"]["issuer"] for one in read("issuer", "list")] == ["https://i", "https://j"]
    shown = run("issuer", "list").stdout
    for word in ("https://i", "us", "RS256", "https://i/keys", "roles", "ml-team=engineer, apps=scorer", "100,000"):
        assert word in shown, word
    assert run("issuer", "remove", "https://i", "--reason", "moved").stdout.startswith("issuer https://i")
    assert [one["issuer"]["algorithm"] for one in read("issuer", "list")] == ["ES256"]
    told = json.loads((workspace / "access.json").read_text())
    assert (told["required"], [one["claim"] for one in told["issuers"]]) == (True, ["groups"])
    assert run("audit").exit_code == 0


def test_a_file_of_keys_that_is_not_there_yet_is_told(tmp_path: Path) -> None:
    place = tmp_path / "keys.json"
    whole = ("--audience", "us", "--role", "apps=scorer", "--keys", str(place))
    assert f"{place} is not there" in run("issuer", "add", "https://i", *whole).stderr
    place.write_text('{"keys": []}')
    assert "is not there" not in run("issuer", "add", "https://i", *whole).stderr
    assert "is not there" not in run("issuer", "add", "https://j", *WHOLE).stderr


def test_wrong_use_ends_with_2_and_says_what_is_right() -> None:
    for arguments in (
        ("add", "https://i", *WHOLE, "--algorithm", "HS256"),
        ("add", "https://i", *WHOLE, "--role", "x=root"),
        ("add", "https://i", *WHOLE, "--keys", "http://example.org/keys"),
        ("add", "https://i", *WHOLE, "--rate", "many"),
        ("remove", "https://nobody"),
        ("list",),
    ):
        found = run("issuer", *arguments)
        assert (found.exit_code, found.stdout) == (2, ""), arguments
        assert "allowed:" in found.stderr or "no workspace" in found.stderr
    for more in (("--rate", "many"), ("--body", "large")):
        assert "issuer add --help" in run("issuer", "add", "https://i", *WHOLE, *more).stderr, more
    assert run("issuer", "add", "https://i").exit_code == 2
