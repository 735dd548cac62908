"""The contract of a detector: from counts to alarms, at a level it is given.

A detector is a class without required arguments, registered in the entry-point group ``fullcircle.detectors``.
It owns no state and does no I/O; ``detect`` may be called from several threads, with the same objects, at once. It
returns evidence and raises nothing: counts of an empty window are no evidence. ``alpha`` is the chance of a false
alarm that one feature of one window may have, when window and reference come from one distribution; the reference
is a finite sample too, and a detector has to account for it. ``fullcircle.testing.detectors.DetectorSuite`` checks
all of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fullcircle.types.monitoring import Alarm, Profile

Counts = Mapping[str, Sequence[int]]


class Detector(Protocol):
    """Compares a window's counts with the reference's."""

    name: str
    """As registered."""
    code: str
    """Stable, M101 and up for the detectors that come with fullcircle."""

    def detect(self, profile: Profile, counts: Counts, *, alpha: float) -> tuple[Alarm, ...]:
        """An alarm for each feature that differs at the level ``alpha``, in the order of the profile.

        ``counts`` maps each feature's name to K + 2 counts, in the bins of the profile.
        """
        ...
