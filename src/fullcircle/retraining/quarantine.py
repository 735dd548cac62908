"""Which new labelled rows a challenger may learn from, and which are kept apart: something is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.retraining import combined, copies, disagreement, lost, noise, patterns, sources, unitwise
from fullcircle.retraining.coding import Coded, coded
from fullcircle.types.loop import Quarantined
from fullcircle.types.project import Retrain

Array = NDArray[Any]
MOST = 0.5
"""Where more of the new rows than this are suspicious, nothing is learned from the others either."""
_SLICES = 5
_SURE = 0.35  # of the mean loss of other rows
_KNOWN = 200_000  # known rows that are looked at, evenly spaced


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Labelled rows, the oldest first: n rows that the contract let through.

    ``features`` is a pandas frame (n rows, the model's columns), ``label`` (n,) numbers or classes, ``loss`` (n,)
    what the champion was wrong by on each, in [0, 1], NaN where that is not known. ``source`` (n,) says who sent each
    row, None where the project names no such column. ``task`` is that of the project. Of the known rows those that
    the champion did not learn from (its reference) tell its loss; NaN for the others.
    """

    features: Any
    label: Any
    loss: Array
    source: Any = None
    task: str = "classification"

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: Array) -> Rows:
        """The same for a selection of rows."""
        return Rows(
            features=self.features.iloc[rows].reset_index(drop=True),
            label=np.asarray(self.label)[rows],
            loss=np.asarray(self.loss, dtype=float)[rows],
            source=None if self.source is None else np.asarray(self.source, dtype=object)[rows],
            task=self.task,
        )


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """``keep`` (n,) are the new rows to learn from, ``found`` what was kept apart and why.

    ``held`` says why nothing may be learned from them at all, "" where that is not so. ``wrong`` is the share of the
    new rows that were kept apart because they look wrong, not because there are too many of them (copies, caps).
    """

    keep: NDArray[np.bool_]
    found: tuple[Quarantined, ...] = ()
    held: str = ""
    wrong: float = 0.0


@dataclass
class _Sieve:
    """What is left while the rules are gone through, and what each took."""

    keep: NDArray[np.bool_]
    found: list[Quarantined] = field(default_factory=list)
    spare: int = 0

    def take(
        self, inside: NDArray[np.bool_], reason: str, column: str = "", value: str = "", *, spare: bool = False
    ) -> None:
        """Keep those of the rows apart that are still there; ``spare`` ones are too many rather than wrong."""
        rows = int(np.count_nonzero(inside & self.keep))
        if rows:
            self.keep = self.keep & ~inside
            self.spare += rows if spare else 0
            self.found.append(Quarantined(rows=rows, reason=reason, column=column, value=value))


def sift(known: Rows, new: Rows, *, retrain: Retrain, seed: int) -> Sifted:
    """Which of the ``new`` rows to learn from, judged against ``known`` ones (what the champion was made from).

    See docs/retraining.md for each rule. The same rows and seed give the same answer.
    """
    sieve = _Sieve(np.ones(len(new), dtype=bool))
    if not len(new):
        return Sifted(keep=sieve.keep)
    spaced = np.arange(len(known)) if len(known) <= _KNOWN else np.linspace(0, len(known) - 1, _KNOWN).astype(np.intp)
    old, late = known.at(spaced), new.at(np.arange(len(new)))
    columns = coded(old.features, late.features)
    of = disagreement.excess(columns, old.loss, late.loss)
    # A flood is cut first, so that it is no majority for the rules below, and what they leave is cut again.
    held = _capped(sieve, known, late, retrain) or _units(sieve, old, late, of)
    if not held:
        _copies(sieve, old, late, seed)
        _patterns(sieve, old, late, columns)
        held = _lost(sieve, old, late, columns, of, seed)
    if not held:
        _disagreement(sieve, old, late, columns, of, seed)
        held = _too_many(sieve)
        held = held or _noise(sieve, old, late, columns, of, seed)
        held = held or _capped(sieve, known, late, retrain)
    keep = np.zeros(len(new), dtype=bool) if held else sieve.keep
    wrong = (sum(each.rows for each in sieve.found) - sieve.spare) / len(new)
    return Sifted(keep=keep, found=tuple(sieve.found), held=held, wrong=wrong)


def _units(sieve: _Sieve, old: Rows, new: Rows, of: disagreement.Excess | None) -> str:
    """Sources in other units are kept apart, and rows that can be told from the others; else all is held."""
    if new.source is not None:
        names = sources.names(new.source)
        odd = unitwise.of_sources(old.features, new.features, names)
        inside = np.isin(names.astype(str), list(odd))
        if odd and inside.mean() <= MOST:
            for name, text in sorted(odd.items()):
                sieve.take(names == name, f"of the source {name}, {text}", value=name)
    rest = np.flatnonzero(sieve.keep)
    excess = None if of is None else of.new[rest]
    found = unitwise.mistaken(old.features, new.features.iloc[rest], excess)
    if all(each.apart for each in found):
        # They stay in the log for good: to hold for them would be to hold for ever.
        for each in found:
            inside = np.zeros(len(new), dtype=bool)
            inside[rest[each.inside]] = True
            sieve.take(inside, each.text, each.column)
        return ""
    return (
        f"{'; '.join(each.text for each in found)}: mend that where the rows come from, nothing is learned from them"
    )


def _copies(sieve: _Sieve, old: Rows, new: Rows, seed: int) -> None:
    exact = copies.exact(old.features, new.features, old.label, new.label)
    sieve.take(exact, "repeats another row in every feature and the label; one of each is kept", spare=True)
    left = np.flatnonzero(sieve.keep)
    again = np.zeros(len(new), dtype=bool)
    again[left] = copies.near(old.features, new.features.iloc[left], old.label, np.asarray(new.label)[left], seed)
    sieve.take(again, "repeats another row but for a tiny step in its numbers; one of each is kept", spare=True)


def _patterns(sieve: _Sieve, old: Rows, new: Rows, columns: tuple[Coded, ...]) -> None:
    rows = np.flatnonzero(sieve.keep)
    before, now = patterns.labels(old.label, np.asarray(new.label)[rows], new.task)
    given = old.features, new.features.iloc[rows], _at(columns, rows), before, now
    for each in chain(patterns.found(*given), combined.found(*given)):
        inside = np.zeros(len(new), dtype=bool)
        inside[rows[each.inside]] = True
        if _expected(new.loss, inside):
            continue
        sieve.take(inside, f"looks like a planted pattern: {each.text}", each.column, each.value)


def _expected(loss: Array, inside: NDArray[np.bool_]) -> bool:
    """Whether the champion is surer of these rows' labels than of others': then it learned them from honest rows."""
    own, others = (part[np.isfinite(part)] for part in (loss[inside], loss[~inside]))
    return bool(own.size and others.size and float(np.median(own)) < _SURE * others.mean())


def _disagreement(
    sieve: _Sieve, old: Rows, new: Rows, columns: tuple[Coded, ...], of: disagreement.Excess | None, seed: int
) -> None:
    """First a quick look; what it finds is taken only where a closer one finds it too."""
    if of is None or not (_odd_sources(sieve, new, of) or disagreement.in_slices(of, columns, sieve.keep)):
        return
    closer = disagreement.refined(columns, old.loss, new.loss)
    if closer is None:
        return
    said = "labels disagree, those of the rest do not"
    quick = {odd.value for odd in _odd_sources(sieve, new, of)}
    for odd in (odd for odd in _odd_sources(sieve, new, closer) if odd.value in quick):
        sieve.take(odd.inside, f"{said}: {odd.text}", odd.column, odd.value)
    if not disagreement.in_slices(closer, columns, sieve.keep):
        return
    answers = noise.answers(old.features, old.label, new.features, new.label, columns, new.task, seed)
    for _ in range(_SLICES):
        found = disagreement.in_slices(closer, columns, sieve.keep)
        faded = [each for each in found if answers.faded(each.known, each.inside & sieve.keep)]
        if not faded:
            return
        one = faded[0]
        sieve.take(
            one.inside, f"{said}, and follow what used to explain them less: {one.text}", one.column, one.value
        )


def _odd_sources(sieve: _Sieve, new: Rows, of: disagreement.Excess) -> list[disagreement.Odd]:
    return [] if new.source is None else disagreement.in_sources(of, sources.names(new.source), sieve.keep)


def _at(columns: tuple[Coded, ...], rows: Array) -> tuple[Coded, ...]:
    """The columns with a selection of the new rows."""
    return tuple(replace(each, new=each.new[rows], inside=each.inside[rows]) for each in columns)


def _too_many(sieve: _Sieve) -> str:
    looked, gone = len(sieve.keep) - sieve.spare, sum(each.rows for each in sieve.found) - sieve.spare
    if gone <= MOST * looked:
        return ""
    part = gone / looked
    return f"{part:.0%} of the new rows are suspicious, so the others are not trusted either: a person must look"


def _lost(
    sieve: _Sieve, old: Rows, new: Rows, columns: tuple[Coded, ...], of: disagreement.Excess | None, seed: int
) -> str:
    """Labels of one class that hardly came, or only for a part of the rows that surely have it.

    Asked before the slices: there such labels look like a disagreement of those that have most of the class.
    """
    if new.task != "classification":
        return ""
    rows = np.flatnonzero(sieve.keep)
    late = new.at(rows)
    grew = of is not None and noise.grew(of.new[rows], of.usual)
    # Where only the rows of one class come, it may be the one that the champion answers better.
    if not grew and not lost.rarer(old.label, late.label):
        return ""
    answers = noise.answers(old.features, old.label, late.features, late.label, _at(columns, rows), new.task, seed)
    found = lost.found(answers)
    if found is None:
        return ""
    which = "all labels but one of the classes" if found.other else "one of the classes"
    return (
        f"about {found.share:.0%} of the labels of {which} seem to be lost or late, however sure a row is to have "
        "it: a world that changed does not do that; look at where labels come from"
    )


def _noise(
    sieve: _Sieve, old: Rows, new: Rows, columns: tuple[Coded, ...], of: disagreement.Excess | None, seed: int
) -> str:
    if of is None or not noise.grew(of.new[sieve.keep], of.usual):
        return ""
    rows = np.flatnonzero(sieve.keep)
    late = new.at(rows)
    found = noise.growth(old.features, old.label, late.features, late.label, _at(columns, rows), new.task, seed)
    if found is None or not found.unlearnable:
        return ""
    parts = max(0.0, found.learned) / found.grown, max(0.0, found.bent) / found.grown
    what = f"only {parts[0]:.0%} of that can be learned again from the new labels"
    if parts[0] >= 0.5:
        what = (
            f"but for answers drawn to the middle, or turned round, only {parts[1]:.0%} of that can be learned again"
        )
    return f"losses grew, and {what}: labels look wrong at random, or turned round; see where they come from"


def _capped(sieve: _Sieve, known: Rows, new: Rows, retrain: Retrain) -> str:
    if new.source is None:
        return ""
    names = sources.names(new.source)
    old = sources.names(known.source) if known.source is not None else names[:0]
    left = np.flatnonzero(sieve.keep)
    allowed = sources.allowances(old, names[left], retrain.share)
    if not allowed.known and len(left):
        return "all new rows come from sources that never sent one before: a person must look"
    kept = np.zeros(len(new), dtype=bool)
    kept[left] = sources.within(names[left], allowed)
    for name in np.unique(names[sieve.keep & ~kept].astype(str)).tolist():
        share = allowed.of(name)
        why = "" if name in allowed.known else ", because it never sent a row before"
        reason = f"the source {name} may give {share:.1%} of the rows{why}; its newest are left out"
        sieve.take((names == name) & ~kept, reason, retrain.source, name, spare=True)
    return "" if sieve.keep.any() else "no row is left within the limits of the sources: a person must look"
