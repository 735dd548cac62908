"""Experiments: what is compared, what must not get worse, what was planned, and what is known so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["proportion", "mean", "ratio", "paired"]
Standing = Literal["better", "worse", "same", "undecided"]
State = Literal["running", "decided", "broken", "untrusted"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One version in an experiment, the champion first in a plan. ``share`` is of the rows, 1.0 for a shadow."""

    version: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is compared, one value a row (or a sum an entity) in ``unit``.

    ``kind``: "proportion" for values 0 and 1 and "mean" for all others, money too, however skewed (rows that chance
    gave to the arms one by one); "ratio" where ``entity`` columns keep rows together, of sums by entity; "paired" for
    a shadow, of both answers to the same row. ``better`` says which way is good.
    """

    name: str
    kind: MetricKind
    better: Literal["up", "down"] = "up"
    unit: str = ""
    entity: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """What a challenger must not do while it is tried; it breaks where the evidence is beyond chance.

    "rate": the share of rows with it is above ``limit`` (failures, answers slower than promised). "times": it is more
    than ``limit`` times the champion's. "margin": the metric is worse than the champion's by more than ``limit``;
    ``better`` says which way of it is good.
    """

    name: str
    kind: Literal["rate", "times", "margin"]
    limit: float
    better: Literal["up", "down"] = "up"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was said before the first row; nothing of it may change while the experiment runs.

    ``effect`` is the least difference that would matter, ``spread`` a row's standard deviation in the past (of an
    entity for a ratio, of the difference for a shadow). ``alpha`` is the chance of a false verdict over all looks.
    After ``rows`` with a value an effect of that size is known with a chance of ``power`` at least, after
    ``likely_rows`` with a half. The days are these at ``rows_a_day``, of which the share ``valued`` has a value, and
    the label delay, None where nobody can say. ``rows_a_unit`` are rows of an entity, or a request, in the past.
    ``floor`` is the least share of an arm where shares are learned (Thompson sampling), None where they are fixed.
    ``until`` is when it ends at the latest (UTC, ISO 8601; "" is never), ``assumed`` what had to be assumed.
    """

    model: str
    metric: Metric
    arms: tuple[Arm, ...]
    effect: float
    spread: float
    alpha: float = 0.05
    power: float = 0.8
    guardrails: tuple[Guardrail, ...] = ()
    rows: int
    likely_rows: int
    rows_a_day: float
    days: float | None
    likely_days: float | None
    rows_a_unit: float = 1.0
    valued: float = 1.0
    label_delay_days: float = 0.0
    floor: float | None = None
    until: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The challenger less the champion in ``unit``, with bounds that hold at every look, None where there are none.

    Also the mean of one arm, without bounds; and a regret, whose bounds are those beside an arm that was named ahead,
    while the same rows say which one looks best.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One arm so far: rows that went to it, those of them that had their time, and of these those with a label."""

    version: int
    share: float
    rows: int
    due: int
    labelled: int
    value: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class Warrant:
    """One thing that must hold for a verdict to be believed, or a guardrail: whether it does, and how sure that is.

    ``chance`` is the always-valid p-value, min(1, 1 / evidence): how often it comes to this by chance alone.
    """

    name: str
    holds: bool
    chance: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one challenger at one look.

    ``state``: running while undecided, decided, broken where a guardrail broke, untrusted where rows went or labels
    came in shares that chance does not explain (then ``standing`` is "undecided", whatever the figures say).
    ``chance`` is the always-valid p-value of no difference. ``a_day`` is the difference times the rows a day, in the
    currency, where the metric is money. ``rows_left`` and ``days_left`` are till it will likely be known, None where
    it is known or nobody can say. ``entities`` is how many were dealt so far, None where each request is; ``loose``
    rows had no value of the entity, so each of their requests was dealt anew.
    """

    version: int
    standing: Standing
    state: State
    difference: Difference
    chance: float
    a_day: Difference | None = None
    arms: tuple[Share, ...] = ()
    trust: tuple[Warrant, ...] = ()
    guardrails: tuple[Warrant, ...] = ()
    rows_left: int | None = None
    days_left: float | None = None
    regret: Difference | None = None
    entities: int | None = None
    loose: int = 0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was known at a moment (UTC, ISO 8601) from the ``rows`` that counted by then."""

    at: str
    rows: int
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment and what is known of it ``at`` a moment; ``looks`` are its bounds over time, oldest first.

    ``split`` is the id of the split by which rows are dealt, ``mode`` "split" or "shadow", ``digest`` that of the
    plan in the workspace's blobs. ``ended`` is "" while it runs, else "stopped" or "promoted", with the ``reason``.
    ``text`` says in words how it stands, ``notes`` what one has to know to believe it.
    """

    model: str
    split: str
    mode: Literal["split", "shadow"]
    plan: Plan
    digest: str
    started: str
    at: str
    verdict: Verdict
    looks: tuple[Look, ...] = ()
    ended: str = ""
    reason: str = ""
    text: str = ""
    notes: tuple[str, ...] = ()
    page: str = ""
