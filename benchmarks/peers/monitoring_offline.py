"""Keeps a program from any network (some libraries tell their makers that they are used), and lets it be asked."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any, NoReturn

QUIET = {
    "NML_DISABLE_USAGE_LOGGING": "1",
    "DO_NOT_TRACK": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}
"""Variables that say so to the libraries that ask, and a proxy that is not there for those that do not."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise OSError("this program may not use a network")


def closed() -> None:
    """Say so too late for nothing: raises RuntimeError where a connection could still be made."""
    try:
        socket.create_connection(("127.0.0.1", 9), 0.1)
    except OSError as error:
        if "may not use a network" in str(error):
            return
    raise RuntimeError("the network is not closed")


def answer(known: Mapping[str, Callable[..., Any]]) -> None:
    """Answer each line of JSON with one until standard input ends; what is printed else goes to standard error."""
    out = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        with redirect_stdout(sys.stderr):
            found = known[asked.pop("do")](**asked)
        print(json.dumps(found), file=out, flush=True)


os.environ.update(QUIET)
socket.socket.connect = _refuse  # type: ignore[method-assign]
socket.socket.connect_ex = _refuse  # type: ignore[method-assign]
