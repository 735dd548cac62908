"""Score many rows at once: in chunks, with the numbers and verdicts of the server.

A result appears under its name only when it is complete: it is written beside it and renamed at the end. Answered
rows go to the results, rejected rows with what is wrong in them to a quarantine file. Both have every column of
the input, and those of ``answering.reserved``; ``row`` counts from 0. Where the predictions are recorded,
``prediction_id`` is the id of each in the log (``id`` alone is a name that tables have).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.deployment.answering import ID, probability, reserved, told
from fullcircle.deployment.making import check_free
from fullcircle.deployment.target import SILENT
from fullcircle.deployment.writing import Writer, writer_for
from fullcircle.errors import DataUnfit
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 5000


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Neighbouring rows and their answers. ``first`` is the place of the first of them in the input."""

    first: int
    inputs: pd.DataFrame
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a batch came to. ``verdicts`` counts rows by verdict, ``quarantine`` is "" when no row was rejected."""

    rows: int
    answered: int
    rejected: int
    verdicts: Mapping[str, int]
    results: str
    quarantine: str


def counted(verdicts: Counter[str], results: Path, rejects: Path) -> Scored:
    """What a batch came to, from its rows by verdict and its two files."""
    total = verdicts.total()
    return Scored(
        rows=total,
        answered=total - verdicts["rejected"],
        rejected=verdicts["rejected"],
        verdicts=dict(sorted(verdicts.items())),
        results=os.fspath(results),
        quarantine=os.fspath(rejects) if verdicts["rejected"] else "",
    )


def score(
    scorer: Scorer,
    source: pd.DataFrame | Iterable[pd.DataFrame] | Sequence[Mapping[str, Any]],
    *,
    chunk: int = CHUNK,
    progress: Progress = SILENT,
) -> Iterator[Chunk]:
    """Answer all rows, at most ``chunk`` at a time, in order.

    ``source`` is a frame, frames one after another (for what does not fit into memory), or rows as the server takes
    them. Columns of a frame that the contract does not know are carried along; in a row they are judged by the
    contract, as online.
    """
    total = len(source) if isinstance(source, Sized) else 0
    done = 0
    for inputs, rows in _chunks(scorer, source, chunk):
        predictions = scorer.score(rows)
        yield Chunk(first=done, inputs=inputs, predictions=predictions)
        done += len(rows)
        progress.advance(done, max(total, done))


def score_to_file(
    scorer: Scorer,
    source: pd.DataFrame | Iterable[pd.DataFrame] | Sequence[Mapping[str, Any]],
    results: Path,
    *,
    quarantine: Path | None = None,
    chunk: int = CHUNK,
    progress: Progress = SILENT,
    record: Callable[[Sequence[Prediction]], Sequence[Prediction]] | None = None,
) -> Scored:
    """Answer all rows and write the results as CSV, Parquet or JSON lines, by the suffix of ``results``.

    Rejected rows go to ``quarantine``, by default NAME.quarantine.SUFFIX beside the results, in the same form; it
    is removed where nothing was rejected. Interrupted or failed, both files are as they were before. ``record``
    logs the predictions of a chunk, before any of them is written, and returns them with their ids. Raises
    TableUnreadable for an unknown suffix or a folder that cannot be written, DataUnfit where the input has a
    column with the name of a result column, or frames of different columns.
    """
    rejects = quarantine or results.with_name(f"{results.stem}.quarantine{results.suffix}")
    verdicts: Counter[str] = Counter()
    columns: list[str] = []
    with writer_for(results) as good, writer_for(rejects) as bad:
        for part in score(scorer, source, chunk=chunk, progress=progress):
            found = list(part.inputs.columns)
            columns = columns or found
            _check_same(columns, found)
            check_free([str(name) for name in found], reserved(scorer.contract, recorded=record is not None))
            if record is not None:
                part = replace(part, predictions=tuple(record(part.predictions)))
            frame = _result(scorer, part, recorded=record is not None)
            rejected = frame["verdict"] == "rejected"
            _write(good, frame[~rejected], part.first == 0)
            _write(bad, frame[rejected].drop(columns=_answers(frame)), False)
            verdicts.update(prediction.verdict.status for prediction in part.predictions)
        if verdicts["rejected"]:
            bad.finish()
        # The results come last: where they are, the quarantine file is complete.
        good.finish()
        if not verdicts["rejected"]:
            rejects.unlink(missing_ok=True)
    return counted(verdicts, results, rejects)


def _check_same(columns: list[str], found: list[str]) -> None:
    if found != columns:
        raise DataUnfit(
            "the frames have not the same columns in the same order",
            received=", ".join(sorted(set(map(str, found)) ^ set(map(str, columns)))) or "another order",
            next_step="give each the columns of the first",
        )


def _write(writer: Writer, frame: pd.DataFrame, needed: bool) -> None:
    if needed or len(frame):
        writer.write(frame)


def _chunks(
    scorer: Scorer, source: pd.DataFrame | Iterable[pd.DataFrame] | Sequence[Mapping[str, Any]], chunk: int
) -> Iterator[tuple[pd.DataFrame, Sequence[Mapping[str, Any]]]]:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        source = [source]
    elif isinstance(source, Sequence) and not any(isinstance(one, pd.DataFrame) for one in source[:1]):
        yield from _row_chunks(source, chunk)
        return
    for frame in source:
        if not isinstance(frame, pd.DataFrame):
            raise DataUnfit(
                "what is to be scored is neither a frame nor frames nor a list of rows",
                received=type(frame).__name__,
                next_step="pass a DataFrame, or a list of rows",
            )
        # An empty frame is a chunk too: the result has its columns.
        for start in range(0, max(len(frame), 1), chunk):
            part = frame.iloc[start : start + chunk]
            yield part.reset_index(drop=True), rows_of(part, scorer.contract)


def _row_chunks(
    rows: Sequence[Mapping[str, Any]], chunk: int
) -> Iterator[tuple[pd.DataFrame, Sequence[Mapping[str, Any]]]]:
    import pandas as pd

    names = list(dict.fromkeys(name for row in rows for name in row))
    for start in range(0, max(len(rows), 1), chunk):
        part = rows[start : start + chunk]
        columns = {name: pd.Series([row.get(name) for row in part], dtype=object) for name in names}
        yield pd.DataFrame(columns, index=range(len(part))), part


def _result(scorer: Scorer, part: Chunk, *, recorded: bool) -> pd.DataFrame:
    import pandas as pd

    found = part.predictions
    answers: dict[str, Any] = {
        "row": range(part.first, part.first + len(found)),
        "prediction": _typed([one.value for one in found], scorer),
        "verdict": pd.Series([one.verdict.status for one in found], dtype=object),
        "problems": pd.Series([told(one) for one in found], dtype=object),
    }
    if recorded:
        answers[ID] = pd.Series([one.id for one in found], dtype=object)
    for label in map(str, scorer.contract.classes):
        chances = [(one.probabilities or {}).get(label) for one in found]
        answers[probability(label)] = pd.Series(chances, dtype="float64")
    return pd.concat([part.inputs, pd.DataFrame(answers, index=part.inputs.index)], axis=1)


def _typed(values: list[Any], scorer: Scorer) -> Any:
    import pandas as pd

    return pd.Series(values, dtype="float64" if scorer.contract.task == "regression" else object)


def _answers(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name == "prediction" or str(name).startswith("probability_")]
