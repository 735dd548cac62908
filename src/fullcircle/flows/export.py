"""Export: the rows of a prediction log in a file, and the ledger says that they left, and why."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.errors import SettingInvalid, VersionNotFound
from fullcircle.flows.promote import spoken
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables import segments
from fullcircle.tables.predictions import read


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What left: so many rows of a model, in a file of this SHA-256."""

    model: str
    rows: int
    file: str
    digest: str
    reason: str


def export(
    model: str, out: str | Path, *, reason: str, since: str = "", until: str = "", settings: Settings | None = None
) -> Exported:
    """Write the logged rows of a model to a new file of JSON lines, from ``since`` until before ``until`` (UTC).

    The fact comes first, then the file: it holds all rows or is not there. Raises SettingInvalid, VersionNotFound.
    """
    told, file = spoken(reason, "an export"), Path(out).absolute()
    if file.suffix != ".jsonl" or file.exists() or not file.parent.is_dir():
        raise _nowhere(file, "a new file in a folder that is there, with a name that ends with .jsonl")
    with opened(settings, create=False) as session:
        folder = session.workspace.predictions
        if not folder.is_dir() or model not in segments.models(folder):
            raise VersionNotFound(
                "no prediction of this model is logged",
                received=ascii(model[:100]),
                next_step="see: fullcircle log",
            )
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            rows, digest = _written(_begun(partial, file), folder, model, since, until)
            session.record(
                "predictions.exported",
                workspace=session.workspace.id,
                model=model,
                rows=rows,
                since=since or None,
                until=until or None,
                digest=digest,
                reason=told,
            )
            try:
                os.link(partial, file)  # unlike a rename it replaces nothing that came meanwhile
            except OSError as error:
                why = f"{error.strerror} when its rows were ready; the ledger has the export, and nothing left"
                raise _nowhere(file, f"a file that nobody else makes meanwhile: {why}") from error
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
    return Exported(model=model, rows=rows, file=str(file), digest=digest, reason=told)


def _begun(partial: Path, file: Path) -> int:
    """Begin the file under another name, and see that it can get its own later: before the fact says that it has."""
    probe = partial.with_name(f"{partial.name}.probe")
    try:
        opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _nowhere(file, f"a folder that can be written to: {error.strerror}") from error
    try:
        os.link(partial, probe)
        probe.unlink()
    except OSError as error:
        os.close(opened)
        raise _nowhere(file, f"a file system with hard links: {error.strerror}") from error
    return opened


def _nowhere(file: Path, allowed: str) -> SettingInvalid:
    return SettingInvalid(
        "the rows cannot be written there", received=str(file), allowed=allowed, next_step="name another file"
    )


def _written(begun: int, folder: Path, model: str, since: str, until: str) -> tuple[int, str]:
    rows, digest = 0, hashlib.sha256()
    with os.fdopen(begun, "wb") as file:
        for row in read(folder, model, since=since, until=until):
            line = msgspec.json.encode(row) + b"\n"
            digest.update(line)
            file.write(line)
            rows += 1
        file.flush()
        os.fsync(file.fileno())
    return rows, digest.hexdigest()
