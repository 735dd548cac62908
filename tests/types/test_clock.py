"""The clock: the machine's, or that of a workspace where history is played; one place that everybody asks."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fullcircle.ledger.ledger import now as of_facts
from fullcircle.monitoring import grid
from fullcircle.tables import lines
from fullcircle.types import clock

SOURCE = Path(__file__).parents[2] / "src" / "fullcircle"
JANUARY = 1_325_376_000_000_000  # 2012-01-01, UTC
TEXT = "2012-01-01T00:00:00.000000Z"


def test_it_is_the_machines() -> None:
    before = time.time_ns() // 1000
    assert before <= clock.micros() <= time.time_ns() // 1000


def test_what_is_played_holds_within_and_ends_with_it() -> None:
    with clock.played(lambda: JANUARY):
        assert (clock.micros(), lines.now(), of_facts(), grid.now()) == (JANUARY, TEXT, TEXT, JANUARY)
        assert lines.Clock().text() == TEXT
        with clock.played(lambda: JANUARY + 1):
            assert clock.micros() == JANUARY + 1
        assert clock.micros() == JANUARY
    assert clock.micros() > JANUARY + 10**14


def test_an_error_inside_does_not_leave_it_behind() -> None:
    with pytest.raises(ZeroDivisionError), clock.played(lambda: JANUARY):
        1 / 0  # noqa: B018
    assert clock.micros() > JANUARY


def test_a_folder_without_a_clock_goes_by_the_machines(tmp_path: Path) -> None:
    with clock.of(tmp_path), clock.of(tmp_path / "not there"):
        assert clock.micros() > JANUARY


def test_a_played_folder_goes_by_its_file_as_it_is_moved_on(tmp_path: Path) -> None:
    clock.put(tmp_path, JANUARY)
    with clock.of(tmp_path):
        assert clock.micros() == JANUARY
        clock.put(tmp_path, JANUARY + 7)
        assert clock.micros() == JANUARY + 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [clock.NAME]


def test_another_process_goes_by_it_too(tmp_path: Path) -> None:
    clock.put(tmp_path, JANUARY)
    code = (
        "import pathlib, sys; from fullcircle.types import clock\n"
        "with clock.of(pathlib.Path(sys.argv[1])): print(clock.micros())"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert int(told.stdout) == JANUARY


def test_a_thread_is_handed_the_source_by_whoever_starts_it() -> None:
    heard: list[int] = []
    with clock.played(lambda: JANUARY):
        here = clock.source()
        thread = threading.Thread(target=lambda: heard.extend((here(), clock.micros())))
        thread.start()
        thread.join()
    assert heard[0] == JANUARY < heard[1]


def test_a_log_clock_never_goes_back() -> None:
    moments = iter([JANUARY, JANUARY - 5, JANUARY + 1])
    with clock.played(lambda: next(moments)):
        one = lines.Clock()
        assert [one.text() for _ in range(3)] == [TEXT, TEXT, "2012-01-01T00:00:00.000001Z"]


def test_who_writes_down_when_something_was_asks_it() -> None:
    """The rooms that write times into the log, the ledger and the journal ask no other clock."""
    asked = re.compile(r"datetime\.now|time\.time\(|\btime_ns|utcnow")
    rooms = ("ledger", "tables", "monitoring", "retraining", "flows")
    found = {
        f"{path.relative_to(SOURCE)}"
        for room in rooms
        for path in (SOURCE / room).rglob("*.py")
        if asked.search(path.read_text(encoding="utf-8"))
    }
    assert found <= REAL, f"these ask the machine's clock: {sorted(found - REAL)}"


REAL = {
    "flows/doctor_machine.py",  # is the machine's clock right?
    "flows/erase.py",  # when a server will have ended its segment
    "flows/run.py",  # how long it took
    "ledger/places.py",  # how old a file is
    "monitoring/channels.py",
    "tables/segments.py",
}
