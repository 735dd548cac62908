"""What happened under a policy, told from the facts of its workspace: each as it was known at its moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fullcircle.errors import BlobMissing
from fullcircle.flows.session import Session
from fullcircle.monitoring.grid import iso
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Step, Told
from fullcircle.types.monitoring import Alarm, Window


def told(session: Session, model: str, since: int) -> tuple[Told, ...]:
    """The story of a model, in order. Decisions carry their step, alarms are as they were when they were raised."""
    return tuple(_each(session, model, iso(since)))


def counts(session: Session, model: str) -> Mapping[str, int]:
    """How many trainings, promotions, rollbacks and alarms there were after the first version."""
    kinds = {"run.finished": "trained", "version.promoted": "promoted", "version.rolled_back": "rolled_back"}
    kinds["alarm.raised"] = "alarms"
    found = dict.fromkeys(kinds.values(), 0)
    for fact in session.workspace.ledger.facts():
        if fact.kind in kinds and fact.body.get("model") == model:
            found[kinds[fact.kind]] += 1
    found["trained"] -= 1  # the first version is no retraining
    found["promoted"] -= 1
    return found


def made(session: Session, model: str) -> Mapping[int, str]:
    """When each version was registered (UTC, ISO 8601), by number."""
    facts = session.workspace.ledger.facts("version.registered")
    return {int(fact.body["version"]): fact.time for fact in facts if fact.body["model"] == model}


def _each(session: Session, model: str, since: str) -> Iterator[Told]:
    alarms: dict[str, Alarm] = {}
    first = True
    for fact in session.workspace.ledger.facts():
        body = fact.body
        if body.get("model") != model:
            continue
        if fact.kind == "decision.taken" and first:
            first = False
            yield Told(at=since, kind="start", text=str(body["reason"]), version=int(body["version"]))
        elif fact.kind == "decision.taken":
            yield _decided(session, fact)
        elif fact.kind == "alarm.raised":
            found = _alarm(session, fact)
            alarms[body["alarm"]] = found
            yield Told(at=fact.time, kind="alarm", text=found.text, version=found.version, alarm=found)
        elif fact.kind == "alarm.resolved":
            known = alarms.get(body["alarm"])
            if known is not None:
                over = replace(known, state="resolved", resolved=fact.time)
                yield Told(at=fact.time, kind="resolved", text=known.text, version=known.version, alarm=over)


def _decided(session: Session, fact: Fact) -> Told:
    body, step = fact.body, None
    if body.get("step"):
        with suppress(BlobMissing):
            # Which rows were kept apart is told by names drawn at random: the same history has other ones each time.
            step = replace(session.recall(str(body["step"]), Step), apart="")
    action = str(body["action"])
    reason = str(body["reason"]) if step is None or step.decision is None else step.decision.reason
    version = body.get("version")
    kind: Any = action if action in ("promote", "rollback") else "hold"
    number = None if version is None else int(version)
    return Told(at=fact.time, kind=kind, text=reason, version=number, step=step)


def _alarm(session: Session, fact: Fact) -> Alarm:
    window = session.recall(str(fact.body["window"]), Window)
    found = next(alarm for alarm in window.alarms if alarm.id == fact.body["alarm"])
    return replace(found, link="", told="")  # where its page is differs from machine to machine
