"""The parts of a result that is not finished, so that the same command goes on where it was stopped.

They lie in ``NAME.parts`` beside the result: ``manifest.json`` says what they were made of, ``done.jsonl`` lists
each part when it is whole, with its SHA-256. What is not listed, or has another digest, does not count.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fullcircle.deployment.making import Part
from fullcircle.errors import ScoringFailed, TableUnreadable

_MANIFEST, _DONE, _LOCK = "manifest.json", "done.jsonl", "lock"


class Begun:
    """The parts of one result. The ``with`` block holds them against other processes; leaving it keeps them."""

    def __init__(self, results: Path, origin: Mapping[str, str], *, restart: bool = False) -> None:
        """``origin`` says what the parts are made of. Parts of another origin are thrown away, with ``restart`` all.

        Raises TableUnreadable where the folder cannot be made, ScoringFailed where another process has it.
        """
        self.folder = results.with_name(f"{results.name}.parts")
        self.note = ""
        """What was found, in words."""
        self._origin = dict(origin)
        self._handle = self._locked()
        self.done = self._found(restart)
        """The parts that are whole, by number."""
        self._write_list()

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        self._list.close()
        os.close(self._handle)

    def path(self, name: str) -> Path:
        """Where a file of a part lies."""
        return self.folder / name

    def add(self, part: Part) -> None:
        """List a part that is whole."""
        self.done[part.number] = part
        self._list.write(msgspec.json.encode(part) + b"\n")
        self._list.flush()

    def clear(self) -> None:
        """Throw all parts away."""
        self.done = {}
        self._list.close()
        self._begin()
        self._write_list()

    def finish(self) -> None:
        """The result is whole: nothing of this is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_list(self) -> None:
        """Begin the list with what counts: a crash may have left half a line at its end."""
        draft = self.folder / f"{_DONE}.new"
        draft.write_bytes(b"".join(msgspec.json.encode(part) + b"\n" for part in self.done.values()))
        draft.replace(self.folder / _DONE)
        self._list = (self.folder / _DONE).open("ab")

    def _locked(self) -> int:
        path = self.folder / _LOCK
        while True:
            try:
                self.folder.mkdir(exist_ok=True)
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise TableUnreadable(
                    f"the result cannot be written there: {error.strerror}",
                    received=str(self.folder),
                    next_step="choose a folder that exists and can be written",
                ) from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
            except BlockingIOError as error:
                os.close(handle)
                raise ScoringFailed(
                    "another process is writing this result",
                    received=str(self.folder),
                    next_step="wait for it, or give the result another name",
                ) from error
            except FileNotFoundError:
                pass  # the other finished, and took the folder with it
            os.close(handle)

    def _found(self, restart: bool) -> dict[int, Part]:
        try:
            before = msgspec.json.decode((self.folder / _MANIFEST).read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            self._begin()
            return {}
        if restart or before != self._origin:
            changed = [name for name in self._origin | before if before.get(name) != self._origin.get(name)]
            why = "as asked" if restart else f"what was begun had another {', '.join(changed)}"
            self.note = f"starts anew: {why}"
            self._begin()
            return {}
        found = {part.number: part for part in self._listed() if self._whole(part)}
        if found:
            rows = sum(part.rows for part in found.values())
            self.note = f"goes on where it was stopped: {rows:,} rows are answered"
        return found

    def _listed(self) -> list[Part]:
        try:
            lines = (self.folder / _DONE).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        parts = []
        for line in lines:
            try:
                parts.append(msgspec.json.decode(line, type=Part))
            except msgspec.DecodeError:
                continue  # cut by a crash: that part is made again
        return parts

    def _whole(self, part: Part) -> bool:
        files = [(part.good, part.good_digest), *([(part.bad, part.bad_digest)] if part.bad else [])]
        try:
            return all(_digest(self.path(name)) == digest for name, digest in files)
        except OSError:
            return False

    def _begin(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        draft = self.folder / f"{_MANIFEST}.new"
        draft.write_bytes(msgspec.json.encode(self._origin))
        draft.replace(self.folder / _MANIFEST)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
