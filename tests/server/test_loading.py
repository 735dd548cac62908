"""Following served.json while something hangs or breaks: nobody else waits, and nothing ends the follower."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.engine import Ask
from fullcircle.server.follower import Entry, Follower, Loaded
from serving import Sum, contract


class Loader:
    """Loads what it is told exists; the versions in ``held`` only when ``go`` is set."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.go = threading.Event()
        self.calls: list[str] = []
        self.raised: dict[str, BaseException] = {}

    def __call__(self, path: Path, name: str, entry: Entry) -> Scorer:
        self.calls.append(entry.bundle)
        if entry.bundle in self.held:
            self.go.wait(10)
        if entry.bundle in self.raised:
            raise self.raised[entry.bundle]
        return Scorer(contract(), Sum(), name=name, version=entry.version)


def write(path: Path, **versions: int) -> None:
    models = {
        name: {
            "version": one, "bundle": f"{name}{one}", "path": f"{name}{one}.zip",
            "previous": {"version": one - 1, "bundle": f"{name}{one - 1}", "path": "p.zip"},
        }
        for name, one in versions.items()
    }  # fmt: skip
    path.with_suffix(".new").write_text(json.dumps({"models": models}))
    os.replace(path.with_suffix(".new"), path)


def versions(found: Follower) -> dict[str, int]:
    return {name: one.version for name, one in found.view.loaded.items()}


def test_a_version_that_hangs_while_it_is_loaded_keeps_no_other_waiting_for_ever(tmp_path: Path) -> None:
    load, served = Loader(), tmp_path / "served.json"
    found = Follower(served, load, retry=0.0, patience=0.05)
    write(served, a=1, b=1)
    found.look()
    load.held.add("a2")
    write(served, a=2, b=2)
    assert versions(found) == {"a": 1, "b": 1}
    found.look()
    assert versions(found) == {"a": 1, "b": 2}
    assert found.view.ready
    assert "still being loaded" in found.view.troubles["a"].message
    begun = time.monotonic()
    for _ in range(5):
        found.look()
    assert time.monotonic() - begun < 0.05  # nobody waits a second time
    assert load.calls.count("a2") == 1  # and it is not begun again
    load.go.set()
    deadline = time.monotonic() + 5
    while found.look().troubles and time.monotonic() < deadline:
        time.sleep(0.01)
    assert versions(found) == {"a": 2, "b": 2}  # what came late is used
    assert load.calls.count("a2") == 1


class Closed:
    """An engine that only knows whether it was closed."""

    idle = True

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def answer(self, ask: Ask) -> Any:
        raise AssertionError("nobody asks it")

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("then", ["another", "none"])
def test_a_version_that_nobody_waits_for_any_more_lets_go_of_its_engine(tmp_path: Path, then: str) -> None:
    load, served, engines = Loader(), tmp_path / "served.json", dict[int, Closed]()

    def start(one: Loaded, entry: Entry) -> Closed:
        return engines.setdefault(one.version, Closed())

    found = Follower(served, load, retry=0.0, patience=0.05, start=start)
    load.held.add("a1")
    write(served, a=1)
    assert found.look().troubles
    write(served, **({"a": 2} if then == "another" else {"b": 2}))
    found.look()
    load.go.set()
    deadline = time.monotonic() + 5
    while 1 not in engines and time.monotonic() < deadline:
        time.sleep(0.005)
    assert engines[1].closed.wait(5)
    assert not engines[2].closed.is_set()
    assert found.look().ready
    assert set(versions(found).values()) == {2}


def test_a_champion_before_that_hangs_keeps_nobody_waiting_and_is_used_when_it_comes(tmp_path: Path) -> None:
    load, served, go = Loader(), tmp_path / "served.json", threading.Event()

    def before(folder: Path, name: str, entry: Entry) -> Scorer:
        go.wait(10)
        return Scorer(contract(), Sum(7.0))

    found = Follower(served, load, before=before, patience=0.05)
    write(served, a=2, b=2)
    begun = time.monotonic()
    assert found.look().ready
    assert time.monotonic() - begun < 2
    scorer = found.view.loaded["a"].scorer
    assert scorer.fallback is None
    go.set()
    deadline = time.monotonic() + 5
    while scorer.fallback is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert scorer.fallback is not None


@pytest.mark.parametrize(
    "error", [ImportError("gone"), MemoryError(), RecursionError(), SystemExit(1), ValueError("embedded null byte")]
)
def test_nothing_that_loading_raises_ends_the_follower(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    load, served = Loader(), tmp_path / "served.json"
    load.raised["a2"] = error

    def before(folder: Path, name: str, entry: Entry) -> Scorer:
        raise error

    found = Follower(served, load, before=before, every=0.005)
    found.start()
    try:
        for given, expected in (({"a": 1}, 1), ({"a": 2}, 1), ({"a": 3}, 3)):
            write(served, **given)
            deadline = time.monotonic() + 5
            while (
                versions(found) != {"a": expected} or bool(found.view.troubles) != (given["a"] == 2)
            ) and time.monotonic() < deadline:
                time.sleep(0.005)
            assert versions(found) == {"a": expected}
    finally:
        found.stop()
    assert "version 2 of a could not be loaded" in caplog.text
    assert "the champion before version 1 of a cannot stand in" in caplog.text


def test_fifty_models_come_one_after_another_and_are_ready_together(tmp_path: Path) -> None:
    served = tmp_path / "served.json"
    names = [f"m{place:02}" for place in range(50)]
    seen: list[bool] = []

    def load(path: Path, name: str, entry: Entry) -> Scorer:
        seen.append(found.view.ready)
        if name == "m17":
            raise BundleInvalid("one byte is wrong")
        return Scorer(contract(), Sum())

    found = Follower(served, load, retry=0.0)
    write(served, **dict.fromkeys(names, 1))
    last = found.look()
    assert len(seen) == 50
    assert not any(seen)  # not ready before the last
    assert (last.ready, last.missing) == (False, ("m17",))
    assert len(last.loaded) == 49
    write(served, **dict.fromkeys((name for name in names if name != "m17"), 1))
    assert found.look().ready
    assert len(seen) == 50
