"""Audit: does the ledger still say what was written, and are the things it names still there?"""

from __future__ import annotations

from dataclasses import replace

from fullcircle.features import auditing
from fullcircle.flows.session import opened
from fullcircle.ledger.audit import Audit
from fullcircle.ledger.audit import audit as check
from fullcircle.ledger.chain import AuditProblem
from fullcircle.settings import Settings


def audit(*, settings: Settings | None = None) -> Audit:
    """Verify the chain, your signed checkpoints, every blob that a fact names, and the feature tables."""
    with opened(settings, create=False, verify=False) as session:
        found = check(session.workspace)
        if found.problems:
            return found  # a ledger that does not hold says nothing about tables
        facts = session.workspace.ledger.facts("training_set.built")
        logs = [session.features.log(spec) for spec in session.features.tables().values()]
        wrong = [
            AuditProblem(kind="features", seq=one.seq, text=f"{one.table}: {one.text}")
            for one in auditing.problems(logs, facts)
        ]
        return replace(found, problems=tuple(wrong))
