"""Steps of the loop, read back from the ledger: what a decision was taken on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fullcircle.errors import BlobMissing
from fullcircle.flows.session import Session
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Quarantined, Step
from fullcircle.types.monitoring import Decision


def step_of(session: Session, fact: Fact) -> Step | None:
    """The step that a fact names; None where it names none (an older fact, a decision by hand), or it was deleted."""
    digest = fact.body.get("step")
    if not digest:
        return None
    try:
        return session.recall(str(digest), Step)
    except BlobMissing:
        return None


def decided(session: Session, model: str, decisions: Sequence[tuple[str, Decision]]) -> Mapping[str, Step]:
    """The steps behind decisions about a model, by the time of their facts; those that have none are left out."""
    wanted = {at for at, _ in decisions}
    facts = session.workspace.ledger.facts("decision.taken")
    own = (fact for fact in facts if fact.time in wanted and fact.body["model"] == model)
    return {fact.time: step for fact in own if (step := step_of(session, fact)) is not None}


def sums(step: Step) -> tuple[str, ...]:
    """Why, and on which sums, in sentences: for a terminal."""
    told = [] if step.trigger is None else [f"why: {step.trigger.reason}"]
    told += [each.text for each in (step.expected, step.measured) if each is not None and each.text]
    told += [f"{each.on} rows: {each.text}" for each in step.differences if each.text]
    told += [set_apart(each) for each in step.quarantine]
    return tuple(told)


def set_apart(found: Quarantined) -> str:
    """What quarantine saw, in a sentence."""
    return f"set apart: {found.rows} rows{_where(found.column, found.value)}: {found.reason}"


def _where(column: str, value: str) -> str:
    return f" where {column}{f' is {value}' if value else ''}" if column else ""
