"""The worst slice of each stretch: the one where the model is at fault, by name, from rows of that stretch alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fullcircle as fc
from fullcircle.flows import quality
from fullcircle.flows.slicing import Slices
from fullcircle.monitoring import losses
from fullcircle.tables.lines import moment
from fullcircle.types.contract import Column, Contract, Verdict
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Finding, Measure, Report

REGIONS = ("east", "north", "south", "west")
TWO = Contract(
    columns=(
        Column(name="age", kind="number"),
        Column(name="region", kind="category", categories=REGIONS),
        Column(name="name", kind="category", private=True),
    ),
    label="y",
    task="classification",
    classes=("no", "yes"),
)
NUMBERS = replace(TWO, task="regression", classes=(), label_unit="EUR")
WEEKS = [(moment(f"2026-01-{day:02}"), moment(f"2026-01-{day + 7:02}")) for day in (5, 12)]
PROJECT = fc.Project(name="loans", data="d.csv", label="y", features=["age", "region"], fit=lambda X, y: X)


def lot(place: int, count: int = 1200, *, bad: str = "") -> tuple[list[Prediction], dict[str, Outcome]]:
    """Answers of one week with their labels; in the region ``bad`` nearly all answers are sure and wrong."""
    rng = np.random.default_rng(place)
    rows, outcomes = [], {}
    for number in range(count):
        region, share = REGIONS[number % 4], float(rng.beta(1.2, 1.6))
        came = rng.random() < (1 - share if region == bad else share)
        row = Prediction(
            value="yes" if share > 0.5 else "no",
            verdict=Verdict(status="ok"),
            probabilities={"no": 1 - share, "yes": share},
            id=f"{place}-{number}",
            time=WEEKS[place][0],
            inputs={"age": float(rng.uniform(20, 60)), "region": region, "name": f"Ada {number % 3}"},
        )
        rows.append(row)
        outcomes[row.id] = Outcome(prediction_id=row.id, value="yes" if came else "no", time=WEEKS[place][1])
    return rows, outcomes


def worst(rows: Any, outcomes: Any, place: int = 0, contract: Contract = TWO) -> tuple[Measure, ...]:
    made = Slices(contract, WEEKS)
    assert list(made.passing(rows, outcomes)) == rows
    return made.measures(PROJECT, place)


def test_it_is_the_one_where_the_model_is_at_fault() -> None:
    rows, outcomes = lot(0, bad="south")
    (measure, named) = worst(rows, outcomes)
    assert (measure.name, named.name, named.group) == ("worst_slice", "slice_loss", "region=south")
    assert "region=south" in measure.method
    assert "more often wrong than it expects" in measure.method
    assert measure.value is not None
    assert measure.low is not None
    chosen = [row for row in rows if row.inputs and row.inputs["region"] == "south"]
    own = [-np.log((row.probabilities or {})[str(outcomes[row.id].value)]) for row in chosen]
    assert measure.low < np.mean(own) < (measure.high or 0.0)
    assert measure.low > 0.7  # an honest one would lose about 0.5 nats a row


def test_where_the_model_is_honest_nothing_is_proven_and_no_private_value_is_told() -> None:
    found = worst(*lot(0))
    assert "none is proven to be at fault" in found[0].method
    assert "Ada" not in "".join(each.method + each.group for each in found)


def test_each_stretch_has_its_own_and_the_order_of_rows_changes_nothing() -> None:
    first, second = lot(0, bad="south"), lot(1, bad="west")
    rows, outcomes = first[0] + second[0], first[1] | second[1]
    assert worst(rows, outcomes, 1)[1].group == "region=west"
    assert worst(rows[::-1], outcomes, 1) == worst(*second, 1)


def test_few_labels_or_strange_ones_tell_nothing() -> None:
    rows, outcomes = lot(0, 99)
    assert worst(rows, outcomes) == ()
    rows, outcomes = lot(0, 600)
    assert worst(rows, {}) == ()
    strange = {name: replace(each, value="maybe") for name, each in outcomes.items()}
    assert worst(rows, strange) == ()
    away = [replace(row, time=moment("2025-01-01")) for row in rows]
    assert worst(away, outcomes) == ()
    assert worst([replace(row, erased="x") for row in rows], outcomes) == ()


def test_of_many_rows_an_even_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullcircle.flows.slicing.KEPT", 400)
    rows, outcomes = lot(0, bad="south")
    found = worst(rows, outcomes)
    assert found == worst(rows[::-1], outcomes)
    assert found[0].n is not None
    assert found[0].n < 100
    assert found[1].group == "region=south"


def test_of_numbers_it_is_the_absolute_error() -> None:
    rng = np.random.default_rng(3)
    rows, outcomes = [], {}
    for row in lot(0)[0]:
        region = (row.inputs or {})["region"]
        rows.append(replace(row, value=10.0, probabilities=None))
        outcomes[row.id] = Outcome(prediction_id=row.id, value=float(10 + rng.normal(0, 1) + 5 * (region == "north")))
    (measure, named) = worst(rows, outcomes, contract=NUMBERS)
    assert (named.group, measure.unit) == ("region=north", "EUR")
    assert measure.value == pytest.approx(5.0, abs=0.5)
    assert "answers are too low" in measure.method


def test_it_is_among_the_figures_over_time_with_the_reference_beside() -> None:
    rows, outcomes = lot(0, bad="south")
    shares = [list((row.probabilities or {}).values()) for row in rows]
    loss = losses.fit(TWO, [outcomes[row.id].value for row in rows], [row.value for row in rows], shares)
    before = Measure(name="worst_slice", value=0.6, low=0.5, high=0.7, n=40)
    profile = Profile(features=(), rows=1200, metric="accuracy", metric_value=0.7, loss=loss)
    finding = Finding(check="slices", code="E007", title="", severity="good", text="", measures=(before,))
    about = quality.about_of(TWO, profile, PROJECT, Report(subject="loans", findings=(finding,)))
    judged = quality.judge(about, WEEKS, rows, outcomes)
    (told, nothing) = quality.told_over_time(about, WEEKS, judged)
    found = {(each.name, each.group): each for each in told}
    assert found["worst_slice", ""] == worst(rows, outcomes)[0]
    assert found["reference_worst_slice", ""].value == 0.6
    assert ("slice_loss", "region=south") in found
    assert [each.name for each in nothing] == ["label_coverage"]
