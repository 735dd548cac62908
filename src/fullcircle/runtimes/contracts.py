"""A row against its contract, and rows as the frame a model sees. Training and scoring both come through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.runtimes.values import Misfit, category_name, lacking, loggable, may_be_missing, plain, quoted, read
from fullcircle.types.contract import Column, Contract, Policy, Problem, Status, Value, Verdict

if TYPE_CHECKING:
    import pandas as pd

_STATUS: Mapping[Policy, Status] = {
    "impute": "imputed",
    "flag": "flagged",
    "fallback": "fallback",
    "reject": "rejected",
}
_RANK: tuple[Status, ...] = ("ok", "imputed", "flagged", "fallback", "rejected")
_MOST_UNKNOWN = 10


def examine(contract: Contract, row: object) -> tuple[Verdict, dict[str, Value]]:
    """The verdict on a row and the values the model would see, one for each column of the contract, in its order.

    By the policy of the column: reject, impute (the column's ``fill``), flag (an outside value is used as it is; an
    unseen category, a missing value and one of the wrong type are passed as missing), fallback (the contract's
    ``prior`` is the answer). Where there is no fill or no prior, that policy is a rejection. The worst action is
    the status; a row that was rejected may lack values. Never raises, whatever ``row`` is.
    """
    if not isinstance(row, Mapping):
        text = f"a row is an object with a value for each column, got {type(row).__name__[:60]}"
        problem = Problem(column="", reason="wrong_type", action="reject", text=text)
        return Verdict(status="rejected", problems=(problem,)), dict.fromkeys(contract.names)
    problems: list[Problem] = []
    values: dict[str, Value] = {}
    for column in contract.columns:
        value, misfit = read(column, row.get(column.name))
        if misfit is not None:
            value = _answer(contract, column, value, misfit, problems)
        values[column.name] = value
    strange = [name for name in row if name not in values and name not in contract.context]
    problems.extend(_unknown(contract, strange))
    return Verdict(status=worst(problem.action for problem in problems), problems=tuple(problems)), values


def context_of(contract: Contract, row: object) -> dict[str, Value] | None:
    """What a row brought along for the log and not for the model; None where the contract asks for nothing."""
    if not contract.context or not isinstance(row, Mapping):
        return None
    return {name: loggable(row[name]) for name in contract.context if name in row}


def worst(actions: Iterable[Policy]) -> Status:
    """The status that follows from these actions."""
    return max((_STATUS[action] for action in actions), key=_RANK.index, default="ok")


def _answer(contract: Contract, column: Column, value: Value, misfit: Misfit, problems: list[Problem]) -> Value:
    """Add the problem, and return what the model is to see instead."""
    action: Policy = getattr(column, misfit.reason)
    text = misfit.text
    if column.private and misfit.reason != "missing":
        expected = misfit.text.partition(", got ")[0] if misfit.reason == "wrong_type" else "the value does not fit"
        text = f"{expected} ({misfit.reason}); it is private and not shown"
    if action == "impute":
        value, unfit = read(column, column.fill)
        if value is None or (unfit is not None and unfit.reason != "outside"):
            action, text = "reject", text + "; there is nothing to impute"
    elif action == "fallback" and contract.prior is None:
        action, text = "reject", text + "; there is no prior to fall back to"
    problems.append(Problem(column=column.name, reason=misfit.reason, action=action, text=text))
    return value


def _unknown(contract: Contract, names: Sequence[object]) -> list[Problem]:
    if not names:
        return []
    action: Policy = contract.unknown
    done = {"reject": "not allowed", "flag": "ignored", "fallback": "left to the fallback"}[action]
    if action == "fallback" and contract.prior is None:
        action, done = "reject", "not allowed; there is no prior to fall back to"
    found = []
    for position, name in enumerate(names[:_MOST_UNKNOWN], start=1):
        more = len(names) - position if position == _MOST_UNKNOWN else 0
        text = f"the model has no column of this name; it is {done}" + (f", and {more} more" if more else "")
        shown = name[:100].encode(errors="replace").decode() if isinstance(name, str) else quoted(name)
        found.append(Problem(column=shown, reason="unknown", action=action, text=text))
    return found


def to_frame(contract: Contract, rows: Sequence[Mapping[str, Value]]) -> pd.DataFrame:
    """The rows that ``examine`` gave, as the frame a model sees: the contract's columns in order, fixed dtypes.

    integer int64, number float64, boolean bool, category Categorical over the contract's categories, text object,
    time datetime64[ns]. Integers and booleans are float64 where a missing value may come (nullable, or a policy
    "flag" for missing or wrong_type). A category that the contract does not know is missing. Raises DataUnfit for
    a missing integer or boolean where none may come: such a row was rejected and does not belong in a frame.
    """
    import pandas as pd

    arrays = {column.name: _array(column, [row.get(column.name) for row in rows]) for column in contract.columns}
    return pd.DataFrame(arrays, columns=pd.Index(contract.names, dtype=object), index=range(len(rows)), copy=False)


def _array(column: Column, values: list[Value]) -> Any:
    import numpy as np
    import pandas as pd

    match column.kind:
        case "category":
            codes = {name: code for code, name in enumerate(column.categories)}
            found = np.array(
                [codes.get(value, -1) if isinstance(value, str) else -1 for value in values], dtype=np.intp
            )
            return pd.Categorical.from_codes(found, categories=pd.Index(column.categories, dtype=object))
        case "text":
            return pd.Series([np.nan if value is None else value for value in values], dtype=object)
        case "time":
            return np.array(["NaT" if value is None else value for value in values], dtype="datetime64[ns]")
        case "number":
            return np.array(values, dtype=np.float64)
    if may_be_missing(column):
        return np.array(values, dtype=np.float64)
    if None in values:
        raise lacking(column)
    return np.array(values, dtype=np.int64 if column.kind == "integer" else np.bool_)


def rows_of(frame: pd.DataFrame, contract: Contract, *, others: bool = False) -> list[dict[str, Any]]:
    """The rows of a frame as plain Python values, with None for what is missing, ready for ``examine``.

    Columns of the contract and of its context; those that the frame lacks are left out. Values of a category column
    are written as text (``category_name``), times as ISO 8601, and booleans that a frame keeps as floats because
    some are missing are booleans again: so a frame of ``to_frame`` gives back the rows it was made of. ``others``
    keeps the columns that the contract does not know, so that it can judge them.
    """
    kinds = {column.name: column.kind for column in contract.columns}
    names = [name for name in frame.columns if others or name in kinds or name in contract.context]
    columns = [_plain_values(frame[name], kinds.get(name)) for name in names]
    if not columns:
        return [{} for _ in range(len(frame))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_values(series: pd.Series[Any], kind: str | None) -> list[Any]:
    values = [plain(value) for value in series.astype(object).tolist()]
    if kind == "category":
        return [None if value is None else category_name(value) for value in values]
    if kind == "boolean" and series.dtype == "float64" and set(values) <= {None, 0.0, 1.0}:
        return [None if value is None else value == 1.0 for value in values]
    return [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
