"""Gates as users declare them: what each reads, and each wrong one refused with what to write instead."""

from __future__ import annotations

import math
import sys
import typing
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared
from fullcircle.types.gates import Gate, GateKind, at_least, at_most, beats, fair, latency, size, worth


def _gain(actual: Any, predicted: Any) -> Any:
    return actual - predicted


def _refused(make: Callable[[], object], what: str, received: str | None = None, allowed: str = "") -> ProjectInvalid:
    with pytest.raises(ProjectInvalid, match=what) as caught:
        make()
    error = caught.value
    assert error.next_step, "an error says what to do"
    if received is not None:
        assert error.received is not None
        assert received in error.received
    assert allowed in (error.allowed or "")
    return error


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (at_most("mae", 40), Gate(kind="at_most", metric="mae", limit=40.0, text="mae at most 40")),
        (at_least("r2", 0.5), Gate(kind="at_least", metric="r2", limit=0.5, text="r2 at least 0.5")),
        (beats(), Gate(kind="beats", metric="champion", text="beats the champion")),
        (beats("baseline"), Gate(kind="beats", metric="baseline", text="beats the baseline")),
        (
            fair("sex", "accuracy", 0.1),
            Gate(
                kind="fair",
                by=("sex",),
                metric="accuracy",
                limit=0.1,
                text="accuracy differs by at most 0.1 between groups of sex",
            ),
        ),
        (
            worth(_gain, at_least=2),
            Gate(kind="worth", metric="value_per_row", limit=2.0, per_row=_gain, text="worth at least 2 a row"),
        ),
        (
            latency("20ms"),
            Gate(kind="latency", metric="latency_p99_ms", limit=20.0, text="latency p99 at most 20ms"),
        ),
        (
            latency("2s"),
            Gate(kind="latency", metric="latency_p99_ms", limit=2000.0, text="latency p99 at most 2s"),
        ),
        (size("20MB"), Gate(kind="size", metric="model_bytes", limit=2e7, text="size at most 20MB")),
    ],
    ids=lambda value: value.text,
)
def test_each_says_which_measure_it_reads_and_its_limit(gate: Gate, expected: Gate) -> None:
    assert gate == expected


def test_worth_asks_for_no_loss_by_default() -> None:
    assert worth(_gain).limit == 0.0


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
def test_every_finite_number_is_a_limit(limit: float) -> None:
    for gate in (at_most("mae", limit), at_least("mae", limit), worth(_gain, limit)):
        assert gate.limit == float(limit)
        assert isinstance(gate.limit, float)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf, True, "40", None, 10**400, -(10**400), 1j, [1]])
@pytest.mark.parametrize(
    "gate",
    [
        lambda limit: at_most("mae", limit),
        lambda limit: at_least("mae", limit),
        lambda limit: fair("sex", "mae", limit),
        lambda limit: worth(_gain, limit),
    ],
    ids=["at_most", "at_least", "fair", "worth"],
)
def test_a_limit_that_is_no_number_is_refused(gate: Callable[[Any], Gate], limit: Any) -> None:
    error = _refused(lambda: gate(limit), "is not a usable number", repr(limit))
    assert error.allowed in ("a finite number", "a finite number, at least 0")
    assert (error.allowed == "a finite number") is (not error.what.startswith("gap"))


def test_a_gap_is_not_negative() -> None:
    assert fair("sex", "mae", 0).limit == 0.0
    error = _refused(lambda: fair("sex", "mae", -0.1), "gap is not a usable number", "-0.1")
    assert error.allowed == "a finite number, at least 0"


@pytest.mark.parametrize("name", ["", None, 3, ["mae"], b"mae"])
def test_names_are_text(name: Any) -> None:
    for gate in (lambda: at_most(name, 1.0), lambda: at_least(name, 1.0), lambda: fair("sex", name, 1.0)):
        _refused(gate, "metric is not a name", repr(name), "text")
    if name != ["mae"]:
        _refused(lambda: fair(name, "mae", 1.0), "by is not a name", repr(name), "text")


@pytest.mark.parametrize("rival", ["best", "", None])
def test_a_rival_is_the_champion_or_the_baseline(rival: Any) -> None:
    _refused(lambda: beats(rival), "the rival in beats", repr(rival), "champion, baseline")


class TestWorth:
    MATRIX = {("yes", "no"): -500, ("yes", "yes"): 100.0}  # noqa: RUF012 - only read

    @pytest.mark.parametrize(
        "given_",
        [
            {},
            {"per_row": 3.0},
            {"per_row": "gain"},
            {"per_row": _gain, "matrix": MATRIX},
            {"per_row": 1, "matrix": {}},
        ],
    )
    def test_there_is_one_way_to_say_what_an_answer_is_worth(self, given_: dict[str, Any]) -> None:
        _refused(lambda: worth(**given_), "needs one way", "per_row=", "matrix={(actual, predicted): amount}")

    def test_a_matrix_holds_floats_for_pairs_of_classes(self) -> None:
        gate = worth(matrix=self.MATRIX, at_least=2)
        assert gate.matrix == {("yes", "no"): -500.0, ("yes", "yes"): 100.0}
        assert all(isinstance(amount, float) for amount in gate.matrix.values())
        assert (gate.per_row, gate.metric, gate.limit, gate.text) == (
            None,
            "value_per_row",
            2.0,
            "worth at least 2 a row",
        )
        assert worth(matrix={(1, True): 3}).matrix == {(1, True): 3.0}, "classes may be numbers and booleans"

    @pytest.mark.parametrize("wrong", [{}, {"yes": 1}, {("yes",): 1}, {("a", "b", "c"): 1}, {"ab": 1}])
    def test_a_matrix_of_anything_but_pairs_is_refused(self, wrong: Any) -> None:
        _refused(lambda: worth(matrix=wrong), "does not map pairs of classes", repr(wrong), "the actual class first")

    @pytest.mark.parametrize("wrong", [[("a", "b", 1)], "matrix", 3, [[0, 1], [1, 0]]])
    def test_a_matrix_is_a_mapping(self, wrong: Any) -> None:
        _refused(lambda: worth(matrix=wrong), "matrix in worth.* is not a mapping", repr(wrong))

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, "5", None, True])
    def test_an_amount_is_a_finite_number(self, wrong: Any) -> None:
        _refused(lambda: worth(matrix={("a", "b"): wrong}), r"matrix\[\('a', 'b'\)\] is not a usable", repr(wrong))


class TestGroups:
    MAKERS = (
        lambda by: at_most("mae", 1.0, by=by),
        lambda by: at_least("r2", 0.5, by=by),
        lambda by: beats(by=by),
        lambda by: fair(by, "mae", 1.0),
    )

    @pytest.mark.parametrize("make", MAKERS)
    def test_one_column_or_several(self, make: Callable[[Any], Gate]) -> None:
        assert make("sex").by == ("sex",)
        assert make("sex").text.endswith(("in every group of sex", "between groups of sex"))
        for several in (["sex", "race"], ("sex", "race"), ["sex", "race", "sex"]):
            assert make(several).by == ("sex", "race")
            assert make(several).text.endswith("of sex and race")

    @pytest.mark.parametrize("make", MAKERS)
    @pytest.mark.parametrize("wrong", ["", None, 3, [None], ["sex", 3], [""], b"sex", {"sex"}, {"sex": 1}])
    def test_other_things_are_no_columns(self, make: Callable[[Any], Gate], wrong: Any) -> None:
        _refused(lambda: make(wrong), "by is not a name", None, "text")

    @pytest.mark.parametrize("none", [(), []])
    def test_only_a_fair_gate_needs_them(self, none: list[str]) -> None:
        assert at_most("mae", 1.0, by=none) == at_most("mae", 1.0)
        assert at_least("r2", 0.5, by=none) == at_least("r2", 0.5)
        assert beats(by=none) == beats()
        _refused(lambda: fair(none, "mae", 1.0), "names no column", None, "a column")

    def test_groups_may_be_left_out_of_a_fair_gate_by_name(self) -> None:
        assert fair("sex", "mae", 1.0).without == ()
        assert fair("sex", "mae", 1.0, without=["other", "x", "other"]).without == ("other", "x")
        assert fair(["sex", "race"], "mae", 1.0, without="female, other").without == ("female, other",)

    @pytest.mark.parametrize("wrong", [None, 3, [None], [""]])
    def test_what_is_left_out_is_named(self, wrong: Any) -> None:
        _refused(lambda: fair("sex", "mae", 1.0, without=wrong), "without is not a name")


class TestMargin:
    def test_how_much_worse_is_accepted_is_said(self) -> None:
        gate = beats("baseline", by="sex", margin=1)
        assert gate.text == "beats the baseline, up to 1 worse in every group of sex"
        assert (gate.margin, beats().margin) == (1.0, 0.0)

    @pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, "1", None, True])
    def test_a_margin_is_a_number_from_zero(self, wrong: Any) -> None:
        error = _refused(lambda: beats(margin=wrong), "margin is not a usable number", repr(wrong))
        assert error.allowed == "a finite number, at least 0"


def test_times_and_sizes_are_written_with_a_unit() -> None:
    _refused(lambda: latency("fast"), "a span of time", "'fast'")
    _refused(lambda: size("small"), "a size cannot be read", "'small'")


def test_the_gates_a_user_can_make_are_all_there_are() -> None:
    made = {at_most("a", 1).kind, at_least("a", 1).kind, beats().kind, fair("a", "b", 1).kind}
    made |= {worth(_gain).kind, latency("1s").kind, size("1B").kind}
    assert made == set(typing.get_args(GateKind))


@pytest.mark.parametrize("gate", [fair("sex", "mae", 1), worth(_gain), beats()])
def test_what_is_declared_stays_as_declared(gate: Gate) -> None:
    for field in fields(gate):
        with pytest.raises(FrozenInstanceError):
            setattr(gate, field.name, None)


class TestDeclared:
    def test_a_refusal_says_what_may_be_written(self) -> None:
        _refused(
            lambda: declared.one_of("colour", "red", ("blue", "green")), "colour is not one", "'red'", "blue, green"
        )
        declared.one_of("colour", "blue", ("blue", "green"))
        _refused(lambda: declared.mapping("params", [1]), "params is not a mapping", "[1]", "{name: value}")
        declared.mapping("params", {})

    @given(st.text(min_size=1))
    def test_every_text_is_a_name(self, text: str) -> None:
        assert declared.name_of("label", text) == text
        assert declared.columns("by", text) == (text,)

    @given(st.lists(st.text(min_size=1)))
    def test_columns_keep_their_order_and_come_once(self, names: list[str]) -> None:
        found = declared.columns("by", names)
        assert list(found) == sorted(set(names), key=names.index)

    @given(st.floats() | st.integers(), st.floats(allow_nan=False))
    def test_a_number_is_finite_and_not_below_its_floor(self, value: float, low: float) -> None:
        if math.isfinite(value) and abs(value) <= sys.float_info.max and value >= low:
            found = declared.number("limit", value, low)
            assert isinstance(found, float)
            assert found == float(value)
        else:
            _refused(lambda: declared.number("limit", value, low), "limit is not a usable number", repr(value))
