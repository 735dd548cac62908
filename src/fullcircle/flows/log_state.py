"""What is in the prediction log: segments, rows, bytes, and what was lost or torn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fullcircle.flows.log import Settled, facts_of, settle_in
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables import compacted, segments
from fullcircle.tables.lines import model_folder
from fullcircle.tables.predictions import SegmentRows, read_lost, torn_lines
from fullcircle.tables.room import file_sizes, folder_bytes

PATIENCE = 60.0  # seconds to wait for another process that settles


@dataclass(frozen=True, kw_only=True)
class LogOf:
    """The log of one model. ``open`` segments are still written to; ``oldest`` and ``newest`` are times, or ""."""

    model: str
    segments: int
    open: int
    compacted: int
    rows: int
    bytes: int
    lost: int
    torn: int
    oldest: str
    newest: str


@dataclass(frozen=True, kw_only=True)
class LogState:
    """The prediction log of a workspace, and its bound in bytes."""

    folder: str
    bytes: int
    most_bytes: int
    models: tuple[LogOf, ...]
    settled: Settled | None = None


def show(*, settle: bool = False, old: bool = False, settings: Settings | None = None) -> LogState:
    """What is in the prediction log; with ``settle``, closed segments are noted in the ledger and compacted first.

    ``old`` takes in what servers of before version 0.2 wrote, which hold no lock on it: stop those first.
    """
    with opened(settings, create=False) as session:
        done = settle_in(session, old=old, patience=PATIENCE) if settle else None
        folder, known = session.workspace.predictions, facts_of(session)
        return LogState(
            folder=str(folder),
            bytes=folder_bytes(folder) if folder.is_dir() else 0,
            most_bytes=session.settings.log_bytes,
            models=tuple(_of(folder, model, known) for model in segments.models(folder)),
            settled=done,
        )


def _of(folder: Path, model: str, known: Collection[tuple[str, str]]) -> LogOf:
    home = model_folder(folder, model)
    rows, still, packed = 0, 0, 0
    times: list[str] = []
    names = segments.names(home)
    for name in names:
        lines = home / f"{name}{segments.LINES}"
        if lines.exists():
            still += not segments.closed(lines, old=(model, name) in known)
            for row in SegmentRows(home, name):
                rows += 1
                times = [min(times[0], row.time), max(times[1], row.time)] if times else [row.time, row.time]
        else:
            packed += 1
            about = compacted.about(home / f"{name}{segments.COMPACTED}")
            rows += about.rows
            times = sorted([*times, about.oldest, about.newest])
            times = [times[0], times[-1]]
    return LogOf(
        model=model,
        segments=len(names),
        open=still,
        compacted=packed,
        rows=rows,
        bytes=sum(file_sizes(home)),
        lost=read_lost(folder, model),
        torn=torn_lines(folder, model),
        oldest=times[0] if times else "",
        newest=times[1] if times else "",
    )
