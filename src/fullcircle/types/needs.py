"""What a model needs at run time beside its own bundle: a database, a URL, a secret, a file, another server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared
from fullcircle.types.durations import duration

FILE = "requires.json"  # in a bundle: its needs as a JSON array
NeedKind = Literal["database", "url", "secret", "file", "mlflow", "features", "h2o"]
KINDS = ("database", "url", "secret", "file", "mlflow", "features", "h2o")
KEYS = ("kind", "at", "version", "within", "age", "optional")
LONGEST = 30.0  # seconds that ``within`` may allow: a check is waited for
Status = Literal["ok", "warn", "failed", "skipped"]
_VERSIONED = ("database", "mlflow", "h2o")  # kinds that tell a version
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_BOUND = re.compile(r"(>=|==|<=|<|>)?\s*([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})")
_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_TOLD = re.compile(r"[?&;](?:\w*(?:passw(?:or)?d|pwd|token|secret|signature)|api_?key|sig)=", re.IGNORECASE)
_MLFLOW = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that has to be there where the model answers.

    ``at`` says where: a URL, a path (relative to the folder of the server), for a secret the name of an environment
    variable, "" for the feature store of the workspace. "env:NAME" takes the place from a variable where it is
    checked, so that no password stands in a project. ``version`` bounds the version it reports (">=14,<17", see
    ``satisfies``), ``within`` is how long one answer of it may take, ``age`` how long ago a file may have been
    written. What is ``optional`` is told and keeps nothing from starting.
    """

    name: str
    kind: NeedKind
    at: str = ""
    version: str = ""
    within: str = ""
    age: str = ""
    optional: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that it takes its place or its value from, or ""."""
        if self.kind == "secret":
            return self.at
        found = _VARIABLE.fullmatch(self.at)
        return found[1] if found else ""

    @property
    def seconds(self) -> float:
        """How long one answer may take, in seconds; 0 where nothing is said."""
        return duration(self.within).total_seconds() if self.within else 0.0


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check found. ``kind`` is that of a need, or of the surroundings (machine, workspace, project).

    ``failed`` is what keeps a model from answering, ``warn`` what somebody should look at, ``skipped`` what could not
    be asked here. ``seconds`` is how long one answer took. No field ever holds a secret.
    """

    name: str
    kind: str
    status: Status
    what: str
    received: str = ""
    allowed: str = ""
    next_step: str = ""
    seconds: float = 0.0


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
    for key in ("at", "version", "within", "age"):
        if not isinstance(said.get(key, ""), str):
            raise _wrong(f"{what}[{key!r}] is not text", repr(said[key]), "text")
    if not isinstance(said.get("optional", False), bool):
        raise _wrong(f"{what}['optional'] is neither True nor False", repr(said["optional"]), "True or False")
    texts = {key: said.get(key, "") for key in ("at", "version", "within", "age")}
    need = Need(name=name, kind=kind, optional=said.get("optional", False), **texts)
    _check_place(need, what)
    _check_bounds(need, what)
    return need


def _check_place(need: Need, what: str) -> None:
    if _PASSWORD.search(need.at) or _TOLD.search(need.at):
        raise _password(what)
    if need.kind == "secret":
        if not _SECRET.fullmatch(need.at):
            raise _wrong(f"{what}['at'] names no environment variable", repr(need.at), 'a name such as "API_TOKEN"')
        return
    if need.kind != "features" and not need.at:
        raise _wrong(f"{what} does not say where", "no at", f'at="..." for a {need.kind}, or at="env:NAME"')
    if need.at.startswith("env:"):
        if not _VARIABLE.fullmatch(need.at):
            raise _wrong(f"{what}['at'] names no environment variable", repr(need.at), 'such as "env:WAREHOUSE_URL"')
        return
    if not need.at.isprintable():
        raise _wrong(f"{what}['at'] cannot be a place", repr(need.at), "printable characters")
    if need.kind != "file" and need.at:
        _check_address(need, what)


def _check_address(need: Need, what: str) -> None:
    try:
        found = urlsplit(need.at)
        host, _ = found.hostname, found.port
    except ValueError as error:
        if "@" in need.at:  # a password that is not written as one may stand before it
            raise _password(what) from None
        raise _wrong(
            f"{what}['at'] is no address: {error}", repr(need.at), "an address such as scheme://host"
        ) from error
    web = found.scheme in ("http", "https")
    if need.kind in ("url", "h2o") and not (web and host):
        raise _wrong(f"{what}['at'] is no web address", repr(need.at), "http://host/... or https://host/...")
    if need.kind in ("database", "features") and "://" not in need.at:
        raise _wrong(
            f"{what}['at'] is no address", repr(need.at), "such as postgresql://host/name or sqlite:///file.db"
        )
    if web and found.username is not None:
        raise _wrong(
            f"{what}['at'] holds a name or a token, and a bundle travels",
            "an address with something before @",
            'at="env:NAME", and the address in that environment variable',
        )


def _check_bounds(need: Need, what: str) -> None:
    if need.version and need.kind not in _VERSIONED:
        raise _wrong(
            f"{what}: a {need.kind} tells no version", repr(need.version), "version for " + ", ".join(_VERSIONED)
        )
    if need.version and not all(_BOUND.fullmatch(part.strip()) for part in need.version.split(",")):
        raise _wrong(f"{what}['version'] bounds no version", repr(need.version), 'such as ">=14,<17"')
    if need.within and need.kind == "secret":
        raise _wrong(f"{what}: a secret takes no time", repr(need.within), "within for all other kinds")
    if need.within and not 0 < need.seconds <= LONGEST:
        raise _wrong(
            f"{what}['within'] is no time to wait for", repr(need.within), f'up to {LONGEST:g}s, such as "200ms"'
        )
    if need.age and need.kind != "file":
        raise _wrong(f"{what}: a {need.kind} has no age", repr(need.age), "age for a file")
    if need.age and duration(need.age).total_seconds() <= 0:
        raise _wrong(f"{what}['age'] is no age", repr(need.age), 'such as "1d"')


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version, as something reports it, is within bounds such as ">=14,<17".

    It is compared as far as a bound is written: "==16" and "<=16" take 16.4, ">16" begins with 17. What follows the
    numbers ("rc1", "(Debian 16.2-1)") is left out. A version without a number satisfies nothing.
    """
    found = _NUMBERS.search(version)
    if found is None:
        return False
    numbers = tuple(map(int, found[0].split(".")))
    return all(_within(numbers, part.strip()) for part in bounds.split(",") if part.strip())


def _within(numbers: tuple[int, ...], bound: str) -> bool:
    found = _BOUND.fullmatch(bound)
    if found is None:
        return False
    limit = tuple(map(int, found[2].split(".")))
    same = (*numbers, *[0] * len(limit))[: len(limit)]
    return {
        ">=": same >= limit,
        "<=": same <= limit,
        ">": same > limit,
        "<": same < limit,
    }.get(found[1] or "==", same == limit)


def variables(given: Iterable[Need]) -> tuple[str, ...]:
    """The environment variables that have to reach the place where these needs are used, sorted."""
    found = set()
    for need in given:
        found |= {need.variable} if need.variable else set()
        if need.kind == "mlflow":
            found |= set(_MLFLOW)
        if need.kind in ("url", "mlflow", "h2o", "database"):
            found |= set(_CERTIFICATES)
    return tuple(sorted(found))


def packages(given: Iterable[Need]) -> tuple[str, ...]:
    """The distributions without which these needs could not be checked where the model runs, sorted.

    It depends on what is declared only, never on this machine: a database whose address comes from a variable gets
    the driver of PostgreSQL.
    """
    found = set()
    for need in given:
        scheme = need.at.partition("://")[0].partition("+")[0]
        if scheme in ("postgresql", "postgres") or (need.kind == "database" and need.variable):
            found.add("psycopg[binary]")
        if need.kind == "features" and scheme in ("redis", "rediss", "unix"):
            found.add("redis")
    return tuple(sorted(found))


def _password(what: str) -> ProjectInvalid:
    return _wrong(
        f"{what}['at'] holds a password, and a bundle travels",
        "an address with a password",
        'at="env:NAME", and the address in that environment variable',
    )


def _wrong(what: str, received: str, allowed: str) -> ProjectInvalid:
    return ProjectInvalid(what, received=received, allowed=allowed, next_step="mend it in the project file")
