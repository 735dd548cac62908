"""A champion that is worse than the version before is found, and one that is not is left alone for ever."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import DataUnfit
from fullcircle.retraining.regret import CHANCE, Regret, noticed

LOSSES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60)


def _of(pairs: list[tuple[float, float]]) -> Regret:
    return Regret().add([a for a, _ in pairs], [b for _, b in pairs])


@given(pairs=LOSSES, cut=st.integers(0, 60), seed=st.integers(0, 9))
def test_order_and_parts_do_not_matter(pairs: list[tuple[float, float]], cut: int, seed: int) -> None:
    whole = _of(pairs)
    parts = _of(pairs[:cut]).add([a for a, _ in pairs[cut:]], [b for _, b in pairs[cut:]])
    mixed = _of([pairs[place] for place in np.random.default_rng(seed).permutation(len(pairs))])
    for other in (parts, mixed):
        assert other.rows == whole.rows
        assert other.evidence == pytest.approx(whole.evidence, abs=1e-9)


@given(pairs=LOSSES)
def test_the_bounds_hold_the_mean_and_the_verdict_agrees_with_them(pairs: list[tuple[float, float]]) -> None:
    found = _of(pairs)
    low, high = found.interval()
    assert -1.0 <= low <= high <= 1.0
    assert found.rows == 0 or low - 1e-9 <= found.mean <= high + 1e-9
    if abs(found.evidence + math.log(CHANCE)) > 1e-6:
        assert found.worse() == (low > 1e-12)


@given(pairs=LOSSES)
def test_the_state_goes_through_json(pairs: list[tuple[float, float]]) -> None:
    found = _of(pairs)
    assert Regret.of(json.loads(json.dumps(found.state()))) == found


def test_a_champion_that_is_no_worse_is_hardly_ever_taken_back() -> None:
    lives, looks, rows = 400, 40, 50
    ends = rows * np.arange(1, looks + 1)
    taken = 0
    generator = np.random.default_rng(3)
    for life in range(lives):
        apart = generator.normal(0.0, 0.2, looks * rows) * (generator.random(looks * rows) < 0.3)
        if life % 2:
            # By turns: better in one season, then as much worse, and never worse in all that was.
            apart -= np.repeat(0.05 * np.sin(2 * np.pi * np.arange(looks) / 20.0), rows)
        apart = np.clip(apart, -1, 1)
        totals, squares = np.cumsum(apart)[ends - 1], np.cumsum(apart**2)[ends - 1]
        taken += any(Regret(int(n), a, b).worse() for n, a, b in zip(ends, totals, squares, strict=True))
    assert taken <= CHANCE * lives + 4


def test_a_champion_that_is_worse_is_found_about_when_it_should() -> None:
    generator = np.random.default_rng(5)
    for worse, spread in ((0.05, 0.2), (0.02, 0.1), (0.2, 0.4)):
        most = noticed(worse, spread)
        needed = []
        for _ in range(30):
            apart = np.clip(generator.normal(worse, spread, int(6 * most)), -1, 1)
            totals, squares = np.cumsum(apart), np.cumsum(apart**2)
            found = [Regret(n, totals[n - 1], squares[n - 1]).worse() for n in range(1, len(apart), 20)]
            needed.append(20 * found.index(True) if any(found) else math.inf)
        assert np.median(needed) < 1.5 * most
        assert np.quantile(needed, 0.9) < 4 * most


def test_what_is_not_known_is_left_out_and_what_is_no_loss_refused() -> None:
    found = Regret().add([0.5, math.nan, 0.2], [0.1, 0.1, math.nan])
    assert found.rows == 1
    assert found.total == pytest.approx(0.4)
    with pytest.raises(DataUnfit, match="losses"):
        found.add([1.5], [0.0])
    with pytest.raises(DataUnfit, match="losses"):
        found.add([0.5], [0.0, 0.1])


def test_it_says_what_it_knows() -> None:
    assert "no labelled row" in Regret().text(2)
    assert Regret().interval() == (-1.0, 1.0)
    assert not Regret().worse()
    bad = Regret().add(np.full(500, 0.6), np.full(500, 0.2))
    assert bad.worse()
    assert bad.text(2).startswith("worse than version 2 on 500 labelled rows: loss +0.4000 a row")
    assert Regret().add([0.3], [0.2]).text(1).startswith("not shown to be worse than version 1")


def test_better_is_never_noticed_as_worse() -> None:
    assert noticed(0.0, 0.1) == math.inf
    assert noticed(-0.1, 0.1) == math.inf
    assert noticed(0.1, 0.2) < noticed(0.05, 0.2)
