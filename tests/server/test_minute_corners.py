"""Corners of the lines of minutes: snapshots in, lines out, without any server."""

from __future__ import annotations

import logging
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.server import minutes as module
from fullcircle.server.meter import Meter, Snapshot
from fullcircle.server.minutes import Minutes
from fullcircle.tables.requests import MINUTE, SECONDS, Line, RequestLog, Requests
from fullcircle.tables.room import REQUESTS

BEGIN = 1_700_000_000.0  # 20 seconds into a minute: 2023-11-14T22:13:20Z
PREDICT = "/predict/{model}"


class Clock:
    def __init__(self, now: float = BEGIN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def begun(folder: Path, now: float = BEGIN) -> tuple[Minutes, Clock]:
    clock = Clock(now)
    return Minutes(Meter(), RequestLog(folder), clock=clock), clock


def lines(folder: Path) -> list[Line]:
    return [*Requests(folder, "1970-01-01", "2100-01-01")]


def took(count: int, seconds: float) -> list[float]:
    return [float(count)] + [0.0] * len(SECONDS) + [seconds]


def seen(ok: int = 0, *, current: bool = True, busy: float = 0.0, reasons: int = 0) -> Snapshot:
    counts: dict[str, float] = {"verdicts\tok\tm\t1": ok, "busy\tm\t1": busy, "reasons\tslow\tm\t1": reasons}
    histograms = {f"requests\t{PREDICT}\t200\tm\t1": took(ok, ok / 8)}
    return Snapshot(counts=counts, histograms=histograms, gauges={"current\tm\t1": 1} if current else {})


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_lines_are_the_differences_and_add_up_to_the_last_snapshot(more: list[int]) -> None:
    with TemporaryDirectory() as folder:
        minutes, clock = begun(Path(folder))
        for total in accumulate(more):
            clock.now += MINUTE
            minutes.look(seen(total))
        kept = lines(Path(folder))
    assert [line.verdicts.get("ok", 0) for line in kept] == more
    assert [sum(found.count for found in line.requests.values()) for line in kept] == more
    assert [line.number for line in kept] == list(range(len(more)))
    assert sum(found.seconds for line in kept for found in line.requests.values()) == sum(more) / 8


def test_a_minute_ends_on_the_clock_and_not_sixty_seconds_later(tmp_path: Path) -> None:
    minutes, clock = begun(tmp_path)
    clock.now = BEGIN + 39.999
    minutes.look(seen(1))
    assert lines(tmp_path) == []  # 22:13 is not over
    clock.now = BEGIN + 40.0
    minutes.look(seen(2))
    (found,) = lines(tmp_path)
    assert (found.since, found.verdicts) == ("2023-11-14T22:13:20.000000Z", {"ok": 2})
    clock.now = BEGIN + 99.0
    minutes.look(seen(3))
    assert len(lines(tmp_path)) == 1
    clock.now = BEGIN + 100.0
    minutes.look(seen(3))
    assert [line.verdicts for line in lines(tmp_path)] == [{"ok": 2}, {"ok": 1}]
    assert lines(tmp_path)[1].since == "2023-11-14T22:14:00.000000Z"


@pytest.mark.parametrize("jump", [-3600.0, -MINUTE, 3600.0, 86400.0 * 400])
def test_a_clock_that_jumps_begins_a_line_and_nothing_counts_twice(tmp_path: Path, jump: float) -> None:
    minutes, clock = begun(tmp_path)
    minutes.look(seen(3))
    clock.now += jump
    minutes.look(seen(4))
    minutes.look(seen(4))
    clock.now += MINUTE
    minutes.look(seen(9))
    assert [line.verdicts["ok"] for line in sorted(lines(tmp_path), key=lambda line: line.number)] == [4, 5]
    assert all(line.seconds < 30 for line in lines(tmp_path))  # the time that was, not that of the wall


def test_counts_that_began_anew_are_not_negative(tmp_path: Path) -> None:
    minutes, clock = begun(tmp_path)
    for ok in (50, 7, 8):  # the version was forgotten, and came back
        clock.now += MINUTE
        minutes.look(seen(ok, busy=ok / 4, reasons=ok))
    found = lines(tmp_path)
    assert [line.verdicts["ok"] for line in found] == [50, 7, 1]
    assert [line.requests[200].count for line in found] == [50, 7, 1]
    assert [line.reasons["slow"] for line in found] == [50, 7, 1]
    assert [line.busy for line in found] == [12.5, 1.75, 0.25]


def test_a_version_that_answers_has_a_line_and_one_that_does_not_only_where_it_was_asked(tmp_path: Path) -> None:
    minutes, clock = begun(tmp_path)
    for found in (seen(0), seen(0, current=False), seen(2, current=False), seen(2, current=False)):
        clock.now += MINUTE
        minutes.look(found)
    assert [(line.model, line.version, line.verdicts) for line in lines(tmp_path)] == [
        ("m", 1, {}),
        ("m", 1, {"ok": 2}),
    ]


def test_requests_about_the_server_itself_are_no_requests_to_a_model(tmp_path: Path) -> None:
    minutes, clock = begun(tmp_path)
    clock.now += MINUTE
    histograms = {
        f"requests\t{route}\t{status}\t\t": took(1, 0.5)
        for route, status in (("/metrics", 200), ("/health/ready", 503), (PREDICT, 404), ("other", 404))
    }
    minutes.look(Snapshot(counts={"seconds\tm\t1": 5}, histograms=histograms))
    (found,) = lines(tmp_path)
    assert (found.model, found.version) == ("", 0)
    assert {status: one.count for status, one in found.requests.items()} == {404: 2}  # both addresses, added up
    assert found.requests[404].seconds == 1.0


def test_versions_and_models_have_lines_of_their_own(tmp_path: Path) -> None:
    minutes, clock = begun(tmp_path)
    clock.now += MINUTE
    keys = {"verdicts\tok\tm\t1": 1, "verdicts\tok\tm\t2": 2, "failed\tn\t1": 3, "lost\tn\t1": 4, "busy\tm\t2": 0.5}
    minutes.look(Snapshot(counts=dict(keys)))
    found = {(line.model, line.version): line for line in lines(tmp_path)}
    assert {key: line.verdicts.get("ok", 0) for key, line in found.items()} == {("m", 1): 1, ("m", 2): 2, ("n", 1): 0}
    assert (found["n", 1].failed, found["n", 1].lost, found["m", 2].busy) == (3, 4, 0.5)


def test_what_is_not_over_is_presented_now_and_then_and_gone_when_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes, clock = begun(tmp_path)
    minutes.look(seen(1))
    assert lines(tmp_path) == []  # not each second
    monkeypatch.setattr(module, "PRESENT", 0.0)
    for ok in (2, 3):
        minutes.look(seen(ok))
        assert [line.verdicts for line in lines(tmp_path)] == [{"ok": ok}]
    clock.now += MINUTE
    minutes.look(seen(4))
    assert [line.verdicts for line in lines(tmp_path)] == [{"ok": 4}]
    assert [path.suffix for path in (tmp_path / REQUESTS).iterdir()] == [".jsonl"]


def test_where_nothing_can_be_written_it_is_said_once_and_again_only_after_it_went(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    minutes, clock = begun(tmp_path)
    blocked = tmp_path / REQUESTS
    blocked.write_text("in the way")
    with caplog.at_level(logging.ERROR):
        for ok in (1, 2, 3):
            clock.now += MINUTE
            minutes.look(seen(ok))
        assert len(caplog.records) == 1
        blocked.unlink()
        clock.now += MINUTE
        minutes.look(seen(4))
        assert [line.verdicts for line in lines(tmp_path)] == [{"ok": 4}]  # all four minutes in one line
        assert lines(tmp_path)[0].since == "2023-11-14T22:13:20.000000Z"
        for path in blocked.iterdir():
            path.unlink()
        blocked.rmdir()
        blocked.write_text("again")
        clock.now += MINUTE
        minutes.look(seen(5))
        assert len(caplog.records) == 2
    assert "cannot be written" in caplog.text


def test_the_end_writes_what_is_left_and_nothing_comes_after(tmp_path: Path) -> None:
    meter, clock = Meter(), Clock()
    minutes = Minutes(meter, RequestLog(tmp_path), clock=clock)
    meter.answered("m", 1, {"ok": 2}, 2, [0.001], busy=0.25, waiting=3)
    meter.bound = 4
    minutes.end()
    clock.now += 10 * MINUTE
    minutes.look(seen(99))
    (found,) = lines(tmp_path)
    assert (found.model, found.version, found.verdicts, found.busy) == ("m", 1, {"ok": 2}, 0.25)
    assert (found.waiting, found.bound) == (3, 4)


def test_the_most_that_waited_is_that_of_its_minute(tmp_path: Path) -> None:
    meter, clock = Meter(), Clock()
    minutes = Minutes(meter, RequestLog(tmp_path), clock=clock)
    for waiting in ((5, 2), (1,), (7,)):
        for one in waiting:
            meter.answered("m", 1, {"ok": 1}, 1, [0.001], waiting=one)
            minutes.look(meter.snapshot())
        clock.now += MINUTE
        minutes.look(meter.snapshot())
    assert [line.waiting for line in lines(tmp_path)] == [5, 1, 7]
