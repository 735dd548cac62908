"""Each step of scikit-learn against the same step in numpy, on numbers, whole numbers, booleans and categories."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import Matrix, columns, contract, drawn
from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.forms.preparing import NEUTRAL, OPERATIONS, Chains, Prepared, arrays
from fullcircle.runtimes.forms.steps import Listed, Number, begin, prepared, through
from fullcircle.types.contract import Contract

ABOUT = contract(0, columns(numbers=3, whole=True))
WORDS = contract(0, columns(numbers=0, categories=(3, 7)))
SEEDS = st.integers(0, 2**20)


def frame(about: Contract, rows: Matrix) -> Any:
    return Encoder(about).frame(rows)


def compared(step: Any, about: Contract, rows: Matrix) -> tuple[Matrix, Matrix, Any]:
    """What scikit-learn makes of the rows, what we make of them, and which rows we call refused."""
    made: Prepared = prepared(through([step], begin(about)), len(about.columns))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = step.transform(frame(about, rows))
    expected = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
    found, refused = made.matrix(rows)
    return expected.astype(np.float64), found, refused


def equal(step: Any, about: Contract, seed: int) -> None:
    step.fit(frame(about, drawn(about, 120, seed)))
    rows = drawn(about, 60, seed + 1)
    expected, found, refused = compared(step, about, rows)
    assert refused is None or not refused.any()
    assert found.shape == expected.shape
    # Equal bits, where NaN is NaN: a missing value has no sign that anybody reads.
    assert np.array_equal(np.where(np.isnan(expected), 7e77, expected), np.where(np.isnan(found), 7e77, found))


def scalers() -> dict[str, Any]:
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    return {
        "standard": StandardScaler(),
        "standard without mean": StandardScaler(with_mean=False),
        "standard without deviation": StandardScaler(with_std=False),
        "smallest and largest": MinMaxScaler(),
        "clipped": MinMaxScaler(feature_range=(-2, 3), clip=True),
        "largest": MaxAbsScaler(),
        "robust": RobustScaler(),
        "robust without center": RobustScaler(with_centering=False),
        "robust without scale": RobustScaler(with_scaling=False),
    }


@pytest.mark.parametrize("name", sorted(scalers()))
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_scalers(name: str, seed: int) -> None:
    equal(scalers()[name], ABOUT, seed)


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_imputers_of_numbers(strategy: str, indicator: bool) -> None:
    from sklearn.impute import SimpleImputer

    about = contract(0, columns(numbers=3))
    for seed in range(3):
        equal(SimpleImputer(strategy=strategy, add_indicator=indicator), about, seed)


@pytest.mark.parametrize("name", ["absolute", "cbrt", "exp", "expm1", "log", "log10", "log1p", "log2", "sqrt"])
def test_functions(name: str) -> None:
    from sklearn.preprocessing import FunctionTransformer

    about = contract(0, columns(numbers=2))
    step = FunctionTransformer(getattr(np, name)).fit(frame(about, drawn(about, 30, 0)))
    rows = drawn(about, 50, 1)
    expected, found, _ = compared(step, about, rows)
    assert np.array_equal(expected, found, equal_nan=True)


def test_no_function_at_all() -> None:
    from sklearn.preprocessing import FunctionTransformer

    equal(FunctionTransformer(), ABOUT, 3)


def encoders() -> dict[str, Any]:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    return {
        "one column each": OneHotEncoder(handle_unknown="ignore"),
        "all but the first": OneHotEncoder(handle_unknown="ignore", drop="first"),
        "all but one of two": OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        "rare ones together": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=25),
        "at most": OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3),
        "dense": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        "positions": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        "positions, missing too": OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-5
        ),
        "rare positions": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=25),
    }


@pytest.mark.parametrize("name", sorted(encoders()))
@pytest.mark.parametrize("seed", [0, 1])
def test_encoders_of_categories(name: str, seed: int) -> None:
    equal(encoders()[name], WORDS, seed)


@pytest.mark.parametrize("name", sorted(encoders()))
def test_encoders_of_numbers_know_them_exactly(name: str) -> None:
    about = contract(0, columns(numbers=0, whole=True))
    step = encoders()[name]
    equal(step, about, 2)
    strange = np.array([[value, 1.0] for value in (-1.0, 0.0, 9.0, 10.0, 100.0)])
    expected, found, _ = compared(step, about, strange)
    assert np.array_equal(expected, found, equal_nan=True)


def test_encoders_of_broken_numbers() -> None:
    from sklearn.preprocessing import OrdinalEncoder

    about = contract(0, columns(numbers=1, missing=False))
    known = np.array([[0.1], [0.30000000000000004], [-0.0], [2.5]])
    step = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(frame(about, known))
    near = np.array(
        [[value] for each in known.ravel() for value in (each, np.nextafter(each, 9), np.nextafter(each, -9))]
    )
    expected, found, _ = compared(step, about, near)
    assert np.array_equal(expected, found)


@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_imputers_of_categories_before_an_encoder(strategy: str) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    fill = "v1" if strategy == "constant" else None
    equal(make_pipeline(SimpleImputer(strategy=strategy, fill_value=fill), OneHotEncoder(drop="first")), WORDS, 4)


def test_columns_in_another_order_and_some_dropped() -> None:
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.preprocessing import MinMaxScaler, OrdinalEncoder, StandardScaler

    about = contract(0, columns(numbers=3, whole=True, categories=(3,)))
    for parts, rest in (
        ([("s", StandardScaler(), ["n2", "n0"]), ("o", OrdinalEncoder(encoded_missing_value=-1), ["c0"])], "drop"),
        ([("d", "drop", ["c0", "n1"]), ("s", StandardScaler(), [2, 3])], "passthrough"),
        ([("m", MinMaxScaler(), slice(0, 2)), ("d", "drop", ["c0"])], StandardScaler()),
        ([("n", StandardScaler(), make_column_selector(dtype_include=np.number))], "drop"),
    ):
        equal(ColumnTransformer(parts, remainder=rest), about, 5)


def test_a_pipeline_in_a_pipeline() -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

    inner = make_pipeline(SimpleImputer(), FunctionTransformer(np.cbrt), StandardScaler())
    equal(Pipeline([("a", inner), ("b", "passthrough"), ("c", MinMaxScaler())]), ABOUT, 6)


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=8),
    name=st.sampled_from(sorted(NEUTRAL)),
)
def test_a_neutral_operation_leaves_every_bit(values: list[float], name: str) -> None:
    rows = np.array([values])
    chains = Chains(
        sources=np.arange(len(values)),
        operations=np.array([OPERATIONS.index(name)]),
        values=np.full((1, len(values)), NEUTRAL[name]),
        marks=np.zeros((1, len(values)), dtype=bool),
    )
    found, refused = chains.apply(rows)
    assert refused is None
    assert np.where(np.isnan(rows), 0.0, found).tobytes() == np.where(np.isnan(rows), 0.0, rows).tobytes()
    assert np.array_equal(np.isnan(found), np.isnan(rows))


def test_chains_of_different_lengths_are_aligned() -> None:
    cells = [
        Number(0, (("subtract", 1.0), ("divide", 2.0), ("subtract", 3.0))),
        Number(1, (("divide", 4.0), ("exp", 0.0))),
        Number(0),
    ]
    made = prepared(cells, 2)
    rows = np.array([[5.0, 8.0], [math.nan, 0.0]])
    found, _ = made.matrix(rows)
    assert found[0].tolist() == [-1.0, math.exp(2.0), 5.0]
    assert np.isnan(found[1, 0])
    assert found[1, 1] == 1.0
    assert len(made.chains.operations) == 4


def test_the_rows_that_come_in_stay_as_they_are() -> None:
    made = prepared([Number(0, (("exp", 0.0), ("add", 1.0)))], 1)
    rows = np.array([[1.0], [2.0]])
    made.matrix(rows)
    assert rows.tolist() == [[1.0], [2.0]]


def test_refused_values_of_a_table() -> None:
    cells = [Listed(0, (0.0, 1.0, math.inf), (5.0, 6.0, 7.0, math.nan), (False, True, False, False))]
    found, refused = prepared(cells, 1).matrix(np.array([[0.0], [1.0], [2.0], [math.nan]]))
    assert found[:3, 0].tolist() == [5.0, 6.0, 7.0]
    assert np.isnan(found[3, 0])
    assert refused is not None
    assert refused.tolist() == [False, True, False, False]


def test_two_features_of_one_column_share_its_keys() -> None:
    made = prepared(
        through([encoders()["one column each"].fit(frame(WORDS, drawn(WORDS, 90, 0)))], begin(WORDS)),
        len(WORDS.columns),
    )
    assert made.tables.columns.tolist() == [0, 1]
    assert len(made.chain) > 2
    assert set(arrays(made)) >= {"width", "chain.sources", "table.keys", "feature.values"}
