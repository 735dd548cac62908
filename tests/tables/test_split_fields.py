"""What the log says of splits: kept in every form, absent where there is none, and unknown to files of before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.server.engine import Mark
from fullcircle.tables import compaction
from fullcircle.tables.compacted import SPLIT
from fullcircle.tables.predictions import PredictionLog, SegmentRows, find, read
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Prediction

MODEL = "houses"
PLAIN = Prediction(value=1.5, verdict=Verdict(status="ok"), model=MODEL, version=1, bundle="b")


def logged(folder: Path, rows: Sequence[Prediction]) -> tuple[str, list[Prediction]]:
    """One closed segment of these rows: its name, and the rows as they were logged."""
    with PredictionLog(folder) as log:
        done = list(log.append(rows))
    return done[0].id.partition("-")[0], done


def compact(folder: Path, name: str) -> Path:
    home = folder / MODEL
    compaction.prepare(home, name, SegmentRows(home, name))
    compaction.publish(home, name)
    return home / f"{name}.parquet"


MARKS: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"split": st.text("0123456789abcdef", min_size=16, max_size=16)}).flatmap(
        lambda known: st.fixed_dictionaries(
            {
                "split": st.just(known["split"]),
                "propensity": st.integers(0, 10_000).map(lambda share: share / 10_000),
                "assigned": st.integers(0, 9),
                "of": st.sampled_from(["", "0123456789abcdef-12"]),
            }
        )
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(marks=st.lists(MARKS, min_size=1, max_size=8))
def test_they_are_read_back_from_lines_and_from_parquet(marks: list[dict[str, object]], tmp_path: Path) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    name, rows = logged(folder, [replace(PLAIN, **mark) for mark in marks])  # type: ignore[arg-type]
    assert list(read(folder, MODEL)) == rows
    compact(folder, name)
    assert list(read(folder, MODEL)) == rows
    assert find(folder, rows[-1].id) == rows[-1]


def test_a_row_without_a_split_says_nothing_of_one(tmp_path: Path) -> None:
    name, _ = logged(tmp_path, [PLAIN])
    line = json.loads((tmp_path / MODEL / f"{name}.jsonl").read_bytes())
    assert not line.keys() & set(SPLIT)


def test_files_of_before_there_were_splits_are_read(tmp_path: Path) -> None:
    name, rows = logged(tmp_path, [PLAIN, replace(PLAIN, value=2.5)])
    path = compact(tmp_path, name)
    whole = pq.read_table(path)
    assert set(SPLIT) <= set(whole.column_names)
    pq.write_table(whole.drop_columns(list(SPLIT)), path)
    assert list(read(tmp_path, MODEL)) == rows
    old = msgspec.json.decode(b'{"value":1.0,"verdict":{"status":"ok"},"model":"m","version":3}', type=Prediction)
    assert (old.split, old.propensity, old.assigned, old.of) == ("", None, 0, "")


@given(share=st.integers(1, 9999), assigned=st.integers(0, 99))
def test_a_mark_reads_as_what_it_says(share: int, assigned: int) -> None:
    mark = Mark("a1b2", share / 10_000, assigned)
    told = json.loads(b'{"value":1' + mark.json + b"}")
    assert told.pop("assigned", 0) == assigned
    assert told == {"value": 1, "split": "a1b2", "propensity": share / 10_000}
