"""Waiting longer each time that a split's next step cannot be taken: what it lacks is seldom there a second later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fullcircle.errors import FullcircleError
from fullcircle.flows.session import Session
from fullcircle.monitoring.grid import now

FIRST = 1.0  # seconds until a step that failed is tried again
LATEST = 300.0
_BOOKS = "segment."  # facts about the log's own files: they come by the minute, and mend nothing


def cause(error: Exception) -> str:
    """What to say of an error, and what tells it from others."""
    return error.what if isinstance(error, FullcircleError) else str(error)


class Patience:
    """What whoever takes turns again and again knows of splits that could not go on, by their ids. For one thread.

    A step that failed is tried again a second later, then in twice as long, at last every five minutes: by the clock
    of the workspace or by the machine's, whichever is sooner, as a played clock may leap and may stand still. Another
    cause begins anew, and so does any fact about something else than the log's files. ``machine`` is its clock, in
    seconds.
    """

    def __init__(self, machine: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._held: dict[str, _Held] = {}
        self._told: dict[str, str] = {}

    def tried(self, session: Session, split: str, step: Callable[[], str]) -> str:
        """What the step returns, "" while it is not tried again yet. What it raises is raised."""
        held = self._held.get(split)
        if held is not None and held.outdated(session):
            held = None
        if held is not None and max(self._machine() - held.machine, (now() - held.played) / 1e6) < held.wait:
            return ""
        try:
            found = step()
        except (FullcircleError, OSError) as error:
            why = cause(error)
            wait = min(2 * held.wait, LATEST) if held is not None and held.why == why else FIRST
            self._held[split] = _Held(why, wait, session.workspace.ledger.state().seq, self._machine(), now())
            raise
        self._held.pop(split, None)
        return found

    def news(self, split: str, why: str) -> bool:
        """Whether this is to be told: it was not the last that was told of the split."""
        before, self._told[split] = self._told.get(split), why
        return before != why

    def went_on(self, split: str) -> None:
        """A turn failed in nothing. Where no step waits to be tried again, what comes next is told anew."""
        if split not in self._held:
            self._told.pop(split, None)


@dataclass
class _Held:
    """A step that failed: why, how many seconds it waits, and the last fact and both clocks at that time."""

    why: str
    wait: float
    seq: int
    machine: float
    played: int

    def outdated(self, session: Session) -> bool:
        """Whether there are facts since that may have changed something."""
        ledger = session.workspace.ledger
        last = ledger.state().seq
        if last == self.seq:
            return False
        if any(not fact.kind.startswith(_BOOKS) for fact in ledger.facts(after=self.seq)):
            return True
        self.seq = last
        return False
