"""A clean environment of exactly what a lock names: made once, never half, and sharing no file with any other."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fullcircle.errors import LockFailed
from fullcircle.packaging import uv
from fullcircle.packaging.lock import LOCK, pins, running, travelling
from fullcircle.types.progress import Progress, Silent


def build(
    lock: str,
    wheels: Mapping[str, bytes],
    folder: Path,
    *,
    python: str,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The interpreter of a clean environment holding exactly what ``lock`` names, under ``folder``.

    ``wheels`` has at least those that travel with the lock, by the paths it names them with; ``python`` is the
    version ("3.12"), which uv has to find on this machine. It is made once for each lock and Python and used again.
    Files are copied, not linked, from uv's cache: an edit in somebody else's environment cannot reach it. Any number
    of processes may ask at once; one builds, beside the final place, and renames, so that an interrupted one leaves
    nothing that could be mistaken for an environment. Raises LockFailed with uv's own words.
    """
    progress = progress or Silent()
    home = folder.absolute() / key(lock, python)
    interpreter = home / "bin" / "python"
    if interpreter.exists():
        progress.note("the environment is there already")
        return interpreter
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{home.name}.lock", progress):
            _sweep(folder, home)
            if not interpreter.exists():
                _create(lock, wheels, home, python, offline, progress)
    except OSError as error:
        raise LockFailed(
            f"the environment could not be written: {error.strerror or error}",
            received=error.filename,
            next_step="make room, or make the folder writable",
        ) from error
    return interpreter


def key(lock: str, python: str) -> str:
    """The folder name of an environment: the same lock for the same Python is the same environment."""
    return f"{hashlib.sha256(lock.encode()).hexdigest()[:32]}-py{python}"


def _create(
    lock: str, wheels: Mapping[str, bytes], home: Path, python: str, offline: bool, progress: Progress
) -> None:
    progress.note(f"building a clean environment of {len(pins(lock))} packages for Python {python}")
    draft = Path(tempfile.mkdtemp(prefix=f"{home.name}.", suffix=".part", dir=home.parent))
    try:
        place, parts = draft / "environment", draft / "parts"
        _unpack(lock, wheels, parts)
        progress.advance(1, 3)
        made: list[str | Path] = ["venv", place, "--relocatable", "--no-project", "--quiet"]
        made += ["--python", sys.executable if python == running() else python]
        uv.run(made, what=f"making an environment for Python {python}", folder=parts, offline=offline)
        progress.advance(2, 3)
        sync: list[str | Path] = ["pip", "sync", LOCK, "--python", place / "bin" / "python", "--require-hashes"]
        sync += ["--quiet", "--only-binary", ":all:", "--link-mode", "copy", "--strict"]
        uv.run(sync, what="installing the locked packages", folder=parts, offline=offline, exact=True)
        progress.advance(3, 3)
        place.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(lock: str, wheels: Mapping[str, bytes], folder: Path) -> None:
    """The lock and the wheels that travel along, as files: their names are as strict as the lock is read."""
    for name, content in ((LOCK, lock.encode()), *((name, wheels[name]) for name in travelling(lock))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _sweep(folder: Path, home: Path) -> None:
    """Remove what a creator that was killed left behind. Only called while no other can be at work."""
    for left in folder.glob(f"{home.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    if home.exists() and not (home / "bin" / "python").exists():
        shutil.rmtree(home)  # its interpreter was uninstalled


@contextmanager
def _alone(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the file lock ``path``. The system lets go of it when the process ends, however it ends."""
    with open(path, "w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note("another process is building this environment: waiting for it")
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
