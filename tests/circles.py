"""A small project on real files, and workspaces of its own, for the tests of the flows."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fullcircle.exploration.tracking import Tracking
from fullcircle.flows.run import run
from fullcircle.ledger.folder import LOCK
from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings
from fullcircle.types.turn import Turn


@dataclass(frozen=True)
class Circle:
    """A project that went once around. Tests that share it must leave its champion as it is."""

    project: Path
    settings: Settings
    turn: Turn


PROJECT = """
import fullcircle as fc
from sklearn.ensemble import HistGradientBoostingRegressor


def fit(X, y, **params):
    return HistGradientBoostingRegressor(
        categorical_features="from_dtype", random_state=0, max_iter=40, **params
    ).fit(X, y)


def value(actual, predicted):
    return 10 - abs(actual - predicted)


def hotter(rows):
    return rows.assign(heat=rows["heat"] * 10)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "area"],
    fit=fit,
    gates=[
        fc.at_most("mae", 5),
        fc.beats("champion"),
        fc.fair(by="area", metric="mae", gap=3),
        fc.worth(per_row=value, at_least=1),
        fc.latency(p99="1s"),
        fc.size("5MB"),
    ],
    checks=["quality", "fairness", "value", "operations"],  # the others take seconds, and have tests of their own
    arrivals={"as before": lambda rows: rows, "ten times too hot": hotter},
)
"""

# The same without what is timed: timing takes seconds of every training.
UNTIMED = PROJECT.replace('        fc.latency(p99="1s"),\n        fc.size("5MB"),\n', "")
UNTIMED = UNTIMED.replace(', "operations"]', "]")

# The same with one check, for tests that are not about the report.
PLAIN = UNTIMED.replace('        fc.fair(by="area", metric="mae", gap=3),\n', "").replace(
    "        fc.worth(per_row=value, at_least=1),\n", ""
)
PLAIN = PLAIN.replace('"quality", "fairness", "value"]', '"quality"]')

# The same of a learner that is slow enough to be beaten, with a file of arrivals: few and without labels, unless a
# test writes others. In the second, version 1 waits. Tests take a ``copy`` of the workspace that either makes.
STILL = PLAIN.replace("    fit=fit,", '    fit=fit,\n    params={"learning_rate": 0.05},').replace(
    'arrivals={"as before": lambda rows: rows, "ten times too hot": hotter}',
    'arrivals={"next year": fc.Table("later.csv")}',
)
WAITING = STILL.replace("    arrivals=", '    approve="person",\n    arrivals=')


TURN = "turn.json"
# Where MLflow keeps what is moved with the workspace.
_MOVED = (
    "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
    "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
    "UPDATE model_versions SET source = replace(source, ?, ?)",
    "UPDATE model_versions SET storage_location = replace(storage_location, ?, ?)",
)


def houses(seed: int = 7, rows: int = 400, shift: float = 0.0) -> str:
    """A CSV of houses: cost follows rooms, heat and area, with noise."""
    rng = np.random.default_rng(seed)
    rooms = rng.integers(1, 9, rows)
    heat = rng.normal(20, 3, rows).round(2)
    area = rng.choice(["north", "south", "west"], rows)
    cost = 3 * rooms + 0.5 * heat + 2 * (area == "south") + shift + rng.normal(0, 1, rows)
    lines = ["rooms,heat,area,cost"]
    lines += [f"{r},{h},{a},{c:.4f}" for r, h, a, c in zip(rooms, heat, area, cost, strict=True)]
    return "\n".join(lines) + "\n"


def write_project(folder: Path, text: str = UNTIMED, data: str | None = None) -> Path:
    """A project folder with its data; returns the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "houses.csv").write_text(houses() if data is None else data)
    (folder / "project.py").write_text(textwrap.dedent(text))
    return folder / "project.py"


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "mlflow.db"
        Tracking(f"sqlite:///{path}").leaderboard("none")
        return path.read_bytes()


def begun(root: Path) -> None:
    """A workspace that was begun at ``root``, with MLflow's tables: making them takes over a second of a core."""
    if not root.exists():
        root.mkdir(parents=True)
        (root / LOCK).touch()
        tables(root / "mlflow.db")


def tables(path: Path) -> str:
    """Write MLflow's empty tables to ``path``, and return the URL of that database."""
    path.write_bytes(_tables())
    return f"sqlite:///{path}"


def settings(folder: Path, **flags: str) -> Settings:
    """Settings of a workspace that is begun in ``folder``, with a signing key of its own and any free port."""
    if "workspace" not in flags:
        begun(folder / "workspace")
    return unbegun(folder, **flags)


def unbegun(folder: Path, **flags: str) -> Settings:
    """The same, and there is no workspace yet."""
    values: dict[str, str | None] = {
        "workspace": str(folder / "workspace"),
        "config": str(folder / "config"),
        "port": "0",
    }
    return load_settings({**values, **flags}, folder=folder)


def shared(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of this run of the tests, one for all processes that take part."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def copy(factory: pytest.TempPathFactory, text: str, folder: Path) -> Circle:
    """A project that went once around, by ada, and its server ended: a workspace of one's own in ``folder``."""
    whole = _whole(factory, text)
    shutil.copytree(whole, folder, symlinks=True, dirs_exist_ok=True)
    with closing(sqlite3.connect(folder / "workspace" / "mlflow.db")) as tables, tables:
        for update in _MOVED:
            tables.execute(update, (whole.as_uri(), folder.as_uri()))
    turn = msgspec.json.decode((folder / TURN).read_bytes(), type=Turn)
    return Circle(folder / "houses" / "project.py", settings(folder), turn)


def _whole(factory: pytest.TempPathFactory, text: str) -> Path:
    """What ``copy`` copies: the first process that asks makes it, and the others wait."""
    whole = shared(factory) / f"circle-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with open(whole.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (whole / TURN).exists():
            shutil.rmtree(whole, ignore_errors=True)  # what a process left that failed
            project = write_project(whole / "houses", text)
            rows = houses(seed=1, rows=5).splitlines()
            (whole / "houses" / "later.csv").write_text("".join(f"{row.rpartition(',')[0]}\n" for row in rows))
            turn = run(project, settings=settings(whole, actor="ada"), stop=True)
            (whole / TURN).write_bytes(msgspec.json.encode(turn))
    return whole


@contextmanager
def surroundings(factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder of environments for all workspaces: building one takes seconds, and they are all alike."""
    folder = shared(factory) / "environments"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FULLCIRCLE_ENVIRONMENTS", str(folder))
        for name in ("FULLCIRCLE_WORKSPACE", "MLFLOW_TRACKING_URI", "FULLCIRCLE_MLFLOW"):
            patch.delenv(name, raising=False)
        yield
