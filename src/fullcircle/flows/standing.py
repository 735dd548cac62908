"""How the champion stands, as the loop asks it every turn: from the ledger's state and the journal's counts alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fullcircle.flows import versions
from fullcircle.flows.session import Session
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.monitoring.journal import Journal
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Standing, Step

PATIENCE = 30.0  # seconds to wait for another process that retrains the same model


@contextmanager
def at_work(session: Session, model: str) -> Iterator[Journal]:
    """The journal of a model, while no other process decides about its versions. Raises WorkspaceBusy."""
    path = session.folder("monitoring") / f"{model}.db"
    with locked(path.with_suffix(".loop.lock"), PATIENCE), Journal(path) as journal:
        yield journal


def standing_of(session: Session, model: str, journal: Journal) -> Standing:
    """The champion and what came since it was made. Raises VersionNotFound where there is none.

    A version that was gone back to counts as tried for at that moment: what was wrong then is not answered by making
    the same again at once.
    """
    version = versions.champion(session, model)
    state = session.workspace.ledger.state()
    crowned = state.crowned[model]
    labelled = journal.rows(None, micros(crowned.time) or 0, what="labelled")
    held = [
        (fact, session.recall(str(fact.body["step"]), Step)) for fact in _held(state.decisions, model, crowned.seq)
    ]
    tries = [(fact, step) for fact, step in held if not step.awaited]
    back = crowned.time if crowned.kind == "version.rolled_back" else ""
    return Standing(
        version=version,
        at=iso(now()),
        promoted=crowned.time,
        labelled=labelled,
        tried=tries[0][0].time if tries else back,
        tried_rows=tries[0][1].labelled if tries else 0,
        alarms=tuple(alarm for alarm in journal.alarms(version) if alarm.state != "resolved"),
        answered=tuple(id for _, step in tries if step.trigger is not None for id in step.trigger.alarms),
        awaited=held[0][1].awaited if held else 0,
    )


def _held(decisions: tuple[Fact, ...], model: str, since: int) -> Iterator[Fact]:
    """The decisions after a fact by which a retraining was held, the latest first."""
    for fact in reversed(decisions):
        if fact.seq <= since:
            return
        if fact.body.get("model") == model and fact.body.get("action") == "hold" and fact.body.get("step"):
            yield fact


def by_itself(session: Session, model: str) -> bool:
    """Whether the loop, or a retraining, made the present champion."""
    crowned = session.workspace.ledger.state().crowned.get(model)
    return crowned is not None and crowned.kind == "version.promoted" and bool(crowned.body.get("trigger"))
