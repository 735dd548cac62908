"""Retraining is asked for by harm, drift, the calendar and rows, and a storm of alarms is no storm of trainings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.retraining.triggers import AGAIN, ANEW, FEWEST, cooling, due, later
from fullcircle.types.loop import Standing
from fullcircle.types.monitoring import Alarm
from fullcircle.types.project import Retrain

NOW = "2026-03-01T00:00:00.000000Z"
QUIET = Standing(version=3, at=NOW, promoted="2026-02-01T00:00:00.000000Z", labelled=500)
DEFAULT = Retrain()


def alarm(**changes: Any) -> Alarm:
    of = Alarm(
        id="a-1",
        model="m",
        version=3,
        kind="risk",
        severity="page",
        state="open",
        since="2026-02-10T00:00:00.000000Z",
        opened="2026-02-17T00:00:00.000000Z",
        updated=NOW,
        text="losses are 0.31, 0.20 on the reference",
        sure="",
        advice="",
    )
    return replace(of, **changes)


def test_nothing_asks_for_anything() -> None:
    assert due(QUIET, DEFAULT) is None


@pytest.mark.parametrize(("kind", "cause"), [("risk", "harm"), ("estimate", "harm"), ("drift", "drift")])
def test_an_open_alarm_asks(kind: Any, cause: str) -> None:
    found = due(replace(QUIET, alarms=(alarm(kind=kind),)), DEFAULT)
    assert found is not None
    assert (found.cause, found.alarms, found.since) == (cause, ("a-1",), "2026-02-10T00:00:00.000000Z")
    assert "losses are 0.31" in found.reason


@pytest.mark.parametrize("changes", [{"state": "resolved"}, {"version": 2}])
def test_what_is_over_or_about_another_version_does_not_ask(changes: dict[str, Any]) -> None:
    assert due(replace(QUIET, alarms=(alarm(**changes),)), DEFAULT) is None


def test_a_trigger_that_the_project_does_not_name_does_not_ask() -> None:
    standing = replace(QUIET, alarms=(alarm(), alarm(id="a-2", kind="drift")))
    found = due(standing, Retrain(triggers=("drift",)))
    assert found is not None
    assert (found.cause, found.alarms) == ("drift", ("a-2",))
    assert due(standing, Retrain(triggers=())) is None


def test_harm_is_named_before_drift_and_both_before_the_calendar() -> None:
    everything = Retrain(schedule="7d", rows=100)
    standing = replace(QUIET, alarms=(alarm(id="a-2", kind="drift"), alarm()))
    causes = []
    for alarms in (standing.alarms, standing.alarms[:1], ()):
        found = due(replace(standing, alarms=alarms), everything)
        causes.append(found.cause if found else "")
    assert causes == ["harm", "drift", "schedule"]
    later = due(replace(QUIET, at=QUIET.promoted), everything)
    assert later is not None
    assert later.cause == "rows"


@pytest.mark.parametrize(
    ("labelled", "answered", "asks"),
    [(999, True, False), (1000, True, True), (624, False, False), (625, False, True)],
)
def test_after_a_try_more_rows_must_have_come(labelled: int, answered: bool, asks: bool) -> None:
    standing = replace(
        QUIET,
        alarms=(alarm(),),
        tried="2026-02-20T00:00:00Z",
        tried_rows=500,
        labelled=labelled,
        answered=("a-1",) if answered else (),
    )
    found = due(standing, DEFAULT)
    assert (found is not None) == asks
    if found:
        assert f"{labelled - 500:,} labelled rows came since the last try" in found.reason
        assert ("answered it already" in found.reason) == answered


def test_a_handful_of_rows_is_not_twice_as_many() -> None:
    standing = replace(QUIET, alarms=(alarm(),), tried=NOW, tried_rows=1, answered=("a-1",))
    assert due(replace(standing, labelled=FEWEST), DEFAULT) is None
    assert due(replace(standing, labelled=1 + FEWEST), DEFAULT) is not None


@pytest.mark.parametrize("retrain", [DEFAULT, Retrain(schedule="1d"), Retrain(rows=100)])
def test_what_was_held_for_want_of_rows_is_asked_again_as_soon_as_they_have_come(retrain: Retrain) -> None:
    standing = replace(QUIET, alarms=(alarm(),), awaited=501)
    assert due(standing, retrain) is None
    assert due(replace(standing, labelled=501), retrain) is not None


@given(labelled=st.integers(0, 10_000), times=st.sampled_from([AGAIN, ANEW]))
def test_later_is_so_many_times_as_many_rows_and_thirty_more_at_least(labelled: int, times: float) -> None:
    rows = later(labelled, times)
    assert rows >= labelled + FEWEST
    assert rows == labelled + FEWEST or rows - 1 < times * labelled <= rows


@given(steps=st.lists(st.integers(0, 400), min_size=1, max_size=80))
def test_a_storm_of_alarms_is_no_storm_of_trainings(steps: list[int]) -> None:
    standing, trained = replace(QUIET, labelled=0), 0
    for number, came in enumerate(steps):
        # Every batch raises another alarm, and nothing that is tried helps.
        standing = replace(standing, labelled=standing.labelled + came, alarms=(alarm(id=f"a-{number}"),))
        found = due(standing, DEFAULT)
        if found:
            trained += 1
            answered = (*standing.answered, *found.alarms)
            standing = replace(standing, tried=NOW, tried_rows=standing.labelled, answered=answered)
    most, rows = 1, 0
    while rows + FEWEST <= standing.labelled:
        rows = int(max(rows * 1.25, rows + FEWEST))
        most += 1
    assert trained <= most


@pytest.mark.parametrize(("schedule", "asks"), [("27d", True), ("28d", True), ("29d", False)])
def test_the_calendar_counts_from_the_promotion(schedule: str, asks: bool) -> None:
    assert (due(QUIET, Retrain(schedule=schedule)) is not None) == asks


def test_the_calendar_counts_from_a_later_try() -> None:
    tried = replace(QUIET, tried="2026-02-25T00:00:00Z", tried_rows=400)
    assert due(tried, Retrain(schedule="7d")) is None
    found = due(tried, Retrain(schedule="4d"))
    assert found is not None
    assert found.since == "2026-03-01T00:00:00.000000Z"
    assert "4.0 days ago" in found.reason


@pytest.mark.parametrize(("rows", "asks"), [(100, True), (101, False), (0, False)])
def test_enough_new_rows_ask(rows: int, asks: bool) -> None:
    standing = replace(QUIET, tried="2026-02-25T00:00:00Z", tried_rows=400)
    assert (due(standing, Retrain(rows=rows)) is not None) == asks


def test_a_pause_is_kept_and_says_when_it_is_over() -> None:
    assert cooling(QUIET, DEFAULT) == ""
    assert cooling(QUIET, Retrain(cooldown="28d")) == ""
    said = cooling(QUIET, Retrain(cooldown="29d"))
    assert "version 3 was promoted 28.0 days ago" in said
    assert "over at 2026-03-02" in said
    tried = replace(QUIET, tried="2026-02-28T12:00:00Z")
    assert "last tried 12.0 hours ago" in cooling(tried, Retrain(cooldown="1d"))


@given(hours=st.integers(1, 2000), pause=st.integers(1, 2000))
def test_cooling_ends_when_the_pause_is_over(hours: int, pause: int) -> None:
    promoted = datetime(2026, 3, 1, tzinfo=UTC) - timedelta(hours=hours)
    standing = replace(QUIET, promoted=promoted.isoformat())
    assert (cooling(standing, Retrain(cooldown=f"{pause}h")) == "") == (hours >= pause)
