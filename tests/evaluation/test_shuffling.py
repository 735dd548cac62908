"""Shuffling columns: which rows are looked at, how often, and what the figures mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

import subjects
from fullcircle.evaluation import metrics
from fullcircle.evaluation.check import Subject
from fullcircle.evaluation.explanation import shuffling
from fullcircle.evaluation.explanation.shuffling import Shuffled, sample, shuffled, times
from fullcircle.types.gates import at_most


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _value(found: Shuffled, name: str) -> float:
    (value,) = (measure.value for measure in found.measures if measure.group == name)
    assert value is not None
    return value


class TestSamples:
    def test_a_sample_is_seeded_and_streams_differ(self) -> None:
        subject = subjects.regression(300)
        first = sample(subject, 50)
        assert len(set(first.tolist())) == 50
        assert np.array_equal(first, sample(subject, 50))
        assert not np.array_equal(first, sample(subject, 50, stream=1))
        assert not np.array_equal(first, sample(_with(subject, seed=1), 50))
        assert sorted(sample(subject, 1000).tolist()) == list(range(300))

    def test_rows_that_count_for_nothing_are_not_drawn(self) -> None:
        weights = np.where(np.arange(300) % 3 == 0, 2.0, 0.0)
        drawn = sample(_with(subjects.regression(300), weights=weights), 1000)
        assert sorted(drawn.tolist()) == list(range(0, 300, 3))

    def test_many_columns_are_looked_at_on_fewer_rows(self) -> None:
        subject = subjects.regression(3000)
        assert shuffled(subject).rows == 2000
        extra = pd.DataFrame({f"x{number}": np.zeros(3000) for number in range(48)})
        wide = _with(subject, inputs=pd.concat([subject.inputs, extra], axis=1))
        assert shuffled(wide).rows == 100_000 // 250


class TestFigures:
    def test_a_perfect_model_loses_what_shuffling_takes(self) -> None:
        """With y = x the error after shuffling is |x_i - x_j|: the mean difference of the values (Gini)."""
        subject = subjects.regression(500)
        assert subject.inputs is not None
        x = subject.inputs["signal"].to_numpy()
        found = shuffled(_with(subject, actual=x, predicted=x, predict=lambda asked: asked["signal"].to_numpy()))
        gini = float(np.mean(np.abs(x[:, None] - x[None, :])))
        assert _value(found, "signal") == pytest.approx(gini, rel=0.06)
        assert _value(found, "noise") == 0.0

    def test_a_column_that_misleads_is_below_zero(self) -> None:
        subject = subjects.regression(300)
        assert subject.inputs is not None
        noise = subject.inputs["noise"].to_numpy()
        found = shuffled(
            _with(
                subject,
                actual=subject.inputs["signal"].to_numpy() - 2.0 * noise,
                predict=lambda asked: asked["signal"] + asked["noise"],
            )
        )
        misleading = next(measure for measure in found.measures if measure.group == "noise")
        assert misleading.high is not None
        assert misleading.high < 0.0

    def test_types_survive_the_shuffle(self) -> None:
        subject = subjects.regression(40)
        frame = pd.DataFrame(
            {
                "kind": pd.Categorical(["a", "b"] * 20),
                "at": pd.date_range("2020-01-01", periods=40),
                "word": ["x", None] * 20,
                "open": pd.array([True, None] * 20, dtype="boolean"),
            }
        )
        seen = []

        def predict(asked: Any) -> Any:
            seen.append(asked.dtypes.astype(str).tolist())
            return np.arange(40.0)

        before = frame.copy(deep=True)
        shuffled(_with(subject, inputs=frame, predict=predict))
        assert len(seen) == 1 + 4 * shuffling.REPEATS
        assert all(kinds == seen[0] for kinds in seen)
        assert frame.equals(before), "the subject's own rows stay as they were"

    def test_a_bias_has_a_figure_and_no_interval(self) -> None:
        found = shuffled(subjects.regression(100, gates=(at_most("bias", 1.0),)))
        assert found.metric.name == "bias"
        assert all(measure.low is None and measure.value is not None for measure in found.measures)
        assert all("t interval" not in measure.method for measure in found.measures)

    def test_probabilities_are_asked_for_only_where_the_metric_reads_them(self) -> None:
        subject = subjects.classification(60)

        def refused(asked: Any) -> Any:
            pytest.fail("nobody reads this")

        assert shuffled(_with(subject, predict=refused)).metric.name == "log_loss"
        exact = _with(subject, gates=(at_most("accuracy", 1.0),), predict_probabilities=refused)
        assert shuffled(exact).metric.name == "accuracy"

    def test_words(self) -> None:
        assert times(1) == "1 shuffle"
        assert times(5) == "5 shuffles"
        subject = _with(subjects.regression(10), unit="kg")
        assert metrics.unit_of(subject, metrics.find("mae", "regression")) == "kg"
        assert metrics.unit_of(_with(subject, unit=""), metrics.find("mae", "regression")) == "y"
        assert metrics.unit_of(subject, metrics.find("log_loss", "classification")) == "nats"
