"""A few runs of each campaign of ``benchmarks/loop_poison.py``: no harm is promoted, honest changes go through."""

from __future__ import annotations

import numpy as np
import pytest

from laws.sizes import ROOT


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("flips of one class 50%", False),
        ("flips of one class 100%", False),
        ("flood by a new source 90%", False),
        ("spend x100, all rows", True),
        ("backdoor, a rare pair 3.0%", True),
        ("backdoor, a value 1.0%", False),
        ("features are noise", False),
        ("one class only", False),
    ],
)
def test_poison_does_no_harm(name: str, number: bool) -> None:
    from benchmarks.loop_poison import LEARNED, harmful, poisoned

    found = poisoned(name, number, 1)
    assert not harmful(found), found
    assert found.why or found.learned <= LEARNED, found
    assert found.text


@pytest.mark.parametrize("name", ["the concept moved", "growth"])
def test_an_honest_change_is_not_suspicious(name: str) -> None:
    from benchmarks.loop_poison import clean

    found = clean(name, True, 1)
    assert found.why in ("", "no better"), found.text
    assert found.lost <= 0.02


def test_slow_poison_comes_to_no_more_than_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import loop_poison

    monkeypatch.setattr(loop_poison, "CYCLES", 3)
    found = loop_poison.slowly("flips in a region 20%", False, 0)
    assert found.harm is None or found.harm.all > -loop_poison.TOLERANCE, found


def test_poison_is_what_it_says() -> None:
    from benchmarks.poison_worlds import World, attacks

    world, rng = World(), np.random.default_rng(0)
    rows = world.rows(rng, 1000)
    for name, attack in attacks().items():
        made = attack.way(rows, world, rng)
        assert made.bad.any(), name
        assert len(made.frame) == len(made.label) == len(made.source) == len(made.bad)
    flood = attacks()["flood by a new source 90%"].way(rows, world, rng)
    assert (flood.source == "x").mean() == pytest.approx(0.9)
    assert set(flood.label[flood.bad].tolist()) == {0, 1}
