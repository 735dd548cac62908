"""Extension points, found by name through entry points, loaded when first asked for.

There are five: runtimes, checks, detectors, stores, targets. The built-in members register the same way as
anybody else's (see pyproject.toml).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from fullcircle.errors import PluginBroken, PluginUnknown

Group = Literal["runtimes", "checks", "detectors", "stores", "targets"]
GROUPS: tuple[Group, ...] = ("runtimes", "checks", "detectors", "stores", "targets")


def names(group: Group) -> tuple[str, ...]:
    """The registered names of a group, sorted. Nothing is imported."""
    return tuple(sorted({point.name for point in _points(group, tuple(_places()))}))


def find(group: Group, name: str) -> Any:
    """Load the member ``name`` of ``group``.

    Raises PluginUnknown where no member has this name or two do, PluginBroken where its module cannot be loaded.
    """
    distinct = {point.value: point for point in _points(group, tuple(_places())) if point.name == name}
    if not distinct:
        raise PluginUnknown(
            f"nothing is registered under this name among the {group}",
            received=repr(name),
            allowed=", ".join(names(group)),
            next_step="check the spelling, or install the package that brings it",
        )
    if len(distinct) > 1:
        raise PluginUnknown(
            f"two packages register the same name among the {group}",
            received=f"{name!r} from {', '.join(sorted(distinct))}",
            next_step="remove one of the packages",
        )
    (point,) = distinct.values()
    try:
        return point.load()
    except Exception as error:  # whatever the module of somebody else raises while it is imported
        raise PluginBroken(
            f"{name!r} among the {group} could not be loaded: {type(error).__name__}: {error}",
            received=point.value,
            next_step="install what it needs, or remove the package that registers it",
        ) from error


@lru_cache(maxsize=len(GROUPS))
def _points(group: Group, _: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Reads a file of everything that is installed, some milliseconds: once for what is installed now."""
    return tuple(entry_points(group=f"fullcircle.{group}"))


def _places() -> Iterator[tuple[str, int]]:
    """The folders that may hold packages, with when something was last installed there or taken away."""
    for place in sys.path:
        try:
            yield place, os.stat(place or os.curdir).st_mtime_ns
        except OSError:
            yield place, 0
