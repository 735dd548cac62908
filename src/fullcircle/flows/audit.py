"""Audit: does the ledger still say what was written, and are the things it names still there?"""

from __future__ import annotations

from fullcircle.flows.session import opened
from fullcircle.ledger.audit import Audit
from fullcircle.ledger.audit import audit as check
from fullcircle.settings import Settings


def audit(*, settings: Settings | None = None) -> Audit:
    """Verify the chain, your signed checkpoints and every blob that a fact names."""
    with opened(settings, create=False, verify=False) as session:
        return check(session.workspace)
