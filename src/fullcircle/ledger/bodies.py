"""What a fact's body may hold: known fields, and values too small to carry anybody's data by accident."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fullcircle.errors import FactInvalid
from fullcircle.ledger.store import canonical
from fullcircle.types.facts import FACTS

LONGEST = 500
_LARGEST = 2**63 - 1

# What the fold cannot do without. The other fields may be left out.
NEEDED: Mapping[str, Mapping[str, type]] = {
    "snapshot.created": {"snapshot": str},
    "run.finished": {"model": str, "run": str},
    "pickle.allowed": {"model": str, "run": str},
    "version.registered": {"model": str, "version": int},
    "version.approved": {"model": str, "version": int, "report": str},
    "version.promoted": {"model": str, "version": int},
    "version.rolled_back": {"model": str, "version": int},
    "split.started": {"model": str, "split": str, "mode": str, "champion": int, "version": int, "salt": str},
    "split.moved": {"model": str, "split": str, "place": int},
    "split.ended": {"model": str, "split": str},
    "rows.released": {"model": str, "decision": int, "rows": str},
    "deployment.started": {"model": str},
    "deployment.stopped": {"model": str},
    "view.registered": {"view": str, "definition": str, "blob": str},
    "view.published": {"view": str, "definition": str},
    "training_set.built": {"key": str, "blob": str},
    "segment.closed": {"workspace": str, "model": str, "segment": str, "digest": str},
    "segment.compacted": {"workspace": str, "model": str, "segment": str, "digest": str},
    "predictions.erased": {"workspace": str, "model": str, "segment": str, "digest": str},
    "key.created": {"id": str, "name": str, "role": str, "digest": str},
    "key.revoked": {"id": str},
    "issuer.added": {"issuer": str, "audience": str, "algorithm": str, "keys": str, "claim": str, "roles": str},
    "issuer.removed": {"issuer": str},
    "blob.deleted": {"digest": str},
}


def checked(kind: str, body: Mapping[str, Any]) -> str:
    """The canonical JSON of a body that may be recorded. Raises FactInvalid for any other."""
    if kind not in FACTS:
        raise _invalid("there is no such kind of fact", kind, ", ".join(FACTS))
    for name, value in body.items():
        if name not in FACTS[kind]:
            raise _invalid(f"a fact {kind} has no such field", repr(name), ", ".join(FACTS[kind]))
        _check_value(f"{kind}.{name}", value)
    missing = lacking(kind, body)
    if missing:
        raise _invalid(f"a fact {kind} lacks the field {missing}", repr(body.get(missing)), "a value of its type")
    return canonical(body)


def lacking(kind: str, body: Mapping[str, Any]) -> str | None:
    """The first field that the fold needs and that is absent or of another type."""
    for name, wanted in NEEDED.get(kind, {}).items():
        value = body.get(name)
        if not isinstance(value, wanted) or isinstance(value, bool) or value == "":
            return name
    return None


def is_text(value: str) -> bool:
    """Whether every database can hold this string: no lone surrogates, no NUL."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _check_value(where: str, value: object) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST or not is_text(value):
            raise _invalid(f"{where} is too long or no text", f"{len(value)} characters", f"{LONGEST} of valid text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid(f"{where} is not finite", repr(value), "a finite number, or None")
    elif isinstance(value, int):
        if abs(value) > _LARGEST:
            raise _invalid(f"{where} is too large", "a number of more than 63 bits", f"at most {_LARGEST}")
    elif value is not None:
        raise _invalid(f"{where} has a type that no fact holds", type(value).__name__, "str, int, float, bool, None")


def _invalid(what: str, received: str, allowed: str) -> FactInvalid:
    return FactInvalid(
        what, received=received, allowed=allowed, next_step="this is a defect of fullcircle or a plug-in: report it"
    )
