"""Reopen: bring an earlier run's code, parameters and snapshot back as a new run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fullcircle.development import contract_file
from fullcircle.development.loading import LoadedProject, load
from fullcircle.flows import data, drafts
from fullcircle.flows.session import opened
from fullcircle.flows.train import train_in
from fullcircle.settings import Settings
from fullcircle.types.progress import Progress
from fullcircle.types.turn import Trained


def reopen(run: str, *, settings: Settings | None = None, progress: Progress | None = None) -> Trained:
    """Train again what an earlier run trained: its code version, its parameters, its snapshot.

    The code is laid out in the workspace under ``reopened/``, to be looked at or continued from.
    """
    with opened(settings, progress, create=False) as session:
        draft = drafts.of_run(session, run)
        session.progress.step("reopen", f"run {draft.run[:12]}")
        folder = session.folder("reopened") / draft.run[:12]
        source = _laid_out(folder, drafts.source_files(session, draft), draft.project_file)
        source = replace(source, project=replace(source.project, params=dict(draft.params)))
        return train_in(
            session,
            source,
            snapshot=data.find(session, draft.snapshot),
            test=drafts.rows(session, draft)[1],
            tags={"fullcircle.reopened_from": draft.run},
        )


def _laid_out(folder: Path, files: dict[str, bytes], project_file: str) -> LoadedProject:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    said = contract_file.path_of(folder, project_file)
    if said.name not in files:
        said.unlink(missing_ok=True)  # the run had none: what was said here since is not what it was trained by
    return load(folder / project_file)
