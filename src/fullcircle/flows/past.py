"""Quality of past stretches, kept from page to page: what nothing was added to is not worked out again.

A stretch is kept under a digest of all that its figures depend on: the project's code, the version, its bounds, the
files of the log that have rows of that time, and the outcomes of these rows. A row, a label, a correction or an
erasure gives another digest. The file in the workspace's cache holds figures, no rows, and may be deleted.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import msgspec

from fullcircle.flows import quality
from fullcircle.flows.quality import About, Judged
from fullcircle.tables import compacted, predictions
from fullcircle.tables.lines import Lines, model_folder
from fullcircle.tables.segments import COMPACTED, LINES, names
from fullcircle.types.prediction import Outcome, Prediction

FORMAT = 1
_END = "~"  # after every time


class _Time(msgspec.Struct):
    """As much of a row as it takes to know when it was."""

    time: str


class _Segment(msgspec.Struct, frozen=True, array_like=True):
    """A file of the log as it was seen, and the times of its first and last row."""

    mark: str
    oldest: str
    newest: str


class _Kept(msgspec.Struct):
    segments: dict[str, _Segment] = {}
    stretches: dict[str, Judged] = {}


def judged(
    about: About, log: Path, number: int, bounds: Sequence[tuple[str, str]], *, kept: Path, key: str
) -> list[Judged]:
    """What ``quality.judge`` says of each stretch, of those that ``kept`` has from before without reading a row.

    ``key`` stands for whatever else the figures depend on: the code of the project and the bundle. What is kept and
    cannot be read is made again, and where it cannot be written the next page takes longer.
    """
    model = about.project.name
    home = model_folder(log, model)
    before = _read(kept)
    outcomes = predictions.read_outcomes(log, model)
    segments = _segments(home, before.segments)
    digests = _digests([key, str(number)], bounds, segments, outcomes)
    open_ = [place for place, (digest, _) in enumerate(digests) if digest not in before.stretches]
    found = {digest: before.stretches[digest] for digest, _ in digests if digest in before.stretches}
    if open_:
        wanted = [bounds[place] for place in open_]
        within = sorted({name for place in open_ for name in digests[place][1]})
        rows = _rows(home, within, number)
        for place, each in zip(open_, quality.judge(about, wanted, rows, outcomes), strict=True):
            found[digests[place][0]] = each
    if open_ or segments != before.segments:
        _write(kept, _Kept(segments=segments, stretches=found))
    return [found[digest] for digest, _ in digests]


def key_of(*parts: str) -> str:
    """One text for several: of this fullcircle and this format."""
    return "\n".join((str(FORMAT), version("fullcircle"), *parts))


def _segments(home: Path, before: Mapping[str, _Segment]) -> dict[str, _Segment]:
    """The files of the log; those that changed since ``before`` are looked into."""
    found: dict[str, _Segment] = {}
    for name in names(home):
        for form in (LINES, COMPACTED, LINES):  # compacted meanwhile, or begun anew: it has one form at any moment
            seen = _seen(home / f"{name}{form}", before.get(name))
            if seen is not None:
                found[name] = seen
                break
    return found


def _seen(path: Path, before: _Segment | None) -> _Segment | None:
    try:
        at = path.stat()
    except FileNotFoundError:
        return None
    mark = f"{path.suffix} {at.st_size} {at.st_mtime_ns} {at.st_ino}"
    if before is not None and before.mark == mark:
        return before
    if path.suffix == COMPACTED:
        says = compacted.about(path)
        return _Segment(mark, says.oldest, says.newest or _END)
    lines = Lines(path, _Time)
    times = [each.time for each in lines]
    return None if lines.gone else _Segment(mark, min(times, default=_END), max(times, default=""))


def _digests(
    key: Sequence[str],
    bounds: Sequence[tuple[str, str]],
    segments: Mapping[str, _Segment],
    outcomes: Mapping[str, Outcome],
) -> list[tuple[str, list[str]]]:
    """The digest of each stretch, and the segments that have rows of its time."""
    starts, ends = [since for since, _ in bounds], [until or _END for _, until in bounds]
    within: list[list[str]] = [[] for _ in bounds]
    for name, segment in segments.items():
        for place in range(bisect_right(ends, segment.oldest), bisect_right(starts, segment.newest)):
            within[place].append(name)
    wanted = set(chain.from_iterable(within))
    labels: dict[str, hashlib.blake2b] = {}
    for id, outcome in outcomes.items():
        name = id[:16]
        if name in wanted:
            state = labels.get(name)
            if state is None:
                state = labels[name] = hashlib.blake2b(digest_size=16)
            state.update(f"{id} {outcome.value!r} {outcome.time}\n".encode())
    came = {name: state.hexdigest() for name, state in labels.items()}
    told = {name: f"{name} {segments[name].mark} {came.get(name, '')}" for name in wanted}
    found = []
    for (since, until), held in zip(bounds, within, strict=True):
        text = "\n".join((*key, since, until, *(told[name] for name in held)))
        found.append((hashlib.sha256(text.encode()).hexdigest(), held))
    return found


def _rows(home: Path, within: Iterable[str], number: int) -> Iterator[Prediction]:
    for row in chain.from_iterable(predictions.SegmentRows(home, name) for name in within):
        if row.version == number and not row.erased:
            yield row


def _read(path: Path) -> _Kept:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return _Kept()


def _write(path: Path, kept: _Kept) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(msgspec.msgpack.encode(kept))
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
