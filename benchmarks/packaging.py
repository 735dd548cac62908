"""How long a model takes to become a proven bundle, how fast one is verified, how large its image is.

The example is examples/diabetes, uv's cache is warm: everything is done once before it is timed. The peer is MLflow,
in an environment of its own, with a model of the same kind; it logs, and answers once in an environment that it makes
from what it wrote down. It proves nothing by that: what is compared is what a person waits for.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.peers.talking import environment
from benchmarks.rows import ROOT, Row, locked, once

BIN = Path(sys.executable).parent
FULLCIRCLE = str(BIN / "fullcircle")
EXAMPLE = "examples/diabetes"
LARGE = 20_000_000  # bytes of the bundle that is verified
TIMES = 15
PEER = Path(__file__).parent / "peers" / "packaging_mlflow.py"


def rows() -> list[Row]:
    """All measurements, with fresh environments and workspaces in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fullcircle-packaging-") as name:
        folder = Path(name)
        peer = _peer(folder)
        env = {
            "FULLCIRCLE_WORKSPACE": str(folder / "workspace"),
            "FULLCIRCLE_CONFIG": str(folder / "config"),
            "FULLCIRCLE_PORT": "0",
        }
        once([FULLCIRCLE, "train", EXAMPLE], env=env, cwd=ROOT)
        packaged = [_packaged(env, folder / f"environments{number}") for number in range(3)][1:]
        bundle = _bundle(folder / "workspace")
        return [
            Row(
                what="package and prove examples/diabetes",
                unit="s",
                ours=statistics.median(packaged),
                goal=20,
                peer=peer["logged"] + peer["answered"],
                peer_name="mlflow log_model, then predict with env_manager=uv",
            ),
            Row(
                what="the same, beside logging alone with its requirements given",
                unit="s",
                ours=statistics.median(packaged),
                goal=20,
                peer=peer["given"],
                peer_name="mlflow log_model with pip_requirements",
            ),
            _clean(bundle, folder, peer["answered"]),
            _verified(bundle),
            *_images(bundle, folder / "environments2"),
            _reproduced(env),
            _adopted(folder),
        ]


def _packaged(env: dict[str, str], environments: Path) -> float:
    """A whole process, with no environment there yet."""
    return once([FULLCIRCLE, "package", EXAMPLE], env={**env, "FULLCIRCLE_ENVIRONMENTS": str(environments)}, cwd=ROOT)


def _bundle(workspace: Path) -> bytes:
    """The archive of the last version."""
    from fullcircle.ledger.workspace import Workspace
    from fullcircle.settings import load

    with Workspace.open(load({"workspace": str(workspace)}), create=False) as opened:
        *_, last = opened.ledger.facts("version.registered")
        return opened.blobs.get(str(last.body["bundle"]))


def _clean(archive: bytes, folder: Path, peer: float) -> Row:
    """The environment alone, from uv's cache."""
    from fullcircle.packaging import proof
    from fullcircle.packaging.bundle import open_bundle

    bundle = open_bundle(archive)
    seconds = [_timed(partial(proof.environment, bundle, folder / f"clean{number}")) for number in range(3)]
    return Row(
        what="clean environment from a warm cache",
        unit="s",
        ours=statistics.median(seconds),
        goal=10,
        peer=peer,
        peer_name="mlflow predict with env_manager=uv, first time",
    )


def _verified(archive: bytes) -> Row:
    """Read and audit a bundle of 20 MB; most of it is the model's file, of which nothing can be packed smaller."""
    from fullcircle.packaging.bundle import build, open_bundle, pack
    from fullcircle.types.prediction import Prediction

    known = open_bundle(archive)
    (wheel,) = [name for name in known.files if name.startswith("wheels/")]
    golden = [
        (
            one.row,
            Prediction(value=one.value, verdict=one.verdict, probabilities=one.probabilities, inputs=one.inputs),
        )
        for one in known.golden
    ]
    large = build(
        model=known.manifest.model,
        runtime=known.manifest.runtime,
        saved=replace(known.saved, data=os.urandom(LARGE - len(archive))),
        contract=known.contract,
        golden=golden,
        profile=known.profile,
        lock=known.lock,
        wheel=(wheel.rpartition("/")[2], known.files[wheel]),
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bundle.zip"
        path.write_bytes(pack(large))
        assert abs(path.stat().st_size - LARGE) < LARGE / 20
        seconds = [_timed(lambda: open_bundle(path.read_bytes())) for _ in range(TIMES + 1)][1:]
    return Row(what="verify a bundle of 20 MB", unit="ms", ours=statistics.median(seconds) * 1e3, goal=50)


def _images(archive: bytes, environments: Path) -> list[Row]:
    """Estimated from the locks, as `deploy --to container --plan` tells it."""
    from fullcircle.deployment.sizes import estimate
    from fullcircle.packaging.bundle import open_bundle
    from fullcircle.packaging.proof import key

    bundle = open_bundle(archive)
    (site,) = (environments / key(bundle)).glob("lib/python*/site-packages")
    found = [
        Row(what="container, compressed", unit="MB", ours=_size(estimate(bundle.lock, len(archive), site)), goal=250)
    ]
    if bundle.compiled_lock is not None:
        size = _size(estimate(bundle.compiled_lock, len(archive), site))
        found.append(Row(what="container in compiled form, compressed", unit="MB", ours=size, goal=150))
    return found


def _size(estimate: object) -> float:
    unknown = getattr(estimate, "unknown", ())
    assert not unknown, f"not counted: {unknown}"
    return float(getattr(estimate, "total")) / 1e6  # noqa: B009


def _reproduced(env: dict[str, str]) -> Row:
    """Fitted again in a clean environment of all that it was trained with; it ends with 0 for the same bits only."""
    once([FULLCIRCLE, "promote", "diabetes", "--version", "1"], env=env, cwd=ROOT)
    seconds = once([FULLCIRCLE, "reproduce", "diabetes"], env=env, cwd=ROOT)
    return Row(what="reproduce examples/diabetes, the same bits", unit="s", ours=seconds, goal=60)


def _adopted(folder: Path) -> Row:
    """From the peer's model in MLflow's registry to a proven version, its environment included."""
    work = folder / "mlflow-work"
    env = {
        "FULLCIRCLE_WORKSPACE": str(folder / "adopted"),
        "FULLCIRCLE_CONFIG": str(folder / "config"),
        "FULLCIRCLE_MLFLOW": f"sqlite:///{work}/mlflow.db",
    }
    asked = ["models:/diabetes/1", "--data", str(work / "table.parquet"), "--label", "target", "--name", "taken"]
    seconds = once([FULLCIRCLE, "adopt", *asked, "--out", str(folder / "taken")], env=env, cwd=folder)
    return Row(what="adopt a model from MLflow, to a proven version", unit="s", ours=seconds, goal=60)


def _peer(folder: Path) -> dict[str, float]:
    """What MLflow needs, in an environment of its own; everything once before it is timed."""
    wanted = [f"mlflow=={locked('mlflow-skinny')}", f"scikit-learn=={locked('scikit-learn')}"]
    python = environment(folder / "mlflow", [*wanted, "uv", "virtualenv"])
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [python, PEER, folder / "mlflow-work"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
