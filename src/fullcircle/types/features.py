"""What a user declares about features: tables of rows in time, features of them, functions, and views."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fullcircle.errors import FeatureInvalid
from fullcircle.types.durations import duration
from fullcircle.types.table import Table

How = Literal["latest", "sum", "count", "mean", "min", "max", "first", "last"]
Closed = Literal["right", "left"]
Status = Literal["present", "null", "missing", "expired"]
HOWS: tuple[How, ...] = ("latest", "sum", "count", "mean", "min", "max", "first", "last")
REQUEST_TYPES: Mapping[type, str] = {int: "int", float: "float", bool: "bool", str: "str"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature of a table: its latest value, or an aggregate over a window that ends when it is asked for.

    ``table`` is the table's name. ``window`` and ``max_age`` are spans such as "30d". A latest value is expired when
    its event is older than ``max_age``. Aggregates leave out nulls; over no value at all, sum and count are 0, the
    others null. ``count`` without a column counts rows.
    """

    name: str
    table: str
    how: How
    column: str | None = None
    window: str | None = None
    max_age: str | None = None
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        _name("the name of a feature", self.name)
        if self.how not in HOWS:
            raise _invalid(f"feature {self.name!r} has an unknown kind", self.how, ", ".join(HOWS))
        if (self.window is None) == (self.how != "latest"):
            raise _invalid(
                f"feature {self.name!r} has {'no window' if self.window is None else 'a window'}",
                f"{self.how} with window={self.window!r}",
                'a window such as "30d" for an aggregate, none for the latest value',
            )
        if self.column is None and self.how != "count":
            raise _invalid(f"feature {self.name!r} names no column", "None", "a column of the table")
        if self.max_age is not None and self.how != "latest":
            raise _invalid(f"feature {self.name!r} is an aggregate with max_age", self.max_age, "its window says it")
        for span in (self.window, self.max_age):
            if span is not None and duration(span).total_seconds() <= 0:
                raise _invalid(f"feature {self.name!r} has an empty span", span, 'a positive span such as "30d"')


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """A table of rows in time, kept append-only in the workspace.

    ``key`` names one column or several, ``time`` the column of event time. When a row became available: the column
    ``available``; or ``as_of="event"``, which says that every row was there when it happened; or, when neither is
    given, the moment the store took it in. ``delay`` is added to that. ``id`` names the columns that tell one event
    from another: a later row with the same id corrects the earlier one in aggregates; without it every row is an
    event. ``source`` is where ``fullcircle run`` takes new rows from.
    """

    name: str
    key: str | Sequence[str]
    time: str
    available: str | None = None
    as_of: Literal["event"] | None = None
    delay: str = "0s"
    id: str | Sequence[str] = ()
    source: Table | None = None
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        _name("the name of a feature table", self.name)
        for part in ("key", "id"):
            found = getattr(self, part)
            names = (found,) if isinstance(found, str) else tuple(found)
            object.__setattr__(self, part, names)
            if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
                raise _invalid(f"{part} of table {self.name!r} is no list of different columns", repr(found), "names")
        if not self.key:
            raise _invalid(f"table {self.name!r} has no key", "()", 'key="customer", or several columns')
        if not isinstance(self.time, str) or not self.time or self.time in self.key:
            raise _invalid(f"table {self.name!r} has no time of its own", repr(self.time), "a column outside the key")
        if self.available is not None and self.as_of is not None:
            raise _invalid(
                f"table {self.name!r} says twice when its rows were available",
                f"available={self.available!r}, as_of={self.as_of!r}",
                'available="COLUMN", or as_of="event", or neither: then the store stamps each row it takes in',
            )
        if self.as_of not in (None, "event"):
            raise _invalid(f"as_of of table {self.name!r} is unknown", repr(self.as_of), '"event", or leave it out')
        duration(self.delay)
        if self.source is not None and not isinstance(self.source, Table):
            object.__setattr__(self, "source", Table(self.source))

    def latest(self, column: str, *, name: str = "", max_age: str | None = None, **about: str) -> Feature:
        """The value of ``column`` in the latest row, expired when that is older than ``max_age``."""
        return Feature(name=name or column, table=self.name, how="latest", column=column, max_age=max_age, **about)

    def sum(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The sum over the rows of a window; 0 where there is no value."""
        return self._over("sum", column, window, name, about)

    def count(self, window: str, *, column: str | None = None, name: str = "", **about: str) -> Feature:
        """How many rows a window has; with ``column``, how many values."""
        return self._over("count", column, window, name, about)

    def mean(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The mean over a window: its sum over its count."""
        return self._over("mean", column, window, name, about)

    def min(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The smallest value of a window."""
        return self._over("min", column, window, name, about)

    def max(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The largest value of a window."""
        return self._over("max", column, window, name, about)

    def first(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The first value of a window."""
        return self._over("first", column, window, name, about)

    def last(self, column: str, window: str, *, name: str = "", **about: str) -> Feature:
        """The last value of a window."""
        return self._over("last", column, window, name, about)

    def _over(self, how: How, column: str | None, window: str, name: str, about: Mapping[str, str]) -> Feature:
        name = name or "_".join(part for part in (column or self.name, how, window.replace(" ", "")) if part)
        return Feature(name=name, table=self.name, how=how, column=column, window=window, **about)


@dataclass(frozen=True, kw_only=True)
class OnDemand:
    """A function of features and of what the caller sends, computed when a row is asked for. See ``on_demand``.

    ``call`` takes the arguments ``inputs`` (names of features or request columns) by position, ``source`` is its
    text. With ``vectorized`` it takes and returns numpy arrays, else single values, None for what is missing.
    """

    name: str
    call: Callable[..., Any]
    source: str
    inputs: tuple[str, ...]
    returns: Literal["int", "float", "bool", "str"]
    imports: tuple[str, ...] = ()
    vectorized: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureView:
    """The features of one model, as one definition for training and for serving.

    ``tables`` are the tables it reads, ``features`` are of these tables or on-demand functions. ``labels`` is the
    table of training rows: it has the key columns, a time, the label, and the columns of ``request``, which a caller
    sends with the keys; ``request`` maps each to int, float, bool or str. ``on`` maps a table's key column to another
    name in the labels and in requests. ``closed="left"`` leaves out what becomes visible exactly when it is asked
    for.
    """

    name: str
    tables: Sequence[FeatureTable]
    features: Sequence[Feature | OnDemand]
    labels: Table | None = None
    request: Mapping[str, type] = field(default_factory=dict)
    on: Mapping[str, str] = field(default_factory=dict)
    closed: Closed = "right"
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        _name("the name of a view", self.name)
        for part in ("tables", "features"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        if self.labels is not None and not isinstance(self.labels, Table):
            object.__setattr__(self, "labels", Table(self.labels))
        if self.closed not in ("right", "left"):
            raise _invalid(f"closed of view {self.name!r} is unknown", repr(self.closed), "right, left")
        if not isinstance(self.request, Mapping) or not set(self.request.values()) <= set(REQUEST_TYPES):
            raise _invalid(
                f"request of view {self.name!r} does not say what a caller sends",
                repr(self.request),
                '{"amount": float}: a type of int, float, bool, str for each column',
            )
        self._check_tables()
        self._check_names()

    def _check_tables(self) -> None:
        names = [table.name for table in self.tables if isinstance(table, FeatureTable)]
        if len(names) != len(self.tables) or len(set(names)) != len(names):
            raise _invalid(f"tables of view {self.name!r} are not different FeatureTables", repr(names), "each once")
        for feature in self.features:
            if not isinstance(feature, Feature | OnDemand):
                raise _invalid(
                    f"view {self.name!r} holds something that is no feature", repr(feature), "table.latest()"
                )
            if isinstance(feature, Feature) and feature.table not in names:
                raise _invalid(
                    f"feature {feature.name!r} is of a table that view {self.name!r} does not name",
                    feature.table,
                    ", ".join(names) or "none",
                )
        unknown = sorted(set(self.on) - {column for table in self.tables for column in table.key})
        if unknown:
            raise _invalid(f"on of view {self.name!r} names no key column", ", ".join(unknown), "keys of its tables")

    def _check_names(self) -> None:
        names = [*self.names, *self.request, *self.keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not self.features:
            raise _invalid(
                f"view {self.name!r} has {'two columns of one name' if twice else 'no features'}",
                ", ".join(twice) or "[]",
                'each name once: table.latest("amount", name="last_amount")',
            )
        known = {*self.request, *self.keys}
        for feature in self.features:
            if isinstance(feature, OnDemand):
                absent = [name for name in feature.inputs if name not in known]
                if absent:
                    raise _invalid(
                        f"the on-demand feature {feature.name!r} asks for what comes later or is not there",
                        ", ".join(absent),
                        ", ".join(sorted(known)),
                    )
            known.add(feature.name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns of labels and requests, each once, in the order of the tables."""
        return tuple(dict.fromkeys(self.on.get(column, column) for table in self.tables for column in table.key))

    @property
    def time(self) -> str | None:
        """The column of time of the labels."""
        return None if self.labels is None else self.labels.time

    def with_labels(self, labels: Any, time: str | None = None) -> FeatureView:
        """The same view over other training rows."""
        return replace(self, labels=labels if isinstance(labels, Table) else Table(labels, time=time))


def _name(what: str, value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _invalid(f"{what} cannot be used", repr(value), "1 to 63 letters, digits and _, no digit first")


def _invalid(what: str, received: object, allowed: str) -> FeatureInvalid:
    return FeatureInvalid(what, received=received, allowed=allowed, next_step="mend the declaration of the view")
