"""A turn of the monitor and of the live loop in a process that is killed (SIGKILL) before a change that it makes.

Changes are transactions (of the ledger, the journal and MLflow), files that are put in place or taken away, and
processes that are started: between two of them nothing lasts, so that these are all places where a turn can die.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import circles
from flows.forked import Forked
from flows.looping import Life, houses, life
from fullcircle.flows import loop, monitor
from fullcircle.flows.audit import audit
from fullcircle.flows.session import loaded, opened
from fullcircle.types.facts import FACTS
from fullcircle.types.loop import Step

RETRAIN = "triggers=(), rows=700"
_FILES = ("os.rename", "os.link", "os.remove")
_NOTE = "changes.txt"


def begin(folder: Path) -> Path:
    """A live workspace in which a turn is due: 700 labelled rows came, and those of the last day are not counted."""
    with life(folder, RETRAIN, live=True) as found:
        for day in range(6):
            found.day(houses(day), turn=False)
        found.answer(houses(6), found.begin)
        found.pass_day()
    return folder


def killed(folder: Path, wanted: str | int) -> tuple[bool, list[str]]:
    """Take a turn, which dies before the change that is ``wanted``: its text, or its place.

    Returns whether it died, and the changes that it came to, in order.
    """
    done = Forked(dies, str(folder), json.dumps(wanted))
    _, errors = done.communicate()
    assert done.returncode in (0, -signal.SIGKILL), errors
    return done.returncode != 0, (folder / _NOTE).read_text().splitlines()


def whole(folder: Path) -> Step:
    """Take a plain turn, and one more: one promotion, told once, and nothing half done in ledger, log or MLflow.

    Returns what was decided.
    """
    settings = circles.unbegun(folder)
    assert audit(settings=settings).problems == ()
    with life(folder, RETRAIN, live=True) as found:
        state = found.session.workspace.ledger.state()
        assert state.champions["houses"] in state.versions["houses"], "there is one champion, and it exists"
        found.turn()
        assert found.turn().decision is None
        (promoted,) = [fact for fact in found.facts("version.promoted") if fact.body.get("trigger")]
        (told,) = [fact for fact in found.facts("decision.taken") if fact.body.get("trigger")]
        assert (told.body["action"], told.body["version"]) == ("promote", promoted.body["version"])
        assert told.body["step"] == promoted.body["step"]
        assert found.champion == promoted.body["version"]
        names = [fact.body["name"] for fact in found.facts("window.monitored")]
        assert len(names) == len(set(names)) == 7, names
        assert sum(int(fact.body["labelled"]) for fact in found.facts("window.monitored")) == 700
        _registered_once(found)
        served = found.session.workspace.served.read_text(encoding="utf-8")
        assert found.session.workspace.ledger.state().versions["houses"][found.champion].bundle in served
        step = found.session.recall(str(told.body["step"]), Step)
    assert audit(settings=settings).problems == ()
    return step


def _registered_once(found: Life) -> None:
    """The ledger and MLflow know the same versions, each of a run of its own, and the same champion."""
    from mlflow import MlflowClient

    registered = found.session.workspace.ledger.state().versions["houses"]
    assert len(registered) == len({version.run for version in registered.values()}) == 2
    mlflow = MlflowClient(f"sqlite:///{found.session.workspace.root / 'mlflow.db'}")
    known = {int(each.version): each.tags["fullcircle.status"] for each in mlflow.search_model_versions()}
    assert known == {each: "confirmed" if each in registered else "abandoned" for each in known}
    assert set(registered) <= set(known)
    assert int(mlflow.get_model_version_by_alias("houses", "champion").version) == found.champion


def dies(name: str, text: str) -> None:
    """Take a turn in the workspace of the folder ``name``; this process ends before the change that is wanted."""
    folder, wanted = Path(name), json.loads(text)
    note, number = (folder / _NOTE).open("w"), 0

    def change(what: str) -> None:
        nonlocal number
        note.write(what + "\n")
        note.flush()
        if wanted in (number, what):
            os.kill(os.getpid(), signal.SIGKILL)
        number += 1

    source = loaded(folder / "houses")
    _watch(folder, change)
    with opened(circles.unbegun(folder), create=False) as session:
        monitor.turn_in(session, source)
        loop.turn_in(session, source)


def _watch(folder: Path, change: Callable[[str], None]) -> None:
    """Have every change of this process told before it is made."""
    connect = sqlite3.connect

    def watched(*arguments: Any, **more: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, **more)
        last = ""

        def seen(statement: str) -> None:
            nonlocal last
            words = statement.lstrip().upper()
            if words.startswith("INSERT"):
                last = next((kind for kind in FACTS if f"'{kind}'" in statement), words[:40])
            elif words.startswith("COMMIT"):
                change(f"commit {last}")

        made.set_trace_callback(seen)
        return made

    vars(sqlite3)["connect"] = vars(sqlite3.dbapi2)["connect"] = watched

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILES and any(str(each).startswith(str(folder)) for each in arguments):
            change(f"{event} {Path(str(arguments[0])).name}")
        elif event == "subprocess.Popen":
            change(f"process {arguments[1][0] if arguments[1] else arguments[0]}")

    sys.addaudithook(heard)
