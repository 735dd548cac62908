"""Tables that came in somebody else's form, as what an engine is asked: plain values under their columns' names.

A table of another protocol stands for a data frame. So, as in a frame that is scored as a batch, a number may name a
category, and 1.0 is true in a column of truths; so is 1, as a tensor of several columns has one datatype for all.
Everything else is judged as it would be in the native JSON, and what comes as text as in a file that is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fullcircle.runtimes import schema
from fullcircle.runtimes.columns import guessed, written
from fullcircle.runtimes.values import category_name, plain

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded
    from fullcircle.types.contract import Kind
    from fullcircle.types.definitions import ViewSpec

_OF_VIEW: dict[str, Kind] = {"int": "integer", "float": "number", "bool": "boolean", "date": "time"}


class Taken(NamedTuple):
    """Rows as ``Ask`` takes them: structs where none needs a second look, else rows to be judged by hand."""

    rows: list[Any] | None
    plain: list[dict[str, Any]] | None


def inputs(loaded: Loaded) -> dict[str, Kind]:
    """The columns that a row has to bring, in order: those of the contract, or the keys of its feature view."""
    kinds = {column.name: column.kind for column in loaded.scorer.contract.columns}
    spec = _view(loaded)
    if spec is None:
        return kinds
    found = {name: _OF_VIEW.get(kind, "text") for name, kind in spec.kinds_of_keys.items()}
    return found | {name: kinds.get(name, _OF_VIEW.get(kind, "text")) for name, kind in spec.request.items()}


def example(loaded: Loaded) -> dict[str, Any]:
    """A row that can be sent, without any private value."""
    contract, spec = loaded.scorer.contract, _view(loaded)
    if spec is None:
        return schema.example(contract)
    return schema.example(contract, keys=spec.kinds_of_keys, request=spec.request)


def of_columns(loaded: Loaded, columns: Mapping[str, list[Any]]) -> Taken:
    """Columns of one length, at least one value each."""
    if loaded.quick and (rows := loaded.decoder.turned(columns)):
        return Taken(rows, None)
    kinds = {column.name: str(column.kind) for column in loaded.scorer.contract.columns}
    cells = {name: [_cell(value, kinds.get(name, "")) for value in values] for name, values in columns.items()}
    return Taken(None, _rows(cells))


def of_rows(loaded: Loaded, rows: Sequence[Mapping[str, Any]]) -> Taken:
    """Rows, at least one, which need not have the same columns."""
    names = rows[0].keys()
    if names and all(row.keys() == names for row in rows):
        return of_columns(loaded, {name: [row[name] for row in rows] for name in names})
    kinds = {column.name: str(column.kind) for column in loaded.scorer.contract.columns}
    return Taken(None, [{name: _cell(value, kinds.get(name, "")) for name, value in row.items()} for row in rows])


def of_texts(loaded: Loaded, columns: Mapping[str, list[str]]) -> Taken:
    """Columns of a file that has no types, read as ``runtimes.columns.Written`` reads them."""
    known = {column.name: column for column in loaded.scorer.contract.columns}
    cells = {
        name: [written(known[name], text) if name in known else guessed(text) for text in texts]
        for name, texts in columns.items()
    }
    quick = loaded.decoder.turned(cells) if loaded.quick else None
    return Taken(quick, None) if quick else Taken(None, _rows(cells))


def _cell(value: Any, kind: str) -> Any:
    value = plain(value)
    if kind == "category" and isinstance(value, int | float):
        return category_name(value)
    if kind == "boolean" and isinstance(value, int | float) and value in (0, 1):
        return value == 1
    return None if kind == "time" and value == "NaT" else value  # so frames are written that lack a time


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _view(loaded: Loaded) -> ViewSpec | None:
    spec: ViewSpec | None = getattr(loaded.scorer.enrich, "spec", None)
    return spec
