"""Origins: which rows of which tables the features of a prediction came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fullcircle.features import history, training
from fullcircle.features.commits import ROWS_A_COMMIT
from fullcircle.features.engine import OfflineEngine
from fullcircle.features.joining import questions
from fullcircle.features.keys import key_columns
from fullcircle.features.reading import index_of
from fullcircle.types.definitions import TableSpec, ViewSpec


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where features of one table came from: the row that answers latest values, and the events of its windows.

    ``features`` are their names. ``event``, ``available`` (times in UTC, ISO 8601), ``commit`` and ``row`` (its place
    among the rows of that commit) are of the latest row, None where there is none; ``batch`` is the id it was
    appended with. ``events`` is how many rows of the key were known at that moment.
    """

    table: str
    features: tuple[str, ...]
    event: str | None
    available: str | None
    commit: int | None
    row: int | None
    batch: str | None
    events: int


def origins(
    spec: ViewSpec, tables: training.Tables, row: Mapping[str, Any], moment: int, engine: OfflineEngine
) -> tuple[Origin, ...]:
    """The origins of the features of a row asked at a moment (nanoseconds since 1970), one for each table."""
    labels = history.labels_of(spec, [row], [moment])
    return tuple(_origin(spec, table, tables, labels, moment, engine) for table in spec.tables)


def _origin(
    spec: ViewSpec, table: TableSpec, tables: training.Tables, labels: Any, moment: int, engine: OfflineEngine
) -> Origin:
    import numpy as np
    import pyarrow.compute as pc

    log, state = tables[table.name]
    names = tuple(feature.name for feature in spec.features if feature.table == table.name)
    index = index_of(log, state, state.files)
    asked = questions(key_columns(labels, spec.keys[table.name], "the request"), np.array([moment]), spec.closed)
    (place,) = engine.positions(asked, index)
    mine = np.ones(index.num_rows, dtype=bool)
    for name in (name for name in index.column_names if name.startswith("k")):
        mine &= np.asarray(pc.equal(index.column(name), asked.column(name)[0]))
    known = mine & (np.maximum(index.column("e").to_numpy(), index.column("a").to_numpy()) <= moment)
    if place < 0:
        return Origin(
            table=table.name, features=names, event=None, available=None, commit=None, row=None, batch=None, events=0
        )
    e, a, s = (int(index.column(name)[int(place)].as_py()) for name in ("e", "a", "s"))
    commit = s // ROWS_A_COMMIT
    return Origin(
        table=table.name,
        features=names,
        event=_iso(e),
        available=_iso(a),
        commit=commit,
        row=s % ROWS_A_COMMIT,
        batch=log.batch(commit),
        events=int(known.sum()),
    )


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{moment % 10**9:09d}Z"
