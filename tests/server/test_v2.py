"""The Open Inference Protocol V2 through the application's ASGI door."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.runtimes.scorer import Enriched, Scorer
from fullcircle.server.app import App
from fullcircle.server.http import Limits
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column
from serving import GOOD, JSON_HEADER, Coin, Response, Sum, app, call, classes, contract, loaded, post

INFER = "/v2/models/m/infer"
BYTES_HEADER = (b"content-type", b"application/octet-stream")


def tensor(name: str, kind: str, data: Sequence[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": kind, "data": list(data), **more}


def columns(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {"age": "INT64", "bmi": "FP64", "sex": "BYTES"}
    return [tensor(name, kind, [row[name] for row in rows]) for name, kind in kinds.items()]


def outputs(found: Response) -> dict[str, list[Any]]:
    assert found.status == 200, found.body
    return {one["name"]: one["data"] for one in found.json["outputs"]}


def told(found: Response, status: int) -> str:
    """The text of an error, which must have the protocol's shape."""
    assert found.status == status, found.body
    assert found.headers["content-type"] == "application/json"
    assert list(found.json) == ["error"]
    assert isinstance(found.json["error"], str)
    return str(found.json["error"])


def in_bytes(*inputs: tuple[dict[str, Any], bytes], **more: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A body with binary tensors, and its headers."""
    tensors = [
        {**{key: value for key, value in one.items() if key != "data"}, "parameters": {"binary_data_size": len(blob)}}
        for one, blob in inputs
    ]
    head = json.dumps({"inputs": tensors, **more}).encode()
    length = (b"inference-header-content-length", str(len(head)).encode())
    return head + b"".join(blob for _, blob in inputs), [BYTES_HEADER, length]


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def coin(folder: Path, **more: Any) -> App:
    return app(folder, loaded(scorer=Scorer(classes(), Coin())), **more)


class Total:
    """Answers the sum of all columns: an answer tells whether each stood in its place."""

    def predict(self, frame: Any) -> Any:
        weights = 10.0 ** np.arange(frame.shape[1])
        return np.nan_to_num(frame.to_numpy(dtype=float)) @ weights


def table(folder: Path, *kinds: str, nullable: bool = False) -> App:
    made = [Column(name=f"c{place}", kind=kind, nullable=nullable) for place, kind in enumerate(kinds)]  # type: ignore[arg-type]
    return app(folder, loaded(scorer=Scorer(contract(columns=tuple(made)), Total())))


# --- what is answered ----------------------------------------------------------------------------------------


def test_the_server_and_the_model_say_what_they_are(tmp_path: Path) -> None:
    target = coin(tmp_path)
    server = call(target, "GET", "/v2").json
    assert (server["name"], server["extensions"]) == ("fullcircle", ["binary_tensor_data", "model_repository"])
    assert call(target, "GET", "/v2/models").json == {"models": ["m"]}
    found = call(target, "GET", "/v2/models/m").json
    assert (found["name"], found["versions"], found["platform"]) == ("m", ["1"], "fullcircle_frame")
    assert found["inputs"] == [
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "bmi", "datatype": "FP64", "shape": [-1]},
        {"name": "sex", "datatype": "BYTES", "shape": [-1]},
    ]
    assert {one["name"]: (one["datatype"], one["shape"]) for one in found["outputs"]} == {
        "prediction": ("BYTES", [-1]),
        "probabilities": ("FP64", [-1, 2]),
        "verdict": ("BYTES", [-1]),
        "id": ("BYTES", [-1]),
        "problems": ("BYTES", [-1]),
    }
    assert call(target, "GET", "/v2/models/m/versions/1").json == found
    example = json.loads(found["properties"]["example"])
    assert outputs(post(target, INFER, example))["verdict"] == ["fallback"]  # a private column has no example value


def test_live_and_ready(tmp_path: Path) -> None:
    target = app(tmp_path)
    assert call(target, "GET", "/v2/health/live").json == {"live": True}
    assert call(target, "GET", "/v2/health/ready").json == {"ready": True}
    assert call(target, "GET", "/v2/models/m/ready").json == {"name": "m", "ready": True}
    assert call(target, "GET", "/v2/models/m/versions/1/ready").status == 200
    target.draining = True
    found = call(target, "GET", "/v2/health/ready")
    assert (found.status, found.json["ready"]) == (503, False)
    assert "shutting down" in found.json["error"]


def test_rows_are_answered_as_the_native_protocol_answers_them_and_are_in_the_log(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "bmi": None}, {**GOOD, "bmi": 75}, {**GOOD, "sex": "x"}, {**GOOD, "age": 17}]
    target = app(tmp_path)
    native = post(target, "/predict/m", {"rows": rows}).json["predictions"]
    found = post(target, INFER, {"id": "mine", "inputs": columns(*rows)})
    assert {key: found.json[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "m",
        "model_version": "1",
        "id": "mine",
    }
    assert found.json["parameters"] == {"rejected": 1}
    given = outputs(found)
    assert given["prediction"] == [one["prediction"] for one in native] == [65.5, 66.0, 115.0, 99.0, None]
    assert given["verdict"] == ["ok", "imputed", "flagged", "fallback", "rejected"]
    assert [json.loads(one) if one else [] for one in given["problems"]] == [one["problems"] for one in native]
    assert {one.id for one in log.read(tmp_path, "m")} == {*given["id"], *(one["id"] for one in native)}
    logged = {one.id: one for one in log.read(tmp_path, "m")}
    assert [logged[number].inputs for number in given["id"]] == [logged[one["id"]].inputs for one in native]


def test_an_id_is_always_given_and_no_two_are_alike(tmp_path: Path) -> None:
    target = app(tmp_path)
    found = [post(target, INFER, {"inputs": columns(GOOD), "id": given}).json["id"] for given in ("", None, "x")]
    assert found[2] == "x"
    assert all(isinstance(one, str) and one for one in found)
    assert len(set(found)) == 3


def test_classes_come_as_texts_with_probabilities_in_the_order_that_is_told(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "age": 75}]
    found = post(coin(tmp_path), INFER, {"inputs": columns(*rows)})
    given = {one["name"]: one for one in found.json["outputs"]}
    assert given["prediction"]["data"] == ["no", "yes"]
    assert given["probabilities"]["shape"] == [2, 2]
    assert given["probabilities"]["data"] == [0.6, 0.4, 0.25, 0.75]
    assert json.loads(given["probabilities"]["parameters"]["classes"]) == ["no", "yes"]
    # The other way to write an answer, where not all rows are ok.
    mixed = outputs(post(coin(tmp_path), INFER, {"inputs": columns({**GOOD, "age": 75}, {**GOOD, "age": 3})}))
    assert mixed["prediction"] == ["yes", None]
    assert mixed["probabilities"] == [0.25, 0.75, None, None]


@pytest.mark.parametrize(
    ("labels", "datatype"), [((0, 1), "INT64"), ((False, True), "BOOL"), ((0.5, 1.5), "FP64"), (("a", 1), "BYTES")]
)
def test_a_label_has_the_datatype_of_the_classes(tmp_path: Path, labels: tuple[Any, Any], datatype: str) -> None:
    class Pick:
        def predict(self, frame: Any) -> Any:
            return np.array([labels[int(age > 50)] for age in frame["age"]], dtype=object)

    wanted = contract(task="classification", classes=labels, prior=labels[0])
    target = app(tmp_path, loaded(scorer=Scorer(wanted, Pick())))
    for rows in ([GOOD, {**GOOD, "age": 75}], [GOOD, {**GOOD, "age": 75}, {**GOOD, "age": 1}]):
        found = post(target, INFER, {"inputs": columns(*rows)})
        (one,) = [one for one in found.json["outputs"] if one["name"] == "prediction"]
        gaps = len(rows) > 2
        assert one["datatype"] == ("FP64" if gaps and datatype != "BYTES" else datatype), "there is no null of others"
        shown = [str(label) if datatype == "BYTES" else label for label in labels]
        assert one["data"] == [*shown, None][: len(rows)]
        assert "probabilities" not in outputs(found) or outputs(found)["probabilities"]


def test_only_requested_outputs_come_in_the_order_of_the_request(tmp_path: Path) -> None:
    target = coin(tmp_path)
    for rows in ([GOOD], [GOOD, {**GOOD, "age": 3}]):
        wanted = [{"name": "verdict"}, {"name": "prediction"}]
        assert list(outputs(post(target, INFER, {"inputs": columns(*rows), "outputs": wanted}))) == [
            "verdict",
            "prediction",
        ]
    before = len(list(log.read(tmp_path, "m")))
    found = post(target, INFER, {"inputs": columns(GOOD), "outputs": [{"name": "nothing"}]})
    assert "prediction, probabilities, verdict" in told(found, 400)
    twice = post(target, INFER, {"inputs": columns(GOOD), "outputs": [{"name": "id"}, {"name": "id"}]})
    assert "twice" in told(twice, 400)
    assert len(list(log.read(tmp_path, "m"))) == before, "nothing is predicted for who asks for what is not there"


def test_asking_for_all_outputs_by_name_gives_what_asking_for_none_gives(tmp_path: Path) -> None:
    """The one is written from a template, the other piece by piece; a name may hold what a template has."""
    odd = contract(task="classification", classes=('50%b "a"', "%d"), prior="%d")

    class Pick:
        def predict(self, frame: Any) -> Any:
            return np.array([odd.classes[int(age > 50)] for age in frame["age"]], dtype=object)

        def predict_proba(self, frame: Any) -> Any:
            return np.full((len(frame), 2), 0.5)

    target = app(tmp_path, loaded(scorer=Scorer(odd, Pick())))
    for rows in ([GOOD], [GOOD, {**GOOD, "age": 75}]):
        request = {"inputs": columns(*rows), "id": "i%d"}
        first = post(target, INFER, request).json
        names = [{"name": one["name"]} for one in first["outputs"]]
        second = post(target, INFER, {**request, "outputs": names}).json
        assert (first["model_name"], first["id"]) == ("m", "i%d")
        for one, other in zip(first["outputs"], second["outputs"], strict=True):
            assert one == other or one["name"] == "id"
        assert {key: first[key] for key in first if key != "outputs"} == {
            key: second[key] for key in second if key != "outputs"
        }


def test_versions_in_the_address_are_those_that_are_served(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(version=3))
    assert post(target, "/v2/models/m/versions/3/infer", {"inputs": columns(GOOD)}).json["model_version"] == "3"
    for path in ("/v2/models/m/versions/2", "/v2/models/m/versions/2/ready"):
        assert "version" in told(call(target, "GET", path), 404)
    for version in ("2", "03", "latest", "-3"):
        told(post(target, f"/v2/models/m/versions/{version}/infer", {"inputs": columns(GOOD)}), 404)


def test_when_every_row_is_rejected_the_error_says_why_and_quotes_no_value(tmp_path: Path) -> None:
    rows = [{**GOOD, "age": 7}, {**GOOD, "age": 8}]
    text = told(post(app(tmp_path), INFER, {"inputs": columns(*rows)}), 422)
    assert "every row was rejected" in text
    assert "'age' outside (2 times)" in text
    assert len(list(log.read(tmp_path, "m"))) == 2


# --- the forms of rows ---------------------------------------------------------------------------------------


def test_nested_data_and_columns_of_width_one_are_the_same_rows(tmp_path: Path) -> None:
    target, rows = app(tmp_path), [GOOD, {**GOOD, "age": 50}]
    flat = columns(*rows)
    wide = [{**one, "shape": [2, 1]} for one in flat]
    nested = [{**one, "shape": [2, 1], "data": [[value] for value in one["data"]]} for one in flat]
    found = [outputs(post(target, INFER, {"inputs": one}))["prediction"] for one in (flat, wide, nested)]
    assert found == [[65.5, 75.5]] * 3


@pytest.mark.parametrize("kinds", [("number", "number", "number"), ("number", "integer", "boolean")])
@pytest.mark.parametrize("nullable", [False, True])
def test_rows_of_numbers_may_come_as_one_tensor_in_the_order_of_the_contract(
    tmp_path: Path, kinds: tuple[str, ...], *, nullable: bool
) -> None:
    target = table(tmp_path, *kinds, nullable=nullable)
    rows = [[1.0, 2.0, 1.0], [4.5, 5.0, 0.0]]
    expected = [121.0, 54.5]
    flat = [value for row in rows for value in row]
    whole = tensor("any name", "FP64", flat) | {"shape": [2, 3]}
    nested = {**whole, "data": rows}
    assert outputs(post(target, INFER, {"inputs": [whole]}))["prediction"] == expected
    assert outputs(post(target, INFER, {"inputs": [nested]}))["prediction"] == expected
    for kind, code in (("FP64", "<f8"), ("FP32", "<f4"), ("FP16", "<f2")):
        body, headers = in_bytes(({**whole, "datatype": kind}, np.array(flat, dtype=code).tobytes()))
        assert outputs(call(target, "POST", INFER, body, headers))["prediction"] == expected
    missing = {**whole, "data": [None, *flat[1:]]}
    found = outputs(post(target, INFER, {"inputs": [missing]}))
    assert found["verdict"] == (["ok", "ok"] if nullable else ["rejected", "ok"])
    gone = np.array([np.nan, *flat[1:]])
    body, headers = in_bytes((whole, gone.tobytes()))
    binary = outputs(call(target, "POST", INFER, body, headers))
    assert (binary["verdict"], binary["prediction"]) == (found["verdict"], found["prediction"])
    logged = {one.id: one for one in log.read(tmp_path, "m")}
    assert [dict(logged[number].inputs or {}) for number in binary["id"]] == [
        dict(logged[number].inputs or {}) for number in found["id"]
    ]


def test_a_model_of_one_column_takes_a_tensor_of_any_name(tmp_path: Path) -> None:
    target = table(tmp_path, "number")
    for shape in ([2], [2, 1]):
        one = {"name": "x", "shape": shape, "datatype": "FP64", "data": [3.0, 4.0]}
        assert outputs(post(target, INFER, {"inputs": [one]}))["prediction"] == [3.0, 4.0]


def test_a_table_is_refused_where_its_columns_are_not_clear(tmp_path: Path) -> None:
    mixed, plain = app(tmp_path / "a"), table(tmp_path / "b", "number", "number")
    three = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1.0, 2.0, 3.0]}
    assert "[rows] or [rows, 1]" in told(post(mixed, INFER, {"inputs": [three]}), 400)
    assert "[rows, 2]" in told(post(plain, INFER, {"inputs": [three]}), 400)
    two = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}
    told(post(plain, INFER, {"inputs": [two, tensor("c0", "FP64", [1.0])]}), 400)
    told(post(plain, INFER, {"inputs": [{**two, "shape": [1, 2, 1]}]}), 400)
    told(post(plain, INFER, {"inputs": [{**two, "shape": [2]}]}), 422)  # two rows of a column that is not known


def test_whole_numbers_and_truths_name_categories_as_in_a_data_frame(tmp_path: Path) -> None:
    made = (
        Column(name="size", kind="category", categories=("1", "2"), unseen="reject"),
        Column(name="on", kind="boolean"),
    )

    class Of:
        def predict(self, frame: Any) -> Any:
            return frame["size"].astype(int) * 10.0 + frame["on"].astype(int)

    target = app(tmp_path, loaded(scorer=Scorer(contract(columns=made), Of())))
    for kind, sizes, truths in (("INT64", [1, 2], [1.0, 0.0]), ("BYTES", ["1", "2"], [True, False])):
        on = tensor("on", "FP64" if isinstance(truths[0], float) else "BOOL", truths)
        found = outputs(post(target, INFER, {"inputs": [tensor("size", kind, sizes), on]}))
        assert found["prediction"] == [11.0, 20.0]


def test_a_column_that_the_model_does_not_have_is_judged_by_the_contract(tmp_path: Path) -> None:
    rows = [*columns(GOOD), tensor("colour", "BYTES", ["red"])]
    assert "'colour' unknown" in told(post(app(tmp_path / "a"), INFER, {"inputs": rows}), 422)
    flag = app(tmp_path / "b", loaded(scorer=Scorer(contract(unknown="flag"), Sum())))
    assert outputs(post(flag, INFER, {"inputs": rows}))["verdict"] == ["flagged"]
    assert "'age' missing" in told(post(app(tmp_path / "c"), INFER, {"inputs": columns(GOOD)[1:]}), 422)


def test_context_columns_are_logged(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(contract(context=("when",)), Sum())))
    given = [*columns(GOOD), tensor("when", "BYTES", ["2026-01-01"])]
    assert outputs(post(target, INFER, {"inputs": given}))["verdict"] == ["ok"]
    assert outputs(post(target, INFER, {"inputs": columns(GOOD)}))["verdict"] == ["ok"]
    assert [one.context or None for one in log.read(tmp_path, "m")] == [{"when": "2026-01-01"}, None]


def test_a_model_that_looks_features_up_is_asked_by_its_keys(tmp_path: Path) -> None:
    class Spec:
        def __init__(self) -> None:
            self.kinds_of_keys = {"person": "int", "place": "text"}
            self.key_columns = ("person", "place")
            self.request = {"amount": "float"}

    class Look:
        spec = Spec()

        def __call__(self, rows: Sequence[Any]) -> Sequence[Enriched]:
            return [Enriched({**GOOD, "age": 20 + row["person"] + len(row["place"])}) for row in rows]

    scorer = Scorer(contract(), Sum())
    scorer.enrich = Look()
    target = app(tmp_path, loaded(scorer=scorer))
    found = call(target, "GET", "/v2/models/m").json
    assert [(one["name"], one["datatype"]) for one in found["inputs"]] == [
        ("person", "INT64"),
        ("place", "BYTES"),
        ("amount", "FP64"),
    ]
    keys = [
        tensor("person", "INT64", [1, 2]),
        tensor("place", "BYTES", ["a", "bb"]),
        tensor("amount", "FP64", [1, 2]),
    ]
    assert outputs(post(target, INFER, {"inputs": keys}))["prediction"] == [47.5, 49.5]
    assert post(target, INFER, json.loads(found["properties"]["example"])).status == 200
    paths = call(target, "GET", "/openapi.json").json["paths"]
    published = paths["/predict/m"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert published["rows"]["value"] == {"rows": [{"person": 1, "place": "KEY", "amount": 1.0}]}
    tensors = paths["/v2/models/m/infer"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert tensors["tensors"]["value"] == json.loads(found["properties"]["example"])
    assert post(target, INFER, tensors["tensors"]["value"]).status == 200


# --- binary tensors ------------------------------------------------------------------------------------------


def test_binary_and_json_inputs_may_stand_in_one_request(tmp_path: Path) -> None:
    age, bmi, sex = columns(GOOD, {**GOOD, "bmi": None, "sex": "m"})
    ages = ({**age, "datatype": "INT32"}, struct.pack("<2i", 40, 40))
    sexes = (sex, texts("f", "m"))
    body, headers = in_bytes(ages, ({**bmi}, struct.pack("<2d", 25.5, float("nan"))), sexes)
    found = outputs(call(coin(tmp_path), "POST", INFER, body, headers))
    assert found["verdict"] == ["ok", "imputed"]
    assert found["prediction"] == ["no", "no"]
    head = json.dumps({"inputs": [{**sex, "data": ["f", "m"]}]}).encode()
    assert call(coin(tmp_path), "POST", INFER, head, headers[:1]).status == 422  # no header: all of it is JSON
    mixed = json.dumps(
        {
            "inputs": [
                bmi,
                {"name": "age", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
                {**sex},
            ]
        }
    ).encode()
    length = (b"inference-header-content-length", str(len(mixed)).encode())
    assert outputs(call(coin(tmp_path), "POST", INFER, mixed + bytes([40, 75]), [BYTES_HEADER, length]))[
        "prediction"
    ] == ["no", "yes"]


def _binary(found: Response) -> dict[str, bytes | list[Any]]:
    """The outputs of an answer with bytes: those, or the list of an output that came as JSON."""
    assert found.status == 200, found.body
    length = int(found.headers["inference-header-content-length"])
    assert found.headers["content-type"] == "application/octet-stream"
    document, rest = json.loads(found.body[:length]), found.body[length:]
    made: dict[str, bytes | list[Any]] = {}
    for one in document["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            made[one["name"]] = one["data"]
        else:
            made[one["name"]], rest = rest[:size], rest[size:]
    assert not rest
    return made


def test_outputs_come_as_bytes_where_that_is_asked(tmp_path: Path) -> None:
    for place, rows in enumerate(([GOOD, {**GOOD, "age": 75}], [GOOD, {**GOOD, "age": 75}, {**GOOD, "age": 1}])):
        document = {"inputs": columns(*rows), "parameters": {"binary_data_output": True}}
        found = _binary(post(coin(tmp_path / f"{place}"), INFER, document))
        more = [""] * place
        assert found["prediction"] == texts("no", "yes", *more)
        chances = found["probabilities"]
        assert isinstance(chances, bytes)
        shown = np.frombuffer(chances, "<f8").reshape(-1, 2)
        assert np.array_equal(shown, [[0.6, 0.4], [0.25, 0.75], [np.nan] * 2][: len(rows)], equal_nan=True)
        assert found["verdict"] == texts("ok", "ok", *(["rejected"] * place))
        assert {one.id for one in log.read(tmp_path / f"{place}", "m")} == set(_texts(found["id"]))
    numbers = {"inputs": columns(GOOD, {**GOOD, "age": 1}), "parameters": {"binary_data_output": True}}
    found = _binary(post(app(tmp_path / "n"), INFER, numbers))
    prediction = found["prediction"]
    assert isinstance(prediction, bytes)
    assert np.array_equal(np.frombuffer(prediction, "<f8"), [65.5, np.nan], equal_nan=True)


def _texts(part: Any) -> list[str]:
    found = []
    while part:
        (length,) = struct.unpack_from("<I", part)
        found.append(part[4 : 4 + length].decode())
        part = part[4 + length :]
    return found


def test_one_output_may_come_as_bytes_and_another_not(tmp_path: Path) -> None:
    wanted = [{"name": "id", "parameters": {"binary_data": True}}, {"name": "prediction"}]
    found = _binary(post(coin(tmp_path), INFER, {"inputs": columns(GOOD), "outputs": wanted}))
    assert found["prediction"] == ["no"]
    assert isinstance(found["id"], bytes)
    other = [{"name": "id"}, {"name": "verdict", "parameters": {"binary_data": False}}]
    all_but = {"inputs": columns(GOOD), "outputs": other, "parameters": {"binary_data_output": True}}
    assert _binary(post(coin(tmp_path), INFER, all_but))["verdict"] == ["ok"]
    wrong = {"inputs": columns(GOOD), "parameters": {"binary_data_output": "yes"}}
    assert "true or false" in told(post(coin(tmp_path), INFER, wrong), 400)


@pytest.mark.parametrize(
    ("labels", "datatype", "code"),
    [((0, 1), "INT64", "<q"), ((False, True), "BOOL", "<?"), ((0.5, 2.5), "FP64", "<d")],
)
def test_whole_numbers_and_truths_are_as_in_a_frame_where_a_row_was_rejected(
    tmp_path: Path, labels: tuple[Any, Any], datatype: str, code: str
) -> None:
    """Clients make an array of the datatype that an answer names: of a null in INT64 none can be made."""

    class Pick:
        def predict(self, frame: Any) -> Any:
            return np.array([labels[int(age > 50)] for age in frame["age"]], dtype=object)

    target = app(
        tmp_path, loaded(scorer=Scorer(contract(task="classification", classes=labels, prior=labels[0]), Pick()))
    )
    old, young = {**GOOD, "age": 75}, {**GOOD, "age": 1}
    asked = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "prediction"}]}
    for rows in ([old, GOOD], [old, young, GOOD]):
        (plain,) = post(target, INFER, {"inputs": columns(*rows), "outputs": asked["outputs"]}).json["outputs"]
        found = post(target, INFER, {"inputs": columns(*rows), **asked})
        (one,) = json.loads(found.body[: int(found.headers["inference-header-content-length"])])["outputs"]
        assert plain["datatype"] == one["datatype"] == (datatype if young not in rows else "FP64")
        part = _binary(found)["prediction"]
        assert isinstance(part, bytes)
        if young in rows:
            assert struct.unpack("<ddd", part)[::2] == (labels[1], labels[0])
            assert np.isnan(np.array(plain["data"], dtype=float)).tolist() == [False, True, False]
            assert [type(value) for value in plain["data"][::2]] == [float, float]
        else:
            assert part == b"".join(struct.pack(code, label) for label in (labels[1], labels[0]))
            assert plain["data"] == [labels[1], labels[0]]


def test_labels_that_fp64_does_not_hold_are_texts(tmp_path: Path) -> None:
    labels = (2**53 + 1, 2**53 + 2)

    class Pick:
        def predict(self, frame: Any) -> Any:
            return np.full(len(frame), labels[0])

    target = app(
        tmp_path, loaded(scorer=Scorer(contract(task="classification", classes=labels, prior=labels[0]), Pick()))
    )
    assert outputs(post(target, INFER, {"inputs": columns(GOOD)}))["prediction"] == [str(labels[0])]
    found = outputs(post(target, INFER, {"inputs": columns(GOOD, {**GOOD, "age": 1})}))
    assert found["prediction"] == [str(labels[0]), None]


@pytest.mark.parametrize(
    ("length", "part"),
    [("7", b""), ("x", b""), ("-1", b""), ("99999", b""), ("9" * 30, b""), ("", b"\1")],
    ids=["short", "no number", "negative", "beyond", "huge", "too many bytes"],
)
def test_bytes_that_are_not_as_announced_are_refused(tmp_path: Path, length: str, part: bytes) -> None:
    body, headers = in_bytes(*((one, _packed(one)) for one in columns(GOOD)))
    changed = [BYTES_HEADER, (headers[1][0], length.encode() or headers[1][1])]
    told(call(app(tmp_path), "POST", INFER, body + part, changed), 400)
    assert not list(log.read(tmp_path, "m"))


def _packed(one: dict[str, Any]) -> bytes:
    if one["datatype"] == "BYTES":
        return texts(*one["data"])
    return struct.pack("<q" if one["datatype"] == "INT64" else "<d", *one["data"])


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("FP64", b"\0" * 7),
        ("BYTES", struct.pack("<I", 5) + b"abc"),
        ("BYTES", b"\1\0"),
        ("BYTES", texts("a", "b")),
        ("BYTES", struct.pack("<I", 2) + b"\xff\xfe"),
        ("BYTES", struct.pack("<I", 2**32 - 1)),
        ("BOOL", b"\2"),
        ("BF16", b"\0\0"),
        ("", b""),
    ],
)
def test_bytes_that_are_not_of_their_datatype_are_refused(tmp_path: Path, kind: str, part: bytes) -> None:
    age, bmi, sex = columns(GOOD)
    body, headers = in_bytes((age, _packed(age)), (bmi, _packed(bmi)), ({**sex, "datatype": kind}, part))
    told(call(app(tmp_path), "POST", INFER, body, headers), 400)


# --- what is refused -----------------------------------------------------------------------------------------

AGE, BMI, SEX = columns(GOOD)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [{}]},
        {"inputs": [AGE], "outputs": {}},
        {"inputs": [AGE], "more": 1},
        {"inputs": [AGE], "id": 7},
        {"inputs": [AGE], "parameters": []},
        {"inputs": [{**AGE, "more": 1}]},
        {"inputs": [{**AGE, "shape": [2]}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": []}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": [0]}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": [-1]}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": [True]}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": [1.5]}, BMI, SEX]},
        {"inputs": [{**AGE, "shape": [1, 1, 1]}, BMI, SEX]},
        {"inputs": [{**AGE, "datatype": "INT7"}, BMI, SEX]},
        {"inputs": [{**AGE, "datatype": "INT8", "data": [128]}, BMI, SEX]},
        {"inputs": [{**AGE, "datatype": "UINT8", "data": [-1]}, BMI, SEX]},
        {"inputs": [{**AGE, "datatype": "UINT64", "data": [2**64]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": [40.5]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": ["40"]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": [True]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": [[40]]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": [{}]}, BMI, SEX]},
        {"inputs": [{**AGE, "data": {"a": 1}}, BMI, SEX]},
        {"inputs": [{**AGE, "data": 40}, BMI, SEX]},
        {"inputs": [AGE, {**BMI, "data": [2**53 + 1]}, SEX]},
        {"inputs": [AGE, {**BMI, "data": [10**400]}, SEX]},
        {"inputs": [AGE, BMI, {**SEX, "data": [1]}]},
        {"inputs": [AGE, BMI, {**SEX, "datatype": "BOOL", "data": [1]}]},
        {"inputs": [AGE, AGE, BMI, SEX]},
        {"inputs": [AGE, tensor("bmi", "FP64", [1.0, 2.0]), SEX]},
        {"inputs": [{key: value for key, value in AGE.items() if key != "data"}, BMI, SEX]},
        {"inputs": [{**AGE, "parameters": {"binary_data_size": 8}}, BMI, SEX]},
        {"inputs": [{**AGE, "parameters": {"shared_memory_region": "x"}}, BMI, SEX]},
        {"inputs": [{**AGE, "parameters": {"content_type": "base64"}}, BMI, SEX]},
        {"inputs": [AGE, BMI, SEX], "parameters": {"content_type": "pickle"}},
        {"inputs": [AGE, BMI, SEX], "parameters": {"sequence_id": 3}},
        {"inputs": [AGE, BMI, SEX], "outputs": [{"name": "id", "parameters": {"classification": 2}}]},
        {"inputs": [AGE, BMI, SEX], "model_name": "other"},
        {"inputs": [AGE, BMI, SEX], "model_version": "2"},
    ],
)
def test_what_is_no_request_is_refused_and_not_logged(tmp_path: Path, document: Any) -> None:
    text = told(post(app(tmp_path), INFER, document), 400)
    assert "next: " in text
    assert not list(log.read(tmp_path, "m"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"\xff\xfe",
        b'{"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [NaN]}]}',
        b'{"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [1e999]}]}',
        b'{"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [Infinity]}]}',
        b'{"inputs": [{"name": "a", "name": "b", "shape": [1], "datatype": "FP64", "data": [1]}]}',
        b'{"inputs": [], "inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]}',
        b'{"id": "a", "\\u0069d": "b", "inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]}',
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}',
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": ' + b"[" * 9999 + b"]" * 9999 + b"}]}",
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, body: bytes) -> None:
    told(call(app(tmp_path), "POST", INFER, body), 400)


def test_a_refusal_quotes_nothing_that_was_sent(tmp_path: Path) -> None:
    target, mark = app(tmp_path), "Xq7Secret"
    for inputs in (
        [{**AGE, "data": [mark]}, BMI, SEX],
        [AGE, {**BMI, "datatype": mark}, SEX],
        [AGE, BMI, {**SEX, mark: 1}],
        [{**AGE, "data": [999]}, BMI, {**SEX, "data": [mark]}],
    ):
        assert mark not in post(target, INFER, {"inputs": inputs}).body.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([(b"content-type", b"application/json")], 200),
        ([(b"content-type", b"application/octet-stream")], 200),
        ([(b"content-type", b"text/plain")], 415),
        ([(b"content-type", b"application/json")] * 2, 415),
        ([(b"origin", b"http://evil.example")], 415),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"gzip")], 415),
        ([(b"content-type", b"application/json"), (b"content-length", b"999999999")], 413),
        ([(b"content-type", b"application/json"), (b"host", b"evil.example")], 421),
    ],
)
def test_headers_that_are_taken_and_refused(tmp_path: Path, headers: list[tuple[bytes, bytes]], status: int) -> None:
    found = call(app(tmp_path), "POST", INFER, json.dumps({"inputs": columns(GOOD)}).encode(), headers)
    assert found.status == status, found.body
    assert status == 200 or told(found, status)


def test_more_rows_than_a_request_may_have_are_refused(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(rows=2))
    assert post(target, INFER, {"inputs": columns(GOOD, GOOD)}).status == 200
    assert "too many rows" in told(post(target, INFER, {"inputs": columns(GOOD, GOOD, GOOD)}), 413)
    assert "too many rows" in told(post(target, INFER, {"inputs": [{**AGE, "shape": [10**15]}]}), 413)


def test_addresses_and_methods_that_there_are_not(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path in ("/v2/", "/v2/models/m/nothing", "/v2/models/", "/v2/models/m/infer/", "/v2/repository"):
        told(call(target, "GET", path), 404)
    found = call(target, "GET", INFER)
    assert "POST" in told(found, 405)
    assert found.headers["allow"] == "POST"
    for path in ("/v2/models/x", "/v2/models/x/ready"):
        assert "no model of this name" in told(call(target, "GET", path), 404)
    told(post(target, "/v2/models/x/infer", {"inputs": columns(GOOD)}), 404)


def test_a_large_body_is_answered_the_same(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**GOOD, "age": 20 + place % 60} for place in range(3000)]
    target = app(tmp_path)
    found = outputs(post(target, INFER, {"inputs": columns(*rows)}))
    assert found["prediction"] == [row["age"] + 25.5 for row in rows]
    assert found["verdict"] == ["ok"] * 3000
    assert len(set(found["id"])) == 3000


NUMBER = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(NUMBER, min_size=3, max_size=3), min_size=1, max_size=5))
def test_all_forms_of_the_same_rows_have_one_answer(tmp_path: Path, rows: list[list[float]]) -> None:
    target = table(tmp_path, "number", "number", "number")
    native = post(target, "/predict/m", {"rows": [{f"c{i}": row[i] for i in range(3)} for row in rows]}).json
    expected = [one["prediction"] for one in native["predictions"]]
    flat = [value for row in rows for value in row]
    whole = {"name": "x", "shape": [len(rows), 3], "datatype": "FP64", "data": flat}
    single = [tensor(f"c{place}", "FP64", [row[place] for row in rows]) for place in range(3)]
    body, headers = in_bytes((whole, np.array(flat).tobytes()))
    for found in (
        post(target, INFER, {"inputs": [whole]}),
        post(target, INFER, {"inputs": single}),
        post(target, INFER, {"inputs": single[::-1]}),
        call(target, "POST", INFER, body, headers),
    ):
        assert outputs(found)["prediction"] == expected


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), length=st.integers(min_value=0, max_value=220))
def test_no_bytes_at_all_make_a_defect(tmp_path: Path, body: bytes, length: int) -> None:
    target = app(tmp_path)
    headers = [BYTES_HEADER, (b"inference-header-content-length", str(length).encode())]
    told(call(target, "POST", INFER, body, headers), 400)
    assert call(target, "POST", INFER, body, JSON_HEADER).status in (400, 422)
