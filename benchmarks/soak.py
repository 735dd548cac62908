"""``python -m benchmarks.soak MINUTES``: kill and interrupt turns of the circle, and look at what is left.

Two ways in turn, until the time is up: a turn in a workspace that grows all the while is killed at a random moment;
and a first turn in a new workspace is killed or interrupted so long after one of its stages began, every stage and
wait once in a drawn order before any comes again. After each the audit must be clean, and a whole turn must succeed.
The draws come from a seed that is printed, so a failure can be played again: ``python -m benchmarks.soak 10 SEED``.
What was done is written to ``benchmarks/results/soak.json``, and only when nothing failed.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT

COMMAND = Path(sys.executable).parent / "fullcircle"
LONGEST = 45.0
STAGES = (
    "open", "snapshot", "fit: trying", "fit: model", "evaluate", "package", "prove", "register", "promote", "deploy",
    "  answers at", "probe", "window: next", "window: bmi", "retrain", "stop",
)  # fmt: skip
WAITS = (0.0, 0.02, 0.1, 0.3, 1.0)
Case = tuple[str, float, signal.Signals]
EVERY: tuple[Case, ...] = tuple(itertools.product(STAGES, WAITS, (signal.SIGKILL, signal.SIGINT)))


def main(arguments: list[str]) -> int:
    """Stop, look, repeat, until the time is up."""
    minutes = float(arguments[0]) if arguments else 10.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    print(f"{minutes:g} minutes, seed {seed}", flush=True)
    draw = random.Random(seed)
    until = time.monotonic() + minutes * 60
    kills = staged = 0
    with tempfile.TemporaryDirectory(prefix="fullcircle-soak-") as name:
        env = _surrounding(Path(name), "growing")
        cases = _cases(draw)
        try:
            while time.monotonic() < until:
                after = draw.uniform(0.1, LONGEST)
                kills += _killed(env, after)
                _look(env, f"after {kills} kills, the last at {after:.1f} s")
                staged += 1
                _staged(_surrounding(Path(name), f"case-{staged}"), next(cases))
            # Its gates may say no: the champion may have other parameters, of a turn killed after its promotion.
            _said(env, "run", "examples/diabetes", codes=(0, 1))
            _look(env, "after the last whole turn")
        finally:
            subprocess.run([COMMAND, "deploy", "diabetes", "--stop"], env=env, cwd=ROOT, check=False)
    print(f"{kills} kills and {staged} stages: every audit was clean, and the turn after them succeeded")
    found = {"minutes": minutes, "seed": seed, "kills": kills, "stages": staged, "of": len(EVERY), "failures": 0}
    (ROOT / "benchmarks" / "results" / "soak.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _surrounding(folder: Path, name: str) -> dict[str, str]:
    """A workspace of its own, with the environments of bundles shared: they are all alike."""
    return {
        **os.environ,
        "FULLCIRCLE_WORKSPACE": str(folder / name / "workspace"),
        "FULLCIRCLE_CONFIG": str(folder / name / "config"),
        "FULLCIRCLE_ENVIRONMENTS": str(folder / "environments"),
        "FULLCIRCLE_PORT": "0",
    }


def _cases(draw: random.Random) -> Iterator[Case]:
    """Every stage with every wait and signal in a drawn order, again and again."""
    every = list(EVERY)
    while True:
        draw.shuffle(every)
        yield from every


def _staged(env: dict[str, str], case: Case) -> None:
    """Stop a first turn at a stage; the next must go on from there to one champion, whole in ledger and MLflow."""
    stage, wait, one = case
    when = f"{one.name} {wait:g} s after {stage.strip()!r}"
    child = subprocess.Popen(
        [str(COMMAND), "run", "examples/diabetes", "--stop"], env=env, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stderr is not None
    if not any(line.startswith(stage) for line in child.stderr):
        raise SystemExit(f"{when}: the turn ended before with {child.wait()}")
    time.sleep(wait)
    os.killpg(child.pid, one)
    last = child.stderr.read()
    code = child.wait()
    # Close to its end a turn may be done before the signal arrives.
    if one is signal.SIGINT and code not in (130, 0):
        raise SystemExit(f"{when}: it ended with {code}:\n{last}")
    _look(env, when)
    turn = _said(env, "run", "examples/diabetes", "--stop")
    _look(env, f"{when}, and after a whole turn")
    model = _said(env, "status")["models"][0]
    if model["champion"] != turn["champion"] or model["url"] is not None or _said(env, "status")["notes"]:
        raise SystemExit(f"{when}: {model}")


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


def _said(env: dict[str, str], *command: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    done = subprocess.run(
        [str(COMMAND), *command, "--json"], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise SystemExit(f"fullcircle {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
