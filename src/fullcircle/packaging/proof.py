"""The proof: a clean environment made from a bundle's own lock answers its golden rows with the same bits."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fullcircle.errors import LockFailed, ProofFailed
from fullcircle.packaging import bundle as bundles
from fullcircle.packaging import uv
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.lock import pins, travelling
from fullcircle.packaging.prove import Testimony
from fullcircle.types.bundle import Proof
from fullcircle.types.progress import Progress, Silent

# Sums split over threads round differently, so the child splits them as the parent does.
KEPT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_CBWR",
    "TMPDIR",
    "TZ",
)
_SECONDS = 600
_LAST_LINES = 12


def environment(bundle: Bundle, folder: Path, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The interpreter of a clean environment holding exactly what the bundle's lock names.

    It is made once for each lock under ``folder`` and used again. Files are copied, not linked, from uv's cache:
    an edit in somebody else's environment cannot reach it. Any number of processes may ask at once; one builds,
    beside the final place, and renames, so that an interrupted one leaves nothing that could be mistaken for an
    environment. Raises LockFailed with uv's own words.
    """
    progress = progress or Silent()
    home = folder.absolute() / key(bundle)
    python = home / "bin" / "python"
    if python.exists():
        progress.note("the environment is there already")
        return python
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{home.name}.lock", progress):
            _sweep(folder, home)
            if not python.exists():
                _create(bundle, home, offline, progress)
    except OSError as error:
        raise LockFailed(
            f"the environment could not be written: {error.strerror or error}",
            received=error.filename,
            next_step="make room, or make the folder writable",
        ) from error
    return python


def key(bundle: Bundle) -> str:
    """The folder name of a bundle's environment: bundles of the same lock share one."""
    return f"{hashlib.sha256(bundle.files[bundles.LOCK]).hexdigest()[:32]}-py{bundle.manifest.python}"


def prove(bundle: Bundle, python: Path) -> Proof:
    """Have the interpreter ``python`` answer the golden rows, cut off from this process's packages and variables.

    Raises ProofFailed where an answer has other bits, a package has another version, a file of one was altered,
    or anything of the parent's packages plays a part.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fullcircle-proof-") as name:
        path = Path(name) / "bundle.zip"
        path.write_bytes(bundles.pack(bundle))
        testimony = _ask(python, path)
    if testimony.problems:
        raise ProofFailed(
            f"{bundle.manifest.model}: the environment does not prove anything",
            received="\n    ".join(testimony.problems),
            allowed="exactly the packages of the lock, unaltered, and nothing else",
            next_step=f"delete {python.parent.parent} and try again",
        )
    if not testimony.same_bits or testimony.rows != len(bundle.golden):
        raise _differs(bundle, testimony)
    return Proof(
        bundle=bundle.digest,
        python=testimony.python,
        platform=testimony.platform,
        packages=testimony.packages,
        golden_rows=testimony.rows,
        largest_difference=0.0,
        same_bits=True,
        environment=key(bundle),
        seconds=time.perf_counter() - began,
    )


def _ask(python: Path, bundle: Path) -> Testimony:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    try:
        done = subprocess.run(
            [python, "-I", "-m", "fullcircle.packaging.prove", bundle, *_ours()],
            cwd=bundle.parent,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **kept},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _silent(f"no answer within {_SECONDS} seconds", b"") from error
    except OSError as error:
        raise _silent(f"it could not be started: {error.strerror}", b"") from error
    try:
        return msgspec.json.decode(done.stdout, type=Testimony)
    except msgspec.DecodeError as error:
        raise _silent(f"it ended with exit code {done.returncode}", done.stderr) from error


def _ours() -> list[Path]:
    """The folders this process takes its packages from: none of them may be seen by the child."""
    source = Path(__file__).resolve().parents[2]
    folders = {*site.getsitepackages(), site.getusersitepackages(), str(source)}
    return sorted(Path(folder) for folder in folders)


def _differs(bundle: Bundle, testimony: Testimony) -> ProofFailed:
    largest = testimony.largest_difference
    by = "in more than a number" if largest is None else f"by at most {largest:g}"
    return ProofFailed(
        f"{bundle.manifest.model}: in its own environment the bundle answers differently, {by}",
        received="\n    ".join(testimony.differences) or f"{testimony.rows} answers",
        allowed=f"the recorded answers to {len(bundle.golden)} golden rows, bit by bit",
        next_step="package again on the machine, Python and library versions it is meant for",
    )


def _silent(what: str, output: bytes) -> ProofFailed:
    last = output.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
    return ProofFailed(
        f"the environment's interpreter gave no testimony: {what}",
        received="\n    ".join(last) or None,
        next_step="delete the environment's folder and try again",
    )


def _create(bundle: Bundle, home: Path, offline: bool, progress: Progress) -> None:
    count = len(pins(bundle.lock))
    progress.note(f"building a clean environment of {count} packages for Python {bundle.manifest.python}")
    draft = Path(tempfile.mkdtemp(prefix=f"{home.name}.", suffix=".part", dir=home.parent))
    try:
        place, parts = draft / "environment", draft / "parts"
        _unpack(bundle, parts)
        progress.advance(1, 3)
        made: list[str | Path] = [
            "venv",
            place,
            "--relocatable",
            "--no-project",
            "--quiet",
            "--python",
            _wanted(bundle),
        ]
        uv.run(made, what=f"making an environment for Python {bundle.manifest.python}", folder=parts, offline=offline)
        progress.advance(2, 3)
        sync: list[str | Path] = [
            "pip",
            "sync",
            bundles.LOCK,
            "--python",
            place / "bin" / "python",
            "--require-hashes",
            "--quiet",
        ]
        sync += ["--only-binary", ":all:", "--link-mode", "copy", "--strict"]
        uv.run(sync, what="installing the locked packages", folder=parts, offline=offline)
        progress.advance(3, 3)
        place.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _wanted(bundle: Bundle) -> str:
    """The running interpreter where it is of the bundle's version, else the version, for uv to find one."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sys.executable if running == bundle.manifest.python else bundle.manifest.python


def _unpack(bundle: Bundle, folder: Path) -> None:
    """The lock and the wheels that travel along, as files. Their names passed the audit."""
    for name in (bundles.LOCK, *travelling(bundle.lock)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bundle.files[name])


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
