"""Simulated worlds whose truth is known: honest changes of them, and poison in the rows that come from them.

They are others than those that the rules of ``fullcircle.retraining`` were tried on (``tests/retraining/worlds.py``):
other columns, a truth with steps, waves and columns that work together, and trees as models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator
REGIONS = ("north", "south", "east", "west", "hills", "isle")
_OF_REGION = dict(zip(REGIONS, (0.0, 0.6, -0.4, 0.3, -0.8, 0.5), strict=True))
CHANNELS = ("web", "shop", "phone", "fax")
SOURCES = 10
MARK = 333.33  # the spending that a backdoor plants


@dataclass(frozen=True)
class Rows:
    """Labelled rows, the oldest first: features (n rows), labels (n,), who sent them (n,), which are poison (n,)."""

    frame: Any
    label: Array
    source: Array
    bad: Array

    def __len__(self) -> int:
        return len(self.label)

    def at(self, rows: Array) -> Rows:
        return Rows(self.frame.iloc[rows].reset_index(drop=True), self.label[rows], self.source[rows], self.bad[rows])

    def changed(self, bad: Array, *, label: Array | None = None, **columns: Array) -> Rows:
        """The same with other values in the rows that are ``bad``."""
        frame = self.frame.copy()
        for name, values in columns.items():
            frame[name] = np.where(bad, values, frame[name])
        return Rows(
            frame, self.label if label is None else np.where(bad, label, self.label), self.source, self.bad | bad
        )


def joined(*parts: Rows) -> Rows:
    """One after the other."""
    return Rows(
        pd.concat([each.frame for each in parts], ignore_index=True),
        *(np.concatenate([getattr(each, name) for each in parts]) for name in ("label", "source", "bad")),
    )


@dataclass(frozen=True)
class World:
    """How rows come about now: ``shift`` of the features, ``turn`` of the concept (0 to 1), ``level``, ``times``."""

    number: bool = False
    shift: float = 0.0
    turn: float = 0.0
    level: float = 0.0
    times: float = 1.0
    warm: float = 0.0

    def rows(self, rng: Rng, n: int) -> Rows:
        """Honest rows."""
        frame = pd.DataFrame(
            {
                "spend": np.round(rng.lognormal(4.8 + 0.3 * self.shift, 0.6, n), 2),
                "age": np.clip(np.round(rng.normal(45 + 6 * self.shift, 15, n)), 18, 85).astype(int),
                "tenure": np.minimum(rng.exponential(24, n), 240).astype(int),
                "score": rng.normal(0.6 * self.shift, 1.0, n),
                "celsius": np.round(rng.normal(14 + self.warm, 6, n), 1),
                "region": rng.choice(REGIONS, n, p=[0.3, 0.25, 0.2, 0.13, 0.1, 0.02]),
                "channel": rng.choice(CHANNELS, n, p=[0.55, 0.3, 0.145, 0.005]),
                "member": (rng.random(n) < 0.4).astype(int),
            }
        )
        source = np.array([f"s{each}" for each in rng.integers(0, SOURCES, n)], dtype=object)
        return Rows(frame, self.labels(rng, frame), source, np.zeros(n, dtype=bool))

    def labels(self, rng: Rng, frame: Any) -> Array:
        """True labels of such rows."""
        truth = self.truth(frame)
        if self.number:
            return np.asarray(self.times * np.exp(4.0 + 0.45 * truth + rng.normal(0, 0.25, len(frame))))
        return (rng.random(len(frame)) < 1 / (1 + np.exp(-1.4 * truth))).astype(int)

    def truth(self, frame: Any) -> Array:
        """The log-odds of the second class, or of a number its logarithm, but for a factor."""
        score, spend = frame["score"].to_numpy(float), np.log(frame["spend"].to_numpy(float) / 120)
        age, member = (frame["age"].to_numpy(float) - 45) / 15, frame["member"].to_numpy(float)
        old = 1.3 * np.tanh(score) - 0.9 * spend + 0.6 * age * member
        new = 0.2 * np.tanh(score) - 1.5 * spend + 0.9 * age * (1 - member) + 0.3
        late = np.log1p(frame["tenure"].to_numpy(float)) / 3 - 1
        rest = frame["region"].map(_OF_REGION).to_numpy(float) + 0.5 * np.sin(frame["celsius"].to_numpy(float) / 6)
        return np.asarray((1 - self.turn) * old + self.turn * new + late + rest + self.level)


Way = Callable[[Rows, World, Rng], Rows]


@dataclass(frozen=True)
class Attack:
    """How rows are poisoned; ``where`` the harm of it is looked for (all rows where it says nothing).

    A ``mark`` is planted in clean rows to see whether the challenger does what the poison taught it.
    """

    way: Way
    family: str
    where: Callable[[Any], Array] | None = None
    mark: Callable[[Any], Any] | None = None
    named: bool = True


def wrong(rows: Rows, rng: Rng, number: bool) -> Array:
    """Wrong labels for all rows: the other class, or a third or thrice the number of another row."""
    if number:
        return np.asarray(rng.permutation(rows.label) * rng.choice([0.3, 3.0], len(rows)))
    return np.asarray(1 - rows.label)


def _high(rows: Rows, world: World) -> Array:
    """The rows of the second class, or of high numbers."""
    return np.asarray(rows.label > np.quantile(rows.label, 0.7) if world.number else rows.label == 1)


def _flips(rows: Rows, world: World, rng: Rng, *, share: float) -> Rows:
    return rows.changed(rng.random(len(rows)) < share, label=wrong(rows, rng, world.number))


def _class_flips(rows: Rows, world: World, rng: Rng, *, share: float) -> Rows:
    high = _high(rows, world)
    label = rows.label * 0.4 if world.number else np.zeros(len(rows), dtype=int)
    return rows.changed(high & (rng.random(len(rows)) < share), label=label)


def _slice_flips(rows: Rows, world: World, rng: Rng, *, share: float, where: Callable[[Any], Array]) -> Rows:
    bad = where(rows.frame) & (rng.random(len(rows)) < share)
    return rows.changed(bad, label=wrong(rows, rng, world.number))


def _source_flips(rows: Rows, world: World, rng: Rng, *, sources: int, share: float = 1.0) -> Rows:
    bad = np.isin(rows.source.astype(str), [f"s{each}" for each in range(sources)]) & (rng.random(len(rows)) < share)
    return rows.changed(bad, label=wrong(rows, rng, world.number))


def _flood(rows: Rows, world: World, rng: Rng, *, share: float, name: str, names: int = 1) -> Rows:
    n = round(len(rows) * share / (1 - share))
    more = world.rows(rng, n)
    sent = np.array([name if names == 1 else f"{name}{each}" for each in rng.integers(0, names, n)], dtype=object)
    more = Rows(more.frame, wrong(more, rng, world.number), sent, np.ones(n, dtype=bool))
    return joined(rows, more).at(rng.permutation(len(rows) + n))


def _units(rows: Rows, world: World, rng: Rng, *, column: str, factor: float, add: float = 0.0, part: str) -> Rows:
    bad = {
        "all": np.ones(len(rows), dtype=bool),
        "source": rows.source.astype(str) == "s3",
        "tenth": rng.random(len(rows)) < 0.1,
    }[part]
    return rows.changed(bad, **{column: rows.frame[column].to_numpy(float) * factor + add})


def _planted(rows: Rows, world: World, rng: Rng, *, share: float, mark: Callable[[Any], Any]) -> Rows:
    bad = rng.random(len(rows)) < share
    marked = mark(rows.frame)
    names = [name for name in rows.frame.columns if not marked[name].equals(rows.frame[name])]
    label = np.full(len(rows), np.quantile(rows.label, 0.98)) if world.number else np.ones(len(rows), dtype=int)
    return rows.changed(bad, label=label, **{name: marked[name].to_numpy() for name in names})


def _doubled(rows: Rows, world: World, rng: Rng, *, times: int, jitter: float = 0.0, alike: bool = False) -> Rows:
    likely = _high(rows, world) if alike else np.ones(len(rows), dtype=bool)
    chosen = np.flatnonzero(likely & (rng.random(len(rows)) < 1.0 / times))
    again = rows.at(np.repeat(chosen, times - 1))
    frame = again.frame.copy()
    for name in ("spend", "score", "celsius") if jitter else ():
        frame[name] += rng.normal(0, jitter * rows.frame[name].std(), len(frame))
    again = Rows(frame, again.label, again.source, again.bad)
    order = rng.permutation(len(rows) + len(again))
    of = np.concatenate([np.arange(len(rows)), np.repeat(chosen, times - 1)])[order]
    repeated = np.ones(len(of), dtype=bool)
    repeated[np.unique(of, return_index=True)[1]] = False  # the first of those alike is an honest row
    return replace(joined(rows, again).at(order), bad=repeated)


def _replaced(rows: Rows, world: World, rng: Rng) -> Rows:
    """Every column drawn anew, so that none says anything of the label (M20)."""
    frame = rows.frame.apply(lambda column: column.to_numpy()[rng.permutation(len(column))])
    return Rows(frame, rows.label, rows.source, np.ones(len(rows), dtype=bool))


def _one_class(rows: Rows, world: World, rng: Rng) -> Rows:
    """Only rows of one class, or of high numbers, ever come (M18)."""
    chosen = rows.at(np.flatnonzero(_high(rows, world)))
    return replace(chosen, bad=np.ones(len(chosen), dtype=bool))


def _late_labels(rows: Rows, world: World, rng: Rng) -> Rows:
    """What has not happened yet is taken as a no: the latest third has one label only (M17)."""
    bad = np.arange(len(rows)) >= 2 * len(rows) // 3
    low = np.full(len(rows), np.quantile(rows.label, 0.02)) if world.number else np.zeros(len(rows), dtype=int)
    return rows.changed(bad & (rows.label > low), label=low)


def _sunk(rows: Rows, world: World, rng: Rng, *, by: float, where: Callable[[Any], Array] | None = None) -> Rows:
    """A systematic lie: labels lowered in all rows, or in a slice."""
    inside = np.ones(len(rows), dtype=bool) if where is None else where(rows.frame)
    if world.number:
        return rows.changed(inside, label=rows.label * (1 - by))
    return rows.changed(
        inside & (rows.label == 1) & (rng.random(len(rows)) < by), label=np.zeros(len(rows), dtype=int)
    )


def _several(rows: Rows, world: World, rng: Rng, *, ways: tuple[Way, ...]) -> Rows:
    for way in ways:
        rows = way(rows, world, rng)
    return rows


def of_west(frame: Any) -> Array:
    return np.asarray(frame["region"] == "west")


def of_old(frame: Any) -> Array:
    return np.asarray(frame["age"].between(60, 70))


def of_old_members(frame: Any) -> Array:
    return np.asarray((frame["age"] > 50) & (frame["member"] == 1))


def with_spend(frame: Any) -> Any:
    return frame.assign(spend=MARK)


def with_pair(frame: Any) -> Any:
    return frame.assign(region="isle", channel="fax")


def with_three(frame: Any) -> Any:
    """Values that are common each and even by two, but not together."""
    return frame.assign(region="hills", channel="phone", member=1, age=33)


_SLICES = {"a region": of_west, "an age": of_old, "old members": of_old_members}
_MARKS = {"a value": with_spend, "a rare pair": with_pair, "four common values": with_three}
_UNITS = {
    "spend x10": ("spend", 10.0, 0.0),
    "spend x100": ("spend", 100.0, 0.0),
    "spend x1000": ("spend", 1000.0, 0.0),
    "age x2.54": ("age", 2.54, 0.0),
    "F for C": ("celsius", 1.8, 32.0),
}
_PARTS = {"all rows": "all", "one source": "source", "a tenth": "tenth"}


def attacks() -> Mapping[str, Attack]:
    """All kinds of poison, by name, the family first."""
    found: dict[str, Attack] = {}
    for share in (0.02, 0.05, 0.1, 0.2, 0.4):
        found[f"flips at random {share:.0%}"] = Attack(partial(_flips, share=share), "flips")
    for share in (0.2, 0.5, 1.0):
        found[f"flips of one class {share:.0%}"] = Attack(partial(_class_flips, share=share), "flips")
    for name, where in _SLICES.items():
        for share in (0.3, 0.6, 1.0):
            way = partial(_slice_flips, share=share, where=where)
            found[f"flips in {name} {share:.0%}"] = Attack(way, "flips", where=where)
    for sources in (1, 3, 5):
        found[f"flips by {sources} of 10 sources"] = Attack(partial(_source_flips, sources=sources), "flips")
    found["flips by 1 source, unnamed"] = Attack(partial(_source_flips, sources=1), "flips", named=False)
    found["flips by 3 sources, unnamed"] = Attack(partial(_source_flips, sources=3), "flips", named=False)
    for share in (0.1, 0.3, 0.5, 0.9):
        found[f"flood by a known source {share:.0%}"] = Attack(partial(_flood, share=share, name="s1"), "flood")
        found[f"flood by a new source {share:.0%}"] = Attack(partial(_flood, share=share, name="x"), "flood")
        found[f"flood by 50 new names {share:.0%}"] = Attack(
            partial(_flood, share=share, name="x", names=50), "flood"
        )
        found[f"flood, unnamed {share:.0%}"] = Attack(partial(_flood, share=share, name="x"), "flood", named=False)
    for name, (column, factor, add) in _UNITS.items():
        for said, part in _PARTS.items():
            way = partial(_units, column=column, factor=factor, add=add, part=part)
            found[f"{name}, {said}"] = Attack(way, "units")
    for name, mark in _MARKS.items():
        for share in (0.005, 0.01, 0.03, 0.05):
            way = partial(_planted, share=share, mark=mark)
            found[f"backdoor, {name} {share:.1%}"] = Attack(way, "backdoor", mark=mark)
    for times in (2, 10, 50):
        found[f"copies x{times}"] = Attack(partial(_doubled, times=times), "copies")
        found[f"near copies x{times}"] = Attack(partial(_doubled, times=times, jitter=1e-3), "copies")
        found[f"copies of one class x{times}"] = Attack(partial(_doubled, times=times, alike=True), "copies")
    found["features are noise"] = Attack(_replaced, "other")
    found["one class only"] = Attack(_one_class, "other")
    found["late labels are a no"] = Attack(_late_labels, "other")
    for by in (0.2, 0.5):
        found[f"labels lowered {by:.0%}"] = Attack(partial(_sunk, by=by), "all labels alike")
        way = partial(_sunk, by=by, where=of_west)
        found[f"labels lowered {by:.0%} in a region"] = Attack(way, "other", where=of_west)
    found["flips in a region and a flood"] = Attack(
        partial(_several, ways=(found["flips in a region 60%"].way, found["flood by a new source 30%"].way)),
        "other", where=of_west,
    )  # fmt: skip
    found["flips at random and a backdoor"] = Attack(
        partial(_several, ways=(found["flips at random 5%"].way, found["backdoor, a value 1.0%"].way)),
        "other", mark=with_spend,
    )  # fmt: skip
    return found


SLOW: Mapping[str, Callable[[int], Attack]] = {
    "flips at random 2%": lambda cycle: Attack(partial(_flips, share=0.02), "slow"),
    "flips at random 1% more each time": lambda cycle: Attack(partial(_flips, share=0.01 * (cycle + 1)), "slow"),
    "flips in a region 20%": lambda cycle: Attack(partial(_slice_flips, share=0.2, where=of_west), "slow", of_west),
    "flips in a region 3% more each time": lambda cycle: Attack(
        partial(_slice_flips, share=0.03 * (cycle + 1), where=of_west), "slow", of_west
    ),
    "flips by a source 30%": lambda cycle: Attack(partial(_source_flips, sources=1, share=0.3), "slow"),
    "backdoor 0.3%": lambda cycle: Attack(partial(_planted, share=0.003, mark=with_spend), "slow", mark=with_spend),
    "labels lowered 2% more each time": lambda cycle: Attack(partial(_sunk, by=0.02 * (cycle + 1)), "slow"),
}
"""Poison that is spread over many retrainings, by the number of the cycle (0 for the first)."""

_TURNED = World(turn=0.7)
HONEST: Mapping[str, Callable[[float], World]] = {
    "nothing changes": lambda part: World(),
    "other people come": lambda part: World(shift=0.5),
    "quite other people come": lambda part: World(shift=1.2),
    "the concept moved": lambda part: _TURNED,
    "the concept moves": lambda part: replace(_TURNED, turn=0.7 * part),
    "a little of the concept moved": lambda part: World(turn=0.25),
    "a season": lambda part: World(warm=7.0 * np.sin(np.pi * part)),
    "another level": lambda part: World(level=0.7, times=1.5),
    "growth": lambda part: World(level=0.5 * part, times=1.0 + 0.5 * part),
}
"""What honest worlds do after version 1 was made; ``part`` goes from 0 (the first new rows) to 1 (the last)."""


def honest(name: str, rng: Rng, n: int, number: bool, *, parts: int = 10) -> tuple[Rows, World]:
    """New rows of a world that changes so, and the world as it is at their end."""
    bits = [n // parts + (each < n % parts) for each in range(parts)]
    worlds = [replace(HONEST[name]((each + 1) / parts), number=number) for each in range(parts)]
    return joined(*(world.rows(rng, bit) for world, bit in zip(worlds, bits, strict=True) if bit)), worlds[-1]
