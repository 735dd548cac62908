"""What answers came to once all labels are known: by window, over all, and by the best version of each window."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.evaluation import earning, metrics
from fullcircle.evaluation.metrics import Metric
from fullcircle.flows.rehearsal import answering
from fullcircle.flows.rehearsal.answering import Answers
from fullcircle.flows.rehearsal.history import NEVER, History
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Value
from fullcircle.types.project import Project

Array = Any


@dataclass(frozen=True)
class Measuring:
    """How rows are measured: the main metric, and what an answer is worth where the project says so."""

    project: Project
    task: Any
    classes: tuple[Value, ...]
    metric: Metric

    @property
    def worth(self) -> bool:
        """Whether the project says what an answer is worth."""
        return any(gate.kind == "worth" for gate in self.project.gates)


def measuring(project: Project, scorer: Scorer) -> Measuring:
    """The way to measure a project, as its first version knows the classes."""
    contract = scorer.contract
    metric = metrics.main_metric(contract.task, project.gates, probabilities=scorer.form.probable)
    return Measuring(project, contract.task, contract.classes, metric)


@dataclass
class Sums:
    """Answers of some rows beside their labels, gathered window by window."""

    how: Measuring
    _parts: list[metrics.Answers] = field(default_factory=list)
    rows: int = 0
    labelled: int = 0
    earned: float = 0.0

    def add(self, labels: Array, known: Array, found: Answers) -> tuple[int, float | None, float | None]:
        """Take a window: n labels, which of them are known, the answers. Returns labelled rows, metric, value."""
        self.rows += len(known)
        labelled, earned = int(known.sum()), 0.0
        self.labelled += labelled
        use = known & ~np.isnan(found.values)
        if not labelled:
            return 0, None, None
        metric = None
        if use.any():
            actual, predicted, shares = _shown(self.how, labels[use], found, use)
            beside = metrics.answers(self.how.task, actual, predicted, shares, self.how.classes)
            self._parts.append(beside)
            metric = metrics.finite(self.how.metric.of(beside))
            earned = _earned(self.how, actual, predicted)
        self.earned += earned
        return labelled, metric, earned / labelled if self.how.worth else None

    @property
    def metric(self) -> float | None:
        """The main metric over all labelled rows that were answered."""
        if not self._parts:
            return None
        shares = [part.probabilities for part in self._parts if part.probabilities is not None]
        whole = metrics.Answers(
            np.concatenate([part.actual for part in self._parts]),
            np.concatenate([part.predicted for part in self._parts]),
            np.concatenate(shares) if len(shares) == len(self._parts) else None,
            self._parts[0].known,
            max(part.labels for part in self._parts),
        )
        return metrics.finite(self.how.metric.of(whole))

    @property
    def value(self) -> float | None:
        """What a labelled row earned on average; one without an answer earned nothing."""
        return self.earned / self.labelled if self.how.worth and self.labelled else None


def _shown(how: Measuring, labels: Array, found: Answers, use: Array) -> tuple[Array, Array, Array]:
    values = found.values[use]
    shares = None if found.shares is None or np.isnan(found.shares[use]).any() else found.shares[use]
    if how.task == "regression":
        return np.asarray(labels.tolist(), dtype=np.float64), values, None
    return np.asarray(labels.tolist()), np.asarray(how.classes)[values.astype(np.intp)], shares


def _earned(how: Measuring, actual: Array, predicted: Array) -> float:
    gate = next((gate for gate in how.project.gates if gate.kind == "worth"), None)
    if gate is None:
        return 0.0
    earn = earning.earn_of(gate, model=how.project.name, task=how.task, classes=how.classes)
    return float(np.sum(earn(actual, predicted)))


@dataclass(frozen=True)
class Labelled:
    """The labels of one window (n,), which are known, and where its first row stands among all that are played."""

    start: int
    stop: int
    labels: Array
    known: Array
    first: int


def windows(history: History, spans: Sequence[tuple[int, int]], until: int, label: str) -> Iterator[Labelled]:
    """The labels of each window, also of one without rows."""
    first = 0
    for start, stop in spans:
        parts = list(history.between(start, min(stop, until)))
        labels = [each for part in parts for each in part.frame[label].tolist()]
        known = np.concatenate([part.arrivals != NEVER for part in parts]) if parts else np.zeros(0, dtype=bool)
        yield Labelled(start, stop, np.array(labels, dtype=object), known, first)
        first += len(labels)


def version_answers(path: Path, scorer: Scorer, history: History, since: int, until: int, how: Measuring) -> None:
    """What a version answers for every row from ``since`` on, as files beside ``path``; there already: nothing."""
    if path.with_suffix(".values.npy").exists():
        return
    values, shares = [], []
    for rows in history.between(since, until):
        found = answering.asked(scorer, rows.frame, how.classes)
        values.append(found.values)
        shares.append(found.shares)
    if all(each is not None for each in shares) and shares:
        _save(path.with_suffix(".shares.npy"), np.concatenate(shares))
    _save(path.with_suffix(".values.npy"), np.concatenate(values) if values else np.zeros(0))


def read_answers(path: Path) -> Answers:
    """What ``version_answers`` wrote, read where it is looked at."""
    shares = path.with_suffix(".shares.npy")
    values = np.load(path.with_suffix(".values.npy"), mmap_mode="r")
    return Answers(values, np.load(shares, mmap_mode="r") if shares.exists() else None)


def cut(found: Answers, start: int, stop: int) -> Answers:
    """The answers of a stretch of rows."""
    shares = None if found.shares is None else np.asarray(found.shares[start:stop])
    return Answers(np.asarray(found.values[start:stop]), shares)


def _save(path: Path, values: Array) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(partial, values)
    os.replace(partial, path)
