"""Whether the challenger is better: on fresh rows, and not worse on frozen ones unless the world has truly moved.

Frozen rows are the guard against poison: a model that learned wrong labels answers them worse. But so does an honest
model of a world that moved. What tells the two apart is asked in ``moved``; what cannot be told is left to a person.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.retraining.coding import Coded, coded
from fullcircle.retraining.sources import names
from fullcircle.retraining.worth import Level, level
from fullcircle.stats import slices
from fullcircle.types.loop import Difference

Array = NDArray[Any]
BATCHES = 3
"""So many of the latest batches must show the harm: a burst is no new world."""
QUARANTINED = 0.02
"""Where more of the new rows than this were kept apart as wrong, a change of the world is not believed."""
WIDE = 0.1
"""An interval that reaches further down than this share of the champion's figure (or thrice what is allowed) says
too little."""
_FEWEST = 30  # rows of a slice or a source that count
_MOST_LOOKED = 6  # of the latest batches
_BROAD = 2 / 3  # of slices, and of sources
_WON_BACK = 0.1
_Z = 2.0
_SLICES = 8  # that the challenger gains most in on the fresh rows: these are judged on the frozen ones
_CHANCE = 0.01  # of calling one of them worse in error


@dataclass(frozen=True)
class Moved:
    """Whether the concept has moved, beyond what poison of some rows does, and why it is thought so or not."""

    changed: bool
    text: str


def allowance(tolerance: float, anchor: float, champion: float) -> float:
    """How much worse than the champion a challenger may be on the frozen rows, in merit; 0 or more.

    The tolerance is a share of ``anchor``: the merit on the frozen rows of the version that a person, or a change of
    concept, last let through (in the beginning the first champion). What the ``champion`` itself has already lost
    against it is taken off, so that many small steps down come to no more than one.
    """
    return max(0.0, champion - (anchor - tolerance * abs(anchor)))


def judge(
    on: Literal["fresh", "frozen"],
    metric: str,
    rows: int,
    champion: float,
    challenger: float,
    difference: float,
    low: float,
    high: float,
    *,
    allowed: float,
) -> Difference:
    """The paired difference (challenger less champion, in merit) with the verdict whether it is not worse.

    ``champion`` and ``challenger`` are the metric's figures, ``low`` and ``high`` the difference's 95 % interval. It
    passes where the difference is at least ``-allowed`` and its interval does not reach so far down that too few rows
    are left to tell. A figure that is not a number does not pass.
    """
    figures = all(math.isfinite(each) for each in (champion, challenger, difference, low, high))
    reach = max(3.0 * allowed, WIDE * abs(champion))
    told = figures and low >= -reach
    passed = bool(told and difference >= -allowed)
    if not figures:
        said = "cannot be compared"
    elif difference < -allowed:
        said = "worse" if high < 0.0 else "worse, though that may be chance"
    elif not told:
        said = "too few rows to tell"
    else:
        said = "better" if low > 0.0 else "not worse"
    text = (
        f"{said} on {rows:,} {on} rows: {metric} {challenger:.4g} against {champion:.4g} of the champion "
        f"({difference:+.3g}, {low:+.3g} to {high:+.3g}; at most {allowed:.3g} worse is allowed)"
    )
    return Difference(
        on=on,
        metric=metric,
        rows=rows,
        champion=champion,
        challenger=challenger,
        difference=difference,
        low=low,
        high=high,
        allowed=allowed,
        passed=passed,
        text=text,
    )


def everywhere(
    frozen: Difference,
    features: Any,
    before: ArrayLike,
    after: ArrayLike,
    fresh: Any,
    gain: ArrayLike,
    *,
    tolerance: float,
) -> Difference:
    """``frozen``, failed where the challenger is worse by more than is allowed in a slice of one or two columns.

    ``features`` are the frozen rows' frame, ``before`` and ``after`` (n,) what champion and challenger are wrong by
    on them. Which slices are judged the ``fresh`` rows say, by the champion's less the challenger's loss on them,
    ``gain`` (m,): labels that are wrong in one place make the challenger better on rows with such labels and worse
    on rows with true ones. They are chosen on some rows and judged on others, so only the 8 that are judged count
    (Holm 1979). What is allowed is the ``tolerance`` as a share of the champion's loss in the slice; an honest
    challenger that keeps to it is called worse in 1 of 100 trainings at most.
    """
    known, late, won = (np.asarray(each, dtype=float) for each in (before, after, gain))
    told, others = np.isfinite(known) & np.isfinite(late), np.isfinite(won)
    if not frozen.passed or int(others.sum()) < 2 * slices.FEWEST_ROWS:
        return frozen
    known, worse = known[told], (late - known)[told]
    beyond = worse - tolerance * known
    columns = coded(features[told].reset_index(drop=True), fresh[others].reset_index(drop=True))
    groups = tuple(_groups(each) for each in columns)
    on_fresh = slices.Coded(tuple(each.new for each in columns), groups)
    on_frozen = slices.Coded(tuple(each.known for each in columns), groups)
    found = slices.search(on_fresh, [slices.Signal(won[others])], np.ones(int(others.sum())), keep=_SLICES)[0]
    judged = [(each.where, on_frozen.inside(each.where)) for each in found.kept]
    judged = [(where, inside) for where, inside in judged if inside.sum() >= _FEWEST]
    chances = slices.holm([slices.above_zero(beyond[inside], np.ones(int(inside.sum()))) for _, inside in judged])
    if not chances or min(chances) > _CHANCE:
        return frozen
    where, inside = judged[int(np.argmin(chances))]
    place = " and ".join(f"{columns[at].name} {_named(columns[at], group)}" for at, group in where)
    rows, part = int(inside.sum()), float(worse[inside].sum() / max(known[inside].sum(), 1e-9))
    text = f"{frozen.text}; but its loss is {part:.0%} higher on {rows:,} of these rows: {place}"
    return replace(frozen, passed=False, text=text)


def _groups(column: Coded) -> Array:
    """Each value or bin, and of a number that has an order all up to one and all from one on: groups x codes."""
    alone, codes = np.eye(column.size), np.arange(column.size)
    if not column.number:
        return alone
    cuts = range(1, column.size - 2)  # the last code is "missing"
    below = [(codes <= cut) for cut in cuts]
    above = [(codes > cut) & (codes < column.size - 1) for cut in cuts]
    return np.vstack([alone, *below, *above]).astype(float)


def _named(column: Coded, group: int) -> str:
    if group < column.size:
        return column.texts[group]
    cuts = column.size - 3
    cut = (group - column.size) % cuts + 1
    least, most = (column.texts[at] for at in (cut + 1, cut))
    return f"{most} and less" if group - column.size < cuts else f"{least} and more"


def moved(
    features: Any,
    gain: ArrayLike,
    source: Any,
    *,
    reference: Level,
    batches: Sequence[Level],
    quarantined: float,
) -> Moved:
    """Whether the concept moved, from ``gain`` (n,): champion's less challenger's loss on the fresh rows, in order.

    ``features`` is their frame, ``source`` (n,) who sent them or None; the oldest come first. ``reference`` is the
    champion's loss on its reference, ``batches`` its realised loss in the monitor's latest batches, the oldest first.
    ``quarantined`` is the share of the new rows that quarantine kept apart as wrong. All of these must hold:
    the champion's losses grew in most of the latest batches, and in three at least; the challenger is better in the
    earlier and in the later half of the fresh rows; it is better in two thirds of the slices and of the sources, and
    still better without the slice and without the quarter of the sources that it gains most in; it wins back a tenth
    of what was lost at least; quarantine found next to nothing.
    """
    won = np.asarray(gain, dtype=float)
    against = [
        *_no_harm(reference, batches, won),
        *_not_lasting(won),
        *_not_broad(features, won),
        *_few_sources(won, source),
    ]
    if not quarantined <= QUARANTINED:
        against.append(f"quarantine kept {quarantined:.1%} of the new rows apart")
    if against:
        return Moved(False, "; ".join(against))
    return Moved(
        True,
        f"losses grew in most of the latest {len(batches[-_MOST_LOOKED:])} batches, and the challenger is better by "
        f"{won.mean():.3g} a row in both halves of the fresh rows and in most slices and sources alike",
    )


def verdict(fresh: Difference | None, frozen: Difference | None, *, changed: bool) -> tuple[bool, str]:
    """Whether the challenger may go on, and why. ``changed`` says whether the concept has moved (see ``moved``).

    It may where it passes on the fresh rows and on the frozen ones. Where it is worse on the frozen ones it may only
    if it is clearly better on the fresh ones and the concept has moved. Without fresh rows it may not.
    """
    if fresh is None:
        return False, "no fresh rows to compare the two on"
    if not fresh.passed:
        return False, fresh.text
    if frozen is None:
        return True, f"{fresh.text}; there are no frozen rows of a first champion to compare on"
    both = f"{fresh.text}; {frozen.text}"
    if frozen.passed:
        return True, both
    if not changed:
        return False, f"{both}: a person must look, because wrong labels would show like this too"
    if not fresh.low > 0.0:
        return False, f"{both}: a person must look, because it is not clearly better on the fresh rows"
    return True, f"{both}; the world has moved, so the old answers are no longer the right ones"


def _no_harm(reference: Level, batches: Sequence[Level], gain: Array) -> Iterator[str]:
    """Why the champion's losses did not grow for long, or what is won back is too little."""
    latest = [each for each in batches[-_MOST_LOOKED:] if each.rows >= _FEWEST and math.isfinite(each.error)]
    grown = [each for each in latest if each.mean - reference.mean > _Z * math.hypot(each.error, reference.error)]
    if len(grown) < BATCHES or len(grown) < _BROAD * len(latest):
        yield f"the champion's losses grew in {len(grown)} of the latest {len(latest)} batches only"
        return
    rows = sum(each.rows for each in latest)
    lost = sum(each.mean * each.rows for each in latest) / rows - reference.mean
    if not gain.size or not gain.mean() >= _WON_BACK * lost:
        yield f"the challenger wins back less than {_WON_BACK:.0%} of the {lost:.3g} a row that was lost"


def _not_lasting(gain: Array) -> Iterator[str]:
    half = len(gain) // 2
    for name, part in (("earlier", gain[:half]), ("later", gain[half:])):
        if not _clear(part):
            yield f"the challenger is not clearly better on the {name} half of the fresh rows"


def _not_broad(features: Any, gain: Array) -> Iterator[str]:
    """Why the gain is one of a few slices: of too few bins, or none is left without the best bin of some column."""
    better = slices = 0
    for column in coded(features, features):
        counts = np.bincount(column.new, minlength=column.size)
        sums = np.bincount(column.new, weights=gain, minlength=column.size)
        judged = counts >= _FEWEST
        slices += int(judged.sum())
        better += int((sums[judged] > 0).sum())
        best = int(np.argmax(sums))
        rest = gain[column.new != best]
        if judged.sum() > 1 and not _clear(rest):
            yield f"without the rows where {column.name} is {column.texts[best]} it is not clearly better"
    if better < _BROAD * slices or not slices:
        yield f"the challenger is better in {better} of {slices} slices only"


def _few_sources(gain: Array, source: Any) -> Iterator[str]:
    if source is None or not len(gain):
        return
    found, codes = np.unique(names(source).astype(str), return_inverse=True)
    counts, sums = np.bincount(codes), np.bincount(codes, weights=gain)
    judged = counts >= _FEWEST
    if judged.sum() > 1 and int((sums[judged] > 0).sum()) < _BROAD * int(judged.sum()):
        yield f"the challenger is better in {int((sums[judged] > 0).sum())} of {int(judged.sum())} sources only"
    most = np.argsort(-sums, kind="stable")[: math.ceil(len(found) / 4)]
    if len(found) > 1 and not _clear(gain[~np.isin(codes, most)]):
        yield "without the quarter of the sources that it gains most in it is not clearly better"


def _clear(gain: Array) -> bool:
    """Whether a mean gain is above 0 by two standard errors, on 30 rows or more."""
    of = level(gain)
    return of.rows >= _FEWEST and of.mean > _Z * of.error
