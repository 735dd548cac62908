"""How large modules and functions are. Run as a program it prints the table that ``make check`` shows."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "fullcircle"


@dataclass(frozen=True)
class Function:
    """A function or method and its length in lines, its decorators and docstring included."""

    module: str
    name: str
    lines: int
    prose: int


def modules(folder: Path = SOURCE) -> dict[str, int]:
    """Lines of every module, by path inside the folder."""
    return {
        path.relative_to(folder).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted(folder.rglob("*.py"))
    }


@cache
def tree(path: Path) -> ast.Module:
    """A module as Python reads it."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(folder: Path = SOURCE) -> Iterator[Function]:
    """Every function in the folder, nested ones and methods too."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                prose = len((ast.get_docstring(node) or "").splitlines())
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield Function(path.relative_to(folder).as_posix(), node.name, lines, prose)


def at(share: float, values: Sequence[int]) -> int:
    """The smallest value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table() -> str:
    """Sizes as text: what, how many, median, 90 % below, largest."""
    by_module = modules()
    found = list(functions())
    longest = max(found, key=lambda function: function.lines)
    largest = max(by_module, key=lambda name: by_module[name])
    tests = sum(modules(ROOT / "tests").values())
    lines = sum(by_module.values())
    sizes, lengths = list(by_module.values()), [function.lines for function in found]
    rows = [
        ("", "count", "median", "p90", "largest", ""),
        ("modules", len(sizes), at(0.5, sizes), at(0.9, sizes), by_module[largest], largest),
        ("functions", len(lengths), at(0.5, lengths), at(0.9, lengths), longest.lines, longest.name),
    ]
    text = [f"{a:<10}{b!s:>7}{c!s:>8}{d!s:>6}{e!s:>9}  {f}" for a, b, c, d, e, f in rows]
    return "\n".join([*text, f"{lines} lines of code, {tests} lines of tests ({tests / lines:.2f} a line)"])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
