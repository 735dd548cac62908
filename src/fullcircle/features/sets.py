"""Training sets that were made before come from where they are kept, and say so."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.features import definitions, frames, training
from fullcircle.features.engine import OfflineEngine
from fullcircle.features.log import content_digest
from fullcircle.features.pieces import Labels
from fullcircle.features.training import TrainingSet
from fullcircle.ledger.workspace import Workspace
from fullcircle.types.definitions import ViewSpec

SAMPLE = 500  # rows on which on-demand functions are checked
FORMAT = 1  # of the key: a change in how answers are made must not find older ones


def training_set(
    spec: ViewSpec,
    tables: training.Tables,
    labels: Any,
    workspace: Workspace,
    record: Callable[..., None],
    *,
    status: bool,
    out: str | Path | None,
    memory: str | None,
    reuse: bool,
    engine: OfflineEngine,
) -> TrainingSet:
    """The training set of a view, made or read back. See ``Store.train``."""
    versions = {name: (state.number, state.head) for name, (_, state) in tables.items()}
    if out is not None or isinstance(labels, str | Path):
        if spec.functions:
            some = _some(labels)
            made = training.train(spec, tables, some, engine=engine)
            _check_functions(spec, some, made.drop_columns(some.column_names))
        found = training.train(spec, tables, labels, status=status, out=out, memory=memory, engine=engine)
        return _told(spec, versions, found, _rows(found), reused=False)
    table, _ = frames.to_arrow(labels, "the labels")
    training.refuse_taken(spec, table.column_names, status=status)
    key = _key(spec, versions, table, status)
    blob = workspace.ledger.state().training_sets.get(key) if reuse else None
    if blob is not None and workspace.blobs.exists(blob):
        kept = _read(workspace.blobs.get(blob))
        return _told(spec, versions, _beside(labels, kept), table.num_rows, reused=True)
    made = training.train(spec, tables, table, status=status, memory=memory, engine=engine).drop_columns(
        table.column_names
    )
    _check_functions(spec, table, made)
    digest = workspace.blobs.put(_written(made))
    heads = " ".join(f"{name}:{number}:{head[:16]}" for name, (number, head) in versions.items())
    record(
        "training_set.built",
        view=spec.name,
        definition=definitions.digest(spec),
        key=key,
        blob=digest,
        rows=table.num_rows,
        versions=heads[:500],
    )
    return _told(spec, versions, _beside(labels, made), table.num_rows, reused=False)


def _some(labels: Any) -> Any:
    """The first labels, as many as on-demand functions are checked on."""
    if not isinstance(labels, str | Path):
        return frames.to_arrow(labels, "the labels")[0].slice(0, SAMPLE)
    import pyarrow as pa
    import pyarrow.parquet as pq

    Labels(labels, "the labels")  # says what is wrong with the file, if something is
    with pq.ParquetFile(labels) as file:
        batch = next(file.iter_batches(batch_size=SAMPLE), None)
        return file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])


def _check_functions(spec: ViewSpec, labels: Any, made: Any) -> None:
    """Whether each on-demand function answers these rows alone as it does together. Raises FunctionRefused."""
    import pyarrow as pa

    from fullcircle.features.answering import as_values
    from fullcircle.features.functions import check

    kinds = {**definitions.outputs(spec), **spec.request}
    chosen = pa.array(range(0, made.num_rows, max(1, made.num_rows // SAMPLE)), pa.int64())
    for function in spec.functions:
        columns = {
            name: as_values(
                (made if name in made.column_names else labels).column(name).take(chosen), spec.request.get(name, "")
            )
            for name in function.inputs
        }
        if len(chosen):
            check(function, columns, len(chosen), kinds=kinds)


def _key(spec: ViewSpec, versions: Mapping[str, tuple[int, str]], labels: Any, status: bool) -> str:
    asked = training.columns_of(spec)
    frames.need(labels, asked, "the labels")
    content = content_digest(frames.normal(labels.select(asked), "the labels"))
    parts = [FORMAT, definitions.digest(spec), dict(versions), content, status]
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def _told(
    spec: ViewSpec, versions: Mapping[str, tuple[int, str]], frame: Any, rows: int, *, reused: bool
) -> TrainingSet:
    notes = ["this training set was made before; it was read back"] if reused else []
    notes += [f"rows of {table.name} are known {_rule(table.available, table.delay)}" for table in spec.tables]
    return TrainingSet(
        view=spec.name,
        definition=definitions.digest(spec),
        frame=frame,
        rows=rows,
        features=spec.order,
        versions=versions,
        reused=reused,
        notes=tuple(notes),
    )


def _rule(available: str, delay: int) -> str:
    rule = {"stamped": "from when the store took them in", "event": "from when they happened (as_of='event')"}
    later = f", {delay / 1e9:g} s later" if delay else ""
    return rule.get(available, f"from the time in {available.removeprefix('column ')!r}") + later


def _beside(labels: Any, made: Any) -> Any:
    return Labels(labels, "the labels").with_columns(lambda start, stop: made.slice(start, stop - start))


def _rows(found: Any) -> int:
    if isinstance(found, Path):
        import pyarrow.parquet as pq

        return int(pq.read_metadata(found).num_rows)
    return int(found.num_rows)


def _written(table: Any) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _read(data: bytes) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data))
