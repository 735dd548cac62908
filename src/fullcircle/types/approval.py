"""That somebody let a version become champion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Somebody (``actor``) approved a version on its report: when (``time``, UTC) and why. ``seq`` is its fact's.

    ``actor`` is what the settings say. ``login`` is the operating system's user and host (``anna@desk``), which no
    setting changes; "" where it was not recorded. ``key`` is the id of the approver's key, "" where none was asked.
    """

    model: str
    version: int
    report: str
    reason: str
    actor: str
    time: str
    seq: int
    login: str = ""
    key: str = ""
