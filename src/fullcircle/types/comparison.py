"""Two reports side by side: what each measured, which is better, and what the gates said of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fullcircle.types.report import Better, Measure, Severity

Standing = Literal["better", "worse", "same within doubt", "unknown"]
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ComparedMeasure:
    """One measure of two reports, None where a report does not have it.

    ``check`` is the name of the check it comes from. ``standing`` is that of the second beside the first: better or
    worse where their paired difference on the same rows is beyond chance or, where they were not asked about the same
    rows, their 95 % intervals do not overlap; else the same within doubt. Unknown where it cannot be said: no
    interval, other units, or nobody knows which way is good.
    """

    check: str
    name: str
    group: str = ""
    unit: str = ""
    better: Better = ""
    first: Measure | None
    second: Measure | None
    standing: Standing


@dataclass(frozen=True, kw_only=True)
class ComparedGate:
    """One gate's answers, None where a report was not asked. The reasons are the gates' own, "" where not asked."""

    gate: str
    first: bool | None
    second: bool | None
    first_reason: str = ""
    second_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparedFinding:
    """How serious the same check found it in each of two reports, None where it was not made."""

    check: str
    code: str
    title: str
    first: Severity | None
    second: Severity | None
    first_text: str = ""
    second_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions side by side, named ``first`` and ``second`` ("bike-demand v1").

    ``improvement`` is that of the second over the first on the same rows, where both answered them; it decides more
    sharply than two intervals beside each other. ``first_passed`` and ``second_passed`` say whether all gates passed.
    ``format`` numbers the layout of its JSON.
    """

    first: str
    second: str
    first_passed: bool
    second_passed: bool
    first_rows: int = 0
    second_rows: int = 0
    rows: tuple[ComparedMeasure, ...] = ()
    gates: tuple[ComparedGate, ...] = ()
    findings: tuple[ComparedFinding, ...] = ()
    improvement: tuple[Measure, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = FORMAT
