"""The life of a version in a server: it is loaded, answers, is replaced, and everything it had is let go of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fullcircle.errors import ServerBusy
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import child as children
from fullcircle.server.app import App
from fullcircle.server.asking import answer
from fullcircle.server.child import Child
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Ask
from fullcircle.server.follower import Loaded, View
from fullcircle.server.frames import receive
from fullcircle.server.http import Limits
from fullcircle.server.inline import Inline
from fullcircle.server.lane import aside
from fullcircle.server.meter import Meter
from fullcircle.server.spawning import Spawned
from fullcircle.server.tally import Tally, home, sweep
from serving import GOOD, Sum, ask, contract, loaded, view

T = TypeVar("T")
BODY = json.dumps({"rows": [GOOD]}).encode()


class Slow:
    """A form that waits for a word before it answers, where it was told to."""

    name, probable = "slow", False

    def __init__(self, plus: float = 0.0) -> None:
        self.plus = plus
        self.go = threading.Event()
        self.go.set()

    def ask(self, matrix: Any) -> Any:
        self.go.wait(10)
        return matrix[:, 0] + matrix[:, 1] + self.plus, None


class Served:
    """An application whose models are asked by processes: each of them only sleeps, and a thread answers for it."""

    def __init__(self, folder: Path) -> None:
        self.meter, self.desk = Meter(), Desk(folder / "log")
        self.view = View()
        self.app = App(lambda: self.view, self.desk, meter=self.meter)
        self.processes: list[Spawned] = []
        self.closed: list[Spawned | None] = []

    def start(self, form: Slow) -> Spawned:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            with theirs:
                try:
                    answer(theirs, Scorer(contract(failed="fallback"), None, form=form))
                except OSError:
                    return  # it was killed while it answered

        threading.Thread(target=serve, daemon=True).start()
        assert receive(ours) is not None
        ours.setblocking(False)
        found = Spawned(subprocess.Popen(["sleep", "60"]), ours)
        self.processes.append(found)
        return found

    def version(
        self, number: int, form: Slow | None = None, name: str = "m", spawn: Callable[[], Spawned] | None = None
    ) -> Child:
        """A version of a model, not served yet."""
        form = form or Slow(1000.0 * number)
        one = loaded(name, number, Scorer(contract(failed="fallback"), None, form=form))
        first = self.start(form)
        engine = Child(
            one, self.desk, Limits(waiting=50), self.meter, spawn or (lambda: self.start(form)), first,
            per_row=0.001, deadline=0.3, closed=self.closed.append,
        )  # fmt: skip
        self.latest = replace(one, engine=engine)
        return engine

    def serve(self, *models: Loaded) -> None:
        self.view = view(*models)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something on an event loop, and close everything."""

        async def whole() -> T:
            try:
                return await work()
            finally:
                self.app.close()
                if self.latest.engine is not None:
                    self.latest.engine.close()
                for kept in self.closed:
                    if kept is not None:
                        kept.connection.close()
                for one in self.processes:
                    one.process.kill()
                    one.process.wait()
                await asyncio.sleep(0.01)  # transports close

        return asyncio.run(whole())

    def ended(self) -> list[bool]:
        return [one.process.returncode is not None for one in self.processes]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def gauges(meter: Meter, name: str) -> dict[str, float]:
    return {key: value for key, value in meter.snapshot().gauges.items() if key.startswith(name)}


# What an application does with engines


def test_versions_that_nobody_asked_are_closed_when_they_are_replaced(served: Served) -> None:
    async def swaps() -> None:
        for number in (1, 2, 3):
            served.version(number)
            served.serve(served.latest)
            served.app.follow()
        await asyncio.sleep(0)
        assert [one is not None for one in served.closed] == [True, True]
        assert served.meter.snapshot().counts["swaps\tm"] == 2
        found = await ask(served.app, "POST", "/predict/m", BODY)
        assert found.json["predictions"][0]["prediction"] == 3065.5

    served.run(swaps)


def test_a_model_that_is_no_longer_served_keeps_nothing(served: Served) -> None:
    async def removed() -> None:
        served.version(1)
        served.serve(served.latest, loaded("other"))
        served.app.follow()
        assert (await ask(served.app, "POST", "/predict/m", BODY)).status == 200
        assert gauges(served.meter, "current") == {"current\tm\t1": 1, "current\tother\t1": 1}
        served.serve(loaded("other"))
        served.app.follow()
        assert len(served.closed) == 1
        assert gauges(served.meter, "current") == {"current\tother\t1": 1}
        assert (await ask(served.app, "POST", "/predict/m", BODY)).status == 404
        served.version(1)  # it comes back
        served.serve(served.latest, loaded("other"))
        assert (await ask(served.app, "POST", "/predict/m", BODY)).status == 200
        assert gauges(served.meter, "current") == {"current\tm\t1": 1, "current\tother\t1": 1}

    served.run(removed)


def test_a_file_that_cannot_be_read_for_a_while_closes_nothing(served: Served) -> None:
    async def unreadable() -> None:
        served.version(1)
        served.serve(served.latest)
        served.app.follow()
        served.view = replace(served.view, file="served.json is not valid")
        served.app.follow()
        assert not served.closed
        assert (await ask(served.app, "POST", "/predict/m", BODY)).status == 200

    served.run(unreadable)


def test_models_tells_who_asks_which(served: Served) -> None:
    async def told() -> Any:
        served.version(4)
        served.serve(served.latest, loaded("quick"))
        served.view = replace(served.view, wanted=served.view.wanted | {"awaited"})
        return (await ask(served.app, "GET", "/models")).json["models"]

    found = {one["name"]: (one["version"], one["engine"]) for one in served.run(told)}
    assert found == {"awaited": (None, None), "m": (4, "process"), "quick": (1, "inline")}


# What an engine does with its process


def test_an_idle_engine_gives_its_process_back_when_it_is_closed(served: Served) -> None:
    async def close() -> None:
        engine = served.version(1)
        served.serve(served.latest)
        assert (await ask(served.app, "POST", "/predict/m", BODY)).status == 200
        engine.close()
        engine.close()
        (kept,) = served.closed
        assert kept is not None
        assert kept.process is served.processes[0].process
        assert kept.process.poll() is None
        assert kept.connection.fileno() >= 0  # its own, whatever the loop closes
        await asyncio.sleep(0.01)
        assert receive(kept.connection) is None  # it was released: the thread in its place has ended
        kept.connection.close()
        with pytest.raises(ServerBusy, match="out of service"):
            await engine.answer(Ask(BODY))

    served.run(close)


def test_an_engine_that_is_busy_answers_first(served: Served) -> None:
    async def close() -> None:
        form = Slow()
        engine = served.version(1, form)
        form.go.clear()
        asked = [asyncio.create_task(engine.answer(Ask(BODY))) for _ in range(3)]
        await asyncio.sleep(0.02)
        engine.close()
        await asyncio.sleep(0.02)
        assert not served.closed
        assert not engine.idle
        form.go.set()
        assert [one.status for one in await asyncio.gather(*asked)] == [200] * 3
        await asyncio.sleep(0)
        assert len(served.closed) == 1
        assert served.closed[0] is not None
        assert not any(served.meter.queues.values())
        served.closed[0].connection.close()

    served.run(close)


def test_a_process_that_died_is_not_given_back_and_leaves_no_zombie(served: Served) -> None:
    async def close() -> None:
        engine = served.version(1)
        served.processes[0].process.kill()
        served.processes[0].connection.shutdown(socket.SHUT_RDWR)
        engine.close()
        assert served.closed == [None]
        assert served.ended() == [True]  # it was waited for

    served.run(close)


def test_a_model_that_hangs_is_ended_and_the_breaker_is_forgotten_with_its_version(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FAILURES", 1)

    async def hang() -> None:
        form = Slow()
        served.version(1, form, spawn=lambda: served.start(Slow(5.0)))
        served.serve(served.latest)
        form.go.clear()
        found = await ask(served.app, "POST", "/predict/m", BODY)
        assert found.json["predictions"][0]["verdict"] == "fallback"
        assert gauges(served.meter, "breaker") == {"breaker\tm": 1}
        assert served.ended()[0]
        served.version(2)
        served.serve(served.latest)
        served.app.follow()
        assert gauges(served.meter, "breaker") == {"breaker\tm": 0}
        form.go.set()

    served.run(hang)


def test_a_process_that_does_not_start_again_keeps_no_server_from_ending(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "STARTING", 0.05)
    never = threading.Event()

    def hangs() -> Spawned:
        never.wait(20)
        raise OSError("it came too late")

    async def ask_once() -> str:
        engine = served.version(1, spawn=hangs)
        served.serve(served.latest)
        served.processes[0].connection.shutdown(socket.SHUT_RDWR)
        found = await ask(served.app, "POST", "/predict/m", BODY)
        engine.close()
        return str(found.json["predictions"][0]["verdict"])

    begun = time.monotonic()
    assert served.run(ask_once) == "fallback"
    assert time.monotonic() - begun < 5  # the loop is closed, though a thread hangs
    never.set()


def test_a_request_without_rows_teaches_the_engine_nothing(served: Served) -> None:
    async def empty() -> None:
        engine = served.version(1)
        assert (await engine.answer(Ask(b"", []))).status == 200
        assert (await engine.answer(Ask(BODY))).status == 200

    served.run(empty)


# The queue of the other engine


def test_what_waits_for_the_event_loop_is_counted(tmp_path: Path) -> None:
    async def several() -> None:
        meter, one = Meter(), loaded(scorer=Scorer(contract(), Sum()))
        engine = Inline(one, Desk(tmp_path), Limits(), meter)
        rows = one.decoder.rows(BODY)
        asked = [asyncio.create_task(engine.answer(Ask(BODY, rows))) for _ in range(7)]
        unclean = one.decoder.rows(json.dumps({"rows": [{**GOOD, "age": 101}]}).encode())
        asked.append(asyncio.create_task(engine.answer(Ask(BODY, unclean))))
        for _ in asked:
            await asyncio.sleep(0)
            if meter.queues:
                break
        assert meter.queues == {"m": 8}
        asked[0].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert meter.queues == {"m": 0}
        assert isinstance(found[0], asyncio.CancelledError)

    asyncio.run(several())


# What ends with whom

HANGING = """
import sys
from fullcircle.server.asking import obey
obey(int(sys.argv[1]))
print("obeys", flush=True)
sum(range(10**12))  # holds the interpreter: no thread, and no handler, would ever run
"""


def test_who_obeys_a_leash_ends_with_it_even_in_foreign_code() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", HANGING, str(reading)], pass_fds=[reading], stdout=-1)
    os.close(reading)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"obeys\n"
        time.sleep(0.05)
        assert process.poll() is None
        os.close(writing)  # as the death of the worker does
        assert process.wait(5) == -signal.SIGIO


def test_a_leash_that_has_ended_already_is_noticed() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    process = subprocess.Popen([sys.executable, "-c", HANGING, str(reading)], pass_fds=[reading], stdout=-1)
    os.close(reading)
    assert process.communicate(timeout=10)[0] == b""
    assert process.returncode == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_work_aside_ends_nobody_else(error: BaseException) -> None:
    def work() -> int:
        raise error

    found = aside(work, "test").exception(5)
    assert isinstance(found, Exception)
    assert found is error or str(found) == type(error).__name__
    assert aside(lambda: 3, "test").result(5) == 3


# The metrics that servers left behind


def folder(metrics: Path, name: str, *, age: float) -> Path:
    found = metrics / name
    found.mkdir(parents=True)
    (found / "12.json").write_text("{}")
    for path in (found / "12.json", found):
        os.utime(path, (time.time() - age,) * 2)
    return found


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    own = home(tmp_path, os.getpid())
    kept = [
        folder(tmp_path, own.name, age=9999.0),  # a living process, however long it was stopped
        folder(tmp_path, "999999999-elsewhere 5", age=30.0),  # another container's: it cannot be seen from here
        folder(tmp_path, "notes", age=9999.0),
        folder(tmp_path, "x1-other", age=9999.0),
    ]
    fresh = folder(tmp_path, "999999998-elsewhere 5", age=9999.0)
    (fresh / "13.json").write_text("{}")
    dead = [
        folder(tmp_path, f"{os.getpid()}-the id was used again 7", age=9999.0),
        folder(tmp_path, "999999999-dead 7", age=9999.0),
    ]
    (tmp_path / "5-a file").write_text("")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(path.name for path in kept), fresh.name, "5-a file"]
    )
    assert not any(path.exists() for path in dead)
    sweep(tmp_path / "there is none")


def test_a_server_that_starts_sweeps(tmp_path: Path) -> None:
    dead = folder(tmp_path, "999999999-dead 7", age=9999.0)
    tally = Tally(Meter(), home(tmp_path, os.getpid()), every=0.01)
    tally.keep()
    try:
        deadline = time.monotonic() + 5
        while dead.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not dead.exists()
    finally:
        tally.stop()
    assert home(tmp_path, os.getpid()).is_dir()
