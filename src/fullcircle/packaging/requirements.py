"""What a project says of its packages: its uv.lock, pyproject.toml or requirements file, read and never run."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from fullcircle.errors import LockFailed
from fullcircle.packaging import requirement_files as files
from fullcircle.packaging.resolving import contradiction, exact
from fullcircle.packaging.versions import allowed, normal
from fullcircle.types.environments import FILES, REQUIREMENT, Wanted
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project

MOST_BYTES = 32_000_000
"""Of one file. A uv.lock of a large project has a few megabytes."""

_NAMED = re.compile(r"([^\[\]]+)(?:\[([A-Za-z0-9._, -]+)\])?")


def wanted(folder: Path, project: Project, progress: Progress | None = None) -> Wanted:
    """What ``project``, whose files are in ``folder``, says of its packages.

    That is what it declares itself (``requirements``: lines, or the name of a file, with groups of a pyproject.toml
    in brackets), else the first of uv.lock, a pyproject.toml with dependencies, and requirements.txt that is there.
    Only files inside the folder are read. Where nothing says anything, versions will be those installed here, which
    ``progress`` is told. Raises LockFailed for a file that cannot be used, naming file and line, and where a package
    that is loaded here, and so trained with, is another version than the project says.
    """
    source, lines = _said(folder, project.requirements)
    for line in lines:
        if not REQUIREMENT.fullmatch(line):
            raise LockFailed(f"a line of {source} cannot be used", received=repr(line), next_step="mend that line")
    _check_loaded(source, lines)
    if not source and progress is not None:
        progress.note(
            f"no package versions are declared (no {FILES[0]}, no {FILES[1]} with dependencies, no {FILES[2]}): "
            "the bundle gets those installed here"
        )
    return Wanted(source=source, lines=tuple(dict.fromkeys(lines)), python=project.python, platform=project.platform)


def _said(folder: Path, declared: object) -> tuple[str, list[str]]:
    """Where it stands, in words, and the lines; ("", []) where nothing is said."""
    if isinstance(declared, str) and declared:
        match = _NAMED.fullmatch(declared)
        name, groups = (match[1], match[2] or "") if match else (declared, "")
        lines = _lines(folder, name, [group.strip() for group in groups.split(",") if group.strip()])
        if lines is None:
            raise LockFailed(
                f"{name} says nothing of packages",
                received="no [project] dependencies",
                allowed=f"{name} with dependencies, or another file: {', '.join(FILES)}",
                next_step="add them, or name another file in the project's requirements",
            )
        return declared, lines
    if isinstance(declared, (list, tuple)) and declared:
        return "the project file", [str(line).strip() for line in declared]
    for name in FILES:
        if os.path.lexists(folder / name) and (found := _lines(folder, name, [])) is not None:
            return name, found
    return "", []


def _lines(folder: Path, name: str, groups: list[str]) -> list[str] | None:
    """The lines of one file; None where it is of a kind that can say nothing, and says nothing."""
    text = read(folder, name)
    kind = Path(name).name
    if groups and not kind.endswith(".toml"):
        raise LockFailed(
            "only a pyproject.toml has groups",
            received=f"{name}[{', '.join(groups)}]",
            allowed="pyproject.toml[train]",
            next_step="mend requirements in the project file",
        )
    if kind == "uv.lock":
        return files.locked(name, text, _installed_version)
    if kind.endswith(".toml"):
        return files.declared(name, text, groups)
    return files.listed(name, lambda other: text if other == name else read(folder, other))


def read(folder: Path, name: str) -> str:
    """The text of a file that is inside ``folder``, wherever links lead. Raises LockFailed."""
    home = os.path.realpath(folder)
    path = os.path.realpath(folder / name)
    if not path.startswith(home.rstrip(os.sep) + os.sep):
        raise LockFailed(
            f"{name} leads out of the project's folder",
            received=path,
            allowed="files in the folder, which a copy of the project has too",
            next_step="copy the file into the project's folder, or name another one",
        )
    try:
        # The real path is opened without following links, so that none can be put in its place meanwhile.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable(name, "it is no plain file")
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error.strerror or str(error)) from error
    if len(content) > MOST_BYTES:
        raise _unreadable(name, f"it is larger than {MOST_BYTES // 10**6} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, f"it is no UTF-8 text: {error.reason} at byte {error.start}") from error


def _unreadable(name: str, why: str) -> LockFailed:
    return LockFailed(
        f"{name}, which says the packages of the project, cannot be read",
        received=why,
        next_step="mend it, or name another file: requirements in the project file",
    )


def _installed_version(name: str) -> str | None:
    found = _distribution(name)
    return found.version if found is not None else None


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _check_loaded(source: str, lines: list[str]) -> None:
    """Refuse before hours of training what locking would refuse after them, as far as it can be told by now."""
    found: list[tuple[str, str, str]] = []
    for line in lines:
        pinned = exact(line)
        here = _distribution(pinned[0]) if pinned is not None else None
        if pinned is None or here is None or allowed(pinned[1], here.version):
            continue
        if _is_loaded(here, sys.modules):
            found.append((pinned[0], here.version, line))
    if found:
        raise contradiction(source, found)


def _is_loaded(found: Distribution, modules: Mapping[str, object]) -> bool:
    tops = {str(path).partition("/")[0].partition(".")[0] for path in found.files or ()}
    tops.add(normal(found.metadata["Name"]).replace("-", "_"))  # one that is edited in place has no files there
    return any(top in modules for top in tops if top.isidentifier())
