"""The commits of a feature table: numbered files that say which rows it holds, each with the hash of the one before.

A commit is one file that is created or not: whoever creates number N has committed. Its rows lie in data files that
were written before it, so a crash leaves files that nobody refers to, never half a commit.

**What may be removed.** Files that a compaction replaced, once that was made longer ago than readers take; no later
commit refers to them. Files that no commit refers to may be waiting for a commit that their process is about to make,
and no clock tells. So a file's name begins with the number of the commit that it was written after, and a compaction
sets a ``fence``: what was written after an earlier commit than that is not committed any more (whoever makes a later
commit has read the fence, and writes such files anew). Left behind are only those between the fence and now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from fullcircle.errors import BlobCorrupt
from fullcircle.ledger.places import Place

ROWS_A_COMMIT = 2**32  # row numbers of commit N begin at N times this
_FOLDER = "commits"
Part = Literal["log", "settled", "rest"]


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
    part: Part = "log"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit. A compaction lists all files of the table and all batches so far, in place of what came before.

    ``time`` is when it was made, nanoseconds since 1970 in UTC; ``fence``: see the module's text.
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
    fence: int = 0


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
    fence: int = 0

    @property
    def settled(self) -> bool:
        """Whether nothing was appended since a compaction: then each row in a part "settled" is a latest value."""
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
        """The present state. Raises BlobCorrupt where a commit is missing, altered or not after the one before."""
        known = self._state
        last = max(self._numbers(), default=0)
        if last < known.number:
            raise _damaged(self._path(known.number), "it is missing")
        # A folder that is listed while files come may show the later of two and not the earlier: each is asked for.
        read = {number: self._read(number) for number in range(known.number + 1, last + 1)}
        start = max((number for number, (commit, _) in read.items() if commit.kind == "compact"), default=0)
        state = known
        for number, (commit, digest) in read.items():
            if commit.previous != state.head:
                raise _damaged(self._path(number), "it does not follow the commit before it")
            # What a compaction covers: its place in the chain is checked, its files are not needed.
            state = after(state, commit, digest) if number >= start else TableState(number=number, head=digest)
        self._state = state
        return state

    def all(self) -> list[Commit]:
        """Every commit in order. Raises BlobCorrupt."""
        return [self._read(number)[0] for number in range(1, self.state().number + 1)]

    def hash_of(self, number: int) -> str | None:
        """The hash of commit ``number``, None where it is not there."""
        try:
            return self._read(number)[1]
        except (FileNotFoundError, BlobCorrupt):
            return None

    def batch(self, number: int) -> str:
        """The id of the batch that commit ``number`` appended."""
        return next(iter(self._read(number)[0].batches), "")

    def add(self, commit: Commit) -> bool:
        """Create the commit, and say whether its number was still free."""
        data = msgspec.json.encode(commit, order="sorted")
        return self._place.create(self._path(commit.number), data + b"\n" + _seal(data) + b"\n")

    def settle(self, number: int) -> None:
        """Make a commit safe that another process may just have made."""
        self._place.settle(self._path(number))

    def _numbers(self) -> set[int]:
        found = (path.rpartition("/")[2].removesuffix(".json") for path in self._place.names(self._folder))
        return {int(name) for name in found if name.isdecimal()}

    def _read(self, number: int) -> tuple[Commit, str]:
        try:
            data = self._place.read(self._path(number))
        except FileNotFoundError as error:
            raise _damaged(self._path(number), "it is missing") from error
        content, _, seal = data.removesuffix(b"\n").rpartition(b"\n")
        if seal != _seal(content):
            raise _damaged(self._path(number), "it was altered, or is not whole")
        try:
            commit = msgspec.json.decode(content, type=Commit)
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
        fence=max(state.fence, commit.fence),
    )


def removable(commits: Sequence[Commit], paths: Iterable[str], before: int) -> list[str]:
    """Of the data files at ``paths`` those that nobody needs: replaced before that moment, or behind the fence."""
    present: set[str] = set()
    replaced: dict[str, int] = {}
    fence = 0
    for commit in commits:
        if commit.kind == "compact":
            replaced |= dict.fromkeys(present, commit.time)
            present.clear()
        present |= {file.path for file in commit.files}
        fence = max(fence, commit.fence)
    found = []
    for path in set(paths) - present:
        written = path.rpartition("/")[2].partition("-")[0]
        orphan = path not in replaced and written.isdecimal() and int(written) < fence
        if orphan or replaced.get(path, before) < before:
            found.append(path)
    return sorted(found)


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _damaged(path: str, why: str) -> BlobCorrupt:
    return BlobCorrupt(
        f"the record of a feature table does not hold: {why}",
        received=path,
        allowed="every commit, each as it was made",
        next_step="restore it from a backup; nothing was changed",
    )
