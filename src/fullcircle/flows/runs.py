"""Runs: the leaderboard from MLflow, and tracking by hand from a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fullcircle.exploration.tracking import RunRow, TrackedRun
from fullcircle.flows.session import model_name, opened
from fullcircle.settings import Settings
from fullcircle.types.project import Scalar


def runs(project: str | Path, *, settings: Settings | None = None) -> tuple[RunRow, ...]:
    """The project's runs in MLflow, best first, each with its main metric and its interval."""
    with opened(settings, create=False) as session:
        name = str(project)
        model = name if not Path(name).exists() else model_name(session, project)
        return session.tracking.leaderboard(model)


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
