"""The keeper: what it keeps comes back, within bounds, and never twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fullcircle.deployment import keeper, process
from fullcircle.deployment.keeper import Note, Told

LISTENS = """echo '{"listening": "http://127.0.0.1:4711"}'; """


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def told(state: Path, script: str, *further: str, **changes: float) -> Told:
    """What to keep: a shell script that writes its arguments and then does as told."""
    state.mkdir(exist_ok=True)
    arguments = ("/bin/sh", "-c", f'echo "started $*"; {script}', "sh", *further)
    found = Told(arguments=arguments, **{"pause": 0.01, "tries": 3, **changes})  # type: ignore[arg-type]
    (state / keeper.TOLD).write_bytes(msgspec.json.encode(found))
    return found


@contextmanager
def kept(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(state / keeper.LOG, "ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.deployment.keeper", str(state)], stdout=log, stderr=log
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(10)
        note = keeper.recall(state)
        if note is not None and note.lives and note.keeper == started.pid:
            process.end(note.pid, note.born, patience=1.0)


def note_of(state: Path) -> Note:
    found = keeper.recall(state)
    assert found is not None
    return found


def log_of(state: Path) -> str:
    return (state / keeper.LOG).read_text()


def test_what_dies_comes_back_on_its_port_and_sigterm_ends_both(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "exec sleep 60", "--port", "0")
    with kept(tmp_path) as running:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).url != "")
        first = note_of(tmp_path)
        assert (first.lives, first.kept, first.keeper, first.starts) == (True, True, running.pid, 1)
        assert os.getsid(first.pid) == first.pid
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: note_of(tmp_path).pid not in (0, first.pid))
        second = note_of(tmp_path)
        assert (second.url, second.starts) == (first.url, 2)
        assert f"process {first.pid} ended at 20" in second.ended
        until(lambda: "started --port 4711" in log_of(tmp_path))  # callers know the port by now
        assert log_of(tmp_path).count("started --port 0\n") == 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
        assert not second.lives
        assert note_of(tmp_path).ended == "it was told to stop"


def test_what_dies_before_it_listened_is_not_tried_again(tmp_path: Path) -> None:
    told(tmp_path, "echo 'no model' >&2; exit 7")
    with kept(tmp_path) as running:
        assert running.wait(10) == keeper.GAVE_UP
    note = note_of(tmp_path)
    assert (note.gave_up, note.starts, note.url, note.lives, note.kept) == (True, 1, "", False, False)
    assert "no model" in log_of(tmp_path)


def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    tmp_path.joinpath(keeper.TOLD).write_bytes(msgspec.json.encode(Told(arguments=("/no/such/program",))))
    with kept(tmp_path) as running:
        assert running.wait(10) == keeper.GAVE_UP
    assert "cannot start: No such file" in note_of(tmp_path).ended


def test_it_gives_up_after_so_many_quick_deaths_and_says_so(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "sleep 0.1; exit 1")
    with kept(tmp_path) as running:
        assert running.wait(20) == keeper.GAVE_UP
    note = note_of(tmp_path)
    assert (note.gave_up, note.starts) == (True, 3)
    assert "3 times in a row within 10 seconds: given up" in note.ended
    assert "given up" in log_of(tmp_path)
    assert log_of(tmp_path).count("started again in") == 2


def test_lives_that_are_long_enough_are_never_too_many(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "sleep 0.1", young=0.05)
    with kept(tmp_path) as running:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).starts > 4)
        assert running.poll() is None


def test_two_keepers_of_one_folder_are_one(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "exec sleep 60")
    with kept(tmp_path) as first:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).url != "")
        with kept(tmp_path) as second:
            assert second.wait(10) == keeper.BUSY
            assert note_of(tmp_path).keeper == first.pid
    assert log_of(tmp_path).count("started") == 1


def test_a_keeper_takes_over_what_another_left_and_notices_its_end(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "exec sleep 60")
    with kept(tmp_path) as first:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).url != "")
        left = note_of(tmp_path)
        first.kill()
        first.wait()
        assert left.lives
        with kept(tmp_path) as second:
            until(lambda: note_of(tmp_path).keeper == second.pid and note_of(tmp_path).pid == left.pid)
            assert log_of(tmp_path).count("started ") == 1
            os.kill(left.pid, signal.SIGKILL)  # no child of the second keeper
            until(lambda: note_of(tmp_path).pid not in (0, left.pid))
            assert note_of(tmp_path).starts == 2


def test_what_was_told_otherwise_is_not_taken_over(tmp_path: Path) -> None:
    program = subprocess.Popen(["sleep", "60"])
    try:
        told(tmp_path, LISTENS + "exec sleep 60")
        other = Note(pid=program.pid, born=process.born(program.pid), url="u", arguments=("sleep", "60"))
        (tmp_path / keeper.NOTE).write_bytes(msgspec.json.encode(other))
        with kept(tmp_path):
            until(lambda: note_of(tmp_path).starts == 1)
            assert note_of(tmp_path).pid != program.pid
        assert program.poll() is None
    finally:
        program.kill()
        program.wait()


def test_a_log_that_has_grown_is_set_aside_when_it_starts_again(tmp_path: Path) -> None:
    script = f"{LISTENS} if [ -e {tmp_path}/big ]; then exec sleep 60; fi; touch {tmp_path}/big; "
    told(tmp_path, script + "head -c 11000000 /dev/zero | tr '\\0' 'x'")
    with kept(tmp_path):
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).starts == 2)
        until(lambda: "started" in log_of(tmp_path))
        assert (tmp_path / keeper.LOG).stat().st_size < 10_000
        assert (tmp_path / f"{keeper.LOG}.1").stat().st_size > 11_000_000


def test_a_log_that_grows_is_set_aside_while_it_runs(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "head -c 11000000 /dev/zero | tr '\\0' 'x'; echo; echo more; exec sleep 60")
    with kept(tmp_path) as running:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).url != "")
        until(lambda: (tmp_path / f"{keeper.LOG}.1").exists() or log_of(tmp_path).endswith("more\n"))
        os.kill(running.pid, signal.SIGCHLD)  # else it looks every few seconds
        until(lambda: (tmp_path / keeper.LOG).stat().st_size < 10_000)
        assert note_of(tmp_path).starts == 1


def test_a_note_that_cannot_be_written_ends_nothing_and_is_written_later(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "exec sleep 60")
    (tmp_path / keeper.NOTE).mkdir()  # as a full disk would do, for whoever runs this
    with kept(tmp_path) as running:
        until(lambda: "started" in log_of(tmp_path))
        assert log_of(tmp_path).count("server.json cannot be written") == 1
        (tmp_path / keeper.NOTE).rmdir()
        os.kill(running.pid, signal.SIGCHLD)  # else it tries every few seconds
        until(lambda: (found := keeper.recall(tmp_path)) is not None and found.url != "")
        assert (note_of(tmp_path).starts, note_of(tmp_path).lives) == (1, True)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix == ".new") == []


def test_told_to_stop_between_two_lives_it_starts_nothing_more(tmp_path: Path) -> None:
    told(tmp_path, LISTENS + "sleep 0.05; exit 1", pause=60.0)
    with kept(tmp_path) as running:
        until(lambda: (tmp_path / keeper.NOTE).exists() and note_of(tmp_path).ended != "")
        assert (note_of(tmp_path).pid, note_of(tmp_path).kept) == (0, True)
        running.terminate()
        assert running.wait(5) == 0
    assert (note_of(tmp_path).starts, note_of(tmp_path).ended) == (1, "it was told to stop")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"pid": 1}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / keeper.NOTE).write_bytes(content)
    assert keeper.recall(tmp_path) is None


def test_a_note_of_before_there_were_keepers_is_read() -> None:
    old = msgspec.json.decode(b'{"pid": 1, "born": "x", "url": "u", "arguments": []}', type=Note)
    assert (old.keeper, old.kept, old.lives) == (0, False, False)
