"""Which version a row gets, and what becomes of it there.

A row is assigned by the SHA-256 of the split's salt and the values of its entity columns, to one of 10,000 buckets:
the same entity always gets the same version, on every worker and after every restart, and a larger share only adds
entities. Rows without these columns go by the header X-Entity; requests without both by chance, all rows together.

Nothing that a version beside the champion does reaches the caller but its sound answers: where it fails, or takes too
long, the champion answers the same request, and the breaker counts it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import ServerBusy
from fullcircle.runtimes.contracts import examine
from fullcircle.server.breaker import Breaker
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Ask, Engine, Mark
from fullcircle.server.http import Answer, Limits, Scope
from fullcircle.server.inline import BY_HAND, finished
from fullcircle.server.meter import Meter
from fullcircle.server.requests import check_count
from fullcircle.types.prediction import Prediction
from fullcircle.types.splits import BUCKETS, UNFELT

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded
    from fullcircle.server.routes import Beside, Route, Started

ENTITY = b"x-entity"
_encode = msgspec.json.Encoder().encode
_UNANSWERED = ("rejected", "fallback")
_BROKEN = "too many requests went wrong"  # where the file that says more cannot be read
_SCALARS = frozenset({str, int, float, bool})


class _Row(msgspec.Struct):
    problems: list[dict[str, Any]] = []


class _Judged(msgspec.Struct):
    predictions: list[_Row] = []


class _Told(msgspec.Struct):
    version: int
    predictions: list[msgspec.Raw] = []


_judged = msgspec.json.Decoder(_Judged)
_told = msgspec.json.Decoder(_Told)


class Assigner:
    """The bucket of each entity under one salt."""

    def __init__(self, salt: str) -> None:
        self._begun = sha256(salt.encode() + b"\n")

    def bucket(self, values: Sequence[object]) -> int:
        """From 0 on and below BUCKETS. A number is the same as its text, and 7.0 the same as 7."""
        found = self._begun.copy()
        found.update(_encode([value if type(value) is str else _text(value) for value in values]))
        return int.from_bytes(found.digest()[:8], "big") % BUCKETS


def _text(value: object) -> str:
    if type(value) is float and value.is_integer():
        return str(int(value))
    return str(value)


class _Running:
    """One route while it lasts: how rows are assigned, and what each assignment says in the log."""

    def __init__(self, route: Route, folder: Path | None, unfelt: float) -> None:
        self.assigner = Assigner(route.way.salt)
        self.settled = Mark(route.way.id, 1.0)  # of rows that could go one way only
        tried = next((one for one in route.others if not one.variant.shadow), route.others[0])
        self.breaker = Breaker(route.way.id, tried.variant.version, folder, unfelt=unfelt)
        self._getters: tuple[Loaded, Callable[[Any], tuple[Any, ...]] | None] | None = None
        self.take(route)

    def take(self, route: Route) -> None:
        """The same split with other shares, or with versions that have come. Who is not there gets no row."""
        self.route = route
        started = [one.started for one in route.others if one.started is not None]
        self.shadows = [one.shadow for one in started if one.shadow is not None]
        self.live = [one for one in route.others if one.started is not None and one.started.child is not None]
        self._owned = [(one.variant.low, one.variant.high, one) for one in self.live]
        left = 1.0 - sum(one.variant.share for one in self.live)
        self.champion = Mark(route.way.id, round(left, 4))
        self.marks = {one.variant.version: Mark(route.way.id, round(one.variant.share, 4)) for one in self.live}

    def of(self, bucket: int) -> Beside | None:
        """Who has this bucket; None is the champion."""
        for low, high, one in self._owned:
            if low <= bucket < high:
                return one
        return None

    def entity(self, loaded: Loaded) -> Callable[[Any], tuple[Any, ...]] | None:
        """What gets the entity's values from a struct of the version's decoder."""
        if self._getters is None or self._getters[0] is not loaded:
            self._getters = loaded, loaded.decoder.getter(self.route.way.entity)
        return self._getters[1]


class Splitter:
    """Answers for models that have a route. ``folder`` has the files of open breakers. For one event loop."""

    def __init__(
        self, desk: Desk, limits: Limits, meter: Meter, folder: Path | None = None, *, unfelt: float = UNFELT
    ) -> None:
        self._desk, self._limits, self._meter = desk, limits, meter
        self._folder, self._unfelt = folder, unfelt
        self._running: dict[str, _Running] = {}
        self._started: dict[int, Started] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered by what stands beside champions."""
        return all(one.child is None or one.child.idle for one in self._started.values())

    def follow(self, routes: Mapping[str, Route]) -> None:
        """Close what is named no more, look at the breakers, and have shadows mind their processes. Often called."""
        if not routes and not self._running:
            return
        for route in routes.values():
            self._of(route).breaker.look()
        wanted = {id(one.started): one.started for route in routes.values() for one in route.others if one.started}
        for key in self._started.keys() - wanted.keys():
            self._started[key].close()
        self._started = wanted
        kept = {route.way.id for route in routes.values()}
        self._running = {key: one for key, one in self._running.items() if key in kept}
        for one in wanted.values():
            if one.shadow is not None:
                one.shadow.tick()

    def told(self, route: Route) -> dict[str, object]:
        """A route as ``/models`` shows it."""
        breaker = self._of(route).breaker
        broken = breaker.is_open
        why = f"{breaker.reason or _BROKEN}: the champion answers for it"
        return {
            "id": route.way.id,
            "others": [
                {
                    "version": one.variant.version,
                    "share": one.variant.share,
                    "shadow": one.variant.shadow,
                    "answers": one.started is not None and not (broken and not one.variant.shadow),
                    "problem": one.problem or (why if broken and not one.variant.shadow else None),
                }
                for one in route.others
            ],
        }

    def breaker(self, route: Route) -> Breaker:
        """What judges the version that is tried."""
        return self._of(route).breaker

    def close(self) -> None:
        """Let go of all of them."""
        for one in self._started.values():
            one.close()
        self._started = {}

    async def answer(self, route: Route, loaded: Loaded, engine: Engine, ask: Ask, scope: Scope) -> Answer:
        """The answer to a request: by the champion ``loaded`` through its ``engine``, or by who stands beside it."""
        running = self._of(route)
        if not running.live or running.breaker.is_open or ask.pinned:
            # It is settled beforehand who answers, whoever the row is of. A chance of one says so: rows of one arm
            # that the champion answered for want of the version would else be taken for what the version is worth.
            found = await self._by_champion(running, engine, ask, running.settled)
            for one in running.shadows:
                one.offer(ask, found.body)
            return found
        chosen = self.chosen(route, loaded, ask, scope["headers"])
        if chosen is None:
            return await self._by_champion(running, engine, ask, running.champion)
        if not isinstance(chosen, list):
            return await self._beside(running, chosen, loaded, engine, ask)
        ask.plain = self._by_hand(ask)  # each version judges what was sent, not what another made of it
        return await self._mixed(running, chosen, loaded, engine, ask)

    def chosen(
        self, route: Route, loaded: Loaded, ask: Ask, headers: Sequence[tuple[bytes, bytes]]
    ) -> Beside | list[Beside | None] | None:
        """Who answers all of a request's rows (None: the champion), or each of them. Raises RequestInvalid."""
        running = self._of(route)
        if route.way.entity:
            buckets = self._buckets(running, loaded, ask)
            if len(buckets) == 1 and buckets[0] >= 0:
                return running.of(buckets[0])
            found = [None if bucket < 0 else running.of(bucket) for bucket in buckets]
            if min(buckets) < 0:
                whole = running.of(self._by_header(running, headers))
                found = [whole if bucket < 0 else one for bucket, one in zip(buckets, found, strict=True)]
            first = found[0]
            return first if all(one is first for one in found) else found
        return running.of(self._by_header(running, headers))

    def _buckets(self, running: _Running, loaded: Loaded, ask: Ask) -> list[int]:
        """The bucket of each row; -1 where it has not all of the entity's values."""
        bucket = running.assigner.bucket
        rows = ask.rows
        getter = running.entity(loaded) if rows is not None else None
        if getter is not None and rows is not None:
            values = [getter(row) for row in rows]
        else:
            ask.plain = self._by_hand(ask)
            names = running.route.way.entity
            values = [tuple(row.get(name) for name in names) for row in ask.plain]
        return [bucket(each) if _SCALARS.issuperset(map(type, each)) else -1 for each in values]

    def _by_hand(self, ask: Ask) -> list[dict[str, Any]]:
        """The rows as each version judges them. A large body is not decoded again: others would wait for it."""
        if ask.plain is None and ask.rows is not None and len(ask.body) > self._limits.inline_bytes:
            return [msgspec.to_builtins(row) for row in ask.rows]
        return ask.by_hand(self._limits.rows)

    def _by_header(self, running: _Running, headers: Sequence[tuple[bytes, bytes]]) -> int:
        for name, value in headers:
            if name == ENTITY:
                return running.assigner.bucket((value.decode("latin-1"),))
        return int.from_bytes(os.urandom(4), "big") % BUCKETS

    def _of(self, route: Route) -> _Running:
        found = self._running.get(route.way.id)
        if found is None:
            found = self._running[route.way.id] = _Running(route, self._folder, self._unfelt)
        elif found.route is not route:
            found.take(route)
        return found

    async def _by_champion(self, running: _Running, engine: Engine, ask: Ask, mark: Mark) -> Answer:
        ask.mark = mark
        begun = time.perf_counter()
        found = await engine.answer(ask)
        running.breaker.champion(time.perf_counter() - begun)
        return found

    async def _beside(self, running: _Running, one: Beside, loaded: Loaded, engine: Engine, ask: Ask) -> Answer:
        """The answer of a version beside the champion; the champion's where that has none in time."""
        assert one.started is not None  # noqa: S101 - see take
        theirs = one.started.loaded
        check_count(len(ask.rows or ()), "rows", self._limits.rows)
        ask.plain = self._by_hand(ask)
        mark = running.marks[theirs.version]
        predictions, why, late = await self._tried(running, one.started, ask)
        if predictions is not None:
            running.breaker.well()
            neither = await self._neither(loaded, ask, predictions)
            written = await self._desk.logged(theirs, predictions, ask.arrived, mark)
            if neither:
                self._meter.neither(theirs.model, theirs.version, neither)
            return finished(theirs, written, ask, self._meter)
        ask.mark = Mark(mark.split, mark.propensity, theirs.version)
        found = await engine.answer(ask)
        if late:
            running.breaker.lags(why)
        elif why and not _fails(found.body):  # what the champion cannot answer either is not the version's fault
            running.breaker.fails(why)
        return found

    async def _tried(
        self, running: _Running, one: Started, ask: Ask
    ) -> tuple[Sequence[Prediction] | None, str, bool]:
        """What the version answers; or why not ("" where it was too busy to be asked), and whether it was late."""
        assert one.child is not None  # noqa: S101 - see take
        patience = running.breaker.patience(len(ask.plain or ()))
        found: Sequence[Prediction] | None = None
        try:
            async with asyncio.timeout(patience):
                found = await one.child.predict(ask)
        except TimeoutError:
            return None, f"no answer within {patience:.3g} s", True
        except ServerBusy as error:
            return None, "" if error.cause in ("overload", "not_ready") else error.what, False
        except Exception as error:  # noqa: BLE001 - whatever it is, the champion answers
            return None, f"its process broke ({type(error).__name__})", False
        for each in found:
            for problem in each.verdict.problems:
                if problem.reason == "model":
                    return None, problem.text, False
        return found, "", False

    async def _neither(self, loaded: Loaded, ask: Ask, predictions: Sequence[Prediction]) -> int:
        """How many rows without an answer the champion's contract does not let through either.

        They are who sent them's fault, and not the version's. Where the champion looks features up, nobody knows: 0.
        """
        if loaded.scorer.enrich is not None:
            return 0
        rows, contract = ask.plain or (), loaded.scorer.contract
        left = [row for row, one in zip(rows, predictions, strict=True) if one.verdict.status in _UNANSWERED]
        count = 0
        for place, row in enumerate(left):
            if place and place % BY_HAND == 0:
                await asyncio.sleep(0)
            count += examine(contract, row)[0].status in _UNANSWERED
        return count

    async def _mixed(
        self, running: _Running, chosen: Sequence[Beside | None], loaded: Loaded, engine: Engine, ask: Ask
    ) -> Answer:
        """Answer a request whose rows belong to several versions: each by its own, in the order of the request."""
        check_count(len(chosen), "rows", self._limits.rows)  # before any part of them is in the log
        places: dict[int, list[int]] = {}
        owners: dict[int, Beside | None] = {}
        for place, one in enumerate(chosen):
            number = 0 if one is None else one.variant.version
            places.setdefault(number, []).append(place)
            owners[number] = one
        asked = []
        for number, where in places.items():
            owner, part = owners[number], _part(ask, where)
            by = None if owner is None else self._beside(running, owner, loaded, engine, part)
            asked.append(by or self._by_champion(running, engine, part, running.champion))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        ask.count = len(chosen)
        rows: list[bytes] = [b""] * len(chosen)
        rejected = True
        for answer, where in zip(answers, places.values(), strict=True):
            if isinstance(answer, BaseException):
                raise answer
            rejected = rejected and answer.status == 422
            told = _told.decode(answer.body)
            for place, row in zip(where, told.predictions, strict=True):
                rows[place] = bytes(row)[:-1] + b',"version":%d}' % told.version
        return Answer(422 if rejected else 200, loaded.renderer.document(rows, rejected=rejected))


def _part(ask: Ask, places: Sequence[int]) -> Ask:
    """The rows at these places as a request of its own, which came when the whole one did."""
    rows = None if ask.rows is None else [ask.rows[place] for place in places]
    plain = None if ask.plain is None else [ask.plain[place] for place in places]
    part = Ask(b"", rows, plain)
    part.arrived = ask.arrived
    return part


def _fails(body: bytes) -> bool:
    """Whether an answer says of one of its rows that the model failed."""
    with suppress(msgspec.MsgspecError):
        return any(each.get("reason") == "model" for row in _judged.decode(body).predictions for each in row.problems)
    return False
