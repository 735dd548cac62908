"""``python -m benchmarks [ONLY]``: run all benchmarks or one, print the tables, end with 1 where a goal is missed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.rows import table, write

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "__main__", "coverage", "loads", "rows")
    and not path.stem.startswith(("soak", "monitoring_", "loop_"))
)


def main(arguments: list[str]) -> int:
    """Run the benchmarks named, or all."""
    unknown = sorted(set(arguments) - set(NAMES))
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    met = True
    for name in arguments or NAMES:
        print(f"== {name}", flush=True)
        rows = import_module(f"benchmarks.{name}").rows()
        path = write(name, rows)
        print(f"{table(rows)}\nwritten to {path}", flush=True)
        met = met and all(row.met for row in rows)
    return 0 if met else 1


if __name__ == "__main__":  # a process that a benchmark starts imports this file too
    sys.exit(main(sys.argv[1:]))
