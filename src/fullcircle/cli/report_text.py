"""How reports and comparisons look on a terminal: what each check says in its own sentences, the gates last."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fullcircle.cli.text import gates, interval, table
from fullcircle.types.comparison import ComparedMeasure, Comparison
from fullcircle.types.report import Measure, Report

_SAID = {"good": ("good", "green"), "warning": ("look here", "yellow"), "bad": ("bad", "red"), "info": ("", "dim")}
_MOST_ROWS = 60


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
    """The paired improvements, the measures that differ, and the gates of both."""
    parts: list[RenderableType] = [Text(f"{found.second} beside {found.first}", style="bold")]
    if found.improvement:
        rows = [(one.name, _figure(one), one.unit, one.n) for one in found.improvement]
        parts.append(
            table("better by, on the same rows (positive: the second)", ("measure", "", "unit", "rows"), rows)
        )
    told = [row for row in found.rows if not row.group][:_MOST_ROWS]
    columns = ("measure", found.first, found.second, "unit", "the second is")
    parts.append(table("measures", columns, [_row(row) for row in told]))
    answers = {True: "passed", False: "FAILED", None: "not asked"}
    asked = [(gate.gate, answers[gate.first], answers[gate.second]) for gate in found.gates]
    parts.append(table("gates", ("gate", found.first, found.second), asked))
    parts.extend(Text(f"note: {note}", style="dim") for note in found.notes)
    return Group(*parts)


def _row(row: ComparedMeasure) -> tuple[object, ...]:
    return (row.name, _figure(row.first), _figure(row.second), row.unit, row.standing)


def _figure(measure: Measure | None) -> str:
    return "-" if measure is None else interval(measure.value, measure.low, measure.high)
