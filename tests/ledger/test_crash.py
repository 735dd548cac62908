"""A fact once acknowledged survives kill -9 at any moment; a half-written one never shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


KILL = """
import os, random, signal, sys, time
rng = random.Random(7)
import fullcircle.ledger.audit, fullcircle.ledger.sqlite, cryptography.hazmat.primitives.asymmetric.ed25519
for _ in range(12):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        exec(sys.argv[3])
    os.close(write)
    with os.fdopen(read) as output:
        output.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        print(output.read())
    os.waitpid(child, 0)
"""


def test_a_kill_at_a_random_moment_loses_nothing(settings: Settings) -> None:
    command = [sys.executable, "-c", KILL, str(settings.folder), "100000", APPEND]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    assert check(settings, output) > 0


def can_trace() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "true"], capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"tracing is not allowed here: {tried.stderr.strip()[-100:]}"


@pytest.fixture(scope="module")
def strace() -> None:
    reason = can_trace()
    if reason:
        pytest.skip(reason)


def traced(settings: Settings, inject: str) -> str:
    """The output of an appending child in whose N-th call of a kind something happens."""
    call = inject.partition(":")[0]
    command = ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={inject}"]
    child = subprocess.run(
        [*command, sys.executable, "-c", APPEND, str(settings.folder), "4"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return child.stdout + child.stderr


KILL_AT = """
import os, sys
import fullcircle.ledger.audit, fullcircle.ledger.sqlite, cryptography.hazmat.primitives.asymmetric.ed25519
call = {"pwrite64": lambda f: os.pwrite(f, b"", 0), "fdatasync": os.fdatasync, "fsync": os.fsync}[sys.argv[3]]
for early in range(0, int(sys.argv[4]), int(sys.argv[5])):
    if os.fork() == 0:
        with open(os.devnull, "wb") as nothing:
            for _ in range(early):  # each of these is counted, so that death comes that much earlier
                try:
                    call(nothing.fileno())
                except OSError:
                    pass
        exec(sys.argv[6])
        os._exit(0)
    print("ended by", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(("call", "last", "step"), [("pwrite64", 32, 2), ("fdatasync", 6, 1), ("fsync", 5, 1)])
def test_a_kill_at_the_nth_system_call_loses_nothing(settings: Settings, call: str, last: int, step: int) -> None:
    """One child after another dies at an earlier call of this kind."""
    with Workspace.open(settings) as workspace:
        workspace.ledger.append("reconciled", {})
    inject = f"inject={call}:signal=KILL:when={last}"
    command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]  # --seccomp-bpf drops signals
    arguments = [str(settings.folder), "4", call, str(last), str(step), APPEND]
    child = subprocess.run(
        [*command, sys.executable, "-c", KILL_AT, *arguments], check=True, capture_output=True, text=True, timeout=120
    )
    assert child.stdout.count("ended by -9") >= 3, child.stdout
    check(settings, child.stdout)


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
