"""Feature tables: what was appended is there once and as it was, whoever appends at the same time."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fullcircle import features as ft
from fullcircle.errors import (
    BatchConflict,
    BlobCorrupt,
    ColumnMissing,
    DataUnfit,
    DefinitionChanged,
    FeatureInvalid,
    FullcircleError,
    TableNotFound,
    TableUnreadable,
    WorkspaceUnusable,
)
from fullcircle.features import log as logs
from fullcircle.features.commits import TableState
from fullcircle.features.compaction import compact
from fullcircle.features.definitions import table_spec
from fullcircle.features.log import TableLog
from fullcircle.ledger.places import Place, open_place
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load
from fullcircle.types.definitions import TableSpec
from rights import files_allowed

DAY = 86_400 * 10**9
START = 1_735_689_600 * 10**9  # 2025-01-01
MANY = 2**53 + 1
EVENTS = ft.FeatureTable(name="events", key="k", time="t", as_of="event")
STAMPED = ft.FeatureTable(name="stamped", key="k", time="t")


@dataclass
class Clock:
    """The time that a store believes."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Here:
    """A store, its clock and where it is."""

    store: ft.Store
    clock: Clock
    settings: Settings
    folder: Path = field(default_factory=Path)

    def facts(self, kind: str) -> list[Any]:
        with Workspace.open(self.settings) as workspace:
            return [dict(fact.body) for fact in workspace.ledger.facts() if fact.kind == kind]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Here]]:
    """Opens stores of one workspace."""
    with ExitStack() as stack:

        def open_one(clock: Clock | None = None, **flags: str) -> Here:
            given = {"workspace": "ws", "config": "config", "actor": "tester"} | flags
            settings, clock = load(given, tmp_path), clock or Clock()
            store = stack.enter_context(ft.Store.open(settings, clock=clock))
            return Here(store, clock, settings, tmp_path / "ws" / "features" / "tables")

        yield open_one


@pytest.fixture
def here(opened: Callable[..., Here]) -> Here:
    return opened()


def moments(*seconds: float) -> Any:
    return pa.array([START + int(one * 10**9) for one in seconds], pa.timestamp("ns", "UTC"))


def rows(*ids: int, **more: Any) -> pa.Table:
    """Rows of key 1 with x counting up."""
    return pa.table({"k": [1] * len(ids), "t": moments(*ids), "x": pa.array(ids, pa.int64()), **more})


def content(store: ft.Store, table: ft.FeatureTable = EVENTS) -> pa.Table:
    """All rows in order of time."""
    state = store.state(table)
    log = store.log(spec_of(table))
    found = log.files(state.files, dict(state.columns)).read(list(state.columns))
    return found.sort_by([(table.time, "ascending")])


def spec_of(table: ft.FeatureTable) -> TableSpec:
    return table_spec(table)


def values(store: ft.Store, column: str = "x", table: ft.FeatureTable = EVENTS) -> list[Any]:
    return list(content(store, table).column(column).to_pylist())


def refused(kind: type[FullcircleError], *parts: str, complete: bool = True) -> Any:
    """Raises this, and says what was received, what is allowed, what to do, and these parts."""

    @contextmanager
    def manager() -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        assert type(caught.value) is kind
        wanted = ("received: ", "allowed: ", "next: ") if complete else ("next: ",)
        for part in (*parts, *wanted):
            assert part in str(caught.value), (part, str(caught.value))

    return manager()


# --- batches ------------------------------------------------------------------------------------------


def test_appended_rows_are_there_for_everybody(opened: Callable[..., Here]) -> None:
    one, two = opened(), opened()
    assert one.store.state(EVENTS) == TableState()
    done = one.store.append(EVENTS, rows(1, 2))
    assert (done.table, done.rows, done.commit, done.already, done.backfilled) == ("events", 2, 1, False, False)
    assert two.store.append(EVENTS, rows(3)).commit == 2
    for store in (one.store, two.store):
        assert values(store) == [1, 2, 3]
        assert store.state(EVENTS).rows == 3
        assert store.state(EVENTS).last_event == START + 3 * 10**9
        assert store.log(spec_of(EVENTS)).verify() == 2
    assert one.store.tables() == {"events": spec_of(EVENTS)}


def test_a_batch_that_is_known_changes_nothing(here: Here, opened: Callable[..., Here]) -> None:
    first = here.store.append(EVENTS, rows(1, 2), batch="a")
    assert (first.batch, first.already) == ("a", False)
    here.store.append(EVENTS, rows(3), batch="b")
    for store in (here.store, opened().store):
        again = store.append(EVENTS, rows(1, 2), batch="a")
        assert (again.already, again.rows) == (True, 2)
    assert values(here.store) == [1, 2, 3]
    assert here.store.state(EVENTS).number == 2
    assert len(list((here.folder / "events" / "data").iterdir())) == 2


def test_a_batch_is_known_after_a_compaction_too(here: Here, opened: Callable[..., Here]) -> None:
    here.store.append(EVENTS, rows(1), batch="a")
    here.store.append(EVENTS, rows(2), batch="b")
    here.store.compact(EVENTS)
    later = opened().store
    assert later.append(EVENTS, rows(1), batch="a").already
    assert later.append(EVENTS, rows(2), batch="b").already
    with refused(BatchConflict, "'b'", "events"):
        later.append(EVENTS, rows(9), batch="b")
    assert values(later) == [1, 2]


def test_the_same_rows_are_the_same_batch_from_any_library_and_slice(here: Here) -> None:
    table = pa.table(
        {"k": [1, 1, 1], "t": moments(1, 2, 3), "x": pa.array([None, 2, None], pa.int64()), "s": ["a", None, ""]}
    )
    here.store.append(EVENTS, table, batch="a")
    longer = pa.concat_tables(
        [rows(7).append_column("s", pa.array(["x"])), table, rows(8).append_column("s", pa.array(["y"]))]
    )
    masked = table.to_pandas().assign(x=pd.arrays.IntegerArray(np.array([9, 2, 9]), np.array([True, False, True])))
    for form in (
        longer.combine_chunks().slice(1, 3),
        longer.slice(1, 3),
        pl.from_arrow(table),
        pl.DataFrame(pl.from_arrow(longer)).slice(1, 3),
        masked,
        pa.Table.from_batches(table.to_batches(max_chunksize=1)),
    ):
        assert here.store.append(EVENTS, form, batch="a").already, type(form)


@pytest.mark.parametrize(
    "other",
    [rows(1, 3), rows(1), rows(1, 2, y=[1, 2]), rows(2, 1), rows(1, 2).set_column(2, "x", pa.array([1, None]))],
)
def test_a_batch_of_this_id_with_other_rows_is_refused(here: Here, other: pa.Table) -> None:
    here.store.append(EVENTS, rows(1, 2), batch="a")
    with refused(BatchConflict, "'a'", "events"):
        here.store.append(EVENTS, other, batch="a")
    assert values(here.store) == [1, 2]
    assert here.store.append(EVENTS, other, batch="b").rows == other.num_rows


def test_empty_frames_write_nothing(here: Here) -> None:
    for frame in (rows(), pd.DataFrame({"k": [], "t": []}), pl.DataFrame(rows(1).to_pandas()).head(0)):
        done = here.store.append(EVENTS, frame, batch="a")
        assert (done.rows, done.commit, done.already) == (0, 0, False)
    assert not here.folder.exists()
    assert here.store.tables() == {}
    with refused(ColumnMissing, "t"):
        here.store.append(EVENTS, pd.DataFrame({"k": []}))
    here.store.append(EVENTS, rows(1), batch="a")
    assert here.store.append(EVENTS, rows()).commit == 1


# --- definitions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": ["k", "x"]}, "key=('k', 'x')"),
        ({"time": "x"}, "time='x'"),
        ({"as_of": None}, "available='stamped'"),
        ({"as_of": None, "available": "t"}, "available='column t'"),
        ({"delay": "1s"}, "delay=1000000000"),
        ({"id": "x"}, "id=('x',)"),
    ],
)
def test_a_table_declared_otherwise_is_refused_wherever_it_is_used(
    here: Here, change: dict[str, Any], told: str
) -> None:
    here.store.append(EVENTS, rows(1))
    known: dict[str, Any] = {"name": "events", "key": "k", "time": "t", "as_of": "event"}
    other = ft.FeatureTable(**(known | change))
    frame = rows(2).set_column(2, "x", moments(1)) if change.get("time") == "x" else rows(2)
    uses: list[Callable[[], Any]] = [
        lambda: here.store.append(other, frame),
        lambda: here.store.state(other),
        lambda: here.store.compact(other),
        lambda: here.store.train(ft.FeatureView(name="v", tables=[other], features=[other.count("1d")]), rows(2)),
    ]
    for use in uses:
        with refused(DefinitionChanged, told, "events"):
            use()
    assert values(here.store) == [1]


def test_owners_and_sources_may_change(here: Here) -> None:
    here.store.append(EVENTS, rows(1))
    again = ft.FeatureTable(
        name="events", key=("k",), time="t", as_of="event", owner="me", description="d", delay="0h"
    )
    assert here.store.append(again, rows(2)).commit == 2


# --- columns ------------------------------------------------------------------------------------------


def test_new_columns_are_null_before_and_missing_ones_after(here: Here) -> None:
    here.store.append(EVENTS, rows(1))
    here.store.append(EVENTS, rows(2, y=["a"]))
    here.store.append(EVENTS, rows(3).drop_columns(["x"]))
    here.store.append(
        EVENTS, pd.DataFrame({"k": [1], "t": moments(4).to_pandas(), "x": [None], "y": [None], "z": [None]})
    )
    assert here.store.state(EVENTS).columns == {"k": "int64", "t": "time[ns,UTC]", "x": "int64", "y": "text"}
    for _ in range(2):
        assert values(here.store, "x") == [1, 2, None, None]
        assert values(here.store, "y") == [None, "a", None, None]
        here.store.compact(EVENTS)


def test_integers_that_came_as_floats_for_a_gap_stay_exact(here: Here) -> None:
    here.store.append(EVENTS, rows(MANY // 2**30, 2).set_column(2, "x", pa.array([MANY, 2])))
    frame = pd.DataFrame({"k": [1, 1], "t": moments(3, 4).to_pandas(), "x": [3.0, None]})
    assert frame["x"].dtype == np.float64
    here.store.append(EVENTS, frame)
    found = content(here.store)
    assert found.schema.field("x").type == pa.int64()
    assert sorted(found.column("x").to_pylist(), key=str) == sorted([MANY, 2, 3, None], key=str)


CHANGES = {
    "a half": ("int64", pa.array([0.5])),
    "an integer that a float has rounded": ("int64", pa.array([float(2**53)])),
    "NaN": ("int64", pa.array([float("nan")])),
    "text of a number": ("int64", pa.array(["5"])),
    "a truth": ("int64", pa.array([True])),
    "a time": ("int64", pa.array([5], pa.timestamp("ns"))),
    "too large a number": ("int8", pa.array([300])),
    "a negative number": ("uint8", pa.array([-1])),
    "a number for text": ("text", pa.array([5])),
    "a number for a truth": ("bool", pa.array([1])),
    "a number for a time": ("time[ns]", pa.array([5])),
    "text for a time": ("time[us,UTC]", pa.array(["2025-01-01"])),
    "a finer time": ("time[s]", pa.array([1_500_000_000], pa.timestamp("ns"))),
    "a time for a day": ("date", pa.array([5], pa.timestamp("s"))),
    "an integer that no float is": ("float64", pa.array([MANY])),
    "a float that no short one is": ("float32", pa.array([0.1])),
    "text for bytes": ("bytes", pa.array(["a"])),
    "a number for a list": ("list<int64>", pa.array([1])),
    "a list of text": ("list<int64>", pa.array([["1"]])),
}
FIRST = {
    "int64": pa.array([MANY]),
    "int8": pa.array([1], pa.int8()),
    "uint8": pa.array([1], pa.uint8()),
    "float64": pa.array([0.1]),
    "float32": pa.array([0.5], pa.float32()),
    "text": pa.array(["a"]),
    "bytes": pa.array([b"a"]),
    "bool": pa.array([True]),
    "date": pa.array([dt.date(2025, 1, 1)]),
    "time[s]": pa.array([1], pa.timestamp("s")),
    "time[ns]": pa.array([1], pa.timestamp("ns")),
    "time[us,UTC]": pa.array([1], pa.timestamp("us", "UTC")),
    "list<int64>": pa.array([[MANY, None]]),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_another_type_that_would_change_values_is_refused(here: Here, name: str) -> None:
    kind, column = CHANGES[name]
    here.store.append(EVENTS, rows(1, v=FIRST[kind]))
    with refused(DataUnfit, "'v'", f"allowed: {kind}"):
        here.store.append(EVENTS, rows(2, v=column))
    assert here.store.state(EVENTS).rows == 1
    assert len(list((here.folder / "events" / "data").iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "column", "wanted"),
    [
        ("int64", pa.array([5], pa.int8()), 5),
        ("int64", pa.array([-5.0], pa.float32()), -5),
        ("uint8", pa.array([255]), 255),
        ("float64", pa.array([3]), 3.0),
        ("float32", pa.array([0.25]), 0.25),
        ("time[ns]", pa.array([1], pa.timestamp("s")), 10**9),
        ("time[us,UTC]", pa.array([7], pa.timestamp("us", "Asia/Tokyo")), 7),
        ("time[us,UTC]", pa.array([7], pa.timestamp("us")), 7),
        ("text", pa.array(["b"]).dictionary_encode(), "b"),
    ],
)
def test_another_type_of_the_same_values_is_taken(here: Here, kind: str, column: Any, wanted: Any) -> None:
    here.store.append(EVENTS, rows(1, v=FIRST[kind]))
    here.store.append(EVENTS, rows(2, v=column))
    found = content(here.store).column("v")
    last = found.cast(pa.int64())[1] if kind.startswith("time") else found[1]
    assert last.as_py() == wanted


def test_reserved_names_and_names_that_are_there_twice_are_refused(here: Here) -> None:
    for name in ("__e", "__a", "__s", "__anything"):
        with refused(FeatureInvalid, name):
            here.store.append(EVENTS, rows(1, **{name: [1]}))
    with refused(TableUnreadable, "'x'"):
        here.store.append(EVENTS, pa.table([*rows(1).columns, pa.array([1])], names=["k", "t", "x", "x"]))
    assert not here.folder.exists()


@pytest.mark.parametrize(
    ("column", "bad", "kind"),
    [
        ("k", None, ColumnMissing),
        ("k", pa.array([1, None]), DataUnfit),
        ("k", pa.nulls(2), DataUnfit),
        ("k", pa.array([1.0, 2.0]), DataUnfit),
        ("k", pa.array([2**63, 1], pa.uint64()), DataUnfit),
        ("t", None, ColumnMissing),
        ("t", pa.array(["2025-01-01", "2025-01-02"]), DataUnfit),
        ("t", pa.array([1, 2]), DataUnfit),
        ("t", pa.nulls(2), DataUnfit),
        ("t", pa.array([dt.datetime(9999, 1, 1)] * 2, pa.timestamp("us")), DataUnfit),
        ("id", None, ColumnMissing),
        ("id", pa.array(["a", None]), DataUnfit),
        ("id", pa.nulls(2), DataUnfit),
        ("a", None, ColumnMissing),
        ("a", pa.nulls(2), DataUnfit),
        ("a", pa.array(["x", "y"]), DataUnfit),
        ("x", pa.array([dt.timedelta(1)] * 2), FeatureInvalid),
    ],
)
def test_what_is_wrong_with_rows_is_found_before_anything_is_written(
    here: Here, column: str, bad: Any, kind: type[FullcircleError]
) -> None:
    table = ft.FeatureTable(name="events", key="k", time="t", available="a", id="id")
    good = rows(1, 2, id=["a", "b"], a=moments(1, 2))
    place = good.column_names.index(column)
    frame = good.remove_column(place) if bad is None else good.set_column(place, column, bad)
    with refused(kind, column, "events" if kind is not FeatureInvalid else ""):
        here.store.append(table, frame)
    assert not here.folder.exists()
    here.store.append(table, good)


def test_a_frame_that_cannot_be_read_is_refused(here: Here, tmp_path: Path) -> None:
    with refused(TableNotFound, "gone.parquet"):
        here.store.append(EVENTS, tmp_path / "gone.parquet")
    with refused(TableUnreadable, "list"):
        here.store.append(EVENTS, [1])


# --- when rows were available -------------------------------------------------------------------------


def known(here: Here, table: ft.FeatureTable, *seconds: float) -> list[Any]:
    """The latest x as it was known at each time."""
    labels = pa.table({"k": [1] * len(seconds), "asked_at": moments(*seconds)})
    view = ft.FeatureView(name="v", tables=[table], features=[table.latest("x")])
    return list(here.store.train(view, labels).frame.column("x").to_pylist())


def test_a_stamped_row_is_known_from_when_the_store_took_it(here: Here) -> None:
    here.clock.now = START + 100 * 10**9
    here.store.append(STAMPED, rows(1))
    here.clock.now = START + 200 * 10**9
    here.store.append(STAMPED, rows(2, 500))
    assert known(here, STAMPED, 1, 99, 100, 199, 200, 499, 500) == [None, None, 1, 1, 2, 2, 500]


def test_a_clock_that_goes_back_does_not_stamp_into_the_past(here: Here) -> None:
    here.clock.now = START + 100 * 10**9
    here.store.append(STAMPED, rows(1))
    here.clock.now = START + 50 * 10**9
    here.store.append(STAMPED, rows(2))
    assert known(here, STAMPED, 60, 99, 100) == [None, None, 2]


def test_a_delay_makes_rows_known_later(here: Here) -> None:
    table = ft.FeatureTable(name="late", key="k", time="t", as_of="event", delay="10s")
    here.store.append(table, rows(1))
    assert known(here, table, 1, 10.999999999, 11) == [None, None, 1]
    stamped = ft.FeatureTable(name="both", key="k", time="t", delay="10s")
    here.clock.now = START + 100 * 10**9
    here.store.append(stamped, rows(1))
    assert known(here, stamped, 100, 109, 110) == [None, None, 1]


def test_a_row_that_is_never_available_stays_so_with_a_delay(here: Here) -> None:
    table = ft.FeatureTable(name="never", key="k", time="t", available="a", delay="10s")
    here.store.append(table, rows(1, 2, a=pa.array([2**63 - 1, START], pa.timestamp("ns", "UTC"))))
    assert known(here, table, 9, 12) == [None, 2]


def test_a_backfill_is_warned_of_and_recorded(here: Here) -> None:
    here.clock.now = START + DAY
    with pytest.warns(UserWarning, match="2 rows of 'stamped'.*may know more"):
        done = here.store.append(STAMPED, rows(1, 2), batch="old", backfill=True)
    assert done.backfilled
    assert known(here, STAMPED, 1, 2) == [1, 2]
    assert here.facts("rows.backfilled") == [{"table": "stamped", "batch": "old", "rows": 2, "commit": 1}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert here.store.append(STAMPED, rows(1, 2), batch="old", backfill=True).already
        assert here.store.append(STAMPED, rows(), backfill=True).rows == 0
        here.store.append(STAMPED, rows(3))
    assert len(here.facts("rows.backfilled")) == 1
    assert known(here, STAMPED, 3, 86_400) == [2, 3]


def test_a_table_with_a_rule_of_its_own_is_not_backfilled(here: Here) -> None:
    for table in (EVENTS, ft.FeatureTable(name="events", key="k", time="t", available="t")):
        with refused(FeatureInvalid, "events", "backfill=True"):
            here.store.append(table, rows(1), backfill=True)
    assert not here.folder.exists()


# --- several at once ----------------------------------------------------------------------------------

APPEND = """
import sys
from pathlib import Path
import pyarrow as pa
from fullcircle import features as ft
from fullcircle.settings import load
name, batches = int(sys.argv[2]), int(sys.argv[3])
table = ft.FeatureTable(name="events", key="k", time="t", as_of="event")
with ft.Store.open(load({"workspace": "ws", "config": "config", "actor": "child"}, Path(sys.argv[1]))) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for place in range(batches):
        ids = [name * 1000 + place * 2, name * 1000 + place * 2 + 1]
        frame = pa.table({"k": [1, 1], "t": pa.array(ids, pa.timestamp("s")), "x": ids, f"c{name}": ids})
        done = store.append(table, frame, batch=f"{name}/{place}")
        assert not done.already
        if sys.argv[4] == "compact" and place % 4 == 3:
            store.compact(table)
"""


@pytest.mark.parametrize("what", ["append", "compact"])
def test_several_processes_append_at_once(here: Here, what: str, tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", APPEND, str(tmp_path), str(name), "12", what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    while any(child.poll() is None for child in children):
        here.store.state(EVENTS)  # who looks meanwhile sees a whole state
    for child in children:
        child.communicate()
    assert [child.returncode for child in children] == [0, 0, 0]
    whole(here, [name * 1000 + place for name in range(3) for place in range(24)])
    for name in range(3):
        wanted = [number if number // 1000 == name else None for number in values(here.store)]
        assert values(here.store, f"c{name}") == wanted


def whole(here: Here, ids: list[int]) -> None:
    """These rows, each once, in commits without gaps."""
    assert values(here.store) == ids
    state = here.store.state(EVENTS)
    numbers = sorted(int(path.stem) for path in (here.folder / "events" / "commits").iterdir())
    assert numbers == list(range(1, state.number + 1))
    assert state.rows == len(ids)
    assert here.store.log(spec_of(EVENTS)).verify() == len(state.files)


def test_threads_append_at_once_to_one_store(here: Here) -> None:
    def append(name: int) -> list[int]:
        return [
            here.store.append(EVENTS, rows(name * 100 + place), batch=f"{name}/{place}").commit for place in range(10)
        ]

    with ThreadPoolExecutor(4) as pool:
        commits = [number for found in pool.map(append, range(4)) for number in found]
    assert sorted(commits) == list(range(1, 41))
    whole(here, [name * 100 + place for name in range(4) for place in range(10)])


def test_one_batch_appended_by_many_at_once_is_there_once(here: Here) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: here.store.append(EVENTS, rows(1, 2), batch="a"), range(8)))
    assert sorted(one.already for one in done) == [False, *[True] * 7]
    whole(here, [1, 2])
    assert len(list((here.folder / "events" / "data").iterdir())) == 1


def test_of_two_that_bring_one_column_in_two_types_the_slower_is_refused(tmp_path: Path) -> None:
    place = Meddled(open_place(str(tmp_path), "features"))
    slow, fast = TableLog(place, spec_of(EVENTS)), TableLog(open_place(str(tmp_path), "features"), spec_of(EVENTS))
    place.before_commit = lambda: fast.append(rows(1, v=["text"]))
    with refused(DataUnfit, "'v'", "allowed: text"):
        slow.append(rows(2, v=[5]))
    assert slow.state().rows == 1
    place.before_commit = lambda: fast.append(rows(3))
    slow.append(rows(4, v=["more"]))
    assert slow.state().rows == 3


class Meddled:
    """A place where something happens just before the next commit."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.before_commit: Callable[[], Any] | None = None
        self.answer_lost = False

    def create(self, path: str, data: bytes) -> bool:
        if "/commits/" in path and self.before_commit is not None:
            meddle, self.before_commit = self.before_commit, None
            meddle()
        made = self._place.create(path, data)
        if "/commits/" in path and self.answer_lost:
            self.answer_lost = False
            return False
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)


def test_a_commit_whose_answer_got_lost_is_there_once(tmp_path: Path) -> None:
    """A client of an object store that tries again finds the file that it made itself."""
    place = Meddled(open_place(str(tmp_path), "features"))
    log = TableLog(place, spec_of(EVENTS))
    place.answer_lost = True
    log.append(rows(1, 2))
    assert log.state().rows == 2
    assert log.verify() == 1
    place.answer_lost = True
    assert compact(log).rows == 2
    assert log.state().settled
    assert log.verify() == len(log.state().files)


# --- places -------------------------------------------------------------------------------------------


def test_a_place_by_url(opened: Callable[..., Here]) -> None:
    url = f"memory://{uuid.uuid4().hex}/features"
    one, two = opened(features=url), opened(features=url)
    one.store.append(EVENTS, rows(1, 2), batch="a")
    two.store.append(EVENTS, rows(3))
    assert not one.folder.exists()
    assert values(one.store) == [1, 2, 3]
    assert two.store.append(EVENTS, rows(1, 2), batch="a").already
    before = known(one, EVENTS, 1, 2, 3)
    assert one.store.compact(EVENTS).rows == 3
    assert known(two, EVENTS, 1, 2, 3) == before == [1, 2, 3]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: one.store.append(EVENTS, rows(10 + place)), range(8)))
        assert len(set(map(tuple, pool.map(lambda _: values(two.store), range(8))))) == 1
    assert one.store.log(spec_of(EVENTS)).verify() == len(one.store.state(EVENTS).files)


def test_a_place_that_cannot_be_used_is_told(opened: Callable[..., Here], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with refused(WorkspaceUnusable, "features", str(tmp_path / "file"), complete=False):
        opened(features=str(tmp_path / "file" / "below")).store.append(EVENTS, rows(1))


def test_a_disk_that_is_full_is_told_and_loses_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.store.append(EVENTS, rows(1), batch="a")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with refused(WorkspaceUnusable, "No space left", complete=False):
                here.store.append(EVENTS, rows(2), batch="b")
    whole(here, [1])
    here.store.append(EVENTS, rows(2), batch="b")
    whole(here, [1, 2])


# --- damage -------------------------------------------------------------------------------------------


def commits(here: Here) -> list[Path]:
    return sorted((here.folder / "events" / "commits").iterdir())


def lose(paths: list[Path]) -> Path:
    paths[1].unlink()
    return paths[1]


def tear(paths: list[Path]) -> Path:
    paths[3].write_bytes(paths[3].read_bytes()[:100])
    return paths[3]


def empty(paths: list[Path]) -> Path:
    paths[2].write_bytes(b"")
    return paths[2]


def swap(paths: list[Path]) -> Path:
    one, two = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(two)
    paths[2].write_bytes(one)
    return paths[1]


def alter_last(paths: list[Path]) -> Path:
    text = paths[3].read_text()
    assert text.count('"rows":1,') > 0
    paths[3].write_text(text.replace('"rows":1,', '"rows":2,'))
    return paths[3]


def copy(paths: list[Path]) -> Path:
    paths[3].write_bytes(paths[2].read_bytes())
    return paths[3]


def from_elsewhere(paths: list[Path]) -> Path:
    with ft.Store.open(load({"workspace": "other", "config": "config", "actor": "x"}, paths[0].parents[5])) as other:
        for place in range(4):
            other.append(EVENTS, rows(place))
    paths[2].write_bytes((paths[0].parents[5] / "other/features/tables/events/commits" / paths[2].name).read_bytes())
    return paths[2]


@pytest.mark.parametrize("harm", [lose, tear, empty, swap, alter_last, copy, from_elsewhere])
@pytest.mark.parametrize("compacted", [False, True])
def test_damaged_commits_are_found_and_named(
    here: Here, opened: Callable[..., Here], harm: Callable[[list[Path]], Path], compacted: bool
) -> None:
    for place in range(4):
        here.store.append(EVENTS, rows(place))
    if compacted:
        here.store.compact(EVENTS)
    harmed = harm(commits(here))
    before = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()}
    later = opened().store
    uses: list[Callable[[], Any]] = [
        lambda: later.state(EVENTS),
        lambda: later.append(EVENTS, rows(9)),
        lambda: later.compact(EVENTS),
    ]
    for use in uses:
        with refused(BlobCorrupt, harmed.name):
            use()
    left = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()}
    assert left == before


def test_a_commit_that_goes_while_a_store_is_open_is_missed(here: Here) -> None:
    for place in range(3):
        here.store.append(EVENTS, rows(place))
    here.store.state(EVENTS)
    commits(here)[-1].unlink()
    with refused(BlobCorrupt, "00000003.json"):
        here.store.append(EVENTS, rows(9))


def test_a_definition_that_is_damaged_is_told(here: Here, opened: Callable[..., Here]) -> None:
    here.store.append(EVENTS, rows(1))
    path = here.folder / "events" / "table.json"
    path.write_bytes(path.read_bytes()[:20])
    with refused(BlobCorrupt, "table.json"):
        opened().store.state(EVENTS)
    path.unlink()
    with refused(BlobCorrupt, "table.json"):
        opened().store.state(EVENTS)


def test_a_data_file_that_was_altered_or_lost_is_found(here: Here) -> None:
    here.store.append(EVENTS, rows(*range(100)))
    here.store.append(EVENTS, rows(200))
    log = here.store.log(spec_of(EVENTS))
    assert log.verify() == 2
    path = here.folder.parent / log.state().files[0].path
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[:50] + bytes([whole_file[50] ^ 1]) + whole_file[51:])
    with refused(BlobCorrupt, path.name, "altered"):
        log.verify()
    path.unlink()
    with refused(BlobCorrupt, path.name, "missing"):
        log.verify()
    with refused(TableNotFound, path.name):
        values(here.store)
    path.write_bytes(whole_file)
    assert log.verify() == 2


def test_many_batches_do_not_have_to_be_open_at_once(here: Here) -> None:
    resource = pytest.importorskip("resource")
    for place in range(120):
        here.store.append(EVENTS, rows(place))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_allowed(60), hard))
    try:
        assert known(here, EVENTS, 0, 119) == [0, 119]
        assert here.store.compact(EVENTS).rows == 120
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert known(here, EVENTS, 0, 119) == [0, 119]


# --- compaction ---------------------------------------------------------------------------------------


CORRECTED = ft.FeatureTable(name="events", key="k", time="t", available="a", id="id")


def many(seed: int, count: int = 60) -> pa.Table:
    rng = np.random.default_rng(seed)
    e, lag = rng.integers(0, 40, count), rng.integers(-5, 20, count)
    return pa.table(
        {
            "k": rng.integers(0, 3, count),
            "t": moments(*e),
            "a": moments(*(e + lag)),
            "id": rng.integers(0, 20, count),
            "x": pa.array(rng.integers(0, 99, count), mask=rng.random(count) < 0.2),
            "s": [str(number) for number in rng.integers(0, 9, count)],
        }
    )


def answers(store: ft.Store) -> pa.Table:
    table = CORRECTED
    features = [
        table.latest("x", max_age="10s"),
        table.latest("s"),
        table.sum("x", "15s"),
        table.count("15s"),
        table.first("s", "20s"),
        table.last("x", "5s"),
    ]
    labels = pa.table({"k": [key for key in range(3) for _ in range(70)], "asked_at": moments(*list(range(70)) * 3)})
    view = ft.FeatureView(name="v", tables=[table], features=features)
    return store.train(view, labels, status=True, reuse=False).frame


def test_compaction_changes_no_answer(
    here: Here, opened: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        here.store.append(CORRECTED, many(seed))
    before = answers(here.store)
    log = here.store.log(spec_of(CORRECTED))
    for step in range(3):
        monkeypatch.setattr("fullcircle.features.compaction.ROWS_A_FILE", 70 + step)
        done = here.store.compact(CORRECTED)
        assert done.rows == 300 + 60 * step
        assert 0 < done.settled < done.rows
        state = here.store.state(CORRECTED)
        assert state.settled
        assert {file.part for file in state.files} == {"settled", "rest"}
        assert sum(file.rows for file in state.files if file.part == "settled") == done.settled
        assert sum(file.rows for file in state.files) == done.rows
        assert (done.files, done.bytes) == (len(state.files), sum(file.bytes for file in state.files))
        assert log.verify() == len(state.files)
        for store in (here.store, opened().store):
            assert answers(store).equals(before)
        here.store.append(CORRECTED, many(10 + step))
        assert not here.store.state(CORRECTED).settled
        before = answers(here.store)


def test_compaction_of_what_is_compacted_or_empty_does_nothing(here: Here) -> None:
    nothing = here.store.compact(EVENTS)
    assert (nothing.commit, nothing.rows, nothing.files) == (0, 0, 0)
    assert not here.folder.exists()
    here.store.append(EVENTS, rows(1, 2))
    done = here.store.compact(EVENTS)
    assert done.commit == 2
    assert here.store.compact(EVENTS) == done
    assert len(commits(here)) == 2
    with refused(FeatureInvalid, "'lots'"):
        here.store.compact(EVENTS, memory="lots")


def test_a_row_that_is_appended_while_a_compaction_runs_wins(tmp_path: Path) -> None:
    place = Meddled(open_place(str(tmp_path), "features"))
    compacting, other = (
        TableLog(place, spec_of(EVENTS)),
        TableLog(open_place(str(tmp_path), "features"), spec_of(EVENTS)),
    )
    compacting.append(rows(1))
    place.before_commit = lambda: other.append(rows(2), batch="b")
    done = compact(compacting)
    assert (done.rows, done.commit) == (2, 3)
    assert other.state().rows == 2
    assert other.append(rows(2), batch="b").already
    assert len(list((tmp_path / "tables/events/data").iterdir())) == 2 + len(other.state().files)

    def always() -> None:
        other.append(rows(100 + other.state().number))
        place.before_commit = always

    always()
    done = compact(compacting)  # gives up, and leaves everything as it is
    assert not compacting.state().settled
    assert done.rows == compacting.state().rows == 3 + 5
    assert compacting.verify() == len(compacting.state().files)


def files(here: Here) -> set[str]:
    return {path.name for path in (here.folder / "events" / "data").iterdir()}


def present(here: Here) -> set[str]:
    return {file.path.rpartition("/")[2] for file in here.store.state(EVENTS).files}


def test_files_that_a_compaction_replaced_go_with_the_first_one_a_day_later(here: Here) -> None:
    here.store.append(EVENTS, rows(1))
    here.store.append(EVENTS, rows(2))
    first = files(here)
    here.store.compact(EVENTS)
    assert first < files(here)
    here.clock.now += DAY - 1
    here.store.append(EVENTS, rows(3))
    here.store.compact(EVENTS)
    assert first < files(here)
    second = files(here) - first - present(here)
    here.clock.now += 2
    here.store.append(EVENTS, rows(4))
    here.store.compact(EVENTS)
    third = files(here) - first - second - present(here)
    assert not first & files(here)
    assert second <= files(here)
    assert third
    here.clock.now += DAY + 1
    here.store.compact(EVENTS)  # nothing was appended: what is old goes all the same
    assert files(here) == present(here)
    whole(here, [1, 2, 3, 4])


def orphan(here: Here, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What a process leaves that is killed between its rows and its commit."""
    before = files(here)

    class Killed(BaseException):
        pass

    link = os.link

    def killed(source: Any, target: Any) -> None:
        if "commits" in str(target):
            raise Killed
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(Killed):
            here.store.append(EVENTS, rows(77))
    return files(here) - before


def test_what_killed_processes_left_goes_once_nobody_can_commit_it(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.store.append(EVENTS, rows(1))
    left = orphan(here, monkeypatch)
    assert len(left) == 1
    here.store.append(EVENTS, rows(2))
    here.store.compact(EVENTS)
    assert left < files(here)
    here.clock.now += DAY + 1
    here.store.compact(EVENTS)  # without a commit there is no new fence
    assert left < files(here)
    late = orphan(here, monkeypatch)
    here.store.append(EVENTS, rows(3))
    here.store.compact(EVENTS)
    assert not left & files(here)
    assert late <= files(here)
    whole(here, [1, 2, 3])
    assert here.store.append(EVENTS, rows(77)).commit == 6


def test_who_was_slower_than_the_fence_writes_rows_anew(tmp_path: Path) -> None:
    """A process that sleeps for days between its rows and its commit loses its files, and none of its rows."""
    clock = Clock()
    place = Meddled(open_place(str(tmp_path), "features"))
    slow = TableLog(place, spec_of(EVENTS), clock=clock)
    other = TableLog(open_place(str(tmp_path), "features"), spec_of(EVENTS), clock=clock)
    slow.append(rows(1))
    data = tmp_path / "tables/events/data"
    seen: list[set[str]] = []

    def days_pass() -> None:
        seen.append({path.name for path in data.iterdir()})
        other.append(rows(2))
        clock.now += 2 * DAY
        compact(other)
        seen.append({path.name for path in data.iterdir()})
        place.before_commit = lambda: other.append(rows(3))  # and once more, so that it commits behind the fence

    place.before_commit = days_pass
    done = slow.append(rows(4, 5))
    assert len(seen[0] - seen[1]) == 1  # its file is gone
    assert done.commit == 5
    assert slow.state().rows == 5
    assert slow.verify() == len(slow.state().files)
    state = slow.state()
    found = slow.files(state.files, dict(state.columns)).read(["x"]).column("x").to_pylist()
    assert sorted(found) == [1, 2, 3, 4, 5]


def test_files_of_another_name_are_left_alone(here: Here) -> None:
    here.store.append(EVENTS, rows(1))
    strange = here.folder / "events" / "data" / "notes.txt"
    strange.write_text("mine")
    here.store.append(EVENTS, rows(2))
    here.clock.now += 2 * DAY
    here.store.compact(EVENTS)
    here.clock.now += 2 * DAY
    here.store.compact(EVENTS)
    assert files(here) == {"notes.txt", *present(here)}


def test_commits_are_text_that_people_can_read(here: Here) -> None:
    here.store.append(EVENTS, rows(1), batch="a")
    line, seal, end = commits(here)[0].read_text().split("\n")
    assert (len(seal), end) == (64, "")
    assert json.loads(line)["batches"].keys() == {"a"}
    assert logs.KEPT == DAY
