"""A server of a workspace where history is played goes by its clock, in its threads too."""

from __future__ import annotations

from pathlib import Path

from fullcircle.tables.predictions import read, read_outcomes
from fullcircle.types import clock
from serving import GOOD, app, post

MOMENT = 1_704_067_200_000_000


def test_predictions_and_outcomes_have_the_time_that_is_played(tmp_path: Path) -> None:
    moments = [MOMENT]
    with clock.played(lambda: moments[-1]):
        target = app(tmp_path)
        found = post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"][0]
        moments.append(MOMENT + 3_600_000_000)
        given = {"model": "m", "outcomes": [{"id": found["id"], "value": 64.5}]}
        assert post(target, "/outcomes", given).status == 200
    (row,) = read(tmp_path, "m")
    assert row.time == "2024-01-01T00:00:00.000000Z"
    assert read_outcomes(tmp_path, "m")[row.id].time == "2024-01-01T01:00:00.000000Z"
