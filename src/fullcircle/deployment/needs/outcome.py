"""What looking at one need comes to: it is met, or it is not and somebody has to do something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Met:
    """It is there. ``version`` is the one it reports, "" where it reports none.

    ``warning`` says what was not checked, or what looks wrong; ``next_step`` belongs to it.
    """

    what: str
    version: str = ""
    warning: str = ""
    next_step: str = ""


class Unmet(Exception):
    """It is not there, or not for us. No text may hold a secret."""

    def __init__(self, what: str, *, next_step: str, received: str = "", allowed: str = "") -> None:
        super().__init__(what)
        self.what, self.next_step, self.received, self.allowed = what, next_step, received, allowed
