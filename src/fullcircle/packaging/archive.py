"""The one zip layout bundles and wheels are written in, and the strict reader of it.

Entries are stored (a compressor's output differs between zlib builds), dated 1980-01-01, regular files of mode
0644, without extra fields or comments. Every byte of such an archive follows from the names and contents, so
the reader rebuilds each header and compares: compressed or encrypted entries, links, duplicates, junk before,
between or after the entries, and any flipped bit are all refused. Ordinary zip tools read the files.
Layout: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.7, 4.3.12, 4.3.16).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_BYTES = 1 << 30
MAX_FILES = 1000
MAX_NAME = 200

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DATE = (0, 1 << 5 | 1)  # midnight, 1980-01-01, the earliest a zip can hold
_MODE = 0o100644 << 16
_LOCAL_HEAD = struct.Struct("<4s5H3L2H")
_CENTRAL_HEAD = struct.Struct("<4s6H3L5H2L")
_END_HEAD = struct.Struct("<4s4H2LH")


class Damage(Exception):
    """What is wrong with an archive, and at which file where that can be told. Turned into a user's error above."""

    def __init__(self, what: str, name: str = "") -> None:
        super().__init__(what)
        self.name = name


@dataclass(frozen=True)
class _Entry:
    name: bytes
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        head = _LOCAL_HEAD.pack(_LOCAL, 20, 0, 0, *_DATE, self.crc, self.size, self.size, len(self.name), 0)
        return head + self.name

    def central(self) -> bytes:
        head = (_CENTRAL, 3 << 8 | 20, 20, 0, 0, *_DATE, self.crc, self.size, self.size, len(self.name))
        return _CENTRAL_HEAD.pack(*head, 0, 0, 0, 0, _MODE, self.offset) + self.name


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of ``files`` (ASCII names), in the order given. The same files give the same bytes anywhere."""
    parts: list[bytes] = []
    entries: list[_Entry] = []
    offset = 0
    for name, content in files.items():
        entry = _Entry(name.encode("ascii"), zlib.crc32(content), len(content), offset)
        entries.append(entry)
        parts += (entry.local(), content)
        offset += len(parts[-2]) + len(content)
    return b"".join([*parts, _directory(entries, offset)])


def unpack(data: bytes, allowed: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of an archive that ``pack`` wrote, name to content.

    ``allowed`` says which names may occur. Raises Damage for anything else than the exact bytes ``pack`` makes.
    Never returns more bytes than it was given, so nothing can swell.
    """
    if len(data) > MAX_BYTES:
        raise Damage(f"{len(data)} bytes are more than the {MAX_BYTES} allowed")
    files: dict[str, bytes] = {}
    entries: list[_Entry] = []
    offset = 0
    while data[offset : offset + 4] == _LOCAL:
        entry, content = _read(data, offset)
        name = entry.name.decode("ascii")
        if not allowed(name):
            raise Damage("this name may not occur in the archive", name)
        if name in files:
            raise Damage("two entries have this name", name)
        if len(files) == MAX_FILES:
            raise Damage(f"there are more than the {MAX_FILES} files allowed", name)
        files[name] = content
        entries.append(entry)
        offset += len(entry.local()) + len(content)
    _check_end(data, offset, entries)
    return files


def first(data: bytes) -> tuple[str, bytes] | None:
    """Name and content of the first entry, for a reader that must know the format before it judges the rest.

    None where the data does not begin with an entry. Raises Damage where that entry is damaged.
    """
    if not data.startswith(_LOCAL):
        return None
    entry, content = _read(data, 0)
    return entry.name.decode("ascii"), content


def _read(data: bytes, offset: int) -> tuple[_Entry, bytes]:
    head = data[offset : offset + _LOCAL_HEAD.size]
    if len(head) < _LOCAL_HEAD.size:
        raise Damage("the archive ends within an entry's header")
    _, _, flags, method, _, _, crc, packed, size, name_size, _ = _LOCAL_HEAD.unpack(head)
    start = offset + _LOCAL_HEAD.size
    raw = data[start : start + min(name_size, MAX_NAME)]
    name = raw.decode("ascii", "backslashreplace")
    if name_size > MAX_NAME:
        raise Damage(f"a name is longer than the {MAX_NAME} characters allowed", name)
    if not raw.isascii():
        raise Damage("the name is not plain ASCII", name)
    if method:
        raise Damage("the entry is compressed; only stored entries are allowed", name)
    if flags:
        raise Damage("the entry is encrypted, streamed or specially encoded", name)
    entry = _Entry(raw, crc, size, offset)
    if packed != size or not data.startswith(entry.local(), offset):
        raise Damage("the entry's header was altered or carries more than a name", name)
    start += name_size
    content = data[start : start + size]
    if len(content) < size:
        raise Damage("the archive ends within this file", name)
    if zlib.crc32(content) != crc:
        raise Damage("the content does not match its checksum", name)
    return entry, content


def _directory(entries: list[_Entry], offset: int) -> bytes:
    records = b"".join(entry.central() for entry in entries)
    count = len(entries)
    return records + _END_HEAD.pack(_END, 0, 0, count, count, len(records), offset, 0)


def _check_end(data: bytes, offset: int, entries: list[_Entry]) -> None:
    """Whether what follows the last entry is the directory of exactly these entries, and then the end."""
    if not entries:
        raise Damage("this is not an archive of ours: it does not begin with an entry")
    start = offset
    for entry in entries:
        record = entry.central()
        found = data[start : start + len(record)]
        name = entry.name.decode("ascii")
        if found != record:
            raise Damage(_misfit(found, record), name)
        start += len(record)
    end = _directory(entries, offset)[start - offset :]
    if data[start:] != end:
        short = len(data) - start < len(end) and end.startswith(data[start:])
        raise Damage("the archive is cut off at its end" if short else "the archive's end was altered or extended")


def _misfit(found: bytes, record: bytes) -> str:
    if len(found) < len(record):
        return "the archive is cut off within this file's directory record"
    if found[:4] != _CENTRAL:
        return "this file's directory record is missing or displaced"
    attributes: int = _CENTRAL_HEAD.unpack(found[: _CENTRAL_HEAD.size])[-2]
    if attributes >> 28 == 0o12:
        return "the entry is a symbolic link; only regular files are allowed"
    return "this file's directory record was altered"
