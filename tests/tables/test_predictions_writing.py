"""The log as a server uses it: rows as bytes, the disk's refusals, its bound, segments that end, private columns."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid, WorkspaceBusy, WorkspaceUnusable
from fullcircle.tables import segments
from fullcircle.tables.appending import PredictionLog
from fullcircle.tables.lines import Clock
from fullcircle.tables.predictions import find, known, read, read_lost, signed, torn_lines
from fullcircle.tables.private import hashed, text_of
from fullcircle.tables.room import LEAST_FREE, Room
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.prediction import Prediction

MODEL = "bike-demand"
KEY = bytes(range(32))


def body(value: float = 1.5, **more: Any) -> bytes:
    row = {"value": value, "verdict": {"status": "ok"}, "model": MODEL, "version": 3, **more}
    return msgspec.json.encode(row)


def _files(folder: Path) -> list[Path]:
    return sorted((folder / MODEL).glob("*.jsonl"))


def _until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class TestRows:
    def test_rows_of_bytes_are_read_as_predictions_and_found_by_their_ids(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log:
            first, moment = log.write(MODEL, [body(1.0, inputs={"temp": 4.5}), body(2.0, latency=0.001)])
            second, later = log.write(MODEL, [body(3.0, answered_by="prior")])
        rows = list(read(tmp_path, MODEL))
        assert [row.id for row in rows] == [*first, *second]
        assert [row.time for row in rows] == [moment, moment, later]
        assert [row.value for row in rows] == [1.0, 2.0, 3.0]
        assert (rows[0].inputs, rows[1].latency, rows[2].answered_by) == ({"temp": 4.5}, 0.001, "prior")
        assert [find(tmp_path, row.id) for row in rows] == rows
        assert all(known(tmp_path, MODEL, row.id) for row in rows)

    def test_no_rows_begin_no_file(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log:
            ids, moment = log.write(MODEL, [])
        assert ids == []
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)
        assert list(tmp_path.iterdir()) == []

    def test_all_rows_of_a_batch_are_one_write(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        real = os.write
        with PredictionLog(tmp_path, fsync="never") as log:
            log.write(MODEL, [body()])
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", _noting(calls, real))
                log.write(MODEL, [body(float(n)) for n in range(64)])
        assert len(calls) == 1

    def test_a_short_write_goes_on_where_it_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        with PredictionLog(tmp_path) as log, monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:7]))
            ids, _ = log.write(MODEL, [body(1.0), body(2.0)])
        assert [find(tmp_path, one).value for one in ids] == [1.0, 2.0]

    def test_a_name_that_leads_elsewhere_is_refused(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log, pytest.raises(RequestInvalid):
            log.write("../etc", [body()])

    @pytest.mark.parametrize("wrong", ["", "x", "0" * 16 + "-0", "0" * 16 + "-007"])
    def test_ids_that_were_never_given_are_not_known(self, wrong: str, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log:
            ((one,), _) = log.write(MODEL, [body()])
        assert known(tmp_path, MODEL, one)
        assert not known(tmp_path, MODEL, wrong)
        assert not known(tmp_path, MODEL, one.replace("-0", "-1"))
        assert not known(tmp_path, "another", one)


class TestSegments:
    def test_a_segment_is_locked_for_as_long_as_somebody_writes_it(self, tmp_path: Path) -> None:
        log = PredictionLog(tmp_path)
        log.write(MODEL, [body()])
        (path,) = _files(tmp_path)
        assert not segments.closed(path)
        log.close()
        assert segments.closed(path)

    def test_a_segment_is_closed_when_its_process_was_killed(self, tmp_path: Path) -> None:
        with _Writer(tmp_path) as writer:
            writer.told(5)
            assert not all(segments.closed(path) for path in (tmp_path / "m").glob("*.jsonl"))
            writer.kill()
            assert all(segments.closed(path) for path in (tmp_path / "m").glob("*.jsonl"))

    def test_rows_of_a_log_without_locks_count_as_open(self, tmp_path: Path) -> None:
        """A server of an older bundle may still write to them."""
        path = tmp_path / ("a" * 16 + ".jsonl")
        path.write_bytes(b'{"value":1.0,"verdict":{"status":"ok"},"id":"aaaaaaaaaaaaaaaa-0"}\n')
        assert not segments.closed(path)
        assert segments.closed(path, old=True)

    def test_a_new_segment_begins_when_one_is_large_enough(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path, segment_bytes=1000) as log:
            ids = [log.write(MODEL, [body(float(n))])[0][0] for n in range(40)]
        assert 4 <= len(_files(tmp_path)) <= 8
        assert [row.id for row in read(tmp_path, MODEL)] == ids
        assert all(path.stat().st_size < 1300 for path in _files(tmp_path))

    def test_a_segment_ends_by_itself_when_it_is_old_enough(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path, segment_seconds=0.05, every=0.02) as log:
            log.write(MODEL, [body(1.0)])
            (path,) = _files(tmp_path)
            _until(lambda: segments.closed(path))
            log.write(MODEL, [body(2.0)])
            assert len(_files(tmp_path)) == 2
        assert [row.value for row in read(tmp_path, MODEL)] == [1.0, 2.0]

    def test_what_a_dying_process_began_is_swept_away_later(self, tmp_path: Path) -> None:
        home = tmp_path / MODEL
        home.mkdir()
        hidden = home / ".0123456789abcdef.opening"
        hidden.touch()
        segments.sweep(home)
        assert hidden.exists(), "it may be beginning at this moment"
        os.utime(hidden, (time.time() - 3600, time.time() - 3600))
        with hidden.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            segments.sweep(home)
            assert hidden.exists(), "somebody holds it"
        segments.sweep(home)
        assert not hidden.exists()
        assert segments.names(home) == []

    def test_only_one_settles_at_a_time(self, tmp_path: Path) -> None:
        with segments.settling(tmp_path), pytest.raises(WorkspaceBusy), segments.settling(tmp_path):
            pass
        with segments.settling(tmp_path):
            pass


class TestDisk:
    def test_always_waits_for_the_disk_and_interval_does_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[int] = []
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", _noting(synced, real))
        with PredictionLog(tmp_path, fsync="always") as log:
            log.write(MODEL, [body()])
            assert len(synced) == 1
            log.write(MODEL, [body()])
            assert len(synced) == 2
        synced.clear()
        with PredictionLog(tmp_path, fsync="interval", every=0.02) as log:
            log.write(MODEL, [body()])
            _until(lambda: len(synced) == 1)
            time.sleep(0.1)
            assert len(synced) == 1, "nothing new, nothing to wait for"
            log.write(MODEL, [body()])
            _until(lambda: len(synced) == 2)
        synced.clear()
        with PredictionLog(tmp_path, fsync="never", every=0.01) as log:
            log.write(MODEL, [body()])
            time.sleep(0.05)
        assert synced == []

    def test_closing_leaves_nothing_that_only_the_memory_has(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        log = PredictionLog(tmp_path, every=60.0)
        log.write(MODEL, [body()])
        assert synced == []
        log.close()
        assert len(synced) == 1

    def test_a_sync_that_fails_for_want_of_room_ends_the_segment_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = PredictionLog(tmp_path, fsync="always")
        ((first,), _) = log.write(MODEL, [body(1.0)])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", _failing(errno.ENOSPC))
            with pytest.raises(WorkspaceUnusable):
                log.write(MODEL, [body(2.0)])
        ((third,), _) = log.write(MODEL, [body(3.0)])
        log.close()
        assert first.split("-")[0] != third.split("-")[0]
        assert [row.id for row in read(tmp_path, MODEL)] == [first, third]

    @pytest.mark.parametrize("mode", ["interval", "always"])
    def test_a_segment_whose_sync_failed_is_never_trusted_again(
        self, mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = PredictionLog(tmp_path, fsync=mode, every=0.02)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", _failing(errno.EIO))
            if mode == "always":
                with pytest.raises(WorkspaceUnusable, match="Input/output error"):
                    log.write(MODEL, [body(1.0)])
            else:
                log.write(MODEL, [body(1.0)])
                _until(lambda: "may not survive the machine" in caplog.text)
                time.sleep(0.05)
        if mode == "interval":
            with pytest.raises(WorkspaceUnusable, match="Input/output error"):
                log.write(MODEL, [body(2.0)])
        ((third,), _) = log.write(MODEL, [body(3.0)])
        log.close()
        assert find(tmp_path, third).value == 3.0
        values = [row.value for row in read(tmp_path, MODEL)]
        assert values == ([3.0] if mode == "always" else [1.0, 3.0])

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_of_a_batch_that_failed_half_way_nothing_counts(
        self, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also not its first rows, which reached the file whole: their answers never went out."""
        log = PredictionLog(tmp_path)
        ((first,), _) = log.write(MODEL, [body(1.0)])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", _full_after(300, number))
            with pytest.raises(WorkspaceUnusable) as caught:
                log.write(MODEL, [body(float(n)) for n in range(20)])
            assert caught.value.next_step
        ((last,), _) = log.write(MODEL, [body(9.0)])
        log.close()
        assert [row.id for row in read(tmp_path, MODEL)] == [first, last]
        assert torn_lines(tmp_path, MODEL) == 0
        same = first.split("-")[0] == last.split("-")[0]
        assert same == (number != errno.EIO), "a full disk is no reason to begin ever new files; a bad one is"

    def test_the_limit_of_a_real_file_is_kept_whole(self, tmp_path: Path) -> None:
        """No patches: the kernel refuses in the middle of a batch (RLIMIT_FSIZE)."""
        done = subprocess.run(
            [sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        told = done.stdout.split()
        assert len(told) > 10
        assert [row.id for row in read(tmp_path, "m")] == told
        assert torn_lines(tmp_path, "m") == 0


class TestRoom:
    def test_at_its_bound_the_log_stops(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path, most_bytes=4000) as log:
            for _ in range(4):
                log.write(MODEL, [body()] * 7)
            with pytest.raises(WorkspaceUnusable, match="reached its bound") as caught:
                log.write(MODEL, [body()] * 7)
            assert "log_bytes" in (caught.value.allowed or "")
            assert "raise log_bytes" in (caught.value.next_step or "")
            assert log.lost == {}
        assert 3000 < sum(path.stat().st_size for path in _files(tmp_path)) <= 4000

    def test_the_bound_is_over_all_models_and_all_that_is_there(self, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        (other / "outcomes.jsonl").write_bytes(b" " * 5000)
        with PredictionLog(tmp_path, most_bytes=5050) as log, pytest.raises(WorkspaceUnusable):
            log.write(MODEL, [body()])

    def test_or_it_counts_what_it_loses_and_says_so_when_there_is_room(self, tmp_path: Path) -> None:
        ballast = tmp_path / "ballast"
        ballast.mkdir()
        (ballast / "file").write_bytes(b" " * 5000)
        with PredictionLog(tmp_path, most_bytes=4000, when_full="count") as log:
            ids, moment = log.write(MODEL, [body(), body()])
            assert ids == ["", ""]
            assert len(log.append([Prediction(value=1.0, verdict=Verdict(status="ok"), model=MODEL)])) == 1
            assert log.lost == {MODEL: 3}
            assert moment.endswith("Z")
            (ballast / "file").unlink()
            time.sleep(1.05)  # it looks once a second
            ((id,), _) = log.write(MODEL, [body(7.0)])
            assert find(tmp_path, id).value == 7.0
        assert read_lost(tmp_path, MODEL) == 3
        (line,) = (tmp_path / MODEL / "lost.jsonl").read_text().splitlines()
        assert json.loads(line)["since"] == moment
        assert [row.value for row in read(tmp_path, MODEL)] == [7.0]
        assert read_lost(tmp_path, "never") == 0

    def test_a_full_disk_is_counted_too_and_a_broken_one_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = PredictionLog(tmp_path, when_full="count")
        log.write(MODEL, [body()])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", _full_after(0, errno.ENOSPC))
            assert log.write(MODEL, [body()])[0] == [""]
            patched.setattr(os, "write", _full_after(0, errno.EIO))
            with pytest.raises(WorkspaceUnusable):
                log.write(MODEL, [body()])
        assert log.lost == {MODEL: 1}
        log.close()
        assert read_lost(tmp_path, MODEL) == 1

    def test_some_of_the_disk_stays_free_for_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = os.statvfs(tmp_path)
        room = Room(tmp_path, None)
        assert room.has(1000)
        fields = list(found)
        fields[4] = LEAST_FREE // found.f_frsize - 1  # f_bavail
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
        nearly = Room(tmp_path, None)
        assert not nearly.has(1)
        assert "the disk is nearly full" in str(nearly.refused())

    def test_between_two_looks_it_counts_for_itself(self, tmp_path: Path) -> None:
        room = Room(tmp_path, 1000)
        assert room.has(600)
        assert not room.has(600)
        assert room.has(400)
        assert not room.has(1)


class TestPrivate:
    CONTRACT = Contract(
        columns=(
            Column(name="temp", kind="number"),
            Column(name="income", kind="number", private=True),
            Column(name="person", kind="category", hashed=True),
        ),
        label="y",
        task="regression",
        context=("person", "day"),
    )
    ROW = Prediction(
        value=1.0,
        verdict=Verdict(status="ok"),
        inputs={"temp": 4.5, "income": 31000.0, "person": "Ada"},
        context={"person": "Ada", "day": "2026-01-01"},
    )

    def _signed(self, **more: Any) -> Prediction:
        (found,) = signed([self.ROW], self.CONTRACT, model=MODEL, version=1, bundle="b", **more)
        return found

    def test_private_is_left_out_and_hashed_is_hashed_wherever_it_is(self) -> None:
        found = self._signed(key=KEY)
        code = hashed(KEY, "person", "Ada")
        assert found.inputs == {"temp": 4.5, "person": code}
        assert found.context == {"person": code, "day": "2026-01-01"}
        assert re.fullmatch("[0-9a-f]{32}", code or "")

    def test_without_a_key_what_would_be_hashed_is_left_out(self) -> None:
        found = self._signed()
        assert (found.inputs, found.context) == ({"temp": 4.5}, {"day": "2026-01-01"})

    def test_a_hash_tells_equal_values_of_a_column_and_of_a_key_only(self) -> None:
        assert hashed(KEY, "a", 12) == hashed(KEY, "a", 12.0) == hashed(KEY, "a", "12")
        different = [hashed(KEY, "a", 12), hashed(KEY, "b", 12), hashed(KEY[1:], "a", 12), hashed(KEY, "a", 12.5)]
        assert len(set(different)) == 4
        assert hashed(KEY, "a", None) is None

    @given(st.one_of(st.booleans(), st.integers(-(2**63), 2**64), st.floats(allow_nan=False), st.text(max_size=9)))
    def test_any_value_has_a_hash(self, value: Any) -> None:
        assert re.fullmatch("[0-9a-f]{32}", hashed(KEY, "c", value) or "")
        assert isinstance(text_of(value), str)


def test_time_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, at = Clock(), [1_700_000_000_123_456_789]
    monkeypatch.setattr(time, "time_ns", lambda: at[0])
    first = clock.text()
    assert first == "2023-11-14T22:13:20.123456Z"
    at[0] -= 5_000_000_000
    assert clock.text() == first
    at[0] += 5_900_000_000
    assert clock.text() == "2023-11-14T22:13:21.023456Z"


_WRITER = """
import sys
from pathlib import Path
from fullcircle.tables.appending import PredictionLog
log = PredictionLog(Path(sys.argv[1]), segment_bytes=60_000, every=0.01)
n = 0
while True:
    bodies = [b'{"value":%d.0,"verdict":{"status":"ok"},"model":"m","inputs":{"pad":"%b"}}' % (n + k, b"x" * 300)
              for k in range(7)]
    n += 7
    sys.stdout.write("".join(one + "\\n" for one in log.write("m", bodies)[0]))
    sys.stdout.flush()
"""
_LIMITED = """
import resource, signal, sys
from pathlib import Path
from fullcircle.errors import WorkspaceUnusable
from fullcircle.tables.appending import PredictionLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
log = PredictionLog(Path(sys.argv[1]))
body = b'{"value":1.0,"verdict":{"status":"ok"},"model":"m"}'
try:
    while True:
        sys.stdout.write("".join(one + "\\n" for one in log.write("m", [body] * 3)[0]))
except WorkspaceUnusable as error:
    assert "File too large" in str(error), error
"""


class _Writer:
    """A process that writes as fast as it can and says each id once its row is written."""

    def __init__(self, folder: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def told(self, lines: int) -> list[str]:
        assert self._child.stdout is not None
        return [self._child.stdout.readline().strip() for _ in range(lines)]

    def kill(self) -> list[str]:
        """Kill it, and return what it said until then; the last thing may be cut short."""
        if self._child.poll() is not None:
            return []
        self._child.send_signal(signal.SIGKILL)
        assert self._child.stdout is not None
        rest = self._child.stdout.read()
        self._child.stdout.close()
        self._child.wait(30)
        return [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]


def test_acknowledged_rows_survive_sigkill_through_all_segments(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for turn in range(2):
        with _Writer(tmp_path) as writer:
            acknowledged += writer.told(700 + 333 * turn)
            acknowledged += writer.kill()
    rows = [row.id for row in read(tmp_path, "m")]
    assert len(rows) == len(set(rows))
    assert set(acknowledged) <= set(rows)
    assert len(set(acknowledged)) == len(acknowledged) > 1700
    assert all(segments.closed(path) for path in (tmp_path / "m").glob("*.jsonl"))


def _noting(calls: list[int], real: Callable[..., Any]) -> Callable[..., Any]:
    """The real thing, whose first arguments are noted."""

    def call(handle: int, *more: Any) -> Any:
        calls.append(handle)
        return real(handle, *more)

    return call


def _failing(number: int) -> Callable[[int], None]:
    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def _full_after(size: int, number: int) -> Callable[[int, Any], int]:
    """A disk that takes ``size`` bytes more and then refuses."""
    real, left = os.write, [size]

    def write(handle: int, data: Any) -> int:
        if not left[0]:
            raise OSError(number, os.strerror(number))
        part = bytes(data)[: left[0]]
        left[0] -= len(part)
        return real(handle, part)

    return write


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    # A killed writer may leave the beginning of a segment behind; nobody else does.
    assert not [path for path in tmp_path.rglob(".*") if path.parent.name != "m"]
