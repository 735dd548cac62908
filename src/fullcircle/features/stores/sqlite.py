"""An online store in one SQLite file: embedded in the process that asks, shared by all processes of a machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path

from fullcircle.errors import OnlineStoreUnavailable
from fullcircle.features.online import Merge, check_keys, check_space, check_values, refused
from fullcircle.features.stores.connections import Connections, open_file, use_log

PREFIX = "sqlite:///"
TIMEOUT = 10.0  # seconds to wait for another writer
CHUNK = 500  # keys of one statement, whose text and plan are kept for the next time
PAGE = 1000  # pairs of one look during a scan
APPLICATION = 0x66636F6E  # "fcon", in the file's header
VERSION = 1

# A table with row ids and a small number for each space. WITHOUT ROWID would save a tenth for values of 120 bytes,
# but puts all beyond a quarter of a page on pages of its own: 4,700 bytes on disk for a value of 1,700 (measured).
SCHEMA = (
    "CREATE TABLE spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE entries (space INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, UNIQUE (space, key))",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)
ANY = "SELECT 1 FROM entries WHERE space = ? AND key BETWEEN ? AND ? LIMIT 1"
READ = "SELECT value FROM entries WHERE space = ? AND key = ?"
PUT = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (space, key) DO UPDATE SET value = excluded.value"
DROP = "DELETE FROM entries WHERE space = ? AND key = ?"
NEXT = "SELECT key, value FROM entries WHERE space = ? AND key > ? ORDER BY key LIMIT ?"
SIZES = (
    "SELECT name, count(*), sum(length(key) + length(value)) FROM entries JOIN spaces ON id = space GROUP BY space"
)


class SqliteOnlineStore:
    """A store in the file of ``sqlite:///path``. See ``fullcircle.features.online`` for the contract.

    Fully synchronised: what was acknowledged survives a power cut too, and a note never tells of values that are
    lost. Writers follow one another; readers wait for nobody. While a process has the file open it must not be
    deleted or replaced: ``clear`` its spaces instead. It belongs on a local disk, as every file of SQLite.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self._path = _path(url)
        self._spaces: dict[str, int] = {}  # the number of a space is given once and never taken back
        self._mode = "rwc" if create else "rw"
        if create:
            self._make_folder()
        elif not os.path.exists(self._path):
            raise self._nothing_yet()
        if os.path.isdir(self._path):
            raise self._error("the online store's file is a folder", "choose another path, or move the folder away")
        self._connections = Connections(self._connect, self._error)
        try:
            with self._using() as connection:
                self._prepare(connection, create=create)
        except BaseException:
            self.close()
            raise
        self._mode = "rw"

    def read(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See ``OnlineStore.read``. Written out: the context managers below would take as long as the look."""
        connection = self._connections.take()
        try:
            number = self._spaces.get(space) or self._number(connection, space)
            if len(keys) == 1:
                row = connection.execute(READ, (number, keys[0])).fetchone()
                return [row and row[0]]
            return _look(connection, number, keys)
        except sqlite3.Error as error:
            raise self._meaning(error) from error
        finally:
            self._connections.give(connection)

    def update(self, space: str, keys: Sequence[bytes], merge: Merge) -> None:
        """See ``OnlineStore.update``: within BEGIN IMMEDIATE, so ``merge`` is called once. What is equal stays."""
        keys = check_keys(keys)
        check_space(space)
        if not keys:
            return
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (space,))
            ((number,),) = connection.execute("SELECT id FROM spaces WHERE name = ?", (space,)).fetchall()
            present = _look(connection, number, keys)
            values = check_values(keys, merge(list(present)))
            changed = [(number, key, new) for key, new, old in zip(keys, values, present, strict=True) if new != old]
            changed.sort(key=itemgetter(1))  # neighbours share pages
            connection.executemany(PUT, [row for row in changed if row[2] is not None])
            connection.executemany(DROP, [row[:2] for row in changed if row[2] is None])

    def scan(self, space: str) -> Iterator[tuple[bytes, bytes]]:
        """See ``OnlineStore.scan``: page by page in the order of keys, each key once."""
        with self._using() as connection:
            number = self._number(connection, space)
            page = connection.execute(
                "SELECT key, value FROM entries WHERE space = ? ORDER BY key LIMIT ?", (number, PAGE)
            ).fetchall()
        while page:
            yield from page
            with self._using() as connection:
                page = connection.execute(NEXT, (number, page[-1][0], PAGE)).fetchall()

    def clear(self, space: str) -> None:
        """See ``OnlineStore.clear``: in one transaction, so nobody sees it half done."""
        with self._writing() as connection:
            connection.execute("DELETE FROM entries WHERE space = ?", (self._number(connection, space),))

    def note(self, name: str) -> bytes | None:
        """See ``OnlineStore.note``."""
        with self._using() as connection:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return row and bytes(row[0])

    def set_note(self, name: str, value: bytes) -> None:
        """See ``OnlineStore.set_note``."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """See ``OnlineStore.sizes``."""
        with self._using() as connection:
            return {name: (count, size) for name, count, size in connection.execute(SIZES).fetchall()}

    def close(self) -> None:
        """See ``OnlineStore.close``."""
        self._connections.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        connection = self._connections.take()
        try:
            yield connection
        except sqlite3.Error as error:
            raise self._meaning(error) from error
        finally:
            self._connections.give(connection)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _number(self, connection: sqlite3.Connection, space: str) -> int:
        """The number of a space, 0 for one that holds nothing. Kept only once it was seen committed."""
        row = connection.execute("SELECT id FROM spaces WHERE name = ?", (check_space(space),)).fetchone()
        if row is None:
            return 0
        number: int = row[0]
        if not connection.in_transaction:
            self._spaces[space] = number
        return number

    def _connect(self) -> sqlite3.Connection:
        try:
            return open_file(self._path, self._mode, TIMEOUT)
        except sqlite3.Error as error:
            raise self._meaning(error) from error

    def _prepare(self, connection: sqlite3.Connection, *, create: bool) -> None:
        """See that the file is ours and of a known format before anything is written to it; make it where empty."""
        connection.execute("BEGIN")  # one moment: another process may be making it
        try:
            ours = self._is_ours(connection)
        finally:
            connection.execute("COMMIT")
        if ours:
            if create and not os.access(self._path, os.W_OK):
                raise self._read_only()
            return
        if not create:
            raise self._nothing_yet()
        use_log(connection, TIMEOUT)
        with self._writing() as writing:
            if not self._is_ours(writing):  # nobody was faster
                for statement in SCHEMA:
                    writing.execute(statement)
        self._sync_folder()

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if application == APPLICATION and version > VERSION:
            raise self._error(
                f"the online store was written by a newer fullcircle (format {version})",
                "install that version here, or choose another file",
            )
        if application != APPLICATION and (application, version, tables) != (0, 0, 0):
            raise self._error(
                "the file of the online store is another program's database",
                "choose another path: this file was left untouched",
            )
        return bool(application == APPLICATION)

    def _make_folder(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._error(
                f"the folder of the online store cannot be made: {error.strerror}", "choose a folder you may write to"
            ) from error

    def _sync_folder(self) -> None:
        """Make the file's name survive a power cut."""
        try:
            handle = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._error(
                f"the folder of the online store cannot be used: {error.strerror}", "choose a folder on a local disk"
            ) from error

    def _nothing_yet(self) -> OnlineStoreUnavailable:
        return self._error("nothing was published in this online store yet", "check the path, or publish a view")

    def _read_only(self) -> OnlineStoreUnavailable:
        return self._error(
            "the online store may only be read", "give yourself the right to write to this file and its folder"
        )

    def _meaning(self, error: sqlite3.Error) -> OnlineStoreUnavailable:
        name = str(getattr(error, "sqlite_errorname", ""))
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return self._error(
                f"another process kept the online store locked for more than {TIMEOUT:g} seconds",
                "wait for the other command to end, then repeat",
            )
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return self._error(
                f"the file of the online store is damaged: {error}",
                "stop who uses it, move it away and publish again: everything in it is made from the feature tables",
            )
        if name.startswith("SQLITE_READONLY"):
            return self._read_only()
        return self._error(
            f"the file of the online store cannot be used: {error}",
            "check the disk's space and your rights to this file and its folder",
        )

    def _error(self, what: str, next_step: str) -> OnlineStoreUnavailable:
        return OnlineStoreUnavailable(what, received=str(self._path), next_step=next_step)


def _path(url: str) -> Path:
    path = url.removeprefix(PREFIX)
    if path == url or not path or path.startswith(":memory:") or "?" in path or "\0" in path:
        shown = repr(url) if url.startswith(PREFIX) else None
        raise refused("the online store's URL does not name a SQLite file", shown)
    return Path(path).absolute()


def _look(connection: sqlite3.Connection, number: int, keys: Sequence[bytes]) -> list[bytes | None]:
    """The values of one moment: one statement, or several in one transaction."""
    if len(keys) <= CHUNK or connection.in_transaction:
        found: dict[bytes, bytes] = {}
        if len(keys) > CHUNK and not connection.execute(ANY, (number, min(keys), max(keys))).fetchone():
            return [None] * len(keys)  # a first time: nothing stands between the first and the last key
        ordered = keys if len(keys) <= CHUNK else sorted(keys)  # neighbours share pages
        for start in range(0, len(keys), CHUNK):
            part = ordered[start : start + CHUNK]
            found.update(connection.execute(_select(len(part)), (number, *part)).fetchall())
        return [found.get(key) for key in keys]
    connection.execute("BEGIN")
    try:
        return _look(connection, number, keys)
    finally:
        connection.execute("COMMIT")


@cache
def _select(count: int) -> str:
    return f"SELECT key, value FROM entries WHERE space = ? AND key IN ({','.join('?' * count)})"  # noqa: S608
