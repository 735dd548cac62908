"""Make MLflow's mirror and the served file agree with the ledger. The ledger's facts decide, always.

Order of every promotion: MLflow's version as pending, the fact, the alias, the served file. A process that died
in between left the later ones behind; they are caught up here. An alias that was moved by hand is reported and
left as it is: the ledger does not adopt it, and the next promotion sets it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.errors import FullcircleError, TrackingUnavailable, VersionNotFound, WorkspaceBusy
from fullcircle.flows import admission, consent
from fullcircle.flows.session import Session
from fullcircle.ledger.folder import locked, replace_file

SHARED_AGE = 600.0  # seconds after which a pending version in a shared MLflow counts as unfinished


def reconcile(session: Session) -> tuple[str, ...]:
    """Catch up what a crash left behind. Returns one sentence per thing found.

    A workspace that may only be read is left as it is.
    """
    if not session.workspace.writable:
        return ()
    state = session.workspace.ledger.state()
    found = _deleted(session)
    # A training that was cut short left a run in MLflow, a registration a version, and only a snapshot here.
    begun = {str(fact.body["model"]) for fact in session.workspace.ledger.facts("snapshot.created")}
    for model in sorted(begun | set(state.versions)):
        try:
            found += [f"run {run[:12]} of {model} was killed" for run in session.tracking.end_dead(model)]
            found += _versions(session, model)
            if model in state.champions:
                found += _alias(session, model)
        except (TrackingUnavailable, VersionNotFound) as error:
            found.append(
                f"MLflow at {_without_password(session.workspace.mlflow_uri)} does not agree with the ledger on "
                f"{model}: {error.what}. The ledger decides; is this the MLflow it was made with (setting mlflow)?"
            )
    write_served(session, mend=True)
    session.notes.extend(found)
    for text in found:
        session.progress.note(text)
    return tuple(found)


def _versions(session: Session, model: str) -> list[str]:
    try:
        with registering(session, timeout=0.0):
            return _unfinished(session, model)
    except WorkspaceBusy:
        return []  # another process registers a version at this moment; it is not unfinished


@contextmanager
def registering(session: Session, *, timeout: float) -> Iterator[None]:
    """While a version is between MLflow's pending and its confirmation, no other process may call it unfinished."""
    with locked(session.workspace.root / "registering.lock", timeout):
        yield


def _unfinished(session: Session, model: str) -> list[str]:
    # In a shared MLflow another member may be at work, whom our lock does not hold back.
    age = SHARED_AGE if session.settings["mlflow"] else 0.0
    known = session.workspace.ledger.state().versions.get(model, {})
    found = []
    for version in session.tracking.pending(model, older_than=age):
        if version in known:
            session.tracking.confirm(model, version, known[version].seq)
            text = f"{model} version {version} was registered and is now confirmed in MLflow"
        else:
            session.tracking.abandon(model, version)
            text = f"{model} version {version} in MLflow was never finished and is now marked abandoned"
        session.record("reconciled", model=model, what=text)
        found.append(text)
    return found


def _alias(session: Session, model: str) -> list[str]:
    state = session.workspace.ledger.state()
    champion, seq = state.champions[model], state.promotions[model]
    alias, alias_seq = session.tracking.alias(model)
    if alias == champion and alias_seq == seq:
        return []
    if alias_seq is None or alias_seq < seq:
        session.tracking.set_champion(model, champion, seq)
        text = f"MLflow's alias champion of {model} lagged behind and now points at version {champion}"
        session.record("reconciled", model=model, what=text)
        return [text]
    return [
        f"MLflow's alias champion of {model} was moved by hand to version {alias}; the ledger says {champion}. "
        f"It is not adopted. To change the champion: fullcircle promote {model} --version N"
    ]


def write_served(session: Session, *, mend: bool = False) -> Path:
    """Write the files that servers of this workspace follow: each champion, the one before, and where they lie; and
    who may ask.

    With ``mend`` a bundle that was altered since is written again from the blob store.
    """
    admission.write(session)
    with locked(session.workspace.root / "served.lock", 60.0):  # an older state must not overwrite a newer one
        return _write_served(session, mend)


def _write_served(session: Session, mend: bool) -> Path:
    state = session.workspace.ledger.state()
    models: dict[str, Any] = {}
    for model, version in state.champions.items():
        models[model] = _entry(session, model, version, mend)
        if len(state.history[model]) > 1:
            models[model]["previous"] = _entry(session, model, state.history[model][-2], mend)
        models[model] |= _split(session, model, version, mend)
    content = json.dumps({"models": models}, indent=1, sort_keys=True).encode()
    served = session.workspace.served
    if not served.exists() or served.read_bytes() != content:
        replace_file(served, content)
    return served


def _split(session: Session, model: str, champion: int, mend: bool) -> dict[str, Any]:
    """What stands beside the champion, where anything does: nothing of that keeps a champion from being served."""
    split = session.workspace.ledger.state().splits.get(model)
    if split is None or split.champion != champion or split.version == champion:
        return {}
    try:
        entry = _entry(session, model, split.version, mend)
    except FullcircleError as error:
        session.progress.note(f"version {split.version} of {model} cannot stand beside the champion: {error.what}")
        return {}
    variant = split.variant
    part = {"shadow": True} if variant.shadow else {"low": variant.low, "high": variant.high}
    way = {"id": split.id, "salt": split.salt, "entity": list(split.entity)}
    return {"split": way, "others": [entry | part]}


def _entry(session: Session, model: str, version: int, mend: bool) -> dict[str, Any]:
    """A version as the file names it; its bundle is laid out beside.

    ``pickle`` stands there only where the ledger holds consent to a model file that runs code when it is loaded.
    """
    digest = session.workspace.ledger.state().versions[model][version].bundle
    path = session.folder("bundles") / f"{digest}.zip"
    if not path.exists() or (mend and hashlib.sha256(path.read_bytes()).hexdigest() != digest):
        replace_file(path, session.workspace.blobs.get(digest))
    consented = {"pickle": True} if consent.given(session, digest) else {}
    return {"version": version, "bundle": digest, "path": str(path), **consented}


def _deleted(session: Session) -> list[str]:
    """A deletion is recorded before it is done, so one that was cut short is finished here."""
    left = [digest for digest in session.workspace.ledger.state().deleted if session.workspace.blobs.exists(digest)]
    for digest in left:
        session.workspace.blobs.delete(digest)
    return [f"the blob {digest[:12]} was to be deleted and is now gone" for digest in left]


def _without_password(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
