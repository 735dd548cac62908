"""Online answers: from the keys of a request to the features of a view, as they are known at a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fullcircle.errors import FeatureInvalid
from fullcircle.features import packing
from fullcircle.features.definitions import functions_in_order, outputs
from fullcircle.features.function_rows import Failed, compute
from fullcircle.features.functions import load
from fullcircle.features.keys import key_value
from fullcircle.features.kinds import is_number
from fullcircle.features.online import OnlineStore
from fullcircle.features.parts import LatestPart, Row, Vector, WindowPart, refuse_unkeyed, unpublished
from fullcircle.features.positions import Position, position
from fullcircle.types.definitions import FunctionSpec, ViewSpec

Past = Callable[[Sequence[Row], Sequence[int]], Sequence[Vector]]


class Plan:
    """A view ready to answer from an online store. One thread at a time; the store's layouts are remembered."""

    def __init__(self, spec: ViewSpec, online: OnlineStore) -> None:
        self.spec = spec
        self._online = online
        self._parts: list[LatestPart | WindowPart] = []
        for table in spec.tables:
            mine = [feature for feature in spec.features if feature.table == table.name]
            latest = [feature for feature in mine if feature.how == "latest"]
            over = [feature for feature in mine if feature.how != "latest"]
            if latest:
                self._parts.append(LatestPart(spec, table.name, latest, online))
            if over:
                self._parts.append(WindowPart(spec, table.name, over, online))
        self._functions = Functions(spec)
        self._outputs = outputs(spec)
        places = {name: place for place, name in enumerate(spec.order)}
        self._places = [[places[feature.name] for feature in part.features] for part in self._parts]
        self._no_numbers = [(name, kind) for name, kind in self._outputs.items() if not is_number(kind)]
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

    def answer(self, rows: Sequence[Row], moments: Sequence[int], now: int, past: Past | None) -> list[Any]:
        """The features of each row at its moment, from the online store where that is exact, else from ``past``.

        Without ``past`` what the store cannot answer exactly any more is None.
        """
        earlier = any(at < now for at in moments)
        exact = self.exact_from() if earlier else now
        chosen = [place for place, at in enumerate(moments) if at >= exact]
        found: list[Any] = [None] * len(rows)
        vectors = self.get([rows[place] for place in chosen], [moments[place] for place in chosen]) if chosen else []
        if earlier:  # somebody may have published meanwhile, and let go of what was superseded
            exact = self.exact_from()
        for place, vector in zip(chosen, vectors, strict=True):
            found[place] = vector if moments[place] >= min(exact, now) else None
        rest = [place for place, vector in enumerate(found) if vector is None]
        if rest and past is not None:
            answers = past([rows[place] for place in rest], [moments[place] for place in rest])
            for place, vector in zip(rest, answers, strict=True):
                found[place] = vector
        return found

    def matrix(self, rows: Sequence[Row], moment: int) -> Any:
        """The features of several rows at one moment as float64, shape (rows, features), NaN where there is no value.

        Raises FeatureInvalid where a feature is no number, DataUnfit for a row without its keys.
        """
        import numpy as np

        for name, kind in self._no_numbers:
            raise FeatureInvalid(
                f"feature {name!r} is no number, so it has no place in a matrix",
                received=kind,
                allowed="integers, floats and booleans",
                next_step="ask for mappings or a frame instead",
            )
        if self.spec.functions or any(name in self._outputs for row in rows for name in row):
            vectors = self.get(rows, [moment] * len(rows))
            refuse_unkeyed(self.spec, vectors)
            found = [[np.nan if one is None else one for one in vector.values.values()] for vector in vectors]
            return np.array(found, dtype=np.float64)
        t = moment - 1 if self.spec.closed == "left" else moment
        vectors = [Vector({}) for _ in rows]
        if len(self._parts) == 1 and self._sorted:
            found = self._parts[0].numbers(rows, t, moment, vectors)
            refuse_unkeyed(self.spec, vectors)
            return found
        made = np.empty((len(rows), len(self.spec.order)))
        for part, places in zip(self._parts, self._places, strict=True):
            made[:, places] = part.numbers(rows, t, moment, vectors)
        refuse_unkeyed(self.spec, vectors)
        return made

    def _position(self, table: str) -> Position:
        found = position(self._online, table)
        if not found.published:
            raise unpublished(self.spec, table, "nothing of it was published yet")
        return found


class Functions:
    """The on-demand functions of a view, the features that a caller passes, and the order of the whole."""

    def __init__(self, spec: ViewSpec) -> None:
        self._spec = spec
        self._kinds = outputs(spec)
        self._inputs = {**self._kinds, **spec.request}
        self._keys = spec.kinds_of_keys
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
        if name in self._keys:
            return key_value(row.get(name), self._keys[name])
        return requested(row.get(name), self._spec.request.get(name, ""))


def requested(value: Any, kind: str) -> Any:
    """What a caller sent, as functions get it: of the declared kind, or None.

    The contract judges the value itself.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if kind == "float":
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "int":
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "bool":
        return value if isinstance(value, bool) else None
    return value if isinstance(value, str) or not kind else None


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
