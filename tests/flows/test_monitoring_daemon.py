"""Monitoring again and again: when a turn begins, what becomes of one that fails, and how it ends when told to."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circles import Circle
from flows.forked import ForkedChild
from fullcircle.errors import SettingInvalid
from fullcircle.flows import monitoring_daemon
from fullcircle.flows.monitor import monitor
from fullcircle.flows.monitoring_daemon import BEHIND, PATIENCE, SECOND, again, again_and_again, due, span
from fullcircle.flows.session import opened
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.grid import MONDAY
from fullcircle.monitoring.journal import Journal

NOW = 1_764_000_000 * SECOND
MOMENTS = st.integers(0, 4_000_000_000 * SECOND)
LENGTHS = st.integers(SECOND, 60 * 86_400 * SECOND)


@given(MOMENTS, LENGTHS)
def test_turns_are_on_the_clock(moment: int, every: int) -> None:
    found = due(moment, every)
    assert moment < found <= moment + every
    assert (found - BEHIND - MONDAY) % every == 0
    assert due(found - 1, every) == found
    assert due(found, every) == found + every


@given(MOMENTS, LENGTHS, st.integers(1, 10_000))
def test_after_failures_a_turn_comes_soon_then_later_and_never_after_it_is_due(
    moment: int, every: int, failed: int
) -> None:
    found = again(moment, every, failed)
    assert moment < found <= due(moment, every)
    assert found <= again(moment, every, failed + 1)
    assert again(moment, every, 1) == min(due(moment, every), moment + 60 * SECOND)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("1h", 3600), ("7d", 604_800), ("1.5m", 90)])
def test_a_length_of_time(text: str, seconds: int) -> None:
    assert span(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "1", "hourly", "-1h", "0s", "999ms", "0.5s"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(SettingInvalid, match=r"--every|closely") as error:
        span(text)
    assert error.value.next_step == "say --every 1h"


class Script:
    """A turn that does what is written for it, one after the other, and notes what is told."""

    def __init__(self, *acts: object) -> None:
        self.acts = list(acts)
        self.told: list[object] = []
        self.failed: list[str] = []
        self.next: list[int] = []

    def turn(self) -> object:
        act = self.acts.pop(0)
        if isinstance(act, BaseException):
            raise act
        return act() if callable(act) else act

    def fail(self, error: Exception, following: int) -> None:
        self.failed.append(repr(error))
        self.next.append(following)

    def run(self, every: str = "1s") -> None:
        again_and_again(self.turn, every=every, told=self.told.append, failed=self.fail)


@pytest.fixture
def handlers() -> Iterator[None]:
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
    before = [signal.getsignal(one) for one in signals]
    yield
    assert [signal.getsignal(one) for one in signals] == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def _end(one: signal.Signals = signal.SIGTERM, value: object = "last") -> object:
    signal.raise_signal(one)
    return value


def test_a_turn_that_fails_is_told_and_the_next_one_works(handlers: None) -> None:
    script = Script("first", OSError("no space"), ValueError("odd"), "again", _end)
    script.run()
    assert script.told == ["first", "again", "last"], "and the turn at hand was finished before the end"
    assert script.failed == ["OSError('no space')", "ValueError('odd')"]
    assert script.next == sorted(script.next)


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_ends_it_after_the_turn(one: signal.Signals, handlers: None) -> None:
    script = Script(lambda: _end(one))
    script.run()
    assert script.told == ["last"]


def test_while_it_waits_it_ends_at_once(handlers: None) -> None:
    script = Script("first")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    script.run("30d")
    timer.join()
    assert script.told == ["first"]
    assert time.monotonic() - began < 20


def test_a_turn_that_does_not_end_is_given_up(handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring_daemon, "PATIENCE", 0.2)
    cleaned: list[str] = []

    def long() -> None:
        try:
            _end()
            time.sleep(60)
        finally:
            cleaned.append("taken back")

    script = Script(long)
    script.run()
    assert (script.told, script.failed, cleaned) == ([], [], ["taken back"])


def test_told_twice_it_does_not_wait_for_the_turn(handlers: None) -> None:
    script = Script(lambda: [_end(), _end()])
    script.run()
    assert (script.told, script.failed) == ([], [])


def test_a_clock_that_is_set_back_makes_nobody_wait(handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([NOW, NOW - 86_400 * SECOND])
    last = NOW - 86_400 * SECOND
    monkeypatch.setattr(monitoring_daemon, "now", lambda: next(times, last))
    script = Script("first", lambda: _end(value="soon"))
    script.run("1h")
    assert script.told == ["first", "soon"]


def test_what_nobody_reads_ends_it(handlers: None) -> None:
    with pytest.raises(BrokenPipeError):
        Script(BrokenPipeError()).run()


def test_beside_the_first_thread_it_leaves_signals_alone() -> None:
    found: list[str] = []

    def elsewhere() -> None:
        with pytest.raises(BrokenPipeError):
            Script("one", BrokenPipeError()).run()
        found.append("ended")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(30)
    assert found == ["ended"]


# As a process, over a real log.


@pytest.fixture
def own(circle: Circle, tmp_path: Path) -> Path:
    """A copy of the project, to be spoilt."""
    return Path(shutil.copytree(circle.project.parent, tmp_path / "houses"))


def daemon(circle: Circle, project: Path, *more: str) -> ForkedChild:
    folder = circle.settings.workspace.parent
    return ForkedChild(folder, "monitor", str(project), "--every", "1s", *more)


def test_the_daemon_goes_on_after_a_turn_that_failed(circle: Circle, own: Path) -> None:
    child = daemon(circle, own, "--json")
    first = json.loads(child.answer())
    assert (first["model"], first["rows"] >= 200) == ("houses", True)
    file = own / "project.py"
    source = file.read_text(encoding="utf-8")
    file.write_text("this is no Python\n", encoding="utf-8")
    while "error" not in (found := json.loads(child.answer())):
        assert found["model"] == "houses"
    assert found["error"]["code"] == "project_invalid"
    assert found["again"].endswith("Z")
    file.write_text(source, encoding="utf-8")
    while "error" in (found := json.loads(child.answer())):
        assert found["error"]["code"] == "project_invalid"
    assert found["model"] == "houses"
    assert child.stop(signal.SIGTERM) == 0, child.said
    for line in child.out.splitlines():
        assert json.loads(line)["model"] == "houses", "each line is whole"
    assert child.said == ""
    assert not child.alive()


def test_two_at_once_do_no_harm(circle: Circle) -> None:
    folder = circle.settings.workspace.parent
    children = [daemon(circle, circle.project, "--json") for _ in range(2)]
    for child in children:
        for _ in range(2):
            assert json.loads(child.answer())["model"] == "houses"
    for child, one in zip(children, (signal.SIGTERM, signal.SIGINT), strict=True):
        assert child.stop(one) == 0, child.said
    with opened(circle.settings) as session:
        state = session.workspace.ledger.state()
        windows = [fact.body["window"] for fact in state.windows]
        assert len(windows) == len(set(windows))
        assert all(len(kinds) == len(set(kinds)) for kinds in state.alarms.values())
    with Journal(folder / "workspace" / "monitoring" / "houses.db") as journal:
        counted = sum(entry.rows for entry in journal.entries(1))
    assert counted == monitor(circle.project, since="1970-01-05T00:00:00Z", settings=circle.settings).rows > 0


def test_a_project_that_cannot_be_loaded_is_wrong_use(circle: Circle, tmp_path: Path) -> None:
    child = daemon(circle, tmp_path / "nothing")
    assert child.wait() == 2
    assert "error (project_not_found)" in child.said


@pytest.mark.parametrize("times", [1, 2])
def test_told_to_end_while_it_waits_for_another(circle: Circle, times: int) -> None:
    """Once: it gets its turn and finishes that, if it is not too long. Twice: it does not wait any longer."""
    lock = circle.settings.workspace / "monitoring" / "houses.lock"
    with locked(lock, 20):
        child = daemon(circle, circle.project)
        assert child.until("monitor: houses")
        told = time.monotonic()
        for _ in range(times):
            time.sleep(0.3)
            child.send(signal.SIGTERM)
        if times == 2:
            assert child.wait() == 0
            assert child.out == ""
    if times == 1:
        assert child.wait() == 0, child.said
        took = time.monotonic() - told
        turns = [line for line in child.out.splitlines() if line.startswith("since ")]
        assert len(turns) == 1 or (child.out == "" and took > PATIENCE), "one turn, and not another"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
