"""Cases on Feast, run by the Python of its environment: ``feast_cases.py FOLDER`` from cases.json to answers.json.

Four ways: the default offline store and the duckdb one, and the SQLite online store filled from either. Every answer
is a list, for each label, of the rows that came back for it: none, one or several.
"""

from __future__ import annotations

import json
import sys
import warnings
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # type: ignore
from feast import types as kinds

warnings.simplefilter("ignore")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TYPES = {
    "int64": kinds.Int64,
    "float64": kinds.Float64,
    "text": kinds.String,
    "bool": kinds.Bool,
    "decimal(38,10)": kinds.Decimal,
    "list<int64>": kinds.Array(kinds.Int64),
}
KEYS = {"int64": ValueType.INT64, "text": ValueType.STRING, "bool": ValueType.BOOL}
Rows = list[list[list[Any]]]


def opened(case: dict[str, Any], folder: Path, source: Path, offline: str) -> Any:
    """A store with the case's view in it."""
    folder.mkdir(parents=True)
    config = RepoConfig(
        project="cases",
        provider="local",
        registry=str(folder / "registry.pb"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": offline},
        entity_key_serialization_version=3,
    )
    keys = [Entity(name=name, join_keys=[name], value_type=KEYS[kind]) for name, kind in case["keys"].items()]
    view = FeatureView(
        name="rows",
        entities=keys,
        ttl=timedelta(microseconds=case["max_age"] or 0),
        schema=[Field(name=name, dtype=TYPES[kind]) for name, kind in case["columns"].items()],
        source=FileSource(path=str(source), timestamp_field="event_time", created_timestamp_column="available_at"),
    )
    store = FeatureStore(config=config)
    store.apply([*keys, view])
    return store


def offline(case: dict[str, Any], folder: Path, kind: str) -> Rows:
    """The labels with the values known at the time of each."""
    store = opened(case, folder / kind, folder / "rows.parquet", kind)
    labels = pd.DataFrame({name: [key[i] for key, _ in case["labels"]] for i, name in enumerate(case["keys"])})
    times = [at for _, at in case["labels"]]
    labels["event_timestamp"] = pd.to_datetime(pd.Series(times), unit="us", utc=True)
    labels["label"] = range(len(labels))
    features = [f"rows:{name}" for name in case["columns"]]
    found = store.get_historical_features(labels, features, filter_by_created_timestamp=True).to_arrow()
    answers: Rows = [[] for _ in case["labels"]]
    for row in found.to_pylist():
        answers[int(row["label"])].append([row[name] for name in case["columns"]])
    return answers


def online(case: dict[str, Any], folder: Path, kind: str) -> Rows:
    """At the time of each label in turn: bring online what was there by then, and ask."""
    known = folder / f"known-{kind}.parquet"
    table = pq.read_table(folder / "rows.parquet")
    pq.write_table(table, known)
    store = opened(case, folder / f"online-{kind}", known, kind)
    features = [f"rows:{name}" for name in case["columns"]]
    answers: Rows = [[] for _ in case["labels"]]
    for at in sorted({at for _, at in case["labels"]}):
        moment = EPOCH + timedelta(microseconds=at)
        there = table.filter(pc.less_equal(table["available_at"], pa.scalar(moment, table["available_at"].type)))
        if there.num_rows:
            pq.write_table(there, known)
            store.materialize(EPOCH - timedelta(days=365), moment)
        asked = [place for place, (_, time) in enumerate(case["labels"]) if time == at]
        rows = [dict(zip(case["keys"], case["labels"][place][0], strict=True)) for place in asked]
        found = store.get_online_features(features, rows).to_dict()
        for i, place in enumerate(asked):
            answers[place].append([found[name][i] for name in case["columns"]])
    return answers


def tried(ask: Any, *arguments: Any) -> dict[str, Any]:
    """The answer, or the error."""
    try:
        return {"rows": ask(*arguments)}
    except Exception as error:  # noqa: BLE001  # whatever Feast raises is its answer
        return {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}


def plain(value: Any) -> Any:
    """What JSON does not know: numpy's arrays and numbers, and decimals as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def main(folder: Path) -> None:
    """All cases, each in a folder of its own."""
    found = {}
    for case in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        place = folder / case["id"]
        found[case["id"]] = {
            "dask": tried(offline, case, place, "dask"),
            "duckdb": tried(offline, case, place, "duckdb"),
            "online dask": tried(online, case, place, "dask"),
            "online duckdb": tried(online, case, place, "duckdb"),
        }
    names = ("feast", "dask", "duckdb", "ibis-framework", "pandas", "pyarrow")
    told = {"versions": {name: version(name) for name in names}, "answers": found}
    (folder / "answers.json").write_text(json.dumps(told, default=plain), encoding="utf-8")


main(Path(sys.argv[1]))
