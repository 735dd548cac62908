from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from form_samples import columns, contract, fitted
from fullcircle.runtimes.forms import worthwhile
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.forms.growing import grow
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.forms.trees import Forest


def chains(trees: int, leaves: int) -> Forest:
    """Trees that are one long branch: each split has a leaf on its left and the next split on its right."""
    nodes = 2 * leaves - 1
    at = np.arange(nodes)
    inner = (at % 2 == 0) & (at < nodes - 1)
    left, right = np.where(inner, at + 1, 0), np.where(inner, at + 2, 0)
    offset = np.repeat(np.arange(trees) * nodes, nodes)
    count = trees * nodes
    return Forest(
        feature=np.tile(np.where(inner, 0, -1), trees),
        threshold=np.zeros(count),
        left=np.tile(left, trees) + offset,
        right=np.tile(right, trees) + offset,
        missing_left=np.zeros(count, dtype=bool),
        category=np.full(count, -1),
        members=np.zeros((0, 0), dtype=bool),
        value=np.zeros((count, 1)),
        starts=np.arange(trees + 1) * nodes,
        start=np.zeros(1),
        divisor=1.0,
        single=False,
        takes_missing=False,
    )


@pytest.mark.parametrize(("trees", "leaves"), [(1, 1), (1, 2), (3, 2), (2, 5)])
def test_levels_are_the_mean_depth_of_the_leaves_of_each_tree(trees: int, leaves: int) -> None:
    depths = [*range(1, leaves), leaves - 1] if leaves > 1 else [0]
    assert worthwhile.levels(chains(trees, leaves)) == pytest.approx(trees * sum(depths) / len(depths))


def test_levels_are_those_that_scikit_learn_walks() -> None:
    from sklearn.ensemble import RandomForestRegressor

    sample = fitted(lambda: RandomForestRegressor(5, random_state=0), contract(0, columns(missing=False)), count=150)
    forest = grow(sample.contract, sample.model)[1]
    expected = 0.0
    for each in sample.model.estimators_:
        tree = each.tree_
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):
            if tree.children_left[node] >= 0:
                depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        expected += depth[tree.children_left < 0].mean()
    assert worthwhile.levels(forest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "trees", "leaves", "worth"),
    [
        ("HistGradientBoostingRegressor", 3000, 64, True),  # words: always
        ("HistGradientBoostingRegressor", 10, 65, True),
        ("HistGradientBoostingRegressor", 1000, 65, False),
        ("GradientBoostingRegressor", 10, 65, True),
        ("GradientBoostingRegressor", 40, 65, False),
        ("RandomForestClassifier", 40, 100, False),
        ("RandomForestClassifier", 40, 65, True),
        ("SomethingElse", 40, 65, False),
    ],
)
def test_large_trees_are_compiled_where_their_library_is_slower(
    kind: str, trees: int, leaves: int, worth: bool
) -> None:
    forest = chains(trees, leaves)
    if worth:
        worthwhile.check_trees(forest, kind)
        return
    with pytest.raises(NotCompiled, match="would not be faster"):
        worthwhile.check_trees(forest, kind)


def test_deep_forests_as_they_are_fitted_are_compiled() -> None:
    """Their leaves are 15 levels deep on average, not 30 as in a branch: scikit-learn's 60 µs a tree decide."""
    from sklearn.ensemble import RandomForestRegressor

    sample = fitted(lambda: RandomForestRegressor(40, random_state=0), contract(0, columns(missing=False)), count=400)
    forest = grow(sample.contract, sample.model)[1]
    assert forest.most_leaves > 64
    worthwhile.check_trees(forest, "RandomForestRegressor")


def test_many_scores_are_left_to_blas() -> None:
    worthwhile.check_scores(32)
    with pytest.raises(NotCompiled, match="its 33 scores"):
        worthwhile.check_scores(33)


class Sized:
    def __init__(self, count: int, *, lone: Any = None) -> None:
        self.held = np.zeros(count)
        self.lone = lone


def test_a_large_model_is_not_compared_as_an_array() -> None:
    worthwhile.check_size(Sized(1000))
    with pytest.raises(NotCompiled, match="larger than 16 MB"):
        worthwhile.check_size(Sized(2**21 + 1))
    with pytest.raises(NotCompiled, match="cannot be told"):
        worthwhile.check_size(Sized(1, lone=lambda: None))


def test_a_large_neighbourhood_keeps_its_frame() -> None:
    from sklearn.neighbors import KNeighborsRegressor

    sample = fitted(lambda: KNeighborsRegressor(algorithm="brute"), contract(0, columns(missing=False)), count=50)
    assert choose(sample.contract, sample.model, sample.values).certificate.form == "array"
    sample.model.kept_for_nothing_ = np.zeros(2**21 + 1)
    found = choose(sample.contract, sample.model, sample.values).certificate
    assert found.form == "frame"
    assert "a frame costs little" in dict(found.refused)["array"]
