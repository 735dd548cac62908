"""An audit finds every way of changing the ledger by hand, and says which fact it is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fullcircle.errors import LedgerBroken
from fullcircle.ledger.audit import Audit, audit
from fullcircle.ledger.chain import AuditProblem, examine
from fullcircle.ledger.store import GENESIS, Line, line_hash
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load

COUNT = 12
READ = "SELECT seq, time, actor, kind, body, previous, hash FROM fullcircle_facts ORDER BY seq"
WRITE = "INSERT INTO fullcircle_facts (seq, time, actor, kind, body, previous, hash) VALUES (?,?,?,?,?,?,?)"
places = st.integers(1, COUNT)
tamper = hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("audit")
    settings = load({"workspace": "ws", "config": "config", "actor": "tester", "ledger": ""}, folder=folder)
    with Workspace.open(settings) as workspace:
        for number in range(2, COUNT + 1):
            workspace.ledger.append("reconciled", {"model": "bike", "what": f"note {number}"})
    return settings


@contextmanager
def tampered(settings: Settings) -> Iterator[tuple[sqlite3.Connection, Callable[[], Audit]]]:
    """A copy of the workspace: its database, and a look at it afterwards. The checkpoints are shared."""
    copy = settings.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(settings.workspace, copy)
    database = sqlite3.connect(copy / "ledger.db", isolation_level=None)

    def look() -> Audit:
        database.close()
        values = {**settings.values, "workspace": str(copy)}
        with Workspace.open(replace(settings, values=values), create=False) as workspace:
            found = audit(workspace)
            if any(problem.kind not in ("truncated", "rewritten") for problem in found.problems):
                with pytest.raises(LedgerBroken):
                    workspace.ledger.state()
        return found

    yield database, look
    database.close()


def lines_of(database: sqlite3.Connection) -> list[Line]:
    return [Line(*row) for row in database.execute(READ)]


def write(database: sqlite3.Connection, lines: list[Line]) -> None:
    database.execute("DELETE FROM fullcircle_facts")
    for line in lines:
        values = tuple(getattr(line, name) for name in Line.__slots__)
        database.execute(WRITE, values)


def kinds(found: Audit) -> list[tuple[str, int]]:
    return [(problem.kind, problem.seq) for problem in found.problems]


def rehashed(line: Line) -> Line:
    return replace(line, hash=line_hash(line))


def chain(lines: list[Line], start: int) -> list[Line]:
    """The lines with hashes and links made anew from place ``start`` on, numbered from 1."""
    found = [replace(line, seq=place) for place, line in enumerate(lines, 1)]
    for index in range(start - 1, len(found)):
        previous = found[index - 1].hash if index else GENESIS
        found[index] = rehashed(replace(found[index], previous=previous))
    return found


def test_an_untouched_ledger_passes(original: Settings) -> None:
    with tampered(original) as (_, look):
        found = look()
    assert found.passed
    assert (found.facts, found.checkpoints) == (COUNT, COUNT)


@tamper
@given(seq=places, column=st.sampled_from(["time", "actor", "kind", "body", "hash", "previous"]))
def test_an_edited_fact_is_named(original: Settings, seq: int, column: str) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        changed: dict[str, Any] = {column: "x" + getattr(lines[seq - 1], column)}
        lines[seq - 1] = replace(lines[seq - 1], **changed)
        write(database, lines)
        found = [problem for problem in kinds(look()) if problem != ("rewritten", 1)]
        assert found == [("edited", seq)]


@tamper
@given(seq=places, byte=st.integers(0, 20), data=st.binary(min_size=1, max_size=4))
def test_bytes_that_are_no_text_are_an_edit(original: Settings, seq: int, byte: int, data: bytes) -> None:
    with tampered(original) as (database, look):
        (body,) = database.execute("SELECT CAST(body AS BLOB) FROM fullcircle_facts WHERE seq = ?", (seq,)).fetchone()
        changed = body[:byte] + data + body[byte:]
        database.execute("UPDATE fullcircle_facts SET body = CAST(? AS TEXT) WHERE seq = ?", (changed, seq))
        assert ("edited", seq) in kinds(look())


@tamper
@given(seq=places)
def test_an_edit_with_its_hash_made_anew_is_named(original: Settings, seq: int) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        lines[seq - 1] = rehashed(replace(lines[seq - 1], actor="mallory"))
        write(database, lines)
        expected = ("edited", seq) if seq < COUNT else ("rewritten", seq)
        assert kinds(look()) == [expected]


@tamper
@given(seq=st.integers(1, COUNT - 1), count=st.integers(1, 3), renumber=st.booleans())
def test_a_deleted_fact_is_named(original: Settings, seq: int, count: int, renumber: bool) -> None:
    assume(seq + count <= COUNT)
    with tampered(original) as (database, look):
        lines = lines_of(database)
        del lines[seq - 1 : seq - 1 + count]
        if renumber:
            lines = [replace(line, seq=place) for place, line in enumerate(lines, 1)]
        write(database, lines)
        assert [found for found in kinds(look()) if found[0] != "rewritten"] == [("deleted", seq)]


@tamper
@given(seq=st.integers(2, COUNT), linked=st.booleans())
def test_an_inserted_fact_is_named(original: Settings, seq: int, linked: bool) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        new = replace(lines[3], seq=seq, body='{"what":"forged"}', previous=lines[seq - 2].hash)
        new = rehashed(new) if linked else replace(new, hash="f" * 64)
        after = [replace(line, seq=line.seq + 1) for line in lines[seq - 1 :]]
        write(database, [*lines[: seq - 1], new, *after])
        assert kinds(look()) == [("inserted", seq)]


def test_a_fact_added_at_the_end_without_a_hash_that_holds_is_named(original: Settings) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        write(database, [*lines, replace(lines[-1], seq=COUNT + 1)])
        assert kinds(look()) == [("inserted", COUNT + 1)]


@pytest.mark.parametrize("seq", [0, -7])
def test_a_fact_before_the_first_is_named(original: Settings, seq: int) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        write(database, [replace(lines[2], seq=seq), *lines])
        assert ("inserted", seq) in kinds(look())


@tamper
@given(one=places, other=places)
def test_swapped_facts_are_named(original: Settings, one: int, other: int) -> None:
    assume(one < other)
    with tampered(original) as (database, look):
        lines = lines_of(database)
        first, second = lines[one - 1], lines[other - 1]
        lines[one - 1], lines[other - 1] = replace(second, seq=one), replace(first, seq=other)
        write(database, lines)
        found = [(problem.kind, problem.seq) for problem in look().problems if problem.kind != "rewritten"]
        assert found == [("swapped", one), ("swapped", other)]


@tamper
@given(left=st.integers(0, COUNT - 1))
def test_a_cut_off_end_is_named(original: Settings, left: int) -> None:
    with tampered(original) as (database, look):
        database.execute("DELETE FROM fullcircle_facts WHERE seq > ?", (left,))
        assert kinds(look()) == [("truncated", left + 1)]


@tamper
@given(seq=places)
def test_a_chain_made_anew_from_one_fact_on_is_named(original: Settings, seq: int) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        lines[seq - 1] = replace(lines[seq - 1], actor="mallory")
        write(database, chain(lines, seq))
        assert kinds(look()) == [("rewritten", seq)]


@tamper
@given(left=st.integers(1, COUNT - 2))
def test_a_cut_off_end_that_grew_again_is_named(original: Settings, left: int) -> None:
    with tampered(original) as (database, look):
        lines = lines_of(database)
        lines = [*lines[:left], *(replace(line, actor="mallory") for line in lines[left:])]
        write(database, chain(lines, left + 1))
        assert kinds(look()) == [("rewritten", left + 1)]


def test_a_ledger_of_another_workspace_is_named(original: Settings, tmp_path: Path) -> None:
    other = load({"workspace": str(tmp_path / "other"), "config": str(tmp_path / "config")}, folder=tmp_path)
    Workspace.open(other).close()
    with tampered(original) as (database, look):
        with sqlite3.connect(other.workspace / "ledger.db") as source:
            write(database, lines_of(source))
        source.close()
        assert {kind for kind, _ in kinds(look())} == {"rewritten", "truncated"}


@tamper
@given(st.data())
def test_whatever_is_done_is_found(original: Settings, data: st.DataObject) -> None:
    """Several changes at once: at least one problem, and no crash."""
    with tampered(original) as (database, look):
        lines = before = lines_of(database)
        for _ in range(data.draw(st.integers(1, 4))):
            index = data.draw(st.integers(0, len(lines) - 1))
            action = data.draw(st.sampled_from(["edit", "delete", "move", "repeat"]))
            line = lines[index]
            if action == "edit":
                lines = [*lines[:index], replace(line, body=line.body + " "), *lines[index + 1 :]]
            elif action == "delete" and len(lines) > 2:
                lines = [*lines[:index], *lines[index + 1 :]]
            elif action == "move":
                lines = [*lines[:index], *lines[index + 1 :], line]
            else:
                lines = [*lines, line]
        lines = [replace(line, seq=place) for place, line in enumerate(lines, 1)]
        assume(lines != before)
        write(database, lines)
        assert look().problems


def test_examining_a_long_ledger_takes_no_time_to_speak_of() -> None:
    lines = chain([Line(0, "t", "a", "reconciled", f'{{"what":"{n}"}}', "", "") for n in range(3000)], 1)
    assert examine(lines, {}) == ()
    holed = [replace(line, seq=line.seq - 1) for line in lines[1:]]
    assert examine(holed, {}) == (AuditProblem(kind="deleted", seq=1, text="fact 1 was deleted"),)


# --- checkpoints and blobs ----------------------------------------------------------------------------


def test_a_forged_checkpoint_is_named(workspace: Workspace) -> None:
    workspace.ledger.append("reconciled", {"what": "x"})
    path = workspace.config / "checkpoints" / f"{workspace.id}.jsonl"
    path.write_text(path.read_text().replace('"seq":2', '"seq":3'))
    (problem,) = audit(workspace).problems
    assert problem.kind == "checkpoint"
    assert "line 2" in problem.text


def test_a_lost_key_is_named(workspace: Workspace) -> None:
    (workspace.config / "signing-key.pem").unlink()
    (problem,) = audit(workspace).problems
    assert (problem.kind, "signing-key.pem is gone" in problem.text) == ("checkpoint", True)


def test_without_checkpoints_of_mine_the_chain_alone_is_checked(settings: Settings, workspace: Workspace) -> None:
    mine = replace(settings, values={**settings.values, "config": "elsewhere"})
    with Workspace.open(mine, create=False) as looked:
        found = audit(looked)
    assert (found.passed, found.facts, found.checkpoints) == (True, 1, 0)
    assert not (settings.folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("snapshot.created", "snapshot"),
        ("report.recorded", "report"),
        ("bundle.built", "bundle"),
        ("bundle.proven", "proof"),
        ("window.monitored", "window"),
    ],
)
def test_a_blob_that_a_fact_names_must_be_there_and_whole(workspace: Workspace, kind: str, field: str) -> None:
    digest = workspace.blobs.put(b"content")
    fact = workspace.ledger.append(kind, {field: digest})
    assert audit(workspace).passed
    path = workspace.root / "blobs" / digest[:2] / digest
    path.write_bytes(b"c0ntent")
    assert [(p.kind, p.seq) for p in audit(workspace).problems] == [("blob", fact.seq)]
    path.unlink()
    (problem,) = audit(workspace).problems
    assert (problem.kind, problem.seq, "gone" in problem.text) == ("blob", fact.seq, True)


def test_a_blob_deleted_on_purpose_is_no_problem_until_it_is_back(workspace: Workspace) -> None:
    digest = workspace.blobs.put(b"content")
    workspace.ledger.append("snapshot.created", {"snapshot": digest})
    fact = workspace.erase(digest, "asked by the subject")
    assert not workspace.blobs.exists(digest)
    assert audit(workspace).passed
    workspace.blobs.put(b"content")
    (problem,) = audit(workspace).problems
    assert (problem.kind, problem.seq, "still stored" in problem.text) == ("blob", fact.seq, True)
    workspace.ledger.append("snapshot.created", {"snapshot": digest})
    assert audit(workspace).passed
