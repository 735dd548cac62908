"""The prediction log in the ledger: closed segments become facts and are compacted; and its key."""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fullcircle.errors import FullcircleError, WorkspaceBusy, WorkspaceUnusable
from fullcircle.flows.session import Session, opened
from fullcircle.settings import Settings
from fullcircle.tables import compacted, compaction, segments
from fullcircle.tables.lines import model_folder
from fullcircle.tables.outcomes import erase_outcomes
from fullcircle.tables.predictions import SegmentRows
from fullcircle.tables.private import KEY_BYTES, read_key
from fullcircle.types.contract import Contract
from fullcircle.types.facts import Fact

SMALLEST = 32768  # bytes: a smaller closed segment stays as it is, for Parquet would be larger
SECONDS = 10.0  # for settling before a flow that does not read the log; a segment of 64 MiB takes some seconds
KEY = "log.key"
ERASED = "predictions.erased"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What settling did: how many segments it noted as closed, and how many of how many rows it compacted."""

    closed: int = 0
    compacted: int = 0
    rows: int = 0


def settle(*, settings: Settings | None = None) -> Settled:
    """Note closed segments in the ledger and compact them; nothing where another process is at it."""
    with opened(settings, create=False) as session:
        return settle_in(session)


def settle_in(session: Session, *, old: bool = False, patience: float = 0.0, seconds: float = math.inf) -> Settled:
    """The same within an open session; ``patience`` is how many seconds to wait for another process.

    After ``seconds`` no further segment is begun: what is left is for the next time. A segment that cannot be settled
    keeps none of the others from it; then the first error is raised at the end.
    """
    folder = session.workspace.predictions
    if not (session.workspace.writable and folder.is_dir()):
        return Settled()
    done, failed, until = Settled(), None, time.monotonic() + seconds
    try:
        with segments.settling(folder, patience=patience):
            known = facts_of(session)
            for model in segments.models(folder):
                segments.sweep(folder / model)
                for name in segments.names(folder / model):
                    if time.monotonic() >= until:
                        break
                    try:
                        finish(folder / model, name, known.get((model, name)))
                        done = _settled(session, model, name, known, done, old=old)
                    except (OSError, ValueError) as error:  # pyarrow's errors are kinds of both
                        failed = failed or error
    except WorkspaceBusy:
        if patience:
            raise
    if failed is not None:
        raise failed if isinstance(failed, FullcircleError) else _unsettled(folder, failed) from failed
    return done


def settle_or_note(session: Session, seconds: float = math.inf) -> None:
    """Settle before another flow, which goes on where that fails: the next one tries again."""
    try:
        settle_in(session, seconds=seconds)
    except (FullcircleError, OSError) as error:
        session.progress.note(f"the prediction log cannot be settled at the moment: {error}")


def _unsettled(folder: Path, error: Exception) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        "a segment of the prediction log cannot be compacted; it stays as it is",
        received=f"{folder}: {error}"[:300],
        next_step="see that the disk has room; fullcircle audit tells whether the segment was altered",
    )


class Settler:
    """Settles the log of a session's workspace now and then, in a thread of its own with a session of its own.

    ``look`` is called by one thread and never waits. What fails is told once, and tried again the next time.
    """

    def __init__(self, session: Session, every: float = 60.0) -> None:
        self._session = session
        self._every = every
        self._next = time.monotonic() + every
        self._thread: threading.Thread | None = None
        self._told = ""

    def look(self) -> None:
        """Begin to settle, where it is time and the last time is over."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        self._thread = threading.Thread(target=self._settle, name="fullcircle-settler", daemon=True)
        self._thread.start()

    def _settle(self) -> None:
        try:
            settle(settings=self._session.settings)
        except (FullcircleError, OSError) as error:
            if str(error) != self._told:
                self._told = str(error)
                self._session.progress.note(f"the prediction log cannot be settled at the moment: {error}")
        else:
            self._told = ""


def facts_of(session: Session) -> dict[tuple[str, str], Fact]:
    """The latest fact about each closed segment of this workspace, by model and segment."""
    found = session.workspace.ledger.state().segments
    return {(model, name): fact for (owner, model, name), fact in found.items() if owner == session.workspace.id}


def finish(home: Path, name: str, fact: Fact | None) -> None:
    """Bring to its end what a crash interrupted: new files that the latest fact speaks of are put in their place."""
    new, done = (home / f"{name}{segments.COMPACTED}{suffix}" for suffix in (segments.NEW, ""))
    lines = home / f"{name}{segments.LINES}"
    if new.exists() and fact is not None and compaction.digest_of(new) == fact.body["digest"]:
        put_in_place(home, name, fact.kind)
    elif done.exists() and lines.exists() and fact is not None and compaction.digest_of(done) == fact.body["digest"]:
        compaction.publish(home, name)
    compaction.discard(home, name)
    index = home / f"{name}{segments.INDEX}"
    gone = done.exists() and not (lines.exists() or index.exists())
    if gone and fact is not None and compaction.digest_of(done) == fact.body["digest"]:
        compaction.remake_index(home, name)


def put_in_place(home: Path, name: str, kind: str) -> int:
    """Publish what was prepared. After an erasure, the outcomes of erased rows go first; returns how many."""
    gone = 0
    if kind == ERASED:
        rows = compacted.rows(home / f"{name}{segments.COMPACTED}{segments.NEW}")
        gone = erase_outcomes(home, {row.id for row in rows if row.erased})
    compaction.publish(home, name)
    return gone


def note_closed(session: Session, model: str, name: str) -> str:
    """Record that a segment of JSON lines is closed. Returns the SHA-256 of its file."""
    home = model_folder(session.workspace.predictions, model)
    path, source = home / f"{name}{segments.LINES}", SegmentRows(home, name)
    rows, first, last = 0, "", ""
    for row in source:
        rows, first, last = rows + 1, first or row.id, row.id
    digest = compaction.digest_of(path)
    session.record(
        "segment.closed",
        workspace=session.workspace.id,
        model=model,
        segment=name,
        rows=rows,
        first=first,
        last=last,
        torn=source.torn,
        bytes=path.stat().st_size,
        digest=digest,
    )
    return digest


def check_unaltered(home: Path, name: str, digest: str) -> None:
    """Raise WorkspaceUnusable where a closed segment is not the one its latest fact speaks of."""
    lines = home / f"{name}{segments.LINES}"
    path = lines if lines.exists() else home / f"{name}{segments.COMPACTED}"
    if compaction.digest_of(path) != digest:
        raise WorkspaceUnusable(
            "a segment of the prediction log was altered, and is not rewritten: that would hide it",
            received=str(path),
            next_step="restore it from a backup; fullcircle audit names all of them",
        )


def key_of(session: Session, *, make: bool = True) -> bytes:
    """The workspace's key for private values and for the ids in facts, made on first use; b"" where there is none."""
    path = session.workspace.root / KEY
    if not path.exists():
        if not make:
            return b""
        _make_key(path)
    return read_key(path)


def key_file(session: Session, contract: Contract | None = None) -> Path | None:
    """The file of the key for a server, made on first use; None where ``contract`` is given and asks for no hashes.

    A server of this version takes it without need: the next champion may hash. One of an older bundle knows no key.
    """
    if contract is not None and not any(column.hashed for column in contract.columns):
        return None
    key_of(session)
    return session.workspace.root / KEY


def _make_key(path: Path) -> None:
    """Whole or not at all. Of several processes at once, the first one's stays."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
        segments.sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _settled(
    session: Session, model: str, name: str, known: Mapping[tuple[str, str], Fact], done: Settled, *, old: bool
) -> Settled:
    home = session.workspace.predictions / model
    path = home / f"{name}{segments.LINES}"
    fact = known.get((model, name))
    if not path.exists() or (fact is not None and path.stat().st_size < SMALLEST):
        return done
    if not segments.closed(path, old=old):
        return done
    size = path.stat().st_size
    if size == 0:
        path.unlink()
        return done
    digest, closed = "" if fact is None else str(fact.body["digest"]), done.closed
    if fact is None:
        digest, closed = note_closed(session, model, name), closed + 1
    if size < SMALLEST:
        return Settled(closed=closed, compacted=done.compacted, rows=done.rows)
    if fact is not None and compaction.digest_of(path) != digest:
        return done  # altered since: the audit says so, and the evidence stays as it is
    rows = _compacted(session, model, name, digest)
    return Settled(closed=closed, compacted=done.compacted + 1, rows=done.rows + rows)


def _compacted(session: Session, model: str, name: str, digest: str) -> int:
    home, source = session.workspace.predictions / model, SegmentRows(session.workspace.predictions / model, name)
    prepared = compaction.prepare(home, name, source, lambda: source.torn)
    session.record(
        "segment.compacted",
        workspace=session.workspace.id,
        model=model,
        segment=name,
        rows=prepared.rows,
        bytes=prepared.bytes,
        digest=prepared.digest,
        source=digest,
    )
    put_in_place(home, name, "segment.compacted")
    return prepared.rows
