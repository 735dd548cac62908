"""The contract of an offline engine, and how one is found.

An engine answers one question about keys and times; values never pass through it, so no engine can change one.

**Input.** Arrow tables. Labels have the key columns ``k0``, ``k1``, ... and ``t``; rows have the same key columns and
``e``, ``a``, ``s``: event time, when the row was available, and its number. ``t``, ``e`` and ``a`` are nanoseconds
since 1970 as int64, ``s`` is int64 and different in every row. No value is null. A row is visible from
v = max(e, a) on; rows are ordered by (e, a, s).

**``positions``** returns for each label the place of the row that answers it (shape (labels,), int64): of the rows
with the label's key and v <= t the greatest by that order; -1 where there is none. Keys are equal where all their
parts are. ``settled`` promises that each row is the greatest of its key among those with a v up to its own, and no
two of a key have the same v: the engine may skip finding that out.

**``maxima``** returns which rows (shape (rows,), bool) are the greatest of their key among all rows of that key with
a v not above their own, and the last of their own v: what is left out can never be an answer.

An engine keeps nothing of its input between calls, may be called from several threads at once, and leaves nothing
behind. ``memory`` bounds what it uses beside its input ("1GB"); it may write to disk instead. It raises EngineFailed
with the engine's own words. ``fullcircle.testing.engines.OfflineEngineSuite`` tests an engine.
"""

from __future__ import annotations

from typing import Any, Protocol

from fullcircle import registry

DEFAULT = "duckdb"


class OfflineEngine(Protocol):
    """See the module's text."""

    def positions(self, labels: Any, rows: Any, *, settled: bool = False, memory: str | None = None) -> Any:
        """The place of the row that answers each label, -1 for none."""

    def maxima(self, rows: Any, *, memory: str | None = None) -> Any:
        """Which rows can be an answer at all."""


def find_engine(name: str = DEFAULT) -> OfflineEngine:
    """The engine of this name. Raises PluginUnknown, MissingExtra."""
    engine: OfflineEngine = registry.find("stores", f"offline.{name}")()
    return engine
