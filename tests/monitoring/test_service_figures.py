"""Figures of a service as laws: percentiles are bounds, shares add up, and nothing is said of what was not there."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.monitoring.service import SHARES, answered, finding, measures
from fullcircle.tables.requests import SECONDS, Counted, Histogram
from fullcircle.types.report import Measure

statuses = st.dictionaries(st.sampled_from([200, 400, 404, 413, 422, 429, 500, 503]), st.integers(1, 999), max_size=6)


def took(values: list[float]) -> Histogram:
    buckets = [0] * (len(SECONDS) + 1)
    for value in values:
        buckets[bisect_left(SECONDS, value)] += 1
    return Histogram(buckets=buckets, seconds=math.fsum(values))


def counted(by_status: dict[int, int], **given: object) -> Counted:
    requests = {status: took([0.004] * count) for status, count in by_status.items()}
    known = {"seconds": 60.0, "lines": 1, "requests": requests, **given}
    return Counted(**known)  # type: ignore[arg-type]


def by(found: Counted) -> dict[tuple[str, str], Measure]:
    return {(one.name, one.group): one for one in measures(found)}


@given(st.lists(st.floats(1e-6, 60.0), min_size=1, max_size=80))
@settings(max_examples=50, deadline=None)
def test_the_bounds_of_each_percentile_hold_it(values: list[float]) -> None:
    found = by(Counted(seconds=60.0, lines=1, requests={200: took(values)}))
    for name, share in SHARES:
        exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
        told = found[name, ""]
        assert told.low is not None
        assert told.low < exact <= (math.inf if told.high is None else told.high)
        assert told.value == (told.low if told.high is None else told.high)
        assert (told.high is None) == (exact > SECONDS[-1])
        assert told.usable  # never infinite
    ordered = [found[name, ""].value or 0.0 for name, _ in SHARES]
    assert ordered == sorted(ordered)
    assert found["latency_mean", ""].value == pytest.approx(math.fsum(values) / len(values))


@given(statuses)
@settings(max_examples=30, deadline=None)
def test_failures_are_those_of_the_callers_and_ours_and_no_others(by_status: dict[int, int]) -> None:
    found = by(counted(by_status))
    failed = {group: found["requests_failed", group].value or 0.0 for group in ("", "4xx", "5xx")}
    assert failed[""] == failed["4xx"] + failed["5xx"] == sum(n for s, n in by_status.items() if s >= 400)
    assert found["requests", ""].value == sum(by_status.values())
    assert {group for name, group in found if name == "requests" and group} == {str(each) for each in by_status}
    for group, n in failed.items():
        if not by_status:
            assert ("failed_share", group) not in found  # a share of nothing is not 0
            continue
        share = found["failed_share", group]
        assert share.value == pytest.approx(n / sum(by_status.values()))
        assert share.value is not None
        assert share.low is not None
        assert share.high is not None
        assert 0 <= share.low <= share.value <= share.high <= 1
        assert share.low < share.high  # even where none failed, it is not known that none would


@given(st.dictionaries(st.sampled_from(["ok", "imputed", "flagged", "fallback", "rejected"]), st.integers(0, 99)))
@settings(max_examples=30, deadline=None)
def test_shares_of_verdicts_add_up_and_one_that_did_not_occur_has_none(verdicts: dict[str, int]) -> None:
    found = by(counted({200: 1}, verdicts=verdicts))
    shares = {group: one.value or 0.0 for (name, group), one in found.items() if name == "verdict_share"}
    assert set(shares) == {verdict for verdict, n in verdicts.items() if n}
    assert math.fsum(shares.values()) == pytest.approx(1.0 if shares else 0.0)
    assert found["rows_requested", ""].value == sum(verdicts.values())


def test_of_no_traffic_only_what_is_known() -> None:
    nobody = by(Counted())
    assert {name for name, _ in nobody} == {
        "requests",
        "requests_failed",
        "rows_requested",
        "rows_failed",
        "rows_lost",
    }
    assert all(one.value == 0 for one in nobody.values())
    idle = by(counted({}))
    assert {name for name, _ in idle} - {name for name, _ in nobody} == {"busy_share", "busiest_share", "queue_share"}


def test_of_failures_alone_there_is_no_latency_of_answers() -> None:
    found = by(counted({503: 7, 400: 2}))
    assert not [name for name, _ in found if name.startswith("latency")]
    assert found["failed_share", ""].value == 1.0
    assert answered(counted({503: 7})).count == 0
    told = finding(counted({503: 7}, reasons={"overload": 7}))
    assert told.severity == "warning"
    assert told.text.startswith("Of 7 requests 7 failed: 7 overload.")
    assert "Answers took" not in told.text


@pytest.mark.parametrize(
    ("found", "severity", "text"),
    [
        (Counted(), "info", "No server wrote down requests for this model in this time."),
        (counted({}, seconds=5400.0), "info", "No request came in 1.5 hours of its workers."),
        (
            counted({200: 5}),
            "good",
            "Of 5 requests 0 failed. Answers took 4 ms on average, 99 % of them at most 5 ms.",
        ),
        (counted({400: 5}), "warning", "Of 5 requests 5 failed."),  # also the caller's fault: nobody is served
        (counted({422: 3}), "info", "Of 3 requests 3 failed: 3 all rows rejected. Answers took 4 ms"),
        (counted({200: 1, 500: 1}), "warning", "Of 2 requests 1 failed."),
        (counted({200: 12345}, lost=1234), "warning", "Of 12,345 requests 0 failed."),
        (counted({}, torn=2), "warning", "No request came in 0.0 hours of its workers. 2 lines could not be read"),
    ],
)
def test_what_the_finding_says(found: Counted, severity: str, text: str) -> None:
    told = finding(found)
    assert (told.severity, told.code, told.check) == (severity, "M005", "service")
    assert told.text.startswith(text)
    assert ("rows were answered and not logged" in told.text) == bool(found.lost)
    assert told.measures == measures(found)


def test_only_the_four_commonest_reasons_are_named_and_the_rest_are_measures() -> None:
    reasons = {"overload": 9, "invalid": 8, "slow": 7, "host": 6, "rate": 5}
    found = counted({503: 35}, reasons=reasons)
    assert "9 overload, 8 invalid, 7 slow, 6 host." in finding(found).text
    assert {group: one.value for (name, group), one in by(found).items() if name == "requests_refused"} == reasons


def test_those_that_named_no_model_count_where_they_failed() -> None:
    assert "more were refused" not in finding(counted({200: 1}), counted({200: 4})).text
    assert "4 more were refused before" in finding(counted({200: 1}), counted({404: 3, 200: 8, 500: 1})).text
