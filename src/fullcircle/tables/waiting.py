"""Outcomes that wait for their prediction: named by key and time, or by an id that the log does not show yet.

One file of JSON lines per model under a lock; the same outcome again takes no more room. What is joined moves to the
outcomes, and blanks are written over its line; a file of blanks only is emptied. A crash in between leaves a line in
both places, which changes nothing: the same outcome again is the same. Values of hashed columns are kept as their
keyed hashes, as in the log.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import WorkspaceUnusable
from fullcircle.tables.lines import TIME, model_folder, moment, now, plain, unwritable
from fullcircle.tables.outcomes import add, append_outcomes, same
from fullcircle.tables.private import hashed, text_of
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.prediction import Outcome, Prediction

WAITING = "waiting.jsonl"
MOST_BYTES = 64 << 20
"""No more than this is kept of one model: what cannot be joined must not fill the disk."""
_FEW = 16
_decoder = msgspec.json.Decoder(Outcome)


@dataclass(frozen=True)
class Waiting:
    """One that waits: where its line begins, the line itself, and what it says."""

    place: int
    line: bytes
    outcome: Outcome


def size(folder: Path, model: str) -> int:
    """How many bytes wait."""
    try:
        return (model_folder(folder, model) / WAITING).stat().st_size
    except FileNotFoundError:
        return 0


def append_waiting(folder: Path, model: str, outcomes: Sequence[Outcome]) -> int:
    """Keep outcomes until their prediction is known, all or none; returns how many were new.

    One that is the last to wait for its prediction already takes no more room. Raises WorkspaceUnusable, also if too
    many wait.
    """
    if not outcomes:
        return 0
    path = model_folder(folder, model) / WAITING
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            fresh = _fresh(path.read_bytes(), outcomes)
            data, there = _lines(fresh), os.fstat(file.fileno()).st_size
            if data and there + len(data) > MOST_BYTES:
                raise _too_many(path, there + len(data))
            if data:
                add(file.fileno(), data)
            return len(fresh)
    except OSError as error:
        if isinstance(error, WorkspaceUnusable):
            raise
        raise unwritable(path, error) from error


def full(folder: Path, model: str, outcomes: Sequence[Outcome]) -> bool:
    """Whether there is no room left for those of them that do not wait already."""
    there = size(folder, model)
    if there + len(_lines(outcomes)) <= MOST_BYTES:
        return False
    with suppress(FileNotFoundError):
        outcomes = _fresh((model_folder(folder, model) / WAITING).read_bytes(), outcomes)
    return bool(outcomes) and there + len(_lines(outcomes)) > MOST_BYTES


def meant(outcome: Outcome) -> bytes:
    """What an outcome says of which prediction it is about, as a part of its line."""
    if outcome.prediction_id:
        return b'"prediction_id":' + msgspec.json.encode(outcome.prediction_id) + b","
    fields = {"key": outcome.key, "at": outcome.at, "within": outcome.within}
    return msgspec.json.encode(fields, enc_hook=plain)[1:]


def _fresh(data: bytes, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that say something else than what waits last, in ``data`` or among them, for the same prediction."""
    known: dict[bytes, Outcome | None] = {}
    few = len(outcomes) <= _FEW  # to look for some is quicker than to read all
    if not few:
        known = {meant(each.outcome): each.outcome for each in _read(data.splitlines(keepends=True))}
    fresh = []
    for one in outcomes:
        name = meant(one)
        if few and name not in known:
            known[name] = _last(data, name)
        before = known.get(name)
        if before is None or not same(before.value, one.value):
            fresh.append(one)
            known[name] = one
    return fresh


def _last(data: bytes, name: bytes) -> Outcome | None:
    """The last whole line about a prediction. ``name`` may also be within another's text, so it is read."""
    end = len(data)
    while (found := data.rfind(name, 0, end)) >= 0:
        start, stop = data.rfind(b"\n", 0, found) + 1, data.find(b"\n", found) + 1
        for each in _read([data[start:stop]]):
            if meant(each.outcome) == name:
                return each.outcome
        end = start
    return None


def _lines(outcomes: Sequence[Outcome]) -> bytes:
    time = now()
    return b"".join(
        msgspec.json.encode(one if one.time else replace(one, time=time), enc_hook=plain) + b"\n" for one in outcomes
    )


def _too_many(path: Path, found: int) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        "too many outcomes wait for a prediction that the log does not have; none of these was kept",
        received=f"{found:,} bytes would be in {path}",
        allowed=f"{MOST_BYTES:,} bytes",
        next_step="see that ids, keys and times are those of the log; fullcircle erase takes those that wait away",
    )


def read_waiting(folder: Path, model: str) -> list[Waiting]:
    """All that wait, in the order in which they came. Torn lines are passed over."""
    with suppress(FileNotFoundError), (model_folder(folder, model) / WAITING).open("rb") as file:
        return list(_read(file))
    return []


def _read(lines: Iterable[bytes]) -> Iterator[Waiting]:
    place = 0
    for line in lines:
        if not line.isspace() and line.endswith(b"\n"):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                yield Waiting(place, line, _decoder.decode(line))
        place += len(line)


def settle(folder: Path, model: str, joined: Mapping[int, str], waiting: Sequence[Waiting]) -> int:
    """Move those that were joined (place to prediction id, "" to drop it) to the outcomes. Returns how many moved.

    A line that somebody else moved or erased meanwhile is left alone. Raises WorkspaceUnusable.
    """
    path = model_folder(folder, model) / WAITING
    chosen = [each for each in waiting if each.place in joined]
    if not chosen:
        return 0
    with _locked(path) as descriptor:
        there = [each for each in chosen if os.pread(descriptor, len(each.line), each.place) == each.line]
        known = [
            Outcome(prediction_id=joined[each.place], value=each.outcome.value, time=each.outcome.time)
            for each in there
            if joined[each.place]
        ]
        append_outcomes(folder, model, known)
        for each in there:
            _blank(descriptor, each)
        _empty(descriptor, path)
    return len(known)


def erase_waiting(folder: Path, model: str, chosen: Callable[[Outcome], bool]) -> int:
    """Write blanks over those that are chosen, and over torn lines. Returns how many. Raises WorkspaceUnusable."""
    path = model_folder(folder, model) / WAITING
    if not path.exists():
        return 0
    erased, place = 0, 0
    with _locked(path) as descriptor:
        with path.open("rb") as file:
            for line in file:
                outcome = None
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    outcome = None if line.isspace() else _decoder.decode(line)
                if outcome is None or chosen(outcome):
                    erased += outcome is not None
                    os.pwrite(descriptor, b" " * (len(line) - line.endswith(b"\n")), place)
                place += len(line)
        _empty(descriptor, path)
        os.fsync(descriptor)
    return erased


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    try:
        with path.open("rb+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file.fileno()
    except OSError as error:
        raise unwritable(path, error) from error


def _blank(descriptor: int, each: Waiting) -> None:
    os.pwrite(descriptor, b" " * (len(each.line) - 1), each.place)


def _empty(descriptor: int, path: Path) -> None:
    with path.open("rb") as file:
        if all(line.isspace() for line in file):
            os.ftruncate(descriptor, 0)


def as_logged(outcome: Outcome, contract: Contract, key: bytes) -> tuple[Outcome, str]:
    """The outcome with its time in the log's form and its private values hashed; and why it cannot be, or "".

    ``key`` is the workspace's, b"" where this process has none. Names no value.
    """
    columns = {column.name: column for column in contract.columns}
    values = dict(outcome.key or {})
    for name, value in values.items():
        column = columns.get(name)
        if value is None:
            return outcome, f"the key {name} is missing"
        if column is None or not column.private:
            continue
        if not column.hashed:
            return outcome, f"the column {name} is private and not in the log, so nothing can be joined by it"
        if not key:
            return outcome, f"the column {name} is hashed, and this server was not given the key of the log"
        number = column.kind in ("integer", "number") and isinstance(value, str)
        values[name] = hashed(key, name, _number(str(value)) if number else value)
    if not values:
        return outcome, "there is neither an id nor a key"
    return replace(outcome, key=values, at=moment(outcome.at)), ""


def join(rows: Iterable[Prediction], waiting: Sequence[Waiting], *, until: str = "") -> dict[int, str]:
    """Which prediction each belongs to: place to id, in one pass over ``rows``. What is not there has none yet.

    Rows that were not answered do not count. Of equal times the greater id is the later. One whose ``at`` is after
    ``until`` (a time in the log's form) waits on, for a later prediction may still come.
    """
    wanted: dict[tuple[str, ...], dict[tuple[str, ...], list[Waiting]]] = defaultdict(lambda: defaultdict(list))
    for each in waiting:
        if each.outcome.key and not (until and each.outcome.at > until):
            names = tuple(sorted(each.outcome.key))
            wanted[names][tuple(_canonical(each.outcome.key[name]) for name in names)].append(each)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[str, str]]] = defaultdict(list)
    for row in rows if wanted else ():
        if row.value is None or row.erased:
            continue
        for names, keys in wanted.items():
            held = _held(row, names)
            if held is not None and held in keys:
                found[names, held].append((row.time, row.id))
    joined: dict[int, str] = {}
    for (names, held), candidates in found.items():
        candidates.sort()
        times = [time for time, _ in candidates]
        for each in wanted[names][held]:
            place = bisect_right(times, each.outcome.at) - 1
            if place >= 0 and times[place] >= _oldest(each.outcome):
                joined[each.place] = candidates[place][1]
    return joined


def oldest_needed(waiting: Sequence[Waiting]) -> str:
    """The time before which no prediction is looked for, in the log's form; "" where any age will do."""
    found = [_oldest(each.outcome) for each in waiting if each.outcome.key]
    return min(found, default="")


def holds(outcome: Outcome, column: str, texts: set[str]) -> bool:
    """Whether one that waits has one of these texts as its key in a column."""
    value = (outcome.key or {}).get(column)
    return value is not None and (text_of(value) in texts or _canonical(value) in texts)


def _oldest(outcome: Outcome) -> str:
    if not outcome.within:
        return ""
    return (datetime.fromisoformat(outcome.at) - duration(outcome.within)).strftime(TIME)


def _held(row: Prediction, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The row's values of these columns, wherever it has them; None where it lacks one."""
    lookup = row.lookup or {}
    places = (row.inputs, row.context, lookup.get("request"), lookup.get("passed"), lookup.get("values"))
    values = []
    for name in names:
        value = next(
            (held[name] for held in places if isinstance(held, Mapping) and held.get(name) is not None), None
        )
        if value is None:
            return None
        values.append(_canonical(value))
    return tuple(values)


def _canonical(value: Any) -> str:
    """A value as it is compared: 7, 7.0 and "7" are one, as a file of text cannot tell them apart."""
    return text_of(_number(value) if isinstance(value, str) else value)


def _number(text: str) -> Any:
    """The number that a text spells, as JSON would; else the text."""
    if text[:1] not in "-0123456789":
        return text
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(text.encode())
        if isinstance(found, int | float):
            return found
    return text
