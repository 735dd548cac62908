"""Splits in the ledger and in served.json: who may get traffic, when a step comes, and what takes a version back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import circles
from flows.played_models import DAY, START, Played, played
from fullcircle.errors import (
    ApprovalMissing,
    FullcircleError,
    GateFailed,
    SettingInvalid,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows import drafts, package, splitting, train
from fullcircle.flows.promote import promote_in
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.session import Session, loaded, with_params
from fullcircle.ledger.splits import body, started
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry, Journal
from fullcircle.tables import predictions as log
from fullcircle.tables.requests import Histogram, Line, RequestLog
from fullcircle.types.contract import Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.monitoring import Evidence
from fullcircle.types.prediction import Prediction
from fullcircle.types.splits import Split, Step, Variant

TEXT = circles.PLAIN.replace('fc.at_most("mae", 5),\n        fc.beats("champion"),', 'fc.at_most("mae", 3),')
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
    assert found.make(promoted=False, learning_rate="0.0001") == 3
    assert _waiting(found) == 4
    return found


@pytest.fixture
def own(made: Played, tmp_path: Path) -> Played:
    """The same in a workspace of its own."""
    shutil.copytree(made.settings.workspace, tmp_path / "workspace")
    if (made.project.parent.parent / "config").exists():
        shutil.copytree(made.project.parent.parent / "config", tmp_path / "config")
    return replace(made, settings=circles.unbegun(tmp_path))


def served(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session.workspace.served.read_bytes())["models"]["houses"]
    return found


def facts(session: Session, kind: str) -> list[Fact]:
    return list(session.workspace.ledger.facts(kind))


def canary(session: Session, version: int = 2, **more: Any) -> Split:
    wanted = {"shares": ("5%", "25%", "100%"), "bake": "1h", "least": 50, **more}
    return splitting.start_in(session, "houses", kind="canary", version=version, **wanted)


def counted(
    session: Session, version: int, day: float, *, requests: int, rejected: int = 0, fallback: int = 0
) -> None:
    """What servers count of a version at a time."""
    histogram = Histogram()
    histogram.buckets[3] = requests
    verdicts = {"ok": requests - rejected - fallback, "rejected": rejected, "fallback": fallback}
    line = Line(
        since=iso(START + int(day * DAY)),
        seconds=60.0,
        number=0,
        model="houses",
        version=version,
        requests={200: histogram},
        verdicts=verdicts,
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
            assert splitting.status_in(session, "houses").split == split

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
            assert "promoted" in splitting.status_in(session, "houses").text

    def test_without_requests_no_step_comes(self, own: Played) -> None:
        with own.session() as session:
            canary(session)
        with own.session(50 * HOUR) as session:
            assert splitting.turn_in(session, "houses") == ""
            assert "25%: not before" in splitting.status_in(session, "houses").text
            counted(session, 2, 49 * HOUR, requests=49)
            assert splitting.turn_in(session, "houses") == ""
            counted(session, 2, 49.1 * HOUR, requests=1)
            assert splitting.turn_in(session, "houses")

    def test_a_canary_that_does_not_end_at_100_stays(self, own: Played) -> None:
        with own.session() as session:
            canary(session, shares=("5%", "10%"))
            counted(session, 2, 0.0, requests=500)
        with own.session(2 * HOUR) as session:
            assert splitting.turn_in(session, "houses")
            counted(session, 2, 2 * HOUR, requests=500)
        with own.session(9 * HOUR) as session:
            assert splitting.turn_in(session, "houses") == ""
            assert "stays at this share" in splitting.status_in(session, "houses").text

    def test_two_processes_that_take_the_same_turn_take_it_once(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            counted(session, 2, 0.0, requests=500)
        with own.session(1.5 * HOUR) as session, own.session(1.5 * HOUR) as other:
            assert other.workspace.ledger.state().splits["houses"] == split
            splitting.turn_in(session, "houses")
            # The other one decided on what it saw before.
            splitting._onward(other, split)
            assert len(facts(session, "split.moved")) == 1
            splitting._promoted(session, replace(split, place=1))
            splitting._promoted(other, replace(split, place=1))
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


class TestHarm:
    def test_a_breaker_that_opened_in_a_server_becomes_a_fact(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            folder = session.folder("splits")
            (folder / f"{split.id}.json").write_text(
                json.dumps({"split": split.id, "version": 2, "reason": "it hung"})
            )
            assert "rolled back, it hung" in splitting.turn_in(session, "houses")
            (ended,) = facts(session, "split.ended")
            assert (ended.body["action"], ended.body["reason"], ended.body["version"]) == (
                "rolled_back",
                "it hung",
                2,
            )
            assert "others" not in served(session)
            assert session.workspace.ledger.state().champions["houses"] == 1
            found = splitting.status_in(session, "houses")
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
            write_served(session)
            assert served(session)["version"] == 1
            assert "others" not in served(session)

    def test_turns_of_all_splits_go_on_where_one_cannot(self, own: Played) -> None:
        with own.session() as session:
            split = canary(session)
            (session.folder("splits") / f"{split.id}.json").write_text(json.dumps({"reason": "it died"}))
            splitting.turns_in(session, "another")
            assert not facts(session, "split.ended")
            splitting.turns_in(session)
            assert len(facts(session, "split.ended")) == 1


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
        found = splitting.status_in(session, "houses")
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
