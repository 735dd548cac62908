"""The commands around experiments: what they print, what they write, and how they end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

import circles
from flows.played_models import Played, played
from flows.test_experiment import TEXT, begin, dealt
from fullcircle.cli.commands import app
from fullcircle.flows.experiment_plan import share_of
from fullcircle.types.experiments import Experiment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A champion, and a version 2."""
    found = played(tmp_path_factory.mktemp("experiment"), TEXT)
    assert found.make() == 1
    assert found.make(promoted=False, max_depth="3") == 2
    with found.session(7.0) as session:
        dealt(session, day=0.0, rows=300, minutes=30, of=None)
    return found


@pytest.fixture
def own(made: Played, tmp_path: Path) -> Played:
    shutil.copytree(made.settings.workspace, tmp_path / "workspace")
    return replace(made, settings=circles.unbegun(tmp_path))


def run(own: Played, *words: str, code: int = 0) -> str:
    command, *more = words
    place = ["--workspace", str(own.settings.workspace)]
    found = CliRunner().invoke(app, ["experiment", command, str(own.project), *more, *place])
    assert found.exit_code == code, found.output + found.stderr
    return " ".join((found.stdout or found.stderr).split())


def asked(own: Played, *words: str, code: int = 0) -> Any:
    return json.loads(run(own, *words, "--json", code=code))


def test_a_share_is_said_as_for_a_split_or_as_a_number(own: Played) -> None:
    for text in ("half", "150%", "0", "100%", "nan"):
        told = run(own, "start", "--effect", "0.3", "--share", text, code=2)
        assert "the share is none" in told
        assert f"received: '{text}'" in told, "as it was said"
        assert "--share 50%" in told
    assert share_of("25%") == share_of(" 0.25 ") == share_of("25 %") == 0.25


def test_one_is_started_looked_at_and_stopped(own: Played) -> None:
    told = run(own, "start", "--effect", "0.3", "--shadow", "--guardrail", "rejected<=5%", "--until", "30d")
    assert "version 2 of houses beside version 1, by value_per_row" in told
    assert "rows show a difference of 0.3 EUR with a chance of 80% at least" in told
    assert "rows a day" in told
    assert "note: assumed in the plan: both versions err independently" in told
    told = run(own, "status")
    assert "no row counts so far" in told
    for word in ("versions", "copies", "label coverage", "rejected", "holds"):
        assert word in told
    found = msgspec.json.decode(json.dumps(asked(own, "status", "--page")), type=Experiment)
    assert (found.mode, found.verdict.state, found.plan.guardrails[0].limit) == ("shadow", "running", 0.05)
    assert Path(found.page).read_text(encoding="utf-8").startswith("<!doctype html>")
    told = run(own, "start", "--effect", "1", "--shadow", code=2)
    assert "an experiment of houses runs already" in told
    assert "fullcircle experiment stop PROJECT" in told
    assert "did not win" in run(own, "stop", "--promote", code=2)
    assert asked(own, "stop", "--reason", "enough seen")["ended"] == "stopped"
    assert "It was stopped" in run(own, "status")
    # A played version was never proven in an environment of its own, so callers may not get its answers.
    assert "was not proven" in run(own, "start", "--effect", "1", code=1)
    refused = asked(own, "stop", code=2)["error"]
    assert refused["code"] == "state_conflict"


def test_what_may_not_be_believed_or_does_harm_ends_with_1(own: Played) -> None:
    with own.session(7.0) as session:
        split = begin(session, own, guardrails=("slower:200ms<=5%",)).split
        dealt(session, day=7.0, rows=600, of=split, latency=0.3)
    with own.session(9.0):
        assert "broke a guardrail" in run(own, "status", code=1)
        assert "DOES NOT HOLD" in run(own, "status", code=1)
        assert asked(own, "status", code=1)["verdict"]["state"] == "broken"
    with own.session(9.0) as session:
        dealt(session, day=8.5, rows=600, of=split, truly=0.2, seed=4)
    with own.session(10.0):
        assert "Nothing can be said" in run(own, "status", code=1)
        place = ["--workspace", str(own.settings.workspace)]
        CliRunner().invoke(app, ["monitor", str(own.project), *place], catch_exceptions=False)
        found = asked(own, "status", code=1)
        assert found["ended"] == "stopped"
        # Whichever saw the harm first: the monitor of the split, or the guardrail.
        assert any(told in found["reason"] for told in ("its split ended", "a guardrail broke"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("start",), "effect"),
        (("start", "--effect", "1", "--guardrail", "good"), "no guardrail"),
        (("status",), "never had an experiment"),
    ],
)
def test_wrong_use_ends_with_2(own: Played, words: tuple[str, ...], text: str) -> None:
    assert text in run(own, *words, code=2)
