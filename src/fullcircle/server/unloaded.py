"""Which models were told to answer no more: a file beside served.json that every worker follows.

What is served is the ledger's affair, and nothing here changes it. Unloading a model makes this server let go of it,
and answer as if it did not have it; loading lets it answer again, by the version that served.json names then. Both
are remembered: a server that starts again leaves the same models out.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

import msgspec

from fullcircle.errors import RequestInvalid

NAME = "unloaded.json"
_logger = logging.getLogger(__name__)


class _File(msgspec.Struct):
    models: list[str] = []


class Unloaded:
    """The file in this folder. Several processes may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._seen: object = ()
        self._names: frozenset[str] = frozenset()
        self._told = ""
        self._again = False  # the last look failed by what may pass while the file stays as it is

    def mark(self) -> object:
        """What changes with the file, and each second while it is to be read again; None where there is none."""
        if self._again:
            return int(time.monotonic())
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def names(self) -> frozenset[str]:
        """The models that are left out. A file that cannot be read changes nothing: what was known stays."""
        mark = self.mark()
        if mark != self._seen:
            self._again, told = False, ""
            try:
                self._names = self._read()
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._again, told = isinstance(error, OSError), type(error).__name__
                if self._told != told:
                    _logger.error("%s cannot be read, and is not followed: %s", NAME, told)
            self._told, self._seen = told, mark
        return self._names

    def change(self, model: str, *, out: bool) -> None:
        """Leave a model out from now on, or not any more. Raises RequestInvalid (409) where that cannot be."""
        try:
            with (self._path.parent / f"{NAME}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self._read()
                after = before | {model} if out else before - {model}
                if after != before:
                    fresh = self._path.with_name(f"{NAME}.{os.getpid()}")
                    fresh.write_bytes(msgspec.json.encode(_File(sorted(after))))
                    fresh.replace(self._path)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            _logger.error("what is to be loaded cannot be recorded: %s", type(error).__name__)
            raise RequestInvalid(
                "the server cannot record what it is to load",
                next_step=f"whoever runs it: look at {NAME} beside served.json, and who may write there",
                status=409,
            ) from error

    def _read(self) -> frozenset[str]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return frozenset()
        return frozenset(msgspec.json.decode(content, type=_File).models)
