"""A fact once acknowledged survives kill -9 at any moment; a half-written one never shows."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fullcircle.errors import LedgerBroken
from fullcircle.ledger.audit import audit
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings

APPEND = """
import sys
from pathlib import Path
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
settings = load({"workspace": "ws", "config": "config", "actor": "child", "ledger": ""}, folder=Path(sys.argv[1]))
with Workspace.open(settings) as workspace:
    print("ready", flush=True)
    for number in range(int(sys.argv[2])):
        fact = workspace.ledger.append("reconciled", {"model": "bike", "what": "x" * 300})
        print(fact.seq, fact.hash, flush=True)
"""


def check(settings: Settings, output: str) -> int:
    """Every acknowledged fact is there, the chain and the checkpoints hold, and work goes on."""
    acknowledged = {int(seq): hash for seq, hash in re.findall(r"^(\d+) (\w{64})$", output, flags=re.MULTILINE)}
    with Workspace.open(settings) as workspace:
        facts = {fact.seq: fact.hash for fact in workspace.ledger.facts()}
        assert acknowledged.items() <= facts.items()
        workspace.ledger.append("reconciled", {})
        found = audit(workspace)
        assert found.passed, found.problems
    return len(acknowledged)


def test_a_kill_at_a_random_moment_loses_nothing(settings: Settings) -> None:
    rng = random.Random(7)
    total = 0
    for _ in range(8):
        command = [sys.executable, "-c", APPEND, str(settings.folder), "100000"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        total += check(settings, child.communicate()[0])
    assert total > 0


def can_trace() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"tracing is not allowed here: {tried.stderr.strip()[-100:]}"


@pytest.fixture(scope="module")
def strace() -> None:
    reason = can_trace()
    if reason:
        pytest.skip(reason)


def traced(settings: Settings, inject: str) -> str:
    """The output of an appending child in whose N-th call of a kind something happens."""
    call = inject.partition(":")[0]
    command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={inject}"]
    child = subprocess.run(
        [*command, sys.executable, "-c", APPEND, str(settings.folder), "4"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return child.stdout + child.stderr


POINTS = [
    *(("pwrite64", place) for place in (1, 3, 6, 9, 12, 15, 18, 24, 30)),
    *(("fdatasync", place) for place in (1, 2, 3, 4, 6, 8)),
    *(("fsync", place) for place in (1, 2, 4, 6)),
]


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync"])
def test_a_kill_at_the_nth_system_call_loses_nothing(settings: Settings, call: str) -> None:
    with Workspace.open(settings) as workspace:
        workspace.ledger.append("reconciled", {})
    killed = 0
    for place in (place for name, place in POINTS if name == call):
        output = traced(settings, f"{call}:signal=KILL:when={place}")
        killed += check(settings, output) < 4
    assert killed > 0, "no point was reached"


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    "fault", ["fdatasync:error=EIO:when=3+", "pwrite64:error=ENOSPC:when=8+", "fsync:error=EIO:when=1+"]
)
def test_a_failing_disk_is_an_error_and_loses_nothing(settings: Settings, fault: str) -> None:
    with Workspace.open(settings) as workspace:
        workspace.ledger.append("reconciled", {})
    output = traced(settings, fault)
    assert "WorkspaceUnusable" in output
    assert check(settings, output) < 4


def test_a_torn_log_shows_whole_facts_only(settings: Settings, tmp_path: Path) -> None:
    """The write-ahead log cut at any place, as by a power cut before it was synchronised."""
    with Workspace.open(settings) as workspace:
        for _ in range(3):
            workspace.ledger.append("reconciled", {"what": "x" * 300})
        torn = tmp_path / "torn"
        torn.mkdir()
        log = (settings.workspace / "ledger.db-wal").read_bytes()
        seen = set()
        for length in range(0, len(log) + 1, 1511):
            shutil.rmtree(torn)
            shutil.copytree(settings.workspace, torn, ignore=shutil.ignore_patterns("*-shm"))
            (torn / "ledger.db-wal").write_bytes(log[:length])
            copy = Settings(values={**settings.values, "workspace": str(torn)}, folder=settings.folder)
            try:
                with Workspace.open(copy, create=False) as looked:
                    facts = list(looked.ledger.facts())
                    problems = {problem.kind for problem in audit(looked).problems}
            except LedgerBroken as error:
                pytest.fail(f"cut at {length}: {error}")
            except OSError:  # cut before the table itself was there
                seen.add(0)
                continue
            seen.add(len(facts))
            assert problems == (set() if len(facts) == 4 else {"truncated"})
    assert {1, 2, 3} <= seen
