"""The feature store of a workspace: tables of rows in time, views over them, training sets, and online answers."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import FeatureInvalid, ViewNotFound, ViewNotPublished
from fullcircle.features import definitions, history, origins, publishing, sets, training
from fullcircle.features.answering import Plan
from fullcircle.features.commits import TableState
from fullcircle.features.compaction import Compacted, compact
from fullcircle.features.engine import OfflineEngine, find_engine
from fullcircle.features.log import Appended, TableLog
from fullcircle.features.moments import moment
from fullcircle.features.online import OnlineStore, open_online
from fullcircle.features.parts import Vector, refuse_unkeyed
from fullcircle.features.training import TrainingSet
from fullcircle.ledger.folder import locked
from fullcircle.ledger.places import open_place
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.types.definitions import TableSpec, ViewSpec
from fullcircle.types.features import FeatureTable, FeatureView
from fullcircle.types.progress import Progress, Silent

_LOCK_SECONDS = 600.0
_KEPT = 64  # views whose digest is remembered
View = FeatureView | ViewSpec | str  # declared, defined, or the name of one in the catalogue


class Store:
    """The features of a workspace. Threads and processes may share it; ``clock`` is nanoseconds since 1970 in UTC."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        *,
        progress: Progress | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._workspace, self._settings = workspace, settings
        self._progress, self._clock = progress or Silent(), clock
        self._place = open_place(settings["features"] or str(workspace.root / "features"), "features")
        self._logs: dict[TableSpec, TableLog] = {}
        self._plans: dict[str, Plan] = {}
        self._digests: dict[int, tuple[FeatureView | ViewSpec, str]] = {}  # the view is kept, so its id stays its own

    @classmethod
    @contextmanager
    def open(cls, settings: Settings | None = None, **options: Any) -> Iterator[Store]:
        """The store of the workspace of ``settings`` (by default those in force), to be used in ``with``."""
        settings = settings or load_settings()
        with Workspace.open(settings) as workspace:
            store = cls(workspace, settings, **options)
            try:
                yield store
            finally:
                store.close()

    def close(self) -> None:
        """Close the online store."""
        online = self.__dict__.pop("online", None)
        if online is not None:
            online.close()

    @cached_property
    def online(self) -> OnlineStore:
        """The online store, opened when first asked for."""
        return open_online(self.online_url)

    @cached_property
    def engine(self) -> OfflineEngine:
        """The engine that joins, found when first asked for."""
        return find_engine()

    @property
    def online_url(self) -> str:
        """Where the online store is."""
        return self._settings["online"] or f"sqlite:///{self._workspace.root / 'online.db'}"

    # --- tables ---------------------------------------------------------------------------------------

    def append(
        self, table: FeatureTable, frame: Any, *, batch: str | None = None, backfill: bool = False
    ) -> Appended:
        """Add rows to a table; they are safe once this returns. A batch id that is known already changes nothing.

        A table that stamps its rows says that they are available from now on. ``backfill=True`` trusts their event
        times instead, for history that was loaded in bulk; that is warned of and recorded. Raises DataUnfit,
        ColumnMissing, TableUnreadable, BatchConflict, DefinitionChanged.
        """
        spec = definitions.table_spec(table)
        if backfill and spec.available != "stamped":
            raise FeatureInvalid(
                f"table {table.name!r} says itself when its rows were available, so there is nothing to backfill",
                received="backfill=True",
                allowed="a table without available= and as_of=",
                next_step="leave backfill out",
            )
        done = self._log(spec).append(frame, batch=batch, backfill=backfill)
        # A process that was killed after its rows were safe has not told of it: whoever repeats the batch does.
        if done.backfilled and done.rows and not self._told_of(done):
            self._record(
                "rows.backfilled", table=table.name, batch=done.batch[:200], rows=done.rows, commit=done.commit
            )
            warnings.warn(
                f"{done.rows} rows of {table.name!r} count as available when they happened, which nobody recorded: "
                "a training set may know more than was known then",
                UserWarning,
                stacklevel=2,
            )
        return done

    def ingest(self, table: FeatureTable, frame: Any) -> Appended:
        """Append those rows of ``frame`` (pandas, the table's source as read) that the table does not hold yet.

        A row is told by all that stands in it; one that is there twice is two events. Nothing is taken away. One
        process of a workspace at a time looks and appends.
        """
        from fullcircle.features.ingesting import new_rows

        log = self._log(definitions.table_spec(table))
        with locked(self._workspace.root / f"ingest-{table.name}.lock", _LOCK_SECONDS):
            fresh = new_rows(log, frame)
            if len(fresh):
                return self.append(table, fresh)
        return Appended(table=table.name, batch="", rows=0, commit=log.state().number, already=True)

    def compact(self, table: FeatureTable | TableSpec, **options: Any) -> Compacted:
        """Rewrite a table's files in order; reading is faster afterwards, and no answer changes."""
        spec = table if isinstance(table, TableSpec) else definitions.table_spec(table)
        return compact(self._log(spec), engine=self.engine, progress=self._progress, **options)

    def state(self, table: FeatureTable | TableSpec) -> TableState:
        """What a table holds now."""
        return self._log(table if isinstance(table, TableSpec) else definitions.table_spec(table)).state()

    def log(self, table: TableSpec) -> TableLog:
        """The rows of a table."""
        return self._log(table)

    def tables(self) -> dict[str, TableSpec]:
        """The tables that rows were appended to, by name."""
        found = {}
        for path in sorted(self._place.names("tables")):
            if path.count("/") == 2 and path.endswith("/table.json"):
                spec = msgspec.json.decode(self._place.read(path), type=TableSpec)
                found[spec.name] = spec
        return found

    # --- views ----------------------------------------------------------------------------------------

    def define(self, view: FeatureView) -> ViewSpec:
        """What a view means over the tables as they are. Nothing is written."""
        kinds = {table.name: self.state(table).columns for table in view.tables}
        return definitions.view_spec(view, kinds)

    def register(self, view: View) -> str:
        """Keep a definition in the catalogue and return its digest. The same definition is kept once."""
        spec = self._defined(view)
        digest, data = definitions.digest(spec), definitions.encode(spec)
        blob = hashlib.sha256(data).hexdigest()
        known = self._workspace.ledger.state().views.get(spec.name, {})
        if [*known.items()][-1:] != [(digest, blob)]:  # going back to an earlier definition makes it the latest again
            self._workspace.blobs.put(data)
            self._record(
                "view.registered",
                view=spec.name,
                definition=digest,
                blob=blob,
                tables=", ".join(table.name for table in spec.tables)[:500],
                columns=len(spec.order),
            )
        return digest

    def spec(self, name: str, definition: str | None = None) -> ViewSpec:
        """A definition in the catalogue: the latest of this name, or the one with the digest ``definition``."""
        views = self._workspace.ledger.state().views
        known = views.get(name, {})
        chosen = [digest for digest in known if definition is None or digest.startswith(definition)]
        if not chosen or (definition is not None and len(chosen) > 1):
            raise ViewNotFound(
                f"no feature view {name!r} is known" if not known else f"view {name!r} has no such definition",
                received=definition or name,
                allowed=", ".join(digest[:12] for digest in known) or ", ".join(views) or "none yet",
                next_step="see: fullcircle features list",
            )
        return definitions.decode(self._workspace.blobs.get(known[chosen[-1]]))

    def train(
        self,
        view: View,
        labels: Any = None,
        *,
        status: bool = False,
        out: str | Path | None = None,
        memory: str | None = None,
        reuse: bool = True,
    ) -> TrainingSet:
        """The labels with the features of the view as they were known at the time of each.

        ``labels`` is by default the view's own table of labels: a frame with the key columns, the request columns and
        the time; or a Parquet path. With ``status`` each feature has ``NAME__status`` beside it. A set that was made
        before from the same definition, labels and rows is read back, unless ``reuse`` is False or it went to
        ``out``.
        """
        spec = self._defined(view)
        self.register(spec)
        source = _source(view) if labels is None else labels
        tables = self._opened(spec)
        return sets.training_set(
            spec,
            tables,
            source,
            self._workspace,
            self._record,
            status=status,
            out=out,
            memory=memory,
            reuse=reuse,
            engine=self.engine,
        )

    def publish(self, view: View, *, exact_from: Any = None) -> tuple[publishing.Published, ...]:
        """Bring the tables of a view online, as far as rows were appended since the last time.

        Afterwards this definition of the view answers, for every moment from now on; or from ``exact_from`` on, for
        rows that bring an earlier time along. Safe to repeat; an interrupted one goes on.
        """
        now = self._clock()
        since = None if exact_from is None else min(now, moment(exact_from))
        spec = self._defined(view)
        digest = self.register(spec)
        others = [self.spec(name, known) for name, known in self._workspace.ledger.state().published.items()]
        done = []
        for table in spec.tables:
            wanted = publishing.needs([spec, *others], table.name)
            self._progress.step("publish", table.name)
            with locked(self._workspace.root / f"publish-{table.name}.lock", _LOCK_SECONDS):
                done.append(
                    publishing.publish(
                        self._log(table),
                        self.online,
                        wanted,
                        now=now,
                        since=since,
                        engine=self.engine,
                        progress=self._progress,
                    )
                )
        self.online.set_note(f"view:{spec.name}", digest.encode())
        if self._workspace.ledger.state().published.get(spec.name) != digest:
            self._record(
                "view.published",
                view=spec.name,
                definition=digest,
                keys=sum(one.keys for one in done),
                rebuilt=any(one.rebuilt for one in done),
            )
        return tuple(done)

    def get(self, view: View, rows: Any, *, at: Any = None, status: bool = False) -> Any:
        """The features of one row (a mapping with its keys and request columns), several (a list), or a frame.

        Now, from the online store; or as they were known at the time ``at``, from the tables. A row that brings the
        view's column of time along is answered as of that, from where it is exact. One that brings a feature keeps
        it. Returns a mapping, a list of mappings, or the frame with the features beside it; with ``status`` also what
        each value is: present, null, missing or expired, as ``NAME__status``.
        """
        asked, shape = history.asked(rows)
        if at is None:
            plan = self._serving(view)
            spec, now = plan.spec, self._clock()
            times = [row.get(spec.time) for row in asked]
            moments = [now if time is None else moment(time) for time in times]
            vectors = plan.answer(asked, moments, now, partial(self.historical, spec))
        else:
            spec = self._defined(view)
            vectors = self.historical(spec, asked, [moment(at)] * len(asked))
        refuse_unkeyed(spec, vectors)
        return shape(spec, vectors, status)

    def matrix(self, view: View, rows: Sequence[Mapping[str, Any]]) -> Any:
        """The features of several rows now, as models take them: float64 of shape (rows, features), NaN for no value.

        Raises FeatureInvalid where a feature is no number, DataUnfit for a row without its keys.
        """
        return self._serving(view).matrix(rows, self._clock())

    def historical(self, spec: ViewSpec, rows: Sequence[Mapping[str, Any]], moments: Sequence[int]) -> list[Vector]:
        """The features of each row as they were known at its moment, from the tables."""
        return history.answer(spec, self._opened(spec), rows, moments, self.engine)

    def origins(self, spec: ViewSpec, row: Mapping[str, Any], at: int) -> tuple[origins.Origin, ...]:
        """Which rows of which tables answer a row at a moment (nanoseconds since 1970)."""
        return origins.origins(spec, self._opened(spec), row, at, self.engine)

    # --- inside ---------------------------------------------------------------------------------------

    def _defined(self, view: View) -> ViewSpec:
        if isinstance(view, ViewSpec):
            return view
        return self.spec(view) if isinstance(view, str) else self.define(view)

    def _serving(self, view: View) -> Plan:
        """The plan of the definition that is online now: one look at the online store says which that is."""
        name = view if isinstance(view, str) else view.name
        noted = self.online.note(f"view:{name}")
        if noted is None:
            raise ViewNotPublished(
                f"the view {name!r} was never published",
                next_step=f"publish it: fullcircle features publish {name}",
            )
        known = noted.decode(errors="replace")
        if not isinstance(view, str) and (found := self._digest_of(view)) != known:
            raise ViewNotPublished(
                f"the view {name!r} was changed since it was published",
                received=found[:12],
                allowed=known[:12],
                next_step=f"publish it again, or ask for the published one by its name: {name!r}",
            )
        if known not in self._plans:
            self._plan(self.spec(name, known))
        return self._plans[known]

    def _digest_of(self, view: FeatureView | ViewSpec) -> str:
        """The digest of a view, worked out once for each object: its columns never change their kinds."""
        kept = self._digests.get(id(view))
        if kept is None or kept[0] is not view:
            if len(self._digests) >= _KEPT:
                self._digests.clear()
            self._digests[id(view)] = kept = view, definitions.digest(self._defined(view))
        return kept[1]

    def _plan(self, spec: ViewSpec) -> Plan:
        digest = definitions.digest(spec)
        if digest not in self._plans:
            plan = Plan(spec, self.online)
            plan.check()
            self._plans[digest] = plan
        return self._plans[digest]

    def _opened(self, spec: ViewSpec) -> training.Tables:
        logs = [self._log(table) for table in spec.tables]
        return {log.spec.name: (log, log.state()) for log in logs}

    def _log(self, spec: TableSpec) -> TableLog:
        if spec not in self._logs:
            self._logs[spec] = TableLog(self._place, spec, clock=self._clock)
        return self._logs[spec]

    def _told_of(self, done: Appended) -> bool:
        facts = self._workspace.ledger.facts("rows.backfilled")
        return any((fact.body.get("table"), fact.body.get("commit")) == (done.table, done.commit) for fact in facts)

    def _record(self, kind: str, **body: Any) -> None:
        self._workspace.ledger.append(kind, body)


def _source(view: View) -> Any:
    if not isinstance(view, FeatureView):
        raise FeatureInvalid(
            "a definition has no labels of its own, so there are no rows to train on",
            next_step="pass them: store.train(view, labels)",
        )
    if view.labels is None:
        raise FeatureInvalid(
            f"the view {view.name!r} has no labels, so there are no rows to train on",
            next_step="pass them: store.train(view, labels), or declare labels=fc.Table(...)",
        )
    return view.labels.source
