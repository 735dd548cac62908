"""``python -I -m fullcircle.deployment.keeper STATE``: starts a program again when it dies, until told to stop.

It is small and loads nothing of a model: what ends a server, by a fault or for want of memory, does not end it. In
the folder STATE it reads ``service.json`` (Told), and keeps ``server.json`` (Note) and ``server.log``. It runs in the
Python that deployed, not in the bundle's: it can keep a server of an older bundle, which brings no keeper.

Only one keeper at a time has a STATE. A server that lives already, because its keeper was killed, is taken over as it
is. A program that dies before it first listened is not tried again: whoever deployed it waits for the reason. Later
deaths are followed by a new start, at once after a long life, then after longer and longer pauses; after ``tries``
quick deaths in a row it gives up and says so. SIGTERM is passed on; when the program has finished, the keeper ends
with 0. A disk that is full ends no keeper: what it could not write down it writes when there is room.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import msgspec

from fullcircle.deployment import process
from fullcircle.types.takeover import TAKES_OVER

TOLD, NOTE, LOG, LOCK = "service.json", "server.json", "server.log", "keeper.lock"
PATIENCE = 40.0  # seconds a server has to finish what it answers: more than the server's own grace
BUSY = 3  # exit code where another keeper has the folder
GAVE_UP = 4
MOST_LOG = 10_000_000  # bytes after which the log is set aside
_GONE = "gone"  # the birth of what had ended before it could be asked
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Told(msgspec.Struct, frozen=True):
    """What to run. ``young`` is how many seconds a life has to last to count as one, ``pause`` the first pause.

    ``variables`` are the names of environment variables that the keeper was given for the program.
    """

    arguments: tuple[str, ...]
    variables: tuple[str, ...] = ()
    tries: int = 6
    young: float = 10.0
    pause: float = 0.5


class Note(msgspec.Struct, frozen=True):
    """What is remembered: the program (``pid`` 0 between two lives), its address, its keeper, how it ended last."""

    pid: int
    born: str
    url: str
    arguments: tuple[str, ...]
    keeper: int = 0
    keeper_born: str = ""
    starts: int = 0
    ended: str = ""
    gave_up: bool = False
    variables: tuple[str, ...] = ()

    @property
    def lives(self) -> bool:
        """Whether that very program runs."""
        return self.pid > 0 and process.born(self.pid) == self.born != ""

    @property
    def kept(self) -> bool:
        """Whether that very keeper runs."""
        return self.keeper > 0 and process.born(self.keeper) == self.keeper_born != ""


def main(arguments: Sequence[str]) -> int:
    """Keep what ``arguments[0]``/service.json names. Returns the exit code."""
    state = Path(arguments[0])
    with _alone(state / LOCK) as alone:
        if not alone:
            _say("another keeper has this folder")
            return BUSY
        told = msgspec.json.decode((state / TOLD).read_bytes(), type=Told)
        return Keeper(state, told).run()


def recall(state: Path, name: str = NOTE) -> Note | None:
    """The note in a folder; None where there is none that can be read."""
    try:
        return msgspec.json.decode((state / name).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old or the new."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a name that came before its bytes would be an empty file after a power cut
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class Keeper:
    """The life of one keeper. Used once, by the main thread."""

    def __init__(self, state: Path, told: Told) -> None:
        self._state, self._told = state, told
        self._me = (os.getpid(), process.born(os.getpid()))
        self._note = Note(pid=0, born="", url="", arguments=told.arguments, variables=told.variables)
        self._unwritten = False
        self._begun = 0.0  # of the life of now
        self._place = 0  # in the log, where the life of now begins
        self._quick = 0  # deaths in a row that came at once
        self._due = 0.0
        self._stopped = False

    def run(self) -> int:
        """Until told to stop (0), given up (4), or until the first life ended before it listened (its own code)."""
        with self._woken() as wake:
            self._take_over()
            while not self._stopped:
                if self._unwritten:
                    self._write()
                if self._note.born:
                    if self._note.lives:
                        self._listen()
                        if self._place < 0:
                            self._set_aside()
                        self._sleep(wake)
                        continue
                    self._listen()  # it may have listened, and ended since the last look
                    code = self._bury()
                    if code:
                        return code
                elif time.monotonic() >= self._due:
                    self._start()
                self._sleep(wake)
            return self._drain()

    def _take_over(self) -> None:
        found = recall(self._state)
        if found is not None and found.arguments == self._told.arguments and found.lives:
            _say(f"process {found.pid} runs already and is kept from now on")
            self._begun = time.monotonic()
            self._place = -1 if found.url else 0  # it has said its address, in whatever log that was
            self._write(pid=found.pid, born=found.born, url=found.url, starts=max(found.starts, 1), ended=found.ended)
        else:
            self._write(starts=0)  # before anything is started: whoever comes now finds this keeper

    def _start(self) -> None:
        arguments = _on_port(self._told.arguments, self._note.url)
        log = self._state / LOG
        self._set_aside()
        self._place = log.stat().st_size if log.exists() else 0
        self._begun = time.monotonic()
        try:
            pid = process.start(arguments, os.environ, log, fresh=False)
            os.environ.pop(TAKES_OVER, None)  # only the first takes a place; those after it have one
        except OSError as error:
            self._write(pid=0, born=_GONE, starts=self._note.starts + 1, ended=f"it cannot start: {error.strerror}")
            return
        self._write(pid=pid, born=process.born(pid) or _GONE, starts=self._note.starts + 1)

    def _set_aside(self) -> None:
        """Keep the log bounded. Whoever writes to it appends, and goes on at its new end."""
        log = self._state / LOG
        try:
            if log.stat().st_size > MOST_LOG:
                shutil.copyfile(log, log.with_name(LOG + ".1"))
                os.truncate(log, 0)
        except OSError:  # no room for a copy: the newest words are worth more than room that is not there
            with suppress(OSError):
                os.truncate(log, 0)

    def _listen(self) -> None:
        """Note the address, once the program has said it."""
        if self._place < 0 or not self._note.pid:
            return
        with open(self._state / LOG, "rb") as log:
            log.seek(self._place)
            for line in log:
                if line.startswith(b'{"listening":') and line.endswith(b"\n"):
                    self._place = -1
                    self._write(url=str(msgspec.json.decode(line)["listening"]))
                    return

    def _bury(self) -> int:
        """Take note of a death. A code above 0 ends the keeper."""
        lasted = time.monotonic() - self._begun
        words = self._note.ended if self._note.pid == 0 else f"process {self._note.pid} ended"
        if not self._note.url:
            self._write(pid=0, born="", ended=words, gave_up=True)
            return GAVE_UP
        self._quick = self._quick + 1 if lasted < self._told.young else 0
        if self._quick >= self._told.tries:
            words += f", {self._quick} times in a row within {self._told.young:g} seconds: given up"
            _say(words)
            self._write(pid=0, born="", ended=words, gave_up=True)
            return GAVE_UP
        pause = min(30.0, self._told.pause * 2.0 ** (self._quick - 1)) if self._quick else 0.0
        _say(f"{words} after {lasted:.1f} seconds and is started again in {pause:g} seconds")
        self._due = time.monotonic() + pause
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write(pid=0, born="", ended=f"{words} at {at} after {lasted:.1f} seconds")
        return 0

    def _drain(self) -> int:
        if self._note.born:
            process.end(self._note.pid, self._note.born, patience=PATIENCE)
        self._write(pid=0, born="", ended="it was told to stop")
        return 0

    def _sleep(self, wake: int) -> None:
        """Until a signal, the next start, or the next look."""
        if self._note.born:
            looked_at = self._place >= 0 or not _is_child(self._note.pid)
            seconds = 0.02 if self._place >= 0 and not self._note.url else 0.2 if looked_at else 5.0
        else:
            seconds = max(0.0, self._due - time.monotonic())
        if select.select([wake], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                while os.read(wake, 4096):
                    pass

    @contextmanager
    def _woken(self) -> Iterator[int]:
        """Signals only wake the loop. Ends of children do too."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        before = {one: signal.signal(one, self._hear) for one in _SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wake = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wake)
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(reading)
            os.close(writing)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def _write(self, **changes: object) -> None:
        keeper, born = self._me
        self._note = msgspec.structs.replace(self._note, keeper=keeper, keeper_born=born, **changes)
        try:
            write(self._state / NOTE, msgspec.json.encode(self._note))
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                _say(f"{NOTE} cannot be written: {error.strerror}")
            self._unwritten = True


def _on_port(arguments: tuple[str, ...], url: str) -> list[str]:
    """The arguments with the port of the life before, where any free one was asked for: callers know it by now."""
    found = list(arguments)
    port = url.rpartition(":")[2]
    if "--port" in found and port.isdecimal():
        found[found.index("--port") + 1] = port
    return found


def _is_child(pid: int) -> bool:
    """Whether its end wakes this process. One that was taken over has another parent."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except (ChildProcessError, OSError):
        return False


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock. The system lets go of it when the process ends, however it ends."""
    with open(path, "a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _say(words: str) -> None:
    """One JSON line on standard error, as the server's own log has them."""
    line = msgspec.json.encode({"level": "warning", "logger": "keeper", "message": words})
    with suppress(OSError):  # a full disk
        os.write(2, line + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
