"""The simulation of false alarms and delays, in small: it is the engine, draws what it says, and can be missed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks import monitoring_calibration as calibration
from benchmarks import monitoring_cases as cases
from benchmarks.monitoring_calibration import Lot
from benchmarks.monitoring_cases import NORMAL, Change, Hanging, Law, Quiet

from fullcircle.monitoring.batches import Batch, Layout, count
from fullcircle.monitoring.detector import Counted
from fullcircle.monitoring.engine import Watch
from fullcircle.stats import bins
from fullcircle.types.monitoring import Dependence, Profile

QUIET = Quiet(name="few", years=4, columns=5, reference=1000, rows=300, laws=cases.KINDS_OF_COLUMNS, steps=100)


@pytest.mark.parametrize("effect", [0.0, 4.0])
def test_a_lot_is_the_engine_itself(effect: float) -> None:
    """Two monitors side by side have the levels and the alarms of two watches on the same counts."""
    generator, n = np.random.default_rng(1), 400
    features = [NORMAL.frozen(f"x{place}", generator, 2000) for place in range(6)]
    effects = {feature.name: effect for feature in features}
    known = Dependence(seconds=3600.0, batches=10, phases=168, effects=effects) if effect else None
    lot = Lot(features, 2, "drift", known)
    halves = [Profile(features=tuple(features[at : at + 3]), rows=2000, dependence=known) for at in (0, 3)]
    watches = [Watch(each, cases.MONITOR) for each in halves]
    for hour in range(30):
        values = {f"x{place}": generator.normal(2 * (hour > 24) * (place == 4), size=n) for place in range(6)}
        batch = count(Layout(features), values, n)
        counts = np.array([batch.counts(f"x{place}") for place in range(6)], dtype=np.float64)
        outside = np.array([batch.outside(f"x{place}") for place in range(6)], dtype=np.float64)
        fired = lot.step(counts, outside, hour)
        own = [watch.step(batch, Batch.empty(()), phase=hour)[0] for watch in watches]
        assert fired.tolist() == [each.fired for each in own]
        if hour < 25:
            assert np.log(lot.now()) == pytest.approx([each.level for each in own], abs=1e-3)
    assert lot.away.tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize("place", range(len(cases.KINDS_OF_COLUMNS)))
def test_the_chances_of_the_cells_are_those_of_what_the_law_draws(place: int) -> None:
    law, generator, n = cases.KINDS_OF_COLUMNS[place], np.random.default_rng(place), 100_000
    feature = law.frozen("x", generator, 300)
    chances = law.chances(feature, len(feature.counts))
    assert chances.sum() == pytest.approx(1.0)
    if law.shares:
        drawn = np.array([*law.frozen("x", generator, n).counts], dtype=np.float64)
        counts, outside = drawn, 0.0
    else:
        values = np.where(generator.random(n) < law.missing, math.nan, law.draw(generator, n))
        counts = bins.count_numbers(values, feature.edges).astype(np.float64)
        assert feature.low is not None
        assert feature.high is not None
        outside = float(((values < feature.low) | (values > feature.high)).sum())
    told, beyond = next(cases.hours([feature], np.round(chances[None], 12), n, generator, 1))
    for seen, expected in ((told[0], counts), (beyond, np.array([outside]))):
        assert np.abs(seen - expected).max() < 6 * math.sqrt(n / 4) * math.sqrt(2)
        assert (np.abs(seen - expected) <= 6 * np.sqrt(expected + 4)).all()


def test_quiet_columns_of_all_kinds_raise_nothing_and_losses_neither() -> None:
    assert calibration.false_alarms(QUIET, 4, 3) == 0
    allowed = replace(QUIET, columns=1, kind="risk", laws=cases.WRONG[:1], later=cases.WRONG[1:])
    assert calibration.false_alarms(allowed, 4, 3) == 0
    assert calibration.false_alarms(replace(allowed, later=(cases.WRONG[0].moved(by=1.0),)), 4, 3) == 4


def test_traffic_of_another_law_is_no_quiet_case() -> None:
    """The simulation can fail: each monitor alarms once, and the column is away then."""
    assert calibration.false_alarms(replace(QUIET, laws=(NORMAL,), later=(NORMAL.moved(by=0.3),)), 4, 3) >= 4


def test_rows_that_hang_together_are_quiet_where_that_was_learned_and_not_otherwise() -> None:
    case = Hanging(name="clusters", years=1, clusters=8, columns=2, rows=80, steps=336)
    assert calibration.false_alarms(case, 1, 5) == 0
    assert calibration.false_alarms(replace(case, learned=False), 1, 5) > 0


def test_rows_are_correlated_as_the_case_says() -> None:
    def column(**how: Any) -> Any:
        source = cases._Rows(replace(Hanging(name="", years=1, rows=240), **how), 4)
        return np.concatenate([source.week() for _ in range(3)])

    follow = column(follow=0.5).ravel()
    assert np.corrcoef(follow[1:], follow[:-1])[0, 1] == pytest.approx(0.5, abs=0.02)
    clusters = column(clusters=8).reshape(-1, 8)
    assert np.corrcoef(clusters[:, 0], clusters[:, 7])[0, 1] == pytest.approx(0.5, abs=0.03)
    hourly = column(drifts=1.0).mean(axis=1)
    assert np.corrcoef(hourly[1:], hourly[:-1])[0, 1] == pytest.approx(0.5, abs=0.15)
    for made in (follow, clusters):
        assert made.std() == pytest.approx(1.0, abs=0.02)
    assert column(daily=0.5).mean(axis=1)[6::24].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("change", cases.CHANGES[1:], ids=lambda change: change.name)
def test_changes_are_found_within_the_goals(change: Change) -> None:
    found = calibration.delays(replace(change, columns=8, reference=4000, quiet=5, most=20), 6, 7)
    assert np.median(found) <= change.median
    assert max(found) <= change.tenth + 1


def test_what_does_not_change_is_never_found_and_told_as_missed() -> None:
    """Marginals do not see a correlation that flips: the inputs look as before."""
    same = Change(name="same", before=NORMAL, after=NORMAL, median=25, tenth=45, columns=4, quiet=2, most=30)
    found = calibration.delays(same, 5, 1)
    assert found == [math.inf] * 5
    assert not any(row.met for row in calibration._waited(same, found))


def test_a_rate_is_told_with_its_limit_and_can_be_missed() -> None:
    case = replace(QUIET, years=6, steps=cases.YEAR)
    none, many = calibration._told(case, 0), calibration._told(case, 20)
    assert "0 in 6 years, with 95 % a year at most" in none.what
    assert none.met
    assert none.ours == pytest.approx(0.4993, rel=1e-3)
    assert not many.met
    assert many.ours > 20 / 6


def test_parts_add_up_and_have_seeds_of_their_own() -> None:
    seeds = []
    for case in cases.quiet_cases(1.0):
        parts = calibration._parts(case)
        assert sum(n for n, _ in parts) == case.years
        seeds += [seed for _, seed in parts]
    assert len(set(seeds)) == len(seeds)


def test_a_law_moves_and_spreads() -> None:
    law = Law().moved(by=2.0, times=3.0)
    assert law.upto(np.array([2.0, 5.0])).tolist() == pytest.approx([0.5, 0.841345], abs=1e-5)
    drawn = law.draw(np.random.default_rng(0), 100_000)
    assert (drawn.mean(), drawn.std()) == pytest.approx((2.0, 3.0), abs=0.05)


def test_no_bet_pays_on_average_under_the_true_chances() -> None:
    """Exactly, by judging each cell alone: of 30 monitors with references of their own hardly one may break that."""
    generator, monitors = np.random.default_rng(3), 30
    laws = list(cases.KINDS_OF_COLUMNS) * monitors
    features = [law.frozen(f"x{place}", generator, 200) for place, law in enumerate(laws)]
    lot = Lot(features, monitors, "drift")
    chances = np.array([law.chances(one, lot.width) for law, one in zip(laws, features, strict=True)])
    last = np.array([len(feature.counts) - 3 for feature in features])
    above = lot.width - 1  # the place in chances of what lies above the range
    broken = np.zeros(len(laws), dtype=np.bool_)
    for plan in lot._leg._plans(None):
        means = np.zeros(plan.weights.shape)
        for cell in range(lot.width + 2):
            counts = np.zeros((len(laws), lot.width))
            where = 0 if cell == 0 else last if cell == above else cell - 1 - (cell > above)
            counts[np.arange(len(laws)), where] = 1.0
            outside = np.full(len(laws), float(cell in (0, above)))
            judged = plan.judge(Counted(counts=counts, outside=outside), plan.start())
            means += chances[:, cell, None] * np.exp(judged)
        assert means.max() > 0.9
        broken |= ((means > 1 + 1e-9) & (plan.weights > 0)).any(axis=1)
    assert broken.reshape(monitors, -1).any(axis=1).sum() <= 2


def test_monitors_that_alarmed_are_counted_by_the_watch_as_it_is_shipped() -> None:
    """A column that comes back and leaves again is a second alarm of the shipped rule; the lot does not see it."""
    case = replace(QUIET, columns=1, laws=(NORMAL,), later=(NORMAL.moved(by=1.0),), years=2, steps=60)
    drawn = case.drawn(2, 3)
    features, watch = drawn.features[:1], Watch(Profile(features=tuple(drawn.features[:1]), rows=0), cases.MONITOR)
    lot, seen = Lot(drawn.features, 2, "drift"), 0
    first = []
    for at, hour in enumerate(drawn.hours):
        first.append(lot.step(*hour, at))
        told = calibration._Hour(features, hour[0][:1], hour[1][:1])
        seen += watch.step(told, Batch.empty(()), phase=at)[0].fired
    assert calibration._watched(case, 2, 3, [0]) == seen >= np.array(first)[:, 0].sum() == 1
    assert calibration.false_alarms(case, 2, 3) == calibration._watched(case, 2, 3, [0, 1])
