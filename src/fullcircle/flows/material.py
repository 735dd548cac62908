"""What there is to learn from: a snapshot, split, with the contract of its training part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from fullcircle.development import contract as contracts
from fullcircle.development import contract_file, contract_writing
from fullcircle.development.checking import check_data
from fullcircle.development.loading import LoadedProject
from fullcircle.evaluation import gates
from fullcircle.flows import data
from fullcircle.flows.session import Session
from fullcircle.runtimes.framing import framed
from fullcircle.tables import splitting
from fullcircle.types.contract import Contract
from fullcircle.types.project import Project
from fullcircle.types.turn import Snapshot


@dataclass(frozen=True)
class Material:
    """Rows that are ready to be learned from. ``test`` marks the rows kept for the report."""

    frame: Any
    test: Any
    snapshot: Snapshot
    task: Literal["regression", "classification"]
    contract: Contract

    def part(self, mask: Any, label: str) -> tuple[Any, Any]:
        """X as the model will see it in production, and y, of the masked rows that the contract lets through."""
        rows = self.frame[mask]
        X, fits = framed(self.contract, rows)
        y = rows[label][fits].reset_index(drop=True)
        return X, y


def prepare(
    session: Session,
    source: LoadedProject,
    snapshot: Snapshot | None,
    keep_training: frozenset[Any],
    test: Any = None,
) -> Material:
    """Read, check and keep the data, split it (unless ``test`` marks the rows), and learn the contract.

    What was learned from the project's own data is written into its contract file. Of a ``snapshot`` that is given
    (reopened, or grown by labelled predictions) it is not: the file tells of the project's data, and nothing there
    changes because a model was retrained.
    """
    project = source.project
    own = snapshot is None
    session.progress.step("snapshot", "reading the data")
    if snapshot is None:
        frame = data.read(session, source, project.data)
        check_data(frame, project)
        snapshot = data.store(session, project.name, frame, data.describe(project.data))
    # The rows are read back from the snapshot: what is learned from is what was kept.
    frame = data.frame_of(session, snapshot.digest)
    task = check_data(frame, project)
    classes = frame[project.label].nunique() if task == "classification" else None
    gates.refuse_unknown(project.gates, task=task, columns=list(frame.columns), classes=classes)
    session.progress.note(f"{snapshot.rows} rows, {snapshot.columns} columns, snapshot {snapshot.digest[:12]}")
    if test is None:
        test = split(source.project, frame, task, keep_training)
    found = learned(source.project, frame[~test], task)
    if own:
        told = keep(source, found)
        if told:
            session.progress.note(told)
    return Material(frame, test, snapshot, task, found.contract)


def split(
    project: Project,
    frame: Any,
    task: Literal["regression", "classification"],
    keep_training: frozenset[Any] = frozenset(),
) -> Any:
    """Which rows of the project's data are kept for the report: (n,) bool."""
    return splitting.split(
        frame,
        label=project.label,
        task=task,
        time=project.data.time,
        share=project.test,
        seed=project.seed,
        keep_training=keep_training,
    )


def learned(project: Project, rows: Any, task: Literal["regression", "classification"]) -> contracts.Learned:
    """The contract of the project's training rows, with the columns that a row may bring along."""
    found = contracts.study(rows, features=project.features, label=project.label, task=task, inputs=project.inputs)
    asked = () if project.view is None else (*project.view.keys, *project.view.request)
    wanted = (project.data.time, *asked, *project.groups, project.retrain.source)
    context = [name for name in wanted if name and name not in project.features]
    return replace(found, contract=replace(found.contract, context=tuple(dict.fromkeys(context))))


def keep(source: LoadedProject, found: contracts.Learned) -> str:
    """Write what was learned into the project's contract file; returns what to tell, "" where nothing changed."""
    path = contract_file.path_of(source.folder, source.file)
    return contract_writing.keep(path, source.project.name, found.contract, found.facts)
