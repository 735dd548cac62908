"""What is packed for the online store: every value comes back as it was, and merging forgets nothing that answers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import replay
from features.cases import examples
from fullcircle.features import eventpacking, packing, windows
from fullcircle.features.kinds import arrow_type
from fullcircle.features.packing import Layout, Record

YEAR_1, YEAR_9999 = -62_135_596_800, 253_402_300_799  # seconds
EDGE = 2**63 - 1


def _whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0]))


def _ticks(per_second: int) -> st.SearchStrategy[int]:
    low, high = YEAR_1 * per_second, (YEAR_9999 + 1) * per_second - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, -1, 0]))


TEXT = st.one_of(st.text(max_size=5), st.sampled_from(["", "\0", "a\0b", "🦉", "e\u0301", "\ufeff"]))
NANOS = st.one_of(st.integers(-EDGE, EDGE), st.sampled_from([-EDGE, EDGE, -1, 0]))
DAYS = st.one_of(st.integers(-719_162, 2_932_896), st.sampled_from([-719_162, 2_932_896]))
MICROS, CENTS = _ticks(10**6), st.integers(-(10**10) + 1, 10**10 - 1)
# Values as they are put in: times as ticks, decimals as whole numbers of their last digit.
POOLS: dict[str, st.SearchStrategy[Any]] = {
    **{f"int{bits}": _whole(bits, True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": _whole(bits, False) for bits in (8, 16, 32, 64)},
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "bool": st.booleans(),
    "text": TEXT,
    "bytes": st.binary(max_size=5),
    "date": DAYS,
    "time[s]": _ticks(1),
    "time[ms,UTC]": _ticks(1000),
    "time[us]": MICROS,
    "time[us,UTC]": MICROS,
    "time[us,+05:30]": st.integers(-(10**15), 10**15),
    "time[ns]": NANOS,
    "time[ns,UTC]": NANOS,
    "decimal(10,2)": CENTS,
    "decimal(38,10)": st.integers(-(10**38) + 1, 10**38 - 1),
    "decimal(5,-2)": st.integers(-99_999, 99_999),
    "list<int64>": st.lists(st.none() | _whole(64, True), max_size=3),
    "list<uint64>": st.lists(st.none() | _whole(64, False), max_size=3),
    "list<float32>": st.lists(st.none() | st.floats(width=32), max_size=3),
    "list<float64>": st.lists(st.none() | st.floats(), max_size=3),
    "list<bool>": st.lists(st.none() | st.booleans(), max_size=3),
    "list<text>": st.lists(st.none() | TEXT, max_size=3),
    "list<bytes>": st.lists(st.none() | st.binary(max_size=3), max_size=3),
    "list<date>": st.lists(st.none() | DAYS, max_size=3),
    "list<time[ns]>": st.lists(st.none() | NANOS, max_size=3),
    "list<time[us,UTC]>": st.lists(st.none() | MICROS, max_size=3),
    "list<decimal(10,2)>": st.lists(st.none() | CENTS, max_size=3),
    "list<list<text>>": st.lists(st.none() | st.lists(st.none() | TEXT, max_size=2), max_size=3),
}


def column(kind: str, values: Sequence[Any]) -> Any:
    """Values as a column of this kind."""
    return pa.array([_in(kind, value) for value in values], _raw(arrow_type(kind))).cast(arrow_type(kind))


def _in(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind.startswith("list<"):
        return [_in(kind[5:-1], one) for one in value]
    if kind.startswith("decimal"):
        return Decimal(value).scaleb(-int(kind[:-1].split(",")[1]), Context(prec=50))
    return value


def _raw(kind: Any) -> Any:
    if pa.types.is_list(kind):
        return pa.list_(_raw(kind.value_type))
    return pa.int64() if pa.types.is_timestamp(kind) else pa.int32() if pa.types.is_date32(kind) else kind


def expected(kind: str, values: Sequence[Any]) -> list[Any]:
    """What has to come back: what Arrow gives, and numpy's times for nanoseconds."""
    if "ns" in kind:
        return [_nanos(value) for value in values]
    return list(column(kind, values).to_pylist())


def _nanos(value: Any) -> Any:
    if isinstance(value, list):
        return [_nanos(one) for one in value]
    return None if value is None else np.datetime64(value, "ns")


def same(got: Any, wanted: Any) -> bool:
    """Equal, of one type, floats to the bit."""
    if type(got) is not type(wanted):
        return False
    if isinstance(got, list):
        return len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(got, float):
        return struct.pack("<d", got) == struct.pack("<d", wanted) or (got != got and wanted != wanted)
    return bool(got == wanted) and (not isinstance(got, Decimal) or str(got) == str(wanted))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    """Some kinds, and for each a column of values with nulls."""
    kinds = draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=20))
    rows = draw(st.integers(1, 4))
    return kinds, [draw(st.lists(st.none() | POOLS[kind], min_size=rows, max_size=rows)) for kind in kinds]


def named(kinds: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"c{place}", kind) for place, kind in enumerate(kinds))


def payloads(layout: Layout, columns: dict[str, Any], rows: int) -> list[bytes]:
    """What is packed of each row alone, behind its times."""
    times = [np.zeros(rows, dtype=np.int64)] * 3
    return [packing.records(one)[0][3] for one in packing.entries(layout, columns, times, np.arange(rows + 1))]


@examples(300)
@given(tables())
def test_every_value_of_a_row_comes_back(table: tuple[list[str], list[list[Any]]]) -> None:
    kinds, values = table
    layout = Layout(3, named(kinds))
    columns = {
        f"c{place}": pa.chunked_array([column(*pair)]) for place, pair in enumerate(zip(kinds, values, strict=True))
    }
    rows = len(values[0])
    packed = payloads(layout, columns, rows)
    times = [np.arange(rows) + shift for shift in (10, 20, 30)]
    together = packing.entries(layout, columns, times, np.arange(rows + 1))
    wanted = list(zip(*(expected(*pair) for pair in zip(kinds, values, strict=True)), strict=True))
    for row in range(rows):
        entry = packing.entry(3, [(10 + row, 20 + row, 30 + row, packed[row])])
        assert entry == together[row]
        found = packing.pick(entry, 20 + row)
        assert found is not None
        assert found[:3] == (3, 10 + row, 30 + row)
        assert same(layout.values(entry, found[3]), list(wanted[row]))


@examples(200)
@given(tables())
def test_the_events_of_a_key_come_back(table: tuple[list[str], list[list[Any]]]) -> None:
    kinds, values = table
    rows = len(values[0])
    layout = eventpacking.EventLayout(4, named(kinds), False)
    arrays = [column(*pair) for pair in zip(kinds, values, strict=True)]
    times = np.stack([np.arange(rows)] * 3 + [np.full(rows, windows.FOREVER)])
    entry = eventpacking.pack(layout, packed_events(kinds, arrays, times))
    assert eventpacking.layout_of(entry) == 4
    asking = eventpacking.Asking(layout)
    opened = asking.open(entry)
    for place, (kind, plain) in enumerate(zip(kinds, values, strict=True)):
        good = [value for value in expected(kind, plain) if value is not None]
        ask = partial(asking.answer, opened, rows, column=f"c{place}", window=100, kind=kind)
        assert same(ask("first"), good[0] if good else None)
        assert same(ask("last"), good[-1] if good else None)
        assert ask("count") == len(good)
        assert asking.answer(opened, rows, "count", None, 100, "int64") == rows
        if good and kind.startswith(("int", "uint", "date", "time[us")):
            assert same(ask("min"), min(good))
            assert same(ask("max"), max(good))


def packed_events(kinds: Sequence[str], arrays: Sequence[Any], times: Any) -> eventpacking.Packed:
    """Columns as a publisher prepares them."""
    long = [packing.is_long(kind) for kind in kinds]
    return eventpacking.Packed(
        times,
        [np.asarray(array.is_null()) for array in arrays],
        [
            np.zeros(len(array), np.int64) if behind else packing.numbers(array, kind)
            for kind, array, behind in zip(kinds, arrays, long, strict=True)
        ],
        [packing.tails_of(array, kind) for kind, array, behind in zip(kinds, arrays, long, strict=True) if behind],
    )


def test_nan_keeps_its_bits() -> None:
    bits = np.array([0x7FF8000000000123, 0xFFF8000000000001, 0x8000000000000000, 1], dtype=np.uint64)
    layout = Layout(1, named(["float64"]))
    for entry, wanted in zip(
        packing.entries(layout, {"c0": pa.array(bits.view(np.float64))}, [np.zeros(4)] * 3, np.arange(5)),
        bits,
        strict=True,
    ):
        (value,) = layout.values(entry, packing.pick(entry, 0)[3])  # type: ignore[index]
        assert struct.unpack("<Q", struct.pack("<d", value)) == (wanted,)


@pytest.mark.parametrize("kind", ["date", "time[s]", "time[ms,UTC]", "time[us]"])
def test_a_moment_beyond_the_years_of_python_is_given_as_one_of_numpy(kind: str) -> None:
    unit = "D" if kind == "date" else kind[5:-1].split(",")[0]
    for ticks in (2**31 - 1, 1 - 2**31) if kind == "date" else (EDGE, -EDGE):
        assert packing.moment_reader(kind)(ticks) == np.datetime64(ticks, unit)  # type: ignore[call-overload]


def test_a_row_whose_every_value_is_null() -> None:
    layout = Layout(1, named(["text", "date", "bool", "list<text>", *["float64"] * 30]))
    columns = {name: pa.nulls(1, arrow_type(kind)) for name, kind in layout.columns}
    entry = packing.entry(1, [(0, 0, 0, payloads(layout, columns, 1)[0])])
    assert layout.values(entry, packing.pick(entry, 0)[3]) == [None] * 34  # type: ignore[index]


def test_entries_of_several_records_are_those_of_one_after_another() -> None:
    layout = Layout(7, named(["int64", "text"]))
    columns = {"c0": pa.array([1, None, 3, 4]), "c1": pa.array(["", "long", None, "é"])}
    e, a, s = np.array([1, 5, 9, 2]), np.array([1, 4, 3, 8]), np.array([3, 1, 2, 0])
    packed = payloads(layout, columns, 4)
    rows = [(int(x), int(y), int(z), payload) for x, y, z, payload in zip(e, a, s, packed, strict=True)]
    together = packing.entries(layout, columns, [e, a, s], np.array([0, 3, 4]))
    assert together == [packing.entry(7, rows[:3]), packing.entry(7, rows[3:])]
    assert packing.records(together[0]) == rows[:3]
    assert packing.entries(layout, {name: one[:0] for name, one in columns.items()}, [e[:0]] * 3, np.array([0])) == []


# --- merging ------------------------------------------------------------------------------------------

MOMENTS = st.one_of(st.integers(0, 12), st.integers(0, 12), st.sampled_from([-EDGE, EDGE]))


def in_pieces(parts: list[Any], merge: Callable[[Any, Any], Any], draw: random.Random) -> Any:
    """Merge two at a time, whichever they are, some of them again, until one is left."""
    parts = parts + draw.sample(parts, draw.randint(0, len(parts)))
    while len(parts) > 1:
        one, two = (parts.pop(draw.randrange(len(parts))) for _ in range(2))
        parts.append(merge(one, two))
    return parts[0]


@st.composite
def seen(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Rows of a key as (e, a, s)."""
    times = draw(st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=8))
    return [(e, a, s) for (e, a), s in zip(times, draw(st.permutations(range(len(times)))), strict=True)]


@examples(500)
@given(seen(), st.integers(-1, 14), st.randoms(use_true_random=False))
def test_merged_in_any_order_the_answer_is_that_of_all_rows(
    rows: list[tuple[int, int, int]], horizon: int, draw: random.Random
) -> None:
    parts = [
        packing.entry(1, packing.settled([_record(row) for row in part], horizon)) for part in divided(rows, draw)
    ]

    def merge(one: bytes, two: bytes) -> bytes:
        return packing.merged(one, two, draw.choice([horizon, horizon - 3, -EDGE]))

    entry = in_pieces(parts, merge, draw)
    last = packing.merged(entry, entry, horizon)
    for t in {horizon, horizon + 1, EDGE, *(max(e, a) + beside for e, a, _ in rows for beside in (0, -1))}:
        if t < horizon:
            continue
        wanted = max((row for row in rows if max(row[:2]) <= t), default=None)
        for packed in (entry, last):
            found = packing.pick(packed, t)
            assert (found and found[1:3]) == (wanted and (wanted[0], wanted[2]))
            if found and wanted:
                assert packed[found[3] :].startswith(_record(wanted)[3])
    assert packing.records(last) == packing.records(packing.merged(last, entry, horizon))


def _record(row: tuple[int, int, int]) -> Record:
    return (*row, b"payload of %d" % row[2])


def divided(rows: list[Any], draw: random.Random) -> list[list[Any]]:
    """The rows in some parts."""
    parts: list[list[Any]] = []
    rows = draw.sample(rows, len(rows))
    while rows:
        size = draw.randint(1, len(rows))
        parts.append(rows[:size])
        rows = rows[size:]
    return parts


def test_what_is_superseded_and_visible_before_the_horizon_is_let_go() -> None:
    rows = [_record(row) for row in ((1, 1, 0), (2, 2, 1), (1, 5, 2), (9, 1, 3))]
    assert [row[2] for row in packing.settled(rows, 3)] == [1, 3]
    assert [row[2] for row in packing.settled(rows, 2)] == [0, 1, 3]
    assert [row[2] for row in packing.settled(rows, 10)] == [3]


def test_of_two_layouts_the_greater_stays_whoever_comes_last() -> None:
    old, new = packing.entry(1, [_record((9, 9, 9))]), packing.entry(2, [_record((1, 1, 1))])
    assert packing.merged(old, new, 0) == packing.merged(new, old, 0) == packing.merged(None, new, 0) == new


def test_a_key_may_have_more_records_than_sixteen_bits_count() -> None:
    rows = [(moment, 0, moment, b"") for moment in range(70_000)]
    entry = packing.merged(packing.entry(1, rows[:1]), packing.entry(1, rows[1:]), 0)
    assert packing.pick(entry, 69_999) == (1, 69_999, 69_999, len(entry))
    assert len(packing.records(entry)) == 70_000


# --- events -------------------------------------------------------------------------------------------

LAYOUT = eventpacking.EventLayout(1, (("x", "int64"), ("y", "text")), True)


def events(rows: Sequence[replay.Row], layout: eventpacking.EventLayout = LAYOUT) -> eventpacking.Packed:
    """Rows of one key as a publisher prepares them."""
    times = np.array([[row.e, row.a, row.s, 0] for row in rows], dtype=np.int64).T.reshape(4, len(rows))
    arrays = [pa.array([row.values["x"] for row in rows], pa.int64()), pa.array(["y"] * len(rows), pa.large_string())]
    packed = packed_events(["int64", "text"], arrays, times)
    if layout.identified:
        packed.tail.append([b"%d" % row.id[0] if row.id else b"" for row in rows])
    return packed


@st.composite
def happened(draw: st.DrawFn) -> list[replay.Row]:
    """Rows of a key with ids and values."""
    value = st.sampled_from([None, 0, 1, -7, 2**53 + 1])
    return [replay.Row((1,), e, a, s, {"x": draw(value)}, (draw(st.integers(0, 2)),)) for e, a, s in draw(seen())]


def check(entry: bytes, layout: eventpacking.EventLayout, rows: list[replay.Row], horizon: int, retain: int) -> None:
    """Every aggregate at the horizon and later, over what is retained and less, is that of the replay of all rows."""
    asking = eventpacking.Asking(layout)
    opened = asking.open(entry)
    moments = {horizon, *(row.v + beside for row in rows for beside in (0, -1, retain)), EDGE}
    for t in sorted(t for t in moments if horizon <= t <= EDGE):
        for window in {retain, 1}:
            for how in ("count", "sum", "mean", "min", "max", "first", "last"):
                wanted = replay.aggregate(rows, (1,), t, how, "x", window)[1]
                assert replay.same(asking.answer(opened, t, how, "x", window, "int64"), wanted), (how, t, window)


@examples(200)
@given(happened(), st.booleans(), st.integers(-1, 14), st.sampled_from([1, 3, 20]), st.randoms(use_true_random=False))
def test_events_merged_in_any_order_answer_as_all_rows(
    rows: list[replay.Row], identified: bool, horizon: int, retain: int, draw: random.Random
) -> None:
    # What is dated ahead must come before its correction is forgotten: see the next test.
    rows = [row if identified else replay.Row(row.key, row.e, row.a, row.s, row.values) for row in rows]
    rows = [row for row in rows if not identified or row.e <= row.a]
    if not rows:
        return
    layout = eventpacking.EventLayout(1, LAYOUT.columns, identified)

    def merge(one: bytes | eventpacking.Packed, two: bytes | eventpacking.Packed) -> bytes | eventpacking.Packed:
        before, after = (
            eventpacking.unpack(layout, part) if isinstance(part, bytes) else part for part in (one, two)
        )
        at = draw.choice([horizon, horizon - 3, -EDGE])
        return eventpacking.pack(layout, eventpacking.merged(layout, before, after, at, retain))

    parts: list[bytes | eventpacking.Packed] = [events(part, layout) for part in divided(rows, draw)]
    whole = in_pieces(parts, merge, draw)
    for _ in range(2):
        whole = merge(whole, whole)
        assert isinstance(whole, bytes)
        check(whole, layout, rows, horizon, retain)


@examples(200)
@given(happened(), st.integers(-1, 14), st.sampled_from([1, 3, 20]), st.randoms(use_true_random=False))
def test_a_correction_reaches_what_came_before_it_however_old_it_is(
    rows: list[replay.Row], horizon: int, retain: int, draw: random.Random
) -> None:
    rows.sort(key=lambda row: (row.a, row.s))  # delivered in the order in which they were known
    entry, cut = None, draw.randint(0, len(rows))
    for part in (rows[:cut], rows[cut:]):
        if part:
            before = None if entry is None else eventpacking.unpack(LAYOUT, entry)
            merged = eventpacking.merged(LAYOUT, before, events(draw.sample(part, len(part))), horizon, retain)
            entry = eventpacking.pack(LAYOUT, merged)
    assert entry is not None
    check(entry, LAYOUT, rows, horizon, retain)


def test_events_that_no_window_reaches_are_let_go() -> None:
    rows = [replay.Row((1,), e, e, e, {"x": e}, (e,)) for e in range(10)]
    merged = eventpacking.merged(LAYOUT, None, events(rows), 9, 4)
    assert merged.times[0].tolist() == [5, 6, 7, 8, 9]
    assert merged.tail[-1] == [b"5", b"6", b"7", b"8", b"9"]


def test_what_a_correction_replaces_answers_until_the_moment_before() -> None:
    rows = [replay.Row((1,), 5, 5, 0, {"x": 1}, (0,)), replay.Row((1,), 5, 9, 1, {"x": 2}, (0,))]
    for horizon, kept in ((8, [8, windows.FOREVER]), (9, [windows.FOREVER])):
        merged = eventpacking.merged(LAYOUT, None, events(rows), horizon, 10)
        assert merged.times[3].tolist() == kept
        check(eventpacking.pack(LAYOUT, merged), LAYOUT, rows, horizon, 10)
