"""Does the ledger hold, does it agree with your checkpoints, and are the blobs it names what it says?"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fullcircle.errors import BlobCorrupt, BlobMissing
from fullcircle.ledger.blobs import Blobs, is_digest
from fullcircle.ledger.chain import AuditProblem, examine
from fullcircle.ledger.checkpoint import Checkpoint, Checkpoints
from fullcircle.ledger.state import STORED
from fullcircle.ledger.store import Line
from fullcircle.ledger.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit looked at and found. Without ``checkpoints`` of yours, a cut-off end cannot be seen."""

    facts: int
    checkpoints: int
    blobs: int
    problems: tuple[AuditProblem, ...]

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.problems


def audit(workspace: Workspace) -> Audit:
    """Check a workspace against itself and against your checkpoints. Changes nothing, needs no right to write."""
    ledger = workspace.ledger
    lines = tuple(ledger.lines())
    good, bad = Checkpoints(workspace.config).read(ledger.id) if ledger.id else ((), ())
    chain = examine(lines, _marks(good))
    named, tombs = _blobs_of(lines)
    problems = [
        *_foreign(lines, ledger.id),
        *chain,
        *(AuditProblem(kind="checkpoint", seq=0, text=text) for text in bad),
        *_check_blobs(workspace.blobs, named, tombs),
    ]
    return Audit(facts=len(lines), checkpoints=len(good), blobs=len(named), problems=tuple(problems))


def _marks(checkpoints: Iterable[Checkpoint]) -> Mapping[int, frozenset[str]]:
    marks: dict[int, set[str]] = defaultdict(set)
    for checkpoint in checkpoints:
        marks[checkpoint.seq].add(checkpoint.hash)
    return {seq: frozenset(hashes) for seq, hashes in marks.items()}


def _foreign(lines: Sequence[Line], id: str) -> list[AuditProblem]:
    if not lines or lines[0].seq != 1 or not id or _body(lines[0]).get("ledger") == id:
        return []
    return [
        AuditProblem(kind="rewritten", seq=1, text="this is another ledger than the one the workspace began with")
    ]


def _blobs_of(lines: Sequence[Line]) -> tuple[dict[str, int], dict[str, int]]:
    """The digests that facts say were stored and not deleted since, and the deleted ones, each with a fact's seq."""
    named: dict[str, int] = {}
    tombs: dict[str, int] = {}
    for line in lines:
        body = _body(line)
        for field in STORED.get(line.kind, ()):
            digest = body.get(field)
            if isinstance(digest, str) and (is_digest(digest) or field != "window"):
                tombs.pop(digest, None)
                named.setdefault(digest, line.seq)
        if line.kind == "blob.deleted" and isinstance(body.get("digest"), str):
            tombs[body["digest"]] = line.seq
            named.pop(body["digest"], None)
    return named, tombs


def _check_blobs(blobs: Blobs, named: Mapping[str, int], tombs: Mapping[str, int]) -> list[AuditProblem]:
    found = []
    for digest, seq in named.items():
        try:
            blobs.get(digest)
        except BlobMissing:
            text = f"the blob {digest} that fact {seq} names is gone, and no fact says it was deleted"
            found.append(AuditProblem(kind="blob", seq=seq, text=text))
        except BlobCorrupt:
            text = f"the blob {digest} that fact {seq} names was changed: its content has another digest"
            found.append(AuditProblem(kind="blob", seq=seq, text=text))
    for digest, seq in tombs.items():
        if blobs.exists(digest):
            text = f"the blob {digest} was deleted by fact {seq} and is still stored"
            found.append(AuditProblem(kind="blob", seq=seq, text=text))
    return found


def _body(line: Line) -> Mapping[str, Any]:
    try:
        body = json.loads(line.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
