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
from fullcircle.flows.experiment_words import between, named, notes_of, text_of
from fullcircle.flows.exposed import Exposed, Measuring, of_split
from fullcircle.flows.promote import promote_in
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.bodies import LONGEST
from fullcircle.ledger.splits import started
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso, length, micros, now
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types import splits
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
    turns_in(session, source)  # one whose split was ended by hand has no end yet, and would never get one
    _check_none_runs(session, model)
    champion = versions.champion(session, model)
    number = max(session.workspace.ledger.state().versions[model]) if version is None else version
    versions.find(session, model, number)
    delay = length(source.project.label_delay) / _DAY
    plan = plan_of(session, model, _measuring(session, source, champion), (champion, number), delay, wanted)
    for each in (champion,) if wanted.shadow else (champion, number):
        _check_logged(session, model, each, wanted.entity)
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
    last = _last(session, source.project.name)
    found = _look(session, source, last, drawn=True)
    live = last.split.kind != "shadow" and _open(session, last.split)
    harm = splitting.harm_of(session, last.split) if live else ""
    told = f"version {last.split.version} does harm, and the next turn takes it back: {harm}"
    return replace(found, notes=(told, *found.notes)) if harm else found


def stop(
    project: str | Path | LoadedProject,
    *,
    promote: bool = False,
    reason: str = "stopped by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """End an experiment: the champion answers for all again, or with ``promote`` the winner does.

    Raises StateConflict where none runs, where who is to be promoted did not win, or where it did harm; and what
    ``promote`` raises: gates and approvals are asked as always. Then nothing has ended.
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
            next_step="begin one: fullcircle experiment start PROJECT --effect NUMBER",
        )
    found = _look(session, source, last)
    model, split, verdict = found.model, last.split, found.verdict
    digest = session.keep(verdict)
    if promote:
        _check_won(found)
        won = f"{between(verdict.difference)} in {named(found.plan)}"
        reason = f"it won the experiment of split {split.id}: {won}"[:LONGEST]
        going_back.make_ready(session, model, split.version)
        _check_unharmed(session, last)  # that may have taken a while
        promote_in(session, model, split.version, reason, trigger="experiment")
    if _open(session, split):
        splitting.end_in(session, model, reason)
    champion = session.workspace.ledger.state().champions.get(model) == split.version
    session.record(
        "experiment.stopped",
        guard=_running(split),
        model=model,
        split=split.id,
        verdict=digest,
        version=split.version,
        action="promoted" if champion else "stopped",
        reason=reason[:LONGEST],
    )
    if champion:  # also where whoever promoted it did not get so far
        going_back.follow(session, model)
    return status_in(session, source)


def turns_in(session: Session, source: LoadedProject) -> None:
    """Take a turn of a model's experiment, where one runs. What cannot be done now is told, and tried again."""
    try:
        turn_in(session, source)
    except FullcircleError as error:
        session.progress.note(f"the experiment of {source.project.name} cannot go on now: {error.what}")


def turn_in(session: Session, source: LoadedProject) -> str:
    """Take a turn of a running experiment: end it where a guardrail broke or its time is over, or learn its shares.

    Returns what was done, "" for nothing.
    """
    if session.workspace.ledger.state().experiment(source.project.name) is None:
        return ""
    with source.active():
        return _turned(session, source)


def _turned(session: Session, source: LoadedProject) -> str:
    last = _last(session, source.project.name)
    found = _look(session, source, last)
    if not _open(session, last.split):
        end = next(fact for fact in _ends(session, last.split) if fact.body["split"] == last.split.id)
        return _stopped(session, source, f"its split ended: {end.body.get('reason') or ''}")
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


def _last(session: Session, model: str) -> _Begun:
    ledger = session.workspace.ledger
    state = ledger.state()
    fact = state.experiments.get(model)
    if fact is None:
        raise StateConflict(
            f"{model} never had an experiment",
            received=model,
            next_step="begin one: fullcircle experiment start PROJECT --effect NUMBER",
        )
    id = fact.body["split"]
    split = state.splits.get(model)
    if split is None or split.id != id:
        split = next(started(each) for each in ledger.facts("split.started") if each.body["split"] == id)
    plan = session.recall(str(fact.body["plan"]), Plan)
    return _Begun(fact, split, plan, state.experiment_ends.get(id))


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
    return replace(found, text=text_of(found), notes=(*notes_of(found), *_moves(session, last)))


def _moves(session: Session, last: _Begun) -> tuple[str, ...]:
    """When its share was learned, and which one it has: rows of all its shares stand in one line."""
    if last.plan.floor is None:
        return ()
    facts = [fact for fact in session.workspace.ledger.facts("split.moved") if fact.body["split"] == last.split.id]
    shares = [last.split.steps[0].share, *(int(fact.body["share"]) for fact in facts)]
    steps = zip(facts, shares[:-1], shares[1:], strict=True)
    moves = [(fact.time.replace("T", " "), share) for fact, before, share in steps if share != before]
    version = last.split.version
    if not moves:
        return (f"version {version} still has the share that it began with, {splits.text_of(shares[0])}",)
    time, share = moves[-1]
    told = "once" if len(moves) == 1 else f"{len(moves)} times"
    return (
        f"version {version} began with {splits.text_of(shares[0])}; its share moved {told}, last on {time[:16]} UTC, "
        f"to {splits.text_of(share)}: the rows are those of all its shares",
    )


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
    # Also where they stay: what was learned today is not asked again before tomorrow.
    return splitting.move_in(session, split, round(shares[1] * BUCKETS))


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
            next_step=("wait, or " if found.verdict.state == "running" else "")
            + "stop it without --promote; a person may still: fullcircle promote",
        )


def _check_unharmed(session: Session, last: _Begun) -> None:
    """Refuse a version that was taken back since the experiment began, or is to be: it won on what it still did."""
    split = last.split
    ends = [fact for fact in _ends(session, split) if fact.seq > last.fact.seq]
    taken = next((fact for fact in ends if fact.body["action"] == "rolled_back"), None)
    harm = splitting.harm_of(session, split) if taken is None else str(taken.body.get("reason") or "")
    if harm or taken is not None:
        raise StateConflict(
            f"version {split.version} of {split.model} was taken back, whatever it is better in: {harm}",
            received=f"version {split.version}",
            allowed="a version whose breaker is closed, and that no split ended as rolled back since it began",
            next_step="mend what went wrong, package it again, and begin an experiment of that version",
        )


def _ends(session: Session, split: Split) -> list[Fact]:
    """The facts by which splits of the same version ended, oldest first."""
    wanted = (split.model, split.version)
    ended = session.workspace.ledger.facts("split.ended")
    return [fact for fact in ended if (fact.body["model"], fact.body.get("version")) == wanted]


def _check_logged(session: Session, model: str, version: int, entity: Sequence[str]) -> None:
    """Refuse columns that the log does not hold as they came: what hangs together could not be told from it."""
    contract = versions.bundle(session, model, version).contract
    left_out, _ = log.kept_back(contract)
    filled = [each.name for each in contract.columns if "impute" in (each.unseen, each.outside, each.wrong_type)]
    gone = [name for name in entity if name in left_out or name in filled]
    if gone:
        raise StateConflict(
            "rows are assigned by a column that the log may not hold as it came: none can tell which belong together",
            received=f"{', '.join(gone)}, by the contract of version {version}",
            allowed="columns that are logged, or hashed, with values of the caller's own (not imputed ones)",
            next_step="let the contract hash the column, or reject what does not fit; or name another with --entity",
        )


def _check_none_runs(session: Session, model: str) -> None:
    fact = session.workspace.ledger.state().experiment(model)
    if fact is not None:
        raise StateConflict(
            f"an experiment of {model} runs already, with version {fact.body['version']}",
            received=model,
            allowed="one experiment of a model at a time",
            next_step="look: fullcircle experiment status PROJECT; or end it: fullcircle experiment stop PROJECT",
        )


def _running(split: Split) -> Callable[[State], None]:
    """A guard: nobody else stopped it meanwhile."""

    def guard(state: State) -> None:
        if split.id in state.experiment_ends:
            raise StateConflict(
                f"the experiment of {split.model} was stopped by somebody else meanwhile",
                received=split.model,
                next_step="look again: fullcircle experiment status PROJECT",
            )

    return guard


def _with_page(session: Session, made: Experiment) -> Experiment:
    """The same with its page, written to WORKSPACE/pages."""
    from fullcircle.flows.pages.experiment import render_experiment

    path = session.folder("pages") / f"{made.model}-experiment.html"
    made = replace(made, page=str(path))
    path.write_text(render_experiment(made), encoding="utf-8")
    return made
