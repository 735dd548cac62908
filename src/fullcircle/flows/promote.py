"""Approve a version, promote a proven one to champion, and go back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fullcircle.errors import ApprovalMissing, GateFailed, SettingInvalid, StateConflict, VersionNotFound
from fullcircle.flows import admission, going_back, versions
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.ledger.bodies import LONGEST, is_text
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from fullcircle.types.approval import Approval
from fullcircle.types.bundle import Proof
from fullcircle.types.facts import Fact
from fullcircle.types.monitoring import Decision
from fullcircle.types.progress import Progress
from fullcircle.types.report import Report


def approve(
    project: str | Path,
    *,
    version: int | None = None,
    reason: str,
    key: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Approval:
    """Record that whoever runs this approves a version (by default the latest that waits) on the report it has.

    It is not promoted by that: ``promote`` and the next ``run`` do so. The login is recorded beside the ``actor`` of
    the settings. In a workspace that ever had a key of role approver such a ``key`` is asked for (by default the
    variable FULLCIRCLE_KEY), and nobody approves what they trained: ApprovalRefused.
    Raises SettingInvalid for a reason that says nothing, VersionNotFound, GateFailed where
    the report, or a later one on the same run, did not pass, StateConflict where the version is approved or champion
    already, or was judged against another champion.
    """
    told = spoken(reason, "an approval")
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        number = _latest_waiting(session, model) if version is None else version
        found = versions.find(session, model, number)
        _refuse_failed(session, model, number, found.report)
        still_good = _still_good(session, model, number, found.run)
        in_turn = _in_turn(model, number, judged_against(session, found.report))

        def guard(state: State) -> None:
            earlier = state.approval(model, number)
            if earlier is not None:
                raise StateConflict(
                    f"version {number} of {model} was approved already, by {earlier.actor} at {earlier.time[:19]}",
                    received=number,
                    next_step=f"promote it: fullcircle promote {model} --version {number}",
                )
            in_turn(state)
            still_good(state)

        who = admission.login()
        body = {"model": model, "version": number, "report": found.report, "reason": told, "login": who}
        if admission.asks_approvers(session):
            body["key"] = admission.approver(session, found, who, key)
        fact = session.workspace.ledger.append("version.approved", body, guard=guard)
        return _approval(fact)


def approval_of(session: Session, model: str, version: int) -> Approval | None:
    """The approval of a version on the report that it has, None where nobody approved it."""
    fact = session.workspace.ledger.state().approval(model, version)
    return None if fact is None else _approval(fact)


def _approval(fact: Fact) -> Approval:
    body = fact.body
    return Approval(
        model=body["model"],
        version=body["version"],
        report=body["report"],
        reason=body["reason"],
        actor=fact.actor,
        time=fact.time,
        seq=fact.seq,
        login=body.get("login") or "",
        key=body.get("key") or "",
    )


def asked_for(model: str, version: int) -> str:
    """What is written where a version passed its gates and a person has to approve it."""
    return f"all gates passed, waiting for approval: {approving(model, version)}"


def approving(model: str, version: int) -> str:
    """The command that approves a version."""
    return f'fullcircle approve {model} --version {version} --reason "..."'


def spoken(reason: str, what: str) -> str:
    """A person's reason for ``what``, which says something and which the ledger can hold. Raises SettingInvalid."""
    text = reason.strip()
    if not any(letter.isalnum() for letter in text) or len(text) > LONGEST or not is_text(text):
        raise SettingInvalid(
            f"{what} needs a reason that others can read",
            received=repr(text) if len(text) <= 80 else f"{len(text)} characters",
            allowed=f"a sentence of at most {LONGEST} characters",
            next_step='say why: --reason "the report was read, and ..."',
        )
    return text


def waiting(session: Session, model: str) -> tuple[int, ...]:
    """The versions that a person has to approve before they may be promoted.

    They were judged against the present champion, and no later report on their run says no.
    """
    state = session.workspace.ledger.state()
    champion = state.champions.get(model)
    return tuple(
        number
        for number, known in sorted(state.versions.get(model, {}).items())
        if state.waits(model, number)
        and _passed_last(state, known.run)
        and judged_against(session, known.report) == champion
    )


def passed(state: State, model: str, version: int) -> str:
    """Why a version is promoted, as the ledger says it."""
    approval = state.approval(model, version)
    return "all gates passed" + (f", approved in fact {approval.seq}" if approval is not None else "")


def _latest_waiting(session: Session, model: str) -> int:
    known = waiting(session, model)
    if not known:
        raise VersionNotFound(
            f"no version of {model} waits for approval", received=model, next_step="see: fullcircle status"
        )
    return known[-1]


def promote(
    project: str | Path,
    *,
    version: int | None = None,
    reason: str = "promoted by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Decision:
    """Make a registered version (the latest by default) the champion.

    ``project`` is a project path or a model's name. Raises GateFailed where the version's report, or a later one on
    its run, did not pass or its bundle was not proven, ApprovalMissing where a person has to approve it first,
    StateConflict where the champion changed since the report was made.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        model = model_name(session, project)
        known = session.workspace.ledger.state().versions.get(model, {})
        if not known:
            raise VersionNotFound(
                f"{model} has no version yet", received=model, next_step="package one: fullcircle package PROJECT"
            )
        number = max(known) if version is None else version
        if number in known:
            going_back.make_ready(session, model, number)
        made = promote_in(session, model, number, reason)
        going_back.follow(session, model)
        return made


def promote_in(
    session: Session, model: str, version: int, reason: str, *, trigger: str | None = None, step: str | None = None
) -> Decision:
    """Promote within an open session. The fact is the commit; alias, served file and the decision follow it.

    ``trigger`` is the cause for which the loop retrained, ``step`` the digest of all that it went by.
    """
    found = versions.find(session, model, version)
    guard = may_answer(session, model, version)
    previous = session.workspace.ledger.state().champions.get(model)
    seq = session.record(
        "version.promoted",
        guard=guard,
        model=model,
        version=version,
        previous=previous,
        reason=reason[:LONGEST],
        report=found.report,
        trigger=trigger,
        step=step,
    )
    session.tracking.set_champion(model, version, seq)
    write_served(session)
    return decide(
        session,
        Decision(action="promote", model=model, version=version, previous=previous, reason=reason),
        report=found.report,
        trigger=trigger,
        step=step,
    )


def may_answer(session: Session, model: str, version: int) -> Callable[[State], None]:
    """A guard for the fact by which callers get a version's answers: its gates passed, and who has to agreed.

    Raises GateFailed at once where its report did not pass or its bundle was not proven; the guard raises
    StateConflict, GateFailed and ApprovalMissing by what holds when the fact is written.
    """
    found = versions.find(session, model, version)
    _refuse_failed(session, model, version, found.report)
    if not session.rehearsal and not session.recall(found.proof, Proof).same_bits:
        raise GateFailed(
            f"version {version} of {model} was not proven in its own environment",
            next_step="package it again: fullcircle package PROJECT",
        )
    in_turn = _in_turn(model, version, judged_against(session, found.report))
    still_good = _still_good(session, model, version, found.run)

    def guard(state: State) -> None:
        in_turn(state)
        still_good(state)
        if state.waits(model, version):
            raise ApprovalMissing(
                f"version {version} of {model} has to be approved by a person, and nobody did",
                received=f"version {version}",
                allowed="a version that was approved on the report it has",
                next_step=f"read its report, then: {approving(model, version)}",
            )

    return guard


def _refuse_failed(session: Session, model: str, version: int, digest: str) -> None:
    report = session.recall(digest, Report)
    if not report.passed:
        raise GateFailed(
            f"version {version} of {model} did not pass its gates",
            received="; ".join(f"{g.gate}: {g.reason}" for g in report.gates if not g.passed) or "no gates",
            next_step="train a better one",
        )


def _passed_last(state: State, run: str) -> bool:
    """Whether the latest report on a run passed; True where none was recorded."""
    latest = state.reports.get(run)
    return latest is None or latest.body.get("passed") is True


def _still_good(session: Session, model: str, version: int, run: str) -> Callable[[State], None]:
    """A guard: since the version's own report, no evaluation of its run said no."""

    def guard(state: State) -> None:
        if not _passed_last(state, run):
            report = session.recall(state.reports[run].body["report"], Report)
            raise GateFailed(
                f"the latest report on version {version} of {model} did not pass its gates",
                received="; ".join(f"{g.gate}: {g.reason}" for g in report.gates if not g.passed) or "no gates",
                next_step="train a better one, or mend the gates and evaluate it again",
            )

    return guard


def _in_turn(model: str, version: int, rival: int | None) -> Callable[[State], None]:
    """A guard: the version is not champion yet, and the champion is still the one that it was judged against."""

    def guard(state: State) -> None:
        now = state.champions.get(model)
        if now == version:
            raise StateConflict(f"version {version} of {model} is the champion already", received=version)
        if now != rival:
            judged = "while there was no champion" if rival is None else f"against champion {rival}"
            raise StateConflict(
                f"version {version} of {model} was judged {judged}, and now it is {now or 'none'}",
                received=version,
                next_step="evaluate again: train and package the project once more",
            )

    return guard


def rollback(
    project: str | Path,
    *,
    version: int | None = None,
    reason: str = "rolled back by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Decision:
    """Go back to an earlier champion: the previous one by default, or any version that was champion at any time.

    A server of the model goes on answering all the while; where the version was proven in another environment, a
    new server takes its place. Raises VersionNotFound, or what says that the version cannot answer: nothing has
    changed then.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        model = model_name(session, project)
        now = versions.champion(session, model)
        state = session.workspace.ledger.state()
        before = [number for number in state.history[model] if number != now]
        known = sorted(state.promoted[model] - {now})  # also those that an earlier rollback went past
        if (not before) if version is None else version not in known:
            raise VersionNotFound(
                f"{model} has no such earlier champion to go back to",
                received="the previous one" if version is None else version,
                allowed=", ".join(map(str, known)) or "none",
                next_step="see: fullcircle status",
            )
        return roll_back_in(session, model, now, before[-1] if version is None else version, reason)


def roll_back_in(
    session: Session,
    model: str,
    now: int,
    target: int,
    reason: str,
    *,
    trigger: str | None = None,
    step: str | None = None,
) -> Decision:
    """Go back from the champion ``now`` to ``target`` within an open session. See ``promote_in``."""

    def guard(state: State) -> None:
        if state.champions.get(model) != now:
            raise StateConflict(
                f"the champion of {model} changed meanwhile",
                received=f"version {now}",
                allowed=f"version {state.champions.get(model)}",
                next_step="look again: fullcircle status",
            )

    going_back.make_ready(session, model, target)  # what cannot answer must not become champion
    seq = session.record(
        "version.rolled_back",
        guard=guard,
        model=model,
        version=target,
        previous=now,
        reason=reason[:LONGEST],
        trigger=trigger,
        step=step,
    )
    session.tracking.set_champion(model, target, seq)
    write_served(session)
    gone = Decision(action="rollback", model=model, version=target, previous=now, reason=reason)
    made = decide(session, gone, trigger=trigger, step=step)
    going_back.follow(session, model)
    return made


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
    trigger: str | None = None,
    step: str | None = None,
) -> Decision:
    """Write a decision into the ledger and hand it back. ``told`` is the reason as the fact may hold it.

    ``trigger`` and ``step`` are those of ``promote_in``.
    """
    session.record(
        "decision.taken",
        model=decision.model,
        action=decision.action,
        version=decision.version,
        previous=decision.previous,
        reason=(decision.reason if told is None else told)[:500],
        report=report,
        window=window,
        trigger=trigger,
        step=step,
    )
    return decision


def judged_against(session: Session, report: str) -> int | None:
    """The champion that a report compared with, None where there was none."""
    for fact in session.workspace.ledger.facts("report.recorded"):
        if fact.body["report"] == report:
            champion = fact.body.get("champion")
            return None if champion is None else int(champion)
    return None
