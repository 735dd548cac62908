"""``python -m benchmarks.soak_loop [STEP]``: kill a live turn of the loop before each change that it makes.

A turn of the monitor and of the loop is due in a workspace: 700 labelled rows came. In copies of it the turn is
killed (SIGKILL) before its first change, before its second, and so on (``STEP`` passes over some): transactions of
the ledger, the journal and MLflow, files that are put in place or taken away, processes that are started. After each
kill the audit must be clean, and a plain turn must end with one promotion that is told once, each window and label
counted once, and the same versions in ledger and MLflow; made anew, it comes to the figures of an undisturbed turn.
What was done is written to ``benchmarks/results/soak_loop.json``, only when nothing failed and no place was left out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.rows import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "soak_loop.json"
MOST = 500  # places, more than a turn has


def main(arguments: list[str]) -> int:
    """Kill at every place, and look at what the next turn makes of it."""
    step = int(arguments[0]) if arguments else 1
    sys.path.insert(0, str(ROOT / "tests"))
    from flows import killing

    began, kinds = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="fullcircle-soak-loop-") as name:
        os.environ.setdefault("FULLCIRCLE_ENVIRONMENTS", str(Path(name) / "environments"))
        before, whole = killing.begin(Path(name) / "before"), Path(name) / "whole"
        shutil.copytree(before, whole)
        expected = killing.whole(whole)
        assert expected.differences
        for place in range(0, MOST, step):
            folder = Path(name) / f"at{place}"
            shutil.copytree(before, folder)
            died, changes = killing.killed(folder, place)
            if not died:
                break
            found = killing.whole(folder)
            assert found.differences in ((), expected.differences), (place, changes[-1])
            kinds[changes[-1].split()[0]] += 1
            print(f"{place}: killed before {changes[-1]!r}, made good", flush=True)
            shutil.rmtree(folder)
        else:
            raise SystemExit(f"a turn of more than {MOST} changes: is there an end?")
    print(f"{kinds.total()} kills in {time.monotonic() - began:.0f} s, all made good: {dict(kinds)}")
    if step == 1:
        told = {"kills": kinds.total(), "before": dict(sorted(kinds.items())), "failures": 0}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
