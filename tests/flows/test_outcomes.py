"""Labels that come later: from files and queries, all or none, joined by id or by key, and erased with their row."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import circles
from circles import Circle
from fullcircle.cli.commands import app
from fullcircle.errors import DataUnfit, TableUnreadable
from fullcircle.flows.erase import erase
from fullcircle.flows.outcomes import as_label, outcomes, settle_in
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables import waiting
from fullcircle.tables.predictions import PredictionLog, append_outcomes, read_outcomes
from fullcircle.types.contract import Contract, Verdict
from fullcircle.types.prediction import Outcome, Prediction

MODEL = "houses"
LATER = "2999-01-01T00:00:00Z"


@dataclass(frozen=True)
class Place:
    """A workspace with a champion and 40 rows that nobody else asked."""

    settings: Settings
    ids: tuple[str, ...]
    folder: Path

    @property
    def predictions(self) -> Path:
        return self.settings.workspace / "predictions"

    def take(self, table: Any = None, **more: Any) -> Any:
        return outcomes(MODEL, table, settings=self.settings, **more)

    def values(self, ids: Sequence[str]) -> list[Any]:
        found = read_outcomes(self.predictions, MODEL)
        return [found[each].value if each in found else None for each in ids]


@pytest.fixture
def place(circle: Circle, tmp_path: Path) -> Place:
    """The circle's champion in a workspace of its own, with an empty log."""
    shutil.copytree(circle.settings.workspace, tmp_path / "workspace", ignore=shutil.ignore_patterns("predictions"))
    settings = circles.unbegun(tmp_path)
    return Place(settings, logged(settings, range(40)), tmp_path)


def logged(settings: Settings, houses: Sequence[int], **more: Any) -> tuple[str, ...]:
    rows = [
        Prediction(
            value=1.0,
            verdict=Verdict(status="ok"),
            model=MODEL,
            version=1,
            inputs={"rooms": number, "heat": 20.5},
            context={"house": f"h{number}"},
            **more,
        )
        for number in houses
    ]
    with PredictionLog(settings.workspace / "predictions") as log:
        return tuple(each.id for each in log.append(rows))


def table(ids: Sequence[str], labels: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame({"pid": ids, "cost": labels})


class TestFiles:
    def test_every_form_is_read_alike(self, place: Place) -> None:
        frame = table(place.ids[:5], [1.5, 2.5, 3.5, 4.5, 5.5])
        frame.to_csv(place.folder / "a.csv", index=False)
        frame.to_parquet(place.folder / "a.parquet")
        frame.to_json(place.folder / "a.jsonl", orient="records", lines=True)
        with sqlite3.connect(place.folder / "a.db") as base:
            frame.to_sql("labels", base, index=False)
        asked = {"id": "pid", "label": "cost"}
        first = place.take(place.folder / "a.csv", **asked)
        assert (first.rows, first.new, first.corrections, first.repeated, first.waiting) == (5, 5, 0, 0, 0)
        assert first.notes == ("5 labels were read from text",)
        for again in (
            place.take(place.folder / "a.parquet", **asked),
            place.take(place.folder / "a.jsonl", **asked),
            place.take(query="SELECT pid, cost FROM labels", database=f"sqlite:///{place.folder}/a.db", **asked),
            place.take(io.BytesIO((place.folder / "a.parquet").read_bytes()), **asked),
            place.take(io.BytesIO((place.folder / "a.jsonl").read_bytes()), **asked),
        ):
            assert (again.rows, again.new, again.corrections, again.repeated) == (5, 0, 0, 5)
        assert place.values(place.ids[:6]) == [1.5, 2.5, 3.5, 4.5, 5.5, None]

    def test_corrections_are_told_and_both_are_kept(self, place: Place) -> None:
        csv = place.folder / "a.csv"
        table(place.ids[:3], [1, 2, 3]).to_csv(csv, index=False)
        place.take(csv, id="pid", label="cost")
        table(place.ids[1:4], [2, 9, 4]).to_csv(csv, index=False)
        found = place.take(csv, id="pid", label="cost")
        assert (found.new, found.corrections, found.repeated) == (1, 1, 1)
        assert place.values(place.ids[:4]) == [1, 2, 9, 4]
        assert len((place.predictions / MODEL / "outcomes.jsonl").read_text().splitlines()) == 5

    def test_of_one_row_with_a_wrong_label_nothing_is_taken(self, place: Place) -> None:
        text = f"pid,cost\n{place.ids[0]},1\n{place.ids[1]},much\n{place.ids[2]},\n,4\n"
        with pytest.raises(DataUnfit, match="row 2: the label is no number; row 4: no id") as caught:
            place.take(io.BytesIO(text.encode()), id="pid", label="cost")
        assert "finite numbers" in str(caught.value)
        assert place.values(place.ids[:3]) == [None] * 3

    def test_rows_without_a_label_are_counted(self, place: Place) -> None:
        found = place.take(
            io.BytesIO(f"pid,cost\n{place.ids[0]},\n{place.ids[1]},2\n".encode()), id="pid", label="cost"
        )
        assert (found.rows, found.new, found.unlabelled) == (2, 1, 1)

    def test_columns_that_are_not_there(self, place: Place) -> None:
        with pytest.raises(DataUnfit, match="named are not there") as caught:
            place.take(io.BytesIO(b"pid,cost\na,1\n"), id="identity", label="cost")
        assert "pid, cost" in str(caught.value)

    @pytest.mark.parametrize(
        "asked", [{}, {"id": "a", "key": ("b",)}, {"key": ("b",)}, {"at": "t"}, {"id": "a", "at": "t"}]
    )
    def test_it_has_to_be_said_which_prediction_is_meant(self, place: Place, asked: dict[str, Any]) -> None:
        with (
            pytest.raises(DataUnfit, match="not clear which prediction")
            if asked != {"id": "a", "at": "t"}
            else (pytest.raises(DataUnfit))
        ):
            place.take(io.BytesIO(b"a,b,t,label\n"), **asked)

    def test_it_has_to_be_said_where_they_are(self, place: Place) -> None:
        with pytest.raises(TableUnreadable, match="not clear where"):
            place.take(id="pid")
        with pytest.raises(TableUnreadable, match="not clear where"):
            place.take(place.folder / "a.csv", query="SELECT 1", database="sqlite://", id="pid")


class TestKeys:
    def test_by_key_and_time(self, place: Place) -> None:
        text = "house,when,label\n" + "".join(f"h{number},{LATER.replace('2999', '2020')},7\n" for number in range(3))
        before = place.take(io.BytesIO(text.encode()), key=("house",), at="when")
        assert (before.new, before.waiting) == (0, 3)  # the predictions are later
        now = pd.Timestamp.now("UTC").isoformat()
        text = f"house,rooms,when,label\nh0,0,{now},1\nh1,1.0,{now},2\nh1,5,{now},3\n"
        found = place.take(io.BytesIO(text.encode()), key=("house", "rooms"), at="when")
        assert (found.new, found.waiting) == (2, 1)
        assert place.values(place.ids[:3]) == [1, 2, None]

    def test_one_that_lies_ahead_waits_until_then(self, place: Place) -> None:
        found = place.take(io.BytesIO(f"house,when,label\nh0,{LATER},1\n".encode()), key=("house",), at="when")
        assert (found.new, found.waiting) == (0, 1)
        again = place.take(io.BytesIO(f"house,when,label\nh0,{LATER},1\n".encode()), key=("house",), at="when")
        assert again.waiting == 1
        assert len(waiting.read_waiting(place.predictions, MODEL)) == 1

    def test_what_came_before_its_prediction_finds_it_later(self, place: Place) -> None:
        soon = (pd.Timestamp.now("UTC") + pd.Timedelta(seconds=0.6)).isoformat()
        place.take(io.BytesIO(f"house,when,label\nh99,{soon},5\n".encode()), key=("house",), at="when")
        (identity,) = logged(place.settings, [99])
        while pd.Timestamp.now("UTC").isoformat() <= soon:
            pass
        with opened(place.settings) as session:
            assert settle_in(session, MODEL) == 1
            assert settle_in(session, MODEL) == 0
        assert place.values([identity]) == [5]

    def test_ids_that_are_not_in_the_log_wait(self, place: Place) -> None:
        text = f"id,label\n{'f' * 16}-0,5\n{place.ids[0]},6\n"
        found = place.take(io.BytesIO(text.encode()), id="id")
        assert (found.new, found.waiting) == (1, 1)
        assert place.take(io.BytesIO(text.encode()), id="id").waiting == 1
        assert len(waiting.read_waiting(place.predictions, MODEL)) == 1


class TestAfterACrash:
    def test_the_same_file_again_completes_what_was_written_in_part(self, place: Place) -> None:
        text = f"id,label\n{'f' * 16}-0,5\n{place.ids[0]},6\n{place.ids[1]},7\n".encode()
        place.take(io.BytesIO(text), id="id")
        path = place.predictions / MODEL / "outcomes.jsonl"
        whole = read_outcomes(place.predictions, MODEL)
        path.write_bytes(path.read_bytes()[:-20])  # killed in the midst of the second write
        found = place.take(io.BytesIO(text), id="id")
        assert (found.new, found.repeated, found.waiting) == (1, 1, 1)
        assert {each: value.value for each, value in read_outcomes(place.predictions, MODEL).items()} == {
            each: value.value for each, value in whole.items()
        }
        assert len(waiting.read_waiting(place.predictions, MODEL)) == 1


class TestErasing:
    def test_a_joined_label_goes_with_its_row(self, place: Place) -> None:
        now = pd.Timestamp.now("UTC").isoformat()
        waiting.append_waiting(place.predictions, MODEL, [Outcome(value=7.0, key={"house": "h3"}, at=now[:26] + "Z")])
        found = erase(MODEL, where=("house", "h3"), reason="asked", settings=place.settings)
        assert (found.rows, found.outcomes) == (1, 1)
        assert place.values([place.ids[3]]) == [None]
        assert waiting.read_waiting(place.predictions, MODEL) == []

    def test_what_waits_goes_by_its_key_or_id(self, place: Place) -> None:
        strange = f"{'e' * 16}-5"
        append_outcomes(place.predictions, MODEL, [Outcome(value=1, prediction_id=place.ids[0])])
        waiting.append_waiting(
            place.predictions,
            MODEL,
            [
                Outcome(value=7.0, key={"house": "h3"}, at=LATER),
                Outcome(value=8.0, key={"house": "h4"}, at=LATER),
                Outcome(value=9.0, prediction_id=strange),
            ],
        )
        by_key = erase(MODEL, where=("house", "h3"), reason="asked", settings=place.settings)
        assert (by_key.rows, by_key.outcomes) == (1, 1)
        by_id = erase(MODEL, ids=[strange], reason="asked", settings=place.settings)
        assert (by_id.rows, by_id.outcomes) == (0, 1)
        assert [each.outcome.value for each in waiting.read_waiting(place.predictions, MODEL)] == [8.0]
        assert place.values(place.ids[:1]) == [1]


WHOLE = Contract(columns=(), label="y", task="classification", classes=(0, 1))
BOTH = Contract(columns=(), label="y", task="classification", classes=(1, "1"))
TRUTH = Contract(columns=(), label="y", task="classification", classes=(False, True))
WORDS = Contract(columns=(), label="y", task="classification", classes=("no", "yes"))
NUMBERS = Contract(columns=(), label="y", task="regression")


@pytest.mark.parametrize(
    ("given", "contract", "value", "told"),
    [
        (1, WHOLE, 1, ""),
        ("1", WHOLE, 1, "text"),
        (" 1.0", WHOLE, 1, "text"),
        (1.0, WHOLE, 1, "float"),
        (True, WHOLE, 1, "bool"),
        ("1.5", WHOLE, None, "none of the model's classes"),
        ("1", BOTH, "1", ""),
        (1.0, BOTH, 1, "float"),
        ("true", TRUTH, True, "text"),
        ("maybe", TRUTH, None, "none of the model's classes"),
        ("yes", WORDS, "yes", ""),
        ("Yes", WORDS, None, "none of the model's classes"),
        (2, NUMBERS, 2, ""),
        ("2.5", NUMBERS, 2.5, "text"),
        ("nan", NUMBERS, None, "not finite"),
        (True, NUMBERS, None, "not a finite number"),
    ],
)
def test_a_label_is_converted_only_where_it_can_mean_one_thing(
    given: Any, contract: Contract, value: Any, told: str
) -> None:
    found, how = as_label(given, contract)
    assert found == value
    assert type(found) is type(value)
    assert (how == "") if told == "" else (told in how)


def test_the_command(place: Place) -> None:
    csv = place.folder / "a.csv"
    table([*place.ids[:2], "zz"], [1, 2, 3]).to_csv(csv, index=False)
    flags = ["--id", "pid", "--label", "cost", "--workspace", str(place.settings.workspace)]
    said = CliRunner().invoke(app, ["outcomes", MODEL, str(csv), *flags])
    assert said.exit_code == 0, said.output
    assert "3 rows: 2 new labels, 0 corrections, 0 as they were" in said.output
    assert "1 wait for their prediction" in said.output
    told = CliRunner().invoke(app, ["outcomes", MODEL, "-", *flags, "--json"], input=csv.read_bytes())
    assert json.loads(told.stdout)["repeated"] == 2
    wrong = CliRunner().invoke(app, ["outcomes", MODEL, "-", *flags], input=b"pid,cost\na,x\n")
    assert wrong.exit_code == 2
    assert "row 1" in wrong.output
