"""Gates by groups: every group has to hold, the smallest ones too, and those that do not are named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

import subjects
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.gates import decide
from fullcircle.types.gates import Gate, at_least, at_most, beats
from fullcircle.types.report import Finding, GateVerdict, Measure, Report

R2 = Measure(name="r2", value=0.6, low=0.5, high=0.7, n=100)
BIAS = Measure(name="bias", value=1.0, low=-3.0, high=5.0, n=100, better="zero")
BETTER = Measure(name="improvement_over_champion", value=1.0, low=0.2, high=1.8, n=100)


def _report(measures: tuple[Measure, ...]) -> Report:
    finding = Finding(check="all", code="E000", title="t", severity="info", text="t", measures=measures)
    return Report(subject="m", findings=(finding,), rows=100)


def _one(
    gate: Gate, *measures: Measure, has_champion: bool = True, groups: Collection[str] | None = None
) -> GateVerdict:
    """The verdict where the rows have ``groups`` by the gate's columns: those of the report, where not said."""
    found = {measure.group for measure in measures} - {""} if groups is None else groups
    (verdict,) = decide([gate], _report(measures), has_champion=has_champion, grouped={gate.by: found})
    return verdict


def _mae(group: str, high: float, rows: int = 100) -> Measure:
    return Measure(name="mae", value=high / 2, low=0.0, high=high, n=rows, group=group)


def test_every_group_has_to_hold_and_those_that_do_not_are_named() -> None:
    good, bad = _mae("sex=female", 9.0), _mae("sex=male", 11.0)
    assert _one(at_most("mae", 10.0, by="sex"), good).passed
    verdict = _one(at_most("mae", 10.0, by="sex"), good, bad)
    assert not verdict.passed
    assert verdict.reason == (
        "mae for sex=male is 5.5 (95 % 0 to 11) on 100 rows; its upper end must be at most 10; "
        "the value keeps the limit but its interval does not: more rows would tell"
    )


def test_at_least_and_beats_look_at_groups_too() -> None:
    r2 = [replace(R2, group=f"sex={sex}") for sex in "fm"]
    assert _one(at_least("r2", 0.5, by="sex"), *r2).passed
    assert not _one(at_least("r2", 0.5, by="sex"), r2[0], replace(r2[1], low=0.4)).passed
    for rival, has_champion in (("champion", True), ("baseline", False)):
        better = [
            Measure(name=f"improvement_over_{rival}", value=1.0, low=0.5, high=2.0, n=60, group=f"sex={sex}")
            for sex in "fm"
        ]
        gate = beats("champion", by="sex", margin=0.1)
        verdict = _one(gate, *better, has_champion=has_champion)
        assert verdict.passed, verdict.reason
        assert ("no champion yet" in verdict.reason) is (not has_champion)
        worse = replace(better[1], low=-0.1)
        lost = _one(gate, better[0], worse, has_champion=has_champion)
        assert not lost.passed, "better on average and worse for some does not pass"
        assert f"improvement over the {rival} for sex=m is 1" in lost.reason


def test_a_pass_tells_how_many_groups_and_the_closest_call() -> None:
    found = [_mae("sex=a", 1.0), _mae("sex=b", 9.5), _mae("sex=c", 3.0)]
    assert _one(at_most("mae", 10.0, by="sex"), *found).reason == (
        "all 3 groups of sex; the closest: mae for sex=b is 4.75 (95 % 0 to 9.5) on 100 rows; "
        "its upper end must be at most 10"
    )
    low = [replace(R2, low=low, group=f"sex={low}") for low in (0.55, 0.52, 0.58)]
    assert "the closest: r2 for sex=0.52 is" in _one(at_least("r2", 0.5, by="sex"), *low).reason
    bias = [replace(BIAS, low=low, high=1.0, group=f"sex={low}") for low in (-1.0, -4.0, -3.0)]
    assert "the closest: bias for sex=-4.0 is" in _one(at_most("bias", 5.0, by="sex"), *bias).reason
    better = [replace(BETTER, low=low, group=f"sex={low}") for low in (0.5, 0.1, 0.3)]
    assert "for sex=0.1 is 1" in _one(beats(by="sex"), *better).reason


@pytest.mark.parametrize(("failing", "more"), [(3, ""), (4, "; and 1 more groups"), (9, "; and 6 more groups")])
def test_three_are_named_and_the_rest_is_counted(failing: int, more: str) -> None:
    reason = _one(at_most("mae", 1.0, by="sex"), *(_mae(f"sex={n}", 50.0) for n in range(failing))).reason
    assert reason.count("mae for sex=") == 3
    assert reason.endswith(f"must be at most 1{more}")


def test_a_small_group_fails_by_name_and_the_way_out_is_told() -> None:
    gate = at_most("mae", 10.0, by="sex")
    for rows, said in ((29, "only 29 rows"), (1, "only 1 row"), (0, "an unknown number of rows")):
        verdict = _one(gate, _mae("sex=female", 5.0), _mae("sex=other", 5.0, rows))
        assert not verdict.passed
        assert verdict.reason == (
            f"mae for sex=other is 2.5 on {said}; at least 30 are needed to decide; to do without a small group, "
            "join it to others: make a coarser column in prepare and name it in by"
        )
    assert "coarser" not in _one(gate, _mae("sex=female", 50.0), _mae("sex=male", 5.0, 30)).reason


def test_a_gate_by_groups_needs_groups() -> None:
    verdict = _one(at_most("mae", 10.0, by="sex"), _mae("", 9.0))
    assert not verdict.passed
    assert verdict.reason == "mae for groups of sex is not in the report"


def test_groups_are_those_that_the_rows_have() -> None:
    """Neither intersections, nor other columns, nor figures of columns are mistaken."""
    groups = {"sex": ["sex=f", "sex=m"], "race": ["race=b"], ("sex", "race"): ["sex=f, race=b", "sex=m, race=b"]}
    measures = tuple(_mae(group, 1.0) for each in groups.values() for group in each)
    others = (_mae("", 99.0), _mae("sex", 99.0), _mae("sexual=x", 99.0))
    for by, names in groups.items():
        gate = at_most("mae", 10.0, by=by)
        verdict = _one(gate, *measures, *others, groups=names)
        assert verdict.passed
        assert verdict.reason.startswith(f"all {len(names)} groups"), verdict.reason
        for name in names:
            bad = [replace(measure, high=99.0) if measure.group == name else measure for measure in measures]
            assert not _one(gate, *bad, groups=names).passed
    (unknown,) = decide([at_most("mae", 10.0, by="sex")], _report(measures), has_champion=True)
    assert not unknown.passed, "which groups there are is not known"


def test_every_group_of_the_rows_has_to_be_in_the_report() -> None:
    gate = at_most("mae", 10.0, by="sex")
    verdict = _one(gate, _mae("sex=f", 1.0), groups=["sex=f", "sex=m"])
    assert not verdict.passed
    assert verdict.reason == "mae for sex=m is not in the report"
    many = _one(gate, _mae("sex=f", 1.0), groups=["sex=f", *(f"sex={n}" for n in range(5))])
    assert many.reason == "mae for sex=0; sex=1; sex=2 and 2 more groups is not in the report"


@pytest.mark.parametrize("value", ["a, b", "a=b", "f, race=b", "", "[x](y)*", "sex=f", ", "])
@pytest.mark.parametrize("column", ["sex", "a, b", "x=y", "[a](b)+", "se"])
@pytest.mark.parametrize("kind", ["at_most", "beats"])
def test_values_and_columns_may_hold_anything(column: str, value: str, kind: str) -> None:
    """A group whose name reads like one of other columns is judged: nothing is taken from the name."""
    rows = 180
    subject = subjects.regression(rows, gates=[beats(by="group")])
    here = np.arange(rows) % 3 == 0
    frame = subject.frame.assign(**{column: np.where(here, value, "other"), "race": "b"})
    worse = subject.actual + 50.0 * np.where(here, np.random.default_rng(1).normal(size=rows), 0.0)
    for by in ((column,), (column, "race")):
        gate = beats("baseline", by=by) if kind == "beats" else at_most("mae", 5.0, by=by)
        others = [at_most("mae", 5.0, by=each) for each in ((column,), (column, "race"))]
        asked = replace(subject, frame=frame, gates=(gate, *others))
        good, bad = (evaluate(each, checks=["quality"]) for each in (asked, replace(asked, predicted=worse)))
        assert good.gates[0].passed, good.gates[0].reason
        assert not bad.gates[0].passed
        assert f"{column}={value}" in bad.gates[0].reason


def test_two_groups_of_one_name_both_have_to_hold() -> None:
    subject = subjects.regression(180, gates=[at_most("mae", 5.0, by=("sex", "race"))])
    here = np.arange(180) % 2 == 0
    frame = subject.frame.assign(
        sex=np.where(here, "a, race=b", "a").astype(object), race=np.where(here, "c", "b, race=c").astype(object)
    )
    for side in (here, ~here):
        worse = subject.actual + 50.0 * np.where(side, np.random.default_rng(1).normal(size=180), 0.0)
        report = evaluate(replace(subject, frame=frame, predicted=worse), checks=["quality"])
        assert {measure.group for measure in report.findings[0].measures} == {"", "sex=a, race=b, race=c"}
        assert not report.gates[0].passed
    assert evaluate(replace(subject, frame=frame), checks=["quality"]).gates[0].passed


def test_a_group_measured_twice_has_to_hold_twice() -> None:
    found = [_mae("sex=f", 1.0), _mae("sex=f", 99.0)]
    assert not _one(at_most("mae", 10.0, by="sex"), *found).passed
    assert not _one(at_most("mae", 10.0, by="sex"), *reversed(found)).passed
    assert "all 1 groups" in _one(at_most("mae", 10.0, by="sex"), found[0], found[0]).reason
