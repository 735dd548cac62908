"""Room for the prediction log: its bound, what is free on the disk, and how many rows were lost for want of it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from fullcircle.errors import WorkspaceUnusable
from fullcircle.tables.lines import Lines, is_model, model_folder, write

LOST = "lost.jsonl"
REQUESTS = "_requests"  # beside the models' folders: what became of requests (no model can have this name)
LEAST_FREE = 64 << 20  # bytes of the disk that the log leaves to others
_EVERY = 1.0  # seconds between two looks
_PER_FILE = 0.0005  # seconds more between them for each file: looking at one takes some 2 microseconds
_BYTES = 8 << 20  # or after so many bytes


class Room:
    """How much more may be written to the folder, over all models and all processes.

    Looked at once a second, or after 8 MB: several processes may pass the bound by what they write in between.
    Where it takes long, because there are many thousands of files, it is done less often.
    """

    def __init__(self, folder: Path, most_bytes: int | None) -> None:
        self._folder = folder
        self._most = most_bytes
        self._next = 0.0
        self._left = 0
        self._since = 0
        self.used = 0
        self.free = 0

    def has(self, size: int) -> bool:
        """Whether ``size`` more bytes fit; then they count as written. Raises OSError where the disk says nothing."""
        if time.monotonic() >= self._next or self._since >= _BYTES:
            self._look()
        if size > self._left:
            return False
        self._left -= size
        self._since += size
        return True

    def refused(self) -> WorkspaceUnusable:
        """The error for a log that has no room."""
        if self.free < LEAST_FREE:
            return WorkspaceUnusable(
                "the prediction log is not written, because the disk is nearly full",
                received=f"{self.free / 1e6:.0f} MB free at {self._folder}",
                allowed=f"{LEAST_FREE / 1e6:.0f} MB stay free",
                next_step="make room on the disk",
            )
        return WorkspaceUnusable(
            "the prediction log has reached its bound",
            received=f"{self.used / 1e6:.1f} MB in {self._folder}",
            allowed=f"{(self._most or 0) / 1e6:.1f} MB (the setting log_bytes)",
            next_step="compact it (fullcircle log --settle), raise log_bytes, or set log_full to count",
        )

    def _look(self) -> None:
        self._since = files = 0
        found = os.statvfs(self._folder)
        self.free = found.f_bavail * found.f_frsize
        self._left = self.free - LEAST_FREE
        if self._most is not None:
            self.used, files = _measured(self._folder)
            self._left = min(self._left, self._most - self.used)
        self._next = time.monotonic() + max(_EVERY, _PER_FILE * files)


def folder_bytes(folder: Path) -> int:
    """The bytes of all files of the log."""
    return _measured(folder)[0]


def _measured(folder: Path) -> tuple[int, int]:
    """The bytes of all files of the log, and how many these are."""
    total = files = 0
    for home in os.scandir(folder):
        if not ((is_model(home.name) or home.name == REQUESTS) and home.is_dir()):
            continue
        sizes = file_sizes(home)
        total, files = total + sum(sizes), files + len(sizes)
    return total, files


def file_sizes(home: os.PathLike[str]) -> list[int]:
    """The bytes of each file of a model."""
    sizes = []
    for file in os.scandir(home):
        with suppress(FileNotFoundError):  # compacted at this moment
            sizes.append(file.stat().st_size)
    return sizes


class Loss(msgspec.Struct, frozen=True):
    """One line of ``lost.jsonl``: how many rows were answered and not logged between two times."""

    since: str
    until: str
    rows: int


class Losses:
    """Counts the rows that were answered and not logged, and writes the counts down where there is room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._pending: dict[str, Loss] = {}
        self.total: dict[str, int] = {}

    def add(self, model: str, rows: int, moment: str) -> None:
        """Rows of a model were lost."""
        with self._lock:
            known = self._pending.get(model)
            since, before = (known.since, known.rows) if known else (moment, 0)
            self._pending[model] = Loss(since, moment, before + rows)
            self.total[model] = self.total.get(model, 0) + rows

    def tell(self) -> None:
        """Write one line for each model that lost rows since the last time. What cannot be written stays pending."""
        with self._lock:
            for model, loss in list(self._pending.items()):
                path = model_folder(self._folder, model) / LOST
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
                    try:
                        write(handle, msgspec.json.encode(loss) + b"\n")
                    finally:
                        os.close(handle)
                except OSError:
                    continue
                del self._pending[model]


def read_lost(folder: Path, model: str) -> int:
    """How many rows of a model were answered and not logged, as far as it was written down."""
    return sum(loss.rows for loss in Lines(model_folder(folder, model) / LOST, Loss))
