"""The breaker of a version that is tried: how many errors it takes, who is told, and what it takes for slow."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fullcircle.server.breaker import FIRST, Breaker
from fullcircle.tables.trips import Trip, read
from fullcircle.types.splits import BAD, SLOWER, UNFELT

SHARE = 0.05
RATE = 100  # requests a second, of the whole model
BAKE = 3600  # seconds
LATE = 9 * RATE * BAKE // 10  # requests that went well


def played(seed: int, chance: float, folder: Path, workers: int, most: int, good: int = 0) -> tuple[int, int]:
    """Traffic of a model until a breaker opens: how many requests went wrong, of how many of the whole model.

    Before it begins to fail the version answered its share of ``good`` requests well.
    """
    rng = random.Random(seed)
    split = f"{seed:016x}"
    breakers = [Breaker(split, 2, folder) for _ in range(workers)]
    for _ in range(round(good * SHARE)):
        rng.choice(breakers).well()
    bad = 0
    for count in range(1, most + 1):
        if count % (RATE // 10) == 0:  # ten times a second everybody looks
            for one in breakers:
                one.look()
        if rng.random() >= SHARE:
            continue
        one = rng.choice(breakers)
        if one.is_open:
            continue
        if rng.random() < chance:
            bad += 1
            one.fails("planted")
        else:
            one.well()
        if all(each.is_open for each in breakers):
            return bad, count
    return bad, most


@pytest.mark.parametrize(
    ("chance", "good"), [*((chance, 0) for chance in (1.0, 0.5, 0.2, 0.1)), (1.0, LATE), (0.1, LATE)]
)
def test_less_than_one_percent_of_the_budget_is_spent_in_100_of_100_seeds(
    chance: float, good: int, tmp_path: Path
) -> None:
    """The budget: one in a hundred of the requests that the model gets while the first step bakes.

    At once, or when nine tenths of that time are over, in which all went well.
    """
    budget = BAD * RATE * BAKE
    spent = [played(seed, chance, tmp_path, workers=4, most=RATE * BAKE // 10, good=good) for seed in range(100)]
    assert max(bad for bad, _ in spent) < 0.01 * budget
    assert all(read(tmp_path, f"{seed:016x}") is not None for seed in range(100))


def test_a_version_within_its_budget_is_left_alone(tmp_path: Path) -> None:
    """At half of what may go wrong: 100 runs of 5,000 requests each, where one false end in ten would be allowed."""
    for seed in range(100):
        rng = random.Random(seed)
        breaker = Breaker("within", 2)
        for _ in range(5000):
            if rng.random() < BAD / 2:
                breaker.fails("chance")
            else:
                breaker.well()
        assert not breaker.is_open


def test_who_opens_it_says_why_once_and_all_others_see_it(tmp_path: Path) -> None:
    one, other = Breaker("s", 7, tmp_path), Breaker("s", 7, tmp_path)
    opened = [one.fails("it raised") for _ in range(5)]
    assert opened.count(True) == 1
    trip = read(tmp_path, "s")
    said = "2 of its last 2 requests failed, 1 in 100 may; the last one: it raised"
    assert trip == Trip("s", 7, said, 2, 2)
    assert (other.is_open, other.reason) == (False, "")
    other.look()
    assert other.is_open
    late = Breaker("s", 7, tmp_path)  # of the next process
    assert late.is_open
    assert one.reason == other.reason == late.reason == said
    assert not Breaker("another", 7, tmp_path).is_open
    while not (late := Breaker("t", 7, tmp_path)).is_open:
        late.fails("a")
        late.fails("b")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["s.json", "t.json"]


@pytest.mark.parametrize("good", [100, 36_000, 1_000_000])
def test_four_failures_in_a_row_open_it_however_long_it_answered_well(good: int, tmp_path: Path) -> None:
    breaker = Breaker("s", 7, tmp_path)
    for _ in range(good):
        breaker.well()
    assert [breaker.fails("it raised") for _ in range(4)] == [False, False, False, True]
    trip = read(tmp_path, "s")
    assert trip is not None
    assert trip.reason == "4 of its last 4 requests failed, 1 in 100 may; the last one: it raised"
    assert (trip.requests, trip.bad) == (good + 4, 4)


def test_slow_requests_that_come_late_are_found_as_soon() -> None:
    now = [0.0]
    breaker = Breaker("s", 2, clock=lambda: now[0])
    for _ in range(100_000):
        breaker.well()
    for second in range(4):  # nothing but slow ones, ten a second
        now[0] += 1.0
        opened = [breaker.lags("late") for _ in range(10)]
        assert any(opened) == (second == 3)


def test_slow_is_said_to_be_slow_beside_what_the_champion_takes() -> None:
    now = [0.0]
    breaker = Breaker("s", 2, clock=lambda: now[0])
    for _ in range(200):
        breaker.champion(0.0005)
    while not breaker.is_open:
        now[0] += 2.0
        breaker.lags("no answer within 0.101 s")
    assert breaker.reason == (
        "2 of its last 2 requests were too slow, 1 in 100 may; the last one: no answer within 0.101 s, "
        "where 99 in 100 of the champion's took at most 0.0005 s"
    )


def test_what_was_slow_and_what_failed_are_told_apart() -> None:
    breaker = Breaker("s", 2)
    breaker.lags("no answer within 1 s")
    while not breaker.is_open:
        breaker.fails("it raised")
    told = "4 of its last 4 requests went wrong, 1 of them too slow, 1 in 100 may; the last one: it raised"
    assert breaker.reason == told


def test_a_reason_that_cannot_be_read_keeps_it_open_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.json").mkdir()
    breaker = Breaker("s", 2, tmp_path)
    assert (breaker.is_open, breaker.reason) == (True, "")


def test_where_it_cannot_be_written_down_this_process_knows_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    breaker = Breaker("s", 7, tmp_path / "file" / "folder")
    for _ in range(3):
        breaker.fails("it raised")
    assert breaker.is_open
    assert read(tmp_path, "s") is None
    (tmp_path / "s.json").write_text("{")
    found = read(tmp_path, "s")
    assert found is not None
    assert "cannot be read" in found.reason


def test_slow_is_what_the_champion_is_not() -> None:
    breaker = Breaker("s", 2)
    assert breaker.patience() == FIRST * UNFELT
    breaker.champion(3.0)
    assert breaker.patience() == SLOWER * 3.0 + FIRST * UNFELT
    for place in range(1000):
        breaker.champion(0.5 if place % 50 == 0 else 0.010)  # 2 % are slow: so is its p99
    assert breaker.patience() == pytest.approx(SLOWER * 0.5 + UNFELT)
    assert breaker.patience(250) == pytest.approx(SLOWER * 0.5 + 3 * UNFELT)
    for _ in range(1000):
        breaker.champion(0.010)
    assert breaker.patience() == pytest.approx(SLOWER * 0.010 + UNFELT)


def test_slow_requests_of_one_second_count_as_one_and_of_several_open_it() -> None:
    now = [0.0]
    breaker = Breaker("s", 2, clock=lambda: now[0])
    for _ in range(50):  # a machine that stood still for half a second
        now[0] += 0.01
        assert not breaker.lags("late")
    now[0] += 10.0
    assert breaker.lags("late")  # and nothing but slow ones since
    usual = Breaker("s", 2, clock=lambda: now[0])
    for second in range(200):  # ten requests a second, one in 200 slow
        now[0] += 1.0
        for _ in range(10):
            usual.well()
        if second % 20 == 0:
            usual.lags("late")
    assert not usual.is_open


@pytest.mark.parametrize(("good", "bursts"), [(100, 3), (1000, 7), (9900, 50)])
def test_slow_requests_that_come_together_are_found_as_their_share_is(good: int, bursts: int) -> None:
    """A hundred at a time: a half, one in eleven, and the one in a hundred that may be."""
    now = [0.0]
    breaker = Breaker("s", 2, clock=lambda: now[0])
    for burst in range(1, bursts + 1):
        for _ in range(good):
            breaker.well()
        now[0] += 10.0
        opened = [breaker.lags("late") for _ in range(100)]
        assert any(opened) == (burst == bursts and good < 9900)


@pytest.mark.parametrize("rate", [1, 10, 100])
def test_a_tenth_of_slow_requests_is_found_at_any_rate(rate: int) -> None:
    rng = random.Random(rate)
    now = [0.0]
    breaker = Breaker("s", 2, clock=lambda: now[0])
    while not breaker.is_open:
        now[0] += 1 / rate
        if rng.random() < 0.1:
            breaker.lags("late")
        else:
            breaker.well()
        assert now[0] < 200
