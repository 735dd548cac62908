"""Splits: a version beside the champion that gets a share of what is asked, or a copy of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BUCKETS = 10_000
"""Every entity has one bucket of so many, for as long as the split lasts."""
BAD = 0.01
"""The error budget: of the requests that a model gets while a version is tried, so many may go wrong."""
ALPHA = 0.001
"""The chance that a version within the budget is sent back all the same, by each process that answers."""
SLOWER, UNFELT = 2.0, 0.1
"""A request goes wrong that takes longer than so many times the champion's p99, and a tenth of a second more: up to
that an answer seems immediate to a person (Miller 1968), so that much is nobody's harm."""
LEAST = 300
"""Requests of a step before the next one: none of 300 failing bounds the share that does below 1 % (95 %, 3 / n)."""

Kind = Literal["split", "canary", "shadow"]
Ending = Literal["promoted", "rolled_back", "ended"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a canary: the buckets below ``share`` are the version's, for ``bake`` seconds at least."""

    share: int
    bake: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A version that answers for the buckets from ``low`` on and below ``high``; a shadow for none."""

    version: int
    low: int = 0
    high: int = 0
    shadow: bool = False

    @property
    def share(self) -> float:
        """The share of the entities that are its own."""
        return (self.high - self.low) / BUCKETS


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split as the facts have it: ``version`` is tried beside ``champion``.

    ``entity`` are the columns by whose values rows are assigned; without them it is the caller's X-Entity header, or
    chance. ``place`` is the step that it is at, since ``since``; ``started`` is when it began (both UTC, ISO 8601).
    ``least`` requests have to be answered by the version before a step is over.
    """

    id: str
    model: str
    kind: Kind
    champion: int
    version: int
    salt: str
    entity: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    least: int = LEAST
    place: int = 0
    since: str = ""
    started: str = ""

    @property
    def variant(self) -> Variant:
        """What the version has now."""
        if self.kind == "shadow":
            return Variant(version=self.version, shadow=True)
        return Variant(version=self.version, high=self.steps[self.place].share)

    @property
    def last(self) -> bool:
        """Whether no further step comes."""
        return self.place + 1 >= len(self.steps)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of a version, counted by minutes of the clock: ``requests`` that it answered, and ``rows``.

    Of these it left ``unanswered`` what it rejected or answered by a fallback; ``neither`` of them would the champion
    have answered, as far as that is known. Half of the requests took at most ``p50`` seconds, rounded up to the bound
    of a bucket (``tables.requests.SECONDS``); None where nothing was counted, or it was beyond the last bound.
    """

    requests: int = 0
    rows: int = 0
    unanswered: int = 0
    neither: int = 0
    p50: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shadowed:
    """What a shadow's log holds of the champion's rows: ``rows`` were to be copied, ``lost`` are not in it."""

    rows: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class SplitStatus:
    """A split and how it stands; ``split`` is None where there is none. ``text`` says so in words.

    ``version`` and ``champion`` are what was seen of both since the split began, of a canary since its step did.
    ``answered`` are the requests that the version answered since the split began, with the minute in which it did.
    ``ended`` is how the last one ended, "" where there was none, with its ``reason``.
    """

    model: str
    split: Split | None = None
    text: str = ""
    version: Seen | None = None
    champion: Seen | None = None
    answered: int = 0
    shadowed: Shadowed | None = None
    ended: str = ""
    reason: str = ""


def text_of(share: int) -> str:
    """A number of buckets as people write it: "5%"."""
    return f"{100 * share / BUCKETS:g}%"
