"""A circle on a feature view: keys in, features looked up, the same numbers in training, in batch and online."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import circles
from circles import Circle
from fullcircle.cli import app
from fullcircle.deployment import client
from fullcircle.errors import ProjectInvalid
from fullcircle.features.online import open_online
from fullcircle.features.positions import position
from fullcircle.features.verify import Verified, verify
from fullcircle.flows import deploy, drafts, versions
from fullcircle.flows.contract import contract
from fullcircle.flows.run import run
from fullcircle.flows.score import score
from fullcircle.flows.session import opened
from fullcircle.flows.why import why
from fullcircle.tables import predictions as log

PROJECT = """
import fullcircle as fc
from fullcircle import features as ft
from sklearn.ensemble import HistGradientBoostingRegressor

visits = ft.FeatureTable(
    name="visits", key="shop", time="at", available="known", id="visit", source=fc.Table("visits.csv", prepare=None),
    owner="web team",
)
prices = ft.FeatureTable(name="prices", key=("shop", "item"), time="at", as_of="event", source=fc.Table("prices.csv"))


@ft.on_demand(returns=float)
def dearer(price, offered):
    return offered - price if price is not None and offered is not None else None


def fit(X, y, **params):
    return HistGradientBoostingRegressor(random_state=0, max_iter=30).fit(X, y)


def cheap(rows):
    return rows.assign(offered=rows["offered"] / 100)


view = ft.FeatureView(
    name="shops",
    tables=[visits, prices],
    features=[
        visits.sum("spent", "7d", name="spent_7d"),
        visits.count("1d", name="visits_1d"),
        prices.latest("price", max_age="30d"),
        dearer,
    ],
    request={"offered": float},
    labels=fc.Table("offers.csv", time="asked"),
)
project = fc.Project(
    name="shops", data=view, label="sold", fit=fit,
    inputs=fc.Inputs(missing="flag", columns={"offered": {"missing": "reject"}}),
    checks=["quality", "value"],
    gates=[fc.at_most("mae", 30), fc.worth(per_row=lambda y, p: 10 - abs(y - p), at_least=-50)],
    arrivals={"as before": lambda rows: rows},
)
"""


def write(folder: Path) -> None:
    """Visits (some known late, some corrected), prices, and offers with what was sold.

    Times as text, as CSV has them.
    """
    rng = np.random.default_rng(4)
    start = pd.Timestamp("2025-03-01")
    count, shops = 3000, [f"s{number}" for number in range(20)]
    at = start + pd.to_timedelta(rng.uniform(0, 60, count), unit="D").round("s")
    late = pd.to_timedelta(np.where(rng.random(count) < 0.1, rng.uniform(1, 5, count), 0.01), unit="D").round("s")
    visits = pd.DataFrame({"visit": range(count), "shop": rng.choice(shops, count), "at": at, "known": at + late})
    visits["spent"] = rng.gamma(2, 5, count).round(2)
    corrected = visits.sample(100, random_state=1).assign(spent=0.0)
    corrected["known"] += pd.Timedelta("1D")
    pd.concat([visits, corrected]).to_csv(folder / "visits.csv", index=False)
    prices = pd.DataFrame(
        [(shop, item, start + pd.Timedelta(days=day), 10 + item + day / 10) for shop in shops for item in (1, 2)
         for day in range(0, 60, 7)],
        columns=["shop", "item", "at", "price"],
    )  # fmt: skip
    prices.to_csv(folder / "prices.csv", index=False)
    offers = pd.DataFrame({"shop": rng.choice(shops, 600), "item": rng.integers(1, 3, 600)})
    offers["asked"] = start + pd.to_timedelta(rng.uniform(20, 58, 600), unit="D").round("s")
    offers["offered"] = rng.uniform(8, 20, 600).round(2)
    offers["sold"] = (100 - 4 * offers["offered"] + rng.normal(0, 3, 600)).round(2)
    offers.to_csv(folder / "offers.csv", index=False)
    (folder / "project.py").write_text(PROJECT)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Iterator[Circle]:
    folder = tmp_path_factory.mktemp("shops")
    write(folder)
    settings = circles.settings(folder)
    yield Circle(folder / "project.py", settings, run(folder, settings=settings))
    deploy.remove("shops", settings=settings)


def _ask(circle: Circle, *rows: Any) -> tuple[int, Any]:
    assert circle.turn.deployed is not None
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{circle.turn.deployed.url}/predict/shops",
        json.dumps({"rows": list(rows)}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_turn_ends_with_a_champion_whose_answers_are_the_same_online_and_in_batch(shops: Circle) -> None:
    assert shops.turn.champion == 1
    assert shops.turn.deployed is not None
    assert shops.turn.deployed.rows == 150
    assert shops.turn.deployed.largest_difference < 1e-9


def test_keys_and_request_are_enough_and_the_time_of_the_row_counts(shops: Circle) -> None:
    early = {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"}
    status, answer = _ask(shops, early, {**early, "asked": "2025-04-27T12:00:00"})
    assert status == 200
    first, second = (log.find(_folder(shops), one["id"]) for one in answer["predictions"])
    assert first.lookup is not None
    assert second.lookup is not None
    assert first.lookup["values"]["price"] == pytest.approx(10 + 1 + 49 / 10)
    assert second.lookup["values"]["price"] == pytest.approx(10 + 1 + 56 / 10)
    assert first.lookup["values"]["spent_7d"] != second.lookup["values"]["spent_7d"]
    assert first.inputs is not None
    assert first.inputs["dearer"] == pytest.approx(12.0 - 15.9)
    assert first.context == {"asked": "2025-04-20T00:00:00", "shop": "s3", "item": 1}


def test_what_was_served_is_what_training_sees(shops: Circle) -> None:
    found = _verified(shops)
    assert found.predictions >= 150
    assert found.mismatches == 0
    assert all(one.compared >= 150 for one in found.features)


def test_a_value_that_was_served_otherwise_is_found(shops: Circle) -> None:
    with opened(shops.settings) as session:
        rows = [one for one in log.read(session.workspace.predictions, "shops") if one.lookup][:20]
        wrong = dict(rows[4].lookup or {})
        served = dict(wrong["values"])
        served["spent_7d"] += 0.5
        served["price"] = None
        rows[4] = replace(rows[4], lookup={**wrong, "values": served})
        found = verify(session.features, session.features.spec("shops"), rows)
    spent, visits, price, _ = found.features
    assert (spent.mismatches, spent.missing) == (1, 0)
    assert spent.largest_difference == pytest.approx(0.5)
    assert (price.mismatches, price.missing, price.extra) == (1, 1, 0)
    assert visits.mismatches == 0
    assert found.examples == (rows[4].id,)
    assert "delay" in found.notes[0]


def test_who_asks_now_gets_the_features_of_now(shops: Circle) -> None:
    status, answer = _ask(shops, {"shop": "s3", "item": 1, "offered": 12.0})
    assert status == 200
    (one,) = answer["predictions"]
    assert one["verdict"] == "flagged"  # the last price is older than 30 days
    served = log.find(_folder(shops), one["id"]).lookup
    assert served is not None
    assert served["values"]["spent_7d"] == 0.0
    assert served["states"] == {"price": "expired", "dearer": "null"}


def test_a_feature_that_is_passed_is_not_looked_up(shops: Circle) -> None:
    row = {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00", "price": 11.0}
    _, answer = _ask(shops, row)
    found = log.find(_folder(shops), answer["predictions"][0]["id"])
    assert found.inputs is not None
    assert (found.inputs["price"], found.inputs["dearer"]) == (11.0, 1.0)
    assert found.lookup is not None
    assert found.lookup["passed"] == {"price": 11.0}
    assert "price" not in found.lookup["values"]


@pytest.mark.parametrize(
    ("change", "column", "text"),
    [
        ({"shop": None}, "shop", "the key is missing"),
        ({"item": "1"}, "item", "cannot be a key"),
        ({"asked": "yesterday"}, "asked", "is no time"),
        ({"asked": "2024-01-01"}, "asked", "does not reach back"),
        ({"offered": None}, "offered", "missing"),
    ],
)
def test_a_row_that_cannot_be_looked_up_is_rejected_and_its_neighbour_answered(
    shops: Circle, change: dict[str, Any], column: str, text: str
) -> None:
    good = {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"}
    status, answer = _ask(shops, {**good, **change}, good)
    assert status == 200
    bad, fine = answer["predictions"]
    assert bad["verdict"] == "rejected"
    assert any(one["column"] == column and text in one["text"] for one in bad["problems"])
    assert fine["verdict"] == "ok"


def test_a_shop_that_nobody_knows_is_answered_with_its_gaps_flagged(shops: Circle) -> None:
    _, answer = _ask(shops, {"shop": "new", "item": 9, "offered": 12.0, "asked": "2025-04-20T00:00:00"})
    (one,) = answer["predictions"]
    assert one["verdict"] == "flagged"
    assert {problem["column"] for problem in one["problems"] if problem["reason"] == "missing"} == {"price", "dearer"}


def test_why_leads_to_the_rows_that_the_features_came_from(shops: Circle) -> None:
    _, answer = _ask(shops, {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"})
    found = why(answer["predictions"][0]["id"], settings=shops.settings)
    visits, prices = found.features
    assert prices.event == "2025-04-19T00:00:00.000000000Z"
    assert (prices.commit, prices.features) == (1, ("price",))
    assert visits.events > 50
    with opened(shops.settings) as session:
        spec = session.features.tables()["prices"]
        stored = session.features.log(spec).files(session.features.state(spec).files, {"price": "float64"})
        assert stored.read(["price"]).column("price")[prices.row].as_py() == pytest.approx(15.9)
    told = CliRunner().invoke(
        app, ["why", found.prediction.id, "--workspace", str(shops.settings.workspace)], env=_env(shops)
    )
    assert "features of prices" in told.output


def test_a_file_with_times_is_scored_as_of_its_times(shops: Circle, tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"shop": ["s3", "s3"], "item": [1, 1], "offered": 12.0, "asked": ["2025-03-15", "2025-04-20T00:00:00"]}
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    done = score("shops", tmp_path / "rows.csv", tmp_path / "out.csv", settings=shops.settings)
    assert done.answered == 2
    out = pd.read_csv(tmp_path / "out.csv")
    _, answer = _ask(shops, {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"})
    assert out["prediction"][1] == pytest.approx(answer["predictions"][0]["prediction"], abs=1e-9)
    # The first is earlier than what is online, and comes from the tables.
    assert log.find(_folder(shops), out["prediction_id"][0]).lookup is not None


def test_the_published_examples_have_keys_of_their_own_kinds_and_are_answered(shops: Circle) -> None:
    assert shops.turn.deployed is not None
    with urllib.request.urlopen(f"{shops.turn.deployed.url}/openapi.json", timeout=20) as answer:  # noqa: S310
        document = json.load(answer)
    content = document["paths"]["/predict/shops"]["post"]["requestBody"]["content"]["application/json"]
    (row,) = content["examples"]["rows"]["value"]["rows"]
    assert {name: row[name] for name in ("shop", "item")} == {"shop": "KEY", "item": 1}
    status, answered = _ask(shops, row)
    assert (status, answered["predictions"][0]["verdict"]) == (200, "flagged"), "nobody's key, and a key"
    for shown in (contract(shops.project, settings=shops.settings), contract("shops", settings=shops.settings)):
        assert shown.keys == {"shop": "text", "item": "int"}
        told = shown.schema["$defs"]["row"]["properties"]
        assert (told["shop"]["type"], told["item"]["type"]) == ("string", "integer")


def test_the_bundle_carries_the_definition_and_nobody_s_keys(shops: Circle) -> None:
    with opened(shops.settings) as session:
        bundle = versions.bundle(session, "shops", 1)
        draft = drafts.of_run(session, shops.turn.trained.run)
    assert bundle.view is not None
    assert bundle.view.order == ("spent_7d", "visits_1d", "price", "dearer")
    assert "offered - price" in bundle.view.functions[0].source
    assert draft.definition
    assert all("shop" not in golden.row and "price" in golden.row for golden in bundle.golden)


def test_a_second_run_takes_no_row_twice_and_reads_the_training_set_back(shops: Circle) -> None:
    notes: list[str] = []

    class Listening:
        def step(self, name: str, detail: str = "") -> None:
            notes.append(f"{name}: {detail}")

        def note(self, text: str) -> None:
            notes.append(text)

        def advance(self, done: int, total: int) -> None:
            assert done <= total

    again = run(shops.project, settings=shops.settings, progress=Listening())
    assert "nothing changed" in again.decision.reason
    assert not [note for note in notes if "rows taken into" in note]
    assert any("made before" in note for note in notes)


def test_when_the_online_store_is_lost_the_server_says_so_and_answers_again_after_publishing(shops: Circle) -> None:
    with opened(shops.settings) as session:
        url = session.features.online_url
        spec = session.features.spec("shops")
    store = open_online(url)
    known = position(store, "prices")
    store.clear("latest.prices")
    store.close()
    _, answer = _ask(shops, {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"})
    assert answer["predictions"][0]["verdict"] == "flagged"  # nothing is known of it any more
    with opened(shops.settings) as session:
        session.features.publish(replace(spec, features=spec.features), exact_from="2025-01-01")
    _, answer = _ask(shops, {"shop": "s3", "item": 1, "offered": 12.0, "asked": "2025-04-20T00:00:00"})
    assert answer["predictions"][0]["verdict"] == "ok"
    assert known.published
    client.models(shops.turn.deployed.url if shops.turn.deployed else "")


def test_a_project_on_a_view_says_what_it_cannot_do(tmp_path: Path) -> None:
    write(tmp_path)
    text = PROJECT.replace('    labels=fc.Table("offers.csv", time="asked"),\n', "")
    (tmp_path / "project.py").write_text(text)
    with pytest.raises(ProjectInvalid) as caught:
        run(tmp_path, settings=circles.settings(tmp_path))
    assert "labels" in str(caught.value)
    (tmp_path / "project.py").write_text(PROJECT.replace('label="sold"', 'label="sold", features=["nonsense"]'))
    with pytest.raises(ProjectInvalid) as caught:
        run(tmp_path, settings=circles.settings(tmp_path))
    assert "spent_7d" in str(caught.value)


def _verified(circle: Circle) -> Verified:
    with opened(circle.settings) as session:
        rows = log.read(session.workspace.predictions, "shops")
        return verify(session.features, session.features.spec("shops"), rows)


def _folder(circle: Circle) -> Path:
    return circle.settings.workspace / "predictions"


def _env(circle: Circle) -> dict[str, str]:
    return {"FULLCIRCLE_CONFIG": circle.settings["config"]}
