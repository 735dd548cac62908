"""The data plane: a plain ASGI application that answers for the models of a view.

    POST /predict/{model}   {"rows": [{...}]} or {"columns": {...}}: a verdict for each row, 422 when all are rejected
    POST /explain/{model}   {"rows": [{...}]}: what moved each prediction, and by how much
    POST /outcomes          {"model": NAME, "outcomes": [{"id": ..., "value": ...}]}
    GET  /models            what is served, by which version, and what could not be loaded
    GET  /health/live       the process answers
    GET  /health/ready      all wanted models answer and have what they need, and the server is not draining
    GET  /metrics, /docs, /openapi.json
    /v2/...                 the Open Inference Protocol V2, see ``v2``
    POST /invocations       MLflow's scoring protocol, and SageMaker's, see ``invocations``

Every answer from 400 on has the one shape ``{"error": {"code", "message", ...}}``, but at addresses of other
protocols, which have shapes of their own. No input makes it answer 5xx
but 503, and that always with Retry-After. A prediction is in the log before its answer leaves.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

from fullcircle.errors import (
    FullcircleError,
    ModelNotServed,
    OnlineStoreUnavailable,
    RequestInvalid,
    ServerBusy,
    ViewNotPublished,
)
from fullcircle.runtimes.columns import Typed
from fullcircle.server import addresses, arrow, dialects, explain, invocations
from fullcircle.server.callers import Cuts
from fullcircle.server.desk import Desk, not_looked_up
from fullcircle.server.engine import Ask, Coming, Engine
from fullcircle.server.follower import Loaded, Trouble, View
from fullcircle.server.guard import Guard, bounded, hidden
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
    reason_of,
    refusal,
    reply,
    wrong_method,
)
from fullcircle.server.inline import Inline
from fullcircle.server.lane import Lane
from fullcircle.server.meter import PREDICT, Meter
from fullcircle.server.needs import Watch, not_met
from fullcircle.server.publishing import Publishing
from fullcircle.server.requests import outcomes_of, rows_of
from fullcircle.server.splitting import Splitter
from fullcircle.server.strict import decode
from fullcircle.server.unloaded import Unloaded
from fullcircle.server.v2 import handlers as v2

_logger = logging.getLogger(__name__)
_PREDICT = "/predict/"
_UNLOADED = Trouble(
    version=0,
    bundle="",
    code=ModelNotServed.code,
    message="it was unloaded here; POST /v2/repository/models/NAME/load lets it answer again",
)


class Call(NamedTuple):
    """A request at an address. ``names`` are what stands in the place of the template's names."""

    scope: Scope
    receive: Receive
    view: View
    names: tuple[str, ...]


Handler = Callable[[Call], Awaitable[Answer]]


class App:
    """One ASGI application. ``view`` tells what is served now; ``desk`` asks, logs and writes answers.

    ``hosts`` are the names that requests may be addressed to, beside those of loopback. ``meter`` counts;
    ``publishing`` makes what is read by people and by other programs. ``watch`` tells what the models need and have
    not: readiness waits for that. ``unloaded`` is what models are loaded and unloaded with.
    """

    def __init__(
        self,
        view: Callable[[], View],
        desk: Desk,
        limits: Limits | None = None,
        hosts: Iterable[str] = (),
        *,
        meter: Meter | None = None,
        publishing: Publishing | None = None,
        watch: Watch | None = None,
        unloaded: Unloaded | None = None,
        guard: Guard | None = None,
        splitter: Splitter | None = None,
    ) -> None:
        self._view = view
        self._desk = desk
        self._limits = limits or Limits()
        self._hosts = frozenset(name.lower() for name in hosts)
        self._reader = Reader(self._limits)
        self.meter = Meter() if meter is None else meter
        self.meter.bound = self._limits.waiting
        self._publishing = publishing or Publishing(self.meter)
        self._watch = watch
        self._guard = guard
        self._splitter = splitter or Splitter(desk, self._limits, self.meter)
        self._side = Lane("side", self._limits.waiting)
        self._slow = Lane("explain", self._limits.explaining)
        self._v2 = v2.Handlers(self._parts(), view, unloaded)
        self._handlers: Mapping[str, Handler] = {
            "/predict/{model}": lambda call: self._predict(call.names[0], call.scope, call.receive),
            "/explain/{model}": self._explain,
            "/outcomes": self._outcomes,
            "/models": self._models,
            "/health/live": _live,
            "/health/ready": self._ready,
            "/metrics": lambda call: self._publishing.metrics(call.scope, self._side),
            "/docs": lambda call: self._publishing.docs(call.view, call.scope, keyed=self._keyed()),
            "/openapi.json": lambda call: self._publishing.openapi(call.view, keyed=self._keyed()),
            **self._v2.table(),
            **invocations.Handlers(self._parts()).table(),
        }
        self._engines: dict[str, tuple[Loaded, Engine]] = {}
        self._followed: View | None = None
        self._cuts = Cuts()
        self.coming: Coming | None = None
        """What counts the requests that were handed over and are not begun; None where nobody counts them."""
        self.draining = False

    def _parts(self) -> dialects.Parts:
        return dialects.Parts(
            limits=self._limits,
            reader=self._reader,
            side=self._side,
            served=_served,
            latest=lambda model: _served(self._view(), model),
            ask=self._asked,
            ready=self._ready,
        )

    def _keyed(self) -> bool:
        """Whether whoever asks has to send a key."""
        return self._guard is not None and self._guard.required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the application speaks HTTP, not {scope['type']}")
        if self.coming is not None:
            self.coming.count -= 1
        meter = self.meter
        meter.in_flight += 1
        try:
            found = await self._answer(scope, receive)
        except Disconnected:
            return
        finally:
            meter.in_flight -= 1
        if found.status >= 400:
            found = dialects.worded(found, addresses.dialect(scope["path"]))
            number = scope.setdefault("request", os.urandom(8).hex())
            found = replace(found, headers=(*found.headers, (b"x-request-id", number.encode())))
        await reply(send, found, head=scope["method"] == "HEAD", close=self.draining)

    def close(self) -> bool:
        """Take no more work; True when all that was taken is done."""
        idle = self._side.idle and self._slow.idle and self._splitter.idle
        idle = idle and all(engine.idle for _, engine in self._engines.values())
        self._side.close()
        self._slow.close()
        for _, engine in self._engines.values():
            engine.close()
        self._splitter.close()
        return idle

    def follow(self) -> None:
        """Close the engines of versions that answer no more, and begin with new ones, before anybody asks them.

        Called by the event loop, again and again: a version that nobody asked would keep its process otherwise.
        """
        view = self._view()
        self._splitter.follow(view.routes)
        if view is self._followed:
            return
        self._followed = view
        self._cuts.forget()  # the models of the view before may go
        self._v2.forget()
        for loaded in view.loaded.values():
            self._engine(loaded)
        for name in self._engines.keys() - view.loaded.keys():
            self._engines.pop(name)[1].close()
            self.meter.removed(name)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path: str = scope["path"]
        begun = time.perf_counter()
        try:
            check_host(scope["headers"], self._hosts)
            if self._guard is not None:
                receive = self._admitted(self._guard, path, scope, receive)
            if path.startswith(_PREDICT) and scope["method"] == "POST":
                return await self._predict(path[len(_PREDICT) :], scope, receive)
            return await self._dispatched(path, scope, receive, begun)
        except FullcircleError as error:
            found = refusal(error)
            reason = reason_of(error, found.status, draining=self.draining)
            route = addresses.template(path)
            self.meter.refused(reason, found.status, route, time.perf_counter() - begun, *self._meant(path))
            return found
        except Disconnected:
            raise
        except Exception:
            number = uuid.uuid4().hex[:12]
            _logger.exception("defect %s while answering", number)
            self.meter.refused("defect", None, PREDICT, time.perf_counter() - begun, *self._meant(path))
            return refusal(ServerBusy(f"the request could not be answered (defect {number})", next_step="try again"))

    def _admitted(self, guard: Guard, path: str, scope: Scope, receive: Receive) -> Receive:
        """The body of a request whose caller may ask. What the caller may not know of is not there."""
        caller = guard.check(path, scope)
        if caller is None:
            return receive
        if (model := hidden(caller, path)) is not None:
            _served(self._cuts.seen(caller, self._view()), model)
        return bounded(receive, caller.body) if caller.body else receive

    async def _dispatched(self, path: str, scope: Scope, receive: Receive, begun: float) -> Answer:
        """The answer of the address's handler: what is in no table is answered by nobody."""
        view = self._cuts.seen(scope.get("caller"), self._view())
        known = _find(path)
        if known is None:
            raise _no_such_address()
        address, names = known
        found = (
            await self._handlers[address.template](Call(scope, receive, view, names))
            if address.takes(scope["method"])
            else wrong_method(address.methods)
        )
        if not address.counted:
            self.meter.observed(address.template, found.status, time.perf_counter() - begun)
        return found

    def _meant(self, path: str) -> tuple[str, int]:
        """The version that a refused request asked; "" and 0 where none that is served."""
        known = addresses.find(path)
        if known is None or not known[0].counted or not known[1]:
            return "", 0
        try:
            loaded = self._view().loaded.get(known[1][0])
        except ServerBusy:  # of a server that has nothing to look at yet nothing is known
            loaded = None
        return ("", 0) if loaded is None else (loaded.model, loaded.version)

    async def _models(self, call: Call) -> Answer:
        view, found = call.view, []
        for name in sorted(view.wanted | view.loaded.keys() | view.unloaded):
            loaded = view.loaded.get(name)
            trouble = view.troubles.get(name) if name not in view.unloaded else _UNLOADED
            found.append(
                {
                    "name": name,
                    "version": loaded.version if loaded else None,
                    "bundle": loaded.bundle if loaded else None,
                    "form": loaded.scorer.form.name if loaded else None,
                    "engine": None if loaded is None else "process" if loaded.engine else "inline",
                    "problem": trouble,
                    **({"split": self._splitter.told(view.routes[name])} if name in view.routes else {}),
                }
            )
        return answer({"models": found, "file": view.file})

    async def _predict(self, model: str, scope: Scope, receive: Receive) -> Answer:
        _served(self._view(), model)
        in_arrow = check_headers(scope["headers"], self._limits, arrow.KIND)
        body = await self._reader.body(receive)
        loaded = _served(self._view(), model)
        if len(body) <= self._limits.inline_bytes and not in_arrow:
            return await self._asked(loaded, Ask(body, loaded.decoder.rows(body) if loaded.quick else None), scope)
        with self._reader.held(body):
            return await (self._bulk(model, body, scope) if in_arrow else self._large(loaded, body, scope))

    async def _large(self, loaded: Loaded, body: bytes, scope: Scope) -> Answer:
        """Answer a body that takes too long to be decoded on the event loop."""
        rows, plain = await self._side.run(partial(_decoded, loaded, body, self._limits.rows))
        latest = _served(self._view(), loaded.model)
        if latest is not loaded:  # replaced meanwhile: the request is answered by one version, the one of now
            loaded, rows = latest, None
        return await self._asked(loaded, Ask(body, rows, plain), scope)

    async def _asked(self, loaded: Loaded, ask: Ask, scope: Scope) -> Answer:
        known, route = self._engines.get(loaded.model), self._view().routes.get(loaded.model)
        engine = known[1] if known is not None and known[0] is loaded else self._engine(loaded)
        if route is None or route.champion != loaded.version:
            found = await engine.answer(ask)
        else:
            ask.writer = None  # what is read on the way, by the breaker and the shadows, has the native form
            found = await self._splitter.answer(route, loaded, engine, ask, scope)
        scope["rows"] = ask.count  # for the log of requests
        return found

    async def _bulk(self, model: str, body: bytes, scope: Scope) -> Answer:
        """Answer an Arrow stream: as JSON, or as a stream where that is accepted."""
        columns = await self._side.run(partial(arrow.typed, body, self._limits.rows))
        loaded = _served(self._view(), model)
        taken = await self._side.run(partial(_taken, loaded, columns))
        latest = _served(self._view(), model)
        if latest is not loaded:
            loaded, taken = latest, _taken(latest, columns)
        found = await self._asked(loaded, Ask(b"", *taken), scope)
        wanted = any(name == b"accept" and arrow.KIND in value.lower() for name, value in scope["headers"])
        refused = found.status >= 400  # in the one shape
        return await self._side.run(partial(arrow.answered, found)) if wanted and not refused else found

    def _engine(self, loaded: Loaded) -> Engine:
        """The engine of a version: its opener's, or else one on the event loop."""
        known = self._engines.get(loaded.model)
        if known is not None and known[0] is loaded:
            return known[1]
        engine = loaded.engine or Inline(loaded, self._desk, self._limits, self.meter, self.coming)
        if known is None or known[0].version != loaded.version:
            self.meter.swapped(loaded.model, loaded.version)
        if known is not None:
            known[1].close()
        self._engines[loaded.model] = (loaded, engine)
        return engine

    async def _document(self, call: Call) -> Any:
        check_headers(call.scope["headers"], self._limits)
        body = await self._reader.body(call.receive)
        if len(body) <= self._limits.inline_bytes:
            return decode(body)
        with self._reader.held(body):
            return await self._side.run(partial(decode, body))

    async def _outcomes(self, call: Call) -> Answer:
        model, given = outcomes_of(await self._document(call), self._limits.outcomes)
        _served(call.view, model)
        return await self._side.run(lambda: self._desk.outcomes(_served(self._view(), model), given))

    async def _explain(self, call: Call) -> Answer:
        (model,) = call.names
        _served(call.view, model)
        rows = rows_of(await self._document(call), explain.ROWS)
        loaded = _served(self._view(), model)
        try:
            found = await self._slow.run(partial(explain.document, loaded, rows))
        except (OnlineStoreUnavailable, ViewNotPublished) as error:
            _logger.error("features cannot be looked up: %s", error)
            raise not_looked_up() from error
        return answer(found, found.status)

    async def _ready(self, call: Call) -> Answer:
        view, stranger = call.view, call.scope.get("stranger", False)
        problems = {name: trouble.message for name, trouble in sorted(view.troubles.items())}
        if self._watch is not None:
            problems |= {f"need {name}": told for name, told in sorted(self._watch.notes.items())}
        if view.ready and not self.draining:
            if self._watch is not None and (unmet := self._watch.unmet):
                return refusal(_not_ready() if stranger else not_met(unmet))
            return answer({"ready": True, "problems": {} if stranger else problems})
        if stranger:
            return refusal(_not_ready())
        if self.draining:
            why = "the server is shutting down"
        elif view.missing:
            why = f"no version answers yet for {', '.join(view.missing)}"
        else:
            why = view.file or "served.json names no model"
        told = "; ".join(f"{name}: {message}" for name, message in problems.items())
        return refusal(ServerBusy(why, received=told or None, next_step="try again in a second", cause="not_ready"))


def _not_ready() -> ServerBusy:
    """What somebody hears who is not known."""
    return ServerBusy("the server is not ready", next_step="try again in a second", cause="not_ready")


async def _live(call: Call) -> Answer:
    del call
    return answer({"live": True})


def _decoded(loaded: Loaded, body: bytes, limit: int) -> tuple[list[Any] | None, list[dict[str, Any]] | None]:
    """Rows as structs, where none needs a second look; else as they are judged by hand."""
    rows = loaded.decoder.rows(body) if loaded.quick else None
    return rows, rows_of(decode(body), limit) if rows is None else None


def _taken(loaded: Loaded, columns: Typed) -> tuple[list[Any] | None, list[dict[str, Any]] | None]:
    """Rows of columns as structs, where none needs a second look; else as they are judged by hand."""
    contract, encoder = loaded.scorer.contract, loaded.scorer.encoder
    strange = columns.columns.keys() - {*contract.names, *contract.context}
    if loaded.quick and not strange:
        matrix = columns.matrix(encoder)
        if encoder.all_clean(matrix):
            return loaded.decoder.structs(encoder.values(matrix), columns.contexts(contract)), None
    return None, [{**row, **dict.fromkeys(strange)} for row in columns.dicts(contract)]


_find = lru_cache(maxsize=256)(addresses.find)


def _served(view: View, model: str) -> Loaded:
    if model in view.loaded:
        return view.loaded[model]
    if model in view.wanted or (view.file and not view.loaded):  # nobody knows yet what is served here
        raise ServerBusy(
            "no version of this model answers yet", next_step="try again in a second; see /models", cause="not_ready"
        )
    raise ModelNotServed(
        "no model of this name is served here",
        received=ascii(model[:100]),
        allowed=", ".join(sorted(view.loaded)) or "none yet",
        next_step="see /models",
    )


def _no_such_address() -> RequestInvalid:
    return RequestInvalid(
        "there is nothing at this address",
        allowed=", ".join(each.template for each in addresses.ADDRESSES),
        next_step="check the address",
        status=404,
    )
