"""Files of JSON lines: reading past torn lines, writing whole ones, and where and when."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import RequestInvalid, WorkspaceUnusable
from fullcircle.types import clock

_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Lines:
    """The records of one file, how many of its lines were torn in the last reading, and whether it was gone."""

    def __init__(self, path: Path, kind: type[Any]) -> None:
        self.path = path
        self.torn = 0
        self.gone = False
        self._decoder = msgspec.json.Decoder(kind)

    def __iter__(self) -> Iterator[Any]:
        """Read from the start. A file that is gone has no records; a line of blanks is one that was erased."""
        self.torn, self.gone = 0, False
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self.gone = True
            return
        with file:
            for line in file:
                if line.isspace():
                    continue
                try:
                    record = self._decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.torn += 1
                else:
                    yield record
                if not line.endswith(b"\n"):
                    return  # the end of now: what comes behind it meanwhile is the rest of this line


def now() -> str:
    """The present time in UTC as ISO 8601 with microseconds and Z: texts of this form sort by time."""
    return (_EPOCH + timedelta(microseconds=clock.micros())).strftime(TIME)


class Clock:
    """The present time in the form of ``now``, made quickly, and never earlier than the time before."""

    def __init__(self) -> None:
        self._now = clock.source()
        self._micros = 0
        self._second = -1
        self._begin = ""

    def text(self) -> str:
        """The present time."""
        self._micros = max(self._now(), self._micros)
        second, rest = divmod(self._micros, 1_000_000)
        if second != self._second:
            self._second = second
            self._begin = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._begin}{rest:06d}Z"


def moment(text: str) -> str:
    """A time in ISO 8601 (UTC if it has no zone) in the form of ``now``. Raises RequestInvalid."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestInvalid(
            "a time cannot be read",
            received=repr(text[:80]),
            allowed="ISO 8601, such as 2026-11-23T18:00:00Z",
            next_step="write it in this form",
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).strftime(TIME)


def is_model(name: str) -> bool:
    """Whether a model can have this name."""
    return _MODEL.fullmatch(name) is not None


def model_folder(folder: Path, model: str) -> Path:
    """Where a model's files are. Raises RequestInvalid for a name that no project can have."""
    if not is_model(model):
        raise RequestInvalid(
            "a model cannot have this name",
            received=repr(model[:80]),
            allowed="1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit",
            next_step="use the name of a project",
        )
    return folder / model


def write(descriptor: int, data: bytes) -> None:
    """Hand all of ``data`` to the operating system."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def plain(value: Any) -> Any:
    """Numpy scalars, which a user's model may answer with, as plain numbers."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} cannot be logged")


def unwritable(path: Path, error: OSError) -> WorkspaceUnusable:
    """The error for a log that cannot be written."""
    return WorkspaceUnusable(
        f"predictions or outcomes cannot be logged: {error.strerror or error}",
        received=str(path),
        next_step="make the folder writable and see that the disk has room",
    )
