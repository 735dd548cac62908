"""Progress for people: a live line on a terminal, plain lines elsewhere. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.status import Status

Ending = Literal["done", "failed", "stopped"]
_BAR = 24
_MANY = 1000  # parts, so many that a pace says something
_COLOURS: Mapping[Ending, str] = {"done": "green", "failed": "red", "stopped": "yellow"}


class Lines:
    """One line per step and note."""

    def step(self, name: str, detail: str = "") -> None:
        """A new step begins."""
        sys.stderr.write(f"{name}: {detail}\n" if detail else f"{name}\n")

    def note(self, text: str) -> None:
        """Something was noted."""
        sys.stderr.write(f"  {text}\n")

    def advance(self, done: int, total: int) -> None:
        """Parts are not worth a line each."""


class Live:
    """The running step with a spinner and its parts; finished steps stay above with their length."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._name = ""
        self._detail = ""
        self._since = time.perf_counter()
        self._paced: tuple[float, int] | None = None  # when the step told of its parts first, and how many were done

    def step(self, name: str, detail: str = "") -> None:
        """A new step begins."""
        if name != self._name:
            self._finish()
            self._name, self._since = name, time.perf_counter()
            self._paced = None
        self._detail = detail
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        self._status.update(f"[bold]{escape(name)}[/] {escape(detail)}")

    def note(self, text: str) -> None:
        """Something was noted."""
        self._console.print(f"  [dim]{escape(text)}[/]")

    def advance(self, done: int, total: int) -> None:
        """How far the step is, and for many parts its pace and the time that is left. ``total`` is 0 if unknown."""
        if self._status is None:
            return
        told = f"[bold]{escape(self._name)}[/] {escape(self._detail)}"
        if total:
            bar = "━" * (_BAR * min(done, total) // total)
            told += f" [green]{bar}[/]{'╌' * (_BAR - len(bar))} {done}/{total}"
        else:
            told += f" {done}"
        self._status.update(told + self._pace(done, total))

    def _pace(self, done: int, total: int) -> str:
        since, before = self._paced or (time.perf_counter(), done)
        self._paced = (since, before)
        seconds = time.perf_counter() - since
        if done - before < _MANY or not seconds:
            return ""
        pace = (done - before) / seconds
        left = f", {(total - done) / pace:.0f} s left" if total else ""
        return f" ({pace:,.0f}/s{left})"

    def close(self, ending: Ending = "done") -> None:
        """End the display, so that results can be printed. ``ending`` is what became of the running step."""
        self._finish(ending)
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _finish(self, ending: Ending = "done") -> None:
        if self._name:
            seconds = time.perf_counter() - self._since
            self._console.print(f"[{_COLOURS[ending]}]{ending}[/] {escape(self._name)} [dim]{seconds:.1f} s[/]")
        self._name = ""
