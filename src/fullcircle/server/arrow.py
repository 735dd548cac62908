"""Many rows at once as an Arrow IPC stream, and their answers as one, where the server's environment has pyarrow.

A stream is a form of the same rows: what is in it is judged as the same values in JSON would be. Columns of types
that stand for no plain value (lists, structs, extensions) are refused as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.columns import Typed
from fullcircle.server.http import Answer

if TYPE_CHECKING:
    import pyarrow as pa

KIND = b"application/vnd.apache.arrow.stream"
_NEXT = "send an Arrow IPC stream of plain columns, or JSON"


def typed(body: bytes, limit: int) -> Typed:
    """The columns of a stream. Raises RequestInvalid: 415 without pyarrow, 413 for more rows than ``limit``."""
    pa = _pyarrow()
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            _check_schema(stream.schema)
            batches, count = [], 0
            for batch in stream:
                batch.validate(full=True)
                count += batch.num_rows
                if count > limit:
                    raise RequestInvalid(
                        "there are too many rows in one request",
                        allowed=f"at most {limit:,}",
                        next_step="send several requests, or score them as a batch",
                        status=413,
                    )
                batches.append(batch)
            table = pa.Table.from_batches(batches, stream.schema).combine_chunks()
    except RequestInvalid:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
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


def _check_schema(schema: pa.Schema) -> None:
    pa = _pyarrow()
    names = list(schema.names)
    if len(set(names)) != len(names):
        raise RequestInvalid("the stream has two columns of one name", next_step=_NEXT)
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if isinstance(kind, pa.BaseExtensionType) or pa.types.is_nested(kind) or pa.types.is_union(kind):
            raise RequestInvalid(
                "a column of the stream is of a type that stands for no plain value",
                received=ascii(field.name[:60]),
                allowed="numbers, booleans, text, dictionaries of text, times",
                next_step=_NEXT,
            )


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
