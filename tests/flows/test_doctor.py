"""Doctor: this machine, the workspace, and what a model needs; and what deploying does with it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import circles
from bundle_samples import sample
from circles import UNTIMED
from fullcircle.deployment import client, keeper, process
from fullcircle.deployment.keeper import Note, Told
from fullcircle.development.loading import load
from fullcircle.errors import NeedUnmet, ProjectNotFound, ServerFailed
from fullcircle.flows import deploy, going_back, needs
from fullcircle.flows.doctor import Diagnosis, doctor
from fullcircle.flows.doctor_machine import available_memory, behind, checks
from fullcircle.flows.session import Session, opened
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import open_bundle
from fullcircle.settings import Settings
from fullcircle.types.bundle import Proof
from fullcircle.types.needs import Checked, Need
from fullcircle.types.report import Finding, Measure, Report
from needed import dead
from sample_models import archive

NEEDY = UNTIMED.replace(
    "    arrivals={",
    '    requires={{\n        "token": {{"kind": "secret", "at": "HOUSES_TOKEN"}},\n'
    '        "prices": {{"kind": "file", "at": "env:HOUSES_PRICES"}},\n'
    '        "extra": {{"kind": "url", "at": "http://127.0.0.1:{port}/", "optional": True}},\n    }},\n'
    "    arrivals={{",
).replace('"as before": lambda rows: rows, "ten times too hot": hotter}', "}}")


def line(found: Diagnosis, name: str) -> Checked:
    (one,) = [one for one in found.checks if one.name == name]
    return one


def names(found: Diagnosis, status: str) -> list[str]:
    return [one.name for one in found.checks if one.status == status]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("FULLCIRCLE_ENVIRONMENTS", str(tmp_path / "environments"))
    return circles.unbegun(tmp_path)


@pytest.fixture
def workspace(alone: Settings) -> Settings:
    with opened(alone):
        return alone


class TestTheMachine:
    def test_without_a_workspace_none_is_made(self, alone: Settings, tmp_path: Path) -> None:
        found = doctor(settings=alone)
        assert found.well
        assert {"python", "disk", "memory", "clock", "uv", "port", "workspace", "folder temporary"} <= {
            one.name for one in found.checks
        }
        assert list(tmp_path.iterdir()) == []
        assert found.about == str(alone.workspace)

    def test_a_shared_ledger_is_asked_before_there_is_a_folder(self, tmp_path: Path) -> None:
        settings = circles.unbegun(tmp_path, ledger=f"postgresql://me:geheim@127.0.0.1:{dead()}/ledger")
        found = doctor(settings=settings)
        assert "nothing listens" in line(found, "ledger").what
        assert "geheim" not in repr(found)
        assert not settings.workspace.exists()

    def test_whatever_is_to_be_done_is_said(self, alone: Settings) -> None:
        folders = {"workspace": Path("/proc/none"), "temporary": Path("/tmp")}
        found = list(checks(alone, folders))
        (one,) = [one for one in found if one.name == "folder workspace"]
        assert (one.status, "/proc" in one.received) == ("failed", True)
        assert all(one.next_step for one in found if one.status in ("warn", "failed"))
        assert all(not one.next_step for one in found if one.status == "ok")

    def test_memory_is_what_the_control_group_leaves(self, tmp_path: Path) -> None:
        told = tmp_path / "meminfo"
        told.write_text("MemTotal: 9000000 kB\nMemAvailable: 4000000 kB\n")
        assert available_memory(tmp_path, told) == 4_096_000_000
        (tmp_path / "memory.max").write_text("max\n")
        assert available_memory(tmp_path, told) == 4_096_000_000
        (tmp_path / "memory.max").write_text("1000000000\n")
        (tmp_path / "memory.current").write_text("900000000\n")
        assert available_memory(tmp_path, told) == 100_000_000
        (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000000\n")
        assert available_memory(tmp_path, told) == 400_000_000, "what was only read is given back"
        (tmp_path / "memory.stat").unlink()
        (tmp_path / "memory.current").write_text("1900000000\n")
        assert available_memory(tmp_path, tmp_path / "no") == 0
        assert available_memory(tmp_path / "no", tmp_path / "no") is None

    def test_a_clock_that_was_set_back(self) -> None:
        now = time.time()
        assert behind({}).status == "ok"
        assert behind({"fact 3": now + 2, "a file": now - 9e9}).status == "ok"
        found = behind({"fact 3": now + 60, "a file": now + 4000})
        assert (found.status, "a file" in found.what) == ("failed", True)
        assert found.received.startswith("4000 seconds") or found.received.startswith("3999")

    def test_a_library_that_the_settings_need(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = circles.unbegun(tmp_path, online="redis://cache/0", blobs="s3://bucket/x")
        monkeypatch.setitem(sys.modules, "s3fs", None)
        found = {one.name: one for one in checks(settings, {"temporary": tmp_path})}
        assert found["library s3fs"].status == "failed"
        assert found["library s3fs"].next_step == "pip install s3fs"
        monkeypatch.setitem(sys.modules, "redis", None)
        (missing,) = [one for one in checks(settings, {"temporary": tmp_path}) if one.name == "library redis"]
        assert "fullcircle[redis]" in missing.next_step

    def test_a_port_of_another_program(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            found = doctor(settings=circles.unbegun(tmp_path, port=str(port)))
        assert line(found, "port").status == "warn"
        assert str(port) in line(found, "port").what
        assert found.well


class TestTheWorkspace:
    def test_one_that_is_well(self, workspace: Settings) -> None:
        found = doctor(settings=workspace)
        assert found.well
        assert "1 facts hold together" in line(found, "ledger").what
        assert "first run" in line(found, "mlflow").what
        assert line(found, "clock and records").status == "ok"

    def test_a_ledger_that_does_not_hold(self, workspace: Settings) -> None:
        with closing(sqlite3.connect(workspace.workspace / "ledger.db")) as ledger:
            tables = [row[0] for row in ledger.execute("select name from sqlite_master where type = 'table'")]
            (facts,) = [
                name for name in tables if "body" in [c[1] for c in ledger.execute(f"pragma table_info({name})")]
            ]
            for trigger in ledger.execute("select name from sqlite_master where type = 'trigger'").fetchall():
                ledger.execute(f"drop trigger {trigger[0]}")
            ledger.execute(f"update {facts} set body = replace(body, 'e', 'a')")  # noqa: S608 - a name of ours
            ledger.commit()
        found = doctor(settings=workspace)
        assert not found.well
        assert line(found, "ledger").next_step

    def test_files_of_the_future(self, workspace: Settings) -> None:
        later = time.time() + 3600
        os.utime(workspace.workspace / "ledger.db", (later, later))
        found = doctor(settings=workspace)
        assert names(found, "failed") == ["clock and records"]
        assert "ledger.db" in line(found, "clock and records").what

    def test_a_link_to_nothing_is_no_record(self, workspace: Settings) -> None:
        (workspace.workspace / "left").symlink_to(workspace.workspace / "nothing")
        assert line(doctor(settings=workspace), "clock and records").status == "ok"

    def test_an_mlflow_that_nobody_reaches(self, workspace: Settings, tmp_path: Path) -> None:
        settings = circles.unbegun(tmp_path, mlflow=f"http://me:geheim@127.0.0.1:{dead()}")
        found = doctor(settings=settings)
        assert line(found, "mlflow").status == "failed"
        assert "geheim" not in repr(found)

    def test_what_is_no_workspace(self, tmp_path: Path, alone: Settings) -> None:
        alone.workspace.mkdir()
        (alone.workspace / "own.txt").write_text("mine")
        found = doctor(settings=alone)
        assert line(found, "workspace").status == "failed"
        assert line(found, "workspace").next_step


class TestBeforeDeploy:
    def test_nothing_is_asked_where_nothing_is_needed(self, workspace: Settings) -> None:
        with opened(workspace) as session:
            needs.before_deploy(session, sample(), Path("/no/python"))

    def test_every_need_that_is_not_there_is_named_with_what_to_do(
        self, workspace: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DB", f"postgresql://me:geheim@127.0.0.1:{dead()}/x")
        wanted = (
            Need(name="warehouse", kind="database", at="env:DB"),
            Need(name="store", kind="features"),
            Need(name="extra", kind="file", at="/no/file", optional=True),
        )
        with opened(workspace) as session, pytest.raises(NeedUnmet) as found:
            needs.before_deploy(session, sample(requires=wanted), Path(sys.executable))
        said = str(found.value)
        assert "warehouse, store" in said
        assert "extra" not in said
        assert "geheim" not in said
        assert (found.value.code, found.value.exit_code) == ("need_unmet", 1)
        assert found.value.next_step

    def test_what_is_known_is_not_asked_again(self, workspace: Settings, tmp_path: Path) -> None:
        known = Need(name="a", kind="file", at=str(tmp_path / "none"))
        further = Need(name="b", kind="file", at=str(tmp_path / "none"))
        with opened(workspace) as session:
            needs.before_deploy(session, sample(requires=(known,)), Path("/no/python"), known=(known,))
            with pytest.raises(NeedUnmet) as found:
                needs.before_deploy(session, sample(requires=(known, further)), Path(sys.executable), known=(known,))
        assert found.value.what.endswith("needs what is not there: b")

    def test_an_environment_that_cannot_check_is_no_yes(self, workspace: Settings) -> None:
        wanted = (Need(name="a", kind="file", at="/etc/passwd"),)
        with opened(workspace) as session, pytest.raises(NeedUnmet, match="needs what is not there"):
            needs.before_deploy(session, sample(requires=wanted), Path("/bin/false"))


@dataclass(frozen=True)
class House:
    project: Path
    settings: Settings


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A project with needs, and a version of it that is champion; its environment is this one.

    A whole turn takes many times as long, and doctor looks at nothing that is not here.
    """
    folder = tmp_path_factory.mktemp("needy")
    project = circles.write_project(folder / "houses", NEEDY.format(port=dead()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FULLCIRCLE_ENVIRONMENTS", str(folder / "environments"))
        patch.delenv("HOUSES_TOKEN", raising=False)
        patch.delenv("HOUSES_PRICES", raising=False)
        settings = circles.unbegun(folder)
        before = doctor(project, settings=settings)
        assert not settings.workspace.exists()
        assert names(before, "failed") == ["token", "prices"]
        assert {"champion", "extra"} <= set(names(before, "warn"))
        with opened(settings) as session:
            champion(session, archive(1, "houses", load(project).project.needs, compiled=True))
        yield House(project, settings)
        with opened(settings, create=False) as session:
            deploy.remove_in(session, "houses", "a test")


def champion(session: Session, data: bytes, version: int = 1, proof: str | None = None) -> Path:
    """Make it champion, as packaging and promoting would. Returns the Python of its environment."""
    bundle = open_bundle(data)
    python = session.workspace.environments / proofs.key(bundle) / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    blob = session.workspace.blobs.put(data)
    measured = Finding(
        check="operations", code="E005", title="", severity="info", text="",
        measures=(Measure(name="model_bytes", value=5000.0), Measure(name="latency_p99_ms", value=2.0)),
    )  # fmt: skip
    report = session.keep(Report(subject="houses", findings=(measured,)))
    parts: dict[str, Any] = {"run": "r" * 32, "snapshot": blob, "proof": proof or blob, "report": report}
    session.record("bundle.built", model="houses", run=parts["run"], bundle=blob, bytes=len(data))
    session.record("version.registered", model="houses", version=version, bundle=blob, **parts)
    session.record("version.promoted", model="houses", version=version, reason="a test", report=report)
    return python


def deployed(house: House) -> str:
    with opened(house.settings, create=False) as session:
        return deploy.deploy_in(session, "houses").url


def test_a_model_is_deployed_when_what_it_needs_is_there(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = house.settings
    (tmp_path / "prices.csv").write_text("1")
    monkeypatch.setenv("HOUSES_PRICES", str(tmp_path / "prices.csv"))
    found = doctor(house.project, settings=settings)
    assert names(found, "failed") == ["token"]
    assert line(found, "champion").status == line(found, "environment").status == "ok"
    assert line(found, "server of houses").status == "skipped"
    with pytest.raises(NeedUnmet) as refused:
        deployed(house)
    assert "token (secret)" in str(refused.value)
    assert "prices" not in str(refused.value)

    monkeypatch.setenv("HOUSES_TOKEN", "geheim")
    url = deployed(house)
    assert client.ready(url)  # the server itself found the token: it got the variable
    for subject in (house.project, "houses"):
        found = doctor(subject, settings=settings)
        assert found.well, found
        assert found.about == "houses"
        assert names(found, "warn") == ["extra"]
        assert line(found, "server of houses").what == f"it is ready at {url}"
    assert "geheim" not in repr(found)
    assert doctor(settings=settings).well

    with opened(settings) as session:
        session.record("deployment.stopped", model="houses", target="local", reason="a test")
    found = doctor(settings=settings)
    assert "--stop" in line(found, "server of houses").next_step
    assert line(found, "server of houses").status == "warn"
    with opened(settings) as session:
        session.record("deployment.started", model="houses", version=1, bundle="b" * 64, target="local", url=url)
        deploy.remove_in(session, "houses", "a test")
        session.record("deployment.started", model="houses", version=1, bundle="b" * 64, target="local", url=url)
    found = doctor(house.project, settings=settings)
    assert line(found, "server of houses").status == "failed"
    assert "deploy houses" in line(found, "server of houses").next_step


def answering(session: Session, pid: int, url: str) -> Path:
    """Have the workspace believe that this process is the server of version 1. Returns the folder of its notes."""
    state = session.workspace.root / "deployments" / "houses"
    state.mkdir(parents=True)
    told = ("sleep", "127.0.0.1")
    keeper.write(state / keeper.TOLD, msgspec.json.encode(Told(arguments=told)))
    note = Note(pid=pid, born=process.born(pid), url=url, arguments=told)
    keeper.write(state / keeper.NOTE, msgspec.json.encode(note))
    session.record("deployment.started", model="houses", version=1, bundle="b" * 64, target="local", url=url)
    return state


def test_what_would_become_champion_is_asked_for_what_it_needs_more_than_what_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLCIRCLE_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.delenv("HOUSES_TOKEN", raising=False)
    gone, other = (Need(name=name, kind="file", at=str(tmp_path / name)) for name in ("gone", "other"))
    token = Need(name="token", kind="secret", at="HOUSES_TOKEN")
    settings = circles.settings(tmp_path)
    with opened(settings) as session, subprocess.Popen(["sleep", "60"]) as server:
        try:
            for number, wanted in enumerate(((gone,), (gone, other), (gone, token)), 1):
                data = archive(number, "houses", wanted, compiled=True)
                champion(session, data, number, proof=session.keep(proof_in(proofs.key(open_bundle(data)))))
            answering(session, server.pid, f"http://127.0.0.1:{dead()}")
            going_back.make_ready(session, "houses", 1)  # what both need would make nothing worse
            with pytest.raises(NeedUnmet, match="is not there: other\n"):
                going_back.make_ready(session, "houses", 2)
            (tmp_path / "other").write_text("x")
            going_back.make_ready(session, "houses", 2)
            # The server was not given the token, so another has to take over: that one has to have everything.
            with pytest.raises(NeedUnmet, match="is not there: gone, token\n"):
                going_back.make_ready(session, "houses", 3)
        finally:
            server.kill()


def test_a_server_that_could_not_take_over_is_told_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger names the new champion by then; the server that answered goes on, and somebody has to know."""
    monkeypatch.setenv("FULLCIRCLE_ENVIRONMENTS", str(tmp_path / "environments"))
    settings = circles.unbegun(tmp_path)
    with opened(settings) as session, subprocess.Popen(["sleep", "60"]) as server:
        try:
            champion(session, archive(1, "houses", compiled=True), proof=session.keep(proof_in("one")))
            second = champion(session, archive(2, "houses", compiled=True), 2, proof=session.keep(proof_in("two")))
            second.write_text("#!/bin/sh\necho 'no module named numpy' >&2\nexit 3\n")
            url = f"http://127.0.0.1:{dead()}"
            state = answering(session, server.pid, url)
            with pytest.raises(
                ServerFailed, match="version 2 of houses is champion now, but no new server"
            ) as caught:
                going_back.follow(session, "houses")
            assert "no module named numpy" in (caught.value.received or "")
            assert f"goes on at {url}" in (caught.value.next_step or "")
            assert "fullcircle rollback houses" in (caught.value.next_step or "")
            assert server.poll() is None
            kept = keeper.recall(state)
            assert kept is not None
            assert (kept.pid, kept.url, kept.kept) == (server.pid, url, True)
            assert deploy.behind(session, "houses"), "nobody answers there"
        finally:
            deploy.remove_in(session, "houses", "a test")
            server.kill()
    assert server.wait() is not None


def proof_in(environment: str) -> Proof:
    return Proof(
        bundle="b" * 64, python="3.11.0", platform="linux", packages=(), golden_rows=9, largest_difference=0.0,
        same_bits=True, environment=environment, seconds=1.0,
    )  # fmt: skip


def changed(house: House, before: str, after: str) -> Diagnosis:
    """What doctor says of the project with another line in it."""
    text = house.project.read_text()
    assert before in text
    house.project.write_text(text.replace(before, after))
    try:
        return doctor(house.project, settings=house.settings)
    finally:
        house.project.write_text(text)


def test_needs_that_the_version_was_not_packaged_with(house: House) -> None:
    found = changed(house, '"HOUSES_TOKEN"', '"PATH"')
    assert line(found, "requires").status == "warn"
    assert line(found, "token").status == "ok"


def test_budgets_are_compared_with_what_was_measured(house: House) -> None:
    gates = 'fc.size("{}"), fc.latency(p99="{}"), fc.worth('
    found = changed(house, "fc.worth(", gates.format("6kB", "3ms"))
    assert line(found, "size").status == line(found, "latency").status == "ok"
    assert "MB" in line(found, "bundle").what
    found = changed(house, "fc.worth(", gates.format("4kB", "1ms"))
    for name in ("size", "latency"):
        assert line(found, name).status == "failed"
        assert line(found, name).next_step


def test_a_project_for_another_machine(house: House) -> None:
    meant = 'python="3.13", platform="aarch64-apple-darwin",\n    requires={'
    found = changed(house, "requires={", meant)
    assert line(found, "python").status == line(found, "platform").status == "warn"
    assert "3.13" in line(found, "python").next_step


def test_a_project_that_is_not_there_is_wrong_use(house: House) -> None:
    with pytest.raises(ProjectNotFound):
        doctor(house.project.parent / "no.py", settings=house.settings)
