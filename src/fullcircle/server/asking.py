"""``python -m fullcircle.server.asking``: the process in which a slow model is asked, so that it can be killed.

It is started by a worker with one end of a pair of sockets and the reading end of a pipe, its leash. Over the socket
it is told which libraries to load beforehand, then which version, and then question after question; it may be
released, and told another version. It ends when the worker closes the other end, and at once when the worker is gone,
whatever the model does at that moment.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from fullcircle.errors import FullcircleError
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import lines
from fullcircle.server.follower import Entry
from fullcircle.server.frames import Question, Ready, Reply, packed, receive
from fullcircle.server.opening import Opener
from fullcircle.server.shadowing import NICE, ShadowLog, follow

_logger = logging.getLogger(__name__)


class Warm(msgspec.Struct):
    """The first message: modules to import while nobody waits, ``after`` so many seconds without another message.

    One that cannot be imported is left out.
    """

    modules: list[str] = []
    after: float = 0.0


class Start(msgspec.Struct):
    """The second message: the folder where bundles lie, and the version to load. With ``shadow`` it is to be one."""

    folder: str
    name: str
    entry: Entry
    code: str
    online: str = ""
    shadow: ShadowLog | None = None


def main(arguments: list[str]) -> int:
    """Load, say that it is done, and answer until the socket is closed. Arguments: the socket, and the leash."""
    # Ctrl-C at a terminal reaches the whole group: the worker finishes what it answers, and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    descriptor, leash = map(int, arguments)
    obey(leash)
    lines.log("info", threaded=False)
    logging.captureWarnings(True)
    with socket.socket(fileno=descriptor) as connection:
        known = set(sys.modules)
        warm = receive(connection)
        if warm is not None:
            _prepare(connection, msgspec.json.decode(warm, type=Warm))
        while warm is not None and (start := receive(connection)) is not None:
            told = msgspec.json.decode(start, type=Start)
            if told.shadow is not None:
                with suppress(OSError):
                    os.nice(NICE)  # also while it loads: those who answer callers go first
            try:
                scorer = _opened(told)
            except Exception as error:  # noqa: BLE001 - the worker says it, and serves what it served before
                connection.sendall(packed(Ready(problem=str(error) or type(error).__name__)))
                return 1
            ready = Ready(modules=sorted(set(sys.modules) - known))
            if told.shadow is not None:
                connection.sendall(packed(ready))
                follow(connection, scorer, told.shadow, told.name)
                break
            if not answer(connection, scorer, ready):
                break
            del scorer
            gc.collect()
    return 0


def obey(leash: int) -> None:
    """End this process when the other end of the pipe ``leash`` is closed, even if it hangs in foreign code.

    The system itself does it, by a signal: no thread has to run, and nothing of Python. (fcntl(2), O_ASYNC)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    if poll.poll(0):  # it was closed before the signal was asked for
        os._exit(1)


def answer(connection: socket.socket, scorer: Scorer, ready: Ready | None = None) -> bool:
    """Say that the model is ready, and answer until it is released, or (False) the other side closes the socket."""
    connection.sendall(packed(ready or Ready()))
    while (content := receive(connection)) is not None:
        question = msgspec.json.decode(content, type=Question)
        if question.mode == "release":
            return True
        try:
            if question.mode == "model":
                reply = Reply(predictions=list(scorer.score(question.rows)))
            else:
                reply = Reply(predictions=list(scorer.without_model(question.rows, question.why)))
        except FullcircleError as error:  # the online store: it is the same for all rows
            reply = Reply(code=error.code, message=str(error))
        connection.sendall(packed(reply))
    return False


def _opened(start: Start) -> Scorer:
    opener, folder = Opener(Path(start.code), start.online), Path(start.folder)
    scorer = opener(folder / start.entry.path, start.name, start.entry)
    scorer.fallback = opener.before(folder, start.name, start.entry)
    return scorer


def _prepare(connection: socket.socket, warm: Warm) -> None:
    poll = select.poll()  # its number may be too large for select()
    poll.register(connection, select.POLLIN)
    if poll.poll(warm.after * 1000):
        return  # somebody waits already
    for name in warm.modules:
        with suppress(Exception):  # whoever needs it is told when the version is loaded
            importlib.import_module(name)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except BrokenPipeError:
        code = 0  # the worker closed the socket, or is gone
    except Exception:
        _logger.exception("the process of a model broke")
        code = 1
    sys.stdout.flush()
    os._exit(code)  # threads of the model's own must not keep a process that nobody asks any more
