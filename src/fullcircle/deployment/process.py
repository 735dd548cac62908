"""Detached processes that later processes can find again, and never mistake for another's."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fullcircle.ledger import processes


def start(arguments: Sequence[str], environment: Mapping[str, str], output: Path, *, fresh: bool = True) -> int:
    """Start a program in a session of its own, so that it outlives its parent and no Ctrl-C reaches it.

    What it writes goes to the file ``output``, which is emptied first where it is to be ``fresh``. Returns the
    process id; raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(arguments[0], list(arguments), dict(environment), file_actions=actions, setsid=True)


def born(pid: int) -> str:
    """When the process was started, in words that only equal those of the same process; "" when it has ended.

    Process ids are used again: an id alone does not say whose process it is.
    """
    _reap(pid)
    return processes.born(pid)


def can_listen(host: str, port: int) -> bool:
    """Whether a server could listen there now; 0 is any free port. Whoever listens has the last word."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return port == 0
    return True


def end(pid: int, since: str, *, patience: float) -> bool:
    """Ask the process born at ``since`` to finish (SIGTERM), and end it after ``patience`` seconds (SIGKILL).

    Another process that has the id by now is left alone. Returns whether it finished by itself.
    """
    if not _signal(pid, since, signal.SIGTERM):
        return True
    if _gone(pid, since, patience):
        return True
    _signal(pid, since, signal.SIGKILL)
    _gone(pid, since, 10.0)
    return False


def kill(pid: int, since: str) -> None:
    """End the process born at ``since`` at once (SIGKILL), without what it started, and wait until it is gone."""
    if _signal(pid, since, signal.SIGKILL):
        _gone(pid, since, 10.0)


def _gone(pid: int, since: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while born(pid) == since:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _signal(pid: int, since: str, one: signal.Signals) -> bool:
    if not since or born(pid) != since:
        return False
    try:
        os.kill(pid, one)
    except ProcessLookupError:
        return False
    return True


def _reap(pid: int) -> None:
    """A child of ours that ended stays in the table of processes until somebody asks for it."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, OSError):
        return
