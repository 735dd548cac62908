"""What every flow works in: the settings, the workspace, MLflow when first needed, and who listens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fullcircle.development.loading import LoadedProject, load
from fullcircle.exploration.tracking import Tracking
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.types.progress import Progress, Silent

T = TypeVar("T")


@dataclass
class Session:
    """One open workspace. ``notes`` collects what reconciling found, for the door to show."""

    settings: Settings
    workspace: Workspace
    progress: Progress
    notes: list[str] = field(default_factory=list)

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow, imported when first asked for (that takes a second or two)."""
        return Tracking(self.workspace.mlflow_uri, self.workspace.artifacts)

    def record(self, kind: str, **body: Any) -> int:
        """Append a fact; fields that are None are left out. Returns its number."""
        return self.workspace.ledger.append(kind, {k: v for k, v in body.items() if v is not None}).seq

    def keep(self, noun: object) -> str:
        """Store a noun as JSON in the blob store and return its digest."""
        return self.workspace.blobs.put(msgspec.json.encode(noun, order="sorted"))

    def recall(self, digest: str, kind: type[T]) -> T:
        """Read back a noun that was stored with ``keep``."""
        return msgspec.json.decode(self.workspace.blobs.get(digest), type=kind)

    def folder(self, name: str) -> Path:
        """A folder of the workspace, made when first asked for."""
        path = self.workspace.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def opened(
    settings: Settings | None = None, progress: Progress | None = None, *, create: bool = True, verify: bool = True
) -> Iterator[Session]:
    """Open the workspace of ``settings`` (read from the surroundings by default) for the length of a flow.

    Without ``create`` there has to be one, unless the ledger is shared: then a new member's folder is only made.
    A flow builds on the ledger, so LedgerBroken is raised before it begins; without ``verify`` it may look first.
    """
    settings = settings or load_settings()
    with Workspace.open(settings, create=create or bool(settings["ledger"])) as workspace:
        if verify:
            workspace.ledger.state()
        yield Session(settings, workspace, progress or Silent())


def model_name(session: Session, project: str | Path | LoadedProject) -> str:
    """The model meant by a project path, a loaded project, or a model's own name."""
    if isinstance(project, LoadedProject):
        return project.project.name
    text = str(project)
    if text in session.workspace.ledger.state().versions and not Path(text).exists():
        return text
    return loaded(text).project.name


def loaded(project: str | Path | LoadedProject) -> LoadedProject:
    """The project at a path, or the one given."""
    return project if isinstance(project, LoadedProject) else load(project)


def with_params(source: LoadedProject, changes: Mapping[str, str]) -> LoadedProject:
    """The project with parameters set from text: numbers, true, false and none are read as such."""
    from dataclasses import replace

    if not changes:
        return source
    params = {**source.project.params, **{key: _value(text) for key, text in changes.items()}}
    return replace(source, project=replace(source.project, params=params))


def _value(text: str) -> str | int | float | bool | None:
    words: dict[str, bool | None] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
