"""``python -m fullcircle.server.asking``: the process in which a slow model is asked, so that it can be killed.

It is started by a worker with one end of a pair of sockets, loads one version, and answers question after question.
It ends when the worker closes the other end, or is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from fullcircle.errors import FullcircleError
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.follower import Entry
from fullcircle.server.frames import Question, Ready, Reply, packed, receive
from fullcircle.server.opening import Opener


class Start(msgspec.Struct):
    """What the process is told: the socket, the folder where bundles lie, and the version to load."""

    descriptor: int
    folder: str
    name: str
    entry: Entry
    code: str
    online: str = ""


def main(arguments: list[str]) -> int:
    """Load, say that it is done, and answer until the socket is closed."""
    start = msgspec.json.decode(arguments[0], type=Start)
    # Ctrl-C at a terminal reaches the whole group: the worker finishes what it answers, and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=start.descriptor) as connection:
        try:
            opener = Opener(Path(start.code), start.online)
            folder = Path(start.folder)
            scorer = opener(folder / start.entry.path, start.name, start.entry)
            scorer.fallback = opener.before(folder, start.name, start.entry)
        except (FullcircleError, OSError) as error:
            connection.sendall(packed(Ready(problem=str(error))))
            return 1
        answer(connection, scorer)
    return 0


def answer(connection: socket.socket, scorer: Scorer) -> None:
    """Say that the model is ready, and answer until the other side closes the socket."""
    connection.sendall(packed(Ready()))
    while (content := receive(connection)) is not None:
        question = msgspec.json.decode(content, type=Question)
        try:
            if question.mode == "model":
                reply = Reply(predictions=list(scorer.score(question.rows)))
            else:
                reply = Reply(predictions=list(scorer.without_model(question.rows, question.why)))
        except FullcircleError as error:  # the online store: it is the same for all rows
            reply = Reply(code=error.code, message=str(error))
        connection.sendall(packed(reply))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # threads of the model's own must not keep a process that nobody asks any more
