"""Rows that are completed before they are judged: what is looked up, what is logged, and when nothing can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bundle_samples import CONTRACT, GOLDEN, PROFILE, SAVED, WHEEL, lock_of
from fullcircle import features as ft
from fullcircle.errors import BundleInvalid, OnlineStoreUnavailable, ViewNotPublished
from fullcircle.features.answering import Plan
from fullcircle.features.serving import Enricher, logged, plain
from fullcircle.packaging.bundle import build, open_bundle, pack
from fullcircle.runtimes.scorer import Enriched, Scorer
from fullcircle.server.follower import Entry
from fullcircle.server.opening import Opener
from fullcircle.settings import load
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column, Contract
from fullcircle.types.definitions import ViewSpec
from serving import Sum, app, loaded, post

NOW = pd.Timestamp("2026-03-20", tz="UTC").value
people = ft.FeatureTable(name="people", key="person", time="at", as_of="event")


@ft.on_demand(returns=float)
def double(bmi, factor):  # type: ignore[no-untyped-def]
    return bmi * factor if bmi is not None and factor is not None else None


VIEW = ft.FeatureView(
    name="people",
    tables=[people],
    features=[people.latest("age"), people.latest("bmi", max_age="30d"), people.latest("secret"), double],
    request={"factor": float},
)


def contract(**changes: Any) -> Contract:
    columns = (
        Column(name="age", kind="integer", low=18, high=100, missing="reject", outside="reject"),
        Column(name="bmi", kind="number", low=10, high=60, fill=26.0, missing="impute", outside="flag"),
        Column(name="secret", kind="number", missing="flag", private=True),
        Column(name="double", kind="number", missing="flag"),
    )
    context = ("person", "asked_at", "factor")
    return Contract(columns=columns, label="y", task="regression", prior=99.0, context=context, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ft.Store]:
    settings = load({"workspace": "ws", "config": "config", "actor": "tester"}, tmp_path)
    with ft.Store.open(settings, clock=lambda: NOW) as store:
        at = pd.to_datetime(["2026-03-01", "2026-03-10", "2026-01-01"])
        rows = {
            "person": [1, 1, 2],
            "at": at,
            "age": [40, 41, 50],
            "bmi": [24.0, 25.0, 30.0],
            "secret": [1.5, 2.5, 3.5],
        }
        store.append(people, pd.DataFrame(rows))
        store.publish(VIEW)
        yield store


def enricher(store: ft.Store, **options: Any) -> Enricher:
    return Enricher(Plan(store.spec("people"), store.online), contract(), clock=lambda: NOW, **options)


def test_a_row_is_completed_and_the_log_says_how(store: ft.Store, tmp_path: Path) -> None:
    served = Scorer(contract(), Sum(), enrich=enricher(store))
    found = post(app(tmp_path, loaded(scorer=served)), "/predict/m", {"rows": [{"person": 1, "factor": 2.0}]})
    assert found.status == 200
    (one,) = found.json["predictions"]
    assert (one["prediction"], one["verdict"]) == (66.0, "ok")
    kept = log.find(tmp_path, one["id"])
    assert kept.inputs == {"age": 41, "bmi": 25.0, "double": 50.0}  # secret is private
    assert kept.context == {"person": 1, "factor": 2.0}
    assert kept.lookup is not None
    assert kept.lookup["values"] == {"age": 41, "bmi": 25.0, "double": 50.0}
    assert kept.lookup["request"] == {"factor": 2.0}
    assert (kept.lookup["view"], kept.lookup["at"], kept.lookup["states"]) == ("people", NOW, {})


def test_each_row_stands_for_itself(store: ft.Store) -> None:
    rows: list[object] = [
        {"person": 1, "factor": 2.0},
        {"person": 2, "factor": 2.0},
        {"factor": 2.0},
        {"person": "1"},
        "no row",
        {"age": 30, "bmi": 20.0, "secret": 1.0, "double": 1.0},
        {"person": 3, "age": 33},
    ]
    found = Scorer(contract(), Sum(), enrich=enricher(store)).score(rows)
    assert [one.verdict.status for one in found] == [
        "ok", "flagged", "rejected", "rejected", "rejected", "ok", "flagged",
    ]  # fmt: skip
    assert found[1].lookup is not None
    assert found[1].lookup["states"] == {"bmi": "expired", "double": "null"}
    assert [problem.text for problem in found[2].verdict.problems if problem.column == "person"] == [
        "the key is missing"
    ]
    assert found[5].lookup is None  # nothing had to be looked up
    assert found[6].lookup is not None
    assert found[6].lookup["passed"] == {"age": 33}
    assert found[6].lookup["states"] == {"bmi": "missing", "double": "null"}


def test_a_private_feature_that_is_passed_stays_out_of_the_log(store: ft.Store) -> None:
    (found,) = enricher(store)([{"person": 1, "secret": 9.0, "factor": 1.0}])
    assert found.lookup is not None
    assert "secret" not in {**found.lookup["values"], **found.lookup.get("passed", {}), **found.lookup["states"]}


def test_a_row_of_another_time_is_answered_from_where_that_is_known(store: ft.Store) -> None:
    early = {"person": 1, "factor": 1.0, "asked_at": "2026-03-05T00:00:00Z"}
    (refused,) = enricher(store)([early])
    assert [problem.column for problem in refused.problems] == ["asked_at"]
    assert "exact_from" in refused.problems[0].text
    past = enricher(store, history=store.historical)
    first, second = past([early, {**early, "asked_at": datetime(2027, 1, 1, tzinfo=UTC)}])
    assert isinstance(first.row, Mapping)
    assert isinstance(second.row, Mapping)
    assert (first.row["age"], second.row["age"], second.row["bmi"]) == (40, 41, None)
    (wrong,) = past([{**early, "asked_at": "soon"}])
    assert wrong.problems[0].reason == "wrong_type"


@pytest.mark.parametrize("error", [OnlineStoreUnavailable("it is gone"), ViewNotPublished("it is not there")])
def test_while_nothing_can_be_looked_up_the_answer_is_503_with_retry_after(tmp_path: Path, error: Exception) -> None:
    def broken(rows: Sequence[object]) -> Sequence[Enriched]:
        raise error

    target = app(tmp_path, loaded(scorer=Scorer(contract(), Sum(), enrich=broken)))
    found = post(target, "/predict/m", {"rows": [{"person": 1}]})
    assert found.status == 503
    assert "retry-after" in found.headers
    assert "looked up" in found.json["error"]["message"]
    assert "gone" not in found.body.decode()


def test_a_damaged_store_is_503_and_not_a_missing_value(store: ft.Store, tmp_path: Path) -> None:
    served = Scorer(contract(), Sum(), enrich=enricher(store))
    target = app(tmp_path, loaded(scorer=served))
    assert post(target, "/predict/m", {"rows": [{"person": 1, "factor": 1.0}]}).status == 200
    store.online.set_note("layout:people:1", b"{")
    fresh = Scorer(contract(), Sum(), enrich=enricher(store))
    found = post(
        app(tmp_path / "other", loaded(scorer=fresh)), "/predict/m", {"rows": [{"person": 1, "factor": 1.0}]}
    )
    assert found.status == 503
    assert "looked up" in found.json["error"]["message"]


def test_the_bundle_of_a_view_needs_a_server_that_knows_where_to_look(store: ft.Store, tmp_path: Path) -> None:
    spec = replace(store.spec("people"))
    bundle = build(
        model="people", runtime="sklearn", saved=SAVED, contract=CONTRACT, golden=GOLDEN, profile=PROFILE,
        lock=lock_of(WHEEL), wheel=WHEEL, view=spec,
    )  # fmt: skip
    assert open_bundle(pack(bundle)).view == spec
    assert "features.json" in dict(bundle.manifest.files)
    opener = Opener(tmp_path / "code")
    with pytest.raises(ViewNotPublished):
        opener._enrich(bundle)
    with pytest.raises(OnlineStoreUnavailable):
        Opener(tmp_path / "code", f"sqlite:///{tmp_path / 'nothing.db'}")._enrich(bundle)
    assert Opener(tmp_path / "code", store.online_url)._enrich(bundle) is not None
    without = replace(bundle, files={name: data for name, data in bundle.files.items() if name != "features.json"})
    assert opener._enrich(without) is None


def test_a_definition_that_mixes_up_keys_and_features_is_refused(store: ft.Store) -> None:
    spec: ViewSpec = replace(store.spec("people"), keys={"people": ("age",)})
    with pytest.raises(BundleInvalid, match="name of a key"):
        build(
            model="people", runtime="sklearn", saved=SAVED, contract=CONTRACT, golden=GOLDEN, profile=PROFILE,
            lock=lock_of(WHEEL), wheel=WHEEL, view=spec,
        )  # fmt: skip


def test_an_opener_refuses_what_served_json_does_not_name(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"no bundle")
    with pytest.raises(BundleInvalid):
        Opener(tmp_path)(path, "people", Entry(version=1, bundle="0" * 64, path="bundle.zip"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, 1), (True, True), (0.1, 0.1), (float("nan"), "nan"), (float("-inf"), "-inf"), ("é", "é"), (None, None),
        (Decimal("0.10"), "0.10"), (b"\x00\xff", "00ff"), (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00+00:00"),
        (np.datetime64(1, "ns"), "1970-01-01T00:00:00.000000001"), ([1, None, [2.5]], [1, None, [2.5]]),
    ],
)  # fmt: skip
def test_every_kind_of_value_has_one_exact_form_in_the_log(value: object, text: object) -> None:
    assert logged(value) == text
    assert type(logged(value)) is type(text)


def test_decimals_reach_models_as_floats() -> None:
    assert plain(Decimal("0.1")) == 0.1
    assert plain("0.1") == "0.1"
