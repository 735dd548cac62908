"""Retrain: learn from the rows whose labels have come, challenge the champion, and decide."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fullcircle.development.adopted import adopted
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed
from fullcircle.flows import data, drafts, going_back, versions
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import asked_for, decide, failed_gates, judged_against, passed, promote_in
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.train import train_in, training_keys
from fullcircle.monitoring import quality
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.tables import snapshots
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import Decision
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project
from fullcircle.types.turn import Retrained, Trained


def retrain(
    project: str | Path | LoadedProject,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Retrained:
    """Train a challenger on the champion's data and every labelled prediction since, and promote it or hold.

    Rows that the contract flagged, filled or rejected are kept out of the training (quarantined).
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        made = retrain_in(session, source, trigger="asked for by hand")
        if made.decision.action == "promote":
            going_back.follow(session, source.project.name)
        return made


def retrain_in(session: Session, source: LoadedProject, trigger: str) -> Retrained:
    """Retrain within an open session."""
    project = source.project
    model = project.name
    champion = versions.champion(session, model)
    session.progress.step("retrain", trigger)
    waiting = _cooling(session, project)
    if waiting:
        return _held(session, model, champion, f"{trigger}; {waiting}")
    if adopted(project):
        reason = (
            f"{trigger}; held: the model was trained elsewhere and cannot be trained again here; "
            "write fit in the project file in place of Adopted(...), see docs/adopt.md"
        )
        return _held(session, model, champion, reason)
    draft = drafts.of_run(session, versions.find(session, model, champion).run)
    unlogged = _private(project, draft.contract)
    if unlogged:
        reason = (
            f"{trigger}; held: {unlogged} private, so the log holds no values of it to learn from; "
            "train on data of your own instead: fullcircle run PROJECT"
        )
        return _held(session, model, champion, reason)
    base = data.frame_of(session, draft.snapshot)
    clean, quarantined, unusable = new_rows(session, project, draft.contract, base)
    changed = (source.code, dict(project.params)) != (draft.code_version, dict(draft.params))
    if not len(clean) and not changed:
        reason = (
            f"{trigger}; held: there are no new labelled rows to learn from "
            f"({quarantined} were quarantined because the contract flagged, filled or rejected them"
            + (f", and {unusable} have a label that is no answer of this model)" if unusable else ")")
        )
        return _held(session, model, champion, reason, quarantined=quarantined)
    import pandas as pd

    grown = data.store(
        session, model, pd.concat([base, clean], ignore_index=True), "labelled predictions", draft.snapshot
    )
    earlier = _made_before(session, source, grown.digest, champion)
    if earlier is not None:
        return _taken_up(session, model, champion, earlier, trigger, quarantined)
    trained = train_in(
        session,
        source,
        snapshot=grown,
        keep_training=training_keys(session, draft),
        tags={"fullcircle.trigger": trigger[:200]},
    )
    return _decide(session, source, champion, trained, trigger, len(clean), quarantined)


def _made_before(session: Session, source: LoadedProject, snapshot: str, champion: int) -> int | None:
    """The version for a person to approve from these rows, code and parameters that passed against this champion."""
    model = source.project.name
    state = session.workspace.ledger.state()
    # What was rolled back was approved and champion once, and is not taken up again by itself.
    for number in sorted(set(state.versions[model]) - state.promoted[model], reverse=True):
        version = state.versions[model][number]
        if version.approve != "person":
            continue
        draft = drafts.of_run(session, version.run)
        made_of = (draft.snapshot, draft.code_version, dict(draft.params))
        if made_of == (snapshot, source.code, dict(source.project.params)):
            return number if judged_against(session, version.report) == champion else None
    return None


def _taken_up(session: Session, model: str, champion: int, version: int, trigger: str, quarantined: int) -> Retrained:
    """Promote what was made before and approved meanwhile; hold what still waits."""
    state = session.workspace.ledger.state()
    made = f"version {version} was made from the same rows"
    if state.waits(model, version):
        reason = f"{trigger}; held: {made}; {asked_for(model, version)}"
        return _held(session, model, champion, reason, quarantined=quarantined)
    session.progress.step("promote", f"version {version}")
    decision = promote_in(session, model, version, f"{trigger}; {made}; {passed(state, model, version)}")
    return Retrained(model=model, decision=decision, quarantined=quarantined)


def _decide(
    session: Session, source: LoadedProject, champion: int, trained: Trained, trigger: str, new: int, quarantined: int
) -> Retrained:
    project = source.project
    model = project.name
    learned = f"{trigger}; {new} new labelled rows, {quarantined} quarantined"
    failed = [f"{gate.gate}: {gate.reason}" for gate in trained.report.gates if not gate.passed]
    if failed or not trained.report.passed:
        reason = f"{learned}; held by its gates: {'; '.join(failed) or 'the project declares none'}"
        told = f"{learned}; held by its gates: {failed_gates(trained.report) or 'the project declares none'}"
        return _held(session, model, champion, reason, trained=trained, new=new, quarantined=quarantined, told=told)
    draft = drafts.of_run(session, trained.run)
    person = "person" in (project.approve, project.retrain.approve)
    try:
        packaged = package_in(
            session, source, draft, trained.report_digest, trained.report, approve="person" if person else "auto"
        )
    except GateFailed as error:
        reason = f"{learned}; held by its tests: {error.received}"
        told = f"{learned}; held by its tests: {error.what}"
        return _held(session, model, champion, reason, trained=trained, new=new, quarantined=quarantined, told=told)
    if person:
        reason = f"{learned}; {asked_for(model, packaged.version)}"
        held = _held(session, model, champion, reason, trained=trained, new=new, quarantined=quarantined)
        return Retrained(
            model=model,
            decision=held.decision,
            trained=trained,
            packaged=packaged,
            new_rows=new,
            quarantined=quarantined,
        )
    session.progress.step("promote", f"version {packaged.version}")
    decision = promote_in(session, model, packaged.version, f"{learned}; all gates passed")
    return Retrained(
        model=model, decision=decision, trained=trained, packaged=packaged, new_rows=new, quarantined=quarantined
    )


def _held(
    session: Session,
    model: str,
    champion: int,
    reason: str,
    *,
    trained: Trained | None = None,
    new: int = 0,
    quarantined: int = 0,
    told: str | None = None,
) -> Retrained:
    decision = decide(session, Decision(action="hold", model=model, version=champion, reason=reason), told=told)
    return Retrained(model=model, decision=decision, trained=trained, new_rows=new, quarantined=quarantined)


def _cooling(session: Session, project: Project) -> str:
    """Why it is too early for another promotion, or nothing."""
    seq = session.workspace.ledger.state().promotions[project.name]
    (promoted,) = [fact for fact in session.workspace.ledger.facts(after=seq - 1) if fact.seq == seq]
    age = datetime.now(UTC) - datetime.fromisoformat(promoted.time)
    pause = duration(project.retrain.cooldown)
    if age >= pause:
        return ""
    return f"held: the champion is {_hours(age)} old and the project's cooldown is {project.retrain.cooldown}"


def _hours(age: Any) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"


def _private(project: Project, contract: Contract) -> str:
    """The features that the champion's contract or the project now keeps out of the log, with a verb; or nothing."""
    declared = {name for name, given in project.inputs.columns.items() if given.get("private") or given.get("hashed")}
    declared |= {column.name for column in contract.columns if column.private}
    names = [name for name in project.features if name in declared]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'}" if names else ""


def new_rows(session: Session, project: Project, contract: Contract, base: Any) -> tuple[Any, int, int]:
    """Labelled predictions as rows like those of ``base``, oldest first, without those already in it.

    Returns them with the number of labelled rows that were quarantined, and that of labels that no model of
    ``contract`` could have answered: a line of the log may come from anywhere.
    """
    outcomes = log.read_outcomes(session.workspace.predictions, project.name)
    labelled: list[tuple[Prediction, Any]] = [
        (prediction, outcomes[prediction.id].value)
        for prediction in sorted(log.read(session.workspace.predictions, project.name), key=lambda one: one.time)
        if prediction.id in outcomes
    ]
    usable = [pair for pair in labelled if quality.fits(pair[1], contract)]
    clean = [pair for pair in usable if pair[0].verdict.status == "ok"]
    frame = _as_rows(clean, project.label, base)
    known = set(snapshots.row_keys(base[frame.columns]).tolist())
    keys = snapshots.row_keys(frame).tolist() if len(frame) else []
    fresh, seen = [], set(known)
    for key in keys:
        fresh.append(key not in seen)
        seen.add(key)
    return frame[fresh].reset_index(drop=True), len(usable) - len(clean), len(labelled) - len(usable)


def _as_rows(labelled: Iterable[tuple[Prediction, Any]], label: str, base: Any) -> Any:
    """Predictions and labels as a frame with the columns and types of ``base`` that they can fill."""
    import pandas as pd

    rows = [{**(p.inputs or {}), **(p.context or {}), label: value} for p, value in labelled]
    columns = [name for name in base.columns if rows and any(name in row for row in rows)]
    frame = pd.DataFrame(rows, columns=columns or [label])
    for name in columns:
        if str(base[name].dtype).startswith("datetime64"):
            frame[name] = pd.to_datetime(frame[name]).astype(base[name].dtype)
        elif frame[name].isna().any() and str(base[name].dtype).startswith(("int", "bool")):
            continue
        elif str(base[name].dtype).startswith("int") and any(not _whole(value) for value in frame[name]):
            frame[name] = frame[name].astype("float64")
        else:
            frame[name] = frame[name].astype(base[name].dtype)
    return frame if columns else frame.iloc[0:0]


def _whole(value: Any) -> bool:
    """Whether a column of integers can hold the value as it is."""
    return isinstance(value, str | bool) or (-(2**63) <= value < 2**63 and value == int(value))
