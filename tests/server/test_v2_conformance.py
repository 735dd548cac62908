"""The conformance kit: ours conforms over a real socket, and each way to break a promise is found by its case."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from access_samples import ROLES, json_and, written
from fullcircle.deployment import client
from fullcircle.errors import SettingInvalid
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import View
from fullcircle.server.guard import Guard
from fullcircle.server.unloaded import NAME as UNLOADED
from fullcircle.server.unloaded import Unloaded
from fullcircle.testing.v2.__main__ import main
from fullcircle.testing.v2.peer import LENGTH, Broken, Peer, Reply, in_bytes, out_of_bytes, refused
from fullcircle.testing.v2.running import CASES, conform
from sample_models import archive, serve
from serving import GOOD, Response, ask, call, loaded

# --- our own server, as a process ----------------------------------------------------------------------------


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A server with two workers; its URL."""
    files = ["--served", "served.json", "--predictions", "log", "--code-cache", "code"]
    with (folder / "errors.log").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.server", *files, "--port", "0", "--workers", "2"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert process.stdout is not None
        url = str(json.loads(process.stdout.readline())["listening"])
        until(lambda: all(client.ready(url) for _ in range(30)), folder)
        yield url
    finally:
        process.terminate()
        process.wait(40)
        assert process.stdout is not None
        process.stdout.close()


def until(true: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, (folder / "errors.log").read_text()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("conformance")
    serve(made / "served.json", {"m": (1, archive(1, compiled=True))})
    return made


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running(folder) as found:
        yield found


def test_our_server_keeps_every_promise(url: str) -> None:
    found = conform(Peer(url=url, model="m"))
    assert [one.name for one in found] == list(CASES)
    broken = {one.name: (one.outcome, one.why) for one in found if one.outcome != "passed"}
    assert broken == {"repository-unload-and-load": ("not supported", "not asked for: --manage")}
    assert all(one.promise.endswith(".") for one in found)


def statuses(url: str) -> set[int]:
    """What a model's readiness is on many connections, which two workers share."""
    peer = Peer(url=url, model="m")
    return {peer.send("GET", f"{peer.place}/ready").status for _ in range(30)}


def index(url: str) -> Any:
    return Peer(url=url, model="m").send("POST", "/v2/repository/index").document


def test_a_model_is_unloaded_and_loaded_on_every_worker_and_a_new_server_remembers(tmp_path: Path) -> None:
    serve(tmp_path / "served.json", {"m": (1, archive(1, compiled=True)), "n": (2, archive(2, "n", compiled=True))})
    with running(tmp_path) as url:
        found = conform(Peer(url=url, model="m", manage=True))
        assert [one.why for one in found if one.outcome != "passed"] == [], (tmp_path / "errors.log").read_text()
        until(lambda: statuses(url) == {200}, tmp_path)
        assert Peer(url=url, model="m").send("POST", "/v2/repository/models/m/unload").status == 200
        until(lambda: statuses(url) == {503}, tmp_path)
        peer = Peer(url=url, model="m")
        assert peer.infer({"inputs": []}).status == 404
        assert peer.send("POST", "/predict/m", b"{}", {"Content-Type": "application/json"}).status == 404
        told = {one.name: one for one in client.models(url)}
        assert (told["m"].version, told["n"].version) == (None, 2)
        assert "was unloaded" in (told["m"].problem or {})["message"]
        assert client.ready(url), "what somebody unloaded keeps no server from being ready"
        said = [json.loads(line) for line in (tmp_path / "errors.log").read_text().splitlines()]
        changes = [
            (one["message"], one["model"], one["peer"]) for one in said if one["message"] in ("loaded", "unloaded")
        ]
        assert changes == [(what, "m", "127.0.0.1") for what in ("unloaded", "loaded", "unloaded")]
        assert index(url) == [
            {"name": "m", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"},
            {"name": "n", "version": "2", "state": "READY", "reason": ""},
        ]
        serve(
            tmp_path / "served.json", {"m": (3, archive(3, compiled=True)), "n": (2, archive(2, "n", compiled=True))}
        )
    with running(tmp_path) as url:
        until(lambda: statuses(url) == {503}, tmp_path)
        assert Peer(url=url, model="m").send("POST", "/v2/repository/models/x/load").status == 404
        asked = b'{"parameters": {"config": "{}"}}'
        refused = Peer(url=url, model="m").send("POST", "/v2/repository/models/m/load", asked)
        assert (refused.status, "without parameters" in refused.document["error"]) == (400, True)
        assert Peer(url=url, model="m").send("POST", "/v2/repository/models/m/load").status == 200
        until(lambda: statuses(url) == {200}, tmp_path)
        assert [one["version"] for one in index(url)] == ["3", "2"], "it answers by the version that is served now"


def changing(folder: Path) -> App:
    """An application that asks for keys, and whose one model comes and goes with the file."""
    guard, unloaded = Guard(written(folder, *ROLES.values())), Unloaded(folder)
    guard.look()
    one = loaded()

    def seen() -> View:
        out = unloaded.names()
        return View(loaded={} if out else {"m": one}, wanted=frozenset({"m"}) - out, unloaded=out, file="")

    return App(seen, Desk(folder / "predictions"), unloaded=unloaded, guard=guard)


CHANGE = "/v2/repository/models/m/"


def test_the_log_says_who_loaded_and_unloaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = changing(tmp_path)
    for what in ("unload", "load"):
        assert call(target, "POST", CHANGE + what, b"{}", json_and("viewer")).status == 403
        assert call(target, "POST", CHANGE + what, b"[]", json_and("engineer")).status == 400
        assert call(target, "POST", CHANGE + what, b"{}", json_and("engineer")).status == 200
    said = [(one.message, one.fields) for one in caplog.records if one.name.endswith("handlers")]  # type: ignore[attr-defined]
    fields = {"model": "m", "key": ROLES["engineer"].id}
    assert said == [("unloaded", fields), ("loaded", fields)], "once for each change, and none for what was refused"


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("unload", b"", 200),
        ("unload", b'{"parameters": {"unload_dependents": false}}', 200),
        ("unload", b'{"parameters": null}', 200),
        ("unload", b'{"parameters": []}', 400),
        ("unload", b'{"parameters": {"force": true}}', 400),
        ("unload", b'{"force": true}', 400),
        ("load", b'{"parameters": {}}', 200),
        ("load", b'{"parameters": {"config": "{}"}}', 400),
        ("load", b'{"parameters": 0}', 400),
        ("load", b'{"version": 2}', 400),
        ("load", b'{"parameters": {}, "config": "{}"}', 400),
    ],
)
def test_nothing_that_is_asked_for_is_left_undone(tmp_path: Path, what: str, body: bytes, status: int) -> None:
    target = changing(tmp_path)
    found = call(target, "POST", CHANGE + what, body, json_and("engineer"))
    assert found.status == status, found.body
    assert call(target, "GET", "/v2/models/m/ready", b"", json_and("engineer")).status == (
        503 if what == "unload" and status == 200 else 200
    )


def test_whoever_waits_for_the_file_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    target = changing(tmp_path)

    async def both() -> tuple[Response, Response]:
        change = asyncio.create_task(ask(target, "POST", f"{CHANGE}unload", b"", json_and("engineer")))
        await asyncio.sleep(0.05)
        live = await ask(target, "GET", "/v2/health/live")
        fcntl.flock(lock, fcntl.LOCK_UN)
        return live, await change

    with (tmp_path / f"{UNLOADED}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        late = threading.Timer(5.0, fcntl.flock, (lock, fcntl.LOCK_UN))
        late.start()
        begun = time.monotonic()
        live, changed = asyncio.run(both())
        late.cancel()
    assert (live.status, changed.status) == (200, 200)
    assert time.monotonic() - begun < 4.0


def test_what_cannot_be_loaded_says_why(folder: Path, url: str) -> None:
    served = (folder / "served.json").read_text()
    document = json.loads(served)
    document["models"]["broken"] = {"version": 1, "bundle": "0" * 64, "path": "nothing.zip"}
    try:
        (folder / "served.json").write_text(json.dumps(document))
        peer = Peer(url=url, model="broken")
        until(lambda: all(peer.send("GET", f"{peer.place}/ready").status == 503 for _ in range(30)), folder)
        found = peer.send("POST", "/v2/repository/models/broken/load")
        assert (found.status, found.headers["retry-after"]) == (503, "1"), "nothing is wrong with the request"
        assert found.document["error"].startswith("the model cannot be loaded; received: the bundle could not")
    finally:
        (folder / "served.json").write_text(served)
        until(lambda: all(len(index(url)) == 1 for _ in range(30)), folder)


def test_the_command_prints_each_case_and_ends_with_one_where_a_promise_is_broken(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([url, "--model", "m"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CASES)
    assert lines[0].split() == [
        "passed",
        "server-live:",
        *["GET", "/v2/health/live", "is", "answered", "with", "200."],
    ]
    request = tmp_path / "request.json"
    request.write_text('{"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": [1]}]}')
    assert main([url, "--model", "m", "--request", str(request), "--header", "X-Any: 1", "--json"]) == 1
    found = {one["name"]: one["outcome"] for one in json.loads(capsys.readouterr().out)}
    assert found["server-live"] == "passed"
    assert found["infer"] == "failed"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["127.0.0.1:8710", "--model", "m"], "begins with http://"),
        (["http://127.0.0.1:here", "--model", "m"], "received: http://127.0.0.1:here"),
        (["http://127.0.0.1:70000", "--model", "m"], "a port from 1 to 65535"),
        (["http://[::1", "--model", "m"], "this is no address of a server"),
        (["https://", "--model", "m"], "this is no address of a server"),
        (["http://127.0.0.1:9", "--model", "m", "--header", "Authorization"], "NAME: VALUE"),
        (["http://127.0.0.1:9", "--model", "m", "--request", "/no/such/file"], "cannot be read: "),
        (["http://127.0.0.1:9", "--model", "m", "--request", __file__], "cannot be read: "),
        (["http://127.0.0.1:9"], "--model"),
        (["http://127.0.0.1:9", "--model", "m", "--timeout", "long"], "invalid float value: 'long'"),
        (["http://127.0.0.1:9", "--model", "m", "--timeout", "0"], "received: a timeout of 0.0"),
        (["http://127.0.0.1:9", "--model", "m", "--timeout", "nan"], "allowed: seconds above 0 and at most 86400"),
        (["http://127.0.0.1:9", "--model", "m", "--timeout", "86401"], "next: give a number such as 5"),
    ],
)
def test_what_the_command_cannot_begin_with_is_said_in_a_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@contextmanager
def listening(target: App) -> Iterator[str]:
    """The application behind a socket, as far as the kit asks for it; its URL."""

    class Door(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
            found = call(target, self.command, self.path, body, headers)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.body)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("", "the server asks who calls, and does not know this caller\n  received: status 401"),
        ("viewer", "the server does not let this caller ask the model\n  received: status 403"),
    ],
)
def test_a_server_that_asks_for_a_key_is_not_judged_without_one(
    tmp_path: Path, role: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else nearly every case fails for want of it, and those that expect a refusal pass."""
    with listening(changing(tmp_path)) as url:
        sent = {name.decode(): value.decode() for name, value in json_and(role)} if role else {}
        key = [f"--header={name}: {value}" for name, value in sent.items() if name != "content-type"]
        with pytest.raises(SystemExit) as ended:
            main([url, "--model", "m", *key])
        assert ended.value.code == 2
        out, err = capsys.readouterr()
        assert told in err
        assert '--header "Authorization: Bearer KEY"' in err
        assert out == ""


@pytest.mark.parametrize("status", [401, 403, 429])
def test_who_is_turned_away_on_the_way_has_not_been_refused_as_the_protocol_says(status: int) -> None:
    found = Reply(status=status, headers={}, body=b'{"error": "not now"}')
    with pytest.raises(Broken, match=f"is not looked at: it is answered with {status}"):
        refused(found, "a request")
    refused(Reply(status=400, headers={}, body=b'{"error": "no"}'), "a request")


def test_a_server_that_is_not_there_fails_every_case_that_needs_it() -> None:
    found = conform(Peer(url="http://127.0.0.1:9", model="m", timeout=1.0))
    assert {one.outcome for one in found} == {"failed", "not supported"}
    assert next(one for one in found if one.name == "infer").why.endswith("is not answered: ConnectionRefusedError")


# --- somebody else's server, with planted defects ------------------------------------------------------------


class Other(BaseHTTPRequestHandler):
    """A small V2 server that doubles a number. ``defect`` of its server says which promise it breaks."""

    server: Any

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def has(self, defect: str) -> bool:
        return bool(self.server.defect == defect)

    def say(self, status: int, document: Any, blob: bytes = b"") -> None:
        body = json.dumps(document).encode() if not isinstance(document, bytes) else document
        self.send_response(status)
        if blob:
            self.send_header(LENGTH, str(len(body)))
        self.send_header("Content-Length", str(len(body) + len(blob)))
        self.end_headers()
        self.wfile.write(body + blob)

    def refuse(self, text: str, status: int = 400) -> None:
        self.say(status, {"detail": text} if self.has("error shape") else {"error": text})

    def hang(self) -> None:
        """Until whoever asks has gone: nothing at all, or a byte now and then of an answer without a length."""
        if self.has("drips"):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b" ")
                    time.sleep(0.02)
        else:
            self.connection.recv(1)

    def do_GET(self) -> None:
        if self.path == "/v2/health/live" and self.server.defect in ("hangs", "drips"):
            self.hang()
            return
        answers: dict[str, Any] = {
            "/v2": {"name": "other", "version": "1", "extensions": ["binary_tensor_data"]},
            "/v2/health/live": {},
            "/v2/health/ready": {},
            "/v2/models/d": self.server.metadata(),
            "/v2/models/d/ready": {},
            "/v2/models/d/versions/4": self.server.metadata(),
            "/v2/models/d/versions/4/ready": {},
        }
        if self.path in answers and self.server.defect != self.path:
            self.say(200, answers[self.path])
        else:
            self.refuse("no", 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/v2/models/d/infer" or (
            self.path.endswith("d/versions/4/infer") and not self.has("versions")
        ):
            try:
                self.infer(body)
            except (KeyError, TypeError, ValueError, AssertionError, RecursionError) as error:
                self.refuse(repr(error) + (body.decode("latin-1") if self.has("quotes") else ""), self.server.wrong)
        else:
            self.refuse("no", 404)

    def infer(self, body: bytes) -> None:
        assert not (self.has("content type") and not self.headers.get("Content-Type"))
        length = int(self.headers.get(LENGTH) or len(body))
        assert length <= len(body)
        request = json.loads(body[:length], parse_constant=None if self.has("nan") else _refuse)
        (one,) = request["inputs"]
        assert one["datatype"] == "FP64" or self.has("datatype")
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            data = one["data"]
            if one["shape"][1:] and isinstance(data[0], list):
                assert not self.has("nested")
                data = [value for part in data for value in part]
        else:
            assert size == len(body) - length
            data = out_of_bytes("FP64", body[length:])
        assert len(data) == one["shape"][0] or self.has("shape")
        assert all(isinstance(value, int | float) for value in data)
        doubled = [2.0 * value for value in data]
        if self.has("order"):
            doubled.reverse()
        elif self.has("first for all"):
            doubled = doubled[:1] * len(doubled)
        elif self.has("one answer"):
            doubled = [1.0] * len(doubled)
        elif self.has("shared"):  # rows that see each other
            doubled = [value + len(doubled) for value in doubled]
        self.answer(request, doubled)

    def answer(self, request: Any, values: list[float]) -> None:
        data: dict[str, list[Any]] = {"double": [*values], "sign": [value > 0 for value in values]}
        wanted = {one["name"]: one.get("parameters", {}) for one in request.get("outputs", [])}
        if self.has("all outputs") or not wanted:
            wanted = {name: {} for name in data}
        blob, outputs = b"", []
        everything = request.get("parameters", {}).get("binary_data_output", False)
        everything = everything and not self.has("no binary output")
        for name, parameters in wanted.items():
            kind = {"double": "FP64", "sign": "BOOL"}[name]
            shape = [1, *[len(values)]] if self.has("output shape") else [len(values)]
            one: dict[str, Any] = {"name": name, "datatype": kind, "shape": shape}
            if parameters.get("binary_data", everything):
                part = in_bytes(kind, data[name])
                one["parameters"] = {"binary_data_size": len(part)}
                blob += part
            else:
                one["data"] = data[name]
            outputs.append(one)
        found = {"model_name": "d", "model_version": "4", "outputs": outputs}
        if "id" in request and not self.has("id"):
            found["id"] = request["id"]
        self.say(200, found, blob)


def _refuse(token: str) -> float:
    raise ValueError(token)


class OtherServer(ThreadingHTTPServer):
    daemon_threads = True
    defect = ""
    wrong = 400

    def metadata(self) -> dict[str, Any]:
        outputs = [("double", "FP64"), ("sign", "BOOL" if self.defect != "promised datatype" else "INT8")]
        return {
            "name": "d",
            "versions": ["4"],
            "platform": "other_double",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 1]}],
            "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in outputs],
        }


@pytest.fixture(scope="module")
def other() -> Iterator[OtherServer]:
    server = OtherServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("defect", ["hangs", "drips"])
def test_a_server_that_hangs_is_waited_for_as_long_as_was_said(
    other: OtherServer, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one says nothing at all, the other a byte now and then, so that no read of its own ever takes long."""
    other.defect, other.wrong = defect, 400
    words = [f"http://127.0.0.1:{other.server_port}", "--model", "d", "--timeout", "0.3", "--json"]
    assert main(words) == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["server-live"]["outcome"] == "failed"
    assert found["server-live"]["why"] == "GET /v2/health/live is not answered in full within 0.3 s"
    assert [one["name"] for one in found.values() if one["outcome"] == "failed"] == ["server-live"]


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan"), "5", None])
def test_a_time_that_no_server_can_be_waited_for_is_refused(timeout: Any) -> None:
    with pytest.raises(SettingInvalid) as refused:
        Peer(url="http://127.0.0.1:9", model="m", timeout=timeout)
    assert refused.value.received == f"a timeout of {timeout!r}"


def test_a_right_server_of_somebody_else_passes(other: OtherServer) -> None:
    other.defect, other.wrong = "", 400
    found = conform(Peer(url=f"http://127.0.0.1:{other.server_port}", model="d"))
    assert {one.name: one.why for one in found if one.outcome != "passed"} == {
        "id-given": "the answer has no id",
        "repository-index": "it is answered with 404",
        "repository-unload-and-load": "not asked for: --manage",
    }


@pytest.mark.parametrize(
    ("defect", "cases"),
    [
        ("/v2/health/live", {"server-live"}),
        ("/v2/health/ready", {"server-ready"}),
        ("/v2/models/d/ready", {"model-ready"}),
        ("versions", {"version-in-address"}),
        ("id", {"id-echoed"}),
        ("promised datatype", {"outputs-as-promised"}),
        ("output shape", {"outputs-as-promised", "rows-together"}),
        ("nested", {"data-nested"}),
        ("all outputs", {"outputs-requested", "output-unknown"}),
        ("content type", {"no-content-type"}),
        ("nan", {"nan-in-json"}),
        ("datatype", {"datatype-unknown"}),
        ("shape", {"shape-does-not-fit"}),
        ("quotes", {"error-quotes-nothing"}),
        ("no binary output", {"binary-output"}),
    ],
)
def test_each_broken_promise_is_found_by_its_case(other: OtherServer, defect: str, cases: set[str]) -> None:
    other.defect, other.wrong = defect, 400
    found = conform(Peer(url=f"http://127.0.0.1:{other.server_port}", model="d"))
    failed = {one.name: one.why for one in found if one.outcome == "failed"}
    assert cases <= failed.keys(), failed
    assert all(failed.values())


def test_errors_of_another_shape_or_status_are_found_by_every_case_that_expects_one(other: OtherServer) -> None:
    refusing = {"unknown-model", "version-unknown", "output-unknown", "inputs-missing", "body-cut-short"}
    for other.defect, other.wrong in (("error shape", 400), ("", 500)):
        found = conform(Peer(url=f"http://127.0.0.1:{other.server_port}", model="d"))
        failed = {one.name for one in found if one.outcome == "failed"}
        assert refusing - ({"unknown-model", "version-unknown"} if other.wrong == 500 else set()) <= failed
        assert "infer" not in failed


@pytest.mark.parametrize("defect", ["order", "first for all", "shared"])
def test_rows_that_are_not_answered_as_each_alone_are_found_by_that_case_only(
    other: OtherServer, defect: str
) -> None:
    other.defect, other.wrong = defect, 400
    found = conform(Peer(url=f"http://127.0.0.1:{other.server_port}", model="d"))
    failed = {one.name: one.why for one in found if one.outcome == "failed"}
    assert failed == {"rows-together": "output 'double' is not that of the rows in their order"}


def test_where_every_row_has_one_answer_no_order_can_be_seen(other: OtherServer) -> None:
    other.defect, other.wrong = "one answer", 400
    found = conform(Peer(url=f"http://127.0.0.1:{other.server_port}", model="d"))
    (one,) = [one for one in found if one.name == "rows-together"]
    assert (one.outcome, one.why[:22]) == ("not supported", "no change of a number ")
    assert not [one.name for one in found if one.outcome == "failed"]


def test_a_row_that_the_model_does_not_take_is_not_the_other_row(url: str) -> None:
    """The first change leaves the column's range, and the request would be refused as a whole."""
    kinds = {"age": "INT64", "bmi": "FP64", "sex": "BYTES"}
    row = {**GOOD, "age": 100}
    inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [row[name]]} for name, kind in kinds.items()]
    peer = Peer(url=url, model="m", request={"inputs": inputs})
    CASES["rows-together"](peer)
    inputs[0]["data"] = [101]
    assert peer.infer({"inputs": inputs}).status == 422


def test_bytes_and_values_are_the_inverse_of_each_other() -> None:
    for kind, values in (("FP64", [1.5, None]), ("INT8", [-1, 5]), ("BYTES", ["", "é"]), ("BOOL", [True, False])):
        assert out_of_bytes(kind, in_bytes(kind, values)) == values


def test_an_answer_that_is_no_json_is_a_broken_promise() -> None:
    reply = Reply(status=200, headers={}, body=b'{"a": NaN}')
    with pytest.raises(Exception, match="not JSON"):
        _ = reply.document
