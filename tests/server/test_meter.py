"""What is counted: nothing lost, nothing twice, nothing without bound; and one account of several workers."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import ServerBusy
from fullcircle.server import meter as module
from fullcircle.server.meter import (
    KEPT,
    MODELS,
    PREDICT,
    REASONS,
    ROWS,
    SECONDS,
    SHOWN,
    Meter,
    labels,
    merged,
)
from fullcircle.server.tally import Tally

REQUESTS = f"requests\t{PREDICT}\t"


def filled() -> Meter:
    found = Meter()
    found.swapped("m", 1)
    found.answered("m", 1, {"ok": 2, "rejected": 1}, 3, [0.0001, 0.00011, 20.0], [0.4])
    found.observed("/models", 200, 0.0003)
    found.refused("overload", seconds=0.002)
    found.failed("m", 1, 4)
    found.lost("m", 1, 5)
    return found


def test_every_figure_is_where_it_belongs() -> None:
    found = filled().snapshot()
    requests = found.histograms[f"{REQUESTS}200\tm\t1"]
    assert requests[:2] == [1, 1]  # a bound belongs to its bucket
    assert requests[len(SECONDS)] == 1  # longer than all bounds
    assert sum(requests[:-1]) == 3
    assert requests[-1] == pytest.approx(20.00021)
    assert found.histograms[f"{REQUESTS}422\tm\t1"][-1] == 0.4
    batches = found.histograms["batches\tm\t1"]
    assert (batches[ROWS.index(4)], sum(batches[:-1]), batches[-1]) == (1, 1, 3)
    assert found.histograms["requests\t/models\t200\t\t"][-1] == 0.0003
    assert found.histograms[f"{REQUESTS}503\t\t"][-1] == 0.002
    expected = {
        "verdicts\tok\tm\t1": 2,
        "verdicts\timputed\tm\t1": 0,
        "verdicts\trejected\tm\t1": 1,
        "failed\tm\t1": 4,
        "lost\tm\t1": 5,
        "refused\toverload": 1,
    }
    assert expected.items() <= found.counts.items()
    assert found.gauges["current\tm\t1"] == 1
    assert labels("verdicts\tok\tm\t1") == ("verdicts", ("ok", "m", "1"))


def test_swaps_and_breakers() -> None:
    found = Meter()
    for version in (1, 1, 2, 1):
        found.swapped("m", version)
    found.breaker("m", True)
    assert found.snapshot().counts["swaps\tm"] == 2
    assert {key: value for key, value in found.snapshot().gauges.items() if key.startswith(("cur", "bre"))} == {
        "current\tm\t1": 1,
        "breaker\tm": 1,
    }
    found.breaker("m", False)
    assert found.snapshot().gauges["breaker\tm"] == 0
    found.removed("m")
    assert not [key for key in found.snapshot().gauges if key.startswith(("cur", "bre"))]


def test_what_a_stranger_sends_makes_no_series() -> None:
    found = Meter()
    for number in range(500):
        found.observed(f"/predict/{number}", 200 + number * 7, 0.001)
        found.refused(f"reason {number}", route=f"/{number}", status=400)
    kinds = {labels(key)[1][0] for key in found.snapshot().histograms}
    assert kinds == {"other"}
    assert len(found.snapshot().histograms) < 410  # one for each status there can be
    assert found.snapshot().counts["refused\tother"] == 500
    assert set(REASONS.values()) <= set(range(400, 504))


def test_versions_and_models_are_bounded_and_the_current_one_stays() -> None:
    found = Meter()
    for version in range(1, 1001):
        found.swapped("m", version)
        found.answered("m", version, {"ok": 1}, 1, [0.001])
        found.observed("/explain/{model}", 200, 0.1, "m", version)
    found.swapped("m", 990)  # a rollback: now it is the newest
    own = found.snapshot()
    assert len(own.seen) == KEPT
    assert len(own.histograms) <= 3 * KEPT
    shown = merged([own])
    assert len(shown.seen) == SHOWN
    assert {"m\t1000", "m\t990"} <= shown.seen.keys()
    assert all(key.rsplit("\t", 2)[1:] == ["m", key.rsplit("\t")[-1]] for key in shown.histograms)
    assert {tuple(key.rsplit("\t", 2)[1:]) for key in shown.histograms} == {
        tuple(key.split("\t")) for key in shown.seen
    }
    for number in range(MODELS + 50):
        found.answered(f"m{number}", 1, {"ok": 1}, 1, [0.001])
    names = {key.partition("\t")[0] for key in merged([found.snapshot()]).seen}
    assert len(names) == MODELS
    assert f"m{MODELS + 49}" in names


Batch = st.tuples(
    st.sampled_from(["a", "b"]), st.integers(1, 3), st.integers(0, 3), st.lists(st.floats(0, 30), max_size=5)
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(batches=st.lists(st.tuples(st.integers(0, 2), Batch), max_size=30))
def test_the_sum_over_workers_is_what_one_worker_would_have_counted(
    batches: list[tuple[int, tuple[str, int, int, list[float]]]],
) -> None:
    workers, alone = [Meter() for _ in range(3)], Meter()
    for place, (model, version, rejected, seconds) in batches:
        for one in (workers[place], alone):
            one.answered(model, version, {"ok": len(seconds), "rejected": rejected}, len(seconds), seconds)
    parts = [worker.snapshot() for worker in workers]
    together, whole = merged(parts), merged([alone.snapshot()])
    for key, values in whole.histograms.items():
        assert together.histograms[key] == pytest.approx(values)
    assert together.histograms.keys() == whole.histograms.keys()
    for key in whole.counts.keys() - {"cpu"}:
        assert together.counts[key] == whole.counts[key]
    assert together.gauges["workers"] == 3
    swapped = merged(reversed(parts))
    assert swapped.counts == pytest.approx(together.counts)


def test_a_snapshot_may_be_taken_by_another_thread(request: pytest.FixtureRequest) -> None:
    found, stop = Meter(), threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                merged([found.snapshot()])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                failures.append(error)
                return

    thread = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    # The collector of garbage runs code of others in the midst of one step of ours: here at nearly every step.
    between, often = (lambda *_: time.sleep(0)), gc.get_threshold()
    gc.callbacks.append(between)
    gc.set_threshold(20)
    request.addfinalizer(lambda: gc.callbacks.remove(between))
    request.addfinalizer(lambda: gc.set_threshold(*often))
    thread.start()
    until, number = time.monotonic() + 0.4, 0
    while time.monotonic() < until:
        number += 1
        found.swapped("m", number)
        found.answered("m", number, {"ok": 1}, 1, [0.001])
        found.observed(sorted(module.ROUTES)[number % 9], 200 + number % 300, 0.001)
        found.breaker(f"m{number}", True)
    stop.set()
    thread.join()
    assert failures == []
    assert number > 50


def test_counting_costs_little() -> None:
    """The bounds are some times what was measured (0.25 and 1.9 microseconds), for machines that do other things."""
    found = Meter()
    seconds = [0.001 + place / 1e5 for place in range(64)]
    verdicts = {"ok": 64}

    def took(times: int, verdicts: dict[str, int], seconds: list[float]) -> float:
        best = 1.0
        for _ in range(5):
            begun = time.thread_time()  # what other processes take is not ours
            for _ in range(times):
                found.answered("m", 1, verdicts, len(seconds), seconds)
            best = min(best, (time.thread_time() - begun) / times / len(seconds))
        return best

    assert took(200, verdicts, seconds) < 1e-6
    assert took(2000, {"ok": 1}, [0.001]) < 6e-6


# Several workers


def test_without_a_folder_a_worker_stands_for_itself() -> None:
    found = Tally(filled())
    found.keep()
    assert found.snapshot().counts["verdicts\tok\tm\t1"] == 2
    found.stop()


WORKER = """
import sys, time
from pathlib import Path
from fullcircle.server.meter import Meter
from fullcircle.server.tally import Tally
meter = Meter()
tally = Tally(meter, Path(sys.argv[1]), every=0.02)
tally.keep()
for line in sys.stdin:
    word, _, number = line.strip().partition(" ")
    if word == "count":
        meter.answered("m", 1, {"ok": int(number)}, int(number), [0.01])
    if word == "show":
        print(int(tally.snapshot().counts.get("verdicts\\tok\\tm\\t1", 0)), flush=True)
    if word == "wait":
        time.sleep(0.3)
        print("waited", flush=True)
tally.stop()
"""


class Worker:
    """A process that counts as it is told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        self.tell(line)
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, how: int | None = None) -> None:
        if how is not None:
            self.process.send_signal(how)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def test_any_worker_answers_for_all_and_no_count_goes_back(tmp_path: Path) -> None:
    first, second = Worker(tmp_path), Worker(tmp_path)
    first.tell("count 5")
    second.tell("count 7")
    assert second.ask("wait") == "waited"
    assert first.ask("wait") == "waited"
    assert (first.ask("show"), second.ask("show")) == ("12", "12")
    # What a worker has shown of itself is not lost with it, however it ends.
    first.tell("count 100")
    assert first.ask("show") == "112"
    first.end(signal.SIGKILL)
    assert second.ask("show") == "112"
    assert not (tmp_path / f"{first.process.pid}.json").exists()
    third = Worker(tmp_path)
    third.tell("count 1")
    assert third.ask("show") == "113"
    assert second.ask("show") == "113"
    second.tell("count 1000")
    second.end()  # as it is meant to: the last second counts too
    assert third.ask("show") == "1113"
    third.end()
    after = Tally(Meter(), tmp_path)
    assert after.snapshot().counts["verdicts\tok\tm\t1"] == 1113
    assert after.snapshot().gauges["workers"] == 1
    after.stop()


def left_behind(folder: Path, name: str, count: int) -> Path:
    """The file of a worker that ended, as it was killed at any moment."""
    meter = Meter()
    meter.answered("m", 1, {"ok": count}, count, [0.01])
    Tally(meter, folder).stop()
    path = folder / f"{os.getpid()}.json"
    document = json.loads(path.read_text())
    document["born"] = f"long ago {name}"
    path.unlink()
    found = folder / f"{name}.json"
    found.write_text(json.dumps(document))
    return found


def test_an_ended_worker_is_added_once_even_if_its_file_was_not_removed(tmp_path: Path) -> None:
    path = left_behind(tmp_path, "4194000", 3)
    content = path.read_bytes()
    found = Tally(Meter(), tmp_path)
    assert found.snapshot().counts["verdicts\tok\tm\t1"] == 3
    assert not path.exists()
    path.write_bytes(content)  # killed between adding and removing
    assert found.snapshot().counts["verdicts\tok\tm\t1"] == 3
    assert not path.exists()
    found.stop()


def test_a_process_id_that_comes_again_loses_nothing(tmp_path: Path) -> None:
    left_behind(tmp_path, str(os.getpid()), 3)
    meter = Meter()
    found = Tally(meter, tmp_path)
    found.keep()
    meter.answered("m", 1, {"ok": 4}, 4, [0.01])
    assert found.snapshot().counts["verdicts\tok\tm\t1"] == 7
    found.stop()


def test_a_file_is_written_only_where_something_was_counted(tmp_path: Path) -> None:
    meter = filled()
    found = Tally(meter, tmp_path, every=0.01)
    found.keep()
    path = tmp_path / f"{os.getpid()}.json"
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = path.stat().st_mtime_ns
    time.sleep(0.15)
    assert path.stat().st_mtime_ns == before
    meter.refused("invalid")
    while path.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found.stop()


def test_what_is_no_file_of_counts_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "77777.json").write_text("{")
    (tmp_path / "78.9.json").write_text("{}")
    found = Tally(filled(), tmp_path)
    for _ in range(3):
        assert found.snapshot().counts["verdicts\tok\tm\t1"] == 2
    assert "77777.json is not a file of counts" in caplog.text
    found.stop()


def test_a_folder_that_cannot_be_written_does_not_stop_the_figures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = Tally(filled(), tmp_path / "file" / "counts")
    found.keep()
    for _ in range(3):
        assert found.snapshot().counts["verdicts\tok\tm\t1"] == 2
    found.stop()
    assert len({record.message for record in caplog.records}) == len(caplog.records) >= 1


def test_who_does_not_finish_adding_up_holds_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    from fullcircle.server import tally

    monkeypatch.setattr(tally, "PATIENCE", 0.05)
    found = Tally(filled(), tmp_path)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ServerBusy, match="adding up the metrics"):
            found.snapshot()
    assert found.snapshot().counts["verdicts\tok\tm\t1"] == 2
    found.stop()
