"""Doctor, a project: its needs, the machine it is meant for, its budgets, its environment, its champion."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fullcircle.deployment.needs.asking import Question, ask
from fullcircle.errors import FullcircleError
from fullcircle.flows import doctor_workspace, needs, versions
from fullcircle.flows.deploy import url_of
from fullcircle.flows.session import Session
from fullcircle.monitoring import channels
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import Bundle
from fullcircle.settings import Settings
from fullcircle.types.gates import Gate
from fullcircle.types.needs import Checked, Status
from fullcircle.types.project import Project
from fullcircle.types.report import Report

KIND = "project"
_SYSTEMS = {"linux": "linux", "darwin": "(macos|darwin|apple)", "win32": "windows"}
_MACHINES = {"x86_64": "(x86_64|amd64)", "aarch64": "(aarch64|arm64)", "arm64": "(aarch64|arm64)"}


def checks(session: Session, model: str, project: Project | None) -> Iterator[Checked]:
    """All that can be said of a model. ``project`` is its declaration, where somebody named a path."""
    state = session.workspace.ledger.state()
    version = state.champions.get(model) or max(state.versions.get(model, {}), default=None)
    try:
        bundle = None if version is None else versions.bundle(session, model, version)
    except FullcircleError as error:
        yield doctor_workspace.of_error("bundle", error, KIND)
        bundle = None
    yield from _champion(session, model, bundle)
    yield from _meant_for(project, bundle)
    if project is not None and version is not None:
        yield from _budgets(session, model, version, project.gates)
    yield from _told_of_alarms(project)
    yield from _needs(session, project, bundle)


def alone(project: Project, settings: Settings) -> Iterator[Checked]:
    """What can be said of a project before there is a workspace."""
    yield _said("champion", "warn", "no version is packaged yet", next_step="run it: fullcircle run PROJECT")
    yield from _meant_for(project, None)
    yield from _told_of_alarms(project)
    if not project.needs:
        yield _said("requires", "ok", "it declares no needs at run time")
    yield from ask(Path(sys.executable), Question(needs=project.needs, online=settings["online"]))


def _champion(session: Session, model: str, bundle: Bundle | None) -> Iterator[Checked]:
    state = session.workspace.ledger.state()
    known, champion = state.versions.get(model, {}), state.champions.get(model)
    if not known:
        yield _said("champion", "warn", "no version is packaged yet", next_step="run it: fullcircle run PROJECT")
        return
    if champion is None:
        step = f"promote one: fullcircle promote {model} --version {max(known)}"
        yield _said("champion", "warn", f"{len(known)} versions, and none is champion", next_step=step)
    else:
        yield _said("champion", "ok", f"version {champion} of {len(known)}")
    if bundle is not None:
        yield _environment(session, model, bundle)
    if model in state.deployments:
        yield doctor_workspace.server(session, model, url_of(session, model))
    elif champion is not None:
        yield _said(f"server of {model}", "skipped", f"none was asked for; fullcircle deploy {model} starts one")


def environment_of(session: Session, bundle: Bundle) -> Path | None:
    """The interpreter of a bundle's own environment, where that was built on this machine."""
    python = session.workspace.environments / proofs.key(bundle) / "bin" / "python"
    return python if python.exists() else None


def _environment(session: Session, model: str, bundle: Bundle) -> Checked:
    python = environment_of(session, bundle)
    if python is None:
        step = f"it is built when the model is deployed: fullcircle deploy {model}"
        return _said("environment", "warn", "its environment is not built on this machine", next_step=step)
    return _said(
        "environment", "ok", f"its environment is built: Python {bundle.manifest.python} in {python.parent.parent}"
    )


def _meant_for(project: Project | None, bundle: Bundle | None) -> Iterator[Checked]:
    """Whether this machine is of the kind that the project names. It may be meant for another: that is no fault."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = (project.python if project else "") or (bundle.manifest.python if bundle else "")
    if wanted and wanted != running:
        told = f"it is for Python {wanted}, and this is {running}"
        yield _said(
            "python", "warn", f"{told}: answers are only proven where it runs",
            next_step=f"have uv find a Python {wanted} (uv python install {wanted}), and package with it",
        )  # fmt: skip
    elif wanted:
        yield _said("python", "ok", f"it is for Python {wanted}, as this is")
    if project is not None and project.platform:
        yield _platform(project.platform)


def _told_of_alarms(project: Project | None) -> Iterator[Checked]:
    """Whether the addresses where alarms are told have a form that can work; nothing is sent."""
    for address in dict.fromkeys(project.monitor.notify if project else ()):
        name, problem = f"alarms to {channels.masked(address)}", channels.unfit(address)
        if problem:
            step = "mend the address, or set the variable where the monitor runs; see docs/alarms.md"
            yield _said(name, "warn", problem, next_step=step)
        elif channels.travels(address):
            what = "the address may hold a secret, and the project file goes into every bundle"
            yield _said(name, "warn", what, next_step='put it into an environment variable: notify=["env:NAME"]')
        else:
            yield _said(name, "ok", "the address can work; fullcircle alarms test PROJECT sends a message there")


def _platform(wanted: str) -> Checked:
    name, machine = sys.platform, platform.machine()
    fits = re.search(_SYSTEMS.get(name, name), wanted) and re.search(_MACHINES.get(machine, machine), wanted)
    if fits:
        return _said("platform", "ok", f"it is for {wanted}, as this machine is")
    return _said(
        "platform", "warn", f"it is for {wanted}, and this is {name} on {machine}: nothing can be proven here",
        next_step="package and prove it on a machine of that kind, for example in your CI",
    )  # fmt: skip


def _budgets(session: Session, model: str, version: int, gates: Sequence[Gate]) -> Iterator[Checked]:
    """What the project allows for size and time, against what was measured of the latest version."""
    found = versions.find(session, model, version)
    sizes = [fact for fact in session.workspace.ledger.facts("bundle.built") if fact.body["bundle"] == found.bundle]
    if sizes:
        yield _said(
            "bundle", "ok", f"the bundle of version {version} has {int(sizes[-1].body['bytes']) / 1e6:.1f} MB"
        )
    report = session.recall(found.report, Report)
    for gate in gates:
        if gate.kind not in ("size", "latency"):
            continue
        measure = report.measure(gate.metric)
        if measure is None or measure.value is None:
            step = "evaluate it again: fullcircle evaluate PROJECT"
            yield _said(gate.kind, "warn", f"version {version} was not measured: {gate.text}", next_step=step)
            continue
        unit, shown = ("MB", 1e6) if gate.kind == "size" else ("ms", 1.0)
        told = f"{measure.value / shown:.3g} {unit}"
        if measure.value <= gate.limit:
            yield _said(gate.kind, "ok", f"{gate.text}: version {version} has {told}")
        else:
            yield Checked(
                name=gate.kind, kind=KIND, status="failed", what=f"version {version} is beyond its budget",
                received=told, allowed=gate.text,
                next_step="make the model smaller (fewer trees, fewer features), or allow more in gates",
            )  # fmt: skip


def _needs(session: Session, project: Project | None, bundle: Bundle | None) -> Iterator[Checked]:
    packaged = () if bundle is None else bundle.needs
    wanted = packaged if project is None else project.needs
    if project is not None and bundle is not None and wanted != packaged:
        yield _said(
            "requires", "warn", "the project declares other needs than its latest version was packaged with",
            next_step="package it again: fullcircle run PROJECT",
        )  # fmt: skip
    if not wanted:
        yield _said("requires", "ok", "it declares no needs at run time")
        return
    python = None if bundle is None else environment_of(session, bundle)
    found = needs.asked(session, python, wanted, bundle)
    if python is None:
        where = "asked from this environment, as its own is not built yet"
        yield _said("requires", "warn", where, next_step="package it, and ask again")
    yield from found


def _said(name: str, status: Status, what: str, *, next_step: str = "") -> Checked:
    return Checked(name=name, kind=KIND, status=status, what=what, next_step=next_step)
