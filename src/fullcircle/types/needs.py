"""What a model needs at run time beside its own bundle: a database, a URL, a secret, a file, another server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared
from fullcircle.types.durations import duration

NeedKind = Literal["database", "url", "secret", "file", "mlflow", "features", "h2o"]
KINDS = ("database", "url", "secret", "file", "mlflow", "features", "h2o")
KEYS = ("kind", "at", "version", "within", "optional")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_VERSION = re.compile(r"(>=|==|<=|<|>)?\s*[0-9][0-9A-Za-z.]*(\s*,\s*(>=|==|<=|<|>)\s*[0-9][0-9A-Za-z.]*)*")
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that has to be there where the model answers.

    ``at`` says where: a URL, a path (relative to the folder of the server), for a secret the name of an environment
    variable, "" for the feature store of the workspace. "env:NAME" takes the place from a variable where it is
    checked, so that no password stands in a project. ``version`` bounds the version it reports (">=14,<17"),
    ``within`` is how long one answer of it may take. What is ``optional`` is told and keeps nothing from starting.
    """

    name: str
    kind: NeedKind
    at: str = ""
    version: str = ""
    within: str = ""
    optional: bool = False


def needs(given: Mapping[str, Any]) -> tuple[Need, ...]:
    """The needs that a project declares as ``{name: {"kind": ..., "at": ...}}``, in their order.

    Raises ProjectInvalid naming the entry, and for a password that is written down.
    """
    declared.mapping("requires", given)
    return tuple(_need(name, said) for name, said in given.items())


def _need(name: object, said: Any) -> Need:
    what = f"requires[{name!r}]"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong("a name in requires cannot be used", repr(name), "1 to 63 of a-z, 0-9, ., - and _")
    declared.mapping(what, said)
    for key in said:
        declared.one_of(f"a key of {what}", key, KEYS)
    declared.one_of(f"{what}['kind']", said.get("kind"), KINDS)
    kind = cast("NeedKind", said["kind"])
    for key in ("at", "version", "within"):
        if not isinstance(said.get(key, ""), str):
            raise _wrong(f"{what}[{key!r}] is not text", repr(said[key]), "text")
    if not isinstance(said.get("optional", False), bool):
        raise _wrong(f"{what}['optional'] is neither True nor False", repr(said["optional"]), "True or False")
    need = Need(
        name=name,
        kind=kind,
        at=said.get("at", ""),
        version=said.get("version", ""),
        within=said.get("within", ""),
        optional=said.get("optional", False),
    )
    _check(need, what)
    return need


def _check(need: Need, what: str) -> None:
    if _PASSWORD.search(need.at):
        raise _wrong(
            f"{what}['at'] holds a password, and a bundle travels",
            "an address with a password",
            'at="env:NAME", and the address in that environment variable',
        )
    if need.kind == "secret" and not _SECRET.fullmatch(need.at):
        raise _wrong(f"{what}['at'] names no environment variable", repr(need.at), 'a name such as "API_TOKEN"')
    if need.kind in ("database", "url", "file", "mlflow", "h2o") and not need.at:
        raise _wrong(f"{what} does not say where", "no at", f'at="..." for a {need.kind}, or at="env:NAME"')
    if need.at.startswith("env:") and not _VARIABLE.fullmatch(need.at):
        raise _wrong(f"{what}['at'] names no environment variable", repr(need.at), 'such as "env:WAREHOUSE_URL"')
    if need.version and not _VERSION.fullmatch(need.version):
        raise _wrong(f"{what}['version'] bounds no version", repr(need.version), 'such as ">=14,<17"')
    if need.within and duration(need.within).total_seconds() <= 0:
        raise _wrong(f"{what}['within'] is no time", repr(need.within), 'such as "200ms"')


def _wrong(what: str, received: str, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(what, received=received, allowed=allowed, next_step="mend it in the project file")
