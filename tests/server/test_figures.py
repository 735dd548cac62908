"""Numbers that are read at once are what they are when they are read one by one, and so are the refusals."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.server.decoding import Decoder
from fullcircle.server.engine import Ask
from fullcircle.server.v2 import tensors
from fullcircle.server.v2.figures import figures_of, listed_of, table_of
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column, Contract
from fullcircle.types.prediction import Prediction
from serving import Response, app, ask, call, contract, loaded, post

NAMES = ["a", "b '%b", "c: d"]
INPUTS = tuple((name, "number") for name in NAMES)
LIMIT = 5
LARGE = [2.0**53 - 1, 2.0**53, 2.0**53 + 2, -(2.0**53), 65519.0, 65520.0, 3.5e38, 1e300]
USUAL = st.one_of(st.floats(-1e6, 1e6), st.none(), st.integers(-9, 9))
VALUES = st.one_of(USUAL, USUAL, USUAL, st.sampled_from([*LARGE, 2**53 + 1, 2**70, True, "1", [1.0]]))
KINDS = st.sampled_from(["FP64", "FP64", "FP64", "FP32", "FP16", "INT64", "INT8", "BOOL", "BYTES", "FP8"])
PARAMETERS = st.sampled_from([None, None, {}, {"content_type": "np"}, {"content_type": "x"}, {"binary_data_size": 8}])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Requests that mostly are of numbers alone, as a table or as columns."""
    rows = draw(st.integers(0, LIMIT + 1))
    off = draw(st.sampled_from([0] * 9 + [1, -1]))
    if draw(st.booleans()):
        shapes = [
            [rows, len(NAMES)],
            [rows, len(NAMES)],
            [rows * len(NAMES)],
            [len(NAMES)],
            [rows, len(NAMES), 1],
            [],
        ]
        names, widths = ["x"], [len(NAMES)]
    else:
        shapes = [[rows], [rows], [rows, 1], [rows, 2]]
        names = draw(
            st.sampled_from([NAMES, NAMES, NAMES, NAMES[::-1], NAMES[:2], [*NAMES, "e"], [*NAMES, NAMES[0]]])
        )
        widths = [1] * len(names)
    shape, kind, found = draw(st.sampled_from(shapes)), draw(KINDS), []
    for name, width in zip(names, widths, strict=True):
        count = max(0, rows * width + off)
        one: dict[str, Any] = {"name": name, "shape": shape, "datatype": kind}
        one["data"] = draw(st.lists(draw(st.sampled_from([USUAL, USUAL, VALUES])), min_size=count, max_size=count))
        more = draw(PARAMETERS)
        found.append(one if more is None else {**one, "parameters": more})
    document: dict[str, Any] = {"inputs": found}
    document |= draw(st.sampled_from([{}, {}, {}, {"id": "1"}, {"parameters": {"sequence_id": 1}}, {"other": 1}]))
    text = msgspec.json.encode(document)
    return draw(st.sampled_from([text, text, text, text.replace(b'"name"', b'"name":"x","name"', 1), text[:-1]]))


def slowly(document: bytes) -> list[dict[str, Any]] | str:
    """The rows as they are read value by value, or why they are refused."""
    try:
        columns = tensors.columns_of(tensors.request_of(document), b"", INPUTS, LIMIT)
    except RequestInvalid as error:
        return str(error)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def quickly(document: bytes) -> list[dict[str, Any]] | str | None:
    """The same where they are read at once; None where that is not for it."""
    request = figures_of(document)
    if request is None:
        return None
    try:
        table = table_of(request, b"", len(NAMES), LIMIT)
        if table is not None:
            assert table[1] is None
            values = iter(table[0])
            return [dict(zip(NAMES, row, strict=True)) for row in zip(*[values] * len(NAMES), strict=True)]
        listed = listed_of(request, b"", NAMES, LIMIT)
        if listed is not None:
            return [dict(zip(NAMES, row, strict=True)) for row in zip(*listed, strict=True)]
        columns = tensors.columns_of(request, b"", INPUTS, LIMIT)
    except RequestInvalid as error:
        return str(error)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@settings(max_examples=600, derandomize=True, deadline=None)
@given(document=documents())
def test_what_is_read_at_once_is_what_is_read_one_by_one(document: bytes) -> None:
    found = quickly(document)
    if found is None:
        return
    expected = slowly(document)
    if isinstance(found, str) or isinstance(expected, str):
        assert found == expected
        return
    assert [{name: repr(row[name]) for name in sorted(row)} for row in found] == [
        {name: repr(row[name]) for name in sorted(row)} for row in expected
    ]


def table(*rows: list[Any], kind: str = "FP64", **more: Any) -> dict[str, Any]:
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), 3], "datatype": kind, "data": data, **more}]}


def listed(*rows: list[Any], names: list[str] = NAMES) -> dict[str, Any]:
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    return {
        "inputs": [{"name": name, "shape": [len(rows)], "datatype": "FP64", "data": columns[name]} for name in names]
    }


@pytest.mark.parametrize("kind", ["FP64", "FP32"])
def test_the_usual_forms_are_read_at_once(kind: str) -> None:
    for document in (table([1.0, 2.5, None], [4, 5, 6], kind=kind), listed([1.0, 2.5, None]), listed([1, 2, 3])):
        assert quickly(msgspec.json.encode(document)) == slowly(msgspec.json.encode(document))
        assert figures_of(msgspec.json.encode(document)) is not None
    turned = figures_of(msgspec.json.encode(listed([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], names=NAMES[::-1])))
    assert turned is not None
    assert listed_of(turned, b"", NAMES, LIMIT) == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]


@pytest.mark.parametrize("kind", ["INT64", "INT8", "FP16", "BOOL", "BYTES"])
def test_what_its_datatype_may_not_hold_is_never_read_at_once(kind: str) -> None:
    assert figures_of(msgspec.json.encode(table([1, 2, 3], kind=kind))) is None


# --- the same through the door -------------------------------------------------------------------------------


class Total:
    """Answers a sum that tells every column apart; NaN counts as -7."""

    def predict(self, frame: Any) -> Any:
        return np.nan_to_num(frame.to_numpy(dtype=float), nan=-7.0) @ np.array([1.0, 1.0 / 3.0, 100.0])


COLUMNS = tuple(
    Column(name=name, kind="number", low=-100.0, high=100.0, nullable=name == NAMES[1], outside="flag")
    for name in NAMES
)
CONTRACT = Contract(columns=COLUMNS, label="y", task="regression", prior=1.0)
NUMBERS = st.one_of(st.floats(-100, 100), st.floats(-100, 100), st.sampled_from([None, 101.5, -0.0, 5e-324, 2.0**53]))


def served(folder: Path) -> App:
    one = loaded(scorer=Scorer(CONTRACT, Total()))
    assert one.quick
    assert one.decoder.numbers
    return app(folder, one)


def told(found: Response) -> list[tuple[Any, ...]]:
    """What each row was answered in V2: value, verdict, problems."""
    if found.status == 422:
        return []
    given = {one["name"]: one["data"] for one in found.json["outputs"]}
    problems = [json.loads(one) if one else [] for one in given["problems"]]
    return list(zip(map(repr, given["prediction"]), given["verdict"], problems, strict=True))


def logged(folder: Path) -> list[str]:
    """What the log has of each row, without what no two rows share."""
    rows: list[Prediction] = list(log.read(folder, "m"))
    return sorted(repr((one.value, one.verdict, one.inputs, one.model, one.version)) for one in rows)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(rows=st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=4), together=st.booleans())
def test_rows_of_numbers_are_answered_and_logged_as_in_the_native_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], together: bool
) -> None:
    base = tmp_path_factory.mktemp("figures")
    as_native = [dict(zip(NAMES, row, strict=True)) for row in rows]
    native = post(served(base / "native"), "/predict/m", {"rows": as_native})
    expected = [(repr(one["prediction"]), one["verdict"], one["problems"]) for one in native.json["predictions"]] * (
        native.status == 200
    )
    body, headers = binary(rows)
    requests = {
        "table": (json.dumps(table(*rows)).encode(), JSON),
        "columns": (json.dumps(listed(*rows)).encode(), JSON),
        "nested": (json.dumps(nested(rows)).encode(), JSON),
        "bytes": (body, headers),
    }
    for name, (content, more) in requests.items():
        target = served(base / name)
        if together:  # two in one batch do not mix
            first, second = asyncio.run(twice(target, content, more))
            assert told(first) == told(second) == expected, name
            assert logged(base / name) == sorted(2 * logged(base / "native")), name
        else:
            found = call(target, "POST", "/v2/models/m/infer", content, more)
            assert (found.status, told(found)) == (native.status, expected), name
            assert logged(base / name) == logged(base / "native"), name


JSON = [(b"content-type", b"application/json")]


async def twice(target: App, content: bytes, headers: list[tuple[bytes, bytes]]) -> list[Response]:
    one = (ask(target, "POST", "/v2/models/m/infer", content, headers) for _ in range(2))
    return list(await asyncio.gather(*one))


def nested(rows: list[list[Any]]) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [len(rows), 3], "datatype": "FP64", "data": rows}]}


def binary(rows: list[list[Any]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    values = np.array([[math.nan if value is None else value for value in row] for row in rows], dtype="<f8")
    one = {
        "name": "x",
        "shape": [len(rows), 3],
        "datatype": "FP64",
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps({"inputs": [one]}).encode()
    length = (b"inference-header-content-length", str(len(head)).encode())
    return head + values.tobytes(), [(b"content-type", b"application/octet-stream"), length]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(rows=st.lists(st.lists(st.floats(allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_matrix_has_the_bits_of_its_rows(rows: list[list[float]]) -> None:
    decoder = Decoder(CONTRACT, Encoder(CONTRACT))
    flat = [value for row in rows for value in row]
    expected = np.array(rows, dtype=np.float64)
    structs = decoder.table(flat)
    for found in (decoder.matrix(structs), decoder.packed(flat)):
        assert found is not None
        assert found.tobytes() == expected.tobytes()
        assert found.shape == expected.shape
        assert found.flags.writeable  # models are foreign code: some take nothing else
    assert decoder.listed(list(zip(*rows, strict=True))) == structs or any(map(math.isnan, flat))


def test_a_missing_value_is_nan_in_the_matrix_wherever_it_stands() -> None:
    decoder = Decoder(CONTRACT, Encoder(CONTRACT))
    flat: list[float | None] = [1.0, None, 3.0, 4.0, 5.0, None]
    assert decoder.packed(flat) is None
    assert np.isnan(decoder.matrix(decoder.table(flat))).tolist() == [[False, True, False], [False, False, True]]


def test_requests_leave_nothing_for_the_collector_of_garbage(tmp_path: Path) -> None:
    target = served(tmp_path)
    contents = [json.dumps(one).encode() for one in (table([1.0, 2.0, 3.0]), listed([1.0, 2.0, 3.0]))]

    async def many() -> int:
        for content in contents:
            await twice(target, content, JSON)
        gc.collect()
        gc.disable()
        try:
            before = sum(
                type(one) is Ask for one in gc.get_objects()
            )  # some modules raise where they are asked for more
            for content in contents * 5:
                assert (await twice(target, content, JSON))[0].status == 200
            return sum(type(one) is Ask for one in gc.get_objects()) - before
        finally:
            gc.enable()

    assert asyncio.run(many()) == 0


def test_requests_that_are_one_batch_each_get_their_own_answers(tmp_path: Path) -> None:
    target = served(tmp_path)
    rows = [[[float(10 * place + row), 3.0, -1.0] for row in range(2 + place % 3)] for place in range(7)]

    async def together() -> list[Response]:
        asked = []
        for place, some in enumerate(rows):  # with a matrix and without, in every order
            content, headers = binary(some) if place % 2 else (json.dumps(table(*some)).encode(), JSON)
            asked.append(ask(target, "POST", "/v2/models/m/infer", content, headers))
            if place > 3:
                asked.append(ask(target, "POST", "/v2/models/m/infer", json.dumps(listed(*some)).encode(), JSON))
        return list(await asyncio.gather(*asked))

    expected = [[repr(row[0] + 1.0 - 100.0) for row in some] for some in rows]
    expected = [*expected[:4], *(one for some in expected[4:] for one in (some, some))]
    assert [[value for value, *_ in told(one)] for one in asyncio.run(together())] == expected
    only = [json.dumps(table(*some)).encode() for some in rows]  # all with a matrix

    async def tables() -> list[Response]:
        return list(await asyncio.gather(*(ask(target, "POST", "/v2/models/m/infer", one, JSON) for one in only)))

    found = asyncio.run(tables())
    assert [[value for value, *_ in told(one)] for one in found] == [
        [repr(row[0] + 1.0 - 100.0) for row in some] for some in rows
    ]
    ids = [number for one in found for number in one.json["outputs"][2]["data"]]
    logged_inputs = {one.id: one.inputs for one in log.read(tmp_path, "m")}
    flat = [dict(zip(NAMES, row, strict=True)) for some in rows for row in some]
    assert [logged_inputs[number] for number in ids] == flat


def test_a_large_request_of_numbers_is_answered_in_pieces(tmp_path: Path) -> None:
    rows = [[float(place % 100), 1.0, -1.0] for place in range(1300)]
    found = post(served(tmp_path), "/v2/models/m/infer", table(*rows))
    assert [value for value, *_ in told(found)] == [repr(row[0] + 1.0 / 3.0 - 100.0) for row in rows]
    assert len(list(log.read(tmp_path, "m"))) == len(rows)


def test_a_column_that_is_no_number_is_read_one_by_one(tmp_path: Path) -> None:
    mixed = contract(columns=(COLUMNS[0], Column(name="n", kind="integer")))
    target = app(tmp_path, loaded(scorer=Scorer(mixed, Rows())))
    document = {
        "inputs": [
            {"name": "a", "shape": [2], "datatype": "FP64", "data": [1.5, 2.5]},
            {"name": "n", "shape": [2], "datatype": "FP64", "data": [3.0, 4.5]},
        ]
    }
    found = told(post(target, "/v2/models/m/infer", document))
    assert [verdict for _, verdict, _ in found] == ["ok", "rejected"]


class Rows:
    """Answers the first column."""

    def predict(self, frame: Any) -> Any:
        return frame.iloc[:, 0].to_numpy(dtype=float)
