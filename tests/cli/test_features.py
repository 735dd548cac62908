"""The commands about features at their door: what a person reads, what a script parses, the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from children import surrounding
from fullcircle.cli import app
from fullcircle.features.catalogue import uses
from fullcircle.features.serving import logged
from fullcircle.flows.session import opened
from fullcircle.settings import load
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Prediction

PROJECT = """
import pandas as pd

import fullcircle as fc
from fullcircle import features as ft

payments = ft.FeatureTable(
    name="payments", key="customer", time="paid_at", available="booked_at", owner="[red]collections[/red]",
    source=fc.Table(
        "payments.csv", time="paid_at", prepare=lambda rows: rows.assign(booked_at=pd.to_datetime(rows["booked_at"]))
    ),
)
accounts = ft.FeatureTable(
    name="accounts", key=["customer", "opened"], time="seen_at", as_of="event",
    source=fc.Table("accounts.parquet", prepare=lambda rows: rows.assign(opened=rows["opened"].dt.date)),
)


@ft.on_demand(returns=float)
def burden(amount, income):
    return amount / income if amount and income else None


view = ft.FeatureView(
    name="lending",
    tables=[payments, accounts],
    features=[
        payments.sum("amount", "90d", name="paid_90d", unit="EUR", description="[b]paid[/b]"),
        payments.latest("paid_by", max_age="400d"),
        accounts.latest("income"),
        burden,
    ],
    request={"amount": float, "urgent": bool, "purpose": str, "term": int},
    labels=fc.Table("labels.csv", time="applied_at"),
)


def fit(X, y):
    raise NotImplementedError


project = fc.Project(name="lender", data=view, label="defaulted", features=["paid_90d", "income"], fit=fit)
"""
KEYS = ("customer=c[1]", "opened=2024-05-01")


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _parsed(*arguments: str) -> Any:
    found = _invoke(*arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def _words(text: str) -> str:
    return " ".join(text.split())


def _payments(amounts: list[float]) -> str:
    rows = [
        f"c[1],2025-05-{place + 1:02},2025-06-{place + 1:02},{amount},card" for place, amount in enumerate(amounts)
    ]
    return "\n".join(["customer,paid_at,booked_at,amount,paid_by", *rows]) + "\n"


def _prepare(folder: Path) -> None:
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    (folder / "payments.csv").write_text(_payments([10.0, 20.5]))
    accounts = pd.DataFrame(
        {
            "customer": ["c[1]", "c[1]"],
            "opened": [pd.Timestamp("2024-05-01").date()] * 2,
            "seen_at": pd.to_datetime(["2025-01-01", "2025-07-01"]),
            "income": pd.array([1000, None], dtype="Int64"),
        }
    )
    accounts.to_parquet(folder / "accounts.parquet")
    (folder / "labels.csv").write_text(
        "customer,opened,applied_at,amount,defaulted\nc[1],2024-05-01,2025-06-15,100,1\n"
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Result]]:
    """A workspace whose view was published from a project."""
    folder = tmp_path_factory.mktemp("features")
    _prepare(folder / "lender")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**surrounding(folder), "COLUMNS": "200"}.items():
            patch.setenv(name, value)
        yield folder, _invoke("features", "publish", "lender")


@pytest.fixture
def folder(published: tuple[Path, Result]) -> Path:
    assert published[1].exit_code == 0, published[1].output
    return published[0]


def test_publish_takes_the_sources_in_and_says_what_is_online(published: tuple[Path, Result]) -> None:
    first = published[1]
    assert first.exit_code == 0, first.output
    said = _words(first.stdout)
    assert "2 new rows taken into payments 2 new rows taken into accounts view lending, definition " in said
    assert "payments 1 2 1 yes accounts 1 2 1 yes" in said, "one commit, two rows, one key, from the start"
    again = _parsed("features", "publish", "lender")
    assert [one["rows"] for one in again["ingested"]] == [0, 0]
    assert [(one["table"], one["rows"], one["rebuilt"]) for one in again["tables"]] == [
        ("payments", 0, False), ("accounts", 0, False),
    ]  # fmt: skip
    by_name = _parsed("features", "publish", "lending")
    assert by_name["ingested"] == []
    assert by_name["definition"] == again["definition"]


def test_publish_reaches_back_as_far_as_it_is_told_and_moves_on_again(folder: Path) -> None:
    early = _parsed("features", "publish", "lending", "--exact-from", "2025-01-01T00:00:00")
    assert all(one["rebuilt"] for one in early["tables"])
    later = _parsed("features", "publish", "lending", "--exact-from", "2025-02-01")
    assert not any(one["rebuilt"] for one in later["tables"])


def test_list_shows_tables_and_views(folder: Path) -> None:
    said = _words(_invoke("features", "list").stdout)
    assert "payments customer 2 2025-05-02T00:00 " in said
    assert "accounts customer, opened 2 2025-07-01T00:00" in said
    assert "yes 4 payments, accounts -" in said
    parsed = _parsed("features", "list")
    assert [one["name"] for one in parsed["tables"]] == ["accounts", "payments"]
    assert [one["name"] for one in parsed["views"]] == ["lending"]
    assert parsed["views"][0]["definition"][:12] in said


def test_show_a_table_a_view_and_a_feature(folder: Path) -> None:
    table = _words(_invoke("features", "show", "accounts").stdout)
    assert "a row is known when it happened" in table
    assert "income int64 50 %" in table
    assert "customer text 0" in table
    view = _words(_invoke("features", "show", "lending").stdout)
    assert "keys customer, opened" in view
    assert "request amount: float, purpose: str, term: int, urgent: bool" in view
    assert "paid_90d float64 sum payments.amount 90d [b]paid[/b] (EUR)" in view
    assert "burden float64 on demand amount, income" in view
    feature = _words(_invoke("features", "show", "paid_by").stdout)
    assert feature.startswith("feature paid_by view feature type how of max age lending")
    assert "lending paid_by text latest payments.paid_by 400d" in feature
    assert "table payments" not in feature
    assert "owner [red]collections[/red]" in _words(_invoke("features", "show", "payments").stdout)
    parsed = _parsed("features", "show", "burden")
    assert (parsed["table"], parsed["view"]) == (None, None)
    assert [(one["view"], one["feature"]["inputs"]) for one in parsed["features"]] == [
        ("lending", ["amount", "income"])
    ]


def test_a_name_may_be_a_table_and_a_feature(folder: Path) -> None:
    found = _invoke("features", "show", "income")
    assert found.exit_code == 0
    unknown = _invoke("features", "show", "[/]")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "error (view_not_found): no feature table, view or feature has this name" in unknown.stderr
    assert "accounts, payments, lending" in unknown.stderr


def test_get_answers_now_and_as_of_a_time(folder: Path) -> None:
    now = _parsed("features", "get", "lending", *KEYS, "amount=100")
    assert now["at"] is None
    assert (now["values"]["income"], now["values"]["burden"]) == (None, None), "the latest income is not known"
    then = _parsed("features", "get", "lending", *KEYS, "amount=100", "--at", "2025-06-15")
    assert then["values"] == {"paid_90d": 30.5, "paid_by": "card", "income": 1000, "burden": 0.1}
    assert set(then["states"].values()) == {"present"}
    earlier = _parsed("features", "get", "lending", *KEYS, "amount=100", "--at", "2025-06-01T12:00:00+00:00")
    assert earlier["values"]["paid_90d"] == 10.0, "the second payment was booked a day later"
    text = _words(_invoke("features", "get", "lending", *KEYS, "--at", "2025-06-15").stdout)
    assert "as known at 2025-06-15, from the tables" in text
    assert "paid_90d 30.5 present" in text
    assert "burden - null" in text
    assert "now, online" in _invoke("features", "get", "lending", *KEYS).stdout


def test_get_says_what_a_missing_value_is(folder: Path) -> None:
    now = _parsed("features", "get", "lending", *KEYS)
    assert now["states"]["income"] == "null", "the last observation has no income"
    nobody = _parsed("features", "get", "lending", "customer=nobody", "opened=2024-05-01")
    assert nobody["values"]["paid_90d"] == 0.0
    assert (nobody["states"]["paid_by"], nobody["states"]["income"]) == ("missing", "missing")


def test_a_feature_that_is_passed_is_used_in_place_of_what_is_looked_up(folder: Path) -> None:
    for at in ((), ("--at", "2025-06-15")):
        found = _parsed("features", "get", "lending", *KEYS, "amount=100", "income=400", "paid_by=cash=now", *at)
        assert found["values"]["income"] == 400
        assert found["values"]["burden"] == 0.25
        assert found["values"]["paid_by"] == "cash=now"
        assert found["states"]["income"] == "present"


@pytest.mark.parametrize(
    ("given", "what", "allowed"),
    [
        (["customer=c[1]", "opened=soon"], "the value of opened cannot be read", "a day such as 2026-11-23"),
        ([*KEYS, "amount=much"], "the value of amount cannot be read", "a number"),
        ([*KEYS, "term=1.5"], "the value of term cannot be read", "a whole number"),
        ([*KEYS, "urgent=perhaps"], "the value of urgent cannot be read", "true or false"),
        ([*KEYS, "income=1e3"], "the value of income cannot be read", "a whole number"),
        ([*KEYS, "colour=red"], "view 'lending' knows no such column", "customer (text), opened (a day"),
        (["customer=c[1]"], "view 'lending' needs its keys", "amount (a number)"),
        ([*KEYS, "customer"], "a column to ask with cannot be read", "KEY=VALUE, each key once"),
        ([*KEYS, "customer=c2"], "customer is given twice", "KEY=VALUE, each key once"),
    ],
)
def test_what_cannot_be_asked_is_told(folder: Path, given: list[str], what: str, allowed: str) -> None:
    found = _invoke("features", "get", "lending", *given, "--json")
    assert found.exit_code == 2
    error = json.loads(found.stdout)["error"]
    assert (error["code"], error["message"]) == ("request_invalid", what)
    assert allowed in error["allowed"]


@pytest.mark.parametrize("value", ["true", "yes", "1", "False", "no"])
def test_a_boolean_may_be_written_as_people_do(folder: Path, value: str) -> None:
    assert _invoke("features", "get", "lending", *KEYS, f"urgent={value}").exit_code == 0


def test_compact_leaves_every_answer_as_it_is(folder: Path) -> None:
    before = _parsed("features", "get", "lending", *KEYS, "--at", "2025-06-15")
    found = _invoke("features", "compact", "payments")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("payments: 2 rows in 1 files")
    assert _parsed("features", "compact", "payments")["rows"] == 2
    assert _parsed("features", "get", "lending", *KEYS, "--at", "2025-06-15") == before
    unknown = _invoke("features", "compact", "lending")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "error (view_not_found): no feature table has this name" in unknown.stderr
    assert "accounts, payments" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("publish", "unknown"), "view_not_found"),
        (("publish", "lending", "--exact-from", "soon"), "request_invalid"),
        (("get", "unknown", "customer=1"), "view_not_found"),
        (("verify", "unknown"), "view_not_found"),
        (("publish", "nowhere/project.py"), "project_not_found"),
        (("publish", "other.py"), "project_not_found"),
        (("verify", "lending", "--since", "soon"), "request_invalid"),
        (("get", "lending", *KEYS, "--at", "soon"), "request_invalid"),
    ],
)
def test_wrong_use_ends_with_2(folder: Path, arguments: tuple[str, ...], code: str) -> None:
    found = _invoke("features", *arguments, "--json")
    assert found.exit_code == 2, found.output
    assert json.loads(found.stdout)["error"]["code"] == code


def test_a_project_whose_data_is_no_view_has_nothing_to_publish(folder: Path) -> None:
    project = 'fc.Project(name="p", data=fc.Table("x.csv"), label="y", features=["x"], fit=print)'
    (folder / "plain.py").write_text(f"import fullcircle as fc\nproject = {project}\n")
    found = _invoke("features", "publish", "plain.py")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "error (project_invalid): the data of this project is no feature view" in found.stderr


def test_without_a_workspace_nothing_is_made(tmp_path: Path) -> None:
    for arguments in (
        ("list",),
        ("show", "x"),
        ("publish", "x"),
        ("get", "x", "k=1"),
        ("compact", "x"),
        ("verify", "x"),
    ):
        found = _invoke("features", *arguments, "--workspace", str(tmp_path / "none"))
        assert found.exit_code == 2, arguments
        assert "error (workspace_unusable)" in found.stderr
    assert not (tmp_path / "none").exists()


# --- in a workspace of one's own --------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the view published, to change."""
    _prepare(tmp_path / "lender")
    monkeypatch.chdir(tmp_path)
    for name, value in {**surrounding(tmp_path), "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    assert _invoke("features", "publish", "lender").exit_code == 0
    return tmp_path


def test_what_is_new_in_a_source_comes_online_once(own: Path) -> None:
    (own / "lender" / "payments.csv").write_text(_payments([10.0, 20.5, 40.0]))
    found = _parsed("features", "publish", "lender/project.py")
    assert [(one["table"], one["rows"]) for one in found["ingested"]] == [("payments", 1), ("accounts", 0)]
    assert found["tables"][0]["rows"] == 1
    at = ("--at", "2025-06-15")
    assert _parsed("features", "get", "lending", *KEYS, *at)["values"]["paid_90d"] == 70.5


def test_a_changed_view_is_shown_and_the_older_one_answers_until_it_is_published(own: Path) -> None:
    (first,) = _parsed("features", "list")["views"]
    with opened(load()) as session:
        session.features.register(replace(session.features.spec("lending"), closed="left"))
    said = _words(_invoke("features", "list").stdout)
    assert f"older: {first['definition'][:12]}" in said
    assert _parsed("features", "get", "lending", *KEYS)["definition"] == first["definition"]
    later = _parsed("features", "get", "lending", *KEYS, "--at", "2025-06-02")
    assert later["definition"] != first["definition"]
    assert later["values"]["paid_90d"] == 10.0, "what becomes visible at that very moment is left out"
    assert _parsed("features", "publish", "lending")["definition"] == later["definition"]
    assert _parsed("features", "get", "lending", *KEYS)["definition"] == later["definition"]
    assert "that moment left out" in _invoke("features", "show", "lending").stdout


def _serve(*, wrong: bool = False) -> None:
    """What a server would have logged for one row: a model made from the view, and its prediction."""
    with opened(load()) as session:
        state, store = session.workspace.ledger.state(), session.features
        definition = state.published["lending"]
        if not uses(state):
            session.record("run.finished", model="lender", run="r1", view="lending", definition=definition)
            session.record("version.registered", model="lender", version=1, run="r1")
        row = {"customer": "c[1]", "opened": pd.Timestamp("2024-05-01").date(), "amount": 100.0}
        at = int(pd.Timestamp("2025-06-15").value)
        (vector,) = store.historical(store.spec("lending"), [row], [at])
        values = {name: logged(value) for name, value in vector.values.items()}
        request = {"amount": 100.0, "urgent": None, "purpose": None, "term": None}
        lookup = {"view": "lending", "definition": definition, "at": at, "states": {}, "request": request}
        made = Prediction(
            value=1.0,
            probabilities=None,
            verdict=Verdict(status="ok"),
            model="lender",
            version=1,
            context={"customer": "c[1]", "opened": "2024-05-01"},
            lookup={**lookup, "values": values | ({"paid_90d": 31.0} if wrong else {})},
        )
        with PredictionLog(session.workspace.predictions) as log:
            log.append([made])


def test_verify_says_that_what_was_served_is_what_training_sees(own: Path) -> None:
    nothing = _invoke("features", "verify", "lending")
    assert nothing.exit_code == 0, nothing.output
    assert "0 predictions, 0 values of lending" in _words(nothing.stdout)
    assert "nothing to compare" in nothing.stdout
    _serve()
    _serve()
    found = _invoke("features", "verify", "lending")
    assert found.exit_code == 0, found.output
    assert "2 predictions, 8 values of lending" in _words(found.stdout)
    assert "all agree" in found.stdout
    later = _parsed("features", "verify", "lending", "--since", "2999-01-01")
    assert later["predictions"] == 0
    with opened(load()) as session:
        *_, fact = [fact for fact in session.workspace.ledger.facts("view.verified") if fact.body["predictions"] == 2]
        assert (fact.body["compared"], fact.body["mismatches"]) == (8, 0)


def test_verify_names_what_differs_and_ends_with_1(own: Path) -> None:
    _serve()
    _serve(wrong=True)
    found = _invoke("features", "verify", "lending")
    assert found.exit_code == 1, found.output
    assert "paid_90d 2 1 0 0 0.5" in _words(found.stdout)
    assert "1 differ, for example: fullcircle why " in _words(found.stdout)
    parsed = _invoke("features", "verify", "lending", "--json")
    assert parsed.exit_code == 1
    by_name = {one["name"]: one["mismatches"] for one in json.loads(parsed.stdout)["features"]}
    assert by_name == {"paid_90d": 1, "paid_by": 0, "income": 0, "burden": 0}


def test_models_made_from_a_view_are_listed_and_shown(own: Path) -> None:
    _serve()
    assert "lender (no champion of it)" in _invoke("features", "list").stdout
    with opened(load()) as session:
        session.record("version.promoted", model="lender", version=1)
    assert "lender (champion 1)" in _invoke("features", "list").stdout
    assert "lender versions 1 (champion 1)" in _words(_invoke("features", "show", "lending").stdout)
    assert _parsed("features", "list")["models"] == [
        {"model": "lender", "view": "lending", "versions": [1], "champion": 1}
    ]
