"""What a benchmark hands on, and how whole processes are timed."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number: ours, the peer's on the same machine in the same run, and the most that ours may be.

    With ``at_least`` the goal is the least that ours may be: of rates, where more is better. ``part`` is of a
    benchmark whose parts may be run one by one.
    """

    what: str
    unit: str
    ours: float
    goal: float
    peer: float | None = None
    peer_name: str = ""
    at_least: bool = False
    part: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure is ours: above 1 we are better. None beside a figure of 0."""
        if self.peer is None or not (self.peer if self.at_least else self.ours):
            return None
        return self.ours / self.peer if self.at_least else self.peer / self.ours

    @property
    def met(self) -> bool:
        """Whether ours is within the goal."""
        return self.ours >= self.goal if self.at_least else self.ours <= self.goal


def once(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> float:
    """Seconds of one whole process, which must succeed. What it prints is shown only when it does not."""
    begun = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, cwd=cwd, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return seconds


def median(command: Sequence[str], *, times: int = 9) -> float:
    """The median of several whole processes, after one to warm the disk cache."""
    once(command)
    return statistics.median(once(command) for _ in range(times))


def locked(name: str) -> str:
    """The version of a package that our own lock pins."""
    for line in (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}=="):
            return line.removeprefix(f"{name}==").split()[0]
    raise LookupError(name)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; a file with several names there counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [("what", "ours", "peer", "ratio", "goal", "met")]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:.4g} {row.unit} ({row.peer_name})"
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}x"
        ours, goal = f"{row.ours:.4g} {row.unit}", f"{'at least ' if row.at_least else ''}{row.goal:.4g} {row.unit}"
        lines.append((row.what, ours, peer, ratio, goal, "yes" if row.met else "NO"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write(name: str, rows: Sequence[Row], *, parts: Sequence[str] = ()) -> Path:
    """Keep the rows, with what machine they were measured on, as ``benchmarks/results/<name>.json``.

    With ``parts`` they take the place of the rows of these parts, and those of others stay. A quick look
    (``FULLCIRCLE_BENCH_SCALE`` other than 1) is no result: it is kept in the folder for temporary files.
    """
    folder = RESULTS if os.environ.get("FULLCIRCLE_BENCH_SCALE", "1") == "1" else Path(tempfile.gettempdir())
    path, now = folder / f"{name}.json", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if parts and path.is_file() else {}
    found: dict[str, object] = {
        "measured": now,
        "machine": {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
    }
    dates = {part: at for part, at in before.get("parts", {}).items() if part not in parts}
    dates |= {row.part: now for row in rows if row.part}
    if dates:
        found["parts"] = dates
    found["rows"] = [row for row in before.get("rows", []) if row["part"] not in parts] + [_told(row) for row in rows]
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return path


def _told(row: Row) -> dict[str, object]:
    """What is kept of a row; ``at_least`` and ``part`` only where they say something, as in files of before."""
    found = {**asdict(row), "ratio": row.ratio, "met": row.met}
    return {name: value for name, value in found.items() if value or name not in ("at_least", "part")}
