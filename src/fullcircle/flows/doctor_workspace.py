"""Doctor, the workspace: its ledger, MLflow, and the servers that it started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from urllib.parse import urlsplit

from fullcircle.deployment.needs.checking import Checker
from fullcircle.errors import FullcircleError
from fullcircle.flows import doctor_machine
from fullcircle.flows.deploy import behind, url_of
from fullcircle.flows.session import Session
from fullcircle.types.needs import Checked, Need, Status

KIND = "workspace"


def checks(session: Session) -> Iterator[Checked]:
    """What can be said of an open workspace. A ledger that does not hold says nothing of servers."""
    ledger, sound = _ledger(session)
    yield ledger
    yield doctor_machine.behind(_newest(session, sound=sound))
    yield _mlflow(session)
    if sound:
        yield doctor_machine.port(session.settings, set(_ports(session)))
        yield from _servers(session)


def _ledger(session: Session) -> tuple[Checked, bool]:
    """Read it whole and verify its chain; what it names is not looked at: that is what audit does."""
    try:
        count = sum(1 for _ in session.workspace.ledger.facts())
        session.workspace.ledger.state()
    except FullcircleError as error:
        return of_error("ledger", error), False
    if not session.workspace.writable:
        told = f"{count} facts hold together; the workspace may only be read"
        return _said("ledger", "warn", told, next_step="make it writable to train, package or serve"), True
    return _said("ledger", "ok", f"{count} facts hold together"), True


def _newest(session: Session, *, sound: bool) -> dict[str, float]:
    root = session.workspace.root
    found = {}
    for path in root.iterdir():
        with suppress(FileNotFoundError):  # a link to nothing, or a file that another process just took away
            found[f"the file {path.name}"] = path.stat().st_mtime
    head = session.workspace.ledger.head() if sound else None
    if head is not None:
        found[f"fact {head.seq} of the ledger"] = datetime.fromisoformat(head.time).timestamp()
    return found


def _mlflow(session: Session) -> Checked:
    uri = session.workspace.mlflow_uri
    file = session.workspace.root / "mlflow.db"
    if not session.settings["mlflow"] and not file.exists():
        return _said("mlflow", "ok", "MLflow's database is made at the first run")
    (found,) = Checker().check((Need(name="mlflow", kind="mlflow", at=uri),))
    return Checked(
        name="mlflow",
        kind=KIND,
        status=found.status,
        what=found.what,
        received=found.received,
        allowed=found.allowed,
        next_step=found.next_step or ("" if found.status == "ok" else "see the setting mlflow in docs/settings.md"),
        seconds=found.seconds,
    )


def _ports(session: Session) -> Iterator[int]:
    for body in session.workspace.ledger.state().deployments.values():
        port = urlsplit(str(body.get("url", ""))).port
        if port is not None:
            yield port


def _servers(session: Session) -> Iterator[Checked]:
    """Those that the ledger says run, and those that run although nobody knows of them."""
    noted = session.workspace.ledger.state().deployments
    folder = session.workspace.root / "deployments"
    left = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    for model in sorted({*noted, *left}):
        url = url_of(session, model)
        if model in noted:
            yield server(session, model, url)
        elif url is not None:
            yield _said(
                f"server of {model}", "warn", f"a server runs at {url} that the ledger does not know of",
                next_step=f"end it: fullcircle deploy {model} --stop",
            )  # fmt: skip


def server(session: Session, model: str, url: str | None) -> Checked:
    """Whether the server that the ledger knows of runs and is ready."""
    name = f"server of {model}"
    body = session.workspace.ledger.state().deployments.get(model, {})
    if url is None and body.get("target", "local") != "local":
        return _said(name, "skipped", f"it was deployed to {body['target']}: that is not seen from here")
    if url is None:
        return _said(
            name, "failed", "it is to run, and does not",
            received=str(body.get("url", "")), next_step=f"start it again: fullcircle deploy {model}",
        )  # fmt: skip
    why = behind(session, model)
    if why:
        return _said(
            name, "failed", f"it runs and is not as it should be: {why}",
            received=url, next_step=f"see {url}/health/ready, or deploy again: fullcircle deploy {model}",
        )  # fmt: skip
    return _said(name, "ok", f"it is ready at {url}")


def of_error(name: str, error: FullcircleError, kind: str = KIND) -> Checked:
    """An error of ours as a failed check."""
    return Checked(
        name=name,
        kind=kind,
        status="failed",
        what=error.what,
        received=error.received or "",
        allowed=error.allowed or "",
        next_step=error.next_step or "see docs/errors.md",
    )


def _said(name: str, status: Status, what: str, *, received: str = "", next_step: str = "") -> Checked:
    return Checked(name=name, kind=KIND, status=status, what=what, received=received, next_step=next_step)
