"""Training sets: the features of a view at the times of labels, from the tables as they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.errors import FeatureInvalid
from fullcircle.features import frames, keys, windows
from fullcircle.features.answering import computed
from fullcircle.features.commits import TableState
from fullcircle.features.engine import OfflineEngine, find_engine
from fullcircle.features.joining import answers, check_memory, questions, states
from fullcircle.features.kinds import arrow_type
from fullcircle.features.log import AVAILABLE, EVENT, TableLog
from fullcircle.features.pieces import Labels
from fullcircle.features.reading import column_of, index_of, numbers_of
from fullcircle.features.statuses import MISSING, PRESENT, words
from fullcircle.types.definitions import FeatureSpec, TableSpec, ViewSpec

Tables = Mapping[str, tuple[TableLog, TableState]]


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Labels with features. ``frame`` is in the library of the labels (a path where it was written to a file).

    ``versions`` are the tables' commit numbers and hashes, ``reused`` says that it was computed before and read back,
    ``notes`` what a person should know.
    """

    view: str
    definition: str
    frame: Any
    rows: int
    features: tuple[str, ...]
    versions: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    reused: bool = False
    notes: tuple[str, ...] = ()


def train(
    spec: ViewSpec,
    tables: Tables,
    labels: Any,
    *,
    status: bool = False,
    out: str | Path | None = None,
    memory: str | None = None,
    engine: OfflineEngine | None = None,
) -> Any:
    """The labels with the features of a view as they were known at the time of each, in the labels' library.

    ``labels`` is any frame, or a Parquet path, with the key columns, the request columns and the time. With
    ``status`` each feature has a column ``NAME__status`` beside it. ``out`` and ``memory``: as in ``join``.
    """
    what = "the labels"
    check_memory(memory)
    left = Labels(labels, what)
    refuse_taken(spec, left.names, status=status)
    asked = left.read(columns_of(spec))
    moments = frames.nanoseconds(asked.column(spec.time), spec.time, what)
    joins = engine or find_engine()

    def parts_of(table: TableSpec) -> list[_Latest | _Windows]:
        log, state = tables[table.name]
        mine = [feature for feature in spec.features if feature.table == table.name]
        label_keys = keys.key_columns(asked, spec.keys[table.name], what)
        latest = [feature for feature in mine if feature.how == "latest"]
        over = [feature for feature in mine if feature.how != "latest"]
        made: list[_Latest | _Windows] = []
        if latest:
            made.append(_Latest(spec, latest, log, state, label_keys, moments, memory, joins))
        if over:
            made.append(_Windows(spec, table, over, log, state, label_keys, moments))
        return made

    # Two tables at once: one is read while the other is joined. Where memory is short, one after another.
    with ThreadPoolExecutor(1 if memory or len(spec.tables) < 2 else 2) as pool:
        parts = [part for made in pool.map(parts_of, spec.tables) for part in made]

    def piece(start: int, stop: int) -> Any:
        made: dict[str, Any] = {}
        for part in parts:
            made |= part.columns(start, stop)
        request = {name: asked.column(name).slice(start, stop - start) for name in _requested(spec)}
        return _assembled(spec, made, request, stop - start, status)

    return left.with_columns(piece, out)


def refuse_taken(spec: ViewSpec, names: Sequence[str], *, status: bool) -> None:
    """Raise FeatureInvalid where labels have a column with the name of a feature, or of its status."""
    taken = sorted({*spec.order, *(f"{name}__status" for name in spec.order if status)} & set(names))
    if taken:
        raise FeatureInvalid(
            "the labels have a column with the name of a feature",
            received=", ".join(taken),
            allowed=f"any name but {', '.join(spec.order[:20])}" + (" and these with __status" if status else ""),
            next_step="leave that column out, or rename it",
        )


def without_functions(spec: ViewSpec) -> ViewSpec:
    """A view without its on-demand functions."""
    names = {feature.name for feature in spec.features}
    return replace(spec, functions=(), order=tuple(name for name in spec.order if name in names))


def columns_of(spec: ViewSpec) -> list[str]:
    """The columns of labels that decide what their features are."""
    return list(dict.fromkeys([*spec.key_columns, spec.time, *_requested(spec)]))


def _requested(spec: ViewSpec) -> list[str]:
    """What functions need of the labels themselves."""
    wanted = {name for function in spec.functions for name in function.inputs}
    return [name for name in dict.fromkeys((*spec.request, *spec.key_columns)) if name in wanted]


def _assembled(spec: ViewSpec, made: Mapping[str, Any], request: Mapping[str, Any], rows: int, status: bool) -> Any:
    import pyarrow as pa

    columns = {name: pair[0] for name, pair in made.items()}
    columns |= computed(spec, {**request, **columns}, rows)
    table: dict[str, Any] = {}
    for name in spec.order:
        table[name] = columns[name]
        if status:
            state = made[name][1] if name in made else np.zeros(rows, dtype=np.uint8)
            table[f"{name}__status"] = words(state, columns[name])
    return pa.table(table)


class _Latest:
    """The latest values of a table: one join for all its features."""

    def __init__(
        self,
        spec: ViewSpec,
        features: Sequence[FeatureSpec],
        log: TableLog,
        state: TableState,
        label_keys: Sequence[Any],
        moments: Any,
        memory: str | None,
        engine: OfflineEngine,
    ) -> None:
        files = state.latest_files()
        index = index_of(log, state, files)
        names = [f"k{place}" for place in range(len(label_keys))]
        if state.files:
            keys.check_alike(
                label_keys, [index.column(name) for name in names], log.spec.key, f"table {log.spec.name!r}"
            )
        self._features = features
        self._source = log.files(files, dict(state.columns))
        self._found = engine.positions(
            questions(label_keys, moments, spec.closed), index, settled=state.settled, memory=memory
        )
        e = index.column("e").to_numpy()
        self._states = {
            age: states(self._found, e, moments, age) for age in {feature.max_age for feature in features}
        }

    def columns(self, start: int, stop: int) -> dict[str, tuple[Any, Any]]:
        """The values and states of each feature for some labels."""
        made = {}
        for age, state in self._states.items():
            mine = [feature for feature in self._features if feature.max_age == age]
            wanted = list(dict.fromkeys(str(feature.column) for feature in mine))
            part = state[start:stop]
            values = answers(self._source, wanted, self._found[start:stop], part, status=False)
            made.update({feature.name: (values.column(feature.column), part) for feature in mine})
        return made


class _Windows:
    """The aggregates of a table: its events in order, asked by the kernel."""

    def __init__(
        self,
        spec: ViewSpec,
        table: TableSpec,
        features: Sequence[FeatureSpec],
        log: TableLog,
        state: TableState,
        label_keys: Sequence[Any],
        moments: Any,
    ) -> None:
        self._features = features
        self._source = log.files(state.files, dict(state.columns))
        columns = list(dict.fromkeys(feature.column for feature in features if feature.column is not None))
        read = self._source.read(list(dict.fromkeys([*table.key, *table.id, EVENT, AVAILABLE, *columns])))
        own = keys.key_columns(read, table.key, f"table {table.name!r}")
        if state.files:
            keys.check_alike(label_keys, own, table.key, f"table {table.name!r}")
        asked, mine = keys.codes([label_keys, own]) if state.files else (np.zeros(len(moments), dtype=np.int64),) * 2
        if not state.files:
            mine = mine[:0]
        e, a = (read.column(name).to_numpy() for name in (EVENT, AVAILABLE))
        s = numbers_of(log, state, state.files)
        self._order = np.lexsort((s, a, e, mine))
        until = _until(read, table, mine, e, a, s)
        kinds = {str(feature.column): feature.kind for feature in features if feature.column is not None}
        self._events = windows.Events(
            e=e[self._order],
            v=np.maximum(e, a)[self._order],
            until=until[self._order],
            columns={name: _in_order(column_of(read.column(name), kinds[name]), self._order) for name in columns},
        )
        ordered = mine[self._order]
        self._starts = np.searchsorted(ordered, asked, side="left")
        self._ends = np.searchsorted(ordered, asked, side="right")
        self._t = moments - 1 if spec.closed == "left" else moments

    def columns(self, start: int, stop: int) -> dict[str, tuple[Any, Any]]:
        """The values and states of each feature for some labels."""
        made = {}
        starts, ends, t = (one[start:stop] for one in (self._starts, self._ends, self._t))
        for window in {int(feature.window or 0) for feature in self._features}:
            mine = [feature for feature in self._features if feature.window == window]
            wanted = [(feature.how, feature.column) for feature in mine]
            answers_of = windows.aggregates(self._events, starts, ends, t, wanted, window)
            for feature, found in zip(mine, answers_of, strict=True):
                state = np.where(found.present, PRESENT, MISSING).astype(np.uint8)
                made[feature.name] = (self._values(feature, found), state)
        return made

    def _values(self, feature: FeatureSpec, found: windows.Answers) -> Any:
        if feature.how in ("first", "last"):
            return self._taken(str(feature.column), found)
        return as_arrow(found.values, found.present, feature.type)

    def _taken(self, column: str, found: windows.Answers) -> Any:
        places = np.where(found.present, self._order[np.maximum(found.values, 0)] if len(self._order) else -1, -1)
        return self._source.take([column], places).column(column)


def as_arrow(values: Any, present: Any, kind: str) -> Any:
    """Answers of the kernel as an Arrow column of their kind, null where there is none."""
    import pyarrow as pa

    wanted = arrow_type(kind)
    if pa.types.is_date32(wanted):
        return pa.array(values.astype(np.int32), mask=~present).cast(wanted)
    if pa.types.is_timestamp(wanted):
        return pa.array(values.astype(np.int64), mask=~present).cast(wanted)
    return pa.array(values, mask=~present).cast(wanted)


def _until(read: Any, table: TableSpec, own: Any, e: Any, a: Any, s: Any) -> Any:
    if not table.id:
        return np.full(len(e), windows.FOREVER)
    identity = keys.key_columns(read, table.id, f"table {table.name!r}")
    (group,) = keys.codes([[_as_array(own), *identity]])
    return windows.corrected(group, e, a, s)


def _as_array(values: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([pa.array(values)])


def _in_order(column: windows.Column, order: Any) -> windows.Column:
    return windows.Column(column.values[order], None if column.valid is None else column.valid[order])
