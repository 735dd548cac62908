"""How the demo looks: one live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_COLOURS = {
    "began": "cyan",
    "trouble": "magenta",
    "alarm": "red",
    "resolved": "green",
    "hold": "yellow",
    "approve": "cyan",
    "promote": "bold green",
    "rollback": "bold yellow",
    "page": "cyan",
    "ended": "cyan",
}
_STATUSES = {"ok": "green", "imputed": "cyan", "flagged": "yellow", "fallback": "magenta", "rejected": "red"}
_BAR = 30
_AROUND = 12  # lines of a view that are not about what happened


class Lines:
    """One line for each thing that happens, with the played date."""

    def show(self, scene: Any) -> None:
        """Figures that move are not worth a line each."""

    def tell(self, happened: Any) -> None:
        """Write it down at once."""
        sys.stdout.write(f"{happened.at:%Y-%m-%d} {happened.kind:<9} {happened.text}\n")
        sys.stdout.flush()


class View:
    """The scene as one picture: clock and traffic, verdicts, open alarms, and the latest of what happened."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, scene: Any) -> None:
        """Draw it anew."""
        self._live.update(picture(scene, self._live.console.size.height), refresh=True)

    def tell(self, happened: Any) -> None:
        """It is in the scene by now, and is drawn with it."""


@contextmanager
def live() -> Iterator[View]:
    """A view on this terminal; what it showed last stays there."""
    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as shown:
        yield View(shown)


def picture(scene: Any, height: int = 40) -> RenderableType:
    """A scene for a terminal of so many lines."""
    done = _BAR * scene.week // max(scene.weeks, 1)
    head = Table.grid(padding=(0, 3))
    head.add_row(
        Text(f"{scene.at:%a %Y-%m-%d %H:%M}", style="bold"),
        Text.assemble("week ", (f"{scene.week}/{scene.weeks} ", "bold"), ("━" * done, "green"), "╌" * (_BAR - done)),
        Text.assemble("champion: version ", (str(scene.champion), "bold green")),
        Text(scene.url, style="dim"),
    )
    verdicts = Text.assemble(
        f"{scene.rows:,} answers ",
        *(
            (f" {name} {scene.verdicts[name]:,} ", colour)
            for name, colour in _STATUSES.items()
            if scene.verdicts[name]
        ),
        f"  {scene.labels:,} labels came, {scene.waiting:,} are not known yet",
    )
    by = "  ".join(f"version {number}: {rows:,}" for number, rows in sorted(scene.answered_by.items()))
    lines: list[RenderableType] = [head, verdicts, Text(f"answered by  {by}", style="dim")]
    told = [_alarm(alarm) for alarm in scene.alarms] or [Text("no alarm is open", style="green")]
    lines.append(Panel(Group(*told[:4]), title="open alarms", title_align="left"))
    lines.append(_happened(scene.happened, max(height - _AROUND, 4)))
    return Group(*lines)


def _alarm(alarm: Any) -> Text:
    colour = "bold red" if alarm.severity == "page" else "yellow"
    found = Text.assemble((f"{alarm.severity} {alarm.id} ", colour), alarm.text)
    found.no_wrap, found.overflow = True, "ellipsis"
    return found


def _happened(every: Any, room: int) -> RenderableType:
    """As many of the latest as there is room for, of which the last two are told whole."""
    shown = Table.grid(padding=(0, 1))
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column()
    kept = every[-max(room // 2, 3) :]
    for place, one in enumerate(kept):
        text = Text(one.text)
        if place < len(kept) - 2:
            text.no_wrap, text.overflow = True, "ellipsis"
        shown.add_row(Text(f"{one.at:%Y-%m-%d}", style="dim"), Text(one.kind, style=_COLOURS[one.kind]), text)
    return Panel(shown, title="what happened", title_align="left")
