"""The kernel of aggregates: by the replay, the same bits alone and among many, and nothing lost or warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import replay
from features.cases import examples
from fullcircle.errors import DataUnfit
from fullcircle.features import windows
from fullcircle.features.eventpacking import Opened, Packed
from fullcircle.features.windows import FOREVER, Answers, Column, Events

FIRST = 1 - 2**63
HOWS = ("count", "sum", "mean", "min", "max", "first", "last")
NASTY = (0.0, -0.0, 1.0, -1.0, 0.1, 1e16, -1e16, 1e300, -1e300, 5e-324, float("nan"), float("inf"), float("-inf"))


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def events(e: Sequence[int], values: Any, *, a: Sequence[int] | None = None, valid: Any = None) -> Events:
    """Events of one key in order, never corrected."""
    times = np.array(e, dtype=np.int64)
    seen = times if a is None else np.maximum(times, np.array(a, dtype=np.int64))
    checked = None if valid is None else np.array(valid)
    return Events(times, seen, np.full(len(times), FOREVER), {"x": Column(np.asarray(values), checked)})


def ask(found: Events, how: str, t: int, window: int, column: str | None = "x") -> tuple[bool, Any]:
    """One question to all events."""
    answer = windows.aggregate(found, ints(0), ints(len(found.e)), ints(t), how, column, window)
    return bool(answer.present[0]), answer.values[0].item()


def bits(answer: Answers) -> list[tuple[bool, bytes]]:
    return [(bool(p), v.tobytes()) for p, v in zip(answer.present, answer.values, strict=True)]


def many(seed: int, dtype: str = "float64", keys: int = 40, size: int = 4000) -> tuple[Events, Any, Any, Any]:
    """Many keys with late and corrected events and values that cancel; and questions to them."""
    draw = np.random.default_rng(seed)
    key = np.sort(draw.integers(0, keys, size))
    e = draw.integers(0, 1000, size)
    order = np.lexsort((e, key))
    key, e = key[order], e[order]
    v = e + draw.integers(0, 5, size) * draw.integers(0, 40, size)
    until = np.where(draw.random(size) < 0.2, v + draw.integers(0, 300, size), FOREVER)
    values = draw.normal(size=size) * 10.0 ** draw.integers(-12, 12, size)
    if dtype == "float64":
        values[draw.random(size) < 0.01] = draw.choice(NASTY)
    if dtype == "bool":
        values = values > 0
    elif dtype != "float64":
        values = values % 100
    valid = draw.random(size) > 0.1
    columns = {"x": Column(values.astype(dtype), valid), "y": Column(values.astype(dtype))}
    asked = draw.integers(-1, keys + 1, 1000)
    starts, ends = np.searchsorted(key, asked, "left"), np.searchsorted(key, asked, "right")
    return Events(e, v, until, columns), starts, ends, draw.integers(-10, 1300, 1000)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("how", HOWS)
def test_one_question_alone_has_the_same_bits_as_among_thousands(
    how: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, starts, ends, t = many(5, dtype)
    for column in ("x", "y"):
        whole = bits(windows.aggregate(found, starts, ends, t, how, column, 400))
        for chunk in (1, 7, 1000):  # chunks that break anywhere, also within what one question asks
            monkeypatch.setattr(windows, "CHUNK", chunk)
            assert bits(windows.aggregate(found, starts, ends, t, how, column, 400)) == whole
        monkeypatch.undo()
        for place in range(0, len(t), 17):
            one = slice(place, place + 1)
            assert bits(windows.aggregate(found, starts[one], ends[one], t[one], how, column, 400)) == [whole[place]]
            assert bits(served(found, int(starts[place]), int(ends[place]), int(t[place]), how, column)) == [
                whole[place]
            ]


def served(found: Events, start: int, end: int, t: int, how: str, column: str) -> Answers:
    """As the online store asks: the events of the key alone, from bytes that start anywhere."""
    own = slice(start, end)
    e, v, until = (unaligned(one[own]) for one in (found.e, found.v, found.until))
    values, valid = unaligned(found.columns[column].values[own]), found.columns[column].valid
    places, counts = windows.window_of(e, v, until, t, 400)
    answer = windows.reduced(how, Column(values, None if valid is None else valid[own]), places, counts)
    if how in ("first", "last"):
        return replace(answer, values=np.where(answer.present, answer.values + start, -1))
    return answer


def unaligned(values: Any) -> Any:
    return np.frombuffer(b"\0" + values.tobytes(), dtype=values.dtype, offset=1)


def test_several_aggregates_over_a_window_are_each_as_alone() -> None:
    found, starts, ends, t = many(6)
    wanted = [(how, column) for how in HOWS for column in ("x", "y")] + [("count", None)]
    together = windows.aggregates(found, starts, ends, t, wanted, 77)
    for (how, column), answer in zip(wanted, together, strict=True):
        assert bits(answer) == bits(windows.aggregate(found, starts, ends, t, how, column, 77))


def test_an_opened_entry_looks_for_a_window_once() -> None:
    opened = Opened(
        Packed(np.array([[1, 5], [1, 5], [0, 1], [FOREVER, FOREVER]]), [np.zeros(2, bool)], [ints(2, 3)], [])
    )
    assert opened.window(5, 4) is opened.window(5, 4)
    assert opened.window(5, 4)[0].tolist() == [1]
    assert opened.window(5, 5)[0].tolist() == [0, 1]
    assert opened.column(0) is opened.column(0)


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[replay.Row], list[int], int]:
    """Rows of one key with ids, moments, and a window."""
    moment = st.one_of(st.integers(-5, 25), st.sampled_from([FIRST, FIRST + 1, FIRST + 20, FOREVER - 1, FOREVER]))
    value = st.sampled_from([None, 0, 1, -7, 2**53 + 1, -(2**53)])
    rows = [
        replay.Row((1,), draw(moment), draw(moment), s, {"x": draw(value)}, (draw(st.integers(0, 3)),))
        for s in draw(st.permutations(range(draw(st.integers(0, 9)))))
    ]
    times = draw(st.lists(st.one_of(moment, st.just(-(2**63))), min_size=1, max_size=6))
    return rows, times, draw(st.sampled_from([1, 2, 10, 10**18, FOREVER]))


@examples(300)
@given(asked(), st.booleans())
def test_every_aggregate_is_that_of_the_replay(drawn: tuple[list[replay.Row], list[int], int], with_id: bool) -> None:
    rows, times, window = drawn
    rows = sorted((row if with_id else replace(row, id=None) for row in rows), key=lambda row: row.order)
    e, a, s = (np.array([getattr(row, name) for row in rows], dtype=np.int64) for name in ("e", "a", "s"))
    group = np.array([row.id[0] if row.id else row.s for row in rows], dtype=np.int64)
    values, valid = [row.values["x"] or 0 for row in rows], [row.values["x"] is not None for row in rows]
    column = Column(np.array(values, dtype=np.int64), np.array(valid, dtype=bool))
    found = Events(e, np.maximum(e, a), windows.corrected(group, e, a, s), {"x": column})
    for how in HOWS:
        for t in times:
            status, wanted = replay.aggregate(rows, (1,), t, how, "x", window)
            present, value = ask(found, how, t, window)
            assert present == (status == "present")
            if present:
                got = values[value] if how in ("first", "last") else value
                assert replay.same(got, wanted), (how, t)


@examples(300)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4), st.integers(-4, 4)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_until_when_an_event_counts_is_that_of_a_look_at_each_row(
    rows: list[tuple[int, int, int]], draw: Any
) -> None:
    numbers = draw.sample(range(100), len(rows))
    group, e, a = (np.array([row[part] for row in rows], dtype=np.int64) for part in range(3))
    got = windows.corrected(group, e, a, np.array(numbers, dtype=np.int64))
    for place, (own, _, known) in enumerate(rows):
        later = [
            max(row[1], row[2])
            for row, s in zip(rows, numbers, strict=True)
            if row[0] == own and (row[2], s) > (known, numbers[place])
        ]
        assert got[place] == (min(later) - 1 if later else FOREVER)


def test_sums_begin_at_zero_and_add_in_the_order_of_the_events() -> None:
    assert ask(events([1, 2, 3], [1e16, 1.0, -1e16]), "sum", 3, 10) == (True, 0.0)
    assert ask(events([1, 2, 3], [1e16, -1e16, 1.0]), "sum", 3, 10) == (True, 1.0)
    draw = np.random.default_rng(2)
    for size in (1, 7, 8, 9, 127, 129, 5000):
        values = draw.normal(size=size) * 10.0 ** draw.integers(-20, 20, size)
        total = 0.0
        for value in values.tolist():
            total += value
        assert ask(events(range(size), values), "sum", 10**6, 10**7) == (True, total)
        assert ask(events(range(size), values), "mean", 10**6, 10**7) == (True, total / size)


def test_whole_numbers_are_added_exactly() -> None:
    assert ask(events([1, 2, 3], ints(2**62, 2**62 - 1, -5)), "sum", 3, 10) == (True, 2**63 - 6)
    assert ask(events([1, 2], ints(-(2**63), 0)), "sum", 3, 10) == (True, -(2**63))
    assert ask(events([1, 2], ints(2**63 - 1, -(2**63))), "sum", 3, 10) == (True, -1)
    assert ask(events([1], np.array([2**63 - 1], dtype=np.uint64)), "sum", 3, 10) == (True, 2**63 - 1)
    assert ask(events([1, 2], np.array([200, 100], dtype=np.uint8)), "sum", 3, 10) == (True, 300)
    assert ask(events([1, 2], np.array([-128, -1], dtype=np.int8)), "sum", 3, 10) == (True, -129)
    assert ask(events([1, 2], ints(2**53 + 1, 2**53 + 3)), "mean", 3, 10) == (True, float(2**53 + 2))


@pytest.mark.parametrize(
    "values",
    [
        ints(2**63 - 1, 1),
        ints(-(2**63), -1),
        np.array([2**63], dtype=np.uint64),
        np.full(3, 2**64 - 1, dtype=np.uint64),
    ],
)
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_a_sum_that_does_not_fit_is_refused(how: str, values: Any) -> None:
    with pytest.raises(DataUnfit, match="64 bits"):
        ask(events(range(len(values)), values), how, 10, 100)


def test_a_sum_that_does_not_fit_is_refused_only_where_it_is_asked_for() -> None:
    found = events([1, 2], ints(2**63 - 1, 1))
    assert ask(found, "sum", 1, 10) == (True, 2**63 - 1)
    assert ask(found, "max", 2, 10) == (True, 2**63 - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_infinity_and_zero_are_values(dtype: str) -> None:
    def over(how: str, *values: float) -> str:
        return repr(ask(events(range(len(values)), np.array(values, dtype=dtype)), how, 99, 100)[1])

    nan, inf = float("nan"), float("inf")
    for how in ("sum", "mean", "min", "max"):
        assert over(how, 1.0, nan, 2.0) == "nan"
        assert over(how, 1.0, -nan, nan) == "nan"
    assert [over(how, inf, 1.0) for how in ("sum", "mean", "min", "max")] == ["inf", "inf", "1.0", "inf"]
    assert over("sum", inf, -inf) == over("mean", -inf, inf) == "nan"
    assert over("max", -inf, 1.0) == "1.0"
    for how in ("sum", "mean", "min", "max"):  # one zero, in whatever order and on whatever processor
        assert over(how, -0.0) == over(how, 0.0, -0.0) == over(how, *[-0.0, 0.0] * 40) == "0.0"


@pytest.mark.parametrize("how", ["sum", "mean", "min", "max"])
def test_nan_is_one_nan(how: str) -> None:
    odd = np.array([0xFFF8000000000001, 0x7FF8000000000123, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)
    answer = windows.aggregate(events(range(3), odd), ints(0), ints(3), ints(9), how, "x", 10)
    assert answer.values.tobytes() == np.array([np.nan]).tobytes()


def test_a_sum_of_floats_that_leaves_their_range_is_infinite() -> None:
    assert ask(events([1, 2], [1.7e308, 1.7e308]), "sum", 2, 10) == (True, float("inf"))
    assert ask(events([1, 2], np.array([3e38, 3e38], dtype=np.float32)), "sum", 2, 10)[1] == pytest.approx(6e38)


def test_nulls_are_left_out_and_nan_is_not() -> None:
    found = events([1, 2, 3, 4], [9.0, 1.0, 2.0, 9.0], valid=[False, True, True, False])
    got = {how: ask(found, how, 4, 10) for how in HOWS}
    assert got == {
        "count": (True, 2), "sum": (True, 3.0), "mean": (True, 1.5), "min": (True, 1.0), "max": (True, 2.0),
        "first": (True, 1), "last": (True, 2),
    }  # fmt: skip
    assert ask(found, "count", 4, 10, None) == (True, 4)
    assert ask(events([1], [float("nan")]), "count", 1, 10) == (True, 1)


@pytest.mark.parametrize("valid", [None, [False, False]])
def test_of_nothing_sum_and_count_are_zero_and_the_rest_is_missing(valid: Any) -> None:
    for values, zero in (([1.0, 2.0], 0.0), (ints(1, 2), 0), (np.array([True, True]), 0)):
        found = events([1, 2], values, valid=valid)
        t = 0 if valid is None else 9
        assert [ask(found, how, t, 10)[0] for how in HOWS] == [True, True, False, False, False, False, False]
        assert replay.same(ask(found, "sum", t, 10)[1], zero)
        assert replay.same(ask(found, "count", t, 10)[1], 0)


@pytest.mark.parametrize("how", HOWS)
def test_no_questions_and_no_events_are_fine(how: str) -> None:
    for dtype in (np.float64, np.int64, np.bool_):
        nothing = events([], np.zeros(0, dtype=dtype))
        assert len(windows.aggregate(nothing, ints(), ints(), ints(), how, "x", 5).present) == 0
        some = windows.aggregate(nothing, ints(0, 0), ints(0, 0), ints(1, 2), how, "x", 5)
        assert some.present.tolist() == [how in ("sum", "count")] * 2
        one = windows.aggregate(events([1], np.ones(1, dtype=dtype)), ints(0), ints(1), ints(1), how, "x", 5)
        if how not in ("first", "last"):  # answers of one kind can be joined, whatever is in them
            assert some.values.dtype == one.values.dtype


def test_booleans_are_counted_and_compared() -> None:
    found = events([1, 2, 3], np.array([True, False, True]))
    assert [ask(found, how, 3, 10)[1] for how in ("sum", "mean", "min", "max")] == [2, 2 / 3, False, True]
    assert ask(found, "min", 1, 1)[1] is True


def test_times_are_compared_as_whole_ticks() -> None:
    found = events([1, 2, 3], ints(FOREVER, -FOREVER, 2**53 + 1))
    assert [ask(found, how, 3, 10)[1] for how in ("min", "max")] == [-FOREVER, FOREVER]


def test_a_window_holds_its_last_moment_and_not_the_one_before_its_first() -> None:
    found = events([10, 20, 30], ints(1, 2, 4))
    assert [ask(found, "sum", t, 10)[1] for t in (9, 10, 19, 20, 29, 30, 39, 40)] == [0, 1, 1, 2, 2, 4, 4, 0]


def test_a_window_may_reach_before_the_beginning_of_time() -> None:
    found = events([FIRST, FIRST + 1, 0, FOREVER], ints(1, 2, 4, 8))
    for window in (10, 10**18, FOREVER):
        assert ask(found, "sum", FIRST, window) == (True, 1)
        assert ask(found, "sum", FIRST + 1, window) == (True, 3)
        assert ask(found, "sum", -(2**63), window) == (True, 0)
    assert ask(found, "sum", 0, FOREVER) == (True, 6)
    assert ask(found, "sum", FIRST + 1, 1) == (True, 2)


def test_at_the_last_moment_what_was_never_corrected_counts() -> None:
    found = events([FOREVER - 1, FOREVER], ints(1, 2))
    assert ask(found, "sum", FOREVER, 10) == (True, 3)
    times = np.stack([found.e, found.v, ints(0, 1), found.until])
    assert Opened(Packed(times, [np.zeros(2, bool)], [ints(1, 2)], [])).window(FOREVER, 10)[0].tolist() == [0, 1]


def test_an_event_counts_from_when_it_is_visible_until_it_is_corrected() -> None:
    until = windows.corrected(ints(0, 0, 1), ints(1, 2, 3), ints(5, 7, 3), ints(0, 1, 2))
    assert until.tolist() == [6, FOREVER, FOREVER]
    found = Events(ints(1, 2, 3), ints(5, 7, 3), until, {"x": Column(ints(1, 2, 4))})
    assert [ask(found, "sum", t, 100)[1] for t in (2, 3, 5, 6, 7)] == [0, 4, 5, 5, 6]
