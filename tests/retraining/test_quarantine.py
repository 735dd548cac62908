"""What is poison is kept apart or held, and what is honest is learned from, whatever the world does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.retraining.quarantine import Rows, Sifted, sift
from fullcircle.types.project import Retrain
from retraining.worlds import Scene, World, flipped, scene

NAMED = Retrain(source="source")
TASKS = ("classification", "regression")
Attack = Callable[[Scene, np.random.Generator], tuple[Scene, np.ndarray]]


def _sift(of: Scene, seed: int = 0) -> Sifted:
    return sift(of.known, of.new, retrain=NAMED, seed=seed)


def _relabelled(of: Scene, bad: np.ndarray, rng: np.random.Generator) -> Scene:
    return of.with_new(of.new.features, flipped(of.new.label, bad, of.new.task, rng), of.new.source)


def _with(of: Scene, column: str, values: Any) -> Scene:
    return of.with_new(of.new.features.assign(**{column: values}), of.new.label, of.new.source)


def random_flips(share: float) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        bad = rng.random(len(of.new)) < share
        return _relabelled(of, bad, rng), bad

    return attack


def slice_flips(share: float) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        bad = (of.new.features["region"] == "south").to_numpy() & (rng.random(len(of.new)) < share)
        return _relabelled(of, bad, rng), bad

    return attack


def source_flips(sources: int) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        bad = np.isin(of.new.source.astype(str), [f"s{each}" for each in range(sources)])
        return _relabelled(of, bad, rng), bad

    return attack


def flood(times: int, name: str) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        n = len(of.new)
        more, label, _ = World(task=of.new.task).rows(rng, n * times)
        label = flipped(label, np.ones(n * times, dtype=bool), of.new.task, rng)
        order = rng.permutation(n * (times + 1))
        frame = pd.concat([of.new.features, more], ignore_index=True).iloc[order].reset_index(drop=True)
        source = np.concatenate([of.new.source, np.array([name] * (n * times), dtype=object)])[order]
        return of.with_new(frame, np.concatenate([of.new.label, label])[order], source), order >= n

    return attack


def backdoor(share: float, column: str, value: float) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        bad = rng.random(len(of.new)) < share
        planted = _with(of, column, np.where(bad, value, of.new.features[column]))
        label = np.where(bad, 1000.0 if of.new.task == "regression" else 1, of.new.label)
        return planted.with_new(planted.new.features, label, of.new.source), bad

    return attack


def copies(times: int, jitter: float) -> Attack:
    def attack(of: Scene, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        n = len(of.new)
        chosen = np.flatnonzero(rng.random(n) < 0.3 / times)
        rows = np.concatenate([np.arange(n), *[chosen] * (times - 1)])
        bad = np.arange(len(rows)) >= n
        frame = of.new.features.iloc[rows].reset_index(drop=True)
        for name in ("x1", "amount", "temperature", "noise") if jitter else ():
            frame[name] += np.where(bad, rng.normal(0, jitter * frame[name].std(), len(rows)), 0.0)
        return of.with_new(frame, of.new.label[rows], of.new.source[rows]), bad

    return attack


ATTACKS: dict[str, Attack] = {
    "flips at random 20%": random_flips(0.2),
    "flips at random 40%": random_flips(0.4),
    "flips in a slice 50%": slice_flips(0.5),
    "flips in a slice 90%": slice_flips(0.9),
    "flips by 1 source": source_flips(1),
    "flips by 5 of 12 sources": source_flips(5),
    "flood by a known source": flood(3, "s1"),
    "flood by a new source": flood(10, "x"),
    "backdoor 1%": backdoor(0.01, "noise", 2.345),
    "backdoor 5%": backdoor(0.05, "amount", 77.77),
    "copies x2": copies(2, 0.0),
    "copies x50": copies(50, 0.0),
    "near copies x2": copies(2, 1e-3),
    "near copies x10": copies(10, 1e-3),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_poison_is_not_learned_from(name: str) -> None:
    for task in TASKS:
        start = scene(1, world=World(task=task))
        poisoned, bad = ATTACKS[name](start, np.random.default_rng(2))
        found = _sift(poisoned)
        assert found.held or found.found
        assert found.keep[bad].mean() <= 0.05, f"{task}: {found}"
        assert not found.held or not found.keep.any()


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("amount", lambda x: x * 10, "amount looks multiplied by 10"),
        ("amount", lambda x: x * 100, "amount looks multiplied by 100"),
        ("age", lambda x: x * 2.54, "age looks multiplied by 2.54"),
        ("temperature", lambda x: x * 1.8 + 32, "temperature looks like degrees Fahrenheit instead of Celsius"),
    ],
    ids=["x10", "x100", "x2.54", "F"],
)
def test_other_units_are_held_with_what_they_look_like(column: str, change: Any, said: str) -> None:
    start = scene(3, named=False)
    assert _sift(_with(start, column, change(start.new.features[column]))).held.startswith(said)


@pytest.mark.parametrize("column", ["amount", "temperature"])
def test_other_units_in_a_tenth_of_the_rows_are_kept_apart(column: str) -> None:
    start = scene(4)
    part = np.random.default_rng(0).random(len(start.new)) < 0.1
    values = start.new.features[column]
    changed = values * 10 if column == "amount" else values * 1.8 + 32
    found = _sift(_with(start, column, np.where(part, changed, values)))
    assert not found.held
    assert found.keep[part].mean() < 0.02
    assert found.keep[~part].mean() > 0.99
    assert found.found[0].column == column
    assert "% of the rows" in found.found[0].reason
    assert found.wrong == pytest.approx(part.mean(), abs=0.01)


def test_other_units_in_most_rows_are_held() -> None:
    start = scene(4, named=False)
    part = np.random.default_rng(0).random(len(start.new)) < 0.7
    values = start.new.features["amount"]
    assert (
        "amount looks multiplied by 100" in _sift(_with(start, "amount", np.where(part, values * 100, values))).held
    )


def test_other_units_of_one_source_cost_that_source_only() -> None:
    start = scene(5)
    own = start.new.source.astype(str) == "s3"
    found = _sift(
        _with(start, "amount", np.where(own, start.new.features["amount"] * 100, start.new.features["amount"]))
    )
    assert not found.held
    assert not found.keep[own].any()
    assert found.keep[~own].all()
    assert found.found[0].value == "s3"
    assert "amount looks multiplied by 100" in found.found[0].reason


HONEST = {
    "same": (World(), World()),
    "covariate": (World(), World(shift=1.0)),
    "season of a number": (World(task="regression"), World(task="regression", shift=-1.0)),
    "concept": (World(), World(weights=(0.8, -1.5, 0.8))),
    "concept of a number": (World(task="regression"), World(task="regression", weights=(0.5, -1.8, 1.2))),
    "more of one class": (World(), World(level=1.0)),
    "level of a number": (World(task="regression"), World(task="regression", times=1.65)),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_rows_are_learned_from(name: str) -> None:
    first, later = HONEST[name]
    for seed in range(2):
        found = _sift(scene(100 + seed, world=first, later=later, gradual=bool(seed)))
        assert not found.held
        assert found.keep.mean() > 0.98, found.found


def test_the_order_of_rows_does_not_matter_without_a_flood() -> None:
    start = scene(6)
    poisoned, _ = backdoor(0.02, "noise", 2.345)(start, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(len(poisoned.new))
    plain, mixed = _sift(poisoned), _sift(replace(poisoned, new=poisoned.new.at(order)))
    assert (mixed.keep == plain.keep[order]).all()
    assert mixed.found == plain.found


def test_what_is_kept_and_what_is_found_are_all_rows() -> None:
    poisoned, _ = flood(3, "s1")(scene(7), np.random.default_rng(1))
    found = _sift(poisoned)
    assert not found.held
    assert int(found.keep.sum()) + sum(each.rows for each in found.found) == len(poisoned.new)
    names, counts = np.unique(poisoned.new.source[found.keep].astype(str), return_counts=True)
    assert counts.max() <= 0.2 * counts.sum()
    assert "s1" not in names, "its labels are wrong too"


def test_more_clean_rows_bring_nothing_into_quarantine() -> None:
    for rows in (50, 400, 1500):
        assert _sift(scene(8, new=rows)).found == ()


def test_without_losses_the_rules_that_need_none_go_on() -> None:
    start = scene(9, new=600)
    known = replace(start.known, loss=np.full(len(start.known), np.nan))
    blind = replace(start, known=known, new=replace(start.new, loss=np.full(600, np.nan)))
    assert _sift(blind).keep.all()
    twice = replace(blind, new=blind.new.at(np.concatenate([np.arange(600), np.arange(600)])))
    found = _sift(twice)
    assert found.keep.tolist() == [True] * 600 + [False] * 600
    assert found.wrong == 0.0, "a copy is one too many, and not wrong"


def test_no_rows_are_no_trouble() -> None:
    start = scene(10)
    empty = replace(start, new=start.new.at(np.arange(0)))
    found = _sift(empty)
    assert (len(found.keep), found.found, found.held) == (0, (), "")


def test_rows_of_newcomers_alone_are_for_a_person() -> None:
    start = scene(11, new=100)
    strangers = replace(start, new=replace(start.new, source=np.array(["x"] * 100, dtype=object)))
    found = _sift(strangers)
    assert "never sent one before" in found.held
    assert not found.keep.any()


def test_too_much_that_is_suspicious_is_for_a_person() -> None:
    start = scene(12)
    poisoned, _ = backdoor(0.6, "noise", 2.345)(start, np.random.default_rng(1))
    assert "a person must look" in _sift(poisoned).held


def test_repeats_are_no_copies_where_known_rows_repeat() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 5, 3000), "b": rng.choice(list("xyz"), 3000)})
    label = rng.integers(0, 2, 3000)
    rows = Rows(features=frame, label=label, loss=np.full(3000, np.nan))
    assert sift(rows.at(np.arange(2000)), rows.at(np.arange(2000, 3000)), retrain=Retrain(), seed=0).keep.all()


def test_a_value_that_drifts_up_is_no_backdoor() -> None:
    start = scene(13)
    older = _with(start, "age", np.minimum(start.new.features["age"] + 30, 79))
    assert not [each for each in _sift(older).found if "planted" in each.reason and each.value != "79"]


def test_a_new_value_with_the_label_that_was_to_be_expected_is_no_backdoor() -> None:
    start = scene(14)
    late = start.new.features["x1"] > 2.0
    capped = _with(start, "x1", np.where(late, 2.5, start.new.features["x1"]))
    label = np.where(late, 1, capped.new.label)
    assert _sift(capped.with_new(capped.new.features, label, capped.new.source)).keep.all()
    turned = np.where(late, 0, capped.new.label)
    assert not _sift(capped.with_new(capped.new.features, turned, capped.new.source)).keep[late].any()


def test_numbers_on_a_grid_come_close_by_themselves() -> None:
    rng = np.random.default_rng(0)

    def hours(n: int) -> Rows:
        walk = np.cumsum(rng.normal(0, 0.1, n))
        frame = pd.DataFrame({"hour": np.arange(n) % 24, "temp": np.round(10 + walk), "hum": np.round(60 - walk)})
        return Rows(features=frame, label=np.round(rng.gamma(2, 5, n)), loss=np.full(n, np.nan), task="regression")

    assert sift(hours(4000), hours(1500), retrain=Retrain(), seed=0).keep.mean() > 0.98


@pytest.mark.parametrize("task", TASKS)
def test_common_values_that_come_together_with_one_label_are_a_backdoor(task: str) -> None:
    start = scene(10, world=World(task=task))
    rng, planted = np.random.default_rng(0), {"region": "west", "flag": True, "age": 50}
    bad = rng.random(len(start.new)) < 0.02
    frame = start.new.features.copy()
    for name, value in planted.items():
        frame.loc[bad, name] = value
        assert (start.known.features[name] == value).mean() > 0.01, "common by itself"
    label = np.where(bad, 1 if task == "classification" else np.quantile(start.new.label, 0.98), start.new.label)
    found = _sift(start.with_new(frame, label, start.new.source))
    assert not found.held
    assert not found.keep[bad].any()
    assert found.keep[~bad].mean() > 0.97
    assert any(" and " in each.column and "planted" in each.reason for each in found.found), found.found


def test_values_that_come_together_more_often_with_their_true_labels_are_no_backdoor() -> None:
    start, rng = scene(10), np.random.default_rng(0)
    more = start.new.features.copy()
    part = rng.random(len(more)) < 0.1
    for name, value in {"region": "west", "flag": True, "age": 50}.items():
        more.loc[part, name] = value
    label = (rng.random(len(more)) < 1 / (1 + np.exp(-World().truth(more)))).astype(int)
    found = _sift(start.with_new(more, label, start.new.source))
    assert not found.held
    assert not [each for each in found.found if " and " in each.column], found.found


def test_classes_that_are_turned_round_are_a_mistake_and_no_new_world() -> None:
    start = scene(11, named=False)
    found = _sift(start.with_new(start.new.features, 1 - start.new.label, None))
    assert "turned round" in found.held
    assert not found.keep.any()
