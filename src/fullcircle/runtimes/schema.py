"""A contract as JSON Schema (2020-12), and what a server offers as an OpenAPI 3.1 document. Plain dictionaries.

The law that holds between a schema and ``contracts.examine``, for values as they come out of JSON: a row that the
schema takes is never rejected for a missing value, a wrong type or an unknown column, and a row that is ok is taken.
JSON Schema has no words for three things, and there the server's own verdict counts: whole numbers beyond 2**53
(refused where a 64-bit float does not hold them, or where they are written as 1e18), days that are in no calendar or
not from 1678 to 2261, and times in ISO 8601's rarer forms (2011-W01-1, 20110101), which are taken all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fullcircle.runtimes import answershapes, columnschema, protocolshapes
from fullcircle.types.contract import Contract, Value

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROWS = 10_000
EXPLAINED_ROWS = 20
_REQUEST_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
_OF_REQUEST: dict[str, Value] = {"int": 1, "float": 1.0, "bool": True, "str": "text"}
_KEY_TYPES: dict[str, Schema] = {
    "int": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "text": {"type": "string"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
}
# No key of a row: it may be a customer's.
_OF_KEY: dict[str, Value] = {"int": 1, "bool": True, "date": "2020-01-01"}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model as its server describes it.

    ``keys`` (column to int, text, bool or date) and ``request`` (column to int, float, bool or str) are those of its
    feature view: a row brings these, and the other columns are looked up. ``explained`` says whether /explain answers
    for it.
    """

    name: str
    version: int
    contract: Contract
    keys: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, str] = field(default_factory=dict)
    explained: bool = True


def row(
    contract: Contract, *, keys: Mapping[str, str] | None = None, request: Mapping[str, str] | None = None
) -> Schema:
    """The schema of one row. With ``keys`` the features are looked up, so only these and ``request`` are required.

    A key whose kind is "", not known, is of any type.
    """
    properties, required = _columns(contract, keys or {}, request or {})
    return {
        "title": "one row",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": not columnschema.rejects_unknown(contract),
        "description": f"A column that the model does not have: {contract.unknown}.",
    }


def columns(
    contract: Contract, *, keys: Mapping[str, str] | None = None, request: Mapping[str, str] | None = None
) -> Schema:
    """The schema of rows as columns: each a list of as many values as there are rows."""
    properties, required = _columns(contract, keys or {}, request or {})
    lists = {
        name: {"type": "array", "items": below, "minItems": 1, "maxItems": ROWS} for name, below in properties.items()
    }
    return {
        "title": "rows as columns",
        "type": "object",
        "properties": lists,
        "required": required,
        "minProperties": 1,
        "additionalProperties": False if columnschema.rejects_unknown(contract) else {"type": "array"},
        "description": "One list for each column, all of one length.",
    }


def body(
    contract: Contract, *, keys: Mapping[str, str] | None = None, request: Mapping[str, str] | None = None
) -> Schema:
    """The schema of the body of a prediction request, a document of its own: rows, or columns."""
    return {
        "$schema": DIALECT,
        "title": f"a request to predict {contract.label_name or contract.label}",
        **_body("#/$defs/row", "#/$defs/columns"),
        "$defs": {
            "row": row(contract, keys=keys, request=request),
            "columns": columns(contract, keys=keys, request=request),
        },
    }


def example(
    contract: Contract, *, keys: Mapping[str, str] | None = None, request: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A row that the schema takes, without any value of a private column.

    What may be left out of a private column is left out; a value that has to be there is neutral. So is a key, of its
    own type; one of text is called KEY.
    """
    known = {column.name: column for column in contract.columns}
    if keys:
        names = [name for name in (request or {}) if name in known]
        others = {name: _OF_REQUEST[kind] for name, kind in (request or {}).items() if name not in known}
        begun: dict[str, Any] = {name: _OF_KEY.get(kind, "KEY") for name, kind in keys.items()} | others
    else:
        names, begun = list(known), {}
    found = {name: columnschema.example(known[name]) for name in names}
    optional = {name for name in names if columnschema.optional(contract, known[name])}
    return begun | {name: one for name, one in found.items() if one is not None or name not in optional}


def openapi(served: Sequence[Served], *, version: str = "1") -> Schema:
    """The OpenAPI 3.1 document of a server with these models. ``version`` is that of the document."""
    paths: Schema = {}
    schemas: Schema = {**answershapes.SCHEMAS, **protocolshapes.SCHEMAS}
    for model in sorted(served, key=lambda one: one.name):
        schemas |= _schemas(model)
        paths[f"/predict/{model.name}"] = {"post": _predict(model)}
        if model.explained:
            paths[f"/explain/{model.name}"] = {"post": _explain(model)}
        one = example(model.contract, keys=model.keys, request=model.request)
        paths |= protocolshapes.of_model(model.name, model.contract, one)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "fullcircle",
            "version": version,
            "description": "Predictions with a verdict for each row. Answers from 400 on have one shape "
            "in each protocol: an error.",
        },
        "paths": {**paths, **answershapes.PATHS, **protocolshapes.PATHS},
        "components": {
            "schemas": schemas,
            "responses": answershapes.RESPONSES,
            "headers": answershapes.HEADERS,
        },
    }


def _columns(contract: Contract, keys: Mapping[str, str], request: Mapping[str, str]) -> tuple[Schema, list[str]]:
    properties: Schema = {column.name: columnschema.of(contract, column) for column in contract.columns}
    required = [column.name for column in contract.columns if not columnschema.optional(contract, column)]
    for name in contract.context:
        properties[name] = {"description": "Logged with the prediction; the model does not see it."}
    if keys:
        own = dict.fromkeys(required)
        required = [*keys, *(name for name in request if name in own or name not in contract.names)]
        for name, kind in keys.items():
            properties[name] = {**_KEY_TYPES.get(kind, {}), "description": "A key: the features are looked up by it."}
        for name, kind in request.items():
            if name not in contract.names:
                properties[name] = {"type": _REQUEST_TYPES[kind], "description": "A column of the request."}
    return properties, required


def _body(row_at: str, columns_at: str) -> Schema:
    rows = {"type": "array", "items": {"$ref": row_at}, "minItems": 1, "maxItems": ROWS}
    return {
        "oneOf": [
            {"type": "object", "properties": {"rows": rows}, "required": ["rows"], "additionalProperties": False},
            {
                "type": "object",
                "properties": {"columns": {"$ref": columns_at}},
                "required": ["columns"],
                "additionalProperties": False,
            },
        ]
    }


def _schemas(model: Served) -> Schema:
    return {
        f"{model.name}.row": row(model.contract, keys=model.keys, request=model.request),
        f"{model.name}.columns": columns(model.contract, keys=model.keys, request=model.request),
        f"{model.name}.request": _body(_at(model, "row"), _at(model, "columns")),
    }


def _at(model: Served, part: str) -> str:
    return f"#/components/schemas/{model.name}.{part}"


def _predict(model: Served) -> Schema:
    one = example(model.contract, keys=model.keys, request=model.request)
    said = model.contract.label_name or model.contract.label
    content = {
        "schema": {"$ref": _at(model, "request")},
        "examples": {
            "rows": {"summary": "rows", "value": {"rows": [one]}},
            "columns": {"summary": "columns", "value": {"columns": {name: [given] for name, given in one.items()}}},
        },
    }
    return {
        "operationId": f"predict_{model.name}",
        "summary": f"Predict {said}" + (f" ({model.contract.label_unit})" if model.contract.label_unit else ""),
        "description": f"{model.contract.task.capitalize()}, version {model.version}. Each row gets a verdict: ok, "
        "imputed, flagged, fallback or rejected, with the columns and the reasons.",
        "tags": [model.name],
        "requestBody": {"required": True, "content": {"application/json": content, **answershapes.STREAM}},
        "responses": answershapes.answers(
            "Predictions", "a prediction for each row", "every row was rejected", answershapes.STREAM
        ),
    }


def _explain(model: Served) -> Schema:
    one = example(model.contract, keys=model.keys, request=model.request)
    rows = {"type": "array", "items": {"$ref": _at(model, "row")}, "minItems": 1, "maxItems": EXPLAINED_ROWS}
    return {
        "operationId": f"explain_{model.name}",
        "summary": "What moved each prediction, and by how much",
        "tags": [model.name],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "properties": {"rows": rows}, "required": ["rows"]},
                    "examples": {"rows": {"value": {"rows": [one]}}},
                }
            },
        },
        "responses": answershapes.answers("Explanations", "an explanation of each row", "no row could be explained"),
    }
