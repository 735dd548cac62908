"""What each step of the circle hands back, and one whole turn of it as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fullcircle.types.bundle import Proof
from fullcircle.types.loop import Step
from fullcircle.types.monitoring import Decision, Window
from fullcircle.types.prediction import Prediction
from fullcircle.types.report import Report


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Immutable data: its digest, size, and where it came from. ``parent`` is the snapshot it grew out of."""

    digest: str
    rows: int
    columns: int
    source: str
    parent: str | None = None
    created: str = ""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way of fitting that was tried, with the main metric on the validation rows and its interval."""

    name: str
    run: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that was fitted in a run and reported on, not yet packaged. ``report_page`` is its report's file."""

    model: str
    run: str
    snapshot: Snapshot
    train_rows: int
    test_rows: int
    split: str
    metric: str
    candidates: tuple[Candidate, ...]
    report: Report
    report_digest: str
    code: str
    params: Mapping[str, Any]
    report_page: str = ""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A registered, proven version. ``files`` names each file of the bundle with its SHA-256.

    ``tests`` says how many of its tests came to each status (passed, noted, skipped), ``folder`` where the bundle and
    its attestations were written to travel, "" where nobody asked for that.
    """

    model: str
    version: int
    run: str
    bundle: str
    size_bytes: int
    files: tuple[tuple[str, str], ...]
    proof: Proof
    tests: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A server that answers. ``rows`` were answered over HTTP and by the batch scorer, with the same numbers.

    Where nothing was started, ``url`` is "", ``place`` the folder that was written, and ``steps`` what to type.
    """

    model: str
    version: int
    target: str
    url: str
    rows: int = 0
    largest_difference: float = 0.0
    place: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A server that was stopped: ``url`` is where it was, empty where none ran; of files, the folder."""

    model: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One deliberately wrong row sent to the server, and its answer."""

    title: str
    row: Mapping[str, Any]
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A challenger and what became of it, with all that was gone by (``step``).

    ``trained`` is None where there was nothing to learn from.
    """

    model: str
    decision: Decision
    trained: Trained | None = None
    packaged: Packaged | None = None
    new_rows: int = 0
    quarantined: int = 0
    step: Step | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the turn: how long it took and one sentence on what came out."""

    name: str
    seconds: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of the circle. What was not reached (a gate said no) is None or empty."""

    model: str
    started: str
    seconds: float
    stages: tuple[Stage, ...]
    trained: Trained
    decision: Decision
    packaged: Packaged | None = None
    deployed: Deployed | None = None
    probes: tuple[Probe, ...] = ()
    windows: tuple[Window, ...] = ()
    retrained: Retrained | None = None
    champion: int | None = None
    sample_prediction: str = ""
    page: str = ""
    next_steps: tuple[str, ...] = ()
