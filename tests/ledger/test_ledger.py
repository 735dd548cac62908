"""Facts are checked, appended in order by many at once, and refused when the chain does not hold."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fullcircle.errors import FactInvalid, LedgerBroken, StateConflict
from fullcircle.ledger.audit import audit
from fullcircle.ledger.state import State, fold
from fullcircle.ledger.store import GENESIS
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings
from fullcircle.types.facts import FACTS

values = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | st.text()


def test_the_first_fact_names_the_ledger(workspace: Workspace) -> None:
    (first,) = workspace.ledger.facts()
    assert (first.seq, first.kind, first.previous) == (1, "ledger.created", GENESIS)
    assert first.body == {"ledger": workspace.ledger.id, "format": 1}
    assert workspace.ledger.head() == first


def test_a_fact_says_when_and_by_whom(workspace: Workspace) -> None:
    before = datetime.now(UTC)
    fact = workspace.ledger.append("reconciled", {"model": "bike", "what": "ü"})
    assert fact.time.endswith("Z")
    assert len(fact.time) == 27
    assert before <= datetime.fromisoformat(fact.time) <= datetime.now(UTC)
    assert (fact.actor, fact.seq) == ("tester", 2)
    assert list(workspace.ledger.facts(after=1)) == [fact]


def test_facts_by_kind_and_from_a_place(workspace: Workspace) -> None:
    for model in "abc":
        workspace.ledger.append("reconciled", {"model": model})
        workspace.ledger.append("deployment.stopped", {"model": model})
    found = [fact.body["model"] for fact in workspace.ledger.facts("reconciled", after=2)]
    assert found == ["b", "c"]
    assert list(workspace.ledger.facts(after=99)) == []


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(FACTS["alarm.raised"]), values))
def test_what_goes_in_comes_out_or_is_refused(workspace: Workspace, body: dict[str, Any]) -> None:
    bad = any(
        (isinstance(value, float) and math.isinf(value)) or (isinstance(value, str) and ("\0" in value))
        for value in body.values()
    )
    head = workspace.ledger.head()
    if bad:
        with pytest.raises(FactInvalid):
            workspace.ledger.append("alarm.raised", body)
        assert workspace.ledger.head() == head
    else:
        fact = workspace.ledger.append("alarm.raised", body)
        assert fact.body == body
        assert [type(value) for value in fact.body.values()] == [type(body[name]) for name in fact.body]
        assert workspace.ledger.head() == fact


@pytest.mark.parametrize(
    ("kind", "body", "names"),
    [
        ("version.promotd", {}, "version.promoted"),
        ("reconciled", {"wat": "x"}, "model, what"),
        ("reconciled", {"what": "x" * 501}, "500"),
        ("reconciled", {"what": "\ud800"}, "text"),
        ("reconciled", {"what": ["a"]}, "str, int"),
        ("reconciled", {"what": {"a": 1}}, "str, int"),
        ("reconciled", {"what": b"a"}, "str, int"),
        ("reconciled", {"what": math.nan}, "finite"),
        ("reconciled", {"what": 10**5000}, "at most"),
        ("version.promoted", {"model": "bike"}, "type"),
        ("version.promoted", {"model": "bike", "version": "1"}, "type"),
        ("version.promoted", {"model": "bike", "version": True}, "type"),
        ("run.finished", {"model": "", "run": "r"}, "type"),
    ],
)
def test_a_fact_that_says_nothing_known_is_refused(
    workspace: Workspace, kind: str, body: dict[str, Any], names: str
) -> None:
    with pytest.raises(FactInvalid) as caught:
        workspace.ledger.append(kind, body)
    assert names in str(caught.value)
    assert workspace.ledger.state().seq == 1


def promote(workspace: Workspace, version: int, expected: int | None) -> None:
    def guard(state: State) -> None:
        if state.champions.get("bike") != expected:
            raise StateConflict("another was faster")

    workspace.ledger.append("version.promoted", {"model": "bike", "version": version}, guard=guard)


def test_a_guard_that_says_no_leaves_no_trace(workspace: Workspace) -> None:
    promote(workspace, 1, None)
    with pytest.raises(StateConflict):
        promote(workspace, 2, None)
    state = workspace.ledger.state()
    assert (state.seq, state.champions) == (2, {"bike": 1})
    promote(workspace, 2, 1)
    assert audit(workspace).passed


def test_of_many_who_promote_against_one_champion_one_wins(settings: Settings) -> None:
    """Every thread has a workspace of its own, as every process would."""
    barrier = threading.Barrier(8)

    def work(version: int) -> bool:
        with Workspace.open(settings) as workspace:
            barrier.wait()
            try:
                promote(workspace, version, None)
            except StateConflict:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(1, 9)))
    assert won.count(True) == 1
    with Workspace.open(settings) as workspace:
        assert workspace.ledger.state().champions == {"bike": won.index(True) + 1}


def test_a_guard_may_read_the_ledger(workspace: Workspace) -> None:
    seen = []
    workspace.ledger.append("reconciled", {}, guard=lambda state: seen.append(workspace.ledger.state().seq))
    assert seen == [1]


def test_threads_share_an_open_ledger(workspace: Workspace) -> None:
    with ThreadPoolExecutor(8) as pool:
        facts = list(pool.map(lambda n: workspace.ledger.append("reconciled", {"what": str(n)}), range(40)))
    assert sorted(fact.seq for fact in facts) == list(range(2, 42))
    assert workspace.ledger.state().seq == 41
    assert audit(workspace).passed


APPEND = """
import sys
from pathlib import Path
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
folder, name, count, ledger = sys.argv[1:]
settings = load({"workspace": "ws", "config": "config", "actor": name, "ledger": ledger}, folder=Path(folder))
with Workspace.open(settings) as workspace:
    for number in range(int(count)):
        fact = workspace.ledger.append("reconciled", {"what": f"{name} {number}"})
        print(fact.seq, fact.hash, flush=True)
"""


def test_processes_that_make_a_workspace_at_once_lose_and_reorder_nothing(settings: Settings) -> None:
    """Nothing exists when they begin: folder, ledger and key are made by whoever comes first."""
    check_many(settings, "")


def test_processes_that_make_a_shared_ledger_at_once(settings: Settings, postgres: Any) -> None:
    check_many(settings, postgres())


def check_many(settings: Settings, ledger: str) -> None:
    arguments = [sys.executable, "-c", APPEND, str(settings.folder)]
    children = [
        subprocess.Popen([*arguments, f"p{n}", "10", ledger], stdout=subprocess.PIPE, text=True) for n in range(4)
    ]
    acknowledged = {}
    for child in children:
        output, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        acknowledged.update({int(seq): hash for seq, hash in map(str.split, output.splitlines())})
    values = {**settings.values, "ledger": ledger}
    with Workspace.open(Settings(values=values, folder=settings.folder), create=False) as workspace:
        facts = list(workspace.ledger.facts())
        assert [fact.seq for fact in facts] == list(range(1, 42))
        assert acknowledged == {fact.seq: fact.hash for fact in facts[1:]}
        for n in range(4):
            mine = [fact.body["what"] for fact in facts[1:] if fact.actor == f"p{n}"]
            assert mine == [f"p{n} {number}" for number in range(10)]
        found = audit(workspace)
        assert found.passed, found.problems
        assert found.checkpoints == 41


def test_an_edit_stops_readers_and_writers(settings: Settings, workspace: Workspace) -> None:
    for number in range(5):
        workspace.ledger.append("reconciled", {"what": str(number)})
    edit(settings, "UPDATE fullcircle_facts SET body = replace(body, '2', '7') WHERE seq = 4")
    with Workspace.open(settings, create=False) as again:
        with pytest.raises(LedgerBroken, match="fact 4 of the ledger was changed"):
            again.ledger.state()
        with pytest.raises(LedgerBroken, match="fact 4"):
            again.ledger.append("reconciled", {})
        with pytest.raises(LedgerBroken, match="fact 4"):
            list(again.ledger.facts())
        assert [fact.seq for fact in again.ledger.facts(after=4)] == [5, 6]


def test_an_open_ledger_notices_what_changed_under_it(settings: Settings, workspace: Workspace) -> None:
    for number in range(5):
        workspace.ledger.append("reconciled", {"what": str(number)})
    assert workspace.ledger.state().seq == 6
    edit(settings, "DELETE FROM fullcircle_facts WHERE seq > 4")
    with pytest.raises(LedgerBroken, match="fact 6"):
        workspace.ledger.append("reconciled", {})


def test_a_lost_first_fact_stops_everything(settings: Settings, workspace: Workspace) -> None:
    workspace.ledger.append("reconciled", {})
    edit(settings, "DELETE FROM fullcircle_facts WHERE seq = 1")
    with Workspace.open(settings, create=False) as again, pytest.raises(LedgerBroken, match="fact 1"):
        again.ledger.state()
    with pytest.raises(LedgerBroken, match="fact 1"):
        Workspace.open(settings)


def edit(settings: Settings, statement: str) -> None:
    database = sqlite3.connect(settings.workspace / "ledger.db", isolation_level=None)
    database.execute(statement)
    database.close()


def test_state_agrees_with_a_fold_over_all_facts(settings: Settings, workspace: Workspace) -> None:
    for number in range(1, 8):
        workspace.ledger.append("version.registered", {"model": "bike", "version": number})
        workspace.ledger.append("version.promoted", {"model": "bike", "version": number})
        assert workspace.ledger.state() == fold(workspace.ledger.facts())
    with Workspace.open(settings, create=False) as again:
        assert again.ledger.state() == workspace.ledger.state()
