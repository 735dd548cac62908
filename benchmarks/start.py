"""How fast one gets going: the command line, one turn of the circle, a fresh clone, the size of the base install.

The peer is MLflow, in an environment of its own. It does other things than we do; what is compared is what a person
waits for after typing --help or import.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import ROOT, Row, locked, median, once, size_of

BIN = Path(sys.executable).parent


def rows() -> list[Row]:
    """All measurements, with fresh environments and workspaces in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fullcircle-bench-") as name:
        folder = Path(name)
        mlflow = _environment(folder / "mlflow", [f"mlflow=={locked('mlflow-skinny')}"])
        return [
            *_light(mlflow),
            _turn(folder),
            _clone(folder),
            _base(folder),
        ]


def _light(mlflow: Path) -> list[Row]:
    show = median([str(BIN / "fullcircle"), "--help"])
    peer_show = median([str(mlflow / "mlflow"), "--help"], times=3)
    # What the interpreter needs by itself is part of what one waits for, on both sides.
    load = median([sys.executable, "-c", "import fullcircle"])
    peer_load = median([str(mlflow / "python"), "-c", "import mlflow"], times=3)
    return [
        Row(what="--help", unit="ms", ours=show * 1e3, goal=200, peer=peer_show * 1e3, peer_name="mlflow --help"),
        Row(what="import", unit="ms", ours=load * 1e3, goal=100, peer=peer_load * 1e3, peer_name="import mlflow"),
    ]


def _turn(folder: Path) -> Row:
    """A first turn, in a new workspace; uv's cache is warm after make setup."""
    workspace = folder / "workspace"
    env = {
        "FULLCIRCLE_WORKSPACE": str(workspace),
        "FULLCIRCLE_CONFIG": str(folder / "config"),
        "FULLCIRCLE_PORT": "0",
    }
    seconds = once([str(BIN / "fullcircle"), "run", "examples/diabetes", "--stop"], env=env, cwd=ROOT)
    return Row(what="run examples/diabetes", unit="s", ours=seconds, goal=40)


def _clone(folder: Path) -> Row:
    """What a newcomer waits for: make demo in a fresh clone of what is committed, with an empty uv cache."""
    clone = folder / "clone"
    once(["git", "clone", "--quiet", str(ROOT), str(clone)])
    env = {
        "UV_CACHE_DIR": str(folder / "cache"),
        "FULLCIRCLE_CONFIG": str(folder / "config-clone"),
        "FULLCIRCLE_WORKSPACE": str(clone / ".fullcircle"),
        "FULLCIRCLE_PORT": "0",
    }
    try:
        seconds = once(["make", "demo"], env=env, cwd=clone)
    finally:
        command = clone / ".venv" / "bin" / "fullcircle"
        if command.exists():
            once([str(command), "deploy", "diabetes", "--stop"], env=env, cwd=clone)
    return Row(what="make demo from a clean clone", unit="s", ours=seconds, goal=180)


def _base(folder: Path) -> Row:
    """The serving runtime on disk: the built wheel with its base dependencies, as Python installs them."""
    uv = str(BIN / "uv")
    once([uv, "build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(ROOT)])
    (wheel,) = (folder / "dist").glob("*.whl")
    _environment(folder / "base", [str(wheel)])
    return Row(what="base install", unit="MB", ours=size_of(folder / "base") / 1e6, goal=150)


def _environment(folder: Path, requirements: Sequence[str]) -> Path:
    """A fresh environment with these requirements; returns its folder of programs."""
    uv = str(BIN / "uv")
    once([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    # Copied, so that the size measured is what a disk without uv's cache holds.
    install = [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--python", str(folder / "bin" / "python")]
    once([*install, *requirements], env={"VIRTUAL_ENV": str(folder)})
    return folder / "bin"
