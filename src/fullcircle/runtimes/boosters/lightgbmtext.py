"""LightGBM's text of a booster, parsed strictly and written anew.

LightGBM's own parser trusts counts, sizes and indices (CVE-2024-43598: a heap overflow by a model file), so it never
sees a text from outside: only what is written here of the checked values, in one order, with sizes of our own. The
lists of parameters and importances at the end of a file are left out: no prediction reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fullcircle.runtimes.boosters import sound
from fullcircle.runtimes.boosters.sound import Array, Unsound, require

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,40})?(?:e[+-]?[0-9]{1,3})?")
_ODD = frozenset({"inf", "-inf", "nan", "-nan"})
_WHOLE = re.compile(r"-?[0-9]{1,10}")
_INFO = re.compile(rf"none|\[{_NUMBER.pattern}:{_NUMBER.pattern}\]|-?[0-9]{{1,10}}(?::-?[0-9]{{1,10}})*")
_NAME = re.compile(r"[^\s=\x00-\x1f]{1,1000}")
_OBJECTIVE = re.compile(
    r"(?:regression|regression_l1|huber|fair|poisson|quantile|mape|gamma|tweedie|cross_entropy|cross_entropy_lambda)"
    r"(?: sqrt)?"
    rf"|binary sigmoid:(?P<sigmoid>{_NUMBER.pattern})"
    r"|multiclass num_class:(?P<classes>[0-9]{1,5})"
    rf"|multiclassova num_class:(?P<one_class>[0-9]{{1,5}}) sigmoid:(?P<one_sigmoid>{_NUMBER.pattern})"
)
_HEAD = ("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx")
_PER_SPLIT = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_SPLIT_NOTES = ("internal_value", "internal_weight", "internal_count")
_LEAF_NOTES = ("leaf_weight", "leaf_count")
_TREE = frozenset(
    {
        *("num_leaves", "num_cat", "leaf_value", "cat_boundaries", "cat_threshold", "is_linear", "shrinkage"),
        *_PER_SPLIT,
        *_SPLIT_NOTES,
        *_LEAF_NOTES,
    }
)
_VERSIONS = ("v3", "v4")


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text that was found sound: the booster's own part of it, and which categories a frame's columns had."""

    booster: str = field(repr=False)
    categories: tuple[tuple[str | int | float | bool, ...], ...] | None
    features: int
    classes: int
    objective: str

    def written(self) -> str:
        """The whole text: the same model gives the same text."""
        known = None if self.categories is None else [list(one) for one in self.categories]
        return f"{self.booster}\npandas_categorical:{json.dumps(known)}\n"


def checked(text: str) -> Text:
    """Read a text and judge all of it. Raises Unsound."""
    require(len(text) <= sound.MOST_BYTES, "its size")
    body, marker, rest = text.partition("\nend of trees\n")
    require(bool(marker), "the end of its trees")
    head, *trees = body.split("\nTree=")
    facts = _header(head)
    features, classes = int(facts["max_feature_idx"]) + 1, int(facts["num_class"])
    require(len(trees) <= sound.MOST_TREES and len(trees) % classes == 0, "the number of its trees")
    parts = [_tree(place, tree, features) for place, tree in enumerate(trees)]
    sizes = " ".join(str(len(part.encode())) for part in parts)
    head = "\n".join([*_written_head(facts), f"tree_sizes={sizes}", "", ""])
    return Text(
        booster=f"{head}{''.join(parts)}end of trees\n",
        categories=_categories(rest),
        features=features,
        classes=classes,
        objective=facts.get("objective", ""),
    )


def trees(text: Text) -> list[dict[str, str]]:
    """The lines of each tree of a checked text, by their names."""
    _, *parts = text.booster.partition("\nend of trees")[0].split("\nTree=")
    return [dict(line.split("=", 1) for line in part.split("\n")[1:] if line) for part in parts]


def _header(head: str) -> dict[str, str]:
    lines = [line for line in head.split("\n") if line]
    require(bool(lines) and lines[0] == "tree", "its first line")
    facts: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition("=")
        require(name not in facts and name in (*_HEAD, *_OPTIONAL), "a line of its head")
        facts[name] = value
    require(set(_HEAD) <= set(facts) and {"feature_names", "feature_infos"} <= set(facts), "its head")
    require(facts["version"] in _VERSIONS, "its version")
    require(facts.get("average_output", "") == "", "its head")
    _one(facts["label_index"], 0, sound.MOST_FEATURES, "its head")
    features = _one(facts["max_feature_idx"], 0, sound.MOST_FEATURES - 1, "the number of its features") + 1
    classes = _one(facts["num_class"], 1, sound.MOST_CLASSES, "the number of its classes")
    require(facts["num_tree_per_iteration"] == facts["num_class"], "the number of its classes")
    _described(facts, features)
    _objective(facts.get("objective"), classes)
    return facts


_OPTIONAL = (
    *("objective", "average_output", "feature_names", "monotone_constraints", "feature_infos", "tree_sizes"),
)


def _described(facts: Mapping[str, str], features: int) -> None:
    names = facts["feature_names"].split(" ")
    require(len(names) == features, "the names of its features")
    require(all(_NAME.fullmatch(name) for name in names), "the names of its features")
    infos = facts["feature_infos"].split(" ")
    require(len(infos) == features and all(_INFO.fullmatch(info) for info in infos), "what is known of its features")
    if "monotone_constraints" in facts:
        constraints = facts["monotone_constraints"].split(" ")
        require(len(constraints) == features and set(constraints) <= {"-1", "0", "1"}, "its constraints")


def _objective(text: str | None, classes: int) -> None:
    if text is None:
        return
    found = _OBJECTIVE.fullmatch(text)
    if found is None:
        raise Unsound(f"its objective {text[:40]!r}, which is none of regression or classification,")
    several = found["classes"] or found["one_class"]
    require((several or "1") == str(classes), "the number of its classes")
    sigmoid = found["sigmoid"] or found["one_sigmoid"]
    require(sigmoid is None or 0 < float(sigmoid) < 1e6, "its objective")


def _written_head(facts: Mapping[str, str]) -> Iterator[str]:
    yield "tree"
    for name in _HEAD:
        yield f"{name}={facts[name]}"
    if "objective" in facts:
        yield f"objective={facts['objective']}"
    if "average_output" in facts:
        yield "average_output"
    yield f"feature_names={facts['feature_names']}"
    if "monotone_constraints" in facts:
        yield f"monotone_constraints={facts['monotone_constraints']}"
    yield f"feature_infos={facts['feature_infos']}"


def _tree(place: int, text: str, features: int) -> str:
    """One tree as LightGBM writes it, from ``Tree=`` to the two empty lines after it."""
    number, *lines = [line for line in text.split("\n") if line]
    require(number == str(place), "the order of its trees")
    linear = any(line.startswith("is_linear=") and line != "is_linear=0" for line in lines)
    require(not linear, "a tree with linear models in its leaves, which is not supported,")
    facts: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        require(bool(equals) and name in _TREE and name not in facts, f"a line of a tree ({name[:40]})")
        facts[name] = value
    needed = ("num_leaves", "num_cat", "leaf_value", "shrinkage")
    require(all(name in facts for name in needed), "the lines of a tree")
    leaves = _one(facts["num_leaves"], 1, sound.MOST_NODES, "the number of a tree's leaves")
    splits = leaves - 1
    written = {name: facts[name] for name in ("num_leaves", "num_cat")}
    for name in _PER_SPLIT:
        written[name] = " ".join(_tokens(facts.get(name, ""), splits, f"{name} of a tree"))
    left, right = (_whole(written[name], -leaves, splits - 1, "a tree's branches") for name in _PER_SPLIT[-2:])
    _branches(left, right, splits)
    _whole(written["split_feature"], 0, features - 1, "the features of a tree")
    kinds = _whole(written["decision_type"], 0, 11, "the splits of a tree")
    _real(written["threshold"].split(), "the thresholds of a tree")
    _real(written["split_gain"].split(), "the gains of a tree", odd=True)
    written["leaf_value"] = " ".join(
        _real(_tokens(facts["leaf_value"], leaves, "a tree's leaves"), "a tree's leaves")
    )
    for name, count in (*((name, leaves) for name in _LEAF_NOTES), *((name, splits) for name in _SPLIT_NOTES)):
        tokens = facts.get(name, "").split()
        require(len(tokens) in (0, count), f"{name} of a tree")
        written[name] = " ".join(_real(tokens, f"{name} of a tree", odd=True))
    written |= _split_categories(facts, written["threshold"].split(), (kinds & 1) == 1)
    written |= {"is_linear": "0", "shrinkage": _real([facts["shrinkage"]], "a tree's shrinkage")[0]}
    return "\n".join([f"Tree={place}", *(f"{name}={written[name]}" for name in _ORDER if name in written), "\n\n"])


_ORDER = (
    *("num_leaves", "num_cat", *_PER_SPLIT, "leaf_value", *_LEAF_NOTES, *_SPLIT_NOTES),
    *("cat_boundaries", "cat_threshold", "is_linear", "shrinkage"),
)


def _branches(left: Array, right: Array, splits: int) -> None:
    """Splits and leaves as nodes of one tree: leaf l, which LightGBM writes as -1 - l, comes after all splits."""
    ends = np.full(splits + 1, -1, dtype=np.int64)
    both = [np.concatenate((np.where(child >= 0, child, splits - 1 - child), ends)) for child in (left, right)]
    require(bool(sound.reached(both[0], both[1]).all()), "a tree's branches")


def _split_categories(facts: Mapping[str, str], thresholds: Sequence[str], listed: Array) -> dict[str, str]:
    """The bits of a tree's splits by category. The threshold of such a split is its place among them."""
    what = "the categories of a tree"
    count = _one(facts["num_cat"], 0, max(0, len(thresholds)), what)
    places = [_one(text, 0, count - 1, what) for text, by in zip(thresholds, listed.tolist(), strict=True) if by]
    require(len(places) == count and len(set(places)) == count, what)
    if not count:
        require("cat_boundaries" not in facts and "cat_threshold" not in facts, what)
        return {}
    words = facts.get("cat_threshold", "").split()
    require(len(words) <= sound.MOST_WORDS, what)
    bounds = _whole(" ".join(_tokens(facts.get("cat_boundaries", ""), count + 1, what)), 0, len(words), what)
    require(bounds[0] == 0 and bounds[-1] == len(words) and bool((np.diff(bounds) > 0).all()), what)
    for word in words:
        _one(word, 0, 2**32 - 1, what)
    return {"cat_boundaries": " ".join(map(str, bounds.tolist())), "cat_threshold": " ".join(words)}


def _categories(rest: str) -> tuple[tuple[Any, ...], ...] | None:
    """The last line of a text: a list of categories for each column of categories, or null."""
    what = "the categories of its columns"
    lines = [line for line in rest.split("\n") if line.startswith("pandas_categorical:")]
    require(len(lines) <= 1, what)
    try:
        found = json.loads(lines[0].partition(":")[2]) if lines else None
    except (ValueError, RecursionError) as error:
        raise Unsound(what) from error
    if found is None:
        return None
    for one in sound.sequence(found, sound.MOST_FEATURES, what):
        values = sound.sequence(one, sound.MOST_CATEGORIES, what)
        require(set(map(type, values)) <= {str, int, float, bool}, what)
        require(all(abs(value) < np.inf for value in values if isinstance(value, float)), what)
    return tuple(tuple(one) for one in found)


def _tokens(text: str, count: int, what: str) -> list[str]:
    found = text.split()
    require(len(found) == count, what)
    return found


def _whole(text: str, low: int, high: int, what: str) -> Array:
    found = text.split()
    require(all(map(_WHOLE.fullmatch, found)), what)
    values = np.array(list(map(int, found)), dtype=np.int64)
    require(not len(values) or (int(values.min()) >= low and int(values.max()) <= high), what)
    return values


def _one(text: str, low: int, high: int, what: str) -> int:
    if _WHOLE.fullmatch(text) is None or not low <= int(text) <= high:
        raise Unsound(what)
    return int(text)


def _real(found: Sequence[str], what: str, *, odd: bool = False) -> list[str]:
    """Numbers that are finite; ``odd`` for what only people read."""
    for text in found:
        if _NUMBER.fullmatch(text) is None or text.lstrip("-")[:1] == "":
            require(odd and text in _ODD, what)
        else:
            require(odd or abs(float(text)) < np.inf, what)
    return list(found)
