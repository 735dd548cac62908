"""Laws of following: however a log is written, cut, read, compacted and erased, each row comes once and in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.tables import following
from fullcircle.tables.compaction import prepare, publish
from fullcircle.tables.outcomes import append_outcomes, erase_outcomes
from fullcircle.tables.predictions import SegmentRows
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction

NAME = "0123456789abcdef"
NAMES = [f"{number:016x}" for number in range(3)]
# What a line of a segment may be: a row, a row that was erased, and what a crash or a disk may leave.
KINDS = st.lists(st.sampled_from(["row", "row", "row", "erased", "torn", "bytes", "blank"]), max_size=14)


@contextmanager
def parts_of(size: int) -> Iterator[None]:
    """Reading takes so many rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "CHUNK", size)
        yield


def lines_of(kinds: Sequence[str], name: str = NAME) -> tuple[list[bytes], list[str]]:
    """The lines of a segment, and the ids of the rows that are to be read."""
    lines, ids, place = [], [], 0
    for number, kind in enumerate(kinds):
        row = Prediction(
            value=None if kind == "erased" else float(number), verdict=Verdict(status="ok"), model="m", version=1,
            id=f"{name}-{place}", time=f"2026-01-01T00:00:{number:02d}.000000Z", erased="x" * (kind == "erased"),
            inputs={"text": "é" * number},
        )  # fmt: skip
        said = msgspec.json.decode(msgspec.json.encode(row))
        whole = msgspec.json.encode({"id": said.pop("id"), "time": said.pop("time")} | said) + b"\n"
        line = {"torn": whole[: len(whole) // 2] + b"\n", "bytes": b"\xff\xfe\n", "blank": b"   \n"}.get(kind, whole)
        if kind == "row":
            ids.append(row.id)
        lines.append(line)
        place += len(line)
    return lines, ids


def read_on(home: Path, place: int, name: str = NAME) -> tuple[list[str], int]:
    """What is new after a place, as one who keeps the place of each part reads it."""
    found: list[str] = []
    for part in following.after(home, name, place) or ():
        assert part.place >= place
        found += [row.id for row in part.rows]
        place = part.place
    return found, place


@settings(max_examples=50)
@given(KINDS, st.lists(st.integers(0, 3000), max_size=6), st.integers(1, 5))
def test_a_segment_that_grows_by_any_bytes_gives_each_row_once(kinds: list[str], cuts: list[int], size: int) -> None:
    lines, ids = lines_of(kinds)
    data, place, found = b"".join(lines), 0, []
    with tempfile.TemporaryDirectory() as folder, parts_of(size):
        path = Path(folder) / f"{NAME}.jsonl"
        for end in [*sorted(cuts), len(data)]:
            path.write_bytes(data[:end])
            new, place = read_on(Path(folder), place)
            assert data[:place].endswith(b"\n") or place == 0, "a place is always behind a whole line"
            found += new
        assert read_on(Path(folder), place) == ([], place)
    assert found == ids
    assert place == len(data)


@settings(max_examples=40)
@given(KINDS, st.integers(0, 14), st.integers(1, 4))
def test_stopping_at_any_part_and_going_on_later_loses_nothing(kinds: list[str], stop: int, size: int) -> None:
    lines, ids = lines_of(kinds)
    with tempfile.TemporaryDirectory() as folder, parts_of(size):
        (Path(folder) / f"{NAME}.jsonl").write_bytes(b"".join(lines))
        found, place = [], 0
        for number, part in enumerate(following.after(Path(folder), NAME) or ()):
            if number >= stop:  # killed: this part was not counted
                break
            assert len(part.rows) <= size
            assert not part.whole, "only a compacted segment has an end"
            found += [row.id for row in part.rows]
            place = part.place
        rest, _ = read_on(Path(folder), place)
    assert found + rest == ids


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from(["row", "row", "erased"]), min_size=1, max_size=9), st.integers(0, 9), st.integers(1, 4)
)
def test_a_segment_that_is_compacted_between_two_readings_goes_on_where_it_was(
    kinds: list[str], begun: int, size: int
) -> None:
    lines, ids = lines_of(kinds)
    with tempfile.TemporaryDirectory() as folder, parts_of(size):
        home = Path(folder)
        path = home / f"{NAME}.jsonl"
        path.write_bytes(b"".join(lines[:begun]))
        found, place = read_on(home, 0)
        path.write_bytes(b"".join(lines))
        prepare(home, NAME, SegmentRows(home, NAME))
        publish(home, NAME)
        assert not path.exists()
        rest, last = read_on(home, place)
        assert found + rest == ids
        assert read_on(home, last)[0] == []
        assert [row.id for row in following.of_ids(home, ids)] == ids


@settings(max_examples=40)
@given(st.lists(KINDS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_ids_find_their_rows_in_any_order_once_and_no_others(many: list[list[str]], chance: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        every, expected = [], []
        for name, kinds in zip(NAMES, many, strict=False):
            lines, ids = lines_of(kinds, name)
            (Path(folder) / f"{name}.jsonl").write_bytes(b"".join(lines))
            places = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
            every += [f"{name}-{place}" for place in places]  # also of lines that are no rows, and behind the end
            every += [f"{name}-{place + 1}" for place in places]  # and in the midst of a line
            expected += ids
        asked = every * 2
        chance.shuffle(asked)
        assert [row.id for row in following.of_ids(Path(folder), asked)] == expected


def test_the_line_of_another_row_at_the_place_of_an_id_is_not_taken(tmp_path: Path) -> None:
    """A copied or restored segment may hold lines whose ids say another place."""
    lines, ids = lines_of(["row", "row"])
    (tmp_path / f"{NAME}.jsonl").write_bytes(lines[1] + lines[0])
    assert list(following.of_ids(tmp_path, ids)) == []


@pytest.mark.parametrize("place", [10**6, 10**12])
def test_a_place_behind_the_end_has_nothing_new_and_stays(tmp_path: Path, place: int) -> None:
    lines, _ = lines_of(["row"] * 3)
    (tmp_path / f"{NAME}.jsonl").write_bytes(b"".join(lines))
    assert read_on(tmp_path, place) == ([], place)


def test_a_segment_that_is_compacted_just_after_it_was_found_is_read_from_its_new_form(tmp_path: Path) -> None:
    lines, ids = lines_of(["row"] * 4)
    (tmp_path / f"{NAME}.jsonl").write_bytes(b"".join(lines))
    parts = following.after(tmp_path, NAME, len(lines[0]))
    prepare(tmp_path, NAME, SegmentRows(tmp_path, NAME))
    publish(tmp_path, NAME)
    found = list(parts or ())
    assert [row.id for part in found for row in part.rows] == ids[1:]
    assert [part.whole for part in found] == [True]


@pytest.mark.parametrize(
    "text",
    ["", NAME, f"{NAME}-", f"{NAME}--1", f"{NAME}-1 ", f"{NAME}-1\n", f"{NAME.upper()}-1", f"x{NAME}-1",
     f"{NAME[1:]}-1", f"{NAME}-1.5", f"../{NAME}-1", f"{NAME}-٣"],
)  # fmt: skip
def test_what_is_no_id_of_the_log_is_nowhere(tmp_path: Path, text: str) -> None:
    assert following.place_of(text) is None
    assert list(following.of_ids(tmp_path, [text])) == []


class TestOutcomes:
    @settings(max_examples=40)
    @given(st.integers(0, 9), st.lists(st.integers(0, 900), max_size=5), st.integers(1, 4))
    def test_a_file_that_grows_by_any_bytes_gives_each_once(self, n: int, cuts: list[int], size: int) -> None:
        with tempfile.TemporaryDirectory() as folder, parts_of(size):
            made = [Outcome(prediction_id=f"p-{number}", value=number, time="t") for number in range(n)]
            append_outcomes(Path(folder), "m", made)
            path = Path(folder) / "m" / "outcomes.jsonl"
            data = path.read_bytes() if n else b""
            path.parent.mkdir(exist_ok=True)
            place = 0
            found: list[Outcome] = []
            for end in [*sorted(cuts), len(data)]:
                path.write_bytes(data[:end])
                for part, reached in following.outcomes_after(path, place):
                    assert len(part) <= size
                    assert reached >= place
                    found += part
                    place = reached
        assert found == made
        assert place == len(data)

    @settings(max_examples=30)
    @given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.integers(0, 7))
    def test_erasing_moves_no_place(self, n: int, gone: set[int], begun: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = [Outcome(prediction_id=f"p-{number}", value=number, time="t") for number in range(n)]
            append_outcomes(Path(folder), "m", made)
            path = Path(folder) / "m" / "outcomes.jsonl"
            places = [0]
            for line in path.read_bytes().splitlines(keepends=True):
                places.append(places[-1] + len(line))
            erased = erase_outcomes(path.parent, {f"p-{number}" for number in gone})
            assert erased == len(gone & set(range(n)))
            at = min(begun, n)
            found = [each.value for part, _ in following.outcomes_after(path, places[at]) for each in part]
        assert found == [number for number in range(at, n) if number not in gone]

    def test_a_place_behind_the_end_has_none(self, tmp_path: Path) -> None:
        append_outcomes(tmp_path, "m", [Outcome(prediction_id="p-1", value=1)])
        path = tmp_path / "m" / "outcomes.jsonl"
        assert [part for part, _ in following.outcomes_after(path, path.stat().st_size + 50)] == [()]
