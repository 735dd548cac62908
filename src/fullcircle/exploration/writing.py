"""The proposed project as a commented Python file. Names are written with repr: they may hold any character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fullcircle.exploration.columns import Column


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What to write. ``why`` says for label, task and time why they were chosen, ``gate`` is Python code.

    ``texts`` are the columns to read as text.
    """

    name: str
    path: str
    label: Column
    task: str
    time: str | None
    features: Sequence[Column]
    left_out: Mapping[str, str]
    why: Mapping[str, str]
    gate: str
    gate_why: str
    texts: Sequence[str] = ()
    prepare: Sequence[str] = ()
    notes: Sequence[str] = field(default=())


def text(draft: Draft) -> str:
    """The whole file."""
    estimator = "HistGradientBoostingRegressor" if draft.task == "regression" else "HistGradientBoostingClassifier"
    parts = [
        f'"""A first project, proposed from {_inside(draft.path)}. Look through it, change what you know better.\n\n'
        'Run it:  fullcircle run THIS_FILE\n"""\n',
        f"from sklearn.ensemble import {estimator}\n\nimport fullcircle as fc\n",
        *([_prepare(draft)] if draft.prepare else []),
        _fit(estimator),
        _project(draft),
    ]
    head, imports, *rest = parts
    return "\n\n".join([f"{head}\n{imports}", *rest])


def quoted(text: str) -> str:
    """A Python string in double quotes, wherever that needs no escape that repr did not write."""
    written = repr(text)
    return f'"{written[1:-1]}"' if written.startswith("'") and '"' not in written else written


def _inside(path: str) -> str:
    """A path inside a docstring: no quote, no backslash, one line."""
    return "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in path)


def _prepare(draft: Draft) -> str:
    steps = "".join(f"    {step}\n" for step in draft.prepare)
    return f"def prepare(frame):\n{steps}    return frame\n"


def _fit(estimator: str) -> str:
    return (
        "def fit(X, y):\n"
        "    # Takes numbers, categories and missing values as they are. Any scikit-learn estimator will do.\n"
        f'    return {estimator}(categorical_features="from_dtype", random_state=0).fit(X, y)\n'
    )


def _project(draft: Draft) -> str:
    table = [quoted(draft.path)]
    if draft.time is not None:
        table.append(f"time={quoted(draft.time)}")
    if draft.texts:
        table.append(f"text=[{', '.join(map(quoted, draft.texts))}]")
    if draft.prepare:
        table.append("prepare=prepare")
    lines = [
        "project = fc.Project(",
        f"    name={quoted(draft.name)},",
        *_time_comment(draft),
        f"    data=fc.Table({', '.join(table)}),",
        f"    # Chosen as the label because {_comment(draft.why['label'])}. If not, change the features too.",
        f"    label={quoted(draft.label.name)},",
        f"    # Chosen because {_comment(draft.why['task'])}.",
        f"    task={quoted(draft.task)},",
        *_left_out(draft),
        "    features=[",
        *(f"        {quoted(column.name)},  # {_described(column)}" for column in draft.features),
        "    ],",
        "    fit=fit,",
        *_inputs(draft),
        "    gates=[",
        f"        # {draft.gate_why}",
        f"        {draft.gate},",
        "        # Better than the version in production beyond chance; than no model while there is none.",
        '        fc.beats("champion"),',
        "    ],",
        "    # How many false alarms a year you can bear, over all columns together.",
        '    monitor=fc.Monitor(false_alerts="1 per year"),',
        ")",
    ]
    return "\n".join(lines) + "\n"


def _time_comment(draft: Draft) -> list[str]:
    if draft.time is None:
        return ["    # No column says when a row happened, so a seeded draw of rows is kept for the test."]
    return [
        f"    # {quoted(draft.time)} is taken as the time of a row: {_comment(draft.why['time'])}.",
        "    # The latest rows are kept for the test. A time is no feature; make hour or weekday of it in prepare.",
    ]


def _left_out(draft: Draft) -> list[str]:
    lines = [f"    # Note: {_comment(note)}" for note in draft.notes]
    if draft.left_out:
        lines.append("    # Left out:")
        lines += [f"    #   {quoted(name)}: {_comment(why)}" for name, why in draft.left_out.items()]
    return lines


def _described(column: Column) -> str:
    kinds = f"{column.distinct} categories" if column.look == "categories" else column.look
    return f"{kinds}, missing in {_share(column.gaps)} of the rows" if column.gaps else kinds


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _inputs(draft: Draft) -> list[str]:
    gaps = [column.name for column in draft.features if column.gaps]
    lines = [
        "    # What happens to a row in production that does not fit: reject, impute, flag or fallback.",
        "    inputs=fc.Inputs(",
        '        missing="reject",',
        '        unseen="flag",',
        '        outside="flag",',
    ]
    if gaps:
        lines.append(
            "        # These have gaps in the table; the model learns what a gap means, so a gap is welcome."
        )
        lines.append("        columns={")
        lines += [f'            {quoted(name)}: {{"nullable": True}},' for name in gaps]
        lines.append("        },")
    return [*lines, "    ),"]


def _comment(text: str) -> str:
    """One line, whatever it quotes."""
    return " ".join(text.split())
