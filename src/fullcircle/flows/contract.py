"""Contract: what the model expects of each input, from its last run or, without training, from the project's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fullcircle.development.checking import check_data
from fullcircle.development.contract_file import path_of
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ProjectInvalid
from fullcircle.flows import data, drafts, material, versions
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.runtimes import schema
from fullcircle.settings import Settings
from fullcircle.tables import snapshots
from fullcircle.types.contract import Contract
from fullcircle.types.features import REQUEST_TYPES
from fullcircle.types.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ShownContract:
    """A model's contract, where it is from, and which of its keys a person decided.

    ``said`` maps a column to these keys, in the project file or in the contract file ``file``; ``told`` is what
    became of the file, "" where nothing did. ``keys`` and ``request`` are those of the feature view that the model
    asks, with their kinds; the kind of a key is "" until a run has looked at its tables.
    """

    model: str
    contract: Contract
    origin: str
    file: str = ""
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a request's body."""
        return schema.body(self.contract, keys=self.keys, request=self.request)


def contract(
    project: str | Path,
    *,
    write: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> ShownContract:
    """The contract of a project: of its last run as the project is now, else learned from its data without training.

    A model's name gives its champion's. ``write`` learns from the data in any case and writes the contract file.
    Raises the errors of loading and data, VersionNotFound, and ProjectInvalid for ``write`` with a model's name.
    """
    with opened(settings, progress) as session:
        name = str(project)
        if name in session.workspace.ledger.state().versions and not Path(name).exists():
            if write:
                raise ProjectInvalid(
                    "a model's name has no contract file to write",
                    received=name,
                    allowed="a project file, or a folder with project.py",
                    next_step="give the path of the project",
                )
            return _of_champion(session, name)
        source = loaded(project)
        found = None if write else _of_run(session, source)
        return _of_project(source, found or _of_data(session, source, write=write))


def _of_champion(session: Session, model: str) -> ShownContract:
    number = versions.champion(session, model)
    draft = drafts.of_run(session, versions.find(session, model, number).run)
    view = drafts.view_of(session, draft)
    return ShownContract(
        model=model,
        contract=draft.contract,
        origin=f"version {number}, the champion",
        keys={} if view is None else dict(view.kinds_of_keys),
        request={} if view is None else dict(view.request),
    )


def _of_run(session: Session, source: LoadedProject) -> ShownContract | None:
    """That of the last run of this very code and contract file."""
    model = source.project.name
    runs = session.workspace.ledger.state().runs
    mine = [run for run, body in runs.items() if body["model"] == model and body["code"] == source.code]
    if not mine:
        return None
    draft = drafts.of_run(session, mine[-1])
    view = drafts.view_of(session, draft)
    return ShownContract(
        model=model,
        contract=draft.contract,
        origin=f"run {draft.run[:12]}",
        keys={} if view is None else dict(view.kinds_of_keys),
    )


def _of_data(session: Session, source: LoadedProject, *, write: bool) -> ShownContract:
    """Learned from the rows that a training would learn from."""
    project = source.project
    session.progress.step("snapshot", "reading the data")
    frame = data.read(session, source, project.data)
    check_data(frame, project)
    frame = snapshots.decode(snapshots.encode(frame))  # as a training reads it back
    task = check_data(frame, project)
    found = material.learned(project, frame[~material.split(project, frame, task)], task)
    told = ""
    if write:
        told = material.keep(source, found) or f"{path_of(source.folder, source.file).name} is up to date"
    return ShownContract(
        model=project.name, contract=found.contract, origin="the project's data, without training", told=told
    )


def _of_project(source: LoadedProject, found: ShownContract) -> ShownContract:
    project = source.project
    view = project.view
    return replace(
        found,
        file=str(path_of(source.folder, source.file)),
        said={name: tuple(given) for name, given in project.inputs.columns.items() if given},
        keys={} if view is None else {name: found.keys.get(name, "") for name in view.keys},
        request={} if view is None else {name: REQUEST_TYPES[kind] for name, kind in view.request.items()},
    )
