"""The contract of a target: a place where models answer.

A target is told what should run (a ``Service``) and makes it so. Registered in the group "targets" by a class
without arguments; the same object may be used again and again, from one thread at a time. Two processes may
``apply`` or ``remove`` the same service at once: the target sees to it that one waits for the other.

- ``plan`` tells what ``apply`` would do, and changes nothing.
- ``apply`` makes it so and returns when every model answers by the version that ``served`` names. Doing it twice
  changes nothing. Where it fails it raises ServerFailed with the server's own last words, or PortInUse, and leaves
  nothing new running; a server that was kept goes on with the versions it has.
- ``status`` tells what is there now, without raising for what is not.
- ``remove`` lets it finish what it answers, and ends it. Removing what is not there is not an error. Only what
  this target started is ever ended.

What is served is not the target's: it is in ``served.json``, which the server follows by itself.
``fullcircle.testing.targets.TargetSuite`` checks all of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from fullcircle.types.progress import Progress, Silent

Action = Literal["start", "keep", "restart"]
SILENT = Silent()
LOG_BYTES, LOG_FULL, LOG_FSYNC = 10_000_000_000, "stop", "interval"  # as a server has them without being told


@dataclass(frozen=True, kw_only=True)
class Service:
    """What should run: a server in the environment of ``python``, following ``served``.

    ``predictions`` is the folder of the prediction log, ``code`` that for the bundles' own classes, ``state`` one
    that belongs to the target (its notes, the server's log). ``port`` 0 is any free one. ``models`` limits what is
    served, all that ``served`` names by default. ``hosts`` are names beside loopback's by which a proxy calls it.
    ``online`` is the URL of the online store, for models with a feature view. ``workers`` is how many processes
    answer, 0 is one for each core. ``log_bytes``, ``log_full`` and ``log_fsync`` are the settings of these names,
    ``log_key`` the file of the key for private values that a contract wants hashed. ``timeout`` is how many seconds
    the start may take.
    """

    python: Path
    served: Path
    predictions: Path
    code: Path
    state: Path
    host: str = "127.0.0.1"
    port: int = 8710
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    online: str = ""
    workers: int = 1
    log_bytes: int = LOG_BYTES
    log_full: str = LOG_FULL
    log_fsync: str = LOG_FSYNC
    log_key: Path | None = None
    timeout: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``apply`` would do, and why in one sentence."""

    action: Action
    text: str


@dataclass(frozen=True, kw_only=True)
class Running:
    """What is there: ``url`` is "" and ``pid`` 0 when nothing runs, ``problem`` says why it is not ready."""

    running: bool
    ready: bool = False
    url: str = ""
    pid: int = 0
    versions: tuple[tuple[str, int], ...] = ()
    problem: str = ""


def log_flags(log_bytes: int, log_full: str, log_fsync: str, log_key: Path | None) -> list[str]:
    """What a server is told of its log: only what differs from its defaults, for an older one does not know these."""
    told = (
        ("--log-bytes", log_bytes, LOG_BYTES),
        ("--log-full", log_full, LOG_FULL),
        ("--log-fsync", log_fsync, LOG_FSYNC),
    )
    flags = [part for flag, value, default in told if value != default for part in (flag, str(value))]
    return flags if log_key is None else [*flags, "--log-key", str(log_key.absolute())]


class Target(Protocol):
    """See the module's text."""

    name: str

    def plan(self, service: Service) -> Plan:
        """What ``apply`` would do."""

    def apply(self, service: Service, progress: Progress = SILENT) -> Running:
        """Make it so, and wait until it answers."""

    def status(self, service: Service) -> Running:
        """What is there now."""

    def remove(self, service: Service) -> None:
        """End it."""
