"""What a split may be begun with: shares that are some, a version that answers the same question, known columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fullcircle.errors import FullcircleError, SettingInvalid
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.splits import BUCKETS, Kind, Step


def steps(kind: Kind, shares: Sequence[str], bake: str) -> tuple[Step, ...]:
    """The steps that shares such as "5%" say, each of the same bake time. Raises SettingInvalid."""
    if kind == "shadow":
        return ()
    try:
        seconds = duration(bake).total_seconds()
    except FullcircleError as error:
        raise SettingInvalid(
            "the bake time cannot be read", received=bake, allowed=error.allowed, next_step="say --bake 1h"
        ) from error
    found = [_share(text) for text in shares]
    most = BUCKETS if kind == "canary" and len(found) > 1 else BUCKETS - 1
    if not found or found != sorted(set(found)) or found[0] <= 0 or found[-1] > most or _several(kind, found):
        raise SettingInvalid(
            "these are no shares of what is asked",
            received=", ".join(shares) or "none",
            allowed="percentages with their sign: above 0% and below 100% for a split; growing ones for a canary, "
            "the last of which may be 100%, the promotion",
            next_step="say --split 50%, or --canary 5%,25%,100%",
        )
    return tuple(Step(share=share, bake=seconds) for share in found)


def _several(kind: Kind, found: Sequence[int]) -> bool:
    return kind == "split" and len(found) > 1


def _share(text: str) -> int:
    """A share such as "5%" as a number of buckets; -1 for what is none."""
    digits = text.strip().removesuffix("%").strip()
    if not text.strip().endswith("%") or not digits.replace(".", "", 1).isdecimal() or len(digits) > 10:
        return -1
    found = float(digits) * BUCKETS / 100
    return round(found) if abs(found - round(found)) < 1e-6 else -1


def check_alike(model: str, contracts: Mapping[int, Contract]) -> None:
    """Refuse a version that answers another question: rows of one answer would mean different things.

    ``contracts`` are by version, the champion's first. Raises SettingInvalid.
    """
    (champion, usual), (version, other) = contracts.items()
    if _asked(usual) != _asked(other):
        raise SettingInvalid(
            f"version {version} of {model} gives other answers than the champion, version {champion}: "
            "callers could not tell which of the two a row is",
            received=_asked(other),
            allowed=_asked(usual),
            next_step=f"train it for the champion's task and classes, in their order; or make it champion for all "
            f"callers at once: fullcircle promote {model} --version {version}",
        )


def _asked(contract: Contract) -> str:
    """What a model answers, told apart by the kind of its classes and their order."""
    classes = ", ".join(json.dumps(each, ensure_ascii=False) for each in contract.classes)
    return contract.task + (f" of {classes}" if classes else "")


def check_entity(model: str, contracts: Mapping[int, Contract], entity: Sequence[str]) -> None:
    """Refuse columns that one of the versions does not know: its rows could not be assigned by them.

    Raises SettingInvalid.
    """
    for number, contract in contracts.items():
        known = (*contract.names, *contract.context)
        strange = [name for name in entity if name not in known]
        if strange:
            raise SettingInvalid(
                f"version {number} of {model} has no such column to assign rows by",
                received=", ".join(strange),
                allowed=", ".join(known),
                next_step="name columns of its rows with --entity, or leave it out: then chance deals each request",
            )
