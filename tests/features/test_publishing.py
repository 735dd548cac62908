"""Publishing that is interrupted, overtaken or of another table: what is online is right, or said not to be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.test_law import Clock
from fullcircle import features as ft
from fullcircle.errors import DataUnfit, FunctionRefused, ViewNotPublished
from fullcircle.features import publishing
from fullcircle.features.online import OnlineStore
from fullcircle.features.positions import position
from fullcircle.settings import Settings, load

NOW = pd.Timestamp("2026-03-20", tz="UTC").value
table = ft.FeatureTable(name="rows", key="k", time="at", as_of="event")
X = ft.FeatureView(name="x", tables=[table], features=[table.latest("x")])
Y = ft.FeatureView(name="y", tables=[table], features=[table.latest("y"), table.sum("x", "7d", name="x_7d")])
Z = ft.FeatureView(name="z", tables=[table], features=[table.latest("z"), table.last("y", "30d", name="y_30d")])


class Killed(BaseException):
    """A process that ends where it stands."""


class Dying:
    """An online store that lets some updates through and then ends the process."""

    def __init__(self, inner: OnlineStore, updates: int) -> None:
        self._inner, self._left = inner, updates

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def update(self, space: str, keys: Sequence[bytes], merge: Callable[[list[Any]], list[Any]]) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        self._inner.update(space, keys, merge)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"workspace": "ws", "config": "config", "actor": "tester"}, tmp_path)


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ft.Store]:
    monkeypatch.setattr(publishing, "CHUNK", 2)  # several updates a publish
    clock = Clock()
    clock.now = NOW
    with ft.Store.open(settings, clock=clock) as store:
        store.append(table, rows("2026-03-10", [1, 2, 3, 4, 5]))
        yield store


def rows(day: str, keys: Sequence[int], add: float = 0.0) -> pa.Table:
    at = pa.array([pd.Timestamp(day)] * len(keys), pa.timestamp("ns"))
    columns = {name: [key * 10.0 + shift + add for key in keys] for name, shift in (("x", 1), ("y", 2), ("z", 3))}
    return pa.table({"k": list(keys), "at": at, **columns})


def killed(store: ft.Store, view: ft.FeatureView, updates: int, **options: Any) -> bool:
    """Publish with an online store that dies after some updates; whether it did."""
    whole = store.online
    store.__dict__["online"] = Dying(whole, updates)
    try:
        store.publish(view, **options)
        return False
    except Killed:
        return True
    finally:
        store.__dict__["online"] = whole


def agrees(store: ft.Store, view: ft.FeatureView) -> None:
    """What is online is what the tables say, for every key."""
    keys = [{"k": key} for key in range(7)]
    spec = store.define(view)
    found = [one.values for one in store.historical(spec, keys, [NOW] * len(keys))]
    assert store.get(view, keys) == found


@pytest.mark.parametrize("updates", range(7))
@pytest.mark.parametrize("then", [X, Y, Z])
def test_after_a_rebuild_that_was_killed_anything_may_be_published(
    store: ft.Store, updates: int, then: ft.FeatureView
) -> None:
    store.publish(X)
    killed(store, Y, updates)
    agrees(store, X)
    store.append(table, rows("2026-03-19", [2, 5, 6], add=0.5))
    store.publish(then)
    agrees(store, then)
    store.publish(X)
    agrees(store, X)
    store.publish(Y)
    agrees(store, Y)


def test_a_layout_number_never_means_two_things(store: ft.Store) -> None:
    store.publish(X)
    assert killed(store, Y, 1)
    assert killed(store, Z, 1)
    store.publish(Z)
    notes = [store.online.note(f"layout:rows:{number}") for number in range(1, 6)]
    written = [note for note in notes if note is not None]
    assert len(written) == len(set(written)) == 4


def test_a_server_that_has_asked_goes_on_through_rebuilds(store: ft.Store) -> None:
    store.publish(X)
    plan = store._plan(store.define(X))
    for view, updates in ((Y, 1), (Z, 2)):
        killed(store, view, updates)
        assert [plan.get([{"k": key}], [NOW])[0].values["x"] for key in range(1, 6)] == [11.0, 21.0, 31.0, 41.0, 51.0]
    store.publish(Z)
    assert plan.get([{"k": 5}], [NOW])[0].values == {"x": 51.0}


@pytest.mark.parametrize("updates", range(4))
def test_what_a_killed_publish_let_go_of_is_not_called_exact(store: ft.Store, updates: int) -> None:
    early = pd.Timestamp("2026-03-12", tz="UTC").value
    store.publish(X, exact_from="2026-03-11")
    store.append(table, rows("2026-03-19", [1, 2, 3, 4, 5], add=0.5))
    killed(store, X, updates)
    plan = store._plan(store.define(X))
    keys = [{"k": key} for key in range(1, 6)]
    online = plan.answer(keys, [early] * 5, NOW, None)
    assert all(one is None or one.values["x"] == key * 10.0 + 1 for key, one in zip(range(1, 6), online, strict=True))
    asked = [{**key, "asked_at": "2026-03-12"} for key in keys]
    assert [one["x"] for one in store.get(X, asked)] == [11.0, 21.0, 31.0, 41.0, 51.0]  # the tables know
    store.publish(X, exact_from="2026-03-11")
    assert [one.values["x"] for one in plan.answer(keys, [early] * 5, NOW, None)] == [11.0, 21.0, 31.0, 41.0, 51.0]


def test_what_is_let_go_of_while_somebody_asks_is_not_answered_from(store: ft.Store) -> None:
    early = pd.Timestamp("2026-03-12", tz="UTC").value
    store.publish(X, exact_from="2026-03-11")
    store.append(table, rows("2026-03-19", [1], add=0.5))
    plan = store._plan(store.define(X))
    get, told = plan.get, []

    def overtaken(asked: Any, moments: Any) -> Any:
        store.publish(X)  # in between
        told.append(True)
        return get(asked, moments)

    plan.get = overtaken
    assert plan.answer([{"k": 1}], [early], NOW, None) == [None]
    assert told


def test_a_row_s_own_time_counts_for_get_too(store: ft.Store) -> None:
    store.publish(X)
    store.append(table, rows("2026-03-19", [1], add=0.5))
    store.publish(X)
    asked = [{"k": 1}, {"k": 1, "asked_at": "2026-03-12"}, {"k": 1, "asked_at": "2026-03-01"}]
    assert [one["x"] for one in store.get(X, asked)] == [11.5, 11.0, None]


def test_keys_whose_events_are_all_old_are_answered_after_a_rebuild(store: ft.Store) -> None:
    store.append(table, rows("2026-03-18", [1]))
    store.publish(Y)
    store._clock.now += 20 * 86_400 * 10**9
    store.append(table, rows("2026-04-08", [2]))
    store.publish(Z)
    found = store.get(Z, [{"k": key} for key in (1, 2, 3)])
    assert [one["y_30d"] for one in found] == [12.0, 22.0, None]  # the third is 30 days old
    wide = replace(Z, name="wide", features=[table.count("40d", name="n"), table.first("z", "40d", name="z_40d")])
    store._clock.now += 100 * 86_400 * 10**9
    store.publish(wide)
    assert store.get(wide, [{"k": 1}, {"k": 2}]) == [{"n": 0, "z_40d": None}] * 2
    assert store.get(Z, {"k": 2})["y_30d"] is None


def test_what_is_online_of_another_table_of_the_name_goes(store: ft.Store, tmp_path: Path) -> None:
    store.append(table, rows("2026-03-11", [1, 2]))
    store.append(table, rows("2026-03-12", [1, 2]))
    store.publish(X)
    url = store.online_url
    flags = {"workspace": "anew", "config": "config", "actor": "tester", "online": url}
    clock = Clock()
    clock.now = NOW
    with ft.Store.open(load(flags, tmp_path), clock=clock) as other:
        other.append(table, rows("2026-03-05", [1, 6], add=0.25))
        (done,) = other.publish(X)
        assert done.rebuilt
        agrees(other, X)
        assert other.get(X, [{"k": 1}, {"k": 2}]) == [{"x": 11.25}, {"x": None}]
        assert position(other.online, "rows").layout == 2


def test_a_source_is_ingested_once_however_many_ask(settings: Settings, store: ft.Store) -> None:
    frame = rows("2026-03-15", list(range(200))).to_pandas()

    def ingest(_: int) -> int:
        with ft.Store.open(settings) as other:
            return int(other.ingest(table, frame).rows)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ingest, range(4))) == [0, 0, 0, 200]
    assert store.state(table).rows == 205


def test_functions_get_the_same_arguments_online_as_in_training(store: ft.Store) -> None:
    days = ft.FeatureTable(name="days", key=("day", "who"), time="at", as_of="event")

    @ft.on_demand(returns=str)
    def told(day, who, amount, times, x):  # type: ignore[no-untyped-def]
        return f"{isinstance(day, str)} {day} {who} {amount!r} {times!r} {x!r}"

    view = ft.FeatureView(
        name="days", tables=[days], features=[days.latest("x"), told], request={"amount": float, "times": int}
    )
    day = pd.Timestamp("2026-03-02").date()
    at = pa.array([pd.Timestamp("2026-03-03")], pa.timestamp("us"))
    store.append(days, pa.table({"day": [day], "who": ["é"], "at": at, "x": [2**53 + 1]}))
    labels = pd.DataFrame({"day": [day], "who": ["é"], "asked_at": [pd.Timestamp("2026-03-04")]})
    (trained,) = store.train(view, labels.assign(amount=3.0, times=7)).frame["told"]
    store.publish(view)
    for amount, times in ((3, 7), (3.0, 7.0), (np.int64(3), np.int32(7)), (np.float32(3), np.float64(7))):
        for key in (day, "2026-03-02"):
            assert store.get(view, {"day": key, "who": "é", "amount": amount, "times": times})["told"] == trained
    assert trained == "False 2026-03-02 é 3.0 7 9007199254740993"


def test_a_sum_that_does_not_fit_is_the_trouble_of_its_own_row(store: ft.Store) -> None:
    big = ft.FeatureTable(name="big", key="k", time="at", as_of="event")
    at = pa.array([pd.Timestamp("2026-03-19")] * 3, pa.timestamp("ns"))
    store.append(big, pa.table({"k": [1, 1, 2], "at": at, "n": [2**62, 2**62, 5]}))
    view = ft.FeatureView(name="big", tables=[big], features=[big.sum("n", "7d", name="n")])
    store.publish(view)
    assert store.get(view, [{"k": 1}, {"k": 2}]) == [{"n": None}, {"n": 5}]
    with pytest.raises(DataUnfit) as caught:
        store.train(view, pd.DataFrame({"k": [1], "asked_at": [pd.Timestamp("2026-03-20")]}))
    assert str(2**63) not in str(caught.value)


def test_half_a_character_is_no_key(store: ft.Store) -> None:
    names = ft.FeatureTable(name="names", key="name", time="at", as_of="event")
    store.append(names, pa.table({"name": ["a"], "at": pa.array([pd.Timestamp("2026-03-19")]), "x": [1]}))
    view = ft.FeatureView(name="names", tables=[names], features=[names.latest("x")])
    store.publish(view)
    with pytest.raises(DataUnfit):
        store.get(view, {"name": "\ud800"})


def test_a_function_is_checked_for_a_training_set_in_a_file_too(store: ft.Store, tmp_path: Path) -> None:
    @ft.on_demand(returns=float, vectorized=True)
    def relative(x):  # type: ignore[no-untyped-def]
        return x / x.mean()

    view = ft.FeatureView(name="relative", tables=[table], features=[table.latest("x"), relative])
    labels = pd.DataFrame({"k": [1, 2, 3], "asked_at": pd.Timestamp("2026-03-20")})
    labels.to_parquet(tmp_path / "labels.parquet")
    for given, options in (
        (labels, {}),
        (labels, {"out": tmp_path / "out.parquet"}),
        (tmp_path / "labels.parquet", {"out": tmp_path / "out.parquet"}),
        (tmp_path / "labels.parquet", {}),
    ):
        with pytest.raises(FunctionRefused):
            store.train(view, given, **options)
    assert not (tmp_path / "out.parquet").exists()
    good = replace(view, features=[table.latest("x")])
    done = store.train(good, tmp_path / "labels.parquet", out=tmp_path / "out.parquet")
    assert (done.rows, done.frame) == (3, tmp_path / "out.parquet")


def test_a_view_that_was_never_published_here_is_not_there(store: ft.Store) -> None:
    with pytest.raises(ViewNotPublished):
        store.get(X, {"k": 1})
