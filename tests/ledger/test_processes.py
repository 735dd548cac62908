"""Processes that can be told apart later, although their ids are used again."""

from __future__ import annotations

import os
import subprocess
import sys

from fullcircle.ledger.processes import born, place


def test_a_process_is_known_by_its_birth_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    first = born(child.pid)
    assert first
    assert first == born(child.pid)
    assert first != born(os.getpid())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert born(child.pid) == "", "one that ended and was not asked for yet has ended"
    child.communicate()
    assert born(child.pid) == ""


def test_processes_of_one_machine_are_in_one_place() -> None:
    other = subprocess.run(
        [sys.executable, "-c", "from fullcircle.ledger.processes import place; print(place())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout.strip() == place()
