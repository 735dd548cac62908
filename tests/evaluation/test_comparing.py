"""Two reports side by side: aligned by name and group, judged by their intervals, mirrored when they swap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import subjects
from fullcircle.evaluation.comparing import compare_reports, standing
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.comparison import Comparison
from fullcircle.types.gates import at_most
from fullcircle.types.report import About, Better, Finding, GateVerdict, Measure, Report, Severity

MIRROR = {"better": "worse", "worse": "better", "same within doubt": "same within doubt", "unknown": "unknown"}


def figure(
    low: float, high: float, better: Better = "lower", *, name: str = "mae", group: str = "", unit: str = ""
) -> Measure:
    middle = (low + high) / 2
    return Measure(name=name, group=group, value=middle, low=low, high=high, better=better, unit=unit)


def finding(code: str, check: str, *measures: Measure, severity: Severity = "good", text: str = "t.") -> Finding:
    return Finding(check=check, code=code, title=check, severity=severity, text=text, measures=measures)


def report(*findings: Finding, subject: str = "m", **fields: Any) -> Report:
    return Report(subject=subject, findings=findings, **fields)


@pytest.mark.parametrize(
    ("first", "second", "better", "expected"),
    [
        ((1, 2), (3, 4), "higher", "better"),
        ((1, 2), (3, 4), "lower", "worse"),
        ((3, 4), (1, 2), "lower", "better"),
        ((1, 3), (2, 4), "lower", "same within doubt"),
        ((1, 2), (2, 3), "higher", "same within doubt"),  # they touch
        ((1, 4), (2, 3), "higher", "same within doubt"),
        ((1, 2), (3, 4), "", "unknown"),
        ((5, 5), (5, 5), "lower", "same within doubt"),  # counted, not estimated
        ((5, 5), (6, 6), "lower", "worse"),
        ((-3, -2), (0.5, 1), "zero", "better"),
        ((-1, 2), (3, 4), "zero", "worse"),
        ((-1, 2), (-4, -3), "zero", "worse"),
        ((-2, -1), (1, 2), "zero", "same within doubt"),  # as far from zero
        ((-1, 3), (1, 2), "zero", "same within doubt"),
    ],
)
def test_two_intervals_say_which_is_better(first: Any, second: Any, better: Better, expected: str) -> None:
    assert standing(figure(first[0], first[1], better), figure(second[0], second[1], better)) == expected
    assert standing(figure(second[0], second[1], better), figure(first[0], first[1], better)) == MIRROR[expected]


@pytest.mark.parametrize(
    "second",
    [
        None,
        figure(1, 2, unit="ms"),
        figure(1, 2, "higher"),
        replace(figure(1, 2), value=None),
        replace(figure(1, 2), value=float("nan")),
        replace(figure(1, 2), low=None),
        replace(figure(1, 2), high=None),
        replace(figure(1, 2), low=float("nan")),
        figure(3, 2),
    ],
    ids=["missing", "unit", "way", "no value", "nan", "no low", "no high", "nan low", "upside down"],
)
def test_what_cannot_be_judged_is_unknown(second: Measure | None) -> None:
    assert standing(figure(7, 8), second) == "unknown"
    assert standing(second, figure(7, 8)) == "unknown"


BOUNDS = st.tuples(*[st.floats(-100, 100)] * 2).map(sorted)
FIGURES = st.builds(
    lambda bounds, name, group, better: figure(bounds[0], bounds[1], better, name=name, group=group),
    BOUNDS,
    st.sampled_from("abc"),
    st.sampled_from(["", "g=1", "g=2"]),
    st.sampled_from(["higher", "lower", "zero", ""]),
)
FINDINGS = st.builds(
    lambda code, measures, severity: finding(f"E00{code}", f"check{code}", *measures, severity=severity),
    st.integers(1, 4),
    st.lists(FIGURES, max_size=4),
    st.sampled_from(["good", "bad", "info", "warning"]),
)
GATES = st.builds(GateVerdict, gate=st.sampled_from("pqr"), passed=st.booleans(), reason=st.text(max_size=3))
REPORTS = st.builds(
    lambda findings, gates: report(*findings, gates=tuple(gates)),
    st.lists(FINDINGS, max_size=4, unique_by=lambda each: each.code),
    st.lists(GATES, max_size=3, unique_by=lambda each: each.gate),
)


@given(REPORTS, REPORTS)
@settings(max_examples=200)
def test_every_measure_and_gate_stands_once_with_what_the_gates_would_read(first: Report, second: Report) -> None:
    found = compare_reports(first, second)
    keys = [(row.name, row.group) for row in found.rows]
    assert len(keys) == len(set(keys))
    held = {(m.name, m.group) for each in (first, second) for f in each.findings for m in f.measures}
    assert set(keys) == held
    for row in found.rows:
        assert row.first == first.measure(row.name, row.group)
        assert row.second == second.measure(row.name, row.group)
    assert {gate.gate for gate in found.gates} == {gate.gate for each in (first, second) for gate in each.gates}
    for gate in found.gates:
        assert gate.first == next((each.passed for each in first.gates if each.gate == gate.gate), None)
        assert gate.second == next((each.passed for each in second.gates if each.gate == gate.gate), None)
    assert [each.code for each in found.findings] == sorted({f.code for r in (first, second) for f in r.findings})
    assert (found.first_passed, found.second_passed) == (first.passed, second.passed)


@given(REPORTS, REPORTS)
def test_changing_places_mirrors_the_answers(first: Report, second: Report) -> None:
    one, two = compare_reports(first, second, names=("a", "b")), compare_reports(second, first, names=("b", "a"))
    ours = {(row.name, row.group): row.standing for row in one.rows}
    theirs = {(row.name, row.group): MIRROR[row.standing] for row in two.rows}
    assert ours == theirs


@given(REPORTS)
def test_a_report_beside_itself_is_never_better(same: Report) -> None:
    assert {row.standing for row in compare_reports(same, same).rows} <= {"same within doubt", "unknown"}


@given(REPORTS, REPORTS)
def test_a_comparison_is_the_same_after_its_json(first: Report, second: Report) -> None:
    found = compare_reports(first, second, improvement=[figure(1, 2)])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Comparison) == found


def test_checks_come_in_the_order_of_their_codes_and_measures_in_that_of_the_report() -> None:
    first = report(
        finding("E003", "value", figure(1, 2, name="worth")),
        finding("E001", "quality", figure(1, 2, name="rmse"), figure(1, 2, name="mae")),
    )
    second = report(
        finding("E001", "quality", figure(1, 2, name="r2"), figure(1, 2, name="mae")),
        finding("E002", "fairness", figure(1, 2, name="mae", group="sex=f")),
    )
    rows = compare_reports(first, second).rows
    assert [(row.check, row.name, row.group) for row in rows] == [
        ("quality", "rmse", ""),
        ("quality", "mae", ""),
        ("quality", "r2", ""),
        ("fairness", "mae", "sex=f"),
        ("value", "worth", ""),
    ]
    assert [row.second is None for row in rows] == [True, False, False, False, True]


def test_names_are_the_subjects_unless_they_are_given_or_the_same() -> None:
    one, two = report(subject="a"), report(subject="b")
    assert (compare_reports(one, two).first, compare_reports(one, two).second) == ("a", "b")
    named = compare_reports(one, one, names=("m v1", "m v2"))
    assert (named.first, named.second) == ("m v1", "m v2")
    same = compare_reports(one, one)
    assert (same.first, same.second) == ("a (first)", "a (second)")


def test_findings_say_how_serious_each_was() -> None:
    first = report(
        finding("E001", "quality", severity="good", text="Fine."), finding("E009", "leakage", severity="bad")
    )
    second = report(finding("E001", "quality", severity="warning", text="Hm."))
    quality, leakage = compare_reports(first, second).findings
    assert (quality.first, quality.second, quality.first_text, quality.second_text) == (
        "good",
        "warning",
        "Fine.",
        "Hm.",
    )
    assert (leakage.first, leakage.second, leakage.second_text) == ("bad", None, "")


def test_what_makes_two_reports_hard_to_compare_is_noted() -> None:
    about = About(task="regression", label="y", snapshot="aa")
    first = report(subject="a", rows=10, about=about, notes=("slow machine",))
    second = report(subject="b", rows=12, about=replace(about, snapshot="bb", label="z"))
    assert compare_reports(first, second).notes == (
        "the test rows differ: 10 for a, 12 for b",
        "the data differs: aa for a, bb for b",
        "the label differs: y for a, z for b",
        "a: slow machine",
    )
    assert compare_reports(first, replace(first, notes=())).notes == ("a (first): slow machine",)
    assert compare_reports(first, replace(first, about=None, notes=())).notes == ("a (first): slow machine",)


def test_a_worse_model_is_found_worse_and_a_better_one_better() -> None:
    gates = [at_most("mae", 1.0)]
    good, bad = (
        evaluate(subjects.regression(400, spread=spread), gates, checks=("quality",)) for spread in (0.5, 2.0)
    )
    found = compare_reports(_told(good), _told(bad))
    standings = {(row.name, row.group): row.standing for row in found.rows}
    assert standings["mae", ""] == "worse"
    assert standings["rmse", ""] == "worse"
    assert standings["r2", ""] == "worse"
    assert [(gate.first, gate.second) for gate in found.gates] == [(True, False)]
    assert (found.first_passed, found.second_passed) == (True, False)
    back = compare_reports(_told(bad), _told(good))
    assert {row.name for row in back.rows if row.standing == "better"} >= {"mae", "rmse", "r2"}


def _told(report: Report) -> Report:
    """The report with the side that is better said for three metrics, whatever the check says of it."""
    ways: dict[str, Better] = {"mae": "lower", "rmse": "lower", "r2": "higher"}
    said = tuple(
        replace(each, measures=tuple(replace(m, better=ways.get(m.name, m.better)) for m in each.measures))
        for each in report.findings
    )
    return replace(report, findings=said)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.5, "better"),
        (-0.5, -0.1, "worse"),
        (-0.1, 0.5, "same within doubt"),
        (0.0, 0.0, "same within doubt"),
        (None, None, "unknown"),
    ],
)
def test_the_paired_difference_decides_where_there_is_one(low: float | None, high: float | None, said: str) -> None:
    """Two intervals that overlap say little of answers on the same rows."""
    mae = Measure(name="mae", value=10.0, low=9.0, high=11.0, better="lower")
    in_group = Measure(name="mae", value=10.0, low=9.0, high=11.0, better="lower", group="sex=f")
    finding = Finding(check="quality", code="E001", title="Q", severity="info", text="t.", measures=(mae, in_group))
    report = Report(subject="m", findings=(finding,), rows=100)
    gain = Measure(name="improvement_mae", value=low, low=low, high=high, method="m")
    rows = {row.group: row.standing for row in compare_reports(report, report, improvement=[gain]).rows}
    assert rows == {"": said, "sex=f": "same within doubt"}
