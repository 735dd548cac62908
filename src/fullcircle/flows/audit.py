"""Audit: does the ledger still say what was written, and are the things it names still there?"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from fullcircle.features import auditing
from fullcircle.flows import attestations, log
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.audit import Audit
from fullcircle.ledger.audit import audit as check
from fullcircle.ledger.chain import AuditProblem
from fullcircle.settings import Settings
from fullcircle.tables import compaction, segments
from fullcircle.types.facts import Fact

PATIENCE = 600.0  # seconds to wait for a process that compacts or erases


def audit(*, settings: Settings | None = None) -> Audit:
    """Verify the chain, your checkpoints, all that facts name (blobs, tables, segments), and signed attestations."""
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
        return replace(found, problems=(*attestations.problems(session), *wrong, *segment_problems(session)))


def segment_problems(session: Session) -> list[AuditProblem]:
    """Closed segments of this workspace's prediction log that are gone, or other than their latest fact says."""
    known = log.facts_of(session)
    folder = session.workspace.predictions
    if not folder.is_dir():
        return [_problem(fact, "is gone") for fact in known.values()]
    lock = segments.settling(folder, patience=PATIENCE) if session.workspace.writable else nullcontext()
    with lock:
        known = log.facts_of(session)  # what another process was at is done now
        found = [_problem(fact, text) for fact in known.values() if (text := _wrong(folder, fact))]
        for model in segments.models(folder):
            for path in sorted((folder / model).glob(f"*{segments.COMPACTED}")):
                if (model, path.stem) not in known:
                    text = f"{model}: {path.name} is in the prediction log, and no fact speaks of it"
                    found.append(AuditProblem(kind="predictions", seq=0, text=text))
    return found


def _wrong(folder: Path, fact: Fact) -> str:
    """What is wrong with a segment, as the end of a sentence; "" where nothing is."""
    home, name, digest = folder / str(fact.body["model"]), str(fact.body["segment"]), fact.body["digest"]
    lines, done = home / f"{name}{segments.LINES}", home / f"{name}{segments.COMPACTED}"
    file = lines if lines.exists() else done
    if not file.exists():
        return "is gone"
    found = compaction.digest_of(file)
    if found == digest:
        return _wrong_index(home, name) if file == done else ""
    if found != fact.body.get("source") or not _waits(home, name, str(digest), file):
        return "was altered: its file has another digest"
    if fact.kind == log.ERASED:
        return "holds rows that were to be erased: a crash came between; finish it with fullcircle log --settle"
    return ""


def _wrong_index(home: Path, name: str) -> str:
    """What is wrong with the index of a compacted segment that is as its fact says; "" where nothing is."""
    index = home / f"{name}{segments.INDEX}"
    if not index.exists():
        return f"has no index: fullcircle log --settle makes {index.name} again"
    if index.read_bytes() == compaction.index_for(home, name):
        return ""
    return f"has an index that was altered: take {index.name} away, and fullcircle log --settle makes it again"


def _waits(home: Path, name: str, digest: str, file: Path) -> bool:
    """Whether what the fact speaks of is there, and a crash kept it from taking the place of ``file``."""
    done = home / f"{name}{segments.COMPACTED}"
    new = home / f"{done.name}{segments.NEW}"
    return any(path != file and path.exists() and compaction.digest_of(path) == digest for path in (new, done))


def _problem(fact: Fact, text: str) -> AuditProblem:
    name = f"segment {fact.body['segment']} of the predictions of {fact.body['model']}"
    return AuditProblem(kind="predictions", seq=fact.seq, text=f"{name} {text}")
