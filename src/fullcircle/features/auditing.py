"""Auditing feature tables: is every commit the one the next was made after, is every file what was appended?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fullcircle.errors import BlobCorrupt
from fullcircle.features.log import TableLog
from fullcircle.types.facts import Fact


@dataclass(frozen=True, kw_only=True)
class TableProblem:
    """What does not hold of a feature table; ``seq`` is the fact that knew it otherwise, 0 where none did."""

    table: str
    seq: int
    text: str


def problems(logs: Iterable[TableLog], facts: Iterable[Fact]) -> Iterator[TableProblem]:
    """What does not hold: of the tables in themselves, and against the versions that training sets were made from."""
    known = [(fact.seq, part.split(":")) for fact in facts for part in str(fact.body.get("versions", "")).split()]
    for log in logs:
        try:
            log.verify()
        except (BlobCorrupt, FileNotFoundError) as error:
            yield TableProblem(table=log.spec.name, seq=0, text=getattr(error, "what", f"a file is gone: {error}"))
            continue
        for seq, parts in known:
            if len(parts) == 3 and parts[0] == log.spec.name and parts[1].isdecimal():
                yield from _changed(log, seq, int(parts[1]), parts[2])


def _changed(log: TableLog, seq: int, number: int, head: str) -> Iterator[TableProblem]:
    """Whether commit ``number`` still has the hash that a training set was made with."""
    if number and not (log.hash_of(number) or "").startswith(head):
        text = f"commit {number} is not the one that a training set was made from"
        yield TableProblem(table=log.spec.name, seq=seq, text=text)
