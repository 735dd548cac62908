"""``python -I -m fullcircle.deployment.needs [FILE]``: checks needs from here, and prints what it found as JSON.

FILE, or standard input, holds a Question as JSON, or a list of needs as a bundle's requires.json has it. Ends with 0
where nothing failed, 1 where something did, 2 where it cannot read what it was asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fullcircle.deployment.needs.asking import Question
from fullcircle.deployment.needs.checking import Checker
from fullcircle.types.needs import Need


def main(arguments: Sequence[str]) -> int:
    """Check, and print. Nothing else reaches standard output."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints
    try:
        raw = Path(arguments[0]).read_bytes() if arguments else sys.stdin.buffer.read()
        question = read(raw)
        online = question.online or os.environ.get("FULLCIRCLE_ONLINE", "")  # as a server finds it
        found = Checker(online=online, view=question.view, limit=question.limit).check(question.needs)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        sys.stderr.write(f"the needs cannot be read: {error}\n")
        return 2
    finally:
        sys.stdout.flush()
        os.dup2(answer, 1)
        os.close(answer)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.stdout.flush()
    return 1 if any(one.status == "failed" for one in found) else 0


def read(raw: bytes) -> Question:
    """What is asked. Raises msgspec.MsgspecError for what is neither a question nor a list of needs."""
    if raw.lstrip()[:1] == b"[":
        return Question(needs=msgspec.json.decode(raw, type=tuple[Need, ...]))
    return msgspec.json.decode(raw, type=Question)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
