"""An answer of Feast to a case beside what the law says."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks.rows import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from features.cases import Case
from features.replay import Key, visible

TIE = "another row of a tie"
Rows = Sequence[Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Found:
    """What one way answered to one case: a difference for each label and column, "" where there is none."""

    error: str
    differences: Sequence[str]
    shown: str

    @property
    def equal(self) -> bool:
        """Whether all is as the law says."""
        return not self.error and not any(self.differences)

    @property
    def fair(self) -> bool:
        """Whether all is as the law says where Feast has a rule."""
        return not self.error and set(self.differences) <= {"", TIE}


def judged(case: Case, answer: Mapping[str, Any]) -> Found:
    """An answer beside what the law says."""
    if "error" in answer:
        return Found(answer["error"], [], "")
    rows: Rows = answer["rows"]
    differences, shown = [], []
    for place, column in enumerate(case.columns):
        for (key, at), wanted, got in zip(case.labels, expected(case, column), rows, strict=True):
            values = [row[place] for row in got]
            told = difference(values, wanted)
            differences.append(TIE if told and len(values) == 1 and _tied(case, key, at) else told)
            shown.append(" and ".join(map(text, values)) or "no row")
    return Found("", differences, ", ".join(shown))


def _tied(case: Case, key: Key, at: int) -> bool:
    """Whether the row that answers shares its event time and availability with another."""
    seen = visible(case.replay_rows(), key, at)
    return len(seen) > 1 and seen[-1].order[:2] == seen[-2].order[:2]


def expected(case: Case, column: str) -> list[Any]:
    """The law's values for each label, as JSON has them."""
    values = [value for _, value in case.expected("latest", column)]
    return [str(value) if isinstance(value, Decimal) else value for value in values]


def difference(got: Sequence[Any], wanted: Any) -> str:
    """How the rows that came back for a label differ from one row with this value; "" where they do not."""
    if len(got) != 1:
        return (
            "row repeated"
            if got
            else "row lost, null in the law"
            if wanted is None
            else "row lost, a value in the law"
        )
    (value,) = got
    if same(value, wanted):
        return ""
    if {text(value), text(wanted)} == {"NaN", "null"}:
        return "NaN and null mixed up"
    return "null for a value" if value is None else "value for null" if wanted is None else "other value"


def same(got: Any, wanted: Any) -> bool:
    """Whether two values are one. A whole number or boolean may come back as a float of exactly that value."""
    if isinstance(wanted, float) or not isinstance(wanted, int):
        return type(got) is type(wanted) and repr(got) == repr(wanted)
    return isinstance(got, int | float) and got == wanted


def text(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "NaN" if value != value else f"{value:g}" if value == float(f"{value:g}") else repr(value)
    return json.dumps(value) if isinstance(value, list | bool) else str(value)
