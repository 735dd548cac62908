"""The column of event time: what may stand in it, and which rows are within a table's bounds."""

from __future__ import annotations

from typing import Any

from fullcircle.errors import ColumnMissing, ProjectInvalid, TableUnreadable
from fullcircle.types.table import Table


def within(table: Table, name: str, frame: Any) -> Any:
    """The rows of ``frame`` within the bounds of ``table``, its time as datetime64[ns] in UTC without a zone.

    ``name`` is what to call the table in an error: ColumnMissing, TableUnreadable or ProjectInvalid.
    """
    if table.time is None:
        return frame
    if table.time not in frame.columns:
        raise ColumnMissing(
            f"{name} has no column {table.time!r}, which is declared as its time",
            received=", ".join(map(str, frame.columns[:20])),
            next_step="name the column of time, or make it in prepare",
        )
    times = parsed(name, frame[table.time])
    frame = frame.assign(**{table.time: times})
    if table.since:
        frame = frame[frame[table.time] >= _bound("since", table.since)]
    if table.until:
        frame = frame[frame[table.time] < _bound("until", table.until)]
    return frame


def parsed(name: str, column: Any) -> Any:
    """A pandas column of times, or of text in ISO 8601, as datetime64[ns] in UTC without a zone.

    ``name`` is what to call its table in an error. Raises TableUnreadable.
    """
    import pandas as pd

    problem = {
        "allowed": "times, or text in ISO 8601 such as 2026-11-23 18:00:00",
        "next_step": "make the column in prepare with pandas.to_datetime(..., format=...)",
    }
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise TableUnreadable(
            f"the time column {column.name!r} of {name} holds numbers",
            received=", ".join(map(str, column.head(3))),
            **problem,
        )
    # By way of text where it is not a time yet: objects of mixed kinds, dates and categories then read alike.
    ready = pd.api.types.is_datetime64_any_dtype(column.dtype)
    source = column if ready else column.astype(object).where(column.notna(), None).map(str, na_action="ignore")
    times = pd.to_datetime(source, format=None if ready else "ISO8601", utc=True, errors="coerce")
    unread = times.isna()
    if unread.any():
        row = int(unread.to_numpy().argmax())
        raise TableUnreadable(
            f"{int(unread.sum())} values of the time column {column.name!r} of {name} are not times",
            received=f"{column.iloc[row]!r:.60} in row {row + 1}",
            **problem,
        )
    try:
        return times.dt.tz_localize(None).dt.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime as error:
        raise TableUnreadable(
            f"the time column {column.name!r} of {name} holds a time out of range: {error}",
            allowed="the years 1678 to 2261",
            next_step="mend the data",
        ) from error


def _bound(which: str, text: str) -> Any:
    import pandas as pd

    try:
        return pd.to_datetime(text, format="ISO8601", utc=True).tz_localize(None)
    except (ValueError, TypeError) as error:
        raise ProjectInvalid(
            f"{which} of a Table is not a time",
            received=repr(text),
            allowed="ISO 8601, such as 2012-01-01 or 2012-01-01T06:00:00",
            next_step="mend the project file",
        ) from error


def bounds(table: Table) -> str:
    """The bounds of a table in words, "" where it has none."""
    parts = [f"from {table.since} on"] if table.since else []
    return " and ".join([*parts, f"before {table.until}"] if table.until else parts)
