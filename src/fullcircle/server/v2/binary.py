"""Tensors as bytes behind the JSON document: the binary tensor data extension of the Open Inference Protocol.

The header ``Inference-Header-Content-Length`` says how long the document is; behind it stand the tensors that have
the parameter ``binary_data_size``, in the order of the document, little-endian and row by row. An element of BYTES is
its length in four bytes, and then its text in UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.errors import RequestInvalid

if TYPE_CHECKING:
    import numpy as np

    from fullcircle.server.v2.tensors import AnyTensor

    Cells = np.ndarray[Any, np.dtype[Any]]

HEADER = b"inference-header-content-length"
KIND = b"application/octet-stream"
_TYPES = {
    "BOOL": "?",
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
_NEXT = "send the tensors as the binary tensor data extension says, or as JSON"


def split(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> tuple[bytes, bytes]:
    """The JSON document of a body, and what is behind it. Raises RequestInvalid."""
    given: list[bytes] = []
    for name, value in headers:
        if name == HEADER:
            given.append(value)
    if not given:
        return body, b""
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 18 or int(given[0]) > len(body):
        raise RequestInvalid(
            "Inference-Header-Content-Length is not a length within the body",
            allowed="how many bytes of the body are the JSON document",
            next_step=_NEXT,
        )
    length = int(given[0])
    return body[:length], body[length:]


def parts(sizes: Sequence[int | None], rest: bytes) -> list[bytes | None]:
    """The bytes of each tensor of these sizes; None for one that has none."""
    if not rest and not any(sizes):
        return [None if size is None else b"" for size in sizes]
    if sum(size or 0 for size in sizes) != len(rest):
        raise RequestInvalid(
            "the bytes behind the document are more or fewer than its inputs have together",
            allowed="as many bytes as all binary_data_size together, and the header Inference-Header-Content-Length",
            next_step=_NEXT,
        )
    found: list[bytes | None] = []
    start = 0
    for size in sizes:
        found.append(None if size is None else rest[start : start + size])
        start += size or 0
    return found


def values(tensor: AnyTensor, part: bytes, count: int) -> list[Any]:
    """The values of a tensor, row by row; None for NaN."""
    import numpy as np

    if tensor.datatype == "BYTES":
        return _texts(part, count)
    found = cells(tensor, part, count)
    plain: list[Any] = found.tolist()
    if found.dtype.kind == "f":
        for place in np.flatnonzero(np.isnan(found)).tolist():
            plain[place] = None
    return plain


def cells(tensor: AnyTensor, part: bytes, count: int) -> Cells:
    """The numbers or truths of a tensor, shape (count,); floating point numbers in 64 bits, which is exact."""
    import numpy as np

    kind = np.dtype(_TYPES[tensor.datatype])
    if len(part) != count * kind.itemsize:
        raise _unfit("an input has more or fewer bytes than its shape and datatype say")
    if kind.kind == "b" and np.frombuffer(part, dtype=np.uint8).max(initial=0) > 1:
        raise _unfit("a truth is neither the byte 0 nor the byte 1")
    found = np.frombuffer(part, dtype=kind)
    return found.astype(np.float64) if kind.kind == "f" else found


def _texts(part: bytes, count: int) -> list[Any]:
    found: list[Any] = []
    start = 0
    while start < len(part) and len(found) < count:
        if start + 4 > len(part):
            break
        (length,) = struct.unpack_from("<I", part, start)
        start += 4 + length
        if start > len(part):
            break
        try:
            found.append(part[start - length : start].decode())
        except UnicodeDecodeError as error:
            raise _unfit("a text of an input is not UTF-8") from error
    if start != len(part) or len(found) != count:
        raise _unfit("an input is not as many texts, each behind its length, as its shape says")
    return found


def written(datatype: str, data: Sequence[Any]) -> bytes:
    """Data as bytes: NaN or an empty text for what is missing. Raises ValueError for whole numbers and truths."""
    import numpy as np

    if datatype == "BYTES":
        texts = [b"" if value is None else str(value).encode() for value in data]
        return b"".join(piece for text in texts for piece in (len(text).to_bytes(4, "little"), text))
    if datatype != "FP64" and None in data:  # numpy makes NaN of it, and false
        raise ValueError(f"{datatype} has nothing for what is missing")
    return np.array(data, dtype=_TYPES[datatype]).tobytes()


def _unfit(what: str) -> RequestInvalid:
    return RequestInvalid(what, allowed="what the shape and the datatype say", next_step=_NEXT)
