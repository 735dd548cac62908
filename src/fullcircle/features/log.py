"""A feature table on disk: rows appended in batches, never changed, and read back with their times."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fullcircle.errors import BatchConflict, BlobCorrupt, DataUnfit, DefinitionChanged, FeatureInvalid
from fullcircle.features import frames, keys
from fullcircle.features.commits import ROWS_A_COMMIT, Commit, Commits, DataFile, TableState
from fullcircle.features.kinds import arrow_type, kind_of
from fullcircle.features.pieces import ParquetFiles
from fullcircle.ledger.places import Place
from fullcircle.types.definitions import TableSpec

EVENT, AVAILABLE, NUMBER = "__e", "__a", "__s"
ROWS_A_FILE = 2_000_000


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

    def declare(self) -> None:
        """Write the definition down with the first rows; raises DefinitionChanged where it was another."""
        path = f"tables/{self.spec.name}/table.json"
        if self._place.create(path, msgspec.json.encode(self.spec, order="sorted")):
            return
        found = msgspec.json.decode(self._place.read(path), type=TableSpec)
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

    def state(self) -> TableState:
        """What the table holds now."""
        return self._commits.state()

    def append(self, frame: Any, *, batch: str | None = None, backfill: bool = False) -> Appended:
        """Add a batch of rows; once it returns they are safe. A batch id that is known already changes nothing.

        With ``backfill`` rows count as available when they happened, whatever the table says. Raises BatchConflict for
        a known id with other rows, DataUnfit, ColumnMissing, TableUnreadable, DefinitionChanged.
        """
        table = self._checked(frame)
        content = content_digest(table)
        batch = batch or secrets.token_hex(16)
        if table.num_rows:
            self.declare()
        state = self.state()
        known = self._known(state, batch, content, table.num_rows)
        if known is not None or not table.num_rows:
            return known or Appended(table=self.spec.name, batch=batch, rows=0, commit=state.number)
        stamp = max(self._clock(), state.time)
        table = self._in_schema(self._timed(table, stamp, backfill), state)
        written = [self._write(table.slice(start, ROWS_A_FILE)) for start in range(0, table.num_rows, ROWS_A_FILE)]
        while True:
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
                return known
            table = self._in_schema(table, state)

    def batch(self, commit: int) -> str:
        """The id of the batch that a commit appended."""
        return self._commits.batch(commit)

    def files(self, chosen: Sequence[DataFile], columns: dict[str, str]) -> ParquetFiles:
        """Data files as one table of the columns that the table has by now."""
        kinds = {EVENT: "int64", AVAILABLE: "int64", **columns}
        return ParquetFiles(
            [file.path for file in chosen], f"the feature table {self.spec.name!r}", self._place.open, kinds
        )

    def verify(self) -> int:
        """Read every data file and compare it with its digest; returns how many. Raises BlobCorrupt."""
        state = self.state()
        for file in state.files:
            if hashlib.sha256(self._place.read(file.path)).hexdigest() != file.digest:
                raise BlobCorrupt(
                    f"a file of the feature table {self.spec.name!r} was altered",
                    received=file.path,
                    allowed=file.digest,
                    next_step="restore it from a backup",
                )
        return len(state.files)

    def write(self, table: Any, part: str) -> DataFile:
        """Write rows that carry their numbers as one file of a compaction."""
        return self._write(table, part)

    def commit_compaction(self, state: TableState, files: Sequence[DataFile]) -> bool:
        """Commit files in place of all that ``state`` has; False where something was appended meanwhile."""
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
        return Appended(table=self.spec.name, batch=batch, rows=rows, commit=state.number, already=True)

    def _checked(self, frame: Any) -> Any:
        """The rows with every column in the type of its kind. What is wrong with them is found before anything."""
        what = f"a batch of {self.spec.name!r}"
        table, _ = frames.to_arrow(frame, what)
        own = [name for name in table.column_names if name.startswith("__")]
        if own:
            raise FeatureInvalid(
                f"{what} has a column whose name is kept for the store",
                received=", ".join(own),
                allowed="names that do not begin with __",
                next_step="rename the column",
            )
        column = self.spec.available.removeprefix("column ") if self.spec.available.startswith("column ") else None
        frames.need(
            table, dict.fromkeys([*self.spec.key, self.spec.time, *([column] if column else []), *self.spec.id]), what
        )
        missing = [name for name in table.column_names if str(table.column(name).type) == "null"]
        if missing:
            table = table.drop_columns(missing)  # of no type: the column is filled with nulls where the table has it
            frames.need(table, [*self.spec.key, self.spec.time], what)
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
            column, wanted = table.column(name), arrow_type(kind)
            try:
                made[name] = column if column.type == wanted else column.cast(wanted)
            except pa.ArrowException as error:
                raise DataUnfit(
                    f"the column {name!r} of a batch of {self.spec.name!r} has another type than before",
                    received=f"{kind_of(column.type, name)}: {str(error).splitlines()[0]}",
                    allowed=kind,
                    next_step="cast it before appending",
                ) from error
        return pa.table(made | {name: table.column(name) for name in table.column_names if name not in made})

    def _write(self, table: Any, part: Any = "log") -> DataFile:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=131_072)
        data = sink.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()
        path = f"tables/{self.spec.name}/data/{secrets.token_hex(16)}.parquet"
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

    with pa.ipc.new_stream(pa.PythonFile(Into(), mode="w"), table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return sink.hexdigest()
