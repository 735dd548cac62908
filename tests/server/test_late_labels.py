"""POST /outcomes: what names no prediction of the log yet is kept, what cannot be joined is refused; bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import predictions as log
from fullcircle.tables import waiting
from fullcircle.tables.predictions import PredictionLog
from fullcircle.tables.private import hashed
from fullcircle.types.contract import Column
from serving import GOOD, Sum, app, contract, loaded, post

AT = "2026-01-01T10:00:00+01:00"
SECRET = b"k" * 32


def sent(target: Any, *outcomes: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    found = post(target, "/outcomes", {"model": "m", "outcomes": list(outcomes)})
    return found.status, [(one["status"], one.get("text", "")) for one in found.json["outcomes"]]


def kept(folder: Path) -> list[Any]:
    return [each.outcome for each in waiting.read_waiting(folder, "m")]


def test_labels_by_key_wait_with_their_time_in_the_form_of_the_log(tmp_path: Path) -> None:
    found = sent(app(tmp_path), {"key": {"age": 40, "bmi": 25.5}, "at": AT, "within": "30d", "value": 7.5})
    assert found == (200, [("waiting", "")])
    (one,) = kept(tmp_path)
    assert (one.key, one.at, one.within, one.value) == (
        {"age": 40, "bmi": 25.5},
        "2026-01-01T09:00:00.000000Z",
        "30d",
        7.5,
    )
    assert log.read_outcomes(tmp_path, "m") == {}


def test_an_id_that_the_log_does_not_have_yet_is_told_and_kept(tmp_path: Path) -> None:
    target = app(tmp_path)
    (mine,) = (row["id"] for row in post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"])
    strange = "0123456789abcdef-0"
    status, became = sent(
        target, {"id": strange, "value": 1.0}, {"id": mine, "value": 2.0}, {"id": "x", "value": 3.0}
    )
    assert status == 200
    assert became == [("unknown", "it waits for its prediction"), ("accepted", ""), ("unknown", "")]
    assert [each.prediction_id for each in kept(tmp_path)] == [strange]
    assert list(log.read_outcomes(tmp_path, "m")) == [mine]
    assert sent(target, {"id": strange, "value": "much"}) == (422, [("unknown", "")])
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ({"key": {"age": 40}, "at": "soon", "value": 1.0}, "time cannot be read"),
        ({"key": {"age": 40}, "at": AT, "value": "much"}, "not a finite number"),
        ({"key": {"sex": "f"}, "at": AT, "value": 1.0}, "private and not in the log"),
        ({"key": {"age": None}, "at": AT, "value": 1.0}, "the key age is missing"),
        ({"key": {}, "at": AT, "value": 1.0}, "neither an id nor a key"),
    ],
)
def test_what_cannot_be_joined_is_rejected(tmp_path: Path, outcome: dict[str, Any], why: str) -> None:
    status, ((became, text),) = sent(app(tmp_path), outcome)
    assert (status, became) == (422, "rejected")
    assert why in text
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "outcome",
    [
        {"key": {"age": 40}, "value": 1.0},
        {"key": {"age": [40]}, "at": AT, "value": 1.0},
        {"key": "age", "at": AT, "value": 1.0},
        {"key": {"age": 40}, "at": 5, "value": 1.0},
        {"key": {"age": 40}, "at": AT, "within": "often", "value": 1.0},
        {"key": {"age": 40}, "at": AT, "id": "x", "value": 1.0},
        {"key": {"age": 40}, "at": AT},
    ],
)
def test_other_forms_are_refused(tmp_path: Path, outcome: dict[str, Any]) -> None:
    assert post(app(tmp_path), "/outcomes", {"model": "m", "outcomes": [outcome]}).status == 400


def test_values_of_hashed_columns_are_hashed_before_they_reach_the_disk(tmp_path: Path) -> None:
    from fullcircle.server.desk import Desk
    from fullcircle.server.requests import outcomes_of

    columns = (Column(name="person", kind="category", categories=("Ada",), private=True, hashed=True),)
    served = loaded(scorer=Scorer(contract(columns=columns), Sum()))
    body = {"model": "m", "outcomes": [{"key": {"person": "Ada"}, "at": AT, "value": 1.0}]}
    for key, status in ((SECRET, 200), (b"", 422)):
        desk = Desk(tmp_path, key=key)
        assert desk.outcomes(served, outcomes_of(body, 10)[1]).status == status
        desk.close()
    (one,) = kept(tmp_path)
    assert one.key == {"person": hashed(SECRET, "person", "Ada")}
    assert b"Ada" not in (tmp_path / "m" / waiting.WAITING).read_bytes()


def test_no_more_than_a_bound_waits_and_what_is_known_is_taken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = app(tmp_path)
    (mine,) = (row["id"] for row in post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"])
    monkeypatch.setattr(waiting, "MOST_BYTES", 100)
    status, became = sent(
        target,
        {"key": {"age": 40}, "at": AT, "value": 1.0},
        {"id": "0123456789abcdef-0", "value": 1.0},
        {"id": mine, "value": 2.0},
    )
    full = "too many outcomes wait already"
    assert (status, became) == (200, [("rejected", full), ("unknown", full), ("accepted", "")])
    assert kept(tmp_path) == []
    assert log.read_outcomes(tmp_path, "m")[mine].value == 2.0


def test_what_waits_is_no_row_of_the_log(tmp_path: Path) -> None:
    target = app(tmp_path)
    sent(target, {"key": {"age": 40}, "at": AT, "value": 1.0})
    assert list(log.read(tmp_path, "m")) == []
    with PredictionLog(tmp_path) as made:
        made.append([])
    assert len(kept(tmp_path)) == 1


def test_the_server_needs_nothing_heavy_for_it() -> None:
    code = (
        "import sys; import fullcircle.server.desk, fullcircle.tables.waiting; "
        "print(sorted({'pyarrow', 'pandas', 'sqlalchemy', 'scipy', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
