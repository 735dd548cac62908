"""Sending messages to several addresses at once, so that none waits for another, within a limit of time.

Each address has a thread of its own and gets its messages in order. What is not done when the time is up counts as
not delivered; a thread that hangs in a library's code is left behind, and sends nothing more after the call it is in.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from fullcircle.monitoring.alarms import Message
from fullcircle.monitoring.channels import deliver

STUBBORN = 5  # failures after which a message no longer holds up those behind it: it may be the message
Letter = tuple[int, Message, int]  # its number, the message, and how often it failed


def send(letters: Mapping[str, Sequence[Letter]], *, seconds: float) -> Iterator[tuple[str, int, str]]:
    """Send each address its messages. Yields, as it happens: the address, the number, and "" or why it failed.

    Behind one that failed nothing more is sent to the address, unless that one has failed STUBBORN times before; of
    those that were not tried nothing is said.
    """
    told: queue.SimpleQueue[tuple[str, int, str] | None] = queue.SimpleQueue()
    over = threading.Event()
    under_way: dict[str, int] = {}
    for address, lot in letters.items():
        threading.Thread(target=_send, args=(address, lot, told, over, under_way), daemon=True).start()
    running, deadline = len(letters), time.monotonic() + seconds
    while running:
        try:
            said = told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if said is None:
            running -= 1
        else:
            under_way.pop(said[0], None)
            yield said
    over.set()
    for address, number in list(under_way.items()):
        yield address, number, f"no answer within {seconds:g} seconds"


def _send(
    address: str,
    lot: Sequence[Letter],
    told: queue.SimpleQueue[tuple[str, int, str] | None],
    over: threading.Event,
    under_way: dict[str, int],
) -> None:
    for number, message, failures in lot:
        if over.is_set():
            break
        under_way[address] = number
        try:
            why = deliver(address, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must be tried again
            why = f"it failed: {type(error).__name__}"
        told.put((address, number, why))
        if why and failures < STUBBORN:
            break
    told.put(None)
