"""Consent to models whose files run code when they are loaded: recorded in the ledger, told wherever it matters.

``allow_pickle=True`` in a project file is where somebody consents. The fact ``pickle.allowed`` says for which run and
which bundle, and whose fact it is who consented. Every way to a version's model asks the ledger, never the file.
"""

from __future__ import annotations

from fullcircle.flows import drafts
from fullcircle.flows.session import Session
from fullcircle.types.facts import Fact

NOTE = (
    "the model is kept as a file that runs code when it is loaded (a pickle); allow_pickle=True in the project file "
    "consented to that"
)


def record(session: Session, draft: drafts.Draft, bundle: str | None = None) -> None:
    """Write down the consent that a draft was made with; nothing where its model file runs no code.

    ``bundle`` is the digest that the ledger names the bundle by, None while there is none yet.
    """
    if draft.pickled:
        session.record("pickle.allowed", model=draft.model, run=draft.run, bundle=bundle)


def given(session: Session, bundle: str) -> bool:
    """Whether somebody consented to this bundle, by the digest that the ledger names it by."""
    return bundle in session.workspace.ledger.state().consents


def of(session: Session, bundle: str) -> Fact | None:
    """The latest fact of consent to a bundle, None where there is none."""
    found = [fact for fact in session.workspace.ledger.facts("pickle.allowed") if fact.body.get("bundle") == bundle]
    return found[-1] if found else None


def notes(draft: drafts.Draft) -> tuple[str, ...]:
    """What every report on a run says of its model file."""
    return (NOTE,) if draft.pickled else ()
