"""Outcomes that wait: joined by key and time in one pass, moved once, never lost, found again to be erased."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid, WorkspaceUnusable
from fullcircle.tables import waiting
from fullcircle.tables.lines import TIME
from fullcircle.tables.outcomes import OUTCOMES, append_outcomes, read_outcomes
from fullcircle.tables.private import hashed
from fullcircle.tables.waiting import (
    Waiting,
    append_waiting,
    as_logged,
    erase_waiting,
    holds,
    join,
    oldest_needed,
    read_waiting,
    settle,
)
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "loans"
START = datetime(2026, 1, 1, tzinfo=UTC)
CONTRACT = Contract(
    columns=(
        Column(name="loan", kind="integer"),
        Column(name="name", kind="category", private=True),
        Column(name="person", kind="category", private=True, hashed=True),
        Column(name="number", kind="integer", private=True, hashed=True),
    ),
    label="y",
    task="regression",
)


def at(minute: float) -> str:
    return (START + timedelta(minutes=minute)).strftime(TIME)


def row(number: int, minute: float, **more: Any) -> Prediction:
    fields: dict[str, Any] = {"inputs": {"loan": 7}, **more}
    return Prediction(
        value=fields.pop("value", 1.0), verdict=Verdict(status="ok"), id=f"s-{number}", time=at(minute), **fields
    )


def keyed(minute: float, *, value: Any = 5.0, within: str = "", **key: Any) -> Outcome:
    return Outcome(value=value, key=key or {"loan": 7}, at=at(minute), within=within)


def of(*outcomes: Outcome) -> list[Waiting]:
    return [Waiting(place, b"", each) for place, each in enumerate(outcomes)]


class TestJoin:
    def test_it_is_the_latest_prediction_at_or_before_the_time(self) -> None:
        rows = [row(0, 0), row(1, 10), row(2, 20)]
        asked = of(keyed(9.9), keyed(10), keyed(15), keyed(99), keyed(-1))
        assert join(rows, asked) == {0: "s-0", 1: "s-1", 2: "s-1", 3: "s-2"}

    def test_not_older_than_within(self) -> None:
        assert join([row(0, 0)], of(keyed(60, within="1h"), keyed(61, within="1h"), keyed(999))) == {
            0: "s-0",
            2: "s-0",
        }

    def test_whether_a_column_is_input_context_or_looked_up(self) -> None:
        for place in ({"inputs": {"loan": 7}}, {"context": {"loan": 7}}, {"lookup": {"values": {"loan": 7}}},
                      {"lookup": {"request": {"loan": 7}}}, {"lookup": {"passed": {"loan": 7}}}):  # fmt: skip
            assert join([row(0, 0, **{"inputs": None, **place})], of(keyed(1))) == {0: "s-0"}

    def test_all_columns_of_a_key_have_to_fit(self) -> None:
        rows = [row(0, 0, inputs={"loan": 7, "part": "a"}), row(1, 0, inputs={"loan": 7, "part": "b"})]
        asked = of(keyed(1, loan=7, part="b"), keyed(1, loan=8, part="b"), keyed(1, loan=7, size=2))
        assert join(rows, asked) == {0: "s-1"}

    @pytest.mark.parametrize("told", [7, 7.0, "7", "7.0"])
    def test_a_file_of_text_cannot_tell_numbers_apart(self, told: Any) -> None:
        assert join([row(0, 0)], of(keyed(1, loan=told))) == {0: "s-0"}
        assert join([row(0, 0, inputs={"loan": "7"})], of(keyed(1, loan=told))) == {0: "s-0"}
        assert join([row(0, 0, inputs={"loan": "07"})], of(keyed(1, loan=told))) == {}

    def test_what_was_not_answered_or_was_erased_is_not_meant(self) -> None:
        assert join([row(0, 0), row(1, 1, value=None), row(2, 2, erased="x")], of(keyed(3))) == {0: "s-0"}

    def test_one_that_lies_ahead_waits_for_a_later_prediction(self) -> None:
        assert join([row(0, 0)], of(keyed(5), keyed(50)), until=at(10)) == {0: "s-0"}

    def test_ids_do_not_join_by_key(self) -> None:
        assert join([row(0, 0)], of(Outcome(value=1, prediction_id="s-9"))) == {}

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=15),
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.sampled_from(["", "5m"])), max_size=10),
        st.randoms(use_true_random=False),
    )
    def test_it_is_what_looking_at_every_row_finds_in_any_order(
        self, logged: list[tuple[int, int]], wanted: list[tuple[int, int, str]], chance: Any
    ) -> None:
        rows = [row(number, minute, inputs={"loan": loan}) for number, (loan, minute) in enumerate(logged)]
        asked = of(*(keyed(minute, within=within, loan=loan) for loan, minute, within in wanted))
        expected = {}
        for place, (loan, minute, within) in enumerate(wanted):
            fits = [
                (each.time, each.id)
                for each, (other, made) in zip(rows, logged, strict=True)
                if other == loan and made <= minute and (not within or minute - made <= 5)
            ]
            if fits:
                expected[place] = max(fits)[1]
        chance.shuffle(rows)
        chance.shuffle(asked)
        assert join(rows, asked) == expected

    def test_many_of_one_key_take_one_pass(self) -> None:
        rows = iter([row(number, number / 100) for number in range(20_000)])
        found = join(rows, of(*(keyed(number / 100) for number in range(0, 20_000, 2))))
        assert found == {place: f"s-{2 * place}" for place in range(10_000)}

    def test_how_far_back_is_looked(self) -> None:
        assert oldest_needed(of(keyed(60, within="1h"), keyed(90, within="1h"))) == at(0)
        assert oldest_needed(of(keyed(60, within="1h"), keyed(60))) == ""
        assert oldest_needed(of(Outcome(value=1, prediction_id="s-1"))) == ""


class TestAsLogged:
    def test_times_are_written_as_the_log_has_them(self) -> None:
        found, why = as_logged(Outcome(value=1, key={"loan": 7}, at="2026-01-01T01:00:00+01:00"), CONTRACT, b"")
        assert (found.at, why) == (at(0), "")
        with pytest.raises(RequestInvalid, match="time"):
            as_logged(Outcome(value=1, key={"loan": 7}, at="soon"), CONTRACT, b"")

    def test_hashed_values_are_hashed_and_join(self) -> None:
        key = b"k" * 32
        made = Outcome(value=1, key={"person": "Ada", "number": "7"}, at=at(1))
        found, why = as_logged(made, CONTRACT, key)
        assert why == ""
        assert found.key == {"person": hashed(key, "person", "Ada"), "number": hashed(key, "number", 7)}
        inputs = {"person": hashed(key, "person", "Ada"), "number": hashed(key, "number", 7)}
        assert join([row(0, 0, inputs=inputs)], of(found)) == {0: "s-0"}

    @pytest.mark.parametrize(
        ("key", "secret", "why"),
        [
            ({"name": "Ada"}, b"k" * 32, "private and not in the log"),
            ({"person": "Ada"}, b"", "not given the key"),
            ({"loan": None}, b"", "the key loan is missing"),
            ({}, b"", "neither an id nor a key"),
        ],
    )
    def test_what_cannot_be_joined_is_refused_without_naming_a_value(
        self, key: dict[str, Any], secret: bytes, why: str
    ) -> None:
        _, told = as_logged(Outcome(value=1, key=key, at=at(1)), CONTRACT, secret)
        assert why in told
        assert "Ada" not in told


class TestTheFile:
    def test_what_waits_comes_back_in_order_with_the_time_it_came(self, tmp_path: Path) -> None:
        assert read_waiting(tmp_path, MODEL) == []
        append_waiting(tmp_path, MODEL, [])
        assert waiting.size(tmp_path, MODEL) == 0
        append_waiting(tmp_path, MODEL, [keyed(1), Outcome(value=2.0, prediction_id="s-9", time=at(3))])
        append_waiting(tmp_path, MODEL, [keyed(5, loan="ü")])
        found = [each.outcome for each in read_waiting(tmp_path, MODEL)]
        assert [replace(each, time="") for each in found[::2]] == [keyed(1), keyed(5, loan="ü")]
        assert found[1].time == at(3)
        assert found[0].time.endswith("Z")
        assert waiting.size(tmp_path, MODEL) > 0

    def test_what_was_joined_moves_once_and_the_rest_stays(self, tmp_path: Path) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1, value=1.0), keyed(2, value=2.0), keyed(3, value=3.0)])
        there = read_waiting(tmp_path, MODEL)
        joined = {there[0].place: "s-0", there[2].place: ""}
        assert settle(tmp_path, MODEL, joined, there) == 1
        assert {each.prediction_id: each.value for each in read_outcomes(tmp_path, MODEL).values()} == {"s-0": 1.0}
        assert [each.outcome.value for each in read_waiting(tmp_path, MODEL)] == [2.0]
        assert settle(tmp_path, MODEL, joined, there) == 0
        assert len((tmp_path / MODEL / OUTCOMES).read_text().splitlines()) == 1

    def test_a_file_of_blanks_is_emptied(self, tmp_path: Path) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1), keyed(2)])
        there = read_waiting(tmp_path, MODEL)
        settle(tmp_path, MODEL, {each.place: "s-0" for each in there}, there)
        assert waiting.size(tmp_path, MODEL) == 0

    def test_an_older_one_that_waited_does_not_correct_a_later_one(self, tmp_path: Path) -> None:
        append_waiting(tmp_path, MODEL, [replace(keyed(1, value=1.0), time=at(1))])
        append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="s-0", value=2.0, time=at(2))])
        there = read_waiting(tmp_path, MODEL)
        settle(tmp_path, MODEL, {there[0].place: "s-0"}, there)
        assert read_outcomes(tmp_path, MODEL)["s-0"].value == 2.0

    def test_a_crash_between_both_files_changes_nothing(self, tmp_path: Path) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1, value=1.0)])
        path = tmp_path / MODEL / waiting.WAITING
        before, there = path.read_bytes(), read_waiting(tmp_path, MODEL)
        settle(tmp_path, MODEL, {0: "s-0"}, there)
        first = read_outcomes(tmp_path, MODEL)
        path.write_bytes(before)  # as if the process had died before the line was blanked
        assert settle(tmp_path, MODEL, {0: "s-0"}, read_waiting(tmp_path, MODEL)) == 1
        assert read_outcomes(tmp_path, MODEL) == first

    def test_torn_lines_are_passed_over_and_erased(self, tmp_path: Path) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1)])
        path = tmp_path / MODEL / waiting.WAITING
        path.write_bytes(path.read_bytes() + b'{"value":1,"key":{"loan":"Ada')
        assert len(read_waiting(tmp_path, MODEL)) == 1
        append_waiting(tmp_path, MODEL, [keyed(2)])
        assert len(read_waiting(tmp_path, MODEL)) == 2
        assert erase_waiting(tmp_path, MODEL, lambda each: False) == 0
        assert b"Ada" not in path.read_bytes()
        assert len(read_waiting(tmp_path, MODEL)) == 2

    def test_chosen_ones_are_erased(self, tmp_path: Path) -> None:
        assert erase_waiting(tmp_path, MODEL, lambda each: True) == 0
        append_waiting(tmp_path, MODEL, [keyed(1, person="Ada"), keyed(2, person="Bob"), keyed(3, loan=7.0)])
        assert erase_waiting(tmp_path, MODEL, lambda each: holds(each, "person", {"Ada"})) == 1
        assert erase_waiting(tmp_path, MODEL, lambda each: holds(each, "loan", {"7"})) == 1
        assert [each.outcome.key for each in read_waiting(tmp_path, MODEL)] == [{"person": "Bob"}]

    def test_no_more_than_a_bound_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1)])
        monkeypatch.setattr(waiting, "MOST_BYTES", 2 * waiting.size(tmp_path, MODEL))
        with pytest.raises(WorkspaceUnusable, match="too many outcomes wait"):
            append_waiting(tmp_path, MODEL, [keyed(2), keyed(3)])
        append_waiting(tmp_path, MODEL, [keyed(2)])
        assert len(read_waiting(tmp_path, MODEL)) == 2

    @pytest.mark.parametrize("few", [16, 0], ids=["looked for", "all read"])
    def test_the_same_again_takes_no_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
        monkeypatch.setattr(waiting, "_FEW", few)
        named = Outcome(value=1, prediction_id="s-1")
        mixed = [named, keyed(1, loan='a "b"'), keyed(1, loan="ü"), Outcome(value=True, prediction_id="s-2"), named]
        assert append_waiting(tmp_path, MODEL, mixed) == 4
        before = waiting.size(tmp_path, MODEL)
        assert append_waiting(tmp_path, MODEL, mixed) == 0
        assert waiting.size(tmp_path, MODEL) == before
        other = [keyed(2, loan="ü"), keyed(1, loan="ü", within="3d"), Outcome(value=1, prediction_id="s-2")]
        assert append_waiting(tmp_path, MODEL, other) == 3  # true is not 1

    @pytest.mark.parametrize("few", [16, 0], ids=["looked for", "all read"])
    def test_a_correction_of_a_correction_is_no_repetition(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
    ) -> None:
        monkeypatch.setattr(waiting, "_FEW", few)
        for value in (1.0, 2.0, 1.0, 1.0):
            append_waiting(tmp_path, MODEL, [Outcome(value=value, prediction_id="s-1")])
        assert [each.outcome.value for each in read_waiting(tmp_path, MODEL)] == [1.0, 2.0, 1.0]
        assert append_waiting(tmp_path, MODEL, [Outcome(value=each, prediction_id="s-3") for each in (1, 2, 1)]) == 3

    def test_what_was_erased_or_torn_does_not_wait_and_a_text_that_looks_like_one_is_none(
        self, tmp_path: Path
    ) -> None:
        one = Outcome(value=1.0, prediction_id="s-1")
        append_waiting(tmp_path, MODEL, [one, keyed(1, loan='x","prediction_id":"s-1",')])
        erase_waiting(tmp_path, MODEL, lambda each: each.prediction_id == "s-1")
        assert append_waiting(tmp_path, MODEL, [one]) == 1
        path = tmp_path / MODEL / waiting.WAITING
        path.write_bytes(b'{"value":1.0,"prediction_id":"s-1","ti')
        assert append_waiting(tmp_path, MODEL, [one]) == 1
        assert [each.outcome.prediction_id for each in read_waiting(tmp_path, MODEL)] == ["s-1"]

    def test_where_it_is_full_what_waits_already_still_does(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append_waiting(tmp_path, MODEL, [keyed(1)])
        monkeypatch.setattr(waiting, "MOST_BYTES", waiting.size(tmp_path, MODEL))
        assert not waiting.full(tmp_path, MODEL, [keyed(1)])
        assert append_waiting(tmp_path, MODEL, [keyed(1)]) == 0
        assert waiting.full(tmp_path, MODEL, [keyed(1), keyed(2)])

    def test_it_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / MODEL).write_text("a file")
        with pytest.raises(WorkspaceUnusable):
            append_waiting(tmp_path, MODEL, [keyed(1)])
