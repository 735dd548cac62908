"""Feature views in the circle: their sources read, their labels joined, their definitions kept with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ProjectInvalid
from fullcircle.features.answering import Plan
from fullcircle.features.moments import moment
from fullcircle.features.origins import Origin
from fullcircle.features.serving import Enricher
from fullcircle.flows.session import Session
from fullcircle.packaging.bundle import Bundle
from fullcircle.runtimes.scorer import Enrich
from fullcircle.tables import reading
from fullcircle.tables.times import parsed
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.features import FeatureView
from fullcircle.types.prediction import Prediction
from fullcircle.types.table import Table

if TYPE_CHECKING:
    import pandas as pd


def ingest(session: Session, source: LoadedProject, view: FeatureView) -> None:
    """Take what is new in the sources of a view's tables into the store."""
    for table in view.tables:
        if table.source is None:
            continue
        timed = replace(table.source, time=table.source.time or table.time)
        with source.active():
            frame = reading.read(timed, folder=source.folder, paths=session.settings.paths)
        frame = _days(frame, table.key)
        if table.available is not None and table.available in frame.columns:
            frame[table.available] = parsed(reading.describe(timed), frame[table.available])
        done = session.features.ingest(table, frame)
        if done.rows and not done.already:
            session.progress.note(f"{done.rows} rows taken into {table.name}")


def training_frame(session: Session, source: LoadedProject, view: FeatureView) -> pd.DataFrame:
    """The labels of a view with its features, as they were known at the time of each; for a model, as pandas."""
    ingest(session, source, view)
    with source.active():
        labels = _days(reading.read(labels_of(view), folder=source.folder, paths=session.settings.paths), view.keys)
    trained = session.features.train(view, labels)
    for note in trained.notes:
        session.progress.note(note)
    return for_models(trained.frame)


def _days(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Keys that are days as days: a column of dates is read as times, and a time is no key."""
    days = {
        name: frame[name].dt.date
        for name in keys
        if name in frame.columns
        and frame[name].dtype.kind == "M"
        and (frame[name].dt.normalize() == frame[name]).all()
    }
    return frame.assign(**days)


def labels_of(view: FeatureView) -> Table:
    """The table of training rows of a project's view."""
    if view.labels is None:
        raise ProjectInvalid(f"the view {view.name!r} has no labels", next_step="say labels=fc.Table(...)")
    return view.labels


def for_models(frame: pd.DataFrame) -> pd.DataFrame:
    """Decimals as floats: models have no other numbers, and serving gives them the same."""
    from decimal import Decimal

    made = frame.copy()
    for name in made.columns:
        column = made[name]
        present = column.dropna()
        if column.dtype == object and len(present) and isinstance(present.iloc[0], Decimal):
            made[name] = column.map(float, na_action="ignore").astype("float64")
    return made


def definition(session: Session, view: FeatureView) -> tuple[str, str]:
    """The digest of what a view means now, and the blob that keeps it."""
    spec = session.features.define(view)
    digest = session.features.register(spec)
    return digest, session.workspace.ledger.state().views[spec.name][digest]


def publish(session: Session, spec: ViewSpec, exact_from: Any = None) -> None:
    """Bring a view online, and say what was done."""
    for done in session.features.publish(spec, exact_from=exact_from):
        session.progress.note(f"{done.table}: {done.keys} keys published")


def enricher(session: Session, bundle: Bundle) -> Enrich | None:
    """What completes rows for a bundle's model in this workspace: online answers, and those of any earlier time."""
    spec = bundle.view
    if spec is None:
        return None
    plan = Plan(spec, session.features.online)
    plan.check()
    return Enricher(plan, bundle.contract, history=session.features.historical)


def origins_of(session: Session, spec: ViewSpec | None, prediction: Prediction) -> tuple[Origin, ...]:
    """Which rows of which tables the looked-up features of a prediction came from."""
    keys = {name: (prediction.context or {}).get(name) for name in (spec.key_columns if spec else ())}
    if spec is None or prediction.lookup is None or None in keys.values():
        return ()
    return session.features.origins(spec, keys, int(prediction.lookup["at"]))


def without_features(view: FeatureView, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows as a caller would send them: without what is looked up."""
    return frame.drop(columns=[name for name in view.names if name in frame.columns])


def earliest(view: FeatureView, rows: Sequence[pd.DataFrame]) -> datetime | None:
    """The earliest time in these frames, None where none has one."""
    found = [
        moment(value) for frame in rows if view.time in frame.columns for value in frame[view.time].dropna().tolist()
    ]
    return datetime.fromtimestamp(min(found) // 10**9, UTC) if found else None
