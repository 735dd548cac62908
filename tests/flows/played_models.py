"""Small models in workspaces with a played clock: versions without environments, rows logged when a test says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import circles
from fullcircle.flows import drafts, package, promote, train, versions
from fullcircle.flows.log import key_of
from fullcircle.flows.session import Session, loaded, opened, with_params
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types import clock
from fullcircle.types.prediction import Outcome, Prediction

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
DAY = 86_400_000_000


@dataclass(frozen=True)
class Played:
    """A project in a played workspace."""

    project: Path
    settings: Settings

    @property
    def name(self) -> str:
        """The model's name."""
        return loaded(self.project).project.name

    def make(self, *, promoted: bool = True, day: float = 0.0, **params: str) -> int:
        """Train and register a version, and make it champion."""
        with self.session(day) as session:
            source = with_params(loaded(self.project), params)
            trained = train.train_in(session, source)
            draft = drafts.of_run(session, trained.run)
            made = package.package_in(
                session, source, draft, trained.report_digest, trained.report, approve="auto"
            ).version
            if promoted:
                promote.promote_in(session, self.name, made, "made by a test")
            return made

    def serve(self, rows: Sequence[Mapping[str, Any]], *, day: float = 0.0, version: int | None = None) -> list[str]:
        """Answer rows and log the answers, all at one moment. Returns their ids."""
        with self.session(day) as session:
            number = versions.champion(session, self.name) if version is None else version
            scorer = versions.scorer(session, self.name, number)
            hashed = any(column.hashed for column in scorer.contract.columns)
            key = key_of(session) if hashed else b""
            digest = versions.find(session, self.name, number).bundle
            with log.PredictionLog(session.workspace.predictions, fsync="never", key=key) as kept:
                found: list[Prediction] = log.signed(
                    scorer.score(rows), scorer.contract, model=self.name, version=number, bundle=digest, key=key
                )
                return [each.id for each in kept.append(found)]

    def label(self, labels: Mapping[str, Any], *, day: float = 0.0) -> None:
        """Labels that came, by prediction id."""
        with self.session(day) as session:
            outcomes = [Outcome(prediction_id=identity, value=value) for identity, value in labels.items()]
            log.append_outcomes(session.workspace.predictions, self.name, outcomes)

    @contextmanager
    def session(self, day: float = 0.0) -> Iterator[Session]:
        """The workspace, opened so many days after the start."""
        clock.put(self.settings.workspace, START + int(day * DAY))
        with opened(self.settings, rehearsal=True) as session:
            yield session


def played(folder: Path, text: str, data: str | None = None) -> Played:
    """A project of this text in an empty played workspace."""
    project = circles.write_project(folder / "houses", text, data)
    settings = circles.unbegun(folder)
    settings.workspace.mkdir(parents=True)
    clock.put(settings.workspace, START)
    return Played(project, settings)
