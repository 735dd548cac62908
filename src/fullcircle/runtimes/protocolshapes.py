"""The parts of the OpenAPI document that are of other protocols: Open Inference V2, and MLflow's with SageMaker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fullcircle.types.contract import Contract, Value

Shape = dict[str, Any]

_TEXT: Shape = {"type": "string"}
_DATATYPES = ["BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "FP16", "FP32", "FP64"]
_KINDS = {"integer": "INT64", "number": "FP64", "boolean": "BOOL"}
_TYPES: Mapping[type, str] = {bool: "BOOL", int: "INT64", float: "FP64"}


def _object(properties: Shape, *required: str) -> Shape:
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(of: Shape) -> Shape:
    return {"type": "array", "items": of}


def _ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(of: Shape) -> Shape:
    return {"application/json": {"schema": of}}


_TENSOR = _object(
    {
        "name": _TEXT,
        "shape": _list({"type": "integer", "minimum": 0}),
        "datatype": {"enum": [*_DATATYPES, "BYTES"]},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "flat or nested; null is a missing value"},
    },
    "name",
    "shape",
    "datatype",
)
_WANTED = _object({"name": _TEXT, "parameters": {"type": "object"}}, "name")
SCHEMAS: Shape = {
    "V2Tensor": _TENSOR,
    "V2Request": _object(
        {
            "id": _TEXT,
            "parameters": {"type": "object"},
            "inputs": {**_list(_ref("V2Tensor")), "minItems": 1},
            "outputs": _list(_WANTED),
        },
        "inputs",
    ),
    "V2Response": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": {"type": "object"},
            "outputs": _list(_ref("V2Tensor")),
        },
        "model_name",
        "id",
        "outputs",
    ),
    "V2Error": _object({"error": _TEXT}, "error"),
    "MlflowRequest": {
        "oneOf": [
            _object({"dataframe_split": {"type": "object"}}, "dataframe_split"),
            _object({"dataframe_records": _list({"type": "object"})}, "dataframe_records"),
            _object({"instances": {"type": "array"}}, "instances"),
            _object({"inputs": {"type": ["object", "array"]}}, "inputs"),
        ]
    },
    "MlflowResponse": _object({"predictions": {"type": "array"}}, "predictions"),
    "MlflowError": _object({"error_code": _TEXT, "message": _TEXT}, "error_code", "message"),
}
"""Schemas by name; no model has another."""


def tensors(contract: Contract, row: Mapping[str, Value]) -> Shape:
    """One row as a V2 request, a tensor for each column; what has no value is left out."""
    kinds = {column.name: column.kind for column in contract.columns}
    inputs = [
        {"name": name, "shape": [1], "datatype": datatype(kinds.get(name, ""), value), "data": [value]}
        for name, value in row.items()
        if value is not None
    ]
    return {"inputs": inputs}


def of_model(name: str, contract: Contract, row: Mapping[str, Value]) -> Shape:
    """The addresses of one model, with a row as the example."""
    v2 = _infer(f"infer_{name}", f"Predict {contract.label_name or contract.label}, by Open Inference V2", [name])
    v2["post"]["requestBody"]["content"]["application/json"]["examples"] = {
        "tensors": {"summary": "a tensor for each column", "value": tensors(contract, row)}
    }
    mlflow = _invoke(f"invoke_{name}", [name])
    mlflow["post"]["requestBody"]["content"]["application/json"]["examples"] = {
        "records": {"summary": "dataframe_records", "value": {"dataframe_records": [dict(row)]}}
    }
    return {f"/v2/models/{name}/infer": v2, f"/invocations/{name}": mlflow}


def datatype(kind: str, value: Value = None) -> str:
    """The datatype of a column of this kind; where it has none, that of a value."""
    return _KINDS.get(kind) or ("BYTES" if kind else _TYPES.get(type(value), "BYTES"))


def _refused(shape: str, *statuses: str) -> Shape:
    return {status: {"description": "refused, and why", "content": _json(_ref(shape))} for status in statuses}


_ALL = ("400", "401", "403", "404", "405", "408", "413", "415", "421", "422", "429", "503")
_READ = ("401", "403", "404", "405", "421", "429")


def _named(*names: str) -> list[Shape]:
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]


def _infer(operation: str, summary: str, tags: list[str], *names: str) -> Shape:
    binary = {
        "description": "The JSON, then the tensors' bytes; Inference-Header-Content-Length says where they begin."
    }
    content = {**_json(_ref("V2Request")), "application/octet-stream": {"schema": binary}}
    answered = {**_json(_ref("V2Response")), "application/octet-stream": {"schema": binary}}
    post = {
        "operationId": operation,
        "summary": summary,
        "tags": tags,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "outputs", "content": answered}, **_refused("V2Error", *_ALL)},
    }
    return {"post": {**post, "parameters": _named(*names)} if names else post}


def _invoke(operation: str, tags: list[str]) -> Shape:
    rejected = {"description": "how many rows were rejected", "schema": {"type": "integer"}}
    good = {
        "description": "a prediction for each row, null where it was rejected",
        "headers": {"X-Fullcircle-Rejected": rejected},
        "content": _json(_ref("MlflowResponse")),
    }
    content = {**_json(_ref("MlflowRequest")), "text/csv": {"schema": _TEXT}}
    return {
        "post": {
            "operationId": operation,
            "summary": "Predict, by MLflow's scoring protocol",
            "tags": tags,
            "requestBody": {"required": True, "content": content},
            "responses": {"200": good, **_refused("MlflowError", *_ALL)},
        }
    }


def _get(summary: str, shape: Shape, *names: str, error: str = "V2Error", waits: bool = False) -> Shape:
    refused = _refused(error, *_READ, *(["503"] if waits else []))
    responses = {"200": {"description": summary, "content": _json(shape)}, **refused}
    found: Shape = {"summary": summary, "tags": ["protocols"], "responses": responses}
    return {"get": {**found, "parameters": _named(*names)} if names else found}


def _managed(summary: str, *names: str) -> Shape:
    responses = {"200": {"description": summary}, **_refused("V2Error", *_READ, "400", "503")}
    found: Shape = {"summary": summary, "tags": ["protocols"], "responses": responses}
    return {"post": {**found, "parameters": _named(*names)} if names else found}


_OBJECT: Shape = {"type": "object"}
_PLAIN: Shape = {"content": {"text/plain": {"schema": _TEXT}}}


def _ping(summary: str) -> Shape:
    responses = {"200": {"description": summary, **_PLAIN}, **_refused("MlflowError", *_READ, "503")}
    return {"get": {"summary": summary, "tags": ["protocols"], "responses": responses}}


PATHS: Shape = {
    "/v2": _get("What the server is, by Open Inference V2", _OBJECT),
    "/v2/health/live": _get("The process answers", _OBJECT),
    "/v2/health/ready": _get("Every wanted model answers", _OBJECT, waits=True),
    "/v2/models": _get("The models that are served", _OBJECT),
    "/v2/models/{model}": _get("Inputs and outputs of a model", _OBJECT, "model"),
    "/v2/models/{model}/ready": _get("The model answers", _OBJECT, "model", waits=True),
    "/v2/models/{model}/versions/{version}": _get("The same of the served version", _OBJECT, "model", "version"),
    "/v2/models/{model}/versions/{version}/ready": _get(
        "The version answers", _OBJECT, "model", "version", waits=True
    ),
    "/v2/models/{model}/versions/{version}/infer": _infer(
        "infer_version", "Predict, by the served version alone", ["protocols"], "model", "version"
    ),
    "/v2/repository/index": _managed("The models of the repository and their state"),
    "/v2/repository/models/{model}/load": _managed("Let a model answer again", "model"),
    "/v2/repository/models/{model}/unload": _managed("Let a model answer no more", "model"),
    "/invocations": _invoke("invoke", ["protocols"]),
    "/ping": _ping("The server is ready: SageMaker's and MLflow's question"),
    "/health": _ping("The same"),
    "/version": _ping("The version of fullcircle"),
}
"""The addresses that every server has."""
