"""Kill -9 at any moment of appending, publishing and compacting: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fullcircle import features as ft

# What tests and children share: a table, a view, and batch N of rows.
SHARED = """
import pyarrow as pa
from pathlib import Path
from fullcircle import features as ft
from fullcircle.settings import load
START = 1_735_689_600 * 10**9
table = ft.FeatureTable(name="events", key="k", time="t", as_of="event", id="id")
view = ft.FeatureView(
    name="all",
    tables=[table],
    features=[table.latest("x"), table.sum("x", "1h"), table.count("1h"), table.last("s", "1h")],
)

def clock():
    return START + 3000 * 10**9 + days * 86_400 * 10**9

days = 0

def rows(number):
    ids = [number * 2, number * 2 + 1]
    times = pa.array([START + one * 10**9 for one in ids], pa.timestamp("ns", "UTC"))
    table = pa.table({"t": times, "x": ids, "k": [one % 3 for one in ids], "id": [one // 3 for one in ids]})
    return table.append_column("s", pa.array([str(one) * 20 for one in ids]))

def store_at(folder):
    places = dict.fromkeys(["ledger", "online", "features"], "")
    flags = {"workspace": "ws", "config": "config", "actor": "child", **places}
    return ft.Store.open(load(flags, Path(folder)), clock=clock)
"""
HEAVY = """
import duckdb, pandas, platformdirs, pyarrow.parquet, pyarrow.compute, pyarrow.pandas_compat, sqlalchemy
import cryptography.hazmat.primitives.asymmetric.ed25519
import fullcircle.ledger.audit, fullcircle.ledger.sqlite, fullcircle.features.store
import fullcircle.features.engines.duckdb, fullcircle.features.stores.sqlite, fullcircle.features.functions
"""
shared: dict[str, Any] = {}
exec(SHARED, shared)  # noqa: S102 - the same text runs in children
VIEW, TABLE = shared["view"], shared["table"]


@contextmanager
def store_at(folder: Path, days: int = 0) -> Iterator[ft.Store]:
    shared["days"] = days
    with shared["store_at"](folder) as store:
        yield store


def content(store: ft.Store) -> dict[str, list[Any]]:
    """All rows in order of their time; every file is whole."""
    state = store.state(TABLE)
    (spec,) = store.define(VIEW).tables
    log = store.log(spec)
    assert log.verify() == len(state.files)
    found = log.files(state.files, dict(state.columns)).read(["t", "x", "k", "id", "s"])
    assert state.rows == found.num_rows
    return dict(found.sort_by([("x", "ascending")]).to_pydict())


def expected(batches: int) -> dict[str, list[Any]]:
    return dict(pa.concat_tables([shared["rows"](number) for number in range(batches)]).to_pydict())


def trained(store: ft.Store) -> Any:
    moments = [shared["START"] + second * 10**9 for second in range(0, 60, 3)]
    labels = pa.table(
        {
            "k": [key for key in range(3) for _ in moments],
            "asked_at": pa.array(moments * 3, pa.timestamp("ns", "UTC")),
        }
    )
    return store.train(VIEW, labels, status=True, reuse=False).frame.to_pydict()


def online(store: ft.Store) -> Any:
    return store.get(VIEW, [{"k": key} for key in range(4)], status=True)


def run(script: str, *arguments: object) -> str:
    """The output of a child that starts and kills others."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


# --- at random moments --------------------------------------------------------------------------------

RANDOM = f"""
import os, random, re, signal, sys, time
{HEAVY}
rng = random.Random(int(sys.argv[2]))
acknowledged = -1
for _ in range(int(sys.argv[3])):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        exec(sys.argv[4])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as output:
        # Some get beyond the three batches that they only repeat, however slow the machine is.
        begun = [output.readline() for _ in range(1 + rng.randrange(8))]
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        said = "".join(begun) + output.read()
        print(said)
        acknowledged = max([acknowledged, *map(int, re.findall(r"^safe (\\d+)\\n", said, flags=re.MULTILINE))])
    print("ended by", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
WORK = (
    SHARED
    + """
with store_at(sys.argv[1]) as store:
    print("ready", flush=True)
    for number in range(max(0, acknowledged - 2), 100_000):
        done = store.append(table, rows(number), batch=str(number))
        print("safe", number, flush=True)
        if number % 4 == 3:
            print("compacted", store.compact(table).rows, flush=True)
        if number % 5 == 4:
            print("published", store.publish(view)[0].commit, flush=True)
"""
)
KILLS = 20


def test_a_kill_at_a_random_moment_loses_nothing(tmp_path: Path) -> None:
    output = run(RANDOM, tmp_path, 11, KILLS, WORK)
    assert output.count("ended by -9") == KILLS, output
    safe = {int(number) for number in re.findall(r"^safe (\d+)$", output, flags=re.MULTILINE)}
    assert len(safe) > 10
    assert "compacted" in output
    assert "published" in output
    with store_at(tmp_path) as store:
        there = {int(name) for name in store.state(TABLE).batches}
        assert safe <= there
        count = max(there) + 1
        assert there == set(range(count))
        assert content(store) == expected(count)
        again = [store.append(TABLE, shared["rows"](number), batch=str(number)) for number in range(count + 1)]
        assert [one.already for one in again] == [True] * count + [False]
        assert content(store) == expected(count + 1)
        store.publish(VIEW)
        store.compact(TABLE)
        found = online(store), trained(store), content(store)
    (tmp_path / "never killed").mkdir()
    with store_at(tmp_path / "never killed") as store:
        for number in range(count + 1):
            store.append(TABLE, shared["rows"](number))
        store.publish(VIEW)
        assert (online(store), trained(store), content(store)) == found


# --- at every operation -------------------------------------------------------------------------------

# Death comes just before the N-th operation that changes something on a disk, for every N.
EVERY = f"""
import os, shutil, signal, sys, traceback
{HEAVY}
from fullcircle.ledger.ledger import Ledger
from fullcircle.features.stores.sqlite import SqliteOnlineStore
left = 0

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(home, name):
    call = getattr(home, name)
    def through(*given, **options):
        step()
        if name == "update":  # and within the transaction
            *rest, merge = given
            given = (*rest, lambda present: (found := merge(present), step())[0])
        return call(*given, **options)
    setattr(home, name, through)

for home, names in [(os, ["fsync", "link", "replace", "unlink", "mkdir"]), (Ledger, ["append"]),
                    (SqliteOnlineStore, ["update", "set_note"])]:
    for name in names:
        counted(home, name)

for number in range(1, 500):
    folder = os.path.join(sys.argv[2], f"{{number:03d}}")
    shutil.copytree(sys.argv[1], folder)
    child = os.fork()
    if child == 0:
        try:
            exec(sys.argv[3])
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("ended by", ended, flush=True)
    if ended != -9:
        break
"""
DYING = (
    SHARED
    + """
days = {days}
with store_at(folder) as store:
    store.state(table)
    left = number
    {what}
    left = 0
"""
)


def killed_everywhere(base: Path, what: str, least: int, days: int = 0) -> list[Path]:
    """Copies of a workspace, in each of which a child died one operation later; in the last it did not."""
    work = base.parent / "copies"
    work.mkdir()
    output = run(EVERY, base, work, DYING.replace("{days}", str(days)).replace("{what}", what))
    ends = re.findall(r"^ended by (-?\d+)$", output, flags=re.MULTILINE)
    assert ends[-1] == "0", output
    assert set(ends[:-1]) == {"-9"}
    assert len(ends) > least, len(ends)
    return sorted(work.iterdir())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A workspace of five batches, compacted after the second, published after the third."""
    folder = tmp_path / "base"
    folder.mkdir()
    with store_at(folder) as store:
        for number in range(5):
            store.append(TABLE, shared["rows"](number), batch=str(number))
            if number == 1:
                store.compact(TABLE)
            if number == 2:
                store.publish(VIEW)
    return folder


def test_a_kill_at_every_operation_of_an_append(base: Path) -> None:
    appended = []
    for folder in killed_everywhere(base, 'store.append(table, rows(5), batch="5")', 15):
        with store_at(folder) as store:
            there = "5" in store.state(TABLE).batches
            appended.append(there)
            assert content(store) == expected(5 + there)
            assert store.append(TABLE, shared["rows"](5), batch="5").already == there
            assert content(store) == expected(6)
        shutil.rmtree(folder)
    assert appended == sorted(appended)  # from one operation on it is there
    assert appended[0] is False
    assert appended[-1] is True


def test_a_kill_at_every_operation_of_the_first_append(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with store_at(tmp_path / "base"):
        pass
    for folder in killed_everywhere(tmp_path / "base", 'store.append(table, rows(0), batch="0")', 20):
        with store_at(folder) as store:
            there = "0" in store.state(TABLE).batches
            assert store.append(TABLE, shared["rows"](0), batch="0").already == there
            assert content(store) == expected(1)
        shutil.rmtree(folder)


def test_a_kill_at_every_operation_of_a_compaction(base: Path) -> None:
    """Days later, so that it removes files too. What a killed one leaves goes days later still."""
    with store_at(base) as store:
        before, all_rows = trained(store), content(store)
        asked = online(store)
    for number, folder in enumerate(killed_everywhere(base, "store.compact(table)", 20, days=2)):
        with store_at(folder, days=2) as store:
            assert (trained(store), content(store)) == (before, all_rows)
            store.compact(TABLE)
            assert store.state(TABLE).settled
            assert content(store) == all_rows
            if number % 5 == 0:  # the same rows in the same files give the same features
                assert trained(store) == before
        with store_at(folder) as store:
            assert online(store) == asked
        if number % 10 == 0:
            cleaned(folder)
        shutil.rmtree(folder)


def cleaned(folder: Path) -> None:
    """After some more compactions every data file is one of the table's."""
    for days in (4, 6):
        with store_at(folder, days=days) as store:
            store.append(TABLE, shared["rows"](days))
            store.compact(TABLE)
    with store_at(folder, days=8) as store:
        store.compact(TABLE)
        state = store.state(TABLE)
    data = folder / "ws" / "features" / "tables" / "events" / "data"
    assert {path.name for path in data.iterdir()} == {Path(file.path).name for file in state.files}


@pytest.mark.parametrize("fresh", [False, True], ids=["going on", "from the start"])
def test_a_kill_at_every_operation_of_a_publish(base: Path, fresh: bool) -> None:
    if fresh:
        (base / "ws" / "online.db").unlink()
    *killed, whole = killed_everywhere(base, "store.publish(view)", 5)
    with store_at(whole) as store:
        wanted = online(store)
        assert [row["k"] if "k" in row else row["x"] for row in wanted[:3]] == [9, 7, 8]
    for folder in killed:
        with store_at(folder) as store:
            store.publish(VIEW)
            assert online(store) == wanted
            assert store.publish(VIEW)[0].keys == 0
            assert online(store) == wanted
        shutil.rmtree(folder)
