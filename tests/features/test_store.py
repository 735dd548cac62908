"""The store through its doors: what it refuses and how it says so, what it keeps, what it answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from features.test_law import Clock
from fullcircle import features as ft
from fullcircle.errors import (
    ColumnMissing,
    DataUnfit,
    FeatureInvalid,
    FullcircleError,
    FunctionRefused,
    RequestInvalid,
    ViewNotFound,
    ViewNotPublished,
)
from fullcircle.features import auditing, definitions
from fullcircle.features.ingesting import new_rows
from fullcircle.features.log import TableLog
from fullcircle.ledger.places import open_place
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load

DAY = 86_400 * 10**9
NOW = pd.Timestamp("2026-03-20", tz="UTC").value
visits = ft.FeatureTable(name="visits", key="shop", time="at", as_of="event")


@ft.on_demand(returns=float)
def share(offered, spent):  # type: ignore[no-untyped-def]
    return offered / spent if spent else None


def view(**changes: Any) -> ft.FeatureView:
    given: dict[str, Any] = {
        "name": "shops",
        "tables": [visits],
        "features": [visits.sum("spent", "7d", name="spent"), visits.latest("page", max_age="2d"), share],
        "request": {"offered": float},
    }
    return ft.FeatureView(**{**given, **changes})


def rows(*days: int, shop: str = "north") -> pd.DataFrame:
    at = [pd.Timestamp("2026-03-01") + pd.Timedelta(days=day) for day in days]
    return pd.DataFrame(
        {"shop": shop, "at": at, "spent": [10.0 * day for day in days], "page": [f"p{d}" for d in days]}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"workspace": "ws", "config": "config", "actor": "tester"}, tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[ft.Store]:
    clock = Clock()
    clock.now = NOW
    with ft.Store.open(settings, clock=clock) as store:
        store.append(visits, rows(1, 2, 18))
        yield store


def told(caught: pytest.ExceptionInfo[FullcircleError], *parts: str) -> None:
    """The error says what was received, what to do next, and these."""
    assert caught.value.next_step
    for part in parts:
        assert part in str(caught.value)


def test_now_and_then_are_two_moments_of_one_answer(store: ft.Store) -> None:
    store.publish(view())
    now = store.get(view(), {"shop": "north", "offered": 9.0}, status=True)
    assert now == {
        "spent": 180.0, "page": "p18", "share": 0.05,
        "spent__status": "present", "page__status": "present", "share__status": "present",
    }  # fmt: skip
    then = store.get(view(), {"shop": "north", "offered": 9.0}, at="2026-03-03T12:00:00", status=True)
    assert (then["spent"], then["page"], then["page__status"]) == (30.0, "p2", "present")
    later = store.get(view(), {"shop": "north", "offered": 9.0}, at=pd.Timestamp("2026-03-06", tz="UTC"), status=True)
    assert (later["page"], later["page__status"]) == (None, "expired")


def test_what_goes_in_comes_out_mappings_lists_and_frames(store: ft.Store) -> None:
    store.publish(view())
    asked = [{"shop": "north", "offered": 9.0}, {"shop": "nobody", "offered": 9.0}]
    wanted = [{"spent": 180.0, "page": "p18", "share": 0.05}, {"spent": 0.0, "page": None, "share": None}]
    assert store.get("shops", asked) == wanted
    frame = store.get("shops", pd.DataFrame(asked))
    assert frame["spent"].tolist() == [180.0, 0.0]
    assert isinstance(store.get("shops", pl.DataFrame(asked)), pl.DataFrame)
    table = store.get("shops", pa.Table.from_pylist(asked), status=True)
    assert table.column("page__status").to_pylist() == ["present", "missing"]
    assert store.get("shops", []) == []


def test_a_feature_that_is_passed_is_kept_and_functions_use_it(store: ft.Store) -> None:
    store.publish(view())
    found = store.get(view(), {"shop": "north", "offered": 9.0, "spent": 90.0}, status=True)
    assert (found["spent"], found["share"], found["spent__status"]) == (90.0, 0.1, "present")
    then = store.get(view(), {"shop": "north", "offered": 9.0, "spent": 90.0}, at="2026-03-03")
    assert (then["spent"], then["share"]) == (90.0, 0.1)


def test_a_matrix_holds_what_mappings_hold(store: ft.Store) -> None:
    numbers = ft.FeatureTable(name="numbers", key="shop", time="at", as_of="event")
    at = pd.to_datetime(["2026-03-19", "2026-03-19", "2026-03-01"])
    rows_of = {
        "shop": ["a", "b", "c"],
        "at": at,
        "x": [1.5, None, 3.5],
        "n": [2**53 - 1, -7, 9],
        "b": [True, False, True],
    }
    store.append(numbers, pa.table(rows_of))
    features = [numbers.latest("n"), numbers.latest("x", max_age="7d"), numbers.sum("x", "7d"), numbers.latest("b")]
    store.publish(ft.FeatureView(name="m", tables=[numbers], features=features))
    asked = [{"shop": name} for name in ("b", "a", "c", "nobody", "a")]
    found = store.matrix("m", asked)
    wanted = [[np.nan if v is None else v for v in one.values()] for one in store.get("m", asked)]
    np.testing.assert_array_equal(found, np.array(wanted, dtype=float))
    assert found[1].tolist() == [2.0**53 - 1, 1.5, 1.5, 1.0]
    assert np.isnan(found[2, 1])  # expired
    passed = store.matrix("m", [{"shop": "a", "x": 9.0}])
    assert passed.tolist() == [[2.0**53 - 1, 9.0, 1.5, 1.0]]
    floats = ft.FeatureView(name="f", tables=[numbers], features=[numbers.latest("x")])
    store.publish(floats)
    np.testing.assert_array_equal(store.matrix(floats, asked)[:, 0], [np.nan, 1.5, 3.5, np.nan, 1.5])
    with pytest.raises(DataUnfit):
        store.matrix(floats, [{"shop": 3}])
    store.publish(view())
    with pytest.raises(FeatureInvalid) as caught:
        store.matrix(view(), asked)
    told(caught, "page")


def test_what_is_published_elsewhere_is_seen_at_once(store: ft.Store, settings: Settings) -> None:
    store.publish(view())
    assert store.get("shops", {"shop": "north"})["spent"] == 180.0
    clock = Clock()
    clock.now = NOW
    with ft.Store.open(settings, clock=clock) as other:
        other.publish(view(features=[visits.sum("spent", "30d", name="spent"), visits.latest("page"), share]))
    assert store.get("shops", {"shop": "north"})["spent"] == 210.0
    with pytest.raises(ViewNotPublished):
        store.get(view(), {"shop": "north"})


def test_a_row_without_its_key_says_which_and_of_what_type(store: ft.Store) -> None:
    store.publish(view())
    for row in ({"offered": 9.0}, {"shop": None}, {"shop": 7}):
        with pytest.raises(DataUnfit) as caught:
            store.get(view(), [{"shop": "north"}, row])
        told(caught, "row 2", "shop: text")
        with pytest.raises(DataUnfit):
            store.get(view(), row, at="2026-03-03")


@pytest.mark.parametrize("at", ["yesterday", 5, None.__class__, "2026-13-01"])
def test_a_moment_that_is_no_time_is_refused(store: ft.Store, at: Any) -> None:
    with pytest.raises(RequestInvalid) as caught:
        store.get(view(), {"shop": "north"}, at=at)
    told(caught, "ISO 8601")


def test_an_unknown_view_says_which_there_are(store: ft.Store) -> None:
    with pytest.raises(ViewNotFound) as caught:
        store.spec("shops")
    told(caught, "none yet")
    store.register(view())
    with pytest.raises(ViewNotFound) as caught:
        store.publish("shop")
    told(caught, "shops", "features list")
    with pytest.raises(ViewNotFound):
        store.spec("shops", "0" * 64)


def test_a_view_that_was_not_published_cannot_be_asked_online(store: ft.Store) -> None:
    for asked in (view(), "shops"):
        with pytest.raises(ViewNotPublished) as caught:
            store.get(asked, {"shop": "north"})
        told(caught, "never published", "features publish shops")


def test_a_view_that_was_changed_since_says_so_and_the_published_one_goes_on(store: ft.Store) -> None:
    store.publish(view())
    changed = view(features=[visits.sum("spent", "8d", name="spent"), visits.latest("page", max_age="2d"), share])
    with pytest.raises(ViewNotPublished) as caught:
        store.get(changed, {"shop": "north"})
    told(caught, "was changed since it was published")
    assert store.get("shops", {"shop": "north"})["spent"] == 180.0
    (again,) = store.publish(changed)
    assert again.rebuilt  # a longer window needs older events
    assert store.get(changed, {"shop": "north"})["spent"] == 180.0
    store.register(view())
    assert definitions.digest(store.spec("shops")) == definitions.digest(store.define(view()))


def test_what_only_people_read_does_not_change_a_definition(store: ft.Store) -> None:
    described = view(owner="web team", description="what shops do")
    assert definitions.digest(store.define(described)) == definitions.digest(store.define(view()))
    store.publish(view())
    assert store.get(described, {"shop": "north"})["page"] == "p18"
    assert store.spec("shops", store.register(described)).owner == "web team"


@pytest.mark.parametrize(
    ("features", "error", "part"),
    [
        ([visits.latest("nonsense")], ColumnMissing, "spent"),
        ([visits.sum("page", "7d")], FeatureInvalid, "numbers"),
        ([visits.max("page", "7d")], FeatureInvalid, "numbers and times"),
    ],
)
def test_a_view_over_what_is_not_there_is_refused(
    store: ft.Store, features: list[ft.Feature], error: type[FullcircleError], part: str
) -> None:
    with pytest.raises(error) as caught:
        store.define(view(features=features))
    told(caught, part)


def test_a_view_over_a_table_without_rows_is_refused(store: ft.Store) -> None:
    empty = ft.FeatureTable(name="empty", key="shop", time="at", as_of="event")
    with pytest.raises(ColumnMissing) as caught:
        store.define(view(tables=[empty], features=[empty.count("7d")]))
    told(caught, "no rows yet")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"features": []}, "no features"),
        ({"features": [visits.latest("page"), visits.latest("spent", name="page")]}, "two columns of one name"),
        ({"features": [visits.latest("page", name="shop")]}, "shop"),
        ({"features": ["page"]}, "no feature"),
        ({"features": [share]}, "spent"),
        ({"tables": [visits, visits]}, "visits"),
        ({"tables": ["visits"]}, "FeatureTable"),
        ({"request": ["offered"]}, "{'amount': float}".replace("'", '"')),
        ({"request": {"offered": list}}, "int, float, bool, str"),
        ({"on": {"store": "shop"}}, "store"),
        ({"closed": "both"}, "right, left"),
        ({"name": "my view"}, "letters"),
    ],
)
def test_a_view_that_cannot_work_is_refused_when_it_is_declared(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(FeatureInvalid) as caught:
        view(**changes)
    told(caught, part)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"key": ()}, "no key"),
        ({"key": ("shop", "shop")}, "different columns"),
        ({"time": "shop"}, "outside the key"),
        ({"available": "known", "as_of": "event"}, "twice"),
        ({"as_of": "ingest"}, "event"),
        ({"name": "1visits"}, "no digit first"),
    ],
)
def test_a_table_that_cannot_work_is_refused_when_it_is_declared(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(FeatureInvalid) as caught:
        ft.FeatureTable(**{"name": "visits", "key": "shop", "time": "at", **changes})
    told(caught, part)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"how": "median", "column": "spent", "window": "7d"}, "sum"),
        ({"how": "sum", "column": "spent"}, "no window"),
        ({"how": "latest", "column": "spent", "window": "7d"}, "a window"),
        ({"how": "latest"}, "no column"),
        ({"how": "sum", "column": "spent", "window": "7d", "max_age": "1d"}, "max_age"),
        ({"how": "sum", "column": "spent", "window": "0s"}, "empty span"),
    ],
)
def test_a_feature_that_cannot_work_is_refused_when_it_is_declared(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(FeatureInvalid) as caught:
        ft.Feature(**{"name": "spent", "table": "visits", **changes})
    told(caught, part)


def test_labels_with_the_name_of_a_feature_are_refused(store: ft.Store) -> None:
    labels = pd.DataFrame({"shop": ["north"], "asked_at": [pd.Timestamp("2026-03-03")], "offered": 1.0})
    for _ in range(2):  # the second time there is a set of these labels to be read back
        with pytest.raises(FeatureInvalid) as caught:
            store.train(view(), labels.assign(page="x"))
        told(caught, "page")
        store.train(view(), labels)
    with pytest.raises(FeatureInvalid):
        store.train(view(), labels.assign(page__status="x"), status=True)


def test_a_training_set_is_made_once_and_says_so(store: ft.Store) -> None:
    labels = pd.DataFrame({"shop": ["north"], "asked_at": [pd.Timestamp("2026-03-03")], "offered": 1.0})
    first = store.train(view(), labels)
    again = store.train(view(), labels.assign(remark="another column changes nothing that was computed"))
    assert (first.reused, again.reused) == (False, True)
    assert again.notes[0] == "this training set was made before; it was read back"
    pd.testing.assert_frame_equal(first.frame, again.frame.drop(columns="remark"))
    assert not store.train(view(), labels, reuse=False).reused
    assert not store.train(view(closed="left"), labels).reused
    assert not store.train(view(), labels.assign(offered=2.0)).reused
    store.append(visits, rows(1, shop="south"))
    assert not store.train(view(), labels).reused


def test_a_training_set_says_by_which_rule_rows_were_known(store: ft.Store, settings: Settings) -> None:
    labels = pd.DataFrame({"shop": ["north"], "asked_at": [pd.Timestamp("2026-03-03")], "offered": 1.0})
    assert "as_of='event'" in " ".join(store.train(view(), labels).notes)
    stamped = ft.FeatureTable(name="stamped", key="shop", time="at", delay="5m")
    store.append(stamped, rows(1))
    notes = store.train(view(tables=[stamped], features=[stamped.count("7d")], request={}), labels).notes
    assert "took them in, 300 s later" in " ".join(notes)


def test_history_that_is_stamped_today_is_not_known_before_today_unless_backfilled(store: ft.Store) -> None:
    stamped = ft.FeatureTable(name="stamped", key="shop", time="at")
    asking = view(tables=[stamped], features=[stamped.latest("page")], request={})
    labels = pd.DataFrame({"shop": ["north"], "asked_at": [pd.Timestamp("2026-03-03")]})
    store.append(stamped, rows(1))
    assert store.train(asking, labels, status=True).frame["page__status"].tolist() == ["missing"]
    with pytest.warns(UserWarning, match="nobody recorded"):
        store.append(stamped, rows(1), backfill=True)
    assert store.train(asking, labels).frame["page"].tolist() == ["p1"]
    log = store.log(definitions.table_spec(stamped))
    log.append(rows(2), batch="killed before it was told", backfill=True)
    with pytest.warns(UserWarning, match="nobody recorded"):
        assert store.append(stamped, rows(2), batch="killed before it was told", backfill=True).already
    assert store.append(stamped, rows(2), batch="killed before it was told", backfill=True).already  # told already
    with pytest.raises(FeatureInvalid) as caught:
        store.append(visits, rows(1), backfill=True)
    told(caught, "visits")


def test_a_function_that_answers_a_batch_otherwise_is_refused_when_a_training_set_is_made(store: ft.Store) -> None:
    @ft.on_demand(returns=float, vectorized=True, imports=["numpy as np"])
    def centred(spent):  # type: ignore[no-untyped-def]
        return spent - np.nanmean(spent)

    labels = pd.DataFrame({"shop": "north", "asked_at": pd.to_datetime(["2026-03-02", "2026-03-03"]), "offered": 1.0})
    with pytest.raises(FunctionRefused) as caught:
        store.train(view(features=[visits.sum("spent", "7d", name="spent"), centred]), labels)
    told(caught, "centred")


def test_a_source_that_grew_gives_its_new_rows_only(store: ft.Store) -> None:
    log = store.log(definitions.table_spec(visits))
    assert len(new_rows(log, rows(1, 2, 18))) == 0
    twice = pd.concat([rows(1, 2, 2, 18, 5)], ignore_index=True)
    assert new_rows(log, twice)["page"].tolist() == ["p2", "p5"]  # the second of two equal rows is another event
    done = store.ingest(visits, twice)
    assert (done.rows, done.already) == (2, False)
    assert (store.ingest(visits, twice).rows, store.ingest(visits, twice).already) == (0, True)
    assert store.state(visits).rows == 5


def test_two_views_of_one_table_are_online_together(store: ft.Store) -> None:
    other = ft.FeatureView(name="other", tables=[visits], features=[visits.latest("spent"), visits.count("30d")])
    store.publish(view())
    (done,) = store.publish(other)
    assert done.rebuilt
    assert store.get("other", {"shop": "north"}) == {"spent": 180.0, "visits_count_30d": 3}
    assert store.get("shops", {"shop": "north", "offered": 9.0})["share"] == 0.05
    (done,) = store.publish(view())
    assert (done.rebuilt, done.rows, done.keys) == (False, 0, 0)


def test_publishing_again_brings_what_is_new_and_moves_on(store: ft.Store) -> None:
    store.publish(view())
    store.append(visits, rows(19))
    store.append(visits, rows(19, shop="south"))
    (done,) = store.publish(view())
    assert (done.rows, done.rebuilt) == (2, False)
    assert store.get(view(), {"shop": "north"})["spent"] == 370.0
    assert store.get(view(), {"shop": "south"})["page"] == "p19"


def test_a_clock_that_is_set_back_rebuilds_nothing(store: ft.Store) -> None:
    store.publish(view())
    store._clock.now -= 3600 * 10**9
    store.append(visits, rows(17))
    (done,) = store.publish(view())
    assert (done.rebuilt, done.rows) == (False, 1)


def test_a_table_that_others_have_and_this_workspace_has_not_is_not_published_as_empty(
    store: ft.Store, tmp_path: Path
) -> None:
    spec = store.define(view())
    elsewhere = load({"workspace": "elsewhere", "config": "config", "actor": "tester"}, tmp_path)
    with ft.Store.open(elsewhere) as other, pytest.raises(ViewNotPublished) as caught:
        other.publish(spec)
    told(caught, "holds no rows here", "setting features")


def test_exact_from_an_earlier_moment_brings_back_what_was_superseded(store: ft.Store) -> None:
    early = pd.Timestamp("2026-03-02T12:00", tz="UTC").value
    store.publish(view())
    plan = store._plan(store.spec("shops"))
    assert plan.exact_from() > early
    (done,) = store.publish(view(), exact_from="2026-03-02")
    assert done.rebuilt
    assert plan.exact_from() <= early
    (found,) = plan.get([{"shop": "north"}], [early])
    assert (found.values["page"], found.values["spent"]) == ("p1", 10.0)


def test_the_audit_sees_a_table_that_was_changed(store: ft.Store, settings: Settings) -> None:
    labels = pd.DataFrame({"shop": ["north"], "asked_at": [pd.Timestamp("2026-03-03")], "offered": 1.0})
    store.train(view(), labels)
    log = store.log(definitions.table_spec(visits))
    with Workspace.open(settings) as workspace:
        facts = list(workspace.ledger.facts("training_set.built"))
        assert list(auditing.problems([log], facts)) == []
        folder = settings.workspace / "features" / "tables" / "visits"
        (data,) = (folder / "data").iterdir()
        whole = data.read_bytes()
        data.write_bytes(whole[:-1] + b"x")
        (problem,) = auditing.problems([log], facts)
        assert (problem.table, problem.seq) == ("visits", 0)
        assert "altered" in problem.text
        data.unlink()
        (problem,) = auditing.problems([log], facts)
        assert "missing" in problem.text
        # Somebody makes the whole table anew, without a fault in itself: the ledger knew another one.
        shutil.rmtree(folder)
        TableLog(open_place(str(settings.workspace / "features"), "features"), log.spec).append(rows(1, 2))
        anew = TableLog(open_place(str(settings.workspace / "features"), "features"), log.spec)
        (problem,) = auditing.problems([anew], facts)
        assert (problem.seq, "training set" in problem.text) == (facts[0].seq, True)


def test_origins_name_the_row_the_commit_and_the_batch(store: ft.Store) -> None:
    store.append(visits, rows(19), batch="nineteenth")
    spec = store.define(view())
    (found,) = store.origins(spec, {"shop": "north"}, NOW)
    assert (found.batch, found.commit, found.row, found.events) == ("nineteenth", 2, 0, 4)
    assert found.event == "2026-03-20T00:00:00.000000000Z"
    (none,) = store.origins(spec, {"shop": "nobody"}, NOW)
    assert (none.commit, none.events) == (None, 0)
    assert DAY
