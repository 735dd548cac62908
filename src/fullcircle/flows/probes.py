"""Rows that do not fit on purpose: one missing, one unseen, one outside. Each must get its verdict."""

from __future__ import annotations

from typing import Any

from fullcircle.deployment import client
from fullcircle.deployment.client import OPEN, Door
from fullcircle.runtimes.contracts import rows_of
from fullcircle.types.contract import Column, Contract
from fullcircle.types.turn import Probe


def send(url: str, model: str, contract: Contract, frame: Any, door: Door = OPEN) -> tuple[Probe, ...]:
    """Send a good row with one thing wrong in it, once per way of being wrong, and collect the answers."""
    (good,) = rows_of(frame.head(1), contract)
    wrong = list(_wrong_rows(contract, good))
    if not wrong:
        return ()
    answers = client.predict(url, model, [row for _, row in wrong], door=door)
    return tuple(
        Probe(title=title, row=row, prediction=prediction)
        for (title, row), prediction in zip(wrong, answers, strict=True)
    )


def _wrong_rows(contract: Contract, good: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    required = next((column for column in contract.columns if not column.nullable), None)
    category = next((column for column in contract.columns if column.kind == "category"), None)
    ranged = next((column for column in contract.columns if column.high is not None), None)
    if required is not None:
        found.append((f"{required.name} is missing", {**good, required.name: None}))
    if category is not None:
        found.append((f"{category.name} was never seen", {**good, category.name: "never seen before"}))
    if ranged is not None:
        found.append((f"{ranged.name} is far outside", {**good, ranged.name: _far_out(ranged)}))
    return found


def _far_out(column: Column) -> float | int:
    high, low = float(column.high or 0.0), float(column.low or 0.0)
    value = high + 10 * max(abs(high - low), 1.0)
    return int(value) if column.kind == "integer" else round(value, 2)
