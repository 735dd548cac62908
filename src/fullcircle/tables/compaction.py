"""Compaction: a closed segment of JSON lines becomes a Parquet file with typed columns and an index of its rows.

The new files are made beside the old one under names that no reader looks at (``prepare``), and put in its place
when a fact says so (``publish``). A reader sees the old file until the new one is there, and never both. A crash
in between leaves something that ``publish`` finishes or ``discard`` takes away.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.tables.compacted import ABOUT, GROUPS, JSON, SPLIT, About, places, reader
from fullcircle.tables.segments import COMPACTED, INDEX, LINES, NEW, index_of, offsets_of, sync_folder
from fullcircle.types.prediction import Prediction

MOST_NAMES = 1000  # a mapping of more names is kept as JSON
ROW_GROUP = 8192
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_EXACT = 2**53
_KINDS = {bool: "bool", int: "int", float: "float", str: "str"}
_PLAIN = ("id", "value", "model", "version", "bundle", "latency", "answered_by", "erased", *SPLIT)
_WITHOUT = {  # where there are no values
    **dict.fromkeys(("value", "latency", "propensity"), "float"),
    **dict.fromkeys(("version", "assigned"), "int"),
    "time": "time",
}
_FIXED = (*_PLAIN, "time", "verdict", "problems", "context", "lookup", *(f"{group}s" for group in GROUPS))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A new form of a segment that waits to be put in its place. ``digest`` is the SHA-256 of its file."""

    rows: int
    bytes: int
    digest: str


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare(home: Path, name: str, source: Iterable[Prediction], torn: Callable[[], int] = lambda: 0) -> Prepared:
    """Write the rows of ``source`` to new files beside the segment. Raises OSError, or ValueError of pyarrow.

    ``torn`` is asked after reading how many lines were not rows. Holds the columns of one segment in memory, which is
    a part of its size. Where it fails nothing is left of it: a full disk has no room for half of a file. Raises
    MissingExtra where pyarrow is not installed.
    """
    reader()
    try:
        return _prepared(home, name, source, torn)
    except BaseException:
        with suppress(OSError):
            discard(home, name)
        raise


def _prepared(home: Path, name: str, source: Iterable[Prediction], torn: Callable[[], int]) -> Prepared:
    made = _Columns(name)
    rows = iter(source)
    while chunk := list(islice(rows, ROW_GROUP)):
        made.add(chunk)
    path = home / f"{name}{COMPACTED}{NEW}"
    made.write(path, torn())
    _write_index(home / f"{name}{INDEX}{NEW}", index_of(made.offsets))
    return Prepared(rows=made.rows, bytes=path.stat().st_size, digest=digest_of(path))


def index_for(home: Path, name: str) -> bytes:
    """What the index of a compacted segment has to be, read from its rows. Raises WorkspaceUnusable."""
    return index_of(places(home / f"{name}{COMPACTED}", name))


def remake_index(home: Path, name: str) -> None:
    """Make the index of a compacted segment again, which is gone. Raises OSError."""
    _write_index(home / f"{name}{INDEX}{NEW}", index_for(home, name))
    os.replace(home / f"{name}{INDEX}{NEW}", home / f"{name}{INDEX}")
    sync_folder(home)


def _write_index(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def publish(home: Path, name: str) -> None:
    """Put the new files in place of what was there, in an order that a crash cannot hurt. May be repeated."""
    for form in (INDEX, COMPACTED):
        path = home / f"{name}{form}{NEW}"
        if path.exists():
            os.replace(path, home / f"{name}{form}")
    sync_folder(home)
    (home / f"{name}{LINES}").unlink(missing_ok=True)
    sync_folder(home)


def discard(home: Path, name: str) -> None:
    """Take away new files that no fact speaks of."""
    for form in (COMPACTED, INDEX):
        (home / f"{name}{form}{NEW}").unlink(missing_ok=True)


class _Columns:
    """The columns of a segment, chunk by chunk, each with the narrowest type that holds what it has there."""

    def __init__(self, name: str) -> None:
        self.rows = 0
        self.offsets: list[int] = []
        self._name = name
        self._chunks: list[dict[str, tuple[str, Any]]] = []
        self._columns: dict[str, set[str]] = {}
        self._texts: dict[tuple[str, ...], str] = {}
        self._ends = ["", "", "", ""]  # first and last id, first and last time

    def add(self, chunk: Sequence[Prediction]) -> None:
        """Take rows in, in order."""
        self._note(chunk)
        columns = {name: _typed([getattr(row, name) for row in chunk]) for name in _PLAIN}
        columns["time"] = _moments([row.time for row in chunk])
        columns["verdict"] = _typed([row.verdict.status for row in chunk])
        columns["problems"] = _typed([_json(row.verdict.problems) if row.verdict.problems else None for row in chunk])
        columns["context"] = _as_json([row.context for row in chunk])
        columns["lookup"] = _as_json([row.lookup for row in chunk])
        self._mapping(columns, GROUPS[0], [row.inputs for row in chunk])
        self._mapping(columns, GROUPS[1], [row.probabilities for row in chunk])
        for name, (kind, _) in columns.items():
            self._columns.setdefault(name, set()).add(kind)
        self._chunks.append(columns)

    def write(self, path: Path, torn: int) -> None:
        """Write the file, and wait until it is on the disk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {name: _common(self._columns.get(name, set()), name) for name in (*_FIXED, *self._columns)}
        about = About(self.rows, torn, *self._ends)
        fields = [_field(name, kind) for name, kind in kinds.items()]
        schema = pa.schema(fields, metadata={ABOUT: msgspec.json.encode(about)})
        with path.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for columns in self._chunks:
                    size = len(columns["id"][1])
                    arrays = [_cast(columns.get(name), kind, size) for name, kind in kinds.items()]
                    writer.write_table(pa.table(arrays, schema=schema))
            file.flush()
            os.fsync(file.fileno())

    def _note(self, chunk: Sequence[Prediction]) -> None:
        """Note what a reader wants to know of the segment, and where the rows begin that are found by their id."""
        times = {row.time for row in chunk}
        first, _, oldest, newest = self._ends if self.rows else (chunk[0].id, "", min(times), "")
        self._ends = [first, chunk[-1].id, min(oldest, min(times)), max(newest, max(times))]
        self.rows += len(chunk)
        self.offsets += offsets_of([row.id for row in chunk if not row.erased], self._name)

    def _mapping(
        self, columns: dict[str, tuple[str, Any]], group: str, rows: Sequence[Mapping[str, Any] | None]
    ) -> None:
        """A column for each name, and one with the names of each row; or whole mappings where names are too many."""
        keys = [None if row is None else tuple(row) for row in rows]
        names = dict.fromkeys(f"{group}.{name}" for each in set(keys) - {None} for name in each or ())
        if len(names.keys() - self._columns.keys()) + len(self._columns) > MOST_NAMES:
            columns[f"{group}s"] = _typed([None if row is None else _json(row) for row in rows])
            return
        texts = {each: None if each is None else self._texts.setdefault(each, _json(each)) for each in set(keys)}
        columns[f"{group}s"] = _typed([texts[each] for each in keys])
        if len(texts) == 1:  # as nearly always: turned round at once
            values = list(zip(*(row.values() for row in rows if row is not None), strict=True))
        else:
            wanted = [full[len(group) + 1 :] for full in names]
            values = [tuple(None if row is None else row.get(name) for row in rows) for name in wanted]
        for full, found in zip(names, values, strict=True):
            columns[full] = _typed(found)


def _typed(values: Sequence[Any]) -> tuple[str, Any]:
    """The kind of these values ("" where all are None, "json" where they are mixed), and an Arrow array of them."""
    import pyarrow as pa

    found = set(map(type, values)) - {type(None)}
    if not found:
        return "", None
    if found == {int, float} and all(type(one) is not int or -_EXACT <= one <= _EXACT for one in values):
        return "float", pa.array(values, pa.float64())
    kind = _KINDS.get(next(iter(found)), "json") if len(found) == 1 else "json"
    if kind == "int":
        numbers = [one for one in values if one is not None]
        long = "long" if min(numbers) >= -(2**63) and max(numbers) < 2**63 else "json"
        kind = "int" if min(numbers) >= -_EXACT and max(numbers) <= _EXACT else long
    return (kind, pa.array(values, _type(kind))) if kind != "json" else _as_json(values)


def _as_json(values: Sequence[Any]) -> tuple[str, Any]:
    import pyarrow as pa

    return "json", pa.array([None if value is None else _json(value) for value in values], pa.string())


def _moments(texts: list[str]) -> tuple[str, Any]:
    """Times in the form that the log writes, as times; any others as the texts that they are."""
    import pyarrow as pa

    if not all(map(_is_moment, set(texts))):
        return _typed(texts)
    return "time", pa.array(texts, pa.string()).cast(_type("time"))


def _common(kinds: set[str], name: str) -> str:
    """The kind that all chunks of a column can be kept as."""
    found = kinds - {""}
    if not found:
        return _WITHOUT.get(name, "str")
    if len(found) == 1:
        return next(iter(found))
    if found == {"int", "long"}:
        return "long"
    if found == {"int", "float"}:
        return "float"
    return "str" if found == {"str", "time"} else "json"


def _cast(column: tuple[str, Any] | None, wanted: str, size: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, array = column or ("", None)
    if array is None:
        return pa.nulls(size, _type(wanted))
    if kind == wanted:
        return array
    if kind == "time":
        return pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
    return _as_json(array.to_pylist())[1] if wanted == "json" else array.cast(_type(wanted))


def _type(kind: str) -> Any:
    import pyarrow as pa

    if kind == "time":
        return pa.timestamp("us", tz="UTC")
    types = {"bool": pa.bool_(), "int": pa.int64(), "long": pa.int64(), "float": pa.float64()}
    return types.get(kind, pa.string())


def _field(name: str, kind: str) -> Any:
    import pyarrow as pa

    return pa.field(name, _type(kind), metadata={JSON: b"1"} if kind == "json" else None)


def _is_moment(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
