"""Exports of the prediction log: the fact, the file, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
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


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".a")]


def test_l12_where_there_are_no_hard_links_nothing_is_said_to_have_left(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SettingInvalid, match="cannot be written there") as caught:
        export("houses", tmp_path / "a.jsonl", reason="x", settings=settings)
    assert "hard links" in str(caught.value.allowed)
    assert facts(settings) == []
    assert (hidden(tmp_path), (tmp_path / "a.jsonl").exists()) == ([], False)
    monkeypatch.undo()
    assert export("houses", tmp_path / "a.jsonl", reason="x", settings=settings).rows == 10


def test_l12_a_folder_that_cannot_be_written_to_is_a_plain_refusal(settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="cannot be written there") as caught:
        export("houses", "/proc/self/a.jsonl", reason="x", settings=settings)
    assert "a folder that can be written to" in str(caught.value.allowed)
    assert facts(settings) == []


def test_l12_a_file_that_comes_meanwhile_stays_and_it_is_said_what_the_ledger_has(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        if target.name == "a.jsonl":
            target.write_text("theirs")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SettingInvalid, match="cannot be written there") as caught:
        export("houses", tmp_path / "a.jsonl", reason="x", settings=settings)
    assert "the ledger has the export" in str(caught.value.allowed)
    assert len(facts(settings)) == 1
    assert ((tmp_path / "a.jsonl").read_text(), hidden(tmp_path)) == ("theirs", [])
