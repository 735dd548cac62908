"""Monitoring: distances and counting beside Evidently and NannyML, alarms at a budget, delay, estimates.

``python -m benchmarks.monitoring PART...`` measures some parts alone and writes nothing. Peers run in environments of
their own and cannot reach a network.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.peers.talking import environment
from benchmarks.rows import Row, table

EVIDENTLY, NANNYML = "0.7.23", "0.13.1"
PEERS = {
    "evidently": [f"evidently=={EVIDENTLY}", "pandas<3"],
    "nannyml": [f"nannyml=={NANNYML}", "pandas<3", "statsmodels"],
}
_ASKS: dict[str, tuple[str, ...]] = {
    "speed": ("evidently", "nannyml"),
    "calibration": (),
    "alarms": ("evidently", "nannyml"),
    "quality": ("nannyml",),
}
"""The parts, in order, and the peers that each needs."""


def rows(parts: Sequence[str] = tuple(_ASKS)) -> list[Row]:
    """All measurements, in a temporary folder; or those of some ``parts``."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fullcircle-monitoring-") as name:
        folder = Path(name)
        needed = sorted({peer for part in parts for peer in _ASKS[part]})
        pythons = {peer: environment(folder / peer, PEERS[peer]) for peer in needed}
        for part in parts:
            made: Callable[..., list[Row]] = import_module(f"benchmarks.monitoring_{part}").rows
            asked = {peer: pythons[peer] for peer in _ASKS[part]}
            more = made(folder=folder, **asked) if asked else made()
            print(table(more), flush=True)  # all of it takes minutes
            found += more
    return found


if __name__ == "__main__":
    print(table(rows(sys.argv[1:] or tuple(_ASKS))))
