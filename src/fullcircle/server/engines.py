"""Which engine a version gets: quick models are asked on the event loop, all others by a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fullcircle.server.child import DEADLINE, Child
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Engine
from fullcircle.server.follower import Entry, Loaded
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.opening import Opener
from fullcircle.server.spawning import Spawned, Spawner


class Engines:
    """Starts the engines of one application. Called by the follower's thread, which may wait.

    Its engines share a spare process; see Spawner.

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
        self._spawner = Spawner()
        self._names: set[str] = set()

    def __call__(self, loaded: Loaded, entry: Entry) -> Engine | None:
        """A process that has the model loaded, or None where the model may be asked on the event loop."""
        if self._opener.quick(loaded):
            return None
        start = partial(
            self._spawner.spawn, self._folder, loaded.model, entry, code=self._opener.code, online=self._opener.online
        )
        self._spawner.enter()
        try:
            first = start()
        except BaseException:
            self._spawner.leave()
            raise
        if loaded.model not in self._names:  # else the process of the version before is the spare from now on
            self._spawner.replenish()
            self._names.add(loaded.model)
        return Child(
            loaded,
            self._desk,
            self._limits,
            self._meter,
            partial(self._again, start),
            first,
            per_row=self._opener.per_row(loaded),
            deadline=self._deadline,
            closed=self._spawner.leave,
        )

    def _again(self, start: Callable[[], Spawned]) -> Spawned:
        found = start()
        self._spawner.replenish()
        return found
