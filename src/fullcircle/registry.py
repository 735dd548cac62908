"""Extension points, found by name through entry points, loaded when first asked for.

There are five: runtimes, checks, detectors, stores, targets. The built-in members register the same way as
anybody else's (see pyproject.toml).
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from fullcircle.errors import PluginBroken, PluginUnknown

Group = Literal["runtimes", "checks", "detectors", "stores", "targets"]
GROUPS: tuple[Group, ...] = ("runtimes", "checks", "detectors", "stores", "targets")


def names(group: Group) -> tuple[str, ...]:
    """The registered names of a group, sorted. Nothing is imported."""
    return tuple(sorted({point.name for point in entry_points(group=f"fullcircle.{group}")}))


def find(group: Group, name: str) -> Any:
    """Load the member ``name`` of ``group``.

    Raises PluginUnknown where no member has this name or two do, PluginBroken where its module cannot be loaded.
    """
    points: list[EntryPoint] = list(entry_points(group=f"fullcircle.{group}", name=name))
    distinct = {point.value: point for point in points}
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
