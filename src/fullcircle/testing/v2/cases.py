"""The cases of requests that are right: each takes a peer and raises, or does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from fullcircle.testing.v2.peer import DATATYPES, LENGTH, Absent, Broken, Document, Peer, expect, read, refused

_TRIES = 100  # rows that are asked until one has another answer


def server_live(peer: Peer) -> None:
    """GET /v2/health/live is answered with 200."""
    expect(peer.send("GET", "/v2/health/live").status == 200, "it is not")


def server_ready(peer: Peer) -> None:
    """GET /v2/health/ready is answered with 200."""
    expect(peer.send("GET", "/v2/health/ready").status == 200, "it is not")


def server_metadata(peer: Peer) -> None:
    """GET /v2 gives the server's name, version and extensions."""
    found = peer.send("GET", "/v2")
    expect(found.status == 200, f"it is answered with {found.status}")
    document = found.document
    expect(isinstance(document["name"], str) and isinstance(document["version"], str), "name or version is no text")
    expect(all(isinstance(one, str) for one in document["extensions"]), "the extensions are no texts")


def model_metadata(peer: Peer) -> None:
    """The model's metadata have its name, a platform, and inputs and outputs with known datatypes and shapes."""
    document = peer.metadata()
    expect(document["name"] == peer.model, "it has another name")
    expect(isinstance(document["platform"], str), "the platform is no text")
    expect(document["inputs"] and document["outputs"], "there are no inputs, or no outputs")
    for one in (*document["inputs"], *document["outputs"]):
        expect(one["datatype"] in DATATYPES, f"{one['name']!r} is of no datatype of the protocol")
        expect(all(isinstance(side, int) and side >= -1 for side in one["shape"]), f"{one['name']!r} has no shape")


def model_ready(peer: Peer) -> None:
    """The model's address with /ready is answered with 200."""
    expect(peer.send("GET", f"{peer.place}/ready").status == 200, "it is not")


def unknown_model_ready(peer: Peer) -> None:
    """A model that there is not is not ready."""
    found = peer.send("GET", "/v2/models/no-such-model-here/ready")
    expect(found.status != 200 or found.document.get("ready") is False, "it is ready")


def unknown_model(peer: Peer) -> None:
    """Metadata and inference of a model that there is not are errors of the protocol."""
    refused(peer.send("GET", "/v2/models/no-such-model-here"), "metadata of no model")
    body, named = json.dumps(peer.one()).encode(), {"Content-Type": "application/json"}
    refused(peer.send("POST", "/v2/models/no-such-model-here/infer", body, named), "a request to no model")


def infer(peer: Peer) -> None:
    """A request of one row is answered: the model's name, and outputs with name, shape, datatype and data."""
    found = peer.infer(peer.one())
    expect(found.status == 200, f"it is answered with {found.status}")
    expect(found.document["model_name"] == peer.model, "the answer names another model")
    expect(read(found), "there is no output")


def id_echoed(peer: Peer) -> None:
    """The id of a request comes back."""
    expect(peer.infer({**peer.one(), "id": "an-id-7"}).document.get("id") == "an-id-7", "it does not")


def id_given(peer: Peer) -> None:
    """A request without an id is answered with one: a client of KServe fails without."""
    if not isinstance(peer.infer(peer.one()).document.get("id"), str):
        raise Absent("the answer has no id")


def outputs_as_promised(peer: Peer) -> None:
    """The outputs are those of the metadata, of the same datatypes and shapes."""
    promised = {one["name"]: one for one in peer.metadata()["outputs"]}
    for name, one in peer.outputs(peer.one()).items():
        expect(name in promised, f"the metadata know no output {name!r}")
        expect(one["datatype"] == promised[name]["datatype"], f"{name!r} is of another datatype")
        sides = promised[name]["shape"]
        expect(len(sides) == len(one["shape"]), f"{name!r} has as shape {one['shape']}, promised is {sides}")
        fits = all(side in (-1, found) for side, found in zip(sides, one["shape"], strict=True))
        expect(fits, f"{name!r} has as shape {one['shape']}, promised is {sides}")


def data_nested(peer: Peer) -> None:
    """Data may be nested as the shape says, with the same answer as flat."""
    request = peer.one()
    for one in request["inputs"]:
        one["data"] = _nested(one["data"], one["shape"])
    if all(len(one["shape"]) == 1 for one in request["inputs"]):
        for one in request["inputs"]:
            one["shape"], one["data"] = [*one["shape"], 1], [[value] for value in one["data"]]
    _same(peer, peer.outputs(request))


def rows_together(peer: Peer) -> None:
    """Two rows in a request, which have different answers, are answered as each alone, in order."""
    first = peer.one()
    if any(one["shape"][0] != 1 for one in first["inputs"]):
        raise Absent("the first side of an input's shape is not the number of rows")
    second, alone = _another(peer)
    both = peer.outputs({**first, "inputs": list(map(_below, first["inputs"], second["inputs"]))})
    for name, one in peer.steady().items():
        if name in alone:
            expect(both[name] == _below(one, alone[name]), f"output {name!r} is not that of the rows in their order")


def outputs_requested(peer: Peer) -> None:
    """Where outputs are asked for, these and no others are given."""
    name = next(iter(peer.outputs(peer.one())))
    found = peer.outputs({**peer.one(), "outputs": [{"name": name}]})
    expect(list(found) == [name], f"{len(found)} outputs are given")


def output_unknown(peer: Peer) -> None:
    """An output that the model does not have is refused."""
    refused(peer.infer({**peer.one(), "outputs": [{"name": "no-such-output"}]}), "a request for it")


def version_in_address(peer: Peer) -> None:
    """A version of the metadata answers at its own address: metadata, ready and infer."""
    versions = peer.metadata().get("versions")
    if not versions:
        raise Absent("the metadata have no versions")
    at = f"/versions/{versions[-1]}"
    expect(peer.send("GET", f"{peer.place}{at}").status == 200, "there are no metadata")
    expect(peer.send("GET", f"{peer.place}{at}/ready").status == 200, "it is not ready")
    found = peer.infer(peer.one(), path=at)
    expect(found.status == 200, f"a request is answered with {found.status}")
    expect(found.document.get("model_version") == versions[-1], "the answer names another version")


def version_unknown(peer: Peer) -> None:
    """A version that there is not is an error of the protocol."""
    refused(peer.infer(peer.one(), path="/versions/987654321"), "a request to it")


def no_content_type(peer: Peer) -> None:
    """A body of JSON without a Content-Type is taken: tritonclient declares none."""
    expect(peer.infer(peer.one(), headers={}).status == 200, "it is not")


def binary_input(peer: Peer) -> None:
    """Inputs as bytes behind the document are answered as the same in JSON (extension: binary tensor data)."""
    _offered(peer)
    body, named = peer.binary(peer.one())
    _same(peer, peer.outputs(body, headers=named))


def binary_output(peer: Peer) -> None:
    """With binary_data_output all outputs come as bytes, with the same values (extension: binary tensor data)."""
    _offered(peer)
    found = peer.infer({**peer.one(), "parameters": {"binary_data_output": True}})
    expect(LENGTH.lower() in found.headers, f"the answer has no {LENGTH}")
    sized = [one for one in found.document["outputs"] if "binary_data_size" in (one.get("parameters") or {})]
    expect(len(sized) == len(found.document["outputs"]), "an output did not come as bytes")
    _same(peer, read(found))


def binary_output_of_one(peer: Peer) -> None:
    """With binary_data one output comes as bytes, the others as JSON (extension: binary tensor data)."""
    _offered(peer)
    names = list(peer.outputs(peer.one()))
    wanted: list[Document] = [{"name": name, "parameters": {"binary_data": name == names[0]}} for name in names]
    found = peer.infer({**peer.one(), "outputs": wanted})
    for one in found.document["outputs"]:
        is_sized = "binary_data_size" in (one.get("parameters") or {})
        expect(is_sized == (one["name"] == names[0]), f"output {one['name']!r} came in the other form")
    _same(peer, read(found))


def binary_cut_short(peer: Peer) -> None:
    """Fewer bytes than the inputs say are an error of the protocol (extension: binary tensor data)."""
    _offered(peer)
    body, named = peer.binary(peer.one())
    refused(peer.infer(body[:-1], headers=named), "a body that is cut short")
    refused(peer.infer(body, headers={**named, LENGTH: str(len(body) + 1)}), f"a {LENGTH} beyond the body")


def repository_index(peer: Peer) -> None:
    """POST /v2/repository/index names the model, its version and state (extension: model repository)."""
    found = peer.send("POST", "/v2/repository/index", b"{}", {"Content-Type": "application/json"})
    if found.status in (404, 405, 501):
        raise Absent(f"it is answered with {found.status}")
    expect(found.status == 200, f"it is answered with {found.status}")
    (one,) = [one for one in found.document if one["name"] == peer.model]
    expect(one.get("state") in ("READY", "UNAVAILABLE", "LOADING", "UNLOADING"), "its state is not known")


def repository_unload_and_load(peer: Peer) -> None:
    """A model that is unloaded is not ready, and answers again when it was loaded (extension: model repository)."""
    if not peer.manage:
        raise Absent("not asked for: --manage")
    at, named = f"/v2/repository/models/{peer.model}", {"Content-Type": "application/json"}
    request = peer.one()
    expect(peer.send("POST", f"{at}/unload", b"{}", named).status == 200, "it is not unloaded")
    try:
        _soon(lambda: peer.send("GET", f"{peer.place}/ready").status != 200, "it is ready though it is unloaded")
        _soon(lambda: peer.infer(request).status >= 400, "it answers though it is unloaded")
    finally:
        loaded = peer.send("POST", f"{at}/load", b"{}", named).status
    expect(loaded == 200, f"it is loaded with {loaded}")
    _soon(lambda: peer.infer(request).status == 200, "it does not answer once it is loaded")


def _soon(true: Callable[[], bool], otherwise: str) -> None:
    """A server of several processes may need a moment, five seconds, until all of them say so."""
    until = time.monotonic() + 5.0
    while not all(true() for _ in range(20)):
        expect(time.monotonic() < until, otherwise)
        time.sleep(0.05)


def _another(peer: Peer) -> tuple[Document, dict[str, Document]]:
    """A row with another answer, one number of it changed, and its outputs. Raises Absent where none is found."""
    known, inputs = peer.steady(), peer.one()["inputs"]
    changes = (
        (place, value) for place, one in enumerate(inputs) for value in _others(one["datatype"], one["data"][0])
    )
    for place, value in islice(changes, _TRIES):
        request = peer.one()
        request["inputs"][place]["data"][0] = value
        if peer.infer(request).status == 200:  # else it is no row that this model takes
            alone = peer.steady(request)
            if any(alone[name] != known[name] for name in alone.keys() & known.keys()):
                return request, alone
    raise Absent("no change of a number is answered otherwise, so that no order can be seen: give --request FILE")


def _others(datatype: str, value: Any) -> list[Any]:
    if datatype == "BOOL":
        return [not value]
    if datatype not in DATATYPES or datatype == "BYTES":
        return []
    number = value or 0  # null is a missing value for some
    return [number + 1, number - 1, 2 * number + 10, 0, 1, *([number + 0.5] if datatype[:2] == "FP" else [])]


def _below(one: Document, other: Document) -> Document:
    """Two tensors of one row as one of two."""
    return {**one, "shape": [2, *one["shape"][1:]], "data": one["data"] + other["data"]}


def _offered(peer: Peer) -> None:
    found = peer.send("GET", "/v2").document.get("extensions") or []
    if "binary_tensor_data" not in found:
        raise Absent("binary_tensor_data is none of the server's extensions")


def _same(peer: Peer, found: Mapping[str, Document]) -> None:
    for name, one in peer.steady().items():
        if name not in found:
            raise Broken(f"output {name!r} is missing")
        expect(found[name] == one, f"output {name!r} differs")


def _nested(data: Any, shape: list[int]) -> Any:
    if len(shape) < 2:
        return data
    step = len(data) // shape[0]
    return [_nested(data[start : start + step], shape[1:]) for start in range(0, len(data), step)]


_FIRST = (
    server_live, server_ready, server_metadata, model_metadata, model_ready, unknown_model_ready, unknown_model,
    infer, id_echoed, id_given, outputs_as_promised, data_nested, rows_together, outputs_requested, output_unknown,
    version_in_address, version_unknown, no_content_type, binary_input, binary_output,
    binary_output_of_one, binary_cut_short, repository_index,
)  # fmt: skip
CASES: Mapping[str, Callable[[Peer], None]] = {case.__name__.replace("_", "-"): case for case in _FIRST}
LAST: Mapping[str, Callable[[Peer], None]] = {"repository-unload-and-load": repository_unload_and_load}
"""What disturbs all others."""
