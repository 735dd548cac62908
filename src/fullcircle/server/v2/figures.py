"""Requests of the Open Inference Protocol V2 whose values are all floating point numbers, read at once.

What is read here is what ``tensors`` reads too, value by value (a test compares them): a document that is not exactly
of this form is left to it, and so is every refusal of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fullcircle.server.strict import colons
from fullcircle.server.v2 import binary
from fullcircle.server.v2.tensors import EXACTLY, Asked, Request, Tensor, as_many, checked, members_of, shape_of

if TYPE_CHECKING:
    from fullcircle.runtimes.encoding import Matrix

_decoder = msgspec.json.Decoder(Request[Tensor[Literal["FP32", "FP64"], list[EXACTLY | None]]])


def figures_of(document: bytes) -> Asked | None:
    """The document of a request whose data are flat lists of floating point numbers, decoded at once.

    None for any other, which ``request_of`` has to read, or to refuse.
    """
    try:
        found = _decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    members = members_of(found)
    return found if found.inputs and (members == document.count(b":") or members == colons(document)) else None


def table_of(request: Asked, rest: bytes, width: int, limit: int) -> tuple[list[float | None], Matrix | None] | None:
    """The numbers of a single tensor of this width row by row, and their matrix where they came as bytes.

    None or NaN is a missing value. None where the request, of ``figures_of``, is of another form: see ``listed_of``.
    """
    tensor = request.inputs[0]
    shape: list[int] = tensor.shape
    data: Any = tensor.data
    if len(request.inputs) > 1 or len(shape) != 2 or shape[1] != width:
        return None
    usual = data is not msgspec.UNSET and not (rest or tensor.parameters or request.parameters)
    if usual and 0 < shape[0] <= limit and len(data) == shape[0] * width:
        return data, None
    (part,) = checked(request, rest)
    rows, _ = shape_of(tensor, limit)
    if part is not None:
        matrix = binary.cells(tensor, part, rows * width).reshape(rows, width)
        return matrix.ravel().tolist(), matrix
    return as_many(data, rows * width), None


def listed_of(request: Asked, rest: bytes, names: list[str], limit: int) -> list[list[float | None]] | None:
    """The numbers of each of these columns, in order, of a request of ``figures_of``. None as in ``table_of``."""
    inputs, count = request.inputs, len(request.inputs)
    shape: list[int] = inputs[0].shape
    if rest or request.parameters or count != len(names) or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        return None
    alike = [one.shape for one in inputs].count(shape) == count
    if not alike or not 0 < shape[0] <= limit or [one.parameters for one in inputs].count(msgspec.UNSET) != count:
        return None
    given: list[str] = [one.name for one in inputs]
    lists: list[Any] = [one.data for one in inputs]
    if given != names:
        found = dict(zip(given, lists, strict=True))
        if found.keys() != set(names):
            return None
        lists = [found[name] for name in names]
    return lists if set(map(type, lists)) == {list} and set(map(len, lists)) == {shape[0]} else None
