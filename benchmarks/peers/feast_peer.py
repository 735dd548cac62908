"""Feast as a peer, run by the Python of its environment: ``feast_peer.py dask|duckdb`` in a folder of its own."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # type: ignore
from feast.types import Float64  # type: ignore

warnings.simplefilter("ignore")
SPAN = (datetime(2024, 12, 31, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


class Peer:
    """One view in one store; ``fresh`` makes another of both."""

    def __init__(self, offline: str) -> None:
        self._offline, self._made = offline, 0
        self._store: Any = None
        self._online = Path()
        self._view: dict[str, Any] = {}
        self._features: list[str] = []
        self._labels: Any = None

    def view(self, path: str, columns: int) -> dict[str, Any]:
        """Define a view of floats over a Parquet file."""
        self._view = {"path": path, "columns": columns}
        self._fresh()
        return {}

    def labels(self, path: str) -> dict[str, Any]:
        """Read the labels, as pandas, which is what Feast takes."""
        self._labels = pd.read_parquet(path)
        return {"rows": len(self._labels)}

    def join(self) -> dict[str, Any]:
        """Labels with features, as pandas."""
        begun = time.perf_counter()
        found = self._store.get_historical_features(self._labels, self._features).to_df()
        return {"seconds": time.perf_counter() - begun, "rows": len(found), "values": int(found["f0"].notna().sum())}

    def materialize(self) -> dict[str, Any]:
        """Everything into a new SQLite file."""
        self._fresh()
        begun = time.perf_counter()
        self._store.materialize(*SPAN)
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "bytes": sum(path.stat().st_size for path in self._online.parent.glob("*.db*"))}

    def get(self, requests: list[list[int]]) -> dict[str, Any]:
        """The median of these requests, each the users of its rows."""
        taken = []
        for users in requests:
            rows = [{"user_id": user} for user in users]
            begun = time.perf_counter()
            found = self._store.get_online_features(self._features, rows).to_dict()
            taken.append(time.perf_counter() - begun)
            assert None not in found["f0"], "a value is missing"
        return {"seconds": sorted(taken)[len(taken) // 2]}

    def _fresh(self) -> None:
        self._made += 1
        folder = Path(f"feast-{os.getpid()}-{self._made}").absolute()
        folder.mkdir()
        self._online = folder / "online.db"
        config = RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.pb"),
            online_store={"type": "sqlite", "path": str(self._online)},
            offline_store={"type": self._offline},
            entity_key_serialization_version=3,
        )
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
        columns = [f"f{place}" for place in range(self._view["columns"])]
        source = FileSource(
            path=self._view["path"], timestamp_field="event_timestamp", created_timestamp_column="created"
        )
        view = FeatureView(
            name="rows",
            entities=[user],
            ttl=timedelta(0),
            schema=[Field(name=name, dtype=Float64) for name in columns],
            source=source,
        )
        self._store = FeatureStore(config=config)
        self._store.apply([user, view])
        self._features = [f"rows:{name}" for name in columns]


def main() -> None:
    """Answer until there is nothing more to read. What Feast prints must not get among the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(getattr(peer, asked.pop("do"))(**asked)) + "\n")
        answers.flush()


main()
