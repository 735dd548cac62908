"""The addresses of the Open Inference Protocol V2."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import ModelNotServed, RequestInvalid, ServerBusy
from fullcircle.server import dialects, tabular
from fullcircle.server.dialects import Asked, Parts, Row
from fullcircle.server.engine import Ask
from fullcircle.server.follower import EVERY, View
from fullcircle.server.http import Answer, Headers, Scope, answer
from fullcircle.server.prometheus import release
from fullcircle.server.strict import decode
from fullcircle.server.unloaded import Unloaded
from fullcircle.server.v2 import binary, documents, outputs, tensors
from fullcircle.server.v2.figures import figures_of, listed_of, table_of

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded
    from fullcircle.server.rendering import Lines

_logger = logging.getLogger(__name__)
Handler = Callable[[Any], Awaitable[Answer]]
PATIENCE = 30.0  # seconds that a request to load a model waits until it answers
_LOOK = 0.05


_Kept = tuple[Mapping[str, documents.Chosen], str]
"""The outputs that are wanted, and the id of the request, which may have none."""


class Handlers:
    """Answers at the addresses below /v2. ``unloaded`` is what to load and unload with, None where that cannot be."""

    def __init__(self, parts: Parts, view: Callable[[], View], unloaded: Unloaded | None) -> None:
        self._parts, self._view, self._unloaded = parts, view, unloaded
        self._models: dict[str, documents.Model] = {}

    def table(self) -> Mapping[str, Handler]:
        """Who answers at which address."""
        models = "/v2/models/{model}"
        repository = "/v2/repository/models/{model}"
        return {
            "/v2": _server,
            "/v2/health/live": _live,
            "/v2/health/ready": self._ready,
            "/v2/models": _models,
            models: self._metadata,
            f"{models}/ready": self._model_ready,
            f"{models}/infer": self._infer,
            f"{models}/versions/{{version}}": self._metadata,
            f"{models}/versions/{{version}}/ready": self._model_ready,
            f"{models}/versions/{{version}}/infer": self._infer,
            "/v2/repository/index": self._index,
            f"{repository}/load": self._load,
            f"{repository}/unload": self._unload,
        }

    async def _infer(self, call: Asked) -> Answer:
        model, *wanted = call.names
        headers = call.scope["headers"]
        self._parts.served(call.view, model)
        dialects.check(headers, self._parts.limits, binary.KIND)
        take = partial(self._taken, headers, wanted)
        return await dialects.predicted(self._parts, call, model, take, self._given, self._written)

    def _taken(self, headers: Headers, wanted: Sequence[str], loaded: Loaded, body: bytes) -> Ask:
        if wanted:
            _check_version(loaded, wanted)
        model = self._model(loaded)
        document, rest = binary.split(headers, body)
        figures = figures_of(document) if model.numbers else None
        request = figures or tensors.request_of(document)
        if request.model_name or request.model_version:
            _check_named(request, loaded)
        chosen = model.all if not (request.outputs or request.parameters) else model.chosen(request)
        limit = self._parts.limits.rows
        ask = None if figures is None else _of_figures(model, figures, rest, limit)
        if ask is None:
            ask = dialects.asked(tabular.of_columns(loaded, tensors.columns_of(request, rest, model.inputs, limit)))
        ask.kept = (chosen, request.id or "")
        ask.pinned = bool(wanted or request.model_version)
        return ask

    def _written(self, loaded: Loaded, kept: _Kept, lines: Lines, start: int, end: int) -> Answer:
        return self._model(loaded).written(*kept, lines, start, end)

    def _given(self, loaded: Loaded, kept: _Kept, rows: Sequence[Row], number: int) -> Answer:
        model = self._model(loaded)
        rejected = sum(row.verdict == "rejected" for row in rows)
        data = outputs.OfRows(model, rows)
        wanted, given = kept
        named = given or rows[0].id or documents.nameless()
        return model.answer(wanted, named, data, version=number, rejected=rejected)

    def _model(self, loaded: Loaded) -> documents.Model:
        """A version in the protocol's words, which are kept while it is served."""
        known = self._models.get(loaded.model)
        if known is None or known.loaded is not loaded:
            known = documents.Model(loaded)
            if self._view().loaded.get(loaded.model) is loaded:
                self._models[loaded.model] = known
        return known

    def forget(self) -> None:
        """Keep nothing of what was served until now: it holds models."""
        self._models.clear()

    async def _metadata(self, call: Asked) -> Answer:
        model, *wanted = call.names
        loaded = self._parts.served(call.view, model)
        _check_version(loaded, wanted)
        return answer(self._model(loaded).metadata())

    async def _model_ready(self, call: Asked) -> Answer:
        model, *wanted = call.names
        if model in call.view.unloaded:
            return _not_ready("the model is unloaded", name=model)
        try:
            loaded = self._parts.served(call.view, model)
        except ServerBusy as error:
            return _not_ready(error.what, name=model)
        _check_version(loaded, wanted)
        return answer({"name": model, "ready": True})

    async def _ready(self, call: Asked) -> Answer:
        found = await self._parts.ready(call)
        if found.status == 200:
            return answer({"ready": True})
        return _not_ready(msgspec.json.decode(found.body)["error"]["message"])

    async def _index(self, call: Asked) -> Answer:
        given = await self._document(call)
        if not given.keys() <= {"ready"} or not isinstance(given.get("ready", False), bool):
            raise RequestInvalid("the body has not the form that is expected", allowed='{"ready"?: true or false}')
        return answer(_listed(call.view, only_ready=given.get("ready", False)))

    async def _load(self, call: Asked) -> Answer:
        return await self._changed(call, out=False)

    async def _unload(self, call: Asked) -> Answer:
        return await self._changed(call, out=True)

    async def _changed(self, call: Asked, *, out: bool) -> Answer:
        """Load or unload, and wait until it is so in this worker. The others look five times a second."""
        (model,) = call.names
        _check_change(await self._document(call), out=out)
        if model not in call.view.unloaded:
            self._known(call.view, model)
        if self._unloaded is None:
            raise RequestInvalid("this server loads and unloads nothing", status=409)
        await self._parts.side.run(partial(self._unloaded.change, model, out=out))
        _note("unloaded" if out else "loaded", model, call.scope)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            view = self._view()
            if model in (view.unloaded if out else view.loaded):
                await asyncio.sleep(2 * EVERY)  # so long the other workers may need to see it too
                return answer({})
            if not out and model in view.troubles and model not in view.unloaded:
                why = view.troubles[model].message
                raise ServerBusy("the model cannot be loaded", received=why, cause="not_ready")
            await asyncio.sleep(_LOOK)
        raise ServerBusy("this takes longer than a request may wait", next_step="ask for the index in a while")

    def _known(self, view: View, model: str) -> None:
        if model not in view.wanted:
            self._parts.served(view, model)

    async def _document(self, call: Asked) -> dict[str, Any]:
        """A small document; an empty body is an empty one."""
        dialects.check(call.scope["headers"], self._parts.limits, binary.KIND)
        body = await self._parts.reader.body(call.receive)
        if len(body) > self._parts.limits.inline_bytes:
            raise RequestInvalid("the body is too large", allowed="a small document", status=413)
        found = decode(body) if body.strip() else {}
        if not isinstance(found, dict):
            raise RequestInvalid("the body is not an object", allowed="{}")
        return found


def _check_change(given: Mapping[str, Any], *, out: bool) -> None:
    """Refuse what would not be done. The one parameter that clients send is of unloading: no model has dependents."""
    named = given.get("parameters")
    if given.keys() - {"parameters"} or not isinstance(named, dict | None):
        raise RequestInvalid("the body has not the form that is expected", allowed='{"parameters"?: {...}}')
    if not out and named:
        raise RequestInvalid(
            "a model is loaded as it was promoted, without parameters",
            allowed="no parameters",
            next_step="to serve another version, promote it",
        )
    if named and named.keys() - {"unload_dependents"}:
        raise RequestInvalid("a parameter of unloading is not known", allowed="unload_dependents")


def _note(what: str, model: str, scope: Scope) -> None:
    """One log line about who changed what is served."""
    caller = scope.get("caller")
    who = {"peer": str((scope.get("client") or ("",))[0])} if caller is None else {"key": caller.id}
    _logger.warning(what, extra={"fields": {"model": model, **who}})


def _of_figures(model: documents.Model, request: tensors.Asked, rest: bytes, limit: int) -> Ask | None:
    """What an engine is asked of a request of ``figures_of``; None where that is for ``tensors`` to say."""
    decoder = model.loaded.decoder
    table = table_of(request, rest, len(model.names), limit)
    if table is not None:
        values, matrix = table
        found = Ask(b"", decoder.table(values))
        found.matrix = decoder.packed(values) if matrix is None and found.count > 1 else matrix
        return found
    listed = listed_of(request, rest, model.names, limit)
    return None if listed is None else Ask(b"", decoder.listed(listed))


def _check_named(request: tensors.Asked, loaded: Loaded) -> None:
    for given, known in ((request.model_name, loaded.model), (request.model_version, str(loaded.version))):
        if given and given != known:
            raise RequestInvalid(
                "the body names another model or version than the address",
                allowed="the same one",
                next_step="leave model_name and model_version out of the body, or ask the other address",
            )


def _check_version(loaded: Loaded, wanted: Sequence[str]) -> None:
    """Versions in an address are those that are served; there is one at a time."""
    if wanted and wanted[0] != str(loaded.version):
        raise ModelNotServed(
            "this version of the model is not served here",
            allowed=str(loaded.version),
            next_step="ask for this version, or leave the version out of the address",
        )


def _listed(view: View, *, only_ready: bool) -> list[dict[str, str]]:
    found = []
    for name in sorted(view.wanted | view.loaded.keys() | view.unloaded):
        loaded, trouble = view.loaded.get(name), view.troubles.get(name)
        if loaded is not None:
            found.append({"name": name, "version": str(loaded.version), "state": "READY", "reason": ""})
        elif not only_ready:
            reason = "unloaded" if name in view.unloaded else trouble.message if trouble else "not loaded yet"
            number = str(trouble.version) if trouble else ""
            found.append({"name": name, "version": number, "state": "UNAVAILABLE", "reason": reason})
    return found


def _not_ready(why: str, **more: str) -> Answer:
    return Answer(503, msgspec.json.encode({**more, "ready": False, "error": why}), ((b"retry-after", b"1"),))


async def _server(call: Asked) -> Answer:
    del call
    return answer({"name": "fullcircle", "version": release(), "extensions": list(documents.EXTENSIONS)})


async def _live(call: Asked) -> Answer:
    del call
    return answer({"live": True})


async def _models(call: Asked) -> Answer:
    return answer({"models": sorted(call.view.loaded)})
