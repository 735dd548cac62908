"""Score a file with the champion, in batch: the same numbers and verdicts as online."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fullcircle.deployment import batch
from fullcircle.flows import versions
from fullcircle.flows.session import model_name, opened
from fullcircle.settings import Settings
from fullcircle.tables import reading
from fullcircle.tables.predictions import PredictionLog, signed
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.table import Table


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

    Rejected rows go to a quarantine file beside it. ``version`` is the champion's by default. Every prediction is
    logged before it is written; ``prediction_id`` in both files is what `fullcircle why` and outcomes take.
    """
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        number = versions.champion(session, model) if version is None else version
        session.progress.step("score", f"{model} version {number}")
        frame = reading.read(Table(str(Path(table).absolute())), folder=Path.cwd(), paths=session.settings.paths)
        scorer = versions.scorer(session, model, number, online=True)
        bundle = versions.find(session, model, number).bundle
        with PredictionLog(session.workspace.predictions) as log:

            def record(found: Sequence[Prediction]) -> tuple[Prediction, ...]:
                return log.append(signed(found, scorer.contract, model=model, version=number, bundle=bundle))

            return batch.score_to_file(scorer, frame, Path(out), progress=session.progress, record=record)
