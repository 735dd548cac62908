"""Features: what there is, publish it, ask for it, compact and verify it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ProjectInvalid, ViewNotFound
from fullcircle.features import catalogue, definitions, texts
from fullcircle.features.compaction import Compacted
from fullcircle.features.publishing import Published
from fullcircle.features.verify import Verified
from fullcircle.features.verify import verify as compare
from fullcircle.flows import views
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.settings import Settings
from fullcircle.tables import predictions
from fullcircle.tables.lines import moment
from fullcircle.types.catalogue import FeatureEntry, TableEntry, Use, ViewEntry
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.features import Status
from fullcircle.types.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Listed:
    """All feature tables and views of a workspace, and which models are made from which view."""

    tables: tuple[TableEntry, ...]
    views: tuple[ViewEntry, ...]
    models: tuple[Use, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A feature, and the view that has it."""

    view: str
    feature: FeatureEntry


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What goes by a name: a table, a view, features wherever they are; mostly one of these."""

    name: str
    table: TableEntry | None
    view: ViewEntry | None
    features: tuple[Found, ...]


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """How many new rows came from the source of a table before it was published."""

    table: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class PublishedView:
    """A view that is online now: what came in before, and what was brought online of each table."""

    view: str
    definition: str
    ingested: tuple[Ingested, ...]
    tables: tuple[Published, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The features of one row: values, and what each is. ``at`` is None for the present answer, from online."""

    view: str
    definition: str
    at: str | None
    values: Mapping[str, Any]
    states: Mapping[str, Status]


def list_features(*, settings: Settings | None = None) -> Listed:
    """The catalogue: tables, views and the models made from them."""
    with opened(settings, create=False) as session:
        store = session.features
        return Listed(
            tables=catalogue.tables(store, session.workspace),
            views=catalogue.views(store, session.workspace),
            models=catalogue.uses(session.workspace.ledger.state()),
        )


def show(name: str, *, settings: Settings | None = None) -> Shown:
    """The table, the view and the features of this name. Raises ViewNotFound where there is none."""
    with opened(settings, create=False) as session:
        store = session.features
        entries = catalogue.views(store, session.workspace)
        shown = Shown(
            name=name,
            table=catalogue.table(store, session.workspace, name),
            view=catalogue.view(store, session.workspace, name),
            features=_having(session, name, entries),
        )
        if shown.table is None and shown.view is None and not shown.features:
            raise ViewNotFound(
                "no feature table, view or feature has this name",
                received=name,
                allowed=", ".join([*store.tables(), *(entry.name for entry in entries)]) or "none yet",
                next_step="see: fullcircle features list",
            )
        return shown


def publish(
    view: str | Path,
    *,
    exact_from: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PublishedView:
    """Bring a view online: one of the catalogue by its name, or the one that a project's data is.

    Of a project what is new in the sources of the view's tables is taken in first. ``exact_from`` (ISO 8601): rows
    that bring along a time from then on are answered as of it.
    """
    text, ingested = str(view), tuple[Ingested, ...]()
    source = loaded(text) if Path(text).exists() or Path(text).name != text or text.endswith(".py") else None
    with opened(settings, progress, create=source is not None) as session:
        store = session.features
        if source is None:
            spec = store.spec(text)
        else:
            spec, ingested = _of_project(session, source)
        done = store.publish(spec, exact_from=exact_from)
        return PublishedView(view=spec.name, definition=definitions.digest(spec), ingested=ingested, tables=done)


def get(view: str, given: Mapping[str, str], *, at: str | None = None, settings: Settings | None = None) -> Answer:
    """The features of one row, now or as they were known at a time; ``given`` is as a person types it.

    It holds the keys and the request columns, and any feature to be used in place of what is looked up.
    """
    with opened(settings, create=False) as session:
        store = session.features
        online = session.workspace.ledger.state().published.get(view) if at is None else None
        spec = store.spec(view, online)
        found = store.get(view if at is None else spec, texts.row(spec, given), at=at, status=True)
        return Answer(
            view=view,
            definition=definitions.digest(spec),
            at=at,
            values={name: found[name] for name in spec.order},
            states={name: found[f"{name}__status"] for name in spec.order},
        )


def compact(table: str, *, settings: Settings | None = None, progress: Progress | None = None) -> Compacted:
    """Rewrite the files of a feature table in order; no answer changes."""
    with opened(settings, progress, create=False) as session:
        store = session.features
        known = store.tables()
        if table not in known:
            raise ViewNotFound(
                "no feature table has this name",
                received=table,
                allowed=", ".join(known) or "none yet",
                next_step="see: fullcircle features list",
            )
        return store.compact(known[table])


def verify(
    view: str, *, since: str | None = None, settings: Settings | None = None, progress: Progress | None = None
) -> Verified:
    """Compare what was served to logged predictions with what the training path says of the same moments.

    Of the definition that is online (the latest one where none is), for all models that were made from the view.
    """
    begin = moment(since) if since else ""
    with opened(settings, progress, create=False) as session:
        state = session.workspace.ledger.state()
        spec = session.features.spec(view, state.published.get(view))
        models = [use.model for use in catalogue.uses(state) if use.view == view]
        served = chain.from_iterable(
            predictions.read(session.workspace.predictions, model, since=begin) for model in models
        )
        found = compare(session.features, spec, served, since=begin)
        session.record(
            "view.verified",
            view=view,
            definition=found.definition,
            since=found.since,
            predictions=found.predictions,
            compared=sum(each.compared for each in found.features),
            mismatches=found.mismatches,
            missing=sum(each.missing for each in found.features),
            extra=sum(each.extra for each in found.features),
        )
        return found


def _having(session: Session, name: str, entries: Sequence[ViewEntry]) -> tuple[Found, ...]:
    """The features of this name, wherever they are."""
    having = [entry.name for entry in entries if any(each.name == name for each in entry.features)]
    whole = [catalogue.view(session.features, session.workspace, view) for view in having]
    return tuple(
        Found(view=entry.name, feature=each)
        for entry in whole
        if entry is not None
        for each in entry.features
        if each.name == name
    )


def _of_project(session: Session, source: LoadedProject) -> tuple[ViewSpec, tuple[Ingested, ...]]:
    """What the project's view means, after what is new in its sources was taken in."""
    view, store = source.project.view, session.features
    if view is None:
        raise ProjectInvalid(
            "the data of this project is no feature view, so there is nothing to publish",
            received=source.file,
            allowed="fc.Project(data=fc.FeatureView(...)), or the name of a view",
            next_step="see: fullcircle features list",
        )
    named = [table for table in view.tables if table.source is not None]
    before = [store.state(table).rows for table in named]
    views.ingest(session, source, view)
    ingested = tuple(
        Ingested(table=table.name, rows=store.state(table).rows - rows)
        for table, rows in zip(named, before, strict=True)
    )
    return store.define(view), ingested
