"""Answers for whole columns: what is logged is what the slow way logs, whatever may not be in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fullcircle.deployment.answering import Answerer, reserved, told
from fullcircle.flows.score import Logged
from fullcircle.runtimes.columns import Typed
from fullcircle.runtimes.scorer import Enriched, Scorer
from fullcircle.tables import predictions as log
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Column, Contract
from fullcircle.types.prediction import Prediction
from serving import Coin, Sum, classes, contract

ROWS: dict[str, list[Any]] = {
    "age": [40, 41, 3, None, 55],
    "bmi": [20.5, None, 30.0, 31.0, 70.0],
    "sex": ["f", "m", "f", "m", "x"],
    "ward": ["north", None, "south", "south", "north"],
}


def typed(columns: dict[str, list[Any]]) -> Typed:
    return Typed({name: pa.array(cells) for name, cells in columns.items()}, len(next(iter(columns.values()))))


def logged(folder: Path, scorer: Scorer, columns: Typed, key: bytes = b"") -> list[Prediction]:
    """What the log has of each row after all were answered at once."""
    with PredictionLog(folder, key=key) as kept:
        found = Answerer(scorer, Logged(kept, scorer)).answer(columns, 0)
    return [log.find(folder, number) for number in found.columns["prediction_id"].to_pylist()]


def slowly(folder: Path, scorer: Scorer, rows: Sequence[object], key: bytes = b"") -> list[Prediction]:
    """What the log has after each row went through the scorer, as a row of the server does."""
    with PredictionLog(folder, key=key) as kept:
        return [log.find(folder, one.id) for one in Logged(kept, scorer).append(scorer.score(rows))]


def _bare(one: Prediction) -> Prediction:
    return replace(one, id="", time="")


def _changed(base: Contract, **changes: Any) -> Contract:
    return replace(base, columns=tuple(replace(column, **changes) for column in base.columns))


CONTRACTS = {
    "as it is": contract(),
    "classes": classes(),
    "context": contract(context=("ward",)),
    "all private": _changed(contract(), private=True),
    "none private": _changed(contract(), private=False),
    "hashed": _changed(classes(), private=True, hashed=True),
    "private context": replace(
        contract(context=("ward", "sex")), columns=(*contract().columns, Column(name="note", kind="category"))
    ),
    "whole labels": contract(task="classification", classes=(0, 1), prior=0),
}


class Whole:
    """A classifier of numbers without probabilities."""

    def predict(self, frame: Any) -> Any:
        return (frame["age"] > 50).astype(int).to_numpy()


def _model(found: Contract) -> Any:
    if found.task == "regression":
        return Sum()
    return Whole() if found.classes == (0, 1) else Coin()


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_log_holds_the_same_as_row_by_row(tmp_path: Path, name: str) -> None:
    scorer = Scorer(CONTRACTS[name], _model(CONTRACTS[name]), name="m", version=3, bundle="c" * 64)
    columns = typed(ROWS)
    quick = logged(tmp_path / "quick", scorer, columns, key=b"k" * 32)
    slow = slowly(tmp_path / "slow", scorer, columns.dicts(scorer.contract), key=b"k" * 32)
    assert [_bare(one) for one in quick] == [_bare(one) for one in slow]
    assert {one.verdict.status for one in slow} >= {"rejected"}


@pytest.mark.parametrize("odd", ['a"b', "back\\slash", "line\nend", "ä %s {x}", "é" * 40])
def test_columns_of_any_name_are_logged(tmp_path: Path, odd: str) -> None:
    named = Contract(columns=(Column(name=odd, kind="number"),), label="y", task="regression")

    class First:
        def predict(self, frame: Any) -> Any:
            return frame[odd].to_numpy()

    (one,) = logged(tmp_path, Scorer(named, First(), name="m"), typed({odd: [1.5]}))
    assert (one.value, one.inputs) == (1.5, {odd: 1.5})


def test_the_columns_of_the_answers(tmp_path: Path) -> None:
    scorer = Scorer(classes(), Coin())
    found = Answerer(scorer).answer(typed(ROWS), 100)
    judged = scorer.score(typed(ROWS).dicts(scorer.contract))
    assert list(found.columns) == reserved(scorer.contract, recorded=False)
    assert found.columns["row"].to_pylist() == [100, 101, 102, 103, 104]
    assert found.columns["prediction"].to_pylist() == [one.value for one in judged]
    assert found.columns["verdict"].to_pylist() == [one.verdict.status for one in judged]
    assert found.columns["problems"].to_pylist() == [told(one) for one in judged]
    for label in ("no", "yes"):
        chances = [None if one.probabilities is None else one.probabilities[label] for one in judged]
        assert found.columns[f"probability_{label}"].to_pylist() == chances
    assert found.rejected.tolist() == [one.verdict.status == "rejected" for one in judged]
    assert sum(found.verdicts.values()) == 5
    assert reserved(contract(), recorded=True) == ["row", "prediction", "verdict", "problems", "prediction_id"]


def test_labels_of_several_types_are_written_as_text() -> None:
    mixed = contract(task="classification", classes=(1, "many"), prior=1)

    class Many:
        def predict(self, frame: Any) -> Any:
            return np.array([1, "many"], dtype=object)[(frame["age"] > 50).astype(int)]

    found = Answerer(Scorer(mixed, Many())).answer(typed(ROWS), 0).columns["prediction"].to_pylist()
    assert found == ["1", "1", None, None, "1"]


def test_no_row_is_an_answer_too() -> None:
    none = Typed({name: pa.array([], pa.float64()) for name in ROWS}, 0)
    found = Answerer(Scorer(classes(), Coin())).answer(none, 0)
    assert (found.verdicts, len(found.columns["prediction"])) == ({}, 0)


def test_a_model_that_looks_features_up_gets_every_row_as_a_row() -> None:
    asked: list[Any] = []

    def enrich(rows: Sequence[object]) -> list[Enriched]:
        asked.extend(rows)
        return [Enriched({**row, "bmi": 25.0}) for row in rows if isinstance(row, dict)]

    found = Answerer(Scorer(contract(context=("ward",)), Sum(), enrich=enrich)).answer(typed(ROWS), 0)
    assert asked == typed(ROWS).dicts(contract(context=("ward",)))
    assert found.columns["prediction"].to_pylist()[:2] == [65.0, 66.0]


@pytest.mark.parametrize("kind", ["text", "time"])
def test_a_contract_of_text_goes_row_by_row(tmp_path: Path, kind: Any) -> None:
    told_by = Contract(columns=(Column(name="note", kind=kind),), label="y", task="regression")

    class Length:
        def predict(self, frame: Any) -> Any:
            return frame["note"].astype(str).str.len().to_numpy(dtype=float)

    scorer = Scorer(told_by, Length(), name="m")
    columns = typed({"note": ["2026-01-01", None]})
    assert [_bare(one) for one in logged(tmp_path / "a", scorer, columns)] == [
        _bare(one) for one in slowly(tmp_path / "b", scorer, columns.dicts(told_by))
    ]
