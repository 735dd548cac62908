"""Quality of past stretches as it is kept: the same figures as without, and no row read that nothing happened to."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import fullcircle as fc
from fullcircle.flows import past, quality
from fullcircle.flows.quality import About, Judged, about_of
from fullcircle.tables import compaction, predictions
from fullcircle.tables.lines import TIME
from fullcircle.types.contract import Contract, Verdict
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Outcome, Prediction

START = datetime(2026, 1, 5, tzinfo=UTC)
MODEL = "loans"
ROWS = 40  # a day, each in a file of its own


def day(number: float) -> str:
    return (START + timedelta(days=number)).strftime(TIME)


BOUNDS = [(day(number), day(number + 1)) for number in range(4)]


def segment(number: int) -> str:
    return f"{number:016x}"


def rows_of(number: int, *, version: int = 1) -> list[Prediction]:
    """The rows of a day, by the id that their place in the file gives."""
    rng = np.random.default_rng(number)
    made, place = [], 0
    for at in range(ROWS):
        row = Prediction(
            value=float(rng.normal(10, 2)),
            verdict=Verdict(status="ok"),
            id=f"{segment(number)}-{place}",
            time=day(number + at / ROWS),
            model=MODEL,
            version=version,
        )
        place += len(msgspec.json.encode(row)) + 1
        made.append(row)
    return made


def logged(log: Path, number: int, **more: Any) -> Path:
    path = log / MODEL / f"{segment(number)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows_of(number, **more)))
    return path


def labelled(log: Path, number: int, off: float = 1.0, count: int = ROWS) -> None:
    known = [Outcome(prediction_id=row.id, value=float(str(row.value)) + off) for row in rows_of(number)[:count]]
    predictions.append_outcomes(log, MODEL, known)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for number in range(4):
        logged(tmp_path / "log", number)
        labelled(tmp_path / "log", number)
    return tmp_path / "log"


@pytest.fixture(scope="module")
def about() -> About:
    project = fc.Project(name=MODEL, data="loans.csv", label="y", features=["x"], fit=lambda X, y: X)
    return about_of(Contract(columns=(), label="y", task="regression"), Profile(features=(), rows=0), project)


def kept(about: About, log: Path, key: str = "code", version: int = 1) -> list[Judged]:
    return past.judged(about, log, version, BOUNDS, kept=log.parent / "cache" / "kept.bin", key=key)


def anew(about: About, log: Path, version: int = 1) -> list[Judged]:
    rows = predictions.read(log, MODEL, since=BOUNDS[0][0], until=BOUNDS[-1][1], version=version)
    return quality.judge(about, BOUNDS, rows, predictions.read_outcomes(log, MODEL))


def garble(path: Path) -> None:
    """Make a file unreadable so that nobody who only looks at it from outside can tell."""
    at = path.stat()
    with path.open("r+b") as file:
        file.write(b"#" * at.st_size)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def mae(judged: Judged) -> float | None:
    return next((each.value for each in judged.realised if each.name == "mae"), None)


def test_what_nothing_happened_to_is_told_without_reading_a_row(about: About, log: Path) -> None:
    first = kept(about, log)
    assert first == anew(about, log)
    assert mae(first[0]) == pytest.approx(1.0)
    for number in range(4):
        garble(log / MODEL / f"{segment(number)}.jsonl")
    assert mae(anew(about, log)[0]) is None, "the rows are gone"
    assert kept(about, log) == first


def test_only_the_stretch_that_something_happened_to_is_read(about: About, log: Path) -> None:
    first = kept(about, log)
    garble(log / MODEL / f"{segment(0)}.jsonl")
    labelled(log, 2, off=3.0, count=10)
    after = kept(about, log)
    assert (after[0], after[1], after[3]) == (first[0], first[1], first[3])
    assert mae(after[2]) == pytest.approx((10 * 3.0 + 30 * 1.0) / 40)


@pytest.mark.parametrize("change", ["correction", "taken back", "rows", "erased", "compacted", "gone", "a new file"])
def test_whatever_happens_the_figures_are_those_of_the_log(about: About, log: Path, change: str) -> None:
    before = kept(about, log)
    path = log / MODEL / f"{segment(1)}.jsonl"
    if change == "correction":
        labelled(log, 1, off=5.0)
    elif change == "taken back":
        predictions.append_outcomes(log, MODEL, [Outcome(prediction_id=rows_of(1)[0].id, value=None)])
    elif change == "rows":
        more = [msgspec.json.encode(row) + b"\n" for row in rows_of(7)]
        path.write_bytes(path.read_bytes() + b"".join(more).replace(day(7)[:10].encode(), day(1)[:10].encode()))
    elif change == "erased":
        line = path.read_bytes().splitlines(keepends=True)[0]
        with path.open("r+b") as file:
            file.write(b" " * (len(line) - 1))
    elif change == "compacted":
        compaction.prepare(log / MODEL, segment(1), rows_of(1))
        compaction.publish(log / MODEL, segment(1))
        assert not path.exists()
    elif change == "gone":
        path.unlink()
    else:
        late = log / MODEL / f"{segment(9)}.jsonl"
        late.write_bytes(path.read_bytes().replace(segment(1).encode(), segment(9).encode()))
    after = kept(about, log)
    assert after == anew(about, log)
    assert (after == before) is (change == "compacted")


def test_other_code_and_another_version_are_not_taken_for_it(about: About, log: Path) -> None:
    first = kept(about, log)
    logged(log, 3, version=2)
    assert kept(about, log, version=2) == anew(about, log, version=2) != first
    before = kept(about, log)
    for number in range(4):
        garble(log / MODEL / f"{segment(number)}.jsonl")
    assert kept(about, log) == before
    assert mae(kept(about, log, key="other code")[0]) is None, "its figures may be others: the rows were read"


@pytest.mark.parametrize("content", [b"", b"\x82\xa1", b"\xd9\x01\xff", b"{}", bytes(1000)])
def test_what_cannot_be_read_is_made_again(about: About, log: Path, content: bytes) -> None:
    first = kept(about, log)
    (log.parent / "cache" / "kept.bin").write_bytes(content)
    assert kept(about, log) == first
    assert len((log.parent / "cache" / "kept.bin").read_bytes()) > 500
    assert [each.name for each in (log.parent / "cache").iterdir()] == ["kept.bin"]


def test_without_room_for_it_the_figures_are_the_same(about: About, log: Path) -> None:
    (log.parent / "cache").write_text("not a folder")
    assert kept(about, log) == anew(about, log)


def test_a_clock_that_was_set_back_loses_no_row(about: About, log: Path) -> None:
    """The first row of a file is not its earliest: where a file belongs is known from all of its rows."""
    path = log / MODEL / f"{segment(3)}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[20] = lines[20].replace(rows_of(3)[20].time.encode(), day(0.5).encode())
    path.write_bytes(b"".join(lines))
    after = kept(about, log)
    assert after == anew(about, log)
    assert next(each for each in after[0].realised if each.name == "label_coverage").n == ROWS + 1


def test_what_holds_no_more_is_not_kept(about: About, log: Path) -> None:
    kept(about, log)
    size = (log.parent / "cache" / "kept.bin").stat().st_size
    for off in (2.0, 3.0, 4.0):
        labelled(log, 1, off=off)
        kept(about, log)
    assert (log.parent / "cache" / "kept.bin").stat().st_size < 1.2 * size
