"""Serving: what a caller sends becomes the row that a model sees; what was looked up is noted for the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

from fullcircle.errors import RequestInvalid
from fullcircle.features.answering import Plan
from fullcircle.features.definitions import digest, outputs
from fullcircle.features.moments import moment
from fullcircle.features.parts import Vector
from fullcircle.runtimes.scorer import Enriched
from fullcircle.runtimes.values import loggable
from fullcircle.types.contract import Contract, Problem
from fullcircle.types.definitions import ViewSpec

Row = Mapping[str, Any]
History = Callable[[ViewSpec, Sequence[Row], Sequence[int]], list[Vector]]


class Enricher:
    """Completes rows with the features of a view: what the caller passes is kept, the rest is looked up by its keys.

    A row that brings the view's column of time is answered as of that time: from the online store where that is
    exact, else from ``history`` where there is one. Threads may share it: one at a time looks up.
    """

    def __init__(
        self,
        plan: Plan,
        contract: Contract,
        *,
        history: History | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.spec = plan.spec
        self._plan, self._history, self._clock = plan, history, clock
        self._kinds = outputs(plan.spec)
        self._wanted = frozenset(contract.names) & self._kinds.keys()
        self._private = frozenset(column.name for column in contract.columns if column.private)
        asked = {name for function in plan.spec.functions for name in function.inputs} & plan.spec.request.keys()
        self._request = sorted(asked - self._private)
        self._lock = threading.Lock()
        self._known = {"view": plan.spec.name, "definition": digest(plan.spec)}

    def __call__(self, rows: Sequence[object]) -> list[Enriched]:
        """One completed row for each, in order.

        A row that cannot be looked up gets a problem, its neighbours do not.
        """
        with self._lock:
            return self._completed_all(rows)

    def _completed_all(self, rows: Sequence[object]) -> list[Enriched]:
        found: list[Enriched] = [Enriched(row) for row in rows]
        asked: list[tuple[int, Row, int]] = []
        now = self._clock()
        for place, row in enumerate(rows):
            if isinstance(row, Mapping) and not self._wanted <= row.keys():
                at = self._moment(row, now)
                if isinstance(at, Problem):
                    found[place] = Enriched(row, (at,))
                else:
                    asked.append((place, row, at))
        for place, row, at, vector in self._answers(asked, now):
            found[place] = Enriched(row, (self._too_early(),)) if vector is None else self._completed(row, at, vector)
        return found

    def _moment(self, row: Row, now: int) -> int | Problem:
        value = row.get(self.spec.time)
        if value is None:
            return now
        try:
            return moment(value)
        except (RequestInvalid, OverflowError) as error:
            what = getattr(error, "what", str(error))
            return Problem(column=self.spec.time, reason="wrong_type", action="reject", text=what)

    def _answers(self, asked: list[tuple[int, Row, int]], now: int) -> list[tuple[int, Row, int, Vector | None]]:
        if not asked:
            return []
        past = None if self._history is None else partial(self._history, self.spec)
        vectors = self._plan.answer([row for _, row, _ in asked], [at for _, _, at in asked], now, past)
        return [(*one, vector) for one, vector in zip(asked, vectors, strict=True)]

    def _completed(self, row: Row, at: int, vector: Vector) -> Enriched:
        if vector.unkeyed:
            return Enriched(row, tuple(self._unkeyed(row, column) for column in vector.unkeyed))
        own = {name: value for name, value in row.items() if name not in self._kinds}
        values = {name: row[name] if name in row else plain(vector.values[name]) for name in self._wanted}
        passed = {name: logged(row[name]) for name in self._kinds if name in row and name not in self._private}
        lookup = {
            **self._known,
            "at": at,
            "values": {
                name: logged(value)
                for name, value in vector.values.items()
                if name not in row and name not in self._private
            },
            "states": {name: state for name, state in vector.states.items() if name not in self._private},
            **({"request": {name: loggable(row.get(name)) for name in self._request}} if self._request else {}),
            **({"passed": passed} if passed else {}),
            **({"failed": vector.failed} if vector.failed else {}),
        }
        return Enriched(own | values, (), lookup)

    def _too_early(self) -> Problem:
        text = "the online store does not reach back to this time; publish the view with an earlier exact_from"
        return Problem(column=self.spec.time, reason="outside", action="reject", text=text)

    def _unkeyed(self, row: Row, column: str) -> Problem:
        if row.get(column) is None:
            return Problem(column=column, reason="missing", action="reject", text="the key is missing")
        return Problem(
            column=column, reason="wrong_type", action="reject", text="the value cannot be a key of this view"
        )


def plain(value: Any) -> Any:
    """A feature as the contract reads it: decimals are floats, as they are in training frames."""
    return float(value) if isinstance(value, Decimal) else value


def logged(value: Any) -> Any:
    """A feature as it stands in the log: exact, in JSON. What JSON has no form for is text."""
    if isinstance(value, float):
        return value if value - value == 0.0 else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list):
        return [logged(one) for one in value]
    if isinstance(value, date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
