"""Batches: what is added is what would have been counted, to the last bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.monitoring.batches import Batch, Layout, count, of_labelled, of_rows, read
from fullcircle.monitoring.differences import Reference, measures
from fullcircle.monitoring.profiles import columns_of, frozen, profile, roles
from fullcircle.types.monitoring import FeatureProfile, Profile
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions

REFERENCE = np.random.default_rng(0).normal(26, 4, 2000)
FEATURES = (
    frozen("bmi", REFERENCE),
    FeatureProfile(name="sex", kind="category", counts=(5, 5, 0, 0), categories=("f", "m")),
)
rows = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(), st.floats(10, 40)), st.sampled_from(["f", "m", "x", None])),
    max_size=40,
)


def _counted(some: list[tuple[float | None, str | None]]) -> Batch:
    return count(FEATURES, {"bmi": [a for a, _ in some], "sex": [b for _, b in some]}, len(some))  # type: ignore[dict-item]


@given(rows, st.integers(0, 40))
def test_two_lots_add_up_to_the_whole(some: list[tuple[float | None, str | None]], cut: int) -> None:
    whole, first, second = _counted(some), _counted(some[:cut]), _counted(some[cut:])
    assert first + second == second + first == whole == _counted(some[::-1])
    assert (first + second).encode() == whole.encode()
    assert first + Batch.empty(FEATURES) == first
    found = (first + second).summary("bmi")
    numbers = [a for a, _ in some if a is not None and math.isfinite(a)]
    assert (found.n, found.missing) == (len(some), sum(a is None or a != a for a, _ in some))
    assert (found.low, found.high) == ((min(numbers), max(numbers)) if numbers else (None, None))
    beyond = [a for a, _ in some if a is not None and (a < REFERENCE.min() or a > REFERENCE.max())]
    assert found.outside == len(beyond)


@given(rows)
def test_bytes_give_the_batch_back(some: list[tuple[float | None, str | None]]) -> None:
    found = _counted(some)
    assert Batch.decode(Layout(FEATURES), found.encode()) == found == Batch.decode(FEATURES, found.encode())


def test_other_bins_are_refused() -> None:
    other = (replace(FEATURES[0], edges=(1.0, *FEATURES[0].edges[1:])), FEATURES[1])
    found = count(FEATURES, {}, 3)
    assert found.counts("bmi")[-1] == 3
    with pytest.raises(DataUnfit, match="different bins"):
        found + Batch.empty(other)
    for data in (b"", found.encode()[:-1], found.encode() + b"\0", b"\xff" + found.encode()[1:]):
        with pytest.raises(DataUnfit, match="damaged"):
            Batch.decode(FEATURES, data)
    with pytest.raises(DataUnfit, match="different bins"):
        Batch.decode(other, found.encode())


def test_the_form_of_a_column_does_not_matter() -> None:
    values = np.random.default_rng(1).integers(15, 45, 40_000).astype(np.float32)
    words = np.array(["f", "m", "x"], dtype=object)[np.arange(40_000) % 3]
    forms = [
        (values, words),
        (values.astype(np.int64), pd.Series(words, dtype="category")),
        (pd.Series(values), pd.Series(words, dtype="str")),
        (pd.Series(values).astype("Int64"), pa.array(words)),
        (pa.chunked_array([values[:7], values[7:]]), pa.array(words).dictionary_encode()),
        (values.astype(object), words.tolist()),
    ]
    first, *others = [count(FEATURES, {"bmi": a, "sex": b}, 40_000) for a, b in forms]
    assert all(each == first for each in others)
    assert first.summary("bmi").mean == pytest.approx(values.mean(dtype=float), abs=0.01)


def test_reference_rows_count_as_the_reference() -> None:
    frame = patients(np.random.default_rng(1), 400)
    labels = (frame["bmi"] * 6 + np.random.default_rng(2).normal(0, 20, 400)).tolist()
    logged = predictions(frame)
    found = profile(frame, answers(frame), CONTRACT, labels=labels)
    assert found == profile(frame, logged, CONTRACT, labels=labels)
    batch, labelled = of_rows(found, CONTRACT, logged), of_labelled(found, CONTRACT, zip(logged, labels, strict=True))
    assert all(tuple(batch.counts(each.name)) == each.counts for each in found.features)
    assert all(tuple(labelled.counts(each.name)) == each.counts for each in found.outcomes)
    assert (
        read(found, batch.encode())
        == batch
        == of_rows(found, CONTRACT, logged[:99]) + of_rows(found, CONTRACT, logged[99:])
    )
    assert [each.name for each in columns_of(found, "estimate")] == ["expected loss"]
    assert [each.name for each in columns_of(found, "risk")] == ["loss"]
    shown = {(each.name, each.group): each for each in measures(Reference(found.features), batch)}
    assert shown["js_distance", "bmi"].value == 0.0
    assert shown["mean", "bmi"].value == found.features[0].mean
    assert ("ks", "sex") not in shown


def test_an_old_profile_has_its_roles_by_place() -> None:
    found = profile(frame := patients(np.random.default_rng(1), 50), answers(frame), CONTRACT)
    old = Profile(features=tuple(replace(each, role="input") for each in found.features), rows=50)
    assert roles(old) == roles(found)
    batch = of_rows(old, CONTRACT, predictions(frame))
    assert tuple(batch.counts("verdict")) == found.features[-2].counts
    assert [each.role for each in columns_of(old, "drift")] == ["input"] * 5 + ["verdict", "prediction"]
