"""``fullcircle rehearse`` on a feature view; stopped by Ctrl-C, the same command goes on, to the same end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from flows import forked, histories, rehearsed, test_view_turn
from fullcircle.flows import rehearse as flow
from fullcircle.types.loop import Rehearsal

SINCE = "2025-04-07"
TEXT = test_view_turn.PROJECT.replace(
    """HistGradientBoostingRegressor(random_state=0, max_iter=30).fit(X, y)""",
    """make_pipeline(SimpleImputer(), DecisionTreeRegressor(max_depth=5, random_state=0)).fit(X, y)""",
).replace("from sklearn.ensemble import HistGradientBoostingRegressor\n", """from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor
""").replace("    arrivals={", """    label_delay="12h", monitor=fc.Monitor(window="2d", false_alerts="4 per year"),
    retrain=fc.Retrain(triggers=(), rows=100),
    arrivals={""")  # fmt: skip


def _project(folder: Path) -> Path:
    """Shops whose prices stay as they are, so that no contract flags them."""
    folder.mkdir(parents=True)
    test_view_turn.write(folder)
    prices = pd.read_csv(folder / "prices.csv")
    prices.assign(price=10.0 + prices["item"]).to_csv(folder / "prices.csv", index=False)
    (folder / "project.py").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _project(tmp_path_factory.mktemp("view") / "shops")


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> Rehearsal:
    return flow.rehearse(project, since=SINCE, workers=0, settings=histories.settings(project.parent))


def test_a_feature_view_is_rehearsed_on_what_was_known(undisturbed: Rehearsal, project: Path) -> None:
    loop, never = undisturbed.policies[:2]
    assert undisturbed.first > 200
    assert undisturbed.rows == sum(window.rows for window in loop.windows) > 200
    assert loop.trained >= 1
    assert never.trained == 0
    assert any("by the tables as they are today" in note for note in undisturbed.notes)
    made = [each.step for each in loop.told if each.step is not None and each.step.learned]
    assert made
    assert {each.on for each in made[0].differences} == {"fresh", "frozen"}
    workspace = project.parent / "workspace"
    assert not (workspace / "features").exists(), "the tables were read in a workspace that was thrown away"
    assert [path.name for path in (workspace / "rehearsals").iterdir() if path.name.startswith(".")] == []


class Command:
    """``fullcircle rehearse`` in a process group of its own, as a terminal has it."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "FULLCIRCLE_CONFIG": str(folder / "config"), "OMP_NUM_THREADS": "1"}
        words = ["rehearse", str(project), "--since", SINCE, "--workspace", str(folder / "workspace"), "--json"]
        self.process = forked.command(*words, env=self.env)

    def kept(self) -> list[Path]:
        """What policies kept of their state."""
        return list((self.folder / "workspace" / "rehearsals").glob("*/*/kept-*/state.json"))

    def at_work(self) -> list[int]:
        """The processes that play, or begin to."""
        mark, found = f"FULLCIRCLE_CONFIG={self.folder / 'config'}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                words = (path.parent / "cmdline").read_bytes()
                if mark in path.read_bytes().split(b"\0") and b"flows.rehearsal.worker" in words:
                    found.append(int(path.parent.name))
        return found

    def wait_for(self, begun: Callable[[Command], object]) -> None:
        """Until it has come so far."""
        deadline = time.monotonic() + 120
        while not begun(self):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def interrupt(self) -> tuple[str, str]:
        """Ctrl-C: every process of the terminal hears it."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.communicate(timeout=60)


def test_ctrl_c_stops_it_and_the_same_command_goes_on(undisturbed: Rehearsal, project: Path, tmp_path: Path) -> None:
    """Once as its processes begin, and once while they play."""
    for begun in (Command.at_work, Command.kept):
        command = Command(project, tmp_path)
        command.wait_for(begun)
        time.sleep(0.7)  # what begins imports then
        out, errors = command.interrupt()
        assert command.process.returncode == 130
        assert errors == "interrupted: nothing was left half-done; the same command goes on from here\n"
        assert out == ""
        assert command.at_work() == []
    (home,) = (tmp_path / "workspace" / "rehearsals").iterdir()
    assert (home / "history" / "index.json").exists()
    assert command.kept(), "what it goes on from"

    again = Command(project, tmp_path)
    out, errors = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, errors
    assert [path.name for path in home.parent.iterdir()] == [home.name]
    found, expected = json.loads(out), rehearsed.plain(undisturbed)
    assert {**found, "seconds": 0, "page": ""} == {**expected, "seconds": 0, "page": ""}
