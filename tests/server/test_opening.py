"""From a path to a model that answers: in this process, and in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.errors import BundleInvalid, FullcircleError, ServerBusy
from fullcircle.packaging.bundle import build, pack
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.server import opening, spawning
from fullcircle.server.desk import Desk
from fullcircle.server.engines import Engines
from fullcircle.server.follower import Entry, Loaded, Previous
from fullcircle.server.frames import Question, Reply, packed, receive
from fullcircle.server.meter import Meter
from fullcircle.server.opening import Opener
from fullcircle.server.spawning import Spawned, Spawner
from fullcircle.types.contract import Column, Contract

CONTRACT = Contract(
    columns=(Column(name="a", kind="number"), Column(name="b", kind="number")),
    label="y", task="regression", prior=-1.0,
)  # fmt: skip
ROW = {"a": 1.0, "b": 2.0}


@cache
def bundle(plus: float, name: str = "m") -> bytes:
    """A compiled model that answers a + b + ``plus``: no process has to load scikit-learn for it."""
    rows = [{"a": float(place), "b": place**2 / 7} for place in range(12)]
    inputs = np.array([[row["a"], row["b"]] for row in rows])
    model = LinearRegression().fit(inputs, inputs.sum(axis=1) + plus)
    chosen = choose(CONTRACT, model, rows)
    assert chosen.certificate.form == "linear"
    answers = Scorer(CONTRACT, model, form=chosen.form).score(rows)
    found = build(
        model=name, runtime="sklearn", saved=SklearnRuntime().save(model, Path.cwd()), contract=CONTRACT,
        golden=list(zip(rows, answers, strict=True)), profile=PROFILE, lock=lock_of(WHEEL), wheel=WHEEL,
        certificate=chosen.certificate, compiled=chosen.data,
    )  # fmt: skip
    return pack(found)


def stored(folder: Path, version: int, plus: float | None = None, name: str = "m", **changes: Any) -> Entry:
    """A bundle in the folder, and its entry in served.json."""
    data = bundle(1000.0 * version if plus is None else plus, name)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.zip"
    path.write_bytes(data)
    return msgspec.structs.replace(Entry(version=version, bundle=digest, path=path.name), **changes)


def earlier(entry: Entry, **changes: Any) -> Previous:
    return msgspec.structs.replace(Previous(version=entry.version, bundle=entry.bundle, path=entry.path), **changes)


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(tmp_path / "code")


# In this process


def test_a_bundle_answers_and_is_quick(tmp_path: Path, opener: Opener) -> None:
    entry = stored(tmp_path, 3)
    found = opener(tmp_path / entry.path, "m", entry)
    assert found.score([ROW])[0].value == pytest.approx(3003.0)
    one = Loaded(model="m", version=3, bundle=entry.bundle, scorer=found)
    assert opener.quick(one)
    assert 0 < opener.per_row(one) < opening.QUICK
    assert len(found.background) == 12


def test_a_model_is_quick_however_busy_the_interpreter_is(tmp_path: Path, opener: Opener) -> None:
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(2000))

    entry = stored(tmp_path, 3)
    busy = [threading.Thread(target=burn) for _ in range(3)]
    for thread in busy:
        thread.start()
    try:
        found = opener(tmp_path / entry.path, "m", entry)
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    assert opener.quick(Loaded(model="m", version=3, bundle=entry.bundle, scorer=found))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_read(tmp_path: Path, opener: Opener, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    begun = time.monotonic()
    with pytest.raises(BundleInvalid, match="no file"):
        opener(path, "m", Entry(version=1, bundle="x", path=str(path)))
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("path", "error"),
    [("gone.zip", FileNotFoundError), ("x" * 5000, OSError), ("a\0b", ValueError), ("../" * 20 + "gone", OSError)],
)
def test_a_path_that_leads_nowhere_is_an_error_of_that_model_alone(
    tmp_path: Path, opener: Opener, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        opener(tmp_path / path, "m", Entry(version=1, bundle="x", path=path))


def test_only_the_bundle_that_is_named_is_opened(tmp_path: Path, opener: Opener) -> None:
    entry = stored(tmp_path, 1)
    for name, wrong in (
        ("m", msgspec.structs.replace(entry, bundle="0" * 64)),
        ("m", msgspec.structs.replace(entry, bundle="")),
        ("other", entry),
        ("../m", entry),
    ):
        with pytest.raises(BundleInvalid, match="another bundle"):
            opener(tmp_path / entry.path, name, wrong)
    path = tmp_path / entry.path
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FullcircleError):
        opener(path, "m", entry)


def test_the_champion_before_stands_in_where_it_can(
    tmp_path: Path, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = stored(tmp_path, 1), stored(tmp_path, 2)
    assert opener.before(tmp_path, "m", second) is None
    found = opener.before(tmp_path, "m", msgspec.structs.replace(second, previous=earlier(first)))
    assert found is not None
    assert found.score([ROW])[0].value == pytest.approx(1003.0)
    assert not caplog.text
    # The same bundle as another version would fail on the same rows: it is not loaded a second time.
    same = earlier(second, version=1, path="it is not even looked for")
    assert opener.before(tmp_path, "m", msgspec.structs.replace(second, previous=same)) is None
    assert not caplog.text


@pytest.mark.parametrize("path", ["gone.zip", "a\0b", "x" * 5000, ".", "/dev/zero"])
def test_a_champion_before_that_cannot_be_opened_is_left_out_and_told(
    tmp_path: Path, opener: Opener, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    first, second = stored(tmp_path, 1), stored(tmp_path, 2)
    entry = msgspec.structs.replace(second, previous=earlier(first, path=path))
    assert opener.before(tmp_path, "m", entry) is None
    assert "the champion before cannot stand in" in caplog.text


# In a process of its own


class Place:
    """Starts processes for versions in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.spawner = folder, Spawner()
        self.begun: list[Spawned] = []

    def __call__(self, entry: Entry, name: str = "m", online: str = "") -> Spawned:
        found = self.spawner.spawn(self.folder, name, entry, code=self.folder / "code", online=online)
        self.begun.append(found)
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # Spawned.kill waits for its process: what is not ended by a test shows up here as a process that lives.
    found = Place(tmp_path)
    yield found
    for one in found.begun:
        one.kill()


def value(process: Spawned) -> float:
    process.connection.settimeout(10)
    process.connection.sendall(packed(Question(mode="model", rows=[ROW])))
    content = receive(process.connection)
    assert content is not None
    found = msgspec.json.decode(content, type=Reply).predictions[0].value
    assert isinstance(found, float)
    return found


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def gone(pid: int) -> bool:
    """Whether the process ends soon."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def test_a_process_goes_from_version_to_version(place: Place, tmp_path: Path) -> None:
    place.spawner.enter()
    first = place(stored(tmp_path, 1), online="redis://user:secret@localhost")
    assert value(first) == pytest.approx(1003.0)
    command = Path(f"/proc/{first.process.pid}/cmdline").read_bytes()
    assert b"secret" not in command  # everybody on the machine may read it
    maths = Path(f"/proc/{first.process.pid}/environ").read_bytes()
    assert b"OMP_NUM_THREADS=" in maths
    # The next version is loaded by a process that was begun beforehand ...
    place.spawner.replenish()
    spare = place.spawner._spare
    assert spare is not None
    place.spawner.enter()
    second = place(stored(tmp_path, 2))
    assert second is spare
    assert value(second) == pytest.approx(2003.0)
    # ... and the one after it by that of the first, which is released.
    released = first.released()
    first.connection.close()
    place.spawner.leave(released)
    place.spawner.enter()
    third = place(stored(tmp_path, 3))
    assert third.process.pid == first.process.pid
    assert value(third) == pytest.approx(3003.0)
    assert value(second) == pytest.approx(2003.0)
    first.leash = -1  # the third has it
    place.begun.remove(first)
    place.spawner.leave()
    place.spawner.leave()


def test_a_spare_that_died_is_replaced_and_the_last_to_leave_ends_it(place: Place, tmp_path: Path) -> None:
    place.spawner.replenish()
    assert place.spawner._spare is None  # nobody uses processes yet
    place.spawner.enter()
    place.spawner.replenish()
    spare = place.spawner._spare
    assert spare is not None
    os.kill(spare.process.pid, signal.SIGKILL)
    found = place(stored(tmp_path, 1))
    assert found.process.pid != spare.process.pid
    assert value(found) == pytest.approx(1003.0)
    assert not Path(f"/proc/{spare.process.pid}").exists()  # no zombie
    place.spawner.replenish()
    last = place.spawner._spare
    assert last is not None
    place.spawner.leave(found.released())
    assert not Path(f"/proc/{last.process.pid}").exists()
    assert not Path(f"/proc/{found.process.pid}").exists()
    found.leash = -1


def test_a_spare_loads_libraries_when_nobody_waits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "QUIET", 0.0)
    place.spawner._modules = ["there is none", "sqlite3", "fullcircle.no.such"]
    place.spawner.enter()
    place.spawner.replenish()
    spare = place.spawner._spare
    assert spare is not None
    maps = Path(f"/proc/{spare.process.pid}/maps")
    deadline = time.monotonic() + 10
    while "_sqlite3" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "_sqlite3" in maps.read_text()
    place.spawner.leave()


def test_a_process_starts_however_many_files_are_open(place: Place, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        found = place(stored(tmp_path, 1))
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.leash > 1024
    assert value(found) == pytest.approx(1003.0)


def test_a_version_that_cannot_be_loaded_is_told_and_leaves_no_process(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Spawned] = []
    begin = spawning._begin

    def noted(modules: Any) -> Spawned:
        begun.append(begin(modules))
        return begun[-1]

    monkeypatch.setattr(spawning, "_begin", noted)
    entry = stored(tmp_path, 1)
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ServerBusy) as told:
        place(msgspec.structs.replace(entry, bundle="0" * 64))
    assert "another bundle" in str(told.value)
    with pytest.raises(ServerBusy) as told:
        place(msgspec.structs.replace(entry, path="a\0b"))
    assert "null byte" in str(told.value)
    assert [one.process.returncode for one in begun].count(None) == 0
    assert len(os.listdir("/proc/self/fd")) == files  # neither sockets nor leashes are left open


DYING = """
import os, sys
from pathlib import Path
import msgspec
from fullcircle.server.follower import Entry
from fullcircle.server.spawning import Spawner
folder = Path(sys.argv[1])
spawner = Spawner()
spawner.enter()
found = spawner.spawn(folder, "m", msgspec.json.decode(sys.argv[2], type=Entry), code=folder, online="")
spawner.replenish()
print(found.process.pid, spawner._spare.process.pid, flush=True)
sys.stdin.read()
"""


def test_the_processes_of_a_worker_end_with_it(tmp_path: Path) -> None:
    entry = stored(tmp_path, 1)
    worker = subprocess.Popen(
        [sys.executable, "-c", DYING, str(tmp_path), msgspec.json.encode(entry).decode()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdin is not None
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert len(pids) == 2
    assert all(lives(pid) for pid in pids)
    worker.kill()
    worker.wait()
    assert all(gone(pid) for pid in pids)
    worker.stdout.close()
    worker.stdin.close()


def test_what_the_process_says_is_json(tmp_path: Path) -> None:
    first, second = stored(tmp_path, 1), stored(tmp_path, 2)
    entry = msgspec.structs.replace(second, previous=earlier(first, path="gone.zip"))
    worker = subprocess.Popen(
        [sys.executable, "-c", DYING, str(tmp_path), msgspec.json.encode(entry).decode()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    said = worker.communicate(timeout=30)[1].splitlines()
    assert worker.returncode == 0
    lines = [json.loads(line) for line in said]
    assert [one["level"] for one in lines] == ["warning"]
    assert lines[0]["message"].startswith("the champion before cannot stand in")


def test_the_engine_is_chosen_by_how_quick_a_model_is(
    tmp_path: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = stored(tmp_path, 1)
    one = Loaded(model="m", version=1, bundle=entry.bundle, scorer=opener(tmp_path / entry.path, "m", entry))
    engines = Engines(opener, tmp_path, Desk(tmp_path / "log"), Meter())
    assert engines(one, entry) is None
    monkeypatch.setattr(opening, "QUICK", 0.0)
    with pytest.raises(ServerBusy):  # a process that cannot open it
        engines(one, msgspec.structs.replace(entry, path="gone.zip"))
    assert engines._spawner._spare is None
    first = engines(one, entry)
    assert first is not None
    spare = engines._spawner._spare
    assert spare is not None
    second = engines(replace(one, version=2), msgspec.structs.replace(entry, version=2))
    assert second is not None
    assert engines._spawner._spare is None  # the first one's process will be it
    first.close()
    assert engines._spawner._spare is not None
    assert engines._spawner._spare.process.pid != spare.process.pid
    second.close()
    assert engines._spawner._spare is None
    assert not lives(spare.process.pid)
