"""Approval: what a person has to approve becomes champion only after somebody did, on the report it has."""

from __future__ import annotations

import json
import os
import pwd
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import circles
from fullcircle.errors import (
    ApprovalMissing,
    FullcircleError,
    GateFailed,
    SettingInvalid,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows.evaluate import evaluate
from fullcircle.flows.package import package
from fullcircle.flows.promote import approve, promote, rollback
from fullcircle.flows.retrain import retrain
from fullcircle.flows.run import run
from fullcircle.flows.score import score
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.train import train
from fullcircle.flows.why import why
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from fullcircle.tables import predictions
from fullcircle.types.approval import Approval
from fullcircle.types.facts import Fact
from fullcircle.types.prediction import Outcome
from fullcircle.types.report import GateVerdict, Report
from fullcircle.types.turn import Turn

Approved = tuple[Path, Settings, list[Approval], list[str]]
REASON = "The report was read, and nobody is worse off."


def _state(settings: Settings) -> State:
    with opened(settings) as session:
        return session.workspace.ledger.state()


def _facts(settings: Settings, kind: str) -> list[Fact]:
    with opened(settings) as session:
        return list(session.workspace.ledger.facts(kind))


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings, Turn]:
    """A first turn of a project that a person approves: version 1 waits."""
    found = circles.copy(tmp_path_factory, circles.WAITING, tmp_path_factory.mktemp("approvals"))
    return found.project, found.settings, found.turn


class TestBefore:
    """Version 1 waits. These tests change nothing."""

    def test_a_run_packages_and_holds_and_says_what_to_do(self, waiting: tuple[Path, Settings, Turn]) -> None:
        turn = waiting[2]
        assert turn.trained.report.passed, turn.trained.report.gates
        asked = 'fullcircle approve houses --version 1 --reason "..."'
        assert turn.decision.action == "hold"
        assert turn.decision.reason == f"all gates passed, waiting for approval: {asked}"
        assert turn.packaged is not None
        assert turn.packaged.version == 1
        assert (turn.champion, turn.deployed) == (None, None)
        assert turn.next_steps[:2] == (asked, "fullcircle promote houses --version 1")
        assert not any("after changing" in step for step in turn.next_steps)
        (decided,) = _facts(waiting[1], "decision.taken")
        assert decided.body["reason"] == turn.decision.reason
        assert decided.body["report"] == turn.trained.report_digest

    def test_the_registration_says_that_a_person_approves(self, waiting: tuple[Path, Settings, Turn]) -> None:
        state = _state(waiting[1])
        assert state.versions["houses"][1].approve == "person"
        assert state.waits("houses", 1)
        (found,) = status(settings=waiting[1]).models
        assert (found.waiting, found.versions, found.champion) == ((1,), (1,), None)

    def test_running_again_makes_nothing_new_and_is_no_approval(self, waiting: tuple[Path, Settings, Turn]) -> None:
        project, settings, turn = waiting
        before = _state(settings).seq
        again = run(project, settings=settings, stop=True)
        assert again.decision == turn.decision
        assert again.next_steps == turn.next_steps
        assert _state(settings).seq == before

    def test_it_cannot_be_promoted(self, waiting: tuple[Path, Settings, Turn]) -> None:
        project, settings, _ = waiting
        before = _state(settings).seq
        for asked in (project, "houses"):
            for version in (None, 1):
                with pytest.raises(ApprovalMissing, match="has to be approved by a person") as caught:
                    promote(asked, version=version, settings=settings)
                assert (caught.value.exit_code, caught.value.code) == (1, "approval_missing")
                assert "fullcircle approve houses --version 1" in str(caught.value.next_step)
        assert _state(settings).seq == before
        assert _state(settings).champions == {}

    @pytest.mark.parametrize("reason", ["", "  ", "\n\t", "...", "-", " ?! ", "x" * 501, "nul \0", "half \ud800"])
    def test_a_reason_says_something(self, waiting: tuple[Path, Settings, Turn], reason: str) -> None:
        before = _state(waiting[1]).seq
        with pytest.raises(SettingInvalid, match="needs a reason"):
            approve("houses", reason=reason, settings=waiting[1])
        assert _state(waiting[1]).seq == before

    @pytest.mark.parametrize("version", [0, 2, 99, -1])
    def test_the_version_exists(self, waiting: tuple[Path, Settings, Turn], version: int) -> None:
        with pytest.raises(VersionNotFound, match=f"no version {version}"):
            approve("houses", version=version, reason=REASON, settings=waiting[1])

    def test_a_later_report_that_says_no_stops_approval_and_promotion(
        self, waiting: tuple[Path, Settings, Turn]
    ) -> None:
        project, settings, _ = waiting
        mended = project / "project.py" if project.is_dir() else project
        text = mended.read_text()
        assert 'fc.at_most("mae", 5)' in text
        try:
            mended.write_text(text.replace('fc.at_most("mae", 5)', 'fc.at_most("mae", 0.001)'))
            assert not evaluate(project, settings=settings).passed
            before = _state(settings).seq
            for refused in (
                lambda: approve("houses", version=1, reason=REASON, settings=settings),
                lambda: promote("houses", settings=settings),
            ):
                with pytest.raises(GateFailed, match="latest report on version 1 of houses did not pass") as caught:
                    refused()
                assert "mae at most 0.001: mae is" in str(caught.value.received)
            assert _state(settings).seq == before
            assert status(settings=settings).models[0].waiting == ()
        finally:
            mended.write_text(text)
        assert evaluate(project, settings=settings).passed
        assert status(settings=settings).models[0].waiting == (1,), "the latest one decides"

    def test_an_approval_on_another_report_does_not_count(self, waiting: tuple[Path, Settings, Turn]) -> None:
        _, settings, _ = waiting
        with opened(settings) as session:
            session.record("version.approved", model="houses", version=1, report="f" * 64, reason="of another one")
        with pytest.raises(ApprovalMissing):
            promote("houses", settings=settings)
        assert status(settings=settings).models[0].waiting == (1,)


@pytest.fixture(scope="module")
def approved(waiting: tuple[Path, Settings, Turn]) -> Approved:
    """The same workspace, later: six people approve version 1 at the same moment. Who did, and what others heard."""
    project, settings, _ = waiting
    done: list[Approval] = []
    heard: list[str] = []

    def one(name: str) -> None:
        try:
            actor = circles.settings(settings.folder, actor=name)
            done.append(approve("houses", version=1, reason=f"  {REASON}\n", settings=actor))
        except FullcircleError as error:
            heard.append(str(error))

    threads = [threading.Thread(target=one, args=(f"person {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return project, settings, done, heard


class TestAfter:
    """Version 1 is approved, and then taken up by the next run."""

    def test_of_many_at_once_one_approves_and_the_others_hear_who(self, approved: Approved) -> None:
        _, settings, done, heard = approved
        (found,) = done
        assert len(heard) == 5
        assert all(f"was approved already, by {found.actor} at {found.time[:19]}" in text for text in heard)
        assert [fact.actor for fact in _facts(settings, "version.approved")][1:] == [found.actor]

    def test_who_when_and_why_are_in_the_ledger(self, approved: Approved) -> None:
        _, settings, (found,), _ = approved
        fact = _facts(settings, "version.approved")[-1]
        version = _state(settings).versions["houses"][1]
        login = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
        said = {"model": "houses", "version": 1, "report": version.report, "reason": REASON, "login": login}
        assert dict(fact.body) == said
        assert found.login == login, "whatever the setting actor says"
        for kind in ("run.finished", "version.registered"):
            assert {one.body["login"] for one in _facts(settings, kind)} == {login}, "M5: who trained is known alike"
        assert fact.actor.startswith("person ")
        assert (found.actor, found.time, found.seq) == (fact.actor, fact.time, fact.seq)
        assert (found.model, found.version, found.report, found.reason) == ("houses", 1, version.report, REASON)

    def test_it_promotes_nothing_by_itself_and_no_longer_waits(self, approved: Approved) -> None:
        settings = approved[1]
        assert _state(settings).champions == {}
        assert status(settings=settings).models[0].waiting == ()
        with pytest.raises(VersionNotFound, match="no version of houses waits for approval"):
            approve("houses", reason=REASON, settings=settings)

    def test_the_next_run_takes_it_up(self, approved: Approved) -> None:
        project, settings, (found,), _ = approved
        turn = run(project, settings=settings, stop=True)
        assert (turn.decision.action, turn.decision.version, turn.champion) == ("promote", 1, 1)
        assert turn.decision.reason == f"all gates passed, approved in fact {found.seq}"
        assert list(_state(settings).versions["houses"]) == [1]
        assert not any("approve" in step for step in turn.next_steps)
        told = why(turn.sample_prediction, settings=settings)
        assert [fact.seq for fact in told.approvals if fact.body["reason"] == REASON] == [found.seq]
        assert {fact.kind for fact in told.approvals} == {"version.approved"}
        assert {fact.kind for fact in told.decisions} == {"version.promoted", "decision.taken"}

    def test_a_champion_is_not_approved_again(self, approved: Approved) -> None:
        settings = approved[1]
        with pytest.raises(StateConflict, match="approved already"):
            approve("houses", version=1, reason=REASON, settings=settings)


RETRAINED = circles.STILL.replace("    arrivals=", '    retrain=fc.Retrain(approve="person"),\n    arrivals=')


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A champion that needed nobody, and labelled predictions of another year to learn from."""
    folder = tmp_path_factory.mktemp("retrained")
    found = circles.copy(tmp_path_factory, circles.STILL, folder)
    assert found.turn.champion == 1
    circles.write_project(found.project.parent, RETRAINED)
    _live(found.settings, folder, seed=1)
    return found.project, found.settings


def _live(settings: Settings, folder: Path, seed: int) -> None:
    """Rows of another year are answered by the champion, and their labels come."""
    rows, answers = folder / f"year{seed}.csv", folder / f"year{seed}.jsonl"
    rows.write_text(circles.houses(seed=seed, rows=600))
    score("houses", rows, answers, settings=settings)
    labels = [float(line.split(",")[-1]) for line in rows.read_text().splitlines()[1:]]
    ids = [json.loads(line)["prediction_id"] for line in answers.read_text().splitlines()]
    outcomes = [Outcome(prediction_id=one, value=label) for one, label in zip(ids, labels, strict=True)]
    with opened(settings) as session:
        predictions.append_outcomes(session.workspace.predictions, "houses", outcomes)


def test_a_retrained_version_waits_and_is_taken_up(retrained: tuple[Path, Settings]) -> None:
    project, settings = retrained
    assert _state(settings).versions["houses"][1].approve == "", "the first one needed nobody"
    first = retrain(project, settings=settings)
    asked = 'all gates passed, waiting for approval: fullcircle approve houses --version 2 --reason "..."'
    assert first.decision.action == "hold"
    assert first.decision.reason.endswith(f"; {asked}")
    assert first.packaged is not None
    assert first.new_rows + first.quarantined == 600
    assert first.new_rows > 575
    with pytest.raises(ApprovalMissing):
        promote("houses", version=2, settings=settings)
    again = retrain(project, settings=settings)
    assert again.decision.reason.endswith(f"version 2 was made from the same rows; {asked}")
    assert list(_state(settings).versions["houses"]) == [1, 2], "what waits is not made again"
    seq = approve(project, reason=REASON, settings=settings).seq
    last = retrain(project, settings=settings)
    assert (last.decision.action, last.decision.version, last.decision.previous) == ("promote", 2, 1)
    assert last.decision.reason.endswith(f"the same rows; all gates passed, approved in fact {seq}")
    assert _state(settings).champions["houses"] == 2


def test_going_back_needs_nobody_and_is_not_undone(retrained: tuple[Path, Settings]) -> None:
    project, settings = retrained
    assert rollback("houses", settings=settings).version == 1
    with pytest.raises(StateConflict, match="is the champion already"):
        approve("houses", version=1, reason=REASON, settings=settings)
    retrained_again = retrain(project, settings=settings)
    assert retrained_again.decision.action == "hold", "an approval is used once: what was rolled back stays back"
    assert "version 2 was made from the same rows and was taken back" in retrained_again.decision.reason
    assert list(_state(settings).versions["houses"]) == [1, 2], "the same is not made again"
    assert _state(settings).champions["houses"] == 1


def test_what_was_judged_against_another_champion_is_not_approved(retrained: tuple[Path, Settings]) -> None:
    project, settings = retrained
    train(project, settings=settings, params={"learning_rate": "0.2"})
    number = package(project, settings=settings).version
    assert _state(settings).versions["houses"][number].approve == "", "only retraining asks for a person here"
    waits = status(settings=settings).models[0].waiting
    assert number not in waits
    assert approve("houses", version=number, reason=REASON, settings=settings).version == number, "it may be, though"
    promote("houses", version=number, settings=settings)
    assert status(settings=settings).models[0].waiting == ()
    for version in waits:
        with pytest.raises(StateConflict, match="was judged against champion"):
            approve("houses", version=version, reason=REASON, settings=settings)


def test_what_failed_its_gates_is_not_approved(retrained: tuple[Path, Settings]) -> None:
    _, settings = retrained
    with opened(settings) as session:
        version = session.workspace.ledger.state().versions["houses"][1]
        report = session.recall(version.report, Report)
        failed = replace(report, gates=(GateVerdict(gate="mae at most 5", passed=False, reason="mae is 9"),))
        body = {name: getattr(version, name) for name in ("run", "bundle", "snapshot", "proof")}
        session.record(
            "version.registered", model="houses", version=77, report=session.keep(failed), approve="person", **body
        )
    with pytest.raises(GateFailed, match="did not pass its gates") as caught:
        approve("houses", version=77, reason=REASON, settings=settings)
    assert "mae is 9" in str(caught.value.received)
