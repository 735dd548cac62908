"""The catalogue: which tables and views there are, how fresh they are, and which models are made of what.

Nothing of it is written anywhere: it is what tables, definitions and the ledger say when they are asked. Values are
not looked at: shares of nulls are what Parquet files say of themselves.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fullcircle.features import definitions
from fullcircle.features.commits import TableState
from fullcircle.features.log import TableLog
from fullcircle.features.store import Store
from fullcircle.ledger.state import State
from fullcircle.ledger.workspace import Workspace
from fullcircle.types.catalogue import ColumnEntry, DefinitionEntry, FeatureEntry, TableEntry, Use, ViewEntry
from fullcircle.types.definitions import FeatureSpec, FunctionSpec, TableSpec, ViewSpec

_SPANS = (("d", 86_400 * 10**9), ("h", 3_600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3))
_AVAILABLE = {"stamped": "when the store took it in", "event": "when it happened"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- tables -------------------------------------------------------------------------------------------


def tables(store: Store, workspace: Workspace) -> tuple[TableEntry, ...]:
    """All feature tables, by name."""
    specs = _latest(store, workspace)
    return tuple(_table(store, specs, spec) for spec in store.tables().values())


def table(store: Store, workspace: Workspace, name: str) -> TableEntry | None:
    """The table of this name, None where there is none."""
    spec = store.tables().get(name)
    return None if spec is None else _table(store, _latest(store, workspace), spec)


def _latest(store: Store, workspace: Workspace) -> tuple[ViewSpec, ...]:
    return tuple(store.spec(name) for name in workspace.ledger.state().views)


def _table(store: Store, specs: Sequence[ViewSpec], spec: TableSpec) -> TableEntry:
    log, state = store.log(spec), store.state(spec)
    readers = [view for view in specs if any(each.name == spec.name for each in view.tables)]
    told = [about for view in readers if any(about := view.tables_about.get(spec.name, ("", "")))]
    owner, description = told[-1] if told else ("", "")
    shares = null_shares(log, state)
    return TableEntry(
        name=spec.name,
        key=spec.key,
        time=spec.time,
        available=availability(spec),
        id=spec.id,
        owner=owner,
        description=description,
        columns=tuple(ColumnEntry(name=name, kind=kind, nulls=shares[name]) for name, kind in state.columns.items()),
        rows=state.rows,
        batches=len(state.batches),
        last_event=None if state.last_event is None else _iso(state.last_event),
        last_append=_last_append(log, state),
        views=tuple(view.name for view in readers),
    )


def availability(spec: TableSpec) -> str:
    """From when on a row of a table is known, in words."""
    rule = _AVAILABLE.get(spec.available) or f"at the time in {spec.available.removeprefix('column ')}"
    return f"{rule}, {_span(spec.delay)} later" if spec.delay else rule


def null_shares(log: TableLog, state: TableState) -> dict[str, float | None]:
    """The share of nulls in each column, from the footers of the files; None where a file does not say it."""
    counts: dict[str, int | None] = dict.fromkeys(state.columns, 0)
    for _, metadata in log.files(state.files, dict(state.columns))._files:
        said = _nulls(metadata)
        for name, before in counts.items():
            found = said.get(name, metadata.num_rows)  # one that came later is null in every row of this file
            counts[name] = None if before is None or found is None else before + found
    return {name: None if count is None or not state.rows else count / state.rows for name, count in counts.items()}


def _nulls(metadata: Any) -> dict[str, int | None]:
    """How many nulls each column of a Parquet file has, by its own statistics; of a list they say something else."""
    total: dict[str, int | None] = {}
    for place in range(metadata.num_columns):
        column = metadata.schema.column(place)
        if column.max_repetition_level:
            total[column.path.partition(".list.")[0]] = None
            continue
        said = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
        known = [one.null_count for one in said if one is not None and one.has_null_count]
        total[column.path] = sum(known) if len(known) == len(said) else None
    return total


def _last_append(log: TableLog, state: TableState) -> str | None:
    """When rows last came: the time of the newest commit that is no compaction."""
    for number in range(state.number, 0, -1):
        commit, _ = log._commits._read(number)
        if commit.kind == "append":
            return _iso(commit.time)
    return None


# --- views --------------------------------------------------------------------------------------------


def views(store: Store, workspace: Workspace) -> tuple[ViewEntry, ...]:
    """All feature views, by name, each by its latest definition."""
    registered = _registered(workspace)
    return tuple(_view(store, workspace, name, registered, {}) for name in sorted(workspace.ledger.state().views))


def view(store: Store, workspace: Workspace, name: str) -> ViewEntry | None:
    """The view of this name, with the share of nulls in its last training set; None where there is none."""
    if name not in workspace.ledger.state().views:
        return None
    return _view(store, workspace, name, _registered(workspace), last_nulls(workspace, name))


def last_nulls(workspace: Workspace, name: str) -> dict[str, float | None]:
    """The share of rows without a value, by feature, in the last training set that was made of a view and is kept."""
    import pyarrow.parquet as pq

    built = [fact.body for fact in workspace.ledger.facts("training_set.built") if fact.body.get("view") == name]
    if not built or not workspace.blobs.exists(built[-1]["blob"]):
        return {}
    metadata = pq.read_metadata(io.BytesIO(workspace.blobs.get(built[-1]["blob"])))
    rows = metadata.num_rows
    return {key: None if count is None or not rows else count / rows for key, count in _nulls(metadata).items()}


def _registered(workspace: Workspace) -> dict[tuple[str, str], str]:
    """When each definition of each view was registered first."""
    found: dict[tuple[str, str], str] = {}
    for fact in workspace.ledger.facts("view.registered"):
        found.setdefault((fact.body["view"], fact.body["definition"]), fact.time)
    return found


def _view(
    store: Store,
    workspace: Workspace,
    name: str,
    registered: Mapping[tuple[str, str], str],
    nulls: Mapping[str, float | None],
) -> ViewEntry:
    state, spec = workspace.ledger.state(), store.spec(name)
    online = state.published.get(name)
    return ViewEntry(
        name=name,
        definition=definitions.digest(spec),
        definitions=tuple(
            DefinitionEntry(digest=digest, registered=registered.get((name, digest), ""), published=digest == online)
            for digest in state.views[name]
        ),
        published=online,
        keys=spec.key_columns,
        request=spec.request,
        time=spec.time,
        closed=spec.closed,
        tables=tuple(each.name for each in spec.tables),
        features=tuple(_features(spec, nulls)),
        owner=spec.owner,
        description=spec.description,
        models=tuple(use for use in uses(state) if use.view == name),
    )


def _features(spec: ViewSpec, nulls: Mapping[str, float | None]) -> Iterator[FeatureEntry]:
    kinds = definitions.outputs(spec)
    known: dict[str, FeatureSpec | FunctionSpec] = {each.name: each for each in spec.features}
    known |= {each.name: each for each in spec.functions}
    for name in spec.order:
        each, about = known[name], spec.about.get(name, "")
        if isinstance(each, FunctionSpec):
            yield FeatureEntry(
                name=name, type=kinds[name], how="on demand", inputs=each.inputs, about=about, nulls=nulls.get(name)
            )
            continue
        yield FeatureEntry(
            name=name,
            type=kinds[name],
            how=each.how,
            table=each.table,
            column=each.column or "",
            window=_span(each.window),
            max_age=_span(each.max_age),
            about=about,
            nulls=nulls.get(name),
        )


# --- models -------------------------------------------------------------------------------------------


def uses(state: State) -> tuple[Use, ...]:
    """Which model was made from which view, by the runs of its versions; a run that names no view used none."""
    versions: dict[tuple[str, str], list[int]] = {}
    for model, known in state.versions.items():
        for number, version in known.items():
            made_from = state.runs.get(version.run, {}).get("view")
            if made_from:
                versions.setdefault((model, str(made_from)), []).append(number)
    found = []
    for (model, made_from), numbers in sorted(versions.items()):
        champion = state.champions.get(model)
        found.append(
            Use(
                model=model,
                view=made_from,
                versions=tuple(sorted(numbers)),
                champion=champion if champion in numbers else None,
            )
        )
    return tuple(found)


def _span(nanoseconds: int | None) -> str:
    """A span as people write it: the largest unit that says it in whole numbers."""
    if not nanoseconds:
        return ""
    unit, size = next(((unit, size) for unit, size in _SPANS if nanoseconds % size == 0), ("ns", 1))
    return f"{nanoseconds // size}{unit}"


def _iso(nanoseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat().replace("+00:00", "Z")
