"""Tables at their borders: what is still read, what is refused, and the words for it."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid, TableNotFound, TableUnreadable
from fullcircle.tables.lines import Lines, model_folder, moment, now, plain, unwritable, write
from fullcircle.tables.reading import describe, locate, read
from fullcircle.types.prediction import Outcome
from fullcircle.types.table import Table


def _csv(folder: Path, content: str, **more: Any) -> Any:
    (folder / "data.csv").write_text(content, encoding="utf-8")
    return read(Table("data.csv", **more), folder=folder)


def _frame(folder: Path, **columns: Any) -> Any:
    return read(Table(pd.DataFrame(columns)), folder=folder)


class TestMixtures:
    @pytest.mark.parametrize(("texts", "mixed"), [(1, True), (3, True), (4, False), (9, False)])
    def test_three_different_texts_among_numbers_are_a_slip_and_four_are_text(
        self, texts: int, mixed: bool, tmp_path: Path
    ) -> None:
        values = [str(n) for n in range(20)] + [f"t{n}" for n in range(texts)]
        content = "v\n" + "\n".join(values) + "\n"
        if mixed:
            with pytest.raises(TableUnreadable, match="holds values of mixed types") as caught:
                _csv(tmp_path, content)
            assert f"20 numbers and {texts} texts" in (caught.value.received or "")
            assert "line 22" in (caught.value.received or "")
        else:
            assert len(_csv(tmp_path, content)) == 20 + texts

    def test_one_text_in_ten_is_a_slip_however_many_there_are(self, tmp_path: Path) -> None:
        values = [str(n) for n in range(90)] + [f"t{n}" for n in range(10)]
        with pytest.raises(TableUnreadable, match="mixed types"):
            _csv(tmp_path, "v\n" + "\n".join(values) + "\n")
        values.append("t10")
        assert len(_csv(tmp_path, "v\n" + "\n".join(values) + "\n")) == 101

    def test_as_many_numbers_as_texts_are_a_slip_and_fewer_are_codes(self, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="mixed types") as caught:
            _csv(tmp_path, "v,w\n1,a\nx,b\n")
        assert caught.value.received == "1 numbers and 1 texts: 'x' in line 3"
        assert len(_csv(tmp_path, "v,w\n1,a\nx,b\ny,c\n")) == 3

    def test_a_semicolon_in_a_name_among_commas_is_a_name(self, tmp_path: Path) -> None:
        assert list(_csv(tmp_path, "a;b,c\n1,2\n").columns) == ["a;b", "c"]

    def test_a_blank_line_is_no_row_and_a_blank_field_is_none(self, tmp_path: Path) -> None:
        assert len(_csv(tmp_path, "a,b\n1,2\n   \n3,4\n")) == 2
        assert _csv(tmp_path, "a,b\n1,x\n2, \n")["b"].tolist() == ["x", " "]

    def test_a_long_row_is_shown_in_part(self, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable) as caught:
            _csv(tmp_path, "a,b\n" + "x" * 300 + "\n")
        received = caught.value.received or ""
        assert received.startswith("1 fields: xxx")
        assert received.endswith("x…")
        assert len(received) == len("1 fields: ") + 80

    def test_gaps_are_no_texts(self, tmp_path: Path) -> None:
        frame = _csv(tmp_path, "v,w\n1,a\n,b\nNA,c\n3,d\n")
        assert frame["v"].isna().tolist() == [False, True, True, False]

    def test_a_mixture_that_prepare_made_is_found_too(self, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="mixed types") as caught:
            _csv(tmp_path, "v\n1\n2\n", prepare=lambda frame: frame.assign(v=[1, "two"]))
        assert "1 (int, value 1)" in (caught.value.received or "")
        assert "'two' (str, value 2)" in (caught.value.received or "")

    def test_ints_and_floats_and_gaps_are_one_type(self, tmp_path: Path) -> None:
        assert len(_frame(tmp_path, v=pd.Series([1, 2.5, None], dtype=object))) == 3
        with pytest.raises(TableUnreadable, match="mixed types"):
            _frame(tmp_path, v=pd.Series([1, 2.5, True], dtype=object))
        assert len(_frame(tmp_path, v=pd.Categorical([1, "a"]))) == 2, "a category may name anything"


class TestTimes:
    @pytest.mark.parametrize(
        ("since", "until", "said"),
        [
            ("2030-01-01", None, "has no rows from 2030-01-01 on"),
            (None, "2000-01-01", "has no rows before 2000-01-01"),
            ("2030-01-01", "2031-01-01", "has no rows from 2030-01-01 on and before 2031-01-01"),
        ],
    )
    def test_bounds_that_leave_nothing_are_named(
        self, since: str | None, until: str | None, said: str, tmp_path: Path
    ) -> None:
        with pytest.raises(DataUnfit) as caught:
            _csv(tmp_path, "t,x\n2020-01-01,1\n", time="t", since=since, until=until)
        assert caught.value.what == f"data.csv {said}"

    def test_without_bounds_there_are_none_to_name(self, tmp_path: Path) -> None:
        with pytest.raises(DataUnfit) as caught:
            _csv(tmp_path, "t,x\n", time="t", prepare=lambda frame: frame.astype({"t": "datetime64[ns]"}))
        assert caught.value.what == "data.csv has no rows"

    def test_a_bound_belongs_to_the_later_part(self, tmp_path: Path) -> None:
        content = "t,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n"
        before = _csv(tmp_path, content, time="t", until="2020-01-02")
        after = _csv(tmp_path, content, time="t", since="2020-01-02")
        assert (before["x"].tolist(), after["x"].tolist()) == ([1], [2, 3])
        assert after.index.tolist() == [0, 1]

    @pytest.mark.parametrize("bound", ["since", "until"])
    @pytest.mark.parametrize("text", ["soon", "2020-13-01", "01/02/2020", "1e9"])
    def test_a_bound_that_is_no_time_is_refused(self, bound: str, text: str, tmp_path: Path) -> None:
        with pytest.raises(ProjectInvalid, match=f"{bound} of a Table is not a time") as caught:
            _csv(tmp_path, "t,x\n2020-01-01,1\n", time="t", **{bound: text})
        assert caught.value.received == repr(text)

    @pytest.mark.parametrize(
        "times",
        [
            [dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2)],
            ["2020-01-01", "2020-01-02T00:00:00"],
            ["2020-01-01T00:00:00Z", "2020-01-02T02:00:00+02:00"],
            pd.Categorical(["2020-01-01", "2020-01-02"]),
            pd.to_datetime(["2020-01-01", "2020-01-02"]).as_unit("s"),
            pd.to_datetime(["2020-01-01", "2020-01-02"]).tz_localize("UTC"),
            np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
        ],
        ids=["dates", "datetimes", "text", "zones", "categories", "seconds", "utc", "days"],
    )
    def test_any_way_of_writing_a_time_is_the_same_time(self, times: Any, tmp_path: Path) -> None:
        frame = read(Table(pd.DataFrame({"t": times, "x": [1, 2]}), time="t"), folder=tmp_path)
        assert str(frame["t"].dtype) == "datetime64[ns]"
        assert frame["t"].tolist() == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")]

    @pytest.mark.parametrize("gap", [None, pd.NaT, "", "soon", float("nan")])
    def test_the_first_row_without_a_time_is_named(self, gap: Any, tmp_path: Path) -> None:
        frame = pd.DataFrame({"t": pd.Series(["2020-01-01", gap, gap], dtype=object)})
        with pytest.raises(TableUnreadable, match="2 values of the time column 't'") as caught:
            read(Table(frame, time="t"), folder=tmp_path)
        assert "in row 2" in (caught.value.received or "")

    @pytest.mark.parametrize("year", ["1677", "2263", "9999"])
    def test_a_time_beyond_nanoseconds_is_refused(self, year: str, tmp_path: Path) -> None:
        frame = pd.DataFrame({"t": pd.to_datetime([f"{year}-01-01"]).as_unit("s")})
        with pytest.raises(TableUnreadable, match="'t'") as caught:
            read(Table(frame, time="t"), folder=tmp_path)
        assert caught.value.next_step

    def test_a_missing_column_of_time_shows_what_there_is(self, tmp_path: Path) -> None:
        with pytest.raises(ColumnMissing, match="'when'") as caught:
            _csv(tmp_path, "a,b\n1,2\n", time="when")
        assert caught.value.received == "a, b"


class TestPlaces:
    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name in ("project", "current"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "current")
        monkeypatch.delenv("BIKES", raising=False)
        return tmp_path

    def test_a_relative_path_begins_beside_the_project(self, here: Path) -> None:
        (here / "current" / "a.csv").touch()
        with pytest.raises(TableNotFound, match="no such file") as caught:
            locate(Table("a.csv"), folder=here / "project")
        assert caught.value.received == str(here / "project" / "a.csv")
        (here / "project" / "a.csv").touch()
        assert locate(Table("a.csv"), folder=here / "project") == here / "project" / "a.csv"

    def test_one_from_the_environment_may_begin_where_the_user_is(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "current" / "a.csv").touch()
        monkeypatch.setenv("BIKES", "a.csv")
        assert locate(Table("${BIKES}"), folder=here / "project") == here / "current" / "a.csv"
        (here / "project" / "a.csv").touch()
        assert locate(Table("${BIKES}"), folder=here / "project") == here / "project" / "a.csv"

    def test_the_environment_wins_over_the_settings(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("one", "two"):
            (here / name).mkdir()
            (here / name / "a.csv").touch()
        paths = {"BIKES": str(here / "one")}
        assert locate(Table("${BIKES}/a.csv"), folder=here, paths=paths) == here / "one" / "a.csv"
        monkeypatch.setenv("BIKES", str(here / "two"))
        assert locate(Table("${BIKES}/a.csv"), folder=here, paths=paths) == here / "two" / "a.csv"
        monkeypatch.setenv("BIKES", "")
        assert locate(Table("${BIKES}/a.csv"), folder=here, paths=paths) == here / "one" / "a.csv"

    @pytest.mark.parametrize(("hint", "said"), [("ask Ada for it", "ask Ada for it"), ("", "set BIKES")])
    def test_a_name_that_is_not_set_is_told_with_the_hint(self, hint: str, said: str, here: Path) -> None:
        with pytest.raises(TableNotFound, match="needs BIKES, which is not set") as caught:
            locate(Table("${BIKES}/a.csv", hint=hint), folder=here)
        assert said in (caught.value.next_step or "")
        assert "[paths]" in (caught.value.allowed or "")

    @pytest.mark.parametrize(("hint", "said"), [("ask Ada for it", "ask Ada for it"), ("", "check the path")])
    def test_a_file_that_is_not_there_is_told_with_the_hint(self, hint: str, said: str, here: Path) -> None:
        with pytest.raises(TableNotFound) as caught:
            locate(Table("gone.csv", hint=hint), folder=here)
        assert said in (caught.value.next_step or "")

    def test_home_is_home(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(here))
        (here / "a.csv").touch()
        assert locate(Table("~/a.csv"), folder=here / "project") == here / "a.csv"

    @pytest.mark.parametrize(
        ("source", "name"),
        [("x/y/hour.csv", "hour.csv"), (pd.DataFrame(), "the pandas DataFrame"), (pa.table({}), "the pyarrow Table")],
    )
    def test_a_table_has_a_name_to_be_called_by(self, source: Any, name: str) -> None:
        assert describe(Table(source)) == name


class TestForms:
    @pytest.mark.parametrize("ending", [".parquet", ".pq", ".PARQUET"])
    def test_parquet_by_its_ending(self, ending: str, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [1, 2]}), tmp_path / f"t{ending}")
        assert read(Table(f"t{ending}"), folder=tmp_path)["a"].tolist() == [1, 2]

    @pytest.mark.parametrize("ending", [".xlsx", ".json", ".tsv", ".gz", ""])
    def test_another_ending_is_refused(self, ending: str, tmp_path: Path) -> None:
        (tmp_path / f"t{ending}").write_text("a\n1\n", encoding="utf-8")
        with pytest.raises(TableUnreadable, match="of a kind that is not read") as caught:
            read(Table(f"t{ending}"), folder=tmp_path)
        assert caught.value.received == (ending or "no ending")

    @pytest.mark.parametrize("source", [{"a": [1]}, [1, 2], 7, np.zeros((2, 2)), lambda: None])
    def test_another_object_is_refused(self, source: Any, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="kind that is not read") as caught:
            read(Table(source), folder=tmp_path)
        assert caught.value.received == type(source).__name__

    def test_arrow_types_that_pandas_would_keep_as_objects(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "price": pa.array(["1.5", "2.25"]).cast(pa.decimal128(5, 2)),
                "day": pa.array([dt.date(2020, 1, 1), None]),
                "town": pa.array(["Bern", "Chur"]).cast(pa.string_view()),
            }
        )
        frame = read(Table(table), folder=tmp_path)
        assert frame["price"].tolist() == [1.5, 2.25]
        assert str(frame["day"].dtype).startswith("datetime64")
        assert frame["town"].tolist() == ["Bern", "Chur"]

    def test_an_index_is_no_column_and_no_order(self, tmp_path: Path) -> None:
        source = pd.DataFrame({"a": [1, 2]}, index=[7, 3])
        frame = read(Table(source), folder=tmp_path)
        assert (list(frame.columns), frame.index.tolist()) == (["a"], [0, 1])
        assert source.index.tolist() == [7, 3]

    @pytest.mark.parametrize("columns", [[1, 2], [("a", "b"), ("a", "c")], ["a", None]])
    def test_names_are_text(self, columns: Any, tmp_path: Path) -> None:
        frame = pd.DataFrame([[1, 2]])
        frame.columns = pd.Index(columns, tupleize_cols=False)
        with pytest.raises(TableUnreadable, match="whose name is not text"):
            read(Table(frame), folder=tmp_path)

    def test_names_are_each_there_once(self, tmp_path: Path) -> None:
        frame = pd.DataFrame([[1, 2, 3, 4]], columns=["b", "a", "b", "a"])
        with pytest.raises(TableUnreadable, match="a column name twice") as caught:
            read(Table(frame), folder=tmp_path)
        assert caught.value.received == "'a', 'b'"

    @pytest.mark.parametrize("answer", [None, 7, [1], pd.Series([1]), np.zeros(3)])
    def test_prepare_returns_a_frame(self, answer: Any, tmp_path: Path) -> None:
        with pytest.raises(TableUnreadable, match="did not return a frame") as caught:
            _csv(tmp_path, "a\n1\n", prepare=lambda frame: answer)
        assert caught.value.received == type(answer).__name__
        assert "return the frame" in (caught.value.next_step or "")

    def test_what_prepare_raised_is_told_with_its_own_line(self, tmp_path: Path) -> None:
        def prepare(frame: Any) -> Any:
            return frame["colour"]

        with pytest.raises(TableUnreadable, match="raised KeyError") as caught:
            _csv(tmp_path, "a\n1\n", prepare=prepare)
        assert 'return frame["colour"]' in (caught.value.received or "")
        assert isinstance(caught.value.__cause__, KeyError)

    def test_control_c_in_prepare_is_not_swallowed(self, tmp_path: Path) -> None:
        def prepare(frame: Any) -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            _csv(tmp_path, "a\n1\n", prepare=prepare)


class TestLines:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("2026-11-23T18:00:00Z", "2026-11-23T18:00:00.000000Z"),
            ("2026-11-23", "2026-11-23T00:00:00.000000Z"),
            ("2026-11-23T18:00:00.5+02:00", "2026-11-23T16:00:00.500000Z"),
            ("2026-11-23 18:00", "2026-11-23T18:00:00.000000Z"),
        ],
    )
    def test_a_moment_is_written_one_way(self, text: str, found: str) -> None:
        assert moment(text) == found
        assert moment(found) == found

    @given(st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(2200, 1, 1)), st.integers(-12, 12))
    @settings(max_examples=40)
    def test_moments_sort_as_they_happened(self, at: dt.datetime, hours: int) -> None:
        there = at.replace(tzinfo=dt.timezone(dt.timedelta(hours=hours)))
        later = there + dt.timedelta(microseconds=1)
        assert moment(there.isoformat()) < moment(later.isoformat())
        assert dt.datetime.fromisoformat(moment(there.isoformat())) == there

    @pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "1732384800", "x" * 500])
    def test_what_is_no_moment_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="a time cannot be read") as caught:
            moment(text)
        assert len(str(caught.value)) < 300

    def test_a_moment_without_a_zone_is_utc_wherever_the_machine_stands(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        try:
            found = moment("2026-11-23T18:00:00")
        finally:
            monkeypatch.undo()
            time.tzset()
        assert found == "2026-11-23T18:00:00.000000Z"

    def test_now_is_a_moment(self) -> None:
        text = now()
        assert moment(text) == text
        assert text <= now()

    def test_a_torn_line_is_skipped_and_counted_in_each_reading(self, tmp_path: Path) -> None:
        path = tmp_path / "outcomes.jsonl"
        good = b'{"prediction_id":"a-1","value":1}\n'
        path.write_bytes(good + b'{"prediction_id":"a-2","val\n' + b"\xff\xfe\n" + b"[]\n" + good)
        lines = Lines(path, Outcome)
        for _ in range(2):
            assert [each.prediction_id for each in lines] == ["a-1", "a-1"]
            assert lines.torn == 3
        assert list(Lines(tmp_path / "gone.jsonl", Outcome)) == []

    @pytest.mark.parametrize("value", [np.float64(1.5), np.int32(3), np.bool_(True), np.str_("a")])
    def test_numbers_of_numpy_are_plain(self, value: Any) -> None:
        assert plain(value) == value.item()
        assert type(plain(value)) is type(value.item())

    @pytest.mark.parametrize("value", [object(), {1, 2}, 1j])
    def test_what_json_cannot_hold_is_refused(self, value: Any) -> None:
        with pytest.raises(TypeError, match=type(value).__name__):
            plain(value)

    @pytest.mark.parametrize("name", ["bikes", "a", "0-_", "a" * 63])
    def test_a_model_has_a_folder_of_its_own(self, name: str, tmp_path: Path) -> None:
        assert model_folder(tmp_path, name) == tmp_path / name

    @pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "A", "-a", "_a", "a\n", "a" * 64, "a.b", "ä"])
    def test_a_name_that_leads_elsewhere_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="a model cannot have this name"):
            model_folder(tmp_path, name)

    def test_all_is_written_however_little_the_system_takes_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = bytearray()

        def stingy(descriptor: int, data: Any) -> int:
            taken.extend(bytes(data[:3]))
            return len(data[:3])

        monkeypatch.setattr(os, "write", stingy)
        write(1, b"0123456789")
        assert bytes(taken) == b"0123456789"

    def test_the_error_for_a_full_disk_says_what_and_where(self, tmp_path: Path) -> None:
        error = unwritable(tmp_path / "x", OSError(28, "No space left on device"))
        assert "No space left on device" in error.what
        assert error.received == str(tmp_path / "x")
        assert "disk has room" in (error.next_step or "")
