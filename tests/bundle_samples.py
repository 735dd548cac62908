"""Bundles to damage: small ones with a model that is only bytes, and inputs for real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from fullcircle.packaging import archive
from fullcircle.packaging.bundle import Bundle, build
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.types.contract import Column, Contract, Problem, Verdict
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.prediction import Prediction

CONTRACT = Contract(
    columns=(
        Column(name="hr", kind="integer", low=0, high=23),
        Column(name="temp", kind="number", low=-0.5, high=1.0, fill=0.1),
        Column(name="weather", kind="category", categories=("clear", "mist")),
    ),
    label="cnt",
    task="regression",
    prior=189.46,
)
PROFILE = Profile(
    features=(FeatureProfile(name="hr", kind="number", counts=(3, 4, 0, 1), edges=(11.5,), low=0.0, high=23.0),),
    rows=8,
    metric="mae",
    metric_value=41.2,
    metric_low=39.9,
    metric_high=42.5,
)
OK = Verdict(status="ok")
FLAGGED = Verdict(
    status="flagged",
    problems=(Problem(column="temp", reason="outside", action="flag", text="7 is outside -0.5 to 1"),),
)
GOLDEN = (
    (
        {"hr": 7, "temp": 0.1, "weather": "mist"},
        Prediction(value=0.1 + 0.2, verdict=OK, inputs={"hr": 7, "temp": 0.1}),
    ),
    ({"hr": 8, "temp": 7.0, "weather": None}, Prediction(value=-0.0, verdict=FLAGGED, inputs={"hr": 8, "temp": 7.0})),
)
WHEEL = ("fullcircle-0.1.0-py3-none-any.whl", b"not really a wheel")
SAVED = SavedModel(
    file="model.skops",
    data=bytes(range(256)) * 4,
    types=("sklearn.b", "sklearn.a"),
    code={"scaling": b"x = 1\n", "features.__init__": b"", "features.hours": b"y = 2\n"},
)


def lock_of(wheel: tuple[str, bytes]) -> str:
    return (
        f"numpy==2.4.6 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
        f"./wheels/{wheel[0]} \\\n    --hash=sha256:{hashlib.sha256(wheel[1]).hexdigest()}\n"
    )


def sample(**changes: Any) -> Bundle:
    """A sound bundle of a model that is only bytes."""
    inputs: dict[str, Any] = {
        "model": "bike-demand",
        "runtime": "sklearn",
        "saved": SAVED,
        "contract": CONTRACT,
        "golden": GOLDEN,
        "profile": PROFILE,
        "lock": lock_of(WHEEL),
        "wheel": WHEEL,
    }
    return build(**(inputs | changes))


def contents(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle, the manifest first."""
    return {"manifest.json": canonical(manifest(bundle)), **dict(bundle.files)}


def manifest(bundle: Bundle) -> dict[str, Any]:
    """The manifest as plain JSON."""
    return {
        "code": list(bundle.manifest.code),
        "files": [list(pair) for pair in bundle.manifest.files],
        "format": bundle.manifest.format,
        "model": bundle.manifest.model,
        "pickled": bundle.manifest.pickled,
        "python": bundle.manifest.python,
        "runtime": bundle.manifest.runtime,
        "types": list(bundle.manifest.types),
    }


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def archived(files: Mapping[str, bytes]) -> bytes:
    """An archive of files in the order a bundle has them."""
    first = {name: files[name] for name in files if name == "manifest.json"}
    return archive.pack(first | {name: files[name] for name in sorted(files) if name not in first})


def forged(files: Mapping[str, bytes], change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """An archive whose manifest agrees with the files, as a forger would write it."""
    told = json.loads(files["manifest.json"])
    rest = {name: files[name] for name in sorted(files) if name != "manifest.json"}
    told["files"] = [[name, hashlib.sha256(content).hexdigest()] for name, content in rest.items()]
    if change is not None:
        change(told)
    return archived({"manifest.json": canonical(told), **rest})
