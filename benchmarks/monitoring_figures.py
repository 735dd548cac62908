"""The tables of docs/monitoring-figures.md, from the result file: ``python -m benchmarks.monitoring_figures``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import RESULTS, ROOT

PAGE = ROOT / "docs" / "monitoring-figures.md"
RESULT = RESULTS / "monitoring.json"
MISSED = "missed"
_BLOCK = re.compile(r"(?<=<!-- from the result file: )([a-z]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def renewed(page: str, found: Mapping[str, Any]) -> str:
    """The page with its tables as ``found``, a result file, has them; all else stays. KeyError for an odd row."""
    rows = found["rows"]
    parts = [match[1] for match in _BLOCK.finditer(page) if match[1] != MISSED]

    def block(match: re.Match[str]) -> str:
        name, rest = match[1], match[2]
        told = _missed(rows, parts) if name == MISSED else _table([row for row in rows if row["part"] == name])
        return f"{name}{rest}\n{told}\n\n"

    return _BLOCK.sub(block, page)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Not measured yet."
    peers = any(row["peer"] is not None for row in rows)
    heads = ["what", "ours", *(["another"] if peers else []), "goal", "reached"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        peer = "" if row["peer"] is None else f"{_number(row['peer'], row['unit'])} ({row['peer_name']})"
        goal = f"at {'least' if row.get('at_least') else 'most'} {_number(row['goal'], row['unit'])}"
        cells = [row["what"], _number(row["ours"], row["unit"]), *([peer] if peers else []), goal]
        lines.append(f"| {' | '.join([*cells, 'yes' if row['met'] else 'no'])} |")
    return "\n".join(lines)


def _missed(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> str:
    """Each row that misses its goal, once (beside two peers a row comes twice), and each part without rows."""
    lines = {
        f"- {row['what']}: {_number(row['ours'], row['unit'])}, not {_number(row['goal'], row['unit'])}": None
        for row in rows
        if not row["met"]
    }
    measured = {row["part"] for row in rows}
    missing = [f"- not measured yet: {part}" for part in parts if part not in measured]
    return "\n".join([*lines, *missing]) or "All goals were reached."


def _number(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip() if abs(value) < 1000 else f"{value:,.0f} {unit}".strip()


def renew(page: Path = PAGE, result: Path = RESULT) -> None:
    """Write the page anew."""
    found = json.loads(result.read_text(encoding="utf-8"))
    page.write_text(renewed(page.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    renew()
