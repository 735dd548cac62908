"""The prediction log and the ledger: closed segments are facts, erased rows are gone, the audit sees all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import circles
from fullcircle.errors import PredictionNotFound, SettingInvalid, WorkspaceBusy, WorkspaceUnusable
from fullcircle.flows import log, log_state
from fullcircle.flows.audit import audit
from fullcircle.flows.erase import Erased, erase
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.tables import compaction, segments
from fullcircle.tables.predictions import PredictionLog, append_outcomes, find, known, read, read_outcomes
from fullcircle.tables.private import hashed, mark
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "houses"
SECRET = "Ada-Lovelace-Secret"
PROBLEM = Problem(column="person", reason="unseen", action="flag", text=f"{SECRET} is new")


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


def row(n: int, person: str = "somebody", **more: Any) -> Prediction:
    return Prediction(
        value=float(n),
        verdict=Verdict(status="flagged", problems=(PROBLEM,)) if person == SECRET else Verdict(status="ok"),
        model=MODEL,
        version=1,
        bundle="b" * 64,
        inputs={"person": person, "heat": 20.5 + n, "pad": "x" * 50},
        **more,
    )


def written(settings: Settings, rows: Sequence[Prediction], **more: Any) -> tuple[Prediction, ...]:
    with PredictionLog(folder(settings), **more) as made:
        return tuple(one for each in rows for one in made.append([each]))


def facts(settings: Settings, *kinds: str) -> list[Fact]:
    with opened(settings) as session:
        return [fact for fact in session.workspace.ledger.facts() if fact.kind in kinds]


def everything(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path in folder(settings).rglob("*") if path.is_file())


class TestSettling:
    def test_a_closed_segment_is_a_fact_once_and_then_compacted(self, settings: Settings) -> None:
        done = written(settings, [row(n) for n in range(30)])
        (path,) = (folder(settings) / MODEL).glob("*.jsonl")
        digest, size = compaction.digest_of(path), path.stat().st_size
        assert log.settle(settings=settings) == log.Settled(closed=1, compacted=1, rows=30)
        assert log.settle(settings=settings) == log.Settled()
        closed, compacted = facts(settings, "segment.closed", "segment.compacted")
        expected = {"segment": path.stem, "rows": 30, "first": done[0].id, "last": done[-1].id, "digest": digest}
        assert {name: closed.body[name] for name in expected} == expected
        assert (closed.body["torn"], closed.body["bytes"], closed.body["model"]) == (0, size, MODEL)
        parquet = path.with_suffix(".parquet")
        assert (compacted.body["digest"], compacted.body["source"]) == (compaction.digest_of(parquet), digest)
        assert not path.exists()
        assert tuple(read(folder(settings), MODEL)) == done
        assert audit(settings=settings).passed

    def test_an_open_segment_waits_and_a_small_one_stays_as_it_is(self, settings: Settings) -> None:
        with PredictionLog(folder(settings)) as still:
            still.append([row(n) for n in range(30)])
            assert log.settle(settings=settings) == log.Settled()
        written(settings, [row(1)])
        assert log.settle(settings=settings) == log.Settled(closed=2, compacted=1, rows=30)
        assert log.settle(settings=settings) == log.Settled()
        assert audit(settings=settings).passed
        assert len(list(read(folder(settings), MODEL))) == 31

    def test_what_holds_no_row_is_taken_away_and_torn_lines_are_told(self, settings: Settings) -> None:
        written(settings, [row(n) for n in range(9)])
        (path,) = (folder(settings) / MODEL).glob("*.jsonl")
        path.write_bytes(path.read_bytes() + b'{"id":"torn')
        (path.parent / ("0" * 16 + ".jsonl")).touch()
        log.settle(settings=settings)
        (closed,) = facts(settings, "segment.closed")
        assert (closed.body["rows"], closed.body["torn"]) == (9, 1)
        found = log_state.show(settings=settings)
        (one,) = found.models
        assert (one.segments, one.open, one.compacted, one.rows, one.torn, one.lost) == (1, 0, 1, 9, 1, 0)
        assert found.bytes == one.bytes > 0
        assert found.most_bytes == 10_000_000_000

    def test_rows_of_a_server_without_locks_wait_until_it_is_said_that_it_ended(self, settings: Settings) -> None:
        home = folder(settings) / MODEL
        home.mkdir(parents=True)
        lines = [
            f'{{"value":{n}.0,"verdict":{{"status":"ok"}},"id":"{"a" * 16}-{n * 200}","time":"2026-01-01"}}'
            for n in range(20)
        ]
        (home / ("a" * 16 + ".jsonl")).write_text("".join(f"{line:<199}\n" for line in lines))
        before = list(read(folder(settings), MODEL))
        assert log_state.show(settle=True, settings=settings).settled == log.Settled()
        assert log_state.show(settle=True, old=True, settings=settings).settled == log.Settled(
            closed=1, compacted=1, rows=20
        )
        assert list(read(folder(settings), MODEL)) == before
        assert find(folder(settings), before[3].id) == before[3]

    def test_only_one_process_settles(self, settings: Settings) -> None:
        written(settings, [row(n) for n in range(30)])
        with segments.settling(folder(settings)):
            assert log.settle(settings=settings) == log.Settled()
            with opened(settings) as session, pytest.raises(WorkspaceBusy):
                log.settle_in(session, patience=0.1)
        assert log.settle(settings=settings).compacted == 1

    def test_the_settler_of_a_server_never_waits(self, settings: Settings) -> None:
        done = written(settings, [row(n) for n in range(30)])
        with opened(settings) as session:
            settler = log.Settler(session, every=0.05)
            begun = time.monotonic()
            settler.look()
            assert time.monotonic() - begun < 0.05, "too early to begin"
            deadline = time.monotonic() + 20
            while not list((folder(settings) / MODEL).glob("*.parquet")) and time.monotonic() < deadline:
                settler.look()
                time.sleep(0.02)
            if settler._thread is not None:
                settler._thread.join(20)
        assert tuple(read(folder(settings), MODEL)) == done
        assert audit(settings=settings).passed

    def test_an_altered_segment_is_left_as_the_evidence_that_it_is(self, settings: Settings) -> None:
        written(settings, [row(n) for n in range(5)])
        (path,) = (folder(settings) / MODEL).glob("*.jsonl")
        with opened(settings) as session:
            log.note_closed(session, MODEL, path.stem)
        path.write_bytes(path.read_bytes().replace(b"somebody", b"somebody".upper()))
        assert log.settle(settings=settings).compacted == 0
        with pytest.raises(WorkspaceUnusable, match="was altered"):
            erase(MODEL, where=("heat", "20.5"), reason="asked for", settings=settings)
        (problem,) = audit(settings=settings).problems
        assert (problem.kind, problem.seq) == ("predictions", facts(settings, "segment.closed")[0].seq)
        assert path.stem in problem.text
        assert "was altered" in problem.text


class TestAudit:
    @pytest.mark.parametrize("what", ["gone", "altered", "stranger", "folder gone"])
    def test_names_the_segment(self, what: str, settings: Settings) -> None:
        written(settings, [row(n) for n in range(30)])
        log.settle(settings=settings)
        (path,) = (folder(settings) / MODEL).glob("*.parquet")
        assert audit(settings=settings).passed
        if what == "gone":
            path.unlink()
        elif what == "altered":
            content = bytearray(path.read_bytes())
            content[100] ^= 1
            path.write_bytes(content)
        elif what == "stranger":
            path.with_name("0" * 16 + ".parquet").write_bytes(path.read_bytes())
        else:
            folder(settings).rename(settings.workspace / "elsewhere")
        (problem,) = audit(settings=settings).problems
        text = {"altered": "was altered", "stranger": "no fact speaks of it"}.get(what, "is gone")
        assert text in problem.text
        assert (path.stem in problem.text) == (what != "stranger")
        assert problem.kind == "predictions"

    def test_segments_of_another_workspace_with_the_same_ledger_are_not_missed(self, settings: Settings) -> None:
        with opened(settings) as session:
            session.record(
                "segment.closed", workspace="another", model=MODEL, segment="0" * 16, rows=1, digest="d" * 64
            )
        assert audit(settings=settings).passed


class TestErasing:
    def test_by_id_the_values_are_gone_and_the_rest_stands(self, settings: Settings) -> None:
        done = written(settings, [row(n, SECRET if n in (3, 7) else "somebody") for n in range(20)])
        written(settings, [row(n) for n in range(5)])
        gone = [done[3].id, done[7].id]
        outcomes = [Outcome(prediction_id=one.id, value=f"label-{one.value:.0f}-") for one in done]
        append_outcomes(folder(settings), MODEL, outcomes)
        found = erase(MODEL, ids=gone, reason="request 17", settings=settings)
        assert found == Erased(model=MODEL, rows=2, segments=1, outcomes=2, before=0, reason="request 17")
        content = everything(settings)
        assert SECRET.encode() not in content
        assert b"label-3-" not in content
        assert b"label-4-" in content
        rows = list(read(folder(settings), MODEL))
        assert len(rows) == 23
        assert not set(gone) & {one.id for one in rows}
        stone = find(folder(settings), gone[0])
        assert (stone.time, stone.version, stone.verdict) == (done[3].time, 1, Verdict(status="flagged"))
        assert (stone.value, stone.inputs, stone.context, stone.lookup) == (None, None, None, None)
        assert [known(folder(settings), MODEL, one) for one in (*gone, done[4].id)] == [False, False, True]
        assert set(read_outcomes(folder(settings), MODEL)) == {one.id for one in done} - set(gone)
        assert audit(settings=settings).passed
        (fact,) = facts(settings, "predictions.erased")
        assert (fact.body["rows"], fact.body["reason"], fact.body["mark"]) == (2, "request 17", stone.erased)
        with opened(settings) as session:
            assert fact.body["ids"] == mark(log.key_of(session), *sorted(gone))
        assert not any(one in json.dumps(dict(fact.body)) for one in gone)

    def test_again_changes_nothing_and_others_can_follow(self, settings: Settings) -> None:
        done = written(settings, [row(n) for n in range(20)])
        log.settle(settings=settings)
        for one in done[:3]:
            assert erase(MODEL, ids=[one.id], reason="asked for", settings=settings).rows == 1
        late = Outcome(prediction_id=done[0].id, value="came-too-late")
        append_outcomes(folder(settings), MODEL, [late])
        found = erase(MODEL, ids=[one.id for one in done[:3]], reason="asked for", settings=settings)
        assert (found.rows, found.before, found.outcomes, found.segments) == (0, 3, 1, 0)
        assert b"came-too-late" not in everything(settings)
        assert len({find(folder(settings), one.id).erased for one in done[:3]}) == 3
        assert [one.id for one in read(folder(settings), MODEL)] == [one.id for one in done[3:]]
        assert audit(settings=settings).passed

    def test_by_value_in_every_form_and_every_place(self, settings: Settings) -> None:
        with opened(settings) as session:
            key = log.key_of(session)
        rows = [
            row(0, SECRET),
            row(1, str(hashed(key, "person", SECRET))),
            row(2, context={"person": SECRET}),
            row(3, lookup={"view": "v", "at": 1, "request": {"person": SECRET}}),
            row(4, lookup={"view": "v", "at": 1, "values": {"person": SECRET}}),
            row(5, context={"someone": SECRET[:3]}),
        ]
        written(settings, rows[:3])
        written(settings, rows[3:])
        found = erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert (found.rows, found.segments) == (5, 2)
        assert SECRET.encode() not in everything(settings)
        assert [one.value for one in read(folder(settings), MODEL)] == [5.0]
        assert erase(MODEL, where=("heat", "25.5"), reason="asked for", settings=settings).rows == 1

    @pytest.mark.parametrize(("value", "rows"), [("7", 1), ("7.0", 1), ("07", 0), ("true", 0), ("seven", 0)])
    def test_a_number_is_found_however_it_is_written(self, value: str, rows: int, settings: Settings) -> None:
        written(settings, [Prediction(value=1.0, verdict=Verdict(status="ok"), model=MODEL, inputs={"n": 7.0})])
        assert erase(MODEL, where=("n", value), reason="asked for", settings=settings).rows == rows

    def test_rows_that_are_still_written_to_wait_and_are_named(self, settings: Settings) -> None:
        done = written(settings, [row(1, SECRET)])
        with PredictionLog(folder(settings)) as still:
            (open_one,) = still.append([row(2, SECRET)])
            found = erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
            assert (found.rows, found.waiting) == (1, (open_one.id,))
            assert found.until > done[0].time[:10]
            assert find(folder(settings), open_one.id) == open_one
        again = erase(MODEL, ids=[open_one.id], reason="asked for", settings=settings)
        assert (again.rows, again.waiting, again.until) == (1, (), "")
        assert SECRET.encode() not in everything(settings)

    def test_a_torn_line_may_be_anybodys(self, settings: Settings) -> None:
        done = written(settings, [row(1)])
        written(settings, [row(2)])
        path = folder(settings) / MODEL / f"{done[0].id.partition('-')[0]}.jsonl"
        path.write_bytes(path.read_bytes() + f'{{"id":"x","inputs":{{"person":"{SECRET}"'.encode())
        with (folder(settings) / MODEL / "outcomes.jsonl").open("wb") as file:
            file.write(f'{{"prediction_id":"{done[0].id}","value":"{SECRET}'.encode())
        erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
        assert SECRET.encode() not in everything(settings)
        assert len(list(read(folder(settings), MODEL))) == 2
        assert audit(settings=settings).passed

    @pytest.mark.parametrize(
        ("more", "what"),
        [
            ({"reason": "why"}, "is not said"),
            ({"reason": "why", "ids": ["a"], "where": ("a", "b")}, "said twice"),
            ({"reason": " ", "ids": ["a"]}, "--reason is empty"),
            ({"reason": "x" * 501, "ids": ["a"]}, "too long"),
        ],
    )
    def test_what_is_not_said_rightly_is_refused(self, more: dict[str, Any], what: str, settings: Settings) -> None:
        with pytest.raises(SettingInvalid, match=what):
            erase(MODEL, settings=settings, **more)

    def test_an_id_that_was_never_given_erases_nothing(self, settings: Settings) -> None:
        done = written(settings, [row(n) for n in range(3)])
        with pytest.raises(PredictionNotFound, match="nothing was erased"):
            erase(MODEL, ids=[done[0].id, "0" * 16 + "-0"], reason="why", settings=settings)
        with pytest.raises(PredictionNotFound):
            erase("another", ids=[done[0].id], reason="why", settings=settings)
        assert len(list(read(folder(settings), MODEL))) == 3

    def test_the_key_is_made_once_and_for_its_owner_only(self, settings: Settings) -> None:
        with opened(settings) as session:
            assert log.key_of(session, make=False) == b""
            keys: list[bytes] = []
            threads = [threading.Thread(target=lambda: keys.append(log.key_of(session))) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            path = session.workspace.root / log.KEY
            assert len(set(keys)) == 1
            assert len(keys[0]) == 32
            assert path.stat().st_mode & 0o777 == 0o600
            path.write_text("nonsense")
            with pytest.raises(WorkspaceUnusable, match="key of the prediction log is gone or damaged"):
                log.key_of(session)


_CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import circles
from fullcircle.flows import log, log_state
from fullcircle.flows.erase import erase
log.SMALLEST = 1000
settings = circles.settings(Path(sys.argv[1]))
print("ready", flush=True)
if sys.argv[2] == "settle":
    log.settle(settings=settings)
else:
    erase("houses", where=("person", sys.argv[2]), reason="asked for", settings=settings)
print("done", flush=True)
"""


def test_a_kill_at_any_moment_loses_and_doubles_no_row(settings: Settings) -> None:
    """Compaction and erasure in processes of their own, killed at seeded moments; the next one goes on."""
    dice = random.Random(11)
    done = written(settings, [row(n, SECRET if n % 10 == 0 else "somebody") for n in range(250)], segment_bytes=8_000)
    everyone = [one.id for one in done]
    gone = {one.id for n, one in enumerate(done) if n % 10 == 0}
    for wish in ["settle", SECRET, SECRET]:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(settings.folder), wish, *sys.path], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0.05, 0.5))
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        child.stdout.close()
        seen = [one.id for one in read(folder(settings), MODEL)]
        assert len(seen) == len(set(seen))
        assert set(everyone) - (set() if wish == "settle" else gone) <= set(seen) <= set(everyone)
    log.settle(settings=settings)
    erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)
    assert SECRET.encode() not in everything(settings)
    assert [one.id for one in read(folder(settings), MODEL)] == [one for one in everyone if one not in gone]
    assert audit(settings=settings).passed
    assert not list(folder(settings).rglob("*.new"))


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("kind", ["settle", "erase", "erase lines"])
def test_stopped_before_any_step_the_next_one_finishes_it(
    kind: str, at: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fact, rename and unlink in turn is the one before which the process dies."""
    done = written(settings, [row(n, SECRET if n == 4 else "somebody") for n in range(20)])
    append_outcomes(folder(settings), MODEL, [Outcome(prediction_id=done[4].id, value=SECRET)])
    if kind == "erase":
        log.settle(settings=settings)

    def work() -> None:
        if kind == "settle":
            log.settle(settings=settings)
        else:
            erase(MODEL, where=("person", SECRET), reason="asked for", settings=settings)

    steps = [at]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if steps[0] == 0:
                raise KeyboardInterrupt
            steps[0] -= 1
            return real(*arguments, **more)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted(os.replace))
        patched.setattr(os, "pwrite", counted(os.pwrite))
        real, step = Path.unlink, counted(Path.unlink)
        patched.setattr(Path, "unlink", lambda path, **more: (step if ".jsonl" in path.name else real)(path, **more))
        patched.setattr(Session, "record", counted(Session.record))
        with suppress(KeyboardInterrupt):
            work()
    seen = [one.id for one in read(folder(settings), MODEL)]
    assert seen in ([one.id for one in done], [one.id for one in done if one.value != 4])
    problems = audit(settings=settings).problems
    assert all("that were to be erased" in one.text for one in problems)
    begun = bool(facts(settings, "predictions.erased")) and not find(folder(settings), done[4].id).erased
    assert bool(problems) == begun, (
        "what the ledger says is erased, and is still there, is a problem until it is gone"
    )
    log.settle(settings=settings)
    assert not list(folder(settings).rglob("*.new")), "finished, or taken away"
    work()
    assert audit(settings=settings).passed
    assert [one.id for one in read(folder(settings), MODEL)] == [
        one.id for one in done if kind == "settle" or one.value != 4
    ]
    if kind != "settle":
        assert SECRET.encode() not in everything(settings)
    assert not list(folder(settings).rglob("*.new"))


@pytest.fixture(autouse=True)
def _nothing_half_begun(settings: Settings) -> Iterator[None]:
    yield
    assert not list(settings.workspace.rglob(".log.key-*"))
