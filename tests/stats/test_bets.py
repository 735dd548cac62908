"""Bounds of what a bet may cost: against scipy, brute force, and references drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.spatial.distance import jensenshannon

from fullcircle.stats import bets


@pytest.mark.parametrize(("hits", "rows"), [(0, 50), (1, 50), (7, 200), (50, 50), (999, 1000)])
def test_a_share_is_bounded_as_clopper_and_pearson_do(hits: int, rows: int) -> None:
    found = stats.binomtest(hits, rows).proportion_ci(confidence_level=0.98, method="exact")
    assert float(bets.at_most(hits, rows, 0.01)) == pytest.approx(found.high, abs=1e-12)
    assert float(bets.at_least(hits, rows, 0.01)) == pytest.approx(found.low, abs=1e-12)


def test_without_rows_a_share_can_be_anything() -> None:
    assert float(bets.at_most(0, 0, 0.01)) == 1.0
    assert float(bets.at_least(0, 0, 0.01)) == 0.0
    assert bets.beyond([0, 1], 0.01).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rows", [2, 50, 1000])
def test_beyond_is_where_one_row_outside_becomes_unlikely(rows: int) -> None:
    share = float(bets.beyond(rows, 0.03))
    assert stats.binom.cdf(1, rows, share) == pytest.approx(0.03, rel=1e-6)


@pytest.mark.parametrize("rows", [5, 50])
def test_beyond_covers_what_smallest_and_largest_leave_out(rows: int) -> None:
    drawn = np.random.default_rng(4).random((40_000, rows))
    outside = drawn.min(axis=1) + 1 - drawn.max(axis=1)
    broken = float((outside > bets.beyond(rows, 0.05)).mean())
    assert 0.044 < broken < 0.056  # exact, so not far below either


TILT = np.exp(0.8 * np.linspace(-2, 2, 8)) / np.exp(0.8 * np.linspace(-2, 2, 8)).mean()
STEEP = np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 6.6])


@pytest.mark.parametrize("bet", [TILT, STEEP, 2 - TILT / TILT.max()], ids=["tilt", "steep", "down"])
@pytest.mark.parametrize("rows", [5, 50, 400])
def test_the_mean_is_below_its_bound_as_often_as_said(bet: np.ndarray, rows: int) -> None:
    """Counts of fixed cells, and shares of cells that are quantiles of the reference, as bins are."""
    generator, chance = np.random.default_rng(rows), 0.1
    p = np.full(8, 1 / 8)
    spread = float(np.sqrt(p @ (bet - bet @ p) ** 2))
    counts = generator.multinomial(rows, p, 20_000)
    high = bets.mean_at_most(bet[None, :], counts, np.array([chance]), np.array([spread]))[:, 0]
    assert float((high < bet @ p).mean()) <= chance
    assert high.max() <= bet.max() + 1e-12
    fixed = np.diff(np.linspace(0, rows, 9).astype(int))
    shares = generator.dirichlet(np.append(fixed[:-1], fixed[-1] + 1) + 1e-9, 20_000)
    bound = bets.mean_at_most(bet[None, :], fixed, np.array([chance]), np.array([spread]))[0]
    assert float((shares @ bet > bound).mean()) <= chance


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_row_more_where_the_bet_is_largest_is_what_gaps_between_order_statistics_need(rows: int) -> None:
    """Solved by hand: (v - mu)^(m + 1) = chance x product of (v - b) over m rows, and the largest b once more."""
    counts, bet, chance = np.array([rows - 1, 1]), np.array([0.5, 1.5]), 0.2
    found = float(bets.mean_at_most(bet[None, :], counts, np.array([chance]), np.array([0.3]))[0])
    reach = 0.3 * np.sqrt(rows / (2 * np.log(1 / chance)))
    every = []
    for step, trust in zip((0.25, 0.5, 1.0, 2.0, 4.0), (0.05, 0.1, 0.7, 0.1, 0.05), strict=True):
        v = max(1 + step * reach, 1.5 * (1 + 1e-9) + 1e-12)
        product = chance * trust * (v - 0.5) ** (rows - 1) * (v - 1.5) ** 2
        every.append(v - product ** (1 / (rows + 1)))
    assert found == pytest.approx(min(1.5, *every), rel=1e-9)


def test_the_bound_of_a_mean_is_close_to_the_normal_one_where_rows_are_many() -> None:
    counts = np.full(8, 2500)
    spread = float(np.sqrt(((TILT - 1) ** 2).mean()))
    high = float(bets.mean_at_most(TILT[None, :], counts, np.array([1e-6]), np.array([spread]))[0])
    assert 1 + stats.norm.isf(1e-6) * spread / np.sqrt(20_000) < high < 1 + 1.2 * 4.76 * spread / np.sqrt(20_000)


def test_without_rows_a_mean_can_be_the_largest() -> None:
    assert bets.mean_at_most(TILT[None, :], np.zeros(8), np.array([0.1]), np.array([1.0]))[0] == TILT.max()


@pytest.mark.parametrize("rows", [10, 60])
def test_the_ball_holds_as_often_as_said(rows: int) -> None:
    """Multinomial counts, of even and of very uneven cells, and cells that are quantiles."""
    generator, chance = np.random.default_rng(7), 0.1
    deep = float(bets.radius(6, chance))
    for p in (np.full(6, 1 / 6), np.array([0.95, 0.01, 0.01, 0.01, 0.01, 0.01])):
        seen = generator.multinomial(rows, p, 20_000) / rows
        divergence = rows * stats.entropy(seen, np.broadcast_to(p, seen.shape), axis=1)
        assert float((divergence > deep).mean()) <= chance
    fixed = np.diff(np.linspace(0, rows, 7).astype(int))
    shares = generator.dirichlet(np.append(fixed[:-1], fixed[-1] + 1), 20_000)
    divergence = rows * stats.entropy(np.broadcast_to(fixed / rows, shares.shape), shares, axis=1)
    assert float((divergence > deep).mean()) <= chance


def test_the_radius_solves_its_equation() -> None:
    for cells, chance in [(2, 0.1), (12, 1e-3), (22, 1e-7)]:
        u, degrees = float(bets.radius(cells, chance)), cells - 1
        assert u > degrees
        assert -u + degrees * (1 + np.log(u / degrees)) == pytest.approx(np.log(chance), rel=1e-6)


@pytest.mark.parametrize("depth", [1e-4, 0.01, 0.2, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_largest_mean_in_the_ball(depth: float, seed: int) -> None:
    """Never below what a numeric search over the ball finds, and close to it where the ball is small."""
    generator = np.random.default_rng(seed)
    held = generator.dirichlet(np.ones(5))
    if seed == 3:  # a cell that the reference never saw, and where the bet pays most
        held = np.append(held[:4] / held[:4].sum(), 0.0)
    bet = np.sort(generator.gamma(2.0, 0.5, 5))
    found = float(bets.ball_at_most(bet[None, :], held, np.array(depth))[0])

    def least(v: float) -> float:  # the dual itself, to the last digit
        return float(v - np.exp(held @ np.log(v - bet) - depth))

    best = optimize.minimize_scalar(
        lambda x: least(bet.max() + np.exp(x)), bounds=(-20, 12), method="bounded", options={"xatol": 1e-10}
    ).fun
    best = min(best, bet.max())
    tried = _inside(held, depth, generator) @ bet
    assert tried.max() <= best + 1e-9
    assert best - 1e-9 <= found <= bet.max() + 1e-12
    if depth <= 0.01 and held.all():
        assert found - bet @ held <= 1.15 * (best - bet @ held)


def _inside(held: np.ndarray, depth: float, generator: np.random.Generator) -> np.ndarray:
    """Shares p with KL(held, p) <= depth: random directions, gone as far as the ball reaches."""
    far = generator.dirichlet(np.full(len(held), 0.3), 2000)
    low, high = np.zeros(len(far)), np.ones(len(far))
    for _ in range(40):
        middle = (low + high) / 2
        p = (1 - middle[:, None]) * held + middle[:, None] * far
        with np.errstate(divide="ignore"):
            inside = stats.entropy(np.broadcast_to(held, p.shape), p, axis=1) <= depth
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray((1 - low[:, None]) * held + low[:, None] * far)


@pytest.mark.parametrize("bits", [0.001, 0.01, 0.1])
def test_no_change_within_the_tolerance_pays_more_than_allowed(bits: float) -> None:
    generator = np.random.default_rng(9)
    p = generator.dirichlet(np.full(6, 2.0))
    bet = generator.gamma(2.0, 0.5, 6)
    square = (bet - 1) ** 2
    allowed = float(bets.tolerant_mean(bet @ p, square @ p, square.max(), bits))
    low, high = np.zeros(3000), np.ones(3000)
    far = generator.dirichlet(np.full(6, 0.3), 3000)
    for _ in range(40):
        middle = (low + high) / 2
        q = (1 - middle[:, None]) * p + middle[:, None] * far
        near = jensenshannon(np.broadcast_to(p, q.shape), q, base=2, axis=1) ** 2 <= bits
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    worst = float((((1 - low[:, None]) * p + low[:, None] * far) @ bet).max())
    assert worst <= allowed
    assert allowed - bet @ p < 2.5 * (worst - bet @ p)


def test_the_furthest_share_within_the_tolerance() -> None:
    for share, bits in [(0.0, 0.01), (0.3, 0.02), (0.97, 0.001)]:
        for up in (True, False):
            far = float(bets.tolerant_share(share, bits, up=up))
            apart = jensenshannon([share, 1 - share], [far, 1 - far], base=2) ** 2
            reached_the_end = far in (0.0, 1.0)
            assert apart == pytest.approx(bits, rel=1e-4) or (reached_the_end and apart <= bits)
            assert far >= share if up else far <= share
    assert bets.tolerant_share([0.2, 0.4], [0.0, 0.0], up=True).tolist() == [0.2, 0.4]
