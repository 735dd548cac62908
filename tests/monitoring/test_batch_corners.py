"""Batches in odd corners: types, infinities, values far away, damaged bytes, other columns, labels of every kind."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.monitoring.batches import Batch, Layout, count, of_labelled, of_rows
from fullcircle.monitoring.profiles import frozen, profile
from fullcircle.types.contract import Verdict
from fullcircle.types.monitoring import FeatureProfile
from fullcircle.types.prediction import Prediction
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions

AGES = frozen("age", np.arange(101.0))
CITY = FeatureProfile(name="city", kind="category", counts=(2, 1, 0, 0), categories=("Pune", "Goa"))
FEATURES = (AGES, CITY)


def _ages(values: Any, rows: int = 0) -> Batch:
    return count((AGES,), {"age": values}, rows or len(values))


def _cities(values: Any) -> list[int]:
    found: list[int] = count((CITY,), {"city": values}, len(values)).counts("city").tolist()
    return found


WHOLE = [0, 1, 50, 100, 120]


@pytest.mark.parametrize(
    "values",
    [
        np.array(WHOLE, dtype=np.uint8),
        np.array(WHOLE, dtype=np.int16),
        np.array(WHOLE, dtype=">i4"),
        np.array(WHOLE, dtype=np.float16),
        np.array([WHOLE, WHOLE], dtype=np.float32)[:1],
        np.array(WHOLE * 2)[:5],
        np.array([each for one in WHOLE for each in (one, 7)])[::2],
        [Decimal(each) for each in WHOLE],
        [str(each) for each in WHOLE],
        pd.Series(WHOLE, dtype="UInt8"),
        pd.Series(WHOLE, dtype="Float32"),
        pd.Series(WHOLE, index=list("edcba")),
        pa.array(WHOLE, type=pa.int8()),
        pa.chunked_array([[], WHOLE[:2], WHOLE[2:]], type=pa.float64()),
    ],
    ids=str,
)
def test_numbers_of_any_type_count_alike(values: Any) -> None:
    assert _ages(values, 5) == _ages(WHOLE)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, math.nan],
        np.array([1.0, None, np.nan], dtype=object),
        pd.Series([1, None, None], dtype="Int64"),
        pd.Series([1.0, None, np.nan]),
        pd.Series([1, pd.NA, None], dtype=object),
        pa.array([1, None, None], type=pa.int64()),
        pa.array([1.0, None, math.nan]),
    ],
    ids=str,
)
def test_missing_numbers_of_any_type_count_alike(values: Any) -> None:
    assert _ages(values) == _ages([math.nan, 1.0, math.nan])
    assert _ages(values).summary("age").missing == 2


def test_booleans_are_zero_and_one() -> None:
    for values in ([True, False], np.array([True, False]), pd.Series([True, False], dtype="boolean")):
        assert _ages(values) == _ages([0, 1])


def test_infinities_are_outside_and_in_no_range() -> None:
    found = _ages([math.inf, -math.inf, -math.inf, 3.0, math.nan]).summary("age")
    assert (found.n, found.missing, found.outside, found.low, found.high) == (5, 1, 3, 3.0, 3.0)
    only = _ages([math.inf, -math.inf]).summary("age")
    assert (only.outside, only.low, only.high) == (2, None, None)
    assert only.mean is not None
    assert math.isfinite(only.mean)
    batch = _ages([math.inf])
    assert batch.counts("age")[-3] == 1
    assert Batch.decode((AGES,), batch.encode()) == batch


@pytest.mark.parametrize("far", [1e5, 1e12, 1.7e308, math.inf])
def test_what_lies_far_away_is_clipped_in_the_mean_and_not_in_the_extremes(far: float) -> None:
    """So that a wrong unit moves the mean, and one monster does not swallow it."""
    found = _ages([50.0, far, -far]).summary("age")
    assert found.mean == pytest.approx(50.0, abs=100.0)
    assert found.deviation == pytest.approx(_ages([50.0, 1e300, -1e300]).summary("age").deviation)
    one = _ages([50.0] * 99 + [far]).summary("age")
    assert one.mean is not None
    assert 50 < one.mean < 50 + 400
    assert found.high == (far if math.isfinite(far) else 50.0)


def test_the_ends_of_the_range_are_inside() -> None:
    just_out = [math.nextafter(0.0, -1.0), math.nextafter(100.0, 101.0)]
    assert _ages([0.0, -0.0, 100.0]).outside("age") == 0
    assert _ages(just_out).outside("age") == 2
    assert _ages([-0.0]).encode() == _ages([0.0]).encode()


@pytest.mark.parametrize("values", [[5e-324, 1e-323], [-1.7e308, 1.7e308], [7.0], [0.0], [1e300, 1e300]], ids=str)
def test_a_reference_of_any_range_counts_itself(values: list[float]) -> None:
    feature = frozen("x", values)
    found = count((feature,), {"x": values}, len(values))
    assert tuple(found.counts("x")) == feature.counts
    told = found.summary("x")
    assert (told.outside, told.low, told.high) == (0, min(values), max(values))
    assert (told.mean, told.deviation) == (feature.mean, feature.deviation)


def test_a_reference_without_a_number_has_no_outside() -> None:
    feature = frozen("x", [math.nan, None])
    found = count((feature,), {"x": [1.0, math.nan]}, 2)
    assert found.counts("x").tolist() == [1, 0, 1]
    told = found.summary("x")
    assert (told.outside, told.mean, told.low) == (0, None, 1.0)
    assert Batch.decode((feature,), found.encode()) == found


@pytest.mark.parametrize(
    "values",
    [
        ["Pune", "Goa", "Agra", None, "Pune"],
        np.array(["Pune", "Goa", "Agra", None, "Pune"], dtype=object),
        pd.Series(["Pune", "Goa", "Agra", None, "Pune"]),
        pd.Series(["Pune", "Goa", "Agra", None, "Pune"], dtype="string"),
        pd.Series(["Pune", "Goa", "Agra", None, "Pune"], dtype="category"),
        pd.Categorical(["Pune", "Goa", "Agra", None, "Pune"], categories=["x", "Agra", "Goa", "Pune"]),
        pa.array(["Pune", "Goa", "Agra", None, "Pune"]),
        pa.chunked_array([["Pune"], [], ["Goa", "Agra", None, "Pune"]], type=pa.large_string()),
        pa.array(["Pune", "Goa", "Agra", None, "Pune"]).dictionary_encode(),
        ["Pune", "Goa", 3, math.nan, "Pune"],
        ["Pune", "Goa", "pune", pd.NaT, "Pune"],
    ],
    ids=lambda each: type(each).__name__,
)
def test_categories_of_any_type_count_alike(values: Any) -> None:
    assert _cities(values) == [2, 1, 1, 1]


def test_a_value_that_is_no_text_counts_as_its_text() -> None:
    day = datetime.date(2026, 11, 27)
    feature = replace(CITY, categories=("True", "1", "1.0", str(day)), counts=(1, 1, 1, 1, 0, 0))
    values: Any = [True, 1, 1.0, day, np.int64(1), np.float64(1.0), np.True_]
    found = count((feature,), {"city": values}, len(values))
    assert found.counts("city").tolist() == [2, 2, 2, 1, 0, 0]


@given(st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    """A file may be cut, or a bit of it flipped: that is never read as other counts."""
    cities: Any = ["Goa", None, "x"]
    whole = count(FEATURES, {"age": [1.0, math.nan, 300.0], "city": cities}, 3).encode()
    damaged = bytearray(whole)
    for place in data.draw(st.sets(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged)[: data.draw(st.sampled_from([len(whole), len(whole) - 1, 30, 18, 0]))]
    for torn in (cut, whole[: len(cut)] if len(cut) < len(whole) else whole + b"\0"):
        with pytest.raises(DataUnfit, match="not the counts of a batch, or they are damaged"):
            Batch.decode(FEATURES, torn)


@pytest.mark.parametrize("foreign", [b"", b"\2", b"SQLite format 3\0" * 9, b"\2" * 400, b"\0" * 400], ids=len)
def test_foreign_bytes_are_refused(foreign: bytes) -> None:
    with pytest.raises(DataUnfit, match="not the counts of a batch"):
        Batch.decode(FEATURES, foreign)


def test_counts_of_any_width_come_back() -> None:
    for rows in (1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53):
        found = replace(count(FEATURES, {}, 1), table=count(FEATURES, {}, rows).table, rows=rows)
        back = Batch.decode(FEATURES, found.encode())
        assert back.rows == back.summary("age").missing == back.counts("city")[-1] == rows
        assert len(found.encode()) - len(Batch.empty(FEATURES).encode()) in {
            found.table.size * (width - 1) for width in (1, 2, 4, 8)
        }


def test_sums_beyond_64_bits_come_back() -> None:
    lot = _ages([1e9] * 20_000)
    for _ in range(12):
        lot = lot + lot
    assert lot.second[0] > 2**63
    assert Batch.decode((AGES,), lot.encode()).summary("age") == lot.summary("age")


@pytest.mark.parametrize(
    "other",
    [
        (CITY, AGES),
        (AGES,),
        (AGES, CITY, replace(CITY, name="town")),
        (replace(AGES, name="years"), CITY),
        (replace(AGES, high=101.0), CITY),
        (replace(AGES, low=None), CITY),
        (AGES, replace(CITY, categories=("Goa", "Pune"))),
        (AGES, replace(CITY, categories=("Pune", "goa"))),
        (AGES, replace(CITY, categories=("Pune", "Goa", "Agra"), counts=(2, 1, 0, 0, 0))),
    ],
    ids=["order", "fewer", "more", "name", "high", "no low", "order of categories", "case", "one more category"],
)
def test_columns_that_differ_are_not_put_together(other: tuple[FeatureProfile, ...]) -> None:
    mine = count(FEATURES, {"age": [1.0], "city": ["Goa"]}, 1)
    with pytest.raises(DataUnfit, match="different bins"):
        mine + Batch.empty(other)
    with pytest.raises(DataUnfit, match="different bins"):
        Batch.decode(other, mine.encode())
    assert mine != Batch.empty(other)


@pytest.mark.parametrize(
    ("one", "two"),
    [(("a\0b",), ("a", "b")), (("a\0b", "c"), ("a", "b\0c")), (("",), ("", "")), (("é",), ("e\u0301",))],
    ids=["a zero", "a zero moved", "empty", "another form of a letter"],
)
def test_no_names_of_categories_make_other_bins_look_alike(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    made = [
        FeatureProfile(name="x", kind="category", categories=each, counts=(0,) * (len(each) + 2))
        for each in (one, two)
    ]
    assert Layout(made[:1]).print != Layout(made[1:]).print


def test_the_counts_of_the_reference_do_not_matter_to_its_bins() -> None:
    again = (replace(AGES, counts=AGES.counts[::-1]), replace(CITY, counts=(9, 9, 9, 9)))
    mine = count(FEATURES, {"age": [1.0]}, 1)
    assert (mine + count(again, {"age": [2.0]}, 1)).rows == 2
    assert len({mine, count(again, {"age": [1.0]}, 1), Batch.empty(FEATURES)}) == 2
    assert mine != mine.encode()


def test_a_column_of_nothing_is_missing_in_all_rows_and_one_without_a_profile_is_not_counted() -> None:
    found = count(FEATURES, {"city": [], "salary": [1, 2, 3]}, 3)
    assert found.summary("age").missing == 3
    assert found.summary("city").n == 0
    with pytest.raises(KeyError):
        found.counts("salary")


PROFILE = profile(
    FRAME := patients(np.random.default_rng(4), 300),
    answers(FRAME),
    CONTRACT,
    labels=(FRAME["bmi"] * 6 + np.random.default_rng(5).normal(0, 20, 300)).tolist(),
)


def test_only_answered_rows_with_a_label_are_labelled() -> None:
    rows = predictions(FRAME.head(4))
    unanswered = replace(rows[3], value=None, inputs=None, verdict=Verdict(status="rejected"))
    pairs = [(rows[0], rows[0].value), (rows[1], None), (rows[2], 1e6), (unanswered, 150.0)]
    found = of_labelled(PROFILE, CONTRACT, iter(pairs))
    assert found.rows == 2
    loss = found.summary("loss")
    assert (loss.n, loss.missing, loss.low, loss.high) == (2, 0, 0.0, 1.0)
    label = found.summary("progression")
    assert (label.n, label.outside, label.high) == (2, 1, 1e6)
    assert of_labelled(PROFILE, CONTRACT, []) == Batch.empty(PROFILE.outcomes)


def test_rows_that_nobody_answered_are_in_the_verdict_alone() -> None:
    rejected = Prediction(value=None, verdict=Verdict(status="rejected"))
    found = of_rows(PROFILE, CONTRACT, [rejected] * 3)
    assert found.rows == 3
    assert {name: int(found.summary(name).n) for name in found.features if found.summary(name).n} == {"verdict": 3}
    assert of_rows(PROFILE, CONTRACT, []) == Batch.empty(PROFILE.features)
