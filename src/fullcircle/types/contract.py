"""The contract: what a model expects of each input column, and what happens when a row does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "number", "boolean", "category", "text", "time"]
Policy = Literal["reject", "impute", "flag", "fallback"]
Status = Literal["ok", "imputed", "flagged", "fallback", "rejected"]
How = Literal["", "median", "mean", "most_frequent", "constant"]
Value = float | int | bool | str | None

KINDS: tuple[Kind, ...] = ("integer", "number", "boolean", "category", "text", "time")
POLICIES: tuple[Policy, ...] = ("reject", "impute", "flag", "fallback")
HOWS: tuple[How, ...] = ("median", "mean", "most_frequent", "constant")
STATUSES: tuple[Status, ...] = ("ok", "imputed", "flagged", "fallback", "rejected")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column: its type, what is usual in it, and the policy for each way it can be wrong.

    ``low``/``high`` bound what a row may hold (the hard range; from training rows, widened), ``usual_low``/
    ``usual_high`` the central 98 % of training rows (unknown for a private column: they are values of it). ``fill``
    is what "impute" puts in, and ``how`` how it was found: the median, mean or most frequent value of the training
    rows, or a constant that a person gave ("" in bundles of before this was recorded). Times are ISO 8601 strings. A
    category is always a string. A ``private`` column is left out of the log; where it is ``hashed`` too, its values
    are logged as keyed hashes: equal values can be told, and not what they are. Hashed implies private.
    """

    name: str
    kind: Kind
    label: str = ""
    unit: str = ""
    nullable: bool = False
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    usual_low: float | None = None
    usual_high: float | None = None
    fill: Value = None
    private: bool = False
    missing: Policy = "reject"
    unseen: Policy = "flag"
    outside: Policy = "flag"
    wrong_type: Policy = "reject"
    how: How = ""
    hashed: bool = False

    def __post_init__(self) -> None:
        if self.hashed and not self.private:
            object.__setattr__(self, "private", True)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The input columns in the order the model was trained on, and what to do with a column not among them.

    ``prior`` is the constant answer of the policy "fallback": the training mean, or the most frequent class.
    ``classes`` are the class labels in the model's own order, empty for regression. ``context`` names columns
    that a row may bring along and the model never sees: the event time, the groups of fairness gates. They are
    logged as they came. ``failed`` is what becomes of a row that the model itself cannot answer (it raises, hangs, or
    gives no finite number). ``label_name`` and ``label_unit`` are how reports call the label.
    """

    columns: tuple[Column, ...]
    label: str
    task: Literal["regression", "classification"]
    classes: tuple[Value, ...] = ()
    unknown: Literal["reject", "flag", "fallback"] = "reject"
    failed: Literal["reject", "fallback"] = "reject"
    prior: Value = None
    context: tuple[str, ...] = ()
    label_name: str = ""
    label_unit: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def label_shown(self) -> str:
        """What stands behind a figure of the label: its unit, else its display name, else its column's name."""
        return self.label_unit or self.label_name or self.label


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One way in which one row did not fit: which column, what kind of misfit, and what was done about it.

    ``reason`` is one of missing, unseen, outside, wrong_type, unknown, model. ``text`` never quotes the value
    of a private column.
    """

    column: str
    reason: Literal["missing", "unseen", "outside", "wrong_type", "unknown", "model"]
    action: Policy
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one row: the worst action of its problems decides the status."""

    status: Status
    problems: tuple[Problem, ...] = ()
