"""Shapley values: the laws that define them, exact values where there is a formula, and brute force where not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes import explaining
from fullcircle.runtimes.explaining import BUDGET, EXACT, Shapley, Target, explain, pace, shapley, target
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract, Value

Function = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


class Game:
    """A function of a matrix, asked as ``shapley`` asks, that keeps count of what it was asked."""

    def __init__(self, function: Function, x: np.ndarray[Any, Any], background: np.ndarray[Any, Any]) -> None:
        self.function, self.x, self.background = function, x, background
        self.rows = self.calls = 0

    def __call__(self, masks: Any, places: Any) -> Any:
        self.rows += len(masks)
        self.calls += 1
        assert masks.dtype == np.bool_
        assert masks.shape == (len(places), len(self.x))
        return self.function(np.where(masks, self.x, self.background[places]))

    def solve(self, budget: int = BUDGET, seed: int = 0) -> Shapley:
        return shapley(self, len(self.x), len(self.background), budget, seed)


def drawn(columns: int, rows: int, seed: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=columns), draw.normal(size=(rows, columns))


def brute(game: Game) -> np.ndarray[Any, Any]:
    """The mean marginal worth over all orders, by definition."""
    k = len(game.x)

    def worth(coalition: frozenset[int]) -> float:
        mask = np.array([j in coalition for j in range(k)])
        return float(game.function(np.where(mask, game.x, game.background)).mean())

    found = np.zeros(k)
    for order in itertools.permutations(range(k)):
        before: frozenset[int] = frozenset()
        for player in order:
            found[player] += worth(before | {player}) - worth(before)
            before |= {player}
    return found / math.factorial(k)


def twisted(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Products, a threshold and a sine. The fifth column plays no part.

    Interactions of two columns alone would be exact: an order and its reverse share them equally.
    """
    product = matrix[:, 0] * matrix[:, 1] * matrix[:, 2] + np.sin(3 * matrix[:, 2])
    return np.asarray(product + np.where(matrix[:, 0] > 0.2, matrix[:, 3], -1.0), dtype=float)


def test_few_columns_equal_brute_force() -> None:
    game = Game(twisted, *drawn(5, 7))
    found = game.solve()
    assert found.exact
    assert found.errors == (0.0,) * 5
    np.testing.assert_allclose(found.contributions, brute(game), atol=1e-12)
    assert found.contributions[4] == 0.0  # the dummy, exactly
    assert (game.rows, game.calls) == (2**5 * 7, 1)


def test_sampling_agrees_with_the_exact_values_within_its_own_error() -> None:
    x, background = drawn(EXACT + 3, 20)
    game = Game(twisted, x, background)
    truth = np.zeros(EXACT + 3)
    # The columns from the fifth on play no part, and dummies change nobody's value.
    truth[:5] = brute(Game(twisted, x[:5], background[:, :5]))
    found = game.solve()
    assert not found.exact
    gap = np.abs(np.array(found.contributions) - truth)
    assert (gap <= 4.5 * np.array(found.errors) + 1e-12).all()
    assert max(found.errors) < 0.05
    assert found.contributions[5:] == (0.0,) * 6


def test_the_standard_error_is_the_spread_of_repeated_estimates() -> None:
    x, background = drawn(10, 6)
    runs = [Game(twisted, x, background).solve(budget=1500, seed=seed) for seed in range(150)]
    spread = np.std([run.contributions for run in runs], axis=0, ddof=1)[:3]
    told = np.sqrt(np.mean(np.square([run.errors for run in runs]), axis=0))[:3]
    np.testing.assert_allclose(spread, told, rtol=0.25)
    mean = np.mean([run.contributions for run in runs], axis=0)[:3]
    truth = brute(Game(twisted, x[:5], background[:, :5]))[:3]
    assert (np.abs(mean - truth) < 4 * spread / math.sqrt(150)).all()  # unbiased


@pytest.mark.parametrize("columns", [3, 30])
def test_a_linear_model_has_the_values_of_the_formula(columns: int) -> None:
    x, background = drawn(columns, 40)
    slopes = np.arange(columns) - 2.0
    found = Game(lambda matrix: matrix @ slopes, x, background).solve()
    np.testing.assert_allclose(found.contributions, slopes * (x - background.mean(axis=0)), atol=1e-9)
    assert max(found.errors) < 1e-9 or not found.exact


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    columns=st.integers(1, 14),
    rows=st.integers(1, 30),
    budget=st.integers(300, 3000),
    seed=st.integers(0, 2**31),
)
def test_base_and_contributions_are_the_answer_whatever_is_asked(
    columns: int, rows: int, budget: int, seed: int
) -> None:
    x, background = drawn(columns, rows, seed)
    game = Game(lambda matrix: np.cos(matrix.sum(axis=1)) * matrix[:, 0] + matrix.max(axis=1), x, background)
    found = game.solve(budget, seed)
    assert found.answer == pytest.approx(game.function(x[None])[0], abs=1e-12)
    assert found.base + sum(found.contributions) == pytest.approx(found.answer, abs=1e-9)
    assert game.rows == found.asked <= budget
    assert found.background <= rows
    assert game.calls <= 3
    assert all(error >= 0 for error in found.errors)


def test_an_order_and_its_reverse_share_interactions_of_two_columns_exactly() -> None:
    x, background = drawn(12, 10)
    found = Game(lambda matrix: matrix[:, 0] * matrix[:, 1] + matrix[:, 2] * matrix[:, 11], x, background).solve()
    assert max(found.errors) < 1e-12
    ends = x[0] * x[1] - background[:, 0] * background[:, 1]
    mixed = x[0] * background[:, 1] - background[:, 0] * x[1]
    assert found.contributions[0] == pytest.approx(float((ends + mixed).mean()) / 2, abs=1e-12)


@pytest.mark.parametrize("columns", [6, 12])
def test_columns_that_play_the_same_part_get_the_same(columns: int) -> None:
    x, background = drawn(columns, 10)
    x[1] = x[0]
    background[:, 1] = background[:, 0]
    found = Game(lambda matrix: np.tanh(matrix[:, 0] + matrix[:, 1]) * matrix[:, 2], x, background).solve()
    first, second = found.contributions[:2]
    assert abs(first - second) <= 4 * (found.errors[0] + found.errors[1]) + 1e-12


def test_the_same_question_gives_the_same_bits() -> None:
    x, background = drawn(12, 9)
    assert Game(twisted, x, background).solve() == Game(twisted, x, background).solve()
    assert Game(twisted, x, background).solve() != Game(twisted, x, background).solve(seed=1)


def test_a_thousand_columns_stay_within_the_budget_and_within_memory() -> None:
    x, background = drawn(explaining.MOST_COLUMNS, 50)
    largest = 0

    def wide(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        nonlocal largest
        largest = max(largest, matrix.nbytes)
        return np.asarray(matrix[:, ::2].sum(axis=1), dtype=float)

    found = Game(wide, x, background).solve()
    assert found.asked <= BUDGET
    assert found.background >= 2
    assert largest < 40 * 2**20


# Through a contract and a model


def contract(**changes: Any) -> Contract:
    columns = (
        Column(name="age", kind="integer", low=0, high=120),
        Column(name="bmi", kind="number", nullable=True),
        Column(name="smoker", kind="boolean"),
        Column(name="region", kind="category", categories=("north", "south", "west"), nullable=True),
    )
    return Contract(**{"columns": columns, "label": "y", "task": "regression", "prior": 0.0, **changes})


ROWS: list[dict[str, Value]] = [
    {
        "age": 20 + 3 * place,
        "bmi": None if place % 5 == 0 else 20.0 + place,
        "smoker": place % 3 == 0,
        "region": ("north", "south", "west", None)[place % 4],
    }
    for place in range(16)
]


class Mixed:
    """Uses every kind of column, missing values too."""

    def value(self, frame: Any) -> Any:
        south = (frame["region"] == "south").to_numpy()
        bmi = frame["bmi"].fillna(30.0).to_numpy()
        smoker = frame["smoker"].to_numpy()
        return frame["age"].to_numpy() * np.where(smoker, 2.0, 1.0) + np.where(south, bmi, 5.0)

    def predict(self, frame: Any) -> Any:
        assert [str(kind) for kind in frame.dtypes] == ["int64", "float64", "bool", "category"]
        return self.value(frame)


class Classes(Mixed):
    def predict(self, frame: Any) -> Any:
        return np.array(["no", "yes"])[(self.value(frame) > 70).astype(int)]

    def predict_proba(self, frame: Any) -> Any:
        yes = 1 / (1 + np.exp(-(self.value(frame) - 70) / 20))
        return np.column_stack([1 - yes, yes])


def expected(model: Mixed, chosen: Contract, row: Mapping[str, Value], of: Function) -> np.ndarray[Any, Any]:
    """Brute force over mixed rows of plain values."""
    from fullcircle.runtimes.contracts import to_frame

    names = chosen.names

    def worth(coalition: Sequence[str]) -> float:
        mixed = [{name: (row if name in coalition else other)[name] for name in names} for other in ROWS]
        return float(np.mean(of(to_frame(chosen, mixed))))

    found = dict.fromkeys(names, 0.0)
    orders = list(itertools.permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            found[name] += worth(order[: place + 1]) - worth(order[:place])
    return np.array([found[name] / len(orders) for name in names])


ROW: dict[str, Value] = {"age": 61, "bmi": 33.5, "smoker": True, "region": "south"}


def test_a_regression_through_its_contract() -> None:
    scorer = Scorer(contract(), Mixed())
    what = target(scorer, 155.5)
    assert what == Target()
    found = explain(scorer, ROW, ROWS, what)
    np.testing.assert_allclose(found.contributions, expected(Mixed(), contract(), ROW, Mixed().value), atol=1e-9)
    assert found.answer == scorer.score([ROW])[0].value


def test_two_classes_explain_the_chance_of_the_second_whatever_was_predicted() -> None:
    chosen = contract(task="classification", classes=("no", "yes"))
    scorer = Scorer(chosen, Classes())
    for value in ("no", "yes"):
        what = target(scorer, value)
        assert (what.label, what.place, what.probable) == ("yes", 1, True)
    found = explain(scorer, ROW, ROWS, target(scorer, "yes"))
    truth = expected(Classes(), chosen, ROW, lambda frame: np.asarray(Classes().predict_proba(frame)[:, 1]))
    np.testing.assert_allclose(found.contributions, truth, atol=1e-12)
    chances = scorer.score([ROW])[0].probabilities
    assert chances is not None
    assert found.answer == chances["yes"]


def test_without_chances_the_predicted_class_is_explained_as_yes_or_no() -> None:
    class Plain(Mixed):
        def predict(self, frame: Any) -> Any:
            return Classes().predict(frame)

    chosen = contract(task="classification", classes=("no", "yes"))
    scorer = Scorer(chosen, Plain())
    what = target(scorer, "yes")
    assert (what.label, what.probable) == ("yes", False)
    found = explain(scorer, ROW, ROWS, what)
    assert found.answer == 1.0
    truth = expected(Plain(), chosen, ROW, lambda frame: np.asarray(Plain().predict(frame) == "yes"))
    np.testing.assert_allclose(found.contributions, truth, atol=1e-12)


def test_more_than_two_classes_explain_the_predicted_one() -> None:
    scorer = Scorer(contract(task="classification", classes=("a", "b", "c")), Classes())
    assert target(scorer, "c") == Target(label="c", place=2, probable=True)


@pytest.mark.parametrize("huge", [False, True])
def test_text_time_and_huge_integers_are_asked_as_rows(huge: bool) -> None:
    class Words:
        def predict(self, frame: Any) -> Any:
            return frame["note"].str.len().to_numpy() * 2.0 + frame["number"].to_numpy() % 10

    other = Column(name="number", kind="integer")
    note = (
        Column(name="note", kind="text") if not huge else Column(name="note", kind="category", categories=("a", "bb"))
    )
    columns = (note, other, *((Column(name="at", kind="time"),) if not huge else ()))
    chosen = Contract(columns=columns, label="y", task="regression")

    class Codes(Words):
        def predict(self, frame: Any) -> Any:
            return super().predict(frame.assign(note=frame["note"].astype(str)))

    scorer = Scorer(chosen, Codes())
    time = {} if huge else {"at": "2026-01-01T00:00:00"}
    start: int = 2**60 if huge else 10
    background: list[dict[str, Value]] = [{"note": "a", "number": start + place, **time} for place in range(4)]
    row: dict[str, Value] = {"note": "bb", "number": start + 5, **time}
    found = explain(scorer, row, background, Target())
    tens = [(start + place) % 10 for place in range(4)]
    truth = [2.0, (start + 5) % 10 - sum(tens) / 4, *(() if huge else (0.0,))]
    np.testing.assert_allclose(found.contributions, truth, atol=1e-9)
    assert found.answer == 4.0 + (start + 5) % 10


def test_what_cannot_be_explained_is_told() -> None:
    scorer = Scorer(contract(), Mixed())
    with pytest.raises(RequestInvalid, match="no rows to compare with"):
        explain(scorer, ROW, [], Target())

    class Picky(Mixed):
        def predict(self, frame: Any) -> Any:
            found = self.value(frame)
            found[(frame["age"] < 40) & (frame["region"] == "south") & frame["smoker"]] = np.nan
            return found

    with pytest.raises(RequestInvalid, match="between this one and those") as caught:
        explain(Scorer(contract(), Picky()), ROW, ROWS, Target())
    assert caught.value.status == 422

    class Mute:
        def predict(self, frame: Any) -> Any:
            return np.where((frame["note"] == "bb") & (frame["n"] == 1), np.nan, 1.0)

    words = (Column(name="note", kind="text"), Column(name="n", kind="integer"))
    text = Scorer(Contract(columns=words, label="y", task="regression"), Mute())
    with pytest.raises(RequestInvalid, match="between this one and those"):
        explain(text, {"note": "bb", "n": 2}, [{"note": "a", "n": 1}], Target())
    many = tuple(Column(name=f"c{place}", kind="number") for place in range(explaining.MOST_COLUMNS + 1))
    wide = Scorer(Contract(columns=many, label="y", task="regression"), Mixed())
    with pytest.raises(RequestInvalid, match="too many columns"):
        explain(wide, {}, [{}], Target())


def test_the_pace_of_a_model_is_measured() -> None:
    import time

    class Slow(Mixed):
        calls = 0

        def predict(self, frame: Any) -> Any:
            self.calls += 1
            busy = 0.1 if self.calls == 2 else 0.0  # the machine did something else meanwhile
            time.sleep(0.002 + 0.0002 * len(frame) + busy)
            return self.value(frame)

    assert pace(Scorer(contract(), Slow()), ROWS) == pytest.approx(0.0002, rel=0.3)
    assert pace(Scorer(contract(), Mixed()), ROWS) < 1e-4
    assert pace(Scorer(contract(), Mixed()), []) == 0.0
