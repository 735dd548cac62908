"""What the past tells a plan: only what callers asked for, only where enough of it came, and the rest is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import circles
from circles import Circle
from flows import logbooks, test_experiment
from fullcircle.errors import SettingInvalid
from fullcircle.flows import versions
from fullcircle.flows.experiment_past import PAST_DAYS
from fullcircle.flows.experiment_plan import plan_of
from fullcircle.flows.exposed import Measuring
from fullcircle.flows.session import loaded, opened
from fullcircle.monitoring.grid import iso, now
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract
from fullcircle.types.contract import Verdict as RowVerdict
from fullcircle.types.experiments import Plan
from fullcircle.types.prediction import Outcome, Prediction

HOUR = 3_600_000_000
WANTED = replace(test_experiment.WANTED, metric="mae")


@pytest.fixture
def ran(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Circle:
    """What one ``run`` left: probes, two windows with their labels, and no call of anybody."""
    return circles.copy(tmp_path_factory, circles.UNTIMED, tmp_path_factory.mktemp("ran"))


def planned(ran: Circle, changed: Any = None, **more: Any) -> Plan:
    """The plan of another version beside version 1."""
    with opened(ran.settings) as session:
        contract: Contract = versions.bundle(session, "houses", 1).contract
        measuring = Measuring(loaded(ran.project).project, contract if changed is None else changed(contract))
        return plan_of(session, "houses", measuring, (1, 2), more.pop("delay", 0.0), replace(WANTED, **more))


def called(
    settings: Settings,
    requests: int,
    *,
    rows: int = 1,
    hours: float = 24.0,
    labels: int = 0,
    days: float = 0.1,
    **more: Any,
) -> None:
    """Requests of callers over the last ``hours``; the first ``labels`` rows get one, so many ``days`` later."""
    rng, began = np.random.default_rng(2), now() - round(hours * HOUR)
    found, times = [], []
    for place in range(requests * rows):
        truth = float(rng.normal(20, 5))
        given = {name: each(place) for name, each in more.items()}
        inputs = {"rooms": 3, "heat": 20.0, "area": "north", **given}
        row = Prediction(value=truth, verdict=RowVerdict(status="ok"), model="houses", version=1, inputs=inputs)
        found.append(replace(row, latency=0.001 + place // rows / 1e6))
        times.append(began + round(place // rows * hours * HOUR / requests))
    with opened(settings) as session:
        ids = logbooks.write(session.workspace.predictions / "houses", found, times)
        told = [
            Outcome(prediction_id=id, value=20.0, time=iso(time + round(days * 24 * HOUR)))
            for id, time in zip(ids[:labels], times, strict=False)
        ]
        log.append_outcomes(session.workspace.predictions, "houses", told)


def assumed(plan: Plan, *words: str) -> bool:
    return any(all(word in each for word in words) for each in plan.assumed)


class TestWhatRunSent:
    def test_it_is_nobodys_history(self, ran: Circle) -> None:
        with opened(ran.settings) as session:
            logged = list(log.read(session.workspace.predictions, "houses", version=1))
        assert len(ran.turn.probes) > 0
        assert len(logged) == sum(each.rows for each in ran.turn.windows) + len(ran.turn.probes), "run sent them all"
        plan = planned(ran)
        assert plan.rows_a_day == 0, "nobody called"
        assert (plan.days, plan.likely_days) == (None, None)
        assert plan.rows_a_unit == 1.0
        assert plan.metric.kind == "mean", "so rows that come one by one get the exact sequence"
        assert plan.label_delay_days == 0, "run has its labels at once, callers have not"
        assert assumed(plan, "how many rows come a day is not known", "callers sent 0 requests")
        assert assumed(plan, "by the interval in the report of version 1", "0 requests")
        assert assumed(plan, "rows come one by one")
        assert assumed(plan, "how long labels take is not known", "label_delay")

    def test_callers_beside_it_are_counted(self, ran: Circle) -> None:
        called(ran.settings, 240, labels=200)
        plan = planned(ran)
        assert plan.rows_a_day == pytest.approx(240, rel=0.01)
        assert plan.rows_a_unit == 1.0
        assert plan.label_delay_days == pytest.approx(0.1, rel=0.01)
        assert plan.assumed == ()

    def test_a_label_delay_of_the_project_stands(self, ran: Circle) -> None:
        plan = planned(ran, delay=3.0)
        assert plan.label_delay_days == 3.0
        assert not assumed(plan, "how long labels take")


class TestTooFew:
    def test_a_plan_begins_with_thirty_requests_of_callers(self, ran: Circle) -> None:
        called(ran.settings, 29, rows=100, labels=2900)
        few = planned(ran)
        assert (few.metric.kind, few.rows_a_unit, few.rows_a_day, few.label_delay_days) == ("mean", 1.0, 0.0, 0.0)
        assert assumed(few, "the report of version 1", f"29 requests of the last {PAST_DAYS} days have a label")
        called(ran.settings, 2, rows=100, labels=200)
        enough = planned(ran)
        assert enough.metric.kind == "ratio"
        assert enough.rows_a_unit == pytest.approx(100)
        assert enough.rows_a_day == pytest.approx(3100, rel=0.05)
        assert enough.label_delay_days == pytest.approx(0.1, rel=0.01)
        assert enough.spread < few.spread
        assert enough.assumed == ()

    def test_requests_without_labels_tell_how_rows_come_and_not_how_they_stray(self, ran: Circle) -> None:
        called(ran.settings, 50, rows=4, labels=20)
        plan = planned(ran)
        assert (plan.metric.kind, plan.rows_a_unit) == ("ratio", 4.0)
        assert plan.rows_a_day == pytest.approx(200, rel=0.05)
        assert plan.label_delay_days == 0
        assert assumed(plan, "the report of version 1", "5 requests")
        assert assumed(plan, "each row gets a label", "only 20 of 200")


class TestEntities:
    def test_two_areas_are_too_few_as_the_training_rows_know(self, ran: Circle) -> None:
        with pytest.raises(SettingInvalid, match="nothing is ever known") as caught:
            planned(ran, entity=("area",))
        assert caught.value.received == "area: 3 values in the rows that trained the model"
        assert "--entity" in (caught.value.next_step or "")

    def test_few_among_many_calls_are_too_few(self, ran: Circle) -> None:
        called(ran.settings, 300, labels=300, rooms=lambda place: 1 + place % 8)
        called(ran.settings, 500, labels=500, rooms=lambda place: None)
        with pytest.raises(SettingInvalid, match="nothing is ever known") as caught:
            planned(ran, entity=("rooms",))
        assert caught.value.received == "rooms: 8 entities in 300 rows that have one"

    def test_few_among_few_calls_may_become_many(self, ran: Circle) -> None:
        called(ran.settings, 40, labels=40, rooms=lambda place: 1 + place % 8)
        plan = planned(ran, entity=("rooms",))
        assert (plan.metric.kind, plan.rows_a_unit) == ("ratio", 1.0)
        assert assumed(plan, "an entity has one row", "8 entities")
        assert assumed(plan, "new entities (rooms) go on coming: 8 came in the last 28 days")

    def test_many_are_planned_by_and_fewer_than_are_needed_is_said(self, ran: Circle) -> None:
        called(ran.settings, 600, labels=600, rooms=lambda place: place % 100)
        plan = planned(ran, entity=("rooms",), effect=0.01)
        assert plan.rows_a_unit == pytest.approx(6.0)
        assert assumed(plan, "go on coming: 100 came", f"{int(np.ceil(plan.rows / 6)):,} are needed")
        assert not assumed(planned(ran, entity=("rooms",), effect=100.0), "go on coming")

    def test_a_number_with_a_fraction_is_noted(self, ran: Circle) -> None:
        called(ran.settings, 60, labels=60, heat=lambda place: 20.0 + place / 8)
        plan = planned(ran, entity=("heat",))
        assert assumed(plan, "have the same heat to the last digit")
        assert not assumed(planned(ran, entity=("rooms",)), "to the last digit")
