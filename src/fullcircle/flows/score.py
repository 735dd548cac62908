"""Score a file with the champion, in batch: the same numbers and verdicts as online."""

from __future__ import annotations

from pathlib import Path

from fullcircle.deployment import batch
from fullcircle.flows import versions
from fullcircle.flows.session import model_name, opened
from fullcircle.settings import Settings
from fullcircle.tables import reading
from fullcircle.types.progress import Progress
from fullcircle.types.project import Table


def score(
    project: str | Path,
    table: str | Path,
    out: str | Path,
    *,
    version: int | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> batch.Scored:
    """Score every row of a CSV or Parquet file and write the answers to ``out`` (CSV, Parquet or JSON lines).

    Rejected rows go to a quarantine file beside it. ``version`` is the champion's by default.
    """
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        number = versions.champion(session, model) if version is None else version
        session.progress.step("score", f"{model} version {number}")
        frame = reading.read(Table(str(Path(table).absolute())), folder=Path.cwd(), paths=session.settings.paths)
        return batch.score_to_file(
            versions.scorer(session, model, number), frame, Path(out), progress=session.progress
        )
