"""``python -m benchmarks.soak MINUTES``: kill turns of the circle at random moments, and look at what is left.

After every kill the audit must be clean; at the end a whole turn must succeed. The moments are drawn from a seed that
is printed, so a failure can be played again: ``python -m benchmarks.soak 10 SEED``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT

COMMAND = Path(sys.executable).parent / "fullcircle"
LONGEST = 45.0


def main(arguments: list[str]) -> int:
    """Kill, look, repeat, until the time is up."""
    minutes = float(arguments[0]) if arguments else 10.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    print(f"{minutes:g} minutes, seed {seed}", flush=True)
    draw = random.Random(seed)
    kills = 0
    with tempfile.TemporaryDirectory(prefix="fullcircle-soak-") as name:
        env = {
            **os.environ,
            "FULLCIRCLE_WORKSPACE": f"{name}/workspace",
            "FULLCIRCLE_CONFIG": f"{name}/config",
            "FULLCIRCLE_PORT": "0",
        }
        try:
            until = time.monotonic() + minutes * 60
            while time.monotonic() < until:
                after = draw.uniform(0.1, LONGEST)
                kills += _killed(env, after)
                _look(env, f"after {kills} kills, the last at {after:.1f} s")
            _said(env, "run", "examples/diabetes")
            _look(env, "after the last whole turn")
        finally:
            subprocess.run([COMMAND, "deploy", "diabetes", "--stop"], env=env, cwd=ROOT, check=False)
    print(f"{kills} kills: every audit was clean, and the turn after them succeeded")
    return 0


def _killed(env: dict[str, str], after: float) -> bool:
    """Start a turn and kill it with its children after so many seconds; False where it ended before."""
    # Other parameters each time, so that there is always something to train, package and promote.
    turn = [str(COMMAND), "run", "examples/diabetes", "--set", f"max_iter={50 + int(after)}"]
    child = subprocess.Popen(
        turn, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return True
    return False


def _look(env: dict[str, str], when: str) -> None:
    """The audit must be clean where there is a workspace by now."""
    if not Path(env["FULLCIRCLE_WORKSPACE"], "workspace.json").exists():
        return
    found = _said(env, "audit")
    problems = found.get("problems", [])
    if problems:
        raise SystemExit(f"{when}: {problems}")
    print(f"{when}: {found.get('facts')} facts, no problem", flush=True)


def _said(env: dict[str, str], *command: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(COMMAND), *command, "--json"], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"fullcircle {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
