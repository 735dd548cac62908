"""A feature table on disk: rows appended in batches, never changed, and read back with their times."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec

from fullcircle.errors import (
    BatchConflict,
    BlobCorrupt,
    DataUnfit,
    DefinitionChanged,
    FeatureInvalid,
    FullcircleError,
    WorkspaceUnusable,
)
from fullcircle.features import frames, keys
from fullcircle.features.commits import ROWS_A_COMMIT, Commit, Commits, DataFile, Part, TableState, removable
from fullcircle.features.kinds import arrow_type, kind_of
from fullcircle.features.pieces import ParquetFiles
from fullcircle.ledger.places import Place
from fullcircle.types.definitions import TableSpec

EVENT, AVAILABLE, NUMBER = "__e", "__a", "__s"
ROWS_A_FILE = 2_000_000
KEPT = 86_400 * 10**9  # nanoseconds for which readers that have begun find the files that a compaction replaced
P = ParamSpec("P")
R = TypeVar("R")


def _usable(door: Callable[P, R]) -> Callable[P, R]:
    """A door that says what to do where the disk, or the place, does not."""

    @wraps(door)
    def through(*args: P.args, **options: P.kwargs) -> R:
        try:
            return door(*args, **options)
        except FullcircleError:
            raise
        except OSError as error:
            raise WorkspaceUnusable(
                f"the feature tables cannot be used: {error.strerror or error}",
                received=error.filename,
                next_step="check the disk's space, the setting features and your rights",
            ) from error

    return through


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What became of a batch. ``already`` says that it was there before; then nothing was written."""

    table: str
    batch: str
    rows: int
    commit: int
    already: bool = False
    backfilled: bool = False


class TableLog:
    """The rows of one table below a place. Any number of processes may append and read at once."""

    def __init__(self, place: Place, spec: TableSpec, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.spec = spec
        self._place = place
        self._clock = clock
        self._commits = Commits(place, spec.name)
        self._folder = f"tables/{spec.name}"
        self._declared = f"{self._folder}/table.json"
        self._compared = False

    def declare(self) -> None:
        """Write the definition down with the first rows; raises DefinitionChanged where it was another."""
        if not self._place.create(self._declared, msgspec.json.encode(self.spec, order="sorted")):
            self._compare()

    def _compare(self) -> None:
        try:
            found = msgspec.json.decode(self._place.read(self._declared), type=TableSpec)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BlobCorrupt(
                f"the definition of the feature table {self.spec.name!r} cannot be read: {frames.first_line(error)}",
                received=self._declared,
                allowed="the definition that was written with the first rows",
                next_step="restore it from a backup",
            ) from error
        if found != self.spec:
            differs = [
                name for name in found.__dataclass_fields__ if getattr(found, name) != getattr(self.spec, name)
            ]
            raise DefinitionChanged(
                f"the feature table {self.spec.name!r} was declared otherwise when its first rows were appended",
                received="; ".join(f"{name}={getattr(self.spec, name)!r}" for name in differs),
                allowed="; ".join(f"{name}={getattr(found, name)!r}" for name in differs),
                next_step="declare a table of another name, and append the rows to it",
            )

    @_usable
    def state(self) -> TableState:
        """What the table holds now. Raises BlobCorrupt; DefinitionChanged where it was declared otherwise."""
        state = self._commits.state()
        if state.number and not self._compared:
            self._compare()
            self._compared = True
        return state

    @_usable
    def append(self, frame: Any, *, batch: str | None = None, backfill: bool = False) -> Appended:
        """Add a batch of rows; once it returns they are safe. A batch id that is known already changes nothing.

        With ``backfill`` rows count as available when they happened, whatever the table says. Raises BatchConflict
        for a known id with other rows, DataUnfit, ColumnMissing, TableUnreadable, DefinitionChanged.
        """
        table = self._checked(frame)
        batch = batch or secrets.token_hex(16)
        if not table.num_rows:
            return Appended(table=self.spec.name, batch=batch, rows=0, commit=self.state().number)
        content = content_digest(table)
        self.declare()
        state = self.state()
        known = self._known(state, batch, content, table.num_rows)
        if known is not None:
            return known
        stamp = max(self._clock(), state.time)
        table = self._in_schema(self._timed(table, stamp, backfill), state)
        written = self._written(table, state)
        begun = state.number
        while True:
            if begun < state.fence:  # these files may be gone: see the module commits
                written, begun = self._written(table, state), state.number
            commit = self._commit(state, written, table, batch, content, stamp, backfill)
            if self._commits.add(commit):
                return Appended(
                    table=self.spec.name,
                    batch=batch,
                    rows=table.num_rows,
                    commit=commit.number,
                    backfilled=backfill,
                )
            state = self.state()  # another process was faster: after its commit, then
            known = self._known(state, batch, content, table.num_rows)
            if known is not None:
                self.discard(written)
                return known
            table = self._in_schema(table, state)

    def _written(self, table: Any, state: TableState) -> list[DataFile]:
        starts = range(0, table.num_rows, ROWS_A_FILE)
        return [self.write(table.slice(start, ROWS_A_FILE), state) for start in starts]

    def discard(self, files: Sequence[DataFile]) -> None:
        """Remove files that were written for a commit that another process made impossible."""
        # Unless it was made all the same: a place whose answer got lost may say that it was somebody else's.
        needed = {file.path for commit in self._commits.all() for file in commit.files}
        self._remove(file.path for file in files if file.path not in needed)

    @_usable
    def clean(self) -> int:
        """Remove data files that nobody needs since a day or more, and return how many. Raises BlobCorrupt."""
        found = removable(self._commits.all(), self._place.names(f"{self._folder}/data"), self._clock() - KEPT)
        self._remove(found)
        return len(found)

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                self._place.remove(path)
            except FileNotFoundError:  # another process removes them too
                continue

    def hash_of(self, commit: int) -> str | None:
        """The hash of a commit, None where it is not there."""
        return self._commits.hash_of(commit)

    def batch(self, commit: int) -> str:
        """The id of the batch that a commit appended."""
        return self._commits.batch(commit)

    def files(self, chosen: Sequence[DataFile], columns: dict[str, str]) -> ParquetFiles:
        """Data files as one table of the columns that the table has by now."""
        kinds = {EVENT: "int64", AVAILABLE: "int64", **columns}
        return ParquetFiles(
            [file.path for file in chosen], f"the feature table {self.spec.name!r}", self._place.open, kinds
        )

    @_usable
    def verify(self) -> int:
        """Read every data file and compare it with its digest; returns how many. Raises BlobCorrupt."""
        state = self.state()
        for file in state.files:
            try:
                found = hashlib.sha256(self._place.read(file.path)).hexdigest()
            except FileNotFoundError:
                found = ""
            if found != file.digest:
                raise BlobCorrupt(
                    f"a file of the feature table {self.spec.name!r} {'was altered' if found else 'is missing'}",
                    received=file.path,
                    allowed=file.digest,
                    next_step="restore it from a backup",
                )
        return len(state.files)

    def commit_compaction(self, state: TableState, files: Sequence[DataFile]) -> bool:
        """Commit files in place of all that ``state`` has; False where something was appended meanwhile."""
        old = self._clock() - KEPT
        return self._commits.add(
            Commit(
                number=state.number + 1,
                kind="compact",
                time=max(self._clock(), state.time),
                previous=state.head,
                files=tuple(files),
                columns=tuple(state.columns.items()),
                batches=state.batches,
                rows=state.rows,
                last_event=state.last_event,
                fence=max([state.fence, *(one.number for one in self._commits.all() if one.time < old)]),
            )
        )

    def _known(self, state: TableState, batch: str, content: str, rows: int) -> Appended | None:
        if batch not in state.batches:
            return None
        if state.batches[batch] != content:
            raise BatchConflict(
                f"batch {batch!r} was appended to {self.spec.name!r} before, with other rows",
                received=content[:12],
                allowed=state.batches[batch][:12],
                next_step="give new rows a batch id of their own; a correction is a new row too",
            )
        self._commits.settle(state.number)
        (made,) = [commit for commit in self._commits.all() if batch in commit.batches and commit.kind == "append"]
        return Appended(
            table=self.spec.name,
            batch=batch,
            rows=rows,
            commit=made.number,
            already=True,
            backfilled=made.backfill,
        )

    def _checked(self, frame: Any) -> Any:
        """The rows with every column in the type of its kind. What is wrong with them is found before anything."""
        what = f"a batch of {self.spec.name!r}"
        table, _ = frames.to_arrow(frame, what)
        frames.each_once(table.column_names, what)
        own = [name for name in table.column_names if name.startswith("__")]
        if own:
            raise FeatureInvalid(
                f"{what} has a column whose name is kept for the store",
                received=", ".join(own),
                allowed="names that do not begin with __",
                next_step="rename the column",
            )
        column = self.spec.available.removeprefix("column ") if self.spec.available.startswith("column ") else ""
        needed = list(dict.fromkeys([*self.spec.key, self.spec.time, *([column] if column else []), *self.spec.id]))
        frames.need(table, needed, what)
        if not table.num_rows:
            return table
        untyped = [name for name in table.column_names if str(table.column(name).type) == "null"]
        if absent := [name for name in needed if name in untyped]:
            raise DataUnfit(
                f"the column {absent[0]!r} of {what} has missing values",
                received=f"{table.num_rows} of {table.num_rows} rows",
                allowed="a value in every row",
                next_step="leave those rows out, or fill them in",
            )
        table = table.drop_columns(untyped)  # filled with nulls where the table has them
        table = frames.normal(table, what)
        keys.key_columns(table, self.spec.key, what)
        keys.key_columns(table, self.spec.id, what)
        frames.nanoseconds(table.column(self.spec.time), self.spec.time, what)
        if column:
            frames.nanoseconds(table.column(column), column, what)
        return table

    def _timed(self, table: Any, stamp: int, backfill: bool) -> Any:
        """The rows with their event time and when they were available, in nanoseconds."""
        import numpy as np
        import pyarrow as pa

        what = f"a batch of {self.spec.name!r}"
        e = frames.nanoseconds(table.column(self.spec.time), self.spec.time, what)
        if backfill or self.spec.available == "event":
            a = e
        elif self.spec.available.startswith("column "):
            column = self.spec.available.removeprefix("column ")
            a = frames.nanoseconds(table.column(column), column, what)
        else:
            a = np.full(len(e), stamp)
        a = np.where(a > frames.LAST - self.spec.delay, frames.LAST, a + self.spec.delay)
        return table.append_column(EVENT, pa.array(e)).append_column(AVAILABLE, pa.array(a))

    def _in_schema(self, table: Any, state: TableState) -> Any:
        """The rows with the columns and kinds that the table has by now; new columns come last."""
        import pyarrow as pa

        made = {}
        for name, kind in state.columns.items():
            if name not in table.column_names:
                made[name] = pa.nulls(table.num_rows, arrow_type(kind))
                continue
            column = table.column(name)
            try:
                made[name] = frames.as_kind(column, kind, name)
            except (pa.ArrowException, ValueError) as error:
                raise DataUnfit(
                    f"the column {name!r} of a batch of {self.spec.name!r} has another type than before",
                    received=f"{kind_of(column.type, name)}: {frames.first_line(error)}",
                    allowed=f"{kind}, or what can be made it without changing a value",
                    next_step="cast it before appending",
                ) from error
        return pa.table(made | {name: table.column(name) for name in table.column_names if name not in made})

    def write(self, table: Any, state: TableState, part: Part = "log") -> DataFile:
        """Write rows as a file of a commit that comes after ``state``; those of a compaction carry their numbers."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=131_072)
        data = sink.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()
        path = f"{self._folder}/data/{state.number:08d}-{secrets.token_hex(16)}.parquet"
        self._place.write(path, data)
        return DataFile(path=path, rows=table.num_rows, bytes=len(data), digest=digest, part=part)

    def _commit(
        self,
        state: TableState,
        written: Sequence[DataFile],
        table: Any,
        batch: str,
        content: str,
        stamp: int,
        backfill: bool,
    ) -> Commit:
        number, first, files = state.number + 1, (state.number + 1) * ROWS_A_COMMIT, []
        for file in written:
            files.append(replace(file, base=first))
            first += file.rows
        own = (EVENT, AVAILABLE, NUMBER)
        kinds = {name: kind_of(table.column(name).type, name) for name in table.column_names if name not in own}
        return Commit(
            number=number,
            kind="append",
            time=stamp,
            previous=state.head,
            files=tuple(files),
            columns=tuple({**state.columns, **kinds}.items()),
            batches={batch: content},
            backfill=backfill,
            rows=table.num_rows,
            last_event=_last(table),
        )


def _last(table: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.max(table.column(EVENT)).as_py())


def content_digest(table: Any) -> str:
    """A digest of the content of a table, whatever pieces it is in."""
    import pyarrow as pa

    sink = hashlib.sha256()

    class Into:
        closed = False

        def write(self, data: Any) -> int:
            sink.update(data)
            return len(data)

        def flush(self) -> None:
            return None

        def close(self) -> None:
            return None

    # Taken anew, what lies under nulls and beyond slices is zero.
    columns = [frames.without_views(column) for column in table.columns]
    whole = (
        pa.table(columns, names=table.column_names).combine_chunks().take(pa.array(range(table.num_rows), pa.int64()))
    )
    with pa.ipc.new_stream(pa.PythonFile(Into(), mode="w"), whole.schema) as writer:
        for batch in whole.combine_chunks().to_batches():
            writer.write_batch(batch)
    return sink.hexdigest()
