"""E005: times, throughput, memory and size, measured on models whose speed is known."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import subjects
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.operations import Operations, as_text
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.gates import latency, size
from fullcircle.types.report import Finding, Measure


def _found(subject: Subject) -> Finding:
    answer = Operations().run(subject)
    assert isinstance(answer, Finding)
    return answer


def _measure(finding: Finding, name: str) -> Measure:
    (found,) = [each for each in finding.measures if each.name == name]
    return found


class Slow:
    """Answers after a while, and counts how often it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0

    def __call__(self, row: Any) -> object:
        self.asked += 1
        time.sleep(self.seconds)
        return 0.0


def test_single_rows_take_at_least_what_the_model_takes() -> None:
    finding = _found(replace(subjects.regression(30), score_one=Slow(0.001)))
    half, most = (_measure(finding, name) for name in ("latency_p50_ms", "latency_p99_ms"))
    assert half.value is not None
    assert most.value is not None
    assert 1.0 <= half.value <= most.value
    assert most.low is not None
    assert most.high is not None
    assert most.low <= most.value <= most.high
    assert "on " in finding.text
    assert "cores" in finding.text


def test_a_latency_gate_that_is_missed_is_measured_once_more_and_no_oftener() -> None:
    quick, slow = Slow(0.0), Slow(0.0005)
    missed = replace(subjects.regression(30), score_one=slow, gates=(latency("0.1ms"),))
    kept = replace(subjects.regression(30), score_one=quick, gates=(latency("1s"),))
    assert "measured again" in _found(missed).text
    assert "measured again" not in _found(kept).text
    assert slow.asked == 2 * quick.asked


def test_the_gates_read_the_bound_of_the_time_and_the_size_exactly() -> None:
    gates = (latency("1s"), latency("0.0001ms"), size("13kB"), size("12kB"))
    report = evaluate(replace(subjects.regression(30), gates=gates), checks=["operations"])
    assert [gate.passed for gate in report.gates] == [True, False, True, False]


def test_a_model_too_slow_for_500_rows_has_no_upper_end_and_fails_its_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullcircle.evaluation.checks.operations._SECONDS", 0.05)
    subject = replace(subjects.regression(30), score_one=Slow(0.002), gates=(latency("1s"),))
    report = evaluate(subject, checks=["operations"])
    found = report.measure("latency_p99_ms")
    assert found is not None
    assert found.n < 100
    assert found.high is None
    assert not report.gates[0].passed


def test_throughput_goes_through_the_contract_where_there_is_one() -> None:
    asked: list[int] = []

    def judge(frame: Any) -> list[Any]:
        asked.append(len(frame))
        return []

    finding = _found(replace(subjects.regression(30), judge=judge))
    assert max(asked) == 1000
    assert set(asked) <= {10, 1000}
    speed = _measure(finding, "rows_per_second")
    assert speed.value is not None
    assert speed.value > 1000.0


def test_memory_is_that_of_a_batch() -> None:
    def hungry(frame: Any) -> Any:
        return np.ones(5_000_000)[: len(frame)]  # 40 MB

    memory = _measure(_found(replace(subjects.regression(30), predict=hungry)), "batch_memory")
    assert memory.value is not None
    assert 39.0 < memory.value < 60.0


def test_answers_alone_have_no_operations() -> None:
    answer = Operations().run(replace(subjects.regression(30), score_one=None))
    assert isinstance(answer, Skipped)


def test_without_a_file_there_is_no_size() -> None:
    finding = _found(replace(subjects.regression(30), model_bytes=None))
    assert not [each for each in finding.measures if each.name == "model_bytes"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"), (10**9, "1 GB")]
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, text: str) -> None:
    assert as_text(count) == text


def test_rows_are_taken_in_turn_where_there_are_few() -> None:
    seen: list[float] = []

    def listening(row: Any) -> object:
        seen.append(row["signal"])
        return 0.0

    Operations().run(replace(subjects.regression(3), score_one=listening))
    assert len(seen) == 420
    assert seen[:6] == seen[:3] * 2, "three rows again and again"
    assert seen[20:23] == seen[:3]


def test_values_are_those_that_json_brings() -> None:
    seen: list[Any] = []
    subject = subjects.regression(3)
    frame = subject.frame.assign(
        signal=pd.Series([np.int64(1), np.bool_(True), None], dtype=object),
        noise=pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
    )
    Operations().run(replace(subject, frame=frame, score_one=seen.append))
    assert seen[0] == {"signal": 1, "noise": "2020-01-01T00:00:00"}
    assert type(seen[0]["signal"]) is int
    assert seen[1] == {"signal": True, "noise": None}
    assert seen[2] == {"signal": None, "noise": "2020-01-03T00:00:00"}
