"""Rows to try, made from a contract: a good row with one thing changed, and what has to become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fullcircle.development.cases.values import Trial, trials
from fullcircle.runtimes.contracts import examine, worst
from fullcircle.runtimes.values import read
from fullcircle.types.contract import Column, Contract, Policy, Status, Value

Row = Mapping[str, Any]
NOBODYS = "a column that nobody declared"
_STRANGE: object = {"not": ["what", "was", "expected", 1e308]}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row and what has to become of it: its status, and the problem (column and reason) that it must show.

    ``reason`` is "" where the column must show no problem. ``like`` is a row that has to get the same answer;
    ``secret`` the value of a private column that no text may quote. On a ``huge`` row the model may give up.
    """

    name: str
    row: object
    status: Status
    column: str = ""
    reason: str = ""
    like: Row | None = None
    secret: object = None
    huge: bool = False


def cases(contract: Contract, rows: Sequence[Row]) -> Iterator[Case]:
    """Every case of this contract, in its order. ``rows`` are good ones; the first that fits is changed.

    A private column has to hold its fill in ``rows`` already: see ``travelling``.
    """
    base = good_row(contract, rows)
    already = {problem.column: problem.action for problem in examine(contract, base)[0].problems}
    yield Case(name="a row as it was", row=base, status=worst(already.values()))
    for column in contract.columns:
        others = [action for name, action in already.items() if name != column.name]
        yield _absent(contract, column, base, others)
        for trial in trials(column):
            yield _changed(contract, column, base, others, trial)
    yield from _whole_rows(contract, base, list(already.values()))


def good_row(contract: Contract, rows: Sequence[Row]) -> dict[str, Any]:
    """The first row that fits, with nothing but the contract's columns: no context, which may tell whose row it is.

    Where none fits, the first with the fill in every place that does not; it may still not fit.
    """
    known = set(contract.names)
    own = [{name: value for name, value in row.items() if name in known} for row in rows]
    for row in own:
        if examine(contract, row)[0].status == "ok":
            return row
    mended = {**dict.fromkeys(contract.names), **(own[0] if own else {})}
    for problem in examine(contract, mended)[0].problems:
        column = next(one for one in contract.columns if one.name == problem.column)
        first = column.categories[0] if column.categories else column.fill
        mended[column.name] = first if _fill(column) is None else column.fill
    return mended


def travelling(contract: Contract, row: Row) -> dict[str, Any]:
    """The row as it may leave the training data: private columns hold their fill, or nothing where it is unfit."""
    private = {column.name: _fill(column) for column in contract.columns if column.private}
    return {name: private[name] if name in private and value is not None else value for name, value in row.items()}


def _fill(column: Column) -> Value:
    """The column's fill where the contract can use it; None where it cannot."""
    value, misfit = read(column, column.fill)
    return None if misfit is not None and misfit.reason != "outside" else value


def _action(contract: Contract, column: Column, reason: str) -> Policy:
    """What the contract declares for this misfit. Without a fill or a prior the policy cannot be followed: reject."""
    action: Policy = getattr(column, reason)
    helpless = (action == "impute" and _fill(column) is None) or (action == "fallback" and contract.prior is None)
    return "reject" if helpless else action


def _absent(contract: Contract, column: Column, base: Row, others: list[Policy]) -> Case:
    trial = Trial("not there", None, "" if column.nullable else "missing", like=None)
    found = _changed(contract, column, base, others, trial)
    without = {name: value for name, value in base.items() if name != column.name}
    like = {**base, column.name: None} if found.like is None and column.nullable else found.like
    return Case(**{**vars(found), "row": without, "like": like})


def _changed(contract: Contract, column: Column, base: Row, others: list[Policy], trial: Trial) -> Case:
    actions = [_action(contract, column, trial.reason)] if trial.reason else []
    like: Row | None = None
    if actions == ["impute"]:
        like = {**base, column.name: column.fill}
    elif trial.like is not None and not actions:
        like = {**base, column.name: trial.like}
    return Case(
        name=f"{column.name}: {trial.what}",
        row={**base, column.name: trial.value},
        status=worst([*others, *actions]),
        column=column.name,
        reason=trial.reason,
        like=like,
        secret=trial.value if column.private else None,
        huge=trial.huge,
    )


def _whole_rows(contract: Contract, base: Row, already: list[Policy]) -> Iterator[Case]:
    unknown = worst([*already, contract.unknown])
    yield Case(name="an unknown column", row={**base, NOBODYS: 1}, status=unknown, column=NOBODYS, reason="unknown")
    yield Case(
        name="an unknown column with half a character in its name",
        row={**base, "\ud800": 1},
        status=unknown,
        reason="unknown",
    )
    for what, row in {"a list": [1], "text": "a row", "a number": 3, "null": None}.items():
        yield Case(name=f"a row that is {what}", row=row, status="rejected", reason="wrong_type")
    needed = [column for column in contract.columns if not column.nullable]
    actions = [_action(contract, column, "missing") for column in needed]
    filled = {column.name: column.fill for column in needed}
    all_imputed = bool(actions) and set(actions) == {"impute"}
    for what, row in {"an empty row": {}, "a row of nulls": dict.fromkeys(contract.names)}.items():
        yield Case(
            name=what,
            row=row,
            status=worst(actions),
            column=needed[0].name if needed else "",
            reason="missing" if needed else "",
            like={**dict.fromkeys(contract.names), **filled} if all_imputed else None,
        )
    if contract.context:
        strange = dict.fromkeys(contract.context, _STRANGE)
        yield Case(name="context of any kind", row={**base, **strange}, status=worst(already), like=base)
