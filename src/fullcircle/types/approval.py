"""That somebody let a version become champion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Somebody (``actor``) approved a version on its report: when (``time``, UTC) and why. ``seq`` is its fact's."""

    model: str
    version: int
    report: str
    reason: str
    actor: str
    time: str
    seq: int
