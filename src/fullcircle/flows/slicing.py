"""The worst slice of each stretch of time: evaluation's check on an even sample of the labelled rows."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.checks.slices import Slices as Check
from fullcircle.flows.lots import held as held_of
from fullcircle.monitoring.quality import fits
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project
from fullcircle.types.report import Measure

KEPT = 1500
"""Labelled rows of a stretch that slices are looked for in: whole rows, so fewer than for other figures."""
FEWEST = 100
WORST, LOSS = "worst_slice", "slice_loss"


class Slices:
    """Keeps labelled rows of each stretch as they pass. Which are kept depends on their ids alone."""

    def __init__(self, contract: Contract, bounds: Sequence[tuple[str, str]], protected: Sequence[str] = ()) -> None:
        """``bounds`` ascend, [since, until); "" is open. ``protected`` columns are cut like those of the contract."""
        self._contract, self._bounds = contract, tuple(bounds)
        self._columns = tuple(dict.fromkeys([*(each.name for each in contract.columns), *protected]))
        self._starts = [since for since, _ in bounds]
        self._kept: list[list[tuple[int, str, Prediction, Value]]] = [[] for _ in bounds]

    def passing(self, rows: Iterable[Prediction], outcomes: Mapping[str, Outcome]) -> Iterator[Prediction]:
        """The same rows, looked at on their way."""
        for row in rows:
            outcome = outcomes.get(row.id)
            if outcome is not None and outcome.value is not None and row.value is not None and not row.erased:
                self._take(row, outcome.value)
            yield row

    def measures(self, project: Project, place: int) -> tuple[Measure, ...]:
        """``worst_slice``, whose method says which it is and what is proven, and its ``slice_loss`` with its name.

        The mean loss in it, on the half of the rows that had no say in choosing it, with an interval for all slices
        that were kept, at once; nothing with fewer than 100 labelled rows.
        """
        kept = [(row, label) for _, _, row, label in self._kept[place]]
        if any(row.probabilities for row, _ in kept):
            kept = [(row, label) for row, label in kept if row.probabilities]
        if len(kept) < FEWEST:
            return ()
        found = Check().run(self._subject(project, kept))
        if isinstance(found, Skipped):
            return ()
        worst = next((each for each in found.measures if each.name == WORST), None)
        if worst is None or worst.value is None:
            return ()
        named = [
            each for each in found.measures if each.name == LOSS and (each.value, each.n) == (worst.value, worst.n)
        ]
        return (replace(worst, method=f"{found.text} {worst.method}"), *named[:1])

    def _take(self, row: Prediction, label: Value) -> None:
        place = bisect_right(self._starts, row.time) - 1
        if place < 0 or (self._bounds[place][1] and row.time >= self._bounds[place][1]):
            return
        known = label in self._contract.classes if self._contract.classes else True
        if not known or not fits(label, self._contract):
            return
        heap = self._kept[place]
        entry = (-crc32(row.id.encode()), row.id, row, label)
        if len(heap) < KEPT:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)

    def _subject(self, project: Project, kept: Sequence[tuple[Prediction, Value]]) -> Subject:
        import pandas as pd

        contract, rows = self._contract, [row for row, _ in sorted(kept, key=lambda pair: pair[0].id)]
        labels = {row.id: label for row, label in kept}
        held = {name: [held_of(row, name) for row in rows] for name in self._columns}
        frame = pd.DataFrame({name: pd.Series(values).infer_objects() for name, values in held.items()})
        kind = float if contract.task == "regression" else object
        predicted = np.array([row.value for row in rows], dtype=kind)
        names = [str(label) for label in contract.classes]
        shares = [[(row.probabilities or {}).get(name, np.nan) for name in names] for row in rows]
        return Subject(
            model=project.name,
            task=contract.task,
            actual=np.array([labels[row.id] for row in rows], dtype=kind),
            predicted=predicted,
            baseline=predicted,
            baseline_probabilities=None,
            probabilities=np.array(shares, dtype=float) if rows[0].probabilities else None,
            frame=frame,
            features=tuple(frame.columns),
            classes=contract.classes,
            unit=contract.label_unit,
            columns={each.name: each for each in contract.columns},
        )
