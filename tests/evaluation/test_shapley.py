"""Shapley values are those of the definition, for values of any type, and do not depend on the company of a row."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shap

from fullcircle.errors import DataUnfit, MissingExtra
from fullcircle.evaluation.explanation.shapley import BACKGROUND, OTHERS, asking, background, explain

COLUMNS = ("size", "kind", "since", "open", "note")


def _mixed(rows: int, seed: int = 0) -> pd.DataFrame:
    """A number, a category, a time, a boolean and a text, each of the first four sometimes missing."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": generator.normal(size=rows).round(1),
            "kind": pd.Categorical(generator.choice(["a", "b", "c"], rows), categories=["a", "b", "c"]),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 90, rows), unit="D"),
            "open": pd.array(generator.random(rows) < 0.5, dtype="boolean"),
            "note": generator.choice(["x", "yy", "zzz"], rows),
        }
    )
    for name in COLUMNS[:4]:
        frame.loc[generator.random(rows) < 0.2, name] = None
    return frame


def _of_mixed(frame: pd.DataFrame) -> Any:
    """An answer in which all columns act together, and which refuses a column that lost its type."""
    assert [str(kind).split("[")[0] for kind in frame.dtypes] == [
        "float64",
        "category",
        "datetime64",
        "boolean",
        "str",
    ]
    size = frame["size"].fillna(-2.0).to_numpy()
    kind = frame["kind"].map({"a": 1.0, "b": 2.0, "c": 4.0}).astype(float).fillna(3.0).to_numpy()
    day = frame["since"].dt.day_of_year.fillna(10).to_numpy() / 30.0
    shut = frame["open"].astype("float64").fillna(0.5).to_numpy()
    return size * kind + day * shut * frame["note"].str.len().to_numpy() + size * day


def _by_definition(ask: Callable[[Any], Any], usual: pd.DataFrame, row: pd.DataFrame) -> Any:
    """Every coalition of columns, one by one, with Shapley's weights."""
    names = list(usual.columns)

    def answer(coalition: tuple[str, ...]) -> float:
        mixed = usual.copy()
        for name in coalition:
            mixed[name] = row[name].array.take([0] * len(usual))
        return float(np.mean(ask(mixed)))

    values = np.zeros(len(names))
    for place, name in enumerate(names):
        rest = [other for other in names if other != name]
        for count in range(len(names)):
            share = 1.0 / (len(names) * math.comb(len(names) - 1, count))
            for without in combinations(rest, count):
                values[place] += share * (answer((*without, name)) - answer(without))
    return values


def _many(rows: int, columns: int, seed: int = 0) -> pd.DataFrame:
    drawn = np.random.default_rng(seed).normal(size=(rows, columns))
    return pd.DataFrame(drawn, columns=[f"x{place}" for place in range(columns)])


def test_values_are_those_of_the_definition_for_any_type() -> None:
    usual, rows = _mixed(12), _mixed(3, seed=1)
    found = explain(_of_mixed, usual, rows)
    assert found.names == COLUMNS
    for position in range(3):
        expected = _by_definition(_of_mixed, usual, rows.iloc[[position]])
        assert found.values[position] == pytest.approx(expected, abs=1e-12)
    assert found.base == pytest.approx(np.mean(_of_mixed(usual)), abs=1e-12)
    assert found.answers == pytest.approx(_of_mixed(rows), abs=1e-12)
    assert not found.errors.any(), "they are exact"


def test_few_columns_give_what_shap_gives() -> None:
    usual, rows = _many(20, 6), _many(4, 6, seed=1)

    def ask(values: Any) -> Any:
        x = np.asarray(values)
        return np.tanh(x[:, 0] * x[:, 1] + x[:, 2]) * x[:, 3] + x[:, 4] ** 2

    def masker(mask: Any, row: Any) -> Any:
        return (np.where(mask, row, usual.to_numpy()),)

    masker.shape = usual.shape  # type: ignore[attr-defined]
    theirs = shap.ExactExplainer(ask, masker)(rows.to_numpy())
    found = explain(ask, usual, rows)
    assert found.values == pytest.approx(theirs.values, abs=1e-9)
    assert found.base == pytest.approx(theirs.base_values, abs=1e-9)


@pytest.mark.parametrize("columns", [3, 8, 9, 23, 70])
def test_base_and_values_sum_to_the_answer(columns: int) -> None:
    usual, rows = _many(10, columns), _many(3, columns, seed=1)

    def ask(frame: Any) -> Any:
        x = frame.to_numpy()
        return np.exp(-np.abs(x[:, 0] * x[:, 1] * x[:, 2])) + x.sum(axis=1) + np.sin(x[:, -1] * x[:, 0])

    found = explain(ask, usual, rows, seed=5)
    assert found.base + found.values.sum(axis=1) == pytest.approx(found.answers, abs=1e-9)
    assert found.answers == pytest.approx(ask(rows), abs=1e-9)
    assert found.values.shape == (3, columns)


def test_many_columns_that_act_in_pairs_are_exact_too() -> None:
    usual, rows = _many(15, 20), _many(2, 20, seed=1)
    weights = np.arange(20.0)

    def ask(frame: Any) -> Any:
        x = frame.to_numpy()
        return x @ weights + x[:, 0] * x[:, 1]

    found = explain(ask, usual, rows)
    u, r = usual.to_numpy(), rows.to_numpy()
    expected = (r - u.mean(axis=0)) * weights
    # Half of what each adds before and after the other.
    expected[:, 0] += ((r[:, [0]] - u[:, 0]) * (r[:, [1]] + u[:, 1])).mean(axis=1) / 2
    expected[:, 1] += ((r[:, [1]] - u[:, 1]) * (r[:, [0]] + u[:, 0])).mean(axis=1) / 2
    assert found.values == pytest.approx(expected, abs=1e-9)
    assert found.errors.max() < 1e-9


def test_the_error_of_drawn_orders_covers_the_truth() -> None:
    """Three columns of twelve act together: their product's value is a third of it each, where usual rows hold 0."""
    usual = pd.DataFrame(np.zeros((1, 12)), columns=[f"x{place}" for place in range(12)])
    rows = usual + 1.0
    beyond = total = 0
    for seed in range(40):
        found = explain(lambda frame: frame.to_numpy()[:, :3].prod(axis=1), usual, rows, seed=seed, orders=40)
        assert not found.values[0, 3:].any()
        assert found.values[0].sum() == pytest.approx(1.0)
        beyond += int(np.sum(np.abs(found.values[0, :3] - 1 / 3) > 2.5 * found.errors[0, :3]))
        total += 3
    assert beyond / total < 0.06


def test_a_row_is_explained_the_same_alone_and_in_company() -> None:
    for columns in (5, 14):
        usual, rows = _many(20, columns), _many(9, columns, seed=1)

        def ask(frame: Any) -> Any:
            x = frame.to_numpy()
            return x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3]

        whole = explain(ask, usual, rows, seed=3)
        for position in (0, 4, 8):
            alone = explain(ask, usual, rows.iloc[[position]], seed=3)
            assert np.array_equal(alone.values[0], whole.values[position])
            assert alone.base[0] == whole.base[position]
    other = explain(ask, usual, rows, seed=4)
    assert not np.array_equal(other.values, whole.values), "another seed draws other orders"


def test_numpys_own_generator_is_left_alone() -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    explain(lambda frame: frame.to_numpy().sum(axis=1), _many(5, 12), _many(1, 12, seed=1))
    assert np.random.random() == expected


def test_of_two_classes_the_second_is_explained_and_of_more_the_most_probable() -> None:
    usual, rows = _many(10, 3), pd.DataFrame({"x0": [3.0, -3.0], "x1": [0.0, 0.0], "x2": [0.0, 0.0]})

    def two(frame: Any) -> Any:
        p = 1 / (1 + np.exp(-frame["x0"].to_numpy()))
        return np.column_stack([1 - p, p])

    found = explain(two, usual, rows)
    assert found.outcomes.tolist() == [1, 1]
    assert found.answers == pytest.approx(two(rows)[:, 1])
    assert found.values[0, 0] > 0 > found.values[1, 0]

    def three(frame: Any) -> Any:
        return np.column_stack([two(frame) * 0.9, np.full(len(frame), 0.1)])

    more = explain(three, usual, rows)
    assert more.outcomes.tolist() == [1, 0]
    assert more.answers == pytest.approx(three(rows).max(axis=1))
    assert (more.values[:, 0] > 0).all()


def test_columns_not_told_apart_move_together() -> None:
    usual, rows = _many(10, 30), _many(2, 30, seed=1)
    weights = np.arange(30.0)
    found = explain(lambda frame: frame.to_numpy() @ weights, usual, rows, among=["x7", "x3"])
    assert found.names == ("x3", "x7", OTHERS)
    each = (rows.to_numpy() - usual.to_numpy().mean(axis=0)) * weights
    assert found.values[:, 0] == pytest.approx(each[:, 3])
    assert found.values[:, 1] == pytest.approx(each[:, 7])
    assert found.values[:, 2] == pytest.approx(each.sum(axis=1) - each[:, 3] - each[:, 7])
    assert explain(lambda frame: frame.to_numpy().sum(axis=1), usual, rows, among=list(usual)).names == tuple(usual)


def test_a_value_that_the_background_holds_everywhere_moves_nothing() -> None:
    usual = _mixed(12).assign(note="same", kind=pd.Categorical([None] * 12, categories=["a", "b", "c"]))
    rows = usual.iloc[[3]].assign(size=9.0)
    found = explain(_of_mixed, usual, rows)
    assert found.values[0, COLUMNS.index("note")] == 0.0
    assert found.values[0, COLUMNS.index("kind")] == 0.0
    same = explain(_of_mixed, usual.iloc[[3] * 4].reset_index(drop=True), usual.iloc[[3]])
    assert not same.values.any()
    assert same.base == same.answers


def test_a_category_that_the_background_does_not_know_stays_itself() -> None:
    usual = pd.DataFrame({"kind": pd.Categorical(["a", "b"]), "x": [0.0, 1.0]})
    rows = pd.DataFrame({"kind": pd.Categorical(["new"]), "x": [1.0]})
    found = explain(lambda frame: (frame["kind"] == "new").to_numpy(dtype=float), usual, rows)
    assert found.values[0].tolist() == [1.0, 0.0]


def test_the_background_is_the_same_for_the_same_rows_and_seed() -> None:
    inputs = _mixed(400)
    first = background(inputs, 7)
    assert len(first) == BACKGROUND
    assert first.equals(background(inputs.copy(), 7))
    assert not first.equals(background(inputs, 8))
    assert list(first.index) == list(range(BACKGROUND))
    assert first.dtypes.equals(inputs.dtypes)
    few = background(inputs.iloc[10:20], 7)
    assert len(few) == 10


def test_what_is_explained_of_a_model() -> None:
    def predict(frame: Any) -> Any:
        return frame

    def shares(frame: Any) -> Any:
        return frame

    assert asking("regression", predict, None) is predict
    assert asking("classification", predict, shares) is shares
    assert asking("classification", predict, None) is None


@pytest.mark.parametrize(
    ("said", "what"),
    [(np.full(8, np.nan), "8 not finite"), (np.ones(3), r"shape \(3,\)"), (np.ones((8, 1, 1)), r"shape \(8, 1, 1\)")],
)
def test_answers_that_are_no_numbers_are_refused(said: Any, what: str) -> None:
    with pytest.raises(DataUnfit) as caught:
        explain(
            lambda frame: np.resize(said, (len(frame), *said.shape[1:])) if len(said) == 8 else said,
            _many(8, 2),
            _many(1, 2),
        )
    assert "no number" in caught.value.what


def test_frames_that_do_not_fit_are_refused() -> None:
    def ask(frame: Any) -> Any:
        return frame.to_numpy().sum(axis=1)

    for usual, rows in ((_many(0, 2), _many(1, 2)), (_many(5, 3), _many(1, 2)), (_many(5, 0), _many(1, 0))):
        with pytest.raises(DataUnfit, match="cannot be compared with this background"):
            explain(ask, usual, rows)
    with pytest.raises(DataUnfit, match="one order"):
        explain(ask, _many(5, 2), _many(1, 2), orders=1)
    none = explain(ask, _many(5, 2), _many(0, 2))
    assert none.values.shape == (0, 2)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    for columns in (2, 12):
        with pytest.raises(MissingExtra) as caught:
            explain(lambda frame: frame.to_numpy().sum(axis=1), _many(5, columns), _many(1, columns, seed=1))
        assert caught.value.next_step == 'pip install "fullcircle[explain]"'
