"""Whether the running interpreter is the clean environment that a lock describes, and nothing else plays a part."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import sysconfig
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from fullcircle.packaging.versions import normal, same

# Written into every environment by uv itself.
_OF_THE_ENVIRONMENT = {"_virtualenv.py", "_virtualenv.pth"}
_FOREIGN = {"site-packages", "dist-packages"}


def installed() -> dict[str, str]:
    """Normalised name to version of every package this interpreter sees, sorted."""
    told = (each.metadata for each in distributions())
    return dict(sorted((normal(one["Name"]), one["Version"]) for one in told))


def loaded_files() -> list[str]:
    """The files that the modules loaded so far came from."""
    origins = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({origin for origin in origins if origin})


def strangers(paths: Iterable[str], forbidden: Sequence[Path] = (), allowed: Sequence[Path] = ()) -> list[str]:
    """Those ``paths`` that are neither in this environment nor in Python's own library, in words.

    ``forbidden`` folders are strangers themselves, wherever they are; what is in the ``allowed`` ones is not.
    """
    library = [os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    home = [os.path.realpath(folder) for folder in (sys.prefix, *map(str, allowed))]
    banned = {os.path.realpath(folder) for folder in forbidden}
    found = []
    for path in paths:
        real = os.path.realpath(path)
        ours = any(_within(real, folder) for folder in home) or any(_of_python(real, folder) for folder in library)
        if not ours or real in banned:
            found.append(f"{path} plays a part and does not belong to the environment")
    return found


def misfits(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Where what is installed is not exactly what the lock says."""
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        wanted, has = expected.get(name), found.get(name)
        if wanted is None:
            problems.append(f"{name} {has} is installed and not in the lock")
        elif has is None:
            problems.append(f"{name} {wanted} is in the lock and not installed")
        elif not same(wanted, has):
            problems.append(f"{name} {has} is installed, the lock says {wanted}")
    return problems


def tampered(site_packages: Path) -> list[str]:
    """Files that differ from what their package's RECORD says they were, and what no package brought."""
    problems: list[str] = []
    known = set(_OF_THE_ENVIRONMENT)
    for distribution in distributions(path=[str(site_packages)]):
        known |= {os.path.normpath(file) for file, _ in _record(distribution)}
        problems += _altered(distribution)
    unknown = sorted(_added(site_packages, known))
    return [*problems, *(f"{name} was added to the environment by nobody in the lock" for name in unknown)]


def _added(site_packages: Path, known: set[str]) -> Iterable[str]:
    """What nobody brought: files, and folders with none that somebody did. One beside a module may be imported first.

    Byte code in its own folder comes and goes.
    """
    folders = {parent for file in known for parent in _parents(file)}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        for entry in os.scandir(site_packages / inside):
            name = os.path.join(inside, entry.name)
            if name in known or entry.name == "__pycache__":
                continue
            if name in folders and entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            else:
                yield name


def _parents(file: str) -> Iterable[str]:
    while file := os.path.dirname(file):
        yield file


def _altered(distribution: Distribution) -> Iterable[str]:
    for file, (mode, separator, value) in _record(distribution):
        if not separator:
            continue  # RECORD itself
        try:
            with open(str(distribution.locate_file(file)), "rb") as opened:
                digest = hashlib.file_digest(opened, mode).digest()
        except FileNotFoundError:
            yield f"{file} of {distribution.metadata['Name']} is missing"
            continue
        if urlsafe_b64encode(digest).rstrip(b"=").decode("ascii") != value:
            yield f"{file} of {distribution.metadata['Name']} was altered after it was installed"


def _record(distribution: Distribution) -> list[tuple[str, tuple[str, str, str]]]:
    """The files that a package brought, each with its hash as (algorithm, "=", value).

    Read from RECORD itself: from Python 3.12 on ``distribution.files`` leaves out what is missing.
    """
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    return [(row[0], row[1].partition("=")) for row in rows if len(row) == 3]


def _of_python(path: str, library: str) -> bool:
    """Whether a path is part of Python's library: the folder itself, or the zip that may stand beside it."""
    if path == f"{library.replace('python3.', 'python3')}.zip":
        return True
    return _within(path, library) and not _FOREIGN & set(Path(path).relative_to(library).parts)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
