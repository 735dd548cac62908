"""What is on the machine itself: files, and secrets in environment variables."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import address, restarted
from fullcircle.types.durations import duration
from fullcircle.types.needs import Need


def file(need: Need, seconds: float) -> Met:
    """Whether a file can be read and is young enough, or a folder be listed. Raises Unmet."""
    del seconds
    path = Path(address(need).removeprefix("file://")).absolute()
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return Met(what=f"the folder {path} holds {len(os.listdir(path))} entries")
        if not stat.S_ISREG(found.st_mode):  # opening a pipe waits for whoever writes to it
            raise Unmet("this is neither a file nor a folder", received=str(path), next_step="correct the path")
        with path.open("rb") as opened:
            empty = not opened.read(1)
    except FileNotFoundError as error:
        raise Unmet(
            "there is no such file", received=str(path), next_step="put it there, where the model runs, or correct at"
        ) from error
    except OSError as error:
        raise Unmet(
            f"it cannot be read: {error.strerror}",
            received=str(path),
            next_step="give the user that the server runs as the right to read it and its folders",
        ) from error
    return _judged(need, path, found, empty=empty)


def _judged(need: Need, path: Path, found: os.stat_result, *, empty: bool) -> Met:
    old = time.time() - found.st_mtime
    if need.age and old > duration(need.age).total_seconds():
        raise Unmet(
            "the file is too old", received=f"written {_span(old)} ago", allowed=need.age,
            next_step="see to what writes it, or allow more with age",
        )  # fmt: skip
    told = f"{path} can be read: {_size(found.st_size)}, written {_span(max(old, 0.0))} ago"
    if empty:
        return Met(what=told, warning="the file is empty", next_step="see to what writes it")
    return Met(what=told)


def secret(need: Need, seconds: float) -> Met:
    """Whether an environment variable is set and not empty. Nothing of its value is told, nor how long it is."""
    del seconds
    value = os.environ.get(need.at)
    if value is None or not value.strip():
        raise Unmet(
            f"the environment variable {need.at} is {'not set' if value is None else 'empty'}",
            next_step=restarted(need.at),
        )
    if value != value.strip():
        return Met(
            what=f"{need.at} is set",
            warning="it begins or ends with white space, which most services take for a part of it",
            next_step="set it without the line break, for example with printf instead of echo",
        )
    return Met(what=f"{need.at} is set")


def _size(count: int) -> str:
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def _span(seconds: float) -> str:
    for unit, one in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * one:
            return f"{seconds / one:.0f} {unit}"
    return f"{seconds:.0f} seconds"
