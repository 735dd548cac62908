"""Promote a proven version to champion, and go back."""

from __future__ import annotations

from pathlib import Path

from fullcircle.errors import GateFailed, StateConflict, VersionNotFound
from fullcircle.flows import versions
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from fullcircle.types.bundle import Proof
from fullcircle.types.monitoring import Decision
from fullcircle.types.progress import Progress
from fullcircle.types.report import Report


def promote(
    project: str | Path,
    *,
    version: int | None = None,
    reason: str = "promoted by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Decision:
    """Make a registered version (the latest by default) the champion.

    ``project`` is a project path or a model's name. Raises GateFailed where the version's report did not pass or
    its bundle was not proven, StateConflict where the champion changed since the report was made.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        model = model_name(session, project)
        known = session.workspace.ledger.state().versions.get(model, {})
        if not known:
            raise VersionNotFound(
                f"{model} has no version yet", received=model, next_step="package one: fullcircle package PROJECT"
            )
        return promote_in(session, model, max(known) if version is None else version, reason)


def promote_in(session: Session, model: str, version: int, reason: str) -> Decision:
    """Promote within an open session. The fact is the commit; alias and served file follow it."""
    found = versions.find(session, model, version)
    report = session.recall(found.report, Report)
    if not report.passed:
        raise GateFailed(
            f"version {version} of {model} did not pass its gates",
            received="; ".join(f"{g.gate}: {g.reason}" for g in report.gates if not g.passed) or "no gates",
            next_step="train a better one",
        )
    if not session.recall(found.proof, Proof).same_bits:
        raise GateFailed(
            f"version {version} of {model} was not proven in its own environment",
            next_step="package it again: fullcircle package PROJECT",
        )
    rival = judged_against(session, found.report)
    previous = session.workspace.ledger.state().champions.get(model)

    def guard(state: State) -> None:
        now = state.champions.get(model)
        if now == version:
            raise StateConflict(f"version {version} of {model} is the champion already", received=version)
        if now != rival:
            raise StateConflict(
                f"version {version} of {model} was judged against champion {rival}, and now it is {now}",
                received=version,
                next_step="evaluate again: train and package the project once more",
            )

    seq = session.record(
        "version.promoted",
        guard=guard,
        model=model,
        version=version,
        previous=previous,
        reason=reason,
        report=found.report,
    )
    session.tracking.set_champion(model, version, seq)
    write_served(session)
    return decide(
        session,
        Decision(action="promote", model=model, version=version, previous=previous, reason=reason),
        report=found.report,
    )


def rollback(
    project: str | Path,
    *,
    version: int | None = None,
    reason: str = "rolled back by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Decision:
    """Go back to an earlier champion: the previous one by default, or any that was champion before."""
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        model = model_name(session, project)
        now = versions.champion(session, model)
        earlier = [number for number in session.workspace.ledger.state().history[model] if number != now]
        if not earlier or (version is not None and version not in earlier):
            raise VersionNotFound(
                f"{model} has no such earlier champion to go back to",
                received="the previous one" if version is None else version,
                allowed=", ".join(str(number) for number in dict.fromkeys(earlier)) or "none",
                next_step="see: fullcircle status",
            )
        return _roll_back(session, model, now, earlier[-1] if version is None else version, reason)


def _roll_back(session: Session, model: str, now: int, target: int, reason: str) -> Decision:
    def guard(state: State) -> None:
        if state.champions.get(model) != now:
            raise StateConflict(
                f"the champion of {model} changed meanwhile",
                received=f"version {now}",
                allowed=f"version {state.champions.get(model)}",
                next_step="look again: fullcircle status",
            )

    versions.bundle(session, model, target)  # an unreadable bundle must not become champion
    seq = session.record("version.rolled_back", guard=guard, model=model, version=target, previous=now, reason=reason)
    session.tracking.set_champion(model, target, seq)
    write_served(session)
    return decide(session, Decision(action="rollback", model=model, version=target, previous=now, reason=reason))


def failed_gates(report: Report) -> str:
    """The gates that said no, by their declared texts: what they found may quote the data, and no fact may."""
    return ", ".join(gate.gate for gate in report.gates if not gate.passed)


def decide(
    session: Session,
    decision: Decision,
    *,
    report: str | None = None,
    window: str | None = None,
    told: str | None = None,
) -> Decision:
    """Write a decision into the ledger and hand it back. ``told`` is the reason as the fact may hold it."""
    session.record(
        "decision.taken",
        model=decision.model,
        action=decision.action,
        version=decision.version,
        previous=decision.previous,
        reason=(decision.reason if told is None else told)[:500],
        report=report,
        window=window,
    )
    return decision


def judged_against(session: Session, report: str) -> int | None:
    """The champion that a report compared with, None where there was none."""
    for fact in session.workspace.ledger.facts("report.recorded"):
        if fact.body["report"] == report:
            champion = fact.body.get("champion")
            return None if champion is None else int(champion)
    return None
