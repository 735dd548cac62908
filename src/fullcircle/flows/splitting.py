"""Splits: begin one, move its steps, end it; and take it back where it does harm.

The server's breaker acts within requests and writes a file (``tables.trips``); here that becomes a fact. A turn may
be taken by any number of processes at once: each of its facts is guarded by the state that it was decided on.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fullcircle.errors import (
    ApprovalMissing,
    FullcircleError,
    GateFailed,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows import going_back, split_terms, versions
from fullcircle.flows.promote import may_answer, promote_in
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.flows.split_patience import Patience, cause
from fullcircle.ledger.bodies import LONGEST
from fullcircle.ledger.splits import body
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.monitoring.journal import Journal
from fullcircle.settings import Settings
from fullcircle.stats.exceeding import evidence
from fullcircle.tables import requests, trips
from fullcircle.types.progress import Progress
from fullcircle.types.splits import (
    ALPHA,
    BUCKETS,
    LEAST,
    Ending,
    Kind,
    Seen,
    Split,
    text_of,
)

SHADOWS = "shadows"  # of the workspace: the log of shadows
MORE = 0.01
"""A version may leave so much more of its rows unanswered than twice what the champion does."""
MINUTE = 60_000_000  # microseconds: what is counted beside the log is told by the minute


class _Passed(Exception):
    """Another process took this turn."""


def start(
    project: str | Path,
    *,
    kind: Kind,
    shares: Sequence[str] = (),
    bake: str = "1h",
    version: int | None = None,
    entity: Sequence[str] = (),
    least: int = LEAST,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Split:
    """Begin a split of a model between its champion and a version (the latest by default).

    ``shares`` such as "5%": one for a split, the steps of a canary (100 % is the promotion), none for a shadow.
    ``entity`` are the columns by which rows are assigned. Raises GateFailed and ApprovalMissing for a version that
    may not answer callers, which may be a shadow all the same; StateConflict where a split is open already;
    VersionNotFound; SettingInvalid, also for a version of another task or other classes than the champion's.
    """
    with opened(settings, progress, create=False) as session:
        reconcile(session)
        return start_in(
            session,
            model_name(session, project),
            kind=kind,
            shares=shares,
            bake=bake,
            version=version,
            entity=entity,
            least=least,
        )


def start_in(
    session: Session,
    model: str,
    *,
    kind: Kind,
    shares: Sequence[str] = (),
    bake: str = "1h",
    version: int | None = None,
    entity: Sequence[str] = (),
    least: int = LEAST,
) -> Split:
    """Begin a split within an open session. See ``start``."""
    steps = split_terms.steps(kind, shares, bake)
    champion = versions.champion(session, model)
    known = session.workspace.ledger.state().versions.get(model, {})
    number = max(known) if version is None else version
    versions.find(session, model, number)
    if number == champion:
        raise VersionNotFound(
            f"version {number} of {model} is the champion itself",
            received=number,
            allowed=", ".join(str(each) for each in known if each != champion) or "none yet",
            next_step="train and package a challenger, or name another with --version",
        )
    contracts = {each: versions.bundle(session, model, each).contract for each in (champion, number)}
    split_terms.check_alike(model, contracts)
    split_terms.check_entity(model, contracts, entity)
    split = Split(
        id=secrets.token_hex(8),
        model=model,
        kind=kind,
        champion=champion,
        version=number,
        salt=secrets.token_hex(8),
        entity=tuple(entity),
        steps=steps,
        least=least,
    )
    allowed = None if kind == "shadow" else may_answer(session, model, number)
    session.record("split.started", guard=_unsplit(split, allowed), **body(split))
    write_served(session)
    return session.workspace.ledger.state().splits[model]


def end(
    project: str | Path,
    *,
    reason: str = "ended by hand",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Split:
    """End the split of a model: the champion answers for all again. Returns what it was.

    Raises StateConflict where there is none.
    """
    with opened(settings, progress, create=False) as session:
        return end_in(session, model_name(session, project), reason)


def end_in(session: Session, model: str, reason: str) -> Split:
    """The same within an open session."""
    split = session.workspace.ledger.state().splits.get(model)
    if split is None:
        raise StateConflict(
            f"{model} has no split to end", received=model, next_step=f"see: fullcircle deploy {model} --status"
        )
    won = session.workspace.ledger.state().champions.get(model) == split.version
    _end(session, split, "promoted" if won else "ended", reason)
    return split


def turns_in(session: Session, only: str = "", patience: Patience | None = None) -> None:
    """Take a turn of every open split, or of one model's. What cannot be done now is told, and tried again.

    Whoever takes turns every moment keeps a ``patience`` for all of them: then it is told once, and tried less often.
    The served file is brought up to the facts in any case: who wrote one may have died before it was.
    """
    patience = patience or Patience()
    for model, split in tuple(session.workspace.ledger.state().splits.items()):
        if only not in ("", model):
            continue
        try:
            turn_in(session, model, patience)
        except (FullcircleError, OSError) as error:
            why = cause(error)
            if patience.news(split.id, why):
                session.progress.note(f"the split of {model} cannot go on at the moment: {why}")
        else:
            patience.went_on(split.id)
    write_served(session)


def turn_in(session: Session, model: str, patience: Patience | None = None) -> str:
    """Take a turn within an open session: take the version back, move on, or leave things as they are.

    Returns what was done, "" for nothing, or where another process did it. A split ends when the champion is another
    one; with the version's promotion as "promoted", and a server that runs moves into its environment where whoever
    promoted it did not get so far. ``patience`` may put off a step that failed; harm is looked for in every turn.
    Raises what a promotion raises for lack of something that may come, and what ``going_back.follow`` raises.
    """
    split = session.workspace.ledger.state().splits.get(model)
    if split is None:
        return ""
    champion = session.workspace.ledger.state().champions.get(model)
    if champion == split.version:
        return _arrived(session, split, f"version {champion} is champion")
    if champion != split.champion:
        return _end(session, split, "ended", f"the champion changed from version {split.champion} to {champion}")
    if split.kind == "shadow":
        return ""
    harm = harm_of(session, split)
    if harm:
        return _end(session, split, "rolled_back", harm)
    if split.kind != "canary" or not _ripe(session, split):
        return ""
    return (patience or Patience()).tried(session, split.id, lambda: _onward(session, split))


def harm_of(session: Session, split: Split) -> str:
    """Why the version of a split is to be taken back; "" where nothing is known against it."""
    tripped = trips.read(session.workspace.root / trips.FOLDER, split.id)
    if tripped is not None:
        return tripped.reason
    return _unanswered(session, split) or _risk(session, split)


def _unanswered(session: Session, split: Split) -> str:
    """Whether it rejects, or answers by a fallback, far more of its rows than the champion does.

    Requests are counted, each as the share of its rows: rows of one request have one cause, as a rule. The minute in
    which the step began counts whole: what the version did a moment before tells against it too. What the champion
    would have left unanswered as well is nobody's harm, and of the rest so much less is allowed.
    """
    seen, rival = both_seen(session, split, before=MINUTE)
    if not seen.rows or not seen.requests:
        return ""
    usual = (rival.unanswered + 1) / (rival.rows + 2)
    allowed = min(2 * usual + MORE - min(usual, seen.neither / seen.rows), 0.9)
    left = max(0, seen.unanswered - seen.neither)  # servers count the two one after the other
    bad = math.floor(seen.requests * left / seen.rows)
    if evidence(bad, seen.requests, allowed) < math.log(1 / ALPHA):
        return ""
    shared = f", {seen.neither:,} of which the champion would not have answered either" if seen.neither else ""
    return (
        f"it rejected, or answered by a fallback, {seen.unanswered:,} of {seen.rows:,} rows{shared}; "
        f"the champion {rival.unanswered:,} of {rival.rows:,}"
    )


def _risk(session: Session, split: Split) -> str:
    """Whether monitoring saw its realised losses grow."""
    path = session.workspace.root / "monitoring" / f"{split.model}.db"
    if not path.exists():
        return ""
    with Journal(path) as journal:
        entries = journal.entries(split.version, since=micros(split.started) or 0, judged=True, counts=False)
    fired = any(said.kind == "risk" and said.fired for entry in entries for said in entry.evidence)
    return "its realised losses grew: the monitor's evidence on risk fired" if fired else ""


def both_seen(session: Session, split: Split, *, since: str = "", before: int = 0) -> tuple[Seen, Seen]:
    """What is counted of the version, and of the champion beside it."""
    of = partial(_seen, session, split, since=since, before=before)
    return of(split.version), of(split.champion)


def _seen(session: Session, split: Split, version: int, *, since: str = "", before: int = 0) -> Seen:
    """What is counted of a version in this step, or ``since`` (ISO 8601): in the minutes that began after that.

    A line of a minute cannot be divided; those count too that began up to ``before`` microseconds earlier.
    """
    first = iso(max(0, (micros(since or split.since) or 0) - before))
    (found,) = requests.read(session.workspace.predictions, split.model, [(first, iso(now() + MINUTE))], version)
    verdicts = found.verdicts
    answered = sum((known for status, known in found.requests.items() if status in (200, 422)), requests.Histogram())
    p50 = answered.quantile(0.5)[1] if answered.count else math.inf
    return Seen(
        requests=answered.count,
        rows=sum(verdicts.values()),
        unanswered=verdicts.get("rejected", 0) + verdicts.get("fallback", 0),
        neither=found.neither,
        p50=p50 if math.isfinite(p50) else None,
    )


def pace(seen: Seen, rival: Seen) -> str:
    """How long a version's requests took beside the champion's, in words; "" where nothing was counted of it."""
    if seen.p50 is None:
        return ""
    beside = f", half of the champion's at most {_span(rival.p50)}" if rival.p50 is not None else ""
    return f"half of its requests took at most {_span(seen.p50)}{beside}"


def _span(seconds: float) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def _ripe(session: Session, split: Split) -> bool:
    """Whether the step is over: its time, and as many requests as it needs."""
    step = split.steps[split.place]
    over = now() - (micros(split.since) or 0) >= step.bake * 1_000_000
    return over and not split.last and _seen(session, split, split.version).requests >= split.least


def _onward(session: Session, split: Split) -> str:
    """The next step; 100 % is the promotion."""
    share = split.steps[split.place + 1].share
    if share == BUCKETS:
        return _promoted(session, split)
    seen, rival = both_seen(session, split)
    more = {"requests": seen.requests, "p50": seen.p50, "champion_p50": rival.p50}
    return move_in(session, split, share, pace(seen, rival), **more)


def move_in(session: Session, split: Split, share: int, why: str = "", **more: float | None) -> str:
    """Give the version of a split this share (of 10,000 buckets) from now on; ``more`` is noted beside.

    ``why`` is told behind it.

    Returns what was done, "" where the split was moved or ended by somebody else meanwhile.
    """
    known = {"model": split.model, "split": split.id, "place": split.place + 1, "share": share, **more}
    moved = _unless_passed(session, "split.moved", _still(split), known)
    write_served(session)
    if not moved:
        return ""
    kept = "keeps" if share == split.variant.high else "gets"
    told = f"version {split.version} of {split.model} {kept} {text_of(share)} from now on" + (why and f"; {why}")
    session.progress.note(told)
    return told


def _promoted(session: Session, split: Split) -> str:
    """Through the gates, as anybody's promotion. What was seen while it was made ready has its say too."""
    reason = f"the canary went well: {', '.join(text_of(step.share) for step in split.steps)}"
    paces = pace(*both_seen(session, split))
    reason += paces and f"; {paces}"
    try:
        going_back.make_ready(session, split.model, split.version)
        _still(split)(session.workspace.ledger.state())
        if harm := harm_of(session, split):
            return _end(session, split, "rolled_back", harm)
        promote_in(session, split.model, split.version, reason, trigger="canary")
    except _Passed:
        return ""
    except (GateFailed, StateConflict, ApprovalMissing) as error:
        champion = session.workspace.ledger.state().champions.get(split.model)
        if champion != split.version:  # else another process was faster
            return _end(session, split, "rolled_back", f"it may not be promoted: {error.what}")
    return _arrived(session, split, reason)


def _arrived(session: Session, split: Split, reason: str) -> str:
    """The version is champion. The split ends last, so that a turn that is killed on the way is taken again."""
    try:
        going_back.follow(session, split.model)
    except (FullcircleError, OSError):
        _end(session, split, "promoted", reason)
        raise
    return _end(session, split, "promoted", reason)


def _end(session: Session, split: Split, action: Ending, reason: str) -> str:
    """End it; "" where it had ended already."""
    known = {"model": split.model, "split": split.id, "version": split.version, "action": action}
    ended = _unless_passed(session, "split.ended", _open(split), {**known, "reason": reason[:LONGEST]})
    write_served(session)
    if not ended:
        return ""
    told = f"the split of {split.model} with version {split.version}: {action.replace('_', ' ')}, {reason}"
    session.progress.note(told)
    return told


def _unless_passed(session: Session, kind: str, guard: Callable[[State], None], said: Mapping[str, object]) -> bool:
    """Write a fact; False where another process took the turn."""
    try:
        session.record(kind, guard=guard, **said)
    except _Passed:
        return False
    return True


def _open(split: Split) -> Callable[[State], None]:
    def guard(state: State) -> None:
        known = state.splits.get(split.model)
        if known is None or known.id != split.id:
            raise _Passed

    return guard


def _still(split: Split) -> Callable[[State], None]:
    """A guard: the split is at the step that was decided on."""

    def guard(state: State) -> None:
        known = state.splits.get(split.model)
        if known is None or (known.id, known.place) != (split.id, split.place):
            raise _Passed

    return guard


def _unsplit(split: Split, allowed: Callable[[State], None] | None) -> Callable[[State], None]:
    """A guard: no split of the model is open, the champion is who it was, and the version may answer."""

    def guard(state: State) -> None:
        known = state.splits.get(split.model)
        if known is not None:
            raise StateConflict(
                f"{split.model} has a split already, with version {known.version}",
                received=f"version {split.version}",
                allowed="one split of a model at a time",
                next_step=f"end it first: fullcircle deploy {split.model} --end",
            )
        if state.champions.get(split.model) != split.champion:
            raise StateConflict(
                f"the champion of {split.model} changed meanwhile", next_step="look again: fullcircle status"
            )
        if allowed is not None:
            allowed(state)

    return guard
