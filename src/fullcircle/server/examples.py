"""Requests to copy: the same row asked by curl, by Python, by MLflow's protocol and by a V2 client."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from urllib.parse import quote

from fullcircle.runtimes import protocolshapes
from fullcircle.types.contract import Contract, Value

HERE = "http://127.0.0.1:8710"  # until the page knows by which address it was asked
_NUMPY = {"BOOL": "bool", "INT64": "np.int64", "FP64": "np.float64", "BYTES": "object"}


def examples(model: str, contract: Contract, row: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Names and texts, the plainest first. Texts are complete: they run as they are."""
    name = quote(model, safe="")
    tensors = protocolshapes.tensors(contract, row)
    return (
        ("curl", _curl(f"/predict/{name}", {"rows": [dict(row)]})),
        ("Python", _python(f"/predict/{name}", row)),
        ("curl, Open Inference V2", _curl(f"/v2/models/{name}/infer", tensors)),
        ("curl, MLflow and SageMaker", _curl(f"/invocations/{name}", {"dataframe_records": [dict(row)]})),
        ("Python, tritonclient", _triton(model, tensors["inputs"])),
    )


def _curl(path: str, body: object) -> str:
    text = json.dumps(body, ensure_ascii=False)
    return f"curl -s {HERE}{path} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


def _python(path: str, row: Mapping[str, Value]) -> str:
    rows = pprint.pformat([dict(row)], sort_dicts=False, width=88)
    return (
        "import json, urllib.request\n\n"
        f"rows = {rows}\n"
        "request = urllib.request.Request(\n"
        f'    "{HERE}{path}",\n'
        '    json.dumps({"rows": rows}).encode(),\n'
        '    {"Content-Type": "application/json"},\n'
        ")\n"
        "print(json.load(urllib.request.urlopen(request)))"
    )


def _triton(model: str, inputs: list[dict[str, object]]) -> str:
    """One tensor for each column, as bytes."""
    columns = [(each["name"], each["datatype"], each["data"]) for each in inputs]
    kinds = {kind: f"{_NUMPY[str(kind)]}" for _, kind, _ in columns}
    types = ", ".join(f'"{kind}": {numpy}' for kind, numpy in kinds.items())
    return (
        "import numpy as np\n"
        "import tritonclient.http\n\n"
        f"columns = {pprint.pformat(columns, width=88)}\n"
        f"types = {{{types}}}\n"
        "inputs = []\n"
        "for name, datatype, data in columns:\n"
        "    one = tritonclient.http.InferInput(name, [len(data)], datatype)\n"
        "    one.set_data_from_numpy(np.array(data, dtype=types[datatype]))\n"
        "    inputs.append(one)\n"
        f'client = tritonclient.http.InferenceServerClient("{HERE.removeprefix("http://")}")\n'
        f"answer = client.infer({model!r}, inputs)\n"
        'print(answer.as_numpy("prediction"), answer.as_numpy("verdict"))'
    )
