"""Following served.json: what it names is loaded, what cannot be loaded leaves the old in place."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.follower import Entry, Follower
from serving import Sum, contract


class Loader:
    """Loads what it is told exists, and counts."""

    def __init__(self) -> None:
        self.broken: dict[str, Exception] = {}
        self.calls: list[tuple[str, int]] = []

    def __call__(self, path: Path, name: str, entry: Entry) -> Scorer:
        self.calls.append((name, entry.version))
        if entry.bundle in self.broken:
            raise self.broken[entry.bundle]
        return Scorer(contract(), Sum(), name=path.name, version=entry.version)


def write(served: Path, **versions: int) -> None:
    models = {
        name: {"version": one, "bundle": f"{name}{one}", "path": f"{name}{one}.zip"} for name, one in versions.items()
    }
    partial = served.with_suffix(".new")
    partial.write_text(json.dumps({"models": models}))
    os.replace(partial, served)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "served.json"


@pytest.fixture
def load() -> Loader:
    return Loader()


def versions(found: Follower) -> dict[str, int]:
    return {name: one.version for name, one in found.view.loaded.items()}


def test_models_come_change_and_go(served: Path, load: Loader) -> None:
    found = Follower(served, load)
    assert not found.look().ready
    write(served, a=1, b=7)
    assert found.look().ready
    assert versions(found) == {"a": 1, "b": 7}
    assert found.view.loaded["a"].scorer.name == "a1.zip"
    before = found.view
    write(served, a=2, b=7)
    found.look()
    assert versions(found) == {"a": 2, "b": 7}
    assert before.loaded["a"].version == 1  # a view that was taken does not change
    assert load.calls == [("a", 1), ("b", 7), ("a", 2)]  # what stayed was not loaded again
    write(served, b=7)
    found.look()
    assert versions(found) == {"b": 7}
    write(served)
    assert not found.look().ready


def test_only_the_models_asked_for(served: Path, load: Loader) -> None:
    write(served, a=1, b=7)
    found = Follower(served, load, only=frozenset({"b"}))
    assert found.look().ready
    assert versions(found) == {"b": 7}


def test_the_same_version_with_another_bundle_is_loaded(served: Path, load: Loader) -> None:
    write(served, a=1)
    found = Follower(served, load)
    found.look()
    served.write_text(json.dumps({"models": {"a": {"version": 1, "bundle": "rebuilt", "path": "x"}}}))
    assert found.look().loaded["a"].bundle == "rebuilt"


@pytest.mark.parametrize(
    "error",
    [
        BundleInvalid("one byte is wrong"),
        FileNotFoundError(2, "No such file or directory"),
        ImportError("no sklearn"),
        RecursionError(),
        MemoryError(),
    ],
)
def test_a_bad_bundle_leaves_the_old_in_place_and_the_others_alone(
    served: Path, load: Loader, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    write(served, a=1, b=1)
    found = Follower(served, load)
    found.look()
    load.broken["a2"] = error
    write(served, a=2, b=2)
    view = found.look()
    assert versions(found) == {"a": 1, "b": 2}
    assert view.ready
    assert (view.troubles["a"].version, view.troubles["a"].code) == (2, "bundle_invalid")
    assert view.troubles["a"].message
    assert "version 2 of a" in caplog.text
    write(served, a=1, b=2)
    assert not found.look().troubles  # the file went back to what answers


def test_without_an_old_one_a_bad_bundle_means_not_ready(served: Path, load: Loader) -> None:
    load.broken["a1"] = BundleInvalid("broken")
    write(served, a=1, b=1)
    view = Follower(served, load).look()
    assert not view.ready
    assert view.missing == ("a",)
    assert "b" in view.loaded


def test_a_bad_bundle_is_tried_again_later_not_at_every_look(served: Path, load: Loader) -> None:
    load.broken["a1"] = FileNotFoundError(2, "not yet")
    write(served, a=1)
    found = Follower(served, load, retry=0.3)
    for _ in range(5):
        found.look()
    assert len(load.calls) == 1
    load.broken.clear()
    time.sleep(0.3)
    assert found.look().ready
    assert not found.view.troubles


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"models": []}',
        b'{"models": {"a": {"version": "1", "bundle": "x", "path": "y"}}}',
        b'{"models": {"a": {"version": 1}}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_an_unusable_file_changes_nothing(served: Path, load: Loader, content: bytes) -> None:
    write(served, a=1)
    found = Follower(served, load)
    found.look()
    served.write_bytes(content)
    view = found.look()
    assert (versions(found), view.ready) == ({"a": 1}, True)
    assert view.file == "served.json is not valid"
    write(served, a=2)
    assert found.look().file == ""
    assert versions(found) == {"a": 2}


def test_a_file_that_goes_away_changes_nothing(served: Path, load: Loader) -> None:
    write(served, a=1)
    found = Follower(served, load)
    found.look()
    served.unlink()
    assert found.look().ready


def wait(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_thread_follows_and_a_file_written_again_is_tried_at_once(
    served: Path, load: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = Follower(served, load, every=0.01)
    found.start()
    try:
        write(served, a=1)
        wait(lambda: versions(found) == {"a": 1})
        load.broken["a2"] = FileNotFoundError(2, "not yet")
        write(served, a=2)
        wait(lambda: found.view.troubles)
        load.broken.clear()
        write(served, a=2)  # well before RETRY
        wait(lambda: versions(found) == {"a": 2})
        wait(lambda: not found.view.troubles)
    finally:
        found.stop()
