"""Why a model answered a row as it did: Shapley values of the row's columns against golden rows as background.

The game: a coalition S of columns is worth v(S) = the mean over background rows b of f(x on S, b elsewhere). The
contribution of column j is its mean marginal worth over all orders of the columns,

    phi_j = sum over S without j of |S|! (k - |S| - 1)! / k! * (v(S + j) - v(S)),

so that v(nothing) + sum of phi = f(x). With at most EXACT columns it is computed from all coalitions; with more it is
estimated from drawn orders, each walked from a background row to x and also in reverse (antithetic).

Sources: Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature
contributions", Knowledge and Information Systems 41 (2014), eq. 5 and algorithm 1; Castro, Gomez and Tejada,
"Polynomial calculation of the Shapley value based on sampling", Computers & Operations Research 36 (2009); antithetic
orders: Mitchell, Cooper, Frank and Holmes, "Sampling permutations for Shapley value estimation", JMLR 23 (2022).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.contracts import to_frame
from fullcircle.runtimes.form import FrameForm
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.values import EXACT as EXACT_INTEGER
from fullcircle.types.contract import Value

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Masks = np.ndarray[Any, np.dtype[np.bool_]]
    Places = np.ndarray[Any, np.dtype[np.intp]]

EXACT = 8  # columns up to which all coalitions are asked
BUDGET = 20_000  # rows that the model is asked at most for one explanation
MOST_COLUMNS = 1000
_CELLS = 4_000_000  # values in one matrix that the model is asked with
_ORDERS = 2  # pairs of orders for each background row: with fewer there is no error to tell
_TRIES = 4  # to tell how fast a model is
_QUICK = 2e-5  # seconds for a row, below which one try is enough
Asked = Callable[["Masks", "Places"], "Floats"]


@dataclass(frozen=True, kw_only=True)
class Shapley:
    """Contributions to one number, in the order of the columns.

    ``base + sum(contributions) == answer`` but for rounding. ``errors`` are standard errors of the drawing of
    orders (0.0 where nothing was drawn); the choice of background rows is part of the question and has no error here.
    ``background`` is how many background rows were used, ``asked`` how many rows the model answered for it.
    """

    base: float
    answer: float
    contributions: tuple[float, ...]
    errors: tuple[float, ...]
    background: int
    asked: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Target:
    """The number that is explained: the predicted value, or the chance of ``label`` (1 or 0 without chances)."""

    label: Value = None
    place: int | None = None
    probable: bool = False


def target(scorer: Scorer, value: Value) -> Target:
    """What is explained for a predicted ``value``.

    Regression: the value. Two classes: the chance of the second (for false/true, no/yes the positive one). More: the
    chance of the predicted class. A classifier without chances: whether it answers the predicted class.
    """
    contract = scorer.contract
    if contract.task == "regression":
        return Target()
    probable = scorer.form.probable
    place = 1 if probable and len(contract.classes) == 2 else contract.classes.index(value)
    return Target(label=contract.classes[place], place=place, probable=probable)


def explain(
    scorer: Scorer,
    inputs: Mapping[str, Value],
    background: Sequence[Mapping[str, Value]],
    what: Target,
    *,
    budget: int = BUDGET,
    seed: int = 0,
) -> Shapley:
    """The Shapley values of the columns of one judged row (``Prediction.inputs``), by at most ``budget`` model rows.

    ``background`` are judged rows too. The same question gives the same bits. Raises RequestInvalid (422) where
    there are no background rows, too many columns, or a mixed row that the model cannot answer.
    """
    if not background:
        raise _refused("the model carries no rows to compare with")
    if len(scorer.contract.columns) > MOST_COLUMNS:
        raise _refused("the model has too many columns", f"at most {MOST_COLUMNS}")
    return shapley(
        _asker(scorer, inputs, background, what), len(scorer.contract.columns), len(background), budget, seed
    )


def pace(scorer: Scorer, background: Sequence[Mapping[str, Value]]) -> float:
    """About how many seconds the model takes for one more row of a large batch.

    The least of a few tries, each of 257 rows: what else the machine does at the moment is not the model's.
    """
    import numpy as np

    if not background:
        return 0.0
    rows, width = 256, len(scorer.contract.columns)
    what = Target() if scorer.contract.task == "regression" else Target(place=0)
    ask = _asker(scorer, background[0], background, what)
    found = math.inf
    for _ in range(_TRIES):
        begun = time.perf_counter()
        ask(np.zeros((1, width), dtype=bool), np.zeros(1, dtype=np.intp))
        one = time.perf_counter()
        ask(np.zeros((rows, width), dtype=bool), np.arange(rows) % len(background))
        found = min(found, max(0.0, (time.perf_counter() - one) - (one - begun)) / (rows - 1))
        if found < _QUICK:
            break
    return found


def shapley(ask: Asked, columns: int, background: int, budget: int = BUDGET, seed: int = 0) -> Shapley:
    """Shapley values of a game over ``columns`` players.

    ``ask(masks, places)`` gives, for masks of shape (n, columns) and places of shape (n,), the model's number for
    rows that take x where the mask is true and the background row of that place elsewhere: shape (n,).
    """
    if columns <= EXACT and 2**columns <= budget:
        rows = min(background, budget // 2**columns)
        return _enumerated(ask, columns, _spread(rows, background))
    return _sampled(ask, columns, background, budget, seed)


def _enumerated(ask: Asked, k: int, places: Places) -> Shapley:
    """All coalitions, each over all these background rows."""
    import numpy as np

    rows = len(places)
    codes = np.arange(2**k)
    masks = (codes[:, None] >> np.arange(k)) & 1 == 1
    found = ask(np.repeat(masks, rows, axis=0), np.tile(places, 2**k))
    worth = found.reshape(2**k, rows).mean(axis=1)
    weights = np.array([math.factorial(s) * math.factorial(k - s - 1) / math.factorial(k) for s in range(k)])
    sizes = masks.sum(axis=1)
    contributions = []
    for player in range(k):
        without = codes[~masks[:, player]]
        contributions.append(float((weights[sizes[without]] * (worth[without + 2**player] - worth[without])).sum()))
    return Shapley(
        base=float(worth[0]),
        answer=float(worth[-1]),
        contributions=tuple(contributions),
        errors=(0.0,) * k,
        background=rows,
        asked=len(found),
        exact=True,
    )


def _sampled(ask: Asked, k: int, background: int, budget: int, seed: int) -> Shapley:
    """Orders drawn anew for each background row, each with its reverse; every background row gets as many.

    A walk needs the k - 1 mixed rows between the background row and x; these two ends are asked once.
    """
    import numpy as np

    walk = 2 * (k - 1)
    rows = max(1, min(background, (budget - 1) // (1 + _ORDERS * walk)))
    pairs = max(_ORDERS, (budget - 1 - rows) // (rows * walk))
    chosen = _spread(rows, background)
    ends = ask(np.arange(rows + 1)[:, None] >= np.full(k, rows), np.append(chosen, 0))
    starts, answer = ends[:rows], float(ends[rows])
    draw = np.random.default_rng(seed)
    # One number for each (background row, pair, column): the mean of the two walks.
    total, squares = np.zeros(k), np.zeros(k)
    step = max(1, _CELLS // (pairs * walk * k))
    for first in range(0, rows, step):
        some = np.arange(first, min(first + step, rows))
        ranks = draw.permuted(np.tile(np.arange(k), (len(some) * pairs, 1)), axis=1)
        ranks = np.stack([ranks, k - 1 - ranks], axis=1).reshape(-1, k)
        walks = np.repeat(some, 2 * pairs)
        gains = _walked(ask, ranks, chosen[walks], starts[walks], answer)
        by_pair = gains.reshape(len(some), pairs, 2, k).mean(axis=2)
        total += by_pair.mean(axis=1).sum(axis=0)
        squares += by_pair.var(axis=1, ddof=1).sum(axis=0) / pairs
    return Shapley(
        base=float(starts.mean()),
        answer=answer,
        contributions=tuple((total / rows).tolist()),
        errors=tuple((np.sqrt(squares) / rows).tolist()),
        background=rows,
        asked=len(ends) + rows * pairs * walk,
        exact=False,
    )


def _spread(rows: int, background: int) -> Places:
    """So many places, evenly spread over the background."""
    import numpy as np

    return np.arange(rows) * background // rows


def _walked(ask: Asked, ranks: Places, places: Places, starts: Floats, answer: float) -> Floats:
    """What each column gained when it changed from the background row to x, in the order of its rank: (walks, k)."""
    import numpy as np

    walks, k = ranks.shape
    masks = ranks[:, None, :] < np.arange(1, k)[None, :, None]
    between = ask(masks.reshape(-1, k), np.repeat(places, k - 1)).reshape(walks, k - 1)
    path = np.concatenate([starts[:, None], between, np.full((walks, 1), answer)], axis=1)
    return np.take_along_axis(np.diff(path, axis=1), ranks, axis=1)


def _asker(
    scorer: Scorer, inputs: Mapping[str, Value], background: Sequence[Mapping[str, Value]], what: Target
) -> Asked:
    """Asks the model for mixed rows: as a matrix where the contract allows, else as rows of plain values."""
    import numpy as np

    names = scorer.contract.names
    whole = [value for row in (inputs, *background) for value in row.values() if type(value) is int]
    if scorer.encoder.encodable and all(abs(value) <= EXACT_INTEGER for value in whole):
        x, others = scorer.encoder.matrix([inputs]), scorer.encoder.matrix(background)

        def by_matrix(masks: Masks, places: Places) -> Floats:
            block = scorer.block(np.where(masks, x, others[places]))
            if block.failed:
                raise _refused("the model cannot answer rows between this one and those it is compared with")
            return _number(block.answers, block.chances, what)

        return by_matrix
    form = FrameForm(scorer.contract, scorer.model)

    def by_rows(masks: Masks, places: Places) -> Floats:
        mixed = [
            {name: (inputs if own else other)[name] for name, own in zip(names, mask, strict=True)}
            for mask, other in zip(masks.tolist(), (background[place] for place in places.tolist()), strict=True)
        ]
        try:
            answers, chances = form.ask_frame(to_frame(scorer.contract, mixed))
        except Exception as error:
            raise _refused("the model cannot answer rows between this one and those it is compared with") from error
        found = _number(answers, chances, what)
        if not np.isfinite(found).all():
            raise _refused("the model cannot answer rows between this one and those it is compared with")
        return found

    return by_rows


def _number(answers: Any, chances: Any, what: Target) -> Floats:
    import numpy as np

    if what.place is None:
        return np.asarray(answers, dtype=np.float64)
    if chances is not None and what.probable:
        return np.asarray(chances[:, what.place], dtype=np.float64)
    return np.asarray(answers == what.place, dtype=np.float64)


def _refused(why: str, allowed: str | None = None) -> RequestInvalid:
    return RequestInvalid(
        f"this row cannot be explained: {why}", allowed=allowed, next_step="ask for its prediction", status=422
    )
