"""Compaction: a table's rows in few files, those that can be a latest value apart and in order. Nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fullcircle.features import keys
from fullcircle.features.commits import DataFile, Part, TableState
from fullcircle.features.engine import OfflineEngine, find_engine
from fullcircle.features.joining import check_memory
from fullcircle.features.log import AVAILABLE, EVENT, NUMBER, ROWS_A_FILE, TableLog
from fullcircle.features.reading import index_of
from fullcircle.types.progress import Progress, Silent

_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What a compaction came to: ``settled`` rows can be a latest value, ``rest`` are kept for aggregates."""

    table: str
    commit: int
    rows: int
    settled: int
    files: int
    bytes: int


def compact(
    log: TableLog, *, engine: OfflineEngine | None = None, memory: str | None = None, progress: Progress | None = None
) -> Compacted:
    """Rewrite a table's files in order of key and visibility, and commit them in place of all before.

    Files that this replaces stay for readers that have begun; they go with the first compaction a day later, and with
    them what killed processes left. A table on which nothing was appended since the last one is left as it is.
    """
    progress = progress or Silent()
    check_memory(memory)
    for _ in range(_TRIES):
        state = log.state()
        if not state.files or state.settled or _rewritten(log, state, engine or find_engine(), memory, progress):
            break
    log.clean()
    return _told(log, log.state())


def _rewritten(
    log: TableLog, state: TableState, engine: OfflineEngine, memory: str | None, progress: Progress
) -> bool:
    import numpy as np

    index = index_of(log, state, state.files)
    kept = engine.maxima(index, memory=memory)
    visible = np.maximum(index.column("e").to_numpy(), index.column("a").to_numpy())
    (codes,) = keys.codes([[index.column(name) for name in index.column_names if name.startswith("k")]])
    order = np.lexsort((index.column("s").to_numpy(), visible, codes))
    kept = kept[order]
    source = log.files(state.files, dict(state.columns))
    numbers = index.column("s").to_numpy()
    written: list[DataFile] = []
    parts: list[tuple[Part, Any]] = [("settled", order[kept]), ("rest", order[~kept])]
    for part, places in parts:
        for start in range(0, len(places), ROWS_A_FILE):
            chosen = places[start : start + ROWS_A_FILE]
            written.append(log.write(_numbered(source, state, chosen, numbers[chosen]), state, part))
            progress.advance(sum(file.rows for file in written), state.rows)
    if log.commit_compaction(state, written):
        return True
    log.discard(written)
    return False


def _numbered(source: Any, state: TableState, places: Any, numbers: Any) -> Any:
    import pyarrow as pa

    names: Sequence[str] = [*state.columns, EVENT, AVAILABLE]
    return source.take(names, places).append_column(NUMBER, pa.array(numbers))


def _told(log: TableLog, state: TableState) -> Compacted:
    return Compacted(
        table=log.spec.name,
        commit=state.number,
        rows=state.rows,
        settled=sum(file.rows for file in state.files if file.part == "settled"),
        files=len(state.files),
        bytes=sum(file.bytes for file in state.files),
    )
