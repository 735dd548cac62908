"""Doctor: is everything there that a workspace and a model need, and what is to be done where it is not?"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fullcircle.deployment.needs.checking import Checker
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import FullcircleError, SettingInvalid
from fullcircle.flows import doctor_machine, doctor_project, doctor_workspace
from fullcircle.flows.session import loaded, opened
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.types.needs import Checked, Need
from fullcircle.types.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was looked at. ``about`` is the workspace's folder, or the model's name."""

    about: str
    checks: tuple[Checked, ...]
    seconds: float

    @property
    def well(self) -> bool:
        """Whether nothing failed."""
        return not any(one.status == "failed" for one in self.checks)


def doctor(
    project: str | Path | LoadedProject | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at this machine and the workspace; or at ``project`` (a path, or a model's name), from where it will run.

    Changes nothing, and makes no workspace where there is none. What is wrong is told as a failed check, and not
    raised; but ProjectNotFound, ProjectInvalid and SettingInvalid are.
    """
    settings, begun = settings or load_settings(), time.perf_counter()
    if project is None:
        about, found = str(settings.workspace), _surroundings(settings, progress)
    else:
        about, found = _of_project(project, settings, progress)
    return Diagnosis(about=about, checks=tuple(found), seconds=round(time.perf_counter() - begun, 3))


def _surroundings(settings: Settings, progress: Progress | None) -> list[Checked]:
    environments = settings.folder / (settings["environments"] or settings.workspace / "environments")
    folders = {
        "workspace": settings.workspace,
        "environments": environments,
        "temporary": Path(tempfile.gettempdir()),
    }
    found = list(doctor_machine.checks(settings, folders))
    if not settings.workspace.exists():
        found.append(doctor_machine.port(settings, set()))
        if settings["ledger"]:
            found += Checker().check((Need(name="ledger", kind="database", at=settings["ledger"]),))
        told = f"there is none at {settings.workspace} yet: fullcircle run makes it"
        return [*found, Checked(name="workspace", kind=doctor_workspace.KIND, status="ok", what=told)]
    try:
        with opened(settings, progress, create=False, verify=False) as session:
            return [*found, *doctor_workspace.checks(session)]
    except SettingInvalid:
        raise
    except FullcircleError as error:
        return [*found, doctor_workspace.of_error("workspace", error)]


def _of_project(
    project: str | Path | LoadedProject, settings: Settings, progress: Progress | None
) -> tuple[str, list[Checked]]:
    if not settings.workspace.exists() and not settings["ledger"]:
        source = loaded(project)
        return source.project.name, list(doctor_project.alone(source.project, settings))
    with opened(settings, progress, create=False) as session:
        known = session.workspace.ledger.state().versions
        if isinstance(project, str) and project in known and not Path(project).exists():
            return project, list(doctor_project.checks(session, project, None))
        source = loaded(project)
        return source.project.name, list(doctor_project.checks(session, source.project.name, source.project))
