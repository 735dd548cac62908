"""Each way in which a label leaks is found, and honest data raises nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import subjects
from fullcircle.evaluation.check import Skipped, Subject, Training
from fullcircle.evaluation.checks.leakage import Leakage
from fullcircle.evaluation.leakage import overlap
from fullcircle.evaluation.leakage.alone import strengths
from fullcircle.evaluation.leakage.canary import canary
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.contract import Column
from fullcircle.types.report import Finding, Measure


class TestPromise(CheckSuite):
    @pytest.fixture
    def check(self) -> Leakage:
        return Leakage()


def found(subject: Subject) -> Finding:
    answer = Leakage().run(subject)
    assert isinstance(answer, Finding)
    return answer


def measure(finding: Finding, name: str, group: str = "") -> Measure:
    return next(each for each in finding.measures if (each.name, each.group) == (name, group))


def trained(subject: Subject) -> Training:
    assert subject.train is not None
    return subject.train


def without_fit(subject: Subject) -> Subject:
    return replace(subject, train=replace(trained(subject), fit=None))


def with_column(subject: Subject, name: str, train: Any, test: Any) -> Subject:
    """One more feature, in training and test rows; the model that could be trained again is not known."""
    known = trained(subject)
    inputs, asked = known.inputs.assign(**{name: train}), subject.frame.assign(**{name: test})
    features = (*subject.features, name)
    return replace(
        subject,
        features=features,
        frame=asked,
        inputs=asked[list(features)],
        train=Training(frame=known.frame.assign(**{name: train}), inputs=inputs, actual=known.actual),
    )


# --- honest data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [subjects.regression, subjects.classification])
def test_honest_data_is_good_and_says_what_was_looked_at(made: Any) -> None:
    finding = found(made())
    assert finding.severity == "good"
    assert "no column alone tells the label (most: signal" in finding.text.lower()
    assert "no test row equals a training row" in finding.text
    assert "models trained on shuffled labels know nothing" in finding.text
    assert measure(finding, "shared_rows").value == 0.0
    assert [row["answer"] for row in finding.table] == ["no"] * 4
    first = measure(finding, "alone", "signal")
    assert first.value is not None
    assert first.low is not None
    assert first.low < first.value < 0.99


def test_without_training_rows_there_is_nothing_to_ask() -> None:
    answer = Leakage().run(replace(subjects.regression(), train=None))
    assert isinstance(answer, Skipped)
    assert "learned" in answer.reason


def test_honest_data_of_many_seeds_raises_nothing() -> None:
    for seed in range(8):
        subject = without_fit(subjects.classification(seed=seed))
        g = np.random.default_rng(seed)
        coarse = [pd.DataFrame({"a": g.integers(0, 3, n), "b": g.choice(["x", "y"], n)}) for n in (400, 200)]
        train = Training(frame=coarse[0], inputs=coarse[0], actual=trained(subject).actual)
        both = replace(subject, features=("a", "b"), frame=coarse[1], inputs=coarse[1], train=train)
        assert found(subject).severity == "good"
        assert found(both).severity == "good"
        assert measure(found(both), "shared_rows").value == pytest.approx(1.0, abs=0.05)


# --- a column alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [lambda y: y, lambda y: -3 * y + 2, np.exp, lambda y: y**3])
def test_a_copy_of_a_number_is_found_whatever_its_scale(shape: Any) -> None:
    subject = subjects.regression()
    finding = found(with_column(subject, "total", shape(trained(subject).actual), shape(subject.actual)))
    assert finding.severity == "warning"
    assert "The column total alone tells the label almost perfectly (R2 0.99" in finding.text
    assert (measure(finding, "alone", "total").value or 0.0) > 0.99
    assert next(each.group for each in finding.measures if each.name == "alone") == "total"


def test_a_few_far_labels_do_not_hide_a_copy() -> None:
    subject = subjects.regression()
    labels = np.exp(2 * trained(subject).actual)
    subject = with_column(subject, "fee", labels * 0.19, np.exp(2 * subject.actual) * 0.19)
    finding = found(replace(subject, train=replace(trained(subject), actual=labels)))
    assert "fee alone tells the label" in finding.text


@pytest.mark.parametrize("names", [("no", "yes"), ("low", "mid", "top")])
@pytest.mark.parametrize("coded", [True, False])
def test_a_copy_of_a_class_is_found_as_text_and_as_numbers(names: tuple[str, ...], coded: bool) -> None:
    subject = subjects.classification(names=names)
    copies = [trained(subject).actual, subject.actual]
    if coded:
        codes = {name: position for position, name in enumerate(names)}
        g = np.random.default_rng(0)
        copies = [np.array([codes[each] for each in copy]) + g.uniform(0, 0.3, len(copy)) for copy in copies]
    finding = found(with_column(subject, "state", copies[0], copies[1]))
    assert finding.severity == "warning"
    figure = "AUC" if len(names) == 2 else "balanced accuracy"
    assert f"state alone tells the label almost perfectly ({figure}" in finding.text


def test_a_missing_value_that_gives_the_label_away_is_found() -> None:
    subject = subjects.classification()
    g = np.random.default_rng(0)
    told = [
        np.where(each == "yes", np.nan, g.normal(size=len(each)))
        for each in (trained(subject).actual, subject.actual)
    ]
    assert "closed alone tells the label" in found(with_column(subject, "closed", *told)).text


def test_names_of_rows_and_strong_honest_columns_are_no_leak() -> None:
    for seed in range(4):
        subject = subjects.classification(seed=seed)
        g = np.random.default_rng(seed)
        strong = [np.where(each == "yes", 2.3, 0.0) + g.normal(size=len(each)) for each in _labels(subject)]
        subject = with_column(subject, "strong", *strong)
        subject = with_column(subject, "id", [f"u{i}" for i in range(400)], [f"v{i}" for i in range(200)])
        subject = with_column(subject, "number", g.permutation(400), g.permutation(200))
        finding = found(subject)
        assert finding.severity == "good"
        assert (measure(finding, "alone", "strong").value or 0.0) > 0.85
        assert (measure(finding, "alone", "id").value or 1.0) < 0.6


def _labels(subject: Subject) -> tuple[Any, Any]:
    return trained(subject).actual, subject.actual


def test_few_rows_are_not_judged() -> None:
    subject = without_fit(subjects.regression())
    train = trained(subject)
    few = replace(train, frame=train.frame.head(40), inputs=train.inputs.head(40), actual=train.actual[:40])
    finding = found(replace(subject, train=few))
    assert "whether a column alone tells the label (too few training rows)" in finding.text
    assert not [each for each in finding.measures if each.name == "alone"]


def test_columns_are_looked_at_in_a_seeded_sample_of_many_rows() -> None:
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.normal(size=30_000), "when": pd.date_range("2024", periods=30_000, freq="min")})
    actual = frame["a"].to_numpy() ** 2
    first = strengths(frame, actual, ["a", "when"], task="regression", classes=(), seed=1)
    assert first == strengths(frame, actual, ["a", "when"], task="regression", classes=(), seed=1)
    assert [each.column for each in first] == ["a", "when"]
    assert first[0].rows == 20_000
    assert first[0].value > 0.98
    assert abs(first[1].value) < 0.02


# --- times --------------------------------------------------------------------------------------------


def dated(subject: Subject, *, late: int, zone: str | None = None, text: bool = False) -> Subject:
    """Rows an hour apart and a feature an hour before each, in the first ``late`` rows two hours after."""
    rows = pd.Series(pd.date_range("2024-03-30", periods=400, freq="h", tz=zone))
    seen = rows - pd.Timedelta("1h")
    seen[:late] = rows[:late] + pd.Timedelta("2h")
    seen[350:] = pd.NaT
    if text:
        seen = pd.Series([None if pd.isna(each) else each.isoformat() for each in seen], dtype=object)
    subject = with_column(subject, "seen", seen, seen.head(200))
    train = trained(subject)
    frames = train.frame.assign(at=rows), subject.frame.assign(at=rows.head(200))
    return replace(subject, time="at", frame=frames[1], train=replace(train, frame=frames[0]))


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("text", [False, True])
def test_a_feature_dated_after_its_row_is_found(zone: str | None, text: bool) -> None:
    subject = dated(subjects.regression(), late=7, zone=zone, text=text)
    finding = found(replace(subject, columns={"seen": Column(name="seen", kind="time")}))
    assert finding.severity == "bad"
    assert "The feature seen is later than the row itself in 2 % of the training rows (7 of 350)" in finding.text
    assert "2024" not in finding.text
    share = measure(finding, "dated_after", "seen")
    assert share.value == share.low == share.high == pytest.approx(0.02)
    assert share.n == 350


def test_a_feature_dated_before_its_row_is_good() -> None:
    finding = found(dated(subjects.regression(), late=0))
    assert finding.severity == "good"
    assert "no feature is dated after its row" in finding.text


def test_without_a_time_of_rows_it_says_that_it_cannot_be_told() -> None:
    finding = found(replace(dated(subjects.regression(), late=7), time=""))
    assert finding.severity == "good"
    assert "whether seen is dated after its row (no column holds a row's time)" in finding.text


def test_clocks_without_a_zone_may_be_off_by_hours_but_not_by_days() -> None:
    subject = dated(subjects.regression(), late=7, zone="America/New_York")
    train = trained(subject)
    local = train.frame.assign(at=train.frame["at"].dt.tz_localize(None))
    assert found(replace(subject, train=replace(train, frame=local))).severity == "good"
    later = local.assign(seen=local["seen"] + pd.Timedelta("2D"))
    assert found(replace(subject, train=replace(train, frame=later))).severity == "bad"


# --- shared rows --------------------------------------------------------------------------------------


def copied(subject: Subject, count: int) -> Subject:
    """The first test rows are training rows."""
    train = trained(subject)
    frame = pd.concat([train.frame.head(count), subject.frame.iloc[count:]], ignore_index=True)
    actual = np.concatenate([train.actual[:count], subject.actual[count:]])
    return replace(subject, frame=frame, inputs=frame[list(subject.features)], actual=actual)


@pytest.mark.parametrize("made", [subjects.regression, subjects.classification])
@pytest.mark.parametrize("count", [12, 60])
def test_copied_rows_are_found_with_their_share(made: Any, count: int) -> None:
    finding = found(copied(without_fit(made()), count))
    assert finding.severity == "bad"
    assert f"({count} of 200 rows) equal a training row, label included" in finding.text
    share = measure(finding, "shared_rows")
    assert share.value == count / 200
    assert share.low is not None
    assert share.high is not None
    assert share.low < count / 200 < share.high
    assert "0 % of training rows equal another" in share.method


def test_two_copied_rows_are_told_but_may_be_chance() -> None:
    finding = found(copied(without_fit(subjects.regression()), 2))
    assert finding.severity == "good"
    assert "1 % of the test rows equal a training row, which chance can make" in finding.text


def test_rows_are_equal_by_value_whatever_the_type() -> None:
    first = pd.DataFrame(
        {
            "n": [1, 2, 3, 4],
            "f": [0.0, np.nan, 1.5, 2.0],
            "c": pd.Categorical(["a", "b", None, "a"]),
            "t": pd.date_range("2024", periods=4).as_unit("s"),
            "b": [True, False, True, False],
        }
    )
    second = first.astype({"n": float, "c": object, "b": float, "t": "datetime64[ns]"})
    second["f"] = [-0.0, np.nan, 1.5, 2.5]
    labels = np.array(["x", "y", "z", "x"], dtype=object)
    assert overlap.shared(first, second, list(first), (labels, labels)).rows == 3
    assert overlap.shared(first, second, list(first), (labels, np.array(["q"] * 4))).rows == 0
    assert overlap.shared(first, second, ["n"], (labels, labels)).rows == 4


def test_equal_rows_that_fall_on_both_sides_by_chance_are_not_a_leak() -> None:
    """Every row exists twice; a random split puts as many pairs on both sides as it should."""
    for seed in range(20):
        g = np.random.default_rng(seed)
        rows = pd.DataFrame({"a": np.repeat(g.normal(size=300), 2)}).iloc[g.permutation(600)]
        labels = np.zeros(600)
        result = overlap.shared(rows[:400], rows[400:], ["a"], (labels[:400], labels[400:]))
        assert result.rows > 80
        assert result.p > 0.0006


def test_the_chance_of_a_split_is_a_bound() -> None:
    """Of 400 random splits no more than a share p has a bound below p."""
    g = np.random.default_rng(0)
    values = pd.DataFrame({"a": np.concatenate([np.repeat(np.arange(20), 2), np.arange(100, 160)])})
    bounds = []
    for _ in range(400):
        rows = values.iloc[g.permutation(100)]
        bounds.append(overlap.shared(rows[:60], rows[60:], ["a"], (np.zeros(60), np.zeros(40))).p)
    for level in (0.003, 0.02, 0.1):
        assert np.mean(np.array(bounds) <= level) <= level


def test_missing_columns_of_the_training_rows_make_it_unknown() -> None:
    subject = without_fit(subjects.regression())
    train = trained(subject)
    finding = found(replace(subject, train=replace(train, inputs=train.inputs[["signal"]])))
    assert measure(finding, "shared_rows").value is None
    assert "whether test rows equal training rows (columns are missing)" in finding.text


# --- the canary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [subjects.regression, subjects.classification])
def test_a_fit_that_knows_the_true_labels_is_found(made: Any) -> None:
    subject = made()
    train = trained(subject)
    fit = train.fit
    assert fit is not None
    leaking = replace(train, fit=lambda X, y: fit(X, train.actual[X.index]))
    finding = found(replace(subject, train=leaking))
    assert finding.severity == "bad"
    assert "Models trained on shuffled labels still explain" in finding.text
    low = measure(finding, "canary_improvement").low
    assert low is not None
    assert low > 0.3


def test_a_model_of_noise_that_lies_with_the_truth_by_luck_is_no_leak() -> None:
    """One model of shuffled labels beats the mean half of the time; eight do not together."""
    lucky = 0
    for seed in range(12):
        subject = subjects.regression(seed=seed)
        result = canary(subject)
        assert not result.sings
        train = trained(subject)
        model = LinearRegression().fit(train.inputs, np.random.default_rng(seed).permutation(train.actual))
        lucky += model.score(subject.inputs, subject.actual) > 0.0
    assert lucky > 2


def test_a_median_on_a_skewed_label_is_no_leak() -> None:
    """It has a smaller mean absolute error than the mean without knowing anything."""
    subject = subjects.regression()
    train = trained(subject)

    class Median:
        def __init__(self, y: Any) -> None:
            self.value = np.median(y)

        def predict(self, X: Any) -> Any:
            return np.full(len(X), self.value)

    skewed = replace(train, actual=np.exp(train.actual), fit=lambda X, y: Median(y))
    result = canary(replace(subject, actual=np.exp(subject.actual), train=skewed))
    assert result.skill is not None
    assert result.skill <= 0.0
    assert not result.sings


def test_classes_without_probabilities_are_judged_by_the_answers() -> None:
    subject = subjects.classification(names=("low", "mid", "top"))
    train = trained(subject)
    fit = train.fit
    assert fit is not None

    class Bare:
        def __init__(self, model: Any) -> None:
            self.predict = model.predict

    honest = replace(subject, train=replace(train, fit=lambda X, y: Bare(fit(X, y))))
    leaking = replace(subject, train=replace(train, fit=lambda X, y: Bare(fit(X, train.actual[X.index]))))
    assert not canary(honest).sings
    assert canary(leaking).sings


def test_a_fit_that_raises_is_said_and_not_an_error() -> None:
    def broken(X: Any, y: Any) -> Any:
        raise ValueError("a secret of row 7")

    subject = subjects.regression()
    finding = found(replace(subject, train=replace(trained(subject), fit=broken)))
    assert "training on shuffled labels (it raised ValueError)" in finding.text
    assert "secret" not in finding.text
    assert measure(finding, "canary_improvement").value is None
    assert finding.severity == "good"


def test_what_the_canary_cannot_answer_is_said() -> None:
    subject = subjects.regression()
    assert "not known" in canary(without_fit(subject)).why
    assert "same" in canary(replace(subject, actual=np.ones(200))).why
    few = replace(subject, actual=subject.actual[:20], frame=subject.frame[:20])
    assert "fewer than 50 rows" in canary(few).why

    class Nothing:
        def predict(self, X: Any) -> Any:
            return np.full(len(X), np.nan)

    mute = replace(trained(subject), fit=lambda X, y: Nothing())
    assert "finite" in canary(replace(subject, train=mute)).why


def test_the_canary_trains_on_shuffled_labels_of_the_same_rows() -> None:
    subject, seen = subjects.regression(), []
    train = trained(subject)

    def fit(X: Any, y: Any) -> Any:
        seen.append((list(X.index), y))
        return LinearRegression().fit(X, y)

    result = canary(replace(subject, train=replace(train, fit=fit)))
    assert (result.times, result.rows, result.tested) == (8, 400, 200)
    assert len(seen) == 9
    for rows, labels in seen:
        assert sorted(labels) == sorted(train.actual[rows])
        assert not np.array_equal(labels, train.actual[rows])


@pytest.mark.parametrize("classes", [(), (0, 1), (0, 1, 2)])
def test_noise_alone_tells_nothing_in_small_groups_and_by_neighbours(classes: tuple[int, ...]) -> None:
    """A row is never told its own label."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"group": [f"g{i // 12}" for i in range(2400)], "number": g.normal(size=2400)})
    actual = g.choice(classes, 2400) if classes else g.normal(size=2400)
    task: Any = "classification" if classes else "regression"
    told = strengths(frame, actual, ["group", "number"], task=task, classes=classes, seed=0)
    chance = 1 / len(classes) if classes else 0.0
    assert all(each.value < chance + 0.04 for each in told)
