"""Score a file or the rows of a query with the champion, in batch: the same numbers and verdicts as online."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.deployment import scoring, sources
from fullcircle.deployment.answering import Recorder
from fullcircle.deployment.batch import Scored
from fullcircle.deployment.queries import Query
from fullcircle.errors import TableUnreadable
from fullcircle.flows import log, versions
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.runtimes.scorer import Scorer
from fullcircle.settings import Settings
from fullcircle.tables import reading
from fullcircle.tables.predictions import PredictionLog, kept_back, signed
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.table import Table


def score(
    project: str | Path,
    table: str | Path | None,
    out: str | Path,
    *,
    query: str | None = None,
    database: str | None = None,
    version: int | None = None,
    workers: int | None = None,
    restart: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Score every row of a CSV, Parquet or JSON-lines file, and write the answers to ``out`` (one of these forms).

    Instead of ``table``, ``query`` may be a SELECT statement for the database at the URL ``database``. Rejected rows
    go to a quarantine file beside ``out``. ``version`` is the champion's by default, ``workers`` one for each core.
    Every prediction is logged before it is written; ``prediction_id`` in both files is what `fullcircle why` and
    outcomes take. Stopped, the same call goes on where it was, with ``restart`` it begins anew.
    """
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        number = versions.champion(session, model) if version is None else version
        session.check_loggable()
        session.progress.step("score", f"{model} version {number}")
        log.settle_or_note(session, log.SECONDS)
        source = _source(session, table, query, database)
        answering = scoring.Model(
            contract=versions.bundle(session, model, number).contract,
            origin={"model": model, "version": str(number), "bundle": versions.find(session, model, number).bundle},
            opener=f"{__name__}:opened_scorer",
            arguments={
                "model": model,
                "version": number,
                "values": dict(session.settings.values),
                "paths": dict(session.settings.paths),
                "folder": str(session.settings.folder),
            },
        )
        return scoring.score_source(
            answering,
            source,
            Path(out),
            workers=_cores() if workers is None else max(workers, 1),
            restart=restart,
            progress=session.progress,
        )


@contextmanager
def opened_scorer(
    model: str, version: int, values: Mapping[str, str], paths: Mapping[str, str], folder: str
) -> Iterator[tuple[Scorer, Recorder]]:
    """The scorer of a version and what logs its predictions, as each process that scores opens them."""
    settings = Settings(values=values, paths=paths, folder=Path(folder))
    with opened(settings, create=False, verify=False) as session:
        scorer = versions.scorer(session, model, version, online=True)
        hashed = any(column.hashed for column in scorer.contract.columns)
        with PredictionLog(
            session.workspace.predictions,
            fsync=settings["log_fsync"],  # type: ignore[arg-type] # checked where settings are read
            most_bytes=settings.log_bytes,
            when_full=settings["log_full"],  # type: ignore[arg-type]
            key=log.key_of(session) if hashed else b"",
        ) as kept:
            yield scorer, Logged(kept, scorer)


class Logged:
    """Logs what one version predicted."""

    def __init__(self, kept: PredictionLog, scorer: Scorer) -> None:
        self.left_out, self.hashing = kept_back(scorer.contract)
        self._log, self._scorer = kept, scorer

    def append(self, predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """See Recorder."""
        scorer = self._scorer
        found = signed(
            predictions,
            scorer.contract,
            model=scorer.name,
            version=scorer.version,
            bundle=scorer.bundle,
            key=self._log.key,
        )
        return self._log.append(found)

    def write(self, bodies: Sequence[bytes]) -> Sequence[str]:
        """See Recorder."""
        return self._log.write(self._scorer.name, bodies)[0]


def _source(session: Session, table: str | Path | None, query: str | None, database: str | None) -> sources.Source:
    if table is not None and query is None and database is None:
        paths: dict[str, Any] = {"folder": Path.cwd(), "paths": session.settings.paths}
        return sources.file_source(reading.locate(Table(str(table)), **paths))
    if table is None and query is not None and database is not None:
        return Query(query, database)
    raise TableUnreadable(
        "it is not clear what is to be scored",
        received=", ".join(
            name for name, value in (("a file", table), ("a query", query), ("a database", database)) if value
        )
        or "nothing",
        allowed="a file, or a query and a database",
        next_step='name a file, or say --query "SELECT ..." --database URL',
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
