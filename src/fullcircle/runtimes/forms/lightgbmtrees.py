"""LightGBM's trees, read as a ``Forest`` when a version is packaged.

LightGBM compares and adds 64-bit floats, tree by tree from zero. A missing value goes where its split says; where a
split has learned of none, it counts as zero. Of a score it makes a chance with the C library's ``exp``. The chances
of several classes use that too, where ``links`` uses numpy's: these models are asked as they were fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fullcircle.runtimes.boosters import lightgbmtext
from fullcircle.runtimes.boosters.sound import Unsound
from fullcircle.runtimes.forms.preparing import Array
from fullcircle.runtimes.forms.steps import Cell, Listed, NotCompiled, numeric
from fullcircle.runtimes.forms.trees import MOST_NODES, Forest
from fullcircle.types.contract import Contract

KIND = "lightgbm.sklearn.LGBM"
_IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_EXPONENTIAL = ("poisson", "gamma", "tweedie")
_CATEGORY, _DEFAULT_LEFT = 1, 2
_BITS = 256


def read(contract: Contract, model: Any, cells: list[Cell], *, alone: bool) -> tuple[list[Cell], Forest, str, str]:
    """The columns, trees, decision and link of a model; ``alone``: no step comes before it. Raises NotCompiled."""
    if any(name.startswith("pred_early_stop") for name in vars(model)):
        raise NotCompiled("it stops to add trees early")
    booster = model.booster_
    try:
        text = lightgbmtext.checked(booster.model_to_string(num_iteration=booster.best_iteration or -1))
    except Unsound as error:
        raise NotCompiled(f"{error} is not known") from error
    decision, link = _decision(contract, text.objective)
    if alone and text.categories is not None:
        cells = _coded(contract, cells, text.categories)
    numeric(cells)
    return cells, _forest(lightgbmtext.trees(text), averaged="\naverage_output\n" in text.booster), decision, link


def _decision(contract: Contract, objective: str) -> tuple[str, str]:
    if contract.task == "regression" and objective in (*_IDENTITY, ""):
        return "value", "identity"
    if contract.task == "regression" and objective in _EXPONENTIAL:
        return "value", "exp"
    if contract.task == "classification" and objective == "binary sigmoid:1" and len(contract.classes) == 2:
        return "likelier", "expit"
    raise NotCompiled(f"what it makes of a score is not known ({objective})")


def _coded(contract: Contract, cells: list[Cell], categories: Sequence[Sequence[Any]]) -> list[Cell]:
    """Columns of categories as the places that they had when the model was fitted."""
    left = list(categories)
    found: list[Cell] = []
    for cell in cells:
        if not isinstance(cell, Listed) or contract.columns[cell.column].kind != "category":
            found.append(cell)
            continue
        if not left:
            raise NotCompiled("it was fitted with fewer columns of categories")
        places = {name: float(place) for place, name in enumerate(left.pop(0))}
        found.append(replace(cell, values=tuple(places.get(value, math.nan) for value in cell.values)))
    if left:
        raise NotCompiled("it was fitted with more columns of categories")
    return found


def _forest(trees: Sequence[dict[str, str]], *, averaged: bool) -> Forest:
    """Splits of a tree first, its leaves after them."""
    leaves = np.array([int(tree["num_leaves"]) for tree in trees], dtype=np.int64)
    starts = np.cumsum([0, *(2 * leaves - 1).tolist()])
    if not len(trees) or starts[-1] > MOST_NODES:
        raise NotCompiled("it has no trees, or too many nodes")
    members: list[Array] = []
    parts = [_nodes(tree, int(start), members) for tree, start in zip(trees, starts[:-1].tolist(), strict=True)]
    feature, threshold, left, right, missing_left, category, value = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Forest(
        feature=feature.astype(np.intp),
        threshold=threshold,
        left=left.astype(np.intp),
        right=right.astype(np.intp),
        missing_left=missing_left.astype(np.bool_),
        category=category.astype(np.intp),
        members=np.array(members, dtype=np.bool_).reshape(-1, _BITS),
        value=value.reshape(-1, 1),
        starts=starts.astype(np.intp),
        start=np.zeros(1),
        divisor=float(len(trees)) if averaged else 1.0,
        single=False,
        takes_missing=True,
    )


def _nodes(tree: dict[str, str], start: int, members: list[Array]) -> tuple[Array, ...]:
    """The columns of one tree's nodes, in the order of ``_forest``."""
    leaves = int(tree["num_leaves"])
    splits = leaves - 1
    kinds = _whole(tree["decision_type"])
    threshold = np.array([float(text) for text in tree["threshold"].split()], dtype=np.float64)
    listed = (kinds & _CATEGORY) == _CATEGORY
    missing = kinds >> 2
    if bool((~listed & (missing == 1)).any()):
        raise NotCompiled("it takes zero for a missing value")
    category = np.full(splits, -1, dtype=np.int64)
    for place in np.flatnonzero(listed).tolist():
        category[place] = len(members)
        members.append(_bits(tree, int(threshold[place])))
    children = [_whole(tree[name]) for name in ("left_child", "right_child")]
    left, right = (np.where(child >= 0, child, splits - 1 - child) + start for child in children)
    to_left = np.where(missing == 2, (kinds & _DEFAULT_LEFT) == _DEFAULT_LEFT, threshold >= 0.0) & ~listed
    none, nothing = np.full(leaves, -1, dtype=np.int64), np.zeros(leaves, dtype=np.int64)
    values = np.array([float(text) for text in tree["leaf_value"].split()], dtype=np.float64)
    return (
        np.concatenate((_whole(tree["split_feature"]), none)),
        np.concatenate((np.where(listed, 0.0, threshold), np.zeros(leaves))),
        np.concatenate((left, nothing)),
        np.concatenate((right, nothing)),
        np.concatenate((to_left, np.zeros(leaves, dtype=np.bool_))),
        np.concatenate((category, none)),
        np.concatenate((np.zeros(splits), values)),
    )


def _bits(tree: dict[str, str], place: int) -> Array:
    """Which of 256 categories a split sends to the left."""
    bounds, words = _whole(tree["cat_boundaries"]), _whole(tree["cat_threshold"])
    mine = words[bounds[place] : bounds[place + 1]]
    if bool((mine[_BITS // 32 :] != 0).any()):
        raise NotCompiled("it knows more than 256 categories of a column")
    found = np.zeros(_BITS, dtype=np.bool_)
    bits = ((mine[: _BITS // 32, None] >> np.arange(32)) & 1).ravel().astype(np.bool_)
    found[: len(bits)] = bits
    return found


def _whole(text: str) -> Array:
    return np.array(text.split(), dtype=np.int64)
