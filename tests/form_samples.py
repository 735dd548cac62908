"""Small models of scikit-learn with their contracts and rows, to compare forms of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.form import FrameForm
from fullcircle.types.contract import Column, Contract

Matrix = np.ndarray[Any, Any]
CLASSES = {2: ("no", "yes"), 3: (0, 1, 2), 10: tuple(range(10))}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A fitted model, its contract, and rows of the kind it was fitted on."""

    contract: Contract
    model: Any
    rows: Matrix

    @property
    def native(self) -> FrameForm:
        """The measure of all forms."""
        return FrameForm(self.contract, self.model)

    @property
    def values(self) -> list[dict[str, Any]]:
        """The rows as callers send them."""
        return [dict(row) for row in Encoder(self.contract).values(self.rows)]


def columns(*, numbers: int = 3, missing: bool = True, whole: bool = False, categories: tuple[int, ...] = ()) -> Any:
    """Columns of a contract: numbers, a whole number and a boolean, categories."""
    return (
        *(Column(name=f"n{i}", kind="number", nullable=missing, low=-3.0, high=3.0) for i in range(numbers)),
        *((Column(name="k", kind="integer", low=0, high=9), Column(name="b", kind="boolean")) if whole else ()),
        *(
            Column(name=f"c{i}", kind="category", nullable=missing, categories=tuple(f"v{k}" for k in range(count)))
            for i, count in enumerate(categories)
        ),
    )


def contract(task: int, kinds: Any) -> Contract:
    """A contract of these columns: regression for 0, else as many classes."""
    if not task:
        return Contract(columns=kinds, label="y", task="regression", prior=0.0)
    return Contract(columns=kinds, label="y", task="classification", classes=CLASSES[task], prior=CLASSES[task][0])


def drawn(about: Contract, count: int, seed: int) -> Matrix:
    """Random rows: numbers with few digits, so that they meet splits, and missing values where they may be."""
    generator = np.random.default_rng(seed)
    found = np.empty((count, len(about.columns)))
    for place, column in enumerate(about.columns):
        match column.kind:
            case "number":
                found[:, place] = generator.normal(size=count).round(int(generator.integers(1, 4)))
            case "integer":
                found[:, place] = generator.integers(0, 10, count)
            case "boolean":
                found[:, place] = generator.integers(0, 2, count)
            case _:
                found[:, place] = generator.integers(0, len(column.categories), count)
        if column.nullable:
            found[generator.random(count) < 0.15, place] = np.nan
    return found


def fitted(make: Callable[[], Any], about: Contract, *, count: int = 150, seed: int = 0) -> Sample:
    """A model fitted on random rows whose label depends on them."""
    rows = drawn(about, count, seed)
    signal = np.nan_to_num(rows).sum(axis=1) + np.random.default_rng(seed + 1).normal(size=count)
    if about.task == "regression":
        label: Any = np.exp(signal / (1 + np.abs(signal).max()))
    else:
        ranks = signal.argsort().argsort() * len(about.classes) // count
        label = np.array(about.classes, dtype=object if isinstance(about.classes[0], str) else None)[ranks]
        label = label.astype(str) if isinstance(about.classes[0], str) else label
    model = make().fit(Encoder(about).frame(rows), label)
    return Sample(contract=about, model=model, rows=rows)


def same_bits(a: Any, b: Any) -> bool:
    """Equal in every bit, or both None."""
    if a is None or b is None:
        return a is b
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return left.shape == right.shape and left.dtype == right.dtype and left.tobytes() == right.tobytes()


def steady(form: Any, rows: Matrix) -> None:
    """Equal rows give equal bits, alone, in pairs, in another order, and among many."""
    answers, chances = form.ask(rows)
    order = np.random.default_rng(3).permutation(len(rows))
    again, table = form.ask(rows[order])
    assert same_bits(again, answers[order])
    assert chances is None or same_bits(table, chances[order])
    for size in (1, 2, 3, 7):
        parts = [form.ask(rows[begin : begin + size]) for begin in range(0, 42, size)]
        assert same_bits(np.concatenate([part[0] for part in parts])[:42], answers[:42])
        if chances is not None:
            assert same_bits(np.concatenate([part[1] for part in parts])[:42], chances[:42])
