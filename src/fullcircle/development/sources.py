"""The source of a project: which files are its own, and what they amount to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fullcircle.errors import ProjectInvalid

MOST_FILES = 200
MOST_BYTES = 5_000_000
MOST_FOLDERS = 5_000
_NOT_OURS = frozenset({"tests", "test", "__pycache__", "venv", "env", "node_modules", "site-packages"})


def collect(folder: Path) -> dict[str, bytes]:
    """Read the project's own Python files: path relative to ``folder`` (with ``/``) to content, sorted.

    All ``*.py`` under the folder count, except in hidden folders, tests, environments and workspaces. Raises
    ProjectInvalid where that is more than a project would have, or a file cannot be read.
    """
    found: dict[str, bytes] = {}
    size = 0
    for path in _walk(folder):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ProjectInvalid(
                f"a file of the project cannot be read: {error.strerror}",
                received=path,
                next_step="mend its permissions, or move it out of the project's folder",
            ) from error
        size += len(content)
        found[path.relative_to(folder).as_posix()] = content
        if len(found) > MOST_FILES or size > MOST_BYTES:
            raise _too_much(folder, f"more than {len(found) - 1} files or {MOST_BYTES // 10**6} MB of Python")
    return dict(sorted(found.items()))


def digest(source: Mapping[str, bytes]) -> str:
    """SHA-256 over the paths and contents, whatever the order they are given in."""
    total = hashlib.sha256()
    for path, content in sorted(source.items()):
        name = path.encode()
        # Lengths go first, so that no two different sets of files read the same.
        total.update(len(name).to_bytes(8, "big") + name + len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    for visited, (place, folders, files) in enumerate(os.walk(folder)):
        if visited >= MOST_FOLDERS:
            raise _too_much(folder, f"more than {MOST_FOLDERS} folders")
        here = Path(place)
        folders[:] = sorted(name for name in folders if not is_foreign(here / name))
        yield from (here / name for name in sorted(files) if name.endswith(".py") and not name.startswith("."))


def is_foreign(folder: Path) -> bool:
    """Whether a folder inside a project's is none of its source: hidden, tests, an environment, or a workspace."""
    named = folder.name.startswith(".") or folder.name in _NOT_OURS
    # Runs and bundles lay Python files out in a workspace: they must not make another version of the project.
    return named or any((folder / mark).exists() for mark in ("pyvenv.cfg", "workspace.json"))


def _too_much(folder: Path, received: str) -> ProjectInvalid:
    return ProjectInvalid(
        "the project's folder holds more than one project's source",
        received=f"{received} in {folder}",
        allowed=f"{MOST_FILES} Python files, {MOST_BYTES // 10**6} MB",
        next_step="give the project a folder of its own",
    )
