"""Splits: begin one, move its steps, end it; and take it back where it does harm.

The server's breaker acts within requests and writes a file (``server.breaker``); here that becomes a fact. A turn may
be taken by any number of processes at once: each of its facts is guarded by the state that it was decided on.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from fullcircle.errors import (
    ApprovalMissing,
    FullcircleError,
    GateFailed,
    SettingInvalid,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows import going_back, versions
from fullcircle.flows.promote import may_answer, promote_in
from fullcircle.flows.reconcile import reconcile, write_served
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.ledger.bodies import LONGEST
from fullcircle.ledger.splits import body
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.monitoring.journal import Journal
from fullcircle.settings import Settings
from fullcircle.stats.exceeding import evidence
from fullcircle.tables import predictions, requests
from fullcircle.types.durations import duration
from fullcircle.types.progress import Progress
from fullcircle.types.splits import (
    ALPHA,
    BUCKETS,
    LEAST,
    Ending,
    Kind,
    Seen,
    Shadowed,
    Split,
    SplitStatus,
    Step,
    text_of,
)

FOLDER = "splits"  # of the workspace: where servers write that a breaker opened
SHADOWS = "shadows"  # of the workspace: the log of shadows
MORE = 0.01
"""A version may leave so much more of its rows unanswered than twice what the champion does."""
_MINUTE = 60_000_000  # microseconds: what is counted beside the log is told by the minute


class _Trip(msgspec.Struct, frozen=True):
    reason: str


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
    VersionNotFound and SettingInvalid.
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
    steps = _steps(kind, shares, bake)
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
    _check_entity(session, model, (champion, number), entity)
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
) -> SplitStatus:
    """End the split of a model: the champion answers for all again. Raises StateConflict where there is none."""
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        end_in(session, model, reason)
        return status_in(session, model)


def end_in(session: Session, model: str, reason: str) -> None:
    """The same within an open session."""
    split = session.workspace.ledger.state().splits.get(model)
    if split is None:
        raise StateConflict(
            f"{model} has no split to end", received=model, next_step=f"see: fullcircle deploy {model} --status"
        )
    _end(session, split, "ended", reason)


def turn(project: str | Path, *, settings: Settings | None = None, progress: Progress | None = None) -> SplitStatus:
    """Take a turn of a model's split, where there is one, and say how it stands. See ``turn_in``."""
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        turn_in(session, model)
        return status_in(session, model)


def turns_in(session: Session, only: str = "") -> None:
    """Take a turn of every open split, or of one model's. What cannot be done now is told, and tried again."""
    for model in tuple(session.workspace.ledger.state().splits):
        if only not in ("", model):
            continue
        try:
            turn_in(session, model)
        except FullcircleError as error:
            session.progress.note(f"the split of {model} cannot go on at the moment: {error.what}")


def turn_in(session: Session, model: str) -> str:
    """Take a turn within an open session: take the version back, move on, or leave things as they are.

    Returns what was done, "" for nothing. A split ends when the champion is another one; with the version's promotion
    as "promoted". Raises what a promotion raises for lack of something that may come.
    """
    split = session.workspace.ledger.state().splits.get(model)
    if split is None:
        return ""
    champion = session.workspace.ledger.state().champions.get(model)
    if champion == split.version:
        return _end(session, split, "promoted", f"version {champion} is champion")
    if champion != split.champion:
        return _end(session, split, "ended", f"the champion changed from version {split.champion} to {champion}")
    if split.kind == "shadow":
        return ""
    harm = harm_of(session, split)
    if harm:
        return _end(session, split, "rolled_back", harm)
    return _onward(session, split) if split.kind == "canary" and _ripe(session, split) else ""


def status(project: str | Path, *, settings: Settings | None = None) -> SplitStatus:
    """How the split of a model stands. Changes nothing."""
    with opened(settings, create=False) as session:
        return status_in(session, model_name(session, project))


def status_in(session: Session, model: str) -> SplitStatus:
    """The same within an open session."""
    state = session.workspace.ledger.state()
    split, last = state.splits.get(model), state.split_ends.get(model)
    ended, reason = ("", "") if last is None else (str(last.body["action"]), str(last.body.get("reason") or ""))
    if split is None:
        text = f"{model} has no split" + (f"; the last one: {ended.replace('_', ' ')}, {reason}" if ended else "")
        return SplitStatus(model=model, text=text, ended=ended, reason=reason)
    if split.kind == "shadow":
        shadowed = shadowed_in(session, split)
        text = f"version {split.version} is a shadow of version {split.champion} since {split.started[:19]}: "
        text += f"{shadowed.rows:,} rows, of which {shadowed.lost:,} have no copy (yet)"
        return SplitStatus(model=model, split=split, text=text, shadowed=shadowed, ended=ended, reason=reason)
    seen, rival = (_seen(session, split, number) for number in (split.version, split.champion))
    text = f"version {split.version} gets {text_of(split.variant.high)} of {model} since {split.since[:19]}, "
    text += f"version {split.champion} the rest; it answered {seen.requests:,} requests"
    if split.kind == "canary":
        text += f". {_what_next(split, seen)}"
    return SplitStatus(model=model, split=split, text=text, version=seen, champion=rival, ended=ended, reason=reason)


def shadowed_in(session: Session, split: Split) -> Shadowed:
    """How many of the champion's rows a shadow has a copy of: both logs, row by row. Exact once traffic rests."""
    copies = {
        row.of for row in predictions.read(session.workspace.root / SHADOWS, split.model) if row.split == split.id
    }
    rows = lost = 0
    for row in predictions.read(session.workspace.predictions, split.model, since=split.started):
        if row.split == split.id:
            rows, lost = rows + 1, lost + (row.id not in copies)
    return Shadowed(rows=rows, lost=lost)


def harm_of(session: Session, split: Split) -> str:
    """Why the version of a split is to be taken back; "" where nothing is known against it."""
    tripped = session.workspace.root / FOLDER / f"{split.id}.json"
    if tripped.exists():
        try:
            return msgspec.json.decode(tripped.read_bytes(), type=_Trip).reason
        except msgspec.MsgspecError:
            return "its breaker opened, and the file that says why cannot be read"
    return _unanswered(session, split) or _risk(session, split)


def _unanswered(session: Session, split: Split) -> str:
    """Whether it rejects, or answers by a fallback, far more of its rows than the champion does.

    Requests are counted, each as the share of its rows: rows of one request have one cause, as a rule.
    """
    seen, rival = (_seen(session, split, number) for number in (split.version, split.champion))
    if not seen.rows or not seen.requests:
        return ""
    usual = (rival.unanswered + 1) / (rival.rows + 2)
    allowed = min(2 * usual + MORE, 0.9)
    bad = math.floor(seen.requests * seen.unanswered / seen.rows)
    if evidence(bad, seen.requests, allowed) < math.log(1 / ALPHA):
        return ""
    return (
        f"it rejected, or answered by a fallback, {seen.unanswered:,} of {seen.rows:,} rows; "
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


def _seen(session: Session, split: Split, version: int) -> Seen:
    """What is counted of a version since the step began, to the minute."""
    since = iso(max(0, (micros(split.since) or 0) - _MINUTE))
    (found,) = requests.read(session.workspace.predictions, split.model, [(since, iso(now() + _MINUTE))], version)
    verdicts = found.verdicts
    return Seen(
        requests=sum(known.count for status, known in found.requests.items() if status in (200, 422)),
        rows=sum(verdicts.values()),
        unanswered=verdicts.get("rejected", 0) + verdicts.get("fallback", 0),
    )


def _ripe(session: Session, split: Split) -> bool:
    """Whether the step is over: its time, and as many requests as it needs."""
    step = split.steps[split.place]
    over = now() - (micros(split.since) or 0) >= step.bake * 1_000_000
    return over and not split.last and _seen(session, split, split.version).requests >= split.least


def _onward(session: Session, split: Split) -> str:
    """The next step; 100 % is the promotion."""
    place = split.place + 1
    share = split.steps[place].share
    if share == BUCKETS:
        return _promoted(session, split)
    seen = _seen(session, split, split.version).requests
    known = {"model": split.model, "split": split.id, "place": place, "share": share, "requests": seen}
    with suppress(_Passed):
        session.record("split.moved", guard=_still(split), **known)
    write_served(session)
    told = f"version {split.version} of {split.model} gets {text_of(share)} from now on"
    session.progress.note(told)
    return told


def _promoted(session: Session, split: Split) -> str:
    """Through the gates, as anybody's promotion."""
    reason = f"the canary went well: {', '.join(text_of(step.share) for step in split.steps)}"
    try:
        going_back.make_ready(session, split.model, split.version)
        promote_in(session, split.model, split.version, reason, trigger="canary")
    except (GateFailed, StateConflict, ApprovalMissing) as error:
        champion = session.workspace.ledger.state().champions.get(split.model)
        if champion != split.version:  # else another process was faster
            return _end(session, split, "rolled_back", f"it may not be promoted: {error.what}")
    told = _end(session, split, "promoted", reason)
    going_back.follow(session, split.model)
    return told


def _end(session: Session, split: Split, action: Ending, reason: str) -> str:
    known = {"model": split.model, "split": split.id, "version": split.version, "action": action}
    with suppress(_Passed):
        session.record("split.ended", guard=_open(split), reason=reason[:LONGEST], **known)
    write_served(session)
    told = f"the split of {split.model} with version {split.version}: {action.replace('_', ' ')}, {reason}"
    session.progress.note(told)
    return told


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


def _what_next(split: Split, seen: Seen) -> str:
    if split.last:
        return "It stays at this share: end it, or promote the version"
    step, following = split.steps[split.place], split.steps[split.place + 1]
    name = "the promotion" if following.share == BUCKETS else text_of(following.share)
    at = iso((micros(split.since) or 0) + round(step.bake * 1_000_000))[:19]
    return f"Then comes {name}: not before {at}, and {split.least:,} requests"


def _steps(kind: Kind, shares: Sequence[str], bake: str) -> tuple[Step, ...]:
    if kind == "shadow":
        return ()
    try:
        seconds = duration(bake).total_seconds()
    except FullcircleError as error:
        raise SettingInvalid(
            "the bake time cannot be read", received=bake, allowed=error.allowed, next_step="say --bake 1h"
        ) from error
    found = [_share(text) for text in shares]
    most = BUCKETS if kind == "canary" and len(found) > 1 else BUCKETS - 1
    if not found or found != sorted(set(found)) or found[0] <= 0 or found[-1] > most or _several(kind, found):
        raise SettingInvalid(
            "these are no shares of what is asked",
            received=", ".join(shares) or "none",
            allowed="more than 0 % and below 100 % for a split; growing ones for a canary, at last 100%",
            next_step="say --split 50%, or --canary 5%,25%,100%",
        )
    return tuple(Step(share=share, bake=seconds) for share in found)


def _several(kind: Kind, found: Sequence[int]) -> bool:
    return kind == "split" and len(found) > 1


def _share(text: str) -> int:
    """A share such as "5%" as a number of buckets; -1 for what is none."""
    digits = text.strip().removesuffix("%").strip()
    if not text.strip().endswith("%") or not digits.replace(".", "", 1).isdecimal() or len(digits) > 10:
        return -1
    found = float(digits) * BUCKETS / 100
    return round(found) if abs(found - round(found)) < 1e-6 else -1


def _check_entity(session: Session, model: str, both: Sequence[int], entity: Sequence[str]) -> None:
    """Refuse columns that one of the versions does not know: its rows could not be assigned by them."""
    for number in both:
        contract = versions.bundle(session, model, number).contract
        known = (*contract.names, *contract.context)
        strange = [name for name in entity if name not in known]
        if strange:
            raise SettingInvalid(
                f"version {number} of {model} has no such column to assign rows by",
                received=", ".join(strange),
                allowed=", ".join(known),
                next_step="name columns of its rows with --entity, or leave it out: then the header X-Entity decides",
            )
