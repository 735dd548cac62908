"""Corners of settling, erasing and auditing: full disks, two at once, indexes, old segments, values of every kind."""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import circles
from fullcircle.errors import FullcircleError, SettingInvalid, StateConflict, WorkspaceBusy, WorkspaceUnusable
from fullcircle.flows import deploy, log, log_state, serve, traffic
from fullcircle.flows.audit import audit
from fullcircle.flows.erase import _Match, erase
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.tables import compaction, segments
from fullcircle.tables.predictions import PredictionLog, append_outcomes, find, known, read, signed
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "houses"
SECRET = "Ada-Lovelace-Secret"
CONTRACT = Contract(
    columns=(
        Column(name="rooms", kind="integer"),
        Column(name="heat", kind="number"),
        Column(name="pool", kind="boolean"),
        Column(name="area", kind="category"),
        Column(name="person", kind="category", hashed=True),
        Column(name="account", kind="integer", hashed=True),
        Column(name="income", kind="number", private=True),
    ),
    label="cost",
    task="regression",
    context=("person", "day"),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = circles.settings(tmp_path)
    with Workspace.open(made):
        pass
    return made


@pytest.fixture(autouse=True)
def _compacted_when_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SMALLEST", 1000)


def folder(settings: Settings) -> Path:
    return settings.workspace / "predictions"


def row(n: int, inputs: Mapping[str, Any] | None = None, **more: Any) -> Prediction:
    values = {"heat": 20.5 + n, "pad": "x" * 50} if inputs is None else inputs
    return Prediction(value=float(n), verdict=Verdict(status="ok"), model=MODEL, version=1, inputs=values, **more)


def written(settings: Settings, rows: list[Prediction], **more: Any) -> list[Prediction]:
    with PredictionLog(folder(settings), **more) as made:
        return [one for each in rows for one in made.append([each])]


def segment(settings: Settings, rows: int = 30) -> tuple[list[Prediction], Path]:
    """One segment of these rows, settled: its rows and its Parquet file."""
    done = written(settings, [row(n) for n in range(rows)])
    log.settle(settings=settings)
    return done, folder(settings) / MODEL / f"{done[0].id.partition('-')[0]}.parquet"


def facts(settings: Settings, *kinds: str) -> list[Fact]:
    with opened(settings) as session:
        return [fact for fact in session.workspace.ledger.facts() if fact.kind in kinds]


def everything(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path in folder(settings).rglob("*") if path.is_file())


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


class TestFullDisk:
    @pytest.mark.parametrize("size", [0, 3000, 20_000])
    @pytest.mark.parametrize("work", ["settle", "erase"])
    def test_at_any_step_it_is_said_and_costs_no_row(self, work: str, size: int, settings: Settings) -> None:
        """The ledger's own file grows too: the limit strikes there, or in either file of a compaction."""
        done = written(settings, [row(n, {"person": SECRET if n == 4 else f"p{n}", "n": n}) for n in range(150)])

        def run() -> None:
            if work == "settle":
                log.settle(settings=settings)
            else:
                erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)

        with largest_file(size), pytest.raises(FullcircleError) as caught:
            run()
        assert caught.value.next_step
        assert not list(folder(settings).rglob("*.parquet.new")) or facts(settings, "segment.closed")
        assert list(read(folder(settings), MODEL)) == done
        run()
        left = [one for one in done if work == "settle" or one.value != 4]
        assert list(read(folder(settings), MODEL)) == left
        assert (SECRET.encode() in everything(settings)) == (work == "settle")
        assert not list(folder(settings).rglob("*.new"))
        assert audit(settings=settings).passed

    @pytest.mark.parametrize("at", range(1, 7))
    def test_an_erasing_that_a_broken_disk_stops_says_so_and_goes_on_later(
        self, at: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = written(settings, [row(n, {"person": SECRET if n % 20 == 4 else "p", "n": n}) for n in range(60)])
        log.settle(settings=settings)
        more = written(settings, [row(n, {"person": SECRET if n % 20 == 4 else "p", "n": n}) for n in range(60, 90)])
        home, left, real = folder(settings) / MODEL, [at], os.fsync

        def broken(handle: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{handle}")).is_relative_to(home):
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(handle)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", broken)
            with pytest.raises(WorkspaceUnusable, match="stopped before its end") as caught:
                erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert "the same command again" in str(caught.value.next_step)
        kept = [one for one in (*done, *more) if int(one.value) % 20 != 4]  # type: ignore[arg-type]
        seen = list(read(folder(settings), MODEL))
        assert [one for one in seen if one in kept] == kept
        assert len({one.id for one in seen}) == len(seen)
        erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert list(read(folder(settings), MODEL)) == kept
        assert SECRET.encode() not in everything(settings)
        assert audit(settings=settings).passed

    def test_a_segment_that_cannot_be_settled_keeps_none_of_the_others_from_it(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [written(settings, [row(n) for n in range(20)])[0].id[:16] for _ in range(4)]
        real = compaction.prepare

        def prepare(home: Path, name: str, *more: Any) -> Any:
            if name == sorted(names)[1]:
                raise ValueError("pyarrow cannot write this")
            return real(home, name, *more)

        with monkeypatch.context() as patched:
            patched.setattr(compaction, "prepare", prepare)
            with pytest.raises(FullcircleError, match="cannot be compacted"):
                log.settle(settings=settings)
        home = folder(settings) / MODEL
        assert [path.stem for path in home.glob("*.jsonl")] == [sorted(names)[1]]
        assert len(list(home.glob("*.parquet"))) == 3
        assert log.settle(settings=settings) == log.Settled(compacted=1, rows=20)
        assert len(list(read(folder(settings), MODEL))) == 80
        assert audit(settings=settings).passed


class TestTogether:
    def test_several_who_settle_and_erase_at_once_do_each_thing_once(self, settings: Settings) -> None:
        rows = [row(n, {"person": SECRET if n % 25 == 0 else "somebody", "pad": "x" * 60}) for n in range(200)]
        done = written(settings, rows, segment_bytes=5000)
        gone = {one.id for one in done if (one.inputs or {})["person"] == SECRET}
        told: list[Any] = []

        def noted(work: Callable[[], Any]) -> None:
            try:
                told.append(work())
            except Exception as error:  # noqa: BLE001 - looked at below
                told.append(error)

        works = [
            lambda: log.settle(settings=settings),
            lambda: log_state.show(settle=True, settings=settings).settled,
            lambda: erase(MODEL, where=("person", SECRET), reason="one", settings=settings),
            lambda: erase(MODEL, ids=sorted(gone), reason="other", settings=settings),
        ]
        threads = [threading.Thread(target=noted, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        seen = [one.id for one in read(folder(settings), MODEL)]
        for thread in threads:
            thread.join()
        assert not [one for one in told if isinstance(one, Exception) and not isinstance(one, WorkspaceBusy)]
        assert len(told) == 4
        assert len(seen) == len(set(seen)) >= 200 - len(gone)
        assert sum(one.rows for one in told if hasattr(one, "before")) == len(gone)
        log.settle(settings=settings)
        closed = [fact.body["segment"] for fact in facts(settings, "segment.closed")]
        assert sorted(closed) == sorted({one.id[:16] for one in done})
        assert [one.id for one in read(folder(settings), MODEL)] == [one.id for one in done if one.id not in gone]
        assert SECRET.encode() not in everything(settings)
        assert audit(settings=settings).passed

    def test_an_audit_waits_for_who_is_at_work_and_finds_all_well(self, settings: Settings) -> None:
        segment(settings)
        begun, found = threading.Event(), []

        def look() -> None:
            begun.set()
            found.append(audit(settings=settings).passed)

        thread = threading.Thread(target=look)
        with segments.settling(folder(settings)):
            thread.start()
            assert begun.wait(10)
            thread.join(0.3)
            assert thread.is_alive()
        thread.join(20)
        assert found == [True]

    def test_settling_before_another_flow_takes_a_bounded_time(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(settings, [row(n) for n in range(60)], segment_bytes=2000)
        total = len(list((folder(settings) / MODEL).glob("*.jsonl")))
        assert total > 4
        with opened(settings) as session:
            assert log.settle_in(session, seconds=0.0) == log.Settled()
            real = compaction.prepare

            def slow(*arguments: Any) -> Any:
                time.sleep(0.15)
                return real(*arguments)

            with monkeypatch.context() as patched:
                patched.setattr(compaction, "prepare", slow)
                assert log.settle_in(session, seconds=0.1).compacted == 1
                log.settle_or_note(session, 0.1)
            assert len(list((folder(settings) / MODEL).glob("*.parquet"))) == 2
            log.settle_or_note(session)
        assert len(list((folder(settings) / MODEL).glob("*.parquet"))) >= total - 1

    def test_deploying_settles_what_servers_left_behind(self, settings: Settings) -> None:
        done = written(settings, [row(n) for n in range(30)])
        with opened(settings) as session, pytest.raises(FullcircleError):
            deploy.deploy_in(session, MODEL)  # there is no champion here: settling comes first
        assert [path.stem for path in (folder(settings) / MODEL).glob("*.parquet")] == [done[0].id[:16]]

    def test_a_folder_that_is_no_models_disturbs_nothing(self, settings: Settings) -> None:
        done, _ = segment(settings)
        strange = folder(settings) / "lost+found"
        strange.mkdir()
        (strange / ("a" * 16 + ".jsonl")).write_bytes(b'{"id":"' * 400)
        assert log.settle(settings=settings) == log.Settled()
        (one,) = log_state.show(settle=True, settings=settings).models
        assert (one.model, one.rows, one.bytes > 0) == (MODEL, 30, True)
        assert erase(MODEL, ids=[done[0].id], reason="asked for", settings=settings).rows == 1
        assert audit(settings=settings).passed


class TestIndex:
    @pytest.mark.parametrize("what", ["gone", "cut", "longer", "another", "zeros", "empty"])
    def test_an_index_that_says_something_else_is_named_and_made_again(self, what: str, settings: Settings) -> None:
        """It decides which labels a server takes, and no fact speaks of it: the rows themselves do."""
        done, path = segment(settings)
        index = path.with_suffix(".ids")
        before = index.read_bytes()
        assert before == segments.index_of([int(one.id[17:]) for one in done])
        content = {
            "cut": before[:-8],
            "longer": before + (10**6).to_bytes(8, "little"),
            "another": before[:8] + bytes([before[8] ^ 1]) + before[9:],
            "zeros": bytes(len(before)),
            "empty": b"",
        }
        if what == "gone":
            index.unlink()
        else:
            index.write_bytes(content[what])
        (problem,) = audit(settings=settings).problems
        assert problem.kind == "predictions"
        assert index.name in problem.text
        assert ("has no index" if what == "gone" else "was altered") in problem.text
        if what != "gone":
            log.settle(settings=settings)
            assert index.read_bytes() == content[what], "what was altered is evidence until somebody takes it away"
            index.unlink()
        log.settle(settings=settings)
        assert index.read_bytes() == before
        assert audit(settings=settings).passed
        assert all(known(folder(settings), MODEL, one.id) for one in done)

    def test_one_that_knows_an_erased_row_is_named(self, settings: Settings) -> None:
        done, path = segment(settings)
        index = path.with_suffix(".ids")
        before = index.read_bytes()
        erase(MODEL, ids=[done[7].id], reason="asked for", settings=settings)
        assert audit(settings=settings).passed
        index.write_bytes(before)  # as a backup would bring it back
        assert known(folder(settings), MODEL, done[7].id)
        (problem,) = audit(settings=settings).problems
        assert "index that was altered" in problem.text

    def test_none_is_made_of_a_segment_that_was_altered(self, settings: Settings) -> None:
        _, path = segment(settings)
        path.with_suffix(".ids").unlink()
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)
        log.settle(settings=settings)
        assert not path.with_suffix(".ids").exists()
        (problem,) = audit(settings=settings).problems
        assert "was altered" in problem.text


class TestOld:
    @pytest.mark.parametrize("rows", [3, 40])
    def test_rows_of_an_old_server_can_be_erased_once_it_was_said_that_it_ended(
        self, rows: int, settings: Settings
    ) -> None:
        """Nothing in the segment shows that nobody writes to it: the fact does, also for one too small to compact."""
        home, name = folder(settings) / MODEL, "a" * 16
        home.mkdir(parents=True)
        lines = [
            f'{{"value":{n}.0,"verdict":{{"status":"ok"}},"inputs":{{"person":"{SECRET if n == 1 else n}"}},'
            f'"id":"{name}-{n * 200}","time":"2026-01-01T00:00:{n:02d}.000000Z"}}'
            for n in range(rows)
        ]
        (home / f"{name}.jsonl").write_text("".join(f"{line:<199}\n" for line in lines))
        found = erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert (found.rows, found.waiting) == (0, (f"{name}-200",))
        (one,) = log_state.show(settings=settings).models
        assert one.open == 1
        state = log_state.show(settle=True, old=True, settings=settings)
        assert state.settled is not None
        assert (state.settled.closed, state.models[0].open) == (1, 0)
        found = erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert (found.rows, found.waiting) == (1, ())
        assert SECRET.encode() not in everything(settings)
        assert len(list(read(folder(settings), MODEL))) == rows - 1
        assert audit(settings=settings).passed


# What stands in the row (before it is made public), what is asked for, and whether that is the row.
WHERE: list[tuple[dict[str, Any], tuple[str, str], bool]] = [
    ({"area": "north"}, ("area", "north"), True),
    ({"area": "north"}, ("area", "North"), False),
    ({"area": "north"}, ("area", "nort"), False),
    ({"area": "a=b"}, ("area", "a=b"), True),
    ({"area": "12"}, ("area", "12"), True),
    ({"area": "12.0"}, ("area", "12.0"), True),
    ({"area": "true"}, ("area", "true"), True),
    ({"area": "null"}, ("area", "null"), True),
    ({"area": None}, ("area", "null"), False),
    ({"area": None}, ("area", "None"), False),
    ({"area": "☂ é"}, ("area", "☂ é"), True),
    ({"area": "[" * 3000}, ("area", "[" * 3000), True),
    ({"area": "north"}, ("rooms", "north"), False),
    ({"rooms": 7}, ("rooms", "7"), True),
    ({"rooms": 7}, ("rooms", "7.0"), True),
    ({"rooms": 7}, ("rooms", "70e-1"), True),
    ({"rooms": 7}, ("rooms", "07"), False),
    ({"rooms": 7}, ("rooms", "7.5"), False),
    ({"rooms": 0}, ("rooms", "-0"), True),
    ({"rooms": -3}, ("rooms", "-3"), True),
    ({"rooms": 2**53 + 1}, ("rooms", str(2**53 + 1)), True),
    ({"rooms": 2**53 + 1}, ("rooms", str(2**53)), False),
    ({"rooms": 2**63}, ("rooms", str(2**63)), True),
    ({"heat": 7.25}, ("heat", "7.25"), True),
    ({"heat": 7.25}, ("heat", "725e-2"), True),
    ({"heat": 1e22}, ("heat", "1e22"), True),
    ({"heat": 1e22}, ("heat", "1" + "0" * 22), True),
    ({"heat": 1e22}, ("heat", "9" * 400), False),
    ({"heat": 0.1}, ("heat", "0.1"), True),
    ({"heat": 5.0}, ("heat", "1e999"), False),
    ({"heat": 5.0}, ("heat", "NaN"), False),
    ({"pool": True}, ("pool", "true"), True),
    ({"pool": True}, ("pool", "1"), False),
    ({"pool": False}, ("pool", "false"), True),
    ({"pool": False}, ("pool", "0"), False),
    ({"person": SECRET}, ("person", SECRET), True),
    ({"person": SECRET}, ("area", SECRET), False),
    ({"person": "7"}, ("person", "7"), True),
    ({"account": 4711}, ("account", "4711"), True),
    ({"account": 4711}, ("account", "4711.0"), True),
    ({"account": 4711}, ("account", "4712"), False),
    ({"account": 2**60 + 1}, ("account", str(2**60 + 1)), True),
    ({"income": 31000.0}, ("income", "31000"), False),
    ({"context": {"person": SECRET}}, ("person", SECRET), True),
    ({"context": {"day": "2026-01-01"}}, ("day", "2026-01-01"), True),
    ({"context": {"day": None}}, ("day", "null"), False),
    ({"lookup": {"request": {"day": 3}}}, ("day", "3"), True),
    ({"lookup": {"passed": {"day": 3.5}}}, ("day", "3.5"), True),
    ({"lookup": {"values": {"mean": True}}}, ("mean", "true"), True),
    ({"lookup": {"states": {"mean": "late"}}}, ("mean", "late"), False),
    ({"lookup": {"values": None}}, ("mean", "null"), False),
]


def test_each_row_is_found_by_its_value_as_it_was_sent(settings: Settings) -> None:
    """In lines, and again compacted; by nothing else, and nobody else's row."""
    with opened(settings) as session:
        key = log.key_of(session)
    made = []
    for n, (values, _, _) in enumerate(WHERE):
        more = {name: values[name] for name in ("context", "lookup") if name in values}
        made.append(row(n, {name: value for name, value in values.items() if name not in more}, **more))
    done = signed(made, CONTRACT, model=MODEL, version=1, bundle="b", key=key)
    for compacted in (False, True):
        written(settings, done)
        if compacted:
            log.settle(settings=settings)
        rows = [*read(folder(settings), MODEL)][-len(WHERE) :]
        for n, (values, where, found) in enumerate(WHERE):
            assert _Match(*where, key)(rows[n]) == found, (values, where, compacted)
        shown = [value for one in rows for values in (one.inputs, one.context) for value in (values or {}).values()]
        assert not {SECRET, 4711, 31000.0} & {value for value in shown if not isinstance(value, dict | list)}
    assert SECRET.encode() not in everything(settings)
    before = {one.value for one in read(folder(settings), MODEL)}
    erased = erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
    places = {float(n) for n, (values, _, _) in enumerate(WHERE) if SECRET in str(values)}
    assert (erased.rows, erased.segments) == (2 * len(places), 2)
    assert {one.value for one in read(folder(settings), MODEL)} == before - places
    assert audit(settings=settings).passed


@pytest.mark.parametrize("where", [("person", "\udcff"), ("\ud800", "x")])
def test_what_is_no_text_is_refused_before_anything_is_looked_at(where: tuple[str, str], settings: Settings) -> None:
    """A shell may hand over bytes that are no UTF-8."""
    done = written(settings, [row(1)])
    with pytest.raises(SettingInvalid, match="no valid text"):
        erase(MODEL, where=where, reason="asked for", settings=settings)
    assert list(read(folder(settings), MODEL)) == done


def test_an_erased_row_is_gone_for_everybody_who_reads(settings: Settings) -> None:
    done, _ = segment(settings)
    append_outcomes(folder(settings), MODEL, [Outcome(prediction_id=one.id, value=1.0) for one in done[:4]])
    erase(MODEL, ids=[done[2].id], reason="asked for", settings=settings)
    with opened(settings) as session:
        kept = traffic._logged(session, MODEL, [one.id for one in done[3:6]])
        assert kept == tuple(done[3:6])
        with pytest.raises(StateConflict, match="not in the prediction log") as caught:
            traffic._logged(session, MODEL, [done[2].id, done[3].id, ""])
    assert caught.value.received == "2 of 3"
    assert find(folder(settings), done[2].id).inputs is None
    assert done[2] not in list(read(folder(settings), MODEL, since=done[2].time, version=1))
    assert done[3] in list(read(folder(settings), MODEL, since=done[3].time, version=1))


class TestKey:
    def test_a_server_of_this_version_has_the_key_whatever_its_champions_are_today(self, settings: Settings) -> None:
        """One that is promoted while it runs may have a column that is to be hashed."""
        with opened(settings) as session:
            path = session.workspace.root / log.KEY
            assert log.key_file(session, Contract(columns=CONTRACT.columns[:3], label="y", task="regression")) is None
            assert not path.exists(), "one of an older bundle would not know what to do with it"
            assert log.key_file(session) == path
            assert len(log.key_of(session, make=False)) == 32
            assert log.key_file(session, CONTRACT) == path
            told = serve._arguments(session, log.key_file(session))
        assert told[told.index("--log-key") + 1] == str(path)

    def test_one_that_was_cut_short_is_refused_and_never_replaced(self, settings: Settings) -> None:
        with opened(settings) as session:
            path = session.workspace.root / log.KEY
            path.write_text("")
            for work in (log.key_of, log.key_file):
                with pytest.raises(FullcircleError, match="gone or damaged"):
                    work(session)
            assert path.read_text() == ""


def test_what_a_stopped_settling_left_is_gone_before_others_read_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of a row that is erased are in no file that a crash left beside the segment."""
    done = written(settings, [row(n, {"person": SECRET if n == 3 else "p", "pad": "x" * 80}) for n in range(30)])
    real = Session.record

    def died(self: Session, kind: str, **more: Any) -> int:
        if kind == "segment.compacted":
            raise KeyboardInterrupt
        return real(self, kind, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "record", died)
        with pytest.raises(KeyboardInterrupt):
            log.settle(settings=settings)
    left = list(folder(settings).rglob("*.new"))
    assert len(left) == 2, "nobody can tell whether the fact was written: the next one looks"
    erase(MODEL, ids=[done[3].id], reason="asked for", settings=settings)
    assert not list(folder(settings).rglob("*.new"))
    assert SECRET.encode() not in everything(settings)
    assert audit(settings=settings).passed


def test_the_words_for_a_lost_row_say_where_to_look(settings: Settings) -> None:
    """A log that may lose rows gives them no id."""
    with PredictionLog(folder(settings), most_bytes=1, when_full="count") as full:
        (lost,) = full.append([row(1)])
    assert lost.id == ""
    with opened(settings) as session, pytest.raises(StateConflict) as caught:
        traffic._logged(session, MODEL, [lost.id])
    assert "log_full=count" in str(caught.value.next_step)
    assert SimpleNamespace(**{one.model: one.lost for one in log_state.show(settings=settings).models}).houses == 1
