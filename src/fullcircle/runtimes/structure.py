"""Is the content of a loaded model safe to use? Compiled code of scikit-learn follows indices without checking them.

A crafted tree with a child out of range reads foreign memory, or never ends. So every tree, neighbour index and
spline of a loaded model is checked once, before the first prediction. Raises BundleInvalid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from fullcircle.runtimes.allowed import SPARSE
from fullcircle.runtimes.skopsfile import invalid

_PLAIN = (str, bytes, int, float, bool, type(None), type, partial)
_RIGID = ("sklearn.ensemble._forest.", "sklearn.ensemble._gb.", "sklearn.ensemble._hist", "sklearn.tree._classes.")


def check(model: Any) -> None:
    """Walk everything the model holds. ``width`` is the number of features that rows have at each place."""
    seen: set[int] = set()
    left: list[tuple[Any, int, Any]] = [(model, 0, None)]
    boosted: list[tuple[Any, int]] = []
    while left:
        part, width, owner = left.pop()
        if id(part) in seen or isinstance(part, _PLAIN):
            continue
        seen.add(id(part))
        width, owner = _place(part, width, owner)
        examine = _CHECKS.get(f"{type(part).__module__}.{type(part).__name__}")
        if examine is not None:
            examine(part, width, owner)
        if type(part).__module__ == "sklearn.ensemble._gb":
            boosted.append((part, width))
        left.extend((child, width, owner) for child in _children(part))
    for part, width in reversed(boosted):  # those inside of others first: each is asked what it begins with
        _boosting(part, width)


def _place(part: Any, width: int, owner: Any) -> tuple[int, Any]:
    features = getattr(part, "__dict__", {}).get("n_features_in_")
    if not isinstance(features, int | np.integer):
        return width, owner
    rigid = f"{type(owner).__module__}.{type(owner).__name__}".startswith(_RIGID)
    return min(width, int(features)) if rigid else int(features), part


def _children(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list | tuple | set):
        yield from part
    elif isinstance(part, np.ndarray):
        if part.dtype == object:
            yield from part.ravel().tolist()
    else:
        yield from getattr(part, "__dict__", {}).values()


def _tree(tree: Any, width: int, owner: Any) -> None:
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    _require(len(left) > 0 and bool(np.all((right != -1) == inner)), "a tree's leaves")
    _branches(left[inner], right[inner], np.flatnonzero(inner), len(left))
    _within(tree.feature[inner], width, "a tree's features")


def _histogram_tree(predictor: Any, width: int, owner: Any) -> None:
    nodes = predictor.nodes
    _require(nodes.ndim == 1 and len(nodes) > 0, "a tree's nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    split = nodes[inner]
    _branches(split["left"], split["right"], inner, len(nodes))
    _within(split["feature_idx"], width, "a tree's features")
    by_category = split[split["is_categorical"] != 0]
    if not len(by_category):
        return
    for bitsets in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
        _require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a tree's categories")
        _within(by_category["bitset_idx"], len(bitsets), "a tree's categories")
    known = np.asarray(owner._bin_mapper.is_categorical_)
    _require(known.shape == (width,) and bool(np.all(known[by_category["feature_idx"]])), "a tree's categories")


def _bins(mapper: Any, width: int, owner: Any) -> None:
    """Known categories become bits 0 to 255 of a table that is written without a check."""
    thresholds, known = mapper.bin_thresholds_, np.asarray(mapper.is_categorical_)
    _require(len(thresholds) == width and known.shape == (width,), "the bins of a model")
    for bins in (np.asarray(bins) for bins, category in zip(thresholds, known, strict=True) if category):
        _require(bool(np.all((bins >= 0) & (bins < 256))), "the categories of a model")


def _neighbours(index: Any, width: int, owner: Any) -> None:
    data, order, nodes, bounds, *_ = index.__getstate__()
    rows, count = data.shape[0], len(nodes)
    _require(data.shape[1] == width and bounds.shape[1:] == (count, width) and count > 0, "a neighbour index")
    _require(order.shape == (rows,) and nodes.ndim == 1, "a neighbour index")
    _within(order, rows, "a neighbour index")
    _within(nodes["idx_start"], rows + 1, "a neighbour index")
    _within(nodes["idx_end"], rows + 1, "a neighbour index")
    _within(2 * np.flatnonzero(nodes["is_leaf"] == 0) + 2, count, "a neighbour index")


def _compared(model: Any, width: int, owner: Any) -> None:
    """Rows that were learned by heart are as wide as those they are compared with, and each has its label."""
    if not hasattr(model, "_fit_X"):
        return
    rows = model._fit_X.shape
    _require(len(rows) == 2 and rows[1] == width and model.n_samples_fit_ == rows[0], "the rows of a model")
    labels = getattr(model, "_y", None)
    _require(labels is None or len(labels) == rows[0], "the rows of a model")


def _centers(model: Any, width: int, owner: Any) -> None:
    if hasattr(model, "cluster_centers_"):
        shape = np.asarray(model.cluster_centers_).shape
        _require(len(shape) == 2 and shape[0] > 0 and shape[1] == width, "the centers of a model")


def _spline(spline: Any, width: int, owner: Any) -> None:
    knots, degree = np.asarray(spline.t), spline.k
    _require(isinstance(degree, int) and 0 <= degree <= 20 and knots.ndim == 1, "a spline")
    _require(bool(np.all(np.isfinite(knots)) and np.all(np.diff(knots) >= 0)), "a spline")
    _require(0 <= degree < len(spline.c) <= len(knots) - degree - 1, "a spline")


def _vectors(machine: Any, width: int, owner: Any) -> None:
    """A support vector machine: the counts per class have to add up to the vectors that are there."""
    if not hasattr(machine, "support_"):
        return  # not fitted, so nothing to follow
    vectors, counts = machine.support_vectors_, np.asarray(machine._n_support)
    count, by_class = len(machine.support_), machine._impl in ("c_svc", "nu_svc")
    classes = len(counts) if by_class else 2
    pairs = classes * (classes - 1) // 2
    _require(bool(np.all(counts >= 0)) and int(counts.sum() if by_class else counts[0]) == count, "support vectors")
    _require(vectors.shape == (count, width) or not count, "support vectors")
    _require(machine._dual_coef_.shape == (classes - 1, count), "support vectors")
    if machine._sparse:
        _require(len(machine._dual_coef_.data) == (classes - 1) * count, "support vectors")
    if machine.kernel == "precomputed":
        _within(machine.support_, width, "support vectors")
    _require(len(machine._intercept_) == pairs, "support vectors")
    _require(len(machine._probA) in (0, 1, pairs) and len(machine._probB) in (0, pairs), "support vectors")


def _boosting(model: Any, width: int) -> None:
    """Gradient boosting adds each tree of a stage to the score of its number, which has to be there."""
    if not hasattr(model, "estimators_"):
        return
    stages = model.estimators_
    _require(isinstance(stages, np.ndarray) and stages.ndim == 2 and stages.size > 0, "the stages of a model")
    _require(model.n_features_in_ == width, "the stages of a model")
    scores = model._raw_predict_init(np.zeros((1, width), dtype=np.float32))
    _require(scores.shape == (1, stages.shape[1]), "the stages of a model")


def _sparse(matrix: Any, width: int, owner: Any) -> None:
    """What scipy multiplies with follows these indices in C, and only their number was looked at so far."""
    if matrix.format in ("csr", "csc", "bsr"):
        _require(bool(np.all(np.diff(matrix.indptr) >= 0)), "a sparse matrix")
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise invalid("a sparse matrix points to something that is not there") from error
    if matrix.format == "coo":
        for index, count in zip(matrix.coords, matrix.shape, strict=True):
            _require(len(index) == len(matrix.data), "a sparse matrix")
            _within(index, count, "a sparse matrix")


def _branches(left: Any, right: Any, parents: Any, count: int) -> None:
    """Children come after their parent, so that every walk ends."""
    for child in (left, right):
        _within(child, count, "a tree's branches")
        _require(bool(np.all(np.asarray(child).astype(np.int64) > parents)), "a tree's branches")


def _within(indices: Any, count: int, what: str) -> None:
    found = np.asarray(indices)
    _require(not len(found) or (int(found.min()) >= 0 and int(found.max()) < count), what)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise invalid(f"{what} point to something that is not there")


_CHECKS: Mapping[str, Callable[[Any, int, Any], None]] = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _histogram_tree,
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper": _bins,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
    "scipy.interpolate._bsplines.BSpline": _spline,
    **dict.fromkeys(SPARSE, _sparse),
    **{f"sklearn.cluster._kmeans.{name}": _centers for name in ("KMeans", "MiniBatchKMeans")},
    **{
        f"sklearn.neighbors._{name}": _compared
        for name in (
            *("classification.KNeighborsClassifier", "classification.RadiusNeighborsClassifier"),
            *("regression.KNeighborsRegressor", "regression.RadiusNeighborsRegressor"),
            *("graph.KNeighborsTransformer", "graph.RadiusNeighborsTransformer", "unsupervised.NearestNeighbors"),
        )
    },
    **{f"sklearn.svm._classes.{name}": _vectors for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")},
}
