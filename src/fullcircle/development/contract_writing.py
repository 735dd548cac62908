"""Writing what training learned into the contract file, and nothing else of it: byte for byte the rest stays.

The file is edited as lines, not printed anew from a parsed document: comments above a header belong to what follows
them, and a parser's document gives them to what stands before. What comes out is read back and compared, and a file
that this could not do justice to is left as it is.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullcircle.development.contract_file import LEARNED, canonical, key_of, read_text, table, table_name
from fullcircle.errors import ProjectInvalid
from fullcircle.types import overrides
from fullcircle.types.contract import Contract

_FACTS = ("type", "nullable", "low", "high", "usual_low", "usual_high", "categories", "fill", "how")
_OF_LABEL = ("task", "classes", "prior")
_EXACT = 2**53
_HEADER = re.compile(r"\s*\[(?!\[)(.*)\]\s*(#.*)?")
_HEAD = """\
# The contract of {model}: what a row has to look like, and what becomes of one that does not.
#
# Yours to edit: [rows], [label] and each [columns.NAME]. What stands there wins over what was learned, and is part of
# the project's source. Training rewrites the tables called "learned" and nothing else: to be reviewed, not edited.
#
#   [rows]          missing, unseen, outside, wrong_type, unknown, failed: policies for all columns
#   [label]         name, unit
#   [columns.NAME]  {keys}

[rows]

[label]
"""

Facts = Mapping[str, Mapping[str, Any]]


def learned(contract: Contract, facts: Facts) -> dict[str, dict[str, Any]]:
    """The learned tables by name: "label", and "columns.NAME" in the contract's order.

    Of a private column there is no value, only its type, whether it may be missing, and how a gap is filled. The mean
    of the labels has twelve digits: the last ones of a sum differ from machine to machine.
    """
    prior = float(f"{contract.prior:.12g}") if isinstance(contract.prior, float) else contract.prior
    tables = {"label": _present({"task": contract.task, "classes": contract.classes, "prior": prior})}
    for column in contract.columns:
        found = dict(facts[column.name])
        kind = found.pop("kind")
        if column.private:
            found = {key: found[key] for key in ("nullable", "how")}
        if kind == "integer":
            found = {key: _whole(one) for key, one in found.items()}
        tables[table_name(column.name)] = _present({"type": kind, **found})
    return tables


def keep(path: Path, model: str, contract: Contract, facts: Facts) -> str:
    """Write the learned tables to the file, in one step and only where they changed. Returns what to tell, or "".

    A file that cannot be written is something to tell, and no failure: the contract travels in the bundle anyway.
    """
    tables = learned(contract, facts)
    try:
        before = path.read_bytes() if path.exists() else None
        text = _fresh(model) if before is None else before.decode()
        after, changed = rewritten(text, tables)
        if before is not None and not changed:
            return ""
        if not _is_right(text, after, tables):
            return f"{path.name} was left as it is: each column has to be a table of its own, [columns.NAME]"
        _replace(path, after.encode())
    except OSError as error:
        return f"{path.name} could not be written ({error.strerror}); the contract is in the bundle all the same"
    except UnicodeDecodeError:
        return f"{path.name} was left as it is: it is no longer UTF-8"
    if before is None:
        return f"wrote {path.name}: what training learned of the inputs, and where to say otherwise"
    shown = ", ".join(name.removeprefix("columns.") for name in changed[:5])
    return f"{path.name}: learned anew: {shown}" + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")


def rewritten(text: str, tables: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The text with these learned tables, and the names of those that are new, other, or gone."""
    end = "\r\n" if "\r\n" in text else "\n"
    sections = _sections(text.replace("\r\n", "\n").split("\n"))
    places = {section.name: section for section in sections}
    changed = []
    for name, given in tables.items():
        wanted = table(f"{name}.{LEARNED}", given, _OF_LABEL if name == "label" else _FACTS).rstrip("\n").split("\n")
        there = places.get(f"{name}.{LEARNED}")
        if there is None:
            _insert(sections, places.get(name), name, wanted)
        elif there.own == wanted:
            continue
        else:
            there.own = wanted
        changed.append(name)
    for name in _gone(text, tables):
        for header in (f"{name}.{LEARNED}", name):
            if header in places:
                places[header].drop()
        changed.append(name)
    return end.join(line for section in sections for line in (*section.own, *section.after)), changed


def _present(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in found.items() if one is not None and one != ()}


def _whole(one: Any) -> Any:
    """A bound of whole numbers as one, where a float tells which."""
    return int(one) if isinstance(one, float) and abs(one) < _EXACT else one


def _fresh(model: str) -> str:
    return _HEAD.format(model=model, keys=_folded(overrides.KEYS))


def _folded(keys: tuple[str, ...]) -> str:
    half = 9
    return ", ".join(keys[:half]) + ",\n#                   " + ", ".join(keys[half:])


@dataclass
class _Section:
    """A header with its lines up to the last key, and what follows until the next: blank lines and comments."""

    name: str
    own: list[str]
    after: list[str]

    def drop(self) -> None:
        self.own = []
        if self.after and not self.after[0].strip():
            del self.after[0]


def _sections(lines: list[str]) -> list[_Section]:
    starts = [(0, "")] + [(number, name) for number, line in enumerate(lines) if (name := _header(line))]
    ends = [start for start, _ in starts[1:]] + [len(lines)]
    found = []
    for (start, name), end in zip(starts, ends, strict=True):
        last = end
        while last > start + 1 and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
            last -= 1
        found.append(_Section(name, lines[start:last], lines[last:end]))
    return found


def _header(line: str) -> str:
    """The name of a table in the form that is written here, "" for a line that begins none."""
    match = _HEADER.fullmatch(line)
    if match is None:
        return ""
    try:
        return ".".join(key_of(part) for part in _path(tomllib.loads(f"[{match[1]}]")))
    except tomllib.TOMLDecodeError:
        return ""  # a line of a list or of a long text


def _path(found: Mapping[str, Any]) -> list[str]:
    for name, below in found.items():
        return [name, *_path(below)]
    return []


def _insert(sections: list[_Section], own: _Section | None, name: str, wanted: list[str]) -> None:
    """Put a new learned table behind the table it belongs to, or both at the end."""
    made = _Section("", wanted, [])
    if own is not None:
        made.after, own.after = own.after, [""]
        sections.insert(next(place for place, each in enumerate(sections) if each is own) + 1, made)
        return
    last = sections[-1].after if sections[-1].after else sections[-1].own
    while last and not last[-1].strip():
        last.pop()
    head = [] if name == "label" else [f"[{name}]", ""]
    sections.append(_Section("", ["", *head, *wanted], [""]))


def _gone(text: str, tables: Mapping[str, Any]) -> list[str]:
    """Columns of the file that are no longer learned of, and of which nobody says anything."""
    said = _without_learned(text)
    empty = [table_name(name) for name, given in said.get("columns", {}).items() if not given]
    return [name for name in empty if name not in tables]


def _without_learned(text: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    for one in (found.get("label", {}), *found.get("columns", {}).values()):
        if isinstance(one, dict):
            one.pop(LEARNED, None)
    return found


def _is_right(before: str, after: str, tables: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the new text holds these learned tables, and of everything else exactly what it held."""
    try:
        found = tomllib.loads(after)
        same = canonical(read_text("", before.encode())) == canonical(read_text("", after.encode()))
    except (tomllib.TOMLDecodeError, ProjectInvalid):
        return False
    now = {table_name(name): one.get(LEARNED) for name, one in found.get("columns", {}).items() if LEARNED in one}
    now["label"] = found.get("label", {}).get(LEARNED)
    wanted = {
        name: tomllib.loads(table(name, given, (*_OF_LABEL, *_FACTS)).split("\n", 1)[1])
        for name, given in tables.items()
    }
    return same and now == wanted


def _replace(path: Path, content: bytes) -> None:
    """Put the content in the place of the file at once; a link stays a link, and a file keeps who may read it."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, mode)
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found
