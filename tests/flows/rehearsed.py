"""Policies played in this process, for tests that look at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from flows import histories
from fullcircle.development.loading import LoadedProject
from fullcircle.flows.rehearsal import history
from fullcircle.flows.rehearsal.history import Rows
from fullcircle.flows.rehearsal.place import Place, place_of
from fullcircle.flows.rehearsal.running import Job, Result, run
from fullcircle.flows.session import loaded, opened
from fullcircle.monitoring.grid import micros
from fullcircle.types.loop import Policy

SINCE, UNTIL = "2024-02-19T00:00:00", "2024-06-17T00:00:00"


def read(source: LoadedProject, folder: Path) -> Rows:
    """The rows of a project's history."""
    with opened(histories.settings(folder)) as session:
        return history.read(session, source)


def job(
    folder: Path,
    frame: Any,
    *,
    name: str = "shipped",
    changes: Mapping[str, str] | None = None,
    text: str = histories.PROJECT,
    until: str = UNTIL,
    every: float = 1000.0,
) -> tuple[Job, LoadedProject]:
    """A policy over these rows, ready to be played in ``folder``."""
    file = histories.project(folder / "project", frame, text)
    source = loaded(file)
    history.written(read(source, folder), folder / "home" / "history", piece=300)
    settings = histories.settings(folder)
    made = Job(
        project=str(file),
        params=dict(source.project.params),
        code=source.code,
        home=str(folder / "home"),
        name=name,
        changes=dict(changes or {}),
        since=micros(SINCE) or 0,
        until=micros(until) or 0,
        values=dict(settings.values),
        paths=dict(settings.paths),
        folder=str(settings.folder),
        every=every,
    )
    return made, source


def place(made: Job) -> Place:
    """Where a job is played."""
    return place_of(Path(made.home), "kettles", made.name, made.changes)


def played(folder: Path, frame: Any, **more: Any) -> tuple[Result, Place]:
    """Play a policy over these rows."""
    made, source = job(folder, frame, **more)
    return run(made, source), place(made)


def content(found: Policy) -> bytes:
    """A policy as bytes, to be compared."""
    return msgspec.json.encode(found, order="deterministic")


def plain(noun: Any) -> Any:
    """A noun as JSON has it, to be compared: a difference is then shown where it is."""
    return msgspec.json.decode(msgspec.json.encode(noun))
