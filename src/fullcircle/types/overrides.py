"""What a person may say about an input column, in ``fc.Inputs`` or in the contract file: keys and their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fullcircle.types.contract import HOWS, KINDS, POLICIES

POLICY_KEYS = ("missing", "unseen", "outside", "wrong_type")
UNKNOWN = ("reject", "flag", "fallback")
FAILED = ("reject", "fallback")
KEYS = (
    "label",
    "unit",
    "type",
    "private",
    "hashed",
    "nullable",
    "low",
    "high",
    "usual_low",
    "usual_high",
    "categories",
    "fill",
    "how",
    *POLICY_KEYS,
)
"""Every key, in the order in which they are written."""


def unfit(key: str, value: object) -> str:
    """What is allowed for ``key``, where ``value`` is not; "" where it fits."""
    match key:
        case "label" | "unit":
            return "" if isinstance(value, str) else "text"
        case "private" | "hashed" | "nullable":
            return "" if isinstance(value, bool) else "true or false"
        case "low" | "high":
            return "" if value is None or _is_number(value) else "a finite number, or None to lift the limit"
        case "usual_low" | "usual_high":
            return "" if _is_number(value) else "a finite number"
        case "categories":
            return "" if _are_categories(value) else "a list of different texts, at least one"
        case "fill":
            fits = isinstance(value, str | bool) or _is_number(value)
            return "" if fits else "text, a finite number, true or false"
    words: Mapping[str, tuple[str, ...]] = {"type": KINDS, "how": HOWS, **dict.fromkeys(POLICY_KEYS, POLICIES)}
    return "" if value in words[key] else ", ".join(words[key])


def contradiction(given: Mapping[str, Any]) -> tuple[str, str]:
    """Two things said about one column that cannot both be: the key and what is allowed; "" and "" where all fits."""
    if given.get("hashed") and given.get("private") is False:
        return "hashed", "only with private, because a hashed column is a private one"
    how = given.get("how", "constant")
    if "fill" in given and how != "constant":
        return "fill", f'no fill beside how "{how}": a fill that is given is a constant'
    if "fill" not in given and given.get("how") == "constant":
        return "how", 'a fill beside how "constant"'
    return "", ""


def policy_for_unknown(value: object) -> str:
    """What is allowed for a column that the contract does not know, where ``value`` is not; "" where it fits."""
    if value == "impute":
        return f"{', '.join(UNKNOWN)}; there is nothing to impute in a column that the model does not have"
    return "" if value in UNKNOWN else ", ".join(UNKNOWN)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _are_categories(value: object) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(one, str) for one in value) and len(set(value)) == len(value)
