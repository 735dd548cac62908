"""The files in which a project says its packages, read as lines that bound versions. Nothing of them is run."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fullcircle.errors import LockFailed
from fullcircle.packaging.versions import normal
from fullcircle.types.environments import REQUIREMENT

MOST_FILES = 50
"""That one requirements file includes, with those that they include."""

_UV_LOCK = 1  # the newest version of its format that is understood
_COMMENT = re.compile(r"(?:^|\s)#.*")
_HASHES = re.compile(r"\s--hash[= ]\S+")
_INCLUDE = re.compile(r"(?:-[rc]|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(\S.*)")


def locked(file: str, text: str, installed: Callable[[str], str | None]) -> list[str]:
    """The packages of a uv.lock that come from an index, each at its version.

    A package with several versions has one line for each, with the markers that say where it holds. Where there are
    none (the versions belong to extras that exclude each other) it is the one that ``installed`` gives for the name.
    https://docs.astral.sh/uv/concepts/projects/layout/ describes the file; what is in it is uv's own.
    """
    told = _toml(file, text)
    version = told.get("version", _UV_LOCK)
    if not isinstance(version, int) or version > _UV_LOCK:
        raise _unusable(file, f"version = {version!r}", f"version {_UV_LOCK}", "write it with another uv")
    versions: dict[str, dict[str, list[str]]] = {}
    for place, package in enumerate(_sequence(file, "package", told.get("package", []))):
        what = f"package {place + 1}"
        name, number = package.get("name"), package.get("version")
        source = package.get("source", {})
        if not isinstance(name, str) or not isinstance(source, dict):
            raise _unusable(file, what, "a name and a source", "write it again: uv lock")
        if "registry" not in source or number is None:
            continue  # the project itself, its neighbours, what is taken from a repository: locks.lock refuses these
        markers = package.get("resolution-markers", [])
        if not isinstance(number, str) or not isinstance(markers, list):
            raise _unusable(file, f"{what}, {name!r}", "a version, and markers as a list", "write it again: uv lock")
        versions.setdefault(name, {})[number] = [str(marker) for marker in markers]
    return [_fit(file, line, line) for name, found in versions.items() for line in _pins(name, found, installed)]


def declared(file: str, text: str, groups: Sequence[str]) -> list[str] | None:
    """The dependencies of a pyproject.toml, with those of the named extras or dependency groups; None without any.

    Only what the project needs wherever it runs counts by itself: groups may exclude each other.
    https://packaging.python.org/specifications/pyproject-toml/ and .../dependency-groups/ are the format.
    """
    told = _toml(file, text)
    project = _mapping(file, "[project]", told.get("project", {}))
    extras = _mapping(file, "optional-dependencies", project.get("optional-dependencies", {}))
    others = _mapping(file, "[dependency-groups]", told.get("dependency-groups", {}))
    known = {normal(str(name)): lines for name, lines in {**extras, **others}.items()}
    own = normal(str(project.get("name", "")))
    found: list[str] = []
    if "dependencies" in project:
        found += [_line(file, "dependencies", each) for each in _sequence_of(file, "dependencies", project)]
    waiting, seen = [normal(group) for group in groups], set[str]()
    while waiting:
        group = waiting.pop(0)
        if group in seen:
            continue
        seen.add(group)
        if group not in known:
            raise _unusable(file, f"group {group!r}", ", ".join(sorted(known)) or "none there", "name another group")
        for entry in _sequence_of(file, group, {group: known[group]}):
            if isinstance(entry, dict) and set(entry) == {"include-group"}:
                waiting.append(normal(str(entry["include-group"])))
            elif (again := _of_itself(entry, own)) is not None:
                waiting += again
            else:
                found.append(_line(file, group, entry))
    return found if "dependencies" in project or groups else None


def listed(file: str, text_of: Callable[[str], str]) -> list[str]:
    """The lines of a requirements file and of those that it includes with ``-r`` or ``-c``; hashes are dropped.

    ``text_of`` gives the text of a file by its path in the project's folder. What is no package and its versions
    (an option, an address, a path) is refused, naming file and line.
    """
    found: list[str] = []
    waiting, seen = [posixpath.normpath(file)], list[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.append(name)
        if len(seen) > MOST_FILES:
            raise _unusable(file, f"more than {MOST_FILES} files", "fewer files", "put them together")
        for number, line in _logical(text_of(name)):
            include = _INCLUDE.fullmatch(line)
            if include is None:
                found.append(_fit(name, _HASHES.sub("", f"{line} ").strip(), line, number))
            elif "://" in include[1] or include[1].startswith("/"):
                raise _refused(name, line, number)
            else:
                waiting.append(posixpath.normpath(posixpath.join(posixpath.dirname(name), include[1].strip())))
    return found


def _logical(text: str) -> list[tuple[int, str]]:
    """Lines without comments, those that a backslash continues put together, each with the number it begins at."""
    found: list[tuple[int, str]] = []
    begun, parts = 0, list[str]()
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        begun = begun if parts else number
        line = _COMMENT.sub("", raw)
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        whole = "".join([*parts, line]).strip()
        parts = []
        if whole:
            found.append((begun, whole))
    if rest := "".join(parts).strip():
        found.append((begun, rest))
    return found


def _pins(name: str, versions: Mapping[str, Sequence[str]], installed: Callable[[str], str | None]) -> list[str]:
    if len(versions) == 1:
        return [f"{name}=={number}" for number in versions]
    if all(markers and not any("extra" in marker for marker in markers) for markers in versions.values()):
        told = {number: " or ".join(f"({marker})" for marker in markers) for number, markers in versions.items()}
        return [f"{name}=={number} ; {marker}" for number, marker in told.items()]
    here = installed(name)
    return [f"{name}=={here if here in versions else next(iter(versions))}"]


def _of_itself(entry: object, own: str) -> list[str] | None:
    """The extras that an entry such as "mine[train]" of the project "mine" asks for; None of any other entry."""
    match = re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*", entry) if isinstance(entry, str) else None
    if match is None or not own or normal(match[1]) != own:
        return None
    return [normal(each.strip()) for each in match[2].split(",") if each.strip()]


def _line(file: str, where: str, entry: object) -> str:
    if not isinstance(entry, str):
        raise _unusable(file, f"{where}: {entry!r}"[:200], "text", "mend that entry")
    return _fit(file, entry.strip(), f"{where}: {entry}")


def _fit(file: str, line: str, shown: str, number: int = 0) -> str:
    """The line, where it has the form that every one has to have."""
    line = line.replace("\t", " ")
    if not REQUIREMENT.fullmatch(line):
        raise _refused(file, shown, number)
    return line


def _refused(file: str, shown: str, number: int) -> LockFailed:
    return LockFailed(
        f"{file}{f', line {number}' if number else ''} names no package and its versions",
        received=repr(re.sub(r"//[^/@\s]+@", "//***@", shown)[:200]),
        allowed="package names with versions; no option, address, path or editable package",
        next_step="name the package as an index knows it; where packages come from is a setting of uv; "
        "or declare other lines: requirements in the project file",
    )


def _toml(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unusable(file, str(error) or "too deep", "a TOML file", "mend it") from error


def _sequence(file: str, what: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _unusable(file, what, "a list of tables", "mend it")
    return value


def _sequence_of(file: str, what: str, table: Mapping[str, object]) -> list[object]:
    value = table[what]
    if not isinstance(value, list):
        raise _unusable(file, f"{what} = {value!r}"[:200], "a list", "mend it")
    return value


def _mapping(file: str, what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unusable(file, what, "a table", "mend it")
    return value


def _unusable(file: str, received: str, allowed: str, next_step: str) -> LockFailed:
    return LockFailed(f"{file} cannot be used", received=received, allowed=allowed, next_step=next_step)
