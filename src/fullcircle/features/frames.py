"""Frames of four libraries in and out, and columns of time as whole nanoseconds since 1970 in UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fullcircle.errors import ColumnMissing, DataUnfit, FullcircleError, TableNotFound, TableUnreadable
from fullcircle.features.kinds import FLOATS, INTEGERS, arrow_type, inner, kind_of

Library = Literal["pandas", "polars", "arrow", "duckdb"]
FIRST, LAST = -(2**63) + 1, 2**63 - 1
_UNITS = {"D": "days", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_ALLOWED = "a pandas, polars or Arrow table, a DuckDB relation, or the path of a Parquet file"


def to_arrow(frame: Any, what: str) -> tuple[Any, Library]:
    """A frame as an Arrow table, and the library it came from. Nulls and types stay as they are.

    NaN in a pandas column of floats is a missing value, as pandas means it; elsewhere NaN is a value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    home = type(frame).__module__.partition(".")[0]
    try:
        if isinstance(frame, str | Path):
            return pq.read_table(frame), "arrow"
        if home == "pandas":
            return _from_pandas(frame, what), "pandas"
        if home == "polars":
            return pa.table(frame.collect() if is_lazy(frame) else frame), "polars"
        if home in ("duckdb", "_duckdb"):
            return frame.to_arrow_table(), "duckdb"
        if isinstance(frame, pa.Table):
            return frame, "arrow"
        if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
            return pa.table(frame), "arrow"
    except FullcircleError:
        raise
    except FileNotFoundError as error:
        raise not_found(frame, what) from error
    except Exception as error:
        if not (isinstance(error, (pa.ArrowException, OSError, ValueError, OverflowError)) or _of_duckdb(error)):
            raise
        raise TableUnreadable(
            f"{what} cannot be read: {first_line(error)}",
            received=str(frame) if isinstance(frame, str | Path) else f"a table of {home}",
            allowed=_ALLOWED,
            next_step="give each column one type: numbers, text, booleans, times or categories",
        ) from error
    raise TableUnreadable(
        f"{what} is of a kind that is not read",
        received=type(frame).__name__,
        allowed=_ALLOWED,
        next_step="pass one of these",
    )


def not_found(path: Any, what: str) -> TableNotFound:
    """The error for a path that is not there."""
    return TableNotFound(
        f"{what} cannot be found",
        received=str(path),
        allowed="the path of a Parquet file",
        next_step="check the path",
    )


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def is_lazy(frame: Any) -> bool:
    """Whether this is a lazy frame of polars, which is collected before anything else."""
    return type(frame).__module__.partition(".")[0] == "polars" and hasattr(frame, "collect")


def _of_duckdb(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("duckdb", "_duckdb")


def _from_pandas(frame: Any, what: str) -> Any:
    import pyarrow as pa

    each_once(list(frame.columns), what)
    if not all(isinstance(name, str) for name in frame.columns):
        raise TableUnreadable(
            f"{what} has a column whose name is not text",
            received=repr(next(name for name in frame.columns if not isinstance(name, str))),
            allowed="column names that are text",
            next_step="frame.columns = frame.columns.astype(str)",
        )
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def back(table: Any, library: Library) -> Any:
    """An Arrow table in the library that the caller came with; integers with gaps stay integers."""
    if library == "pandas":
        return to_pandas(table)
    if library == "polars":
        import polars as pl

        return pl.from_arrow(table)
    if library == "duckdb":
        import duckdb

        return duckdb.from_arrow(table)
    return table


def to_pandas(table: Any) -> Any:
    """An Arrow table as pandas: a column of integers or booleans with gaps is nullable, no cast to float."""
    import pandas as pd
    import pyarrow as pa

    nullable = {getattr(pa, f"int{bits}")(): getattr(pd, f"Int{bits}Dtype")() for bits in (8, 16, 32, 64)}
    nullable |= {getattr(pa, f"uint{bits}")(): getattr(pd, f"UInt{bits}Dtype")() for bits in (8, 16, 32, 64)}
    nullable[pa.bool_()] = pd.BooleanDtype()
    made = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count and column.type in nullable:
            made[name] = nullable[column.type].__from_arrow__(column)
        elif _has_gaps_inside(column):
            made[name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            made[name] = column.to_pandas(date_as_object=False)
    return pd.DataFrame(made, index=pd.RangeIndex(table.num_rows), columns=pd.Index(table.column_names, dtype=object))


def without_views(column: Any) -> Any:
    """Text and bytes in the form that all of Arrow's functions take; other columns as they are."""
    import pyarrow as pa

    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    kind = column.type
    if kind in plain:
        return column.cast(plain[kind])
    if not pa.types.is_dictionary(kind) or kind.value_type not in plain:
        return column
    chunks = [
        pa.DictionaryArray.from_arrays(
            chunk.indices, chunk.dictionary.cast(plain[kind.value_type]), ordered=kind.ordered
        )
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(kind.index_type, plain[kind.value_type], kind.ordered))


def _has_gaps_inside(column: Any) -> bool:
    """Whether these are lists whose integers or booleans pandas would turn into floats, for a null among them."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    return any(chunk.flatten().null_count for chunk in column.chunks) and not pa.types.is_floating(kind.value_type)


def normal(table: Any, what: str) -> Any:
    """The table with each name once and each column in the type of its kind."""
    import pyarrow as pa

    names = table.column_names
    each_once(names, what)
    columns = []
    for name in names:
        column, wanted = table.column(name), arrow_type(kind_of(table.column(name).type, name))
        columns.append(column if column.type == wanted else without_views(column).cast(wanted))
    return pa.table(columns, names=names)


def each_once(names: Sequence[Any], what: str) -> None:
    """Raise TableUnreadable where a column name is there twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableUnreadable(
            f"{what} has a column name twice",
            received=", ".join(map(repr, twice)),
            allowed="each name once",
            next_step="rename the columns",
        )


def as_kind(column: Any, kind: str, name: str) -> Any:
    """A column as one of another kind, with the same values. Raises ValueError or Arrow's errors if it cannot be.

    A number stays a number: one written as text is none. Floats become integers where they surely were some.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted, found = arrow_type(kind), kind_of(column.type, name)
    if column.type == wanted:
        return column
    if _family(found) != _family(kind):
        raise ValueError(f"{_family(found)} is no {_family(kind)}")
    made = without_views(column).cast(wanted)
    if found in FLOATS and kind in INTEGERS and len(column) > column.null_count:
        if pc.max(pc.abs(column)).as_py() >= (2**53 if found == "float64" else 2**24):
            raise ValueError("integers of this size have been rounded by becoming floats")
    elif found == "float64" and kind == "float32":
        again = pc.equal(made.cast(pa.float64()), column)
        if pc.any(pc.and_(pc.invert(again), pc.invert(pc.is_nan(column)))).as_py():
            raise ValueError("numbers would be rounded")
    return made


def _family(kind: str) -> str:
    element = inner(kind)
    if element:
        return f"list<{_family(element)}>"
    return "number" if kind in (*INTEGERS, *FLOATS) else kind.partition("[")[0].partition("(")[0]


def need(table: Any, names: Any, what: str) -> None:
    """Raise ColumnMissing for the columns that ``table`` lacks."""
    need_among(table.column_names, names, what)


def need_among(present: Sequence[str], names: Any, what: str) -> None:
    """Raise ColumnMissing for the names that are not present."""
    absent = [name for name in names if name not in present]
    if absent:
        raise ColumnMissing(
            f"{what} lacks {'a column' if len(absent) == 1 else 'columns'}",
            received=", ".join(absent),
            allowed=", ".join(present[:20]) or "none",
            next_step="check the names, or make the column first",
        )


def nanoseconds(column: Any, name: str, what: str) -> Any:
    """A column of times as int64 nanoseconds since 1970 in UTC, shape (n,); a time without a zone counts as UTC.

    Raises DataUnfit for text, numbers, missing times and times that 64 bits of nanoseconds do not hold.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataUnfit(
            f"the time column {name!r} of {what} holds no times",
            received=str(kind),
            allowed="timestamps or dates; without a zone they count as UTC",
            next_step="turn it into times first, for example with pandas.to_datetime(..., utc=True)",
        )
    if column.null_count:
        raise DataUnfit(
            f"the time column {name!r} of {what} has missing values",
            received=f"{column.null_count} of {len(column)}",
            allowed="a time in every row",
            next_step="leave those rows out, or fill the times in",
        )
    unit = kind.unit if pa.types.is_timestamp(kind) else ("ms" if pa.types.is_date64(kind) else "D")
    plain = column.cast(pa.timestamp(unit)) if pa.types.is_timestamp(kind) and kind.tz else column
    width = pa.int32() if unit == "D" else pa.int64()
    ticks = np.asarray(plain.cast(width), dtype=np.int64)
    scale = {"D": 86_400_000_000_000, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    if ticks.size and (int(ticks.max()) * scale > LAST or int(ticks.min()) * scale < FIRST):
        raise DataUnfit(
            f"the time column {name!r} of {what} holds a time out of range",
            received=f"{ticks.min()} to {ticks.max()} {_UNITS[unit]} since 1970",
            allowed="the years 1678 to 2261",
            next_step="mend the data",
        )
    return ticks * scale


def as_times(moments: Any) -> Any:
    """Nanoseconds since 1970 as an Arrow column of UTC times."""
    import pyarrow as pa

    return pa.array(moments, type=pa.int64()).cast(pa.timestamp("ns", tz="UTC"))
