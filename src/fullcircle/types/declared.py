"""What a user declared, looked at: each function raises ProjectInvalid with what was received and what is allowed."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from fullcircle.errors import ProjectInvalid

_LARGEST = sys.float_info.max


def one_of(what: str, received: object, allowed: Sequence[str]) -> None:
    """Refuse what is not one of the allowed words."""
    if received not in allowed:
        raise ProjectInvalid(
            f"{what} is not one of the allowed values",
            received=repr(received),
            allowed=", ".join(allowed),
            next_step="mend the project file",
        )


def name_of(what: str, value: object) -> str:
    """The value, which has to be a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ProjectInvalid(
            f"{what} is not a name", received=repr(value), allowed="text", next_step="mend the project file"
        )
    return value


def columns(what: str, value: object) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    names: tuple[object, ...] = (value,)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        names = tuple(value)
    for name in names:
        name_of(what, name)
    return tuple(dict.fromkeys(str(name) for name in names))


def mapping(what: str, value: object) -> None:
    """Refuse what is not a mapping."""
    if not isinstance(value, Mapping):
        raise ProjectInvalid(
            f"{what} is not a mapping",
            received=repr(value),
            allowed="{name: value}",
            next_step="mend the project file",
        )


def number(what: str, value: object, low: float = -math.inf) -> float:
    """The value as a finite float of at least ``low``."""
    # The bounds say no to NaN, infinity, and integers that no float holds.
    fits = isinstance(value, int | float) and max(low, -_LARGEST) <= value <= _LARGEST
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits:
        raise ProjectInvalid(
            f"{what} is not a usable number",
            received=repr(value),
            allowed="a finite number" + (f", at least {low:g}" if low > -math.inf else ""),
            next_step="mend the project file",
        )
    return float(value)
