"""What a person may say of a column: the keys, their values, and what cannot both be."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from fullcircle.types import overrides
from fullcircle.types.contract import HOWS, KINDS, POLICIES, Column, Contract

FITS: dict[str, list[Any]] = {
    "label": ["", "Age"],
    "unit": ["years"],
    "type": list(KINDS),
    "private": [True, False],
    "hashed": [True],
    "nullable": [False],
    "low": [None, 0, -1.5, 2**62],
    "high": [None, 7],
    "usual_low": [0],
    "usual_high": [0.5],
    "categories": [["a"], ("a", "b"), [""]],
    "fill": ["", 3, 2.5, False],
    "how": list(HOWS),
    **{key: list(POLICIES) for key in overrides.POLICY_KEYS},
}
WRONG: dict[str, list[Any]] = {
    "label": [None, 3],
    "unit": [["years"]],
    "type": ["float", "", None],
    "private": [0, "yes"],
    "hashed": [None],
    "nullable": [1],
    "low": [True, math.inf, math.nan, "0", 10**400],
    "high": [-math.inf, []],
    "usual_low": [None, False],
    "usual_high": [math.inf],
    "categories": [[], ["a", "a"], [1], "ab", {"a": 1}, None],
    "fill": [None, math.nan, ["a"], 10**400],
    "how": ["", "mode"],
    **{key: ["", "drop", None] for key in overrides.POLICY_KEYS},
}


@pytest.mark.parametrize("key", overrides.KEYS)
def test_each_key_takes_its_values_and_tells_what_it_takes(key: str) -> None:
    assert [overrides.unfit(key, value) for value in FITS[key]] == [""] * len(FITS[key])
    assert all(overrides.unfit(key, value) for value in WRONG[key])


@pytest.mark.parametrize(
    ("given_", "key"),
    [
        ({}, ""),
        ({"fill": 3}, ""),
        ({"fill": 3, "how": "constant"}, ""),
        ({"how": "mean"}, ""),
        ({"hashed": True}, ""),
        ({"hashed": True, "private": True}, ""),
        ({"hashed": False, "private": False}, ""),
        ({"hashed": True, "private": False}, "hashed"),
        ({"fill": 3, "how": "mean"}, "fill"),
        ({"how": "constant"}, "how"),
    ],
)
def test_what_cannot_both_be_is_told(given_: dict[str, Any], key: str) -> None:
    found, allowed = overrides.contradiction(given_)
    assert found == key
    assert bool(allowed) == bool(key)


def test_an_unknown_column_has_no_fill() -> None:
    assert [overrides.policy_for_unknown(policy) for policy in ("reject", "flag", "fallback")] == ["", "", ""]
    assert "nothing to impute" in overrides.policy_for_unknown("impute")
    assert overrides.policy_for_unknown("drop") == "reject, flag, fallback"
    assert overrides.policy_for_unknown(None)


def test_a_contract_from_before_these_fields_is_read() -> None:
    old = b'{"columns":[{"name":"x","kind":"number","private":true}],"label":"y","task":"regression"}'
    found = msgspec.json.decode(old, type=Contract)
    (column,) = found.columns
    assert (column.how, column.hashed, column.private) == ("", False, True)
    assert (found.unknown, found.label_name, found.label_shown) == ("reject", "", "y")


def test_hashed_implies_private_also_when_it_is_read() -> None:
    read = msgspec.json.decode(b'{"name":"x","kind":"text","hashed":true,"private":false}', type=Column)
    assert read.private
    assert msgspec.json.decode(msgspec.json.encode(read), type=Column) == read


@pytest.mark.parametrize(
    ("name", "unit", "shown"), [("", "", "y"), ("cost", "", "cost"), ("cost", "EUR", "EUR"), ("", "EUR", "EUR")]
)
def test_a_figure_of_the_label_is_followed_by_its_unit_or_its_name(name: str, unit: str, shown: str) -> None:
    terms = Contract(columns=(), label="y", task="regression", label_name=name, label_unit=unit)
    assert terms.label_shown == shown
