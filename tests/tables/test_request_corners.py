"""Corners of the lines of requests: torn ends, edges of stretches, merging laws, bounds on days and bytes."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.tables.requests import DAYS, SECONDS, SHARE, Counted, Histogram, Line, RequestLog, Requests, read
from fullcircle.tables.room import REQUESTS

NOW = datetime.now(UTC)
TODAY, EARLIER = NOW.strftime("%Y-%m-%d"), (NOW - timedelta(days=1)).strftime("%Y-%m-%d")
DAY = [(f"{TODAY}T00:00:00Z", f"{TODAY}T23:59:59.999999Z")]
# Sums of eighths are exact in any order, so merging can be compared bit by bit.
eighths = st.integers(0, 800).map(lambda n: n / 8)
histograms = st.builds(
    Histogram,
    buckets=st.lists(st.integers(0, 50), min_size=len(SECONDS) + 1, max_size=len(SECONDS) + 1),
    seconds=eighths,
)
words = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 9), max_size=3)
lines_of = st.builds(
    Line,
    since=st.just(f"{TODAY}T10:00:00.000000Z"),
    seconds=eighths,
    number=st.integers(0, 9),
    requests=st.dictionaries(st.sampled_from([200, 422, 503]), histograms, max_size=2),
    reasons=words,
    verdicts=words,
    failed=st.integers(0, 5),
    lost=st.integers(0, 5),
    busy=eighths,
    waiting=st.integers(0, 64),
    bound=st.sampled_from([0, 64]),
)


def one(at: str, number: int = 0, *, count: int = 1, **given: object) -> Line:
    buckets = [count] + [0] * len(SECONDS)
    known = {"model": "m", "version": 1, "requests": {200: Histogram(buckets=buckets, seconds=0.1)}, **given}
    return Line(since=at, seconds=60.0, number=number, **known)  # type: ignore[arg-type]


def at(time: str, day: str = TODAY) -> str:
    return f"{day}T{time}Z"


def counts(found: tuple[Counted, ...]) -> list[int]:
    return [sum(each.count for each in counted.requests.values()) for counted in found]


def summed(lines: list[Line]) -> Counted:
    found = Counted()
    for line in lines:
        found.take(line)
    return found


@given(histograms, histograms, histograms)
@settings(max_examples=25, deadline=None)
def test_histograms_add_in_any_order_and_nothing_is_the_zero(a: Histogram, b: Histogram, c: Histogram) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Histogram() == a
    assert (a + b).count == a.count + b.count


@given(st.lists(lines_of, max_size=5), st.lists(lines_of, max_size=5), st.lists(lines_of, max_size=3))
@settings(max_examples=20, deadline=None)
def test_sums_add_in_any_order_and_nothing_is_the_zero(a: list[Line], b: list[Line], c: list[Line]) -> None:
    first, second, third = summed(a), summed(b), summed(c)
    assert first + second == second + first == summed([*b, *a])
    assert (first + second) + third == first + (second + third)
    assert first + Counted() == first == Counted() + first


@given(histograms, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_larger_share_has_no_smaller_quantile(found: Histogram, a: float, b: float) -> None:
    if found.count:
        smaller, larger = sorted((a, b))
        assert found.quantile(smaller) <= found.quantile(larger)
        low, high = found.quantile(0.0)
        assert low < high  # the smallest lies in the first bucket that has any
        assert found.buckets[(0.0, *SECONDS).index(low)] > 0
        assert sum(found.buckets[: (0.0, *SECONDS).index(low)]) == 0


@pytest.mark.parametrize("share", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_a_share_that_is_none_has_no_quantile(share: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        Histogram(buckets=[1] * (len(SECONDS) + 1)).quantile(share)


def test_a_short_line_says_nothing_of_the_busiest_minute_but_counts() -> None:
    found = summed([
        msgspec.structs.replace(one(at("10:00:00.000000")), seconds=9.99, busy=9.0, waiting=3, bound=0),
        msgspec.structs.replace(one(at("10:01:00.000000")), seconds=10.0, busy=2.0, waiting=16, bound=64),
    ])  # fmt: skip
    assert (found.busiest, found.busy, found.fullest) == (0.2, 11.0, 0.25)  # a bound of 0 is one that is not known


@given(st.lists(lines_of, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_what_is_read(lines: list[Line]) -> None:
    with TemporaryDirectory() as folder:
        assert RequestLog(Path(folder)).add(lines)
        assert [*Requests(Path(folder), *DAY[0])] == lines
        assert read(Path(folder), "", DAY) == (summed(lines),)


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([(at("10:00:00"), at("10:01:00"))], [1]),  # its own beginning is in it, its end is not
        ([(at("10:00:00.000001"), at("10:01:00.000001"))], [2]),
        ([(at("09:00:00"), at("10:00:00"))], [0]),
        ([(at("10:00:00"), at("10:01:00")), (at("10:01:00"), at("10:02:00"))], [1, 2]),
        ([(at("10:00:00"), at("10:00:30")), (at("10:01:30"), at("10:03:00"))], [1, 4]),  # a hole between them
        ([(at("10:00:00"), at("10:00:00"))], [0]),
        ([(f"{TODAY}T11:30:00+01:30", f"{TODAY}T11:31:00+01:30")], [1]),  # the same minute on another clock
        ([(EARLIER, TODAY), (TODAY, at("23:59:00"))], [8, 7]),  # dates alone; midnight belongs to the new day
    ],
)
def test_the_edges_of_stretches(tmp_path: Path, stretches: list[tuple[str, str]], expected: list[int]) -> None:
    log = RequestLog(tmp_path)
    assert log.add([one(at("23:59:59.999999", EARLIER), 9, count=8)])
    assert log.add([one(at(f"10:0{minute}:00.000000"), minute, count=2**minute) for minute in range(3)])
    assert counts(read(tmp_path, "m", stretches)) == expected


def test_a_line_at_midnight_is_of_the_new_day(tmp_path: Path) -> None:
    assert RequestLog(tmp_path).add([one(at("23:59:00.000000", EARLIER)), one(at("00:00:00.000000"), 1, count=5)])
    assert sorted(path.name[:10] for path in (tmp_path / REQUESTS).iterdir()) == [EARLIER, TODAY]
    assert counts(read(tmp_path, "m", [(EARLIER, TODAY), (TODAY, at("12:00:00"))])) == [1, 5]


def test_versions_are_told_apart_and_none_is_all(tmp_path: Path) -> None:
    found = [one(at("10:00:00.000000"), n, version=n, count=2**n) for n in (1, 2, 3)]
    assert RequestLog(tmp_path).add(found)
    asked: tuple[int | None, ...] = (None, 1, 2, 3, 0, 4)
    assert [counts(read(tmp_path, "m", DAY, version=version))[0] for version in asked] == [14, 2, 4, 8, 0, 0]


@pytest.mark.parametrize(
    "torn",
    [
        b"not json at all\n",
        b"\xff\xfe\x00\n",
        b'{"since": "2026-01-01T00:00:00Z"}\n',  # without what every line has
        b'{"since": 5, "seconds": 60.0, "number": 1}\n',
        b'{"since": "2026", "seconds": "sixty", "number": 1}\n',
        b"[1, 2, 3]\n",
        b"null\n",
    ],
)
def test_what_is_no_line_is_told_and_those_around_it_count(tmp_path: Path, torn: bytes) -> None:
    log = RequestLog(tmp_path)
    assert log.add([one(at("10:00:00.000000"))])
    (path,) = (tmp_path / REQUESTS).glob("*.jsonl")
    with path.open("ab") as file:
        file.write(torn + b"\n   \n")  # blank lines are no lines
    assert log.add([one(at("10:01:00.000000"), 1)])
    (found,) = read(tmp_path, "m", DAY)
    assert (counts((found,)), found.lines, found.torn) == ([2], 2, 1)


def test_a_torn_file_is_told_anew_in_each_reading_and_only_where_it_is_read(tmp_path: Path) -> None:
    assert RequestLog(tmp_path).add([one(at("10:00:00.000000"))])
    (path,) = (tmp_path / REQUESTS).glob("*.jsonl")
    path.write_bytes(path.read_bytes() + b"torn\n")
    lines = Requests(tmp_path, *DAY[0])
    assert [len([*lines]), lines.torn, len([*lines]), lines.torn] == [1, 1, 1, 1]
    other_day = Requests(tmp_path, "2020-01-01", "2020-01-02")
    assert ([*other_day], other_day.torn) == ([], 0)


def test_the_end_of_a_line_that_is_being_written_is_torn_once_and_whole_later(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    assert log.add([one(at("10:00:00.000000")), one(at("10:01:00.000000"), 1)])
    (path,) = (tmp_path / REQUESTS).glob("*.jsonl")
    whole = path.read_bytes()
    for cut in (1, 2, 17):
        path.write_bytes(whole[:-cut])
        (found,) = read(tmp_path, "m", DAY)
        assert (counts((found,))[0], found.torn) == ((2, 0) if cut == 1 else (1, 1))
    path.write_bytes(whole)
    assert counts(read(tmp_path, "m", DAY)) == [2]


def test_a_line_of_a_later_format_counts_as_far_as_it_is_known(tmp_path: Path) -> None:
    assert RequestLog(tmp_path).add([one(at("10:00:00.000000"))])
    (path,) = (tmp_path / REQUESTS).glob("*.jsonl")
    later = msgspec.json.decode(path.read_bytes()) | {"colour": "blue", "more": {"of": [1]}}
    path.write_bytes(msgspec.json.encode(later) + b"\n")
    (found,) = read(tmp_path, "m", DAY)
    assert (counts((found,)), found.torn) == ([1], 0)


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    home = tmp_path / REQUESTS
    home.mkdir()
    (home / "README.txt").write_text("mine")
    (home / f"{TODAY}-1-aa.jsonl").write_bytes(b"")
    assert RequestLog(tmp_path, 0).add([one(at("10:00:00.000000"))])
    assert (home / "README.txt").read_text() == "mine"
    assert counts(read(tmp_path, "m", DAY)) == [1]


@pytest.mark.parametrize(("back", "stays"), [(DAYS - 1, True), (DAYS, True), (DAYS + 1, False)])
def test_a_file_goes_when_it_is_older_than_its_days(tmp_path: Path, back: int, stays: bool) -> None:
    home = tmp_path / REQUESTS
    home.mkdir()
    old = home / f"{(datetime.now(UTC) - timedelta(days=back)).strftime('%Y-%m-%d')}-1-aa.jsonl"
    old.write_bytes(b"{}\n")
    assert RequestLog(tmp_path).add([one(at("10:00:00.000000"))])
    assert old.exists() is stays


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8), st.integers(0, 4000))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_and_no_more_goes_than_must(sizes: list[int], bound: int) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder) / REQUESTS
        home.mkdir()
        days = [(NOW - timedelta(days=len(sizes) - place)).strftime("%Y-%m-%d") for place in range(len(sizes))]
        for day, size in zip(days, sizes, strict=True):
            (home / f"{day}-1-aa.jsonl").write_bytes(b"x" * size)
        assert RequestLog(Path(folder), bound * SHARE).add([one(at("10:00:00.000000"))])
        left = sorted(path.name[:10] for path in home.glob("*-1-aa.jsonl"))
        kept = [size for day, size in zip(days, sizes, strict=True) if day in left]
        assert left == days[len(days) - len(left) :]  # the oldest went
        assert sum(kept) <= bound
        if len(kept) < len(sizes):
            assert sum(kept) + sizes[-len(kept) - 1] > bound


def test_nothing_of_the_past_is_there_before_anything_is_written(tmp_path: Path) -> None:
    assert [*Requests(tmp_path, *DAY[0])] == []
    assert read(tmp_path, "m", DAY * 1) == (Counted(),)
    assert RequestLog(tmp_path).add([])  # no line is no fault
    assert [*Requests(tmp_path, *DAY[0])] == []


@pytest.mark.parametrize("wrong", ["", "yesterday", "2026-13-01", "2026-01-01T25:00"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(RequestInvalid, match="time cannot be read"):
        read(tmp_path, "m", [(wrong, TODAY)])
    with pytest.raises(RequestInvalid, match="time cannot be read"):
        Requests(tmp_path, TODAY, wrong)
