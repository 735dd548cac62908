"""Reading UBJSON, as XGBoost writes its .ubj files: XGBoost's own reader ends the process at a damaged one."""

from __future__ import annotations

import struct
from typing import Any

from fullcircle.runtimes.boosters.sound import require

_DEPTH = 64
_NUMBERS = {b"i": "b", b"U": "B", b"I": "h", b"u": "H", b"l": "i", b"m": "I", b"L": "q", b"d": "f", b"D": "d"}
_PLAIN = {b"T": True, b"F": False, b"Z": None}


def decoded(data: bytes) -> Any:
    """The value that a whole file holds. Raises Unsound. The format: https://ubjson.org, draft 12."""
    reader = _Reader(data)
    found = reader.value(reader.take(1), 0)
    require(reader.place == len(data), "its end")
    return found


class _Reader:
    """A place in the bytes, which nothing read can make go back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes, all of them or Unsound."""
        require(0 <= count <= len(self.data) - self.place, "its length")
        self.place += count
        return self.data[self.place - count : self.place]

    def value(self, mark: bytes, depth: int) -> Any:
        """The value behind a mark."""
        require(depth < _DEPTH, "its depth")
        if mark in _NUMBERS:
            kind = ">" + _NUMBERS[mark]
            return struct.unpack(kind, self.take(struct.calcsize(kind)))[0]
        if mark in _PLAIN:
            return _PLAIN[mark]
        if mark == b"S":
            return self._text()
        if mark == b"[":
            return self._array(depth)
        require(mark == b"{", f"a mark {mark!r} that it has no meaning for")
        return self._object(depth)

    def _count(self) -> int:
        mark = self.take(1)
        require(mark in _NUMBERS and mark not in (b"d", b"D"), "a count")
        return int(self.value(mark, 0))

    def _text(self) -> str:
        try:
            return self.take(self._count()).decode()
        except UnicodeDecodeError:
            require(False, "a text")
            raise

    def _peek(self) -> bytes:
        return self.data[self.place : self.place + 1]

    def _array(self, depth: int) -> list[Any]:
        kind = b""
        if self._peek() == b"$":
            self.take(1)
            kind = self.take(1)
            require(kind in _NUMBERS and self._peek() == b"#", "the type of an array")
        if self._peek() == b"#":
            self.take(1)
            count = self._count()
            if kind:
                one = struct.calcsize(">" + _NUMBERS[kind])
                require(0 <= count <= len(self.data), "the length of an array")
                return list(struct.unpack(f">{count}{_NUMBERS[kind]}", self.take(count * one)))
            require(0 <= count <= len(self.data) - self.place, "the length of an array")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        found = []
        while (mark := self.take(1)) != b"]":
            found.append(self.value(mark, depth + 1))
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        require(self._peek() not in (b"$", b"#"), "an object with a count")
        found: dict[str, Any] = {}
        while self._peek() != b"}":
            name = self._text()
            require(name not in found, "a name that it has twice")
            found[name] = self.value(self.take(1), depth + 1)
        self.take(1)
        return found
