"""Tables written piece by piece, which appear under their name as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from fullcircle.errors import TableUnreadable

if TYPE_CHECKING:
    import pandas as pd


class Form(Protocol):
    """One way to write a table into an open file."""

    def write(self, frame: pd.DataFrame) -> None:
        """Add rows."""

    def end(self) -> None:
        """Write what belongs at the end."""

    def close(self) -> None:
        """Let go of what is held, whether it came to an end or not."""


class Writer:
    """A file in the making. Leaving the ``with`` block without ``finish`` leaves nothing behind.

    ``form`` writes frames into it; without one the caller writes the bytes of ``file``.
    """

    def __init__(self, path: Path, form: Callable[[Any], Form] | None = None) -> None:
        self._path = path
        try:
            # Beside the file, so that the renaming cannot cross to another disk.
            self.file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed by finish or __exit__
                dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part", delete=False
            )
        except OSError as error:
            raise TableUnreadable(
                f"the result cannot be written there: {error.strerror}",
                received=str(path),
                next_step="choose a folder that exists and can be written",
            ) from error
        self._form = None if form is None else form(self.file)

    def __enter__(self) -> Writer:
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Add the rows of a frame."""
        assert self._form is not None, "without a form the caller writes the bytes"  # noqa: S101
        self._form.write(frame)

    def finish(self) -> None:
        """Complete the file and give it its name, replacing what had it."""
        if self._form is not None:
            self._form.end()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(self.file.name, 0o666 & ~mask)
        os.replace(self.file.name, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._form is not None:
            self._form.close()
        self.file.close()
        Path(self.file.name).unlink(missing_ok=True)


class _Csv:
    """Comma-separated, UTF-8, one header; numbers with as many digits as bring the same number back."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._header = True

    def write(self, frame: pd.DataFrame) -> None:
        self._file.write(frame.to_csv(index=False, header=self._header, lineterminator="\n").encode())
        self._header = False

    def end(self) -> None:
        """Nothing belongs at the end."""

    def close(self) -> None:
        """Nothing is held."""


class _JsonLines:
    """One object a line; what is missing is null."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, frame: pd.DataFrame) -> None:
        import msgspec

        # By way of notna, because pandas' NA is neither true nor false when it is compared.
        present = [frame[name].astype(object).where(frame[name].notna(), None) for name in frame.columns]
        columns = [[plain(value) for value in column] for column in present]
        names = [str(name) for name in frame.columns]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        self._file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)

    def end(self) -> None:
        """Nothing belongs at the end."""

    def close(self) -> None:
        """Nothing is held."""


class _Parquet:
    """Parquet. The pieces wait in a file, because a column that is empty at first may get its type late."""

    def __init__(self, file: Any) -> None:
        self._file = file
        # No name of its own: it is gone when it is closed, however that happens.
        self._pieces = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._places: list[int] = []
        self._schemas: list[Any] = []

    def write(self, frame: pd.DataFrame) -> None:
        import pyarrow as pa

        try:
            piece = pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise mixed(error) from error
        piece = piece.replace_schema_metadata(None)
        self._places.append(self._pieces.tell())
        self._schemas.append(piece.schema)
        with pa.ipc.new_stream(self._pieces, piece.schema) as stream:
            stream.write_table(piece)

    def end(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = pa.unify_schemas(self._schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise mixed(error) from error
        schema = pa.schema([plain_field(field) for field in schema])
        with pq.ParquetWriter(self._file, schema) as out:
            for place in self._places:
                self._pieces.seek(place)
                out.write_table(pa.ipc.open_stream(self._pieces).read_all().cast(schema))

    def close(self) -> None:
        self._pieces.close()


_FORMS: Mapping[str, Callable[[Any], Form]] = {".csv": _Csv, ".parquet": _Parquet, ".jsonl": _JsonLines}


def writer_for(path: Path) -> Writer:
    """A writer in the form that the suffix names. Raises TableUnreadable for another suffix or a missing folder."""
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise TableUnreadable(
            "the form of the result cannot be told from its name",
            received=str(path),
            allowed=", ".join(_FORMS),
            next_step="give the file one of these suffixes",
        )
    return Writer(path, form)


def plain_field(field: Any) -> Any:
    """A field of the result: text where nothing is known of it, values instead of a dictionary."""
    import pyarrow as pa

    if pa.types.is_null(field.type):
        return field.with_type(pa.string())
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


def mixed(error: Exception) -> TableUnreadable:
    """What to say of a column that Parquet cannot hold."""
    return TableUnreadable(
        f"a column mixes types, which Parquet cannot hold: {error}",
        next_step="write CSV or JSON lines (.csv, .jsonl), or give the column one type",
    )
