"""``python -m benchmarks.soak_server [PART ...]``: the promises of the server in full counts, over real sockets.

Parts: sockets, swaps, sigterm, kill, growth, schema, drawn; all of them without a name. ``SCALE=0.01`` makes the
counts smaller.
Each part starts servers of its own on a free port of loopback, and ends them. What was counted is written to
``benchmarks/results/soak_server.json``, part by part, and only where nothing failed.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import soak_fuzz
from benchmarks.rows import ROOT

SCALE = float(os.environ.get("SCALE", "1"))
RESULTS = ROOT / "benchmarks" / "results" / "soak_server.json"
HEADERS = {"Content-Type": "application/json"}
HEAD = b"POST /predict/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ROWS_ASKED = 10  # rows of a request in the parts that check answers


def count(full: int, least: int = 2) -> int:
    """A full count, scaled."""
    return max(least, int(full * SCALE))


class Server:
    """A server in a folder of its own that serves version 1 of a small model."""

    def __init__(self, folder: Path, *further: str, compiled: bool = False) -> None:
        import sample_models

        self.sample = sample_models
        self.folder = folder
        folder.mkdir()
        self.archives = {version: sample_models.archive(version, compiled=compiled) for version in (1, 2, 3)}
        self.serve(1)
        self.errors = (folder / "errors.log").open("wb")
        places = {"served": "served.json", "predictions": "predictions", "code-cache": "code"}
        flags = [f"--{name}={folder / place}" for name, place in places.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.server", *flags, "--port", "0", *further],
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        atexit.register(self.process.kill)  # also where something fails: its workers end by themselves then
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port = int(told["listening"].rpartition(":")[2])
        self.until(self.ready)

    def serve(self, version: int) -> None:
        self.sample.serve(self.folder / "served.json", {"m": (version, self.archives[version])})

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.get("/health/ready")[0] == 200
        return False

    def version(self) -> int:
        return int(self.get("/models")[1]["models"][0]["version"] or 0)

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text(encoding="ascii").split()]

    def answering(self) -> int:
        return (self.folder / "errors.log").read_text(encoding="utf-8").count(" of m answers")

    def until(self, true: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.01)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
        return code

    def logged(self) -> set[str]:
        from fullcircle.tables import predictions

        return {one.id for one in predictions.read(self.folder / "predictions", "m")}


class Callers:
    """Threads that ask without a pause, check every answer, and measure how long each took."""

    def __init__(self, server: Server, threads: int = 3, *, anew: bool = False, patient: bool = False) -> None:
        self.rows = server.sample.ROWS
        self.port, self.anew, self.patient = server.port, anew, patient
        self.seconds: list[float] = []
        self.ids: list[str] = []
        self.versions: set[int] = set()
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(threads)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Stop, and fail where anything failed."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures[:3]

    def _call(self, seed: int) -> None:
        body = json.dumps({"rows": self.rows[seed : seed + ROWS_ASKED]})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                return  # the port is closed: nothing was accepted, nothing was dropped
            begun = time.perf_counter()
            try:
                connection.request("POST", "/predict/m", body, HEADERS)
                response = connection.getresponse()
                found = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not self.patient:
                    self.failures.append(repr(error))
                    return
                continue
            self.seconds.append(time.perf_counter() - begun)
            self._check(response.status, found)
            if self.anew:
                connection.close()
        connection.close()

    def _check(self, status: int, found: Any) -> None:
        version = found.get("version", 0)
        values = [one["prediction"] for one in found.get("predictions", ())]
        if status != 200 or len(values) != ROWS_ASKED or any(abs(one - 1000 * version) > 100 for one in values):
            self.failures.append(f"{status} {json.dumps(found)[:300]}")
        self.versions.add(version)
        self.ids.extend(one["id"] for one in found.get("predictions", ()))


def p99(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[-1] * 1000


def sockets(folder: Path) -> dict[str, Any]:
    """1000 idle, slow and half connections: p99 of normal traffic with them and without, and when they are cut."""
    server = Server(folder)
    number = count(1000, 30)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number + 1024, most), most))
    half = HEAD % 900 + b"{"
    without, beside = [], []
    longest = 0.0
    for _ in range(3):
        without.append(_measured(server))
        held = []
        for place in range(number):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall((b"", b"GET /models HTTP/1.1\r\nX: ", half)[place % 3])
            held.append(connection)
        begun = time.monotonic()
        beside.append(_measured(server, partial(_dribble, held)))
        for connection in held:
            connection.settimeout(max(0.1, 60 - (time.monotonic() - begun)))
            with suppress(ConnectionError):
                while connection.recv(65536):
                    pass
            connection.close()
        longest = max(longest, time.monotonic() - begun)
    assert server.end() == 0
    times = statistics.median(beside) / statistics.median(without)
    assert times <= 2, (without, beside)
    assert longest < 35, "a slow connection was not cut"
    return {
        "connections": number,
        "p99_ms_without": round(statistics.median(without), 2),
        "p99_ms_beside": round(statistics.median(beside), 2),
        "times": round(times, 2),
        "last_cut_seconds": round(longest, 1),
    }  # fmt: skip


def _measured(server: Server, meanwhile: Callable[[], None] = lambda: None) -> float:
    """The p99 of eight seconds of two callers."""
    callers = Callers(server, 2)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        meanwhile()
        time.sleep(1)
    callers.end()
    return p99(callers.seconds)


def _dribble(held: list[socket.socket]) -> None:
    """One more byte of a third of them."""
    for connection in held[1::3]:
        with suppress(OSError):
            connection.sendall(b"x")


def swaps(folder: Path) -> dict[str, Any]:
    """1000 hot swaps under load: none failed, none mixed."""
    server = Server(folder)
    number = count(1000)
    callers = Callers(server)
    for place in range(number):
        version = (2, 3, 1)[place % 3]
        server.serve(version)
        server.until(lambda version=version: server.version() == version)  # type: ignore[misc]
    callers.end()
    assert server.end() == 0
    assert callers.versions == {1, 2, 3} or number < 3
    return {"swaps": number, "answers": len(callers.seconds), "failed": 0, "mixed": 0}


def sigterm(folder: Path) -> dict[str, Any]:
    """SIGTERM under load, with one worker and with two: nothing that was accepted is dropped."""
    number = count(20)
    folder.mkdir()
    answers = 0
    for place in range(number):
        server = Server(folder / str(place), "--workers", str(1 + place % 2))
        groups = [Callers(server, 2), Callers(server, 3, anew=True)]
        time.sleep(0.5)
        begun = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - begun < 10
        for callers in groups:
            for thread in callers.threads:
                thread.join()
            callers.end()
        ids = {one for callers in groups for one in callers.ids}
        assert ids == server.logged()
        answers += sum(len(callers.seconds) for callers in groups)
    return {"times": number, "answers": answers, "dropped": 0}


def kill(folder: Path) -> dict[str, Any]:
    """SIGKILL of one of two workers under load, again and again: it comes back, and what was acknowledged is kept."""
    server = Server(folder, "--workers", "2")
    number = count(20)
    server.until(lambda: server.answering() == 2)
    callers = Callers(server, patient=True)
    slowest = 0.0
    for place in range(number):
        time.sleep(0.3)
        victim = server.workers()[place % 2]
        begun = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while server.answering() < 3 + place:
            assert server.ready(), "the other worker serves"
            time.sleep(0.05)
        slowest = max(slowest, time.monotonic() - begun)
    callers.end()
    assert server.end() == 0
    lost = set(callers.ids) - server.logged()
    assert not lost
    return {"kills": number, "acknowledged": len(callers.ids), "lost": 0, "slowest_return_seconds": round(slowest, 1)}


def growth(folder: Path) -> dict[str, Any]:
    """2M requests: the memory of the worker after the first tenth, and at the end."""
    server = Server(folder, compiled=True)  # answers in a fraction of the time
    number = count(2_000_000, 2000)
    (worker,) = server.workers()
    _asked(server, number // 10)
    before = _resident(worker)
    _asked(server, number - number // 10)
    after = _resident(worker)
    assert server.workers() == [worker]
    assert server.end() == 0
    assert after - before < 20, f"{before} MB, then {after} MB"
    return {"requests": number, "mb_after_a_tenth": before, "mb_at_the_end": after}


def _asked(server: Server, number: int) -> None:
    """Ask so often, by two processes with four connections each."""
    code = "import sys; from benchmarks import soak_server as s; s.ask_plainly(int(sys.argv[1]), int(sys.argv[2]))"
    arguments = [sys.executable, "-c", code, str(server.port), str(number // 2)]
    asking = [subprocess.Popen(arguments, cwd=ROOT) for _ in range(2)]
    assert [one.wait() for one in asking] == [0, 0]


def ask_plainly(port: int, number: int) -> None:
    """Ask ``number`` times with the same bytes over four connections, and look at every status."""
    row = json.dumps({"rows": [{"age": 40, "bmi": 25.5, "sex": "f"}]}).encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    for start in range(0, number, 4):
        several = connections[: number - start]
        for connection in several:
            connection.sendall(HEAD % len(row) + row)
        for connection in several:
            answer = b""
            while not answer.endswith(b"]}"):  # the end of every answer to it
                got = connection.recv(65536)
                assert got, answer
                answer += got
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:300]


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 1)


def schema(folder: Path) -> dict[str, Any]:
    """schemathesis over every operation that the server describes."""
    server = Server(folder)
    try:
        return soak_fuzz.schema(f"http://127.0.0.1:{server.port}", folder, SCALE)
    finally:
        server.end()


def drawn(folder: Path) -> dict[str, Any]:
    """Drawn requests over every route, in process."""
    return soak_fuzz.drawn(folder, SCALE)


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "sockets": sockets,
    "swaps": swaps,
    "sigterm": sigterm,
    "kill": kill,
    "growth": growth,
    "schema": schema,
    "drawn": drawn,
}


def main(names: list[str]) -> int:
    """Run the parts, one after another; the exit code."""
    sys.path.insert(0, str(ROOT / "tests"))
    unknown = set(names) - set(PARTS)
    if unknown:
        print(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
        return 2
    for name in names or PARTS:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fullcircle-soak-") as folder:
            found = PARTS[name](Path(folder) / name)
        found["seconds"] = round(time.monotonic() - begun)
        print(name, json.dumps(found), flush=True)
        if SCALE == 1:
            known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            RESULTS.write_text(json.dumps({**known, name: found}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
