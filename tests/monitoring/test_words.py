"""What moved, in words: the largest change is told, in shares that do not lie."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.monitoring.words import bin_names, percent, shares, what_moved
from fullcircle.stats.bins import count_numbers, quantile_edges
from fullcircle.types.monitoring import FeatureProfile

AGE = FeatureProfile(name="age", kind="number", edges=(20.0, 40.0), counts=(300, 400, 300, 0, 0), low=18.0, high=66.0)
CITY = FeatureProfile(name="city", kind="category", categories=("Lima", "Pune"), counts=(500, 500, 0, 0))
NOTE = FeatureProfile(name="note", kind="category", counts=(90, 10))


def _frozen(values: list[float]) -> FeatureProfile:
    edges = quantile_edges(values)
    counts = tuple(count_numbers(values, edges).tolist())
    return FeatureProfile(
        name="x", kind="number", edges=tuple(edges.tolist()), counts=counts, low=min(values), high=max(values)
    )


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.333, "33 %"),
        (0.754, "75 %"),
        (0.01, "1 %"),
        (0.99, "99 %"),
        (0.004, "0.4 %"),
        (0.00012, "0.012 %"),
        (0.996, "99.6 %"),
        (0.99988, "99.99 %"),
    ],
)
def test_a_share_reads_well(share: float, said: str) -> None:
    assert percent(share) == said


@given(st.floats(1e-9, 1.0 - 1e-4))
def test_a_share_is_never_rounded_to_none_or_all(share: float) -> None:
    assert float(percent(share).removesuffix(" %")) not in (0.0, 100.0)
    assert float(percent(share).removesuffix(" %")) == pytest.approx(100 * share, rel=0.051, abs=0.51)


def test_shares_of_nothing_are_none() -> None:
    assert shares([0, 0, 0]) is None
    found = shares([1, 3])
    assert found is not None
    assert found.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("feature", "counts"),
    [(AGE, (0, 0, 0, 0, 0)), (FeatureProfile(name="age", kind="number", counts=(0, 0, 0)), (5, 0, 0))],
)
def test_without_rows_on_either_side_nothing_is_compared(feature: FeatureProfile, counts: tuple[int, ...]) -> None:
    assert what_moved(feature, counts) == "age: there is nothing to compare"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((30, 40, 930, 0, 0), "93 % of the rows are above 40, against 30 %"),
        ((930, 40, 30, 0, 0), "93 % of the rows are at most 20, against 30 %"),
        ((0, 500, 500, 0, 0), "100 % of the rows are above 20, against 70 %"),
        ((500, 500, 0, 0, 0), "100 % of the rows are at most 40, against 70 %"),
        ((30, 40, 30, 0, 900), "90 % of the rows are missing, against 0 %"),
    ],
)
def test_a_number_went_up_down_or_missing(counts: tuple[int, ...], said: str) -> None:
    assert what_moved(AGE, counts) == f"age: {said} in the reference"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((900, 100, 0, 0), "90 % of the rows are 'Lima', against 50 %"),
        ((100, 900, 0, 0), "90 % of the rows are 'Pune', against 50 %"),
        ((200, 200, 600, 0), "60 % of the rows are of a category never seen in the reference, against 0 %"),
        ((200, 200, 0, 600), "60 % of the rows are missing, against 0 %"),
    ],
)
def test_a_category_grew_or_is_new(counts: tuple[int, ...], said: str) -> None:
    assert what_moved(CITY, counts) == f"city: {said} in the reference"


def test_of_two_equal_changes_the_growth_is_told() -> None:
    # Lima lost what Pune won.
    assert "'Pune'" in what_moved(CITY, (300, 700, 0, 0))
    assert "'Lima'" in what_moved(CITY, (700, 300, 0, 0))


def test_free_text_has_no_categories_to_be_unseen() -> None:
    assert what_moved(NOTE, (10, 90)) == "note: 90 % of the rows are missing, against 10 % in the reference"
    assert what_moved(NOTE, (100, 0)) == "note: 100 % of the rows are present, against 90 % in the reference"


def test_below_the_smallest_reference_value_is_said_so() -> None:
    # Most of it is zero, so an edge lies just below: a negative value is news, and is told apart from zero.
    flag = _frozen([0.0] * 80 + [1.0] * 20)
    assert "100 % of the rows are below 0, against 0 %" in what_moved(
        flag, count_numbers([-5.0] * 9, flag.edges).tolist()
    )
    grown = count_numbers([1.0] * 50 + [0.0] * 50, flag.edges).tolist()
    assert what_moved(flag, grown) == "x: 50 % of the rows are above 0, against 20 % in the reference"


class TestBinNames:
    def test_of_numbers(self) -> None:
        assert bin_names(AGE) == ("up to 20", "20 to 40", "above 40", "other", "missing")

    def test_of_categories(self) -> None:
        assert bin_names(CITY) == ("Lima", "Pune", "other", "missing")
        assert bin_names(NOTE) == ("other", "missing")

    def test_of_a_number_without_a_value(self) -> None:
        nothing = FeatureProfile(name="x", kind="number", counts=(0, 0, 7))
        assert bin_names(nothing) == ("any", "other", "missing")

    def test_a_guarded_smallest_value_is_a_bin_of_its_own(self) -> None:
        names = bin_names(_frozen([0.0] * 80 + [1.0] * 20))
        assert names == ("below 0", "0", "0 to 1", "above 1", "other", "missing")

    @given(st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3), min_size=1, max_size=40))
    def test_there_is_one_for_each_count(self, values: list[float]) -> None:
        feature = _frozen(values)
        assert len(bin_names(feature)) == len(feature.counts)
        assert all(bin_names(feature))


@given(
    st.lists(st.integers(0, 50), min_size=5, max_size=5),
    st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(any),
)
def test_any_counts_give_one_sentence_of_figures_that_are_shares(seen: list[int], before: list[int]) -> None:
    feature = FeatureProfile(name="age", kind="number", edges=(20.0, 40.0), counts=tuple(before), low=18.0)
    said = what_moved(feature, seen)
    assert said.startswith("age: ")
    if not sum(seen):
        assert "nothing to compare" in said
        return
    now, was = (float(part.split(" %")[0]) for part in (said.split(": ")[1], said.split("against ")[1]))
    assert 0.0 <= now <= 100.0
    assert 0.0 <= was <= 100.0
    assert not math.isnan(now + was)
