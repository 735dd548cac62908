"""The contract of a target: a place where models answer.

A target is told what should be there (a ``Service``) and makes it so. Registered in the group "targets" by a class
without arguments; the same object may be used again and again, from one thread at a time. Two processes may
``apply`` or ``remove`` the same service at once: the target sees to it that one waits for the other, or that the
later one finds what the earlier one made.

- ``plan`` tells what ``apply`` would do, with every file that it would make, and changes nothing.
- ``apply`` makes it so, and twice is once. A target that ``runs`` returns when every model answers by the version
  that ``served`` names; where it fails it raises ServerFailed with the server's own last words, or PortInUse, and
  leaves nothing new running; a server that was kept goes on with the versions it has. A target that only writes
  files writes all of them or none, those of its own plan, and raises TargetRefused for what cannot stand in them.
- ``status`` tells what is there now, without raising for what is not.
- ``remove`` lets it finish what it answers, and ends it. Removing what is not there is not an error. Only what
  this target started or wrote is ever ended or deleted.

What is served is not the target's: it is in ``served.json``, which a server that runs here follows by itself. A
target that takes a version elsewhere is given it whole (``Service.version``).
``fullcircle.testing.targets`` checks all of this: ``TargetSuite`` for every target, ``RunningTargetSuite`` beside it
for those that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from fullcircle.deployment.client import OPEN, Door
from fullcircle.settings import is_loopback
from fullcircle.types.progress import Progress, Silent

Action = Literal["start", "keep", "restart"]
SILENT = Silent()
LOG_BYTES, LOG_FULL, LOG_FSYNC = 10_000_000_000, "stop", "interval"  # as a server has them without being told


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version that answers, for a target that takes it elsewhere: everything it needs, and no path.

    ``bundle`` is the SHA-256 of ``archive``, ``python`` such as "3.12", ``lock`` the packages to install with their
    hashes, ``wheels`` (by file name) those that the lock expects beside it, ``attestations`` (by file name) what was
    said of the bundle. ``compiled`` means that the lock has no library of the model's own. ``looks_up``: it needs an
    online store; ``hashes``: it needs the key that private values are hashed with; ``pickled``: there is consent to
    its model file, which runs code when it is loaded. ``variables`` are the environment variables that it cannot do
    without, ``passed`` those that it reads where they are set. ``requires`` are its needs as the bundle has them, and
    ``proof`` is the certificate as JSON, with the packages of the form that answers; b"" where there are none.
    """

    model: str
    number: int
    bundle: str
    python: str
    archive: bytes
    lock: str
    wheels: Mapping[str, bytes]
    attestations: Mapping[str, bytes] = field(default_factory=dict)
    compiled: bool = False
    looks_up: bool = False
    hashes: bool = False
    pickled: bool = False
    variables: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    requires: bytes = b""
    proof: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Files to score again and again. See ``deployment.schedule``, which does it.

    ``command`` is what scores one file: it gets the file, ``--out``, the result and ``--json`` as further arguments,
    runs in ``folder`` with ``environment``. ``source`` is a file, a folder or a pattern of files, ``out`` a file, a
    folder, or a path with ``{name}`` and ``{time}``. ``every`` is in seconds.
    """

    command: tuple[str, ...]
    source: str
    out: str
    every: float
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Service:
    """What should be there: a server in the environment of ``python``, following ``served``.

    ``predictions`` is the folder of the prediction log, ``code`` that for the bundles' own classes, ``state`` one
    that belongs to the target (its notes, the server's log). ``port`` 0 is any free one. ``models`` limits what is
    served, all that ``served`` names by default. ``hosts`` are names beside loopback's by which a proxy calls it.
    ``online`` is the URL of the online store, for models with a feature view. ``workers`` is how many processes
    answer, 0 is one for each core. ``log_bytes``, ``log_full`` and ``log_fsync`` are the settings of these names,
    ``log_key`` the file of the key for private values that a contract wants hashed. ``access`` is the file that says
    who may ask, None where anybody may; ``tls`` are the files of certificate and key, ``without_tls`` lets it listen
    beyond loopback without, and ``door`` is how this process itself gets in. ``variables`` are the environment
    variables that reach the server, as its models need them. ``timeout`` is how many seconds the start may take.

    ``version`` is what a target takes along that runs nothing here, ``out`` the folder it writes to and ``image``
    the base image it builds on ("" for the target's own choice). With a ``schedule`` it is no server that should
    run, but this schedule.
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
    access: Path | None = None
    tls: tuple[Path, Path] | None = None
    without_tls: bool = False
    door: Door = OPEN
    variables: tuple[str, ...] = ()
    timeout: float = 60.0
    version: Version | None = None
    out: Path | None = None
    image: str = ""
    schedule: Schedule | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``apply`` would do, and why in one sentence.

    ``files`` is all that would be made, by path under ``folder``: bytes that a person can review, and commit.
    ``steps`` says in words what is done with them, and what is left to the person.
    """

    action: Action
    text: str
    folder: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a scheduled batch went: ``code`` is the worst exit code of its files, ``began`` and ``next`` are UTC."""

    began: str = ""
    seconds: float = 0.0
    files: int = 0
    rows: int = 0
    rejected: int = 0
    code: int = 0
    words: str = ""
    next: str = ""


@dataclass(frozen=True, kw_only=True)
class Running:
    """What is there: ``running`` says whether anything is, ``ready`` whether it is whole and as it should be.

    ``url`` is "" and ``pid`` 0 when nothing runs, ``problem`` says why it is not ready. ``place`` is the folder of a
    target that writes files. ``starts`` counts how often the program was started since it was deployed, ``ended``
    says how it ended last. ``ran`` is the last run of a schedule.
    """

    running: bool
    ready: bool = False
    url: str = ""
    pid: int = 0
    versions: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    place: str = ""
    starts: int = 0
    ended: str = ""
    ran: Ran | None = None


def access_flags(service: Service) -> list[str]:
    """What a server is told of who may ask and of TLS: nothing where anybody may, for an older one knows none of it.

    One that knows none of it does not start where it is told: nobody is let in by an older server.
    """
    flags = [] if service.access is None else ["--access", str(service.access.absolute())]
    if service.tls is not None:
        flags += ["--tls-cert", str(service.tls[0].absolute()), "--tls-key", str(service.tls[1].absolute())]
    return [*flags, *(["--without-tls"] if service.without_tls and not is_loopback(service.host) else [])]


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
    """See the module's text. ``runs`` says whether it runs what it makes, or only writes files."""

    name: str
    runs: bool

    def plan(self, service: Service) -> Plan:
        """What ``apply`` would do."""

    def apply(self, service: Service, progress: Progress = SILENT) -> Running:
        """Make it so, and wait until it answers, where it runs anything."""

    def status(self, service: Service) -> Running:
        """What is there now."""

    def remove(self, service: Service) -> None:
        """End it."""
