"""Policies side by side: each in a process of its own that computes in one thread, as many as there are cores.

A process that dies is started once more: it goes on where it last kept its state.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from fullcircle import errors
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import FullcircleError, RehearsalFailed
from fullcircle.flows.rehearsal.running import Job, Result, run
from fullcircle.packaging.machine import one_thread

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from fullcircle.flows.rehearsal.worker import main
main()
"""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Heard = Callable[[str, int, int], None]


class _Died(Exception):
    """A worker ended before it was done. The argument says how."""


def alone(jobs: Sequence[Job], source: LoadedProject, heard: Heard) -> list[Result]:
    """The results of all jobs, one after the other in this process."""
    found = []
    for job in jobs:
        with one_thread():
            found.append(run(job, source, _heard(heard, job.name)))
    return found


def together(jobs: Sequence[Job], workers: int, heard: Heard) -> list[Result]:
    """The results of all jobs, in their order, from ``workers`` processes at a time.

    Raises what a worker raised, and RehearsalFailed where one died twice. Interrupted, it ends all of them.
    """
    crew = _Crew(heard)
    threads = ThreadPoolExecutor(max(1, workers), thread_name_prefix="fullcircle-rehearse")
    try:
        futures: list[Future[Result]] = [threads.submit(crew.result, job) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in futures]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        crew.end()
        threads.shutdown(wait=True)


class _Crew:
    """The processes that are at work."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._lock = Lock()
        self._at_work: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def result(self, job: Job) -> Result:
        """One job's result. A worker that died is replaced once."""
        try:
            return self._one(job)
        except _Died:
            pass
        try:
            return self._one(job)
        except _Died as error:
            raise RehearsalFailed(
                f"the process that played {job.name!r} died twice",
                received=str(error),
                next_step="see that there is enough memory (--workers 1 needs least); the same command goes on",
            ) from error

    def end(self) -> None:
        """End what is at work: what it did since it last kept its state is done again the next time."""
        with self._lock:
            self._ended = True
            for process in self._at_work:
                process.kill()

    def _one(self, job: Job) -> Result:
        process = self._started()
        try:
            assert process.stdin is not None  # noqa: S101 - for the type checker
            assert process.stdout is not None  # noqa: S101
            try:
                process.stdin.write(msgspec.json.encode(job) + b"\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # it may have said why before it ended
            for line in process.stdout:
                said = json.loads(line)
                if "done" in said:
                    self._heard(job.name, said["done"], said["total"])
                elif "error" in said:
                    raise _error(said)
                elif "result" in said:
                    return msgspec.convert(said["result"], Result)
            raise _Died(f"exit code {process.wait()}")
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            with self._lock:
                self._at_work.discard(process)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise _Died("the rehearsal was ended")
            environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
            process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=Path.cwd(),
                # Ctrl-C reaches every process of a terminal's session: what it means is this process's to decide.
                start_new_session=True,
            )
            self._at_work.add(process)
            return process


def _heard(heard: Heard, name: str) -> Callable[[int, int], None]:
    return lambda done, total: heard(name, done, total)


def _error(said: Any) -> FullcircleError:
    kind = getattr(errors, said["error"].get("class", ""), None)
    if kind is None:
        return RehearsalFailed(
            "a process of the rehearsal failed",
            received=said["error"]["traceback"].strip()[-1000:],
            next_step="where the last lines are in your project's code, mend that; otherwise report it as a defect",
        )
    fields = {name: said["error"][name] for name in ("what", "received", "allowed", "next_step")}
    found: FullcircleError = kind(fields.pop("what"), **fields)
    return found
