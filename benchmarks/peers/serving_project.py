"""The projects of the serving benchmark: what is measured is what their packaging gives, as a user gets it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.servers import surroundings
from benchmarks.rows import once
from fullcircle.packaging.bundle import GoldenRow, build, open_bundle, pack
from fullcircle.types.form import Certificate
from fullcircle.types.prediction import Prediction

CALL = 0.010  # seconds of a call of the slow model, for each of its rows

PROJECT = '''
"""Breast cancer of 569 patients, 30 numbers."""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

import fullcircle as fc

rows = load_breast_cancer(as_frame=True).frame


def fit(X, y):
    return HistGradientBoostingClassifier(random_state=0).fit(X, y)


project = fc.Project(
    name="cancer", data=fc.Table(rows), label="target", fit=fit,
    features=[name for name in rows.columns if name != "target"],
    checks=["quality"], gates=[fc.at_least("roc_auc", 0.5)],
)
'''

SLOW = '''
"""A model whose every row takes ten milliseconds of a core, whatever its neighbours are."""

import time

import numpy as np
import pandas as pd

import fullcircle as fc

CALL = 0.010


class Slow:
    """Answers with its first column."""

    def __init__(self, shift):
        self.shift = shift

    def predict(self, X):
        until = time.perf_counter() + CALL * len(X)
        while time.perf_counter() < until:
            pass
        return X["a"].to_numpy() + self.shift


def fit(X, y):
    return Slow(0.0)


numbers, noise = np.random.default_rng(0).normal(size=(2, 140))
rows = pd.DataFrame({"a": numbers, "b": numbers[::-1], "target": numbers + noise})
project = fc.Project(
    name="slow", data=fc.Table(rows), label="target", fit=fit, features=["a", "b"],
    checks=["quality"], gates=[fc.at_most("mae", 100)],
)
'''


@dataclass(frozen=True, kw_only=True)
class Site:
    """A workspace with a champion, the Python of the environment that its bundle was proven in, and what is served.

    ``form`` is the one that its certificate names.
    """

    folder: Path
    model: str
    python: Path
    served: Path

    @property
    def form(self) -> str:
        """The form of the model that answers."""
        return open_bundle(Path(self._entry["path"]).read_bytes()).certificate.form

    @property
    def _entry(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.served.read_text())["models"][self.model]
        return found

    def as_fitted(self) -> Site:
        """The same version, answered by the fitted model, asked with an array: what is served without compiling."""
        bundle = open_bundle(Path(self._entry["path"]).read_bytes())
        golden = [
            (one.row, Prediction(**{part.name: getattr(one, part.name) for part in fields(GoldenRow)[1:]}))
            for one in bundle.golden
        ]
        (wheel,) = (name for name in bundle.files if name.startswith("wheels/"))
        native = build(
            model=self.model,
            runtime=bundle.manifest.runtime,
            saved=bundle.saved,
            contract=bundle.contract,
            golden=golden,
            profile=bundle.profile,
            lock=bundle.lock,
            wheel=(wheel.removeprefix("wheels/"), bundle.files[wheel]),
            python=bundle.manifest.python,
            certificate=Certificate(form="array"),
        )
        packed = pack(native)
        path, served = self.folder / "native.zip", self.folder / "native.json"
        path.write_bytes(packed)
        entry = {**self._entry, "bundle": hashlib.sha256(packed).hexdigest(), "path": str(path)}
        served.write_text(json.dumps({"models": {self.model: entry}}), encoding="utf-8")
        return replace(self, served=served)

    def command(self, port: int, predictions: Path) -> list[str]:
        """A server with one worker, as ``fullcircle deploy`` starts it."""
        return [
            str(self.python), "-I", "-m", "fullcircle.server",
            "--served", str(self.served),
            "--predictions", str(predictions),
            "--code-cache", str(self.folder / "code"),
            "--port", str(port),
            "--models", self.model,
            "--workers", "1",
        ]  # fmt: skip


def here(folder: Path) -> dict[str, str]:
    """Variables of a workspace of its own."""
    return {
        "FULLCIRCLE_WORKSPACE": str(folder / "workspace"),
        "FULLCIRCLE_CONFIG": str(folder / "config"),
        "FULLCIRCLE_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }


def made(folder: Path, text: str, model: str) -> Site:
    """Train, package and promote a project, with the public commands."""
    folder.mkdir()
    project = folder / "project.py"
    project.write_text(text, encoding="utf-8")
    for step in ("train", "package", "promote"):
        once(command(step, str(project)), env=here(folder))
    # The compiled form was proven in an environment of its own; ``deploy`` runs the one with the model's library.
    (library,) = (folder / "workspace" / "environments").glob("*/lib/python*/site-packages/sklearn")
    python = library.parents[3] / "bin" / "python"
    return Site(folder=folder, model=model, python=python, served=folder / "workspace" / "served.json")


def command(*arguments: str) -> list[str]:
    """The command line of this environment."""
    return [str(Path(sys.executable).parent / "fullcircle"), *arguments]


def said(python: Path, *arguments: str, cwd: Path) -> Any:
    """What a program of another environment prints last, as JSON."""
    done = subprocess.run(
        [str(python), *arguments], env=surroundings(python), cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{python} {arguments} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def breast_cancer() -> tuple[list[str], list[float]]:
    """Names and values of a row that the model of ``PROJECT`` can be asked for."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True).frame.drop(columns="target")
    return list(found.columns), [float(value) for value in found.iloc[0]]
