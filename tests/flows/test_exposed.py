"""From the log to arrays: what a real server writes of a split is what an experiment reads."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circles
import fullcircle as fc
from beside import Split
from fullcircle.errors import SettingInvalid
from fullcircle.flows import verdicts
from fullcircle.flows.exposed import Exposed, Measuring, gathered, of_split
from fullcircle.flows.session import opened
from fullcircle.server.routes import Beside, Route
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract, Problem, Value
from fullcircle.types.contract import Verdict as RowVerdict
from fullcircle.types.experiments import Arm, Guardrail, MetricKind, Plan
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.splits import Split as Known
from fullcircle.types.splits import Variant
from serving import JSON_HEADER, ask, classes, contract

TIME = "2026-03-01T00:00:00.000000Z"
LATER = "2026-03-01T06:00:00.000000Z"


def pays(actual: Any, predicted: Any) -> Any:
    """Ten, less what the answer was off."""
    return 10.0 - np.abs(np.asarray(actual, dtype=float) - np.asarray(predicted, dtype=float))


def project(**more: Any) -> Any:
    return fc.Project(
        name="m", data=fc.Table("rows.csv"), label="y", features=["age", "bmi", "sex"], fit=lambda X, y: None, **more
    )


def measuring(terms: Contract | None = None, **more: Any) -> Measuring:
    return Measuring(project(**more), terms or contract())


def row(place: int, value: Value, **more: Any) -> Prediction:
    given: dict[str, Any] = {
        "version": 1,
        "model": "m",
        "time": TIME,
        "split": "s",
        "propensity": 0.5,
        "latency": 0.01 * place,
    }
    given["verdict"] = RowVerdict(status="ok")
    return Prediction(id=f"segment-{place}", value=value, **{**given, **more})


def labels(*told: tuple[int, Value], time: str = LATER) -> Mapping[str, Outcome]:
    return {
        f"segment-{place}": Outcome(prediction_id=f"segment-{place}", value=value, time=time) for place, value in told
    }


def read(rows: Sequence[Prediction], outcomes: Mapping[str, Outcome], *names: str, **more: Any) -> Any:
    of = more.pop("of", None) or measuring()
    return gathered(rows, outcomes, of, names or ("mae",), version=2, **more)


class TestWhatTheServerLogs:
    """The log of a real split, with a process of its own for the version beside the champion."""

    RAILS = (Guardrail(name="failed", kind="rate", limit=0.1),)

    @staticmethod
    async def played(
        folder: Path, how: str, rows: int, entity: Sequence[str], share: int, absent: int = 0, **values: Any
    ) -> list[Prediction]:
        """Requests of one row and of two by turns; the version's process is not there for the ``absent`` first."""
        found = Split(folder, how, share=share, entity=entity)
        there, variant = found.route, Variant(version=2, high=share)
        found.show(Route(way=found.way, champion=1, others=(Beside(variant=variant),)))
        try:
            for place in range(rows):
                if place == absent:
                    found.show(there)
                given = {"sex": "f", **values}
                asked = [{"age": 20 + place % 60, "bmi": 20.0 + extra, **given} for extra in range(1 + place % 2)]
                body = json.dumps({"rows": asked}).encode()
                answer = await ask(found.app, "POST", "/predict/m", body, JSON_HEADER)
                assert answer.status == 200, answer.body
        finally:
            found.close()
            while not found.child.idle:
                await asyncio.sleep(0.01)
        return list(log.read(folder / "predictions", "m"))

    def exposed(self, folder: Path, how: str, rows: int, absent: int = 0) -> tuple[list[Prediction], Exposed]:
        """All that the server logged of a split, and what an experiment reads of it."""
        with opened(circles.unbegun(folder)) as session:
            logged = asyncio.run(self.played(session.workspace.root, how, rows, (), 5000, absent))
            known = Known(
                id="s1", model="m", kind="split", champion=1, version=2, salt="salt", started=logged[0].time
            )
            found = of_split(session, measuring(), known, measuring().metric("mae"), self.RAILS)
        return logged, found

    def test_rows_of_a_request_are_one_unit_with_its_share(self, tmp_path: Path) -> None:
        rows = asyncio.run(self.played(tmp_path, "well", 60, (), 3000))
        told = {each.id: Outcome(prediction_id=each.id, value=1.0, time=each.time) for each in rows}
        found = read(rows, told)
        assert found.rows == 90
        assert len(np.unique(found.unit)) == 60
        assert set(found.share) == {0.3}
        for unit in np.unique(found.unit):
            assert len(set(found.second[found.unit == unit])) == 1
        assert 5 <= len(np.unique(found.unit[found.second])) <= 32
        # The version answers 1000 more, so its error is 1000 more.
        assert found.values["mae"][found.second].min() > 900
        assert found.values["mae"][~found.second].max() < 900

    def test_rows_of_an_entity_are_one_unit_and_stay_with_one_version(self, tmp_path: Path) -> None:
        rows = asyncio.run(self.played(tmp_path, "well", 90, ("age",), 5000))
        found = read(rows, {}, entity=("age",))
        assert len(np.unique(found.unit)) == 60
        for unit in np.unique(found.unit):
            assert len(set(found.second[found.unit == unit])) == 1

    def test_where_the_champion_stood_in_the_row_is_the_versions_while_it_was_asked(self, tmp_path: Path) -> None:
        """It fails until the breaker takes it out. From then on there is no choice, and no row counts for anybody."""
        logged, found = self.exposed(tmp_path, "raises", 60)
        assert {each.version for each in logged} == {1}
        assert len(logged) == 90
        asked = [each for each in logged if each.propensity == 0.5]
        assert {each.propensity for each in logged} == {0.5, 1.0}
        assert {each.assigned for each in logged if each.propensity == 1.0} == {0}
        assert found.rows == len(asked) < 45
        assert set(found.share) == {0.5}
        assert found.second.sum() == sum(each.assigned == 2 for each in asked) >= 2
        assert np.array_equal(found.events["failed"], found.second)

    def test_what_was_asked_before_the_version_was_there_counts_for_nobody(self, tmp_path: Path) -> None:
        """Else both arms would hold the champion's answers, and the version would be as good and failing."""
        logged, found = self.exposed(tmp_path, "well", 60, absent=24)
        assert [each.propensity for each in logged[:36]] == [1.0] * 36
        assert found.rows == 54 == len(logged) - 36
        assert set(found.share) == {0.5}
        assert not found.events["failed"].any()
        assert 8 <= len(np.unique(found.unit[found.second])) <= 28

    def test_where_the_entitys_value_is_missing_the_row_is_its_requests(self, tmp_path: Path) -> None:
        """The contract puts 26 in, and the log holds that: it is nobody's value, and nobody was dealt by it."""
        rows = asyncio.run(self.played(tmp_path, "well", 30, ("bmi",), 5000, bmi=None))
        assert {(each.inputs or {}).get("bmi") for each in rows} == {26.0}
        found = read(rows, {}, entity=("bmi",))
        assert len(np.unique(found.unit)) == 30
        for unit in np.unique(found.unit):
            assert len(set(found.second[found.unit == unit])) == 1


class TestArrays:
    def test_of_nothing_they_are_empty(self) -> None:
        found = read([], {}, "mae", "label", guardrails=(Guardrail(name="rejected", kind="rate", limit=0.1),))
        assert found.rows == 0
        assert {name: len(each) for name, each in found.values.items()} == {"mae": 0, "label": 0}
        assert len(found.events["rejected"]) == 0

    def test_who_has_no_answer_no_label_or_a_label_of_no_sense_has_no_value(self) -> None:
        rows = [
            row(0, 5.0),
            row(1, None, verdict=RowVerdict(status="rejected")),
            row(2, 5.0),
            row(3, 5.0),
            row(4, 5.0, erased="mark"),
        ]
        found = read(rows, labels((0, 7.0), (1, 7.0), (3, "seven"), (4, 7.0)))
        assert found.values["mae"][0] == 2.0
        assert np.isnan(found.values["mae"][1:]).all()
        assert np.isnan(found.arrived[1:]).all()
        assert found.arrived[0] - found.at[0] == 6 * 3600
        assert found.rows == 5  # they were dealt all the same

    def test_who_it_was_dealt_to_counts_and_by_which_chance(self) -> None:
        rows = [
            row(0, 1.0, propensity=0.7),
            row(1, 1.0, version=2, propensity=0.3),
            row(2, 1.0, assigned=2, propensity=0.3),
            row(3, 1.0, propensity=None),
        ]
        found = read(rows, {})
        assert found.second.tolist() == [False, True, True, False]
        assert found.share[:3].tolist() == pytest.approx([0.3] * 3)
        assert math.isnan(found.share[3])

    def test_requests_are_told_apart_by_segment_time_and_latency(self) -> None:
        same = {"latency": 0.02}
        rows = [
            row(0, 1.0, **same),
            row(1, 1.0, **same),
            row(2, 1.0, latency=0.03),
            row(3, 1.0, **same, time=LATER),
            replace(row(4, 1.0, **same), id="other-4"),
        ]
        assert read(rows, {}).unit.tolist() == [0, 0, 1, 2, 3]

    def test_entities_are_told_by_their_values_wherever_the_log_holds_them(self) -> None:
        rows = [
            row(0, 1.0, inputs={"customer": 7}),
            row(1, 1.0, context={"customer": 7}),
            row(2, 1.0, lookup={"request": {"customer": 7}}),
            row(3, 1.0, inputs={"customer": 8}),
            row(4, 1.0, inputs={"customer": None}),
            row(5, 1.0),
        ]
        found = read(rows, {}, entity=("customer",))
        assert found.unit.tolist() == [0, 0, 0, 1, 2, 3]  # without a value it is its request

    def test_a_value_that_was_put_in_is_no_entitys(self) -> None:
        def odd(action: Any, column: str = "customer") -> RowVerdict:
            problem = Problem(column=column, reason="outside", action=action, text="odd")
            return RowVerdict(status="imputed", problems=(problem,))

        rows = [
            row(0, 1.0, inputs={"customer": 7}),
            row(1, 1.0, inputs={"customer": 7}, verdict=odd("impute")),
            row(2, 1.0, inputs={"customer": 7}, verdict=odd("impute")),
            row(3, 1.0, inputs={"customer": 7}, verdict=odd("flag")),
            row(4, 1.0, inputs={"customer": 7}, verdict=odd("impute", "age")),
        ]
        assert read(rows, {}, entity=("customer",)).unit.tolist() == [0, 1, 2, 0, 0]

    def test_events_are_by_verdict_failure_and_latency(self) -> None:
        rails = [
            Guardrail(name=name, kind="rate", limit=0.1) for name in ("rejected", "fallback", "failed", "slower:25ms")
        ]
        rows = [
            row(1, None, verdict=RowVerdict(status="rejected")),
            row(2, 1.0, verdict=RowVerdict(status="fallback")),
            row(3, 1.0, assigned=2),
            row(4, 1.0, latency=None),
        ]
        found = read(rows, {}, guardrails=rails)
        assert {name: each.tolist() for name, each in found.events.items()} == {
            "rejected": [True, False, False, False],
            "fallback": [False, True, False, False],
            "failed": [False, False, True, False],
            "slower:25ms": [False, False, True, False],
        }

    def test_more_rows_than_are_read_at_once_are_the_same(self) -> None:
        rows = [row(place, float(place)) for place in range(4500)]
        found = read(rows, labels(*((place, 0.0) for place in range(0, 4500, 2))))
        assert found.values["mae"][::2].tolist() == [float(place) for place in range(0, 4500, 2)]
        assert np.isnan(found.values["mae"][1::2]).all()
        assert len(np.unique(found.unit)) == 4500

    def test_a_shadows_values_are_differences_of_both_answers(self) -> None:
        rows = [row(place, 5.0) for place in range(4)]
        copies = {
            "segment-0": row(0, 6.0, version=2),
            "segment-1": row(1, None, version=2, verdict=RowVerdict(status="rejected")),
            "segment-3": row(3, 9.0, version=2),
        }
        rails = (Guardrail(name="rejected", kind="rate", limit=0.1),)
        found = read(rows, labels(*((place, 7.0) for place in range(4))), copies=copies, guardrails=rails)
        # Off by 1 where the champion was off by 2; off by 2 as well; the others have no pair.
        assert found.values["mae"].tolist() == pytest.approx([-1.0, math.nan, math.nan, 0.0], nan_ok=True)
        assert found.lost.tolist() == [False, False, True, False]
        assert found.events["rejected"].tolist() == [False, True, False, False]
        assert np.isnan(found.arrived[1:3]).all()
        assert found.uneven.tolist() == [False, True, False, False]

    def test_what_only_one_of_both_answers_is_told_whoever_it_is_and_before_its_label_comes(self) -> None:
        rejected = {"verdict": RowVerdict(status="rejected")}
        rows = [row(0, 5.0), row(1, None, **rejected), row(2, None, **rejected), row(3, 5.0)]
        copies = {
            "segment-0": row(0, None, version=2, **rejected),
            "segment-1": row(1, 6.0, version=2),
            "segment-2": row(2, None, version=2, **rejected),
            "segment-3": row(3, 6.0, version=2),
        }
        assert read(rows, {}, copies=copies).uneven.tolist() == [True, True, False, False]
        assert not read(rows, {}).uneven.any()


class TestWhatIsNoNumber:
    """A fallback by the prior has a class and no probabilities: by some metrics it has no value."""

    LABELS = labels(*((place, "yes") for place in range(4)))
    FALLBACK: Mapping[str, Any] = {"verdict": RowVerdict(status="fallback"), "answered_by": "prior"}
    SURE: Mapping[str, Any] = {"probabilities": {"no": 0.75, "yes": 0.25}}

    def read(self, *names: str, copies: Mapping[str, Prediction] | None = None) -> Exposed:
        rows = [row(place, "no", **(self.FALLBACK if place == 1 else self.SURE)) for place in range(4)]
        found: Exposed = read(rows, self.LABELS, *names, of=measuring(classes()), copies=copies)
        return found

    @pytest.mark.parametrize("name", ["brier", "log_loss"])
    def test_it_is_like_a_row_without_a_label_for_the_metric_that_decides(self, name: str) -> None:
        found = self.read(name, "accuracy")
        assert np.isfinite(found.values[name]).tolist() == [True, False, True, True]
        assert np.isfinite(found.values["accuracy"]).all()
        assert np.isfinite(found.arrived).tolist() == [True, False, True, True]
        assert not found.uneven.any()

    def test_for_a_metric_that_does_not_need_them_it_counts(self) -> None:
        found = self.read("accuracy", "brier")
        assert np.isfinite(found.arrived).all()
        assert np.isfinite(found.values["brier"]).tolist() == [True, False, True, True]

    def test_where_one_of_both_has_them_the_pair_is_uneven(self) -> None:
        copies = {f"segment-{place}": row(place, "no", version=2, **self.SURE) for place in range(4)}
        copies["segment-2"] = row(2, "no", version=2, **self.FALLBACK)
        assert self.read("brier", copies=copies).uneven.tolist() == [False, True, True, False]
        assert not self.read("accuracy", "brier", copies=copies).uneven.any()  # the first one decides
        copies["segment-1"] = row(1, "no", version=2, **self.FALLBACK)
        found = self.read("brier", copies=copies)
        assert found.uneven.tolist() == [False, False, True, False]
        assert np.isfinite(found.values["brier"]).tolist() == [True, False, False, True]

    @pytest.mark.parametrize("kind", ["mean", "ratio", "paired"])
    def test_the_experiment_goes_on_without_it(self, kind: MetricKind) -> None:
        """400 rows and one fallback: the bounds are those without that row, and the margin of the same metric too."""
        rng = np.random.default_rng(1)

        def answer(place: int, version: int) -> Prediction:
            yes = float(rng.uniform(0.1, 0.3)) + (0.05 if version == 2 else 0.0)
            more = self.FALLBACK if place == 7 else {"probabilities": {"no": 1.0 - yes, "yes": yes}}
            return row(place, "no", version=version, **more)

        paired = kind == "paired"
        rows = [answer(place, 1 if paired else 1 + int(rng.random() < 0.5)) for place in range(400)]
        copies = {each.id: answer(place, 2) for place, each in enumerate(rows)} if paired else None
        told = labels(*((place, "yes" if place % 4 == 0 else "no") for place in range(400)))
        of = measuring(classes())
        rail = Guardrail(name="log_loss", kind="margin", limit=0.5, better="down")
        plan = Plan(
            model="m",
            metric=replace(of.metric("brier"), kind=kind),
            arms=(Arm(version=1, share=0.5), Arm(version=2, share=0.5)),
            effect=0.1, spread=0.3, rows=240, likely_rows=150, rows_a_day=100.0, days=2.0, likely_days=1.0,
            guardrails=(rail,),
        )  # fmt: skip
        found = read(rows, told, "brier", "log_loss", of=of, copies=copies)
        told_now = verdicts.verdict(plan, found, float(found.at[0]) + 1e6, paired)
        others = [each for place, each in enumerate(rows) if place != 7]
        without = read(others, told, "brier", "log_loss", of=of, copies=copies)
        assert told_now.difference == verdicts.verdict(plan, without, float(found.at[0]) + 1e6, paired).difference
        assert told_now.difference.low is not None
        assert told_now.state in ("running", "decided")
        assert told_now.guardrails[0].holds
        assert sum(each.due - each.labelled for each in told_now.arms) == (2 if paired else 1)


class TestMeasuring:
    def values(
        self, found: Measuring, name: str, answers: Sequence[Value], actual: Sequence[Value], **more: Any
    ) -> Any:
        rows = [row(place, value, **more) for place, value in enumerate(answers)]
        return found.per_row(name)(rows, actual).tolist()

    def test_numbers_are_measured_by_errors_labels_and_money(self) -> None:
        found = measuring(gates=[fc.worth(per_row=pays, at_least=0)], currency="EUR")
        assert found.names[0] == "value_per_row"
        assert {"mae", "label"} <= set(found.names)
        assert not {"rmse", "r2", "bias", "median_absolute_error"} & set(found.names)
        assert self.values(found, "mae", [1.0, 5.0], [2.0, 2.0]) == [1.0, 3.0]
        assert self.values(found, "value_per_row", [1.0, 5.0], [2.0, 2.0]) == [9.0, 7.0]
        assert self.values(found, "label", [1.0, 5.0], [2.0, 3.0]) == [2.0, 3.0]
        told = found.metric("")
        assert (told.name, told.kind, told.better, told.unit) == ("value_per_row", "mean", "up", "EUR")
        assert found.metric("mae").better == "down"

    def test_classes_are_measured_by_hits_probabilities_and_what_happened(self) -> None:
        found = measuring(classes())
        assert "value_per_row" not in found.names
        assert self.values(found, "accuracy", ["no", "yes"], ["no", "no"]) == [1.0, 0.0]
        assert self.values(found, "label", ["no", "yes"], ["yes", "no"]) == [1.0, 0.0]
        shares = {"probabilities": {"no": 0.75, "yes": 0.25}}
        assert self.values(found, "brier", ["no", "no"], ["no", "yes"], **shares) == pytest.approx([0.0625, 0.5625])
        assert found.metric("accuracy").kind == "proportion"
        assert found.metric("label").kind == "proportion"
        assert found.metric("brier").kind == "mean"

    def test_the_matrix_of_a_worth_gate_pays(self) -> None:
        gate = fc.worth(matrix={("yes", "yes"): 5.0, ("no", "yes"): -1.0}, at_least=0)
        found = measuring(classes(), gates=[gate])
        assert self.values(found, "value_per_row", ["yes", "yes", "no"], ["yes", "no", "yes"]) == [5.0, -1.0, 0.0]

    @pytest.mark.parametrize("name", ["rmse", "happiness", "value_per_row", "roc_auc"])
    def test_what_is_no_mean_over_rows_is_refused_with_what_is(self, name: str) -> None:
        with pytest.raises(SettingInvalid, match="no mean over rows") as caught:
            measuring().metric(name)
        assert "mae" in str(caught.value)

    def test_three_classes_have_no_label_to_want_more_of(self) -> None:
        found = measuring(contract(task="classification", classes=("a", "b", "c"), prior="a"))
        assert "label" not in found.names
        assert "accuracy" in found.names
