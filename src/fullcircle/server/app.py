"""The data plane: a plain ASGI application that answers for the models of a view.

    POST /predict/{model}   {"rows": [{...}]}: a verdict for each row, 422 when all are rejected
    POST /outcomes          {"model": NAME, "outcomes": [{"id": ..., "value": ...}]}
    GET  /models            what is served, by which version, and what could not be loaded
    GET  /health/live       the process answers
    GET  /health/ready      all wanted models answer, and the server is not draining

Every answer from 400 on has the one shape ``{"error": {"code", "message", ...}}``. No input makes it answer 5xx
but 503, and that always with Retry-After. A prediction is in the log before its answer leaves.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from fullcircle.errors import FullcircleError, ModelNotServed, RequestInvalid, ServerBusy
from fullcircle.server.desk import Desk
from fullcircle.server.follower import View
from fullcircle.server.http import (
    Answer,
    Disconnected,
    Limits,
    Reader,
    Receive,
    Scope,
    Send,
    answer,
    check_headers,
    check_host,
    refusal,
    reply,
    wrong_method,
)
from fullcircle.server.lane import Lane
from fullcircle.server.requests import outcomes_of, rows_of
from fullcircle.server.strict import decode

_logger = logging.getLogger(__name__)
_PREDICT = "/predict/"


class App:
    """One ASGI application. ``view`` tells what is served now; ``desk`` does the work off the event loop.

    ``hosts`` are the names that requests may be addressed to, beside those of loopback.
    """

    def __init__(
        self, view: Callable[[], View], desk: Desk, limits: Limits | None = None, hosts: Iterable[str] = ()
    ) -> None:
        self._view = view
        self._desk = desk
        self._limits = limits or Limits()
        self._hosts = frozenset(name.lower() for name in hosts)
        self._reader = Reader(self._limits)
        self._model_lane = Lane("model", self._limits.waiting)
        self._side_lane = Lane("side", self._limits.waiting)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the application speaks HTTP, not {scope['type']}")
        try:
            found = await self._answer(scope, receive)
        except Disconnected:
            return
        await reply(send, found, head=scope["method"] == "HEAD", close=self.draining)

    def close(self) -> bool:
        """Take no more work; True when all that was taken is done."""
        idle = self._model_lane.idle and self._side_lane.idle
        self._model_lane.close()
        self._side_lane.close()
        return idle

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            return await self._route(scope, receive)
        except FullcircleError as error:
            return refusal(error)
        except Disconnected:
            raise
        except Exception:
            number = uuid.uuid4().hex[:12]
            _logger.exception("defect %s while answering", number)
            return refusal(ServerBusy(f"the request could not be answered (defect {number})", next_step="try again"))

    async def _route(self, scope: Scope, receive: Receive) -> Answer:
        check_host(list(scope["headers"]), self._hosts)
        path: str = scope["path"]
        method: str = scope["method"]
        view = self._view()
        reads: dict[str, Callable[[View], Answer]] = {
            "/health/live": _live,
            "/health/ready": self._ready,
            "/models": _models,
        }
        if path in reads:
            return reads[path](view) if method in ("GET", "HEAD") else wrong_method("GET, HEAD")
        writes: Callable[[Any], Awaitable[Answer]]
        if path == "/outcomes":
            writes = self._outcomes
        elif path.startswith(_PREDICT):
            writes = partial(self._predict, path.removeprefix(_PREDICT))
        else:
            raise _no_such_address()
        if method != "POST":
            return wrong_method("POST")
        if path != "/outcomes":
            _served(view, path.removeprefix(_PREDICT))
        check_headers(list(scope["headers"]), self._limits)
        return await writes(await self._document(receive))

    async def _document(self, receive: Receive) -> Any:
        body = await self._reader.body(receive)
        if len(body) <= self._limits.inline_bytes:
            return decode(body)
        return await self._side_lane.run(partial(decode, body))

    async def _predict(self, model: str, document: Any) -> Answer:
        rows = rows_of(document, self._limits.rows)
        return await self._model_lane.run(lambda: self._desk.predict(_served(self._view(), model), rows))

    async def _outcomes(self, document: Any) -> Answer:
        model, pairs = outcomes_of(document, self._limits.outcomes)
        return await self._side_lane.run(lambda: self._desk.outcomes(_served(self._view(), model), pairs))

    def _ready(self, view: View) -> Answer:
        problems = {name: trouble.message for name, trouble in sorted(view.troubles.items())}
        if view.ready and not self.draining:
            return answer({"ready": True, "problems": problems})
        if self.draining:
            why = "the server is shutting down"
        elif view.missing:
            why = f"no version answers yet for {', '.join(view.missing)}"
        else:
            why = view.file or "served.json names no model"
        told = "; ".join(f"{name}: {message}" for name, message in problems.items())
        return refusal(ServerBusy(why, received=told or None, next_step="try again in a second"))


def _live(view: View) -> Answer:
    del view
    return answer({"live": True})


def _models(view: View) -> Answer:
    found = []
    for name in sorted(view.wanted | view.loaded.keys()):
        loaded, trouble = view.loaded.get(name), view.troubles.get(name)
        found.append(
            {
                "name": name,
                "version": loaded.version if loaded else None,
                "bundle": loaded.bundle if loaded else None,
                "problem": trouble,
            }
        )
    return answer({"models": found, "file": view.file})


def _served(view: View, model: str) -> Any:
    if model in view.loaded:
        return view.loaded[model]
    if model in view.wanted:
        raise ServerBusy("no version of this model answers yet", next_step="try again in a second; see /models")
    raise ModelNotServed(
        "no model of this name is served here",
        received=ascii(model[:100]),
        allowed=", ".join(sorted(view.loaded)) or "none yet",
        next_step="see /models",
    )


def _no_such_address() -> RequestInvalid:
    return RequestInvalid(
        "there is nothing at this address",
        allowed="/predict/{model}, /outcomes, /models, /health/live, /health/ready",
        next_step="check the address",
        status=404,
    )
