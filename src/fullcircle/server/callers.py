"""Who is known to a server: what they may do, which models they may know of, and how often they may ask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fullcircle.server.follower import View
from fullcircle.types.access import Verb


class Bucket:
    """A token bucket: ``rate`` a second, ``room`` at once. Times are those of a clock that never goes back."""

    __slots__ = ("_left", "_seen", "rate", "room")

    def __init__(self, rate: float, room: float) -> None:
        self.rate, self.room = rate, room
        self._left, self._seen = room, -math.inf

    def take(self, now: float) -> float:
        """Take one; returns 0, or the seconds until there will be one."""
        left = self._left + (now - self._seen) * self.rate
        if left > self.room:
            left = self.room
        self._seen = now
        if left >= 1.0:
            self._left = left - 1.0
            return 0.0
        self._left = left
        return (1.0 - left) / self.rate


class Caller:
    """Somebody who is known. ``models`` None: all. ``until`` is in Unix seconds; ``body`` in bytes, 0: no limit."""

    __slots__ = ("body", "bucket", "id", "models", "until", "verbs")

    def __init__(
        self,
        id: str,
        verbs: frozenset[Verb],
        models: frozenset[str] | None = None,
        *,
        until: float = math.inf,
        bucket: Bucket | None = None,
        body: int = 0,
    ) -> None:
        self.id, self.verbs, self.models = id, verbs, models
        self.until, self.bucket, self.body = until, bucket, body


class Cuts:
    """What callers may know of what is served now. Of what was served before nothing is kept: it holds models."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._cuts: dict[frozenset[str], View] = {}

    def seen(self, caller: Caller | None, view: View) -> View:
        """What is served, as far as this caller may know of it."""
        if caller is None or caller.models is None:
            return view
        if view is not self._view:
            self._view, self._cuts = view, {}
        found = self._cuts.get(caller.models)
        if found is None:
            kept = {field.name: _within(getattr(view, field.name), caller.models) for field in fields(view)}
            found = self._cuts[caller.models] = View(**kept)
        return found

    def forget(self) -> None:
        """Keep nothing of what was served until now."""
        self._view, self._cuts = None, {}


def _within(value: Any, models: frozenset[str]) -> Any:
    """A part of a view: what goes by the names of models is cut down to some of them, whatever it is."""
    if isinstance(value, Mapping):
        return {name: one for name, one in value.items() if name in models}
    return value & models if isinstance(value, frozenset) else value
