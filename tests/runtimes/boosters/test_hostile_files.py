"""Crafted files of boosters: refused before a native parser sees them, or harmless to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import booster_samples as samples
from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes.boosters import held, kept
from fullcircle.runtimes.sklearn import SklearnRuntime

Document = dict[str, Any]


@cache
def _text(library: str, name: str) -> str:
    return kept.write(samples.fitted(library, name)[0]).decode()


def sound(library: str, name: str) -> Document:
    found: Document = json.loads(_text(library, name))
    return found


def itself(document: Document) -> Document:
    return document


def learner(document: Document) -> Document:
    found: Document = document["booster"]["learner"]
    return found


def model(document: Document) -> Document:
    found: Document = learner(document)["gradient_booster"]["model"]
    return found


def tree(document: Document) -> Document:
    """The last tree, which has splits."""
    found: Document = model(document)["trees"][-1]
    return found


def put(part: Callable[[Document], Document], *path: Any, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        found: Any = part(document)
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


def swapped(document: Document) -> None:
    """A cycle: a node that leads back to its parent."""
    found = tree(document)
    inner = next(place for place, left in enumerate(found["left_children"]) if left > 0 and place)
    found["left_children"][inner] = found["parents"][inner]


def shared(document: Document) -> None:
    found = tree(document)
    found["right_children"][0] = found["left_children"][0]


def shortened(name: str) -> Callable[[Document], None]:
    return lambda document: tree(document)[name].pop() and None


def vine(document: Document) -> None:
    """Sound but for its depth."""
    splits = 6000
    count = 2 * splits + 1
    left = [place + 1 if place % 2 == 0 and place < count - 1 else -1 for place in range(count)]
    right = [place + 2 if place % 2 == 0 and place < count - 1 else -1 for place in range(count)]
    parents = [2**31 - 1, *(((place - 1) // 2) * 2 for place in range(1, count))]
    zeros, numbers = [0] * count, [0.5] * count
    tree(document).update(
        left_children=left,
        right_children=right,
        parents=parents,
        split_indices=zeros,
        split_type=zeros,
        default_left=zeros,
        **dict.fromkeys(("base_weights", "loss_changes", "split_conditions", "sum_hessian"), numbers),
    )
    tree(document)["tree_param"]["num_nodes"] = str(count)


XGBOOST: dict[str, Callable[[Document], None]] = {
    "a child out of range": put(tree, "left_children", 0, value=10**6),
    "a child below zero": put(tree, "left_children", 0, value=-7),
    "a child that is true": put(tree, "left_children", 0, value=True),
    "a child that is no integer": put(tree, "left_children", 0, value=1.0),
    "a cycle": swapped,
    "two parents": shared,
    "a root that is a child": put(tree, "left_children", 0, value=0),
    "too deep": vine,
    "a feature out of range": put(tree, "split_indices", 0, value=99),
    "a feature below zero": put(tree, "split_indices", 0, value=-1),
    "a threshold that is null": put(tree, "split_conditions", 0, value=None),
    "a threshold beyond floats": put(tree, "split_conditions", 0, value=10**400),
    "a short array": shortened("split_conditions"),
    "no parents": shortened("parents"),
    "a wrong parent": put(tree, "parents", 1, value=3),
    "an odd split type": put(tree, "split_type", 0, value=2),
    "a leaf by category": put(tree, "split_type", -1, value=1),
    "a huge number of nodes": put(tree, "tree_param", "num_nodes", value="4000000000"),
    "a negative number of nodes": put(tree, "tree_param", "num_nodes", value="-1"),
    "leaves of vectors": put(tree, "tree_param", "size_leaf_vector", value="1000000"),
    "deleted nodes that are not there": put(tree, "tree_param", "num_deleted", value="1"),
    "a huge number of trees": put(model, "gbtree_model_param", "num_trees", value="999999999"),
    "a tree of another class": put(model, "tree_info", 0, value=5),
    "rounds out of order": put(model, "iteration_indptr", value=[0, 3, 2, 5]),
    "rounds of other trees": put(model, "iteration_indptr", value=[0, 50]),
    "a huge number of features": put(learner, "learner_model_param", "num_feature", value="4294967295"),
    "a huge number of classes": put(learner, "learner_model_param", "num_class", value="99999999"),
    "a base score that is none": put(learner, "learner_model_param", "base_score", value="[nan]"),
    "several base scores": put(learner, "learner_model_param", "base_score", value="[1E0,1E0,1E0]"),
    "an unknown objective": put(learner, "objective", "name", value="rank:ndcg"),
    "an objective of other parameters": put(learner, "objective", value={"name": "reg:squarederror", "path": "/"}),
    "another booster": put(learner, "gradient_booster", "name", value="gbforest"),
    "names of no feature": put(learner, "feature_names", value=["a"]),
    "an odd type of a feature": put(learner, "feature_types", 0, value="file:///"),
    "a field of its own": put(learner, "callbacks", value=[]),
    "a best iteration below zero": put(learner, "attributes", value={"best_iteration": "-5"}),
    "a booster that is a text": put(itself, "booster", value="binf"),
}
CATEGORIES: dict[str, Callable[[Document], None]] = {
    "a category below zero": put(tree, "categories", 0, value=-1),
    "a category beyond all": put(tree, "categories", 0, value=2**31 - 1),
    "a segment out of range": put(tree, "categories_segments", 0, value=10**6),
    "a size beyond all": put(tree, "categories_sizes", 0, value=10**6),
    "a size of nothing": put(tree, "categories_sizes", 0, value=0),
    "a node without": put(tree, "categories_nodes", 0, value=0),
    "offsets out of range": put(model, "cats", "enc", 2, "offsets", 1, value=10**6),
    "an order out of range": put(model, "cats", "sorted_idx", 0, value=99),
    "segments of other features": put(model, "cats", "feature_segments", -1, value=1),
}
HEADS: dict[str, Callable[[Document], None]] = {
    "another format": put(itself, "format", value=2),
    "another library": put(itself, "library", value="catboost"),
    "a class of no kind": put(itself, "kind", value="Popen"),
    "the raw booster": put(itself, "kind", value="DMatrix"),
    "a method as an attribute": put(itself, "attributes", "predict", value=1),
    "a private attribute": put(itself, "attributes", "_Booster", value=None),
    "a text with a line": put(itself, "attributes", "tree_method", value="a\nmodel_in=/etc/passwd"),
    "a list as an attribute": put(itself, "attributes", "tree_method", value=[1]),
    "a field of its own": put(itself, "code", value="import os"),
}


@pytest.mark.parametrize("name", sorted(XGBOOST))
def test_crafted_json_is_refused(name: str) -> None:
    _refused("xgboost", "a number", XGBOOST[name])


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_crafted_categories_are_refused(name: str) -> None:
    document = sound("xgboost", "two classes with categories")
    document["booster"]["learner"]["gradient_booster"]["model"]["trees"].sort(key=lambda one: len(one["categories"]))
    assert tree(document)["categories_sizes"]
    kept.judge(json.dumps(document).encode())
    CATEGORIES[name](document)
    with pytest.raises(BundleInvalid):
        kept.judge(json.dumps(document).encode())


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_crafted_heads_are_refused(library: str, name: str) -> None:
    _refused(library, "a number", HEADS[name])


def _refused(library: str, name: str, change: Callable[[Document], None]) -> None:
    document = sound(library, name)
    kept.judge(json.dumps(document).encode())
    change(document)
    for ask in (kept.judge, kept.read):
        with pytest.raises(BundleInvalid):
            ask(json.dumps(document).encode())


def line(name: str, value: str, place: int = -1) -> Callable[[str], str]:
    """The last (or the first: 0) line of this name with another value."""

    def change(text: str) -> str:
        lines = text.split("\n")
        found = [at for at, each in enumerate(lines) if each.startswith(f"{name}=")][place]
        lines[found] = f"{name}={value}"
        return "\n".join(lines)

    return change


def token(name: str, place: int, value: str) -> Callable[[str], str]:
    """One of the values of the last line of this name."""

    def change(text: str) -> str:
        found = [each for each in text.split("\n") if each.startswith(f"{name}=")][-1]
        values = found.partition("=")[2].split(" ")
        values[place] = value
        return line(name, " ".join(values))(text)

    return change


LIGHTGBM: dict[str, Callable[[str], str]] = {
    "no leaves": line("num_leaves", "0"),
    "a negative number of leaves": line("num_leaves", "-5"),
    "a huge number of leaves": line("num_leaves", "2000000000"),
    "more leaves than there are": line("num_leaves", "7"),
    "a huge number of categories": line("num_cat", "1000000"),
    "a negative number of categories": line("num_cat", "-1"),
    "a feature out of range": token("split_feature", 0, "1000"),
    "a feature below zero": token("split_feature", 0, "-1"),
    "a child out of range": token("left_child", 0, "500"),
    "a leaf out of range": token("left_child", 0, "-500"),
    "a cycle": token("left_child", 0, "0"),
    "too few thresholds": line("threshold", "1.0"),
    "a threshold that is none": token("threshold", 0, "nan"),
    "a threshold that is infinite": token("threshold", 0, "1e999"),
    "a threshold in hexadecimal": token("threshold", 0, "0x10"),
    "too few leaves": line("leaf_value", "1.0 2.0"),
    "a leaf that is none": token("leaf_value", 0, "nan"),
    "an odd kind of split": token("decision_type", 0, "127"),
    "a negative kind of split": token("decision_type", 0, "-1"),
    "a shrinkage that is none": line("shrinkage", "x"),
    "linear leaves": line("is_linear", "1"),
    "a line of its own": lambda text: text.replace("num_cat=", "leaf_coeff=1\nnum_cat=", 1),
    "a line twice": lambda text: text.replace("num_cat=", "num_leaves=2\nnum_cat=", 1),
    "trees out of order": lambda text: text.replace("Tree=1", "Tree=0"),
    "no end": lambda text: text.replace("end of trees", ""),
    "no classes": line("num_class", "0"),
    "a huge number of classes": line("num_class", "1000000000"),
    "more trees in a round": line("num_tree_per_iteration", "1000"),
    "fewer trees than classes": lambda text: line("num_class", "3")(line("num_tree_per_iteration", "3")(text)),
    "a huge number of features": line("max_feature_idx", "2147483647"),
    "a negative number of features": line("max_feature_idx", "-2"),
    "names of other features": line("feature_names", "a"),
    "facts of other features": line("feature_infos", "none"),
    "an objective of ranking": line("objective", "lambdarank"),
    "an unknown objective": line("objective", "binary sigmoid:1e99"),
    "another version": line("version", "v99"),
    "a first line of its own": lambda text: text.replace("tree\n", "forest\n", 1),
    "categories that are no list": lambda text: (
        text.partition("pandas_categorical")[0] + 'pandas_categorical:{"a":1}\n'
    ),
    "categories without an end": lambda text: text.partition("pandas_categorical")[0] + "pandas_categorical:[[1,\n",
    "nothing": lambda text: "",
}
LISTED: dict[str, Callable[[str], str]] = {
    "bounds beyond the words": token("cat_boundaries", -1, "100000"),
    "bounds below zero": token("cat_boundaries", 0, "-3"),
    "no bounds": line("cat_boundaries", ""),
    "no words": line("cat_threshold", ""),
    "a word beyond 32 bits": token("cat_threshold", 0, "4294967296"),
    "a word below zero": token("cat_threshold", 0, "-1"),
    "fewer of them": line("num_cat", "0"),
}


@pytest.mark.parametrize("name", sorted(LIGHTGBM))
def test_crafted_text_is_refused(name: str) -> None:
    _crafted("an array", LIGHTGBM[name])


@pytest.mark.parametrize("name", sorted(LISTED))
def test_crafted_categories_of_a_text_are_refused(name: str) -> None:
    _crafted("a number", LISTED[name])


def _crafted(name: str, change: Callable[[str], str]) -> None:
    document = sound("lightgbm", name)
    before = document["booster"]
    document["booster"] = change(before)
    assert document["booster"] != before
    for ask in (kept.judge, kept.read):
        with pytest.raises(BundleInvalid):
            ask(json.dumps(document).encode())


def test_sizes_in_a_text_are_not_believed() -> None:
    """LightGBM itself ends the process when they are wrong."""
    document = sound("lightgbm", "an array")
    document["booster"] = line("tree_sizes", "1 99999999999 -5 3 4")(document["booster"])
    loaded = kept.read(json.dumps(document).encode())
    original, rows = samples.fitted("lightgbm", "an array")
    assert np.array_equal(loaded.predict(rows), original.predict(rows))


@pytest.mark.parametrize(
    "change",
    [
        put(itself, "labels", value=None),
        put(itself, "labels", "values", value=["no"]),
        put(itself, "labels", "values", value=["no", 1]),
        put(itself, "labels", "values", value=["no", "yes", "perhaps"]),
        put(itself, "labels", "kind", value="U99999"),
        put(itself, "labels", "kind", value="O"),
        put(itself, "labels", "kind", value="M8[ns]"),
        put(itself, "attributes", "_n_classes", value=7),
        put(itself, "attributes", "_n_features", value=7),
        put(itself, "attributes", "_best_iteration", value=-3),
    ],
)
def test_crafted_classes_are_refused(change: Callable[[Document], None]) -> None:
    _refused("lightgbm", "texts with categories", change)


def test_deep_and_long_files_are_refused_quickly() -> None:
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b'{"format":1' + b"0" * 5000 + b"}"):
        with pytest.raises(BundleInvalid):
            kept.read(data)


def test_a_crafted_booster_inside_a_scikit_learn_model_is_refused() -> None:
    """Before anything is made of the file."""
    document = sound("xgboost", "a number")
    XGBOOST["a cycle"](document)
    place = held.Held(json.dumps(document).encode())
    whole = samples.fitted("mixed", "several outputs")[0]
    hostile = type(whole)(estimator=None)
    hostile.__dict__.update(vars(whole) | {"estimators_": [place], "estimator": None})
    import skops.io

    with pytest.raises(BundleInvalid, match="cannot be"):
        SklearnRuntime().load(skops.io.dumps(hostile), types=())


@pytest.mark.parametrize("content", [{"document": "text"}, {"document": b"{}", "more": 1}, {}, {"document": None}])
def test_a_place_of_another_form_is_refused(content: dict[str, Any]) -> None:
    import skops.io

    place = held.Held(b"{}")
    place.__dict__.clear()
    place.__dict__.update(content)
    with pytest.raises((BundleInvalid, ModelRefused)):
        SklearnRuntime().load(skops.io.dumps([place]))


ODD: st.SearchStrategy[Any] = (
    st.sampled_from(
        [-1, 0, 1, 2, 3, 2**31 - 1, 2**31, -(2**31), 2**63, 0.5, -1e300, 1e300, "", "1", "-1", None, [], {}]
    )
    | st.integers(-10, 10)
    | st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.sampled_from(
    ["-1", "0", "1", "2", "3", "7", "11", "2147483647", "-2147483648", "1e300", "nan", "inf", "", "x"]
)


def test_whatever_passes_is_loaded_or_refused_and_ends_no_process(tmp_path: Path) -> None:
    """Fields flipped at random: what the checks let through is loaded and asked in one process, which has to live."""
    passed: list[bytes] = []

    def keep(document: Document) -> None:
        data = json.dumps(document).encode()
        try:
            kept.judge(data)
        except FullcircleError:
            return
        passed.append(data)

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def flipped(data: st.DataObject) -> None:
        for name in ("two classes with categories", "several classes"):
            document = sound("xgboost", name)
            for _ in range(data.draw(st.integers(1, 2))):
                part: Any = document["booster"]
                while True:
                    keys = sorted(part) if isinstance(part, dict) else list(range(len(part)))
                    key = data.draw(st.sampled_from(keys))
                    if isinstance(part[key], dict | list) and part[key]:
                        part = part[key]
                    else:
                        part[key] = data.draw(ODD)
                        break
            keep(document)
        document = sound("lightgbm", "a number")
        lines = document["booster"].split("\n")
        at = data.draw(st.sampled_from([place for place, each in enumerate(lines) if "=" in each]))
        head, _, values = lines[at].partition("=")
        tokens = values.split(" ")
        tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(WORDS)
        lines[at] = f"{head}={' '.join(tokens)}"
        document["booster"] = "\n".join(lines)
        keep(document)

    flipped()
    assert len(passed) > 10
    for place, data in enumerate(passed):
        (tmp_path / f"{place}.json").write_bytes(data)
    done = subprocess.run([sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answered, refused = map(int, done.stdout.split()[-2:])
    assert answered + refused == len(passed)
    assert answered > refused


_CHILD = """
import sys
from pathlib import Path
import numpy as np
from fullcircle.errors import FullcircleError
from fullcircle.runtimes.boosters import kept
answered = refused = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        model = kept.nameless(kept.read(path.read_bytes()))
        rows = np.random.default_rng(0).normal(size=(50, model.n_features_in_)) * 3
        rows[::7] = np.nan
        np.asarray(model.predict(np.round(np.abs(rows))))
        answered += 1
    except (FullcircleError, ValueError) as error:
        refused += 1
print(answered, refused)
"""
