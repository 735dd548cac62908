"""Serve: all champions of the workspace in the foreground, following them, and keys, wherever they change."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Never

from fullcircle.deployment import process
from fullcircle.deployment.target import log_flags
from fullcircle.errors import FullcircleError, PortInUse, ServerFailed, VersionNotFound
from fullcircle.flows import admission, foreground, log, splitting, versions, views
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, opened
from fullcircle.flows.split_patience import Patience, cause
from fullcircle.settings import Settings
from fullcircle.types.progress import Progress

FOLLOW_SECONDS = 1.0
PATIENCE = 40.0  # seconds for what is being answered to finish: more than the server's own grace


def serve(*, settings: Settings | None = None, progress: Progress | None = None) -> None:
    """Serve until interrupted. Champions that another member of the team promotes are picked up within seconds.

    The server runs with this Python; each bundle must answer its golden rows with the same bits in it first.
    Ends by Ctrl-C or SIGTERM, after what is being answered. Raises PortInUse and ServerFailed.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        session.check_loggable()
        admission.check_reach(session)
        if not session.workspace.ledger.state().champions:
            raise VersionNotFound(
                "there is no champion to serve yet", next_step="run a project first: fullcircle run PROJECT"
            )
        for model, champion in session.workspace.ledger.state().champions.items():
            bundle = versions.bundle(session, model, champion)  # what is damaged is refused before anything is served
            if bundle.view is not None:
                views.publish(session, bundle.view)
        host, port = session.settings["host"], session.settings.port
        if not process.can_listen(host, port):
            raise PortInUse(
                "another program listens on this port",
                received=f"{host}:{port}",
                next_step="choose another port with --port, or --port 0 for any free one",
            )
        with terminated_is_interrupted(), foreground.told(session):
            code = _followed(session, _arguments(session, log.key_file(session)))
        if code not in (0, -2, -15):
            raise ServerFailed(
                f"the server ended with exit code {code}",
                next_step="its own words are above; mend that and start again",
            )


def _arguments(session: Session, key: Path | None) -> list[str]:
    return [
        sys.executable, "-m", "fullcircle.server",
        "--served", str(session.workspace.served),
        "--predictions", str(session.workspace.predictions),
        "--code-cache", str(session.folder("code")),
        "--host", session.settings["host"],
        "--port", str(session.settings.port),
        "--hosts", ",".join(session.settings.hosts),
        "--online", session.features.online_url,
        "--workers", str(session.settings.workers),
        *_access_flags(session),
        *log_flags(session.settings.log_bytes, session.settings["log_full"], session.settings["log_fsync"], key),
    ]  # fmt: skip


def _access_flags(session: Session) -> list[str]:
    settings = session.settings
    flags = [] if settings.tls is None else ["--tls-cert", str(settings.tls[0]), "--tls-key", str(settings.tls[1])]
    return [*flags, *(["--without-tls"] if settings.without_tls else [])]


def _followed(session: Session, arguments: list[str]) -> int:
    """Run the server and keep what it serves up to date until it ends, or until told to stop."""
    server = subprocess.Popen(arguments)
    told, patience = "", Patience()
    settler = log.Settler(session)
    try:
        while True:
            try:
                return server.wait(FOLLOW_SECONDS)
            except subprocess.TimeoutExpired:
                told = _caught_up(session, told, patience)
                settler.look()
    except KeyboardInterrupt:
        return 0
    finally:
        # It may have been told by the same Ctrl-C, and it may not: a signal can be meant for this process alone.
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()


def _caught_up(session: Session, told: str, patience: Patience | None = None) -> str:
    """Write down the champions of now. What cannot be read is told once, and the server goes on as it is."""
    try:
        splitting.turns_in(session, patience=patience)
    except (FullcircleError, OSError) as error:
        why = cause(error)
        if why != told:
            session.progress.note(f"the champions cannot be followed at the moment: {why}")
        return why
    return ""


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Within it SIGTERM ends this process as Ctrl-C does, so that a server is never left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> Never:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
