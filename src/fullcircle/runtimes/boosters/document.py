"""The file of one booster: a JSON document with a small head of ours and the library's own text, all of it checked.

The head says which class of the library the model is and what its ``predict`` reads beside the trees. It holds
plain values only. What is not needed to answer (callbacks, metrics, numbers of threads, parameters of training that
are no plain values) is not kept.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from fullcircle.errors import BundleInvalid, MissingExtra, ModelRefused
from fullcircle.runtimes.boosters import sound
from fullcircle.runtimes.boosters.sound import Unsound, require

FORMAT = 1
Plain = bool | int | float | str | None
_TEXT = re.compile(r"[\w.:,;()\[\]@+ -]{0,200}")
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")
_KINDS: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({float, int}),
    "U": frozenset({str}),
    "o": frozenset({str}),
}
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The classes of a classifier: numpy's name of their kind (``object`` for texts), and their values."""

    kind: str
    values: tuple[bool | int | float | str, ...]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model. ``odd`` are attributes that are infinite or not a number; ``booster`` is null when not fitted."""

    format: int
    library: Literal["xgboost", "lightgbm"]
    kind: str
    attributes: dict[str, Plain] = {}
    odd: dict[str, Literal["nan", "inf", "-inf"]] = {}
    labels: Labels | None = None
    booster: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def values(self) -> dict[str, Plain]:
        """All attributes."""
        return {**self.attributes, **{name: _ODD[word] for name, word in self.odd.items()}}


def written(document: Document) -> bytes:
    """A document as bytes: the same document gives the same bytes."""
    return msgspec.json.encode(document, order="sorted")


def opened(data: bytes) -> Document:
    """The head of a document, checked; the booster in it is not. Raises Unsound."""
    require(len(data) <= sound.MOST_BYTES, "its size")
    try:
        found = msgspec.json.decode(data, type=Document)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unsound("its head") from error
    require(found.format == FORMAT, f"its format {found.format}, which this version does not know,")
    require(not set(found.attributes) & set(found.odd), "its attributes")
    for name, value in found.values.items():
        require(_NAME.fullmatch(name) is not None and not name.startswith("__"), "its attributes")
        require(not isinstance(value, str) or _TEXT.fullmatch(value) is not None, f"its attribute {name}")
    if found.labels is not None:
        require(1 <= len(found.labels.values) <= sound.MOST_CLASSES, "its classes")
    return found


def split(values: Mapping[str, Plain]) -> tuple[dict[str, Plain], dict[str, Any]]:
    """Attributes as JSON can hold them, and those that it cannot."""
    odd = {name: value for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    words = {name: "nan" if math.isnan(value) else "inf" if value > 0 else "-inf" for name, value in odd.items()}
    return {name: value for name, value in values.items() if name not in odd}, words


def plain(value: object) -> Plain:
    """A parameter as a plain value; None for what is none, which no prediction reads."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool | int | float) or (isinstance(value, str) and _TEXT.fullmatch(value)):
        return value
    return None


def labels(classes: Any) -> Labels:
    """The classes of a classifier. Raises ModelRefused for others than texts, numbers and booleans."""
    values = classes.tolist()
    kinds = set(map(type, values))
    if classes.dtype == object and kinds != {str}:
        raise ModelRefused(
            "the classes of the model are of a kind that is not kept",
            received=", ".join(sorted(kind.__name__ for kind in kinds)),
            allowed="texts, numbers, booleans",
            next_step="train with such labels",
        )
    return Labels(
        kind=classes.dtype.str.lstrip("<>|=") if classes.dtype != object else "object", values=tuple(values)
    )


def array(found: Labels) -> Any:
    """Classes as the array that they were. Raises Unsound."""
    import numpy as np

    kinds = set(map(type, found.values))
    wanted = _KINDS.get(found.kind[:1], frozenset())
    require(re.fullmatch(r"b1|[iu][1248]|f[248]|U[0-9]{1,6}|object", found.kind) is not None, "its classes")
    require(kinds <= wanted, "its classes")
    if found.kind[0] == "U":
        longest = max(len(str(value)) for value in found.values)
        require(int(found.kind[1:]) == max(1, longest), "its classes")
    try:
        return np.array(found.values, dtype=found.kind)
    except (OverflowError, ValueError) as error:
        raise Unsound("its classes") from error


def refused(what: str, received: str, next_step: str, allowed: str | None = None) -> ModelRefused:
    """The error for a model that cannot be kept."""
    return ModelRefused(what, received=received, allowed=allowed, next_step=next_step)


def custom_objective(objective: Any) -> ModelRefused:
    """The error for a model whose score only its author can read."""
    return refused(
        "the model was trained with an objective of your own, and nobody knows what it makes of a score",
        received=getattr(objective, "__qualname__", type(objective).__name__),
        allowed="one of the library's own objectives; for a regressor also your own, whose score is the answer",
        next_step="train with one of the library's objectives",
    )


def library(name: str, title: str) -> Any:
    """The module ``name``, imported when it is first needed. Raises MissingExtra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(
            f"this is a model of {title}, which is not installed",
            received=str(error),
            next_step=f'install it with: pip install "fullcircle[{name}]"',
        ) from error


def invalid(why: str) -> BundleInvalid:
    """The error for a file that is not a sound model file."""
    return BundleInvalid(
        f"the model file cannot be used: {why} cannot be",
        allowed="a model file that fullcircle wrote",
        next_step="build the bundle again from its run",
    )
