"""The request of the Open Inference Protocol V2, and its tensors as columns of plain values.

Read as strictly as the native protocol: no key twice, no value that its datatype cannot hold, no shape that does not
fit the data. Rows come as one tensor for each column, shape [n] or [n, 1], or, where every column is a number, as one
tensor of shape [n, columns] in the contract's order. A JSON null is a missing value, and so is NaN in binary data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.values import EXACT
from fullcircle.server.requests import check_count
from fullcircle.server.strict import colons, decode
from fullcircle.server.v2 import binary

Kind = TypeVar("Kind", bound=str)
Data = TypeVar("Data")
One = TypeVar("One")
Inputs = Sequence[tuple[str, str]]
Parameter = str | int | float | bool | None
CONTENT_TYPES = ("np", "pd", "str", "datetime")
FORM = (
    '{"id"?: TEXT, "parameters"?: {...}, "inputs": [{"name": COLUMN, "shape": [ROWS], "datatype": "FP64", '
    '"data": [...]}, ...], "outputs"?: [{"name": OUTPUT}, ...]}'
)
_NEXT = "ask GET /v2/models/NAME for the inputs and outputs of the model"
_STATEFUL = ("sequence_id", "sequence_start", "sequence_end")
_WHOLE = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_FLOAT = {"FP16", "FP32", "FP64"}
_NUMBERS = {"integer", "number", "boolean"}
# What these do not take is looked at value by value: from 2**53 on a float may stand for another whole number.
EXACTLY = Annotated[float, msgspec.Meta(gt=float(-EXACT), lt=float(EXACT))]
# From here on IEEE 754 rounds to infinity: half a last place beyond the largest number.
_BEYOND = {"FP16": 65520.0, "FP32": (2.0 - 2.0**-24) * 2.0**127, "FP64": math.inf}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    **dict.fromkeys(("FP32", "FP64"), msgspec.json.Decoder(list[EXACTLY | None])),
    "FP16": msgspec.json.Decoder(list[Annotated[float, msgspec.Meta(gt=-65520.0, lt=65520.0)] | None]),
    **{
        name: msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=low, le=min(high, 2**63 - 1))] | None])
        for name, (low, high) in _WHOLE.items()
    },
    "BOOL": msgspec.json.Decoder(list[bool | None]),
    "BYTES": msgspec.json.Decoder(list[str | None]),
}


class Tensor(msgspec.Struct, Generic[Kind, Data], forbid_unknown_fields=True, gc=False):
    """One input: its data as JSON, or ``binary_data_size`` bytes behind the document."""

    name: str
    shape: list[int]
    datatype: Kind
    parameters: dict[str, Parameter] | msgspec.UnsetType | None = msgspec.UNSET
    data: Data | msgspec.UnsetType = msgspec.UNSET


AnyTensor = Tensor[Any, Any]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Parameter] | msgspec.UnsetType | None = msgspec.UNSET


class Request(msgspec.Struct, Generic[One], forbid_unknown_fields=True, gc=False):
    """The document. ``model_name`` and ``model_version`` are what some clients repeat of the address."""

    inputs: list[One]
    id: str | msgspec.UnsetType | None = msgspec.UNSET
    model_name: str | msgspec.UnsetType | None = msgspec.UNSET
    model_version: str | msgspec.UnsetType | None = msgspec.UNSET
    parameters: dict[str, Parameter] | msgspec.UnsetType | None = msgspec.UNSET
    outputs: list[Wanted] | msgspec.UnsetType | None = msgspec.UNSET


Asked = Request[AnyTensor]
_decoder = msgspec.json.Decoder(Request[Tensor[str, msgspec.Raw]])


def request_of(document: bytes) -> Asked:
    """The document of a request. Raises RequestInvalid, which quotes no value."""
    try:
        found = _decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        decode(document)  # says so where it is no JSON that is accepted at all
        said = str(error)
        said = "an object has a member that is not known" if "unknown field" in said else said[:1].lower() + said[1:]
        raise _unfit(f"the body is not an inference request: {said}", FORM) from error
    expected = members_of(found)
    if expected != document.count(b":") and expected != colons(document):
        raise RequestInvalid(
            "a key occurs twice in one object of the body, or there is an object in data",
            allowed=FORM,
            next_step="send each key once, and data as plain values",
        )
    if not found.inputs:
        raise _unfit("there is no input", FORM)
    return found


def columns_of(request: Asked, rest: bytes, inputs: Inputs, limit: int) -> dict[str, list[Any]]:
    """The values of each column, all lists of one length, at least one. ``rest`` is what is behind the document.

    ``inputs`` are the columns that a row has to bring, with their kinds. ``limit`` is the most rows that a request
    may have. Raises RequestInvalid.
    """
    names = [name for name, _ in inputs]
    plain = all(kind in _NUMBERS for _, kind in inputs)
    parts = checked(request, rest)
    found: dict[str, list[Any]] = {}
    shape: list[int] = []
    count = rows = width = 0
    for tensor, part in zip(request.inputs, parts, strict=True):
        if tensor.shape != shape or tensor.datatype not in _DECODERS:  # columns have one shape, nearly always
            rows, width = shape_of(tensor, limit)
            shape = tensor.shape
        count = count or rows
        if rows != count:
            raise _unfit("the inputs have different numbers of rows", "as many rows in each input")
        values = _from_json(tensor, rows * width) if part is None else binary.values(tensor, part, rows * width)
        if width > 1 or (plain and len(names) == 1 == len(request.inputs)):  # a table, whatever it is called
            if not plain or width != len(names) or len(request.inputs) != 1:
                raise _not_rows(len(names), plain=plain)
            return {name: values[place::width] for place, name in enumerate(names)}
        if tensor.name in found:
            raise _unfit("two inputs have one name", "each column once")
        found[tensor.name] = values
    return found


def checked(request: Asked, rest: bytes) -> list[bytes | None]:
    """The bytes of each input, None where its data are JSON. Raises RequestInvalid for what cannot be kept to."""
    if request.parameters:
        if any(request.parameters.get(name) for name in _STATEFUL):
            raise _unfit("the model keeps no state from request to request", f"no {', '.join(_STATEFUL)}")
        _check_content_type(request.parameters)
    return binary.parts([_binary_size(tensor) for tensor in request.inputs], rest)


def _check_content_type(parameters: dict[str, Parameter]) -> None:
    if parameters.get("content_type") not in (None, *CONTENT_TYPES):
        raise _unfit("the content_type of a parameter is not known", ", ".join(CONTENT_TYPES))


def _not_rows(width: int, *, plain: bool) -> RequestInvalid:
    more = f", or a single tensor of shape [rows, {width}] in the order of the metadata" if plain else ""
    return _unfit(
        "a tensor has a shape that stands for no rows of this model",
        f"one tensor of shape [rows] or [rows, 1] for each column{more}",
    )


def shape_of(tensor: AnyTensor, limit: int) -> tuple[int, int]:
    """How many rows and columns a tensor has."""
    shape = tensor.shape
    if tensor.datatype not in _DECODERS:
        raise _unfit("the datatype of an input is not known", ", ".join(sorted(_DECODERS)))
    if len(shape) not in (1, 2) or min(shape) < 1:
        raise _unfit("the shape of an input is not that of rows", "[rows] or [rows, columns], at least one of each")
    check_count(shape[0], "rows", limit)
    return shape[0], shape[1] if len(shape) == 2 else 1


def _binary_size(tensor: AnyTensor) -> int | None:
    """How many bytes of the tensor are behind the document; None where its data are in it."""
    size: Any = None
    if tensor.parameters:
        _check_content_type(tensor.parameters)
        if any(name.startswith("shared_memory") for name in tensor.parameters):
            raise _unfit("this server reads no shared memory", "data in the request")
        size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is msgspec.UNSET):
        raise _unfit("an input has no data, or has them twice", "data, or the parameter binary_data_size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise _unfit("binary_data_size is not a number of bytes", "a whole number")
    return size


def _from_json(tensor: AnyTensor, count: int) -> list[Any]:
    """The values of a tensor, row by row."""
    data: Any = tensor.data
    if isinstance(data, list):  # of figures_of
        return as_many(data, count)
    try:
        values: list[Any] = _DECODERS[tensor.datatype].decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        values = _by_hand(tensor, data)
    return as_many(values, count)


def as_many(values: list[Any], count: int) -> list[Any]:
    """These values, where they are as many as their shape has places. Raises RequestInvalid."""
    if len(values) != count:
        raise _unfit(
            "an input has more or fewer values than its shape says", "as many values as the shape has places"
        )
    return values


def _by_hand(tensor: AnyTensor, data: Any) -> list[Any]:
    """Values that are nested, or written in another way than most."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(
            "the data of an input is not JSON that is accepted", "a list of values, flat or nested"
        ) from error
    for size in tensor.shape[1:] if _nested(found) else ():
        if not all(isinstance(part, list) and len(part) == size for part in found):
            raise _unfit("the data of an input is not nested as its shape says", "flat, or a list for each row")
        found = [value for part in found for value in part]
    if not isinstance(found, list):
        raise _unfit("the data of an input is not a list", "a list of values, flat or nested")
    return [_value(tensor, value) for value in found]


def _nested(found: Any) -> bool:
    return isinstance(found, list) and any(isinstance(part, list) for part in found)


def _value(tensor: AnyTensor, value: Any) -> Any:
    """One value as its datatype has it. Raises RequestInvalid where that would change it."""
    kind = tensor.datatype
    if value is None:
        return None
    if kind == "BYTES" and isinstance(value, str):
        return value
    if kind == "BOOL" and isinstance(value, bool):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or kind in ("BYTES", "BOOL"):
        raise _misfit(tensor)
    if kind in _WHOLE:
        if isinstance(value, float) and not (math.isfinite(value) and value.is_integer() and abs(value) < EXACT):
            raise _misfit(tensor)
        low, high = _WHOLE[kind]
        if not low <= value <= high:
            raise _misfit(tensor)
        return int(value)
    if isinstance(value, int) and not (value.bit_length() <= 1023 and int(float(value)) == value):
        raise _misfit(tensor)
    if abs(value) >= _BEYOND[kind]:
        raise _misfit(tensor)
    return float(value)


def members_of(request: Asked) -> int:
    """How many members all objects of the document were written with, but those within data."""
    unset = msgspec.UNSET
    count = 1 + 4 * len(request.inputs)
    count += (request.id is not unset) + (request.model_name is not unset) + (request.model_version is not unset)
    if request.parameters is not unset:
        count += 1 + len(request.parameters or ())
    for tensor in request.inputs:
        if tensor.parameters is not unset:
            count += 1 + len(tensor.parameters or ())
        if tensor.data is unset:
            count -= 1
    if request.outputs is not unset:
        count += 1
        for wanted in request.outputs or ():
            count += 1 if wanted.parameters is unset else 2 + len(wanted.parameters or ())
    return count


def _misfit(tensor: AnyTensor) -> RequestInvalid:
    return _unfit(
        "a value does not fit the datatype of its input", f"what {tensor.datatype} holds, or null for a missing value"
    )


def _unfit(what: str, allowed: str) -> RequestInvalid:
    return RequestInvalid(what, allowed=allowed, next_step=_NEXT)
