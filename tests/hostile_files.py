"""Files that run something when they are opened carelessly, and every door of ours tried with each of them.

Run as a program it prints, as JSON, what came of it and what the interpreter was seen to do: an audit hook of
Python's own cannot be taken off again, so it needs a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

WATCHED = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")


class Hostile:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def as_array(save: Callable[..., None], *args: Any, **named: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *args, **named)
    return stream.getvalue()


def skops_with(loader: str, **fields: Any) -> bytes:
    node = {"__loader__": loader, "__module__": "os", "__class__": "system", "__id__": 1, **fields}
    schema = {**node, "protocol": 2, "_skops_version": "0.16.0"}
    return zipped({"schema.json": json.dumps(schema).encode(), "1.npy": as_array(np.save, np.array([Hostile()]))})


def onnx_with_another_file() -> bytes:
    import onnx

    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="junk/../../secret")
    box = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "w"], ["y"])], "g", [box], [out], [tensor])
    return bytes(onnx.helper.make_model(graph).SerializeToString())


def models() -> dict[str, bytes]:
    """Malicious model files, by what they are (D1 to D11 of the attack list)."""
    import joblib

    pickled = pickle.dumps(Hostile())
    found = {f"pickle-{protocol}": pickle.dumps(Hostile(), protocol) for protocol in range(6)}
    found |= {
        "pickle-in-a-list": pickle.dumps([1, {"model": Hostile()}]),
        "pickle-text": b"cos\nsystem\n(S'touch owned'\ntR.",
        "pickle-after-numbers": b"\x80\x05" + b"K\x01." + pickled,
        "joblib": as_array(lambda stream: joblib.dump(Hostile(), stream)),
        "joblib-compressed": as_array(lambda stream: joblib.dump(Hostile(), stream, compress=3)),
        "npy-of-objects": as_array(np.save, np.array([Hostile()])),
        "npz-of-objects": as_array(np.savez, a=np.array([Hostile()])),
        "zip-with-pickle": zipped({"model.pkl": pickled, "data.pkl": pickled, "archive/data.pkl": pickled}),
        "skops-with-pickle": skops_with("ObjectNode", content=None),
        "skops-with-objects": skops_with("NdArrayNode", type="numpy", file="1.npy"),
        "skops-with-method": skops_with("MethodNode", content={"func": "system", "obj": None}),
        "skops-with-operator": skops_with("OperatorFuncNode", attrs=None),
        "skops-that-trusts-itself": skops_with("FunctionNode", trusted=["os.system"]),
        "pyfunc": zipped(
            {"MLmodel": b"flavors: {python_function: {loader_module: os}}\n", "python_model.pkl": pickled}
        ),
        "pyfunc-yaml": zipped({"MLmodel": b"!!python/object/apply:os.system ['touch owned']\n"}),
        "onnx-with-another-file": onnx_with_another_file(),
        "lightgbm-counts": b"tree\nversion=v4\nnum_class=-1\nmax_feature_idx=2147483647\nTree=0\nnum_leaves=999999\n",
        "xgboost-counts": b'{"learner":{"gradient_booster":{"model":{"gbtree_model_param":{"num_trees":"999999"}}}}}',
    }
    return found


def tables() -> dict[str, bytes]:
    """Tables and compiled forms that hold a pickle."""
    import pyarrow as pa
    from pyarrow import parquet

    marks = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Hostile()),
    }
    schema = pa.schema([pa.field("a", pa.int64(), metadata=marks)])
    table = pa.table({"a": [1, 2]}, schema=schema)
    arrow = pa.BufferOutputStream()
    with pa.ipc.new_stream(arrow, schema) as writer:
        writer.write_table(table)
    return {
        "types.parquet": as_array(lambda stream: parquet.write_table(table, stream)),
        "types.arrow": arrow.getvalue().to_pybytes(),
        "frame.pkl": pickle.dumps(Hostile()),
        "frame.csv": pickle.dumps(Hostile(), 0),
        "frame.parquet": pickle.dumps(Hostile()),
    }


def told(work: Callable[..., object], *args: Any, **named: Any) -> str:
    """What came of a call: "refused" by an error of ours, "opened", or the class of a foreign error."""
    from fullcircle.errors import FullcircleError

    try:
        work(*args, **named)
    except FullcircleError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - to be told
        return type(error).__name__
    return "opened"


def _models() -> dict[str, str]:
    from fullcircle import registry
    from fullcircle.flows import under_test
    from fullcircle.packaging import loading
    from fullcircle.packaging.bundle import open_bundle
    from fullcircle.runtimes.forms import stored
    from fullcircle.runtimes.runtime import SavedModel
    from fullcircle.types.contract import Column, Contract

    contract = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression")
    found = {}
    for case, data in models().items():
        for name in registry.names("runtimes"):
            runtime = registry.find("runtimes", name)()
            saved = SavedModel(file="model.pkl", data=data, types=("builtins.list",))
            found[f"{case} by restore as {name}"] = told(loading.restore, name, saved, Path("code"))
            if not runtime.pickled:
                found[f"{case} by {name}"] = told(runtime.load, data)
            thing = under_test.Unpackaged(contract=contract, runtime=name, saved=saved, rows=())
            path = under_test.write(thing, Path())
            found[f"{case} under test as {name}"] = told(under_test.opened, path, Path("code"))
        found[f"{case} as a bundle"] = told(open_bundle, data)
        found[f"{case} as a form"] = told(stored.opened, data, contract)
    return found


def _tables() -> dict[str, str]:
    from fullcircle.server.arrow import typed
    from fullcircle.tables.reading import read
    from fullcircle.types.table import Table

    found = {}
    for name, data in tables().items():
        Path(name).write_bytes(data)
        found[name] = told(read, Table(name), folder=Path.cwd())
        found[f"{name} as Arrow"] = told(typed, data, 1000)
    return found


def main() -> None:
    """Try every door with every file, and print what was seen."""
    warnings.simplefilter("ignore")
    # Each door looks for its runtime among all installed packages: two thirds of the time that this would take.
    metadata.entry_points = cache(metadata.entry_points)  # type: ignore[assignment]
    scratch = tempfile.mkdtemp(prefix="fullcircle-hostile-")
    os.chdir(scratch)
    import pandas  # noqa: F401 - what libraries do while they are imported is not in question here
    from sklearn.linear_model import Ridge  # noqa: F401

    cases, hostile = (models(), tables()), pickle.dumps(Hostile())
    seen: list[str] = []
    watching = True

    def hook(event: str, arguments: Any) -> None:
        if watching and event in WATCHED:
            seen.append(f"{event} {arguments!r}"[:200])

    sys.addaudithook(hook)
    assert all(cases)
    found = {**_models(), **_tables()}
    watching = False
    owned = Path("owned").exists()
    pickle.loads(hostile)  # noqa: S301 - the files do run what they hold, where they are opened carelessly
    sys.stdout.write(json.dumps({"found": found, "seen": seen, "owned": owned, "works": Path("owned").exists()}))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
