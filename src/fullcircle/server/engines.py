"""Which engine a version gets: quick models are asked on the event loop, all others by a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from fullcircle.server.child import DEADLINE, Child
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Engine
from fullcircle.server.follower import Entry, Loaded
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.opening import Opener
from fullcircle.server.routes import Other, Started, previous
from fullcircle.server.shadowing import Shadow, ShadowLog
from fullcircle.server.spawning import Spawned, Spawner

_PER_ROW = 0.001  # seconds, until calls have shown it


class Engines:
    """Starts the engines of one application. Called by the follower's thread, which may wait.

    Its engines share a spare process; see Spawner.

    ``folder`` is that of served.json, where relative paths of bundles begin; ``shadows`` says where shadows log.
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
        shadows: ShadowLog | None = None,
    ) -> None:
        self._opener, self._folder = opener, folder
        self._desk, self._meter, self._limits = desk, meter, limits or Limits()
        self._deadline, self._shadows = deadline, shadows
        self._spawner = Spawner()
        self._names: set[str] = set()

    def __call__(self, loaded: Loaded, entry: Entry) -> Engine | None:
        """A process that has the model loaded, or None where the model may be asked on the event loop."""
        if self._opener.quick(loaded):
            return None
        start = self._starter(loaded.model, entry)
        first = self._first(start)
        if loaded.model not in self._names:  # else the process of the version before is the spare from now on
            self._spawner.replenish()
            self._names.add(loaded.model)
        return self._child(loaded, start, first, self._opener.per_row(loaded))

    def beside(self, name: str, entry: Entry, other: Other) -> Started:
        """A version beside the champion of ``entry``, however quick it is, in a process of its own.

        Raises FullcircleError or OSError where it cannot be loaded.
        """
        given = Entry(
            version=other.version, bundle=other.bundle, path=other.path, previous=previous(entry), pickle=other.pickle
        )
        scorer = self._opener.shell(self._folder / other.path, name, given)
        loaded = Loaded(model=name, version=other.version, bundle=other.bundle, scorer=scorer)
        if not other.shadow or entry.split is None or self._shadows is None:
            start = self._starter(name, given)
            child = self._child(loaded, start, self._first(start), _PER_ROW, beside=True)
            return Started(loaded=loaded, child=child)
        log = msgspec.structs.replace(self._shadows, split=entry.split.id)
        start = self._starter(name, given, log)
        shadow = Shadow(name, start, self._first(start), Path(log.folder), closed=self._spawner.leave)
        return Started(loaded=loaded, shadow=shadow)

    def _starter(self, name: str, entry: Entry, shadow: ShadowLog | None = None) -> Callable[[], Spawned]:
        opener = self._opener
        return partial(
            self._spawner.spawn, self._folder, name, entry, code=opener.code, online=opener.online, shadow=shadow
        )

    def _first(self, start: Callable[[], Spawned]) -> Spawned:
        self._spawner.enter()
        try:
            return start()
        except BaseException:
            self._spawner.leave()
            raise

    def _child(
        self, loaded: Loaded, start: Callable[[], Spawned], first: Spawned, per_row: float, *, beside: bool = False
    ) -> Child:
        return Child(
            loaded,
            self._desk,
            self._limits,
            self._meter,
            partial(self._again, start),
            first,
            per_row=per_row,
            deadline=self._deadline,
            closed=self._spawner.leave,
            beside=beside,
        )

    def _again(self, start: Callable[[], Spawned]) -> Spawned:
        found = start()
        self._spawner.replenish()
        return found
