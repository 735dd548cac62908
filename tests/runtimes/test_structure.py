"""Indices that compiled code would follow out of bounds are found before the first prediction."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.ensemble import BaggingRegressor, GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsRegressor
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes import structure
from model_rows import MODELS, amounts, fitted, numbers


@pytest.mark.parametrize("name", sorted(MODELS))
def test_sound_models_pass(name: str) -> None:
    structure.check(fitted(name))


def tree_with(change: Callable[[Any], None]) -> Any:
    """A decision tree whose nodes were changed the way a file could."""
    model = DecisionTreeRegressor(max_depth=3, random_state=0).fit(numbers(), amounts())
    state = model.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    change(state["nodes"])
    model.tree_.__setstate__(state)
    return model


def setting(field: str, value: int, at: int = 0) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        nodes[field][at] = value

    return change


BROKEN = [
    pytest.param(setting("left_child", 10**6), id="left-out-of-range"),
    pytest.param(setting("right_child", 10**6), id="right-out-of-range"),
    pytest.param(setting("left_child", -5), id="left-negative"),
    pytest.param(setting("left_child", 0), id="cycle-to-itself"),
    pytest.param(setting("right_child", 0, at=1), id="cycle-to-the-root"),
    pytest.param(setting("right_child", -1), id="one-child"),
    pytest.param(setting("feature", 10**6), id="feature-out-of-range"),
    pytest.param(setting("feature", 3), id="feature-just-out-of-range"),
    pytest.param(setting("feature", -2), id="feature-negative"),
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_tree_is_found(change: Callable[[Any], None]) -> None:
    with pytest.raises(BundleInvalid, match="tree"):
        structure.check(tree_with(change))


def test_a_tree_is_found_wherever_it_hides() -> None:
    broken = tree_with(setting("left_child", 10**6))
    holder = np.empty(1, dtype=object)
    holder[0] = {"deep": [(broken,)]}
    model = copy.copy(fitted("log-inputs"))
    model.hidden = holder
    with pytest.raises(BundleInvalid):
        structure.check(model)


def test_an_inner_estimator_cannot_claim_more_features_than_its_forest_gets() -> None:
    model = copy.deepcopy(fitted("random-forest"))
    model.n_features_in_ = 1
    with pytest.raises(BundleInvalid):
        structure.check(model)


def test_an_inner_estimator_of_bagging_has_features_of_its_own() -> None:
    model = BaggingRegressor(n_estimators=2, max_features=0.4, random_state=0).fit(numbers(), amounts())
    structure.check(model)
    assert model.estimators_[0].n_features_in_ < model.n_features_in_


HISTOGRAM = [
    ("left", 10**6),
    ("right", 0),
    ("feature_idx", 5),
    ("bitset_idx", 10**6),
]


@pytest.mark.parametrize(("field", "value"), HISTOGRAM)
def test_a_broken_histogram_tree_is_found(field: str, value: int) -> None:
    model = copy.deepcopy(fitted("hist-gradient-boosting-regressor"))
    nodes = model._predictors[0][0].nodes
    place = np.flatnonzero((nodes["is_leaf"] == 0) & ((nodes["is_categorical"] != 0) | (field != "bitset_idx")))
    if not len(place):
        nodes["is_categorical"][0] = 1
        place = np.array([0])
    nodes[field][place[0]] = value
    with pytest.raises(BundleInvalid):
        structure.check(model)


def test_a_categorical_split_on_a_number_is_found() -> None:
    model = copy.deepcopy(fitted("hist-gradient-boosting-regressor"))
    nodes = model._predictors[0][0].nodes
    known = np.asarray(model._bin_mapper.is_categorical_)
    nodes["is_categorical"][0] = 1
    nodes["feature_idx"][0] = int(np.flatnonzero(known == 0)[0])
    with pytest.raises(BundleInvalid):
        structure.check(model)


def test_a_category_beyond_the_table_is_found() -> None:
    model = copy.deepcopy(fitted("hist-gradient-boosting-regressor"))
    known = np.asarray(model._bin_mapper.is_categorical_)
    model._bin_mapper.bin_thresholds_[int(np.flatnonzero(known)[0])] = np.array([0.0, 300.0])
    with pytest.raises(BundleInvalid):
        structure.check(model)


def index_with(change: Callable[[list[Any]], None]) -> Any:
    model = copy.deepcopy(fitted("neighbours-regressor"))
    state = list(model._tree.__getstate__())
    for place in range(4):
        state[place] = np.array(state[place])
    change(state)
    model._tree.__setstate__(tuple(state))
    return model


def _order(state: list[Any]) -> None:
    state[1][0] = 10**6


def _end(state: list[Any]) -> None:
    state[2]["idx_end"][0] = 10**6


def _no_leaf(state: list[Any]) -> None:
    state[2]["is_leaf"][-1] = 0


def _narrow(state: list[Any]) -> None:
    state[0] = state[0][:, :2].copy()


@pytest.mark.parametrize("change", [_order, _end, _no_leaf, _narrow])
def test_a_broken_neighbour_index_is_found(change: Callable[[list[Any]], None]) -> None:
    structure.check(index_with(lambda state: None))
    with pytest.raises(BundleInvalid, match="neighbour"):
        structure.check(index_with(change))


def test_broken_support_vectors_are_found() -> None:
    for change in ({"_n_support": np.array([10**6, 1, 1], dtype=np.int32)}, {"_dual_coef_": np.zeros((1, 2))}):
        model = copy.deepcopy(fitted("svc"))
        vars(model).update(change)
        with pytest.raises(BundleInvalid, match="support vectors"):
            structure.check(model)


def test_a_broken_spline_is_found() -> None:
    model = copy.deepcopy(fitted("splines"))
    model[0].bsplines_[0].t = model[0].bsplines_[0].t[:4]
    with pytest.raises(BundleInvalid, match="spline"):
        structure.check(model)


ROWS = np.random.default_rng(0).normal(size=(30, 3))
THIRDS = np.arange(30) % 3


def changed(model: Any, **attributes: Any) -> Any:
    """A fitted model with attributes that a file could give it. Each of these ended the process, or read beyond."""
    structure.check(model)
    vars(model).update(attributes)
    return model


def _more_stages() -> Any:
    model = GradientBoostingClassifier(n_estimators=2, max_depth=1).fit(ROWS, THIRDS)
    return changed(model, n_trees_per_iteration_=1, init_="zero")


def _wide_stages() -> Any:
    model = GradientBoostingRegressor(n_estimators=2, max_depth=1).fit(ROWS, THIRDS)
    return changed(model, estimators_=np.concatenate([model.estimators_] * 9, axis=1), n_trees_per_iteration_=9)


def _flat_stages() -> Any:
    model = GradientBoostingRegressor(n_estimators=2, max_depth=1).fit(ROWS, THIRDS)
    return changed(model, estimators_=model.estimators_.ravel())


def _other_kernel() -> Any:
    model = SVC().fit(ROWS, THIRDS)
    return changed(model, kernel="precomputed", support_=np.full_like(model.support_, 10**8), shape_fit_=(3, 3))


def _few_coefficients() -> Any:
    model = SVC().fit(sparse.csr_matrix(ROWS), THIRDS)
    return changed(model, _dual_coef_=sparse.csr_matrix(model._dual_coef_.shape))


def _few_vectors() -> Any:
    model = SVC().fit(sparse.csr_matrix(ROWS), THIRDS)
    return changed(model, support_vectors_=model.support_vectors_[:2])


def _neighbours(kind: Any, **attributes: Any) -> Callable[[], Any]:
    return lambda: changed(kind(algorithm="brute").fit(ROWS, THIRDS), **attributes)


CRAFTED: dict[str, Callable[[], Any]] = {
    "stages of more scores than there are": _more_stages,
    "stages of more scores than its start has": _wide_stages,
    "stages of one dimension": _flat_stages,
    "a kernel of places": _other_kernel,
    "fewer coefficients than vectors": _few_coefficients,
    "fewer vectors than coefficients": _few_vectors,
    "narrow rows": _neighbours(KNeighborsRegressor, _fit_X=np.ones((30, 1))),
    "narrow rows in a radius": _neighbours(RadiusNeighborsRegressor, _fit_X=np.ones((30, 2))),
    "fewer rows than it says": _neighbours(KNeighborsRegressor, _fit_X=np.ones((2, 3))),
    "fewer labels than rows": _neighbours(KNeighborsClassifier, _y=np.zeros(2, dtype=np.int64)),
    "narrow centers": lambda: changed(KMeans(2, n_init=1).fit(ROWS), cluster_centers_=np.ones((2, 1))),
    "no centers": lambda: changed(MiniBatchKMeans(2, n_init=1).fit(ROWS), cluster_centers_=np.ones((0, 3))),
}


@pytest.mark.parametrize("name", sorted(CRAFTED))
def test_what_compiled_code_would_follow_out_of_bounds_is_found(name: str) -> None:
    with pytest.raises(BundleInvalid, match="not there"):
        structure.check(CRAFTED[name]())


def with_arrays(form: str, **arrays: Any) -> Any:
    """A sparse matrix [[1, 0, 2], [0, 3, 0]] with other arrays, as scipy makes it of a file."""
    matrix = sparse.csr_matrix(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])).asformat(form)
    structure.check(matrix)
    for name, values in arrays.items():
        found = np.asarray(values, dtype=np.int32)
        if name in ("row", "col"):
            matrix.coords = (found, matrix.coords[1]) if name == "row" else (matrix.coords[0], found)
        else:
            setattr(matrix, name, found)
    return matrix


@pytest.mark.parametrize(
    ("form", "arrays"),
    [
        ("csr", {"indices": [0, 10**6, 1]}),
        ("csr", {"indices": [0, -1, 1]}),
        ("csr", {"indptr": [0, 10**6, 3]}),
        ("csr", {"indptr": [0, 2, -7]}),
        ("csr", {"indptr": [0, 3]}),
        ("csc", {"indices": [0, 5, 0]}),
        ("bsr", {"indices": [99]}),
        ("coo", {"row": [0, 0, 10**6]}),
        ("coo", {"row": [0, 0, -2]}),
        ("coo", {"col": [0, 3, 1]}),
        ("coo", {"col": [0]}),
    ],
)
def test_a_sparse_matrix_that_points_elsewhere_is_found(form: str, arrays: dict[str, Any]) -> None:
    with pytest.raises(BundleInvalid, match="sparse matrix"):
        structure.check({"coef": [with_arrays(form, **arrays)]})
