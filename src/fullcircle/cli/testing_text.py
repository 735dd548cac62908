"""How tests look on a terminal: one line a kind, and the failures first, each with its row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from fullcircle.cli.text import table
from fullcircle.types.tests import CASE_STATUSES, CaseKind, CaseResult, Tested, in_words

_MOST_SHOWN = 20
_MOST_NOTED = 5
_MOST_VALUES = 8
_KINDS: dict[CaseKind, str] = {
    "contract": "rows made from the contract",
    "golden": "golden rows",
    "metamorphic": "what must not change an answer",
    "project": "the project's own tests",
}


def tested(found: Tested) -> RenderableType:
    """All tests of a model in a page of text."""
    what = f"version {found.version}" if found.version is not None else f"run {found.run[:12]}"
    parts: list[RenderableType] = []
    failed = found.failures
    if failed:
        parts += [Text(f"{len(failed)} failed", style="bold red"), *(_failure(case) for case in failed[:_MOST_SHOWN])]
        parts += [Text(f"... and {len(failed) - _MOST_SHOWN} more: --json has all")] if failed[_MOST_SHOWN:] else []
        parts += [Text("")]
    parts += [table(f"tests of {found.model}, {what}", ("", *CASE_STATUSES), _rows(found.cases))]
    noted = [case for case in found.cases if case.status == "noted"]
    parts += [Text(f"noted: {case.name}: {case.text}", style="yellow") for case in noted[:_MOST_NOTED]]
    parts += [Text(f"... and {len(noted) - _MOST_NOTED} more noted: --json has all")] if noted[_MOST_NOTED:] else []
    held = _held(found.cases)
    parts += [Text(held)] if held else []
    parts += [Text(note) for note in found.notes]
    colour = "green" if found.passed else "red"
    parts += [Text(f"tests: {in_words(found.counts)} in {found.seconds:.1f} s", style=colour)]
    return Group(*parts)


def _rows(cases: Sequence[CaseResult]) -> list[tuple[object, ...]]:
    return [
        (name, *(sum(case.kind == kind and case.status == status for case in cases) for status in CASE_STATUSES))
        for kind, name in _KINDS.items()
        if kind != "project" or any(case.kind == "project" for case in cases)
    ]


def _failure(case: CaseResult) -> RenderableType:
    lines = [Text.assemble(("FAILED ", "red"), (case.name, "bold"), f": {case.text}")]
    if case.expected:
        lines.append(Text(f"  expected {case.expected}, got {case.got}"))
    if case.row:
        # The changed value is what counts; columns that the name does not begin with come after it.
        named = sorted(case.row.items(), key=lambda item: not case.name.startswith(f"{item[0]}: "))
        shown = ", ".join(f"{name}={value}" for name, value in named[:_MOST_VALUES])
        more = f", and {len(named) - _MOST_VALUES} more columns" if named[_MOST_VALUES:] else ""
        lines.append(Text(f"  row: {shown}{more}"))
    return Group(*lines)


def _held(cases: Sequence[CaseResult]) -> str:
    """Which kind of equality the answers held."""
    passed = [case for case in cases if case.kind in ("metamorphic", "golden") and case.status == "passed"]
    near = [case.text for case in passed if "apart" in case.text]
    if not passed:
        return ""
    return f"equal answers: {near[0]}" if near else "equal answers: the same bits, every one"
