"""Rows that nobody should learn from reach the loop: it holds, says why, and the champion is what it was.

M18, M20, M23 and F40 of the list of hostile cases: none, ten, of one class, of noise, those of yesterday, twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import circles
from flows.looping import PROJECT, Life, houses, life
from fullcircle.flows import standing
from fullcircle.flows.retrain import retrain_in
from fullcircle.types.loop import Step, Trigger

HAND = Trigger(cause="hand", reason="asked for by hand")
CLASSES = (
    PROJECT.replace('fc.Table("houses.csv")', 'fc.Table("houses.csv", prepare=dear)')
    .replace("DecisionTreeRegressor", "DecisionTreeClassifier")
    .replace("min_samples_leaf=5", "min_samples_leaf=20")
    .replace('fc.at_most("mae", 20)', 'fc.at_most("log_loss", 2)')
    .replace("def fit", "def dear(rows):\n    return rows.assign(cost=(rows.cost > 24).astype(int))\n\n\ndef fit")
)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A model of a number that no turn below changes."""
    with life(tmp_path_factory.mktemp("numbers")) as found:
        yield found


@contextmanager
def _as_it_was(found: Life) -> Iterator[None]:
    """The champion stays, and nothing is made that waits."""
    before, made = found.champion, len(found.facts("version.registered"))
    yield
    assert found.champion == before == 1
    assert len(found.facts("version.registered")) == made


def _held(found: Life) -> tuple[Step, str]:
    """A retraining by hand, its reason, and the fact of it."""
    with standing.at_work(found.session, "houses") as journal:
        made = retrain_in(found.session, found.source, HAND, journal)
    assert made.decision.action == "hold"
    assert made.step is not None
    fact = found.facts("decision.taken")[-1]
    assert fact.body["action"] == "hold"
    assert str(fact.body["reason"]).startswith("asked for by hand; ")
    assert found.session.recall(str(fact.body["step"]), Step) == made.step
    return made.step, made.decision.reason


def test_none_those_known_already_and_ten(numbers: Life) -> None:
    """In this order: each only adds rows that are too few beside what is there."""
    with _as_it_was(numbers):
        _, reason = _held(numbers)
        assert "there are no new labelled rows to learn from" in reason
        known = pd.read_csv(StringIO(circles.houses()))
        numbers.day(known, turn=False)
        numbers.day(known, turn=False)
        step, reason = _held(numbers)
        assert step.labelled == 800, "they came twice"
        assert "there are no new labelled rows to learn from" in reason, "but all of them were known"
        numbers.day(houses(1, rows=10), turn=False)
        _, reason = _held(numbers)
        assert "there are only 10 new labelled rows, and 60 are needed" in reason


def test_rows_that_came_twice_count_once(tmp_path: Path) -> None:
    with life(tmp_path) as found, _as_it_was(found):
        once = houses(2, rows=50)
        found.day(once, turn=False)
        found.day(once, turn=False)
        step, reason = _held(found)
        assert step.labelled == 100
        assert "50 new labelled rows, 50 quarantined" in reason
        assert "too few rows are left: 60 are needed" in reason
        (copies,) = step.quarantine
        assert copies.rows == 50
        assert "repeats another row" in copies.reason


def _one_value(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return rows.assign(cost=1)


def _one_kind_of_row(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return rows[rows.cost == 1]


def _noise(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return rows.assign(rooms=rng.permutation(rows.rooms), heat=rng.permutation(rows.heat))


@pytest.mark.parametrize("way", [_one_value, _one_kind_of_row, _noise])
def test_one_class_or_noise_is_not_promoted(
    tmp_path: Path, way: Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
) -> None:
    rng = np.random.default_rng(0)
    with life(tmp_path, text=CLASSES) as found, _as_it_was(found):
        for day in range(3):
            rows = houses(day, rows=250)
            found.day(way(rows.assign(cost=(rows.cost > 24).astype(int)), rng), turn=False)
        step, reason = _held(found)
        assert step.labelled >= 300
        assert reason


def test_a_storm_of_days_of_noise_is_no_storm_of_trainings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with life(tmp_path) as found:
        steps = [found.day(_noise(houses(day), rng)) for day in range(6)]
        tried = [step for step in steps if step.decision is not None]
        assert 1 <= len(tried) <= 3, "the alarm stays open for all of the days"
        assert all(step.decision is not None and step.decision.action == "hold" for step in tried)
        assert found.champion == 1
