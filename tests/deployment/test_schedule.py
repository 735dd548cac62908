"""Scheduled batches: each file once, never twice at once, and nothing piles up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.deployment import schedule
from fullcircle.deployment.schedule import History, Job, Work
from fullcircle.deployment.target import Schedule, Service
from fullcircle.deployment.targets.local import LocalTarget

# Stands for `fullcircle score`: arguments FILE --out OUT --json, and the words and exit codes of that command.
SCORER = """
import json, os, pathlib, sys, time
file, out = sys.argv[1], sys.argv[3]
assert sys.argv[2] == "--out" and sys.argv[4:] == ["--json"]
text = pathlib.Path(file).read_text()
if "slow" in text:
    pathlib.Path(out + ".at work").write_text("")
    time.sleep(60)
if "broken" in text:
    print(json.dumps({"error": {"code": "table_unreadable"}}))
    sys.exit(2)
beside = pathlib.Path(out + ".new")
beside.write_text(text.upper())
os.replace(beside, out)
rows = text.count("\\n")
print(json.dumps({"rows": rows, "rejected": text.count("bad"), "answered": 1}))
sys.exit(1 if text.count("bad") == rows else 0)
"""


def job(folder: Path, source: str, out: str = "scored", every: float = 3600.0) -> Job:
    (folder / "state").mkdir(exist_ok=True)
    found = Job(
        command=(sys.executable, "-I", "-c", SCORER),
        source=str(folder / source),
        out=str(folder / out),
        every=every,
        folder=str(folder / "state" / "work"),
    )
    (folder / "state" / schedule.JOB).write_bytes(msgspec.json.encode(found))
    return found


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def at_work(folder: Path, *further: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [sys.executable, "-I", "-m", "fullcircle.deployment.schedule", str(folder / "state"), *further],
        stdout=subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.communicate(timeout=10)


def test_a_file_that_is_named_is_scored_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\nb\n")
    work = Work(tmp_path / "state", job(tmp_path, "rows.csv"))
    for _ in range(2):
        (one,) = work.run().files
        assert (one.code, one.rows, one.rejected, one.words) == (0, 2, 0, "")
        assert Path(one.out) == tmp_path / "scored" / "rows.scored.csv"
        assert Path(one.out).read_text() == "A\nB\n"
    assert [run.files[0].code for run in schedule.recall(tmp_path / "state").runs] == [0, 0]


def test_of_a_folder_each_file_is_scored_once_and_again_when_it_changed(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    for name, text in {"1.csv": "a\n", "2.jsonl": "b\nc\n", "note.txt": "x", ".hidden.csv": "y\n"}.items():
        (inbox / name).write_text(text)
    (inbox / "below.csv").mkdir()
    work = Work(tmp_path / "state", job(tmp_path, "in"))
    assert [Path(one.file).name for one in work.run().files] == ["1.csv", "2.jsonl"]
    assert work.run().files == ()
    (inbox / "3.csv").write_text("d\n")
    (inbox / "1.csv").write_text("a\nb\n")
    assert [(Path(one.file).name, one.rows) for one in work.run().files] == [("1.csv", 2), ("3.csv", 1)]
    (inbox / "2.jsonl").unlink()
    work.run()
    assert {Path(file).name for file in schedule.recall(tmp_path / "state").done} == {"1.csv", "3.csv"}


def test_of_a_pattern_what_failed_is_tried_again_and_what_was_all_rejected_is_done(tmp_path: Path) -> None:
    (tmp_path / "a-1.csv").write_text("broken\n")
    (tmp_path / "a-2.csv").write_text("bad\n")
    (tmp_path / "b-1.csv").write_text("x\n")
    work = Work(tmp_path / "state", job(tmp_path, "a-*.csv", "out/{name}-{time}.csv"))
    first, second = work.run().files
    assert (first.code, second.code, second.rejected) == (2, 1, 1)
    assert "table_unreadable" in first.words
    assert not Path(first.out).exists()
    assert Path(second.out).name.startswith("a-2-20")
    (again,) = work.run().files
    assert again.file == first.file
    assert schedule.main([str(tmp_path / "state"), "--once"]) == 2


def test_a_file_or_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    (one,) = Work(tmp_path / "state", job(tmp_path, "none.csv")).run().files
    assert one.code == 1  # Python's own, of a traceback
    assert "FileNotFoundError" in one.words
    missing = msgspec.structs.replace(job(tmp_path, "none.csv"), command=("/no/such/program",))
    (two,) = Work(tmp_path / "state", missing).run().files
    assert (two.code, two.words) == (2, "it cannot be scored: No such file or directory")


@pytest.mark.parametrize("out", ["out/{name}.csv", "out/all-{time}.csv"])
def test_two_files_whose_results_would_have_one_name_are_both_refused(tmp_path: Path, out: str) -> None:
    (tmp_path / "in").mkdir()
    for name in ("day.csv", "day.jsonl"):
        (tmp_path / "in" / name).write_text("a\n")
    found = Work(tmp_path / "state", job(tmp_path, "in", out)).run().files
    assert [one.code for one in found] == [2, 2]
    assert found[0].words == f"its result would have the same name as that of {tmp_path / 'in' / 'day.jsonl'}"
    assert not list((tmp_path / "out").glob("*")), "and nothing is scored"


def test_a_result_is_never_replaced_by_that_of_a_file_that_came_later(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "day.csv").write_text("first\n")
    work = Work(tmp_path / "state", job(tmp_path, "in", "out/{name}.csv"))
    assert [one.code for one in work.run().files] == [0]
    (tmp_path / "in" / "day.jsonl").write_text("second\n")
    (late,) = work.run().files
    assert (Path(late.file).name, late.code) == ("day.jsonl", 2)
    assert (tmp_path / "out" / "day.csv").read_text() == "FIRST\n"


def told_by(folder: Path, program: str, *names: str) -> Work:
    """Work on files of these names by another program than the scorer; ``file`` and ``state`` are known to it."""
    (folder / "in").mkdir(exist_ok=True)
    for name in names:
        (folder / "in" / name).write_text("a\n")
    head = "import json, pathlib, sys\n"
    head += f"file, state = pathlib.Path(sys.argv[1]), pathlib.Path({str(folder / 'state')!r})\n"
    found = msgspec.structs.replace(job(folder, "in"), command=(sys.executable, "-I", "-S", "-c", head + program))
    return Work(folder / "state", found)


def test_each_file_is_noted_when_it_is_done_so_that_a_killed_run_repeats_none(tmp_path: Path) -> None:
    program = 'told = state / "runs.json"\n' + (
        'print(json.dumps({"rows": len(json.loads(told.read_text())["done"]) if told.exists() else 0}))'
    )
    work = told_by(tmp_path, program, "1.csv", "2.csv", "3.csv")
    assert [one.rows for one in work.run().files] == [0, 1, 2]


def test_a_file_that_changes_while_it_is_scored_is_scored_again(tmp_path: Path) -> None:
    work = told_by(tmp_path, 'file.write_text(file.read_text() + "b")\nprint(\'{"rows": 1}\')', "1.csv")
    assert [len(work.run().files) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("program", "done"),
    [
        ('print(\'{"rows": 2, "rejected": 2}\')\nsys.exit(1)', True),
        ("sys.exit(1)", False),
        ('print("[]")\nsys.exit(1)', False),
        ("raise MemoryError", False),
        ("import os\nos.kill(os.getpid(), 9)", False),
        ("", True),
    ],
)
def test_only_what_ended_as_it_should_is_done(tmp_path: Path, program: str, done: bool) -> None:
    work = told_by(tmp_path, program, "1.csv")
    (one,) = work.run().files
    assert one.done is done
    assert len(work.run().files) == (0 if done else 1)


ODD = ["two words.csv", "-out.csv", "line\nbreak.csv", "$(id) %s {name}.csv", "ünï'\".csv", "a.b.c.csv"]


def test_a_name_is_a_name_whatever_stands_in_it(tmp_path: Path) -> None:
    program = 'print(json.dumps({"rows": len(sys.argv)}))\npathlib.Path(sys.argv[3]).write_text(file.name)'
    work = told_by(tmp_path, program, *ODD)
    found = work.run().files
    assert {Path(one.file).name for one in found} == set(ODD)
    assert {(one.code, one.rows) for one in found} == {(0, 5)}
    assert sorted(path.read_text() for path in (tmp_path / "scored").iterdir()) == sorted(ODD)
    assert work.run().files == ()


def test_where_nothing_can_be_noted_it_does_not_begin_again_at_once(tmp_path: Path) -> None:
    work = told_by(tmp_path, 'open(str(state) + ".ran", "a").write("x")\nprint(\'{"rows": 1}\')', "1.csv")
    (tmp_path / "state" / schedule.RUNS).mkdir()  # as a full disk would do
    thread = threading.Thread(target=work.again_and_again)
    thread.start()
    until((tmp_path / "state.ran").exists)
    time.sleep(0.3)
    work.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert (tmp_path / "state.ran").read_text() == "x"


@pytest.mark.parametrize(("ahead", "runs"), [(-7200.0, 1), (-10.0, 0), (7200.0, 1)])
def test_a_clock_that_was_set_means_a_run_at_most(tmp_path: Path, ahead: float, runs: int) -> None:
    """The last run was so long ago; or it lies in the future, because the clock was set back."""
    work = told_by(tmp_path, "print('{\"rows\": 1}')", "1.csv")
    (tmp_path / "state" / schedule.RUNS).write_bytes(msgspec.json.encode(History(started=time.time() + ahead)))
    thread = threading.Thread(target=work.again_and_again)
    thread.start()
    if runs:
        until(lambda: len(schedule.recall(tmp_path / "state").runs) == runs)
    time.sleep(0.1)
    work.stop()
    thread.join(10)
    known = schedule.recall(tmp_path / "state")
    assert len(known.runs) == runs
    assert known.started <= time.time() + (0 if runs else 1), "the next one is due an interval from now, at most"


def test_runs_that_note_at_once_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    works = [Work(tmp_path / "state", job(tmp_path, "in")) for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: [one.run() for _ in range(5)]) for one in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(schedule.recall(tmp_path / "state").runs) == 20


def test_two_runs_never_overlap_even_after_the_first_was_killed(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("slow\n")
    found = job(tmp_path, "rows.csv")
    sign = tmp_path / "scored" / "rows.scored.csv.at work"
    with at_work(tmp_path) as started:
        until(sign.exists)
        scoring = int(subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, check=True).stdout)
        try:
            assert Work(tmp_path / "state", found).run().words == "the run before has not ended"
            started.kill()
            started.wait()
            # What it started is still at work, and holds the lock.
            assert Work(tmp_path / "state", found).run().words == "the run before has not ended"
        finally:
            os.kill(scoring, signal.SIGKILL)
    (tmp_path / "rows.csv").write_text("quick\n")
    until(lambda: bool(Work(tmp_path / "state", found).run().files))


def test_sigterm_ends_what_is_scored_and_the_file_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.csv").write_text("slow\n")
    (tmp_path / "in" / "soon.csv").write_text("quick\n")
    job(tmp_path, "in")
    with at_work(tmp_path) as started:
        until((tmp_path / "scored" / "rows.scored.csv.at work").exists)
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 0
    history = schedule.recall(tmp_path / "state")
    assert [one.code for one in history.runs[-1].files] == [128 + signal.SIGTERM]
    assert history.done == {}
    assert not (tmp_path / "scored" / "rows.scored.csv").exists()


def test_it_runs_at_once_then_when_due_and_goes_on_where_another_left(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n")
    job(tmp_path, "rows.csv", every=0.3)
    with at_work(tmp_path) as started:
        until(lambda: len(schedule.recall(tmp_path / "state").runs) >= 3)
        assert started.poll() is None
    known = schedule.recall(tmp_path / "state")
    job(tmp_path, "rows.csv", every=3600)
    (tmp_path / "state" / schedule.RUNS).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(known, started=time.time() - 10))
    )
    with at_work(tmp_path) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b'{"listening": "schedule"}\n'
        time.sleep(0.3)
        assert len(schedule.recall(tmp_path / "state").runs) == len(known.runs), "the last run was a moment ago"


@given(st.floats(1e9, 2e9), st.floats(10, 1e6), st.floats(-1e6, 1e7))
def test_the_next_run_is_the_next_multiple_whatever_was_missed(started: float, every: float, passed: float) -> None:
    now = started + passed
    due = schedule.following(started, every, now)
    assert due > now or abs(due - now) < 1e-3
    assert due >= started + every - 1e-3
    if passed >= 0:
        assert due - now <= every + 1e-3, "missed runs do not pile up, and none is left out"
    steps = (due - started) / every
    assert abs(steps - round(steps)) < 1e-6 * max(1.0, steps) + 1e-6 / every * 1e3


def test_only_so_many_runs_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    work = Work(tmp_path / "state", job(tmp_path, "in"))
    for _ in range(schedule.MOST_RUNS + 5):
        work.run()
    assert len(schedule.recall(tmp_path / "state").runs) == schedule.MOST_RUNS


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_history_that_cannot_be_read_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / schedule.RUNS).write_bytes(content)
    assert schedule.recall(tmp_path) == History()


def test_names_in_a_pattern_are_names_and_no_format(tmp_path: Path) -> None:
    out = "/out/{name}{0.__class__}-{time}.csv"
    assert schedule.result(out, "/in/{time}.parquet", 0) == "/out/{time}{0.__class__}-19700101T000000Z.csv"
    assert schedule.result("/out", "/in/a.b.parquet", 0) == "/out/a.b.scored.parquet"
    assert schedule.result("/out", "/in/x", 0) == "/out/x.scored.csv"


def test_the_local_target_keeps_a_schedule_and_tells_of_its_runs(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.csv").write_text("a\nbad\nc\n")
    target = LocalTarget()
    told = Schedule(
        command=(sys.executable, "-I", "-c", SCORER),
        source=str(tmp_path / "in"),
        out=str(tmp_path / "scored"),
        every=3600,
        folder=tmp_path / "work",
        environment={"SECRET": "hunter2"},
    )
    service = Service(
        python=Path(sys.executable), served=tmp_path / "s", predictions=tmp_path / "p", code=tmp_path / "c",
        state=tmp_path / "state", schedule=told,
    )  # fmt: skip
    plan = target.plan(service)
    assert (plan.action, set(plan.files)) == ("start", {"service.json", "job.json"})
    assert b"hunter2" not in b"".join(plan.files.values())
    try:
        assert target.apply(service).running
        until(lambda: (found := target.status(service).ran) is not None and found.files == 1)
        found = target.status(service)
        assert found.ran is not None
        assert (found.ready, found.url, found.ran.rows, found.ran.rejected, found.ran.code) == (True, "", 3, 1, 0)
        assert found.ran.next > found.ran.began
        assert target.plan(service).action == "keep"
        # Killed, it is started again, and the run that was is not repeated.
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: target.status(service).pid not in (0, found.pid))
        assert target.status(service).starts == 2
        other = replace(service, schedule=replace(told, every=60))
        assert target.plan(other).action == "restart"
        assert target.apply(other).pid != found.pid
    finally:
        target.remove(service)
    assert not target.status(service).running
    assert target.status(service).ran == found.ran, "what was done is remembered"
