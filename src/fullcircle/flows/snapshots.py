"""Snapshots: list, compare, restore, prune."""

from __future__ import annotations

from pathlib import Path

from fullcircle.errors import TableUnreadable
from fullcircle.flows import data
from fullcircle.flows.session import Session, opened
from fullcircle.settings import Settings
from fullcircle.tables import snapshots as tables
from fullcircle.types.turn import Snapshot


def list_snapshots(*, settings: Settings | None = None) -> tuple[Snapshot, ...]:
    """All snapshots that were not deleted, oldest first."""
    with opened(settings, create=False) as session:
        return _present(session)


def diff(a: str, b: str, *, settings: Settings | None = None) -> tables.SnapshotDiff:
    """What changed from snapshot ``a`` to ``b`` (digests, or their beginnings of 4 or more characters)."""
    with opened(settings, create=False) as session:
        first, second = (data.find(session, digest) for digest in (a, b))
        return tables.diff(data.frame_of(session, first.digest), data.frame_of(session, second.digest))


def restore(digest: str, out: str | Path, *, settings: Settings | None = None) -> Snapshot:
    """Write a snapshot's rows to a CSV or Parquet file. An existing file is not overwritten."""
    path = Path(out)
    if path.suffix not in (".csv", ".parquet") or path.exists():
        raise TableUnreadable(
            "the snapshot cannot be written there",
            received=str(path),
            allowed="a new file that ends in .csv or .parquet",
            next_step="choose another name",
        )
    with opened(settings, create=False) as session:
        found = data.find(session, digest)
        content = session.workspace.blobs.get(found.digest)
        if path.suffix == ".csv":
            content = tables.decode(content).to_csv(index=False).encode()
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(content)
        partial.replace(path)
        return found


def prune(*, delete: bool = False, settings: Settings | None = None) -> tuple[Snapshot, ...]:
    """The snapshots that no registered version was trained on; with ``delete``, delete their rows.

    The facts stay; a tombstone fact says that the rows were deleted.
    """
    with opened(settings, create=False) as session:
        state = session.workspace.ledger.state()
        used = {version.snapshot for versions in state.versions.values() for version in versions.values()}
        unused = tuple(found for found in _present(session) if found.digest not in used)
        for found in unused if delete else ():
            session.workspace.erase(found.digest, "snapshots prune")
        return unused


def _present(session: Session) -> tuple[Snapshot, ...]:
    state = session.workspace.ledger.state()
    return tuple(found for digest, found in state.snapshots.items() if digest not in state.deleted)
