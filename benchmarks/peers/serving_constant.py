"""The server of this project answering a constant: ``serving_constant.py PORT``, run by the Python of a bundle.

The same supervisor, worker and protocol as ``python -m fullcircle.server --workers 1``; the application reads the
body and answers ``{}``. It is the most that this server could do with a model that takes no time.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from fullcircle.server import lines
from fullcircle.server.listening import listen
from fullcircle.server.workers import Place, Supervisor, one_thread

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
BODY = {"type": "http.response.body", "body": b"{}"}


class Constant:
    """An ASGI application."""

    draining = False
    coming = None

    def follow(self) -> None:
        """There is no version to follow."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read what is asked and answer ``{}``."""
        while (await receive()).get("more_body"):
            pass
        await send(START)
        await send(BODY)


def work(place: Place) -> int:
    """What a worker does."""
    import gc

    from fullcircle.server.protocol import Bounds
    from fullcircle.server.worker import Gate, Server

    app: Any = Constant()
    ready: Any = SimpleNamespace(ready=True)
    server = Server(app, app, place, gate=Gate(place, lambda: ready), bounds=Bounds(), delay=0.0)
    gc.freeze()
    server.run(sockets=[])
    return 0


if __name__ == "__main__":
    lines.log("info", threaded=False)
    one_thread()
    with listen("127.0.0.1", int(sys.argv[1])) as bound:
        sys.exit(Supervisor(bound=bound, workers=1, work=work, listening=lambda: None, delay=0.0).run())
