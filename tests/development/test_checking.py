"""Data that cannot be learned from is refused before training, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fullcircle as fc
from fullcircle.development.checking import FEWEST_ROWS, check_data
from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.types.project import Project

N = 40


def _frame(**columns: Any) -> pd.DataFrame:
    base = {"temp": np.linspace(0, 1, N), "city": ["Lima", "Pune"] * 20, "cnt": np.arange(N, dtype=float)}
    return pd.DataFrame({**base, **columns})


def _project(**changes: Any) -> Project:
    frame: Any = pd.DataFrame()
    base = {"name": "rides", "data": frame, "label": "cnt", "features": ["temp", "city"], "fit": lambda X, y: None}
    found: Project = fc.Project(**{**base, **changes})
    return found


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.linspace(0, 1, N), "regression"),
        (np.arange(N), "regression"),
        ([0, 1, 2, 3] * 10, "regression"),
        ([0, 1] * 20, "classification"),
        ([0.0, 1.0] * 20, "regression"),
        (["a", "b"] * 20, "classification"),
        ([f"t{n // 2}" for n in range(N)], "classification"),
        ([True, False] * 20, "classification"),
        (pd.Categorical([1, 2] * 20), "classification"),
    ],
)
def test_the_task_is_told_from_the_label(labels: Any, task: str) -> None:
    assert check_data(_frame(cnt=labels), _project()) == task


def test_the_task_can_be_set() -> None:
    assert check_data(_frame(cnt=[0, 1, 2, 3] * 10), _project(task="classification")) == "classification"
    assert check_data(_frame(cnt=[0.0, 1.0] * 20), _project(task="classification")) == "classification"
    assert check_data(_frame(cnt=[0, 1] * 20), _project(task="regression")) == "regression"


class TestColumns:
    def test_a_misspelt_name_gets_the_near_one(self) -> None:
        with pytest.raises(ColumnMissing, match="names a column that the data does not have") as caught:
            check_data(_frame(), _project(features=["tmep", "city"]))
        assert caught.value.received == "tmep"
        assert caught.value.next_step == "did you mean temp instead of tmep?"
        assert "temp, city, cnt" in str(caught.value.allowed)

    @pytest.mark.parametrize(
        "changes",
        [
            {"label": "price"},
            {"data": fc.Table("x.csv", time="started")},
            {"gates": [fc.fair(by="sex", metric="mae", gap=1.0)]},
        ],
    )
    def test_label_time_and_groups_must_be_there(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ColumnMissing) as caught:
            check_data(_frame(), _project(**changes))
        assert caught.value.received in ("price", "started", "sex")

    def test_two_columns_of_one_name(self) -> None:
        frame = pd.concat([_frame(), _frame()[["city"]]], axis=1)
        with pytest.raises(DataUnfit, match="two columns of one name") as caught:
            check_data(frame, _project())
        assert caught.value.received == "city"

    def test_a_feature_of_no_type(self) -> None:
        with pytest.raises(DataUnfit, match="column 'city'"):
            check_data(_frame(city=["Lima", 3] * 20), _project())
        assert check_data(_frame(other=[["list"]] * N), _project()) == "regression", "it is no feature"


class TestRows:
    @pytest.mark.parametrize(("rows", "what"), [(0, "empty"), (1, "too few"), (FEWEST_ROWS - 1, "too few")])
    def test_too_few_are_refused(self, rows: int, what: str) -> None:
        with pytest.raises(DataUnfit, match=what) as caught:
            check_data(_frame()[:rows], _project())
        assert caught.value.received == f"{rows} rows"

    def test_twenty_are_enough(self) -> None:
        assert check_data(_frame()[:FEWEST_ROWS], _project()) == "regression"


class TestTime:
    def _check(self, times: Any) -> str:
        return check_data(_frame(at=times), _project(data=fc.Table("x.csv", time="at")))

    def test_times_and_iso_text_are_fine(self) -> None:
        times = pd.date_range("2020-01-01", periods=N, freq="h")
        for good in (
            times,
            times.tz_localize("UTC"),
            times.strftime("%Y-%m-%dT%H:%M:%S"),
            times.strftime("%Y-%m-%d"),
        ):
            assert self._check(good) == "regression"

    @pytest.mark.parametrize(
        ("break_it", "received"),
        [
            (lambda times: ["yesterday", *times[1:]], "'yesterday' in row 0"),
            (lambda times: [*times[:-1], "31/12/2020"], "'31/12/2020' in row 39"),
            (lambda times: [None, *times[1:]], "missing in 1 rows"),
            (lambda times: range(len(times)), "numbers"),
        ],
    )
    def test_others_are_refused(self, break_it: Callable[[list[str]], Any], received: str) -> None:
        good = pd.date_range("2020-01-01", periods=N).strftime("%Y-%m-%d").tolist()
        with pytest.raises(DataUnfit, match="column of time, 'at'") as caught:
            self._check(break_it(good))
        assert received in str(caught.value.received)
        assert caught.value.next_step


class TestLabel:
    @pytest.mark.parametrize(
        ("labels", "changes", "what"),
        [
            ([None] * N, {}, "missing in every row"),
            ([1.5, None] * 20, {}, "missing in some rows"),
            (["a", None] * 20, {}, "missing in some rows"),
            ([5.0] * N, {}, "same value in every row"),
            (["a"] * N, {}, "one class only"),
            ([True] * N, {}, "one class only"),
            (["a"] * 39 + ["b"], {}, "one row only"),
            (["a", "b"] * 20, {"task": "regression"}, "does not fit the task"),
            ([True, False] * 20, {"task": "regression"}, "does not fit the task"),
            (np.linspace(0, 1, N), {"task": "classification"}, "does not fit the task"),
            (list(range(N)), {"task": "classification"}, "40 classes"),
            (pd.date_range("2020", periods=N), {}, "does not fit the task"),
            ([["a"]] * N, {}, "no type"),
            ([1.0, np.inf] * 20, {}, "infinity"),
        ],
    )
    def test_what_cannot_be_learned_is_refused(self, labels: Any, changes: dict[str, Any], what: str) -> None:
        with pytest.raises(DataUnfit, match=what) as caught:
            check_data(_frame(cnt=labels), _project(**changes))
        assert "cnt" in caught.value.what
        assert caught.value.next_step

    def test_an_unused_category_is_no_class(self) -> None:
        labels = pd.Categorical(["a", "b"] * 20, categories=["a", "b", "never"])
        assert check_data(_frame(cnt=labels), _project()) == "classification"


class TestWhatIsTold:
    def _error(self, frame: pd.DataFrame, **changes: Any) -> Any:
        with pytest.raises((ColumnMissing, DataUnfit)) as caught:
            check_data(frame, _project(**changes))
        return caught.value

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("temperature", "mend the name"),
            ("tmp", "did you mean temp instead of tmp?"),
            ("City", "city instead of City"),
        ],
    )
    def test_a_name_that_is_nearly_right_is_guessed(self, name: str, said: str) -> None:
        error = self._error(_frame(), features=[name, "temp", "city"])
        assert error.received == name
        assert said in error.next_step

    @pytest.mark.parametrize(("columns", "cut"), [(37, False), (38, True)])
    def test_a_wide_table_shows_forty_names(self, columns: int, cut: bool) -> None:
        wide = _frame(**{f"c{number}": 1 for number in range(columns)})
        error = self._error(wide, features=["zzz"])
        assert error.allowed.endswith(", ...") is cut
        assert error.allowed.removesuffix(", ...").count(",") == 39

    def test_groups_of_fair_gates_are_columns_too(self) -> None:
        assert self._error(_frame(), gates=[fc.fair("sex", "mae", 1.0)]).received == "sex"
        assert check_data(_frame(sex=["f", "m"] * 20), _project(gates=[fc.fair("sex", "mae", 1.0)])) == "regression"
        assert check_data(_frame(), _project(gates=[fc.at_most("mae", 1.0), fc.beats()])) == "regression"

    @pytest.mark.parametrize(
        ("gone", "what", "advice"),
        [(3, "missing in some rows", "leave rows without"), (N, "missing in every row", "is it the right column?")],
    )
    def test_how_much_of_the_label_is_missing(self, gone: int, what: str, advice: str) -> None:
        labels = np.arange(N, dtype=float)
        labels[:gone] = np.nan
        error = self._error(_frame(cnt=labels))
        assert what in error.what
        assert error.received == f"{gone} of {N} rows"
        assert advice in error.next_step

    @pytest.mark.parametrize(
        ("rare", "what", "shown"),
        [
            (1, "a class of the label 'cnt' in one row only", "r0"),
            (2, "2 classes of the label", "r0, r1"),
            (5, "5 classes of the label", "r0, r1, r2, r3, r4"),
            (6, "6 classes of the label", "r0, r1, r2, r3, r4, ..."),
        ],
    )
    def test_classes_of_one_row_are_named(self, rare: int, what: str, shown: str) -> None:
        labels = [f"r{number}" for number in range(rare)] + ["a", "b"] * N
        error = self._error(_frame(cnt=labels[:N]), task="classification")
        assert what in error.what
        assert error.received == shown

    @pytest.mark.parametrize("task", [None, "classification", "regression"])
    def test_a_time_is_no_label(self, task: Any) -> None:
        error = self._error(_frame(cnt=pd.date_range("2020", periods=N)), task=task)
        assert "does not fit the task" in error.what
        assert "time" in error.received

    @pytest.mark.parametrize(
        ("labels", "whole"),
        [([1.0, 2.0] * 20, True), ([1.0, 2.5] * 20, False), (["a", "b"] * 20, True), ([True, False] * 20, True)],
    )
    def test_classes_are_whole(self, labels: Any, whole: bool) -> None:
        frame = _frame(cnt=labels)
        if whole:
            assert check_data(frame, _project(task="classification")) == "classification"
        else:
            assert "whole numbers" in self._error(frame, task="classification").allowed

    def test_real_times_are_times(self) -> None:
        project = _project(data=fc.Table(pd.DataFrame(), time="when"))
        for times in (pd.date_range("2020", periods=N), pd.date_range("2020", periods=N, tz="UTC")):
            assert check_data(_frame(when=times), project) == "regression"
        gappy = pd.Series(pd.date_range("2020", periods=N)).mask(pd.Series(range(N)) < 2)
        with pytest.raises(DataUnfit, match="does not hold a time in every row") as caught:
            check_data(_frame(when=gappy), project)
        assert caught.value.received == "missing in 2 rows"
