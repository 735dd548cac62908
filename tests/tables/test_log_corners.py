"""Corners of the prediction log: forks, full disks, interruptions, many files, and what readers see meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import MissingExtra, PredictionNotFound, WorkspaceUnusable
from fullcircle.tables import compacted, compaction, segments
from fullcircle.tables.lines import Lines
from fullcircle.tables.predictions import (
    PredictionLog,
    SegmentRows,
    append_outcomes,
    find,
    known,
    read,
    read_lost,
    read_outcomes,
    torn_lines,
)
from fullcircle.tables.private import read_key
from fullcircle.tables.room import Room, folder_bytes
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "bikes"


def body(value: float = 1.5, **more: Any) -> bytes:
    return msgspec.json.encode({"value": value, "verdict": {"status": "ok"}, "model": MODEL, "version": 3, **more})


def row(value: float = 1.5, **more: Any) -> Prediction:
    return Prediction(value=value, verdict=Verdict(status="ok"), model=MODEL, version=1, **more)


def compact(folder: Path, name: str, erased: frozenset[str] = frozenset()) -> None:
    home, source = folder / MODEL, SegmentRows(folder / MODEL, name)
    rows = (replace(one, value=None, inputs=None, erased="mark") if one.id in erased else one for one in source)
    compaction.prepare(home, name, rows, lambda: source.torn)
    compaction.publish(home, name)


def forked(work: Callable[[], object], seconds: int = 10) -> int:
    """The exit code of a forked child that does the work: 0 where it came to an end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(seconds)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond ``size`` bytes (EFBIG), as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signals)


def refusing(number: int, times: int = 1_000_000) -> Callable[..., Any]:
    left = [times]

    def refuse(*arguments: Any) -> Any:
        left[0] -= 1
        raise OSError(number, os.strerror(number))

    return refuse


class TestForks:
    def test_a_lock_that_a_thread_holds_while_the_process_forks_does_not_stop_the_child(self, tmp_path: Path) -> None:
        log = PredictionLog(tmp_path)
        ((first,), _) = log.write(MODEL, [body(1.0)])
        with log._lock:  # as the thread that puts rows on the disk holds it, now and then
            assert forked(lambda: log.write(MODEL, [body(2.0)])) == 0
        ((third,), _) = log.write(MODEL, [body(3.0)])
        log.close()
        rows = {one.value: one.id for one in read(tmp_path, MODEL)}
        assert rows == {1.0: first, 2.0: rows[2.0], 3.0: third}
        assert first.partition("-")[0] == third.partition("-")[0] != rows[2.0].partition("-")[0]

    def test_a_child_that_closes_the_log_takes_no_file_of_its_parent_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A segment whose first row did not fit is empty: whoever closes it takes it away."""
        log = PredictionLog(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", refusing(errno.ENOSPC))
            with pytest.raises(WorkspaceUnusable):
                log.write(MODEL, [body()])
        assert forked(log.close) == 0
        ((one,), _) = log.write(MODEL, [body(7.0)])
        assert find(tmp_path, one).value == 7.0
        (path,) = (tmp_path / MODEL).glob("*.jsonl")
        assert not segments.closed(path), "the parent still writes to it"
        log.close()
        assert segments.closed(path)

    def test_what_the_parent_lost_is_told_by_the_parent_alone(self, tmp_path: Path) -> None:
        log = PredictionLog(tmp_path, most_bytes=10, when_full="count")
        assert log.write(MODEL, [body(), body()])[0] == ["", ""]
        assert forked(log.close) == 0
        assert read_lost(tmp_path, MODEL) == 0
        log.close()
        assert read_lost(tmp_path, MODEL) == 2


class TestDisk:
    def test_without_a_free_file_handle_the_thread_goes_on_and_tries_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        log = PredictionLog(tmp_path, every=0.01, segment_bytes=500)
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", refusing(errno.EMFILE))
            log.write(MODEL, [body(1.0)])
            _until(lambda: "cannot be put on the disk at the moment" in caplog.text)
            assert synced == []
        _until(lambda: len(synced) == 1)
        log.write(MODEL, [body(2.0)] * 5)  # the segment is full: it is closed by the same thread
        path = next(iter((tmp_path / MODEL).glob("*.jsonl")))
        _until(lambda: segments.closed(path))
        log.close()

    def test_a_segment_that_was_left_and_closed_meanwhile_is_not_touched_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The log is closed and begun again by two threads: its file's number may be another file's by now."""
        log, calls = PredictionLog(tmp_path, every=60.0, segment_bytes=300), [0]
        told = {model: log.write(model, [body()])[0] for model in ("first", "second")}

        def sync(handle: int) -> None:
            os.fstat(handle)
            calls[0] += 1
            if calls[0] == 1:
                told["second"] += log.write("second", [body()] * 4)[0]
                log._tend()

        monkeypatch.setattr(os, "fdatasync", sync)
        log._tend()
        assert all(segments.closed(path) for path in (tmp_path / "second").glob("*.jsonl"))
        assert not any(segments.closed(path) for path in (tmp_path / "first").glob("*.jsonl"))
        log.close()
        assert {model: [one.id for one in read(tmp_path, model)] for model in told} == told

    def test_what_goes_wrong_with_one_file_keeps_no_other_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = PredictionLog(tmp_path, every=60.0, segment_bytes=10, fsync="never")
        for model in ("a", "b", "c"):
            log.write(model, [body()])
        real, failing = os.close, [True]

        def close(handle: int) -> None:
            real(handle)
            if failing.pop():
                failing[:] = [False] * 99
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patched:
            patched.setattr(os, "close", close)
            with pytest.raises(OSError, match="Input/output"):
                log._tend()
        assert sum(segments.closed(path) for path in tmp_path.rglob("*.jsonl")) == 1
        log._tend()
        assert all(segments.closed(path) for path in tmp_path.rglob("*.jsonl"))
        log.close()

    def test_where_the_rest_of_a_failed_write_cannot_be_cut_off_the_file_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or the ids of the next rows would lead into the middle of something."""
        log = PredictionLog(tmp_path)
        ((first,), _) = log.write(MODEL, [body(1.0)])
        real = os.write
        with monkeypatch.context() as patched:
            calls = iter([40])
            patched.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[: _next(calls)]))
            patched.setattr(os, "ftruncate", refusing(errno.EIO))
            with pytest.raises(WorkspaceUnusable, match="No space left"):
                log.write(MODEL, [body(2.0)])
        ((third,), _) = log.write(MODEL, [body(3.0)])
        log.close()
        assert find(tmp_path, third).value == 3.0
        assert [one.id for one in read(tmp_path, MODEL)] == [first, third]
        assert torn_lines(tmp_path, MODEL) == 1

    @pytest.mark.parametrize("after", [0, 30, 10_000])
    def test_an_interruption_in_the_middle_of_a_write_leaves_no_row_that_nobody_was_told_of(
        self, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = PredictionLog(tmp_path)
        ((first,), _) = log.write(MODEL, [body(1.0)])
        real = os.write

        def interrupted(handle: int, data: Any) -> int:
            real(handle, bytes(data)[:after])
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                log.write(MODEL, [body(2.0)])
        ((third,), _) = log.write(MODEL, [body(3.0)])
        log.close()
        assert [one.id for one in read(tmp_path, MODEL)] == [first, third]
        assert [find(tmp_path, one).value for one in (first, third)] == [1.0, 3.0]
        assert torn_lines(tmp_path, MODEL) == 0

    @pytest.mark.parametrize("room", range(0, 400, 37))
    def test_labels_that_do_not_all_fit_leave_nothing_behind(self, room: int, tmp_path: Path) -> None:
        append_outcomes(tmp_path, MODEL, [Outcome(prediction_id="a-1", value=1, time="t")])
        path = tmp_path / MODEL / "outcomes.jsonl"
        before = path.read_bytes()
        more = [Outcome(prediction_id=f"b-{n}", value="x" * 40, time="t") for n in range(6)]
        with largest_file(len(before) + room), pytest.raises(WorkspaceUnusable, match="File too large"):
            append_outcomes(tmp_path, MODEL, more)
        assert path.read_bytes() == before
        append_outcomes(tmp_path, MODEL, more)
        assert list(read_outcomes(tmp_path, MODEL)) == ["a-1", *(f"b-{n}" for n in range(6))]
        assert torn_lines(tmp_path, MODEL) == 0

    @pytest.mark.parametrize("size", [0, 1, 100, 1500, 4000, 5000])
    def test_a_compaction_that_does_not_fit_leaves_nothing_and_can_be_done_later(
        self, size: int, tmp_path: Path
    ) -> None:
        """Half of a file would keep the very room that the disk lacks."""
        with PredictionLog(tmp_path) as log:
            log.append([row(float(n), inputs={f"c{n}": n}) for n in range(40)])
        (path,) = (tmp_path / MODEL).glob("*.jsonl")
        before = list(read(tmp_path, MODEL))
        with largest_file(size), pytest.raises((OSError, ValueError)):
            compact(tmp_path, path.stem)
        assert [one.name for one in path.parent.iterdir()] == [path.name]
        compact(tmp_path, path.stem)
        assert list(read(tmp_path, MODEL)) == before
        assert max(one.stat().st_size for one in path.parent.iterdir()) > 5000, "the limits above were below this"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
    def test_nor_one_that_was_interrupted(self, error: type[BaseException], tmp_path: Path) -> None:
        (tmp_path / MODEL).mkdir()

        def rows() -> Iterator[Prediction]:
            yield row(id="a" * 16 + "-0")
            raise error

        with pytest.raises(error):
            compaction.prepare(tmp_path / MODEL, "a" * 16, rows())
        with pytest.raises(error):
            compaction.prepare(tmp_path / MODEL, "a" * 16, [row()], _raising(error))
        assert list((tmp_path / MODEL).iterdir()) == []

    def test_without_pyarrow_it_is_said_what_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(MissingExtra) as caught:
            compaction.prepare(tmp_path, "a" * 16, [row()])
        assert caught.value.next_step == "pip install 'fullcircle[lab]'"
        assert list(tmp_path.iterdir()) == []

    def test_the_first_row_takes_the_names_of_file_and_folder_with_it_to_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A row in a file that nobody can find after the machine died is no row."""
        synced: list[Path] = []
        monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(os.readlink(f"/proc/self/fd/{handle}"))))
        with PredictionLog(tmp_path / "log", fsync="always") as log:
            log.write(MODEL, [body()])
            assert synced == [tmp_path / "log" / MODEL, tmp_path / "log"]
            log.write(MODEL, [body()])
            assert len(synced) == 2


class TestRoom:
    @pytest.mark.parametrize(("files", "seconds"), [(0, 1.0), (100, 1.0), (3000, 1.5), (12_000, 6.0)])
    def test_many_files_are_looked_at_less_often(
        self, files: int, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A look at 12,000 files takes 24 ms of a server's loop."""
        looks, at = [0], [1000.0]

        class Entry:
            name, path = MODEL, tmp_path

            def is_dir(self) -> bool:
                return True

            def stat(self) -> os.stat_result:
                return os.stat(tmp_path)

        def scandir(folder: Any) -> list[Entry]:
            if folder != tmp_path:
                return [Entry() for _ in range(files)]
            looks[0] += 1
            return [Entry()]

        monkeypatch.setattr(os, "scandir", scandir)
        monkeypatch.setattr(time, "monotonic", lambda: at[0])
        room = Room(tmp_path, 10**12)
        assert room.has(1)
        at[0] += seconds - 0.01
        assert room.has(1)
        assert looks == [1]
        at[0] += 0.02
        assert room.has(1)
        assert looks == [2]
        assert room.has(9 << 20)
        assert room.has(1)
        assert looks == [3], "after many bytes it looks again, whatever the time is"

    def test_a_file_that_is_compacted_while_it_is_measured_counts_for_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / MODEL).mkdir()
        for n in range(3):
            (tmp_path / MODEL / f"{n:016x}.jsonl").write_bytes(b"x" * 100)
        real = os.scandir

        def scandir(folder: Any) -> list[os.DirEntry[str]]:
            found = list(real(folder))
            if Path(folder).name == MODEL:
                (tmp_path / MODEL / ("0" * 16 + ".jsonl")).unlink(missing_ok=True)
            return found

        monkeypatch.setattr(os, "scandir", scandir)
        assert folder_bytes(tmp_path) == 200
        assert Room(tmp_path, 250).has(50)
        assert not Room(tmp_path, 250).has(51)

    def test_what_is_no_model_is_not_the_logs(self, tmp_path: Path) -> None:
        """A disk of its own for the log has a folder lost+found, which only root may read."""
        for name in ("lost+found", ".snapshot", "Upper", "x" * 64):
            (tmp_path / name).mkdir()
            (tmp_path / name / ("a" * 16 + ".jsonl")).write_bytes(b"x" * 1000)
        (tmp_path / "settle.lock").touch()
        with PredictionLog(tmp_path, most_bytes=500) as log:
            ((one,), _) = log.write(MODEL, [body()])
        assert segments.models(tmp_path) == [MODEL]
        assert folder_bytes(tmp_path) == len((tmp_path / MODEL / f"{one[:16]}.jsonl").read_bytes())
        assert find(tmp_path, one).value == 1.5
        with pytest.raises(PredictionNotFound):
            find(tmp_path, "a" * 16 + "-0")


class TestReading:
    @pytest.mark.parametrize("taken", [0, 1, 2, 9, 10, 11, 29])
    def test_a_reader_that_was_half_way_sees_each_row_once_though_all_is_compacted_now(
        self, taken: int, tmp_path: Path
    ) -> None:
        with PredictionLog(tmp_path, segment_bytes=1200) as log:
            done = [log.append([row(float(n))])[0] for n in range(30)]
        names = segments.names(tmp_path / MODEL)
        assert len(names) > 3
        compact(tmp_path, names[0])
        rows = read(tmp_path, MODEL)
        seen = [next(rows) for _ in range(taken)]
        for name in names:
            if (tmp_path / MODEL / f"{name}.jsonl").exists():
                compact(tmp_path, name)
        assert [*seen, *rows] == done
        assert list(read(tmp_path, MODEL)) == done

    def test_a_row_that_is_being_written_is_no_torn_one_twice(self, tmp_path: Path) -> None:
        """A reader may see half of a write: it ends there, and does not take the rest for a line of its own."""
        path = tmp_path / "lines"
        lines = [msgspec.json.encode(row(float(n), id="x", time="t")) + b"\n" for n in range(4)]
        path.write_bytes(lines[0] + lines[1][:50])
        found = Lines(path, Prediction)
        real = found._decoder

        class Slow:
            """While a reader looks at half of a row, the rest of it arrives, and more."""

            def decode(self, line: bytes) -> Prediction:
                if not line.endswith(b"\n"):
                    path.write_bytes(b"".join(lines))
                return real.decode(line)  # type: ignore[no-any-return]

        found._decoder = Slow()  # type: ignore[assignment]
        assert [one.value for one in found] == [0.0]
        assert found.torn == 1
        assert [one.value for one in found] == [0.0, 1.0, 2.0, 3.0]
        assert found.torn == 0

    @pytest.mark.parametrize("whole", [True, False])
    def test_the_last_line_counts_without_its_end_where_it_is_whole(self, whole: bool, tmp_path: Path) -> None:
        path = tmp_path / "lines"
        line = msgspec.json.encode(row(5.0, id="x", time="t"))
        path.write_bytes(line + b"\n" + (line if whole else line[:-1]))
        found = Lines(path, Prediction)
        assert len(list(found)) == 1 + whole
        assert found.torn == 1 - whole

    def test_hundreds_of_segments_need_few_open_files(self, tmp_path: Path) -> None:
        home = tmp_path / MODEL
        home.mkdir()
        for n in range(300):
            name = f"{(n * 7919) % 300:016x}"  # their names tell nothing of their order
            one = row(float(n), id=f"{name}-0", time=f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}.000000Z")
            (home / f"{name}.jsonl").write_bytes(msgspec.json.encode(one) + b"\n")
            if n % 50 == 0:
                compact(tmp_path, name)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        few = max(int(name) for name in os.listdir("/proc/self/fd")) + 12
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, limit[1]))
        try:
            values = [one.value for one in read(tmp_path, MODEL)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert values == [float(n) for n in range(300)]

    def test_a_compacted_segment_is_opened_for_its_rows_only_when_its_turn_comes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with PredictionLog(tmp_path, segment_bytes=300) as log:
            done = [log.append([row(float(n))])[0] for n in range(12)]
        for name in segments.names(tmp_path / MODEL):
            compact(tmp_path, name)
        opened: list[Path] = []
        real = compacted.rows
        monkeypatch.setattr(compacted, "rows", lambda path: opened.append(path) or real(path))  # type: ignore[func-returns-value]
        rows = read(tmp_path, MODEL)
        assert next(rows) == done[0]
        assert len(opened) == 1
        assert list(rows) == done[1:]
        assert len(opened) == len(segments.names(tmp_path / MODEL))

    def test_times_stay_in_order_when_the_clock_goes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base, jumps = 1_767_225_600_000_000_000, [0, 5, -3600, -3599, 2, 7200, 1, 86_400 * 400, 3]
        at = iter([base + jump * 1_000_000_000 for jump in jumps])
        monkeypatch.setattr(time, "time_ns", lambda: next(at))
        with PredictionLog(tmp_path, segment_bytes=400) as log:
            done = [log.write(MODEL, [body(float(n))]) for n in range(len(jumps))]
        rows = list(read(tmp_path, MODEL))
        assert [one.time for one in rows] == [moment for _, moment in done] == sorted(moment for _, moment in done)
        assert sorted(one.value for one in rows) == [float(n) for n in range(len(jumps))]  # type: ignore[type-var]
        for name in segments.names(tmp_path / MODEL):
            compact(tmp_path, name)
        assert list(read(tmp_path, MODEL)) == rows


def moment_of(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000Z"


@given(
    st.lists(
        st.tuples(st.sampled_from("lpe"), st.lists(st.integers(0, 9), max_size=5), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 9),
    st.integers(0, 10),
)
@settings(max_examples=20, deadline=None)
def test_any_mixture_of_forms_is_read_as_the_rows_that_are_there(
    parts: list[tuple[str, list[int], bool]], low: int, high: int
) -> None:
    """Each segment as lines, compacted, or compacted with its first row erased; torn or not; also without a row."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / MODEL
        home.mkdir()
        wanted: list[Prediction] = []
        for place, (form, seconds, torn) in enumerate(parts):
            name = f"{place:016x}"
            rows = [
                row(float(n), id=f"{name}-{n * 500}", time=moment_of(second), inputs={"n": n})
                for n, second in enumerate(sorted(seconds))
            ]
            content = b"".join(f"{msgspec.json.encode(one).decode():<499}\n".encode() for one in rows)
            (home / f"{name}.jsonl").write_bytes(content + b'{"id":"to' * torn)
            if form != "l":
                compact(Path(temporary), name, frozenset(one.id for one in rows[:1] if form == "e"))
                assert (home / f"{name}.ids").read_bytes() == compaction.index_for(home, name)
            gone = rows[:1] if form == "e" else []
            for one in rows:
                assert known(Path(temporary), MODEL, one.id) == (one not in gone)
                assert bool(find(Path(temporary), one.id).erased) == (one in gone)
            wanted += rows[len(gone) :]
        torn_ones = sum(torn for _, _, torn in parts)
        found = read(Path(temporary), MODEL)
        assert sorted(found, key=lambda one: one.id) == sorted(wanted, key=lambda one: one.id)
        assert found.torn == torn_lines(Path(temporary), MODEL) == torn_ones
        window = read(Path(temporary), MODEL, since=moment_of(low), until=moment_of(high))
        times = [one.time for one in window]
        assert times == sorted(one.time for one in wanted if moment_of(low) <= one.time < moment_of(high))
        assert window.torn == torn_ones, "also of a segment that is passed over"


@pytest.fixture(scope="module", params=["lines", "compacted"])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("ids")
    nested = row(2.0, context={"trap": '{"value":1.0,"verdict":{"status":"ok"}}'}, inputs={"a": {"value": 1.0}})
    with PredictionLog(folder) as log:
        ids = [one.id for one in log.append([row(float(n)) for n in range(11)] + [nested, nested])]
    append_outcomes(folder, MODEL, [Outcome(prediction_id=ids[0], value=1)])
    if request.param == "compacted":
        compact(folder, ids[0].partition("-")[0])
    return folder, ids[10]


class TestIds:
    WRONG = (
        "{name}-{other}", "{name}-0{offset}", "{name}-+{offset}", "{name}- {offset}", "{name}-{offset} ",
        "{name}-{offset}\n", "{name}-{offset}.0", "{name}-{offset}-0", "{name}--{offset}", "{name}-", "-{offset}",
        "../{model}/{name}-{offset}", "{name}/../{name}-{offset}", "{upper}-{offset}", "{name}-{arabic}",
        "{name}-{wide}", "{wide_name}-{offset}", "{name}\0-{offset}", "{name}-1e2", "{name}-0x10",
        "{name}-999999999999999",
        "{name}-9999999999999999", "{name}-" + "9" * 4000, "{name}.jsonl-0", "*-{offset}", "[0-9a-f]" * 2 + "-0",
        "settle.lock-0", "outcomes-0", "\ud800-0",
    )  # fmt: skip

    @pytest.mark.parametrize("wrong", WRONG)
    def test_no_other_spelling_leads_to_a_row(self, wrong: str, logged: tuple[Path, str]) -> None:
        folder, one = logged
        name, offset = one.split("-")
        guess = wrong.format(
            name=name, offset=offset, model=MODEL, other=int(offset) - 1,
            upper=name[:-1] + "G", wide_name=name.translate({48 + n: 0xFF10 + n for n in range(10)}),
            arabic="".join(chr(0x660 + int(digit)) for digit in offset),
            wide="".join(chr(0xFF10 + int(digit)) for digit in offset),
        )  # fmt: skip
        assert guess != one
        assert find(folder, one).value == 10.0
        assert known(folder, MODEL, one)
        assert not known(folder, MODEL, guess)
        with pytest.raises(PredictionNotFound) as caught:
            find(folder, guess)
        assert len(str(caught.value.received)) <= 80

    def test_no_byte_of_the_file_is_a_row_but_where_one_begins(self, logged: tuple[Path, str]) -> None:
        """Also not inside of a row whose values look like one."""
        folder, one = logged
        name = one.partition("-")[0]
        places = {int(each.id.partition("-")[2]) for each in read(folder, MODEL)}
        assert len(places) == 13
        end = max(places) + 500
        assert {place for place in range(end) if known(folder, MODEL, f"{name}-{place}")} == places

    @given(st.text(alphabet="0123456789abcdef-./\\ \n\u0661\uff11", max_size=40))
    @settings(max_examples=30, deadline=None)
    def test_any_text_is_an_answer_and_no_crash(self, guess: str) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            with PredictionLog(Path(temporary), fsync="never") as log:
                log.write(MODEL, [body()])
            assert not known(Path(temporary), MODEL, guess)
            with pytest.raises(PredictionNotFound):
                find(Path(temporary), guess)


class TestTorn:
    def test_torn_at_every_byte_of_its_last_row_it_is_compacted_without_it(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log:
            done = log.append([row(float(n), inputs={"word": "SECRET"[n:]}) for n in range(3)])
        (path,) = (tmp_path / MODEL).glob("*.jsonl")
        whole, last = path.read_bytes(), int(done[2].id.partition("-")[2])
        for cut in (*range(last + 1, len(whole) - 1, 11), len(whole) - 2):
            path.write_bytes(whole[:cut])
            compact(tmp_path, path.stem)
            rows = read(tmp_path, MODEL)
            assert list(rows) == list(done[:2])
            assert rows.torn == 1
            assert not known(tmp_path, MODEL, done[2].id)
            assert compaction.index_for(path.parent, path.stem) == segments.index_of([0, int(done[1].id[17:])])

    @pytest.mark.parametrize("content", [b"", b"\n", b"   \n", b"{}\n", b"null\n", b"\xff\n", b'{"id":', b"\0" * 99])
    def test_a_segment_without_a_row_has_none_in_either_form(self, content: bytes, tmp_path: Path) -> None:
        home = tmp_path / MODEL
        home.mkdir()
        path = home / ("a" * 16 + ".jsonl")
        path.write_bytes(content)
        before, torn = list(read(tmp_path, MODEL)), torn_lines(tmp_path, MODEL)
        assert before == []
        assert torn == bool(content.strip())
        compact(tmp_path, path.stem)
        assert list(read(tmp_path, MODEL)) == []
        assert torn_lines(tmp_path, MODEL) == torn
        assert (home / f"{path.stem}.ids").read_bytes() == b""
        assert not known(tmp_path, MODEL, "a" * 16 + "-0")


class TestIndex:
    def test_one_that_is_gone_is_made_again_from_the_rows_that_were_not_erased(self, tmp_path: Path) -> None:
        with PredictionLog(tmp_path) as log:
            done = log.append([row(float(n)) for n in range(20)])
        name = done[0].id.partition("-")[0]
        compact(tmp_path, name, frozenset([done[3].id, done[19].id]))
        home = tmp_path / MODEL
        before = (home / f"{name}.ids").read_bytes()
        assert len(before) == 18 * 8
        (home / f"{name}.ids").unlink()
        assert not known(tmp_path, MODEL, done[0].id)
        compaction.remake_index(home, name)
        assert (home / f"{name}.ids").read_bytes() == before
        assert sorted(one.name for one in home.iterdir()) == [f"{name}.ids", f"{name}.parquet"]
        assert [known(tmp_path, MODEL, one.id) for one in done] == [n not in (3, 19) for n in range(20)]

    def test_a_damaged_segment_has_none(self, tmp_path: Path) -> None:
        (tmp_path / ("a" * 16 + ".parquet")).write_bytes(b"PAR1 nothing PAR1")
        with pytest.raises(WorkspaceUnusable, match="cannot be read"):
            compaction.index_for(tmp_path, "a" * 16)


KEYS: dict[str, bytes | None] = {
    "gone": None,
    "empty": b"",
    "a line end": b"\n",
    "one byte": b"00",
    "31 bytes": b"0" * 62,
    "33 bytes": b"0" * 66,
    "odd": b"0" * 63,
    "no digits": b"g" * 64,
    "no text": b"\xff" * 64,
    "wide digits": "\uff10".encode() * 64,
}


@pytest.mark.parametrize("name", KEYS)
def test_what_is_no_whole_key_is_none(name: str, tmp_path: Path) -> None:
    """A file that a full disk cut short must not become a key that anybody can guess."""
    path = tmp_path / "log.key"
    content = KEYS[name]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkspaceUnusable, match="gone or damaged"):
        read_key(path)
    path.write_bytes(b"0f" * 32 + b"\n")
    assert read_key(path) == b"\x0f" * 32


def test_writers_readers_and_compaction_at_once(tmp_path: Path) -> None:
    """What was acknowledged before a reading began is in it, once, whatever is compacted meanwhile."""
    log = PredictionLog(tmp_path, segment_bytes=3000, every=0.005, fsync="never")
    told: list[str] = []
    stop = threading.Event()
    failures: list[str] = []

    def write() -> None:
        while not stop.is_set() and len(told) < 1500:
            told.extend(log.write(MODEL, [body(float(n)) for n in range(5)])[0])
            time.sleep(0.001)

    def look() -> None:
        while not stop.is_set():
            before = told[:]
            seen = [one.id for one in read(tmp_path, MODEL)]
            if len(seen) != len(set(seen)):
                failures.append("doubled")
            if not set(before) <= set(seen):
                failures.append("lost")

    threads = [threading.Thread(target=work) for work in (write, look, look)]
    for thread in threads:
        thread.start()
    until, done = time.monotonic() + 0.4, 0
    while time.monotonic() < until:
        for name in segments.names(tmp_path / MODEL) if (tmp_path / MODEL).exists() else []:
            path = tmp_path / MODEL / f"{name}.jsonl"
            if path.exists() and segments.closed(path):
                compact(tmp_path, name)
                done += 1
    stop.set()
    for thread in threads:
        thread.join()
    log.close()
    assert failures == []
    assert done > 0
    assert sorted(one.id for one in read(tmp_path, MODEL)) == sorted(told)


def _until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def _next(sizes: Iterator[int]) -> int:
    for size in sizes:
        return size
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _raising(error: type[BaseException]) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work
