"""Which ``fullcircle serve`` runs in this workspace: each says so in a file of its own for as long as it does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.flows.session import Session
from fullcircle.ledger import processes

FOLDER = "serving"  # of the workspace


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A process of ``fullcircle serve``. ``url`` is "" where it chose its port itself; ``place`` is its machine."""

    pid: int
    born: str
    place: str
    url: str

    @property
    def text(self) -> str:
        """Where it answers, in words."""
        return f"{self.url or 'a port that it chose'} (process {self.pid})"


@contextmanager
def told(session: Session) -> Iterator[None]:
    """Within it others see that this process serves the workspace."""
    for path in _files(session):
        if (one := _read(path)) is not None and one.place == processes.place() and not _lives(one):
            path.unlink(missing_ok=True)  # it was killed
    settings = session.settings
    url = ""
    if settings.port:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings["host"], settings["host"])  # noqa: S104 - compared
        host = f"[{host}]" if ":" in host else host
        url = f"http{'s' if settings.tls else ''}://{host}:{settings.port}"
    pid = os.getpid()
    one = Serving(pid=pid, born=processes.born(pid), place=processes.place(), url=url)
    path = session.folder(FOLDER) / f"{pid}-{secrets.token_hex(4)}.json"
    path.write_bytes(msgspec.json.encode(one))  # one who reads half of it reads nothing
    try:
        yield
    finally:
        with suppress(OSError):  # a disk that is gone; who looks sees that the process is
            path.unlink()


def running(session: Session) -> Serving | None:
    """A ``fullcircle serve`` that runs on this machine for this workspace; None where there is none."""
    known = (_read(path) for path in _files(session))
    return next((one for one in known if one is not None and one.place == processes.place() and _lives(one)), None)


def _files(session: Session) -> list[Path]:
    return sorted((session.workspace.root / FOLDER).glob("*.json"))


def _read(path: Path) -> Serving | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Serving)
    except (OSError, ValueError):  # gone meanwhile, or of another login that keeps it to itself
        return None


def _lives(one: Serving) -> bool:
    return bool(one.born) and processes.born(one.pid) == one.born
