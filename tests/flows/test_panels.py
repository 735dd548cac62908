"""Which pictures a page has, from measures alone: nothing made up, no text of a user's in a drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.flows.pages import panels
from fullcircle.flows.pages.panels import Measured, scaled, timed, title
from fullcircle.flows.pages.plots import Axis, Plot, Series, bars, domain, draw
from fullcircle.types.monitoring import KINDS, Kind, Monitored, Profile, Stretch
from fullcircle.types.report import Measure

EMPTY = Profile(features=(), rows=0, metric="mae", metric_value=2.0, metric_low=1.5, metric_high=2.5)
ONE = Axis(((0.0, 10.0),))
hostile = st.text(st.sampled_from("<>&\"'/=abc \n\u202e"), min_size=1, max_size=20)
values = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def stretch(
    *measures: Measure,
    rows: int = 1,
    verdicts: Sequence[tuple[str, int]] = (),
    levels: Mapping[Kind, float] | None = None,
) -> Stretch:
    return Stretch(
        since="",
        until="",
        rows=rows,
        measures=measures,
        verdicts=tuple(verdicts),
        levels={str(kind): level for kind, level in (levels or {}).items()},
    )


def of(*stretches: Stretch) -> tuple[Monitored, Measured]:
    return Monitored(model="m", version=1, at="", budget="", reference=EMPTY, stretches=stretches), Measured(
        stretches
    )


def measure(name: str, value: float | None, group: str = "", unit: str = "", **ends: float) -> Measure:
    return Measure(name=name, value=value, group=group, unit=unit, low=ends.get("low"), high=ends.get("high"))


def test_of_nothing_there_is_nothing_to_show() -> None:
    monitored, measured = of()
    assert panels.quality(monitored, measured) == panels.fairness(measured) == panels.labels(measured) == []
    assert panels.traffic(monitored, measured) == []
    assert panels.groups(monitored, measured) == []
    assert panels.evidence(monitored).empty
    assert panels.verdicts(monitored).empty
    assert (measured.of("mae"), measured.latest("mae"), measured.names(), measured.groups("mae")) == (
        [],
        None,
        [],
        [],
    )


@given(st.lists(values, max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_latest_is_the_last_that_is_a_number(found: list[float | None]) -> None:
    measured = Measured([stretch(measure("mae", value)) for value in found])
    known = [value for value in found if value is not None and math.isfinite(value)]
    latest = measured.latest("mae")
    assert (None if latest is None else latest.value) == (known[-1] if known else None)
    series = measured.series("mae", "realised")
    assert [value for value in series.values if value is not None] == known
    assert len(series.values) == len(found)  # a stretch without a figure keeps its place
    assert all(math.isfinite(value) for value in series.known)


def test_what_was_counted_exactly_has_no_interval_and_one_that_was_not_has_all() -> None:
    exact = Measured([stretch(measure("n", 3.0, low=3.0, high=3.0)), stretch(measure("n", 4.0, low=4.0, high=4.0))])
    assert (exact.series("n", "n").lows, exact.series("n", "n").highs) == ((), ())
    mixed = Measured([stretch(measure("n", 3.0, low=2.0, high=5.0)), stretch(), stretch(measure("n", 4.0))])
    assert (mixed.series("n", "n").lows, mixed.series("n", "n").highs) == ([2.0, None, None], [5.0, None, None])


@given(st.dictionaries(st.sampled_from(KINDS), st.floats(-9, 9), max_size=3))
@settings(max_examples=30, deadline=None)
def test_evidence_has_a_line_for_each_kind_that_was_judged_and_none_below_the_floor(
    levels: dict[Kind, float],
) -> None:
    plot = panels.evidence(of(stretch(), stretch(levels=levels))[0])
    assert [series.name for series in plot.series] == [panels.KIND_WORDS[kind] for kind in KINDS if kind in levels]
    for series, kind in zip(plot.series, [kind for kind in KINDS if kind in levels], strict=True):
        assert list(series.values) == [None, max(0.0, levels[kind])]
    assert (plot.limit, plot.floor) == ((1.0, "alarm"), 0.0)


@given(st.lists(st.dictionaries(st.sampled_from(["ok", "imputed", "rejected"]), st.integers(0, 99)), max_size=4))
@settings(max_examples=30, deadline=None)
def test_verdicts_are_shares_of_each_stretch_and_fill_it(counted: list[dict[str, int]]) -> None:
    plot = panels.verdicts(of(*(stretch(verdicts=[*each.items()]) for each in counted))[0])
    for place, each in enumerate(counted):
        shares = [value for series in plot.series if (value := series.values[place]) is not None]
        assert math.fsum(shares) == pytest.approx(1.0 if sum(each.values()) else 0.0)
    assert {series.name for series in plot.series} == {name for each in counted for name, n in each.items() if n}


def test_the_main_metric_comes_first_and_what_belongs_elsewhere_is_no_metric() -> None:
    monitored, measured = of(
        stretch(*(measure(name, 1.0) for name in ("bias", "estimated_mae", "mae", "label_coverage")),
                *(measure(name, 1.0) for name in ("reference_bias", "requests", "latency_p99", "js_distance")),
                measure("fair_gap:sex:mae", 1.0))
    )  # fmt: skip
    plots = panels.quality(monitored, measured)
    assert [plot.title for plot in plots] == ["mae", "bias"]
    assert [series.name for series in plots[0].series] == ["estimated without labels", "realised"]
    assert [plot.reference for plot in plots] == [(2.0, 1.5, 2.5), (1.0, None, None)]
    assert [plot.title for plot in panels.fairness(measured)] == ["Gap between the groups of sex"]


@pytest.mark.parametrize(
    ("name", "column", "metric"),
    [("fair_gap:sex:mae", "sex", "mae"), ("fair_gap:a:b:c", "a", "b:c"), ("fair_gap:sex", "sex", "the metric")],
)
def test_the_name_of_a_gap_is_taken_apart(name: str, column: str, metric: str) -> None:
    (plot,) = panels.fairness(of(stretch(measure(name, 0.1)))[1])
    assert plot.title.endswith(f" of {column}")
    assert plot.series[0].name == f"gap of {metric}"


def test_groups_are_those_of_the_last_stretch_that_had_any() -> None:
    monitored, measured = of(
        stretch(measure("mae", 1.0, "sex=f")),
        stretch(measure("mae", 2.0, "sex=f"), measure("mae", math.nan, "sex=m"), measure("requests", 3.0, "200")),
        stretch(measure("mae", 9.0)),
    )
    assert [(row.name, row.group, row.measure.value) for row in panels.groups(monitored, measured)] == [
        ("mae", "sex=f", 2.0)
    ]


def test_the_worst_slice_says_which_it_was_last() -> None:
    told = Measure(name="worst_slice", value=0.5, low=0.4, high=0.6, n=300, better="lower", method="region=south.")
    (plot,) = panels.quality(*of(stretch(measure("worst_slice", 0.4)), stretch(told)))
    assert plot.note == "Lower is better. region=south."
    (plot,) = panels.quality(*of(stretch(measure("mae", 0.4))))
    assert plot.note == ""


def test_rows_stand_in_for_requests_where_none_were_counted() -> None:
    assert [plot.title for plot in panels.traffic(*of(stretch(rows=4)))] == ["Rows"]
    (plot,) = panels.traffic(*of(stretch(measure("requests", 7.0), rows=4)))
    assert (plot.title, plot.series[0].known) == ("Requests", [7.0])
    lost = panels.traffic(*of(stretch(measure("rows_lost", 2.0))))
    assert lost[-1].title == "Rows that were answered and not logged"


@given(st.floats(1e-6, 1e9), st.sampled_from(["s", "seconds", "minutes", "hours", "days", "ms"]))
@settings(max_examples=30, deadline=None)
def test_scaling_changes_the_unit_and_not_the_time(value: float, unit: str) -> None:
    seconds = {"ms": 0.001, "s": 1, "seconds": 1, "min": 60, "minutes": 60, "h": 3600, "hours": 3600, "days": 86400}
    plot = scaled(Plot(title="", series=(Series(name="", values=[value, None], lows=[None, 0.0]),), unit=unit))
    shown = plot.series[0].known[0]
    assert shown * seconds[plot.unit] == pytest.approx(value * seconds[unit])
    assert shown >= 1 - 1e-9 or plot.unit == "ms"
    assert (plot.series[0].values[1], plot.series[0].lows) == (None, (None, 0.0))


@pytest.mark.parametrize(
    "found", [None, measure("t", None, unit="s"), measure("t", math.nan, unit="s"), measure("t", 1)]
)
def test_what_is_no_time_is_not_timed(found: Measure | None) -> None:
    assert timed(found) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (math.nan, None), (math.inf, None), (0.0, 0.0), (123456.0, 123500.0), (1e-300, 1e-300)],
)
def test_figures_for_the_script_are_short_and_finite(value: float | None, expected: float | None) -> None:
    assert panels.rounded(value) == expected


@pytest.mark.parametrize(
    ("name", "told"), [("mae", "mae"), ("value_per_row", "Value per row"), ("f1:a", "f1 a"), ("", "")]
)
def test_titles(name: str, told: str) -> None:
    assert title(name) == told


@given(hostile, st.lists(values, min_size=1, max_size=1), st.sampled_from(["line", "dots", "bars", "stack"]))
@settings(max_examples=30, deadline=None)
def test_no_text_of_a_users_is_in_a_drawing(text: str, found: list[float | None], style: str) -> None:
    series = Series(name=text, values=found, lows=found, highs=found, style=style)  # type: ignore[arg-type]
    known = Plot(title=text, series=(series,), unit=text, note=text, limit=(1.0, text), floor=None)
    plain = Plot(title="", series=(Series(name="", values=found, lows=found, highs=found, style=style),),  # type: ignore[arg-type]
                 limit=(1.0, ""))  # fmt: skip
    assert draw(known, ONE) == draw(plain, ONE)


@given(st.lists(st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, 5e-324, 1e308, -1e308]), max_size=4))
@settings(max_examples=30, deadline=None)
def test_the_largest_numbers_make_an_axis(found: list[float | None]) -> None:
    low, high = domain(Plot(title="", series=(Series(name="", values=found),)))
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < high


def test_bars_of_nothing_are_a_picture_of_nothing() -> None:
    assert "<path" not in bars([], [])
    assert "nan" not in bars([0.0, 0.0], [0.0, 0.0])
