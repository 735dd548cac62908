"""The parts of the OpenAPI document that are the same for every model: shapes of answers, and the fixed paths."""

from __future__ import annotations

from typing import Any

from fullcircle.types.contract import POLICIES, STATUSES

Shape = dict[str, Any]

_TEXT: Shape = {"type": "string"}
_VALUE: Shape = {"type": ["number", "string", "boolean", "null"], "description": "null where there is no answer"}
_VERSION: Shape = {"type": "integer", "minimum": 0}
_PROBLEM: Shape = {
    "type": "object",
    "description": "One way in which one row did not fit, and what was done about it.",
    "properties": {
        "column": _TEXT,
        "reason": {"enum": ["missing", "unseen", "outside", "wrong_type", "unknown", "model"]},
        "action": {"enum": list(POLICIES)},
        "text": _TEXT,
    },
    "required": ["column", "reason", "action", "text"],
}
_ERROR: Shape = {
    "type": "object",
    "properties": {"code": _TEXT, "message": _TEXT, "received": _TEXT, "allowed": _TEXT, "next": _TEXT},
    "required": ["code", "message"],
}
_STATUS: Shape = {"enum": list(STATUSES)}


def _ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: Shape) -> Shape:
    return {"type": "array", "items": of}


def _object(properties: Shape, *required: str) -> Shape:
    return {"type": "object", "properties": properties, "required": list(required)}


def _json(of: Shape) -> Shape:
    return {"application/json": {"schema": of}}


_PREDICTION = _object(
    {
        "id": {"type": "string", "description": "for /outcomes, and for fullcircle why"},
        "prediction": _VALUE,
        "verdict": _STATUS,
        "problems": _list(_ref("Problem")),
        "probabilities": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}},
        "answered_by": {"enum": ["previous", "prior"], "description": "who gave the answer of a fallback"},
        "version": {"type": "integer", "description": "who answered the row, where several versions answered"},
    },
    "id",
    "prediction",
    "verdict",
    "problems",
)
_EXPLANATION = _object(
    {
        "prediction": _VALUE,
        "verdict": _STATUS,
        "problems": _list(_ref("Problem")),
        "text": _TEXT,
        "explained": {"type": "string", "description": "the number that the contributions explain"},
        "answer": {"type": ["number", "null"]},
        "base": {"type": ["number", "null"], "description": "the mean over the rows it is compared with"},
        "method": {"enum": ["exact", "sampled"]},
        "background": {"type": "integer"},
        "asked": {"type": "integer"},
        "contributions": _list(
            _object(
                {
                    "column": _TEXT,
                    "contribution": {"type": "number"},
                    "error": {"type": "number"},
                    "label": _TEXT,
                    "unit": _TEXT,
                    "value": _VALUE,
                },
                "column",
                "contribution",
                "error",
            )
        ),
    },
    "prediction",
    "verdict",
    "problems",
    "text",
)
_LABEL: Shape = {"type": ["number", "string", "boolean"]}
_OUTCOME: Shape = {
    "oneOf": [
        _object({"id": _TEXT, "value": _LABEL}, "id", "value"),
        _object({"key": {"type": "object"}, "at": _TEXT, "within": _TEXT, "value": _LABEL}, "key", "at", "value"),
    ]
}
_BECAME = _object(
    {"id": _TEXT, "status": {"enum": ["accepted", "unknown", "waiting", "rejected"]}, "text": _TEXT}, "id", "status"
)
_SERVED = _object(
    {
        "name": _TEXT,
        "version": {"type": ["integer", "null"]},
        "bundle": {"type": ["string", "null"], "description": "the SHA-256 of the bundle"},
        "problem": {"type": ["object", "null"], "description": "why a newer version does not answer"},
    },
    "name",
    "version",
)

SCHEMAS: Shape = {
    "Error": _object({"error": _ERROR}, "error"),
    "Problem": _PROBLEM,
    "Prediction": _PREDICTION,
    "Predictions": _object(
        {"model": _TEXT, "version": _VERSION, "predictions": _list(_ref("Prediction")), "error": _ERROR},
        "model",
        "version",
        "predictions",
    ),
    "Explanation": _EXPLANATION,
    "Explanations": _object(
        {"model": _TEXT, "version": _VERSION, "rows": _list(_ref("Explanation")), "error": _ERROR},
        "model",
        "version",
        "rows",
    ),
    "Outcomes": {
        **_object(
            {"model": _TEXT, "outcomes": {**_list(_OUTCOME), "minItems": 1, "maxItems": 10_000}}, "model", "outcomes"
        ),
        "additionalProperties": False,
    },
    "Labels": _object({"model": _TEXT, "outcomes": _list(_BECAME), "error": _ERROR}, "model", "outcomes"),
    "Models": _object({"models": _list(_SERVED)}, "models"),
}
"""Schemas by name; those of a model's own rows come beside them."""

HEADERS: Shape = {
    "RetryAfter": {"description": "in how many seconds to try again", "required": True, "schema": {"type": "integer"}}
}

_REFUSALS = {
    "400": "the body or the request is not understood",
    "401": "a token is wanted",
    "403": "the token does not allow this",
    "404": "no such model or address",
    "405": "another method is wanted: see Allow",
    "408": "the body took too long to arrive",
    "413": "the body is too large, or has too many rows",
    "415": "the body is not of an accepted type",
    "421": "addressed to a name that this server does not go by",
}
_WAITS = {"429": "too many requests: try again later", "503": "overloaded, shutting down, or not ready: try again"}

RESPONSES: Shape = {
    f"Refused{status}": {"description": text, "content": _json(_ref("Error"))} for status, text in _REFUSALS.items()
} | {
    f"Refused{status}": {
        "description": text,
        "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
        "content": _json(_ref("Error")),
    }
    for status, text in _WAITS.items()
}
"""Every refusal, each with the one shape of an error."""


def _refused(*statuses: str) -> Shape:
    return {status: {"$ref": f"#/components/responses/Refused{status}"} for status in statuses}


STREAM: Shape = {
    "application/vnd.apache.arrow.stream": {
        "schema": {"description": "An Arrow IPC stream of rows as columns, where the server has pyarrow; else 415."}
    }
}
"""The other content of a prediction request, and of its answer where it is asked for with Accept."""


def answers(shape: str, good: str, bad: str, also: Shape | None = None) -> Shape:
    """The answers of an address that takes a body: 200, 422 of the same shape with an error, and refusals.

    ``also`` is other content of the good answer.
    """
    return {
        "200": {"description": good, "content": {**_json(_ref(shape)), **(also or {})}},
        "422": {
            "description": bad,
            "content": _json({"anyOf": [_ref(shape), _ref("Error")]}),
        },
        **_refused(*_REFUSALS, *_WAITS),
    }


def _get(summary: str, content: Shape, *, waits: bool = False) -> Shape:
    """A page that is read. All are refused alike where they are addressed to a stranger, or there are too many."""
    responses = {"200": {"description": summary, "content": content}}
    refused = _refused("401", "403", "405", "421", "429", *(["503"] if waits else []))
    return {"get": {"summary": summary, "tags": ["server"], "responses": {**responses, **refused}}}


PATHS: Shape = {
    "/outcomes": {
        "post": {
            "operationId": "outcomes",
            "summary": "Take labels that came later, by prediction id or by key and time; the last one counts",
            "tags": ["server"],
            "requestBody": {"required": True, "content": _json(_ref("Outcomes"))},
            "responses": answers("Labels", "what became of each outcome", "no outcome was accepted"),
        }
    },
    "/models": _get("What is served, and why a newer version is not", _json(_ref("Models"))),
    "/health/live": _get("The process answers", _json(_object({"live": {"const": True}}, "live"))),
    "/health/ready": _get(
        "Every wanted model answers", _json(_object({"ready": {"const": True}}, "ready")), waits=True
    ),
    "/metrics": _get("Metrics for Prometheus", {"text/plain": {"schema": _TEXT}}, waits=True),
    "/openapi.json": _get("This document", _json({"type": "object"})),
    "/docs": _get("This document for people", {"text/html": {"schema": _TEXT}}),
}
"""The addresses that every server has."""
