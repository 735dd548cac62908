"""What the fairness check says: Fairlearn's figures, honest gaps, planted bias, and cases that are hard."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from scipy.special import expit
from sklearn import metrics as reference

import subjects
from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.evaluation import groups, metrics
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.fairness import BEYOND, SMALLEST_GROUP, Fairness
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.fairness import disparity
from fullcircle.evaluation.fairness.disparity import Group
from fullcircle.evaluation.metrics import Answers, Estimate
from fullcircle.stats import intervals
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.gates import Gate, at_most, fair
from fullcircle.types.report import Finding, Measure

SHARED = Path(__file__).parents[4] / "shared" / "data"
EMPLOYMENT = Path(os.environ.get("EMPLOYMENT_DIR") or SHARED)


class TestPromise(CheckSuite):
    @pytest.fixture
    def check(self) -> Fairness:
        return Fairness()


def _run(subject: Subject) -> Finding:
    found = Fairness().run(subject)
    assert isinstance(found, Finding)
    return found


def _measure(finding: Finding, name: str, group: str = "") -> Measure:
    (found,) = [each for each in finding.measures if (each.name, each.group) == (name, group)]
    return found


def _number(finding: Finding, name: str, group: str = "") -> float:
    value = _measure(finding, name, group).value
    assert value is not None
    return value


def _people(rows: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "score": generator.normal(size=rows),
            "sex": generator.choice(["f", "m"], rows),
            "race": generator.choice(["a", "b", "c"], rows, p=[0.6, 0.25, 0.15]),
        }
    )


def _two(rows: int, seed: int = 0, *, off: float = 0.0, group: str = "f", **changes: Any) -> Subject:
    """Answers 0 and 1 by a logistic law that the model knows; ``off`` is added to the probabilities of one sex."""
    frame = _people(rows, seed)
    share = expit(1.2 * frame["score"].to_numpy() - 0.3)
    actual = (np.random.default_rng(seed + 1000).random(rows) < share).astype(int)
    said = np.clip(share + off * (frame["sex"] == group).to_numpy(), 0.0, 1.0)
    made = Subject(
        model="toy",
        task="classification",
        classes=(0, 1),
        actual=actual,
        predicted=(said > 0.5).astype(int),
        probabilities=np.column_stack([1 - said, said]),
        baseline=np.zeros(rows, dtype=int),
        baseline_probabilities=np.full((rows, 2), 0.5),
        frame=frame,
        features=("score",),
        protected=("sex", "race"),
    )
    return dataclasses.replace(made, **changes)


def _numbers(rows: int, seed: int = 0, *, off: float = 0.0, **changes: Any) -> Subject:
    frame = _people(rows, seed)
    mean = 20.0 + 5.0 * frame["score"].to_numpy()
    made = Subject(
        model="toy",
        task="regression",
        actual=mean + np.random.default_rng(seed + 1000).normal(0.0, 3.0, rows),
        predicted=mean + off * (frame["sex"] == "f").to_numpy(),
        baseline=np.full(rows, 20.0),
        baseline_probabilities=None,
        frame=frame,
        features=("score",),
        protected=("sex", "race"),
        label="wage",
    )
    return dataclasses.replace(made, **changes)


def _teams(sizes: Mapping[str, int], off: Mapping[str, float], *gates: Gate) -> Subject:
    """Rows of teams whose errors have that size on average, as often too high as too low. No column is protected."""
    names = np.repeat(list(sizes), list(sizes.values()))
    rows = len(names)
    subject = subjects.regression(rows, gates=gates)
    actual = np.zeros(rows)
    errors = np.array([off[name] for name in names]) * np.tile([1.01, -0.99], rows)[:rows]
    return dataclasses.replace(subject, actual=actual, predicted=errors, frame=subject.frame.assign(team=names))


class TestFigures:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_every_figure_of_two_classes_is_fairlearns(self, weighted: bool) -> None:
        subject = _two(900, gates=[fair("sex", "balanced_accuracy", 1.0)])
        weights = np.random.default_rng(5).uniform(0.5, 2.0, 900) if weighted else None
        finding = _run(dataclasses.replace(subject, weights=weights))
        said = np.asarray(subject.probabilities)[:, 1]
        known = {
            "accuracy": reference.accuracy_score,
            "selection_rate": fairlearn.selection_rate,
            "recall": fairlearn.true_positive_rate,
            "false_positive_rate": fairlearn.false_positive_rate,
        }
        for by in (["sex"], ["race"], ["sex", "race"]):
            frame = fairlearn.MetricFrame(
                metrics=known,
                y_true=subject.actual,
                y_pred=subject.predicted,
                sensitive_features=subject.frame[by],
                sample_params=None if weights is None else {name: {"sample_weight": weights} for name in known},
            )
            for key, row in frame.by_group.iterrows():
                values = key if isinstance(key, tuple) else (key,)
                group = ", ".join(f"{name}={value}" for name, value in zip(by, values, strict=True))
                for name in known:
                    assert _number(finding, f"group_{name}", group) == pytest.approx(row[name], abs=1e-12)
                here = np.all([subject.frame[name] == value for name, value in zip(by, values, strict=True)], axis=0)
                its = None if weights is None else weights[here]
                bias = np.average(said[here] - subject.actual[here], weights=its)
                assert _number(finding, "group_bias", group) == pytest.approx(bias, abs=1e-12)
                loss = reference.log_loss(subject.actual[here], said[here], sample_weight=its, labels=[0, 1])
                assert _number(finding, "group_log_loss", group) == pytest.approx(loss, abs=1e-12)
            gaps = frame.difference(method="between_groups")
            for name in known:
                assert _number(finding, f"fair_gap:{'/'.join(by)}:{name}") == pytest.approx(gaps[name], abs=1e-12)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_demographic_parity_and_equalized_odds_are_fairlearns(self, weighted: bool) -> None:
        subject = _two(900)
        weights = np.random.default_rng(5).uniform(0.5, 2.0, 900) if weighted else None
        finding = _run(dataclasses.replace(subject, weights=weights))
        for by in (["sex"], ["race"], ["sex", "race"]):
            asked = {
                "y_true": subject.actual,
                "y_pred": subject.predicted,
                "sensitive_features": subject.frame[by],
                "sample_weight": weights,
            }
            label = "/".join(by)
            parity = fairlearn.demographic_parity_difference(**asked)
            assert _number(finding, f"demographic_parity_difference:{label}") == pytest.approx(parity, abs=1e-12)
            assert _number(finding, f"fair_gap:{label}:selection_rate") == pytest.approx(parity, abs=1e-12)
            odds = fairlearn.equalized_odds_difference(**asked)
            assert _number(finding, f"equalized_odds_difference:{label}") == pytest.approx(odds, abs=1e-12)
            assert _number(finding, f"fair_gap:{label}:equalized_odds") == pytest.approx(odds, abs=1e-12)

    def test_numbers_have_errors_signed_errors_and_mean_predictions(self) -> None:
        subject = _numbers(600, off=1.0)
        finding = _run(subject)
        sexes = subject.frame.groupby("sex").indices
        mean = {name: float(np.mean(subject.predicted[rows])) for name, rows in sexes.items()}
        for name, rows in sexes.items():
            error = subject.predicted[rows] - subject.actual[rows]
            assert _number(finding, "group_mae", f"sex={name}") == pytest.approx(np.abs(error).mean(), abs=1e-12)
            assert _number(finding, "group_bias", f"sex={name}") == pytest.approx(error.mean(), abs=1e-12)
            assert _number(finding, "group_mean_prediction", f"sex={name}") == pytest.approx(mean[name], abs=1e-12)
        gap = _measure(finding, "mean_prediction_gap:sex")
        assert gap.value == pytest.approx(abs(mean["f"] - mean["m"]), abs=1e-12)
        assert gap.unit == "wage"

    def test_of_three_classes_accuracy_and_the_main_metric(self) -> None:
        subject = subjects.classification(300, names=("a", "b", "c"))
        finding = _run(dataclasses.replace(subject, protected=("group",)))
        assert {each.name for each in finding.measures if each.group == "group=a"} == {
            "group_accuracy",
            "group_log_loss",
        }
        here = (subject.frame["group"] == "b").to_numpy()
        expected = reference.accuracy_score(subject.actual[here], subject.predicted[here])
        assert _number(finding, "group_accuracy", "group=b") == pytest.approx(expected, abs=1e-12)

    def test_without_probabilities_labels_are_compared(self) -> None:
        finding = _run(_two(300, probabilities=None))
        names = {each.name for each in finding.measures}
        assert "group_recall" in names
        assert not names & {"group_log_loss", "group_bias"}
        assert finding.charts[0].title == "accuracy by sex"

    def test_equal_weights_change_nothing(self) -> None:
        plain = _run(_two(300))
        assert _run(_two(300, weights=np.full(300, 2.0))).measures == plain.measures


@pytest.mark.skipif(
    not (EMPLOYMENT / "employment_ma_analysis.parquet").is_file(),
    reason="no employment_ma_analysis.parquet: set EMPLOYMENT_DIR to its folder",
)
def test_employment_by_sex_and_race_is_what_fairlearn_and_scikit_learn_say() -> None:
    frame = pd.read_parquet(EMPLOYMENT / "employment_ma_analysis.parquet")
    label = pd.read_parquet(EMPLOYMENT / "employment_ma_analysis_target.parquet")
    frame = frame.merge(label, on="id").iloc[::10].reset_index(drop=True)
    said = frame["predicted_probability"].to_numpy()
    small = [f"RAC1P={value}" for value, rows in frame["RAC1P"].value_counts().items() if 0 < rows < SMALLEST_GROUP]
    subject = Subject(
        model="employment",
        task="classification",
        classes=(0, 1),
        actual=frame["employed"].to_numpy(),
        predicted=frame["prediction"].to_numpy(),
        probabilities=np.column_stack([1 - said, said]),
        baseline=np.zeros(len(frame), dtype=int),
        baseline_probabilities=None,
        frame=frame,
        features=("AGEP", "SCHL", "MAR", "RELP", "DIS"),
        protected=("SEX", "RAC1P"),
        gates=[fair("RAC1P", "equalized_odds", 1.0, without=small)],
    )
    finding = _run(subject)
    assert small, "one race has few rows"
    known = {
        "accuracy": reference.accuracy_score,
        "recall": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
        "selection_rate": fairlearn.selection_rate,
    }
    for by in ("SEX", "RAC1P"):
        grouped = fairlearn.MetricFrame(
            metrics=known, y_true=subject.actual, y_pred=subject.predicted, sensitive_features=frame[by].astype(str)
        )
        for value, row in grouped.by_group.iterrows():
            for name in known:
                measure = _measure(finding, f"group_{name}", f"{by}={value}")
                # Where nobody in a group works, Fairlearn says 0 and we say that it is not defined.
                if name in ("accuracy", "selection_rate") or measure.value is not None:
                    assert measure.value == pytest.approx(row[name], abs=1e-12)
    kept = ~frame["RAC1P"].astype(str).isin([name.removeprefix("RAC1P=") for name in small])
    odds = fairlearn.equalized_odds_difference(
        subject.actual[kept], subject.predicted[kept], sensitive_features=frame["RAC1P"].astype(str)[kept]
    )
    assert _number(finding, "equalized_odds_difference:RAC1P") == pytest.approx(odds, abs=1e-12)
    sexes = fairlearn.demographic_parity_difference(
        subject.actual, subject.predicted, sensitive_features=frame["SEX"].astype(str)
    )
    assert _number(finding, "demographic_parity_difference:SEX") == pytest.approx(sexes, abs=1e-12)
    assert _number(finding, "proxy", "SEX") > 0.55


def _shares(hits: Mapping[str, tuple[int, int]]) -> list[Group]:
    """Groups by their hits and rows."""
    made = []
    for name, (count, rows) in hits.items():
        answers = Answers(np.r_[np.ones(count, int), np.zeros(rows - count, int)], np.ones(rows, int), None, 2, 2)
        found = metrics.estimate(metrics.find("accuracy", "classification"), answers)
        made.append(Group(name, rows, rows, {"accuracy": found}))
    return made


class TestGap:
    def test_two_shares_have_newcombes_interval(self) -> None:
        """56 of 70 against 48 of 80: Newcombe (1998), table II, method 10: 0.0524 to 0.3339."""
        gap = disparity.gap(_shares({"x": (56, 70), "y": (48, 80)}), ["g"], "accuracy")
        assert gap.value == pytest.approx(0.2, abs=1e-12)
        assert (gap.low, gap.high) == pytest.approx((0.0524, 0.3339), abs=1e-3)

    def test_perfect_groups_are_not_known_to_be_alike(self) -> None:
        gap = disparity.gap(_shares({"x": (30, 30), "y": (30, 30)}), ["g"], "accuracy")
        assert (gap.value, gap.low) == (0.0, 0.0)
        assert gap.high == pytest.approx(1 - intervals.proportion(30, 30).low, abs=1e-9)

    def test_more_groups_make_a_wider_interval(self) -> None:
        two = disparity.gap(_shares({"x": (60, 100), "y": (50, 100)}), ["g"], "accuracy")
        hits = {"x": (60, 100), "y": (50, 100)} | {f"g{number}": (55, 100) for number in range(8)}
        ten = disparity.gap(_shares(hits), ["g"], "accuracy")
        assert two.value == ten.value == pytest.approx(0.1)
        assert two.high is not None
        assert ten.high is not None
        assert ten.high > two.high + 0.05

    @pytest.mark.parametrize("shares", [(0.9, 0.9, 0.9), (0.95, 0.9, 0.7), (0.5, 0.5, 0.5, 0.5, 0.6)])
    def test_the_true_gap_is_inside_as_often_as_it_says(self, shares: tuple[float, ...]) -> None:
        generator = np.random.default_rng(0)
        truth, inside = max(shares) - min(shares), 0
        for _ in range(400):
            drawn = {str(number): (int(generator.binomial(60, share)), 60) for number, share in enumerate(shares)}
            gap = disparity.gap(_shares(drawn), ["g"], "accuracy")
            assert gap.low is not None
            assert gap.value is not None
            assert gap.high is not None
            assert gap.low <= gap.value <= gap.high
            inside += gap.low - 1e-12 <= truth <= gap.high
        assert inside >= 0.94 * 400

    def test_means_of_numbers_use_students_t(self) -> None:
        generator = np.random.default_rng(1)
        values = [generator.normal(1.0, 1.0, 35), generator.normal(0.0, 2.0, 30)]
        mae = metrics.find("mae", "regression")
        made = [
            Group(
                str(number),
                len(each),
                len(each),
                {"mae": metrics.estimate(mae, Answers(np.zeros(len(each)), np.abs(each)))},
            )
            for number, each in enumerate(values)
        ]
        gap = disparity.gap(made, ["g"], "mae")
        means = [intervals.mean(np.abs(each)) for each in values]
        half = math.hypot(*(each.high - each.value for each in means))
        value = abs(means[0].value - means[1].value)
        assert gap.value == pytest.approx(value, abs=1e-12)
        assert gap.high == pytest.approx(value + half, abs=1e-9)
        assert gap.low == pytest.approx(max(0.0, value - half), abs=1e-9)

    def test_a_figure_without_an_interval_gives_a_gap_without_one(self) -> None:
        made = _shares({"x": (20, 40), "y": (30, 40)})
        bare = Group("z", 40, 40, {"accuracy": Estimate(0.6)})
        gap = disparity.gap([*made, bare], ["g"], "accuracy")
        assert gap.value == pytest.approx(0.25)
        assert (gap.low, gap.high) == (None, None)


class TestGates:
    def test_without_a_protected_column_or_a_gate_nobody_asked(self) -> None:
        answer = Fairness().run(subjects.regression(40, gates=[at_most("mae", 1.0)]))
        assert isinstance(answer, Skipped)
        assert "fc.fair" in answer.reason
        assert "protected" in answer.reason

    @pytest.mark.parametrize(("limit", "severity"), [(0.49, "bad"), (0.502, "bad"), (0.503, "good")])
    def test_the_gap_itself_is_allowed_and_not_more(self, limit: float, severity: str) -> None:
        # Errors of nearly one size in each group, so that the interval is narrow.
        finding = _run(_teams({"a": 40, "b": 40}, {"a": 0.25, "b": 0.75}, fair("team", "mae", limit)))
        assert finding.severity == severity
        assert _number(finding, "fair_gap:team:mae") == pytest.approx(0.5)
        assert "0.25 for team=a, 0.75 for team=b" in finding.text
        assert ("more than the allowed 0.49" in finding.text) is (limit == 0.49)

    def test_the_upper_end_decides_and_not_the_value(self) -> None:
        subject = _two(400, gates=[fair("sex", "accuracy", 0.08)])
        finding = _run(subject)
        gap = _measure(finding, "fair_gap:sex:accuracy")
        assert gap.value is not None
        assert gap.high is not None
        assert gap.value < 0.08 < gap.high
        assert finding.severity == "bad"
        assert "0.08 is allowed, and with so few rows it may be more" in finding.text

    @pytest.mark.parametrize(("size", "known"), [(SMALLEST_GROUP - 1, False), (SMALLEST_GROUP, True)])
    def test_thirty_rows_are_the_smallest_group(self, size: int, known: bool) -> None:
        finding = _run(_teams({"a": 40, "b": size}, {"a": 0.2, "b": 0.2}, fair("team", "mae", 0.5)))
        gap = _measure(finding, "fair_gap:team:mae")
        assert gap.usable is known
        assert (f"team=b ({size} rows); at least 30 are needed" in gap.method) is not known
        assert finding.severity == ("good" if known else "warning")
        notes = {row["group"]: row["note"] for row in finding.table}
        assert bool(notes["team=b"]) is not known

    def test_rows_count_by_what_their_weights_tell(self) -> None:
        subject = _teams({"a": 200, "b": 200}, {"a": 0.2, "b": 0.2}, fair("team", "mae", 50.0))
        weights = np.ones(400)
        weights[203:] = 1e-6
        weighed = dataclasses.replace(subject, weights=weights)
        gap = _measure(_run(weighed), "fair_gap:team:mae")
        assert not gap.usable
        assert gap.method == (
            "too few rows to judge team=b (200 rows, whose weights tell as much as 3); at least 30 are needed"
        )
        assert not evaluate(weighed, checks=["fairness"]).passed
        assert _measure(_run(weighed), "group_mae", "team=b").n == 3
        assert evaluate(dataclasses.replace(subject, weights=np.full(400, 9.0)), checks=["fairness"]).passed

    def test_errors_that_are_all_alike_are_no_proof(self) -> None:
        subject = _teams({"a": 40, "b": 40}, {"a": 0.25, "b": 0.75}, fair("team", "mae", 5.0))
        errors = np.where(subject.frame["team"] == "a", 0.25, 0.75)
        report = evaluate(dataclasses.replace(subject, predicted=errors), checks=["fairness"])
        assert not report.passed
        assert "no interval" in report.gates[0].reason

    def test_many_small_groups_are_not_all_named(self) -> None:
        sizes = {f"g{number}": 5 for number in range(8)}
        finding = _run(_teams(sizes, dict.fromkeys(sizes, 0.1), fair("team", "mae", 0.5)))
        gap = _measure(finding, "fair_gap:team:mae")
        assert gap.method.count("(5 rows)") == 5
        assert "and 3 more" in gap.method

    @pytest.mark.parametrize("told", ["c", "team=c"])
    def test_a_small_group_that_is_named_is_left_out_and_said_to_be(self, told: str) -> None:
        sizes = {"a": 40, "b": 40, "c": 5}
        finding = _run(_teams(sizes, {"a": 0.2, "b": 0.3, "c": 9.0}, fair("team", "mae", 0.5, without=[told])))
        gap = _measure(finding, "fair_gap:team:mae")
        assert gap.value == pytest.approx(0.1)
        assert gap.n == 80
        assert "left out as too small: team=c" in gap.method
        assert "left out as too small: team=c" in finding.text
        assert finding.severity == "good"
        assert _number(finding, "group_mae", "team=c") == pytest.approx(9.0, abs=0.02)

    def test_a_large_group_is_never_left_out(self) -> None:
        subject = _teams({"a": 40, "b": 40}, {"a": 0.2, "b": 0.9}, fair("team", "mae", 0.5, without=["b"]))
        assert _run(subject).severity == "bad"

    def test_all_small_groups_have_to_be_named(self) -> None:
        sizes = {"a": 40, "b": 40, "c": 5, "d": 5}
        subject = _teams(sizes, dict.fromkeys(sizes, 0.1), fair("team", "mae", 0.5, without=["c"]))
        gap = _measure(_run(subject), "fair_gap:team:mae")
        assert not gap.usable
        assert "team=d (5 rows)" in gap.method
        assert "team=c" not in gap.method

    def test_names_of_several_gates_add_up(self) -> None:
        sizes = {"a": 40, "b": 40, "c": 5, "d": 5}
        one, two = (fair("team", "mae", 0.5, without=[name]) for name in ("c", "d"))
        assert _measure(_run(_teams(sizes, dict.fromkeys(sizes, 0.1), one, two)), "fair_gap:team:mae").usable

    def test_a_name_that_is_no_group_is_told(self) -> None:
        subject = _teams({"a": 40, "b": 40}, {"a": 0.1, "b": 0.1}, fair("team", "mae", 0.5, without=["other"]))
        assert "A gate names 'other' as too small, but there is no such group of team." in _run(subject).text

    def test_intersections_and_their_small_groups(self) -> None:
        subject = _two(800, protected=())
        frame = subject.frame.assign(race=np.where(np.arange(800) < 6, "z", subject.frame["race"]))
        small = sorted({f"{sex}, z" for sex in frame["sex"][:6]})
        gate = fair(["sex", "race"], "accuracy", 1.0, without=small)
        known = _run(dataclasses.replace(subject, frame=frame, gates=[gate]))
        assert _measure(known, "fair_gap:sex/race:accuracy").usable
        open_ = _run(dataclasses.replace(subject, frame=frame, gates=[fair(["sex", "race"], "accuracy", 1.0)]))
        gap = _measure(open_, "fair_gap:sex/race:accuracy")
        assert not gap.usable
        assert "race=z" in gap.method

    def test_a_metric_that_one_group_does_not_have_is_named(self) -> None:
        subject = subjects.classification(80, gates=[fair("team", "roc_auc", 0.5)])
        frame = subject.frame.assign(team=np.where(subject.actual == "yes", "a", "b"))
        finding = _run(dataclasses.replace(subject, frame=frame))
        gap = _measure(finding, "fair_gap:team:roc_auc")
        assert not gap.usable
        assert "roc_auc is not defined for team=a, team=b" in gap.method
        assert "is unknown" in finding.text

    def test_a_wide_gap_outweighs_an_unknown_one(self) -> None:
        subject = _teams({"a": 40, "b": 40}, {"a": 0.1, "b": 2.0}, fair("team", "mae", 0.5), fair("all", "mae", 0.5))
        finding = _run(dataclasses.replace(subject, frame=subject.frame.assign(all="alike")))
        assert finding.severity == "bad"
        assert "all has one group only, so there is nothing to compare" in finding.text

    def test_what_gates_may_name_beyond_the_table_is_measured(self) -> None:
        for subject in (_two(600), _numbers(600)):
            for name in BEYOND[subject.task]:
                gates = [fair("sex", name, 50.0), fair(["sex", "race"], name, 50.0)]
                assert evaluate(dataclasses.replace(subject, gates=gates), checks=["fairness"]).passed

    def test_the_wider_of_two_gaps_has_a_wider_interval(self) -> None:
        finding = _run(_two(600, protected=("sex",)))
        odds = _measure(finding, "fair_gap:sex:equalized_odds")
        rates = [_measure(finding, f"fair_gap:sex:{name}") for name in ("recall", "false_positive_rate")]
        assert odds.value == max(rate.value or 0.0 for rate in rates)
        assert (odds.high or 0.0) > max(rate.high or 0.0 for rate in rates) + 0.005

    def test_equalized_odds_decide_on_the_wider_gap(self) -> None:
        subject = _two(2000, off=0.3)
        finding = _run(dataclasses.replace(subject, gates=[fair("sex", "equalized_odds", 0.1)]))
        assert finding.severity == "bad"
        rates = [_number(finding, f"fair_gap:sex:{name}") for name in ("recall", "false_positive_rate")]
        assert _number(finding, "fair_gap:sex:equalized_odds") == max(rates)


class TestSignedErrors:
    @pytest.mark.parametrize(("off", "way"), [(0.15, "overestimated"), (-0.15, "underestimated")])
    def test_a_planted_bias_is_found_with_its_direction(self, off: float, way: str) -> None:
        finding = _run(_two(2000, off=off))
        assert finding.severity == "warning"
        assert f"On average sex=f is {way} by 0.1" in finding.text
        assert "beyond chance" in finding.text
        assert "race=" not in finding.text

    def test_a_planted_bias_of_numbers(self) -> None:
        finding = _run(_numbers(600, off=2.0))
        assert finding.severity == "warning"
        assert "sex=f is overestimated by" in finding.text
        assert "wage" in finding.text

    def test_a_kept_gate_does_not_hide_it(self) -> None:
        finding = _run(_two(2000, off=0.15, gates=[fair("sex", "accuracy", 0.5)]))
        assert finding.severity == "warning"
        assert "within the allowed 0.5" in finding.text
        assert "overestimated" in finding.text

    def test_a_group_that_is_right_where_all_others_are_not(self) -> None:
        subject = _two(3000)
        rare = np.where(np.arange(3000) % 10 == 0, "x", subject.frame["race"])
        said = np.clip(np.asarray(subject.probabilities)[:, 1] + 0.15 * (rare != "x"), 0.0, 1.0)
        shares = np.column_stack([1 - said, said])
        finding = _run(dataclasses.replace(subject, probabilities=shares, frame=subject.frame.assign(race=rare)))
        assert "Compared with all other rows race=x is underestimated by" in finding.text

    def test_an_error_that_is_the_same_for_all_is_no_unfairness(self) -> None:
        subject = _two(2000)
        said = np.clip(np.asarray(subject.probabilities)[:, 1] + 0.1, 0.0, 1.0)
        assert _run(dataclasses.replace(subject, probabilities=np.column_stack([1 - said, said]))).severity == "info"

    def test_a_difference_that_does_not_matter_is_none(self) -> None:
        answers = metrics.own(_two(400_000, off=0.01))
        grouped = [groups.of_column(_people(400_000), "sex")]
        assert disparity.off_zero(answers, grouped, relevant=0.02, level=0.001) == ()
        assert len(disparity.off_zero(answers, grouped, relevant=0.0, level=0.001)) == 2

    def test_a_group_without_the_few_events_it_could_have_is_no_alarm(self) -> None:
        # 20 rows at 0.2 have no event once in 87 times. Their spread is none and that of the others is small, so that
        # Student's t finds it impossible.
        said = np.r_[np.full(20, 0.2), np.full(1000, 0.001)]
        happened = np.r_[np.zeros(1019, int), 1]
        answers = Answers(happened, np.zeros(1020, int), np.column_stack([1 - said, said]), 2, 2)
        grouped = [groups.of_column(pd.DataFrame({"g": ["x"] * 20 + ["y"] * 1000}), "g")]
        assert disparity.off_zero(answers, grouped, relevant=0.02, level=0.001) == ()

    def test_weights_count(self) -> None:
        subject = _two(3000)
        wrong = (np.arange(3000) < 1500) & (subject.frame["sex"] == "f").to_numpy()
        said = np.clip(np.asarray(subject.probabilities)[:, 1] + 0.3 * wrong, 0.0, 1.0)
        off = dataclasses.replace(subject, probabilities=np.column_stack([1 - said, said]))
        assert _run(off).severity == "warning"
        assert _run(dataclasses.replace(off, weights=np.where(wrong, 0.0, 1.0))).severity == "info"

    @pytest.mark.parametrize("kind", ["two", "numbers", "rare", "skewed"])
    def test_clean_data_raise_no_alarm(self, kind: str) -> None:
        """1000 seeds of each gave at most one alarm (docs/checks/fairness.md); here as many as time allows."""
        alarms = 0
        for seed in range(60):
            subject = _numbers(600, seed) if kind in ("numbers", "skewed") else _two(600, seed)
            generator = np.random.default_rng(seed)
            if kind == "skewed":
                subject = dataclasses.replace(
                    subject, actual=subject.predicted + generator.exponential(3.0, 600) - 3.0
                )
            if kind == "rare":
                share = expit(generator.normal(size=600) - 5.0)
                actual = (generator.random(600) < share).astype(int)
                shares = np.column_stack([1 - share, share])
                subject = dataclasses.replace(subject, actual=actual, probabilities=shares)
            grouped = [groups.of_column(subject.frame, column) for column in ("sex", "race")]
            alarms += bool(disparity.off_zero(metrics.own(subject), grouped, relevant=0.02, level=0.001))
        assert alarms == 0


class TestProxies:
    def test_features_that_tell_the_group(self) -> None:
        subject = _two(600)
        tall = subject.frame["sex"].map({"f": 165.0, "m": 178.0}) + np.random.default_rng(3).normal(0, 3, 600)
        frame = subject.frame.assign(height=tall)
        told = dataclasses.replace(subject, frame=frame, features=("score", "height"))
        finding = _run(told)
        proxy = _measure(finding, "proxy", "sex")
        assert proxy.value is not None
        assert proxy.low is not None
        assert proxy.low > 0.95
        assert "The features tell sex nearly surely (AUC " in finding.text
        assert "leaving the column out does not hide it" in finding.text
        assert abs(_number(finding, "proxy", "race") - 0.5) < 0.1

    def test_the_column_itself_is_no_proxy(self) -> None:
        subject = _two(600)
        inside = dataclasses.replace(subject, inputs=subject.frame, features=("score", "sex", "race"))
        assert abs(_number(_run(inside), "proxy", "sex") - 0.5) < 0.1
        alone = dataclasses.replace(subject, inputs=subject.frame[["sex"]], features=("sex",), protected=("sex",))
        proxy = _measure(_run(alone), "proxy", "sex")
        assert proxy.value is None
        assert "no other feature" in proxy.method

    def test_any_kind_of_feature_can_be_asked(self) -> None:
        subject = _two(400)
        women = (subject.frame["sex"] == "f").to_numpy()
        odd = pd.DataFrame(
            {
                "flag": women,
                "text": pd.Series(["x" if each else None for each in women], dtype=object),
                "kind": pd.Categorical(np.where(women, "u", "v")),
                "when": pd.to_datetime(np.where(women, "2020-01-01", "2021-01-01")),
                "many": [[1] if each else [2] for each in women],
                "holes": np.full(400, np.nan),
            }
        )
        for column in odd.columns:
            found = _run(dataclasses.replace(subject, inputs=odd[[column]], protected=("sex",)))
            expected = 0.5 if column == "holes" else 1.0
            assert _number(found, "proxy", "sex") == pytest.approx(expected, abs=0.02), column

    def test_a_sample_of_many_rows_is_told(self) -> None:
        assert "5000 rows of 2 groups" in _measure(_run(_two(8000)), "proxy", "sex").method


class TestHardCases:
    def test_one_row(self) -> None:
        for subject in (_two(1), _numbers(1)):
            finding = _run(
                dataclasses.replace(subject, gates=[fair("sex", "accuracy" if subject.classes else "mae", 1)])
            )
            assert finding.severity == "warning"
            assert "one group only" in finding.text

    def test_one_group(self) -> None:
        subject = _two(400)
        finding = _run(dataclasses.replace(subject, frame=subject.frame.assign(sex="f")))
        assert not _measure(finding, "fair_gap:sex:accuracy").usable
        assert _measure(finding, "fair_gap:race:accuracy").usable

    @pytest.mark.parametrize(
        ("values", "names"),
        [
            ([1, 2], {"g=1", "g=2"}),
            ([True, False], {"g=True", "g=False"}),
            (["a", None], {"g=a", "g=(missing)"}),
            ([1.0, math.nan], {"g=1", "g=(missing)"}),
            (["x=y, z", "größe/ü:%"], {"g=x=y, z", "g=größe/ü:%"}),
            (pd.Categorical(["a", "b"], categories=["a", "b", "never"]), {"g=a", "g=b"}),
        ],
    )
    def test_groups_of_any_kind(self, values: Any, names: set[str]) -> None:
        subject = _two(200, protected=("g",))
        column = pd.concat([pd.Series(values)] * 100, ignore_index=True)
        finding = _run(dataclasses.replace(subject, frame=subject.frame.assign(g=column.to_numpy())))
        assert {each.group for each in finding.measures if each.name == "group_accuracy"} == names
        assert _measure(finding, "fair_gap:g:accuracy").usable

    def test_sixty_groups(self) -> None:
        subject = _two(60 * 30, protected=("g",))
        finding = _run(dataclasses.replace(subject, frame=subject.frame.assign(g=np.arange(1800) % 60)))
        gap = _measure(finding, "fair_gap:g:accuracy")
        assert gap.usable
        assert "60 groups" in gap.method
        assert finding.severity == "info"
        assert len(finding.charts[0].spec["data"]["values"]) == 20
        assert len(finding.table) == 60

    def test_values_of_a_number_are_no_groups(self) -> None:
        subject = _two(400, protected=("score",), gates=[fair("score", "accuracy", 1.0)])
        finding = _run(subject)
        assert finding.severity == "warning"
        assert "score has 400 groups; at most 100 can be compared" in finding.text
        assert not [each for each in finding.measures if each.group.startswith("score=")]

    def test_a_column_that_is_not_there(self) -> None:
        with pytest.raises(ColumnMissing):
            Fairness().run(_two(50, protected=("colour",)))

    def test_names_that_two_groups_would_share_are_refused(self) -> None:
        subject = _two(100)
        frame = subject.frame.assign(a=["1, b=2", "3"] * 50, b=[2, 3] * 50)
        frame["a"] = frame["a"].where(np.arange(100) % 4 != 1, "1")
        clash = dataclasses.replace(subject, frame=frame.assign(b=2), protected=("a", "b"))
        with pytest.raises(DataUnfit, match="called alike"):
            Fairness().run(clash)

    def test_four_protected_columns_are_not_crossed(self) -> None:
        subject = _two(200)
        frame = subject.frame.assign(c="x", d="y")
        finding = _run(dataclasses.replace(subject, frame=frame, protected=("sex", "race", "c", "d")))
        assert not [each for each in finding.measures if "/" in each.name]

    def test_a_label_that_the_model_does_not_know(self) -> None:
        subject = _two(300)
        strange = subject.actual.copy()
        strange[0] = 7
        finding = _run(dataclasses.replace(subject, actual=strange))
        assert _number(finding, "fair_gap:sex:accuracy") >= 0.0
        assert not _measure(finding, "fair_gap:sex:accuracy").name.endswith("recall")

    def test_charts_show_the_largest_groups(self) -> None:
        finding = _run(
            _teams(
                {f"g{n:02d}": 20 + n for n in range(25)},
                {f"g{n:02d}": 0.1 for n in range(25)},
                fair("team", "mae", 1.0),
            )
        )
        shown = [row["name"] for row in finding.charts[0].spec["data"]["values"]]
        assert len(shown) == 20
        assert shown[0] == "g24 (n=44)"
        assert [chart.title for chart in finding.charts] == ["mae by team", "bias by team"]
