"""History as it is played: rows in order of their time, each with the moment when its label came.

It is written once, in pieces, and read piece by piece: whoever plays it holds a piece or two, however long it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid
from fullcircle.flows import data
from fullcircle.flows.session import Session
from fullcircle.monitoring.grid import length
from fullcircle.tables import snapshots
from fullcircle.tables.times import parsed
from fullcircle.types.features import FeatureView
from fullcircle.types.project import Project
from fullcircle.types.table import Table

if TYPE_CHECKING:
    import pandas as pd

NEVER = 2**63 - 1
"""When a label came that never did."""
PIECE = 50_000  # rows: some megabytes
_INDEX = "index.json"


@dataclass(frozen=True)
class Rows:
    """Rows in order: their columns, their times and when their labels came (microseconds, NEVER for never)."""

    frame: pd.DataFrame
    times: Any
    arrivals: Any


class _Piece(msgspec.Struct, frozen=True):
    """One piece: how many rows, the time of its first and last one, and its digest."""

    rows: int
    first: int
    last: int
    digest: str


@dataclass(frozen=True)
class History:
    """History that was written to ``folder``."""

    folder: Path
    pieces: tuple[_Piece, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def digest(self) -> str:
        """Says which rows these are, with their times and labels."""
        return hashlib.sha256("".join(piece.digest for piece in self.pieces).encode()).hexdigest()

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """The rows from ``start`` on and before ``stop``, in order, a piece at a time."""
        for number, piece in enumerate(self.pieces):
            if piece.last < start or piece.first >= stop:
                continue
            found = _read(self.folder, number)
            low, high = np.searchsorted(found.times, [start, stop], side="left")
            if high > low:
                yield Rows(found.frame.iloc[low:high], found.times[low:high], found.arrivals[low:high])


def opened(folder: Path) -> History:
    """The history that was written to ``folder``."""
    pieces = msgspec.json.decode((folder / _INDEX).read_bytes(), type=tuple[_Piece, ...])
    return History(folder, pieces)


def written(rows: Rows, folder: Path, piece: int = PIECE) -> History:
    """Write rows to an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, start in enumerate(range(0, len(rows.times), piece)):
        part = slice(start, start + piece)
        times, arrivals = rows.times[part], rows.arrivals[part]
        content = snapshots.encode(rows.frame.iloc[part].reset_index(drop=True))
        (folder / f"{number}.parquet").write_bytes(content)
        np.save(folder / f"{number}.npy", np.stack([times, arrivals]))
        digest = hashlib.sha256(content + times.tobytes() + arrivals.tobytes()).hexdigest()
        found.append(_Piece(len(times), int(times[0]), int(times[-1]), digest))
    (folder / _INDEX).write_bytes(msgspec.json.encode(found))
    return opened(folder)


@lru_cache(maxsize=2)
def _read(folder: Path, number: int) -> Rows:
    times, arrivals = np.load(folder / f"{number}.npy")
    return Rows(snapshots.decode((folder / f"{number}.parquet").read_bytes()), times, arrivals)


def read(session: Session, source: LoadedProject) -> Rows:
    """The history of a project, sorted by time; of a view, with its features as they were known at each row's time.

    Raises ProjectInvalid where the rows have no time, ColumnMissing where ``label_at`` is none of the columns.
    """
    project = source.project
    table = _table(project)
    frame = data.read(session, source, table)
    times = _micros(frame[str(table.time)])
    arrivals, early = _arrivals(project, frame, times)
    if early:
        session.progress.note(f"{early} labels came before their row; they count from the time of the row on")
    if project.label_at and project.label_at not in (*project.features, project.label, table.time):
        frame = frame.drop(columns=project.label_at)
    order = np.argsort(times, kind="stable")
    frame = frame.assign(**{project.label: _label(frame[project.label])}).iloc[order].reset_index(drop=True)
    return Rows(frame, times[order], arrivals[order])


def _table(project: Project) -> Table | FeatureView:
    given = project.history
    if given is not None and not isinstance(given, Table):
        given = Table(given)
    if given is not None and given.time is None:
        given = replace(given, time=project.data.time)
    if project.view is not None:
        return project.view if given is None else replace(project.view, labels=given)
    found: Table = project.data if given is None else given
    if found.time is None:
        raise ProjectInvalid(
            "history cannot be played, because its rows have no time",
            allowed='history=fc.Table(..., time="COLUMN"), or a time in data',
            next_step="name the column that says when a row was asked for",
        )
    return found


def _micros(column: Any) -> Any:
    return column.to_numpy().astype("datetime64[us]").astype(np.int64)


def _arrivals(project: Project, frame: Any, times: Any) -> tuple[Any, int]:
    """When each label came, and how many of these moments lie before their row."""
    if not project.label_at:
        arrivals = times + length(project.label_delay)
    elif project.label_at not in frame.columns:
        raise ColumnMissing(
            f"history has no column {project.label_at!r}, which says when a label came",
            received=", ".join(map(str, frame.columns[:20])),
            next_step="mend label_at in the project file",
        )
    else:
        told = frame[project.label_at]
        known = told.notna().to_numpy()
        arrivals = np.full(len(frame), NEVER)
        if known.any():
            arrivals[known] = _micros(parsed("history", told[known]))
    early = int((arrivals < times).sum())
    return np.where(frame[project.label].isna().to_numpy(), NEVER, np.maximum(arrivals, times)), early


def _label(column: Any) -> Any:
    """Whole numbers that are floats only because some are missing, as whole numbers again."""
    known = column.dropna()
    if column.dtype.kind != "f" or len(known) == len(column) or not (known == np.floor(known)).all():
        return column
    return column.astype("Int64") if (known.abs() < 2**53).all() else column


def known_by(history: History, moment: int, label: str) -> pd.DataFrame:
    """The rows whose label was known at ``moment``: what somebody could have learned from then.

    Categories that came up only later are left out: nobody could have known them.
    """
    import pandas as pd

    parts = [rows.frame[rows.arrivals <= moment] for rows in history.between(-NEVER, moment)]
    if not parts:
        raise _nothing(moment)
    frame = pd.concat(parts, ignore_index=True)
    if not len(frame):
        raise _nothing(moment)
    if str(frame[label].dtype) == "Int64":
        frame[label] = frame[label].astype("int64")
    unused = [name for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return frame.assign(**{name: frame[name].cat.remove_unused_categories() for name in unused})


def _nothing(moment: int) -> DataUnfit:
    from fullcircle.monitoring.grid import iso

    return DataUnfit(
        "no label was known when the rehearsal begins",
        received=iso(moment)[:19],
        next_step="begin later: --since DATE",
    )


def start_of(rows: Rows, step: int, fewest: int) -> int:
    """The first multiple of ``step`` after a third of the rows at which ``fewest`` labels were known.

    ``step`` counts from the grid's own beginning. Raises DataUnfit where that is never so.
    """
    from fullcircle.monitoring.grid import Grid

    third = int(rows.times[len(rows.times) // 3])
    come = np.sort(rows.arrivals)
    enough = int(come[fewest - 1]) if len(come) >= fewest else NEVER
    last = int(rows.times[-1])
    if enough >= last:
        raise DataUnfit(
            "history is too short to rehearse on",
            received=f"{len(come)} rows, {int((come < last).sum())} labels known before the last of them",
            allowed=f"{fewest} labels to learn from, and rows after them to play",
            next_step="name a longer history in the project file, or say --since DATE",
        )
    return Grid(step).start(max(third, enough - 1)) + (step if enough > third else 0)


def spans(since: int, until: int, step: int) -> Sequence[tuple[int, int]]:
    """The batches on the clock from ``since`` on, before ``until``: (start, stop); the first may be cut short."""
    from fullcircle.monitoring.grid import Grid

    found, start = [], since
    while start < until:
        stop = Grid(step).start(start) + step
        found.append((start, stop))
        start = stop
    return found
