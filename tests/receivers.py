"""Receivers of alarms for tests, on loopback: a webhook, and a mail server that speaks just enough SMTP."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Webhook(ThreadingHTTPServer):
    """Keeps what is posted. ``status`` is what it answers; while ``stuck`` it takes ``hang`` seconds for that."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Post)
        self.got: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.stuck, self.hang = threading.Event(), 5.0
        self.arrived = threading.Condition()

    def wait(self, count: int, seconds: float = 20.0) -> list[Any]:
        """What came, once there is so much of it."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.got) >= count, seconds)
            return list(self.got)


class _Post(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.arrived:
            if self.server.status < 300:
                self.server.got.append(json.loads(body))
                self.server.paths.append(self.path)
                self.server.headers.append(dict(self.headers))
            self.server.arrived.notify_all()
        if self.server.stuck.is_set():
            threading.Event().wait(self.server.hang)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@contextmanager
def webhook(port: int = 0) -> Iterator[Webhook]:
    with Webhook(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Mailbox(socketserver.ThreadingTCPServer):
    """Takes mail without asking who sends it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.got: list[EmailMessage] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self._say("220 here")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self._say("354 go on")
                self.server.got.append(self._mail())
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            self._say("250 ok")

    def _mail(self) -> EmailMessage:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
