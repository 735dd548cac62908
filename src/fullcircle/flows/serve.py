"""Serve: all champions of the workspace in the foreground, following them wherever they are promoted."""

from __future__ import annotations

import subprocess
import sys

from fullcircle.errors import ServerFailed, VersionNotFound
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import opened
from fullcircle.settings import Settings

FOLLOW_SECONDS = 2.0


def serve(*, settings: Settings | None = None) -> None:
    """Serve until interrupted. Champions that another member of the team promotes are picked up within seconds.

    The server runs with this Python; each bundle must answer its golden rows with the same bits in it first.
    """
    with opened(settings, create=False) as session:
        reconcile(session)
        if not session.workspace.ledger.state().champions:
            raise VersionNotFound(
                "there is no champion to serve yet", next_step="run a project first: fullcircle run PROJECT"
            )
        arguments = [
            sys.executable, "-m", "fullcircle.server",
            "--served", str(session.workspace.served),
            "--predictions", str(session.workspace.predictions),
            "--code-cache", str(session.folder("code")),
            "--host", session.settings["host"],
            "--port", str(session.settings.port),
        ]  # fmt: skip
        server = subprocess.Popen(arguments)
        try:
            while True:
                try:
                    code = server.wait(FOLLOW_SECONDS)
                except subprocess.TimeoutExpired:
                    write_served(session)
                    continue
                break
        except KeyboardInterrupt:
            server.wait(60)
            return
        finally:
            if server.poll() is None:
                server.terminate()
        if code not in (0, -2, -15):
            raise ServerFailed(
                f"the server ended with exit code {code}",
                next_step="its own words are above; mend that and start again",
            )
