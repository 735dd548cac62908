"""Find out what was done to a chain of lines: edited, deleted, inserted, swapped, cut off or computed anew."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fullcircle.ledger.store import GENESIS, Line, line_hash

_NEARBY = 50  # how far a renumbered line is looked for when nothing else tells its place


@dataclass(frozen=True, kw_only=True)
class AuditProblem:
    """One thing that does not hold, and the fact it is about (by the number it stands at)."""

    kind: Literal[
        "edited",
        "deleted",
        "inserted",
        "swapped",
        "truncated",
        "rewritten",
        "checkpoint",
        "blob",
        "features",
        "predictions",
        "attestation",
    ]
    seq: int
    text: str


def examine(lines: Sequence[Line], marks: Mapping[int, frozenset[str]]) -> tuple[AuditProblem, ...]:
    """What was done to ``lines`` (as stored, in order). ``marks`` are the hashes that checkpoints know, by seq."""
    places = _without_doubles(lines, _places(lines, marks), marks)
    strangers = _strangers(lines, places, marks)
    here = {true: lines[index] for index, true in places.items()}
    occupied = set(here) | {problem.seq for problem in strangers if problem.kind == "edited"}
    top = max(occupied, default=0)
    found = [*strangers, *_gaps(occupied), *_broken_links(here, marks)]
    found += _moves(lines, places, explained=any(problem.kind in ("deleted", "inserted") for problem in found))
    found += _against_marks(here, top, marks, {problem.seq for problem in found if problem.kind == "edited"})
    return tuple(sorted(found, key=lambda problem: (problem.seq, problem.kind)))


def _places(lines: Sequence[Line], marks: Mapping[int, frozenset[str]]) -> dict[int, int]:
    """The seq each line was recorded with, by index: where its hash holds. Altered lines have none."""
    by_hash: dict[str, list[int]] = defaultdict(list)
    by_previous: dict[str, list[int]] = defaultdict(list)
    for index, line in enumerate(lines):
        by_hash[line.hash].append(index)
        by_previous[line.previous].append(index)
    places = {index: line.seq for index, line in enumerate(lines) if line_hash(line) == line.hash}
    marked = {hash: seq for seq, hashes in marks.items() for hash in hashes}
    _spread(lines, places, by_hash, by_previous, list(places))
    for index, line in enumerate(lines):
        if index in places:
            continue
        near = (line.seq + sign * step for step in range(1, _NEARBY + 1) for sign in (1, -1))
        for seq in (marked.get(line.hash, 1), 1, *near):
            if line_hash(line, seq) == line.hash:
                places[index] = seq
                _spread(lines, places, by_hash, by_previous, [index])
                break
    return places


def _spread(
    lines: Sequence[Line],
    places: dict[int, int],
    by_hash: Mapping[str, list[int]],
    by_previous: Mapping[str, list[int]],
    start: Iterable[int],
) -> None:
    """Follow the links from lines whose place is known to neighbours that stand elsewhere."""
    queue = deque(start)
    while queue:
        index = queue.popleft()
        after = ((other, places[index] + 1) for other in by_previous.get(lines[index].hash, ()))
        before = ((other, places[index] - 1) for other in by_hash.get(lines[index].previous, ()))
        for other, seq in (*after, *before):
            if other not in places and line_hash(lines[other], seq) == lines[other].hash:
                places[other] = seq
                queue.append(other)


def _without_doubles(
    lines: Sequence[Line], places: Mapping[int, int], marks: Mapping[int, frozenset[str]]
) -> dict[int, int]:
    """Of two lines that claim one place, the one that checkpoints know or that its successor follows keeps it."""
    followed = {lines[index].previous for index in places}
    best: dict[int, int] = {}
    for index, seq in places.items():
        rank = _rank(lines[index], seq, marks, followed)
        if seq >= 1 and (seq not in best or rank > _rank(lines[best[seq]], seq, marks, followed)):
            best[seq] = index
    return {index: seq for seq, index in best.items()}


def _rank(line: Line, seq: int, marks: Mapping[int, frozenset[str]], followed: set[str]) -> tuple[bool, bool, bool]:
    return line.hash in marks.get(seq, ()), line.hash in followed, line.seq == seq


def _strangers(
    lines: Sequence[Line], places: Mapping[int, int], marks: Mapping[int, frozenset[str]]
) -> list[AuditProblem]:
    taken, last = set(places.values()), max(marks, default=0)
    found = []
    for index, line in enumerate(lines):
        if index in places:
            continue
        if line.seq < 1 or line.seq in taken:
            text = f"fact {line.seq} was inserted: nothing in the chain leads to it"
            found.append(AuditProblem(kind="inserted", seq=line.seq, text=text))
        elif 0 < last < line.seq:
            text = f"fact {line.seq} was inserted, or changed before a checkpoint of yours covered it"
            found.append(AuditProblem(kind="inserted", seq=line.seq, text=text))
        else:
            text = f"fact {line.seq} ({line.kind}, {line.time}) was changed: its hash does not hold"
            found.append(AuditProblem(kind="edited", seq=line.seq, text=text))
    return found


def _gaps(occupied: set[int]) -> list[AuditProblem]:
    found, last = [], 0
    for seq in sorted(occupied):
        if seq > last + 1:
            text = (
                f"fact {last + 1} was deleted" if seq == last + 2 else f"facts {last + 1} to {seq - 1} were deleted"
            )
            found.append(AuditProblem(kind="deleted", seq=last + 1, text=text))
        last = seq
    return found


def _broken_links(here: Mapping[int, Line], marks: Mapping[int, frozenset[str]]) -> list[AuditProblem]:
    found = []
    if 1 in here and here[1].previous != GENESIS:
        found.append(_made_anew(1))
    for seq, line in here.items():
        following = here.get(seq + 1)
        if following is not None and following.previous != line.hash:
            found.append(_made_anew(seq + 1 if line.hash in marks.get(seq, ()) else seq))
    return found


def _made_anew(seq: int) -> AuditProblem:
    text = f"fact {seq} was changed and its hash made anew: its neighbour remembers another"
    return AuditProblem(kind="edited", seq=seq, text=text)


def _moves(lines: Sequence[Line], places: Mapping[int, int], *, explained: bool) -> list[AuditProblem]:
    """Lines that stand elsewhere. Where order is kept, a deletion or insertion that was found explains them."""
    order = [places[index] for index in sorted(places)]
    if explained and order == sorted(order):
        return []
    return [
        AuditProblem(
            kind="swapped", seq=lines[index].seq, text=f"at place {lines[index].seq} stands what was fact {true}"
        )
        for index, true in places.items()
        if lines[index].seq != true
    ]


def _against_marks(
    here: Mapping[int, Line], top: int, marks: Mapping[int, frozenset[str]], edited: set[int]
) -> list[AuditProblem]:
    found = []
    last = max(marks, default=0)
    if last > top:
        text = f"the ledger ends at fact {top}, but your checkpoints know {last}: the end was cut off"
        found.append(AuditProblem(kind="truncated", seq=top + 1, text=text))
    differs = [seq for seq in sorted(marks) if seq in here and marks[seq] != {here[seq].hash} and seq not in edited]
    if differs:
        text = (
            f"from fact {differs[0]} on, the ledger is not the one that your checkpoints signed: it was computed anew"
        )
        found.append(AuditProblem(kind="rewritten", seq=differs[0], text=text))
    return found
