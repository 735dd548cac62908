"""What became of the tests of a model: those made from its contract, its golden rows, and the project's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

CaseKind = Literal["contract", "golden", "metamorphic", "project"]
CaseStatus = Literal["passed", "noted", "skipped", "failed"]

CASE_STATUSES: tuple[CaseStatus, ...] = ("passed", "noted", "skipped", "failed")


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """One test and what became of it.

    "noted" is no failure: the model itself refused a row far beyond its range, which the contract would have let it
    answer. "skipped" is what the project's own test said of itself. ``row`` shows each value of the row as text, in
    failures only; what is private is not shown. ``expected`` and ``got`` are said in words.
    """

    name: str
    kind: CaseKind
    status: CaseStatus
    text: str = ""
    row: Mapping[str, str] | None = None
    expected: str = ""
    got: str = ""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """All tests of one model. ``passed``: none failed. ``counts`` says how many cases came to each status.

    ``version`` is None and ``bundle`` "" where a run was tested before it was packaged. ``digest`` names what is kept
    of it in the workspace.
    """

    __test__: ClassVar[bool] = False  # pytest takes every class called Test... for one of its own

    model: str
    run: str
    passed: bool
    counts: Mapping[str, int]
    cases: tuple[CaseResult, ...]
    seconds: float
    version: int | None = None
    bundle: str = ""
    notes: tuple[str, ...] = ()
    digest: str = ""

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that failed, in order."""
        return tuple(case for case in self.cases if case.status == "failed")


def counted(cases: tuple[CaseResult, ...]) -> dict[str, int]:
    """How many cases came to each status; statuses that none has are left out."""
    found = {status: sum(case.status == status for case in cases) for status in CASE_STATUSES}
    return {status: number for status, number in found.items() if number}


def in_words(counts: Mapping[str, int]) -> str:
    """Counts as a person reads them: ``143 passed, 2 noted``."""
    return ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
