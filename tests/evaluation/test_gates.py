"""Gates fail closed: whatever cannot be decided is a no, with the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import ColumnMissing, ProjectInvalid
from fullcircle.evaluation.gates import FEWEST_ROWS, decide, refuse_unknown
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, size, worth
from fullcircle.types.report import Finding, GateVerdict, Measure, Report

ALL: tuple[Gate, ...] = (
    at_most("mae", 10.0),
    at_least("r2", 0.5),
    beats("champion"),
    beats("baseline"),
    fair("sex", "mae", 2.0),
    worth(lambda actual, predicted: actual, 1.0),
    latency("5ms"),
    size("2kB"),
)
GOOD: tuple[Measure, ...] = (
    Measure(name="mae", value=9.0, low=8.0, high=11.0, n=100),
    Measure(name="r2", value=0.6, n=100),
    Measure(name="improvement", value=1.0, low=0.2, high=1.8, n=100, group="champion"),
    Measure(name="improvement", value=5.0, low=4.0, high=6.0, n=100, group="baseline"),
    Measure(name="fair_gap:sex:mae", value=1.5, n=100),
    Measure(name="value_per_row", value=1.0, n=100),
    Measure(name="latency_p99_ms", value=4.9, n=200),
    Measure(name="model_bytes", value=2000.0),
)


def _report(measures: tuple[Measure, ...], rows: int = 100) -> Report:
    finding = Finding(check="all", code="E000", title="t", severity="info", text="t", measures=measures)
    return Report(subject="m", findings=(finding,), rows=rows)


def _one(gate: Gate, measure: Measure | None, *, has_champion: bool = True) -> GateVerdict:
    (verdict,) = decide([gate], _report(() if measure is None else (measure,)), has_champion=has_champion)
    return verdict


PAIRS = list(zip(ALL, GOOD, strict=True))
NAMES = [gate.text for gate in ALL]


@pytest.mark.parametrize(("gate", "measure"), PAIRS, ids=NAMES)
def test_a_gate_whose_figures_hold_passes_and_shows_them(gate: Gate, measure: Measure) -> None:
    verdict = _one(gate, measure)
    assert verdict.passed
    assert verdict.gate == gate.text
    assert f"{measure.value:.4g}".removesuffix(".0") in verdict.reason.replace(" ", "").replace("2000", "2000")


@pytest.mark.parametrize(("gate", "measure"), PAIRS, ids=NAMES)
def test_a_missing_or_unusable_measure_is_a_no(gate: Gate, measure: Measure) -> None:
    missing = _one(gate, None)
    assert not missing.passed
    assert "not in the report" in missing.reason
    for value in (None, math.nan, math.inf, -math.inf):
        verdict = _one(gate, replace(measure, value=value, low=value, method="the why"))
        assert not verdict.passed, value
        assert "the why" in verdict.reason


@pytest.mark.parametrize(("gate", "measure"), PAIRS[:6], ids=NAMES[:6])
def test_too_few_rows_is_a_no(gate: Gate, measure: Measure) -> None:
    verdict = _one(gate, replace(measure, n=FEWEST_ROWS - 1))
    assert not verdict.passed
    assert "29 rows" in verdict.reason
    assert "30" in verdict.reason
    assert _one(gate, replace(measure, n=FEWEST_ROWS)).passed
    # Where the measure does not say how many rows it is of, the report does.
    (few,) = decide([gate], _report((replace(measure, n=0),), rows=5), has_champion=True)
    assert not few.passed


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        (ALL[0], 10.0, True),
        (ALL[0], 10.001, False),
        (ALL[1], 0.5, True),
        (ALL[1], 0.499, False),
        (ALL[4], 2.0, True),
        (ALL[4], 2.1, False),
        (ALL[5], 0.99, False),
        (ALL[6], 5.0, True),
        (ALL[6], 5.1, False),
        (ALL[7], 2001.0, False),
    ],
)
def test_the_limit_itself_is_allowed_and_not_more(gate: Gate, value: float, passed: bool) -> None:
    (measure,) = [measure for each, measure in PAIRS if each is gate]
    verdict = _one(gate, replace(measure, value=value))
    assert verdict.passed is passed
    assert "allowed: at" in verdict.reason


@pytest.mark.parametrize(
    ("value", "passed"), [(-1000.0, False), (-5.0, True), (0.0, True), (5.0, True), (5.1, False)]
)
def test_a_bias_is_judged_by_its_distance_from_zero(value: float, passed: bool) -> None:
    assert _one(at_most("bias", 5.0), Measure(name="bias", value=value, n=100)).passed is passed


@pytest.mark.parametrize("low", [None, math.nan, math.inf, -math.inf, 0.0, -0.1])
def test_beating_means_beyond_chance(low: float | None) -> None:
    verdict = _one(beats(), replace(GOOD[2], low=low))
    assert not verdict.passed
    assert "improvement over the champion is 1" in verdict.reason


def test_without_a_champion_the_baseline_is_the_rival_and_that_is_said() -> None:
    verdict = _one(beats("champion"), GOOD[3], has_champion=False)
    assert verdict.passed
    assert "no champion yet" in verdict.reason
    assert not _one(beats("champion"), GOOD[3], has_champion=True).passed, "the champion's figures are missing"
    assert "no champion yet" not in _one(beats("baseline"), GOOD[3], has_champion=True).reason


def test_a_check_that_failed_is_named_by_the_gate_that_needed_it() -> None:
    broken = Finding(check="size", code="E006", title="t", severity="bad", text="The check size: ZeroDivisionError")
    (verdict,) = decide([ALL[7]], Report(subject="m", findings=(broken,), rows=100), has_champion=False)
    assert not verdict.passed
    assert "ZeroDivisionError" in verdict.reason


@given(st.floats() | st.none(), st.floats() | st.none(), st.floats() | st.none(), st.integers(0, 50), st.booleans())
def test_no_gate_passes_on_anything_but_finite_figures_of_enough_rows(
    value: float | None, low: float | None, high: float | None, rows: int, has_champion: bool
) -> None:
    measures = tuple(replace(measure, value=value, low=low, high=high, n=rows) for measure in GOOD)
    for gate, verdict in zip(ALL, decide(ALL, _report(measures, rows), has_champion=has_champion), strict=True):
        assert verdict.reason
        if verdict.passed:
            assert value is not None
            assert math.isfinite(value)
            assert rows >= FEWEST_ROWS or gate.kind in ("latency", "size")
            if gate.kind == "beats":
                assert low is not None
                assert low > 0.0


def test_gates_that_fit_are_accepted() -> None:
    refuse_unknown(ALL, task="regression", columns=("sex", "age"))
    refuse_unknown((at_most("latency_p50_ms", 3.0), at_least("value_per_row", 1.0)), task="regression", columns=())
    refuse_unknown((at_most("bias", 3.0), at_least("bias", -3.0)), task="regression", columns=())
    refuse_unknown((at_least("roc_auc", 0.5),), task="classification", columns=(), classes=2)


@pytest.mark.parametrize(
    ("gate", "task", "said"),
    [
        (at_most("mape", 1.0), "regression", "mae, rmse"),
        (at_most("accuracy", 1.0), "regression", "mae, rmse"),
        (at_most("mae", 1.0), "classification", "log_loss, accuracy"),
        (fair("sex", "latency_p50_ms", 1.0), "regression", "mae, rmse"),
        (at_most("r2", 0.5), "regression", "at_least for r2"),
        (at_least("mae", 0.5), "regression", "at_most for mae"),
        (at_least("roc_auc", 0.5), "classification", "balanced_accuracy"),
    ],
)
def test_gates_that_cannot_be_decided_are_refused_before_training(gate: Gate, task: str, said: str) -> None:
    with pytest.raises(ProjectInvalid) as caught:
        refuse_unknown(
            (gate,), task="regression" if task == "regression" else "classification", columns=("sex",), classes=3
        )
    assert said in str(caught.value.allowed)
    assert caught.value.next_step


def test_groups_by_an_absent_column_and_two_values_of_a_row_are_refused() -> None:
    with pytest.raises(ColumnMissing, match="not in the data"):
        refuse_unknown((fair("gender", "mae", 1.0),), task="regression", columns=("sex",))
    twice = (worth(lambda a, p: a), worth(lambda a, p: p))
    with pytest.raises(ProjectInvalid, match="two worth gates"):
        refuse_unknown(twice, task="regression", columns=())


def test_a_metric_of_two_classes_is_only_refused_where_there_are_others() -> None:
    gate = (at_least("roc_auc", 0.5),)
    refuse_unknown(gate, task="classification", columns=(), classes=2)
    refuse_unknown(gate, task="classification", columns=())  # how many classes there are is not known yet
    for classes in (3, 10):
        with pytest.raises(ProjectInvalid, match="two classes") as caught:
            refuse_unknown(gate, task="classification", columns=(), classes=classes)
        assert caught.value.received == f"{classes} classes"
        assert "roc_auc" not in (caught.value.allowed or "")


def test_the_reason_says_in_words_which_way_it_went() -> None:
    assert _one(beats(), GOOD[2]).reason.endswith(", beyond chance")
    lost = _one(beats(), replace(GOOD[2], low=-0.2))
    assert "not beyond chance: the low end must be above 0" in lost.reason
    for low in (None, math.nan, math.inf):
        assert "has no interval to decide on" in _one(beats(), replace(GOOD[2], low=low)).reason


def test_where_a_measure_does_not_say_its_rows_the_reports_count() -> None:
    for gate, measure in PAIRS[:6]:
        (enough,) = decide([gate], _report((replace(measure, n=0),), rows=FEWEST_ROWS), has_champion=True)
        assert enough.passed, gate.text
        assert "on 0 rows" not in enough.reason
        assert " on 100 rows" in _one(gate, measure).reason


@pytest.mark.parametrize(("gate", "measure"), PAIRS[6:], ids=NAMES[6:])
@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_time_and_size_need_no_rows(gate: Gate, measure: Measure, rows: int) -> None:
    (verdict,) = decide([gate], _report((replace(measure, n=rows),), rows=rows), has_champion=True)
    assert verdict.passed


def test_only_checks_that_failed_are_named_as_the_cause() -> None:
    def finding(text: str, severity: str, *measures: Measure) -> Finding:
        named: Any = severity
        return Finding(check="c", code="E9", title="t", severity=named, text=text, measures=measures)

    found = (
        finding("It is unfair.", "bad", Measure(name="other", value=1.0)),
        finding("Nothing to see.", "info"),
        finding("It broke.", "bad"),
    )
    (verdict,) = decide([ALL[0]], Report(subject="m", findings=found, rows=100), has_champion=False)
    assert verdict.reason == "mae is not in the report; It broke."


def test_an_unknown_figure_says_why_where_that_is_known() -> None:
    assert _one(ALL[0], Measure(name="mae", value=None, n=100)).reason == "mae is unknown"
    said = _one(ALL[0], Measure(name="mae", value=None, n=100, method="one class only"))
    assert said.reason == "mae is unknown: one class only"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_at_most_and_at_least_are_the_two_sides_of_one_line(value: float, limit: float) -> None:
    measure = Measure(name="margin", value=value, n=100)
    most, least = _one(at_most("margin", limit), measure), _one(at_least("margin", limit), measure)
    assert most.passed is (value <= limit)
    assert least.passed is (value >= limit)
    assert (most.passed and least.passed) is (value == limit)


@given(st.permutations(list(range(len(ALL)))), st.sets(st.integers(0, len(ALL) - 1)))
def test_each_gate_answers_for_itself_in_the_order_asked(order: list[int], missing: set[int]) -> None:
    present = tuple(measure for place, measure in enumerate(GOOD) if place not in missing)
    verdicts = decide([ALL[place] for place in order], _report(present), has_champion=True)
    assert [verdict.gate for verdict in verdicts] == [ALL[place].text for place in order]
    assert [verdict.passed for verdict in verdicts] == [place not in missing for place in order]
