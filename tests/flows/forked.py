"""Processes forked from one in which everything is imported: real ones, without the seconds of their imports.

They begin as a command does: in a session of its own, with these variables, and nothing of what the tests hold.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

from children import Child, surrounding

_IMPORTED = (
    "alembic.command",
    "jinja2",
    "cryptography.hazmat.primitives.serialization",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "skops.io",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "fullcircle.cli.commands",
    "fullcircle.flows.run",
    "fullcircle.flows.loop",
    "fullcircle.flows.rehearse",
    "fullcircle.flows.rehearsal.worker",
    "fullcircle.flows.pages.page",
    "fullcircle.monitoring.detectors",
    "fullcircle.runtimes.boosters.runtime",
    "fullcircle.runtimes.sklearn",
    "fullcircle.evaluation.checks.quality",
)


@cache
def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context


class Forked:
    """A process that does one thing and ends, looked at as at one of ``subprocess.Popen`` with pipes of text."""

    def __init__(
        self,
        what: Callable[..., object],
        *arguments: object,
        said: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``what`` is a function of a module; ``said`` is what it finds on its standard input."""
        pipes = [_context().Pipe(duplex=False) for _ in range(3)]
        (theirs, given), (ours, out), (heard, error) = pipes
        place, variables = os.fspath(cwd or Path.cwd()), dict(os.environ if env is None else env)
        self._process = _context().Process(
            target=_begin, args=(what, arguments, place, variables, theirs, out, error)
        )
        self._process.start()
        for each in (theirs, out, error):
            each.close()
        with given:
            os.write(given.fileno(), (said or "").encode())
        self.stdout, self.stderr = _opened(ours), _opened(heard)

    @property
    def pid(self) -> int:
        """Its id, which is its session's too."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same, as ``Popen`` has it."""
        return self.returncode

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def wait(self, timeout: float = 180) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        assert self.returncode is not None, f"process {self.pid} is still there after {timeout} s"
        return self.returncode

    def communicate(self, timeout: float = 180) -> tuple[str, str]:
        """The rest of what it says, on both streams, once it has ended."""
        with ThreadPoolExecutor(2) as threads, self.stdout, self.stderr:
            said = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            self.wait(timeout)
            out, error = (each.result(timeout) for each in said)
        return out, error


def _opened(pipe: Connection) -> TextIO:
    with pipe:
        return open(os.dup(pipe.fileno()), encoding="utf-8")


def _begin(
    what: Callable[..., object], arguments: tuple[Any, ...], place: str, variables: dict[str, str], *pipes: Connection
) -> None:
    os.setsid()
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    what(*arguments)


def _command(*words: str) -> None:
    from fullcircle.cli import main

    sys.argv[:] = ["fullcircle", *words]
    main()


def command(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Forked:
    """``fullcircle`` with these words."""
    return Forked(_command, *words, cwd=cwd, env=env)


class ForkedChild(Child):
    """A command as ``children.Child`` has it, forked."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.heard = []
        self._process: Any = command(*arguments, cwd=folder, env=surrounding(folder))
