"""Counting and judging of rows of several versions: laws over any log, any clock and any chopping into turns."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import circles
from flows.logbooks import HOUR, START, write
from fullcircle.flows.counting import GRACE, Turn, count
from fullcircle.flows.judging import counts_of, judge, record
from fullcircle.flows.session import Session, opened
from fullcircle.monitoring import batches
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import WHOLE, Journal
from fullcircle.monitoring.profiles import profile
from fullcircle.packaging.bundle import CONTRACT, PROFILE, Bundle
from fullcircle.tables import following
from fullcircle.tables.outcomes import append_outcomes
from fullcircle.types.prediction import Outcome
from fullcircle.types.project import Monitor, Project
from monitoring.monitoring_rows import CONTRACT as PATIENTS
from monitoring.monitoring_rows import patients, predictions

FRAME = patients(np.random.default_rng(5), 60)
ROWS = [replace(row, version=1) for row in predictions(FRAME)]
REFERENCE = profile(FRAME, ROWS, PATIENTS, metric="mae", value=1.0, low=0.5, high=1.5)
BUNDLE = Bundle(
    manifest=cast("Any", None),  # nothing here asks for it
    files={CONTRACT: msgspec.json.encode(PATIENTS), PROFILE: msgspec.json.encode(REFERENCE)},
    digest="d" * 64,
)
KNOWN: dict[int, Bundle | None] = {1: BUNDLE, 2: BUNDLE, 9: None}
PROJECT = Project(
    name="patients",
    data=None,
    label="progression",
    features=["bmi"],
    fit=lambda X, y: None,
    monitor=Monitor(window="1h"),
    label_delay="0s",
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with opened(circles.unbegun(tmp_path_factory.mktemp("counting"))) as found:
        yield found


class Log:
    """A log of its own in a workspace that is shared, and a journal beside it."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session, self.journal = session, Journal(folder / "m.db")
        self.model = f"m{folder.name.lower().replace('_', '')}"[:40]
        self.home = session.workspace.predictions / self.model

    def write(self, hours: Sequence[float], versions: Sequence[int] = (1,), name: str = "a" * 16) -> list[str]:
        rows = [replace(ROWS[n % 60], version=versions[n % len(versions)]) for n in range(len(hours))]
        return write(self.home, rows, [int(START + hour * HOUR) for hour in hours], name)

    def label(self, ids: Sequence[str], value: Any, hour: float) -> None:
        made = [Outcome(prediction_id=each, value=value, time=iso(int(START + hour * HOUR))) for each in ids]
        append_outcomes(self.home.parent, self.model, made)

    def turn(self, hours: float, *, judged: bool = True, delay: str = "0s") -> Turn:
        project = replace(PROJECT, name=self.model, label_delay=delay)
        made = Turn(
            session=self.session, project=project, journal=self.journal, now=int(START + hours * HOUR),
            _bundles=dict(KNOWN),
        )  # fmt: skip
        count(made)
        if judged:
            judge(made)
        return made

    def counted(self) -> dict[tuple[int, int], int]:
        """Rows by version and hour."""
        found: Counter[tuple[int, int]] = Counter()
        for each in self.journal.entries():
            found[each.version, (each.start - START) // HOUR] += each.rows
        return {key: rows for key, rows in found.items() if rows}

    def bytes_of(self) -> dict[tuple[int, int], tuple[bytes, bytes]]:
        return {(each.version, each.start): (each.counts, each.outcomes) for each in self.journal.entries()}


@contextmanager
def a_log(session: Session) -> Iterator[Log]:
    with tempfile.TemporaryDirectory() as folder:
        found = Log(session, Path(folder))
        with found.journal:
            yield found


@pytest.fixture
def log(session: Session) -> Iterator[Log]:
    with a_log(session) as found:
        yield found


quick = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(
    st.lists(st.tuples(st.integers(0, 299), st.sampled_from([1, 2, 9])), min_size=1, max_size=20),
    st.sets(st.integers(1, 19), max_size=3),
    st.integers(1, 4),
)
def test_any_chopping_into_turns_and_parts_counts_each_row_once_in_its_hour(
    session: Session, rows: list[tuple[int, int]], cuts: set[int], size: int
) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    with a_log(session) as log:
        for begin, end in itertools.pairwise(edges):
            with pytest.MonkeyPatch.context() as small:
                small.setattr(following, "CHUNK", size)
                log.write([minute / 60 for minute, _ in rows[begin:end]], [version for _, version in rows[begin:end]])
                log.turn(5.5, judged=False)
        expected = Counter((version, minute // 60) for minute, version in rows if version != 9)
        assert log.counted() == dict(expected)
        assert log.turn(5.5, judged=False).late == 0
        assert log.counted() == dict(expected), "a turn without new rows counts none again"


@pytest.mark.parametrize("size", [7, 20])
def test_batches_are_the_same_bytes_wherever_parts_end(
    session: Session, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    hours = [n % 3 + n / 60 for n in range(20)]
    with a_log(session) as one, a_log(session) as other:
        for each in (one, other):
            ids = each.write(hours, [1, 2])
            each.label(ids[::2], 150.0, 3.2)
            monkeypatch.setattr(following, "CHUNK", size if each is other else 4000)
            each.turn(4.5)
        assert one.bytes_of() == other.bytes_of()
        assert sum(each.labelled for each in other.journal.entries()) == 10
        assert [each.evidence for each in one.journal.entries()] == [
            each.evidence for each in other.journal.entries()
        ]


def test_counts_are_those_of_the_rows_themselves(log: Log) -> None:
    ids = log.write([0.5] * 30)
    log.label(ids[:7], 150.0, 0.6)
    log.turn(1.5)
    (entry,) = log.journal.entries()
    rows, labelled = counts_of(BUNDLE, entry)
    assert rows.encode() == batches.of_rows(REFERENCE, PATIENTS, ROWS[:30]).encode()
    assert labelled.rows == entry.labelled == 7
    assert sum(entry.verdicts.values()) == 30


class TestVersions:
    def test_each_has_its_own_batch_of_an_hour_and_strangers_none(self, log: Log) -> None:
        log.write([0.5] * 12, [1, 2, 9])
        assert log.turn(0.6, judged=False).judged == 0
        assert log.counted() == {(1, 0): 4, (2, 0): 4}

    def test_rows_of_a_stranger_do_not_count_later_either(self, log: Log) -> None:
        log.write([0.5] * 3, [9])
        log.turn(0.6)
        place, _ = log.journal.places()["a" * 16]
        assert place == (log.home / f"{'a' * 16}.jsonl").stat().st_size
        log.turn(1.5)
        assert log.journal.entries() == []

    def test_labels_of_one_do_not_count_for_another(self, log: Log) -> None:
        ids = log.write([0.5] * 6, [1, 2, 9])
        log.label(ids, 150.0, 0.6)
        log.turn(1.5)
        assert [(each.version, each.labelled) for each in log.journal.entries()] == [(1, 2), (2, 2)]

    def test_all_of_an_hour_are_judged_together_and_each_fact_is_once(self, log: Log) -> None:
        log.write([0.5] * 4, [1, 2])
        assert log.turn(1.5).judged == 2
        waiting = [body for kind, _, body in ((kind, n, body) for n, kind, body in log.journal.facts())]
        assert [each["version"] for each in waiting] == [1, 2]
        for _ in range(2):
            record(log.turn(1.6))
        facts = [each for each in log.session.workspace.ledger.facts() if each.body.get("model") == log.model]
        assert [each.body["version"] for each in facts] == [1, 2]
        assert log.journal.facts() == []


class TestClocks:
    @pytest.mark.parametrize(("after", "judged"), [(0, 0), (GRACE - 1, 0), (GRACE, 1), (GRACE + 1, 1)])
    def test_the_grace_is_whole(self, log: Log, after: int, judged: int) -> None:
        log.write([0.0])
        assert log.turn(1 + after / HOUR).judged == judged

    @pytest.mark.parametrize(
        ("hour", "early", "batch"),
        [(1.5, 0, 1), (1.5 + GRACE / HOUR, 0, 1), (1.5 + 2 * GRACE / HOUR, 1, 1), (2.0, 1, 2), (900.0, 1, 2)],
    )
    def test_a_row_from_ahead_goes_no_further_than_the_next_hour(
        self, log: Log, hour: float, early: int, batch: int
    ) -> None:
        log.write([hour])
        assert log.turn(1.5).early == early
        assert log.counted() == {(1, batch): 1}

    def test_jumps_to_and_fro_lose_no_row_and_judge_none_twice(self, log: Log) -> None:
        for number, now in enumerate((1.5, 100.5, 2.5, 50.5, 3.5, 200.5, 400.5)):
            log.write([now - 0.25] * 5, name=f"{number:016x}")
            log.turn(now)
        assert sum(log.counted().values()) == 35
        log.turn(500.5)
        entries = log.journal.entries()
        assert all(each.judged for each in entries)
        assert sum(each.rows for each in entries) == 35


class TestLabels:
    def test_they_wait_for_rows_of_a_segment_that_comes_later(self, log: Log) -> None:
        log.label([f"{'b' * 16}-0", "nobody", ""], 150.0, 0.2)
        log.turn(0.5)
        assert [each.id for each in log.journal.labels()] == [f"{'b' * 16}-0"]
        log.write([0.6], name="b" * 16)
        log.turn(1.5)
        assert [(each.rows, each.labelled) for each in log.journal.entries()] == [(1, 1)]

    @pytest.mark.parametrize(
        ("delay", "heard", "hour"), [("0s", 0.9, 0), ("2h", 0.9, 2), ("2h", 4.5, 4), ("1d", 1.0, 24)]
    )
    def test_one_counts_where_it_is_both_known_and_old_enough(
        self, log: Log, delay: str, heard: float, hour: int
    ) -> None:
        ids = log.write([0.5])
        log.label(ids, 150.0, heard)
        log.turn(0.95, delay=delay)
        log.turn(40.0, delay=delay)
        (found,) = [each for each in log.journal.entries() if each.labelled]
        assert (found.start - START) // HOUR == hour


def test_what_is_whole_is_not_read_again(log: Log) -> None:
    log.write([0.5] * 2)
    log.turn(0.6)
    with log.journal.step():
        log.journal.move("a" * 16, log.journal.places()["a" * 16][0], WHOLE)
    log.write([0.7] * 2)  # no server does so: a segment that was compacted never grows
    log.turn(0.8)
    assert log.counted() == {(1, 0): 2}
