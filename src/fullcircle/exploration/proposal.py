"""Propose a first project for a table: label, task, time and features, with what was left out and why."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fullcircle.errors import DataUnfit
from fullcircle.exploration import leaks, writing
from fullcircle.exploration.columns import Column, label_of, look_at, named_as_id, names_rows, task_of, time_of
from fullcircle.tables import reading
from fullcircle.types.table import Table

_FEWEST_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The text of a project file and what was decided in it. ``left_out`` maps a column to the reason."""

    text: str
    name: str
    label: str
    task: Literal["regression", "classification"]
    time: str | None
    features: tuple[str, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def propose(path: Path, name: str | None = None, *, folder: Path | None = None) -> Proposal:
    """Look at the CSV or Parquet file at ``path`` and propose a project called ``name`` (after the file by default).

    ``folder`` is where the project file will be, beside the table by default. Raises the errors of reading a table,
    and DataUnfit where no column can be predicted or none is left to learn from.
    """
    path = Path(path)
    frame = reading.read(Table(path.name), folder=path.absolute().parent)
    texts = reading.coded(path)
    if texts:
        frame = reading.read(Table(path.name, text=texts), folder=path.absolute().parent)
    if len(frame) < _FEWEST_ROWS:
        raise DataUnfit(
            f"{path.name} has too few rows to learn from",
            received=f"{len(frame)} rows",
            allowed=f"{_FEWEST_ROWS} or more",
            next_step="give a table with more rows",
        )
    columns = [look_at(frame[column]) for column in frame.columns]
    guessed = label_of(columns)
    if guessed is None:
        raise DataUnfit(
            f"no column of {path.name} can be predicted",
            received=", ".join(f"{column.name} ({column.look})" for column in columns[:20]),
            allowed="a column of numbers, categories or yes and no, with two values or more",
            next_step="add the column that a model should learn",
        )
    label, label_why = guessed
    task, task_why = task_of(label)
    time = time_of(frame, [column for column in columns if column is not label])
    frame, prepare, notes = _with_labels(frame, label, task)
    features, left_out = _features(frame, columns, label, task, time[0].name if time else None)
    features, left_out, more = _without_sums(frame, features, left_out, label.name)
    gate, gate_why = _gate(frame[label.name], task)
    draft = writing.Draft(
        name=project_name(name or path.stem),
        path=os.path.relpath(path.absolute(), (folder or path.parent).absolute()),
        label=label,
        task=task,
        time=time[0].name if time else None,
        features=features,
        left_out=left_out,
        why={"label": label_why, "task": task_why, "time": time[1] if time else ""},
        gate=gate,
        gate_why=gate_why,
        texts=texts,
        prepare=prepare,
        notes=(*_about_codes(texts), *notes, *more),
    )
    return Proposal(
        text=writing.text(draft),
        name=draft.name,
        label=label.name,
        task=task,
        time=draft.time,
        features=tuple(column.name for column in features),
        left_out=left_out,
        notes=tuple(draft.notes),
    )


def project_name(text: str) -> str:
    """A name that a project may have, made of any text."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63].rstrip("-_")
    return plain or "project"


def _about_codes(texts: Sequence[str]) -> list[str]:
    return [
        f"{writing.quoted(name)} is whole numbers, some with zeros in front, so it is taken for a code and read as "
        "text; if it is a number, take it out of text=[...]"
        for name in texts
    ]


def _with_labels(frame: Any, label: Column, task: str) -> tuple[Any, list[str], list[str]]:
    """Rows that can be learned from, the steps of ``prepare`` that keep them, and what to say about it."""
    name, steps, notes = writing.quoted(label.name), [], []
    if label.gaps:
        steps += ["# Rows without a label cannot be learned from.", f"frame = frame[frame[{name}].notna()]"]
        notes.append(f"the label is missing in {label.gaps:.1%} of the rows; prepare leaves these out")
        frame = frame[frame[label.name].notna()]
    if task == "classification":
        rare = frame[label.name].value_counts()
        rare = rare[(rare > 0) & (rare < 2)]
        if len(rare):
            steps += [
                "# A class in one row only cannot be both learned and tested.",
                f'frame = frame[frame.groupby({name})[{name}].transform("size") >= 2]',
            ]
            notes.append(f"{len(rare)} of the classes occur in one row only; prepare leaves these rows out")
            frame = frame[~frame[label.name].isin(rare.index)]
            if len(frame) < _FEWEST_ROWS or frame[label.name].nunique() < 2:
                raise DataUnfit(
                    f"the classes of {label.name!r} occur too seldom to be learned",
                    received=f"{len(frame)} rows in classes of two rows or more",
                    allowed=f"{_FEWEST_ROWS} rows or more, in two classes or more",
                    next_step="give more rows, or merge rare classes",
                )
    return frame, steps, notes


def _features(
    frame: Any, columns: Sequence[Column], label: Column, task: str, time: str | None
) -> tuple[list[Column], dict[str, str]]:
    """The columns to learn from, and why the others are left out."""
    features: list[Column] = []
    left_out: dict[str, str] = {}
    for column in columns:
        if column.name in (label.name, time):
            continue
        why = named_as_id(column) or _unusable(column) or names_rows(frame[column.name], column)
        why = why or leaks.alone(frame[column.name], frame[label.name], classes=task == "classification")
        if why:
            left_out[column.name] = why
        else:
            features.append(column)
    if not features:
        raise DataUnfit(
            "no column is left to learn from",
            received="; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:10]),
            allowed="at least one column of numbers, categories or yes and no beside the label",
            next_step="add columns, or write the project by hand if a column was left out wrongly",
        )
    return features, left_out


def _unusable(column: Column) -> str:
    if column.look == "nothing usable":
        return "it holds nothing that can be learned from"
    if column.distinct < 2:
        return "it has the same value in every row"
    if column.look == "text":
        return "free text with many different values; make categories or numbers of it in prepare"
    if column.look == "times":
        return "a time; make numbers of it in prepare, such as the hour or the age in days"
    return ""


def _without_sums(
    frame: Any, features: list[Column], left_out: dict[str, str], label: str
) -> tuple[list[Column], dict[str, str], list[str]]:
    """Leave out columns that add up to the label, unless nothing else would be left."""
    parts = leaks.together(frame, [column.name for column in features], frame[label])
    if not parts:
        return features, left_out, []
    named = " and ".join(writing.quoted(part) for part in parts)
    rest = [column for column in features if column.name not in parts]
    if not rest:
        note = f"{named} together give {writing.quoted(label)} exactly; kept, as there is nothing else to learn from"
        return features, left_out, [note]
    why = f"{named} together give {writing.quoted(label)} exactly, and will not be known before it"
    return rest, {**left_out, **dict.fromkeys(parts, why)}, []


def _gate(labels: Any, task: str) -> tuple[str, str]:
    """A gate that any useful model passes: no worse than a model that learned nothing."""
    if task == "regression":
        values = labels.to_numpy(dtype=float)
        limit = _rounded_up(float(np.mean(np.abs(values - values.mean()))))
        return (
            f'fc.at_most("mae", {limit!r})',
            f"Always answering the mean is wrong by {limit:g} on average. Put in what you need.",
        )
    classes = int(labels.nunique())
    if classes == 2:
        return (
            'fc.at_least("roc_auc", 0.5)',
            "0.5 is a model that learned nothing, 1 a perfect one. Put in what you need.",
        )
    limit = math.floor(1000.0 / classes) / 1000.0
    return (
        f'fc.at_least("balanced_accuracy", {limit!r})',
        f"With {classes} classes a model that learned nothing has 1/{classes}. Put in what you need.",
    )


def _rounded_up(value: float) -> float:
    """Three significant digits, upwards."""
    if value <= 0.0:
        return 0.0
    factor = 10.0 ** (2 - math.floor(math.log10(value)))
    return float(f"{math.ceil(value * factor) / factor:.3g}")
