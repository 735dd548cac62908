"""A turn of the loop that is killed at any change to a file or a database: the next one makes it good."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import circles
from flows.looping import Life, houses, life
from fullcircle.development.loading import LoadedProject
from fullcircle.flows import loop
from fullcircle.flows.audit import audit
from fullcircle.flows.session import loaded, opened
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Step

EVERYWHERE = os.environ.get("FULLCIRCLE_KILLS") == "everywhere"
MOST = 400  # places, more than a turn has


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a turn of the loop is due: 700 labelled rows came, and were counted."""
    folder = tmp_path_factory.mktemp("killed") / "before"
    with life(folder, "triggers=(), rows=700") as found:
        for day in range(7):
            found.day(houses(day), turn=False)
    return folder


def _dies(folder: Path, source: LoadedProject, at: int) -> None:
    """Take a turn in this process, which ends before its change number ``at``."""
    left, connect = at, sqlite3.connect

    def change() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def seen(statement: str) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "COMMIT")):
            change()

    def watched(*arguments: Any, **more: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, **more)
        made.set_trace_callback(seen)
        return made

    vars(sqlite3)["connect"] = watched
    sys.addaudithook(lambda event, _: change() if event == "os.rename" else None)
    with opened(circles.unbegun(folder), create=False, rehearsal=True) as session:
        loop.turn_in(session, source)


def _killed(folder: Path, source: LoadedProject, at: int) -> bool:
    child = multiprocessing.get_context("fork").Process(target=_dies, args=(folder, source, at))
    child.start()
    child.join(120)
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode != 0


@pytest.fixture
def opener(before: Path, tmp_path: Path) -> Callable[[int], tuple[bool, Path]]:
    """Copies of that workspace, each opened after a process died in it."""

    def at(place: int) -> tuple[bool, Path]:
        folder = tmp_path / f"at{place}"
        shutil.copytree(before, folder)
        return _killed(folder, loaded(folder / "houses"), place), folder

    return at


def _of_loop(found: Life, kind: str) -> list[Fact]:
    return [fact for fact in found.facts(kind) if fact.body.get("trigger")]


def _is_whole(folder: Path) -> Step:
    """A plain turn after the kill, and one more: one promotion, told once, and nothing left to do."""
    assert audit(settings=circles.unbegun(folder)).problems == ()
    with life(folder, "triggers=(), rows=700") as found:
        state = found.session.workspace.ledger.state()
        assert state.champions["houses"] in state.versions["houses"], "there is one champion, and it exists"
        found.steps.append(loop.turn_in(found.session, found.source))
        assert loop.turn_in(found.session, found.source).decision is None
        (promoted,) = _of_loop(found, "version.promoted")
        (told,) = _of_loop(found, "decision.taken")
        assert (told.body["action"], told.body["version"]) == ("promote", promoted.body["version"])
        assert told.body["step"] == promoted.body["step"]
        assert found.champion == promoted.body["version"]
        served = found.session.workspace.served.read_text(encoding="utf-8")
        assert found.session.workspace.ledger.state().versions["houses"][found.champion].bundle in served
        return found.session.recall(str(told.body["step"]), Step)


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_turn_that_is_killed_anywhere_is_made_good_by_the_next(opener: Any, before: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(before, undisturbed)
    expected = _is_whole(undisturbed)
    assert expected.decision is not None
    assert {each.on for each in expected.differences} == {"fresh", "frozen"}
    place, kills, step = 0, 0, 1 if EVERYWHERE else 13
    while place < MOST:
        died, folder = opener(place)
        if not died:
            break
        kills, place = kills + 1, place + step
        after = _is_whole(folder)
        if after.differences:  # made anew: with the same rows, to the same figures
            assert after.differences == expected.differences
        shutil.rmtree(folder)
    assert kills >= 3, kills
