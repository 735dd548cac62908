"""What the server says: one JSON line for each thing, and nobody who does not listen can stop it by that."""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import threading
from contextlib import suppress
from datetime import UTC, datetime

ATOMIC = 4096  # bytes a pipe takes as a whole, so that lines of several processes do not mix (PIPE_BUF of Linux)
WAITING = 1000  # lines that wait for a slow reader; what comes beyond is lost and counted
_ERRORS = 2


def occupy_standard_streams() -> None:
    """Open what was closed of standard input, output and error: no socket or file may get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def tell(document: object) -> None:
    """Write one JSON line on standard output. Where nobody reads it any more, that is no reason to end."""
    with suppress(OSError):
        os.write(1, json.dumps(document).encode() + b"\n")


class JsonLines(logging.Formatter):
    """One line of ASCII for each record: no line break forges a second one, no escape reaches a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time, level, logger, message, whatever ``extra`` "fields" holds, and a traceback."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # Half of a surrogate pair is no text: readers of JSON refuse the line that holds one.
        whole = {
            key: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
            for key, value in line.items()
        }
        return json.dumps(whole)


class Lines(logging.Handler):
    """Writes to standard error, and never waits for its reader: a full pipe costs lines, not answers.

    With ``threaded`` a thread does the writing (a worker's lines); without, a line is written only where there is
    room for it at once (the supervisor, which forks and so may have no threads).
    """

    def __init__(self, *, threaded: bool) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(_ERRORS, select.POLLOUT)
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING)
        self._threaded = threaded
        if threaded:
            threading.Thread(target=self._write_all, name="fullcircle-lines", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write or queue one line; where there is no room, count it."""
        line = self.format(record).encode() + b"\n"
        if self._lost:
            line = (
                json.dumps({"level": "warning", "message": f"{self._lost} lines were lost"}).encode() + b"\n" + line
            )
        try:
            if self._threaded:
                self._waiting.put_nowait(line)
            elif self._room():
                _write(line)
            else:
                raise queue.Full
        except queue.Full:
            self._lost += 1
        else:
            self._lost = 0

    def flush(self) -> None:
        """Give what waits half a second to be written."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, 0.5)

    def _room(self) -> bool:
        return any(event & select.POLLOUT and not event & select.POLLERR for _, event in self._poll.poll(0))

    def _write_all(self) -> None:
        while True:
            line = self._waiting.get()
            _write(line)
            self._waiting.task_done()


def log(level: str, *, threaded: bool) -> None:
    """Send every log record of this process to standard error, one JSON line each."""
    root = logging.getLogger()
    root.handlers[:] = [Lines(threaded=threaded)]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


def _write(line: bytes) -> None:
    with suppress(OSError):  # nobody reads it any more: serving goes on
        while line:
            line = line[os.write(_ERRORS, line) :]
