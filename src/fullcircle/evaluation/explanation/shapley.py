"""Shapley values: how much each value of a row moved the model's answer away from the usual one.

The answer of a coalition of columns is the mean answer over background rows whose values in these columns are the
row's own; a column's Shapley value is what it adds, averaged over the orders in which columns can join (Strumbelj &
Kononenko 2014; Lundberg & Lee 2017, interventional). Base and values of a row sum to its answer.

Up to eight columns that differ from the background are worked out exactly, more over a fixed number of random orders,
each walked forwards and back, which is exact where columns act in pairs at most. A row is explained by itself, with
the same orders for every row, so its values depend neither on the other rows nor on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fullcircle.errors import DataUnfit, MissingExtra
from fullcircle.evaluation.check import Array, Frame

Ask = Callable[[Frame], Array]
# The error of a base shrinks with the root of this number, the time of a row grows with it.
BACKGROUND = 50
ORDERS = 10
OTHERS = "(other columns)"
_EXACT = 8
# Of wide tables fewer orders are drawn, so that a row stays affordable: steps in all orders together.
_STEPS = 600
# Cells of asked frames held in memory at once.
_CELLS = 4_000_000


@dataclass(frozen=True)
class Explanation:
    """Values of n rows for m ``names``: ``base`` (n,) plus the sum of ``values`` (n x m) is ``answers`` (n,).

    In the unit of the answer, or as a probability. ``errors`` (n x m) are the standard errors left by drawing orders,
    0 where the values are exact. ``outcomes`` (n,) says which class the probability is of, as a position.
    """

    names: tuple[str, ...]
    base: Array
    values: Array
    answers: Array
    errors: Array
    outcomes: Array


def asking(
    task: Literal["regression", "classification"],
    predict: Callable[[Frame], Array] | None,
    predict_probabilities: Callable[[Frame], Array] | None,
) -> Ask | None:
    """What is explained: the answer (n,), or the probabilities of the classes (n x k). None where it is not known."""
    if task == "regression":
        return predict
    return predict_probabilities


def background(inputs: Frame, seed: int, rows: int = BACKGROUND) -> Frame:
    """The rows that others are compared with: a seeded sample, the same for the same ``inputs`` and ``seed``."""
    if len(inputs) <= rows:
        return inputs.reset_index(drop=True)
    picked = np.sort(np.random.default_rng(seed).choice(len(inputs), rows, replace=False))
    return inputs.iloc[picked].reset_index(drop=True)


def explain(
    ask: Ask,
    background: Frame,
    rows: Frame,
    *,
    seed: int = 0,
    orders: int = ORDERS,
    among: Sequence[str] | None = None,
) -> Explanation:
    """Explain every row of a frame like ``background``, of any types, by asking the model about mixtures of both.

    Where ``ask`` gives probabilities n x k, the second of two classes is explained, of more the most probable one of
    each row. ``among`` names the columns to tell apart; all others then join and leave together, as ``OTHERS``.
    ``orders`` are drawn for rows too wide to be exact, fewer for more than 60 columns, at least two.

    Raises MissingExtra without shap, DataUnfit where the frames do not fit together or the model answers with
    something that is no number.
    """
    _refuse_unfit(background, rows)
    players, names = _players(list(background.columns), among)
    drawn = _drawn(len(names), orders, seed)
    pools = _alike(background, rows)
    found = [_row(ask, pools, len(background), position, players, drawn) for position in range(len(rows))]
    return Explanation(
        names=names,
        base=np.array([each.base for each in found]),
        values=np.array([each.values for each in found]).reshape(len(rows), len(names)),
        answers=np.array([each.answer for each in found]),
        errors=np.array([each.errors for each in found]).reshape(len(rows), len(names)),
        outcomes=np.array([each.outcome for each in found], dtype=np.intp),
    )


@dataclass(frozen=True)
class _One:
    base: float
    values: Array
    answer: float
    errors: Array
    outcome: int


class _Mixing:
    """The masker of one row: positions into pools of values instead of values, so that any type can be mixed.

    Two entries of a column have the same position where the values are the same, which spares asking about them.
    """

    immutable_outputs = True

    def __init__(self, codes: Array, players: Array) -> None:
        self._row, self._background, self._players = codes[-1], codes[:-1], players
        self.shape = (len(codes) - 1, int(players.max()) + 1)
        self.cells = self._background.size
        # shap hands a row to its masker; this one knows its own, and only the number of players is read.
        self.token = np.arange(self.shape[1])

    def __call__(self, mask: Array, row: Array) -> tuple[Array]:
        return (np.where(mask[self._players], self._row, self._background),)

    def invariants(self, row: Array) -> Array:
        """Which players make no difference in which background rows."""
        same = np.ones(self.shape, dtype=bool)
        for column, player in enumerate(self._players.tolist()):
            same[:, player] &= self._background[:, column] == self._row[column]
        return same


def _row(ask: Ask, pools: Sequence[Any], size: int, position: int, players: Array, drawn: Array) -> _One:
    """One row; its values follow those of the background in every pool."""
    kept = np.r_[np.arange(size), size + position]
    pool = [(name, values.take(kept)) for name, values in pools]
    coded = [_codes(values) for _, values in pool]
    codes = np.column_stack([each for each, _ in coded])
    firsts = [(name, values.take(first)) for (name, values), (_, first) in zip(pool, coded, strict=True)]

    def decoded(asked: Array) -> Array:
        import pandas as pd

        columns = {name: values.take(asked[:, place]) for place, (name, values) in enumerate(firsts)}
        return _numbers(ask(pd.DataFrame(columns)), len(asked))

    own = decoded(codes[-1:])
    outcome = 0 if own.shape[1] == 1 else 1 if own.shape[1] == 2 else int(own[0].argmax())
    mixing = _Mixing(codes, players)
    varying = np.flatnonzero(~mixing.invariants(codes[-1]).all(axis=0))
    game = _exact if len(varying) <= _EXACT else _sampled
    return game(lambda asked: decoded(asked)[:, outcome], mixing, varying, drawn, outcome)


def _exact(ask: Ask, mixing: _Mixing, varying: Array, drawn: Array, outcome: int) -> _One:
    shap = _shap()
    count = 2 ** len(varying)
    found = shap.ExactExplainer(ask, mixing)(mixing.token[None, :], max_evals=count, batch_size=count, silent=True)
    values = np.zeros(mixing.shape[1])
    values[varying] = found.values[0][varying] if len(varying) else 0.0
    base = float(np.ravel(found.base_values)[0])
    return _One(base, values, base + float(values.sum()), np.zeros(len(values)), outcome)


def _sampled(ask: Ask, mixing: _Mixing, varying: Array, drawn: Array, outcome: int) -> _One:
    """Random orders walked both ways: shap's permutation explainer, whose own orders reseed numpy's global generator.

    The walk switches the columns of an order on one by one, then off again in the same order.
    """
    shap = _shap()
    orders = [order[np.isin(order, varying)] for order in drawn]
    flips = np.concatenate([np.r_[order, order] for order in orders])
    masks = np.zeros((len(flips) + 1, mixing.shape[1]), dtype=bool)
    for step, player in enumerate(flips.tolist()):
        masks[step + 1] = masks[step]
        masks[step + 1, player] ^= True
    game = shap.utils.MaskedModel(shap.models.Model(ask), mixing, shap.links.identity, True, mixing.token)
    batch = max(1, _CELLS // mixing.cells)
    said = np.asarray(game(masks, batch_size=batch), dtype=float)
    width = len(varying)
    values = np.zeros((len(orders), mixing.shape[1]))
    # On the way back a column leaves, so what it added is the step taken the other way round.
    steps = np.diff(said).reshape(len(orders), 2, width)
    for number, order in enumerate(orders):
        values[number, order] = (steps[number, 0] - steps[number, 1]) / 2.0
    errors = values.std(axis=0, ddof=1) / np.sqrt(len(orders))
    return _One(float(said[0]), values.mean(axis=0), float(said[width]), errors, outcome)


def _drawn(players: int, orders: int, seed: int) -> Array:
    """The orders in which players join: the same for every row."""
    if orders < 2:
        raise DataUnfit(
            "one order does not tell how sure a value is",
            received=orders,
            allowed="orders >= 2",
            next_step="ask for more orders",
        )
    generator = np.random.default_rng(seed)
    return np.array([generator.permutation(players) for _ in range(max(2, min(orders, _STEPS // players)))])


def _players(columns: Sequence[str], among: Sequence[str] | None) -> tuple[Array, tuple[str, ...]]:
    """The player that each column belongs to, and the players' names."""
    if among is None or set(columns) <= set(among):
        return np.arange(len(columns)), tuple(columns)
    apart = [name for name in columns if name in set(among)]
    place = {name: position for position, name in enumerate(apart)}
    return np.array([place.get(name, len(apart)) for name in columns]), (*apart, OTHERS)


def _alike(background: Frame, rows: Frame) -> list[tuple[str, Any]]:
    """Each column as one array: the background's values, then those of the rows, of one type."""
    import pandas as pd

    found = []
    for name in background.columns:
        usual, own = background[name], rows[name]
        if isinstance(usual.dtype, pd.CategoricalDtype) and usual.dtype != own.dtype:
            known = usual.cat.categories.union(pd.Index(own.dropna().unique()), sort=False)
            kind = pd.CategoricalDtype(known, ordered=usual.cat.ordered)
            usual, own = usual.astype(kind), own.astype(kind)
        found.append((name, pd.concat([usual, own], ignore_index=True).array))
    return found


def _codes(values: Any) -> tuple[Array, Array]:
    """A position for every value, equal values (and missing ones) alike, and where each first occurs."""
    import pandas as pd

    codes, _ = pd.factorize(values, use_na_sentinel=True)
    codes = np.where(codes < 0, codes.max(initial=-1) + 1, codes)
    # Codes are given out in the order of first occurrence only among known values; a missing one may come before.
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    return codes, first


def _numbers(said: Any, rows: int) -> Array:
    """The model's answers as n x 1 or n x k."""
    found = np.asarray(said, dtype=float)
    if found.shape[:1] != (rows,) or found.ndim > 2 or not np.isfinite(found).all():
        raise DataUnfit(
            "the model answered mixtures of rows with something that is no number",
            received=f"shape {found.shape}, {int((~np.isfinite(found)).sum())} not finite",
            allowed=f"{rows} finite answers",
            next_step="see which rows the model cannot answer",
        )
    return found.reshape(rows, -1)


def _refuse_unfit(background: Frame, rows: Frame) -> None:
    if len(background) == 0 or not len(background.columns) or list(background.columns) != list(rows.columns):
        raise DataUnfit(
            "rows cannot be compared with this background",
            received=f"{len(background)} background rows, columns {', '.join(map(str, background.columns))}",
            allowed=f"at least one, with the columns {', '.join(map(str, rows.columns))}",
            next_step="take both from the columns that the model sees",
        )


def _shap() -> Any:
    """The library, which takes seconds to load: only when a row is explained. Raises MissingExtra."""
    try:
        import shap
    except ImportError as error:
        raise MissingExtra(
            "Shapley values need shap, which is not installed",
            received=str(error),
            next_step='pip install "fullcircle[explain]"',
        ) from error
    return shap
