"""The checks themselves: what a tree is, what a text is, and that writing changes nothing."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import booster_samples as samples
from fullcircle.errors import ModelRefused
from fullcircle.runtimes.boosters import document, lightgbmtext, sound, xgboostjson
from fullcircle.runtimes.boosters.sound import Unsound


@st.composite
def grown(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """A tree grown by splitting leaves in any order, with its children's places drawn at random."""
    splits = draw(st.integers(0, 12))
    left, right, leaves = [-1], [-1], [0]
    for _ in range(splits):
        node = leaves.pop(draw(st.integers(0, len(leaves) - 1)))
        left[node], right[node] = len(left), len(left) + 1
        leaves += [len(left), len(left) + 1]
        left += [-1, -1]
        right += [-1, -1]
    order = [0, *draw(st.permutations(range(1, len(left))))]
    place = {old: new for new, old in enumerate(order)}
    moved = [[-1 if side[old] < 0 else place[side[old]] for old in order] for side in (left, right)]
    return moved[0], moved[1]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(grown())
def test_every_tree_is_a_tree(tree: tuple[list[int], list[int]]) -> None:
    assert sound.reached(np.array(tree[0]), np.array(tree[1])).all()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(grown(), st.data())
def test_what_is_taken_for_a_tree_can_be_walked(tree: tuple[list[int], list[int]], data: st.DataObject) -> None:
    """One child is put anywhere: what passes has each node reached once from the root, by a plain walk."""
    left, right = list(tree[0]), list(tree[1])
    side = data.draw(st.sampled_from([left, right]))
    side[data.draw(st.integers(0, len(side) - 1))] = data.draw(st.integers(-1, len(side) + 1))
    try:
        found = sound.reached(np.array(left), np.array(right))
    except Unsound:
        return
    seen: list[int] = []
    waiting = [0]
    while waiting:
        node = waiting.pop()
        seen.append(node)
        assert len(seen) <= len(left)
        if left[node] >= 0:
            waiting += [left[node], right[node]]
    assert sorted(seen) == np.flatnonzero(found).tolist()
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([], []),
        ([1, -1], [-1, -1]),
        ([1, -1], [1, -1]),
        ([0], [0]),
        ([1, 0, -1], [2, 2, -1]),
        ([1, -1, 1], [2, -1, 1]),
    ],
)
def test_what_is_no_tree(left: list[int], right: list[int]) -> None:
    with pytest.raises(Unsound):
        sound.reached(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))


@pytest.mark.parametrize("value", [None, 1, "12", {}, [1.0], [True], ["1"], [1, 2, 3], [1, 9], [-1, 0], [2**70, 1]])
def test_integers_are_integers_of_their_range_and_number(value: Any) -> None:
    with pytest.raises(Unsound, match="this"):
        sound.integers(value, 2, 0, 8, "this")


@pytest.mark.parametrize(
    "value", [None, [1.0], [1.0, True], [1.0, None], [1.0, math.inf], [1.0, math.nan], [1, 10**400]]
)
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(Unsound, match="this"):
        sound.numbers(value, 2, "this")
    assert sound.numbers([1, 0.5], 2, "this").tolist() == [1.0, 0.5]


@pytest.mark.parametrize("name", sorted(samples.XGBOOST))
def test_json_that_was_checked_is_what_it_was(name: str) -> None:
    """Number by number: XGBoost's own text, and ours of it."""
    text = bytes(samples.fitted("xgboost", name)[0].get_booster().save_raw("json"))
    found = xgboostjson.checked(msgspec.json.decode(text))
    assert found == msgspec.json.decode(text)
    assert xgboostjson.checked(msgspec.json.decode(xgboostjson.encoded(found))) == found


@pytest.mark.parametrize("name", sorted(samples.LIGHTGBM))
def test_a_text_that_was_checked_is_what_it_was(name: str) -> None:
    """Byte by byte up to the end of the trees, the sizes that are counted anew included."""
    text = samples.fitted("lightgbm", name)[0].booster_.model_to_string()
    found = lightgbmtext.checked(text)
    before = text.partition("end of trees")[0]
    assert found.booster == before + "end of trees\n"
    assert lightgbmtext.checked(found.written()) == found
    assert found.written().strip().splitlines()[-1] == text.strip().splitlines()[-1]
    trees = lightgbmtext.trees(found)
    assert len(trees) == len(re.findall("^Tree=", text, flags=re.MULTILINE))
    assert [int(tree["num_leaves"]) for tree in trees] == [int(n) for n in re.findall(r"num_leaves=(\d+)\n", before)]


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (np.array(["no", "yes"]), "U3"),
        (np.array(["no", "yes"], dtype=object), "object"),
        (np.array([0, 1, 7]), "i8"),
        (np.array([0, 1], dtype=np.uint8), "u1"),
        (np.array([False, True]), "b1"),
        (np.array([0.5, 1.0], dtype=np.float32), "f4"),
    ],
)
def test_classes_come_back_as_they_were(classes: Any, kind: str) -> None:
    kept = document.labels(classes)
    assert kept.kind == kind
    found = document.array(msgspec.json.decode(msgspec.json.encode(kept), type=document.Labels))
    assert found.dtype == classes.dtype
    assert found.tolist() == classes.tolist()


def test_classes_of_another_kind_are_refused() -> None:
    with pytest.raises(ModelRefused, match="date"):
        document.labels(np.array([np.datetime64("2020-01-01").item(), "x"], dtype=object))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, 3),
        (0.5, 0.5),
        (None, None),
        (True, True),
        ("hist", "hist"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        ([1], None),
        (len, None),
        ("a\nb", None),
        ("x" * 300, None),
        ({"a": 1}, None),
    ],
)
def test_parameters_are_plain_or_left_out(value: Any, found: Any) -> None:
    assert document.plain(value) == found
    assert type(document.plain(value)) is type(found)


def test_numbers_that_json_lacks_come_back() -> None:
    values: dict[str, document.Plain] = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1, "e": None}
    kept, odd = document.split(values)
    written = document.written(
        document.Document(format=1, library="xgboost", kind="XGBRegressor", attributes=kept, odd=odd)
    )
    found = document.opened(written).values
    assert math.isnan(float(found.pop("a") or 0))
    assert found == {"b": math.inf, "c": -math.inf, "d": 0.1, "e": None}
