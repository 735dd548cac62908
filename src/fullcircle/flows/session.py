"""What every flow works in: the settings, the workspace, MLflow when first needed, and who listens."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fullcircle.development.loading import LoadedProject, load
from fullcircle.errors import FullcircleError, WorkspaceUnusable
from fullcircle.exploration.tracking import Tracking
from fullcircle.features.store import Store
from fullcircle.ledger.state import State
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.types import clock
from fullcircle.types.progress import Progress, Silent

T = TypeVar("T")


@dataclass
class Session:
    """One open workspace. ``notes`` collects what reconciling found, for the door to show; ``scorers`` keeps some.

    In a ``rehearsal`` history is played in a workspace of its own: MLflow hears nothing, reports hold what the gates
    ask for, and versions are made without a locked environment, tests and proof (docs/rehearse.md).
    """

    settings: Settings
    workspace: Workspace
    progress: Progress
    notes: list[str] = field(default_factory=list)
    rehearsal: bool = False
    scorers: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow, imported when first asked for (that takes a second or two)."""
        if self.rehearsal:
            from fullcircle.exploration.untracked import Untracked

            return Untracked(lambda model: max(self.workspace.ledger.state().versions.get(model, {0: None})))
        return Tracking(
            self.workspace.mlflow_uri,
            self.workspace.artifacts,
            own=not self.settings["mlflow"],
            tell=lambda text: self.progress.note(text),
        )

    @cached_property
    def features(self) -> Store:
        """The feature store of this workspace."""
        return Store(self.workspace, self.settings, progress=self.progress)

    def record(self, kind: str, *, guard: Callable[[State], None] | None = None, **body: Any) -> int:
        """Append a fact; fields that are None are left out. Returns its number.

        ``guard`` looks at the state within the same transaction and may raise StateConflict.
        """
        return self.workspace.ledger.append(kind, {k: v for k, v in body.items() if v is not None}, guard=guard).seq

    def check_loggable(self) -> None:
        """Raise WorkspaceUnusable where no prediction could be logged, because the workspace may only be read."""
        if not self.workspace.writable:
            raise WorkspaceUnusable(
                "every prediction is logged in the workspace, and this one may only be read",
                received=str(self.workspace.root),
                next_step="make it writable, or name another folder with --workspace",
            )

    def keep(self, noun: object) -> str:
        """Store a noun as JSON in the blob store and return its digest. Tables keep the order of their columns."""
        return self.workspace.blobs.put(msgspec.json.encode(noun))

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
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    create: bool = True,
    verify: bool = True,
    rehearsal: bool = False,
) -> Iterator[Session]:
    """Open the workspace of ``settings`` (read from the surroundings by default) for the length of a flow.

    Without ``create`` there has to be one, unless the ledger is shared: then a new member's folder is only made.
    A flow builds on the ledger, so LedgerBroken is raised before it begins; without ``verify`` it may look first.
    """
    settings = settings or load_settings()
    with ExitStack() as stack:
        stack.enter_context(clock.of(settings.workspace))
        workspace = stack.enter_context(Workspace.open(settings, create=create or bool(settings["ledger"])))
        if verify:
            workspace.ledger.state()
        session = Session(settings, workspace, progress or Silent(), rehearsal=rehearsal)
        try:
            yield session
        except OSError as error:
            if isinstance(error, FullcircleError) or not _of_workspace(error, workspace):
                raise
            raise WorkspaceUnusable(
                f"the workspace cannot be used: {error.strerror}",
                received=str(error.filename or workspace.root),
                next_step="make it writable and see that there is space, or name another folder with --workspace",
            ) from error
        finally:
            if "features" in vars(session):
                session.features.close()


def _of_workspace(error: OSError, workspace: Workspace) -> bool:
    """Whether a file of the workspace could not be read or written, or its disk is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(workspace.root)


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
