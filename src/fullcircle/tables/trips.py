"""The files of breakers that opened: who opens one tells all other processes, and those that come later.

They lie in the folder ``splits`` beside ``served.json``, one for a split, by its id.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

FOLDER = "splits"


class Trip(msgspec.Struct, frozen=True):
    """Why the breaker of a version opened: after how many requests of one process, of which so many went wrong."""

    split: str
    version: int
    reason: str
    requests: int = 0
    bad: int = 0


def path_of(folder: Path, split: str) -> Path:
    """The file of a split, there or not. ``folder`` is the one of the files."""
    return folder / f"{split}.json"


def write(folder: Path, trip: Trip) -> None:
    """Write the file, whole or not at all; where somebody was faster, theirs stays. Raises OSError."""
    path = path_of(folder, trip.split)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    folder.mkdir(exist_ok=True)
    try:
        beside.write_bytes(msgspec.json.encode(trip))
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(folder: Path, split: str) -> Trip | None:
    """What the file of a split says; None where no process opened its breaker. Raises OSError."""
    try:
        return msgspec.json.decode(path_of(folder, split).read_bytes(), type=Trip)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        return Trip(split, 0, "its breaker opened, and the file that says why cannot be read")
