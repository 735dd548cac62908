"""What is known of gates before a training: how many rows they need, so that nothing is trained in vain.

A gate by groups says no where one has too few rows, whatever the model answers. A gate on a figure goes by the end of
an interval, and its width goes with one over the square root of the rows: on fewer than ``telling`` rows it would
turn down even a model as good as the champion was in its own report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fullcircle.evaluation import groups, words
from fullcircle.evaluation.check import Frame
from fullcircle.evaluation.fairness.disparity import MOST_GROUPS
from fullcircle.evaluation.gates import FEWEST_ROWS
from fullcircle.types.gates import Gate
from fullcircle.types.report import Report


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A gate that needs ``rows`` test rows and has fewer. ``text`` says why and may name a group, ``told`` not."""

    gate: str
    rows: int
    text: str
    told: str


def lacking(gates: Sequence[Gate], kept: Frame, test: int, champion: Report | None) -> Lack | None:
    """The gate that lacks most rows, of those that are bound to say no to any model; None where none is.

    ``kept`` (n rows) are all new rows, of which the last ``test`` are those that the gates would be decided on. With
    the ``champion``'s own report, gates on a figure are asked as well.
    """
    found = [*_small_groups(gates, kept, test)]
    if champion is not None:
        found += _wide(gates, champion, test)
    return max(found, key=lambda each: each.rows, default=None)


def telling(gate: Gate, report: Report) -> int:
    """On how many rows the interval of a model as good as this report's keeps the gate's limit; 0 where none tells.

    None tells where the figure itself does not keep the limit, is not drawn (latency, size), or has no interval.
    """
    if gate.kind not in ("at_most", "at_least", "worth") or gate.by:
        return 0
    measure = report.measure(gate.metric)
    end = None if measure is None else measure.high if gate.kind == "at_most" else measure.low
    if measure is None or measure.value is None or end is None:
        return 0
    room = gate.limit - measure.value if gate.kind == "at_most" else measure.value - gate.limit
    width, rows = abs(measure.value - end), measure.n or report.rows
    if not (math.isfinite(room) and math.isfinite(width)) or room <= 0.0 or measure.better == "zero":
        return 0
    return math.ceil(rows * (width / room) ** 2)


def _small_groups(gates: Sequence[Gate], kept: Frame, test: int) -> Iterable[Lack]:
    for gate in gates:
        if not gate.by or any(name not in kept.columns for name in gate.by):
            continue
        codes, names = groups.of_rows(kept, gate.by)
        if len(names) > MOST_GROUPS:
            continue
        left_out = {groups.called(names, gate.by, text) for text in gate.without}
        came = np.bincount(codes, minlength=len(names))
        judged = np.bincount(codes[len(codes) - test :], minlength=len(names))
        asked = [place for place, name in enumerate(names) if name not in left_out]
        small = [place for place in asked if 0 < judged[place] < FEWEST_ROWS]
        absent = [place for place in asked if not judged[place]]
        if not small and absent and gate.kind == "fair" and (judged >= FEWEST_ROWS).sum() < 2:
            small = [max(absent, key=lambda place: int(came[place]))]  # one group has nothing to be compared with
        if not small:
            continue
        worst = min(small, key=lambda place: int(came[place]))
        has = f"has {judged[worst]} of the {words.rows(test)} to decide on; at least {FEWEST_ROWS} are needed"
        yield Lack(
            gate=gate.text,
            rows=max(test + 1, math.ceil(FEWEST_ROWS * len(kept) / int(came[worst]))),
            text=f"{names[worst]} {has}",
            told=f"one of the groups {has}",
        )


def _wide(gates: Sequence[Gate], champion: Report, test: int) -> Iterable[Lack]:
    for gate in gates:
        rows = telling(gate, champion)
        # More than it was judged by: the champion did not pass this gate itself, so its report is no measure of it.
        if test < rows <= champion.rows:
            why = (
                f"on the {words.rows(test)} to decide on, chance would hold a model as good as the champion "
                f"was in its report; on {rows:,} it would not"
            )
            yield Lack(gate=gate.text, rows=rows, text=why, told=why)
