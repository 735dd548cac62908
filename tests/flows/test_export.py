"""Exports of the prediction log: the fact, the file, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import circles
from fullcircle.errors import RequestInvalid, SettingInvalid, VersionNotFound
from fullcircle.flows.export import export
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.prediction import Prediction


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A workspace with ten logged rows."""
    found = circles.settings(tmp_path, actor="ada")
    rows = [
        Prediction(value=float(n), verdict=Verdict(status="ok"), model="houses", inputs={"heat": n})
        for n in range(10)
    ]
    with opened(found) as session, PredictionLog(session.workspace.predictions) as log:
        log.append(rows)
    return found


def facts(settings: Settings) -> list[Fact]:
    with opened(settings) as session:
        return list(session.workspace.ledger.facts("predictions.exported"))


def test_all_rows_leave_and_the_ledger_says_so(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    found = export("houses", out, reason=" for the auditors ", settings=settings)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["value"] for row in rows] == list(range(10))
    (fact,) = facts(settings)
    assert (fact.actor, fact.body["model"], fact.body["rows"]) == ("ada", "houses", 10)
    assert fact.body["reason"] == found.reason == "for the auditors"
    assert fact.body["digest"] == found.digest == hashlib.sha256(out.read_bytes()).hexdigest()
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".rows")] == []


def test_a_stretch_of_time_is_noted(settings: Settings, tmp_path: Path) -> None:
    found = export("houses", tmp_path / "a.jsonl", reason="x", since="2999-01-01", settings=settings)
    assert (found.rows, (tmp_path / "a.jsonl").read_bytes()) == (0, b"")
    assert facts(settings)[0].body["since"] == "2999-01-01"
    found = export("houses", tmp_path / "b.jsonl", reason="x", until="2999-01-01", settings=settings)
    assert found.rows == 10


@pytest.mark.parametrize("reason", ["", " ", "...", "x" * 501, "\0a"])
def test_a_reason_says_something(reason: str, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="an export needs a reason"):
        export("houses", tmp_path / "a.jsonl", reason=reason, settings=settings)
    assert facts(settings) == []


def test_nothing_is_replaced_and_nothing_is_half_there(settings: Settings, tmp_path: Path) -> None:
    taken = tmp_path / "taken.jsonl"
    taken.write_text("mine")
    for place in (taken, tmp_path / "no" / "a.jsonl", tmp_path / "a.csv", tmp_path):
        with pytest.raises(SettingInvalid, match="cannot be written there"):
            export("houses", place, reason="x", settings=settings)
    assert taken.read_text() == "mine"
    for model in ("loans", "", "../houses", "a\nb"):
        with pytest.raises(VersionNotFound):
            export(model, tmp_path / "a.jsonl", reason="x", settings=settings)
    with pytest.raises(RequestInvalid):
        export("houses", tmp_path / "a.jsonl", reason="x", since="yesterday", settings=settings)
    assert not (tmp_path / "a.jsonl").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".a")]
    assert facts(settings) == []
