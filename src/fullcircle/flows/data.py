"""From a table to a snapshot and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ProjectInvalid, SnapshotNotFound
from fullcircle.flows import views
from fullcircle.flows.session import Session
from fullcircle.tables import reading, snapshots
from fullcircle.types.features import FeatureView
from fullcircle.types.table import Table
from fullcircle.types.turn import Snapshot

if TYPE_CHECKING:
    import pandas as pd


def read(session: Session, source: LoadedProject, table: Table | FeatureView) -> pd.DataFrame:
    """Read a table of the project, its ``prepare`` included. Only columns that the project names are checked.

    Of a feature view: new rows of its sources are taken into the store, and the labels come with their features.
    """
    project = source.project
    if isinstance(table, FeatureView):
        return views.training_frame(session, source, table)
    used = [*project.features, project.label, *([table.time] if table.time else [])]
    with source.active():
        return reading.read(table, folder=source.folder, paths=session.settings.paths, columns=used)


def store(session: Session, model: str, frame: pd.DataFrame, origin: str, parent: str | None = None) -> Snapshot:
    """Keep a frame as an immutable snapshot. The same content is kept once."""
    digest = session.workspace.blobs.put(snapshots.encode(frame))
    state = session.workspace.ledger.state()
    if digest not in state.snapshots or digest in state.deleted:
        session.record(
            "snapshot.created",
            model=model,
            snapshot=digest,
            rows=len(frame),
            columns=len(frame.columns),
            source=origin[-200:],
            parent=parent,
        )
    return find(session, digest)


def find(session: Session, digest: str) -> Snapshot:
    """The snapshot whose digest begins with ``digest``."""
    known = session.workspace.ledger.state().snapshots
    matches = [name for name in known if name.startswith(digest)] if len(digest) >= 4 else []
    if len(matches) != 1:
        raise SnapshotNotFound(
            "no snapshot has this digest" if not matches else "several snapshots begin with this digest",
            received=repr(digest),
            allowed=", ".join(name[:12] for name in list(known)[-10:]) or "none yet",
            next_step="see: fullcircle snapshots list",
        )
    return known[matches[0]]


def frame_of(session: Session, digest: str) -> pd.DataFrame:
    """The rows of a snapshot."""
    return snapshots.decode(session.workspace.blobs.get(digest))


def describe(table: Table | FeatureView) -> str:
    """Where a table comes from, without any of its content."""
    if isinstance(table, FeatureView):
        return f"feature view {table.name}"
    source: Any = table.source
    return source if isinstance(source, str) else f"{type(source).__module__.split('.')[0]} table in memory"


def digest_of(frame: pd.DataFrame) -> str:
    """The digest that a frame would have as a snapshot."""
    return hashlib.sha256(snapshots.encode(frame)).hexdigest()


def called(source: LoadedProject, function: Callable[[Any], Any], rows: Any) -> Any:
    """A function of the project that makes rows arrive, called on the test rows."""
    import pandas as pd

    try:
        with source.active():
            frame = function(rows.copy())
    except Exception as error:
        raise ProjectInvalid(
            f"the arrival function {getattr(function, '__name__', 'given')} raised {type(error).__name__}: {error}",
            next_step="mend the function in the project file",
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise ProjectInvalid(
            f"the arrival function {getattr(function, '__name__', 'given')} did not return rows",
            received=type(frame).__name__,
            allowed="a pandas DataFrame",
            next_step="return the frame",
        )
    return frame
