"""Arrow streams: the same rows in another form get the same answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.http import Limits
from fullcircle.tables import predictions as log
from serving import GOOD, Coin, Response, app, call, classes, contract, loaded, post

KIND = b"application/vnd.apache.arrow.stream"
ROWS = [
    GOOD,
    {**GOOD, "bmi": 1e9},
    {**GOOD, "age": None},
    {**GOOD, "sex": "?"},
    {**GOOD, "bmi": None},
    {**GOOD, "age": 18, "sex": "m"},
]


def stream(table: Any, batches: int = 1) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table) // batches))
    return bytes(sink.getvalue())


def asked(target: Any, body: bytes, accept: bytes = b"*/*") -> Response:
    return call(target, "POST", "/predict/m", body, [(b"content-type", KIND), (b"accept", accept)])


def without_ids(found: Response) -> list[dict[str, Any]]:
    return [{**row, "id": ""} for row in found.json["predictions"]]


@pytest.mark.parametrize("batches", [1, 3])
def test_the_same_rows_get_the_same_answers(tmp_path: Path, batches: int) -> None:
    target = app(tmp_path)
    found = asked(target, stream(pa.Table.from_pylist(ROWS), batches))
    assert found.status == 200
    assert without_ids(found) == without_ids(post(target, "/predict/m", {"rows": ROWS}))


def test_clean_rows_of_several_types_and_a_dictionary_go_the_quick_way(tmp_path: Path) -> None:
    table = pa.table(
        {
            "sex": pa.array(["f", "m", "f"]).dictionary_encode(),
            "age": pa.array([20, 30, 40], pa.int8()),
            "bmi": pa.array([20.5, 21.5, 22.5], pa.float32()),
        }
    )
    found = asked(app(tmp_path), stream(table))
    assert [row["prediction"] for row in found.json["predictions"]] == [40.5, 51.5, 62.5]
    logged = list(log.read(tmp_path, "m"))
    assert [one.inputs for one in logged] == [{"age": a, "bmi": b} for a, b in ((20, 20.5), (30, 21.5), (40, 22.5))]


def test_a_row_on_which_the_model_fails_is_found_again(tmp_path: Path) -> None:
    class Picky:
        def predict(self, frame: Any) -> Any:
            if (frame["age"] == 30).any():
                raise ValueError
            return frame["age"].to_numpy(dtype=float)

    table = pa.Table.from_pylist([{**GOOD, "age": age} for age in (20, 30, 40)])
    found = asked(app(tmp_path, loaded(scorer=Scorer(contract(), Picky()))), stream(table))
    assert [row["verdict"] for row in found.json["predictions"]] == ["ok", "rejected", "ok"]


def test_the_answer_comes_as_a_stream_where_that_is_accepted(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(version=4, scorer=Scorer(classes(), Coin())))
    found = asked(target, stream(pa.Table.from_pylist(ROWS)), accept=KIND)
    assert found.headers["content-type"] == KIND.decode()
    table = pa.ipc.open_stream(found.body).read_all()
    assert table.column_names == ["id", "prediction", "verdict", "problems", "probability_no", "probability_yes"]
    rows = post(target, "/predict/m", {"rows": ROWS}).json["predictions"]
    assert table["prediction"].to_pylist() == [row["prediction"] for row in rows]
    assert table["verdict"].to_pylist() == [row["verdict"] for row in rows]
    assert table["probability_yes"].to_pylist() == [row.get("probabilities", {}).get("yes") for row in rows]
    problems = [json.loads(text) if text else [] for text in table["problems"].to_pylist()]
    assert problems == [row["problems"] for row in rows]
    assert table.schema.metadata == {b"model": b"m", b"version": b"4"}


def test_a_column_that_the_model_does_not_have_is_judged(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**GOOD, "extra": 1}])
    found = asked(app(tmp_path), stream(table))
    assert (found.status, found.json["predictions"][0]["problems"][0]["reason"]) == (422, "unknown")


GOOD_STREAM = stream(pa.Table.from_pylist([GOOD]))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (GOOD_STREAM[:-60], 400),
        (GOOD_STREAM[:40], 400),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + GOOD_STREAM[8:], 400),
        (stream(pa.Table.from_pylist([GOOD]).slice(0, 0)), 400),
        (stream(pa.table({"age": [[1]]})), 400),
        (stream(pa.table({"age": [{"a": 1}]})), 400),
        (stream(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["age", "age"])), 400),
        (stream(pa.Table.from_pylist([GOOD] * 11), 11), 413),
    ],
)
def test_other_bodies_are_refused(tmp_path: Path, body: bytes, status: int) -> None:
    target = app(tmp_path, limits=Limits(rows=10))
    found = asked(target, body)
    assert (found.status, "error" in found.json) == (status, True)
    assert asked(target, GOOD_STREAM).status == 200


def test_an_extension_type_is_not_unpacked(tmp_path: Path) -> None:
    class Tagged(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.int64(), "fullcircle.test.tagged")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Any:
            return cls()

    pa.register_extension_type(Tagged())
    try:
        column = pa.ExtensionArray.from_storage(Tagged(), pa.array([1]))
        found = asked(app(tmp_path), stream(pa.table({"age": column})))
    finally:
        pa.unregister_extension_type("fullcircle.test.tagged")
    assert found.status == 400
    assert "no plain value" in found.json["error"]["message"]


def test_without_pyarrow_the_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = asked(app(tmp_path), GOOD_STREAM)
    assert (found.status, "pyarrow" in found.json["error"]["next"]) == (415, True)


def test_only_predictions_are_asked_in_arrow(tmp_path: Path) -> None:
    for path in ("/outcomes", "/explain/m"):
        assert call(app(tmp_path), "POST", path, GOOD_STREAM, [(b"content-type", KIND)]).status == 415
