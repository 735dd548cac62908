"""``python -m fullcircle.server``: serves what a served.json names, until SIGTERM.

A small supervisor listens and starts the workers that answer. On standard output it writes one JSON line:
``{"listening": URL}`` when the first worker answers, or ``{"error": {...}}`` when none can. Everything else is one
JSON line each on standard error. It ends with 0 after SIGTERM, SIGINT or SIGHUP, having finished what was being
answered; with 2 where it could not start.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from fullcircle.errors import FullcircleError, WorkspaceUnusable
from fullcircle.server import lines
from fullcircle.server.listening import check_reach, listen, url
from fullcircle.server.workers import Place, Supervisor, cores, one_thread
from fullcircle.types import clock
from fullcircle.types.takeover import TAKES_OVER

MOST_WORKERS = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Returns the exit code."""
    options = _parser().parse_args(arguments)
    lines.occupy_standard_streams()
    lines.log(options.log_level, threaded=False)
    one_thread()
    try:
        return _serve(options)
    except FullcircleError as error:
        lines.tell({"error": error.as_dict()})
        return error.exit_code


def stop_quietly() -> None:
    """Ctrl-C before the server listens ends it like SIGTERM does: with 0 and without a traceback."""
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: os._exit(0))


def _serve(options: argparse.Namespace) -> int:
    told, options.access = options.access, options.access or options.served.with_name("access.json")
    there = options.access.exists()  # what holds for workers that come when it is gone, too
    options.keyed = there or (told is not None and not options.without_access_control)
    encrypted = options.tls_cert is not None
    check_reach(
        options.host,
        controlled=there or options.without_access_control,
        encrypted=encrypted or options.without_tls,
    )
    port = os.environ.get(TAKES_OVER, "")
    options.late = port.isascii() and port.isdecimal()
    with listen(options.host, int(port) if options.late else options.port, beside=options.late) as bound:
        try:
            options.predictions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(
                f"the folder of predictions cannot be used: {error.strerror}",
                received=options.predictions,
                next_step="give a folder that can be written",
            ) from error
        place = url(bound, encrypted=encrypted)
        return Supervisor(
            bound=bound,
            workers=options.workers or cores(),
            work=lambda given: _work(options, given),
            listening=lambda: lines.tell({"listening": place}),
            delay=options.drain_seconds,
            hang=options.hang_seconds,
            late=options.late,
        ).run()


def _work(options: argparse.Namespace, place: Place) -> int:
    """What a worker does. Its imports are its own: the supervisor stays small."""
    from fullcircle.server.worker import run

    with clock.of(options.predictions.parent):
        return run(options, place)


def _number(low: float, high: float, what: str, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """A reader of numbers from ``low`` to ``high``, in plain decimal digits."""

    def read(text: str) -> float:
        digits = text.replace(".", "", 1) if kind is float else text
        if not (digits.isascii() and digits.isdecimal()) or len(text) > 15 or not low <= kind(text) <= high:
            raise argparse.ArgumentTypeError(f"{text[:20]!a} is not {what}, {low:g} to {high:g}")
        return kind(text)

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fullcircle.server", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--served", type=Path, required=True, help="the served.json to follow")
    add("--predictions", type=Path, required=True, help="the folder of the prediction log")
    add("--code-cache", type=Path, required=True, help="a folder for the bundles' own classes")
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--hosts", default="", help="names beside loopback's, for a proxy, separated by commas")
    add("--port", type=_number(0, 65535, "a port"), default=8710, help="the port; 0 is any free one")
    add("--models", default="", help="serve only these names, separated by commas")
    add("--access", type=Path, default=None, help="the access.json to follow; default: the one beside served.json")
    add("--tls-cert", type=Path, default=None, help="the file of the certificate, with what leads to its root (PEM)")
    add("--tls-key", type=Path, default=None, help="the file of its private key (PEM, not encrypted)")
    add("--without-tls", action="store_true", help="listen beyond loopback unencrypted, behind a proxy that ends TLS")
    add(
        "--without-access-control", action="store_true",
        help="listen beyond loopback where there are no keys: whoever reaches the port may ask everything",
    )  # fmt: skip
    add(
        "--online", default=os.environ.get("FULLCIRCLE_ONLINE", ""),
        help="the URL of the online store, for models with a feature view; or the variable FULLCIRCLE_ONLINE",
    )  # fmt: skip
    add(
        "--log-bytes", type=_number(1, 10**15, "a number of bytes"), default=10_000_000_000,
        help="how large the folder of predictions may grow",
    )  # fmt: skip
    add("--log-full", default="stop", choices=["stop", "count"], help="then: stop answering, or count what is lost")
    add(
        "--log-fsync", default="interval", choices=["interval", "always", "never"],
        help="when predictions survive the death of the machine",
    )  # fmt: skip
    add("--log-key", type=Path, default=None, help="the file of the key that private values are hashed with")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    add("--access-log", action="store_true", help="one log line for each request, without what was sent")
    add(
        "--workers", type=_number(0, MOST_WORKERS, "a number of workers"), default=1,
        help="processes that answer; 0 is one for each core",
    )  # fmt: skip
    add(
        "--connections", type=_number(1, 1_000_000, "a number of connections"), default=2048,
        help="open connections of one worker; beyond, callers are told to come again",
    )  # fmt: skip
    add(
        "--drain-seconds", type=_number(0, 600, "a time in seconds", float), default=0.5,
        help="how long the door stays open after readiness is off, so that a balancer can look elsewhere",
    )  # fmt: skip
    add(
        "--deadline", type=_number(1, 600, "a time in seconds", float), default=5.0,
        help="a slow model's process that takes longer for one call is ended",
    )  # fmt: skip
    add(
        "--hang-seconds", type=_number(1, 3600, "a time in seconds", float), default=10.0,
        help="a worker whose event loop stands still for so long is replaced",
    )  # fmt: skip
    return parser
