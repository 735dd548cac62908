"""Would the version before have done better? It answers each labelled row again, once, when its label counts.

That is within the step of the journal in which the label is counted, so that no row is missed or taken twice,
whenever a process is killed, and labels that come early do not count before others of their age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from fullcircle.errors import FullcircleError
from fullcircle.flows import versions
from fullcircle.flows.counting import Turn
from fullcircle.flows.session import Session
from fullcircle.flows.standing import by_itself
from fullcircle.flows.subjects import in_order
from fullcircle.monitoring import losses
from fullcircle.monitoring.journal import Journal
from fullcircle.monitoring.profiles import chances_of, objects
from fullcircle.packaging.bundle import Bundle
from fullcircle.retraining.regret import Regret
from fullcircle.types.contract import Value
from fullcircle.types.monitoring import Decision
from fullcircle.types.prediction import Prediction

KEY = "regret"


class Kept(msgspec.Struct, frozen=True):
    """What is known of a champion beside the version before it; ``since`` is the fact that made it champion."""

    champion: int
    before: int
    since: int
    state: dict[str, float]


def pair_of(session: Session, model: str) -> tuple[int, int, int] | None:
    """The champion, the version before it and the fact that made it champion; None where nobody would go back.

    Only a champion that the loop or a retraining promoted is taken back: a person's choice is a person's.
    """
    state = session.workspace.ledger.state()
    history = state.history.get(model, ())
    if len(history) < 2 or not by_itself(session, model):
        return None
    return history[-1], history[-2], state.promotions[model]


def known(journal: Journal, pair: tuple[int, int, int]) -> Regret:
    """What was found so far."""
    text = journal.get(KEY)
    if text is None:
        return Regret()
    kept = msgspec.json.decode(text, type=Kept)
    return Regret.of(kept.state) if (kept.champion, kept.before, kept.since) == pair else Regret()


def learn(turn: Turn, version: int, found: Bundle, pairs: Sequence[tuple[Prediction, Value]]) -> None:
    """Let the version before answer rows whose label counts now, within an open step of the journal.

    Where it cannot answer, that is told, and monitoring goes on.
    """
    pair = pair_of(turn.session, turn.model)
    loss = found.profile.loss
    if pair is None or pair[0] != version or loss is None:
        return
    rows = [(row, label) for row, label in pairs if row.value is not None and row.inputs is not None]
    rows = [(row, label) for row, label in rows if label is not None and not row.answered_by]
    if not rows:
        return
    try:
        other = _answers(turn, pair[1], [row for row, _ in rows], found)
    except FullcircleError as error:
        turn.tell(f"version {pair[1]} cannot answer beside version {version}: {error.what}")
        return
    actual = objects([label for _, label in rows])
    shares = chances_of(found.contract, [row.probabilities for row, _ in rows])
    own = losses.realised(loss, found.contract, objects([row.value for row, _ in rows]), shares, actual)
    before = losses.realised(loss, found.contract, *other, actual)
    grown = known(turn.journal, pair).add(own, before)
    kept = Kept(champion=pair[0], before=pair[1], since=pair[2], state=grown.state())
    turn.journal.put(KEY, msgspec.json.encode(kept).decode())


def _answers(turn: Turn, before: int, rows: Sequence[Prediction], found: Bundle) -> tuple[Any, Any]:
    """The answers of the version before to logged rows, with its probabilities in the champion's order of classes."""
    scorer = versions.kept_scorer(turn.session, turn.model, before)
    given = scorer.score([{**(row.inputs or {}), **(row.context or {})} for row in rows])
    own = [
        each if each.inputs is not None and not each.answered_by else replace(each, value=None, probabilities=None)
        for each in given
    ]
    shares = in_order(scorer.contract, scorer.probabilities(own), found.contract.classes)
    return np.asarray(scorer.values(own)), shares


def worse(session: Session, journal: Journal, model: str) -> Decision | None:
    """The way back where the champion has done worse than the version before would have; else None."""
    pair = pair_of(session, model)
    if pair is None:
        return None
    found = known(journal, pair)
    if not found.worse():
        return None
    reason = f"realised harm: version {pair[0]} is {found.text(pair[1])}"
    return Decision(action="rollback", model=model, version=pair[1], previous=pair[0], reason=reason)
