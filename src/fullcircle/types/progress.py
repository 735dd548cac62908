"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives steps. A step lasts until the next one begins, or ``done``."""

    def step(self, name: str, detail: str = "") -> None:
        """A new step begins."""

    def note(self, text: str) -> None:
        """Something worth saying happened within the step."""

    def advance(self, done: int, total: int) -> None:
        """``done`` of ``total`` parts of the step are finished. ``total`` is 0 where nobody knows it."""


class Silent:
    """Listens to nothing."""

    def step(self, name: str, detail: str = "") -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def advance(self, done: int, total: int) -> None:
        """Ignore."""
