"""Groups of rows by the values of columns, and the names they go by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.evaluation import groups


def _named(frame: pd.DataFrame, *by: str) -> list[str]:
    codes, names = groups.of_rows(frame, by)
    return [names[code] for code in codes]


class TestOfRows:
    def test_one_column(self) -> None:
        frame = pd.DataFrame({"sex": ["m", "f", "m"]})
        codes, names = groups.of_rows(frame, ["sex"])
        assert names == ("sex=f", "sex=m")
        assert codes.tolist() == [1, 0, 1]

    def test_intersections_that_occur(self) -> None:
        frame = pd.DataFrame({"sex": ["m", "f", "m"], "race": ["b", "a", "b"]})
        assert groups.of_rows(frame, ["sex", "race"])[1] == ("sex=f, race=a", "sex=m, race=b")
        assert groups.of_rows(frame, ["race", "sex"])[1] == ("race=a, sex=f", "race=b, sex=m")

    def test_missing_values_are_a_group(self) -> None:
        frame = pd.DataFrame({"team": ["a", None, float("nan")]})
        assert _named(frame, "team") == ["team=a", "team=(missing)", "team=(missing)"]

    @pytest.mark.parametrize(
        ("values", "names"),
        [
            ([1, 2, 1], ["g=1", "g=2", "g=1"]),
            ([1.0, 2.0, np.nan], ["g=1", "g=2", "g=(missing)"]),
            ([0.5, 1.5, 0.5], ["g=0.5", "g=1.5", "g=0.5"]),
            ([True, False, True], ["g=True", "g=False", "g=True"]),
            (pd.Categorical(["x", "y", None]), ["g=x", "g=y", "g=(missing)"]),
            (pd.to_datetime(["2020-01-01", None, "2020-01-02"]), None),
            (["", " ", "a=b, c"], ["g=", "g= ", "g=a=b, c"]),
        ],
    )
    def test_any_kind_of_value(self, values: Any, names: list[str] | None) -> None:
        found = _named(pd.DataFrame({"g": values}), "g")
        assert found == names if names is not None else len(set(found)) == 3

    def test_whole_numbers_have_the_same_name_whether_or_not_one_is_missing(self) -> None:
        whole, holed = pd.DataFrame({"g": [1, 2]}), pd.DataFrame({"g": [1, None]})
        assert _named(whole, "g")[0] == _named(holed, "g")[0] == "g=1"

    def test_values_that_read_alike_are_told_apart(self) -> None:
        frame = pd.DataFrame({"g": pd.Series([1, "1", None, "(missing)"], dtype=object)})
        assert _named(frame, "g") == ["g=1", "g='1'", "g=(missing)", "g='(missing)'"]

    def test_a_column_that_is_not_there(self) -> None:
        with pytest.raises(ColumnMissing, match="not in the data"):
            groups.of_rows(pd.DataFrame({"a": [1]}), ["a", "b"])

    def test_values_that_cannot_be_compared(self) -> None:
        with pytest.raises(DataUnfit, match="cannot be grouped by 'tags'"):
            groups.of_rows(pd.DataFrame({"tags": [["a"], ["b"]]}), ["tags"])

    def test_no_rows(self) -> None:
        codes, names = groups.of_rows(pd.DataFrame({"a": []}), ["a"])
        assert len(codes) == len(names) == 0

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), min_size=1, max_size=60))
    def test_rows_are_together_exactly_where_all_values_are_equal(self, rows: list[Any]) -> None:
        frame = pd.DataFrame(rows, columns=["x", "y", "z"])
        codes, names = groups.of_rows(frame, ["x", "y", "z"])
        assert len(set(names)) == len(names) == len(set(rows)) == len(np.unique(codes))
        for code, (x, y, z) in zip(codes, rows, strict=True):
            assert names[code] == f"x={x}, y={y}, z={z}"
        assert list(names) == sorted(names)

    def test_many_values_in_two_columns(self) -> None:
        generator = np.random.default_rng(0)
        frame = pd.DataFrame({"a": generator.integers(0, 900, 1000), "b": generator.integers(0, 900, 1000)})
        codes, names = groups.of_rows(frame, ["a", "b"])
        assert len(names) == len(frame.drop_duplicates())
        assert names[codes[7]] == f"a={frame['a'][7]}, b={frame['b'][7]}"


class TestCalled:
    NAMES = ("sex=f, race=a", "sex=f, race=other", "sex=m, race=a")

    @pytest.mark.parametrize(
        ("told", "name"),
        [
            ("f, other", "sex=f, race=other"),
            ("sex=f, race=other", "sex=f, race=other"),
            ("other", ""),
            ("f", ""),
            ("race=other", ""),
            ("", ""),
        ],
    )
    def test_intersections(self, told: str, name: str) -> None:
        assert groups.called(self.NAMES, ("sex", "race"), told) == name

    @pytest.mark.parametrize(
        ("told", "name"),
        [("other", "sex=other"), ("sex=other", "sex=other"), ("(missing)", "sex=(missing)"), ("x", "")],
    )
    def test_one_column(self, told: str, name: str) -> None:
        assert groups.called(("sex=other", "sex=(missing)"), ("sex",), told) == name


def test_the_name_of_a_gap() -> None:
    assert groups.gap_name(("sex",), "mae") == "fair_gap:sex:mae"
    assert groups.gap_name(("sex", "race"), "mae") == "fair_gap:sex/race:mae"
