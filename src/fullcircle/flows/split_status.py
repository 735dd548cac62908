"""How a split stands, in numbers and in words. Changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from fullcircle.deployment import client
from fullcircle.errors import FullcircleError
from fullcircle.flows import admission, deploy, foreground, versions
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.flows.splitting import MINUTE, SHADOWS, both_seen, pace
from fullcircle.monitoring.grid import iso, micros
from fullcircle.settings import Settings
from fullcircle.tables import predictions, trips
from fullcircle.types.splits import BUCKETS, Shadowed, Split, SplitStatus, text_of


def status(project: str | Path, *, settings: Settings | None = None) -> SplitStatus:
    """How the split of a model stands."""
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
        text += f"{shadowed.rows:,} rows, of which {shadowed.lost:,} have no copy (yet){_unasked(session, split)}"
        return SplitStatus(model=model, split=split, text=text, shadowed=shadowed, ended=ended, reason=reason)
    whole, rival = both_seen(session, split, since=split.started, before=MINUTE)
    seen, paces = whole, pace(whole, rival)
    text = f"version {split.version} gets {text_of(split.variant.high)} of {model} since {split.since[:19]}, "
    text += f"version {split.champion} the rest; it answered {whole.requests:,} requests"
    if split.kind == "canary":
        seen, rival = both_seen(session, split)
        text += f", {seen.requests:,} of which count for this step"
    text += paces and f"; {paces}"
    if tripped := _tripped(session, split):
        text += f". It is asked no more: {tripped}. The next turn takes it back. {_who(session, 'a turn')}"
    else:
        text += _unasked(session, split)
        text += f". {_what_next(session, split)}" if split.kind == "canary" else ""
    return SplitStatus(
        model=model,
        split=split,
        text=text,
        version=seen,
        champion=rival,
        answered=whole.requests,
        ended=ended,
        reason=reason,
    )


def line(session: Session, model: str) -> str:
    """The split of a model, or how the last one ended, in a sentence that costs no look at logs; "" without one."""
    state = session.workspace.ledger.state()
    split, last = state.splits.get(model), state.split_ends.get(model)
    if split is None:
        if last is None:
            return ""
        ended = str(last.body["action"]).replace("_", " ")
        told = f"the last split, with version {last.body.get('version')}, ended at {last.time[:19]}: {ended}"
        return told if ended == "promoted" else f"{told}, {last.body.get('reason') or 'without a reason'}"
    begun = state.experiment(model)
    experiment = begun is not None and begun.body["split"] == split.id
    what = f"{'experiment with a ' if experiment else ''}{split.kind} of version {split.version}"
    share = "" if split.kind == "shadow" else f", which gets {text_of(split.variant.high)}"
    if tripped := _tripped(session, split):
        share = f", which is asked no more: {tripped}"
    more = f"experiment status {model}" if experiment else f"deploy {model} --status"
    return f"{what} since {split.started[:19]}{share}; see: fullcircle {more}"


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


def _tripped(session: Session, split: Split) -> str:
    """Why a breaker opened that no turn has turned into a fact yet; "" where none did."""
    try:
        found = trips.read(session.workspace.root / trips.FOLDER, split.id)
    except OSError as error:
        return f"its breaker opened, and the file that says why cannot be read ({error.strerror})"
    return "" if found is None else found.reason


def _who(session: Session, what: str) -> str:
    """Who takes turns."""
    serving = foreground.running(session)
    if serving is not None:
        return f"fullcircle serve, at {serving.text}, takes {what}"
    return (
        f"fullcircle serve takes {what}, or fullcircle monitor PROJECT --every 10m; the server of a deployment alone "
        "does not"
    )


def _what_next(session: Session, split: Split) -> str:
    if split.last:
        return "It stays at this share: end it, or promote the version"
    step, following = split.steps[split.place], split.steps[split.place + 1]
    name = "the promotion" if following.share == BUCKETS else text_of(following.share)
    at = iso((micros(split.since) or 0) + round(step.bake * 1_000_000))[:19]
    return f"Then comes {name}: not before {at}, and {split.least:,} requests. {_who(session, 'that step')}"


def _unasked(session: Session, split: Split) -> str:
    """That nobody asks the version, where that is so, and why; "" where servers do."""
    try:
        entry = json.loads(session.workspace.served.read_bytes())["models"][split.model]
        named = bool(entry["split"]["id"] == split.id and entry["others"])
    except (OSError, ValueError, KeyError):
        named = False
    if named:
        return _unloaded(session, split)
    try:
        versions.bundle(session, split.model, split.version)
    except FullcircleError as error:
        return f". Nobody asks it: {error.what}. End the split, or restore the workspace from a copy"
    return ". Nobody asks it yet: served.json does not name it, which the next turn mends: fullcircle monitor PROJECT"


def _unloaded(session: Session, split: Split) -> str:
    """Why the server that runs here cannot ask the version; "" where it can, or does not say."""
    serving = foreground.running(session)
    url = deploy.url_of(session, split.model) or (serving.url if serving is not None else "")
    door = admission.door(session)
    if not url or (admission.required(session) and not door.token):  # without a key nothing is told but a refusal
        return ""
    try:
        served = client.models(url, door=door)
    except FullcircleError:  # a server that cannot be asked is told of where its own state is
        return ""
    for one in served:
        if one.name == split.model and one.split is not None and one.split.id == split.id:
            why = "; ".join(each.problem for each in one.split.others if each.problem)
            return f". The server does not ask it: {why}; its log says more" if why else ""
    return ""
