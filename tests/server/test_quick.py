"""The quick way through the server answers, logs and refuses exactly what the way by hand does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.encoding import LOOK, Encoder
from fullcircle.runtimes.scorer import Block, Scorer
from fullcircle.server.app import App
from fullcircle.server.decoding import Decoder
from fullcircle.server.desk import Desk
from fullcircle.server.follower import View
from fullcircle.server.http import Limits
from fullcircle.server.rendering import Renderer
from fullcircle.server.requests import Row, rows_of
from fullcircle.server.strict import decode
from fullcircle.tables import predictions as log
from fullcircle.tables.private import hashed
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.prediction import Prediction
from serving import GOOD, Response, app, ask, classes, contract, loaded, post, view

NAMES = ("age", "bm'i%", "smokes: yes?", "city")
COLUMNS = (
    Column(name=NAMES[0], kind="integer", low=0.0, high=120.0, nullable=True),
    Column(name=NAMES[1], kind="number", low=-5.0, high=60.0),
    Column(name=NAMES[2], kind="boolean"),
    Column(name=NAMES[3], kind="category", categories=("Bern", "Zürich: West", ""), unseen="flag", nullable=True),
)
CONTRACT = Contract(columns=COLUMNS, label="y", task="regression", prior=1.0, context=("time", "group:"))


class Weighted:
    """Answers a sum that tells every column apart."""

    def predict(self, frame: Any) -> Any:
        city = frame[NAMES[3]].cat.codes.to_numpy()
        return (
            frame[NAMES[0]].fillna(-7.0).to_numpy() * 3.0 + frame[NAMES[1]].to_numpy() / 7 + frame[NAMES[2]] + city
        ).to_numpy()


SCORER = Scorer(CONTRACT, Weighted(), name="m", version=1, bundle="b" * 64)
ENCODER = Encoder(CONTRACT)
DECODER = Decoder(CONTRACT, ENCODER)
INTEGERS = st.one_of(st.integers(-3, 130), st.integers(2**53 - 2, 2**70), st.integers(-(2**70), -(2**53)))
WILD = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["Bern", "Zürich: West", "", "bern", "3", ":", '"', "\\", "\u2028", "2026-01-01T00:00:00"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["a", ":"]), st.integers(0, 3), max_size=2),
)
USUAL = st.fixed_dictionaries(
    {
        NAMES[0]: st.one_of(st.integers(0, 120), st.none()),
        NAMES[1]: st.floats(-5, 60),
        NAMES[2]: st.booleans(),
        NAMES[3]: st.sampled_from(["Bern", "Zürich: West", "", None]),
    },
    optional={
        "time": st.sampled_from(["2026-01-01T00:00:00", "noon", 5]),
        "group:": st.sampled_from(["a", None, 1.5]),
    },
)
ANY = st.dictionaries(st.sampled_from([*NAMES, "time", "group:", "other"]), WILD, max_size=7)
ROWS = st.lists(st.one_of(USUAL, USUAL, USUAL, ANY), min_size=1, max_size=4)


def by_hand(body: bytes) -> list[dict[str, Any]]:
    return rows_of(decode(body), 100)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(rows=ROWS, columnar=st.booleans())
def test_what_is_decoded_quickly_is_what_is_judged_ok_by_hand(rows: list[dict[str, Any]], columnar: bool) -> None:
    document: Any = {"rows": rows}
    if columnar:
        names = {name for row in rows for name in row}
        document = {"columns": {name: [row.get(name) for row in rows] for name in sorted(names)}}
        if not names:
            return
    body = msgspec.json.encode(document)
    found = DECODER.rows(body)
    predictions = SCORER.score(by_hand(body))
    if found is None:
        return
    matrix = DECODER.matrix(found)
    clean = ENCODER.clean(matrix)
    assert ENCODER.all_clean(matrix) == clean.all()
    block = SCORER.block(matrix[clean])
    answers = iter(block.answers.tolist())
    for line, fits, one in zip(DECODER.logged(found), clean.tolist(), predictions, strict=True):
        if not fits:
            continue
        assert one.verdict == Verdict(status="ok")
        assert next(answers) == one.value
        logged = msgspec.json.decode(b'{"inputs":' + line + b"}")
        assert logged["inputs"] == one.inputs
        assert (logged.get("context") or {}) == (one.context or {})


@settings(max_examples=200, derandomize=True, deadline=None)
@given(rows=st.lists(USUAL, min_size=1, max_size=4))
def test_nothing_usual_needs_a_second_look(rows: list[dict[str, Any]]) -> None:
    found = DECODER.rows(msgspec.json.encode({"rows": rows}))
    assert found is not None
    assert ENCODER.all_clean(DECODER.matrix(found))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"rows":[]}',
        b'{"columns":{}}',
        b'{"rows":[{}]}',
        b'{"rows":[],"columns":{}}',
        b'{"rows":[{"age":1,"age":2}]}',
        b'\xff{"rows":[{"age":1}]}',
        b'{"rows":[{"age":1}]} x',
        b'{"rows":[{"age":1,"extra":2}]}',
        b'{"rows":[{"age":true}]}',
        b'{"rows":[{"age":"1"}]}',
        b'{"rows":[{"age":1.5}]}',
        b'{"rows":[{"age":NaN}]}',
        b'{"rows":[{"age":1e400}]}',
        b'{"columns":{"age":[]}}',
        b'{"columns":{"age":1}}',
        b'{"rows":[{"age":1}],"rows":[{"age":2}]}',
        b'{"rows":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_plain_is_looked_at_again(body: bytes) -> None:
    one = contract(columns=(COLUMNS[0].__class__(name="age", kind="integer"),))
    decoder = Decoder(one, Encoder(one))
    assert decoder.rows(b'{"rows":[{"age":1}]}') is not None
    assert decoder.rows(b'{"columns":{"age":[1,2]}}') is not None
    assert decoder.rows(body) is None


def test_columns_of_several_lengths_are_refused_in_words() -> None:
    with pytest.raises(RequestInvalid, match="one length") as told:
        rows_of({"columns": {"age": [1, 2], "bmi": [1]}}, 10)
    assert "1, 2 values" in str(told.value)
    with pytest.raises(RequestInvalid, match="too many"):
        rows_of({"columns": {"age": [1, 2, 3]}}, 2)
    assert rows_of({"columns": {"age": [1, 2], "bmi": [3, None]}}, 2) == [
        {"age": 1, "bmi": 3},
        {"age": 2, "bmi": None},
    ]


def test_an_unknown_category_and_a_large_number_need_a_look() -> None:
    row = {NAMES[0]: 1, NAMES[1]: 2.0, NAMES[2]: True, NAMES[3]: "Basel"}
    found = DECODER.rows(msgspec.json.encode({"rows": [row]}))
    assert found is not None
    matrix = DECODER.matrix(found)
    assert matrix[0, 3] == LOOK
    assert not ENCODER.clean(matrix)[0]
    free = Contract(columns=(Column(name="x", kind="number"),), label="y", task="regression", prior=0.0)
    encoder = Encoder(free)
    # 2**53 itself may have been written as 2**53 + 1, which a float cannot tell from it.
    large = [[2.0**53 - 1], [2.0**53], [2.0**53 + 2], [-1e300], [np.inf], [np.nan]]
    assert encoder.clean(np.array(large)).tolist() == [True, *[False] * 5]


VALUES = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["no", "yes", 'a "%b" 😀', 3, 4.5, True]), min_size=2, max_size=4, unique_by=str),
    data=st.data(),
)
def test_what_is_written_quickly_reads_as_what_is_written_by_hand(labels: list[Any], data: Any) -> None:
    one = contract(task="classification", classes=tuple(labels), prior=labels[0])
    chances = data.draw(
        st.lists(st.lists(VALUES, min_size=len(labels), max_size=len(labels)), min_size=1, max_size=3)
    )
    places = data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=len(chances), max_size=len(chances)))
    block = Block(np.array(places), np.array(chances, dtype=np.float64))
    renderer = Renderer(one, model='m"%', version=3, bundle="b" * 64)
    parts = renderer.parts(block)
    assert b",".join(parts.figures) == msgspec.json.encode([value for row in chances for value in row])[1:-1]
    lines = renderer.logged(parts, [b'{"age":1}'] * len(chances), [b"0.250000"] * len(chances))
    for value, share, logged, place, row in zip(parts.values, parts.shares, lines, places, chances, strict=True):
        expected = Prediction(
            value=labels[place],
            verdict=Verdict(status="ok"),
            probabilities=dict(zip(map(str, labels), row, strict=True)),
            inputs={"age": 1},
            model='m"%',
            version=3,
            bundle="b" * 64,
            latency=0.25,
        )
        assert msgspec.json.decode(logged, type=Prediction) == expected
        by_hand = Row(
            id="x-1", prediction=labels[place], verdict="ok", problems=(), probabilities=expected.probabilities
        )
        assert renderer.row("x-1", value, share) == msgspec.json.encode(by_hand)


def both(folder: Path, rows: Sequence[Any], **changes: Any) -> tuple[Response, Response]:
    """The same rows through the quick way, and through the way by hand (a row that is not clean takes all there)."""
    one = loaded(scorer=Scorer(contract(**changes), loaded().scorer.model))
    quick, hand = app(folder / "a", one), app(folder / "b", one)
    first = post(quick, "/predict/m", {"rows": list(rows)})
    second = post(hand, "/predict/m", {"rows": [*rows, {**GOOD, "age": "strange"}]})
    return first, second


def test_a_request_by_hand_tells_the_same(tmp_path: Path) -> None:
    rows = [{**GOOD, "bmi": 20.0 + place} for place in range(5)]
    quick, hand = both(tmp_path, rows)
    for one, other in zip(quick.json["predictions"], hand.json["predictions"], strict=False):
        assert {**one, "id": ""} == {**other, "id": ""}
    assert len(hand.json["predictions"]) == 6
    first, second = (list(log.read(tmp_path / name, "m")) for name in "ab")
    for a, b in zip(first, second, strict=False):
        assert (a.value, a.inputs, a.verdict, a.context) == (b.value, b.inputs, b.verdict, b.context)
        assert a.latency is not None
        assert 0.0 < a.latency < 10.0
        assert "sex" not in (a.inputs or {})  # private


def test_requests_that_come_together_are_one_batch_and_do_not_hurt_each_other(tmp_path: Path) -> None:
    calls: list[int] = []

    class Counted:
        def predict(self, frame: Any) -> Any:
            calls.append(len(frame))
            return np.where(frame["bmi"] == 13.0, np.nan, frame["age"] + frame["bmi"])

    target = app(tmp_path, loaded(scorer=Scorer(contract(failed="fallback"), Counted())))
    rows: list[dict[str, Any]] = [{**GOOD, "bmi": float(value)} for value in range(11, 31)]
    rows[7] = {**GOOD, "sex": "unknown"}
    rows[8] = {"age": 3}

    async def together() -> list[Response]:
        bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
        return list(await asyncio.gather(*(ask(target, "POST", "/predict/m", body) for body in bodies)))

    current = asyncio.run(together())
    (answers,) = zip(*(one.json["predictions"] for one in current), strict=True)
    for place, (row, one, answer) in enumerate(zip(rows, current, answers, strict=True)):
        if place == 2:
            assert (answer["verdict"], answer["prediction"], answer["answered_by"]) == ("fallback", 99.0, "prior")
        elif place == 7:
            assert (answer["verdict"], answer["prediction"]) == ("fallback", 99.0)
        elif place == 8:
            assert (one.status, answer["verdict"]) == (422, "rejected")
        else:
            assert (answer["verdict"], answer["prediction"]) == ("ok", row["age"] + row["bmi"])
    assert max(calls) >= 18
    assert len({answer["id"] for answer in answers}) == len(rows)
    assert len(list(log.read(tmp_path, "m"))) == len(rows)


def test_a_large_request_is_answered_in_pieces_and_lets_others_in(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(inline_bytes=1000))
    rows: list[dict[str, Any]] = [{**GOOD, "bmi": 20.0 + place / 1000} for place in range(3000)]
    order: list[str] = []

    async def one(name: str, document: Any) -> Response:
        found = await ask(target, "POST", "/predict/m", json.dumps(document).encode())
        order.append(name)
        return found

    async def both() -> tuple[Response, Response]:
        large = asyncio.create_task(one("large", {"rows": rows}))
        await asyncio.sleep(0)
        return await large, await asyncio.create_task(one("small", {"rows": [GOOD]}))

    large, small = asyncio.run(both())
    assert (large.status, small.status) == (200, 200)
    assert [row["prediction"] for row in large.json["predictions"]] == [row["age"] + row["bmi"] for row in rows]
    strange = [*rows[:100], {**GOOD, "age": None}]
    found = post(target, "/predict/m", {"rows": strange})
    assert [row["verdict"] for row in found.json["predictions"]] == ["ok"] * 100 + ["rejected"]
    limited = app(tmp_path, limits=Limits(rows=10))
    assert post(limited, "/predict/m", {"rows": rows[:11]}).status == 413


def test_the_champion_before_answers_where_a_policy_says_fallback(tmp_path: Path) -> None:
    class Thousand:
        def predict(self, frame: Any) -> Any:
            return np.full(len(frame), 1000.0)

    lenient = contract(
        columns=tuple(
            column
            if column.name != "sex"
            else Column(name="sex", kind="category", categories=("f", "x"), private=True)
            for column in contract().columns
        )
    )
    one = loaded()
    one.scorer.fallback = Scorer(lenient, Thousand())
    target = app(tmp_path, one)
    rows = [{**GOOD, "sex": "x"}, {**GOOD, "sex": "m"}, {**GOOD, "sex": "x", "bmi": 1e9}]
    found = post(target, "/predict/m", {"rows": rows}).json["predictions"]
    told = [(row["verdict"], row["prediction"], row.get("answered_by", "")) for row in found]
    assert told == [("fallback", 1000.0, "previous"), ("ok", 65.5, ""), ("fallback", 1000.0, "previous")]
    logged = [one.answered_by for one in log.read(tmp_path, "m")]
    assert logged == ["previous", "", "previous"]


def test_the_classes_of_a_champion_before_that_are_no_longer_known_are_not_given() -> None:
    class Old:
        def predict(self, frame: Any) -> Any:
            return np.full(len(frame), "maybe")

    before = Scorer(contract(task="classification", classes=("maybe", "no"), prior="no"), Old())
    scorer = Scorer(classes(), None, fallback=before)
    row = {**GOOD, "sex": "?"}
    (found,) = scorer.score([row])
    assert (found.value, found.answered_by) == ("no", "prior")


def test_without_its_model_a_row_gets_what_the_policy_says() -> None:
    rows = [GOOD, {**GOOD, "age": None}, {**GOOD, "sex": "?"}]
    fallback = Scorer(contract(failed="fallback"), None).without_model(rows, "it hangs")
    assert [(one.verdict.status, one.value) for one in fallback] == [
        ("fallback", 99.0),
        ("rejected", None),
        ("fallback", 99.0),
    ]
    assert fallback[0].verdict.problems[0].text == "it hangs"
    rejected = Scorer(contract(), None).without_model(rows[:1], "it hangs")
    assert (rejected[0].verdict.status, rejected[0].value) == ("rejected", None)


def test_a_view_without_the_model_is_not_asked_quickly() -> None:
    enriched = loaded(scorer=Scorer(contract(), None, enrich=lambda rows: []))
    assert not enriched.quick
    assert loaded().quick
    for column in (Column(name="note", kind="text"), Column(name='a"b', kind="number")):
        assert not loaded(scorer=Scorer(contract(columns=(column,)), None)).quick
    assert View().ready is False


def test_a_private_value_is_hashed_with_the_key_where_the_contract_says_so(tmp_path: Path) -> None:
    hashing = contract(
        columns=(*contract().columns[:2], Column(name="sex", kind="category", categories=("f", "m"), hashed=True))
    )
    key = b"k" * 32
    one = loaded(scorer=Scorer(hashing, loaded().scorer.model))
    target = App(lambda: view(one), Desk(tmp_path, key=key))
    for rows in ([GOOD], [GOOD, {"age": "strange"}]):
        post(target, "/predict/m", {"rows": rows})
    seen = [one.inputs for one in log.read(tmp_path, "m") if one.inputs]
    assert seen[0] == seen[1] == {"age": 40, "bmi": 25.5, "sex": hashed(key, "sex", "f")}
