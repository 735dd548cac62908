"""Other programs that are kept running beside ours, asked one thing at a time by a line of JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.rows import ROOT, once

PROGRAMS = ROOT / "benchmarks" / "peers"
FEAST = "0.67.0"


class Peer:
    """A program in ``PROGRAMS`` that runs with another Python and answers each line of JSON with one.

    What it prints otherwise goes to ``folder``/NAME.log, and is shown when it fails.
    """

    def __init__(
        self, python: Path, name: str, *arguments: str, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = folder / f"{name}-{'-'.join(arguments) or 'peer'}.log".replace(os.sep, "_")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(PROGRAMS / f"{name}.py"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env={**_plain_environment(), "FEAST_USAGE": "False", **(env or {})},
            )

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Have it do one thing and return what it says about that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the peer ended with {self._process.wait()} when asked to {do}:\n{said[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def seconds(self, do: str, **options: Any) -> Callable[[], float]:
        """The same as something to be measured."""
        return lambda: float(self.ask(do, **options)["seconds"])

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def interleaved(programs: Mapping[str, Callable[[], float]], times: int = 9) -> dict[str, float]:
    """The median of what each returns: all once to warm up, then in turn, so that what slows one slows the others."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for place in range(times + 1):
        for name, program in programs.items():
            taken = program()
            if place:
                found[name].append(taken)
    return {name: statistics.median(values) for name, values in found.items()}


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """A fresh environment with these requirements; returns its Python."""
    uv = str(Path(sys.executable).parent / "uv")
    python = folder / "bin" / "python"
    once([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    once([uv, "pip", "install", "--quiet", "--python", str(python), *requirements], env={"VIRTUAL_ENV": str(folder)})
    return python


def feast(folder: Path) -> Path:
    """The Python of an environment with Feast and its DuckDB."""
    return environment(folder, [f"feast[duckdb]=={FEAST}"])


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
