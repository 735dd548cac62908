"""Counts of a replay: answers then and now, by group and by verdict, in memory that does not grow with the log.

Counts and means are of all rows. What needs the rows themselves (intervals, quantiles, examples) is worked out from
an even sample of at most ``KEPT`` of them, drawn by their ids: the same rows give the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np

from fullcircle.flows.replayed_rows import held
from fullcircle.types.contract import Column, Contract, Value
from fullcircle.types.loop import Changed
from fullcircle.types.prediction import Prediction

T = TypeVar("T")
KEPT = 100_000
EXAMPLES = 10
OTHERS = "(others)"
MISSING = "(missing)"
_MOST_GROUPS = 50
_FEW_VALUES = 12

Earn = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may be apart and count as the same: ``size``, in the label's unit or as a share."""

    size: float
    share: bool = True

    def apart(self, then: float, now: float) -> bool:
        """Whether they are further apart."""
        allowed = self.size * max(abs(then), abs(now)) if self.share else self.size
        return abs(now - then) > allowed


@dataclass(frozen=True, slots=True)
class Pair:
    """A row answered by both, and its label where one came that counts: not one that the version has learned."""

    then: Prediction
    now: Prediction
    label: Value = None


class Sample(Generic[T]):
    """At most ``most`` of the things given, those whose ids have the smallest sums."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._kept: list[tuple[int, str, T]] = []
        self.given = 0

    def add(self, identity: str, thing: T) -> None:
        """One more."""
        self.given += 1
        self._kept.append((crc32(identity.encode()), identity, thing))
        if len(self._kept) >= 2 * self._most:
            self._cut()

    def things(self) -> list[T]:
        """Those that were kept, in the order of their ids' sums."""
        self._cut()
        return [thing for _, _, thing in self._kept]

    def _cut(self) -> None:
        self._kept.sort(key=lambda each: each[:2])
        del self._kept[self._most :]


@dataclass
class _Group:
    rows: int = 0
    changed: int = 0
    told: int = 0
    before: float = 0.0
    after: float = 0.0
    labelled: int = 0
    earned_before: float = 0.0
    earned_after: float = 0.0

    def changed_of(self, column: str, value: str, *, money: bool) -> Changed:
        paid = money and self.labelled > 0
        return Changed(
            column=column,
            value=value,
            rows=self.rows,
            changed=self.changed,
            before=self.before / self.told if self.told else None,
            after=self.after / self.told if self.told else None,
            earned_before=self.earned_before / self.labelled if paid else None,
            earned_after=self.earned_after / self.labelled if paid else None,
        )


@dataclass
class Counts:
    """What a replay has seen so far. ``earn`` says what answers earn (labels, answers), None where unknown."""

    contract: Contract
    columns: Sequence[str]
    tolerance: Tolerance
    earn: Earn | None = None
    rows: int = 0
    changed: int = 0
    bits: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    labelled: Sample[tuple[Any, ...]] = field(default_factory=Sample)
    sizes: Sample[float] = field(default_factory=Sample)
    _groups: dict[tuple[str, str], _Group] = field(default_factory=dict)
    _examples: list[tuple[float, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = [str(label) for label in self.contract.classes]
        self._bins = {column.name: _bins(column) for column in self.contract.columns if not column.private}
        self._known: dict[str, set[str]] = {name: set() for name in self.columns}

    def add(self, pairs: Sequence[Pair]) -> None:
        """Count rows that were asked again."""
        paid = self._paid(pairs)
        for place, pair in enumerate(pairs):
            self.rows += 1
            self.verdicts[pair.then.verdict.status, pair.now.verdict.status] += 1
            size = self._size(pair)
            self.changed += size is not None
            self.bits += not _same(pair.then, pair.now)
            if size is not None:
                self._example(size, pair)
            self._keep(pair)
            for key in [("", ""), *((name, self._value(pair.then, name)) for name in self.columns)]:
                self._count(self._groups.setdefault(key, _Group()), pair, size is not None, paid.get(place))

    def not_asked(self, logged: Prediction, *, may: bool) -> None:
        """Count the verdict on a row that could not be asked again."""
        self.verdicts[logged.verdict.status, "may be answered" if may else "not asked"] += 1

    @property
    def groups(self) -> tuple[Changed, ...]:
        """All rows, then the groups of each column in the order of their values."""
        places = {name: place for place, name in enumerate(("", *self.columns))}
        keys = sorted(self._groups, key=lambda key: (places[key[0]], key[1] in (OTHERS, MISSING), key[1]))
        return tuple(self._groups[key].changed_of(*key, money=self.earn is not None) for key in keys)

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Ids with the answers then and now, the greatest change first."""
        return tuple(each[1:] for each in sorted(self._examples, key=lambda one: (-one[0], one[1])))

    def said(self) -> Mapping[str, float]:
        """By how much answers differ, as ``Replayed.sizes`` has it."""
        found: dict[str, float] = {"bits": float(self.bits)}
        moves = np.array(self.sizes.things(), dtype=float)
        if self.contract.task == "regression" and len(moves):
            far = np.abs(moves)
            middle, high = np.quantile(far, [0.5, 0.95]).tolist()
            found |= {"median": middle, "p95": high, "largest": float(far.max()), "mean": float(moves.mean())}
            found |= {"tolerance": self.tolerance.size, "share": float(self.tolerance.share)}
        return found

    def _size(self, pair: Pair) -> float | None:
        """How far the answers are apart, None where they count as the same."""
        then, now = pair.then.value, pair.now.value
        if then is None or now is None:
            return None if then is now else float("inf")
        if self.contract.task == "regression":
            return abs(float(now) - float(then)) if self.tolerance.apart(float(then), float(now)) else None
        if then == now and isinstance(then, bool) == isinstance(now, bool):
            return None
        before, after = self._shares(pair.then), self._shares(pair.now)
        return 0.0 if before is None or after is None else float(np.abs(np.subtract(after, before)).sum() / 2)

    def _keep(self, pair: Pair) -> None:
        if pair.then.value is None or pair.now.value is None:
            return
        if self.contract.task == "regression":
            self.sizes.add(pair.then.id, float(pair.now.value) - float(pair.then.value))
        if pair.label is not None:
            kept = pair.label, pair.then.value, pair.now.value, self._shares(pair.then), self._shares(pair.now)
            self.labelled.add(pair.then.id, kept)

    def _count(self, group: _Group, pair: Pair, changed: bool, paid: tuple[float, float] | None) -> None:
        group.rows += 1
        group.changed += changed
        before, after = self._told(pair.then), self._told(pair.now)
        if before is not None and after is not None:
            group.told += 1
            group.before += before
            group.after += after
        if paid is not None:
            group.labelled += 1
            group.earned_before += paid[0]
            group.earned_after += paid[1]

    def _paid(self, pairs: Sequence[Pair]) -> dict[int, tuple[float, float]]:
        """What each labelled row of these earned then and would earn now."""
        places = [
            place
            for place, pair in enumerate(pairs)
            if self.earn is not None and None not in (pair.label, pair.then.value, pair.now.value)
        ]
        if self.earn is None or not places:
            return {}
        actual = array(self.contract, [pairs[place].label for place in places])
        then, now = (
            self.earn(actual, array(self.contract, [getattr(pairs[place], side).value for place in places])).tolist()
            for side in ("then", "now")
        )
        return dict(zip(places, zip(then, now, strict=True), strict=True))

    def _told(self, found: Prediction) -> float | None:
        """An answer as a number: itself, or of two classes whether it is the second."""
        if found.value is None or (self.contract.task != "regression" and len(self.contract.classes) != 2):
            return None
        return float(found.value if self.contract.task == "regression" else found.value == self.contract.classes[1])

    def _shares(self, found: Prediction) -> tuple[float, ...] | None:
        given = found.probabilities
        return None if not given else tuple(given.get(name, 0.0) for name in self._names)

    def _value(self, logged: Prediction, column: str) -> str:
        """The group of a row in a column: a value, or the range that it lies in."""
        _, value = held(logged, column)
        if value is None:
            return MISSING
        cuts = self._bins.get(column)
        if cuts and isinstance(value, int | float):
            return _range(float(value), cuts)
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        known = self._known[column]
        if text not in known and len(known) >= _MOST_GROUPS:
            return OTHERS
        known.add(text)
        return text

    def _example(self, size: float, pair: Pair) -> None:
        least = self._examples[-1] if len(self._examples) == EXAMPLES else None
        if least is not None and (-size, pair.then.id) > (-least[0], least[1]):
            return
        self._examples.append((size, pair.then.id, shown(pair.then), shown(pair.now)))
        self._examples.sort(key=lambda one: (-one[0], one[1]))
        del self._examples[EXAMPLES:]


def array(contract: Contract, values: Sequence[Value]) -> Any:
    """Labels or answers as metrics take them."""
    if contract.task == "regression":
        return np.array(values, dtype=float)
    return np.array(values, dtype=object if any(isinstance(value, str) for value in values) else None)


def shown(found: Prediction) -> str:
    """An answer for people."""
    if found.value is None:
        return found.verdict.status
    told = f"{found.value:.6g}" if isinstance(found.value, float) else str(found.value)
    sure = (found.probabilities or {}).get(str(found.value))
    return told if sure is None else f"{told} ({sure:.3f})"


def _same(then: Prediction, now: Prediction) -> bool:
    """Whether both gave the same bits and the same verdict."""
    chances = [None if each.probabilities is None else dict(each.probabilities) for each in (then, now)]
    alike = type(then.value) is type(now.value) and repr(then.value) == repr(now.value)  # -0.0 is not 0.0
    return alike and chances[0] == chances[1] and then.verdict == now.verdict


def _bins(column: Column) -> tuple[float, ...]:
    """Where to part the values of a number: at the ends of what is usual, and in thirds between them."""
    low, high = column.usual_low, column.usual_high
    if column.kind not in ("number", "integer") or low is None or high is None or not low < high:
        return ()
    if column.kind == "integer" and high - low < _FEW_VALUES:
        return ()
    third = (high - low) / 3
    cuts = (low, low + third, low + 2 * third, high)
    return tuple(float(f"{cut:.3g}") for cut in cuts) if len({f"{cut:.3g}" for cut in cuts}) == len(cuts) else cuts


def _range(value: float, cuts: Sequence[float]) -> str:
    place = int(np.searchsorted(cuts, value, side="right"))
    if place == 0:
        return f"1: below {cuts[0]:g}"
    if place == len(cuts):
        return f"{place + 1}: {cuts[-1]:g} and more"
    return f"{place + 1}: {cuts[place - 1]:g} to below {cuts[place]:g}"
