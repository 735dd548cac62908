"""The commits of a feature table: numbered files that say which rows it holds, each sealed by the hash of the one before.

A commit is one file that is created or not: whoever creates number N has committed. Its rows lie in data files that
were written before it, so a crash leaves files that nobody refers to, never half a commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from fullcircle.errors import BlobCorrupt
from fullcircle.ledger.places import Place

ROWS_A_COMMIT = 2**32  # row numbers of commit N begin at N times this
_FOLDER = "commits"


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A Parquet file. ``base`` is the number of its first row, None where a column ``__s`` says each.

    ``part`` is "log" as appended; of a compaction "settled" (rows that can be a latest value, in order of key and
    visibility) or "rest" (those that cannot, which aggregates still need).
    """

    path: str
    rows: int
    bytes: int
    digest: str
    base: int | None = None
    part: Literal["log", "settled", "rest"] = "log"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit. A compaction lists all files of the table and all batches so far: what came before is not read again.

    ``time`` is when it was made, nanoseconds since 1970 in UTC.
    """

    number: int
    kind: Literal["append", "compact"]
    time: int
    previous: str
    files: tuple[DataFile, ...]
    columns: tuple[tuple[str, str], ...]
    batches: Mapping[str, str] = field(default_factory=dict)
    backfill: bool = False
    rows: int = 0
    last_event: int | None = None


@dataclass(frozen=True, kw_only=True)
class TableState:
    """What a table holds after commit ``number`` (0: before the first), whose hash is ``head``.

    ``batches`` maps the id of every batch ever appended to the digest of its content, ``columns`` each column to its
    kind, ``starts`` each data file to the commit that brought it in.
    """

    number: int = 0
    head: str = ""
    files: tuple[DataFile, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    batches: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    time: int = 0
    last_event: int | None = None

    @property
    def settled(self) -> bool:
        """Whether every row that can be a latest value is known to be one: nothing was appended since compaction."""
        return all(file.part != "log" for file in self.files)

    def latest_files(self) -> tuple[DataFile, ...]:
        """The files that hold every row that can be a latest value."""
        return tuple(file for file in self.files if file.part != "rest")


class Commits:
    """The commits of one table below a place. Threads and processes may share it; the newest state is remembered."""

    def __init__(self, place: Place, table: str) -> None:
        self._place = place
        self._folder = f"tables/{table}/{_FOLDER}"
        self._state = TableState()

    def state(self) -> TableState:
        """The present state. Raises BlobCorrupt where a commit is missing or is not the one the next was made after."""
        known = self._state
        numbers = sorted(self._numbers())
        newer = [number for number in numbers if number > known.number]
        if not newer:
            return known
        read = {number: self._read(number) for number in newer}
        compact = [number for number in newer if read[number][0].kind == "compact"]
        start = compact[-1] if compact else newer[0]
        state = known
        for number in range(known.number + 1, newer[-1] + 1):
            if number not in read:
                raise _damaged(self._path(number), "it is missing")
            commit, digest = read[number]
            if state.number == number - 1 and commit.previous != state.head:
                raise _damaged(self._path(number), "it does not follow the commit before it")
            if number >= start:
                state = after(state, commit, digest)
            else:  # covered by the compaction: its place in the chain is checked, its files are not needed
                state = TableState(number=number, head=digest)
        self._state = state
        return state

    def batch(self, number: int) -> str:
        """The id of the batch that commit ``number`` appended."""
        return next(iter(self._read(number)[0].batches), "")

    def add(self, commit: Commit) -> bool:
        """Create the commit, and say whether its number was still free."""
        return self._place.create(self._path(commit.number), msgspec.json.encode(commit, order="sorted"))

    def _numbers(self) -> set[int]:
        found = (path.rpartition("/")[2].removesuffix(".json") for path in self._place.names(self._folder))
        return {int(name) for name in found if name.isdecimal()}

    def _read(self, number: int) -> tuple[Commit, str]:
        data = self._place.read(self._path(number))
        try:
            commit = msgspec.json.decode(data, type=Commit)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _damaged(self._path(number), f"it cannot be read: {error}") from error
        if commit.number != number:
            raise _damaged(self._path(number), f"it says that it is number {commit.number}")
        return commit, hashlib.sha256(data).hexdigest()

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:08d}.json"


def after(state: TableState, commit: Commit, digest: str) -> TableState:
    """The state that a commit makes."""
    fresh = commit.kind == "compact"
    files = commit.files if fresh else (*state.files, *commit.files)
    starts = {**({} if fresh else state.starts), **{file.path: commit.number for file in commit.files}}
    return TableState(
        number=commit.number,
        head=digest,
        files=files,
        columns=dict(commit.columns),
        batches={**({} if fresh else state.batches), **commit.batches},
        starts=starts,
        rows=sum(file.rows for file in files),
        time=max(state.time, commit.time),
        last_event=max(
            (moment for moment in (state.last_event, commit.last_event) if moment is not None), default=None
        ),
    )


def _damaged(path: str, why: str) -> BlobCorrupt:
    return BlobCorrupt(
        f"the record of a feature table does not hold: {why}",
        received=path,
        allowed="every commit, each as it was made",
        next_step="restore it from a backup; nothing was changed",
    )
