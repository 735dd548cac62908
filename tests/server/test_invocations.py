"""MLflow's scoring protocol, and SageMaker's contract, through the application's ASGI door."""

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import invocations
from fullcircle.server.app import App
from fullcircle.server.http import Limits
from fullcircle.server.strict import decode
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column
from serving import GOOD, Coin, Response, Sum, app, call, classes, contract, loaded, post

CSV = ((b"content-type", b"text/csv"),)
NAMES = ["age", "bmi", "sex"]


def values(found: Response, rejected: int = 0) -> list[Any]:
    assert found.status == 200, found.body
    assert found.headers["x-fullcircle-rejected"] == str(rejected)
    assert list(found.json) == ["predictions"]
    return list(found.json["predictions"])


def told(found: Response, status: int, code: str = "BAD_REQUEST") -> str:
    assert found.status == status, found.body
    assert found.headers["content-type"] == "application/json"
    assert set(found.json) == {"error_code", "message"}
    assert found.json["error_code"] == code
    return str(found.json["message"])


def split(*rows: list[Any], **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": NAMES, "data": list(rows), **more}}


@pytest.mark.parametrize(
    "document",
    [
        split([40, 25.5, "f"], [50, 30, "m"]),
        split([40, 25.5, "f"], [50.0, 30.0, "m"], index=[0, 1]),
        {"dataframe_split": {"columns": ["sex", "age", "bmi"], "data": [["f", 40, 25.5], ["m", 50, 30.0]]}},
        {"dataframe_split": {"data": [[40, 25.5, "f"], [50, 30.0, "m"]]}},
        {"dataframe_records": [{**GOOD}, {"sex": "m", "bmi": 30.0, "age": 50}]},
        {"instances": [GOOD, {"age": 50, "bmi": 30, "sex": "m"}]},
        {"instances": [{"age": [40], "bmi": [25.5], "sex": ["f"]}, {"age": [50], "bmi": [30], "sex": ["m"]}]},
        {"instances": [[40, 25.5, "f"], [50, 30, "m"]]},
        {"inputs": {"age": [40, 50], "bmi": [25.5, 30], "sex": ["f", "m"]}},
        {"inputs": {"age": [[40], [50]], "bmi": [[25.5], [30]], "sex": [["f"], ["m"]]}},
        {"inputs": [[40, 25.5, "f"], [50, 30.0, "m"]]},
        {"inputs": [[40, 25.5, "f"], [50, 30.0, "m"]], "params": {}},
        {"inputs": [[40, 25.5, "f"], [50, 30.0, "m"]], "params": None},
    ],
)
def test_all_forms_of_json_are_the_same_rows(tmp_path: Path, document: Any) -> None:
    assert values(post(app(tmp_path), "/invocations", document)) == [65.5, 80.0]
    assert [one.inputs for one in log.read(tmp_path, "m")] == [{"age": 40, "bmi": 25.5}, {"age": 50, "bmi": 30.0}]


def test_nan_is_a_missing_value_as_mlflows_client_writes_it(tmp_path: Path) -> None:
    """json.dumps of a frame with gaps: no JSON, and what the protocol's own client sends."""
    rows = [[40, float("nan"), "f"], [50, 30, "NaN"]]
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": rows}})
    assert "[40, NaN, " in body
    found = call(app(tmp_path), "POST", "/invocations", body.encode())
    assert values(found) == [66.0, 99.0], "imputed; and a text stays one: no such category, so the prior"
    for other in (b"Infinity", b"-Infinity", b"-NaN", b"NaN1", b"nan", b"NaNNaN"):
        told(call(app(tmp_path), "POST", "/invocations", b'{"instances":[[40,%b,"f"]]}' % other), 400)
    assert "not JSON" in call(app(tmp_path), "POST", "/predict/m", b'{"rows":[NaN]}').json["error"]["message"]


TRICKY = st.text(st.sampled_from('Na\\":,[]{}\u0001é '), max_size=6) | st.just("NaN")


@given(
    st.recursive(
        st.floats(allow_infinity=False) | TRICKY | st.none() | st.integers(-3, 3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=3),
    ),
    st.booleans(),
)
def test_what_is_read_with_nan_is_what_was_written(document: Any, ascii_only: bool) -> None:
    read = decode(invocations.without_nan(json.dumps(document, ensure_ascii=ascii_only).encode()))
    assert read == nulled(document)


def nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: nulled(one) for name, one in value.items()}
    if isinstance(value, list):
        return list(map(nulled, value))
    return None if value != value else value


@given(st.binary(max_size=30) | st.text(st.sampled_from('Na\\"[],\0\1'), max_size=20).map(str.encode))
def test_bytes_that_are_no_document_are_none_afterwards(body: bytes) -> None:
    with suppress(RequestInvalid):
        found = decode(invocations.without_nan(body))
        assert found == nulled(json.loads(body))


@pytest.mark.parametrize("kind", [b"text/csv", b"text/csv; charset=utf-8"], ids=["plain", "charset"])
def test_csv_is_read_as_a_file_that_is_scored(tmp_path: Path, kind: bytes) -> None:
    body = '\ufeffsex,"age",bmi\r\nf,40,25.5\r\n"m",50,\r\n\r\nm,NaN,30\r\n'.encode()
    found = call(app(tmp_path), "POST", "/invocations", body, ((b"content-type", kind),))
    assert values(found, rejected=1) == [65.5, 76.0, None]


def test_categories_that_are_numbers_and_truths_that_are_floats(tmp_path: Path) -> None:
    made = (
        Column(name="size", kind="category", categories=("1", "2"), unseen="reject"),
        Column(name="on", kind="boolean"),
    )

    class Of:
        def predict(self, frame: Any) -> Any:
            return frame["size"].astype(int) * 10.0 + frame["on"].astype(int)

    target = app(tmp_path, loaded(scorer=Scorer(contract(columns=made), Of())))
    rows = {"columns": ["size", "on"], "data": [[1, 1.0], [2.0, False], ["1", True]]}
    assert values(post(target, "/invocations", {"dataframe_split": rows})) == [11.0, 20.0, 11.0]
    rows = {"columns": ["size", "on"], "data": [[1, 1], [2, 0], [2, 2], [2, 0.5], [2, -0.0]]}
    numbers = post(target, "/invocations", {"dataframe_split": rows})
    assert values(numbers, rejected=2) == [11.0, 20.0, None, None, 20.0]
    found = call(target, "POST", "/invocations", b"size,on\n1,true\n2.0,FALSE\n", CSV)
    assert values(found) == [11.0, 20.0]
    found = call(target, "POST", "/invocations", b"size,on\n1,True\n1,1\n1,1.0\n2,0\n", CSV)
    assert values(found, rejected=3) == [11.0, None, None, None], "as a file that is scored has it"


@pytest.mark.parametrize("nullable", [True, False])
def test_a_time_that_is_missing_in_a_frame_is_missing(tmp_path: Path, *, nullable: bool) -> None:
    """MLflow's client writes NaT as a text, and so does whoever makes an array of texts of a frame."""
    made = (Column(name="at", kind="time", nullable=nullable), Column(name="note", kind="text"))

    class Year:
        def predict(self, frame: Any) -> Any:
            return frame["at"].dt.year.fillna(0).astype(float)

    target = app(tmp_path, loaded(scorer=Scorer(contract(columns=made), Year())))
    rows = {"columns": ["at", "note"], "data": [["2021-05-06", "NaT"], ["NaT", "x"], ["nat", "x"]]}
    found = post(target, "/invocations", {"dataframe_split": rows})
    assert values(found, rejected=1 if nullable else 2) == [2021.0, 0.0 if nullable else None, None]
    assert next(row.inputs["note"] for row in log.read(tmp_path, "m") if row.inputs) == "NaT", "a text is what it is"


def test_a_model_of_one_column_takes_plain_values(tmp_path: Path) -> None:
    class Same:
        def predict(self, frame: Any) -> Any:
            return frame["x"].to_numpy()

    one = contract(columns=(Column(name="x", kind="number"),))
    target = app(tmp_path, loaded(scorer=Scorer(one, Same())))
    assert values(post(target, "/invocations", {"instances": [1, 2.5]})) == [1.0, 2.5]
    assert values(post(target, "/invocations", {"inputs": [[1], [2.5]]})) == [1.0, 2.5]


def test_rejected_rows_are_null_and_counted(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(classes(), Coin())))
    rows: list[list[Any]] = [[40, 25.5, "f"], [7, 25.5, "f"], [75, None, "m"], ["40", 1, "f"]]
    assert values(post(target, "/invocations", split(*rows)), rejected=2) == ["no", None, "yes", None]
    assert [one.verdict.status for one in log.read(tmp_path, "m")] == ["ok", "rejected", "imputed", "rejected"]


def test_when_all_rows_are_rejected_that_is_an_error_without_a_value(tmp_path: Path) -> None:
    message = told(post(app(tmp_path), "/invocations", split([7, 25.5, "f"], [8, 25.5, "Xq7Secret"])), 422)
    assert "'age' outside (2 times)" in message
    assert "Xq7Secret" not in message


def test_a_column_without_a_name_is_told_of_as_one(tmp_path: Path) -> None:
    """As pandas writes the index of a frame: the commonest mistake with CSV."""
    message = told(call(app(tmp_path), "POST", "/invocations", b",age,bmi,sex\n0,40,25.5,f\n", CSV), 422)
    assert "received: '' unknown;" in message


def test_a_model_that_fails_is_told_of_as_such(tmp_path: Path) -> None:
    class Broken:
        def predict(self, frame: Any) -> Any:
            raise ValueError("Xq7Secret")

    target = app(tmp_path, loaded(scorer=Scorer(contract(failed="reject", prior=None), Broken())))
    message = told(post(target, "/invocations", split([40, 25.5, "f"], [50, 30.0, "m"])), 422)
    assert "received: model (2 times);" in message


def test_rows_need_not_have_the_same_columns(tmp_path: Path) -> None:
    rows = [GOOD, {"age": 50, "sex": "m"}, {**GOOD, "colour": "red"}]
    found = post(app(tmp_path), "/invocations", {"dataframe_records": rows})
    assert values(found, rejected=2 if contract().columns[1].missing == "reject" else 1) == [65.5, 76.0, None]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        [GOOD],
        {"rows": [GOOD]},
        {**split([40, 25.5, "f"]), "instances": [GOOD]},
        {**split([40, 25.5, "f"]), "more": 1},
        {**split([40, 25.5, "f"]), "params": {"temperature": 1}},
        {**split([40, 25.5, "f"]), "params": []},
        {**split([40, 25.5, "f"]), "params": ""},
        {**split([40, 25.5, "f"]), "params": False},
        {**split([40, 25.5, "f"]), "params": 0},
        {"dataframe_split": []},
        {"dataframe_split": {"columns": NAMES}},
        {"dataframe_split": {"columns": NAMES, "data": []}},
        {"dataframe_split": {"columns": NAMES, "data": [[1]]}},
        {"dataframe_split": {"columns": NAMES, "data": [1, 2, 3]}},
        {"dataframe_split": {"columns": ["age", "age", "sex"], "data": [[1, 2, "f"]]}},
        {"dataframe_split": {"columns": [1, 2, 3], "data": [[1, 2, "f"]]}},
        {"dataframe_split": {"columns": NAMES, "data": [[1, 2, "f"]], "more": 1}},
        {"dataframe_split": {"data": [[1, 2]]}},
        {"dataframe_records": []},
        {"dataframe_records": [1]},
        {"dataframe_records": {"age": [1]}},
        {"instances": []},
        {"instances": [GOOD, 1]},
        {"instances": [1, 2]},
        {"instances": 1},
        {"inputs": {}},
        {"inputs": {"age": 1}},
        {"inputs": {"age": [1], "bmi": [1, 2], "sex": ["f"]}},
        {"inputs": {"age": [], "bmi": [], "sex": []}},
        {"inputs": 1},
    ],
)
def test_what_is_no_request_is_refused_and_not_logged(tmp_path: Path, document: Any) -> None:
    assert "next: send" in told(post(app(tmp_path), "/invocations", document), 400)
    assert not list(log.read(tmp_path, "m"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"age,bmi,sex\n",
        b"\n\n",
        b"1,2,3\n4,5,6\n",
        b"age,age\n1,2\n",
        b"age,bmi\n1\n",
        b"age\n\xff\n",
        b'age\n"1\n',
    ],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, body: bytes) -> None:
    told(call(app(tmp_path), "POST", "/invocations", body, CSV), 400)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"instances": [[NaN]]}', b'{"instances": [], "instances": []}', b"\xff"]
)
def test_what_is_no_json_is_refused(tmp_path: Path, body: bytes) -> None:
    told(call(app(tmp_path), "POST", "/invocations", body), 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([(b"content-type", b"application/json; charset=utf-8")], 200),
        ([(b"content-type", b"application/json; charset=latin-1")], 415),
        ([(b"content-type", b"text/csv; charset=utf-16")], 415),
        ([(b"content-type", b"application/x-npy")], 415),
        ([(b"origin", b"http://evil.example")], 415),
        ([(b"content-type", b"application/json"), (b"content-length", b"999999999")], 413),
    ],
)
def test_headers_that_are_taken_and_refused(tmp_path: Path, headers: list[tuple[bytes, bytes]], status: int) -> None:
    body = json.dumps(split([40, 25.5, "f"])).encode()
    found = call(app(tmp_path), "POST", "/invocations", body, headers)
    assert found.status == status, found.body
    assert status == 200 or told(found, status)


def test_the_one_model_is_asked_and_of_several_one_is_named(tmp_path: Path) -> None:
    two = app(tmp_path, loaded("a", 1, Scorer(contract(), Sum())), loaded("b", 2, Scorer(contract(), Sum(1000))))
    body = split([40, 25.5, "f"])
    assert "/invocations/a, /invocations/b" in told(post(two, "/invocations", body), 400)
    assert values(post(two, "/invocations/a", body)) == [65.5]
    assert values(post(two, "/invocations/b", body)) == [1065.5]
    told(post(two, "/invocations/c", body), 404, "RESOURCE_DOES_NOT_EXIST")


def test_more_rows_than_a_request_may_have_are_refused(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(rows=1))
    row = [40, 25.5, "f"]
    for document in (
        split(row, row),
        {"instances": [row, row]},
        {"inputs": {"age": [1, 2]}},
        {"instances": [GOOD] * 2},
    ):
        told(post(target, "/invocations", document), 413)
    told(call(target, "POST", "/invocations", b"age\n1\n2\n", CSV), 413)


def test_of_lines_beyond_the_bound_none_is_held(tmp_path: Path) -> None:
    body = b"age\n" + b"1\n" * 500_000
    tracemalloc.start()
    try:
        found = call(app(tmp_path, limits=Limits(rows=10)), "POST", "/invocations", body, CSV)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = told(found, 413)
    assert "at most 10" in message
    assert "received" not in message, "nobody counted them"
    assert held < 12 * len(body), "text as Python reads it takes four bytes for each character; lines take sixty"


def test_rows_up_to_the_bound_are_all_taken_whatever_lines_are_empty(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(rows=2))
    lines = b"\n\nage,bmi,sex\n\n40,25.5,f\n\n\n50,30,m\n\n"
    assert values(call(target, "POST", "/invocations", lines, CSV)) == [65.5, 80.0]
    told(call(target, "POST", "/invocations", lines + b"50,30,m\n", CSV), 413)


def test_ping_health_and_version(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path in ("/ping", "/health"):
        found = call(target, "GET", path)
        assert (found.status, found.body) == (200, b"\n")
    version = call(target, "GET", "/version")
    assert version.status == 200
    assert version.headers["content-type"].startswith("text/plain")
    target.draining = True
    assert "shutting down" in told(call(target, "GET", "/ping"), 503, "TEMPORARILY_UNAVAILABLE")
    told(call(target, "GET", "/invocations"), 405)


def test_a_large_body_is_answered_the_same(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[20 + place % 60, 25.5, "f"] for place in range(5000)]
    target: App = app(tmp_path)
    assert values(post(target, "/invocations", split(*rows))) == [row[0] + 25.5 for row in rows]
    lines = "age,bmi,sex\n" + "".join(f"{age},{bmi},{sex}\n" for age, bmi, sex in rows)
    assert values(call(target, "POST", "/invocations", lines.encode(), CSV)) == [row[0] + 25.5 for row in rows]


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]),
    content=JSON,
    rows=st.booleans(),
)
def test_no_document_makes_a_defect(tmp_path: Path, form: str, content: Any, *, rows: bool) -> None:
    content = {"columns": ["age"], "data": content} if rows and form == "dataframe_split" else content
    found = post(app(tmp_path), "/invocations", {form: content})
    assert found.status in (200, 400, 422)
