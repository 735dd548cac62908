"""The tables of docs/loop-figures.md, from the result file: ``python -m benchmarks.loop_figures``."""

from __future__ import annotations

from benchmarks import monitoring_figures
from benchmarks.rows import RESULTS, ROOT

PAGE = ROOT / "docs" / "loop-figures.md"
RESULT = RESULTS / "loop.json"


def renew() -> None:
    """Write the page anew."""
    monitoring_figures.renew(PAGE, RESULT)


if __name__ == "__main__":
    renew()
