"""Results in parts: each is written by itself, in any order and by any process, and at the end they are one file.

A part of a CSV or JSON-lines file is a stretch of that file, without a header; one of a Parquet file is an Arrow
stream. Joining copies text as it is, and gives Parquet the one type that all parts have room in.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.deployment.writing import Writer, mixed, plain, plain_field

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".parquet", ".jsonl")
_GROUP = 100_000  # rows of a row group, at least


def content(suffix: str, columns: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None = None) -> bytes:
    """The bytes of a part: ``columns`` are Arrow arrays or lists of one length, of plain values.

    With ``rows`` the columns come after what each of these holds: JSON lines whose rows have keys of their own.
    Raises TableUnreadable where Parquet cannot hold a column.
    """
    if suffix == ".csv":
        return _csv(columns)
    if suffix == ".jsonl":
        return _lines(columns, rows)
    return _stream(columns)


def _csv(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    arrays = [_written(column) for column in columns.values()]
    table = pa.Table.from_arrays(arrays, names=[f"c{place}" for place in range(len(arrays))])
    for style in ("none", "needed"):
        out = io.BytesIO()
        try:
            arrow_csv.write_csv(table, out, arrow_csv.WriteOptions(include_header=False, quoting_style=style))
        except pa.ArrowInvalid:
            if style == "needed":
                raise
            continue  # a text in it needs quotes: then all have them
        return out.getvalue()
    raise AssertionError  # pragma: no cover


def _written(column: Any) -> Any:
    """A column as CSV shows it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, list):
        try:
            column = pa.array(column)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return _texts(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        return pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_timestamp(kind):
        try:
            return column.cast(pa.timestamp("s", kind.tz))
        except pa.ArrowInvalid:
            return column
    types = pa.types
    shown = (types.is_integer, types.is_boolean, types.is_date, types.is_null, types.is_string, types.is_large_string)
    if any(one(kind) for one in shown):
        return column
    return _texts(column.to_pylist())


def _texts(values: Iterable[Any]) -> Any:
    import pyarrow as pa

    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return msgspec.json.encode(value, enc_hook=plain).decode()
    return value if isinstance(value, str) else str(value)


def _lines(columns: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None) -> bytes:
    lists = [column if isinstance(column, list) else column.to_pylist() for column in columns.values()]
    answers = [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]
    whole = answers if rows is None else [{**row, **answer} for row, answer in zip(rows, answers, strict=True)]
    return msgspec.json.Encoder(enc_hook=plain, decimal_format="number").encode_lines(whole)


def _stream(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa

    try:
        table = pa.table({name: _array(column) for name, column in columns.items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise mixed(error) from error
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _array(column: Any) -> Any:
    import pyarrow as pa

    if isinstance(column, list):
        return pa.array([float(one) if isinstance(one, Decimal) else one for one in column])
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def join(path: Path, names: Sequence[str], parts: Sequence[Path]) -> None:
    """Write the parts as one file, which appears under its name when it is whole."""
    if path.suffix.lower() == ".parquet":
        _join_streams(path, parts)
        return
    with Writer(path) as writer:
        if path.suffix.lower() == ".csv":
            head = io.StringIO()
            csv.writer(head, lineterminator="\n").writerow(names)
            writer.file.write(head.getvalue().encode())
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, writer.file, 1 << 20)
        writer.finish()


def _join_streams(path: Path, parts: Sequence[Path]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for part in parts:
        with pa.OSFile(str(part)) as file:
            schemas.append(pa.ipc.open_stream(file).schema)
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise mixed(error) from error
    schema = pa.schema([plain_field(field) for field in schema]).remove_metadata()
    # Numbers hardly ever repeat: a dictionary of them is tried and thrown away.
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    with Writer(path) as writer:
        with pq.ParquetWriter(writer.file, schema, use_dictionary=texts) as out:
            waiting: list[pa.Table] = []
            for part in parts:
                waiting.append(_read(part).cast(schema))
                if sum(len(table) for table in waiting) >= _GROUP:
                    out.write_table(pa.concat_tables(waiting))
                    waiting = []
            out.write_table(pa.concat_tables(waiting) if waiting else schema.empty_table())
        writer.finish()


def _read(part: Path) -> pa.Table:
    import pyarrow as pa

    with pa.OSFile(str(part)) as file:
        return pa.ipc.open_stream(file).read_all()
