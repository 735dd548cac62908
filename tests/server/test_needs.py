"""What models need, as readiness of a server: at its start, in a blip, in an outage, and afterwards."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fullcircle.server.app import App
from fullcircle.server.board import Board
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded, View
from fullcircle.server.meter import Meter
from fullcircle.server.needs import FAILURES, Watch
from fullcircle.server.worker import SETTLING, Gate
from fullcircle.server.workers import Place
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Need
from needed import web
from sample_models import archive, serve
from serving import GOOD, call, loaded, view

Wanted = tuple[tuple[Need, ...], ViewSpec | None]


class Fleet:
    """A watch over what the test says is served, which looks when the test says so."""

    def __init__(self, *needs: Need, online: str = "") -> None:
        self.wanted: dict[int, Wanted] = {1: (needs, None)}
        self.view = View()
        self.meter = Meter()
        self.watch = Watch(lambda: self.view, self._needs, online=online, meter=self.meter, every=0.0, again=0.0)

    def _needs(self, one: Loaded) -> Wanted:
        return self.wanted.get(one.version, ((), None))

    def serve(self, version: int = 1) -> None:
        self.view = view(loaded(version=version))

    def looks(self, times: int = 1) -> bool:
        """Look so often; whether it is ready then."""
        for _ in range(times):
            self.watch.look()
        return not self.watch.unmet

    def gauges(self) -> Mapping[str, float]:
        return {key: value for key, value in self.meter.snapshot().gauges.items() if key.startswith("unmet")}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    path = tmp_path / "there"
    path.write_text("x")
    return path


def file(path: Path, name: str = "table", **more: Any) -> Need:
    return Need(name=name, kind="file", at=str(path), **more)


def test_a_server_whose_models_need_nothing_waits_for_nothing() -> None:
    fleet = Fleet()
    fleet.serve()
    assert not fleet.watch.unmet
    assert fleet.looks()
    assert fleet.gauges() == {}


def test_it_is_not_ready_before_each_need_was_met_once(there: Path) -> None:
    fleet = Fleet(file(there))
    assert not fleet.watch.unmet  # nothing is served yet: that is said by the view
    fleet.serve()
    assert [one.what for one in fleet.watch.unmet.values()] == [
        "what the models need at run time was not checked yet"
    ]
    assert fleet.looks()


def test_one_success_is_enough_and_one_failure_at_the_start_too_much(there: Path) -> None:
    there.unlink()
    fleet = Fleet(file(there))
    fleet.serve()
    assert not fleet.looks()
    assert "no such file" in fleet.watch.unmet["table"].what
    assert not fleet.looks(5)
    there.write_text("x")
    assert fleet.looks()


def test_a_blip_does_not_take_it_out_and_an_outage_does(there: Path) -> None:
    fleet = Fleet(file(there))
    fleet.serve()
    assert fleet.looks()
    for _ in range(4):
        there.unlink()
        assert fleet.looks(FAILURES - 1)
        there.write_text("x")
        assert fleet.looks()
    there.unlink()
    assert fleet.looks(FAILURES - 1)
    assert not fleet.looks()
    assert not fleet.looks(10)
    there.write_text("x")
    assert fleet.looks()
    there.unlink()
    assert fleet.looks(FAILURES - 1)


def test_a_version_that_is_swapped_in_takes_no_readiness_away(there: Path, tmp_path: Path) -> None:
    fleet = Fleet(file(there))
    fleet.serve()
    assert fleet.looks()
    fleet.wanted[2] = ((file(there), file(tmp_path / "gone", "other")), None)
    fleet.serve(2)
    assert not fleet.watch.unmet
    assert fleet.looks(FAILURES - 1)
    assert not fleet.looks()
    assert list(fleet.watch.unmet) == ["other"]
    fleet.serve(1)  # and back: what nobody needs any more is forgotten
    assert fleet.looks()
    assert fleet.gauges() == {"unmet\ttable\tfile": 0}


def test_what_is_optional_is_told_and_keeps_nobody_waiting(there: Path, tmp_path: Path) -> None:
    fleet = Fleet(file(there), file(tmp_path / "gone", "extra", optional=True))
    fleet.serve()
    assert fleet.looks(9)
    assert fleet.watch.notes == {"extra": "optional: there is no such file"}


def test_what_is_told_of_a_need_that_looks_wrong_is_not_where_it_is(there: Path) -> None:
    there.write_text("")
    fleet = Fleet(file(there))
    fleet.serve()
    assert fleet.looks()
    assert fleet.watch.notes == {"table": "the file is empty"}


def test_each_change_is_one_line_and_a_figure(there: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fleet = Fleet(file(there))
    fleet.serve()
    fleet.looks(3)
    assert fleet.gauges() == {"unmet\ttable\tfile": 0}
    there.unlink()
    fleet.looks(9)
    assert fleet.gauges() == {"unmet\ttable\tfile": 1}
    there.write_text("x")
    fleet.looks(9)
    assert fleet.gauges() == {"unmet\ttable\tfile": 0}
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in said] == [
        "need table is not met, it is tried again",
        "need table is not met, the server is not ready until it is",
        "need table is met again",
    ]
    assert all("next" in line for line in said[:2])


def test_two_models_that_need_the_same_ask_once(tmp_path: Path) -> None:
    with web() as server:
        need = Need(name="rates", kind="url", at=server.url)
        fleet = Fleet(need)
        fleet.view = view(loaded("a"), loaded("b"))
        assert fleet.looks()
        assert len(server.asked) == 1


def test_a_feature_store_that_nobody_named_or_that_is_not_there(tmp_path: Path) -> None:
    need = Need(name="store", kind="features")
    for online, word in (("", "nobody said"), (f"sqlite:///{tmp_path}/no.db", "nothing was published")):
        fleet = Fleet(need, online=online)
        fleet.serve()
        assert not fleet.looks()
        assert word in fleet.watch.unmet["store"].what


def test_it_looks_by_itself_in_a_thread_and_never_where_it_is_asked() -> None:
    with web() as server:
        fleet = Fleet(Need(name="slow", kind="url", at=f"{server.url}/slow/0.3"))
        fleet.watch.start()
        fleet.serve()
        try:
            deadline = time.monotonic() + 20
            longest = 0.0
            while fleet.watch.unmet:
                begun = time.perf_counter()
                _ = fleet.watch.unmet
                longest = max(longest, time.perf_counter() - begun)
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert server.asked
            assert longest < 0.2
        finally:
            fleet.watch.stop()


class TestTheDoor:
    def app(self, fleet: Fleet, folder: Path) -> App:
        return App(lambda: fleet.view, Desk(folder), watch=fleet.watch)

    def test_readiness_names_the_need_and_what_to_do(
        self, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TOKEN", raising=False)
        secret = Need(name="token", kind="secret", at="TOKEN")
        fleet = Fleet(secret, file(tmp_path / "gone", "extra", optional=True))
        fleet.serve()
        app = self.app(fleet, tmp_path)
        assert call(app, "GET", "/health/ready").status == 503
        fleet.looks()
        found = call(app, "GET", "/health/ready")
        assert found.status == 503
        assert found.headers["retry-after"] == "1"
        error = found.json["error"]
        assert "token" in error["message"]
        assert "not set" in error["received"]
        assert "set TOKEN" in error["next"]
        monkeypatch.setenv("TOKEN", "geheim")
        fleet.looks()
        found = call(app, "GET", "/health/ready")
        assert found.json == {"ready": True, "problems": {"need extra": "optional: there is no such file"}}
        assert "geheim" not in found.body.decode()

    def test_liveness_and_predictions_are_not_affected(self, tmp_path: Path) -> None:
        fleet = Fleet(file(tmp_path / "gone"))
        fleet.serve()
        fleet.looks()
        app = self.app(fleet, tmp_path)
        assert call(app, "GET", "/health/ready").status == 503
        assert call(app, "GET", "/health/live").status == 200
        answer = call(app, "POST", "/predict/m", json.dumps({"rows": [GOOD]}).encode())
        assert answer.status == 200

    def test_an_address_is_not_told_at_the_door(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB", "postgresql://me:geheim@127.0.0.1:1/inner")
        fleet = Fleet(Need(name="warehouse", kind="database", at="env:DB"))
        fleet.serve()
        fleet.looks()
        body = call(self.app(fleet, tmp_path), "GET", "/health/ready").body.decode()
        assert "warehouse" in body
        assert not any(word in body for word in ("geheim", "127.0.0.1", "inner"))


class TestWorkers:
    def place(self, workers: int) -> Place:
        return Place(bound=socket.socket(), board=Board(workers), number=0, leash=-1)

    def test_a_worker_without_what_it_needs_is_not_ready_and_answers_whom_it_is_asked_by(self) -> None:
        met = False
        seen = view(loaded())
        for workers in (1, 2):
            place = self.place(workers)
            gate = Gate(place, lambda: seen, lambda: met)
            for _ in range(SETTLING + 1):
                gate.tick()
            assert (gate.ready, gate.shown) == (False, False)
            assert gate.view() is seen  # and not held back
            place.bound.close()
        met = True
        assert gate.shown

    def test_one_whose_model_does_not_answer_is_no_readier_for_it(self) -> None:
        place = self.place(1)
        gate = Gate(place, lambda: replace(view(loaded()), wanted=frozenset({"m", "n"})), lambda: True)
        assert not gate.ready
        place.bound.close()


def _get(url: str) -> tuple[int, Any]:
    try:
        with urlopen(Request(url)) as answer:  # noqa: S310 - loopback
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_real_server_waits_for_what_its_bundle_needs(tmp_path: Path) -> None:
    there = tmp_path / "table.csv"
    serve(tmp_path / "served.json", {"m": (1, archive(1, requires=(file(there),), compiled=True))})
    flags = ["--served", "served.json", "--predictions", "predictions", "--code-cache", "code", "--port", "0"]
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.server", *flags],
            stdout=subprocess.PIPE, stderr=errors, cwd=tmp_path,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["listening"]
        deadline = time.monotonic() + 60
        while "no such file" not in str((found := _get(f"{url}/health/ready"))[1]):
            assert found[0] == 503
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        assert _get(f"{url}/health/live")[0] == 200
        there.write_text("x")
        while _get(f"{url}/health/ready")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 'fullcircle_need_unmet{kind="file",need="table"} 0.0' in urlopen(f"{url}/metrics").read().decode()  # noqa: S310
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(40)
        if process.stdout is not None:
            process.stdout.close()
    said = (tmp_path / "errors").read_text()
    assert "need table is met again" in said
    assert "defect" not in said
