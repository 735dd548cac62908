"""What quarantine kept apart: seen by a person, and released by one, with name and reason.

A release is a fact about the rows that one decision kept apart. The next retraining learns from them without asking
quarantine; gates and challenge judge what comes of it as ever.
"""

from __future__ import annotations

from pathlib import Path

from fullcircle.errors import BlobMissing, SettingInvalid, StateConflict
from fullcircle.flows.admission import login
from fullcircle.flows.promote import spoken
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.flows.steps import step_of
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from fullcircle.types.loop import Apart, Release

_SHOWN = 10  # decisions that an error names


def quarantined(project: str | Path, *, settings: Settings | None = None) -> tuple[Apart, ...]:
    """The decisions by which rows of a model were kept apart, the latest first, each with these rows and why.

    ``project`` is a project path or a model's name. One whose step was deleted is left out.
    """
    with opened(settings, create=False) as session:
        return _all(session, model_name(session, project))


def release(project: str | Path, *, decision: int, reason: str, settings: Settings | None = None) -> Release:
    """Record that whoever runs this has looked at the rows that a decision kept apart: they may be learned from.

    ``decision`` is the number of its fact. Raises SettingInvalid for a reason that says nothing and for a decision
    that kept no rows apart, StateConflict where these rows were released already.
    """
    told, who = spoken(reason, "a release from quarantine"), login()
    with opened(settings, create=False) as session:
        model = model_name(session, project)
        known = {each.decision: each for each in _all(session, model)}
        if decision not in known:
            raise SettingInvalid(
                f"by this decision no rows of {model} were kept apart",
                received=decision,
                allowed=", ".join(map(str, list(known)[:_SHOWN])) or "none: no rows of this model were kept apart",
                next_step=f"see what was: fullcircle quarantine {model}",
            )
        rows = session.keep(known[decision].ids)

        def guard(state: State) -> None:
            earlier = _releases(state, model).get(decision)
            if earlier is not None:
                raise StateConflict(
                    f"the rows that decision {decision} kept apart were released already, in fact {earlier}",
                    received=decision,
                    next_step=f"learn from them: fullcircle retrain {project}",
                )

        body = {
            "model": model,
            "decision": decision,
            "rows": rows,
            "count": len(known[decision].ids),
            "reason": told,
            "login": who,
        }
        fact = session.workspace.ledger.append("rows.released", body, guard=guard)
        return Release(
            model=model,
            decision=decision,
            rows=len(known[decision].ids),
            reason=told,
            actor=fact.actor,
            login=who,
            time=fact.time,
            seq=fact.seq,
        )


def _all(session: Session, model: str) -> tuple[Apart, ...]:
    state = session.workspace.ledger.state()
    done, found = _releases(state, model), []
    for fact in state.decisions:
        step = step_of(session, fact) if fact.body["model"] == model else None
        if step is None or not step.apart:
            continue
        try:
            ids = session.recall(step.apart, tuple[str, ...])
        except BlobMissing:
            continue
        found.append(
            Apart(
                model=model,
                decision=fact.seq,
                at=fact.time,
                ids=ids,
                found=step.quarantine,
                reason="" if step.decision is None else step.decision.reason,
                released=done.get(fact.seq, 0),
            )
        )
    return tuple(reversed(found))


def _releases(state: State, model: str) -> dict[int, int]:
    """The facts by which rows were released, by the decision that had kept them apart."""
    return {int(fact.body["decision"]): fact.seq for fact in state.releases if fact.body["model"] == model}
