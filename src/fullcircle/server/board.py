"""What the workers of one server tell each other and their supervisor: a few bytes of memory that all of them see."""

from __future__ import annotations

import mmap
import struct

_PLACE = struct.Struct("=IB3x")  # beats, ready


class Board:
    """One place for each worker: how often it has beaten, and whether it is ready. Made before they are forked."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, max(workers * _PLACE.size, mmap.PAGESIZE))

    def beats(self, place: int) -> int:
        """How often the worker at ``place`` has beaten since it was born. It wraps round; 0 is "not yet"."""
        return int(_PLACE.unpack_from(self._memory, place * _PLACE.size)[0])

    def beat(self, place: int, *, ready: bool) -> None:
        """Tell that the worker at ``place`` lives, and whether it is ready to answer."""
        beats = self.beats(place) % 0xFFFFFFFF + 1
        _PLACE.pack_into(self._memory, place * _PLACE.size, beats, ready)

    def clear(self, place: int) -> None:
        """Forget the worker at ``place``: it has ended."""
        _PLACE.pack_into(self._memory, place * _PLACE.size, 0, False)

    def ready_beside(self, place: int) -> bool:
        """Whether another worker than the one at ``place`` is ready."""
        return any(
            _PLACE.unpack_from(self._memory, other * _PLACE.size)[1]
            for other in range(self.workers)
            if other != place
        )
