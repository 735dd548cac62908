"""The journal where it is hard: two connections, processes that are killed, damage, laws of labels and empties."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import FullcircleError, WorkspaceTooNew, WorkspaceUnusable
from fullcircle.monitoring import journal as journals
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import GROWING, WHOLE, Entry, Journal, Label
from fullcircle.types.contract import Value
from fullcircle.types.monitoring import Alarm, Evidence, Suspect

HOUR = 3_600_000_000
SEGMENT, OTHER = "0123456789abcdef", "f" * 16
TABLES = ("segments", "ahead", "labels", "batches", "empties", "watches", "alarms", "outbox", "facts")
FORK = multiprocessing.get_context("fork")
ALARM = Alarm(
    id="m-1-drift-1", model="m", version=1, kind="drift", severity="ticket", state="open", since="a", opened="b",
    updated="c", text="t", sure="s", advice="d",
)  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "deep" / "in" / "m.db") as opened:
        yield opened


def label(place: int, value: Value, time: str, due: int | None = None, segment: str = SEGMENT) -> Label:
    return Label(segment=segment, place=place, time=time, value=value, due=due, version=None if due is None else 1)


def fill(journal: Journal) -> None:
    """Something in every table, in the order in which a turn writes it."""
    journal.put("judged_until", HOUR)
    journal.move(SEGMENT, 10, WHOLE)
    journal.count_ahead([(OTHER, 4)])
    journal.await_label(label(7, 1.0, "a"))
    journal.keep(Entry(version=1, start=0, stop=HOUR, rows=3))
    journal.empty(0, HOUR)
    journal.remember(1, b"s", "rules")
    journal.raise_alarms([ALARM])
    journal.queue(["a"], "{}")
    journal.note_fact("window.monitored", {"model": "m"})


def sizes(path: Path) -> dict[str, int]:
    base = sqlite3.connect(path)
    found = {name: int(base.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in TABLES}  # noqa: S608
    base.close()
    return found


class TestFiles:
    @pytest.mark.parametrize("found", [journals.FORMAT + 1, 99])
    def test_a_newer_format_is_refused_with_both_numbers_and_what_to_do(self, tmp_path: Path, found: object) -> None:
        path = tmp_path / "m.db"
        with Journal(path) as journal, journal.step():
            fill(journal)
            journal.put("format", found)  # type: ignore[arg-type]
        before = sizes(path)
        for _ in range(2):
            with pytest.raises(WorkspaceTooNew) as caught:
                Journal(path)
        for words in (f"format {found}", f"format {journals.FORMAT}", str(path), "pip install"):
            assert words in str(caught.value)
        assert sizes(path) == before

    def test_an_older_format_is_not_called_newer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Journal(tmp_path / "m.db").close()
        monkeypatch.setattr(journals, "FORMAT", 2)
        with pytest.raises(WorkspaceUnusable, match="made by an older fullcircle") as caught:
            Journal(tmp_path / "m.db")
        assert "format 1" in str(caught.value.received)
        assert caught.value.allowed == "format 2"

    @pytest.mark.parametrize("found", [0, -1, "2", None, "other"])
    def test_a_file_that_is_no_journal_is_told_from_a_newer_one_and_left_as_it_is(
        self, tmp_path: Path, found: object
    ) -> None:
        path = tmp_path / "m.db"
        if found == "other":  # the database of another program
            base = sqlite3.connect(path)
            base.execute("CREATE TABLE orders (id INTEGER)")
            base.close()
        else:
            with Journal(path) as journal, journal.step():
                journal.put("format", found)  # type: ignore[arg-type]
        before = path.read_bytes()
        with pytest.raises(WorkspaceUnusable, match="no monitoring journal"):
            Journal(path)
        assert path.read_bytes() == before

    def test_damage_that_only_reading_finds_is_the_same_clear_error(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        with Journal(path) as journal:
            with journal.step():
                fill(journal)
            journal._rows.execute("DROP TABLE batches")
            with pytest.raises(WorkspaceUnusable, match=r"cannot be used[\s\S]*m\.db"):
                journal.entries()

    @pytest.mark.parametrize("damage", ["head", "root", "text", "folder"])
    def test_a_damaged_file_is_a_clear_error_that_names_it(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "m.db"
        with Journal(path) as journal, journal.step():
            fill(journal)
        data = bytearray(path.read_bytes())
        match damage:
            case "head":
                data[:16] = b"SQLite format 4\0"
            case "root":  # the page that says which tables there are
                data[100:2000] = b"\xff" * 1900
            case "text":
                data = bytearray(b"{}\n" * 4000)
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            path.write_bytes(data)
        with pytest.raises(WorkspaceUnusable) as caught:
            Journal(path)
        assert str(path) in str(caught.value)
        assert "backup" in str(caught.value)
        if damage != "folder":
            assert path.read_bytes() == bytes(data), "it is left as it is for whoever mends it"

    def test_an_empty_file_and_no_folder_become_a_journal(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "m.db"
        path.parent.mkdir(parents=True)
        path.touch()
        with Journal(path) as journal:
            assert journal.get("format") == journals.FORMAT
            assert journal.get("nothing", "else") == "else"
        assert sizes(path) == dict.fromkeys(TABLES, 0)

    def test_each_step_is_on_the_disk_before_it_ends(self, journal: Journal) -> None:
        own = vars(journal)["_rows"]
        assert own.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert own.execute("PRAGMA synchronous").fetchone() == (2,)

    @pytest.mark.parametrize("value", [0, -5, 2**62, 0.25, "text", "", None])
    def test_a_value_comes_back_as_it_was_put(self, journal: Journal, value: int | str | float | None) -> None:
        journal.put("key", "before")
        journal.put("key", value)
        found = journal.get("key", "default")
        assert found == value
        assert type(found) is type(value)


class TestTwoConnections:
    def test_one_sees_what_the_other_has_ended_and_nothing_before(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as one, Journal(tmp_path / "m.db") as other:
            with one.step():
                fill(one)
                assert (other.entries(), other.places(), other.facts(), other.undelivered()) == ([], {}, [], 0)
                assert other.alarms() == ()
            assert [each.rows for each in other.entries()] == [3]
            assert other.alarms() == (ALARM,)
            with other.step():
                other.move(SEGMENT, 11)
            assert one.places() == {SEGMENT: (11, GROWING)}

    def test_steps_of_two_wait_for_each_other_and_none_is_lost(self, tmp_path: Path) -> None:
        path = tmp_path / "m.db"
        Journal(path).close()

        def work(name: str) -> None:
            with Journal(path) as own:
                for _ in range(8):
                    with own.step():
                        own.put("count", own.get("count", 0) + 1)
                        own.queue([name], str(own.get("count")))

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        with Journal(path) as journal:
            assert journal.get("count") == 16
            assert [each.message for each in journal.due(0)] == [str(number) for number in range(1, 17)]

    def test_a_journal_that_two_begin_at_once_is_begun_once(self, tmp_path: Path) -> None:
        errors: list[Exception] = []
        gate = threading.Barrier(4)

        def begin() -> None:
            gate.wait(10)
            try:
                Journal(tmp_path / "m.db").close()
            except (FullcircleError, sqlite3.Error) as error:
                errors.append(error)

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        assert errors == []
        assert sizes(tmp_path / "m.db") == dict.fromkeys(TABLES, 0)


def _dies(path: Path) -> None:
    journal = Journal(path)
    with journal.step():
        fill(journal)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_process_that_is_killed_within_a_step_leaves_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Journal(path) as journal, journal.step():
        journal.put("kept", 1)
    child = FORK.Process(target=_dies, args=(path,))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert sizes(path) == dict.fromkeys(TABLES, 0)
    with Journal(path) as journal:
        assert (journal.get("kept"), journal.get("judged_until")) == (1, None)
        with journal.step():
            fill(journal)
    assert sizes(path) == dict.fromkeys(TABLES, 1)


def fails(journal: Journal, error: BaseException) -> None:
    with journal.step():
        fill(journal)
        raise error


def test_a_step_that_fails_leaves_the_journal_usable(journal: Journal) -> None:
    for error in (KeyError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fails(journal, error)
    assert sizes(journal.path) == dict.fromkeys(TABLES, 0)
    with journal.step():
        fill(journal)
    assert sizes(journal.path) == dict.fromkeys(TABLES, 1)


class TestBatches:
    def test_two_open_batches_of_one_hour_and_version_cannot_be(self, journal: Journal) -> None:
        """A unique index: the second takes the first's place, for they say the same batch."""
        one = journal.keep(Entry(version=1, start=0, stop=HOUR, rows=3))
        journal.keep(replace(journal.open_entry(1, 0, HOUR), rows=5))
        (found,) = journal.entries()
        assert (found.id, found.rows) == (one, 5)

    def test_after_it_was_judged_an_hour_may_be_open_again(self, journal: Journal) -> None:
        """As after a clock that went back: what was judged stays as it is."""
        first = journal.keep(Entry(version=1, start=0, stop=HOUR, rows=3, judged=True))
        again = journal.open_entry(1, 0, HOUR)
        assert (again.id, again.rows) == (0, 0)
        second = journal.keep(replace(again, rows=1))
        assert [(each.id, each.rows, each.judged) for each in journal.entries()] == [
            (first, 3, True), (second, 1, False),
        ]  # fmt: skip
        journal.drop(replace(again, id=first))
        assert len(journal.entries()) == 2, "what was judged is not dropped"
        journal.drop(replace(again, id=second))
        assert [each.id for each in journal.entries()] == [first]

    @pytest.mark.parametrize(
        ("since", "until", "hours"),
        [(0, None, [0, 1, 2]), (HOUR, None, [1, 2]), (HOUR - 1, None, [0, 1, 2]), (0, HOUR, [0]),
         (0, HOUR + 1, [0, 1]), (HOUR, 2 * HOUR, [1]), (3 * HOUR, None, []), (0, 0, [])],
    )  # fmt: skip
    def test_a_stretch_has_the_batches_that_touch_it(
        self, journal: Journal, since: int, until: int | None, hours: list[int]
    ) -> None:
        for hour in (2, 0, 1):
            journal.keep(Entry(version=1, start=hour * HOUR, stop=(hour + 1) * HOUR))
        assert [each.start // HOUR for each in journal.entries(since=since, until=until)] == hours

    def test_levels_of_evidence_come_back_to_the_last_bit(self, journal: Journal) -> None:
        said = tuple(
            Evidence(
                kind="drift", level=level, threshold=1e-300, fired=level > 0, returned=("a",), begun=3,
                suspects=(Suspect(feature="é\n", evidence=level, distance=0.1 + 0.2),),
            )
            for level in (-math.inf, math.inf, -0.0, 0.1 + 0.2, 5e-324)
        )  # fmt: skip
        journal.keep(Entry(version=1, start=0, stop=HOUR, evidence=said, faults={"col\numn\nmissing": 2, "": 1}))
        (found,) = journal.entries()
        assert found.evidence == said
        assert math.copysign(1, found.evidence[2].level) == -1
        assert found.faults == {"col\numn\nmissing": 2, "": 1}

    @settings(max_examples=40)
    @given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
    def test_stretches_without_rows_cover_what_was_said_and_do_not_touch(self, lengths: list[int]) -> None:
        """Each odd length is a pause, in which something came."""
        with Journal(Path(":memory:")) as journal, journal.step():
            at, hours = 0, set()
            for each in lengths:
                if each % 2 == 0:
                    journal.empty(at, at + each)
                    hours |= set(range(at, at + each))
                at += each
            found = journal.empties()
        assert {hour for start, stop in found for hour in range(start, stop)} == hours
        assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


class TestLabels:
    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcd"), st.sampled_from([1.0, 2.0, None])), max_size=9)
    )
    def test_of_each_prediction_the_latest_counts_whatever_came_between(
        self, said: list[tuple[int, str, float | None]]
    ) -> None:
        last: dict[int, tuple[str, float | None]] = {}
        with Journal(Path(":memory:")) as journal, journal.step():
            for place, time, value in said:
                journal.await_label(label(place, value, time))
                if place not in last or time >= last[place][0]:
                    last[place] = time, value
            found = {each.place: (each.time, each.value) for each in journal.labels()}
        assert found == {place: each for place, each in last.items() if each[1] is not None}

    @pytest.mark.parametrize("value", [1, 1.0, True, False, 0, "1", "", "ü\x00", -0.5, 2**53])
    def test_a_value_keeps_its_kind(self, journal: Journal, value: Value) -> None:
        journal.await_label(label(1, value, "a"))
        (found,) = journal.labels()
        assert found.value == value
        assert type(found.value) is type(value)

    def test_they_come_by_place_and_a_few_at_a_time(self, journal: Journal) -> None:
        for place in (9, 2, 100):
            journal.await_label(label(place, 1.0, "a", HOUR))
            journal.await_label(label(place, 1.0, "a", HOUR, OTHER))
            journal.await_label(label(place + 1, 1.0, "a"))
        taken = []
        while some := journal.labels(1, HOUR, 4):
            taken += [each.id for each in some]
            journal.counted((each.segment, each.place) for each in some)
        assert taken == [f"{name}-{place}" for name in (SEGMENT, OTHER) for place in (2, 9, 100)]
        assert [each.place for each in journal.labels()] == [3, 10, 101], "those without a batch wait on"

    def test_of_one_that_was_counted_no_value_is_kept(self, journal: Journal) -> None:
        with journal.step():
            journal.await_label(label(1, "a secret", "a", HOUR))
            journal.counted([(SEGMENT, 1)])
        base = sqlite3.connect(journal.path)
        assert base.execute("SELECT value, time, due, counted FROM labels").fetchall() == [(None, "a", None, 1)]
        base.close()

    def test_those_that_were_counted_stay_so_when_their_batch_moves(self, journal: Journal) -> None:
        journal.await_label(label(1, 1.0, "a", HOUR))
        journal.await_label(label(2, 1.0, "a", HOUR))
        journal.counted([(SEGMENT, 1)])
        journal.redirect(1, HOUR, 2 * HOUR)
        assert [each.place for each in journal.labels(1, 2 * HOUR)] == [2]


class TestTelling:
    def test_messages_go_out_in_the_order_they_came_also_after_failures(self, journal: Journal) -> None:
        for text in ("one", "two", "three"):
            journal.queue(["a", "b"], text)
        journal.queue([], "to nobody")
        assert [(each.address, each.message) for each in journal.due(0)] == [
            (to, text) for text in ("one", "two", "three") for to in "ab"
        ]
        first = journal.due(0)[0]
        journal.failed(first.id, 90)
        journal.failed(first.id, 60)
        assert first.id not in {each.id for each in journal.due(59)}
        assert (journal.due(60)[0].id, journal.due(60)[0].attempts) == (first.id, 2), "the oldest is first again"

    def test_what_arrived_is_never_tried_again_though_it_failed_later(self, journal: Journal) -> None:
        journal.queue(["a"], "one")
        (sent,) = journal.due(0)
        journal.delivered(sent.id)
        journal.failed(sent.id, 0)
        assert (journal.due(10**18), journal.undelivered()) == ([], 0)

    def test_numbers_of_facts_are_not_those_of_facts_that_wait(self, journal: Journal) -> None:
        bodies = [{"alarm": f"é{number}", "level": number / 3, "rows": 2**53 + number} for number in range(3)]
        for body in bodies:
            journal.note_fact("alarm.raised", body)
        assert [body for _, _, body in journal.facts()] == bodies
        numbers = [number for number, _, _ in journal.facts()]
        assert numbers == sorted(set(numbers))
        journal.recorded(numbers[:2])
        journal.recorded(numbers[:2])
        journal.recorded([])
        assert [number for number, _, _ in journal.facts()] == numbers[2:]

    def test_an_alarm_that_changed_keeps_its_place_among_hundreds(self, journal: Journal) -> None:
        many = [replace(ALARM, id=f"m-1-drift-{number}") for number in range(200)]
        with journal.step():
            journal.raise_alarms(many)
            resolved = replace(many[100], state="resolved", resolved="z", suspects=(), cost=0.1 + 0.2)
            journal.raise_alarms([resolved, replace(ALARM, id="m-1-drift-200")])
        found = journal.alarms()
        assert [each.id for each in found] == [f"m-1-drift-{number}" for number in range(201)]
        assert found[100] == resolved


class TestWhatIsKept:
    OLD, NOW = 1_700_000_000_000_000, 1_700_000_000_000_000 + journals.KEPT

    def _label(self, segment: str, time: int, due: int | None = None) -> Label:
        version = None if due is None else 1
        return Label(segment=segment, place=1, time=iso(time), value=1.0, due=due, version=version)

    def test_only_what_nobody_will_ask_for_goes(self, tmp_path: Path) -> None:
        before = self.NOW - journals.KEPT
        with Journal(tmp_path / "m.db") as journal, journal.step():
            kept = [
                Entry(version=1, start=before - HOUR, stop=before, judged=True),
                Entry(version=1, start=before - HOUR, stop=before),  # waits to be judged
                Entry(version=2, start=before - 1, stop=before + HOUR, judged=True),
            ]
            for entry in kept:
                journal.keep(entry)
            journal.empty(before - 2 * HOUR, before)
            journal.empty(before + 1, before + HOUR)
            journal.raise_alarms([replace(ALARM, state="resolved")])
            journal.remember(1, b"state", "rules")
            journal.queue(["a"], "{}")
            for segment in ("here", "gone"):
                journal.await_label(self._label(segment + "0", before - 1, HOUR))
                journal.await_label(self._label(segment + "1", before - 1))
                journal.await_label(self._label(segment + "2", before))
                journal.await_label(self._label(segment + "3", before - 1))
                journal.counted([(segment + "3", 1)])
            journal.forget([f"gone{number}" for number in range(4)], before)
            assert [(each.version, each.judged) for each in journal.entries()] == [(1, False), (2, True)]
            assert journal.empties() == [(before + 1, before + HOUR)]
            assert len(journal.alarms()) == len(journal.due(0)) == 1
            assert journal.state(1) == b"state"
            found = journal._rows.execute("SELECT segment FROM labels ORDER BY segment").fetchall()
            assert [each for (each,) in found] == ["gone2", "here0", "here2", "here3"]

    def test_a_message_that_arrived_is_not_kept(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal:
            with journal.step():
                journal.queue(["a", "b"], "private?")
            for due in journal.due(0):
                journal.delivered(due.id)
            assert sizes(tmp_path / "m.db")["outbox"] == 0

    def test_counts_are_read_one_by_one_where_they_are_many(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "m.db") as journal, journal.step():
            journal.keep(Entry(version=1, start=0, stop=HOUR, rows=3, counts=b"c", outcomes=b"o", judged=True))
            journal.keep(Entry(version=1, start=HOUR, stop=2 * HOUR, rows=4, labelled=2, judged=True))
            first, second = journal.entries(counts=False)
            assert (first.counts, first.outcomes, first.rows) == (b"", b"", 3)
            assert (journal.counts_of(first), journal.counts_of(second)) == ((b"c", b"o"), (b"", b""))
            assert [journal.rows(1), journal.rows(1, HOUR), journal.rows(2)] == [7, 4, 0]
            assert [journal.began(1, 0), journal.began(1, 1), journal.began(1, 2)] == [HOUR, 0, None]
            assert [journal.began(1, 0, labelled=True), journal.began(1, 1, labelled=True)] == [HOUR, None]
