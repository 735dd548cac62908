"""Files in a place are whole or not there, and of several that create one at once, one does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from fullcircle.errors import MissingExtra, SettingInvalid
from fullcircle.ledger.places import Place, open_place


@pytest.fixture(params=["folder", "file", "memory", "memory/below"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = uuid.uuid4().hex
    return {
        "folder": str(tmp_path / "place"),
        "file": f"file://{tmp_path}/place",
        "memory": f"memory://{name}",
        "memory/below": f"memory://{name}/some/where/",
    }[str(request.param)]


@pytest.fixture
def place(url: str) -> Place:
    return open_place(url, "features")


def test_what_is_written_is_read_and_replaced_as_a_whole(place: Place) -> None:
    place.write("a/b.bin", b"one" * 1000)
    assert place.read("a/b.bin") == b"one" * 1000
    place.write("a/b.bin", b"2")
    assert place.read("a/b.bin") == b"2"
    place.write("a/b.bin", b"")
    assert place.read("a/b.bin") == b""
    place.settle("a/b.bin")


def test_what_is_created_is_not_replaced(place: Place) -> None:
    assert place.create("a/b.bin", b"one")
    assert not place.create("a/b.bin", b"two")
    assert place.read("a/b.bin") == b"one"
    place.remove("a/b.bin")
    assert place.create("a/b.bin", b"three")
    assert place.read("a/b.bin") == b"three"
    place.write("c", b"written")
    assert not place.create("c", b"created")


def test_what_is_not_there_is_said_not_to_be(place: Place) -> None:
    assert not place.exists("a/b")
    for look in (place.read, place.remove):
        with pytest.raises(FileNotFoundError):
            look("a/b")
    with pytest.raises(FileNotFoundError):
        open_file(place, "a/b")
    place.write("a/b", b"")
    assert place.exists("a/b")
    assert not place.exists("a")
    place.remove("a/b")
    assert not place.exists("a/b")


def open_file(place: Place, path: str) -> bytes:
    found = place.open(path)
    with Path(found).open("rb") if isinstance(found, str) else found as file:
        return bytes(file.read())


def test_names_are_those_of_whole_files_below_a_folder(place: Place) -> None:
    assert list(place.names()) == []
    assert list(place.names("a")) == []
    for path in ("a/1", "a/b/2", "ab/3", "4"):
        place.write(path, b"x")
    assert sorted(place.names()) == ["4", "a/1", "a/b/2", "ab/3"]
    assert sorted(place.names("a")) == ["a/1", "a/b/2"]
    assert sorted(place.names("a/b")) == ["a/b/2"]
    assert list(place.names("b")) == []


def test_two_that_look_at_one_place_see_the_same(url: str) -> None:
    one, two = open_place(url, "features"), open_place(url, "features")
    one.write("a/1", b"x")
    assert list(two.names("a")) == ["a/1"]
    assert not two.create("a/1", b"y")
    two.write("a/2", b"y")
    assert sorted(one.names("a")) == ["a/1", "a/2"]


def test_open_files_do_not_share_a_position(place: Place) -> None:
    data = bytes(range(256)) * 4000
    place.write("a", data)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: open_file(place, "a"), range(40))) == {data}


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_of_many_threads_one_creates(place: Place) -> None:
    start = Barrier(8)

    def create(number: int) -> list[bool]:
        start.wait()
        return [place.create(f"commits/{path}", bytes([number])) for path in range(60)]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    for path in range(60):
        winners = [number for number in range(8) if made[number][path]]
        assert len(winners) == 1
        assert place.read(f"commits/{path}") == bytes(winners)


CREATE = """
import sys
from fullcircle.ledger.places import open_place
place = open_place(sys.argv[1], "features")
print("ready", flush=True)
sys.stdin.readline()
print(*(int(place.create(f"commits/{number}", sys.argv[2].encode() * 5000)) for number in range(60)))
"""


def test_of_many_processes_one_creates(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path / "place"), str(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    made = [child.communicate(timeout=60)[0].split() for child in children]
    place = open_place(str(tmp_path / "place"), "features")
    for number in range(60):
        (winner,) = [name for name in range(4) if made[name][number] == "1"]
        assert place.read(f"commits/{number}") == str(winner).encode() * 5000
    assert len(list(place.names())) == 60
    assert list((tmp_path / "place" / "incoming").iterdir()) == []


def test_readers_see_the_old_content_or_the_new(place: Place) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    place.write("a", contents[0])

    def write(_: int) -> None:
        for number in range(30):
            place.write("a", contents[number % 2])

    with ThreadPoolExecutor(2) as pool:
        done = pool.submit(write, 0)
        seen = set()
        while not done.done():
            seen.add(place.read("a"))
        done.result()
    assert seen <= set(contents)


@pytest.mark.parametrize("kind", ["write", "create"])
@pytest.mark.parametrize("failing", ["fsync", "replace link"])
def test_a_write_that_fails_leaves_nothing(
    kind: str, failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_place(str(tmp_path / "place"), "features")
    place.write("a", b"before")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in failing.split():
        monkeypatch.setattr(os, name, broken)
    put: Callable[[str, bytes], object] = getattr(place, kind)
    with pytest.raises(OSError, match="No space"):
        put("b", b"x")
    monkeypatch.undo()
    assert sorted(place.names()) == ["a"]
    assert list((tmp_path / "place" / "incoming").iterdir()) == []


def test_what_a_killed_process_left_goes_a_day_later(tmp_path: Path) -> None:
    place = open_place(str(tmp_path / "place"), "features")
    place.write("a", b"x")
    incoming = tmp_path / "place" / "incoming"
    old, young = incoming / "old", incoming / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert list(place.names()) == ["a"]
    place.write("b", b"x")
    assert [path.name for path in incoming.iterdir()] == ["young"]


@pytest.mark.parametrize("url", ["file:///tmp/fc-a/b", "local:///tmp/fc-a/b", "/tmp/fc-a/b"])
def test_a_folder_by_url_is_that_folder(url: str) -> None:
    assert open_place(url, "features").open("c") == "/tmp/fc-a/b/c"


def test_a_url_that_cannot_be_used_names_the_setting() -> None:
    with pytest.raises(SettingInvalid, match="features") as caught:
        open_place("nosuch://bucket", "features")
    assert "FULLCIRCLE_FEATURES" in str(caught.value)
    with pytest.raises(MissingExtra, match="features"):
        open_place("gdrive://bucket", "features")
