"""XGBoost's JSON of a booster, checked field by field and tree by tree.

What XGBoost's own parser is given is not the text but what is written of the checked values, so there is no second
reading. The fields are those of its schema (doc/model.schema, versions 3.0 and later); an unknown one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from fullcircle.runtimes.boosters import sound
from fullcircle.runtimes.boosters.sound import Array, Unsound, integers, mapping, numbers, require, sequence, within

_NUMBER = r"-?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?"
_NUMBERS = re.compile(rf"\[?{_NUMBER}(?:,{_NUMBER}){{0,10000}}\]?")
_WHOLE = re.compile("[0-9]{1,9}")
_NO_PARENT = 2**31 - 1
_INT8 = (-128, 255)
_TEXT = 10_000
_TYPES = frozenset({"float", "int", "i", "q", "c", "indicator"})
OBJECTIVES: Mapping[str, str | None] = {
    "binary:hinge": None,
    "binary:logistic": "reg_loss_param",
    "binary:logitraw": "reg_loss_param",
    "count:poisson": "poisson_regression_param",
    "multi:softmax": "softmax_multiclass_param",
    "multi:softprob": "softmax_multiclass_param",
    "reg:absoluteerror": None,
    "reg:expectileerror": "expectile_loss_param",
    "reg:gamma": "reg_loss_param",
    "reg:linear": "reg_loss_param",
    "reg:logistic": "reg_loss_param",
    "reg:pseudohubererror": "pseudo_huber_param",
    "reg:quantileerror": "quantile_loss_param",
    "reg:squarederror": "reg_loss_param",
    "reg:squaredlogerror": None,
    "reg:tweedie": "tweedie_regression_param",
}
"""Objectives of regression and classification, each with the name of its parameters."""
_TREE = (
    "base_weights",
    "categories",
    "categories_nodes",
    "categories_segments",
    "categories_sizes",
    "default_left",
    "id",
    "left_children",
    "loss_changes",
    "parents",
    "right_children",
    "split_conditions",
    "split_indices",
    "split_type",
    "sum_hessian",
    "tree_param",
)
_MODEL = ("gbtree_model_param", "iteration_indptr", "tree_info", "trees")


def checked(document: object) -> dict[str, Any]:
    """The same document, holding only what was checked. Raises Unsound."""
    top = mapping(document, ("learner", "version"), "its outermost fields")
    version = integers(top["version"], 3, 0, 1000, "its version")
    learner = top["learner"]
    require(isinstance(learner, dict), "its learner")
    names = ("attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective")
    learner = mapping(learner, names, "the fields of its learner")
    features, groups, shape = _shape(learner["learner_model_param"])
    types = _texts(learner["feature_types"], features, "the types of its features")
    require(set(types) <= _TYPES, "the types of its features")
    return {
        "learner": {
            "attributes": _attributes(learner["attributes"]),
            "feature_names": _texts(learner["feature_names"], features, "the names of its features"),
            "feature_types": types,
            "gradient_booster": _booster(learner["gradient_booster"], features, groups),
            "learner_model_param": shape,
            "objective": _objective(learner["objective"], groups),
        },
        "version": version.tolist(),
    }


def features_of(document: Mapping[str, Any]) -> int:
    """The number of features of a checked document."""
    return int(document["learner"]["learner_model_param"]["num_feature"])


def encoded(document: Mapping[str, Any]) -> bytes:
    """A checked document as JSON: the same document gives the same bytes."""
    return msgspec.json.encode(document, order="sorted")


def _shape(value: object) -> tuple[int, int, dict[str, str]]:
    """The number of features, that of scores, and the field itself."""
    names = ("base_score", "boost_from_average", "num_class", "num_feature", "num_target")
    field = mapping(value, names, "its shape")
    features = _whole(field["num_feature"], 1, sound.MOST_FEATURES, "the number of its features")
    classes = _whole(field["num_class"], 0, sound.MOST_CLASSES, "the number of its classes")
    targets = _whole(field["num_target"], 1, sound.MOST_CLASSES, "the number of its targets")
    require(classes <= 1 or targets == 1, "the number of its classes")
    _whole(field["boost_from_average"], 0, 1, "its shape")
    groups = max(1, classes, targets)
    score = field["base_score"]
    require(isinstance(score, str) and _NUMBERS.fullmatch(score) is not None, "its base score")
    require(score.count(",") + 1 in (1, groups), "its base score")
    return features, groups, dict(field)


def _objective(value: object, groups: int) -> dict[str, Any]:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise Unsound(f"its objective {str(name)[:40]!r}, which is none of regression or classification,")
    parameters = OBJECTIVES[name]
    field = mapping(value, ("name", parameters) if parameters else ("name",), "its objective")
    inner = field[parameters] if parameters else {}
    require(isinstance(inner, dict) and len(inner) <= 10, "its objective")
    for key, text in inner.items():
        require(re.fullmatch("[a-z_]{1,40}", key) is not None, "its objective")
        require(isinstance(text, str) and _NUMBERS.fullmatch(text) is not None, "its objective")
    if "num_class" in inner:
        require(inner["num_class"] == str(groups), "the number of its classes")
    return dict(field)


def _attributes(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 100:
        raise Unsound("its attributes")
    for text in (*value, *value.values()):
        require(isinstance(text, str) and len(text) <= _TEXT, "its attributes")
    if "best_iteration" in value:
        require(_WHOLE.fullmatch(value["best_iteration"]) is not None, "its best iteration")
    return dict(value)


def _booster(value: object, features: int, groups: int) -> dict[str, Any]:
    name = value.get("name") if isinstance(value, dict) else None
    if name == "gbtree":
        field = mapping(value, ("model", "name"), "its booster")
        return {"model": _model(field["model"], features, groups), "name": name}
    if name == "dart":
        field = mapping(value, ("gbtree", "name", "weight_drop"), "its booster")
        inner = _booster(field["gbtree"], features, groups)
        require(inner["name"] == "gbtree", "its booster")
        weights = numbers(field["weight_drop"], len(inner["model"]["trees"]), "the weights of its trees")
        return {"gbtree": inner, "name": name, "weight_drop": weights.tolist()}
    if name == "gblinear":
        model = mapping(
            mapping(value, ("model", "name"), "its booster")["model"], ("boosted_rounds", "weights"), "it"
        )
        rounds = within(model["boosted_rounds"], 0, 2**31 - 1, "the number of its rounds")
        weights = numbers(model["weights"], (features + 1) * groups, "its weights")
        return {"model": {"boosted_rounds": rounds, "weights": weights.tolist()}, "name": name}
    raise Unsound("the kind of its booster")


def _model(value: object, features: int, groups: int) -> dict[str, Any]:
    with_categories = isinstance(value, dict) and "cats" in value
    field = mapping(value, (*_MODEL, "cats") if with_categories else _MODEL, "the fields of its trees")
    sizes = mapping(field["gbtree_model_param"], ("num_parallel_tree", "num_trees"), "the number of its trees")
    count = _whole(sizes["num_trees"], 0, sound.MOST_TREES, "the number of its trees")
    _whole(sizes["num_parallel_tree"], 1, sound.MOST_TREES, "the number of its trees")
    trees = sequence(field["trees"], sound.MOST_TREES, "its trees")
    require(len(trees) == count, "the number of its trees")
    info = integers(field["tree_info"], count, 0, groups - 1, "the classes of its trees")
    starts = integers(field["iteration_indptr"], None, 0, count, "the iterations of its trees")
    require(len(starts) > 0 and starts[0] == 0 and starts[-1] == count, "the iterations of its trees")
    require(bool((np.diff(starts) >= 0).all()), "the iterations of its trees")
    budget = _Budget()
    found = {
        "gbtree_model_param": dict(sizes),
        "iteration_indptr": starts.tolist(),
        "tree_info": info.tolist(),
        "trees": [_tree(tree, features, budget) for tree in trees],
    }
    if with_categories:
        found["cats"] = _known_categories(field["cats"], features)
    return found


class _Budget:
    """What all trees of a model may have together."""

    def __init__(self) -> None:
        self.nodes = sound.MOST_NODES
        self.words = sound.MOST_WORDS

    def spend(self, nodes: int, words: int) -> None:
        self.nodes -= nodes
        self.words -= words
        require(self.nodes >= 0, "the number of its nodes")
        require(self.words >= 0, "the number of its categories")


def _tree(value: object, features: int, budget: _Budget) -> dict[str, Any]:
    field = mapping(value, _TREE, "the fields of a tree")
    sizes = ("num_deleted", "num_feature", "num_nodes", "size_leaf_vector")
    sizes_of = mapping(field["tree_param"], sizes, "the size of a tree")
    count = _whole(sizes_of["num_nodes"], 1, sound.MOST_NODES, "the size of a tree")
    gone = _whole(sizes_of["num_deleted"], 0, count - 1, "the size of a tree")
    require(
        _whole(sizes_of["num_feature"], 0, sound.MOST_FEATURES, "the size of a tree") == features, "a tree's size"
    )
    require(sizes_of["size_leaf_vector"] in ("0", "1"), "a tree with several answers in a leaf")
    budget.spend(count, 0)
    left = integers(field["left_children"], count, -1, count - 1, "a tree's branches")
    right = integers(field["right_children"], count, -1, count - 1, "a tree's branches")
    split = integers(field["split_indices"], count, 0, _NO_PARENT, "the features of a tree")
    kinds = integers(field["split_type"], count, 0, 1, "the splits of a tree")
    parents = integers(field["parents"], count, 0, _NO_PARENT, "a tree's branches")
    alive = sound.reached(left, right)
    require(int((~alive).sum()) == gone and bool((left[~alive] < 0).all()), "a tree's deleted nodes")
    require(bool((split[alive] < features).all()), "the features of a tree")
    require(bool((split[~alive] == _NO_PARENT).all()), "a tree's deleted nodes")
    inner = np.flatnonzero(left >= 0)
    require(
        bool((parents[left[inner]] == inner).all() and (parents[right[inner]] == inner).all()), "a tree's parents"
    )
    require(int(parents[0]) == _NO_PARENT and bool(((kinds == 0) | (left >= 0)).all()), "the splits of a tree")
    found: dict[str, Any] = {
        name: numbers(field[name], count, f"a number in {name} of a tree").tolist()
        for name in ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
    }
    return found | {
        "default_left": integers(field["default_left"], count, 0, 1, "the splits of a tree").tolist(),
        "id": within(field["id"], 0, sound.MOST_TREES, "the number of a tree"),
        "left_children": left.tolist(),
        "parents": parents.tolist(),
        "right_children": right.tolist(),
        "split_indices": split.tolist(),
        "split_type": kinds.tolist(),
        "tree_param": dict(sizes_of),
        **_categories(field, np.flatnonzero(kinds == 1), budget),
    }


def _categories(field: Mapping[str, Any], nodes: Array, budget: _Budget) -> dict[str, Any]:
    """The categories of a tree's splits. XGBoost makes a bit for each number up to the largest of a split."""
    what = "the categories of a tree"
    found = integers(field["categories"], None, 0, sound.MOST_CATEGORIES - 1, what)
    by = integers(field["categories_nodes"], len(nodes), 0, _NO_PARENT, what)
    sizes = integers(field["categories_sizes"], len(nodes), 1, len(found), what)
    starts = integers(field["categories_segments"], len(nodes), 0, len(found), what)
    require(bool((by == nodes).all()) and int(sizes.sum()) == len(found), what)
    require(bool((starts == np.cumsum(sizes) - sizes).all()), what)
    if len(nodes):
        budget.spend(0, int((np.maximum.reduceat(found, starts) // 32 + 1).sum()))
    return {
        "categories": found.tolist(),
        "categories_nodes": by.tolist(),
        "categories_segments": starts.tolist(),
        "categories_sizes": sizes.tolist(),
    }


def _known_categories(value: object, features: int) -> dict[str, Any]:
    """Which categories each feature was fitted with, by which those of a frame are told."""
    what = "the categories of its features"
    field = mapping(value, ("enc", "feature_segments", "sorted_idx"), what)
    encodings = sequence(field["enc"], features, what)
    require(len(encodings) in (0, features), what)
    counts: list[int] = []
    for one in encodings:
        if isinstance(one, dict) and "type" in one:
            part = mapping(one, ("type", "values"), what)
            within(part["type"], 0, 31, what)
            counts.append(len(_plain(part["values"], what)))
        else:
            part = mapping(one, ("offsets", "values"), what)
            texts = integers(part["values"], None, *_INT8, what)
            offsets = integers(part["offsets"], None, 0, len(texts), what)
            require(bool((np.diff(offsets) >= 0).all()), what)
            require((not len(offsets) and not len(texts)) or (offsets[0] == 0 and offsets[-1] == len(texts)), what)
            counts.append(max(0, len(offsets) - 1))
    starts = integers(field["feature_segments"], features + 1 if encodings else 0, 0, sound.MOST_NODES, what)
    order = integers(field["sorted_idx"], sum(counts), 0, sound.MOST_NODES, what)
    require(not encodings or bool((starts == np.cumsum([0, *counts])).all()), what)
    begin = 0
    for count in counts:
        require(bool((np.sort(order[begin : begin + count]) == np.arange(count)).all()), what)
        begin += count
    return dict(field)


def _plain(value: object, what: str) -> list[Any]:
    found = sequence(value, sound.MOST_CATEGORIES, what)
    kinds = set(map(type, found))
    require(kinds <= {int} or kinds <= {float}, what)
    return found


def _texts(value: object, count: int, what: str) -> list[str]:
    """Nothing at all, or a text for each feature."""
    found = sequence(value, count, what)
    require(len(found) in (0, count), what)
    require(all(isinstance(text, str) and len(text) <= _TEXT for text in found), what)
    return found


def _whole(value: object, low: int, high: int, what: str) -> int:
    """A whole number, which XGBoost writes as text."""
    if not isinstance(value, str) or _WHOLE.fullmatch(value) is None or not low <= int(value) <= high:
        raise Unsound(what)
    return int(value)
