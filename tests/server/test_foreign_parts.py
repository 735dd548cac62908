"""The pieces below the other protocols: bytes, columns, the file of what is unloaded, the wording of refusals."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fullcircle.errors import ModelNotServed, RequestInvalid, ServerBusy
from fullcircle.runtimes.contracts import examine
from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import addresses, dialects, tabular
from fullcircle.server.decoding import Decoder
from fullcircle.server.http import Answer, Limits, refusal, wrong_method
from fullcircle.server.unloaded import NAME, Unloaded
from fullcircle.server.v2 import binary
from fullcircle.server.v2.figures import figures_of, table_of
from fullcircle.server.v2.tensors import AnyTensor, Tensor, columns_of, request_of
from fullcircle.types.contract import Column, Kind
from serving import Sum, contract, loaded

# --- bytes ---------------------------------------------------------------------------------------------------

WHOLE = [(f"{sign}INT{bits}", bits, bool(sign)) for bits in (8, 16, 32, 64) for sign in ("", "U")]


def tensor(datatype: str, count: int) -> AnyTensor:
    return Tensor(name="x", shape=[count], datatype=datatype)


@pytest.mark.parametrize(("datatype", "bits", "unsigned"), WHOLE)
@given(data=st.data())
def test_whole_numbers_survive_as_bytes(data: Any, datatype: str, bits: int, *, unsigned: bool) -> None:
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    numbers = data.draw(st.lists(st.integers(low, high), max_size=5))
    part = binary.written(datatype, numbers)
    assert len(part) == len(numbers) * bits // 8
    assert binary.values(tensor(datatype, len(numbers)), part, len(numbers)) == numbers


@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=6))
def test_floats_survive_as_bytes_and_nan_stands_for_what_is_missing(numbers: list[float | None]) -> None:
    part = binary.written("FP64", numbers)
    found = binary.values(tensor("FP64", len(numbers)), part, len(numbers))
    assert found == numbers
    assert [str(one) for one in found] == [str(one) for one in numbers], "also the sign of zero"


@given(st.lists(st.text(), max_size=6))
def test_texts_survive_as_bytes(texts: list[str]) -> None:
    part = binary.written("BYTES", texts)
    assert binary.values(tensor("BYTES", len(texts)), part, len(texts)) == texts


@given(st.binary(max_size=40), st.integers(0, 6))
def test_any_bytes_are_as_many_texts_or_are_refused(part: bytes, count: int) -> None:
    try:
        found = binary.values(tensor("BYTES", count), part, count)
    except RequestInvalid:
        return
    assert len(found) == count
    assert binary.written("BYTES", found) == part


def test_what_has_no_form_in_bytes_is_never_written() -> None:
    for kind in ("INT64", "BOOL"):
        with pytest.raises(ValueError, match="nothing for what is missing"):
            binary.written(kind, [1, None])
    assert binary.written("BYTES", [None, "a"]) == struct.pack("<I", 0) + struct.pack("<I", 1) + b"a"


@given(st.lists(st.none() | st.integers(0, 9), max_size=5), st.binary(max_size=30))
def test_the_parts_of_a_body_are_all_of_it_or_it_is_refused(sizes: list[int | None], rest: bytes) -> None:
    total = sum(size or 0 for size in sizes)
    if total != len(rest):
        with pytest.raises(RequestInvalid, match="more or fewer"):
            binary.parts(sizes, rest)
    else:
        found = binary.parts(sizes, rest)
        assert [None if part is None else len(part) for part in found] == sizes
        assert b"".join(part or b"" for part in found) == rest


@given(st.binary(max_size=12))
def test_truths_are_the_bytes_0_and_1_and_no_others(part: bytes) -> None:
    wanted = tensor("BOOL", len(part))
    if set(part) <= {0, 1}:
        assert binary.values(wanted, part, len(part)) == [byte == 1 for byte in part]
    else:
        with pytest.raises(RequestInvalid, match="neither the byte 0 nor the byte 1"):
            binary.values(wanted, part, len(part))


def test_many_truths_are_not_looked_at_one_by_one() -> None:
    """Eight million took half a second of the interpreter."""
    part = b"\0\1" * 4_000_000
    begun = time.process_time()
    found = binary.cells(tensor("BOOL", len(part)), part, len(part))
    assert time.process_time() - begun < 0.1
    assert int(found.sum()) == 4_000_000


# --- tensors -------------------------------------------------------------------------------------------------

INPUTS = (("a", "number"), ("b", "integer"))


def document(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def one(name: str, datatype: str, data: Any, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP64", [1, 2.5, None], [1.0, 2.5, None]),
        ("FP32", [0.1], [0.1]),
        ("FP64", [2**53, 2**60, -(2**1000)], [float(2**53), float(2**60), -float(2**1000)]),
        ("FP64", [1e300, -0.0], [1e300, -0.0]),
        ("INT64", [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ("UINT64", [2**64 - 1, 2**63], [2**64 - 1, 2**63]),
        ("INT8", [127.0, -128, None], [127, -128, None]),
        ("BOOL", [True, None, False], [True, None, False]),
        ("BYTES", ["", "a:b", None], ["", "a:b", None]),
    ],
)
def test_values_are_what_was_written(datatype: str, data: list[Any], expected: list[Any]) -> None:
    found = columns_of(request_of(document(one("a", datatype, data))), b"", INPUTS, 100)
    assert found == {"a": expected}
    assert list(map(type, found["a"])) == list(map(type, expected))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT8", 128),
        ("INT8", 1.5),
        ("INT64", 2**63),
        ("INT64", float(2**53)),
        ("UINT8", -1),
        ("UINT64", 2**64),
        ("FP64", 2**53 + 1),
        ("FP64", 10**309),
        ("FP16", 1e300),
        ("FP16", 65520.0),
        ("FP16", -65520),
        ("FP32", 1e39),
        ("FP32", 3.4028235677973366e38),
        ("FP32", -(2**1000)),
        ("FP64", True),
        ("FP64", "1"),
        ("BOOL", 1),
        ("BOOL", "true"),
        ("BYTES", 1),
        ("BYTES", False),
    ],
)
def test_a_value_that_its_datatype_cannot_hold_is_refused(datatype: str, value: Any) -> None:
    with pytest.raises(RequestInvalid, match="does not fit"):
        columns_of(request_of(document(one("a", datatype, [value]))), b"", INPUTS, 100)


@given(number=st.floats(allow_nan=False, allow_infinity=False), kind=st.sampled_from(["FP16", "FP32"]))
@example(number=65519.99, kind="FP16")
@example(number=65520.0, kind="FP16")
@example(number=3.4028235e38, kind="FP32")
def test_narrow_numbers_are_refused_where_numpy_makes_infinity_of_them(number: float, kind: str) -> None:
    with np.errstate(over="ignore"):
        fits = bool(np.isfinite(np.dtype({"FP16": "f2", "FP32": "f4"}[kind]).type(number)))
    body = document(one("x", kind, [number, 1.0], [1, 2]))
    request, inputs = request_of(body), (("a", "number"), ("b", "number"))
    quick = figures_of(body)
    assert quick is None or (fits and table_of(quick, b"", 2, 100) == ([number, 1.0], None))
    if fits:
        assert columns_of(request, b"", inputs, 100) == {"a": [number], "b": [1.0]}, "and nothing is narrowed"
    else:
        with pytest.raises(RequestInvalid, match="does not fit"):
            columns_of(request, b"", inputs, 100)


@pytest.mark.parametrize("digits", [5, 18, 19, 400, 4300])
def test_a_refusal_repeats_no_number_that_is_longer_than_a_count(digits: int) -> None:
    body = b'{"inputs":[{"name":"x","shape":[%b],"datatype":"FP64","data":[1]}]}' % (b"9" * digits)
    with pytest.raises(RequestInvalid, match="too many rows") as caught:
        columns_of(request_of(body), b"", INPUTS, 100)
    assert caught.value.status == 413
    assert (caught.value.received is not None) == (digits <= 18)
    assert len(str(caught.value)) < 300


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=6))
def test_a_table_is_its_columns(rows: list[list[float]]) -> None:
    flat = [value for row in rows for value in row]
    inputs = (("a", "number"), ("b", "number"))
    for data in (flat, rows):
        request = request_of(document(one("x", "FP64", data, [len(rows), 2])))
        assert columns_of(request, b"", inputs, 100) == {"a": flat[::2], "b": flat[1::2]}
    quick = figures_of(document(one("x", "FP64", flat, [len(rows), 2])))
    assert quick is not None
    assert table_of(quick, b"", 2, 100) == (flat, None)
    head = figures_of(
        json.dumps(
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [len(rows), 2],
                        "datatype": "FP64",
                        "parameters": {"binary_data_size": 8 * len(flat)},
                    }
                ]
            }
        ).encode()
    )
    assert head is not None
    again = table_of(head, np.array(flat).tobytes(), 2, 100)
    assert again is not None
    assert again[0] == flat
    assert np.array_equal(np.asarray(again[1]), np.array(rows))


def test_a_table_that_needs_a_look_is_none_that_is_taken_at_once() -> None:
    for datatype, data, shape in (
        ("FP16", [1.0, 2.0], [1, 2]),
        ("FP64", [[1.0, 2.0]], [1, 2]),
        ("FP64", [1.0, float(2**60)], [1, 2]),
        ("INT64", [1, 2], [1, 2]),
        ("FP64", [1.0, 2.0], [2]),
        ("FP64", [1.0, 2.0], [2, 1]),
        ("FP64", [1.0, 2.0, 3.0], [1, 3]),
    ):
        quick = figures_of(document(one("x", datatype, data, shape)))
        assert quick is None or table_of(quick, b"", 2, 100) is None


KEYS = st.sampled_from(["id", "name", "shape", "datatype", "data", "inputs", "outputs", "parameters"])
SMALL = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["FP64", "BYTES", "a:b", '"', "\\"])
    | st.floats()
)
ANY = st.recursive(
    SMALL, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(ANY)
def test_any_document_is_a_request_or_is_refused(found: Any) -> None:
    status = 200
    try:
        columns_of(request_of(json.dumps(found).encode()), b"", INPUTS, 100)
    except RequestInvalid as error:
        status = error.status
    assert status in (200, 400, 413)


@given(st.text(max_size=6), st.text(max_size=6))
def test_a_key_that_is_there_twice_is_found_whatever_the_texts_hold(number: str, text: str) -> None:
    good = document(one("a", "BYTES", [text]), id=number, parameters={"x": text}, outputs=[{"name": text}])
    assert request_of(good).id == number
    twice = good[:-1] + b',"id": "again"}'
    with pytest.raises(RequestInvalid, match="twice"):
        request_of(twice)


# --- columns -------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "number": st.floats(-1e9, 1e9) | st.integers(-(2**60), 2**60),
    "integer": st.integers(-(2**60), 2**60) | st.floats(-1e3, 1e3) | st.integers(-9, 9).map(float),
    "boolean": st.booleans() | st.integers(0, 1),
    "category": st.sampled_from(["f", "m", "x", ""]) | st.integers(0, 3),
}


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), nullable=st.booleans())
def test_columns_that_need_no_second_look_are_what_the_contract_takes(
    data: Any, kind: Kind, *, nullable: bool
) -> None:
    made = contract(columns=(Column(name="x", kind=kind, categories=("f", "m"), nullable=nullable),))
    encoder = Encoder(made)
    values = data.draw(st.lists(st.none() | KINDS[kind], min_size=1, max_size=4))
    rows = Decoder(made, encoder).turned({"x": values})
    judged = [examine(made, {"x": value}) for value in values]
    if rows is None:
        return
    matrix = Decoder(made, encoder).matrix(rows)
    for row, fits, (verdict, found) in zip(rows, encoder.clean(matrix), judged, strict=True):
        if fits:
            assert verdict.status == "ok"
            assert msgspec.to_builtins(row) == found
        else:
            assert examine(made, msgspec.to_builtins(row))[0].status == verdict.status


def test_what_is_not_of_a_column_gets_a_second_look() -> None:
    made = contract()
    decoder = Decoder(made, Encoder(made))
    good: dict[str, list[Any]] = {"age": [40], "bmi": [25.5], "sex": ["f"]}
    assert decoder.turned(good)
    assert decoder.turned({**good, "age": [40.0], "bmi": [25]})
    for name, value in (("age", "40"), ("age", 40.5), ("age", True), ("bmi", None), ("sex", 1), ("bmi", 2**53)):
        assert decoder.turned({**good, name: [value]}) is None
    assert decoder.turned({**good, "colour": ["red"]}) is None
    assert decoder.turned({"age": [40], "bmi": [25.5]}) is None


def test_rows_and_columns_are_the_same_request() -> None:
    target = loaded(scorer=Scorer(contract(), Sum()))
    rows: list[dict[str, Any]] = [{"age": 40, "bmi": 1, "sex": "f"}, {"age": "x", "bmi": None, "sex": 7}]
    found = tabular.of_rows(target, rows)
    assert found.rows is None
    assert found.plain == [rows[0], {**rows[1], "sex": "7"}]
    assert tabular.of_columns(target, {name: [row[name] for row in rows] for name in rows[0]}) == found
    assert tabular.of_rows(target, [*rows, {"age": 1}]).plain == [*(found.plain or ()), {"age": 1}]
    texts = tabular.of_texts(target, {"age": ["40", ""], "bmi": ["1.5", "nan"], "sex": ["f", "7"]})
    assert texts.plain == [{"age": 40, "bmi": 1.5, "sex": "f"}, {"age": None, "bmi": None, "sex": "7"}]


# --- what is unloaded ----------------------------------------------------------------------------------------


def test_what_is_unloaded_is_kept_in_a_file_that_others_follow(tmp_path: Path) -> None:
    one, other = Unloaded(tmp_path), Unloaded(tmp_path)
    assert (one.names(), one.mark()) == (frozenset(), None)
    one.change("b", out=True)
    one.change("a", out=True)
    one.change("a", out=True)
    assert one.names() == other.names() == {"a", "b"}
    assert json.loads((tmp_path / NAME).read_bytes()) == {"models": ["a", "b"]}
    before = other.mark()
    other.change("b", out=False)
    other.change("c", out=False)
    assert one.names() == {"a"}
    assert one.mark() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, f"{NAME}.lock"]


def test_changes_of_many_at_a_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"m{place}" for place in range(12)]
    works = [partial(Unloaded(tmp_path).change, name, out=True) for name in names]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Unloaded(tmp_path).names() == set(names)


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, content: bytes) -> None:
    known = Unloaded(tmp_path)
    known.change("a", out=True)
    assert known.names() == {"a"}
    (tmp_path / NAME).write_bytes(content + b" ")
    assert known.names() == {"a"}
    with pytest.raises(RequestInvalid, match="cannot record") as caught:
        known.change("b", out=True)
    assert caught.value.status == 409
    assert (tmp_path / NAME).read_bytes() == content + b" "


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="cannot record"):
        Unloaded(tmp_path / "nothing").change("a", out=True)
    assert Unloaded(tmp_path / "nothing").names() == frozenset()
    assert os.listdir(tmp_path) == []


# --- the wording of refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestInvalid("wrong", received="x", allowed="y", next_step="z"), 400, "BAD_REQUEST"),
        (RequestInvalid("wrong", status=413), 413, "BAD_REQUEST"),
        (ModelNotServed("wrong"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (ServerBusy("wrong"), 503, "TEMPORARILY_UNAVAILABLE"),
    ],
)
def test_a_refusal_has_the_form_of_its_protocol(error: Any, status: int, code: str) -> None:
    native = refusal(error)
    assert dialects.worded(native, "native") is native
    v2, mlflow = dialects.worded(native, "v2"), dialects.worded(native, "mlflow")
    assert v2.status == mlflow.status == native.status == status
    assert v2.headers == mlflow.headers == native.headers
    text = json.loads(v2.body)["error"]
    assert text.startswith("wrong")
    assert json.loads(mlflow.body) == {"error_code": code, "message": text}
    if error.next_step:
        assert text == "wrong; received: x; allowed: y; next: z"


def test_what_is_no_refusal_or_has_its_form_already_stays() -> None:
    assert dialects.worded(Answer(200, b"bytes"), "v2") == Answer(200, b"bytes")
    ready = Answer(503, b'{"ready":false,"error":"not yet"}')
    assert dialects.worded(ready, "v2") is ready
    found = dialects.worded(wrong_method("POST"), "v2")
    assert found.headers == ((b"allow", b"POST"),)
    assert isinstance(json.loads(found.body)["error"], str)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/predict/m", "native"),
        ("/nothing", "native"),
        ("/v2", "v2"),
        ("/v2/models/m/infer", "v2"),
        ("/v2/nothing/at/all", "v2"),
        ("/v2x", "native"),
        ("/invocations", "mlflow"),
        ("/invocations/m", "mlflow"),
        ("/ping", "mlflow"),
    ],
)
def test_each_path_has_its_form(path: str, dialect: str) -> None:
    assert addresses.dialect(path) == dialect


@pytest.mark.parametrize(
    ("path", "template", "names"),
    [
        ("/v2/models/a/infer", "/v2/models/{model}/infer", ("a",)),
        ("/v2/models/a/versions/3/infer", "/v2/models/{model}/versions/{version}/infer", ("a", "3")),
        ("/v2/models/a/versions/3", "/v2/models/{model}/versions/{version}", ("a", "3")),
        ("/v2/models/a/ready", "/v2/models/{model}/ready", ("a",)),
        ("/v2/models/a", "/v2/models/{model}", ("a",)),
        ("/v2/models/infer", "/v2/models/{model}", ("infer",)),
        ("/v2/models/a/infer/b", "/v2/models/{model}", ("a/infer/b",)),
        ("/v2/repository/models/a/unload", "/v2/repository/models/{model}/unload", ("a",)),
        ("/invocations/a", "/invocations/{model}", ("a",)),
    ],
)
def test_each_address_is_found_by_its_own_template(path: str, template: str, names: tuple[str, ...]) -> None:
    found = addresses.find(path)
    assert found is not None
    assert (found[0].template, found[1]) == (template, names)


def test_a_content_type_may_say_the_charset_that_it_has_anyway() -> None:
    for value, other in (
        (b"text/csv", True),
        (b"Text/CSV; charset=UTF-8", True),
        (b'text/csv;charset="utf-8";', True),
        (b"application/json; charset=utf-8", False),
    ):
        assert dialects.check([(b"content-type", value)], Limits(), b"text/csv") is other
    for value in (b"text/csv; charset=latin-1", b"text/csvx", b"text/csv; header=absent", b""):
        with pytest.raises(RequestInvalid, match="not declared"):
            dialects.check([(b"content-type", value)], Limits(), b"text/csv")
