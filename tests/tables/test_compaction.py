"""Compaction: what comes out of a Parquet segment is what went in, at every moment and after every crash."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import PredictionNotFound, WorkspaceUnusable
from fullcircle.tables import compacted, compaction, segments
from fullcircle.tables.predictions import PredictionLog, SegmentRows, find, known, read, torn_lines
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.prediction import Prediction

MODEL = "bike-demand"


def prediction(value: Any = 1.5, **more: Any) -> Prediction:
    fields: dict[str, Any] = {"verdict": Verdict(status="ok"), "model": MODEL, "version": 1, **more}
    return Prediction(value=value, **fields)


def logged(folder: Path, rows: Sequence[Prediction]) -> tuple[str, list[Prediction]]:
    """One closed segment of these rows: its name, and the rows as they were logged."""
    with PredictionLog(folder) as log:
        done = [row for one in rows for row in log.append([one])]
    return done[0].id.partition("-")[0], done


def compact(folder: Path, name: str) -> compaction.Prepared:
    home = folder / MODEL
    source = SegmentRows(home, name)
    prepared = compaction.prepare(home, name, source, lambda: source.torn)
    compaction.publish(home, name)
    return prepared


PROBLEM = Problem(column="temp", reason="outside", action="flag", text="temp is above 1 ☂")
ROWS = [
    prediction(
        1.5, inputs={"temp": 41.0, "hr": 3, "weather": "clear", "holiday": None, "ok": True}, bundle="ab" * 32
    ),
    prediction(2, inputs={"hr": 2**62, "temp": 3, "weather": "", "ok": False}, latency=0.25),
    prediction(
        None, verdict=Verdict(status="rejected", problems=(PROBLEM, PROBLEM)), context={"day": [1, {"a": None}]}
    ),
    prediction(3.0, inputs={}, answered_by="previous", lookup={"view": "v", "at": 2**60, "values": {"x.y": 1.0}}),
    prediction(4.0, inputs={"mixed": "a", "gone": None, "a.b": 1}, version=2),
    prediction(5.0, inputs={"mixed": 1, "deep": {"a": [1, 2.5, "x"]}, "big": 10**30, "a.b": 2.5}),
]
CLASSES = [prediction(label, probabilities={"0": 0.25, "no": 0.75}) for label in ("yes", "no", None)]


@pytest.mark.parametrize("rows", [ROWS, CLASSES, ROWS + CLASSES, [prediction(True), prediction(False)], ROWS[:1]])
def test_what_went_in_comes_out(rows: list[Prediction], tmp_path: Path) -> None:
    name, done = logged(tmp_path, rows)
    prepared = compact(tmp_path, name)
    assert prepared.rows == len(rows)
    assert [path.name for path in sorted((tmp_path / MODEL).iterdir())] == [f"{name}.ids", f"{name}.parquet"]
    found = list(read(tmp_path, MODEL))
    assert found == done
    assert [list(row.inputs or ()) for row in found] == [list(row.inputs or ()) for row in done], "names in order"
    assert [find(tmp_path, row.id) for row in done] == done
    assert all(known(tmp_path, MODEL, row.id) for row in done)


def test_columns_have_types(tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS[:2])
    compact(tmp_path, name)
    table = pq.read_table(tmp_path / MODEL / f"{name}.parquet", partitioning=None)
    types = {field.name: field.type for field in table.schema}
    assert types["time"] == pa.timestamp("us", tz="UTC")
    assert types["value"] == types["input.temp"] == types["latency"] == pa.float64()
    assert (types["input.hr"], types["input.ok"], types["input.weather"]) == (pa.int64(), pa.bool_(), pa.string())
    assert types["version"] == pa.int64()
    assert table["input.hr"].to_pylist() == [3, 2**62]
    assert table["id"].to_pylist() == [row.id for row in done]


def test_a_mapping_of_very_many_names_is_kept_whole(tmp_path: Path) -> None:
    rows = [prediction(inputs={f"c{place}-{n}": n for n in range(600)}) for place in range(2)]
    name, done = logged(tmp_path, rows)
    compact(tmp_path, name)
    assert list(read(tmp_path, MODEL)) == done
    assert len(pq.read_schema(tmp_path / MODEL / f"{name}.parquet")) < 30


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00Z", "2026-13-01T00:00:00.000000Z", ""])
def test_times_of_another_form_are_kept_as_they_are(moment: str, tmp_path: Path) -> None:
    home = tmp_path / MODEL
    home.mkdir()
    row = prediction(id="a" * 16 + "-0", time=moment)
    compaction.prepare(home, "a" * 16, [row])
    compaction.publish(home, "a" * 16)
    assert list(read(tmp_path, MODEL)) == [row]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.lists(st.integers(), max_size=2),
)  # fmt: skip
MAPPINGS = st.one_of(st.none(), st.dictionaries(st.sampled_from(["a", "b", "a.b", "", "é"]), VALUES, max_size=4))


@given(st.lists(st.builds(prediction, VALUES.filter(lambda v: type(v) is not list), inputs=MAPPINGS), max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_rows_come_out_as_the_lines_would_give_them(rows: list[Prediction]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        name, _ = logged(Path(temporary), [*rows, prediction()])
        before = list(read(Path(temporary), MODEL))
        compact(Path(temporary), name)
        after = list(read(Path(temporary), MODEL))
        assert after == before
        for one, other in zip(before, after, strict=True):
            for key, value in (one.inputs or {}).items():
                assert type(value) is type((other.inputs or {})[key]) or abs(value) <= 2**53


def test_torn_lines_stay_counted_and_their_rest_goes(tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS)
    path = tmp_path / MODEL / f"{name}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id":"' + name.encode() + b'-9999","value":"SECRET')
    compact(tmp_path, name)
    rows = read(tmp_path, MODEL)
    assert list(rows) == done
    assert rows.torn == torn_lines(tmp_path, MODEL) == 1
    assert b"SECRET" not in b"".join(file.read_bytes() for file in (tmp_path / MODEL).iterdir())


def test_both_forms_are_merged_by_time_and_passed_over_by_it(tmp_path: Path) -> None:
    logs = [PredictionLog(tmp_path, segment_bytes=700) for _ in range(3)]
    done = [logs[n % 3].append([prediction(float(n))])[0] for n in range(36)]
    for log in logs:
        log.close()
    names = segments.names(tmp_path / MODEL)
    assert len(names) >= 6
    for name in names[::2]:
        compact(tmp_path, name)
    assert list(read(tmp_path, MODEL)) == done
    cut, end = done[20].time, done[30].time
    assert list(read(tmp_path, MODEL, since=cut)) == done[20:]
    assert list(read(tmp_path, MODEL, since=cut, until=end)) == done[20:30]
    old = next(iter((tmp_path / MODEL).glob("*.parquet")))
    assert compacted.about(old).outside("2999", "")
    assert compacted.about(old).outside("", "2001")
    assert not compacted.about(old).outside(cut[:4], "2999")


def test_erased_rows_are_skipped_found_and_not_known(tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS)
    home = tmp_path / MODEL
    stones = [replace(done[0], value=None, inputs=None, erased="mark"), *done[1:]]
    compaction.prepare(home, name, stones)
    compaction.publish(home, name)
    assert list(read(tmp_path, MODEL)) == done[1:]
    assert find(tmp_path, done[0].id).erased == "mark"
    assert [known(tmp_path, MODEL, row.id) for row in done] == [False, *[True] * (len(done) - 1)]


@pytest.mark.parametrize("wrong", ["0" * 16 + "-0", "{name}-1", "{name}-999999", "{name}-00"])
def test_ids_that_were_never_given_are_not_found(wrong: str, tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS)
    compact(tmp_path, name)
    assert known(tmp_path, MODEL, done[-1].id)
    assert not known(tmp_path, MODEL, wrong.format(name=name))
    with pytest.raises(PredictionNotFound):
        find(tmp_path, wrong.format(name=name))


def test_the_index_finds_each_place_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.ids"
    places = sorted(random.Random(5).sample(range(100_000), 400))
    path.write_bytes(segments.index_of(places))
    asked = sorted({*places, *range(0, 100_001, 97), *(place + 1 for place in places)})
    assert [place for place in asked if segments.in_index(path, place)] == places
    path.write_bytes(b"")
    assert not segments.in_index(path, 0)


def test_a_server_without_pyarrow_knows_ids_and_is_told_what_else_it_needs(tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS)
    compact(tmp_path, name)
    program = (
        "import sys; from pathlib import Path\n"
        "sys.modules['pyarrow'] = None\n"
        "from fullcircle.errors import MissingExtra\n"
        "from fullcircle.tables.predictions import PredictionLog, find, known\n"
        f"assert known(Path(sys.argv[1]), {MODEL!r}, {done[3].id!r})\n"
        f"PredictionLog(Path(sys.argv[1])).write({MODEL!r}, [b'{{\"value\":1.0}}'])\n"
        "try: find(Path(sys.argv[1]), sys.argv[2])\n"
        "except MissingExtra as error: print(error.next_step)\n"
    )
    done_ = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), done[0].id], capture_output=True, text=True, check=False
    )
    assert (done_.returncode, done_.stderr) == (0, "")
    assert done_.stdout.strip() == "pip install 'fullcircle[lab]'"


def test_a_damaged_segment_is_said_so(tmp_path: Path) -> None:
    name, _ = logged(tmp_path, ROWS)
    compact(tmp_path, name)
    path = tmp_path / MODEL / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(WorkspaceUnusable, match="cannot be read") as caught:
        list(read(tmp_path, MODEL))
    assert "audit" in (caught.value.next_step or "")
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(WorkspaceUnusable, match="cannot be read"):
        list(read(tmp_path, MODEL))


def test_a_reader_sees_each_row_once_while_all_is_compacted(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, segment_bytes=2000) as log:
        done = [log.append([prediction(float(n))])[0] for n in range(120)]
    failures: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            found = [row.id for row in read(tmp_path, MODEL)]
            if found != [row.id for row in done]:
                failures.append(len(found))
            if not known(tmp_path, MODEL, done[60].id):
                failures.append("unknown")

    reader = threading.Thread(target=look)
    reader.start()
    for name in segments.names(tmp_path / MODEL):
        compact(tmp_path, name)
    stop.set()
    reader.join()
    assert failures == []


@pytest.mark.parametrize("at", range(4))
def test_a_crash_between_any_two_steps_hides_and_doubles_nothing(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing is two renames and an unlink: stopped before each, all rows are read once, and it can go on."""
    name, done = logged(tmp_path, ROWS)
    home = tmp_path / MODEL
    source = SegmentRows(home, name)
    compaction.prepare(home, name, source)
    left = [at]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments, **more)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted(os.replace))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        try:
            compaction.publish(home, name)
        except KeyboardInterrupt:
            assert at < 3
    assert list(read(tmp_path, MODEL)) == done
    assert all(known(tmp_path, MODEL, row.id) for row in done)
    compaction.publish(home, name)
    assert list(read(tmp_path, MODEL)) == done
    assert len(list(home.iterdir())) == 2
    assert json.loads(pq.read_schema(home / f"{name}.parquet").metadata[b"fullcircle"])["rows"] == len(done)


def test_new_files_that_nothing_speaks_of_are_taken_away(tmp_path: Path) -> None:
    name, done = logged(tmp_path, ROWS)
    home = tmp_path / MODEL
    compaction.prepare(home, name, SegmentRows(home, name))
    compaction.discard(home, name)
    compaction.discard(home, name)
    assert [path.name for path in home.iterdir()] == [f"{name}.jsonl"]
    assert list(read(tmp_path, MODEL)) == done


def test_chunks_of_different_kinds_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first rows looked like decides nothing: each column becomes what holds all of it."""
    monkeypatch.setattr(compaction, "ROW_GROUP", 2)
    inputs: list[dict[str, Any] | None] = [
        {"n": 1, "m": None, "big": 1, "t": "x"}, {"n": 2, "b": True}, {"n": 2.5, "m": 3, "big": 2**60}, None,
        {"m": "three", "b": None, "late": 1}, {}, {"n": None, "m": [1], "big": -(2**60), "b": False}, {"big": 1.5},
    ]  # fmt: skip
    name, done = logged(tmp_path, [prediction(float(n), inputs=one) for n, one in enumerate(inputs)])
    compact(tmp_path, name)
    assert list(read(tmp_path, MODEL)) == done
    schema = pq.read_schema(tmp_path / MODEL / f"{name}.parquet")
    assert schema.field("input.n").type == pa.float64()
    assert schema.field("input.b").type == pa.bool_()
    assert schema.field("input.m").metadata == schema.field("input.big").metadata == {b"json": b"1"}


def test_a_segment_without_a_whole_row_is_a_table_of_none(tmp_path: Path) -> None:
    home = tmp_path / MODEL
    home.mkdir()
    (home / ("a" * 16 + ".jsonl")).write_bytes(b'{"id":"torn')
    assert compact(tmp_path, "a" * 16).rows == 0
    assert list(read(tmp_path, MODEL)) == []
    assert torn_lines(tmp_path, MODEL) == 1
    assert pq.read_schema(home / ("a" * 16 + ".parquet")).field("time").type == pa.timestamp("us", tz="UTC")


def test_times_of_two_forms_in_two_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP", 1)
    (tmp_path / MODEL).mkdir()
    times = ["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02.500000Z"]
    rows = [prediction(float(n), id=f"{'a' * 16}-{n}", time=time) for n, time in enumerate(times)]
    compaction.prepare(tmp_path / MODEL, "a" * 16, rows)
    compaction.publish(tmp_path / MODEL, "a" * 16)
    assert list(read(tmp_path, MODEL)) == rows
    assert pq.read_schema(tmp_path / MODEL / f"{'a' * 16}.parquet").field("time").metadata is None
