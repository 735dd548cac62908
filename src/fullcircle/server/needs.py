"""What the served versions need, checked again and again while they answer.

A server is not ready before every need of its versions was met once. Later it takes ``FAILURES`` failures in a row,
so that a blip does not take a whole fleet out, and one success to be ready again. A version that comes while the
server is ready brings its needs along without taking readiness away: it was checked before it was deployed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.server.follower import Loaded, View
from fullcircle.server.meter import Meter
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Checked, Need

if TYPE_CHECKING:
    from fullcircle.deployment.needs.checking import Checker

EVERY = 30.0  # seconds between two checks of what is met, give or take a fifth: a fleet must not ask all at once
AGAIN = 2.0  # seconds between two checks while readiness waits for it
FAILURES = 3  # in a row, until a server that was ready is so no more
_LOOK = 0.1  # seconds between two looks at what is served
_UNCHECKED = "what the models need at run time was not checked yet"
_logger = logging.getLogger(__name__)


@dataclass
class _Watched:
    """A need, what is known of it, and when it is due next (``time.monotonic``)."""

    need: Need
    views: bytes  # the view as JSON where the need looks for it: those of one view are checked together
    blocks: bool
    due: float = 0.0
    failures: int = 0
    found: Checked | None = None


class Watch:
    """Checks in a thread of its own. ``needs`` tells those of a version, and its feature view.

    ``problems`` may be read by any thread. ``every`` and ``again`` are seconds.
    """

    def __init__(
        self,
        view: Callable[[], View],
        needs: Callable[[Loaded], tuple[tuple[Need, ...], ViewSpec | None]],
        *,
        online: str = "",
        meter: Meter | None = None,
        every: float = EVERY,
        again: float = AGAIN,
    ) -> None:
        self._view, self._needs, self._online, self._meter = view, needs, online, meter
        self._every, self._again = every, again
        self._watched: dict[tuple[Need, bytes], _Watched] = {}
        self._seen: View | None = None
        self._opened = False
        self._unmet: Mapping[str, Checked] = {}
        self.notes: Mapping[str, str] = {}
        """What is not met and keeps nobody from answering, by the name of the need."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fullcircle-needs", daemon=True)
        self._checkers: dict[bytes, Checker] = {}

    def start(self) -> None:
        """Check from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Check no more. A check that is under way is left to itself."""
        self._stop.set()

    @property
    def unmet(self) -> Mapping[str, Checked]:
        """What readiness waits for, by the name of the need. Cheap: it is asked ten times a second."""
        view = self._view()
        if not self._opened and view is not self._seen and any(self._needs(one)[0] for one in view.loaded.values()):
            return {
                "": Checked(name="", kind="", status="skipped", what=_UNCHECKED, next_step="try again in a second")
            }
        return self._unmet

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                _logger.exception("a defect while checking needs")
            self._stop.wait(_LOOK)

    def look(self) -> None:
        """Take up what is served now, and check what is due."""
        view = self._view()
        if view is not self._seen:
            self._follow(view)
            self._tell()
            self._seen = view
        now = time.monotonic()
        due = [one for one in self._watched.values() if one.due <= now]
        if due:
            self._check(due)
            self._tell()
        self._opened = self._opened or (view.ready and not self._unmet)

    def _follow(self, view: View) -> None:
        wanted: dict[tuple[Need, bytes], _Watched] = {}
        for loaded in view.loaded.values():
            needs, spec = self._needs(loaded)
            for need in needs:
                looks = b"" if spec is None or need.kind != "features" else msgspec.json.encode(spec)
                fresh = _Watched(need, looks, blocks=not self._opened and not need.optional)
                wanted[need, looks] = self._watched.get((need, looks), fresh)
        self._watched = wanted

    def _check(self, due: list[_Watched]) -> None:
        from fullcircle.deployment.needs.checking import Checker  # not before somebody needs something

        known = {one.views for one in self._watched.values()}
        self._checkers = {
            views: self._checkers.get(views) or Checker(online=self._online, view=_view_of(views)) for views in known
        }
        for views, checker in self._checkers.items():
            members = [one for one in due if one.views == views]
            for one, found in zip(members, checker.check([one.need for one in members]), strict=True):
                self._noted(one, found)

    def _noted(self, one: _Watched, found: Checked) -> None:
        before, one.found = one.found, found
        failed = found.status == "failed"
        one.failures = one.failures + 1 if failed else 0
        blocked, one.blocks = one.blocks, failed and (one.blocks or one.failures >= FAILURES)
        pause = self._again if one.blocks else self._every
        one.due = time.monotonic() + pause * random.uniform(0.8, 1.2)  # noqa: S311 - a pause, no secret
        if failed and (before is None or before.status != "failed" or (one.blocks and not blocked)):
            effect = "the server is not ready until it is" if one.blocks else "it is tried again"
            _logger.error("need %s is not met, %s: %s; next: %s", found.name, effect, found.what, found.next_step)
        elif not failed and before is not None and before.status == "failed":
            _logger.info("need %s is met again: %s", found.name, found.what)
        elif found.status == "warn" and (before is None or before.status != "warn"):
            _logger.warning("need %s: %s; next: %s", found.name, found.what, found.next_step)

    def _tell(self) -> None:
        every = list(self._watched.values())
        self._unmet = {
            one.need.name: one.found
            or Checked(name=one.need.name, kind=one.need.kind, status="skipped", what="it was not checked yet")
            for one in every
            if one.blocks
        }
        self.notes = {
            one.need.name: _without_place(one.found)
            for one in every
            if one.found is not None and not one.blocks and one.found.status != "ok"
        }
        if self._meter is not None:
            self._meter.needs({(one.need.name, one.need.kind): one.failures > 0 for one in every})


def not_met(unmet: Mapping[str, Checked]) -> ServerBusy:
    """What is told of a server whose models lack something: each need and what to do, and no address."""
    names = [name for name in unmet if name]
    what = f"what the models need is not there: {', '.join(names)}" if names else _UNCHECKED
    return ServerBusy(
        what,
        received="; ".join(f"{name}: {one.what}" for name, one in unmet.items() if name) or None,
        next_step="; ".join(dict.fromkeys(one.next_step for one in unmet.values() if one.next_step)) or "try again",
        cause="not_ready",
    )


def _without_place(found: Checked) -> str:
    """What is not well, without where it is: whoever reaches the port may read it."""
    return found.what if found.what.startswith("optional: ") else found.what.rpartition("; ")[2]


def _view_of(views: bytes) -> ViewSpec | None:
    return msgspec.json.decode(views, type=ViewSpec) if views else None
