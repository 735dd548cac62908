"""The files that make a folder with a bundle a model of MLflow: its MLmodel and what belongs to it.

They are written here, from what the bundle says. MLflow's own way of saving a model starts another interpreter, loads
the model in it, and takes for its requirements whatever it finds imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fullcircle.types.contract import Column, Contract

LOADER = "fullcircle.packaging.pyfunc"
ARCHIVE = "bundle.zip"
_WHEELS = "wheels"
_EXAMPLES = 5
# What PyYAML does not take as it stands, or takes for the end of a line.
_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def files(
    archive: bytes,
    *,
    digest: str,
    contract: Contract,
    rows: Sequence[Mapping[str, Any]],
    pins: Mapping[str, str],
    wheel: tuple[str, bytes],
    python: str,
    run: str,
    size: int = 0,
) -> dict[str, bytes]:
    """Path below the model's folder to content: the bundle's archive, MLmodel, requirements, environment, example.

    ``rows`` are golden rows (the first few become the input example), ``pins`` the lock's packages by name and
    version without fullcircle, ``wheel`` fullcircle's own by file name and bytes, ``python`` the version ("3.12"),
    ``size`` the bytes of the model file. The format: https://mlflow.org/docs/latest/ml/model.
    """
    example = _split(contract, rows[:_EXAMPLES])
    return {
        ARCHIVE: archive,
        "MLmodel": _yaml(_mlmodel(digest, contract, python, run, size)),
        "requirements.txt": _requirements(pins, wheel[0]),
        "python_env.yaml": _yaml(
            {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
        ),
        "conda.yaml": _yaml(
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": ["-r requirements.txt"]}],
            }
        ),
        "input_example.json": json.dumps(example).encode(),
        "serving_input_example.json": json.dumps({"dataframe_split": example}).encode(),
        f"{_WHEELS}/{wheel[0]}": wheel[1],
    }


def _mlmodel(digest: str, contract: Contract, python: str, run: str, size: int) -> dict[str, Any]:
    return {
        "artifact_path": "bundle",
        "run_id": run,
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "data": ARCHIVE,
                "python_version": python,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                # MLflow passes on of a model_config only what stands here already.
                "config": {"allow_pickle": False},
            }
        },
        "signature": {
            "inputs": json.dumps([_input(column) for column in contract.columns]),
            "outputs": json.dumps(_outputs(contract)),
            "params": json.dumps([{"name": "verdicts", "type": "boolean", "default": True, "shape": None}]),
        },
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
        "metadata": {
            "fullcircle.bundle": digest,
            "fullcircle.label": contract.label,
            "fullcircle.columns": {column.name: column.kind for column in contract.columns},
        },
        "mlflow_version": _mlflow(),
        "model_size_bytes": size,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _input(column: Column) -> dict[str, Any]:
    """A column of the signature. Its type is left open: the contract judges a value as it came.

    MLflow casts first where it knows a type (30.9 becomes 30, "no" becomes True), and refuses all rows for one.
    """
    return {"name": column.name, "type": "any", "required": column.missing == "reject" and not column.nullable}


def _outputs(contract: Contract) -> list[dict[str, Any]]:
    kind = "double" if contract.task == "regression" else "any"
    found = [("prediction", kind), ("verdict", "string"), ("problems", "string")]
    found += [(f"probability_{label}", "double") for label in contract.classes]
    return [{"name": name, "type": kind, "required": True} for name, kind in found]


def _split(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(contract.names)
    return {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}


def _requirements(pins: Mapping[str, str], wheel: str) -> bytes:
    """The lock's versions, MLflow's own, and fullcircle's wheel, which lies beside it."""
    found = {name: pins[name] for name in sorted(pins)}
    known = _mlflow()
    if known and not {"mlflow", "mlflow-skinny"} & set(found):
        found["mlflow-skinny"] = known
    lines = [f"{name}=={number}" for name, number in sorted(found.items())]
    return "".join(f"{line}\n" for line in [*lines, f"./{_WHEELS}/{wheel}"]).encode()


def _mlflow() -> str:
    for name in ("mlflow-skinny", "mlflow"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _yaml(tree: Mapping[str, Any]) -> bytes:
    """A mapping as YAML: one line for each of its entries, whose values are written as JSON, which YAML can read."""
    lines = (f"{key}: {_plain(value)}" for key, value in tree.items())
    return "".join(f"{line}\n" for line in lines).encode()


def _plain(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
