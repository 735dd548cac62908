"""The flags of `deploy` that try a version beside the champion: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import circles
from flows.played_models import Played, played
from fullcircle.cli import app
from fullcircle.flows import serve, splitting
from fullcircle.tables import trips


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A champion, and a version beside it."""
    found = played(tmp_path_factory.mktemp("split"), circles.PLAIN.replace('        fc.beats("champion"),\n', ""))
    found.make()
    found.make(promoted=False, max_depth="3")
    circles.tables(found.settings.workspace / "mlflow.db")
    return found


@pytest.fixture(autouse=True)
def surroundings(made: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(made.settings.workspace))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(made.settings.workspace.parent / "config"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["deploy", "houses", *arguments])


def read(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_a_shadow_begins_is_shown_and_ends(made: Played) -> None:
    begun = run("--shadow", "--version", "2")
    assert begun.exit_code == 0, begun.output
    assert "version 2 is a shadow of version 1" in " ".join(begun.stdout.split())
    found = read("--status")
    assert (found["running"], found["split"]["split"]["kind"]) == (False, "shadow")
    assert found["split"]["shadowed"] == {"rows": 0, "lost": 0}
    again = read("--shadow")
    assert again["error"]["code"] == "state_conflict"
    assert "--end" in again["error"]["next"]
    ended = run("--end")
    assert ended.exit_code == 0
    assert "ended, ended by hand" in " ".join(ended.stdout.split())
    served = json.loads((made.settings.workspace / "served.json").read_bytes())
    assert "others" not in served["models"]["houses"]
    assert read("--end")["error"]["code"] == "state_conflict"


def test_a_version_that_was_not_proven_gets_no_callers() -> None:
    refused = run("--canary", "5%,100%", "--bake", "10m", "--least", "5")
    assert refused.exit_code == 1
    assert "was not proven" in refused.stderr
    assert read("--split", "50%")["error"]["code"] == "gate_failed"


@pytest.mark.parametrize(
    "flags",
    [
        ("--canary", "5%", "--split", "5%"),
        ("--shadow", "--end"),
        ("--shadow", "--entity", "rooms"),
        ("--shadow", "--bake", "1h"),
        ("--split", "50%", "--least", "3"),
        ("--end", "--version", "2"),
        ("--version", "2"),
        ("--bake", "1h"),
        ("--canary", "5%,100%", "--status"),
        ("--canary", "5%,100%", "--to", "container"),
        ("--shadow", "--port", "0"),
    ],
)
def test_flags_that_mean_nothing_together_are_refused(flags: tuple[str, ...]) -> None:
    found = read(*flags)
    assert found["error"]["code"] == "setting_invalid"
    assert "nothing together" in found["error"]["message"]


def test_a_canary_says_who_takes_its_steps(made: Played) -> None:
    with made.session() as session:
        split = splitting.start_in(session, "houses", kind="canary", shares=("5%", "100%"), version=2, least=7)
    try:
        told = " ".join(run("--status").stdout.split())
        assert "version 2 gets 5% of houses" in told
        assert "Then comes the promotion: not before" in told
        assert "7 requests. fullcircle serve takes that step, or fullcircle monitor PROJECT --every 10m" in told
        assert read("--status")["split"]["split"]["id"] == split.id
    finally:
        assert run("--end").exit_code == 0


def test_shares_that_are_none_are_refused() -> None:
    assert "no shares" in read("--split", "half")["error"]["message"]
    assert "no shares" in read("--canary", "50%,5%")["error"]["message"]
    assert "bake time" in read("--canary", "5%,100%", "--bake", "soon")["error"]["message"]


def test_the_loop_of_serve_takes_turns(made: Played) -> None:
    with made.session() as session:
        split = splitting.start_in(session, "houses", kind="split", shares=("10%",), entity=("rooms",))
        trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it hung"))
        assert serve._caught_up(session, "") == ""
        assert "houses" not in session.workspace.ledger.state().splits
    found = run("--status")
    assert "rolled back, it hung" in " ".join(found.stdout.split())
    assert Path(made.settings.workspace / "splits" / f"{split.id}.json").exists()
