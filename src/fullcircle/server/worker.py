"""One worker: the application under uvicorn, on the socket that the supervisor opened, until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from fullcircle.errors import FullcircleError
from fullcircle.server import lines, listening, telemetry, tls
from fullcircle.server.access import Access
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.engines import Engines
from fullcircle.server.follower import Follower, View
from fullcircle.server.guard import Guard
from fullcircle.server.http import Limits, Receive, Scope, Send
from fullcircle.server.meter import Meter
from fullcircle.server.minutes import Minutes
from fullcircle.server.needs import Watch
from fullcircle.server.opening import Opener
from fullcircle.server.protocol import Bounds, Connection, Pulse
from fullcircle.server.publishing import Publishing
from fullcircle.server.shadowing import SHADOWS, ShadowLog
from fullcircle.server.splitting import Splitter
from fullcircle.server.tally import Tally, home
from fullcircle.server.unloaded import Unloaded
from fullcircle.server.workers import GRACE_SECONDS, Place
from fullcircle.settings import is_loopback
from fullcircle.tables import trips
from fullcircle.tables.private import read_key
from fullcircle.tables.requests import RequestLog

_HANDSHAKES = 0.1  # seconds for connections that had just begun when the door was shut
SETTLING = 4  # ticks of a tenth of a second
_EMPTYING = 2.0  # seconds at most to accept who waits at the door
_SPARE_FILES = 512  # open files beside connections: logs, bundles, libraries
_LATE = 5.0
_HANDSHAKE = 2.0  # seconds that a caller may take to agree on TLS
_REASONS = {400: "invalid", 408: "slow", 413: "too_large", 414: "too_large", 431: "too_large", 503: "overload"}
_logger = logging.getLogger(__name__)
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def run(options: argparse.Namespace, place: Place) -> int:
    """Serve until the supervisor tells to stop, or is gone. Returns the exit code of the process."""
    lines.log(options.log_level, threaded=True)
    meter = Meter()
    guard = Guard(options.access, workers=place.board.workers, needed=_needs_keys(options))
    try:
        encryption = tls.context(options.tls_cert, options.tls_key)
        desk = Desk(options.predictions, meter, **_log(options))
        guard.start()
    except FullcircleError as error:
        _logger.error("%s", error)
        lines.tell({"error": error.as_dict()})
        return error.exit_code
    names = frozenset(name for name in options.models.split(",") if name)
    opener = Opener(options.code_cache, options.online)
    minutes = Minutes(meter, RequestLog(options.predictions, options.log_bytes))
    tally = Tally(meter, home(options.code_cache / "metrics", os.getppid()), each=minutes.look)
    unloaded = Unloaded(options.served.parent)
    engines = Engines(
        opener, options.served.parent, desk, meter, deadline=options.deadline, shadows=_shadow_log(options)
    )
    follower = Follower(
        options.served,
        opener,
        unloaded=unloaded,
        only=names,
        before=opener.before,
        start=engines,
        beside=engines.beside,
    )
    hosts = [name.strip() for name in options.hosts.split(",") if name.strip()]
    hosts += [f"[{options.host}]" if ":" in options.host else options.host]  # no web page has it for a name
    publishing = Publishing(meter, tally.snapshot)
    watch = Watch(lambda: follower.view, opener.needs, online=options.online, meter=meter)
    gate = Gate(place, lambda: follower.view, lambda: not watch.unmet)
    app = App(
        gate.view,
        desk,
        hosts=hosts,
        meter=meter,
        publishing=publishing,
        watch=watch,
        unloaded=unloaded,
        guard=guard,
        splitter=Splitter(desk, Limits(), meter, options.served.parent / trips.FOLDER),
    )
    connections = _room_for(options.connections)
    server = Server(
        Access(app) if options.access_log else app,
        app,
        place,
        gate=gate,
        bounds=Bounds(connections=connections),
        delay=options.drain_seconds,
        late=options.late,
        encryption=encryption,
        refused=lambda status: meter.refused(_REASONS[status], status, "other"),
    )
    follower.start()
    watch.start()
    tally.keep()
    stop_sending = telemetry.start(meter)
    gc.freeze()  # what was imported stays: no collection need look at it again
    server.run(sockets=[])
    follower.stop()
    guard.stop()
    watch.stop()
    stop_sending()
    tally.stop()
    minutes.end()
    if not app.close():
        # A model that does not come back must not keep the process: its callers were given up already.
        _logger.error("a model did not finish in time")
        return 0
    desk.close()
    return 0


class Gate:
    """Holds back that this worker is ready, until its siblings that are not have closed their doors.

    ``view`` is what the application may show. Who was told by one worker that the server is ready must not meet
    another one that is not. A worker alone shows what it has at once. ``met`` says whether what the models need at
    run time is there: without it no worker is ready, though it answers whom it is asked by.
    """

    def __init__(self, place: Place, view: Callable[[], View], met: Callable[[], bool] = lambda: True) -> None:
        self._view, self._met = view, met
        # One that comes later finds siblings that answer: nobody waits for it, and its own door stays shut meanwhile.
        first = place.board.workers > 1 and not place.board.ready_beside(place.number)
        self._held = SETTLING if first else 0

    @property
    def ready(self) -> bool:
        """Whether the models of this worker answer and have what they need, shown or not."""
        return self._view().ready and self._met()

    @property
    def shown(self) -> bool:
        """Whether they answer, and everybody may know."""
        return not self._held and self.ready

    def tick(self) -> None:
        """Ten times a second."""
        if self._held and self._view().ready:
            self._held -= 1

    def view(self) -> View:
        """What is served."""
        return View(file="the workers are getting ready") if self._held else self._view()


class Server(uvicorn.Server):
    """uvicorn with a door that opens and closes, a beat for the supervisor, bounded connections, and a drain.

    ``app`` is told that it drains, ``asked`` answers (it may be the same). ``gate`` says whether the models of
    this worker answer: while they do not and those of another worker do, this one accepts no connections. With
    ``late`` there is a server beside that answers until this one does: the door is not opened before.
    """

    def __init__(
        self,
        asked: Application,
        app: App,
        place: Place,
        *,
        gate: Gate,
        bounds: Bounds,
        delay: float,
        grace: float = GRACE_SECONDS,
        late: bool = False,
        encryption: ssl.SSLContext | None = None,
        refused: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(_config(asked))
        self._app = app
        self._place = place
        self._gate = gate
        self._bounds = bounds
        self._delay, self._grace = delay, grace
        self._pulse = Pulse(refused)
        app.coming = self._pulse.coming
        self._door: asyncio.Server | None = None
        self._told: float | None = None
        self._orphan = False
        self._late = late
        self._encryption = encryption

    def tell(self) -> None:
        """Begin to drain: readiness is off from now on. Again: nothing more."""
        self._told = self._told or time.monotonic()
        self._app.draining = self._pulse.draining = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM is the supervisor's word. What else there is was settled when this process was forked."""

        def told(number: int, frame: FrameType | None) -> None:
            self.tell()

        signal.signal(signal.SIGTERM, told)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin: watch the leash, open the door."""
        await super().startup(sockets=[])
        threading.Thread(
            target=self._watch, args=(asyncio.get_running_loop(),), name="fullcircle-leash", daemon=True
        ).start()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: beat, sweep, mind the door and the engines. True when it is time to finish."""
        self._gate.tick()
        self._app.follow()
        self._beat()
        if counter % 10 == 0:
            self._sweep()
        if self._told is None or time.monotonic() - self._told < self._delay:
            await self._mind_door()
        else:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer everybody who came before the door was shut, and close."""
        until = time.monotonic() + self._grace
        await self._empty()
        self._close_door()
        swept = self._pulse.now
        while self.server_state.connections or self.server_state.tasks:
            self._beat()
            self._pulse.now = time.monotonic()
            if self._pulse.now - swept >= 1:
                swept = self._pulse.now
                self._sweep()
            if self._pulse.now > until:
                _logger.error("%d requests did not finish in time", len(self.server_state.tasks))
                break
            for connection in self._connections():
                connection.finish()
            await asyncio.sleep(0.02)
        for connection in self._connections():
            connection.cut()

    async def _empty(self) -> None:
        """Accept who waits at the door. The supervisor shuts it; an orphan has to do that by itself."""
        if self._orphan:
            listening.shut(self._place.bound)
        until = time.monotonic() + _EMPTYING
        await asyncio.sleep(_HANDSHAKES)
        while self._door is not None and time.monotonic() < until and listening.somebody_waits(self._place.bound):
            self._beat()
            await asyncio.sleep(0.005)

    def _beat(self) -> None:
        self._place.board.beat(self._place.number, ready=self._gate.ready and not self._late)

    def _sweep(self) -> None:
        self._pulse.now = time.monotonic()
        # Whoever did not agree on TLS by now was cut; what is left of them may stay in memory for a while.
        for one in [one for one, since in self._pulse.shaking.items() if self._pulse.now - since > _HANDSHAKE + 1]:
            del self._pulse.shaking[one]
        for connection in self._connections():
            connection.sweep()

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    @property
    def _crowded(self) -> bool:
        """Whether more are here than are answered, asked for health, or told to come again."""
        bounds = self._bounds
        here = len(self.server_state.connections) + len(self._pulse.shaking)
        return here >= bounds.connections + 2 * bounds.reserve

    def _accepted(self) -> Connection:
        """What answers a connection. This is called when it is accepted, and so before TLS is agreed on."""
        made = Connection(self.config, self.server_state, {}, bounds=self._bounds, pulse=self._pulse)
        self._pulse.shaking[made] = self._pulse.now
        if self._crowded:  # others wait before the door, where they cost nothing
            asyncio.get_running_loop().call_soon(self._close_door)
        return made

    async def _mind_door(self) -> None:
        """Accept connections, unless only others can answer them, or too many are here."""
        if not self._gate.shown and (self._late or self._place.board.ready_beside(self._place.number)):
            self._close_door()
        elif self._door is None and not self._crowded:
            self._door = await asyncio.get_running_loop().create_server(
                self._accepted,
                sock=self._place.bound.dup(),
                backlog=listening.BACKLOG,
                ssl=self._encryption,
                ssl_handshake_timeout=None if self._encryption is None else _HANDSHAKE,
            )
            self._late = False

    def _close_door(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until the supervisor is gone; then finish, and end even if the loop hangs."""
        while os.read(self._place.leash, 1):
            pass
        self._orphan = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(self.tell)
        time.sleep(self._delay + self._grace + _LATE)
        os._exit(1)


def _shadow_log(options: argparse.Namespace) -> ShadowLog:
    """Where shadows log: beside the prediction log, under a bound of the same size."""
    folder = options.predictions.absolute().parent / SHADOWS
    return ShadowLog(str(folder), "", options.log_bytes, options.log_fsync)


def _log(options: argparse.Namespace) -> dict[str, Any]:
    """What the prediction log is told. Raises WorkspaceUnusable where its key cannot be read."""
    return {
        "fsync": options.log_fsync,
        "most_bytes": options.log_bytes,
        "when_full": options.log_full,
        "key": b"" if options.log_key is None else read_key(options.log_key),
    }


def _needs_keys(options: argparse.Namespace) -> bool:
    """Whether keys are asked for even where the file of keys is not there."""
    beyond = not is_loopback(options.host) and not options.without_access_control
    return bool(options.keyed) or beyond


def _config(asked: Application) -> uvicorn.Config:
    return uvicorn.Config(
        asked,
        http=Connection,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a caller says of itself is believed nowhere
    )


def _room_for(connections: int) -> int:
    """Raise the limit of open files to what the connections need; the connections that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, soft - _SPARE_FILES // 2))
