"""Gates decide on the end of an interval and fail closed: whatever cannot be decided is a no, with the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.evaluation.gates import FEWEST_ROWS, decide
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, size, worth
from fullcircle.types.report import Finding, GateVerdict, Measure, Report

ALL: tuple[Gate, ...] = (
    at_most("mae", 10.0),
    at_least("r2", 0.5),
    beats("champion"),
    beats("baseline"),
    fair("sex", "mae", 2.0),
    worth(lambda actual, predicted: actual, 1.0),
    at_most("bias", 5.0),
    at_most("mae", 10.0, by="sex"),
    latency("5ms"),
    size("2kB"),
)
GOOD: tuple[Measure, ...] = (
    Measure(name="mae", value=9.0, low=8.0, high=10.0, n=100),
    Measure(name="r2", value=0.6, low=0.5, high=0.7, n=100),
    Measure(name="improvement_over_champion", value=1.0, low=0.2, high=1.8, n=100),
    Measure(name="improvement_over_baseline", value=5.0, low=4.0, high=6.0, n=100),
    Measure(name="fair_gap:sex:mae", value=1.5, low=0.1, high=2.0, n=100),
    Measure(name="value_per_row", value=1.5, low=1.0, high=2.0, n=100),
    Measure(name="bias", value=1.0, low=-3.0, high=5.0, n=100, better="zero"),
    Measure(name="mae", value=9.0, low=8.0, high=10.0, n=100, group="sex=female"),
    Measure(name="latency_p99_ms", value=4.9, low=4.8, high=5.0, n=200, unit="ms"),
    Measure(name="model_bytes", value=2000.0, low=2000.0, high=2000.0, unit="bytes"),
)
# Which end of the interval decides, and a figure for it that breaks the gate.
DECIDES: tuple[tuple[str, float], ...] = (
    ("high", 10.001),
    ("low", 0.499),
    ("low", 0.0),
    ("low", 0.0),
    ("high", 2.001),
    ("low", 0.999),
    ("low", -5.001),
    ("high", 10.001),
    ("high", 5.001),
    ("high", 2000.001),
)
DRAWN = 8  # the first so many rest on rows


def _report(measures: tuple[Measure, ...], rows: int = 100) -> Report:
    finding = Finding(check="all", code="E000", title="t", severity="info", text="t", measures=measures)
    return Report(subject="m", findings=(finding,), rows=rows)


def _one(gate: Gate, *measures: Measure | None, has_champion: bool = True) -> GateVerdict:
    known = tuple(measure for measure in measures if measure is not None)
    (verdict,) = _decided([gate], _report(known), has_champion=has_champion)
    return verdict


def _decided(gates: Sequence[Gate], report: Report, *, has_champion: bool) -> tuple[GateVerdict, ...]:
    """The verdicts where the rows have the groups of sex that the report has."""
    groups = {measure.group for finding in report.findings for measure in finding.measures if measure.group}
    return decide(gates, report, has_champion=has_champion, grouped={("sex",): groups})


PAIRS = list(zip(ALL, GOOD, strict=True))
NAMES = [gate.text for gate in ALL]


@pytest.mark.parametrize(("gate", "measure"), PAIRS, ids=NAMES)
def test_a_gate_whose_figures_hold_passes_and_shows_them(gate: Gate, measure: Measure) -> None:
    verdict = _one(gate, measure)
    assert verdict.passed, verdict.reason
    assert verdict.gate == gate.text
    assert f"{measure.value:.4g}" in verdict.reason.replace("2 000", "2000")
    assert "must be" in verdict.reason
    assert "keeps the limit but" not in verdict.reason


@pytest.mark.parametrize(("gate", "measure", "decides"), list(zip(ALL, GOOD, DECIDES, strict=True)), ids=NAMES)
def test_the_end_of_the_interval_decides_and_not_the_value(
    gate: Gate, measure: Measure, decides: tuple[str, float]
) -> None:
    end, broken = decides
    verdict = _one(gate, replace(measure, low=broken) if end == "low" else replace(measure, high=broken))
    assert not verdict.passed, "the value alone would keep the limit"
    assert "the value keeps the limit but its interval does not: more rows would tell" in verdict.reason


@pytest.mark.parametrize(("gate", "measure"), PAIRS[:DRAWN], ids=NAMES[:DRAWN])
@pytest.mark.parametrize("gone", [None, math.nan, math.inf, -math.inf])
def test_no_interval_is_a_no(gate: Gate, measure: Measure, gone: float | None) -> None:
    for one in (replace(measure, low=gone), replace(measure, high=gone), replace(measure, low=gone, high=gone)):
        verdict = _one(gate, one)
        assert not verdict.passed
        assert f"is {measure.value:.4g} and has no interval to decide on: its check has to give one" in verdict.reason


@pytest.mark.parametrize(("gate", "measure"), PAIRS, ids=NAMES)
def test_a_missing_or_unusable_measure_is_a_no(gate: Gate, measure: Measure) -> None:
    missing = _one(gate, None)
    assert not missing.passed
    assert "not in the report" in missing.reason
    for value in (None, math.nan, math.inf, -math.inf):
        verdict = _one(gate, replace(measure, value=value, method="the why"))
        assert not verdict.passed, value
        assert "is unknown: the why" in verdict.reason


@pytest.mark.parametrize(("gate", "measure"), PAIRS[:DRAWN], ids=NAMES[:DRAWN])
def test_too_few_rows_is_a_no(gate: Gate, measure: Measure) -> None:
    verdict = _one(gate, replace(measure, n=FEWEST_ROWS - 1))
    assert not verdict.passed
    assert "on only 29 rows; at least 30 are needed to decide" in verdict.reason
    assert _one(gate, replace(measure, n=FEWEST_ROWS)).passed
    # Where the measure does not say how many rows it is of, the report does; of a group nobody does.
    (few,) = _decided([gate], _report((replace(measure, n=0),), rows=5), has_champion=True)
    assert not few.passed
    (enough,) = _decided([gate], _report((replace(measure, n=0),), rows=FEWEST_ROWS), has_champion=True)
    assert enough.passed is (not measure.group)
    assert "0 rows" not in enough.reason.replace("30 rows", "").replace("100 rows", "")


@pytest.mark.parametrize(("gate", "measure"), PAIRS[DRAWN:], ids=NAMES[DRAWN:])
@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_time_and_size_need_no_rows(gate: Gate, measure: Measure, rows: int) -> None:
    for one in (replace(measure, n=rows), replace(measure, n=rows, low=None, high=None)):
        (verdict,) = _decided([gate], _report((one,), rows=rows), has_champion=True)
        assert verdict.passed
        assert "rows" not in verdict.reason
    half = replace(measure, low=None)
    assert not _one(gate, half).passed, "half an interval is none"


def test_the_reason_says_the_figures_and_what_must_hold() -> None:
    mae = Measure(name="mae", value=44.3, low=41.2, high=47.5, n=88)
    assert _one(at_most("mae", 60), mae).reason == (
        "mae is 44.3 (95 % 41.2 to 47.5) on 88 rows; its upper end must be at most 60"
    )
    assert _one(at_most("mae", 45), mae).reason == (
        "mae is 44.3 (95 % 41.2 to 47.5) on 88 rows; its upper end must be at most 45; "
        "the value keeps the limit but its interval does not: more rows would tell"
    )
    assert _one(at_most("mae", 40), mae).reason == (
        "mae is 44.3 (95 % 41.2 to 47.5) on 88 rows; its upper end must be at most 40"
    )
    assert _one(at_least("r2", 0.5), GOOD[1]).reason.endswith("; its lower end must be at least 0.5")
    assert _one(at_most("bias", 5), GOOD[6]).reason.endswith("; both ends must be at most 5 from zero")
    assert _one(beats(), GOOD[2]).reason == (
        "improvement over the champion is 1 (95 % 0.2 to 1.8) on 100 rows, beyond chance; "
        "its lower end must be above 0"
    )
    assert _one(size("2kB"), GOOD[9]).reason == "the size of the model file is 2 000 bytes; it must be at most 2 000"
    assert _one(latency("5ms"), GOOD[8]).reason == (
        "the 99 % latency is 4.9 ms (95 % 4.8 to 5); its upper end must be at most 5"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "passed"),
    [
        (0.0, -5.0, 5.0, True),
        (4.0, 3.0, 5.0, True),
        (-4.0, -5.0, -3.0, True),
        (0.0, -5.1, 1.0, False),
        (0.0, -1.0, 5.1, False),
        (-1000.0, -1001.0, -999.0, False),
    ],
)
def test_a_bias_is_judged_by_its_distance_from_zero(value: float, low: float, high: float, passed: bool) -> None:
    for better in ("zero", ""):  # what the table of metrics says holds also where the measure does not say it
        named: Any = better
        bias = Measure(name="bias", value=value, low=low, high=high, n=100, better=named)
        assert _one(at_most("bias", 5.0), bias).passed is passed
    assert _one(at_least("bias", -5.0), bias).passed is (low >= -5.0)


def test_an_interval_beside_its_value_does_not_hide_the_value() -> None:
    """A percentile bootstrap of a skewed figure may leave the value out: then the worst of all counts."""
    assert not _one(at_most("mae", 10.0), replace(GOOD[0], value=11.0)).passed
    assert not _one(at_least("r2", 0.5), replace(GOOD[1], value=0.4)).passed
    assert not _one(at_most("mae", 10.0), replace(GOOD[0], low=12.0)).passed, "ends the wrong way round"


@pytest.mark.parametrize(
    ("margin", "low", "passed"),
    [(0.0, 0.0, False), (0.0, 1e-9, True), (0.5, -0.5, False), (0.5, -0.499, True), (0.5, 0.1, True)],
)
def test_beating_means_beyond_chance_and_beyond_the_margin(margin: float, low: float, passed: bool) -> None:
    verdict = _one(beats(margin=margin), replace(GOOD[2], low=low))
    assert verdict.passed is passed
    assert f"its lower end must be above {-margin or 0:g}" in verdict.reason


def test_to_be_worse_beyond_chance_is_said() -> None:
    lost = replace(GOOD[2], value=-2.0, low=-3.0, high=-1.0)
    assert "improvement over the champion is -2 (95 % -3 to -1) on 100 rows, worse beyond chance;" in (
        _one(beats(), lost).reason
    )
    assert " on 100 rows, not beyond chance;" in _one(beats(), replace(lost, high=0.1)).reason


def test_without_a_champion_the_baseline_is_the_rival_and_that_is_said() -> None:
    verdict = _one(beats("champion"), GOOD[3], has_champion=False)
    assert verdict.passed
    assert "no champion yet" in verdict.reason
    assert not _one(beats("champion"), GOOD[3], has_champion=True).passed, "the champion's figures are missing"
    assert "no champion yet" not in _one(beats("baseline"), GOOD[3], has_champion=True).reason


def test_a_check_that_failed_is_named_by_the_gate_that_needed_it() -> None:
    broken = Finding(check="size", code="E006", title="t", severity="bad", text="The check size: ZeroDivisionError")
    for gate in (size("2kB"), at_most("mae", 1.0, by="sex")):
        (verdict,) = _decided([gate], Report(subject="m", findings=(broken,), rows=100), has_champion=False)
        assert not verdict.passed
        assert "ZeroDivisionError" in verdict.reason


def test_only_checks_that_failed_are_named_as_the_cause() -> None:
    def finding(text: str, severity: str, *measures: Measure) -> Finding:
        named: Any = severity
        return Finding(check="c", code="E9", title="t", severity=named, text=text, measures=measures)

    found = (
        finding("It is unfair.", "bad", Measure(name="other", value=1.0)),
        finding("Nothing to see.", "info"),
        finding("It broke.", "bad"),
    )
    (verdict,) = _decided([ALL[0]], Report(subject="m", findings=found, rows=100), has_champion=False)
    assert verdict.reason == "mae is not in the report; It broke."


def test_an_unknown_figure_says_why_where_that_is_known() -> None:
    assert _one(ALL[0], Measure(name="mae", value=None, n=100)).reason == "mae is unknown"
    said = _one(ALL[0], Measure(name="mae", value=None, n=100, method="one class only"))
    assert said.reason == "mae is unknown: one class only"


def test_figures_are_told_in_words_and_shares_without_a_unit() -> None:
    gap = Measure(name="fair_gap:sex/race:recall", value=0.1, low=0.0, high=0.2, n=100, unit="share")
    assert _one(fair(["sex", "race"], "recall", 0.3), gap).reason == (
        "the gap of recall between groups of sex and race is 0.1 (95 % 0 to 0.2) on 100 rows; "
        "its upper end must be at most 0.3"
    )
    value = Measure(name="value_per_row", value=2.0, low=1.0, high=3.0, n=100, unit="EUR a row")
    assert _one(worth(max, 1.0), value).reason.startswith("the value of a row is 2 EUR a row (95 % 1 to 3)")
    zero = Measure(name="improvement_over_champion", value=0.0, low=0.0, high=0.0, n=100, unit="share")
    assert "improvement over the champion is 0 on 100 rows" in _one(beats(), zero).reason
    # What is not there is told by its name, so that it can be looked for.
    assert _one(fair(["sex", "race"], "recall", 0.3), None).reason == "fair_gap:sex/race:recall is not in the report"
    assert _one(worth(max, 1.0), None).reason == "value_per_row is not in the report"


def test_no_interval_because_all_rows_are_alike_says_so() -> None:
    said = "all 100 rows are alike, so nothing tells how others would be"
    verdict = _one(ALL[0], Measure(name="mae", value=1.0, n=100, method=said))
    assert not verdict.passed
    assert verdict.reason == f"mae is 1 and has no interval to decide on: {said}"


@pytest.mark.parametrize(
    ("gate", "better", "passed"),
    [
        (at_most("skill", 5.0), "higher", False),
        (at_least("skill", -5.0), "lower", False),
        (at_most("skill", 5.0), "lower", True),
        (at_least("skill", -5.0), "higher", True),
        (at_most("skill", 5.0), "", True),
    ],
)
def test_a_limit_on_the_wrong_side_is_a_no(gate: Gate, better: Any, passed: bool) -> None:
    verdict = _one(gate, Measure(name="skill", value=0.5, low=0.4, high=0.6, n=100, better=better))
    assert verdict.passed is passed
    if not passed:
        assert verdict.reason == f"of skill {better} is better, so {gate.text!r} cannot be meant"


class TestLaws:
    """What holds for every figure."""

    FLOATS = st.floats() | st.none()

    @given(FLOATS, FLOATS, FLOATS, st.integers(0, 50), st.booleans())
    def test_no_gate_passes_on_anything_but_finite_figures_of_enough_rows(
        self, value: float | None, low: float | None, high: float | None, rows: int, has_champion: bool
    ) -> None:
        measures = tuple(replace(measure, value=value, low=low, high=high, n=rows) for measure in GOOD)
        for gate, verdict in zip(ALL, _decided(ALL, _report(measures, rows), has_champion=has_champion), strict=True):
            assert verdict.reason
            if not verdict.passed:
                continue
            assert value is not None
            assert math.isfinite(value)
            if gate.kind not in ("latency", "size"):
                assert rows >= FEWEST_ROWS
                assert low is not None
                assert high is not None
                assert math.isfinite(low)
                assert math.isfinite(high)
            if gate.kind == "beats":
                assert min(value, low or 0.0) > 0.0

    @given(st.lists(st.sampled_from(ALL)), st.booleans(), st.integers(0, 10**6))
    def test_no_gate_passes_on_an_empty_report(self, gates: list[Gate], has_champion: bool, rows: int) -> None:
        for empty in (Report(subject="m", rows=rows), _report((), rows)):
            assert not any(verdict.passed for verdict in _decided(gates, empty, has_champion=has_champion))

    @given(
        st.integers(0, len(ALL) - 1),
        st.lists(st.floats(-3000, 3000), min_size=5, max_size=5).map(sorted),
    )
    def test_what_passes_with_a_wide_interval_passes_with_a_narrower_one(self, at: int, points: list[float]) -> None:
        lowest, low, value, high, highest = points
        gate, measure = ALL[at], GOOD[at]
        wide = _one(gate, replace(measure, value=value, low=lowest, high=highest))
        narrow = _one(gate, replace(measure, value=value, low=low, high=high))
        assert narrow.passed or not wide.passed

    @given(
        st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted),
        st.floats(-1e6, 1e6),
        st.floats(0, 1e6),
    )
    def test_a_looser_limit_is_easier(self, points: list[float], limit: float, slack: float) -> None:
        low, value, high = points

        def passes(gate: Gate) -> bool:
            measure = Measure(name="", value=value, low=low, high=high, n=100)
            names = (gate.metric, "improvement_over_champion", "fair_gap:sex:mae")
            found = [replace(measure, name=name) for name in names]
            return _one(gate, *found, *(replace(one, group="sex=f") for one in found)).passed

        for by in ((), ("sex",)):
            for name in ("mae", "bias"):
                assert passes(at_most(name, limit + slack, by=by)) or not passes(at_most(name, limit, by=by))
                assert passes(at_least(name, limit - slack, by=by)) or not passes(at_least(name, limit, by=by))
            assert passes(beats(by=by, margin=slack)) or not passes(beats(by=by))
        assert passes(worth(max, limit - slack)) or not passes(worth(max, limit))
        assert passes(fair("sex", "mae", abs(limit) + slack)) or not passes(fair("sex", "mae", abs(limit)))

    @given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted), st.floats(-1e6, 1e6))
    def test_at_most_and_at_least_are_the_two_sides_of_one_line(self, points: list[float], limit: float) -> None:
        low, value, high = points
        measure = Measure(name="margin", value=value, low=low, high=high, n=100)
        most, least = _one(at_most("margin", limit), measure), _one(at_least("margin", limit), measure)
        assert most.passed is (high <= limit)
        assert least.passed is (low >= limit)
        assert (most.passed and least.passed) is (low == high == limit)

    @given(st.permutations(list(range(len(ALL)))), st.sets(st.integers(0, len(ALL) - 1)))
    def test_each_gate_answers_for_itself_in_the_order_asked(self, order: list[int], missing: set[int]) -> None:
        present = tuple(measure for place, measure in enumerate(GOOD) if place not in missing)
        verdicts = _decided([ALL[place] for place in order], _report(present), has_champion=True)
        assert [verdict.gate for verdict in verdicts] == [ALL[place].text for place in order]
        assert [verdict.passed for verdict in verdicts] == [place not in missing for place in order]

    @given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 60)), min_size=1, max_size=8))
    def test_groups_hold_exactly_when_each_one_does(self, found: list[tuple[float, int]]) -> None:
        measures = [
            Measure(name="mae", value=0.0, low=0.0, high=high, n=rows, group=f"sex={number}")
            for number, (high, rows) in enumerate(found)
        ]
        verdict = _one(at_most("mae", 10.0, by="sex"), *measures)
        assert verdict.passed is all(high <= 10.0 and rows >= FEWEST_ROWS for high, rows in found)


class TestFair:
    def test_the_gap_of_intersections_goes_by_all_columns(self) -> None:
        gate = fair(["sex", "race"], "mae", 2.0)
        assert _one(gate, replace(GOOD[4], name="fair_gap:sex/race:mae")).passed
        assert not _one(gate, GOOD[4]).passed

    def test_an_unknown_gap_says_why(self) -> None:
        small = replace(GOOD[4], value=None, low=None, high=None, method="too few rows to judge sex=other (3 rows)")
        verdict = _one(ALL[4], small)
        assert not verdict.passed
        assert "sex=other (3 rows)" in verdict.reason
