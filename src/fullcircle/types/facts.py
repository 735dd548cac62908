"""Facts: what the ledger holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of the ledger. ``hash`` covers ``previous`` and everything else, so the chain shows any change.

    ``seq`` counts from 1 without gaps, ``time`` is UTC, ISO 8601, ``actor`` who did it.
    """

    seq: int
    time: str
    actor: str
    kind: str
    body: Mapping[str, Any]
    previous: str
    hash: str


# The fields each kind of fact may carry. Digests, names, counts and figures only: no value of any row.
FACTS: Mapping[str, tuple[str, ...]] = {
    "ledger.created": ("ledger", "format"),
    "snapshot.created": ("model", "snapshot", "rows", "columns", "source", "parent"),
    "run.finished": (
        "model",
        "run",
        "snapshot",
        "code",
        "candidate",
        "metric",
        "value",
        "draft",
        "view",
        "definition",
        "login",
    ),
    "report.recorded": ("model", "run", "report", "passed", "champion"),
    "tests.recorded": ("model", "run", "version", "bundle", "tests", "passed", "cases", "failed"),
    "bundle.built": ("model", "run", "bundle", "bytes"),
    "pickle.allowed": ("model", "run", "bundle"),
    "bundle.proven": ("model", "bundle", "proof", "same_bits"),
    "version.registered": (
        "model",
        "version",
        "run",
        "bundle",
        "report",
        "snapshot",
        "proof",
        "approve",
        "provenance",
        "attestations",
        "login",
    ),
    "version.approved": ("model", "version", "report", "reason", "login", "key"),
    "version.promoted": ("model", "version", "previous", "reason", "report", "trigger", "step"),
    "version.rolled_back": ("model", "version", "previous", "reason", "trigger", "step"),
    "version.reproduced": ("model", "version", "same", "parted"),
    "decision.taken": (
        "model",
        "action",
        "version",
        "previous",
        "reason",
        "report",
        "window",
        "trigger",
        "step",
    ),
    "split.started": (
        "model",
        "split",
        "mode",
        "champion",
        "version",
        "salt",
        "entity",
        "steps",
        "bake",
        "least",
    ),
    "split.moved": ("model", "split", "place", "share", "requests", "p50", "champion_p50"),
    "split.ended": ("model", "split", "version", "action", "reason"),
    "experiment.started": ("model", "split", "plan", "version", "metric"),
    "experiment.stopped": ("model", "split", "verdict", "version", "action", "reason"),
    "rows.released": ("model", "decision", "rows", "count", "reason", "login"),
    "deployment.started": ("model", "version", "bundle", "target", "url"),
    "deployment.stopped": ("model", "target", "reason"),
    "window.monitored": ("workspace", "model", "version", "window", "name", "rows", "labelled", "alarms"),
    "alarm.raised": (
        "workspace",
        "model",
        "version",
        "alarm",
        "detector",
        "severity",
        "since",
        "window",
        "feature",
        "distance",
        "level",
        "threshold",
    ),
    "alarm.resolved": ("workspace", "model", "version", "alarm", "window"),
    "alarm.acknowledged": ("workspace", "model", "version", "alarm", "reason"),
    "alarm.untold": ("workspace", "model", "version", "alarm", "address", "messages", "reason"),
    "rows.backfilled": ("table", "batch", "rows", "commit"),
    "view.registered": ("view", "definition", "blob", "tables", "columns"),
    "view.published": ("view", "definition", "keys", "rebuilt"),
    "training_set.built": ("view", "definition", "key", "blob", "rows", "versions"),
    "view.verified": ("view", "definition", "since", "predictions", "compared", "mismatches", "missing", "extra"),
    "segment.closed": ("workspace", "model", "segment", "rows", "first", "last", "torn", "bytes", "digest"),
    "segment.compacted": ("workspace", "model", "segment", "rows", "bytes", "digest", "source"),
    "predictions.erased": (
        "workspace",
        "model",
        "segment",
        "rows",
        "digest",
        "source",
        "reason",
        "mark",
        "ids",
    ),
    "predictions.exported": ("workspace", "model", "rows", "since", "until", "digest", "reason"),
    "key.created": ("id", "name", "role", "digest", "models", "verbs", "expires", "rate", "body"),
    "key.revoked": ("id", "name", "reason"),
    "issuer.added": ("issuer", "audience", "algorithm", "keys", "claim", "roles", "rate", "body"),
    "issuer.removed": ("issuer", "reason"),
    "blob.deleted": ("digest", "reason"),
    "reconciled": ("model", "what"),
}
