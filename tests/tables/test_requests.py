"""What became of requests: each counted once, merged exactly, quantiles that hold what they bound, bounded files."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.tables.requests import DAYS, SECONDS, SHARE, Counted, Histogram, Line, RequestLog, Requests, read
from fullcircle.tables.room import REQUESTS, folder_bytes

TODAY = datetime.now(UTC).strftime("%Y-%m-%d")
SINCE, MIDDLE, UNTIL = (f"{TODAY}T{time}:00.000000Z" for time in ("10:00", "10:30", "11:00"))
WHOLE = [(SINCE, UNTIL)]
durations = st.lists(st.floats(0.00001, 20.0), min_size=1, max_size=60)


def histogram(values: list[float]) -> Histogram:
    buckets = [0] * (len(SECONDS) + 1)
    for value in values:
        buckets[bisect_left(SECONDS, value)] += 1
    return Histogram(buckets=buckets, seconds=math.fsum(values))


def line(minute: int = 0, number: int = 0, **given: object) -> Line:
    known = {"model": "m", "version": 1, "requests": {200: histogram([0.001, 0.2])}, "verdicts": {"ok": 2}, **given}
    return Line(since=f"{TODAY}T10:{minute:02}:00.000000Z", seconds=60.0, number=number, **known)  # type: ignore[arg-type]


def requests(counted: Counted) -> int:
    return sum(found.count for found in counted.requests.values())


@given(durations, durations)
def test_the_sum_of_histograms_is_the_histogram_of_all(a: list[float], b: list[float]) -> None:
    both = histogram(a) + histogram(b)
    assert both.buckets == histogram([*a, *b]).buckets
    assert both.seconds == pytest.approx(math.fsum([*a, *b]))


@given(durations, st.floats(0.0, 1.0))
def test_the_bounds_of_a_quantile_hold_it(values: list[float], share: float) -> None:
    low, high = histogram(values).quantile(share)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert low < exact <= high


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="no quantile"):
        Histogram().quantile(0.5)
    for wrong in ([1, 2], [-1] + [0] * len(SECONDS)):
        with pytest.raises(ValueError, match="counts"):
            Histogram(buckets=wrong)


@given(st.lists(st.integers(0, 59), max_size=12), st.integers(0, 12))
def test_taking_lines_in_two_heaps_and_adding_is_taking_all(minutes: list[int], cut: int) -> None:
    took = histogram([0.25, 0.0078125])  # what adds up without rounding in any order
    lines = [
        line(minute, busy=float(minute), waiting=minute, bound=64, lost=minute, requests={200: took})
        for minute in minutes
    ]
    whole, first, second = Counted(), Counted(), Counted()
    for place, one in enumerate(lines):
        whole.take(one)
        (first if place < cut else second).take(one)
    before = msgspec.json.encode(first)
    assert first + second == whole
    assert msgspec.json.encode(first) == before  # adding changes neither


def test_lines_come_back_by_stretch_model_and_version(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    other = line(0, model="n")
    nobody = line(0, model="", version=0, requests={503: histogram([0.001])}, verdicts={})
    assert log.add([line(0), other, nobody, line(0, version=2)])
    assert log.add([line(45, number=1)])
    early, late = read(tmp_path, "m", [(SINCE, MIDDLE), (MIDDLE, UNTIL)])
    assert (requests(early), requests(late), early.verdicts, early.seconds) == (4, 2, {"ok": 4}, 120.0)
    assert requests(read(tmp_path, "m", WHOLE, version=2)[0]) == 2
    assert read(tmp_path, "", WHOLE)[0].requests[503].count == 1
    assert read(tmp_path, "m", []) == ()
    assert read(tmp_path / "nowhere", "m", WHOLE)[0] == Counted()


def test_a_minute_that_is_not_over_counts_until_it_is_and_never_twice(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    assert log.present([line(0)])
    assert requests(read(tmp_path, "m", WHOLE)[0]) == 2
    (now,) = (tmp_path / REQUESTS).glob("*.now")
    kept = now.read_bytes()
    assert log.add([line(0)])
    now.write_bytes(kept)  # killed between the two steps
    assert requests(read(tmp_path, "m", WHOLE)[0]) == 2
    assert RequestLog(tmp_path).present([line(1)])  # another process
    assert requests(read(tmp_path, "m", WHOLE)[0]) == 4


def test_a_torn_line_is_passed_over_and_told(tmp_path: Path) -> None:
    RequestLog(tmp_path).add([line(0), line(1, number=1)])
    (path,) = (tmp_path / REQUESTS).glob("*.jsonl")
    path.write_bytes(
        path.read_bytes()[:-20] + b"\n" + msgspec.json.encode(line(2)).replace(b'"buckets":[', b'"buckets":[7,')
    )
    (found,) = read(tmp_path, "m", WHOLE)
    assert (requests(found), found.torn) == (2, 2)


def test_the_oldest_days_go_and_what_is_written_to_stays(tmp_path: Path) -> None:
    home = tmp_path / REQUESTS
    home.mkdir()
    days = [(datetime.now(UTC) - timedelta(days=back)).strftime("%Y-%m-%d") for back in (DAYS + 1, 9, 8, 7)]
    for day in days:
        (home / f"{day}-1-aa.jsonl").write_bytes(b"x" * 1000)
    (home / "1-aa.now").write_bytes(b"y")
    os.utime(home / "1-aa.now", (0, 0))
    assert RequestLog(tmp_path, 2500 * SHARE).add([line(0)])
    left = sorted(path.name[:10] for path in home.iterdir())
    assert left == [*days[2:], TODAY]
    assert folder_bytes(tmp_path) == sum(path.stat().st_size for path in home.iterdir())


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_half_there(tmp_path: Path) -> None:
    (tmp_path / REQUESTS).write_text("a file in its place")
    log = RequestLog(tmp_path)
    assert not log.add([line(0)])
    assert not log.present([line(0)])
    (tmp_path / REQUESTS).unlink()
    assert log.add([line(0)])
    assert [one.number for one in Requests(tmp_path, SINCE, UNTIL)] == [0]
