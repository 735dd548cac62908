"""Columns that give the label away are found, and columns that merely help are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.exploration.leaks import alone, together

N = 200
RNG = np.random.default_rng(0)
Y = pd.Series(RNG.normal(size=N))
CLASSES = pd.Series(np.where(Y > 0, "yes", "no"))


def _alone(values: Any, label: Any = Y, *, classes: bool = False) -> str:
    return alone(pd.Series(values), pd.Series(label), classes=classes)


class TestAlone:
    @pytest.mark.parametrize("factor", [1.0, -2.0, 1e6, 1e-6])
    @pytest.mark.parametrize("shift", [0.0, 100.0])
    def test_the_label_in_another_unit(self, factor: float, shift: float) -> None:
        assert "the label in another form" in _alone(Y * factor + shift)

    def test_the_label_bent(self) -> None:
        assert "the label in another form" in _alone(np.exp(3 * Y)), "its ranks are the label's"

    def test_the_label_with_a_little_noise(self) -> None:
        assert _alone(Y + 0.001 * RNG.normal(size=N)) != ""
        assert _alone(Y + 0.2 * RNG.normal(size=N)) == "", "a good column is no leak"

    def test_gaps_are_left_out(self) -> None:
        gappy = Y.mask(pd.Series(range(N)) % 3 == 0)
        assert _alone(gappy) != ""
        assert _alone(Y, gappy) != ""

    def test_few_rows_or_values_prove_nothing(self) -> None:
        assert _alone(Y[:19], Y[:19]) == ""
        assert _alone(Y[:20], Y[:20]) != ""
        assert _alone(np.ones(N)) == ""
        assert _alone(Y, np.ones(N)) == ""

    def test_a_category_that_holds_the_number(self) -> None:
        groups = pd.Series([f"g{n % 10}" for n in range(N)])
        label = pd.Series([float(n % 10) for n in range(N)])
        assert "its values alone explain the label" in _alone(groups, label)
        assert _alone(groups, label + RNG.normal(size=N)) == ""
        assert _alone([f"g{n}" for n in range(N)], label) == "", "one value per row explains anything"

    def test_a_code_for_the_class(self) -> None:
        code = np.where(CLASSES == "yes", 7, 3)
        assert _alone(code, CLASSES, classes=True) == "each of its values goes with one class only"
        code[0] = 10 - code[0]
        assert _alone(code, CLASSES, classes=True) == ""

    def test_a_limit_on_it_parts_the_classes(self) -> None:
        assert "limits on it alone" in _alone(Y * 3 + 1, CLASSES, classes=True)
        three = pd.Series(np.digitize(Y, [-0.5, 0.5])).map({0: "low", 1: "mid", 2: "high"})
        assert "limits on it alone" in _alone(Y, three, classes=True)
        mistaken = CLASSES.copy()
        mistaken[int(Y.idxmax())] = "no"
        assert _alone(Y, mistaken, classes=True) == ""

    def test_few_rows_are_parted_by_chance(self) -> None:
        assert _alone(Y[:49], CLASSES[:49], classes=True) == ""
        assert _alone(Y[:50], CLASSES[:50], classes=True) != ""

    def test_a_tie_across_the_limit_is_no_limit(self) -> None:
        values = Y.round(2).where(Y.abs() > 0.3, 0.0)
        assert _alone(values, CLASSES, classes=True) == ""

    def test_text_has_no_limits(self) -> None:
        assert _alone([f"t{n}" for n in range(N)], CLASSES, classes=True) == ""

    def test_two_classes_in_numbers_are_no_correlation_of_ranks(self) -> None:
        label = (Y > 0).astype(int)
        assert _alone(Y + 0.05 * RNG.normal(size=N), label, classes=True) == ""


class TestTogether:
    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame(RNG.integers(0, 50, size=(N, 4)), columns=list("abcd"))

    def test_parts_that_add_up_are_named(self) -> None:
        frame = self._frame()
        assert together(frame, list("abcd"), frame["a"] + frame["c"]) == ("a", "c")
        assert together(frame, list("abcd"), 2 * frame["b"] - 0.5 * frame["d"] + 7) == ("b", "d")

    def test_a_part_that_stands_twice_is_named_once(self) -> None:
        frame = self._frame().assign(copy=lambda each: each["a"])
        assert together(frame, ["a", "b", "copy"], frame["a"] + frame["b"]) == ("a", "b")

    def test_a_sum_with_something_left_over_is_none(self) -> None:
        frame = self._frame()
        assert together(frame, list("abcd"), frame["a"] + frame["b"] + RNG.normal(size=N)) == ()

    @pytest.mark.parametrize("names", [[], ["a"]])
    def test_one_column_is_no_sum(self, names: list[str]) -> None:
        frame = self._frame()
        assert together(frame, names, frame["a"]) == ()

    def test_what_is_no_number_or_has_gaps_is_left_out(self) -> None:
        frame = self._frame().assign(word="w", flag=True, gap=[None, *range(N - 1)], same=1)
        label = frame["a"] + frame["b"]
        assert together(frame, ["a", "b", "word", "flag", "gap", "same"], label) == ("a", "b")
        assert together(frame, ["a", "word", "flag", "gap", "same"], label) == ()

    def test_a_label_that_is_no_whole_column_of_numbers_has_no_sum(self) -> None:
        frame = self._frame()
        label = (frame["a"] + frame["b"]).astype(float)
        assert together(frame, ["a", "b"], label.astype(str)) == ()
        assert together(frame, ["a", "b"], label.mask(label.index == 3)) == ()

    @pytest.mark.parametrize(("rows", "found"), [(25, ()), (26, ("a", "b"))])
    def test_as_many_columns_as_rows_fit_anything(self, rows: int, found: tuple[str, ...]) -> None:
        frame = self._frame().head(rows)
        assert together(frame, ["a", "b"], frame["a"] + frame["b"]) == found

    @given(st.lists(st.integers(-5, 5).filter(bool), min_size=2, max_size=4), st.integers(-9, 9))
    def test_any_weights_are_found(self, weights: list[int], shift: int) -> None:
        frame = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 4)), columns=list("abcd"))
        names = list("abcd")[: len(weights)]
        label = sum((weight * frame[name] for weight, name in zip(weights, names, strict=True)), start=frame["a"] * 0)
        assert together(frame, list("abcd"), label + shift) == tuple(names)
