"""E011: batch, real time or both, from needs and measurements with one right answer each."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import FullcircleError
from fullcircle.evaluation.serving import sheet
from fullcircle.types.project import Serving
from fullcircle.types.report import Finding, Measure, Report


def _report(p99: float | None = 5.0, high: float | None = 6.0, speed: float | None = 10_000.0) -> Report:
    measures = [
        Measure(name="latency_p50_ms", value=None if p99 is None else p99 / 2),
        Measure(name="latency_p99_ms", value=p99, low=p99, high=high),
        Measure(name="rows_per_second", value=speed),
    ]
    finding = Finding(
        check="operations", code="E005", title="t", severity="info", text="t.", measures=tuple(measures)
    )
    return Report(subject="m", findings=(finding,))


def _needs(**changes: Any) -> Serving:
    return Serving(
        **{"requests_per_day": 10_000, "freshness": "1d", "latency": "100ms", "machine_hour": 0.5, **changes}
    )


def _chosen(finding: Finding) -> set[str]:
    return {str(row["way"]) for row in finding.table if row["chosen"] == "yes"}


@pytest.mark.parametrize(
    ("changes", "measured", "chosen", "said"),
    [
        ({}, {}, {"batch", "real time"}, "Both"),
        ({"freshness": "5m"}, {}, {"real time"}, "too short for runs in batch"),
        ({}, {"p99": 500.0, "high": 600.0}, {"batch"}, "looks the answer up"),
        ({}, {"p99": 90.0, "high": 110.0}, {"batch"}, "too slow"),  # the bound decides, not the point
        ({}, {"high": None}, {"batch"}, "too few rows were timed"),
        ({"requests_per_day": 1e9}, {"speed": 100.0}, {"real time"}, "hardly end before the next"),
        ({"requests_per_day": 1e9}, {"speed": 100.0, "p99": 500.0, "high": 600.0}, set(), "Neither"),
    ],
)
def test_the_way_follows_from_needs_and_measurements(
    changes: dict[str, Any], measured: dict[str, Any], chosen: set[str], said: str
) -> None:
    finding = sheet(_report(**measured), _needs(**changes), currency="EUR")
    assert _chosen(finding) == chosen
    assert said in finding.text
    assert finding.severity == ("good" if chosen else "warning")
    assert finding.text.endswith(".")
    assert (finding.check, finding.code) == ("serving", "E011")


def test_costs_are_machine_hours() -> None:
    report = Report(subject="m", findings=(sheet(_report(), _needs(), currency="EUR"),))
    real_time, batch = (report.measure(f"{way}_cost_per_month") for way in ("real_time", "batch"))
    assert real_time is not None
    assert batch is not None
    assert real_time.value == pytest.approx(730.5 * 0.5)
    # 10 000 rows a day at 10 000 a second: a second a day.
    assert batch.value == pytest.approx(365.25 / 12 / 3600 * 0.5)
    assert real_time.unit == "EUR a month"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Both: answers may be 1 day old, so rows that are known beforehand"),
        ({}, "in real time, within 100 ms."),
        ({"freshness": "7d"}, "answers may be 7 days old"),
        ({"freshness": "1w"}, "answers may be 7 days old"),
        ({"freshness": "5m"}, "answers may be only 5 minutes old"),
        ({"freshness": "5m"}, "1 machine like this one answers 10 000 rows a day"),
        ({"freshness": "90m"}, "answers may be 90 minutes old"),
        ({"latency": "1s"}, "within 1 second."),
        (
            {"latency": "1ms"},
            "Batch: 99 of 100 answers take at most 5 ms (up to 6 ms at 95 %), and 1 ms is allowed: too",
        ),
        ({"latency": "1ms"}, " A run every day keeps up with 10 000 rows a day"),
        ({"latency": "1.5s"}, "within 1.5 seconds."),
        ({}, "batch costs less than 0.01 EUR and real time 365 EUR."),
        ({"machine_hour": 0.05, "requests_per_day": 1e7}, "batch costs 0.42 EUR and real time 110 EUR."),
    ],
)
def test_it_is_told_in_words(changes: dict[str, Any], said: str) -> None:
    # No span of time as it is typed, no powers of ten.
    finding = sheet(_report(), _needs(**changes), currency="EUR")
    assert said in finding.text
    told = " ".join([finding.text, *(str(row["why"]) for row in finding.table)])
    assert not re.search(r"\b\d+[smhdw]\b|\de[-+]\d|\b1 machines", told), told


def test_the_slowest_answers_are_told_with_their_bound() -> None:
    finding = sheet(_report(p99=19.934, high=30.741), _needs())
    (why,) = [row["why"] for row in finding.table if row["way"] == "real time"]
    assert why == "99 of 100 answers take at most 19.9 ms (up to 30.7 ms at 95 %), and 100 ms is allowed"
    (run,) = [row["why"] for row in finding.table if row["way"] == "batch"]
    assert run.startswith("a run every day has about 10 000 rows and takes ")


def test_without_a_price_no_cost_is_made_up() -> None:
    finding = sheet(_report(), _needs(machine_hour=0.0))
    assert not [each for each in finding.measures if "cost" in each.name]
    assert "machine time" not in finding.text


@pytest.mark.parametrize("measured", [{"p99": None}, {"speed": None}, {"speed": 0.0}])
def test_nothing_is_decided_without_measurements(measured: dict[str, Any]) -> None:
    finding = sheet(_report(**measured), _needs())
    assert finding.severity == "warning"
    assert "not measured" in finding.text
    assert not finding.table


@given(st.floats(1, 1e8), st.floats(1, 1e8), st.floats(0.01, 1e4))
def test_more_requests_never_need_fewer_machines(one: float, two: float, p99: float) -> None:
    few, many = sorted((one, two))
    found = []
    for requests in (few, many):
        report = Report(subject="m", findings=(sheet(_report(p99, p99), _needs(requests_per_day=requests)),))
        machines = report.measure("real_time_machines")
        assert machines is not None
        assert machines.value is not None
        found.append(machines.value)
    assert found[0] <= found[1]


@pytest.mark.parametrize(
    "wrong", [{"requests_per_day": -1}, {"requests_per_day": "many"}, {"freshness": "soon"}, {"latency": "5"}]
)
def test_needs_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FullcircleError) as caught:
        _needs(**wrong)
    assert caught.value.allowed
