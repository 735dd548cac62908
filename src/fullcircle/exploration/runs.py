"""One run: writing to it while it is active, and reading it back as a row of the leaderboard."""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from fullcircle.exploration.connection import speaking

# MLflow's own limits; longer values are cut rather than refused, a run must not fail for its notes.
_NAME, _PARAM, _TAG, _BATCH = 250, 6000, 8000, 100
NOT_FINITE = "fullcircle.not_finite"


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run as the leaderboard shows it.

    ``metric`` is the main metric with its ``value`` and 95 % interval (None where the run has none), ``status`` is
    MLflow's (RUNNING, FINISHED, FAILED, KILLED), ``started`` UTC in ISO 8601, ``tags`` those of fullcircle.
    """

    id: str
    model: str
    name: str
    candidate: str
    started: str
    status: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    params: Mapping[str, str] = field(default_factory=dict)
    snapshot: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedRun:
    """An active run. Every method writes at once and raises TrackingUnavailable where the store fails."""

    id: str
    client: Any
    uri: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Write parameters; a value is written as its text."""
        from mlflow.entities import Param

        entries = [Param(_key(name), str(value)[:_PARAM]) for name, value in params.items()]
        self._batches("params", entries)

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Write metrics. One that is None or not finite is left out and named in a tag."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        good = {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
        self._batches("metrics", [Metric(_key(name), value, now, 0) for name, value in good.items()])
        left_out = [name for name in metrics if name not in good]
        if left_out:
            self.set_tags({NOT_FINITE: ", ".join(left_out)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags."""
        from mlflow.entities import RunTag

        self._batches("tags", [RunTag(_key(name), str(value)[:_TAG]) for name, value in tags.items()])

    def log_artifact(self, name: str, content: bytes) -> None:
        """Write a file; ``name`` may have folders: ``report/report.json``."""
        path = PurePosixPath(name)
        folder = str(path.parent) if path.parent.name else None
        with tempfile.TemporaryDirectory() as temporary, speaking(self.uri):
            local = Path(temporary) / path.name
            local.write_bytes(content)
            self.client.log_artifact(self.id, str(local), artifact_path=folder)

    def log_snapshot(self, digest: str, model: str) -> None:
        """Name the data in MLflow's own place for it, so that its UI shows the dataset of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(name=model, digest=digest[:36], source_type="fullcircle", source=f"snapshot:{digest}")
        with speaking(self.uri):
            self.client.log_inputs(self.id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", "train")])])

    def _batches(self, kind: str, entries: list[Any]) -> None:
        with speaking(self.uri):
            for start in range(0, len(entries), _BATCH):
                self.client.log_batch(self.id, **{kind: entries[start : start + _BATCH]})


def row(run: Any, model: str) -> RunRow:
    """An MLflow run as a row."""
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("fullcircle.")}
    metrics = run.data.metrics
    metric = tags.get("fullcircle.metric") or _with_interval(metrics)
    started = datetime.fromtimestamp((run.info.start_time or 0) / 1000, UTC)
    return RunRow(
        id=run.info.run_id,
        model=model,
        name=run.info.run_name or "",
        candidate=tags.get("fullcircle.candidate", ""),
        started=started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        status=run.info.status,
        metric=metric,
        value=metrics.get(metric),
        low=metrics.get(f"{metric}_low"),
        high=metrics.get(f"{metric}_high"),
        params=dict(run.data.params),
        snapshot=tags.get("fullcircle.snapshot", ""),
        tags=tags,
    )


def _with_interval(metrics: Mapping[str, float]) -> str:
    """The only metric that has an interval, or "": a run that was logged without naming its main metric."""
    found = [name for name in metrics if f"{name}_low" in metrics and f"{name}_high" in metrics]
    return found[0] if len(found) == 1 else ""


def _key(name: str) -> str:
    """A name that MLflow takes: it allows letters, digits and _ - . / : and spaces."""
    return re.sub(r"[^\w\-./: ]", "_", name)[:_NAME]
