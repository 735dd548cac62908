"""The detectors that come with fullcircle against the public suite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from fullcircle import registry
from fullcircle.monitoring.detector import Counted, Detector, Floats, Plan, Reference
from fullcircle.monitoring.detectors.learned import Learned
from fullcircle.monitoring.detectors.tilts import Tilts
from fullcircle.stats import bins
from fullcircle.testing.detectors import DetectorSuite

CELLS = 24
LAWS: dict[str, tuple[Callable[[np.random.Generator, int], Floats], Callable[[Floats], Floats]]] = {
    "normal": (lambda generator, n: generator.normal(size=n), stats.norm.cdf),
    "few values": (lambda generator, n: generator.poisson(1.5, n).astype(float), lambda x: stats.poisson.cdf(x, 1.5)),
    "some ties": (lambda generator, n: generator.geometric(0.1, n).astype(float), lambda x: stats.geom.cdf(x, 0.1)),
    "half zeros": (
        lambda generator, n: np.where(generator.random(n) < 0.5, 0.0, generator.exponential(size=n)),
        lambda x: np.where(x < 0, 0.0, 0.5 + 0.5 * stats.expon.cdf(x)),
    ),
}


class TestTilts(DetectorSuite):
    @pytest.fixture
    def detector(self) -> Detector:
        return Tilts()


class TestLearned(DetectorSuite):
    @pytest.fixture
    def detector(self) -> Detector:
        return Learned()


def test_they_are_registered_like_any_other() -> None:
    assert registry.find("detectors", "tilts") is Tilts
    assert registry.find("detectors", "learned") is Learned


@pytest.mark.parametrize("rows", [50, 400])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("made", [Tilts, Learned])
def test_bounds_hold_where_the_bins_were_chosen_on_the_same_rows(made: type[Detector], law: str, rows: int) -> None:
    """As a profile does, with quantiles and repeated values: in few of 200 references does any bet cost too little.

    What a bet pays a row on average under the true law is known exactly, from its distribution function.
    """
    generator, columns, delta = np.random.default_rng(rows), 200, 0.1
    counts, true, used = (np.zeros((columns, CELLS)) for _ in range(3))
    outside = np.zeros(columns)
    draw, up_to = LAWS[law]
    for column in range(columns):
        values = draw(generator, rows)
        edges = bins.quantile_edges(values, 20)
        width = edges.size + 1
        counts[column, :width] = bins.count_numbers(values, edges)[:-2]
        true[column, :width] = np.diff(np.concatenate([[0.0], up_to(edges), [1.0]]))
        used[column, :width], used[column, -2:] = 1, 1
        below, above = up_to(np.array([np.nextafter(values.min(), -np.inf), values.max()]))
        outside[column] = below + 1 - above
    no, none = np.zeros(columns, dtype=np.bool_), np.zeros(columns)
    plan = made().plan(
        Reference(
            counts=counts,
            pooled=counts,
            used=used > 0,
            ordered=~no,
            ranged=~no,
            losses=no,
            values=np.zeros(counts.shape),
            growth=none,
            delta=np.full(columns, delta),
            tolerance=none,
        ),
        share=1.0,
    )
    memory = plan.start()
    for _ in range(3):
        batch = np.array([generator.multinomial(300, each / each.sum()) for each in true]).astype(float)
        memory = plan.learn(Counted(counts=batch, outside=none), memory)
    broken = ((_paid(plan, memory, true, outside) > 1 + 1e-9) & (plan.weights > 0)).any(axis=1)
    assert broken.mean() <= delta


def _paid(plan: Plan, memory: Floats, true: Floats, outside: Floats) -> Floats:
    """The mean e-value of one row (F, L): judged cell by cell, with the row outside the range or in it.

    A bet is on cells or on being outside, so that the two may be taken as independent here.
    """
    found = np.zeros(plan.weights.shape)
    for cell in range(true.shape[1]):
        counts = np.zeros(true.shape)
        counts[:, cell] = 1.0
        for beyond, share in ((0.0, 1 - outside), (1.0, outside)):
            log_e = plan.judge(Counted(counts=counts, outside=np.full(len(true), beyond)), memory)
            found += (true[:, cell] * share)[:, None] * np.exp(log_e)
    return found
