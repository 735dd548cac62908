"""Importance: what each column is worth, by shuffling and by Shapley values, and reasons for a few rows."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression

import subjects
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.importance import Importance
from fullcircle.evaluation.explanation import reasons, shapley
from fullcircle.evaluation.explanation.shuffling import shuffled
from fullcircle.types.contract import Column
from fullcircle.types.gates import Gate, at_least, at_most
from fullcircle.types.report import Finding, Measure


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _run(subject: Subject) -> Finding:
    answer = Importance().run(subject)
    assert isinstance(answer, Finding)
    return answer


def _of(finding: Finding, name: str) -> dict[str, Measure]:
    return {measure.group: measure for measure in finding.measures if measure.name == name}


def _wide(columns: int, rows: int = 250) -> Subject:
    """Columns of noise beside the one that counts, and a model that adds a little of each."""
    subject = subjects.regression(rows)
    extra = {f"x{number}": np.random.default_rng(number).normal(size=rows) for number in range(columns - 2)}
    inputs = pd.concat([subject.inputs, pd.DataFrame(extra)], axis=1)
    return _with(
        subject,
        inputs=inputs,
        features=tuple(inputs.columns),
        train=None,
        predict=lambda asked: 3.0 * asked["signal"].to_numpy() + 0.01 * asked.to_numpy().sum(axis=1),
    )


class TestShuffling:
    def test_one_row_cannot_be_shuffled_and_an_unknown_model_cannot_be_asked(self) -> None:
        answer = Importance().run(subjects.regression(1))
        assert isinstance(answer, Skipped)
        assert isinstance(Importance().run(subjects.regression(2)), Finding)
        for changes in ({"predict": None}, {"inputs": None}):
            assert isinstance(Importance().run(_with(subjects.regression(40), **changes)), Skipped)

    def test_without_probabilities_accuracy_is_asked(self) -> None:
        subject = subjects.classification(60, gates=[at_most("log_loss", 9.0)])
        assert "makes log_loss worse" in _run(subject).text
        for changes in ({"probabilities": None}, {"predict_probabilities": None}):
            finding = _run(_with(subject, **changes))
            assert "makes accuracy worse" in finding.text
            assert "the model gives no probabilities to explain" in finding.text

    def test_a_slow_model_is_shuffled_less_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = _with(subjects.regression(60), train=None)
        assert "5 shuffles a column" in _run(subject).text
        # A clock by which every answer takes six seconds: two columns, fifteen seconds, one round.
        ticks = itertools.count(0, 6)
        monkeypatch.setattr("fullcircle.evaluation.explanation.shuffling.time.perf_counter", lambda: next(ticks))
        slow = _run(subject)
        assert "1 shuffle a column" in slow.text
        assert slow.text.endswith("The table gives reasons for the row with the lowest answer.")
        assert "over 2 rows)." in slow.text, "twelve seconds for Shapley values"

    def test_most_needed_columns_come_first(self) -> None:
        finding = _run(subjects.regression(80))
        for name in ("importance", "shap_importance"):
            found = _of(finding, name)
            assert list(found) == ["signal", "noise"]
            assert {measure.unit for measure in found.values()} == {"y"}
            assert (found["signal"].value or 0.0) > 1.0 > abs(found["noise"].value or 0.0)

    def test_it_is_scikit_learns_importance(self) -> None:
        subject = subjects.regression(400)
        found = _of(_run(subject), "importance")
        assert subject.train is not None
        model = LinearRegression().fit(subject.train.inputs, subject.train.actual)
        theirs = permutation_importance(
            model, subject.inputs, subject.actual, scoring="neg_mean_absolute_error", n_repeats=30, random_state=0
        )
        for place, name in enumerate(subject.features):
            assert found[name].value == pytest.approx(theirs.importances_mean[place], rel=0.05, abs=0.005)

    @pytest.mark.parametrize(("metric", "gate"), [("mae", at_most), ("rmse", at_most), ("r2", at_least)])
    def test_the_interval_covers_what_more_rows_would_give(self, metric: str, gate: Any) -> None:
        gates = (gate(metric, 0.0),)
        at = pd.DataFrame({"signal": [0.0, 1.0], "noise": [0.0, 0.0]})
        subject = _plain(150, 0, gates)
        assert subject.predict is not None
        weight = float(np.diff(subject.predict(at))[0])
        # The label is 3 signal + error, all of unit variance: so are the errors' variances known.
        kept, lost = (3.0 - weight) ** 2 + 1.0, 9.0 + weight**2 + 1.0
        scale, power = {"mae": (np.sqrt(2 / np.pi), 0.5), "rmse": (1.0, 0.5), "r2": (0.1, 1.0)}[metric]
        truth = scale * (lost**power - kept**power)
        inside = 0
        for seed in range(60):
            (found,) = (each for each in shuffled(_plain(150, seed, gates)).measures if each.group == "signal")
            assert found.low is not None
            assert found.high is not None
            inside += found.low <= truth <= found.high
        assert inside >= 52, "57 of 60, less three standard errors"

    def test_weights_count_and_rows_of_weight_zero_do_not(self) -> None:
        subject = subjects.regression(200)
        weights = np.where(np.arange(200) < 100, 1.0, 0.0)
        strange = np.where(weights > 0, subject.actual, 1e6)
        found = _run(_with(subject, actual=strange, weights=weights))
        assert {measure.n for measure in found.measures} == {100}
        assert all((measure.value or 0.0) < 100.0 for measure in found.measures)
        even = _run(_with(subject, weights=np.full(200, 7.0)))
        plain = _run(subject)
        for one, other in zip(even.measures, plain.measures, strict=True):
            assert one.value == pytest.approx(other.value)
            assert one.low == pytest.approx(other.low)

    def test_a_column_that_is_not_used_is_worth_nothing_at_all(self) -> None:
        subject = subjects.regression(100)
        found = _run(_with(subject, predict=lambda asked: 3.0 * asked["signal"].to_numpy()))
        for name in ("importance", "shap_importance"):
            noise = _of(found, name)["noise"]
            assert (noise.value, noise.low, noise.high) == (0.0, 0.0, 0.0)

    def test_a_metric_that_is_not_defined_has_no_figure(self) -> None:
        subject = _with(subjects.regression(50, gates=(at_least("r2", 0.5),)), actual=np.ones(50))
        found = _of(_run(subject), "importance")
        assert all(measure.value is None and measure.method for measure in found.values())


def _plain(rows: int, seed: int, gates: tuple[Gate, ...]) -> Subject:
    """Rows drawn anew for one and the same model."""
    subject = subjects.regression(rows, gates=gates)
    frame = pd.DataFrame(np.random.default_rng(seed + 500).normal(size=(rows, 2)), columns=["signal", "noise"])
    actual = 3.0 * frame["signal"].to_numpy() + np.random.default_rng(seed + 90_000).normal(size=rows)
    return _with(subject, frame=frame, inputs=frame, actual=actual)


class TestShapley:
    def test_values_of_a_linear_model_are_known(self) -> None:
        subject = subjects.regression(150)
        assert subject.train is not None
        model = LinearRegression().fit(subject.train.inputs, subject.train.actual)
        usual = shapley.background(subject.train.inputs, subject.seed).mean()
        for name, measure in _of(_run(subject), "shap_importance").items():
            weight = float(model.coef_[list(subject.features).index(name)])
            assert subject.inputs is not None
            expected = np.mean(np.abs(weight * (subject.inputs[name] - usual[name])))
            assert measure.value == pytest.approx(expected)
            assert measure.n == 150
            assert measure.low is not None
            assert measure.low <= expected

    def test_probabilities_are_moved_in_shares(self) -> None:
        found = _of(_run(subjects.classification(60, names=("a", "b", "c"))), "shap_importance")
        assert {measure.unit for measure in found.values()} == {"probability"}
        assert all(0.0 <= (measure.value or 0.0) <= 1.0 for measure in found.values())

    def test_without_the_library_shuffling_is_given_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "shap", None)
        finding = _run(subjects.regression(60))
        assert "fullcircle[explain]" in finding.text
        assert not _of(finding, "shap_importance")
        assert set(_of(finding, "importance")) == {"signal", "noise"}
        assert len(finding.charts) == 1
        assert finding.table == ()

    def test_of_wide_tables_the_most_needed_columns_are_told_apart(self) -> None:
        finding = _run(_wide(90))
        needed, moved = _of(finding, "importance"), _of(finding, "shap_importance")
        assert len(needed) == 90
        assert next(iter(needed.values())).n == 222
        assert set(moved) == {*list(needed)[:30], shapley.OTHERS}
        assert next(iter(moved)) == "signal"
        assert "30 columns told apart" in finding.text
        assert len(finding.charts[0].spec["data"]["values"]) == 25

    def test_charts_are_small_and_show_order(self) -> None:
        charts = _run(_wide(12)).charts
        assert [chart.title for chart in charts] == [
            "Importance of columns",
            "Mean size of Shapley values",
            "Shapley values by row",
        ]
        dots = charts[2].spec["data"]["values"]
        assert len(dots) <= 400
        assert len({dot["name"] for dot in dots}) == 8
        ranked = sorted((dot for dot in dots if dot["name"] == "signal"), key=lambda dot: dot["rank"])
        moved = [dot["x"] for dot in ranked]
        assert moved == sorted(moved), "the larger the signal, the larger the answer"

    def test_values_without_an_order_have_no_rank(self) -> None:
        subject = subjects.regression(40)
        frame = subject.frame.assign(kind=pd.Categorical(np.where(np.arange(40) % 2, "a", "b")), gone=np.nan)
        inputs = frame[["signal", "kind", "gone"]]
        found = _run(
            _with(subject, frame=frame, inputs=inputs, train=None, predict=lambda asked: asked["signal"].to_numpy())
        )
        dots = found.charts[2].spec["data"]["values"]
        assert {dot["rank"] for dot in dots if dot["name"] in ("kind", "gone")} == {None}
        assert None not in {dot["rank"] for dot in dots if dot["name"] == "signal"}


class TestReasons:
    def test_the_rows_are_the_extremes_the_middle_and_the_most_wrong(self) -> None:
        subject = subjects.regression(61)
        actual = subject.actual.copy()
        actual[17] += 50.0
        table = _run(_with(subject, actual=actual)).table
        order = np.argsort(subject.predicted)
        assert [row["row"] for row in table] == [
            f"lowest answer (row {order[0] + 1})",
            f"highest answer (row {order[-1] + 1})",
            f"median answer (row {order[30] + 1})",
            "most wrong answer (row 18)",
        ]
        assert all(list(row) == ["row", "answer", "actual", *(f"reason {n}" for n in range(1, 5))] for row in table)
        assert "lowers the answer" in table[0]["reason 1"]
        assert "raises the answer" in table[1]["reason 1"]

    def test_they_are_the_sentences_that_why_gives(self) -> None:
        subject = subjects.classification(60)
        table = _run(subject).table
        assert subject.train is not None
        assert subject.inputs is not None
        assert subject.predict_probabilities is not None
        position = int(table[0]["row"].split("(row ")[1].rstrip(")")) - 1
        explanation = shapley.explain(
            subject.predict_probabilities,
            shapley.background(subject.train.inputs, subject.seed),
            subject.inputs.iloc[[position]],
            seed=subject.seed,
        )
        about = reasons.Answer(task="classification", classes=subject.classes)
        row = subject.frame.iloc[position].to_dict()
        assert table[0]["reason 1"] == reasons.reasons(explanation, 0, row, {}, about)[0]

    def test_the_most_wrong_class_is_the_one_held_least_likely(self) -> None:
        subject = subjects.classification(60, names=("a", "b", "c"))
        assert subject.probabilities is not None
        given = [
            row[subject.classes.index(true)] for row, true in zip(subject.probabilities, subject.actual, strict=True)
        ]
        wrong = [row["row"] for row in _run(subject).table if "most wrong" in row["row"]]
        assert wrong == [f"most wrong answer (row {int(np.argmin(given)) + 1})"]

    def test_words_of_the_contract_are_used_and_private_values_are_not(self) -> None:
        columns = {
            "signal": Column(name="signal", kind="number", label="strength", unit="dB"),
            "noise": Column(name="noise", kind="number", private=True),
        }
        subject = subjects.regression(60)
        frame = subject.frame.copy()
        frame.loc[int(np.argmax(subject.predicted)), "signal"] = np.nan
        told = _with(
            subject,
            columns=columns,
            frame=frame,
            unit="V",
            predict=lambda asked: asked.to_numpy() @ np.array([3.0, 3.0]),
        )
        table = _run(told).table
        text = " ".join(str(value) for row in table for value in row.values())
        assert "Strength of " in text
        assert " dB " in text
        assert " V " in text
        assert "Noise raises" in text or "Noise lowers" in text
        assert "Noise (" not in text
        assert "Strength is not given, which raises" in table[1]["reason 1"], "what was filled in was not given"
