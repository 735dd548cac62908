"""Deploy: a server of the champion, in the environment that its bundle was proven in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fullcircle import registry
from fullcircle.deployment.target import Service, Target
from fullcircle.flows import log, versions, views
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.packaging import proof as proofs
from fullcircle.settings import Settings
from fullcircle.types.progress import Progress
from fullcircle.types.turn import Deployed, Removed

TARGET = "local"


def deploy(project: str | Path, *, settings: Settings | None = None, progress: Progress | None = None) -> Deployed:
    """Start a server of the champion and leave it running; one that runs already follows the champion.

    ``project`` is a project path or a model's name. Raises PortInUse and ServerFailed.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        return deploy_in(session, model_name(session, project))


def remove(project: str | Path, *, settings: Settings | None = None, progress: Progress | None = None) -> Removed:
    """Stop the model's server, if it runs."""
    with opened(settings, progress, create=False) as session:
        return remove_in(session, model_name(session, project), "asked for by hand")


def deploy_in(session: Session, model: str, *, exact_from: Any = None) -> Deployed:
    """Deploy within an open session.

    The champion's feature view is published: online answers are exact from now on, or from ``exact_from`` on.
    """
    log.settle_or_note(session, log.SECONDS)  # a server that was left running settles nothing by itself
    champion = versions.champion(session, model)
    bundle = versions.bundle(session, model, champion)
    session.progress.step("deploy", f"{model} version {champion}")
    python = proofs.environment(
        bundle, session.workspace.environments, offline=session.settings.offline, progress=session.progress
    )
    if bundle.view is not None:
        views.publish(session, bundle.view, exact_from)
    write_served(session)
    key = log.key_file(session, bundle.contract)
    service = _service(session, model, python, looks_up=bundle.view is not None, key=key)
    target = _target()
    action = target.plan(service).action
    running = target.apply(service, session.progress)
    noted = session.workspace.ledger.state().deployments.get(model, {})
    if action != "keep" or noted.get("url") != running.url:  # a run that was killed may not have noted it
        session.record(
            "deployment.started",
            model=model,
            version=champion,
            bundle=versions.find(session, model, champion).bundle,
            target=TARGET,
            url=running.url,
        )
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


def process_of(session: Session, model: str) -> int:
    """The id of the model's server process, or 0."""
    return _target().status(_service(session, model, Path(sys.executable))).pid


def _target() -> Target:
    target: Target = registry.find("targets", TARGET)()
    return target


def _service(
    session: Session, model: str, python: Path, *, looks_up: bool = False, key: Path | None = None
) -> Service:
    return Service(
        python=python,
        served=session.workspace.served,
        predictions=session.workspace.predictions,
        code=session.folder("code"),
        state=session.folder("deployments") / model,
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
    )


def _port(session: Session, model: str) -> int:
    """The port of the settings; any free one where another model of this workspace answers on it."""
    wanted = session.settings.port
    others = [
        str(body["url"]) for name, body in session.workspace.ledger.state().deployments.items() if name != model
    ]
    return 0 if wanted in [urlsplit(url).port for url in others] else wanted
