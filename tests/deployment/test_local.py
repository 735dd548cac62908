"""The local target: real processes, and whose they are."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from fullcircle import registry
from fullcircle.deployment import client, keeper, process
from fullcircle.deployment.keeper import Note
from fullcircle.deployment.target import Service, Target
from fullcircle.deployment.targets.local import REPLACED, LocalTarget, arguments, variables
from fullcircle.errors import ServerFailed
from fullcircle.testing.targets import RunningTargetSuite
from fullcircle.types.progress import Progress, Silent
from sample_models import archive, serve
from serving import GOOD


@pytest.fixture(scope="module")
def archives() -> dict[int, bytes]:
    return {version: archive(version, compiled=True) for version in (1, 2)}


@pytest.fixture
def service(tmp_path: Path, archives: dict[int, bytes]) -> Service:
    served = tmp_path / "served.json"
    serve(served, {"m": (1, archives[1])})
    return Service(
        python=Path(sys.executable),
        served=served,
        predictions=tmp_path / "predictions",
        code=tmp_path / "code",
        state=tmp_path / "state",
        port=0,
    )


class TestLocalTarget(RunningTargetSuite):
    @pytest.fixture
    def target(self) -> Target:
        found: Target = registry.find("targets", "local")()
        assert isinstance(found, LocalTarget)
        return found

    @pytest.fixture
    def service(self, service: Service) -> Service:
        return service

    @pytest.fixture
    def row(self) -> dict[str, object]:
        return dict(GOOD)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_outlives_its_starter_waits_for_new_versions_and_survives_bad_ones_and_crashes(
    service: Service, archives: dict[int, bytes]
) -> None:
    # Started by a process that ends, as the command line does.
    program = """
import sys
from pathlib import Path
from fullcircle.deployment.target import Service
from fullcircle.deployment.targets.local import LocalTarget
python, served, predictions, code, state = map(Path, sys.argv[1:])
hosts = ("models.example.org", "other.example.org")
service = Service(python=python, served=served, predictions=predictions, code=code, state=state, port=0, hosts=hosts)
print(LocalTarget().apply(service).pid)
"""
    places = [service.python, service.served, service.predictions, service.code, service.state]
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, places)], capture_output=True, text=True, check=True, timeout=90
    )
    target = LocalTarget()
    assert target.plan(service).action == "restart", "it was told the names it goes by"
    service = replace(service, hosts=("models.example.org", "other.example.org"))
    try:
        first = target.status(service)
        assert (first.ready, first.pid, first.starts) == (True, int(ended.stdout), 1)
        assert os.getsid(first.pid) == first.pid  # no Ctrl-C of a terminal reaches it
        for host, status in {"other.example.org": 200, "localhost:1": 200, "evil.org": 421}.items():
            address = urlsplit(first.url)
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
            connection.request("GET", "/models", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
        # apply returns only when the version that served.json names now is the one that answers.
        serve(service.served, {"m": (2, archives[2])})
        second = target.apply(service)
        assert (second.pid, second.versions) == (first.pid, (("m", 2),))
        assert client.predict(second.url, "m", [GOOD])[0].version == 2
        # A bad version is told, and what answered goes on.
        serve(service.served, {"m": (3, archives[1][:-7])})
        with pytest.raises(ServerFailed, match="version 3 of m cannot answer"):
            target.apply(service)
        third = target.status(service)
        assert (third.pid, third.ready, third.versions) == (first.pid, False, (("m", 2),))
        assert third.problem.startswith("version 3 of m is to answer, and version 2 goes on answering: ")
        assert client.ready(first.url)
        serve(service.served, {"m": (2, archives[2])})
        until(lambda: target.status(service).ready)
        # A keeper that is killed is missed, and the server goes on; the next deployment brings another keeper.
        note = keeper.recall(service.state)
        assert note is not None
        os.kill(note.keeper, signal.SIGKILL)
        until(lambda: not note.kept)
        assert "its keeper was killed" in target.status(service).problem
        assert target.status(service).ready
        assert "gets another" in target.plan(service).text
        kept = target.apply(service)
        assert (kept.pid, kept.url, kept.problem) == (first.pid, first.url, "")
        # Killed from outside, all of it at once, the server is started again at the same address.
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: target.status(service).pid not in (0, first.pid))
        until(lambda: target.status(service).ready)
        again = target.status(service)
        assert (again.url, again.starts, again.versions) == (first.url, 2, (("m", 2),))
        assert f"process {first.pid} ended" in again.ended
        assert target.plan(service).action == "keep"
    finally:
        target.remove(service)
    assert not client.ready(first.url)


class Interrupting(Silent):
    """Ctrl-C while the server starts."""

    def note(self, text: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)


def test_ctrl_c_while_it_starts_leaves_nothing_running(service: Service) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    progress: Progress = Interrupting()
    try:
        with pytest.raises(KeyboardInterrupt):
            LocalTarget().apply(service, progress)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not LocalTarget().status(service).running
    assert not (service.state / "server.json").exists()
    assert (
        str(service.state.parent)
        not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    )


def test_a_server_that_is_too_slow_is_ended_and_its_last_words_told(service: Service, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'loading something large' >&2\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(ServerFailed, match=r"within 0\.3 seconds") as caught:
        LocalTarget().apply(replace(service, python=program, timeout=0.3))
    assert "loading something large" in str(caught.value)
    assert "server.log" in str(caught.value)
    assert not LocalTarget().status(service).running


def test_another_process_with_the_same_id_is_never_ended(service: Service) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        service.state.mkdir()
        note = f'{{"pid": {other.pid}, "born": "another boot 12345", "url": "http://127.0.0.1:9", "arguments": []}}'
        (service.state / "server.json").write_text(note)
        target = LocalTarget()
        assert not target.status(service).running
        target.remove(service)
        assert other.poll() is None
        assert process.end(other.pid, "another boot 12345", patience=0.1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_note_that_cannot_be_read_means_nothing_runs(service: Service, content: bytes) -> None:
    service.state.mkdir()
    (service.state / "server.json").write_bytes(content)
    assert LocalTarget().plan(service).action == "start"


def test_a_state_folder_that_cannot_be_used_is_told(service: Service) -> None:
    service.state.write_text("in the way")
    with pytest.raises(ServerFailed, match="folder of the deployment"):
        LocalTarget().apply(service)


def test_a_process_is_asked_first_and_ended_when_it_does_not_listen(tmp_path: Path) -> None:
    deaf = "trap '' TERM; echo started; while true; do sleep 0.05; done"
    for script, by_itself in (("echo started; exec sleep 60", True), (deaf, False)):
        output = tmp_path / "out"
        pid = process.start(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}, output)
        born = process.born(pid)
        assert born
        while b"started" not in output.read_bytes():
            time.sleep(0.01)
        assert process.born(pid) == born
        assert process.end(pid, born, patience=0.5) is by_itself
        assert process.born(pid) == ""
        begun = time.monotonic()
        assert process.end(pid, born, patience=0.5)  # again is not an error
        process.kill(pid, born)
        process.kill(0, "")  # a note of before there were keepers
        assert time.monotonic() - begun < 0.4, "and nobody waits for what is not there"


def test_the_server_gets_no_secret_of_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    program = service.state.with_name("python")
    program.write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ServerFailed):
        LocalTarget().apply(replace(service, python=program, online="redis://me:geheim@cache/0"))
    told = (service.state / "server.log").read_text()
    assert "OMP_NUM_THREADS=1" in told
    assert "FULLCIRCLE_ONLINE=redis://me:geheim@cache/0" in told, "by a variable: everybody can read a command line"
    assert "hunter2" not in told
    assert "PYTHONPATH" not in told


@pytest.mark.parametrize(
    ("online", "private"),
    [
        ("", False),
        ("redis://cache/0", False),
        ("redis://:geheim@cache/0", True),
        ("redis://cache/0?password=geheim", True),
    ],
)
def test_a_plan_holds_no_password_and_knows_that_one_is_given(service: Service, online: str, private: bool) -> None:
    service = replace(service, online=online)
    files = LocalTarget().plan(service).files
    assert b"geheim" not in b"".join(files.values())
    assert (online != "" and online in arguments(service)) is (online != "" and not private)
    assert variables(service) == (("FULLCIRCLE_ONLINE",) if private else ())


@contextmanager
def running(count: int) -> Iterator[list[Note]]:
    """Processes that do nothing, as notes of servers."""
    started = [subprocess.Popen(["sleep", "60"]) for _ in range(count)]
    try:
        yield [
            Note(pid=one.pid, born=process.born(one.pid), url="http://127.0.0.1:9", arguments=()) for one in started
        ]
    finally:
        for one in started:
            one.kill()
            one.wait()


@pytest.mark.parametrize(
    ("wanted", "given", "action"),
    [
        ((), (), "keep"),
        (("A",), ("A",), "keep"),
        ((), ("A",), "keep"),
        (("A",), (), "restart"),
        (("A", "B"), ("A",), "restart"),
    ],
)
def test_a_server_that_lacks_a_variable_is_started_again(
    service: Service, wanted: tuple[str, ...], given: tuple[str, ...], action: str
) -> None:
    service.state.mkdir()
    with running(1) as (note,):
        there = msgspec.structs.replace(note, arguments=arguments(service), variables=given)
        keeper.write(service.state / keeper.NOTE, msgspec.json.encode(there))
        assert LocalTarget().plan(replace(service, variables=wanted)).action == action


@pytest.mark.parametrize("new", ["listens", "starts", "none"])
def test_what_was_interrupted_while_a_place_was_taken_leaves_no_server_that_nobody_knows(
    service: Service, new: str
) -> None:
    service.state.mkdir()
    with running(2) as (old, other):
        keeper.write(service.state / REPLACED, msgspec.json.encode(old))
        if new != "none":
            changes = {} if new == "listens" else {"url": ""}
            keeper.write(service.state / keeper.NOTE, msgspec.json.encode(msgspec.structs.replace(other, **changes)))
        LocalTarget().remove(service)
        assert not old.lives
        assert other.lives is (new == "none"), "what nobody noted is not ours"
    assert {path.name for path in service.state.iterdir()} == {"lock"}
