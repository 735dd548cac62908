"""The public suite for checks. A package that registers one subclasses it in its tests:

    class TestMine(CheckSuite):
        @pytest.fixture
        def check(self):
            return Mine()

Subjects with what a check may need beyond the usual (a gate, a column) are given by overriding ``subjects``.
"""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from fullcircle.errors import FullcircleError
from fullcircle.evaluation.check import Check, Skipped, Subject, Training
from fullcircle.evaluation.gates import decide
from fullcircle.evaluation.metrics import trivial
from fullcircle.types.gates import at_most, fair, worth
from fullcircle.types.report import Finding, Report

MACHINE = ("ms", "rows a second", "MB")  # units of timings and of memory: they differ from run to run
_ROWS = 120
_FEATURES = ("a", "b")


class CheckSuite:
    """What every check promises, whatever it looks at."""

    @pytest.fixture
    def check(self) -> Check:
        """The check under test: override this."""
        raise NotImplementedError

    @pytest.fixture
    def subjects(self) -> Sequence[Subject]:
        """A regression, a classification of two classes and one of three, with a fair and a worth gate."""
        return (regression(), classification(2), classification(3))

    def test_it_has_a_name_and_a_stable_code(self, check: Check) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", check.name)
        assert re.fullmatch(r"[A-Z]+\d{3}", check.code)
        assert all(isinstance(name, str) and name for name in check.measures)

    def test_it_answers_with_a_finding_or_says_why_not(self, check: Check, subjects: Sequence[Subject]) -> None:
        answers = [check.run(subject) for subject in subjects]
        assert any(isinstance(answer, Finding) for answer in answers), "it applies to none of the subjects"
        for answer in answers:
            if isinstance(answer, Skipped):
                assert answer.reason
                continue
            assert (answer.check, answer.code) == (check.name, check.code)
            assert answer.title
            assert answer.text.endswith(".")

    def test_its_measures_are_sound(self, check: Check, subjects: Sequence[Subject]) -> None:
        for finding in _findings(check, subjects):
            names = [(measure.name, measure.group) for measure in finding.measures]
            assert len(names) == len(set(names)), "a measure occurs twice, so a gate could read either"
            for measure in finding.measures:
                for value in (measure.value, measure.low, measure.high):
                    assert value is None or (type(value) is float and math.isfinite(value))
                if measure.low is not None and measure.high is not None:
                    assert measure.value is not None
                    assert measure.low <= measure.high
                if measure.value is None:
                    assert measure.method, "a measure without a value says why"
            offered = {measure.name for measure in finding.measures if not measure.group}
            assert set(check.measures) <= offered, "it promises measures that it does not make"

    def test_its_report_can_be_written_and_read_back(self, check: Check, subjects: Sequence[Subject]) -> None:
        for finding in _findings(check, subjects):
            written = msgspec.json.encode(Report(subject="s", findings=(finding,)))
            assert len(written) < 300_000, "a report is read by people and kept for ever"
            again = msgspec.json.decode(written, type=Report)
            assert msgspec.json.encode(again) == written
            for chart in finding.charts:
                assert chart.title
                assert str(chart.spec["$schema"]).endswith("vega-lite/v5.json")
                assert "url" not in msgspec.json.encode(chart.spec.get("data", {})).decode()

    def test_it_says_the_same_twice(self, check: Check, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            assert _figures(check.run(subject)) == _figures(check.run(subject))

    def test_it_leaves_the_subject_as_it_was(self, check: Check, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            before = copy.deepcopy(_held(subject))
            # Nor may it touch numpy's global generator.
            state = pickle.dumps(np.random.get_state())
            check.run(subject)
            for kept, now in zip(before, _held(subject), strict=True):
                if hasattr(now, "columns"):
                    assert kept.equals(now)
                    assert list(kept.columns) == list(now.columns)
                else:
                    assert (kept is None and now is None) or np.array_equal(np.asarray(kept), np.asarray(now))
            assert pickle.dumps(np.random.get_state()) == state

    def test_few_rows_and_constant_answers_are_judged_or_refused(
        self, check: Check, subjects: Sequence[Subject]
    ) -> None:
        for subject in subjects:
            constant = replace(subject, predicted=subject.baseline, probabilities=subject.baseline_probabilities)
            for hard in (cut(subject, 1), cut(subject, 2), constant):
                try:
                    answer = check.run(hard)
                except FullcircleError as error:
                    assert error.what  # noqa: PT017 - one of ours is an answer too, and must say something
                    continue
                for measure in answer.measures if isinstance(answer, Finding) else ():
                    assert measure.value is None or math.isfinite(measure.value)

    def test_no_gate_passes_on_one_row(self, check: Check, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            finding = check.run(cut(subject, 1))
            if isinstance(finding, Finding):
                report = Report(subject="s", findings=(finding,), rows=1)
                data = [gate for gate in subject.gates if gate.kind in ("at_most", "at_least", "fair", "worth")]
                assert not any(verdict.passed for verdict in decide(data, report, has_champion=False))


def regression(rows: int = _ROWS) -> Subject:
    """A linear law with noise, a model that knows the law, a champion that knows half of it."""
    frame = _frame(rows)
    actual = frame["a"].to_numpy() + np.random.default_rng(1).normal(size=rows)
    baseline, _ = trivial(actual, rows, task="regression")
    gates = (at_most("mae", 1e6), fair("group", "mae", 1e6), worth(lambda truth, said: -abs(truth - said), -1e6))
    return Subject(
        model="suite",
        task="regression",
        actual=actual,
        predicted=frame["a"].to_numpy().copy(),
        baseline=baseline,
        baseline_probabilities=None,
        champion=frame["a"].to_numpy() / 2.0,
        champion_probabilities=None,
        frame=frame,
        features=_FEATURES,
        inputs=frame[list(_FEATURES)],
        protected=("group",),
        predict=lambda asked: asked["a"].to_numpy(),
        train=Training(
            frame=_frame(rows, 7), inputs=_frame(rows, 7)[list(_FEATURES)], actual=_frame(rows, 7)["a"].to_numpy()
        ),
        score_one=lambda row: row["a"],
        model_bytes=1000,
        gates=gates,
    )


def classification(classes: int, rows: int = _ROWS) -> Subject:
    """Classes "c0", "c1", ... by a linear law with noise; the champion's answers are the baseline's."""
    frame = _frame(rows)
    names = tuple(f"c{number}" for number in range(classes))
    edges = np.linspace(-1.0, 1.0, classes + 1)[1:-1]
    noisy = frame["a"].to_numpy() + 0.5 * np.random.default_rng(1).normal(size=rows)
    actual = np.array(names, dtype=object)[np.searchsorted(edges, noisy)]
    baseline, shares = trivial(actual, rows, task="classification", classes=names)

    def predict(asked: Any) -> Any:
        return np.array(names, dtype=object)[np.searchsorted(edges, asked["a"].to_numpy())]

    def probabilities(asked: Any) -> Any:
        hit = predict(asked)[:, None] == np.array(names, dtype=object)[None, :]
        return np.where(hit, 0.8, 0.2 / (classes - 1))

    def gain(truth: Any, said: Any) -> Any:
        return np.where(truth == said, 1.0, -1.0)

    return Subject(
        model="suite",
        task="classification",
        classes=names,
        actual=actual,
        predicted=predict(frame),
        probabilities=probabilities(frame),
        baseline=baseline,
        baseline_probabilities=shares,
        champion=baseline,
        champion_probabilities=shares,
        frame=frame,
        features=_FEATURES,
        inputs=frame[list(_FEATURES)],
        protected=("group",),
        train=Training(
            frame=_frame(rows, 7), inputs=_frame(rows, 7)[list(_FEATURES)], actual=predict(_frame(rows, 7))
        ),
        predict=predict,
        predict_probabilities=probabilities,
        score_one=_first,
        model_bytes=1000,
        gates=(at_most("log_loss", 1e6), fair("group", "accuracy", 1.0), worth(gain, -1e6)),
    )


def cut(subject: Subject, rows: int) -> Subject:
    """The first rows of a subject."""
    answers = ("actual", "predicted", "baseline", "champion", "weights")
    shares = ("probabilities", "baseline_probabilities", "champion_probabilities")
    kept: dict[str, Any] = {"frame": subject.frame.head(rows), "inputs": _top(subject.inputs, rows)}
    for name in (*answers, *shares):
        whole = getattr(subject, name)
        kept[name] = None if whole is None else whole[:rows]
    return replace(subject, **kept)


def _top(frame: Any, rows: int) -> Any:
    return None if frame is None else frame.head(rows)


def _held(subject: Subject) -> tuple[Any, ...]:
    """What a check is shown and must not change."""
    train = () if subject.train is None else (subject.train.frame, subject.train.inputs, subject.train.actual)
    answers = (subject.actual, subject.predicted, subject.probabilities)
    return (subject.frame, subject.inputs, *answers, *train)


def _first(row: Mapping[str, Any]) -> object:
    return row["a"]


def _training(rows: int, law: Any) -> Training:
    frame = _frame(rows, 7)
    return Training(frame=frame, inputs=frame[list(_FEATURES)], actual=law(frame))


def _frame(rows: int, seed: int = 0) -> Any:
    import pandas as pd

    generator = np.random.default_rng(seed)
    group = np.where(np.arange(rows) % 3 == 0, "x", "y")
    return pd.DataFrame({"a": generator.normal(size=rows), "b": generator.normal(size=rows), "group": group})


def _findings(check: Check, subjects: Sequence[Subject]) -> list[Finding]:
    answers = [check.run(subject) for subject in subjects]
    return [answer for answer in answers if isinstance(answer, Finding)]


def _figures(answer: Finding | Skipped) -> object:
    """What must not change between two runs: everything but what was measured of the machine."""
    if isinstance(answer, Skipped):
        return answer
    return answer.severity, [measure for measure in answer.measures if measure.unit not in MACHINE]
