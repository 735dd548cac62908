"""The glass-box rival: it is trained on the same rows, compared on the same rows, and shown."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, mean_absolute_error

import subjects
from fullcircle.errors import MissingExtra
from fullcircle.evaluation.check import Skipped, Subject, Training
from fullcircle.evaluation.checks import glassbox
from fullcircle.evaluation.checks.glassbox import Glassbox
from fullcircle.evaluation.explanation import rival
from fullcircle.evaluation.metrics import trivial
from fullcircle.types.contract import Column
from fullcircle.types.gates import at_most, worth
from fullcircle.types.report import Finding, Measure


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _run(subject: Subject) -> Finding:
    answer = Glassbox().run(subject)
    assert isinstance(answer, Finding)
    return answer


def _measure(finding: Finding, name: str) -> Measure:
    (found,) = [measure for measure in finding.measures if measure.name == name]
    return found


def _product(rows: int, train: int = 400) -> Subject:
    """Three columns multiplied: what no sum of curves and tables can follow. The model knows the law."""
    generator = np.random.default_rng(5)

    def drawn(count: int) -> tuple[pd.DataFrame, Any]:
        frame = pd.DataFrame(np.sign(generator.normal(size=(count, 3))), columns=["a", "b", "c"])
        return frame, frame.to_numpy().prod(axis=1)

    frame, actual = drawn(rows)
    learned, labels = drawn(train)
    baseline, _ = trivial(labels, rows, task="regression")
    return Subject(
        model="law",
        task="regression",
        actual=actual + 0.01 * generator.normal(size=rows),
        predicted=actual,
        baseline=baseline,
        baseline_probabilities=None,
        frame=frame,
        inputs=frame,
        features=("a", "b", "c"),
        train=Training(frame=learned, inputs=learned, actual=labels),
        currency="EUR",
        label="y",
    )


def _lent(rows: int = 200) -> Subject:
    """Columns of every kind, and a model of no interest."""
    generator = np.random.default_rng(3)

    def drawn(count: int) -> tuple[pd.DataFrame, Any]:
        frame = pd.DataFrame(
            {
                "income": np.where(generator.random(count) < 0.2, np.nan, generator.normal(size=count)),
                "job": pd.Categorical(generator.choice(["a", "b", "c"], count)),
                "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 900, count), unit="D"),
                "for": pd.to_timedelta(generator.integers(1, 30, count), unit="D"),
                "open": pd.array(generator.random(count) < 0.5, dtype="boolean"),
                "id": [f"n{number}" for number in range(count)],
                "same": 1.0,
                "gone": np.nan,
            }
        )
        frame.loc[generator.random(count) < 0.1, ["job", "since", "open"]] = None
        known = frame["job"].astype(object).map({"a": 2.0, "b": 0.0, "c": -2.0}).astype(float).fillna(0.0)
        late = (frame["since"] > pd.Timestamp("2021-03-01")).to_numpy(dtype=float)
        return frame, known.to_numpy() + late + frame["income"].fillna(3.0).to_numpy()

    frame, actual = drawn(rows)
    learned, labels = drawn(300)
    baseline, _ = trivial(labels, rows, task="regression")
    return Subject(
        model="lender",
        task="regression",
        actual=actual,
        predicted=baseline,
        baseline=baseline,
        baseline_probabilities=None,
        frame=frame,
        inputs=frame,
        features=tuple(frame.columns),
        train=Training(frame=learned, inputs=learned, actual=labels),
    )


class TestTheComparison:
    def test_what_only_a_black_box_can_follow_has_its_price(self) -> None:
        subject = _product(300)
        paid = _with(subject, gates=(worth(lambda actual, said: 1.0 - np.abs(actual - said), 0.0),))
        finding = _run(paid)
        price, value = _measure(finding, "price_of_opacity"), _measure(finding, "value_of_opacity")
        assert price.low is not None
        assert price.low > 0.5
        assert value.value == pytest.approx(price.value), "a euro for every unit of error"
        assert value.unit == "EUR a row"
        glass = _measure(finding, "glassbox_mae").value or 0.0
        assert price.value == pytest.approx(glass - mean_absolute_error(subject.actual, subject.predicted))
        assert _measure(finding, "glassbox_value_per_row").value == pytest.approx(1.0 - glass)
        assert finding.severity == "info"
        assert finding.text.startswith(f"The model is better by {price.value:.4g} in mae (95 % ")
        assert " EUR a row more (95 % " in finding.text
        assert " than a glass-box model of 3 curves and 3 interactions, " in finding.text
        assert "which a person can read whole." in finding.text

    def test_a_worth_that_knows_rows_by_place_is_asked_about_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = _product(300)
        sizes = np.linspace(1.0, 3.0, 300)
        paid = _with(subject, gates=(worth(lambda actual, said: -sizes * np.abs(actual - said), 0.0),))
        whole = _measure(_run(paid), "value_of_opacity").value
        monkeypatch.setattr(glassbox, "MOST_ROWS", 200)
        some = _measure(_run(paid), "value_of_opacity")
        assert some.n == 200
        assert some.value == pytest.approx(whole, rel=0.2)

    def test_a_worth_that_cannot_tell_is_unknown(self) -> None:
        def broken(actual: Any, said: Any) -> Any:
            raise KeyError("loan")

        finding = _run(_with(_product(300), gates=(worth(broken, 0.0),)))
        assert finding.severity == "info"
        assert _measure(finding, "price_of_opacity").value is not None
        assert _measure(finding, "value_of_opacity").value is None
        assert finding.text.endswith("What it earns more is unknown: the worth gate raised KeyError.")

    def test_where_it_buys_nothing_the_glass_box_is_to_be_considered(self) -> None:
        subject = subjects.regression(150)
        made = rival.train(subject, 1000)
        assert made is not None
        assert subject.inputs is not None
        same, _ = made.answers(subject.inputs)
        finding = _run(_with(subject, predicted=same + 1e-9))
        assert finding.text.startswith("The model is not better beyond chance than a glass-box model of ")
        assert "consider the glass box" in finding.text

    def test_a_model_that_is_worse_is_said_to_be(self) -> None:
        subject = subjects.regression(150)
        finding = _run(_with(subject, predicted=subject.baseline))
        price = _measure(finding, "price_of_opacity")
        assert price.high is not None
        assert price.high < 0
        assert finding.text.startswith("The model is worse by ")
        assert " than a glass-box model" in finding.text

    @pytest.mark.parametrize("names", [("no", "yes"), (0, 1), (False, True), ("a", "b", "c")])
    def test_classes_of_any_kind_are_compared(self, names: tuple[Any, ...]) -> None:
        subject = subjects.classification(150, names=names, gates=[worth(lambda a, p: 1.0 * (a == p), 0.0)])
        finding = _run(subject)
        made = rival.train(subject, 1000)
        assert made is not None
        assert subject.inputs is not None
        predicted, shares = made.answers(subject.inputs)
        expected = log_loss(list(subject.actual), shares, labels=list(subject.classes))
        assert _measure(finding, "glassbox_log_loss").value == pytest.approx(expected)
        assert set(predicted.tolist()) <= set(names)
        hits = np.mean([one == other for one, other in zip(predicted, subject.actual, strict=True)])
        assert _measure(finding, "glassbox_value_per_row").value == pytest.approx(hits)
        assert made.interactions == (1 if len(names) == 2 else 0)

    def test_a_class_that_training_rows_lack_has_no_probability(self) -> None:
        subject = subjects.classification(90, names=("a", "b", "c"))
        assert subject.train is not None
        kept = np.asarray(subject.train.actual) != "b"
        few = Training(
            frame=subject.train.frame[kept], inputs=subject.train.inputs[kept], actual=subject.train.actual[kept]
        )
        made = rival.train(_with(subject, train=few), 1000)
        assert made is not None
        _, shares = made.answers(subject.inputs)
        assert shares is not None
        assert not shares[:, 1].any()
        assert shares.sum(axis=1) == pytest.approx(1.0)

    def test_a_model_without_probabilities_is_compared_by_accuracy(self) -> None:
        finding = _run(_with(subjects.classification(100), probabilities=None))
        assert _measure(finding, "glassbox_accuracy").usable
        unknown = _run(_with(subjects.classification(100, gates=[at_most("log_loss", 1.0)]), probabilities=None))
        price = _measure(unknown, "price_of_opacity")
        assert price.value is None
        assert "is unknown: log_loss" in unknown.text

    def test_many_rows_are_sampled_and_weights_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fullcircle.evaluation.checks.glassbox.MOST_ROWS", 100)
        subject = subjects.regression(200)
        found = _measure(_run(subject), "price_of_opacity")
        assert found.n == 100
        assert "trained on 100 rows, compared on 100 rows of 200" in found.method
        weights = np.where(np.arange(200) < 50, 1.0, 0.0)
        strange = np.where(weights > 0, subject.actual, 1e9)
        weighed = _measure(_run(_with(subject, weights=weights, actual=strange)), "glassbox_mae")
        assert weighed.n == 50
        assert weighed.value is not None
        assert weighed.value < 10.0


class TestTheRival:
    def test_columns_of_every_kind_are_read(self) -> None:
        subject = _lent()
        made = rival.train(subject, 1000)
        assert made is not None
        assert made.columns == 6, "one value everywhere, or none, tells nothing"
        said, _ = made.answers(subject.inputs)
        assert mean_absolute_error(subject.actual, said) < 0.6 * mean_absolute_error(subject.actual, subject.baseline)
        strongest = [name for name, _ in made.terms()[:3]]
        assert set(strongest) == {"income", "job", "since"}
        new = subject.frame.head(3).assign(job=pd.Categorical(["new", None, "a"]), id="other")
        assert np.isfinite(made.answers(new)[0]).all()

    def test_shapes_are_in_the_units_of_the_columns(self) -> None:
        made = rival.train(_lent(), 1000)
        assert made is not None
        columns = {"income": Column(name="income", kind="number", label="income a year", unit="EUR")}
        shapes = {shape.title: shape for shape in made.shapes(columns)}
        income, job, since = shapes["Income a year (EUR)"], shapes["Job"], shapes["Since"]
        assert income.kind == "number"
        assert income.adds[0] < income.adds[-1]
        assert -4.0 < income.at[0] < income.at[-1] < 4.0
        assert list(job.at)[:3] == ["a", "b", "c"]
        assert job.adds[0] > job.adds[1] > job.adds[2]
        assert "(missing)" in job.at
        assert since.kind == "time"
        assert pd.Timestamp(since.at[0], unit="ms").year == 2020
        assert pd.Timestamp(since.at[-1], unit="ms").year == 2022
        assert since.adds[0] < since.adds[-1]
        assert shapes["For (days)"].at[-1] < 31

    def test_charts_show_terms_and_three_shapes_but_no_private_one(self) -> None:
        subject = _with(_lent(), columns={"income": Column(name="income", kind="number", private=True)})
        charts = _run(subject).charts
        assert charts[0].title == "What the glass box adds up"
        assert len(charts) == 4
        assert "Income" not in [chart.title for chart in charts]
        assert "income" in [bar["name"] for bar in charts[0].spec["data"]["values"]]
        assert all(len(chart.spec["data"]["values"]) <= 100 for chart in charts)
        assert len(_run(subjects.classification(60, names=("a", "b", "c"))).charts) == 1, "a curve per class"

    def test_labels_that_are_missing_or_unknown_are_left_out(self) -> None:
        subject = subjects.regression(60)
        assert subject.train is not None
        labels = subject.train.actual.copy()
        labels[:100] = np.nan
        made = rival.train(_with(subject, train=dataclasses.replace(subject.train, actual=labels)), 1000)
        assert made is not None
        assert made.rows == 300
        rated = subjects.classification(60)
        assert rated.train is not None
        strange = rated.train.actual.copy()
        strange[:50] = "never seen"
        other = rival.train(_with(rated, train=dataclasses.replace(rated.train, actual=strange)), 1000)
        assert other is not None
        assert other.rows == 350


class TestSkipping:
    def test_without_training_rows_there_is_no_rival(self) -> None:
        subject = subjects.regression(60)
        assert subject.train is not None
        few = Training(
            frame=subject.train.frame.head(49), inputs=subject.train.inputs.head(49), actual=subject.train.actual[:49]
        )
        for changes, said in (
            ({"train": None}, "not known"),
            ({"inputs": None}, "not known"),
            ({"train": few}, "49 rows are too few"),
        ):
            answer = Glassbox().run(_with(subject, **changes))
            assert isinstance(answer, Skipped)
            assert said in answer.reason

    def test_one_class_or_no_difference_is_nothing_to_learn_from(self) -> None:
        subject = subjects.classification(60)
        assert subject.train is not None
        alike = dataclasses.replace(subject.train, actual=np.array(["no"] * 400, dtype=object))
        flat = dataclasses.replace(subject.train, inputs=subject.train.inputs * 0.0)
        for train in (alike, flat):
            answer = Glassbox().run(_with(subject, train=train))
            assert isinstance(answer, Skipped)
            assert "one class" in answer.reason

    def test_without_the_library_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "interpret.glassbox", None)
        answer = Glassbox().run(subjects.regression(60))
        assert isinstance(answer, Skipped)
        assert "fullcircle[explain]" in answer.reason
        with pytest.raises(MissingExtra) as caught:
            rival.train(subjects.regression(60), 100)
        assert caught.value.next_step == 'pip install "fullcircle[explain]"'
