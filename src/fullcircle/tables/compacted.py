"""Compacted segments: Parquet files, read back as the predictions that were logged, value for value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import MissingExtra, WorkspaceUnusable
from fullcircle.tables.segments import offsets_of
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT = b"fullcircle"
JSON = b"json"  # marks a column whose values are of several kinds: each is written as JSON
GROUPS = ("input", "probability")  # mappings, with a column ``<group>.<name>`` for each of their names
SPLIT = ("split", "propensity", "assigned", "of")
"""What files of before there were splits lack."""
_ROWS = 2048
_PROBLEMS = msgspec.json.Decoder(tuple[Problem, ...])


class About(msgspec.Struct, frozen=True):
    """What a compacted segment says of itself: rows, torn lines left behind, and its first and last time."""

    rows: int
    torn: int
    first: str
    last: str
    oldest: str = ""
    newest: str = ""

    def outside(self, since: str, until: str) -> bool:
        """Whether none of its rows are from ``since`` on and before ``until``."""
        return self.newest < since or bool(until and self.oldest >= until)


def about(path: Path) -> About:
    """What the file says of itself. Raises WorkspaceUnusable where it is no compacted segment."""
    metadata = _open(path).schema_arrow.metadata or {}
    if ABOUT not in metadata:
        raise _damaged(path, "it says nothing of a segment")
    return msgspec.json.decode(metadata[ABOUT], type=About)


def rows(path: Path) -> Iterator[Prediction]:
    """All rows in order, also erased ones, in bounded memory. Raises WorkspaceUnusable."""
    file = _open(path)
    try:
        for batch in file.iter_batches(batch_size=_ROWS):
            yield from predictions(batch)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    finally:
        file.close()


def row(path: Path, prediction_id: str) -> Prediction | None:
    """The row of this id, or None. Raises WorkspaceUnusable."""
    pq = reader()
    try:
        found = pq.read_table(path, filters=[("id", "==", prediction_id)], partitioning=None)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return next((each for batch in found.to_batches() for each in predictions(batch)), None)


def places(path: Path, name: str) -> list[int]:
    """Where the rows of a segment began that were not erased. Raises WorkspaceUnusable."""
    try:
        table = reader().read_table(path, columns=["id", "erased"], partitioning=None)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    rows = zip(table["id"].to_pylist(), table["erased"].to_pylist(), strict=True)
    return offsets_of((id for id, erased in rows if not erased), name)


def predictions(batch: pa.RecordBatch) -> Iterator[Prediction]:
    """The rows of one batch."""
    columns = {field.name: _values(batch.column(place), field) for place, field in enumerate(batch.schema)}
    groups = {group: _mappings(columns, group) for group in GROUPS}
    always = ("id", "time", "value", "model", "version", "bundle", "latency", "answered_by", "erased")
    names = always + tuple(name for name in SPLIT if name in columns)
    for place in range(batch.num_rows):
        problems = columns["problems"][place]
        found: tuple[Problem, ...] = () if problems is None else _PROBLEMS.decode(problems)
        yield Prediction(
            **{name: columns[name][place] for name in names},
            verdict=Verdict(status=columns["verdict"][place], problems=found),
            inputs=groups["input"][place],
            probabilities=groups["probability"][place],
            context=columns["context"][place],
            lookup=columns["lookup"][place],
        )


def _values(column: Any, field: Any) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(field.type):
        column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    found: list[Any] = column.to_pylist()
    if JSON in (field.metadata or {}):
        return [None if text is None else msgspec.json.decode(text) for text in found]
    return found


def _mappings(columns: Mapping[str, Sequence[Any]], group: str) -> list[dict[str, Any] | None]:
    """Each row's mapping: its names in order (a list), or all of it where there were too many names (an object)."""
    found: list[dict[str, Any] | None] = []
    read: dict[str, Any] = {}
    for place, text in enumerate(columns[f"{group}s"]):
        names = None if text is None else read.get(text)
        if names is None and text is not None:
            names = read[text] = msgspec.json.decode(text)
        found.append({name: columns[f"{group}.{name}"][place] for name in names} if type(names) is list else names)
    return found


def reader() -> Any:
    """The module of pyarrow that reads Parquet. Raises MissingExtra."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(
            "older predictions are kept as Parquet, and reading them needs pyarrow",
            received="pyarrow is not installed",
            next_step="pip install 'fullcircle[lab]'",
        ) from error
    return pyarrow.parquet


def _open(path: Path) -> Any:
    pq = reader()
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are kinds of ValueError
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        "a segment of the prediction log cannot be read",
        received=f"{path}: {why[:200]}",
        next_step="fullcircle audit tells whether it was altered; restore it from a backup",
    )
