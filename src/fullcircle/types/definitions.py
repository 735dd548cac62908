"""Definitions as data: what a view means, without any code object, source table or store. Hashed, kept, carried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fullcircle.types.features import Closed, How


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """A feature table: ``available`` is "stamped", "event" or "column NAME"; ``delay`` in nanoseconds.

    It never changes once rows were appended.
    """

    name: str
    key: tuple[str, ...]
    time: str
    available: str = "stamped"
    delay: int = 0
    id: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """A feature of a table; ``window`` and ``max_age`` in nanoseconds. ``type`` is that of its values (see Kind).

    ``kind`` is the kind of the column it is made of, "" where it counts rows.
    """

    name: str
    table: str
    how: How
    type: str
    column: str | None = None
    kind: str = ""
    window: int | None = None
    max_age: int | None = None


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """An on-demand function as text: what it takes, what it returns, what it imports ("math", "numpy as np")."""

    name: str
    source: str
    inputs: tuple[str, ...]
    returns: str
    imports: tuple[str, ...] = ()
    vectorized: bool = False


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """A whole view. ``order`` names all features as declared; ``keys`` maps each table to its columns in a request,
    ``key_kinds`` to what these are (int, text, bool, date), ``request`` what a caller sends besides to int, float,
    bool or str.

    Its digest is the SHA-256 over everything but what only people read: ``owner``, ``description``, ``about`` (by
    feature), ``tables_about`` (owner and description by table).
    """

    name: str
    time: str
    tables: tuple[TableSpec, ...]
    features: tuple[FeatureSpec, ...]
    functions: tuple[FunctionSpec, ...]
    order: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    key_kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    request: Mapping[str, str] = field(default_factory=dict)
    closed: Closed = "right"
    owner: str = ""
    description: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    tables_about: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key columns of a request, each once."""
        return tuple(dict.fromkeys(column for columns in self.keys.values() for column in columns))

    @property
    def kinds_of_keys(self) -> Mapping[str, str]:
        """The kind of each key column of a request."""
        return {
            column: kind
            for name in self.keys
            for column, kind in zip(self.keys[name], self.key_kinds[name], strict=True)
        }

    def table(self, name: str) -> TableSpec:
        """The table of this name."""
        return next(table for table in self.tables if table.name == name)
