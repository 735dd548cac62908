"""Tables that are read and written piece by piece: a frame in memory, or Parquet files that need not fit into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.errors import FullcircleError, TableNotFound, TableUnreadable
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
            self._source = source = source.collect() if frames.is_lazy(source) else source
            self._table, self._library = frames.to_arrow(source, what)
            self.names, self.rows = self._table.column_names, self._table.num_rows
        frames.each_once(self.names, what)

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
        if self._library == "polars":
            return _beside_polars(self._source, made)
        return frames.back(_beside(self._table, made), self._library)

    def _write(self, piece: Callable[[int, int], Any], out: Path) -> Path:
        import pyarrow.parquet as pq

        partial = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}-partial")
        parts = ((table, piece(start, start + table.num_rows)) for start, table in self._pieces())
        try:
            whole = _beside(*next(parts))
            with pq.ParquetWriter(partial, whole.schema, compression="zstd") as writer:
                writer.write_table(whole)
                for table, made in parts:
                    writer.write_table(_beside(table, made))
            partial.replace(out)
        except FullcircleError:
            raise
        except OSError as error:
            raise TableUnreadable(
                f"the result cannot be written: {error.strerror or frames.first_line(error)}",
                received=str(out),
                allowed="the path of a file in a folder that is there",
                next_step="name a place that can be written, with enough space",
            ) from error
        finally:
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

    ``kinds`` are the columns and their kinds, by default those of the first file; what a file lacks is null there.
    Any number of files: one at a time is open.
    """

    def __init__(
        self,
        paths: Sequence[Any],
        what: str,
        open_file: Callable[[Any], Any] | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self._what, self._open = what, open_file or (lambda path: path)
        self._schema: Any = None
        self._files: list[tuple[Any, Any]] = []  # each path and what the end of the file says of it
        for path in paths:
            with self._opened(path) as file:
                self._files.append((path, file.metadata))
                self._schema = self._schema or file.schema_arrow
        if kinds is None:
            frames.each_once(self._schema.names, what)
            kinds = {field.name: "" for field in self._schema}  # looked at when the column is asked for
        self._kinds = dict(kinds)
        self.names = list(self._kinds)
        self.rows = sum(known.num_rows for _, known in self._files)

    @contextmanager
    def _opened(self, path: Any, known: Any = None) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._open(path), metadata=known) as file:
                yield file
        except FullcircleError:
            raise
        except FileNotFoundError as error:
            raise frames.not_found(path, self._what) from error
        except (pa.ArrowException, OSError) as error:
            raise TableUnreadable(
                f"{self._what} cannot be read: {frames.first_line(error)}",
                received=str(path),
                allowed="a whole Parquet file, each column of one type in all files",
                next_step="check the path and how the file was written",
            ) from error

    def read(self, names: Sequence[str], *, plain: bool = True) -> Any:
        """These columns of all rows; with ``plain`` in the types of their kinds. Raises ColumnMissing."""
        import pyarrow as pa

        frames.need_among(self.names, names, self._what)
        parts = [self._empty(names)] if plain else []
        for path, known in self._files:
            with self._opened(path, known) as file:
                part = file.read(columns=self._present(file, names))
                parts.append(self._typed(part, names) if plain else part)
        return pa.concat_tables(parts)

    def take(self, names: Sequence[str], places: Any) -> Any:
        """These columns of the rows at ``places`` (n,), in that order; a place of -1 is a row of nulls."""
        import numpy as np
        import pyarrow as pa

        if not names:
            return pa.table({})
        order = np.argsort(places, kind="stable")
        wanted = places[order]
        parts, start, absent = [self._empty(names)], 0, int(np.searchsorted(wanted, 0))
        for path, known in self._files:
            inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + known.num_rows)] - start
            if len(inside):
                with self._opened(path, known) as file:
                    parts += self._taken(file, names, inside)
            start += known.num_rows
        back = np.full(len(places), -1, dtype=np.int64)
        back[order[absent:]] = np.arange(len(places) - absent)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back, mask=back < 0))

    def _taken(self, file: Any, names: Sequence[str], wanted: Any) -> Iterator[Any]:
        """The rows of a file at these places, which are in order, group by group."""
        import numpy as np
        import pyarrow as pa

        start = done = 0
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            upto = int(np.searchsorted(wanted, start + size))
            if upto > done:
                table = file.read_row_group(group, columns=self._present(file, names))
                yield self._typed(table, names).take(pa.array(wanted[done:upto] - start))
            start, done = start + size, upto

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """All columns of some rows at a time, as they are, with the place of the first."""
        import pyarrow as pa

        start = 0
        for path, known in self._files:
            with self._opened(path, known) as file:
                for batch in file.iter_batches(batch_size=PIECE):
                    yield start, pa.Table.from_batches([batch])
                    start += batch.num_rows
        if not start:
            yield 0, self._schema.empty_table()

    def _present(self, file: Any, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in file.schema_arrow.names]

    def _kind(self, name: str) -> str:
        if not self._kinds[name]:
            self._kinds[name] = kind_of(self._schema.field(name).type, name)
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
                made[name] = column if column.type == wanted else frames.without_views(column).cast(wanted)
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

        if not names:
            return pa.table({})
        chosen = self.read(names).combine_chunks()
        return chosen.take(pa.array(places, mask=places < 0))


def rows_of(source: Any, what: str) -> ParquetFiles | Memory:
    """The rows of a frame, or of one Parquet file or a folder of them."""
    if isinstance(source, str | Path):
        path = Path(source)
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not found:
            raise TableNotFound(
                f"{what} are a folder without Parquet files",
                received=str(path),
                allowed="a folder with files *.parquet",
                next_step="check the path",
            )
        return ParquetFiles(found, what)
    table, _ = frames.to_arrow(source, what)
    frames.each_once(table.column_names, what)
    return Memory(table, what)


def _beside(table: Any, made: Any) -> Any:
    for name in made.column_names:
        table = table.append_column(name, made.column(name))
    return table


def _beside_pandas(frame: Any, made: Any) -> Any:
    import pandas as pd

    new = frames.to_pandas(made)
    new.index = frame.index
    return pd.concat([frame, new], axis=1)


def _beside_polars(frame: Any, made: Any) -> Any:
    import polars as pl

    new: Any = pl.from_arrow(made)
    return frame.hstack(new) if made.num_columns else frame
