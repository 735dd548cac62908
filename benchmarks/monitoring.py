"""Monitoring: distances and counting beside Evidently and NannyML, alarms at a budget, delay, estimates, cost.

``python -m benchmarks.monitoring PART...`` measures some parts alone. What a part found is written when it ends, in
the place of its rows of before; a part that fails, or a peer that cannot be installed, is a row that says so. Peers
run in environments of their own and cannot reach a network.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks.monitoring_figures import RESULT, renew
from benchmarks.monitoring_streams import SCALE
from benchmarks.peers.talking import environment
from benchmarks.rows import Row, table, write

EVIDENTLY, NANNYML = "0.7.23", "0.13.1"
PEERS = {
    "evidently": [f"evidently=={EVIDENTLY}", "pandas<3"],
    "nannyml": [f"nannyml=={NANNYML}", "pandas<3", "statsmodels"],
}
ASKS: dict[str, tuple[str, ...]] = {
    "speed": ("evidently", "nannyml"),
    "server": (),
    "stream": (),
    "calibration": (),
    "alarms": ("evidently", "nannyml"),
    "quality": ("nannyml",),
}
"""The parts, in order, and the peers that each needs. Those of which the time is measured come first."""


def rows(parts: Sequence[str] = tuple(ASKS)) -> list[Row]:
    """All measurements, in a temporary folder; or those of some ``parts``."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fullcircle-monitoring-") as name:
        folder = Path(name)
        pythons = {peer: installed(folder, peer) for peer in sorted({peer for part in parts for peer in ASKS[part]})}
        for part in parts:
            print(f"-- {part}", flush=True)  # all of it takes minutes
            more = [replace(row, part=part) for row in measured(part, folder, pythons)]
            if write("monitoring", more, parts=[part]) == RESULT:
                renew()
            print(table(more), flush=True)
            found += more
    return found


def installed(folder: Path, peer: str) -> Path | str:
    """The Python of a peer's environment, or why there is none."""
    try:
        return environment(folder / peer, PEERS[peer])
    except (OSError, RuntimeError) as error:
        print(error, file=sys.stderr, flush=True)
        return str(error).strip().splitlines()[-1]


def measured(part: str, folder: Path, pythons: dict[str, Path | str]) -> list[Row]:
    """The rows of a part; where it fails or lacks a peer, a row that says so and misses its goal."""
    asked = {peer: pythons[peer] for peer in ASKS[part]}
    found = [_failed(f"{peer} can be installed", why) for peer, why in asked.items() if isinstance(why, str)]
    given = {peer: python if isinstance(python, Path) else None for peer, python in asked.items()}
    try:
        made: Callable[..., list[Row]] = import_module(f"benchmarks.monitoring_{part}").rows
        return [*found, *(made(folder=folder, scale=SCALE, **given) if given else made(scale=SCALE))]
    except Exception as error:  # noqa: BLE001  # whatever it is, the parts after this one can be measured
        traceback.print_exc()
        return [*found, _failed(f"{part} ran to its end", f"{type(error).__name__}: {error}")]


def _failed(what: str, why: str) -> Row:
    return Row(what=f"{what} (no: {why[:200]})", unit="", ours=0.0, goal=1.0, at_least=True)


def main(parts: Sequence[str]) -> int:
    """Measure some parts, or all; 2 for one that there is not."""
    unknown = sorted(set(parts) - set(ASKS))
    if unknown:
        print(f"there is no part {', '.join(unknown)}; there are: {', '.join(ASKS)}", file=sys.stderr)
        return 2
    return 0 if all(row.met for row in rows(parts or tuple(ASKS))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
