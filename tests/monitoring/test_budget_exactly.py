"""The budget without a single draw: every reference, every batch and every path of a column of two cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from fullcircle.monitoring import engine
from fullcircle.monitoring.batches import Batch, Layout, count
from fullcircle.monitoring.detector import Counted, Detector, Floats, Plan, Reference
from fullcircle.monitoring.detectors.learned import Learned
from fullcircle.monitoring.detectors.tilts import Tilts
from fullcircle.monitoring.engine import Watch
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.project import Monitor

NONE = Batch.empty(())


def profile(no: int, yes: int, columns: int = 1) -> Profile:
    return Profile(
        features=tuple(
            FeatureProfile(name=f"x{place}", kind="category", categories=("no", "yes"), counts=(no, yes, 0, 0))
            for place in range(columns)
        ),
        rows=no + yes,
    )


def batch(of: Profile, yes: Sequence[int], rows: int) -> Batch:
    columns = {f"x{place}": ["yes"] * each + ["no"] * (rows - each) for place, each in enumerate(yes)}
    return count(Layout(of.features), columns, rows)


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_evidence_grows_by_at_most_one_on_average_for_all_but_few_references(p: float) -> None:
    """E[M after | before] <= 1 + M before, whatever the batch before was; what may break it is the reference."""
    of, rows, monitor, detectors = 12, 3, Monitor(confidence=0.5), (Tilts(), Learned())
    chances = binom.pmf(np.arange(rows + 1), rows, p)
    broken, seen = 0.0, 0.0
    for yes in range(of + 1):
        own = profile(of - yes, yes)
        every = [batch(own, [each], rows) for each in range(rows + 1)]

        def levels(state: bytes) -> list[tuple[float, bytes]]:
            found = []
            for one in every:  # noqa: B023 - asked within the turn of the loop
                watch = Watch(own, monitor, state=state, detectors=detectors)  # noqa: B023
                (evidence,) = watch.step(one, NONE)
                assert not evidence.fired
                found.append((math.exp(evidence.level), watch.state()))
            return found

        before = [(0.0, b""), *levels(b"")]
        grown = max(float(chances @ [after for after, _ in levels(state)]) - level for level, state in before)
        broken += float(binom.pmf(yes, of, p)) * (grown > 1 + 1e-6)
        seen = max(seen, grown)
    assert broken <= 0.05, "half of all references may: the bounds are for the worst p"
    assert seen > 1, "some reference misleads: without bounds nearly all would"


@dataclass
class _Fair:
    """A bet at even odds on cells that are equally likely: e has a mean of exactly 1."""

    name = "fair"
    code = "T100"
    weight = 1.0
    weights: Floats

    def plan(self, reference: Reference, *, share: float) -> Plan:
        return _Fair(np.ones((len(reference.counts), 1)))

    def start(self) -> Floats:
        return np.zeros((len(self.weights), 0))

    def judge(self, batch: Counted, memory: Floats) -> Floats:
        return np.asarray(batch.counts @ np.log([[0.4], [1.6], [1.0], [1.0]]))

    def learn(self, batch: Counted, memory: Floats) -> Floats:
        return memory


FAIR: tuple[Detector, ...] = (_Fair(np.ones((0, 1))),)


@pytest.mark.parametrize("tied", [True, False], ids=["two columns that are one", "two columns on their own"])
def test_alarms_on_all_paths_together_are_within_the_budget(tied: bool) -> None:
    """Each path of a few batches of one row, with its chance: the average of M is the number of batches where nothing
    alarms, and alarms are at most T / c where it does; restarts, and columns that leave, included.
    """
    own, batches = profile(500, 500, columns=2), 5 if tied else 4
    outcomes = [(0, 0), (1, 1)] if tied else list(product((0, 1), repeat=2))
    often, never = Monitor(window="1w", false_alerts="50 per year"), Monitor(window="1h")
    c = math.exp(engine.threshold(often, "drift"))
    assert 2 < c < 2.2
    for monitor in (often, never):
        paths: list[tuple[float, int, float, bytes]] = [(1.0, 0, 0.0, b"")]
        for step in range(1, batches + 1):
            after = []
            for chance, alarms, _, state in paths:
                for yes in outcomes:
                    watch = Watch(own, monitor, state=state, detectors=FAIR)
                    (found,) = watch.step(batch(own, yes, 1), NONE)
                    told = (alarms + found.fired, math.exp(found.level), watch.state())
                    after.append((chance / len(outcomes), *told))
            paths = after
            expected = sum(chance * alarms for chance, alarms, *_ in paths)
            assert expected <= step / c
            if monitor is never:
                assert sum(chance * level for chance, _, level, _ in paths) == pytest.approx(step, rel=1e-5)
        assert (expected > 0.5) == (monitor is often)
