"""A fitted ensemble of scikit-learn or LightGBM, read as a ``Forest`` when a version is packaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fullcircle.runtimes.forms import lightgbmtrees, steps
from fullcircle.runtimes.forms.preparing import Array, Prepared
from fullcircle.runtimes.forms.steps import Cell, NotCompiled
from fullcircle.runtimes.forms.trees import MOST_LEAVES, MOST_NODES, MOST_TABLE_BYTES, Forest, table_bytes
from fullcircle.types.contract import Contract

_HISTOGRAM = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting"
_BOOSTING = "sklearn.ensemble._gb.GradientBoosting"
_FORESTS = tuple(f"sklearn.ensemble._forest.{name}" for name in ("RandomForest", "ExtraTrees"))
_TREES = tuple(f"sklearn.tree._classes.{name}" for name in ("DecisionTree", "ExtraTree"))
_DUMMIES = ("sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor")
_LINKS = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "expit",
    "HalfLogitLink": "half_expit",
    "MultinomialLogit": "softmax",
}

Grown = tuple[Prepared, Forest, str, str]


def grow(contract: Contract, model: Any) -> Grown:
    """The preparation, trees, decision and link of a model. Raises NotCompiled."""
    before, last = steps.split(model)
    cells = steps.through(before, steps.begin(contract))
    name = f"{type(last).__module__}.{type(last).__qualname__}"
    kind = name.removesuffix("Classifier").removesuffix("Regressor")
    if kind == name:
        raise NotCompiled(f"{type(last).__name__} is no ensemble of trees that is known")
    if getattr(last, "n_outputs_", 1) != 1:
        raise NotCompiled("it has several outputs")
    if kind == _HISTOGRAM:
        cells, forest, decision, link = _histogram(contract, last, cells)
    elif kind == lightgbmtrees.KIND:
        cells, forest, decision, link = lightgbmtrees.read(contract, last, cells, alone=not before)
    elif kind == _BOOSTING:
        cells = steps.validated(cells)
        forest, decision, link = _boosting(contract, last)
    elif kind in (*_FORESTS, *_TREES):
        cells = steps.validated(cells)
        forest, decision, link = _forest(contract, last, kind in _FORESTS)
        _exact_integers(contract, cells)
    else:
        raise NotCompiled(f"{type(last).__name__} is no ensemble of trees that is known")
    if len(cells) != last.n_features_in_ and kind != _HISTOGRAM:
        raise NotCompiled("its columns could not be followed")
    prepared = steps.prepared(cells, len(contract.columns))
    if forest.most_leaves <= MOST_LEAVES:
        if table_bytes(prepared, forest) > MOST_TABLE_BYTES:
            raise NotCompiled("its tables would be larger than 64 MB")
    elif (forest.category >= 0).any():
        raise NotCompiled("its trees split by category and have more than 64 leaves")
    return prepared, forest, decision, link


def _exact_integers(contract: Contract, cells: Sequence[Cell]) -> None:
    """Frames of whole numbers only go to 32 bits in one step, and those beyond 2**53 would need two."""
    kinds = {contract.columns[cell.column].kind for cell in cells}
    unbounded = any(
        column.outside == "flag"
        or column.low is None
        or column.high is None
        or max(abs(column.low), abs(column.high)) > 2**53
        for column in contract.columns
        if column.kind == "integer"
    )
    if kinds == {"integer"} and unbounded:
        raise NotCompiled("all its columns are whole numbers, and one may pass 2**53")


def _histogram(contract: Contract, model: Any, cells: list[Cell]) -> tuple[list[Cell], Forest, str, str]:
    if model._preprocessor is not None:
        cells = steps.through([model._preprocessor], cells)
    steps.numeric(cells)
    grouped = [predictor for stage in model._predictors for predictor in stage]
    starts = _starts([len(predictor.nodes) for predictor in grouped])
    nodes = np.concatenate([predictor.nodes for predictor in grouped])
    leaf = nodes["is_leaf"] != 0
    base = np.repeat(starts[:-1], np.diff(starts))
    category, members = _categories(model, grouped, starts)
    forest = Forest(
        feature=np.where(leaf, -1, nodes["feature_idx"]).astype(np.intp),
        threshold=np.where(leaf | (category >= 0), 0.0, nodes["num_threshold"]),
        left=np.where(leaf, 0, nodes["left"] + base).astype(np.intp),
        right=np.where(leaf, 0, nodes["right"] + base).astype(np.intp),
        missing_left=nodes["missing_go_to_left"] != 0,
        category=category,
        members=members,
        value=np.where(leaf, nodes["value"], 0.0).reshape(-1, 1),
        starts=starts,
        start=np.zeros(model.n_trees_per_iteration_) + np.asarray(model._baseline_prediction).ravel(),
        divisor=1.0,
        single=False,
        takes_missing=True,
    )
    if model._baseline_prediction.dtype != np.float64:
        raise NotCompiled("its scores are no 64-bit floats")
    link = _link(model)
    if contract.task == "regression":
        return cells, forest, "value", link
    return cells, forest, "largest" if model.n_trees_per_iteration_ > 1 else "positive", link


def _categories(model: Any, grouped: Sequence[Any], starts: Array) -> tuple[Array, Array]:
    """For each node the row of its categories (-1: none), and for each row which of 256 go to the left."""
    known = dict(
        zip(
            np.flatnonzero(model._bin_mapper.is_categorical_).tolist(),
            model._bin_mapper.make_known_categories_bitsets()[0],
            strict=True,
        )
    )
    category = np.full(int(starts[-1]), -1, dtype=np.intp)
    members: list[Array] = []
    for predictor, start in zip(grouped, starts[:-1].tolist(), strict=True):
        for place in np.flatnonzero(predictor.nodes["is_categorical"]).tolist():
            node = predictor.nodes[place]
            if node["is_leaf"]:
                continue
            left = _bits(predictor.raw_left_cat_bitsets[node["bitset_idx"]])
            unknown = ~_bits(known[int(node["feature_idx"])]) & ~left
            category[start + place] = len(members)
            members.append(np.where(unknown, node["missing_go_to_left"] != 0, left))
    return category, np.array(members, dtype=np.bool_).reshape(-1, 256)


def _bits(words: Array) -> Array:
    """Eight words of 32 bits as 256 booleans, the lowest bit first."""
    found = (np.asarray(words, dtype=np.uint32)[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return found.ravel().astype(np.bool_)


def _boosting(contract: Contract, model: Any) -> tuple[Forest, str, str]:
    if model.init_ != "zero" and not _constant(model.init_):
        raise NotCompiled("it begins with another model")
    row = np.zeros((1, model.n_features_in_), dtype=np.float32)
    start = np.asarray(model._raw_predict_init(row), dtype=np.float64).ravel()
    trees = [tree.tree_ for tree in model.estimators_.ravel()]
    forest = _nodes(trees, start=start, divisor=1.0, takes_missing=False, scale=float(model.learning_rate), classes=1)
    if contract.task == "regression":
        return forest, "value", "identity"
    link = _link(model)
    return forest, "largest" if len(start) > 1 else "nonnegative", "softmax_by_row" if link == "softmax" else link


def _constant(model: Any) -> bool:
    """Whether a model answers every row alike: scikit-learn's dummies do, but for the one that draws its answers."""
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    return name in _DUMMIES and model.strategy != "stratified"


def _forest(contract: Contract, model: Any, several: bool) -> tuple[Forest, str, str]:
    trees = [each.tree_ for each in model.estimators_] if several else [model.tree_]
    first = model.estimators_[0] if several else model
    # With one tree nothing is added: -0.0 changes no value.
    regression = contract.task == "regression"
    count = 1 if regression else int(model.n_classes_)
    forest = _nodes(
        trees,
        start=np.full(count, 0.0 if several else -0.0),
        divisor=float(len(trees)) if several else 1.0,
        takes_missing=bool(first._support_missing_values(np.zeros((1, 1)))),
        scale=None,
        classes=count,
    )
    return forest, *(("value", "identity") if regression else ("largest", "shares"))


def _nodes(
    trees: Sequence[Any], *, start: Array, divisor: float, takes_missing: bool, scale: float | None, classes: int
) -> Forest:
    starts = _starts([tree.node_count for tree in trees])
    base = np.repeat(starts[:-1], np.diff(starts))
    left = np.concatenate([tree.children_left for tree in trees])
    right = np.concatenate([tree.children_right for tree in trees])
    leaf = left < 0
    value = np.concatenate([tree.value[:, 0, :classes] for tree in trees])
    return Forest(
        feature=np.where(leaf, -1, np.concatenate([tree.feature for tree in trees])).astype(np.intp),
        threshold=np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])),
        left=np.where(leaf, 0, left + base).astype(np.intp),
        right=np.where(leaf, 0, right + base).astype(np.intp),
        missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]).astype(np.bool_),
        category=np.full(int(starts[-1]), -1, dtype=np.intp),
        members=np.zeros((0, 256), dtype=np.bool_),
        value=np.where(leaf[:, None], value if scale is None else scale * value, 0.0),
        starts=starts,
        start=start,
        divisor=divisor,
        single=True,
        takes_missing=takes_missing,
    )


def _starts(counts: Sequence[int]) -> Array:
    total = np.cumsum([0, *counts])
    if total[-1] > MOST_NODES:
        raise NotCompiled("it has too many nodes")
    return total.astype(np.intp)


def _link(model: Any) -> str:
    name = type(model._loss.link).__name__
    if name not in _LINKS:
        raise NotCompiled(f"its link {name} is not known")
    return _LINKS[name]
