"""Crafted model files are refused before anything is imported, run or allocated."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes import skopsfile
from fullcircle.runtimes.sklearn import SklearnRuntime
from model_rows import fitted

NOWHERE = Path("no-such-project-folder")


def saved(name: str = "log-inputs") -> bytes:
    return SklearnRuntime().save(fitted(name), NOWHERE).data


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("__loader__"), str):
            yield value
        for each in value.values():
            yield from nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from nodes(each)


def altered(change: Callable[[dict[str, Any]], None], name: str = "log-inputs") -> bytes:
    """A sound file whose schema was changed."""
    files = members(saved(name))
    schema = json.loads(files["schema.json"])
    change(schema)
    return packed({**files, "schema.json": json.dumps(schema).encode()})


def node(loader: str, module: str, cls: str, **fields: Any) -> dict[str, Any]:
    return {"__loader__": loader, "__module__": module, "__class__": cls, **fields}


def text(value: object) -> dict[str, Any]:
    return node("JsonNode", "builtins", "str", content=json.dumps(value), is_json=True)


def values(*items: Any) -> dict[str, Any]:
    return node("TupleNode", "builtins", "tuple", content=list(items))


def attribute(crafted: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Put a crafted node where the function transformer keeps its function."""

    def change(schema: dict[str, Any]) -> None:
        for found in nodes(schema):
            if found["__class__"] == "FunctionTransformer":
                found["content"]["content"]["func"] = crafted
                return
        raise AssertionError

    return change


SYSTEM = node("FunctionNode", "os", "system")
EMPTY = node("DictNode", "builtins", "dict", content={}, key_types=node("ListNode", "builtins", "list", content=[]))
CRAFTED: dict[str, dict[str, Any]] = {
    "function": SYSTEM,
    "builtin": node("TypeNode", "posix", "system"),
    "unknown-type": node("ObjectNode", "evil", "Thing"),
    "looks-trusted": node("FunctionNode", "sklearn.utils._testing.os", "system"),
    "looks-like-an-estimator": node("ObjectNode", "sklearn.linear_model._base.os", "LinearRegression"),
    "type-as-object": node("ObjectNode", "numpy", "log1p"),
    "function-as-type": node("TypeNode", "numpy", "load"),
    "estimator-as-function": node("FunctionNode", "sklearn.linear_model._ridge", "Ridge"),
    "estimator-called": node("ConstructorFromReduceNode", "sklearn.linear_model._ridge", "Ridge", content=values()),
    "reduce": node("ConstructorFromReduceNode", "os", "system", content=values(text("touch owned"))),
    "popen": node("ConstructorFromReduceNode", "subprocess", "Popen", content=values(text("true"))),
    "operator": node("OperatorFuncNode", "operator", "methodcaller", attrs=values(text("fit"))),
    "method": node(
        "MethodNode",
        "sklearn.linear_model._ridge",
        "Ridge",
        content={"func": "fit", "obj": node("ObjectNode", "sklearn.linear_model._ridge", "Ridge")},
    ),
    "partial": node(
        "PartialNode",
        "functools",
        "partial",
        content={"func": SYSTEM, "args": values(text("touch owned")), "kwds": EMPTY, "namespace": text(None)},
    ),
    "partial-with-arguments": node(
        "PartialNode",
        "functools",
        "partial",
        content={
            "func": node("FunctionNode", "sklearn.utils.validation", "check_array"),
            "args": values(SYSTEM),
            "kwds": EMPTY,
            "namespace": text(None),
        },
    ),
    "check-array-alone": node("FunctionNode", "sklearn.utils.validation", "check_array"),
    "named-tuple": node("TupleNode", "collections", "namedtuple", content=[text("a"), text("b")]),
    "list-of-another-type": node("ListNode", "subprocess", "Popen", content=[text("true")]),
    "key-type": node(
        "DictNode",
        "builtins",
        "dict",
        content={"touch owned": text(1)},
        key_types=node("ListNode", "builtins", "list", content=[node("TypeNode", "os", "system")]),
    ),
    "default-factory": node(
        "DefaultDictNode", "collections", "defaultdict", content={"main": EMPTY, "default_factory": SYSTEM}
    ),
    "loss": node("LossNode", "os", "system", content=EMPTY, __reduce__={"args": values(text("true"))}),
    "array-of-another-type": node("NdArrayNode", "os", "system", type="numpy", file="1.npy"),
    "unknown-node": node("SomeNode", "builtins", "list"),
    "cached": node("CachedNode", "builtins", "list", __id__=1),
}


@pytest.mark.parametrize("case", sorted(CRAFTED))
def test_a_crafted_node_is_refused(case: str) -> None:
    with pytest.raises(ModelRefused):
        SklearnRuntime().load(altered(attribute(CRAFTED[case])))


def _protocol(value: object) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema.update(protocol=value)


def _same_id(schema: dict[str, Any]) -> None:
    """An allowed function whose id is that of another node, to be exchanged for it after the audit."""
    found = list(nodes(schema))
    found[0]["__id__"] = 77
    attribute(node("FunctionNode", "numpy", "log1p", __id__=77))(schema)


def _deep(schema: dict[str, Any]) -> None:
    crafted = text(1)
    for _ in range(400):
        crafted = node("ListNode", "builtins", "list", content=[crafted])
    attribute(crafted)(schema)


def _generator(name: str) -> Callable[[dict[str, Any]], None]:
    state = {"bit_generator": text(name)}
    kinds = node("ListNode", "builtins", "list", content=[node("TypeNode", "builtins", "str")])
    content = {
        "bit_generator": node("DictNode", "builtins", "dict", content=state, key_types=kinds),
        "seed_seq": EMPTY,
    }
    return attribute(node("RandomGeneratorNode", "numpy.random._generator", "Generator", content=content))


ODD: dict[str, Callable[[dict[str, Any]], None]] = {
    "old-protocol": _protocol(0),
    "protocol-as-truth": _protocol(True),
    "new-protocol": _protocol(99),
    "no-protocol": lambda schema: schema.pop("protocol"),
    "shared-id": _same_id,
    "too-deep": _deep,
    "extra-field": lambda schema: schema.update(extra=1),
    "old-function-node": attribute(
        node("FunctionNode", "numpy", "log1p", content={"module_path": "os", "function": "system"})
    ),
    "missing-file": attribute(node("NdArrayNode", "numpy", "ndarray", type="numpy", file="gone.npy")),
    "escaping-file": attribute(node("BytesNode", "builtins", "bytes", file="../../etc/passwd")),
    "pickled-array": attribute(node("NdArrayNode", "numpy", "ndarray", type="pickle", file="1.npy")),
    "random-function": _generator("seed"),
    "no-loader": attribute({"__module__": "os", "__class__": "system"}),
    "no-node": attribute({"a": 1}),
}


@pytest.mark.parametrize("case", sorted(ODD))
def test_a_schema_of_another_form_is_refused(case: str) -> None:
    with pytest.raises(FullcircleError):
        SklearnRuntime().load(altered(ODD[case]))


def array(content: np.ndarray[Any, Any], *, objects: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, content, allow_pickle=objects)
    return stream.getvalue()


def claimed(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (118 - len(header) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 16


FILES: dict[str, Callable[[], bytes]] = {
    "objects": lambda: array(np.array([{"a": 1}], dtype=object), objects=True),
    "claims-a-terabyte": lambda: claimed("(137438953472,)"),
    "negative-length": lambda: claimed("(-2,)"),
    "nested-expression": lambda: claimed("__import__('os')"),
    "empty": lambda: b"",
    "no-array": lambda: b"hello",
}


@pytest.mark.parametrize("case", sorted(FILES))
def test_an_array_that_lies_is_refused(case: str) -> None:
    files = members(saved())
    with pytest.raises(BundleInvalid):
        SklearnRuntime().load(packed({**files, "1.npy": FILES[case]()}))


def test_extra_files_twice_named_files_and_bombs_are_refused() -> None:
    files = members(saved())
    with pytest.raises(BundleInvalid, match="does not mention"):
        SklearnRuntime().load(packed({**files, "extra.bin": b"x"}))
    buffer = io.BytesIO(packed(files))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("schema.json", files["schema.json"])
    with pytest.raises(BundleInvalid):
        SklearnRuntime().load(buffer.getvalue())
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", files["schema.json"])
    data = bytearray(bomb.getvalue())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    with pytest.raises(BundleInvalid, match="larger"):
        SklearnRuntime().load(bytes(data))


def sparse_model() -> dict[str, bytes]:
    """The members of a model with a sparse matrix."""
    model = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [0, 1, 1, 0]).sparsify()
    return members(SklearnRuntime().save(model, NOWHERE).data)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("inside", [False, True])
def test_other_ways_to_compress_are_refused_unread(method: int, inside: bool) -> None:
    """What unpacking them takes is for the file to say, and their errors are of other classes."""
    files = sparse_model()
    name = next(name for name in files if name.endswith(".npz"))
    compressed = bytearray(packed(members(files[name]) if inside else files, method))
    compressed[45:60] = b"\xff" * 15
    data = packed({**files, name: bytes(compressed)}) if inside else bytes(compressed)
    with pytest.raises(BundleInvalid, match="compressed in another way"):
        SklearnRuntime().load(data)


def test_broken_and_encrypted_members_are_refused_in_words() -> None:
    files = sparse_model()
    name = next(name for name in files if name.endswith(".npz"))
    inner = bytearray(packed(members(files[name]), zipfile.ZIP_DEFLATED))
    inner[30 + inner[26]] = 0xFF  # after the first name: a block of no kind that zlib knows
    with pytest.raises(BundleInvalid, match="an array in it cannot be read"):
        SklearnRuntime().load(packed({**files, name: bytes(inner)}))
    locked = bytearray(packed(files))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BundleInvalid, match="cannot be read"):
        SklearnRuntime().load(bytes(locked))


@pytest.mark.parametrize("content", [claimed("(137438953,)"), packed({"a.npy": array(np.ones(3))}), b""])
def test_an_array_under_a_name_that_is_not_checked_is_refused(content: bytes) -> None:
    """Its header would be believed: the array was to be made before anybody saw that nothing follows it."""
    files = members(saved())
    schema = files.pop("schema.json").decode()
    assert '"1.npy"' in schema
    del files["1.npy"]
    for name in ("1.bin", "1.npz", "1"):
        renamed = {"schema.json": schema.replace('"1.npy"', f'"{name}"').encode(), name: content}
        with pytest.raises(BundleInvalid, match="another kind"):
            SklearnRuntime().load(packed({**files, **renamed}))


def test_a_tree_of_nodes_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skopsfile, "MOST_SCHEMA", 100)
    with pytest.raises(BundleInvalid, match="larger than that of any model"):
        SklearnRuntime().load(saved())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_flipped_byte_never_ends_in_anything_but_our_errors(data: st.DataObject) -> None:
    """What a flip leaves loadable still is a model; what it does not is refused by name."""
    sound = saved("random-forest")
    place = data.draw(st.integers(0, len(sound) - 1))
    changed = sound[:place] + bytes([sound[place] ^ data.draw(st.integers(1, 255))]) + sound[place + 1 :]
    try:
        model = SklearnRuntime().load(changed)
    except FullcircleError:
        return
    assert hasattr(model, "predict")


class Reduced:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch owned",)


WATCHED = """
import sys, json, base64
from pathlib import Path
from fullcircle.errors import FullcircleError
from fullcircle.runtimes.sklearn import SklearnRuntime
import zipfile, zlib, encodings.cp437
cases = json.loads(Path(sys.argv[1]).read_text())
runtime = SklearnRuntime()
seen = []
armed = False
def hook(event, args):
    if armed and event in ("import", "exec", "compile", "open", "os.system", "subprocess.Popen", "pickle.find_class"):
        seen.append([event, str(args[0])[:80]])
sys.addaudithook(hook)
outcome = {}
for name, data in cases.items():
    content = base64.b64decode(data)
    seen.clear()
    armed = True
    try:
        runtime.load(content)
        refused = "loaded"
    except FullcircleError as error:
        refused = error.code
    armed = False
    outcome[name] = [refused, list(seen)]
outcome["modules"] = [name for name in ("skops", "sklearn", "pickle", "numpy") if name in sys.modules]
print(json.dumps(outcome))
"""


def test_refusing_runs_nothing_and_imports_nothing(tmp_path: Path) -> None:
    """In a process of its own, under an audit hook: no import, no compile, no file, no process."""
    import base64

    attacks = {f"node:{name}": altered(attribute(crafted)) for name, crafted in CRAFTED.items()}
    attacks |= {f"schema:{name}": altered(change) for name, change in ODD.items()}
    attacks["pickle"] = pickle.dumps(Reduced())
    attacks["pickle-in-zip"] = packed({"schema.json": pickle.dumps(Reduced())})
    attacks["numpy-pickle"] = array(np.array([Reduced()], dtype=object), objects=True)
    attacks["text"] = b"__import__('os').system('touch owned')"
    (tmp_path / "cases.json").write_text(
        json.dumps({name: base64.b64encode(data).decode() for name, data in attacks.items()})
    )
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "cases.json")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = json.loads(ran.stdout)
    assert outcome.pop("modules") == []
    assert {name: found for name, found in outcome.items() if found[1]} == {}
    assert {found[0] for found in outcome.values()} == {"model_refused", "bundle_invalid"}
    assert not (tmp_path / "owned").exists()
