"""The ledger: facts are appended, never changed; each carries the hash of the one before."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fullcircle.errors import LedgerBroken, WorkspaceBusy, WorkspaceTooNew
from fullcircle.ledger.bodies import checked, lacking
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.state import Folding, State
from fullcircle.ledger.store import GENESIS, Line, Store, line_hash
from fullcircle.types import clock
from fullcircle.types.facts import Fact

FORMAT = 1
PAGE = 1000
LOWEST = -(2**63)  # a line put before the first one by hand must show, too
Read = Callable[[int, int], Sequence[Line]]


class Ledger:
    """An open ledger. Threads may share it, and any number of processes may append to one store at once.

    Every fact is verified as it is read: LedgerBroken says which one does not hold. ``id`` names the ledger for
    ever; ``checkpoints`` signs the head after each append, outside of the workspace.
    """

    def __init__(
        self, store: Store, *, id: str, actor: str, checkpoints: Checkpoints | None = None, timeout: float = 30.0
    ) -> None:
        self.id = id
        self.store = store
        self._actor = actor
        self._checkpoints = checkpoints
        self._timeout = timeout
        self._lock = threading.RLock()
        self._start()

    @property
    def actor(self) -> str:
        """Who appends here."""
        return self._actor

    def _start(self) -> None:
        self._seen: Line | None = None
        self._folding = Folding()
        self._state: State | None = None

    def append(self, kind: str, body: Mapping[str, Any], *, guard: Callable[[State], None] | None = None) -> Fact:
        """Record a fact and return it once it is safe on disk and its checkpoint is signed.

        ``guard`` is called inside the write transaction with the state that holds at that moment: nobody can
        append between its look and this fact. What it raises (StateConflict) leaves the ledger unchanged. It may
        read this ledger but not append to it. Raises FactInvalid, WorkspaceBusy, WorkspaceUnusable, LedgerBroken.
        """
        text = checked(kind, body)
        if self._checkpoints is not None:
            self._checkpoints.prepare()  # an unusable key is met before anything is recorded
        if not self._lock.acquire(timeout=self._timeout):
            raise WorkspaceBusy(
                "another thread is appending to the ledger", next_step="wait for it to end, then repeat"
            )
        try:
            with self.store.writing() as writing:
                self._refresh(writing.read)
                if guard is not None:
                    guard(self._folded())
                line = self._next(kind, text)
                writing.add(line)
            if self._checkpoints is not None:
                self._checkpoints.sign(self.id, line.seq, line.hash)
        finally:
            self._lock.release()
        return as_fact(line)

    def facts(self, kind: str | None = None, after: int = 0) -> Iterator[Fact]:
        """The facts with seq greater than ``after``, of one kind or of all, in order."""
        previous = next(iter(self.store.read(after - 1, 1)), None) if after > 0 else None
        for line in self.lines(after or LOWEST):
            verify(previous, line)
            previous = line
            if kind is None or line.kind == kind:
                yield as_fact(line)

    def lines(self, after: int = LOWEST) -> Iterator[Line]:
        """The lines as stored, unverified, for ``audit``."""
        while page := self.store.read(after, PAGE):
            yield from page
            after = page[-1].seq

    def head(self) -> Fact | None:
        """The latest fact, or None where there is none yet."""
        with self._lock:
            self._refresh(self.store.read)
            return None if self._seen is None else as_fact(self._seen)

    def state(self) -> State:
        """What holds now, by every fact that any process has appended."""
        with self._lock:
            self._refresh(self.store.read)
            return self._folded()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _refresh(self, read: Read) -> None:
        """Verify and fold what was appended since the last look, and that the last look still holds."""
        try:
            self._catch_up(read)
        except BaseException:
            self._start()  # half a page may be folded: the next look begins anew
            raise

    def _catch_up(self, read: Read) -> None:
        after = LOWEST
        if self._seen is not None:
            after = self._seen.seq
            again = read(after - 1, 1)
            if not again or again[0] != self._seen:
                raise broken(after, "is not the one that was there before")
        while page := read(after, PAGE):
            for line in page:
                verify(self._seen, line)
                self._folding.add(as_fact(line))
                self._seen, self._state = line, None
            after = page[-1].seq

    def _folded(self) -> State:
        if self._state is None:
            self._state = self._folding.state()
        return self._state

    def _next(self, kind: str, text: str) -> Line:
        seq, previous = (1, GENESIS) if self._seen is None else (self._seen.seq + 1, self._seen.hash)
        line = Line(seq, now(), self._actor, kind, text, previous, "")
        return Line(seq, line.time, line.actor, kind, text, previous, line_hash(line))


def begin(ledger: Ledger, id: str) -> None:
    """Write the first fact where the ledger is empty; of several processes at once, one does."""

    def guard(state: State) -> None:
        if state.seq:
            raise _Begun

    try:
        ledger.append("ledger.created", {"ledger": id, "format": FORMAT}, guard=guard)
    except _Begun:
        return


class _Begun(Exception):
    """Another process was faster: nothing to do."""


def identity(store: Store) -> str | None:
    """The id that the first fact gives, or None where it is absent or does not hold.

    Raises WorkspaceTooNew where a newer fullcircle made the ledger.
    """
    first = next(iter(store.read(0, 1)), None)
    if first is None or first.kind != "ledger.created" or line_hash(first) != first.hash:
        return None
    body = as_fact(first).body
    if body.get("format") != FORMAT:
        raise WorkspaceTooNew(
            "the ledger was made by a newer fullcircle; nothing was changed",
            received=f"format {body.get('format')} in {store.shown}",
            allowed=f"format {FORMAT}",
            next_step="pip install --upgrade 'fullcircle[lab]'",
        )
    return str(body.get("ledger"))


def verify(previous: Line | None, line: Line) -> None:
    """Raise LedgerBroken where ``line`` does not follow ``previous`` (None: nothing before it)."""
    seq, expected = (1, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
    if line.seq < seq:
        raise broken(line.seq, "was inserted")
    if line.seq > seq:
        raise broken(seq, "is missing")
    if line_hash(line) != line.hash:
        raise broken(line.seq, "was changed after it was recorded")
    if line.previous != expected:
        raise broken(line.seq, "does not follow from the one before it")


def broken(seq: int, text: str) -> LedgerBroken:
    """The error for a fact that does not hold."""
    return LedgerBroken(
        f"fact {seq} of the ledger {text}",
        received=f"fact {seq}",
        allowed="facts are appended and never changed",
        next_step="see what happened: fullcircle audit; then restore the ledger from a backup",
    )


def as_fact(line: Line) -> Fact:
    """The fact in a line. Raises LedgerBroken where its body cannot be understood."""
    try:
        body = json.loads(line.body)
    except ValueError as error:
        raise broken(line.seq, "has a body that is no JSON") from error
    if not isinstance(body, dict) or lacking(line.kind, body):
        raise broken(line.seq, "has a body that is incomplete")
    return Fact(
        seq=line.seq,
        time=line.time,
        actor=line.actor,
        kind=line.kind,
        body=body,
        previous=line.previous,
        hash=line.hash,
    )


def now() -> str:
    """The present moment in UTC, as facts write it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.micros())
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
