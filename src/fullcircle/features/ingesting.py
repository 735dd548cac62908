"""Ingesting: the rows of a source that a table does not hold yet.

A source may grow, and may be read again and again.
"""

from __future__ import annotations

from typing import Any

from fullcircle.features import frames
from fullcircle.features.log import TableLog


def new_rows(log: TableLog, frame: Any) -> Any:
    """The rows of a pandas frame that are not in the table, in order; a row that is there twice counts twice."""
    import numpy as np

    state = log.state()
    if not state.rows:
        return frame
    table, _ = frames.to_arrow(frame, f"the source of {log.spec.name!r}")
    names = [name for name in table.column_names if name in state.columns]
    stored = frames.to_pandas(log.files(state.files, dict(state.columns)).read(names))
    there, coming = _keys(stored), _keys(frames.to_pandas(frames.normal(table.select(names), "the source")))
    known, counts = np.unique(there, return_counts=True)
    # The n-th row of one content is new where the table holds fewer than n of them.
    order = np.argsort(coming, kind="stable")
    ordered = coming[order]
    begins = np.searchsorted(ordered, ordered, side="left")
    nth = np.empty(len(coming), dtype=np.int64)
    nth[order] = np.arange(len(coming)) - begins
    place = np.searchsorted(known, coming)
    found = (place < len(known)) & (known[np.minimum(place, len(known) - 1)] == coming)
    held = np.where(found, counts[np.minimum(place, len(counts) - 1)], 0)
    return frame[nth >= held].reset_index(drop=True)


def _keys(frame: Any) -> Any:
    from fullcircle.tables.keys import row_keys

    return row_keys(frame)
