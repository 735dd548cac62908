"""How rows are packed for the online store: fixed places, exact values, read by one ``unpack``.

A layout is a list of columns. A record is e, a, s, a bitmap of nulls, eight bytes a column, and what is longer than
that behind. The entry of a key is its records in order of visibility: the one that answers now, and those that are
not visible yet. They wait with the key, so that becoming visible needs nobody to do anything.
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
_HEAD = struct.Struct("<BHI")  # format, layout, records
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
        self._every = list(range(len(self.columns)))
        self._floats = all(code(kind) == "d" for _, kind in self.columns)
        self._no_nulls = bytes(self.bitmap)
        self._numbers = struct.Struct(_NATIVE + "".join(code(kind) for _, kind in self.columns))
        self.fixed = self.bitmap + self._numbers.size  # bytes of a payload before its tail
        readers = [(place, reader(kind)) for place, (_, kind) in enumerate(self.columns)]
        self._readers = [(place, read) for place, read in readers if read is not None]
        self._tails = [(place, tail_reader(kind)) for place, (_, kind) in enumerate(self.columns) if is_long(kind)]
        self._plain = not self._readers and not self._tails

    def has_nulls(self, entry: bytes, start: int) -> bool:
        """Whether the record whose payload begins at ``start`` has a null."""
        return not entry.startswith(self._no_nulls, start)

    def numbers(self, payloads: Sequence[bytes], names: Sequence[str]) -> Any:
        """These columns, all numbers, of many payloads at once: float64, shape (payloads, names), NaN for null."""
        import numpy as np

        raw = np.frombuffer(b"".join(payloads), dtype=np.uint8).reshape(len(payloads), self.fixed)
        places = [self.places[name] for name in names]
        every = places == self._every
        words = np.ascontiguousarray(raw[:, self.bitmap :])
        if self._floats:
            found = words.view("<f8")
            made = np.array(found if every else found[:, places])
        else:
            table = words.view(np.dtype(_fields(self)[1:]))[:, 0]
            made = np.stack([table[f"c{place}"].astype(np.float64) for place in places], axis=1)
        if raw[:, : self.bitmap].any():
            nulls = np.unpackbits(raw[:, : self.bitmap], axis=1, bitorder="little")[:, places].astype(bool)
            made[nulls] = np.nan
        return made

    def values(self, entry: bytes, start: int) -> list[Any]:
        """The values of the record whose payload begins at ``start``: plain Python, None for null."""
        values = list(self._numbers.unpack_from(entry, start + self.bitmap))
        none = entry.startswith(self._no_nulls, start)
        if none and self._plain:
            return values
        bits = 0 if none else int.from_bytes(entry[start : start + self.bitmap], "little")
        for place, read in self._readers:
            if not bits >> place & 1:
                values[place] = read(values[place])
        base = start + self.fixed
        for place, read in self._tails:
            if not bits >> place & 1:
                offset, length = values[place] >> 32, values[place] & _LENGTH
                values[place] = read(entry[base + offset : base + offset + length])
        if bits:
            marks = f"{bits:0{len(values)}b}"[::-1]
            return [None if mark == "1" else value for mark, value in zip(marks, values, strict=True)]
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
    """From whole ticks to a date, a datetime (in UTC where the kind has a zone), or numpy's datetime64[ns].

    A moment outside the years that Python counts (1 to 9999) is numpy's datetime64 of its unit.
    """
    if kind == "date":
        return _or_numpy(lambda days: date.fromordinal(_DAY + days), "D")
    unit, zone = unit_and_zone(kind)
    if unit == "ns":
        from numpy import datetime64

        return lambda ticks: datetime64(ticks, "ns")
    ticks_to_us = {"s": 10**6, "ms": 1000, "us": 1}[unit]
    epoch = _EPOCH.replace(tzinfo=UTC) if zone else _EPOCH
    return _or_numpy(lambda ticks: epoch + timedelta(microseconds=ticks * ticks_to_us), unit)


def _or_numpy(read: Callable[[int], Any], unit: Any) -> Callable[[int], Any]:
    def moment(ticks: int) -> Any:
        try:
            return read(ticks)
        except (OverflowError, ValueError):
            from numpy import datetime64

            return datetime64(ticks, unit)

    return moment


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

    Merging is the same in whatever order and however often. Of two layouts the one with the greater number stays.
    """
    if old is None:
        return new
    _, number, several, *before, _ = _FIRST.unpack_from(old)
    _, layout, many, *after, _ = _FIRST.unpack_from(new)
    if number != layout:
        return old if number > layout else new
    if several == many == 1 and before <= after and after[0] < horizon and after[1] < horizon:
        return new  # nearly always: one newer record that is visible
    union = {record[2]: record for record in (*records(old), *records(new))}
    return entry(layout, settled(list(union.values()), horizon))


def settled(found: list[Record], horizon: int) -> list[Record]:
    """The records that can answer at ``horizon`` or later, in order of visibility."""
    found.sort(key=lambda record: (_visible(record), record[:3]))
    kept: list[Record] = []
    for record in found:
        if kept and record[0] < kept[-1][0]:
            continue  # an older event, known later
        # What came before answers no more: at the horizon this one is visible already, or always when that one is.
        while kept and (_visible(record) < horizon or _visible(kept[-1]) == _visible(record)):
            kept.pop()
        kept.append(record)
    return kept


def _visible(record: Sequence[Any]) -> int:
    return max(record[0], record[1])  # type: ignore[no-any-return]


def entries(layout: Layout, columns: Mapping[str, Any], times: Sequence[Any], begins: Any) -> list[bytes]:
    """One entry a key, vectorised over the rows: key i has the rows from ``begins[i]`` to ``begins[i + 1]``.

    ``times`` are e, a and s. The rows of a key are in order of visibility, as ``settled`` would keep them.
    """
    import numpy as np

    head = [("format", "u1"), ("layout", "<u2"), ("records", "<u4")]
    record = [("e", "<i8"), ("a", "<i8"), ("s", "<i8"), ("length", "<u4")]
    table = np.zeros(len(times[0]), dtype=[*head, *record, *_fields(layout)])
    behind = _fill(table, layout, columns)
    table["format"], table["layout"] = FORMAT, layout.number
    table["records"][begins[:-1]] = np.diff(begins)
    table["e"], table["a"], table["s"] = times
    table["length"] = layout.fixed + (np.fromiter(map(len, behind), np.int64, len(behind)) if behind else 0)
    rows = _sliced(table, behind)
    if len(rows) == len(begins) - 1:
        return rows
    return [
        rows[start] + b"".join([row[_HEAD.size :] for row in rows[start + 1 : stop]])
        for start, stop in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)
    ]


def _fields(layout: Layout) -> list[Any]:
    numpys = {"d": "<f8", "Q": "<u8", "q": "<i8"}
    columns = ((f"c{place}", numpys[code(kind)]) for place, (_, kind) in enumerate(layout.columns))
    return [("nulls", "u1", (layout.bitmap,)), *columns]


def _fill(table: Any, layout: Layout, columns: Mapping[str, Any]) -> list[bytes]:
    """Put the columns into their places; returns what stands behind each row, nothing where no column is long."""
    import numpy as np

    tails, base = [], np.zeros(len(table), dtype=np.int64)
    for place, (name, kind) in enumerate(layout.columns):
        column = columns[name]
        column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        if column.null_count:
            table["nulls"][:, place // 8] |= np.asarray(column.is_null()).astype(np.uint8) << np.uint8(place % 8)
        if not is_long(kind):
            table[f"c{place}"] = numbers(column, kind)
            continue
        tails.append(tails_of(column, kind))
        lengths = np.fromiter(map(len, tails[-1]), np.int64, len(table))
        table[f"c{place}"] = base << 32 | lengths
        base += lengths
    return [b"".join(parts) for parts in zip(*tails, strict=True)]


def _sliced(table: Any, behind: list[bytes]) -> list[bytes]:
    data, size = table.tobytes(), table.dtype.itemsize
    rows = [data[start : start + size] for start in range(0, len(data), size)]
    return [row + more for row, more in zip(rows, behind, strict=True)] if behind else rows


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
    import pyarrow as pa

    if kind in ("text", "bytes"):
        return column.cast(pa.large_binary()).fill_null(b"").to_pylist()  # type: ignore[no-any-return]
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
