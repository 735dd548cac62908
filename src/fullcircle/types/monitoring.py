"""What monitoring hands on: profiles, windows, alarms and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fullcircle.types.report import Measure, Report

Role = Literal["input", "verdict", "prediction", "estimate", "label", "loss"]
Kind = Literal["drift", "risk", "estimate"]
KINDS: tuple[Kind, ...] = ("drift", "risk", "estimate")


@dataclass(frozen=True, kw_only=True)
class FeatureProfile:
    """Counts of one column in bins that were frozen on the reference rows.

    Numeric columns: ``edges`` are K-1 inner edges, bin i holds edges[i-1] < x <= edges[i]. Category columns:
    one bin per entry of ``categories``. Two more bins always follow: "other" (a category never seen; unused
    for numbers) and "missing". So ``len(counts)`` is K + 2. ``low``/``high`` are the smallest and largest
    reference value of a number, ``mean`` and ``deviation`` its mean and standard deviation, ``quantiles`` its
    values at evenly spaced shares, from the smallest to the largest. ``role`` says what the column is to the
    model: an input, the verdict on the row, the answer, the loss that the model itself expects, or, of rows
    whose label has come, the label and the loss.
    """

    name: str
    kind: Literal["number", "category"]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    quantiles: tuple[float, ...] = ()
    role: Role = "input"


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """How the rows of the reference hang together, learned from 8 weeks and 56 batches of it or more.

    ``seconds`` is the length of a batch, ``batches`` how many there were, ``phases`` how many a week has (1 where
    a batch is a week or longer). ``effects`` maps a column to its design effect, 1 or more: how many rows tell as
    much as one independent row. ``strata`` maps each column whose mix changes with the phase of the week to its
    counts in each phase, phases x (K + 2). Phase 0 begins on Monday, 00:00 UTC. At most the share ``unseen`` of all
    batches is of kinds that the reference had none of (95 %); 0 where its batches vary as independent rows make them,
    and where an older fullcircle learned this.
    """

    seconds: float
    batches: int
    phases: int
    effects: Mapping[str, float]
    strata: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    unseen: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the model is wrong by on one row, between 0 and 1, so that harm can be tested.

    ``name`` is "error" (a wrong class, 0 or 1), "brier" (half the squared distance between the probabilities and
    what happened) or "absolute" (the absolute error of a number, divided by ``scale`` in the unit of the label and
    cut at 1). ``calibration`` maps each class to the knots (probability said, share that happened), ascending, that
    make the model's probabilities honest, empty where they are so by themselves; for a number "loss", "absolute",
    "squared" and "fourth" have knots (prediction, mean of that power of the error on the reference). Empty where
    the reference had too few rows to tell.
    """

    name: Literal["error", "brier", "absolute"]
    scale: float = 1.0
    calibration: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The reference: how each input column, and the answers, looked when the model was evaluated.

    ``features`` are the inputs, then the verdict and the prediction, then (where there is one) the estimated loss;
    ``outcomes`` the label and the loss on the rows that have a label. ``metric`` is the project's main metric on
    those rows, with its interval, and ``rows`` their number. ``dependence`` is None where the reference does not
    hold 8 weeks of batches (56 at least): then rows are taken to be independent.
    """

    features: tuple[FeatureProfile, ...]
    rows: int
    metric: str = ""
    metric_value: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    outcomes: tuple[FeatureProfile, ...] = ()
    loss: Loss | None = None
    dependence: Dependence | None = None


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One column that an alarm points at.

    ``distance`` is the debiased Jensen-Shannon divergence in bits (0 same, 1 disjoint) since the change is thought
    to have begun, ``low`` and ``high`` its 95 % interval. ``evidence`` is the natural logarithm of the column's own
    e-detector. ``certain`` says whether the column passed the control of error over patience; one that did not is
    only the likeliest. ``text`` tells what moved, ``guess`` what may have happened ("bmi looks multiplied by 10").
    """

    feature: str
    distance: float
    evidence: float
    low: float | None = None
    high: float | None = None
    certain: bool = True
    text: str = ""
    guess: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one kind of detector says after a batch.

    ``level`` is the natural logarithm of the e-detector (averaged over columns), ``threshold`` that of the value at
    which it raises an alarm. ``fired`` says that it did at this batch. ``suspects`` are the columns that are away
    from the reference at present, since ``begun`` batches ago; empty when all of them came back. ``returned`` are
    those that came back at this batch.
    """

    kind: Kind
    level: float
    threshold: float
    fired: bool
    suspects: tuple[Suspect, ...] = ()
    returned: tuple[str, ...] = ()
    begun: int = 0


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something changed that somebody should know of.

    ``kind`` is drift (a column moved), risk (realised losses grew) or estimate (the losses that the model expects
    grew). A ``page`` is harm and wants somebody now, a ``ticket`` wants somebody this week. ``since`` is when the
    change is thought to have begun, ``opened`` when the alarm was raised, ``updated`` and ``resolved`` ("" while it
    is open) when it last changed; all UTC, ISO 8601. ``batches`` counts how often its condition held. ``text`` says
    what, ``sure`` how sure, ``advice`` what to do. ``cost`` is what it probably costs a day, in ``currency``.
    ``told`` is when somebody was last told of it ("" where nobody was yet), ``on`` whether its condition held in each
    of the last batches, the latest last.
    """

    id: str
    model: str
    version: int
    kind: Kind
    severity: Literal["page", "ticket"]
    state: Literal["open", "acknowledged", "resolved"]
    since: str
    opened: str
    updated: str
    text: str
    sure: str
    advice: str
    resolved: str = ""
    acknowledged_by: str = ""
    batches: int = 1
    cost: float | None = None
    currency: str = ""
    link: str = ""
    suspects: tuple[Suspect, ...] = ()
    told: str = ""
    on: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of production traffic, compared with the reference.

    ``labelled`` is how many of ``rows`` have an outcome by now, ``verdicts`` counts rows per status as
    (status, count). ``batches`` is how many were judged for the first time, ``alarms`` those that are open after
    them or were resolved by them, ``raised`` the ids of those that are new. ``waits`` is when the first batch of it
    ends, where none of its rows has been judged yet, else "".
    """

    name: str
    model: str
    version: int
    since: str
    until: str
    rows: int
    labelled: int
    verdicts: tuple[tuple[str, int], ...]
    alarms: tuple[Alarm, ...]
    report: Report
    batches: int = 1
    raised: tuple[str, ...] = ()
    waits: str = ""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One batch as it is shown over time: UTC times, ISO 8601, the end excluded.

    ``measures`` are figures of the whole batch (group "") or of one column or group: js_distance, psi, hellinger,
    ks, wasserstein, missing, unseen, outside, mean, deviation of a column; the metric, its estimate, value,
    calibration, coverage and delay of labels; requests, latency, failures, saturation. ``levels`` maps a kind of
    detector to its level as a share of its threshold, on the scale of logarithms (1 is an alarm). ``name`` is "" but
    for rows that were played as a batch of their own.
    """

    since: str
    until: str
    rows: int
    name: str = ""
    labelled: int = 0
    verdicts: tuple[tuple[str, int], ...] = ()
    measures: tuple[Measure, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """All that the page of a model shows, the oldest stretch first.

    ``reference`` is the profile that everything is compared with, ``latest`` the counts of the last batch that has
    rows (column to K + 2 counts). ``notes`` are what the monitor assumes and what it cannot tell yet. ``decisions``
    are those about this model, with their times, the latest first. A stretch is ``merged`` batches of ``window``
    each. ``tolerance`` is the drift in bits that does no harm, by column; of a column with 1 nobody is told. Only the
    columns farthest from the reference need measures in every stretch: the last stretch has those of all.
    """

    model: str
    version: int
    at: str
    budget: str
    reference: Profile
    stretches: tuple[Stretch, ...] = ()
    latest: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    decisions: tuple[tuple[str, Decision], ...] = ()
    notes: tuple[str, ...] = ()
    currency: str = ""
    window: str = ""
    merged: int = 1
    tolerance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a version, why, and on which figures."""

    action: Literal["promote", "hold", "rollback", "keep"]
    model: str
    version: int | None
    reason: str
    previous: int | None = None
    figures: tuple[tuple[str, float], ...] = ()
