"""What answers for the features of one table: latest values from one entry a key, aggregates from its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from fullcircle.errors import DataUnfit, ViewNotPublished
from fullcircle.features import eventpacking, packing
from fullcircle.features.keys import encode_rows, plain_key
from fullcircle.features.online import OnlineStore
from fullcircle.features.positions import Position, position_of
from fullcircle.types.definitions import FeatureSpec, ViewSpec
from fullcircle.types.features import Status

Row = Mapping[str, Any]


@dataclass(slots=True)
class Vector:
    """The features of one row.

    ``states`` names those that are not present, ``unkeyed`` the key columns that the row lacks. ``failed``
    says why an on-demand function gave no answer, by feature.
    """

    values: dict[str, Any]
    states: dict[str, Status] = field(default_factory=dict)
    unkeyed: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


class _Part:
    """What answers for some features of one table."""

    def __init__(self, spec: ViewSpec, table: str, features: Sequence[FeatureSpec], online: OnlineStore) -> None:
        self.table, self.features = table, tuple(features)
        self._spec, self._online = spec, online
        self._names = tuple(feature.name for feature in features)
        self._keys = tuple(zip(spec.keys[table], spec.key_kinds[table], strict=True))
        self._missing: dict[str, Status] = dict.fromkeys(self._names, "missing")
        self._nothing: dict[str, Any] = dict.fromkeys(self._names)

    def _read(self, space: str, rows: Sequence[Row], vectors: list[Vector]) -> list[bytes | None]:
        """The entry of each row, by one read; a row without a usable key is noted."""
        parts = []
        for place, row in enumerate(rows):
            key = [plain_key(row.get(column), kind) for column, kind in self._keys]
            if None in key:
                lacking = [column for (column, _), part in zip(self._keys, key, strict=True) if part is None]
                vectors[place].unkeyed = tuple(dict.fromkeys((*vectors[place].unkeyed, *lacking)))
            parts.append(key)
        return self._online.read(space, encode_rows(parts))

    def _layout_position(self, layout: int) -> Position:
        found = position_of(self._online, self.table, layout)
        if found is None:
            raise unpublished(self._spec, self.table, f"its layout {layout} is not known")
        return found


class LatestPart(_Part):
    """The latest values of a table."""

    def __init__(self, spec: ViewSpec, table: str, features: Sequence[FeatureSpec], online: OnlineStore) -> None:
        super().__init__(spec, table, features, online)
        self._space = f"latest.{table}"
        self._readers: dict[int, tuple[packing.Layout, Callable[[list[Any]], tuple[Any, ...]]]] = {}
        self._ages = [(feature.name, feature.max_age) for feature in features if feature.max_age is not None]
        self._aging = [(place, one.max_age) for place, one in enumerate(features) if one.max_age is not None]
        self._columns = [str(feature.column) for feature in features]
        self._youngest = min((age for _, age in self._ages), default=None)

    def check(self, known: Position) -> None:
        """Raise ViewNotPublished unless what is online of the table holds these features."""
        _need(self._spec, self.table, self.features, known.latest)

    def fill(self, rows: Sequence[Row], moments: Sequence[int], shift: int, vectors: list[Vector]) -> None:
        """Put the features of each row at its moment into its vector."""
        for entry, t, vector in zip(self._read(self._space, rows, vectors), moments, vectors, strict=True):
            found = None if entry is None else packing.pick(entry, t - shift)
            if found is None or entry is None:
                vector.values.update(self._nothing)
                vector.states.update(self._missing)
                continue
            number, e, _, start = found
            layout, chosen = self._readers.get(number) or self._reader(number)
            values = layout.values(entry, start)
            made = self._nothing.copy()  # it has the room already: a third faster than a dict that grows
            made.update(zip(self._names, values if chosen is None else chosen(values), strict=True))
            vector.values = vector.values | made if vector.values else made
            if layout.has_nulls(entry, start):
                vector.states.update((name, "null") for name in self._names if vector.values[name] is None)
            if self._youngest is not None and e < t - self._youngest:
                for name, age in self._ages:
                    if age is not None and e < t - age:
                        vector.values[name] = None
                        vector.states[name] = "expired"

    def numbers(self, rows: Sequence[Row], t: int, moment: int, vectors: list[Vector]) -> Any:
        """The features of each row as float64, shape (rows, features): known at ``t``, expired by ``moment``.

        NaN is no value; vectors note which rows have no usable key.
        """
        import numpy as np

        groups: dict[int, list[tuple[int, int, bytes]]] = {}
        for place, entry in enumerate(self._read(self._space, rows, vectors)):
            found = None if entry is None else packing.pick(entry, t)
            if found is not None and entry is not None:
                layout = (self._readers.get(found[0]) or self._reader(found[0]))[0]
                payload = entry[found[3] : found[3] + layout.fixed]
                groups.setdefault(found[0], []).append((place, found[1], payload))
        whole = [len(group) for group in groups.values()] == [len(rows)]  # each has a value, under one layout
        made = np.empty(0) if whole else np.full((len(rows), len(self.features)), np.nan)
        for number, group in groups.items():
            places, events, payloads = zip(*group, strict=True)
            values = self._readers[number][0].numbers(payloads, self._columns)
            for column, age in self._aging:
                values[np.array(events) < moment - age, column] = np.nan
            if whole:
                return values
            made[list(places)] = values
        return made

    def _reader(self, number: int) -> tuple[packing.Layout, Callable[[list[Any]], tuple[Any, ...]]]:
        known = self._layout_position(number)
        _need(self._spec, self.table, self.features, known.latest)
        layout = packing.Layout(number, known.latest)
        places = [layout.places[str(feature.column)] for feature in self.features]
        one = places[0]
        chosen: Any = itemgetter(*places) if len(places) > 1 else (lambda values: (values[one],))
        if places == list(range(len(known.latest))):
            chosen = None  # all of them, in order
        self._readers[number] = layout, chosen
        return layout, chosen


class WindowPart(_Part):
    """The aggregates of a table."""

    def __init__(self, spec: ViewSpec, table: str, features: Sequence[FeatureSpec], online: OnlineStore) -> None:
        super().__init__(spec, table, features, online)
        self._space = f"events.{table}"
        self._asking: dict[int, eventpacking.Asking] = {}

    def check(self, known: Position) -> None:
        """Raise ViewNotPublished unless what is online of the table holds these features."""
        _need(self._spec, self.table, [one for one in self.features if one.column is not None], known.events)
        longest = max(int(feature.window or 0) for feature in self.features)
        if not known.windows or known.retain < longest:
            raise unpublished(self._spec, self.table, "its events do not reach back far enough")

    def fill(self, rows: Sequence[Row], moments: Sequence[int], shift: int, vectors: list[Vector]) -> None:
        """Put the features of each row at its moment into its vector."""
        for entry, t, vector in zip(self._read(self._space, rows, vectors), moments, vectors, strict=True):
            if entry is None:
                self._none(vector)
                continue
            asking = self._of(eventpacking.layout_of(entry))
            opened = asking.open(entry)
            for one in self.features:
                try:
                    value = asking.answer(opened, t - shift, one.how, one.column, int(one.window or 0), one.type)
                except DataUnfit as error:  # a sum that does not fit: this row's own trouble, not its neighbours'
                    vector.failed[one.name] = error.what
                    value = None
                vector.values[one.name] = value
                if value is None:
                    vector.states[one.name] = "missing"

    def numbers(self, rows: Sequence[Row], t: int, moment: int, vectors: list[Vector]) -> Any:
        """The features of each row as float64, shape (rows, features), NaN for no value: known at ``t``."""
        import numpy as np

        self.fill(rows, [t] * len(rows), 0, vectors)
        found = [[vector.values[one.name] for one in self.features] for vector in vectors]
        return np.array([[np.nan if one is None else one for one in values] for values in found], dtype=np.float64)

    def _none(self, vector: Vector) -> None:
        for one in self.features:
            if one.how in ("sum", "count"):
                vector.values[one.name] = 0.0 if one.type == "float64" else 0
            else:
                vector.values[one.name] = None
                vector.states[one.name] = "missing"

    def _of(self, number: int) -> eventpacking.Asking:
        if number not in self._asking:
            known = self._layout_position(number)
            self.check(known)
            layout = eventpacking.EventLayout(number, known.events, known.identified)
            self._asking[number] = eventpacking.Asking(layout)
        return self._asking[number]


def _need(spec: ViewSpec, table: str, features: Sequence[FeatureSpec], known: Sequence[tuple[str, str]]) -> None:
    there = dict(known)
    absent = [str(one.column) for one in features if there.get(str(one.column)) != one.kind]
    if absent:
        raise unpublished(spec, table, f"it is there without {', '.join(dict.fromkeys(absent))}")


def unpublished(spec: ViewSpec, table: str, why: str) -> ViewNotPublished:
    """The error for a view that the online store cannot answer."""
    return ViewNotPublished(
        f"the view {spec.name!r} cannot be answered online: table {table!r}: {why}",
        next_step=f"publish it: fullcircle features publish {spec.name}",
    )


def refuse_unkeyed(spec: ViewSpec, vectors: Sequence[Vector]) -> None:
    """Raise DataUnfit where a row lacks a key, or has one of another type."""
    for place, vector in enumerate(vectors):
        if vector.unkeyed:
            kinds = spec.kinds_of_keys
            raise DataUnfit(
                f"row {place + 1} cannot be looked up in view {spec.name!r}",
                received=f"no usable {', '.join(vector.unkeyed)}",
                allowed=", ".join(f"{column}: {kinds[column]}" for column in spec.key_columns),
                next_step="give each row its keys, in the type that the tables have",
            )
