"""Connections to one SQLite file, each used by one thread at a time and never carried into a forked child.

SQLite forbids a child to use, and even to close, what its parent opened, and its locks are lost on the way without a
word. So before a fork whatever is open is closed; afterwards parent and child open their own when they need one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import quote

PATIENCE = 5.0  # seconds that a fork waits for other threads to finish what they do

PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = 1",
    "PRAGMA cache_size = -32768",
    "PRAGMA journal_size_limit = 67108864",  # after a large update the log gives its space back
)


def open_file(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """A connection that no transaction is begun for by itself, and that waits ``timeout`` seconds for a writer.

    The file is not mapped into memory: reads gain little by it, and where a mapped file is cut short the process is
    ended instead of told.
    """
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def use_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to the write-ahead log. SQLite answers "locked" at once here, so waiting is done by hand."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class Connections:
    """Takes an idle connection or opens one; as many are open as threads were ever at work together.

    ``refuse`` makes the error for a use that is not allowed, from what is wrong and what to do next.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], refuse: Callable[[str, str], Exception]) -> None:
        self._connect = connect
        self._refuse = refuse
        self._idle: list[sqlite3.Connection] = []  # taken and given by single operations, which are atomic
        self._open: set[sqlite3.Connection] = set()
        self._lock = threading.Lock()  # held to open and close, and during a fork
        self._refused: tuple[str, str] | None = None
        _watch_forks()
        _ALL.add(self)

    def take(self) -> sqlite3.Connection:
        """A connection for this thread alone, until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._another()

    def give(self, connection: sqlite3.Connection) -> None:
        """Give back what was taken."""
        self._idle.append(connection)
        if self._refused:
            self.close()

    def close(self) -> None:
        """Close what is idle now, and the others as they are given back."""
        with self._lock:
            self._refused = self._refused or ("the online store is closed", "open it again")
            self._close_idle()

    def _another(self) -> sqlite3.Connection:
        with self._lock:
            if self._refused:
                raise self._refuse(*self._refused)
            connection = self._connect()
            self._open.add(connection)
            return connection

    def _close_idle(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection in self._open:  # in a forked child the inherited ones are not
                self._open.discard(connection)
                connection.close()

    def before_fork(self) -> None:
        """Hold the lock, so that none is opened, and close all, waiting for those in use."""
        self._lock.acquire()
        deadline = time.monotonic() + PATIENCE
        self._close_idle()
        while self._open and time.monotonic() < deadline:
            time.sleep(0.001)
            self._close_idle()

    def after_fork(self, *, child: bool) -> None:
        """Go on. A child that inherited a connection in use must not touch the file at all."""
        if child and self._open:
            self._refused = (
                "the online store was in use while this process was forked",
                "fork while no thread uses the store, or start processes with spawn",
            )
            _INHERITED.extend(self._open)
            self._open.clear()
        self._lock.release()


_ALL: weakref.WeakSet[Connections] = weakref.WeakSet()
_HELD: list[Connections] = []  # between before and after a fork
_INHERITED: list[sqlite3.Connection] = []  # kept, because nothing may close them in this process


@cache
def _watch_forks() -> None:
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )


def _before() -> None:
    _HELD.extend(_ALL)
    for connections in _HELD:
        connections.before_fork()


def _after(*, child: bool) -> None:
    while _HELD:
        _HELD.pop().after_fork(child=child)
