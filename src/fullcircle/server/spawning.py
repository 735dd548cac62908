"""Starts the process that asks a slow model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.server.asking import Start
from fullcircle.server.follower import Entry
from fullcircle.server.frames import Ready, receive

PATIENCE = 60.0  # seconds until the model has to be loaded
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(eq=False)
class Spawned:
    """A process that is ready, and the socket to it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket

    def kill(self) -> None:
        """End it at once, and close the socket."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def spawn(folder: Path, name: str, entry: Entry, *, code: Path, online: str) -> Spawned:
    """Start a process that loads the version, and wait until it is ready. Raises ServerBusy where it is not.

    Called by a thread that may wait.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        start = Start(theirs.fileno(), str(folder), name, entry, str(code), online)
        arguments = [sys.executable, "-I", "-m", "fullcircle.server.asking", msgspec.json.encode(start).decode()]
        environment = {**os.environ, **{one: os.environ.get(one, "1") for one in _ONE_THREAD}}
        process = subprocess.Popen(
            arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2, env=environment
        )
    ours.settimeout(PATIENCE)
    try:
        content = receive(ours)
    except OSError:
        content = None
    problem = "it ended before it was ready, or took too long"
    if content is not None:
        problem = msgspec.json.decode(content, type=Ready).problem
    if problem:
        Spawned(process, ours).kill()
        raise ServerBusy("the process of the model could not be started", received=problem, cause="not_ready")
    ours.setblocking(False)
    return Spawned(process, ours)
