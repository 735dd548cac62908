"""Boosters inside scikit-learn's models: each stands as a small object of ours that holds its checked bytes.

scikit-learn's models are kept with skops, which cannot write a booster without running code later. So a copy of the
model is written in which every booster is a ``Held``; what is loaded is copied again, and every ``Held`` becomes the
booster that it holds. A booster that could not be found is refused by name, as any other type that is not allowed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from fullcircle.runtimes.boosters import kept

_PLAIN = (str, bytes, int, float, bool, complex, type(None), type, FunctionType, ModuleType)


class Held:
    """The place of one booster: ``document`` is its file, as ``kept.write`` gives it."""

    def __init__(self, document: bytes) -> None:
        self.document = document

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy is the booster itself. Raises BundleInvalid where the document is not sound."""
        return kept.read(self.document)


def without(model: Any) -> Any:
    """The same model where it holds no booster, else a copy with a ``Held`` in place of each. Raises ModelRefused."""
    found = {id(part): part for part in _boosters(model)}
    if not found:
        return model
    memo: dict[int, Any] = {place: Held(kept.write(part)) for place, part in found.items()}
    return copy.deepcopy(model, memo)


def filled(model: Any) -> Any:
    """A copy of a model with the boosters in their places. Raises BundleInvalid, MissingExtra."""
    return copy.deepcopy(model)


def _boosters(model: Any) -> Iterator[Any]:
    seen: set[int] = set()
    left = [model]
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, _PLAIN):
            continue
        seen.add(id(part))
        if kept.kind(part) is not None:
            yield part
        else:
            left.extend(_parts(part))


def _parts(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    elif getattr(getattr(part, "dtype", None), "kind", "") == "O":
        yield from part.ravel().tolist()
    if isinstance(inner := getattr(part, "__dict__", None), dict):
        yield from inner.values()
