"""Lines of minutes: each request once, the model that was asked, what SIGKILL leaves, several workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from fullcircle.deployment import client
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.meter import Meter
from fullcircle.server.minutes import Minutes
from fullcircle.tables.requests import Counted, RequestLog, read
from fullcircle.tables.room import REQUESTS
from sample_models import ROWS, archive, serve
from server.test_process import Server
from serving import GOOD, loaded, post, view

EVER = [("2020-01-01", "2100-01-01")]


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def served(folder: Path, *names: str) -> tuple[App, Minutes, Clock]:
    clock, meter = Clock(), Meter()
    seen = view(*(loaded(name) for name in names))
    app = App(lambda: seen, Desk(folder, meter), meter=meter)
    return app, Minutes(meter, RequestLog(folder), clock=clock), clock


def statuses(found: Counted) -> dict[int, int]:
    return {status: one.count for status, one in found.requests.items()}


def test_each_request_counts_once_by_model_and_status(tmp_path: Path) -> None:
    app, minutes, clock = served(tmp_path, "m", "n")
    for turn in range(3):
        post(app, "/predict/m", {"rows": [GOOD, {**GOOD, "bmi": None}]})
        post(app, "/predict/m", {"rows": [{"age": 7}]})
        post(app, "/predict/m", {"no": "rows"})
        post(app, "/predict/n", {"rows": [GOOD]})
        post(app, "/predict/unknown", {"rows": [GOOD]})
        minutes.look(app.meter.snapshot())
        clock.now += 60 * (turn != 1)
        minutes.look(app.meter.snapshot())
    minutes.end()
    minutes.look(app.meter.snapshot())  # after the end nothing is written
    (found,) = read(tmp_path, "m", EVER)
    assert statuses(found) == {200: 3, 422: 3, 400: 3}
    assert found.reasons == {"invalid": 3}
    assert found.verdicts == {"ok": 3, "imputed": 3, "rejected": 3}
    assert found.busy > 0
    assert 0 < found.fullest <= 1 / 1024
    assert statuses(read(tmp_path, "n", EVER)[0]) == {200: 3}
    assert statuses(read(tmp_path, "", EVER)[0]) == {404: 3}


def test_a_version_that_nobody_asks_has_its_line(tmp_path: Path) -> None:
    app, minutes, clock = served(tmp_path, "m")
    app.follow()
    clock.now += 60
    minutes.look(app.meter.snapshot())
    minutes.end()
    (found,) = read(tmp_path, "m", EVER)
    assert (found.lines, found.requests) == (2, {})


def test_what_cannot_be_written_is_in_the_next_line(tmp_path: Path) -> None:
    app, minutes, clock = served(tmp_path, "m")
    (tmp_path / REQUESTS).write_text("in the way")
    post(app, "/predict/m", {"rows": [GOOD]})
    minutes.look(app.meter.snapshot())
    clock.now += 60
    post(app, "/predict/m", {"rows": [GOOD]})
    minutes.look(app.meter.snapshot())
    (tmp_path / REQUESTS).unlink()
    clock.now -= 7200  # a clock that is set back
    minutes.look(app.meter.snapshot())
    minutes.end()
    assert statuses(read(tmp_path, "m", EVER)[0]) == {200: 2}


def test_two_workers_of_whom_one_is_killed(tmp_path: Path) -> None:
    serve(tmp_path / "served.json", {"m": (1, archive(1))})
    server = Server(tmp_path, "--workers", "2")
    server.until(lambda: len(server.workers()) == 2)
    for _ in range(20):
        client.predict(server.url, "m", ROWS[:2])
    server.until(lambda: statuses(read(server.predictions, "m", EVER)[0]) == {200: 20})
    os.kill(min(server.workers()), signal.SIGKILL)
    server.until(lambda: len(server.workers()) == 2)
    server.ready()
    client.predict(server.url, "m", ROWS[:2])
    assert server.end() == 0
    (found,) = read(server.predictions, "m", EVER)
    assert (statuses(found), sum(found.verdicts.values()), found.torn) == ({200: 21}, 42, 0)
