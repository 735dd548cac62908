"""The supervisor: it listens, starts the workers that answer, and replaces those that die or hang.

It stays small (no numpy, no uvicorn, no thread), so that a fork costs milliseconds and nothing in it can break.
Its workers hold the reading end of a pipe, the leash, whose writing end only it has: when it dies, however it dies,
the pipe ends, and they finish what they answer and end too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fullcircle.server import listening
from fullcircle.server.board import Board

_logger = logging.getLogger(__name__)
GRACE_SECONDS = 30.0  # what is being answered when told to stop has so long to finish
WAKE = 1.0  # seconds between two looks at the workers
STARTING = 60.0  # seconds until the first beat of a worker: it imports what it needs before
YOUNG = 10.0  # a worker that dies within so many seconds died at once
SLOWEST = 30.0  # seconds between two tries with a worker that dies at once again and again
TELL_AFTER = 3  # deaths at once, one after another, until it is said
_LATE = 5.0  # seconds over delay and grace until a worker that does not end is killed
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NOBODY = -1  # no worker's place


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a worker is given: the open socket, its place on the board, and the leash (a file descriptor)."""

    bound: socket.socket
    board: Board
    number: int
    leash: int


@dataclass
class _Worker:
    """A place and who is there. ``pid`` 0: nobody, the next try is at ``due``."""

    number: int
    pid: int = 0
    born: float = 0.0
    due: float = 0.0
    seen: int = 0  # beats at the last look
    silent: float = 0.0  # seconds without a beat in which the supervisor itself was awake
    short: int = 0  # lives in a row that ended at once


@dataclass(kw_only=True)
class Supervisor:
    """Runs ``work`` in ``workers`` processes until told to stop. Used once, by the main thread.

    ``work`` gets its place and returns the exit code of its process. ``listening`` is called when the first worker
    answers. A worker that ends with ``refused`` before any worker has answered ends the whole with that code: it
    has said why. ``delay`` and ``hang`` are seconds. ``late``: it counts as answering when its models do.
    """

    bound: socket.socket
    workers: int
    work: Callable[[Place], int]
    listening: Callable[[], None]
    delay: float = 0.5
    grace: float = GRACE_SECONDS
    hang: float = 10.0
    refused: int = 2
    late: bool = False
    _all: list[_Worker] = field(default_factory=list)
    _told: float | None = None
    _answered: bool = False
    _shut: bool = False
    _looked: float = 0.0

    def run(self) -> int:
        """Start the workers and look after them. Returns 0 after a signal, when all of them have ended."""
        self._board = Board(self.workers)
        self._leash, self._hand = os.pipe()
        os.set_inheritable(self._hand, False)
        self._all = [_Worker(number) for number in range(self.workers)]
        self._looked = time.monotonic()
        try:
            with self._signals() as woken:
                while True:
                    self._start_due()
                    self._sleep(woken)
                    code = self._reap()
                    if code is not None:
                        return code
                    self._look()
                    if self._told is not None and self._drained():
                        return 0
        finally:
            # Also where the supervisor itself breaks: the workers see the leash end, and finish.
            os.close(self._hand)
            os.close(self._leash)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Signals only wake the loop: what they mean is done there, once."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        # Whoever started the server with nohup wants it to outlive the terminal.
        heard = [one for one in _SIGNALS if signal.getsignal(one) != signal.SIG_IGN]
        before = {one: signal.signal(one, self._hear) for one in heard}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wake = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wake)
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(reading)
            os.close(writing)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._told is None:
            self._told = time.monotonic()
            for worker in self._all:
                _kill(worker.pid, signal.SIGTERM)

    def _sleep(self, woken: int) -> None:
        now = time.monotonic()
        until = [now + WAKE, *(worker.due for worker in self._all if not worker.pid and self._told is None)]
        if self._told is not None and not self._shut:
            until.append(self._told + self.delay)
        if not self._answered:
            until.append(now + 0.02)
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        if poll.poll(max(0.0, min(until) - now) * 1000):
            with contextlib.suppress(BlockingIOError):
                while os.read(woken, 4096):
                    pass

    def _start_due(self) -> None:
        for worker in self._all:
            if self._told is None and not worker.pid and worker.due <= time.monotonic():
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        self._board.clear(worker.number)
        worker.seen, worker.silent, worker.born = 0, 0.0, time.monotonic()
        # A signal between the fork and the child's own handlers must neither be lost nor be heard twice.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._be(worker)
            worker.pid = pid
        except OSError as error:  # no more processes, no more memory
            worker.due = time.monotonic() + SLOWEST / 10
            _logger.error("a worker cannot be started: %s", error.strerror)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _be(self, worker: _Worker) -> NoReturn:
        """The life of a worker, in the child."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group; the supervisor tells
                signal.signal(one, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until there is something to finish
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(self._hand)
            code = self.work(Place(bound=self.bound, board=self._board, number=worker.number, leash=self._leash))
        except BaseException:
            _logger.exception("a worker broke")
        finally:
            for handler in logging.getLogger().handlers:
                handler.flush()
            os._exit(code)

    def _reap(self) -> int | None:
        """Take note of who has ended; the exit code, where the first worker could not even begin."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if not pid:
                return None
            for worker in self._all:
                if worker.pid == pid:
                    code = os.waitstatus_to_exitcode(status)
                    if code == self.refused and not self._answered and not self._board.beats(worker.number):
                        return code
                    self._bury(worker, code)

    def _bury(self, worker: _Worker, code: int) -> None:
        now = time.monotonic()
        self._board.clear(worker.number)
        pid, worker.pid = worker.pid, 0
        if self._told is not None:
            if code:
                _logger.error("worker %d (process %d) ended with %d while it finished", worker.number, pid, code)
            return
        worker.short = worker.short + 1 if now - worker.born < YOUNG else 0
        wait = min(SLOWEST, 0.05 * 2.0**worker.short) if worker.short else 0.0
        worker.due = now + wait
        _logger.error("worker %d (process %d) ended with %d and is replaced", worker.number, pid, code)
        if worker.short >= TELL_AFTER:
            _logger.error(
                "worker %d died at once, %d times now; the next try is in %.1f seconds",
                worker.number, worker.short, wait,
            )  # fmt: skip

    def _look(self) -> None:
        """Count silence, and end who has been silent for too long.

        Only time in which the supervisor itself was awake is counted, and no single look is enough: where it comes
        late, because the machine slept or the supervisor was stopped, the next look finds the beats of a worker
        that lives.
        """
        now = time.monotonic()
        passed = now - self._looked
        awake = 0.0
        if passed >= WAKE / 2:  # a signal may wake it at any moment
            self._looked = now
            awake = min(passed, WAKE) if passed < 1.5 * WAKE else WAKE / 4
        for worker in self._all:
            if not worker.pid:
                continue
            beats = self._board.beats(worker.number)
            if beats != worker.seen:
                worker.seen, worker.silent = beats, 0.0
                if not self._answered and (not self.late or self._board.ready_beside(_NOBODY)):
                    self._answered = True
                    self.listening()
                continue
            worker.silent += awake
            if worker.silent > (self.hang if beats else max(STARTING, self.hang)):
                _logger.error("worker %d (process %d) hangs and is killed", worker.number, worker.pid)
                _kill(worker.pid, signal.SIGKILL)
                worker.silent = 0.0

    def _drained(self) -> bool:
        """Close the door after the delay; True when all workers have ended, by themselves or at last by force."""
        told = self._told or 0.0
        if not self._shut and time.monotonic() - told >= self.delay:
            self._shut = True
            listening.shut(self.bound)
            self.bound.close()
        if time.monotonic() - told > self.delay + self.grace + _LATE:
            for worker in self._all:
                _kill(worker.pid, signal.SIGKILL)
        return not any(worker.pid for worker in self._all)


def cores() -> int:
    """How many cores this process may use: its affinity, and the quota of its control group where there is one."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:
        found = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        found = min(found, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no quota, or "max"
    return max(1, found)


def one_thread() -> None:
    """Let each worker's maths use one thread: the cores are shared by workers, not by threads that wait by spinning.

    Must be called before anything that computes is loaded. What the caller has set stays.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _kill(pid: int, one: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, one)
