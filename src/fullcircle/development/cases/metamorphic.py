"""What must not change an answer: the order of rows and of columns, how many are asked together, and with whom."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from fullcircle.development.cases.comparing import apart, limit_of, same_bits, scale_of
from fullcircle.development.cases.judging import ask
from fullcircle.development.cases.rows import Row, cases, good_row
from fullcircle.development.cases.values import HUGE
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Contract
from fullcircle.types.prediction import Prediction
from fullcircle.types.tests import CaseKind, CaseResult

MOST_ROWS = 25
_MOST_TRIED = 400
ALONE = 12
"""Rows that are asked in calls of one, two and seven: about twenty calls, a second for a model of 50 ms a call."""

Answer = tuple[int, Prediction]
Asking = Callable[[], Iterator[Answer]]


def check(scorer: Scorer, rows: Sequence[Row]) -> tuple[CaseResult, ...]:
    """The results of asking about the same rows in other ways; ``rows`` are good ones.

    An answer has to have the same verdict and the same bits. Where the model adds up in BLAS, its numbers may be as
    far apart as ``limit_of`` says, relative to the largest of the answers; the result says which of the two held.
    """
    asked = [dict(row) for row in rows[:MOST_ROWS]]
    kept = copy.deepcopy(asked)
    reference = ask(scorer, asked)
    if isinstance(reference, str):
        return (CaseResult(name="good rows", kind="metamorphic", status="failed", text=reference),)
    limit, scale = limit_of(scorer), scale_of(scorer.contract, reference)
    results = [_compared(name, asking, reference, limit, scale) for name, asking in _askings(scorer, asked)]
    if any(list(now) != list(before) or not same_bits(now, before) for now, before in zip(asked, kept, strict=True)):
        text = "asking changed the rows that were handed in"
        results.append(CaseResult(name="rows stay as they are", kind="metamorphic", status="failed", text=text))
    else:
        results.append(CaseResult(name="rows stay as they are", kind="metamorphic", status="passed"))
    return tuple(results)


def same(name: str, kind: CaseKind, first: Scorer, second: Scorer, rows: Sequence[Row]) -> CaseResult:
    """Whether two scorers give the same answers to the same rows."""
    reference = ask(first, rows)
    if isinstance(reference, str):
        return CaseResult(name=name, kind=kind, status="failed", text=reference)
    scale = scale_of(first.contract, reference)
    found = _compared(name, lambda: _together(second, rows, range(len(rows))), reference, limit_of(first), scale)
    return replace(found, kind=kind)


def _askings(scorer: Scorer, rows: list[dict[str, Any]]) -> list[tuple[str, Asking]]:
    places = range(len(rows))
    few = rows[:ALONE]

    def together(found: Sequence[Any], order: Sequence[int]) -> Asking:
        return lambda: _together(scorer, found, order)

    shuffled = sorted(places, key=lambda place: (place * 7919 + 13) % 101)
    bad = _bad(scorer.contract, rows)
    neighbours = [row for pair in zip(bad, rows, strict=True) for row in pair]
    beside = [each for place in places for each in (-1, place)]
    return [
        ("asked again", together(rows, places)),
        ("rows in reverse order", together(rows[::-1], places[::-1])),
        ("rows in another order", together([rows[place] for place in shuffled], shuffled)),
        ("columns in reverse order", together([dict(reversed(row.items())) for row in rows], places)),
        ("columns in alphabetical order", together([dict(sorted(row.items())) for row in rows], places)),
        ("rows one at a time", lambda: _in_batches(scorer, few, 1)),
        ("rows two at a time", lambda: _in_batches(scorer, few, 2)),
        ("rows seven at a time", lambda: _in_batches(scorer, few, 7)),
        ("every row twice", together([*rows, *rows], [*places, *places])),
        ("beside rows that do not fit", together(neighbours, beside)),
        ("rows through JSON", together(msgspec.json.decode(msgspec.json.encode(rows)), places)),
        ("asked again after all of this", together(rows, places)),
    ]


def _bad(contract: Contract, rows: Sequence[Row]) -> list[Any]:
    """As many rows that do not fit as there are rows: some that the model never sees, most that it does."""
    huge = {column.name: HUGE for column in contract.columns if column.kind == "number"}
    strange: list[Any] = [None, {}, [1], {**good_row(contract, rows), **huge}]
    tried = [case for case in islice(cases(contract, rows), _MOST_TRIED) if case.reason and not case.huge]
    seen = [case.row for case in tried if case.status in ("imputed", "flagged")] or strange
    room = max(len(rows) - len(strange), 0)
    step = max(len(seen) // max(room, 1), 1)
    return [*strange, *(seen[place * step % len(seen)] for place in range(room))][: len(rows)]


def _together(scorer: Scorer, rows: Sequence[Any], order: Sequence[int]) -> Iterator[Answer]:
    """Answers of one call, each with the place of its row in the reference; place -1 is nobody's."""
    found = ask(scorer, rows)
    if isinstance(found, str):
        raise _Broken(found)
    yield from ((place, one) for place, one in zip(order, found, strict=True) if place >= 0)


def _in_batches(scorer: Scorer, rows: Sequence[Any], size: int) -> Iterator[Answer]:
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield from _together(scorer, part, range(start, start + len(part)))


def _compared(name: str, asking: Asking, reference: Sequence[Prediction], limit: float, scale: float) -> CaseResult:
    worst, changed, verdicts = 0.0, 0, 0
    try:
        for place, found in asking():
            before = reference[place]
            verdicts += found.verdict != before.verdict or not same_bits(found.inputs, before.inputs)
            gap = apart(before, found, scale)
            changed += gap > limit
            worst = max(worst, gap)
    except _Broken as broken:
        return CaseResult(name=name, kind="metamorphic", status="failed", text=str(broken))
    if verdicts:
        text = f"{verdicts} answers have another verdict, or the model was shown other values"
        return CaseResult(name=name, kind="metamorphic", status="failed", text=text)
    if changed:
        how = "another answer altogether" if worst == math.inf else f"{worst:.2g} apart, relative"
        held = f"more than {limit:g}" if limit else "not the same bits"
        text = f"{changed} of {len(reference)} rows get another answer (at most {how}: {held})"
        return CaseResult(name=name, kind="metamorphic", status="failed", text=text)
    text = f"{worst:.2g} apart at most, relative; {limit:g} is allowed" if worst else "the same bits"
    return CaseResult(name=name, kind="metamorphic", status="passed", text=text)


class _Broken(Exception):
    """The scorer did not answer a call as a whole; the text says how."""
