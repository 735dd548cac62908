"""Versions beside a champion, with processes of their own whose models do what models should not do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.server.child import Child
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded, View
from fullcircle.server.frames import receive
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.routes import Beside, Route, Started, Way
from fullcircle.server.shadowing import Shadow
from fullcircle.server.spawning import Spawned
from fullcircle.server.splitting import Splitter
from fullcircle.types.splits import Variant
from serving import Sum, contract

PROGRAM = """
import os, socket, sys, time
import numpy as np
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.asking import answer
from fullcircle.server.frames import Ready, packed
from fullcircle.server.shadowing import ShadowLog, follow
from serving import contract

class Planted:
    name, probable = "planted", False
    def __init__(self, how):
        self.how = how
    def ask(self, matrix):
        bmi = matrix[:, 1]
        odd = bmi == 13.0
        how = self.how
        if how == "raises":
            raise ValueError("not that one")
        if how == "hangs" or (how == "hangs at 13" and odd.any()):
            time.sleep(60)
        if how == "dies" or (how == "dies at 13" and odd.any()):
            os._exit(9)
        if how == "slow":
            time.sleep(0.5)
        if how == "garbage":
            return np.full(len(bmi), np.nan), None
        return matrix[:, 0] + bmi + 1000.0, None

found = contract()
if sys.argv[2] == "rejects":
    from dataclasses import replace
    age, *others = found.columns
    found = replace(found, columns=(replace(age, high=18), *others))
scorer = Scorer(found, None, form=Planted(sys.argv[2]), name="m", version=2, bundle="c" * 64)
connection = socket.socket(fileno=int(sys.argv[1]))
if sys.argv[3]:
    connection.sendall(packed(Ready()))
    follow(connection, scorer, ShadowLog(sys.argv[3], "s1"), "m")
else:
    answer(connection, scorer)
"""


def start(how: str, shadows: str = "") -> Spawned:
    """A process whose model answers 1000 more than the champion, or does what ``how`` says."""
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), how, shadows]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], env=environment)
    assert receive(ours) is not None
    ours.setblocking(False)
    return Spawned(process, ours)


def champion() -> Loaded:
    return Loaded(model="m", version=1, bundle="b" * 64, scorer=Scorer(contract(), Sum()))


class Split:
    """An application whose champion has a version beside it."""

    def __init__(
        self,
        folder: Path,
        how: str = "well",
        *,
        share: int = 5000,
        entity: Sequence[str] = ("age",),
        unfelt: float = 1.0,
        **more: Any,
    ) -> None:
        self.folder = folder
        meter, limits = Meter(), Limits()
        desk = Desk(folder / "predictions", meter)
        (folder / "predictions").mkdir(exist_ok=True)
        shell = Loaded(model="m", version=2, bundle="c" * 64, scorer=Scorer(contract(), None))
        spawn = partial(start, how)
        self.child = Child(shell, desk, limits, meter, spawn, spawn(), per_row=0.001, **more)
        self.way = Way(id="s1", salt="salt", entity=tuple(entity))
        self.started = Started(loaded=shell, child=self.child)
        self.loaded = champion()
        self.splitter = Splitter(desk, limits, meter, folder / "splits", unfelt=unfelt)
        self.share(share)
        self.app = App(lambda: self.view, desk, limits, meter=meter, splitter=self.splitter)

    def share(self, buckets: int) -> None:
        """Give the version another share."""
        beside = Beside(variant=Variant(version=2, high=buckets), started=self.started)
        self.show(Route(way=self.way, champion=1, others=(beside,)))

    def show(self, route: Route) -> None:
        self.route = route
        self.view = View(loaded={"m": self.loaded}, wanted=frozenset({"m"}), file="", routes={"m": route})

    def close(self) -> None:
        self.child.close()


class Shadowed:
    """An application whose champion has a shadow."""

    def __init__(self, folder: Path, how: str = "well", **more: Any) -> None:
        self.folder, self.log = folder, folder / "shadows"
        (folder / "predictions").mkdir(exist_ok=True)
        meter = Meter()
        desk = Desk(folder / "predictions", meter)
        self.desk = desk
        spawn = partial(start, how, str(self.log))
        self.shadow = Shadow("m", spawn, spawn(), self.log, **more)
        shell = Loaded(model="m", version=2, bundle="c" * 64, scorer=Scorer(contract(), None))
        started = Started(loaded=shell, shadow=self.shadow)
        beside = Beside(variant=Variant(version=2, shadow=True), started=started)
        route = Route(way=Way(id="s1", salt="salt"), champion=1, others=(beside,))
        self.view = View(loaded={"m": champion()}, wanted=frozenset({"m"}), file="", routes={"m": route})
        self.app = App(lambda: self.view, desk, Limits(), meter=meter)
