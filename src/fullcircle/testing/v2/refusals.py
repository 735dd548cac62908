"""The cases of requests that are wrong: each has to be refused as the protocol says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fullcircle.testing.v2.peer import DATATYPES, Absent, Document, Peer, expect, refused

_MARK = "Xq7Secret"
_NUMBERS = {name for name in DATATYPES if name not in ("BYTES", "BOOL")}


def _case(change: Callable[[Document], Any], what: str) -> Callable[[Peer], None]:
    """A case of a request that has to be refused once it was changed so."""

    def case(peer: Peer) -> None:
        request = peer.one()
        sent = change(request)
        refused(peer.infer(request if sent is None else sent), what)

    case.__doc__ = f"{what[0].upper()}{what[1:]} is an error of the protocol."
    return case


def _shape(request: Document) -> None:
    request["inputs"][0]["shape"] = [7, *request["inputs"][0]["shape"][1:]]


def _datatype(request: Document) -> None:
    request["inputs"][0]["datatype"] = "FP12"


def _texts(request: Document) -> bytes:
    one = next((one for one in request["inputs"] if one["datatype"] in _NUMBERS), None)
    if one is None:
        raise Absent("the model has no input of numbers")
    one["data"] = ["text"] * len(one["data"])
    return json.dumps(request).encode()


def _cut(request: Document) -> bytes:
    return json.dumps(request).encode()[:-3]


def _nan(request: Document) -> bytes:
    one = next((one for one in request["inputs"] if one["datatype"].startswith("FP")), None)
    if one is None:
        raise Absent("the model has no input of floating point numbers")
    one["data"] = [float("nan"), *one["data"][1:]]
    return json.dumps(request).encode()


def _without_data(request: Document) -> None:
    del request["inputs"][0]["data"]


def _deep(request: Document) -> bytes:
    return b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def error_quotes_nothing(peer: Peer) -> None:
    """A refusal quotes no value of the request, and shows no stack."""
    request = peer.one()
    request["inputs"][0]["datatype"] = "FP64"
    request["inputs"][0]["data"] = [_MARK] * len(request["inputs"][0]["data"])
    found = peer.infer(request)
    expect(_MARK.encode() not in found.body, "it quotes a value")
    expect(b"Traceback" not in found.body and b'File \\"' not in found.body, "it shows a stack")


_REFUSED: Mapping[str, tuple[Callable[[Document], Any], str]] = {
    "shape-does-not-fit": (_shape, "a shape with more places than there are data"),
    "datatype-unknown": (_datatype, "a datatype that there is not"),
    "text-for-numbers": (_texts, "text in an input of numbers"),
    "input-without-data": (_without_data, "an input without data"),
    "inputs-missing": (lambda _: b"{}", "a request without inputs"),
    "inputs-empty": (lambda _: b'{"inputs": []}', "a request with no input"),
    "body-empty": (lambda _: b"", "an empty body"),
    "body-cut-short": (_cut, "JSON that is cut short"),
    "body-not-utf8": (lambda _: b'{"inputs": "\xff"}', "a body that is not UTF-8"),
    "body-a-list": (lambda _: b"[]", "a list instead of an object"),
    "body-too-deep": (_deep, "JSON that is nested 100,000 deep"),
    "nan-in-json": (_nan, "NaN, which is no JSON,"),
}
CASES: Mapping[str, Callable[[Peer], None]] = {
    "error-quotes-nothing": error_quotes_nothing,
    **{name: _case(change, what) for name, (change, what) in _REFUSED.items()},
}
