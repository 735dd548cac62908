"""The oracle by itself: answers worked out by hand, laws that hold for any case, and that drawn cases are nasty."""

from __future__ import annotations

import collections
import datetime as dt
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import cases as drawing
from features.cases import ARROW, BASE, HOWS, KINDS, Case, arrow, cases, examples, named_cases, plain
from features.replay import Answer, Row, aggregate, corrected, in_window, latest, near, same, visible

MISSING: Answer = ("missing", None)
NULL: Answer = ("null", None)
EXPIRED: Answer = ("expired", None)
NAN = float("nan")
INF = float("inf")
MANY = 2**53
NINES = Decimal("9999999999999999999999999999.9999999999")
TENTH = Decimal("0.1000000000")
LIST = [1, None, MANY + 1]

# By hand: one answer for each label of the case; a bare value is "present". "rows" is the count without a column.
EXPECTED: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "tie without availability": {
        "latest": [MISSING, 4],
        "sum": [0, 7],
        "count": [0, 2],
        "rows": [0, 2],
        "mean": [MISSING, 3.5],
        "min": [MISSING, 3],
        "max": [MISSING, 4],
        "first": [MISSING, 3],
        "last": [MISSING, 4],
    },
    "correction of the same event time": {
        "latest": [3, 3, 3, 5],
        "sum": [3, 4, 4, 6],
        "rows": [1, 2, 2, 2],
        "mean": [3.0, 2.0, 2.0, 3.0],
        "min": [3, 1, 1, 1],
        "max": [3, 3, 3, 5],
        "first": [3, 1, 1, 1],
        "last": [3, 3, 3, 5],
    },
    "correction that moves an event out of the window": {
        "latest": [3, 3],  # the latest row is still the one of the later event
        "sum": [3, 0],
        "rows": [1, 0],
        "mean": [3.0, MISSING],
        "last": [3, MISSING],
    },
    "late row": {
        "latest": [1, 3, 3],
        "sum": [1, 4, 6],
        "rows": [1, 2, 3],
        "mean": [1.0, 2.0, 2.0],
        "first": [1, 1, 1],
        "last": [1, 3, 3],
    },
    "future-dated row": {
        "latest": [MISSING, 2, 1],
        "sum": [0, 2, 3],
        "first": [MISSING, 2, 2],
        "last": [MISSING, 2, 1],
    },
    "expired by max_age": {
        "latest": [1, EXPIRED, 2, 2, EXPIRED],  # an age of exactly max_age is no reason yet
        "sum": [1, 0, 2, 0, 0],  # but the window has lost it
        "rows": [1, 0, 1, 0, 0],
    },
    "keys that read alike": {
        "latest": [1, 2, 3, 4, MISSING],
        "sum": [1, 2, 3, 4, 0],
        "rows": [1, 1, 1, 1, 0],
    },
    "integers beyond 2^53 with a null": {
        "latest": [MANY + 1, 2, NULL, 2**63 - 1],
        "sum": [MANY + 1, MANY + 3, 0, 2**63 - 1],
        "count": [1, 2, 0, 1],
        "rows": [1, 2, 1, 1],
        "mean": [9007199254740992.0, 4503599627370498.0, MISSING, 9223372036854775808.0],
        "max": [MANY + 1, MANY + 1, MISSING, 2**63 - 1],
    },
    "times below a second": {
        "latest": [MISSING, 1, 2, 2, 3],
        "sum": [0, 1, 3, 2, 3],
        "rows": [0, 1, 2, 1, 1],
    },
    "duplicate labels": {
        "latest": [1, 2, 1, 1],
        "sum": [1, 2, 1, 1],
    },
    "only future rows": {
        "latest": [MISSING, 3, MISSING],
        "sum": [0, 3, 0],
        "rows": [0, 1, 0],
        "first": [MISSING, 3, MISSING],
    },
    "equal times, closed right": {
        "latest": [1, 1, 2, 2],
        "sum": [1, 1, 2, 2],
        "rows": [1, 1, 1, 1],
    },
    "equal times, closed left": {
        "latest": [MISSING, 1, 1, 2],
        "sum": [0, 1, 1, 2],
        "rows": [0, 1, 1, 1],
    },
    "unsorted rows": {
        "latest": [3, 1, 9, 2],
        "sum": [6, 1, 9, 3],
        "first": [1, 1, 9, 1],
        "last": [3, 1, 9, 2],
    },
    "null in the latest row": {
        "latest": [1, NULL, NULL],
        "sum": [1, 1, 0],
        "count": [1, 1, 0],
        "rows": [1, 2, 1],
        "mean": [1.0, 1.0, MISSING],
        "last": [1, 1, MISSING],
    },
    "floats that are no numbers": {
        "latest": [NAN, 2.5, -0.0, NULL, INF],
        "sum": [NAN, NAN, 0.0, 0.0, INF],
        "count": [1, 2, 1, 0, 1],
        "mean": [NAN, NAN, 0.0, MISSING, INF],
        "min": [NAN, NAN, -0.0, MISSING, INF],
        "max": [NAN, NAN, -0.0, MISSING, INF],
        "first": [NAN, NAN, -0.0, MISSING, INF],
        "last": [NAN, 2.5, -0.0, MISSING, INF],
    },
    "booleans": {
        "latest": [True, NULL],
        "sum": [2, 0],
        "count": [3, 0],
        "mean": [2 / 3, MISSING],
        "min": [False, MISSING],
        "max": [True, MISSING],
        "first": [True, MISSING],
        "last": [True, MISSING],
    },
    "decimals": {
        "latest": [NINES, TENTH, NULL],
        "min": [NINES, TENTH, MISSING],
        "max": [NINES, NINES, MISSING],
        "last": [NINES, TENTH, MISSING],
    },
    "lists": {
        "latest": [LIST, [], NULL],
        "count": [1, 2, 2],
        "rows": [1, 2, 3],
        "first": [LIST, LIST, LIST],
        "last": [LIST, [], []],
    },
    "no rows": {
        "latest": [MISSING],
        "sum": [0],
        "count": [0],
        "rows": [0],
        "mean": [MISSING],
        "min": [MISSING],
        "max": [MISSING],
        "first": [MISSING],
        "last": [MISSING],
    },
}


def _alike(got: Sequence[Answer], wanted: Sequence[Answer]) -> bool:
    return len(got) == len(wanted) and all(
        a[0] == b[0] and same(a[1], b[1]) for a, b in zip(got, wanted, strict=True)
    )


def _hows(case: Case) -> Iterator[tuple[str, str | None]]:
    """Everything that can be asked of a case."""
    yield "count", None
    for column, kind in case.columns.items():
        for how in HOWS[kind]:
            yield how, column


def _with(case: Case, rows: Sequence[Row]) -> Case:
    return replace(case, batches=[rows])


# --- by hand ------------------------------------------------------------------------------------------


def test_each_named_case_is_answered_by_hand() -> None:
    assert set(EXPECTED) == set(named_cases())


@pytest.mark.parametrize("name", EXPECTED)
def test_named_case(name: str) -> None:
    case = named_cases()[name]
    for how, values in EXPECTED[name].items():
        wanted = [value if isinstance(value, tuple) else ("present", value) for value in values]
        got = case.expected("count", None) if how == "rows" else case.expected(how, "x")
        assert _alike(got, wanted), (how, got, wanted)


def test_batches_do_not_matter_but_their_order_does() -> None:
    first, second = (Row((1,), 10, 10, s, {"x": value}) for s, value in enumerate(["one", "other"]))
    assert latest([second, first], (1,), 10, "x") == ("present", "other")
    assert latest([replace(first, s=2), second], (1,), 10, "x") == ("present", "one")


def test_an_identical_row_is_one_more_event_without_an_id_and_none_with_it() -> None:
    rows = [Row((1,), 5, 5, s, {"x": 2}) for s in range(3)]
    assert aggregate(rows, (1,), 5, "sum", "x", 10) == ("present", 6)
    named = [replace(row, id=("a", 1)) for row in rows]
    assert aggregate(named, (1,), 5, "sum", "x", 10) == ("present", 2)
    assert aggregate([*named, replace(named[0], id=("a", 2), s=3)], (1,), 5, "sum", "x", 10) == ("present", 4)


def test_an_id_is_one_of_its_key() -> None:
    rows = [Row((key,), 5, 5 + s, s, {"x": 1}, ("a",)) for s, key in enumerate([1, 2])]
    assert aggregate(rows, (1,), 9, "count", None, 10) == ("present", 1)


def test_what_arrives_later_does_not_correct_what_was_available_later() -> None:
    rows = [Row((1,), 5, 8, 0, {"x": 1}, ("a",)), Row((1,), 6, 7, 1, {"x": 2}, ("a",))]
    assert corrected(rows) == rows[:1]
    assert aggregate(rows, (1,), 7, "last", "x", 10) == ("present", 2)
    assert aggregate(rows, (1,), 8, "last", "x", 10) == ("present", 1)


def test_a_correction_to_null_takes_the_value_away() -> None:
    rows = [Row((1,), 5, 5, 0, {"x": 1}, ("a",)), Row((1,), 5, 6, 1, {"x": None}, ("a",))]
    assert aggregate(rows, (1,), 5, "count", "x", 10) == ("present", 1)
    assert aggregate(rows, (1,), 6, "count", "x", 10) == ("present", 0)
    assert aggregate(rows, (1,), 6, "count", None, 10) == ("present", 1)
    assert aggregate(rows, (1,), 6, "max", "x", 10) == MISSING


@pytest.mark.parametrize(("closed", "inside"), [("right", [11, 20]), ("left", [10, 19])])
def test_a_window_has_one_closed_end(closed: str, inside: list[int]) -> None:
    rows = [Row((1,), e, 0, e, {}) for e in (9, 10, 11, 19, 20, 21)]
    found = [row.e for row in in_window(rows, (1,), 20, 10, closed)]
    assert (found[0], found[-1]) == tuple(inside)


def test_the_sum_of_nothing_is_of_the_kind_of_the_column() -> None:
    assert same(aggregate([], (1,), 0, "sum", "x", 10, zero=0.0)[1], 0.0)
    assert same(aggregate([], (1,), 0, "sum", "x", 10)[1], 0)
    assert same(aggregate([Row((1,), 0, 0, 0, {"x": True})], (1,), 0, "sum", "x", 10)[1], 1)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([0.1] * 3, 0.3), ([1e16, 1.0, -1e16], 1.0), ([INF, -INF], NAN), ([INF, NAN], NAN), ([1e300, -INF], -INF)],
)
def test_floats_are_summed_and_rounded_once(values: list[float], wanted: float) -> None:
    rows = [Row((1,), i, i, i, {"x": value}) for i, value in enumerate(values)]
    got = aggregate(rows, (1,), 9, "sum", "x", 10)[1]
    assert same(got, wanted) or math.isclose(got, wanted, rel_tol=1e-15)
    assert near(sum(values), got, values)
    assert near(sum(values) / len(values), got / len(values), values, "mean")


def test_near_is_not_far() -> None:
    assert not near(0.3 * (1 + 1e-14), 0.3, [0.1, 0.2])
    assert not near(NAN, 1.0, [1.0])
    assert not near(1.0, NAN, [1.0, NAN])
    assert near(5e-324, 0.0, [5e-324, -5e-324], "mean")


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (True, 1), (0.0, -0.0), ([1], [True]), (TENTH, Decimal("0.1")), (None, NAN)]
)
def test_same_is_strict(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert same(one, one)


def test_only_rows_are_counted_without_a_column() -> None:
    with pytest.raises(AssertionError, match="sum needs a column"):
        aggregate([], (1,), 0, "sum", None, 10)


# --- laws ---------------------------------------------------------------------------------------------


@examples(100)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_are_kept_changes_nothing(case: Case, chance: random.Random) -> None:
    rows = case.replay_rows()
    chance.shuffle(rows)
    for how, column in _hows(case):
        assert _alike(_with(case, rows).expected(how, column), case.expected(how, column))


@examples(100)
@given(cases(), st.data())
def test_what_becomes_visible_later_changes_nothing(case: Case, data: st.DataObject) -> None:
    rows, (key, at) = case.replay_rows(), data.draw(_label(case))
    values = rows[0].values if rows else dict.fromkeys(case.columns)
    later = at + (case.closed == "right") + data.draw(st.sampled_from([0, 1, drawing.DAY]))
    e, a = data.draw(st.permutations([later, data.draw(st.sampled_from([later, at - 1, BASE]))]))
    hypothesis.assume(max(e, a) >= later)
    added = Row(key, e, a, len(rows), values, rows[0].id if rows else None)
    asked = replace(case, labels=[(key, at)])
    for how, column in _hows(case):
        assert _alike(_with(asked, [*rows, added]).expected(how, column), asked.expected(how, column))


@examples(100)
@given(cases(), st.data())
def test_a_row_before_all_others_does_not_change_the_latest(case: Case, data: st.DataObject) -> None:
    rows, (key, at) = case.replay_rows(), data.draw(_label(case))
    seen = visible(rows, key, at, case.closed)
    hypothesis.assume(seen)
    before = min(min(row.e, row.a) for row in seen) - 1
    added = Row(key, before, before, len(rows), dict.fromkeys(case.columns), seen[0].id)
    asked = replace(case, labels=[(key, at)])
    for column in case.columns:
        assert _alike(_with(asked, [*rows, added]).expected("latest", column), asked.expected("latest", column))


@examples(100)
@given(cases())
def test_rows_of_other_keys_change_nothing(case: Case) -> None:
    for label in case.labels:
        asked = replace(case, labels=[label])
        own = [row for row in case.replay_rows() if row.key == label[0]]
        for how, column in _hows(case):
            assert _alike(_with(asked, own).expected(how, column), asked.expected(how, column))


@examples(100)
@given(cases())
def test_latest_is_what_a_store_holds_that_keeps_the_greatest_row(case: Case) -> None:
    for key, at in case.labels:
        held: Row | None = None
        for row in sorted(case.replay_rows(), key=lambda row: row.v):
            seen = row.v <= at if case.closed == "right" else row.v < at
            if row.key == key and seen and (held is None or row.order > held.order):
                held = row
        for column in case.columns:
            status, value = latest(case.replay_rows(), key, at, column, None, case.closed)
            assert (status == "missing") == (held is None)
            assert same(value, held.values[column] if held else None)


@examples(100)
@given(cases(kinds=["int64", "float64", "bool"], with_id=True))
def test_aggregates_agree_with_each_other(case: Case) -> None:
    for column in case.columns:
        sums, counts, means = (case.expected(how, column) for how in ("sum", "count", "mean"))
        lows, highs, values = (
            case.expected("min", column),
            case.expected("max", column),
            case.values_in_windows(column),
        )
        for (_, total), (_, count), (status, mean), low, high, inside in zip(
            sums, counts, means, lows, highs, values, strict=True
        ):
            assert count == len(inside)
            assert (status == "missing") == (count == 0) == (low == high == MISSING)
            assert count == 0 or same(mean, float(total) / count)
            assert count == 0 or math.isnan(low[1]) or all(low[1] <= value <= high[1] for value in inside)


def _label(case: Case) -> st.SearchStrategy[tuple[tuple[Any, ...], int]]:
    hypothesis.assume(case.labels)
    return st.sampled_from(case.labels)


# --- the cases themselves -----------------------------------------------------------------------------


def _traps(case: Case) -> Iterator[str]:
    """Which of the known traps a case holds."""
    rows = case.replay_rows()
    pairs = [(one, other) for one in rows for other in rows if one.s < other.s and one.key == other.key]
    found = {
        "no rows": not rows,
        "no labels": not case.labels,
        "an empty batch": len(rows) > 0 and any(not batch for batch in case.batches),
        "four batches": len(case.batches) == 4,
        "unsorted": any(one.order > other.order for one, other in pairs),
        "equal event times": any(one.e == other.e and one.a != other.a for one, other in pairs),
        "equal but for the sequence": any((one.e, one.a) == (other.e, other.a) for one, other in pairs),
        "identical rows": any(replace(one, s=other.s) == other for one, other in pairs),
        "a correction": any(one.id is not None and one.id == other.id for one, other in pairs),
        "a correction that moves": any(one.id and one.id == other.id and one.e != other.e for one, other in pairs),
        "a late row": any(row.a - row.e >= drawing.DAY for row in rows),
        "a future row": any(row.a < row.e for row in rows),
        "a time before 1970": any(row.e < 0 for row in rows),
        "a key without rows": any(key not in {row.key for row in rows} for key, _ in case.labels),
        "duplicate labels": len(set(case.labels)) < len(case.labels),
        "a label on an event": any((row.key, row.v) in case.labels for row in rows),
        "a label just before": any((row.key, row.v - 1) in case.labels for row in rows),
        "a label just after": any((row.key, row.v + 1) in case.labels for row in rows),
        "a sum beyond 64 bits": any(
            not case.sums_fit(name) for name, kind in case.columns.items() if kind == "int64"
        ),
    }
    yield from (trap for trap, there in found.items() if there)
    for how, column in _hows(case):
        yield from (f"{how}: {status}" for status, _ in case.expected(how, column))


def test_drawn_cases_hold_every_trap_often() -> None:
    found: collections.Counter[str] = collections.Counter()

    @examples(500)
    @given(cases())
    def draw(case: Case) -> None:
        found.update(set(_traps(case)))

    draw()
    statuses = {
        f"{how}: {status}" for how in ("mean", "min", "max", "first", "last") for status in ("present", "missing")
    }
    statuses |= {f"latest: {status}" for status in ("present", "null", "missing", "expired")}
    assert statuses < set(found)
    assert len(found) == 19 + len(statuses) + 2, found  # sum and count are always present
    assert min(found.values()) >= 3, found


@examples(100)
@given(cases())
def test_a_case_is_the_same_in_arrow(case: Case) -> None:
    tables, rows = case.arrow_rows(), case.replay_rows()
    assert [len(table) for table in tables] == [len(batch) for batch in case.batches]
    assert [row.s for row in rows] == list(range(len(rows)))
    whole = pa.concat_tables(tables)
    assert (
        whole.schema.field("event_time").type == whole.schema.field("available_at").type == pa.timestamp("ns", "UTC")
    )
    assert plain("time[ns]", whole["event_time"]) == [row.e for row in rows]
    assert plain("time[ns]", whole["available_at"]) == [row.a for row in rows]
    for name, kind in case.columns.items():
        assert whole.schema.field(name).type == ARROW[kind]
        assert same(plain(kind, whole[name]), [row.values[name] for row in rows])
    assert _key_rows(case, whole) == [row.key for row in rows]
    assert ("event_id" in whole.column_names) == (case.id_kind is not None)
    if case.id_kind is not None:
        assert [(value,) for value in plain(case.id_kind, whole["event_id"])] == [row.id for row in rows]


@examples(100)
@given(cases())
def test_labels_are_the_same_in_arrow(case: Case) -> None:
    table = case.arrow_labels()
    assert table.schema.field("asked_at").type == pa.timestamp("ns", "UTC")
    asked = plain("time[ns]", table["asked_at"])
    assert list(zip(_key_rows(case, table), asked, strict=True)) == list(case.labels)


def _key_rows(case: Case, table: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in case.keys), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_each_value_of_each_kind_survives_arrow(kind: str) -> None:
    values = [None, *drawing.VALUES[kind]]
    assert arrow(kind, values).type == ARROW[kind]
    assert same(plain(kind, arrow(kind, values)), values)
    assert arrow(kind, values).null_count == 1  # NaN is none


def test_the_base_is_a_day_of_2025() -> None:
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    assert int(start.timestamp()) * drawing.SECOND == BASE


@pytest.mark.parametrize(("times", "wanted"), [(None, 7), ("3", 21)])
def test_a_soak_takes_more_examples(monkeypatch: pytest.MonkeyPatch, times: str | None, wanted: int) -> None:
    monkeypatch.delenv("FULLCIRCLE_CASES", raising=False)
    if times is not None:
        monkeypatch.setenv("FULLCIRCLE_CASES", times)
    counted = []

    @examples(7)
    @given(st.integers())
    def count(number: int) -> None:
        counted.append(number)

    count()
    assert len(counted) == wanted
