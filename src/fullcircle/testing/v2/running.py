"""What comes of the cases at a server."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fullcircle.testing.v2 import cases, refusals
from fullcircle.testing.v2.peer import Absent, Broken, Peer

Outcome = Literal["passed", "failed", "not supported"]
Case = Callable[[Peer], None]
CASES: Mapping[str, Case] = {**cases.CASES, **refusals.CASES, **cases.LAST}
"""All cases by name, in the order in which they are run."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one case."""

    name: str
    promise: str
    outcome: Outcome
    why: str = ""


def conform(peer: Peer) -> list[Result]:
    """What comes of each case, one after another."""
    return [_result(peer, name, case) for name, case in CASES.items()]


def _result(peer: Peer, name: str, case: Case) -> Result:
    promise = " ".join((case.__doc__ or "").split())
    try:
        case(peer)
    except Absent as absent:
        return Result(name=name, promise=promise, outcome="not supported", why=str(absent))
    except Broken as broken:
        return Result(name=name, promise=promise, outcome="failed", why=str(broken))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error) as error:
        # A document without a member that it must have, or with one of another type.
        return Result(
            name=name, promise=promise, outcome="failed", why=f"not of the form that is promised: {error!r}"
        )
    return Result(name=name, promise=promise, outcome="passed")
