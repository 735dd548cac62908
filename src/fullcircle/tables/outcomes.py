"""Outcomes: labels that came later, few enough for one file per model under a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.tables.lines import Lines, model_folder, now, plain, unwritable, write
from fullcircle.types.prediction import Outcome

OUTCOMES = "outcomes.jsonl"


def append_outcomes(folder: Path, model: str, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, in order; one without a time gets the present one. Raises WorkspaceUnusable: then none counts.

    They reach the operating system at once, and the disk when that likes.
    """
    moment = now()
    filled = [outcome if outcome.time else replace(outcome, time=moment) for outcome in outcomes]
    data = b"".join(msgspec.json.encode(outcome, enc_hook=plain) + b"\n" for outcome in filled)
    path = model_folder(folder, model) / OUTCOMES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data  # a crash tore the last line: begin a new one
            try:
                write(file.fileno(), data)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), size)  # all of them, or none
                raise
    except OSError as error:
        raise unwritable(path, error) from error


def read_outcomes(folder: Path, model: str) -> dict[str, Outcome]:
    """The model's outcomes by prediction id. The last one received counts."""
    lines = Lines(model_folder(folder, model) / OUTCOMES, Outcome)
    return {outcome.prediction_id: outcome for outcome in lines}


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
