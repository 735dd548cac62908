"""What the catalogue of features tells: tables, views, and the models made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ColumnEntry:
    """A column of a table: its kind, and the share of rows that are null (None where no file says it)."""

    name: str
    kind: str
    nulls: float | None


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """A feature table. ``available`` says in words from when on a row is known.

    ``last_event`` is the latest event time, ``last_append`` when rows last came (UTC, ISO 8601; None: never).
    ``owner`` and ``description`` are what the newest view that reads it says, ``views`` all that read it.
    """

    name: str
    key: tuple[str, ...]
    time: str
    available: str
    id: tuple[str, ...]
    owner: str
    description: str
    columns: tuple[ColumnEntry, ...]
    rows: int
    batches: int
    last_event: str | None
    last_append: str | None
    views: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FeatureEntry:
    """A feature of a view. ``how`` is "on demand" for a function, then ``inputs`` says of what.

    ``nulls`` is the share of rows without a value in the last training set (None where it was not looked at).
    """

    name: str
    type: str
    how: str
    table: str = ""
    column: str = ""
    window: str = ""
    max_age: str = ""
    inputs: tuple[str, ...] = ()
    about: str = ""
    nulls: float | None = None


@dataclass(frozen=True, kw_only=True)
class DefinitionEntry:
    """One definition of a view: its digest, when it was registered first, and whether it is the one online."""

    digest: str
    registered: str
    published: bool


@dataclass(frozen=True, kw_only=True)
class Use:
    """A model made from a view: the versions that were, and the champion where it is one of them."""

    model: str
    view: str
    versions: tuple[int, ...]
    champion: int | None


@dataclass(frozen=True, kw_only=True)
class ViewEntry:
    """A feature view by its latest definition. ``published`` is the digest of the one online, None where none is.

    ``definitions`` are all that were registered, oldest first.
    """

    name: str
    definition: str
    definitions: tuple[DefinitionEntry, ...]
    published: str | None
    keys: tuple[str, ...]
    request: Mapping[str, str]
    time: str
    closed: str
    tables: tuple[str, ...]
    features: tuple[FeatureEntry, ...]
    owner: str
    description: str
    models: tuple[Use, ...]
