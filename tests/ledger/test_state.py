"""The state is what the facts say, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.ledger.state import Folding, State, fold
from fullcircle.types.facts import Fact
from fullcircle.types.turn import Snapshot

DIGEST = "ab" * 32


def fact(seq: int, kind: str, **body: Any) -> Fact:
    return Fact(seq=seq, time=f"t{seq}", actor="a", kind=kind, body=body, previous="", hash="")


def bike(*steps: tuple[str, int]) -> State:
    kinds = {"promote": "version.promoted", "back": "version.rolled_back"}
    facts = [fact(n, kinds[name], model="bike", version=version) for n, (name, version) in enumerate(steps, 1)]
    return fold(facts)


def test_nothing_holds_before_the_first_fact() -> None:
    assert fold([]) == State()


def test_a_registered_version_knows_what_it_is_made_of() -> None:
    parts = {"run": "r1", "bundle": "b", "report": "e", "snapshot": "s", "proof": "p"}
    state = fold([fact(1, "version.registered", model="bike", version=3, **parts)])
    version = state.versions["bike"][3]
    assert {name: getattr(version, name) for name in parts} == parts
    assert (version.model, version.version, version.seq, version.time) == ("bike", 3, 1, "t1")
    assert version.approve == "", "facts of before there were approvals say nothing of them"
    assert state.champions == {}


REGISTERED = {"model": "bike", "version": 1, "report": "e", "approve": "person"}


def test_a_version_waits_until_it_is_approved() -> None:
    registered = fact(1, "version.registered", **REGISTERED)
    approved = fact(2, "version.approved", model="bike", version=1, report="e", reason="read it")
    before, after = fold([registered]), fold([registered, approved])
    assert before.versions["bike"][1].approve == "person"
    assert (before.waits("bike", 1), before.approval("bike", 1)) == (True, None)
    assert (after.waits("bike", 1), after.approval("bike", 1)) == (False, approved)
    assert after.approvals == {"bike": {1: approved}}
    assert after.champions == {}, "an approval promotes nothing"
    for model, version in (("bike", 2), ("car", 1)):
        assert not after.waits(model, version), "what does not exist waits for nobody"
        assert after.approval(model, version) is None


@pytest.mark.parametrize(
    ("model", "version", "report"), [("car", 1, "e"), ("bike", 2, "e"), ("bike", 1, "another"), ("bike", 1, "")]
)
def test_an_approval_counts_for_its_version_and_report_only(model: str, version: int, report: str) -> None:
    approved = fact(2, "version.approved", model=model, version=version, report=report, reason="read it")
    state = fold([fact(1, "version.registered", **REGISTERED), approved])
    assert state.waits("bike", 1)
    assert state.approval("bike", 1) is None


def test_whether_a_version_needs_approval_cannot_be_changed_later() -> None:
    later = {**REGISTERED, "approve": "auto"}
    assert fold([fact(n, "version.registered", **body) for n, body in enumerate((REGISTERED, later), 1)]).waits(
        "bike", 1
    )


@pytest.mark.parametrize("approve", ["auto", "", None])
def test_other_versions_wait_for_nobody(approve: str | None) -> None:
    state = fold([fact(1, "version.registered", **{**REGISTERED, "approve": approve})])
    assert not state.waits("bike", 1)
    approved = fact(2, "version.approved", model="bike", version=1, report="e", reason="read it all the same")
    assert fold([fact(1, "version.registered", **REGISTERED), approved]).approval("bike", 1) == approved


@pytest.mark.parametrize(
    ("steps", "history", "promotion"),
    [
        ([("promote", 1)], (1,), 1),
        ([("promote", 1), ("promote", 2), ("promote", 3)], (1, 2, 3), 3),
        ([("promote", 1), ("promote", 2), ("back", 1)], (1,), 3),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("back", 2), ("back", 1)], (1,), 5),
        ([("promote", 1), ("promote", 2), ("back", 1), ("promote", 3)], (1, 3), 4),
        ([("promote", 1), ("promote", 2), ("promote", 1), ("back", 2)], (1, 2), 4),
        ([("promote", 1), ("promote", 1)], (1,), 2),
        ([("promote", 2), ("back", 1)], (2, 1), 2),
    ],
)
def test_champion_and_the_way_back(steps: list[tuple[str, int]], history: tuple[int, ...], promotion: int) -> None:
    state = bike(*steps)
    assert state.history["bike"] == history
    assert state.champions["bike"] == history[-1]
    assert state.promotions["bike"] == promotion


@given(st.lists(st.tuples(st.sampled_from(["promote", "back"]), st.integers(1, 4)), min_size=1))
def test_the_champion_is_always_the_last_one_named(steps: list[tuple[str, int]]) -> None:
    state = bike(*steps)
    assert state.champions == {"bike": steps[-1][1]}
    assert state.history["bike"][-1] == steps[-1][1]
    assert all(one != other for one, other in zip(state.history["bike"], state.history["bike"][1:], strict=False))


def test_models_do_not_mix() -> None:
    state = fold([fact(n, "version.promoted", model=model, version=n) for n, model in enumerate("aba", 1)])
    assert state.champions == {"a": 3, "b": 2}
    assert state.history == {"a": (1, 3), "b": (2,)}


def test_snapshots_keep_their_first_time() -> None:
    body = {"model": "bike", "snapshot": DIGEST, "rows": 3, "columns": 2, "source": "hour.csv", "parent": "cd"}
    state = fold([fact(4, "snapshot.created", **body), fact(9, "snapshot.created", **body)])
    expected = Snapshot(digest=DIGEST, rows=3, columns=2, source="hour.csv", parent="cd", created="t4")
    assert state.snapshots == {DIGEST: expected}


def test_runs_come_in_order_of_finishing() -> None:
    runs = [fact(n, "run.finished", model="bike", run=run, value=n) for n, run in enumerate(["a", "b", "a"], 1)]
    state = fold(runs)
    assert list(state.runs) == ["b", "a"]
    assert state.runs["a"]["value"] == 3


def test_what_is_deployed_is_what_was_started_and_not_stopped() -> None:
    started = [fact(n, "deployment.started", model=model, version=1, url="u") for n, model in enumerate("ab", 1)]
    state = fold([*started, fact(3, "deployment.stopped", model="a")])
    assert state.deployments == {"b": {"model": "b", "version": 1, "url": "u"}}


def test_what_another_target_made_does_not_answer_and_ends_nothing() -> None:
    local = fact(1, "deployment.started", model="a", version=1, url="u", target="local")
    files = fact(2, "deployment.started", model="a", version=1, url="", target="container")
    gone = fact(3, "deployment.stopped", model="a", target="container")
    assert fold([local, files, gone]).deployments["a"]["url"] == "u"
    assert fold([local, files, gone, fact(4, "deployment.stopped", model="a", target="local")]).deployments == {}


def test_decisions_and_windows_are_kept_in_order() -> None:
    facts = [
        fact(1, "decision.taken", model="bike", action="hold"),
        fact(2, "window.monitored", model="bike", window=DIGEST),
        fact(3, "decision.taken", model="bike", action="promote"),
    ]
    state = fold(facts)
    assert state.decisions == (facts[0], facts[2])
    assert state.windows == (facts[1],)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("snapshot.created", "snapshot"), ("run.finished", "draft"), ("bundle.built", "bundle")],
)
def test_a_deleted_blob_is_deleted_until_it_is_stored_again(kind: str, field: str) -> None:
    stored = {"model": "m", "run": "r", field: DIGEST}
    facts = [fact(1, kind, **stored), fact(2, "blob.deleted", digest=DIGEST)]
    assert fold(facts).deleted == {DIGEST}
    assert fold([*facts, fact(3, "version.registered", model="m", version=1, **{field: DIGEST})]).deleted == {DIGEST}
    assert fold([*facts, fact(3, kind, **stored)]).deleted == frozenset()


def test_a_kind_from_the_future_changes_nothing() -> None:
    assert fold([fact(1, "moon.reached", model="bike", version=1)]) == State(seq=1)


def test_a_state_does_not_change_when_facts_arrive() -> None:
    folding = Folding()
    folding.add(fact(1, "version.promoted", model="bike", version=1))
    folding.add(fact(2, "version.registered", model="bike", version=1))
    before = folding.state()
    folding.add(fact(3, "version.promoted", model="bike", version=2))
    folding.add(fact(4, "version.registered", model="bike", version=2))
    folding.add(fact(5, "version.approved", model="bike", version=2, report=""))
    assert before.history == {"bike": (1,)}
    assert list(before.versions["bike"]) == [1]
    assert before.approvals == {}
    assert folding.state().history == {"bike": (1, 2)}
    with pytest.raises(TypeError):
        before.champions["bike"] = 7  # type: ignore[index]  # that is what is tested


def test_of_several_reports_on_a_run_the_latest_is_known() -> None:
    first = fact(1, "report.recorded", model="bike", run="r", report="a", passed=True)
    other = fact(2, "report.recorded", model="bike", run="s", report="b", passed=True)
    later = fact(3, "report.recorded", model="bike", run="r", report="c", passed=False)
    assert fold([first, other]).reports == {"r": first, "s": other}
    assert fold([first, other, later]).reports == {"r": later, "s": other}
