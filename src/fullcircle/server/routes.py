"""What stands beside a champion: versions that get a share of what is asked, and shadows that get a copy.

They are started aside, and nobody waits for them: until one is there, and where it cannot be loaded, the champion
answers for it. Nothing of theirs runs in this process: each is loaded and asked in one of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from fullcircle.errors import FullcircleError
from fullcircle.server.lane import aside
from fullcircle.types.splits import Variant

if TYPE_CHECKING:
    from fullcircle.server.child import Child
    from fullcircle.server.follower import Entry, Loaded, Previous
    from fullcircle.server.shadowing import Shadow

RETRY = 30.0  # seconds until a version that could not be loaded is tried again: a process costs seconds of a core
_logger = logging.getLogger(__name__)


class Other(msgspec.Struct, frozen=True):
    """A version beside the champion, as ``served.json`` names it: with the buckets [low, high), or as a shadow."""

    version: int
    bundle: str
    path: str
    low: int = 0
    high: int = 0
    shadow: bool = False
    pickle: bool = False


class Way(msgspec.Struct, frozen=True):
    """How rows are assigned: by these columns under this salt. ``id`` names the split in the log."""

    id: str
    salt: str
    entity: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Started:
    """A version that is there: ``child`` answers for it, or ``shadow`` takes copies for it."""

    loaded: Loaded
    child: Child | None = None
    shadow: Shadow | None = None

    def close(self) -> None:
        """End its process. Called by the event loop, or by nobody else at the time."""
        for one in (self.child, self.shadow):
            if one is not None:
                one.close()


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A version beside the champion. ``started`` is None while it is being loaded, ``problem`` why it cannot be."""

    variant: Variant
    started: Started | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Route:
    """The split of a model at one moment: ``champion`` is the version that answers for all that nobody else has."""

    way: Way
    champion: int
    others: tuple[Beside, ...]


Key = tuple[str, str, int, str, bool]  # model, split, version, bundle, whether it is a shadow
Start = Callable[[str, "Entry", Other], Started]


class Routes:
    """Starts what ``served.json`` names beside champions. For one thread, which never waits here."""

    def __init__(self, start: Start, retry: float = RETRY) -> None:
        self._start = start
        self._retry = retry
        self._begun: dict[Key, Future[Started]] = {}
        self._failed: dict[Key, tuple[float, str]] = {}
        self._shown: set[Key] = set()

    def look(self, entries: Mapping[str, Entry]) -> dict[str, Route]:
        """The routes by now. Of what is named no more the event loop closes what it was shown, and nobody else."""
        wanted = {
            _key(name, entry, other): (name, entry, other)
            for name, entry in entries.items()
            if entry.split is not None
            for other in entry.others
        }
        for key in self._begun.keys() - wanted.keys():
            begun = self._begun.pop(key)
            if key not in self._shown:  # it may have come since the last look
                begun.add_done_callback(_unwanted)
        self._shown &= wanted.keys()
        self._failed = {key: told for key, told in self._failed.items() if key in wanted}
        for key, (name, entry, other) in wanted.items():
            late = self._failed.get(key, (0.0, ""))[0] <= time.monotonic()
            if key not in self._begun and late:
                self._begun[key] = aside(partial(self._start, name, entry, other), "beside")
        found: dict[str, Route] = {}
        for name, entry in entries.items():
            if entry.split is not None and entry.others:
                others = tuple(self._beside(_key(name, entry, other), other) for other in entry.others)
                found[name] = Route(way=entry.split, champion=entry.version, others=others)
        return found

    def _beside(self, key: Key, other: Other) -> Beside:
        variant = Variant(version=other.version, low=other.low, high=other.high, shadow=other.shadow)
        begun = self._begun.get(key)
        if begun is not None and begun.done():
            error = begun.exception()
            if error is None:
                self._shown.add(key)
                return Beside(variant=variant, started=begun.result())
            del self._begun[key]
            told = _told(error)
            if self._failed.get(key, (0.0, ""))[1] != told:
                _logger.error("version %d of %s cannot stand beside the champion: %s", other.version, key[0], error)
            self._failed[key] = time.monotonic() + self._retry, told
        return Beside(variant=variant, problem=self._failed.get(key, (0.0, ""))[1])


def _key(name: str, entry: Entry, other: Other) -> Key:
    return name, entry.split.id if entry.split else "", other.version, other.bundle, other.shadow


def _told(error: BaseException) -> str:
    """What callers may read of it: no path."""
    if isinstance(error, FullcircleError):
        return error.what
    if isinstance(error, OSError):
        return f"the bundle could not be read: {error.strerror or type(error).__name__}"
    return f"the model could not be loaded: {type(error).__name__}"


def _unwanted(begun: Future[Started]) -> None:
    if begun.exception() is None:
        begun.result().close()


def previous(entry: Entry) -> Previous:
    """The champion, as who answers where a version beside it falls back."""
    from fullcircle.server.follower import Previous

    return Previous(version=entry.version, bundle=entry.bundle, path=entry.path, pickle=entry.pickle)
