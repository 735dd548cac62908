"""Runs: the leaderboard from MLflow, and tracking by hand from a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fullcircle.evaluation.metrics import METRICS
from fullcircle.exploration.tracking import RunRow, TrackedRun
from fullcircle.flows.session import model_name, opened
from fullcircle.settings import Settings
from fullcircle.types.project import Scalar


def runs(project: str | Path, *, settings: Settings | None = None) -> tuple[RunRow, ...]:
    """The project's runs in MLflow, best first, each with its main metric and its interval."""
    with opened(settings, create=False) as session:
        name = str(project)
        model = name if not Path(name).exists() else model_name(session, project)
        return tuple(sorted(session.tracking.leaderboard(model), key=_rank))


def _rank(row: RunRow) -> tuple[str, float]:
    """Runs of one metric together, the best of them first, those without a value last."""
    metric = next((each for each in METRICS if each.name == row.metric), None)
    if row.value is None or metric is None or not math.isfinite(row.value):
        return (row.metric or "~", math.inf)
    return (row.metric, -metric.merit(row.value))


@contextmanager
def track(
    model: str,
    *,
    name: str = "by hand",
    params: Mapping[str, Scalar] | None = None,
    settings: Settings | None = None,
) -> Iterator[TrackedRun]:
    """Track an experiment in a notebook as a run of ``model``: ``with fc.track("bike-demand") as run: ...``.

    It is an active MLflow run, so autolog and ``mlflow.log_metric`` write into it too.
    """
    with opened(settings) as session, session.tracking.run(model, name=name, tags={}, params=params or {}) as run:
        yield run
