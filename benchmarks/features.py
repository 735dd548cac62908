"""How fast features are: point-in-time joins, publishing and online answers, beside Feast and DuckDB's own join.

Ours and theirs alternate and medians are compared. Feast runs in an environment of its own, kept in memory between
the measurements. Where it takes long it is measured three times instead of nine; the row says so.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.peers.data import feature_rows, label_rows
from benchmarks.peers.talking import FEAST, PROGRAMS, Peer, feast, interleaved
from benchmarks.rows import ROOT, Row, once
from fullcircle import features as ft
from fullcircle.settings import load

ROWS, LABELS, USERS = 1_000_000, 100_000, 10_000
LARGE = 10_000_000  # labels, and rows
WIDE = 200  # features of the wide view
KEYS = 100_000  # keys published
APPENDS = 10  # of the table that is not compacted
MEMORY = "700MB"  # of the engine in the large join
GROUP = 122_880  # rows of a row group, as DuckDB writes them: it reads them in parallel

DASK, DUCK = f"Feast {FEAST}, its default", f"Feast {FEAST}, duckdb"
ASOF = """select e.*, f.* exclude (user_id, event_timestamp, created) from read_parquet('{labels}') e
    asof left join read_parquet('{rows}') f on e.user_id = f.user_id and e.event_timestamp >= f.event_timestamp"""


def rows() -> list[Row]:
    """All measurements, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fullcircle-features-") as name:
        folder = Path(name)
        python = feast(folder / "feast")
        return [*_joins(folder, python), *_large(folder), *_answers(folder, python), *_publishing(folder, python)]


# --- joins --------------------------------------------------------------------------------------------


def _joins(folder: Path, python: Path) -> list[Row]:
    files = {name: folder / f"{name}.parquet" for name in ("rows", "labels")}
    data, labels = feature_rows(ROWS, USERS), label_rows(LABELS, USERS)
    pq.write_table(data, files["rows"], row_group_size=GROUP)
    pq.write_table(labels, files["labels"], row_group_size=GROUP)
    frame = labels.to_pandas()
    with (
        _store(folder / "joins") as store,
        Peer(python, "feast_peer", "duckdb", folder=folder) as duck,
        Peer(python, "feast_peer", "dask", folder=folder) as dask,
    ):
        for peer in (duck, dask):
            peer.ask("view", path=str(files["rows"]), columns=10)
            peer.ask("labels", path=str(files["labels"]))
        compacted, loose = _view("compacted"), _view("loose")
        store.append(compacted.tables[0], data)
        store.compact(compacted.tables[0])
        for start in range(0, ROWS, -(-ROWS // APPENDS)):
            store.append(loose.tables[0], data.slice(start, -(-ROWS // APPENDS)))
        found = interleaved(
            {
                "compacted": _training(store, compacted, files["labels"]),
                "loose": _training(store, loose, files["labels"]),
                "raw": _raw(files),
                "pandas": _training(store, compacted, frame),
                "duck": duck.seconds("join"),
            }
        )
        slow = interleaved({"pandas": _training(store, compacted, frame), "dask": dask.seconds("join")}, times=3)
        three = _three(store, compacted, files["labels"])
    what = f"join {LABELS:,} labels with {ROWS:,} rows x 10"
    raw: dict[str, Any] = {"peer": found["raw"], "peer_name": "DuckDB ASOF LEFT JOIN over Parquet", "unit": "s"}
    return [
        Row(what=f"{what}, compacted", ours=found["compacted"], goal=1.2 * found["raw"], **raw),
        Row(what=f"{what}, {APPENDS} appends, not compacted", ours=found["loose"], goal=2 * found["raw"], **raw),
        Row(
            what=f"{what}, compacted, pandas to pandas",
            unit="s",
            ours=found["pandas"],
            goal=found["duck"] / 1.5,
            peer=found["duck"],
            peer_name=DUCK,
        ),
        Row(
            what=f"{what}, compacted, pandas to pandas, 3 times",
            unit="s",
            ours=slow["pandas"],
            goal=slow["dask"] / 20,
            peer=slow["dask"],
            peer_name=DASK,
        ),
        three,
    ]


def _three(store: ft.Store, one: ft.FeatureView, labels: Path) -> Row:
    """Three tables in one view, against one of them."""
    views = [one, _view("second"), _view("third")]
    for seed, view in enumerate(views[1:], start=2):
        store.append(view.tables[0], feature_rows(ROWS, USERS, seed=seed))
        store.compact(view.tables[0])
    tables = [table for view in views for table in view.tables]
    features = [table.latest(f"f{place}", name=f"{table.name}_{place}") for table in tables for place in range(10)]
    view = ft.FeatureView(name="three", tables=tables, features=features).with_labels(str(labels), "event_timestamp")
    found = interleaved({"one": _training(store, one, labels), "three": _training(store, view, labels)})
    what = f"join {LABELS:,} labels with three tables of {ROWS:,} rows x 10, compacted"
    return Row(
        what=what, unit="s", ours=found["three"], goal=3 * found["one"], peer=found["one"], peer_name="one table"
    )


def _large(folder: Path) -> list[Row]:
    """As many labels as rows, from files to a file, in a process that may not grow."""
    place = folder / "large"
    place.mkdir()
    once([sys.executable, "-m", "benchmarks.peers.data", str(LARGE), str(place)], cwd=ROOT)
    asked = [sys.executable, str(PROGRAMS / "large_join.py"), str(place), MEMORY]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    written = pq.ParquetFile(place / "out.parquet").metadata.num_rows
    assert written == LARGE, f"{written} rows of {LARGE} were written"
    what = f"join {LARGE:,} labels with {LARGE:,} rows x 10, file to file, once, memory={MEMORY!r}"
    return [
        Row(what=f"{what}: peak of the process", unit="MB", ours=said["bytes"] / 1e6, goal=2000),
        Row(what=what, unit="s", ours=said["seconds"], goal=600),
    ]


def _training(store: ft.Store, view: ft.FeatureView, labels: Any) -> Callable[[], float]:
    source = str(labels) if isinstance(labels, Path) else labels

    def train() -> int:
        return int(store.train(view, source, reuse=False).rows)

    return lambda: _seconds(train, LABELS)


def _raw(files: dict[str, Path]) -> Callable[[], float]:
    import duckdb

    query = ASOF.format(**files)

    def ask() -> int:
        with duckdb.connect() as connection:
            return int(connection.sql(query).to_arrow_table().num_rows)

    return lambda: _seconds(ask, LABELS)


# --- online -------------------------------------------------------------------------------------------


def _answers(folder: Path, python: Path) -> list[Row]:
    one = _answer(folder / "narrow", python, keys=USERS, columns=10, sizes=[1] * 200)
    many = _answer(folder / "wide", python, keys=1000, columns=WIDE, sizes=[100] * 20, matrix=True)
    mappings = _answer(folder / "mappings", python, keys=1000, columns=WIDE, sizes=[100] * 20)
    peer: dict[str, Any] = {"peer_name": f"Feast {FEAST}, SQLite"}
    return [
        Row(what="online, 1 row x 10, p50", unit="µs", ours=one[0] * 1e6, goal=30, peer=one[1] * 1e6, **peer),
        Row(
            what=f"online, 100 rows x {WIDE}, p50, to a matrix",
            unit="ms",
            ours=many[0] * 1e3,
            goal=1,
            peer=many[1] * 1e3,
            **peer,
        ),
        Row(
            what=f"online, 100 rows x {WIDE}, p50, to mappings",
            unit="ms",
            ours=mappings[0] * 1e3,
            goal=mappings[1] * 1e3 / 20,
            peer=mappings[1] * 1e3,
            **peer,
        ),
    ]


def _answer(
    folder: Path, python: Path, *, keys: int, columns: int, sizes: Sequence[int], matrix: bool = False
) -> tuple[float, float]:
    """Seconds of one request, ours and Feast's: the median of the medians of each round."""
    folder.mkdir()
    data = feature_rows(keys, keys, columns=columns, each=True)
    pq.write_table(data, folder / "rows.parquet")
    draw = random.Random(0)
    requests = [[draw.randrange(keys) for _ in range(size)] for size in sizes]
    view = _view("online", columns)
    with _store(folder / "ours") as store, Peer(python, "feast_peer", "duckdb", folder=folder) as peer:
        store.append(view.tables[0], data)
        store.publish(view)
        peer.ask("view", path=str(folder / "rows.parquet"), columns=columns)
        peer.ask("materialize")
        found = interleaved(
            {"ours": _getting(store, requests, matrix), "feast": peer.seconds("get", requests=requests)}
        )
    return found["ours"], found["feast"]


def _getting(store: ft.Store, requests: Sequence[Sequence[int]], matrix: bool) -> Callable[[], float]:
    asked = [[{"user_id": user} for user in users] for users in requests]

    def get() -> float:
        taken = []
        for users in asked:
            request: Any = users if len(users) > 1 else users[0]
            begun = time.perf_counter()
            found = store.matrix("online", request) if matrix else store.get("online", request)
            taken.append(time.perf_counter() - begun)
            first = found["f0"] if isinstance(found, dict) else found[0][0 if matrix else "f0"]
            assert first is not None, "a value is missing"
            assert first == first, "a value is missing"
        return statistics.median(taken)

    return get


def _publishing(folder: Path, python: Path) -> list[Row]:
    """Everything of a table into a new file, ours and Feast's; and how large the file is."""
    place = folder / "publishing"
    place.mkdir()
    data = feature_rows(KEYS, KEYS, each=True)
    pq.write_table(data, place / "rows.parquet")
    view = _view("online")
    with _store(place / "ours") as store:
        store.append(view.tables[0], data)
    sizes: dict[str, float] = {}

    def ours() -> float:
        online = place / f"online-{time.monotonic_ns()}.db"
        with _store(place / "ours", online=f"sqlite:///{online}") as store:
            seconds = _seconds(lambda: store.publish(view)[0].keys, KEYS)
        sizes["ours"] = sum(path.stat().st_size for path in place.glob(f"{online.name}*"))
        return seconds

    with Peer(python, "feast_peer", "duckdb", folder=place) as peer:
        peer.ask("view", path=str(place / "rows.parquet"), columns=10)

        def theirs() -> float:
            said = peer.ask("materialize")
            sizes["feast"] = said["bytes"]
            return float(said["seconds"])

        slow = interleaved({"ours": ours, "feast": theirs}, times=3)
        found = interleaved({"ours": ours})
    name = f"Feast {FEAST}, SQLite"
    values = f"{KEYS:,} keys x 10"
    return [
        Row(
            what=f"publish {values}",
            unit="s",
            ours=found["ours"],
            goal=1,
            peer=slow["feast"],
            peer_name=f"{name}, 3 times",
        ),
        Row(
            what=f"online file of {values}",
            unit="MB",
            ours=sizes["ours"] / 1e6,
            goal=3 * KEYS * 10 * 8 / 1e6,
            peer=sizes["feast"] / 1e6,
            peer_name=name,
        ),
    ]


# --- what they share ----------------------------------------------------------------------------------


@contextmanager
def _store(folder: Path, online: str = "") -> Iterator[ft.Store]:
    settings = load({"workspace": "ws", "config": "config", "actor": "benchmark", "online": online}, folder)
    folder.mkdir(exist_ok=True)
    with ft.Store.open(settings) as store:
        yield store


def _view(name: str, columns: int = 10) -> ft.FeatureView:
    table = ft.FeatureTable(name=name, key="user_id", time="event_timestamp", available="created")
    features = [table.latest(f"f{place}") for place in range(columns)]
    return ft.FeatureView(name=name, tables=[table], features=features).with_labels(
        "labels.parquet", "event_timestamp"
    )


def _seconds(what: Callable[[], int], expected: int) -> float:
    begun = time.perf_counter()
    found = what()
    seconds = time.perf_counter() - begun
    assert found == expected, f"{found} instead of {expected}"
    return seconds
