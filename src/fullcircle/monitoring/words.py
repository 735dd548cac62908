"""What moved, in plain words, from counts alone."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.stats import unit_shifts
from fullcircle.stats.bins import as_numbers
from fullcircle.types.contract import STATUSES
from fullcircle.types.monitoring import FeatureProfile

Shares = NDArray[np.float64]


def what_moved(feature: FeatureProfile, counts: Sequence[int]) -> str:
    """One sentence on the largest difference in shares between the window and the reference.

    The largest over: missing values, categories, and (for numbers) the values above one of the bins' edges.
    """
    now, before = shares(counts), shares(feature.counts)
    if now is None or before is None:
        return f"{feature.name}: there is nothing to compare"
    candidates = [("missing", now[-1], before[-1])]
    if feature.kind == "number":
        candidates += _above(feature, now, before)
    else:
        named = zip(feature.categories, now[:-2], before[:-2], strict=True)
        # What became of the rows is told in words of ours, a category of the data as it was written there.
        word = str if feature.categories == STATUSES else repr
        candidates += [(word(category), share, was) for category, share, was in named]
        what = "of a category never seen in the reference" if feature.categories else "present"
        candidates.append((what, now[-2], before[-2]))
    # Rounded, so that of two equal differences the growth is told.
    what, share, was = max(candidates, key=lambda found: (round(abs(found[1] - found[2]), 9), found[1] - found[2]))
    return f"{feature.name}: {percent(share)} of the rows are {what}, against {percent(was)} in the reference"


def guess(feature: FeatureProfile, values: Iterable[Any]) -> str:
    """What may have happened to a column, from raw values of the window (n,): "bmi looks multiplied by 10"; else "".

    Of numbers a mistake of units (``stats.unit_shifts``); of categories a spelling that differs from a known one in
    case, blanks or form of Unicode only. It is a guess from the look of the values, not a test.
    """
    listed = list(values)
    return _unit(feature, listed) if feature.kind == "number" else _spelling(feature, listed)


def _unit(feature: FeatureProfile, values: ArrayLike) -> str:
    found = unit_shifts.find(feature.quantiles, as_numbers(values))
    if not found:
        return ""
    best, *others = found
    part = "" if best.share == 1.0 else f"{percent(best.share)} of the rows of "
    alike = "".join(f", or {each.mistake.text}" for each in others)
    verb = "look" if part else "looks"
    return f"{part}{feature.name} {verb} {best.mistake.text}{alike}{' (these fit alike)' if others else ''}"


def _spelling(feature: FeatureProfile, values: Sequence[Any]) -> str:
    known: dict[str, list[str]] = {}
    for category in feature.categories:
        known.setdefault(_folded(category), []).append(category)
    strange = Counter(each for each in values if isinstance(each, str) and each not in feature.categories)
    told = []
    for text, _ in sorted(strange.items(), key=lambda item: (-item[1], item[0])):
        alike = known.get(_folded(text), [])
        if len(alike) == 1:
            told.append(f"{text!r} looks like {alike[0]!r} {_unlike(text, alike[0])}")
    more = f", and {len(told) - 3} more" if len(told) > 3 else ""
    return f"{feature.name}: {', '.join(told[:3])}{more}" if told else ""


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _unlike(text: str, known: str) -> str:
    if text.casefold() == known.casefold():
        return "in other case"
    if "".join(text.split()) == "".join(known.split()):
        return "with other blanks"
    return "with other case, blanks or characters"


def shares(counts: Sequence[int]) -> Shares | None:
    """Counts as shares of their total, None where nothing was counted."""
    array = np.asarray(counts, dtype=float)
    total = float(array.sum())
    return array / total if total > 0 else None


def percent(share: float) -> str:
    """A share as a person reads it: never 0 % or 100 % when it is not."""
    if 0.0 < share < 0.01 or 0.99 < share < 1.0:
        return f"{100 * share:.2g} %" if share < 0.5 else f"{100 * share:.4g} %"
    return f"{100 * share:.0f} %"


def bin_names(feature: FeatureProfile) -> tuple[str, ...]:
    """A name for each of the K + 2 bins."""
    if feature.kind == "category":
        return (*feature.categories, "other", "missing")
    if not feature.edges:
        return ("any", "other", "missing")
    edges, first = _edge_texts(feature), "below" if _guarded(feature) else "up to"
    between = [low if low == high else f"{low} to {high}" for low, high in pairwise(edges)]
    return (f"{first} {edges[0]}", *between, f"above {edges[-1]}", "other", "missing")


def _guarded(feature: FeatureProfile) -> bool:
    """Whether the lowest edge lies just below the smallest reference value, to keep smaller values apart."""
    return feature.low is not None and bool(feature.edges) and feature.edges[0] < feature.low


def _edge_texts(feature: FeatureProfile) -> list[str]:
    edges = list(feature.edges)
    if _guarded(feature) and feature.low is not None:
        edges[0] = feature.low
    return [f"{edge:.6g}" for edge in edges]


def _above(feature: FeatureProfile, now: Shares, before: Shares) -> list[tuple[str, float, float]]:
    """For each edge: the share of rows above it, or up to it, whichever grew."""
    found = []
    for place, edge in enumerate(_edge_texts(feature)):
        just_below = place == 0 and _guarded(feature)
        above, was_above = float(now[place + 1 : -2].sum()), float(before[place + 1 : -2].sum())
        up_to, was_up_to = float(now[: place + 1].sum()), float(before[: place + 1].sum())
        if above - was_above >= up_to - was_up_to:
            found.append((f"{'at least' if just_below else 'above'} {edge}", above, was_above))
        else:
            found.append((f"{'below' if just_below else 'at most'} {edge}", up_to, was_up_to))
    return found
