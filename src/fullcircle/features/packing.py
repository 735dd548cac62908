"""How rows are packed for the online store: fixed places, exact values, read by one ``unpack``.

A layout is a list of columns. A record is e, a, s, a bitmap of nulls, eight bytes a column, and what is longer than
that behind. The entry of a key is its records in order of visibility: the one that answers now, and those that are not
visible yet. They wait with the key, so that becoming visible needs nobody to do anything.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from fullcircle.features.kinds import FLOATS, INTEGERS, inner, is_time, unit_and_zone

FORMAT = 1
_HEAD = struct.Struct("<BHH")  # format, layout, records
_RECORD = struct.Struct("<qqqI")  # e, a, s, bytes of the payload
_FIRST = struct.Struct(_HEAD.format + _RECORD.format[1:])  # both, of the first record
_ONE = _FIRST.size
_NATIVE = "@" if sys.byteorder == "little" else "<"  # reads faster; eight bytes a column need no padding
_EPOCH = datetime(1970, 1, 1)
_DAY = _EPOCH.toordinal()
_LENGTH = (1 << 32) - 1
_unpacked = msgspec.msgpack.decode
_packed = msgspec.msgpack.encode

Record = tuple[int, int, int, bytes]


class Layout:
    """The columns of an entry, by name and kind, and their number in the store."""

    def __init__(self, number: int, columns: Sequence[tuple[str, str]]) -> None:
        self.number = number
        self.columns = tuple((name, kind) for name, kind in columns)
        self.places = {name: place for place, (name, _) in enumerate(self.columns)}
        self.bitmap = (len(self.columns) + 7) // 8
        self._no_nulls = bytes(self.bitmap)
        self._numbers = struct.Struct(_NATIVE + "".join(code(kind) for _, kind in self.columns))
        self.fixed = self.bitmap + self._numbers.size  # bytes of a payload before its tail
        readers = [(place, reader(kind)) for place, (_, kind) in enumerate(self.columns)]
        self._readers = [(place, read) for place, read in readers if read is not None]
        self._tails = [(place, tail_reader(kind)) for place, (_, kind) in enumerate(self.columns) if is_long(kind)]
        self._plain = not self._readers and not self._tails

    def values(self, entry: bytes, start: int) -> Sequence[Any]:
        """The values of the record whose payload begins at ``start``: plain Python, None for null."""
        found = self._numbers.unpack_from(entry, start + self.bitmap)
        none = entry.startswith(self._no_nulls, start)
        if none and self._plain:
            return found
        values, bits = list(found), 0 if none else int.from_bytes(entry[start : start + self.bitmap], "little")
        for place, read in self._readers:
            if not bits >> place & 1:
                values[place] = read(values[place])
        base = start + self.fixed
        for place, read in self._tails:
            if not bits >> place & 1:
                offset, length = values[place] >> 32, values[place] & _LENGTH
                values[place] = read(entry[base + offset : base + offset + length])
        if bits:
            return [None if bits >> place & 1 else value for place, value in enumerate(values)]
        return values


def code(kind: str) -> str:
    """How eight bytes of a column are read by ``struct``."""
    return "d" if kind in FLOATS else "Q" if kind == "uint64" else "q"


def is_long(kind: str) -> bool:
    """Whether values of this kind stand behind the fixed part."""
    return not (kind in FLOATS or kind in INTEGERS or kind == "bool" or is_time(kind))


def reader(kind: str) -> Callable[[Any], Any] | None:
    """From the number in the fixed part to the value; None where it is the value already."""
    if kind == "bool":
        return bool
    return moment_reader(kind) if is_time(kind) else None


def moment_reader(kind: str) -> Callable[[int], Any]:
    """From whole ticks to a date, a datetime (in UTC where the kind has a zone), or numpy's datetime64[ns]."""
    if kind == "date":
        return lambda days: date.fromordinal(_DAY + days)
    unit, zone = unit_and_zone(kind)
    if unit == "ns":
        from numpy import datetime64

        return lambda ticks: datetime64(ticks, "ns")
    ticks_to_us = {"s": 10**6, "ms": 1000, "us": 1}[unit]
    epoch = _EPOCH.replace(tzinfo=UTC) if zone else _EPOCH
    return lambda ticks: epoch + timedelta(microseconds=ticks * ticks_to_us)


def tail_reader(kind: str) -> Callable[[bytes], Any]:
    """From bytes behind the fixed part to the value."""
    if kind == "text":
        return lambda data: data.decode()
    if kind == "bytes":
        return bytes
    if kind.startswith("decimal"):
        return lambda data: Decimal(data.decode())
    element = _element(inner(kind) or "int64")
    return lambda data: [None if value is None else element(value) for value in _unpacked(data)]


def _element(kind: str) -> Callable[[Any], Any]:
    """From what MessagePack holds of a list's element to its value."""
    if kind.startswith("decimal"):
        return Decimal
    nested = inner(kind)
    if nested:
        element = _element(nested)
        return lambda values: [None if value is None else element(value) for value in values]
    return reader(kind) or (lambda value: value)


def tail(kind: str, value: Any) -> bytes:
    """A value as bytes behind the fixed part. ``value`` is what Arrow gives; times within lists are whole ticks."""
    if kind == "text":
        return str(value).encode()
    if kind == "bytes":
        return bytes(value)
    if kind.startswith("decimal"):
        return str(value).encode()
    return _packed(_listed(kind, value))


def _listed(kind: str, values: Any) -> Any:
    nested = inner(kind)
    if values is None or nested is None:
        return str(values) if isinstance(values, Decimal) else values
    return [_listed(nested, value) for value in values]


def entry(layout: int, records: Sequence[Record]) -> bytes:
    """The entry of a key from its records."""
    parts = [_HEAD.pack(FORMAT, layout, len(records))]
    for e, a, s, payload in records:
        parts += (_RECORD.pack(e, a, s, len(payload)), payload)
    return b"".join(parts)


def records(packed: bytes) -> list[Record]:
    """The records of an entry, in order of visibility."""
    count, start, found = _HEAD.unpack_from(packed)[2], _HEAD.size, []
    for _ in range(count):
        e, a, s, length = _RECORD.unpack_from(packed, start)
        start += _RECORD.size
        found.append((e, a, s, packed[start : start + length]))
        start += length
    return found


def pick(packed: bytes, t: int) -> tuple[int, int, int, int] | None:
    """The record that answers at ``t``: (layout, e, s, where its payload begins); None where none is visible yet."""
    _, layout, count, e, a, s, length = _FIRST.unpack_from(packed)
    found = (layout, e, s, _ONE) if e <= t and a <= t else None
    start = _ONE
    for _ in range(count - 1):
        start += length
        e, a, s, length = _RECORD.unpack_from(packed, start)
        start += _RECORD.size
        if e <= t and a <= t:
            found = (layout, e, s, start)  # in order of visibility, each greater than the one before
    return found


def merged(old: bytes | None, new: bytes, horizon: int) -> bytes:
    """The entry of a key with more records: no answer at ``horizon`` or later is changed by what is left out.

    Merging is the same in whatever order and however often. Entries of another layout are replaced.
    """
    if old is None:
        return new
    layout = _HEAD.unpack_from(new)[1]
    if _HEAD.unpack_from(old)[1] != layout:
        return new
    union = {record[2]: record for record in (*records(old), *records(new))}
    return entry(layout, settled(list(union.values()), horizon))


def settled(found: list[Record], horizon: int) -> list[Record]:
    """The records that can answer at ``horizon`` or later, in order of visibility."""
    found.sort(key=lambda record: (max(record[0], record[1]), record[0], record[1], record[2]))
    kept: list[Record] = []
    for record in found:
        if kept and record[0] < kept[-1][0]:
            continue  # an older event, known later
        # What is visible no later than this one, and at the horizon already, never answers again.
        while kept and _visible(kept[-1]) <= _visible(record) and (
            _visible(record) < horizon or _visible(kept[-1]) == _visible(record)
        ):
            kept.pop()
        kept.append(record)
    return kept


def _visible(record: Record) -> int:
    return max(record[0], record[1])


def payloads(layout: Layout, columns: Mapping[str, Any], rows: int) -> list[bytes]:
    """One payload a row from the Arrow columns of a layout, vectorised over the rows."""
    import numpy as np

    kinds = [("nulls", np.uint8, (layout.bitmap,)), *(_field(place, kind) for place, (_, kind) in enumerate(layout.columns))]
    table = np.zeros(rows, dtype=np.dtype(kinds))
    tails: dict[int, list[bytes]] = {}
    for place, (name, kind) in enumerate(layout.columns):
        column = columns[name]
        column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        if column.null_count:
            table["nulls"][:, place // 8] |= (np.asarray(column.is_null()).astype(np.uint8) << (place % 8)).astype(np.uint8)
        if is_long(kind):
            tails[place] = tails_of(column, kind)
        else:
            table[f"c{place}"] = numbers(column, kind)
    if tails:
        return _with_tails(table, tails)
    data, size = table.tobytes(), table.dtype.itemsize
    return [data[start : start + size] for start in range(0, rows * size, size)]


def _field(place: int, kind: str) -> tuple[Any, ...]:
    return (f"c{place}", {"d": "<f8", "Q": "<u8", "q": "<i8"}[code(kind)])


def _with_tails(table: Any, tails: Mapping[int, list[bytes]]) -> list[bytes]:
    found = []
    offsets: dict[int, list[int]] = {place: [] for place in tails}
    behind = []
    for row in range(len(table)):
        size, parts = 0, []
        for place, column in tails.items():
            offsets[place].append(size << 32 | len(column[row]))
            parts.append(column[row])
            size += len(column[row])
        behind.append(b"".join(parts))
    for place, column in offsets.items():
        table[f"c{place}"] = column
    data, size = table.tobytes(), table.dtype.itemsize
    for row, more in enumerate(behind):
        found.append(data[row * size : (row + 1) * size] + more)
    return found


def numbers(column: Any, kind: str) -> Any:
    """A column without long values as numpy, one number a row, 0 for null."""
    import numpy as np
    import pyarrow as pa

    if is_time(kind):
        column = column.cast(pa.int32() if kind == "date" else pa.int64())
    if column.null_count:
        column = column.fill_null(False if kind == "bool" else 0)
    return np.asarray(column)


def tails_of(column: Any, kind: str) -> list[bytes]:
    """The long values of a column as bytes, empty for null; times within a list as ticks, days as days."""
    ticks = _ticks(column.type)
    values = (column if ticks == column.type else column.cast(ticks)).to_pylist()
    return [b"" if value is None else tail(kind, value) for value in values]


def _ticks(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.list_(_ticks(kind.value_type))
    if pa.types.is_timestamp(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_date32(kind) else kind
