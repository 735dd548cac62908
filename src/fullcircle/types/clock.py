"""The present moment: the machine's, or in a workspace where history is played the moment that is being played.

Such a workspace has a file ``clock`` with microseconds since 1970 (UTC) as text. Every process that works in it goes
by that file, so that what is played and what really happens never stand in one workspace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

NAME = "clock"
_PLAYED: ContextVar[Callable[[], int] | None] = ContextVar("fullcircle_clock", default=None)


def micros() -> int:
    """The present moment in microseconds since 1970, UTC."""
    return source()()


def source() -> Callable[[], int]:
    """What tells the present moment here, for threads too: they do not know of ``played`` by themselves."""
    return _PLAYED.get() or _real


@contextmanager
def played(moment: Callable[[], int]) -> Iterator[None]:
    """Within it the present moment is what ``moment`` says."""
    token = _PLAYED.set(moment)
    try:
        yield
    finally:
        _PLAYED.reset(token)


@contextmanager
def of(root: Path) -> Iterator[None]:
    """Within it the present moment is that of the workspace at ``root``. Raises OSError and ValueError."""
    path = root / NAME
    if not path.exists():
        yield
        return
    with played(lambda: int(path.read_text(encoding="ascii"))):
        yield


def put(root: Path, moment: int) -> None:
    """Set the clock of a played workspace; making it is what makes a workspace a played one."""
    path = root / NAME
    new = path.with_name(f"{NAME}.{os.getpid()}")
    new.write_text(str(moment), encoding="ascii")
    new.replace(path)


def _real() -> int:
    return time.time_ns() // 1000
