"""Evaluate a file of answers made elsewhere: which column is what, and a clear word where that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullcircle.errors import ColumnMissing, ProjectInvalid
from fullcircle.flows.evaluate import evaluate as evaluate_given
from fullcircle.tables import reading
from fullcircle.types.progress import Progress
from fullcircle.types.report import Report
from fullcircle.types.table import Table


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of the file is what. ``probability`` are texts ``CLASS=COLUMN``, or one ``COLUMN`` alone."""

    actual: str | None = None
    predicted: str | None = None
    probability: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    weight: str | None = None
    task: str | None = None


def is_table(path: str) -> bool:
    """Whether a path means a file of rows and not a project."""
    return Path(path).suffix.lower() in (".csv", ".parquet", ".pq")


def refuse_columns(*options: Any) -> None:
    """Refuse options that say what columns of a file are, where a project was given."""
    if any(options):
        raise ProjectInvalid(
            "--actual, --predicted, --probability, --by, --weight and --task belong to a file of answers",
            received="a project",
            allowed="--run, --out",
            next_step="a project says these things itself",
        )


def refuse_run(run: str | None) -> None:
    """Refuse a run where a file of answers was given: it would not be looked at."""
    if run is not None:
        raise ProjectInvalid(
            "--run belongs to a project",
            received="a file of answers",
            allowed="--actual, --predicted, --probability, --by, --weight, --task, --out",
            next_step="leave --run out, or name the project",
        )


def evaluate(path: Path, columns: Columns, *, out: Sequence[Path] = (), progress: Progress | None = None) -> Report:
    """The report on the answers in a file. The other columns are what slices and leaks are looked for in.

    Raises ColumnMissing for a column that the file does not have, ProjectInvalid where it is not said which column
    holds the labels and which the answers, and the errors of reading and of ``evaluate``.
    """
    if columns.actual is None or not (columns.predicted or columns.probability):
        raise ProjectInvalid(
            "it is not said which columns hold the true labels and the answers",
            received=f"--actual {columns.actual or 'missing'}, --predicted {columns.predicted or 'missing'}",
            allowed="--actual COLUMN with --predicted COLUMN, --probability CLASS=COLUMN, or both",
            next_step=f"fullcircle evaluate {path.name} --actual y --predicted y_hat",
        )
    pairs = [_pair(text) for text in columns.probability]
    _refuse_twice([name for name, _ in pairs if name], "a class has two columns of probabilities")
    used = [
        columns.actual,
        *(column for _, column in pairs),
        *(name for name in (columns.predicted, columns.weight) if name),
    ]
    _refuse_twice(used, "a column is named for two things")
    frame = reading.read(Table(str(path.absolute())), folder=Path.cwd(), columns=())
    absent = [name for name in (*used, *columns.by) if name not in frame.columns]
    if absent:
        raise ColumnMissing(
            "the file lacks columns that were asked for",
            received=", ".join(absent),
            allowed=", ".join(str(name) for name in frame.columns[:40]),
            next_step="check the names: the first line of a CSV holds them",
        )
    shares = frame[[column for _, column in pairs]].to_numpy() if pairs else None
    told = frame[[name for name in (columns.actual, columns.predicted) if name]]
    return evaluate_given(
        None,
        frame[[name for name in frame.columns if name not in used]],
        frame[columns.actual],
        predicted=frame[columns.predicted] if columns.predicted else None,
        probabilities=shares,
        classes=_classes([name for name, _ in pairs], told),
        weights=frame[columns.weight] if columns.weight else None,
        protected=columns.by,
        task=columns.task,
        name=path.stem,
        out=out,
        progress=progress,
    )


def _pair(text: str) -> tuple[str, str]:
    """``CLASS=COLUMN``; a column alone has no class."""
    name, equals, column = text.partition("=")
    return (name, column) if equals else ("", name)


def _refuse_twice(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProjectInvalid(
            what,
            received=", ".join(twice),
            allowed="each one once among --actual, --predicted, --probability and --weight",
            next_step="name the column that is meant",
        )


def _classes(named: Sequence[str], told: Any) -> list[Any] | None:
    """The classes in the order of their columns, as the labels write them; the other one first where one is named."""
    if not any(named):
        return None
    values = dict.fromkeys(value for column in told for value in told[column].dropna().unique().tolist())
    by_text = {str(value): value for value in values}
    unknown = [name for name in named if name not in by_text]
    others = [value for text, value in by_text.items() if text not in named]
    if unknown or (len(named) == 1 and len(others) != 1):
        raise ProjectInvalid(
            "it is not known which class each column of probabilities belongs to",
            received=", ".join(f"--probability {name}=..." for name in named),
            allowed=", ".join(f"--probability {text}=COLUMN" for text in list(by_text)[:10]),
            next_step="name one column for each class; of two classes the second is enough",
        )
    found = [by_text[name] for name in named]
    return [*others, *found] if len(named) == 1 else found
