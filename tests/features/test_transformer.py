"""A view inside a scikit-learn pipeline: known then where the rows have a time, known now where they have none."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

from fullcircle import features as ft
from fullcircle.errors import (
    ColumnMissing,
    DataUnfit,
    FeatureInvalid,
    TableUnreadable,
    ViewNotFound,
    ViewNotPublished,
)
from fullcircle.features.transformer import Lookup
from fullcircle.settings import load

NOW = int(datetime(2025, 4, 11, 12, tzinfo=UTC).timestamp()) * 10**9
EVENTS = ft.FeatureTable(name="events", key="user", time="at", as_of="event")


@ft.on_demand(returns=float)
def share(amount, total):  # type: ignore[no-untyped-def]
    return amount / total if amount is not None and total else None


VIEW = ft.FeatureView(
    name="shop",
    tables=[EVENTS],
    features=[EVENTS.sum("spent", "30d", name="total"), EVENTS.latest("visits"), share],
    request={"amount": float, "colour": str},
    labels=pd.DataFrame(),
)
VIEW = VIEW.with_labels(pd.DataFrame(), time="asked")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ft.Store]:
    settings = load({"workspace": str(tmp_path / "ws"), "config": "config", "actor": "tester"}, folder=tmp_path)
    with ft.Store.open(settings, clock=lambda: NOW) as store:
        days = pd.date_range("2025-03-01", "2025-04-10", unit="ns")
        for user in (1, 2, 3):
            visits = pd.array([None if user == 3 else user * place for place in range(len(days))], dtype="Int64")
            rows = pd.DataFrame({"user": user, "at": days, "spent": float(user), "visits": visits, "kind": "k"})
            store.append(EVENTS, rows)
        yield store


def asked(*, timed: bool = True) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "noise": 1.5,
            "amount": [1.0, 2.0, None, 4.0],
            "user": [1, 2, 3, 9],
            "asked": pd.to_datetime(["2025-03-05", "2025-03-05 10:00", "2025-03-06", "2025-03-01"], format="ISO8601"),
        },
        index=[10, 20, 30, 40],
    )
    return rows if timed else rows.drop(columns="asked")


def test_rows_with_a_time_get_what_was_known_then(store: ft.Store) -> None:
    found = Lookup(VIEW, store).fit_transform(asked())
    trained = store.train(VIEW, asked()).frame
    assert list(found.columns) == ["total", "visits", "share"]
    assert list(found.index) == [10, 20, 30, 40]
    assert found["total"].tolist() == [5.0, 10.0, 18.0, 0.0]
    assert found["visits"].tolist() == [4, 8, pd.NA, pd.NA]
    assert found["share"].fillna(-1).tolist() == [0.2, 0.2, -1, -1]
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True),
        trained[["total", "visits", "share"]].reset_index(drop=True),
        check_column_type=False,
    )


def test_rows_without_a_time_get_what_is_known_now(store: ft.Store) -> None:
    store.publish(VIEW)
    found = Lookup(VIEW, store).fit_transform(asked(timed=False))
    assert found["total"].tolist() == [29.0, 58.0, 87.0, 0.0], "29 days of the last 30 have come"
    assert found["visits"].tolist() == [40, 80, pd.NA, pd.NA]
    assert found["share"].iloc[0] == pytest.approx(1 / 29)
    assert list(found.index) == [10, 20, 30, 40]
    then = asked(timed=False).assign(asked=pd.Timestamp(NOW))
    pd.testing.assert_frame_equal(found, Lookup(VIEW, store).fit_transform(then))


def test_looking_up_records_nothing(store: ft.Store) -> None:
    store.publish(VIEW)
    before = store._workspace.ledger.state().seq
    lookup = Lookup(VIEW, store).fit(asked())
    lookup.transform(asked())
    lookup.transform(asked(timed=False))
    assert store._workspace.ledger.state().seq == before


def test_a_column_of_time_of_another_name(store: ft.Store) -> None:
    rows = asked().rename(columns={"asked": "when"})
    found = Lookup(VIEW, store, time="when").fit(rows).transform(rows)
    pd.testing.assert_frame_equal(found, Lookup(VIEW, store).fit_transform(asked()))
    both = rows.assign(asked=pd.Timestamp("2020-01-01"))
    pd.testing.assert_frame_equal(found, Lookup(VIEW, store, time="when").fit_transform(both))
    with pytest.raises(ColumnMissing, match="when"):
        Lookup(VIEW, store, time="when").fit(asked())
    with pytest.raises(ColumnMissing, match="when"):
        Lookup(VIEW, store, time="when").fit(rows).transform(asked())


def test_what_a_caller_sends_goes_to_functions_and_other_columns_do_not_matter(store: ft.Store) -> None:
    lookup = Lookup(VIEW, store).fit(asked())
    more = asked().assign(amount=asked()["amount"] * 2, total=1e9, colour="red")
    found = lookup.transform(more[["colour", "total", "asked", "user", "amount"]])
    assert found["share"].iloc[0] == 0.4
    assert found["total"].iloc[0] == 5.0, "a column with a feature's name is no override here"
    store.publish(VIEW)
    assert lookup.transform(more.drop(columns="asked"))["total"].iloc[0] == 29.0
    with pytest.raises(ColumnMissing, match="amount"):
        lookup.transform(asked().drop(columns="amount"))


@pytest.mark.parametrize("timed", [True, False], ids=["then", "now"])
def test_any_kind_of_frame_is_looked_up(store: ft.Store, timed: bool) -> None:
    store.publish(VIEW)
    rows = asked(timed=timed)
    lookup = Lookup(VIEW, store).fit(rows)
    expected = lookup.transform(rows).reset_index(drop=True)
    for frame in (pl.from_pandas(rows), pl.from_pandas(rows).to_arrow()):
        pd.testing.assert_frame_equal(lookup.transform(frame), expected)
    assert lookup.transform(rows.head(0)).shape == (0, 3)


def test_the_output_is_what_was_asked_for(store: ft.Store) -> None:
    lookup = Lookup(VIEW, store).fit(asked())
    expected = np.array([[5, 4, 0.2], [10, 8, 0.2], [18, np.nan, np.nan], [0, np.nan, np.nan]])
    matrix = lookup.set_output(transform="default").transform(asked())
    assert isinstance(matrix, np.ndarray)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, expected)
    polars = lookup.set_output(transform="polars").transform(asked())
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == ["total", "visits", "share"]
    assert polars["total"].to_list() == [5.0, 10.0, 18.0, 0.0]
    frame = lookup.set_output(transform="pandas").transform(asked())
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == [10, 20, 30, 40]
    assert lookup.get_feature_names_out().tolist() == ["total", "visits", "share"]


def test_a_matrix_with_text_is_of_objects(store: ft.Store) -> None:
    view = replace(VIEW, features=[*VIEW.features, EVENTS.latest("kind")])
    matrix = Lookup(view, store).set_output(transform="default").fit_transform(asked())
    assert matrix.dtype == object
    assert matrix[0].tolist() == [5.0, 4, 0.2, "k"]


def test_a_clone_is_alike_shares_the_store_and_is_not_fitted(store: ft.Store) -> None:
    lookup = Lookup(VIEW, store, time="asked").set_output(transform="default").fit(asked())
    other = clone(lookup)
    assert (other.view, other.store, other.time) == (VIEW, store, "asked")
    with pytest.raises(NotFittedError):
        other.transform(asked())
    assert isinstance(other.fit_transform(asked()), np.ndarray)
    other.set_output(transform="pandas")
    assert isinstance(lookup.transform(asked()), np.ndarray), "a clone is another one"
    assert clone(Lookup("shop")).get_params() == {"view": "shop", "store": None, "time": None}


def labelled(rows: int = 120) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    user = rng.integers(1, 4, rows)
    X = pd.DataFrame({"user": user, "asked": pd.Timestamp("2025-04-01"), "amount": rng.random(rows), "noise": 0.0})
    return X, pd.Series(user == 3)


def test_a_pipeline_is_trained_on_the_past_and_answers_from_online(store: ft.Store) -> None:
    store.publish(VIEW)
    X, y = labelled()
    pipeline = make_pipeline(Lookup(VIEW, store), HistGradientBoostingClassifier(max_iter=5, random_state=0))
    pipeline.fit(X, y)
    assert pipeline.predict(X).tolist() == y.tolist()
    now = X.drop(columns="asked")
    assert pipeline.predict(now).tolist() == y.tolist()
    assert pipeline[:-1].get_feature_names_out().tolist() == ["total", "visits", "share"]
    assert cross_val_score(pipeline, X, y, cv=3).tolist() == [1.0, 1.0, 1.0]
    assert "Lookup" in repr(pipeline)


def test_features_stand_beside_other_columns(store: ft.Store) -> None:
    X, _ = labelled(5)
    columns = ColumnTransformer(
        [("looked_up", Lookup(VIEW, store), ["user", "asked", "amount"]), ("kept", "passthrough", ["amount"])]
    ).set_output(transform="pandas")
    found = Pipeline([("columns", columns)]).fit_transform(X)
    assert list(found.columns) == ["looked_up__total", "looked_up__visits", "looked_up__share", "kept__amount"]


def test_what_cannot_be_looked_up_is_told(store: ft.Store) -> None:
    with pytest.raises(NotFittedError):
        Lookup(VIEW, store).transform(asked())
    with pytest.raises(NotFittedError):
        Lookup(VIEW, store).get_feature_names_out()
    with pytest.raises(ColumnMissing, match="user"):
        Lookup(VIEW, store).fit(asked().drop(columns="user"))
    with pytest.raises(TableUnreadable, match="the table to look features up for"):
        Lookup(VIEW, store).fit(np.zeros((2, 2)))
    with pytest.raises(ViewNotFound):
        Lookup("nowhere", store).fit(asked())
    with pytest.raises(ViewNotPublished):
        Lookup(VIEW, store).fit(asked()).transform(asked(timed=False))
    store.publish(VIEW)
    with pytest.raises(DataUnfit):
        Lookup(VIEW, store).fit(asked()).transform(asked(timed=False).assign(user="one"))


def test_what_the_view_means_is_kept_from_the_fit(store: ft.Store) -> None:
    store.publish(VIEW)
    lookup = Lookup("shop", store).fit(asked())
    before = lookup.transform(asked())
    store.publish(replace(VIEW, features=[EVENTS.sum("spent", "1d", name="total"), *VIEW.features[1:]]))
    pd.testing.assert_frame_equal(lookup.transform(asked()), before)
    assert Lookup("shop", store).fit_transform(asked())["total"].tolist() == [1.0, 2.0, 3.0, 0.0]
    with pytest.raises(ViewNotPublished, match="changed since it was published"):
        lookup.transform(asked(timed=False))


def test_without_a_store_that_of_the_surroundings_is_opened(
    store: ft.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(VIEW)
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "ws"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    lookup = Lookup("shop").fit(asked())
    expected = Lookup(VIEW, store).fit_transform(asked())
    pd.testing.assert_frame_equal(lookup.transform(asked()), expected)
    again = pickle.loads(pickle.dumps(lookup))  # noqa: S301 - of this test
    pd.testing.assert_frame_equal(again.transform(asked()), expected)
    assert again.transform(asked(timed=False))["visits"].iloc[0] == 40


def test_an_open_store_is_not_pickled(store: ft.Store) -> None:
    with pytest.raises(FeatureInvalid, match="cannot be pickled"):
        pickle.dumps(Lookup(VIEW, store))


def test_it_is_found_by_its_name_and_loads_nothing_before() -> None:
    import subprocess
    import sys

    assert ft.Lookup is Lookup
    code = "import sys, fullcircle.features as ft; ft.FeatureView; assert 'sklearn' not in sys.modules; ft.Lookup"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
