"""What a model may need, as real servers on loopback: well, slow, hanging, endless, redirecting, silent."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

H2O = b'{"version":"3.46.0.7","cloud_healthy":true,"cloud_size":3,"nodes":[{"h2o":"x"}]}'


class _Handler(BaseHTTPRequestHandler):
    """Answers by the path: /status/404, /slow/0.2, /to?URL, /drip, /huge, and what MLflow and H2O have."""

    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        path = self.path if self.path.startswith("/to?") else self.path.partition("?")[0]
        first, _, rest = path.removeprefix("/").partition("/")
        plain: dict[str, tuple[int, bytes]] = {
            "health": (200, b"OK"),
            "version": (200, b"3.15.2"),
            "3": (200, H2O if self.server.healthy else H2O.replace(b"true", b"false")),
            "api": (200 if self._let_in() else 401, b"{}"),
            "private": (200 if self._let_in() else 401, b"{}"),
            "": (200, b"well"),
        }
        with suppress(ConnectionError):
            if first.startswith("to?"):
                self._reply(302, b"", ("Location", self.path.partition("?")[2]))
            elif first == "status":
                self._reply(int(rest.partition("/")[0]), b"" if rest == "304" else b"told")
            elif first == "slow":
                time.sleep(float(rest.partition("/")[0]))
                self._reply(200, b"late")
            elif first == "drip":
                self._endless(b"X", 0.05)
            elif first == "huge":
                self._endless(b"x" * 65536, 0.0)
            else:
                self._reply(*plain.get(first, (404, b"nothing")))

    def _let_in(self) -> bool:
        return self.server.secret is None or self.headers.get("Authorization") == self.server.secret

    def _reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _endless(self, part: bytes, pause: float) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: " if pause else b"HTTP/1.1 200 OK\r\n\r\n")
        until = time.monotonic() + 5
        while time.monotonic() < until:
            self.wfile.write(part)
            self.server.sent += len(part)
            time.sleep(pause)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Web(ThreadingHTTPServer):
    """``secret`` is the header Authorization that is let in, None for everybody. ``asked`` holds what came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.secret: str | None = None
        self.healthy = True
        self.sent = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is part of the test."""


@contextmanager
def web(certificate: tuple[Path, Path] | None = None) -> Iterator[Web]:
    server = Web()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """A port where somebody accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def dead() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def certificate(folder: Path, *, days: int = 2, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}-{days}.pem", folder / f"{name}-{days}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
