"""Starts the processes that ask slow models."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.server.asking import Start, Warm
from fullcircle.server.follower import Entry
from fullcircle.server.frames import Question, Ready, packed, receive
from fullcircle.server.shadowing import ShadowLog

PATIENCE = 60.0  # seconds until the model has to be loaded
QUIET = 10.0  # seconds until a spare loads libraries: when a server starts, others need the cores more
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(eq=False)
class Spawned:
    """A process, the socket to it, and the writing end of its leash (a file descriptor)."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    leash: int = -1

    def released(self) -> Spawned | None:
        """The same process without its version, for another one; None where it lives no more.

        Nobody may be waiting for its answer. Whoever had it closes its own socket.
        """
        try:
            connection = self.connection.dup()
        except OSError:  # the event loop closed it when it ended
            return None
        connection.settimeout(PATIENCE)
        try:
            connection.sendall(packed(Question(mode="release", rows=())))
        except OSError:
            connection.close()
            return None
        return Spawned(self.process, connection, self.leash)

    def kill(self) -> None:
        """End it at once, and close the socket. May be called again."""
        self.connection.close()
        if self.leash >= 0:
            os.close(self.leash)
            self.leash = -1
        self.process.kill()
        self.process.wait()


class Spawner:
    """Starts processes for versions, and keeps one spare that has the libraries loaded, though no model.

    Loading them takes seconds, which nobody waits for then: a version is replaced, or a process that was killed,
    within tenths of a second. Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: Spawned | None = None
        self._modules: list[str] = []
        self._users = 0

    def spawn(
        self, folder: Path, name: str, entry: Entry, *, code: Path, online: str, shadow: ShadowLog | None = None
    ) -> Spawned:
        """A process that has loaded the version, or is its ``shadow``. Raises ServerBusy; the caller may wait."""
        start = Start(str(folder), name, entry, str(code), online, shadow)
        with self._lock:
            found, self._spare = self._spare, None
        if found is not None:
            with contextlib.suppress(_Ended):  # it may have died while nobody looked
                self._modules = _ready(found, start)
                return found
        found = _begin(())
        try:
            self._modules = _ready(found, start)
        except _Ended as error:
            raise _unstarted("it ended before it was ready, or took too long") from error
        return found

    def enter(self) -> None:
        """One more engine uses processes."""
        with self._lock:
            self._users += 1

    def leave(self, process: Spawned | None = None) -> None:
        """One engine less. ``process`` is what it had: the spare from now on, where others need one."""
        with self._lock:
            self._users -= 1
            unwanted: list[Spawned | None] = []
            if not self._users:
                unwanted, self._spare = [self._spare, process], None
            elif process is not None:
                unwanted, self._spare = [self._spare], process
        for one in unwanted:
            if one is not None:
                one.kill()

    def replenish(self) -> None:
        """See to it that there is a spare, as long as any engine uses processes."""
        with self._lock:
            if self._users and self._spare is None:
                self._spare = _begin(self._modules)


class _Ended(Exception):
    """The process said nothing: it ended, or took too long."""


def _begin(modules: Sequence[str]) -> Spawned:
    """Start a process, and let it import these modules."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    arguments = [sys.executable, "-I", "-m", "fullcircle.server.asking", str(theirs.fileno()), str(reading)]
    environment = {**os.environ, **{one: os.environ.get(one, "1") for one in _ONE_THREAD}}
    try:
        process = subprocess.Popen(
            arguments, pass_fds=[theirs.fileno(), reading], stdin=subprocess.DEVNULL, stdout=2, env=environment
        )
    except OSError:
        ours.close()
        os.close(writing)
        raise
    finally:
        theirs.close()
        os.close(reading)
    ours.settimeout(PATIENCE)
    found = Spawned(process, ours, writing)
    with contextlib.suppress(OSError):  # that it is gone is found when it is asked
        ours.sendall(packed(Warm(list(modules), QUIET)))
    return found


def _ready(found: Spawned, start: Start) -> list[str]:
    """Let the process load a version; the modules that this took. Ends it, and raises, where it cannot."""
    content = None
    with contextlib.suppress(OSError):
        found.connection.sendall(packed(start))
        content = receive(found.connection)
    ready = None if content is None else msgspec.json.decode(content, type=Ready)
    if ready is None or ready.problem:
        found.kill()
        if ready is None:
            raise _Ended
        raise _unstarted(ready.problem)
    found.connection.setblocking(False)
    return ready.modules


def _unstarted(problem: str) -> ServerBusy:
    return ServerBusy("the process of the model could not be started", received=problem, cause="not_ready")
