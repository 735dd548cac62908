"""What the loop hands on: why it retrains, what that is worth, what it learns from, how the challenger did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fullcircle.types.monitoring import Alarm, Decision

Cause = Literal["harm", "drift", "schedule", "rows", "hand"]
CAUSES: tuple[Cause, ...] = ("harm", "drift", "schedule", "rows", "hand")
"""In this order one is named where several hold."""


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Why to retrain now. ``since`` is when that began (UTC, ISO 8601), ``alarms`` the ids of those behind it."""

    cause: Cause
    reason: str
    since: str = ""
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The champion as the loop sees it at ``at`` (UTC, ISO 8601), and what came since it was made.

    ``promoted`` is when it became champion, ``tried`` when a retraining was last tried since ("" for never) and
    ``tried_rows`` how many labelled rows there were then; ``labelled`` how many new ones there are now. ``alarms``
    are the open ones on this version, ``answered`` the ids of those that a retraining was tried for already. A try
    is a training, or rows that were found suspicious. ``awaited`` is how many labelled rows there must be before it
    can come to a training at all, by what was held last without one; 0 where nothing is waited for.
    """

    version: int
    at: str
    promoted: str
    labelled: int
    tried: str = ""
    tried_rows: int = 0
    alarms: tuple[Alarm, ...] = ()
    answered: tuple[str, ...] = ()
    awaited: int = 0


@dataclass(frozen=True, kw_only=True)
class Worth:
    """The sums behind a decision, in ``unit`` (the project's currency; else the main metric's own) over ``horizon``.

    ``gain`` is ``per_row`` (with its 95 % interval ``low`` to ``high``) times ``rows``; ``risk`` is what a model that
    is worse than it looked would cost, by the chance that it is; ``cost`` is what a retraining costs. ``measured``
    says whether the gain was measured on labelled rows or is only expected. ``text`` tells it in a sentence.
    """

    unit: str
    horizon: str
    rows: float
    per_row: float
    low: float
    high: float
    cost: float
    risk: float
    measured: bool
    text: str = ""

    @property
    def gain(self) -> float:
        """What the better answers earn over the horizon."""
        return self.per_row * self.rows

    @property
    def net(self) -> float:
        """What is left of the gain."""
        return self.gain - self.cost - self.risk


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """Labelled rows that are not learned from, and why. ``column`` and ``value`` say where they are alike."""

    rows: int
    reason: str
    column: str = ""
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Challenger less champion on the same rows, in merit (more is better) of ``metric``, with a 95 % interval.

    ``on`` is "fresh" (rows newer than any that either model learned from) or "frozen" (those that the first champion
    was judged by). ``allowed`` is how much worse the challenger may be. ``passed`` says whether it is not worse.
    """

    on: Literal["fresh", "frozen"]
    metric: str
    rows: int
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    allowed: float
    passed: bool
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One turn of the loop: what it decided, and on what. ``decision`` is None where nothing asked for anything.

    ``labelled`` is how many new labelled rows there were, ``learned`` how many of them the challenger learned from or
    was judged by. ``changed`` says that the concept has moved: that excuses worse answers on frozen rows. ``awaited``
    is above 0 where it was held without a training for want of rows: so many there must be before it is asked again.
    ``apart`` is the digest of the ids (a JSON list) of the predictions whose rows quarantine kept apart, "" for none.
    """

    at: str
    decision: Decision | None = None
    trigger: Trigger | None = None
    expected: Worth | None = None
    measured: Worth | None = None
    quarantine: tuple[Quarantined, ...] = ()
    differences: tuple[Difference, ...] = ()
    labelled: int = 0
    learned: int = 0
    changed: bool = False
    awaited: int = 0
    apart: str = ""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Rows that quarantine kept apart when the ``decision`` (the number of its fact) was taken at ``at``, and why.

    ``ids`` are the predictions whose rows these are, ``found`` what was seen in them, and ``reason`` is that of the
    decision. ``released`` is the number of the fact by which a person released them, 0 where nobody did.
    """

    model: str
    decision: int
    at: str
    ids: tuple[str, ...]
    found: tuple[Quarantined, ...] = ()
    reason: str = ""
    released: int = 0


@dataclass(frozen=True, kw_only=True)
class Release:
    """Rows that a person lets a retraining learn from, though quarantine kept them apart; ``seq`` is its fact."""

    model: str
    decision: int
    rows: int
    reason: str
    actor: str
    login: str
    time: str
    seq: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """Something that happened in a rehearsal: a training, an alarm, a decision, at ``at`` (UTC, ISO 8601)."""

    at: str
    kind: Literal["start", "alarm", "resolved", "hold", "promote", "rollback"]
    text: str
    version: int | None = None
    step: Step | None = None
    alarm: Alarm | None = None


@dataclass(frozen=True, kw_only=True)
class Played:
    """What one window of history came to under one policy, once all its labels are known.

    ``version`` answered at its end. ``metric`` is the main metric over its labelled rows, ``value`` what a row earned
    on average in the project's currency (None where the project says no value, or no label ever came).
    """

    since: str
    until: str
    rows: int
    labelled: int
    version: int
    metric: float | None = None
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One way of running the loop over the same history.

    ``name`` is "shipped" (the project as it is), "never", "schedule 30d", "hindsight" (in every window the best of
    all models that any policy made: what nobody can know beforehand) or the text of a ``--try``. ``changes`` are the
    project's settings that differ. ``metric`` and ``value`` are over all labelled rows, ``earned`` is value times
    rows less the cost of its retrainings; ``figures`` are further ones (alarms, trainings, promotions, rollbacks).
    """

    name: str
    changes: Mapping[str, str] = field(default_factory=dict)
    windows: tuple[Played, ...] = ()
    told: tuple[Told, ...] = ()
    metric: float | None = None
    value: float | None = None
    earned: float | None = None
    trained: int = 0
    promoted: int = 0
    rolled_back: int = 0
    alarms: int = 0


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The loop over recorded history: ``since`` to ``until`` was played, ``first`` rows before it trained version 1.

    ``verdict`` are sentences: whether the shipped loop did at least as well as never retraining and as the calendar,
    and why not where it did not. ``notes`` say what a rehearsal cannot show.
    """

    model: str
    metric: str
    higher_is_better: bool
    since: str
    until: str
    first: int
    rows: int
    seconds: float
    policies: tuple[Policy, ...]
    currency: str = ""
    verdict: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    page: str = ""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Rows that two versions answer differently, in one group (``column`` is ``value``; "" for all rows).

    ``before`` and ``after`` are the mean answer (of a class: the share of the second class, or of changed answers),
    ``earned_before`` and ``earned_after`` what a labelled row earned on average, None where that is not known.
    """

    column: str
    value: str
    rows: int
    changed: int
    before: float | None
    after: float | None
    earned_before: float | None = None
    earned_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Logged traffic answered again by a version: what would have differed, for whom, what it would have earned.

    ``differences`` compare the two on the rows whose label came; ``examples`` are prediction ids with the answer then
    and now. ``verdicts`` counts rows by (status then, status now). ``rows`` were asked again; ``left_out`` counts
    those that could not be, by why. ``sizes`` say by how much answers differ: ``bits`` (rows where anything does),
    and for numbers the ``median``, the 95 % quantile ``p95`` and the ``largest`` change, its ``mean`` with its sign,
    and the ``tolerance`` above which a change counts in ``changed``: a share of the greater of the two answers where
    ``share`` is 1.
    """

    model: str
    version: int
    against: tuple[int, ...]
    since: str
    until: str
    rows: int
    labelled: int
    changed: int
    groups: tuple[Changed, ...] = ()
    verdicts: tuple[tuple[str, str, int], ...] = ()
    differences: tuple[Difference, ...] = ()
    examples: tuple[tuple[str, str, str], ...] = ()
    worth: Worth | None = None
    currency: str = ""
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    sizes: Mapping[str, float] = field(default_factory=dict)
    page: str = ""
