"""Rows in, predictions out: in order, alone or together the same, and no row hurts another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from fullcircle.runtimes.contracts import rows_of, to_frame
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract, Value
from fullcircle.types.prediction import Prediction

NUMBER = Column(name="x", kind="number", low=-100.0, high=100.0, missing="impute", fill=0.5, wrong_type="fallback")
COUNT = Column(name="n", kind="integer", outside="reject", low=0, high=9, missing="flag")
CITY = Column(name="city", kind="category", categories=("Lima", "Oslo", "Pune"), nullable=True)
COLUMNS = (NUMBER, COUNT, CITY)
REGRESSION = Contract(columns=COLUMNS, label="y", task="regression", prior=7.0)
CLASSES = Contract(columns=COLUMNS, label="y", task="classification", classes=("no", "yes"), prior="no")
GOOD: dict[str, Value] = {"x": 1.0, "n": 2, "city": "Oslo"}


@cache
def training() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    rows: list[dict[str, Value]] = [
        {"x": float(x), "n": int(n), "city": str(city)}
        for x, n, city in zip(
            generator.normal(size=300),
            generator.integers(0, 10, 300),
            generator.choice(CITY.categories, 300),
            strict=True,
        )
    ]
    return to_frame(REGRESSION, rows)


@cache
def regressor() -> Any:
    frame = training()
    label = frame["x"] * 3.0 + frame["n"] + frame["city"].cat.codes
    return HistGradientBoostingRegressor(max_iter=20, categorical_features="from_dtype", random_state=0).fit(
        frame, label
    )


@cache
def classifier() -> Any:
    label = np.where(training()["x"] > 0, "yes", "no")
    return HistGradientBoostingClassifier(max_iter=10, categorical_features="from_dtype", random_state=0).fit(
        training(), label
    )


@cache
def forest() -> Any:
    contract = Contract(columns=(NUMBER,), label="y", task="regression", prior=7.0)
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=200)})
    return Scorer(contract, RandomForestRegressor(20, random_state=0).fit(frame, frame["x"] ** 2))


VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.floats(-150, 150), st.integers(-20, 20), st.text(max_size=3)
)
ROWS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "x": st.floats(-90, 90),
                "n": st.integers(0, 9),
                "city": st.sampled_from(["Lima", "Oslo", "Quito", None]),
            }
        ),
        st.dictionaries(st.sampled_from(["x", "n", "city", "more"]), VALUES),
        VALUES,
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(ROWS)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_batch_answers_as_its_rows_do_alone(task: str, rows: list[Any]) -> None:
    """The same bits, the same verdicts, whatever stands beside a row."""
    scorer = Scorer(REGRESSION, regressor()) if task == "regression" else Scorer(CLASSES, classifier())
    together = scorer.score(rows)
    assert together == tuple(scorer.score([row])[0] for row in rows)
    for prediction in together:
        answered = prediction.verdict.status not in ("rejected", "fallback")
        assert (prediction.inputs is not None) == answered
        assert (prediction.value is None) == (prediction.verdict.status == "rejected")
        assert msgspec.json.decode(msgspec.json.encode(prediction), type=Prediction) == prediction


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_a_forest_answers_a_batch_as_its_rows_alone(numbers: list[float]) -> None:
    rows = [{"x": number} for number in numbers]
    scorer = forest()
    assert scorer.score(rows) == tuple(scorer.score([row])[0] for row in rows)
    assert scorer.score(rows[::-1]) == scorer.score(rows)[::-1]


def test_the_model_sees_what_the_prediction_says() -> None:
    rows = [GOOD, {"n": 1, "city": "Quito"}, {**GOOD, "x": 500.0}, {**GOOD, "n": None}]
    predictions = Scorer(REGRESSION, regressor()).score(rows)
    assert [each.verdict.status for each in predictions] == ["ok", "flagged", "flagged", "flagged"]
    assert [dict(each.inputs or {}) for each in predictions] == [
        {"x": 1.0, "n": 2, "city": "Oslo"},
        {"x": 0.5, "n": 1, "city": None},
        {"x": 500.0, "n": 2, "city": "Oslo"},
        {"x": 1.0, "n": None, "city": "Oslo"},
    ]
    frame = to_frame(REGRESSION, [dict(each.inputs or {}) for each in predictions])
    assert [each.value for each in predictions] == regressor().predict(frame).tolist()


def test_fallback_and_rejection() -> None:
    for scorer, prior in ((Scorer(REGRESSION, regressor()), 7.0), (Scorer(CLASSES, classifier()), "no")):
        fallback, rejected, good = scorer.score([{**GOOD, "x": "far"}, {**GOOD, "n": 99}, GOOD])
        assert (fallback.value, fallback.verdict.status, fallback.probabilities) == (prior, "fallback", None)
        assert (rejected.value, rejected.verdict.status) == (None, "rejected")
        assert good.verdict.status == "ok"


def test_classes_and_their_probabilities() -> None:
    scorer = Scorer(CLASSES, classifier(), name="m", version=3, bundle="b")
    (found,) = scorer.score([GOOD])
    frame = to_frame(CLASSES, [GOOD])
    assert found.value == classifier().predict(frame)[0]
    assert dict(found.probabilities or {}) == dict(
        zip(("no", "yes"), classifier().predict_proba(frame)[0], strict=True)
    )
    assert type(found.value) is str
    assert (found.model, found.version, found.bundle) == ("m", 3, "b")


def test_frames_are_answered_through_the_contract() -> None:
    frame = pd.DataFrame({"city": ["Oslo", "Lima"], "x": [1.0, 2.0], "n": [3, 99], "label": [0, 1]})
    scorer = Scorer(REGRESSION, regressor())
    found = scorer.predict(frame)
    assert found.dtype == np.float64
    assert found[0] == scorer.score(rows_of(frame, REGRESSION))[0].value
    assert math.isnan(found[1])
    assert scorer.predict_proba(frame) is None
    chooser = Scorer(CLASSES, classifier())
    assert chooser.predict(frame)[1] is None
    assert chooser.predict(frame.head(1)).dtype.kind == "U"
    table = chooser.predict_proba(frame)
    assert table is not None
    assert table.shape == (2, 2)
    assert table[0].sum() == pytest.approx(1.0)
    assert np.isnan(table[1]).all()
    assert scorer.predict(frame.head(0)).shape == (0,)
    empty = chooser.predict_proba(frame.head(0))
    assert empty is not None
    assert empty.shape == (0, 2)


class Touchy:
    """Raises or answers badly when a marked row is among those it is asked about."""

    def __init__(self, bad: str) -> None:
        self.bad = bad
        self.calls = 0

    def predict(self, X: pd.DataFrame) -> Any:
        self.calls += 1
        marked = (X["x"] == 13.0).to_numpy()
        answers = X["x"].to_numpy() * 2.0
        if marked.any():
            if self.bad == "raises":
                raise KeyError("the secret value")
            if self.bad == "short":
                return answers[:-1]
            if self.bad == "text":
                return np.array(["a"] * len(X))
            answers[marked] = {"nan": math.nan, "infinite": math.inf}[self.bad]
        return answers.reshape(-1, 1) if self.calls % 2 else answers


PLAIN = Contract(columns=(Column(name="x", kind="number"),), label="y", task="regression")


@pytest.mark.parametrize("bad", ["raises", "short", "text", "nan", "infinite"])
def test_a_row_the_model_fails_on_is_rejected_alone(bad: str) -> None:
    values = [1.0, 13.0, *(float(number) for number in range(20, 120)), 13.0]
    model = Touchy(bad)
    found = Scorer(PLAIN, model).score([{"x": value} for value in values])
    for value, prediction in zip(values, found, strict=True):
        if value == 13.0:
            assert prediction.verdict.status == "rejected"
            assert prediction.value is None
            assert prediction.inputs is None
            assert [problem.reason for problem in prediction.verdict.problems] == ["model"]
            assert "secret" not in prediction.verdict.problems[0].text
        else:
            assert (prediction.value, prediction.verdict.status) == (value * 2.0, "ok")
    assert model.calls < 40


class Odd:
    """A classifier whose answers do not fit its contract."""

    def __init__(self, labels: Sequence[Any], chances: Any) -> None:
        self.labels, self.chances = labels, chances

    def predict(self, X: pd.DataFrame) -> Any:
        return np.array(list(self.labels) * len(X))

    def predict_proba(self, X: pd.DataFrame) -> Any:
        return np.array([self.chances] * len(X))


@pytest.mark.parametrize(
    ("labels", "chances"),
    [(["maybe"], [0.5, 0.5]), (["yes"], [0.2, 0.3, 0.5]), (["yes"], [math.nan, 1.0]), (["yes", "no"], [0.5, 0.5])],
)
def test_answers_that_do_not_fit_the_contract_are_rejections(labels: list[str], chances: list[float]) -> None:
    contract = Contract(columns=PLAIN.columns, label="y", task="classification", classes=("no", "yes"))
    for prediction in Scorer(contract, Odd(labels, chances)).score([{"x": 1.0}, {"x": 2.0}]):
        assert prediction.verdict.status == "rejected"


def test_an_interruption_is_not_swallowed() -> None:
    class Interrupted:
        def predict(self, X: pd.DataFrame) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Scorer(PLAIN, Interrupted()).score([{"x": 1.0}])


def test_a_model_is_asked_once_for_a_good_batch_and_never_for_none() -> None:
    model = Touchy("raises")
    scorer = Scorer(PLAIN, model)
    scorer.score([{"x": 1.0}, {"x": 2.0}, {"x": "bad"}])
    assert model.calls == 1
    scorer.score([])
    scorer.score([{"x": "bad"}, {}, 5])
    assert model.calls == 1
