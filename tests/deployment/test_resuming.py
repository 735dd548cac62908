"""A run that was stopped goes on where it was: no row is lost, none is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batch_models import model
from fullcircle.deployment import scoring
from fullcircle.deployment.making import Part
from fullcircle.deployment.queries import Query
from fullcircle.deployment.resuming import Begun
from fullcircle.deployment.sources import Source, file_source
from fullcircle.errors import ScoringFailed, TableUnreadable
from fullcircle.tables import predictions as log

PROGRAM = """
import sys
from pathlib import Path
from batch_models import model
from fullcircle.deployment import scoring
from fullcircle.deployment.sources import file_source
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
scoring.score_source(
    model(folder / "log", "slow"), file_source(folder / "in.csv"), folder / "out.csv", workers=workers, stretch=10
)
"""


class Told:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.parts: list[tuple[int, int]] = []

    def step(self, name: str, detail: str = "") -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, done: int, total: int) -> None:
        self.parts.append((done, total))


def table(folder: Path, rows: int = 200, extra: str = "") -> Source:
    lines = [f"{3 if row % 9 == 4 else 40},{20 + row / 8},f,r{row}{extra}" for row in range(rows)]
    (folder / "in.csv").write_text("age,bmi,sex,name\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return file_source(folder / "in.csv")


def run(folder: Path, source: Source, told: Told, kind: str = "sum", **more: Any) -> int:
    stretch = more.pop("stretch", 10)
    made = model(folder / "log", kind)
    return scoring.score_source(made, source, folder / "out.csv", stretch=stretch, progress=told, **more).rows


def rows_of(folder: Path) -> list[tuple[str, str, str]]:
    """Row, name and id of every row of both files."""
    found: list[tuple[str, str, str]] = []
    for name in ("out.csv", "out.quarantine.csv"):
        head, *lines = (folder / name).read_text(encoding="utf-8").splitlines()
        names = head.split(",")
        places = [names.index(one) for one in ("row", "name", "prediction_id")]
        for line in lines:
            row, one, number = (line.split(",")[place] for place in places)
            found.append((row, one, number))
    return sorted(found, key=lambda one: int(one[0]))


def is_whole(folder: Path, rows: int = 200) -> None:
    found = rows_of(folder)
    assert [(row, name) for row, name, _ in found] == [(str(row), f"r{row}") for row in range(rows)]
    assert len({number for _, _, number in found}) == rows
    for _, _, number in found[:: rows // 10]:
        assert log.find(folder / "log", number).id == number
    assert not (folder / "out.csv.parts").exists()


def started(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(workers)], env={**os.environ, "PYTHONPATH": tests}
    )


def parts(folder: Path) -> int:
    try:
        return (folder / "out.csv.parts" / "done.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while parts(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 2)])
def test_killed_at_random_points_it_loses_and_doubles_no_row(tmp_path: Path, seed: int, workers: int) -> None:
    source, chance = table(tmp_path), random.Random(seed)
    for stop in sorted(chance.sample(range(1, 18), 3 - workers)):
        process = started(tmp_path, workers)
        wait_for(tmp_path, stop, process)
        time.sleep(chance.random() / 50)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out.csv").exists()
    told, before = Told(), parts(tmp_path)
    assert run(tmp_path, source, told, "slow") == 200
    is_whole(tmp_path)
    (note,) = told.notes
    assert note.startswith("goes on where it was stopped: ")
    assert told.parts[0][0] >= 10 * before, "it went on, and did not begin anew"


def test_ctrl_c_leaves_what_is_done_and_no_process(tmp_path: Path) -> None:
    source = table(tmp_path)
    process = started(tmp_path, 2)
    wait_for(tmp_path, 3, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    known = children.read_text().split() if children.exists() else []
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert not [one for one in known if Path(f"/proc/{one}").exists()]
    told = Told()
    assert run(tmp_path, source, told) == 200
    is_whole(tmp_path)
    assert told.notes[0].startswith("goes on")


def stopped(folder: Path, source: Source, **more: Any) -> None:
    """Stop after three parts."""

    class Stop(Told):
        def advance(self, done: int, total: int) -> None:
            if done >= 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, source, Stop(), **more)
    assert parts(folder) == 3


def test_what_is_done_is_not_answered_again(tmp_path: Path) -> None:
    source = table(tmp_path)
    stopped(tmp_path, source)
    kept = [json.loads(line) for line in (tmp_path / "out.csv.parts" / "done.jsonl").read_text().splitlines()]
    ids = {
        line.split(b",")[8].decode()
        for part in kept
        for line in (tmp_path / "out.csv.parts" / part["good"]).read_bytes().splitlines()
    }
    told = Told()
    run(tmp_path, source, told)
    assert told.notes == ["goes on where it was stopped: 30 rows are answered"]
    assert told.parts[0] == (40, told.parts[0][1])
    is_whole(tmp_path)
    assert ids <= {number for _, _, number in rows_of(tmp_path)}
    run(tmp_path, source, again := Told())
    assert again.notes == [], "a finished run leaves nothing to go on with"


@pytest.mark.parametrize("what", ["source", "version", "stretch", "restart"])
def test_parts_of_another_run_are_not_mixed_in(tmp_path: Path, what: str) -> None:
    source = table(tmp_path)
    stopped(tmp_path, source)
    if what == "source":
        source = table(tmp_path, extra="x")
    told, made = Told(), model(tmp_path / "log")
    origin = {**made.origin, **({"version": "2"} if what == "version" else {})}
    scoring.score_source(
        scoring.Model(contract=made.contract, origin=origin, opener=made.opener, arguments=made.arguments),
        source,
        tmp_path / "out.csv",
        stretch=20 if what == "stretch" else 10,
        restart=what == "restart",
        progress=told,
    )
    words = {
        "source": "another size",
        "version": "another version",
        "stretch": "another stretch",
        "restart": "as asked",
    }
    assert told.notes[0].startswith("starts anew: ")
    assert words[what] in told.notes[0]
    assert [name for _, name, _ in rows_of(tmp_path)] == [f"r{row}{'x' * (what == 'source')}" for row in range(200)]


@pytest.mark.parametrize("damage", ["flip", "gone", "torn"])
def test_a_part_that_is_not_whole_is_made_again(tmp_path: Path, damage: str) -> None:
    source = table(tmp_path)
    stopped(tmp_path, source)
    folder = tmp_path / "out.csv.parts"
    done = folder / "done.jsonl"
    part = folder / json.loads(done.read_text().splitlines()[1])["good"]
    if damage == "flip":
        content = bytearray(part.read_bytes())
        content[20] ^= 1
        part.write_bytes(content)
    elif damage == "gone":
        part.unlink()
    else:
        done.write_bytes(done.read_bytes()[:-20])
    told = Told()
    run(tmp_path, source, told)
    assert told.notes == ["goes on where it was stopped: 20 rows are answered"]
    is_whole(tmp_path)


def test_two_runs_do_not_write_one_result(tmp_path: Path) -> None:
    source = table(tmp_path)
    with (
        Begun(tmp_path / "out.csv", {}) as begun,
        pytest.raises(ScoringFailed, match="another process is writing this result"),
    ):
        run(tmp_path, source, Told())
    begun.finish()
    assert run(tmp_path, source, Told()) == 200


def test_a_query_that_gives_other_rows_begins_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute("create table rows (age integer, bmi real, sex text, name text)")
        database.executemany(
            "insert into rows values (?, ?, ?, ?)",
            [(3 if row % 9 == 4 else 40, 20 + row / 8, "f", f"r{row}") for row in range(200)],
        )
    source = Query("SELECT * FROM rows", f"sqlite:///{tmp_path / 'rows.db'}")
    stopped(tmp_path, source)
    run(tmp_path, source, told := Told())
    assert told.notes == ["goes on where it was stopped: 30 rows are answered"]
    is_whole(tmp_path)
    stopped(tmp_path, source)
    with database:
        database.execute("update rows set name = 'other' where name = 'r15'")
    database.close()
    run(tmp_path, source, told := Told())
    assert told.notes[1:] == ["starts anew: the source gives other rows than before"]
    assert [name for _, name, _ in rows_of(tmp_path)][14:17] == ["r14", "other", "r16"]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    source = table(tmp_path)

    class Writing(Told):
        def advance(self, done: int, total: int) -> None:
            if done == 200:
                with (tmp_path / "in.csv").open("a") as file:
                    file.write("40,20,f,more\n")

    with pytest.raises(TableUnreadable, match="changed while it was read"):
        run(tmp_path, source, Writing())
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="cannot be written there"):
        Begun(tmp_path / "nowhere" / "out.csv", {})


def test_parts_are_listed_by_number(tmp_path: Path) -> None:
    part = Part(number=4, rows=1, verdicts={"ok": 1}, good="a", good_digest="0" * 64)
    with Begun(tmp_path / "out.csv", {"a": "1"}) as begun:
        begun.add(part)
        assert begun.done == {4: part}
        begun.clear()
        assert begun.done == {}
    with Begun(tmp_path / "out.csv", {"a": "1"}) as begun:
        assert begun.done == {}
