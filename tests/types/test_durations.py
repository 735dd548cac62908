"""Spans, rates and sizes mean what they say, and what cannot be read is refused with an example."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import ProjectInvalid
from fullcircle.types.durations import byte_count, duration, per_year

SPANS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
DAYS = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "quarter": 365.25 / 4, "year": 365.25}
BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000}
GAPS = st.sampled_from(["", " ", "   "])


@given(st.integers(0, 99_999_999), st.sampled_from(sorted(SPANS)), GAPS)
def test_a_span_is_so_many_of_its_unit(count: int, unit: str, gap: str) -> None:
    assert duration(f"{gap}{count}{gap}{unit}{gap}") == count * SPANS[unit]


@given(st.integers(1, 99_999), st.sampled_from(sorted(SPANS)))
def test_halves_add_up(count: int, unit: str) -> None:
    assert duration(f"{count}.5{unit}") * 2 == duration(f"{2 * count + 1}{unit}")


@given(st.integers(1, 99_999_999), st.sampled_from(sorted(DAYS)))
def test_a_rate_is_a_number_of_events_a_year(count: int, unit: str) -> None:
    assert per_year(f"{count} per {unit}") * DAYS[unit] == pytest.approx(count * 365.25)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("1 per year", 1.0),
        ("0.5 per year", 0.5),
        ("2 per quarter", 8.0),
        ("1 per month", 12.0),
        ("1 per day", 365.25),
    ],
)
def test_rates_in_plain_words(text: str, events: float) -> None:
    assert per_year(text) == pytest.approx(events)


@given(st.integers(0, 99_999_999), st.sampled_from(sorted(BYTES)), GAPS)
def test_a_size_is_so_many_bytes(count: int, unit: str, gap: str) -> None:
    assert byte_count(f"{gap}{count}{gap}{unit}") == count * BYTES[unit]


@given(st.integers(0, 99_999), st.integers(0, 999))
def test_a_size_with_a_point_loses_no_byte(thousands: int, rest: int) -> None:
    assert byte_count(f"{thousands}.{rest:03d}kB") == 1000 * thousands + rest
    assert byte_count(f"{thousands}.{rest:03d} MB") == 1_000_000 * thousands + 1000 * rest


WRONG: tuple[object, ...] = (
    "",
    " ",
    "7",
    "d",
    "-1d",
    "7 days",
    "7D",
    "1,5h",
    "1e3s",
    ".5h",
    "inf d",
    "7d\nx",
    7,
    7.5,
)
WRONG += (None, True, b"7d", ["7d"], "1" * 400 + "w", "100000000w", "٣d")


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_no_span_is_refused(text: object) -> None:
    _refused(duration, text, "a span of time cannot be read", '"7d"')


@pytest.mark.parametrize("text", [*WRONG, "1", "0 per year", "0.0 per day", "-1 per year", "1 a year", "1per year"])
def test_what_is_no_rate_is_refused(text: object) -> None:
    _refused(per_year, text, "a rate cannot be read", "per day, week")


@pytest.mark.parametrize("text", [*WRONG, "20", "20mb", "20TB", "-1kB", "20 M B", "1e3kB", "9" * 400 + "GB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    _refused(byte_count, text, "a size cannot be read", '"20MB"')


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_and_never_negative(text: str) -> None:
    for read in (duration, per_year, byte_count):
        try:
            found = read(text)
        except ProjectInvalid:
            continue
        value = found.total_seconds() if isinstance(found, timedelta) else found
        assert math.isfinite(value)
        assert value >= 0


def _refused(read: Callable[..., object], text: object, what: str, example: str) -> None:
    with pytest.raises(ProjectInvalid, match=what) as caught:
        read(text)
    assert caught.value.received == repr(text)
    assert example in (caught.value.allowed or "")
    assert caught.value.next_step
