"""JSON as it is written, or a clear refusal: nothing is guessed, rounded, dropped or overwritten.

msgspec already refuses NaN, infinity, numbers beyond a float, lone surrogates, other encodings and trailing
text, and keeps whole numbers exact. What it does not do is refuse a key that occurs twice (the last one would
win) and bound the depth; both are done here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from fullcircle.errors import RequestInvalid

MAX_DEPTH = 16
_NEXT = "send one JSON document in UTF-8: finite numbers (null for a missing value), no key twice in an object"
_decoder = msgspec.json.Decoder()


def decode(body: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """The document in ``body``, nested at most ``depth`` deep. Raises RequestInvalid, which quotes no value."""
    try:
        with _uncollected():
            document = _decoder.decode(body)
    except RecursionError as error:
        raise _too_deep(depth) from error
    except UnicodeDecodeError as error:
        raise RequestInvalid("the body is not UTF-8", next_step=_NEXT) from error
    except msgspec.MsgspecError as error:
        raise RequestInvalid(f"the body is not JSON that is accepted: {_plain(error)}", next_step=_NEXT) from error
    members = _members(document, depth, depth)
    if members != body.count(b":") and members != colons(body):
        raise RequestInvalid("a key occurs twice in one object of the body", next_step=_NEXT)
    return document


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage meanwhile: of a million empty lists it would make a second instead of a tenth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _members(value: Any, left: int, depth: int) -> int:
    """How many members all objects within ``value`` have together, after the last of equal keys won."""
    if type(value) is not dict and type(value) is not list:
        return 0
    if left == 0:
        raise _too_deep(depth)
    count = len(value) if isinstance(value, dict) else 0
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) is dict or type(item) is list:
            count += _members(item, left - 1, depth)
    return count


def colons(body: bytes) -> int:
    """How many members a valid document was written with: its colons outside of strings.

    Without escaped backslashes and quotes every second piece between quotes lies outside of strings.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return sum(piece.count(b":") for piece in body.split(b'"')[::2])


def _plain(error: msgspec.MsgspecError) -> str:
    text = str(error).removeprefix("JSON is malformed: ")
    return text[0].lower() + text[1:] if text else "malformed"


def _too_deep(depth: int) -> RequestInvalid:
    return RequestInvalid("the body is nested too deep", allowed=f"at most {depth} levels", next_step=_NEXT)
