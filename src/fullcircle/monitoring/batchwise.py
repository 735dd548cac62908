"""How the rows of a reference hang together in time: its columns counted batch by batch, for ``stats.dependence``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullcircle.stats import bins, dependence
from fullcircle.types.monitoring import Dependence, FeatureProfile

WEEKS = 8
"""Weeks of batches that the reference has to hold before dependence is learned from it."""
_MONDAY = 4 * 86_400_000_000  # microseconds since 1970 began on a Thursday
Integers = NDArray[np.int64]


class Valued(NamedTuple):
    """A column with the values (n,) that it was counted from, and the rows of the reference that these are of."""

    feature: FeatureProfile
    values: Any
    rows: Sequence[int]


def dependence_of(columns: Sequence[Valued], times: Any, seconds: float) -> Dependence | None:
    """The dependence of the columns in batches of ``seconds``; None with fewer than 8 weeks or 56 batches.

    ``times`` has one entry for each row of the reference, whatever pandas reads as times, in UTC where it has no
    zone. A row without a time, or with one that cannot be read, is left out.
    """
    import pandas as pd

    moments = pd.Series(pd.to_datetime(pd.Series(list(times)), utc=True, errors="coerce"))
    known = moments.notna().to_numpy()
    micros = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    number = np.where(known, (micros - _MONDAY) // max(1, round(seconds * 1e6)), 0)
    held = np.unique(number[known])
    if not dependence.enough(held, seconds, WEEKS):
        return None
    held = held[held > held[-1] - dependence.MOST_BATCHES]
    place = np.where(known & (number >= held[0]), np.searchsorted(held, number), -1)
    return dependence.learn(_counted(columns, place, len(held)), held, seconds)


def _counted(columns: Sequence[Valued], place: Integers, batches: int) -> Iterator[dependence.Counted]:
    for column in columns:
        of = place[np.asarray(column.rows, dtype=np.int64)]
        cells, width = cells_of(column.feature, column.values), len(column.feature.counts)
        used = of >= 0
        counts = np.bincount(of[used] * width + cells[used], minlength=batches * width).reshape(batches, width)
        yield dependence.Counted(column.feature.name, column.feature.kind == "number", counts)


def cells_of(feature: FeatureProfile, values: Any) -> Integers:
    """Which of the K + 2 cells each value (n,) is counted in."""
    last = len(feature.counts) - 1
    if feature.kind == "number":
        numbers = bins.as_numbers(values)
        found = np.searchsorted(np.array(feature.edges), numbers, side="left")
        return np.where(np.isnan(numbers), last, found).astype(np.int64)
    known = dict[tuple[type, Any], int]()
    cells = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        key = (type(value), value)
        if key not in known:
            known[key] = int(bins.count_categories([value], feature.categories).argmax())
        cells[row] = known[key]
    return cells
