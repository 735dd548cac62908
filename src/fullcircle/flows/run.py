"""Run: one whole turn of the circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.flows import admission, data, drafts, probes, reports, testing, traffic, versions, views
from fullcircle.flows.deploy import deploy_in, process_of, remove_in
from fullcircle.flows.monitor import watch_in
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import (
    approving,
    asked_for,
    decide,
    failed_gates,
    judged_against,
    passed,
    promote_in,
    waiting,
)
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.retrain import retrain_in
from fullcircle.flows.session import Session, loaded, opened, with_params
from fullcircle.flows.stages import Stages
from fullcircle.flows.standing import at_work
from fullcircle.flows.train import train_in
from fullcircle.monitoring import quality
from fullcircle.monitoring.grid import now
from fullcircle.runtimes.contracts import rows_of
from fullcircle.settings import Settings
from fullcircle.types.bundle import Proof
from fullcircle.types.loop import Trigger
from fullcircle.types.monitoring import Decision, Window
from fullcircle.types.progress import Progress
from fullcircle.types.report import Report
from fullcircle.types.table import Table
from fullcircle.types.turn import Deployed, Packaged, Probe, Retrained, Trained, Turn


@dataclass
class _Turning:
    """What a turn has reached so far."""

    trained: Trained
    decision: Decision
    packaged: Packaged | None = None
    deployed: Deployed | None = None
    probes: tuple[Probe, ...] = ()
    windows: list[Window] = field(default_factory=list)
    retrained: Retrained | None = None
    sample: str = ""


def run(
    project: str | Path | LoadedProject,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
    params: Mapping[str, str] | None = None,
    stop: bool = False,
) -> Turn:
    """Take the project once around: train, evaluate, package, prove, register, deploy, monitor, retrain, decide.

    What was already made from the same data, code and parameters is used again. The server stays up, unless
    ``stop``. An interrupted run leaves nothing half-promoted, and the next one goes on.
    """
    source = with_params(loaded(project), params or {})
    started = datetime.now(UTC)
    with opened(settings, progress) as session:
        stages = Stages(session.progress)
        session.progress = stages
        stages.step("open", str(session.workspace.root))
        reconcile(session)
        turning = _make(session, source)
        if source.project.name in session.workspace.ledger.state().champions:
            with _not_left_behind(session, source.project.name):
                _live(session, source, turning)
            if stop:
                remove_in(session, source.project.name, "stopped at the end of the run")
        turn = Turn(
            model=source.project.name,
            started=started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            seconds=(datetime.now(UTC) - started).total_seconds(),
            stages=stages.finished(),
            trained=turning.trained,
            decision=turning.decision,
            packaged=turning.packaged,
            deployed=turning.deployed,
            probes=turning.probes,
            windows=tuple(turning.windows),
            retrained=turning.retrained,
            champion=session.workspace.ledger.state().champions.get(source.project.name),
            sample_prediction=turning.sample,
        )
        unapproved = waiting(session, source.project.name)
        steps = _next_steps(turn, str(project), stop, max(unapproved, default=None))
        return _with_page(session, replace(turn, next_steps=steps))


def _make(session: Session, source: LoadedProject) -> _Turning:
    """Explore, evaluate, develop, package: up to a decision about a new version."""
    again = _made_before(session, source)
    if again is not None:
        return again
    trained = train_in(session, source)
    failed = [f"{gate.gate} ({gate.reason})" for gate in trained.report.gates if not gate.passed]
    model = source.project.name
    if not trained.report.passed:
        reason = f"held by its gates: {'; '.join(failed)}" if failed else "held: the project declares no gates"
        champion = session.workspace.ledger.state().champions.get(model)
        held = Decision(action="hold", model=model, version=champion, reason=reason)
        told = f"held by its gates: {failed_gates(trained.report)}" if failed else reason
        return _Turning(trained, decide(session, held, report=trained.report_digest, told=told))
    draft = drafts.of_run(session, trained.run)
    approve = source.project.approve
    packaged = package_in(session, source, draft, trained.report_digest, trained.report, approve=approve)
    if approve == "person":
        held = _unapproved(session, model, packaged.version)
        return _Turning(trained, decide(session, held, report=trained.report_digest), packaged)
    session.progress.step("promote", f"version {packaged.version}")
    decision = promote_in(session, model, packaged.version, "all gates passed")
    return _Turning(trained, decision, packaged)


def _unapproved(session: Session, model: str, version: int) -> Decision:
    champion = session.workspace.ledger.state().champions.get(model)
    return Decision(action="hold", model=model, version=champion, reason=asked_for(model, version))


def _made_before(session: Session, source: LoadedProject) -> _Turning | None:
    """The version that was made from the same data, code and parameters, if there is one."""
    project = source.project
    state = session.workspace.ledger.state()
    known = state.versions.get(project.name, {})
    if not known:
        return None
    session.progress.step("snapshot", "reading the data")
    frame = data.read(session, source, project.data)
    digest = data.digest_of(frame)
    for number in sorted(known, reverse=True):
        draft = drafts.of_run(session, known[number].run)
        same = (draft.snapshot, draft.code_version, dict(draft.params)) == (digest, source.code, dict(project.params))
        if same:
            return _taken_up(session, project.name, number, draft)
    return None


def _taken_up(session: Session, model: str, number: int, draft: drafts.Draft) -> _Turning:
    state = session.workspace.ledger.state()
    found = state.versions[model][number]
    report = session.recall(found.report, Report)
    snapshot = data.find(session, draft.snapshot)
    test_rows = sum(session.workspace.blobs.get(draft.test))  # the mask is one byte a row, 1 for a test row
    trained = Trained(
        model=model,
        run=draft.run,
        snapshot=snapshot,
        train_rows=0 if draft.adopted else snapshot.rows - test_rows,
        test_rows=test_rows,
        split="as before",
        metric=draft.metric,
        candidates=(),
        report=report,
        report_digest=found.report,
        code=draft.code_version,
        params=dict(draft.params),
        report_page=str(reports.page_of(session.settings, report)),
    )
    packaged = Packaged(
        model=model,
        version=number,
        run=draft.run,
        bundle=found.bundle,
        size_bytes=len(session.workspace.blobs.get(found.bundle)),
        files=versions.bundle(session, model, number).manifest.files,
        proof=session.recall(found.proof, Proof),
        tests=testing.counts_of(session, draft.run),
    )
    champion = state.champions.get(model)
    # What was rolled back was champion once, and is not promoted again by itself.
    never_promoted = number not in state.promoted.get(model, ())
    if never_promoted and judged_against(session, found.report) == champion:
        if state.waits(model, number):
            held = _unapproved(session, model, number)
            session.progress.note(held.reason)
            return _Turning(trained, held, packaged)
        told = f"version {number}, " + ("approved" if found.approve else "made by an interrupted run")
        session.progress.step("promote", told)
        return _Turning(trained, promote_in(session, model, number, passed(state, model, number)), packaged)
    reason = f"nothing changed since version {number} was made from this data, code and parameters"
    session.progress.note(reason)
    return _Turning(trained, Decision(action="keep", model=model, version=champion, reason=reason), packaged)


def _live(session: Session, source: LoadedProject, turning: _Turning) -> None:
    """Deploy, monitor, retrain: the champion's life in production."""
    project = source.project
    champion = versions.champion(session, project.name)
    draft = drafts.of_run(session, versions.find(session, project.name, champion).run)
    held_out = _held_out(session, draft)
    turning.deployed = deploy_in(session, project.name, exact_from=_replayed_from(session, source, held_out))
    scorer = versions.scorer(session, project.name, champion, online=True)
    contract = scorer.contract
    session.progress.step("probe", "rows that do not fit the contract")
    begun = now()
    turning.probes = probes.send(turning.deployed.url, project.name, contract, held_out, admission.door(session))
    arrivals: Mapping[str, Any] = project.arrivals or {"the test rows": _unchanged}
    for name, arrival in arrivals.items():
        session.progress.step(f"window: {name}", "")
        frame = _arriving(session, source, arrival, held_out)
        sent = traffic.play(session, project, contract, turning.deployed.url, frame)
        turning.sample = turning.sample or (sent.predictions[0].id if sent.predictions else "")
        turning.deployed = traffic.compared(turning.deployed, scorer, rows_of(frame, contract), sent)
        if not sent.predictions:
            session.progress.note("no rows: nothing to judge")
            continue
        with source.active():
            window = watch_in(session, project, champion, sent.predictions, sent.outcomes, name, since=begun)
        begun = now()
        turning.windows.append(window)
        session.progress.note(_told(window))
    trigger = _trigger(turning.windows)
    if trigger is not None:
        with at_work(session, project.name) as journal:
            turning.retrained = retrain_in(session, source, trigger, journal)
        if turning.retrained.decision.action == "promote":
            moved_on = deploy_in(session, project.name, exact_from=_replayed_from(session, source, held_out))
            checked = turning.deployed
            turning.deployed = replace(moved_on, rows=checked.rows, largest_difference=checked.largest_difference)


@contextmanager
def _not_left_behind(session: Session, model: str) -> Iterator[None]:
    """A server that this turn started ends with a turn that fails or is interrupted; an earlier one goes on."""
    earlier = process_of(session, model)
    try:
        yield
    except BaseException:
        if process_of(session, model) != earlier:
            remove_in(session, model, "the run that started it did not end well")
        raise


def _trigger(windows: Sequence[Window]) -> Trigger | None:
    """Why to retrain: realised harm, alarms on harm, then those on drift, or None."""
    harmed = [window.name for window in windows if quality.worse(window.report)]
    reasons = [f"worse than reported in window {', '.join(harmed)}"] if harmed else []
    for kind, what in (("risk", "losses grew"), ("estimate", "expected losses grew"), ("drift", "alarm")):
        found = [(window, alarm) for window in windows for alarm in window.alarms if alarm.kind == kind]
        found = [(window, alarm) for window, alarm in found if alarm.state != "resolved"]
        names = dict.fromkeys(window.name for window, _ in found)
        moved = dict.fromkeys(suspect.feature for _, alarm in found for suspect in alarm.suspects[:3])
        if found:
            about = f" ({', '.join(moved)})" if kind == "drift" and moved else ""
            reasons.append(f"{what} in window {', '.join(names)}{about}")
    if not reasons:
        return None
    open_ = {alarm.id: alarm for window in windows for alarm in window.alarms if alarm.state != "resolved"}
    harm = harmed or any(alarm.kind != "drift" for alarm in open_.values())
    return Trigger(
        cause="harm" if harm else "drift",
        reason="; ".join(reasons)[:200],
        since=min((alarm.since for alarm in open_.values()), default=""),
        alarms=tuple(open_),
    )


def _arriving(session: Session, source: LoadedProject, arrival: Any, held_out: Any) -> Any:
    view = source.project.view
    if isinstance(arrival, Table):
        frame = data.read(session, source, arrival)
    else:
        frame = data.called(source, arrival, held_out)
    # Who asks a model on a view sends keys: what is looked up is not sent along.
    return frame if view is None else views.without_features(view, frame)


def _replayed_from(session: Session, source: LoadedProject, held_out: Any) -> Any:
    """The time of the earliest row that will be played as traffic: each is answered as of its own time."""
    view = source.project.view
    if view is None:
        return None
    tables = [arrival for arrival in source.project.arrivals.values() if isinstance(arrival, Table)]
    return views.earliest(view, [held_out, *(data.read(session, source, table) for table in tables)])


def _held_out(session: Session, draft: drafts.Draft) -> Any:
    frame, test = drafts.rows(session, draft)
    return frame[test].reset_index(drop=True)


def _unchanged(frame: Any) -> Any:
    return frame


def _told(window: Window) -> str:
    if not window.alarms:
        return f"{window.rows} rows, {window.labelled} labelled: quiet"
    return f"{window.rows} rows, {window.labelled} labelled: alarm ({'; '.join(a.text for a in window.alarms[:2])})"


def _with_page(session: Session, turn: Turn) -> Turn:
    from fullcircle.flows.pages import render

    path = session.workspace.pages / f"{turn.model}-{turn.trained.run[:8]}.html"
    turn = replace(turn, page=str(path))
    path.write_text(render(turn), encoding="utf-8")
    return turn


def _next_steps(turn: Turn, project: str, stop: bool, unapproved: int | None) -> tuple[str, ...]:
    steps = [f"fullcircle why {turn.sample_prediction}"] if turn.sample_prediction else []
    if unapproved is not None:
        steps += [approving(turn.model, unapproved), f"fullcircle promote {turn.model} --version {unapproved}"]
    elif turn.champion is None:
        steps.append(f"fullcircle run {project}   (after changing the model or the gates)")
    if turn.champion is not None:
        steps.append("fullcircle serve" if stop else f"fullcircle deploy {turn.model} --stop")
    return (*steps, f"fullcircle runs {turn.model}", "fullcircle status")
