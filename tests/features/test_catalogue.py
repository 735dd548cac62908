"""The catalogue says what tables, definitions and the ledger say: freshness, nulls, which model is made of what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fullcircle import features as ft
from fullcircle.features import catalogue
from fullcircle.features.definitions import digest
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
from fullcircle.types.catalogue import TableEntry, ViewEntry
from fullcircle.types.definitions import TableSpec
from fullcircle.types.features import Feature

DAY = 86_400 * 10**9
JUNE = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp()) * 10**9


class Clock:
    """The time that the store believes."""

    now = JUNE

    def __call__(self) -> int:
        return self.now


class World:
    """An open workspace with a store whose clock is ours."""

    def __init__(self, workspace: Workspace, store: ft.Store, clock: Clock) -> None:
        self.workspace, self.store, self.clock = workspace, store, clock

    def table(self, name: str) -> TableEntry:
        found = catalogue.table(self.store, self.workspace, name)
        assert found is not None
        assert found in catalogue.tables(self.store, self.workspace)
        return found

    def view(self, name: str) -> ViewEntry:
        found = catalogue.view(self.store, self.workspace, name)
        assert found is not None
        return found

    def record(self, kind: str, **body: Any) -> None:
        self.workspace.ledger.append(kind, body)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = load({"workspace": "ws", "config": "config", "actor": "tester"}, folder=tmp_path)
    clock = Clock()
    with Workspace.open(settings) as workspace:
        store = ft.Store(workspace, settings, clock=clock)
        yield World(workspace, store, clock)
        store.close()


@ft.on_demand(returns=float)
def burden(amount, income):  # type: ignore[no-untyped-def]
    return amount / income if amount and income else None


PAYMENTS = ft.FeatureTable(
    name="payments", key="customer", time="paid_at", available="booked_at", id="payment", owner="collections",
    description="what was paid",
)  # fmt: skip
ACCOUNTS = ft.FeatureTable(name="accounts", key=["bank", "customer"], time="seen_at", delay="90m")
PAID = [
    PAYMENTS.sum("amount", "90d", name="paid_90d", description="paid in a quarter", unit="EUR"),
    PAYMENTS.latest("note", max_age="36h"),
    burden,
]
VIEW = ft.FeatureView(
    name="lending", tables=[PAYMENTS], features=[PAYMENTS.latest("income"), *PAID], request={"amount": float},
    owner="credit", description="for the lender",
)  # fmt: skip


def payments(count: int, *, note: object = "n", day: str = "2025-05-01") -> pd.DataFrame:
    """Payments of as many customers; of every second one the income is not known."""
    at = pd.Timestamp(day)
    return pd.DataFrame(
        {
            "customer": [f"c{place}" for place in range(count)],
            "paid_at": at,
            "booked_at": at + pd.Timedelta(days=1),
            "payment": range(count),
            "amount": 10.0,
            "income": pd.array([1000 if place % 2 else None for place in range(count)], dtype="Int64"),
            "note": note,
        }
    )


def test_a_new_workspace_has_an_empty_catalogue(world: World) -> None:
    assert catalogue.tables(world.store, world.workspace) == ()
    assert catalogue.views(world.store, world.workspace) == ()
    assert catalogue.table(world.store, world.workspace, "payments") is None
    assert catalogue.view(world.store, world.workspace, "lending") is None
    assert catalogue.uses(world.workspace.ledger.state()) == ()


def test_a_table_is_told_as_it_is(world: World) -> None:
    world.store.append(PAYMENTS, payments(4), batch="one")
    world.clock.now += DAY
    world.store.append(PAYMENTS, payments(2, day="2025-05-20"), batch="two")
    world.store.register(VIEW)
    entry = world.table("payments")
    assert (entry.key, entry.time, entry.id) == (("customer",), "paid_at", ("payment",))
    assert entry.available == "at the time in booked_at"
    assert (entry.owner, entry.description) == ("collections", "what was paid")
    assert (entry.rows, entry.batches) == (6, 2)
    assert entry.last_event == "2025-05-20T00:00:00Z"
    assert entry.last_append == "2025-06-02T00:00:00Z"
    assert entry.views == ("lending",)
    kinds = {column.name: column.kind for column in entry.columns}
    assert kinds["income"] == "int64"
    assert kinds["note"] == "text"
    assert kinds["paid_at"].startswith("time[")


@pytest.mark.parametrize(
    ("available", "delay", "words"),
    [
        ("stamped", 0, "when the store took it in"),
        ("event", 0, "when it happened"),
        ("column booked_at", 0, "at the time in booked_at"),
        ("column column x", 0, "at the time in column x"),
        ("stamped", 90 * 60 * 10**9, "when the store took it in, 90m later"),
        ("event", 2 * DAY, "when it happened, 2d later"),
        ("event", 1500 * 10**6, "when it happened, 1500ms later"),
        ("event", 7, "when it happened, 7ns later"),
    ],
)
def test_when_a_row_is_known_is_said_in_words(available: str, delay: int, words: str) -> None:
    spec = TableSpec(name="t", key=("k",), time="at", available=available, delay=delay)
    assert catalogue.availability(spec) == words


def test_compaction_is_no_append(world: World) -> None:
    world.store.append(PAYMENTS, payments(3))
    world.clock.now += DAY
    world.store.append(PAYMENTS, payments(3, day="2025-05-02"))
    before = world.table("payments")
    for _ in range(2):
        world.clock.now += 7 * DAY
        world.store.compact(PAYMENTS)
        assert world.table("payments") == before, "fresh rows would be announced where none came"
    world.store.append(PAYMENTS, payments(1))
    assert world.table("payments").last_append == "2025-06-16T00:00:00Z"


def test_shares_of_nulls_are_those_of_the_rows_and_no_row_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = payments(7, note=None), payments(4, day="2025-05-02").assign(tags=[["a", None], [], None, ["b"]])
    world.store.append(PAYMENTS, first)  # without note: a column of nothing has no type yet
    world.store.append(PAYMENTS, second)
    whole = pd.concat([first.assign(note=None), second])
    expected = {name: float(whole[name].isna().mean()) for name in whole.columns}

    def shares() -> dict[str, float | None]:
        return {column.name: column.nulls for column in world.table("payments").columns}

    for compacted in (False, True):
        if compacted:
            world.store.compact(PAYMENTS)
        with monkeypatch.context() as patch:
            for name in ("read", "read_row_group", "read_row_groups", "iter_batches"):
                patch.setattr(pq.ParquetFile, name, _refuse)
            found = shares()
        assert found.pop("tags") is None, "the nulls of a list's elements are not those of the rows"
        assert found == {name: pytest.approx(expected[name]) for name in found}
        assert found["income"] == pytest.approx(6 / 11)
        assert found["note"] == pytest.approx(7 / 11)
        assert found["amount"] == 0.0


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("rows were read")


def test_a_table_of_many_files_keeps_one_open_at_a_time(world: World) -> None:
    import resource

    for place in range(40):
        world.store.append(PAYMENTS, payments(1), batch=str(place))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        assert world.table("payments").batches == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_owner_and_description_of_a_table_are_those_of_the_newest_view_that_says_them(world: World) -> None:
    world.store.append(PAYMENTS, payments(1))
    assert (world.table("payments").owner, world.table("payments").views) == ("", ())
    world.store.register(VIEW)
    bare = replace(PAYMENTS, owner="", description="")
    other = ft.FeatureView(name="other", tables=[bare], features=[bare.latest("income")])
    world.store.register(other)
    entry = world.table("payments")
    assert (entry.owner, entry.views) == ("collections", ("lending", "other"))
    told = replace(PAYMENTS, owner="risk")
    world.store.register(replace(other, tables=[told], name="third"))
    assert world.table("payments").owner == "risk"


def test_a_view_is_told_as_it_is(world: World) -> None:
    world.store.append(PAYMENTS, payments(2))
    known = world.store.register(VIEW)
    (entry,) = catalogue.views(world.store, world.workspace)
    assert (entry.name, entry.definition, entry.published) == ("lending", known, None)
    assert (entry.keys, dict(entry.request), entry.tables) == (("customer",), {"amount": "float"}, ("payments",))
    assert (entry.owner, entry.description, entry.models) == ("credit", "for the lender", ())
    income, paid, note, burden_ = entry.features
    assert (income.name, income.how, income.table, income.column, income.type) == (
        "income", "latest", "payments", "income", "int64",
    )  # fmt: skip
    assert (paid.window, paid.max_age, paid.about) == ("90d", "", "paid in a quarter (EUR)")
    assert (note.window, note.max_age, note.type) == ("", "36h", "text")
    assert (burden_.how, burden_.inputs, burden_.type, burden_.table) == (
        "on demand", ("amount", "income"), "float64", "",
    )  # fmt: skip
    assert {feature.nulls for feature in entry.features} == {None}


def test_definitions_are_told_with_the_one_that_is_online(world: World) -> None:
    world.store.append(PAYMENTS, payments(2))
    world.store.publish(VIEW)
    first = digest(world.store.define(VIEW))
    changed = replace(VIEW, features=[*VIEW.features, PAYMENTS.count("7d")])
    second = world.store.register(changed)
    entry = world.view("lending")
    assert (entry.definition, entry.published) == (second, first)
    assert [(each.digest, each.published) for each in entry.definitions] == [(first, True), (second, False)]
    facts = list(world.workspace.ledger.facts("view.registered"))
    assert [each.registered for each in entry.definitions] == [fact.time for fact in facts]
    assert "payments_count_7d" in [feature.name for feature in entry.features]
    world.store.publish(changed)
    assert world.view("lending").published == second


def test_a_description_that_changes_is_no_other_definition_and_keeps_its_time(world: World) -> None:
    world.store.append(PAYMENTS, payments(2))
    world.store.register(VIEW)
    (before,) = world.view("lending").definitions
    world.store.register(replace(VIEW, description="for everybody"))
    entry = world.view("lending")
    assert entry.definitions == (before,)
    assert entry.description == "for everybody"


def test_the_last_training_set_says_how_often_a_feature_has_no_value(world: World) -> None:
    world.store.append(PAYMENTS, payments(4))
    labels = pd.DataFrame(
        {"customer": ["c0", "c1", "c2", "c9"], "asked_at": pd.Timestamp("2025-05-02T12:00"), "amount": 100.0}
    )
    world.store.train(VIEW, labels)
    assert {feature.name: feature.nulls for feature in world.view("lending").features} == {
        "income": 0.75, "paid_90d": 0.0, "note": 0.25, "burden": 0.75,
    }  # fmt: skip
    world.store.train(VIEW, labels.head(1))
    assert {feature.nulls for feature in world.view("lending").features} == {0.0, 1.0}
    *_, last = world.workspace.ledger.facts("training_set.built")
    world.workspace.erase(last.body["blob"], "tests")
    assert {feature.nulls for feature in world.view("lending").features} == {None}


@pytest.fixture
def trained(world: World) -> Callable[..., None]:
    def train(model: str, version: int, **about: str) -> None:
        run = f"{model}-{version}"
        world.record("run.finished", model=model, run=run, **about)
        world.record("version.registered", model=model, version=version, run=run, bundle="b", report="r")

    return train


def test_models_and_views_are_found_both_ways(world: World, trained: Callable[..., None]) -> None:
    world.store.append(PAYMENTS, payments(2))
    known = world.store.register(VIEW)
    world.store.register(replace(VIEW, name="second"))
    trained("lender", 1)
    trained("lender", 2, view="lending", definition=known)
    trained("lender", 3, view="lending", definition=known)
    trained("lender", 4, view="second", definition=known)
    trained("other", 1, view="lending", definition=known)
    trained("plain", 1)
    world.record("version.promoted", model="lender", version=3)
    uses = catalogue.uses(world.workspace.ledger.state())
    assert [(use.model, use.view, use.versions, use.champion) for use in uses] == [
        ("lender", "lending", (2, 3), 3),
        ("lender", "second", (4,), None),
        ("other", "lending", (1,), None),
    ]
    assert [use.model for use in world.view("lending").models] == ["lender", "other"]
    assert world.view("second").models == (uses[1],)
    world.record("version.promoted", model="lender", version=4)
    (lender, _) = world.view("lending").models
    assert lender.champion is None
    world.record("version.rolled_back", model="lender", version=3)
    assert world.view("lending").models[0].champion == 3


def test_tables_of_several_keys_and_a_stamp(world: World) -> None:
    rows = pd.DataFrame({"bank": [1], "customer": ["a"], "seen_at": [pd.Timestamp("2025-01-01")], "balance": [5]})
    world.store.append(ACCOUNTS, rows)
    entry = world.table("accounts")
    assert entry.key == ("bank", "customer")
    assert entry.available == "when the store took it in, 90m later"
    view = ft.FeatureView(
        name="banks",
        tables=[ACCOUNTS],
        features=[Feature(name="balance", table="accounts", how="latest", column="balance")],
        on={"bank": "institute"},
        closed="left",
    )
    world.store.register(view)
    found = world.view("banks")
    assert (found.keys, found.closed) == (("institute", "customer"), "left")
