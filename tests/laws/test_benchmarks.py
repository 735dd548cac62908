"""Benchmarks measure what they say. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from laws.sizes import ROOT


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_each_benchmark_has_rows_and_helpers_are_none() -> None:
    from importlib import import_module

    from benchmarks.rows import ROOT as FOUND

    assert FOUND == ROOT
    from benchmarks.__main__ import NAMES

    assert {"evaluation", "features", "packaging", "serving", "start"} <= set(NAMES)
    for name in ("features", "packaging", "serving", "start"):
        assert callable(import_module(f"benchmarks.{name}").rows)
    assert not {"loads", "rows", "soak"} & set(NAMES)


def test_the_data_of_features_are_the_same_each_time() -> None:
    from benchmarks.peers.data import feature_rows, label_rows

    rows = feature_rows(1000, 100, columns=3)
    assert rows.equals(feature_rows(1000, 100, columns=3))
    assert not rows.equals(feature_rows(1000, 100, columns=3, seed=5))
    assert rows.column_names == ["user_id", "event_timestamp", "created", "f0", "f1", "f2"]
    assert label_rows(100, 10).equals(label_rows(100, 10))


def test_each_user_has_one_row_where_that_is_asked_for() -> None:
    from benchmarks.peers.data import feature_rows

    assert sorted(feature_rows(50, 50, each=True).column("user_id").to_pylist()) == list(range(50))


def test_large_files_have_the_rows_asked_for(tmp_path: Path) -> None:
    from benchmarks.peers.data import large

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        large(1000, tmp_path / name)
    for name in ("labels", "rows"):
        one, two = (pq.read_table(tmp_path / place / f"{name}.parquet") for place in ("one", "two"))
        assert one.num_rows == 1000
        assert one.sort_by([(column, "ascending") for column in one.column_names]).equals(
            two.sort_by([(column, "ascending") for column in two.column_names])
        )


def test_medians_leave_out_the_first_round_and_programs_take_turns() -> None:
    from benchmarks.peers.talking import interleaved

    asked: list[str] = []

    def program(name: str, first: float) -> float:
        asked.append(name)
        return first if asked.count(name) == 1 else float(asked.count(name))

    found = interleaved({"a": lambda: program("a", 100.0), "b": lambda: program("b", -100.0)}, times=3)
    assert found == {"a": 3.0, "b": 3.0}
    assert asked == ["a", "b"] * 4


def test_times_of_cases_keep_their_order_in_microseconds() -> None:
    from benchmarks.peers.compare import microseconds

    second = 10**9
    moments = [-second - 1, -second, -1, 0, 1, 1000, second - 1, second, second + 1, 86_400 * second]
    found = [microseconds(moment) for moment in moments]
    assert found == sorted(set(found))
    assert found[-1] == 86_400 * 10**6
    assert microseconds(second + 1) - microseconds(second) == microseconds(1) == 1


@pytest.mark.parametrize(
    ("got", "wanted", "told"),
    [
        ([], None, "row lost, null in the law"),
        ([], 1, "row lost, a value in the law"),
        ([1, 1], 1, "row repeated"),
        ([1.0], 1, ""),
        ([9007199254740992.0], 9007199254740993, "other value"),
        ([None], float("nan"), "NaN and null mixed up"),
        ([None], 1, "null for a value"),
        ([1], None, "value for null"),
        ([0.0], -0.0, "other value"),
        ([None], None, ""),
    ],
)
def test_answers_of_feast_are_compared_fairly(got: list[object], wanted: object, told: str) -> None:
    from benchmarks.peers.judging import difference

    assert difference(got, wanted) == told


def test_drawn_cases_for_feast_are_the_same_each_time() -> None:
    from benchmarks.peers.compare import drawn_cases

    assert drawn_cases(5) == drawn_cases(5)
    assert "features.cases" in sys.modules


@pytest.mark.parametrize(("at_least", "ours", "met", "ratio"), [(False, 2.0, True, 2.0), (True, 2.0, False, 0.5)])
def test_a_goal_is_the_most_or_the_least_that_ours_may_be(
    at_least: bool, ours: float, met: bool, ratio: float
) -> None:
    from benchmarks.rows import Row

    row = Row(what="w", unit="u", ours=ours, goal=3.0, peer=4.0, at_least=at_least)
    assert (row.met, row.ratio) == (met, ratio)
    assert Row(what="w", unit="u", ours=3.0, goal=3.0, at_least=at_least).met


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (HEAD + b"{}", (200, False)),
        (HEAD + b"{", (0, False)),
        (HEAD[:-2], (0, False)),
        (b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", (503, True)),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", (0, False)),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (200, False)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, False)),
    ],
)
def test_a_response_counts_when_all_of_it_is_there(data: bytes, found: tuple[int, bool]) -> None:
    from benchmarks.loads import answer_of

    assert answer_of(data) == found


class _Answers(BaseHTTPRequestHandler):
    """Stalls once, at the request that ``stalls`` names; refuses where the body says so."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece
    stalls, asked = 5, 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        if self.asked == self.stalls:
            time.sleep(0.4)
        self.send_response(503 if body == b"refuse" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(_Answers, "asked", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_an_open_load_counts_from_when_a_request_was_due(answering: int) -> None:
    from benchmarks.loads import open_load

    phases = [(100.0, 0.5), (20.0, 0.5)]
    found = open_load(answering, "/", b"{}", phases, deadline=10.0, calm=0.2, connections=1)
    over, after = found.phases
    assert (over.due, over.statuses, over.good) == (50, {"200": 50}, 50)
    # One stall of 0.4 s, with some forty requests due meanwhile: a closed load would have seen one slow answer.
    assert over.p50 > 0.1
    assert 0.2 < over.restless < 0.5
    assert after.good == after.due == 10
    assert after.p50 < 0.1


def test_an_open_load_gives_up_what_is_too_late(answering: int) -> None:
    from benchmarks.loads import open_load

    found = open_load(answering, "/", b"{}", [(100.0, 0.5)], deadline=0.1, calm=0.2, connections=1).phases[0]
    assert found.statuses["unsent"] > 10
    assert found.good < found.statuses["200"] < found.due == 50
    assert 0 < found.goodput <= found.good / 0.5


def test_a_refusal_is_no_goodput(answering: int) -> None:
    from benchmarks.loads import open_load

    found = open_load(answering, "/", b"refuse", [(50.0, 0.2)], deadline=2.0, calm=0.2, connections=4).phases[0]
    assert (found.good, found.statuses) == (0, {"503": 10})


def test_a_closed_load_without_wrk_counts_answers(answering: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import loads

    monkeypatch.setenv("PATH", "")
    assert loads.generator() == "benchmarks.loads"
    found = loads.closed(answering, "/", b"{}", connections=2, seconds=1)
    assert found.rate == pytest.approx(_Answers.asked, rel=0.2)
    assert found.refused == 0
    assert 0 < found.p50 <= found.p99 < 1
    assert 0 < found.busy <= 1.01


def test_memory_is_that_of_a_process_and_all_below_it() -> None:
    from benchmarks.peers.servers import below, resident

    line = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE) as process:
        until = time.monotonic() + 10
        while len(below(process.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        found = below(process.pid)
        assert (found[0], len(found)) == (process.pid, 2)
        assert 5 < resident(process.pid) < 200
        process.communicate(b"\n")
    assert resident(process.pid) == 0
