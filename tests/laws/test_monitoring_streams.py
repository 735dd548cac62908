"""The streams and rates of the monitoring benchmark are what they say. Nothing is timed here."""

from __future__ import annotations

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


def test_what_chance_explains_is_no_less_than_the_budget_and_comes_near_it() -> None:
    from benchmarks.monitoring_streams import explained

    found = [explained(1.0, years) for years in (1.0, 10.0, 1000.0)]
    assert found[0] == 3.0
    assert all(1.0 < each <= 3.0 for each in found)
    assert found[-1] < 1.1


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

    one, two = _drawn(300, 20, 0.02), _drawn(300, 20, 0.02)
    assert one.reference.equals(two.reference)
    assert (one.count, len(one.reference), len(one.windows)) == (10, 300, 200)
    assert one.years(8766) == pytest.approx(1.0)
