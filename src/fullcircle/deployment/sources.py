"""What can be scored, read a stretch at a time: CSV, Parquet and JSON lines, and the rows of a database query.

A stretch is bytes and says how they are read, so that another process can do it: ``columns`` does. All stretches but
the last have the same number of rows, and reading again gives the same stretches: that is what resuming stands on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fullcircle.deployment.csvfile import Checked, header, refused
from fullcircle.errors import DataUnfit, TableNotFound, TableUnreadable
from fullcircle.runtimes.columns import Columns, Documents, Typed, Written, of_database
from fullcircle.types.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST = 8 * 2**20
"""The longest line of a JSON-lines file, in bytes."""

_BLOCK = 4 * 2**20
_decoder = msgspec.json.Decoder()


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows. ``first`` is the number of the first of them, ``line`` where it begins in its file.

    ``kind`` is typed or written (``data`` is an Arrow stream), lines (of JSON) or rows (names and values, msgpack).
    ``share`` is how much of the source is read after it, 0 to 1, and 0 where nobody knows.
    """

    first: int
    rows: int
    kind: str
    data: Any
    line: int = 0
    share: float = 0.0


class Source(Protocol):
    """Where rows come from. ``identity`` is what it is told by; ``steady`` says that its content is part of that."""

    identity: dict[str, str]
    steady: bool

    def names(self) -> list[str]:
        """The columns, those of the first stretch where each row has its own."""

    def stretches(self, rows: int) -> Iterator[Stretch]:
        """All rows, ``rows`` at a time."""


def file_source(path: Path) -> Source:
    """The source in a file, by its ending. Raises TableNotFound and TableUnreadable."""
    kinds: dict[str, type[CsvFile | ParquetFile | JsonLines]] = {
        ".csv": CsvFile,
        ".parquet": ParquetFile,
        ".pq": ParquetFile,
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
    }
    if not path.exists():
        raise TableNotFound(
            "there is no such file", received=str(path), allowed=", ".join(kinds), next_step="check the path"
        )
    kind = kinds.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise TableUnreadable(
            f"{path.name} is of a kind that is not read",
            received="a folder" if path.is_dir() else path.suffix or "no ending",
            allowed=", ".join(kinds),
            next_step="write it as one of these",
        )
    try:
        with path.open("rb"):
            return kind(path)
    except OSError as error:
        raise TableUnreadable(
            f"{path.name} cannot be read: {error.strerror}",
            received=str(path),
            next_step="check the permissions of the file",
        ) from error


def _identity(path: Path) -> dict[str, str]:
    found = path.stat()
    return {"path": str(path.absolute()), "size": str(found.st_size), "changed": str(found.st_mtime_ns)}


class CsvFile:
    """A CSV file: comma separated, UTF-8, one header line. All cells are text; the contract says what they mean."""

    steady = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path)

    def names(self) -> list[str]:
        """See Source."""
        return header(self._path)[1]

    def stretches(self, rows: int) -> Iterator[Stretch]:
        """See Source."""
        import pyarrow as pa
        from pyarrow import csv

        raw, names = header(self._path)
        size = max(self._path.stat().st_size, 1)
        with self._path.open("rb") as file:
            checked = Checked(file, self._path)
            try:
                reader = csv.open_csv(
                    pa.PythonFile(checked, mode="r"),
                    read_options=csv.ReadOptions(block_size=_BLOCK, use_threads=False),
                    parse_options=csv.ParseOptions(newlines_in_values=True),
                    convert_options=csv.ConvertOptions(
                        column_types=dict.fromkeys(raw, pa.string()), strings_can_be_null=False
                    ),
                )
                whole = (batch.rename_columns(names) for batch in reader)
                if len(raw) == 1:
                    whole = (_without_blanks(batch) for batch in whole)
                yield from _cut(whole, rows, "written", lambda _: checked.read_bytes / size)
            except pa.ArrowInvalid as error:
                raise refused(self._path, error) from error


def _without_blanks(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A line of blanks is no row, where it could be one."""
    import pyarrow.compute as pc

    return batch.filter(pc.invert(pc.match_substring_regex(batch.column(0), r"^\s+$")))


class ParquetFile:
    """A Parquet file, read as it lies: no more than a stretch of decoded rows is in memory."""

    steady = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path)

    def names(self) -> list[str]:
        """See Source."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            found: list[str] = pq.read_schema(self._path).names
        except pa.ArrowInvalid as error:
            raise self._broken(error) from error
        return found

    def stretches(self, rows: int) -> Iterator[Stretch]:
        """See Source."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20) as file:
                total = max(file.metadata.num_rows, 1)
                batches = file.iter_batches(batch_size=rows, use_threads=False)
                yield from _cut(batches, rows, "typed", lambda done: done / total)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._broken(error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> TableUnreadable:
        return TableUnreadable(
            f"{self._path.name} is not a whole Parquet file: {str(error).splitlines()[0]}",
            next_step="write the file again, or give a CSV file the ending .csv",
        )


def _cut(batches: Iterator[pa.RecordBatch], rows: int, kind: str, share: Any) -> Iterator[Stretch]:
    """Batches of any size as stretches of ``rows``."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    held = first = 0
    for batch in batches:
        waiting.append(batch)
        held += len(batch)
        while held >= rows:
            table = pa.Table.from_batches(waiting)
            yield Stretch(first, rows, kind, _packed(table.slice(0, rows)), share=share(first + rows))
            waiting = table.slice(rows).to_batches()
            first, held = first + rows, held - rows
    if held:
        yield Stretch(first, held, kind, _packed(pa.Table.from_batches(waiting)), share=1.0)


def _packed(table: pa.Table) -> Any:
    import pyarrow as pa

    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return out.getvalue()


class JsonLines:
    """One JSON object a line, read as strictly as the server does: no key twice, finite numbers, UTF-8."""

    steady = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path)

    def names(self) -> list[str]:
        """The keys of the first thousand rows, in order of their first appearance."""
        for stretch in self.stretches(1000):
            rows = documents(bytes(stretch.data), stretch.line)
            return list(dict.fromkeys(name for row in rows for name in row))
        return []

    def stretches(self, rows: int) -> Iterator[Stretch]:
        """See Source."""
        size = max(self._path.stat().st_size, 1)
        lines: list[bytes] = []
        first, begins = 0, 1
        with self._path.open("rb", buffering=1 << 20) as file:
            number = done = held = 0
            while line := file.readline(LONGEST + 1):
                number += 1
                done += len(line)
                held += bool(line.strip())
                if len(line) > LONGEST:
                    raise _unfit(number, "the line is too long", allowed=f"at most {LONGEST:,} bytes")
                lines.append(line)
                if held == rows:
                    yield Stretch(first, held, "lines", b"".join(lines), begins, done / size)
                    first, begins, held, lines = first + held, number + 1, 0, []
        if held:
            yield Stretch(first, held, "lines", b"".join(lines), begins, 1.0)


def columns(stretch: Stretch, contract: Contract) -> tuple[Columns, dict[str, Any], list[dict[str, Any]] | None]:
    """The columns of a stretch to judge, those to carry along, and the rows where each has keys of its own."""
    if stretch.kind in ("typed", "written"):
        import pyarrow as pa

        table = pa.ipc.open_stream(stretch.data).read_all().combine_chunks()
        found = {
            name: column.chunk(0) if column.num_chunks else pa.array([], column.type)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        kind = Typed if stretch.kind == "typed" else Written
        return kind(found, stretch.rows), found, None
    if stretch.kind == "lines":
        rows = documents(bytes(stretch.data), stretch.line)
        return Documents(rows), {}, rows
    names, values = msgspec.msgpack.decode(stretch.data)
    carried = dict(zip(names, map(list, zip(*values, strict=True)), strict=True))
    return of_database(contract, [dict(zip(names, row, strict=True)) for row in values]), carried, None


def lists(rows: Sequence[dict[str, Any]], names: Sequence[str], line: int) -> dict[str, Any]:
    """Rows as columns of these names. Raises TableUnreadable for a row with another."""
    known = frozenset(names)
    for place, row in enumerate(rows):
        if not row.keys() <= known:
            raise TableUnreadable(
                f"row {place + 1} of those from line {line} on has a key that the first rows do not have",
                received=", ".join(sorted(row.keys() - known))[:200],
                allowed=", ".join(names)[:500],
                next_step="write JSON lines (.jsonl), where each row has its own keys",
            )
    return {name: [row.get(name) for row in rows] for name in names}


def documents(data: bytes, line: int) -> list[dict[str, Any]]:
    """The objects of lines of JSON, of which the first has the number ``line``. Raises TableUnreadable."""
    return [_document(text, line + place) for place, text in enumerate(data.splitlines()) if text.strip()]


def _document(text: bytes, number: int) -> dict[str, Any]:
    try:
        found = _decoder.decode(text)
        if type(found) is not dict:
            raise _unfit(number, f"the line is no JSON object, but a {type(found).__name__}")
        if len(found) != text.count(b":"):
            json.loads(text, object_pairs_hook=_once)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(number, f"the line is not JSON that is accepted: {error}") from error
    except _Twice as error:
        raise _unfit(number, "a key occurs twice in one object") from error
    return found


class _Twice(Exception):
    """A key occurs twice."""


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Twice


def _unfit(
    line: int, what: str, allowed: str = "one JSON object a line: finite numbers, no key twice"
) -> TableUnreadable:
    return TableUnreadable(f"line {line}: {what}", allowed=allowed, next_step="mend the line")


def digest(stretch: Stretch) -> str:
    """What tells a stretch of a source that is not steady."""
    return hashlib.sha256(stretch.data).hexdigest()


def no_rows(source: Source) -> DataUnfit:
    """What to say of a source without rows."""
    return DataUnfit(
        "there are no rows to score",
        received=next(iter(source.identity.values())),
        allowed="at least one row",
        next_step="check the file or the query",
    )
