"""A listener that also keeps what it heard: the stages of a turn, with their lengths."""

from __future__ import annotations

import time

from fullcircle.types.progress import Progress
from fullcircle.types.turn import Stage


class Stages:
    """Passes progress on to another listener and remembers each step, how long it took and what was noted."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._done: list[Stage] = []
        self._name = ""
        self._notes: list[str] = []
        self._since = time.perf_counter()

    def step(self, name: str, detail: str = "") -> None:
        """A new step begins. The same name again continues the step."""
        if name != self._name:
            self._close()
            self._name = name
        self._inner.step(name, detail)

    def note(self, text: str) -> None:
        """Something worth saying about the step."""
        self._notes.append(text)
        self._inner.note(text)

    def advance(self, done: int, total: int) -> None:
        """How far the step is."""
        self._inner.advance(done, total)

    def finished(self) -> tuple[Stage, ...]:
        """All stages so far, the running one included."""
        self._close()
        return tuple(self._done)

    def _close(self) -> None:
        now = time.perf_counter()
        if self._name:
            self._done.append(Stage(name=self._name, seconds=now - self._since, text="; ".join(self._notes)))
        self._name, self._notes, self._since = "", [], now
