"""No door opens a pickle without consent, under whatever name it comes: the interpreter itself is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "hostile_files.py"
INERT = {"types.parquet", "types.arrow as Arrow", "frame.csv"}
"""Opened as numbers or text; what stands in their metadata is not looked at."""


@pytest.fixture(scope="module")
def tried() -> Any:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, timeout=300, check=False, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_files_run_what_they_hold_where_they_are_opened_carelessly(tried: Any) -> None:
    assert tried["works"]


def test_nothing_was_unpickled_and_nothing_was_run(tried: Any) -> None:
    assert tried["seen"] == []
    assert not tried["owned"]


def test_every_door_refused_every_file_in_words(tried: Any) -> None:
    assert len(tried["found"]) > 300
    assert {case for case, what in tried["found"].items() if what != "refused"} == INERT
    assert all(tried["found"][case] == "opened" for case in INERT)
