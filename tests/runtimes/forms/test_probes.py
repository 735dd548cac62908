"""The rows of a comparison stand where answers change, through preprocessing too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import columns, contract, drawn, fitted
from fullcircle.runtimes.forms import growing, probes
from fullcircle.runtimes.forms.trees import Forest
from fullcircle.types.contract import Column, Contract


def stump(*thresholds: float) -> Forest:
    """One tree that compares its first feature with each number in turn."""
    count = len(thresholds)
    places = np.arange(2 * count + 1)
    inner = places % 2 == 0
    inner[-1] = False
    limits = np.zeros(2 * count + 1)
    limits[inner] = thresholds
    return Forest(
        feature=np.where(inner, 0, -1),
        threshold=limits,
        left=np.where(inner, places + 1, 0),
        right=np.where(inner, places + 2, 0),
        missing_left=np.zeros(len(places), dtype=bool),
        category=np.full(len(places), -1),
        members=np.zeros((0, 256), dtype=bool),
        value=places[:, None].astype(float),
        starts=np.array([0, len(places)]),
        start=np.zeros(1),
        divisor=1.0,
        single=False,
        takes_missing=True,
    )


def test_without_preprocessing_a_limit_is_a_split_as_it_is() -> None:
    from fullcircle.runtimes.forms.steps import begin, prepared

    made = prepared(begin(contract(0, columns(numbers=1))), 1)
    found = probes.limits(made, stump(0.1, -2.5, math.inf, 0.1))
    assert found.keys() == {0}
    assert found[0].tolist() == [-2.5, 0.1]


@settings(max_examples=25, deadline=None)
@given(
    split=st.floats(-5, 5),
    mean=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e3),
)
def test_through_a_scaler_a_limit_is_where_the_split_is_passed(split: float, mean: float, scale: float) -> None:
    from fullcircle.runtimes.forms.steps import Number, prepared

    made = prepared([Number(0, (("subtract", mean), ("divide", scale)))], 1)
    low, high = probes.limits(made, stump(split))[0].tolist()
    below, above = made.matrix(np.array([[low], [high]]))[0].ravel().tolist()
    assert below <= split < above
    assert high <= math.nextafter(low, math.inf) + 1e-15  # neighbours, or about zero as good as that


def test_limits_are_spread_over_all_of_them() -> None:
    found = probes._spread(np.arange(10 * probes.MOST_LIMITS, dtype=float), probes.MOST_LIMITS)
    assert len(found) == probes.MOST_LIMITS
    assert (found[0], found[-1]) == (0.0, 10.0 * probes.MOST_LIMITS - 1)
    assert np.array_equal(probes._spread(found, probes.MOST_LIMITS), found)


def test_every_kind_of_row_is_there_and_fits_its_contract() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    about = contract(2, columns(whole=True, categories=(4,)))
    sample = fitted(lambda: HistGradientBoostingClassifier(max_iter=3), about)
    limits = probes.limits(*growing.grow(about, sample.model)[:2])
    plain, edges, lacking = probes.blocks(about, drawn(about, 30, 0), limits, 0)
    assert plain.shape == (30, 6)
    assert len(edges) > 100
    assert np.isnan(lacking).any(axis=1).all()
    for rows in (edges, lacking):
        whole, boolean, category = rows[:, 3], rows[:, 4], rows[:, 5]
        assert np.array_equal(whole, np.round(whole))
        assert set(boolean.tolist()) <= {0.0, 1.0}
        assert set(category[~np.isnan(category)].tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert not np.isnan(lacking[:, 3:5]).any()


def test_an_unseen_category_is_asked_where_it_is_let_through() -> None:
    def rows(policy: str) -> int:
        column = Column(name="c", kind="category", categories=("a", "b"), unseen=policy)  # type: ignore[arg-type]
        about = Contract(columns=(column,), label="y", task="regression")
        return len(probes.missing(about, np.zeros((5, 1)), 0))

    assert rows("flag") == 4
    assert rows("reject") == 0


@pytest.mark.parametrize("bounds", [(None, None), (-7.5, 1e9)])
def test_the_bounds_of_a_contract_are_asked(bounds: tuple[float | None, float | None]) -> None:
    column = Column(name="n", kind="number", low=bounds[0], high=bounds[1])
    about = Contract(columns=(column,), label="y", task="regression")
    found = set(probes.boundary(about, np.zeros((3, 1)), {}, 0).ravel().tolist())
    assert {bound for bound in bounds if bound is not None} <= found
    assert {0.0, 2.0**53, -(2.0**53), 2.0**31} <= found


def test_the_same_seed_asks_the_same_rows() -> None:
    about = contract(0, columns(whole=True))
    rows = drawn(about, 20, 1)
    at = {0: np.array([0.5])}
    first, again = probes.boundary(about, rows, at, 7), probes.boundary(about, rows, at, 7)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != probes.boundary(about, rows, at, 8).tobytes()
