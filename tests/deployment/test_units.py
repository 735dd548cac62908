"""systemd units: what they say, that systemd understands them, and that no value says more than it should."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.deployment import grammar, schedule, units
from fullcircle.deployment.target import Schedule, Service
from fullcircle.errors import TargetRefused

LOGIN = "daemon"


def service_of(folder: Path, **changes: object) -> Service:
    found = Service(
        python=Path(sys.executable), served=folder / "served.json", predictions=folder / "predictions",
        code=folder / "code", state=folder / "deployments" / "m", port=8710, models=("m",),
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def schedule_of(place: Path, **changes: object) -> Schedule:
    found = Schedule(
        command=("fullcircle", "score", "m"),
        source=str(place / "in"),
        out=str(place / "out"),
        every=3600,
        folder=place / "work",
        environment={
            "FULLCIRCLE_WORKSPACE": str(place / "workspace"),
            "FULLCIRCLE_ACTOR": '100% "me"',
            "FULLCIRCLE_LEDGER": "postgresql://me:hunter2@example.org/ledger",
        },
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def parsed(content: bytes) -> dict[str, dict[str, list[str]]]:
    """A unit by section and key, refusing every line that is neither."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in content.decode().splitlines():
        if not line or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[([A-Z][a-z]+)\]", line):
            section = match[1]
            found[section] = {}
        else:
            match = re.fullmatch(r"([A-Z][A-Za-z]+)=(.*)", line)
            assert match, line
            assert not line.endswith("\\")
            found[section].setdefault(match[1], []).append(match[2])
    return found


def read(line: str) -> list[str]:
    """A command line as systemd reads it: quotes, backslashes, then %% and $$."""
    return [one.replace("%%", "%").replace("$$", "$") for one in shlex.split(line)]


def verify(files: dict[str, bytes], folder: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    names = [str(folder / name) for name in files if name.endswith((".service", ".timer"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if any(name in line for name in files)]
    assert ours == []


def test_a_server_is_confined_and_restarted_on_failure(tmp_path: Path) -> None:
    service = service_of(tmp_path, predictions=tmp_path / "with space" / "100%" / "$HOME" / 'quo"te')
    files = units.files(service, "m", login=LOGIN)
    assert list(files) == ["fullcircle-m.service"]
    found = parsed(files["fullcircle-m.service"])["Service"]
    (command,) = found["ExecStart"]
    arguments = read(command)
    assert arguments[:4] == [str(service.python), "-I", "-m", "fullcircle.server"]
    assert arguments[arguments.index("--predictions") + 1] == str(service.predictions)
    assert (found["Type"], found["Restart"], found["User"]) == (["exec"], ["on-failure"], [LOGIN])
    for key, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "UMask": "0077"}.items():
        assert found[key] == [value]
    written = read(found["ReadWritePaths"][0])
    assert written == sorted(map(str, (service.predictions, service.code, service.state)))
    # What it needs lies in the real /tmp here: its own would hide it.
    assert found["PrivateTmp"] == ["no" if str(tmp_path).startswith("/tmp/") else "yes"]
    for path in written:
        Path(path).mkdir(parents=True, exist_ok=True)
    verify(files, tmp_path)


def test_tmp_is_its_own_where_nothing_that_it_needs_lies_there() -> None:
    service = service_of(Path("/srv/m"), python=Path("/opt/python"))
    found = parsed(units.files(service, "m", login=LOGIN)["fullcircle-m.service"])
    assert found["Service"]["PrivateTmp"] == ["yes"]


def test_a_schedule_is_a_timer_and_no_password_stands_in_it(tmp_path: Path) -> None:
    service = service_of(tmp_path, schedule=schedule_of(tmp_path))
    files = units.files(service, "m", login=LOGIN)
    assert list(files) == ["fullcircle-m-batch.service", "fullcircle-m-batch.timer", "job.json"]
    assert b"hunter2" not in b"".join(files.values())
    batch = parsed(files["fullcircle-m-batch.service"])["Service"]
    assert read(batch["ExecStart"][0])[3:] == ["fullcircle.deployment.schedule", str(service.state), "--once"]
    assert batch["Type"] == ["oneshot"]
    assert [read(one) for one in batch["Environment"]] == [
        [f"FULLCIRCLE_WORKSPACE={tmp_path / 'workspace'}"], ['FULLCIRCLE_ACTOR=100% "me"'],
    ]  # fmt: skip
    assert batch["EnvironmentFile"] == ["-/etc/fullcircle/m.env"]
    timer = parsed(files["fullcircle-m-batch.timer"])["Timer"]
    assert timer["OnUnitActiveSec"] == ["3600s"]
    assert msgspec.json.decode(files["job.json"], type=schedule.Job).every == 3600
    (tmp_path / "work").mkdir()
    verify(files, tmp_path)


@pytest.mark.parametrize(
    ("change", "model", "login"),
    [
        ({"predictions": Path("/new\nline")}, "m", LOGIN),
        ({"hosts": ("a\nExecStart=/bin/sh",)}, "m", LOGIN),
        ({"online": "redis://x\r"}, "m", LOGIN),
        ({"port": 0}, "m", LOGIN),
        ({"variables": ("A\nUser=root",)}, "m", LOGIN),
        ({}, "../m", LOGIN),
        ({}, "m\n", LOGIN),
        ({}, "m", "me\nUser=root"),
        ({}, "m", "%u"),
        ({"schedule": schedule_of(Path("/srv"), folder=Path("/a\n"))}, "m", LOGIN),
        ({"schedule": schedule_of(Path("/srv"), environment={"A": "b\nUser=root"})}, "m", LOGIN),
        ({"schedule": schedule_of(Path("/srv"), out="/a\u2028b")}, "m", LOGIN),
    ],
)  # fmt: skip
def test_what_cannot_be_written_in_one_line_is_refused(change: dict[str, object], model: str, login: str) -> None:
    with pytest.raises(TargetRefused):
        units.files(service_of(Path("/srv/m"), **change), model, login=login)


@given(st.lists(st.text(max_size=30), max_size=5))
def test_arguments_come_back_as_they_were_or_are_refused(further: list[str]) -> None:
    try:
        line = units.command(["/bin/program", *further])
    except TargetRefused:
        assert any(not grammar.ONE_LINE.fullmatch(one) for one in further)
        return
    assert "\n" not in line
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", line), "no specifier"
    assert read(line) == ["/bin/program", *further] or any("%%" in one or "$$" in one for one in further)


@pytest.mark.parametrize("batch", [False, True])
def test_what_a_model_reads_is_named_and_its_values_are_in_a_file_of_their_own(tmp_path: Path, batch: bool) -> None:
    service = service_of(
        tmp_path, variables=("API_TOKEN",), online="redis://:hunter2@cache/0",
        schedule=schedule_of(tmp_path) if batch else None,
    )  # fmt: skip
    name, content = next(iter(units.files(service, "m", login=LOGIN).items()))
    assert b"hunter2" not in content
    assert parsed(content)["Service"]["EnvironmentFile"] == ["-/etc/fullcircle/m.env"]
    (comment,) = [line for line in content.decode().splitlines() if line.startswith("# The values")]
    assert "API_TOKEN" in comment
    assert "FULLCIRCLE_ONLINE" in comment, name


def test_a_server_that_reads_nothing_has_no_file_of_values(tmp_path: Path) -> None:
    assert b"EnvironmentFile" not in units.files(service_of(tmp_path), "m", login=LOGIN)["fullcircle-m.service"]


def repeated(place: Path, /, **changes: object) -> dict[str, bytes]:
    given: dict[str, object] = {
        "arguments": (sys.executable, "-m", "fullcircle", "monitor", "50% $m"), "calendar": "hourly",
        "folder": place, "written": [place / "w"], "login": LOGIN,
        "environment": {"FULLCIRCLE_ACTOR": "me", "FULLCIRCLE_LEDGER": "postgresql://me:hunter2@example.org/l"},
        "hidden": ["FULLCIRCLE_LEDGER"], "fine": (1, 3),
    }  # fmt: skip
    return units.repeated("m", "watch", **{**given, **changes})  # type: ignore[arg-type]


def test_a_command_that_is_repeated(tmp_path: Path) -> None:
    files = repeated(tmp_path)
    assert list(files) == ["fullcircle-m-watch.service", "fullcircle-m-watch.timer"]
    assert b"hunter2" not in b"".join(files.values())
    service = parsed(files["fullcircle-m-watch.service"])["Service"]
    assert read(service["ExecStart"][0]) == [sys.executable, "-m", "fullcircle", "monitor", "50% $m"]
    assert service["SuccessExitStatus"] == ["1 3"]
    assert service["Environment"] == ['"FULLCIRCLE_ACTOR=me"']
    assert service["EnvironmentFile"] == ["-/etc/fullcircle/m.env"]
    assert service["WorkingDirectory"] == [str(tmp_path)]
    assert parsed(files["fullcircle-m-watch.timer"])["Timer"]["OnCalendar"] == ["hourly"]
    bare = parsed(repeated(tmp_path, fine=(), hidden=(), environment={})["fullcircle-m-watch.service"])["Service"]
    assert bare.keys().isdisjoint({"SuccessExitStatus", "EnvironmentFile", "Environment"})
    verify(files, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": ("/bin/a", "b\nUser=root")},
        {"arguments": ("relative",)},
        {"folder": Path("/a\nb")},
        {"written": [Path("/a\nb")]},
        {"hidden": ["A\nUser=root"]},
        {"environment": {"A": "b\nUser=root"}},
        {"login": "%u"},
    ],
)
def test_nothing_gets_into_what_is_repeated(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(TargetRefused):
        repeated(tmp_path, **change)


def test_what_to_type_names_the_units(tmp_path: Path) -> None:
    first, second, _ = units.steps(["fullcircle-m-batch.service", "fullcircle-m-batch.timer", "job.json"], tmp_path)
    assert str(tmp_path / "fullcircle-m-batch.timer") in first
    assert "job.json" not in first
    assert second.endswith("enable --now fullcircle-m-batch.timer")
