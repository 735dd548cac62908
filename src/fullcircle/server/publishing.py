"""What the server tells about itself: metrics for a scraper, its API for programs, a page for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fullcircle.runtimes import schema
from fullcircle.server import addresses, page
from fullcircle.server.examples import HERE
from fullcircle.server.follower import Loaded, View
from fullcircle.server.http import Answer, Scope, answer
from fullcircle.server.lane import Lane
from fullcircle.server.meter import Meter, Snapshot, merged
from fullcircle.types.definitions import ViewSpec


class Publishing:
    """Makes the pages of one application. ``snapshot`` gives what all workers counted, by default this one's."""

    def __init__(self, meter: Meter, snapshot: Callable[[], Snapshot] | None = None) -> None:
        self._snapshot = snapshot or (lambda: merged([meter.snapshot()]))

    async def metrics(self, scope: Scope, lane: Lane) -> Answer:
        """What was counted, in Prometheus' text format, or in OpenMetrics where that is asked for."""
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        return await lane.run(lambda: self._metrics(accept))

    def _metrics(self, accept: str) -> Answer:
        from fullcircle.server import prometheus

        body, kind = prometheus.page(self._snapshot(), accept)
        return Answer(200, body, kind=kind)

    async def openapi(self, view: View, *, keyed: bool = False) -> Answer:
        """The OpenAPI document of what is served now; ``keyed``: whoever asks has to send a key."""
        found = schema.openapi([_described(one) for _, one in sorted(view.loaded.items())])
        return answer(_secured(found) if keyed else found)

    async def docs(self, view: View, scope: Scope, *, keyed: bool = False) -> Answer:
        """The page for people; ``keyed`` as for ``openapi``."""
        return page.answer(view, at=_asked_at(scope), keyed=keyed)


def _asked_at(scope: Scope) -> str:
    """By which address a request came: its Host, which was looked at before."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").strip()
    return f"{scope.get('scheme', 'http')}://{host}" if host else HERE


def _secured(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, which says how a key is sent, and where none is needed."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{"bearer": []}, {"key": []}]
    for path, operations in document["paths"].items():
        known = addresses.find(path)
        if known is not None and known[0].verb is None:
            for operation in operations.values():
                operation["security"] = []
    return document


def _described(one: Loaded) -> schema.Served:
    spec: ViewSpec | None = getattr(one.scorer.enrich, "spec", None)
    return schema.Served(
        name=one.model,
        version=one.version,
        contract=one.scorer.contract,
        keys={} if spec is None else spec.kinds_of_keys,
        request={} if spec is None else spec.request,
        explained=bool(one.scorer.background),
    )
