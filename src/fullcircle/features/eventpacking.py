"""How the events of a key are packed for the online store: columns side by side, as the window kernel takes them.

An entry holds e, a, s and until of its events in order of (e, a, s), eight bytes each, then each column: a byte a
null and eight bytes a value. Columns of long values (text, decimals, lists) and identities are one MessagePack list
behind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fullcircle.features import windows
from fullcircle.features.kinds import is_time
from fullcircle.features.packing import code, is_long, moment_reader, tail_reader

_HEAD = struct.Struct("<BHII")  # format, layout, events, bytes of the tail
FORMAT = 1
_TIMES = 4
_DTYPES = {"d": np.dtype("<f8"), "Q": np.dtype("<u8"), "q": np.dtype("<i8")}
_packed, _unpacked = msgspec.msgpack.encode, msgspec.msgpack.decode


@dataclass(frozen=True)
class EventLayout:
    """The columns of event entries, their number in the store, and whether events have an identity."""

    number: int
    columns: tuple[tuple[str, str], ...]
    identified: bool


@dataclass
class Packed:
    """The events of one key, unpacked: times (4, n), columns by place; long values, then identities, as lists."""

    times: Any
    nulls: list[Any]
    values: list[Any]
    tail: list[list[Any]]


def pack(layout: EventLayout, events: Packed) -> bytes:
    """An entry."""
    behind = _packed(events.tail)
    parts = [_HEAD.pack(FORMAT, layout.number, events.times.shape[1], len(behind)), events.times.tobytes()]
    for place, (_, kind) in enumerate(layout.columns):
        parts.append(events.nulls[place].astype(np.uint8).tobytes())
        if not is_long(kind):
            parts.append(np.ascontiguousarray(events.values[place], dtype=_DTYPES[code(kind)]).tobytes())
    return b"".join([*parts, behind])


def layout_of(entry: bytes) -> int:
    """The number of an entry's layout."""
    return int(_HEAD.unpack_from(entry)[1])


def unpack(layout: EventLayout, entry: bytes, *, tails: bool = True) -> Packed:
    """The events of an entry; arrays are views of its bytes."""
    _, _, count, length = _HEAD.unpack_from(entry)
    start = _HEAD.size
    times = np.frombuffer(entry, dtype="<i8", count=_TIMES * count, offset=start).reshape(_TIMES, count)
    start += _TIMES * 8 * count
    nulls, values = [], []
    for _, kind in layout.columns:
        nulls.append(np.frombuffer(entry, dtype=np.uint8, count=count, offset=start).view(np.bool_))
        start += count
        if is_long(kind):
            values.append(np.zeros(count, dtype=np.int64))
            continue
        values.append(np.frombuffer(entry, dtype=_DTYPES[code(kind)], count=count, offset=start))
        start += 8 * count
    return Packed(times, nulls, values, _unpacked(entry[start : start + length]) if tails else [])


def merged(layout: EventLayout, old: Packed | None, new: Packed, horizon: int, retain: int) -> Packed:
    """The events of a key with more of them: no answer at ``horizon`` or later over ``retain`` or less is changed.

    Merging is the same in whatever order and however often.
    """
    both = new if old is None else _joined(old, new)
    _, unique = np.unique(both.times[2], return_index=True)
    both = _chosen(both, unique)
    e, a, s, _ = both.times
    if layout.identified:
        seen: dict[bytes, int] = {}
        group = np.array([seen.setdefault(_packed(one), len(seen)) for one in both.tail[-1]], dtype=np.int64)
        until = windows.corrected(group, e, a, s)
    else:
        until = np.full(len(e), windows.FOREVER)
    both.times = np.stack([e, a, s, until])
    # A correction is kept as long as what it corrects may still be delivered.
    kept = (np.maximum(e, a) >= horizon - retain) & (until >= horizon)
    order = np.lexsort((s[kept], a[kept], e[kept]))
    return _chosen(both, np.flatnonzero(kept)[order])


def _joined(a: Packed, b: Packed) -> Packed:
    return Packed(
        np.concatenate([a.times, b.times], axis=1),
        [np.concatenate(pair) for pair in zip(a.nulls, b.nulls, strict=True)],
        [np.concatenate(pair) for pair in zip(a.values, b.values, strict=True)],
        [[*one, *two] for one, two in zip(a.tail, b.tail, strict=True)],
    )


def _chosen(events: Packed, places: Any) -> Packed:
    return Packed(
        events.times[:, places],
        [one[places] for one in events.nulls],
        [one[places] for one in events.values],
        [[one[place] for place in places.tolist()] for one in events.tail],
    )


class Opened:
    """The events of one key, with what was found out while answering: a window is looked for once."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self._e, a, _, self._until = packed.times
        self._v = np.maximum(self._e, a)
        self._windows: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._columns: dict[int, windows.Column] = {}

    def window(self, t: int, window: int) -> tuple[Any, Any]:
        """The places of the events that count at ``t``, and their number, as the kernel takes them."""
        found = self._windows.get((t, window))
        if found is None:
            found = self._windows[t, window] = windows.window_of(self._e, self._v, self._until, t, window)
        return found

    def column(self, place: int) -> windows.Column:
        """A column as the kernel takes it."""
        found = self._columns.get(place)
        if found is None:
            nulls = self.packed.nulls[place]
            valid = ~nulls if nulls.any() else None
            found = self._columns[place] = windows.Column(self.packed.values[place], valid)
        return found


class Asking:
    """Answers aggregates over the events of one key with the kernel that training uses."""

    def __init__(self, layout: EventLayout) -> None:
        self.layout = layout
        self._places = {name: place for place, (name, _) in enumerate(layout.columns)}
        long = [name for name, kind in layout.columns if is_long(kind)]
        self._tails = {name: place for place, name in enumerate(long)}
        self._readers = {name: tail_reader(kind) if is_long(kind) else plain(kind) for name, kind in layout.columns}

    def open(self, entry: bytes) -> Opened:
        """The events of an entry. Opened once, all features of a key are answered from it."""
        return Opened(unpack(self.layout, entry, tails=bool(self._tails)))

    def answer(self, opened: Opened, t: int, how: str, column: str | None, window: int, kind: str) -> Any:
        """The answer at ``t`` as a plain Python value, None where there is none. ``kind`` is that of the answer."""
        found = windows.reduced(
            how, None if column is None else opened.column(self._places[column]), *opened.window(t, window)
        )
        if not found.present[0]:
            return None
        value = found.values[0].item()
        if how in ("first", "last") and column is not None:
            if column in self._tails:
                return self._readers[column](opened.packed.tail[self._tails[column]][value])
            return self._readers[column](opened.packed.values[self._places[column]][value].item())
        return plain(kind)(value) if how in ("min", "max") else value


def plain(kind: str) -> Callable[[Any], Any]:
    """From a number of the kernel to the value that training gives."""
    if kind == "bool":
        return bool
    return moment_reader(kind) if is_time(kind) else (lambda value: value)
