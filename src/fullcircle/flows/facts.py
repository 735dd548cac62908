"""What happened, as the ledger tells it: who did what, and when."""

from __future__ import annotations

from collections import deque

from fullcircle.errors import SettingInvalid
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables.lines import moment
from fullcircle.types.facts import FACTS, Fact

LAST = 50


def facts(
    kind: str = "",
    *,
    model: str = "",
    since: str = "",
    last: int | None = LAST,
    settings: Settings | None = None,
) -> tuple[Fact, ...]:
    """The ``last`` facts of the ledger (None: all), the earliest first, each verified against the one before it.

    ``kind`` is a kind of fact, such as ``key.revoked``, or its first word, for all of ``key``; ``model`` keeps those
    about one model, and ``since`` (ISO 8601, UTC where it has no zone) those from a time on. Raises SettingInvalid
    for a kind that there is not, RequestInvalid for no time, and LedgerBroken where a fact was altered.
    """
    subjects = sorted({each.partition(".")[0] for each in FACTS})
    if kind and kind not in FACTS and kind not in subjects:
        raise SettingInvalid(
            "there is no such kind of fact",
            received=repr(kind[:80]),
            allowed=f"{', '.join(subjects)}, or one of their kinds, such as key.revoked",
            next_step="leave it out to see all",
        )
    if last is not None and last < 1:
        raise SettingInvalid(
            "this is no number of facts",
            received=str(last),
            allowed="1 or more",
            next_step="leave it out for the last 50",
        )
    begin = moment(since) if since else ""
    with opened(settings, create=False) as session:
        found = (
            fact
            for fact in session.workspace.ledger.facts()
            if kind in ("", fact.kind, fact.kind.partition(".")[0])
            and (not model or fact.body.get("model") == model)
            and fact.time >= begin
        )
        return tuple(deque(found, maxlen=last))
