"""Gates that could never be decided are refused before any training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import subjects
from fullcircle.errors import ColumnMissing, ProjectInvalid
from fullcircle.evaluation.checks import fairness
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.gates import refuse_unknown
from fullcircle.evaluation.metrics import of_task
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, size, worth

ALL: tuple[Gate, ...] = (
    at_most("mae", 10.0),
    at_least("r2", 0.5, by="age"),
    beats("champion", by=("sex", "age")),
    beats("baseline", margin=1.0),
    fair("sex", "mae", 2.0),
    worth(lambda actual, predicted: actual, 1.0),
    latency("5ms"),
    size("2kB"),
)


def test_gates_that_fit_are_accepted() -> None:
    refuse_unknown(ALL, task="regression", columns=("sex", "age"))
    refuse_unknown((at_most("latency_p50_ms", 3.0), at_least("value_per_row", 1.0)), task="regression", columns=())
    refuse_unknown((at_most("bias", 3.0), at_least("bias", -3.0)), task="regression", columns=())
    refuse_unknown((at_least("f1", 0.5),), task="classification", columns=(), classes=3)
    refuse_unknown((worth(matrix={("a", "b"): 1.0}),), task="classification", columns=(), classes=2)
    alike = (fair("sex", "mae", 1.0, without=["x"]), fair("sex", "mae", 2.0, without=["x"]), fair("sex", "r2", 1.0))
    refuse_unknown(alike, task="regression", columns=("sex",))


@pytest.mark.parametrize(
    ("gate", "task", "said"),
    [
        (at_most("mape", 1.0), "regression", "mae, rmse"),
        (at_most("accuracy", 1.0), "regression", "mae, rmse"),
        (at_most("mae", 1.0), "classification", "log_loss, accuracy"),
        (fair("sex", "latency_p50_ms", 1.0), "regression", "mae, rmse"),
        (at_most("latency_p50_ms", 1.0, by="sex"), "regression", "mae, rmse"),
        (at_most("r2", 0.5), "regression", "at_least for r2"),
        (at_least("mae", 0.5), "regression", "at_most for mae"),
        (at_most("baseline_mae", 0.5), "regression", "mae, rmse"),
        (at_most("champion_mae", 0.5), "regression", "mae, rmse"),
        (at_most("brier_skill", 0.5), "classification", "log_loss, accuracy"),
        (at_most("improvement_over_baseline", 5.0), "regression", "at_least for improvement_over_baseline"),
        (at_most("value_per_row", 5.0), "regression", "at_least for value_per_row"),
        (at_least("latency_p50_ms", 5.0), "regression", "at_most for latency_p50_ms"),
        (at_least("ece", 0.0), "classification", "at_most for ece"),
        (worth(matrix={("a", "b"): 1.0}), "regression", "per_row=function"),
    ],
)
def test_gates_that_cannot_be_decided_are_refused_before_training(gate: Gate, task: str, said: str) -> None:
    with pytest.raises(ProjectInvalid) as caught:
        refuse_unknown(
            (gate,), task="regression" if task == "regression" else "classification", columns=("sex",), classes=3
        )
    assert said in str(caught.value.allowed)
    assert caught.value.next_step


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_fair_gates_may_name_what_fairness_measures_beyond_the_table(task: str) -> None:
    named: Any = task
    for metric in fairness.BEYOND[named]:
        refuse_unknown((fair("sex", metric, 0.1),), task=named, columns=("sex",))
        with pytest.raises(ProjectInvalid):
            refuse_unknown((at_most(metric, 0.1),), task=named, columns=())


def test_groups_by_an_absent_column_are_refused() -> None:
    for gate in (fair("gender", "mae", 1.0), at_most("mae", 1.0, by=("sex", "gender")), beats(by="gender")):
        with pytest.raises(ColumnMissing, match="not in the data") as caught:
            refuse_unknown((gate,), task="regression", columns=("sex",))
        assert caught.value.received == "gender"


def test_two_answers_to_one_question_are_refused() -> None:
    twice = (worth(lambda a, p: a), worth(lambda a, p: p))
    with pytest.raises(ProjectInvalid, match="two worth gates"):
        refuse_unknown(twice, task="regression", columns=())
    differing = (fair("sex", "mae", 1.0), fair("sex", "mae", 2.0, without=["other"]))
    with pytest.raises(ProjectInvalid, match="without different ones") as caught:
        refuse_unknown(differing, task="regression", columns=("sex",))
    assert caught.value.received == "all groups; other"


def test_a_metric_of_two_classes_is_only_refused_where_there_are_others() -> None:
    binary = next(metric.name for metric in of_task("classification") if metric.binary)
    better = next(metric.better for metric in of_task("classification") if metric.name == binary)
    gate = (at_least(binary, 0.5) if better == "higher" else at_most(binary, 0.5),)
    refuse_unknown(gate, task="classification", columns=(), classes=2)
    refuse_unknown(gate, task="classification", columns=())  # how many classes there are is not known yet
    for classes in (3, 10):
        with pytest.raises(ProjectInvalid, match="two classes") as caught:
            refuse_unknown(gate, task="classification", columns=(), classes=classes)
        assert caught.value.received == f"{classes} classes"
        assert binary not in (caught.value.allowed or "").split(", ")


class TestEvaluating:
    """The same refusals where a subject is evaluated without a project."""

    @pytest.mark.parametrize(
        "gates",
        [
            [worth(lambda a, p: a), worth(lambda a, p: p)],
            [fair("group", "mae", 1.0), fair("group", "mae", 2.0, without=["b"])],
            [at_most("r2", 0.5)],
            [at_least("mae", 0.5)],
            [at_most("mape", 0.5)],
            [at_most("baseline_mae", 9.0)],
        ],
    )
    @pytest.mark.parametrize("given", [True, False])
    def test_gates_that_could_never_be_decided(self, gates: list[Gate], given: bool) -> None:
        subject = subjects.regression(60, gates=() if given else gates)
        with pytest.raises(ProjectInvalid) as caught:
            evaluate(subject, gates if given else None, checks=["quality"])
        assert caught.value.next_step

    def test_a_column_that_is_not_there(self) -> None:
        with pytest.raises(ColumnMissing, match="not in the data") as caught:
            evaluate(subjects.regression(60), [fair("gender", "mae", 1.0)], checks=["quality"])
        assert caught.value.received == "gender"

    def test_metrics_of_two_classes_for_more(self) -> None:
        three = subjects.classification(60, names=("a", "b", "c"))
        with pytest.raises(ProjectInvalid, match="two classes"):
            evaluate(three, [at_least("recall", 0.5)], checks=["quality"])

    @pytest.mark.parametrize(
        ("gates", "received"),
        [(["x"], "'x'"), ([at_most("mae", 1.0), None], "None"), (at_most("mae", 1.0), "mae at most 1"), ("x", "'x'")],
    )
    def test_things_that_are_no_gates(self, gates: Any, received: str) -> None:
        with pytest.raises(ProjectInvalid, match=r"no gates|not a list of gates") as caught:
            evaluate(subjects.regression(60), gates, checks=["quality"])
        assert caught.value.received == received
        assert "fc.at_most" in str(caught.value.next_step)

    def test_figures_and_verdicts_go_by_the_same_gates(self) -> None:
        """What a row is worth is asked of the gate that decides, not of another one in the subject."""

        def earning(base: float) -> Gate:
            return worth(lambda actual, predicted: base + np.arange(len(actual)) % 2, 5.0)

        dear, cheap = earning(10.0), earning(1.0)
        report = evaluate(subjects.regression(60, gates=[dear]), [cheap], checks=["value"])
        assert [verdict.passed for verdict in report.gates] == [False]
