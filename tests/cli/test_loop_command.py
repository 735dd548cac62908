"""The door of the loop: ``monitor --retrain`` tells what it decided, and ends as the monitor does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.looping import houses, life
from fullcircle.cli import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A day of rows without labels, in a project that retrains every day."""
    with life(tmp_path, 'triggers=(), schedule="1d"') as found:
        found.day(houses(1), labels=False, turn=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    return tmp_path


def _monitor(*flags: str) -> Result:
    return CliRunner().invoke(app, ["monitor", "houses", *flags])


def test_it_tells_what_the_loop_decided(folder: Path) -> None:
    alone = json.loads(_monitor("--json").stdout)
    assert "step" not in alone
    first = _monitor("--retrain")
    assert first.exit_code == 0, first.output
    told = " ".join(first.stdout.split())
    assert "hold: houses version 1" in told
    assert "schedule: version 1 was promoted 24.0 hours ago" in told
    assert "held: there are no new labelled rows to learn from" in told
    again = _monitor("--retrain", "--json")
    assert again.exit_code == 0
    said = json.loads(again.stdout)
    assert said["step"]["decision"] is None, "it was tried today"
    assert {key: said[key] for key in ("model", "version", "rows")} == {"model": "houses", "version": 1, "rows": 100}
    quiet = " ".join(_monitor("--retrain").stdout.split())
    assert "loop: nothing asks for a retraining (0 labelled rows since the last decision)" in quiet


def test_a_clock_of_the_machine_carries_it_along(folder: Path) -> None:
    assert _monitor("--cron", "--retrain").stdout.split(" >>")[0].endswith(" --retrain")
    assert '"--retrain"' in _monitor("--systemd", "--retrain").stdout
    assert "--retrain" not in _monitor("--cron").stdout
