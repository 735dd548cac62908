"""The figures of a batch beside its reference: those of one column at a time, and of the bare values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from fullcircle.monitoring.batches import Batch, count
from fullcircle.monitoring.differences import Reference, measures
from fullcircle.monitoring.profiles import frozen
from fullcircle.stats import distances
from fullcircle.types.monitoring import FeatureProfile
from fullcircle.types.report import Measure

BMI = np.random.default_rng(0).normal(26, 4, 1500)
FEATURES = (
    frozen("bmi", BMI),
    FeatureProfile(name="sex", kind="category", counts=(500, 480, 0, 20), categories=("f", "m")),
    frozen("children", np.random.default_rng(1).poisson(1.5, 1500)),
    frozen("empty", [math.nan] * 10),
)
REFERENCE = Reference(FEATURES)
numbers = st.one_of(st.none(), st.floats(5, 60), st.just(math.inf))
windows = st.lists(st.tuples(numbers, st.sampled_from(["f", "m", "x", None]), st.integers(0, 9)), max_size=40)


def _batch(rows: Any) -> Batch:
    listed: list[Any] = [list(each) for each in zip(*rows, strict=True)] if rows else [[], [], []]
    columns = dict(zip(("bmi", "sex", "children"), listed, strict=True))
    return count(FEATURES, columns, len(rows))


def _told(found: tuple[Measure, ...]) -> dict[tuple[str, str], Measure]:
    told = {(each.name, each.group): each for each in found}
    assert len(told) == len(found)
    return told


def _value(measure: Measure) -> float:
    assert measure.value is not None
    return measure.value


@given(windows)
@settings(max_examples=40)
def test_each_figure_is_that_of_its_column_alone(rows: Any) -> None:
    batch = _batch(rows)
    told = _told(measures(REFERENCE, batch))
    for feature in FEATURES[:3]:
        seen, name = batch.counts(feature.name), feature.name
        if not rows:
            assert ("missing", name) not in told
            continue
        js = told["js_distance", name]
        assert js.value == pytest.approx(distances.jensen_shannon_debiased(feature.counts, seen), abs=1e-9)
        assert js.low is not None
        assert js.high is not None
        assert js.low <= _value(js) <= js.high
        assert told["psi", name].value == pytest.approx(distances.psi(feature.counts, seen), abs=1e-9)
        roots = np.sqrt(np.array(feature.counts) / sum(feature.counts) * seen / seen.sum()).sum()
        assert told["hellinger", name].value == pytest.approx(math.sqrt(max(0.0, 1 - roots)), abs=1e-6)
        assert told["missing", name].value == seen[-1] / len(rows)
        assert js.n == len(rows)


@given(windows)
@settings(max_examples=40)
def test_shares_are_those_of_the_rows(rows: Any) -> None:
    told = _told(measures(REFERENCE, _batch(rows), ["bmi", "sex"]))
    if not rows:
        assert told == {}
        return
    bmi, sex = [row[0] for row in rows], [row[1] for row in rows]
    assert told["missing", "bmi"].value == bmi.count(None) / len(rows)
    outside = sum(each is not None and not BMI.min() <= each <= BMI.max() for each in bmi)
    assert told["outside", "bmi"].value == outside / len(rows)
    assert told["unseen", "sex"].value == sex.count("x") / len(rows)
    assert ("unseen", "bmi") not in told
    assert not {("outside", "sex"), ("mean", "sex"), ("ks", "sex"), ("wasserstein", "sex")} & told.keys()
    present = [each for each in bmi if each is not None]
    assert (("mean", "bmi") in told) == (("ks", "bmi") in told) == bool(present)
    if present and math.inf not in present:
        assert told["mean", "bmi"].value == pytest.approx(np.mean(present), abs=0.01)
        assert told["deviation", "bmi"].value == pytest.approx(np.std(present), abs=0.02)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (2.0, 1.0), (-6.0, 1.0), (0.0, 0.5)])
def test_ordered_distances_are_near_those_of_the_bare_values(shift: float, scale: float) -> None:
    """Bins lose little: a share of a bin for the largest difference, a part of a deviation for the distance."""
    window = 26 + (np.random.default_rng(2).normal(26, 4, 4000) - 26) * scale + shift
    told = _told(measures(REFERENCE, count(FEATURES, {"bmi": window}, 4000), ["bmi"]))
    points = np.sort(np.concatenate([BMI, window]))
    ranks = [np.searchsorted(np.sort(each), points, side="right") / each.size for each in (BMI, window)]
    bare = float(np.abs(ranks[0] - ranks[1]).max())
    assert bare - 0.05 <= _value(told["ks", "bmi"]) <= bare + 1e-9
    bins = count(FEATURES, {"bmi": window}, 4000).counts("bmi")[:-2]
    places = distances.positions(FEATURES[0].counts[:-2], FEATURES[0].edges, FEATURES[0].quantiles)
    exact = wasserstein_distance(places, places, FEATURES[0].counts[:-2], bins) / float(FEATURES[0].deviation or 1)
    assert told["wasserstein", "bmi"].value == pytest.approx(exact, abs=1e-9)


def test_the_missing_do_not_move_the_ordered_distances() -> None:
    window = BMI[:400] + 1
    clean, holes = (
        _told(measures(REFERENCE, count(FEATURES, {"bmi": each}, len(each)), ["bmi"]))
        for each in (window, np.concatenate([window, [math.nan] * 300]))
    )
    for name in ("ks", "wasserstein", "mean", "deviation"):
        assert holes[name, "bmi"].value == pytest.approx(clean[name, "bmi"].value)
    assert _value(holes["js_distance", "bmi"]) > _value(clean["js_distance", "bmi"]) + 0.1
    assert holes["missing", "bmi"].value == 300 / 700


def test_names_choose_and_order_the_columns() -> None:
    batch = _batch([(26.0, "f", 1)] * 30)
    chosen = measures(REFERENCE, batch, ["children", "bmi"])
    assert list(dict.fromkeys(each.group for each in chosen)) == ["children", "bmi"]
    everything = _told(measures(REFERENCE, batch))
    assert all(everything[each.name, each.group] == each for each in chosen)
    assert measures(REFERENCE, batch, []) == ()
    with pytest.raises(KeyError):
        measures(REFERENCE, batch, ["salary"])


def test_units_are_told() -> None:
    told = _told(measures(REFERENCE, _batch([(26.0, "f", 1)] * 30), ["bmi"]))
    assert {name: told[name, "bmi"].unit for name in ("js_distance", "psi", "wasserstein", "ks", "mean")} == {
        "js_distance": "bits",
        "psi": "nats",
        "wasserstein": "sd",
        "ks": "",
        "mean": "",
    }
    assert [each.name for each in told.values() if each.low is not None] == ["js_distance"]


def test_a_reference_without_numbers_tells_what_it_can() -> None:
    told = _told(measures(REFERENCE, count(FEATURES, {"empty": [1.0, math.nan]}, 2), ["empty"]))
    assert told["missing", "empty"].value == 0.5
    assert not {("ks", "empty"), ("wasserstein", "empty"), ("mean", "empty")} & told.keys()


@pytest.mark.parametrize("values", [[7.0] * 50, [-1e300, 1e300], [5e-324, 1e-323]], ids=["constant", "huge", "tiny"])
def test_references_of_any_range_give_finite_figures(values: list[float]) -> None:
    feature = frozen("x", values)
    for window in (values, [0.0, 1e300, math.inf], [math.nan]):
        found = measures(Reference([feature]), count([feature], {"x": window}, len(window)))
        assert all(math.isfinite(_value(each)) for each in found), window
        if window is values:
            assert _told(found)["ks", "x"].value == _told(found)["wasserstein", "x"].value == 0.0


LARGEST = 1.797e308
UNIT = 2.0**1023  # times this the columns below reach the largest number there is


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        (np.arange(-1000.0, 1000) / 512, np.arange(0.0, 1000) / 512),
        (np.repeat([-1.75, 0.0, 1.75], 50), np.repeat([0.0, 1.75], 40)),
        (np.arange(1500.0, 2000) / 1024, np.arange(1400.0, 1900) / 1024),
    ],
    ids=["from end to end", "ties", "at the end"],
)
def test_columns_near_the_largest_number_are_told_like_any_other(reference: Any, window: Any) -> None:
    """The same columns in another unit: distances are the same, mean and deviation as many units."""
    usual, huge = (
        _told(measures(Reference([each]), count([each], {"x": window * unit}, len(window))))
        for unit in (1.0, UNIT)
        for each in [frozen("x", reference * unit)]
    )
    assert usual.keys() == huge.keys()
    for told, measure in usual.items():
        unit = UNIT if told[0] in ("mean", "deviation") else 1.0
        assert _value(huge[told]) == pytest.approx(_value(measure) * unit, rel=1e-12), told


def test_nothing_beyond_the_largest_number_is_told() -> None:
    """Far values count as a hundred ranges away: of a range this wide that would be no number any more."""
    feature = frozen("x", np.linspace(-1, 1, 100) * LARGEST)
    found = _told(measures(Reference([feature]), count([feature], {"x": [math.inf, LARGEST, -LARGEST]}, 3)))
    assert all(math.isfinite(_value(each)) for each in found.values())
    assert found["outside", "x"].value == pytest.approx(1 / 3)


def test_a_table_is_the_counts_filled_up() -> None:
    batch = _batch([(26.0, "f", 1), (None, "x", 2)])
    table = REFERENCE.table(batch)
    for row, feature in zip(table, FEATURES, strict=True):
        size = len(feature.counts)
        assert row[:size].tolist() == batch.counts(feature.name).tolist()
        assert not row[size:].any()
    assert len(REFERENCE.distances(batch).js) == len(FEATURES)


def test_no_columns_have_no_measures() -> None:
    assert measures(Reference([]), Batch.empty([])) == ()
