"""Monitoring again and again: a turn whenever a batch may be over, for as long as nobody says to end.

A turn that fails is told and tried again; what it had done by then is kept, each step of it whole (decision 30).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from fullcircle.errors import ProjectInvalid, SettingInvalid
from fullcircle.flows.counting import GRACE
from fullcircle.monitoring.grid import MONDAY, length, now

T = TypeVar("T")

PATIENCE = 20.0  # seconds that a turn at hand has to end once it was told to
SECOND = 1_000_000  # microseconds
BEHIND = (
    GRACE + SECOND
)  # how long after the clock's full hour (day, week) a turn begins: then its batch can be judged
LOOK = 5.0  # seconds between two looks at the clock, which may be set meanwhile
SOONEST = 60 * SECOND  # after a turn that failed
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def span(every: str) -> int:
    """A length of time between two turns, such as "1h", in microseconds. Raises SettingInvalid below a second."""
    try:
        found = length(every)
    except ProjectInvalid as error:
        raise SettingInvalid(
            "--every cannot be read", received=error.received, allowed=error.allowed, next_step="say --every 1h"
        ) from error
    if found < SECOND:
        raise SettingInvalid(
            "the turns would follow each other too closely",
            received=every,
            allowed="1s or longer; a turn finds something to judge when a batch is over",
            next_step="say --every 1h",
        )
    return found


def due(moment: int, every: int) -> int:
    """When the next turn begins: the first one after ``moment`` that is on the clock (UTC), BEHIND later."""
    return moment + every - (moment - BEHIND - MONDAY) % every


def again(moment: int, every: int, failed: int) -> int:
    """When a turn begins after ``failed`` of them in a row: in a minute, then in twice as long, at last when due."""
    return min(due(moment, every), moment + (SOONEST << min(failed - 1, 20)))


def again_and_again(
    turn: Callable[[], T],
    *,
    every: str,
    told: Callable[[T], None],
    failed: Callable[[Exception, int], None],
) -> None:
    """Take a turn now and whenever it is due, until SIGTERM, SIGHUP or Ctrl-C.

    ``told`` hears what each turn found, ``failed`` of the exception that ended one and when the next begins (in
    microseconds since 1970). A turn at hand is finished first, at most PATIENCE seconds long: then, or when it is
    told once more, its step at hand is taken back, as if it had not begun. Raises SettingInvalid for ``every``.
    """
    length_of = span(every)
    failures = 0
    with _Ending().heard() as ending:
        while True:
            with ending.finishing():
                try:
                    told(turn())
                except BrokenPipeError:
                    raise  # nobody reads on: the command line's to end
                except Exception as error:  # noqa: BLE001 - a disk may be full, the project in the middle of an edit
                    failures += 1
                    following = again(now(), length_of, failures)
                    failed(error, following)
                else:
                    failures = 0
                    following = due(now(), length_of)
            _wait(following, length_of)


def _wait(until: int, most: int) -> None:
    """Wait for a moment on the clock. Where the clock was set back so far that it lies too far ahead, it is time."""
    while 0 < (left := until - now()) <= most:
        time.sleep(min(left / SECOND, LOOK))


class _Ended(KeyboardInterrupt):
    """It was told to end, and nothing is at hand, or what is takes too long."""


class _Ending:
    """What signals say. Only the first thread of a process hears them; elsewhere Ctrl-C stays what it is."""

    def __init__(self) -> None:
        self._asked = False
        self._busy = False

    @contextmanager
    def heard(self) -> Iterator[_Ending]:
        """While inside, signals end this in order; then they mean what they meant before."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {one: signal.signal(one, self._hear) for one in (*_SIGNALS, signal.SIGALRM)}
        try:
            yield self
        except _Ended:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for one, handler in before.items():
                signal.signal(one, handler)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """What is inside is finished before this ends."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._asked:
            raise _Ended

    def _hear(self, number: int, frame: FrameType | None) -> None:
        more, self._asked = self._asked, True
        if more or not self._busy:
            raise _Ended
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
