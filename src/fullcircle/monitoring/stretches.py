"""What the journal holds as points over time: at most some 200, each of one batch or of several put together exactly.

A page over years stays readable and of bounded size; nothing is left out of the counts, only out of the resolution.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fullcircle.monitoring import differences
from fullcircle.monitoring.batches import Batch, Layout
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry
from fullcircle.types.contract import STATUSES
from fullcircle.types.monitoring import Profile, Stretch
from fullcircle.types.report import Measure

MOST = 200
FARTHEST = 40


@dataclass(frozen=True, kw_only=True)
class Lot:
    """What is shown as one point: the batches of a time, in microseconds since 1970, the end excluded."""

    since: int
    until: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Points over time, and the counts of the last of them that has rows, and of the last that has labels."""

    stretches: tuple[Stretch, ...] = ()
    latest: Mapping[str, tuple[int, ...]]


def lots(entries: Iterable[Entry], empties: Iterable[tuple[int, int]], most: int = MOST) -> tuple[list[Lot], int]:
    """Batches in order of time, none over another, at most ``most``; and how many are in each.

    Batches that overlap (rows that were played in between, a clock that was set back) are one lot. A time without
    rows is a lot without batches, as long as it took; what was before the first batch is not shown.
    """
    found: list[Lot] = []
    for entry in sorted(entries, key=lambda each: (each.start, each.stop)):
        if found and entry.start < found[-1].until:
            last = found[-1]
            found[-1] = Lot(since=last.since, until=max(last.until, entry.stop), entries=(*last.entries, entry))
        else:
            found.append(Lot(since=entry.start, until=entry.stop, entries=(entry,)))
    if not found:
        return [], 1
    whole = sorted([*found, *_between(found, empties)], key=lambda each: each.since)
    # Doubled, so that points stay what they are, and are kept (flows.past), until there are twice as many batches.
    size = 1 << (-(-len(whole) // most) - 1).bit_length()
    return [_together(whole[at : at + size]) for at in range(0, len(whole), size)], size


def _between(found: Sequence[Lot], empties: Iterable[tuple[int, int]]) -> Iterable[Lot]:
    """The times without rows, less those of the batches."""
    following = [*(lot.since for lot in found[1:]), math.inf]
    ends = sorted(empties)
    for lot, end in zip(found, following, strict=True):
        reached = lot.until
        for since, until in ends:
            low, high = max(since, reached), int(min(until, end))
            if low < high:
                yield Lot(since=low, until=high)
                reached = high


def _together(several: Sequence[Lot]) -> Lot:
    entries = tuple(entry for lot in several for entry in lot.entries)
    return Lot(since=several[0].since, until=several[-1].until, entries=entries)


def _held(entry: Entry) -> tuple[bytes, bytes]:
    return entry.counts, entry.outcomes


def over_time(
    profile: Profile,
    found: Sequence[Lot],
    pointed: Collection[str] = (),
    counts: Callable[[Entry], tuple[bytes, bytes]] = _held,
) -> Shown:
    """The lots of one version as stretches, with the measures of columns.

    ``counts`` gives what an entry counts, of its rows and of its labels.

    Every stretch has those of the FARTHEST columns (the columns ``pointed`` at first, then those that are farthest in
    the last lot that has rows) and of the label and the loss; the last one with rows has those of all. Raises
    DataUnfit where an entry was counted with another profile.
    """
    layouts = Layout(profile.features), Layout(profile.outcomes)
    sums = [_sums(layouts, map(counts, lot.entries)) for lot in found]
    rows, labels = [each for each, _ in sums], [each for _, each in sums]
    inputs, outcomes = differences.Reference(profile.features), differences.Reference(profile.outcomes)
    last = next((place for place in reversed(range(len(found))) if rows[place].rows), None)
    farthest = [] if last is None else _farthest(inputs, rows[last], pointed)
    stretches = tuple(
        _stretch(
            lot,
            (
                *(differences.measures(inputs, batch, None if place == last else farthest) if batch.rows else ()),
                *(differences.measures(outcomes, labelled) if labelled.rows else ()),
            ),
        )
        for place, (lot, batch, labelled) in enumerate(zip(found, rows, labels, strict=True))
    )
    latest: dict[str, tuple[int, ...]] = {}
    for batch in (next((each for each in reversed(some) if each.rows), None) for some in (rows, labels)):
        latest |= {} if batch is None else {name: tuple(batch.counts(name).tolist()) for name in batch.features}
    return Shown(stretches=stretches, latest=latest)


def _sums(layouts: tuple[Layout, Layout], encoded: Iterable[tuple[bytes, bytes]]) -> tuple[Batch, Batch]:
    """What is counted in all, of rows and of labels."""
    rows, labels = Batch.empty(layouts[0]), Batch.empty(layouts[1])
    for counts, outcomes in encoded:
        rows = rows + Batch.decode(layouts[0], counts) if counts else rows
        labels = labels + Batch.decode(layouts[1], outcomes) if outcomes else labels
    return rows, labels


def _farthest(reference: differences.Reference, batch: Batch, pointed: Collection[str]) -> list[str]:
    far = dict(zip(reference.places, reference.distances(batch).js.tolist(), strict=True))
    known = {name: value if value == value else -1.0 for name, value in far.items()}
    return sorted(known, key=lambda name: (name not in pointed, -known[name]))[:FARTHEST]


def _stretch(lot: Lot, measures: tuple[Measure, ...]) -> Stretch:
    verdicts: Counter[str] = Counter()
    levels: dict[str, float] = {}
    for entry in lot.entries:
        verdicts.update(entry.verdicts)
        for each in entry.evidence:
            levels[each.kind] = max(levels.get(each.kind, 0.0), share(each.level, each.threshold))
    return Stretch(
        since=iso(lot.since),
        until=iso(lot.until),
        rows=sum(entry.rows for entry in lot.entries),
        name=lot.entries[0].name if len(lot.entries) == 1 else "",
        labelled=sum(entry.labelled for entry in lot.entries),
        verdicts=tuple((status, verdicts[status]) for status in STATUSES if verdicts[status]),
        measures=measures,
        levels=levels,
    )


def share(level: float, threshold: float) -> float:
    """A level as a share of its threshold, both logarithms: 0 below an evidence of 1, 1 and more at an alarm."""
    if threshold <= 0:
        return float(level >= threshold)
    return max(0.0, level / threshold)
