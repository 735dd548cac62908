"""A rehearsal that goes on from a state kept long before it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import histories, rehearsed
from fullcircle.flows.rehearsal.running import run

UNTIL = "2024-05-13T00:00:00"


class Stopped(Exception):
    """As if the process were killed there."""


def stopping(at: int) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        del total
        if done == at:
            raise Stopped

    return told


def test_what_was_answered_after_the_kept_state_is_not_seen_before_its_time(tmp_path: Path) -> None:
    """Traffic is part of what a retraining is worth, and rows of windows to come are no traffic yet."""
    whole, _ = rehearsed.played(tmp_path / "whole", histories.rows(), until=UNTIL)
    assert [each for each in whole.policy.told if each.step is not None and each.step.expected is not None]
    made, source = rehearsed.job(tmp_path / "stopped", histories.rows(), until=UNTIL, every=1000.0)
    with pytest.raises(Stopped):
        run(made, source, stopping(11))
    place = rehearsed.place(made)
    assert (place.folder / "kept-0").exists()
    assert len(list((place.predictions / "kettles").glob("*.jsonl"))) > 10
    resumed = run(made, source)
    assert rehearsed.plain(resumed.policy) == rehearsed.plain(whole.policy)
