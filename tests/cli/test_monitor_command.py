"""The door of monitoring, where no turn is taken: flags that go together, and what a machine's clock needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fullcircle.cli import app

PROJECT = """
import fullcircle as fc

project = fc.Project(name="houses", data=fc.Table("houses.csv"), label="cost", features=["rooms"], fit=print)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project.py").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["monitor", "project.py", *arguments])


@pytest.mark.parametrize(
    "flags",
    [
        ("--cron", "--systemd"),
        ("--since", "2026-01-01T00:00:00Z", "--every", "1h"),
        ("--since", "2026-01-01T00:00:00Z", "--cron"),
        ("--out", "units"),
        ("--out", "units", "--cron"),
    ],
)
def test_flags_that_mean_nothing_together_are_refused(folder: Path, flags: tuple[str, ...]) -> None:
    found = invoke(*flags)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "error (setting_invalid): these flags do not go together" in found.stderr
    assert not (folder / "units").exists()


@pytest.mark.parametrize("often", ["sometimes", "0s", "-1h"])
def test_how_often_has_to_be_a_time(folder: Path, often: str) -> None:
    for more in ((), ("--cron",), ("--systemd",)):
        found = invoke(f"--every={often}", *more)
        assert (found.exit_code, found.stdout) == (2, "")
        assert "error (setting_invalid)" in found.stderr
        assert "say --every 1h" in found.stderr


def test_a_crontab_can_be_piped(folder: Path) -> None:
    found = invoke("--cron", "--every", "15m")
    assert found.exit_code == 0, found.output
    (line,) = found.stdout.splitlines()
    assert line.startswith("2-59/15 * * * * ")
    assert str(folder / "project.py") in line
    assert found.stderr == "- you type: crontab -e, and add the line\n"
    said = json.loads(invoke("--cron", "--every", "15m", "--json").stdout)
    assert (said["model"], said["text"], said["files"]) == ("houses", line, {})
    assert invoke("--cron").stdout.startswith("2 */1 * * * ")


def test_units_are_printed_or_written(folder: Path) -> None:
    printed = invoke("--systemd", "--page")
    assert printed.exit_code == 0, printed.output
    assert "OnCalendar=*-*-* 00/1:02:00 UTC" in printed.stdout
    assert '"--page"' in printed.stdout
    assert "sudo systemctl" in printed.stderr
    assert not (folder / "units").exists()
    written = invoke("--systemd", "--out", "units")
    assert written.stdout == f"written to {folder / 'units'}\n"
    names = sorted(path.name for path in (folder / "units").iterdir())
    assert names == ["fullcircle-files.json", "fullcircle-houses-monitor.service", "fullcircle-houses-monitor.timer"]
    parsed = json.loads(invoke("--systemd", "--json").stdout)
    assert sorted(parsed["files"]) == names[1:]


def test_nothing_is_made_for_that(folder: Path) -> None:
    invoke("--cron")
    invoke("--systemd")
    assert not (folder / "workspace").exists()


def test_a_project_that_is_not_there_is_wrong_use(folder: Path) -> None:
    for flags in ((), ("--cron",), ("--systemd",), ("--every", "1h")):
        found = CliRunner().invoke(app, ["monitor", "elsewhere.py", *flags])
        assert found.exit_code == 2
        assert "error (project_not_found)" in found.stderr
