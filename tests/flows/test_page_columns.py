"""Columns against their reference: which come first, what is drawn of them, and what is not known is not drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.flows.pages.columns import CARDS, Card, cards, ranked, suspects
from fullcircle.flows.pages.panels import Measured
from fullcircle.types.monitoring import Alarm, FeatureProfile, Monitored, Profile, Stretch, Suspect
from fullcircle.types.report import Measure

NUMBER = FeatureProfile(
    name="x", kind="number", counts=(50, 30, 20, 0, 0), edges=(1.0, 2.0), low=0.0, high=3.0, mean=1.0, deviation=0.5
)
CATEGORY = FeatureProfile(name="c", kind="category", counts=(60, 40, 0, 0), categories=("a", "b"))
NAMES = st.sampled_from("abcdefgh")
ALARM = Alarm(
    id="1", model="m", version=1, kind="drift", severity="ticket", state="open", since="", opened="", updated="",
    text="", sure="", advice="",
)  # fmt: skip


def suspect(name: str, *, certain: bool = True) -> Suspect:
    return Suspect(feature=name, distance=0.1, evidence=1.0, certain=certain)


def page(
    *features: FeatureProfile,
    latest: dict[str, tuple[int, ...]] | None = None,
    distances: dict[str, float] | None = None,
) -> Monitored:
    found = tuple(Measure(name="js_distance", value=value, group=name) for name, value in (distances or {}).items())
    return Monitored(
        model="m",
        version=1,
        at="",
        budget="",
        reference=Profile(features=features, rows=100),
        stretches=(Stretch(since="", until="", rows=1, measures=found),),
        latest=latest or {},
    )


def shown(monitored: Monitored) -> tuple[list[Card], list[Card]]:
    return cards(monitored, Measured(monitored.stretches))


def card(feature: FeatureProfile, *counts: int) -> Card:
    ((found,), rest) = shown(page(feature, latest={feature.name: counts}))
    assert rest == []
    return found


@given(st.lists(NAMES, unique=True), st.dictionaries(NAMES, st.floats(-1, 1)), st.dictionaries(NAMES, st.booleans()))
@settings(max_examples=30, deadline=None)
def test_the_order_of_columns(names: list[str], distances: dict[str, float], named: dict[str, bool]) -> None:
    known = {name: suspect(name, certain=certain) for name, certain in named.items()}
    found = ranked(names, distances, known)
    assert sorted(found) == sorted(names)
    classes = [0 if named.get(name) else 1 if name in named else 2 for name in found]
    assert classes == sorted(classes)
    for kind in (0, 1, 2):
        far = [distances.get(name, -1.0) for name, of in zip(found, classes, strict=True) if of == kind]
        assert far == sorted(far, reverse=True)
    assert ranked(found, distances, known) == found  # ties stay as they are


def test_one_that_is_certain_in_any_open_alarm_is_certain_and_what_ended_names_nobody() -> None:
    alarms = (
        replace(ALARM, suspects=(suspect("a", certain=False), suspect("b"))),
        replace(ALARM, state="acknowledged", suspects=(suspect("a"), suspect("b", certain=False))),
        replace(ALARM, state="resolved", suspects=(suspect("c"),)),
    )
    found = suspects(replace(page(), alarms=alarms))
    assert {name: each.certain for name, each in found.items()} == {"a": True, "b": True}


def test_the_farthest_have_cards_and_the_rest_are_lines() -> None:
    features = [replace(NUMBER, name=f"x{n}") for n in range(CARDS + 3)]
    monitored = page(*features, distances={f"x{n}": n / 100 for n in range(CARDS + 3)})
    whole, rest = shown(monitored)
    assert [one.name for one in whole] == [f"x{n}" for n in range(CARDS + 2, 2, -1)]
    assert [one.name for one in rest] == ["x2", "x1", "x0"]
    assert not any(one.plots or one.histogram or one.bins for one in rest)


@pytest.mark.parametrize(
    "counts",
    [(), (0, 0, 0, 0, 0), (1, 2, 3), (1, 2, 3, 4, 5, 6)],
    ids=["none", "no rows", "too few bins", "too many"],
)
def test_counts_that_say_nothing_are_not_drawn(counts: tuple[int, ...]) -> None:
    found = card(NUMBER, *counts)
    assert (found.histogram, found.bins, found.left_out) == ("", (), 0)


@given(st.lists(st.integers(0, 10**15), min_size=5, max_size=5))
@settings(max_examples=50, deadline=None)
def test_bars_are_between_nothing_and_whole_and_the_highest_is_whole(counts: list[int]) -> None:
    found = card(NUMBER, *counts)
    if sum(counts):
        heights = [height for one in found.bins for height in (one.height, one.was)]
        assert max(heights) == pytest.approx(1.0)
        assert min(heights) >= 0.0
        assert found.histogram.count('class="now"') == len(found.bins) == 3 + sum(count > 0 for count in counts[3:])
        assert "nan" not in found.histogram


def test_bins_of_a_number_have_names_and_its_ends() -> None:
    found = card(NUMBER, 10, 10, 20, 0, 60)
    assert [one.name for one in found.bins] == ["up to 1", "1 to 2", "above 2", "missing"]  # "other" has no rows
    assert [(one.now, one.before) for one in found.bins][-1] == ("60 %", "0 %")
    assert found.ends == ("0", "3")
    assert card(replace(NUMBER, low=None), 1, 0, 0, 0, 0).ends == ("", "")


@given(st.text(st.sampled_from("<>&\"' ab\n"), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_names_of_categories_are_handed_on_as_they_are_and_are_in_no_drawing(name: str) -> None:
    found = card(replace(CATEGORY, categories=(name, name + "!")), 1, 3, 0, 0)
    assert [one.name for one in found.bins] == [name + "!", name]  # three quarters now, before 60 % of old
    assert found.histogram == ""


def test_of_many_categories_those_that_count_are_shown_and_the_rest_are_counted() -> None:
    many = FeatureProfile(
        name="c", kind="category", counts=(*range(1, 31), 0, 0), categories=tuple(f"k{n}" for n in range(30))
    )
    found = card(many, *([0] * 30), 5, 0)
    assert found.bins[0].name == "other"  # all that came is new
    assert [one.name for one in found.bins[1:3]] == ["k29", "k28"]
    assert len(found.bins) + found.left_out == 31  # "missing" never was and is not


@pytest.mark.parametrize(
    ("tolerance", "watched", "limit"),
    [(0.0, True, None), (0.05, True, (0.05, "tolerance")), (1.0, False, None)],
)
def test_a_tolerance_is_a_line_and_a_whole_one_watches_nothing(
    tolerance: float, watched: bool, limit: tuple[float, str] | None
) -> None:
    ((found,), _) = shown(replace(page(NUMBER, distances={"x": 0.2}), tolerance={"x": tolerance}))
    assert found.watched is watched
    assert found.plots[0].limit == limit


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_distance_that_is_not_known_is_no_picture_and_comes_last(value: float | None) -> None:
    monitored = page(NUMBER, CATEGORY, distances={"c": 0.0})
    unknown = Measure(name="js_distance", value=value, group="x")
    first = monitored.stretches[0]
    whole, _ = shown(replace(monitored, stretches=(replace(first, measures=(unknown, *first.measures)),)))
    assert [one.name for one in whole] == ["c", "x"]
    assert (whole[1].distance, whole[1].plots) == (None, ())


def test_what_is_broken_is_of_its_kind_and_the_reference_has_its_missing_ones() -> None:
    gaps = replace(NUMBER, counts=(50, 30, 10, 0, 10))
    measures = tuple(
        Measure(name=n, value=0.1, group=g) for n in ("missing", "unseen", "outside") for g in ("x", "c")
    )
    monitored = replace(page(gaps, CATEGORY), stretches=(Stretch(since="", until="", rows=1, measures=measures),))
    by = {one.name: one.plots[-1] for one in shown(monitored)[0]}
    assert (by["x"].title, by["c"].title) == ("missing, outside", "missing, unseen")
    assert (by["x"].reference, by["c"].reference) == ((0.1, None, None), None)
