"""Logged rows as a version is asked them again: each as it came, as far as the log holds that, or why it cannot be.

The log holds what the model saw. What was imputed is put back to what came; what cannot be put back is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from fullcircle.types.contract import Column, Contract, Problem, Value
from fullcircle.types.prediction import Prediction

Row = dict[str, Value]
_QUOTED = re.compile(r"(?P<value>'.*'|\".*\") is none of the \d+ known categories", re.DOTALL)
_OUTSIDE = re.compile(r"(?P<value>\S+) is outside ")


class Asked:
    """What a version is asked: rows for its ``contract``, of versions that ``contract_of`` knows the contracts of."""

    def __init__(self, contract: Contract, contract_of: Callable[[int], Contract | None]) -> None:
        self._contract, self._contract_of = contract, contract_of
        self._columns = {column.name: column for column in contract.columns}

    def row(self, logged: Prediction) -> Row | str:
        """The row as it came, or half a sentence why the log cannot tell it."""
        then = self._contract_of(logged.version)
        if then is None:
            return f"version {logged.version}, which answered them, is not known in this workspace"
        if (then.task, then.label) != (self._contract.task, self._contract.label):
            return f"version {logged.version} predicted something else ({then.task} of {then.label})"
        if logged.inputs is None:
            return f"the log holds no values of rows that were {_called(logged)}"
        hidden = {column.name for column in then.columns if column.private}
        values: Row = {}
        for name in self._contract.names:
            if name in hidden:
                return f"{name} is private, and the log holds no values of it"
            found, value = held(logged, name)
            if not found:
                return f"the log holds nothing in {name}, which the version asks for"
            values[name] = value
        return self._put_back(logged, values)

    def _put_back(self, logged: Prediction, values: Row) -> Row | str:
        """The row with what came in place of what the model was shown."""
        for problem in logged.verdict.problems:
            if problem.column not in self._columns:
                if problem.reason == "unknown" and problem.column not in self._contract.context:
                    values[problem.column] = None  # its value does not matter, only that it came
                continue
            if problem.reason == "missing":
                values[problem.column] = None
            elif problem.reason == "unseen" and (came := category(problem)) is not None:
                values[problem.column] = came
            elif problem.reason != "outside" or problem.action != "flag":
                return f"the log does not hold what came in {problem.column} where it did not fit ({problem.reason})"
        context = logged.context or {}
        return {**{name: context[name] for name in self._contract.context if name in context}, **values}

    def may_answer(self, logged: Prediction) -> bool:
        """Whether nothing that this row was rejected for would make the version reject it.

        The log holds no values of a rejected row, only what was wrong with it: so it may still be rejected for
        something else.
        """
        wrong = [each for each in logged.verdict.problems if each.action in ("reject", "fallback")]
        return bool(wrong) and all(self._passes(each) for each in wrong)

    def _passes(self, problem: Problem) -> bool:
        column = self._columns.get(problem.column)
        if problem.reason == "model":
            return False
        if problem.reason == "unknown" or column is None:
            known = column is not None or problem.column in self._contract.context
            return known or self._contract.unknown == "flag"
        return _fits(column, problem) or getattr(column, problem.reason) in ("impute", "flag")


def held(logged: Prediction, column: str) -> tuple[bool, Value]:
    """Whether the log holds a value of a row in a column, and which."""
    lookup = logged.lookup or {}
    for place in (logged.inputs, logged.context, *(lookup.get(name) for name in ("request", "passed", "values"))):
        if isinstance(place, Mapping) and column in place:
            return True, _value(place[column])
    return False, None


def category(problem: Problem) -> str | None:
    """The category that came, from the text of the problem; None where it is private or was too long to be quoted."""
    match = _QUOTED.fullmatch(problem.text)
    if match is None:
        return None
    try:
        found = ast.literal_eval(match["value"])
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, str) else None


def _fits(column: Column, problem: Problem) -> bool:
    """Whether the value that did not fit then fits this column, as far as the problem's text tells the value."""
    if problem.reason == "missing":
        return column.nullable
    if problem.reason == "unseen":
        came = category(problem)
        return column.kind == "text" or (came is not None and came in column.categories)
    match = _OUTSIDE.match(problem.text) if problem.reason == "outside" else None
    try:
        size = float(match["value"]) if match else None
    except ValueError:
        return False
    return size is not None and (column.low is None or column.low <= size) and not _above(size, column.high)


def _above(size: float, high: float | None) -> bool:
    return high is not None and size > high


def _value(value: Any) -> Value:
    return value if isinstance(value, str | bool | int | float) else None


def _called(logged: Prediction) -> str:
    return "rejected" if logged.verdict.status == "rejected" else "answered by the fallback"
