"""``python -m benchmarks.soak_cases COUNT``: the law of features over many drawn cases, on all cores.

Each case is a small table with ties, corrections, late and future rows, appended in batches; training sets, online
answers and answers asked later are compared with the brute-force replay of ``tests/features/replay.py``, before and
after compaction, and with each other bit for bit. The seed is printed: ``python -m benchmarks.soak_cases COUNT SEED``
plays the same cases again. What was done is written to ``benchmarks/results/soak_cases.json``, and only when nothing
differed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime

from benchmarks.rows import RESULTS, ROOT

CHUNK = 100


def prove_some(seed: int, count: int) -> int:
    """Draw and prove ``count`` cases; raises what does not hold, with the case. Returns how many were proven."""
    sys.path.insert(0, str(ROOT / "tests"))
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from features.cases import Case, cases
    from features.test_law import prove

    proven = 0

    @seeded(seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases())
    def law(case: Case) -> None:
        nonlocal proven
        prove(case)
        proven += 1

    law()
    return proven


def main(arguments: list[str]) -> int:
    """Prove at least so many cases."""
    wanted = int(arguments[0]) if arguments else 10_000
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    print(f"{wanted} cases, seed {seed}", flush=True)
    begun, proven = time.monotonic(), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        parts = -(-wanted // CHUNK)
        for done in pool.map(prove_some, range(seed, seed + parts), [CHUNK] * parts):
            proven += done
            print(f"{proven} cases, no difference, {time.monotonic() - begun:.0f} s", flush=True)
    found = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cases": proven,
        "seed": seed,
        "differences": 0,
        "seconds": round(time.monotonic() - begun),
    }
    (RESULTS / "soak_cases.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
