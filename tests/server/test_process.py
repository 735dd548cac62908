"""The server as a process of its own, over real sockets."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fullcircle.deployment import client
from fullcircle.errors import ModelNotServed
from fullcircle.server.main import main
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Outcome
from sample_models import ROWS, archive, serve
from serving import GOOD, raw

BLOCKED = ("sqlalchemy", "cryptography", "uv", "pyarrow", "mlflow", "fsspec", "alembic", "fairlearn", "jinja2")
PROGRAM = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " belongs to the lab")
sys.meta_path.insert(0, Block())
from fullcircle.server.main import main, stop_quietly
before = set(sys.modules)
stop_quietly()
heavy = before & {{"pandas", "sklearn", "skops", "scipy", *{BLOCKED!r}}}
assert not heavy, heavy
sys.exit(main())
"""


@pytest.fixture(scope="module")
def archives() -> dict[int, bytes]:
    return {version: archive(version) for version in (1, 2, 3)}


class Server:
    """A running server and the folder it works in."""

    started: ClassVar[list["Server"]] = []

    def __init__(self, folder: Path, *further: str, wait: bool = True, port: int = 0) -> None:
        self.folder = folder
        self.predictions = folder / "predictions"
        self.errors = folder / "errors.log"
        options = {
            "--served": folder / "served.json",
            "--predictions": self.predictions,
            "--code-cache": folder / "code",
        }
        flags = [str(part) for pair in options.items() for part in pair]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", PROGRAM, *flags, "--port", str(port), *further],
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.started.append(self)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.url = str(told.get("listening", ""))
        self.error = told.get("error", {})
        if wait:
            self.ready()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def workers(self) -> set[int]:
        """The process ids of those who answer."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def answering(self) -> int:
        """How many workers have loaded a version so far."""
        return self.errors.read_text().count(" of m answers")

    def ready(self) -> None:
        self.until(lambda: client.ready(self.url))

    def until(self, true: Any) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """Whatever a test that failed has left of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(40)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def serve(self, version: int, archives: dict[int, bytes]) -> None:
        """Make it serve this version, and wait until it does."""
        serve(self.folder / "served.json", {"m": (version, archives[version])})
        self.until(lambda: client.models(self.url)[0].version == version)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """What a failed test leaves running would fail another one, hours later."""
    before = len(Server.started)
    yield
    while len(Server.started) > before:
        Server.started.pop().kill()


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, archives: dict[int, bytes]) -> Iterator[Server]:
    """A server for the tests that leave it running: starting one means importing scikit-learn."""
    folder = tmp_path_factory.mktemp("server")
    serve(folder / "served.json", {"m": (1, archives[1])})
    found = Server(folder)
    yield found
    assert found.end() == 0
    assert "defect" not in found.errors.read_text()


@pytest.fixture
def server(common: Server, archives: dict[int, bytes]) -> Server:
    """The common server, serving version 1."""
    common.serve(1, archives)
    return common


def ask(connection: http.client.HTTPConnection, rows: list[Any]) -> tuple[int, Any]:
    connection.request("POST", "/predict/m", json.dumps({"rows": rows}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_it_predicts_judges_and_takes_outcomes(server: Server) -> None:
    found = client.predict(server.url, "m", [*ROWS[:3], {**GOOD, "age": "40"}, {**GOOD, "bmi": float("nan")}])
    assert [one.verdict.status for one in found] == ["ok", "ok", "ok", "rejected", "imputed"]
    assert all(one.version == 1 and (one.value is None or 900 < float(one.value) < 1100) for one in found)
    told = client.outcomes(
        server.url,
        "m",
        [Outcome(prediction_id=found[0].id, value=1001.5), Outcome(prediction_id="0" * 16 + "-0", value=1)],
    )
    assert [status for _, status in told] == ["accepted", "unknown"]
    assert {one.name: one.version for one in client.models(server.url)} == {"m": 1}
    assert [one.id for one in log.read(server.predictions, "m")][-5:] == [one.id for one in found]
    assert log.read_outcomes(server.predictions, "m")[found[0].id].value == 1001.5
    for line in server.errors.read_text().splitlines():
        assert json.loads(line)["message"]


def test_swaps_under_load_fail_and_mix_nothing(server: Server, archives: dict[int, bytes]) -> None:
    stop = threading.Event()
    seen: list[int] = []
    failures: list[object] = []

    def hammer(seed: int) -> None:
        rng = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        while not stop.is_set():
            try:
                status, body = ask(connection, ROWS[: rng.randint(1, 30)])
            except OSError as error:
                failures.append(error)
                return
            values = [row["prediction"] for row in body.get("predictions", [])]
            version = body.get("version", 0)
            if status != 200 or not values or any(abs(value - 1000 * version) > 100 for value in values):
                failures.append((status, body))
                return
            seen.append(version)
        connection.close()

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 1, 2):
        server.serve(version, archives)
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(seen) == {1, 2, 3}
    assert len(seen) > 50
    assert sum(1 for _ in log.read(server.predictions, "m")) > len(seen)


def test_a_bad_bundle_keeps_the_old(server: Server, archives: dict[int, bytes]) -> None:
    damaged = bytearray(archives[2])
    damaged[len(damaged) // 2] ^= 1
    other = archive(2, name="other")
    for version, bad in enumerate((bytes(damaged), archives[2][:-40], b"", other), start=5):
        serve(server.folder / "served.json", {"m": (version, bad)})
        server.until(lambda version=version: (client.models(server.url)[0].problem or {}).get("version") == version)
        (one,) = client.models(server.url)
        assert one.version == 1
        assert one.problem is not None
        assert one.problem["code"] == "bundle_invalid"
        assert client.ready(server.url)
        assert client.predict(server.url, "m", [GOOD])[0].version == 1
    server.serve(1, archives)
    server.until(lambda: client.models(server.url)[0].problem is None)


class Callers:
    """Threads that ask again and again; without a pause, but where they are ``patient``.

    Patient ones open a connection that breaks again, and leave a core to what is started meanwhile.
    """

    def __init__(self, server: Server, *anew: bool, patient: bool) -> None:
        self.answered: list[str] = []
        self.failures: list[object] = []
        self.refused = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=(server.port, one, patient)) for one in anew]
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join()
        assert self.failures == []

    def _call(self, port: int, anew: bool, patient: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not self.stop.is_set():
            try:
                if connection.sock is None:  # at first, and where the answer before closed the connection
                    connection.connect()
            except ConnectionRefusedError:
                self.refused += 1
                return
            try:
                status, body = ask(connection, ROWS[:5])
            except (OSError, http.client.HTTPException) as error:
                if not patient:
                    self.failures.append(error)
                    return
                connection.close()
                continue
            if status != 200:
                if not patient or status != 503:
                    self.failures.append((status, body))
                continue
            self.answered.extend(row["id"] for row in body["predictions"])
            if patient:
                time.sleep(0.005)
            if anew:
                connection.close()
        connection.close()


def test_two_workers_one_is_killed_and_comes_back_and_sigterm_drops_nothing(
    tmp_path: Path, archives: dict[int, bytes]
) -> None:
    serve(tmp_path / "served.json", {"m": (1, archives[1])})
    two = Server(tmp_path, "--workers", "2")
    two.until(lambda: two.answering() == 2)
    # Each holds back for a moment that it is ready: kill none before both have told.
    two.until(lambda: all(client.ready(two.url) for _ in range(20)))
    callers = Callers(two, True, patient=True)
    victim = min(two.workers())
    time.sleep(0.2)
    os.kill(victim, signal.SIGKILL)
    two.until(lambda: len(two.workers()) == 2 and victim not in two.workers())
    while two.answering() < 3:
        why = client.why_not_ready(two.url, timeout=20)
        assert why == "", "who is not ready accepts nobody while the other is"
        time.sleep(0.05)
    callers.stop.set()
    callers.join()
    # Half of these keep their connections, half open one for each request; none tries anything again.
    strict = Callers(two, True, False, True, False, patient=False)
    time.sleep(0.3)
    for _ in range(3):
        two.process.send_signal(signal.SIGTERM)
    two.until(lambda: client.why_not_ready(two.url) != "")  # a busy machine takes a moment to hand signals on
    assert "shutting down" in client.why_not_ready(two.url)
    assert two.end() == 0
    strict.join()
    assert strict.refused == 4
    assert min(len(callers.answered), len(strict.answered)) > 50
    logged = {one.id for one in log.read(two.predictions, "m")}
    assert set(strict.answered) < logged
    assert set(callers.answered) <= logged, "what was acknowledged survives the worker that was killed"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", two.port))


def test_a_worker_that_stands_still_is_replaced_and_one_without_supervisor_ends(tmp_path: Path) -> None:
    found = Server(tmp_path, "--hang-seconds", "1", "--drain-seconds", "5", wait=False)
    (pid,) = found.workers()
    os.kill(pid, signal.SIGSTOP)
    found.until(lambda: found.workers() and pid not in found.workers())
    assert "no served.json" in client.why_not_ready(found.url)
    assert "hangs and is killed" in found.errors.read_text()
    (pid,) = found.workers()
    assert found.end(signal.SIGKILL) == -9
    deadline = time.monotonic() + 30
    while "shutting down" not in client.why_not_ready(found.url):  # the worker finishes what is asked
        assert time.monotonic() < deadline
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", found.port))


def test_a_port_in_use_is_told(server: Server, tmp_path: Path) -> None:
    second = Server(tmp_path, wait=False, port=server.port)
    assert second.error["code"] == "port_in_use"
    assert "--port" in second.error["next"]
    assert second.process.wait(20) == 2
    assert second.process.stdout is not None
    second.process.stdout.close()
    assert client.ready(server.url)


def test_it_lives_before_there_is_anything_to_serve_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    found = Server(tmp_path, wait=False)
    assert "no served.json" in client.why_not_ready(found.url)
    (tmp_path / "served.json").write_text('{"models": {}}')
    found.until(lambda: "names no model" in client.why_not_ready(found.url))
    with pytest.raises(ModelNotServed, match="no model of this name"):
        client.predict(found.url, "m", [GOOD])
    assert found.end(signal.SIGINT) == 0


def body(length: bytes, content: bytes = b"{}") -> bytes:
    return (
        b"POST /predict/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n"
    ) + content


LIMIT = 8 * 2**20
# What test_protocol.py does not have, because the application decides it.
CORPUS: list[tuple[bytes, list[int]]] = [
    (b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n", [421]),
    (b"GET /%00%ff%fe%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\n\r\n", [404]),
    (b"OPTIONS /models HTTP/1.1\r\nHost: localhost\r\n\r\n", [405]),
    (b"BREW /predict/m HTTP/1.1\r\nHost: localhost\r\n\r\n", [400]),
    (b"HEAD /models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", [200]),
    (b"GET /models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", [200]),
    (b"GET /models HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-1," * 1000 + b"2-3\r\n\r\n", [200]),
    (b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50, [200] * 50),
    (b"GET /models HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", [200]),
    (body(b"Content-Length: 2"), [400]),
    (body(b"Content-Length: 99999999999"), [413]),
    (body(b"Content-Length: %d" % (LIMIT + 1), b"x" * (LIMIT + 1)), [413]),
    (body(b"Content-Length: %d" % LIMIT, b" " * LIMIT), [400]),
    (body(b"Transfer-Encoding: chunked", b"100000\r\n%b\r\n" % (b"x" * 2**20) * 9), [413]),
    (body(b"Content-Encoding: gzip\r\nContent-Length: 2"), [415]),
    (body(b"Content-Type: text/plain\r\nContent-Length: 2"), [415]),
    (body(b"Expect: 100-continue\r\nContent-Length: 2"), [100, 400]),
]  # fmt: skip


def statuses(answer: bytes) -> list[int]:
    """The status of each answer in what a socket gave back."""
    return [int(part[2:5]) for part in answer.split(b"HTTP/1.")[1:]]


@pytest.mark.parametrize(("sent", "expected"), CORPUS, ids=range(len(CORPUS)))
def test_what_the_application_refuses_comes_back_whole(server: Server, sent: bytes, expected: list[int]) -> None:
    answer = raw(server.port, sent)
    assert statuses(answer) == expected
    assert answer.lower().count(b"\r\nx-content-type-options: nosniff\r\n") == len(expected) - expected.count(100)


def test_whatever_comes_over_the_wire_it_answers_no_500_and_goes_on(server: Server) -> None:
    rng = random.Random(20261123)
    good = body(b"Content-Length: 2")
    for _ in range(150):
        content = bytearray(rng.choice([good, good, *(sent for sent, _ in CORPUS if len(sent) < 300)]))
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.randint(0, 3)] = rng.choice(
                [b"\r\n", b"\x00", b"\xff", b"%", b":", b" ", b"{"]
            )
        begun = time.monotonic()
        answer = raw(server.port, bytes(content))
        assert time.monotonic() - begun < 4, bytes(content)
        assert all(100 <= status < 500 for status in statuses(answer)), (bytes(content), answer[:300])
    assert client.predict(server.url, "m", [GOOD])[0].verdict.status == "ok"
    assert "defect" not in server.errors.read_text()
    assert "asgi" not in server.errors.read_text().lower()


def test_many_idle_and_half_sent_requests_do_not_keep_others_out(server: Server) -> None:
    half = body(b"Content-Length: 900", b"{")
    held = []
    for content in (b"", b"GET /mo", half, half[:40]) * 50:
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(content)
        held.append(connection)
    slowest = 0.0
    for _ in range(50):
        begun = time.monotonic()
        assert len(client.predict(server.url, "m", ROWS)) == len(ROWS)
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 5
    # They are cut after ten seconds: test_protocol.py sees that with shorter times.
    for connection in held:
        connection.close()
    assert client.ready(server.url)


def test_a_refused_body_does_not_break_the_connection(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/predict/m", b"x" * (9 * 2**20), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "request_invalid")
    assert ask(connection, [GOOD])[0] == 200
    connection.close()


def test_ten_thousand_rows_while_health_goes_on(server: Server) -> None:
    answered = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal answered
        while not done.is_set():
            assert client.ready(server.url)
            answered += not done.is_set()

    thread = threading.Thread(target=watch)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    status, body = ask(connection, [ROWS[place % 60] for place in range(10_000)])
    done.set()
    thread.join()
    connection.close()
    assert (status, len(body["predictions"])) == (200, 10_000)
    assert answered >= 5  # while the model was busy


def test_wrong_use_of_the_program_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("99999", "-1", "x", "\u0663"):
        with pytest.raises(SystemExit) as caught:
            main(["--served", "x", "--predictions", "y", "--code-cache", "z", "--port", port])
        assert caught.value.code == 2
        assert "0 to 65535" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "predictions").write_text("in the way")
    found = Server(tmp_path, wait=False)
    assert found.error["code"] == "workspace_unusable"
    assert found.process.wait(20) == 2
    assert found.process.stdout is not None
    found.process.stdout.close()


def test_who_does_not_read_its_lines_does_not_stop_it(tmp_path: Path) -> None:
    """Standard output closed, standard error a full pipe, and an access log that writes into it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    folders = [("--served", "served.json"), ("--predictions", "predictions"), ("--code-cache", "code")]
    flags = [part for name, place in folders for part in (name, str(tmp_path / place))]
    arguments = [sys.executable, "-I", "-m", "fullcircle.server", *flags, "--port", str(port), "--access-log"]
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&-', "sh", *arguments], stderr=writing)
    os.close(writing)
    deadline = time.monotonic() + 30
    while "no served.json" not in client.why_not_ready(f"http://127.0.0.1:{port}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begun = time.monotonic()
    for _ in range(1200):  # more than wait for a reader
        assert statuses(raw(port, b"GET /models HTTP/1.1\r\n\r\n")) == [200]
    assert time.monotonic() - begun < 10
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(reading, 65536), b"")))
    reader.start()  # from now on somebody reads again
    assert statuses(raw(port, b"GET /%1b[31m?secret HTTP/1.1\r\n\r\n")) == [404]
    time.sleep(0.2)
    assert statuses(raw(port, b"GET /%1b[31m?secret HTTP/1.1\r\n\r\n")) == [404]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    reader.join()
    os.close(reading)
    found = [json.loads(line) for line in b"".join(received).lstrip(b"x").splitlines()]
    asked = [line for line in found if line["message"] == "request"]
    assert {(line["method"], line["path"], line["status"]) for line in asked} == {
        ("GET", "/models", 200),
        ("GET", "/health/ready", 503),
        ("GET", "other", 404),
    }
    assert all(0 < line["seconds"] < 10 for line in asked)
    assert any("lines were lost" in line["message"] for line in found)
