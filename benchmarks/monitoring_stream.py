"""How much memory a wide stream needs: 1000 features x 10M rows, counted in chunks."""

from __future__ import annotations

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.monitoring_speed import WIDE, features
from benchmarks.monitoring_streams import SCALE
from benchmarks.rows import Row

FRESH = get_context("spawn")  # a fork of a process whose threads have done maths hangs
MANY, PARTS, CHUNK = 10_000_000, 2, 10_000


def rows(scale: float = SCALE) -> list[Row]:
    """1000 features x 10M rows, made and counted in chunks by two processes, each of which adds its batches up."""
    chunks = max(2, int(MANY * scale) // (PARTS * CHUNK))
    begun = time.perf_counter()
    with ProcessPoolExecutor(PARTS, mp_context=FRESH) as pool:
        told = list(pool.map(_part, range(PARTS), [chunks] * PARTS))
    seconds, total = time.perf_counter() - begun, PARTS * chunks * CHUNK
    assert sum(rows for _, rows, _ in told) == total
    what = f"{WIDE} features x {total / 1e6:g}M rows"
    return [
        Row(what=f"{what}: memory of {PARTS} processes at their peaks", unit="MB",
            ours=sum(peak for _, _, peak in told), goal=1000),
        Row(what=f"{what}: memory that counting added after the first chunk, the larger of {PARTS}", unit="MB",
            ours=max(grown for grown, _, _ in told), goal=50),
        Row(what=what, unit="s", ours=seconds, goal=600),
    ]  # fmt: skip


def _part(seed: int, chunks: int) -> tuple[float, int, float]:
    """Megabytes that the peak grew by after the first chunk, rows counted, and megabytes at the peak."""
    import numpy as np

    from fullcircle.monitoring.batches import Batch, Layout, count

    values = np.random.default_rng(seed).normal(size=(WIDE, CHUNK))
    layout = Layout(features(values))
    total, before = Batch.empty(layout), 0.0
    for place in range(chunks):
        # Other values in each chunk, at little cost beside that of drawing them.
        np.multiply(values, -1.0 if place % 2 else 1.01, out=values)
        total += count(layout, {f"x{one}": each for one, each in enumerate(values)}, CHUNK)
        before = before or _peak()
    return _peak() - before, total.rows, _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
