"""Batches on the clock: each moment is in one, weeks begin on Monday, phases are those of the reference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import ProjectInvalid
from fullcircle.monitoring.grid import MONDAY, WEEK, Grid, iso, length, micros, now
from fullcircle.types.monitoring import Dependence, Profile

HOUR = 3_600_000_000
moments = st.integers(-(10**16), 10**17)
spans = st.sampled_from(["1m", "90s", "15m", "1h", "5h", "12h", "1d", "3d", "7d", "1w", "10d", "4w", "365d"])


def at(text: str) -> int:
    found = micros(text)
    assert found is not None
    return found


def tells(seconds: float, phases: int) -> Profile:
    known = Dependence(seconds=seconds, batches=60, phases=phases, effects={})
    return Profile(features=(), rows=1, dependence=known)


@given(moments, spans)
@settings(max_examples=30, deadline=None)
def test_each_moment_is_in_one_batch_and_batches_touch(moment: int, span: str) -> None:
    grid = Grid(length(span))
    start = grid.start(moment)
    assert start <= moment < start + grid.length
    assert (start - MONDAY) % grid.length == 0
    assert grid.start(start) == start
    assert grid.start(start - 1) == start - grid.length
    assert grid.start(start + grid.length) == start + grid.length


@pytest.mark.parametrize(
    ("moment", "span", "start"),
    [
        ("1970-01-05T00:00:00Z", "7d", "1970-01-05"),  # the first Monday: number 0
        ("1970-01-04T23:59:59.999999Z", "7d", "1969-12-29"),  # before it numbers are negative
        ("1970-01-01T00:00:00Z", "7d", "1969-12-29"),
        ("2026-11-27T07:00:00Z", "7d", "2026-11-23"),
        ("2026-11-23T00:00:00Z", "1w", "2026-11-23"),
        ("2026-11-23T00:30:00+01:00", "7d", "2026-11-16"),  # Sunday evening in UTC
        ("2024-02-29T12:00:00Z", "1d", "2024-02-29"),  # a leap day is a day
        ("2024-03-03T23:59:59Z", "7d", "2024-02-26"),  # a week over it has seven days
        ("2026-03-29T01:30:00Z", "12h", "2026-03-29"),  # no batch is shorter when clocks are changed
        ("2026-11-27T07:59:59.999999Z", "1h", "2026-11-27T07:00:00"),
        ("1970-02-10", "5w", "1970-02-09"),  # longer than a week: counted from the first Monday
        ("1970-02-08", "5w", "1970-01-05"),
        ("1970-01-14", "10d", "1970-01-05"),
        ("1970-01-15", "10d", "1970-01-15"),  # and then it begins on a Thursday
    ],
)
def test_where_batches_begin(moment: str, span: str, start: str) -> None:
    assert iso(Grid(length(span)).start(at(moment))) == iso(at(start))


@given(st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 31)))  # made UTC below
@settings(max_examples=30, deadline=None)
def test_times_survive_and_sort_as_texts(found: datetime) -> None:
    text = iso(at(found.replace(tzinfo=UTC).isoformat()))
    assert datetime.fromisoformat(text) == found.replace(tzinfo=UTC)
    assert at(text) == at(found.isoformat())  # without a zone it is UTC
    assert len(text) == len("2026-01-01T00:00:00.000000Z")
    assert iso(at(text) - 1) < text < iso(at(text) + 1)


@pytest.mark.parametrize("text", ["", "never", "2026-02-30", "2025-02-29", "2026-01-01T24:30", "1764000000"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert micros(text) is None


def test_moments_before_1970_are_negative_and_whole() -> None:
    assert at("1969-12-31T23:59:59.999999Z") == -1
    assert iso(-1) == "1969-12-31T23:59:59.999999Z"
    assert at("1970-01-01T01:00:00+01:00") == 0


@pytest.mark.parametrize(
    ("span", "hours"), [("1m", 1 / 60), ("36h", 36), ("1.5d", 36), ("2w", 336), ("500ms", 1 / 7200)]
)
def test_spans_in_microseconds(span: str, hours: float) -> None:
    assert length(span) == round(hours * HOUR)


def test_a_span_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ProjectInvalid, match="span of time cannot be read"):
        length("a week")


@pytest.mark.parametrize(
    ("seconds", "phases", "moment", "phase"),
    [
        (86400, 7, "2026-11-23", 0),  # Monday
        (86400, 7, "2026-11-29", 6),  # Sunday
        (86400, 7, "2024-02-29", 3),  # Thursday, the leap day
        (86400, 7, "2024-03-01", 4),
        (86400, 7, "1969-12-31", 2),  # Wednesday, before the beginning of counting
        (43200, 14, "2026-11-23T12:00:00Z", 1),
        (3600, 168, "2026-11-29T23:00:00Z", 167),
        (604800, 1, "2026-11-29", 0),  # a batch is a week: there is nothing to tell apart
        (4 * 604800, 1, "2026-11-29", 0),
    ],
)
def test_the_phase_of_the_week(seconds: float, phases: int, moment: str, phase: int) -> None:
    grid = Grid(int(seconds * 1_000_000))
    assert grid.phase(grid.start(at(moment)), tells(seconds, phases)) == phase


def test_a_reference_that_tells_no_phases_has_one() -> None:
    grid = Grid(length("1d"))
    start = at("2026-11-29")
    assert grid.phase(start, Profile(features=(), rows=1)) == 0
    assert grid.phase(start, tells(86400, 1)) == 0
    assert grid.phase(start, tells(86400, 0)) == 0


@given(moments, st.sampled_from([3600, 7200, 21600, 43200, 86400]))
@settings(max_examples=30, deadline=None)
def test_phases_come_round_every_week_one_after_the_other(moment: int, seconds: int) -> None:
    grid, known = Grid(seconds * 1_000_000), tells(seconds, 604800 // seconds)
    start = grid.start(moment)
    phase = grid.phase(start, known)
    assert 0 <= phase < 604800 // seconds
    assert grid.phase(start + WEEK, known) == phase
    assert grid.phase(start + grid.length, known) == (phase + 1) % (604800 // seconds)
    assert iso(start - phase * grid.length) == iso(Grid(WEEK).start(start))


def test_now_is_now() -> None:
    found = datetime.fromisoformat(iso(now()))
    assert abs(datetime.now(UTC) - found) < timedelta(minutes=1)
