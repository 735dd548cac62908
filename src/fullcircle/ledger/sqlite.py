"""Facts in a SQLite file: write-ahead log, full synchronisation, one writer at a time by BEGIN IMMEDIATE."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from fullcircle.errors import FullcircleError, LedgerBroken, SettingInvalid, WorkspaceBusy, WorkspaceUnusable
from fullcircle.ledger import sql
from fullcircle.ledger.sql import sa

PREFIX = "sqlite:///"


class SqliteStore(sql.SqlStore):
    """A store in the file of ``sqlite:///path``. See ``fullcircle.ledger.store`` for the contract."""

    def __init__(self, url: str, *, create: bool, timeout: float) -> None:
        self._path = path_of(url)
        self._timeout = timeout
        if create:
            _make_folder(self._path.parent)
        elif not self._path.is_file():
            raise WorkspaceUnusable(
                "there is no ledger here yet",
                received=str(self._path),
                next_step="check the path, or make one: fullcircle run PROJECT",
            )
        self._readonly = not _writable(self._path)
        if self._readonly and create:
            raise self._not_writable()
        pool = sa.pool.NullPool if self._readonly else sa.pool.QueuePool  # each look at an immutable file is fresh
        engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=pool)
        sa.event.listen(engine, "begin", _begin_kind)
        super().__init__(engine, shown=PREFIX + str(self._path))
        if create:
            self._create()

    def _create(self) -> None:
        self._use_wal()
        with self._translated(), self._engine.connect() as connection:
            if not sa.inspect(connection).has_table(sql.TABLE.name):
                with self._begin(connection):
                    sql.TABLE.create(connection, checkfirst=True)
                sync_folder(self._path.parent)

    def _use_wal(self) -> None:
        """Switch to the write-ahead log. SQLite answers "locked" at once here, so waiting is done by hand."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                with closing(self._connect()) as connection:
                    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            except sqlite3.Error as error:
                if not _name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise self._meaning(error) from error
            else:
                if mode == "wal":
                    return
                if time.monotonic() > deadline:
                    raise self._no_log()
            time.sleep(0.01)

    def _no_log(self) -> WorkspaceUnusable:
        return WorkspaceUnusable(
            "the file system does not allow SQLite's write-ahead log",
            received=str(self._path),
            next_step="put the workspace on a local disk, or use postgresql:// for the ledger",
        )

    def _connect(self) -> sqlite3.Connection:
        mode = "mode=ro" if self._readonly else "mode=rwc"
        if self._readonly and not _has_log(self._path):
            mode += "&immutable=1"  # a folder that cannot be written has no room for the log's index
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?{mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        # bytes that are no UTF-8 can only come from tampering: they are read, and then fail their hash
        connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        try:
            connection.execute(f"PRAGMA busy_timeout={int(self._timeout * 1000)}")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA fullfsync=1")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _begin(self, connection: sa.Connection) -> sa.Transaction:
        if self._readonly:
            raise self._not_writable()
        connection.rollback()
        connection.execution_options(fullcircle_writes=True)
        return connection.begin()

    def _not_writable(self) -> WorkspaceUnusable:
        return WorkspaceUnusable(
            "the ledger may only be read",
            received=str(self._path),
            next_step="give yourself the right to write to this file and its folder, or choose another --workspace",
        )

    def _meaning(self, error: BaseException | None) -> FullcircleError:
        name, place = _name(error), str(self._path)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or isinstance(error, sqlite3.IntegrityError):
            return WorkspaceBusy(
                f"another process kept the ledger locked for more than {self._timeout:g} seconds",
                received=place,
                next_step="wait for the other command to end, then repeat",
            )
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return LedgerBroken(
                f"the ledger's file is damaged: {error}",
                received=place,
                next_step="restore the file from a backup, then: fullcircle audit",
            )
        return WorkspaceUnusable(
            f"the ledger's file cannot be used: {error}",
            received=place,
            next_step="check the disk's space and your rights to this file and its folder",
        )


def path_of(url: str) -> Path:
    """The file named by ``sqlite:///relative`` or ``sqlite:////absolute``. Raises SettingInvalid for others."""
    path = url.removeprefix(PREFIX)
    if path == url or not path or path.startswith(":memory:") or "?" in path:
        raise SettingInvalid(
            "the ledger's URL does not name a SQLite file",
            received=repr(url),
            allowed="sqlite:///relative/path.db or sqlite:////absolute/path.db",
            next_step="change the setting ledger (FULLCIRCLE_LEDGER)",
        )
    return Path(path).absolute()


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceUnusable(
            f"the ledger's folder cannot be made: {error.strerror}",
            received=str(folder),
            next_step="choose a folder you may write to",
        ) from error


def _begin_kind(connection: sa.Connection) -> None:
    """Begin for writing where the connection asked for it; reads begin lazily and see one moment."""
    writes = connection.get_execution_options().get("fullcircle_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _name(error: BaseException | None) -> str:
    return str(getattr(error, "sqlite_errorname", ""))
