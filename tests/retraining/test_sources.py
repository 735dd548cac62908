"""No source gives more than its share of what is kept, however much it sends and under however many names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.retraining.sources import Allowances, allowances, names, within

SENT = st.lists(st.sampled_from("abcdefg"), max_size=200).map(lambda each: np.array(each, dtype=object))


def _kept(sent: np.ndarray, allowed: Allowances) -> dict[str, int]:
    kept = within(sent, allowed)
    return {name: int(np.sum(sent[kept] == name)) for name in set(sent.tolist())}


@given(known=SENT, sent=SENT, share=st.floats(0.05, 1.0))
def test_the_cap_holds_exactly(known: np.ndarray, sent: np.ndarray, share: float) -> None:
    allowed = allowances(known, sent, share)
    kept = _kept(sent, allowed)
    total = sum(kept.values())
    for name, count in kept.items():
        assert count <= allowed.of(name) * total + 1e-6
        if name not in allowed.known:
            assert count <= share / 4 * total + 1e-6
    assert sum(count for name, count in kept.items() if name not in allowed.known) <= allowed.newcomers * total + 1e-6


@given(known=SENT, sent=SENT)
def test_the_oldest_of_a_source_stay(known: np.ndarray, sent: np.ndarray) -> None:
    kept = within(sent, allowances(known, sent, 0.2))
    for name in set(sent.tolist()):
        own = kept[sent == name]
        assert not np.any(np.diff(own.astype(int)) > 0)


@given(known=SENT, sent=SENT, seed=st.integers(0, 5))
def test_who_sends_in_which_order_does_not_matter(known: np.ndarray, sent: np.ndarray, seed: int) -> None:
    mixed = np.random.default_rng(seed).permutation(sent)
    allowed = allowances(known, sent, 0.2)
    assert allowed == allowances(known, mixed, 0.2)
    assert _kept(sent, allowed) == _kept(mixed, allowed)


@given(sent=SENT.filter(len))
def test_who_always_sent_so_much_goes_on(sent: np.ndarray) -> None:
    assert within(sent, allowances(sent, sent, 0.2)).all()


@pytest.mark.parametrize("times", [2, 10, 100])
def test_a_flood_does_not_raise_its_own_limit(times: int) -> None:
    known = np.array(list("abcdefghij") * 100, dtype=object)
    honest = np.array(list("abcdefghij") * 20, dtype=object)
    sent = np.concatenate([honest, np.array(["a"] * (200 * times), dtype=object)])
    kept = _kept(sent, allowances(known, sent, 0.2))
    assert kept["a"] == 45
    assert sum(kept.values()) == 225


def test_newcomers_get_little_alone_and_together() -> None:
    known = np.array(list("abcdefghij") * 100, dtype=object)
    honest = list("abcdefghij") * 20
    one = np.array(honest + ["x"] * 500, dtype=object)
    assert _kept(one, allowances(known, one, 0.2))["x"] == 10
    many = np.array(honest + [f"x{each}" for each in range(500)], dtype=object)
    kept = within(many, allowances(known, many, 0.2))
    assert int(kept[200:].sum()) == 50
    assert kept[:200].all()


def test_where_names_are_always_new_names_are_no_check() -> None:
    known, sent = (np.array([f"{who}{each}" for each in range(400)], dtype=object) for who in "ab")
    sent[:50] = known[:50]
    assert within(sent, allowances(known, sent, 0.2)).all()


def test_newcomers_alone_are_not_learned_from() -> None:
    known, sent = np.array(list("abc"), dtype=object), np.array(["x"] * 50, dtype=object)
    assert not within(sent, allowances(known, sent, 0.2)).any()


def test_a_missing_source_is_a_source() -> None:
    assert names(["a", None, np.nan, 3]).tolist() == ["a", "missing", "missing", "3"]
