"""Small and nasty tables of rows in time, with labels that ask them: drawn ones, and one by hand for each trap."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from features.replay import Answer, Key, Row, aggregate, in_window, latest

SECOND = 10**9
DAY = 86_400 * SECOND
BASE = 1_735_689_600 * SECOND  # 2025-01-01
MAX_AGES = (None, 1, SECOND, DAY, 30 * DAY)
WINDOWS = (1, SECOND, DAY, 7 * DAY)
EVENT_TIME, AVAILABLE_AT, ASKED_AT, ID = "event_time", "available_at", "asked_at", "event_id"

ARROW: Mapping[str, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "decimal(38,10)": pa.decimal128(38, 10),
    "time[ns]": pa.timestamp("ns"),
    "time[us,UTC]": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "list<int64>": pa.list_(pa.int64()),
}
KINDS = tuple(ARROW)
NUMBERS = ("int64", "float64", "bool")

TEXTS = ("", "1", "11", "1|1", "a", "b", "a,b", "b,", ",", "a\0", "\0", "é", "e\u0301", "🦉", "null", " ")
INTEGERS = (0, 1, -1, 11, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
# Finite floats stay below what could overflow when some are added: what comes then depends on the order of adding.
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.1, 0.2, 1 / 3, 1e16, -1e16, 1e300, -1e300, 5e-324, -2.2e-308)
# Times as values are integers of their unit. -2**63 is what numpy takes for no time.
VALUES: Mapping[str, Sequence[Any]] = {
    "int64": (*INTEGERS, 2, 3),
    "float64": (*FLOATS, float("nan"), float("inf"), float("-inf")),
    "text": TEXTS,
    "bool": (False, True),
    "decimal(38,10)": tuple(
        Decimal(text)
        for text in (
            "0E-10",
            "0.1000000000",
            "-0.0000000001",
            "9999999999999999999999999999.9999999999",
            "-9007199254740993.0000000001",
        )
    ),
    "time[ns]": (0, -1, BASE, BASE + 1, 2**63 - 1, 1 - 2**63),
    "time[us,UTC]": (0, -1, BASE // 1000 + 1, 253_402_300_799_999_999, -62_135_596_800_000_000),
    "date": (
        dt.date(1, 1, 1),
        dt.date(1969, 12, 31),
        dt.date(1970, 1, 1),
        dt.date(2025, 1, 1),
        dt.date(9999, 12, 31),
    ),
    "list<int64>": ([], [None], [1], [1, None], [None, 1], [2**53 + 1, None, -(2**63)]),
}
HOWS: Mapping[str, tuple[str, ...]] = {
    kind: (
        *("latest", "count", "first", "last"),
        *(() if kind == "list<int64>" else ("min", "max")),
        *(("sum", "mean") if kind in NUMBERS else ()),
    )
    for kind in KINDS
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A table that is appended in batches, and what is asked of it; ``keys`` and ``columns`` map names to kinds.

    Times as values are integers of nanoseconds or microseconds. ``id_kind`` is None where the table has no id.
    """

    keys: Mapping[str, str]
    columns: Mapping[str, str]
    batches: Sequence[Sequence[Row]]
    labels: Sequence[tuple[Key, int]]
    id_kind: str | None = None
    max_age: int | None = None
    window: int = DAY
    closed: str = "right"

    def replay_rows(self) -> list[Row]:
        """All rows in the order of appending."""
        return [row for batch in self.batches for row in batch]

    def arrow_rows(self) -> list[Any]:
        """Each batch as an Arrow table."""
        return [self._table(batch) for batch in self.batches]

    def _table(self, rows: Sequence[Row]) -> Any:
        parts = _keys(self.keys, [row.key for row in rows])
        parts[EVENT_TIME] = _times([row.e for row in rows])
        parts[AVAILABLE_AT] = _times([row.a for row in rows])
        if self.id_kind is not None:
            parts[ID] = arrow(self.id_kind, [row.id[0] if row.id else None for row in rows])
        for name, kind in self.columns.items():
            parts[name] = arrow(kind, [row.values[name] for row in rows])
        return pa.table(parts)

    def arrow_labels(self) -> Any:
        """The labels as an Arrow table: key columns and the time of asking."""
        parts = _keys(self.keys, [key for key, _ in self.labels])
        return pa.table(parts | {ASKED_AT: _times([at for _, at in self.labels])})

    def expected(self, how: str, column: str | None) -> list[Answer]:
        """What the replay answers for each label."""
        rows = self.replay_rows()
        if how == "latest":
            assert column is not None
            return [latest(rows, key, at, column, self.max_age, self.closed) for key, at in self.labels]
        zero = 0.0 if column is not None and self.columns[column] == "float64" else 0
        return [aggregate(rows, key, at, how, column, self.window, self.closed, zero) for key, at in self.labels]

    def values_in_windows(self, column: str) -> list[list[Any]]:
        """The values behind the aggregates of each label, without nulls: what ``near`` wants to know."""
        found = [in_window(self.replay_rows(), key, at, self.window, self.closed) for key, at in self.labels]
        return [[row.values[column] for row in rows if row.values[column] is not None] for rows in found]

    def sums_fit(self, column: str) -> bool:
        """Whether no sum of these integers, in whatever order, can leave 64 bits."""
        return sum(int(abs(row.values[column] or 0)) for row in self.replay_rows()) < 2**63


def arrow(kind: str, values: Iterable[Any]) -> Any:
    """Plain values as an Arrow array of exactly this kind."""
    return pa.array(list(values), ARROW[kind])


def plain(kind: str, array: Any) -> list[Any]:
    """The values of an Arrow array, as a case has them."""
    return list((array.cast(pa.int64()) if kind.startswith("time") else array).to_pylist())


def _times(values: Sequence[int]) -> Any:
    return pa.array(values, pa.timestamp("ns", "UTC"))


def _keys(kinds: Mapping[str, str], keys: Sequence[Key]) -> dict[str, Any]:
    return {name: arrow(kind, [key[i] for key in keys]) for i, (name, kind) in enumerate(kinds.items())}


def examples(count: int) -> Callable[[Any], Any]:
    """How a test of drawn cases runs: the same ones each time; ``FULLCIRCLE_CASES=50`` takes 50 times as many."""
    times = int(os.environ.get("FULLCIRCLE_CASES", "1"))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(derandomize=True, deadline=None, max_examples=count * times, suppress_health_check=slow)


# --- drawn cases --------------------------------------------------------------------------------------

_KEY_POOLS: Mapping[str, Sequence[Any]] = {"int64": INTEGERS, "text": TEXTS, "bool": (False, True)}
_KEY_VALUES = {kind: st.sampled_from(pool) for kind, pool in _KEY_POOLS.items()}
_KEY_KINDS = st.sampled_from([*((kind,) for kind in _KEY_POOLS), *itertools.product(_KEY_POOLS, repeat=2)])
_ID_KINDS = {
    None: st.sampled_from([None, None, "int64", "text"]),
    True: st.sampled_from(["int64", "text"]),
    False: st.none(),
}
_DRAWN = {kind: st.sampled_from([None, *pool]) for kind, pool in VALUES.items()}
# Most cases around 2025, some just before 1970, where nanoseconds change sign.
_STARTS = st.sampled_from([BASE, BASE, BASE, -DAY])
_RELATIONS = st.sampled_from(["new", "new", "new", "same", "tie", "correction", "move"])


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What rows are drawn from: few keys, ids and times, so that they collide; ``events`` are pairs (e, a)."""

    keys: st.SearchStrategy[Key]
    ids: st.SearchStrategy[tuple[Any, ...] | None]
    events: st.SearchStrategy[tuple[int, int]]
    values: Mapping[str, st.SearchStrategy[Any]]


@st.composite
def cases(draw: st.DrawFn, *, kinds: Sequence[str] = KINDS, with_id: bool | None = None, most_rows: int = 8) -> Case:
    """A whole case. ``kinds`` are those its one to three value columns may have."""
    key_kinds, id_kind = draw(_KEY_KINDS), draw(_ID_KINDS[with_id])
    picked = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))
    max_age, window = draw(st.sampled_from(MAX_AGES)), draw(st.sampled_from([*WINDOWS, *WINDOWS[2:]]))
    keys = draw(st.lists(st.tuples(*(_KEY_VALUES[kind] for kind in key_kinds)), min_size=1, max_size=3, unique=True))
    events, asks = _times_of(draw, window, max_age or 0)  # of rows, of labels
    frame = _Frame(
        keys=st.sampled_from([keys[0], keys[0], *keys[1:2]]),
        ids=st.just(None) if id_kind is None else st.sampled_from([(value,) for value in _KEY_POOLS[id_kind][:3]]),
        events=events,
        values={f"x{i}": _DRAWN[kind] for i, kind in enumerate(picked)},
    )
    rows: list[Row] = []
    for _ in range(draw(st.sampled_from([*range(most_rows + 1), *range(2, most_rows + 1)]))):
        rows.append(_row(draw, frame, rows))
    label = st.tuples(st.sampled_from([keys[0], keys[0], *keys]), asks)
    labels = [draw(label) for _ in range(draw(st.sampled_from([0, 1, 2, 3, 3, 4, 4, 5, 6])))]
    return Case(
        keys={f"k{i}": kind for i, kind in enumerate(key_kinds)},
        columns={f"x{i}": kind for i, kind in enumerate(picked)},
        batches=_in_batches(rows, draw(st.lists(st.integers(0, len(rows)), max_size=3))),
        labels=labels + labels[: draw(st.sampled_from([0, 0, 1, 2]))],
        id_kind=id_kind,
        max_age=max_age,
        window=window,
        closed=draw(st.sampled_from(["right", "left"])),
    )


def _times_of(
    draw: st.DrawFn, window: int, max_age: int
) -> tuple[st.SearchStrategy[tuple[int, int]], st.SearchStrategy[int]]:
    """Few moments; rows on them: on time, late, known ahead; labels there, just beside, or where something ends."""
    start = draw(_STARTS)
    steps = (0, 1, SECOND, -SECOND, DAY, window, window - 1, window + 1, -window, max_age, max_age + 1)
    moments = [start + step for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=4))]
    lags = (0, 0, 0, 0, 0, 0, 0, 1, window, SECOND, DAY, 30 * DAY, -1, -DAY)
    events = [(e, a) for e in moments for a in [*(e + lag for lag in lags), *moments]]
    spans = (0, 0, 0, window, max_age, DAY, 31 * DAY)
    asks = [moment + span + beside for moment in moments for span in spans for beside in (0, 0, 1, -1)]
    return st.sampled_from(events), st.sampled_from(asks)


def _row(draw: st.DrawFn, frame: _Frame, earlier: Sequence[Row]) -> Row:
    relation = draw(_RELATIONS) if earlier else "new"
    if relation == "new":
        e, a = draw(frame.events)
        row = Row(draw(frame.keys), e, a, 0, {}, draw(frame.ids))
    else:
        row = draw(st.sampled_from(earlier))
    if relation == "same":
        return row
    if relation == "correction":
        row = replace(row, a=row.v + draw(st.sampled_from([1, SECOND, DAY])))
    if relation == "move":
        row = replace(row, e=draw(frame.events)[0], a=row.v + 1)
    return replace(row, values={name: draw(value) for name, value in frame.values.items()})


def _in_batches(rows: Sequence[Row], cuts: Sequence[int]) -> list[list[Row]]:
    numbered = [replace(row, s=s) for s, row in enumerate(rows)]
    ends = [0, *sorted(cuts), len(rows)]
    return [numbered[start:end] for start, end in itertools.pairwise(ends)]


# --- cases by hand ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Sketch:
    """A case in short: rows are (key, e, a, value) or (key, e, a, value, id), times in ns after 2025-01-01."""

    rows: Sequence[tuple[Any, ...]]
    labels: Sequence[tuple[Any, int]]
    kind: str = "int64"
    key: str = "int64"
    batches: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)

    def case(self) -> Case:
        found = [
            Row(_tuple(key), BASE + e, BASE + a, 0, {"x": value}, tuple(rest) or None)
            for key, e, a, value, *rest in self.rows
        ]
        labels = [(_tuple(key), BASE + at) for key, at in self.labels]
        width = len(labels[0][0])
        cuts = [len(found) * i // self.batches for i in range(1, self.batches)]
        return Case(
            keys={f"k{i}": self.key for i in range(width)},
            columns={"x": self.kind},
            batches=_in_batches(found, cuts),
            labels=labels,
            id_kind="text" if any(row.id for row in found) else None,
            **{"window": 100, **self.about},
        )


def _tuple(key: Any) -> Key:
    return key if isinstance(key, tuple) else (key,)


_SKETCHES = {
    "tie without availability": _Sketch(
        rows=[(1, 10, 10, 3), (1, 10, 10, 4)],
        labels=[(1, 9), (1, 10)],
        batches=2,
    ),
    "correction of the same event time": _Sketch(
        rows=[(1, 10, 10, 3, "a"), (1, 10, 20, 5, "a"), (1, 9, 12, 1, "b")],
        labels=[(1, 10), (1, 15), (1, 19), (1, 20)],
    ),
    "correction that moves an event out of the window": _Sketch(
        rows=[(1, 1000, 1000, 3, "a"), (1, 0, 1010, 7, "a")],
        labels=[(1, 1005), (1, 1010)],
        batches=2,
    ),
    "late row": _Sketch(
        rows=[(1, 10, 10, 1), (1, 30, 30, 3), (1, 20, 50, 2)],
        labels=[(1, 25), (1, 49), (1, 50)],
    ),
    "future-dated row": _Sketch(
        rows=[(1, 10, 1, 1), (1, 5, 5, 2)],
        labels=[(1, 4), (1, 7), (1, 10)],
    ),
    "expired by max_age": _Sketch(
        rows=[(1, 0, 0, 1), (1, 10, 15, 2)],
        labels=[(1, 0), (1, 14), (1, 15), (1, 20), (1, 21)],
        about={"max_age": 10, "window": 10},
    ),
    "keys that read alike": _Sketch(
        rows=[
            (("1", "11"), 10, 10, 1),
            (("11", "1"), 10, 10, 2),
            (("1|1", "1"), 10, 10, 3),
            (("1", "1|1"), 10, 10, 4),
        ],
        labels=[(("1", "11"), 10), (("11", "1"), 10), (("1|1", "1"), 10), (("1", "1|1"), 10), (("111", ""), 10)],
        key="text",
    ),
    "integers beyond 2^53 with a null": _Sketch(
        rows=[(2**53 + 1, 1, 1, 2**53 + 1), (2**53, 1, 1, None), (2**53 + 1, 2, 2, 2), (-(2**63), 1, 1, 2**63 - 1)],
        labels=[(2**53 + 1, 1), (2**53 + 1, 2), (2**53, 2), (-(2**63), 2)],
    ),
    "times below a second": _Sketch(
        rows=[(1, SECOND - 1, SECOND - 1, 1), (1, SECOND, SECOND, 2), (1, SECOND + 1, SECOND + 2, 3)],
        labels=[(1, SECOND - 2), (1, SECOND - 1), (1, SECOND), (1, SECOND + 1), (1, SECOND + 2)],
        about={"window": 2},
    ),
    "duplicate labels": _Sketch(
        rows=[(1, 10, 10, 1), (2, 10, 10, 2)],
        labels=[(1, 20), (2, 20), (1, 20), (1, 20)],
    ),
    "only future rows": _Sketch(
        rows=[(1, 100, 0, 1), (1, 0, 100, 2), (2, 0, 0, 3)],
        labels=[(1, 99), (2, 99), (3, 99)],
    ),
    "equal times, closed right": _Sketch(
        rows=[(1, 10, 10, 1), (1, 20, 20, 2)],
        labels=[(1, 10), (1, 11), (1, 20), (1, 21)],
        about={"window": 10},
    ),
    "equal times, closed left": _Sketch(
        rows=[(1, 10, 10, 1), (1, 20, 20, 2)],
        labels=[(1, 10), (1, 11), (1, 20), (1, 21)],
        about={"window": 10, "closed": "left"},
    ),
    "unsorted rows": _Sketch(
        rows=[(1, 30, 30, 3), (2, 5, 5, 9), (1, 10, 10, 1), (1, 20, 20, 2)],
        labels=[(1, 30), (1, 15), (2, 30), (1, 25)],
        batches=3,
    ),
    "null in the latest row": _Sketch(
        rows=[(1, 10, 10, 1), (1, 20, 20, None), (2, 10, 10, None)],
        labels=[(1, 10), (1, 20), (2, 20)],
    ),
    "floats that are no numbers": _Sketch(
        rows=[(1, 1, 1, float("nan")), (1, 2, 2, 2.5), (2, 1, 1, -0.0), (3, 1, 1, None), (4, 1, 1, float("inf"))],
        labels=[(1, 1), (1, 2), (2, 2), (3, 2), (4, 2)],
        kind="float64",
    ),
    "booleans": _Sketch(
        rows=[(True, 1, 1, True), (True, 2, 2, False), (True, 3, 3, True), (False, 1, 1, None)],
        labels=[(True, 3), (False, 3)],
        kind="bool",
        key="bool",
    ),
    "decimals": _Sketch(
        rows=[
            (1, 1, 1, Decimal("9999999999999999999999999999.9999999999")),
            (1, 2, 2, Decimal("0.1000000000")),
            (2, 1, 1, None),
        ],
        labels=[(1, 1), (1, 2), (2, 2)],
        kind="decimal(38,10)",
    ),
    "lists": _Sketch(
        rows=[(1, 1, 1, [1, None, 2**53 + 1]), (1, 2, 2, []), (1, 3, 3, None)],
        labels=[(1, 1), (1, 2), (1, 3)],
        kind="list<int64>",
    ),
    "no rows": _Sketch(rows=[], labels=[(1, 10)]),
}


def named_cases() -> dict[str, Case]:
    """One small case for each known trap, with one value column ``x``."""
    return {name: sketch.case() for name, sketch in _SKETCHES.items()}
