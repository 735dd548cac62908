"""The contract of a detector: from counts to e-values, for all columns at once.

A detector is a class without required arguments, registered in the entry-point group ``fullcircle.detectors``. It
does no I/O and owns nothing: ``plan`` looks at the reference once and gives a ``Plan`` that is never changed
afterwards, and may be asked from several threads at once. What a plan has to remember of earlier batches is an array
that the caller keeps (as 32-bit floats) and hands in; the plan returns a new one and leaves the old as it was.
Nothing raises on counts of any size. A column without rows in a batch gets log e-values of 0, and remembers what it
did.

An e-value has, given all earlier batches, a mean of at most 1 when the rows of the batch are drawn from what the
reference was drawn from; the reference is a finite sample, so that may fail for a whole reference with a chance of at
most ``share`` x ``delta`` per column. ``judge`` is asked before ``learn``, so a bet cannot know its batch. All
registered detectors share the average in proportion to ``weight``: a detector of others costs the built-in ones
log((W + w) / W) nats and cannot break the budget while its e-values are honest.
``fullcircle.testing.detectors.DetectorSuite`` checks all of this.

Arrays have F columns (rows of the array) and C cells: the bins of a column, then cells of padding, then at C - 2
"other" and at C - 1 "missing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What a detector compares with, for F columns of C cells.

    ``counts`` (F, C) are the reference rows at this phase of the week, ``pooled`` (F, C) those of all phases, both
    divided by the design effect. ``used`` (F, C) tells cells from padding, ``ordered`` (F,) numbers from categories,
    ``ranged`` (F,) whether values outside the reference's range are counted. ``values`` (F, C) is the middle of each
    bin of a loss; ``losses`` (F,) marks these columns: only growth beyond 1 + ``growth`` (F,) of their mean is harm.
    ``delta`` (F,) is the chance that the bounds of the column may fail, ``tolerance`` (F,) harmless drift in bits.
    """

    counts: Floats
    pooled: Floats
    used: Flags
    ordered: Flags
    ranged: Flags
    losses: Flags
    values: Floats
    growth: Floats
    delta: Floats
    tolerance: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """One batch: ``counts`` (F, C), and of these ``outside`` (F,) the reference's range; divided by the effect."""

    counts: Floats
    outside: Floats

    @property
    def rows(self) -> Floats:
        """(F,) how many rows each column has."""
        return np.asarray(self.counts.sum(axis=1))


class Plan(Protocol):
    """A detector's bets against one reference."""

    @property
    def weights(self) -> Floats:
        """(F, L), not negative: what each bet counts in its column, at most 1 in all; 0 for one not made."""
        ...

    def start(self) -> Floats:
        """What is remembered before the first batch: (F, D), D may be 0."""
        ...

    def judge(self, batch: Counted, memory: Floats) -> Floats:
        """The log e-value of each bet, (F, L); ``memory`` is of earlier batches only."""
        ...

    def learn(self, batch: Counted, memory: Floats) -> Floats:
        """What is remembered after ``batch``, a new array."""
        ...


class Detector(Protocol):
    """A way to bet against "nothing changed"."""

    name: str
    """As registered."""
    code: str
    """Stable, M101 and up for the detectors that come with fullcircle."""
    weight: float
    """How much it counts beside the other detectors, above 0."""

    def plan(self, reference: Reference, *, share: float) -> Plan:
        """The bets against ``reference``; their bounds may fail with ``share`` of ``reference.delta`` (F,)."""
        ...
