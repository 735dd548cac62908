"""Asking from where a model will run: the interpreter of its own environment checks, as a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.deployment.needs.checking import LIMIT, bound
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Checked, Need, variables

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")  # as the target "local" keeps them
STARTING = 30.0  # seconds that an interpreter may need beside its checks
_LAST = 300


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the process is asked on its standard input, as JSON."""

    needs: tuple[Need, ...]
    online: str = ""
    view: ViewSpec | None = None
    limit: float = LIMIT


def ask(python: Path, question: Question) -> tuple[Checked, ...]:
    """What the interpreter ``python`` finds, in the order of the needs. Never raises, and takes a bounded time.

    It gets those environment variables that a server of the target "local" gets, and those that the needs name.
    """
    if not question.needs:
        return ()
    seconds = max(bound(need, question.limit) for need in question.needs) + STARTING
    wanted = {*KEPT, *variables(question.needs)}
    try:
        done = subprocess.run(
            [python, "-I", "-m", "fullcircle.deployment.needs"],
            input=msgspec.json.encode(question),  # and no argument: an address may hold a password
            env={name: value for name, value in os.environ.items() if name in wanted},
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        found = msgspec.json.decode(done.stdout, type=tuple[Checked, ...])
    except subprocess.TimeoutExpired:
        return _silent(question.needs, f"it did not end within {seconds:g} seconds")
    except OSError as error:
        return _silent(question.needs, f"it cannot be started: {error.strerror}")
    except msgspec.MsgspecError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return _silent(question.needs, f"it ended with {done.returncode}: {''.join(last)[:_LAST]}")
    return found if len(found) == len(question.needs) else _silent(question.needs, "it answered something else")


def _silent(needs: Sequence[Need], why: str) -> tuple[Checked, ...]:
    return tuple(
        Checked(
            name=need.name,
            kind=need.kind,
            status="warn" if need.optional else "failed",
            what=f"the environment of the model could not check it: {why}",
            next_step="package the version again: its environment is rebuilt with this fullcircle",
        )
        for need in needs
    )
