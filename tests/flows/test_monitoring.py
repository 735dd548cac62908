"""Turns of monitoring on a real version: every row and label counts once, in its batch, whatever happens between."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from circles import Circle
from flows.logbooks import HOUR, START, write
from fullcircle.flows import log as settling
from fullcircle.flows.counting import GRACE, Turn, count, with_rows
from fullcircle.flows.erase import erase
from fullcircle.flows.judging import judge, judge_entry, record, retire
from fullcircle.flows.monitor import monitor
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import GONE, KEPT, Entry, Journal
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.tables.outcomes import append_outcomes
from fullcircle.tables.predictions import read
from fullcircle.types import clock
from fullcircle.types.contract import Verdict
from fullcircle.types.monitoring import KINDS, Dependence
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Monitor, Project

MODEL = "houses"
EVERYWHERE = os.environ.get("FULLCIRCLE_KILLS") == "everywhere"
HOURLY = Monitor(false_alerts="1 per year", window="1h")
COUNTED = """
from fullcircle.monitoring.detectors.tilts import Tilts


class Counted(Tilts):
    name, code, built = "counted", "X900", 0

    def plan(self, reference, *, share):
        type(self).built += 1
        return super().plan(reference, share=share)
"""
SAMPLES: dict[Path, list[Prediction]] = {}


@dataclass
class Place:
    """A workspace with version 1 of the model, and nothing in its log."""

    session: Session
    settings: Settings
    project: Project
    good: list[Prediction]
    hot: list[Prediction]
    known: Counter[str] = field(default_factory=Counter)

    @property
    def home(self) -> Path:
        return self.session.workspace.predictions / MODEL

    @property
    def path(self) -> Path:
        return self.session.folder("monitoring") / f"{MODEL}.db"

    def log(self, n: int, first: int, last: int | None = None, *, hot: bool = False, name: str = "") -> list[str]:
        """Log n rows, evenly from one hour after the start to another."""
        step = 0.0 if last is None else (last - first) / n
        rows = [(self.hot if hot else self.good)[place % 100] for place in range(n)]
        return write(self.home, rows, [int(START + HOUR * (first + place * step)) for place in range(n)], name)

    def turn(self, hours: float, own: Monitor = HOURLY, *, delay: str = "0s", until: str = "") -> Turn:
        """Take one turn, so many hours after the start; all of it, or "count" or "judge" alone."""
        project = replace(self.project, monitor=own, label_delay=delay)
        with Journal(self.path) as journal:
            turn = Turn(session=self.session, project=project, journal=journal, now=int(START + hours * HOUR))
            count(turn)
            judge(turn)
            retire(turn)
            if until != "judge":
                record(turn)
            return turn

    def batches(self) -> list[tuple[int, int, int, bool]]:
        """Hour, rows, labelled and whether it was judged, of each batch."""
        with Journal(self.path) as journal:
            return [(_hour(each.start), each.rows, each.labelled, each.judged) for each in journal.entries()]

    def facts(self, kind: str) -> list[dict[str, Any]]:
        """The facts of a kind that were written since this place was made."""
        found = [dict(fact.body) for fact in self.session.workspace.ledger.facts() if fact.kind == kind]
        return found[self.known[kind] :]


def _hour(moment: int) -> int:
    return (moment - START) // HOUR


def _rows(circle: Circle) -> list[Prediction]:
    with opened(circle.settings, create=False) as session:
        return [row for row in read(session.workspace.predictions, MODEL) if row.value is not None and row.inputs]


@pytest.fixture
def place(circle: Circle, tmp_path: Path) -> Iterator[Place]:
    rows = SAMPLES.setdefault(circle.project, [])
    if not rows:
        rows += _rows(circle)
    away = shutil.ignore_patterns("predictions", "monitoring", "mlruns")
    shutil.copytree(Path(circle.settings["workspace"]), tmp_path / "workspace", ignore=away)
    rows = [replace(row, version=2) for row in rows]
    good = [row for row in rows if row.verdict.status == "ok"]
    hot = [row for row in rows if row.verdict.status == "flagged" and row.inputs and row.inputs["heat"] > 100]
    with _opened(tmp_path / "workspace", circle.settings) as (session, own):
        _replaced(session, 2)
        known = Counter(fact.kind for fact in session.workspace.ledger.facts())
        yield Place(session, own, loaded(circle.project).project, good, hot, known)


def _replaced(session: Session, version: int) -> None:
    """Make another version, which is like the first, the champion."""
    first = next(fact for fact in session.workspace.ledger.facts() if fact.kind == "version.registered")
    session.record("version.registered", **{**dict(first.body), "version": version})
    session.record("version.promoted", model=MODEL, version=version, previous=version - 1, reason="better")


@contextmanager
def _opened(root: Path, like: Settings) -> Iterator[tuple[Session, Settings]]:
    # A copy: checkpoints of the circle's own ledger know nothing of what is written here.
    config = root.parent / "config"
    if not config.exists():
        shutil.copytree(str(like["config"]), config)
    values: dict[str, str | None] = {"workspace": str(root), "config": str(config), "port": "0"}
    own = load_settings(values, folder=root.parent)
    with opened(own, create=False) as session:
        yield session, own


def _contents(place: Place) -> dict[str, Any]:
    """All that a journal holds, and the facts it led to, without the numbers of rows."""
    tables = ("segments", "ahead", "labels", "batches", "empties", "watches", "alarms", "outbox", "facts")
    base = sqlite3.connect(place.path)
    found: dict[str, Any] = {name: sorted(map(repr, base.execute(f"SELECT * FROM {name}"))) for name in tables}  # noqa: S608
    base.close()
    for kind in ("window.monitored", "alarm.raised", "alarm.resolved"):
        found[kind] = place.facts(kind)
    return found


def _label(place: Place, ids: Sequence[str], value: float | None, hour: float, minute: float = 0) -> None:
    time = iso(int(START + hour * HOUR + minute * 60_000_000))
    append_outcomes(place.home.parent, MODEL, [Outcome(prediction_id=each, value=value, time=time) for each in ids])


class TestNothingYet:
    def test_a_model_that_nobody_asked_yet_is_no_error_of_a_schedule(self, place: Place, circle: Circle) -> None:
        found = monitor(circle.project, settings=place.settings)
        assert (found.version, found.rows, found.batches, found.alarms) == (2, 0, 0, ())
        (said,) = [each.text for each in found.report.findings if each.code == "M006"]
        assert "nothing to see yet: no row of version 2 was logged" in said

    def test_a_quiet_window_of_a_model_that_was_asked_before_says_nothing_of_that(
        self, place: Place, circle: Circle
    ) -> None:
        place.log(10, 0, 1)
        place.turn(1.5)
        found = monitor(circle.project, settings=place.settings)
        assert all("nothing to see yet" not in each.text for each in found.report.findings)

    def test_while_no_batch_is_over_nothing_is_called_quiet(self, place: Place, circle: Circle) -> None:
        place.log(10, 0, 1)
        clock.put(place.session.workspace.root, START + HOUR)
        found = monitor(circle.project, settings=place.settings)
        assert (found.rows, found.batches, found.alarms) == (10, 0, ())
        assert found.waits == found.until > iso(START + HOUR)
        (drift,) = [each for each in found.report.findings if each.code == "M001"]
        assert (drift.severity, drift.text[:18]) == ("info", "Nothing judged yet")
        clock.put(place.session.workspace.root, START + 170 * HOUR)
        found = monitor(circle.project, settings=place.settings)
        assert (found.batches, found.waits) == (1, "")


class TestRows:
    def test_each_counts_once_in_the_hour_it_belongs_to(self, place: Place) -> None:
        place.log(30, 0, 3)
        turn = place.turn(3.0)
        assert place.batches() == [(0, 10, 0, True), (1, 10, 0, True), (2, 10, 0, False)]
        assert (turn.judged, turn.notes, turn.raised) == (2, [], [])
        before = _contents(place)
        assert place.turn(3.0).judged == 0
        assert _contents(place) == before, "a turn with nothing new changes nothing"
        place.turn(3.5)
        assert place.batches()[2] == (2, 10, 0, True)
        assert [each["rows"] for each in place.facts("window.monitored")] == [10, 10, 10]

    def test_a_batch_is_judged_a_minute_after_its_end_and_not_sooner(self, place: Place) -> None:
        place.log(10, 0, 1)
        assert place.turn(1 + (GRACE - 1) / HOUR).judged == 0
        assert place.turn(1 + GRACE / HOUR).judged == 1

    def test_what_comes_late_counts_in_the_batch_that_is_open(self, place: Place) -> None:
        place.log(10, 0, 1)
        place.turn(1.5)
        place.log(4, 0)
        turn = place.turn(1.6)
        assert place.batches() == [(0, 10, 0, True), (1, 4, 0, False)]
        assert turn.notes == ["4 rows came after their batch was judged; they count in the batch that is open now"]
        with Journal(place.path) as journal:
            assert [each.late for each in journal.entries()] == [0, 4]

    def test_what_lies_ahead_waits_for_one_batch_at_most(self, place: Place) -> None:
        place.log(3, 500)
        turn = place.turn(0.5)
        assert place.batches() == [(1, 3, 0, False)]
        assert turn.notes == ["3 rows have times that lie ahead: a clock is wrong, on this machine or on theirs"]
        place.turn(2.5)
        assert place.batches() == [(1, 3, 0, True)]

    def test_a_time_that_cannot_be_read_counts_now(self, place: Place) -> None:
        write(place.home, place.good[:2], ["noon", ""])
        place.turn(7.5)
        assert place.batches() == [(7, 2, 0, False)]

    def test_a_clock_that_went_back_is_told_and_nothing_is_lost(self, place: Place) -> None:
        place.log(10, 9, 10)
        place.turn(10.5)
        place.log(6, 2, 3)
        turn = place.turn(2.5)
        assert turn.notes[0].startswith("the clock of this machine went back")
        place.turn(3.5)
        assert (2, 6, 0, True) in place.batches()
        place.log(5, 11, 12)
        place.turn(12.5)
        assert sum(rows for _, rows, _, judged in place.batches() if judged) == 21

    def test_hours_without_rows_are_recorded_as_empty_and_change_no_evidence(self, place: Place) -> None:
        place.log(10, 0, 1)
        place.turn(1.5)
        with Journal(place.path) as journal:
            state = journal.state(2)
        place.turn(6.5)
        with Journal(place.path) as journal:
            assert [(_hour(start), _hour(stop)) for start, stop in journal.empties()] == [(1, 6)]
            assert journal.state(2) == state
        place.log(10, 6, 7)
        place.turn(7.5)
        assert [each[:2] for each in place.batches()] == [(0, 10), (6, 10)]

    def test_a_segment_that_is_gone_is_told_once(self, place: Place) -> None:
        place.log(10, 0, 1, name="a" * 16)
        place.turn(0.5)
        (place.home / f"{'a' * 16}.jsonl").unlink()
        assert place.turn(1.5).notes == [
            "1 segments of the log are gone; what was not counted of them by then never will be"
        ]
        assert place.turn(1.6).notes == []
        assert place.batches() == [(0, 10, 0, True)]
        with Journal(place.path) as journal:
            assert journal.places()["a" * 16][1] == GONE

    def test_compaction_and_erasure_between_two_turns_change_no_count(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settling, "SMALLEST", 1)
        ids = place.log(20, 0, 2)
        place.turn(0.5)
        assert settling.settle(settings=place.settings).compacted == 1
        assert not list(place.home.glob("*.jsonl"))
        place.turn(1.5)
        assert place.batches() == [(0, 10, 0, True), (1, 10, 0, False)]
        erase(MODEL, ids=[ids[0], ids[15]], reason="asked for", settings=place.settings)
        place.log(5, 1, 2)
        place.turn(2.5)
        assert place.batches() == [(0, 10, 0, True), (1, 15, 0, True)]

    def test_rows_of_a_version_that_nobody_knows_are_told_and_left_out(self, place: Place) -> None:
        write(place.home, [replace(row, version=9) for row in place.good[:3]], [START, START, START])
        assert place.turn(1.5).notes == ["rows of version 9 are not monitored: this workspace knows no such version"]
        assert place.batches() == []

    def test_a_feature_that_vanishes_from_requests_is_an_alarm(self, place: Place) -> None:
        without = [replace(row, inputs={**(row.inputs or {}), "heat": None}) for row in place.good]
        for hour in range(3):
            write(place.home, without[:60], [START + hour * HOUR] * 60)
        place.turn(3.5)
        with Journal(place.path) as journal:
            (alarm,) = journal.alarms()
        assert "heat" in {suspect.feature for suspect in alarm.suspects}

    def test_rejections_only_are_counted_as_verdicts(self, place: Place) -> None:
        refused = Prediction(value=None, verdict=Verdict(status="rejected"), model=MODEL, version=2)
        write(place.home, [refused] * 5, [START] * 5)
        place.turn(0.5)
        with Journal(place.path) as journal:
            (entry,) = journal.entries()
        assert entry.verdicts == {"rejected": 5}


class TestLabels:
    def test_one_counts_when_it_is_as_old_as_labels_get(self, place: Place) -> None:
        ids = place.log(10, 0, 1)
        _label(place, ids[:4], 15.0, 0.5)
        place.turn(1.5, delay="3h")
        assert [(hour, labelled) for hour, _, labelled, _ in place.batches()] == [(0, 0), (3, 0)]
        _label(place, ids[4:7], 15.0, 5.2)
        place.turn(4.5, delay="3h")
        assert (3, 0, 4, True) in place.batches()
        place.turn(6.5, delay="3h")
        assert place.batches()[-1] == (5, 0, 3, True), "one that comes later counts in the hour it came"

    def test_a_correction_before_it_counted_replaces_and_one_after_changes_nothing(self, place: Place) -> None:
        ids = place.log(10, 0, 1)
        _label(place, ids, 500.0, 0.1)
        _label(place, ids, 15.0, 0.2)
        place.turn(0.5)
        place.turn(1.5)
        with Journal(place.path) as journal:
            (entry,) = journal.entries()
        assert entry.labelled == 10
        before = _contents(place)
        _label(place, ids, 900.0, 1.2)
        _label(place, ids, 15.0, 1.2)
        place.turn(1.6)
        assert {**_contents(place), "labels": 0} == {**before, "labels": 0}

    def test_a_label_that_was_taken_back_never_counts(self, place: Place) -> None:
        ids = place.log(4, 0, 1)
        _label(place, ids, 15.0, 0.1)
        place.turn(0.5)
        _label(place, ids[:1], None, 0.6)
        place.turn(1.5)
        assert place.batches() == [(0, 4, 3, True)]

    def test_one_that_comes_before_its_row_waits_for_it(self, place: Place) -> None:
        name = "b" * 16
        _label(place, [f"{name}-0"], 15.0, 0.1)
        place.turn(0.5)
        assert place.log(1, 0, name=name) == [f"{name}-0"]
        place.turn(1.5)
        assert place.batches() == [(0, 1, 1, True)]

    def test_those_of_rows_that_are_gone_or_erased_do_not_count(self, place: Place) -> None:
        ids = place.log(6, 0, 1, name="c" * 16)
        _label(place, ids, 15.0, 0.1)
        place.turn(0.5)
        settling.settle(settings=place.settings)
        erase(MODEL, ids=ids[:2], reason="asked for", settings=place.settings)
        place.turn(1.5)
        assert place.batches() == [(0, 6, 4, True)]

    def test_a_file_that_was_cut_is_read_again_and_each_counts_once(self, place: Place) -> None:
        ids = place.log(6, 0, 1)
        _label(place, ids, 15.0, 0.1)
        place.turn(1.5)
        (place.home / "outcomes.jsonl").unlink()
        _label(place, ids[:3], 99.0, 1.1)
        assert "read from its start again" in " ".join(place.turn(1.6).notes)
        place.turn(2.5)
        assert sum(labelled for _, _, labelled, _ in place.batches()) == 6


class TestRules:
    def test_after_another_window_nothing_began_before_its_first_row(self, place: Place) -> None:
        place.log(300, 2, 3, hot=True)
        place.turn(3.0, replace(HOURLY, window="1d"))
        assert place.turn(3.1).judged == 1
        (raised,) = place.facts("alarm.raised")
        assert raised["since"] == iso(START + 2 * HOUR)

    def test_another_window_puts_what_waits_into_batches_of_the_new_length(self, place: Place) -> None:
        ids = place.log(30, 0, 3)
        _label(place, ids, 15.0, 0.1)
        place.turn(0.5)
        daily = replace(HOURLY, window="1d")
        turn = place.turn(3.0, daily)
        with Journal(place.path) as journal:
            assert sum(each.rows for each in journal.entries()) == 30
            assert {each.stop - each.start for each in journal.entries()} == {24 * HOUR}
        assert turn.judged == 0
        assert place.turn(24.5, daily).judged == 1
        assert sum(labelled for _, _, labelled, _ in place.batches()) == 30

    @pytest.mark.parametrize(
        "other",
        [
            replace(HOURLY, false_alerts="20 per year"),
            replace(HOURLY, window="2h"),
            replace(HOURLY, tolerance={"heat": 1.0}),
        ],
    )
    def test_other_rules_begin_evidence_anew_and_say_so(self, place: Place, other: Monitor) -> None:
        place.log(20, 0, 2)
        assert place.turn(2.5).notes == []
        place.log(40, 2, 6)
        turn = place.turn(6.5, other)
        assert turn.judged > 0
        (note,) = {each for each in turn.notes if "begins anew" in each}
        assert "version 2" in note
        assert place.turn(6.6, other).notes == []

    def test_a_state_that_cannot_be_read_begins_anew_too(self, place: Place) -> None:
        place.log(20, 0, 2)
        place.turn(1.5)
        with Journal(place.path) as journal, journal.step():
            journal.remember(2, b"rubbish", journal.rules(2))
        turn = place.turn(2.5)
        assert turn.judged == 1
        assert "begins anew" in turn.notes[0]


class TestAlarms:
    def test_one_is_raised_once_told_once_and_resolved_when_rows_are_as_before(self, place: Place) -> None:
        own = replace(HOURLY, notify=("json://nowhere.invalid",))
        place.log(300, 0, 3, hot=True)
        place.turn(3.5, own)
        (raised,) = place.facts("alarm.raised")
        assert raised["detector"] == "drift"
        with Journal(place.path) as journal:
            (alarm,) = journal.alarms()
            assert alarm.state == "open"
            assert [each.address for each in journal.due(0)] == ["json://nowhere.invalid"]
        place.log(800, 4, 12)
        place.turn(12.5, own)
        (resolved,) = place.facts("alarm.resolved")
        assert resolved["alarm"] == raised["alarm"] == alarm.id

    def test_where_the_journal_was_lost_ids_of_alarms_that_the_ledger_knows_are_not_given_again(
        self, place: Place
    ) -> None:
        place.log(300, 0, 3, hot=True)
        place.turn(3.5)
        (first,) = place.facts("alarm.raised")
        for each in place.path.parent.glob(f"{MODEL}.db*"):
            each.unlink()
        place.turn(3.6)
        _, again = place.facts("alarm.raised")
        assert [each["alarm"] for each in (first, again)] == [f"{MODEL}-2-drift-{number}" for number in (1, 2)]
        with Journal(place.path) as journal:
            assert [each.id for each in journal.alarms()] == [again["alarm"]]

    def test_it_began_with_a_batch_that_had_rows_however_long_nothing_came_before(self, place: Place) -> None:
        place.log(100, 0, 1)
        place.log(300, 50, 53, hot=True)
        place.turn(53.5)
        with Journal(place.path) as journal:
            (alarm,) = journal.alarms()
            starts = [each.start for each in journal.entries() if each.stop <= START + 53 * HOUR]
        assert alarm.since in map(iso, starts)
        assert alarm.since >= iso(START + 50 * HOUR)

    def test_what_may_have_happened_is_read_off_rows_of_the_whole_batch(self, place: Place) -> None:
        place.log(2100, 0, 0)
        place.log(2100, 0, 0, hot=True)
        place.turn(1.5)
        with Journal(place.path) as journal:
            (alarm,) = journal.alarms()
        (heat,) = [each for each in alarm.suspects if each.feature == "heat"]
        assert heat.guess.endswith(" % of the rows of heat look multiplied by 10")

    def test_a_fact_is_written_once_though_a_process_died_after_it(self, place: Place) -> None:
        place.log(300, 0, 3, hot=True)
        place.turn(3.5, until="judge")
        assert place.facts("window.monitored") == []
        with Journal(place.path) as journal:
            waiting = journal.facts()
            for _, kind, body in waiting[:-1]:  # it died before it noted any of them
                place.session.record(kind, **body)
        place.turn(3.6)
        with Journal(place.path) as journal:
            assert journal.facts() == []
        found = [*place.facts("window.monitored"), *place.facts("alarm.raised")]
        assert len(found) == len(waiting)

    def test_those_of_a_replaced_version_resolve_and_its_rows_still_count(self, place: Place) -> None:
        place.log(300, 0, 3, hot=True)
        place.turn(3.5)
        _replaced(place.session, 3)
        place.log(100, 4, 5, hot=True)
        write(place.home, [replace(row, version=3) for row in place.good[:50]], [START + 4 * HOUR] * 50)
        place.turn(5.5)
        with Journal(place.path) as journal:
            assert [each.state for each in journal.alarms()] == ["resolved"]
            assert [each.rows for each in journal.entries(2)][-1] == 100
            assert [each.rows for each in journal.entries(3)] == [50]
        assert len(place.facts("alarm.resolved")) == 1
        place.session.record("version.rolled_back", model=MODEL, version=2, previous=3, reason="worse")
        place.log(100, 6, 7, hot=True)
        place.turn(7.5)
        with Journal(place.path) as journal:
            assert [each.state for each in journal.alarms()] == ["resolved", "open"], "what is away is told anew"


class TestWhatIsKept:
    def test_batches_of_long_ago_go_and_the_detectors_remember_them(self, place: Place) -> None:
        place.log(30, 0, 3)
        place.turn(4.0)
        with Journal(place.path) as journal:
            remembered = journal.state(2)
        later = KEPT / HOUR
        place.turn(later + 2)
        assert place.batches() == [(2, 10, 0, True)]
        with Journal(place.path) as journal:
            assert journal.state(2) == remembered
            assert journal.empties()[0][0] == START + 3 * HOUR


class TestLots:
    def test_rows_that_are_played_are_of_no_certain_hour(self, place: Place) -> None:
        """They are compared with the whole week: here the first hour of Monday is unlike all others."""
        with Journal(place.path) as journal:
            project = replace(place.project, monitor=HOURLY)
            turn = Turn(session=place.session, project=project, journal=journal, now=START)
            found = turn.bundle(2)
            assert found is not None
            (heat,) = [each for each in found.profile.features if each.name == "heat"]
            monday = (10 * sum(heat.counts), *[0] * (len(heat.counts) - 1))
            weeks = {"heat": (monday, *[heat.counts] * 167)}
            known = Dependence(seconds=3600.0, batches=1344, phases=168, effects={}, strata=weeks)
            vars(found)["profile"] = replace(found.profile, dependence=known)
            entry = Entry(version=2, start=START, stop=START + HOUR, name="a hold-out")
            with journal.step():
                window = judge_entry(turn, with_rows(turn, entry, [*place.good] * 3))
                same = judge_entry(turn, with_rows(turn, replace(entry, name=""), [*place.good] * 3))
        assert window is not None
        assert same is not None
        assert (window.name, window.alarms) == ("a hold-out", ())
        assert same.alarms


class TestDetectorsAtHand:
    def test_many_batches_of_one_turn_build_them_once(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = tmp_path / "installed" / "counted-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Name: counted\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text("[fullcircle.detectors]\ncounted = counted:Counted\n", "utf-8")
        (info.parent / "counted.py").write_text(COUNTED, encoding="utf-8")
        monkeypatch.syspath_prepend(str(info.parent))
        place.log(10, 0, 1)
        assert place.turn(1.5).judged == 1
        counted = sys.modules["counted"].Counted
        each = counted.built
        assert 0 < each <= len(KINDS)
        place.log(50, 1, 6)
        turn = place.turn(6.5)
        assert (turn.judged, counted.built) == (5, 2 * each)
        with Journal(place.path) as journal:
            assert journal.state(2) == turn.watches[2][0]


class TestTwoAtOnce:
    def test_the_second_waits_and_finds_nothing_to_do(self, place: Place, circle: Circle) -> None:
        place.log(30, 0, 3)
        found: list[object] = []

        def turn() -> None:
            found.append(monitor(circle.project, settings=place.settings))

        with locked(place.path.with_suffix(".lock"), 1.0):
            threads = [threading.Thread(target=turn) for _ in range(2)]
            for each in threads:
                each.start()
        for each in threads:
            each.join(60)
        assert len(found) == 2
        with Journal(place.path) as journal:
            assert sum(each.rows for each in journal.entries()) == 30


# A turn that is killed at its nth change to a database, again and again, ends as one that nobody disturbed.


def _killed(place: Place, hours: float, at: int) -> None:
    """Take a turn in a process of its own that ends before its change number ``at``."""
    left, connect = at, sqlite3.connect

    def seen(statement: str) -> None:
        nonlocal left
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(*arguments: Any, **more: Any) -> sqlite3.Connection:
        found: sqlite3.Connection = connect(*arguments, **more)
        found.set_trace_callback(seen)
        return found

    vars(sqlite3)["connect"] = watched
    with opened(place.settings, create=False) as session:
        replace(place, session=session).turn(hours)


def _turns(place: Place, disturbed: bool) -> int:
    """Two turns with rows, labels and an alarm; each is killed at many places first. Returns how often."""
    fork, kills = multiprocessing.get_context("fork"), 0
    for hours in (1.5, 3.5):
        at, step = 0, 1
        while disturbed:
            child = fork.Process(target=_killed, args=(place, hours, at))
            child.start()
            child.join(60)
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
            kills, at = kills + 1, at + step
            step = 1 if EVERYWHERE else step + 2
        place.turn(hours)
    return kills


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_turn_that_is_killed_anywhere_ends_as_one_that_was_not(place: Place) -> None:
    ids = [*place.log(60, 0, 1, name="d" * 16), *place.log(120, 1, 3, hot=True, name="e" * 16)]
    _label(place, ids[::3], 15.0, 0.9)
    root = Path(place.settings["workspace"])
    shutil.copytree(root, root.with_name("undisturbed"))
    assert _turns(place, True) >= 8
    disturbed = _contents(place)
    root.rename(root.with_name("disturbed"))
    root.with_name("undisturbed").rename(root)
    with _opened(root, place.settings) as (session, own):
        other = replace(place, session=session, settings=own)
        _turns(other, False)
        expected = _contents(other)
    assert disturbed == expected
    assert len(expected["alarm.raised"]) == 2, "drift and losses"
    assert len(expected["batches"]) == 3
