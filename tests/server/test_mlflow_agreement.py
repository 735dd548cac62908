"""Requests as MLflow makes them: answered by MLflow's own scoring server and by ours with the same predictions."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from fullcircle.runtimes.scorer import Scorer
from serving import GOOD, Response, app, call, classes, loaded

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about types and versions

ROWS = pd.DataFrame({"age": np.arange(20, 60), "bmi": np.arange(40) / 2 + 20.25, "sex": ["f", "m"] * 20})
WANTED = np.where(ROWS["age"] > 39, "yes", "no")


@pytest.fixture(scope="module")
def model() -> Any:
    encoded = make_column_transformer((OrdinalEncoder(), ["sex"]), remainder="passthrough")
    return make_pipeline(encoded, LogisticRegression(max_iter=2000)).fit(ROWS, WANTED)


@pytest.fixture(scope="module")
def theirs(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """MLflow's scoring server of the same model, as an ASGI application."""
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server

    place = tmp_path_factory.mktemp("mlflow") / "model"
    signature = infer_signature(ROWS.astype({"age": "int64"}), WANTED)
    mlflow.sklearn.save_model(model, str(place), signature=signature, pip_requirements=[])
    return scoring_server.init(mlflow.pyfunc.load_model(str(place)))


@pytest.fixture
def ours(model: Any, tmp_path: Path) -> Any:
    class Asked:
        def predict(self, frame: Any) -> Any:
            return model.predict(frame.assign(sex=frame["sex"].astype(object)))

    return app(tmp_path, loaded(scorer=Scorer(classes(), Asked())))


async def exchanged(target: Any, method: str, path: str, body: bytes, kind: bytes) -> Response:
    """As ``serving.ask``, with an application that may send its body in parts."""
    coming: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if not coming:
            await asyncio.sleep(60)
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", kind), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await target(scope, receive, send)
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Response(sent[0]["status"], named, b"".join(one.get("body", b"") for one in sent[1:]))


def invoked(target: Any, body: bytes, kind: bytes = b"application/json") -> Response:
    return asyncio.run(exchanged(target, "POST", "/invocations", body, kind))


def forms() -> Iterator[tuple[str, bytes, bytes]]:
    rows = ROWS.iloc[[0, 19, 20, 39]]
    split = rows.to_dict(orient="split", index=False)
    yield "dataframe_split", json.dumps({"dataframe_split": split}).encode(), b"application/json"
    yield (
        "dataframe_split as pandas writes it",
        b'{"dataframe_split": %b}' % rows.to_json(orient="split").encode(),
        (b"application/json"),
    )
    records = rows.to_dict(orient="records")
    yield "dataframe_records", json.dumps({"dataframe_records": records}).encode(), b"application/json"
    yield "instances", json.dumps({"instances": records}).encode(), b"application/json"
    yield "inputs", json.dumps({"inputs": rows.to_dict(orient="list")}).encode(), b"application/json"
    yield "csv", rows.to_csv(index=False).encode(), b"text/csv"


@pytest.mark.parametrize(("body", "kind"), [one[1:] for one in forms()], ids=[one[0] for one in forms()])
def test_the_same_request_has_the_same_predictions(theirs: Any, ours: Any, body: bytes, kind: bytes) -> None:
    expected, found = invoked(theirs, body, kind), invoked(ours, body, kind)
    assert (expected.status, found.status) == (200, 200), (expected.body, found.body)
    assert set(expected.json["predictions"]) == {"yes", "no"}
    assert found.json == expected.json


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"rows": []}',
        b'{"dataframe_split": 1}',
        b'{"instances": [1], "inputs": [1]}',
        b'{"inputs": {}',
    ],
)
def test_what_mlflow_refuses_is_refused_in_its_form(theirs: Any, ours: Any, body: bytes) -> None:
    expected, found = invoked(theirs, body), invoked(ours, body)
    assert (expected.status, found.status) == (400, 400)
    assert isinstance(expected.json["error_code"], str)
    assert isinstance(expected.json["message"], str)
    assert set(found.json) == {"error_code", "message"}


def test_health_is_answered_alike(theirs: Any, ours: Any) -> None:
    for path in ("/ping", "/health"):
        expected, found = (asyncio.run(exchanged(one, "GET", path, b"", b"text/csv")) for one in (theirs, ours))
        assert (found.status, found.body) == (expected.status, expected.body) == (200, b"\n")
    assert call(ours, "GET", "/version").status == 200


def test_mlflows_own_client_is_answered(ours: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        server = uvicorn.Server(uvicorn.Config(ours, lifespan="off", log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            theirs = import_module("mlflow.pyfunc.scoring_server.client")
            client = theirs.ScoringServerClient("127.0.0.1", bound.getsockname()[1])
            client.wait_server_ready(timeout=20)
            client.ping()
            frame = pd.DataFrame([GOOD, {**GOOD, "age": 7}])
            first, second = client.invoke(frame).get_predictions()[0].tolist()
            assert first in ("yes", "no")
            assert pd.isna(second)
            gaps = pd.DataFrame([GOOD, {**GOOD, "bmi": np.nan}, {**GOOD, "age": 59, "bmi": None}])
            assert len(client.invoke(gaps).get_predictions().dropna()) == 3, "imputed, as the contract says"
            assert client.invoke([[59, 39.75, "f"]]).get_predictions()[0].tolist() == ["yes"]
            with pytest.raises(Exception, match="every row was rejected"):
                client.invoke(frame.iloc[1:])
        finally:
            server.should_exit = True
            thread.join()
