"""One turn of the loop, after each turn of monitoring: go back, retrain, or leave things as they are.

A turn that was interrupted leaves one champion, and the next turn goes on or begins anew: the fact of a promotion is
what makes it, and what had to follow it is caught up here.
"""

from __future__ import annotations

from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.flows import going_back, regretting, versions
from fullcircle.flows.promote import decide, roll_back_in
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.retrain import retrain_in
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.standing import at_work, standing_of
from fullcircle.monitoring.grid import iso, now
from fullcircle.monitoring.journal import Journal
from fullcircle.retraining.triggers import cooling, due
from fullcircle.settings import Settings
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Standing, Step, Trigger
from fullcircle.types.monitoring import Decision
from fullcircle.types.progress import Progress
from fullcircle.types.turn import Retrained

_WAITED = "loop_waited"


def turn(
    project: str | Path | LoadedProject, *, settings: Settings | None = None, progress: Progress | None = None
) -> Step:
    """Take a turn of the loop for a project whose monitoring is up to date. See ``turn_in``."""
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        return turn_in(session, source)


def turn_in(session: Session, source: LoadedProject) -> Step:
    """Take a turn within an open session: what was decided and on what.

    A champion that did realised harm against the version before is taken back. Else, where something asks for it and
    it is not too early, a challenger is trained, and promoted or held. Where nothing asks, the step has no decision,
    and there is no fact. Raises VersionNotFound where there is no champion, and WorkspaceBusy where another process
    decides about this model.
    """
    model = source.project.name
    with at_work(session, model) as journal:
        _catch_up(session, model)
        versions.champion(session, model)
        step = _back(session, journal, model) or _onward(session, source, journal)
    if not session.rehearsal:
        going_back.follow(session, model)
    return step


def _back(session: Session, journal: Journal, model: str) -> Step | None:
    """Take the champion back where it did realised harm."""
    asked = regretting.worse(session, journal, model)
    if asked is None or asked.version is None or asked.previous is None:
        return None
    reconcile(session)
    session.progress.step("rollback", asked.reason)
    trigger = Trigger(cause="harm", reason=asked.reason)
    step = Step(at=iso(now()), decision=asked, trigger=trigger)
    digest = session.keep(step)
    roll_back_in(session, model, asked.previous, asked.version, asked.reason, trigger=trigger.cause, step=digest)
    return step


def _onward(session: Session, source: LoadedProject, journal: Journal) -> Step:
    """Retrain where something asks for it."""
    model = source.project.name
    standing = standing_of(session, model, journal)
    trigger = due(standing, source.project.retrain)
    if trigger is None:
        return Step(at=standing.at, labelled=standing.labelled)
    early = cooling(standing, source.project.retrain)
    if early:
        return _waits(session, journal, model, standing, trigger, early)
    reconcile(session)
    made: Retrained = retrain_in(session, source, trigger, journal, standing, told=_told(trigger))
    assert made.step is not None  # noqa: S101 - every retraining has its step
    return made.step


def _waits(session: Session, journal: Journal, model: str, standing: Standing, trigger: Trigger, early: str) -> Step:
    """It is too early: said in a fact once for each trigger, not at every turn."""
    made = Decision(action="hold", model=model, version=standing.version, reason=f"{trigger.reason}; held: {early}")
    step = Step(at=standing.at, decision=made, trigger=trigger, labelled=standing.labelled)
    asked = f"{standing.promoted} {standing.tried} {trigger.cause} {' '.join(trigger.alarms)}"
    if journal.get(_WAITED) != asked:
        decide(session, made, told=f"{_told(trigger)}; held: {early}", trigger=trigger.cause)
        with journal.step():
            journal.put(_WAITED, asked)
    return step


def _told(trigger: Trigger) -> str:
    """A trigger as facts may hold it: what an alarm says of a column quotes the data."""
    if not trigger.alarms:
        return trigger.reason
    return f"{trigger.cause}: {', '.join(trigger.alarms)}, open since {trigger.since[:19]}"


def _catch_up(session: Session, model: str) -> None:
    """Finish what a turn began that died after its promotion or rollback: alias, served file, and the decision."""
    state = session.workspace.ledger.state()
    crowned = state.crowned.get(model)
    if crowned is None or not crowned.body.get("step") or any(_of(fact, model, crowned) for fact in state.decisions):
        return
    reconcile(session)
    body = crowned.body
    made = Decision(
        action="promote" if crowned.kind == "version.promoted" else "rollback",
        model=model,
        version=body["version"],
        previous=body.get("previous"),
        reason=str(body.get("reason") or ""),
    )
    decide(session, made, report=body.get("report"), trigger=body.get("trigger"), step=body["step"])


def _of(fact: Fact, model: str, crowned: Fact) -> bool:
    return (
        fact.seq > crowned.seq and fact.body.get("model") == model and fact.body.get("step") == crowned.body["step"]
    )
