"""Many rows at once as an Arrow IPC stream, and their answers as one, where the server's environment has pyarrow.

A stream is a form of the same rows: what is in it is judged as the same values in JSON would be. Columns of types
that stand for no plain value (lists, structs, extensions) are refused as a whole; so is what would take far more
memory than it has bytes: a compressed stream, columns without content, one long text that many rows name.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.columns import Typed
from fullcircle.server.http import Answer

if TYPE_CHECKING:
    import pyarrow as pa

KIND = b"application/vnd.apache.arrow.stream"
_NEXT = "send an Arrow IPC stream of plain columns, or JSON"
_SCALE = 76  # digits behind the point of a decimal
_CELLS = 4 * 2**20  # rows times columns: as many as a JSON body of 8 MiB can hold
_TEXT = 64 * 2**20  # bytes of text of all rows together, where one copy may stand for many


def typed(body: bytes, limit: int) -> Typed:
    """The columns of a stream. Raises RequestInvalid: 415 without pyarrow, 413 for more rows than ``limit``."""
    pa = _pyarrow()
    try:
        _check_messages(body, limit)
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            _check_schema(stream.schema)
            batches, count, text = [], 0, 0
            for batch in stream:
                batch.validate(full=True)
                count += batch.num_rows
                text += sum(map(_shared, batch.columns))
                if count * batch.num_columns > _CELLS or text > _TEXT:
                    raise _too_much("there is too much in one request", f"{_CELLS:,} values, {_TEXT:,} bytes of text")
                batches.append(batch)
            table = pa.Table.from_batches(batches, stream.schema).combine_chunks()
    except RequestInvalid:
        raise
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        raise RequestInvalid("the body is not an Arrow IPC stream that is accepted", next_step=_NEXT) from error
    if not count:
        raise RequestInvalid("the stream holds no row", allowed="at least one row", next_step=_NEXT)
    return Typed({name: _whole(table.column(name)) for name in table.column_names}, count)


def answered(found: Answer) -> Answer:
    """An answer to many rows as a stream: id, prediction, verdict, problems (JSON), and a column for each class."""
    pa = _pyarrow()
    document = msgspec.json.decode(found.body)
    rows = document["predictions"]
    columns: dict[str, Any] = {
        "id": [row["id"] for row in rows],
        "prediction": pa.array([row["prediction"] for row in rows]),
        "verdict": [row["verdict"] for row in rows],
        "problems": [msgspec.json.encode(row["problems"]).decode() if row["problems"] else None for row in rows],
    }
    names = next((list(row["probabilities"]) for row in rows if row.get("probabilities")), [])
    for name in names:
        columns[f"probability_{name}"] = pa.array(
            [(row.get("probabilities") or {}).get(name) for row in rows], pa.float64()
        )
    table = pa.table(columns).replace_schema_metadata(
        {"model": document["model"], "version": str(document["version"])}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Answer(found.status, sink.getvalue().to_pybytes(), kind=KIND)


def _too_much(what: str, allowed: str) -> RequestInvalid:
    return RequestInvalid(
        what,
        allowed=f"at most {allowed}",
        next_step="send several requests, or score them as a batch",
        status=413,
    )


def _check_messages(body: bytes, limit: int) -> None:
    """Refuse, before anything is unpacked, what is compressed or has more rows than ``limit``.

    The header of a message is a flatbuffer, as Arrow's ``Message.fbs`` has it; pyarrow has verified it.
    """
    pa = _pyarrow()
    rows = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if message.type not in ("record batch", "dictionary"):
            continue
        header = message.metadata.to_pybytes()
        batch = _inner(header, struct.unpack_from("<I", header, 0)[0], 2)
        if message.type == "dictionary":
            batch = _inner(header, batch, 1)
        else:
            length = _field(header, batch, 0)
            rows += struct.unpack_from("<q", header, length)[0] if length else 0
        if _field(header, batch, 3):
            raise RequestInvalid(
                "the stream is compressed", allowed="no compression", next_step="send it as it is", status=415
            )
        if rows > limit:
            raise _too_much("there are too many rows in one request", f"{limit:,}")


def _field(header: bytes, table: int, number: int) -> int:
    """Where a field of a table in a flatbuffer stands; 0 where the table does not have it."""
    names = table - struct.unpack_from("<i", header, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", header, names)[0]:
        return 0
    offset: int = struct.unpack_from("<H", header, names + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _inner(header: bytes, table: int, number: int) -> int:
    """Where the table stands that a field holds."""
    place = _field(header, table, number)
    offset: int = struct.unpack_from("<I", header, place)[0]
    return place + offset


def _check_schema(schema: pa.Schema) -> None:
    names = list(schema.names)
    if len(set(names)) != len(names):
        raise RequestInvalid("the stream has two columns of one name", next_step=_NEXT)
    for field in schema:
        if not _is_plain(field.type):
            raise RequestInvalid(
                "a column of the stream is of a type that stands for no plain value",
                received=ascii(field.name[:60]),
                allowed="numbers, booleans, text, dictionaries of text, times",
                next_step=_NEXT,
            )


def _is_plain(kind: pa.DataType) -> bool:
    pa = _pyarrow()
    types = pa.types
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type) and not types.is_dictionary(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return False
    number = types.is_integer(kind) or types.is_floating(kind)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    other = types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind)
    exact = types.is_decimal(kind) and 0 <= kind.scale <= _SCALE
    return bool(number or exact or text or other)


def _shared(column: pa.Array) -> int:
    """The bytes of a column's texts, row by row, where one copy in memory may stand for many rows; else 0."""
    pa = _pyarrow()
    if not pa.types.is_dictionary(column.type):
        return int(_lengths(column).sum()) if pa.types.is_string_view(column.type) else 0
    kind = column.type.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return 0
    places = column.indices.drop_null().cast(pa.int64()).to_numpy()
    return int(_lengths(column.dictionary)[places].sum())


def _lengths(texts: pa.Array) -> Any:
    """The bytes of each text, shape (n,): int64."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string_view(texts.type):  # a view is 16 bytes, and the length is the first four of them
        views = np.frombuffer(texts.buffers()[1] or b"", dtype=np.int32)[texts.offset * 4 :][: len(texts) * 4 : 4]
        return np.where(texts.is_valid().to_numpy(zero_copy_only=False), views, 0).astype(np.int64)
    return pc.binary_length(texts).fill_null(0).cast(pa.int64()).to_numpy()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    pa = _pyarrow()
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise RequestInvalid(
            "this server cannot read Arrow",
            allowed="Content-Type: application/json",
            next_step='send JSON, or serve from an environment with pyarrow: pip install "fullcircle[lab]"',
            status=415,
        ) from error
    return pyarrow
