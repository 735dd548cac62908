"""Batch scoring: the same numbers and verdicts as online, and files that are whole or not there."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.deployment import batch
from fullcircle.errors import DataUnfit, TableUnreadable, WorkspaceUnusable
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Prediction
from serving import GOOD, Coin, Sum, app, classes, contract, loaded, post

SCORER = Scorer(contract(), Sum())


def table(rows: int = 20) -> pd.DataFrame:
    """Patients with an id and a day of their own; every fifth is too young, every seventh has no bmi."""
    numbers = np.arange(rows)
    bmi = np.where(numbers % 7 == 3, np.nan, 20 + numbers / 3)
    return pd.DataFrame(
        {
            "patient": [f"p{number}" for number in numbers],
            "age": np.where(numbers % 5 == 2, 3, 30 + numbers % 60),
            "bmi": bmi,
            "sex": pd.Categorical(np.where(numbers % 2, "m", "f")),
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(numbers, unit="h"),
        }
    )


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        numbers = [name for name in frame if name in ("row", "age") or name.startswith("probability_")]
        if "no" not in set(frame.get("prediction", ())):
            numbers += [name for name in frame if name == "prediction"]
        frame = frame.assign(**{name: [float(text or "nan") for text in frame[name]] for name in numbers})
        return frame.astype({"row": int})
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, precise_float=True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_answers_and_rejects_are_apart_and_complete(tmp_path: Path, suffix: str) -> None:
    frame = table()
    found = batch.score_to_file(SCORER, frame, tmp_path / f"out{suffix}", chunk=3)
    results, rejects = read(tmp_path / f"out{suffix}"), read(tmp_path / f"out.quarantine{suffix}")
    assert (found.rows, found.answered, found.rejected) == (20, 16, 4)
    assert found.verdicts == {"imputed": 2, "ok": 14, "rejected": 4}
    assert (found.results, found.quarantine) == (
        str(tmp_path / f"out{suffix}"),
        str(tmp_path / f"out.quarantine{suffix}"),
    )
    assert sorted([*results["row"], *rejects["row"]]) == list(range(20))
    assert list(rejects["row"]) == [2, 7, 12, 17]
    assert list(results["patient"]) == [f"p{row}" for row in results["row"]]
    expected = [one.value for one in SCORER.score(rows_of(frame, SCORER.contract)) if one.value is not None]
    assert list(results["prediction"]) == expected  # the same bits, after writing and reading
    assert set(results["verdict"]) == {"ok", "imputed"}
    assert rejects["problems"].str.contains("age").all()
    assert "prediction" not in rejects
    assert len(os.listdir(tmp_path)) == 2


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "age": st.integers(0, 120) | st.none() | st.booleans() | st.text(max_size=3),
                "bmi": st.floats(0, 100) | st.none() | st.integers(-5, 80),
                "sex": st.sampled_from(["f", "m", "x", None]),
                "other": st.integers(),
            },
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 13),
)
def test_rows_are_answered_as_online_however_they_are_cut(rows: list[dict[str, Any]], chunk: int) -> None:
    found = [one for part in batch.score(SCORER, rows, chunk=chunk) for one in part.predictions]
    with tempfile.TemporaryDirectory() as folder:
        online = post(app(Path(folder)), "/predict/m", {"rows": rows}).json["predictions"]
    assert [(one.value, one.verdict.status) for one in found] == [
        (one["prediction"], one["verdict"]) for one in online
    ]


def test_a_classifier_writes_a_probability_for_each_class(tmp_path: Path) -> None:
    found = batch.score_to_file(Scorer(classes(), Coin()), table(), tmp_path / "out.csv")
    results = read(tmp_path / "out.csv")
    assert set(results["prediction"]) == {"no"}
    assert (results["probability_yes"] == results["age"] / 100).all()
    assert np.allclose(results["probability_yes"] + results["probability_no"], 1)
    assert found.rejected == 4
    assert "probability_yes" not in read(tmp_path / "out.quarantine.csv")


def test_progress_reaches_the_end_and_memory_is_asked_for_in_pieces(tmp_path: Path) -> None:
    class Heard:
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def step(self, name: str, detail: str = "") -> None: ...
        def note(self, text: str) -> None: ...
        def advance(self, done: int, total: int) -> None:
            self.told.append((done, total))

    heard = Heard()
    alive = 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal alive
        for _ in range(5):
            alive += 1
            yield table(8)

    parts = batch.score(SCORER, frames(), chunk=5, progress=heard)
    next(parts)
    assert alive == 1  # the second frame is not made before the first is used up
    rest = list(parts)
    assert [part.first for part in rest] == [5, 8, 13, 16, 21, 24, 29, 32, 37]
    assert heard.told[-1] == (40, 40)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_an_empty_table_gives_an_empty_result(tmp_path: Path, suffix: str) -> None:
    found = batch.score_to_file(SCORER, table(0), tmp_path / f"out{suffix}")
    assert (found.rows, found.quarantine) == (0, "")
    assert (tmp_path / f"out{suffix}").exists()
    if suffix != ".jsonl":
        assert {"patient", "prediction", "verdict"} <= set(read(tmp_path / f"out{suffix}").columns)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_when_all_are_rejected_the_results_are_empty(tmp_path: Path, suffix: str) -> None:
    found = batch.score_to_file(SCORER, [{"age": 1}, {}], tmp_path / f"out{suffix}")
    assert (found.answered, found.rejected) == (0, 2)
    assert len(read(tmp_path / f"out.quarantine{suffix}")) == 2
    assert (tmp_path / f"out{suffix}").exists()


def test_a_quarantine_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    out, rejects = tmp_path / "out.csv", tmp_path / "bad.csv"
    batch.score_to_file(SCORER, [{"age": 1}], out, quarantine=rejects)
    assert rejects.exists()
    found = batch.score_to_file(SCORER, [GOOD], out, quarantine=rejects)
    assert (found.quarantine, rejects.exists()) == ("", False)


def test_parquet_keeps_types_even_of_a_column_that_is_empty_at_first(tmp_path: Path) -> None:
    frames = [table(3).assign(note=None, big=2**60), table(3).assign(note="x", big=2**60)]
    batch.score_to_file(SCORER, frames, tmp_path / "out.parquet")
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["note"].isna().tolist() == [True, True, False, False]
    assert list(found["big"]) == [2**60] * 4
    assert found["seen"].dtype.kind == "M"
    assert found["sex"].tolist() == ["f", "m", "f", "m"]


def test_parquet_says_when_a_column_mixes_types(tmp_path: Path) -> None:
    rows = [{**GOOD, "note": 1}, {**GOOD, "note": "x"}]
    for chunk in (1, 2):
        with pytest.raises(TableUnreadable, match="mixes types"):
            batch.score_to_file(Scorer(contract(unknown="flag"), Sum()), rows, tmp_path / "out.parquet", chunk=chunk)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_frames_with_different_columns_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataUnfit, match="same columns") as caught:
        batch.score_to_file(SCORER, [table(3), table(3).assign(big=1)], tmp_path / f"out{suffix}")
    assert caught.value.received == "big"
    assert os.listdir(tmp_path) == []


def test_wrong_use_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    class Never:
        def predict(self, frame: Any) -> Any:
            raise AssertionError

    scorer = Scorer(contract(), Never())
    with pytest.raises(TableUnreadable, match="cannot be told") as caught:
        batch.score_to_file(scorer, table(), tmp_path / "out.xlsx")
    assert ".parquet" in str(caught.value)
    with pytest.raises(TableUnreadable, match="cannot be written there"):
        batch.score_to_file(scorer, table(), tmp_path / "nowhere" / "out.csv")
    with pytest.raises(DataUnfit, match="neither a frame"):
        list(batch.score(scorer, iter([1, 2])))


def test_a_column_named_like_a_result_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataUnfit, match="result column") as caught:
        batch.score_to_file(SCORER, table().assign(prediction=1), tmp_path / "out.csv")
    assert caught.value.received == "prediction"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_interrupted_it_leaves_what_was_there_before(tmp_path: Path, suffix: str, stop: type[BaseException]) -> None:
    out = tmp_path / f"out{suffix}"
    batch.score_to_file(SCORER, table(), out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def frames() -> Iterator[pd.DataFrame]:
        yield table(8)
        raise stop

    with pytest.raises(stop):
        batch.score_to_file(SCORER, frames(), out)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_killed_it_leaves_no_result(tmp_path: Path) -> None:
    program = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from serving import Sum, contract, GOOD
from fullcircle.deployment import batch
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
class Killed(Sum):
    calls = 0
    def predict(self, frame):
        self.calls += 1
        if self.calls == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(frame)
batch.score_to_file(Scorer(contract(), Killed()), [GOOD] * 100, Path(sys.argv[1]) / "out.csv", chunk=10)
"""
    tests = str(Path(__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path), tests], check=False, timeout=60)
    assert ended.returncode == -9
    assert not (tmp_path / "out.csv").exists()
    assert all(name.startswith(".") for name in os.listdir(tmp_path))


def test_the_result_may_be_read_by_others_as_usual(tmp_path: Path) -> None:
    batch.score_to_file(SCORER, [GOOD], tmp_path / "out.csv")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "out.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_survives_csv_and_json_lines(tmp_path: Path) -> None:
    awkward = ['a,"b"\nc', "é😀", " lead", "=1+1"]
    rows: list[Mapping[str, Any]] = [{**GOOD, "bmi": place + 20.1} for place in range(4)]
    frame = pd.DataFrame(rows).assign(note=awkward)
    for suffix in (".csv", ".jsonl"):
        batch.score_to_file(SCORER, frame, tmp_path / f"out{suffix}")
        assert list(read(tmp_path / f"out{suffix}")["note"]) == awkward
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["prediction"] == 60.1
    assert loaded().version == 1


@pytest.mark.parametrize("rows", [0, 3])
def test_a_regression_answers_in_numbers_even_where_nothing_was_answered(tmp_path: Path, rows: int) -> None:
    young = table(30).assign(age=3).head(rows)
    batch.score_to_file(SCORER, young, tmp_path / "out.parquet")
    assert str(pd.read_parquet(tmp_path / "out.parquet")["prediction"].dtype) == "float64"


def test_frames_in_another_order_are_refused_in_words(tmp_path: Path) -> None:
    frame = table(4)
    with pytest.raises(DataUnfit, match="in the same order") as caught:
        batch.score_to_file(SCORER, iter([frame, frame[frame.columns[::-1]]]), tmp_path / "out.csv")
    assert caught.value.received == "another order"
    with pytest.raises(DataUnfit) as more:
        batch.score_to_file(SCORER, iter([frame, frame.assign(extra=1)]), tmp_path / "out.csv")
    assert more.value.received == "extra"
    assert list(tmp_path.iterdir()) == [], "nothing is left of either"


class Heard:
    """Notes how far it is."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []

    def step(self, name: str, detail: str = "") -> None:
        raise AssertionError("a step belongs to the caller")

    def note(self, text: str) -> None:
        raise AssertionError("nothing to note")

    def advance(self, done: int, total: int) -> None:
        self.parts.append((done, total))


def test_progress_knows_the_end_where_the_source_does() -> None:
    frame, known, unknown = table(5), Heard(), Heard()
    list(batch.score(SCORER, frame, chunk=2, progress=known))
    list(batch.score(SCORER, iter([frame]), chunk=2, progress=unknown))
    assert known.parts == [(2, 5), (4, 5), (5, 5)]
    assert unknown.parts == [(2, 2), (4, 4), (5, 5)]


def test_rows_of_a_table_keep_their_place(tmp_path: Path) -> None:
    batch.score_to_file(SCORER, iter([table(4), table(3)]), tmp_path / "out.csv", chunk=2)
    places = [*read(tmp_path / "out.csv")["row"], *read(tmp_path / "out.quarantine.csv")["row"]]
    assert sorted(places) == list(range(7))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_recorded_rows_carry_the_id_of_their_line_in_the_log(tmp_path: Path, suffix: str) -> None:
    folder, sizes = tmp_path / "log", list[int]()
    with log.PredictionLog(folder) as kept:

        def record(found: Sequence[Prediction]) -> Sequence[Prediction]:
            sizes.append(len(found))
            return kept.append(log.signed(found, contract(), model="m", version=3, bundle="c" * 64))

        frame = table().assign(id=range(20))
        batch.score_to_file(SCORER, frame, tmp_path / f"out{suffix}", chunk=3, record=record)
    results, rejects = read(tmp_path / f"out{suffix}"), read(tmp_path / f"out.quarantine{suffix}")
    assert max(sizes) == 3, "the log is written chunk by chunk"
    ids = [*results["prediction_id"], *rejects["prediction_id"]]
    assert len(set(ids)) == 20
    for row in results.to_dict("records"):
        found = log.find(folder, row["prediction_id"])
        assert (found.model, found.version, found.bundle) == ("m", 3, "c" * 64)
        assert (found.value, found.verdict.status) == (row["prediction"], row["verdict"])
        assert found.inputs is not None
        assert found.inputs["age"] == row["age"]
        assert "sex" not in found.inputs, "it is private"
    for one in rejects["prediction_id"]:
        assert log.find(folder, one).verdict.status == "rejected"
    assert list(results["id"]) == [*map(results["id"].dtype.type, results["row"])], "a table's own ids stay"


def test_nothing_is_written_that_could_not_be_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    calls: list[int] = []

    def record(found: Sequence[Prediction]) -> Sequence[Prediction]:
        calls.append(len(found))
        if len(calls) == 2:
            raise WorkspaceUnusable("no space")
        return found

    with pytest.raises(WorkspaceUnusable):
        batch.score_to_file(SCORER, table(), out, chunk=5, record=record)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert out.read_text() == "before"
    with pytest.raises(DataUnfit, match="result column"):
        batch.score_to_file(SCORER, table().assign(prediction_id=1), out, record=record)
    assert calls == [5, 5], "what is refused is not recorded"
