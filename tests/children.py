"""Commands as real child processes: watched while they run, stopped at a given moment, and looked for afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

COMMAND = [sys.executable, "-m", "fullcircle"]


class Child:
    """A command in a session of its own, so that a signal can go to all of its processes as a terminal sends it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.heard: list[str] = []
        self._process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=surrounding(folder), text=True, bufsize=1,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process's id, which is its session's too."""
        return self._process.pid

    def until(self, beginning: str) -> bool:
        """Read its standard error up to a line that begins so; False where it ended without one."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.heard.append(line)
            if line.startswith(beginning):
                return True
        return False

    def answer(self) -> str:
        """The next line on standard output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self, one: signal.Signals, *, everything: bool = True) -> int:
        """Send a signal to all of its processes, or to the first alone, and wait. Returns the exit code."""
        (os.killpg if everything else os.kill)(self.pid, one)
        return self.wait()

    def send(self, one: signal.Signals) -> None:
        """Send a signal to the first process alone, and do not wait."""
        os.kill(self.pid, one)

    def wait(self) -> int:
        """Its exit code, once it has ended; ``said`` is complete then."""
        out, error = self._process.communicate(timeout=180)
        self.heard += error.splitlines(keepends=True)
        self.out = out
        return self._process.returncode

    def alive(self) -> bool:
        """Whether any process of its group is left, after the seconds that an orphan may need to be reaped."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.05)
        return True

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return "".join(self.heard)


def surrounding(folder: Path) -> dict[str, str]:
    """An environment in which commands use the workspace and the signing key in ``folder``, and any free port."""
    own = {name: str(folder / name.lower()) for name in ("WORKSPACE", "CONFIG")}
    return {**os.environ, **{f"FULLCIRCLE_{name}": value for name, value in own.items()}, "FULLCIRCLE_PORT": "0"}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=surrounding(folder), capture_output=True, text=True, check=False
    )


def servers(folder: Path) -> list[int]:
    """The processes that serve a workspace in ``folder``: whoever started them, and whether that is known or not."""
    found = []
    for place, words in _command_lines():
        if "fullcircle.server" in words and any(word.startswith(str(folder)) for word in words):
            found.append(place)
    return found


def _command_lines() -> Iterable[tuple[int, list[str]]]:
    told = subprocess.run(
        ["ps", "-axww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    for line in told.splitlines():
        pid, stat, *rest = line.split()
        if not stat.startswith("Z"):
            yield int(pid), rest
