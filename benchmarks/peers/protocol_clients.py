"""The protocol's own clients and a server of ours: ``protocol_clients.py PORT MODEL`` in an environment of theirs.

Asks by tritonclient (tables, columns, bytes and JSON both ways, requested outputs, versions, errors, the repository)
and by KServe's client. Prints one line of JSON: what was found of each, and an error where one was not as promised.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton  # type: ignore[import-not-found, unused-ignore]
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig  # type: ignore[import-not-found, unused-ignore]

ROWS = np.random.default_rng(0).uniform(1.0, 10.0, size=(4, 30))
ROWS[2, 3] = np.nan  # a row that is rejected


def table(*, binary: bool) -> Any:
    """All rows as one tensor."""
    made = triton.InferInput("rows", list(ROWS.shape), "FP64")
    made.set_data_from_numpy(np.nan_to_num(ROWS) if not binary else ROWS, binary_data=binary)
    return made


def columns(names: list[str]) -> list[Any]:
    """A tensor for each column."""
    found = []
    for place, name in enumerate(names):
        one = triton.InferInput(name, [len(ROWS)], "FP64")
        one.set_data_from_numpy(np.ascontiguousarray(ROWS[:, place]))
        found.append(one)
    return found


def refused(work: Callable[[], object], status: str, text: str) -> None:
    """Work that the client has to report as an error with this status and text."""
    try:
        work()
    except triton.InferenceServerException as error:
        found = (error.status(), error.message())
    else:
        found = ("200", "")
    assert found[0] == status, found
    assert text in found[1], found


def by_triton(port: int, model: str) -> None:
    """tritonclient, as people use it."""
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    known = client.get_model_metadata(model)
    (version,) = known["versions"]
    assert client.is_model_ready(model, version)
    assert not client.is_model_ready(model, "999")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]

    found = client.infer(model, [table(binary=True)], request_id="seven")
    assert found.get_response()["id"] == "seven"
    chances = found.as_numpy("probabilities")
    assert chances.shape == (4, 2)
    assert found.as_numpy("verdict").tolist()[2] == b"rejected"
    assert np.isnan(chances[2]).all()
    assert np.isfinite(chances[[0, 1, 3]]).all()
    assert len(set(found.as_numpy("id").tolist())) == 4

    in_json = triton.InferRequestedOutput("probabilities", binary_data=False)
    again = client.infer(
        model, columns([one["name"] for one in known["inputs"]]), model_version=version, outputs=[in_json]
    )
    assert np.array_equal(again.as_numpy("probabilities"), chances, equal_nan=True)
    assert again.as_numpy("verdict") is None
    plain = client.infer(model, [table(binary=False)], outputs=[triton.InferRequestedOutput("prediction")])
    assert plain.as_numpy("prediction").shape == (4,)

    refused(lambda: client.infer("no-such-model", [table(binary=True)]), "404", "no model of this name")
    refused(lambda: client.infer(model, [table(binary=True)], model_version="999"), "404", "version")
    refused(lambda: client.infer(model, columns(["only one"])), "422", "every row was rejected")
    refused(
        lambda: client.infer(model, [table(binary=True)], outputs=[triton.InferRequestedOutput("other")]),
        "400",
        "output",
    )
    assert [one["state"] for one in client.get_model_repository_index() if one["name"] == model] == ["READY"]
    client.unload_model(model)
    assert not client.is_model_ready(model)
    client.load_model(model)
    assert client.is_model_ready(model)


async def by_kserve(port: int, model: str) -> None:
    """KServe's client for REST."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    url = f"http://127.0.0.1:{port}"
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, model)
    answers = []
    for binary in (False, True):
        one = InferInput("rows", list(ROWS.shape), "FP64")
        one.set_data_from_numpy(np.nan_to_num(ROWS), binary_data=binary)
        asked = InferRequest(model, [one], parameters={"binary_data_output": binary})
        found = await client.infer(url, asked, model_name=model)
        assert isinstance(found.id, str)
        answers.append({one.name: one.as_numpy() for one in found.outputs})
    first, second = answers
    assert first["prediction"].shape == (4,)
    assert np.array_equal(first["probabilities"], second["probabilities"])
    assert first["verdict"].tolist() == second["verdict"].tolist()


def told(work: Callable[[], object]) -> str:
    """Why it was not as promised; "" where it was."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - it is told
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    place, asked = int(sys.argv[1]), sys.argv[2]
    found = {
        "tritonclient": told(lambda: by_triton(place, asked)),
        "kserve": told(lambda: asyncio.run(by_kserve(place, asked))),
    }
    print(json.dumps(found))
