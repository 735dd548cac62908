"""The streams and rates of the monitoring benchmark are what they say. Nothing is timed here."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.sizes import ROOT


@pytest.fixture(autouse=True, scope="module")
def _root() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        import benchmarks.monitoring_streams  # noqa: F401  # stays imported


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 60), block=st.integers(1, 70), seed=st.integers(0, 9))
def test_shuffled_blocks_keep_every_row_and_every_neighbour(rows: int, block: int, seed: int) -> None:
    from benchmarks.monitoring_streams import block_shuffled

    frame = pd.DataFrame({"place": np.arange(rows)}) if rows else pd.DataFrame({"place": [0]})
    found = block_shuffled(frame, block, seed)["place"].tolist()
    assert sorted(found) == frame["place"].tolist()
    assert all(after == before + 1 for before, after in pairwise(found) if after % block)
    assert found == block_shuffled(frame, block, seed)["place"].tolist()


def test_another_seed_is_another_order() -> None:
    from benchmarks.monitoring_streams import block_shuffled, shuffled

    frame = pd.DataFrame({"place": np.arange(1000)})
    assert shuffled(frame, 1)["place"].tolist() != shuffled(frame, 2)["place"].tolist()
    blocks = block_shuffled(frame, 100, 1)["place"].tolist()
    assert blocks != frame["place"].tolist()
    assert [place for place in blocks if place % 100 == 0] == blocks[::100]


def test_a_rate_has_the_interval_of_its_count() -> None:
    from benchmarks.monitoring_streams import rate

    # Garwood's interval for 10 events is 4.795 to 18.390, for none 0 to 3.689.
    assert rate(10, 2.0) == pytest.approx((5.0, 4.795 / 2, 18.390 / 2), rel=1e-3)
    assert rate(0, 0.5) == pytest.approx((0.0, 0.0, 3.689 * 2), rel=1e-3)
    for count, years in ((1, 0.0), (-1, 1.0)):
        with pytest.raises(ValueError, match="is no rate"):
            rate(count, years)


def test_the_interval_of_a_rate_covers_the_truth() -> None:
    from benchmarks.monitoring_streams import rate

    counts = np.random.default_rng(0).poisson(3.0, 2000)
    within = np.mean([found.low <= 3.0 <= found.high for found in (rate(int(count), 1.0) for count in counts)])
    assert within >= 0.945


def test_what_a_count_leaves_possible_is_the_limit_that_such_a_count_has_in_one_of_twenty() -> None:
    from benchmarks.monitoring_streams import at_most
    from scipy.stats import poisson

    assert at_most(0, 1.0) == pytest.approx(2.9957, rel=1e-4)
    for count, years in ((0, 3.0), (2, 7.0)):
        assert poisson.cdf(count, at_most(count, years) * years) == pytest.approx(0.05)


def test_processes_of_a_simulation_have_one_thread_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.monitoring_streams import one_thread

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with one_thread():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_figure_of_nothing_has_no_ratio() -> None:
    from benchmarks.rows import Row, table

    none = Row(what="false alarms", unit="a year", ours=0.0, goal=1.0, peer=30.0, peer_name="other")
    assert none.met
    assert none.ratio is None
    assert Row(what="rate", unit="x", ours=1.0, goal=1.0, peer=0.0, at_least=True).ratio is None
    assert Row(what="time", unit="s", ours=2.0, goal=1.0, peer=4.0).ratio == 2.0
    assert "30 a year (other)" in table([none])


def test_drawn_streams_are_the_same_each_time_and_whole() -> None:
    from benchmarks.monitoring_streams import _drawn

    one, two = _drawn(300, 20, 0.02, 1), _drawn(300, 20, 0.02, 1)
    assert one.reference.equals(two.reference)
    assert not one.reference.equals(_drawn(300, 20, 0.02, 2).reference)
    assert (one.count, len(one.reference), len(one.windows)) == (10, 300, 200)
    assert one.years(1461) == pytest.approx(4.0)


def test_days_of_the_bikes_are_whole_and_in_another_order_each_time() -> None:
    from benchmarks.monitoring_streams import BIKE, _days

    if not BIKE.is_file():
        pytest.skip("BIKE_HOUR is not here")
    one, two = _days(0.02, 1), _days(0.02, 2)
    for stream in (one, two):
        assert (stream.count, len(stream.reference)) == (6, 365 * 24)
        assert stream.windows["hr"].tolist() == [*range(24)] * 6
    assert not one.windows.equals(two.windows)


def test_an_alarm_where_nothing_changed_is_told_by_its_limit_and_one_where_something_did_by_its_rate() -> None:
    from benchmarks.monitoring_alarms import _row
    from benchmarks.monitoring_streams import Stream

    frame = pd.DataFrame({"x": np.zeros(20)})
    quiet = Stream(name="quiet", reference=frame, windows=frame, rows=10, seconds=86_400)
    changed = Stream(name="bikes", reference=frame, windows=frame, rows=10, seconds=86_400, changed=True)
    assert [_row(quiet, fired, 4.0, "N", []).met for fired in (0, 1)] == [True, False]
    assert [_row(changed, fired, 4.0, "N", []).met for fired in (0, 1)] == [False, True]
    beside = _row(quiet, 0, 4.0, "N", [2, 0])
    assert beside.peer == pytest.approx(365.25 / 2)
    assert "1 of 2 windows flagged" in beside.peer_name


def test_a_stream_alarms_on_what_changed_and_not_on_what_did_not() -> None:
    from benchmarks.monitoring_alarms import alarms
    from benchmarks.monitoring_streams import Stream

    values = np.random.default_rng(4).normal(size=(4000, 2))
    frame = pd.DataFrame(values, columns=["x", "y"])
    stream = Stream(name="", reference=frame[:2000], windows=frame[2000:], rows=200, seconds=86_400)
    assert alarms(stream) == 0
    assert alarms(replace(stream, windows=stream.windows + 3.0)) >= 1
    # Of a timed stream the answers of the rows are counted too, beside an input that has the same name.
    named = frame.assign(prediction=np.where(frame["x"] > 0, "1", "0"))
    timed = replace(stream, reference=named[:2000], windows=named[2000:], timed=True, categories=("prediction",))
    assert alarms(timed) == 0
    assert alarms(replace(timed, windows=timed.windows.assign(prediction="2"))) >= 1
