"""A window: alarms within the budget, verdicts, and quality on the labels that came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from fullcircle.monitoring.detector import Counts
from fullcircle.monitoring.detectors.gtest import GTest
from fullcircle.monitoring.profiles import profile
from fullcircle.monitoring.quality import Metric
from fullcircle.monitoring.window import level, watch
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.monitoring import Alarm, Profile, Window
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Monitor
from fullcircle.types.report import Finding
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions

YEARLY = Monitor(false_alerts="1 per year", window="7d")


def _mae(actual: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[Any] | None) -> float:
    assert probabilities is None
    return float(np.mean(np.abs(actual - predicted)))


MAE = Metric(name="mae", of=_mae)


@pytest.fixture(scope="module")
def reference() -> Profile:
    frame = patients(np.random.default_rng(7), 600)
    return profile(frame, answers(frame), CONTRACT, metric="mae", value=10.0, low=9.5, high=10.5)


def _watch(
    logged: Sequence[Prediction],
    reference: Profile,
    outcomes: Mapping[str, Outcome] | None = None,
    *,
    metric: Metric | None = MAE,
) -> Window:
    return watch(
        logged,
        outcomes or {},
        profile=reference,
        contract=CONTRACT,
        monitor=YEARLY,
        metric=metric,
        name="week 45",
        model="patients",
        version=3,
    )


def _finding(window: Window, check: str) -> Finding:
    (finding,) = (each for each in window.report.findings if each.check == check)
    return finding


def _window(n: int = 300, seed: int = 8) -> pd.DataFrame:
    return patients(np.random.default_rng(seed), n)


def _labels(frame: pd.DataFrame, logged: Sequence[Prediction], off: float, n: int) -> dict[str, Outcome]:
    signs = np.random.default_rng(3).choice([-1.0, 1.0], len(frame)) * np.linspace(0.9, 1.1, len(frame))
    truth = np.asarray(answers(frame)) + off * signs
    return {each.id: Outcome(prediction_id=each.id, value=float(truth[i])) for i, each in enumerate(logged[:n])}


def test_a_window_of_the_same_patients_is_quiet(reference: Profile) -> None:
    window = _watch(predictions(_window()), reference)
    assert window.alarms == ()
    drift = _finding(window, "drift")
    assert drift.severity == "good"
    assert "No feature differs" in drift.text
    assert "1 per year over 7 features" in drift.text
    assert (window.name, window.model, window.version, window.rows) == ("week 45", "patients", 3, 300)
    assert (window.since, window.until) == ("2026-11-01T12:00:00.000000Z", "2026-11-28T12:00:00.000000Z")


def test_the_wrong_unit_is_found_and_named(reference: Profile) -> None:
    """bmi times ten: the answers move with it, and the verdicts because it is outside its range."""
    frame = _window()
    frame["bmi"] *= 10
    window = _watch(predictions(frame), reference)
    assert {alarm.feature for alarm in window.alarms} == {"bmi", "verdict", "prediction"}
    drift = _finding(window, "drift")
    assert drift.severity == "warning"
    assert ". bmi: 100 % of the rows are above" in drift.text, "the cause is told first"
    assert "verdict: 100 % of the rows are flagged" in drift.text
    assert drift.charts[1].title == "bmi: window and reference"
    measured = {measure.group: measure for measure in drift.measures}
    assert measured["bmi"].value is not None
    assert measured["bmi"].value > 0.7
    assert measured["children"].value is not None
    assert measured["children"].value < 0.02
    table = {row["feature"]: row for row in drift.table}
    assert table["bmi"]["alarm"] is True
    assert table["bmi"]["p"] <= table["bmi"]["alpha"] == level(YEARLY, 7)
    assert table["sex"]["alarm"] is False
    # All of these are outside the contract's range, and the verdicts say so.
    assert dict(window.verdicts) == {"flagged": 300}
    assert _finding(window, "verdicts").table[0] == {"column": "bmi", "problem": "outside", "rows": 300}


def test_values_gone_missing_are_found_although_they_are_imputed(reference: Profile) -> None:
    frame = _window()
    frame.loc[:29, "bmi"] = np.nan
    window = _watch(predictions(frame), reference)
    (alarm,) = (alarm for alarm in window.alarms if alarm.feature == "bmi")
    assert "bmi: 10 % of the rows are missing, against 0 %" in alarm.text
    assert dict(window.verdicts) == {"ok": 270, "imputed": 30}


def test_a_new_category_is_found(reference: Profile) -> None:
    frame = _window()
    frame["sex"] = frame["sex"].astype(object)
    frame.loc[:39, "sex"] = "x"
    window = _watch(predictions(frame), reference)
    assert "category never seen in the reference" in next(a.text for a in window.alarms if a.feature == "sex")


def test_the_level_is_the_budget_divided_and_nothing_else() -> None:
    assert level(YEARLY, 6) == pytest.approx(1 / (6 * 365.25 / 7))
    assert level(Monitor(false_alerts="12 per year", window="7d"), 6) == pytest.approx(12 * level(YEARLY, 6))
    assert level(Monitor(false_alerts="1 per year", window="1h"), 6) == pytest.approx(level(YEARLY, 6) / 168)
    assert level(YEARLY, 6, detectors=2) == pytest.approx(level(YEARLY, 6) / 2)
    assert level(Monitor(false_alerts="9 per day", window="7d"), 1) == 1.0


def test_the_budget_holds_over_many_windows_and_features() -> None:
    """100 references (each new, as its noise is part of the promise), 30 windows each, 6 features.

    With 10 false alerts a year in weekly windows, 3000 windows may raise 3000 * 10 * 7 / 365.25 = 575 alarms. The
    alarms of one reference come together, so the bound is on the rates of the 100 references: their mean
    must not be above the budget by more than 4 of its standard errors.
    """
    monitor = Monitor(false_alerts="10 per year", window="7d")
    generator = np.random.default_rng(5)
    detector, rates = GTest(), []
    for _ in range(100):
        truth = [generator.dirichlet(np.full(bins, 3.0)) for bins in (4, 6, 8, 10, 12, 3)]
        frozen = Profile(features=tuple(_frozen(f"f{i}", generator, p) for i, p in enumerate(truth)), rows=1000)
        alpha = level(monitor, 6)
        alarms = 0
        for _ in range(30):
            counted: Counts = {f"f{i}": (*generator.multinomial(400, p).tolist(), 0, 0) for i, p in enumerate(truth)}
            alarms += len(detector.detect(frozen, counted, alpha=alpha))
        rates.append(alarms / 30 * monitor.windows_per_year)
    mean, error = float(np.mean(rates)), float(np.std(rates, ddof=1)) / 10
    assert mean <= 10 + 4 * error
    assert mean >= 10 / 3, "so quiet that it wastes the budget"


def _frozen(name: str, generator: np.random.Generator, p: NDArray[np.float64]) -> Any:
    from fullcircle.types.monitoring import FeatureProfile

    categories = tuple(f"c{number}" for number in range(len(p)))
    counted = (*generator.multinomial(1000, p).tolist(), 0, 0)
    return FeatureProfile(name=name, kind="category", categories=categories, counts=counted)


def test_real_windows_are_quiet_at_the_budget_and_bmi_times_ten_never_is() -> None:
    """End to end with rows: 40 quiet weeks raise at most what 40 weeks of budget could; each broken week is found."""
    generator = np.random.default_rng(11)
    false_alarms = 0
    for _ in range(10):
        frame = patients(generator, 500)
        frozen = profile(frame, answers(frame), CONTRACT)
        for _ in range(4):
            false_alarms += len(_watch(predictions(patients(generator, 120)), frozen, metric=None).alarms)
        broken = patients(generator, 60)
        broken["bmi"] *= 10
        assert "bmi" in {alarm.feature for alarm in _watch(predictions(broken), frozen, metric=None).alarms}
    # 40 windows at one alarm a year: 0.77 expected; five or more has a chance below 1 in 1000.
    assert false_alarms < 5


def test_a_private_column_is_not_watched_and_that_is_said(reference: Profile) -> None:
    """The server keeps its values out of the log; that they are not there is no alarm."""
    private = replace(CONTRACT, columns=(*CONTRACT.columns[:2], replace(CONTRACT.columns[2], private=True)))
    known = patients(np.random.default_rng(7), 600)
    logged = [
        replace(each, inputs={name: value for name, value in (each.inputs or {}).items() if name != "sex"})
        for each in predictions(_window(), private)
    ]
    window = watch(
        logged,
        {},
        profile=profile(known, answers(known), private),
        contract=private,
        monitor=YEARLY,
        metric=None,
        name="w",
        model="m",
        version=1,
    )
    assert window.alarms == ()
    drift = _finding(window, "drift")
    assert drift.text.endswith(" Not watched, because private: sex.")
    assert {row["feature"] for row in drift.table} == {"bmi", "children", "verdict", "prediction"}
    assert "Not watched" not in _finding(_watch(predictions(_window()), reference), "drift").text


def test_rejected_rows_count_in_the_verdicts_only(reference: Profile) -> None:
    frame = _window()
    frame["children"] = frame["children"].astype(object)
    frame.loc[:49, "children"] = "many"
    logged = predictions(frame)
    window = _watch(logged, reference, {each.id: Outcome(prediction_id=each.id, value=1.0) for each in logged})
    assert dict(window.verdicts) == {"ok": 250, "rejected": 50}
    assert window.rows == 300
    assert window.labelled == 250
    drift = _finding(window, "drift")
    measured = {measure.group: measure.n for measure in drift.measures}
    assert measured.pop("verdict") == 300
    assert set(measured.values()) == {250}
    assert "children (wrong_type: 50)" in _finding(window, "verdicts").text


def test_an_empty_window_says_that_it_cannot_tell(reference: Profile) -> None:
    window = _watch([], reference)
    assert (window.rows, window.alarms, window.verdicts, window.since) == (0, (), (), "")
    assert "nothing to compare" in _finding(window, "drift").text


def test_a_window_of_rejections_is_an_alarm(reference: Profile) -> None:
    """A broken feed: nothing is answered, so there is nothing else that could move."""
    logged = [Prediction(value=None, verdict=Verdict(status="rejected"), id=f"r-{n}") for n in range(40)]
    window = _watch(logged, reference)
    (alarm,) = window.alarms
    assert alarm.text == "verdict: 100 % of the rows are rejected, against 0 % in the reference"
    drift = _finding(window, "drift")
    assert drift.severity == "warning"
    assert alarm.text in drift.text
    assert drift.charts[1].title == "verdict: window and reference"
    assert dict(window.verdicts) == {"rejected": 40}


class TestQuality:
    def test_without_labels_it_says_so(self, reference: Profile) -> None:
        quality = _finding(_watch(predictions(_window()), reference), "quality")
        assert quality.severity == "info"
        assert "0 of 300 answered rows have a label by now: too few to tell" in quality.text
        assert quality.measures[-1].name == "label_coverage"
        assert quality.measures[-1].value == 0.0

    def test_the_metric_comes_with_its_interval(self, reference: Profile) -> None:
        frame = _window()
        logged = predictions(frame)
        window = _watch(logged, reference, _labels(frame, logged, 10.0, 200))
        assert window.labelled == 200
        measure = window.report.measure("mae")
        assert measure is not None
        assert measure.value is not None
        assert measure.value == pytest.approx(9.7, abs=0.5)
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low < measure.value < measure.high
        assert measure.n == 200
        coverage = window.report.measure("label_coverage")
        assert coverage is not None
        assert coverage.value == pytest.approx(2 / 3)
        reference_measure = window.report.measure("reference_mae")
        assert reference_measure is not None
        assert (reference_measure.value, reference_measure.low) == (10.0, 9.5)
        assert _finding(window, "quality").severity == "good"

    def test_worse_beyond_chance_is_a_warning(self, reference: Profile) -> None:
        frame = _window()
        logged = predictions(frame)
        quality = _finding(_watch(logged, reference, _labels(frame, logged, 30.0, 300)), "quality")
        assert quality.severity == "warning"
        assert "worse, beyond chance" in quality.text

    def test_better_is_no_warning_either_way_round(self, reference: Profile) -> None:
        frame = _window()
        logged = predictions(frame)
        labels = _labels(frame, logged, 1.0, 300)
        assert _finding(_watch(logged, reference, labels), "quality").severity == "good"
        upside_down = Metric(name="mae", of=_mae, greater_is_better=True)
        worse = _finding(_watch(logged, reference, labels, metric=upside_down), "quality")
        assert worse.severity == "warning"

    def test_labels_of_strangers_and_of_the_wrong_kind_are_left_out(self, reference: Profile) -> None:
        frame = _window()
        logged = predictions(frame)
        labels = _labels(frame, logged, 10.0, 60)
        labels["nobody"] = Outcome(prediction_id="nobody", value=4.0)
        labels["p-0"] = Outcome(prediction_id="p-0", value="high")
        labels["p-1"] = Outcome(prediction_id="p-1", value=float("nan"))
        labels["p-2"] = Outcome(prediction_id="p-2", value=None)
        window = _watch(logged, reference, labels)
        assert window.labelled == 57
        assert "2 labels are of the wrong kind" in _finding(window, "quality").text

    def test_a_metric_that_is_not_defined_breaks_nothing(self, reference: Profile) -> None:
        frame = _window()
        logged = predictions(frame)
        nowhere = Metric(name="mae", of=lambda actual, predicted, probabilities: float("nan"))
        quality = _finding(_watch(logged, reference, _labels(frame, logged, 9.0, 300), metric=nowhere), "quality")
        assert "not defined" in quality.text

    def test_probabilities_come_in_the_order_of_the_classes(self, reference: Profile) -> None:
        contract = replace(CONTRACT, task="classification", classes=("no", "yes"))
        sound = Verdict(status="ok")
        logged = [
            Prediction(value="yes", verdict=sound, id=f"p-{n}", probabilities={"yes": 0.8, "no": 0.2}, inputs={})
            for n in range(40)
        ]
        logged.append(Prediction(value="no", verdict=Verdict(status="fallback"), id="p-40"))
        labels = {each.id: Outcome(prediction_id=each.id, value="no") for each in logged}
        seen: list[NDArray[Any]] = []

        def first_class(actual: NDArray[Any], predicted: NDArray[Any], shares: NDArray[Any] | None) -> float:
            assert shares is not None
            seen.append(shares)
            return float(np.mean(shares[:, 0]))

        frozen = profile(_window(100), ["yes"] * 100, contract)
        window = watch(
            logged,
            labels,
            profile=frozen,
            contract=contract,
            monitor=YEARLY,
            metric=Metric(name="trust", of=first_class),
            name="w",
            model="m",
            version=1,
        )
        measure = window.report.measure("trust")
        assert measure is not None
        assert measure.value == pytest.approx(0.2)
        assert window.labelled == 40, "a fallback has no probabilities to measure"


def test_detectors_share_the_budget(reference: Profile) -> None:
    asked: list[float] = []

    class Listening:
        name = "listening"
        code = "X001"

        def detect(self, profile: Profile, counts: Counts, *, alpha: float) -> tuple[Alarm, ...]:
            asked.append(alpha)
            return ()

    watch(
        predictions(_window(50)),
        {},
        profile=reference,
        contract=CONTRACT,
        monitor=YEARLY,
        metric=None,
        name="w",
        model="m",
        version=1,
        detectors=[Listening(), Listening()],
    )
    assert asked == [level(YEARLY, 7) / 2] * 2


def test_the_window_survives_json(reference: Profile) -> None:
    frame = _window()
    frame["bmi"] *= 10
    logged = predictions(frame)
    window = _watch(logged, reference, _labels(frame, logged, 12.0, 100))
    decoded = msgspec.json.decode(msgspec.json.encode(window), type=Window)
    assert msgspec.to_builtins(decoded) == msgspec.to_builtins(window)
    assert decoded.alarms == window.alarms


def test_the_charts_are_vega_lite_that_renders(reference: Profile) -> None:
    import vl_convert

    frame = _window()
    frame["bmi"] *= 10
    drift = _finding(_watch(predictions(frame), reference), "drift")
    distances, histogram = drift.charts
    assert {row["feature"] for row in distances.spec["data"]["values"][:2]} == {"bmi", "verdict"}
    assert {row["evidence"] for row in distances.spec["data"]["values"]} == {"alarm", "within the budget"}
    assert histogram.title == "bmi: window and reference"
    total: dict[str, float] = {}
    for row in histogram.spec["data"]["values"]:
        total[row["rows"]] = total.get(row["rows"], 0.0) + row["share"]
    assert total == {"reference": pytest.approx(1.0, abs=1e-4), "window": pytest.approx(1.0, abs=1e-4)}
    for chart in drift.charts:
        assert len(msgspec.json.encode(chart.spec)) < 20_000
        svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 400}, vl_version="5.21")
        assert svg.startswith("<svg")


class Planted:
    """Raises alarms on the features it was told, in the order it was told."""

    name = "planted"
    code = "X002"

    def __init__(self, *found: tuple[str, float, float]) -> None:
        self.found = found

    def detect(self, profile: Profile, counts: Counts, *, alpha: float) -> tuple[Alarm, ...]:
        return tuple(
            Alarm(
                feature=feature,
                detector=self.name,
                distance=distance,
                statistic=9.0,
                p=p,
                alpha=alpha,
                text=f"{feature} moved",
            )
            for feature, distance, p in self.found
        )


def _planted(reference: Profile, *detectors: Planted) -> Window:
    return watch(
        predictions(_window(50)),
        {},
        profile=reference,
        contract=CONTRACT,
        monitor=YEARLY,
        metric=None,
        name="w",
        model="m",
        version=1,
        detectors=detectors,
    )


class TestWords:
    def test_the_farthest_of_the_alarmed_features_is_drawn(self, reference: Profile) -> None:
        drift = _finding(_planted(reference, Planted(("smoker", 0.2, 1e-9))), "drift")
        assert [chart.title for chart in drift.charts][1] == "smoker: window and reference"

    def test_without_alarms_the_farthest_feature_is_drawn(self, reference: Profile) -> None:
        frame = _window(300)
        frame["children"] = 8
        quiet = watch(
            predictions(frame),
            {},
            profile=reference,
            contract=CONTRACT,
            monitor=YEARLY,
            metric=None,
            name="w",
            model="m",
            version=1,
            detectors=[Planted()],
        )
        drift = _finding(quiet, "drift")
        assert drift.severity == "good"
        assert drift.charts[1].title == "children: window and reference"

    @pytest.mark.parametrize(("alarms", "more"), [(1, ""), (3, ""), (4, ", and 1 more"), (5, ", and 2 more")])
    def test_three_features_are_named_and_the_rest_counted(self, reference: Profile, alarms: int, more: str) -> None:
        names = ("bmi", "children", "sex", "smoker", "note")[:alarms]
        found = Planted(*((name, 0.1 * (place + 1), 1e-9) for place, name in enumerate(names)))
        text = _finding(_planted(reference, found), "drift").text
        assert text.startswith(f"{alarms} of the features moved")
        assert text.count(" moved.") == min(3, alarms)
        assert (more in text) if more else ("more" not in text)
        assert f"{names[-1]} moved" in text, "the farthest is always named"

    def test_two_detectors_on_one_feature_are_one_feature(self, reference: Profile) -> None:
        window = _planted(reference, Planted(("bmi", 0.3, 1e-4)), Planted(("bmi", 0.3, 1e-7)))
        drift = _finding(window, "drift")
        assert len(window.alarms) == 2
        assert drift.text.startswith("1 of the features moved")
        assert drift.text.count("bmi moved") == 1
        (row,) = [row for row in drift.table if row["feature"] == "bmi"]
        assert (row["alarm"], row["p"]) == (True, 1e-7), "the stronger evidence"
        assert [row["p"] for row in drift.table if row["feature"] != "bmi"] == [None] * 6

    def test_the_table_tells_distances_and_gaps(self, reference: Profile) -> None:
        frame = _window()
        frame.loc[:29, "bmi"] = np.nan
        rows = {row["feature"]: row for row in _finding(_watch(predictions(frame), reference), "drift").table}
        assert set(rows) == {"bmi", "children", "sex", "smoker", "note", "verdict", "prediction"}
        assert (rows["bmi"]["missing"], rows["children"]["missing"]) == (30, 0)
        assert rows["bmi"]["distance, bits"] > rows["children"]["distance, bits"] >= 0.0

    def test_what_was_never_counted_has_no_distance(self, reference: Profile) -> None:
        answered = [
            Prediction(value=150.0, verdict=Verdict(status="fallback"), id=f"f-{n}", inputs=None) for n in range(40)
        ]
        drift = _finding(_watch(answered, reference), "drift")
        measured = {measure.group: measure.value for measure in drift.measures}
        assert measured["bmi"] is None
        assert measured["prediction"] is not None
        assert {row["feature"]: row["distance, bits"] for row in drift.table}["bmi"] is None

    def test_rows_without_a_time_do_not_make_the_window_begin_nowhere(self, reference: Profile) -> None:
        logged = predictions(_window(10))
        unlogged = [Prediction(value=150.0, verdict=Verdict(status="ok"), inputs={})]
        window = _watch([*unlogged, *logged], reference)
        assert (window.since, window.until) == ("2026-11-01T12:00:00.000000Z", "2026-11-10T12:00:00.000000Z")

    def test_verdicts_are_counted_in_their_order_with_the_common_faults(self, reference: Profile) -> None:
        def failed(column: str, reason: Any, n: int) -> list[Prediction]:
            problem = Problem(column=column, reason=reason, action="reject", text="")
            return [Prediction(value=None, verdict=Verdict(status="rejected", problems=(problem,)))] * n

        faults = failed("bmi", "missing", 4) + failed("", "model", 3) + failed("sex", "wrong_type", 2)
        window = _watch(predictions(_window(5)) + faults + failed("note", "unknown", 1), reference)
        assert window.verdicts == (("ok", 5), ("rejected", 10))
        verdicts = _finding(window, "verdicts")
        assert verdicts.text == (
            "Of 15 rows: 5 ok, 10 rejected. "
            "Most problems: bmi (missing: 4), the model (model: 3), sex (wrong_type: 2)."
        )
        assert [row["rows"] for row in verdicts.table] == [4, 3, 2, 1]
        assert {measure.group: measure.value for measure in verdicts.measures} == {"ok": 5.0, "rejected": 10.0}

    def test_a_quiet_and_an_empty_window_have_no_faults_to_tell(self, reference: Profile) -> None:
        assert _finding(_watch(predictions(_window(5)), reference), "verdicts").text == "Of 5 rows: 5 ok."
        assert _finding(_watch([], reference), "verdicts").text == "Of 0 rows: none."
