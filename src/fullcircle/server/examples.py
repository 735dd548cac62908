"""Requests to copy: the same row asked by curl, by Python, by MLflow's protocol and by a V2 client."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from fullcircle.runtimes import protocolshapes
from fullcircle.types.contract import Contract, Value

HERE = "http://127.0.0.1:8710"  # where nobody said by which address the server is asked
_NUMPY = {"BOOL": "bool", "INT64": "np.int64", "FP64": "np.float64", "BYTES": "object"}
_KEY = '"Authorization": "Bearer " + os.environ["KEY"]'


def examples(
    model: str, contract: Contract, row: Mapping[str, Value], *, at: str = HERE, keyed: bool = False
) -> tuple[tuple[str, str], ...]:
    """Names and texts, the plainest first. Texts are complete: they run as they are.

    ``at`` is where the server is asked. ``keyed``: the key is in the environment, as KEY.
    """
    name = quote(model, safe="")
    tensors = protocolshapes.tensors(contract, row)
    rows = [dict(row)]
    return (
        ("curl", _curl(f"{at}/predict/{name}", {"rows": rows}, keyed=keyed)),
        ("Python", _python(f"{at}/predict/{name}", row, keyed=keyed)),
        ("curl, Open Inference V2", _curl(f"{at}/v2/models/{name}/infer", tensors, keyed=keyed)),
        ("curl, MLflow and SageMaker", _curl(f"{at}/invocations/{name}", {"dataframe_records": rows}, keyed=keyed)),
        ("Python, tritonclient", _triton(at, model, tensors["inputs"], keyed=keyed)),
    )


def _curl(address: str, body: object, *, keyed: bool) -> str:
    text = json.dumps(body, ensure_ascii=False)
    key = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    return f"curl -s {address} -H 'Content-Type: application/json'{key} -d {shlex.quote(text)}"


def _python(address: str, row: Mapping[str, Value], *, keyed: bool) -> str:
    rows = pprint.pformat([dict(row)], sort_dicts=False, width=88)
    return (
        f"import json, {'os, ' if keyed else ''}urllib.request\n\n"
        f"rows = {rows}\n"
        "request = urllib.request.Request(\n"
        f'    "{address}",\n'
        '    json.dumps({"rows": rows}).encode(),\n'
        f'    {{"Content-Type": "application/json"{f", {_KEY}" if keyed else ""}}},\n'
        ")\n"
        "print(json.load(urllib.request.urlopen(request)))"
    )


def _triton(at: str, model: str, inputs: list[dict[str, object]], *, keyed: bool) -> str:
    """One tensor for each column, as bytes."""
    columns = [(each["name"], each["datatype"], each["data"]) for each in inputs]
    kinds = {kind: f"{_NUMPY[str(kind)]}" for _, kind, _ in columns}
    types = ", ".join(f'"{kind}": {numpy}' for kind, numpy in kinds.items())
    place = urlsplit(at)
    tls = ", ssl=True" if place.scheme == "https" else ""
    return (
        f"{'import os' + chr(10) + chr(10) if keyed else ''}"
        "import numpy as np\n"
        "import tritonclient.http\n\n"
        f"columns = {pprint.pformat(columns, width=88)}\n"
        f"types = {{{types}}}\n"
        "inputs = []\n"
        "for name, datatype, data in columns:\n"
        "    one = tritonclient.http.InferInput(name, [len(data)], datatype)\n"
        "    one.set_data_from_numpy(np.array(data, dtype=types[datatype]))\n"
        "    inputs.append(one)\n"
        f'client = tritonclient.http.InferenceServerClient("{place.netloc}"{tls})\n'
        f"answer = client.infer({model!r}, inputs{f', headers={{{_KEY}}}' if keyed else ''})\n"
        'print(answer.as_numpy("prediction"), answer.as_numpy("verdict"))'
    )
