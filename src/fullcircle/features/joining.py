"""The point-in-time join of frames, without any store: what was known of each key at each time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fullcircle.errors import ColumnMissing, FeatureInvalid
from fullcircle.features import frames, keys
from fullcircle.features.definitions import nanos
from fullcircle.features.engine import DEFAULT, find_engine
from fullcircle.features.frames import FIRST, LAST
from fullcircle.features.pieces import Labels, Memory, ParquetFiles, rows_of
from fullcircle.features.statuses import EXPIRED, MISSING, PRESENT, words
from fullcircle.types.features import Closed

_MEMORY = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*([KMGT]i?B|kB|B)\s*")


def join(
    labels: Any,
    rows: Any,
    *,
    on: str | Sequence[str],
    time: str,
    rows_time: str | None = None,
    available: str | None = None,
    delay: str | None = None,
    as_of: Literal["event"] | None = None,
    max_age: str | None = None,
    closed: Closed = "right",
    columns: Sequence[str] | None = None,
    status: bool = False,
    prefix: str = "",
    out: str | Path | None = None,
    memory: str | None = None,
    engine: str = DEFAULT,
) -> Any:
    """Add to each label the values of the row that was the latest known of its key at its time.

    ``labels`` and ``rows`` are pandas, polars or Arrow tables, DuckDB relations or paths of Parquet files, with the
    key columns ``on`` and the column ``time`` (``rows_time`` where rows name it differently). A row is known from the
    later of its event time and its availability on: the column ``available``, or its event time (``as_of="event"``),
    in both cases ``delay`` later; ``delay`` alone means the event time and ``delay``. One of them must be said. Of
    the rows known, the one with the greatest event time answers; then availability, then place. A value older than
    ``max_age`` is null. ``closed="left"`` leaves out what becomes known exactly at the label's time.

    Returns the labels, every row once and in order, with ``columns`` of the rows (default: all others) under
    ``prefix`` + their names, in the library of ``labels``. With ``status`` a column ``NAME__status`` beside each says
    present, null, missing or expired. With ``out`` the result is written to this Parquet file in pieces, so that
    neither it nor the values have to fit into memory, and the path is returned; ``memory`` ("1GB") bounds the engine.

    Raises DataUnfit, ColumnMissing, TableNotFound, TableUnreadable, FeatureInvalid, EngineFailed.
    """
    on = (on,) if isinstance(on, str) else tuple(on)
    columns = [columns] if isinstance(columns, str) else columns
    rows_time = rows_time or time
    _check_rule(available, delay, as_of)
    _check_rest(on, (time, rows_time), closed)
    check_memory(memory)
    lag = nanos(delay) if delay else 0
    left, right = Labels(labels, "the labels"), rows_of(rows, "the rows")
    asked = left.read((*on, time))
    moments = frames.nanoseconds(asked.column(time), time, "the labels")
    index = _index(right, on, rows_time, available, lag)
    own = {*on, rows_time, *([available] if available else [])}
    wanted = [name for name in right.names if name not in own] if columns is None else list(columns)
    _check_columns(left, right, wanted, prefix, status=status)
    label_keys = keys.key_columns(asked, on, "the labels")
    del asked  # the labels' own times are in nanoseconds by now
    keys.check_alike(label_keys, [index.column(f"k{place}") for place in range(len(on))], on, "the rows")
    found = find_engine(engine).positions(questions(label_keys, moments, closed), index, memory=memory)
    state = states(found, index.column("e").to_numpy(), moments, nanos(max_age) if max_age else None)

    def piece(start: int, stop: int) -> Any:
        return answers(right, wanted, found[start:stop], state[start:stop], status=status, prefix=prefix)

    return left.with_columns(piece, out)


def answers(
    rows: ParquetFiles | Memory, wanted: Sequence[str], found: Any, state: Any, *, status: bool, prefix: str = ""
) -> Any:
    """The values at the places ``found`` where the state says present, null elsewhere; with their statuses."""
    import numpy as np
    import pyarrow as pa

    values = rows.take(wanted, np.where(state == PRESENT, found, -1))
    made: dict[str, Any] = {}
    for name in wanted:
        made[prefix + name] = values.column(name)
        if status:
            made[f"{prefix}{name}__status"] = words(state, values.column(name))
    return pa.table(made)


def questions(label_keys: Sequence[Any], moments: Any, closed: Closed) -> Any:
    """Labels as the engine takes them. Open on the right is the same question a nanosecond earlier."""
    import pyarrow as pa

    t = moments - 1 if closed == "left" else moments
    names = [f"k{place}" for place in range(len(label_keys))]
    return pa.table([*label_keys, pa.array(t)], names=[*names, "t"])


def states(found: Any, e: Any, moments: Any, max_age: int | None) -> Any:
    """The status of each answer but for null values: missing, expired or present. Shape (labels,), uint8."""
    import numpy as np

    state = np.where(found < 0, MISSING, PRESENT).astype(np.uint8)
    if max_age is not None and len(e):
        oldest = np.where(moments < FIRST + max_age, FIRST, moments - max_age)
        state[(found >= 0) & (e[np.maximum(found, 0)] < oldest)] = EXPIRED
    return state


def _index(right: Any, on: Sequence[str], time: str, available: str | None, lag: int) -> Any:
    import numpy as np
    import pyarrow as pa

    table = right.read(list(dict.fromkeys((*on, time, *([available] if available else [])))))
    e = frames.nanoseconds(table.column(time), time, "the rows")
    a = frames.nanoseconds(table.column(available), available, "the rows") if available else e
    if lag:
        a = np.where(a > LAST - lag, LAST, a + lag)
    parts = keys.key_columns(table, on, "the rows")
    names = [f"k{place}" for place in range(len(parts))]
    return pa.table([*parts, pa.array(e), pa.array(a), pa.array(np.arange(len(e)))], names=[*names, "e", "a", "s"])


def _check_rule(available: str | None, delay: str | None, as_of: str | None) -> None:
    if as_of not in (None, "event"):
        raise FeatureInvalid(
            "as_of is unknown",
            received=repr(as_of),
            allowed='"event", or leave it out',
            next_step='say available="COLUMN", delay="5m" or as_of="event"',
        )
    if available is not None and as_of is not None:
        raise FeatureInvalid(
            "it is said twice when rows were available",
            received=f"available={available!r} and as_of={as_of!r}",
            allowed="one of the two",
            next_step="keep available=, which is known, and leave as_of out",
        )
    if available is None and delay is None and as_of is None:
        raise FeatureInvalid(
            "it is not said when the rows became available, so what was known at a time cannot be told",
            received="none of available=, delay= and as_of=",
            allowed='available="COLUMN", delay="5m" after the event, or as_of="event"',
            next_step='say as_of="event" only where every row was really there when it happened',
        )


def _check_rest(on: Sequence[str], times: Sequence[str], closed: str) -> None:
    if not on or len(set(on)) < len(on) or set(on) & set(times):
        raise FeatureInvalid(
            "the key and the time are not different columns",
            received=f"on={list(on)!r}, time={times[0]!r}, rows_time={times[1]!r}",
            allowed="one key column or more, each once, and a column of time",
            next_step='say for example on="customer", time="asked_at"',
        )
    if closed not in ("right", "left"):
        raise FeatureInvalid(
            "closed is unknown",
            received=repr(closed),
            allowed='"right", "left"',
            next_step='say "left" to leave out what becomes known exactly at the time of a label',
        )


def check_memory(memory: str | None) -> None:
    """Raise FeatureInvalid for a bound of memory that engines do not understand."""
    if memory is not None and not (isinstance(memory, str) and _MEMORY.fullmatch(memory)):
        raise FeatureInvalid(
            "a bound of memory cannot be read",
            received=repr(memory),
            allowed='a number and MB, GB, MiB or GiB, such as "500MB"',
            next_step="write it in this form, or leave it out",
        )


def _check_columns(left: Any, right: Any, wanted: Sequence[str], prefix: str, *, status: bool) -> None:
    absent = [name for name in wanted if name not in right.names]
    if absent:
        raise ColumnMissing(
            "the rows lack columns",
            received=", ".join(absent),
            allowed=", ".join(right.names[:20]),
            next_step="check the names in columns=",
        )
    names = [prefix + name for name in wanted]
    names += [f"{name}__status" for name in names if status]
    twice = sorted({name for name in names if names.count(name) > 1 or name in left.names})
    if twice:
        raise FeatureInvalid(
            "the result would have a column name twice",
            received=", ".join(twice),
            allowed="names that the labels do not have",
            next_step='choose columns=[...], or a prefix such as prefix="spend_"',
        )
