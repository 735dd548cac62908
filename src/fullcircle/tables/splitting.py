"""Which rows are kept for the test."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.tables.keys import Keys, row_keys

Mask = NDArray[np.bool_]
_NONE: frozenset[int] = frozenset()


def split(
    frame: Any,
    *,
    label: str,
    task: Literal["regression", "classification"],
    time: str | None,
    share: float,
    seed: int,
    keep_training: frozenset[int] = _NONE,
) -> Mask:
    """Which rows of ``frame`` (n,) are test rows: about ``share`` of them, at least one, never all.

    With a column of time they are the latest; rows of one moment stay together. Without, they are drawn by a
    seeded hash of their content, so the order of the rows does not matter and equal rows stay
    together; for classification each class gives its share. Rows whose key (``row_keys(frame)``) is in
    ``keep_training`` never become test rows: a retrained model must not be tested on what the champion learned.

    Raises ColumnMissing, and DataUnfit where too few rows are left for either side.
    """
    for column in (label, time):
        if column is not None and column not in frame.columns:
            raise ColumnMissing(
                f"the data has no column {column!r}",
                received=", ".join(map(str, frame.columns[:20])),
                next_step="mend the name in the project file",
            )
    keys = row_keys(frame)
    kept = np.fromiter(keep_training, dtype=np.uint64, count=len(keep_training))
    eligible: Mask = ~np.isin(keys, kept)
    if time is not None:
        test = _latest(frame[time].to_numpy(), eligible, share)
    else:
        groups = _classes(frame[label]) if task == "classification" else np.zeros(len(frame), dtype=np.int64)
        test = _drawn(row_keys(frame, seed=seed), groups, eligible, share)
    if not test.any() or test.all():
        raise DataUnfit(
            "the rows cannot be split into training and test rows",
            received=f"{len(frame)} rows, {int((~eligible).sum())} of them must stay training rows",
            allowed="at least one row on either side" + (", of different times" if time is not None else ""),
            next_step="use more data, or change the share: Project(test=...)",
        )
    return test


def _latest(times: NDArray[Any], eligible: Mask, share: float) -> Mask:
    """The latest rows. The border between two moments is the one that comes closest to the share."""
    if not eligible.any():
        return eligible
    moments, sizes = np.unique(times[eligible], return_counts=True)
    later = np.cumsum(sizes[::-1])[::-1]  # how many rows are test rows if moment i is the first of the test
    wanted = max(1, round(share * len(times)))
    if eligible.all():
        moments, later = moments[1:], later[1:]  # something must be left to learn from
    if moments.size == 0:
        return np.zeros(len(times), dtype=np.bool_)
    first = moments[int(np.argmin(np.abs(later - wanted)))]
    return np.asarray(eligible & (times >= first), dtype=np.bool_)


def _classes(labels: Any) -> NDArray[np.int64]:
    import pandas as pd

    # Whether missing labels may stay is for others to say; here they are a class of their own.
    codes, _ = pd.factorize(labels.astype(object), use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64)


def _drawn(keys: Keys, groups: NDArray[np.int64], eligible: Mask, share: float) -> Mask:
    test = np.zeros(len(keys), dtype=np.bool_)
    for group in np.unique(groups):
        members = groups == group
        wanted = round(share * int(members.sum()))
        test |= np.isin(keys, _take(keys[members & eligible], wanted)) & members
    if not test.any() and eligible.any():
        test = keys == keys[eligible].min()
    return test


def _take(keys: Keys, wanted: int) -> Keys:
    """The smallest keys that together hold at most ``wanted`` rows; a key that holds too many is passed over."""
    distinct, sizes = np.unique(keys, return_counts=True)
    if sizes.size == 0 or sizes.max() == 1:
        return distinct[:wanted]
    chosen, held = [], 0
    for key, size in zip(distinct.tolist(), sizes.tolist(), strict=True):
        if held + size <= wanted:
            chosen.append(key)
            held += size
    return np.array(chosen, dtype=np.uint64)
