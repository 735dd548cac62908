"""Slow models: a process of their own asks them, and whatever it does, nobody else is hurt."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import child as children
from fullcircle.server.app import App
from fullcircle.server.child import Child
from fullcircle.server.desk import Desk
from fullcircle.server.engines import Engines
from fullcircle.server.follower import Follower
from fullcircle.server.frames import receive
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.opening import Opener
from fullcircle.server.spawning import Spawned
from fullcircle.tables import predictions as log
from sample_models import archive, serve
from serving import GOOD, Response, ask, contract, loaded, view

PROGRAM = """
import os, socket, sys, time
import numpy as np
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.asking import answer
from serving import contract

class Moody:
    name, probable = "moody", False
    def __init__(self, plus):
        self.plus = plus
    def ask(self, matrix):
        bmi = matrix[:, 1]
        if (bmi == 13.0).any():
            os._exit(9)
        if (bmi == 14.0).any():
            time.sleep(60)
        if (bmi == 15.0).any():
            raise ValueError("not that one")
        time.sleep(0.003)
        return matrix[:, 0] + np.where(bmi == 16.0, np.inf, bmi) + self.plus, None

scorer = Scorer(contract(failed="fallback"), None, form=Moody(float(sys.argv[2])))
if sys.argv[3] == "before":
    scorer.fallback = Scorer(contract(), None, form=Moody(1000.0))
answer(socket.socket(fileno=int(sys.argv[1])), scorer)
"""


def start(plus: float, before: str) -> Spawned:
    """A process whose model is slow, and does by bmi what models do: it dies, hangs, raises, answers infinity."""
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), str(plus), before]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], env=environment)
    assert receive(ours) is not None
    ours.setblocking(False)
    return Spawned(process, ours)


class Served:
    """An application with one slow model and, where asked for, the champion before."""

    def __init__(self, folder: Path, *, before: bool, deadline: float) -> None:
        self.meter = Meter()
        self.desk = Desk(folder / "log")
        self.deadline = deadline
        self.engine = self.version(1, 0.0, before=before)
        self.app = App(lambda: self.view, self.desk, meter=self.meter)

    def version(self, number: int, plus: float, *, before: bool = False) -> Child:
        """Serve another version from now on."""
        spawn = partial(start, plus, "before" if before else "")
        one = loaded(version=number, scorer=Scorer(contract(failed="fallback"), None))
        engine = Child(
            one, self.desk, Limits(waiting=50), self.meter, spawn, spawn(), per_row=0.003, deadline=self.deadline
        )
        self.view = view(replace(one, engine=engine))
        return engine

    @property
    def pid(self) -> int:
        process = self.engine._process
        assert process is not None
        return process.process.pid

    async def post(self, *rows: Any) -> Response:
        return await ask(self.app, "POST", "/predict/m", json.dumps({"rows": list(rows)}).encode())


@asynccontextmanager
async def served(folder: Path, *, before: bool = False, deadline: float = 1.0) -> AsyncIterator[Served]:
    target = Served(folder, before=before, deadline=deadline)
    try:
        yield target
    finally:
        target.app.close()
        await asyncio.sleep(0.05)


def told(found: Response) -> list[tuple[str, Any, str]]:
    return [(row["verdict"], row["prediction"], row.get("answered_by", "")) for row in found.json["predictions"]]


def row(bmi: float) -> dict[str, Any]:
    return {**GOOD, "bmi": bmi}


def test_a_row_that_kills_or_hangs_the_model_hurts_no_other(tmp_path: Path) -> None:
    async def storm() -> None:
        async with served(tmp_path, before=True) as target:
            first = target.pid
            # The champion before would die and hang on the same rows: then the prior is the answer.
            found = await asyncio.gather(*(target.post(row(bmi)) for bmi in (20.0, 13.0, 21.0, 14.0, 22.0)))
            assert [one.status for one in found] == [200] * 5
            assert [told(one)[0] for one in found] == [
                ("ok", 60.0, ""),
                ("fallback", 99.0, "prior"),
                ("ok", 61.0, ""),
                ("fallback", 99.0, "prior"),
                ("ok", 62.0, ""),
            ]
            problem = found[1].json["predictions"][0]["problems"][0]
            assert (problem["reason"], problem["action"]) == ("model", "fallback")
            assert told(await target.post(row(15.0), row(16.0), row(17.0))) == [
                ("fallback", 99.0, "prior"),
                ("fallback", 99.0, "prior"),
                ("ok", 57.0, ""),
            ]
            assert target.pid != first
            with pytest.raises(ProcessLookupError):
                os.kill(first, 0)
            assert len(list(log.read(tmp_path / "log", "m"))) == 8

    asyncio.run(storm())


def test_the_champion_before_answers_while_the_breaker_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "OPEN", 60.0)

    async def broken() -> None:
        async with served(tmp_path, before=True) as target:
            for _ in range(children.FAILURES):
                os.kill(target.pid, signal.SIGSTOP)  # hangs, whatever it is asked
                found = await target.post(row(20.0))
                # Asked a second time, the fresh process answers by the champion before.
                assert told(found) == [("fallback", 1060.0, "previous")]
            assert target.meter.snapshot().gauges["breaker\tm"] == 1
            assert told(await target.post(row(30.0))) == [("fallback", 1070.0, "previous")]
            monkeypatch.setattr(children, "OPEN", 0.0)  # the time is over
            assert told(await target.post(row(31.0))) == [("ok", 71.0, "")]
            assert target.meter.snapshot().gauges["breaker\tm"] == 0

    asyncio.run(broken())


def test_health_answers_while_the_model_hangs_and_who_would_wait_too_long_is_told(tmp_path: Path) -> None:
    async def hang() -> None:
        async with served(tmp_path, deadline=2.0) as target:
            hanging = asyncio.create_task(target.post(row(14.0)))
            await asyncio.sleep(0.2)
            begun = time.monotonic()
            assert (await ask(target.app, "GET", "/health/live")).status == 200
            assert time.monotonic() - begun < 0.2
            many = [asyncio.create_task(target.post(row(20.0 + place))) for place in range(80)]
            found = await asyncio.gather(*many)
            statuses = [one.status for one in found]
            assert set(statuses) == {200, 503}
            assert statuses.count(200) == 50
            refused = next(one for one in found if one.status == 503)
            assert refused.headers["retry-after"] == "1"
            assert told(await hanging) == [("fallback", 99.0, "prior")]

    asyncio.run(hang())


def test_a_version_that_is_replaced_answers_what_it_has_taken(tmp_path: Path) -> None:
    async def swap() -> None:
        async with served(tmp_path) as target:
            first = target.pid
            taken = [asyncio.create_task(target.post(row(20.0 + place))) for place in range(10)]
            await asyncio.sleep(0)
            await asyncio.to_thread(target.version, 2, 1000.0)
            later = await target.post(row(20.0))
            assert (later.json["version"], told(later)) == (2, [("ok", 1060.0, "")])
            for place, one in enumerate(await asyncio.gather(*taken)):
                expected = 60.0 + place + (1000.0 if one.json["version"] == 2 else 0.0)
                assert told(one) == [("ok", expected, "")]
            deadline = time.monotonic() + 5
            while _lives(first) and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert not _lives(first)

    asyncio.run(swap())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_bad_bodies_are_refused_before_the_model_is_asked(tmp_path: Path) -> None:
    async def bad() -> None:
        async with served(tmp_path) as target:
            for body in (b"[]", b'{"rows": [{"age": 1, "age": 2}]}', b'{"rows": 3}', b"\xff", b""):
                assert (await ask(target.app, "POST", "/predict/m", body)).status == 400
            rejected = await target.post({"age": "old"})
            assert rejected.status == 422
            assert [one[0] for one in told(rejected)] == ["rejected"]

    asyncio.run(bad())


def test_a_model_of_a_bundle_is_started_in_a_process_of_its_own_where_it_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullcircle.server.opening.QUICK", 0.0)
    served_file = tmp_path / "served.json"
    serve(served_file, {"m": (7, archive(7))})
    desk, meter, opener = Desk(tmp_path / "log"), Meter(), Opener(tmp_path / "code")
    follower = Follower(served_file, opener, start=Engines(opener, tmp_path, desk, meter))
    seen = follower.look()
    assert isinstance(seen.loaded["m"].engine, Child)
    target = App(lambda: seen, desk, meter=meter)

    async def once() -> Response:
        try:
            return await ask(target, "POST", "/predict/m", json.dumps({"rows": [GOOD]}).encode())
        finally:
            assert target.close()
            await asyncio.sleep(0.05)

    found = asyncio.run(once())
    assert (found.status, found.json["version"]) == (200, 7)
    assert found.json["predictions"][0]["prediction"] == pytest.approx(7000.0, abs=10.0)


def test_a_row_that_kills_the_model_hurts_no_other_row_of_its_own_request(tmp_path: Path) -> None:
    async def mixed() -> None:
        async with served(tmp_path, before=True) as target:
            rows = [row(20.0), row(21.0), row(13.0), row(23.0), row(24.0)]
            found = await target.post(*rows)
            assert [one[0] for one in told(found)] == ["ok", "ok", "fallback", "ok", "ok"]
            assert [one[1] for one in told(found)] == [60.0, 61.0, 99.0, 63.0, 64.0]
            problem = found.json["predictions"][2]["problems"][0]
            assert (problem["reason"], problem["text"]) == ("model", "the model's process died")
            assert target.meter.snapshot().gauges.get("breaker\tm", 0) == 0
            assert (await target.post(row(25.0))).status == 200

    asyncio.run(mixed())
