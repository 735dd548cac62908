"""What is learned of dependence, from references whose dependence is known because they were made with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from fullcircle.stats import bins, dependence
from fullcircle.stats.dependence import Counted, learn

HOURS = 7 * 24
WEEKS = 8
B = WEEKS * HOURS
ROWS = 200
EDGES = stats.norm.ppf(np.arange(1, 20) / 20)
CLOCK = np.arange(B)
Make = Callable[[np.random.Generator, int], np.ndarray]


def normal(means: np.ndarray, rows: int = ROWS) -> Make:
    """Batches of normal numbers around a mean of their own."""
    return lambda generator, batch: generator.normal(means[batch], 1.0, rows)


def counted(make: Make, seed: int = 1, batches: int = B) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.array([bins.count_numbers(make(generator, batch), EDGES) for batch in range(batches)])


def effect(counts: np.ndarray, *, ordered: bool = True, seconds: float = 3600.0) -> float:
    found = learn([Counted("x", ordered, counts)], np.arange(len(counts)), seconds)
    assert not found.strata
    return float(found.effects["x"])


def regressive(rho: float, variance: float, seed: int) -> np.ndarray:
    """Batch means that follow each other, of the given variance."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(0, np.sqrt(variance * (1 - rho**2)), B)
    found = np.zeros(B)
    found[0] = generator.normal(0, np.sqrt(variance))
    for batch in range(1, B):
        found[batch] = rho * found[batch - 1] + steps[batch]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_independent_rows_have_an_effect_near_one_and_no_strata(seed: int) -> None:
    generator = np.random.default_rng(seed)
    even = np.append(np.full(20, 0.05), [0.0, 0.0])
    assert 1.0 <= effect(generator.multinomial(ROWS, even, B)) < 2.1
    mixed = np.array([0.5, 0.3, 0.17, 0.01, 0.02])
    assert 1.0 <= effect(generator.multinomial(ROWS, mixed, B), ordered=False) < 1.5
    rare = np.append(generator.dirichlet(np.full(40, 0.3)), [0.0, 0.0])
    assert 1.0 <= effect(generator.multinomial(ROWS, rare / rare.sum(), B), ordered=False) < 1.5


def test_the_effect_is_mostly_an_upper_limit() -> None:
    """Of 30 references with AR(0.5) means, shares straight from the normal law: hardly one is far below the truth."""
    generator, found = np.random.default_rng(0), []
    for seed in range(30):
        means = regressive(0.5, 2.0 / ROWS, seed)
        below = np.column_stack([np.zeros(B), stats.norm.cdf(EDGES - means[:, None]), np.ones(B)])
        counts = generator.multinomial(ROWS, np.diff(below, axis=1))
        found.append(effect(np.column_stack([counts, np.zeros((B, 2), dtype=np.int64)])))
    assert np.mean(np.array(found) >= 0.85 * 7.0) >= 0.9
    assert 7.0 < np.median(found) < 1.4 * 7.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [1.0, 5.0])
def test_batch_means_that_follow_each_other_get_their_long_run_variance(share: float, seed: int) -> None:
    """AR(0.5): (1 + 0.5) / (1 - 0.5) = 3 times the variance of the means, beside that of rows."""
    true = 1 + share * 3
    found = effect(counted(normal(regressive(0.5, share / ROWS, seed)), seed))
    assert 0.8 * true < found < 2 * true


def test_rows_in_clusters_count_as_often_as_they_repeat() -> None:
    """Users who come five times with one value: rows tell a fifth."""
    found = effect(counted(lambda generator, _: np.repeat(generator.normal(size=ROWS // 5), 5)))
    assert 5.0 <= found < 8.0


def test_one_cell_that_comes_in_bursts_is_seen() -> None:
    """An upstream that drops out for half a day now and then: only "missing" hangs together."""
    generator = np.random.default_rng(3)
    out = np.repeat(generator.random(B // 12) < 0.1, 12)
    counts = np.zeros((B, 22), dtype=np.int64)
    for batch in range(B):
        missing = generator.binomial(ROWS, 0.2 if out[batch] else 0.002)
        counts[batch, :20] = generator.multinomial(ROWS - missing, np.full(20, 0.05))
        counts[batch, -1] = missing
    plain = counts.copy()
    plain[:, -1] = generator.binomial(ROWS, 0.02, B)
    assert effect(counts) > 10 * effect(plain)


def test_a_mix_that_follows_the_hour_of_the_day_gets_the_same_strata_every_day() -> None:
    counts = counted(normal(0.2 * np.sin(CLOCK * 2 * np.pi / 24)))
    found = learn([Counted("x", True, counts)], CLOCK, 3600.0)
    rows = np.array(found.strata["x"])
    assert rows.shape == (HOURS, 22)
    assert np.array_equal(rows[:24], rows[-24:])
    assert np.array_equal(rows[5], counts[CLOCK % 24 == 5].sum(axis=0))
    assert 1.0 <= found.effects["x"] < 2.1  # what the hour explains is no dependence


def test_a_mix_that_follows_the_hour_of_the_week_gets_a_stratum_for_each() -> None:
    pattern = np.random.default_rng(9).normal(0, 0.15, HOURS)
    counts = counted(normal(pattern[CLOCK % HOURS]))
    found = learn([Counted("x", True, counts)], CLOCK, 3600.0)
    rows = np.array(found.strata["x"])
    assert np.array_equal(rows, counts.reshape(WEEKS, HOURS, 22).sum(axis=0))
    assert found.effects["x"] < 2.1
    assert (found.phases, found.batches, found.seconds) == (HOURS, B, 3600.0)


def test_categories_that_change_with_the_day_of_the_week_get_strata() -> None:
    generator, days = np.random.default_rng(4), np.arange(7 * 20)
    weekend = np.isin(days % 7, [5, 6])[:, None]
    shares = np.where(weekend, [0.2, 0.8, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0])
    counts = np.array([generator.multinomial(500, each) for each in shares])
    found = learn([Counted("x", False, counts)], days, 86_400.0)
    assert np.array(found.strata["x"]).shape == (7, 4)
    assert 1.0 <= found.effects["x"] < 2.5


@pytest.mark.parametrize("seed", range(4))
def test_batches_that_vary_too_much_are_not_mistaken_for_an_hourly_pattern(seed: int) -> None:
    """Means that vary and follow each other, and nights without traffic: a test that counts rows falls for it."""
    rows = np.where(CLOCK % 24 < 8, 0 if seed % 2 else 6, 300)
    means = regressive(0.7, 0.05, seed)
    counts = counted(lambda generator, batch: generator.normal(means[batch], 1.0, rows[batch]), seed)
    by_hour = np.array([counts[each::24].sum(axis=0) for each in range(8, 24)])
    assert stats.chi2_contingency(by_hour[:, :20]).pvalue < 1e-6
    found = learn([Counted("x", True, counts)], CLOCK, 3600.0)
    assert not found.strata
    assert found.effects["x"] > 10


def test_hours_are_counted_from_monday_wherever_the_reference_begins() -> None:
    pattern = np.where(np.arange(HOURS) < 24, 0.5, 0.0)  # Mondays are different
    start = 100
    counts = counted(normal(pattern[(CLOCK + start) % HOURS]))
    found = learn([Counted("x", True, counts)], CLOCK + start, 3600.0)
    rows = np.array(found.strata["x"])
    above = rows[:, 10:20].sum(axis=1) / rows.sum(axis=1)
    assert above[:24].min() > above[24:].max()
    assert rows.sum() == counts.sum()


def test_gaps_are_hours_without_rows() -> None:
    kept = np.random.default_rng(2).random(B) < 0.5
    counts = counted(normal(0.3 * np.sin(CLOCK * 2 * np.pi / 24)))[kept]
    found = learn([Counted("x", True, counts)], CLOCK[kept], 3600.0)
    assert found.batches == int(kept.sum())
    assert len({*found.strata["x"]}) == 24
    assert 1.0 <= found.effects["x"] < 2.1


def test_weekly_batches_have_one_phase_and_few_of_them_are_trusted_little() -> None:
    generator = np.random.default_rng(8)
    even = np.append(np.full(20, 0.05), [0.0, 0.0])
    few, many = (generator.multinomial(500, even, batches) for batches in (8, 200))
    found = learn([Counted("x", True, few)], np.arange(8), 7 * 86_400.0)
    assert found.phases == 1
    assert not found.strata
    assert 1.2 < found.effects["x"] < 6
    assert effect(many, seconds=7 * 86_400.0) < 1.6


def test_columns_that_say_nothing_have_an_effect_of_one() -> None:
    constant = np.zeros((B, 5), dtype=np.int64)
    constant[:, 1] = ROWS
    assert effect(constant) == 1.0
    assert effect(np.zeros((B, 5), dtype=np.int64)) == 1.0
    assert effect(constant[:, 3:], ordered=False) == 1.0


def test_the_same_counts_give_the_same_answer_and_columns_do_not_touch_each_other() -> None:
    one, two = counted(normal(regressive(0.5, 0.01, 1))), counted(normal(0.3 * np.sin(CLOCK * 2 * np.pi / 24)))
    both = learn((Counted(name, True, each) for name, each in (("a", one), ("b", two))), CLOCK, 3600.0)
    assert both == learn([Counted("a", True, one), Counted("b", True, two)], CLOCK, 3600.0)
    assert both.effects["b"] == learn([Counted("b", True, two)], CLOCK, 3600.0).effects["b"]
    assert set(both.strata) == {"b"}


@pytest.mark.parametrize(
    ("numbers", "seconds", "is_enough"),
    [
        (range(B), 3600.0, True),
        (range(B - HOURS), 3600.0, False),
        (range(0, B, HOURS), 3600.0, False),
        (range(0, B, 24), 3600.0, True),
        (range(56), 86_400.0, True),
        (range(55), 86_400.0, False),
        (range(8), 7 * 86_400.0, False),
        (range(56), 7 * 86_400.0, True),
        (range(3), 60 * 86_400.0, False),
        ([], 3600.0, False),
    ],
)
def test_eight_weeks_and_as_many_batches_as_these_have_days_are_asked_for(
    numbers: list[int], seconds: float, is_enough: bool
) -> None:
    assert dependence.enough(list(numbers), seconds, WEEKS) is is_enough


def share_unseen(*columns: np.ndarray, ordered: bool = True, seconds: float = 3600.0) -> float:
    named = [Counted(f"x{place}", ordered, each) for place, each in enumerate(columns)]
    return learn(named, np.arange(len(columns[0])), seconds).unseen


@pytest.mark.parametrize("batches", [1, 56, 1344])
def test_a_kind_that_comes_more_often_than_unseen_would_have_been_seen(batches: int) -> None:
    assert (1 - dependence.unseen(batches)) ** batches == pytest.approx(0.05)
    assert dependence.unseen(batches) <= 3 / batches  # the rule of three


@pytest.mark.parametrize(("batches", "seconds"), [(56, 86_400.0), (B, 3600.0)])
@pytest.mark.parametrize("rows", [5, 1000])
def test_independent_rows_are_taken_as_such(batches: int, seconds: float, rows: int) -> None:
    """Of 8 columns, with rare cells among them: batches are not needed as the sample, and power is kept."""
    generator = np.random.default_rng(batches + rows)
    even = np.append(np.full(20, 0.049), [0.0, 0.02])
    rare = np.array([0.9, 0.0989, 0.001, 0.0001, 0.0])
    assert share_unseen(*generator.multinomial(rows, even, (8, batches)), seconds=seconds) == 0
    assert share_unseen(*generator.multinomial(rows, rare, (8, batches)), ordered=False, seconds=seconds) == 0


@pytest.mark.parametrize(("length", "by"), [(1, 0.05), (24, 0.0125)])
def test_one_hour_or_one_day_of_another_kind_in_eight_weeks_tells_that_there_are_kinds(
    length: int, by: float
) -> None:
    """In one column of many; an hour that is far off, or a day whose hours are each hardly off at all."""
    generator = np.random.default_rng(length)
    even = np.append(np.full(20, 0.05), [0.0, 0.0])
    columns = list(generator.multinomial(ROWS, even, (6, B)))
    assert share_unseen(*columns) == 0
    other = np.append(0.05 + by * np.repeat([-1.0, 1.0], 10), [0.0, 0.0])
    columns[4][600 : 600 + length] = generator.multinomial(ROWS, other, length)
    assert share_unseen(*columns) == pytest.approx(dependence.unseen(B))


def test_rows_that_hang_together_make_batches_the_sample() -> None:
    clusters = counted(lambda generator, _: np.repeat(generator.normal(size=ROWS // 5), 5))
    follow = counted(normal(regressive(0.5, 2.0 / ROWS, 3)), 3)
    for each in (clusters, follow):
        assert share_unseen(each) == pytest.approx(dependence.unseen(B))


@pytest.mark.parametrize("daily", [True, False])
def test_a_mix_that_strata_explain_is_no_other_kind_of_batch(daily: bool) -> None:
    pattern = np.random.default_rng(9).normal(0, 0.15, HOURS)
    means = 0.2 * np.sin(CLOCK * 2 * np.pi / 24) if daily else pattern[CLOCK % HOURS]
    assert share_unseen(counted(normal(means))) == 0
