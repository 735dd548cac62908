"""Pictures over time: drawings of numbers alone, inside their frame, on one axis; panels and columns made of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.outlines import outline
from flows.sample_monitored import COLUMNS, FIRST, WEEKS, categories, drifts, harm, quiet, reference, story, week
from fullcircle.flows.pages import panels
from fullcircle.flows.pages.columns import cards, ranked, suspects
from fullcircle.flows.pages.monitored import Pictures, gauges, health, render_monitored, span, tone_of
from fullcircle.flows.pages.panels import Measured, scaled, timed
from fullcircle.flows.pages.plots import HEIGHT, WIDTH, Axis, Plot, Series, Style, bars, domain, draw
from fullcircle.flows.pages.ticks import time_ticks, value_ticks
from fullcircle.types.monitoring import Stretch, Suspect
from fullcircle.types.report import Measure

AXIS = Axis(tuple((place * 10.0, place * 10.0 + 10) for place in range(4)))
numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
finite = st.floats(-1e12, 1e12)


def points(svg: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", " ".join(re.findall(r'd="([^"]*)"', svg)))]


@given(st.lists(numbers, min_size=4, max_size=4), st.sampled_from(["line", "dots", "bars", "stack"]))
def test_a_drawing_holds_finite_numbers_inside_its_frame(values: list[float | None], style: Style) -> None:
    plot = Plot(title="x", series=(Series(name="x", values=values, lows=values, highs=values, style=style),))
    drawn = draw(plot, AXIS)
    assert "nan" not in drawn.svg
    assert "inf" not in drawn.svg
    assert all(-WIDTH <= each <= WIDTH for each in points(drawn.svg))
    assert all(-1e-9 <= y <= 1 + 1e-9 for y, _ in drawn.ticks)


@given(finite, finite, finite)
def test_the_domain_holds_every_figure_and_the_lines(value: float, before: float, limit: float) -> None:
    plot = Plot(
        title="x", series=(Series(name="x", values=[value]),), reference=(before, None, None), limit=(limit, "")
    )
    low, high = domain(plot)
    assert low <= min(value, before, limit)
    assert high >= max(value, before, limit)
    assert low < high


def test_one_wide_interval_does_not_flatten_the_rest() -> None:
    series = Series(name="x", values=[1.0, 2.0], lows=[0.9, -1e9], highs=[1.1, 1e9])
    assert domain(Plot(title="x", series=(series,))) == (0.5, 2.5)


def test_the_interval_of_the_only_figure_is_shown_whole() -> None:
    series = Series(name="x", values=[38.0], lows=[35.5], highs=[40.3])
    low, high = domain(Plot(title="x", series=(series,), reference=(38.2, 37.0, 39.4)))
    assert low <= 35.5
    assert high >= 40.3


def test_a_line_breaks_where_a_figure_is_missing_and_a_lone_one_is_a_dot() -> None:
    drawn = draw(Plot(title="x", series=(Series(name="x", values=[1.0, 2.0, None, 3.0]),)), AXIS)
    lines = re.findall(r'class="line a" d="([^"]*)"', drawn.svg)
    assert [line.count("M") for line in lines] == [1]
    assert re.findall(r'class="dots a" d="M875.0 [\d.]+h0"', drawn.svg)


def test_an_open_alarm_is_marked_on_the_axis_and_never_narrower_than_can_be_seen() -> None:
    marked = replace(AXIS, marks=((20.0, 20.0, "page"), (0.0, 10.0, "ticket")))
    drawn = draw(Plot(title="x", series=(Series(name="x", values=[1.0] * 4),)), marked)
    assert '<path class="mark page" d="M500.0 0h3.0v' in drawn.svg
    assert '<path class="mark ticket" d="M0.0 0h250.0v' in drawn.svg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_histogram_stays_in_its_frame(shares: list[float]) -> None:
    assert all(-HEIGHT <= each <= WIDTH + 1e-6 for each in points(bars(shares, list(reversed(shares)))))


@given(finite, finite, st.integers(1, 10))
def test_ticks_are_few_evenly_spaced_and_reach_around(low: float, high: float, most: int) -> None:
    low, high = sorted((low, high))
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        return
    found = value_ticks(low, high, most)
    steps = [b - a for a, b in pairwise(found)]
    assert 2 <= len(found) <= most + 3
    assert found[0] <= low + 1e-6 * (high - low)
    assert found[-1] >= high - 1e-6 * (high - low)
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=1e-9)


@given(st.floats(0, 2e9, allow_subnormal=False), st.floats(60, 4e8))
def test_moments_are_few_and_inside(low: float, length: float) -> None:
    found = time_ticks(low, low + length)
    assert len(found) <= 16
    assert all(low - 1e-6 <= at <= low + length + 1e-6 and text for at, text in found)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.0019, "s", (1.9, "ms")), (86400.0 * 9, "s", (9.0, "days")), (90.0, "s", (1.5, "min")), (3.0, "rides", None)],
)
def test_times_are_told_in_the_unit_in_which_they_read_well(
    value: float, unit: str, shown: tuple[float, str] | None
) -> None:
    found = timed(Measure(name="t", value=value, unit=unit))
    assert found == pytest.approx(shown) if shown is None else found is not None
    if shown is not None and found is not None:
        assert (round(found[0], 6), found[1]) == shown


def test_bounds_of_buckets_are_no_intervals() -> None:
    plots = {plot.title: plot for plot in panels.traffic(story(), Measured(story().stretches))}
    latency = plots["Latency"]
    assert latency.unit == "ms"
    assert [series.lows for series in latency.series] == [(), ()]
    assert "buckets" in latency.note
    assert [series.name for series in plots["Requests that failed"].series] == ["all", "by a fault of ours"]
    assert len(plots["How busy the service was"].series) == 3
    assert "Rows that were answered and not logged" not in plots  # none was


def test_rows_that_were_not_logged_are_shown() -> None:
    lost = Stretch(since=week(0), until=week(1), rows=9, measures=(Measure(name="rows_lost", value=2.0, n=9),))
    whole = story(stretches=(lost,))
    titles = [plot.title for plot in panels.traffic(whole, Measured(whole.stretches))]
    assert "Rows that were answered and not logged" in titles


def test_traffic_is_never_among_the_figures_of_groups_or_of_quality() -> None:
    measured = Measured(story().stretches)
    rows = panels.groups(story(), measured)
    assert {row.group for row in rows} == {"workingday=False", "workingday=True", "slice: hr 17 to 18"}
    assert [plot.title for plot in panels.quality(story(), measured)] == ["mae", "Value per row"]


def test_quality_has_the_reference_as_a_line_and_the_estimate_beside() -> None:
    main = panels.quality(story(), Measured(story().stretches))[0]
    assert main.reference == (38.2, 37.1, 39.3)
    assert [series.name for series in main.series] == ["estimated without labels", "realised"]
    assert main.series[1].values[-1] is None  # its labels have not come
    assert len(main.series[0].known) == WEEKS


def test_columns_that_an_alarm_is_certain_of_come_first_then_the_farthest() -> None:
    named = {"b": Suspect(feature="b", distance=0.1, evidence=1.0, certain=False)}
    named["c"] = replace(named["b"], feature="c", certain=True)
    assert ranked(["a", "b", "c", "d"], {"a": 0.5, "d": 0.9}, named) == ["c", "b", "d", "a"]
    assert list(suspects(story())) == ["loss", "prediction"]
    whole, rest = cards(story(), Measured(story().stretches))
    assert (whole[0].name, len(whole), rest) == ("prediction", len(COLUMNS), [])


def test_a_column_of_categories_shows_those_that_count_by_name() -> None:
    many = categories("city", {f"city {place}": 100 - place for place in range(40)})
    whole = story(reference=replace(reference(), features=(many,)), latest={"city": (*[5] * 40, 0, 0)}, stretches=())
    card = cards(whole, Measured(()))[0][0]
    assert (len(card.bins), card.left_out, card.histogram) == (12, 28, "")


def test_counts_that_do_not_fit_the_reference_are_not_drawn() -> None:
    card = cards(story(latest={"temp": (1, 2, 3)}), Measured(()))[0][0]
    assert card.bins == ()


def test_what_somebody_has_seen_calls_nobody() -> None:
    seen = replace(harm(), state="acknowledged", acknowledged_by="ada")
    assert [tone_of(each) for each in (harm(), seen, *drifts())] == ["bad", "info", "good", "info"]
    calm = story(alarms=(seen,))
    assert (health(calm).tone, health(calm).word) == ("info", "1 page open, and seen")
    assert "ada has seen it" in health(calm).sentence
    risk = next(each for each in gauges(calm) if each.kind == "risk")
    assert (risk.open, risk.seen) == (True, True)
    page = render_monitored(calm, interactive=False)
    assert "gauge raised" not in page
    assert "card alarm info" in page
    assert "gauge raised" in render_monitored(story(), interactive=False)


def test_an_open_ticket_comes_before_a_page_that_somebody_has_seen() -> None:
    seen = replace(harm(), state="acknowledged", acknowledged_by="ada")
    ticket = replace(drifts()[1], state="open")
    found = health(story(alarms=(seen, ticket)))
    assert (found.tone, found.word) == ("hold", "1 page and 1 ticket open")
    assert found.sentence.startswith(ticket.text)


def test_labels_that_are_not_due_do_not_look_like_missing_ones() -> None:
    told = " ".join(outline(render_monitored(story(), interactive=False)).words.split())
    assert "labels that have come 92 % of the rows in all that is shown" in told
    assert "half of them come within 9.5 days" in told


def test_commands_are_those_of_the_command_line() -> None:
    told = " ".join(outline(render_monitored(story(), interactive=False)).words.split())
    assert f"fullcircle alarms ack bike-demand {harm().id} --reason WHY" in told
    bare = tuple(replace(each, measures=()) for each in quiet().stretches)
    assert "fullcircle outcomes bike-demand FILE" in outline(render_monitored(quiet(stretches=bare))).words


awkward = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@settings(max_examples=5, deadline=None)
@given(awkward, awkward, awkward)
def test_any_text_of_a_users_stays_text(name: str, category: str, words: str) -> None:
    column = categories(name, {category: 90, "x": 10})
    suspect = Suspect(feature=name, distance=0.1, evidence=3.0, text=words, guess=words)
    measures = (
        Measure(name="js_distance", value=0.1, n=9, group=name),
        Measure(name="mae", value=1.0, n=9, group=words, unit=words),
        Measure(name=f"fair_gap:{name}:mae", value=1.0, n=9),
    )
    stretch = Stretch(since=week(0), until=week(1), rows=9, measures=measures, levels={"drift": 0.5})
    whole = story(
        model=name,
        reference=replace(reference(), features=(column,)),
        stretches=(stretch,),
        latest={name: (5, 4, 0, 0)},
        alarms=(replace(harm(), text=words, advice=words, suspects=(suspect,)),),
        notes=(words,),
        currency=words,
    )
    read = outline(render_monitored(whole))
    assert not {tag for tag, _ in read.tags} & {"img", "iframe", "object", "embed", "form"}
    assert sum(tag == "script" for tag, _ in read.tags) == 2
    assert not [key for _, attributes in read.tags for key in attributes if key.startswith("on")]


def test_an_alarm_shades_from_the_stretch_that_raised_it_to_the_one_that_ended_it() -> None:
    hot = drifts()[0]  # raised when week 29 ended, over when week 40 did
    axis = Pictures(story(alarms=(hot,))).axis
    assert axis is not None
    assert axis.marks == ((axis.ends[29][0], axis.ends[40][1], "ticket"),)
    last = Pictures(story(alarms=(replace(harm(), opened=week(WEEKS)),))).axis
    assert last is not None
    assert last.marks == ((*last.ends[-1], "page"),)  # raised by the last batch: it can be seen
    before = replace(hot, opened=week(-9), resolved=week(-8))
    assert getattr(Pictures(story(alarms=(before,))).axis, "marks", None) == ()


def test_what_was_played_is_evenly_spaced_and_named_on_the_axis() -> None:
    names = ("as before", "ten times too hot and a name that does not end")
    played = tuple(
        Stretch(since=week(place), until=week(place + 1e-9 * (1 + place)), rows=9, name=name)
        for place, name in enumerate(names)
    )
    alarm = replace(harm(), opened=played[1].until)
    pictures = Pictures(story(stretches=played, alarms=(alarm,)))
    assert pictures.axis is not None
    assert pictures.axis.ends == ((0.0, 1.0), (1.0, 2.0))
    assert pictures.axis.marks == ((1.0, 2.0, "page"),)
    assert pictures.ticks == [(0.25, "as before"), (0.75, "ten times too hot and …")]
    assert pictures.names == list(names)
    told = " ".join(outline(render_monitored(story(stretches=played), interactive=False)).words.split())
    assert "one with a name is rows that were played" in told


def test_an_alarm_of_the_last_batch_is_no_way_to_the_next() -> None:
    raised = story().stretches[-1]
    last = replace(raised, levels={**raised.levels, "risk": 1.4})
    told = outline(render_monitored(story(stretches=(last,)), interactive=False)).words
    assert "raised by the last batch" in " ".join(told.split())


def test_a_stretch_is_told_in_few_words() -> None:
    assert FIRST.isoformat().startswith("2025-11-24")
    assert span("2026-11-27T06:40:12.100000Z", "2026-11-27T06:40:14.000000Z") == "27 Nov 2026, 06:40:12"
    assert span("2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z") == "28 Dec 2026 to 3 Jan 2027"
    assert span("soon", "later") == "soon to later"


def test_a_plot_without_figures_is_empty_and_scaling_leaves_it() -> None:
    nothing = Plot(title="x", series=(Series(name="x", values=[None, math.nan]),), unit="s")
    assert nothing.empty
    assert scaled(nothing) == nothing
