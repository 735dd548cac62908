"""The project file of a model that was trained elsewhere. Names are written with repr, whatever is in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fullcircle.exploration.writing import quoted

Task = Literal["regression", "classification"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write. ``gate`` is Python code, ``gaps`` are the features with missing values in the table.

    ``checks`` are those of the report, all where it is empty.
    """

    name: str
    origin: str
    data: str
    label: str
    task: Task
    features: tuple[str, ...]
    gaps: Sequence[str]
    test: float
    gate: str
    file: str = ""
    runtime: str = ""
    sha256: str = ""
    pickled: bool = False
    checks: tuple[str, ...] = ()


def gate(labels: Any, task: Task, *, probable: bool) -> str:
    """A gate that any useful model passes: no worse than one that learned nothing, as code with its comment."""
    if task == "regression":
        values = labels.to_numpy(dtype=float)
        limit = float(f"{math.nextafter(abs(values - values.mean()).mean(), math.inf):.3g}")
        return (
            f'fc.at_most("mae", {limit!r}),  # always answering the mean is wrong by so much. Put in what you need.'
        )
    classes = int(labels.nunique())
    if classes == 2 and probable:
        return 'fc.at_least("roc_auc", 0.5),  # 0.5 is a model that learned nothing, 1 a perfect one.'
    limit = math.floor(1000.0 / classes) / 1000.0
    return f'fc.at_least("balanced_accuracy", {limit!r}),  # a model that learned nothing has 1/{classes}.'


def text(plan: Plan) -> str:
    """The whole file."""
    lines = [
        f'"""{_line(plan.name)}: a model that was trained elsewhere ({_line(plan.origin)}), adopted by fullcircle.',
        "",
        "Everything here may be changed. What to do with it: docs/adopt.md",
        '"""',
        "",
        "import fullcircle as fc",
        "from fullcircle.development.adopted import Adopted",
        "",
        "project = fc.Project(",
        f"    name={quoted(plan.name)},",
        '    # Rows with the label. For rows by time: fc.Table(..., time="COLUMN"); the latest are then reported on.',
        f"    data=fc.Table({quoted(plan.data)}),",
        f"    label={quoted(plan.label)},",
        f"    task={quoted(plan.task)},",
        "    # The columns that the model was trained on, in its order.",
        "    features=[",
        *(f"        {quoted(name)}," for name in plan.features),
        "    ],",
        "    # The model as it is. To train it here, write fit(X, y) and put it in this place.",
        "    fit=Adopted(",
        "        __file__,",
        f"        {quoted(plan.file)},",
        f"        runtime={quoted(plan.runtime)},",
        f"        sha256={quoted(plan.sha256)},",
        *(["        allow_pickle=True,"] * plan.pickled),
        "    ),",
        *(["    # The model file runs code when it is loaded; whoever adopted it consented."] * plan.pickled),
        *(["    allow_pickle=True,"] * plan.pickled),
        "    # This share of the rows is reported on; from the others the contract learns what is usual.",
        f"    test={plan.test!r},",
        *([f"    checks=[{', '.join(map(quoted, plan.checks))}],"] * bool(plan.checks)),
        *_inputs(plan),
        "    gates=[",
        f"        {plan.gate}",
        "        # Take this in when you write fit: a new version then has to beat this one beyond chance.",
        '        # fc.beats("champion"),',
        "    ],",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _inputs(plan: Plan) -> list[str]:
    lines = [
        "    # What happens to a row in production that does not fit: reject, impute, flag or fallback.",
        "    inputs=fc.Inputs(",
        '        missing="reject",',
        '        unseen="flag",',
        '        outside="flag",',
    ]
    if plan.gaps:
        lines.append("        # These have gaps in the table, and the model answers them.")
        lines.append("        columns={")
        lines += [f'            {quoted(name)}: {{"nullable": True}},' for name in plan.gaps]
        lines.append("        },")
    return [*lines, "    ),"]


def _line(text: str) -> str:
    """Part of one line of a docstring: no quote, no backslash."""
    return "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in text)
