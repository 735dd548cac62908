"""What a machine's own clock needs to monitor: a line for cron that a shell runs, units that systemd understands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from fullcircle.errors import SettingInvalid, TargetRefused
from fullcircle.flows.monitoring_schedule import cron, systemd
from fullcircle.settings import SETTINGS, Settings, load

PROJECT = """
import fullcircle as fc

project = fc.Project(name="houses", data=fc.Table("houses.csv"), label="cost", features=["rooms"], fit=print)
"""
EVERY = ["1m", "2m", "3m", "5m", "15m", "30m", "1h", "6h", "12h", "24h", "1d", "7d", "1w"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my % houses"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT, encoding="utf-8")
    return folder


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for setting in SETTINGS for name in setting.env]:
        monkeypatch.delenv(name, raising=False)
    return load({"workspace": str(tmp_path / "work $HOME")}, folder=tmp_path)


def test_the_line_for_cron_is_what_a_shell_runs(project: Path, settings: Settings) -> None:
    found = cron(project, every="15m", settings=settings)
    assert found.model == "houses"
    *when, line = found.text.split(" ", 5)
    assert when == ["2-59/15", "*", "*", "*", "*"]
    assert not re.search(r"(?<!\\)%", line), "an open % is a line break to cron"
    words = shlex.split(line.replace("\\%", "%"))
    place = words.index(f">>{settings.workspace}/monitoring/cron.log")
    assert words[:place] == [
        sys.executable, "-I", "-m", "fullcircle", "monitor", str(project / "project.py"),
        "--workspace", str(settings.workspace),
    ]  # fmt: skip
    assert words[place + 1 :] == ["2>&1"]


def test_the_line_does_it(project: Path, settings: Settings) -> None:
    """As cron runs it: by sh, in another folder, with nothing in the environment."""
    settings.workspace.joinpath("monitoring").mkdir(parents=True)
    line = cron(project, settings=settings).text.split(" ", 5)[5].replace("\\%", "%")
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd="/", env={"HOME": "/nonexistent"}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")
    said = (settings.workspace / "monitoring" / "cron.log").read_text(encoding="utf-8")
    assert "error (workspace_unusable)" in said


def test_settings_travel_and_passwords_do_not(project: Path, tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@example.org/ledger"
    given = load({"workspace": "w", "ledger": url, "actor": "me % you", "blobs": "blobs"}, folder=tmp_path)
    line = cron(project, settings=given).text
    assert "hunter2" not in line
    note, rest = line.splitlines()
    assert note.startswith("#")
    assert note.endswith("FULLCIRCLE_LEDGER, FULLCIRCLE_BLOBS")
    assert "FULLCIRCLE_ACTOR='me \\% you' " in rest
    files = systemd(project, settings=given).files
    assert "hunter2" not in "".join(files.values())
    service = files["fullcircle-houses-monitor.service"]
    assert 'Environment="FULLCIRCLE_ACTOR=me %% you"' in service
    assert "EnvironmentFile=-/etc/fullcircle/houses.env" in service
    assert re.search(r"only root reads: FULLCIRCLE_LEDGER, FULLCIRCLE_BLOBS$", service, re.MULTILINE)


def test_where_alarms_are_told_has_to_be_said_again(project: Path, settings: Settings) -> None:
    """Neither cron nor systemd knows the variables of a shell."""
    monitor = 'fc.Monitor(notify=["env:CHAT", "env:MAIL", "env:CHAT", "https://example.org/hook"])'
    source = (project / "project.py").read_text(encoding="utf-8")
    source = source.replace("fit=print", f"fit=print, monitor={monitor}")
    (project / "project.py").write_text(source, encoding="utf-8")
    note, _ = cron(project, settings=settings).text.splitlines()
    assert note.endswith(": CHAT, MAIL")
    service = systemd(project, settings=settings).files["fullcircle-houses-monitor.service"]
    assert "reads: CHAT, MAIL\nEnvironmentFile=-/etc/fullcircle/houses.env\n" in service
    assert "example.org" not in service


@pytest.mark.parametrize("every", EVERY)
def test_both_begin_when_the_batch_is_over_for_a_minute(project: Path, settings: Settings, every: str) -> None:
    calendar = _calendar(systemd(project, every=every, settings=settings).files)
    assert len(cron(project, every=every, settings=settings).text.split()[:5]) == 5
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=6", calendar], capture_output=True, text=True, check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )  # fmt: skip
    stamps = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout)
    times = [datetime.fromisoformat(f"{one}+00:00") for one in dict.fromkeys(stamps)]
    gaps = {(after - before).total_seconds() for before, after in pairwise(times)}
    number, unit = int(every[:-1]), every[-1]
    seconds = number * {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert gaps == {seconds}
    monday = datetime.fromisoformat("1970-01-05T00:00:00+00:00")
    past = {(one - monday).total_seconds() % seconds for one in times}
    assert past <= {5.0, 120.0, 125.0}


@pytest.mark.parametrize("every", ["7m", "45m", "90m", "5h", "2d", "30s", "1.5h", "14d"])
def test_what_no_clock_keeps_is_refused(project: Path, settings: Settings, every: str) -> None:
    for make in (cron, systemd):
        with pytest.raises(SettingInvalid, match="no clock") as error:
            make(project, every=every, settings=settings)
        assert error.value.received == every


def test_the_units_run_the_same_and_an_alarm_is_no_failure(project: Path, settings: Settings) -> None:
    found = systemd(project, every="1h", settings=settings)
    assert list(found.files) == ["fullcircle-houses-monitor.service", "fullcircle-houses-monitor.timer"]
    service, timer = found.files.values()
    (command,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    words = [one.replace("%%", "%").replace("$$", "$") for one in shlex.split(command)]
    assert words[3:] == [
        "fullcircle", "monitor", str(project / "project.py"), "--workspace", str(settings.workspace),
    ]  # fmt: skip
    assert "\nSuccessExitStatus=1\n" in service
    assert "\nType=oneshot\n" in service
    assert "\nProtectSystem=strict\n" in service
    assert "\nReadWritePaths=" in service
    assert "\nPersistent=true\n" in timer
    assert "\nWantedBy=timers.target\n" in timer
    assert found.text == "\n".join(f"# {name}\n{content}" for name, content in found.files.items())
    assert "enable --now fullcircle-houses-monitor.timer" in " ".join(found.steps)
    assert found.written == ""


def test_systemd_understands_them(project: Path, settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "units"
    found = systemd(project, settings=settings, out=out)
    assert found.written == str(out)
    assert {name: (out / name).read_text(encoding="utf-8") for name in found.files} == found.files
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(out / name) for name in found.files)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "fullcircle-" in line] == []


def test_a_folder_of_somebody_else_is_left_alone(project: Path, settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "units"
    systemd(project, settings=settings, out=out)
    systemd(project, settings=settings, out=out, every="6h")
    unit = out / "fullcircle-houses-monitor.timer"
    assert "00/6:02:00 UTC" in unit.read_text(encoding="utf-8")
    unit.write_text("mine\n", encoding="utf-8")
    with pytest.raises(TargetRefused):
        systemd(project, settings=settings, out=out)
    assert unit.read_text(encoding="utf-8") == "mine\n"


def test_a_path_of_two_lines_is_refused(project: Path, tmp_path: Path) -> None:
    given = load({"workspace": str(tmp_path / "two\nlines")}, folder=tmp_path)
    for make in (cron, systemd):
        with pytest.raises(TargetRefused):
            make(project, settings=given)


def test_page_and_figures_are_written_each_time(project: Path, settings: Settings, tmp_path: Path) -> None:
    figures = tmp_path / "node exporter" / "houses.prom"
    words = shlex.split(cron(project, page=True, prometheus=figures, settings=settings).text.replace("\\%", "%"))
    at = words.index("--page")
    assert words[at : at + 3] == ["--page", "--prometheus", str(figures)]
    service = systemd(project, page=True, prometheus=figures, settings=settings).files
    (paths,) = re.findall(r"^ReadWritePaths=(.*)$", service["fullcircle-houses-monitor.service"], re.MULTILINE)
    assert sorted(one.replace("%%", "%") for one in shlex.split(paths)) == sorted(
        [str(figures.parent), str(settings.workspace)]
    )


def _calendar(files: object) -> str:
    assert isinstance(files, dict)
    (found,) = re.findall(r"^OnCalendar=(.*)$", files["fullcircle-houses-monitor.timer"], re.MULTILINE)
    return str(found)
