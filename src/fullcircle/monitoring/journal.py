"""The journal of a model's monitoring: what was counted, judged, raised and is still to be told, in one SQLite file.

Everything that a turn changes is changed in one transaction (``Journal.step``): rows are counted and the places in
the log moved, or a batch is judged, its evidence kept, alarms changed and messages and facts queued; or nothing was.
So a process may be killed at any moment. A step waits for another process's; readers never wait. One connection
belongs to one thread. Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fullcircle.errors import WorkspaceBusy, WorkspaceTooNew, WorkspaceUnusable
from fullcircle.monitoring.grid import iso
from fullcircle.types.contract import Value
from fullcircle.types.monitoring import Alarm, Evidence

FORMAT = 1
KEPT = 3 * 366 * 86_400_000_000
"""Microseconds for which what was judged is kept, and labels wait for predictions that nobody knows."""
PATIENCE = 10.0  # seconds a step waits for that of another process
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE segments (name TEXT PRIMARY KEY, place INTEGER NOT NULL, form INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ahead (segment TEXT, place INTEGER, PRIMARY KEY (segment, place)) WITHOUT ROWID;
CREATE TABLE labels (
    segment TEXT, place INTEGER, due INTEGER, version INTEGER, time TEXT NOT NULL, value TEXT,
    counted INTEGER NOT NULL, PRIMARY KEY (segment, place)) WITHOUT ROWID;
CREATE INDEX labels_due ON labels (due, version) WHERE counted = 0;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    name TEXT NOT NULL, rows INTEGER NOT NULL, labelled INTEGER NOT NULL, late INTEGER NOT NULL,
    early INTEGER NOT NULL, verdicts TEXT NOT NULL, faults TEXT NOT NULL, counts BLOB NOT NULL,
    outcomes BLOB NOT NULL, evidence BLOB NOT NULL, judged INTEGER NOT NULL);
CREATE UNIQUE INDEX batches_open ON batches (version, start) WHERE judged = 0;
CREATE INDEX batches_time ON batches (version, start);
CREATE TABLE empties (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL);
CREATE TABLE watches (version INTEGER PRIMARY KEY, state BLOB NOT NULL, rules TEXT NOT NULL);
CREATE TABLE alarms (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, alarm BLOB NOT NULL);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL,
    next_try INTEGER NOT NULL, delivered INTEGER NOT NULL);
CREATE INDEX outbox_due ON outbox (next_try) WHERE delivered = 0;
CREATE TABLE facts (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL);
"""
_ENTRY = (
    "id, version, start, stop, name, rows, labelled, late, early, verdicts, faults, "
    "counts, outcomes, evidence, judged"
)
# Not JSON, which has no infinite numbers: a detector that saw nothing has the level log 0.
_EVIDENCE = msgspec.msgpack.Decoder(tuple[Evidence, ...])
_ALARM = msgspec.msgpack.Decoder(Alarm)
GROWING, WHOLE, GONE = 0, 1, 2
NEVER = -1  # when a label is due that was taken back
_AWAIT = """
INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET
due = iif(excluded.due IS NULL AND excluded.value = labels.value, labels.due, excluded.due),
version = iif(excluded.due IS NULL AND excluded.value = labels.value, labels.version, excluded.version),
time = excluded.time, value = excluded.value WHERE counted = 0 AND excluded.time >= labels.time
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One batch of one version: counts as ``Batch.encode`` wrote them (b"": none yet), and what was said of it.

    ``start`` (included) and ``stop`` are microseconds. ``name`` is "" but for rows that were played as a batch of
    their own. ``late`` of the rows belong to batches that were judged before they came, ``early`` to times that lie
    ahead. ``verdicts`` counts rows per status, ``faults`` per column and reason, divided by a line feed.
    """

    version: int
    start: int
    stop: int
    name: str = ""
    rows: int = 0
    labelled: int = 0
    late: int = 0
    early: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    counts: bytes = b""
    outcomes: bytes = b""
    evidence: tuple[Evidence, ...] = ()
    judged: bool = False
    id: int = 0


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label that waits for its prediction (``due`` is None) or for its batch, which begins at ``due``."""

    segment: str
    place: int
    time: str
    value: Value
    due: int | None = None
    version: int | None = None

    @property
    def id(self) -> str:
        """The prediction's id."""
        return f"{self.segment}-{self.place}"


@dataclass(frozen=True, kw_only=True)
class Due:
    """A message that waits to be delivered to one address; ``attempts`` failed so far."""

    id: int
    address: str
    message: str
    attempts: int


class Journal:
    """An open journal; close it, or use it in a ``with`` statement."""

    def __init__(self, path: Path) -> None:
        """Open the journal at ``path``, and make it where there is none.

        Raises WorkspaceTooNew where a newer fullcircle made it, and WorkspaceUnusable where an older one did or where
        it is none.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._rows = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._begin()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise self._unusable(error) from error
            raise

    def _begin(self) -> None:
        known = {name for (name,) in self._found("SELECT name FROM sqlite_master")}
        found = self.get("format") if "meta" in known else None
        if known and found != FORMAT:
            raise _refused(self.path, found)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=FULL")
        with self.step():
            if not self._found("SELECT 1 FROM sqlite_master"):
                for statement in _SCHEMA.split(";"):
                    self._rows.execute(statement)
                self.put("format", FORMAT)

    def _unusable(self, error: sqlite3.Error) -> WorkspaceUnusable | WorkspaceBusy:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return WorkspaceBusy(
                "another process is at work on the monitoring journal",
                received=str(self.path),
                next_step="try again when it is done",
            )
        return WorkspaceUnusable(
            "the monitoring journal cannot be used",
            received=f"{self.path}: {error}",
            next_step="see that the disk has room; restore the file from a backup where it is damaged",
        )

    @contextmanager
    def step(self) -> Iterator[None]:
        """One transaction: all that happens inside, or nothing. Raises WorkspaceBusy, WorkspaceUnusable."""
        try:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _found(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._rows.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._rows.close()

    def __enter__(self) -> Journal:
        """Hand itself over."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def get(self, key: str, default: Any = None) -> Any:
        """A value that ``put`` kept."""
        found = self._found("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else default

    def put(self, key: str, value: int | str | float | None) -> None:
        """Keep a value."""
        self._rows.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # Places in the log.

    def places(self) -> dict[str, tuple[int, int]]:
        """How far each segment was counted, and whether it is GROWING, counted as a WHOLE for good, or GONE."""
        return {name: (place, form) for name, place, form in self._found("SELECT * FROM segments")}

    def move(self, segment: str, place: int, form: int = GROWING) -> None:
        """The segment is counted up to a place; what was counted ahead of it lies behind it now."""
        self._rows.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (segment, place, form))
        self._rows.execute("DELETE FROM ahead WHERE segment = ? AND place < ?", (segment, place))

    def forget(self, segments: Iterable[str], before: int) -> None:
        """Drop what ended ``before`` and nobody will ask for.

        That is batches that were judged, times without any, labels that waited in vain for their prediction, and
        all of ``segments``, which the log holds no more. What the detectors remember stays, and so do alarms, places,
        and what is not told yet.
        """
        early = iso(before)
        self._rows.executemany(
            "DELETE FROM labels WHERE segment = ? AND time < ?", [(one, early) for one in segments]
        )
        self._rows.execute("DELETE FROM labels WHERE counted = 0 AND due IS NULL AND time < ?", (early,))
        for (version,) in self._found("SELECT DISTINCT version FROM batches"):
            self._rows.execute(
                "DELETE FROM batches WHERE version = ? AND start < ? AND stop <= ? AND judged = 1",
                (version, before, before),
            )
        self._rows.execute("DELETE FROM empties WHERE stop <= ?", (before,))

    def ahead(self, segment: str) -> set[int]:
        """The rows of a segment that were counted already though they lie behind the place of the segment."""
        found = self._found("SELECT place FROM ahead WHERE segment = ?", (segment,))
        return {place for (place,) in found}

    def count_ahead(self, rows: Iterable[tuple[str, int]]) -> None:
        """These rows, by segment and place, are counted and will not be again."""
        self._rows.executemany("INSERT OR IGNORE INTO ahead VALUES (?, ?)", rows)

    # Labels.

    def await_label(self, label: Label) -> None:
        """Keep a label until it is due, unless one of the same prediction has a later time or was counted.

        A label of None takes back those before it. The same label again changes nothing of when it is due.
        """
        due = NEVER if label.value is None else label.due
        values = label.segment, label.place, due, label.version, label.time, _json(label.value)
        self._rows.execute(_AWAIT, values)

    def labels(self, version: int | None = None, due: int | None = None, most: int = -1) -> list[Label]:
        """The labels that wait for their prediction, or those of a version that are due, by place in the log."""
        condition = "due IS NULL" if due is None else "due = ? AND version = ?"
        found = self._found(
            f"SELECT segment, place, time, value, due, version FROM labels WHERE counted = 0 AND {condition} "  # noqa: S608
            "ORDER BY segment, place LIMIT ?",
            (most,) if due is None else (due, version, most),
        )
        return [
            Label(segment=segment, place=place, time=time, value=msgspec.json.decode(value), due=due, version=version)
            for segment, place, time, value, due, version in found
        ]

    def counted(self, labels: Iterable[tuple[str, int]]) -> None:
        """The labels of these predictions have been counted: once and for all. Their values are not kept."""
        self._rows.executemany(
            "INSERT INTO labels VALUES (?, ?, NULL, NULL, '', NULL, 1) ON CONFLICT DO UPDATE "
            "SET counted = 1, value = NULL, due = NULL, version = NULL",
            labels,
        )

    # Batches.

    def entries(
        self,
        version: int | None = None,
        *,
        since: int = 0,
        until: int | None = None,
        judged: bool | None = None,
        counts: bool = True,
    ) -> list[Entry]:
        """The batches that end after ``since`` and begin before ``until``, the earliest first.

        Without ``counts`` these are left out, for ``counts_of`` to read one by one: all of many years take memory.
        """
        conditions, values = ["stop > ?"], [since]
        for text, value in (("version = ?", version), ("start < ?", until), ("judged = ?", judged)):
            if value is not None:
                conditions.append(text)
                values.append(int(value))
        names = _ENTRY if counts else _ENTRY.replace("counts, outcomes", "x'', x''")
        found = self._found(
            f"SELECT {names} FROM batches WHERE {' AND '.join(conditions)} ORDER BY stop, version, id",  # noqa: S608
            values,
        )
        return [_entry(row) for row in found]

    def counts_of(self, entry: Entry) -> tuple[bytes, bytes]:
        """The counts of a batch that is kept, of its rows and of its labels."""
        ((counts, outcomes),) = self._found("SELECT counts, outcomes FROM batches WHERE id = ?", (entry.id,))
        return bytes(counts), bytes(outcomes)

    def rows(self, version: int | None, since: int = 0, *, what: str = "rows") -> int:
        """How many rows (or those "labelled") of a version (or of all) the batches hold that end after ``since``."""
        asked = f"SELECT total({what}) FROM batches WHERE stop > ? AND version = ifnull(?, version)"  # noqa: S608
        return int(self._found(asked, (since, version))[0][0])

    def began(self, version: int, batches: int, *, labelled: bool = False) -> int | None:
        """When the batch began that lies so many judged ones with rows (or labels) before the last of a version."""
        what = "labelled" if labelled else "rows"
        found = self._found(
            f"SELECT start FROM batches WHERE version = ? AND judged = 1 AND {what} > 0 "  # noqa: S608
            "ORDER BY start DESC, id DESC LIMIT 1 OFFSET ?",
            (version, batches),
        )
        return int(found[0][0]) if found else None

    def starts(self) -> list[tuple[int, int]]:
        """Start and end of each batch that was not judged, the earliest first."""
        found = self._found("SELECT DISTINCT start, stop FROM batches WHERE judged = 0 ORDER BY start")
        return [(start, stop) for start, stop in found]

    def open_entry(self, version: int, start: int, stop: int) -> Entry:
        """The batch of a version that begins then and was not judged; a new one, not kept yet, if there is none."""
        found = self._found(
            f"SELECT {_ENTRY} FROM batches WHERE version = ? AND start = ? AND judged = 0",  # noqa: S608
            (version, start),
        )
        return _entry(found[0]) if found else Entry(version=version, start=start, stop=stop)

    def keep(self, entry: Entry) -> int:
        """Write a batch, in place of itself where it is kept already. Returns its id."""
        values = (
            entry.id or None,
            entry.version,
            entry.start,
            entry.stop,
            entry.name,
            entry.rows,
            entry.labelled,
            entry.late,
            entry.early,
            _json(dict(sorted(entry.verdicts.items()))),
            _json(dict(sorted(entry.faults.items()))),
            entry.counts,
            entry.outcomes,
            msgspec.msgpack.encode(entry.evidence),
            entry.judged,
        )
        marks = ", ".join("?" * len(values))
        cursor = self._rows.execute(f"INSERT OR REPLACE INTO batches ({_ENTRY}) VALUES ({marks})", values)  # noqa: S608
        return int(cursor.lastrowid or 0)

    def redirect(self, version: int, before: int, start: int) -> None:
        """The labels of a version that were due in one batch are due in another."""
        self._rows.execute(
            "UPDATE labels SET due = ? WHERE due = ? AND version = ? AND counted = 0", (start, before, version)
        )

    def drop(self, entry: Entry) -> None:
        """Take a batch out that was not judged: its rows went into another."""
        self._rows.execute("DELETE FROM batches WHERE id = ? AND judged = 0", (entry.id,))

    def empty(self, start: int, stop: int) -> None:
        """No row of any version came in the batches of this time."""
        before = self._found("SELECT start FROM empties WHERE stop = ?", (start,))
        if before:
            self._rows.execute("UPDATE empties SET stop = ? WHERE start = ?", (stop, before[0][0]))
        else:
            self._rows.execute("INSERT OR REPLACE INTO empties VALUES (?, ?)", (start, stop))

    def empties(self) -> list[tuple[int, int]]:
        """The stretches of time whose batches were judged without a row in them, in order."""
        return self._found("SELECT start, stop FROM empties ORDER BY start")

    # Detectors and alarms.

    def state(self, version: int) -> bytes:
        """What the detectors of a version remember; b"" before the first batch."""
        found = self._found("SELECT state FROM watches WHERE version = ?", (version,))
        return bytes(found[0][0]) if found else b""

    def rules(self, version: int) -> str:
        """The rules by which the detectors of a version judged last; "" before the first batch."""
        found = self._found("SELECT rules FROM watches WHERE version = ?", (version,))
        return str(found[0][0]) if found else ""

    def remember(self, version: int, state: bytes, rules: str) -> None:
        """Keep what the detectors of a version remember, and the rules by which they judged."""
        self._rows.execute("INSERT OR REPLACE INTO watches VALUES (?, ?, ?)", (version, state, rules))

    def alarms(self, version: int | None = None) -> tuple[Alarm, ...]:
        """All alarms in order of their opening, of one version or of all."""
        found = self._found("SELECT alarm FROM alarms ORDER BY place")
        alarms = (_ALARM.decode(text) for (text,) in found)
        return tuple(alarm for alarm in alarms if version is None or alarm.version == version)

    def raise_alarms(self, alarms: Iterable[Alarm]) -> None:
        """Write alarms: new ones behind the others, known ones in their place."""
        self._rows.executemany(
            "INSERT INTO alarms (id, alarm) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET alarm = excluded.alarm",
            [(alarm.id, msgspec.msgpack.encode(alarm)) for alarm in alarms],
        )

    # What is still to be told.

    def queue(self, addresses: Iterable[str], message: str) -> None:
        """Put a message in the outbox, once for each address."""
        rows = [(address, message) for address in addresses]
        self._rows.executemany("INSERT INTO outbox VALUES (NULL, ?, ?, 0, 0, 0)", rows)

    def due(self, now: int) -> list[Due]:
        """The messages that are to be tried now, the oldest first."""
        found = self._found(
            "SELECT id, address, message, attempts FROM outbox WHERE delivered = 0 AND next_try <= ? ORDER BY id",
            (now,),
        )
        return [Due(id=id, address=to, message=text, attempts=attempts) for id, to, text, attempts in found]

    def undelivered(self) -> int:
        """How many messages wait."""
        return int(self._found("SELECT count(*) FROM outbox WHERE delivered = 0")[0][0])

    def delivered(self, id: int) -> None:
        """A message arrived, or nobody is to get it any more; it is never sent again, and not kept."""
        with self.step():
            self._rows.execute("DELETE FROM outbox WHERE id = ?", (id,))

    def failed(self, id: int, next_try: int) -> None:
        """A message did not arrive; it is tried again from ``next_try`` on."""
        with self.step():
            self._rows.execute("UPDATE outbox SET attempts = attempts + 1, next_try = ? WHERE id = ?", (next_try, id))

    def note_fact(self, kind: str, body: Mapping[str, Any]) -> None:
        """Queue a fact for the ledger."""
        self._rows.execute("INSERT INTO facts VALUES (NULL, ?, ?)", (kind, _json(body)))

    def facts(self) -> list[tuple[int, str, dict[str, Any]]]:
        """The facts that wait, in order: their number here, kind and body."""
        found = self._found("SELECT id, kind, body FROM facts ORDER BY id")
        return [(id, kind, msgspec.json.decode(body)) for id, kind, body in found]

    def recorded(self, ids: Sequence[int]) -> None:
        """These facts are in the ledger."""
        with self.step():
            self._rows.executemany("DELETE FROM facts WHERE id = ?", [(id,) for id in ids])


def _entry(row: Sequence[Any]) -> Entry:
    names = _ENTRY.split(", ")
    found = dict(zip(names, row, strict=True))
    found["verdicts"] = msgspec.json.decode(found["verdicts"])
    found["faults"] = msgspec.json.decode(found["faults"])
    found["evidence"] = _EVIDENCE.decode(found["evidence"])
    found["judged"] = bool(found["judged"])
    return Entry(**found)


def _refused(path: Path, found: Any) -> WorkspaceTooNew | WorkspaceUnusable:
    """Why a file is not read: it is of another form, or no journal at all. Nothing of it was changed."""
    if not isinstance(found, int) or found < 1:
        return WorkspaceUnusable(
            "this file is no monitoring journal; nothing was changed",
            received=str(path),
            allowed=f"a journal of format {FORMAT}",
            next_step="put the file elsewhere, and a backup in its place; without one the log is counted anew",
        )
    if found > FORMAT:
        return WorkspaceTooNew(
            "the monitoring journal was made by a newer fullcircle; nothing was changed",
            received=f"format {found} in {path}",
            allowed=f"format {FORMAT}",
            next_step="pip install --upgrade 'fullcircle[lab]'",
        )
    return WorkspaceUnusable(
        "the monitoring journal was made by an older fullcircle, which wrote it otherwise; nothing was changed",
        received=f"format {found} in {path}",
        allowed=f"format {FORMAT}",
        next_step="put the file elsewhere: the next turn counts the log anew, its evidence begins anew too",
    )


def _json(noun: object) -> str:
    return msgspec.json.encode(noun).decode()
