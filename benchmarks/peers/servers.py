"""Servers as processes of their own: started on one core, waited for, measured, and ended whatever happens."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PAGE = os.sysconf("SC_PAGE_SIZE")
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is sent to a server: the port, the path and the body of a POST."""

    port: int
    path: str
    body: bytes

    def once(self, timeout: float = 10.0) -> tuple[int, bytes]:
        """Status and body of one answer; status 0 where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", self.path, self.body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def ready(self) -> int:
        """The status that the server's readiness answers; 0 where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1.0)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """What is started inside runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def surroundings(python: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for a program of another environment: its own programs first, one thread, nothing of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "FULLCIRCLE", "UV_"))
    }
    return {**kept, **ONE_THREAD, "PATH": f"{python.parent}:{os.environ['PATH']}", **(more or {})}


class Server:
    """A process group of ours. What it prints goes to ``log``."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, core: int) -> None:
        self._command, self._log = command, log
        with log.open("wb") as out, on_core(core):
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def wait(self, asked: Asked, seconds: float) -> bytes:
        """Wait until it answers this with 200; returns the answer. Raises RuntimeError with its last words."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process.poll() is None:
            status, body = asked.once()
            if status == 200:
                return body
            time.sleep(0.1)
        said = self._log.read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{shlex.join(self._command)} does not answer {asked.path}:\n{said[-4000:]}")

    def resident(self) -> float:
        """Megabytes of resident memory, of the process and all below it."""
        return resident(self.pid)

    def end(self) -> None:
        """Ask it to end, and end all of its group that is left after ten seconds."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running(
    command: Sequence[str], asked: Asked, *, env: Mapping[str, str], folder: Path, name: str, seconds: float = 120.0
) -> Iterator[Server]:
    """A server on its core that answers."""
    server = Server(command, env=env, cwd=folder, log=folder / f"{name}.log", core=SERVER_CORE)
    try:
        server.wait(asked, seconds)
        yield server
    finally:
        server.end()


def below(pid: int) -> list[int]:
    """The process and all that come from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def resident(pid: int) -> float:
    """Megabytes of resident memory of a process and all below it; a page that two of them share counts twice."""
    total = 0
    for one in below(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return total * PAGE / 1e6


class Peak:
    """Watches a tree of processes from a thread of ours: ``megabytes`` is the most it held."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.megabytes = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.megabytes = max(self.megabytes, resident(self._pid))
