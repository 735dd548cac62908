"""The arrays of a model file, checked by their headers: no objects in them, and as many bytes as they claim."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from fullcircle.runtimes.skopsfile import MOST_BYTES, invalid


def check(files: Mapping[str, bytes]) -> None:
    """Check each ``.npy`` and ``.npz`` (a zip of them: sparse matrices). Raises BundleInvalid."""
    for name, content in files.items():
        if name.endswith(".npz"):
            _archive(content)
        elif name.endswith(".npy"):
            _array(content)


def _archive(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(
                entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in archive.infolist()
            ):
                raise invalid("an array in it is compressed in another way than fullcircle does")
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise invalid("an array in it is larger than any model may be")
            for entry in archive.infolist():
                _array(archive.read(entry))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise invalid("an array in it cannot be read") from error


def _array(content: bytes) -> None:
    from numpy.lib import format as npy

    stream: Any = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = header(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError) as error:
        raise invalid("an array in it cannot be read") from error
    size = math.prod(shape) * kind.itemsize
    if kind.hasobject or any(length < 0 for length in shape) or size != len(content) - stream.tell():
        raise invalid("an array in it is not what it claims to be")


def without_padding(content: bytes) -> bytes:
    """The same ``.npy`` with zeros between the fields of its records: tree nodes leave stray memory there."""
    import numpy as np

    if b"{'descr': [" not in content[:40]:
        return content
    records = np.load(io.BytesIO(content), allow_pickle=False)
    clean = np.zeros(records.shape, dtype=records.dtype)
    for name in records.dtype.names:
        clean[name] = records[name]
    stream = io.BytesIO()
    np.save(stream, clean, allow_pickle=False)
    return stream.getvalue()
