"""One account of all workers: each writes what it counted to a file, and whoever is asked adds them up.

The folder holds ``<pid>.json`` for each worker, and ``dead.json``, into which the files of ended workers are added,
so that no count ever goes back. It belongs to one server on one machine. What a worker counted in its last second
before SIGKILL is lost, unless it was shown before: what is shown is written first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.ledger import processes
from fullcircle.server.meter import Meter, Snapshot, merged

EVERY = 1.0  # seconds between two looks at whether something has to be written
LATEST = 15.0  # seconds after which the file is written though nothing was counted: memory and files change too
ABANDONED = 600.0  # seconds without a write after which nobody is there
PATIENCE = 2.0  # seconds to wait for another worker that is adding up
_REMEMBERED = 4096  # ended workers of which is known that they were added
_DEAD, _LOCK = "dead.json", "lock"
_OWN = ("workers", "start", "rss", "files")  # gauges that change by themselves
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class _Worker(msgspec.Struct):
    born: str
    snapshot: Snapshot


class _Dead(msgspec.Struct):
    snapshot: Snapshot
    added: list[str] = []


class Tally:
    """The account that ``meter`` is part of. Without a folder it is all there is.

    ``keep`` writes from a thread of its own until ``stop``. ``snapshot`` may be called by any thread; it reads files.
    ``each`` is given by that thread what this worker counted, every time it looks.
    """

    def __init__(
        self,
        meter: Meter,
        folder: Path | None = None,
        *,
        every: float = EVERY,
        each: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self._meter, self._folder, self._every, self._each = meter, folder, every, each
        self._born = processes.born(os.getpid())
        self._written: object = None
        self._moment = 0.0
        self._failing = ""
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="fullcircle-tally", daemon=True)

    def keep(self) -> None:
        """Begin to write. Files that ended workers left are added up first: their process ids come again."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder):
                self._others(self._folder)
        except (OSError, ServerBusy) as error:
            self._told(str(error))
        self._thread.start()

    def stop(self) -> None:
        """Write a last time, and no more."""
        self._stop.set()
        self._write(self._meter.snapshot(), anyway=True)

    def snapshot(self) -> Snapshot:
        """What all workers counted. Raises ServerBusy where another one does not finish adding up."""
        own = self._meter.snapshot()
        if self._folder is None:
            return merged([own])
        if not self._write(own, anyway=True):
            return merged([own])
        with _locked(self._folder):
            return merged([own, *self._others(self._folder)])

    def _keep(self) -> None:
        if self._folder is not None:
            sweep(self._folder.parent)
        while not self._stop.wait(self._every):
            found = self._meter.snapshot()
            self._write(found)
            self._each(found)

    def _write(self, found: Snapshot, *, anyway: bool = False) -> bool:
        """Write the own file where it changed. False where that is not possible, which is told once."""
        if self._folder is None:
            return False
        state = (
            {key: value for key, value in found.counts.items() if key != "cpu"},
            found.histograms,
            {key: value for key, value in found.gauges.items() if key not in _OWN},
        )
        with self._writing:
            now = time.monotonic()
            if not anyway and state == self._written and now - self._moment < LATEST:
                return True
            try:
                _replace(self._folder / f"{os.getpid()}.json", _Worker(born=self._born, snapshot=found))
            except OSError as error:
                self._told(error.strerror or str(error))
                return False
            self._written, self._moment, self._failing = state, now, ""
            return True

    def _others(self, folder: Path) -> list[Snapshot]:
        """The other workers' files, those of the ended ones added up. The lock is held."""
        dead = self._read(folder / _DEAD, _Dead) or _Dead(Snapshot())
        living, ended = [], []
        for path in sorted(folder.glob("[0-9]*.json")):
            worker = self._read(path, _Worker)
            if worker is None or not path.stem.isdecimal():
                continue
            pid = int(path.stem)
            if processes.born(pid) != worker.born:
                ended.append((path, f"{pid} {worker.born}", worker.snapshot))
            elif pid != os.getpid():
                living.append(worker.snapshot)
        # Added and noted in one step, then removed: whoever is killed in between leaves a file that is known.
        fresh = [one for one in ended if one[1] not in dead.added]
        if fresh:
            dead.snapshot = merged([dead.snapshot, *(one[2] for one in fresh)])
            dead.snapshot.gauges = {}
            dead.added = [*dead.added, *(one[1] for one in fresh)][-_REMEMBERED:]
            _replace(folder / _DEAD, dead)
        for path, _, _ in ended:
            path.unlink(missing_ok=True)
        return [dead.snapshot, *living]

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._told(f"{path.name} is not a file of counts")
            return None

    def _told(self, why: str) -> None:
        if why != self._failing:
            self._failing = why
            _logger.error("the metrics of the workers cannot be added up: %s", why)


def home(metrics: Path, supervisor: int) -> Path:
    """The folder under ``metrics`` of the server whose supervisor has this process id."""
    return metrics / _name(supervisor)


def sweep(metrics: Path) -> None:
    """Remove what servers left that are no more. Nobody shows it again: counters begin anew with each server.

    A server of another container cannot be seen from here, but writes every few seconds.
    """
    for folder in metrics.glob("[0-9]*-*"):
        pid = folder.name.partition("-")[0]
        with suppress(OSError):  # another server removes it at this moment, or it is not ours
            latest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if pid.isdecimal() and folder.name != _name(int(pid)) and time.time() - latest > ABANDONED:
                shutil.rmtree(folder)


def _name(pid: int) -> str:
    return f"{pid}-{processes.born(pid)}".replace("/", "-")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() > deadline:
            raise ServerBusy(
                "another worker has been adding up the metrics for too long", next_step="try again in a second"
            )
        time.sleep(0.005)


def _replace(path: Path, content: object) -> None:
    """Replace the file as a whole: a reader sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.encode(content))
    os.replace(beside, path)
