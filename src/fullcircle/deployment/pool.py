"""Parts made by several processes at once, with a bounded number of stretches on their way: memory stays flat."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import msgspec

from fullcircle import errors
from fullcircle.deployment.making import Job, Part
from fullcircle.deployment.sources import Stretch
from fullcircle.deployment.worker import Reply, Request, receive, send
from fullcircle.errors import FullcircleError, ScoringFailed

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from fullcircle.deployment.worker import main
main()
"""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Numbered = tuple[int, Stretch]


class Died(Exception):
    """A worker ended before it answered. The argument says how."""


class _Worker:
    """A process of ``worker``. Started anew and not forked: what this process holds stays with it."""

    def __init__(self, job: Job) -> None:
        # One core each: threads of their own would only be in each other's way.
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        self._asked, self._answers = self._process.stdin, self._process.stdout
        self._job: Job | None = job

    def make(self, number: int, stretch: Stretch) -> Part:
        """Ask for a part. Raises what the worker raised, or Died."""
        request = Request(number, stretch.first, stretch.rows, stretch.kind, stretch.line)
        try:
            if self._job is not None:
                send(self._asked, self._job)
                self._job = None
            send(self._asked, request, stretch.data)
        except BrokenPipeError:
            pass  # it may have said why before it ended
        message = receive(self._answers)
        if message is None:
            raise Died(_ended(self._process.wait()))
        reply = msgspec.msgpack.decode(message[0], type=Reply)
        if reply.part is None:
            raise _error(reply)
        return reply.part

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._asked, self._answers):
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was on its way has nobody to reach


class Pool:
    """``workers`` processes that make the parts of one job. Leaving the ``with`` block ends them."""

    def __init__(self, job: Job, workers: int) -> None:
        self._job = job
        self._count = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="fullcircle-score")
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.end()  # a thread that waits for its answer gets the end of it
        self._threads.shutdown(wait=True)
        for worker in self._all:
            worker.end()  # also one that was just being started

    def parts(self, numbered: Iterable[Numbered]) -> Iterator[Part]:
        """A part for each stretch, in order of their completion.

        A stretch whose worker dies is tried once more, when nothing else runs: it may have been the memory. Raises
        ScoringFailed where it dies again, and whatever a worker raised.
        """
        waiting: dict[Future[Part], Numbered] = {}
        lost: list[Numbered] = []
        for number, stretch in numbered:
            waiting[self._threads.submit(self._make, number, stretch)] = (number, stretch)
            while len(waiting) >= 2 * self._count or (lost and waiting):
                yield from _some(waiting, lost)
            yield from self._again(lost)
        while waiting:
            yield from _some(waiting, lost)
        yield from self._again(lost)

    def _make(self, number: int, stretch: Stretch) -> Part:
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = _Worker(self._job)
            self._all.append(worker)
        part = worker.make(number, stretch)
        # Not in a finally: who raised or died is not asked again.
        self._idle.put(worker)
        return part

    def _again(self, lost: list[Numbered]) -> Iterator[Part]:
        while lost:
            number, stretch = lost.pop()
            try:
                yield self._threads.submit(self._make, number, stretch).result()
            except Died as error:
                raise ScoringFailed(
                    f"a worker process died twice on the rows {stretch.first} to {stretch.first + stretch.rows - 1}",
                    received=str(error),
                    next_step="see that there is enough memory (--workers 1 needs least), or look into these rows",
                ) from error


def _some(waiting: dict[Future[Part], Numbered], lost: list[Numbered]) -> Iterator[Part]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        numbered = waiting.pop(future)
        try:
            part = future.result()
        except Died:
            lost.append(numbered)
        else:
            yield part


def _ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"signal {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")


def _error(reply: Reply) -> FullcircleError:
    if reply.error is None:
        return ScoringFailed(
            "a worker process failed",
            received=reply.traceback.strip()[-1000:],
            next_step="this is a defect: report it",
        )
    fields: dict[str, Any] = dict(reply.error)
    found: FullcircleError = getattr(errors, fields.pop("class"))(fields.pop("what"), **fields)
    return found
