"""How well columns foretell a protected one: leaving it out of a model hides it only where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from fullcircle.evaluation import groups, metrics
from fullcircle.evaluation.check import Array, Frame
from fullcircle.evaluation.metrics import Answers, Estimate

MOST_ROWS = 5000
SMALLEST_GROUP = 20
# Rarer groups than these are left out: each needs trees of its own.
_MOST_GROUPS = 8
_FOLDS = 2
# Trees of a fold, over all groups: each group needs its own in every round.
_TREES = 80
_MOST_COLUMNS = 200


def foretold(inputs: Frame, grouped: groups.Groups, *, seed: int) -> Estimate:
    """The area under the ROC curve with which ``inputs`` (n rows) tell the groups, each against all others, averaged.

    0.5 is not at all, 1 fully. Gradient-boosted trees answer for rows that they did not learn from (2 folds), on a
    sample of at most 5,000 rows. Groups under 20 rows of it, and all but the 8 largest, are left out.
    """
    rows, codes, note = _sample(grouped, np.random.default_rng(seed))
    count = int(codes.max(initial=-1)) + 1
    columns = list(inputs.columns)[:_MOST_COLUMNS]
    if not columns:
        return Estimate(None, method="there is no other feature")
    if count < 2:
        return Estimate(None, method=f"fewer than two groups have {SMALLEST_GROUP} rows")
    shares = _out_of_fold(_numbers(inputs[columns].iloc[rows]), codes, count, seed)
    answers = Answers(codes, shares.argmax(axis=1), shares, count, count)
    found = metrics.estimate(metrics.find("roc_auc", "classification"), answers, seed=seed)
    method = f"boosted trees, {_FOLDS} folds, {note}, each group against the others; {found.method}"
    return Estimate(found.value, found.low, found.high, method, found.error)


def _sample(grouped: groups.Groups, generator: np.random.Generator) -> tuple[Array, Array, str]:
    """Positions of the rows looked at, their groups counted from 0, and how many they are in words."""
    codes, names = grouped
    rows = np.arange(len(codes))
    if len(codes) > MOST_ROWS:
        rows = np.sort(generator.choice(len(codes), MOST_ROWS, replace=False))
    sizes = np.bincount(codes[rows], minlength=len(names))
    largest = np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]
    kept = np.sort(largest[sizes[largest] >= SMALLEST_GROUP])
    rows = rows[np.isin(codes[rows], kept)]
    return rows, np.searchsorted(kept, codes[rows]), f"{len(rows)} rows of {len(kept)} groups"


def _out_of_fold(features: Array, codes: Array, count: int, seed: int) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    shares = np.zeros((len(codes), count))
    for learned, asked in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(features, codes):
        model = HistGradientBoostingClassifier(
            max_iter=_TREES // count, learning_rate=0.2, max_leaf_nodes=15, early_stopping=False, random_state=seed
        )
        model.fit(features[learned], codes[learned])
        shares[asked] = model.predict_proba(features[asked])
    return shares


def _numbers(frame: Frame) -> Array:
    """Every column as numbers: text as positions of its values, times as their count, missing below all others."""
    return np.column_stack([_filled(_number(frame[column])) for column in dict.fromkeys(frame.columns)])


def _filled(values: Array) -> Array:
    # Trees can split off a number of its own, and need no column that has any other.
    known = np.isfinite(values)
    lowest = float(values[known].min()) if known.any() else 0.0
    return np.where(known, values, lowest - max(1.0, abs(lowest)))


def _number(column: Any) -> Array:
    import pandas as pd
    from pandas.api import types

    if types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype):
        return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return np.where(column.isna().to_numpy(), np.nan, column.astype("int64").to_numpy(dtype=float))
    # Values of text as positions; lists and the like by what they look like.
    codes, _ = pd.factorize(column.astype(str).where(column.notna().to_numpy()), sort=True)
    return np.where(codes < 0, np.nan, codes.astype(float))
