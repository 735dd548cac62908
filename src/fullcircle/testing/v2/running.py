"""What comes of the cases at a server."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fullcircle.errors import SettingInvalid
from fullcircle.testing.v2 import cases, refusals
from fullcircle.testing.v2.peer import TURNED_AWAY, Absent, Broken, Peer

Outcome = Literal["passed", "failed", "not supported"]
Case = Callable[[Peer], None]
CASES: Mapping[str, Case] = {**cases.CASES, **refusals.CASES, **cases.LAST}
"""All cases by name, in the order in which they are run."""
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error)
"""What a document without a member that it must have leads to, or one with a member of another type."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one case."""

    name: str
    promise: str
    outcome: Outcome
    why: str = ""


def conform(peer: Peer) -> list[Result]:
    """What comes of each case, one after another.

    Raises SettingInvalid where the server does not let the peer ask the model: nothing would be known of it.
    """
    _let_in(peer)
    return [_result(peer, name, case) for name, case in CASES.items()]


def _let_in(peer: Peer) -> None:
    """Ask for the metadata and for one prediction. Whatever else is wrong there, a case says so."""
    try:
        found = peer.send("GET", peer.place)
        if found.status not in TURNED_AWAY:
            found = peer.infer(peer.one())
    except (Broken, *_MALFORMED):
        return
    if found.status in TURNED_AWAY:
        raise SettingInvalid(
            f"the server {TURNED_AWAY[found.status]}",
            received=f"status {found.status}",
            allowed="a caller who may read about the model and ask for predictions",
            next_step='send a key with every request: --header "Authorization: Bearer KEY", or headers of the Peer',
        )


def _result(peer: Peer, name: str, case: Case) -> Result:
    promise = " ".join((case.__doc__ or "").split())
    try:
        case(peer)
    except Absent as absent:
        return Result(name=name, promise=promise, outcome="not supported", why=str(absent))
    except Broken as broken:
        return Result(name=name, promise=promise, outcome="failed", why=str(broken))
    except _MALFORMED as error:
        return Result(
            name=name, promise=promise, outcome="failed", why=f"not of the form that is promised: {error!r}"
        )
    return Result(name=name, promise=promise, outcome="passed")
