"""How reports and comparisons look on a terminal: what each check says in its own sentences, the gates last."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fullcircle.cli.text import gates, table
from fullcircle.types.comparison import ComparedMeasure, Comparison
from fullcircle.types.report import Measure, Report, Severity

_SAID = {"good": ("good", "green"), "warning": ("look here", "yellow"), "bad": ("bad", "red"), "info": ("", "dim")}
_STANDING = {"unknown": "-"}
_MOST_ROWS = 60
_ROOM = 90
_OF_RIVALS = ("baseline_", "champion_")


def report(found: Report) -> RenderableType:
    """Each finding in its own words, notes, and the gates. The figures are on the page and in the JSON."""
    said = Table(box=None, pad_edge=False, show_header=False)
    for overflow in ("fold", "fold", "fold"):
        said.add_column(overflow=overflow)
    for finding in found.findings:
        word, colour = _SAID[finding.severity]
        said.add_row(Text(finding.title, style="bold"), Text(word, style=colour), Text(finding.text))
    notes = [Text(f"note: {note}", style="dim") for note in found.notes]
    title = Text(f"{found.subject}: {found.rows} rows", style="bold")
    return Group(title, said, *notes, *([gates(found.gates)] if found.gates else []))


def evaluated(found: Report, page: str) -> RenderableType:
    """A report on a run, and where its page is."""
    last = [] if found.gates else [gates(found.gates)]
    return Group(report(found), *last, Text(f"The report, to look at: {page}"))


def comparison(found: Comparison) -> RenderableType:
    """The paired improvements, the measures of the two, groups and checks that differ, and the gates of both.

    Figures of rivals (``baseline_``, ``champion_``) are left to the page and the JSON.
    """
    parts: list[RenderableType] = [Text(f"{found.second} beside {found.first}", style="bold")]
    if found.improvement:
        gains = [
            (_called(one.name.removeprefix("improvement_"), one.unit), _figure(one)) for one in found.improvement
        ]
        title = f"asked about the same {found.improvement[0].n} rows"
        parts.append(_Whole(table(title, ("measure", "the second is better by [95 %]"), gains)))
    told = [row for row in found.rows if not row.name.startswith(_OF_RIVALS)]
    differing = [row for row in told if row.group and row.standing in ("better", "worse")]
    columns = (found.first, found.second, "the second is")
    own = [_row(row) for row in told if not row.group][:_MOST_ROWS]
    parts.append(_Whole(table("measures [95 %]", ("measure", *columns), own)))
    if differing:
        groups = [(row.group, *_row(row)) for row in differing][:_MOST_ROWS]
        parts.append(_Whole(table("groups in which they differ", ("group", "measure", *columns), groups), 2))
    changed = [each for each in found.findings if each.first != each.second]
    if changed:
        checks = [(each.title, _severity(each.first), _severity(each.second)) for each in changed]
        parts.append(table("checks that say something else", ("check", found.first, found.second), checks))
    answers = {True: "passed", False: "FAILED", None: "not asked"}
    asked = [(gate.gate, answers[gate.first], answers[gate.second]) for gate in found.gates]
    if asked:
        parts.append(table("gates", ("gate", found.first, found.second), asked))
    apart = [each for part in parts for each in (Text(""), part)][1:]
    return Group(*apart, *(Text(f"note: {note}", style="dim") for note in found.notes))


def _row(row: ComparedMeasure) -> tuple[object, ...]:
    return (
        _called(row.name, row.unit),
        _figure(row.first),
        _figure(row.second),
        _STANDING.get(row.standing, row.standing),
    )


def _called(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _severity(severity: Severity | None) -> str:
    return "not made" if severity is None else _SAID[severity][0] or "nothing to judge"


@dataclass(frozen=True)
class _Whole:
    """A table whose figures are not broken over lines where there is room; only its ``named`` first columns are.

    On a narrower terminal they are broken: a figure that is cut off would be another figure.
    """

    table: Table
    named: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for column in self.table.columns[self.named :]:
            column.no_wrap = options.max_width >= _ROOM
        yield self.table


def _figure(measure: Measure | None) -> str:
    """A figure and its interval, short enough for two of them beside each other; no interval where it is a point."""
    if measure is None:
        return "-"
    low, high = measure.low, measure.high
    if low is None or high is None or low == high:
        return _short(measure.value)
    return f"{_short(measure.value)} [{_short(low)}, {_short(high)}]"


def _short(value: float | None) -> str:
    """Three digits, thousands whole and in one word."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
