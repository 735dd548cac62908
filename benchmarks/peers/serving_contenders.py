"""Who answers one row in the serving benchmark: ours, ours answering a constant, and its peers."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.peers.servers import Asked, Server, free_port, running, surroundings
from benchmarks.peers.serving_project import Site, breast_cancer
from benchmarks.peers.talking import PROGRAMS, environment
from benchmarks.rows import locked, once

MODELS = PROGRAMS / "serving_models.py"
MLSERVER, LITSERVE, BENTOML = "1.7.1", "0.2.19", "1.4.39"
PEERS = {
    "mlserver": [f"mlserver=={MLSERVER}", f"mlserver-sklearn=={MLSERVER}"],
    "mlflow": [f"mlflow=={locked('mlflow-skinny')}"],
    "litserve": [f"litserve=={LITSERVE}"],
    "bentoml": [f"bentoml=={BENTOML}"],
}


def contenders(
    folder: Path, sites: Mapping[str, Site], peers: Mapping[str, Path]
) -> dict[str, AbstractContextManager[Asked]]:
    """All servers that answer one row, each still to be started; ``peers`` is what ``environments`` made."""
    names, values = breast_cancer()
    row = dict(zip(names, values, strict=True))
    x = {"x": [values]}
    chances = {"outputs": [{"name": "predict_proba"}]}
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP64", "data": values}
    split = {"dataframe_split": {"columns": names, "data": [values]}}
    return {
        "native": _ours(folder, sites["native"], row),
        "compiled": _ours(folder, sites["compiled"], row),
        "constant": _constant(folder, sites["native"], row),
        "mlserver": mlserver(folder, peers["mlserver"], {"inputs": [tensor], **chances}),
        "mlflow": _mlflow(folder, peers["mlflow"], "signed", split),
        "mlflow, bare": _mlflow(folder, peers["mlflow"], "plain", {"inputs": [values]}),
        "litserve": _litserve(folder, peers["litserve"], x),
        "bentoml": _bentoml(folder, peers["bentoml"], x),
    }


def environments(folder: Path) -> dict[str, Path]:
    """The Python of each peer's environment, by its name."""
    return {
        name: environment(folder / name, [*wanted, f"scikit-learn=={locked('scikit-learn')}"])
        for name, wanted in PEERS.items()
    }


def asking(path: str, document: object) -> Asked:
    """What is sent to a server at a port that is free now."""
    return Asked(port=free_port(), path=path, body=json.dumps(document).encode())


@contextmanager
def _ours(folder: Path, site: Site, row: Mapping[str, float]) -> Iterator[Asked]:
    asked = asking(f"/predict/{site.model}", {"rows": [row]})
    with serving(folder, site, asked) as server:
        assert server.wait(asked, 1.0).count(b'"ok"') == 1, "the row is not answered as it should be"
        yield asked


@contextmanager
def serving(folder: Path, site: Site, asked: Asked) -> Iterator[Server]:
    """Our server, with a prediction log of its own."""
    place = Path(tempfile.mkdtemp(dir=folder, prefix=f"{site.folder.name}-"))
    line = site.command(asked.port, place / "predictions")
    with running(line, asked, env=surroundings(site.python), folder=place, name="server") as server:
        yield server


@contextmanager
def _constant(folder: Path, site: Site, row: Mapping[str, float]) -> Iterator[Asked]:
    asked = asking("/", {"rows": [row]})
    line = [str(site.python), str(PROGRAMS / "serving_constant.py"), str(asked.port)]
    with running(line, asked, env=surroundings(site.python), folder=folder, name="constant"):
        yield asked


@contextmanager
def mlserver(folder: Path, python: Path, document: object) -> Iterator[Asked]:
    """MLServer with the model of the benchmark, under the name m."""
    asked = asking("/v2/models/m/infer", document)
    home = folder / "mlserver-model"
    _run(python, str(MODELS), "mlserver", str(asked.port), str(free_port()), str(free_port()), cwd=home)
    line = [str(python.parent / "mlserver"), "start", "."]
    with running(line, asked, env=surroundings(python), folder=home, name="server"):
        yield asked


@contextmanager
def _mlflow(folder: Path, python: Path, kind: str, document: object) -> Iterator[Asked]:
    asked = asking("/invocations", document)
    home = folder / f"mlflow-{kind}"
    env = surroundings(python, {"MLFLOW_DISABLE_TELEMETRY": "true", "UVICORN_ACCESS_LOG": "false"})
    _run(python, str(MODELS), "mlflow", kind, cwd=home)
    line = [str(python.parent / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local"]
    with running([*line, "-p", str(asked.port), "--workers", "1"], asked, env=env, folder=home, name="server"):
        yield asked


@contextmanager
def _litserve(folder: Path, python: Path, document: object) -> Iterator[Asked]:
    asked = asking("/predict", document)
    home = folder / "litserve-model"
    _run(python, str(MODELS), "pickle", cwd=home)
    line = [str(python), str(PROGRAMS / "serving_litserve.py"), str(asked.port)]
    with running(line, asked, env=surroundings(python), folder=home, name="server"):
        yield asked


@contextmanager
def _bentoml(folder: Path, python: Path, document: object) -> Iterator[Asked]:
    asked = asking("/predict", document)
    home = folder / "bentoml-model"
    _run(python, str(MODELS), "pickle", cwd=home)
    shutil.copy(PROGRAMS / "serving_bentoml.py", home)
    quiet = {"BENTOML_CONFIG_OPTIONS": "services.logging.access.enabled=false"}
    env = surroundings(python, {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(home), **quiet})
    line = [str(python.parent / "bentoml"), "serve", "serving_bentoml:Service", "--host", "127.0.0.1"]
    with running([*line, "--port", str(asked.port)], asked, env=env, folder=home, name="server"):
        yield asked


def _run(python: Path, *arguments: str, cwd: Path) -> None:
    cwd.mkdir(exist_ok=True)
    once([str(python), *arguments], env=surroundings(python), cwd=cwd)
