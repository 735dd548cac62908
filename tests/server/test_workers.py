"""The supervisor: workers that die, hang, are stopped or cannot begin; and what happens when it is told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fullcircle.server import listening
from fullcircle.server.board import Board
from fullcircle.server.workers import cores

# A worker of a few lines: it answers "PID" to whoever connects, and behaves as its first argument says.
PROGRAM = """
import os, select, signal, sys, time
from fullcircle.server import lines, workers
from fullcircle.server.listening import listen, url

HOW, COUNT = sys.argv[1], int(sys.argv[2])
workers.SLOWEST = 0.4

def work(place):
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    if HOW == "refuses":
        lines.tell({"error": {"code": "no"}})
        return 2
    if HOW == "dies":
        return 3
    while True:
        place.board.beat(place.number, ready=True)
        found, _, _ = select.select([place.bound, place.leash], [], [], 0.02)
        if place.leash in found:
            return 0
        if told and HOW != "stays":
            time.sleep(0.05)
            return 0
        if place.bound in found:
            try:
                connection, _ = place.bound.accept()
            except BlockingIOError:
                continue
            asked = connection.recv(10)
            if asked == b"hang":
                time.sleep(60)
            connection.sendall(b"%d" % os.getpid())
            connection.close()

lines.log("info", threaded=False)
bound = listen("127.0.0.1", 0)
place = url(bound)
sys.exit(workers.Supervisor(
    bound=bound, workers=COUNT, work=work, listening=lambda: lines.tell({"listening": place}),
    delay=0.1, grace=-4.5, hang=1.0,
).run())
"""


class Supervised:
    def __init__(self, how: str = "serves", count: int = 2) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM, how, str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = ""
        self.told: dict[str, Any] = {}

    def listens(self) -> Supervised:
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline())
        return self

    @property
    def port(self) -> int:
        return int(self.told["listening"].rpartition(":")[2])

    def ask(self, what: bytes = b"pid") -> int:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(what)
            return int(connection.recv(20))

    def pids(self) -> set[int]:
        return {int(pid) for pid in _read(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split()}

    def until(self, true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 8
        while not true():
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.01)

    def lines(self) -> str:
        assert self.process.stderr is not None
        self.said += (self.process.stderr.read() or b"").decode()
        return self.said

    def end(self, *how: signal.Signals) -> int:
        for one in how or (signal.SIGTERM,):
            self.process.send_signal(one)
        code = self.process.wait(8)
        self.lines()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _alive(pid: int) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


@pytest.fixture
def two() -> Iterator[Supervised]:
    found = Supervised().listens()
    found.until(lambda: len(found.pids()) == 2)
    yield found
    if found.process.poll() is None:
        found.end(signal.SIGKILL)


def test_a_killed_worker_is_replaced_at_once_and_others_go_on(two: Supervised) -> None:
    first, second = sorted(two.pids())
    os.kill(first, signal.SIGKILL)
    assert two.ask() in (second, *two.pids())
    two.until(lambda: len(two.pids()) == 2 and first not in two.pids())
    assert second in two.pids()
    assert "ended with -9 and is replaced" in two.lines()

    os.kill(second, signal.SIGTERM)  # one that ends by itself is replaced too
    two.until(lambda: len(two.pids()) == 2 and second not in two.pids())


def test_a_worker_that_hangs_is_killed_and_replaced(two: Supervised) -> None:
    before = two.pids()
    with socket.create_connection(("127.0.0.1", two.port)) as connection:
        connection.sendall(b"hang")
        for _ in range(20):
            assert two.ask() in before
        two.until(lambda: len(before & two.pids()) == 1 and len(two.pids()) == 2)
    assert "hangs and is killed" in two.lines()


def test_a_supervisor_that_was_stopped_kills_nobody(two: Supervised) -> None:
    """As after the machine slept: the pause is the supervisor's own. Its workers are stopped with it."""
    before = two.pids()
    everybody = [two.process.pid, *before]
    for pause in (1.2, 1.7):
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(pause)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
    assert two.ask() in before
    assert two.pids() == before
    assert "hangs" not in two.lines()


def test_one_that_dies_again_and_again_is_tried_ever_more_slowly_and_that_is_said() -> None:
    found = Supervised("dies", 1)
    found.until(lambda: found.lines().count("and is replaced") >= 5)
    messages = [json.loads(line)["message"] for line in found.lines().splitlines()]
    waits = [float(message.rpartition("in ")[2].split()[0]) for message in messages if "died at once" in message]
    assert waits[:2] == [0.4, 0.4]  # the slowest, in this test
    assert "3 times now" in found.said
    assert found.end() == 0


def test_one_that_cannot_begin_ends_the_whole_with_its_reason() -> None:
    found = Supervised("refuses").listens()
    assert found.told == {"error": {"code": "no"}}
    assert found.process.wait(5) == 2
    found.end(signal.SIGTERM)


def test_a_storm_of_signals_is_one_drain(two: Supervised) -> None:
    workers = two.pids()
    storm = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGINT) * 5
    assert two.end(*storm) == 0
    assert two.said == ""
    assert not any(_alive(pid) for pid in workers)


def test_one_that_does_not_end_is_killed_at_last() -> None:
    found = Supervised("stays", 1).listens()
    assert found.end() == 0
    assert "ended with -9 while it finished" in found.said


@pytest.mark.parametrize("stopped", [False, True])
def test_when_the_supervisor_is_killed_its_workers_end_and_free_the_port(two: Supervised, stopped: bool) -> None:
    workers, port = two.pids(), two.port
    if stopped:
        two.process.send_signal(signal.SIGSTOP)
    assert two.end(signal.SIGKILL) == -9
    two.until(lambda: not any(_alive(pid) for pid in workers))
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_it_is_small(two: Supervised) -> None:
    (size,) = [line for line in _read(f"/proc/{two.process.pid}/status").splitlines() if line.startswith("VmRSS")]
    assert int(size.split()[1]) < 30_000, "kilobytes"
    code = "import sys; from fullcircle.server import main; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "uvicorn", "uvloop", "msgspec", "asyncio", "pandas"} & set(loaded.split())


def test_a_shut_door_lets_in_who_came_and_nobody_else() -> None:
    bound = listening.listen("127.0.0.1", 0)
    address = bound.getsockname()
    early = [socket.create_connection(address) for _ in range(20)]
    assert listening.somebody_waits(bound)
    listening.shut(bound)
    late = socket.socket()
    late.settimeout(0.2)
    with pytest.raises(TimeoutError):
        late.connect(address)
    for one in early:
        connection, _ = bound.accept()
        connection.sendall(b"hello")
        connection.close()
        assert one.recv(10) == b"hello"
        one.close()
    assert not listening.somebody_waits(bound)
    bound.close()
    late.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_the_board_shows_beats_and_who_is_ready() -> None:
    board = Board(3)
    assert [board.beats(place) for place in range(3)] == [0, 0, 0]
    board.beat(1, ready=False)
    board.beat(1, ready=True)
    assert (board.beats(1), board.beats(0), board.beats(2)) == (2, 0, 0)
    assert board.ready_beside(0)
    assert not board.ready_beside(1)
    pid = os.fork()
    if not pid:
        board.beat(2, ready=True)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.beats(2) == 1, "another process's"
    board.clear(1)
    board.clear(2)
    assert (board.beats(1), board.ready_beside(0)) == (0, False)


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
