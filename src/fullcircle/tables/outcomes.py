"""Outcomes: labels that came later and whose prediction is known, in one file per model under a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from fullcircle.tables.lines import Lines, model_folder, now, plain, unwritable, write
from fullcircle.types.contract import Value
from fullcircle.types.prediction import Outcome

OUTCOMES = "outcomes.jsonl"
_LONGEST = 4096  # bytes at the end of the file in which the last line is looked for


class _Line(msgspec.Struct):
    """A line of the file."""

    prediction_id: str
    value: Value
    time: str


def append_outcomes(folder: Path, model: str, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, in order; one without a time gets the present one. Raises WorkspaceUnusable: then none counts.

    They reach the operating system at once, and the disk when that likes. A clock that was set back does not make
    a correction older than what it corrects: no line gets an earlier time than the one before it.
    """
    path = model_folder(folder, model) / OUTCOMES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            moment = max(now(), _last_time(file.fileno()))
            add(
                file.fileno(),
                b"".join(
                    msgspec.json.encode(_Line(one.prediction_id, one.value, one.time or moment), enc_hook=plain)
                    + b"\n"
                    for one in outcomes
                ),
            )
    except OSError as error:
        raise unwritable(path, error) from error


def add(descriptor: int, data: bytes) -> None:
    """Write whole lines at the end of a locked file, or none. Raises OSError."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data  # a crash tore the last line: begin a new one
    try:
        write(descriptor, data)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)  # all of them, or none
        raise


def _last_time(descriptor: int) -> str:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    tail = os.pread(descriptor, _LONGEST, max(0, size - _LONGEST)).splitlines()
    for line in reversed(tail):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            time = msgspec.json.decode(line, type=_Line).time
            return time if len(time) == len(now()) and time.endswith("Z") else ""
    return ""


def read_outcomes(folder: Path, model: str) -> dict[str, Outcome]:
    """The model's outcomes by prediction id. The last one received counts, by its time, then by its place."""
    return latest(Lines(model_folder(folder, model) / OUTCOMES, Outcome))


def latest(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """The outcome of each prediction that counts, whatever the order of the lines; those that wait are left out.

    Its time is when this value was received first since another one was: an outcome that comes again changes nothing.
    """
    found: dict[str, Outcome] = {}
    several: dict[str, list[Outcome]] = {}
    for each in outcomes:
        identity = each.prediction_id
        if not identity:
            continue
        before = found.get(identity)
        if before is not None:
            several.setdefault(identity, [before]).append(each)
        found[identity] = each
    for identity, lines in several.items():
        ranked = sorted(lines, key=lambda line: line.time)  # stable: of equal times the later line is later
        last = ranked[-1]
        for line in reversed(ranked[:-1]):
            if not same(line.value, last.value):
                break
            last = line
        found[identity] = last
    return found


def same(one: Value, other: Value) -> bool:
    """Whether two labels are one; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def erase_outcomes(home: Path, ids: Collection[str]) -> int:
    """Write blanks over the outcomes of these predictions, and over torn lines. Returns how many outcomes there were.

    In place, so that what is being appended by others at this moment is kept. May be repeated. Raises OSError.
    """
    path = home / OUTCOMES
    if not path.exists():
        return 0
    decoder = msgspec.json.Decoder(Outcome)
    erased, place = 0, 0
    with path.open("rb+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with path.open("rb") as lines:
            for line in lines:
                try:
                    known = line.isspace() or decoder.decode(line).prediction_id not in ids
                    erased += not known
                except (msgspec.DecodeError, UnicodeDecodeError):
                    known = False  # a part of any of them
                if not known:
                    length = len(line) - line.endswith(b"\n")
                    os.pwrite(file.fileno(), b" " * length, place)
                place += len(line)
        os.fsync(file.fileno())
    return erased
