"""Monitor: compare a window of logged predictions with the reference, and join the labels that came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import DataUnfit
from fullcircle.evaluation import metrics
from fullcircle.flows import versions
from fullcircle.flows.log import settle_or_note
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.monitoring import quality
from fullcircle.monitoring.window import watch
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import Window
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project

FEWEST_ROWS = 30


def monitor(
    project: str | Path | LoadedProject,
    *,
    since: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Window:
    """Monitor the champion's predictions of the last window (or all since a UTC time, ISO 8601).

    Raises DataUnfit where there are too few to judge.
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        model = source.project.name
        version = versions.champion(session, model)
        session.progress.step("monitor", f"{model} version {version}")
        settle_or_note(session)
        since = since or _utc(datetime.now(UTC) - duration(source.project.monitor.window))
        rows = [*log.read(session.workspace.predictions, model, since=since, version=version)]
        outcomes = log.read_outcomes(session.workspace.predictions, model)
        with source.active():
            return watch_in(session, source.project, version, rows, outcomes, f"since {since[:16]}")


def watch_in(
    session: Session,
    project: Project,
    version: int,
    rows: Sequence[Prediction],
    outcomes: Mapping[str, Outcome],
    name: str,
) -> Window:
    """Monitor given predictions within an open session; the window and its alarms become facts."""
    if len(rows) < FEWEST_ROWS:
        raise DataUnfit(
            "there are too few predictions in this window to judge it",
            received=f"{len(rows)} of {project.name} version {version}",
            allowed=f"{FEWEST_ROWS} or more",
            next_step="wait for more traffic, or look further back: fullcircle monitor PROJECT --since TIME",
        )
    bundle = versions.bundle(session, project.name, version)
    window = watch(
        rows,
        outcomes,
        profile=bundle.profile,
        contract=bundle.contract,
        monitor=project.monitor,
        metric=_measure(bundle.profile.metric, bundle.contract),
        name=name,
        model=project.name,
        version=version,
    )
    digest = session.workspace.blobs.put(msgspec.json.encode(window))
    session.record(
        "window.monitored",
        model=project.name,
        version=version,
        window=digest,
        name=name,
        rows=window.rows,
        labelled=window.labelled,
        alarms=len(window.alarms),
    )
    for alarm in window.alarms:
        session.record(
            "alarm.raised",
            model=project.name,
            version=version,
            window=digest,
            feature=alarm.feature,
            detector=alarm.detector,
            p=alarm.p,
            alpha=alarm.alpha,
            distance=alarm.distance,
        )
    return window


def _measure(name: str, contract: Contract) -> quality.Metric:
    """The metric of the report, in the form that monitoring uses."""
    metric = metrics.find(name, contract.task)

    def of(actual: Any, predicted: Any, probabilities: Any) -> float:
        found = metrics.answers(contract.task, actual, predicted, probabilities, contract.classes)
        return metric.of(found) if metric.applies(found) else math.nan

    unit = contract.label_unit if metric.unit == "label" else metric.unit
    return quality.Metric(name=name, of=of, greater_is_better=metric.greater_is_better, unit=unit)


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
