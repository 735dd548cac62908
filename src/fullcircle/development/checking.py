"""Refuse data that cannot be learned from, before any training."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from fullcircle.development.kinds import kind_of
from fullcircle.errors import ColumnMissing, DataUnfit
from fullcircle.types.project import Project

FEWEST_ROWS = 20
Task = Literal["regression", "classification"]


def check_data(frame: Any, project: Project) -> Task:
    """Whether ``frame`` (a pandas DataFrame, labelled rows) can be learned from; returns the task.

    The task is the project's, or told from the label: text, categories and booleans are classes; integers are
    classes when there are at most two of them (``task="classification"`` says that more are meant); any
    other number is a quantity. Raises ColumnMissing where the project names a column that is absent, and
    DataUnfit for anything that could not be learned from or split.
    """
    _check_columns(frame, project)
    _check_rows(frame)
    for name in project.features:
        kind_of(frame[name], private=bool(project.inputs.columns.get(name, {}).get("private")))
    if project.data.time:
        _check_time(frame[project.data.time], project.data.time)
    return check_labels(frame[project.label], project.label, project.task)


def check_labels(labels: Any, name: str, task: Task | None = None) -> Task:
    """The task, given or told from labels (n values). Raises DataUnfit where they do not fit it."""
    _check_labelled(labels, name)
    task = task or _told(labels, name)
    if task == "regression":
        _check_quantity(labels, name)
    else:
        _check_classes(labels, name)
    return task


def _check_columns(frame: Any, project: Project) -> None:
    columns = [str(name) for name in frame.columns]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataUnfit(
            "the data has two columns of one name",
            received=", ".join(twice[:5]),
            allowed="each name once",
            next_step="rename or drop one of them in prepare",
        )
    asked = [project.label, *project.features, *([project.data.time] if project.data.time else []), *project.groups]
    absent = [name for name in dict.fromkeys(asked) if name not in columns]
    if absent:
        near = {name: difflib.get_close_matches(name, columns, n=1) for name in absent}
        meant = [f"{matches[0]} instead of {name}" for name, matches in near.items() if matches]
        raise ColumnMissing(
            "the project names a column that the data does not have",
            received=", ".join(absent[:10]),
            allowed=", ".join(columns[:40]) + (", ..." if len(columns) > 40 else ""),
            next_step=f"did you mean {', '.join(meant[:5])}?" if meant else "mend the name in the project file",
        )


def _check_rows(frame: Any) -> None:
    if len(frame) < FEWEST_ROWS:
        raise DataUnfit(
            "the table is empty" if len(frame) == 0 else "the table has too few rows to train and to test",
            received=f"{len(frame)} rows",
            allowed=f"at least {FEWEST_ROWS} rows",
            next_step="check the file, prepare, and the dates in since and until",
        )


def _check_time(times: Any, name: str) -> None:
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(times):
        if pd.api.types.is_numeric_dtype(times):
            raise _no_time(name, f"numbers, such as {times.iloc[0]!r}", "seconds or years? make it times in prepare")
        parsed = pd.to_datetime(times, errors="coerce", format="ISO8601", utc=True)
        wrong = times[parsed.isna() & times.notna()]
        if len(wrong):
            advice = "write times as 2026-11-23T18:00:00, or parse them in prepare with pandas.to_datetime"
            raise _no_time(name, f"{str(wrong.iloc[0])[:40]!r} in row {wrong.index[0]}", advice)
    if times.isna().any():
        raise _no_time(name, f"missing in {int(times.isna().sum())} rows", "leave these rows out in prepare")


def _no_time(name: str, received: str, advice: str) -> DataUnfit:
    return DataUnfit(
        f"the column of time, {name!r}, does not hold a time in every row",
        received=received,
        allowed="times, or text in ISO 8601",
        next_step=advice,
    )


def _check_labelled(labels: Any, name: str) -> None:
    missing = int(labels.isna().sum())
    if missing:
        all_of_them = missing == len(labels)
        raise DataUnfit(
            f"the label {name!r} is missing in {'every row' if all_of_them else 'some rows'}",
            received=f"{missing} of {len(labels)} rows",
            next_step="is it the right column?" if all_of_them else "leave rows without a label out in prepare",
        )


def told_task(labels: Any, name: str = "label") -> Task:
    """The task that labels (n values) tell: two whole numbers, text and booleans are classes, other numbers are not.

    Raises DataUnfit for labels that are neither.
    """
    import pandas as pd

    return _told(pd.Series(labels), name)


def _told(labels: Any, name: str) -> Task:
    kind = kind_of(labels)
    if kind in ("text", "category", "boolean"):
        return "classification"
    if kind == "integer" and labels.nunique() <= 2:
        return "classification"
    if kind == "time":
        raise _wrong_label(name, "a time", "a number or a class", "subtract a start in prepare to get a duration")
    return "regression"


def _check_quantity(labels: Any, name: str) -> None:
    kind = kind_of(labels)
    if kind not in ("integer", "number"):
        advice = 'take task="regression" away, or make the label a number in prepare'
        raise _wrong_label(name, f"a label of kind {kind}", "numbers for regression", advice)
    if labels.nunique() < 2:
        raise DataUnfit(
            f"the label {name!r} has the same value in every row",
            received=str(labels.iloc[0]),
            allowed="at least two different values",
            next_step="is it the right column? is the data filtered too hard?",
        )


def _check_classes(labels: Any, name: str) -> None:
    kind = kind_of(labels)
    whole = kind != "number" or bool((labels == labels.round()).all())
    if kind == "time" or not whole:
        advice = 'take task="classification" away, or make classes of the label in prepare'
        raise _wrong_label(name, f"a label of kind {kind}", "classes: text, whole numbers or booleans", advice)
    counts = labels.value_counts()
    counts = counts[counts > 0]
    if len(counts) < 2:
        raise DataUnfit(
            f"the label {name!r} has one class only",
            received=repr(counts.index[0]),
            allowed="at least two classes",
            next_step="is it the right column? is the data filtered too hard?",
        )
    rare = [str(value) for value in counts.index[counts < 2]]
    if rare:
        raise DataUnfit(
            f"{'a class' if len(rare) == 1 else f'{len(rare)} classes'} of the label {name!r} "
            "in one row only: it cannot be both learned and tested",
            received=", ".join(rare[:5]) + (", ..." if len(rare) > 5 else ""),
            allowed="at least two rows of each class",
            next_step='merge or drop rare classes in prepare; if the label is a quantity, write task="regression"',
        )


def _wrong_label(name: str, received: str, allowed: str, advice: str) -> DataUnfit:
    return DataUnfit(
        f"the label {name!r} does not fit the task", received=received, allowed=allowed, next_step=advice
    )
