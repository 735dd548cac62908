"""Running uv: one place that knows its words for a network that cannot be reached."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fullcircle.errors import LockFailed, MissingExtra

# Variables that would make uv, or the interpreter it starts, look into somebody else's environment.
FOREIGN = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIRECTORY",
    "UV_REQUIREMENTS",
)
_UNREACHED = re.compile(
    r"error sending request|failed to fetch|dns error|tcp connect|connection (?:refused|reset)|timed out|tunnel error"
    r"|network is unreachable|could not connect|\b50[234]\b",
    re.IGNORECASE,
)
_SECONDS = 1800
_LAST_LINES = 12


def find() -> Path:
    """The uv that is installed beside fullcircle. Raises MissingExtra."""
    try:
        import uv
    except ImportError as error:
        raise MissingExtra(
            "locking and building environments needs uv, which is not installed",
            next_step="install it: pip install 'fullcircle[lab]'",
        ) from error
    return Path(uv.find_uv_bin())


def run(
    arguments: Sequence[str | Path],
    *,
    what: str,
    folder: Path,
    offline: bool = False,
    exact: bool = False,
    uv: Path | None = None,
) -> None:
    """Run uv in ``folder``; where the network cannot be reached, once more from its cache only.

    ``what`` says in the error what was being done. ``offline`` never touches the network. ``exact`` says that all is
    asked for by version and hash: its cache, which answers at once, is asked first, because the network knows no
    better. ``uv`` is the program, by default the installed one. Raises LockFailed with uv's own last lines.
    """
    command = [str(uv or find()), *map(str, arguments), "--no-python-downloads", "--no-progress", "--color", "never"]
    if exact and not offline and _try([*command, "--offline"], folder) is None:
        return
    failed = _try([*command, "--offline"] if offline else command, folder)
    if failed is None:
        return
    unreached = not offline and _UNREACHED.search(failed) is not None
    if unreached and _try([*command, "--offline"], folder) is None:
        return
    raise LockFailed(
        f"{what} failed. uv says:\n{_indented(failed)}", next_step=_next_step(failed, unreached, offline)
    )


def _try(command: list[str], folder: Path) -> str | None:
    """None when the command succeeded, else what it wrote."""
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"(nothing for {_SECONDS} seconds)"
    except OSError as error:
        return f"(it could not be started: {error.strerror})"
    return None if done.returncode == 0 else done.stdout.decode(errors="replace") or f"(exit code {done.returncode})"


def _indented(output: str) -> str:
    """The last lines, without any password that an index address may hold."""
    lines = re.sub(r"//[^/@\s]+@", "//***@", output).strip().splitlines()[-_LAST_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def _next_step(failed: str, unreached: bool, offline: bool) -> str:
    if "network was disabled" in failed or (offline and "no version of" in failed):
        return "allow the network once (offline = no), so that uv's cache holds what is needed"
    if unreached:
        return "check the connection to the package index; uv's cache alone did not suffice"
    if "No interpreter found" in failed or "no interpreter found" in failed:
        return "install that Python where uv finds it (uv python install), or package on a machine that has it"
    return "read uv's words above; the versions asked for are those installed here"
