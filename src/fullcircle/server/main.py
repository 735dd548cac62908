"""``python -m fullcircle.server``: one process that serves what a served.json names, until SIGTERM.

On standard output it writes one JSON line: ``{"listening": URL}`` when it listens, or ``{"error": {...}}`` when it
cannot. Everything else is one JSON line each on standard error. It ends with 0 after SIGTERM or Ctrl-C, having
finished what was being answered; with 2 where it could not start.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn

from fullcircle.errors import FullcircleError, PortInUse, ServerFailed, WorkspaceUnusable
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Follower
from fullcircle.server.opening import Opener

DRAIN_SECONDS = 0.5  # readiness is off for so long before the port closes
GRACE_SECONDS = 30  # what is being answered then has so long to finish


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Returns the exit code."""
    options = _parser().parse_args(arguments)
    _log_json_lines(options.log_level)
    try:
        _serve(options)
    except FullcircleError as error:
        _tell({"error": error.as_dict()})
        return error.exit_code
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 is any free one. Raises PortInUse or ServerFailed."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerFailed(
            "this is not an address of this machine", received=ascii(host), next_step="use 127.0.0.1"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                "another program listens on this port",
                received=f"{host}:{port}",
                next_step="choose another port with --port, or --port 0 for any free one",
            ) from error
        raise ServerFailed(
            f"the server cannot listen there: {error.strerror}",
            received=f"{host}:{port}",
            next_step="choose another address or port",
        ) from error
    return bound


class _Server(uvicorn.Server):
    """uvicorn, but a first signal turns readiness off, waits, and then lets what is being answered finish."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app
        self._told: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._told is not None:
            self.should_exit = True
        self._told = self._told or time.monotonic()
        self._app.draining = True

    async def on_tick(self, counter: int) -> bool:
        if self._told is not None and time.monotonic() - self._told >= DRAIN_SECONDS:
            self.should_exit = True
        return await super().on_tick(counter)


def _serve(options: argparse.Namespace) -> None:
    with listen(options.host, options.port) as bound:
        try:
            options.predictions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(
                f"the folder of predictions cannot be used: {error.strerror}",
                received=options.predictions,
                next_step="give a folder that can be written",
            ) from error
        desk = Desk(options.predictions)
        names = frozenset(name for name in options.models.split(",") if name)
        opener = Opener(options.code_cache, options.online)
        follower = Follower(options.served, opener, only=names)
        app = App(
            lambda: follower.view, desk, hosts=[name.strip() for name in options.hosts.split(",") if name.strip()]
        )
        server = _Server(_config(app), app)
        follower.start()
        _tell({"listening": _url(bound)})
        server.run(sockets=[bound])
        follower.stop()
    if not app.close():
        # A model that does not come back must not keep the process: its callers were given up already.
        logging.getLogger(__name__).error("a model did not finish in time")
        os._exit(0)
    desk.close()


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell(document: object) -> None:
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


class _JsonLines(logging.Formatter):
    """One line for each record: nobody can forge a second one with a line break."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        text = {key: value.encode(errors="backslashreplace").decode() for key, value in line.items()}
        return msgspec.json.encode(text).decode()


def _log_json_lines(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:20]!a} is not a port, 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fullcircle.server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--served", type=Path, required=True, help="the served.json to follow")
    parser.add_argument("--predictions", type=Path, required=True, help="the folder of the prediction log")
    parser.add_argument("--code-cache", type=Path, required=True, help="a folder for the bundles' own classes")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--hosts", default="", help="names beside loopback's, for a proxy, separated by commas")
    parser.add_argument("--port", type=_port, default=8710, help="the port; 0 is any free one")
    parser.add_argument("--models", default="", help="serve only these names, separated by commas")
    parser.add_argument("--online", default="", help="the URL of the online store, for models with a feature view")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def stop_quietly() -> None:
    """Ctrl-C before the server listens ends it like SIGTERM does: with 0 and without a traceback."""
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: os._exit(0))
