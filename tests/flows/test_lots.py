"""Rows and labels of a stretch: counted whole, the same sample in any order, and nothing that does not fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.flows import lots as module
from fullcircle.flows.lots import Lot, lots
from fullcircle.monitoring.grid import iso
from fullcircle.types.contract import Contract, Value, Verdict
from fullcircle.types.prediction import Outcome, Prediction

NUMBERS = Contract(columns=(), label="y", task="regression")
WHOLE = Contract(columns=(), label="y", task="classification", classes=(0, 1))
WORDS = Contract(columns=(), label="y", task="classification", classes=("no", "yes"))
TRUTH = Contract(columns=(), label="y", task="classification", classes=(False, True))


def row(number: int, value: Value = 1.0, **more: Any) -> Prediction:
    """A row of the second that is its number."""
    fields = {"time": iso(number * 1_000_000), "id": f"p-{number}", **more}
    return Prediction(value=value, verdict=Verdict(status="ok"), **fields)


def label(number: int, value: Value = 1.0, seconds: float = 0.0) -> Outcome:
    return Outcome(prediction_id=f"p-{number}", value=value, time=iso(int((number + seconds) * 1e6)))


def lot(contract: Contract, pairs: Sequence[tuple[Prediction, Outcome | None]], groups: Sequence[str] = ()) -> Lot:
    found = Lot(contract, groups)
    for each, outcome in pairs:
        found.take(each, outcome)
    return found


def test_an_empty_one_has_nothing_of_everything() -> None:
    found = Lot(WHOLE, ("area",))
    assert (found.answered, found.labelled, found.unusable) == (0, 0, 0)
    assert len(found.answers.predicted) == len(found.labels.actual) == len(found.delays) == 0
    assert found.answers.probabilities is found.labels.probabilities is None
    assert found.values("area") == []


def test_rows_without_an_answer_and_erased_ones_are_passed_over_with_their_labels() -> None:
    found = lot(NUMBERS, [(row(0), label(0)), (row(1, None), label(1)), (row(2, 3.0, erased="x"), label(2))])
    assert (found.answered, found.labelled, found.unusable) == (1, 1, 0)
    assert found.labels.actual.tolist() == [1.0]


def test_answers_of_zero_and_false_are_answers() -> None:
    assert lot(NUMBERS, [(row(0, 0.0), label(0, 0.0))]).labels.actual.tolist() == [0.0]
    found = lot(TRUTH, [(row(0, False), label(0, False))])
    assert (found.labels.actual.tolist(), found.labels.predicted.tolist()) == ([False], [False])


@pytest.mark.parametrize(
    ("contract", "value", "fits"),
    [(NUMBERS, 2, True), (NUMBERS, math.nan, False), (NUMBERS, math.inf, False), (NUMBERS, "2", False),
     (NUMBERS, True, False), (WHOLE, 1, True), (WHOLE, 1.0, False), (WHOLE, True, False), (WHOLE, "1", False),
     (WORDS, "yes", True), (WORDS, 1, False), (TRUTH, True, True), (TRUTH, 1, False)],
)  # fmt: skip
def test_a_label_that_is_no_answer_of_the_model_is_counted_apart(
    contract: Contract, value: Value, fits: bool
) -> None:
    found = lot(contract, [(row(0, (contract.classes or (1.0,))[0]), label(0, value))])
    assert (found.answered, found.labelled, found.unusable) == (1, int(fits), int(not fits))
    assert found.labels.unusable == int(not fits)
    assert len(found.labels.actual) == len(found.delays) == int(fits)


def test_a_label_that_was_taken_back_is_none_and_not_unusable() -> None:
    found = lot(NUMBERS, [(row(0), label(0, None))])
    assert (found.answered, found.labelled, found.unusable) == (1, 0, 0)


def test_probabilities_are_in_the_order_of_the_classes_and_missing_ones_are_unknown() -> None:
    shares = {"yes": 0.75, "no": 0.25}
    found = lot(WORDS, [(row(0, "yes", probabilities=shares), None), (row(1, "no", probabilities={"no": 1.0}), None)])
    table = found.answers.probabilities
    assert table is not None
    rows = sorted(map(tuple, table.tolist()))
    assert rows[0] == (0.25, 0.75)
    assert rows[1][0] == 1.0
    assert math.isnan(rows[1][1])


def test_answers_of_a_fallback_are_left_out_beside_those_that_have_probabilities() -> None:
    """It has no probabilities: a figure of them could say nothing about it."""
    sure = row(0, 1, probabilities={"0": 0.4, "1": 0.6})
    prior = row(1, 0, answered_by="prior")
    both = lot(WHOLE, [(sure, label(0, 1)), (prior, label(1, 0))])
    assert both.labels.predicted.tolist() == [1]
    assert len(both.labelled_answers.predicted) == 1
    assert (both.labelled, len(both.answers.predicted), len(both.delays)) == (2, 2, 2)
    alone = lot(WHOLE, [(prior, label(1, 0))])
    assert (alone.labels.predicted.tolist(), alone.labels.probabilities) == ([0], None)


@pytest.mark.parametrize(
    ("contract", "values", "kind"),
    [(NUMBERS, [1, 2.5], "f"), (WHOLE, [0, 1], "i"), (TRUTH, [False, True], "b"), (WORDS, ["no", "yes"], "O")],
)
def test_arrays_are_of_the_kind_of_the_answers(contract: Contract, values: list[Value], kind: str) -> None:
    found = lot(contract, [(row(number, each), label(number, each)) for number, each in enumerate(values)])
    for array in (found.answers.predicted, found.labels.actual, found.labels.predicted):
        assert array.dtype.kind == kind
        assert sorted(array.tolist()) == values


@pytest.mark.parametrize(("seconds", "delay"), [(0.0, 0.0), (90.5, 90.5), (86_400.0, 86_400.0), (-5.0, 0.0)])
def test_how_late_a_label_was_is_never_less_than_nothing(seconds: float, delay: float) -> None:
    assert lot(NUMBERS, [(row(100), label(100, 1.0, seconds))]).delays.tolist() == [delay]


def test_of_times_that_cannot_be_read_there_is_no_delay_and_the_label_counts() -> None:
    found = lot(NUMBERS, [(row(0, time="noon"), label(0)), (row(1), Outcome(prediction_id="p-1", value=2.0))])
    assert (found.labelled, found.delays.tolist()) == (2, [])


@pytest.mark.parametrize(
    "place",
    [{"inputs": {"area": "n"}}, {"context": {"area": "n"}}, {"lookup": {"request": {"area": "n"}}},
     {"lookup": {"passed": {"area": "n"}}}, {"lookup": {"values": {"area": "n"}}},
     {"inputs": {"area": None}, "context": {"area": "n"}}, {"inputs": {"area": "n"}, "context": {"area": "s"}}],
)  # fmt: skip
def test_a_group_is_found_wherever_the_log_has_it(place: dict[str, Any]) -> None:
    found = lot(NUMBERS, [(row(0, **place), label(0)), (row(1), None)], ["size", "area"])
    assert (found.values("area"), found.values("size")) == (["n"], [None])


def figures(found: Lot) -> tuple[Any, ...]:
    rows, labels = found.answers, found.labels
    shares = None if rows.probabilities is None else rows.probabilities.tolist()
    return (
        rows.predicted.tolist(), shares, labels.actual.tolist(), labels.predicted.tolist(), found.delays.tolist(),
        found.values("area"), found.answered, found.labelled, found.unusable,
    )  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.sampled_from([None, 0, 1, "no label"]), max_size=30), st.integers(1, 12), st.randoms())
def test_any_order_gives_the_same_rows_and_counts_are_of_all(given_: list[Any], kept: int, chance: Random) -> None:
    pairs: list[tuple[Prediction, Outcome | None]] = [
        (row(n, n % 2, probabilities={"0": n / 30, "1": 1 - n / 30}, context={"area": f"a{n}"}),
         None if each is None else label(n, each, n))
        for n, each in enumerate(given_)
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEPT", kept)
        first = figures(lot(WHOLE, pairs, ["area"]))
        chance.shuffle(pairs)
        found = lot(WHOLE, pairs, ["area"])
        assert figures(found) == first
        assert figures(found) == first, "reading changes nothing"
    usable = sum(each in (0, 1) for each in given_)
    assert (found.answered, found.labelled, found.unusable) == (len(given_), usable, given_.count("no label"))
    assert len(first[0]) == min(kept, len(given_))
    assert len(first[2]) == min(kept, usable)


def test_the_sample_is_even_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 500)
    found = lot(NUMBERS, [(row(number, float(number)), None) for number in range(5000)])
    kept = found.answers.predicted
    assert len(set(kept.tolist())) == 500
    parts = np.histogram(kept, bins=5, range=(0, 5000))[0]
    assert parts.min() > 60, "crc32 of ids that count up spreads them"


class TestStretches:
    def test_the_first_moment_is_in_and_the_last_is_not(self) -> None:
        bounds = [(iso(0), iso(10_000_000)), (iso(10_000_000), iso(20_000_000)), (iso(30_000_000), "")]
        rows = [row(number) for number in (0, 9, 10, 19, 20, 29, 30, 10_000)]
        found = lots(NUMBERS, bounds, rows, {"p-9": label(9), "p-20": label(20)})
        assert [each.answered for each in found] == [2, 2, 2]
        assert [each.labelled for each in found] == [1, 0, 0]

    @settings(max_examples=60)
    @given(
        st.lists(st.integers(0, 40), min_size=2, max_size=6, unique=True).map(sorted),
        st.lists(st.integers(0, 45), max_size=30, unique=True),
        st.booleans(),
        st.booleans(),
    )
    def test_it_is_what_looking_at_each_stretch_finds(
        self, cuts: list[int], numbers: list[int], begun: bool, ended: bool
    ) -> None:
        edges = [iso(each * 1_000_000) for each in cuts]
        bounds = list(itertools.pairwise(edges))
        bounds[0] = bounds[0] if begun else ("", bounds[0][1])
        bounds[-1] = bounds[-1] if ended else (bounds[-1][0], "")
        found = lots(NUMBERS, bounds, [row(number, float(number)) for number in numbers], {})
        times = {number: iso(number * 1_000_000) for number in numbers}
        for each, (since, until) in zip(found, bounds, strict=True):
            expected = [n for n, time in times.items() if since <= time and (not until or time < until)]
            assert sorted(each.answers.predicted.tolist()) == sorted(expected)

    def test_without_a_stretch_there_is_none(self) -> None:
        assert lots(NUMBERS, [], [], {}) == []
