"""One part of a result from one stretch of a source: read, judged, answered, logged, written. In any process."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.deployment import parts, sources
from fullcircle.deployment.answering import Answerer, Recorder, reserved
from fullcircle.deployment.sources import Stretch
from fullcircle.errors import DataUnfit, TableUnreadable
from fullcircle.runtimes.scorer import Scorer


class Job(msgspec.Struct, frozen=True):
    """What every part of a result has in common.

    ``opener`` names a function as "module:function": with ``arguments`` it gives a context manager of the scorer and
    the recorder (or None), in whatever process. ``names`` are the columns that are carried along.
    """

    opener: str
    arguments: dict[str, Any]
    folder: str
    suffix: str
    names: list[str]


class Part(msgspec.Struct, frozen=True):
    """A part that is written: its files in the folder of parts with their SHA-256; ``bad`` is "" without rejects.

    ``source`` is the digest of the stretch, where the source does not stand still.
    """

    number: int
    rows: int
    verdicts: dict[str, int]
    good: str
    good_digest: str
    bad: str = ""
    bad_digest: str = ""
    source: str = ""


class Maker:
    """Makes parts of one job. For one thread at a time."""

    def __init__(self, job: Job, scorer: Scorer, recorder: Recorder | None) -> None:
        self._job = job
        self._contract = scorer.contract
        self._answerer = Answerer(scorer, recorder)
        self._reserved = frozenset(reserved(scorer.contract, recorded=recorder is not None))

    def make(self, number: int, stretch: Stretch) -> Part:
        """Answer a stretch and write its part. Raises TableUnreadable and DataUnfit, and what the recorder raises."""
        import numpy as np

        columns, carried, rows = sources.columns(stretch, self._contract)
        if rows is not None:
            check_free(list(dict.fromkeys(name for row in rows for name in row)), self._reserved)
            if self._job.suffix != ".jsonl":
                carried, rows = sources.lists(rows, self._job.names, stretch.line), None
        answered = self._answerer.answer(columns, stretch.first)
        whole = {**carried, **answered.columns}
        rejects = {name: column for name, column in whole.items() if name not in self._answers}
        good, good_digest = self._write(number, "good", whole, rows, ~answered.rejected)
        bad, bad_digest = "", ""
        if np.any(answered.rejected):
            bad, bad_digest = self._write(number, "bad", rejects, rows, answered.rejected)
        return Part(
            number=number,
            rows=stretch.rows,
            verdicts=dict(answered.verdicts),
            good=good,
            good_digest=good_digest,
            bad=bad,
            bad_digest=bad_digest,
        )

    @property
    def _answers(self) -> frozenset[str]:
        return self._reserved - {"row", "verdict", "problems", "prediction_id"}

    def _write(self, number: int, kind: str, columns: Mapping[str, Any], rows: Any, chosen: Any) -> tuple[str, str]:
        import pyarrow as pa

        kept = columns
        if not chosen.all():
            mask = pa.array(chosen)
            kept = {
                name: list(itertools.compress(column, chosen)) if isinstance(column, list) else column.filter(mask)
                for name, column in columns.items()
            }
        data = parts.content(self._job.suffix, kept, None if rows is None else list(itertools.compress(rows, chosen)))
        # A name of its own: what a killed run still writes never meets what the next one writes.
        name = f"{number:06d}-{secrets.token_hex(6)}.{kind}"
        Path(self._job.folder, name).write_bytes(data)
        return name, hashlib.sha256(data).hexdigest()


@contextmanager
def opened(job: Job) -> Iterator[Maker]:
    """The maker of a job, with all that it needs opened in this process."""
    module, _, function = job.opener.partition(":")
    with getattr(importlib.import_module(module), function)(**job.arguments) as (scorer, recorder):
        yield Maker(job, scorer, recorder)


def check_free(names: list[str], ours: frozenset[str] | list[str]) -> None:
    """Raises DataUnfit where a column has the name of a result column, TableUnreadable where two have one name."""
    taken = [name for name in names if name in ours]
    if taken:
        raise DataUnfit(
            "a column of the table has the name of a result column",
            received=", ".join(taken),
            allowed=f"any name but {', '.join(sorted(ours))}",
            next_step="rename the column",
        )
    if len(set(names)) != len(names):
        raise TableUnreadable(
            "the table has a column name twice",
            received=", ".join(sorted({name for name in names if names.count(name) > 1})[:5]),
            allowed="each name once",
            next_step="rename the columns",
        )
