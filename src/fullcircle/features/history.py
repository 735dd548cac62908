"""Answers at any time, from the tables: the training path asked for a few rows. And what a caller may ask with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fullcircle.features import frames, training
from fullcircle.features.answering import Functions, as_values
from fullcircle.features.definitions import outputs
from fullcircle.features.engine import OfflineEngine
from fullcircle.features.keys import plain_key
from fullcircle.features.parts import Vector
from fullcircle.features.pieces import Labels
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.features import Status

Row = Mapping[str, Any]
Shape = Callable[[ViewSpec, Sequence[Vector], bool], Any]


def answer(
    spec: ViewSpec,
    tables: training.Tables,
    rows: Sequence[Row],
    moments: Sequence[int],
    engine: OfflineEngine | None = None,
) -> list[Vector]:
    """The features of each row at its moment, as training would see them. A feature that a row brings is kept."""
    vectors = [Vector({}) for _ in rows]
    usable = []
    for place, row in enumerate(rows):
        lacking = _lacking(spec, row)
        vectors[place].unkeyed = lacking
        if lacking:
            vectors[place].values = dict.fromkeys(spec.order)
            vectors[place].states = dict.fromkeys(spec.order, "missing")
        else:
            usable.append(place)
    if usable and spec.features:
        bare = training.without_functions(spec)
        labels = labels_of(spec, [rows[place] for place in usable], [moments[place] for place in usable])
        found = training.train(bare, tables, labels, status=True, engine=engine)
        _fill(bare, found, [vectors[place] for place in usable])
    return Functions(spec).finish(rows, vectors)


def _lacking(spec: ViewSpec, row: Row) -> tuple[str, ...]:
    pairs = [
        pair for table in spec.tables for pair in zip(spec.keys[table.name], spec.key_kinds[table.name], strict=True)
    ]
    return tuple(dict.fromkeys(column for column, kind in pairs if plain_key(row.get(column), kind) is None))


def labels_of(spec: ViewSpec, rows: Sequence[Row], moments: Sequence[int]) -> Any:
    """Rows with usable keys as labels that training takes: an Arrow table of keys and times."""
    import pyarrow as pa

    types = {"int": pa.int64(), "text": pa.large_string(), "bool": pa.bool_(), "date": pa.int32()}
    made = {}
    for table in spec.tables:
        for column, kind in zip(spec.keys[table.name], spec.key_kinds[table.name], strict=True):
            array = pa.array([plain_key(row[column], kind) for row in rows], types[kind])
            made[column] = array.cast(pa.date32()) if kind == "date" else array
    made[spec.time] = frames.as_times(list(moments))
    return pa.table(made)


def _fill(spec: ViewSpec, found: Any, vectors: Sequence[Vector]) -> None:
    for name in spec.order:
        values, states = as_values(found.column(name)), found.column(f"{name}__status").to_pylist()
        for vector, value, state in zip(vectors, values, states, strict=True):
            vector.values[name] = value
            if state != "present":
                vector.states[name] = state


def asked(rows: Any) -> tuple[list[Row], Shape]:
    """The rows of a caller as mappings, and how the answer is shaped like them."""
    if isinstance(rows, Mapping):
        return [rows], lambda spec, vectors, status: _mapping(vectors[0], status)
    if isinstance(rows, Sequence) and not isinstance(rows, str) and all(isinstance(row, Mapping) for row in rows):
        return list(rows), lambda spec, vectors, status: [_mapping(vector, status) for vector in vectors]
    table, library = frames.to_arrow(rows, "the rows")
    plain = frames.normal(table, "the rows")
    columns = {name: as_values(plain.column(name)) for name in plain.column_names}
    mappings = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def shape(spec: ViewSpec, vectors: Sequence[Vector], status: bool) -> Any:
        features = columns_of(spec, vectors, status)
        old = [name for name in features.column_names if name in table.column_names]
        bare = Labels(_without(rows, table, library, old), "the rows")
        return bare.with_columns(lambda start, stop: features.slice(start, stop - start))

    return [dict(row) for row in mappings], shape


def _without(rows: Any, table: Any, library: frames.Library, names: Sequence[str]) -> Any:
    """The caller's frame as it came, but for these columns."""
    if library == "pandas":
        return rows.drop(columns=list(names))
    if library == "polars":
        return (rows.collect() if frames.is_lazy(rows) else rows).drop(list(names))
    return frames.back(table.drop_columns(list(names)), library)


def columns_of(spec: ViewSpec, vectors: Sequence[Vector], status: bool) -> Any:
    """Vectors as an Arrow table of the features, each in the type of its kind."""
    import pyarrow as pa

    from fullcircle.features.kinds import arrow_type

    made = {}
    for name, kind in outputs(spec).items():
        made[name] = pa.array([vector.values[name] for vector in vectors], arrow_type(kind))
        if status:
            made[f"{name}__status"] = pa.array([_state(vector, name) for vector in vectors])
    return pa.table(made)


def _mapping(vector: Vector, status: bool) -> dict[str, Any]:
    if not status:
        return vector.values
    return vector.values | {f"{name}__status": _state(vector, name) for name in vector.values}


def _state(vector: Vector, name: str) -> Status:
    return vector.states.get(name, "present")
