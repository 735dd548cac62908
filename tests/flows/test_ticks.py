"""Labels of axes: round, evenly spaced, inside, no two the same; days, months and years as the calendar has them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fullcircle.flows.pages.ticks import moment, time_ticks, value_ticks

sizes = st.integers(-12, 140).map(lambda power: 10.0**power)


def at(text: str) -> float:
    found = moment(text)
    assert found is not None
    return found


def told(since: str, until: str, most: int = 7) -> list[str]:
    return [text for _, text in time_ticks(at(since), at(until), most)]


@given(st.floats(-1, 1), st.floats(-1, 1), sizes, st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_values_are_told_apart_at_any_size(low: float, high: float, size: float, most: int) -> None:
    low, high = sorted((low * size, high * size))
    assume(high - low > 0.01 * size)
    found = value_ticks(low, high, most)
    assert len(set(found)) == len(found) >= 2
    assert list(found) == sorted(found)
    assert len(found) <= most + 3
    slack = 1e-6 * (high - low)
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    steps = [after - before for before, after in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 1.0, 4, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (0.0, 1.0, 3, (0.0, 0.5, 1.0)),
        (0.0, 1.0, 5, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.0, 0.3, 3, (0.0, 0.1, 0.2, 0.3)),  # not 0.30000000000000004
        (-1.0, 1.0, 2, (-1.0, 0.0, 1.0)),
        (98.0, 103.0, 2, (95.0, 100.0, 105.0)),
        (0.0, 1e9, 2, (0.0, 5e8, 1e9)),
        (0.0, 4e-12, 4, (0.0, 1e-12, 2e-12, 3e-12, 4e-12)),
        (0.0, 1e-12, 2, (0.0, 5e-13, 1e-12)),  # a distance that is the noise of arithmetic
        (3.0, 3.0, 4, (3.0, 4.0)),
        (3.0, 2.0, 4, (3.0, 4.0)),
    ],
)
def test_round_values(low: float, high: float, most: int, expected: tuple[float, ...]) -> None:
    assert value_ticks(low, high, most) == expected


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2026-11-23", "2026-11-24", ["23 Nov", "06:00", "12:00", "18:00", "24 Nov"]),
        ("2026-11-23T09:00", "2026-11-23T09:07", [f"09:0{n}" for n in range(8)]),
        ("2026-11-23T09:00", "2026-11-23T09:08", ["09:00", "09:02", "09:04", "09:06", "09:08"]),
        ("2026-11-23T09:00:01.5", "2026-11-23T09:00:04.5", ["09:00:02", "09:00:03", "09:00:04"]),
        ("2026-11-23T09:00:25", "2026-11-23T09:01:05", ["09:00:30", "09:00:40", "09:00:50", "09:01:00"]),
        ("2026-11-23T23:59:00", "2026-11-24T00:01:01", ["23:59:00", "23:59:30", "24 Nov", "00:00:30", "00:01:00"]),
        ("2026-11-23T23:30", "2026-11-24T00:30", ["23:30", "23:45", "24 Nov", "00:15", "00:30"]),
        ("2024-02-27", "2024-03-02", ["27 Feb", "28 Feb", "29 Feb", "1 Mar", "2 Mar"]),
        (
            "2025-02-27",
            "2025-03-02T12:00",
            ["27 Feb", "12:00", "28 Feb", "12:00", "1 Mar", "12:00", "2 Mar", "12:00"],
        ),
        ("2026-11-01", "2026-12-01", ["2 Nov", "9 Nov", "16 Nov", "23 Nov", "30 Nov"]),  # Mondays
        ("2025-11-24", "2026-11-23", ["2026", "Mar", "May", "Jul", "Sep", "Nov"]),
        ("2020-06-01", "2026-06-01", ["2021", "2022", "2023", "2024", "2025", "2026"]),
        ("1990-01-01", "2026-01-01", ["1990", "2000", "2010", "2020"]),
    ],
)
def test_moments_as_they_fall(since: str, until: str, expected: list[str]) -> None:
    assert told(since, until) == expected


@given(st.integers(0, 2_000_000_000), st.integers(1, 1_500_000_000), st.integers(2, 10))
@settings(max_examples=30, deadline=None)
def test_moments_are_inside_ascending_and_round(low: int, length: int, most: int) -> None:
    found = time_ticks(float(low), float(low + length), most)
    places = [place for place, _ in found]
    assert places == sorted(set(places))
    assert all(low <= place <= low + length for place in places)
    for place, text in found:
        day = datetime.fromtimestamp(place, UTC)
        assert day.second == 0 or text == f"{day:%H:%M:%S}"
        if text.isdigit():  # a year stands at its beginning
            assert (day.month, day.day, day.hour, day.minute, text) == (1, 1, 0, 0, str(day.year))
        elif ":" in text:
            assert text in (f"{day:%H:%M}", f"{day:%H:%M:%S}")
            assert (day.hour, day.minute, day.second) != (0, 0, 0)
        else:
            assert (day.hour, day.minute) == (0, 0)


@given(st.floats(0, 2e9, allow_subnormal=False), st.floats(3, 1.2e9))
@settings(max_examples=60, deadline=None)
def test_any_stretch_from_seconds_to_years_has_labels_to_read_it_by(low: float, length: float) -> None:
    found = time_ticks(low, low + length)
    assert 2 <= len(found) <= 8
    assert all(before != after for (_, before), (_, after) in pairwise(found))


def test_a_stretch_of_no_length_has_at_most_its_own_moment() -> None:
    assert time_ticks(90.5, 90.5) == ()
    assert [place for place, _ in time_ticks(120.0, 120.0)] == [120.0]
    assert time_ticks(120.0, 60.0) == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0.0),
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:00.250000Z", 0.25),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1969-12-31T23:59:59", -1.0),
        ("2024-02-29T00:00:00Z", 1_709_164_800.0),
        ("2025-02-29", None),
        ("", None),
        ("week 45", None),
        ("<script>", None),
    ],
)
def test_a_time_is_read_in_utc(text: str, seconds: float | None) -> None:
    assert moment(text) == seconds
