"""The server as a process of its own, over real sockets."""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

    def __init__(self, folder: Path, *, wait: bool = True, port: int = 0) -> None:
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
                [sys.executable, "-I", "-c", PROGRAM, *flags, "--port", str(port)],
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.url = str(told.get("listening", ""))
        self.error = told.get("error", {})
        if wait:
            self.ready()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

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

    def serve(self, version: int, archives: dict[int, bytes]) -> None:
        """Make it serve this version, and wait until it does."""
        serve(self.folder / "served.json", {"m": (version, archives[version])})
        self.until(lambda: client.models(self.url)[0].version == version)


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


@pytest.fixture
def own(tmp_path: Path, archives: dict[int, bytes]) -> Iterator[Server]:
    """A server for one test, which may end it."""
    serve(tmp_path / "served.json", {"m": (1, archives[1])})
    found = Server(tmp_path)
    yield found
    if found.process.poll() is None:
        found.end(signal.SIGKILL)


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


def test_sigterm_under_load_drops_nothing(own: Server) -> None:
    answered: list[str] = []
    failures: list[object] = []
    stop_at = [time.monotonic() + 60]

    def hammer() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=20)
        while time.monotonic() < stop_at[0]:
            try:
                status, body = ask(connection, ROWS[:5])  # connects again where the answer closed the connection
            except OSError as error:
                failures.append(error)
                return
            if status != 200:
                failures.append((status, body))
            answered.extend(row["id"] for row in body["predictions"])
        connection.close()

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    stop_at[0] = time.monotonic() + 0.3  # while it drains, who still comes is still answered
    assert own.end() == 0
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answered) == {one.id for one in log.read(own.predictions, "m")}
    assert not client.ready(own.url)


def test_what_was_acknowledged_survives_kill_nine(own: Server) -> None:
    answered: list[str] = []

    def hammer() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=20)
        try:
            while True:
                answered.extend(row["id"] for row in ask(connection, ROWS[:7])[1]["predictions"])
        except (OSError, http.client.HTTPException):
            connection.close()

    threads = [threading.Thread(target=hammer) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    own.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    logged = {one.id for one in log.read(own.predictions, "m")}
    assert len(answered) > 20
    assert set(answered) <= logged


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


CORPUS: list[bytes] = [
    b"",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /models\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%00%ff%fe%2e%2e%2f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /models HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /models HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    b"GET /models HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{}",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{}",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n{}",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"FFFFFFFFFFFFFFFFF\r\n{}",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;" + b"x" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    b"Content-Length: 2\r\n\r\n",
    b"HEAD /models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
    b"BREW /predict/m HTTP/1.1\r\nHost: x\r\n\r\n",
]


def statuses(answer: bytes) -> list[int]:
    """The status of each answer in what a socket gave back."""
    return [int(part[2:5]) for part in answer.split(b"HTTP/1.")[1:]]


def test_whatever_comes_over_the_wire_it_answers_no_500_and_goes_on(server: Server) -> None:
    rng = random.Random(20261123)
    good = b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    mutated = []
    for _ in range(150):
        content = bytearray(rng.choice([good, good, *CORPUS[2:13]]))
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.randint(0, 3)] = rng.choice(
                [b"\r\n", b"\x00", b"\xff", b"%", b":", b" ", b"{"]
            )
        mutated.append(bytes(content))
    for sent in [*CORPUS, *mutated]:
        begun = time.monotonic()
        answer = raw(server.port, sent)
        assert time.monotonic() - begun < 4, sent[:100]
        assert all(100 <= status < 500 for status in statuses(answer)), (sent[:200], answer[:300])
    assert client.predict(server.url, "m", [GOOD])[0].verdict.status == "ok"
    assert "defect" not in server.errors.read_text()
    assert "asgi" not in server.errors.read_text().lower()


def test_many_idle_and_half_sent_requests_do_not_keep_others_out(server: Server) -> None:
    half = b"POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    held = []
    for content in (b"", b"GET /mo", half) * 60:
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(content)
        held.append(connection)
    assert len(client.predict(server.url, "m", ROWS)) == len(ROWS)
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
