"""Schemas made from contracts: valid by the official meta-schemas, and of one mind with ``examine``."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from fullcircle.features.keys import plain_key
from fullcircle.runtimes import protocolshapes, schema
from fullcircle.runtimes.contracts import examine
from fullcircle.runtimes.schema import Served
from fullcircle.types.contract import KINDS, POLICIES, Column, Contract, Kind

EXACT = 2**53
AGE = Column(
    name="age",
    kind="integer",
    label="age at visit",
    unit="years",
    low=18.0,
    high=99.0,
    usual_low=20.0,
    usual_high=80.0,
    fill=50,
    outside="reject",
)
SEX = Column(name="sex", kind="category", categories=("f", "m"), fill="f", unseen="reject")
BMI = Column(name="bmi", kind="number", fill=25.5, nullable=True, low=10.0, high=80.0)
SEEN = Column(name="seen", kind="time", fill="2020-01-01T00:00:00", missing="impute")


def terms(*columns: Column, **fields: Any) -> Contract:
    return Contract(columns=columns, label="y", task="regression", **fields)


def accepts(found: dict[str, Any], value: object) -> bool:
    return bool(Draft202012Validator(found).is_valid(value))


TYPED: dict[Kind, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 30) | st.sampled_from([3.0, -2.0, 12.0]),
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-EXACT, EXACT) | st.floats(-5, 30),
    "boolean": st.booleans(),
    "category": st.sampled_from(["a", "b", "c", "zz", ""]),
    "text": st.text(st.characters(codec="utf-8"), max_size=5),
    "time": st.datetimes(datetime(1680, 1, 1), datetime(2250, 1, 1)).map(lambda one: one.isoformat())
    | st.dates(date(1680, 1, 1), date(2250, 1, 1)).map(lambda one: one.isoformat()),
}
FILLS: dict[Kind, Any] = {
    "integer": 3,
    "number": 2.5,
    "boolean": True,
    "category": "a",
    "text": "",
    "time": "2020-01-01T00:00:00",
}
ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-EXACT, EXACT),
    st.floats(-1e9, 1e9),
    st.sampled_from(["", "a", "3", "true", "2020-01-01", "2020-13-01", "2020-01-01T10:00:00Z", "soon"]),
    st.just([]),
    st.just({}),
)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind = draw(st.sampled_from(KINDS))
    ranged = kind in ("integer", "number") and draw(st.booleans())
    policies: Any = {key: draw(st.sampled_from(POLICIES)) for key in ("missing", "unseen", "outside", "wrong_type")}
    return Column(
        name=name,
        kind=kind,
        categories=("a", "b", "c") if kind == "category" else (),
        nullable=draw(st.booleans()),
        private=draw(st.booleans()),
        low=0.0 if ranged else None,
        high=20.0 if ranged else None,
        fill=draw(st.sampled_from([FILLS[kind], None])),
        **policies,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Contract, dict[str, Any]]:
    found = [draw(columns(f"c{number}")) for number in range(draw(st.integers(1, 3)))]
    contract = terms(
        *found,
        unknown=draw(st.sampled_from(["reject", "flag", "fallback"])),
        prior=draw(st.sampled_from([None, 1.5])),
        context=("group",),
    )
    row: dict[str, Any] = {}
    for column in found:
        if draw(st.integers(0, 9)):
            # Values of the column's kind mostly: of others a schema and a verdict easily agree.
            row[column.name] = draw(TYPED[column.kind] if draw(st.integers(0, 3)) else ANY)
    for name in draw(st.sets(st.sampled_from(["group", "strange"]), max_size=1)):
        row[name] = draw(ANY)
    return contract, row


def beyond_words(contract: Contract, row: dict[str, Any]) -> bool:
    """What JSON Schema has no words for: see the module."""
    return any(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > EXACT
        for value in row.values()
    )


@settings(max_examples=250, deadline=None)
@given(cases())
def test_the_schema_and_the_verdict_are_of_one_mind(case: tuple[Contract, dict[str, Any]]) -> None:
    contract, row = case
    assume(not beyond_words(contract, row))
    verdict, _ = examine(contract, row)
    taken = accepts(schema.row(contract), row)
    if verdict.status == "ok":
        assert taken
    if taken:
        rejected = [one for one in verdict.problems if one.action == "reject"]
        assert not [one for one in rejected if one.reason in ("missing", "wrong_type", "unknown")]
    turned = {name: [value] for name, value in row.items()}
    assert accepts(schema.columns(contract), turned) == (taken and bool(row))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_of_a_public_column_whose_policies_all_reject_the_schema_knows_everything(data: st.DataObject) -> None:
    column = replace(data.draw(columns("x")), private=False)
    column = replace(column, missing="reject", unseen="reject", outside="reject", wrong_type="reject")
    value = data.draw(TYPED[column.kind] | ANY)
    row = {"x": value}
    assume(not beyond_words(terms(column), row))
    verdict, _ = examine(terms(column), row)
    assert accepts(schema.row(terms(column)), row) == (verdict.status == "ok")


@settings(max_examples=100, deadline=None)
@given(cases())
def test_an_example_is_taken_and_tells_no_private_value(case: tuple[Contract, dict[str, Any]]) -> None:
    contract, _ = case
    found = schema.example(contract)
    assert accepts(schema.row(contract), found)
    verdict, _ = examine(contract, found)
    private = {column.name for column in contract.columns if column.private}
    assert {one.column for one in verdict.problems} <= private
    assert not {name for name in private & found.keys() if contract.columns[int(name[1:])].nullable}


def test_every_fact_of_a_column_is_in_its_schema() -> None:
    found = schema.row(terms(AGE, SEX, BMI, SEEN))
    assert found["required"] == ["age", "sex"]
    assert found["additionalProperties"] is False
    age = found["properties"]["age"]
    assert (age["type"], age["title"], age["minimum"], age["maximum"]) == ("integer", "age at visit", 18.0, 99.0)
    assert age["description"] == "In years. Usually 20 to 80. Outside its range: reject. Missing: reject."
    assert found["properties"]["sex"]["enum"] == ["f", "m"]
    bmi = found["properties"]["bmi"]
    assert bmi["type"] == ["number", "null"]
    assert "minimum" not in bmi, "a row outside is flagged and answered"
    seen = found["properties"]["seen"]
    assert (seen["type"], seen["default"]) == (["string", "null"], "2020-01-01T00:00:00")


def test_unseen_categories_are_examples_where_they_are_answered() -> None:
    found = schema.row(terms(replace(SEX, unseen="flag")))["properties"]["sex"]
    assert found["examples"] == ["f", "m"]
    assert "enum" not in found
    optional = schema.row(terms(replace(SEX, nullable=True)))["properties"]["sex"]
    assert optional["enum"] == ["f", "m", None]


def test_a_private_column_tells_its_type_and_no_value() -> None:
    secret = Column(
        name="x",
        kind="category",
        categories=("rare disease", "none"),
        fill="none",
        private=True,
        hashed=True,
        unseen="reject",
        missing="impute",
    )
    number = replace(
        AGE, name="n", private=True, usual_low=None, usual_high=None, low=21.75, high=83333.25, fill=31313
    )
    told = json.dumps(
        [
            schema.row(terms(secret, number)),
            schema.openapi([Served(name="m", version=1, contract=terms(secret, number))]),
        ]
    )
    for value in ("rare disease", '"none"', "21.75", "83333.25", "31313"):
        assert value not in told
    assert "Private: logged as a keyed hash." in told
    assert "Private: not logged." in told


def test_unknown_columns_follow_their_policy() -> None:
    assert schema.row(terms(AGE, unknown="flag"))["additionalProperties"] is True
    assert schema.row(terms(AGE, unknown="fallback", prior=1.0))["additionalProperties"] is True
    assert schema.row(terms(AGE, unknown="fallback"))["additionalProperties"] is False
    assert accepts(schema.row(terms(AGE, context=("group",))), {"age": 30, "group": [1]})


def test_with_keys_a_row_brings_keys_and_request() -> None:
    contract = terms(AGE, BMI, context=("customer", "amount"))
    found = schema.row(contract, keys={"customer": "text"}, request={"age": "int", "bmi": "float", "amount": "float"})
    assert found["required"] == ["customer", "age", "amount"]
    assert accepts(found, {"customer": "c1", "age": 30, "amount": 5})
    assert not accepts(found, {"age": 30, "amount": 5})
    assert not accepts(found, {"customer": "c1", "age": 30, "amount": "much"})
    made = schema.example(contract, keys={"customer": "text"}, request={"age": "int", "amount": "float"})
    assert made == {"customer": "KEY", "amount": 1.0, "age": 50}
    assert accepts(found, made)


@pytest.mark.parametrize(
    ("kind", "shown", "taken", "refused"),
    [
        ("int", 1, [-5, 2**63 - 1], ["KEY", 1.5, 2**63, None]),
        ("text", "KEY", ["", "c1"], [1, True, None]),
        ("bool", True, [False], [1, "true", None]),
        ("date", "2020-01-01", ["2026-11-27"], [20261127, None]),
        ("", "KEY", ["c1", 1], []),
    ],
)
def test_a_key_is_of_its_own_kind(kind: str, shown: Any, taken: list[Any], refused: list[Any]) -> None:
    contract = terms(AGE, BMI)
    found = schema.row(contract, keys={"who": kind})
    made = schema.example(contract, keys={"who": kind})
    assert (made, type(made["who"])) == ({"who": shown}, type(shown))
    assert accepts(found, made)
    assert plain_key(shown, kind) is not None or not kind, "a server takes it"
    assert [accepts(found, {"who": value}) for value in taken] == [True] * len(taken)
    assert [accepts(found, {"who": value}) for value in refused] == [False] * len(refused)
    below = schema.columns(contract, keys={"who": kind})
    assert accepts(below, {"who": [shown, *taken]})
    assert not any(accepts(below, {"who": [value]}) for value in refused)


def test_a_request_is_rows_or_columns_and_nothing_else() -> None:
    found = schema.body(terms(AGE, SEX))
    Draft202012Validator.check_schema(found)
    row = {"age": 30, "sex": "f"}
    assert accepts(found, {"rows": [row, row]})
    assert accepts(found, {"columns": {"age": [30, 31], "sex": ["f", "m"]}})
    refused: list[Any] = [
        {},
        {"rows": []},
        {"rows": [row], "columns": {}},
        {"rows": [{}]},
        {"columns": {"age": [30]}},
        [row],
    ]
    for wrong in refused:
        assert not accepts(found, wrong)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_every_schema_is_valid_by_the_dialect_it_names(case: tuple[Contract, dict[str, Any]]) -> None:
    found = schema.body(case[0])
    assert found["$schema"] == schema.DIALECT
    Draft202012Validator.check_schema(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


MODELS = [
    Served(
        name="diabetes", version=3, contract=terms(AGE, SEX, BMI, SEEN, label_name="progression", label_unit="points")
    ),
    Served(
        name="lending",
        version=12,
        contract=terms(AGE, context=("customer",)),
        keys={"customer": "int"},
        request={"age": "int"},
        explained=False,
    ),
]


def test_the_document_is_valid_openapi() -> None:
    document = schema.openapi(MODELS)
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(schema.openapi([])).validate()


def test_the_document_has_every_address_and_every_refusal() -> None:
    paths = schema.openapi(MODELS)["paths"]
    assert set(paths) - set(protocolshapes.PATHS) == {
        "/v2/models/diabetes/infer",
        "/invocations/diabetes",
        "/v2/models/lending/infer",
        "/invocations/lending",
        "/predict/diabetes",
        "/explain/diabetes",
        "/predict/lending",
        "/outcomes",
        "/models",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
    }
    predict = paths["/predict/diabetes"]["post"]
    assert predict["summary"] == "Predict progression (points)"
    assert {"200", "400", "404", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    assert len(predict["requestBody"]["content"]) == len(predict["responses"]["200"]["content"]) == 2, (
        "JSON and Arrow"
    )
    assert "503" in paths["/health/ready"]["get"]["responses"]


def test_the_examples_of_the_document_are_requests_that_it_takes() -> None:
    document = schema.openapi(MODELS)
    for path, item in document["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        for given_ in content.get("examples", {}).values():
            whole = {**content["schema"], "components": document["components"]}
            assert accepts(whole, given_["value"]), path
    row = document["paths"]["/predict/diabetes"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert row["rows"]["value"] == {"rows": [{"age": 50, "sex": "f", "bmi": 25.5, "seen": "2020-01-01T00:00:00"}]}
    assert row["columns"]["value"]["columns"]["age"] == [50]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2011-01-01", True),
        ("2011-01-01T05:00:00Z", True),
        ("2011-01-01 05:00:00.25+02:00", True),
        ("2011-01-01T05:00", True),
        ("2011-13-01", False),
        ("2011-01-01T25:00", False),
        ("today", False),
        ("", False),
    ],
)
def test_times_are_told_by_a_pattern(text: str, fits: bool) -> None:
    column = replace(SEEN, missing="reject")
    assert accepts(schema.row(terms(column)), {"seen": text}) is fits
    assert (examine(terms(column), {"seen": text})[0].status == "ok") is fits
