"""Quality over time and as findings: what labels tell, what is said without them, groups, value and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import fullcircle as fc
from fullcircle.flows import lots as gathering
from fullcircle.flows.quality import About, about_of, cost_per_day, findings, over_time
from fullcircle.monitoring import losses
from fullcircle.monitoring.profiles import frozen
from fullcircle.tables.lines import TIME
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Measure

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
TWO = Contract(columns=(Column(name="x", kind="number"),), label="y", task="classification", classes=("no", "yes"))
NUMBERS = Contract(columns=(), label="y", task="regression", label_unit="EUR")
MATRIX = {("yes", "yes"): 10.0, ("no", "yes"): -30.0}


def day(number: float) -> str:
    return (START + timedelta(days=number)).strftime(TIME)


def project(**more: Any) -> fc.Project:
    fields: dict[str, Any] = {
        "name": "loans",
        "data": "loans.csv",
        "label": "y",
        "features": ["x"],
        "fit": lambda X, y: X,
        **more,
    }
    return fc.Project(**fields)


def said(rows: int, seed: int) -> Any:
    return np.random.default_rng(seed).beta(1.2, 1.6, rows)


def about(contract: Contract = TWO, *, value: float = 0.75, metric: str = "accuracy", **more: Any) -> About:
    """A version that was honest on 4000 reference rows."""
    shares = said(4000, 1)
    came = np.random.default_rng(2).random(4000) < shares
    words = np.where(came, "yes", "no").astype(object)
    if contract is TWO:
        loss = losses.fit(TWO, words, words, np.column_stack([1 - shares, shares]))
    else:
        loss = losses.fit(NUMBERS, shares + np.random.default_rng(3).normal(0, 0.1, 4000), shares, None)
    profile = Profile(
        features=(),
        rows=4000,
        metric=metric,
        metric_value=value,
        metric_low=value - 0.01,
        metric_high=value + 0.01,
        loss=loss,
        outcomes=(frozen("loss", shares),),
    )
    return about_of(contract, profile, project(**more))


def answered(
    shares: Sequence[float],
    *,
    first: int = 0,
    start: float = 0.0,
    days: float = 7.0,
    honest: float = 1.0,
    **more: Any,
) -> tuple[list[Prediction], dict[str, Outcome]]:
    """Answers over some days, labels two days later; with ``honest`` 0 they have nothing to do with each other."""
    rng = np.random.default_rng(first + 5)
    rows, outcomes = [], {}
    for place, share in enumerate(shares):
        made = start + days * place / len(shares)
        identity = f"s-{first + place}"
        fields = {name: values[place] for name, values in more.items()}
        rows.append(
            Prediction(
                value="yes" if share > 0.5 else "no",
                verdict=Verdict(status="ok"),
                probabilities={"no": float(1 - share), "yes": float(share)},
                id=identity,
                time=day(made),
                inputs={"x": 1.0, **fields},
            )
        )
        chance = 0.5 + honest * (share - 0.5)
        label = "yes" if rng.random() < chance else "no"
        outcomes[identity] = Outcome(prediction_id=identity, value=label, time=day(made + 2))
    return rows, outcomes


def weeks(count: int, each: int = 600, **more: Any) -> tuple[list[Prediction], dict[str, Outcome], list[Any]]:
    rows: list[Prediction] = []
    outcomes: dict[str, Outcome] = {}
    for week in range(count):
        got, labels = answered(said(each, week), first=week * each, start=7.0 * week, **more)
        rows += got
        outcomes |= labels
    return rows, outcomes, [(day(7 * week), day(7 * week + 7)) for week in range(count)]


def named(measures: Sequence[Measure]) -> Mapping[tuple[str, str], Measure]:
    return {(each.name, each.group): each for each in measures}


class TestOverTime:
    def test_what_labels_tell_of_each_stretch(self) -> None:
        rows, outcomes, bounds = weeks(2)
        first, second = over_time(about(), bounds, reversed(rows), outcomes)
        found = named(second)
        labels = [outcomes[row.id].value for row in rows[600:]]
        shares = [row.probabilities["yes"] for row in rows[600:] if row.probabilities]
        assert found["accuracy", ""].value == pytest.approx(accuracy_score(labels, [row.value for row in rows[600:]]))
        assert found["roc_auc", ""].value == pytest.approx(roc_auc_score([each == "yes" for each in labels], shares))
        assert found["reference_accuracy", ""].value == 0.75
        assert found["label_coverage", ""].value == 1.0
        assert found["label_delay_p50", ""].value == pytest.approx(2 * 86_400)
        assert found["label_delay_p90", ""].unit == "s"
        calibration = found["calibration", ""]
        assert calibration.low is not None
        assert calibration.high is not None
        assert calibration.low < 0 < calibration.high
        assert named(first)["accuracy", ""].value != found["accuracy", ""].value

    def test_the_order_of_rows_changes_nothing(self) -> None:
        rows, outcomes, bounds = weeks(2, 200)
        shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
        assert over_time(about(), bounds, shuffled, outcomes) == over_time(about(), bounds, rows, outcomes)

    def test_without_labels_there_are_estimates_and_coverage(self) -> None:
        rows, outcomes, bounds = weeks(1)
        (measures,) = over_time(about(), bounds, rows, {})
        assert {name for name, _ in named(measures)} == {
            *("label_coverage", "estimated_accuracy", "estimated_roc_auc", "estimated_brier")
        }
        low, high = measures[0].low, measures[0].high
        assert (measures[0].value, low) == (0.0, 0.0)
        assert high is not None
        assert 0 < high < 0.02
        truth = named(over_time(about(), bounds, rows, outcomes)[0])["accuracy", ""].value
        band = named(measures)["estimated_accuracy", ""]
        assert truth is not None
        assert band.low is not None
        assert band.high is not None
        assert band.low < truth < band.high

    def test_an_estimate_is_moved_by_misses_of_labels_that_were_due(self) -> None:
        rows, outcomes, bounds = weeks(3, honest=0.5)
        own = named(over_time(about(), bounds, rows, outcomes)[2])["estimated_accuracy", ""]
        late = named(over_time(about(label_delay="30d"), bounds, rows, outcomes)[2])["estimated_accuracy", ""]
        assert "moved and widened by what 2 labelled batches" in own.method
        assert "moved" not in late.method
        assert own.value is not None
        assert late.value is not None
        assert own.value < late.value - 0.05

    def test_few_labels_give_no_figure_and_a_stretch_without_rows_nothing(self) -> None:
        rows, outcomes, bounds = weeks(1, 29)
        (some, nothing) = over_time(about(), [*bounds, (day(7), day(14))], rows, outcomes)
        assert {name for name, _ in named(some)} == {"label_coverage", "label_delay_p50", "label_delay_p90"}
        assert [(each.name, each.value) for each in nothing] == [("label_coverage", None)]

    def test_groups_of_protected_columns(self) -> None:
        shares = said(1200, 3)
        sex = ["f" if place % 3 else "m" for place in range(1200)]
        rows, outcomes = answered(shares, sex=sex)
        for place, row in enumerate(rows):  # the model is no better than a coin for one of the two
            if sex[place] == "m" and place % 2:
                outcomes[row.id] = Outcome(prediction_id=row.id, value="yes" if row.value == "no" else "no")
        (measures,) = over_time(about(protected=["sex", "age"]), [(day(0), day(7))], rows, outcomes)
        found = named(measures)
        gap = found["fair_gap:sex:accuracy", ""]
        women, men = found["accuracy", "sex=f"], found["accuracy", "sex=m"]
        assert women.value is not None
        assert men.value is not None
        assert gap.value == pytest.approx(women.value - men.value)
        assert gap.low is not None
        assert gap.low > 0.1
        assert women.n == 800
        assert not [name for name, _ in found if ":age:" in name]

    def test_a_small_group_is_left_out_and_named(self) -> None:
        sex = ["x" if place < 10 else "f" if place % 2 else "m" for place in range(600)]
        rows, outcomes = answered(said(600, 4), sex=sex)
        (measures,) = over_time(about(protected=["sex"]), [(day(0), day(7))], rows, outcomes)
        found = named(measures)
        assert found["fair_gap:sex:accuracy", ""].value is not None
        assert "sex=x" in found["fair_gap:sex:accuracy", ""].method
        assert ("accuracy", "sex=x") not in found

    def test_many_rows_are_sampled_evenly_and_counted_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows, outcomes, bounds = weeks(1, 2000)
        (whole,) = over_time(about(), bounds, rows, outcomes)
        monkeypatch.setattr(gathering, "KEPT", 500)
        (part,) = over_time(about(), bounds, rows, outcomes)
        (again,) = over_time(about(), bounds, rows[::-1], outcomes)
        assert part == again
        assert named(part)["label_coverage", ""] == named(whole)["label_coverage", ""]
        assert named(part)["accuracy", ""].n == 500
        known, low, high = named(whole)["accuracy", ""].value, *_ends(named(part)["accuracy", ""])
        assert known is not None
        assert low < known < high

    def test_numbers(self) -> None:
        rng = np.random.default_rng(6)
        predicted = rng.uniform(0, 1, 500)
        rows = [
            Prediction(value=float(value), verdict=Verdict(status="ok"), id=f"s-{place}", time=day(1))
            for place, value in enumerate(predicted)
        ]
        rows.append(Prediction(value=None, verdict=Verdict(status="rejected"), id="s-x", time=day(1)))
        outcomes = {
            row.id: Outcome(prediction_id=row.id, value=float(row.value + rng.normal(0.3, 0.1)), time=day(2))
            for row in rows
            if isinstance(row.value, float)
        }
        outcomes["s-0"] = Outcome(prediction_id="s-0", value="much", time=day(2))
        (measures,) = over_time(about(NUMBERS, metric="mae"), [(day(0), day(7))], rows, outcomes)
        found = named(measures)
        assert found["mae", ""].value == pytest.approx(0.3, abs=0.02)
        assert found["estimated_mae", ""].value == pytest.approx(0.08, abs=0.01)  # it does not see that
        assert found["calibration", ""].value == pytest.approx(-0.3, abs=0.02)
        assert (found["mae", ""].unit, found["label_coverage", ""].n) == ("EUR", 500)
        assert found["mae", ""].n == 499


def _ends(measure: Measure) -> tuple[float, float]:
    assert measure.low is not None
    assert measure.high is not None
    return measure.low, measure.high


class TestFindings:
    def test_labels_and_estimates_beside_the_reference(self) -> None:
        rows, outcomes, _ = weeks(1)
        realised, estimated = findings(about(), rows, outcomes)
        assert (realised.code, estimated.code) == ("M003", "M004")
        assert "600 of 600 answered rows have a label" in realised.text
        assert "on the reference" in realised.text
        assert "accuracy is probably" in estimated.text
        assert "is not seen before labels come" in estimated.text
        assert {each.name for each in realised.measures} >= {"accuracy", "reference_accuracy", "label_coverage"}
        assert len({(each.name, each.group) for each in realised.measures}) == len(realised.measures)

    def test_what_is_worse_beyond_chance_is_a_warning(self) -> None:
        rows, outcomes, _ = weeks(1, honest=0.0)
        realised, estimated = findings(about(), rows, outcomes)
        assert realised.severity == "warning"
        assert estimated.severity != "warning"  # it cannot see it
        unsure, labels = answered([0.5 + 0.01 * (place % 3) for place in range(600)])
        assert findings(about(), unsure, labels)[1].severity == "warning"

    def test_earlier_batches_score_the_estimates(self) -> None:
        rows, outcomes, _ = weeks(5)
        _, estimated = findings(about(), rows, outcomes, since=day(28))
        assert "Of 4 earlier batches whose labels came, " in estimated.text
        assert estimated.measures[0].n == 600
        rows, outcomes, _ = weeks(5, honest=0.0)
        _, estimated = findings(about(), rows, outcomes, since=day(28))
        assert estimated.severity == "warning"  # moved by what labels told
        _, blind = findings(about(label_delay="60d"), rows, outcomes, since=day(28))
        assert "earlier" not in blind.text

    @pytest.mark.parametrize(
        ("rows", "why"), [(0, "0 answered rows, 100"), (99, "99 answered rows, 100 with probabilities are needed")]
    )
    def test_few_rows_are_not_judged(self, rows: int, why: str) -> None:
        got, labels = answered(said(rows, 8))
        realised, estimated = findings(about(), got, {})
        assert "too few to tell" in realised.text
        assert why in estimated.text
        assert (realised.severity, estimated.severity) == ("info", "info")
        assert len(labels) == rows

    def test_a_model_without_a_loss_says_so(self) -> None:
        rows, outcomes, _ = weeks(1, 200)
        bare = about_of(TWO, Profile(features=(), rows=10, metric="accuracy"), project())
        assert "no loss" in findings(bare, rows, outcomes)[1].text
        unsure = about_of(TWO, Profile(features=(), rows=10, loss=losses.fit(TWO, ["no"], ["no"], None)), project())
        assert "gives no probabilities" in findings(unsure, rows, outcomes)[1].text


class TestValue:
    def test_value_is_told_with_and_without_labels_and_costs_what_is_missing(self) -> None:
        rows, outcomes, bounds = weeks(1, 1000)
        known = about(gates=[fc.worth(matrix=MATRIX, at_least=0)], currency="EUR")
        before = Measure(name="value_per_row", value=9.0, low=8.5, high=9.5)
        rich = About(**{**vars(known), "reference": {**known.reference, "value_per_row": before}})
        (measures,) = over_time(rich, bounds, rows, outcomes)
        found = named(measures)
        earned = np.mean([MATRIX.get((str(outcomes[row.id].value), str(row.value)), 0.0) for row in rows])
        assert found["value_per_row", ""].value == pytest.approx(earned)
        low, high = _ends(found["estimated_value_per_row", ""])
        assert low < earned < high
        assert found["reference_value_per_row", ""].value == 9.0
        cost = cost_per_day(rich, measures, 500)
        assert cost is not None
        assert cost[0] == pytest.approx((9.0 - earned) * 500)
        assert cost[1] == "EUR"
        late = cost_per_day(rich, [each for each in measures if each.name != "value_per_row"], 500)
        assert late is not None
        assert late[0] == pytest.approx(cost[0], rel=0.5)
        assert "An answer was worth" in findings(rich, rows, outcomes)[0].text

    def test_what_is_not_known_to_be_less_costs_nothing(self) -> None:
        rows, outcomes, bounds = weeks(1)
        known = about(gates=[fc.worth(matrix=MATRIX, at_least=0)])
        (measures,) = over_time(known, bounds, rows, outcomes)
        assert cost_per_day(known, measures, 500) is None  # the report did not say what it was worth
        alike = named(measures)["value_per_row", ""]
        same = About(**{**vars(known), "reference": {"value_per_row": alike}})
        assert cost_per_day(same, measures, 500) is None
        assert cost_per_day(about(), measures, 500) is None  # no gate

    def test_a_function_that_fails_does_not_stop_the_watch(self) -> None:
        def per_row(actual: Any, predicted: Any) -> Any:
            raise KeyError("price list")

        rows, outcomes, bounds = weeks(1, 200)
        known = about(gates=[fc.worth(per_row=per_row, at_least=0)])
        (measures,) = over_time(known, bounds, rows, outcomes)
        value = named(measures)["value_per_row", ""]
        assert value.value is None
        assert "KeyError" in value.method
        assert ("estimated_value_per_row", "") not in named(measures)
        assert "price list" in findings(known, rows, outcomes)[0].text
