"""A process that plays one policy: a job on standard input, lines of JSON on standard output."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import msgspec

from fullcircle.errors import FullcircleError, RehearsalFailed
from fullcircle.flows.rehearsal.running import Job, reloaded, run


def main() -> None:
    """Play the job and say what came out."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a model prints must not stand among the answers

    def say(**said: Any) -> None:
        answers.write(msgspec.json.encode(said) + b"\n")
        answers.flush()

    try:
        source = reloaded(job)
        if source.code != job.code:
            raise RehearsalFailed(
                "the project's files changed while the rehearsal began",
                received=job.project,
                next_step="give the same command again",
            )
        say(result=run(job, source, lambda done, total: say(done=done, total=total)))
    except BrokenPipeError:
        return
    except FullcircleError as error:
        fields = {name: getattr(error, name) for name in ("what", "received", "allowed", "next_step")}
        say(error={"class": type(error).__name__, **fields})
    except Exception:  # noqa: BLE001 - the parent has to know why there will be no result
        say(error={"traceback": traceback.format_exc()})
