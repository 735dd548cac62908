"""The log as a whole: any order of writing, rolling, compacting, erasing and labelling, against a dictionary."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fullcircle.errors import PredictionNotFound
from fullcircle.tables import compaction, segments
from fullcircle.tables.outcomes import erase_outcomes
from fullcircle.tables.predictions import (
    PredictionLog,
    SegmentRows,
    append_outcomes,
    find,
    known,
    read,
    read_outcomes,
    torn_lines,
)
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction

MODELS = ("bikes", "houses")
INPUTS = st.dictionaries(
    st.sampled_from(["temp", "hr", "person"]), st.none() | st.integers(0, 9) | st.floats(0, 1) | st.text("ab")
)  # fmt: skip


class Log(RuleBasedStateMachine):
    """Two processes write two models; what is closed is compacted and erased from, in any order."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.logs = [PredictionLog(self.folder, segment_bytes=600, fsync="never", every=30.0) for _ in range(2)]
        self.rows: dict[str, Prediction] = {}
        self.erased: set[str] = set()
        self.labels: dict[str, Outcome] = {}
        self.torn = dict.fromkeys(MODELS, 0)

    @rule(place=st.integers(0, 1), model=st.sampled_from(MODELS), inputs=st.lists(INPUTS, min_size=1, max_size=4))
    def write(self, place: int, model: str, inputs: list[dict[str, Any]]) -> None:
        made = [Prediction(value=1.0, verdict=Verdict(status="ok"), model=model, inputs=one) for one in inputs]
        for row in self.logs[place].append(made):
            assert row.id not in self.rows
            self.rows[row.id] = row

    @rule(place=st.integers(0, 1))
    def end(self, place: int) -> None:
        self.logs[place].close()

    @rule(place=st.integers(0, 1), model=st.sampled_from(MODELS), cut=st.integers(1, 60))
    def die(self, place: int, model: str, cut: int) -> None:
        """The process ends in the middle of a row that nobody was told of."""
        self.logs[place].close()
        for name in self.closed(model)[:1]:
            path = self.folder / model / f"{name}.jsonl"
            whole = path.read_bytes()
            self.torn[model] += whole.endswith(b"\n")  # one that is torn already remains one
            path.write_bytes(whole + b'{"id":"' + b"x" * cut)

    @rule(model=st.sampled_from(MODELS))
    def compact(self, model: str) -> None:
        for name in self.closed(model):
            self.rewrite(model, name, frozenset())

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        row = self.rows[data.draw(st.sampled_from(sorted(self.rows)))]
        name = row.id.partition("-")[0]
        if name in self.closed(row.model, every=True):
            self.rewrite(row.model, name, frozenset([row.id]))
            self.erased.add(row.id)
            self.labels.pop(row.id, None)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), label=st.integers(0, 99))
    def label(self, data: st.DataObject, label: int) -> None:
        row = self.rows[data.draw(st.sampled_from(sorted(self.rows)))]
        assert known(self.folder, row.model, row.id) == (row.id not in self.erased)
        if row.id not in self.erased:
            append_outcomes(self.folder, row.model, [Outcome(prediction_id=row.id, value=label, time="t")])
            self.labels[row.id] = Outcome(prediction_id=row.id, value=label, time="t")

    @invariant()
    def all_is_as_the_dictionary_says(self) -> None:
        for model in MODELS:
            wanted = [row for row in self.rows.values() if row.model == model and row.id not in self.erased]
            found = read(self.folder, model)
            rows = list(found)
            assert sorted(rows, key=lambda row: row.id) == sorted(wanted, key=lambda row: row.id)
            assert [row.time for row in rows] == sorted(row.time for row in rows)
            assert found.torn == torn_lines(self.folder, model) == self.torn[model]
            labels = {one: label for one, label in self.labels.items() if self.rows[one].model == model}
            assert read_outcomes(self.folder, model) == labels
        for id in [*self.rows][-3:]:
            assert bool(find(self.folder, id).erased) == (id in self.erased)

    def teardown(self) -> None:
        for log in self.logs:
            log.close()
        shutil.rmtree(self.folder)

    def closed(self, model: str, *, every: bool = False) -> list[str]:
        home = self.folder / model
        names = segments.names(home) if home.exists() else []
        return [
            name
            for name in names
            if segments.closed(home / f"{name}.jsonl") and (every or (home / f"{name}.jsonl").exists())
        ]

    def rewrite(self, model: str, name: str, chosen: frozenset[str]) -> None:
        home = self.folder / model
        source = SegmentRows(home, name)
        rows = (replace(row, inputs=None, erased="mark") if row.id in chosen else row for row in source)
        compaction.prepare(home, name, rows, lambda: source.torn)
        erase_outcomes(home, chosen)
        compaction.publish(home, name)


Log.TestCase.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
TestLog = Log.TestCase


def test_threads_that_write_at_once_share_segments_without_mixing(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    def work(start: int) -> None:
        for n in range(0, 60, 3):
            values = [float(start + n + k) for k in range(3)]
            bodies = [b'{"value":%.1f,"verdict":{"status":"ok"},"model":"bikes"}' % value for value in values]
            told.extend(zip(log.write("bikes", bodies)[0], values, strict=True))

    with PredictionLog(tmp_path, segment_bytes=3000, every=0.005, segment_seconds=0.05) as log:
        threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({one for one, _ in told}) == 300
    assert {row.id: row.value for row in read(tmp_path, "bikes")} == dict(told)
    times = [row.time for row in read(tmp_path, "bikes")]
    assert times == sorted(times)


def test_labels_that_come_while_others_are_erased_are_kept(tmp_path: Path) -> None:
    """Blanks are written in place: no file is replaced under the one that appends."""
    gone = {f"gone-{n}" for n in range(0, 400, 2)}
    append_outcomes(tmp_path, "bikes", [Outcome(prediction_id=f"gone-{n}", value="SECRET") for n in range(400)])

    def labels() -> None:
        for n in range(60):
            append_outcomes(tmp_path, "bikes", [Outcome(prediction_id=f"new-{n}", value=n)])

    writer = threading.Thread(target=labels)
    writer.start()
    erased = sum(erase_outcomes(tmp_path / "bikes", {one}) for one in sorted(gone)[:40])
    erased += erase_outcomes(tmp_path / "bikes", gone)
    writer.join()
    assert erased == 200
    assert erase_outcomes(tmp_path / "bikes", gone) == 0
    found = read_outcomes(tmp_path, "bikes")
    assert set(found) == {f"new-{n}" for n in range(60)} | {f"gone-{n}" for n in range(1, 400, 2)}
    assert torn_lines(tmp_path, "bikes") == 0
    assert (tmp_path / "bikes" / "outcomes.jsonl").read_bytes().count(b"SECRET") == 200


_FORK = """
import os, sys
from pathlib import Path
from fullcircle.tables.appending import PredictionLog
from fullcircle.tables.segments import closed
log = PredictionLog(Path(sys.argv[1]), every=0.01)
def say(n):
    print(log.write("bikes", [b'{"value":%d.0,"verdict":{"status":"ok"},"model":"bikes"}' % n])[0][0], flush=True)
say(0)
child = os.fork()
if child == 0:
    say(1)
    log.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
lines = {path.stem: closed(path) for path in Path(sys.argv[1]).rglob("*.jsonl")}
assert sorted(lines.values()) == [False, True], lines
say(2)
log.close()
assert all(closed(path) for path in Path(sys.argv[1]).rglob("*.jsonl"))
"""


def test_a_forked_child_ends_its_own_segment_and_not_its_parents(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [find(tmp_path, one).value for one in done.stdout.split()] == [0.0, 1.0, 2.0]


def test_a_log_that_nobody_holds_any_more_ends_its_thread(tmp_path: Path) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "fullcircle-log"]

    before = len(threads())
    log = PredictionLog(tmp_path, every=0.01)
    log.write("bikes", [b'{"value":1.0}'])
    assert len(threads()) == before + 1
    log.close()
    assert len(threads()) == before
    log.write("bikes", [b'{"value":1.0}'])
    descriptors = [segment.descriptor for segment in log._segments.values()]
    thread = log._thread
    del log
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    gc.collect()
    for one in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one)
    assert all(segments.closed(path) for path in tmp_path.rglob("*.jsonl"))


def test_when_it_is_closed_nothing_holds_a_segment_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the thread that waits for a slow disk at this moment."""
    begun = threading.Event()

    def slow(handle: int) -> None:
        begun.set()
        time.sleep(0.2)

    monkeypatch.setattr(os, "fdatasync", slow)
    log = PredictionLog(tmp_path, every=0.01)
    log.write("bikes", [b'{"value":1.0}'])
    assert begun.wait(10)
    log.close()
    assert all(segments.closed(path) for path in (tmp_path / "bikes").glob("*.jsonl"))


def test_a_place_where_no_folder_can_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "bikes").write_text("")
    log = PredictionLog(tmp_path)
    with pytest.raises(OSError, match="cannot be logged"):
        log.write("bikes", [b'{"value":1.0}'])
    log.close()
    with pytest.raises(PredictionNotFound):
        find(tmp_path / "nowhere", "0" * 16 + "-0")
