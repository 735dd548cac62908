"""From declarations to definitions: what a view means, as data with a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from fullcircle.errors import ColumnMissing, FeatureInvalid
from fullcircle.features.kinds import INTEGERS, is_integer, is_number, is_time
from fullcircle.types.definitions import FeatureSpec, FunctionSpec, TableSpec, ViewSpec
from fullcircle.types.durations import duration
from fullcircle.types.features import REQUEST_TYPES, Feature, FeatureTable, FeatureView, OnDemand

DEFAULT_TIME = "asked_at"
Kinds = Mapping[str, Mapping[str, str]]


def nanos(span: str) -> int:
    """A span such as "30d" in nanoseconds."""
    found = duration(span)
    return (found.days * 86_400 + found.seconds) * 10**9 + found.microseconds * 1000


def table_spec(table: FeatureTable) -> TableSpec:
    """What a feature table means."""
    available = f"column {table.available}" if table.available else (table.as_of or "stamped")
    return TableSpec(
        name=table.name,
        key=tuple(table.key),
        time=table.time,
        available=available,
        delay=nanos(table.delay),
        id=tuple(table.id),
    )


def view_spec(view: FeatureView, kinds: Kinds) -> ViewSpec:
    """What a view means; ``kinds`` are the kinds of the columns of each table.

    Raises ColumnMissing, FeatureInvalid.
    """
    from fullcircle.features.functions import spec as function_spec

    return ViewSpec(
        name=view.name,
        time=view.time or DEFAULT_TIME,
        tables=tuple(table_spec(table) for table in view.tables),
        features=tuple(_feature(one, kinds.get(one.table, {})) for one in view.features if isinstance(one, Feature)),
        functions=tuple(function_spec(one) for one in view.features if isinstance(one, OnDemand)),
        order=view.names,
        keys={table.name: tuple(view.on.get(column, column) for column in table.key) for table in view.tables},
        key_kinds={table.name: _key_kinds(table, kinds.get(table.name, {})) for table in view.tables},
        request={name: REQUEST_TYPES[kind] for name, kind in view.request.items()},
        closed=view.closed,
        owner=view.owner,
        description=view.description,
        tables_about={table.name: (table.owner, table.description) for table in view.tables},
        about={one.name: _about(one) for one in view.features if _about(one)},
    )


def digest(spec: ViewSpec) -> str:
    """The SHA-256 of everything that decides an answer: not of owners and descriptions."""
    bare = replace(spec, owner="", description="", about={}, tables_about={})
    return hashlib.sha256(encode(bare)).hexdigest()


def encode(spec: ViewSpec) -> bytes:
    """A definition as canonical JSON."""
    return msgspec.json.encode(spec, order="sorted")


def decode(data: bytes) -> ViewSpec:
    """A definition read back. Raises msgspec's errors for anything else."""
    return msgspec.json.decode(data, type=ViewSpec)


def outputs(spec: ViewSpec) -> dict[str, str]:
    """The kind of each feature of a view, in order."""
    found = {feature.name: feature.type for feature in spec.features}
    words = {"int": "int64", "float": "float64", "bool": "bool", "str": "text"}
    found |= {function.name: words[function.returns] for function in spec.functions}
    return {name: found[name] for name in spec.order}


def functions_in_order(spec: ViewSpec) -> tuple[FunctionSpec, ...]:
    """The on-demand functions in the order in which they may use each other."""
    return tuple(sorted(spec.functions, key=lambda function: spec.order.index(function.name)))


def _feature(feature: Feature, kinds: Mapping[str, str]) -> FeatureSpec:
    if feature.column is not None and feature.column not in kinds:
        raise ColumnMissing(
            f"feature {feature.name!r} is of a column that table {feature.table!r} does not have",
            received=feature.column,
            allowed=", ".join(kinds) or "none: no row was appended yet",
            next_step="check the name, or append rows to the table first",
        )
    kind = kinds[feature.column] if feature.column is not None else ""
    return FeatureSpec(
        name=feature.name,
        table=feature.table,
        how=feature.how,
        type=_type(feature, kind),
        column=feature.column,
        kind=kind,
        window=nanos(feature.window) if feature.window else None,
        max_age=nanos(feature.max_age) if feature.max_age else None,
    )


def _key_kinds(table: FeatureTable, kinds: Mapping[str, str]) -> tuple[str, ...]:
    absent = [column for column in table.key if column not in kinds]
    if absent:
        raise ColumnMissing(
            f"the feature table {table.name!r} holds no rows yet, so its keys have no type",
            received=", ".join(absent),
            next_step="append rows to it first, or give it a source",
        )
    return tuple("int" if kinds[column] in INTEGERS else kinds[column] for column in table.key)


def _type(feature: Feature, kind: str) -> str:
    how = feature.how
    if how == "count":
        return "int64"
    if how in ("sum", "mean") and not is_number(kind):
        raise _unfit(feature, kind, "numbers")
    if how in ("min", "max") and not (is_number(kind) or is_time(kind)):
        raise _unfit(feature, kind, "numbers and times")
    if how == "mean":
        return "float64"
    if how == "sum":
        return "int64" if is_integer(kind) else "float64"
    return kind


def _unfit(feature: Feature, kind: str, allowed: str) -> FeatureInvalid:
    return FeatureInvalid(
        f"feature {feature.name!r} is the {feature.how} of a column that has none",
        received=f"{feature.column}: {kind}",
        allowed=allowed,
        next_step="choose latest, first, last or count, or cast the column before appending (decimals to floats)",
    )


def _about(feature: Any) -> str:
    unit = f" ({feature.unit})" if getattr(feature, "unit", "") else ""
    return f"{feature.description}{unit}".strip()
