"""The likelihood-ratio test (G-test) of each feature's counts, window against reference."""

from __future__ import annotations

import math

from fullcircle.monitoring.detector import Counts
from fullcircle.monitoring.words import what_moved
from fullcircle.stats.distances import g_test, jensen_shannon_debiased
from fullcircle.types.monitoring import Alarm, Profile


class GTest:
    """Two samples, one distribution? ``fullcircle.stats.distances.g_test`` on each feature.

    Rows are taken to be independent of each other. The test judges one window alone: it finds a large change at
    once, and a small lasting one late.
    """

    name = "gtest"
    code = "M101"

    def detect(self, profile: Profile, counts: Counts, *, alpha: float) -> tuple[Alarm, ...]:
        """An alarm for each feature whose p is at most ``alpha``."""
        alarms = []
        for feature in profile.features:
            seen = counts.get(feature.name, ())
            if not sum(seen) or not sum(feature.counts):
                continue
            test = g_test(seen, feature.counts)
            if test.degrees and test.p <= alpha:
                distance = jensen_shannon_debiased(seen, feature.counts)
                alarms.append(
                    Alarm(
                        feature=feature.name,
                        detector=self.name,
                        distance=0.0 if math.isnan(distance) else distance,
                        statistic=test.statistic,
                        p=test.p,
                        alpha=alpha,
                        text=what_moved(feature, seen),
                    )
                )
        return tuple(alarms)
