"""Where in the user's own code something went wrong."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path


def own_line(error: BaseException, folder: Path) -> str:
    """The user's last line that led to ``error``, as ``features.py, line 12: frame["x"]``; "" where there is none.

    A line is the user's when its file lies under ``folder``, but not in an environment there.
    """
    linecache.checkcache()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame.filename, folder)]
    if not frames:
        return ""
    last = frames[-1]
    place = f"{Path(last.filename).relative_to(folder)}, line {last.lineno}"
    return f"{place}: {last.line}" if last.line else place


def told(error: BaseException) -> str:
    """An error in one line: its type and the beginning of its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _own(filename: str, folder: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(folder) and "site-packages" not in path.relative_to(folder).parts
