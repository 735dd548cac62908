"""The reproduction: what came of a version that was built again, and where it parts from what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["code", "python", "packages", "machine", "contract", "fit", "model", "answers", "metric"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One thing that answers depend on, then and now. ``advice`` says what to do where it is not the same."""

    part: Part
    same: bool
    text: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Refitted:
    """What a process found that built a version again, in an environment of its own or in a given one.

    ``code`` is the digest of the source as it was read there, ``environment`` and ``machine`` are as a draft has
    them, of now. ``contract`` names what differs in it, ``model`` is the SHA-256 of the new model's file; ``steady``
    says whether a second fit gave the same bytes (None: none was needed). ``stored_*`` tell how the stored model
    answered the golden rows there, ``golden_*`` how the new one did: the largest difference is None where something
    else than a number differs. ``rows`` test rows were answered by both models, ``other_rows`` of them differently.
    ``failed`` is why there is no new model.
    """

    code: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    contract: tuple[str, ...] = ()
    model: str = ""
    steady: bool | None = None
    stored_same: bool = False
    stored_difference: float | None = None
    golden_rows: int = 0
    golden_same: bool = False
    golden_difference: float | None = None
    differences: tuple[str, ...] = ()
    rows: int = 0
    other_rows: int = 0
    metric_stored: float | None = None
    metric_now: float | None = None
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Whether a version that was built again answers with the same bits.

    ``same`` says so of its golden rows, against the recorded answers, and of its test rows, against the stored model.
    ``parted`` is the first thing that differs where it does not, "" where it does; ``compared`` is all that was
    looked at, in the order in which one depends on the other. ``clean`` says whether that was in an environment made
    for it. ``differences`` are the first golden rows that differ, ``largest_difference`` is None where something else
    than a number does, or nothing was answered. ``other_rows`` of ``rows`` test rows differ.
    """

    model: str
    version: int
    run: str
    same: bool
    parted: Part | Literal[""]
    clean: bool
    compared: tuple[Compared, ...]
    golden_rows: int = 0
    largest_difference: float | None = None
    differences: tuple[str, ...] = ()
    rows: int = 0
    other_rows: int = 0
    metric: str = ""
    metric_stored: float | None = None
    metric_now: float | None = None
    seconds: float = 0.0
