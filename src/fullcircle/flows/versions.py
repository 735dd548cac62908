"""Registered versions: what they are made of, and scorers that answer for them."""

from __future__ import annotations

from fullcircle.errors import VersionNotFound
from fullcircle.flows import consent, views
from fullcircle.flows.session import Session
from fullcircle.ledger.state import VersionState
from fullcircle.packaging import machine
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.loading import native
from fullcircle.packaging.loading import scorer as scorer_of
from fullcircle.runtimes.scorer import Scorer

_SCORERS = 4


def champion(session: Session, model: str) -> int:
    """The champion's version. Raises VersionNotFound where there is none."""
    found = session.workspace.ledger.state().champions.get(model)
    if found is None:
        raise VersionNotFound(
            f"{model} has no champion yet",
            received=model,
            allowed=", ".join(session.workspace.ledger.state().champions) or "none yet",
            next_step="run the project: fullcircle run PROJECT",
        )
    return found


def find(session: Session, model: str, version: int) -> VersionState:
    """What the ledger knows about a version."""
    known = session.workspace.ledger.state().versions.get(model, {})
    if version not in known:
        raise VersionNotFound(
            f"{model} has no version {version}",
            received=version,
            allowed=", ".join(str(number) for number in known) or "none yet",
            next_step="see: fullcircle status",
        )
    return known[version]


def bundle(session: Session, model: str, version: int) -> Bundle:
    """The bundle of a version, parsed and audited."""
    return open_bundle(session.workspace.blobs.get(find(session, model, version).bundle))


def kept_scorer(session: Session, model: str, version: int) -> Scorer:
    """The scorer of a version, kept in the session: for one that is asked again and again. A few are kept."""
    key = find(session, model, version).bundle
    if key not in session.scorers:
        while len(session.scorers) >= _SCORERS:
            del session.scorers[next(iter(session.scorers))]
        session.scorers[key] = scorer(session, model, version)
    found: Scorer = session.scorers[key]
    return found


def scorer(session: Session, model: str, version: int, *, online: bool = False) -> Scorer:
    """A scorer that answers exactly as the packaged version does.

    With ``online`` it answers as a server does: it looks up the features that a row does not bring along, where the
    version has a feature view, and the champion before stands in for the champion where a policy says "fallback".
    """
    scorer = _alone(session, model, version, online=online)
    if online:
        history = session.workspace.ledger.state().history.get(model, ())
        if len(history) > 1 and history[-1] == version:
            scorer.fallback = _alone(session, model, history[-2], online=True)
    return scorer


def fitted(session: Session, model: str, version: int) -> Scorer:
    """The scorer of a version with its fitted model, which a compiled form answers without; for explanations."""
    found = scorer(session, model, version)
    if found.model is None:
        known = find(session, model, version).bundle
        found.model = native(
            bundle(session, model, version), session.folder("code"), allow_pickle=consent.given(session, known)
        )
    return found


def _alone(session: Session, model: str, version: int, *, online: bool) -> Scorer:
    """The scorer of a version that nobody stands in for."""
    found, digest = bundle(session, model, version), find(session, model, version).bundle
    machine.check_python(found.manifest.python)
    return scorer_of(
        found,
        session.folder("code"),
        version=version,
        digest=digest,
        enrich=views.enricher(session, found) if online else None,
        allow_pickle=consent.given(session, digest),
    )
