"""What a window says of its requests: counted exactly, bounds that are bounds, nothing made up."""

from __future__ import annotations

import pytest

from fullcircle.monitoring.service import finding, measures
from fullcircle.tables.requests import SECONDS, Counted, Histogram, Line


def took(**places: int) -> Histogram:
    buckets = [0] * (len(SECONDS) + 1)
    for place, count in places.items():
        buckets[int(place[1:])] = count
    return Histogram(buckets=buckets, seconds=2.0)


def counted(**given: object) -> Counted:
    found = Counted()
    known = {
        "requests": {200: took(b3=980, b18=10), 422: took(b0=5), 503: took(b0=4), 400: took(b0=1)},
        "reasons": {"overload": 4, "invalid": 1},
        "verdicts": {"ok": 990, "rejected": 5},
        "busy": 6.0,
        "waiting": 256,
        "bound": 1024,
        **given,
    }
    found.take(Line(since="2026-01-01T00:00:00.000000Z", seconds=60.0, number=0, model="m", **known))  # type: ignore[arg-type]
    return found


def test_the_figures_of_a_stretch() -> None:
    found = {(one.name, one.group): one for one in measures(counted())}
    value = {key: one.value for key, one in found.items()}
    assert value["requests", ""] == 1000
    assert [value["requests_failed", group] for group in ("", "4xx", "5xx")] == [10, 6, 4]
    share = found["failed_share", "5xx"]
    assert (share.value, share.n) == (0.004, 1000)
    assert share.low == pytest.approx(0.001557, abs=1e-5)  # Wilson 1927 by hand: z = 1.959964, k = 4
    assert share.high == pytest.approx(0.010239, abs=1e-5)
    assert value["latency_mean", ""] == pytest.approx(4 / 995)  # of 200 and 422, not of what was refused at once
    p95, longest = found["latency_p95", ""], found["latency_max", ""]
    assert (p95.low, p95.value, p95.high) == (0.0005, 0.001, 0.001)
    assert (longest.low, longest.value, longest.high) == (10.0, 10.0, None)
    assert value["verdict_share", "rejected"] == pytest.approx(5 / 995)
    assert (value["busy_share", ""], value["busiest_share", ""], value["queue_share", ""]) == (0.1, 0.1, 0.25)


def test_the_finding_says_it_in_words() -> None:
    unnamed = Counted(requests={404: took(b0=3)})
    found = finding(counted(), unnamed, batch_rows=70)
    assert (found.code, found.severity) == ("M005", "warning")
    assert found.text.startswith("Of 1,000 requests 10 failed: 5 all rows rejected, 4 overload, 1 invalid.")
    assert "99 % of them beyond 10 s" in found.text
    assert "at 25 % of its bound at most, the model busy for 10 % of the time" in found.text
    assert "70 rows were scored in batch" in found.text
    assert "3 more were refused before" in found.text


def test_without_requests_nothing_is_made_up() -> None:
    names = {one.name for one in measures(Counted())}
    assert names == {"requests", "requests_failed", "rows_requested", "rows_failed", "rows_lost"}
    assert finding(Counted()).text == "No server wrote down requests for this model in this time."
    idle = counted(requests={}, reasons={}, verdicts={}, busy=0.0, waiting=0)
    assert finding(idle).text == "No request came in 0.0 hours of its workers."
    assert finding(counted(requests={200: took(b3=9)}, reasons={})).severity == "good"
    assert finding(counted(requests={200: took(b3=9)}, reasons={}, lost=2)).severity == "warning"


@pytest.mark.parametrize(
    ("requests", "severity"),
    [
        ({400: 1}, "info"),  # one call with a mistake is no trouble, and nothing good either
        ({400: 5}, "warning"),
        ({422: 300}, "warning"),  # the contract rejected every row of every request
        ({200: 46, 404: 54}, "good"),  # as likely half of them as most
        ({200: 10, 400: 90}, "warning"),
        ({200: 90, 400: 10}, "good"),
    ],
)
def test_a_service_that_refuses_most_callers_is_not_good(requests: dict[int, int], severity: str) -> None:
    told = finding(counted(requests={status: took(b3=count) for status, count in requests.items()}, reasons={}))
    assert told.severity == severity
    assert ("Most requests get no prediction" in told.text) == (severity == "warning")
