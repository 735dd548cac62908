"""Wrong inputs are spoiled one way at a time, what the contract makes of them is told, and wrong units are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import subjects
from fullcircle.development import contract as contracts
from fullcircle.evaluation.check import Skipped, Subject, Training
from fullcircle.evaluation.checks.robustness import Robustness
from fullcircle.evaluation.metrics import trivial
from fullcircle.evaluation.robustness import asking, perturbing
from fullcircle.runtimes.contracts import examine, rows_of, to_frame
from fullcircle.runtimes.scorer import Scorer
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.contract import Contract
from fullcircle.types.gates import worth
from fullcircle.types.project import Inputs
from fullcircle.types.report import Finding, Measure

FEATURES = ("bmi", "age", "sex", "smokes")


class TestPromise(CheckSuite):
    @pytest.fixture
    def check(self) -> Robustness:
        return Robustness()


def found(subject: Subject) -> Finding:
    answer = Robustness().run(subject)
    assert isinstance(answer, Finding)
    return answer


def measure(finding: Finding, name: str) -> Measure:
    return next(each for each in finding.measures if each.name == name)


def row(finding: Finding, column: str, spoiled: str) -> Mapping[str, Any]:
    return next(each for each in finding.table if (each["column"], each["input"]) == (column, spoiled))


def people(rows: int, seed: int) -> pd.DataFrame:
    g = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "bmi": g.normal(25.0, 3.0, rows),
            "age": g.integers(20, 80, rows),
            "sex": g.choice(["f", "m"], rows),
            "smokes": g.random(rows) < 0.3,
        }
    )
    return frame.assign(y=2 * frame["bmi"] + 0.1 * frame["age"] + 3 * (frame["sex"] == "m") + g.normal(size=rows))


class Model:
    """A linear model of the columns as numbers; what is missing counts as zero, unless it is told to refuse it."""

    def __init__(self, model: Any, X: Any, y: Any, *, brittle: str = "", shaky: float = 0.0) -> None:
        self.brittle, self.shaky = brittle, shaky
        self.model = model.fit(self.numbers(X), y)
        self.classes_ = getattr(self.model, "classes_", None)

    def numbers(self, X: Any) -> Any:
        if self.brittle == "raises" and X["bmi"].isna().any():
            raise ValueError("no bmi")
        table = X.assign(sex=X["sex"].astype(object) == "m").astype(float)
        return table[list(FEATURES)].fillna(0.0).to_numpy()

    def predict(self, X: Any) -> Any:
        numbers = self.numbers(X)
        answers = self.model.predict(numbers)
        if self.brittle == "nan":
            return np.where(X["bmi"].isna(), np.nan, answers)
        if self.shaky:
            return answers + self.shaky * np.sin(1e6 * numbers[:, 0])
        return answers


class Probable(Model):
    def predict_proba(self, X: Any) -> Any:
        return self.model.predict_proba(self.numbers(X))


def served(
    *,
    classes: int = 0,
    policies: Mapping[str, Any] | None = None,
    spoil: Callable[[Any], Any] = lambda frame: frame,
    rows: tuple[int, int] = (400, 200),
    **options: Any,
) -> Subject:
    """A model with its contract, on test rows that may be spoiled before."""
    train, test = people(rows[0], 1), spoil(people(rows[1], 2))
    if classes:
        names = np.array([f"c{i}" for i in range(classes)], dtype=object)
        edges = np.quantile(train["y"], np.linspace(0, 1, classes + 1)[1:-1])
        train, test = (each.assign(y=names[np.searchsorted(edges, each["y"])]) for each in (train, test))
    task: Any = "classification" if classes else "regression"
    inputs = Inputs(columns=policies or {})
    contract = contracts.learn(train, features=FEATURES, label="y", task=task, inputs=inputs)
    X = seen(contract, train)
    kind = Probable if classes else Model
    model = kind(
        LogisticRegression(max_iter=500) if classes else LinearRegression(), X, train["y"].to_numpy(), **options
    )
    scorer = Scorer(contract, model)
    answers = scorer.score(rows_of(test, contract))
    baseline, shares = trivial(train["y"].to_numpy(), len(test), task=task, classes=contract.classes)
    return Subject(
        model="people",
        task=task,
        classes=contract.classes,
        actual=test["y"].to_numpy(),
        predicted=scorer.values(answers),
        probabilities=scorer.probabilities(answers),
        baseline=baseline,
        baseline_probabilities=shares,
        frame=test,
        features=FEATURES,
        inputs=seen(contract, test),
        columns={column.name: column for column in contract.columns},
        predict=model.predict,
        predict_probabilities=getattr(model, "predict_proba", None),
        judge=lambda frame: scorer.score(rows_of(frame, contract)),
        train=Training(frame=train, inputs=X, actual=train["y"].to_numpy()),
        label="y",
        unit="points",
    )


def seen(contract: Contract, frame: Any) -> Any:
    return to_frame(contract, [examine(contract, each)[1] for each in rows_of(frame, contract)])


# --- what the contract catches ------------------------------------------------------------------------


def test_it_tells_what_becomes_of_wrong_inputs() -> None:
    finding = found(served())
    assert finding.severity == "info"
    assert "A missing value is rejected in all rows" in finding.text
    assert "a category never seen is answered with a remark in all rows" in finding.text
    assert "The answer moves most with bmi (100 times too large), by 4" in finding.text
    assert finding.text.endswith("points.")
    missing = row(finding, "sex", "missing")
    assert (missing["rejected"], missing["told"], missing["silent"]) == (1.0, 0.0, 0.0)
    assert missing["mean_change"] is None
    text = row(finding, "bmi", "text for a number")
    assert text["rejected"] == 1.0
    large = row(finding, "bmi", "10 times too large")
    # The law is 2 a unit of bmi, of which there are 25 on average.
    assert large["mean_change"] == pytest.approx(9 * 25 * 2, rel=0.05)
    assert large["told"] == 1.0
    assert large["change_95"] > large["mean_change"]
    unseen = row(finding, "sex", "unseen category")
    assert unseen["mean_change"] == pytest.approx(1.5, rel=0.3)
    assert unseen["classes_changed"] is None


def test_policies_of_columns_are_followed() -> None:
    policies = {"bmi": {"missing": "impute", "outside": "reject"}, "sex": {"unseen": "fallback"}}
    finding = found(served(policies=policies))
    assert row(finding, "bmi", "missing")["told"] == 1.0
    # The median instead of each: the mean absolute deviation of a normal law, times 2 a unit.
    assert row(finding, "bmi", "missing")["mean_change"] == pytest.approx(2 * 3 * 0.8, rel=0.15)
    assert row(finding, "bmi", "10 times too large")["rejected"] == 1.0
    assert row(finding, "sex", "unseen category")["told"] == 1.0
    assert row(finding, "age", "missing")["rejected"] == 1.0


def test_a_value_that_is_unusual_but_possible_passes_and_is_counted() -> None:
    """With a wide range declared, ten times too large passes with nothing said; a hundred times does not."""
    finding = found(served(policies={"bmi": {"high": 1000}, "age": {"high": 3000}}))
    assert row(finding, "bmi", "10 times too large")["silent"] == 1.0
    assert row(finding, "bmi", "100 times too large")["told"] == 1.0
    silent = measure(finding, "silent_unit_errors")
    assert silent.value == 1.0
    assert silent.low is not None
    assert silent.low > 0.95
    assert "a value ten times too large passes with nothing said in all rows" in finding.text


def test_the_share_of_silent_errors_has_an_interval_over_rows() -> None:
    subject = served(policies={"age": {"high": 500}})
    finding = found(subject)
    silent = measure(finding, "silent_unit_errors")
    # Only ages up to 50 become less than 500, and only one of two numbers can be silent.
    assert silent.value == pytest.approx((subject.frame["age"] <= 50).mean() / 2)
    assert silent.value is not None
    assert silent.low is not None
    assert silent.high is not None
    assert silent.value - 0.05 < silent.low < silent.value < silent.high < silent.value + 0.05
    assert row(finding, "bmi", "10 times too large")["silent"] == 0.0


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_told_by_probability_and_by_share_changed(classes: int) -> None:
    finding = found(served(classes=classes))
    assert finding.severity == "info"
    large = row(finding, "bmi", "10 times too large")
    assert 0.2 < large["mean_change"] <= 1.0
    assert 0.2 < large["classes_changed"] < 0.9
    assert measure(finding, "noise_change").unit == "probability"
    assert "The probability moves most with bmi" in finding.text


def test_without_probabilities_the_share_of_other_classes_is_the_change() -> None:
    subject = replace(served(classes=2), probabilities=None, predict_probabilities=None, judge=None)
    finding = found(subject)
    large = row(finding, "bmi", "10 times too large")
    assert large["mean_change"] == large["classes_changed"]
    assert measure(finding, "noise_change").unit == "share"


def by_place(rows: int) -> Callable[[Any, Any], Any]:
    """A worth that knows rows by their place, as the size of each loan, and refuses any other number of rows."""
    sizes = np.linspace(1.0, 2.0, rows)
    return lambda actual, said: -sizes * np.abs(actual - said)


def test_a_worth_that_knows_rows_by_their_place_is_asked_about_all_of_them() -> None:
    subject = served(rows=(400, 600))
    finding = found(replace(subject, gates=(worth(by_place(600)),)))
    cost = row(finding, "bmi", "10 times too large")["value_change"]
    # Ten times a bmi of about 25 moves the answer by about 450; loans are of 1 to 2.
    assert -900.0 < cost < -450.0
    assert "worth gate raised" not in finding.text
    plain = found(replace(subject, gates=(worth(lambda actual, said: -np.abs(actual - said)),)))
    assert row(plain, "bmi", "10 times too large")["value_change"] == pytest.approx(cost / 1.5, rel=0.1)


@pytest.mark.parametrize(
    "broken",
    [
        lambda actual, said: np.zeros(len(actual))[:, None],
        lambda actual, said: np.ones(7) * actual,
        lambda actual, said: np.where(np.abs(said) > 150.0, np.nan, 1.0),
    ],
)
def test_a_worth_that_cannot_tell_leaves_the_value_out_and_says_so(broken: Any) -> None:
    finding = found(replace(served(), gates=(worth(broken),)))
    assert finding.severity == "info"
    assert "What wrong answers would cost is not known, as the worth gate raised " in finding.text
    assert row(finding, "bmi", "100 times too large")["value_change"] is None
    assert row(finding, "bmi", "10 times too large")["mean_change"] > 100.0


def test_a_worth_gate_tells_what_wrong_inputs_cost() -> None:
    subject = replace(served(), gates=(worth(lambda actual, said: -abs(actual - said)),))
    finding = found(subject)
    cost = row(finding, "bmi", "10 times too large")["value_change"]
    assert cost == pytest.approx(-9 * 25 * 2, rel=0.05)
    assert row(finding, "sex", "missing")["value_change"] is None
    table = {("c0", "c1"): -5.0, ("c1", "c0"): -1.0}
    finding = found(replace(served(classes=2), gates=(worth(matrix=table),)))
    assert row(finding, "bmi", "10 times too large")["value_change"] < 0.0


def test_values_of_private_columns_are_nowhere() -> None:
    hidden = {"bmi": {"private": True}, "age": {"private": True}}
    finding = found(served(policies=hidden, spoil=lambda frame: frame.assign(bmi=frame["bmi"] * 10)))
    shown = f"{finding.text} {finding.table}"
    for value in people(200, 2)["bmi"].head(20):
        assert f"{value * 10:.3f}"[:6] not in shown


# --- without a contract -------------------------------------------------------------------------------


def test_without_a_contract_the_model_alone_is_asked() -> None:
    finding = found(replace(served(), judge=None))
    assert finding.severity == "info"
    assert "A missing value is answered in all rows" in finding.text
    silent = measure(finding, "silent_unit_errors")
    assert silent.value is None
    assert "contract" in silent.method
    assert not [each for each in finding.table if each["input"] == "text for a number"]


def test_a_model_without_a_contract_that_raises_is_told() -> None:
    finding = found(replace(served(brittle="raises"), judge=None))
    assert row(finding, "bmi", "missing")["failed"] == 1.0
    assert "makes the model fail in" in finding.text
    assert finding.severity == "info"


def test_without_a_model_it_is_skipped() -> None:
    for gone in ({"predict": None}, {"inputs": None}):
        answer = Robustness().run(replace(subjects.regression(), **gone))  # type: ignore[arg-type]
        assert isinstance(answer, Skipped)
        assert "model" in answer.reason


# --- faults -------------------------------------------------------------------------------------------


def test_another_unit_in_the_test_rows_is_found() -> None:
    finding = found(served(spoil=lambda frame: frame.assign(bmi=frame["bmi"] * 10)))
    assert finding.severity == "bad"
    assert finding.text.startswith("The column bmi looks multiplied by 10 in all of the test rows.")


def test_another_unit_in_a_part_of_the_test_rows_is_found() -> None:
    def spoil(frame: Any) -> Any:
        wrong = np.arange(len(frame)) % 8 == 0
        return frame.assign(bmi=np.where(wrong, frame["bmi"] / 10, frame["bmi"]))

    finding = found(served(spoil=spoil))
    assert finding.severity == "bad"
    assert "The column bmi looks divided by 10 in about 12 % of the test rows" in finding.text


@pytest.mark.parametrize("brittle", ["raises", "nan"])
def test_a_model_that_cannot_answer_what_the_contract_lets_through_is_found(brittle: str) -> None:
    finding = found(served(policies={"bmi": {"missing": "flag"}}, brittle=brittle))
    assert finding.severity == "warning"
    assert (
        "The model cannot answer when bmi is spoiled (missing), although the contract lets it through" in finding.text
    )
    assert row(finding, "bmi", "missing")["failed"] == 1.0
    # Where the contract rejects it, the model is never asked.
    assert found(served(brittle=brittle)).severity == "info"


def test_a_model_that_noise_moves_far_is_found() -> None:
    finding = found(served(shaky=20.0))
    assert finding.severity == "warning"
    assert "moves the answer by" in finding.text
    assert "far too much" in finding.text
    noise = measure(finding, "noise_change")
    assert noise.value == pytest.approx(20.0 * 0.81, rel=0.2)
    assert noise.unit == "points"


def test_a_classifier_whose_classes_noise_changes_is_found() -> None:
    class Coin:
        def predict(self, X: Any) -> Any:
            return np.where(np.sin(1e6 * X["bmi"].to_numpy()) > 0, "c1", "c0").astype(object)

    subject = served(classes=2)
    coin = Coin()
    finding = found(
        replace(subject, predict=coin.predict, predict_probabilities=None, probabilities=None, judge=None)
    )
    assert finding.severity == "warning"
    assert "% of the predicted classes" in finding.text


# --- clean data and bounds ----------------------------------------------------------------------------


def test_clean_data_of_many_seeds_raises_nothing() -> None:
    for seed in range(15):
        assert found(subjects.regression(seed=seed)).severity == "info"
        assert found(subjects.classification(seed=seed, names=("a", "b", "c"))).severity == "info"


def test_noise_is_one_hundredth_of_the_spread() -> None:
    noise = measure(found(subjects.regression()), "noise_change")
    # 3 a unit, noise of 0.01 standard deviations, mean absolute value of a normal law 0.8.
    assert noise.value == pytest.approx(3 * 0.01 * 0.8, rel=0.25)
    assert noise.value is not None
    assert noise.low is not None
    assert noise.high is not None
    assert noise.low < noise.value < noise.high
    assert noise.n == 200


def test_weights_count_in_the_change_under_noise() -> None:
    subject = subjects.regression()

    def predict(asked: Any) -> Any:
        frame = asked["signal"].to_numpy()
        return np.where(np.arange(len(frame)) % len(subject.actual) < 100, frame, 100 * frame)

    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    subject = replace(subject, predict=predict, judge=None)
    plain, weighted = (measure(found(replace(subject, weights=each)), "noise_change") for each in (None, weights))
    assert plain.value is not None
    assert weighted.value is not None
    assert weighted.value < plain.value / 10
    assert weighted.n == 100


def test_without_numbers_there_is_no_noise() -> None:
    subject = served()
    inputs: Any = subject.inputs
    alone = replace(subject, features=("sex",), inputs=inputs[["sex"]], predict=lambda X: np.ones(len(X)), judge=None)
    noise = measure(found(alone), "noise_change")
    assert noise.value is None
    assert "no feature is a number" in noise.method


def test_many_columns_and_rows_are_judged_in_a_bounded_sample() -> None:
    asked = []
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 60)), columns=[f"c{i}" for i in range(60)])
    subject = subjects.regression(rows=500)
    base = served()

    def judge(frame: Any) -> Any:
        asked.append(len(frame))
        return base.judge(people(len(frame), 3)) if base.judge else ()

    subject = replace(
        subject, frame=wide, inputs=wide, features=tuple(wide), predict=lambda X: X["c0"].to_numpy(), judge=judge
    )
    finding = found(replace(subject, train=None))
    assert "Only 40 of 60 columns were spoiled" in finding.text
    assert sum(asked) * 60 < 120_000
    assert min(asked) >= 10
    assert len(finding.table) == 30


# --- spoiling -----------------------------------------------------------------------------------------


def test_spoiling_touches_one_column_of_a_copy() -> None:
    frame = people(50, 1)
    frame.loc[3, "bmi"] = np.nan
    frame.loc[4, "bmi"] = 0.0
    before = frame.copy(deep=True)
    made = list(perturbing.spoiled(frame, FEATURES, {}, wrong_type=True))
    assert frame.equals(before)
    kinds = {(each.column, each.kind) for each in made}
    numbers = {(name, kind) for name in ("bmi", "age") for kind in ("missing", "times_10", "times_100", "wrong_type")}
    assert kinds == numbers | {("sex", "missing"), ("sex", "unseen"), ("smokes", "missing")}
    for each in made:
        others = [name for name in frame.columns if name != each.column]
        assert each.frame[others].equals(frame[others])
        if each.kind == "missing":
            assert each.frame[each.column].isna().all()
    ten = next(each for each in made if (each.column, each.kind) == ("bmi", "times_10"))
    assert not ten.touched[3]
    assert not ten.touched[4]
    assert ten.touched[5]
    assert made[0].kind == "missing"
    assert made[-1].kind == "wrong_type"


def test_whole_numbers_stay_whole_under_noise() -> None:
    frame = people(2000, 1)
    spread = perturbing.spreads(frame.assign(one=1.0), ("bmi", "age", "one"))
    assert set(spread) == {"bmi", "age"}
    noisy = perturbing.noisy(frame, {"bmi": spread["bmi"], "age": 100.0}, {}, np.random.default_rng(0))
    assert noisy["age"].dtype == frame["age"].dtype
    assert (noisy["age"] != frame["age"]).mean() > 0.3
    assert float((noisy["bmi"] - frame["bmi"]).std()) == pytest.approx(0.03, rel=0.1)


def test_an_answer_of_the_fallback_has_no_probabilities_and_counts_as_another_class_or_not() -> None:
    subject = served(classes=2, policies={"sex": {"unseen": "fallback"}})
    assert subject.judge is not None
    before = asking.through_contract(subject, subject.judge(subject.frame), "")
    after = asking.through_contract(subject, subject.judge(subject.frame.assign(sex="x")), "sex")
    assert set(after.fate) == {asking.TOLD}
    assert set(after.change(before)) == {0.0, 1.0}
    assert np.array_equal(after.change(before) == 1.0, after.switched(before))
