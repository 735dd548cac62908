"""What the server tells about itself: metrics for a scraper, its API for programs, a page for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fullcircle.server.follower import View
from fullcircle.server.http import Answer, Scope, answer
from fullcircle.server.lane import Lane
from fullcircle.server.meter import Meter, Snapshot, merged


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

    async def openapi(self, view: View) -> Answer:
        """The OpenAPI document of what is served now."""
        from fullcircle.runtimes import schema

        return answer(schema.openapi(_served(view)))

    async def docs(self, view: View) -> Answer:
        """The page for people."""
        from fullcircle.server import page

        return page.answer(view)


def _served(view: View) -> list[Any]:
    raise NotImplementedError(view)
