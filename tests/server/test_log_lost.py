"""Rows that were answered and not logged: the answer says so, the meter counts them, the log writes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.inline import BATCH
from fullcircle.server.meter import Meter
from fullcircle.tables import predictions as log
from serving import GOOD, loaded, post, view

FULL: dict[str, Any] = {"most_bytes": 1, "when_full": "count"}
STRANGE = {**GOOD, "bmi": None}


def served(folder: Path, **more: Any) -> tuple[App, Meter, Desk]:
    meter = Meter()
    desk = Desk(folder, meter, **more)
    return App(lambda: view(loaded()), desk, meter=meter), meter, desk


@pytest.mark.parametrize(
    "rows",
    [[GOOD], [GOOD] * 7, [STRANGE], [GOOD, STRANGE, GOOD], [STRANGE] * 70, [GOOD] * (BATCH + 1)],
    ids=["one", "seven", "imputed", "mixed", "many by hand", "more than a batch"],
)
def test_every_way_of_answering_counts_what_it_loses(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    target, meter, desk = served(tmp_path, **FULL)
    found = post(target, "/predict/m", {"rows": rows})
    assert found.status == 200
    assert [one["id"] for one in found.json["predictions"]] == [""] * len(rows)
    assert all(one["prediction"] is not None for one in found.json["predictions"])
    assert meter.snapshot().counts["lost\tm\t1"] == len(rows) == desk.lost["m"]
    post(target, "/predict/m", {"rows": rows})
    assert meter.snapshot().counts["lost\tm\t1"] == 2 * len(rows)
    desk.close()
    assert log.read_lost(tmp_path, "m") == 2 * len(rows)
    assert list(log.read(tmp_path, "m")) == []


def test_what_is_logged_is_not_counted_as_lost(tmp_path: Path) -> None:
    target, meter, desk = served(tmp_path)
    for rows in ([GOOD], [GOOD, STRANGE], [STRANGE] * 40):
        assert all(one["id"] for one in post(target, "/predict/m", {"rows": rows}).json["predictions"])
    assert meter.snapshot().counts["lost\tm\t1"] == 0
    assert desk.lost == {}
    desk.close()
    assert len(list(log.read(tmp_path, "m"))) == 43


def test_a_log_that_must_not_lose_anything_answers_nothing(tmp_path: Path) -> None:
    target, meter, _ = served(tmp_path, most_bytes=1)
    for rows in ([GOOD], [STRANGE]):
        found = post(target, "/predict/m", {"rows": rows})
        assert found.status == 503
        assert "predictions" not in found.json
    assert meter.snapshot().counts.get("lost\tm\t1", 0) == 0


@pytest.mark.parametrize("digits", [13, 15, 16, 400])
def test_a_label_for_a_place_that_no_file_can_have_is_one_for_an_unknown_row(digits: int, tmp_path: Path) -> None:
    """Whoever guesses ids must not meet an error of the file system."""
    target, _, desk = served(tmp_path)
    (one,) = post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"]
    guess = f"{one['id'].partition('-')[0]}-{'9' * digits}"
    labels = [{"id": guess, "value": 1.0}, {"id": one["id"], "value": 2.0}]
    found = post(target, "/outcomes", {"model": "m", "outcomes": labels})
    assert [each["status"] for each in found.json["outcomes"]] == ["unknown", "accepted"]
    desk.close()
