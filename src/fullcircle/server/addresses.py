"""Every address that the server answers at: how it is asked, and what for. There is no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fullcircle.types.access import Verb

Dialect = Literal["native", "v2", "mlflow"]
OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address. ``template`` has names in braces, each of one segment; the last may hold slashes too.

    ``verb`` says what for: None is open to anybody. GET is also HEAD. ``counted`` are requests that the engines count
    when they answer; all others are counted by the application. ``dialect`` is the form of refusals. ``wide``: it
    shows all models, so whoever may see only some is refused.
    """

    template: str
    method: Literal["GET", "POST"]
    verb: Verb | None
    counted: bool = False
    dialect: Dialect = "native"
    wide: bool = False
    parts: tuple[str, ...] = field(init=False)
    model_place: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.template.split("/")))
        named = [part for part in self.parts if part[:1] == "{"]
        object.__setattr__(self, "model_place", named.index("{model}") if "{model}" in named else None)

    @property
    def methods(self) -> str:
        """For the header Allow."""
        return "GET, HEAD" if self.method == "GET" else self.method

    def takes(self, method: str) -> bool:
        """Whether it is asked by this method."""
        return method == self.method or (method == "HEAD" and self.method == "GET")

    def names(self, path: str) -> tuple[str, ...] | None:
        """What stands in a path in the place of the names; None for a path of another address."""
        given = path.split("/", len(self.parts) - 1)
        if len(given) != len(self.parts):
            return None
        found = []
        for part, value in zip(self.parts, given, strict=True):
            if part[:1] == "{":
                found.append(value)
            elif part != value:
                return None
        return tuple(found)


def _v2(
    template: str, verb: Verb | None, method: Literal["GET", "POST"] = "GET", *, counted: bool = False
) -> Address:
    return Address(template=f"/v2{template}", method=method, verb=verb, counted=counted, dialect="v2")


_V2 = (
    _v2("/models/{model}/infer", "predict", "POST", counted=True),
    _v2("/models/{model}/versions/{version}/infer", "predict", "POST", counted=True),
    _v2("/models/{model}/versions/{version}/ready", "read"),
    _v2("/models/{model}/versions/{version}", "read"),
    _v2("/models/{model}/ready", "read"),
    _v2("/models/{model}", "read"),
    _v2("/models", "read"),
    _v2("/repository/index", "read", "POST"),
    _v2("/repository/models/{model}/load", "manage", "POST"),
    _v2("/repository/models/{model}/unload", "manage", "POST"),
    _v2("/health/live", None),
    _v2("/health/ready", None),
    _v2("", "read"),
)
_MLFLOW = (
    Address(template="/invocations", method="POST", verb="predict", counted=True, dialect="mlflow"),
    Address(template="/invocations/{model}", method="POST", verb="predict", counted=True, dialect="mlflow"),
    Address(template="/ping", method="GET", verb=None, dialect="mlflow"),
    Address(template="/health", method="GET", verb=None, dialect="mlflow"),
    Address(template="/version", method="GET", verb="read", dialect="mlflow"),
)
PREDICT = Address(template="/predict/{model}", method="POST", verb="predict", counted=True)
ADDRESSES: tuple[Address, ...] = (
    PREDICT,
    Address(template="/explain/{model}", method="POST", verb="explain"),
    Address(template="/outcomes", method="POST", verb="label"),
    Address(template="/models", method="GET", verb="read"),
    Address(template="/health/live", method="GET", verb=None),
    Address(template="/health/ready", method="GET", verb=None),
    Address(template="/metrics", method="GET", verb="read", wide=True),
    Address(template="/docs", method="GET", verb="read"),
    Address(template="/openapi.json", method="GET", verb="read"),
    *_V2,
    *_MLFLOW,
)
TEMPLATES = frozenset(each.template for each in ADDRESSES)
_PLAIN: Mapping[str, Address] = {each.template: each for each in ADDRESSES if "{" not in each.template}
_NAMED: Mapping[str, tuple[Address, ...]] = {
    first: tuple(each for each in ADDRESSES if each.parts[1] == first and "{" in each.template)
    for first in {each.parts[1] for each in ADDRESSES}
}


def find(path: str) -> tuple[Address, tuple[str, ...]] | None:
    """The address of a path, and what stands in the place of its names; None where there is none."""
    if path in _PLAIN:
        return _PLAIN[path], ()
    for address in _NAMED.get(path[1 : path.find("/", 1)], ()):
        names = address.names(path)
        if names is not None:
            return address, names
    return None


def template(path: str) -> str:
    """The template of a path, without anything that a caller made up: "other" for what is no address."""
    found = find(path)
    return OTHER if found is None else found[0].template


def dialect(path: str) -> Dialect:
    """The form of refusals at a path; what is no address goes by where it would stand."""
    found = find(path)
    if found is not None:
        return found[0].dialect
    return "v2" if path.startswith("/v2/") else "native"
