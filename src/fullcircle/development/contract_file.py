"""The contract file beside a project: what a person decides about its inputs, read, checked and put into the project.

``contract.toml`` beside ``project.py``, ``bike.contract.toml`` beside ``bike.py``. What a person says stands in
``[rows]``, ``[label]`` and ``[columns.NAME]``; the tables called ``learned`` are written by training and never read.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fullcircle.errors import ProjectInvalid
from fullcircle.types import overrides
from fullcircle.types.project import Inputs, Project

LEARNED = "learned"
MOST_BYTES = 5_000_000
_ROWS = (*overrides.POLICY_KEYS, "unknown", "failed")
_LABEL = ("name", "unit")
_TABLES = ("rows", "label", "columns")


@dataclass(frozen=True)
class Said:
    """What a person says in one contract file. Lifted limits are None, times are text or seconds since 1970."""

    file: str
    rows: Mapping[str, str] = field(default_factory=dict)
    label: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, bytes]:
        """The file as part of the project's source: what a person says, in one form; nothing where that is nothing.

        So training, which writes the learned tables, never makes another version of the project.
        """
        text = canonical(self)
        return {self.file: text.encode()} if text else {}


def path_of(folder: Path, project_file: str) -> Path:
    """Where the contract file of a project file is."""
    stem = project_file.removesuffix(".py")
    return folder / ("contract.toml" if stem == "project" else f"{stem}.contract.toml")


def read(path: Path) -> Said:
    """What the file says; nothing where there is none. Raises ProjectInvalid, which names the line or the key."""
    content = _content(path)
    return Said(path.name) if content is None else read_text(path.name, content)


def read_text(file: str, content: bytes) -> Said:
    """What the content of a contract file says. Raises as ``read`` does."""
    try:
        found = tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        raise _invalid(file, f"is not valid TOML: {error}", "mend the line") from error
    except UnicodeDecodeError as error:
        raise _invalid(file, "is not UTF-8", "save it as UTF-8") from error
    except RecursionError as error:
        raise _invalid(file, "is nested too deep", "see docs/contract.md") from error
    return _said(file, found)


def applied(project: Project, said: Said) -> Project:
    """The project with what its contract file says.

    Raises ProjectInvalid where both say something else of one thing, and for a column that is no feature.
    """
    if not (said.rows or said.label or any(said.columns.values())):
        return project
    for column, given in said.columns.items():
        if given and column not in project.features:
            raise _invalid(
                said.file,
                f"says something of the column {column!r}, which is not a feature of the project",
                f"take [{table_name(column)}] out, or put the column back into features",
                allowed=", ".join(project.features),
            )
    return replace(project, inputs=_merged(project.inputs, said))


def canonical(said: Said) -> str:
    """What a person says as TOML in one fixed form, "" where that is nothing: equal content gives equal text."""
    tables = [("rows", said.rows, _ROWS), ("label", said.label, _LABEL)]
    tables += [(table_name(name), given, overrides.KEYS) for name, given in sorted(said.columns.items())]
    return "\n".join(table(name, given, keys) for name, given, keys in tables if given)


def table(name: str, given: Mapping[str, Any], keys: Sequence[str]) -> str:
    """One table of TOML with the keys that are given, in the order of ``keys``."""
    lines = [f"{key} = {value(given[key], key)}\n" for key in keys if key in given]
    return f"[{name}]\n" + "".join(lines)


def value(said: Any, key: str = "") -> str:
    """A value as TOML. None is a lifted limit; whole floats keep their point, so that each number has one form."""
    if said is None:
        return "-inf" if key == "low" else "inf"
    if isinstance(said, bool):
        return "true" if said else "false"
    if isinstance(said, int | float):
        return repr(said)
    if isinstance(said, str):
        said = said.encode(errors="replace").decode()  # a frame may hold text that no file can
        return json.dumps(said, ensure_ascii=False).replace("\x7f", "\\u007f")
    return _list([value(one) for one in said])


def _list(parts: list[str]) -> str:
    """A list on one line where it is short, else one line for each: then a diff shows the one that came or went."""
    short = f"[{', '.join(parts)}]"
    return short if len(short) <= 80 else "[\n" + "".join(f"  {part},\n" for part in parts) + "]"


def table_name(column: str) -> str:
    """The name of a column's table."""
    return f"columns.{key_of(column)}"


def key_of(name: str) -> str:
    """A name as a key of TOML, quoted where it has to be."""
    bare = name.isascii() and name != "" and all(letter.isalnum() or letter in "_-" for letter in name)
    return name if bare else value(name)


def _content(path: Path) -> bytes | None:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _invalid(path.name, f"is larger than {MOST_BYTES // 10**6} MB", "shorten its lists")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path.name, f"cannot be read: {error.strerror}", "mend its permissions") from error


def _said(file: str, found: Mapping[str, Any]) -> Said:
    _only(file, "", found, _TABLES)
    rows, label, columns = [_mapping(file, f"[{name}]", found.get(name, {})) for name in _TABLES]
    _only(file, "[rows]", rows, _ROWS)
    for key, given in rows.items():
        _check(file, "[rows]", key, given, _policy(key, given))
    _only(file, "[label]", label, (*_LABEL, LEARNED))
    label = {key: given for key, given in label.items() if key != LEARNED}
    for key, given in label.items():
        _check(file, "[label]", key, given, "" if isinstance(given, str) else "text")
    return Said(file, rows, label, {name: _column(file, name, given) for name, given in columns.items()})


def _policy(key: str, given: object) -> str:
    if key == "unknown":
        return overrides.policy_for_unknown(given)
    if key == "failed":
        return "" if given in overrides.FAILED else ", ".join(overrides.FAILED)
    return overrides.unfit(key, given)


def _column(file: str, name: str, found: Any) -> dict[str, Any]:
    where = f"[{table_name(name)}]"
    given = {key: one for key, one in _mapping(file, where, found).items() if key != LEARNED}
    _only(file, where, given, overrides.KEYS)
    read_ = {key: _plain(key, one) for key, one in given.items()}
    for key, one in read_.items():
        _check(file, where, key, given[key], overrides.unfit(key, one))
    key, allowed = overrides.contradiction(read_)
    _check(file, where, key, given.get(key), allowed)
    return read_


def _plain(key: str, given: Any) -> Any:
    """A value of TOML as ``fc.Inputs`` takes it: infinity lifts a limit, a time is seconds since 1970 or text."""
    if key in ("low", "high") and isinstance(given, float) and math.isinf(given):
        return None if (given < 0) == (key == "low") else given
    if isinstance(given, date) and key in ("low", "high", "fill"):
        moment = given if isinstance(given, datetime) else datetime(given.year, given.month, given.day)
        if key == "fill":
            return moment.isoformat()
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return given


def _merged(inputs: Inputs, said: Said) -> Inputs:
    changes: dict[str, Any] = {}
    usual = Inputs()
    for key, given in (*said.rows.items(), *((f"label_{key}", one) for key, one in said.label.items())):
        declared = getattr(inputs, key)
        where = f"[label] {key.removeprefix('label_')}" if key.startswith("label_") else f"[rows] {key}"
        # What a project leaves out reads like the default, so only another value is something it says.
        if declared not in (getattr(usual, key), given):
            raise _conflict(said.file, where, given, f"inputs.{key}", declared)
        changes[key] = given
    columns = {name: dict(given) for name, given in inputs.columns.items()}
    for name, overridden in said.columns.items():
        declared = columns.get(name, {})
        for key, one in overridden.items():
            if key in declared and _plain_list(declared[key]) != _plain_list(one):
                where = f"[{table_name(name)}] {key}"
                raise _conflict(said.file, where, one, f"inputs.columns[{name!r}][{key!r}]", declared[key])
        together = {**declared, **overridden}
        key, allowed = overrides.contradiction(together)
        _check(said.file, f"[{table_name(name)}], together with the project file,", key, together.get(key), allowed)
        if together:
            columns[name] = together
    return replace(inputs, **changes, columns=columns)


def _plain_list(given: Any) -> Any:
    return list(given) if isinstance(given, tuple) else given


def _mapping(file: str, where: str, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise _invalid(file, f"has no table at {where}", "see docs/contract.md", received=repr(found)[:200])
    return found


def _only(file: str, where: str, found: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in found:
        if key not in keys:
            raise _invalid(
                file,
                f"has an unknown key in {where}" if where else "has an unknown key",
                "mend the key; docs/contract.md has them all",
                received=repr(key),
                allowed=", ".join(keys),
            )


def _check(file: str, where: str, key: str, given: object, allowed: str) -> None:
    if allowed:
        raise _invalid(
            file, f"does not fit: {where} {key}", "mend the line", received=repr(given)[:200], allowed=allowed
        )


def _conflict(file: str, where: str, given: object, there: str, declared: object) -> ProjectInvalid:
    return _invalid(
        file,
        f"and the project file say different things: {where} and {there}",
        "say it in one place: take it out of the other",
        received=f"{given!r} and {declared!r}",
    )


def _invalid(file: str, what: str, next_step: str, **more: str) -> ProjectInvalid:
    more.setdefault("received", file)
    return ProjectInvalid(f"the contract file {file} {what}", next_step=next_step, **more)
