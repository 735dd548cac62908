"""What the state knows of alarms: which facts there are of each, by workspace, and nothing that facts do not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.ledger.state import Folding, fold
from fullcircle.ledger.workspace import Workspace
from fullcircle.types.facts import FACTS, Fact

KINDS = ("alarm.raised", "alarm.resolved", "alarm.acknowledged")


def fact(seq: int, kind: str, **body: Any) -> Fact:
    return Fact(seq=seq, time=f"t{seq}", actor="a", kind=kind, body=body, previous="", hash="")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("wv"), st.sampled_from("xy")), max_size=12))
def test_each_alarm_has_the_kinds_of_its_facts_in_order(said: list[tuple[str, str, str]]) -> None:
    state = fold([fact(n, kind, workspace=place, alarm=alarm) for n, (kind, place, alarm) in enumerate(said, 1)])
    expected: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind, place, alarm in said:
        expected[place, alarm] = (*expected.get((place, alarm), ()), kind)
    assert state.alarms == expected


@pytest.mark.parametrize("body", [{}, {"alarm": ""}, {"alarm": None}, {"workspace": "w"}])
@pytest.mark.parametrize("kind", KINDS)
def test_facts_of_before_alarms_had_names_are_passed_over(kind: str, body: dict[str, Any]) -> None:
    assert fold([fact(1, kind, model="m", version=1, **body)]).alarms == {}


def test_one_without_a_workspace_is_of_none() -> None:
    assert fold([fact(1, "alarm.raised", alarm="x")]).alarms == {("", "x"): ("alarm.raised",)}


def test_other_facts_name_no_alarm_though_they_count_some() -> None:
    state = fold([fact(1, "window.monitored", workspace="w", model="m", version=1, window="d", alarms=3)])
    assert state.alarms == {}
    assert [each.seq for each in state.windows] == [1]


def test_a_state_stays_as_it_was_when_more_is_folded() -> None:
    folding = Folding()
    folding.add(fact(1, "alarm.raised", workspace="w", alarm="x"))
    before = folding.state()
    folding.add(fact(2, "alarm.resolved", workspace="w", alarm="x"))
    assert before.alarms == {("w", "x"): ("alarm.raised",)}
    assert folding.state().alarms == {("w", "x"): ("alarm.raised", "alarm.resolved")}
    with pytest.raises(TypeError):
        before.alarms["w", "x"] = ()  # type: ignore[index]


@pytest.mark.parametrize("kind", ["window.monitored", *KINDS])
def test_facts_of_monitoring_say_of_which_workspace_model_and_version(kind: str) -> None:
    assert {"workspace", "model", "version"} <= set(FACTS[kind])


def test_the_ledger_takes_them_and_no_row_or_message_with_them(workspace: Workspace) -> None:
    about = {"workspace": workspace.id, "model": "m", "version": 1, "alarm": "m-1-drift-1"}
    raised = {**about, "detector": "drift", "severity": "page", "since": "t", "feature": "bmi", "distance": 0.1 + 0.2}
    workspace.ledger.append("alarm.raised", {**raised, "level": 5e-324, "threshold": 4.0})
    workspace.ledger.append("alarm.acknowledged", {**about, "reason": "é: seen"})
    workspace.ledger.append("alarm.resolved", about)
    assert workspace.ledger.state().alarms == {(workspace.id, "m-1-drift-1"): (KINDS[0], KINDS[2], KINDS[1])}
    found = next(each for each in workspace.ledger.facts() if each.kind == "alarm.raised")
    assert (found.body["distance"], found.body["level"]) == (0.1 + 0.2, 5e-324)
    for extra in ("text", "value", "rows", "address", "message"):
        with pytest.raises(Exception, match="has no such field"):
            workspace.ledger.append("alarm.raised", {**raised, extra: "x"})
