"""What a project may say of the environment that its bundle runs in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fullcircle.errors import ProjectInvalid

FILES = ("uv.lock", "pyproject.toml", "requirements.txt")
"""Where a project says its packages, the most exact first."""

_CLAUSE = r"(?:===?|~=|!=|<=?|>=?) *[A-Za-z0-9][A-Za-z0-9._*+!-]*"
REQUIREMENT = re.compile(
    rf"[A-Za-z0-9][A-Za-z0-9._-]* *(?:\[[A-Za-z0-9._, -]*\])? *(?:{_CLAUSE}(?: *, *{_CLAUSE})*)? *"
    r"(?:;[A-Za-z0-9_.,'\"<>=!~()*+ -]*)?"
)
"""One line that names a package and its versions: no address, no path, no option, no second line."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a project says of its packages, read when its model was trained.

    ``source`` says where that stands in words ("uv.lock"), "" where the project says nothing and versions are those
    installed. ``lines`` are requirements that bound versions, in the form of ``REQUIREMENT``: they add no package by
    themselves. ``python`` and ``platform`` are those of the machine it will run on, "" for this one's.
    """

    source: str = ""
    lines: tuple[str, ...] = ()
    python: str = ""
    platform: str = ""


_PYTHON = re.compile(r"3\.[0-9]{1,3}")
_PLATFORM = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def check(requirements: object, python: object, platform: object, allow_pickle: object) -> None:
    """Refuse what no environment can be made of. Raises ProjectInvalid."""
    lines: Sequence[object] = ()
    if isinstance(requirements, str):
        if not requirements.isprintable() or requirements.startswith("/") or ".." in requirements.split("/"):
            raise _wrong("requirements names no file beside the project", requirements, ", ".join(FILES))
    elif isinstance(requirements, Sequence):
        lines = requirements
    else:
        raise _wrong("requirements is neither a file nor a list", requirements, 'a file name, or ["lightgbm>=4"]')
    for line in lines:
        if not isinstance(line, str) or not REQUIREMENT.fullmatch(line.strip()):
            raise _wrong("a requirement names no package", line, 'a package and versions, such as "lightgbm>=4"')
    if not isinstance(python, str) or (python and not _PYTHON.fullmatch(python)):
        raise _wrong("python is no version of Python", python, 'such as "3.12"')
    if not isinstance(platform, str) or (platform and not _PLATFORM.fullmatch(platform)):
        raise _wrong("platform is no platform", platform, 'a name that uv knows, such as "x86_64-manylinux_2_28"')
    if not isinstance(allow_pickle, bool):
        raise _wrong("allow_pickle is neither True nor False", allow_pickle, "True or False")


def _wrong(what: str, received: object, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(what, received=repr(received), allowed=allowed, next_step="mend it in the project file")
