"""A feature table as an engine and the kernel take it: keys and times of its rows, values where they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fullcircle.features import keys, windows
from fullcircle.features.commits import DataFile, TableState
from fullcircle.features.kinds import is_time
from fullcircle.features.log import AVAILABLE, EVENT, NUMBER, TableLog


def index_of(log: TableLog, state: TableState, files: Sequence[DataFile]) -> Any:
    """The rows of these files as an engine takes them: k0, k1, ..., e, a, s. Shape (rows,)."""
    import pyarrow as pa

    source = log.files(files, dict(state.columns))
    table = source.read([*log.spec.key, EVENT, AVAILABLE])
    parts = keys.key_columns(table, log.spec.key, f"the feature table {log.spec.name!r}")
    names = [f"k{place}" for place in range(len(parts))]
    numbers = pa.array(numbers_of(log, state, files))
    return pa.table([*parts, table.column(EVENT), table.column(AVAILABLE), numbers], names=[*names, "e", "a", "s"])


def numbers_of(log: TableLog, state: TableState, files: Sequence[DataFile]) -> Any:
    """The number of each row: as it was appended, or as a compaction wrote it down."""
    import numpy as np

    found = [np.zeros(0, dtype=np.int64)]
    for file in files:
        if file.base is not None:
            found.append(np.arange(file.base, file.base + file.rows))
        else:
            stored = log.files([file], {**state.columns, NUMBER: "int64"}).read([NUMBER])
            found.append(stored.column(NUMBER).to_numpy())
    return np.concatenate(found)


def column_of(array: Any, kind: str) -> windows.Column:
    """A column as the kernel takes it; of what is no number or time only which values are null."""
    import numpy as np
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    valid = np.asarray(array.is_valid()) if array.null_count else None
    if is_time(kind):
        array = array.cast(pa.int32() if kind == "date" else pa.int64())
    elif kind in ("text", "bytes") or kind.startswith(("decimal", "list")):
        return windows.Column(np.zeros(len(array), dtype=np.int64), valid)
    if array.null_count:
        array = array.fill_null(False if kind == "bool" else 0)
    return windows.Column(np.asarray(array), valid)
