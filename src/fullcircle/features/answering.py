"""Online answers: from the keys of a request to the features of a view, as they are known at a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from fullcircle.errors import ViewNotPublished
from fullcircle.features import eventpacking, packing
from fullcircle.features.definitions import functions_in_order, outputs
from fullcircle.features.function_rows import Failed, compute
from fullcircle.features.functions import load
from fullcircle.features.keys import encode_rows, plain_key
from fullcircle.features.online import OnlineStore
from fullcircle.features.positions import Position, position, position_of
from fullcircle.types.definitions import FeatureSpec, FunctionSpec, ViewSpec
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


class Plan:
    """A view ready to answer from an online store. One thread at a time; the store's layouts are remembered."""

    def __init__(self, spec: ViewSpec, online: OnlineStore) -> None:
        self.spec = spec
        self._online = online
        self._parts: list[_LatestPart | _WindowPart] = []
        for table in spec.tables:
            mine = [feature for feature in spec.features if feature.table == table.name]
            latest = [feature for feature in mine if feature.how == "latest"]
            over = [feature for feature in mine if feature.how != "latest"]
            if latest:
                self._parts.append(_LatestPart(spec, table.name, latest, online))
            if over:
                self._parts.append(_WindowPart(spec, table.name, over, online))
        self._functions = Functions(spec)
        self._sorted = [feature.name for part in self._parts for feature in part.features] == list(spec.order)

    def exact_from(self) -> int:
        """The moment from which on answers are exact, nanoseconds since 1970. Raises ViewNotPublished."""
        return max(self._position(table.name).horizon for table in self.spec.tables) if self.spec.tables else 0

    def check(self) -> None:
        """Raise ViewNotPublished unless the store holds what this definition needs of every table."""
        for part in self._parts:
            part.check(self._position(part.table))

    def get(self, rows: Sequence[Row], moments: Sequence[int]) -> list[Vector]:
        """The features of each row at its moment (nanoseconds since 1970).

        A feature that a row brings along is kept.
        """
        shift = 1 if self.spec.closed == "left" else 0
        vectors = [Vector({}) for _ in rows]
        for part in self._parts:
            part.fill(rows, moments, shift, vectors)
        return self._functions.finish(rows, vectors, in_order=self._sorted)

    def _position(self, table: str) -> Position:
        found = position(self._online, table)
        if not found.published:
            raise _unpublished(self.spec, table, "nothing of it was published yet")
        return found


class Functions:
    """The on-demand functions of a view, the features that a caller passes, and the order of the whole."""

    def __init__(self, spec: ViewSpec) -> None:
        self._spec = spec
        self._kinds = outputs(spec)
        self._inputs = {**self._kinds, **spec.request}
        self._calls: list[tuple[FunctionSpec, Callable[..., Any]]] = [
            (function, load(function)) for function in functions_in_order(spec)
        ]

    def finish(self, rows: Sequence[Row], vectors: list[Vector], *, in_order: bool = False) -> list[Vector]:
        """Put in what callers pass, compute what is on demand, and bring all features into their order."""
        kinds = self._kinds
        for row, vector in zip(rows, vectors, strict=True):
            if not kinds.keys().isdisjoint(row):
                passed = {name: row[name] for name in row if name in kinds}
                vector.values |= passed
                vector.states = {name: state for name, state in vector.states.items() if name not in passed}
        if self._calls:
            self._compute(rows, vectors)
        if not in_order or self._calls:
            order = self._spec.order
            for vector in vectors:
                vector.values = {name: vector.values[name] for name in order}
        return vectors

    def _compute(self, rows: Sequence[Row], vectors: list[Vector]) -> None:
        for function, call in self._calls:
            asked = [place for place, row in enumerate(rows) if function.name not in row]
            columns = {
                name: [self._argument(name, rows[place], vectors[place]) for place in asked]
                for name in function.inputs
            }
            found = compute(function, call, columns, len(asked), kinds=self._inputs)
            for place, answer in zip(asked, found, strict=True):
                vector = vectors[place]
                if isinstance(answer, Failed):
                    vector.failed[function.name] = answer.text
                    answer = None
                vector.values[function.name] = answer
                if answer is None:
                    vector.states[function.name] = "null"

    def _argument(self, name: str, row: Row, vector: Vector) -> Any:
        if name in vector.values:
            return vector.values[name]
        return requested(row.get(name), self._spec.request.get(name, ""))


def requested(value: Any, kind: str) -> Any:
    """What a caller sent, as functions get it: of the declared kind, or None.

    The contract judges the value itself.
    """
    if kind == "float":
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "int":
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "bool":
        return value if isinstance(value, bool) else None
    return value if isinstance(value, str) or not kind else None


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
            raise _unpublished(self._spec, self.table, f"its layout {layout} is not known")
        return found


class _LatestPart(_Part):
    def __init__(self, spec: ViewSpec, table: str, features: Sequence[FeatureSpec], online: OnlineStore) -> None:
        super().__init__(spec, table, features, online)
        self._space = f"latest.{table}"
        self._readers: dict[int, tuple[packing.Layout, Callable[[list[Any]], tuple[Any, ...]]]] = {}
        self._ages = [(feature.name, feature.max_age) for feature in features if feature.max_age is not None]
        self._youngest = min((age for _, age in self._ages), default=None)

    def check(self, known: Position) -> None:
        _need(self._spec, self.table, self.features, known.latest)

    def fill(self, rows: Sequence[Row], moments: Sequence[int], shift: int, vectors: list[Vector]) -> None:
        for entry, t, vector in zip(self._read(self._space, rows, vectors), moments, vectors, strict=True):
            found = None if entry is None else packing.pick(entry, t - shift)
            if found is None or entry is None:
                vector.values.update(self._nothing)
                vector.states.update(self._missing)
                continue
            number, e, _, start = found
            layout, chosen = self._readers.get(number) or self._reader(number)
            values = chosen(layout.values(entry, start))
            vector.values.update(zip(self._names, values, strict=True))
            if None in values:
                vector.states.update((name, "null") for name in self._names if vector.values[name] is None)
            if self._youngest is not None and e < t - self._youngest:
                for name, age in self._ages:
                    if age is not None and e < t - age:
                        vector.values[name] = None
                        vector.states[name] = "expired"

    def _reader(self, number: int) -> tuple[packing.Layout, Callable[[list[Any]], tuple[Any, ...]]]:
        known = self._layout_position(number)
        _need(self._spec, self.table, self.features, known.latest)
        layout = packing.Layout(number, known.latest)
        places = [layout.places[str(feature.column)] for feature in self.features]
        one = places[0]
        chosen: Any = itemgetter(*places) if len(places) > 1 else (lambda values: (values[one],))
        self._readers[number] = layout, chosen
        return layout, chosen


class _WindowPart(_Part):
    def __init__(self, spec: ViewSpec, table: str, features: Sequence[FeatureSpec], online: OnlineStore) -> None:
        super().__init__(spec, table, features, online)
        self._space = f"events.{table}"
        self._asking: dict[int, eventpacking.Asking] = {}

    def check(self, known: Position) -> None:
        _need(self._spec, self.table, [one for one in self.features if one.column is not None], known.events)
        longest = max(int(feature.window or 0) for feature in self.features)
        if not known.windows or known.retain < longest:
            raise _unpublished(self._spec, self.table, "its events do not reach back far enough")

    def fill(self, rows: Sequence[Row], moments: Sequence[int], shift: int, vectors: list[Vector]) -> None:
        for entry, t, vector in zip(self._read(self._space, rows, vectors), moments, vectors, strict=True):
            if entry is None:
                self._none(vector)
                continue
            asking = self._of(eventpacking.layout_of(entry))
            opened = asking.open(entry)
            for one in self.features:
                value = asking.answer(opened, t - shift, one.how, one.column, int(one.window or 0), one.type)
                vector.values[one.name] = value
                if value is None:
                    vector.states[one.name] = "missing"

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
        raise _unpublished(spec, table, f"it is there without {', '.join(dict.fromkeys(absent))}")


def _unpublished(spec: ViewSpec, table: str, why: str) -> ViewNotPublished:
    return ViewNotPublished(
        f"the view {spec.name!r} cannot be answered online: table {table!r}: {why}",
        next_step=f"publish it: fullcircle features publish {spec.name}",
    )


def computed(spec: ViewSpec, columns: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The on-demand features of training rows as Arrow columns; ``columns`` are those of features and requests."""
    if not spec.functions:
        return {}
    import pyarrow as pa

    from fullcircle.features.kinds import arrow_type

    kinds, made = outputs(spec), {}
    lists: dict[str, list[Any]] = {}
    for function in functions_in_order(spec):
        for name in function.inputs:
            if name not in lists:
                lists[name] = as_values(columns[name], spec.request.get(name, ""))
        given = {name: lists[name] for name in function.inputs}
        found = compute(function, load(function), given, rows, kinds={**kinds, **spec.request})
        lists[function.name] = [None if isinstance(one, Failed) else one for one in found]
        made[function.name] = pa.array(lists[function.name], type=arrow_type(kinds[function.name]))
    return made


def as_values(column: Any, kind: str = "") -> list[Any]:
    """A column of training rows as the values that serving would give a function."""
    from fullcircle.features.kinds import is_time, kind_of

    found = kind_of(column.type, "")
    if is_time(found):
        import pyarrow as pa

        read = packing.moment_reader(found)
        ticks = column.cast(pa.int32() if found == "date" else pa.int64()).to_pylist()
        return [None if tick is None else read(tick) for tick in ticks]
    values = column.to_pylist()
    return [requested(value, kind) for value in values] if kind else values
