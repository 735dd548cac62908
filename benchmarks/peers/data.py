"""The data that ours and theirs are measured on, from a seed; and large files of it, written by DuckDB.

``python -m benchmarks.peers.data ROWS FOLDER`` writes as many labels as rows, in a process whose memory is its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

START = np.datetime64("2025-01-01T00:00:00", "us")
YEAR = 365 * 86_400  # seconds
LATE = np.timedelta64(60, "s")  # from when something happens until it is known


def feature_rows(count: int, users: int, *, columns: int = 10, seed: int = 0, each: bool = False) -> pa.Table:
    """Rows of ``user_id``, ``event_timestamp``, ``created`` and floats ``f0``, ``f1``...; ``each``: one a user."""
    draw = np.random.default_rng(seed)
    happened = np.sort(draw.integers(0, YEAR, count)).astype("timedelta64[s]") + START
    user = draw.permutation(count) % users if each else draw.integers(0, users, count)
    made: dict[str, Any] = {"user_id": user.astype(np.int64)}
    made["event_timestamp"] = _times(happened)
    made["created"] = _times(happened + LATE)
    for place in range(columns):
        made[f"f{place}"] = draw.normal(size=count)
    return pa.table(made)


def label_rows(count: int, users: int, *, seed: int = 1) -> pa.Table:
    """Rows of ``user_id`` and ``event_timestamp``, in no order."""
    draw = np.random.default_rng(seed)
    user = draw.integers(0, users, count).astype(np.int64)
    return pa.table(
        {"user_id": user, "event_timestamp": _times(START + draw.integers(0, YEAR, count).astype("timedelta64[s]"))}
    )


def _times(values: Any) -> Any:
    return pa.array(values, pa.timestamp("us", "UTC"))


def large(rows: int, folder: Path) -> None:
    """``labels.parquet`` and ``rows.parquet`` of this many rows, ten floats in the latter, ten rows a user."""
    import duckdb

    users = max(rows // 10, 1)
    user = f"(hash(range * 2 + {{}}) % {users})::bigint as user_id"
    happened = f"timestamptz '2025-01-01 00:00:00+00' + to_seconds((hash(range * 3 + {{}}) % {YEAR})::bigint)"
    floats = ", ".join(f"(hash(range * 11 + {place}) % 1000003)::double / 1000 as f{place}" for place in range(10))
    with duckdb.connect() as connection:
        connection.execute("set memory_limit = '1GB'")
        for name, seed, more in (("labels", 1, ""), ("rows", 0, f", {floats}")):
            columns = f"{user.format(seed)}, {happened.format(seed)} as event_timestamp{more}"
            target = str(folder / f"{name}.parquet").replace("'", "''")
            connection.execute(
                f"copy (select {columns} from range({rows})) to '{target}' (format parquet, compression zstd)"  # noqa: S608  # numbers and our own path
            )


if __name__ == "__main__":
    large(int(sys.argv[1]), Path(sys.argv[2]))
