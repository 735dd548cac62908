"""Gates by groups: every group has to hold, the smallest ones too, and those that do not are named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fullcircle.evaluation.gates import decide
from fullcircle.types.gates import Gate, at_least, at_most, beats
from fullcircle.types.report import About, Finding, GateVerdict, Measure, Report

R2 = Measure(name="r2", value=0.6, low=0.5, high=0.7, n=100)
BIAS = Measure(name="bias", value=1.0, low=-3.0, high=5.0, n=100, better="zero")
BETTER = Measure(name="improvement_over_champion", value=1.0, low=0.2, high=1.8, n=100)


def _report(measures: tuple[Measure, ...], about: About | None = None) -> Report:
    finding = Finding(check="all", code="E000", title="t", severity="info", text="t", measures=measures)
    return Report(subject="m", findings=(finding,), rows=100, about=about)


def _one(gate: Gate, *measures: Measure, has_champion: bool = True) -> GateVerdict:
    (verdict,) = decide([gate], _report(measures), has_champion=has_champion)
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


def test_groups_are_those_of_exactly_these_columns() -> None:
    """Neither intersections, nor other columns, nor the other order, nor figures of columns are mistaken."""
    measures = (
        _mae("", 1.0),
        _mae("sex", 1.0),
        _mae("sex=f", 1.0),
        _mae("race=b", 1.0),
        _mae("sexual=x", 99.0),
        _mae("sex=f, race=b", 1.0),
    )
    for by in ("sex", "race", ("sex", "race")):
        verdict = _one(at_most("mae", 10.0, by=by), *measures)
        assert verdict.passed
        assert verdict.reason.startswith("all 1 groups"), verdict.reason
    for by, group in (("sex", "sex=m"), ("race", "race=a"), (("sex", "race"), "sex=m, race=b")):
        bad = (*measures, _mae(group, 99.0))
        asked = [at_most("mae", 10.0, by=one) for one in ("sex", "race", ("sex", "race"))]
        failed = [verdict.gate for verdict in decide(asked, _report(bad), has_champion=True) if not verdict.passed]
        assert failed == [at_most("mae", 10.0, by=by).text]
    assert not _one(at_most("mae", 10.0, by=("race", "sex")), *measures).passed, "not in the report in this order"


@pytest.mark.parametrize("value", ["a, b", "a=b", "a, b=c", "", "(missing)", "[x](y)*", "sex=f", ", "])
@pytest.mark.parametrize("column", ["sex", "a, b", "x=y", "[a](b)+", "se"])
def test_values_and_columns_may_hold_anything(column: str, value: str) -> None:
    gates = [at_most("mae", 10.0, by=column), at_most("mae", 10.0, by=(column, "race"))]
    bad = _report((_mae(f"{column}={value}", 99.0), _mae(f"{column}={value}, race=b", 1.0)))
    assert [verdict.passed for verdict in decide(gates, bad, has_champion=True)] == [False, True]
    bad = _report((_mae(f"{column}={value}", 1.0), _mae(f"{column}={value}, race=b", 99.0)))
    assert [verdict.passed for verdict in decide(gates, bad, has_champion=True)] == [True, False]


def test_protected_columns_are_known_from_the_report() -> None:
    measures = (_mae("sex=f", 1.0), _mae("sex=f, race=b", 99.0))
    gate = at_most("mae", 10.0, by="sex")
    about = About(protected=("sex", "race"))
    (verdict,) = decide([gate], _report(measures, about=about), has_champion=True)
    assert verdict.passed, "the intersection is not a group of sex"
    (unsure,) = decide([gate], _report(measures), has_champion=True)
    assert not unsure.passed, "what may be a group of sex counts as one"


def test_a_group_measured_twice_has_to_hold_twice() -> None:
    found = [_mae("sex=f", 1.0), _mae("sex=f", 99.0)]
    assert not _one(at_most("mae", 10.0, by="sex"), *found).passed
    assert not _one(at_most("mae", 10.0, by="sex"), *reversed(found)).passed
    assert "all 1 groups" in _one(at_most("mae", 10.0, by="sex"), found[0], found[0]).reason
