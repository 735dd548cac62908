"""Runs and versions of a rehearsal: MLflow hears nothing of them, and is not imported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fullcircle.exploration.runs import TrackedRun
from fullcircle.exploration.tracking import RunRow, Tracking
from fullcircle.types import clock


class Untracked(Tracking):
    """The doors of ``Tracking`` with nothing behind them. ``latest`` tells the last version of a model, 0 for none.

    A run's id is made from what it is given and from the moment, so the same history played again has the same ids.
    """

    def __init__(self, latest: Callable[[str], int]) -> None:
        super().__init__("")
        self._latest = latest

    @contextmanager
    def run(
        self,
        model: str,
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
        folder: Path | None = None,
    ) -> Iterator[TrackedRun]:
        """A run that nobody keeps."""
        told = {key: str(value) for key, value in (params or {}).items()}
        made_of = msgspec.json.encode([model, name, tags or {}, told, clock.micros()], order="deterministic")
        yield _Run(hashlib.sha256(made_of).hexdigest()[:32], None, "")

    def log_artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Keep nothing."""

    def log_artifacts(self, run_id: str, folder: str, files: Mapping[str, bytes]) -> None:
        """Keep nothing."""

    def leaderboard(self, model: str) -> tuple[RunRow, ...]:
        """None are kept."""
        return ()

    def end_dead(self, model: str) -> tuple[str, ...]:
        """None are kept."""
        return ()

    def register(self, model: str, run_id: str, bundle_digest: str, tags: Mapping[str, str] | None = None) -> int:
        """The next number."""
        return self._latest(model) + 1

    def confirm(self, model: str, version: int, seq: int) -> None:
        """The ledger knows it."""

    def abandon(self, model: str, version: int) -> None:
        """No version is ever left half made here."""

    def pending(self, model: str, *, older_than: float = 0.0) -> tuple[int, ...]:
        """None."""
        return ()

    def set_champion(self, model: str, version: int, seq: int) -> None:
        """The ledger knows it."""

    def alias(self, model: str) -> tuple[int | None, int | None]:
        """None."""
        return None, None


class _Run(TrackedRun):
    """Takes everything and keeps nothing."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Keep nothing."""

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Keep nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keep nothing."""

    def log_artifact(self, name: str, content: bytes) -> None:
        """Keep nothing."""

    def log_snapshot(self, digest: str, model: str) -> None:
        """Keep nothing."""
