"""Planted bad slices are found by name, good models are left alone, and what is measured is measured honestly."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import subjects
from fullcircle.evaluation import slicing
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.slices import Slices
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.testing.checks import CheckSuite
from fullcircle.types.contract import Column
from fullcircle.types.gates import at_most
from fullcircle.types.report import Finding, Measure

FEATURES = ("hr", "workingday", "temp", "city")


class TestSuite(CheckSuite):
    @pytest.fixture
    def check(self) -> Slices:
        return Slices()


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _found(subject: Subject) -> Finding:
    answer = Slices().run(subject)
    assert not isinstance(answer, Skipped)
    return answer


def _worst(finding: Finding) -> Measure:
    (found,) = [each for each in finding.measures if each.name == "worst_slice"]
    return found


def _faults(finding: Finding) -> dict[str, str]:
    return {str(row["slice"]): str(row["fault"]) for row in finding.table if row["fault"]}


def _frame(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "hr": generator.integers(0, 24, rows),
            "workingday": (generator.random(rows) < 0.7).astype(int),
            "temp": generator.normal(20.0, 5.0, rows),
            "city": generator.choice(list("abcdefg"), rows),
            "sex": generator.choice(["f", "m"], rows),
        }
    )


def _design(frame: pd.DataFrame) -> Any:
    return np.c_[frame.hr / 12.0 - 1.0, frame.workingday, (frame.temp - 20.0) / 5.0, frame.city == "a"].astype(float)


def _score(frame: pd.DataFrame) -> Any:
    return _design(frame) @ np.array([0.5, -0.7, 1.0, 0.8])


def _rush(frame: pd.DataFrame) -> Any:
    """Six rows in a hundred, two columns deep."""
    return ((frame.hr >= 8) & (frame.hr <= 9) & (frame.workingday == 1)).to_numpy()


def _regression(rows: int = 4000, seed: int = 0, noise: str = "normal", fitted: bool = False) -> Subject:
    """A linear law and the model that knows it, or one that has learned it from 400 rows."""
    generator = np.random.default_rng(seed)
    frame = _frame(rows, generator)

    def drawn(size: int) -> Any:
        return generator.normal(size=size) if noise == "normal" else generator.exponential(size=size) - 1.0

    predicted = _score(frame)
    actual = predicted + drawn(rows)
    if fitted:
        train = _frame(400, generator)
        learned = LinearRegression().fit(_design(train), _score(train) + drawn(400))
        predicted = learned.predict(_design(frame))
    return Subject(
        model="law",
        task="regression",
        actual=actual,
        predicted=predicted,
        baseline=np.zeros(rows),
        baseline_probabilities=None,
        frame=frame,
        features=FEATURES,
        protected=("sex",),
        seed=seed,
        unit="EUR",
    )


def _classification(rows: int = 4000, seed: int = 0, fitted: bool = False) -> Subject:
    """A logistic law and the true probabilities, or those learned from 400 rows."""
    generator = np.random.default_rng(seed)
    frame = _frame(rows, generator)
    p = 1.0 / (1.0 + np.exp(-2.0 * _score(frame)))
    actual = np.where(generator.random(rows) < p, "yes", "no")
    if fitted:
        train = _frame(400, generator)
        labels = generator.random(400) < 1.0 / (1.0 + np.exp(-2.0 * _score(train)))
        p = LogisticRegression().fit(_design(train), labels).predict_proba(_design(frame))[:, 1]
    return Subject(
        model="law",
        task="classification",
        classes=("no", "yes"),
        actual=actual,
        predicted=np.where(p >= 0.5, "yes", "no"),
        probabilities=np.c_[1.0 - p, p],
        baseline=np.full(rows, "no"),
        baseline_probabilities=None,
        frame=frame,
        features=FEATURES,
        protected=("sex",),
        seed=seed,
    )


def _flipped(subject: Subject, where: Any) -> Subject:
    assert subject.probabilities is not None
    shares = np.where(where[:, None], subject.probabilities[:, ::-1], subject.probabilities)
    return _with(subject, probabilities=shares, predicted=np.where(shares[:, 1] >= 0.5, "yes", "no"))


class TestPlanted:
    @pytest.mark.parametrize("seed", range(5))
    def test_errors_three_times_as_large_are_found_by_name(self, seed: int) -> None:
        subject = _regression(seed=seed)
        wide = np.where(_rush(subject.frame), 3.0, 1.0) * (subject.actual - subject.predicted)
        finding = _found(_with(subject, actual=subject.predicted + wide))
        assert finding.severity == "warning"
        assert finding.text.startswith("Clearest fault: hr ")
        assert " and workingday=1 (" in finding.text
        assert "errors are larger than elsewhere (beyond chance, corrected for " in finding.text
        # 0.8 elsewhere, three times that in the slice: the interval of the worst slice knows it.
        worst = _worst(finding)
        assert worst.value is not None
        assert worst.value > 1.5
        assert worst.low is not None
        assert worst.low > 0.8
        assert worst.unit == "EUR"

    @pytest.mark.parametrize("seed", range(5))
    def test_probabilities_the_wrong_way_round_are_found_by_name(self, seed: int) -> None:
        subject = _classification(seed=seed)
        finding = _found(_flipped(subject, _rush(subject.frame)))
        assert finding.severity == "warning"
        assert finding.text.startswith("Clearest fault: hr ")
        assert "hr 8 to 9 and workingday=1" in finding.text
        assert "the model is more often wrong than it expects" in finding.text

    @pytest.mark.parametrize("seed", range(5))
    def test_without_probabilities_one_answer_for_all_gives_it_away(self, seed: int) -> None:
        # Rows that are easy: flipped, nearly all are wrong.
        subject = _classification(seed=seed)
        hot = ((subject.frame.temp > 24.2) & (subject.frame.workingday == 0)).to_numpy()
        finding = _found(_with(_flipped(subject, hot), probabilities=None))
        assert finding.severity == "warning"
        assert "Clearest fault: workingday=0 and temp " in finding.text
        assert "one answer for all rows would do better" in finding.text
        assert "share of wrong answers 0." in finding.text

    @pytest.mark.parametrize(("shift", "said"), [(2.0, "too high"), (-2.0, "too low")])
    def test_answers_that_are_off_one_way_are_told_so(self, shift: float, said: str) -> None:
        subject = _regression()
        women = (subject.frame.sex == "f").to_numpy() & (subject.frame.city == "b").to_numpy()
        finding = _found(_with(subject, predicted=subject.predicted + shift * women))
        assert _faults(finding)["city=b and sex=f"] == f"answers are {said}"
        (row,) = [row for row in finding.table if row["slice"] == "city=b and sex=f"]
        assert row["mean error"] == pytest.approx(shift, abs=0.3)

    def test_a_shift_that_all_rows_share_is_no_slice(self) -> None:
        subject = _regression()
        assert _found(_with(subject, predicted=subject.predicted + 5.0)).severity == "good"
        # Nor is it a fault to be right where all others are wrong.
        women = (subject.frame.sex == "f").to_numpy()
        finding = _found(_with(subject, predicted=subject.predicted + 5.0 * ~women))
        assert not any("sex=f" in name for name in _faults(finding))
        assert any("sex=m" in name for name in _faults(finding))

    def test_a_protected_column_that_is_no_feature_is_looked_at(self) -> None:
        subject = _classification()
        finding = _found(_flipped(subject, (subject.frame.sex == "f").to_numpy()))
        assert "sex=f" in _faults(finding)
        assert finding.text.startswith("Clearest fault: sex=f (")

    def test_what_is_near_a_bad_slice_is_not_blamed_for_it(self) -> None:
        subject = _regression()
        noise = (subject.actual - subject.predicted) * np.where(subject.frame.city == "c", 4.0, 1.0)
        finding = _found(_with(subject, actual=subject.predicted + noise))
        assert _faults(finding) == {"city=c": "errors are larger than elsewhere"}
        assert "Also at fault" not in finding.text

    def test_missing_values_are_a_slice(self) -> None:
        subject = _regression()
        gone = np.random.default_rng(9).random(subject.rows) < 0.1
        noise = (subject.actual - subject.predicted) * np.where(gone, 4.0, 1.0)
        holes = subject.frame.assign(temp=subject.frame.temp.mask(gone))
        finding = _found(_with(subject, actual=subject.predicted + noise, frame=holes))
        assert "temp=(missing)" in _faults(finding)

    def test_weights_say_which_rows_count(self) -> None:
        subject = _regression()
        bad = (subject.frame.city == "c").to_numpy()
        wide = _with(
            subject, actual=subject.predicted + (subject.actual - subject.predicted) * np.where(bad, 4.0, 1.0)
        )
        assert _found(wide).severity == "warning"
        silent = _found(_with(wide, weights=np.where(bad, 0.0, 1.0)))
        assert silent.severity == "good"
        assert not any("city=c" in str(row["slice"]) for row in silent.table)
        doubled = _found(_with(wide, weights=np.full(subject.rows, 2.0)))
        assert _worst(doubled).value == pytest.approx(_worst(_found(wide)).value)

    def test_a_gate_on_the_worst_slice_stops_it(self) -> None:
        subject = _regression()
        wide = np.where(_rush(subject.frame), 3.0, 1.0) * (subject.actual - subject.predicted)
        for limit, passed in ((2.0, False), (9.0, True)):
            asked = _with(subject, actual=subject.predicted + wide, gates=[at_most("worst_slice", limit)])
            (verdict,) = evaluate(asked, asked.gates, checks=["slices"]).gates
            assert verdict.passed is passed


class TestClean:
    @pytest.mark.parametrize("fitted", [False, True])
    @pytest.mark.parametrize("law", [_regression, _classification])
    def test_good_models_are_left_alone(self, law: Any, fitted: bool) -> None:
        # 20 of the thousand that were run when this was written: none of them raised anything.
        severities = [_found(law(rows=800, seed=seed, fitted=fitted)).severity for seed in range(20)]
        assert severities == ["good"] * 20

    def test_skewed_errors_are_left_alone(self) -> None:
        severities = [_found(_regression(800, seed, noise="exponential")).severity for seed in range(20)]
        assert severities == ["good"] * 20

    def test_rows_that_are_hard_by_nature_are_no_fault(self) -> None:
        subject = _classification(8000)
        for each in (subject, _with(subject, probabilities=None)):
            finding = _found(each)
            assert finding.severity == "good"
            (top,) = [row for row in finding.table if row["slice"] == finding.table[0]["slice"]]
            assert top["times all rows"] > 1.3, "the border is hard"
            assert "none is proven to be at fault" in finding.text
        assert abs(_found(subject).table[0]["beyond expected"]) < 0.2

    def test_the_worst_slices_interval_holds_what_is_true(self) -> None:
        # Every slice has the same mean error; the worst of twenty looks worse, and its interval must know.
        true, held, values = math.sqrt(2.0 / math.pi), 0, []
        for seed in range(40):
            worst = _worst(_found(_regression(600, seed)))
            assert worst.low is not None
            assert worst.high is not None
            assert worst.value is not None
            held += worst.low <= true <= worst.high
            values.append(worst.value)
        assert np.mean(values) > true * 1.05
        assert held >= 38


class TestHardCases:
    def test_too_few_rows_say_nothing(self) -> None:
        for rows in (1, 2, 59, 80):
            finding = _found(_regression(rows))
            worst = _worst(finding)
            assert finding.severity == "info"
            assert worst.value is None
            assert "no slice has 30 rows" in worst.method
            assert "nothing can be said about slices." in finding.text
            assert finding.charts == ()

    def test_no_columns_to_slice_by(self) -> None:
        for frame, features in ((None, ()), (pd.DataFrame({"one": np.ones(500)}), ("one",))):
            subject = _with(_regression(500), features=features, protected=())
            answer = Slices().run(subject if frame is None else _with(subject, frame=frame))
            assert answer == Skipped("there are no columns to look for slices in")

    def test_few_rows_are_no_praise(self) -> None:
        finding = _found(_regression(300))
        assert finding.severity == "info"
        assert "none is proven to be at fault; so few rows would show only large faults." in finding.text
        assert _found(_regression(800)).severity == "good"
        # Many rows that hardly count are few.
        heavy = np.where(np.arange(2000) < 100, 200.0, 1.0)
        assert _found(_with(_regression(2000), weights=heavy)).severity == "info"

    @pytest.mark.parametrize("seed", [6, 7, 8])
    def test_the_upper_end_bounds_every_slice_that_was_kept(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        subject = _regression(800, seed)
        # A rare city, so that its interval is wide, and another with a higher mean.
        cities = generator.choice(list("abc"), 800, p=[0.12, 0.38, 0.5])
        times = np.select([cities == "a", cities == "b"], [2.6, 3.0], 1.0)
        actual = subject.predicted + times * (subject.actual - subject.predicted)
        finding = _found(_with(subject, actual=actual, frame=subject.frame.assign(city=cities)))
        worst = _worst(finding)
        first, *others = [each for each in finding.measures if each.name == "slice_loss"]
        assert (worst.value, worst.low) == (first.value, first.low)
        assert first.high is not None
        reach = max(each.high or 0.0 for each in others)
        assert worst.high == reach > first.high
        assert "the upper end is the largest" in worst.method

    def test_the_highest_of_them_is_named_only_above_all_rows(self) -> None:
        # The slice found on one half is easier than all rows on the other.
        said = [_found(_regression(200, seed)).text for seed in range(40)]
        said = [text for text in said if "nothing can be said" not in text]
        below = [text for text in said if "In none of those looked at closely is the loss above" in text]
        assert below
        for text in said:
            found = re.search(r"The highest loss is in .*, ([\d.]+) times that of all rows", text)
            assert (text in below) is (found is None)
            assert found is None or float(found[1]) >= 1.0

    def test_a_perfect_model_has_no_bad_slice(self) -> None:
        subject = _regression(500)
        finding = _found(_with(subject, predicted=subject.actual.copy()))
        assert finding.severity in ("info", "good")
        assert _faults(finding) == {}

    def test_many_classes_and_a_label_that_is_not_known(self) -> None:
        subject = subjects.classification(600, names=("a", "b", "c"))
        strange = _with(subject, actual=np.where(np.arange(600) % 9 == 0, "d", subject.actual))
        assert _found(subject).severity == "good"
        assert _worst(_found(strange)).value is not None

    def test_a_share_stays_between_nothing_and_one(self) -> None:
        subject = _flipped(_classification(), np.ones(4000, dtype=bool))
        finding = _found(_with(subject, probabilities=None))
        assert all(0.0 <= row["low"] <= row["high"] <= 1.0 for row in finding.table)

    def test_measures_and_table_agree(self) -> None:
        finding = _found(_regression())
        losses = {each.group: each for each in finding.measures if each.name == "slice_loss"}
        assert 2 <= len(losses) <= 10
        assert [row["slice"] for row in finding.table] == list(losses)
        for row in finding.table:
            measure = losses[str(row["slice"])]
            assert row["mean absolute error"] == pytest.approx(measure.value, rel=1e-3)
            assert row["rows"] == measure.n
            assert measure.n >= 30
        assert _worst(finding).value == max(each.value or 0.0 for each in losses.values())
        shown = [value["name"] for value in finding.charts[0].spec["data"]["values"]]
        assert shown[0] == "all rows (n=4000)"
        assert len(shown) == len(losses) + 1

    def test_another_seed_halves_the_rows_otherwise(self) -> None:
        subject = _regression()
        assert _found(subject) == _found(subject)
        assert _worst(_found(_with(subject, seed=1))).value != _worst(_found(subject)).value

    def test_many_rows_are_sampled_and_it_says_so(self) -> None:
        subject = _regression(120_000)
        begun = time.process_time()
        finding = _found(subject)
        assert time.process_time() - begun < 6.0, "0.4 s alone on a core"
        assert finding.text.endswith("Looked at 50 000 rows of 120 000.")
        assert finding.severity == "good"


class TestCut:
    def _names(self, values: Any, **described: Any) -> tuple[str, ...]:
        column = {"x": Column(name="x", kind="number", **described)} if described else {}
        found = slicing.cut(pd.DataFrame({"x": values}), ["x"], column)
        return found.names[0] if found.names else ()

    def test_ranges_are_named_by_what_is_in_them(self) -> None:
        assert self._names(np.arange(20)) == ("x 0 to 3", "x 4 to 7", "x 8 to 11", "x 12 to 15", "x 16 to 19")
        assert self._names([0.0] * 50 + list(range(1, 51)))[0] == "x=0"

    def test_many_rows_have_fine_ranges_and_runs_of_them(self) -> None:
        hours = np.tile(np.arange(24), 100)
        found = slicing.cut(pd.DataFrame({"hr": hours}), ["hr"], {})
        assert found.names[0][:2] == ("hr=0", "hr=1")
        assert len(found.names[0]) == 24 + 23 + 20
        place = found.names[0].index("hr 8 to 9")
        assert found.coded.inside(((0, place),)).tolist() == np.isin(hours, (8, 9)).tolist()
        many = slicing.cut(pd.DataFrame({"x": np.arange(4000)}), ["x"], {})
        assert many.names[0][0] == "x 0 to 199"
        assert len(many.names[0]) == 20 + 19 + 17
        assert "x 200 to 599" in many.names[0]

    def test_few_numbers_are_values(self) -> None:
        assert self._names([3, 1, 1, 1, 2, 2]) == ("x=1", "x=2", "x=3")
        assert self._names([1.0, 1.0, np.nan]) == ("x=1", "x=(missing)")
        assert self._names([True, False, True]) == ("x=True", "x=False")
        assert self._names(pd.array([1, 1, None], dtype="Int64")) == ("x=1", "x=(missing)")

    def test_twelve_categories_and_the_others(self) -> None:
        values = [letter for place, letter in enumerate("abcdefghijklmnop") for _ in range(20 - place)]
        names = self._names([*values, None])
        assert names == (*(f"x={letter}" for letter in "abcdefghijkl"), "x=(missing)", "x=(other)")
        found = slicing.cut(pd.DataFrame({"x": values}), ["x"], {})
        other = found.coded.inside(((0, found.names[0].index("x=(other)")),))
        assert np.array(values)[other].tolist() == [letter for letter in values if letter > "l"]

    def test_missing_and_infinite_numbers_are_apart(self) -> None:
        names = self._names([*range(20), np.nan, np.inf])
        assert names[-1] == "x=(missing)"
        assert names[-2] == "x 16 to 19"

    def test_numbers_too_close_to_round_keep_names_of_their_own(self) -> None:
        names = self._names(1.0 + np.arange(20) * 1e-9)
        assert len(set(names)) == 5

    def test_no_name_has_more_than_six_digits_of_a_number(self) -> None:
        assert self._names([0.1 + 0.2, 0.3, 1 / 3, 1 / 3]) == ("x=0.3", "x=0.333333")
        for values in (1.0 + np.arange(20) * 1e-9, 1e4 + np.arange(20) / 7, np.arange(20) * 1e-8 / 3):
            for name in self._names(values):
                for number in re.findall(r"\d[\d.]*", name.replace(" ", "", 0)):
                    assert len(number.replace(".", "").lstrip("0")) <= 6, name
                assert "e-" not in name

    def test_a_private_column_tells_no_value(self) -> None:
        names = self._names([*range(20), None], private=True)
        assert names == (*(f"x in range {place} of 5" for place in range(1, 6)), "x=(missing)")
        assert self._names(["ann", "bob"] * 5, private=True) == ()
        assert "x in ranges 2 to 3 of 20" in self._names(np.arange(4000), private=True)

    def test_times_constants_and_absent_columns_are_left_out(self) -> None:
        frame = pd.DataFrame({"at": pd.to_datetime(["2020-01-01", "2020-01-02"]), "one": 1, "text": ["a", "b"]})
        described = {"text": Column(name="text", kind="time")}
        assert slicing.cut(frame, ["at", "one", "gone", "text"], described).names == ()

    @pytest.mark.parametrize("values", [["1", 1, "1"], ["(other)", *"abcdefghijklmno"]])
    def test_one_name_is_one_slice(self, values: list[Any]) -> None:
        names = self._names(pd.Series([*values, "z", "z"], dtype=object))
        assert len(set(names)) == len(names)
