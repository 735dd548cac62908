"""What quarantine kept apart is seen by a person and released by one, and the next retraining learns from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import circles
from flows.looping import Life, houses, life
from fullcircle.cli import app
from fullcircle.errors import SettingInvalid, StateConflict
from fullcircle.flows import data, learning, standing
from fullcircle.flows.audit import audit
from fullcircle.flows.quarantined import quarantined, release
from fullcircle.flows.retrain import retrain_in
from fullcircle.settings import Settings
from fullcircle.types.loop import Apart, Step, Trigger

HAND = Trigger(cause="hand", reason="asked for by hand")
RETRAIN = 'triggers=(), source="agent"'
WHY = "the agents are ours, and began in January"


def _sent(day: int) -> pd.DataFrame:
    """A day of houses, each sent by one of six agents that the first rows do not name."""
    rows = houses(day)
    return rows.assign(agent=[f"agent {place % 6}" for place in range(len(rows))])


def _retrained(found: Life) -> Step:
    with standing.at_work(found.session, "houses") as journal:
        made = retrain_in(found.session, found.source, HAND, journal)
    assert made.step is not None
    return made.step


def _learned(found: Life) -> pd.DataFrame:
    """The rows that the champion was made from."""
    champion = learning.champion_of(found.session, found.source.project, found.champion)
    return data.frame_of(found.session, champion.draft.snapshot)


def _costs(found: Life, day: int) -> set[float]:
    """The labels of a day that a model was made from."""
    return set(houses(day)["cost"]) & set(_learned(found)["cost"])


def _held(found: Life) -> Apart:
    """A retraining that holds all rows of a week, as a person sees it."""
    for day in range(7):
        found.day(_sent(day), turn=False)
    step = _retrained(found)
    assert step.decision is not None
    assert "a person must look" in step.decision.reason
    (seen,) = quarantined("houses", settings=found.session.settings)
    assert seen.decision == found.facts("decision.taken")[-1].seq
    assert (len(seen.ids), seen.reason, seen.released) == (700 - _flagged(found), step.decision.reason, 0)
    return seen


def _flagged(found: Life) -> int:
    """Rows that the contract let through with a remark: nobody learns from them."""
    champion = learning.champion_of(found.session, found.source.project, found.champion)
    return learning.new_rows(champion, champion.frozen()).rejected


def test_what_was_held_and_released_is_learned_from_and_what_came_later_is_not(tmp_path: Path) -> None:
    with life(tmp_path, RETRAIN) as found:
        settings = found.session.settings
        seen = _held(found)
        made = release("houses", decision=seen.decision, reason=f"  {WHY} ", settings=settings)
        assert (made.rows, made.reason, made.decision) == (len(seen.ids), WHY, seen.decision)
        (fact,) = found.facts("rows.released")
        assert (fact.seq, fact.actor, fact.body["reason"]) == (made.seq, made.actor, WHY)
        assert fact.body["login"] == made.login
        assert "@" in made.login
        found.day(_sent(7), turn=False)
        step = _retrained(found)
        assert step.decision is not None
        assert step.decision.action == "promote"
        assert f"{len(seen.ids)} rows released from quarantine by a person" in step.decision.reason
        assert step.learned == len(seen.ids)
        (apart,) = step.quarantine
        assert "a person must look" in apart.reason
        assert len(_costs(found, 6)) > 80
        assert not _costs(found, 7)

        # What came with the promotion was left out for good, until a person says otherwise.
        assert "there are no new labelled rows" in str(_retrained(found).decision)
        later, first = quarantined("houses", settings=settings)
        assert (first.decision, first.released) == (seen.decision, made.seq)
        assert (len(later.ids), later.released) == (apart.rows, 0)
        release("houses", decision=later.decision, reason=WHY, settings=settings)
        again = _retrained(found)
        assert again.learned == apart.rows
        assert again.quarantine == ()
        assert again.apart == ""
    assert audit(settings=settings).problems == ()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Apart]:
    """A workspace in which a week of rows is held."""
    folder = tmp_path_factory.mktemp("held")
    with life(folder, RETRAIN) as found:
        seen = _held(found)
    return circles.unbegun(folder), seen


def _said(settings: Settings, *words: str) -> Any:
    return CliRunner().invoke(app, ["quarantine", "houses", "--workspace", str(settings.workspace), *words])


def test_the_command_shows_and_releases_once(held: tuple[Settings, Apart], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, seen = held
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(settings["config"]))
    shown = _said(settings)
    assert shown.exit_code == 0, shown.output
    assert f"decision {seen.decision} of 2027-01-25 00:02: {len(seen.ids)} rows kept apart\n" in shown.output
    assert "a person must look" in shown.output
    assert seen.ids[0] in shown.output
    (listed,) = json.loads(_said(settings, "--json").stdout)
    assert listed["ids"] == list(seen.ids)

    for words, told in (
        (("--release", str(seen.decision)), "--release without --reason"),
        (("--reason", WHY), "--reason without --release"),
        (("--release", str(seen.decision), "--reason", " - "), "needs a reason that others can read"),
        (("--release", "1", "--reason", WHY), f"allowed: {seen.decision}"),
    ):
        wrong = _said(settings, *words)
        assert wrong.exit_code == 2
        assert "setting_invalid" in wrong.output
        assert told in wrong.output
    done = _said(settings, "--release", str(seen.decision), "--reason", WHY)
    assert done.exit_code == 0, done.output
    assert f"released: {len(seen.ids)} rows of houses from decision {seen.decision}, by " in done.output
    assert WHY in done.output
    assert ", released in fact " in _said(settings).output
    twice = _said(settings, "--release", str(seen.decision), "--reason", WHY)
    assert twice.exit_code == 2
    assert "released already, in fact " in twice.output
    with pytest.raises(StateConflict, match="released already"):
        release("houses", decision=seen.decision, reason=WHY, settings=settings)


def test_where_nothing_was_kept_apart_there_is_nothing_to_release(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=()") as found:
        settings = found.session.settings
        found.day(houses(1, rows=10), turn=False)
        _retrained(found)
        assert quarantined("houses", settings=settings) == ()
        with pytest.raises(SettingInvalid, match="no rows of houses were kept apart"):
            release("houses", decision=found.facts("decision.taken")[-1].seq, reason=WHY, settings=settings)
    assert "no rows were kept apart" in _said(settings).output
