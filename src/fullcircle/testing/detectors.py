"""The conformance suite of detectors: subclass it with a ``detector`` fixture.

class TestMine(DetectorSuite):
    @pytest.fixture
    def detector(self) -> Detector:
        return Mine()
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fullcircle.monitoring.detector import Counted, Detector, Floats, Plan, Reference
from fullcircle.stats.evidence import log_average

CELLS = 10
_EVEN = np.append(np.full(CELLS, 1 / CELLS), [0.0, 0.0])


class DetectorSuite:
    """What every detector has to do: honest e-values, no peeking, no state of its own, and finding what is large."""

    @pytest.fixture
    def detector(self) -> Detector:
        """The detector under test."""
        raise NotImplementedError

    @pytest.fixture
    def generator(self) -> np.random.Generator:
        """A seeded source of rows."""
        return np.random.default_rng(20261127)

    def test_it_has_a_name_a_code_and_a_weight(self, detector: Detector) -> None:
        """All three are told, and the weight shares the average."""
        assert detector.name
        assert detector.code
        assert detector.weight > 0

    def test_weights_of_a_column_are_at_most_one(self, detector: Detector, generator: np.random.Generator) -> None:
        """More would make the average no e-detector."""
        plan = detector.plan(draw_reference(generator, 50), share=1.0)
        assert (plan.weights >= 0).all()
        assert (plan.weights.sum(axis=1) <= 1 + 1e-9).all()

    def test_an_empty_batch_says_nothing(self, detector: Detector, generator: np.random.Generator) -> None:
        """Its log e-values are 0."""
        plan = detector.plan(draw_reference(generator, 5), share=1.0)
        log_e = plan.judge(_counted(np.zeros((5, CELLS + 2))), plan.start())
        assert log_e.shape == plan.weights.shape
        assert not log_e.any()

    def test_a_column_without_rows_remembers_what_it_did(
        self, detector: Detector, generator: np.random.Generator
    ) -> None:
        """So labels may come in some batches only."""
        plan = detector.plan(draw_reference(generator, 3), share=1.0)
        memory, counts = _lived(plan, generator, 3), np.zeros((3, CELLS + 2))
        counts[1] = generator.multinomial(100, _EVEN)
        after = plan.learn(_counted(counts), memory)
        assert after.shape == memory.shape
        assert np.array_equal(after[[0, 2]], memory[[0, 2]])

    def test_columns_do_not_look_at_each_other(self, detector: Detector, generator: np.random.Generator) -> None:
        """In another order they get the same answers."""
        reference, order = draw_reference(generator, 4), np.array([2, 0, 3, 1])
        parts = {name: value[order] for name, value in vars(reference).items()}
        plan, turned = detector.plan(reference, share=1.0), detector.plan(Reference(**parts), share=1.0)
        memory = _lived(plan, generator, 4)
        counts = generator.multinomial(300, _EVEN, 4).astype(float)
        log_e = plan.judge(_counted(counts), memory)
        assert np.allclose(turned.judge(_counted(counts[order]), memory[order]), log_e[order], atol=1e-9)

    @pytest.mark.parametrize("rows", [1.0, 0.25, 1e9])
    def test_any_size_of_batch_is_judged(
        self, detector: Detector, generator: np.random.Generator, rows: float
    ) -> None:
        """Counts may be huge, or less than one where they are divided by a design effect; a reference may be tiny."""
        for size in (1, 5000):
            plan = detector.plan(draw_reference(generator, 2, rows=size), share=1.0)
            counts = np.zeros((2, CELLS + 2))
            counts[0, 4], counts[1, -2:] = rows, rows
            memory = plan.learn(_counted(counts), plan.start())
            assert np.isfinite(plan.judge(_counted(counts), memory)).all()

    def test_a_memory_kept_in_short_floats_says_the_same(
        self, detector: Detector, generator: np.random.Generator
    ) -> None:
        """That is how it is kept between batches."""
        plan = detector.plan(draw_reference(generator, 4), share=1.0)
        memory = _lived(plan, generator, 4)
        batch = _counted(generator.multinomial(300, _EVEN, 4).astype(float))
        short = memory.astype(np.float32).astype(np.float64)
        assert np.allclose(plan.judge(batch, short), plan.judge(batch, memory), atol=1e-2)

    @pytest.mark.parametrize("rows", [50, 1000])
    def test_e_values_have_a_mean_of_at_most_one(
        self, detector: Detector, generator: np.random.Generator, rows: int
    ) -> None:
        """Exactly computed under the true shares, of 2000 references drawn anew: few of them may break a bound.

        The mean of prod b^N over a batch of one row is sum p b; it is read off by judging each cell alone.
        """
        columns, delta = 2000, 0.05
        reference = draw_reference(generator, columns, rows=rows, delta=delta)
        plan = detector.plan(reference, share=1.0)
        memory = _lived(plan, generator, columns)
        means = np.zeros(plan.weights.shape)
        for cell in range(CELLS):
            counts = np.zeros((columns, CELLS + 2))
            counts[:, cell] = 1.0
            means += _EVEN[cell] * np.exp(plan.judge(_counted(counts), memory))
        broken = ((means > 1 + 1e-9) & (plan.weights > 0)).any(axis=1).sum()
        assert broken <= delta * columns + 4 * np.sqrt(delta * columns)

    def test_judging_and_learning_change_nothing_they_are_given(
        self, detector: Detector, generator: np.random.Generator
    ) -> None:
        """From several threads as well: the same question gets the same answer."""
        plan = detector.plan(draw_reference(generator, 5), share=1.0)
        memory = _lived(plan, generator, 5)
        batch, before = _counted(generator.multinomial(300, _EVEN, 5).astype(float)), memory.copy()
        first = plan.judge(batch, memory)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: plan.judge(batch, memory), range(16)))
        plan.learn(batch, memory)
        assert all(np.array_equal(first, answer) for answer in answers)
        assert np.array_equal(memory, before)

    @pytest.mark.parametrize("moved", ["up", "one cell", "missing", "other"])
    def test_a_large_change_is_found(self, detector: Detector, generator: np.random.Generator, moved: str) -> None:
        """Within five batches of 1000 rows, and on its column only."""
        plan = detector.plan(draw_reference(generator, 4, ordered=moved != "other"), share=1.0)
        memory, total = plan.start(), np.zeros(plan.weights.shape)
        for _ in range(5):
            counts = generator.multinomial(1000, _EVEN, 4).astype(float)
            counts[0] = generator.multinomial(1000, _moved(moved))
            batch = _counted(counts)
            total += plan.judge(batch, memory)
            memory = plan.learn(batch, memory)
        found = log_average(total, plan.weights)
        assert found[0] > 20
        assert (found[1:] < 3).all()


def draw_reference(
    generator: np.random.Generator, columns: int, *, rows: int = 5000, delta: float = 0.001, ordered: bool = True
) -> Reference:
    """``columns`` columns of ten cells that are equally likely, drawn anew, never other nor missing."""
    counts = generator.multinomial(rows, _EVEN, columns).astype(np.float64)
    none, no = np.zeros(columns), np.zeros(columns, dtype=np.bool_)
    return Reference(
        counts=counts,
        pooled=counts,
        used=np.ones(counts.shape, dtype=np.bool_),
        ordered=np.full(columns, ordered),
        ranged=no,
        losses=no,
        values=np.zeros(counts.shape),
        growth=none,
        delta=np.full(columns, delta),
        tolerance=none,
    )


def _counted(counts: Floats) -> Counted:
    return Counted(counts=counts, outside=np.zeros(len(counts)))


def _lived(plan: Plan, generator: np.random.Generator, columns: int) -> Floats:
    """The memory after a few batches."""
    memory = plan.start()
    for _ in range(3):
        memory = plan.learn(_counted(generator.multinomial(200, _EVEN, columns).astype(float)), memory)
    return memory


def _moved(moved: str) -> Floats:
    shares = _EVEN.copy()
    if moved == "up":
        shares[:CELLS] = np.linspace(0.5, 1.5, CELLS) / CELLS
    elif moved == "one cell":
        shares[3] += 0.15
    else:
        shares[-1 if moved == "missing" else -2] = 0.15
    return np.asarray(shares / shares.sum())
