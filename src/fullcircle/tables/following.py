"""Following the prediction log: what is new since a place in each segment, and rows by their ids, a few at a time.

A place is a byte of the segment as it was written: the id of a row says where it begins, also after the segment was
compacted. So a place means the same in both forms, and a reader that keeps one for each segment reads every row once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from fullcircle.tables import compacted
from fullcircle.tables.segments import COMPACTED, ID, LINES
from fullcircle.types.prediction import Outcome, Prediction

_ROWS = msgspec.json.Decoder(Prediction)
_OUTCOMES = msgspec.json.Decoder(Outcome)
CHUNK = 4000  # rows: some megabytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of one segment and the place behind them. ``whole``: it is compacted, and this was its end."""

    rows: tuple[Prediction, ...]
    place: int
    whole: bool = False


def place_of(prediction_id: str) -> tuple[str, int] | None:
    """The segment and the place of a row, or None for what is no id of the log."""
    match = ID.fullmatch(prediction_id)
    return (match[1], int(match[2])) if match else None


def after(home: Path, name: str, place: int = 0) -> Iterator[Part] | None:
    """The rows of a segment from a place on, in order, a part at a time; None where there is no such segment.

    Erased and torn rows are passed over. A line whose end is not there yet is left for the next time. Where the
    segment is compacted it needs pyarrow: MissingExtra. Raises WorkspaceUnusable.
    """
    path = home / f"{name}{LINES}"
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        packed = home / f"{name}{COMPACTED}"
        return _packed(packed, name, place) if packed.exists() else None
    return iter(()) if size <= place else _lines(home, name, place)


def _lines(home: Path, name: str, place: int) -> Iterator[Part]:
    try:
        file = (home / f"{name}{LINES}").open("rb")
    except FileNotFoundError:  # compacted at this moment
        yield from _packed(home / f"{name}{COMPACTED}", name, place)
        return
    rows: list[Prediction] = []
    with file:
        for line, reached in _whole(file, place):
            place = reached
            row = _decoded(line)
            if row is not None and not row.erased:
                rows.append(row)
            if len(rows) >= CHUNK:
                yield Part(rows=tuple(rows), place=place)
                rows = []
    yield Part(rows=tuple(rows), place=place)


def _packed(path: Path, name: str, place: int) -> Iterator[Part]:
    last = place_of(compacted.about(path).last)
    rows: list[Prediction] = []
    if last is None or last[0] != name or last[1] >= place:
        for row in compacted.rows(path):
            found = place_of(row.id)
            if found is None or found[0] != name or found[1] < place:
                continue
            place = found[1] + 1
            if not row.erased:
                rows.append(row)
            if len(rows) >= CHUNK:
                yield Part(rows=tuple(rows), place=place)
                rows = []
    yield Part(rows=tuple(rows), place=place, whole=True)


def of_ids(home: Path, ids: Iterable[str]) -> Iterator[Prediction]:
    """The rows of these ids, without those that are gone or were erased, each segment read at most once.

    In order of segments and of places in them. Needs pyarrow for compacted segments: MissingExtra.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for each in ids:
        found = place_of(each)
        if found is not None:
            wanted[found[0]].add(found[1])
    for name in sorted(wanted):
        places = wanted[name]
        try:
            yield from _picked(home, name, places)
        except FileNotFoundError:
            path = home / f"{name}{COMPACTED}"
            if path.exists():
                ids_here = {f"{name}-{place}" for place in places}
                yield from (row for row in compacted.rows(path) if row.id in ids_here and not row.erased)


def _picked(home: Path, name: str, places: set[int]) -> Iterator[Prediction]:
    with (home / f"{name}{LINES}").open("rb") as file:
        end = file.seek(0, 2)
        for place in sorted(places):
            if place >= end:
                return
            file.seek(place)
            row = _decoded(file.readline())
            if row is not None and row.id == f"{name}-{place}" and not row.erased:
                yield row


def outcomes_after(path: Path, place: int = 0) -> Iterator[tuple[tuple[Outcome, ...], int]]:
    """The outcomes of a file from a place on, in order, a part at a time, each with the place behind it.

    A file that is gone, or shorter than the place, has none. Torn and erased lines are passed over.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    found: list[Outcome] = []
    with file:
        for line, reached in _whole(file, place):
            place = reached
            try:
                found.append(_OUTCOMES.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if len(found) >= CHUNK:
                yield tuple(found), place
                found = []
    yield tuple(found), place


def _whole(file: BinaryIO, place: int) -> Iterator[tuple[bytes, int]]:
    """The lines from a place on whose end is there, each with the place behind it."""
    file.seek(place)
    for line in file:
        if not line.endswith(b"\n"):
            return
        place += len(line)
        yield line, place


def _decoded(line: bytes) -> Prediction | None:
    try:
        return _ROWS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
