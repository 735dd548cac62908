"""``python -I -m fullcircle.deployment.schedule STATE [--once]``: scores files again and again.

In the folder STATE it reads ``job.json`` (Job) and keeps ``runs.json`` (History). Each file is scored by a process of
its own, the ``score`` command, whose results appear under their name only when they are complete. Of a folder or a
pattern each file is scored once, and again when it changed; a file that is named is scored in every run. A run that
takes longer than the interval is followed by the next multiple of it: runs that were missed do not pile up. Two runs
never overlap, not even where a timer of the system and a keeper start them: a lock is held by the run and by the
process that scores, so that it outlives a run that was killed. Two files whose results would have one name are
refused.

SIGTERM ends what is being scored; the next run goes on from where it was, also after one that was killed: each file
is noted when it is done.
"""

from __future__ import annotations

import fcntl
import glob
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.deployment.keeper import write

JOB, RUNS, LOCK = "job.json", "runs.json", "run.lock"
FORMS = (".csv", ".parquet", ".jsonl")
MOST_RUNS = 50  # that are remembered
_WORDS = 300


class Job(msgspec.Struct, frozen=True):
    """See ``target.Schedule``. Paths are absolute."""

    command: tuple[str, ...]
    source: str
    out: str
    every: float
    folder: str


class One(msgspec.Struct, frozen=True):
    """How one file went. ``code`` is the exit code of the command, ``words`` what it said where it is not 0.

    ``done``: it is not scored again before it changes; also where all of its rows were rejected.
    """

    file: str
    out: str
    code: int
    seconds: float
    rows: int = 0
    rejected: int = 0
    words: str = ""
    done: bool = False


class Run(msgspec.Struct, frozen=True):
    """One run: when it began (UTC), how long it took, and its files. ``words`` says why it did not take place."""

    began: str
    seconds: float
    files: tuple[One, ...] = ()
    words: str = ""


class History(msgspec.Struct, frozen=True):
    """The last runs, the latest last; when the next is due (UTC); which files were scored, by size and time."""

    runs: tuple[Run, ...] = ()
    next: str = ""
    done: dict[str, tuple[int, int]] = {}
    started: float = 0.0


class _Scored(msgspec.Struct):
    rows: int
    rejected: int = 0


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop (0), or once: then the exit code is the worst of its files, 0 where there was none."""
    state = Path(arguments[0])
    job = msgspec.json.decode((state / JOB).read_bytes(), type=Job)
    work = Work(state, job)
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, lambda *_: work.stop())
    if "--once" in arguments[1:]:
        run = work.run()
        return max((one.code for one in run.files), default=0)
    sys.stdout.write('{"listening": "schedule"}\n')
    sys.stdout.flush()
    work.again_and_again()
    return 0


def recall(state: Path) -> History:
    """What was done so far; an empty history where nothing can be read."""
    try:
        return msgspec.json.decode((state / RUNS).read_bytes(), type=History)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return History()


def following(started: float, every: float, now: float) -> float:
    """When the next run is due: the first multiple of ``every`` after ``started`` that lies ahead. Seconds."""
    return started + every * max(1, math.floor((now - started) / every) + 1)


def files(source: str) -> list[str]:
    """The files that a source means now, by name: itself, those of the folder, or those of the pattern."""
    if os.path.isdir(source):
        found = [os.path.join(source, name) for name in os.listdir(source) if name.endswith(FORMS)]
    elif glob.has_magic(source):
        found = glob.glob(source)
    else:
        return [source]
    return sorted(path for path in found if os.path.isfile(path) and not os.path.basename(path).startswith("."))


def many(source: str) -> bool:
    """Whether a source means whatever files are there."""
    return os.path.isdir(source) or glob.has_magic(source)


def result(out: str, file: str, now: float) -> str:
    """The path of a file's result. ``{name}`` is the file's name without its suffix, ``{time}`` the time in UTC."""
    stem, suffix = os.path.splitext(os.path.basename(file))
    if out.endswith(FORMS):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        return out.replace("{time}", stamp).replace("{name}", stem)
    return os.path.join(out, f"{stem}.scored{suffix if suffix in FORMS else FORMS[0]}")


class Work:
    """Runs of one job. Used by one thread; ``stop`` may come from a signal."""

    def __init__(self, state: Path, job: Job) -> None:
        self._state, self._job = state, job
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End what is being scored, and begin nothing more."""
        self._stopped.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()

    def again_and_again(self) -> None:
        """Run whenever it is due, until stopped. The first run is due at once, or when the last one says."""
        while not self._stopped.is_set():
            known = recall(self._state)
            now = time.time()
            due = known.started + self._job.every
            if now >= due or known.started > now:  # the clock may have been set back
                try:
                    self.run()
                except OSError as error:  # a full disk: nothing can be noted, and it must not begin at once again
                    sys.stderr.write(f"the run cannot be noted: {error.strerror}\n")
                    self._stopped.wait(min(self._job.every, 30.0))
            else:
                self._stopped.wait(min(due - now, 5.0))

    def run(self) -> Run:
        """One run over the files of now, noted in the history."""
        began = time.time()
        with open(self._state / LOCK, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._note(Run(began=_utc(began), seconds=0.0, words="the run before has not ended"), began)
            clock = time.monotonic()
            done: list[One] = []
            for file, mark, clash in self._due(began):
                if self._stopped.is_set():
                    break
                one = self._clashed(file, began, clash) if clash else self._score(file, began, lock.fileno())
                done.append(one)
                if one.done and mark is not None and not self._stopped.is_set():
                    self._change(partial(_with_done, file, mark))
            run = Run(began=_utc(began), seconds=round(time.monotonic() - clock, 3), files=tuple(done))
            return self._note(run, began)

    def _due(self, began: float) -> Iterator[tuple[str, tuple[int, int] | None, str]]:
        """Files to score with their marks, and another file whose result would have the same name, "" for none.

        The mark is of before the file is scored: what changes meanwhile is scored again.
        """
        known, source = recall(self._state).done, files(self._job.source)
        # Results with a time in their names only meet those of the same run.
        meeting = [file for file in source if "{time}" not in self._job.out or _mark(file) != known.get(file)]
        by_result: dict[str, list[str]] = {}
        for file in meeting:
            by_result.setdefault(result(self._job.out, file, began), []).append(file)
        for file in source:
            mark = _mark(file)
            if mark is not None and mark == known.get(file) and many(self._job.source):
                continue
            others = by_result.get(result(self._job.out, file, began), [])
            yield file, mark, next((one for one in others if one != file), "")

    def _clashed(self, file: str, began: float, other: str) -> One:
        out = result(self._job.out, file, began)
        return One(
            file=file, out=out, code=2, seconds=0.0, words=f"its result would have the same name as that of {other}"
        )

    def _score(self, file: str, began: float, lock: int) -> One:
        out = result(self._job.out, file, began)
        clock = time.monotonic()
        try:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            Path(self._job.folder).mkdir(parents=True, exist_ok=True)
            self._child = subprocess.Popen(
                [*self._job.command, file, "--out", out, "--json"],
                cwd=self._job.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(lock,),  # the lock is let go of when the last of its holders ends
            )
        except OSError as error:
            words = f"it cannot be scored: {error.strerror}"
            return One(file=file, out=out, code=2, seconds=time.monotonic() - clock, words=words)
        if self._stopped.is_set():  # told to between the look and the start
            self._child.terminate()
        said, words_ = self._child.communicate()
        code, self._child = self._child.returncode, None
        try:
            scored, told = msgspec.json.decode(said, type=_Scored), True
        except msgspec.MsgspecError:
            scored, told = _Scored(rows=0), False
        words = (said + words_).decode(errors="replace").strip()[-_WORDS:] if code else ""
        return One(
            file=file,
            out=out,
            code=code if code >= 0 else 128 - code,
            seconds=round(time.monotonic() - clock, 3),
            rows=scored.rows,
            rejected=scored.rejected,
            words=words,
            done=code == 0 or (code == 1 and told),  # 1 without a word is a program that broke
        )

    def _note(self, run: Run, began: float) -> Run:
        def noted(known: History) -> dict[str, Any]:
            # In step with the first run: one that came a little late does not move all later ones.
            first = known.started if 0 < known.started <= began else began
            due = following(first, self._job.every, time.time())
            return {
                "runs": (*known.runs, run)[-MOST_RUNS:],
                "next": _utc(due),
                "done": {file: mark for file, mark in known.done.items() if os.path.exists(file)},
                "started": due - self._job.every,
            }

        self._change(noted)
        return run

    def _change(self, change: Callable[[History], dict[str, Any]]) -> None:
        """Change the history. A run that found another at work notes that beside it: one waits for the other."""
        with open(self._state / (RUNS + ".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = recall(self._state)
            write(self._state / RUNS, msgspec.json.encode(msgspec.structs.replace(known, **change(known))))


def _with_done(file: str, mark: tuple[int, int], known: History) -> dict[str, Any]:
    return {"done": {**known.done, file: mark}}


def _mark(file: str) -> tuple[int, int] | None:
    """By what a changed file is told; None where there is none. Looked at before it is scored."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
