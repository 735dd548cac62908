"""Splits in the ledger and in served.json: who may get traffic, when a step comes, and what takes a version back."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import circles
from flows.played_models import DAY, START, Played, played
from flows.test_doctor import answering, champion, proof_in
from flows.trees import tree
from fullcircle.cli.text import status as in_words
from fullcircle.errors import (
    ApprovalMissing,
    FullcircleError,
    GateFailed,
    SettingInvalid,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows import drafts, monitor, package, serve, split_status, split_terms, splitting, train
from fullcircle.flows.promote import promote_in
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.session import Session, loaded, opened, with_params
from fullcircle.flows.split_patience import LATEST, Patience
from fullcircle.flows.status import status
from fullcircle.ledger.splits import body, started
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry, Journal
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import open_bundle
from fullcircle.tables import predictions as log
from fullcircle.tables import trips
from fullcircle.tables.requests import SECONDS, Histogram, Line, RequestLog
from fullcircle.types import clock
from fullcircle.types.contract import Contract, Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.monitoring import Evidence
from fullcircle.types.needs import Need
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Silent
from fullcircle.types.splits import Split, Step, Variant
from needed import dead
from sample_models import archive
from serving import contract

TEXT = tree(circles.PLAIN).replace('fc.at_most("mae", 5),\n        fc.beats("champion"),', 'fc.at_most("mae", 3),')
HOUR = 1 / 24


def _waiting(found: Played) -> int:
    """A version that a person has to approve."""
    with found.session() as session:
        source = with_params(loaded(found.project), {"max_depth": "4"})
        trained = train.train_in(session, source)
        draft = drafts.of_run(session, trained.run)
        return package.package_in(
            session, source, draft, trained.report_digest, trained.report, approve="person"
        ).version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Champion 1, a challenger 2 that passed, 3 that did not, and 4 that waits for approval."""
    found = played(tmp_path_factory.mktemp("splits"), TEXT)
    assert found.make() == 1
    assert found.make(promoted=False, max_depth="3") == 2
    assert found.make(promoted=False, min_samples_leaf="1000") == 3
    assert _waiting(found) == 4
    return found


@pytest.fixture
def own(made: Played, tmp_path: Path) -> Played:
    """The same in a workspace of its own."""
    shutil.copytree(made.settings.workspace, tmp_path / "workspace")
    if (made.project.parent.parent / "config").exists():
        shutil.copytree(made.project.parent.parent / "config", tmp_path / "config")
    return replace(made, settings=circles.unbegun(tmp_path))


class Notes(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def served(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session.workspace.served.read_bytes())["models"]["houses"]
    return found


def facts(session: Session, kind: str) -> list[Fact]:
    return list(session.workspace.ledger.facts(kind))


def canary(session: Session, version: int = 2, **more: Any) -> Split:
    wanted = {"shares": ("5%", "25%", "100%"), "bake": "1h", "least": 50, **more}
    return splitting.start_in(session, "houses", kind="canary", version=version, **wanted)


def counted(
    session: Session,
    version: int,
    day: float,
    *,
    requests: int,
    rejected: int = 0,
    fallback: int = 0,
    neither: int = 0,
    slow: int = 3,
) -> None:
    """What servers count of a version at a time; ``slow`` is the bucket of how long its requests took."""
    histogram = Histogram()
    histogram.buckets[slow] = requests
    verdicts = {"ok": requests - rejected - fallback, "rejected": rejected, "fallback": fallback}
    line = Line(
        since=iso(START + int(day * DAY)),
        seconds=60.0,
        number=0,
        model="houses",
        version=version,
        requests={200: histogram},
        verdicts=verdicts,
        neither=neither,
    )
    assert RequestLog(session.workspace.predictions).add([line])


@contextmanager
def refused(kind: type[FullcircleError], text: str, session: Session) -> Iterator[None]:
    before = session.workspace.ledger.state().seq
    with pytest.raises(kind, match=text):
        yield
    assert session.workspace.ledger.state().seq == before


class TestBeginning:
    def test_a_canary_is_a_fact_and_stands_in_the_served_file(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session, entity=("rooms", "area"))
            (fact,) = facts(session, "split.started")
            assert started(fact) == split
            assert (split.champion, split.version, split.variant) == (1, 2, Variant(version=2, high=500))
            entry = served(session)
            assert entry["version"] == 1
            assert entry["split"] == {"id": split.id, "salt": split.salt, "entity": ["rooms", "area"]}
            (other,) = entry["others"]
            assert (other["version"], other["low"], other["high"]) == (2, 0, 500)
            assert Path(other["path"]).exists()
            assert split_status.status_in(session, "houses").split == split

    def test_who_may_not_be_champion_may_not_answer_callers_but_may_be_a_shadow(self, own: Played) -> None:
        with own.session() as session:
            for kind, shares in (("canary", ("5%", "100%")), ("split", ("50%",))):
                with refused(GateFailed, "did not pass its gates", session):
                    splitting.start_in(session, "houses", kind=kind, shares=shares, version=3)  # type: ignore[arg-type]
                with refused(ApprovalMissing, "approved by a person", session):
                    splitting.start_in(session, "houses", kind=kind, shares=shares, version=4)  # type: ignore[arg-type]
            split = splitting.start_in(session, "houses", kind="shadow", version=3)
            assert split.variant == Variant(version=3, shadow=True)
            (other,) = served(session)["others"]
            assert (other["version"], other["shadow"]) == (3, True)
            assert "high" not in other

    def test_one_split_at_a_time_of_a_version_that_is_there_and_is_not_the_champion(self, own: Played) -> None:
        with own.session() as session:
            with refused(VersionNotFound, "is the champion itself", session):
                canary(session, 1)
            with refused(VersionNotFound, "no version 9", session):
                canary(session, 9)
            with refused(SettingInvalid, "no such column", session):
                canary(session, entity=("rooms", "customer"))
            canary(session)
            with refused(StateConflict, "has a split already, with version 2", session):
                splitting.start_in(session, "houses", kind="shadow", version=3)
            splitting.end_in(session, "houses", "enough")
            assert "split" not in served(session)
            assert "others" not in served(session)
            with refused(StateConflict, "no split to end", session):
                splitting.end_in(session, "houses", "again")
            splitting.start_in(session, "houses", kind="shadow", version=3)

    @pytest.mark.parametrize(
        ("kind", "shares"),
        [
            ("canary", ()),
            ("canary", ("5%", "5%")),
            ("canary", ("25%", "5%")),
            ("canary", ("0%", "5%")),
            ("canary", ("100%",)),
            ("canary", ("5%", "101%")),
            ("canary", ("5", "100%")),
            ("canary", ("-5%", "100%")),
            ("canary", ("0.001%", "100%")),
            ("canary", ("1e1%",)),
            ("split", ("100%",)),
            ("split", ("20%", "30%")),
        ],
    )
    def test_shares_that_are_none_are_refused(self, own: Played, kind: Any, shares: tuple[str, ...]) -> None:
        with own.session() as session, refused(SettingInvalid, "no shares", session):
            splitting.start_in(session, "houses", kind=kind, shares=shares, version=2)

    def test_what_shares_may_be_is_said_as_it_is(self, own: Played) -> None:
        with own.session() as session, pytest.raises(SettingInvalid, match="no shares") as caught:
            canary(session, shares=("5", "25", "100"))
        assert caught.value.received == "5, 25, 100"
        assert "percentages with their sign" in str(caught.value.allowed)
        assert "the last of which may be 100%" in str(caught.value.allowed), "5%,25% is a canary too"

    def test_a_version_of_before_there_was_a_champion_is_told_so(self, own: Played) -> None:
        with own.session() as session:
            promote_in(session, "houses", 2, "it is better")
            with refused(StateConflict, "was judged while there was no champion, and now it is 2", session):
                canary(session, 1)

    def test_a_bake_time_that_is_none_is_refused(self, own: Played) -> None:
        with own.session() as session, refused(SettingInvalid, "bake time", session):
            canary(session, bake="soon")


class TestSteps:
    def test_they_come_after_the_bake_time_and_the_last_is_the_promotion(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            counted(session, 2, 0.1 * HOUR, requests=60)
            counted(session, 1, 0.1 * HOUR, requests=1000)
        with own.session(0.9 * HOUR) as session:
            assert splitting.turn_in(session, "houses") == ""
        with own.session(1.1 * HOUR) as session:
            assert "25%" in splitting.turn_in(session, "houses")
            assert served(session)["others"][0]["high"] == 2500
            assert served(session)["split"]["id"] == split.id
            assert splitting.turn_in(session, "houses") == ""  # the step has just begun
            counted(session, 2, 1.2 * HOUR, requests=60)
        with own.session(2.2 * HOUR) as session:
            assert "promoted" in splitting.turn_in(session, "houses")
            assert session.workspace.ledger.state().champions["houses"] == 2
            entry = served(session)
            assert entry["version"] == 2
            assert "others" not in entry
            (promoted,) = facts(session, "version.promoted")[-1:]
            assert (promoted.body["version"], promoted.body["trigger"]) == (2, "canary")
            (moved,) = facts(session, "split.moved")
            assert (moved.body["place"], moved.body["share"], moved.body["requests"]) == (1, 2500, 60)
            (ended,) = facts(session, "split.ended")
            assert ended.body["action"] == "promoted"
            assert splitting.turn_in(session, "houses") == ""
            assert "promoted" in split_status.status_in(session, "houses").text

    def test_how_long_it_takes_beside_the_champion_stands_in_the_step_and_in_the_promotion(self, own: Played) -> None:
        """What is slower, and within what is nobody's harm, is promoted all the same; but not without a word."""
        with own.session() as session:
            canary(session)
            counted(session, 2, 0.1 * HOUR, requests=60, slow=SECONDS.index(0.1))
            counted(session, 1, 0.1 * HOUR, requests=1000, slow=SECONDS.index(0.005))
        words = "half of its requests took at most 100 ms, half of the champion's at most 5 ms"
        with own.session(0.5 * HOUR) as session:
            assert f"it answered 60 requests, 60 of which count for this step; {words}. " in (
                split_status.status_in(session, "houses").text
            )
        with own.session(1.1 * HOUR) as session:
            assert splitting.turn_in(session, "houses").endswith(f"gets 25% from now on; {words}")
            (moved,) = facts(session, "split.moved")
            assert (moved.body["p50"], moved.body["champion_p50"]) == (0.1, 0.005)
            counted(session, 2, 1.2 * HOUR, requests=60, slow=SECONDS.index(1.0))
        with own.session(2.2 * HOUR) as session:
            assert splitting.turn_in(session, "houses")
            (promoted,) = facts(session, "version.promoted")[-1:]
            told = "the canary went well: 5%, 25%, 100%; half of its requests took at most 1 s"
            assert promoted.body["reason"] == facts(session, "decision.taken")[-1].body["reason"] == told

    def test_what_took_longer_than_all_bounds_has_no_figure(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session, bake="0s", least=1)
            counted(session, 2, HOUR, requests=3, slow=len(SECONDS))
        with own.session(HOUR) as session:
            assert splitting.both_seen(session, split)[0].p50 is None
            assert splitting.turn_in(session, "houses").endswith("gets 25% from now on")
            assert not facts(session, "split.moved")[0].body.keys() & {"p50", "champion_p50"}

    def test_without_requests_no_step_comes(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
        with own.session(50 * HOUR) as session:
            assert splitting.turn_in(session, "houses") == ""
            assert "25%: not before" in split_status.status_in(session, "houses").text
            counted(session, 2, 49 * HOUR, requests=49)
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 49.1 * HOUR, requests=1)
            assert splitting.turn_in(session, "houses")

    def test_requests_of_the_step_before_count_for_no_later_step(self, own: Played) -> None:
        second = 1 / 86_400
        with own.session() as session:
            canary(session, bake="0s", least=50)
        with own.session(30 * second) as session:
            counted(session, 2, 0.0, requests=400)  # the line of the minute in which the first step began
            assert "25%" in splitting.turn_in(session, "houses")
        for at in (31, 59):
            with own.session(at * second) as session:
                assert splitting.turn_in(session, "houses") == "", "nobody was answered in this step"
                found = split_status.status_in(session, "houses")
                assert "it answered 400 requests, 0 of which count for this step" in found.text
                assert found.version is not None
                assert (found.answered, found.version.requests) == (400, 0)
        with own.session(100 * second) as session:
            counted(session, 2, 60 * second, requests=49)
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 60 * second, requests=1)
            assert "promoted" in splitting.turn_in(session, "houses")
            assert [fact.body["requests"] for fact in facts(session, "split.moved")] == [400]

    def test_a_split_has_no_steps_and_all_that_its_version_answered_counts(self, own: Played) -> None:
        """Also in the minute in which it began, and after an experiment moved its share."""
        second = 1 / 86_400
        with own.session(30 * second) as session:
            counted(session, 2, -31 * second, requests=9)  # before it began
            split = splitting.start_in(session, "houses", kind="split", shares=("50%",), version=2)
            counted(session, 2, 0.0, requests=300)
        with own.session(130 * second) as session:
            counted(session, 2, 120 * second, requests=200)
            splitting.move_in(session, split, 7500)
            found = split_status.status_in(session, "houses")
            assert "it answered 500 requests" in found.text
            assert "count for this step" not in found.text
            assert found.version is not None
            assert (found.answered, found.version.requests) == (500, 500)

    def test_what_it_did_wrong_a_moment_before_the_step_still_tells_against_it(self, own: Played) -> None:
        second = 1 / 86_400
        with own.session() as session:
            canary(session, bake="0s", least=50)
            counted(session, 2, 0.0, requests=60)
            counted(session, 1, 0.0, requests=1000)
        with own.session(30 * second) as session:
            assert "25%" in splitting.turn_in(session, "houses")
            counted(session, 2, 0.0, requests=60, rejected=60)  # the rest of that minute
        with own.session(31 * second) as session:
            assert "60 of 120 rows" in splitting.turn_in(session, "houses")
            assert facts(session, "split.ended")[0].body["action"] == "rolled_back"

    def test_who_takes_a_step_is_said_from_the_beginning(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
            found = split_status.status_in(session, "houses").text
            assert "fullcircle serve takes that step, or fullcircle monitor PROJECT --every 10m" in found
            assert "the server of a deployment alone does not" in found

    def test_a_canary_that_does_not_end_at_100_stays(self, own: Played) -> None:
        with own.session() as session:
            canary(session, shares=("5%", "10%"))
            counted(session, 2, 0.0, requests=500)
        with own.session(2 * HOUR) as session:
            assert splitting.turn_in(session, "houses")
            counted(session, 2, 2 * HOUR, requests=500)
        with own.session(9 * HOUR) as session:
            assert splitting.turn_in(session, "houses") == ""
            assert "stays at this share" in split_status.status_in(session, "houses").text

    def test_two_processes_that_take_the_same_turn_take_it_once(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            counted(session, 2, 0.0, requests=500)
        with own.session(1.5 * HOUR) as session, own.session(1.5 * HOUR) as other:
            assert other.workspace.ledger.state().splits["houses"] == split
            told = Notes()
            other = replace(other, progress=told)
            splitting.turn_in(session, "houses")
            # The other one decided on what it saw before, and says nothing of what it did not do.
            assert splitting._onward(other, split) == ""
            assert len(facts(session, "split.moved")) == 1
            assert "promoted" in splitting._promoted(session, replace(split, place=1))
            assert splitting._promoted(other, replace(split, place=1)) == ""
            assert splitting._end(other, split, "rolled_back", "it hung") == ""
            assert told.notes == []
            assert len(facts(session, "version.promoted")) == 2  # of version 1 and of version 2
            assert len(facts(session, "split.ended")) == 1
            assert facts(session, "split.ended")[0].body["action"] == "promoted"

    def test_the_gates_have_the_last_word(self, own: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        with own.session() as session:
            split = canary(session, shares=("5%", "100%"))
            counted(session, 2, 0.0, requests=500)
            run = session.workspace.ledger.state().versions["houses"][2].run
            bad = session.workspace.ledger.state().versions["houses"][3].report
            session.record("report.recorded", model="houses", run=run, report=bad, passed=False, champion=1)
        with own.session(1.5 * HOUR) as session:
            assert "may not be promoted" in splitting.turn_in(session, "houses")
            assert session.workspace.ledger.state().champions["houses"] == 1
            assert facts(session, "split.ended")[0].body["action"] == "rolled_back"
            assert split.id == facts(session, "split.ended")[0].body["split"]

    @pytest.mark.parametrize("came", ["harm", "end"])
    def test_what_comes_while_the_promotion_is_made_ready_is_heard(self, own: Played, came: str) -> None:
        """That may take minutes: an environment is built. The bundle is the first thing that it looks at."""
        with own.session() as session:
            split = canary(session, shares=("5%", "100%"))
            counted(session, 2, 0.0, requests=500)

        class Slow:
            """The workspace's blobs, read while something else happens."""

            def __getattr__(self, name: str) -> Any:
                return getattr(session.workspace.blobs, name)

            def get(self, digest: str) -> bytes:
                if came == "harm":
                    trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it hung"))
                elif "houses" in session.workspace.ledger.state().splits:
                    splitting.end_in(session, "houses", "by hand")
                return session.workspace.blobs.get(digest)

        with own.session(1.5 * HOUR) as session:
            other = replace(session, workspace=replace(session.workspace, blobs=Slow()))  # type: ignore[arg-type]
            assert splitting.turn_in(other, "houses") == (
                "the split of houses with version 2: rolled back, it hung" if came == "harm" else ""
            )
            assert session.workspace.ledger.state().champions["houses"] == 1
            (ended,) = facts(session, "split.ended")
            assert ended.body["action"] == ("rolled_back" if came == "harm" else "ended")


class TestHarm:
    def test_a_breaker_that_opened_in_a_server_becomes_a_fact(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it hung", 90, 40))
            waits = split_status.status_in(session, "houses").text
            assert (
                "It is asked no more: it hung. The next turn takes it back. fullcircle serve takes a turn, or"
                in waits
            )
            assert "Then comes" not in waits
            assert "rolled back, it hung" in splitting.turn_in(session, "houses")
            (ended,) = facts(session, "split.ended")
            assert (ended.body["action"], ended.body["reason"], ended.body["version"]) == (
                "rolled_back",
                "it hung",
                2,
            )
            assert "others" not in served(session)
            assert session.workspace.ledger.state().champions["houses"] == 1
            found = split_status.status_in(session, "houses")
            assert (found.split, found.ended, found.reason) == (None, "rolled_back", "it hung")

    def test_a_file_that_cannot_be_read_is_no_reason_to_go_on(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            (session.folder("splits") / f"{split.id}.json").write_text("{")
            assert "cannot be read" in splitting.turn_in(session, "houses")

    @pytest.mark.parametrize("kind", ["rejected", "fallback"])
    def test_a_version_that_leaves_its_rows_unanswered_is_taken_back(self, own: Played, kind: str) -> None:
        with own.session() as session:
            canary(session)
            counted(session, 1, 0.0, requests=2000, rejected=20)
            counted(session, 2, 0.0, requests=100, **{kind: 2})
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 0.0, requests=100, **{kind: 40})
            assert "42 of 200 rows; the champion 20 of 2,000" in splitting.turn_in(session, "houses")
            assert facts(session, "split.ended")[0].body["action"] == "rolled_back"

    def test_what_the_champion_rejects_as_well_is_not_its_fault(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
            counted(session, 1, 0.0, requests=2000, rejected=600)
            counted(session, 2, 0.0, requests=200, rejected=70)
            assert splitting.turn_in(session, "houses") == ""

    def test_a_client_whose_rows_neither_would_answer_takes_nothing_back(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
            counted(session, 1, 0.0, requests=2000, rejected=0)
            counted(session, 2, 0.0, requests=200, rejected=100, neither=100)
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 0.0, requests=200, rejected=60, neither=30)
            told = splitting.turn_in(session, "houses")
            assert "160 of 400 rows, 130 of which the champion would not have answered either; the champion 0" in told

    def test_more_that_neither_would_answer_than_was_left_unanswered_tells_nothing(self, own: Played) -> None:
        """Servers count the one before the other, and a look may come between."""
        with own.session() as session:
            canary(session)
            counted(session, 1, 0.0, requests=2000)
            counted(session, 2, 0.0, requests=200, rejected=10, neither=30)
            assert splitting.turn_in(session, "houses") == ""

    def test_what_neither_would_answer_makes_the_rest_no_cheaper(self, own: Played) -> None:
        """Twice the champion's share in all, as where nothing is known of single rows."""
        with own.session() as session:
            canary(session)
            counted(session, 1, 0.0, requests=2000, rejected=200)
            counted(session, 2, 0.0, requests=400, rejected=80, neither=40)
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 0.0, requests=400, rejected=160, neither=40)
            assert "rolled back" in splitting.turn_in(session, "houses")

    def test_realised_losses_that_grow_take_it_back(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            with Journal(session.folder("monitoring") / "houses.db") as journal, journal.step():
                for kind, fired in (("drift", True), ("risk", False)):
                    said = Evidence(kind=kind, level=9.0, threshold=1.0, fired=fired)  # type: ignore[arg-type]
                    entry = Entry(version=2, start=START, stop=START + 1000, judged=True, evidence=(said,), rows=1)
                    journal.keep(entry)
            assert splitting.harm_of(session, split) == ""
            with Journal(session.folder("monitoring") / "houses.db") as journal, journal.step():
                said = Evidence(kind="risk", level=9.0, threshold=1.0, fired=True)
                journal.keep(
                    Entry(
                        version=2, start=START, stop=START + 2000, judged=True, evidence=(said,), rows=1, name="late"
                    )
                )
            assert "realised losses grew" in splitting.turn_in(session, "houses")

    def test_another_champion_ends_it(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
            promote_in(session, "houses", 2, "by hand")
            assert "others" not in served(session)  # at once, before any turn
            assert "promoted" in splitting.turn_in(session, "houses")
            assert facts(session, "split.ended")[0].body["action"] == "promoted"

    def test_a_challenger_whose_bundle_is_lost_keeps_nobody_from_being_served(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
            digest = session.workspace.ledger.state().versions["houses"][2].bundle
            (session.folder("bundles") / f"{digest}.zip").unlink()
            session.workspace.erase(digest, "lost")
            assert "Nobody asks it" not in split_status.status_in(session, "houses").text
            write_served(session)
            assert served(session)["version"] == 1
            assert "others" not in served(session)
            told = split_status.status_in(session, "houses").text
            assert "Nobody asks it: " in told
            assert "lost" in told or "missing" in told or "deleted" in told, told
            splitting.end_in(session, "houses", "its bundle is lost")
            shadow = splitting.start_in(session, "houses", kind="shadow", version=3)
            session.workspace.served.unlink()
            assert "served.json does not name it" in split_status.status_in(session, "houses").text
            write_served(session)
            assert split_status.status_in(session, "houses").split == shadow
            assert "asks it" not in split_status.status_in(session, "houses").text

    def test_a_line_says_what_is_on_and_how_the_last_one_ended(self, own: Played) -> None:
        began = "since 2026-03-01T00:00:00"
        with own.session() as session:

            def line() -> str:
                return split_status.line(session, "houses")

            assert line() == ""
            splitting.start_in(session, "houses", kind="shadow", version=3)
            assert line() == f"shadow of version 3 {began}; see: fullcircle deploy houses --status"
            splitting.end_in(session, "houses", "enough")
            assert line() == "the last split, with version 3, ended at 2026-03-01T00:00:00: ended, enough"
            split = canary(session)
            assert line().startswith(f"canary of version 2 {began}, which gets 5%; see: ")
            path = trips.path_of(session.folder(trips.FOLDER), split.id)
            path.mkdir()
            assert "its breaker opened, and the file that says why cannot be read" in line()
            assert "the file that says why cannot be read" in split_status.status_in(session, "houses").text
            path.rmdir()
            trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it hung"))
            assert f"version 2 {began}, which is asked no more: it hung; see: " in line()
            splitting.turns_in(session)
            assert line().endswith("rolled back, it hung")
            split = splitting.start_in(session, "houses", kind="split", shares=("50%",), version=2)
            said: dict[str, Any] = {"model": "houses", "split": split.id, "version": 2, "metric": "mae"}
            session.record("experiment.started", plan="p" * 64, **said)
            more = "see: fullcircle experiment status houses"
            assert line() == f"experiment with a split of version 2 {began}, which gets 50%; {more}"
            splitting.end_in(session, "houses", "enough")

    def test_status_of_the_workspace_shows_it_and_no_decision_that_fills_its_column(self, own: Played) -> None:
        reason = f"version 2 is better:{20 * ' by a lot,'} as it seems"
        with own.session() as session:
            canary(session)
            promote_in(session, "houses", 2, reason)
            splitting.turns_in(session)
        circles.tables(own.settings.workspace / "mlflow.db")
        found = status(settings=own.settings)
        console = Console(width=200, file=(file := io.StringIO()))
        console.print(in_words(found))
        shown = " ".join(file.getvalue().split())
        line = "the last split, with version 2, ended at 2026-03-01T00:00:00: promoted"
        assert found.models[0].split == line
        assert f"houses, {line} " in shown
        assert "promote: see below" in shown
        assert f"houses, last decision: promote: {reason}" in shown

    def test_turns_of_all_splits_go_on_where_one_cannot(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it died"))
            splitting.turns_in(session, "another")
            assert not facts(session, "split.ended")
            splitting.turns_in(session)
            assert len(facts(session, "split.ended")) == 1

    def test_monitoring_goes_on_where_a_version_of_before_is_lost(self, own: Played) -> None:
        """served.json cannot be written anew then, which is told: what monitoring found is not lost by that."""
        with own.session(7.0) as session:
            promote_in(session, "houses", 2, "it is better")
            digest = session.workspace.ledger.state().versions["houses"][1].bundle
            session.workspace.blobs.delete(digest)
            (session.folder("bundles") / f"{digest}.zip").unlink()
        told = Notes()
        window = monitor.monitor(own.project, settings=own.settings, progress=told)
        assert window.version == 2
        assert any("served.json" in note for note in told.notes), told.notes

    def test_a_disk_that_cannot_be_read_ends_neither_a_turn_nor_a_server(self, own: Played) -> None:
        """It may be so for a moment: nothing is decided by it, and ``serve`` goes on as it is."""
        with own.session() as session:
            split = canary(session)
            path = trips.path_of(session.folder(trips.FOLDER), split.id)
            path.mkdir()
            told = Notes()
            splitting.turns_in(replace(session, progress=told))
            assert any("cannot go on at the moment" in note for note in told.notes), told.notes
            assert session.workspace.ledger.state().splits["houses"] == split
            path.rmdir()
            session.workspace.served.unlink()
            session.workspace.served.mkdir()
            told = Notes()
            first = serve._caught_up(replace(session, progress=told), "")
            assert serve._caught_up(replace(session, progress=told), first) == first != ""
            assert len(told.notes) == 1, "told once"

    @pytest.mark.parametrize("kind", ["split.started", "split.moved", "split.ended"])
    def test_a_turn_catches_up_what_a_process_that_died_left_behind(self, own: Played, kind: str) -> None:
        with own.session() as session:
            split = None if kind == "split.started" else canary(session, least=0)
            before = session.workspace.served.read_bytes()
            if kind == "split.started":
                split = canary(session, least=0)
            elif kind == "split.moved":
                assert split is not None
                splitting.move_in(session, split, 2500)
            else:
                splitting.end_in(session, "houses", "enough")
            after = session.workspace.served.read_bytes()
            assert before != after
            session.workspace.served.write_bytes(before)  # as if it had died after the fact
            splitting.turns_in(session, "houses")
            assert session.workspace.served.read_bytes() == after


def test_a_promotion_that_was_cut_off_is_followed_by_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary's last step died after the fact: the server still runs in the environment of the champion before."""
    monkeypatch.setenv("FULLCIRCLE_ENVIRONMENTS", str(tmp_path / "environments"))
    with opened(circles.unbegun(tmp_path)) as session, subprocess.Popen(["sleep", "60"]) as server:
        try:
            champion(session, archive(1, "houses", compiled=True), proof=session.keep(proof_in("one")))
            answering(session, server.pid, f"http://127.0.0.1:{dead()}")
            split = Split(id="a" * 16, model="houses", kind="canary", champion=1, version=2, salt="s",
                          steps=(Step(share=500, bake=60.0), Step(share=10_000, bake=60.0)))  # fmt: skip
            session.record("split.started", **body(split))
            second = champion(session, archive(2, "houses", compiled=True), 2, proof=session.keep(proof_in("two")))
            second.write_text("#!/bin/sh\necho 'no module named numpy' >&2\nexit 3\n")
            told = Notes()
            splitting.turns_in(replace(session, progress=told))
            assert any("champion now, but no new server took over" in note for note in told.notes), told.notes
            (ended,) = facts(session, "split.ended")
            assert ended.body["action"] == "promoted"
            splitting.turns_in(session)
            assert len(facts(session, "split.ended")) == 1, "it is not tried again each second"
        finally:
            server.kill()


class Trying(Notes):
    """Counts also how often what a version needs was asked for, which is done at each try of its promotion."""

    tries = 0

    def step(self, name: str, detail: str = "") -> None:
        self.tries += name == "needs"


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Session, Trying, Path]]:
    """A ripe canary in a played workspace, whose version needs a file that is not there (the path)."""
    monkeypatch.setenv("FULLCIRCLE_ENVIRONMENTS", str(tmp_path / "environments"))
    settings, told, file = circles.unbegun(tmp_path), Trying(), tmp_path / "file"
    settings.workspace.mkdir(parents=True)
    clock.put(settings.workspace, START)
    with opened(settings, progress=told) as session, subprocess.Popen(["sleep", "600"]) as server:
        try:
            for number, wanted in ((2, (Need(name="file", kind="file", at=str(file)),)), (1, ())):
                data = archive(number, "houses", wanted, compiled=True)
                champion(session, data, number, proof=session.keep(proof_in(proofs.key(open_bundle(data)))))
            answering(session, server.pid, f"http://127.0.0.1:{dead()}")
            split = Split(id="a" * 16, model="houses", kind="canary", champion=1, version=2, salt="s", least=0,
                          steps=(Step(share=500, bake=60.0), Step(share=10_000, bake=60.0)))  # fmt: skip
            session.record("split.started", **body(split))
            clock.put(settings.workspace, START + 60_000_000)
            yield session, told, file
        finally:
            server.kill()


def look(session: Session, patience: Patience, seconds: float = 0.0) -> None:
    """What ``serve`` does every second, so many seconds later on the workspace's clock."""
    clock.put(session.workspace.root, clock.micros() + round(seconds * 1e6))
    assert serve._caught_up(session, "", patience) == ""


class TestPatience:
    def test_a_step_that_cannot_be_taken_is_tried_ever_less_often_and_told_once(
        self, stuck: tuple[Session, Trying, Path]
    ) -> None:
        session, told, file = stuck
        patience = Patience(lambda: 0.0)
        at: list[int] = []
        for second in range(1000):
            before = told.tries
            look(session, patience, 1.0)
            if told.tries != before:
                at.append(second)
        waits = [after - before for before, after in pairwise(at)]
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
        notes = [note for note in told.notes if "cannot go on" in note]
        assert notes == [
            "the split of houses cannot go on at the moment: houses needs what is not there: file",
        ]
        file.touch()
        look(session, patience, LATEST)
        assert facts(session, "split.ended"), "what it lacked is there, and it is no longer held up"

    def test_a_clock_that_stands_still_keeps_nothing_waiting_for_ever(
        self, stuck: tuple[Session, Trying, Path]
    ) -> None:
        session, told, _ = stuck
        machine = [7.0]
        patience = Patience(lambda: machine[0])
        for passed, tries in ((0.0, 1), (0.9, 1), (0.2, 2), (1.9, 2), (0.2, 3)):
            machine[0] += passed
            look(session, patience)
            assert told.tries == tries
        clock.put(session.workspace.root, START + 60_000_000 - 1)  # as if the clock were set back: not ripe
        look(session, patience)
        clock.put(session.workspace.root, START + 60_000_000)
        machine[0] += 4.1
        look(session, patience)
        assert told.tries == 4

    def test_a_fact_begins_anew_and_one_about_files_of_the_log_does_not(
        self, stuck: tuple[Session, Trying, Path]
    ) -> None:
        session, told, _ = stuck
        patience = Patience(lambda: 0.0)
        for _ in range(8):
            look(session, patience, LATEST)
        assert told.tries == 8
        session.record("segment.closed", workspace=session.workspace.id, model="houses", segment="s", rows=1,
                       first="", last="", torn=0, bytes=1, digest="b" * 64)  # fmt: skip
        look(session, patience)
        assert told.tries == 8
        session.record("bundle.built", model="houses", run="r" * 32, bundle="b" * 64, bytes=1)
        look(session, patience)
        look(session, patience)
        assert told.tries == 9
        look(session, patience, 1.0)
        assert told.tries == 10, "it waits a second again, not five minutes"
        assert len([note for note in told.notes if "cannot go on" in note]) == 1

    def test_harm_takes_a_version_back_at_once_however_long_its_step_waits(
        self, stuck: tuple[Session, Trying, Path]
    ) -> None:
        session, told, _ = stuck
        patience = Patience(lambda: 0.0)
        for _ in range(8):
            look(session, patience, LATEST)
        trips.write(session.folder(trips.FOLDER), trips.Trip("a" * 16, 2, "it died"))
        look(session, patience)
        (ended,) = facts(session, "split.ended")
        assert (ended.body["action"], ended.body["reason"], told.tries) == ("rolled_back", "it died", 8)

    def test_another_cause_is_told_and_so_is_the_first_one_when_it_comes_back(
        self, stuck: tuple[Session, Trying, Path]
    ) -> None:
        session, told, _ = stuck
        patience = Patience(lambda: 0.0)
        look(session, patience)
        path = trips.path_of(session.folder(trips.FOLDER), "a" * 16)
        path.mkdir()
        for _ in range(3):
            look(session, patience, 1.0)
        path.rmdir()
        for _ in range(3):
            look(session, patience, 10.0)
        causes = [note.split("at the moment: ")[1] for note in told.notes if "cannot go on" in note]
        assert len(causes) == 3
        assert causes[0] == causes[2] != causes[1]


CLASSES = contract(task="classification", classes=("no", "yes"))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (contract(), "regression"),
        (replace(CLASSES, classes=("yes", "no")), 'classification of "yes", "no"'),
        (replace(CLASSES, classes=("no", "unsure", "yes")), 'classification of "no", "unsure", "yes"'),
        (replace(CLASSES, classes=("no",)), 'classification of "no"'),
    ],
)
def test_a_version_that_answers_another_question_is_refused(other: Contract, text: str) -> None:
    with pytest.raises(
        SettingInvalid, match="version 2 of m gives other answers than the champion, version 1"
    ) as found:
        split_terms.check_alike("m", {1: CLASSES, 2: other})
    assert (found.value.received, found.value.allowed) == (text, 'classification of "no", "yes"')
    assert "fullcircle promote m --version 2" in (found.value.next_step or "")
    split_terms.check_alike("m", {1: CLASSES, 2: replace(CLASSES, prior="yes", context=("day",))})


@pytest.mark.parametrize(("one", "other"), [((0, 1), (False, True)), ((1, 2), (1.0, 2.0)), ((1, 2), ("1", "2"))])
def test_classes_of_another_kind_are_other_classes(one: Any, other: Any) -> None:
    usual, told = (contract(task="classification", classes=each) for each in (one, other))
    split_terms.check_alike("m", {1: usual, 2: usual})
    with pytest.raises(SettingInvalid, match="other answers"):
        split_terms.check_alike("m", {1: usual, 2: told})


def test_a_shadow_that_has_no_copy_of_a_row_is_seen(own: Played) -> None:
    with own.session() as session:
        split = splitting.start_in(session, "houses", kind="shadow", version=3)
        rows = [
            Prediction(
                value=1.0, verdict=Verdict(status="ok"), model="houses", version=1, split=split.id, propensity=1.0
            )
            for _ in range(10)
        ]
        with log.PredictionLog(session.workspace.predictions) as kept:
            ids = [one.id for one in kept.append([*rows, replace(rows[0], split="")])]
        copies = [replace(rows[0], version=3, of=id) for id in ids[:7]]
        with log.PredictionLog(session.folder(splitting.SHADOWS)) as kept:
            kept.append(copies)
        found = split_status.status_in(session, "houses")
        assert found.shadowed is not None
        assert (found.shadowed.rows, found.shadowed.lost) == (10, 3)
        assert "3 have no copy" in found.text
        assert splitting.turn_in(session, "houses") == ""


def test_a_split_reads_back_as_it_was_written_and_the_fold_keeps_the_last_end() -> None:
    split = Split(
        id="a" * 16,
        model="m",
        kind="canary",
        champion=1,
        version=2,
        salt="s",
        entity=("a,b", 'c"'),
        steps=(Step(share=500, bake=60.0), Step(share=10_000, bake=60.0)),
        least=7,
    )
    fact = Fact(
        seq=1, time="2026-01-01T00:00:00Z", actor="a", kind="split.started", body=body(split), previous="", hash=""
    )
    assert started(fact) == replace(split, since=fact.time, started=fact.time)
    from fullcircle.ledger.state import fold

    def more(seq: int, kind: str, **said: Any) -> Fact:
        return replace(fact, seq=seq, time=f"2026-01-01T00:00:0{seq}Z", kind=kind, body=said)

    moved = more(2, "split.moved", model="m", split=split.id, place=1)
    state: State = fold([fact, moved, more(3, "split.ended", model="m", split="another")])
    assert (state.splits["m"].place, state.splits["m"].since) == (1, moved.time)
    assert not state.split_ends
    ended = more(4, "split.ended", model="m", split=split.id)
    state = fold([fact, moved, ended, more(5, "split.moved", model="m", split=split.id, place=0)])
    assert not state.splits
    assert state.split_ends["m"] == ended
