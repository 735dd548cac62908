"""Score a source of any size into a file: in bounded memory, with all cores, and it can be stopped and continued."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.deployment import parts, sources
from fullcircle.deployment.answering import reserved
from fullcircle.deployment.batch import Scored, counted
from fullcircle.deployment.making import Job, Part, check_free, opened
from fullcircle.deployment.pool import Numbered, Pool
from fullcircle.deployment.resuming import Begun
from fullcircle.deployment.sources import Source, Stretch
from fullcircle.deployment.target import SILENT
from fullcircle.errors import TableUnreadable
from fullcircle.types.contract import Contract
from fullcircle.types.progress import Progress

STRETCH = 20_000
"""Rows that are answered at once."""

_FEW = 2  # so many stretches are done sooner than a second process has started


@dataclass(frozen=True, kw_only=True)
class Model:
    """Who answers: the contract, what tells this version from others, and how a process opens it (see ``Job``)."""

    contract: Contract
    origin: Mapping[str, str]
    opener: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class _Changed(Exception):
    """A source gave other rows than before the run was stopped."""


def score_source(
    model: Model,
    source: Source,
    results: Path,
    *,
    workers: int = 1,
    restart: bool = False,
    stretch: int = STRETCH,
    progress: Progress = SILENT,
) -> Scored:
    """Answer all rows of ``source`` and write them to ``results`` (.csv, .parquet, .jsonl), rejected ones apart.

    Every column of the source is carried along as it is. Parts are kept in NAME.parts beside the result until it is
    whole: stopped in whatever way, the same call goes on with what is missing, unless the source, the model or
    ``stretch`` is another, or ``restart`` is said. ``workers`` processes share the work; 1 is this one, as for a
    source so small that starting others would take longer.

    Raises TableUnreadable, DataUnfit (no rows, a column with the name of a result), ScoringFailed, and what the
    recorder raises.
    """
    suffix = results.suffix.lower()
    if suffix not in parts.SUFFIXES:
        raise TableUnreadable(
            "the form of the result cannot be told from its name",
            received=str(results),
            allowed=", ".join(parts.SUFFIXES),
            next_step="give the file one of these suffixes",
        )
    names = source.names()
    check_free(names, reserved(model.contract, recorded=True))
    origin = {**source.identity, **model.origin, "stretch": str(stretch), "columns": ", ".join(names)}
    with Begun(results, origin, restart=restart) as begun:
        if begun.note:
            progress.note(begun.note)
        job = Job(model.opener, dict(model.arguments), str(begun.folder), suffix, names)
        run = _Run(source, begun, job, workers, stretch, progress)
        try:
            run.all()
        except _Changed:
            progress.note("starts anew: the source gives other rows than before")
            begun.clear()
            run.all()
        if source.steady and sources.file_source(Path(source.identity["path"])).identity != source.identity:
            raise TableUnreadable(
                "the file was changed while it was read", received=source.identity["path"], next_step="score it again"
            )
        if not begun.done:
            begun.finish()
            raise sources.no_rows(source)
        return _joined(begun, results, names, model.contract)


class _Run:
    """Makes what is missing."""

    def __init__(
        self, source: Source, begun: Begun, job: Job, workers: int, stretch: int, progress: Progress
    ) -> None:
        self._source, self._begun, self._job = source, begun, job
        self._workers, self._stretch, self._progress = workers, stretch, progress
        self._total = 0
        self._digests: dict[int, str] = {}

    def all(self) -> None:
        """Make and list every part that is not there."""
        missing = self._missing()
        some = list(itertools.islice(missing, _FEW + 1))
        alone = self._workers == 1 or len(some) <= _FEW
        rows = sum(part.rows for part in self._begun.done.values())
        with _made(self._job, 1 if alone else self._workers, itertools.chain(some, missing)) as found:
            del some
            for part in found:
                self._begun.add(msgspec.structs.replace(part, source=self._digests.pop(part.number, "")))
                rows += part.rows
                self._progress.advance(rows, max(self._total, rows) if self._total else 0)

    def _missing(self) -> Iterator[Numbered]:
        for number, stretch in enumerate(self._source.stretches(self._stretch)):
            self._total = round((stretch.first + stretch.rows) / stretch.share) if stretch.share else 0
            if not self._source.steady:
                self._digests[number] = sources.digest(stretch)
            done = self._begun.done.get(number)
            if done is None:
                yield number, stretch
            elif done.rows != stretch.rows or done.source != self._digests.pop(number, ""):
                raise _Changed


@contextmanager
def _made(job: Job, workers: int, numbered: Iterator[tuple[int, Stretch]]) -> Iterator[Iterator[Part]]:
    if workers == 1:
        first = next(numbered, None)
        if first is None:
            yield iter(())
            return
        with opened(job) as maker:
            yield (maker.make(number, stretch) for number, stretch in itertools.chain([first], numbered))
        return
    with Pool(job, workers) as pool:
        yield pool.parts(numbered)


def _joined(begun: Begun, results: Path, names: list[str], contract: Contract) -> Scored:
    found = [begun.done[number] for number in sorted(begun.done)]
    verdicts: Counter[str] = Counter()
    for part in found:
        verdicts.update(part.verdicts)
    rejects = results.with_name(f"{results.stem}.quarantine{results.suffix}")
    whole = [*names, *reserved(contract, recorded=True)]
    answers = {"prediction", *reserved(contract, recorded=True)[5:]}
    if verdicts["rejected"]:
        bad = [begun.path(part.bad) for part in found if part.bad]
        parts.join(rejects, [name for name in whole if name not in answers], bad)
    # The results come last: where they are, the quarantine file is complete.
    parts.join(results, whole, [begun.path(part.good) for part in found])
    if not verdicts["rejected"]:
        rejects.unlink(missing_ok=True)
    begun.finish()
    return counted(verdicts, results, rejects)
