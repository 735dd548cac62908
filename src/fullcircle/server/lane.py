"""Work beside the event loop: one piece after another with a bounded number waiting, or one by itself."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fullcircle.errors import ServerBusy

T = TypeVar("T")


class Lane:
    """Keeps the model out of the event loop, so that health is answered while it computes.

    ``run`` is called from one event loop. The work runs in a single thread: what it touches needs no locks.
    """

    def __init__(self, name: str, waiting: int) -> None:
        self._name = name
        self._waiting = waiting
        self._taken = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"fullcircle-{name}")

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._taken == 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``, or what it raised. Raises ServerBusy at once where too many wait already."""
        if self._taken > self._waiting:
            raise ServerBusy(
                "more requests are waiting than can be answered soon",
                allowed=f"{self._waiting} waiting",
                next_step="try again in a second",
            )
        # The thread goes by the caller's clock, which in a workspace where history is played is not the machine's.
        future = self._thread.submit(contextvars.copy_context().run, work)
        # The place is free when the work is done, not when the caller stops waiting for it.
        self._taken += 1
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def _leave(self) -> None:
        self._taken -= 1

    def close(self) -> None:
        """Take no more work, drop what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def aside(work: Callable[[], T], name: str) -> Future[T]:
    """The result of ``work``, done by a thread of its own that keeps no process from ending, even if it hangs."""
    found: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to who asks for the result
            # What would end a thread, such as SystemExit, must not end who asks.
            found.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))
        else:
            found.set_result(result)

    threading.Thread(target=run, name=f"fullcircle-{name}", daemon=True).start()
    return found
