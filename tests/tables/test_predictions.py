"""The log of predictions: several processes, crashes at any byte, ids that lead straight to their line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import PredictionNotFound, RequestInvalid, WorkspaceUnusable
from fullcircle.tables.predictions import (
    PredictionLog,
    append_outcomes,
    find,
    read,
    read_outcomes,
    signed,
    torn_lines,
)
from fullcircle.types.contract import Column, Contract, Problem, Verdict
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "bike-demand"


def prediction(value: Any = 1.5, **more: Any) -> Prediction:
    fields: dict[str, Any] = {"verdict": Verdict(status="ok"), "model": MODEL, "version": 1, **more}
    return Prediction(value=value, **fields)


def test_what_is_appended_comes_back_whole_by_id_and_in_order(tmp_path: Path) -> None:
    problem = Problem(column="temp", reason="outside", action="flag", text="temp is above 1")
    rows = [
        prediction(
            12.25, bundle="ab" * 32, inputs={"temp": 41.0, "hr": 3, "weather": "clear", "holiday": None, "ok": True}
        ),
        prediction("churn ☂\n", probabilities={"churn ☂\n": 0.75, "stay": 0.25}),
        prediction(None, verdict=Verdict(status="rejected", problems=(problem,))),
    ]
    with PredictionLog(tmp_path) as log:
        done = log.append(rows)
    assert [row.value for row in done] == [row.value for row in rows]
    assert len({row.id for row in done}) == 3
    assert all(row.time.endswith("Z") and len(row.time) == 27 for row in done)
    assert [find(tmp_path, row.id) for row in done] == list(done)
    assert list(read(tmp_path, MODEL)) == list(done)


def test_numpy_values_are_logged_as_numbers_and_nothing_stays_nothing(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        (done,) = log.append([prediction(np.float64(2.5), inputs={"n": np.int64(7), "x": float("nan")})])
        assert log.append([]) == ()
    found = find(tmp_path, done.id)
    assert found.value == 2.5
    assert found.inputs == {"n": 7, "x": None}


def test_a_batch_for_two_models_lands_in_two_places_and_keeps_its_order(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        done = log.append([prediction(float(i), model=("a", "b")[i % 2]) for i in range(6)])
    assert [row.value for row in done] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [row.value for row in read(tmp_path, "a")] == [0.0, 2.0, 4.0]
    assert [row.value for row in read(tmp_path, "b")] == [1.0, 3.0, 5.0]


def test_reading_by_time_and_version(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        done = [log.append([prediction(float(i), version=1 + i % 2)])[0] for i in range(6)]
    cut = done[3].time
    assert [row.value for row in read(tmp_path, MODEL, since=cut)] == [3.0, 4.0, 5.0]
    assert [row.value for row in read(tmp_path, MODEL, until=cut)] == [0.0, 1.0, 2.0]
    assert [row.value for row in read(tmp_path, MODEL, since=done[1].time, until=cut, version=2)] == [1.0]
    assert list(read(tmp_path, MODEL, since="2999-01-01")) == []
    assert len(list(read(tmp_path, MODEL, since="2001-01-01T00:00:00+02:00"))) == 6
    assert list(read(tmp_path, "never-served")) == []
    with pytest.raises(RequestInvalid, match="time cannot be read"):
        read(tmp_path, MODEL, since="yesterday")


def test_segments_are_merged_by_time(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as one, PredictionLog(tmp_path) as two:
        values = [(one, two)[i % 2].append([prediction(float(i))])[0].value for i in range(20)]
    assert len(list((tmp_path / MODEL).glob("*.jsonl"))) == 2
    assert [row.value for row in read(tmp_path, MODEL)] == values


@pytest.mark.parametrize("wrong", ["", "abc", "../../etc-0", "0" * 16 + "-0", "0" * 16 + "-" + "9" * 30, "x" * 9000])
def test_an_id_that_was_never_given_is_not_found(tmp_path: Path, wrong: str) -> None:
    with PredictionLog(tmp_path) as log:
        log.append([prediction()])
    with pytest.raises(PredictionNotFound) as caught:
        find(tmp_path, wrong)
    assert caught.value.next_step


def test_an_id_shifted_by_a_byte_or_past_the_end_is_not_found(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        first, second = log.append([prediction(), prediction()])
    segment, offset = second.id.split("-")
    for place in (int(offset) + 1, int(offset) - 1, 10**9):
        with pytest.raises(PredictionNotFound):
            find(tmp_path, f"{segment}-{place}")
    assert find(tmp_path, first.id) == first


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "a" * 64])
def test_a_model_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with PredictionLog(tmp_path) as log, pytest.raises(RequestInvalid):
        log.append([prediction(model=name)])
    for reading in (read, read_outcomes, torn_lines):
        with pytest.raises(RequestInvalid):
            reading(tmp_path, name)
    with pytest.raises(RequestInvalid):
        append_outcomes(tmp_path, name, [])


def test_a_last_line_torn_at_any_byte_is_skipped_and_counted(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        done = log.append([prediction(float(i), inputs={"word": "über"}) for i in range(3)])
    (path,) = (tmp_path / MODEL).glob("*.jsonl")
    whole = path.read_bytes()
    last = int(done[2].id.split("-")[1])
    for cut in range(last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        rows = read(tmp_path, MODEL)
        assert list(rows) == list(done[:2])
        assert rows.torn == torn_lines(tmp_path, MODEL) == 1
        with pytest.raises(PredictionNotFound):
            find(tmp_path, done[2].id)


def test_a_segment_of_rubbish_only_is_counted_and_hides_nothing(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        done = log.append([prediction()])
    (tmp_path / MODEL / ("f" * 16 + ".jsonl")).write_bytes(b'{"value":\n\xff\xfe\n')
    rows = read(tmp_path, MODEL)
    assert tuple(rows) == done
    assert rows.torn == 2


_WRITER = """
import sys
from pathlib import Path
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Prediction
log = PredictionLog(Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    batch = [Prediction(value=float(n), verdict=Verdict(status="ok"), model="m", inputs={"pad": "x" * 200})] * 3
    for row in log.append(batch):
        sys.stdout.write(row.id + "\\n")
    sys.stdout.flush()
"""


def _writer(folder: Path, batches: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), str(batches)], stdout=subprocess.PIPE, text=True
    )


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    writers = [_writer(tmp_path, 60) for _ in range(3)]
    ids = [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]
    assert len(set(ids)) == 3 * 60 * 3
    assert {row.id for row in read(tmp_path, "m")} == set(ids)
    assert torn_lines(tmp_path, "m") == 0
    assert len(list((tmp_path / "m").glob("*.jsonl"))) == 3


def test_an_acknowledged_prediction_survives_kill_9(tmp_path: Path) -> None:
    for turn in range(3):
        writer = _writer(tmp_path, 100_000)
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(50 + 97 * turn)]
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.stdout.close()
        writer.wait(timeout=30)
        # The last thing said may itself be cut short by the kill.
        told += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        for line in told[:: max(1, len(told) // 200)] + told[-3:]:
            assert find(tmp_path, line.strip()).id == line.strip()
        seen = {row.id for row in read(tmp_path, "m")}
        assert {line.strip() for line in told} <= seen


_FORK = """
import os, sys
from pathlib import Path
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Prediction
log = PredictionLog(Path(sys.argv[1]))
def say(value):
    (row,) = log.append([Prediction(value=value, verdict=Verdict(status="ok"), model="m")])
    print(row.id, flush=True)
say(0.0)
child = os.fork()
if child == 0:
    say(1.0)
    os._exit(0)
os.waitpid(child, 0)
say(2.0)
"""


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(tmp_path)], capture_output=True, text=True, check=True)
    before, forked, after = done.stdout.split()
    assert [find(tmp_path, row).value for row in (before, forked, after)] == [0.0, 1.0, 2.0]
    assert before.split("-")[0] == after.split("-")[0] != forked.split("-")[0]


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    done: list[Prediction] = []

    def work(start: int) -> None:
        for n in range(50):
            done.extend(log.append([prediction(float(start + n))]))

    threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(done) == 200
    assert all(find(tmp_path, row.id).value == row.value for row in done)


def test_after_a_failed_write_the_log_goes_on_and_holds_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog(tmp_path)
    (first,) = log.append([prediction(1.0)])
    real = os.write
    calls: list[int] = []

    def full_disk(descriptor: int, data: Any) -> int:
        if not calls:
            calls.append(1)
            return real(descriptor, bytes(data)[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_disk)
        with pytest.raises(WorkspaceUnusable, match="No space left") as caught:
            log.append([prediction(2.0)])
    assert caught.value.next_step
    (third,) = log.append([prediction(3.0)])
    log.close()
    assert find(tmp_path, third.id).value == 3.0
    rows = read(tmp_path, MODEL)
    assert [row.id for row in rows] == [first.id, third.id]
    assert rows.torn == 0


def test_a_place_that_cannot_hold_the_log_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WorkspaceUnusable):
        PredictionLog(file).append([prediction()])
    with pytest.raises(WorkspaceUnusable):
        append_outcomes(file, MODEL, [Outcome(prediction_id="a", value=1)])


def test_a_closed_log_begins_again(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append([prediction(1.0)])
    log.close()
    log.close()
    (again,) = log.append([prediction(2.0)])
    assert find(tmp_path, again.id) == again


def test_the_last_outcome_counts(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path, MODEL) == {}
    append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="a-1", value=3), Outcome(prediction_id="a-2", value="x")])
    append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="a-1", value=4.5, time="2999-01-01T00:00:00.000000Z")])
    found = read_outcomes(tmp_path, MODEL)
    assert found["a-1"].value == 4.5
    assert found["a-1"].time == "2999-01-01T00:00:00.000000Z"
    assert found["a-2"].value == "x"
    assert found["a-2"].time.endswith("Z")


def test_a_torn_outcome_does_not_swallow_the_next(tmp_path: Path) -> None:
    append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="a-1", value=1)])
    with (tmp_path / MODEL / "outcomes.jsonl").open("ab") as file:
        file.write(b'{"prediction_id":"a-2","val')
    append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="a-3", value=3)])
    assert set(read_outcomes(tmp_path, MODEL)) == {"a-1", "a-3"}
    assert torn_lines(tmp_path, MODEL) == 1


def test_several_processes_write_outcomes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from fullcircle.tables.predictions import append_outcomes\n"
        "from fullcircle.types.prediction import Outcome\n"
        "for n in range(80):\n"
        "    append_outcomes(Path(sys.argv[1]), 'm', [Outcome(prediction_id=f'{sys.argv[2]}-{n}', value=n)] * 2)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(k)]) for k in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert set(read_outcomes(tmp_path, "m")) == {f"{k}-{n}" for k in range(3) for n in range(80)}
    assert torn_lines(tmp_path, "m") == 0


def test_finding_does_not_read_the_segment(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        done = log.append([prediction(float(i)) for i in range(3)])
    (path,) = (tmp_path / MODEL).glob("*.jsonl")
    whole = path.read_bytes()
    start = int(done[2].id.split("-")[1])
    path.write_bytes(b"\0" * start + whole[start:])  # everything before the line is gone
    assert find(tmp_path, done[2].id) == done[2]


def test_the_log_needs_nothing_beyond_msgspec() -> None:
    program = (
        "import sys, fullcircle.tables.predictions\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'scipy', 'sqlalchemy', 'sklearn', 'polars'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_id_is_found_as_it_was_given_and_in_no_other_spelling(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        (done,) = log.append([prediction()])
    segment, offset = done.id.split("-")
    assert find(tmp_path, done.id) == done
    for other in (f"{segment}-0{offset}", f"{segment.upper()}-{offset}x", f" {done.id}", f"{done.id}\n"):
        with pytest.raises(PredictionNotFound):
            find(tmp_path, other)
    # A segment that somebody copied under another name does not answer for the first.
    (path,) = (tmp_path / MODEL).glob("*.jsonl")
    path.rename(path.with_name("0123456789abcdef.jsonl"))
    with pytest.raises(PredictionNotFound):
        find(tmp_path, f"0123456789abcdef-{offset}")


def test_whole_outcomes_leave_no_torn_or_blank_line(tmp_path: Path) -> None:
    for number in range(3):
        append_outcomes(tmp_path, MODEL, [Outcome(prediction_id=f"a-{number}", value=number)])
    append_outcomes(tmp_path, MODEL, [])
    assert torn_lines(tmp_path, MODEL) == 0
    assert len((tmp_path / MODEL / "outcomes.jsonl").read_bytes().splitlines()) == 3


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_any_segments_are_read_in_order_of_time(segments: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / MODEL
        home.mkdir()
        for place, hours in enumerate(segments):
            rows = [prediction(float(hour), id="x", time=f"2026-01-01T{hour:02d}:00:00Z") for hour in sorted(hours)]
            lines = [msgspec.json.encode(row) + b"\n" for row in rows]
            (home / f"{place:016x}.jsonl").write_bytes(b"".join(lines))
        found = [row.value for row in read(Path(temporary), MODEL)]
        assert found == sorted(float(hour) for hours in segments for hour in hours)
        late = read(Path(temporary), MODEL, since="2026-01-01T02:00:00Z", until="2026-01-01T04:00:00Z")
        assert [row.value for row in late] == [value for value in found if 2 <= float(str(value)) < 4]


def test_signed_predictions_say_by_whom_and_keep_private_inputs_back() -> None:
    columns = (Column(name="temp", kind="number"), Column(name="rider", kind="category", private=True))
    contract = Contract(columns=columns, label="y", task="regression", prior=1.0)
    given = [prediction(2.5, inputs={"temp": 41.0, "rider": "SECRET"}), prediction(None)]
    first, second = signed(given, contract, model="other", version=7, bundle="ab" * 32)
    assert (first.inputs, second.inputs) == ({"temp": 41.0}, None)
    for one in (first, second):
        assert (one.model, one.version, one.bundle) == ("other", 7, "ab" * 32)
    assert given[0].inputs == {"temp": 41.0, "rider": "SECRET"}, "the caller's are as they were"
    (whole,) = signed(
        given[:1], Contract(columns=columns[:1], label="y", task="regression"), model="m", version=1, bundle=""
    )
    assert whole.inputs == given[0].inputs
