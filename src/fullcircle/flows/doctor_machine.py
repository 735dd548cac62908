"""Doctor, the machine: Python, disk, memory, clock, uv, ports, folders, and libraries that the settings need."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from fullcircle.deployment import process
from fullcircle.errors import MissingExtra
from fullcircle.packaging import uv
from fullcircle.settings import Settings
from fullcircle.types.needs import Checked, Status

KIND = "machine"
LEAST_DISK, SOME_DISK = 200 * 10**6, 2 * 10**9  # bytes: below the first nothing can be built, below the second little
LEAST_MEMORY, SOME_MEMORY = 256 * 10**6, 10**9
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC).timestamp()  # no clock that is right says an earlier day
SLACK = 5.0  # seconds that the clocks of two machines may differ
_CGROUP = Path("/sys/fs/cgroup")
# By the scheme of a URL: the module that opens it, and what to install.
_LIBRARIES = {
    "postgresql": ("psycopg", 'pip install "fullcircle[postgres]"'),
    "redis": ("redis", 'pip install "fullcircle[redis]"'),
    "rediss": ("redis", 'pip install "fullcircle[redis]"'),
    "s3": ("s3fs", "pip install s3fs"),
    "gs": ("gcsfs", "pip install gcsfs"),
    "abfs": ("adlfs", "pip install adlfs"),
    "az": ("adlfs", "pip install adlfs"),
}


def checks(settings: Settings, folders: dict[str, Path]) -> Iterator[Checked]:
    """All that can be said without opening the workspace. ``folders`` are those written to, by what they hold."""
    yield _python()
    yield from _disks(folders)
    yield _memory()
    yield _clock()
    yield _uv()
    yield from _writable(folders)
    yield from _libraries(settings)


def _python() -> Checked:
    where = f"Python {platform.python_version()} in {sys.prefix}, on {platform.platform(terse=True)}"
    if sys.prefix != sys.base_prefix:
        return _said("python", "ok", where)
    return _said(
        "python", "warn", f"{where}: the system's own, in no environment",
        next_step="make an environment: python -m venv .venv, and install fullcircle there",
    )  # fmt: skip


def _disks(folders: dict[str, Path]) -> Iterator[Checked]:
    """One line for each disk, named after the folders on it."""
    disks: dict[int, list[str]] = {}
    for name, folder in folders.items():
        disks.setdefault(_there(folder).stat().st_dev, []).append(name)
    for names in disks.values():
        folder = _there(folders[names[0]])
        free = shutil.disk_usage(folder).free
        status: Status = "failed" if free < LEAST_DISK else "warn" if free < SOME_DISK else "ok"
        yield _said(
            "disk", status, f"{_size(free)} are free for {', '.join(names)}",
            received=str(folder), allowed=f"at least {_size(SOME_DISK)}",
            next_step="make room: fullcircle snapshots prune, fullcircle log, old folders in environments",
        )  # fmt: skip


def _memory() -> Checked:
    free = available_memory()
    if free is None:
        return _said("memory", "skipped", "this system does not say how much memory is free")
    status: Status = "failed" if free < LEAST_MEMORY else "warn" if free < SOME_MEMORY else "ok"
    return _said(
        "memory", status, f"{_size(free)} of memory are free",
        allowed=f"at least {_size(SOME_MEMORY)}", next_step="end what you do not need, or give the container more",
    )  # fmt: skip


def available_memory(group: Path = _CGROUP, told: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that may still be used: what the system has, and what the control group lets us; None where unknown."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in told.read_text(encoding="ascii").splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        found.append(most - used + _let_go(group / "memory.stat"))
    except (OSError, ValueError):
        pass  # no limit ("max"), or no control groups
    return max(0, min(found)) if found else None


def _let_go(told: Path) -> int:
    """Bytes that a control group counts and gives back when somebody needs them: files that were read once."""
    try:
        lines = dict(line.split() for line in told.read_text(encoding="ascii").splitlines())
        return int(lines.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0


def _clock() -> Checked:
    now = time.time()
    told = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    if now < FIRST_DAY:
        return _said(
            "clock", "failed", "the clock is wrong", received=told, next_step="set it: timedatectl set-ntp true"
        )
    return _said("clock", "ok", f"the clock says {told}")


def behind(newest: dict[str, float]) -> Checked:
    """Whether the clock was set back: something that was written has a time that is still to come.

    ``newest`` are the latest times (seconds since 1970) by where they were found.
    """
    now = time.time()
    later = {where: at for where, at in newest.items() if at > now + SLACK}
    if not later:
        return _said("clock and records", "ok", "nothing was written in the future")
    where = max(later, key=lambda name: later[name])
    return _said(
        "clock and records", "failed", f"the clock was set back, or was wrong before: see {where}",
        received=f"{later[where] - now:.0f} seconds in the future", allowed=f"at most {SLACK:g}",
        next_step="set the clock (timedatectl set-ntp true); until then times and orders cannot be trusted",
    )  # fmt: skip


def _uv() -> Checked:
    try:
        return _said("uv", "ok", f"uv is there: {uv.find()}")
    except (MissingExtra, FileNotFoundError):
        return _said(
            "uv", "failed", "uv is missing: no model can be packaged", next_step="pip install 'fullcircle[lab]'"
        )


def port(settings: Settings, ours: set[int]) -> Checked:
    """Whether a server could listen where the settings say. ``ours`` are the ports of this workspace's servers."""
    number, host = settings.port, settings["host"]
    if number in ours:
        return _said("port", "ok", f"a server of this workspace answers at port {number}")
    if process.can_listen(host, number):
        return _said("port", "ok", "any free port is taken" if not number else f"port {number} is free")
    return _said(
        "port", "warn", f"another program listens at port {number}",
        next_step="end it, or choose another port: the setting port, or --port 0",
    )  # fmt: skip


def _writable(folders: dict[str, Path]) -> Iterator[Checked]:
    for name, folder in folders.items():
        there = _there(folder)
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            yield _said(
                f"folder {name}", "failed", f"nothing can be written there: {error.strerror}",
                received=str(there), next_step="make it writable for you, or choose another in the settings",
            )  # fmt: skip
        else:
            yield _said(f"folder {name}", "ok", f"{folder} can be written")


def _libraries(settings: Settings) -> Iterator[Checked]:
    """Whether the libraries are there that the addresses in the settings need."""
    for name in ("ledger", "blobs", "features", "online", "mlflow"):
        scheme = settings[name].partition("://")[0].partition("+")[0] if "://" in settings[name] else ""
        if scheme not in _LIBRARIES:
            continue
        module, install = _LIBRARIES[scheme]
        if find_spec(module) is None:
            yield _said(f"library {module}", "failed", f"the setting {name} needs {module}", next_step=install)
        else:
            yield _said(f"library {module}", "ok", f"{module} is there, for the setting {name}")


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: where it would be made."""
    folder = folder.absolute()
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _size(count: int) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**9 else f"{count / 10**6:.0f} MB"


def _said(
    name: str, status: Status, what: str, *, received: str = "", allowed: str = "", next_step: str = ""
) -> Checked:
    well = status in ("ok", "skipped")
    return Checked(
        name=name,
        kind=KIND,
        status=status,
        what=what,
        received=received,
        allowed="" if well else allowed,
        next_step="" if well else next_step,
    )
