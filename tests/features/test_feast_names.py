"""Feast's names: code that moves over finds what means the same, and is told where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fullcircle import features as ft
from fullcircle.errors import ColumnMissing, FeatureInvalid, ViewNotFound, ViewNotPublished
from fullcircle.settings import load

NOW = int(datetime(2025, 4, 11, tzinfo=UTC).timestamp()) * 10**9
STATS = ft.FeatureTable(name="driver_stats", key="driver_id", time="event_timestamp", available="created")


@ft.on_demand(returns=float)
def plus(rate, val_to_add):  # type: ignore[no-untyped-def]
    return rate + val_to_add if rate is not None and val_to_add is not None else None


VIEW = ft.FeatureView(
    name="driver_activity",
    tables=[STATS],
    features=[STATS.latest("conv_rate", name="rate", max_age="30d"), STATS.latest("trips"), plus],
    request={"val_to_add": float},
)


@pytest.fixture
def feast(tmp_path: Path) -> Iterator[ft.FeatureStore]:
    settings = load({"workspace": "ws", "config": "config", "actor": "tester"}, folder=tmp_path)
    with ft.Store.open(settings, clock=lambda: NOW) as store:
        rows = pd.DataFrame(
            {
                "driver_id": [1001, 1001, 1002],
                "event_timestamp": pd.to_datetime(["2025-04-01", "2025-04-02", "2025-04-01"]),
                "created": pd.to_datetime(["2025-04-01", "2025-04-05", "2025-04-01"]),
                "conv_rate": [0.1, 0.2, None],
                "trips": [1, 2, 3],
            }
        )
        store.append(STATS, rows)
        yield ft.FeatureStore(store)


ENTITIES = pd.DataFrame(
    {
        "event_timestamp": pd.to_datetime(["2025-04-06", "2025-04-03", "2025-04-06", "2025-04-06"]),
        "driver_id": [1001, 1001, 1002, 9],
        "val_to_add": [1.0, 1.0, 1.0, 1.0],
        "label": ["a", "b", "c", "d"],
    }
)


def test_historical_features_are_those_known_then(feast: ft.FeatureStore) -> None:
    found = feast.get_historical_features(entity_df=ENTITIES, features=VIEW)
    frame = found.to_df()
    assert list(frame.columns) == [*ENTITIES.columns, "rate", "trips", "plus"]
    pd.testing.assert_frame_equal(frame[list(ENTITIES.columns)], ENTITIES, check_column_type=False)
    assert frame["trips"].tolist() == [2, 1, 3, pd.NA], (
        "a row is known from when it was there, not from its event time"
    )
    assert frame["rate"].fillna(-1).tolist() == [0.2, 0.1, -1, -1]
    assert frame["plus"].fillna(-1).tolist() == [1.2, 1.1, -1, -1]
    assert isinstance(found.to_arrow(), pa.Table)
    assert found.to_arrow().column_names == list(frame.columns)


def test_they_are_a_training_set_like_any_other(feast: ft.FeatureStore) -> None:
    ours = ENTITIES.rename(columns={"event_timestamp": "asked_at"})
    expected = feast.store.train(VIEW, ours).frame
    for entities in (ours, pl.from_pandas(ENTITIES), pa.Table.from_pandas(ENTITIES, preserve_index=False)):
        frame = feast.get_historical_features(entities, VIEW).to_df()
        for name in VIEW.names:
            pd.testing.assert_series_equal(frame[name], expected[name])
    assert "asked_at" in feast.get_historical_features(ours, "driver_activity").to_df()
    facts = list(feast.store._workspace.ledger.facts("training_set.built"))
    assert {fact.body["view"] for fact in facts} == {"driver_activity"}


def test_the_views_own_column_of_time_comes_first(feast: ft.FeatureStore) -> None:
    view = replace(VIEW, labels=None).with_labels(pd.DataFrame(), time="applied")
    entities = ENTITIES.assign(applied=pd.Timestamp("2025-04-03"))
    frame = feast.get_historical_features(entities, view).to_df()
    assert frame["trips"].tolist() == [1, 1, 3, pd.NA]
    assert "event_timestamp" in frame
    with pytest.raises(ColumnMissing, match="applied"):
        feast.get_historical_features(ENTITIES.drop(columns="event_timestamp"), view)


def test_online_features_come_after_they_were_materialized(feast: ft.FeatureStore) -> None:
    rows = [{"driver_id": 1001, "val_to_add": 1.0}, {"driver_id": 1002}, {"driver_id": 9, "val_to_add": 2.0}]
    with pytest.raises(ViewNotPublished):
        feast.get_online_features(features=VIEW, entity_rows=rows)
    (done,) = feast.materialize_incremental(VIEW)
    assert (done.table, done.rows) == ("driver_stats", 3)
    expected = {
        "driver_id": [1001, 1002, 9],
        "val_to_add": [1.0, None, 2.0],
        "rate": [0.2, None, None],
        "trips": [2, 3, None],
        "plus": [1.2, None, None],
    }
    for features in (VIEW, "driver_activity", feast.store.define(VIEW)):
        found = feast.get_online_features(features=features, entity_rows=rows)
        assert found.to_dict() == expected
        assert list(found.to_dict()) == list(expected)
    statuses = found.to_dict(include_statuses=True)
    assert statuses["rate__status"] == ["present", "null", "missing"]
    frame = found.to_df()
    assert list(frame.columns) == list(expected)
    assert frame["driver_id"].tolist() == [1001, 1002, 9]


def test_only_what_is_new_is_materialized(feast: ft.FeatureStore) -> None:
    feast.materialize_incremental(VIEW)
    (again,) = feast.materialize_incremental("driver_activity")
    assert again.rows == 0
    row = pd.DataFrame({"driver_id": [9], "event_timestamp": [pd.Timestamp("2025-04-09")]})
    feast.store.append(STATS, row.assign(created=pd.Timestamp("2025-04-09"), conv_rate=0.9, trips=9))
    (done,) = feast.materialize_incremental(VIEW)
    assert done.rows == 1
    assert feast.get_online_features(VIEW, [{"driver_id": 9}]).to_dict()["trips"] == [9]


def test_what_means_something_else_is_refused_and_not_guessed(feast: ft.FeatureStore) -> None:
    with pytest.raises(FeatureInvalid, match="no end date"):
        feast.materialize_incremental(datetime.now(UTC))
    with pytest.raises(ViewNotFound):
        feast.get_historical_features(ENTITIES, "driver_stats:conv_rate")
    for name in ("apply", "push", "materialize", "write_to_offline_store"):
        assert not hasattr(feast, name)


def test_nobody_asked_for_is_nothing(feast: ft.FeatureStore) -> None:
    feast.materialize_incremental(VIEW)
    assert feast.get_online_features(VIEW, []).to_dict() == {}
    assert len(feast.get_historical_features(ENTITIES.head(0), VIEW).to_df()) == 0


def test_it_is_found_by_its_name() -> None:
    assert ft.FeatureStore.__module__ == "fullcircle.features.feast_names"
    assert "FeatureStore" in ft.__all__
    assert ft.__all__ == sorted(ft.__all__)
