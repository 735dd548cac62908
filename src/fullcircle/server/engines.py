"""Which engine a version gets: quick models are asked on the event loop, all others by a process of their own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fullcircle.server.child import DEADLINE, Child
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Engine
from fullcircle.server.follower import Entry, Loaded
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.opening import Opener
from fullcircle.server.spawning import spawn


class Engines:
    """Starts the engines of one application. Called by the follower's thread, which may wait.

    ``folder`` is that of served.json, where relative paths of bundles begin.
    """

    def __init__(
        self,
        opener: Opener,
        folder: Path,
        desk: Desk,
        meter: Meter,
        limits: Limits | None = None,
        *,
        deadline: float = DEADLINE,
    ) -> None:
        self._opener, self._folder = opener, folder
        self._desk, self._meter, self._limits = desk, meter, limits or Limits()
        self._deadline = deadline

    def __call__(self, loaded: Loaded, entry: Entry) -> Engine | None:
        """A process that has the model loaded, or None where the model may be asked on the event loop."""
        if self._opener.quick(loaded):
            return None
        start = partial(spawn, self._folder, loaded.model, entry, code=self._opener.code, online=self._opener.online)
        return Child(
            loaded,
            self._desk,
            self._limits,
            self._meter,
            start,
            start(),
            per_row=self._opener.per_row(loaded),
            deadline=self._deadline,
        )
