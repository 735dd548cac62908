"""Tables that are read and written piece by piece: a frame in memory, or Parquet files that need not fit into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import ColumnMissing, TableUnreadable
from fullcircle.features import frames
from fullcircle.features.kinds import arrow_type, kind_of

PIECE = 1_000_000  # rows of a result that are in memory at once while it is written to a file


class Labels:
    """The rows of a caller, to which columns are added. ``rows`` is their number."""

    def __init__(self, source: Any, what: str) -> None:
        self._source, self._what = source, what
        self._file = isinstance(source, str | Path)
        if self._file:
            self._parquet = ParquetFiles([source], what)
            self.names, self.rows = self._parquet.names, self._parquet.rows
        else:
            self._table, self._library = frames.to_arrow(source, what)
            self.names, self.rows = self._table.column_names, self._table.num_rows
        _each_once(self.names, what)

    def read(self, names: Sequence[str]) -> Any:
        """These columns, in the types of their kinds. Raises ColumnMissing."""
        if self._file:
            return self._parquet.read(names)
        frames.need(self._table, names, self._what)
        return frames.normal(self._table.select(list(names)), self._what)

    def with_columns(self, piece: Callable[[int, int], Any], out: str | Path | None = None) -> Any:
        """The labels with the columns that ``piece(start, stop)`` makes, in the caller's library.

        With ``out`` they are written there as Parquet, some rows at a time; what stood there is replaced at the end.
        """
        if out is not None:
            return self._write(piece, Path(out))
        made = piece(0, self.rows)
        if self._file:
            return _beside(self._parquet.read(self.names, plain=False), made)
        if self._library == "pandas":
            return _beside_pandas(self._source, made)
        return frames.back(_beside(self._table, made), self._library)

    def _write(self, piece: Callable[[int, int], Any], out: Path) -> Path:
        import pyarrow.parquet as pq

        partial = out.with_name(f".{out.name}.{os.getpid()}-partial")
        writer = None
        try:
            for start, table in self._pieces():
                whole = _beside(table, piece(start, start + table.num_rows))
                writer = writer or pq.ParquetWriter(partial, whole.schema, compression="zstd")
                writer.write_table(whole)
            if writer is not None:
                writer.close()
            partial.replace(out)
        except OSError as error:
            raise TableUnreadable(
                f"the result cannot be written: {error.strerror or error}",
                received=str(out),
                next_step="name a place that can be written, with enough space",
            ) from error
        finally:
            if writer is not None:
                writer.close()
            partial.unlink(missing_ok=True)
        return out

    def _pieces(self) -> Iterator[tuple[int, Any]]:
        if self._file:
            yield from self._parquet.pieces()
            return
        for start in range(0, max(self.rows, 1), PIECE):
            yield start, self._table.slice(start, PIECE)


class ParquetFiles:
    """Parquet files read as one table. ``take`` reads only the groups of rows that it needs, one at a time.

    ``kinds`` are the columns and their kinds, by default those of the first file; a file that lacks one has nulls there.
    """

    def __init__(
        self,
        paths: Sequence[Any],
        what: str,
        open_file: Callable[[Any], Any] | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self._what, self._paths, self._open = what, list(paths), open_file or (lambda path: path)
        self._files: list[Any] = [self._opened(path) for path in self._paths]
        if kinds is None:
            schema = self._files[0].schema_arrow
            _each_once(schema.names, what)
            kinds = {field.name: "" for field in schema}  # looked at when the column is asked for
        self._kinds = dict(kinds)
        self.names = list(self._kinds)
        self.rows = sum(file.metadata.num_rows for file in self._files)

    def _opened(self, path: Any) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._open(path))
        except (pa.ArrowException, OSError) as error:
            raise TableUnreadable(
                f"{self._what} cannot be read: {str(error).splitlines()[0]}",
                received=str(path),
                allowed="a whole Parquet file",
                next_step="check the path and how the file was written",
            ) from error

    def read(self, names: Sequence[str], *, plain: bool = True) -> Any:
        """These columns of all rows; with ``plain`` in the types of their kinds. Raises ColumnMissing."""
        import pyarrow as pa

        self._need(names)
        parts = [file.read(columns=self._present(file, names)) for file in self._files]
        if not plain:
            return pa.concat_tables(parts)
        return pa.concat_tables([self._empty(names), *(self._typed(part, names) for part in parts)])

    def take(self, names: Sequence[str], places: Any) -> Any:
        """These columns of the rows at ``places`` (n,), in that order; a place of -1 is a row of nulls."""
        import numpy as np
        import pyarrow as pa

        order = np.argsort(places, kind="stable")
        wanted = places[order]
        parts, start, done = [self._empty(names)], 0, int(np.searchsorted(wanted, 0))
        absent = done
        for file in self._files:
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                upto = int(np.searchsorted(wanted, start + size))
                if upto > done:
                    table = file.read_row_group(group, columns=self._present(file, names))
                    parts.append(self._typed(table, names).take(pa.array(wanted[done:upto] - start)))
                start, done = start + size, upto
        back = np.full(len(places), -1, dtype=np.int64)
        back[order[absent:]] = np.arange(len(places) - absent)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back, mask=back < 0))

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """All columns of some rows at a time, as they are, with the place of the first."""
        import pyarrow as pa

        start = 0
        for file in self._files:
            for batch in file.iter_batches(batch_size=PIECE):
                yield start, pa.Table.from_batches([batch])
                start += batch.num_rows
        if not start:
            yield 0, self._files[0].schema_arrow.empty_table()

    def _need(self, names: Sequence[str]) -> None:
        absent = [name for name in names if name not in self._kinds]
        if absent:
            raise ColumnMissing(
                f"{self._what} lacks {', '.join(absent)}",
                received=f"it has {', '.join(self.names[:20])}",
                next_step="check the names",
            )

    def _present(self, file: Any, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in file.schema_arrow.names]

    def _kind(self, name: str) -> str:
        if not self._kinds[name]:
            self._kinds[name] = kind_of(self._files[0].schema_arrow.field(name).type, name)
        return self._kinds[name]

    def _empty(self, names: Sequence[str]) -> Any:
        import pyarrow as pa

        return pa.table({name: pa.array([], arrow_type(self._kind(name))) for name in names})

    def _typed(self, table: Any, names: Sequence[str]) -> Any:
        import pyarrow as pa

        made = {}
        for name in names:
            wanted = arrow_type(self._kind(name))
            if name not in table.column_names:
                made[name] = pa.nulls(table.num_rows, wanted)
            else:
                column = table.column(name)
                made[name] = column if column.type == wanted else column.cast(wanted)
        return pa.table(made)


class Memory:
    """A table in memory, with the doors of ``ParquetFiles``."""

    def __init__(self, table: Any, what: str) -> None:
        self._table, self._what = table, what
        self.names, self.rows = table.column_names, table.num_rows

    def read(self, names: Sequence[str]) -> Any:
        """These columns, in the types of their kinds."""
        frames.need(self._table, names, self._what)
        return frames.normal(self._table.select(list(names)), self._what)

    def take(self, names: Sequence[str], places: Any) -> Any:
        """These columns of the rows at ``places`` (n,), in that order; a place of -1 is a row of nulls."""
        import pyarrow as pa

        chosen = self.read(names).combine_chunks()
        return chosen.take(pa.array(places, mask=places < 0))


def rows_of(source: Any, what: str) -> ParquetFiles | Memory:
    """The rows of a frame, or of one Parquet file or a folder of them."""
    if isinstance(source, str | Path):
        path = Path(source)
        return ParquetFiles(sorted(path.glob("*.parquet")) if path.is_dir() else [path], what)
    table, _ = frames.to_arrow(source, what)
    _each_once(table.column_names, what)
    return Memory(table, what)


def _each_once(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise TableUnreadable(
            f"{what} has a column name twice",
            received=", ".join(map(repr, twice)),
            allowed="each name once",
            next_step="rename the columns",
        )


def _beside(table: Any, made: Any) -> Any:
    for name in made.column_names:
        table = table.append_column(name, made.column(name))
    return table


def _beside_pandas(frame: Any, made: Any) -> Any:
    import pandas as pd

    new = frames.to_pandas(made)
    new.index = frame.index
    return pd.concat([frame, new], axis=1)
