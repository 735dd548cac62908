"""Batches as points over time: none over another, none lost, at most so many, and exact sums."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.monitoring import profiles
from fullcircle.monitoring.batches import Batch, Layout, count
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry
from fullcircle.monitoring.stretches import FARTHEST, Lot, lots, over_time, share
from fullcircle.types.monitoring import Evidence, FeatureProfile, Profile

DAY = 86_400_000_000
RNG = np.random.default_rng(5)
AGE = profiles.frozen("age", RNG.normal(40, 10, 600))
LOSS = profiles.frozen("loss", RNG.random(600), role="loss")


def frozen(*features: FeatureProfile) -> Profile:
    return Profile(features=features, rows=600, outcomes=(LOSS,))


PROFILE = frozen(AGE)
LAYOUT = Layout(PROFILE.features)


def day(place: int, rows: int = 50, *, shift: float = 0.0, level: float = -math.inf, labelled: int = 0) -> Entry:
    rng = np.random.default_rng(place)
    values = rng.normal(40 + shift, 10, rows)
    losses = rng.random(labelled)
    return Entry(
        version=1,
        start=place * DAY,
        stop=(place + 1) * DAY,
        rows=rows,
        labelled=labelled,
        verdicts={"ok": rows - 1, "flagged": 1} if rows else {},
        counts=count(LAYOUT, {"age": values}, rows).encode() if rows else b"",
        outcomes=count(Layout(PROFILE.outcomes), {"loss": losses}, labelled).encode() if labelled else b"",
        evidence=(Evidence(kind="drift", level=level, threshold=5.0, fired=level >= 5.0),),
        judged=True,
    )


def test_every_batch_is_a_point_while_there_are_few() -> None:
    found, merged = lots([day(2), day(0), day(1)], [])
    assert merged == 1
    assert [(lot.since // DAY, lot.until // DAY) for lot in found] == [(0, 1), (1, 2), (2, 3)]
    assert lots([], [(0, DAY)]) == ([], 1)


def test_a_time_without_rows_is_a_point_and_only_where_there_was_no_batch() -> None:
    whole = [(-5 * DAY, 0), (DAY, 4 * DAY), (5 * DAY, 9 * DAY)]
    found, _ = lots([day(0), day(2), day(4)], whole)
    assert [(lot.since // DAY, lot.until // DAY, len(lot.entries)) for lot in found] == [
        *((0, 1, 1), (1, 2, 0), (2, 3, 1), (3, 4, 0), (4, 5, 1), (5, 9, 0))
    ]
    empty = over_time(PROFILE, found).stretches[-1]
    assert (empty.rows, empty.measures, empty.levels) == (0, (), {})


spans = st.tuples(st.integers(0, 300), st.integers(1, 12))


@given(st.lists(spans, max_size=40), st.lists(spans, max_size=10), st.integers(1, 30))
def test_lots_are_in_order_apart_and_hold_every_batch_once(
    taken: list[tuple[int, int]], free: list[tuple[int, int]], most: int
) -> None:
    entries = [Entry(version=1, start=start, stop=start + size, id=at) for at, (start, size) in enumerate(taken, 1)]
    found, merged = lots(entries, [(start, start + size) for start, size in free], most)
    assert len(found) <= most
    assert sorted(entry.id for lot in found for entry in lot.entries) == list(range(1, len(entries) + 1))
    for lot in found:
        assert lot.since < lot.until
        assert all(lot.since <= entry.start and entry.stop <= lot.until for entry in lot.entries)
    assert all(one.until <= other.since for one, other in pairwise(found))
    assert merged >= 1
    assert merged & (merged - 1) == 0, "a point keeps its bounds until there are twice as many batches"


def test_what_is_put_together_is_exactly_the_sum() -> None:
    entries = [day(place, 20 + place, labelled=place % 3, level=place - 3.0) for place in range(7)]
    found, merged = lots(entries, [], 2)
    shown = over_time(PROFILE, found).stretches
    assert (merged, len(shown)) == (4, 2)
    assert sum(each.rows for each in shown) == sum(entry.rows for entry in entries)
    assert sum(each.labelled for each in shown) == sum(entry.labelled for entry in entries)
    assert dict(shown[1].verdicts) == {"ok": sum(20 + place - 1 for place in range(4, 7)), "flagged": 3}
    total = Batch.empty(LAYOUT)
    for entry in entries[4:]:
        total = total + Batch.decode(LAYOUT, entry.counts)
    means = [each.value for each in shown[1].measures if (each.name, each.group) == ("mean", "age")]
    assert means == [total.summary("age").mean]
    assert (shown[1].since, shown[1].until) == (iso(4 * DAY), iso(7 * DAY))


def test_the_largest_level_of_what_is_put_together_is_shown() -> None:
    found = over_time(PROFILE, [Lot(since=0, until=3 * DAY, entries=(day(0, level=1.0), day(1, level=6.0), day(2)))])
    assert found.stretches[0].levels == {"drift": 1.2}


@pytest.mark.parametrize(
    ("level", "threshold", "expected"),
    [(-math.inf, 5.0, 0.0), (-1.0, 5.0, 0.0), (2.5, 5.0, 0.5), (5.0, 5.0, 1.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)],
)
def test_a_level_is_shown_as_a_share_of_its_threshold(level: float, threshold: float, expected: float) -> None:
    assert share(level, threshold) == expected


def test_labels_have_measures_and_counts_of_their_own() -> None:
    shown = over_time(PROFILE, lots([day(0, labelled=30), day(1, rows=0)], [])[0])
    assert {each.group for each in shown.stretches[0].measures} == {"age", "loss"}
    assert sum(shown.latest["loss"]) == 30
    assert sum(shown.latest["age"]) == 50  # of the last batch that has rows
    assert shown.stretches[1].measures == ()


def test_only_the_farthest_columns_are_measured_in_every_stretch() -> None:
    names = [f"c{place}" for place in range(FARTHEST + 20)]
    wide = frozen(*(profiles.frozen(name, np.arange(100.0)) for name in names))
    layout = Layout(wide.features)

    def entry(place: int) -> Entry:
        columns = {name: np.arange(100.0) + 2 * at for at, name in enumerate(names)}
        start = place * DAY
        counted = count(layout, columns, 100).encode()
        return Entry(version=1, start=start, stop=start + DAY, rows=100, counts=counted, judged=True)

    shown = over_time(wide, lots([entry(0), entry(1)], [(2 * DAY, 3 * DAY)])[0], pointed={"c3"}).stretches
    first, last, _ = ({each.group for each in stretch.measures} for stretch in shown)
    assert first == {"c3", *names[-FARTHEST + 1 :]}
    assert last == set(names)


def test_counts_of_another_profile_are_refused() -> None:
    with pytest.raises(DataUnfit, match="different bins"):
        over_time(frozen(profiles.frozen("age", np.arange(50.0))), lots([day(0)], [])[0])
