"""Outcomes: which of several counts, whatever the order of the lines; whole lines or none; erased in place."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import WorkspaceUnusable
from fullcircle.tables.outcomes import OUTCOMES, append_outcomes, erase_outcomes, latest, read_outcomes, same
from fullcircle.types.contract import Value
from fullcircle.types.prediction import Outcome

MODEL = "bike-demand"


def outcome(identity: str, value: Value, time: int | str = "") -> Outcome:
    text = f"2026-01-01T00:00:{time:02d}.000000Z" if isinstance(time, int) else time
    return Outcome(prediction_id=identity, value=value, time=text)


VALUES: st.SearchStrategy[Value] = st.sampled_from([0, 1, True, "x", 2.5])
# Each line has a time of its own, as the order of receipt has.
LINES = st.lists(st.tuples(st.sampled_from(["a-0", "b-1", "c-2"]), VALUES), max_size=12).map(
    lambda pairs: [outcome(identity, value, place) for place, (identity, value) in enumerate(pairs)]
)


class TestTheLastOneCounts:
    @given(LINES, st.data())
    def test_in_any_order_of_lines_and_any_repetition_it_is_the_same(
        self, lines: list[Outcome], data: st.DataObject
    ) -> None:
        again = data.draw(st.lists(st.sampled_from(lines), max_size=8)) if lines else []
        shuffled = data.draw(st.permutations([*lines, *again]))
        assert latest(shuffled) == latest(lines)

    @given(LINES)
    def test_it_is_the_value_that_was_received_last(self, lines: list[Outcome]) -> None:
        found = latest(lines)
        assert set(found) == {each.prediction_id for each in lines}
        for identity, each in found.items():
            last = [line for line in lines if line.prediction_id == identity][-1]
            assert same(each.value, last.value)

    @given(LINES, st.integers(0, 11))
    def test_the_same_again_changes_nothing(self, lines: list[Outcome], place: int) -> None:
        if lines:
            (chosen,) = [latest(lines)[lines[place % len(lines)].prediction_id]]
            assert latest([*lines, outcome(chosen.prediction_id, chosen.value, 59)]) == latest(lines)

    def test_its_time_is_when_this_value_came_first_since_another_one(self) -> None:
        lines = [outcome("a-0", value, place) for place, value in enumerate([1, 2, 2, 1, 1])]
        assert latest(lines)["a-0"] == lines[3]
        assert latest(lines[:3])["a-0"] == lines[1]

    def test_of_equal_times_the_later_line_counts_and_those_without_an_id_wait(self) -> None:
        assert latest([outcome("a-0", 1, 5), outcome("a-0", 2, 5)])["a-0"].value == 2
        assert latest([Outcome(value=1, key={"a": 1}, at="2026-01-01")]) == {}

    def test_true_is_not_one(self) -> None:
        assert same(1, 1.0)
        assert not same(1, True)
        assert latest([outcome("a-0", 1, 1), outcome("a-0", True, 2)])["a-0"].value is True


class TestTheFile:
    def test_a_clock_that_was_set_back_makes_no_correction_older(self, tmp_path: Path) -> None:
        append_outcomes(tmp_path, MODEL, [outcome("a-0", 1, "2999-01-01T00:00:00.000000Z")])
        append_outcomes(tmp_path, MODEL, [outcome("a-0", 2)])
        assert read_outcomes(tmp_path, MODEL)["a-0"].value == 2

    def test_a_torn_line_at_the_end_does_not_take_the_next_with_it(self, tmp_path: Path) -> None:
        append_outcomes(tmp_path, MODEL, [outcome("a-0", 1)])
        path = tmp_path / MODEL / OUTCOMES
        path.write_bytes(path.read_bytes() + b'{"prediction_id":"b-1","val')
        append_outcomes(tmp_path, MODEL, [outcome("c-2", 3)])
        assert {identity: each.value for identity, each in read_outcomes(tmp_path, MODEL).items()} == {
            "a-0": 1,
            "c-2": 3,
        }

    def test_several_at_once_write_whole_lines(self, tmp_path: Path) -> None:
        def write(writer: int) -> None:
            for place in range(40):
                append_outcomes(tmp_path, MODEL, [outcome(f"{writer}-{place}", place)])

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        lines = (tmp_path / MODEL / OUTCOMES).read_text().splitlines()
        assert len(lines) == len(read_outcomes(tmp_path, MODEL)) == 160
        times = [line.split('"time":"')[1] for line in lines]
        assert times == sorted(times)

    def test_it_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / MODEL).write_text("a file")
        with pytest.raises(WorkspaceUnusable, match="cannot be logged"):
            append_outcomes(tmp_path, MODEL, [outcome("a-0", 1)])

    def test_erased_ones_leave_blanks_and_the_rest_stays_in_its_place(self, tmp_path: Path) -> None:
        assert erase_outcomes(tmp_path / MODEL, {"a-0"}) == 0
        append_outcomes(tmp_path, MODEL, [outcome("a-0", "secret"), outcome("b-1", 2), outcome("a-0", "secret too")])
        path = tmp_path / MODEL / OUTCOMES
        path.write_bytes(path.read_bytes() + b'{"prediction_id":"a-0","value":"secr')
        before = path.read_bytes()
        assert erase_outcomes(tmp_path / MODEL, {"a-0"}) == 2
        after = path.read_bytes()
        assert len(after) == len(before)
        assert b"secr" not in after
        assert after.index(b"b-1") == before.index(b"b-1")
        assert list(read_outcomes(tmp_path, MODEL)) == ["b-1"]
        assert erase_outcomes(tmp_path / MODEL, {"a-0"}) == 0
