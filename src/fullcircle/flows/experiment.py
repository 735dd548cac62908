"""Experiments: begin one with a plan, look at it whenever one likes, stop it, and promote who won.

The plan is kept as a blob and named by the fact that begins the experiment: nothing in it changes afterwards. Which
rows go where is a split's (``flows.splitting``), what they say is ``flows.verdicts``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import FullcircleError, StateConflict
from fullcircle.flows import going_back, splitting, verdicts, versions
from fullcircle.flows.experiment_plan import Wanted, plan_of
from fullcircle.flows.experiment_words import notes_of, text_of
from fullcircle.flows.exposed import Exposed, Measuring, of_split
from fullcircle.flows.promote import promote_in
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.bodies import LONGEST
from fullcircle.ledger.splits import started
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso, length, micros, now
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.experiments import Experiment, Plan, Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.progress import Progress
from fullcircle.types.splits import BUCKETS, Split

_DAY = 86_400_000_000  # microseconds: shares are learned once a day, so that a day's rhythm is in every share


def start(
    project: str | Path | LoadedProject,
    *,
    effect: float,
    version: int | None = None,
    metric: str = "",
    share: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
    guardrails: Sequence[str] = (),
    until: str = "",
    entity: Sequence[str] = (),
    shadow: bool = False,
    thompson: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Plan an experiment of the champion and a version (the latest by default), and begin it.

    ``effect`` is the least difference that would matter, in the unit of ``metric`` (by default what an answer is
    worth, else the main metric). ``guardrails`` are those of ``experiment_plan.guardrail``, ``until`` a time or a
    span after which it ends undecided. Raises SettingInvalid, and what a split raises that cannot begin.
    """
    source = loaded(project)
    wanted = Wanted(
        metric=metric,
        effect=effect,
        share=round(share, 4),
        alpha=alpha,
        power=power,
        guardrails=tuple(guardrails),
        until=until,
        entity=tuple(entity),
        shadow=shadow,
        thompson=thompson,
    )
    with opened(settings, progress, create=False) as session, source.active():
        reconcile(session)
        return start_in(session, source, wanted, version)


def start_in(session: Session, source: LoadedProject, wanted: Wanted, version: int | None = None) -> Experiment:
    """The same within an open session."""
    model = source.project.name
    champion = versions.champion(session, model)
    number = max(session.workspace.ledger.state().versions[model]) if version is None else version
    versions.find(session, model, number)
    delay = length(source.project.label_delay) / _DAY
    plan = plan_of(session, model, _measuring(session, source, champion), (champion, number), delay, wanted)
    _check_logged(session, model, champion, wanted.entity)
    digest = session.keep(plan)
    split = splitting.start_in(
        session,
        model,
        kind="shadow" if wanted.shadow else "split",
        shares=() if wanted.shadow else (f"{wanted.share:.2%}",),
        version=number,
        entity=wanted.entity,
    )
    session.record(
        "experiment.started", model=model, split=split.id, plan=digest, version=number, metric=plan.metric.name
    )
    return status_in(session, source)


def status(
    project: str | Path | LoadedProject,
    *,
    page: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """How the last experiment of a model stands. Changes nothing, and may be asked as often as one likes.

    With ``page`` it is written as a page too. Raises StateConflict where there never was one.
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session, source.active():
        found = status_in(session, source)
        return _with_page(session, found) if page else found


def status_in(session: Session, source: LoadedProject) -> Experiment:
    """The same within an open session."""
    return _look(session, source, _last(session, source.project.name), drawn=True)


def stop(
    project: str | Path | LoadedProject,
    *,
    promote: bool = False,
    reason: str = "stopped by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """End an experiment: the champion answers for all again, or with ``promote`` the winner does.

    Raises StateConflict where none runs, or where who is to be promoted did not win; and what ``promote`` raises:
    gates and approvals are asked as always, and then nothing has ended.
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session, source.active():
        reconcile(session)
        return stop_in(session, source, promote=promote, reason=reason)


def stop_in(session: Session, source: LoadedProject, *, promote: bool = False, reason: str) -> Experiment:
    """The same within an open session."""
    last = _last(session, source.project.name)
    if last.stopped is not None:
        raise StateConflict(
            f"no experiment of {source.project.name} runs: the last one was {last.stopped.body['action']}",
            received=source.project.name,
            next_step=f"begin one: fullcircle experiment start {source.project.name} --effect NUMBER",
        )
    found = _look(session, source, last)
    model, split, verdict = found.model, last.split, found.verdict
    digest = session.keep(verdict)
    if promote:
        _check_won(found)
        reason = f"it won the experiment of split {split.id}: {found.text}"[:LONGEST]
        going_back.make_ready(session, model, split.version)
        promote_in(session, model, split.version, reason, trigger="experiment")
    if _open(session, split):
        if promote:
            splitting.turn_in(session, model)  # it sees that the version is champion
        else:
            splitting.end_in(session, model, reason)
    session.record(
        "experiment.stopped",
        guard=_running(split),
        model=model,
        split=split.id,
        verdict=digest,
        version=split.version,
        action="promoted" if session.workspace.ledger.state().champions.get(model) == split.version else "stopped",
        reason=reason[:LONGEST],
    )
    if promote:
        going_back.follow(session, model)
    return status_in(session, source)


def turns_in(session: Session, source: LoadedProject) -> None:
    """Take a turn of a model's experiment, where one runs. What cannot be done now is told, and tried again."""
    with source.active():
        try:
            turn_in(session, source)
        except FullcircleError as error:
            session.progress.note(f"the experiment of {source.project.name} cannot go on now: {error.what}")


def turn_in(session: Session, source: LoadedProject) -> str:
    """Take a turn of a running experiment: end it where a guardrail broke or its time is over, or learn its shares.

    Returns what was done, "" for nothing.
    """
    fact = session.workspace.ledger.state().experiments.get(source.project.name)
    if fact is None or fact.body["split"] in session.workspace.ledger.state().experiment_ends:
        return ""
    last = _last(session, source.project.name)
    found = _look(session, source, last)
    if not _open(session, last.split):
        end = session.workspace.ledger.state().split_ends.get(found.model)
        told = "its split ended" if end is None else f"its split ended: {end.body.get('reason') or ''}"
        return _stopped(session, source, told)
    broken = ", ".join(each.text for each in found.verdict.guardrails if not each.holds)
    if broken:  # harm is harm, also where the verdict is not to be believed
        return _stopped(session, source, f"a guardrail broke: {broken}")
    if found.plan.until and (micros(found.plan.until) or 0) <= now():
        return _stopped(session, source, "its time is over")
    if last.plan.floor is not None and now() - (micros(last.split.since) or 0) >= _DAY:
        return _learned(session, source, last)
    return ""


@dataclass(frozen=True)
class _Begun:
    """An experiment as its facts have it. ``split`` is as it is now, or as it began where it ended."""

    fact: Fact
    split: Split
    plan: Plan
    stopped: Fact | None


def _newest(session: Session, model: str) -> _Begun | None:
    ledger = session.workspace.ledger
    state = ledger.state()
    fact = state.experiments.get(model)
    if fact is None:
        return None
    id = fact.body["split"]
    split = state.splits.get(model)
    if split is None or split.id != id:
        split = next(started(each) for each in ledger.facts("split.started") if each.body["split"] == id)
    plan = session.recall(str(fact.body["plan"]), Plan)
    return _Begun(fact, split, plan, state.experiment_ends.get(id))


def _last(session: Session, model: str) -> _Begun:
    found = _newest(session, model)
    if found is None:
        raise StateConflict(
            f"{model} never had an experiment",
            received=model,
            next_step=f"begin one: fullcircle experiment start {model} --effect NUMBER",
        )
    return found


def _look(session: Session, source: LoadedProject, last: _Begun, *, drawn: bool = False) -> Experiment:
    """What is known now, or was when it was stopped; ``drawn``: with its bounds over time."""
    moment = now() if last.stopped is None else micros(last.stopped.time) or now()
    rows = _rows(session, source, last)
    asked = last.plan, rows, moment / 1e6, last.split.kind == "shadow"
    if last.stopped is None:
        verdict = verdicts.verdict(*asked)
    else:
        verdict = session.recall(str(last.stopped.body["verdict"]), Verdict)
    found = Experiment(
        model=last.split.model,
        split=last.split.id,
        mode="shadow" if last.split.kind == "shadow" else "split",
        plan=last.plan,
        digest=str(last.fact.body["plan"]),
        started=last.split.started,
        at=iso(moment),
        verdict=verdict,
        looks=verdicts.looks(*asked) if drawn else (),
        ended="" if last.stopped is None else str(last.stopped.body["action"]),
        reason="" if last.stopped is None else str(last.stopped.body.get("reason") or ""),
    )
    return replace(found, text=text_of(found), notes=notes_of(found))


def _rows(session: Session, source: LoadedProject, last: _Begun) -> Exposed:
    measuring = _measuring(session, source, last.split.champion)
    return of_split(session, measuring, last.split, last.plan.metric, last.plan.guardrails)


def _measuring(session: Session, source: LoadedProject, champion: int) -> Measuring:
    return Measuring(source.project, versions.bundle(session, source.project.name, champion).contract)


def _learned(session: Session, source: LoadedProject, last: _Begun) -> str:
    """Move the shares to the chances of being best, which are then the propensities in the log."""
    split = last.split
    shares = verdicts.shares(last.plan, _rows(session, source, last), now() / 1e6)
    if shares is None:
        return ""
    share = round(shares[1] * BUCKETS)
    if share != split.variant.high:
        session.record(
            "split.moved",
            guard=_still_at(split),
            model=split.model,
            split=split.id,
            place=split.place + 1,
            share=share,
        )
        write_served(session)
        return f"version {split.version} of {split.model} gets {share / BUCKETS:.2%} from now on"
    return ""


def _stopped(session: Session, source: LoadedProject, reason: str) -> str:
    found = stop_in(session, source, reason=reason)
    told = f"the experiment of {found.model} ended: {reason}"
    session.progress.note(told)
    return told


def _open(session: Session, split: Split) -> bool:
    known = session.workspace.ledger.state().splits.get(split.model)
    return known is not None and known.id == split.id


def _check_won(found: Experiment) -> None:
    if found.verdict.state != "decided" or found.verdict.standing != "better":
        raise StateConflict(
            f"version {found.verdict.version} of {found.model} did not win: {found.text}",
            received=f"{found.verdict.standing}, {found.verdict.state}",
            allowed="better, decided",
            next_step="wait, or stop it without --promote; a person may still: fullcircle promote",
        )


def _check_logged(session: Session, model: str, champion: int, entity: Sequence[str]) -> None:
    """Refuse columns that the log does not hold: what hangs together could not be told from it."""
    left_out, _ = log.kept_back(versions.bundle(session, model, champion).contract)
    gone = [name for name in entity if name in left_out]
    if gone:
        raise StateConflict(
            "rows are assigned by a column that the log may not hold, so nobody can tell which belong together",
            received=", ".join(gone),
            allowed="columns that are logged, or hashed",
            next_step="let the contract hash the column, or name another with --entity",
        )


def _running(split: Split) -> Callable[[State], None]:
    """A guard: nobody else stopped it meanwhile."""

    def guard(state: State) -> None:
        if split.id in state.experiment_ends:
            raise StateConflict(
                f"the experiment of {split.model} was stopped by somebody else meanwhile",
                received=split.model,
                next_step=f"look again: fullcircle experiment status {split.model}",
            )

    return guard


def _still_at(split: Split) -> Callable[[State], None]:
    """A guard: the split has the shares that were decided on."""

    def guard(state: State) -> None:
        known = state.splits.get(split.model)
        if known is None or (known.id, known.place) != (split.id, split.place):
            raise StateConflict(
                f"the split of {split.model} was moved by somebody else meanwhile",
                received=split.model,
                next_step="nothing is to be done: the next turn goes on from there",
            )

    return guard


def _with_page(session: Session, made: Experiment) -> Experiment:
    """The same with its page, written to WORKSPACE/pages."""
    from fullcircle.flows.pages.experiment import render_experiment

    path = session.folder("pages") / f"{made.model}-experiment.html"
    made = replace(made, page=str(path))
    path.write_text(render_experiment(made), encoding="utf-8")
    return made
