"""The journal: all of a step or nothing, labels once, messages until delivered, and batches on the clock."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import WorkspaceBusy, WorkspaceTooNew, WorkspaceUnusable
from fullcircle.monitoring import journal as journals
from fullcircle.monitoring.grid import MONDAY, Grid, iso, length, micros
from fullcircle.monitoring.journal import GONE, GROWING, WHOLE, Entry, Journal, Label
from fullcircle.types.monitoring import Alarm, Dependence, Evidence, Profile

HOUR = 3_600_000_000
SEGMENT = "0123456789abcdef"
ALARM = Alarm(
    id="m-1-drift-1", model="m", version=1, kind="drift", severity="ticket", state="open", since="a", opened="b",
    updated="c", text="t", sure="s", advice="d",
)  # fmt: skip


class Stopped(Exception):
    """Something went wrong in the middle."""


def _stopped(journal: Journal) -> None:
    with journal.step():
        journal.move(SEGMENT, 99, WHOLE)
        journal.keep(Entry(version=1, start=0, stop=HOUR, rows=3))
        journal.queue(["a"], "{}")
        journal.note_fact("window.monitored", {"model": "m"})
        raise Stopped


def test_a_step_is_all_or_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal:
        with journal.step():
            journal.move(SEGMENT, 10)
        with pytest.raises(Stopped):
            _stopped(journal)
        assert journal.places() == {SEGMENT: (10, GROWING)}
        assert journal.entries() == []
        assert journal.undelivered() == 0
        assert journal.facts() == []
    with Journal(tmp_path / "m.db") as again:
        assert again.places() == {SEGMENT: (10, GROWING)}


def test_a_newer_journal_is_left_alone_and_rubbish_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal, journal.step():
        journal.put("format", journals.FORMAT + 1)
    before = (tmp_path / "m.db").read_bytes()
    with pytest.raises(WorkspaceTooNew):
        Journal(tmp_path / "m.db")
    assert (tmp_path / "m.db").read_bytes() == before
    (tmp_path / "n.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(WorkspaceUnusable):
        Journal(tmp_path / "n.db")


def test_a_second_writer_is_told_and_readers_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "PATIENCE", 0.05)
    with Journal(tmp_path / "m.db") as one, Journal(tmp_path / "m.db") as other, one.step():
        one.keep(Entry(version=1, start=0, stop=HOUR))
        assert other.entries() == []
        with pytest.raises(WorkspaceBusy), other.step():
            pass


def test_batches_come_back_as_they_were_kept(tmp_path: Path) -> None:
    said = Evidence(kind="drift", level=-math.inf, threshold=4.0, fired=False)
    entry = Entry(
        version=2, start=HOUR, stop=2 * HOUR, name="n", rows=3, labelled=1, late=1, early=2, verdicts={"ok": 3},
        faults={"a\nb": 1}, counts=b"\x00c", outcomes=b"o", evidence=(said,), judged=True,
    )  # fmt: skip
    with Journal(tmp_path / "m.db") as journal:
        with journal.step():
            number = journal.keep(entry)
            journal.keep(Entry(version=1, start=0, stop=HOUR))
        (waits, found) = journal.entries()
        assert found == Entry(**{**vars(entry), "id": number})
        assert waits == journal.open_entry(1, 0, HOUR)
        assert journal.open_entry(1, HOUR, 2 * HOUR) == Entry(version=1, start=HOUR, stop=2 * HOUR)
        assert journal.entries(judged=True) == [found]
        assert journal.entries(2) == [found]
        assert journal.entries(since=HOUR) == [found]
        assert journal.entries(until=HOUR) == [waits]
        assert journal.starts() == [(0, HOUR)]


def test_places_move_and_what_was_counted_ahead_is_dropped_behind_them(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal, journal.step():
        journal.count_ahead([(SEGMENT, 5), (SEGMENT, 9), (SEGMENT, 5)])
        journal.move(SEGMENT, 6)
        assert journal.ahead(SEGMENT) == {9}
        journal.move(SEGMENT, 6, GONE)
        assert journal.places() == {SEGMENT: (6, GONE)}


class TestLabels:
    @staticmethod
    def _label(value: float | None, time: str, due: int | None = None) -> Label:
        return Label(segment=SEGMENT, place=7, time=time, value=value, due=due, version=None if due is None else 1)

    def test_the_one_with_the_later_time_counts_and_of_equal_times_the_later_line(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            for value, time, wins in ((1.0, "b", 1.0), (2.0, "a", 1.0), (3.0, "b", 3.0), (4.0, "c", 4.0)):
                journal.await_label(self._label(value, time))
                (found,) = journal.labels()
                assert found.value == wins
            assert found.id == f"{SEGMENT}-7"

    def test_one_that_was_taken_back_is_not_due_until_there_is_a_later_one(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            journal.await_label(self._label(1.0, "a"))
            journal.await_label(self._label(None, "c"))
            journal.await_label(self._label(2.0, "b"))
            assert journal.labels() == []
            journal.await_label(self._label(3.0, "d"))
            assert [each.value for each in journal.labels()] == [3.0]

    def test_the_same_again_does_not_put_off_when_it_is_due_and_a_correction_does(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            journal.await_label(self._label(1.0, "a"))
            journal.await_label(self._label(1.0, "a", HOUR))
            journal.await_label(self._label(1.0, "b"))
            assert journal.labels() == []
            assert [each.time for each in journal.labels(1, HOUR)] == ["b"]
            journal.await_label(self._label(2.0, "c"))
            assert [each.value for each in journal.labels()] == [2.0]

    def test_what_was_counted_never_counts_again(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            journal.await_label(self._label(1.0, "a", HOUR))
            journal.counted([(SEGMENT, 7), (SEGMENT, 8)])
            for place in (7, 8):
                journal.await_label(Label(segment=SEGMENT, place=place, time="z", value=5.0))
            assert journal.labels() == []
            assert journal.labels(1, HOUR) == []

    def test_they_follow_their_batch(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            journal.await_label(self._label(1.0, "a", HOUR))
            journal.redirect(1, HOUR, 3 * HOUR)
            journal.redirect(2, 3 * HOUR, 5 * HOUR)
            assert [each.due for each in journal.labels(1, 3 * HOUR)] == [3 * HOUR]


def test_a_message_waits_until_it_is_delivered(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal:
        with journal.step():
            journal.queue(["a", "b"], "hello")
        one, two = journal.due(0)
        assert [(one.address, one.message, one.attempts), two.address] == [("a", "hello", 0), "b"]
        journal.delivered(one.id)
        journal.failed(two.id, 50)
        assert journal.due(49) == []
        (again,) = journal.due(50)
        assert (again.address, again.attempts) == ("b", 1)
        assert journal.undelivered() == 1


def test_facts_wait_in_order_until_they_are_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal:
        with journal.step():
            journal.note_fact("alarm.raised", {"alarm": "x"})
            journal.note_fact("alarm.resolved", {"alarm": "x"})
        (number, kind, body), (other, _, _) = journal.facts()
        assert (kind, body) == ("alarm.raised", {"alarm": "x"})
        journal.recorded([number])
        assert [each[0] for each in journal.facts()] == [other]


def test_alarms_keep_their_order_and_states_of_detectors_their_rules(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal, journal.step():
        other = Alarm(**{**vars(ALARM), "id": "m-2-drift-1", "version": 2})
        journal.raise_alarms([ALARM, other])
        closed = Alarm(**{**vars(ALARM), "state": "resolved"})
        journal.raise_alarms([closed])
        assert journal.alarms() == (closed, other)
        assert journal.alarms(2) == (other,)
        assert (journal.state(1), journal.rules(1)) == (b"", "")
        journal.remember(1, b"\x00s", "weekly")
        assert (journal.state(1), journal.rules(1)) == (b"\x00s", "weekly")


def test_empty_stretches_that_touch_are_one(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.db") as journal, journal.step():
        for start in (0, 1, 3):
            journal.empty(start * HOUR, (start + 1) * HOUR)
        assert journal.empties() == [(0, 2 * HOUR), (3 * HOUR, 4 * HOUR)]


class TestGrid:
    @given(
        st.datetimes(min_value=datetime(1960, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),
        st.sampled_from(["1m", "1h", "1d", "7d", "90m"]),
    )
    def test_every_moment_is_in_one_batch_that_is_aligned_to_a_monday(self, moment: datetime, window: str) -> None:
        grid, at = Grid(length(window)), micros(moment.isoformat())
        assert at is not None
        start = grid.start(at)
        assert start <= at < start + grid.length
        assert (start - MONDAY) % grid.length == 0
        assert grid.start(start) == start
        assert micros(iso(at)) == at

    def test_a_week_begins_on_monday_at_midnight(self) -> None:
        found = Grid(length("7d")).start(micros("2026-11-27T06:00:00Z") or 0)
        assert iso(found) == "2026-11-23T00:00:00.000000Z"

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
    def test_what_is_no_time_is_none(self, text: str) -> None:
        assert micros(text) is None

    def test_the_part_of_the_week_is_that_of_the_reference(self) -> None:
        grid = Grid(length("1h"))
        known = Dependence(seconds=3600.0, batches=2000, phases=168, effects={})
        profile = Profile(features=(), rows=1, dependence=known)
        assert [grid.phase(MONDAY + hour * HOUR, profile) for hour in (0, 5, 167, 168)] == [0, 5, 167, 0]
        assert grid.phase(MONDAY + 5 * HOUR, Profile(features=(), rows=1)) == 0


def test_the_file_survives_an_open_transaction_of_a_process_that_died(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Journal(path) as journal, journal.step():
        journal.put("kept", 1)
    broken = sqlite3.connect(path, isolation_level=None)
    broken.execute("BEGIN IMMEDIATE")
    broken.execute("INSERT INTO meta VALUES ('lost', 1)")
    broken.close()
    with Journal(path) as again:
        assert (again.get("kept"), again.get("lost")) == (1, None)
    assert timedelta(microseconds=length("7d")) == timedelta(days=7)
