"""One log line for each request, where it was asked for: what was called and how it ended, never what was sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from fullcircle.server.addresses import template
from fullcircle.server.http import Message, Receive, Scope, Send

_logger = logging.getLogger("fullcircle.access")


class Access:
    """Around an application: logs method, route, status, seconds, and of the scope the rows and the key."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log it."""
        begun = time.perf_counter()
        status = 0  # nobody was left to answer

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            fields = {
                "method": scope["method"],
                "path": template(scope["path"]),
                "status": status,
                "seconds": round(time.perf_counter() - begun, 6),
            }
            if "rows" in scope:
                fields["rows"] = scope["rows"]
            if (caller := scope.get("caller")) is not None:
                fields["key"] = caller.id
            if "request" in scope:  # of a refusal
                fields["request"] = scope["request"]
            _logger.info("request", extra={"fields": fields})
