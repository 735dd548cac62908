"""The project's own pytest files: found beside the project, run in a process of their own, read back."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from fullcircle.development.loading import DEFAULT_FILE, LoadedProject
from fullcircle.errors import MissingExtra
from fullcircle.types.tests import CaseResult

TIMEOUT = 600.0
"""Seconds that the project's own tests may take, all together."""
VARIABLE = "FULLCIRCLE_TESTED"
"""Names the file of what is under test, for the fixtures of ``fullcircle.testing.plugin``."""
_CONFIGS = ("pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_LONGEST = 200
_KIND = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt|Failed)\b")


def files(source: LoadedProject) -> tuple[Path, ...]:
    """The project's own test files, in order.

    Of a folder with ``project.py`` all ``test_*.py`` in it; of another project file ``houses.py`` what is named
    after it, ``test_houses.py`` and ``test_houses_*.py``: its neighbours may be anybody's.
    """
    stem = Path(source.file).stem
    patterns = ("test_*.py",) if source.file == DEFAULT_FILE else (f"test_{stem}.py", f"test_{stem}_*.py")
    return tuple(sorted({path for pattern in patterns for path in source.folder.glob(pattern) if path.is_file()}))


def run(
    source: LoadedProject, tested: Path, scratch: Path, *, timeout: float = TIMEOUT, private: bool = False
) -> tuple[CaseResult, ...]:
    """Run the project's own tests and give back the result of each; none where it has no test files.

    ``tested`` is the file of what is under test, ``scratch`` a folder for what pytest writes: nothing is written to
    the project's. After ``timeout`` seconds the process and all that it started are ended, and that is a failure.
    With ``private`` the messages of failures are left out, which may quote a row. Raises MissingExtra where there
    are tests and no pytest.
    """
    found = files(source)
    if not found:
        return ()
    if importlib.util.find_spec("pytest") is None:
        raise MissingExtra(
            "the project has tests of its own, and pytest is not installed to run them",
            received=", ".join(path.name for path in found[:5]),
            next_step="pip install pytest",
        )
    report, output = scratch / "report.xml", scratch / "output.txt"
    started = time.monotonic()
    code = _run(_command(source.folder, found, report, scratch), source.folder, tested, output, timeout)
    if code is None:
        seconds = time.monotonic() - started
        text = f"they did not end within {seconds:.0f} s, and were stopped"
        return (_failed("the project's own tests", text),)
    results = tuple(_read(report, private))
    return (*results, *_ending(code, results, output, private))


def _command(folder: Path, found: Sequence[Path], report: Path, scratch: Path) -> list[str]:
    """Pytest with the configuration in the project's folder, and with that of no folder above it."""
    config = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if config is None:
        config = scratch / "pytest.ini"
        config.write_text("[pytest]\n", encoding="utf-8")
    return [
        *(sys.executable, "-m", "pytest", "-q", "-p", "fullcircle.testing.plugin", "-c", str(config)),
        *(f"--rootdir={folder}", f"--junitxml={report}", "-o", "junit_family=xunit2"),
        *("-o", f"cache_dir={scratch / 'cache'}", *(str(path) for path in found)),
    ]


def _run(command: Sequence[str], folder: Path, tested: Path, output: Path, timeout: float) -> int | None:
    """The exit code of a command, None where it had to be stopped. Whatever it started ends with it."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    surroundings |= {VARIABLE: str(tested), "PYTHONDONTWRITEBYTECODE": "1"}
    with output.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(report: Path, private: bool) -> Iterator[CaseResult]:
    if not report.is_file():
        return
    try:
        root = ElementTree.parse(report).getroot()  # noqa: S314 - pytest's, in a process of ours
    except ElementTree.ParseError:
        return
    for case in root.iter("testcase"):
        parts = (case.get("classname", ""), case.get("name", ""))
        name = "::".join(part for part in parts if part)
        wrong = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = next((child for child in case if child.tag == "skipped"), None)
        if wrong is not None:
            yield _failed(name, _message(wrong, private))
        elif skipped is not None:
            yield CaseResult(name=name, kind="project", status="skipped", text=_message(skipped, private))
        else:
            yield CaseResult(name=name, kind="project", status="passed")


def _message(found: ElementTree.Element, private: bool) -> str:
    """The first line of what pytest says; with ``private`` the kind of the error alone."""
    text = next(iter((found.get("message") or found.text or "").strip().splitlines()), "")
    if text == "collection failure":  # what could not be imported stands further down
        raised = [line[1:].strip() for line in (found.text or "").splitlines() if line.startswith("E ")]
        text = raised[-1] if raised else text
    if not private:
        return text[:_LONGEST]
    kind = _KIND.match(text)
    return f"{kind.group() if kind else 'it failed'}; the message is not shown: the contract has private columns"


def _ending(code: int, results: Sequence[CaseResult], output: Path, private: bool) -> Iterator[CaseResult]:
    """What the exit code says beyond the single tests: pytest has to end well, and to have found a test."""
    if code == 0 and results:
        return
    if code in (1, 2) and any(result.status == "failed" for result in results):
        return
    if code == 5:
        yield _failed("the project's own tests", "the files hold no test that pytest finds")
        return
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1][:_LONGEST]}" if lines and not private else ""
    yield _failed("the project's own tests", f"pytest ended with exit code {code}{last}")


def _failed(name: str, text: str) -> CaseResult:
    return CaseResult(name=name, kind="project", status="failed", text=text)
