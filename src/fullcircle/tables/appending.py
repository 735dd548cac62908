"""Appending predictions: before an answer leaves, it has reached the operating system, or the disk, as was chosen."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from fullcircle.errors import WorkspaceUnusable
from fullcircle.tables.compacted import SPLIT
from fullcircle.tables.lines import Clock, model_folder, plain, unwritable
from fullcircle.tables.room import Losses, Room
from fullcircle.tables.segments import FULL, Segment
from fullcircle.types.prediction import Prediction

Fsync = Literal["interval", "always", "never"]
WhenFull = Literal["stop", "count"]
SEGMENT_BYTES = 64 << 20
SEGMENT_SECONDS = 3600.0
_LOST_EVERY = 60  # rounds of the thread between two notes of what was lost
_logger = logging.getLogger(__name__)


class PredictionLog:
    """Appends predictions. Safe from several threads, and from a process that forked after opening it.

    What was appended survives the death of the process at once. ``fsync`` says when it survives that of the machine:
    "interval": after at most ``every`` seconds; "always": before ``append`` returns; "never": when the operating
    system likes. A segment ends at ``segment_bytes`` or after ``segment_seconds``, and then it can be compacted.

    The whole folder stays below ``most_bytes`` (None: no bound), and 64 MiB of the disk stay free. ``when_full``:
    "stop" raises WorkspaceUnusable; "count" lets the answer go out with the id "" and counts it in ``lost``, which is
    written to ``lost.jsonl``. ``key`` is what private values are hashed with (see ``signed``).
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: Fsync = "interval",
        every: float = 1.0,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        most_bytes: int | None = None,
        when_full: WhenFull = "stop",
        key: bytes = b"",
    ) -> None:
        self.key = key
        self._folder = folder
        self._fsync = fsync
        self._every = every
        self._bytes = segment_bytes
        self._seconds = segment_seconds
        self._count = when_full == "count"
        self._room = Room(folder, most_bytes)
        self._losses = Losses(folder)
        self._clock = Clock()
        self._locks: dict[int, threading.Lock] = {}
        self._segments: dict[str, Segment] = {}
        self._left: list[Segment] = []
        self._failed: dict[str, OSError] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    @property
    def lost(self) -> dict[str, int]:
        """How many rows of each model this log answered and could not write."""
        return dict(self._losses.total)

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process: one that a thread held while the process forked is never free in the child."""
        process = os.getpid()
        return self._locks.get(process) or self._locks.setdefault(process, threading.Lock())

    def append(self, predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """Write the predictions, in order, and return them with ``id`` and ``time`` filled in.

        Raises WorkspaceUnusable where the file cannot be written; then none of a model's batch counts.
        """
        done: dict[int, Prediction] = {}
        places: dict[str, list[int]] = {}
        for place, prediction in enumerate(predictions):
            places.setdefault(prediction.model, []).append(place)
        for model, chosen in places.items():
            ids, time = self.write(model, [line_of(predictions[place]) for place in chosen])
            for place, id in zip(chosen, ids, strict=True):
                done[place] = replace(predictions[place], id=id, time=time)
        return tuple(done[place] for place in range(len(predictions)))

    def write(self, model: str, bodies: Sequence[bytes]) -> tuple[list[str], str]:
        """Write rows of one model, in order, and return their ids and their time.

        Each body is a JSON object that begins with ``{"`` and has neither id nor time. All of them are written at
        once, or none: then WorkspaceUnusable is raised, or they are counted as lost and their ids are "".
        """
        with self._lock:
            time = self._clock.text()
            if not bodies:
                return [], time
            try:
                self._after_fork()
                segment = self._segments.get(model) or self._begin(model)
                data, ids = _rows(segment, time, bodies)
                if not self._room.has(len(data)):
                    if not self._count:
                        raise self._room.refused()
                    return self._lose(model, len(bodies), time)
                self._put(segment, data)
            except WorkspaceUnusable:
                raise
            except OSError as error:
                if self._count and error.errno in FULL:
                    return self._lose(model, len(bodies), time)
                raise unwritable(self._folder / model, error) from error
            return ids, time

    def close(self) -> None:
        """Close the segments. A later append begins new ones.

        Unless ``fsync`` is "never", all rows are on the disk then. Raises WorkspaceUnusable where they are not.
        """
        with self._lock:
            self._after_fork()
            self._stop.set()
            thread, self._thread = self._thread, None
            for model in list(self._segments):
                self._leave(model)
        if thread is not None:
            thread.join()
        self._tend(tell=True)
        with self._lock:
            failed, self._failed = self._failed, {}
        for model, error in failed.items():
            raise unwritable(self._folder / model, error) from error

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, model: str) -> Segment:
        model_folder(self._folder, model)
        if self._thread is None:
            self._stop = threading.Event()
            watch = (weakref.ref(self), self._stop, self._every)
            self._thread = threading.Thread(target=_watch, args=watch, name="fullcircle-log", daemon=True)
            self._thread.start()
        if model in self._failed:
            error = self._failed.pop(model)
            raise unwritable(self._folder / model, error) from error
        segment = Segment(self._folder, model)
        self._segments[model] = segment
        return segment

    def _put(self, segment: Segment, data: bytes) -> None:
        try:
            segment.add(data, sync=self._fsync == "always")
        except BaseException as error:
            full = isinstance(error, OSError) and error.errno in FULL
            if not (full and segment.sound):
                self._leave(segment.model)
            raise
        if segment.size >= self._bytes:
            self._leave(segment.model)

    def _lose(self, model: str, rows: int, time: str) -> tuple[list[str], str]:
        self._losses.add(model, rows, time)
        return [""] * rows, time

    def _leave(self, model: str) -> None:
        """Nothing more goes to the segment. The thread puts it on the disk and closes it."""
        self._left.append(self._segments.pop(model))

    def _after_fork(self) -> None:
        """A forked child shares the parent's files, and must not touch them; threads and losses it has none."""
        if os.getpid() == self._process:
            return
        for segment in (*self._segments.values(), *self._left):
            segment.release()
        self._segments, self._left, self._thread = {}, [], None
        self._losses, self._stop = Losses(self._folder), threading.Event()
        self._process = os.getpid()

    def _tend(self, *, tell: bool = False) -> None:
        """Put on the disk what waits for it, and close what is old or was left. Answers do not wait for it."""
        with self._lock:
            for model, segment in list(self._segments.items()):
                if segment.size and segment.age >= self._seconds:
                    self._leave(model)
            waiting = [] if self._fsync == "never" else [one for one in self._segments.values() if one.dirty]
        for segment in waiting:
            self._sync(segment)
        while (left := self._next_left()) is not None:
            if left.dirty and self._fsync != "never":
                self._synced(left, left.descriptor)
            left.close()
        if tell:
            self._losses.tell()

    def _sync(self, segment: Segment) -> None:
        """Put on the disk what waits for it in a segment that rows are still added to. Raises OSError."""
        with self._lock:
            if self._segments.get(segment.model) is not segment:
                return  # it was left meanwhile: it is put on the disk before it is closed, and may be closed already
            copy = os.dup(segment.descriptor)
            segment.dirty = False
        try:
            self._synced(segment, copy)
        finally:
            os.close(copy)

    def _next_left(self) -> Segment | None:
        """One at a time, so that what goes wrong with one keeps none of the others open."""
        with self._lock:
            return self._left.pop(0) if self._left else None

    def _synced(self, segment: Segment, descriptor: int) -> None:
        """After a failed sync nobody knows what is on the disk: the segment is left, and the next writer is told."""
        try:
            segment.sync(descriptor)
        except OSError as error:
            _logger.error("predictions in %s may not survive the machine: %s", segment.path, error)
            with self._lock:
                self._failed[segment.model] = error
                if self._segments.get(segment.model) is segment:
                    self._leave(segment.model)
                    segment.dirty = False  # never tried again: a second sync would say that all is well


def _watch(log: weakref.ref[PredictionLog], stop: threading.Event, every: float) -> None:
    rounds = 0
    while not stop.wait(every):
        found = log()
        if found is None:
            return
        rounds += 1
        try:
            found._tend(tell=rounds % _LOST_EVERY == 0)
        except OSError as error:  # such as no more open files: without this thread nothing would reach the disk
            _logger.error("the prediction log cannot be put on the disk at the moment: %s", error)
        del found


def _rows(segment: Segment, time: str, bodies: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """The lines of these rows, and their ids. This is done for every answer, so it is short rather than pretty."""
    head, middle = segment.head, f'","time":"{time}",'.encode()
    begin, start, around = f"{segment.name}-", segment.size, len(head) + len(middle)
    ids: list[str] = []
    pieces: list[bytes] = []
    for body in bodies:
        number = str(start)
        ids.append(begin + number)
        pieces += (head, number.encode(), middle, body[1:], b"\n")
        start += around + len(number) + len(body)  # without its brace, but with the end of the line
    return b"".join(pieces), ids


_SPLIT = {name: Prediction.__dataclass_fields__[name].default for name in SPLIT}  # left out where there is none
_FIELDS = tuple(name for name in Prediction.__dataclass_fields__ if name not in ("id", "time", *_SPLIT))


def line_of(prediction: Prediction) -> bytes:
    """A prediction as a body for ``PredictionLog.write``: all but id and time."""
    found = {name: getattr(prediction, name) for name in _FIELDS}
    for name, default in _SPLIT.items():
        if (value := getattr(prediction, name)) != default:
            found[name] = value
    return msgspec.json.encode(found, enc_hook=plain)
