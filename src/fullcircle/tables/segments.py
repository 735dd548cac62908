"""Segments: the files of the prediction log. One process writes one, and holds a lock on it for as long as it does.

``<model>/<segment>.jsonl`` while rows are added and until it is compacted, then ``<segment>.parquet`` with the places
of its rows in ``<segment>.ids``. Where both forms are there, the JSON lines count: they go last. A file that nobody
holds a lock on is closed, also after the death of its process. Locks of ``flock`` need a disk of this machine.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fullcircle.errors import WorkspaceBusy
from fullcircle.tables.lines import is_model, model_folder, write

LINES, COMPACTED, INDEX, NEW, OPENING = ".jsonl", ".parquet", ".ids", ".new", ".opening"
ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})")
LOCK = "settle.lock"
STALE = 60.0  # seconds: beginning a segment takes microseconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME = "[0-9a-f]" * 16
_BEGINNING = b'{"id":"'  # how every row of a log begins that holds a lock; earlier ones began with the value


class Segment:
    """An open segment. ``size`` is where the next row begins, ``dirty`` whether rows wait for the disk.

    ``sound`` is False once a sync failed, or what a failed write left could not be cut off: whatever the disk did,
    nothing more is entrusted to this file.
    """

    def __init__(self, folder: Path, model: str) -> None:
        """Begin a new file. It is locked before anybody can see it. Raises OSError."""
        self.model = model
        self.name = secrets.token_hex(8)
        home = model_folder(folder, model)
        self.path = home / f"{self.name}{LINES}"
        home.mkdir(parents=True, exist_ok=True)
        hidden = home / f".{self.name}{OPENING}"
        self.descriptor = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(hidden, self.path)
        except OSError:
            os.close(self.descriptor)
            hidden.unlink(missing_ok=True)
            raise
        # A log that nobody closed must not hold its file, and the segment open, for as long as the process lives.
        self._last = weakref.finalize(self, os.close, self.descriptor)
        self._last.atexit = False
        self.size = 0
        self.begun = time.monotonic()
        self.dirty = False
        self.sound = True
        self._named = False
        self.head = _BEGINNING + self.name.encode() + b"-"

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self.begun

    def add(self, data: bytes, *, sync: bool) -> None:
        """Write whole rows, or none: what a failed write left is cut off again. Raises OSError."""
        try:
            write(self.descriptor, data)
            if sync:
                self.sound = False
                self.sync(self.descriptor)
                self.sound = True
        except BaseException:  # also an interruption: the next row's id is where the file ends
            try:
                os.ftruncate(self.descriptor, self.size)
            except OSError:
                self.sound = False  # the rest is a torn line, or rows that were never answered
            raise
        self.size += len(data)
        self.dirty = not sync

    def sync(self, descriptor: int) -> None:
        """Wait until all rows are on the disk, and the names of file and folder with the first. Raises OSError.

        ``descriptor`` is this file's or a copy of it, so that the file may be closed meanwhile.
        """
        os.fdatasync(descriptor)
        if not self._named:
            sync_folder(self.path.parent)
            sync_folder(self.path.parent.parent)
            self._named = True

    def release(self) -> None:
        """Close the file, and nothing else."""
        self._last.detach()
        os.close(self.descriptor)

    def close(self) -> None:
        """Let go of the file. One without rows is taken away."""
        if self.size == 0:
            with suppress(OSError):
                if os.fstat(self.descriptor).st_size == 0:
                    self.path.unlink(missing_ok=True)
        self.release()


def names(home: Path) -> list[str]:
    """The segments of a model in any form, by name."""
    found = {path.name.partition(".")[0] for form in (LINES, COMPACTED) for path in home.glob(_NAME + form)}
    return sorted(found)


def models(folder: Path) -> list[str]:
    """The models that have a folder in the log. Others, such as a disk's ``lost+found``, are not the log's."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if is_model(path.name) and path.is_dir())


def closed(path: Path, *, old: bool = False) -> bool:
    """Whether nobody can add to this file of JSON lines any more.

    Servers of before these locks held none: what they wrote counts as open, but with ``old``.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            begin = file.read(len(_BEGINNING))
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return old or begin in (_BEGINNING, b"")


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def settling(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Only one process at a time closes, compacts, erases or audits segments; nothing that is answered waits for it.

    Raises WorkspaceBusy after ``patience`` seconds.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _took(handle):
            if time.monotonic() >= deadline:
                raise WorkspaceBusy(
                    "another process is at work on the segments of the prediction log",
                    received=str(folder),
                    next_step="try again when it is done",
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _took(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(home: Path) -> None:
    """Take away what a process left that died while it began a segment."""
    for path in home.glob(f".{_NAME}{OPENING}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE and closed(path, old=True):
                path.unlink()


def in_index(path: Path, offset: int) -> bool:
    """Whether a row that begins at ``offset`` is in a compacted segment and was not erased. Raises FileNotFoundError.

    The index is the offsets in order, eight bytes each, little-endian: a search reads some twenty of them.
    """
    with path.open("rb", buffering=0) as file:
        low, high = 0, os.fstat(file.fileno()).st_size // 8
        while low < high:
            middle = (low + high) // 2
            found = int.from_bytes(os.pread(file.fileno(), 8, 8 * middle), "little")
            if found == offset:
                return True
            low, high = (middle + 1, high) if found < offset else (low, middle)
    return False


def offsets_of(ids: Iterable[str], name: str) -> list[int]:
    """Where the rows of these ids begin in the segment; ids of another form are not found by their place."""
    found = map(ID.fullmatch, ids)
    return [int(match[2]) for match in found if match and match[1] == name]


def index_of(offsets: Sequence[int]) -> bytes:
    """The content of an index."""
    return b"".join(offset.to_bytes(8, "little") for offset in sorted(offsets))
