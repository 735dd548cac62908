"""What a decision of the loop rested on is told wherever the decision is: on the page, in status, in why."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import circles
from circles import Circle
from flows.outlines import outline
from flows.sample_monitored import story
from flows.sample_rehearsal import held, promoted
from fullcircle.cli import text
from fullcircle.flows import steps
from fullcircle.flows.monitored import monitored, page
from fullcircle.flows.pages import render_monitored
from fullcircle.flows.promote import decide
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.why import why
from fullcircle.types.loop import Step
from fullcircle.types.monitoring import Decision


def made(version: int | None, action: str) -> Decision:
    return Decision(action="promote" if action == "promote" else "hold", model="houses", version=version, reason="so")


def step(days: float = 49, *, good: bool = True) -> Step:
    found = (promoted(days, 2) if good else held(days)).step
    assert found is not None
    return found


def shown(found: Any) -> str:
    told = io.StringIO()
    Console(file=told, width=250, color_system=None).print(found)
    return " ".join(told.getvalue().split())


@pytest.fixture(scope="module")
def own(circle: Circle, tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """The circle's workspace, copied, with decisions as the loop writes them: a promotion, a hold, one deleted."""
    folder = tmp_path_factory.mktemp("steps")
    shutil.copytree(str(circle.settings["workspace"]), folder / "workspace")
    shutil.copytree(Path(circle.project).parents[1] / "config", folder / "config")
    settings = circles.unbegun(folder)
    with opened(settings) as session:
        decide(session, made(1, "promote"), trigger="harm", step=session.keep(step()))
        decide(session, made(1, "hold"), trigger="rows", step="0" * 64)
        decide(session, made(None, "hold"), trigger="drift", step=session.keep(step(252, good=False)))
    return replace(circle, settings=settings)


def test_a_fact_gives_its_step_back_and_an_older_one_none(own: Circle) -> None:
    with opened(own.settings) as session:
        facts = list(session.workspace.ledger.facts("decision.taken"))
        assert [steps.step_of(session, fact) for fact in facts[-3:]] == [step(), None, step(252, good=False)]
        assert steps.step_of(session, facts[0]) is None
        shown_ = [(facts[-1].time, made(None, "hold")), (facts[0].time, made(1, "promote"))]
        assert dict(steps.decided(session, "houses", shown_)) == {facts[-1].time: step(252, good=False)}
        assert not steps.decided(session, "another", shown_)


def test_sums_are_sentences(own: Circle) -> None:
    assert steps.sums(step(252, good=False)) == (
        "why: temp moved by 0.6 bits since 3 April",
        "expected at most +235 EUR in 30 d",
        "set apart: 168 rows where temp is 9.8 to 39.4: looks multiplied by 41",
    )
    assert "frozen rows: worse on the rows of 2011" in steps.sums(step())
    assert steps.sums(Step(at="2012-01-01T00:00:00Z")) == ()


def test_the_page_of_the_model_shows_the_sums_of_its_decisions(own: Circle) -> None:
    told = outline(page(own.project, settings=own.settings).read_text(encoding="utf-8")).words
    known = [each for _, each in monitored(own.project, settings=own.settings).decisions]
    assert told.count("On which sums") == 3  # of the run itself, and the two that were written here and not deleted
    assert len(known) == 5
    assert "168 rows where temp is 9.8 to 39.4" in told
    assert "Measured, after training" in told
    assert "On which sums" not in outline(render_monitored(story(), interactive=False)).words


def test_status_tells_what_the_last_decision_rested_on(own: Circle) -> None:
    found = status(settings=own.settings)
    assert found.models[0].last_step == step(252, good=False)
    assert "houses, last decision: why: temp moved by 0.6 bits since 3 April" in shown(text.status(found))


def test_why_tells_what_made_the_version_champion(own: Circle) -> None:
    found = why(own.turn.sample_prediction, settings=own.settings)
    held_by_the_run, added = found.steps
    assert added == step()
    assert held_by_the_run.trigger is not None
    assert held_by_the_run.trigger.cause == "harm"
    assert "sums why: the losses of the champion grew by 0.05 since 12 September" in shown(text.why(found))
