"""A clean environment of exactly the distributions that a model was trained with."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fullcircle.errors import LockFailed
from fullcircle.packaging import environments, uv
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.lock import WHEELS, travelling
from fullcircle.types.progress import Progress, Silent

_NONE = re.compile(
    r"no version of|not found in the package registry|no wheels|no matching|unsatisfiable|is yanked", re.IGNORECASE
)
_UNREACHED = re.compile(r"network was disabled|connection to the package index", re.IGNORECASE)


def lock(
    versions: Mapping[str, str], bundle: Bundle, *, offline: bool = False, progress: Progress | None = None
) -> str:
    """Lock these distributions (name to version) and the fullcircle that travels in the bundle, with hashes.

    The hashes are today's: of a training only names and versions are kept. Nothing is added to what is named, wheels
    only. Raises LockFailed with uv's own words.
    """
    (progress or Silent()).note(f"locking the {len(versions)} packages it was trained with")
    (wheel,) = [path for path in travelling(bundle.lock) if "/fullcircle-" in path]
    with tempfile.TemporaryDirectory(prefix="fullcircle-lock-") as name:
        folder = Path(name)
        (folder / WHEELS).mkdir()
        (folder / wheel).write_bytes(bundle.files[wheel])
        lines = [f"./{wheel}", *(f"{each}=={version}" for each, version in versions.items() if each != "fullcircle")]
        (folder / "requirements.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        arguments = ["pip", "compile", "requirements.in", "--output-file", "lock.txt", "--no-deps", "--quiet"]
        arguments += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate"]
        arguments += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", bundle.manifest.python]
        uv.run(arguments, what="locking what it was trained with", folder=folder, offline=offline)
        return (folder / "lock.txt").read_text(encoding="utf-8")


def environment(
    bundle: Bundle, lock: str, folder: Path, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The interpreter of a clean environment under ``folder`` with what ``lock`` names, for the bundle's Python.

    Raises LockFailed.
    """
    python = bundle.manifest.python
    return environments.build(lock, bundle.files, folder, python=python, offline=offline, progress=progress)


def unobtainable(error: LockFailed) -> bool:
    """Whether a lock failed because a package of this version is nowhere to be had, and not for want of a network."""
    return _NONE.search(error.what) is not None and _UNREACHED.search(error.next_step or "") is None
