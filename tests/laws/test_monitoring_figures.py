"""docs/monitoring-figures.md says what was measured; parts of the benchmark fail alone. Nothing is timed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from laws.sizes import ROOT

PAGE = """# Figures
<!-- from the result file: speed -->
old
<!-- end -->
kept
<!-- from the result file: alarms -->
<!-- end -->
<!-- from the result file: missed -->
<!-- end -->
"""


@pytest.fixture(autouse=True, scope="module")
def _root() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        import benchmarks.monitoring_figures  # noqa: F401  # stays imported


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from benchmarks import rows

    monkeypatch.delenv("FULLCIRCLE_BENCH_SCALE", raising=False)
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    return tmp_path / "monitoring.json"


def test_the_page_of_figures_is_that_of_the_result_file() -> None:
    from benchmarks.monitoring_figures import PAGE as DOCUMENT
    from benchmarks.monitoring_figures import RESULT, renewed

    page, found = DOCUMENT.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8"))
    assert renewed(page, found) == page, "python -m benchmarks.monitoring_figures"
    assert all(row["what"].replace("|", "") in page for row in found["rows"])


def test_tables_and_what_was_missed_come_from_the_rows_and_nothing_else_moves() -> None:
    from benchmarks.monitoring_figures import renewed

    rows = [
        {"what": "one", "unit": "s", "ours": 0.5, "goal": 1.0, "peer": 4321.0, "peer_name": "N", "met": True},
        {"what": "two", "unit": "/s", "ours": 5.0, "goal": 9.0, "peer": None, "at_least": True, "met": False},
        {"what": "two", "unit": "/s", "ours": 5.0, "goal": 9.0, "peer": 1.0, "peer_name": "E", "met": False},
    ]
    page = renewed(PAGE, {"rows": [{**row, "part": "speed"} for row in rows]})
    assert "| one | 0.5 s | 4,321 s (N) | at most 1 s | yes |" in page
    assert "| two | 5 /s |  | at least 9 /s | no |" in page
    assert page.count("- two: 5 /s, not 9 /s") == 1
    assert "Not measured yet." in page
    assert "old" not in page
    assert "kept\n" in page
    assert renewed(page, {"rows": [{**row, "part": "speed"} for row in rows]}) == page
    assert "- not measured yet: alarms" in page
    assert "- not measured yet: speed" not in page
    whole = [{**rows[0], "part": part} for part in ("speed", "alarms")]
    assert "All goals were reached." in renewed(page, {"rows": whole})


def test_a_part_takes_the_place_of_its_own_rows_only(results: Path) -> None:
    from benchmarks.rows import Row, write

    def row(what: str, part: str) -> Row:
        return Row(what=what, unit="s", ours=0.0, goal=1.0, part=part)

    write("monitoring", [row("a", "one"), row("b", "two")])
    write("monitoring", [row("c", "one"), row("d", "one")], parts=["one"])
    found = json.loads(results.read_text(encoding="utf-8"))
    assert [(each["what"], each["part"]) for each in found["rows"]] == [("b", "two"), ("c", "one"), ("d", "one")]
    assert set(found["parts"]) == {"one", "two"}
    write("monitoring", [Row(what="e", unit="s", ours=0.0, goal=1.0)])
    assert [*json.loads(results.read_text(encoding="utf-8"))["rows"][0]][-2:] == ["ratio", "met"]


def test_a_quick_look_is_no_result(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.rows import write

    (tmp_path / "quick").mkdir()
    monkeypatch.setenv("FULLCIRCLE_BENCH_SCALE", "0.01")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "quick"))
    assert write("monitoring", []) == tmp_path / "quick" / "monitoring.json"
    assert not results.exists()


def test_parts_that_fail_and_peers_that_cannot_be_had_are_rows_and_the_rest_is_kept(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer's requirement that no index can have fails before anything is looked up."""
    from benchmarks import monitoring
    from benchmarks.rows import Row

    def part(name: str) -> ModuleType:
        made = ModuleType(f"benchmarks.monitoring_{name}")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        return made

    def works(folder: Path, scale: float, ghost: Path | None) -> list[Row]:
        assert (folder.is_dir(), scale > 0, ghost) == (True, True, None)
        return [Row(what="counted", unit="s", ours=0.5, goal=1.0)]

    def breaks(scale: float) -> list[Row]:
        raise RuntimeError("out of luck")

    part("works").rows, part("breaks").rows = works, breaks  # type: ignore[attr-defined]
    monkeypatch.setattr(monitoring, "ASKS", {"breaks": (), "works": ("ghost",)})
    monkeypatch.setitem(monitoring.PEERS, "ghost", ["no such requirement !"])
    assert monitoring.main(["breaks", "works"]) == 1
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    assert [(row["part"], row["met"]) for row in rows] == [("breaks", False), ("works", False), ("works", True)]
    assert "breaks ran to its end (no: RuntimeError: out of luck)" in rows[0]["what"]
    assert "ghost can be installed (no: " in rows[1]["what"]
    assert monitoring.main(["nothing"]) == 2


def test_distances_are_told_beside_the_peers_that_were_asked() -> None:
    from benchmarks.monitoring_speed import NANNYML, _told

    ours = {"first": 1.0, "later": 0.5}
    theirs = {"NannyML, fit and all": 9.0, "NannyML, all": 4.0, **{f"NannyML, {way}": 2.0 for way in NANNYML}}
    alone = {"Evidently, psi": 30.0, "Evidently, ks": 40.0, "Evidently, psi, count alone": 6.0}
    rows = _told({**ours, **theirs, **alone}, 100_000)
    assert [(row.peer, row.goal, row.met) for row in rows] == [
        (30.0, 1.5, True), (30.0, 0.75, True), (6.0, 6.0, True), (9.0, 9.0, True), (4.0, 0.8, True), (2.0, 2.0, True)
    ]  # fmt: skip
    assert [row.peer for row in _told({**ours, **theirs}, 100_000)] == [9.0, 4.0, 2.0]
    assert _told(ours, 100_000) == []


def test_a_peer_answers_by_lines_and_reaches_no_network(tmp_path: Path) -> None:
    """What it prints besides is no answer, and a connection is refused before it is made."""
    program = """
import socket, sys, monitoring_offline
monitoring_offline.closed()
def reach(port):
    print("noise")
    try:
        socket.create_connection(("127.0.0.1", port), 1)
    except OSError as error:
        return str(error)
monitoring_offline.answer({"reach": reach, "add": lambda one, two: one + two})
"""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        asked = [{"do": "reach", "port": listening.getsockname()[1]}, {"do": "add", "one": 1, "two": 2}]
        done = subprocess.run(
            [sys.executable, "-c", program], input="".join(json.dumps(each) + "\n" for each in asked),
            env={"PYTHONPATH": str(ROOT / "benchmarks" / "peers")}, text=True, capture_output=True, check=True,
            cwd=tmp_path, timeout=30,
        )  # fmt: skip
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["this program may not use a network", 3]
    assert done.stderr == "noise\n"
