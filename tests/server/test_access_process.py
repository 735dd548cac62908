"""Access over a real server process: every worker, TLS, and where it refuses to listen."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from access_samples import ROLES, key_of, token_of, written
from certificates import certificate
from fullcircle.deployment import client
from fullcircle.deployment.client import Door
from fullcircle.errors import Forbidden, ModelNotServed, RateLimited, ServerFailed, Unauthorized
from fullcircle.server.addresses import ADDRESSES
from fullcircle.types.access import ROLES as MAY
from sample_models import archive, serve
from serving import GOOD

WORKERS = 3
KEYS = (*ROLES.values(), key_of("revocable", "scorer"), key_of("scoped", "viewer", models=("other",)))


def command(folder: Path, *further: str) -> list[str]:
    options = [
        "--served",
        folder / "served.json",
        "--predictions",
        folder / "predictions",
        "--code-cache",
        folder / "code",
    ]
    return [sys.executable, "-I", "-m", "fullcircle.server", *map(str, options), "--port", "0", *further]


@cache
def _bundle() -> bytes:
    return archive(1, compiled=True)


def prepared(folder: Path) -> None:
    """A served.json that names one model."""
    serve(folder / "served.json", {"m": (1, _bundle())})


class Running:
    """A server process that listens; ``url`` is what it told."""

    def __init__(self, folder: Path, *further: str) -> None:
        self.errors = folder / "errors.log"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command(folder, "--access-log", *further), stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        assert self.process.stdout is not None
        self.url = str(json.loads(self.process.stdout.readline()).get("listening"))
        self.port = int(self.url.rpartition(":")[2])

    def ready(self, door: Door) -> None:
        deadline = time.monotonic() + 30
        while client.why_not_ready(self.url, door=door):
            assert time.monotonic() < deadline, client.why_not_ready(self.url, door=door)
            time.sleep(0.05)

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "OMP_NUM_THREADS": "1"}


def door(name: str) -> Door:
    return Door(token=token_of(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("access")
    prepared(made)
    written(made, *KEYS)
    return made


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    found = Running(folder, "--workers", str(WORKERS), "--drain-seconds", "0")
    try:
        found.ready(door("viewer"))
        yield found
    finally:
        found.end()


def ask(port: int, method: str, path: str, token: str = "", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": token} if token else {})
    connection.request(method, path, body, headers)
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, {name.lower(): value for name, value in found.getheaders()}, content


def test_every_address_over_the_wire(running: Running) -> None:
    body = json.dumps({"rows": [GOOD]}).encode()
    for address in ADDRESSES:
        model = "nobody" if address.verb == "manage" else "m"  # what is taken out would be missed by the others
        path = "/".join({"{model}": model, "{version}": "1"}.get(part, part) for part in address.parts)
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            status, headers, content = ask(running.port, method, path, "", body)
            if address.verb is not None:
                assert status in (401, 429), (method, path)
                assert b"bmi" not in content
            assert ("x-request-id" in headers) is (status >= 400)
        for role, verbs in MAY.items():
            status, _, content = ask(running.port, address.method, path, token_of(role), body)
            allowed = address.verb is None or address.verb in verbs
            assert (status == 403) is not allowed, (role, path, content)
            assert status not in (401, 500), (role, path)


def test_our_own_client_hears_what_happened(running: Running) -> None:
    (answer,) = client.predict(running.url, "m", [GOOD], door=door("scorer"))
    assert answer.version == 1
    with pytest.raises((Unauthorized, RateLimited)):
        client.predict(running.url, "m", [GOOD])
    with pytest.raises(Forbidden, match="may not do that"):
        client.predict(running.url, "m", [GOOD], door=door("viewer"))
    assert [one.name for one in client.models(running.url, door=door("viewer"))] == ["m"]
    assert client.models(running.url, door=door("scoped")) == ()
    assert client.ready(running.url)


def test_n15_a_revoked_key_is_dead_on_every_worker_within_two_seconds(running: Running, folder: Path) -> None:
    """Over many fresh connections, which the kernel spreads: none is answered once the two seconds are over."""
    token = token_of("revocable")
    body = json.dumps({"rows": [GOOD]}).encode()

    def statuses(count: int) -> set[int]:
        return {ask(running.port, "POST", "/predict/m", token, body)[0] for _ in range(count)}

    assert statuses(40) == {200}
    written(folder, *(key for key in KEYS if key.name != "revocable"))
    begun, last = time.monotonic(), 0.0
    while (passed := time.monotonic() - begun) < 2.0:
        if 200 in statuses(WORKERS):
            last = passed
    assert last < 1.0, "two seconds are promised, and a fifth of one is usual"
    assert not {200, 403} & statuses(60)
    assert {ask(running.port, "POST", "/predict/m", token_of("scorer"), body)[0] for _ in range(20)} == {200}
    written(folder, *KEYS)


def test_the_log_of_requests_names_keys_and_no_secrets(running: Running) -> None:
    client.models(running.url, door=door("viewer"))
    deadline = time.monotonic() + 5
    while f'"key": "{ROLES["viewer"].id}"' not in (text := running.errors.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for name in ("viewer", "scorer", "revocable"):
        assert token_of(name)[16:] not in text
    assert "Traceback" not in text


# --- where it listens (N21) ------------------------------------------------------------------------------------


def refusal(folder: Path, *further: str) -> dict[str, Any]:
    done = subprocess.run(command(folder, *further), capture_output=True, env=_environment(), check=False, timeout=30)
    assert done.returncode == 2, done
    found: dict[str, Any] = json.loads(done.stdout)["error"]
    assert found["code"] == "setting_invalid"
    return found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.2", "10.1.2.3", "0", "127.1"])  # noqa: S104
def test_n21_beyond_loopback_it_asks_for_keys_and_for_tls(host: str, tmp_path: Path, folder: Path) -> None:
    assert "--without-access-control" in refusal(tmp_path, "--host", host)["next"]
    assert "--without-access-control" in refusal(tmp_path, "--host", host, "--without-tls")["next"]
    assert "--without-tls" in refusal(tmp_path, "--host", host, "--without-access-control")["next"]
    assert "--without-tls" in refusal(folder, "--host", host)["next"]


def test_n21_in_so_many_words_it_listens(tmp_path: Path) -> None:
    prepared(tmp_path)
    found = Running(tmp_path, "--host", "0.0.0.0", "--without-access-control", "--without-tls")  # noqa: S104
    try:
        assert found.url == f"http://127.0.0.1:{found.port}"
        found.ready(Door())
        assert client.predict(found.url, "m", [GOOD])[0].version == 1
        written(tmp_path, ROLES["scorer"])
        deadline = time.monotonic() + 2
        while ask(found.port, "GET", "/models")[0] == 200:
            assert time.monotonic() < deadline, "a key that came later is asked for"
            time.sleep(0.02)
    finally:
        found.end()


def test_a_worker_that_cannot_judge_tokens_does_not_start(tmp_path: Path) -> None:
    from fullcircle.types.access import Issuer

    prepared(tmp_path)
    issuer = Issuer(issuer="i", audience="a", algorithm="RS256", keys="k", claim="c", roles={})
    written(tmp_path, issuers=(issuer,))
    block = "import sys; sys.modules['jwt'] = None; from fullcircle.server.main import main; sys.exit(main())"
    line = command(tmp_path)
    done = subprocess.run(
        [*line[:2], "-c", block, *line[4:]], capture_output=True, env=_environment(), check=False, timeout=30
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "missing_extra"


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    made = tmp_path_factory.mktemp("tls")
    prepared(made)
    written(made, *ROLES.values())
    cert, key = certificate(made, "models.example")
    where = ["--host", "0.0.0.0", "--hosts", "models.example"]  # noqa: S104
    found = Running(made, *where, "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        found.ready(Door(certificate=cert))
        yield found, cert
    finally:
        found.end()


def test_it_speaks_tls_and_our_client_knows_it_again(encrypted: tuple[Running, Path]) -> None:
    running, cert = encrypted
    assert running.url == f"https://127.0.0.1:{running.port}"
    known = Door(token=token_of("scorer"), certificate=cert)
    assert client.predict(running.url, "m", [GOOD] * 2000, door=known)[-1].version == 1
    with pytest.raises(ModelNotServed):
        client.predict(running.url, "nobody", [GOOD], door=known)
    with pytest.raises(ServerFailed, match="CERTIFICATE_VERIFY_FAILED"):
        client.predict(running.url, "m", [GOOD], door=door("scorer"))


def test_a_server_with_another_certificate_is_told_nothing(encrypted: tuple[Running, Path], tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "models.example")
    with pytest.raises(ServerFailed, match="another certificate than ours"):
        client.predict(encrypted[0].url, "m", [GOOD], door=Door(token=token_of("scorer"), certificate=other))


def test_a_caller_that_checks_names_is_content(encrypted: tuple[Running, Path]) -> None:
    running, cert = encrypted
    trusted = ssl.create_default_context(cafile=str(cert))
    assert trusted.check_hostname
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as plain,
        trusted.wrap_socket(plain, server_hostname="models.example") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
        requests = b"".join(
            f"GET {path} HTTP/1.1\r\nHost: models.example\r\n\r\n".encode() for path in ("/health/live", "/models")
        )
        secured.sendall(requests + b"GET /health/live HTTP/1.1\r\nHost: models.example\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := secured.recv(65536):
            received += piece
    assert [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]] == [200, 401, 200]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1])
def test_old_tls_is_not_spoken(version: ssl.TLSVersion, encrypted: tuple[Running, Path]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", encrypted[0].port), timeout=5) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_h12_plain_words_to_the_tls_port_get_no_answer_and_harm_nobody(encrypted: tuple[Running, Path]) -> None:
    running, cert = encrypted
    for content in (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01", b"\0" * 100, b""):
        with socket.create_connection(("127.0.0.1", running.port), timeout=8) as plain:
            plain.sendall(content)
            plain.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while piece := plain.recv(1000):
                    received += piece
            except ConnectionError:
                pass
            assert b"HTTP" not in received
    assert client.ready(running.url, door=Door(certificate=cert))


def test_h1_who_never_agrees_on_tls_is_cut(encrypted: tuple[Running, Path]) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", encrypted[0].port), timeout=15) as plain:
        assert plain.recv(10) == b""
    assert time.monotonic() - begun < 10


def test_l13_what_is_no_http_within_tls_is_told_so(encrypted: tuple[Running, Path]) -> None:
    running, cert = encrypted
    trusted = ssl.create_default_context(cafile=str(cert))
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as plain,
        trusted.wrap_socket(plain, server_hostname="models.example") as secured,
    ):
        secured.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        received = b"".join(iter(lambda: secured.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 400")
    assert b"over TLS" in received


@pytest.mark.parametrize(
    ("at_start", "flags"),
    [(True, ()), (True, ("--without-access-control",)), (False, ())],
    ids=["goes later", "goes later, none was needed", "is not there"],
)
def test_g1_a_file_that_is_gone_opens_no_server_that_was_told_of_it(
    at_start: bool, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """Nor a worker that comes when it is gone."""
    prepared(tmp_path)
    path = tmp_path / "access.json"
    if at_start:
        written(tmp_path, ROLES["viewer"])
    running = Running(tmp_path, "--drain-seconds", "0", *flags, *([] if at_start else ["--access", str(path)]))
    try:
        if at_start:
            running.ready(door("viewer"))
            path.unlink()
            worker = _worker(running.process.pid)
            os.kill(worker, signal.SIGKILL)
            deadline = time.monotonic() + 30
            while not (fresh := _worker(running.process.pid)) or fresh == worker:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)
        running.ready(Door())
        assert ask(running.port, "GET", "/models")[0] == 401
        assert ask(running.port, "GET", "/models", token_of("viewer"))[0] == 401, "nobody knows the keys"
        written(tmp_path, ROLES["viewer"])
        time.sleep(0.5)
        assert ask(running.port, "GET", "/models", token_of("viewer"))[0] == 200
    finally:
        running.end()


def _worker(supervisor: int) -> int:
    """The one worker of a server; 0 while there is none."""
    found = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return int(found[0]) if found else 0


def _open_files(supervisor: int) -> int:
    """Those of its one worker."""
    return len(os.listdir(f"/proc/{_worker(supervisor)}/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to count open files with")
@pytest.mark.parametrize("encryption", [True, False], ids=["tls", "plain"])
def test_g3_silent_connections_are_bounded_and_who_is_in_is_answered(encryption: bool, tmp_path: Path) -> None:
    """With TLS nobody is counted before the handshake, which a stranger need not begin."""
    prepared(tmp_path)
    cert, key = certificate(tmp_path, "localhost")
    most = 20
    silent: list[socket.socket] = []
    flags = ["--tls-cert", str(cert), "--tls-key", str(key)] if encryption else []
    running = Running(tmp_path, "--connections", str(most), "--drain-seconds", "0", *flags)
    trusted = ssl.create_default_context(cafile=str(cert))
    inside = http.client.HTTPConnection("localhost", running.port, timeout=5)
    if encryption:
        inside = http.client.HTTPSConnection("localhost", running.port, timeout=5, context=trusted)

    def answered() -> bool:
        inside.request("GET", "/models")
        found = inside.getresponse()
        found.read()
        return found.status == 200

    try:
        running.ready(Door(certificate=cert if encryption else None))
        assert answered()
        before = _open_files(running.process.pid)
        for _ in range(500):
            silent.append(socket.create_connection(("127.0.0.1", running.port), timeout=5))
        until = time.monotonic() + 1.0
        highest = 0
        while time.monotonic() < until:
            highest = max(highest, _open_files(running.process.pid) - before)
            assert answered()
            time.sleep(0.05)
        assert highest <= most + 2 * 64 + 5
        for one in silent:
            one.close()
        deadline = time.monotonic() + 10
        while client.why_not_ready(running.url, door=Door(certificate=cert if encryption else None)):
            assert time.monotonic() < deadline, "the door opens again"
            time.sleep(0.05)
        assert answered()
        assert _open_files(running.process.pid) - before < 20
    finally:
        inside.close()
        for one in silent:
            one.close()
        running.end()


def test_m6_a_full_server_still_tells_every_platform_that_it_is_well(tmp_path: Path) -> None:
    """Whoever asks for health by another protocol's address would else kill it for being busy."""
    prepared(tmp_path)
    running = Running(tmp_path, "--connections", "2", "--drain-seconds", "0")
    held: list[socket.socket] = []
    try:
        running.ready(Door())
        held += [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(2)]
        time.sleep(0.3)
        health = [each.template for each in ADDRESSES if each.verb is None and "{" not in each.template]
        assert {"/health/live", "/health", "/ping", "/v2/health/ready"} <= set(health)
        found = {path: ask(running.port, "GET", path)[0] for path in [*health, "/models"]}
        assert found.pop("/models") == 503
        assert set(found.values()) == {200}, found
    finally:
        for one in held:
            one.close()
        running.end()


@pytest.mark.parametrize("case", ["one alone", "not there", "no certificate", "of another", "encrypted"])
def test_a_certificate_that_cannot_be_used_is_refused_before_anybody_waits(case: str, tmp_path: Path) -> None:
    prepared(tmp_path)
    cert, key = certificate(tmp_path, "a")
    flags = ["--tls-cert", str(cert), "--tls-key", str(key)]
    if case == "one alone":
        flags = flags[:2]
    elif case == "not there":
        cert.unlink()
    elif case == "no certificate":
        cert.write_text("nothing")
    elif case == "of another":
        flags[3] = str(certificate(tmp_path, "b")[1])
    else:
        flags[1], flags[3] = map(str, certificate(tmp_path, "c", password=b"secret"))
    assert "TLS" in (told := refusal(tmp_path, *flags))["message"] or "certificate" in told["message"]
