"""Deploy: what answers for the champion, made by a target in the environment that its bundle was proven in."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fullcircle import registry
from fullcircle.deployment import folder, keeper, schedule, units
from fullcircle.deployment.target import Plan, Running, Service, Target
from fullcircle.flows import admission, foreground, issuers, log, needs, taken_along, versions, views
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.flows.taken_along import Batch, batch_service, found_version
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import Bundle
from fullcircle.settings import Settings
from fullcircle.types.needs import variables
from fullcircle.types.progress import Progress
from fullcircle.types.turn import Deployed, Removed

TARGET = "local"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file that would be made, or was: its path under the folder, bytes and SHA-256."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What deploying would do. ``written`` is the folder where its files were laid down for review, "" for none."""

    model: str
    version: int
    target: str
    action: str
    text: str
    folder: str
    files: tuple[Made, ...]
    steps: tuple[str, ...]
    written: str = ""


def deploy(
    project: str | Path,
    *,
    to: str = TARGET,
    out: str | Path | None = None,
    base: str = "",
    batch: Batch | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Deployed:
    """Start a server of the champion and leave it running; one that runs already follows the champion.

    ``project`` is a project path or a model's name. ``to`` names another target, such as "container", which writes a
    build context to the folder ``out`` on the image ``base``. With a ``batch`` it is a schedule that is started.
    Raises PortInUse, ServerFailed and TargetRefused.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        model = model_name(session, project)
        if to == TARGET and batch is None:
            return deploy_in(session, model)
        return _deploy_other(session, model, to, Path(out) if out else None, base, batch)


def plan(
    project: str | Path,
    *,
    to: str = TARGET,
    out: str | Path | None = None,
    base: str = "",
    batch: Batch | None = None,
    systemd: bool = False,
    write: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Planned:
    """Show what ``deploy`` would do, and change nothing; with ``write`` its files are laid down in ``out``.

    With ``systemd`` these are units that have systemd run the same; what a timer's unit reads is put in the
    deployment's folder too. Raises as ``deploy`` does.
    """
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        champion = versions.champion(session, model)
        service = _meant(session, model, champion, to, Path(out) if out and not write else None, base, batch)
        _check_tokens(session, service)
        if systemd:
            files = units.files(service, model)
            place = Path(out).absolute() if out else session.workspace.root / "systemd" / model
            found = Plan(
                action="start",
                text=f"systemd units for {model}, written and not started",
                folder=str(place),
                files=files,
                steps=units.steps(list(files), place),
            )
        else:
            found = _target(to).plan(service)
        written = ""
        if write:
            place = Path(out).absolute() if out else Path(found.folder)
            about = {"target": to, "model": model, "version": str(champion)}
            own = folder.RECORD in found.files
            folder.write(place, found.files if own else folder.recorded(found.files, about))
            written = str(place)
            if systemd and service.schedule is not None:  # the unit reads it there
                service.state.mkdir(parents=True, exist_ok=True)
                keeper.write(service.state / schedule.JOB, found.files[schedule.JOB])
        return Planned(
            model=model,
            version=champion,
            target=to,
            action=found.action,
            text=found.text,
            folder=found.folder,
            files=tuple(_made(name, content) for name, content in found.files.items()),
            steps=found.steps,
            written=written,
        )


def status(
    project: str | Path,
    *,
    to: str = TARGET,
    out: str | Path | None = None,
    scheduled: bool = False,
    settings: Settings | None = None,
) -> Running:
    """What a target has there now of the model; with ``scheduled`` its schedule of batches.

    Where none of its servers was deployed here and ``fullcircle serve`` answers for it, ``problem`` says so.
    """
    with opened(settings, create=False) as session:
        model = model_name(session, project)
        found = _target(to).status(_there(session, model, to, Path(out) if out else None, scheduled))
        serving = None if found.running or to != TARGET or scheduled else foreground.running(session)
        if serving is None:
            return found
        return replace(found, problem=f"{found.problem}; fullcircle serve answers at {serving.text}")


def remove(
    project: str | Path,
    *,
    to: str = TARGET,
    out: str | Path | None = None,
    scheduled: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Removed:
    """Stop the model's server, if it runs; or its schedule, or delete the files of another target."""
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        if to == TARGET and not scheduled:
            return remove_in(session, model, "asked for by hand")
        service = _there(session, model, to, Path(out) if out else None, scheduled)
        target = _target(to)
        running = target.status(service)
        if running.running:
            target.remove(service)
            session.record(
                "deployment.stopped", model=model, target=_named(to, scheduled), reason="asked for by hand"
            )
        where = running.place or (str(service.state) if running.running else "")
        return Removed(model=model, url=where)


def deploy_in(session: Session, model: str, *, exact_from: Any = None) -> Deployed:
    """Deploy within an open session.

    The champion's feature view is published: online answers are exact from now on, or from ``exact_from`` on.
    """
    admission.check_reach(session)
    admission.door(session, make=True)
    log.settle_or_note(session, log.SECONDS)  # a server that was left running settles nothing by itself
    champion = versions.champion(session, model)
    bundle = versions.bundle(session, model, champion)
    issuers.check_environment(session, f"{model} version {champion}", bundle.lock)
    session.progress.step("deploy", f"{model} version {champion}")
    python = proofs.environment(
        bundle, session.workspace.environments, offline=session.settings.offline, progress=session.progress
    )
    if bundle.view is not None:
        views.publish(session, bundle.view, exact_from)
    needs.before_deploy(session, bundle, python)
    write_served(session)
    key = log.key_file(session, bundle.contract)
    reads = variables(bundle.needs)
    service = _service(session, model, python, looks_up=_looks_up(bundle), key=key, reads=reads)
    target = _target()
    action = target.plan(service).action
    running = target.apply(service, session.progress)
    noted = session.workspace.ledger.state().deployments.get(model, {})
    if action != "keep" or noted.get("url") != running.url:  # a run that was killed may not have noted it
        _record(session, model, champion, TARGET, running.url)
    session.progress.note(f"answers at {running.url}")
    return Deployed(model=model, version=champion, target=TARGET, url=running.url)


def remove_in(session: Session, model: str, reason: str) -> Removed:
    """Stop within an open session."""
    service, target = _service(session, model, Path(sys.executable)), _target()
    running = target.status(service)
    if running.running:
        session.progress.step("stop", model)
        target.remove(service)
        session.record("deployment.stopped", model=model, target=TARGET, reason=reason)
    return Removed(model=model, url=running.url)


def url_of(session: Session, model: str) -> str | None:
    """Where the model answers now, or None."""
    running = _target().status(_service(session, model, Path(sys.executable)))
    return running.url if running.running else None


def behind(session: Session, model: str) -> str:
    """Why a server that runs is not as it should be: another version answers, or it is not ready; "" where it is."""
    running = _target().status(_service(session, model, Path(sys.executable)))
    return running.problem if running.running else ""


def process_of(session: Session, model: str) -> int:
    """The id of the model's server process, or 0."""
    return _target().status(_service(session, model, Path(sys.executable))).pid


def _deploy_other(
    session: Session, model: str, to: str, out: Path | None, base: str, batch: Batch | None
) -> Deployed:
    champion = versions.champion(session, model)
    session.progress.step("deploy", f"{model} version {champion}, {_named(to, batch is not None)}")
    service = _meant(session, model, champion, to, out, base, batch)
    _check_tokens(session, service)
    if batch is not None:  # it is scored by this Python; what goes elsewhere is asked there
        needs.before_deploy(session, versions.bundle(session, model, champion), Path(sys.executable))
    target = _target(to)
    plan = target.plan(service)
    running = target.apply(service, session.progress)
    if plan.action != "keep":
        _record(session, model, champion, _named(to, batch is not None), running.url)
    return Deployed(
        model=model,
        version=champion,
        target=_named(to, batch is not None),
        url=running.url,
        place=running.place or plan.folder,
        steps=plan.steps,
    )


def _meant(
    session: Session, model: str, champion: int, to: str, out: Path | None, base: str, batch: Batch | None
) -> Service:
    """The service that a target would be given. Nothing is built or written for it."""
    bundle = versions.bundle(session, model, champion)
    python = session.workspace.environments.absolute() / proofs.key(bundle) / "bin" / "python"
    key = log.key_file(session, bundle.contract) if to == TARGET else None
    reads = variables(bundle.needs)
    service = _service(session, model, python, looks_up=_looks_up(bundle), key=key, reads=reads)
    if batch is not None:
        return batch_service(session, service, model, batch)
    if to == TARGET:
        return service
    taken_along.check_reachable(session, bundle, to)
    version = found_version(session, model, champion, bundle)
    state = session.workspace.root / f"{to}s"
    port = session.settings.port
    return replace(service, version=version, state=state, out=out, image=base, port=port, online="", log_key=None)


def _check_tokens(session: Session, service: Service) -> None:
    """Refuse a version that is taken along and could not check tokens there. Raises MissingExtra."""
    if (version := service.version) is not None:
        issuers.check_environment(session, f"{version.model} version {version.number}", version.lock)


def _there(session: Session, model: str, to: str, out: Path | None, scheduled: bool) -> Service:
    """Enough of a service to look at it or to remove it."""
    if scheduled:
        return taken_along.scheduled(_service(session, model, Path(sys.executable)))
    if to == TARGET:
        return _service(session, model, Path(sys.executable))
    return _meant(session, model, versions.champion(session, model), to, out, "", None)


def _record(session: Session, model: str, version: int, target: str, url: str) -> None:
    session.record(
        "deployment.started",
        model=model,
        version=version,
        bundle=versions.find(session, model, version).bundle,
        target=target,
        url=url,
    )


def _named(to: str, scheduled: bool) -> str:
    """A target as facts name it."""
    return f"{to} batch" if scheduled else to


def _made(name: str, content: bytes) -> Made:
    return Made(name=name, bytes=len(content), digest=hashlib.sha256(content).hexdigest())


def _target(name: str = TARGET) -> Target:
    target: Target = registry.find("targets", name)()
    return target


def _service(
    session: Session,
    model: str,
    python: Path,
    *,
    looks_up: bool = False,
    key: Path | None = None,
    reads: tuple[str, ...] = (),
) -> Service:
    return Service(
        python=python,
        served=session.workspace.served,
        predictions=session.workspace.predictions,
        code=session.workspace.root / "code",
        state=session.workspace.root / "deployments" / model,
        host=session.settings["host"],
        port=_port(session, model),
        models=(model,),
        hosts=session.settings.hosts,
        online=session.features.online_url if looks_up else "",
        workers=session.settings.workers,
        log_bytes=session.settings.log_bytes,
        log_full=session.settings["log_full"],
        log_fsync=session.settings["log_fsync"],
        log_key=key,
        access=admission.file(session) if admission.required(session) else None,
        tls=session.settings.tls,
        without_tls=session.settings.without_tls,
        door=admission.door(session),
        variables=reads,
    )


def _looks_up(bundle: Bundle) -> bool:
    """Whether its server has to know the online store: its model looks features up, or a need says so."""
    return bundle.view is not None or any(need.kind == "features" for need in bundle.needs)


def _port(session: Session, model: str) -> int:
    """The port of the settings; any free one where another model of this workspace answers on it."""
    wanted = session.settings.port
    others = [
        str(body["url"]) for name, body in session.workspace.ledger.state().deployments.items() if name != model
    ]
    return 0 if wanted in [urlsplit(url).port for url in others] else wanted
