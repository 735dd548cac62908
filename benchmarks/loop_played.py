"""One rehearsal in a process of its own, told as JSON: ``python -m benchmarks.loop_played PROJECT [SINCE]``.

``FULLCIRCLE_WORKSPACE`` says where it is played, ``WORKERS`` by how many processes (0: by this one).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import BIKE, EMPLOYMENT
from benchmarks.rows import ROOT

_NOTHING: Mapping[str, str] = {}


def play(
    project: Path,
    workspace: Path,
    *,
    since: str = "",
    workers: int | None = None,
    env: Mapping[str, str] = _NOTHING,
) -> dict[str, Any]:
    """Rehearse a project in an empty workspace. Raises RuntimeError where that does not end well."""
    told = {"BIKE_HOUR": str(BIKE), "EMPLOYMENT_DIR": str(EMPLOYMENT), **env}
    told |= {"FULLCIRCLE_WORKSPACE": str(workspace), "WORKERS": "" if workers is None else str(workers)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loop_played", str(project), *([since] if since else [])],
        env={**os.environ, **told}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the rehearsal of {project.name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(project: str, since: str = "") -> int:
    """Rehearse, and print what came out."""
    from fullcircle.flows.rehearse import rehearse

    workers = os.environ.get("WORKERS", "")
    found = rehearse(project, since=since or None, workers=int(workers) if workers else None)
    peaks = [resource.getrusage(whose).ru_maxrss / 1024 for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    names = ("metric", "value", "earned", "trained", "promoted", "rolled_back", "alarms")
    print(
        json.dumps(
            {
                "metric": found.metric,
                "higher_is_better": found.higher_is_better,
                "currency": found.currency,
                "rows": found.first + found.rows,
                "seconds": found.seconds,
                "megabytes": max(peaks),
                "verdict": found.verdict,
                "told": [
                    {
                        "at": each.at,
                        "kind": each.kind,
                        "suspects": [] if each.alarm is None else [one.feature for one in each.alarm.suspects],
                    }
                    for each in found.policies[0].told
                ],
                "policies": {each.name: {name: getattr(each, name) for name in names} for each in found.policies},
            }
        )
    )
    return 0


if __name__ == "__main__":  # the processes that it starts import this file too
    sys.exit(main(*sys.argv[1:]))
