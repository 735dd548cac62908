"""Follows ``served.json``: loads what it names, proves it on its golden rows, and only then lets it answer.

The file: ``{"models": {NAME: {"version": 3, "bundle": DIGEST, "path": "bundle.zip"}}}``, a relative path is looked
up beside the file. Whoever writes it replaces it as a whole (write beside it, rename). A bundle that cannot be
loaded, or answers its golden rows differently, leaves the model in place that answered before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fullcircle.errors import BundleInvalid, FullcircleError
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.decoding import Decoder, decodable
from fullcircle.server.lane import aside
from fullcircle.server.rendering import Renderer
from fullcircle.server.routes import Other, Route, Routes, Started, Way
from fullcircle.server.unloaded import Unloaded

if TYPE_CHECKING:
    from fullcircle.server.engine import Engine

EVERY = 0.2  # seconds between two looks at the file
RETRY = 5.0  # seconds until a bundle that failed is tried again: its file may still arrive
PATIENCE = 60.0  # seconds until a version that is still being loaded no longer keeps the others waiting
_logger = logging.getLogger(__name__)


class Previous(msgspec.Struct, frozen=True):
    """The champion before, which answers where a row's policy is "fallback". ``pickle`` as in Entry."""

    version: int
    bundle: str
    path: str
    pickle: bool = False


class Entry(msgspec.Struct, frozen=True):
    """One model as ``served.json`` names it.

    ``pickle`` says that the ledger holds somebody's consent to a model file that runs code when it is loaded.
    ``others`` stand beside it, under the ``split``.
    """

    version: int
    bundle: str
    path: str
    previous: Previous | None = None
    pickle: bool = False
    split: Way | None = None
    others: tuple[Other, ...] = ()


class Served(msgspec.Struct, frozen=True):
    """The whole of ``served.json``."""

    models: dict[str, Entry] = {}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A version that answers. ``engine`` asks its model; by default that is done on the event loop."""

    model: str
    version: int
    bundle: str
    scorer: Scorer
    engine: Engine | None = None

    @cached_property
    def quick(self) -> bool:
        """Whether its requests can be decoded straight into a matrix."""
        return decodable(self.scorer.contract) and self.scorer.enrich is None

    @cached_property
    def decoder(self) -> Decoder:
        """Decodes its requests."""
        return Decoder(self.scorer.contract, self.scorer.encoder)

    @cached_property
    def renderer(self) -> Renderer:
        """Writes its answers."""
        return Renderer(self.scorer.contract, model=self.model, version=self.version, bundle=self.bundle)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a version that ``served.json`` names does not answer."""

    version: int
    bundle: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class View:
    """What is served at one moment. Never changed, only replaced as a whole.

    ``wanted`` are the models the file names, ``file`` says why the file itself could not be used ("" when it could).
    ``unloaded`` are those the file names and that were told to answer no more.
    ``routes`` has the models that versions stand beside of.
    """

    loaded: Mapping[str, Loaded] = field(default_factory=dict)
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()
    unloaded: frozenset[str] = frozenset()
    file: str = "served.json was not read yet"
    routes: Mapping[str, Route] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """The models that are wanted and have no version that answers."""
        return tuple(sorted(self.wanted - self.loaded.keys()))

    @property
    def ready(self) -> bool:
        """Whether something is served, and all that is wanted."""
        return bool(self.loaded) and not self.missing


Load = Callable[[Path, str, Entry], Scorer]
Before = Callable[[Path, str, Entry], Scorer | None]
Start = Callable[[Loaded, Entry], "Engine | None"]
Beside = Callable[[str, Entry, Other], Started]


class Follower:
    """Keeps ``view`` in step with the file. ``look`` may be called by one thread at a time.

    ``load`` turns (path of the bundle, model name, entry) into a scorer, and raises where that may not answer.
    ``before`` gives the scorer of the champion before, once the version answers; ``start`` the engine of a version,
    ``beside`` what stands beside a champion.
    ``every``, ``retry`` and ``patience`` are seconds. Each is loaded by a thread of its own, one after another: what
    hangs cannot be ended, but after ``patience`` the follower goes on without it.
    """

    def __init__(
        self,
        served: Path,
        load: Load,
        *,
        only: frozenset[str] = frozenset(),
        before: Before | None = None,
        start: Start | None = None,
        beside: Beside | None = None,
        unloaded: Unloaded | None = None,
        every: float = EVERY,
        retry: float = RETRY,
        patience: float = PATIENCE,
    ) -> None:
        self.view = View()
        self._served = served
        self._load = load
        self._only = only
        self._before = before
        self._start_engine = start
        self._routes = None if beside is None else Routes(beside)
        self._entries: Mapping[str, Entry] = {}
        self._unloaded = unloaded
        self._every = every
        self._wait, self._patience = retry, patience
        self._retry: dict[str, float] = {}
        self._seen: object = None
        self._loading: dict[str, tuple[Entry, Future[Loaded]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fullcircle-follower", daemon=True)

    def start(self) -> None:
        """Look again and again, in a thread of its own. The first look may take as long as loading takes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking. A bundle that is being loaded is left to itself."""
        self._stop.set()

    def look(self) -> View:
        """Look at the file once, and load what changed."""
        try:
            served = msgspec.json.decode(self._served.read_bytes(), type=Served)
        except FileNotFoundError:
            self._unusable("there is no served.json yet")
        except OSError as error:
            self._unusable(f"served.json could not be read: {error.strerror}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._unusable("served.json is not valid")
        else:
            self._follow_entries(served.models)
        return self.view

    def _unusable(self, why: str) -> None:
        if self.view.file != why:
            _logger.warning(why)
        self.view = replace(self.view, file=why)

    def _follow_entries(self, models: Mapping[str, Entry]) -> None:
        gone = self._unloaded.names() if self._unloaded else frozenset()
        named = {name: entry for name, entry in models.items() if not self._only or name in self._only}
        entries = {name: entry for name, entry in named.items() if name not in gone}
        wanted = frozenset(entries)
        self._entries = entries
        self.view = View(
            routes=self.view.routes,
            loaded={name: one for name, one in self.view.loaded.items() if name in wanted},
            troubles={name: one for name, one in self.view.troubles.items() if name in wanted},
            wanted=wanted,
            unloaded=gone & named.keys(),
            file="",
        )
        for name in self._loading.keys() - wanted:
            self._abandon(name)
        for name, entry in entries.items():
            if self._stop.is_set():
                return
            self._follow_entry(name, entry)
        self._follow_routes()

    def _follow_routes(self) -> None:
        """What stands beside champions that answer by the version of the file."""
        if self._routes is None:
            return
        loaded = self.view.loaded
        there = {
            name: entry
            for name, entry in self._entries.items()
            if name in loaded and loaded[name].version == entry.version
        }
        found = self._routes.look(there)
        if found != self.view.routes:
            self.view = replace(self.view, routes=found)

    def _follow_entry(self, name: str, entry: Entry) -> None:
        loaded, trouble = self.view.loaded.get(name), self.view.troubles.get(name)
        if loaded and (loaded.version, loaded.bundle) == (entry.version, entry.bundle):
            if trouble:
                self._replace(name, loaded, None)
            return
        known = trouble is not None and (trouble.version, trouble.bundle) == (entry.version, entry.bundle)
        if known and time.monotonic() < self._retry.get(name, 0.0):
            return
        try:
            fresh = self._opened(name, entry)
        except Exception as error:
            if not known:
                _logger.exception("version %d of %s could not be loaded", entry.version, name)
            self._retry[name] = time.monotonic() + self._wait
            self._replace(name, loaded, _trouble(entry, error))
            return
        _logger.info("version %d of %s answers", entry.version, name)
        self._replace(name, fresh, None)
        if self._before is not None and fresh.engine is None:
            wait((aside(partial(self._stand_in, self._before, fresh, entry), "before"),), self._patience)

    def _stand_in(self, before: Before, fresh: Loaded, entry: Entry) -> None:
        try:
            fresh.scorer.fallback = before(self._served.parent, fresh.model, entry)
        except BaseException:  # also what would end this thread without a word
            _logger.exception("the champion before version %d of %s cannot stand in", fresh.version, fresh.model)

    def _opened(self, name: str, entry: Entry) -> Loaded:
        """The version, once it is loaded. Raises BundleInvalid where that takes too long; it goes on then."""
        known, loading = self._loading.get(name, (None, None))
        patience = 0.0  # at the second look and later
        if loading is None or known != entry:
            self._abandon(name)
            patience = self._patience
            loading = aside(partial(self._open, name, entry), "loading")
            self._loading[name] = (entry, loading)
        if not wait((loading,), patience).done:
            raise BundleInvalid(
                f"the version is still being loaded after {self._patience:g} seconds",
                next_step="wait; or deploy another version",
            )
        del self._loading[name]
        return loading.result()

    def _abandon(self, name: str) -> None:
        """Whatever is still being loaded for the model is not wanted any more."""
        if name in self._loading:
            self._loading.pop(name)[1].add_done_callback(_let_go)

    def _open(self, name: str, entry: Entry) -> Loaded:
        scorer = self._load(self._served.parent / entry.path, name, entry)
        fresh = Loaded(model=name, version=entry.version, bundle=entry.bundle, scorer=scorer)
        engine = None if self._start_engine is None else self._start_engine(fresh, entry)
        return fresh if engine is None else replace(fresh, engine=engine)

    def _replace(self, name: str, loaded: Loaded | None, trouble: Trouble | None) -> None:
        rest = {other: one for other, one in self.view.loaded.items() if other != name}
        troubles = {other: one for other, one in self.view.troubles.items() if other != name}
        self.view = replace(
            self.view,
            loaded={**rest, name: loaded} if loaded else rest,
            troubles={**troubles, name: trouble} if trouble else troubles,
        )

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._once()
            except Exception:
                _logger.exception("a defect while following served.json")
            self._stop.wait(self._every)

    def _once(self) -> None:
        mark = self._mark()
        if mark != self._seen:
            self._seen = mark
            # Somebody wrote the file again: what failed before is worth another try at once.
            self._retry.clear()
            self.view = replace(self.view, troubles={})
            self.look()
        elif self.view.troubles or self.view.file:
            self.look()
        else:
            self._follow_routes()

    def _mark(self) -> object:
        try:
            found = self._served.stat()
        except OSError:
            return None
        gone = self._unloaded.mark() if self._unloaded else None
        return found.st_mtime_ns, found.st_size, found.st_ino, gone


def _let_go(loading: Future[Loaded]) -> None:
    """Nobody wants this version any more: what it was given is closed."""
    if loading.exception() is None and (engine := loading.result().engine) is not None:
        engine.close()


def _trouble(entry: Entry, error: Exception) -> Trouble:
    if isinstance(error, FullcircleError):
        code, message = error.code, error.what
    elif isinstance(error, OSError):
        code, message = BundleInvalid.code, f"the bundle could not be read: {error.strerror or error}"
    else:
        code, message = BundleInvalid.code, f"the model could not be loaded: {type(error).__name__}"
    return Trouble(version=entry.version, bundle=entry.bundle, code=code, message=message)
