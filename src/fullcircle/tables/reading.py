"""Reading a table: files, frames of other libraries, the user's ``prepare``, and the column of time."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fullcircle.errors import ColumnMissing, DataUnfit, TableNotFound, TableUnreadable
from fullcircle.tables.csv_file import codes, read_csv
from fullcircle.tables.times import bounds, within
from fullcircle.types.table import Table

_NOTHING: Mapping[str, str] = MappingProxyType({})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read(
    table: Table,
    *,
    folder: Path,
    paths: Mapping[str, str] = _NOTHING,
    columns: Collection[str] | None = None,
) -> Any:
    """Read ``table`` as a pandas DataFrame with text column names, each once, a plain index, at least one row.

    ``prepare`` is applied, the column of time is parsed to datetime64[ns] (UTC, without zone; a time without
    a zone counts as UTC) and rows outside ``since``/``until`` are left out. The index of a pandas source is
    dropped. A column of mixed types is refused after ``prepare``, which may mend it; with ``columns`` only
    where it is one of them. ``folder`` is where relative paths begin, ``paths`` the table [paths] of the settings.

    Columns that the table names as ``text`` are text before ``prepare``: those of a CSV file are read so, others
    have to be.

    Raises TableNotFound, TableUnreadable, ColumnMissing, DataUnfit (no rows) and ProjectInvalid (a bound that
    is no time).
    """
    import pandas as pd

    name = describe(table)
    suspects: Mapping[str, str] = {}
    if isinstance(table.source, str):
        frame, suspects = _read_file(locate(table, folder=folder, paths=paths), table.text)
    else:
        frame = _from_memory(table.source)
    _check_texts(name, table, frame)
    frame = _prepare(table, frame)
    if not isinstance(frame, pd.DataFrame):
        raise TableUnreadable(
            f"prepare of {name} did not return a frame",
            received=type(frame).__name__,
            allowed="a pandas DataFrame",
            next_step="return the frame at the end of prepare",
        )
    _check_names(name, frame)
    _check_types(name, frame, suspects, columns)
    frame = within(table, name, frame)
    if frame.empty:
        raise DataUnfit(
            f"{name} has no rows {bounds(table)}".rstrip(),
            allowed="at least one row",
            next_step="check the file, prepare, since and until",
        )
    return frame.reset_index(drop=True)


def locate(table: Table, *, folder: Path, paths: Mapping[str, str] = _NOTHING) -> Path:
    """The file behind a table whose source is a path. Raises TableNotFound.

    A relative path begins in ``folder``; one from the environment may also begin in the current folder.
    """
    unset = [name for name in _VARIABLE.findall(table.source) if not os.environ.get(name) and name not in paths]
    if unset:
        raise TableNotFound(
            f"the path {table.source} needs {unset[0]}, which is not set",
            allowed=f"the environment variable {unset[0]}, or {unset[0]} under [paths] in fullcircle.toml",
            next_step=table.hint or f"set {unset[0]} to the path of the file",
        )
    written = _VARIABLE.sub(lambda match: os.environ.get(match[1]) or paths[match[1]], table.source)
    expanded = Path(written).expanduser()
    found = folder / expanded
    if not found.exists() and _VARIABLE.search(table.source) and expanded.exists():
        found = expanded
    if not found.exists():
        raise TableNotFound(
            "there is no such file",
            received=str(found),
            allowed="the path of a CSV or Parquet file",
            next_step=table.hint or "check the path in the project file; a relative one begins beside it",
        )
    return found.absolute()


def describe(table: Table) -> str:
    """What to call a table: the name of its file, or the kind of frame."""
    if isinstance(table.source, str):
        return Path(table.source).name
    kind = type(table.source)
    return f"the {kind.__module__.split('.')[0]} {kind.__name__}"


def coded(path: Path) -> tuple[str, ...]:
    """The columns of a readable file to name as ``text``: whole numbers, some of them with zeros in front.

    None of a Parquet file, whose columns have types.
    """
    return codes(path) if path.suffix.lower() == ".csv" else ()


def _read_file(path: Path, texts: Collection[str]) -> tuple[Any, Mapping[str, str]]:
    ending = path.suffix.lower()
    try:
        if path.is_dir():
            raise TableUnreadable(
                f"{path.name} is a folder", allowed="a CSV or Parquet file", next_step="give the path of one file"
            )
        if ending == ".csv":
            return read_csv(path, texts)
        if ending in (".parquet", ".pq"):
            return _read_parquet(path), {}
    except OSError as error:
        raise TableUnreadable(
            f"{path.name} cannot be read: {error.strerror or error}",
            received=str(path),
            next_step="check the permissions of the file",
        ) from error
    raise TableUnreadable(
        f"{path.name} is of a kind that is not read",
        received=ending or "no ending",
        allowed=".csv, .parquet, .pq",
        next_step="read it yourself and pass the frame: fc.Table(frame)",
    )


def _read_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size == 0:
        raise TableUnreadable(f"{path.name} is empty", received="0 bytes", next_step="check how it was written")
    try:
        with path.open("rb") as file:
            return _from_arrow(pq.read_table(file))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableUnreadable(
            f"{path.name} is not a whole Parquet file: {str(error).splitlines()[0]}",
            next_step="write the file again, or give a CSV file the ending .csv",
        ) from error


def _from_memory(source: Any) -> Any:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source.copy()
    if hasattr(source, "collect") and type(source).__module__.split(".")[0] == "polars":
        source = source.collect()
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        import pyarrow as pa

        return _from_arrow(pa.table(source))
    raise TableUnreadable(
        "the source of a Table is of a kind that is not read",
        received=type(source).__name__,
        allowed="a path, or a pandas, polars or Arrow table",
        next_step="pass one of these to fc.Table",
    )


def _from_arrow(table: Any) -> Any:
    import pyarrow as pa

    # Decimals come as Python objects otherwise, dates as objects without a type, views as an unknown one.
    for place, kept in enumerate(table.schema):
        kind = pa.float64() if pa.types.is_decimal(kept.type) else None
        kind = pa.large_string() if pa.types.is_string_view(kept.type) else kind
        if kind is not None:
            table = table.set_column(place, kept.name, table.column(place).cast(kind))
    return table.to_pandas(date_as_object=False).reset_index(drop=True)


def _prepare(table: Table, frame: Any) -> Any:
    if table.prepare is None:
        return frame
    try:
        return table.prepare(frame)
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)[1:] or traceback.extract_tb(error.__traceback__)
        home = getattr(getattr(table.prepare, "__code__", None), "co_filename", steps[-1].filename)
        where = [step for step in steps if step.filename == home][-1:] or steps[-1:]
        raise TableUnreadable(
            f"prepare of {describe(table)} raised {type(error).__name__}: {error}",
            received=f"{Path(where[0].filename).name}, line {where[0].lineno}: {where[0].line}",
            allowed="a function from the frame as read to the frame to use",
            next_step="mend prepare in the project file",
        ) from error


def _check_names(name: str, frame: Any) -> None:
    odd = [column for column in frame.columns if not isinstance(column, str)]
    if odd:
        raise TableUnreadable(
            f"{name} has a column whose name is not text",
            received=repr(odd[0]),
            allowed="column names that are text",
            next_step="frame.columns = frame.columns.astype(str)",
        )
    if not frame.columns.is_unique:
        raise TableUnreadable(
            f"{name} has a column name twice",
            received=", ".join(sorted(map(repr, set(frame.columns[frame.columns.duplicated()])))),
            allowed="each name once",
            next_step="rename the columns",
        )


def _check_texts(name: str, table: Table, frame: Any) -> None:
    import pandas as pd

    if table.text:
        _check_names(name, frame)
    for column in table.text:
        if column not in frame.columns:
            raise ColumnMissing(
                f"{name} has no column {column!r}, which is declared as text",
                received=", ".join(map(str, frame.columns[:20])),
                next_step="name columns of the file in text=[...], as they are called before prepare",
            )
        filled = frame[column].dropna()
        if len(filled) and pd.api.types.infer_dtype(filled.astype(object)) != "string":
            raise TableUnreadable(
                f"the column {column!r} of {name} is declared as text and is none",
                received=str(frame[column].dtype),
                allowed="text; only a CSV file leaves open what its columns are",
                next_step="write the column as text where the table is made, or take it out of text=[...]",
            )


def _check_types(name: str, frame: Any, suspects: Mapping[str, str], columns: Collection[str] | None) -> None:
    import pandas as pd

    for column in frame.columns:
        kind = frame[column].dtype
        if (columns is not None and column not in columns) or isinstance(kind, pd.CategoricalDtype):
            continue
        found = suspects.get(column, "") if pd.api.types.is_string_dtype(kind) else ""
        if (
            not found
            and pd.api.types.is_object_dtype(kind)
            and pd.api.types.infer_dtype(frame[column]).startswith("mixed")
        ):
            found = _kinds(frame[column])
        if found:
            raise TableUnreadable(
                f"the column {column!r} of {name} holds values of mixed types",
                received=found,
                allowed="one type per column",
                next_step="mend the data; or in prepare, turn the column into numbers "
                '(pandas.to_numeric(..., errors="coerce")) or into a category (astype("category"))',
            )


def _kinds(column: Any) -> str:
    """The Python types in a column with an example each, or "" where pandas sees a mixture and there is none."""
    first: dict[str, str] = {}
    for row, value in enumerate(column[column.notna()]):
        kind = type(value).__name__
        number = isinstance(value, int | float) and not isinstance(value, bool)
        first.setdefault("number" if number else kind, f"{value!r:.40} ({kind}, value {row + 1})")
    return ", ".join(list(first.values())[:4]) if len(first) > 1 else ""
